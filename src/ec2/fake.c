/* SPDX-License-Identifier: Apache-2.0 */
/* Machines that are nothing. What is asked for is done in the next round of the loop. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/map.h"
#include "base/xalloc.h"
#include "ec2/backend.h"
#include "ec2/instance.h"

/* RFC 2544: for benchmarks, routed nowhere. */
#define PUBLIC_NETWORK 0xc6120000u /* 198.18.0.0 */
#define PUBLIC_SIZE (1u << 17)

struct fake_event {
	struct list link; /* backend.events, or the instance's own */
	struct instance *instance;
	enum backend_event_kind kind;
};

struct fake_done {
	struct list link; /* backend.dones */
	backend_done_fn fn;
	void *arg;
};

struct address {
	char key[64]; /* "REGION/ADDRESS", or "ADDRESS" of a public one */
};

struct fake_backend {
	struct backend base;
	struct backend_env env;
	struct timer timer;
	struct list events, dones;
	struct map addresses;
	uint32_t public_cursor;
};

static struct fake_backend *
fake_of(struct backend *b)
{
	return (struct fake_backend *)b;
}

/* ---- addresses ---- */

static bool
claim(struct fake_backend *f, const char *region, const char *address)
{
	struct address *a = xnew(struct address);

	(void)snprintf(a->key, sizeof(a->key), "%s/%s", region, address);
	if (map_get(&f->addresses, a->key)) {
		free(a);
		return false;
	}
	map_put(&f->addresses, a->key, a);
	return true;
}

static void
release(struct fake_backend *f, const char *region, const char *address)
{
	struct address *a;
	char key[64];

	(void)snprintf(key, sizeof(key), "%s/%s", region, address);
	a = map_get(&f->addresses, key);
	if (!a)
		return;
	map_remove(&f->addresses, key);
	free(a);
}

static void
put_address(uint32_t address, char ret[BACKEND_ADDRESS_MAX])
{
	struct in_addr a = {.s_addr = htonl(address)};

	inet_ntop(AF_INET, &a, ret, BACKEND_ADDRESS_MAX);
}

/* The first four addresses of a subnet and the last are AWS's own. */
static int
range_of(const struct subnet *s, uint32_t *ret_first, uint32_t *ret_n, struct err *err)
{
	char host[BACKEND_ADDRESS_MAX];
	const char *slash = strchr(s->cidr, '/');
	struct in_addr a;
	size_t n = slash ? (size_t)(slash - s->cidr) : 0;
	long bits = slash ? strtol(slash + 1, NULL, 10) : 0;

	if (n == 0 || n >= sizeof(host) || bits < 1 || bits > 28)
		return err_set(err, ERR_INVALID, "%s is no subnet", s->cidr);
	memcpy(host, s->cidr, n);
	host[n] = '\0';
	if (inet_pton(AF_INET, host, &a) != 1)
		return err_set(err, ERR_INVALID, "%s is no subnet", s->cidr);
	*ret_first = ntohl(a.s_addr) + 4;
	*ret_n = (UINT32_C(1) << (32 - bits)) - 5;
	return 0;
}

static int
fake_address_take(struct backend *b, const struct subnet *s, const char *wanted,
    char ret[BACKEND_ADDRESS_MAX], struct err *err)
{
	struct fake_backend *f = fake_of(b);
	uint32_t first = 0, n = 0, *cursor = &((struct subnet *)s)->cursor;
	struct in_addr a;

	if (range_of(s, &first, &n, err) < 0)
		return -1;
	if (wanted) {
		if (inet_pton(AF_INET, wanted, &a) != 1 || ntohl(a.s_addr) - first >= n)
			return err_set(err, ERR_INVALID,
			    "it is not one that subnet %s can give", s->cidr);
		if (!claim(f, s->o.region->name, wanted))
			return err_set(err, ERR_CONFLICT, "%s is in use", wanted);
		(void)snprintf(ret, BACKEND_ADDRESS_MAX, "%s", wanted);
		return 0;
	}
	if (s->n_taken >= n)
		return err_set(err, ERR_NO_CAPACITY, "no address is free");
	for (uint32_t i = 0; i < n; i++) {
		put_address(first + (*cursor)++ % n, ret);
		if (claim(f, s->o.region->name, ret))
			return 0;
	}
	return err_set(err, ERR_NO_CAPACITY, "no address is free");
}

static void
fake_address_free(struct backend *b, const struct subnet *s, const char *address)
{
	release(fake_of(b), s->o.region->name, address);
}

static int
fake_public_take(struct backend *b, const char *private_address, const char *wanted,
    char ret[BACKEND_ADDRESS_MAX], struct err *err)
{
	struct fake_backend *f = fake_of(b);

	if (wanted) {
		if (!claim(f, "", wanted))
			return err_set(err, ERR_CONFLICT, "%s is in use", wanted);
		(void)snprintf(ret, BACKEND_ADDRESS_MAX, "%s", wanted);
		return 0;
	}
	for (uint32_t i = 0; i < PUBLIC_SIZE; i++) {
		put_address(
		    PUBLIC_NETWORK + 1 + f->public_cursor++ % (PUBLIC_SIZE - 2), ret);
		if (claim(f, "", ret))
			return 0;
	}
	return err_set(err, ERR_NO_CAPACITY, "no public address is free");
}

static void
fake_public_free(struct backend *b, const char *address)
{
	release(fake_of(b), "", address);
}

/* ---- what is asked for ---- */

static void
on_timer(void *arg)
{
	struct fake_backend *f = arg;
	struct list events, dones;
	struct fake_event *e;
	struct fake_done *d;

	/* What these lead to is of the next round. */
	list_init(&events);
	list_init(&dones);
	while (!list_empty(&f->events)) {
		e = list_entry(f->events.next, struct fake_event, link);
		list_remove(&e->link);
		list_push_back(&events, &e->link);
	}
	while (!list_empty(&f->dones)) {
		d = list_entry(f->dones.next, struct fake_done, link);
		list_remove(&d->link);
		list_push_back(&dones, &d->link);
	}
	while (!list_empty(&events)) {
		e = list_entry(events.next, struct fake_event, link);
		list_remove(&e->link);
		e->instance->backend_data = NULL;
		f->env.event(
		    f->env.arg, e->instance, &(struct backend_event){.kind = e->kind});
		free(e);
	}
	while (!list_empty(&dones)) {
		d = list_entry(dones.next, struct fake_done, link);
		list_remove(&d->link);
		d->fn(d->arg, NULL);
		free(d);
	}
}

static void
forget(struct backend *b, struct instance *i)
{
	struct fake_event *e = i->backend_data;

	if (!e)
		return;
	list_remove(&e->link);
	free(e);
	i->backend_data = NULL;
}

static void
say(struct backend *b, struct instance *i, enum backend_event_kind kind)
{
	struct fake_backend *f = fake_of(b);
	struct fake_event *e = xnew(struct fake_event);

	forget(b, i); /* what was asked for before is void */
	e->instance = i;
	e->kind = kind;
	list_init(&e->link);
	list_push_back(&f->events, &e->link);
	i->backend_data = e;
	if (!timer_is_on(&f->timer))
		timer_set(f->env.clock, &f->timer, 0, on_timer, f);
}

static void
fake_place(struct backend *b, struct instance *i)
{
	say(b, i, BACKEND_PLACED);
}

static void
fake_on(struct backend *b, struct instance *i, enum backend_on how)
{
	say(b, i, BACKEND_UP);
}

static void
fake_off(struct backend *b, struct instance *i, bool hibernate, bool force)
{
	say(b, i, BACKEND_OFF);
}

static void
fake_reboot(struct backend *b, struct instance *i)
{
	say(b, i, BACKEND_UP);
}

static void
fake_remove(struct backend *b, struct instance *i)
{
	say(b, i, BACKEND_GONE);
}

static void
fake_adopt(struct backend *b, struct instance *i)
{
}

static void
fake_console(struct backend *b, struct instance *i, struct buf *to)
{
	if (i->was_up)
		buf_fmt(to, "fake machine %s\nlogin:\n", i->o.id);
}

static void
done_soon(struct backend *b, backend_done_fn fn, void *arg)
{
	struct fake_backend *f = fake_of(b);
	struct fake_done *d = xnew(struct fake_done);

	d->fn = fn;
	d->arg = arg;
	list_init(&d->link);
	list_push_back(&f->dones, &d->link);
	if (!timer_is_on(&f->timer))
		timer_set(f->env.clock, &f->timer, 0, on_timer, f);
}

static void
fake_save_image(struct backend *b, struct instance *i, struct image *image,
    backend_done_fn done, void *arg)
{
	xstrset(&image->backend_ref, image->o.id);
	object_changed(&image->o);
	done_soon(b, done, arg);
}

static void
fake_remove_image(struct backend *b, struct image *image)
{
}

static void
fake_push_key(struct backend *b, struct instance *i, const char *user, const char *key,
    int seconds, backend_done_fn done, void *arg)
{
	done_soon(b, done, arg);
}

static void
fake_close(struct backend *b)
{
	struct fake_backend *f = fake_of(b);
	struct err cancelled = {0};
	struct fake_done *d, *tmp;
	struct address *a;
	size_t at = 0;

	timer_off(&f->timer);
	err_set(&cancelled, ERR_CANCELLED, "closed");
	list_for_each_safe (d, tmp, &f->dones, link) {
		d->fn(d->arg, &cancelled);
		free(d);
	}
	while ((a = map_next(&f->addresses, &at)))
		free(a);
	map_fini(&f->addresses);
	free(f);
}

static const struct backend_ops fake_ops = {
    .name = "fake",
    .address_take = fake_address_take,
    .address_free = fake_address_free,
    .public_take = fake_public_take,
    .public_free = fake_public_free,
    .place = fake_place,
    .on = fake_on,
    .off = fake_off,
    .reboot = fake_reboot,
    .remove = fake_remove,
    .adopt = fake_adopt,
    .console = fake_console,
    .save_image = fake_save_image,
    .remove_image = fake_remove_image,
    .push_key = fake_push_key,
    .forget = forget,
    .close = fake_close,
};

struct backend *
fake_backend_new(const struct backend_env *env)
{
	struct fake_backend *f = xnew(struct fake_backend);

	f->base.ops = &fake_ops;
	f->env = *env;
	list_init(&f->events);
	list_init(&f->dones);
	return &f->base;
}
