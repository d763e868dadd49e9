/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim-group [--from N] [--seeds N] [--trace] [--plant NAME] [--plants]
 *
 * Runs seeds; prints the first one that breaks a rule and ends with 1.  --plants plants each bug in
 * turn and ends with 1 if one of them is not found.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "world.h"

#define CHAOS_MS      90000
#define CALM_MS       90000
/* A planted bug is to be found within so many seeds. */
#define PLANT_SEEDS   3000
/* More and more of what goes on is spoiled by a clock that stands still. */
#define CLOCK_STEP_MS 40

enum group_plant group_plant;

static const char *const plant_names[PLANT_NR] = {[PLANT_NONE] = "none",
#define PLANT_NAME(name, text) [PLANT_##name] = #name,
                                                  GROUP_PLANTS(PLANT_NAME)
#undef PLANT_NAME
};

static void churn(struct world *w)
{
	int8_t index = (int8_t)world_below(w, CLIENTS);
	struct client *c = &w->clients[index];

	if (!c->is_alive) {
		bool is_classic = w->has_classic && (!w->has_consumer || world_below(w, 2) == 0);

		client_start(w, index, is_classic);
	} else if (world_below(w, 2) == 0) {
		client_leave(w, index);
	} else {
		client_crash(w, index);
	}
}

static void advance(struct world *w)
{
	int64_t step_ms = 1 + world_below(w, CLOCK_STEP_MS);

	w->now_ms += step_ms;
	w->wall_ms += step_ms;
	if (world_fault(w, 2))
		w->now_ms += world_below(w, SESSION_MS);
	if (world_fault(w, 2))
		w->wall_ms += (int64_t)world_below(w, 7200000) - 3600000;
	for (int8_t i = 0; i < CLIENTS && !w->failure; i++)
		client_run(w, i);
	world_run(w);
}

/* A consumer that may not join the group that there is would ask for ever. */
static void end_those_without_hope(struct world *w)
{
	const struct group *g = world_group(w);

	if (w->opts.migration == GROUP_MIGRATE_BOTH || w->opts.migration == GROUP_MIGRATE_UPGRADE)
		return;
	for (int8_t i = 0; i < CLIENTS; i++) {
		if (w->clients[i].is_alive && !w->clients[i].is_classic && g && !g->consumer &&
		    g->members_by_id.count > 0)
			client_crash(w, i);
	}
}

static void run_seed(struct world *w, uint64_t seed, bool is_traced)
{
	int64_t end_ms;

	world_init(w, seed, is_traced);
	end_ms = w->now_ms + CHAOS_MS;
	while (w->now_ms < end_ms && !w->failure) {
		if (world_below(w, 1000) < 12)
			churn(w);
		if (world_fault(w, 2))
			world_change_topics(w);
		if (world_fault(w, 2))
			world_move_replicas(w);
		if (world_fault(w, 2))
			world_restart(w);
		advance(w);
	}
	world_trace(w, "calm");
	w->is_calm = true;
	end_ms = w->now_ms + CALM_MS;
	while (w->now_ms < end_ms && !w->failure) {
		end_those_without_hope(w);
		advance(w);
	}
	if (!w->failure)
		check_end(w);
	world_fini(w);
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Return: the first seed that breaks a rule; 0 none did. */
static uint64_t run_seeds(struct world *w, uint64_t from, uint64_t count, bool is_traced,
                          uint64_t *steps)
{
	for (uint64_t seed = from; seed < from + count; seed++) {
		run_seed(w, seed, is_traced);
		*steps += w->steps;
		if (w->failure)
			return seed;
	}
	return 0;
}

static int run_plants(struct world *w)
{
	int missed = 0;

	for (int i = PLANT_NONE + 1; i < PLANT_NR; i++) {
		uint64_t steps = 0;
		uint64_t seed;

		group_plant = (enum group_plant)i;
		seed = run_seeds(w, 1, PLANT_SEEDS, false, &steps);
		if (seed)
			printf("sim-group: plant %s found by seed %llu: %s\n", plant_names[i],
			       (unsigned long long)seed, w->failure);
		else
			printf("sim-group: plant %s NOT FOUND\n", plant_names[i]);
		missed += seed == 0;
	}
	return missed > 0;
}

static bool set_plant(const char *name)
{
	for (int i = 0; i < PLANT_NR; i++) {
		if (strcmp(plant_names[i], name) == 0) {
			group_plant = (enum group_plant)i;
			return true;
		}
	}
	return false;
}

int main(int argc, char **argv)
{
	struct world *w = calloc(1, sizeof(*w));
	uint64_t from = 1;
	uint64_t count = 100;
	uint64_t steps = 0;
	bool is_traced = false;
	double start = seconds();
	uint64_t seed;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--plants") == 0)
			return run_plants(w);
		if (strcmp(argv[i], "--trace") == 0)
			is_traced = true;
		else if (i + 1 < argc && strcmp(argv[i], "--from") == 0)
			from = strtoull(argv[++i], NULL, 10);
		else if (i + 1 < argc && strcmp(argv[i], "--seeds") == 0)
			count = strtoull(argv[++i], NULL, 10);
		else if (i + 1 < argc && strcmp(argv[i], "--plant") == 0 && set_plant(argv[i + 1]))
			i++;
		else {
			fprintf(stderr, "usage: sim-group [--from N] [--seeds N] [--trace] "
			                "[--plant NAME] [--plants]\n");
			return 2;
		}
	}
	seed = run_seeds(w, from, count, is_traced, &steps);
	if (seed)
		printf("sim-group: seed %llu FAILED: %s\n", (unsigned long long)seed, w->failure);
	else
		printf("sim-group: %llu seeds, %llu steps, %.1f s\n", (unsigned long long)count,
		       (unsigned long long)steps, seconds() - start);
	free(w);
	return seed != 0;
}
