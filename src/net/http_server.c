/* SPDX-License-Identifier: Apache-2.0 */
#include "net/http_server.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "net/http_internal.h"
#include "net/loop.h"

/* Per connection, request and reply headers together. libmicrohttpd keeps pools of up to
   32 KiB on the heap and maps bigger ones. */
#define CONNECTION_MEMORY (16 << 10)
#define ACCEPT_BATCH 64
#define ACCEPT_RETRY_MS 100
#define SWEEP_MS 1000
#define BODY_SWEEPS 30	 /* a request must have arrived by then */
#define GROUPS_MAX 65536 /* the kernel's NGROUPS_MAX */
#define ROOT_SHARE 16	 /* of all connections, this part is kept for root */

/* Whose connections are counted together: a user's, or an address's. */
struct user {
	struct list link; /* server.users */
	uint32_t uid;	  /* HTTP_NO_UID: by address */
	uint8_t address[16];
	uint64_t
	    tag; /* of http_server_adopt(): machines all come from the same address */
	int n;
};

static const char busy_json[] =
    "{\"error\":{\"code\":\"rate_limited\",\"message\":\"too many connections\","
    "\"hint\":\"close idle ones, or keep one open and reuse it\"}}\n";

static void on_timer(uv_timer_t *t);

/* ---- who connects ---- */

/* By TCP: a user id cannot be known. */
static struct http_peer *
peer_of_address(const struct sockaddr_storage *from, uint64_t tag)
{
	struct http_peer *p = xnew(struct http_peer);

	p->uid = p->gid = HTTP_NO_UID;
	p->tag = tag;
	if (from->ss_family == AF_INET6) {
		memcpy(p->address, &((const struct sockaddr_in6 *)from)->sin6_addr, 16);
	} else {
		memset(p->address + 10, 0xff, 2);
		memcpy(p->address + 12, &((const struct sockaddr_in *)from)->sin_addr, 4);
	}
	return p;
}

static struct http_peer *
peer_of_socket(int fd, struct err *err)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	struct http_peer *p;
	gid_t few[32], *groups = few;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0) {
		err_errno(err, errno, "credentials of a client");
		return NULL;
	}
	len = sizeof(few);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0) {
		if (errno != ERANGE || len > GROUPS_MAX * sizeof(gid_t)) {
			err_errno(err, errno, "groups of a client");
			return NULL;
		}
		groups = xmalloc(len);
		if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
			len = 0;
	}
	p = xcalloc(1, sizeof(*p) + len);
	p->uid = cred.uid;
	p->gid = cred.gid;
	p->n_groups = (int)(len / sizeof(gid_t));
	memcpy(p->groups, groups, len);
	if (groups != few)
		free(groups);
	return p;
}

static struct user *
user_of(struct http_server *s, const struct http_peer *p)
{
	struct user *u;

	list_for_each (u, &s->users, link)
		if (u->uid == p->uid && u->tag == p->tag &&
		    memcmp(u->address, p->address, sizeof(u->address)) == 0)
			return u;
	u = xnew(struct user);
	u->uid = p->uid;
	u->tag = p->tag;
	memcpy(u->address, p->address, sizeof(u->address));
	list_init(&u->link);
	list_push_back(&s->users, &u->link);
	return u;
}

static void
user_leave(struct http_server *s, const struct http_peer *p)
{
	struct user *u = user_of(s, p);

	s->n_connections--;
	if (--u->n > 0)
		return;
	list_remove(&u->link);
	free(u);
}

static void
on_connection(void *cls, struct MHD_Connection *conn, void **context,
    enum MHD_ConnectionNotificationCode code)
{
	struct http_server *s = cls;
	struct http_peer *peer = *context;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		*context = s->accepting;
		s->accepting = NULL;
		return;
	}
	user_leave(s, peer);
	free(peer);
}

/* A client too many is told so without being read. */
static void
turn_away(const struct http_server *s, int fd)
{
	const char *body = s->opt.busy_body;
	AUTO_BUF struct buf b = BUF_INIT(0);

	buf_fmt(&b,
	    "HTTP/1.1 429 Too Many Requests\r\nContent-Type: %s\r\n"
	    "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
	    s->opt.busy_type, strlen(body), body);
	if (send(fd, b.data, b.len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_debug("a connection too many hung up before it was told");
	close(fd);
}

static bool
too_many(const struct http_server *s, const struct user *u)
{
	bool unix_user = u->uid != HTTP_NO_UID && u->uid != 0;
	int kept = unix_user ? s->opt.max_connections / ROOT_SHARE : 0;

	return s->n_connections > s->opt.max_connections - kept ||
	       (u->uid != 0 && u->n > s->opt.max_connections_per_user);
}

/* `peer` is owned. */
static void
admit(struct http_server *s, int fd, struct http_peer *peer)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct user *u = user_of(s, peer);

	u->n++;
	s->n_connections++;
	if (too_many(s, u)) {
		user_leave(s, peer);
		free(peer);
		turn_away(s, fd);
		return;
	}
	s->accepting = peer;
	if (MHD_add_connection(s->mhd, fd, (struct sockaddr *)&addr, sizeof(addr)) !=
	    MHD_YES)
		log_warn("a connection could not be added (%s); hung up",
		    strerrordesc_np(errno));
	if (s->accepting) { /* refused before on_connection() */
		user_leave(s, peer);
		free(peer);
		s->accepting = NULL;
	}
}

static void
accepted(struct http_server *s, int fd, const struct sockaddr_storage *from, uint64_t tag)
{
	struct http_peer *peer;
	struct err err;
	int one = 1;

	if (from->ss_family == AF_INET || from->ss_family == AF_INET6) {
		peer = peer_of_address(from, tag);
		/* a reply is one or two writes, and must not wait for the first one's acknowledgement */
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	} else {
		peer = peer_of_socket(fd, &err);
	}
	if (!peer) {
		log_warn("%s; hung up", err.msg);
		close(fd);
		return;
	}
	admit(s, fd, peer);
}

void
http_server_adopt(struct http_server *s, int fd, uint64_t tag)
{
	struct sockaddr_storage from = {0};
	socklen_t len = sizeof(from);
	int flags = fcntl(fd, F_GETFL);

	if (getpeername(fd, (struct sockaddr *)&from, &len) < 0 || flags < 0 ||
	    fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		close(fd); /* it has hung up already */
		return;
	}
	accepted(s, fd, &from, tag);
	http_server_run_soon(s);
}

static void
on_listen(uv_poll_t *p, int status, int events)
{
	struct http_server *s = p->data;

	for (int i = 0; i < ACCEPT_BATCH; i++) {
		struct sockaddr_storage from = {0};
		socklen_t len = sizeof(from);
		int fd = accept4(s->opt.listen_fd, (struct sockaddr *)&from, &len,
		    SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			accepted(s, fd, &from, 0);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
		    errno == ENOBUFS) {
			log_warn("accept: %s; trying again in %d ms",
			    strerrordesc_np(errno), ACCEPT_RETRY_MS);
			uv_poll_stop(&s->listen_poll);
			uv_timer_start(&s->timer, on_timer, ACCEPT_RETRY_MS, 0);
		}
		break;
	}
	http_server_run_soon(s);
}

/* ---- driving libmicrohttpd ---- */

void
http_server_run_soon(struct http_server *s)
{
	s->run_soon = true;
}

static void
run(struct http_server *s)
{
	MHD_UNSIGNED_LONG_LONG timeout;

	s->run_soon = false;
	MHD_run(s->mhd);
	if (MHD_get_timeout(s->mhd, &timeout) != MHD_YES)
		return;
	/* Idle connections are closed on time give or take a second; that is not worth
	   moving the timer with each request. */
	if (timeout == 0 || !uv_is_active((uv_handle_t *)&s->timer))
		uv_timer_start(&s->timer, on_timer, timeout, 0);
}

static void
on_timer(uv_timer_t *t)
{
	struct http_server *s = t->data;

	if (s->opt.listen_fd >= 0 && !uv_is_active((uv_handle_t *)&s->listen_poll))
		uv_poll_start(&s->listen_poll, UV_READABLE, on_listen);
	run(s);
}

static void
on_mhd(uv_poll_t *p, int status, int events)
{
	http_server_run_soon(p->data);
}

/* Last before the poll: whatever this turn of the loop read or answered goes through
   libmicrohttpd once, however many requests it was. */
static void
on_prepare(uv_prepare_t *p)
{
	struct http_server *s = p->data;

	if (s->run_soon)
		run(s);
}

/* A client that has closed its end altogether, or takes too long to send. */
static bool
lost(struct http_request *req, const struct pollfd *pfd)
{
	if (req->state == REQUEST_READING)
		return ++req->ticks > BODY_SWEEPS;
	return pfd->revents & (POLLHUP | POLLERR | POLLNVAL);
}

static void
on_sweep(uv_timer_t *t)
{
	struct http_server *s = t->data;
	struct pollfd *pfds;
	struct http_request *req, *tmp;
	nfds_t n = 0, i = 0;

	list_for_each (req, &s->requests, link)
		n++;
	if (n == 0) {
		uv_timer_stop(t);
		return;
	}
	pfds = xcalloc(n, sizeof(*pfds));
	list_for_each (req, &s->requests, link)
		pfds[i++] = (struct pollfd){.fd = req->fd};
	if (poll(pfds, n, 0) >= 0) {
		i = 0;
		list_for_each_safe (req, tmp, &s->requests, link) {
			if (lost(req, &pfds[i++]))
				http_request_hang_up(req);
		}
	}
	free(pfds);
}

/* ---- life ---- */

/* Paths and queries are decoded by who knows what may be in them: here a %00 would end a
   string and a %2F would become another path. */
static size_t
leave_encoded(void *cls, struct MHD_Connection *conn, char *s)
{
	return strlen(s);
}

static struct MHD_Daemon *
start_mhd(struct http_server *s)
{
	return MHD_start_daemon(
	    MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET, 0, NULL,
	    NULL, http_request_access, s, MHD_OPTION_CONNECTION_LIMIT,
	    (unsigned)s->opt.max_connections, MHD_OPTION_CONNECTION_TIMEOUT,
	    (unsigned)s->opt.idle_timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	    (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_MEMORY_INCREMENT,
	    (size_t)4096, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
	    MHD_OPTION_NOTIFY_COMPLETED, http_request_completed, s,
	    MHD_OPTION_UNESCAPE_CALLBACK, leave_encoded, s,
	    MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
}

static void
start_handles(struct http_server *s)
{
	uv_loop_t *uv = loop_uv(s->opt.loop);
	int epoll_fd = MHD_get_daemon_info(s->mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;

	if (s->opt.listen_fd >= 0)
		uv_poll_init(uv, &s->listen_poll, s->opt.listen_fd);
	uv_poll_init(uv, &s->mhd_poll, epoll_fd);
	uv_prepare_init(uv, &s->prepare);
	uv_timer_init(uv, &s->timer);
	uv_timer_init(uv, &s->sweep);
	s->n_handles = 4;
	s->listen_poll.data = s->mhd_poll.data = s->prepare.data = s->timer.data =
	    s->sweep.data = s;
	if (s->opt.listen_fd >= 0) {
		s->listens = true;
		s->n_handles++;
		uv_poll_start(&s->listen_poll, UV_READABLE, on_listen);
	}
	uv_poll_start(&s->mhd_poll, UV_READABLE, on_mhd);
	uv_prepare_start(&s->prepare, on_prepare);
	uv_timer_start(&s->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
}

int
http_server_new(
    const struct http_options *opt, struct http_server **ret_server, struct err *err)
{
	struct http_server *s = xnew(struct http_server);

	s->opt = *opt;
	list_init(&s->requests);
	list_init(&s->users);
	if (s->opt.max_connections <= 0)
		s->opt.max_connections = 4096;
	if (s->opt.max_connections_per_user <= 0)
		s->opt.max_connections_per_user = s->opt.max_connections / 2;
	if (s->opt.idle_timeout_s <= 0)
		s->opt.idle_timeout_s = 120;
	if (s->opt.body_max == 0)
		s->opt.body_max = 64 << 10;
	if (s->opt.backlog_max == 0)
		s->opt.backlog_max = 1 << 20;
	if (!s->opt.busy_body) {
		s->opt.busy_type = "application/json";
		s->opt.busy_body = busy_json;
	}
	s->mhd = start_mhd(s);
	if (!s->mhd) {
		err_errno(err, errno, "start the HTTP server");
		if (opt->listen_fd >= 0)
			close(opt->listen_fd);
		free(s);
		return -1;
	}
	start_handles(s);
	*ret_server = s;
	return 0;
}

void
http_server_stop(struct http_server *s)
{
	if (s->opt.listen_fd < 0)
		return;
	uv_poll_stop(&s->listen_poll);
	close(s->opt.listen_fd);
	s->opt.listen_fd = -1;
}

static void
on_closed(uv_handle_t *h)
{
	struct http_server *s = h->data;

	if (--s->n_handles == 0)
		free(s);
}

void
http_server_close(struct http_server *s)
{
	struct http_request *req, *tmp;

	http_server_stop(s);
	uv_poll_stop(&s->mhd_poll);
	MHD_run(s->mhd); /* what was answered last still goes out */
	list_for_each_safe (req, tmp, &s->requests, link)
		http_request_hang_up(
		    req); /* nothing may be suspended in MHD_stop_daemon() */
	MHD_stop_daemon(s->mhd);
	assert(list_empty(&s->requests) && list_empty(&s->users));
	if (s->listens)
		uv_close((uv_handle_t *)&s->listen_poll, on_closed);
	uv_close((uv_handle_t *)&s->mhd_poll, on_closed);
	uv_close((uv_handle_t *)&s->prepare, on_closed);
	uv_close((uv_handle_t *)&s->timer, on_closed);
	uv_close((uv_handle_t *)&s->sweep, on_closed);
}

int
http_server_connections(const struct http_server *s)
{
	return s->n_connections;
}
