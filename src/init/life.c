/* SPDX-License-Identifier: Apache-2.0 */
#include "init/life.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "init/control.h"
#include "init/instance.h"
#include "init/loop.h"
#include "init/server.h"
#include "init/sessions.h"
#include "init/terminal.h"
#include "init/text.h"

#define LOOK_FIRST_MS 20
#define LOOK_LAST_MS 1000
#define GRACE_MS 1000
#define GRACE_INSTANCE_MS 5000

static enum { LIFE_STARTING, LIFE_READY, LIFE_ENDING, LIFE_REBOOTING } state;

static int64_t deadline_ms;
static int64_t warn_at_ms;    /* LOOP_NEVER once it is said */
static int64_t look_again_ms; /* STARTING */
static int64_t look_pause_ms = LOOK_FIRST_MS;
static int64_t give_up_ms; /* ENDING, REBOOTING */
static uint16_t tcp_port;

static char warning[CONTROL_WARNING_MAX + 1] =
    "save your work, or extend the reservation";

struct needed {
	const char *path;
	int mode;
};

static const struct needed needed[] = {
    {"/usr/sbin/sshd", X_OK},
    {"/etc/hearth/sshd_config", R_OK},
    {"/etc/hearth/host_key", R_OK},
    {"/etc/hearth/host_key-cert.pub", R_OK},
    {"/etc/hearth/user_ca.pub", R_OK},
    {"/etc/hearth/principals", R_OK},
    {0},
};

static const struct needed instance_needed[] = {
    {"/usr/sbin/sshd", X_OK},
    {INSTANCE_UP, F_OK},
    {0},
};

void
life_init(int64_t lease_s, uint16_t port)
{
	tcp_port = port;
	if (lease_s >= 0)
		life_set_deadline(lease_s);
	else
		deadline_ms = warn_at_ms = LOOP_NEVER;
}

bool
life_is_ready(void)
{
	return state == LIFE_READY;
}

static bool
all_in_place(void)
{
	const struct needed *n = instance_is() ? instance_needed : needed;

	for (; n->path; n++) {
		if (access(n->path, n->mode) < 0)
			return false;
	}
	return tcp_port == 0 || sessions_listen(tcp_port) == 0;
}

static void
look(int64_t now_ms)
{
	if (all_in_place()) {
		state = LIFE_READY;
		server_became_ready();
		return;
	}
	look_again_ms = now_ms + look_pause_ms;
	look_pause_ms = loop_earlier(2 * look_pause_ms, LOOK_LAST_MS);
}

static void
warn(int64_t now_ms)
{
	char space[CONTROL_WARNING_MAX + 100];
	struct text t = TEXT(space);
	int64_t left_s = (deadline_ms - now_ms + 500) / 1000;

	warn_at_ms = LOOP_NEVER;
	text_str(&t, "hearth: this machine ends in ");
	text_num(&t, left_s < 90 ? left_s : (left_s + 30) / 60);
	text_str(&t, left_s < 90 ? " seconds" : " minutes");
	if (warning[0] != '\0') {
		text_str(&t, "; ");
		text_plain(&t, warning);
	}
	terminal_write_all(t.data, t.len);
}

/* SIGHUP is what sessions expect of a line that goes away; SIGTERM is for daemons, which
   read SIGHUP as "reload". */
static void
hang_up(int64_t now_ms)
{
	give_up_ms = now_ms + (instance_is() ? GRACE_INSTANCE_MS : GRACE_MS);
	if (kill(-1, SIGHUP) < 0 && errno == ESRCH) {
		life_all_gone();
		return; /* what a reboot has started is not to be ended */
	}
	kill(-1, SIGTERM);
	kill(-1, SIGCONT);
}

static void
end(int64_t now_ms)
{
	state = LIFE_ENDING;
	server_ends();
	sessions_close_listeners();
	hang_up(now_ms);
}

int64_t
life_tick(int64_t now_ms)
{
	if (state == LIFE_ENDING) {
		if (now_ms >= give_up_ms)
			_exit(0);
		return give_up_ms;
	}
	if (now_ms >= deadline_ms) {
		end(now_ms);
		return give_up_ms;
	}
	if (state == LIFE_REBOOTING) {
		if (now_ms >= give_up_ms) {
			kill(-1, SIGKILL);
			give_up_ms = LOOP_NEVER;
		}
		return loop_earlier(give_up_ms, deadline_ms);
	}
	if (now_ms >= warn_at_ms)
		warn(now_ms);
	if (state == LIFE_STARTING && now_ms >= look_again_ms)
		look(now_ms);
	return loop_earlier(state == LIFE_STARTING ? look_again_ms : LOOP_NEVER,
	    loop_earlier(warn_at_ms, deadline_ms));
}

void
life_all_gone(void)
{
	if (state == LIFE_ENDING)
		_exit(0);
	if (state != LIFE_REBOOTING)
		return;
	state = LIFE_STARTING;
	look_again_ms = 0;
	look_pause_ms = LOOK_FIRST_MS;
	instance_boot(true);
}

void
life_reboot(void)
{
	if (!instance_is() || (state != LIFE_STARTING && state != LIFE_READY))
		return;
	state = LIFE_REBOOTING;
	sessions_close_tcp();
	server_reboots();
	hang_up(loop_now_ms());
}

void
life_set_deadline(int64_t seconds)
{
	int64_t now_ms = loop_now_ms();

	deadline_ms = now_ms + seconds * 1000;
	warn_at_ms = deadline_ms - CONTROL_WARNING_S * 1000;
	if (warn_at_ms > now_ms)
		return;
	if (seconds > 0 && sessions_count() > 0)
		warn(now_ms);
	warn_at_ms = LOOP_NEVER;
}

int64_t
life_seconds_left(void)
{
	int64_t left_ms = deadline_ms - loop_now_ms();

	return left_ms > 0 ? (left_ms + 999) / 1000 : 0;
}

int
life_set_warning(const char *text)
{
	size_t n = strlen(text);

	if (n > CONTROL_WARNING_MAX)
		return -1;
	memcpy(warning, text, n + 1);
	return 0;
}

void
life_end(void)
{
	deadline_ms = loop_now_ms();
}
