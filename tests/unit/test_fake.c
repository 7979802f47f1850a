/* SPDX-License-Identifier: Apache-2.0 */

/* Goal: the fake provider fails, dies, forgets and fills up as it was told to, the same way for the same
   seed, and what exists there survives kill -9 of its process. */

#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "provider/fake.h"

#define WALL INT64_C(1790000000000)

static struct clock *sim;
static struct provider *fake;
static struct fake_options opt;
static struct buf story; /* everything that was called, in order */
static char path[64];

static void
tell(const char *what, const char *token, const char *more)
{
	buf_fmt(&story, "%d:%s %s%s%s\n", (int)(clock_now_ms(sim) - 1000000), what,
	    token ? token : "-", *more ? " " : "", more);
}

static void
on_sighting(void *arg, const struct sighting *s)
{
	static const char *const names[] = {
	    "starting", "ready", "stopped", "gone", "dead"};
	char more[64] = "";

	if (s->sessions > 0)
		(void)snprintf(more, sizeof(more), "sessions=%d", s->sessions);
	tell(names[s->state], s->token, more);
}

static void
on_image(
    void *arg, const char *image, const char *version, int percent, const char *error)
{
	tell("image", image, version ? version : error);
}

static void
on_launched(void *arg, const char *ref, const struct err *err)
{
	tell("launched", arg, err->code ? err_info[err->code].name : "");
}

static void
on_done(void *arg, const struct err *err)
{
	tell("done", arg, err->code ? err_info[err->code].name : "");
}

static void
on_setup(void *arg, int exit_code, const char *output, const struct err *err)
{
	char more[64];

	(void)snprintf(more, sizeof(more), "exit=%d", exit_code);
	tell("setup", arg, err->code ? err_info[err->code].name : more);
}

static void
on_inventory(void *arg, const struct sighting *all, int n, const struct err *err)
{
	char more[16];

	(void)snprintf(more, sizeof(more), "n=%d", n);
	tell("inventory", NULL, more);
	for (int i = 0; i < n; i++)
		on_sighting(NULL, &all[i]);
}

static void
open_fake(void)
{
	struct provider_env env = {
	    .clock = sim, .sighting = on_sighting, .image = on_image};
	struct err err;

	opt.world = path;
	if (fake_provider_open(&opt, &env, &fake, &err) < 0)
		fail_msg("%s", err.msg);
}

static void
close_fake(void)
{
	fake->ops->close(fake);
	fake = NULL;
	assert_int_equal(clock_next_ms(sim), -1);
}

static int
setup(void **state)
{
	opt = (struct fake_options){.launch_ms = 100, .seed = 7};
	sim = clock_new_sim(WALL);
	story = BUF_INIT(0);
	strcpy(path, "/tmp/hearth-fake-XXXXXX");
	close(mkstemp(path));
	return 0;
}

static int
teardown(void **state)
{
	if (fake)
		close_fake();
	clock_free(sim);
	buf_fini(&story);
	return unlink(path);
}

static void
launch(const char *token)
{
	struct launch_spec spec = {
	    .token = token, .image = "debian", .image_version = "1", .lease_s = 3600};

	fake->ops->launch(fake, &spec, on_launched, (void *)token);
}

static void
expect(const char *want)
{
	assert_string_equal(story.data ? story.data : "", want);
	buf_reset(&story);
}

static void
run(int64_t ms)
{
	clock_sim_advance(sim, ms);
}

static void
test_times(void **state)
{
	opt.terminate_ms = 30;
	opt.setup_ms = 10;
	opt.contact_ms = 4;
	opt.deadline_ms = 3;
	opt.image_ms = 50;
	open_fake();
	launch("m-1");
	fake->ops->image(fake, "debian");
	expect("");
	run(100);
	expect("0:starting m-1\n0:launched m-1\n50:image debian 1\n100:ready m-1\n");
	fake->ops->setup(
	    fake, "m-1", NULL, "apt-get install -y git", 500, on_setup, "m-1");
	fake->ops->contact(fake, "m-1", "198.18.0.1", 22, on_done, "c");
	fake->ops->deadline(fake, "m-1", NULL, 1, "", on_done, "d");
	run(10);
	expect("103:done d\n104:done c\n110:setup m-1 exit=0\n");
	assert_int_equal(fake_ends_at(fake, "m-1"), WALL + 1103);
	run(1000);
	expect("1103:gone m-1\n");
	launch("m-2");
	run(100);
	buf_reset(&story);
	fake->ops->terminate(fake, "m-2", NULL, on_done, "t");
	run(100);
	expect("1210:done t\n1240:gone m-2\n");
}

static void
test_launch_failures(void **state)
{
	opt.fail_launch_first = 2;
	opt.capacity = 1;
	open_fake();
	launch("m-1");
	launch("m-2");
	launch("m-3");
	launch("m-4");
	run(1);
	expect("0:launched m-1 internal\n0:launched m-2 internal\n0:starting m-3\n"
	       "0:launched m-3\n0:launched m-4 no_capacity\n");
	assert_int_equal(fake_count(fake), 1);
	assert_int_equal(fake_calls(fake, FAKE_LAUNCH), 4);
	fake_fail_next(fake, FAKE_TERMINATE, ERR_RATE_LIMITED, "slow down");
	fake->ops->terminate(fake, "m-3", NULL, on_done, "t");
	fake->ops->terminate(fake, "m-3", NULL, on_done, "t");
	run(1);
	expect("1:done t rate_limited\n1:gone m-3\n1:done t\n");
}

/* The work is done, only the answer is lost: the same launch again finds it. */
static void
test_lost_reply(void **state)
{
	struct fake_options well;

	opt.lose_reply = 1;
	open_fake();
	launch("m-1");
	run(0);
	expect("0:starting m-1\n0:launched m-1 unavailable\n");
	well = opt;
	well.lose_reply = 0;
	fake_set_options(fake, &well);
	launch("m-1");
	run(200);
	expect("0:launched m-1\n100:ready m-1\n");
	assert_int_equal(fake_count(fake), 1);
}

static void
test_probabilities(void **state)
{
	int failed = 0;

	opt.fail_launch = 0.25;
	opt.fail_setup = 1;
	opt.fail_contact = 1;
	open_fake();
	for (int i = 0; i < 1000; i++) {
		char token[ID_MAX];

		(void)snprintf(token, sizeof(token), "m-%d", i);
		launch(token);
		run(0); /* the token is only borrowed for the call, the argument until the answer */
	}
	failed = 1000 - fake_count(fake);
	assert_in_range(failed, 200, 300);
	buf_reset(&story);
	fake_add_stray(fake, "m-x");
	run(1);
	fake->ops->setup(fake, "m-x", NULL, "true", 500, on_setup, "s");
	fake->ops->contact(fake, "m-x", "198.18.0.1", 22, on_done, "c");
	run(0);
	expect("1:setup s exit=1\n1:done c unavailable\n");
}

static char *
jittered(uint64_t seed)
{
	char *told;

	opt.launch_jitter_ms = 50;
	opt.fail_launch = 0.3;
	opt.seed = seed;
	open_fake();
	for (int i = 0; i < 20; i++)
		launch(&"m-a\0m-b\0m-c\0m-d\0m-e\0m-f\0m-g\0m-h\0m-i\0m-j\0m-k\0m-l\0m-"
			"m\0m-n\0"
			"m-o\0m-p\0m-q\0m-r\0m-s\0m-t"[4 * i]);
	run(200);
	for (int i = 0; i < 20; i++)
		fake_remove(fake, (char[]){'m', '-', (char)('a' + i), '\0'});
	close_fake();
	clock_free(sim);
	sim = clock_new_sim(WALL);
	told = buf_take(&story);
	story = BUF_INIT(0);
	return told;
}

static void
test_same_seed_same_story(void **state)
{
	char *one = jittered(1), *again = jittered(1), *two = jittered(2);

	assert_string_equal(one, again);
	assert_string_not_equal(one, two);
	free(one);
	free(again);
	free(two);
}

static void
test_death(void **state)
{
	opt.die_after_ms = 500;
	open_fake();
	launch("m-1");
	run(1000);
	expect("0:starting m-1\n0:launched m-1\n100:ready m-1\n600:dead m-1\n");
	fake->ops->terminate(fake, "m-1", NULL, on_done, "t");
	run(0);
	expect("1000:gone m-1\n1000:done t\n");
	launch("m-2");
	run(150);
	buf_reset(&story);
	fake_sessions(fake, "m-2", 2);
	fake_kill(fake, "m-2");
	fake->ops->contact(fake, "m-2", "198.18.0.1", 22, on_done, "c");
	run(0);
	expect("1150:dead m-2 sessions=2\n1150:done c unavailable\n");
}

static void
test_sessions_and_strays(void **state)
{
	const char *ref;

	open_fake();
	launch("m-1");
	run(100);
	buf_reset(&story);
	fake_sessions(fake, "m-1", 3);
	expect("");
	run(0);
	expect("100:ready m-1 sessions=3\n");
	fake_add_stray(fake, "m-lost");
	ref = fake_add_stray(fake, NULL);
	fake->ops->inventory(fake, on_inventory, NULL);
	fake->ops->terminate(fake, NULL, ref, on_done, "t");
	run(0);
	expect("100:inventory - n=3\n"
	       "100:ready m-1 sessions=3\n100:ready m-lost\n100:ready -\n"
	       "100:gone -\n100:done t\n");
	fake_remove(fake, "m-1");
	run(1000);
	expect(""); /* nobody is told */
	assert_false(fake_exists(fake, "m-1"));
}

static void
test_images(void **state)
{
	open_fake();
	fake_set_image_version(fake, "debian", "5");
	fake->ops->image_build(fake, "debian", on_done, "b");
	run(0);
	expect("0:image debian 5\n0:image debian 6\n0:done b\n");
	close_fake();
	open_fake(); /* the world remembers */
	fake->ops->image(fake, "debian");
	fake->ops->image(fake, "other");
	run(0);
	expect("0:image debian 6\n0:image other 1\n");
}

static void
note_effect(void *arg, enum fake_op op, const char *token)
{
	tell("effect", token, arg ? "and mute" : "");
	if (arg)
		fake_mute(arg);
}

/* The crash between an effect and its answer: the world has changed and nobody hears of it. */
static void
test_effect_and_mute(void **state)
{
	open_fake();
	fake_on_effect(fake, note_effect, NULL);
	launch("m-1");
	run(200);
	expect("0:effect m-1\n0:starting m-1\n0:launched m-1\n100:ready m-1\n");
	fake_on_effect(fake, note_effect, fake);
	launch("m-2");
	fake->ops->inventory(fake, on_inventory, NULL);
	run(200);
	close_fake();
	/* the close lets go of what the caller holds for an answer */
	expect(
	    "200:effect m-2 and mute\n400:launched m-2 cancelled\n400:inventory - n=0\n");
	open_fake();
	fake->ops->inventory(fake, on_inventory, NULL);
	run(0);
	expect("400:inventory - n=2\n400:ready m-1\n400:ready m-2\n");
}

/* What becomes of machines while there is no daemon. */
static void
test_world_goes_on(void **state)
{
	open_fake();
	launch("m-1");
	launch("m-2");
	launch("m-3");
	run(100);
	launch("m-4");
	fake->ops->deadline(fake, "m-1", NULL, 5, "", on_done, "d");
	fake->ops->deadline(fake, "m-2", NULL, 20, "", on_done, "d");
	opt.terminate_ms = 1000;
	fake_set_options(fake, &opt);
	fake->ops->terminate(fake, "m-3", NULL, on_done, "t");
	run(0);
	close_fake();
	buf_reset(&story);
	clock_sim_advance(sim, 10000);
	open_fake();
	fake->ops->inventory(fake, on_inventory, NULL);
	run(0);
	expect("10100:inventory - n=2\n10100:ready m-2\n10100:ready m-4\n");
	run(10000);
	expect("20100:gone m-2\n");
}

static void
test_kill_9(void **state)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		open_fake();
		for (int i = 0; i < 1200; i++) { /* more than a chunk of the file */
			char token[ID_MAX];

			(void)snprintf(token, sizeof(token), "m-%d", i);
			launch(token);
			run(0);
		}
		kill(getpid(), SIGKILL);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status));
	open_fake();
	assert_int_equal(fake_count(fake), 1200);
	assert_true(fake_exists(fake, "m-0"));
	assert_true(fake_exists(fake, "m-1199"));
}

static void
test_refuses_other_files(void **state)
{
	struct provider_env env = {
	    .clock = sim, .sighting = on_sighting, .image = on_image};
	struct provider *second;
	struct err err;
	FILE *f;

	open_fake();
	assert_int_equal(fake_provider_open(&opt, &env, &second, &err), -1);
	assert_int_equal(err.code, ERR_CONFLICT);
	close_fake();
	f = fopen(path, "w");
	for (int i = 0; i < 500; i++)
		fputs("a letter to my aunt\n", f);
	fclose(f);
	assert_int_equal(fake_provider_open(&opt, &env, &second, &err), -1);
	assert_int_equal(err.code, ERR_INVALID);
	assert_int_equal(truncate(path, 100), 0);
	assert_int_equal(fake_provider_open(&opt, &env, &second, &err), -1);
	assert_int_equal(truncate(path, 0), 0);
	open_fake();
}

static void
test_memory(void **state)
{
	struct mallinfo2 before, after;
	size_t each;

	open_fake();
	before = mallinfo2();
	for (int i = 0; i < 20000; i++) {
		char token[ID_MAX];

		(void)snprintf(token, sizeof(token), "m-%d", i);
		launch(token);
		run(0);
		buf_reset(&story);
	}
	after = mallinfo2();
	each = (after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) / 20000 +
	       72;
	print_message("%zu bytes for each of 20,000 machines\n", each);
	assert_int_equal(fake_count(fake), 20000);
	if (after.uordblks == before.uordblks) {
		print_message("SKIP: a sanitizer's allocator does not count\n");
		skip();
	}
	assert_in_range(each, 100, 1200);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_times, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_launch_failures, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_lost_reply, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_probabilities, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_same_seed_same_story, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_death, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sessions_and_strays, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_images, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_effect_and_mute, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_world_goes_on, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_kill_9, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_refuses_other_files, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
