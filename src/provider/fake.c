/* SPDX-License-Identifier: Apache-2.0 */

/* The operations of the fake provider, but for disks and homes. Every call becomes an `op` with a timer; its effect and its answer
   come when the timer fires, so that nothing is called from inside an operation. */

#include "provider/fake.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "provider/fake_impl.h"

#define OUTPUT_MAX 65535

void
fake_effect(struct fake *f, enum fake_op op, const char *token)
{
	if (f->on_effect && !f->muted)
		f->on_effect(f->on_effect_arg, op, token);
}

static void
op_free(struct op *op)
{
	timer_off(&op->timer);
	list_remove(&op->link);
	free(op->text);
	free(op->version);
	free(op);
}

/* Answers and frees; when muted, at the close. */
void
fake_op_done(struct op *op, const struct err *err)
{
	provider_done_fn done = op->fn.done;
	void *arg = op->arg;

	if (op->fake->muted)
		return;
	op_free(op);
	if (done)
		done(arg, err);
}

void
fake_op_launched(struct op *op, const char *ref, const struct err *err)
{
	provider_launch_fn done = op->fn.launch;
	void *arg = op->arg;

	if (op->fake->muted)
		return;
	op_free(op);
	done(arg, ref, err);
}

static void
op_set_up(struct op *op, int exit_code, const char *output, const struct err *err)
{
	provider_setup_fn done = op->fn.setup;
	void *arg = op->arg;

	if (op->fake->muted)
		return;
	op_free(op);
	done(arg, exit_code, output, err);
}

static void
op_listed(struct op *op, const struct sighting *all, int n, const struct err *err)
{
	provider_inventory_fn done = op->fn.inventory;
	void *arg = op->arg;

	if (op->fake->muted)
		return;
	op_free(op);
	done(arg, all, n, err);
}

void
fake_op_attached(struct op *op, const char *warning, const struct err *err)
{
	provider_attach_fn done = op->fn.attach;
	void *arg = op->arg;

	if (op->fake->muted)
		return;
	op_free(op);
	done(arg, warning, err);
}

void
fake_op_fail(struct op *op, const struct err *why)
{
	struct err err = *why;

	switch (op->kind) {
	case FAKE_LAUNCH:
	case FAKE_DISK_MAKE:
	case FAKE_DISK_SNAPSHOT:
		fake_op_launched(op, NULL, &err);
		break;
	case FAKE_SETUP:
		op_set_up(op, -1, "", &err);
		break;
	case FAKE_INVENTORY:
		op_listed(op, NULL, 0, &err);
		break;
	case FAKE_DISK_ATTACH:
		fake_op_attached(op, NULL, &err);
		break;
	default:
		fake_op_done(op, &err);
		break;
	}
}

void
fake_op_refuse(struct op *op, enum err_code code, const char *fmt, ...)
{
	struct err err;
	va_list ap;

	va_start(ap, fmt);
	err_setv(&err, code, fmt, ap);
	va_end(ap);
	fake_op_fail(op, &err);
}

const struct err fake_no_error;

static bool
launch_fails(struct fake *f)
{
	if (f->launches_failed < f->opt.fail_launch_first) {
		f->launches_failed++;
		return true;
	}
	return fake_happens(f, f->opt.fail_launch);
}

static void
run_launch(struct op *op)
{
	struct fake *f = op->fake;
	struct machine_sim *m = fake_find(f, op->token.s);
	struct err err = fake_no_error;
	char ref[FAKE_REF_MAX];

	if (!m) {
		if (launch_fails(f))
			err_set(&err, ERR_INTERNAL,
			    "the machine could not be made (fake failure)");
		else if (f->opt.capacity > 0 && f->count >= f->opt.capacity)
			err_set(&err, ERR_NO_CAPACITY,
			    "no room for more than %d machines", f->opt.capacity);
		else
			m = fake_machine_add(f, op->token.s, op->version,
			    fake_launch_time(f), op->number * 1000, &err);
		if (!m) {
			fake_op_fail(op, &err);
			return;
		}
		fake_effect(f, FAKE_LAUNCH, op->token.s);
		fake_sight(m);
	}
	if (fake_happens(f, f->opt.lose_reply)) {
		err_set(&err, ERR_UNAVAILABLE, "the answer was lost (fake failure)");
		fake_op_fail(op, &err);
		return;
	}
	(void)snprintf(ref, sizeof(ref), "fake-%s", op->token.s);
	fake_op_launched(op, ref, &err);
}

static void
run_terminate(struct op *op)
{
	struct fake *f = op->fake;
	struct machine_sim *m = fake_find_by(f, op->token.s, op->text);
	struct err err = fake_no_error;

	if (!m) {
		fake_sight_gone(f, op->token.s, op->text, NULL);
	} else if (m->rec->state != FAKE_ENDING) {
		m->rec->ends_at = clock_wall_ms(f->env.clock) + f->opt.terminate_ms;
		m->rec->state = FAKE_ENDING;
		fake_effect(f, op->kind, op->token.s);
		if (f->opt.terminate_ms > 0)
			fake_machine_plan(m);
		else
			fake_machine_gone(m, NULL);
	}
	if (fake_happens(f, f->opt.lose_reply))
		err_set(&err, ERR_UNAVAILABLE, "the answer was lost (fake failure)");
	fake_op_done(op, &err);
}

/* A stopped machine's timers stand still: it has no lease until it runs again. */
static void
run_stop(struct op *op)
{
	struct fake *f = op->fake;
	struct machine_sim *m = fake_find_by(f, op->token.s, op->text);

	if (!m || (m->rec->state != FAKE_ALIVE && m->rec->state != FAKE_STOPPED)) {
		fake_op_refuse(op, ERR_NOT_FOUND, "no machine %s", op->token.s);
		return;
	}
	if (m->rec->state == FAKE_ALIVE) {
		m->rec->ends_at = m->rec->dies_at = 0;
		m->rec->ready_at =
		    f->opt.stop_ms > 0 ? clock_wall_ms(f->env.clock) + f->opt.stop_ms : 0;
		m->rec->state = FAKE_STOPPED;
		m->seen_ready = false;
		m->sessions = 0;
		fake_machine_plan(m);
		fake_effect(f, FAKE_STOP, op->token.s);
		if (!m->rec->ready_at)
			fake_sight(m);
	}
	fake_op_done(op, &fake_no_error);
}

static void
run_start(struct op *op)
{
	struct fake *f = op->fake;
	struct machine_sim *m = fake_find_by(f, op->token.s, op->text);
	int64_t now = clock_wall_ms(f->env.clock);

	if (!m || (m->rec->state != FAKE_ALIVE && m->rec->state != FAKE_STOPPED)) {
		fake_op_refuse(op, ERR_NOT_FOUND, "no machine %s", op->token.s);
		return;
	}
	if (m->rec->state == FAKE_STOPPED && m->rec->ready_at) {
		fake_op_refuse(
		    op, ERR_CONFLICT, "machine %s is still stopping", op->token.s);
		return;
	}
	if (m->rec->state == FAKE_STOPPED) {
		if (fake_happens(f, f->opt.fail_start)) {
			fake_op_refuse(op, ERR_NO_CAPACITY, "no capacity (fake failure)");
			return;
		}
		m->rec->ready_at = now + f->opt.start_ms;
		m->rec->ends_at = op->number > 0 ? now + op->number * 1000 : 0;
		m->rec->state = FAKE_ALIVE;
		fake_machine_plan(m);
		fake_effect(f, FAKE_START, op->token.s);
	}
	fake_op_done(op, &fake_no_error);
}

static void
run_deadline(struct op *op)
{
	struct fake *f = op->fake;
	struct machine_sim *m = fake_find_by(f, op->token.s, op->text);

	if (!m || m->rec->state != FAKE_ALIVE) {
		fake_op_refuse(op, ERR_NOT_FOUND, "no machine %s", op->token.s);
		return;
	}
	m->rec->ends_at = clock_wall_ms(f->env.clock) + op->number * 1000;
	fake_machine_plan(m);
	fake_effect(f, FAKE_DEADLINE, op->token.s);
	fake_op_done(op, &fake_no_error);
}

static void
run_command(struct op *op, struct machine_sim *m)
{
	const char *command = op->text;

	xstrset(&m->last_setup, command);
	if (strncmp(command, "exit ", 5) == 0) {
		op_set_up(
		    op, (int)(strtol(command + 5, NULL, 10) & 255), "", &fake_no_error);
	} else if (strncmp(command, "echo ", 5) == 0) {
		AUTO_FREE char *output = xasprintf("%.*s\n", OUTPUT_MAX - 1, command + 5);

		op_set_up(op, 0, output, &fake_no_error);
	} else {
		op_set_up(op, 0, "", &fake_no_error);
	}
}

static void
run_setup(struct op *op)
{
	struct fake *f = op->fake;
	struct machine_sim *m = fake_find(f, op->token.s);

	if (!m || m->rec->state != FAKE_ALIVE || !m->seen_ready)
		fake_op_refuse(
		    op, ERR_UNAVAILABLE, "machine %s does not answer", op->token.s);
	else if (op->number < 0)
		fake_op_refuse(
		    op, ERR_UNAVAILABLE, "the command took too long and was ended");
	else if (fake_happens(f, f->opt.fail_setup))
		op_set_up(op, 1, "fake failure\n", &fake_no_error);
	else
		run_command(op, m);
}

static void
run_contact(struct op *op)
{
	struct fake *f = op->fake;
	struct machine_sim *m = fake_find(f, op->token.s);
	struct sighting_text text;

	if (!m || fake_look(m, &text).state != SIGHTING_READY ||
	    strcmp(text.address, op->text) != 0 || op->number != FAKE_PORT ||
	    fake_happens(f, f->opt.fail_contact))
		fake_op_refuse(
		    op, ERR_UNAVAILABLE, "no SSH server answers at %s", op->text);
	else
		fake_op_done(op, &fake_no_error);
}

static void
run_authorize(struct op *op)
{
	struct fake *f = op->fake;
	struct machine_sim *m = fake_find(f, op->token.s);

	if (!m || m->rec->state != FAKE_ALIVE || !m->seen_ready ||
	    fake_happens(f, f->opt.fail_authorize)) {
		fake_op_refuse(
		    op, ERR_UNAVAILABLE, "machine %s takes no keys", op->token.s);
		return;
	}
	xstrset(op->kind == FAKE_JOIN ? &m->gang : &f->last_keys, op->text);
	fake_effect(f, op->kind, op->token.s);
	fake_op_done(op, &fake_no_error);
}

static void
run_inventory(struct op *op)
{
	struct fake *f = op->fake;
	struct sighting *all =
	    xcalloc((size_t)fake_world_size(f->world) + 1, sizeof(*all));
	struct sighting_text *texts =
	    xcalloc((size_t)fake_world_size(f->world) + 1, sizeof(*texts));
	int n = 0;

	/* by record, not by map: the same order every time */
	for (int i = 0; i < fake_world_size(f->world); i++) {
		const struct fake_record *r = fake_world_at(f->world, i);

		if (r->state != FAKE_FREE) {
			all[n] = fake_look(fake_find(f, r->token), &texts[n]);
			n++;
		}
	}
	op_listed(op, all, n, &fake_no_error);
	free(all);
	free(texts);
}

static void
report_image(struct fake *f, const char *image)
{
	const struct fake_image *im = fake_world_image(f->world, image);

	if (f->muted)
		return;
	if (im)
		f->env.image(f->env.arg, image, im->version, 100, NULL);
	else
		f->env.image(
		    f->env.arg, image, NULL, 0, "too many images, or too long a name");
}

static void
run_image_build(struct op *op)
{
	struct fake *f = op->fake;
	struct fake_image *im = fake_world_image(f->world, op->text);

	if (!im) {
		fake_op_refuse(op, ERR_INVALID, "too many images, or too long a name");
		return;
	}
	(void)snprintf(
	    im->version, sizeof(im->version), "%ld", strtol(im->version, NULL, 10) + 1);
	fake_effect(f, FAKE_IMAGE_BUILD, NULL);
	report_image(f, op->text);
	fake_op_done(op, &fake_no_error);
}

static void
on_op(void *arg)
{
	struct op *op = arg;

	if (op->fake->muted)
		return; /* until the close */
	if (op->failure.code != ERR_NONE) {
		fake_op_fail(op, &op->failure);
		return;
	}
	switch (op->kind) {
	case FAKE_LAUNCH:
		run_launch(op);
		break;
	case FAKE_TERMINATE:
		run_terminate(op);
		break;
	case FAKE_DEADLINE:
		run_deadline(op);
		break;
	case FAKE_SETUP:
		run_setup(op);
		break;
	case FAKE_CONTACT:
		run_contact(op);
		break;
	case FAKE_INVENTORY:
		run_inventory(op);
		break;
	case FAKE_IMAGE:
		report_image(op->fake, op->text);
		fake_op_done(op, &fake_no_error);
		break;
	case FAKE_IMAGE_BUILD:
		run_image_build(op);
		break;
	case FAKE_IMAGE_REMOVE:
		fake_op_done(op, &fake_no_error);
		break;
	case FAKE_STOP:
		run_stop(op);
		break;
	case FAKE_START:
		run_start(op);
		break;
	case FAKE_AUTHORIZE:
	case FAKE_JOIN:
		run_authorize(op);
		break;
	case FAKE_DISK_MAKE:
	case FAKE_DISK_SNAPSHOT:
		fake_run_disk(op);
		break;
	case FAKE_DISK_REMOVE:
		run_terminate(op);
		break;
	case FAKE_DISK_ATTACH:
		fake_run_attach(op);
		break;
	case FAKE_DISK_DETACH:
		fake_run_detach(op);
		break;
	default:
		assert(!"an operation");
	}
}

void
fake_take_failure(struct fake *f, enum fake_op kind, struct err *ret)
{
	for (struct planned_failure **at = &f->failures; *at; at = &(*at)->next) {
		struct planned_failure *p = *at;

		if (p->op != kind)
			continue;
		*ret = p->err;
		*at = p->next;
		free(p);
		return;
	}
}

struct op *
fake_op_start(struct fake *f, enum fake_op kind, const char *token, const char *text,
    int64_t delay_ms, void *arg)
{
	struct op *op = xnew(struct op);

	op->fake = f;
	op->kind = kind;
	op->arg = arg;
	op->text = xstrdup_null(text);
	if (token && strlen(token) >= sizeof(op->token.s))
		err_set(&op->failure, ERR_INVALID, "'%.32s' is no token", token);
	else if (token)
		strcpy(op->token.s, token);
	list_push_back(&f->ops, &op->link);
	f->calls[kind]++;
	fake_take_failure(f, kind, &op->failure);
	timer_set(f->env.clock, &op->timer, delay_ms, on_op, op);
	return op;
}

void
fake_report_image(struct fake *f, const char *image)
{
	fake_op_start(f, FAKE_IMAGE, NULL, image, 0, NULL);
}

static void
fake_launch(struct provider *p, const struct launch_spec *spec, provider_launch_fn done,
    void *arg)
{
	struct op *op = fake_op_start(fake_of(p), FAKE_LAUNCH, spec->token, NULL, 0, arg);

	op->fn.launch = done;
	op->version = xstrdup_null(spec->image_version);
	op->number = spec->lease_s;
	if (spec->authorized_keys)
		xstrset(&fake_of(p)->last_keys, spec->authorized_keys);
}

static void
fake_terminate(struct provider *p, const char *token, const char *ref,
    provider_done_fn done, void *arg)
{
	fake_op_start(fake_of(p), FAKE_TERMINATE, token, ref, 0, arg)->fn.done = done;
}

static void
fake_deadline(struct provider *p, const char *token, const char *ref, int64_t seconds,
    const char *warning, provider_done_fn done, void *arg)
{
	struct fake *f = fake_of(p);
	struct op *op =
	    fake_op_start(f, FAKE_DEADLINE, token, ref, f->opt.deadline_ms, arg);

	op->fn.done = done;
	op->number = seconds;
}

static int64_t
command_ms(const struct fake *f, const char *command)
{
	int64_t ms = f->opt.setup_ms;

	if (strncmp(command, "sleep ", 6) == 0)
		ms += (int64_t)(strtod(command + 6, NULL) * 1000);
	return ms;
}

static void
fake_setup(struct provider *p, const char *token, const char *ref, const char *command,
    int64_t timeout_ms, provider_setup_fn done, void *arg)
{
	struct fake *f = fake_of(p);
	int64_t ms = command_ms(f, command);
	bool late = timeout_ms > 0 && ms > timeout_ms;
	struct op *op =
	    fake_op_start(f, FAKE_SETUP, token, command, late ? timeout_ms : ms, arg);

	op->fn.setup = done;
	op->number = late ? -1 : 0;
}

static void
fake_contact(struct provider *p, const char *token, const char *address, int port,
    provider_done_fn done, void *arg)
{
	struct fake *f = fake_of(p);
	struct op *op =
	    fake_op_start(f, FAKE_CONTACT, token, address, f->opt.contact_ms, arg);

	op->fn.done = done;
	op->number = port;
}

static void
fake_inventory(struct provider *p, provider_inventory_fn done, void *arg)
{
	fake_op_start(fake_of(p), FAKE_INVENTORY, NULL, NULL, 0, arg)->fn.inventory =
	    done;
}

static void
fake_image(struct provider *p, const char *image)
{
	struct fake *f = fake_of(p);

	fake_op_start(f, FAKE_IMAGE, NULL, image, f->opt.image_ms, NULL);
}

static void
fake_image_build(struct provider *p, const char *image, provider_done_fn done, void *arg)
{
	struct fake *f = fake_of(p);

	fake_op_start(f, FAKE_IMAGE_BUILD, NULL, image, f->opt.image_ms, arg)->fn.done =
	    done;
}

static void
fake_image_remove(struct provider *p, const char *image, const char *version,
    provider_done_fn done, void *arg)
{
	fake_op_start(fake_of(p), FAKE_IMAGE_REMOVE, NULL, image, 0, arg)->fn.done = done;
}

static void
fake_stop(struct provider *p, const char *token, const char *ref, bool hibernate,
    provider_done_fn done, void *arg)
{
	fake_op_start(fake_of(p), FAKE_STOP, token, ref, 0, arg)->fn.done = done;
}

static void
fake_start(struct provider *p, const char *ref, const struct launch_spec *spec,
    provider_done_fn done, void *arg)
{
	struct op *op = fake_op_start(fake_of(p), FAKE_START, spec->token, ref, 0, arg);

	op->fn.done = done;
	op->number = spec->lease_s;
}

static enum provider_access
fake_access(struct provider *p, const char *options)
{
	return fake_of(p)->opt.access;
}

static void
fake_join(struct provider *p, const char *token, const char *ref, const char *gang,
    provider_done_fn done, void *arg)
{
	fake_op_start(fake_of(p), FAKE_JOIN, token, gang, 0, arg)->fn.done = done;
}

static void
fake_authorize(struct provider *p, const char *token, const char *ref, const char *keys,
    provider_done_fn done, void *arg)
{
	struct fake *f = fake_of(p);

	fake_op_start(f, FAKE_AUTHORIZE, token, keys, f->opt.authorize_ms, arg)->fn.done =
	    done;
}

static void
fake_price(
    struct provider *p, const char *options, double *ret_running, double *ret_stopped)
{
	*ret_running = fake_of(p)->opt.usd_per_hour;
	*ret_stopped = fake_of(p)->opt.usd_per_hour_stopped;
}

static void
fake_free(struct fake *f)
{
	struct machine_sim *m;
	size_t at = 0;

	while ((m = map_next(&f->machines, &at))) {
		timer_off(&m->timer);
		free(m->last_setup);
		free(m->gang);
		free(m);
	}
	map_fini(&f->machines);
	while (f->failures) {
		struct planned_failure *next = f->failures->next;

		free(f->failures);
		f->failures = next;
	}
	fake_world_close(f->world);
	free(f->last_keys);
	free(f);
}

static void
fake_close(struct provider *p)
{
	struct fake *f = fake_of(p);

	f->muted = false;
	fake_homes_close(f);
	while (!list_empty(&f->ops))
		fake_op_refuse(list_entry(f->ops.next, struct op, link), ERR_CANCELLED,
		    "the provider is closing");
	fake_free(f);
}

/* ---- the table ---- */

static const struct provider_ops fake_ops = {
    .kind = "fake",
    .launch = fake_launch,
    .terminate = fake_terminate,
    .deadline = fake_deadline,
    .setup = fake_setup,
    .contact = fake_contact,
    .inventory = fake_inventory,
    .image = fake_image,
    .image_build = fake_image_build,
    .image_remove = fake_image_remove,
    .stop = fake_stop,
    .start = fake_start,
    .disk_make = fake_disk_make,
    .disk_snapshot = fake_disk_snapshot,
    .disk_remove = fake_disk_remove,
    .disk_attach = fake_disk_attach,
    .disk_detach = fake_disk_detach,
    .home_make = fake_home_make,
    .home_attach = fake_home_attach,
    .price = fake_price,
    .access = fake_access,
    .authorize = fake_authorize,
    .join = fake_join,
    .close = fake_close,
};

int
fake_provider_open(const struct fake_options *opt, const struct provider_env *env,
    struct provider **ret, struct err *err)
{
	struct fake_world *world;
	struct fake *f;

	if (fake_world_open(opt->world, &world, err) < 0)
		return -1;
	f = xnew(struct fake);
	f->base = (struct provider){
	    .ops = &fake_ops, .usd_per_hour = opt->usd_per_hour, .sees_death = true};
	f->env = *env;
	f->opt = *opt;
	f->opt.world = NULL; /* the caller's */
	f->world = world;
	f->rng = opt->seed;
	list_init(&f->ops);
	list_init(&f->home_ops);
	for (int i = 0; i < fake_world_size(world); i++)
		if (fake_world_at(world, i)->state != FAKE_FREE)
			fake_machine_adopt(f, fake_world_at(world, i));
	*ret = &f->base;
	return 0;
}
