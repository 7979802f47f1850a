/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: twenty thousand machines: what each costs in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

static struct world w;
static struct answer a;

static int
setup(void **state)
{
	world_init(&w);
	return 0;
}

static int
teardown(void **state)
{
	answer_fini(&a);
	world_fini(&w);
	return 0;
}

static void
full(void)
{
	world_start(&w);
	world_run(&w, 1500);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#include <malloc.h>

#include "base/log.h"

#define MACHINES 20000
#define BYTES_MAX 1500

static size_t
in_use(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static void
twenty_thousand(void **state)
{
	size_t before, each;

	w.pools[0].running = 1;
	w.pools[0].max = MACHINES;
	full();
	before = in_use();
	assert_int_equal(world_pool_set(&w, &root, MACHINES, -1), ERR_NONE);
	for (int i = 0; i < 600 && world_pool(&w, "default").ready < MACHINES; i++)
		world_run(&w, 1000);
	world_run(&w, 5000);
	assert_int_equal(world_pool(&w, "default").ready, MACHINES);
	each = (in_use() - before) / MACHINES;
	print_message(
	    "%zu bytes for each of %d machines, the fake provider's part included\n",
	    each, MACHINES);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip(); /* their allocators do not count */
#endif
	assert_in_range(each, 100, BYTES_MAX);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(twenty_thousand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
