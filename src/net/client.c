/* SPDX-License-Identifier: Apache-2.0 */
#include "net/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/xalloc.h"

#define HEAD_MAX (64u << 10)
#define LINE_MAX_BYTES (8u << 10)

struct client {
	char *path; /* owned */
	int fd;	    /* -1 while not connected */
	bool met;
	bool reused; /* this connection has served a call */
	bool unreachable;
	int64_t deadline_ms;	     /* of the call under way */
	volatile sig_atomic_t *stop; /* borrowed */
	const sigset_t *mask;	     /* borrowed */
	struct buf in;		     /* received and not yet consumed from `pos` on */
	size_t pos;
};

/* What the head of a reply says about its body. */
struct head {
	int status;
	bool chunked;
	bool close;
	bool has_length;
	size_t length;
};

struct client *
client_new(const char *path)
{
	struct client *c = xnew(struct client);

	c->path = xstrdup(path);
	c->fd = -1;
	c->in = BUF_INIT(CLIENT_REPLY_MAX + HEAD_MAX);
	return c;
}

static void
disconnect(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->reused = false;
	buf_reset(&c->in);
	c->pos = 0;
}

void
client_free(struct client *c)
{
	if (!c)
		return;
	disconnect(c);
	buf_fini(&c->in);
	free(c->path);
	free(c);
}

void
client_set_stop(struct client *c, volatile sig_atomic_t *stop, const sigset_t *mask)
{
	c->stop = stop;
	c->mask = mask;
}

bool
client_unreachable(const struct client *c)
{
	return c->unreachable;
}

bool
client_met(const struct client *c)
{
	return c->met;
}

static int
lost(struct client *c, struct err *err, const char *why)
{
	c->unreachable = true;
	err_set(err, ERR_UNAVAILABLE, "no answer from hearthd at %s: %s", c->path, why);
	return err_hint(err, "see its log, then try again");
}

static int
connect_failed(struct client *c, int e, struct err *err)
{
	if (e == EACCES || e == EPERM) {
		err_set(
		    err, ERR_NOT_PERMITTED, "cannot open %s: permission denied", c->path);
		return err_hint(err, "use sudo, or join the group that owns the socket");
	}
	c->unreachable = true;
	err_set(err, ERR_UNAVAILABLE, "cannot reach hearthd at %s: %s", c->path,
	    e == ENOENT ? "no such socket" : strerrordesc_np(e) ?: "unknown error");
	return err_hint(
	    err, "start hearthd, or name its socket with --socket or HEARTH_SOCKET");
}

static int
make_connection(struct client *c, struct err *err)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	/* a full backlog blocks connect(2), and this bounds it (unix(7)) */
	struct timeval patience = {.tv_sec = 10};
	size_t n = strlen(c->path);
	int r;

	if (n == 0 || n >= sizeof(sun.sun_path))
		return err_set(err, ERR_INVALID,
		    "socket path is empty or over %zu bytes: %.60s…",
		    sizeof(sun.sun_path) - 1, c->path);
	memcpy(sun.sun_path, c->path, n);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return err_errno(err, errno, "make a socket");
	(void)setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	do
		r = connect(c->fd, (struct sockaddr *)&sun, sizeof(sun));
	while (r < 0 && errno == EINTR);
	if (r < 0) {
		int e = errno;

		disconnect(c);
		return connect_failed(c, e, err);
	}
	c->met = true;
	(void)fcntl(c->fd, F_SETFL, O_NONBLOCK);
	return 0;
}

/* Until the socket is ready for `events`, the deadline passes or we are told to stop. */
static int
wait_ready(struct client *c, short events, struct err *err)
{
	for (;;) {
		struct pollfd p = {.fd = c->fd, .events = events};
		int64_t left = c->deadline_ms - clock_real_now_ms();
		struct timespec ts = {
		    .tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};
		int n;

		if (c->stop && *c->stop)
			return err_set(err, ERR_CANCELLED, "interrupted");
		if (left <= 0)
			return lost(c, err, "timed out");
		n = ppoll(&p, 1, &ts, c->mask);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return err_errno(err, errno, "wait for hearthd");
	}
}

static int
send_all(struct client *c, const char *p, size_t n, struct err *err)
{
	while (n > 0) {
		ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL);

		if (k >= 0) {
			p += k;
			n -= (size_t)k;
		} else if (errno == EAGAIN) {
			if (wait_ready(c, POLLOUT, err) < 0)
				return -1;
		} else if (errno != EINTR) {
			return lost(c, err, strerrordesc_np(errno) ?: "unknown error");
		}
	}
	return 0;
}

/* Receives some more. *ret_eof: the other side has closed. */
static int
fill(struct client *c, bool *ret_eof, struct err *err)
{
	char part[16384];

	for (;;) {
		ssize_t k = recv(c->fd, part, sizeof(part), 0);

		*ret_eof = k == 0;
		if (k > 0) {
			buf_add(&c->in, part, (size_t)k);
			if (c->in.overflow)
				return err_set(err, ERR_TOO_LARGE,
				    "hearthd's reply is over %u MiB",
				    CLIENT_REPLY_MAX >> 20);
		}
		if (k >= 0)
			return 0;
		if (errno == EAGAIN) {
			if (wait_ready(c, POLLIN, err) < 0)
				return -1;
		} else if (errno != EINTR) {
			return lost(c, err, strerrordesc_np(errno) ?: "unknown error");
		}
	}
}

static int
fill_or_lost(struct client *c, struct err *err)
{
	bool eof;

	if (fill(c, &eof, err) < 0)
		return -1;
	return eof ? lost(c, err, "it closed the connection") : 0;
}

/* The next line without its CRLF, as an offset into c->in: the buffer may move. */
static int
read_line(struct client *c, size_t *ret_at, size_t *ret_len, struct err *err)
{
	for (;;) {
		const char *from = c->in.data ? c->in.data + c->pos : "";
		const char *nl = memchr(from, '\n', c->in.len - c->pos);

		if (nl) {
			size_t len = (size_t)(nl - from);

			*ret_at = c->pos;
			c->pos += len + 1;
			*ret_len = len > 0 && nl[-1] == '\r' ? len - 1 : len;
			return 0;
		}
		if (c->in.len - c->pos > LINE_MAX_BYTES)
			return err_set(err, ERR_INTERNAL,
			    "hearthd's reply is not HTTP: line too long");
		if (fill_or_lost(c, err) < 0)
			return -1;
	}
}

static int
read_bytes(struct client *c, size_t n, struct buf *to, struct err *err)
{
	while (c->in.len - c->pos < n)
		if (fill_or_lost(c, err) < 0)
			return -1;
	if (n)
		buf_add(to, c->in.data + c->pos, n);
	c->pos += n;
	if (to->overflow)
		return err_set(err, ERR_TOO_LARGE, "hearthd's reply is over %u MiB",
		    CLIENT_REPLY_MAX >> 20);
	return 0;
}

static int
parse_size(const char *s, size_t len, int base, size_t *ret, struct err *err)
{
	size_t v = 0;
	size_t i;

	for (i = 0; i < len; i++) {
		int d = s[i] >= '0' && s[i] <= '9' ? s[i] - '0'
			: base == 16 && (s[i] | 32) >= 'a' && (s[i] | 32) <= 'f'
			    ? (s[i] | 32) - 'a' + 10
			    : -1;

		if (d < 0)
			break;
		v = v * (size_t)base + (size_t)d;
		if (v > CLIENT_REPLY_MAX)
			return err_set(err, ERR_TOO_LARGE,
			    "hearthd's reply is over %u MiB", CLIENT_REPLY_MAX >> 20);
	}
	if (i == 0 || (i < len && !(base == 16 && strchr("; \t", s[i]))))
		return err_set(
		    err, ERR_INTERNAL, "hearthd's reply is not HTTP: bad length");
	*ret = v;
	return 0;
}

static bool
has_token(const char *s, size_t len, const char *word)
{
	size_t n = strlen(word);

	for (size_t i = 0; i + n <= len; i++)
		if (strncasecmp(s + i, word, n) == 0)
			return true;
	return false;
}

static int
parse_header(struct head *h, const char *s, size_t len, struct err *err)
{
	const char *colon = memchr(s, ':', len);
	size_t name;

	if (!colon)
		return err_set(
		    err, ERR_INTERNAL, "hearthd's reply is not HTTP: bad header");
	name = (size_t)(colon - s);
	s = colon + 1;
	len -= name + 1;
	while (len > 0 && (*s == ' ' || *s == '\t'))
		s++, len--;
	while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t'))
		len--;
	if (name == 14 && strncasecmp(colon - name, "content-length", 14) == 0) {
		h->has_length = true;
		return parse_size(s, len, 10, &h->length, err);
	}
	if (name == 17 && strncasecmp(colon - name, "transfer-encoding", 17) == 0)
		h->chunked = has_token(s, len, "chunked");
	if (name == 10 && strncasecmp(colon - name, "connection", 10) == 0)
		h->close = has_token(s, len, "close");
	return 0;
}

static int
read_head(struct client *c, struct head *h, struct err *err)
{
	size_t at = 0;
	size_t len = 0;
	size_t start = c->pos;

	*h = (struct head){0};
	if (read_line(c, &at, &len, err) < 0)
		return -1;
	if (len < 12 || strncmp(c->in.data + at, "HTTP/1.", 7) != 0 ||
	    strspn(c->in.data + at + 9, "0123456789") < 3)
		return err_set(
		    err, ERR_INTERNAL, "what answers at %s is not hearthd", c->path);
	h->close = c->in.data[at + 7] == '0';
	h->status = (c->in.data[at + 9] - '0') * 100 + (c->in.data[at + 10] - '0') * 10 +
		    (c->in.data[at + 11] - '0');
	for (;;) {
		if (read_line(c, &at, &len, err) < 0)
			return -1;
		if (len == 0)
			return 0;
		if (c->pos - start > HEAD_MAX)
			return err_set(
			    err, ERR_INTERNAL, "hearthd's reply is not HTTP: long head");
		if (parse_header(h, c->in.data + at, len, err) < 0)
			return -1;
	}
}

static int
read_chunks(struct client *c, struct buf *to, struct err *err)
{
	size_t at = 0;
	size_t len = 0;
	size_t n = 0;

	for (;;) {
		if (read_line(c, &at, &len, err) < 0 ||
		    parse_size(c->in.data + at, len, 16, &n, err) < 0)
			return -1;
		if (n == 0)
			break;
		if (read_bytes(c, n, to, err) < 0 || read_line(c, &at, &len, err) < 0)
			return -1;
		if (len != 0)
			return err_set(
			    err, ERR_INTERNAL, "hearthd's reply is not HTTP: bad chunk");
	}
	do /* trailers */
		if (read_line(c, &at, &len, err) < 0)
			return -1;
	while (len != 0);
	return 0;
}

static int
read_to_end(struct client *c, struct buf *to, struct err *err)
{
	for (bool eof = false; !eof;)
		if (fill(c, &eof, err) < 0)
			return -1;
	return read_bytes(c, c->in.len - c->pos, to, err);
}

static int
read_reply(struct client *c, int *ret_status, struct buf *reply, struct err *err)
{
	struct head h = {0};

	do
		if (read_head(c, &h, err) < 0)
			return -1;
	while (h.status >= 100 && h.status < 200);
	if (h.status == 204 || h.status == 304)
		h.length = 0;
	else if (h.chunked	? read_chunks(c, reply, err) < 0
		 : h.has_length ? read_bytes(c, h.length, reply, err) < 0
				: read_to_end(c, reply, err) < 0)
		return -1;
	if (h.close ||
	    (!h.chunked && !h.has_length && h.status != 204 && h.status != 304))
		disconnect(c);
	*ret_status = h.status;
	return 0;
}

static void
format_request(struct buf *req, const char *method, const char *target, const char *body)
{
	buf_fmt(req, "%s %s HTTP/1.1\r\nHost: hearth\r\nAccept: application/json\r\n",
	    method, target);
	if (body)
		buf_fmt(req, "Content-Type: application/json\r\nContent-Length: %zu\r\n",
		    strlen(body));
	buf_str(req, "\r\n");
	if (body)
		buf_str(req, body);
}

static int
call_once(struct client *c, const struct buf *req, int *ret_status, struct buf *reply,
    struct err *err)
{
	int status;

	buf_reset(reply);
	buf_reset(&c->in);
	c->pos = 0;
	if (c->fd < 0 && make_connection(c, err) < 0)
		return -1;
	/* a daemon that refuses a request in the middle of it has still sent its reason
	 */
	if (send_all(c, req->data, req->len, err) < 0 && !c->unreachable)
		return -1;
	c->unreachable = false;
	if (read_reply(c, &status, reply, err) < 0)
		return -1;
	c->reused = c->fd >= 0;
	*ret_status = status;
	return 0;
}

int
client_call(struct client *c, const char *method, const char *target, const char *body,
    int timeout_ms, int *ret_status, struct buf *reply, struct err *err)
{
	AUTO_BUF struct buf req = BUF_INIT(0);
	bool again = c->reused && strcmp(method, "POST") != 0;
	int r;

	format_request(&req, method, target, body);
	c->unreachable = false;
	c->deadline_ms = clock_real_now_ms() + timeout_ms;
	r = call_once(c, &req, ret_status, reply, err);
	if (r < 0 && again && c->unreachable && c->in.len == 0 &&
	    clock_real_now_ms() < c->deadline_ms) {
		disconnect(c);
		c->unreachable = false;
		r = call_once(c, &req, ret_status, reply, err);
	}
	if (r < 0)
		disconnect(c);
	return r;
}
