/* SPDX-License-Identifier: Apache-2.0 */
#include "init/loop.h"

#include <poll.h>
#include <stddef.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "init/child.h"
#include "init/control.h"
#include "init/sessions.h"

/* timer, signals, console, two ssh listeners, control listener; per control client itself and
 * its command. */
#define POLL_MAX (6 + 2 * CONTROL_CLIENTS_MAX + SESSIONS_MAX)

static struct pollfd fds[POLL_MAX];
static struct {
	loop_fn fn;
	int index;
} calls[POLL_MAX];
static nfds_t n_fds;

static int timer = -1;
static int64_t timer_at_ms = LOOP_NEVER;

int64_t
loop_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void
loop_init(void)
{
	timer = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (timer < 0)
		child_die("cannot make a timer; the machine cannot start");
}

void
loop_add(int fd, short events, loop_fn fn, int index)
{
	if (n_fds == POLL_MAX)
		__builtin_trap(); /* assert() would bring in stdio */
	fds[n_fds] = (struct pollfd){.fd = fd, .events = events};
	calls[n_fds].fn = fn;
	calls[n_fds].index = index;
	n_fds++;
}

static void
set_timer(int64_t at_ms)
{
	struct itimerspec its = {0};

	if (at_ms == timer_at_ms)
		return;
	timer_at_ms = at_ms;
	if (at_ms != LOOP_NEVER) {
		its.it_value.tv_sec = at_ms / 1000;
		its.it_value.tv_nsec = at_ms % 1000 * 1000000;
	}
	timerfd_settime(timer, TFD_TIMER_ABSTIME, &its, NULL);
}

static void
timer_fired(int index, int fd, short revents)
{
	uint64_t n;

	if (read(fd, &n, sizeof(n)) > 0)
		timer_at_ms = LOOP_NEVER;
}

void
loop_wait(int64_t until_ms)
{
	nfds_t n;

	set_timer(until_ms);
	loop_add(timer, POLLIN, timer_fired, 0);
	n = n_fds;
	n_fds = 0;
	if (poll(fds, n, -1) <= 0)
		return;
	for (nfds_t i = 0; i < n; i++) {
		if (fds[i].revents)
			calls[i].fn(calls[i].index, fds[i].fd, fds[i].revents);
	}
}
