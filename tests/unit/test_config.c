/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: what hearth.yaml(5) allows is read as written, and everything else is refused
   with file, line, column and what was expected; a hostile file costs no more than its
   size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "daemon/config.h"
#include "yaml/tree.h"

#define PROVIDERS "providers:\n  here: {kind: local}\n  sim: {kind: fake}\n"

static struct config *
must_parse(const char *text)
{
	struct config *c = NULL;
	struct err err = {0};

	if (config_parse("t.yaml", text, strlen(text), &c, &err) < 0)
		fail_msg("refused: %s", err.msg);
	return c;
}

static void
must_refuse_bytes(const char *text, size_t n, const char *message)
{
	struct config *c = NULL;
	struct err err = {0};

	if (config_parse("t.yaml", text, n, &c, &err) == 0) {
		config_free(c);
		fail_msg("taken, but expected: %s", message);
	}
	assert_int_equal(err.code, ERR_INVALID);
	if (!strstr(err.msg, message))
		fail_msg("expected: %s\n     got: %s", message, err.msg);
}

static void
must_refuse(const char *text, const char *message)
{
	must_refuse_bytes(text, strlen(text), message);
}

static void
reads_the_contract_example(void **state)
{
	struct config *c = must_parse(
	    "# hearthd --config hearth.yaml\n"
	    "state: /var/lib/hearth            # database, CAs, images, machines\n"
	    "socket: /run/hearth/hearth.sock\n"
	    "providers:\n"
	    "  here: {kind: local, network: 10.213.0.0/16}   # refused when it overlaps\n"
	    "  sim:  {kind: fake, launch: 50ms}              # takes any image name\n"
	    "pools:\n"
	    "  default: {provider: here, image: debian, running: 2, max: 20}\n"
	    "  build:   {provider: here, image: debian, running: 1, max: 4, memory: 4G, "
	    "cpus: 2, max_age: 8h, "
	    "max_usd_per_day: 5,\n"
	    "            setup: [\"apt-get install -y git\"]}\n");
	const struct pool *p = &c->pools[1];

	assert_string_equal(c->state, "/var/lib/hearth");
	assert_string_equal(c->runtime, "/run/hearth");
	assert_string_equal(c->user, "hearth");
	assert_int_equal(c->socket_mode, 0666);
	assert_int_equal(c->default_hold_ms, 8 * 3600 * 1000);
	assert_int_equal(c->max_hold_ms, 168 * 3600 * 1000);
	assert_int_equal(c->n_providers, 2);
	assert_string_equal(config_local(c)->network, "10.213.0.0/16");
	assert_int_equal(c->providers[1].kind, PROVIDER_FAKE);
	assert_int_equal(c->providers[1].fake.launch_ms, 50);
	assert_int_equal(c->n_pools, 2);
	assert_string_equal(p->name, "build");
	assert_string_equal(p->provider, "here");
	assert_true(p->memory_bytes == UINT64_C(4) << 30);
	assert_int_equal(p->cpu_milli, 2000);
	assert_int_equal(p->max_age_ms, 8 * 3600 * 1000);
	assert_true(p->max_usd_per_day == 5);
	assert_int_equal(p->n_setup, 1);
	assert_string_equal(p->setup[0], "apt-get install -y git");
	config_free(c);
}

#define AWS                                                                              \
	"providers:\n  aws: {kind: ec2, region: us-west-2}\npools:\n  p: {provider: "    \
	"aws, image: debian, "

/* What a pool on ec2 says reaches the provider as one text; its account is its image's unless it names one. */
static void
reads_ec2(void **state)
{
	struct config *c = must_parse(
	    "providers:\n"
	    "  aws: {kind: ec2, region: us-west-2, endpoint: \"http://127.0.0.1:4566\", "
	    "profile: dev, speed: 0,\n"
	    "        events_queue: \"https://sqs.us-west-2.amazonaws.com/1/q\",\n"
	    "        images: {mine: {owner: self, name: \"mine-*\", login: me}}}\n"
	    "pools:\n"
	    "  a: {provider: aws, image: mine, stopped: 1, hibernated: 1, "
	    "instance_types: [m7i.large, m6i.large],\n"
	    "      zones: [us-west-2a], security_groups: sg-1, spot: true, volume_size: "
	    "30G, volume_type: gp3,\n"
	    "      key_name: k, instance_profile: p, access: inject, readiness: ssh, "
	    "address: private}\n"
	    "  b: {provider: aws, image: amazon-linux-2023, login: dev}\n"
	    "  c: {provider: aws, image: debian, interfaces: true, subnets: "
	    "[subnet-1]}\n");
	const struct ec2_settings *s = &c->providers[0].ec2;

	assert_int_equal(c->providers[0].kind, PROVIDER_EC2);
	assert_string_equal(s->region, "us-west-2");
	assert_string_equal(s->endpoint, "http://127.0.0.1:4566");
	assert_string_equal(s->profile, "dev");
	assert_string_equal(s->events_queue, "https://sqs.us-west-2.amazonaws.com/1/q");
	assert_true(s->speed < 0);
	assert_int_equal(s->n_images, 1);
	assert_string_equal(s->images[0].image, "mine");
	assert_string_equal(s->images[0].name, "mine-*");
	assert_string_equal(c->pools[0].options,
	    "instance_types=m7i.large,m6i.large\nzones=us-west-2a\nsecurity_groups=sg-1\n"
	    "spot=true\nvolume_size=30G\nvolume_type=gp3\nkey_name=k\n"
	    "instance_profile=p\naccess=inject\nreadiness=ssh\naddress=private\n"
	    "login=me\n");
	assert_string_equal(c->pools[0].login, "me");
	assert_int_equal(c->pools[0].hibernated, 1);
	assert_string_equal(c->pools[1].options, "login=dev\n");
	assert_string_equal(c->pools[1].login, "dev");
	assert_string_equal(c->pools[2].login, "admin");
	config_free(c);
}

static void
refuses_wrong_ec2(void **state)
{
	must_refuse("providers:\n  x: {kind: ec2, region: \"us west\"}\n",
	    "t.yaml:2:26: providers.x.region: expected a region, as in us-west-2");
	must_refuse("providers:\n  x: {kind: ec2, endpoint: here}\n",
	    "providers.x.endpoint: expected a URL");
	must_refuse("providers:\n  x: {kind: ec2, endpoint: \"http://a:b@c\"}\n",
	    "expected a URL without a password");
	must_refuse("providers:\n  x: {kind: ec2, speed: -1}\n",
	    "providers.x.speed: expected how much faster");
	must_refuse("providers:\n  x: {kind: ec2, network: 10.0.0.0/16}\n",
	    "providers.x.network: unknown key: expected one of kind, region,");
	must_refuse("providers:\n  x: {kind: ec2, images: {m: {name: a}}}\n",
	    "providers.x.images.m: 'owner' is missing");
	must_refuse(
	    "providers:\n  x: {kind: ec2, images: {m: {owner: self, name: a, login: "
	    "root}}}\n",
	    "login: expected an account other than root");
	must_refuse(AWS "instance_types: [m7i]}\n",
	    "t.yaml:4:53: pools.p.instance_types: expected a list of instance types");
	must_refuse(AWS "instance_types: [\"a.b,c.d\"]}\n",
	    "pools.p.instance_types: expected a list of names");
	must_refuse(AWS "instance_types: {a: b}}\n",
	    "pools.p.instance_types: expected a name or a list of names");
	must_refuse(AWS "zones: []}\n", "pools.p.zones: expected a name or a list");
	must_refuse(AWS "zones: [\"a b\"]}\n", "pools.p.zones: expected a list of names");
	must_refuse(
	    AWS "subnets: [a]}\n", "pools.p.subnets: expected a list of subnet ids");
	must_refuse(AWS "zones: a, subnets: subnet-1}\n",
	    "pools.p: zones and subnets: expected one of them");
	must_refuse(AWS "interfaces: true}\n", "pools.p: interfaces: expected subnets");
	must_refuse(AWS "spot: 1}\n", "pools.p.spot: expected true or false, got '1'");
	must_refuse(AWS "volume_size: 30}\n", "pools.p.volume_size: expected a size");
	must_refuse(AWS "volume_size: 17T}\n", "pools.p.volume_size: expected a size");
	must_refuse(AWS "volume_type: ssd}\n", "pools.p.volume_type: expected gp3,");
	must_refuse(AWS "access: password}\n", "pools.p.access: expected certificate,");
	must_refuse(AWS "login: \"a;b\"}\n", "pools.p.login: expected an account's name");
	must_refuse(
	    AWS "readiness: yes}\n", "pools.p.readiness: expected ssh or running");
	must_refuse(AWS "address: elastic}\n", "pools.p.address: expected auto,");
	must_refuse(AWS "memory: 4G}\n", "pools.p.memory: unknown key");
	must_refuse(AWS "readiness: running, setup: [a]}\n",
	    "pools.p: setup: expected none where readiness is running");
	must_refuse(PROVIDERS "pools:\n  p: {provider: sim, image: a, spot: true}\n",
	    "pools.p.spot: unknown key");
}

static void
reads_every_other_setting(void **state)
{
	struct config *c =
	    must_parse("state: /s/\nsocket: /r/x.sock\nsocket_mode: 0660\nsocket_group: "
		       "staff\nuser: nobody\nruntime: /run/h\n"
		       "log_level: debug\ndefault_hours: 0.5\nmax_hours: 2\n"
		       "providers:\n"
		       "  f: {kind: fake, launch: 2s, launch_jitter: 1s, terminate: 3ms, "
		       "setup: 1m, contact: 0,\n"
		       "      deadline: 4ms, image: 1.5s, die_after: 7d, fail_launch: "
		       "0.25, fail_launch_first: 3, fail_setup: 1,\n"
		       "      fail_contact: 0.1, lose_reply: 0.01, capacity: 300, "
		       "usd_per_hour: 0.1, seed: 42}\n"
		       "pools:\n"
		       "  a: {provider: f, image: any.thing-1, running: 0, stopped: 0, "
		       "hibernated: 0, max: 0, memory: 512M,\n"
		       "      cpus: 0.25, pids: 512, nesting: true, usd_per_hour: 0.2, "
		       "setup_timeout: 90s, ready_timeout: 20s}\n");
	const struct fake_options *f = &c->providers[0].fake;

	assert_string_equal(c->state, "/s");
	assert_int_equal(c->socket_mode, 0660);
	assert_string_equal(c->socket_group, "staff");
	assert_string_equal(c->runtime, "/run/h");
	assert_int_equal(c->log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(c->default_hold_ms, 1800 * 1000);
	assert_int_equal(f->image_ms, 1500);
	assert_int_equal(f->die_after_ms, INT64_C(7) * 86400 * 1000);
	assert_int_equal(f->setup_ms, 60000);
	assert_int_equal(f->fail_launch_first, 3);
	assert_true(f->fail_launch == 0.25 && f->lose_reply == 0.01);
	assert_int_equal(f->capacity, 300);
	assert_int_equal(f->seed, 42);
	assert_int_equal(c->pools[0].cpu_milli, 250);
	assert_true(c->pools[0].nesting);
	assert_int_equal(c->pools[0].pids_max, 512);
	assert_int_equal(c->pools[0].setup_timeout_ms, 90000);
	assert_int_equal(c->pools[0].ready_timeout_ms, 20000);
	config_free(c);
}

static void
efs_is_a_provider_s(void **state)
{
	struct config *c = must_parse(
	    "providers:\n  a: {kind: ec2, region: us-east-1, efs: {file_system: "
	    "fs-0123456789abcdef0, security_groups: [sg-01234567, sg-89abcdef]}}\n");

	assert_string_equal(c->providers[0].ec2.efs_file_system, "fs-0123456789abcdef0");
	assert_int_equal(c->providers[0].ec2.n_efs_groups, 2);
	assert_string_equal(c->providers[0].ec2.efs_groups[1], "sg-89abcdef");
	config_free(c);
	must_refuse("providers:\n  a: {kind: ec2, efs: {file_system: fs-XYZ}}\n",
	    "providers.a.efs.file_system: expected the id of a file system");
	must_refuse(
	    "providers:\n  a: {kind: ec2, efs: {file_system: \"fs-01234567; x\"}}\n",
	    "expected the id of a file system");
	must_refuse("providers:\n  a: {kind: ec2, efs: {security_groups: []}}\n",
	    "expected a list of 1 to 5 ids");
	must_refuse("providers:\n  a: {kind: ec2, efs: {security_groups: [default]}}\n",
	    "expected the id of a security group");
}

/* Where it costs nothing it is there unasked. */
static void
shared_homes_are_the_default_on_this_host_alone(void **state)
{
	struct config *c =
	    must_parse("providers:\n  l: {kind: local}\n  f: {kind: fake}\n"
		       "pools:\n  a: {provider: l, image: i}\n"
		       "  b: {provider: l, image: i, shared_home: false}\n"
		       "  c: {provider: f, image: i}\n"
		       "  d: {provider: f, image: i, shared_home: true}\n");

	assert_true(c->pools[0].shared_home);
	assert_false(c->pools[1].shared_home);
	assert_false(c->pools[2].shared_home);
	assert_true(c->pools[3].shared_home);
	config_free(c);
}

static void
refuses_wrong_keys(void **state)
{
	must_refuse("stat: /x\n",
	    "t.yaml:1:1: stat: unknown key: expected one of state, socket, ");
	must_refuse("state: /x\n\nstate: /y\n",
	    "t.yaml:3:1: state: given twice, first in line 1");
	must_refuse(PROVIDERS "pools:\n  p: {provider: sim, image: i, runing: 2}\n",
	    "t.yaml:5:32: pools.p.runing: unknown key: expected one of provider, image, "
	    "running");
	must_refuse("providers:\n  x: {kind: local, launch: 50ms}\n",
	    "t.yaml:2:20: providers.x.launch: unknown key: expected one of kind, "
	    "network, uid_base, disks_max");
	must_refuse("providers:\n  x: {launch: 50ms}\n",
	    "t.yaml:2:6: providers.x: 'kind' is missing");
	must_refuse(
	    "providers:\n  a/b: {kind: fake}\n", "t.yaml:2:3: providers.a/b: not a name");
	must_refuse(PROVIDERS "pools:\n  ..: {provider: sim, image: i}\n",
	    "pools...: not a name");
	must_refuse(PROVIDERS "pools:\n  p: {image: i}\n",
	    "t.yaml:5:6: pools.p: 'provider' is missing");
	must_refuse(
	    PROVIDERS "pools:\n  p: {provider: sim}\n", "pools.p: 'image' is missing");
}

static void
refuses_wrong_values(void **state)
{
	static const struct {
		const char *pool, *message;
	} wrong[] = {
	    {"running: -1",
		"pools.p.running: expected a whole number from 0 to 100000, got '-1'"},
	    {"running: 1.5", "got '1.5'"},
	    {"running: 0x10", "got '0x10'"},
	    {"running: 1e3", "got '1e3'"},
	    {"running: 99999999999999999999", "expected a whole number"},
	    {"running: [1]", "expected a whole number from 0 to 100000, got a list"},
	    {"running: {}", "got a mapping"},
	    {"running: ''", "got ''"},
	    {"running: 5, max: 4", "t.yaml:5:41: pools.p.running: 5 is more than max, 4"},
	    {"stopped: 1, max: 1",
		"running, stopped and hibernated are 2 together, more than max, 1"},
	    {"stopped: -1", "pools.p.stopped: expected a whole number"},
	    {"hibernated: 20", "are 21 together, more than max, 20"},
	    {"hedge: 1", "pools.p.hedge: expected true or false"},
	    {"memory: 512",
		"pools.p.memory: expected a size (512M, 20G) from 32M to 64T, got '512'"},
	    {"memory: 1M", "from 32M to 64T, got '1M'"},
	    {"memory: 4GB", "got '4GB'"},
	    {"memory: -4G", "got '-4G'"},
	    {"cpus: 0", "expected a number of CPUs from 0.01 to 1024"},
	    {"cpus: nan", "got 'nan'"},
	    {"pids: 1", "expected a whole number from 16"},
	    {"nesting: yes", "expected true or false, got 'yes'"},
	    {"nesting: 'true'", "expected true or false"},
	    {"max_age: 8",
		"expected a duration (50ms, 30s, 5m, 2h, 7d) from 1s to 365d, got '8'"},
	    {"max_age: 8 h", "got '8 h'"},
	    {"max_age: 0", "from 1s"},
	    {"max_usd_per_day: -1", "expected an amount of dollars"},
	    {"max_usd_per_day: inf", "got 'inf'"},
	    {"setup: apt-get", "expected a list of commands"},
	    {"setup: ['']", "expected a command for sh"},
	    {"setup: [[a]]", "expected a command for sh"},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		AUTO_BUF struct buf b = BUF_INIT(0);

		buf_fmt(&b, PROVIDERS "pools:\n  p: {provider: sim, image: i, %s}\n",
		    wrong[i].pool);
		must_refuse(b.data, wrong[i].message);
	}
	must_refuse(PROVIDERS "pools:\n  p: {provider: gone, image: i}\n",
	    "t.yaml:5:17: pools.p.provider: there is no provider 'gone'");
	must_refuse(PROVIDERS "pools:\n  p: {provider: here, image: i, stopped: 2}\n",
	    "local has no stopped tier");
	must_refuse(PROVIDERS "pools:\n  p: {provider: here, image: i, hibernated: 2}\n",
	    "local has no hibernated tier");
	must_refuse(PROVIDERS "pools:\n  p: 3\n", "pools.p: expected a mapping");
	must_refuse("pools: []\n", "pools: expected a mapping of names, got a list");
	must_refuse("state: var/lib\n",
	    "t.yaml:1:8: state: expected an absolute path, got 'var/lib'");
	must_refuse("state: [a]\n", "state: expected an absolute path, got a list");
	must_refuse(
	    "socket_mode: 999\n", "expected an octal mode, as in 0660, got '999'");
	must_refuse("log_level: loud\n", "expected error, warn, info or debug");
	must_refuse("default_hours: 0\n", "expected a number of hours, more than 0");
	must_refuse("default_hours: -1\n", "expected a number of hours");
	must_refuse("default_hours: 9\nmax_hours: 8\n",
	    "t.yaml:1:16: default_hours: more than max_hours");
	must_refuse("max_hours: 4\n", "default_hours: more than max_hours");
	must_refuse("providers:\n  x: {kind: kubernetes}\n",
	    "'kubernetes' is not available in this version");
	must_refuse("providers:\n  x: {kind: vmware}\n",
	    "t.yaml:2:13: providers.x.kind: expected local, fake or ec2");
	must_refuse("providers:\n  x: {kind: local, network: 10.0.0.0}\n",
	    "t.yaml:2:29: providers.x.network: ");
	must_refuse("providers:\n  x: {kind: local, network: 10.0.0.1/16}\n",
	    "providers.x.network: ");
	must_refuse("providers:\n  x: {kind: local, uid_base: 1}\n",
	    "expected a whole number from 100000 to ");
	must_refuse("providers:\n  x: {kind: fake, fail_launch: 1.1}\n",
	    "expected a probability from 0 to 1");
	must_refuse("providers:\n  x: {kind: local}\n  y: {kind: local}\n",
	    "t.yaml:3:6: providers.y: a second provider of kind local");
}

static void
refuses_paths_the_kernel_cannot_take(void **state)
{
	AUTO_BUF struct buf b = BUF_INIT(0);

	buf_str(&b, "socket: /");
	for (int i = 0; i < 110; i++)
		buf_char(&b, 'a');
	must_refuse(
	    b.data, "socket: the path is 111 characters long: expected at most 107");
	buf_reset(&b);
	buf_str(&b, "socket: /x.sock\nruntime: /");
	for (int i = 0; i < 80; i++)
		buf_char(&b, 'a');
	must_refuse(b.data,
	    "t.yaml:2:10: the runtime directory's path is too long: expected at most 7");
}

static void
refuses_what_is_not_plain_yaml(void **state)
{
	must_refuse("", "expected a mapping of settings");
	must_refuse("- a\n", "expected a mapping of settings");
	must_refuse("hello\n", "expected a mapping of settings");
	must_refuse("state: &a /x\n", "t.yaml:1:8: anchors are not supported");
	must_refuse("providers: &a {}\n", "anchors are not supported");
	must_refuse("state: *a\n", "aliases are not supported");
	must_refuse("state: !!str /x\n", "tags are not supported");
	must_refuse(
	    "state: /x\n---\nstate: /y\n", "t.yaml:2:1: expected one document only");
	must_refuse("state: [\n", "t.yaml:2:1: not YAML: ");
	must_refuse("state: \"a\\0b\"\n", "holds a NUL character");
	must_refuse("\tstate: /x\n", "not YAML");
	must_refuse("? {a: b}\n: c\n", "expected a name as the key");
	must_refuse_bytes("state: /\xff\xfe\n", 11, "t.yaml: byte ");
	must_refuse("\"st\\nate\": /x\n", "st?ate: unknown key");
}

/* Each of these is near the bound of a file, and must be refused in a moment. */
static void
refuses_bombs(void **state)
{
	AUTO_BUF struct buf b = BUF_INIT(0);

	for (int i = 0; i < 1000000; i++)
		buf_char(&b, '[');
	must_refuse(b.data, "expected a mapping of settings");
	buf_reset(&b);
	buf_str(&b, "state: ");
	for (int i = 0; i < 1000000; i++)
		buf_char(&b, i % 2 ? ' ' : '[');
	must_refuse(b.data, "nested too deeply");
	buf_reset(&b);
	for (int i = 0; i < 2000; i++)
		buf_fmt(&b, "k%d: 1\n", i);
	must_refuse(b.data, "t.yaml:1001:1: too many entries");
	buf_reset(&b);
	for (int i = 0; i < TREE_TEXT_MAX; i++)
		buf_str(&b, "#");
	buf_str(&b, "#");
	must_refuse(b.data, "larger than 1 MiB");
	buf_reset(&b);
	buf_str(&b, "state: /");
	for (int i = 0; i < 100000; i++)
		buf_char(&b, 'a');
	must_refuse(b.data, "too long");
}

static void
reload_knows_what_needs_a_restart(void **state)
{
	static const struct {
		const char *text, *setting;
	} cases[] = {
	    {"state: /a\nproviders: {f: {kind: fake}}\npools: {p: {provider: f, image: "
	     "i}}\nlog_level: debug\n"
	     "default_hours: 1\n",
		NULL},
	    {"state: /b\nproviders: {f: {kind: fake}}\n", "'state'"},
	    {"state: /a\nsocket: /c\nproviders: {f: {kind: fake}}\n", "'socket'"},
	    {"state: /a\nsocket_mode: 0600\nproviders: {f: {kind: fake}}\n", "'socket'"},
	    {"state: /a\nuser: x\nproviders: {f: {kind: fake}}\n", "'user'"},
	    {"state: /a\nruntime: /r\nproviders: {f: {kind: fake}}\n", "'runtime'"},
	    {"state: /a\nproviders: {f: {kind: fake, launch: 1s}}\n", "'providers'"},
	    {"state: /a\nproviders: {g: {kind: fake}}\n", "'providers'"},
	    {"state: /a\n", "'providers'"},
	};
	struct config *old = must_parse("state: /a\nproviders: {f: {kind: fake}}\n");

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct config *new = must_parse(cases[i].text);
		struct err err = {0};
		int rc = config_check_reload(old, new, &err);

		assert_int_equal(rc, cases[i].setting ? -1 : 0);
		if (cases[i].setting)
			assert_non_null(strstr(err.msg, cases[i].setting));
		config_free(new);
	}
	config_free(old);
}

static void
files_that_cannot_be_read(void **state)
{
	struct config *c = NULL;
	struct err err = {0};

	assert_int_equal(config_load("/nonexistent/hearth.yaml", &c, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
	assert_string_equal(err.msg,
	    "/nonexistent/hearth.yaml: cannot be opened: No such file or directory");
	assert_int_equal(config_load("/tmp", &c, &err), -1);
	assert_string_equal(err.msg, "/tmp: a directory: expected a configuration file");
	assert_int_equal(config_load("/dev/zero", &c, &err), -1);
	assert_string_equal(
	    err.msg, "/dev/zero: larger than 1 MiB: expected a configuration file");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_the_contract_example),
	    cmocka_unit_test(reads_ec2),
	    cmocka_unit_test(refuses_wrong_ec2),
	    cmocka_unit_test(reads_every_other_setting),
	    cmocka_unit_test(efs_is_a_provider_s),
	    cmocka_unit_test(shared_homes_are_the_default_on_this_host_alone),
	    cmocka_unit_test(refuses_wrong_keys),
	    cmocka_unit_test(refuses_wrong_values),
	    cmocka_unit_test(refuses_paths_the_kernel_cannot_take),
	    cmocka_unit_test(refuses_what_is_not_plain_yaml),
	    cmocka_unit_test(refuses_bombs),
	    cmocka_unit_test(reload_knows_what_needs_a_restart),
	    cmocka_unit_test(files_that_cannot_be_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
