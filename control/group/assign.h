/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Assignors of consumer groups: who shall read which partition.  Pure functions; the same input
 * always gives the same output, so the order of the members is part of the input.
 *
 * Partitions are numbered through: those of topic t are topics[t].first and the following.
 *
 * A miss is a partition with replicas in racks of members that is given to a member of none of
 * these racks.  Racks count where members and partitions have some in common, and not all
 * partitions have the same: else every balanced assignment is as good, racks are not looked at,
 * and nothing moves for them.  All replicas count, in sync or not.
 *
 * What wins over what: balance, then racks, then what a member had.  A partition moves when that
 * saves a miss, as KIP-881 has it ("prioritize balancing partitions over improving locality") and
 * clients' sticky assignors do: whoever configures racks pays for each byte between them, for as
 * long as the assignment stands, but for a move once.
 */
#ifndef CONTROL_GROUP_ASSIGN_H
#define CONTROL_GROUP_ASSIGN_H

#include "sluice/base/arena.h"
#include "sluice/base/base.h"

#define ASSIGN_NONE      UINT32_MAX
/* Racks are bits. */
#define ASSIGN_RACKS_MAX 64u
/* Steps of one assignment that look for fewer misses: partitions and subscriptions looked at. */
#define ASSIGN_WORK_MAX  (UINT64_C(1) << 25)

struct assign_topic {
	uint32_t first;
	uint32_t partitions;
};

struct assign_member {
	struct sl_str id;
	struct sl_str instance_id; /* null: dynamic */
	const uint32_t *topics;    /* numbers of topics, ascending */
	uint32_t topics_count;
	uint64_t rack; /* one bit; 0: none */
};

struct assign_spec {
	const struct assign_topic *topics;
	uint32_t topics_count;
	const struct assign_member *members; /* in order of their ids */
	uint32_t members_count;
	const uint32_t *before; /* who had each partition; ASSIGN_NONE nobody */
	const uint64_t *racks;  /* of each partition's replicas, those of members; NULL: none */
	uint32_t partitions_count;
	uint64_t *work; /* counts up to ASSIGN_WORK_MAX */
};

/* @owner: one per partition, the number of a member, or ASSIGN_NONE where nobody subscribes.
 * Return: 0; 1 there may be fewer misses or moves, ASSIGN_WORK_MAX was reached before; -ENOMEM the
 * arena is full, @owner undefined. */
typedef int assign_fn(const struct assign_spec *s, struct sl_arena *arena, uint32_t *owner);

/*
 * Balanced, near and sticky, in this order.
 *
 * With equal subscriptions members differ by one partition at most; of all such assignments it is
 * one with the fewest misses, and of those one with the fewest moves.
 *
 * Else no partition could move to a subscriber that has at least two fewer than its owner, and no
 * exchange of partitions in which every member keeps its number of them saves a miss, or saves a
 * move and costs no miss.
 */
assign_fn uniform_assign;
/*
 * Topics of equally many partitions and the same subscribers are assigned alike: who has partition
 * n of one has n of all of them.  Members differ by one partition of each topic at most.
 *
 * Without racks each topic is cut into ranges, handed out in order of instance ids, then of member
 * ids.  Static members come first and so keep their ranges when they return under other member
 * ids; this is all that Kafka's server-side range assignor has of stickiness since 4.0, and what
 * it promises to those who name their instances.
 *
 * With racks a range would cut across them.  Topics that are assigned alike get what uniform makes
 * of one topic; their partitions n have the racks that all of them have, and count as had by a
 * member that had all of them.  So balance and being assigned alike win over racks, as in KIP-881,
 * and racks over what was had.
 */
assign_fn range_assign;

/* Do the racks count for these partitions? */
static inline bool assign_has_racks(const uint64_t *racks, uint32_t count)
{
	for (uint32_t p = 1; racks && p < count; p++) {
		if (racks[p] != racks[0])
			return true;
	}
	return false;
}

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
