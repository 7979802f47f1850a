/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: the loop runs the clock's timers when they are due, whoever sets them from where, and sleeps in
 * between: an idle daemon costs nothing.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/clock.h"
#include "net/loop.h"

static struct loop *loop;
static struct clock *clock_;
static struct timer first, second, stop;
static int64_t began_ms, second_ms;
static int n_first;

static int
setup(void **state)
{
	clock_ = clock_new_real();
	loop = loop_new(clock_);
	began_ms = clock_now_ms(clock_);
	n_first = 0;
	return 0;
}

static int
teardown(void **state)
{
	loop_free(loop);
	clock_free(clock_);
	return 0;
}

static void
on_stop(void *arg)
{
	loop_stop(loop);
}

static void
on_second(void *arg)
{
	second_ms = clock_now_ms(clock_) - began_ms;
	loop_stop(loop);
}

/* Sets an earlier timer than the one the loop knows of. */
static void
on_first(void *arg)
{
	timer_set(clock_, &second, 30, on_second, NULL);
}

static void
test_timers_run_when_due(void **state)
{
	timer_set(clock_, &stop, 5000, on_stop, NULL);
	timer_set(clock_, &first, 20, on_first, NULL);
	loop_run(loop);
	timer_off(&stop);
	assert_in_range(second_ms, 50, 150); /* a busy host is late, never early */
}

static void
on_again(void *arg)
{
	if (++n_first < 1000)
		timer_set(clock_, &first, 0, on_again, NULL);
	else
		loop_stop(loop);
}

static void
test_timers_of_no_delay_starve_nobody(void **state)
{
	timer_set(clock_, &first, 0, on_again, NULL);
	loop_run(loop);
	assert_int_equal(n_first, 1000);
	assert_true(clock_now_ms(clock_) - began_ms < 1000); /* not a millisecond each */
}

static long
cpu_ms(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000 +
	       (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1000;
}

static void
test_idle_is_asleep(void **state)
{
	long before = cpu_ms();

	timer_set(clock_, &stop, 500, on_stop, NULL);
	loop_run(loop);
	assert_true(cpu_ms() - before < 50);
}

static int signalled;

static void
on_signal(void *arg, int signum)
{
	signalled = signum;
	timer_set(clock_, &second, 30, on_second, NULL);
}

static void
on_raise(void *arg)
{
	raise(SIGUSR1);
}

/* A signal comes while the loop sleeps until `stop`; what it sets is due before that. */
static void
test_signals(void **state)
{
	struct err err;

	timer_set(clock_, &stop, 5000, on_stop, NULL);
	assert_int_equal(loop_on_signal(loop, SIGUSR1, on_signal, NULL, &err), 0);
	timer_set(clock_, &first, 1, on_raise, NULL);
	loop_run(loop);
	timer_off(&stop);
	assert_int_equal(signalled, SIGUSR1);
	assert_in_range(second_ms, 30, 150);
	assert_int_equal(loop_on_signal(loop, SIGKILL, on_signal, NULL, &err), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_timers_run_when_due, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_timers_of_no_delay_starve_nobody, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_idle_is_asleep, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_signals, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
