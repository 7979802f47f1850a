/* SPDX-License-Identifier: Apache-2.0 */

/* How many ssh sessions are open in a machine that has been given away: looked at now and then over our own connection, from
   its first deadline on. Nobody else can say it, and a reservation that ends when it is idle depends on it. */

#include <stdlib.h>

#include "base/log.h"
#include "provider/ec2/internal.h"
#include "provider/ec2/ssh.h"

#define EVERY_MS 15000
#define EACH_MS 300 /* so that a thousand machines cost three connections a second */
#define COUNT_MS 10000

/* sshd shows "sshd: USER@TERMINAL" for each login; root's are ours. */
#define COUNT                                                                            \
	"cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | "                       \
	"grep -E '^sshd[-a-z]*: [^ ]+@' | grep -cvE '^sshd[-a-z]*: root@' || :"

static void count(void *arg);

static void
counted(void *arg, int exit_code, const char *output, const struct err *err)
{
	struct ec2_machine *m = arg;
	int64_t each = (int64_t)m->e->n_watched * EACH_MS;
	char *end;
	long n = strtol(output, &end, 10);

	m->count_job = NULL;
	timer_set(m->e->env.clock, &m->count_again, each > EVERY_MS ? each : EVERY_MS,
	    count, m);
	if (err->code != ERR_NONE || exit_code != 0 || end == output || n < 0) {
		log_debug("instance %s: sessions: %s", m->ref, err->msg);
		return;
	}
	if (m->sessions != (int)n) {
		m->sessions = (int)n;
		ec2_machine_sight(m);
	}
}

static void
count(void *arg)
{
	struct ec2_machine *m = arg;
	struct ssh_command c = ec2_command_for(m, COUNT);

	c.timeout_ms = COUNT_MS;
	m->count_job = ssh_run(m->e->ssh, &c, counted, m);
}

void
ec2_sessions_watch(struct ec2_machine *m)
{
	if (m->watched)
		return;
	m->watched = true;
	m->e->n_watched++;
	count(m);
}

void
ec2_sessions_forget(struct ec2_machine *m)
{
	m->e->n_watched -= m->watched;
	m->watched = false;
	m->sessions = -1;
	timer_off(&m->count_again);
	ssh_cancel(m->count_job);
	m->count_job = NULL;
}
