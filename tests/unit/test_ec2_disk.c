/* SPDX-License-Identifier: Apache-2.0 */

/* Goal: what listings show of volumes and snapshots is believed no more than it deserves, a disk is never taken for a machine's own volume, and
   what a machine says of a mount is read as it was meant and shown without harm. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "aws/xml.h"
#include "base/buf.h"
#include "base/clock.h"
#include "provider/ec2/disk.h"

#define DISK "d-0123456789ab"
#define SNAPSHOT "s-0123456789ab"

/* A provider that never calls anybody: what it would look at is given to it. */
static struct ec2 e;
static struct told {
	int n;
	enum sighting_state last;
	char error[64];
} told;

static void
on_sighting(void *arg, const struct sighting *s)
{
	told.n++;
	told.last = s->state;
	(void)snprintf(told.error, sizeof(told.error), "%s", s->error ? s->error : "");
}

static int
setup(void **state)
{
	e = (struct ec2){
	    .env = {.clock = clock_new_sim(1790000000000), .sighting = on_sighting}};
	told = (struct told){0};
	list_init(&e.answers);
	list_init(&e.to_terminate);
	list_init(&e.disks.zoning);
	return 0;
}

static int
teardown(void **state)
{
	e.closing = true;
	timer_off(&e.disks.timer);
	timer_off(&e.look_timer);
	ec2_disks_close(&e);
	map_fini(&e.machines);
	map_fini(&e.refs);
	clock_free(e.env.clock);
	return 0;
}

#define TAG(value)                                                                       \
	"<tagSet><item><key>hearth:disk</key><value>" value "</value></item></tagSet>"

/* One item of a listing, in a look of its own. */
static bool
shows(bool snapshot, const char *fmt, ...)
{
	char text[1024];
	struct xml *x;
	struct err err;
	va_list ap;
	bool ours;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	e.disks.look++;
	assert_int_equal(xml_parse(text, strlen(text), &x, &err), 0);
	ours = ec2_disk_observe(&e, x, snapshot);
	xml_free(x);
	return ours;
}

static bool
volume(const char *id, const char *status)
{
	return shows(false,
	    "<item><volumeId>%s</volumeId><status>%s</status>"
	    "<availabilityZone>z-1a</availabilityZone>" TAG(DISK) "</item>",
	    id, status);
}

static struct ec2_disk *
disk(void)
{
	return ec2_disk_find(&e, DISK, NULL);
}

static void
missed(int64_t ms)
{
	clock_sim_advance(e.env.clock, ms);
	e.disks.look++;
	ec2_disk_missed(disk());
}

static void
states_move_forward(void **state)
{
	static const struct {
		const char *seen;
		enum ec2_disk_state believed;
		int told;
	} rows[] = {
	    {"creating", EC2_DISK_MADE, 1},
	    {"creating", EC2_DISK_MADE, 1},
	    {"available", EC2_DISK_THERE, 2},
	    {"creating", EC2_DISK_THERE, 2},
	    {"in-use", EC2_DISK_THERE, 2},
	    {"error", EC2_DISK_ERROR, 3},
	    {"available", EC2_DISK_ERROR, 3},
	    {"deleting", EC2_DISK_GOING, 3},
	    {"available", EC2_DISK_GOING, 3},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(volume("vol-1", rows[i].seen));
		assert_int_equal(disk()->state, rows[i].believed);
		assert_int_equal(told.n, rows[i].told);
	}
	assert_int_equal(told.last, SIGHTING_DEAD);
	missed(1000); /* a look that began before would not do: this one did not */
	assert_null(disk());
	assert_int_equal(told.last, SIGHTING_GONE);
	assert_string_equal(told.error, "somebody has deleted it at EC2");
}

static void
absence_is_not_an_end(void **state)
{
	assert_true(volume("vol-1", "available"));
	for (int i = 0; i < 299; i++)
		missed(1000);
	assert_non_null(disk());
	assert_true(volume("vol-1", "available"));
	for (int i = 0; i < 300; i++)
		missed(1000);
	assert_int_equal(told.last, SIGHTING_READY);
	missed(1000);
	assert_null(disk());
	assert_int_equal(told.last, SIGHTING_GONE);
}

/* Nothing that is not ours by its tag is, nor a second thing of one token. */
static void
others_are_not_taken(void **state)
{
	assert_false(shows(false, "<item><volumeId>vol-9</volumeId></item>"));
	assert_false(shows(false, "<item><volumeId>vol-9</volumeId>" TAG("x") "</item>"));
	assert_false(
	    shows(false, "<item><volumeId>vol-9</volumeId>" TAG(SNAPSHOT) "</item>"));
	assert_false(
	    shows(true, "<item><snapshotId>snap-9</snapshotId>" TAG(DISK) "</item>"));
	assert_int_equal(ec2_disks_count(&e), 0);
	assert_true(volume("vol-1", "available"));
	assert_false(volume("vol-2", "available"));
	assert_string_equal(disk()->ref, "vol-1");
	assert_true(volume("vol-2", "deleting")); /* it goes by itself */
	assert_true(volume("vol-1", "available"));
	assert_int_equal(ec2_disks_count(&e), 1);
	assert_true(shows(
	    true, "<item><snapshotId>snap-1</snapshotId><status>pending</status>" TAG(
		      SNAPSHOT) "</item>"));
	assert_int_equal(told.last, SIGHTING_STARTING);
	assert_true(shows(
	    true, "<item><snapshotId>snap-1</snapshotId><status>completed</status>" TAG(
		      SNAPSHOT) "</item>"));
	assert_int_equal(told.last, SIGHTING_READY);
}

static void
attachments_are_read(void **state)
{
	static const struct {
		const char *status;
		enum ec2_tie tie;
	} rows[] = {{"attaching", EC2_TIE_ATTACHING}, {"attached", EC2_TIE_ATTACHED},
	    {"busy", EC2_TIE_BUSY}, {"detaching", EC2_TIE_DETACHING},
	    {"detached", EC2_TIE_NONE}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(shows(false,
		    "<item><volumeId>vol-1</volumeId><status>in-use</status>"
		    "<attachmentSet><item><instanceId>i-1</instanceId><device>/dev/sdg"
		    "</device><status>%s</status></item></attachmentSet>" TAG(
			DISK) "</item>",
		    rows[i].status));
		assert_int_equal(disk()->tie, rows[i].tie);
		assert_string_equal(disk()->instance, "i-1");
		assert_string_equal(disk()->device, "/dev/sdg");
	}
	assert_true(volume("vol-1", "available"));
	assert_int_equal(disk()->tie, EC2_TIE_NONE);
	assert_string_equal(disk()->instance, "");
	assert_string_equal(disk()->zone, "z-1a");
}

/* What ends with a machine is what it was launched with: a disk that is in it is not. */
static void
a_disk_is_no_machines_own(void **state)
{
	struct ec2_machine *m = ec2_machine_new(&e, "m-0123456789ab");
	struct ec2_instance i = {.ref = "i-1",
	    .state = EC2_PENDING,
	    .volumes = {"vol-1", "vol-root", NULL, NULL}};

	m->have_opt = true;
	m->opt.readiness = EC2_READY_RUNNING;
	assert_true(volume("vol-1", "in-use"));
	ec2_machine_observe(m, &i);
	assert_string_equal(m->volumes[0], "vol-root");
	assert_null(m->volumes[1]);
	e.closing = true;
	ec2_machine_free(m);
}

/* ---- scripts ---- */

static void
assert_sh_takes(const struct buf *script)
{
	int pipes[2], status;
	pid_t pid;

	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	if (pid == 0) {
		dup2(pipes[0], 0);
		close(pipes[1]);
		execlp("sh", "sh", "-n", (char *)NULL);
		_exit(127);
	}
	close(pipes[0]);
	assert_int_equal(
	    write(pipes[1], script->data, script->len), (ssize_t)script->len);
	close(pipes[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void
scripts_are_whole(void **state)
{
	struct buf b = BUF_INIT(1 << 16);
	struct err err;

	assert_int_equal(
	    ec2_script_mount("vol-0a", "/dev/sdg", "my.data", "ec2-user", &b, &err), 0);
	assert_non_null(strstr(b.data, "volume=vol0a\nat=/disk/my.data\n"));
	assert_non_null(strstr(b.data, "letter=g\n"));
	assert_sh_takes(&b);
	buf_reset(&b);
	assert_int_equal(ec2_script_unmount("vol-0a", "my.data", &b, &err), 0);
	assert_sh_takes(&b);
	buf_fini(&b);
}

static void
verdicts_are_read(void **state)
{
	static const struct {
		int exit_code;
		const char *output, *warning, *error;
	} rows[] = {
	    {0, "hearth: ok\n", "", NULL},
	    {0, "Warning: Permanently added\nhearth: ok\n", "", NULL},
	    {0, "hearth: warning: read-only\n", "read-only", NULL},
	    {0, "hearth: warning: \x1b[2Jx\n", "?[2Jx", NULL},
	    {1, "hearth: error: no device\n", "", "no device"},
	    {0, "hearth: error: no device\n", "", "no device"},
	    {1, "hearth: ok\n", "", "the script exited 1: hearth: ok"},
	    {0, "", "", "the script exited 0: "},
	    {0, "not hearth: ok\n", "", "the script exited 0: not hearth: ok"},
	    {127, "sh: not found", "", "the script exited 127: sh: not found"},
	};
	char warning[256];
	struct err err, lost;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ec2_script_verdict(
		    rows[i].exit_code, rows[i].output, &(struct err){0}, warning, &err);
		assert_string_equal(warning, rows[i].warning);
		if (!rows[i].error)
			assert_int_equal(err.code, ERR_NONE);
		else
			assert_string_equal(err.msg, rows[i].error);
	}
	err_set(&lost, ERR_UNAVAILABLE, "no connection");
	ec2_script_verdict(0, "hearth: ok\n", &lost, warning, &err);
	assert_string_equal(err.msg, "no connection");
}

static void
rates_are_checked(void **state)
{
	static const char *const bad[] = {"99", "301", "0", "-100", "1e2", "0100", ""};
	struct ec2_options o;
	struct err err;

	assert_int_equal(
	    ec2_options_parse("disk_initialization_rate=300\n", &o, &err), 0);
	assert_int_equal(o.disk_rate, 300);
	ec2_options_fini(&o);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[64];

		(void)snprintf(text, sizeof(text), "disk_initialization_rate=%s", bad[i]);
		assert_int_equal(ec2_options_parse(text, &o, &err), -1);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(states_move_forward),
	    TEST(absence_is_not_an_end),
	    TEST(others_are_not_taken),
	    TEST(attachments_are_read),
	    TEST(a_disk_is_no_machines_own),
	    cmocka_unit_test(scripts_are_whole),
	    cmocka_unit_test(verdicts_are_read),
	    cmocka_unit_test(rates_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
