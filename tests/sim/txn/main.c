/* SPDX-License-Identifier: Apache-2.0 */
/* sim-txn: the coordinators of transactions and of groups, with processes that use both. */
#include "txn_world.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Each planted bug is found within these. */
#define PLANT_SEEDS            3000

#define PLANT_NAME(name, text) #name,
static const char *const plant_names[] = {"none",
                                          WORLD_PLANTS(PLANT_NAME) GROUP_TXN_PLANTS(PLANT_NAME)};
#undef PLANT_NAME

enum group_plant group_plant;
enum world_plant world_plant;

static struct world_stats stats;

static bool play(uint64_t seed, bool is_traced, char text[RUNNER_TEXT_MAX])
{
	return txn_world_run(seed, is_traced, &stats, text);
}

/* Those of the world come first. */
static void plant(int number)
{
	bool is_worlds = number < WORLD_PLANT_NR;

	world_plant = is_worlds ? (enum world_plant)number : WORLD_SOUND;
	group_plant = is_worlds ? PLANT_NONE
	                        : (enum group_plant)(number - WORLD_PLANT_NR + PLANT_GROUP_NR + 1);
}

/* What a seed does depends on nothing else. */
static bool is_repeatable(uint64_t seed)
{
	struct world_stats a = {0};
	struct world_stats b = {0};
	char text[RUNNER_TEXT_MAX];

	return txn_world_run(seed, false, &a, text) && txn_world_run(seed, false, &b, text) &&
	       memcmp(&a, &b, sizeof(a)) == 0;
}

/* A world in which nothing happens proves nothing. */
static bool tell(uint64_t seeds)
{
	const struct world_stats *s = &stats;

	printf("sim-txn: %" PRIu64 " events, %" PRIu64 " commits, %" PRIu64 " aborts, %" PRIu64
	       " unknown, %" PRIu64 " records, %" PRIu64 " restarts, %" PRIu64 " refused, %" PRIu64
	       " fenced, %" PRIu64 " rotated\n",
	       s->events, s->told_commit, s->told_abort, s->unknown, s->records, s->restarts,
	       s->refused, s->fenced, s->rotated);
	printf("sim-txn: %" PRIu64 " inputs read, %" PRIu64 " offsets sent, %" PRIu64
	       " of stale members, %" PRIu64 " moved within, %" PRIu64 " unstable, %" PRIu64
	       " upgrades, %" PRIu64 " downgrades\n",
	       s->inputs, s->offsets, s->stale, s->moved, s->unstable, s->upgrades, s->downgrades);
	if (!is_repeatable(7)) {
		printf("sim-txn: one seed is not always the same world\n");
		return false;
	}
	return seeds < 20 ||
	       (s->told_commit > seeds * 5 && s->told_abort > seeds * 2 && s->unknown > seeds &&
	        s->offsets > seeds * 5 && s->fenced > seeds && s->restarts > seeds &&
	        s->refused > seeds && s->rotated > seeds / 2 && s->inputs > seeds * 5 &&
	        s->stale > seeds / 4 && s->moved > seeds / 4 && s->unstable > seeds / 10 &&
	        s->upgrades > seeds / 50 && s->downgrades > seeds / 50);
}

int main(int argc, char **argv)
{
	const struct runner r = {
		.name = "sim-txn",
		.play = play,
		.plant = plant,
		.plants = plant_names,
		.plants_count = (int)SL_ARRAY_SIZE(plant_names),
		.plant_seeds = PLANT_SEEDS,
		.tell = tell,
	};

	return runner_main(&r, argc, argv);
}
