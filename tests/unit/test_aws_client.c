/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: a call of AWS ends once, with what the service said or an error that says what to do, whatever the service does:
 * throttle, fail, fall silent, hang up, speak HTML, or find our clock or key wrong; what may not be done twice is sent once;
 * and calls keep below AWS's rates by themselves. Time is simulated, the network is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <uv.h>

#include "../support/fixed_credentials.h"
#include "../support/script_server.h"
#include "aws/bucket.h"
#include "aws/client.h"
#include "aws/sigv4.h"
#include "aws/xml.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "net/fetch.h"

#define WALL_MS 1795326153000 /* 2026-11-22T05:42:33Z */
#define OK_XML                                                                           \
	"<R xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><set><item><id>i-1</id>"  \
	"</item></set></R>"
#define THROTTLED                                                                        \
	"<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>Request "    \
	"limit exceeded.</Message></Error></Errors><RequestID>x</RequestID></Response>"

static uv_loop_t uv;
static struct clock *clock_;
static struct fetcher *fetcher;
static struct script_server *server;
static struct credentials keys;
static struct aws_client *client;
static struct aws_client_options options;
static int64_t began_ms;

static const struct aws_call_options reads = {.repeatable = true, .filtered = true};
static const struct aws_call_options writes = {0};

/* How calls ended; the last one's result. */
static struct {
	int times, good;
	char id[32];
	char json[128];
	struct aws_error aws;
	struct err err;
} got;

static void
new_client(void)
{
	struct err err;

	aws_client_close(client);
	if (aws_client_new(&options, &client, &err) < 0)
		fail_msg("%s", err.msg);
	memset(&got, 0, sizeof(got));
	began_ms = clock_now_ms(clock_);
}

static int
setup(void **state)
{
	uv_loop_init(&uv);
	clock_ = clock_new_sim(WALL_MS);
	fetcher = fetcher_new(&uv, 4);
	server = script_server_new(&uv);
	keys = (struct credentials){.id = "AKID", .secret = "secret"};
	options = (struct aws_client_options){
	    .clock = clock_,
	    .fetcher = fetcher,
	    .credentials = &keys,
	    .service = "ec2",
	    .region = "us-east-1",
	    .endpoint = script_server_url(server),
	    .api_version = "2016-11-15",
	};
	client = NULL;
	new_client();
	return 0;
}

static int
teardown(void **state)
{
	aws_client_close(client);
	fixed_credentials_answer(&keys);
	fetcher_close(fetcher);
	script_server_close(server);
	uv_run(&uv, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&uv), 0);
	clock_free(clock_); /* asserts that no timer is left */
	return 0;
}

static void
ended(const struct aws_error *aws, const struct err *err, bool reply)
{
	assert_true(reply == !err);
	assert_non_null(aws);
	got.times++;
	got.good += reply;
	got.aws = *aws;
	got.err = err ? *err : (struct err){0};
	for (const char *p = got.err.msg; *p; p++)
		assert_true(*p >= ' ' && *p <= '~');
	if (err && err->code != ERR_INVALID && err->code != ERR_NOT_FOUND &&
	    err->code != ERR_CANCELLED)
		assert_string_not_equal(got.err.hint, "");
}

static void
on_query(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	ended(aws, err, reply != NULL);
	snprintf(got.id, sizeof(got.id), "%s", xml_text(reply, "set/item/id"));
}

static void
on_json(void *arg, const char *body, const struct aws_error *aws, const struct err *err)
{
	ended(aws, err, body != NULL);
	snprintf(got.json, sizeof(got.json), "%s", body ? body : "");
}

static struct aws_call *
start(const char *action, const struct aws_call_options *opt)
{
	struct aws_form form = {0};

	aws_form_add(&form, "tag:a b", "Filter.%d.Name", 1);
	aws_form_add(&form, NULL, "Absent");
	return aws_query(client, action, &form, opt, on_query, NULL);
}

/* One step: of the network while somebody waits for it, else of the clock. */
static void
step(void)
{
	if (uv_loop_alive(&uv)) {
		uv_run(&uv, UV_RUN_ONCE);
		return;
	}
	if (clock_next_ms(clock_) < 0)
		fail_msg("nothing is under way any more");
	clock_sim_advance(clock_, clock_next_ms(clock_));
}

static void
run_until(int n)
{
	while (got.times < n)
		step();
	assert_int_equal(got.times, n);
}

static void
call(const char *action, const struct aws_call_options *opt)
{
	got.times = got.good = 0;
	began_ms = clock_now_ms(clock_);
	start(action, opt);
	assert_int_equal(got.times, 0);
	run_until(1);
}

static int64_t
elapsed_ms(void)
{
	return clock_now_ms(clock_) - began_ms;
}

static int
sent(void)
{
	return script_server_requests(server);
}

/* ---- what is sent ---- */

struct wire {
	char *text;
	char *body;
	struct sigv4_header h[16];
	int n;
};

/* Cuts a request as it came into lines. */
static void
cut(struct wire *w, const char *request)
{
	char *line, *next;

	memset(w, 0, sizeof(*w));
	w->text = xstrdup(request);
	w->body = strstr(w->text, "\r\n\r\n");
	*w->body = '\0';
	w->body += 4;
	for (line = strstr(w->text, "\r\n"); line && w->n < 16; line = next) {
		char *colon = strchr(line + 2, ':');

		next = strstr(line + 2, "\r\n");
		if (next)
			*next = '\0';
		*colon = '\0';
		w->h[w->n].name = line + 2;
		w->h[w->n++].value = colon + 1 + strspn(colon + 1, " ");
	}
}

static const char *
value(const struct wire *w, const char *name)
{
	for (int i = 0; i < w->n; i++)
		if (strcasecmp(w->h[i].name, name) == 0)
			return w->h[i].value;
	return NULL;
}

/* As our endpoint would. */
static void
verify(int i, const char *secret, int64_t now_s)
{
	struct sigv4_claim claim;
	struct sigv4_request req;
	struct wire w;
	struct err err;

	cut(&w, script_server_request(server, i));
	req = (struct sigv4_request){"POST", "/", "", w.h, w.n, w.body, strlen(w.body)};
	if (sigv4_parse(value(&w, "Authorization"), "", value(&w, "X-Amz-Date"), &claim,
		&err) < 0 ||
	    sigv4_verify(&req, &claim, secret, now_s, &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(claim.region, "us-east-1");
	free(w.text);
}

static void
test_query(void **state)
{
	struct wire w;

	keys.token = "tok/en+=";
	script_server_add(server, 200, "", OK_XML);
	call("DescribeInstances", &reads);
	assert_int_equal(got.good, 1);
	assert_string_equal(got.id, "i-1");
	assert_int_equal(got.aws.status, 200);
	verify(0, "secret", WALL_MS / 1000);
	cut(&w, script_server_request(server, 0));
	assert_string_equal(w.body,
	    "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name="
	    "tag%3Aa+b");
	assert_string_equal(value(&w, "X-Amz-Security-Token"), "tok/en+=");
	assert_non_null(strstr(value(&w, "Authorization"),
	    "content-type;host;x-amz-date;x-amz-security-token"));
	free(w.text);
	assert_int_equal(aws_client_calls(client, NULL), 1);
	assert_int_equal(aws_client_calls(client, "DescribeInstances"), 1);
	assert_int_equal(aws_client_calls(client, "RunInstances"), 0);
}

static void
test_json(void **state)
{
	struct wire w;

	options.service = "ec2-instance-connect";
	new_client();
	script_server_add(server, 200, "", "{\"Success\": true}");
	script_server_add(server, 400, "",
	    "{\"__type\":\"com.amazonaws.x#ThrottlingException:http://"
	    "x\",\"message\":\"slow\"}");
	script_server_add(server, 404, "",
	    "{\"__type\":\"com.amazonaws.x#EC2InstanceNotFoundException:http://x/"
	    "\",\"Message\":\"no \xc3\xa9 "
	    "one\"}");
	script_server_add(server, 200, "", "<html>");
	aws_json(client, "AWSEC2InstanceConnectService.SendSSHPublicKey", "{\"a\":1}",
	    &reads, on_json, NULL);
	run_until(1);
	assert_string_equal(got.json, "{\"Success\": true}");
	cut(&w, script_server_request(server, 0));
	assert_string_equal(
	    value(&w, "X-Amz-Target"), "AWSEC2InstanceConnectService.SendSSHPublicKey");
	assert_string_equal(value(&w, "Content-Type"), "application/x-amz-json-1.1");
	assert_string_equal(w.body, "{\"a\":1}");
	free(w.text);
	verify(0, "secret", WALL_MS / 1000);
	aws_json(client, "X.Y", "{}", &reads, on_json, NULL);
	run_until(2);
	assert_int_equal(got.err.code, ERR_NOT_FOUND);
	assert_string_equal(got.aws.code, "EC2InstanceNotFoundException");
	assert_string_equal(got.err.msg, "Y: EC2InstanceNotFoundException: no one");
	assert_int_equal(aws_client_throttled(client), 1);
	aws_json(client, "X.Y", "{}", &reads, on_json, NULL);
	run_until(3);
	assert_int_equal(got.err.code, ERR_UNAVAILABLE);
}

/* ---- throttling ---- */

static void
test_throttling_is_not_seen(void **state)
{
	for (int i = 0; i < 20; i++)
		script_server_add(server, 503, "", THROTTLED);
	script_server_add(server, 200, "", OK_XML);
	call("RunInstances", &writes);
	assert_int_equal(got.good, 1);
	assert_int_equal(sent(), 21);
	assert_int_equal(aws_client_throttled(client), 20);
	assert_int_equal(aws_client_calls(client, "RunInstances"), 21);
	assert_false(got.aws.maybe_done);
}

/* Who is throttled was too fast, so the next calls wait for what comes in, too. */
static void
test_throttling_drains_the_bucket(void **state)
{
	script_server_add(server, 503, "", THROTTLED);
	script_server_add(server, 200, "", OK_XML);
	start("RunInstances", &writes);
	while (aws_client_throttled(client) == 0)
		step();
	start("RunInstances", &writes);
	run_until(2);
	assert_int_equal(got.good, 2);
	assert_true(elapsed_ms() >= 1428); /* two tokens at 1.4 a second */
}

static void
test_throttling_that_does_not_end(void **state)
{
	const struct aws_call_options opt = {.repeatable = true, .deadline_ms = 60000};

	script_server_add(server, 503, "", THROTTLED);
	call("RunInstances", &opt);
	assert_int_equal(got.err.code, ERR_RATE_LIMITED);
	assert_true(got.aws.throttled);
	assert_false(got.aws.maybe_done);
	assert_string_equal(got.aws.code, "RequestLimitExceeded");
	assert_string_equal(
	    got.err.msg, "RunInstances: RequestLimitExceeded: Request limit exceeded.");
	assert_int_equal(elapsed_ms(), 60000);
}

static void
test_retry_after(void **state)
{
	script_server_add(server, 429, "Retry-After: 100\r\n", "");
	script_server_add(server, 503, "Retry-After: 50\r\n", "");
	script_server_add(server, 200, "", OK_XML);
	call("DescribeVolumes", &reads);
	assert_int_equal(got.good, 1);
	assert_in_range(elapsed_ms(), 150000, 160000);
}

/* ---- pacing ---- */

static void
many(const char *action, int n, const struct aws_call_options *opt)
{
	struct aws_call_options o = *opt;

	o.deadline_ms = 3600 * 1000;
	got.times = got.good = 0;
	began_ms = clock_now_ms(clock_);
	for (int i = 0; i < n; i++)
		start(action, &o);
	run_until(n);
	assert_int_equal(got.good, n);
}

static void
test_pace(void **state)
{
	struct aws_call_options opt = {.repeatable = true};

	script_server_add(server, 200, "", OK_XML);
	many("RunInstances", 17, &opt); /* 3.5 at once, then 1.4 a second: 13.5 / 1.4 */
	assert_in_range(elapsed_ms(), 9600, 9700);
	many("DescribeInstances", 84, &reads); /* 70, then 14 a second */
	assert_in_range(elapsed_ms(), 1000, 1100);
	many("DescribeInstances", 42,
	    &opt); /* of all, in a bucket of their own: 35, then 7 */
	assert_in_range(elapsed_ms(), 1000, 1100);
	opt.resources = 600; /* 700 at once, then 1.4 a second: 500 / 1.4 */
	many("StartInstances", 2, &opt);
	assert_in_range(elapsed_ms(), 357000, 357300);
	opt.resources = 5000; /* more than the bucket ever holds */
	many("StartInstances", 1, &opt);
}

static void
test_pace_of_a_fast_endpoint(void **state)
{
	script_server_add(server, 200, "", OK_XML);
	options.bucket_speed = 100;
	new_client();
	many("RunInstances", 17, &reads);
	assert_in_range(elapsed_ms(), 90, 110);
	options.bucket_speed = -1;
	new_client();
	many("RunInstances", 100, &reads);
	assert_int_equal(elapsed_ms(), 0);
	options.bucket_speed = 0;
	options.service = "sts";
	new_client();
	many("GetCallerIdentity", 200, &reads);
	assert_int_equal(elapsed_ms(), 0);
}

static void
test_its_turn_does_not_come(void **state)
{
	struct aws_call_options opt = {.repeatable = true, .deadline_ms = 1000};

	script_server_add(server, 200, "", OK_XML);
	for (int i = 0; i < 6; i++)
		start("RunInstances", &opt);
	run_until(6);
	assert_int_equal(got.good, 4);
	assert_int_equal(got.err.code, ERR_RATE_LIMITED);
	assert_false(got.aws.maybe_done);
	assert_int_equal(sent(), 4);
}

/* ---- failures that pass ---- */

static void
test_what_passes_is_tried_again(void **state)
{
	script_server_add(server, 500, "", "");
	script_server_add(
	    server, 502, "Content-Type: text/html\r\n", "<html>Bad Gateway</html>");
	script_server_add(server, 503, "",
	    "<Response><Errors><Error><Code>Unavailable</Code></Error></Errors></"
	    "Response>");
	script_server_add_raw(server, "", SCRIPT_CLOSE);
	script_server_add_raw(
	    server, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<R>", SCRIPT_CLOSE);
	script_server_add(server, 200, "", OK_XML);
	call("DescribeInstances", &reads);
	assert_int_equal(got.good, 1);
	assert_int_equal(sent(), 6);
}

static void
test_not_for_ever(void **state)
{
	script_server_add(
	    server, 502, "Content-Type: text/html\r\n", "<html>Bad Gateway</html>");
	call("DescribeInstances", &reads);
	assert_int_equal(sent(), 8);
	assert_int_equal(got.err.code, ERR_UNAVAILABLE);
	assert_true(got.aws.maybe_done);
	assert_non_null(strstr(got.err.msg, "answered HTTP 502 with HTML"));
	assert_non_null(strstr(got.err.hint, "right endpoint"));
}

/* An outage is not met with eight times the calls: what failed uses up the tokens of trying again. */
static void
test_an_outage_is_no_storm(void **state)
{
	script_server_add(server, 500, "", "");
	options.bucket_speed = -1;
	new_client();
	for (int i = 0; i < 200; i++)
		start("DescribeInstances", &reads);
	run_until(200);
	assert_int_equal(sent(), 200 + 500 / 5);
	script_server_reset(server);
	script_server_add(server, 200, "", OK_XML);
	for (int i = 0; i < 10; i++)
		start("DescribeInstances", &reads);
	run_until(210);
	script_server_reset(server);
	script_server_add(server, 500, "", "");
	script_server_add(server, 200, "", OK_XML);
	call("DescribeInstances", &reads); /* ten successes have paid for one */
	assert_int_equal(got.good, 1);
}

static void
test_what_may_not_be_repeated(void **state)
{
	/* A kept connection, on which libcurl alone would send it again. */
	script_server_add(server, 200, "", OK_XML);
	script_server_add_raw(server, "", SCRIPT_CLOSE);
	call("CreateImage", &reads);
	call("CreateImage", &writes);
	assert_int_equal(sent(), 2);
	assert_int_equal(got.err.code, ERR_UNAVAILABLE);
	assert_true(got.aws.maybe_done);
	script_server_reset(server);
	script_server_add(server, 500, "",
	    "<Response><Errors><Error><Code>InternalError</Code></Error></Errors></"
	    "Response>");
	call("CreateImage", &writes);
	assert_int_equal(sent(), 1);
	assert_true(got.aws.maybe_done);
	assert_string_equal(got.aws.code, "InternalError");
}

static void
test_what_was_lost_stays_so(void **state)
{
	const struct aws_call_options opt = {.repeatable = true, .deadline_ms = 60000};

	script_server_add_raw(server, "", SCRIPT_CLOSE);
	script_server_add(server, 503, "", THROTTLED);
	call("RunInstances", &opt);
	assert_int_equal(got.err.code, ERR_RATE_LIMITED);
	assert_true(got.aws.maybe_done);
}

static void
test_silence(void **state)
{
	struct aws_call_options opt = {.timeout_ms = 50};

	script_server_add_raw(server, "", SCRIPT_HANG);
	call("CreateImage", &opt);
	assert_int_equal(got.err.code, ERR_UNAVAILABLE);
	assert_true(got.aws.maybe_done);
	assert_int_equal(got.aws.status, 0);
	assert_int_equal(sent(), 1);
}

static void
test_deadline_while_sent(void **state)
{
	struct aws_call_options opt = {.repeatable = true, .deadline_ms = 5000};

	script_server_add_raw(server, "", SCRIPT_HANG);
	start("DescribeInstances", &opt);
	while (sent() == 0)
		step();
	clock_sim_advance(clock_, 5000);
	assert_int_equal(got.times, 1);
	assert_int_equal(got.err.code, ERR_UNAVAILABLE);
	assert_true(got.aws.maybe_done);
	assert_non_null(strstr(got.err.msg, "did not answer in 5 s"));
}

static void
test_nobody_there(void **state)
{
	options.endpoint = "http://127.0.0.1:1";
	new_client();
	call("CreateImage", &writes); /* was never sent, and so may be tried again */
	assert_int_equal(aws_client_calls(client, NULL), 8);
	assert_int_equal(got.err.code, ERR_UNAVAILABLE);
	assert_false(got.aws.maybe_done);
	assert_non_null(strstr(got.err.msg, "CreateImage: http://127.0.0.1:1: "));
	assert_non_null(strstr(got.err.hint, "http://127.0.0.1:1"));
}

/* ---- clock and keys ---- */

#define EXPIRED                                                                          \
	"<Response><Errors><Error><Code>RequestExpired</Code><Message>Request has "      \
	"expired.</Message></Error></Errors></Response>"
#define HOUR_LATER "Date: Sun, 22 Nov 2026 06:42:33 GMT\r\n"

static void
test_clock_is_corrected(void **state)
{
	/* Two at a time: the one whose refusal comes second must not take it for its key's. */
	script_server_add(server, 400, HOUR_LATER, EXPIRED);
	script_server_add(server, 400, HOUR_LATER, EXPIRED);
	script_server_add(server, 200, HOUR_LATER, OK_XML);
	start("DescribeInstances", &reads);
	start("DescribeInstances", &reads);
	run_until(2);
	assert_int_equal(got.good, 2);
	assert_int_equal(sent(), 4);
	assert_int_equal(keys.rejections, 0);
	verify(2, "secret", WALL_MS / 1000 + 3600);
	verify(3, "secret", WALL_MS / 1000 + 3600);
	call("DescribeInstances", &reads);
	verify(4, "secret", WALL_MS / 1000 + 3600);
}

static void
test_clock_is_corrected_once(void **state)
{
	script_server_add(server, 400, HOUR_LATER, EXPIRED);
	script_server_add(
	    server, 400, "Date: Sun, 22 Nov 2026 08:42:33 GMT\r\n", EXPIRED);
	call("DescribeInstances", &reads);
	assert_int_equal(sent(), 2); /* the key is the same, so there is no third */
	assert_int_equal(keys.rejections, 1);
	assert_int_equal(got.err.code, ERR_NOT_PERMITTED);
	assert_non_null(strstr(got.err.hint, "clock"));
	assert_non_null(strstr(got.err.hint, "the test"));
}

static void
test_clock_is_right(void **state)
{
	script_server_add(
	    server, 400, "Date: Sun, 22 Nov 2026 05:42:50 GMT\r\n", EXPIRED);
	call("DescribeInstances", &reads);
	assert_int_equal(sent(), 1);
	assert_int_equal(keys.rejections, 1);
	assert_int_equal(got.err.code, ERR_NOT_PERMITTED);
}

#define EXPIRED_TOKEN                                                                    \
	"<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</"                  \
	"Code><Message>The "                                                             \
	"security token included in the request is "                                     \
	"expired</Message></Error></ErrorResponse>"

static void
test_expired_token(void **state)
{
	keys.id_after_rejection = "AKID2";
	keys.id_after_next = "AKID3"; /* is not tried any more for the same call */
	script_server_add(server, 403, "", EXPIRED_TOKEN);
	script_server_add(server, 200, "", OK_XML);
	call("RunInstances", &writes);
	assert_int_equal(got.good, 1);
	assert_int_equal(keys.rejections, 1);
	assert_non_null(strstr(script_server_request(server, 1), "Credential=AKID2/"));
	script_server_reset(server);
	script_server_add(server, 403, "", EXPIRED_TOKEN);
	call("RunInstances", &writes);
	assert_int_equal(sent(), 2);
	assert_int_equal(keys.rejections, 2);
	assert_int_equal(got.err.code, ERR_NOT_PERMITTED);
	assert_string_equal(got.err.hint, "renew the keys of the test");
}

static void
test_no_credentials(void **state)
{
	keys.id = NULL;
	call("TerminateInstances", &writes);
	assert_int_equal(
	    got.err.code, ERR_NOT_PERMITTED); /* not NOT_FOUND: no instance is gone */
	assert_string_equal(got.err.msg, "TerminateInstances: no AWS credentials");
	assert_string_equal(got.err.hint, "set AWS_ACCESS_KEY_ID");
	assert_int_equal(aws_client_calls(client, NULL), 0);
}

/* ---- what errors become ---- */

static const struct {
	int status;
	const char *code;
	enum err_code err;
} codes[] = {
    {400, "InvalidInstanceID.NotFound", ERR_NOT_FOUND},
    {400, "InvalidGroup.NotFound", ERR_NOT_FOUND},
    {400, "AWS.SimpleQueueService.NonExistentQueue", ERR_NOT_FOUND},
    {500, "InsufficientInstanceCapacity", ERR_NO_CAPACITY},
    {400, "InsufficientFreeAddressesInSubnet", ERR_NO_CAPACITY},
    {400, "VcpuLimitExceeded", ERR_NO_CAPACITY},
    {400, "InstanceLimitExceeded", ERR_NO_CAPACITY},
    {400, "MaxSpotInstanceCountExceeded", ERR_NO_CAPACITY},
    {400, "AttachmentLimitExceeded", ERR_NO_CAPACITY},
    {400, "Unsupported", ERR_NO_CAPACITY},
    {403, "UnauthorizedOperation", ERR_NOT_PERMITTED},
    {401, "AuthFailure", ERR_NOT_PERMITTED},
    {403, "SignatureDoesNotMatch", ERR_NOT_PERMITTED},
    {403, "InvalidClientTokenId", ERR_NOT_PERMITTED},
    {401, "OptInRequired", ERR_NOT_PERMITTED},
    {403, "SomethingNew", ERR_NOT_PERMITTED},
    {400, "IdempotentParameterMismatch", ERR_INVALID},
    {400, "InvalidParameterValue", ERR_INVALID},
    {412, "DryRunOperation", ERR_INVALID},
    {501, "NotImplemented", ERR_UNAVAILABLE},
};

static void
test_codes(void **state)
{
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		char *body =
		    xasprintf("<Response><Errors><Error><Code>%s</Code><Message>a\n "
			      "b\n </Message></Error></Errors></Response>",
			codes[i].code);
		char *msg = xasprintf("RunInstances: %s: a b", codes[i].code);

		options.bucket_speed = -1;
		new_client();
		script_server_reset(server);
		script_server_add(server, codes[i].status, "", body);
		call("RunInstances", &writes);
		assert_int_equal(sent(), 1);
		assert_int_equal(got.err.code, codes[i].err);
		assert_string_equal(got.aws.code, codes[i].code);
		assert_int_equal(got.aws.status, codes[i].status);
		assert_string_equal(got.err.msg, msg);
		assert_false(got.aws.maybe_done);
		free(body);
		free(msg);
	}
}

static void
test_another_region(void **state)
{
	script_server_add(server, 403, "",
	    "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>Credential "
	    "should "
	    "be scoped to a valid region. </Message></Error></ErrorResponse>");
	call("DescribeInstances", &reads);
	assert_int_equal(got.err.code, ERR_NOT_PERMITTED);
	assert_non_null(strstr(got.err.hint, "another region than us-east-1"));
}

static void
test_replies_that_are_none(void **state)
{
	static const char *const bodies[] = {"", "<html><body>Log in</body></html", "{}",
	    "<R><a></R>", "<!DOCTYPE html><html></html>",
	    "<!DOCTYPE R [<!ENTITY a \"b\">]><R>&a;</R>"};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		script_server_reset(server);
		script_server_add(server, 200, "", bodies[i]);
		call("RunInstances", &reads);
		assert_int_equal(got.err.code, ERR_UNAVAILABLE);
		assert_true(got.aws.maybe_done);
		assert_int_equal(sent(), 1);
	}
}

static void
test_errors_that_are_none(void **state)
{
	static const char *const bodies[] = {"", "no", "<Response/>", "<Error/>", "{",
	    "[1]", "{\"__type\":7}", "<html>not found</html>"};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		script_server_reset(server);
		script_server_add(server, 404, "", bodies[i]);
		call("TerminateInstances", &writes);
		assert_int_equal(got.err.code, ERR_UNAVAILABLE); /* not NOT_FOUND */
		assert_string_equal(got.aws.code, "");
	}
}

static void
test_endless(void **state)
{
	script_server_add_raw(server, "HTTP/1.1 200 OK\r\n\r\n<R>", SCRIPT_ENDLESS);
	call("DescribeInstances", &reads);
	assert_int_equal(got.err.code, ERR_TOO_LARGE);
	assert_int_equal(sent(), 1);
	script_server_reset(server);
	script_server_add_raw(server,
	    "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n<R>", SCRIPT_ENDLESS);
	call("DescribeInstances", &reads);
	assert_int_equal(got.err.code, ERR_TOO_LARGE);
}

static void
test_long_words(void **state)
{
	struct buf b = BUF_INIT(0);

	buf_str(&b, "<Response><Errors><Error><Code>");
	for (int i = 0; i < 3000; i++)
		buf_str(&b, "Code\x1b");
	buf_str(&b, "</Code></Error></Errors></Response>");
	for (char *p = b.data; *p; p++)
		if (*p == 0x1b)
			*p = '\n';
	script_server_add(server, 400, "", b.data);
	call("RunInstances", &writes);
	assert_int_equal(got.err.code, ERR_INVALID);
	assert_in_range(strlen(got.aws.code), 90, sizeof(got.aws.code) - 1);
	buf_fini(&b);
}

/* ---- cancelling and closing ---- */

static void
test_cancel(void **state)
{
	struct aws_call *c;

	script_server_add(server, 500, "", "");
	script_server_add_raw(server, "", SCRIPT_HANG);
	aws_call_cancel(start("DescribeInstances", &reads)); /* in its lane */
	c = start("DescribeInstances", &reads);
	while (aws_client_calls(client, NULL) == 0)
		step();
	while (uv_loop_alive(&uv))
		uv_run(&uv, UV_RUN_ONCE);
	aws_call_cancel(c); /* waits to be tried again */
	c = start("DescribeInstances", &reads);
	while (sent() < 2)
		step();
	aws_call_cancel(c); /* on the wire */
	keys.later = true;
	c = start("DescribeInstances", &reads);
	while (!keys.waiting_fn)
		step();
	aws_call_cancel(c); /* waits for its key, which comes after the client is gone */
	aws_client_close(TAKE(client));
	fixed_credentials_answer(&keys);
	keys.later = false;
	keys.id = NULL;
	new_client();
	c = start("DescribeInstances", &reads);
	while (keys.gets < 4)
		clock_run(clock_);
	aws_call_cancel(c); /* has no key, and has not heard of it */
	clock_sim_advance(clock_, 1000);
	assert_int_equal(got.times, 0);
}

static void
test_close(void **state)
{
	script_server_add_raw(server, "", SCRIPT_HANG);
	start("DescribeInstances", &reads);
	while (sent() < 1)
		step();
	keys.later = true;
	start("DescribeInstances", &reads);
	clock_run(clock_);
	assert_non_null(keys.waiting_fn);
	start("DescribeInstances", &reads);
	aws_client_close(TAKE(client));
	assert_int_equal(got.times, 3);
	assert_int_equal(got.err.code, ERR_CANCELLED);
}

static void
on_close_it(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	if (got.times++ == 0)
		aws_client_close(TAKE(client));
	else
		assert_int_equal(err->code, ERR_CANCELLED);
}

static void
test_close_from_within(void **state)
{
	struct aws_form form = {0};

	for (int round = 0; round < 3; round++) {
		script_server_reset(server);
		script_server_add(server, round ? 400 : 200, "", OK_XML);
		if (round == 2)
			keys.id = NULL;
		new_client();
		for (int i = 0; i < 3; i++)
			aws_query(client, "DescribeInstances", &form, &reads, on_close_it,
			    NULL);
		run_until(3);
	}
}

/* ---- endpoints ---- */

static void
test_endpoints(void **state)
{
	static const char *const bad[] = {"", "ec2.amazonaws.com", "ftp://x", "http://",
	    "https:///x", "http://user@host", "http://h?x=1", "http://h/ x"};
	static const char *const bad_regions[] = {NULL, "", "us east", "US-EAST-1", "a/b",
	    "a-region-with-a-name-of-too-many-letters"};
	struct aws_client *c = NULL;
	struct err err;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		options.endpoint = bad[i];
		assert_int_equal(aws_client_new(&options, &c, &err), -1);
		assert_int_equal(err.code, ERR_INVALID);
		assert_string_not_equal(err.hint, "");
	}
	options.endpoint = NULL;
	for (size_t i = 0; i < sizeof(bad_regions) / sizeof(bad_regions[0]); i++) {
		options.region = bad_regions[i];
		assert_int_equal(aws_client_new(&options, &c, &err), -1);
		assert_int_equal(err.code, ERR_INVALID);
		assert_string_not_equal(err.hint, "");
	}
	assert_null(c);
}

/* The service's own endpoint: without a network, what is looked at is who was asked. */
static void
test_default_endpoint(void **state)
{
	static const struct {
		const char *service, *prefix, *region, *host;
	} rows[] = {
	    {"ec2", NULL, "xx-nowhere-1", "https://ec2.xx-nowhere-1.amazonaws.com:"},
	    {"ec2", NULL, "cn-nowhere-1", "https://ec2.cn-nowhere-1.amazonaws.com.cn:"},
	    {"sqs", "queue", "xx-nowhere-1", "https://queue.xx-nowhere-1.amazonaws.com:"},
	};

	options.endpoint = NULL;
	options.attempts_max = 1;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		options.service = rows[i].service;
		options.host_prefix = rows[i].prefix;
		options.region = rows[i].region;
		new_client();
		call("DescribeInstances", &reads);
		assert_int_equal(got.err.code, ERR_UNAVAILABLE);
		assert_non_null(strstr(got.err.msg, rows[i].host));
		assert_non_null(strstr(got.err.hint, "is a region of AWS"));
		assert_false(got.aws.maybe_done);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_query),
	    TEST(test_json),
	    TEST(test_throttling_is_not_seen),
	    TEST(test_throttling_drains_the_bucket),
	    TEST(test_throttling_that_does_not_end),
	    TEST(test_retry_after),
	    TEST(test_pace),
	    TEST(test_pace_of_a_fast_endpoint),
	    TEST(test_its_turn_does_not_come),
	    TEST(test_what_passes_is_tried_again),
	    TEST(test_not_for_ever),
	    TEST(test_an_outage_is_no_storm),
	    TEST(test_what_may_not_be_repeated),
	    TEST(test_what_was_lost_stays_so),
	    TEST(test_silence),
	    TEST(test_deadline_while_sent),
	    TEST(test_nobody_there),
	    TEST(test_clock_is_corrected),
	    TEST(test_clock_is_corrected_once),
	    TEST(test_clock_is_right),
	    TEST(test_expired_token),
	    TEST(test_no_credentials),
	    TEST(test_codes),
	    TEST(test_another_region),
	    TEST(test_replies_that_are_none),
	    TEST(test_errors_that_are_none),
	    TEST(test_endless),
	    TEST(test_long_words),
	    TEST(test_cancel),
	    TEST(test_close),
	    TEST(test_close_from_within),
	    TEST(test_endpoints),
	    TEST(test_default_endpoint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
