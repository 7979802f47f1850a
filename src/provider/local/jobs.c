/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "init/control.h"
#include "provider/local/contact.h"
#include "provider/local/control.h"
#include "provider/local/local_internal.h"

#define CONTACT_MS 5000
#define CONTROL_TIMED_OUT                                                                \
	124 /* what hearth-init makes of a time-out; commands may say it too */

struct job {
	struct list in_local;
	struct local *l;
	struct control *control; /* of a setup */
	struct contact *contact;
	struct buf output;
	provider_setup_fn setup_done;
	provider_done_fn contact_done;
	void *arg;
	int64_t ends_ms;      /* of a setup: when its time is up */
	struct timer refusal; /* a setup that could not begin is answered by it */
	struct err err;
};

static void
job_free(struct job *j)
{
	timer_off(&j->refusal);
	list_remove(&j->in_local);
	buf_fini(&j->output);
	free(j);
}

static void
setup_over(struct job *j, int exit_code, const struct err *err)
{
	char *out = buf_take(&j->output);

	j->setup_done(j->arg, exit_code, out, err);
	free(out);
	job_free(j);
}

static void
setup_heard(void *arg, char *text, size_t n)
{
	struct job *j = arg;
	struct err err = {0};

	if (!text) {
		j->control = NULL;
		err_set(&err, ERR_UNAVAILABLE, "the machine ended while the command ran");
		setup_over(j, -1, &err);
	} else if (n >= 4 && memcmp(text, "out ", 4) == 0) {
		for (size_t i = 4; i < n; i++) /* it is kept and shown as text */
			buf_char(&j->output, text[i] ? text[i] : '?');
	} else if (strncmp(text, "exit ", 5) == 0 || strncmp(text, "error", 5) == 0) {
		int code = text[1] == 'r' ? -1 : (int)strtol(text + 5, NULL, 10);

		control_close(j->control);
		if (code < 0)
			err_set(&err, ERR_INTERNAL, "hearth-init: %.200s", text);
		else if (code == CONTROL_TIMED_OUT &&
			 clock_now_ms(j->l->env.clock) >= j->ends_ms)
			err_set(&err, ERR_UNAVAILABLE, "the command did not end in time");
		setup_over(j, code, &err);
	}
}

static void
refuse_setup(void *arg)
{
	struct job *j = arg;

	setup_over(j, -1, &j->err);
}

void
local_setup(struct provider *pr, const char *token, const char *ref, const char *command,
    int64_t timeout_ms, provider_setup_fn done, void *arg)
{
	struct local *l = (struct local *)pr;
	struct job *j = xnew(struct job);
	char path[128], text[CONTROL_PACKET_MAX + 1];
	struct err err;
	int n;

	*j = (struct job){.l = l,
	    .setup_done = done,
	    .arg = arg,
	    .output = BUF_INIT(CONTROL_OUTPUT_MAX)};
	list_push_back(&l->jobs, &j->in_local);
	j->ends_ms = clock_now_ms(l->env.clock) + timeout_ms;
	n = snprintf(text, sizeof(text), "run %lld %s",
	    (long long)((timeout_ms + 999) / 1000), command);
	if (n >= (int)sizeof(text))
		err_set(&err, ERR_TOO_LARGE, "the command is longer than %d bytes",
		    CONTROL_PACKET_MAX - 32);
	else if (local_control_path(l, token, path, sizeof(path), &err) == 0 &&
		 control_open(l->env.uv_loop, path, setup_heard, j, &j->control, &err) ==
		     0) {
		if (control_send(j->control, text, &err) == 0)
			return;
		control_close(j->control);
	}
	j->control = NULL;
	j->err = err;
	timer_set(l->env.clock, &j->refusal, 0, refuse_setup, j);
}

static void
contacted(void *arg, const struct err *err)
{
	struct job *j = arg;

	j->contact_done(j->arg, err);
	job_free(j);
}

void
local_contact(struct provider *pr, const char *token, const char *address, int port,
    provider_done_fn done, void *arg)
{
	struct local *l = (struct local *)pr;
	struct job *j = xnew(struct job);

	*j = (struct job){.l = l, .contact_done = done, .arg = arg};
	list_push_back(&l->jobs, &j->in_local);
	j->contact = contact_start(
	    l->env.uv_loop, l->env.clock, address, port, CONTACT_MS, contacted, j);
}

void
local_jobs_close(struct local *l)
{
	struct job *j, *jtmp;
	struct err err;

	err_set(&err, ERR_CANCELLED, "hearthd is stopping");
	list_for_each_safe (j, jtmp, &l->jobs, in_local)
		if (j->contact) {
			contact_cancel(j->contact); /* which frees the job */
		} else {
			control_close(j->control);
			setup_over(j, -1, &err);
		}
}
