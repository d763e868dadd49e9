/* SPDX-License-Identifier: Apache-2.0 */
#include "runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct args {
	uint64_t from;
	uint64_t count;
	bool is_traced;
	bool is_all_plants;
};

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Return: the first seed that breaks a rule; 0 none did. */
static uint64_t play_seeds(const struct runner *r, const struct args *a, char *text)
{
	for (uint64_t seed = a->from; seed < a->from + a->count; seed++) {
		if (!r->play(seed, a->is_traced, text))
			return seed;
	}
	return 0;
}

static int play_plants(const struct runner *r)
{
	const struct args a = {.from = 1, .count = (uint64_t)r->plant_seeds};
	char text[RUNNER_TEXT_MAX];
	int missed = 0;

	for (int i = 1; i < r->plants_count; i++) {
		uint64_t seed;

		r->plant(i);
		seed = play_seeds(r, &a, text);
		if (seed)
			printf("%s: plant %s found by seed %llu: %s\n", r->name, r->plants[i],
			       (unsigned long long)seed, text);
		else
			printf("%s: plant %s NOT FOUND\n", r->name, r->plants[i]);
		fflush(stdout);
		missed += seed == 0;
	}
	return missed > 0;
}

static bool plant_named(const struct runner *r, const char *name)
{
	for (int i = 0; i < r->plants_count; i++) {
		if (strcmp(r->plants[i], name) == 0) {
			r->plant(i);
			return true;
		}
	}
	return false;
}

static bool read_args(const struct runner *r, int argc, char **argv, struct args *a)
{
	for (int i = 1; i < argc; i++) {
		bool has_value = i + 1 < argc;

		if (strcmp(argv[i], "--plants") == 0)
			a->is_all_plants = true;
		else if (strcmp(argv[i], "--trace") == 0)
			a->is_traced = true;
		else if (has_value && strcmp(argv[i], "--from") == 0)
			a->from = strtoull(argv[++i], NULL, 10);
		else if (has_value && strcmp(argv[i], "--seeds") == 0)
			a->count = strtoull(argv[++i], NULL, 10);
		else if (has_value && strcmp(argv[i], "--plant") == 0 &&
		         plant_named(r, argv[i + 1]))
			i++;
		else
			return false;
	}
	return true;
}

int runner_main(const struct runner *r, int argc, char **argv)
{
	struct args a = {.from = 1, .count = 100};
	char text[RUNNER_TEXT_MAX];
	double start = seconds();
	uint64_t seed;

	if (!read_args(r, argc, argv, &a)) {
		fprintf(stderr,
		        "usage: %s [--from N] [--seeds N] [--trace] [--plant NAME] [--plants]\n",
		        r->name);
		return 2;
	}
	if (a.is_all_plants)
		return play_plants(r);
	seed = play_seeds(r, &a, text);
	if (seed) {
		printf("%s: seed %llu FAILED: %s\n", r->name, (unsigned long long)seed, text);
		return 1;
	}
	printf("%s: %llu seeds, %.1f s\n", r->name, (unsigned long long)a.count, seconds() - start);
	return !r->tell(a.count);
}
