/* SPDX-License-Identifier: Apache-2.0 */
#include "net/loop.h"

#include <assert.h>
#include <stdlib.h>
#include <uv.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/xalloc.h"

#define WAKE_MAX_MS 10000

struct loop {
	uv_loop_t uv;
	uv_prepare_t prepare; /* sets the timer before each poll; keeps the loop alive */
	uv_timer_t timer;
	struct clock *clock; /* borrowed */
	struct list signals;
};

struct signal_watch {
	struct list link; /* loop.signals */
	uv_signal_t handle;
	void (*fn)(void *arg, int signum);
	void *arg;
};

static void
on_timer(uv_timer_t *t)
{
	struct loop *l = t->data;

	clock_run(l->clock);
}

/* libuv counts both the timer and the poll's timeout from the time it read before its
   callbacks ran, so starting the timer here, last before the poll, sleeps for exactly
   what is left by the clock. */
static void
on_prepare(uv_prepare_t *p)
{
	struct loop *l = p->data;
	int64_t next = clock_next_ms(l->clock);

	if (next < 0 || next > WAKE_MAX_MS)
		next = WAKE_MAX_MS;
	uv_timer_start(&l->timer, on_timer, (uint64_t)next, 0);
}

struct loop *
loop_new(struct clock *clock)
{
	struct loop *l = xnew(struct loop);

	l->clock = clock;
	list_init(&l->signals);
	if (uv_loop_init(&l->uv) != 0) {
		log_error("event loop: libuv found no descriptors; raise the limit of "
			  "open files");
		abort();
	}
	uv_prepare_init(&l->uv, &l->prepare);
	uv_timer_init(&l->uv, &l->timer);
	l->prepare.data = l->timer.data = l;
	uv_prepare_start(&l->prepare, on_prepare);
	return l;
}

struct uv_loop_s *
loop_uv(struct loop *l)
{
	return &l->uv;
}

struct clock *
loop_clock(struct loop *l)
{
	return l->clock;
}

void
loop_run(struct loop *l)
{
	uv_run(&l->uv, UV_RUN_DEFAULT);
}

void
loop_stop(struct loop *l)
{
	uv_stop(&l->uv);
}

static void
on_signal(uv_signal_t *handle, int signum)
{
	struct signal_watch *w = handle->data;

	w->fn(w->arg, signum);
}

int
loop_on_signal(struct loop *l, int signum, void (*fn)(void *arg, int signum), void *arg,
    struct err *err)
{
	struct signal_watch *w = xnew(struct signal_watch);
	int rc;

	w->fn = fn;
	w->arg = arg;
	w->handle.data = w;
	list_init(&w->link);
	list_push_back(&l->signals, &w->link);
	rc = uv_signal_init(&l->uv, &w->handle);
	if (rc == 0)
		rc = uv_signal_start(&w->handle, on_signal, signum);
	if (rc != 0) /* the handle, if it is one, is closed with the loop */
		return err_errno(err, -rc, "watch for signal %d", signum);
	return 0;
}

static void
on_signal_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void
loop_free(struct loop *l)
{
	struct signal_watch *w, *tmp;

	if (!l)
		return;
	list_for_each_safe (w, tmp, &l->signals, link)
		uv_close((uv_handle_t *)&w->handle, on_signal_closed);
	uv_close((uv_handle_t *)&l->prepare, NULL);
	uv_close((uv_handle_t *)&l->timer, NULL);
	uv_run(&l->uv, UV_RUN_DEFAULT);
	if (uv_loop_close(&l->uv) != 0)
		assert(!"a handle of the loop was not closed");
	free(l);
}
