/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The ec2 provider under the contract suite, in real time, over the endpoint at HEARTH_TEST_EC2 whose machines are real
 * (kind `ec2`: its readiness is its own ssh connection) or fake (kind `ec2-fake`: nobody can log in). Credentials and
 * region come from the environment. Each test has an owner's tag of its own, so it sees only what it made.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/loop.h"
#include "provider/ec2/ec2.h"
#include "provider_fixture.h"
#include "ssh/ca.h"
#include "ssh/hostkey.h"

struct ec2_world {
	struct loop *loop;
	struct timer timer;
	struct ssh_ca *ca;
	char *ca_line;
	struct ssh_hostkey key;
	char *cert;
	char dir[64];
};

static bool
possible(void)
{
	if (getenv("HEARTH_TEST_EC2"))
		return true;
	printf("SKIP: HEARTH_TEST_EC2 names no endpoint\n");
	return false;
}

static void
forget_key(struct ec2_world *w)
{
	ssh_hostkey_fini(&w->key);
	free(w->cert);
	w->cert = NULL;
}

/* As core does it: a key and a certificate for each machine. */
static void
prepare(struct provider_fixture *fx, const char *token)
{
	struct ec2_world *w = fx->world;
	struct ssh_cert_spec spec = {
	    .kind = SSH_CERT_HOST,
	    .serial = 1,
	    .key_id = token,
	    .principals = &token,
	    .principals_n = 1,
	    .valid_after = (uint64_t)(clock_real_wall_ms() / 1000 - 300),
	    .valid_before = (uint64_t)(clock_real_wall_ms() / 1000 + 3600),
	};
	struct err err;

	forget_key(w);
	assert_int_equal(ssh_hostkey_generate(token, &w->key, &err), 0);
	assert_int_equal(ssh_ca_sign(w->ca, &w->key.pub, &spec, &w->cert, &err), 0);
	fx->host_key = w->key.text.data;
	fx->host_cert = w->cert;
	fx->user_ca = w->ca_line;
}

static void
make_world(struct provider_fixture *fx)
{
	struct ec2_world *w = test_calloc(1, sizeof(*w));
	struct err err;
	int dir;

	fx->world = w;
	fx->clock = clock_new_real();
	w->loop = loop_new(fx->clock);
	strcpy(w->dir, "/tmp/hearth-contract-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	dir = open(w->dir, O_RDONLY | O_DIRECTORY);
	assert_int_equal(ssh_ca_load_or_create(dir, "ca", &w->ca, &err), 0);
	close(dir);
	w->ca_line = ssh_ca_public_line(w->ca);
}

static int
open_it(struct provider_fixture *fx, const char *options)
{
	struct ec2_settings settings = {
	    .endpoint = getenv("HEARTH_TEST_EC2"), .speed = -1};
	struct provider_env env;
	struct err err;
	char dir[96];

	if (!fx->world)
		make_world(fx);
	fx->image = getenv("HEARTH_TEST_EC2_IMAGE") ?: "debian";
	fx->options = options;
	fx->cannot_hibernate = getenv("HEARTH_TEST_EC2_NO_HIBERNATION") != NULL;
	fx->lax_disks = getenv("HEARTH_TEST_EC2_LAX_DISKS") != NULL;
	env = provider_fixture_env(fx);
	env.uv_loop = loop_uv(((struct ec2_world *)fx->world)->loop);
	(void)snprintf(dir, sizeof(dir), "%s/aws", ((struct ec2_world *)fx->world)->dir);
	if (ec2_provider_open(&settings, dir, &env, &fx->provider, &err) < 0)
		fail_msg("%s", err.msg);
	return 0;
}

static int
open_real(struct provider_fixture *fx)
{
	return open_it(fx, NULL);
}

static int
open_fake(struct provider_fixture *fx)
{
	return open_it(fx, "readiness=running\n");
}

static void
time_is_up(void *arg)
{
	loop_stop(arg);
}

static void
turn(struct provider_fixture *fx, int64_t ms)
{
	struct ec2_world *w = fx->world;

	timer_set(fx->clock, &w->timer, ms, time_is_up, w->loop);
	loop_run(w->loop);
	timer_off(&w->timer);
}

/* Host keys of launches are removed with the last machine that they were for. */
static void
remove_dir(struct ec2_world *w)
{
	static const char *const files[] = {
	    "aws/owner", "aws/control_key", "aws/known_hosts", "ca"};
	char path[128];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", w->dir, files[i]);
		(void)unlink(path);
	}
	(void)snprintf(path, sizeof(path), "%s/aws/first", w->dir);
	assert_int_equal(rmdir(path), 0);
	(void)snprintf(path, sizeof(path), "%s/aws", w->dir);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(w->dir), 0);
}

static void
closed(struct provider_fixture *fx, bool final)
{
	struct ec2_world *w = fx->world;

	turn(fx, 1); /* handles that are being closed */
	assert_int_equal(clock_next_ms(fx->clock), -1); /* no timer was forgotten */
	if (!final)
		return;
	loop_free(w->loop);
	clock_free(fx->clock);
	forget_key(w);
	ssh_ca_free(w->ca);
	free(w->ca_line);
	remove_dir(w);
	test_free(w);
	fx->world = NULL;
}

/* A look a second, ssh for each deadline, and an end that is seen by looking. */
const struct provider_kind_ops provider_kind_ec2 = {
    .name = "ec2",
    .slack_ms = 4000,
    .no_devices = true,
    .possible = possible,
    .open = open_real,
    .prepare = prepare,
    .turn = turn,
    .closed = closed,
};

const struct provider_kind_ops provider_kind_ec2_fake = {
    .name = "ec2-fake",
    .slack_ms = 2500,
    .nobody_inside = true,
    .possible = possible,
    .open = open_fake,
    .prepare = prepare,
    .turn = turn,
    .closed = closed,
};
