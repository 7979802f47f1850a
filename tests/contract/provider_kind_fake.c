/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "provider/fake.h"
#include "provider_fixture.h"

static bool
possible(void)
{
	return true;
}

static int
open_fake(struct provider_fixture *fx)
{
	struct fake_options opt = {.launch_ms = 50,
	    .launch_jitter_ms = 20,
	    .terminate_ms = 30,
	    .deadline_ms = 5,
	    .setup_ms = 10,
	    .contact_ms = 5,
	    .image_ms = 20,
	    .seed = 1};
	struct provider_env env;
	struct err err;

	if (!fx->clock) {
		strcpy(fx->path, "/tmp/hearth-fake-XXXXXX");
		close(mkstemp(fx->path));
		fx->clock = clock_new_sim(1790000000000);
	}
	fx->image = "debian";
	opt.world = fx->path;
	env = provider_fixture_env(fx);
	if (fake_provider_open(&opt, &env, &fx->provider, &err) < 0)
		fail_msg("%s", err.msg);
	return 0;
}

static void
turn(struct provider_fixture *fx, int64_t ms)
{
	clock_sim_advance(fx->clock, ms);
}

static void
closed(struct provider_fixture *fx, bool final)
{
	assert_int_equal(clock_next_ms(fx->clock), -1); /* no timer was forgotten */
	if (!final)
		return;
	clock_free(fx->clock);
	assert_int_equal(unlink(fx->path), 0);
}

const struct provider_kind_ops provider_kind_fake = {
    .name = "fake",
    .possible = possible,
    .open = open_fake,
    .turn = turn,
    .closed = closed,
};
