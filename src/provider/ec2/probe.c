/* SPDX-License-Identifier: Apache-2.0 */
#include "provider/ec2/probe.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/xalloc.h"
#include "ssh/banner.h"

#define ATTEMPTS_MAX 12
#define SILENT_MS 600  /* an attempt that nobody has answered by then is given up */
#define BANNER_MS 5000 /* one that is connected */
#define ANSWERS_AT_FULL_SPEED 40
#define MORE_SLOWLY_MS 200 /* after these: some sshds count such visits against us */

struct attempt {
	struct list in_probe;
	struct probe *p; /* NULL: nobody cares any more, it is being closed */
	uv_tcp_t tcp;
	uv_connect_t connect;
	struct ssh_banner banner;
	char buf[512];
	int64_t give_up_ms;
	bool connected;
};

struct probe {
	struct probe_spec spec;
	char *address, *want; /* owned */
	probe_fn fn;
	void *arg;
	struct sockaddr_storage to;
	struct list attempts;
	int n;
	struct timer timer;
	int64_t ends_ms; /* 0: never */
	struct err last; /* what the last attempt came to */
	int answers;	 /* of an sshd that is not as wanted yet */
};

static void
closed(uv_handle_t *h)
{
	free(h->data);
}

static void
drop(struct attempt *a)
{
	if (!a->p)
		return;
	a->p->n--;
	a->p = NULL;
	list_remove(&a->in_probe);
	uv_close((uv_handle_t *)&a->tcp, closed);
}

static void
probe_free(struct probe *p)
{
	timer_off(&p->timer);
	while (!list_empty(&p->attempts))
		drop(list_entry(p->attempts.next, struct attempt, in_probe));
	free(p->address);
	free(p->want);
	free(p);
}

static void
finish(struct probe *p, const struct err *why)
{
	probe_fn fn = p->fn;
	void *arg = p->arg;
	struct err err = *why;

	probe_free(p);
	fn(arg, &err);
}

static void
identified(struct attempt *a)
{
	struct probe *p = a->p;

	p->answers++;
	if (!p->want || strstr(a->banner.line, p->want)) {
		finish(p, &(struct err){0});
		return;
	}
	err_set(&p->last, ERR_UNAVAILABLE,
	    "an SSH server answers that is not set up yet: %.80s", a->banner.line);
	drop(a);
}

static void
failed(struct attempt *a, const char *what, int status)
{
	err_set(&a->p->last, ERR_UNAVAILABLE, "%s: %s", what, uv_strerror(status));
	drop(a);
}

static void
alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
	struct attempt *a = h->data;

	*buf = uv_buf_init(a->buf, sizeof(a->buf));
}

static void
readable(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	struct attempt *a = s->data;

	if (!a->p)
		return;
	if (n < 0)
		failed(a, "the connection ended before an SSH identification", (int)n);
	else if (n > 0 &&
		 ssh_banner_feed(&a->banner, buf->base, (size_t)n, &a->p->last) < 0)
		drop(a);
	else if (a->banner.state == SSH_BANNER_DONE)
		identified(a);
}

static void
connected(uv_connect_t *req, int status)
{
	struct attempt *a = req->data;

	if (!a->p)
		return;
	if (status < 0) {
		failed(a, "connect", status);
		return;
	}
	a->connected = true;
	a->give_up_ms = clock_now_ms(a->p->spec.clock) + BANNER_MS;
	if (uv_read_start((uv_stream_t *)&a->tcp, alloc, readable) != 0)
		failed(a, "connect", UV_ECONNRESET);
}

static void
attempt(struct probe *p)
{
	struct attempt *a = xnew(struct attempt);
	int rc;

	a->p = p;
	a->connect.data = a;
	uv_tcp_init(p->spec.uv, &a->tcp);
	a->tcp.data = a;
	a->give_up_ms = clock_now_ms(p->spec.clock) + SILENT_MS;
	list_push_back(&p->attempts, &a->in_probe);
	p->n++;
	rc = uv_tcp_connect(
	    &a->connect, &a->tcp, (const struct sockaddr *)&p->to, connected);
	if (rc != 0)
		failed(a, "connect", rc);
}

/* An open connection will tell more than a new one. */
static bool
listening(const struct probe *p)
{
	const struct attempt *a;

	list_for_each (a, &p->attempts, in_probe)
		if (a->connected)
			return true;
	return false;
}

static void
tick(void *arg)
{
	struct probe *p = arg;
	struct attempt *a, *tmp;
	int64_t now = clock_now_ms(p->spec.clock);
	int pause = p->spec.interval_ms;

	list_for_each_safe (a, tmp, &p->attempts, in_probe)
		if (a->give_up_ms <= now) {
			err_set(&p->last, ERR_UNAVAILABLE, "%s",
			    a->connected ? "no SSH identification in time"
					 : "connect: no answer");
			drop(a);
		}
	if (p->ends_ms && now >= p->ends_ms) {
		finish(p, &p->last);
		return;
	}
	if (p->to.ss_family == 0) {
		finish(p, &p->last);
		return;
	}
	if (!listening(p) && p->n < ATTEMPTS_MAX)
		attempt(p);
	if (p->answers > ANSWERS_AT_FULL_SPEED && pause < MORE_SLOWLY_MS)
		pause = MORE_SLOWLY_MS;
	if (p->ends_ms && p->ends_ms - now < pause)
		pause = (int)(p->ends_ms - now);
	timer_set(p->spec.clock, &p->timer, pause, tick, p);
}

struct probe *
probe_start(const struct probe_spec *spec, probe_fn fn, void *arg)
{
	struct probe *p = xnew(struct probe);
	const char *address = spec->address ? spec->address : "";

	p->spec = *spec;
	p->spec.address = p->address = xstrdup(address);
	p->spec.want = p->want = xstrdup_null(spec->want);
	p->fn = fn;
	p->arg = arg;
	list_init(&p->attempts);
	p->ends_ms = spec->timeout_ms ? clock_now_ms(spec->clock) + spec->timeout_ms : 0;
	err_set(&p->last, ERR_UNAVAILABLE, "connect: no answer");
	if (uv_ip4_addr(address, spec->port, (struct sockaddr_in *)&p->to) != 0 &&
	    uv_ip6_addr(address, spec->port, (struct sockaddr_in6 *)&p->to) != 0) {
		p->to.ss_family = 0;
		err_set(
		    &p->last, ERR_UNAVAILABLE, "connect: '%.40s' is no address", address);
	}
	timer_set(spec->clock, &p->timer, 0, tick, p);
	return p;
}

void
probe_cancel(struct probe *p)
{
	if (p)
		probe_free(p);
}
