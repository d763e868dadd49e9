/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of a simulator: which seeds, which planted bugs. */
#ifndef TESTS_SIM_RUNNER_H
#define TESTS_SIM_RUNNER_H

#include <stdbool.h>
#include <stdint.h>

#define RUNNER_TEXT_MAX 512

struct runner {
	const char *name;
	/* Plays one seed.  False: a rule was broken, @text says which. */
	bool (*play)(uint64_t seed, bool is_traced, char text[RUNNER_TEXT_MAX]);
	/* Plants a bug, from 1 on; 0 none. */
	void (*plant)(int number);
	const char *const *plants; /* names; the first is of none */
	int plants_count;          /* with none */
	int plant_seeds;           /* each is to be found within so many */
	/* Tells what was done in @seeds seeds.  False: too little for the rules to prove anything.
	 */
	bool (*tell)(uint64_t seeds);
};

/* [--from N] [--seeds N] [--trace] [--plant NAME] [--plants]
 *
 * Plays seeds; prints the first that breaks a rule and ends with 1.  --plants plants each bug in
 * turn and ends with 1 if one of them is not found. */
int runner_main(const struct runner *r, int argc, char **argv);

#endif
