/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small world around the two coordinators that ships them: clients of both flows, lanes with
 * partitions, rings between them, and everything that goes wrong, all from one seed.
 */
#ifndef TESTS_CONTROL_TXN_WORLD_H
#define TESTS_CONTROL_TXN_WORLD_H

#include <stdbool.h>
#include <stdint.h>

/* Mistakes that are planted outside of the coordinators, as if they had made them. */
enum world_bug {
	WORLD_SOUND = 0,
	WORLD_MARKER_NOT_WRITTEN,     /* a marker is said to be written and is not */
	WORLD_MARKER_FLIPPED,         /* one partition gets the other marker after a restart */
	WORLD_MARKER_EARLY,           /* a marker goes out before the decision is on the log */
	WORLD_RECORD_NOT_WRITTEN,     /* a record of an id is said to be written and is not */
	WORLD_RECORD_FORGOTTEN,       /* the last record is not read after a restart */
	WORLD_EVERYTHING_VERIFIED,    /* any question is answered with yes */
	WORLD_OFFSETS_MARKER_LOST,    /* the group coordinator does not hear of a marker */
	WORLD_OFFSETS_MARKER_FLIPPED, /* ... or hears of the other one */
	WORLD_OFFSETS_OVERTAKEN,      /* a marker overtakes the offsets that it ends */
	WORLD_EPOCHS_GO_BACK,         /* a producer is told an epoch that was given before */
	WORLD_BUG_NR
};

#define WORLD_TEXT_MAX 256

/* What was done, for the test to see that something was. */
struct world_stats {
	uint64_t events;
	uint64_t told_commit;
	uint64_t told_abort;
	uint64_t unknown; /* ends whose outcome no client was told */
	uint64_t records;
	uint64_t offsets;
	uint64_t fenced;
	uint64_t restarts;
	uint64_t refused; /* appends */
	uint64_t rotated; /* producer ids, because the epochs were used up */
};

/* Runs one seed; adds to @stats.  Return: whether all held; else @text says what did not. */
bool world_run(uint64_t seed, enum world_bug bug, struct world_stats *stats,
               char text[WORLD_TEXT_MAX]);

#endif
