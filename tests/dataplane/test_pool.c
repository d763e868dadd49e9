/* SPDX-License-Identifier: Apache-2.0 */
/* The lane's buffer memory: sizes, exhaustion, merging, and a random model. */
#include "net/pool.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#define UNIT ((size_t)8 << 20)

Test(pool, refuses_less_than_one_unit)
{
	struct pool pool;

	cr_assert_eq(pool_init(&pool, UNIT - 1, -1), -EINVAL);
	pool_fini(&pool);
}

Test(pool, gives_powers_of_two_of_at_least_the_size)
{
	struct pool pool;
	size_t cap;

	cr_assert_eq(pool_init(&pool, UNIT, -1), 0);
	for (size_t bytes = 1; bytes <= UNIT; bytes = bytes * 3 + 1) {
		void *p = pool_get(&pool, bytes, &cap);

		cr_assert_not_null(p);
		cr_assert_geq(cap, bytes);
		cr_assert(cap == 512 || cap < 2 * bytes);
		cr_assert_eq(cap & (cap - 1), 0u);
		cr_assert_eq(pool.used, cap);
		pool_put(&pool, p);
		cr_assert_eq(pool.used, 0u);
	}
	pool_fini(&pool);
}

Test(pool, is_whole_again_after_everything_came_back)
{
	static void *blocks[UNIT / 512];
	struct pool pool;
	size_t cap, n = 0;

	cr_assert_eq(pool_init(&pool, 2 * UNIT, -1), 0);
	for (; n < SL_ARRAY_SIZE(blocks); n++)
		blocks[n] = pool_get(&pool, 512, &cap);
	cr_assert_not_null(blocks[n - 1]);
	cr_assert_null(pool_get(&pool, 2 * UNIT, &cap));
	for (size_t i = 0; i < n; i += 2)
		pool_put(&pool, blocks[i]);
	for (size_t i = 1; i < n; i += 2)
		pool_put(&pool, blocks[i]);
	void *all = pool_get(&pool, 2 * UNIT, &cap);

	cr_assert_not_null(all, "free runs were not merged");
	cr_assert_eq(cap, 2 * UNIT);
	cr_assert_null(pool_get(&pool, 1, &cap));
	pool_put(&pool, all);
	pool_fini(&pool);
}

Test(pool, gives_the_block_again_that_came_back_last)
{
	struct pool pool;
	size_t cap;

	cr_assert_eq(pool_init(&pool, UNIT, -1), 0);
	for (size_t bytes = 512; bytes <= (size_t)1 << POOL_KEPT_ORDER_MAX; bytes *= 2) {
		void *first = pool_get(&pool, bytes, &cap);
		void *second = pool_get(&pool, bytes, &cap);

		pool_put(&pool, second);
		pool_put(&pool, first);
		cr_assert_eq(pool_get(&pool, bytes, &cap), first);
		cr_assert_eq(cap, bytes);
		cr_assert_eq(pool_get(&pool, bytes, &cap), second);
		pool_put(&pool, first);
		pool_put(&pool, second);
		cr_assert_eq(pool.used, 0u);
	}
	pool_fini(&pool);
}

Test(pool, keeps_no_more_than_it_may)
{
	static void *blocks[2 * POOL_KEPT_BLOCKS];
	struct pool pool;
	size_t cap;

	cr_assert_eq(pool_init(&pool, UNIT, -1), 0);
	for (size_t i = 0; i < SL_ARRAY_SIZE(blocks); i++)
		blocks[i] = pool_get(&pool, 512, &cap);
	for (size_t i = 0; i < SL_ARRAY_SIZE(blocks); i++)
		pool_put(&pool, blocks[i]);
	cr_assert_eq(pool.kept[0].count, (uint32_t)POOL_KEPT_BLOCKS);
	pool_fini(&pool);
}

Test(pool, aborts_when_a_kept_block_comes_back_twice, .signal = SIGABRT)
{
	struct pool pool;
	size_t cap;

	cr_assert_eq(pool_init(&pool, UNIT, -1), 0);
	void *p = pool_get(&pool, 512, &cap);

	pool_put(&pool, p);
	pool_put(&pool, p);
}

Test(pool, never_gives_more_than_the_largest_run)
{
	struct pool pool;
	size_t cap;

	cr_assert_eq(pool_init(&pool, UNIT, -1), 0);
	cr_assert_null(pool_get(&pool, UNIT + 1, &cap));
	cr_assert_null(pool_get(&pool, SIZE_MAX, &cap));
	pool_put(&pool, NULL);
	pool_fini(&pool);
}

/* Fills every block with its own pattern: overlap of two live blocks would show. */
Test(pool, keeps_blocks_apart)
{
	struct {
		uint8_t *p;
		size_t cap;
		uint8_t mark;
	} live[64] = {{0}};
	struct pool pool;
	uint64_t seed = 12345;
	size_t used = 0;

	cr_assert_eq(pool_init(&pool, 2 * UNIT, -1), 0);
	for (unsigned step = 0; step < 20000; step++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		unsigned i = (unsigned)(seed >> 33) % SL_ARRAY_SIZE(live);

		if (live[i].p) {
			cr_assert_eq(live[i].p[0], live[i].mark);
			cr_assert_eq(live[i].p[live[i].cap - 1], live[i].mark);
			pool_put(&pool, live[i].p);
			used -= live[i].cap;
			live[i].p = NULL;
			continue;
		}
		live[i].p = pool_get(&pool, 1 + (size_t)(seed >> 20) % 300000, &live[i].cap);
		if (!live[i].p)
			continue;
		live[i].mark = (uint8_t)step;
		live[i].p[0] = live[i].p[live[i].cap - 1] = live[i].mark;
		used += live[i].cap;
		cr_assert_eq(pool.used, used);
	}
	pool_fini(&pool);
}
