/* SPDX-License-Identifier: Apache-2.0 */

/* The way into a machine: from an address to a machine that users can log in to, and what is done there afterwards.
   The first connection is checked by the host key that its launch was given, every later one by the certificate that
   this connection left there. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "provider/ec2/internal.h"
#include "provider/ec2/probe.h"
#include "provider/ec2/ssh.h"
#include "provider/ec2/user_data.h"
#include "ssh/wire.h"

#define KEY_TYPE "ssh-ed25519"
#define CERT_TYPE "ssh-ed25519-cert-v01@openssh.com"
#define FIRST_ALIAS "hearth-first"
#define CONTACT_MS 3000
#define INSTALL_MS 20000
#define CONFIRM_MS 10000
#define DEADLINE_MS 15000
#define PAUSE_MS 250
#define SCRIPT_MAX 32768
#define COMMAND_MAX 16384

/* So many probes at 50 ms; more of them visit less often, to stay within a few thousand SYNs a second. */
#define PROBES_AT_FULL_SPEED 100

void
ec2_access_reset(struct ec2_machine *m)
{
	m->e->n_probing -= m->probe != NULL;
	probe_cancel(m->probe);
	ssh_cancel(m->job);
	m->probe = NULL;
	m->job = NULL;
	timer_off(&m->pause);
	ec2_sessions_forget(m);
	m->way = WAY_NONE;
}

static void probe(struct ec2_machine *m);

static void
pause_over(void *arg)
{
	probe(arg);
}

static void
again(struct ec2_machine *m, const char *what, const struct err *err)
{
	log_debug("instance %s: %s: %s", m->ref, what, err->msg);
	m->way = WAY_PAUSED;
	timer_set(m->e->env.clock, &m->pause, PAUSE_MS, pause_over, m);
}

static void
ready(struct ec2_machine *m)
{
	m->way = WAY_READY;
	m->installed = true;
	ec2_keys_free(m->keys);
	m->keys = NULL;
	ec2_first_unref(m);
	ec2_answer_all(&m->starts, NULL, &(struct err){0});
	ec2_machine_sight(m);
}

/* ---- the steps ---- */

static void
confirmed(void *arg, const struct err *err)
{
	struct ec2_machine *m = arg;

	m->probe = NULL;
	m->e->n_probing--;
	if (err->code == ERR_NONE)
		ready(m);
	else
		again(m, "sshd does not take its new keys", err);
}

static struct probe *
visit(struct ec2_machine *m, const char *want, int64_t timeout_ms, probe_fn fn)
{
	int n = ++m->e->n_probing;
	struct probe_spec spec = {
	    .uv = m->e->env.uv_loop,
	    .clock = m->e->env.clock,
	    .address = m->shown_address,
	    .port = EC2_PORT,
	    .want = want,
	    .interval_ms = n <= PROBES_AT_FULL_SPEED
			       ? EC2_PROBE_MS
			       : EC2_PROBE_MS * n / PROBES_AT_FULL_SPEED,
	    .timeout_ms = timeout_ms,
	};

	return probe_start(&spec, fn, m);
}

static void
installed(void *arg, int exit_code, const char *output, const struct err *why)
{
	struct ec2_machine *m = arg;
	struct err err = *why;

	m->job = NULL;
	if (err.code == ERR_NONE && exit_code != 0)
		err_set(&err, ERR_INTERNAL, "the script exited %d: %.200s", exit_code,
		    output);
	if (err.code != ERR_NONE) {
		/* The script may have run and only its end been lost: then it shows its certificate, not the first
		   key. The two are tried in turn. */
		m->installs++;
		again(m, "installing keys", &err);
		return;
	}
	m->installed = true;
	m->way = WAY_CONFIRMING;
	m->probe = visit(m, m->mark, CONFIRM_MS, confirmed);
}

static void
checked(void *arg, int exit_code, const char *output, const struct err *err)
{
	struct ec2_machine *m = arg;

	m->job = NULL;
	if (err->code == ERR_NONE && exit_code == 0)
		ready(m);
	else
		again(m, "checking its key", err);
}

static struct ssh_command
command_for(const struct ec2_machine *m, bool first, const char *command)
{
	return (struct ssh_command){
	    .address = m->shown_address[0] ? m->shown_address : m->address,
	    .port = EC2_PORT,
	    .known_hosts = first ? m->first->known_hosts : m->e->known_hosts,
	    .alias = first ? FIRST_ALIAS : m->token,
	    .key_types = first ? KEY_TYPE : CERT_TYPE,
	    .command = command,
	};
}

struct ssh_command
ec2_command_for(const struct ec2_machine *m, const char *command)
{
	return command_for(m, false, command);
}

static void
install(struct ec2_machine *m)
{
	AUTO_WIPE struct buf script = wire_secret(SCRIPT_MAX);
	struct ssh_command c = command_for(
	    m, m->first && !m->installed && m->installs % 2 == 0, "exec sh -s 2>&1");
	struct install i = {
	    .host_key = m->keys->host_key,
	    .host_cert = m->keys->host_cert,
	    .principal = m->token,
	    .hostname = m->keys->hostname,
	    .mark = m->mark,
	    .lease_s = m->keys->lease_s,
	};
	struct err err;

	(void)snprintf(m->mark, sizeof(m->mark), "hearth-%.12s", id_new('m').s + 2);
	if (user_data_install(&i, &script, &err) < 0) {
		again(m, "keys", &err);
		return;
	}
	c.input = script.data;
	c.input_len = script.len;
	c.timeout_ms = INSTALL_MS;
	m->way = WAY_INSTALLING;
	m->job = ssh_run(m->e->ssh, &c, installed, m);
}

/* It has its keys, on its disk or from an earlier daemon of ours; one that was started needs a lease. */
static void
check(struct ec2_machine *m)
{
	AUTO_FREE char *lease =
	    m->keys ? xasprintf("exec /usr/local/sbin/hearth-deadline %lld",
			  (long long)m->keys->lease_s)
		    : xstrdup("exec true");
	struct ssh_command c = command_for(m, false, lease);

	c.timeout_ms = INSTALL_MS;
	m->way = WAY_CHECKING;
	m->job = ssh_run(m->e->ssh, &c, checked, m);
}

static void
probed(void *arg, const struct err *err)
{
	struct ec2_machine *m = arg;

	m->probe = NULL;
	m->e->n_probing--;
	if (err->code != ERR_NONE) {
		again(m, "probe", err);
	} else if (m->keys && m->keys->host_key[0] && (m->first || m->installed)) {
		install(m);
	} else {
		check(m);
	}
}

static void
probe(struct ec2_machine *m)
{
	m->way = WAY_PROBING;
	m->probe = visit(m, "hearth-", 0, probed);
}

/* What is not ours by a token has no certificate of its own to be known by, and is only looked at. */
void
ec2_access_go(struct ec2_machine *m)
{
	if (m->ending || m->e->closing ||
	    (m->state != EC2_RUNNING && m->state != EC2_PENDING))
		return;
	if (m->opt.readiness == EC2_READY_RUNNING) {
		if (m->state == EC2_RUNNING && m->way != WAY_READY)
			ready(m);
		return;
	}
	if (m->address[0] == '\0' || m->token[0] == '\0')
		return;
	if (m->way != WAY_NONE && strcmp(m->address, m->shown_address) != 0) {
		log_debug("instance %s: address %s became %s", m->ref, m->shown_address,
		    m->address);
		ec2_access_reset(m);
	}
	if (m->way == WAY_NONE) {
		memcpy(m->shown_address, m->address, sizeof(m->address));
		probe(m);
	}
}

/* ---- commands in machines that are ready ---- */

void
ec2_refuse(struct ec2_answer *a, const struct ec2_machine *m)
{
	struct err err;

	if (!m)
		err_set(&err, ERR_NOT_FOUND, "there is no such machine");
	else
		err_set(
		    &err, ERR_UNAVAILABLE, "the machine is %s", ec2_state_name(m->state));
	ec2_answer_later(a, NULL, &err);
}

bool
ec2_enterable(const struct ec2_machine *m)
{
	return m && !m->ending && m->state == EC2_RUNNING && m->way == WAY_READY;
}

static void
deadline_set(void *arg, int exit_code, const char *output, const struct err *why)
{
	struct ec2_answer *a = arg;
	struct ec2_machine *m = map_get(&a->e->refs, a->ref);
	struct err err = *why;

	a->job = NULL;
	if (err.code == ERR_NONE && exit_code != 0)
		err_set(&err, ERR_INTERNAL, "hearth-deadline exited %d: %.200s",
		    exit_code, output);
	if (m && ec2_enterable(m))
		ec2_sessions_watch(m);
	ec2_answer_give(a, NULL, &err);
}

/* Into single quotes of sh, as one line. */
static void
quote(struct buf *b, const char *text)
{
	buf_char(b, '\'');
	for (const char *s = text; *s; s++)
		if (*s == '\'')
			buf_str(b, "'\\''");
		else
			buf_char(b, (unsigned char)*s < ' ' ? ' ' : *s);
	buf_char(b, '\'');
}

void
ec2_deadline(struct provider *p, const char *token, const char *ref, int64_t seconds,
    const char *warning, provider_done_fn done, void *arg)
{
	struct ec2 *e = ec2_of(p);
	struct ec2_machine *m = ec2_machine_find(e, token, ref);
	struct ec2_answer *a = ec2_answer_new(e, ANSWER_DONE, arg);
	AUTO_BUF struct buf script = BUF_INIT(COMMAND_MAX);
	struct ssh_command c;

	a->fn.done = done;
	if (!ec2_enterable(m)) {
		ec2_refuse(a, m);
		return;
	}
	if (m->opt.readiness == EC2_READY_RUNNING) {
		ec2_machine_end_at(m, clock_wall_ms(e->env.clock) + seconds * 1000);
		ec2_answer_later(a, NULL, &(struct err){0});
		return;
	}
	/* the deadline is a lease, too: no look needs to come before it */
	m->lease_at = clock_wall_ms(e->env.clock) + seconds * 1000;
	buf_fmt(&script, "exec /usr/local/sbin/hearth-deadline %lld ",
	    (long long)(seconds > 0 ? seconds : 0));
	quote(&script, warning ? warning : "");
	buf_char(&script, '\n');
	c = command_for(m, false, "exec sh -s 2>&1");
	c.input = script.data;
	c.input_len = script.len;
	c.timeout_ms = DEADLINE_MS;
	memcpy(a->ref, m->ref, sizeof(a->ref));
	a->job = ssh_run(e->ssh, &c, deadline_set, a);
}

static void
set_up(void *arg, int exit_code, const char *output, const struct err *err)
{
	struct ec2_answer *a = arg;

	a->job = NULL;
	ec2_answer_setup(a, exit_code, output, err);
}

/* The command comes by standard input, for it may hold what `ps` should not show; then it has none. */
void
ec2_setup(struct provider *p, const char *token, const char *ref, const char *command,
    int64_t timeout_ms, provider_setup_fn done, void *arg)
{
	struct ec2 *e = ec2_of(p);
	struct ec2_machine *m = ec2_machine_find(e, token, ref);
	struct ec2_answer *a = ec2_answer_new(e, ANSWER_SETUP, arg);
	AUTO_FREE char *line =
	    xasprintf("c=$(cat); exec timeout -k 5 %lld sh -c \"$c\" </dev/null 2>&1",
		(long long)((timeout_ms + 2999) / 1000));
	struct ssh_command c;
	struct err err;

	a->fn.setup = done;
	if (!ec2_enterable(m)) {
		ec2_refuse(a, m);
		return;
	}
	if (m->opt.readiness == EC2_READY_RUNNING) {
		err_set(&err, ERR_INVALID,
		    "nobody logs in to a machine whose readiness is 'running'");
		err_hint(&err, "leave 'setup' out of the pool, or use readiness: ssh");
		ec2_answer_later(a, NULL, &err);
		return;
	}
	c = command_for(m, false, line);
	c.input = command;
	c.input_len = strlen(command);
	c.timeout_ms = timeout_ms;
	a->job = ssh_run(e->ssh, &c, set_up, a);
}

static void
contacted(void *arg, const struct err *err)
{
	struct ec2_answer *a = arg;

	a->probe = NULL;
	ec2_answer_give(a, NULL, err);
}

void
ec2_contact(struct provider *p, const char *token, const char *address, int port,
    provider_done_fn done, void *arg)
{
	struct ec2 *e = ec2_of(p);
	struct ec2_machine *m = map_get(&e->machines, token);
	struct ec2_answer *a = ec2_answer_new(e, ANSWER_DONE, arg);
	struct probe_spec spec = {
	    .uv = e->env.uv_loop,
	    .clock = e->env.clock,
	    .address = address,
	    .port = port,
	    .interval_ms = EC2_PROBE_MS,
	    .timeout_ms = CONTACT_MS,
	};

	a->fn.done = done;
	if (!ec2_enterable(m) && (!m || m->opt.readiness == EC2_READY_RUNNING)) {
		struct err err;

		err_set(&err, ERR_UNAVAILABLE, "there is no such machine");
		ec2_answer_later(a, NULL, &err);
		return;
	}
	if (m->opt.readiness == EC2_READY_RUNNING) {
		ec2_answer_later(a, NULL, &(struct err){0});
		return;
	}
	a->probe = probe_start(&spec, contacted, a);
}

/* ---- users' keys ---- */

static void
authorized(void *arg, int exit_code, const char *output, const struct err *why)
{
	struct ec2_answer *a = arg;
	struct err err = *why;

	a->job = NULL;
	if (err.code == ERR_NONE && exit_code != 0)
		err_set(&err, ERR_INTERNAL, "the script exited %d: %.200s", exit_code,
		    output);
	ec2_answer_give(a, NULL, &err);
}

static void
inject(struct ec2_machine *m, const char *keys, struct ec2_answer *a)
{
	AUTO_BUF struct buf script = BUF_INIT(SCRIPT_MAX);
	struct ssh_command c = command_for(m, false, "exec sh -s 2>&1");
	struct err err;

	buf_str(&script, "set -e\numask 077\n");
	if (user_data_check_keys(keys, &err) < 0) {
		ec2_answer_later(a, NULL, &err);
		return;
	}
	user_data_authorize(m->login, keys, &script);
	if (script.overflow) {
		err_set(&err, ERR_TOO_LARGE, "more keys than %d bytes", SCRIPT_MAX);
		ec2_answer_later(a, NULL, &err);
		return;
	}
	c.input = script.data;
	c.input_len = script.len;
	c.timeout_ms = DEADLINE_MS;
	a->job = ssh_run(m->e->ssh, &c, authorized, a);
}

void
ec2_authorize(struct provider *p, const char *token, const char *ref, const char *keys,
    provider_done_fn done, void *arg)
{
	struct ec2 *e = ec2_of(p);
	struct ec2_machine *m = ec2_machine_find(e, token, ref);
	struct ec2_answer *a = ec2_answer_new(e, ANSWER_DONE, arg);

	a->fn.done = done;
	if (!ec2_enterable(m) || !m->login)
		ec2_refuse(a, m);
	else if (m->opt.access == EC2_ACCESS_EIC)
		ec2_connect_keys(m, keys, a);
	else
		inject(m, keys, a);
}
