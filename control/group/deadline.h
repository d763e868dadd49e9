/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timers on virtual time: a binary heap of deadlines that are embedded in what they belong to.
 * Room is reserved when an owner is created, so that arming a deadline cannot fail.
 */
#ifndef CONTROL_GROUP_DEADLINE_H
#define CONTROL_GROUP_DEADLINE_H

#include "sluice/base/base.h"

enum deadline_kind {
	DEADLINE_SESSION = 0,        /* of a member */
	DEADLINE_PENDING,            /* of a member that was told its id */
	DEADLINE_JOIN,               /* of a group */
	DEADLINE_SYNC,               /* of a group */
	DEADLINE_EXPIRY,             /* of the coordinator: offsets past their retention */
	DEADLINE_CONSUMER_SESSION,   /* of a consumer group's member */
	DEADLINE_CONSUMER_REBALANCE, /* of one that has partitions to give up, or to join */
};

/* Zeroed: not armed. */
struct deadline {
	int64_t at_ms;
	uint64_t order; /* equal times are due in the order they were armed */
	uint32_t slot;  /* index in the heap + 1; 0: not armed */
	enum deadline_kind kind;
};

/* Zeroed memory is a valid empty heap. */
struct deadline_heap {
	struct deadline **slots; /* Owned. */
	uint32_t count;
	uint32_t cap;
	uint32_t reserved;
	uint64_t order_next;
};

void deadline_fini(struct deadline_heap *heap);
/* Room for @n more deadlines, armed or not.  Return: 0; -ENOMEM. */
int deadline_reserve(struct deadline_heap *heap, uint32_t n) SL_MUST_CHECK;
/* Gives back what was reserved for @n deadlines, none of them armed. */
void deadline_unreserve(struct deadline_heap *heap, uint32_t n);
/* Arms @d, or moves it. */
void deadline_arm(struct deadline_heap *heap, struct deadline *d, int64_t at_ms);
/* No-op when it is not armed. */
void deadline_disarm(struct deadline_heap *heap, struct deadline *d);
/* The earliest one, still armed; NULL for none. */
struct deadline *deadline_first(const struct deadline_heap *heap);

static inline bool deadline_is_armed(const struct deadline *d)
{
	return d->slot != 0;
}

#endif
