/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The uniform assignor: as equal shares as subscriptions allow, with as few moves as possible.
 *
 * Where all members subscribe to the same topics, shares are computed at once and nobody gives up
 * more than what is above its share.  Else partitions stay where they were, free ones go to the
 * subscriber that has least, and then partitions move one by one while a move makes two members
 * more equal; each such move lowers the sum of the squares of the shares, so it ends.
 */
#include <errno.h>

#include "assign.h"

struct uniform {
	const struct assign_spec *s;
	uint32_t *owner;
	uint32_t *count; /* per member */
	/* Subscribers of topic t: who[from[t]] up to who[from[t + 1]]. */
	uint32_t *from;
	uint32_t *who;
};

static bool is_homogeneous(const struct assign_spec *s)
{
	const struct assign_member *first = &s->members[0];

	for (uint32_t i = 1; i < s->members_count; i++) {
		const struct assign_member *m = &s->members[i];

		if (m->topics_count != first->topics_count ||
		    (m->topics != first->topics && m->topics_count > 0 &&
		     memcmp(m->topics, first->topics, m->topics_count * sizeof(*m->topics)) != 0))
			return false;
	}
	return true;
}

static void give(struct uniform *u, uint32_t partition, uint32_t member)
{
	u->owner[partition] = member;
	u->count[member]++;
}

/* Everybody keeps up to its share; some of those that had more keep one above it. */
static uint32_t keep_shares(struct uniform *u, uint32_t share, uint32_t extra)
{
	const struct assign_member *m = &u->s->members[0];

	for (uint32_t round = 0; round < 2; round++) {
		for (uint32_t k = 0; k < m->topics_count; k++) {
			const struct assign_topic *t = &u->s->topics[m->topics[k]];

			for (uint32_t p = t->first; p < t->first + t->partitions; p++) {
				uint32_t had = u->s->before[p];

				if (had == ASSIGN_NONE || u->owner[p] != ASSIGN_NONE)
					continue;
				if (round == 0 && u->count[had] < share) {
					give(u, p, had);
				} else if (round == 1 && u->count[had] == share && extra > 0) {
					give(u, p, had);
					extra--;
				}
			}
		}
	}
	return extra;
}

static void assign_equal(struct uniform *u)
{
	const struct assign_member *m = &u->s->members[0];
	uint32_t members = u->s->members_count;
	uint32_t total = 0;
	uint32_t to = 0;
	uint32_t share;
	uint32_t extra;

	for (uint32_t k = 0; k < m->topics_count; k++)
		total += u->s->topics[m->topics[k]].partitions;
	share = total / members;
	extra = keep_shares(u, share, total % members);
	for (uint32_t k = 0; k < m->topics_count; k++) {
		const struct assign_topic *t = &u->s->topics[m->topics[k]];

		for (uint32_t p = t->first; p < t->first + t->partitions; p++) {
			if (u->owner[p] != ASSIGN_NONE)
				continue;
			while (u->count[to] > share || (u->count[to] == share && extra == 0))
				to = to + 1 < members ? to + 1 : 0;
			if (u->count[to] == share)
				extra--;
			give(u, p, to);
		}
	}
}

static int list_subscribers(struct uniform *u, struct sl_arena *arena)
{
	const struct assign_spec *s = u->s;
	uint32_t *at;

	u->from = sl_arena_alloc_array(arena, (size_t)s->topics_count + 1, sizeof(*u->from));
	at = sl_arena_alloc_array(arena, (size_t)s->topics_count + 1, sizeof(*at));
	if (!u->from || !at)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->members_count; i++) {
		for (uint32_t k = 0; k < s->members[i].topics_count; k++)
			u->from[s->members[i].topics[k] + 1]++;
	}
	for (uint32_t t = 0; t < s->topics_count; t++)
		u->from[t + 1] += u->from[t];
	u->who = sl_arena_alloc_array(arena, u->from[s->topics_count], sizeof(*u->who));
	if (!u->who)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->members_count; i++) {
		for (uint32_t k = 0; k < s->members[i].topics_count; k++) {
			uint32_t t = s->members[i].topics[k];

			u->who[u->from[t] + at[t]++] = i;
		}
	}
	return 0;
}

/* The topic's subscriber that has least.  The topic has subscribers. */
static uint32_t poorest(const struct uniform *u, uint32_t topic)
{
	uint32_t best = u->who[u->from[topic]];

	for (uint32_t i = u->from[topic] + 1; i < u->from[topic + 1]; i++) {
		if (u->count[u->who[i]] < u->count[best])
			best = u->who[i];
	}
	return best;
}

/* The topic's partition whose owner has most. */
static uint32_t richest(const struct uniform *u, uint32_t topic)
{
	const struct assign_topic *t = &u->s->topics[topic];
	uint32_t best = t->first;

	for (uint32_t p = t->first + 1; p < t->first + t->partitions; p++) {
		if (u->count[u->owner[p]] > u->count[u->owner[best]])
			best = p;
	}
	return best;
}

static void keep_subscribed(struct uniform *u)
{
	for (uint32_t t = 0; t < u->s->topics_count; t++) {
		const struct assign_topic *topic = &u->s->topics[t];

		for (uint32_t p = topic->first; p < topic->first + topic->partitions; p++) {
			uint32_t had = u->s->before[p];

			if (had != ASSIGN_NONE && assign_has_topic(&u->s->members[had], t))
				give(u, p, had);
		}
	}
}

static void fill_topic(struct uniform *u, uint32_t t)
{
	const struct assign_topic *topic = &u->s->topics[t];

	for (uint32_t p = topic->first; p < topic->first + topic->partitions; p++) {
		if (u->owner[p] == ASSIGN_NONE)
			give(u, p, poorest(u, t));
	}
}

static bool balance_topic(struct uniform *u, uint32_t t)
{
	bool has_moved = false;

	if (u->s->topics[t].partitions == 0)
		return false;
	for (;;) {
		uint32_t p = richest(u, t);
		uint32_t to = poorest(u, t);

		if (u->count[u->owner[p]] < u->count[to] + 2)
			return has_moved;
		u->count[u->owner[p]]--;
		give(u, p, to);
		has_moved = true;
	}
}

/* Topics of few subscribers first: their partitions have least choice. */
static int assign_unequal(struct uniform *u, struct sl_arena *arena)
{
	const struct assign_spec *s = u->s;
	bool has_moved = true;

	if (list_subscribers(u, arena))
		return -ENOMEM;
	keep_subscribed(u);
	for (uint32_t n = 1; n <= s->members_count; n++) {
		for (uint32_t t = 0; t < s->topics_count; t++) {
			if (u->from[t + 1] - u->from[t] == n)
				fill_topic(u, t);
		}
	}
	while (has_moved) {
		has_moved = false;
		for (uint32_t t = 0; t < s->topics_count; t++) {
			if (u->from[t + 1] > u->from[t])
				has_moved |= balance_topic(u, t);
		}
	}
	return 0;
}

int uniform_assign(const struct assign_spec *s, struct sl_arena *arena, uint32_t *owner)
{
	struct uniform u = {.s = s, .owner = owner};

	for (uint32_t i = 0; i < s->partitions_count; i++)
		owner[i] = ASSIGN_NONE;
	if (s->members_count == 0)
		return 0;
	u.count = sl_arena_alloc_array(arena, s->members_count, sizeof(*u.count));
	if (!u.count)
		return -ENOMEM;
	if (!is_homogeneous(s))
		return assign_unequal(&u, arena);
	assign_equal(&u);
	return 0;
}
