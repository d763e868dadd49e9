/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Assignors of consumer groups: who shall read which partition.  Pure functions; the same input
 * always gives the same output, so the order of the members is part of the input.
 *
 * Partitions are numbered through: those of topic t are topics[t].first and the following.
 */
#ifndef CONTROL_GROUP_ASSIGN_H
#define CONTROL_GROUP_ASSIGN_H

#include "sluice/base/arena.h"
#include "sluice/base/base.h"

#define ASSIGN_NONE UINT32_MAX

struct assign_topic {
	uint32_t first;
	uint32_t partitions;
};

struct assign_member {
	struct sl_str id;
	struct sl_str instance_id; /* null: dynamic */
	const uint32_t *topics;    /* numbers of topics, ascending */
	uint32_t topics_count;
};

struct assign_spec {
	const struct assign_topic *topics;
	uint32_t topics_count;
	const struct assign_member *members; /* in order of their ids */
	uint32_t members_count;
	const uint32_t *before; /* who had each partition; ASSIGN_NONE nobody */
	uint32_t partitions_count;
};

/* @owner: one per partition, the number of a member, or ASSIGN_NONE where nobody subscribes.
 * Return: 0; -ENOMEM the arena is full, @owner undefined. */
typedef int assign_fn(const struct assign_spec *s, struct sl_arena *arena, uint32_t *owner);

/*
 * Balanced and sticky.  With equal subscriptions members differ by one partition at most; else no
 * partition could move to a subscriber that has at least two fewer than its owner.
 */
assign_fn uniform_assign;
/* Each topic is cut into ranges, handed out in order of instance ids, then of member ids. */
assign_fn range_assign;

/* Does the member subscribe to the topic? */
static inline bool assign_has_topic(const struct assign_member *m, uint32_t topic)
{
	uint32_t low = 0;
	uint32_t high = m->topics_count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (m->topics[mid] == topic)
			return true;
		if (m->topics[mid] < topic)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

#endif
