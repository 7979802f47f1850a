/* SPDX-License-Identifier: Apache-2.0 */

/* Launches: those of one kind that come within some milliseconds are one RunInstances. What had no capacity goes on
   to the next place, its type in the next zone and then the next type, and that place is left alone for a while. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/xml.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "provider/ec2/internal.h"
#include "provider/ec2/tags.h"
#include "provider/ec2/user_data.h"
#include "ssh/hostkey.h"
#include "ssh/wire.h"

#define LAUNCH_TIMEOUT_MS 30000
#define FEW 8
#define LAUNCH_DEADLINE_MS 240000 /* core gives a launch five minutes */

/* One RunInstances under way. */
struct batch {
	struct ec2 *e;
	struct list
	    machines; /* by in_gather; those that were ended meanwhile are on it, too */
	struct id tokens[TAGS_TOKENS_MAX];
	int n;
	char client_token[65];
};

/* ---- the call ---- */

static void
tag(struct aws_form *f, int spec, int n, const char *key, const char *value)
{
	aws_form_add(f, key, "TagSpecification.%d.Tag.%d.Key", spec, n);
	aws_form_add(f, value, "TagSpecification.%d.Tag.%d.Value", spec, n);
}

static void
tags_of(struct aws_form *f, int spec, const char *resource, const struct ec2_machine *m,
    const struct batch *b)
{
	static const char *const addresses[] = {"auto", "public", "private"};
	static const char *const accesses[] = {"certificate", "keys", "inject", "eic"};
	char lease[24], key[32], options[160];
	int n = 0;

	/* what another daemon must know of a machine that it finds */
	(void)snprintf(options, sizeof(options),
	    "login=%s readiness=%s address=%s access=%s", m->login,
	    m->opt.readiness == EC2_READY_RUNNING ? "running" : "ssh",
	    addresses[m->opt.address], accesses[m->opt.access]);

	(void)snprintf(lease, sizeof(lease), "%lld",
	    (long long)(clock_wall_ms(m->e->env.clock) / 1000 + m->keys->lease_s));
	aws_form_add(f, resource, "TagSpecification.%d.ResourceType", spec);
	tag(f, spec, ++n, "Name", m->pool);
	tag(f, spec, ++n, TAG_OWNER, m->e->owner);
	tag(f, spec, ++n, TAG_POOL, m->pool);
	tag(f, spec, ++n, TAG_LEASE, lease);
	tag(f, spec, ++n, TAG_OPTIONS, options);
	for (int k = 0; k * TAGS_PER_VALUE < b->n; k++) {
		AUTO_BUF struct buf value = BUF_INIT(0);

		tags_pack(b->tokens, b->n, k, &value);
		(void)snprintf(key, sizeof(key), TAG_TOKENS "%d", k);
		tag(f, spec, ++n, key, value.data);
	}
}

static void
root_volume(struct aws_form *f, const struct ec2_machine *m)
{
	const struct ec2_options *o = &m->opt;
	const char *device = ec2_image_root_device(m->e, m->image_id);
	char size[16];

	if (!o->volume_gib && !o->volume_type && m->tier != TIER_HIBERNATED)
		return;
	aws_form_add(f, device ? device : "/dev/xvda", "BlockDeviceMapping.1.DeviceName");
	(void)snprintf(size, sizeof(size), "%d", o->volume_gib);
	aws_form_add(
	    f, o->volume_gib ? size : NULL, "BlockDeviceMapping.1.Ebs.VolumeSize");
	aws_form_add(f,
	    o->volume_type  ? o->volume_type
	    : o->volume_gib ? "gp3"
			    : NULL,
	    "BlockDeviceMapping.1.Ebs.VolumeType");
	aws_form_add(f, "true", "BlockDeviceMapping.1.Ebs.DeleteOnTermination");
	if (m->tier == TIER_HIBERNATED)
		aws_form_add(f, "true", "BlockDeviceMapping.1.Ebs.Encrypted");
}

/* A spot instance that is to be stopped needs a persistent request (EC2 User Guide, "Stop a Spot Instance"). */
static void
market(struct aws_form *f, const struct ec2_machine *m)
{
	bool keep = m->tier != TIER_RUNNING;

	if (!m->opt.spot)
		return;
	aws_form_add(f, "spot", "InstanceMarketOptions.MarketType");
	aws_form_add(f, keep ? "persistent" : "one-time",
	    "InstanceMarketOptions.SpotOptions.SpotInstanceType");
	aws_form_add(f, keep ? "stop" : "terminate",
	    "InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior");
}

static void
network(struct aws_form *f, const struct ec2_machine *m)
{
	const struct ec2_list *groups = &m->opt.security_groups;
	const char *zone = ec2_place_zone(&m->opt, m->place);
	int ids = 0, names = 0;

	if (m->opt.interfaces) {
		aws_form_add(
		    f, m->interfaces[0], "NetworkInterface.1.NetworkInterfaceId");
		aws_form_add(f, "0", "NetworkInterface.1.DeviceIndex");
		return;
	}
	aws_form_add(f, m->opt.zones.n ? zone : NULL, "Placement.AvailabilityZone");
	aws_form_add(f, m->opt.subnets.n ? zone : NULL, "SubnetId");
	for (int i = 0; i < groups->n; i++)
		if (strncmp(groups->words[i], "sg-", 3) == 0)
			aws_form_add(f, groups->words[i], "SecurityGroupId.%d", ++ids);
		else
			aws_form_add(f, groups->words[i], "SecurityGroup.%d", ++names);
}

/* Makes the user data with a host key of its own; the machines know the public half. */
static int
add_user_data(struct batch *b, struct aws_form *f, struct err *err)
{
	struct ec2_machine *m =
	    list_entry(b->machines.next, struct ec2_machine, in_gather);
	struct ssh_hostkey key = {0};
	AUTO_WIPE struct buf script = wire_secret(2 * USER_DATA_MAX);
	AUTO_WIPE struct buf text = wire_secret(4 * USER_DATA_MAX);
	struct ec2_first *first = NULL;
	struct user_data u;
	int rc = -1;

	if (m->opt.readiness == EC2_READY_RUNNING)
		return 0;
	if (ssh_hostkey_generate("hearth-first", &key, err) == 0) {
		u = (struct user_data){
		    .first_host_key = key.text.data,
		    .control_key = m->e->control_line,
		    .user_ca = m->user_ca,
		    .login = m->login,
		    .user_keys = m->user_keys,
		    .lease_s = m->keys->lease_s,
		};
		if (user_data_write(&u, &script, err) == 0)
			rc = ec2_first_new(m->e, &key, b->client_token, &first, err);
	}
	ssh_hostkey_fini(&key);
	if (rc < 0)
		return -1;
	wire_base64_encode(script.data, script.len, true, &text);
	aws_form_add(f, text.data, "UserData");
	list_for_each (m, &b->machines, in_gather) {
		ec2_first_unref(m);
		m->first = first;
		first->refs++;
	}
	return 0;
}

static void launch_failed(struct ec2_machine *m, const struct err *err);
static void gather(struct ec2_machine *m);

static void
batch_fail(struct batch *b, const struct err *err)
{
	while (!list_empty(&b->machines)) {
		struct ec2_machine *m =
		    list_entry(b->machines.next, struct ec2_machine, in_gather);

		list_remove(&m->in_gather);
		launch_failed(m, err);
	}
	free(b);
}

/* Not launched, certainly: nothing is there to be ended. */
static void
launch_failed(struct ec2_machine *m, const struct err *err)
{
	bool ending = m->ending;

	ec2_answer_all(&m->launches, NULL, err);
	if (m->ref[0]) /* a look has shown it after all */
		return;
	if (ending && m->interfaces[0]) {
		ec2_machine_conclude(m);
		ec2_look_within(m->e, 0);
	} else if (ending) {
		ec2_machine_gone(m);
	} else if (m->interfaces[0]) {
		m->ending = true; /* its interface is ours to remove */
		ec2_machine_conclude(m);
		ec2_look_within(m->e, 0);
	} else {
		ec2_machine_free(m);
	}
}

/* Nobody knows whether it was: a look will show it, or not. */
static void
launch_unknown(struct ec2_machine *m, const struct err *err)
{
	m->unsure = true;
	m->missed_looks = 0;
	m->born_ms = clock_now_ms(m->e->env.clock);
	if (m->ref[0]) {
		ec2_answer_all(&m->launches, m->ref, &(struct err){0});
		return;
	}
	ec2_machine_move(m, EC2_UNKNOWN);
	ec2_answer_all(&m->launches, NULL, err);
	ec2_look_within(m->e, 0);
}

static bool
is_lack(const struct aws_error *aws, const struct err *err)
{
	static const char *const codes[] = {"Unsupported",
	    "InsufficientFreeAddressesInSubnet", "SpotMaxPriceTooLow",
	    "InvalidAvailabilityZone"};

	if (err->code == ERR_NO_CAPACITY)
		return true;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (strcmp(aws->code, codes[i]) == 0)
			return true;
	return false;
}

/* Its place has no room: the next one, or the end of the list. */
static void
elsewhere(struct ec2_machine *m, const struct err *err)
{
	struct err why = *err;
	int place;

	list_remove(&m->in_gather);
	ec2_first_unref(m);
	ec2_place_cool(m);
	place = m->opt.interfaces ? -1 : ec2_place_next(m, m->place + 1);
	if (place < 0 || m->ending) {
		why.code = ERR_NO_CAPACITY;
		launch_failed(m, &why);
		return;
	}
	m->place = place;
	ec2_machine_move(m, EC2_GATHERED);
	gather(m);
}

static void
launched(struct ec2_machine *m, const struct ec2_instance *i)
{
	list_remove(&m->in_gather);
	ec2_machine_set_ref(m, i->ref);
	if (m->state == EC2_REQUESTED)
		ec2_machine_move(m, EC2_PENDING);
	ec2_answer_all(&m->launches, m->ref, &(struct err){0});
	ec2_machine_observe(m, i);
}

/* MinCount is 1: fewer than asked for may have come. */
static void
batch_done(struct batch *b, const struct xml *reply)
{
	struct err none;

	for (const struct xml *x = ec2_items(reply, "instancesSet"); x;
	     x = ec2_item_next(x)) {
		struct ec2_machine *m, *tmp;
		struct ec2_instance i;

		if (!ec2_instance_read(x, &i) || i.launch_index >= b->n)
			continue;
		list_for_each_safe (m, tmp, &b->machines, in_gather)
			if (strcmp(m->token, b->tokens[i.launch_index].s) == 0) {
				launched(m, &i);
				break;
			}
	}
	err_set(&none, ERR_NO_CAPACITY, "EC2 had fewer instances than were asked for");
	while (!list_empty(&b->machines))
		elsewhere(
		    list_entry(b->machines.next, struct ec2_machine, in_gather), &none);
	free(b);
}

static void
gather_again(void *arg)
{
	gather(arg);
}

/* An interface that was made a moment ago may not be known yet (EC2 Developer Guide, "Eventual consistency"). */
static bool
await_interface(struct batch *b, const struct aws_error *aws)
{
	struct ec2_machine *m =
	    list_entry(b->machines.next, struct ec2_machine, in_gather);
	struct clock *clock = b->e->env.clock;

	if (strcmp(aws->code, "InvalidNetworkInterfaceID.NotFound") != 0 ||
	    !m->opt.interfaces || clock_now_ms(clock) - m->born_ms >= EC2_UNSURE_MS)
		return false;
	list_remove(&m->in_gather);
	ec2_machine_move(m, EC2_GATHERED);
	timer_set(clock, &m->pause, EC2_TICK_MS / 2, gather_again, m);
	return true;
}

/* The interface is this machine's alone: what uses it is the instance of an attempt whose answer was lost. */
static bool
has_instance(const struct batch *b, const struct aws_error *aws)
{
	const struct ec2_machine *m =
	    list_entry(b->machines.next, struct ec2_machine, in_gather);

	return m->opt.interfaces &&
	       strcmp(aws->code, "InvalidNetworkInterface.InUse") == 0;
}

static void
ran(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct batch *b = arg;
	struct ec2 *e = b->e;
	struct err why = *err;

	if (e->closing) {
		while (!list_empty(&b->machines))
			list_remove(b->machines.next);
		free(b);
		return;
	}
	if (err->code == ERR_NONE) {
		/* one that somebody may wait for is looked at soon; of many, the next look shows more */
		ec2_look_within(e, b->n <= FEW ? EC2_TICK_MS / 4 : EC2_TICK_MS);
		batch_done(b, reply);
		return;
	}
	if (await_interface(b, aws)) {
		free(b);
		return;
	}
	if (why.code == ERR_INVALID && why.hint[0] == '\0')
		err_hint(&why, "correct the pool's settings: hearth.yaml(5)");
	ec2_say_hint(&why);
	if (is_lack(aws, err)) {
		while (!list_empty(&b->machines))
			elsewhere(
			    list_entry(b->machines.next, struct ec2_machine, in_gather),
			    &why);
		free(b);
	} else if (aws->maybe_done || has_instance(b, aws)) {
		why.code = ERR_UNAVAILABLE;
		while (!list_empty(&b->machines)) {
			struct ec2_machine *m =
			    list_entry(b->machines.next, struct ec2_machine, in_gather);

			list_remove(&m->in_gather);
			launch_unknown(m, &why);
		}
		free(b);
	} else {
		batch_fail(b, &why);
	}
}

static void
run(struct batch *b)
{
	struct ec2_machine *m =
	    list_entry(b->machines.next, struct ec2_machine, in_gather);
	struct aws_form f = {0};
	struct aws_call_options opt = {.repeatable = true,
	    .resources = b->n,
	    .timeout_ms = LAUNCH_TIMEOUT_MS,
	    .deadline_ms = LAUNCH_DEADLINE_MS};
	AUTO_BUF struct buf salt = BUF_INIT(0);
	struct err err;
	char count[16];

	ec2_place_key(m, m->place, &salt);
	buf_fmt(&salt, "\n%s", m->image_id);
	tags_client_token(b->tokens, b->n, salt.data, b->client_token);
	(void)snprintf(count, sizeof(count), "%d", b->n);
	aws_form_add(&f, m->image_id, "ImageId");
	aws_form_add(&f, ec2_place_type(&m->opt, m->place), "InstanceType");
	aws_form_add(&f, "1", "MinCount");
	aws_form_add(&f, count, "MaxCount");
	aws_form_add(&f, b->client_token, "ClientToken");
	aws_form_add(&f, "terminate", "InstanceInitiatedShutdownBehavior");
	aws_form_add(&f, "enabled", "MetadataOptions.HttpEndpoint");
	aws_form_add(&f, "required", "MetadataOptions.HttpTokens");
	aws_form_add(&f, "1", "MetadataOptions.HttpPutResponseHopLimit");
	aws_form_add(&f, m->opt.key_name, "KeyName");
	aws_form_add(&f, m->opt.instance_profile, "IamInstanceProfile.Name");
	if (m->tier == TIER_HIBERNATED)
		aws_form_add(&f, "true", "HibernationOptions.Configured");
	tags_of(&f, 1, "instance", m, b);
	tags_of(&f, 2, "volume", m, b);
	if (!m->opt.interfaces)
		tags_of(&f, 3, "network-interface", m, b);
	if (m->opt.spot)
		tags_of(&f, m->opt.interfaces ? 3 : 4, "spot-instances-request", m, b);
	root_volume(&f, m);
	market(&f, m);
	network(&f, m);
	if (add_user_data(b, &f, &err) < 0) {
		aws_form_fini(&f);
		batch_fail(b, &err);
		return;
	}
	ec2_query(m->e, "RunInstances", &f, &opt, ran, b);
}

/* ---- an interface of its own, made before ---- */

static void
interface_made(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct batch *b = arg;
	struct ec2_machine *m;
	const char *id = xml_text(reply, "networkInterface/networkInterfaceId");
	struct err why = *err;

	if (b->e->closing) {
		while (!list_empty(&b->machines))
			list_remove(b->machines.next);
		free(b);
		return;
	}
	m = list_entry(b->machines.next, struct ec2_machine, in_gather);
	if (err->code == ERR_NONE && *id == '\0')
		err_set(&why, ERR_INTERNAL, "the reply has no networkInterfaceId");
	if (why.code != ERR_NONE) {
		if (is_lack(aws, err)) {
			elsewhere(m, &why);
			free(b);
		} else {
			batch_fail(b, &why);
		}
		return;
	}
	xstrset(&m->interfaces[0], id);
	if (m->ending) {
		err_set(&why, ERR_CANCELLED, "ended before it was launched");
		batch_fail(b, &why);
		return;
	}
	run(b);
}

static void
make_interface(struct batch *b)
{
	struct ec2_machine *m =
	    list_entry(b->machines.next, struct ec2_machine, in_gather);
	struct aws_call_options opt = {
	    .repeatable = true, .deadline_ms = LAUNCH_DEADLINE_MS};
	const struct ec2_list *groups = &m->opt.security_groups;
	struct aws_form f = {0};
	char token[65];

	tags_client_token(b->tokens, 1, ec2_place_zone(&m->opt, m->place), token);
	aws_form_add(&f, ec2_place_zone(&m->opt, m->place), "SubnetId");
	aws_form_add(&f, token, "ClientToken");
	for (int i = 0; i < groups->n; i++)
		aws_form_add(&f, groups->words[i], "SecurityGroupId.%d", i + 1);
	tags_of(&f, 1, "network-interface", m, b);
	ec2_query(m->e, "CreateNetworkInterface", &f, &opt, interface_made, b);
}

/* ---- gathering ---- */

static struct batch *
batch_new(struct ec2 *e)
{
	struct batch *b = xnew(struct batch);

	b->e = e;
	list_init(&b->machines);
	return b;
}

static void
batch_add(struct batch *b, struct ec2_machine *m)
{
	list_remove(&m->in_gather);
	list_push_back(&b->machines, &m->in_gather);
	(void)snprintf(b->tokens[b->n++].s, ID_MAX, "%s", m->token);
	ec2_machine_move(m, EC2_REQUESTED);
}

static bool
together(const struct ec2_machine *a, const struct ec2_machine *b)
{
	return !a->ending && a->place == b->place && strcmp(a->kind, b->kind) == 0;
}

/* Batches of about the same size, none above what the tags can name. */
static int
batch_size(const struct ec2 *e, const struct ec2_machine *first)
{
	const struct ec2_machine *m;
	int n = 0, batches;

	list_for_each (m, &e->gathered, in_gather)
		n += together(m, first);
	batches = (n + TAGS_TOKENS_MAX - 1) / TAGS_TOKENS_MAX;
	return first->opt.interfaces ? 1 : (n + batches - 1) / batches;
}

static void
flush(void *arg)
{
	struct ec2 *e = arg;

	while (!list_empty(&e->gathered)) {
		struct ec2_machine *first =
		    list_entry(e->gathered.next, struct ec2_machine, in_gather);
		struct ec2_machine *m, *tmp;
		struct batch *b;
		int size;

		if (first->ending) {
			struct err err;

			list_remove(&first->in_gather);
			err_set(&err, ERR_CANCELLED, "ended before it was launched");
			launch_failed(first, &err);
			continue;
		}
		size = batch_size(e, first);
		b = batch_new(e);
		batch_add(b, first);
		list_for_each_safe (m, tmp, &e->gathered, in_gather)
			if (b->n < size && together(m, first))
				batch_add(b, m);
		if (first->opt.interfaces && !first->interfaces[0])
			make_interface(b);
		else
			run(b);
	}
}

static void
gather(struct ec2_machine *m)
{
	struct ec2 *e = m->e;

	list_push_back(&e->gathered, &m->in_gather);
	if (!timer_is_on(&e->gather))
		timer_set(e->env.clock, &e->gather, EC2_GATHER_MS, flush, e);
}

static int
fill(struct ec2_machine *m, const struct launch_spec *s, struct err *err)
{
	if (ec2_options_parse(s->options, &m->opt, err) < 0)
		return err_wrap(err, "pool '%s'", s->pool);
	m->have_opt = true;
	m->tier = s->tier;
	m->pool = xstrdup(s->pool);
	m->image_id = xstrdup(s->image_version ? s->image_version : "");
	m->login = xstrdup(
	    m->opt.login ? m->opt.login
			 : ec2_image_login(&m->e->settings, s->image ? s->image : ""));
	m->user_keys = xstrdup_null(s->authorized_keys);
	m->user_ca = xstrdup(s->user_ca ? s->user_ca : "");
	m->keys = ec2_keys_new(s);
	m->kind = xasprintf("%s\n%s\n%d\n%lld\n%s\n%s\n%s\n%s", m->pool, m->image_id,
	    s->tier, (long long)s->lease_s, m->login, m->user_ca,
	    m->user_keys ? m->user_keys : "", s->options ? s->options : "");
	if (!id_valid(m->token, 'm'))
		return err_set(err, ERR_INVALID, "'%.32s' is no machine's id", m->token);
	if (m->opt.readiness == EC2_READY_SSH &&
	    ec2_trust_host_ca(m->e, m->keys->host_cert, err) < 0)
		return -1;
	m->place = ec2_place_next(m, 0);
	if (m->place < 0) {
		m->place = 0;
		err_set(err, ERR_NO_CAPACITY,
		    "no capacity lately for %s in any of its places",
		    m->opt.instance_types.words[0]);
		return err_hint(err, "name more instance_types or zones in the pool");
	}
	return 0;
}

void
ec2_launch(
    struct provider *p, const struct launch_spec *s, provider_launch_fn done, void *arg)
{
	struct ec2 *e = ec2_of(p);
	struct ec2_answer *a = ec2_answer_new(e, ANSWER_LAUNCH, arg);
	struct ec2_machine *m = map_get(&e->machines, s->token);
	struct err err;

	a->fn.launch = done;
	if (m && m->ref[0]) {
		ec2_answer_later(a, m->ref, &(struct err){0});
		return;
	}
	if (m) { /* under way already: both are answered, or sought */
		list_push_back(&m->launches, &a->in_machine);
		return;
	}
	m = ec2_machine_new(e, s->token);
	if (fill(m, s, &err) < 0) {
		ec2_machine_free(m);
		ec2_answer_later(a, NULL, &err);
		return;
	}
	list_push_back(&m->launches, &a->in_machine);
	ec2_machine_move(m, EC2_GATHERED);
	ec2_machine_end_at(m, clock_wall_ms(e->env.clock) + s->lease_s * 1000);
	gather(m);
}
