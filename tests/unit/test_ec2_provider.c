/* SPDX-License-Identifier: Apache-2.0 */

/* Goal: what the ec2 provider writes into tags is read back, whatever else stands there; its scripts are ones that sh takes, hold what
   they were given and nothing that ends a quotation, and stay below EC2's limit. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "provider/ec2/internal.h"
#include "provider/ec2/options.h"
#include "provider/ec2/tags.h"
#include "provider/ec2/user_data.h"

/* ---- tags ---- */

static void
tags_name_every_machine(void **state)
{
	struct id tokens[TAGS_TOKENS_MAX], back;

	id_seed(7);
	for (int i = 0; i < TAGS_TOKENS_MAX; i++)
		tokens[i] = id_new('m');
	for (int k = 0; k < TAGS_VALUES_MAX; k++) {
		struct buf value = BUF_INIT(0);

		tags_pack(tokens, TAGS_TOKENS_MAX, k, &value);
		assert_in_range(value.len, 1, 256); /* EC2's bound on a tag's value */
		for (int i = 0; i < TAGS_PER_VALUE; i++) {
			assert_int_equal(tags_unpack(value.data, i, &back), 0);
			assert_true(memcmp(back.s, tokens[k * TAGS_PER_VALUE + i].s,
					ID_MAX) == 0);
		}
		buf_fini(&value);
	}
	id_seed(0);
}

static void
tags_take_nothing_else(void **state)
{
	struct id back;

	assert_int_equal(tags_unpack("", 0, &back), -1);
	assert_int_equal(tags_unpack("0123456789ab", 0, &back), 0);
	assert_string_equal(back.s, "m-0123456789ab");
	assert_int_equal(tags_unpack("0123456789ab", 1, &back), -1);
	assert_int_equal(tags_unpack("0123456789ab", -1, &back), -1);
	assert_int_equal(tags_unpack("0123456789ab", TAGS_PER_VALUE, &back), -1);
	assert_int_equal(tags_unpack("0123456789a", 0, &back), -1);
	assert_int_equal(tags_unpack("0123456789A!", 0, &back), -1);
	assert_int_equal(tags_key("hearth:tokens-0"), 0);
	assert_int_equal(tags_key("hearth:tokens-13"), 13);
	assert_int_equal(tags_key("hearth:tokens-"), -1);
	assert_int_equal(tags_key("hearth:tokens-1x"), -1);
	assert_int_equal(tags_key("hearth:tokens-123"), -1);
	assert_int_equal(tags_key("hearth:tokens--1"), -1);
	assert_int_equal(tags_key("Name"), -1);
}

/* The same call has the same client token in every attempt; any other call has another. */
static void
client_tokens_are_derived(void **state)
{
	struct id a[2] = {{"m-0123456789ab"}, {"m-0123456789ac"}};
	struct id b[2] = {{"m-0123456789ac"}, {"m-0123456789ab"}};
	char one[65], two[65];

	tags_client_token(a, 2, "t3.medium -", one);
	assert_int_equal(strlen(one), 64);
	tags_client_token(a, 2, "t3.medium -", two);
	assert_string_equal(one, two);
	tags_client_token(b, 2, "t3.medium -", two);
	assert_string_not_equal(one, two);
	tags_client_token(a, 1, "t3.medium -", two);
	assert_string_not_equal(one, two);
	tags_client_token(a, 2, "m6i.large -", two);
	assert_string_not_equal(one, two);
}

/* ---- scripts ---- */

#define KEY                                                                              \
	"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END "       \
	"OPENSSH PRIVATE KEY-----\n"
#define PUBLIC "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI hearth"

static struct user_data
plain(void)
{
	return (struct user_data){.first_host_key = KEY,
	    .control_key = PUBLIC,
	    .user_ca = PUBLIC,
	    .login = "ec2-user",
	    .lease_s = 3600};
}

static struct install
plain_install(void)
{
	return (struct install){.host_key = KEY,
	    .host_cert = PUBLIC,
	    .principal = "m-0123456789ab",
	    .hostname = "m-0123456789ab",
	    .mark = "hearth-x",
	    .lease_s = 60};
}

/* sh reads the script and finds it whole. */
static void
assert_sh_takes(const struct buf *script)
{
	char path[] = "/tmp/hearth-script-XXXXXX", command[64];
	int fd = mkstemp(path), status;
	pid_t pid;

	assert_int_equal(write(fd, script->data, script->len), (ssize_t)script->len);
	close(fd);
	(void)snprintf(command, sizeof(command), "%s", path);
	pid = fork();
	if (pid == 0) {
		execlp("sh", "sh", "-n", command, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	unlink(path);
	assert_int_equal(status, 0);
}

static void
scripts_are_whole(void **state)
{
	struct buf b = BUF_INIT(0);
	struct user_data u = plain();
	struct install i = plain_install();
	struct err err;

	u.user_keys = PUBLIC "\n" PUBLIC "\n";
	assert_int_equal(user_data_write(&u, &b, &err), 0);
	assert_in_range(b.len, 1, USER_DATA_MAX);
	assert_true(
	    strncmp(b.data, "#!/bin/sh\n", 10) == 0); /* cloud-init runs it by that */
	assert_non_null(strstr(b.data, "hearth-deadline 3600\n"));
	assert_non_null(strstr(b.data, KEY "HEARTH\n"));
	assert_non_null(strstr(b.data, "VersionAddendum " USER_DATA_MARK "\n"));
	assert_sh_takes(&b);
	buf_reset(&b);
	assert_int_equal(user_data_install(&i, &b, &err), 0);
	assert_non_null(
	    strstr(b.data, "HostCertificate /etc/ssh/hearth/host_key-cert.pub"));
	assert_non_null(strstr(b.data, "VersionAddendum hearth-x\n"));
	assert_sh_takes(&b);
	buf_fini(&b);
}

static void
scripts_keep_to_the_limit(void **state)
{
	struct buf b = BUF_INIT(0), keys = BUF_INIT(0);
	struct user_data u = plain();
	struct err err;

	while (keys.len < USER_DATA_MAX)
		buf_str(&keys, PUBLIC "\n");
	u.user_keys = keys.data;
	assert_int_equal(user_data_write(&u, &b, &err), -1);
	assert_int_equal(err.code, ERR_TOO_LARGE);
	buf_fini(&keys);
	buf_fini(&b);
}

/* What would end a here-document or a quotation is refused, wherever it stands. */
static void
scripts_cannot_be_broken_out_of(void **state)
{
	static const char *const bad[] = {
	    "a'b", "a\\b", "a\nHEARTH\nrm -rf /", "HEARTH", "a\x01", "a\rb", "a\x7f"};

	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
		for (int field = 0; field < 9; field++) {
			struct buf b = BUF_INIT(0);
			struct user_data u = plain();
			struct install i = plain_install();
			struct err err = {0};
			const char **at[] = {&u.first_host_key, &u.control_key,
			    &u.user_ca, &u.login, &u.user_keys, &i.host_key, &i.host_cert,
			    &i.principal, &i.hostname};

			*at[field] = bad[k];
			assert_int_equal(field < 5 ? user_data_write(&u, &b, &err)
						   : user_data_install(&i, &b, &err),
			    -1);
			assert_int_equal(err.code, ERR_INVALID);
			buf_fini(&b);
		}
}

/* ---- options ---- */

static void
options_have_defaults(void **state)
{
	struct ec2_options o;
	struct err err;

	assert_int_equal(ec2_options_parse(NULL, &o, &err), 0);
	assert_int_equal(o.instance_types.n, 1);
	assert_string_equal(o.instance_types.words[0], "t3.medium");
	assert_int_equal(o.readiness, EC2_READY_SSH);
	assert_int_equal(o.access, EC2_ACCESS_CERTIFICATE);
	ec2_options_fini(&o);
	assert_int_equal(
	    ec2_options_parse("zones=a,b\nspot=true\nvolume_size=2T\n", &o, &err), 0);
	assert_int_equal(o.zones.n, 2);
	assert_string_equal(o.zones.words[1], "b");
	assert_true(o.spot);
	assert_int_equal(o.volume_gib, 2048);
	ec2_options_fini(&o);
}

static void
options_refuse_the_rest(void **state)
{
	static const char *const bad[] = {"zones", "zones=", "zones=a,,b", "zones=a b",
	    "colour=red", "spot=maybe", "volume_size=0G", "volume_size=99999T",
	    "zones=a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", "zones=a\nsubnets=subnet-1",
	    "interfaces=true"};

	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
		struct ec2_options o;
		struct err err = {0};

		if (ec2_options_parse(bad[k], &o, &err) == 0)
			fail_msg("taken: %s", bad[k]);
		assert_int_equal(err.code, ERR_INVALID);
	}
}

/* ---- what is believed of a machine ---- */

struct told {
	int n;
	enum sighting_state last;
};

static void
on_sighting(void *arg, const struct sighting *s)
{
	struct told *t = arg;

	t->n++;
	t->last = s->state;
}

/* A provider that never calls anybody: what it would look at is given to it. */
static struct ec2_machine *
machine(struct ec2 *e, struct told *t)
{
	struct ec2_machine *m;
	struct err err;

	*e = (struct ec2){.env = {.clock = clock_new_sim(1790000000000),
			      .arg = t,
			      .sighting = on_sighting}};
	list_init(&e->answers);
	list_init(&e->images);
	list_init(&e->to_terminate);
	m = ec2_machine_new(e, "m-0123456789ab");
	assert_int_equal(ec2_options_parse("readiness=running\n", &m->opt, &err), 0);
	m->have_opt = true;
	return m;
}

static void
machine_over(struct ec2_machine *m)
{
	struct ec2 *e = m->e;

	e->closing = true;
	ec2_machine_free(m);
	timer_off(&e->change);
	timer_off(&e->look_timer);
	map_fini(&e->machines);
	map_fini(&e->refs);
	clock_free(e->env.clock);
}

static void
shows(struct ec2_machine *m, enum ec2_state state)
{
	struct ec2_instance i = {.ref = "i-0123456789abcdef0", .state = state};

	m->e->look++;
	ec2_machine_observe(m, &i);
}

/* Old replies: what contradicts the last move is not believed for half a minute, and an end for ever. */
static void
states_move_forward(void **state)
{
	static const struct {
		enum ec2_state seen[3];
		enum ec2_state believed;
		int64_t wait_ms; /* before the last one */
	} rows[] = {
	    {{EC2_PENDING, EC2_RUNNING, EC2_PENDING}, EC2_RUNNING, 0},
	    {{EC2_PENDING, EC2_PENDING, EC2_RUNNING}, EC2_RUNNING, 0},
	    {{EC2_RUNNING, EC2_STOPPED, EC2_RUNNING}, EC2_STOPPED, 0},
	    {{EC2_RUNNING, EC2_STOPPED, EC2_RUNNING}, EC2_RUNNING, EC2_STALE_MS},
	    {{EC2_RUNNING, EC2_STOPPING, EC2_RUNNING}, EC2_STOPPING, 0},
	    {{EC2_RUNNING, EC2_STOPPING, EC2_STOPPED}, EC2_STOPPED, 0},
	    {{EC2_RUNNING, EC2_SHUTTING_DOWN, EC2_RUNNING}, EC2_SHUTTING_DOWN, 0},
	    {{EC2_RUNNING, EC2_SHUTTING_DOWN, EC2_RUNNING}, EC2_SHUTTING_DOWN,
		10 * EC2_STALE_MS},
	    {{EC2_RUNNING, EC2_TERMINATED, EC2_RUNNING}, EC2_TERMINATED,
		10 * EC2_STALE_MS},
	    {{EC2_RUNNING, EC2_TERMINATED, EC2_SHUTTING_DOWN}, EC2_TERMINATED, 0},
	    {{EC2_PENDING, EC2_PENDING, EC2_TERMINATED}, EC2_TERMINATED, 0},
	};

	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
		struct told t = {0};
		struct ec2 e;
		struct ec2_machine *m = machine(&e, &t);

		for (int i = 0; i < 3; i++) {
			if (i == 2)
				clock_sim_advance(e.env.clock, rows[k].wait_ms);
			shows(m, rows[k].seen[i]);
		}
		if (m->state != rows[k].believed)
			fail_msg("row %zu: %s", k, ec2_state_name(m->state));
		machine_over(m);
	}
}

/* A start that was accepted: that it is stopped is old news for a while, and then it is true. */
static void
a_start_is_believed(void **state)
{
	struct told t = {0};
	struct ec2 e;
	struct ec2_machine *m = machine(&e, &t);

	shows(m, EC2_RUNNING);
	assert_int_equal(t.last, SIGHTING_READY);
	shows(m, EC2_STOPPED);
	assert_int_equal(t.last, SIGHTING_STOPPED);
	m->start_ms = clock_now_ms(e.env.clock);
	ec2_machine_move(m, EC2_PENDING);
	shows(m, EC2_STOPPED);
	assert_int_equal(m->state, EC2_PENDING);
	clock_sim_advance(e.env.clock, EC2_STALE_MS);
	shows(m, EC2_STOPPED);
	assert_int_equal(m->state, EC2_STOPPED);
	machine_over(m);
}

/* One that somebody else stops must not count as seen alive meanwhile. */
static void
stopping_is_not_told(void **state)
{
	struct told t = {0};
	struct ec2 e;
	struct ec2_machine *m = machine(&e, &t);
	int n;

	shows(m, EC2_RUNNING);
	n = t.n;
	shows(m, EC2_STOPPING);
	assert_int_equal(t.n, n);
	shows(m, EC2_STOPPED);
	assert_int_equal(t.last, SIGHTING_STOPPED);
	machine_over(m);
}

/* Not listed is no state: for five minutes, or ten seconds once its end was accepted. */
static void
absence_is_not_an_end(void **state)
{
	struct told t = {0};
	struct ec2 e;
	struct ec2_machine *m = machine(&e, &t);

	shows(m, EC2_RUNNING);
	for (int i = 0; i < 299; i++) {
		ec2_machine_missed(m);
		clock_sim_advance(e.env.clock, 1000);
	}
	assert_int_equal(m->state, EC2_RUNNING);
	shows(m, EC2_RUNNING); /* there it is */
	for (int i = 0; i < 299; i++) {
		ec2_machine_missed(m);
		clock_sim_advance(e.env.clock, 1000);
	}
	assert_int_equal(m->state, EC2_RUNNING);
	clock_sim_advance(e.env.clock, 2000);
	ec2_machine_missed(m);
	assert_int_equal(m->state, EC2_TERMINATED);
	assert_int_equal(t.last, SIGHTING_DEAD);
	machine_over(m);

	m = machine(&e, &t);
	shows(m, EC2_RUNNING);
	m->ending = m->end_asked = true;
	ec2_machine_missed(m);
	clock_sim_advance(e.env.clock, EC2_ENDED_ABSENT_MS - 1);
	ec2_machine_missed(m);
	assert_int_equal(m->state, EC2_RUNNING);
	clock_sim_advance(e.env.clock, 1);
	ec2_machine_missed(m);
	assert_int_equal(m->state, EC2_TERMINATED);
	machine_over(m);
}

/* Given up, for nothing was listed or its launch was refused: an instance that turns up all the same is what EC2 says it is,
   and is ended once its end was asked for, even if that was asked before. */
static void
what_turns_up_is_ended(void **state)
{
	for (int asked = 0; asked < 2; asked++) {
		struct told t = {0};
		struct ec2 e;
		struct ec2_machine *m = machine(&e, &t);

		m->ending = true;
		m->end_asked = asked;
		ec2_machine_conclude(m);
		assert_int_equal(m->state, EC2_TERMINATED);
		shows(m, EC2_PENDING);
		assert_int_equal(m->state, EC2_PENDING);
		assert_ptr_equal(e.to_terminate.next, &m->in_change);
		shows(m, EC2_TERMINATED); /* and that is the end, as ever */
		shows(m, EC2_RUNNING);
		assert_int_equal(m->state, EC2_TERMINATED);
		list_remove(&m->in_change);
		ec2_machine_conclude(m);
		shows(m, EC2_TERMINATED); /* EC2 says the same */
		shows(m, EC2_RUNNING);
		assert_int_equal(m->state, EC2_TERMINATED);
		machine_over(m);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(tags_name_every_machine),
	    cmocka_unit_test(tags_take_nothing_else),
	    cmocka_unit_test(client_tokens_are_derived),
	    cmocka_unit_test(scripts_are_whole),
	    cmocka_unit_test(scripts_keep_to_the_limit),
	    cmocka_unit_test(scripts_cannot_be_broken_out_of),
	    cmocka_unit_test(options_have_defaults),
	    cmocka_unit_test(options_refuse_the_rest),
	    cmocka_unit_test(states_move_forward),
	    cmocka_unit_test(a_start_is_believed),
	    cmocka_unit_test(stopping_is_not_told),
	    cmocka_unit_test(absence_is_not_an_end),
	    cmocka_unit_test(what_turns_up_is_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
