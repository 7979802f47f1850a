/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: a peer may answer, hang up, fall silent, never end or lie, and each request ends once, within its bounds, with a
 * message that says what happened and whether the peer may have seen it.
 */
#include <dlfcn.h>
#include <netdb.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <uv.h>

#include "../support/script_server.h"
#include "base/buf.h"
#include "base/xalloc.h"
#include "net/fetch.h"

static uv_loop_t uv;
static struct fetcher *fetcher;
static struct script_server *server;
static struct fetch *last;

/* How the last request ended. */
static struct {
	int times;
	int status;
	char *body;
	size_t len;
	char content_type[64], etag[64];
	int64_t date_s, retry_after_s;
	bool sent;
	struct err err;
} got;

static int
setup(void **state)
{
	uv_loop_init(&uv);
	fetcher = fetcher_new(&uv, 4);
	server = script_server_new(&uv);
	return 0;
}

static int
teardown(void **state)
{
	fetcher_close(fetcher);
	script_server_close(server);
	uv_run(&uv, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&uv), 0);
	free(got.body);
	memset(&got, 0, sizeof(got));
	return 0;
}

static void
on_done(void *arg, const struct fetch_reply *reply, bool sent, const struct err *err)
{
	got.times++;
	got.sent = sent;
	assert_true(!reply != !err);
	got.status = reply ? reply->status : 0;
	got.err = err ? *err : (struct err){0};
	if (!reply)
		return;
	assert_int_equal(reply->body[reply->body_len], '\0');
	free(got.body);
	got.body = xstrndup(reply->body, reply->body_len);
	got.len = reply->body_len;
	snprintf(got.content_type, sizeof(got.content_type), "%s", reply->content_type);
	snprintf(got.etag, sizeof(got.etag), "%s", reply->etag ? reply->etag : "-");
	got.date_s = reply->date_s;
	got.retry_after_s = reply->retry_after_s;
}

static void
begin(const struct fetch_request *req)
{
	struct fetch_request r = *req;

	if (!r.url)
		r.url = script_server_url(server);
	if (!r.method)
		r.method = "GET";
	r.no_proxy = true;
	got.times = 0;
	last = fetch_start(fetcher, &r, on_done, NULL);
	assert_int_equal(got.times, 0); /* never before it returns */
}

static void
run(const struct fetch_request *req)
{
	begin(req);
	while (got.times == 0)
		uv_run(&uv, UV_RUN_ONCE);
	assert_int_equal(got.times, 1);
}

static void
test_reply(void **state)
{
	const struct fetch_header h[] = {
	    {"X-A", "b"}, {"X-Empty", ""}, {"Content-Type", "a/b"}};

	script_server_add(server, 418,
	    "Date: Sun, 22 Nov 2026 05:42:33 GMT\r\nContent-Type: "
	    "text/xml;charset=UTF-8\r\n"
	    "ETag: \"x\"\r\nRetry-After: 7\r\n",
	    "hello");
	run(&(struct fetch_request){.method = "POST",
	    .headers = h,
	    .n_headers = 3,
	    .body = "a=b",
	    .body_len = 3});
	assert_int_equal(got.status, 418);
	assert_string_equal(got.body, "hello");
	assert_string_equal(got.content_type, "text/xml;charset=UTF-8");
	assert_string_equal(got.etag, "\"x\"");
	assert_int_equal(got.date_s, 1795326153);
	assert_int_equal(got.retry_after_s, 7);
	assert_non_null(strstr(script_server_request(server, 0), "POST / HTTP/1.1\r\n"));
	assert_non_null(strstr(script_server_request(server, 0), "\r\nX-A: b\r\n"));
	assert_non_null(strstr(script_server_request(server, 0), "\r\nX-Empty:\r\n"));
	assert_non_null(strstr(script_server_request(server, 0), "\r\n\r\na=b"));
	assert_non_null(
	    strstr(script_server_request(server, 0), "\r\nContent-Type: a/b\r\n"));
}

static void
test_reply_with_little(void **state)
{
	script_server_add(server, 200, "Date: yesterday\r\n", "");
	run(&(struct fetch_request){.method = "PUT", .secret = true});
	assert_int_equal(got.status, 200);
	assert_string_equal(got.body, "");
	assert_string_equal(got.content_type, "");
	assert_string_equal(got.etag, "-");
	assert_int_equal(got.date_s, 0);
	assert_int_equal(got.retry_after_s, -1);
	assert_non_null(strstr(script_server_request(server, 0), "PUT / "));
	assert_non_null(
	    strstr(script_server_request(server, 0), "\r\nContent-Length: 0\r\n"));
	assert_null(strstr(script_server_request(server, 0), "Content-Type"));
}

static void
test_connections_are_kept(void **state)
{
	script_server_add(server, 200, "", "x");
	for (int i = 0; i < 3; i++)
		run(&(struct fetch_request){0});
	assert_int_equal(script_server_connections(server), 1);
	run(&(struct fetch_request){.once = true});
	assert_int_equal(script_server_connections(server), 2);
}

/* The trap: on a kept connection libcurl would send it again. */
static void
test_once_is_once(void **state)
{
	script_server_add(server, 200, "", "x");
	script_server_add_raw(server, "", SCRIPT_CLOSE);
	run(&(struct fetch_request){0});
	run(&(struct fetch_request){
	    .method = "POST", .once = true, .body = "x", .body_len = 1});
	assert_int_equal(got.err.code, ERR_UNAVAILABLE);
	assert_true(got.sent);
	assert_int_equal(script_server_requests(server), 2);
}

static void
test_redirects_are_not_followed(void **state)
{
	script_server_add(server, 302, "Location: http://127.0.0.1:1/\r\n", "");
	run(&(struct fetch_request){0});
	assert_int_equal(got.status, 302);
}

static void
test_too_large(void **state)
{
	script_server_add(server, 200, "", "0123456789");
	script_server_add_raw(server, "HTTP/1.1 200 OK\r\n\r\n", SCRIPT_ENDLESS);
	script_server_add_raw(server, "HTTP/1.1 200 OK\r\nX: ", SCRIPT_ENDLESS);
	run(&(struct fetch_request){.reply_max = 10});
	assert_int_equal(got.status, 200);
	run(&(struct fetch_request){.reply_max = 10000});
	assert_int_equal(got.err.code, ERR_TOO_LARGE);
	assert_non_null(strstr(got.err.msg, "over 10000 bytes"));
	assert_true(got.sent);
	run(&(struct fetch_request){.timeout_ms = 20000});
	assert_int_not_equal(got.err.code, ERR_NONE);
}

static void
test_many_headers(void **state)
{
	AUTO_BUF struct buf b = BUF_INIT(1 << 20);

	buf_str(&b, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n");
	for (int i = 0; i < 3000; i++)
		buf_fmt(&b, "X-%d: 0123456789012345678901234567890123456789\r\n", i);
	buf_str(&b, "\r\n");
	script_server_add_raw(server, b.data, SCRIPT_KEEP);
	run(&(struct fetch_request){0});
	assert_int_equal(got.err.code, ERR_TOO_LARGE);
}

static void
test_silence(void **state)
{
	script_server_add_raw(server, "", SCRIPT_HANG);
	run(&(struct fetch_request){.timeout_ms = 100});
	assert_int_equal(got.err.code, ERR_UNAVAILABLE);
	assert_non_null(strstr(got.err.msg, "127.0.0.1"));
	assert_true(got.sent);
}

static void
test_cut_off(void **state)
{
	static const char *const cut[] = {"", "HTTP/1.1 200 OK\r\nConte",
	    "garbage\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
	    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"};

	for (size_t i = 0; i < sizeof(cut) / sizeof(cut[0]); i++)
		script_server_add_raw(server, cut[i], SCRIPT_CLOSE);
	for (size_t i = 0; i < sizeof(cut) / sizeof(cut[0]); i++) {
		run(&(struct fetch_request){
		    .method = "POST", .body = "x", .body_len = 1});
		assert_int_equal(got.err.code, ERR_UNAVAILABLE);
		assert_true(got.sent);
	}
	assert_int_equal(script_server_requests(server), 5);
}

static void
test_nobody_there(void **state)
{
	run(&(struct fetch_request){.url = "http://127.0.0.1:1/secret?secret=1"});
	assert_int_equal(got.err.code, ERR_UNAVAILABLE);
	assert_false(got.sent);
	assert_non_null(strstr(got.err.msg, "http://127.0.0.1:1: "));
	assert_null(strstr(got.err.msg, "secret"));
	run(&(struct fetch_request){.url = "http://no-such-host.invalid/"});
	assert_int_equal(got.err.code, ERR_UNAVAILABLE);
	assert_false(got.sent);
}

static void
test_requests_that_are_wrong(void **state)
{
	static const char *const urls[] = {"", "x", "ftp://127.0.0.1/",
	    "file:///etc/passwd", "http://", "http://me:secret@127.0.0.1/",
	    "http://127.0.0.1:99999/"};
	const struct fetch_header h = {"X-A", "b\r\nX-Evil: 1"};

	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		run(&(struct fetch_request){.url = urls[i]});
		assert_int_equal(got.err.code, ERR_INVALID);
		assert_false(got.sent);
		assert_null(strstr(got.err.msg, "secret"));
	}
	run(&(struct fetch_request){.headers = &h, .n_headers = 1});
	assert_int_equal(got.err.code, ERR_INVALID);
	assert_null(strstr(got.err.msg, "Evil"));
}

static void
test_cancel(void **state)
{
	script_server_add_raw(server, "", SCRIPT_HANG);
	begin(&(struct fetch_request){0});
	while (script_server_requests(server) == 0)
		uv_run(&uv, UV_RUN_ONCE);
	fetch_cancel(last);
	begin(&(struct fetch_request){.url = "ftp://x/"});
	fetch_cancel(last);
	assert_false(uv_run(&uv, UV_RUN_NOWAIT) && got.times);
	assert_int_equal(got.times, 0);
}

/* ---- a resolver that hangs ---- */

static sem_t resolving, resolver_may_go;

/* In the place of libc's. */
int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
    struct addrinfo **res)
{
	static __typeof__(&getaddrinfo) real;

	if (node && strcmp(node, "slow.invalid") == 0) {
		sem_post(&resolving);
		sem_wait(&resolver_may_go);
		return EAI_NONAME;
	}
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	return real(node, service, hints, res);
}

/* libcurl would wait for its thread, and so stop the whole loop, for as long as DNS does not answer. */
static void
test_cancel_does_not_wait_for_dns(void **state)
{
	sem_init(&resolving, 0, 0);
	sem_init(&resolver_may_go, 0, 0);
	begin(&(struct fetch_request){.url = "http://slow.invalid/"});
	while (sem_trywait(&resolving) != 0)
		uv_run(&uv, UV_RUN_ONCE);
	alarm(20); /* hangs where it is broken */
	fetch_cancel(last);
	run(&(struct fetch_request){.url = "http://slow.invalid/", .timeout_ms = 50});
	alarm(0);
	assert_int_equal(got.err.code, ERR_UNAVAILABLE);
	sem_post(&resolver_may_go);
	sem_post(&resolver_may_go);
}

/* Four connections hang; the fifth request waits until one of them is given up. */
static void
test_waiting_for_a_connection(void **state)
{
	struct fetch *hanging[4], *given_up;

	for (int i = 0; i < 4; i++)
		script_server_add_raw(server, "", SCRIPT_HANG);
	script_server_add(server, 200, "", "x");
	for (int i = 0; i < 4; i++) {
		begin(&(struct fetch_request){0});
		hanging[i] = last;
	}
	while (script_server_requests(server) < 4)
		uv_run(&uv, UV_RUN_ONCE);
	begin(&(struct fetch_request){0});
	given_up = last;
	begin(&(struct fetch_request){0});
	uv_run(&uv, UV_RUN_NOWAIT);
	assert_int_equal(script_server_requests(server), 4);
	fetch_cancel(given_up);
	fetch_cancel(hanging[2]);
	while (got.times == 0)
		uv_run(&uv, UV_RUN_ONCE);
	assert_int_equal(got.status, 200);
	assert_int_equal(script_server_requests(server), 5);
}

static void
on_close_it(void *arg, const struct fetch_reply *reply, bool sent, const struct err *err)
{
	int *n = arg;

	if (++*n > 1)
		assert_int_equal(err->code, ERR_CANCELLED);
	else
		fetcher_close(fetcher);
}

/* Of five requests the first that ends closes the fetcher; the others hear of it. */
static void
close_within(const char *url)
{
	const struct fetch_request req = {.method = "GET", .url = url, .no_proxy = true};
	int n = 0;

	for (int i = 0; i < 5; i++)
		fetch_start(fetcher, &req, on_close_it, &n);
	while (n < 5)
		uv_run(&uv, UV_RUN_ONCE);
	uv_run(&uv, UV_RUN_NOWAIT);
	assert_int_equal(n, 5);
	fetcher = fetcher_new(&uv, 4);
}

static void
test_close_from_within(void **state)
{
	script_server_add(server, 200, "", "x");
	close_within(script_server_url(server));
	close_within("http://127.0.0.1:1/");
	close_within("ftp://127.0.0.1/");
}

static int n_many;

static void
on_many(void *arg, const struct fetch_reply *reply, bool sent, const struct err *err)
{
	assert_non_null(reply);
	n_many++;
}

static void
test_many_at_a_time(void **state)
{
	const struct fetch_request req = {
	    .method = "GET", .url = script_server_url(server), .no_proxy = true};

	script_server_add(server, 200, "", "x");
	for (int i = 0; i < 500; i++)
		fetch_start(fetcher, &req, on_many, NULL);
	while (n_many < 500)
		uv_run(&uv, UV_RUN_ONCE);
	assert_int_equal(script_server_requests(server), 500);
	assert_true(script_server_connections(server) <= 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_reply),
	    TEST(test_reply_with_little),
	    TEST(test_connections_are_kept),
	    TEST(test_once_is_once),
	    TEST(test_redirects_are_not_followed),
	    TEST(test_too_large),
	    TEST(test_many_headers),
	    TEST(test_silence),
	    TEST(test_cut_off),
	    TEST(test_nobody_there),
	    TEST(test_requests_that_are_wrong),
	    TEST(test_cancel),
	    TEST(test_cancel_does_not_wait_for_dns),
	    TEST(test_waiting_for_a_connection),
	    TEST(test_close_from_within),
	    TEST(test_many_at_a_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
