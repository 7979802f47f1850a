/* SPDX-License-Identifier: Apache-2.0 */
#include "provider/ec2/ssh.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/xalloc.h"

#define CHILDREN_MAX 32
#define TIMEOUT_MS 30000
#define ERRORS_MAX 4096
#define ARGS_MAX 64

enum job_state {
	JOB_WAITING, /* in line */
	JOB_RUNNING,
	JOB_CLOSING, /* answered or cancelled; handles are being closed */
};

struct ssh_job {
	struct list in_runner;
	struct ssh_runner *r; /* NULL: the runner is gone */
	enum job_state state;
	char *args[ARGS_MAX]; /* owned */
	int n_args;
	struct buf input; /* secret */
	struct buf output, errors;
	int64_t timeout_ms;
	struct timer timer;
	uv_process_t process;
	uv_pipe_t in, out, err_out;
	uv_write_t write;
	char chunk[4096];
	int handles; /* not closed yet */
	int waits;   /* for: exit, end of output, end of errors */
	int exit_code;
	ssh_done_fn done; /* NULL: nobody cares */
	void *arg;
	struct err err;
};

struct ssh_runner {
	struct uv_loop_s *uv;
	struct clock *clock;
	char *key; /* owned */
	struct list waiting, running;
	int n_running;
};

/* ---- a job's memory ---- */

static void
job_wipe_input(struct ssh_job *j)
{
	if (j->input.data)
		explicit_bzero(j->input.data, j->input.cap);
	buf_fini(&j->input);
}

static void
job_free(struct ssh_job *j)
{
	for (int i = 0; i < j->n_args; i++)
		free(j->args[i]);
	job_wipe_input(j);
	buf_fini(&j->output);
	buf_fini(&j->errors);
	free(j);
}

static void next(struct ssh_runner *r);

static void
closed(uv_handle_t *h)
{
	struct ssh_job *j = h->data;

	if (--j->handles == 0)
		job_free(j);
}

static void
close_handle(uv_handle_t *h)
{
	if (!uv_is_closing(h))
		uv_close(h, closed);
}

/* Off the runner's lists; freed once libuv has let go of it. */
static void
retire(struct ssh_job *j)
{
	struct ssh_runner *r = j->r;
	enum job_state was = j->state;

	timer_off(&j->timer);
	list_remove(&j->in_runner);
	j->state = JOB_CLOSING;
	j->r = NULL;
	if (was == JOB_WAITING) {
		job_free(j);
		return;
	}
	r->n_running--;
	if (uv_is_active((uv_handle_t *)&j->process))
		uv_process_kill(&j->process, SIGKILL);
	close_handle((uv_handle_t *)&j->process);
	close_handle((uv_handle_t *)&j->in);
	close_handle((uv_handle_t *)&j->out);
	close_handle((uv_handle_t *)&j->err_out);
}

/* ---- its end ---- */

/* The last line that ssh wrote says why. */
static void
why_lost(struct ssh_job *j, struct err *err)
{
	char *text = j->errors.data;
	char *line;

	while (j->errors.len > 0 && (unsigned char)text[j->errors.len - 1] <= ' ')
		text[--j->errors.len] = '\0';
	line = text ? strrchr(text, '\n') : NULL;
	err_set(err, ERR_UNAVAILABLE, "ssh: %.200s",
	    !text || !*text ? "it ended without a word"
	    : line	    ? line + 1
			    : text);
	for (char *c = err->msg; *c; c++)
		if ((unsigned char)*c < ' ')
			*c = ' ';
}

static void
answer(struct ssh_job *j)
{
	struct ssh_runner *r = j->r;
	ssh_done_fn done = j->done;
	struct err err = j->err;
	void *arg = j->arg;
	int code = j->exit_code;
	char *output = buf_take(&j->output);

	if (err.code == ERR_NONE && j->exit_code == SSH_LOST)
		why_lost(j, &err);
	retire(j); /* its memory stays until libuv has closed its handles */
	next(r);
	done(arg, err.code == ERR_NONE ? code : -1, output, &err);
	free(output);
}

static void
one_less(struct ssh_job *j)
{
	if (--j->waits == 0 && j->state == JOB_RUNNING)
		answer(j);
}

static void
exited(uv_process_t *p, int64_t status, int signal)
{
	struct ssh_job *j = p->data;

	j->exit_code = signal ? 128 + signal : (int)status;
	one_less(j);
}

static void
overdue(void *arg)
{
	struct ssh_job *j = arg;

	err_set(&j->err, ERR_UNAVAILABLE, "the command did not end in %lld ms",
	    (long long)j->timeout_ms);
	j->waits = 1; /* its child may hold on to the pipes */
	one_less(j);
}

/* ---- its pipes ---- */

static void
alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
	struct ssh_job *j = h->data;

	*buf = uv_buf_init(j->chunk, sizeof(j->chunk));
}

static void
readable(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	struct ssh_job *j = s->data;
	struct buf *to = s == (uv_stream_t *)&j->out ? &j->output : &j->errors;

	if (n < 0) {
		uv_read_stop(s);
		one_less(j);
		return;
	}
	/* beyond the bound it is dropped, and read on */
	for (ssize_t i = 0; i < n && !to->overflow; i++)
		buf_char(to, buf->base[i] ? buf->base[i] : '?');
}

static void
written(uv_write_t *req, int status)
{
	struct ssh_job *j = req->data;

	job_wipe_input(j);
	close_handle((uv_handle_t *)&j->in);
}

static void
pipe_new(struct ssh_job *j, uv_pipe_t *p)
{
	uv_pipe_init(j->r->uv, p, 0);
	p->data = j;
	j->handles++;
}

static void
failed_later(void *arg)
{
	struct ssh_job *j = arg;

	j->waits = 1;
	one_less(j);
}

static void
begin(struct ssh_job *j)
{
	static char *environment[] = {
	    "PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C", NULL};
	uv_stdio_container_t io[3] = {
	    {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE},
	    {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE},
	    {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE},
	};
	uv_process_options_t opt = {.exit_cb = exited,
	    .file = j->args[0],
	    .args = j->args,
	    .env = environment,
	    .stdio = io,
	    .stdio_count = 3};
	uv_buf_t input = uv_buf_init(j->input.data, (unsigned)j->input.len);
	int rc;

	j->state = JOB_RUNNING;
	pipe_new(j, &j->in);
	pipe_new(j, &j->out);
	pipe_new(j, &j->err_out);
	io[0].data.stream = (uv_stream_t *)&j->in;
	io[1].data.stream = (uv_stream_t *)&j->out;
	io[2].data.stream = (uv_stream_t *)&j->err_out;
	j->process.data = j;
	j->handles++;
	rc = uv_spawn(j->r->uv, &j->process, &opt);
	if (rc != 0) {
		err_set(&j->err, ERR_UNAVAILABLE, "ssh cannot be started: %s",
		    uv_strerror(rc));
		timer_set(j->r->clock, &j->timer, 0, failed_later, j);
		return;
	}
	j->waits = 3;
	timer_set(j->r->clock, &j->timer, j->timeout_ms, overdue, j);
	uv_read_start((uv_stream_t *)&j->out, alloc, readable);
	uv_read_start((uv_stream_t *)&j->err_out, alloc, readable);
	j->write.data = j;
	if (j->input.len == 0 ||
	    uv_write(&j->write, (uv_stream_t *)&j->in, &input, 1, written) != 0)
		close_handle((uv_handle_t *)&j->in);
}

static void
next(struct ssh_runner *r)
{
	while (r->n_running < CHILDREN_MAX && !list_empty(&r->waiting)) {
		struct ssh_job *j =
		    list_entry(r->waiting.next, struct ssh_job, in_runner);

		list_remove(&j->in_runner);
		list_push_back(&r->running, &j->in_runner);
		r->n_running++;
		begin(j);
	}
}

/* ---- its arguments ---- */

static void __attribute__((format(printf, 2, 3)))
arg(struct ssh_job *j, const char *fmt, ...)
{
	AUTO_BUF struct buf b = BUF_INIT(0);
	va_list ap;
	char text[1024];
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	assert(j->n_args < ARGS_MAX - 1 && n >= 0 && (size_t)n < sizeof(text));
	buf_str(&b, text);
	j->args[j->n_args++] = buf_take(&b);
}

static void
option(struct ssh_job *j, const char *name, const char *value)
{
	arg(j, "-o");
	arg(j, "%s=%s", name, value);
}

static void
make_args(struct ssh_job *j, const char *key, const struct ssh_command *c)
{
	static const char *const fixed[][2] = {
	    {"BatchMode", "yes"},
	    {"IdentitiesOnly", "yes"},
	    {"IdentityAgent", "none"},
	    {"GlobalKnownHostsFile", "/dev/null"},
	    {"StrictHostKeyChecking", "yes"},
	    {"UpdateHostKeys", "no"},
	    {"CheckHostIP", "no"},
	    {"PreferredAuthentications", "publickey"},
	    {"ConnectTimeout", "5"},
	    {"ServerAliveInterval", "10"},
	    {"ServerAliveCountMax", "3"},
	    {"ClearAllForwardings", "yes"},
	    {"ControlPath", "none"},
	    {"LogLevel", "ERROR"},
	};

	arg(j, "ssh");
	arg(j, "-F");
	arg(j, "none");
	arg(j, "-T");
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		option(j, fixed[i][0], fixed[i][1]);
	option(j, "IdentityFile", key);
	option(j, "UserKnownHostsFile", c->known_hosts);
	option(j, "HostKeyAlias", c->alias);
	option(j, "HostKeyAlgorithms", c->key_types);
	arg(j, "-p");
	arg(j, "%d", c->port);
	arg(j, "--");
	arg(j, "root@%s", c->address);
	arg(j, "%s", c->command);
}

/* ---- */

struct ssh_job *
ssh_run(
    struct ssh_runner *r, const struct ssh_command *c, ssh_done_fn done, void *done_arg)
{
	struct ssh_job *j = xnew(struct ssh_job);

	j->r = r;
	j->done = done;
	j->arg = done_arg;
	j->timeout_ms = c->timeout_ms ? c->timeout_ms : TIMEOUT_MS;
	j->output = BUF_INIT(SSH_OUTPUT_MAX);
	j->errors = BUF_INIT(ERRORS_MAX);
	if (c->input_len > 0) {
		j->input.data = xmalloc(c->input_len + 1);
		j->input.cap = c->input_len + 1;
		j->input.len = c->input_len;
		memcpy(j->input.data, c->input, c->input_len);
	}
	make_args(j, r->key, c);
	list_push_back(&r->waiting, &j->in_runner);
	next(r);
	return j;
}

void
ssh_cancel(struct ssh_job *j)
{
	struct ssh_runner *r;

	if (!j)
		return;
	r = j->r;
	assert(j->state != JOB_CLOSING);
	retire(j);
	next(r);
}

struct ssh_runner *
ssh_runner_new(struct uv_loop_s *uv, struct clock *clock, const char *key)
{
	struct ssh_runner *r = xnew(struct ssh_runner);

	r->uv = uv;
	r->clock = clock;
	r->key = xstrdup(key);
	list_init(&r->waiting);
	list_init(&r->running);
	return r;
}

void
ssh_runner_close(struct ssh_runner *r)
{
	if (!r)
		return;
	while (!list_empty(&r->waiting))
		retire(list_entry(r->waiting.next, struct ssh_job, in_runner));
	while (!list_empty(&r->running))
		retire(list_entry(r->running.next, struct ssh_job, in_runner));
	free(r->key);
	free(r);
}
