/* SPDX-License-Identifier: Apache-2.0 */
/* sim-group: the coordinator of groups, alone with members of both protocols. */
#include <stdio.h>

#include "runner.h"
#include "world.h"

#define CHAOS_MS      90000
#define CALM_MS       90000
/* A planted bug is to be found within so many seeds. */
#define PLANT_SEEDS   10000
/* More and more of what goes on is spoiled by a clock that stands still. */
#define CLOCK_STEP_MS 40

enum group_plant group_plant;

static uint64_t steps;

static const char *const plant_names[PLANT_GROUP_NR] = {[PLANT_NONE] = "none",
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
		w->now_ms += world_below(w, w->times.session_ms);
	if (world_fault(w, 2))
		w->wall_ms += (int64_t)world_below(w, 7200000) - 3600000;
	for (int8_t i = 0; i < CLIENTS && !w->failure; i++)
		client_run(w, i);
	world_run(w);
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
		client_end_hopeless(w);
		advance(w);
	}
	if (!w->failure)
		check_end(w);
	world_fini(w);
}

static bool play(uint64_t seed, bool is_traced, char text[RUNNER_TEXT_MAX])
{
	static struct world w;

	run_seed(&w, seed, is_traced);
	steps += w.steps;
	if (w.failure)
		snprintf(text, RUNNER_TEXT_MAX, "%s", w.failure);
	return !w.failure;
}

static void plant(int number)
{
	group_plant = (enum group_plant)number;
}

static bool tell(uint64_t seeds)
{
	printf("sim-group: %llu steps\n", (unsigned long long)steps);
	return steps > seeds * 100;
}

int main(int argc, char **argv)
{
	const struct runner r = {
		.name = "sim-group",
		.play = play,
		.plant = plant,
		.plants = plant_names,
		.plants_count = PLANT_GROUP_NR,
		.plant_seeds = PLANT_SEEDS,
		.tell = tell,
	};

	return runner_main(&r, argc, argv);
}
