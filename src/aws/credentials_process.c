/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credential_process: the profile's program, run without a shell, that prints one JSON object. Its errors go to
 * /dev/null, because what such programs print there is often half of a secret. It gets a session of its own, so
 * that what it started can be killed with it when it takes too long or prints too much.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "aws/credentials_internal.h"
#include "base/clock.h"
#include "base/xalloc.h"

/*
 *  RUNNING → EXITED → CLOSING
 *     ├────→ DRAINED ────┤
 *     └────→ KILLED ─────┘
 */
enum process_state {
	PROCESS_RUNNING,
	PROCESS_EXITED,	 /* waits here for the end of its output */
	PROCESS_DRAINED, /* waits here for its exit */
	PROCESS_KILLED,	 /* likewise; err says why */
	PROCESS_CLOSING, /* waits here for libuv to let go of the handles */
};

struct credentials_process {
	enum process_state state;
	uv_process_t process;
	uv_pipe_t out;
	struct timer timeout;
	int n_handles;
	int64_t exit_status; /* or 128 and the signal, as a shell says it */
	char *reply;	     /* CREDENTIALS_REPLY_MAX + 1; wiped */
	size_t reply_len;
	char *program; /* for messages: its arguments may be secrets */
	credentials_done_fn done;
	void *arg;
	struct err err;
};

static void
on_closed(uv_handle_t *h)
{
	struct credentials_process *p = h->data;

	if (--p->n_handles > 0)
		return;
	OPENSSL_cleanse(p->reply, CREDENTIALS_REPLY_MAX + 1);
	free(p->reply);
	free(p->program);
	free(p);
}

static void
close_all(struct credentials_process *p)
{
	p->state = PROCESS_CLOSING;
	timer_off(&p->timeout);
	uv_close((uv_handle_t *)&p->process, on_closed);
	uv_close((uv_handle_t *)&p->out, on_closed);
}

static void
finish(struct credentials_process *p)
{
	struct owned_key key = {0};

	if (p->state != PROCESS_KILLED && p->exit_status != 0) {
		err_set(&p->err, ERR_UNAVAILABLE,
		    "credential_process '%s': exit status %lld", p->program,
		    (long long)p->exit_status);
		err_hint(
		    &p->err, "run it by hand as this daemon's user to see what it says");
	} else if (p->state != PROCESS_KILLED) {
		(void)!credentials_key_from_json(p->reply, p->reply_len,
		    CREDENTIALS_JSON_PROCESS, "credential_process", &key, &p->err);
	}
	close_all(p);
	if (p->err.code == ERR_NONE)
		p->done(p->arg, &key, NULL);
	else
		p->done(p->arg, NULL, &p->err);
	credentials_key_fini(&key);
}

static void
kill_it(struct credentials_process *p, const char *why)
{
	err_set(&p->err, ERR_UNAVAILABLE, "credential_process '%s': %s", p->program, why);
	if (p->state == PROCESS_EXITED) { /* somebody it started keeps its output open */
		p->state = PROCESS_KILLED;
		finish(p);
		return;
	}
	p->state = PROCESS_KILLED;
	timer_off(&p->timeout);
	uv_read_stop((uv_stream_t *)&p->out);
	kill(-p->process.pid, SIGKILL);
}

static void
on_timeout(void *arg)
{
	kill_it(arg, "it does not end");
}

static void
on_exit_seen(uv_process_t *process, int64_t status, int signum)
{
	struct credentials_process *p = process->data;

	p->exit_status = signum ? 128 + signum : status;
	if (p->state == PROCESS_RUNNING)
		p->state = PROCESS_EXITED;
	else
		finish(p);
}

static void
on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
	struct credentials_process *p = h->data;

	*buf = uv_buf_init(p->reply + p->reply_len,
	    (unsigned)(CREDENTIALS_REPLY_MAX + 1 - p->reply_len));
}

static void
on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct credentials_process *p = stream->data;

	if (n >= 0) {
		p->reply_len += (size_t)n;
		if (p->reply_len > CREDENTIALS_REPLY_MAX)
			kill_it(p, "it prints more than a key");
		return;
	}
	uv_read_stop(stream);
	if (p->state == PROCESS_RUNNING)
		p->state = PROCESS_DRAINED;
	else
		finish(p);
}

static int
spawn(struct uv_loop_s *uv, struct credentials_process *p, char *const *argv)
{
	uv_stdio_container_t stdio[3] = {
	    {.flags = UV_IGNORE},
	    {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
		.data.stream = (uv_stream_t *)&p->out},
	    {.flags = UV_IGNORE},
	};
	uv_process_options_t opt = {
	    .exit_cb = on_exit_seen,
	    .file = argv[0],
	    .args = (char **)argv,
	    .flags = UV_PROCESS_DETACHED, /* setsid(): it is a group of its own */
	    .stdio_count = 3,
	    .stdio = stdio,
	};

	return uv_spawn(uv, &p->process, &opt);
}

int
credentials_process_start(const struct credentials_io *io, char *const *argv,
    int timeout_ms, credentials_done_fn done, void *arg, struct credentials_process **ret,
    struct err *err)
{
	struct credentials_process *p = xnew(struct credentials_process);
	int r;

	*p = (struct credentials_process){.done = done, .arg = arg};
	p->program = xstrndup(argv[0], 100);
	p->reply = xcalloc(1, CREDENTIALS_REPLY_MAX + 1);
	uv_pipe_init(io->uv, &p->out, 0);
	p->process.data = p->out.data = p;
	p->n_handles = 2; /* libuv wants a process closed even if it was never begun */
	r = spawn(io->uv, p, argv);
	if (r == 0)
		r = uv_read_start((uv_stream_t *)&p->out, on_alloc, on_read);
	if (r < 0) {
		err_errno(err, -r, "credential_process '%s'", p->program);
		close_all(p);
		return -1;
	}
	timer_set(io->clock, &p->timeout, timeout_ms, on_timeout, p);
	*ret = p;
	return 0;
}

void
credentials_process_cancel(struct credentials_process *p)
{
	if (p->state == PROCESS_RUNNING || p->state == PROCESS_DRAINED)
		kill(-p->process.pid, SIGKILL);
	close_all(p);
}
