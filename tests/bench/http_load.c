/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: how many requests a second a server on a Unix socket answers, and how long each
 * takes, with N kept-alive clients that each have one request open at a time. One thread
 * and one epoll, so that on two cores the server has one to itself. "{n}" in path or body
 * becomes the request's number.
 *
 *   http_load -s SOCKET [-c CLIENTS] [-d SECONDS | -n REQUESTS] [-m METHOD] [-p PATH] [-b
 * BODY | -B FILE]
 *             [-e STATUS] [-j]
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/xalloc.h"

#define CLIENTS_MAX 4096
#define REPLY_MAX (4 << 20)

struct client {
	int fd;
	int64_t sent_ns;
	struct buf out;
	size_t out_sent;
	struct buf in;
};

static struct {
	const char *socket, *method, *path, *body;
	int clients, expect;
	double seconds;
	long requests;
	bool json;
} opt = {.method = "GET", .path = "/v1/health", .clients = 16, .seconds = 5};

static int epoll_fd;
static long started, finished, wrong;
static int64_t *took_ns;
static size_t took_cap;
static int64_t stop_at_ns;

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)fputs("http_load: ", stderr);
	(void)vfprintf(stderr, fmt, ap);
	(void)fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

static int64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void
add_numbered(struct buf *b, const char *text, long n)
{
	const char *at;

	while ((at = strstr(text, "{n}"))) {
		buf_add(b, text, (size_t)(at - text));
		buf_fmt(b, "%ld", n);
		text = at + 3;
	}
	buf_str(b, text);
}

static void
flush_out(struct client *c)
{
	ssize_t n = send(
	    c->fd, c->out.data + c->out_sent, c->out.len - c->out_sent, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN)
		die("send: %s", strerror(errno));
	if (n > 0)
		c->out_sent += (size_t)n;
}

static void
send_next(struct client *c)
{
	AUTO_BUF struct buf body = BUF_INIT(0);

	if (opt.requests ? started >= opt.requests : now_ns() >= stop_at_ns)
		return;
	started++;
	buf_reset(&c->out);
	buf_reset(&c->in);
	c->out_sent = 0;
	buf_fmt(&c->out, "%s ", opt.method);
	add_numbered(&c->out, opt.path, started);
	buf_str(&c->out, " HTTP/1.1\r\nHost: hearth\r\n");
	if (opt.body) {
		add_numbered(&body, opt.body, started);
		buf_fmt(&c->out,
		    "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
		    body.len);
		buf_add(&c->out, body.data, body.len);
	} else {
		buf_str(&c->out, "\r\n");
	}
	c->sent_ns = now_ns();
	flush_out(c);
}

static void
record(int64_t ns)
{
	if ((size_t)finished == took_cap) {
		took_cap = took_cap ? took_cap * 2 : 65536;
		took_ns = xrealloc(took_ns, took_cap * sizeof(*took_ns));
	}
	took_ns[finished++] = ns;
}

/* Whether the reply is all there. Content-Length only: what the API's plain replies have.
 */
static bool
complete(const struct buf *in)
{
	const char *end = in->len ? strstr(in->data, "\r\n\r\n") : NULL;
	const char *len;

	if (!end)
		return false;
	len = strcasestr(in->data, "content-length:");
	if (!len || len > end)
		die("a reply without Content-Length");
	return in->len >= (size_t)(end + 4 - in->data) + strtoul(len + 15, NULL, 10);
}

static void
receive(struct client *c)
{
	char chunk[65536];
	ssize_t n = recv(c->fd, chunk, sizeof(chunk), 0);
	int status;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		die("the server hung up: %s", n < 0 ? strerror(errno) : "end of file");
	buf_add(&c->in, chunk, (size_t)n);
	if (c->in.overflow)
		die("a reply over %d bytes", REPLY_MAX);
	if (!complete(&c->in))
		return;
	status = (int)strtol(c->in.data + 9, NULL, 10);
	if (opt.expect ? status != opt.expect : status >= 400) {
		if (wrong++ == 0)
			(void)fprintf(stderr, "http_load: first unexpected reply: %s\n",
			    c->in.data);
	}
	record(now_ns() - c->sent_ns);
	send_next(c);
}

static void
client_open(struct client *c)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};

	if (strlen(opt.socket) >= sizeof(addr.sun_path))
		die("%s: too long a path for a socket", opt.socket);
	memcpy(addr.sun_path, opt.socket, strlen(opt.socket) + 1);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	c->in = BUF_INIT(REPLY_MAX);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		die("connect to %s: %s", opt.socket, strerror(errno));
	if (fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0)
		die("fcntl: %s", strerror(errno));
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &ev) < 0)
		die("epoll: %s", strerror(errno));
	send_next(c);
}

static double
at_ms(double share)
{
	long i = (long)(share * (double)finished);

	return (double)took_ns[i < finished ? i : finished - 1] / 1e6;
}

static void
report(double seconds)
{
	qsort(took_ns, (size_t)finished, sizeof(*took_ns), clock_by_time);
	if (opt.json)
		printf("{\"requests\": %ld, \"unexpected\": %ld, \"seconds\": %.3f, "
		       "\"per_second\": %.0f, "
		       "\"p50_ms\": %.3f, \"p90_ms\": %.3f, \"p99_ms\": %.3f, "
		       "\"max_ms\": %.3f}\n",
		    finished, wrong, seconds, (double)finished / seconds, at_ms(.5),
		    at_ms(.9), at_ms(.99), at_ms(1));
	else
		printf("%ld requests, %d clients, %ld unexpected, %.2f s: %.0f/s  p50 "
		       "%.3f  p90 %.3f  p99 %.3f  "
		       "max %.3f ms\n",
		    finished, opt.clients, wrong, seconds, (double)finished / seconds,
		    at_ms(.5), at_ms(.9), at_ms(.99), at_ms(1));
}

static char *
read_file(const char *path)
{
	FILE *f = fopen(path, "re");
	struct buf b = BUF_INIT(1 << 20);
	char chunk[4096];
	size_t n;

	if (!f)
		die("%s: %s", path, strerror(errno));
	while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		buf_add(&b, chunk, n);
	(void)fclose(f);
	return buf_take(&b);
}

static void
options(int argc, char **argv)
{
	int o;

	while ((o = getopt(argc, argv, "s:c:d:n:m:p:b:B:e:j")) >= 0) {
		switch (o) {
		case 's':
			opt.socket = optarg;
			break;
		case 'c':
			opt.clients = (int)strtol(optarg, NULL, 10);
			break;
		case 'd':
			opt.seconds = strtod(optarg, NULL);
			break;
		case 'n':
			opt.requests = strtol(optarg, NULL, 10);
			break;
		case 'm':
			opt.method = optarg;
			break;
		case 'p':
			opt.path = optarg;
			break;
		case 'b':
			opt.body = optarg;
			break;
		case 'B':
			opt.body = read_file(optarg);
			break;
		case 'e':
			opt.expect = (int)strtol(optarg, NULL, 10);
			break;
		case 'j':
			opt.json = true;
			break;
		default:
			die("usage: http_load -s SOCKET [-c N] [-d S | -n N] [-m METHOD] "
			    "[-p PATH] [-b BODY | -B FILE] [-e STATUS] [-j]");
		}
	}
	if (!opt.socket)
		die("-s SOCKET is missing");
	if (opt.clients < 1 || opt.clients > CLIENTS_MAX)
		die("-c: 1 to %d", CLIENTS_MAX);
}

int
main(int argc, char **argv)
{
	struct epoll_event evs[64];
	struct client *clients;
	int64_t begin;

	options(argc, argv);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	clients = xcalloc((size_t)opt.clients, sizeof(*clients));
	begin = now_ns();
	stop_at_ns = begin + (int64_t)(opt.seconds * 1e9);
	for (int i = 0; i < opt.clients; i++)
		client_open(&clients[i]);
	while (finished < started) {
		int n = epoll_wait(epoll_fd, evs, 64, 10000);

		if (n == 0)
			die("no reply for 10 s, %ld requests open", started - finished);
		for (int i = 0; i < n; i++) {
			struct client *c = evs[i].data.ptr;

			if (c->out_sent < c->out.len)
				flush_out(c);
			receive(c);
		}
	}
	report((double)(now_ns() - begin) / 1e9);
	return wrong ? 1 : 0;
}
