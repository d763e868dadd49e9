/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seeds of the world in txn_world.c: the coordinators that ship hold what they promise, and
 * mistakes that are planted are found.  SEEDS=n runs that many (make sim), SEED=n just that one.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/hash.h"

#include "txn_world.h"

#ifdef SL_SANITIZED
#define SEEDS_DEFAULT 40 /* each takes ten times as long */
#else
#define SEEDS_DEFAULT 200
#endif
/* Every planted mistake is found within these. */
#define SEEDS_BUG 60

static uint64_t env_number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && text[0] ? strtoull(text, NULL, 10) : otherwise;
}

static void setup(void)
{
	/* What a seed does must not depend on the process. */
	sl_map_seed(1);
}

TestSuite(txn_sim, .init = setup);

Test(txn_sim, holds_for_all_seeds, .timeout = 3600)
{
	uint64_t first = env_number("SEED", 1);
	uint64_t count = getenv("SEED") ? 1 : env_number("SEEDS", SEEDS_DEFAULT);
	struct world_stats stats = {0};
	char text[WORLD_TEXT_MAX];

	for (uint64_t i = 0; i < count; i++)
		cr_assert(world_run(first + i, WORLD_SOUND, &stats, text), "SEED=%" PRIu64 ": %s",
		          first + i, text);
	printf("txn_sim: %" PRIu64 " seeds, %" PRIu64 " events, %" PRIu64 " commits, %" PRIu64
	       " aborts, %" PRIu64 " unknown, %" PRIu64 " records, %" PRIu64 " offsets, %" PRIu64
	       " fenced, %" PRIu64 " restarts, %" PRIu64 " refused\n",
	       count, stats.events, stats.told_commit, stats.told_abort, stats.unknown,
	       stats.records, stats.offsets, stats.fenced, stats.restarts, stats.refused);
	if (count < 20)
		return;
	/* A world in which nothing happens proves nothing. */
	cr_assert_gt(stats.told_commit, count * 5);
	cr_assert_gt(stats.told_abort, count * 2);
	cr_assert_gt(stats.unknown, count);
	cr_assert_gt(stats.offsets, count * 5);
	cr_assert_gt(stats.fenced, count);
	cr_assert_gt(stats.restarts, count);
	cr_assert_gt(stats.refused, count);
	cr_assert_gt(stats.rotated, count / 2);
}

Test(txn_sim, is_the_same_for_the_same_seed)
{
	struct world_stats a = {0};
	struct world_stats b = {0};
	char text[WORLD_TEXT_MAX];

	cr_assert(world_run(7, WORLD_SOUND, &a, text));
	cr_assert(world_run(7, WORLD_SOUND, &b, text));
	cr_assert_eq(memcmp(&a, &b, sizeof(a)), 0);
}

ParameterizedTestParameters(txn_sim, finds_a_planted_mistake)
{
	static int bugs[WORLD_BUG_NR - 1];

	for (int i = 1; i < WORLD_BUG_NR; i++)
		bugs[i - 1] = i;
	return cr_make_param_array(int, bugs, WORLD_BUG_NR - 1);
}

ParameterizedTest(int *bug, txn_sim, finds_a_planted_mistake)
{
	struct world_stats stats = {0};
	char text[WORLD_TEXT_MAX];
	uint64_t seed = 1;

	while (seed <= SEEDS_BUG && world_run(seed, (enum world_bug) * bug, &stats, text))
		seed++;
	cr_assert_leq(seed, SEEDS_BUG, "mistake %d is not found", *bug);
	printf("txn_sim: mistake %d found by seed %" PRIu64 ": %s\n", *bug, seed, text);
}
