/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/interrupt.h"

#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>

#include "net/client.h"

static volatile sig_atomic_t came; /* since the last interrupt_clear() */
static volatile sig_atomic_t last;
static sigset_t caught;
static sigset_t usual;

static void
on_signal(int sig)
{
	came = last = sig;
}

void
interrupt_begin(struct client *c)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction sa = {.sa_handler = on_signal};

	sigemptyset(&caught);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct sigaction old;

		sigaction(signals[i], NULL, &old);
		if (old.sa_handler == SIG_IGN)
			continue;
		sigaction(signals[i], &sa, NULL);
		sigaddset(&caught, signals[i]);
	}
	sigprocmask(SIG_BLOCK, &caught, &usual);
	client_set_stop(c, &came, &usual);
}

int
interrupt_signal(void)
{
	const struct timespec now = {0};

	(void)ppoll(NULL, 0, &now, &usual); /* lets in what is pending */
	return last;
}

void
interrupt_clear(void)
{
	came = 0;
}

bool
interrupt_sleep(int64_t ms)
{
	const struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	if (!came)
		(void)ppoll(NULL, 0, &ts, &usual);
	return came == 0;
}
