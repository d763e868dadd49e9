/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buddy allocator over the units of one slice.  It never touches the memory that it gives out,
 * because sockets may still read it; what it knows lies beside.  Runs at low addresses go first:
 * they are populated first, and holes close there.
 */
#ifndef STORE_HOT_BUDDY_H
#define STORE_HOT_BUDDY_H

#include "hot_bits.h"

#define HOT_ORDERS_MAX 13u        /* 32 KiB .. 128 MiB */
#define HOT_NO_UNIT    UINT32_MAX /* nothing found */

/* What a run is.  Every unit belongs to exactly one run; runs that are not free are chunks. */
enum hot_kind {
	HOT_INSIDE = 0,      /* not the first unit of its run */
	HOT_FREE = 1,        /* in the free set of its order */
	HOT_DIRTY = 2,       /* its owner's */
	HOT_CLEAN = 3,       /* its owner's; in the queue of what may be recycled */
	HOT_QUARANTINED = 4, /* nobody's, but a socket may still read it */
	HOT_KINDS_NR
};

/* The run that begins at a unit. */
struct hot_run {
	uint8_t kind; /* enum hot_kind */
	uint8_t order;
};

struct hot_buddy {
	struct hot_run *runs; /* Owned, by unit; with the sets behind it. */
	size_t map_bytes;     /* of runs and the sets */
	uint32_t units;
	uint32_t order_max;
	struct hot_bits free[HOT_ORDERS_MAX];
};

/* Everything is free.  Return: 0; -ENOMEM. */
int hot_buddy_init(struct hot_buddy *buddy, uint32_t units, uint32_t order_max) SL_MUST_CHECK;
void hot_buddy_fini(struct hot_buddy *buddy);
/*
 * Takes a run of @order that ends at or below unit @limit: the smallest free one that will do, at
 * the lowest place.  Return: its first unit, whose run is HOT_DIRTY now; HOT_NO_UNIT.
 */
uint32_t hot_buddy_take(struct hot_buddy *buddy, uint32_t order, uint32_t limit);
/* Gives the run that begins at @unit back, merging it with free neighbours. */
void hot_buddy_give(struct hot_buddy *buddy, uint32_t unit);

#endif
