/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: the HTTP server keeps its bounds and its promises to handlers whatever clients do: pipeline, send too
 * much, hang up while they wait, read slowly, or are too many. The server runs in a thread of its own and is
 * spoken to over a real Unix socket, or over TCP.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/xalloc.h"
#include "net/http_server.h"
#include "net/loop.h"

#define MAX_CONNECTIONS 8

struct later {
	struct timer timer;
	struct http_request *req;
};

static struct {
	char dir[64];
	struct sockaddr_un addr;
	struct sockaddr_in tcp; /* in its place, where sin_family is set */
	int other_fd;		/* listens, for /adopt */
	pthread_t thread;
	struct loop *loop;
	struct clock *clock;
	struct http_server *server;
	struct http_request *held; /* of /hold, until /release */
	struct http_request *stream;
	struct timer flood;
	int flooded;
	int closed; /* streams, so far */
} s;

static void
reply_text(struct http_request *req, int status, const char *text, size_t n)
{
	const struct http_field h = {"Content-Type", "text/plain"};
	struct buf b = BUF_INIT(0);

	buf_add(&b, text, n);
	http_reply(req, status, &h, 1, &b);
}

static void
on_later(void *arg)
{
	struct later *l = arg;

	reply_text(l->req, 200, "later", 5);
	free(l);
}

static void
on_stream_closed(void *arg)
{
	s.closed++;
	s.stream = NULL;
	timer_off(&s.flood);
}

static void
on_flood(void *arg)
{
	static char chunk[4096];

	memset(chunk, 'x', sizeof(chunk));
	s.flooded++;
	timer_set(s.clock, &s.flood, 0, on_flood, NULL);
	http_stream_write(s.stream, chunk, sizeof(chunk));
}

static bool
on_argument(void *arg, const char *name, const char *value)
{
	buf_fmt(arg, "%s=%s;", name, value ? value : "(none)");
	return true;
}

static void
handle(void *arg, struct http_request *req)
{
	const char *path = http_path(req);
	AUTO_BUF struct buf b = BUF_INIT(0);
	size_t n;
	const char *body = http_body(req, &n);

	if (http_body_too_large(req)) {
		reply_text(req, 413, "too large", 9);
	} else if (strcmp(path, "/echo") == 0) {
		reply_text(req, 200, body, n);
	} else if (strcmp(path, "/later") == 0) {
		struct later *l = xnew(struct later);

		l->req = req;
		timer_set(s.clock, &l->timer, 20, on_later, l);
	} else if (strcmp(path, "/hold") == 0) {
		s.held = req;
	} else if (strcmp(path, "/release") == 0) {
		if (s.held)
			reply_text(s.held, 200, "held", 4);
		s.held = NULL;
		reply_text(req, 200, "released", 8);
	} else if (strcmp(path, "/state") == 0) {
		buf_fmt(&b, "%d connections, %d closed",
		    http_server_connections(s.server), s.closed);
		reply_text(req, 200, b.data, b.len);
	} else if (strcmp(path, "/query") == 0) {
		http_query(req, on_argument, &b);
		reply_text(req, 200, b.data, b.len);
	} else if (strcmp(path, "/peer") == 0) {
		const struct http_peer *p = http_peer(req);

		buf_fmt(&b, "%u %u %d, from %u.%u.%u.%u, tag %d", p->uid, p->gid,
		    p->n_groups, p->address[12], p->address[13], p->address[14],
		    p->address[15], (int)p->tag);
		reply_text(req, 200, b.data, b.len);
	} else if (strcmp(path, "/headers") == 0) {
		http_headers(req, on_argument, &b);
		reply_text(req, 200, b.data, b.len);
	} else if (strcmp(path, "/drop") == 0) {
		http_drop(req);
	} else if (strcmp(path, "/drop-held") == 0) {
		http_drop(s.held);
		s.held = NULL;
		reply_text(req, 200, "dropped", 7);
	} else if (strcmp(path, "/adopt") == 0) {
		http_server_adopt(s.server, accept(s.other_fd, NULL, NULL), 42);
		reply_text(req, 200, "", 0);
	} else if (strcmp(path, "/stream") == 0) {
		s.stream = req;
		http_stream_start(req, NULL, 0, on_stream_closed, NULL);
		http_stream_write(req, "hello\n", 6);
	} else if (strcmp(path, "/flood") == 0) {
		s.stream = req;
		http_stream_start(req, NULL, 0, on_stream_closed, NULL);
		timer_set(s.clock, &s.flood, 0, on_flood, NULL);
	} else if (strcmp(path, "/say") == 0) {
		http_stream_write(s.stream, "again\n", 6);
		reply_text(req, 200, "", 0);
	} else if (strcmp(path, "/end") == 0) {
		http_stream_end(s.stream);
		reply_text(req, 200, "", 0);
	} else if (strcmp(path, "/quit") == 0) {
		reply_text(req, 200, "", 0);
		loop_stop(s.loop);
	} else {
		reply_text(req, 404, path, strlen(path));
	}
}

static void *
serve(void *arg)
{
	loop_run(s.loop);
	http_server_close(s.server);
	if (s.held) /* an answer that comes after the server is gone */
		reply_text(s.held, 200, "too late", 8);
	timer_off(&s.flood);
	loop_free(s.loop);
	clock_free(s.clock);
	return NULL;
}

static int
listen_tcp(struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t len = sizeof(*at);

	at->sin_family = AF_INET;
	at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)at, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)at, &len), 0);
	assert_int_equal(listen(fd, 64), 0);
	return fd;
}

static int
listen_unix(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(s.dir, "/tmp/hearth-http-XXXXXX", 24);
	assert_non_null(mkdtemp(s.dir));
	s.addr.sun_family = AF_UNIX;
	(void)snprintf(s.addr.sun_path, sizeof(s.addr.sun_path), "%s/sock", s.dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&s.addr, sizeof(s.addr)), 0);
	assert_int_equal(listen(fd, 64), 0);
	return fd;
}

static int
start(struct http_options opt)
{
	struct err err;

	opt.handler = handle;
	s.clock = clock_new_real();
	opt.loop = s.loop = loop_new(s.clock);
	assert_int_equal(http_server_new(&opt, &s.server, &err), 0);
	assert_int_equal(pthread_create(&s.thread, NULL, serve, NULL), 0);
	return 0;
}

static int
setup(void **state)
{
	memset(&s, 0, sizeof(s));
	return start((struct http_options){
	    .listen_fd = listen_unix(), .max_connections = MAX_CONNECTIONS});
}

static int
setup_tcp(void **state)
{
	memset(&s, 0, sizeof(s));
	return start((struct http_options){.listen_fd = listen_tcp(&s.tcp),
	    .max_connections = MAX_CONNECTIONS,
	    .max_connections_per_user = MAX_CONNECTIONS - 2,
	    .busy_type = "text/plain",
	    .busy_body = "not now"});
}

static int
client_at(const struct sockaddr *at, socklen_t len)
{
	struct timeval limit = {.tv_sec = 10};
	int fd = socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, at, len), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return fd;
}

static int
client(void)
{
	if (s.tcp.sin_family)
		return client_at((struct sockaddr *)&s.tcp, sizeof(s.tcp));
	return client_at((struct sockaddr *)&s.addr, sizeof(s.addr));
}

static void
say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void
get(int fd, const char *path)
{
	char req[256];

	(void)snprintf(req, sizeof(req), "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path);
	say(fd, req);
}

/* Reads one reply with Content-Length; its body goes to body. 0: the server hung up. */
static int
reply_of(int fd, char *body, size_t max)
{
	static char in[200000];
	size_t n = 0, want = 0;
	char *end = NULL;

	while (!end || n < want) {
		/* byte by byte up to the body, so that a pipelined reply stays in the socket */
		size_t room = end ? want - n : 1;
		ssize_t got = recv(fd, in + n, room, 0);

		if (got <= 0)
			return 0;
		n += (size_t)got;
		in[n] = '\0';
		if (!end && (end = strstr(in, "\r\n\r\n"))) {
			char *len = strcasestr(in, "content-length:");

			assert_non_null(len);
			want = (size_t)(end + 4 - in) + strtoul(len + 15, NULL, 10);
			assert_true(want < sizeof(in));
		}
	}
	if (body)
		(void)snprintf(body, max, "%s", end + 4);
	return (int)strtol(in + 9, NULL, 10);
}

static int
teardown(void **state)
{
	int fd = client();

	get(fd, "/quit");
	(void)reply_of(fd, NULL, 0); /* one who hangs up at once is not read */
	close(fd);
	pthread_join(s.thread, NULL);
	if (s.dir[0]) {
		unlink(s.addr.sun_path);
		rmdir(s.dir);
	}
	return 0;
}

static void
expect_body(int fd, const char *path, const char *want)
{
	char body[256];

	get(fd, path);
	assert_int_equal(reply_of(fd, body, sizeof(body)), 200);
	assert_string_equal(body, want);
}

static void
wait_on(int fd, const char *want)
{
	char body[256] = "";

	for (int i = 0; i < 60; i++) {
		get(fd, "/state");
		assert_int_equal(reply_of(fd, body, sizeof(body)), 200);
		if (strcmp(body, want) == 0)
			break;
		poll(NULL, 0, 100);
	}
	close(fd);
	assert_string_equal(body, want);
}

static void
wait_for_state(const char *want)
{
	wait_on(client(), want);
}

static void
test_keeps_alive_and_pipelines(void **state)
{
	int fd = client();
	char body[64], want[64];

	expect_body(fd, "/later", "later");
	say(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\none"
		"GET /later HTTP/1.1\r\nHost: h\r\n\r\n"
		"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
		"chunked\r\n\r\n2\r\ntw\r\n1\r\no\r\n0\r\n\r\n");
	assert_int_equal(reply_of(fd, body, sizeof(body)), 200);
	assert_string_equal(body, "one");
	assert_int_equal(reply_of(fd, body, sizeof(body)), 200);
	assert_string_equal(body, "later");
	assert_int_equal(reply_of(fd, body, sizeof(body)), 200);
	assert_string_equal(body, "two");
	(void)snprintf(want, sizeof(want), "%u %u", getuid(), getgid());
	get(fd, "/peer");
	assert_int_equal(reply_of(fd, body, sizeof(body)), 200);
	assert_memory_equal(body, want, strlen(want));
	close(fd);
}

static void
test_leaves_paths_and_queries_encoded(void **state)
{
	int fd = client();
	char body[64];

	expect_body(fd, "/query?a=%2F&b&c=", "a=%2F;b=(none);c=;");
	get(fd, "/x%2Fy%00z");
	assert_int_equal(reply_of(fd, body, sizeof(body)), 404);
	assert_string_equal(body, "/x%2Fy%00z");
	close(fd);
}

static void
send_body(int fd, size_t announced, size_t sent)
{
	char head[128], chunk[4096];

	memset(chunk, 'a', sizeof(chunk));
	(void)snprintf(head, sizeof(head),
	    "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", announced);
	say(fd, head);
	while (sent > 0) {
		size_t n = sent < sizeof(chunk) ? sent : sizeof(chunk);

		assert_int_equal(send(fd, chunk, n, MSG_NOSIGNAL), n);
		sent -= n;
	}
}

static void
test_bounds_the_body(void **state)
{
	int fd = client();

	send_body(fd, 65536, 65536);
	assert_int_equal(reply_of(fd, NULL, 0), 200);
	send_body(fd, 65537, 65537);
	assert_int_equal(reply_of(fd, NULL, 0), 413);
	assert_int_equal(reply_of(fd, NULL, 0), 0);
	close(fd);

	fd = client();
	send_body(
	    fd, 3 << 20, 3 << 20); /* read to its end, so that the client can read why */
	assert_int_equal(reply_of(fd, NULL, 0), 413);
	close(fd);

	fd = client();
	send_body(fd, (size_t)1 << 40, 0); /* not waited for */
	assert_int_equal(reply_of(fd, NULL, 0), 413);
	close(fd);
}

static void
test_bounds_the_headers(void **state)
{
	int fd = client();
	char junk[1024], reply[64] = "";

	say(fd, "GET /echo HTTP/1.1\r\nHost: h\r\n");
	memset(junk, 'a', sizeof(junk));
	memcpy(junk, "X-Junk: ", 8);
	memcpy(junk + sizeof(junk) - 2, "\r\n", 2);
	for (int i = 0; i < 64; i++)
		if (send(fd, junk, sizeof(junk), MSG_NOSIGNAL) < 0)
			break;
	assert_true(recv(fd, reply, sizeof(reply) - 1, 0) > 0);
	assert_non_null(strstr(reply, " 431 "));
	close(fd);
}

static void
test_a_client_that_hangs_up_while_it_waits(void **state)
{
	int fd = client();

	get(fd, "/hold");
	wait_for_state("2 connections, 0 closed");
	close(fd);
	wait_for_state(
	    "1 connections, 0 closed"); /* its connection is freed, its request kept */
	fd = client();
	expect_body(fd, "/release", "released"); /* the answer finds nobody */
	expect_body(fd, "/later", "later");
	close(fd);
}

static void
test_closes_with_a_request_open(void **state)
{
	int fd = client();

	get(fd, "/hold"); /* teardown's serve() answers it after the server is gone */
	wait_for_state("2 connections, 0 closed");
	close(fd);
}

static void
read_until(int fd, const char *what)
{
	char in[4096];
	size_t n = 0;

	do {
		ssize_t got = recv(fd, in + n, sizeof(in) - 1 - n, 0);

		assert_true(got > 0);
		n += (size_t)got;
		in[n] = '\0';
	} while (!strstr(in, what));
}

static void
test_streams(void **state)
{
	int fd = client(), other = client();

	get(fd, "/stream");
	read_until(fd, "hello\n");
	expect_body(other, "/say", "");
	read_until(fd, "again\n");
	expect_body(other, "/end", "");
	read_until(fd, "0\r\n\r\n");
	expect_body(other, "/state", "2 connections, 1 closed");
	get(fd, "/stream"); /* kept alive */
	read_until(fd, "hello\n");
	close(fd);
	close(other);
	wait_for_state("1 connections, 2 closed");
}

static void
test_drops_a_slow_reader(void **state)
{
	int fd = client();

	get(fd, "/flood");
	wait_for_state("1 connections, 1 closed");
	assert_true(s.flooded > 256); /* a backlog of 1 MiB */
	assert_true(s.flooded < 1024);
	close(fd);
}

static void
test_turns_away_a_client_too_many(void **state)
{
	int fds[MAX_CONNECTIONS + 1];

	for (int i = 0; i <= MAX_CONNECTIONS; i++)
		fds[i] = client();
	assert_int_equal(reply_of(fds[MAX_CONNECTIONS], NULL, 0), 429);
	expect_body(fds[0], "/later", "later");
	for (int i = 1; i <= MAX_CONNECTIONS; i++)
		close(fds[i]);
	wait_on(fds[0], "1 connections, 0 closed");
}

static void
test_tcp_knows_no_user(void **state)
{
	int fd = client();

	expect_body(fd, "/peer", "4294967295 4294967295 0, from 127.0.0.1, tag 0");
	expect_body(fd, "/later", "later");
	expect_body(fd, "/headers", "Host=h;");
	close(fd);
}

/* From elsewhere one still gets in. */
static void
test_tcp_bounds_an_address(void **state)
{
	struct sockaddr_in elsewhere = {
	    .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1)};
	char body[64];
	int fds[MAX_CONNECTIONS - 1], other;

	for (int i = 0; i < MAX_CONNECTIONS - 1; i++)
		fds[i] = client();
	assert_int_equal(reply_of(fds[MAX_CONNECTIONS - 2], body, sizeof(body)), 429);
	assert_string_equal(body, "not now");
	other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(
	    bind(other, (struct sockaddr *)&elsewhere, sizeof(elsewhere)), 0);
	assert_int_equal(connect(other, (struct sockaddr *)&s.tcp, sizeof(s.tcp)), 0);
	expect_body(other, "/peer", "4294967295 4294967295 0, from 127.0.0.2, tag 0");
	close(other);
	expect_body(fds[0], "/later", "later");
	for (int i = 1; i < MAX_CONNECTIONS - 1; i++)
		close(fds[i]);
	wait_on(fds[0], "1 connections, 0 closed");
}

static void
test_adopts_a_connection(void **state)
{
	struct sockaddr_in at = {0};
	int fd = client(), other;

	s.other_fd = listen_tcp(&at);
	other = client_at((struct sockaddr *)&at, sizeof(at));
	expect_body(fd, "/adopt", "");
	expect_body(other, "/peer", "4294967295 4294967295 0, from 127.0.0.1, tag 42");
	close(other);
	close(s.other_fd);
	wait_on(fd, "1 connections, 0 closed");
}

static void
test_drops(void **state)
{
	int fd = client(), held = client();
	char byte;

	get(fd, "/drop");
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	close(fd);
	get(held, "/hold");
	fd = client();
	expect_body(fd, "/state", "2 connections, 0 closed");
	expect_body(fd, "/drop-held", "dropped");
	assert_int_equal(recv(held, &byte, 1, 0), 0);
	close(held);
	wait_on(fd, "1 connections, 0 closed");
}

#define TEST_TCP(fn) cmocka_unit_test_setup_teardown(fn, setup_tcp, teardown)
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_keeps_alive_and_pipelines),
	    TEST(test_leaves_paths_and_queries_encoded),
	    TEST(test_bounds_the_body),
	    TEST(test_bounds_the_headers),
	    TEST(test_a_client_that_hangs_up_while_it_waits),
	    TEST(test_closes_with_a_request_open),
	    TEST(test_streams),
	    TEST(test_drops_a_slow_reader),
	    TEST(test_turns_away_a_client_too_many),
	    TEST_TCP(test_tcp_knows_no_user),
	    TEST_TCP(test_tcp_bounds_an_address),
	    TEST_TCP(test_adopts_a_connection),
	    TEST_TCP(test_drops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
