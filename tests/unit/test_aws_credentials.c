/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: keys are fetched by one flight however many wait, ahead of their end, from servers that refuse, lie and fall
 * silent; the metadata service is never asked without a session, a signed call is really signed, and no secret
 * stays in memory or gets into a message. Which source is chosen: tests/e2e/test_credentials.py.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <uv.h>

#include "../support/script_server.h"
#include "aws/credentials.h"
#include "aws/credentials_internal.h"
#include "aws/sigv4.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "net/fetch.h"

#define WALL 1800000000000 /* 2027-01-15T08:00:00Z */
#define MINUTE ((int64_t)60000)

static uv_loop_t uv;
static struct clock *sim;
static struct fetcher *fetcher;
static struct script_server *server;
static struct credentials *creds;
static char dir[64], config[96], shared[96], other[96];

static struct {
	const char *name;
	char *value;
} env[24];

static const char *
test_getenv(const char *name)
{
	for (int i = 0; i < 24 && env[i].name; i++)
		if (strcmp(env[i].name, name) == 0)
			return env[i].value;
	return NULL;
}

static void
set(const char *name, const char *value)
{
	int i = 0;

	while (env[i].name && strcmp(env[i].name, name) != 0)
		assert_true(++i < 24);
	env[i].name = name;
	free(env[i].value);
	env[i].value = xstrdup(value);
}

static void
put(const char *path, const char *text, int mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, (mode_t)mode), 0);
	close(fd);
}

static int
setup(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/hearth-credentials-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(config, sizeof(config), "%s/config", dir);
	snprintf(shared, sizeof(shared), "%s/credentials", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	uv_loop_init(&uv);
	sim = clock_new_sim(WALL);
	fetcher = fetcher_new(&uv, 4);
	server = script_server_new(&uv);
	set("HOME", dir);
	set("AWS_CONFIG_FILE", config);
	set("AWS_SHARED_CREDENTIALS_FILE", shared);
	return 0;
}

static int
teardown(void **state)
{
	credentials_free(creds);
	creds = NULL;
	fetcher_close(fetcher);
	script_server_close(server);
	uv_run(&uv, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&uv), 0);
	clock_free(sim);
	for (int i = 0; i < 24; i++)
		free(env[i].value);
	memset(env, 0, sizeof(env));
	unlink(config);
	unlink(shared);
	unlink(other);
	rmdir(dir);
	return 0;
}

/* What the last caller was told, and how many were told anything. */
static struct {
	int times;
	char id[64], token[64], source[64];
	int64_t expires_at;
	struct err err;
} got;

static void
on_key(void *arg, const struct credentials_key *key, const struct err *err)
{
	got.times++;
	assert_true(!key != !err);
	got.err = err ? *err : (struct err){0};
	snprintf(got.id, sizeof(got.id), "%s", key ? key->access_key_id : "-");
	snprintf(got.token, sizeof(got.token), "%s",
	    key && key->session_token ? key->session_token : "-");
	snprintf(got.source, sizeof(got.source), "%s", key ? key->source : "-");
	got.expires_at = key ? key->expires_at : -1;
}

static void
make(const char *profile)
{
	credentials_free(creds);
	creds = credentials_new(&(struct credentials_options){
	    .uv = &uv,
	    .clock = sim,
	    .fetcher = fetcher,
	    .profile = profile,
	    .getenv = test_getenv,
	});
}

/* Lets everything happen that is under way, waiting for sockets in real time and for the clock in its own. */
static void
run(int times)
{
	while (got.times < times) {
		int64_t next = clock_next_ms(sim);

		if (next == 0)
			clock_run(sim);
		else if (uv_loop_alive(&uv))
			uv_run(&uv, UV_RUN_ONCE);
		else if (next > 0)
			clock_sim_advance(sim, next);
		else
			fail_msg("nobody will answer: %d of %d", got.times, times);
	}
	assert_int_equal(got.times, times);
}

/* Until nothing is under way. */
static void
settle(void)
{
	while (uv_loop_alive(&uv) || clock_next_ms(sim) == 0) {
		clock_run(sim);
		uv_run(&uv, clock_next_ms(sim) == 0 ? UV_RUN_NOWAIT : UV_RUN_ONCE);
	}
}

static void
get(void)
{
	got.times = 0;
	credentials_get(creds, on_key, NULL);
}

static void
get_and_run(void)
{
	get();
	run(1);
}

static void
expect_id(const char *id)
{
	if (got.err.code != ERR_NONE)
		fail_msg("%s (hint: %s)", got.err.msg, got.err.hint);
	assert_string_equal(got.id, id);
}

static void
expect_err(enum err_code code, const char *part)
{
	assert_string_equal(got.id, "-");
	if (got.err.code != code || !strstr(got.err.msg, part))
		fail_msg("expected %s with '%s', got %s: %s", err_info[code].name, part,
		    err_info[got.err.code].name, got.err.msg);
	assert_null(strchr(got.err.msg, '\n'));
}

static const char *
request(int i)
{
	assert_true(i < script_server_requests(server));
	return script_server_request(server, i);
}

static void
expect_request(int i, const char *begins, const char *contains)
{
	assert_true(strncmp(request(i), begins, strlen(begins)) == 0);
	if (contains && !strcasestr(request(i), contains))
		fail_msg("no '%s' in: %s", contains, request(i));
}

static void
script(int status, const char *body)
{
	script_server_add(server, status, "", body);
}

/* ---- environment and files ---- */

static void
test_environment(void **state)
{
	set("AWS_ACCESS_KEY_ID", "AKIAENV");
	set("AWS_SECRET_ACCESS_KEY", "s");
	set("AWS_SESSION_TOKEN", "t");
	make(NULL);
	get();
	assert_int_equal(got.times, 0); /* the first is never from inside the call */
	run(1);
	expect_id("AKIAENV");
	assert_string_equal(got.token, "t");
	assert_string_equal(got.source, "environment");
	assert_int_equal(got.expires_at, 0);
	get();
	assert_int_equal(got.times, 1);
}

static void
test_environment_that_expires(void **state)
{
	set("AWS_ACCESS_KEY_ID", "AKIAENV");
	set("AWS_SECRET_ACCESS_KEY", "s");
	set("AWS_CREDENTIAL_EXPIRATION", "2027-01-15T10:00:00+01:00");
	make(NULL);
	get_and_run();
	expect_id("AKIAENV");
	assert_int_equal(got.expires_at, WALL + 60 * MINUTE);
	clock_sim_advance(sim, 60 * MINUTE);
	get_and_run();
	expect_err(ERR_NOT_PERMITTED, "environment: the key it gives has expired");
}

static void
test_nobody_has_any(void **state)
{
	set("AWS_EC2_METADATA_DISABLED", "true");
	make(NULL);
	get_and_run();
	expect_err(ERR_NOT_FOUND, "no AWS credentials for profile 'default'");
	assert_non_null(strstr(got.err.hint, "~/.aws/credentials"));
	put(shared, "[default]\naws_access_key_id = LATER\naws_secret_access_key=s\n",
	    0600);
	get_and_run(); /* without a restart */
	expect_id("LATER");
}

static void
test_what_a_daemon_cannot_do(void **state)
{
	put(config,
	    "[profile sso]\nsso_account_id = 1\nsso_role_name = r\n"
	    "[profile mfa]\nrole_arn = a\nsource_profile = key\nmfa_serial = m\n",
	    0600);
	put(shared, "[key]\naws_access_key_id = K\naws_secret_access_key = s\n", 0600);
	make("sso");
	get_and_run();
	expect_err(ERR_INVALID, "single sign-on");
	assert_non_null(strstr(got.err.hint,
	    "credential_process = aws configure export-credentials --profile sso"));
	make("mfa");
	get_and_run();
	expect_err(ERR_INVALID, "mfa_serial");
	make("gone");
	get_and_run();
	expect_err(ERR_NOT_FOUND, "profile 'gone'");
}

static void
test_a_bad_file_is_named_and_not_quoted(void **state)
{
	put(shared, "[default]\naws_access_key_id = K\nSECRET\n", 0600);
	make(NULL);
	get_and_run();
	expect_err(ERR_INVALID, "credentials:3: ");
	assert_null(strstr(got.err.msg, "SECRET"));
}

/* Of the text that went to stderr meanwhile. */
static int
count_logged(void (*fn)(void), const char *part)
{
	char text[4096] = "";
	FILE *f = tmpfile();
	int saved = dup(2), n = 0;

	fflush(stderr);
	dup2(fileno(f), 2);
	fn();
	fflush(stderr);
	dup2(saved, 2);
	close(saved);
	rewind(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	for (const char *s = text; (s = strstr(s, part)); s++)
		n++;
	return n;
}

static void
get_twice(void)
{
	get_and_run();
	credentials_rejected(creds, got.id);
	get_and_run();
	expect_id("K");
}

static void
test_a_readable_file_is_warned_of_once(void **state)
{
	put(shared, "[default]\naws_access_key_id = K\naws_secret_access_key = s\n",
	    0644);
	make(NULL);
	assert_int_equal(
	    count_logged(get_twice, "every user of this host may read it"), 1);
	put(shared, "[default]\naws_access_key_id = K\naws_secret_access_key = s\n",
	    0640);
	make(NULL);
	assert_int_equal(count_logged(get_twice, "may read it"), 0);
}

static void
test_a_file_we_may_not_read(void **state)
{
	bool root = geteuid() == 0;

	put(shared, "[default]\naws_access_key_id = K\naws_secret_access_key = s\n",
	    0000);
	set("AWS_EC2_METADATA_SERVICE_ENDPOINT", script_server_url(server));
	script(404, "");
	make(NULL);
	if (root) {
		assert_int_equal(chmod(dir, 0755), 0);
		assert_int_equal(seteuid(65534), 0);
	}
	get_and_run();
	if (root)
		assert_int_equal(seteuid(0), 0);
	expect_err(ERR_NOT_PERMITTED, "/credentials: Permission denied");
	assert_non_null(strstr(got.err.hint, "user"));
}

static void
test_region_and_endpoint(void **state)
{
	put(config,
	    "[default]\nregion = eu-west-3\nservices = mine\nendpoint_url = http://all\n"
	    "[services mine]\nec2 =\n  endpoint_url = http://ec2\n  other = x\n"
	    "ec2_instance_connect =\n  endpoint_url = http://eic\n",
	    0600);
	make(NULL);
	assert_string_equal(credentials_region(creds), "eu-west-3");
	assert_string_equal(credentials_endpoint_url(creds, "ec2"), "http://ec2");
	assert_string_equal(
	    credentials_endpoint_url(creds, "ec2-instance-connect"), "http://eic");
	assert_string_equal(credentials_endpoint_url(creds, "sts"), "http://all");
	set("AWS_DEFAULT_REGION", "eu-west-2");
	set("AWS_ENDPOINT_URL", "http://env");
	set("AWS_ENDPOINT_URL_EC2", "http://env-ec2");
	assert_string_equal(credentials_region(creds), "eu-west-3"); /* valid as long */
	make(NULL);
	assert_string_equal(credentials_region(creds), "eu-west-2");
	assert_string_equal(credentials_endpoint_url(creds, "ec2"), "http://env-ec2");
	assert_string_equal(credentials_endpoint_url(creds, "sts"), "http://env");
	set("AWS_REGION", "eu-west-1");
	set("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "True");
	make(NULL);
	assert_string_equal(credentials_region(creds), "eu-west-1");
	assert_null(credentials_endpoint_url(creds, "ec2"));
}

static void
test_ca_bundle(void **state)
{
	make(NULL);
	assert_null(credentials_ca_bundle(creds));
	put(config,
	    "[default]\nca_bundle = /etc/a.pem\n[profile b]\nca_bundle = ~/b.pem\n",
	    0600);
	make(NULL);
	assert_string_equal(credentials_ca_bundle(creds), "/etc/a.pem");
	set("HOME", "/home/x");
	make("b");
	assert_string_equal(credentials_ca_bundle(creds), "/home/x/b.pem");
	set("AWS_CA_BUNDLE", "/etc/c.pem");
	assert_string_equal(
	    credentials_ca_bundle(creds), "/home/x/b.pem"); /* valid as long */
	make("b");
	assert_string_equal(credentials_ca_bundle(creds), "/etc/c.pem");
}

/* ---- the metadata service ---- */

static const char *
key_reply(const char *id, int64_t expires_at, const char *token_name)
{
	static char text[400];
	char when[CLOCK_RFC3339_MAX];

	clock_rfc3339(expires_at, when);
	snprintf(text, sizeof(text),
	    "{\"Version\": 1, \"Code\": \"Success\", \"AccessKeyId\": \"%s\", "
	    "\"SecretAccessKey\": \"s/+\", \"%s\": \"tok\", \"Expiration\": \"%s\"}",
	    id, token_name, when);
	return text;
}

static void
use_imds(void)
{
	set("AWS_EC2_METADATA_SERVICE_ENDPOINT", script_server_url(server));
	make(NULL);
}

static void
script_key(const char *id, int64_t life)
{
	script(200, "my-role\n");
	script(200, key_reply(id, clock_wall_ms(sim) + life, "Token"));
}

static void
test_imds(void **state)
{
	use_imds();
	script(200, "SESSION-1");
	script_key("ASIA1", 360 * MINUTE);
	get_and_run();
	expect_id("ASIA1");
	assert_string_equal(got.token, "tok");
	assert_string_equal(got.source, "instance metadata");
	assert_int_equal(script_server_requests(server), 3);
	expect_request(0, "PUT /latest/api/token ",
	    "X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n");
	expect_request(1, "GET /latest/meta-data/iam/security-credentials/ ",
	    "X-aws-ec2-metadata-token: SESSION-1\r\n");
	expect_request(2, "GET /latest/meta-data/iam/security-credentials/my-role ",
	    "X-aws-ec2-metadata-token: SESSION-1\r\n");
	/* The session goes on being used; it, too, ends. */
	clock_sim_advance(sim, 350 * MINUTE);
	script_key("ASIA2", 360 * MINUTE);
	get_and_run();
	expect_id("ASIA2");
	assert_int_equal(script_server_requests(server), 5);
	clock_sim_advance(sim, 350 * MINUTE);
	script(200, "SESSION-2");
	script_key("ASIA3", 360 * MINUTE);
	get_and_run();
	expect_id("ASIA3");
	expect_request(5, "PUT ", NULL);
	expect_request(7, "GET ", "token: SESSION-2\r\n");
}

static void
test_imds_session_lost(void **state)
{
	use_imds();
	script(200, "SESSION-1");
	script_key("ASIA1", 60 * MINUTE);
	get_and_run();
	clock_sim_advance(sim, 55 * MINUTE);
	script(401, "");
	script(200, "SESSION-2");
	script_key("ASIA2", 60 * MINUTE);
	get_and_run();
	expect_id("ASIA2");
	expect_request(4, "PUT ", NULL);
	expect_request(6, "GET ", "token: SESSION-2\r\n");
	/* One that is refused at once is not asked for again and again. */
	make(NULL);
	script_server_reset(server);
	script(200, "SESSION-3");
	script(401, "");
	get_and_run();
	expect_err(ERR_NOT_PERMITTED, "instance metadata: refused (HTTP 401)");
	assert_int_equal(script_server_requests(server), 2);
}

static void
test_imds_is_never_asked_without_a_session(void **state)
{
	static const int statuses[] = {400, 403, 404, 405, 500, 200};

	for (int i = 0; i < 6; i++) {
		script_server_reset(server);
		use_imds();
		script(statuses[i], statuses[i] == 200 ? "" : "no");
		get_and_run();
		assert_int_not_equal(got.err.code, ERR_NONE);
		assert_int_equal(script_server_requests(server), 1);
	}
	script_server_reset(server);
	use_imds();
	script_server_add_raw(server, "", SCRIPT_CLOSE);
	get_and_run();
	expect_err(ERR_NOT_FOUND, "no AWS credentials");
	for (int i = 0; i < script_server_requests(server); i++)
		expect_request(i, "PUT ", NULL);
}

static void
test_imds_lies(void **state)
{
	static const struct {
		const char *session, *role, *key;
		enum err_code code;
		const char *part;
	} lies[] = {
	    {"a\r\nX-Injected: b", "", "", ERR_INVALID, "session token"},
	    {"T", "../../evil", "", ERR_INVALID, "no role"},
	    {"T", "", "", ERR_INVALID, "no role"},
	    {"T", "<html>", "", ERR_INVALID, "no role"},
	    {"T", "r", "<html>", ERR_INVALID, "not a JSON object"},
	    {"T", "r", "[]", ERR_INVALID, "not a JSON object"},
	    {"T", "r", "{\"Code\": \"AssumeRoleUnauthorizedAccess\", \"Message\": \"m\"}",
		ERR_NOT_PERMITTED, "AssumeRoleUnauthorizedAccess"},
	    {"T", "r", "{\"AccessKeyId\": \"A\", \"SecretAccessKey\": \"b\"}",
		ERR_INVALID, "Token"},
	    {"T", "r",
		"{\"AccessKeyId\": \"A\", \"SecretAccessKey\": \"b\\r\\nX: y\", "
		"\"Token\": \"t\", \"Expiration\": \"2099-01-01T00:00:00Z\"}",
		ERR_INVALID, "secret access key"},
	    {"T", "r",
		"{\"AccessKeyId\": \"A\", \"SecretAccessKey\": \"b\", \"Token\": \"t\", "
		"\"Expiration\": \"soon\"}",
		ERR_INVALID, "Expiration"},
	};

	for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
		script_server_reset(server);
		use_imds();
		script(200, lies[i].session);
		script(200, lies[i].role);
		script(200, lies[i].key);
		get_and_run();
		expect_err(lies[i].code, lies[i].part);
	}
}

static void
test_imds_no_role(void **state)
{
	use_imds();
	script(200, "T");
	script(404, "");
	get_and_run();
	expect_err(ERR_NOT_FOUND, "this instance has no role (HTTP 404)");
	assert_non_null(strstr(got.err.hint, "AWS_ACCESS_KEY_ID"));
}

/* "Static stability": an expired key from there is still the best there is, and is asked for again in minutes. */
static void
test_imds_expired_key_is_used(void **state)
{
	use_imds();
	script(200, "T");
	script_key("OLD", -MINUTE);
	get_and_run();
	expect_id("OLD");
	assert_in_range(got.expires_at - WALL, 16 * MINUTE, 26 * MINUTE);
	clock_sim_advance(sim, got.expires_at - WALL - MINUTE);
	script_key("NEW", 60 * MINUTE);
	get_and_run();
	expect_id("NEW");
}

/* ---- ahead of the end ---- */

static void
test_one_flight_for_all(void **state)
{
	use_imds();
	script(200, "T");
	script_key("ASIA1", 60 * MINUTE);
	got.times = 0;
	for (int i = 0; i < 50; i++)
		credentials_get(creds, on_key, NULL);
	run(50);
	assert_int_equal(script_server_requests(server), 3);
	clock_sim_advance(sim, 52 * MINUTE); /* needed */
	script_key("ASIA2", 60 * MINUTE);
	got.times = 0;
	for (int i = 0; i < 50; i++)
		credentials_get(creds, on_key, NULL);
	run(50);
	expect_id("ASIA2");
	assert_int_equal(script_server_requests(server), 5);
}

static void
have_key(int64_t life)
{
	use_imds();
	script(200, "T");
	script_key("ASIA1", life);
	get_and_run();
	expect_id("ASIA1");
	script_server_reset(server);
}

static void
test_refresh_is_tried_early(void **state)
{
	have_key(60 * MINUTE);
	clock_sim_advance(sim, 45 * MINUTE - 1);
	get();
	assert_int_equal(got.times, 1);
	settle();
	assert_int_equal(script_server_requests(server), 0);
	clock_sim_advance(sim, 1);
	script_key("ASIA2", 60 * MINUTE);
	get();
	assert_int_equal(got.times, 1); /* nobody waits */
	expect_id("ASIA1");
	settle();
	get();
	assert_int_equal(got.times, 1);
	expect_id("ASIA2");
	assert_int_equal(script_server_requests(server), 2);
}

static void
test_a_good_key_outlives_a_failure(void **state)
{
	have_key(60 * MINUTE);
	clock_sim_advance(sim, 46 * MINUTE);
	script(500, "");
	get();
	settle();
	get();
	settle();
	expect_id("ASIA1");
	assert_int_equal(script_server_requests(server), 1); /* not at every call */
	clock_sim_advance(sim, 5 * MINUTE);
	get(); /* now one waits for the new one, and gets the old one when that fails */
	assert_int_equal(got.times, 0);
	run(1);
	expect_id("ASIA1");
	assert_int_equal(script_server_requests(server), 2);
	clock_sim_advance(sim, 9 * MINUTE);
	get_and_run();
	expect_err(ERR_UNAVAILABLE, "instance metadata: it does not answer (HTTP 500)");
}

/* A role's session may be as short as 15 minutes; it is not renewed at every call. */
static void
test_short_lives(void **state)
{
	have_key(15 * MINUTE);
	clock_sim_advance(sim, 7 * MINUTE);
	get();
	assert_int_equal(got.times, 1);
	settle();
	assert_int_equal(script_server_requests(server), 0);
	clock_sim_advance(sim, MINUTE);
	script_key("ASIA2", 15 * MINUTE);
	get();
	settle();
	get();
	expect_id("ASIA2");
}

static void
test_rejected(void **state)
{
	have_key(60 * MINUTE);
	credentials_rejected(creds, "ANOTHER");
	get();
	assert_int_equal(got.times, 1);
	script_key("ASIA2", 60 * MINUTE);
	credentials_rejected(creds, "ASIA1");
	get();
	assert_int_equal(got.times, 0);
	run(1);
	expect_id("ASIA2");
	credentials_rejected(creds, "ASIA1"); /* said late of the old one */
	credentials_rejected(creds, "ASIA2"); /* too soon */
	get();
	assert_int_equal(got.times, 1);
	clock_sim_advance(sim, 30000);
	script_server_reset(server);
	script(403, "");
	credentials_rejected(creds, "ASIA2");
	get_and_run();
	expect_err(ERR_NOT_PERMITTED, "HTTP 403");
}

static void
on_key_again(void *arg, const struct credentials_key *key, const struct err *err)
{
	on_key(arg, key, err);
	if (got.times == 1)
		credentials_get(creds, on_key, NULL);
}

static void
test_asking_again_from_the_callback(void **state)
{
	use_imds();
	script(404, "");
	script(200, "T");
	script_key("ASIA1", 60 * MINUTE);
	got.times = 0;
	credentials_get(creds, on_key_again, NULL);
	run(2);
	expect_id("ASIA1");
}

static void
test_free_answers_all(void **state)
{
	use_imds();
	script_server_add_raw(server, "", SCRIPT_HANG);
	got.times = 0;
	credentials_get(creds, on_key, NULL);
	credentials_get(creds, on_key, NULL);
	uv_run(&uv, UV_RUN_NOWAIT);
	credentials_free(creds);
	creds = NULL;
	assert_int_equal(got.times, 2);
	expect_err(ERR_CANCELLED, "given up");
}

/* ---- containers ---- */

static void
test_container(void **state)
{
	char url[96];

	snprintf(url, sizeof(url), "%s/creds?x=1", script_server_url(server));
	set("AWS_CONTAINER_CREDENTIALS_FULL_URI", url);
	set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", other);
	put(other, "Bearer one\n", 0600);
	make(NULL);
	script(200, key_reply("ASIA1", WALL + 60 * MINUTE, "Token"));
	get_and_run();
	expect_id("ASIA1");
	assert_string_equal(got.source, "container endpoint");
	expect_request(0, "GET /creds?x=1 ", "\r\nAuthorization: Bearer one\r\n");
	put(other, "two", 0600); /* the agent replaces it */
	clock_sim_advance(sim, 55 * MINUTE);
	script(200, key_reply("ASIA2", WALL + 120 * MINUTE, "Token"));
	get_and_run();
	expect_id("ASIA2");
	expect_request(1, "GET ", "\r\nAuthorization: two\r\n");
	put(other, "two\r\nX-Injected: 1", 0600);
	make(NULL);
	get_and_run();
	expect_err(ERR_INVALID, "does not hold one token");
}

static void
test_container_fails(void **state)
{
	set("AWS_CONTAINER_CREDENTIALS_FULL_URI", script_server_url(server));
	make(NULL);
	script(503, "");
	get_and_run();
	expect_err(ERR_UNAVAILABLE, "container endpoint: it does not answer (HTTP 503)");
	assert_int_equal(script_server_requests(server), 3);
	script_server_reset(server);
	script(503, "");
	script(200, key_reply("ASIA1", WALL + 60 * MINUTE, "Token"));
	get_and_run();
	expect_id("ASIA1");
	script_server_reset(server);
	make(NULL);
	script(404, "secret words");
	get_and_run();
	expect_err(ERR_NOT_PERMITTED, "refused (HTTP 404)");
	assert_int_equal(script_server_requests(server), 1);
	assert_null(strstr(got.err.msg, "words"));
}

static void
test_container_urls(void **state)
{
	static const struct {
		const char *url;
		bool good;
	} urls[] = {
	    {"http://localhost/", true},
	    {"http://127.1.2.3:80/x", true},
	    {"http://[::1]:80/x", true},
	    {"http://169.254.170.2/x", true},
	    {"http://169.254.170.23/v1/credentials", true},
	    {"http://[fd00:ec2::23]/v1/credentials", true},
	    {"https://example.com/x", true},
	    {"http://example.com/x", false},
	    {"http://169.254.169.254/latest/", false},
	    {"http://localhost@example.com/", false},
	    {"http://localhost:x@example.com/", false},
	    {"http://example.com#@localhost/", false},
	    {"http://localhost.example.com/", false},
	    {"http://[::2]/", false},
	    {"http://[::1].example.com/", false},
	    {"http://127.1/", false},
	    {"http://2130706433/", false},
	    {"http:///x", false},
	    {"ftp://localhost/", false},
	    {"file:///etc/passwd", false},
	    {"http://localhost/ x", false},
	    {"http://localhost\\@example.com/", false},
	    {"", false},
	};
	struct err err;

	for (size_t i = 0; i < sizeof(urls) / sizeof(*urls); i++)
		if ((credentials_url_check(urls[i].url, &err) == 0) != urls[i].good)
			fail_msg("%s", urls[i].url);
}

/* ---- credential_process ---- */

static void
use_process(const char *script_text)
{
	char text[400];

	put(other, script_text, 0700);
	snprintf(text, sizeof(text),
	    "[default]\ncredential_process = %s 'a b' \"c\\\"d\"\n", other);
	put(config, text, 0600);
	make(NULL);
}

static void
test_process(void **state)
{
	use_process(
	    "#!/bin/sh\n[ $# = 2 ] && [ \"$1\" = 'a b' ] && [ \"$2\" = 'c\"d' ] || exit "
	    "9\n"
	    "echo '{\"Version\": 1, \"AccessKeyId\": \"P1\", \"SecretAccessKey\": \"s\", "
	    "\"Expiration\": \"2027-01-15T09:00:00Z\"}'");
	get_and_run();
	expect_id("P1");
	assert_string_equal(got.source, "profile 'default'");
	assert_string_equal(got.token, "-");
	assert_int_equal(got.expires_at, WALL + 60 * MINUTE);
}

static void
test_process_fails(void **state)
{
	static const struct {
		const char *text;
		enum err_code code;
		const char *part;
	} cases[] = {
	    {"#!/bin/sh\necho SECRET >&2; exit 3", ERR_UNAVAILABLE, "exit status 3"},
	    {"#!/bin/sh\nkill -9 $$", ERR_UNAVAILABLE, "exit status 137"},
	    {"#!/bin/sh\necho '{}'", ERR_INVALID, "Version 1"},
	    {"#!/bin/sh\necho '{\"Version\": 2, \"AccessKeyId\": \"SECRET\"}'",
		ERR_INVALID, "Version 1"},
	    {"#!/bin/sh\necho '{\"Version\": 1, \"AccessKeyId\": \"SECRET\"}'",
		ERR_INVALID, "no SecretAccessKey"},
	    {"#!/bin/sh\necho SECRET", ERR_INVALID, "not a JSON object"},
	    {"#!/bin/sh\n:", ERR_INVALID, "not a JSON object"},
	    {"#!/bin/sh\nwhile echo SECRETSECRETSECRETSECRETSECRETSECRETSECRET; do :; "
	     "done",
		ERR_UNAVAILABLE, "more than a key"},
	    {"#!/not/there\n", ERR_NOT_FOUND, "No such file"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		use_process(cases[i].text);
		get_and_run();
		expect_err(cases[i].code, cases[i].part);
		assert_null(strstr(got.err.msg, "SECRET"));
	}
}

static void
test_process_that_does_not_end(void **state)
{
	char text[256];

	/* and one that leaves a child behind which keeps the output open */
	for (int i = 0; i < 2; i++) {
		snprintf(text, sizeof(text), "#!/bin/sh\necho $$ >%s/pid\n%s", dir,
		    i ? "sleep 300 & exit 0" : "sleep 300; :");
		use_process(text);
		get();
		while (access("/dev/null", R_OK) == 0) {
			char pid[96];
			struct stat st;

			snprintf(pid, sizeof(pid), "%s/pid", dir);
			uv_run(&uv, UV_RUN_NOWAIT);
			if (stat(pid, &st) == 0 && st.st_size > 0) {
				unlink(pid);
				break;
			}
			usleep(1000);
		}
		assert_int_equal(got.times, 0);
		clock_sim_advance(sim, 60000);
		run(1);
		expect_err(ERR_UNAVAILABLE, "it does not end");
	}
}

static void
test_free_kills_the_process(void **state)
{
	use_process("#!/bin/sh\nsleep 300; :");
	get();
	credentials_free(creds);
	creds = NULL;
	assert_int_equal(got.times, 1);
	expect_err(ERR_CANCELLED, "");
}

/* ---- STS ---- */

static const char *
sts_reply(const char *action, const char *id, int64_t expires_at)
{
	static char text[800];
	char when[CLOCK_RFC3339_MAX];

	clock_rfc3339(expires_at, when);
	snprintf(text, sizeof(text),
	    "<%sResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><%sResult>"
	    "<AssumedRoleUser><Arn>arn</Arn></AssumedRoleUser><Credentials>"
	    "<AccessKeyId>%s</AccessKeyId><SecretAccessKey>secret-of-%s</SecretAccessKey>"
	    "<SessionToken>token/of+%s=</SessionToken><Expiration>%s</Expiration></"
	    "Credentials>"
	    "</%sResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></"
	    "%sResponse>",
	    action, action, id, id, id, when, action, action);
	return text;
}

/* The value of a request's header, in a buffer of its own for each call. */
static char *
header(const char *text, const char *name)
{
	static char values[8][4096];
	static int next;
	char *v = values[next++ % 8];
	const char *s = strcasestr(text, name);

	assert_non_null(s);
	s += strlen(name) + 2;
	snprintf(v, sizeof(values[0]), "%.*s", (int)strcspn(s, "\r"), s);
	return v;
}

/* The i-th request bears the signature of this key, whatever its service made of it. */
static void
expect_signed(int i, const char *id, const char *secret, const char *token)
{
	const char *text = request(i), *body = strstr(text, "\r\n\r\n") + 4;
	struct sigv4_header h[5] = {
	    {"host", header(text, "\r\nHost")},
	    {"content-type", header(text, "\r\nContent-Type")},
	    {"x-amz-date", header(text, "\r\nX-Amz-Date")},
	};
	struct sigv4_request req = {"POST", "/", "", h, 3, body, strlen(body)};
	struct sigv4_claim claim;
	struct err err = {0};

	if (token) {
		h[req.n_headers++] = (struct sigv4_header){
		    "x-amz-security-token", header(text, "\r\nX-Amz-Security-Token")};
		assert_string_equal(h[3].value, token);
	} else {
		assert_null(strcasestr(text, "X-Amz-Security-Token"));
	}
	assert_int_equal(sigv4_parse(header(text, "\r\nAuthorization"), NULL, h[2].value,
			     &claim, &err),
	    0);
	assert_string_equal(claim.access_key_id, id);
	assert_string_equal(claim.service, "sts");
	assert_string_equal(claim.region, "eu-west-3");
	if (sigv4_verify(&req, &claim, secret, clock_wall_ms(sim) / 1000, &err) < 0)
		fail_msg("%s", err.msg);
}

static void
use_roles(void)
{
	put(config,
	    "[profile two]\nrole_arn = arn:aws:iam::1:role/two\nsource_profile = one\n"
	    "role_session_name = me@here\nregion = eu-west-3\n"
	    "[profile one]\nrole_arn = arn:aws:iam::1:role/one\nsource_profile = key\n"
	    "external_id = a b&c\nduration_seconds = 900\n",
	    0600);
	put(shared, "[key]\naws_access_key_id = AKIA0\naws_secret_access_key = zero\n",
	    0600);
	set("AWS_ENDPOINT_URL_STS", script_server_url(server));
	make("two");
}

static void
test_roles(void **state)
{
	use_roles();
	script(200, sts_reply("AssumeRole", "ASIA1", WALL + 15 * MINUTE));
	script(200, sts_reply("AssumeRole", "ASIA2", WALL + 60 * MINUTE));
	get_and_run();
	expect_id("ASIA2");
	assert_string_equal(got.token, "token/of+ASIA2=");
	assert_int_equal(got.expires_at, WALL + 60 * MINUTE);
	expect_request(0, "POST / ",
	    "\r\n\r\nAction=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%"
	    "3Arole%2F"
	    "one&RoleSessionName=hearth-1800000000&DurationSeconds=900&ExternalId=a%20b%"
	    "26c");
	expect_request(1, "POST / ", "role%2Ftwo&RoleSessionName=me%40here");
	assert_null(strstr(request(1), "ExternalId"));
	expect_signed(0, "AKIA0", "zero", NULL);
	expect_signed(1, "ASIA1", "secret-of-ASIA1", "token/of+ASIA1=");
	assert_int_equal(script_server_requests(server), 2);
}

static void
test_role_refused(void **state)
{
	use_roles();
	script(403,
	    "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>"
	    "<Type>Sender</Type><Code>AccessDenied</Code><Message>User: x is "
	    "not\nauthorized"
	    "</Message></Error><RequestId>r</RequestId></ErrorResponse>");
	get_and_run();
	expect_err(ERR_NOT_PERMITTED,
	    "AssumeRole: AccessDenied (HTTP 403): User: x is not authorized");
	assert_non_null(strstr(got.err.hint, "trust policy"));
	assert_int_equal(script_server_requests(server), 1);
	script_server_reset(server);
	script(200, "<html>hello</html>");
	get_and_run();
	expect_err(ERR_INVALID, "no credentials");
	script_server_reset(server);
	script(502, "<html><body>Bad");
	get_and_run();
	expect_err(ERR_UNAVAILABLE, "not a reply of STS (HTTP 502)");
	assert_int_equal(script_server_requests(server), 3); /* tried again */
}

static void
test_skew_is_corrected_once(void **state)
{
	static const char wrong[] =
	    "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>m</Message>"
	    "</Error></ErrorResponse>";

	use_roles();
	script_server_add(server, 403, "Date: Fri, 15 Jan 2027 09:00:00 GMT\r\n", wrong);
	script(200, sts_reply("AssumeRole", "ASIA1", WALL + 60 * MINUTE));
	script(200, sts_reply("AssumeRole", "ASIA2", WALL + 60 * MINUTE));
	get_and_run();
	expect_id("ASIA2");
	expect_request(0, "POST ", "X-Amz-Date: 20270115T080000Z");
	expect_request(1, "POST ", "X-Amz-Date: 20270115T090000Z");
	script_server_reset(server);
	make("two");
	script_server_add(server, 403, "Date: Fri, 15 Jan 2027 09:00:00 GMT\r\n", wrong);
	get_and_run();
	expect_err(ERR_NOT_PERMITTED, "SignatureDoesNotMatch");
	assert_int_equal(script_server_requests(server), 2);
	script_server_reset(server);
	script_server_add(server, 403, "Date: Fri, 15 Jan 2027 08:00:30 GMT\r\n", wrong);
	get_and_run(); /* not the clock's fault */
	assert_int_equal(script_server_requests(server), 1);
}

static void
test_web_identity(void **state)
{
	set("AWS_WEB_IDENTITY_TOKEN_FILE", other);
	set("AWS_ROLE_ARN", "arn:aws:iam::1:role/web");
	set("AWS_ENDPOINT_URL", script_server_url(server));
	put(other, "ey.J+1/=\n", 0600);
	make(NULL);
	script(200, sts_reply("AssumeRoleWithWebIdentity", "ASIA1", WALL + 60 * MINUTE));
	get_and_run();
	expect_id("ASIA1");
	expect_request(0, "POST / ", "Action=AssumeRoleWithWebIdentity&");
	expect_request(0, "POST / ", "&WebIdentityToken=ey.J%2B1%2F%3D");
	assert_null(strcasestr(request(0), "Authorization"));
	put(other, "second", 0600);
	clock_sim_advance(sim, 55 * MINUTE);
	script(200, sts_reply("AssumeRoleWithWebIdentity", "ASIA2", WALL + 120 * MINUTE));
	get_and_run();
	expect_id("ASIA2");
	expect_request(1, "POST / ", "&WebIdentityToken=second");
	unlink(other);
	make(NULL);
	get_and_run();
	expect_err(ERR_NOT_FOUND, "token file");
}

/* ---- memory ---- */

/* malloc writes into the beginning of what is free; what is looked for is behind that. */
#define PAD "0123456789012345678901234567890123456789"

/* Whether the heap holds these bytes, which are given one more than they are so as not to find ourselves. */
static bool
heap_holds(const char *shifted)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512], needle[64];
	size_t n = strlen(shifted);
	bool found = false;

	for (size_t i = 0; i < n; i++)
		needle[i] = (char)(shifted[i] - 1);
	while (fgets(line, sizeof(line), f)) {
		char *dash;
		unsigned long from = strtoul(line, &dash, 16);
		unsigned long to = strtoul(dash + 1, NULL, 16);

		if (strstr(line, "[heap]") && memmem((void *)from, to - from, needle, n))
			found = true;
	}
	fclose(f);
	return found;
}

static void
test_secrets_are_wiped(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                     \
    defined(MEMORY_SANITIZER)
	/* their heap is elsewhere */
	skip();
#endif
	put(shared,
	    "[default]\naws_access_key_id = K\naws_secret_access_key = "
	    "" PAD "wJalrFILEsecret0\n",
	    0600);
	make(NULL);
	get_and_run();
	expect_id("K");
	assert_true(
	    heap_holds("xKbmsGJMFtfdsfu1")); /* it can be seen while it is there */
	credentials_free(creds);
	creds = NULL;
	assert_false(heap_holds("xKbmsGJMFtfdsfu1"));
	unlink(shared);
	use_process("#!/bin/sh\necho '{\"Version\": 1, \"AccessKeyId\": \"P\", "
		    "\"SecretAccessKey\": \"" PAD "wJalrPROCsecret0\", \"SessionToken\": "
		    "\"" PAD "wJalrPROCtoken0\"}'");
	get_and_run();
	expect_id("P");
	assert_true(heap_holds("xKbmsQSPDtfdsfu1"));
	credentials_free(creds);
	creds = NULL;
	uv_run(&uv, UV_RUN_DEFAULT);
	assert_false(heap_holds("xKbmsQSPDtfdsfu1"));
	assert_false(heap_holds("xKbmsQSPDuplfo1"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	    T(test_environment),
	    T(test_environment_that_expires),
	    T(test_nobody_has_any),
	    T(test_what_a_daemon_cannot_do),
	    T(test_a_bad_file_is_named_and_not_quoted),
	    T(test_a_readable_file_is_warned_of_once),
	    T(test_a_file_we_may_not_read),
	    T(test_region_and_endpoint),
	    T(test_ca_bundle),
	    T(test_imds),
	    T(test_imds_session_lost),
	    T(test_imds_is_never_asked_without_a_session),
	    T(test_imds_lies),
	    T(test_imds_no_role),
	    T(test_imds_expired_key_is_used),
	    T(test_one_flight_for_all),
	    T(test_refresh_is_tried_early),
	    T(test_a_good_key_outlives_a_failure),
	    T(test_short_lives),
	    T(test_rejected),
	    T(test_asking_again_from_the_callback),
	    T(test_free_answers_all),
	    T(test_container),
	    T(test_container_fails),
	    T(test_container_urls),
	    T(test_process),
	    T(test_process_fails),
	    T(test_process_that_does_not_end),
	    T(test_free_kills_the_process),
	    T(test_roles),
	    T(test_role_refused),
	    T(test_skew_is_corrected_once),
	    T(test_web_identity),
	    T(test_secrets_are_wiped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
