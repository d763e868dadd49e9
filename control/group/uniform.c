/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The uniform assignor: as equal shares as subscriptions allow, in the members' racks where that
 * can be, with as few moves as possible.
 *
 * Where all members subscribe to the same topics, shares are computed at once and nobody gives up
 * more than what is above its share.  Else partitions stay where they were, free ones go to the
 * subscriber that has least, and then partitions move one by one while a move makes two members
 * more equal; each such move lowers the sum of the squares of the shares, so it ends.
 *
 * With racks the first go to whoever is near, and exchanges mend what that got wrong.
 */
#include <errno.h>

#include "assign.h"
#include "exchange.h"

/* Members of one rack. */
struct rack {
	uint32_t *members; /* numbers */
	uint32_t members_count;
	uint32_t at;       /* those before have their share */
	uint32_t extra_at; /* those before have one more */
	uint32_t room;     /* partitions up to the shares of all */
};

struct uniform {
	const struct assign_spec *s;
	bool has_racks;
	uint32_t *owner;
	uint32_t *count; /* per member */
	uint32_t share;  /* with equal subscriptions */
	uint32_t extra;  /* members that may still get one above their share */
	struct rack racks[ASSIGN_RACKS_MAX];
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

static bool is_near(const struct uniform *u, uint32_t partition, uint32_t member)
{
	uint64_t racks = u->s->racks[partition];

	return racks == 0 || (racks & u->s->members[member].rack);
}

/* Everybody keeps up to its share; some of those that had more keep one above it. */
static void keep_shares(struct uniform *u, bool is_near_only)
{
	const struct assign_member *m = &u->s->members[0];

	for (uint32_t round = 0; round < 2; round++) {
		for (uint32_t k = 0; k < m->topics_count; k++) {
			const struct assign_topic *t = &u->s->topics[m->topics[k]];

			for (uint32_t p = t->first; p < t->first + t->partitions; p++) {
				uint32_t had = u->s->before[p];

				if (had == ASSIGN_NONE || u->owner[p] != ASSIGN_NONE ||
				    (is_near_only && !is_near(u, p, had)))
					continue;
				if (round == 0 && u->count[had] < u->share) {
					give(u, p, had);
				} else if (round == 1 && u->count[had] == u->share &&
				           u->extra > 0) {
					give(u, p, had);
					u->extra--;
				}
			}
		}
	}
}

/* ---- Racks, with equal subscriptions ---- */

static int list_racks(struct uniform *u, struct sl_arena *arena)
{
	const struct assign_spec *s = u->s;

	for (uint32_t i = 0; i < s->members_count; i++) {
		if (s->members[i].rack)
			u->racks[__builtin_ctzll(s->members[i].rack)].members_count++;
	}
	for (uint32_t r = 0; r < ASSIGN_RACKS_MAX; r++) {
		struct rack *rack = &u->racks[r];

		if (rack->members_count == 0)
			continue;
		rack->members = sl_arena_alloc_array(arena, rack->members_count,
		                                     sizeof(*rack->members));
		if (!rack->members)
			return -ENOMEM;
		rack->members_count = 0;
	}
	for (uint32_t i = 0; i < s->members_count; i++) {
		struct rack *rack;

		if (!s->members[i].rack)
			continue;
		rack = &u->racks[__builtin_ctzll(s->members[i].rack)];
		rack->members[rack->members_count++] = i;
		rack->room += u->share - SL_MIN(u->count[i], u->share);
	}
	return 0;
}

/* A member of the rack that may have one more.  ASSIGN_NONE: there is none. */
static uint32_t find_room(const struct uniform *u, struct rack *rack)
{
	while (rack->at < rack->members_count && u->count[rack->members[rack->at]] >= u->share)
		rack->at++;
	if (rack->at < rack->members_count)
		return rack->members[rack->at];
	while (rack->extra_at < rack->members_count &&
	       u->count[rack->members[rack->extra_at]] > u->share)
		rack->extra_at++;
	if (rack->extra_at < rack->members_count && u->extra > 0)
		return rack->members[rack->extra_at];
	return ASSIGN_NONE;
}

/* To the rack of a replica that has most room. */
static void give_near(struct uniform *u, uint32_t p)
{
	struct rack *best = NULL;
	uint32_t to = ASSIGN_NONE;

	for (uint64_t left = u->s->racks[p]; left; left &= left - 1) {
		struct rack *rack = &u->racks[__builtin_ctzll(left)];
		uint32_t member;

		if (best && best->room >= rack->room)
			continue;
		member = find_room(u, rack);
		if (member == ASSIGN_NONE)
			continue;
		best = rack;
		to = member;
	}
	if (!best)
		return;
	if (u->count[to] < u->share)
		best->room--;
	else
		u->extra--;
	give(u, p, to);
}

static int count_bits(uint64_t set)
{
	int n = 0;

	for (; set; set &= set - 1)
		n++;
	return n;
}

/* Those of few racks first: they have least choice. */
static int fill_racks(struct uniform *u, struct sl_arena *arena)
{
	const struct assign_member *m = &u->s->members[0];
	int most = 0;

	if (list_racks(u, arena))
		return -ENOMEM;
	for (uint32_t p = 0; p < u->s->partitions_count; p++)
		most = SL_MAX(most, count_bits(u->s->racks[p]));
	for (int n = 1; n <= most; n++) {
		for (uint32_t k = 0; k < m->topics_count; k++) {
			const struct assign_topic *t = &u->s->topics[m->topics[k]];

			for (uint32_t p = t->first; p < t->first + t->partitions; p++) {
				if (u->owner[p] == ASSIGN_NONE && count_bits(u->s->racks[p]) == n)
					give_near(u, p);
			}
		}
	}
	return 0;
}

/* ---- Equal subscriptions ---- */

static void fill_shares(struct uniform *u)
{
	const struct assign_member *m = &u->s->members[0];
	uint32_t members = u->s->members_count;
	uint32_t to = 0;

	for (uint32_t k = 0; k < m->topics_count; k++) {
		const struct assign_topic *t = &u->s->topics[m->topics[k]];

		for (uint32_t p = t->first; p < t->first + t->partitions; p++) {
			if (u->owner[p] != ASSIGN_NONE)
				continue;
			while (u->count[to] > u->share ||
			       (u->count[to] == u->share && u->extra == 0))
				to = to + 1 < members ? to + 1 : 0;
			if (u->count[to] == u->share)
				u->extra--;
			give(u, p, to);
		}
	}
}

static int assign_equal(struct uniform *u, struct sl_arena *arena)
{
	const struct assign_member *m = &u->s->members[0];
	uint32_t members = u->s->members_count;
	struct exchange *x;
	uint32_t total = 0;

	for (uint32_t k = 0; k < m->topics_count; k++)
		total += u->s->topics[m->topics[k]].partitions;
	u->share = total / members;
	u->extra = total % members;
	if (u->has_racks) {
		keep_shares(u, true);
		if (fill_racks(u, arena))
			return -ENOMEM;
	}
	keep_shares(u, false);
	fill_shares(u);
	if (!u->has_racks)
		return 0;
	x = exchange_create(u->s, arena, u->owner, u->count, u->share);
	return x ? exchange_run(x) : -ENOMEM;
}

/* ---- Different subscriptions ---- */

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

/* The topic's subscriber that has least, of equals one that is near the partition.  The topic has
 * subscribers. */
static uint32_t poorest(const struct uniform *u, uint32_t topic, uint32_t partition)
{
	uint32_t best = u->who[u->from[topic]];

	for (uint32_t i = u->from[topic] + 1; i < u->from[topic + 1]; i++) {
		uint32_t member = u->who[i];

		if (u->count[member] < u->count[best] ||
		    (u->has_racks && u->count[member] == u->count[best] &&
		     is_near(u, partition, member) && !is_near(u, partition, best)))
			best = member;
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
			give(u, p, poorest(u, t, p));
	}
}

static bool balance_topic(struct uniform *u, uint32_t t)
{
	bool has_moved = false;

	if (u->s->topics[t].partitions == 0)
		return false;
	for (;;) {
		uint32_t p = richest(u, t);
		uint32_t to = poorest(u, t, p);

		if (u->count[u->owner[p]] < u->count[to] + 2)
			return has_moved;
		u->count[u->owner[p]]--;
		give(u, p, to);
		has_moved = true;
	}
}

/* Return: whether anything moved. */
static bool balance(struct uniform *u)
{
	bool has_moved_once = false;
	bool has_moved = true;

	while (has_moved) {
		has_moved = false;
		for (uint32_t t = 0; t < u->s->topics_count; t++) {
			if (u->from[t + 1] > u->from[t])
				has_moved |= balance_topic(u, t);
		}
		has_moved_once |= has_moved;
	}
	return has_moved_once;
}

/* An exchange may open a way to move one to a member that has less, so both take turns.  They end:
 * each makes the sum of the squares smaller, or keeps it and saves misses or moves. */
static int exchange_and_balance(struct uniform *u, struct sl_arena *arena)
{
	struct exchange *x = exchange_create(u->s, arena, u->owner, u->count, EXCHANGE_COUNTS_STAY);
	int rc;

	if (!x)
		return -ENOMEM;
	do {
		rc = exchange_run(x);
	} while (balance(u) && rc == 0);
	return rc;
}

/* Topics of few subscribers first: their partitions have least choice. */
static int assign_unequal(struct uniform *u, struct sl_arena *arena)
{
	const struct assign_spec *s = u->s;

	if (list_subscribers(u, arena))
		return -ENOMEM;
	keep_subscribed(u);
	for (uint32_t n = 1; n <= s->members_count; n++) {
		for (uint32_t t = 0; t < s->topics_count; t++) {
			if (u->from[t + 1] - u->from[t] == n)
				fill_topic(u, t);
		}
	}
	(void)balance(u);
	return u->has_racks ? exchange_and_balance(u, arena) : 0;
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
	u.has_racks = assign_has_racks(s->racks, s->partitions_count);
	return is_homogeneous(s) ? assign_equal(&u, arena) : assign_unequal(&u, arena);
}
