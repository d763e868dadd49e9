/* SPDX-License-Identifier: Apache-2.0 */
/* Properties of the assignors, over random groups: all is given once, evenly, near, and mostly
 * kept. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "assign.h"

#define MEMBERS_MAX 24
#define TOPICS_MAX  6
#define PARTS_MAX   200
#define ARENA_BYTES (16u << 20)

struct table {
	struct assign_topic topics[TOPICS_MAX];
	struct assign_member members[MEMBERS_MAX];
	uint32_t lists[MEMBERS_MAX][TOPICS_MAX];
	char ids[MEMBERS_MAX][16];
	uint32_t before[PARTS_MAX];
	uint64_t racks[PARTS_MAX];
	uint64_t work;
	struct assign_spec spec;
	struct sl_arena arena;
	uint64_t rng;
};

static uint32_t below(struct table *t, uint32_t n)
{
	t->rng = t->rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(t->rng >> 33) % n;
}

static void add_member(struct table *t, uint8_t topics)
{
	uint32_t i = t->spec.members_count++;
	uint32_t n = 0;

	for (uint32_t k = 0; k < t->spec.topics_count; k++) {
		if ((topics >> k) & 1)
			t->lists[i][n++] = k;
	}
	snprintf(t->ids[i], sizeof(t->ids[i]), "m%03u", i);
	t->members[i] = (struct assign_member){sl_str_from(t->ids[i]), SL_STR_NULL, t->lists[i], n,
	                                       0};
}

static void make(struct table *t, uint64_t seed, bool is_equal)
{
	uint32_t members;

	*t = (struct table){.rng = seed};
	cr_assert_eq(sl_arena_create(&t->arena, ARENA_BYTES), 0);
	t->spec.topics = t->topics;
	t->spec.members = t->members;
	t->spec.before = t->before;
	t->spec.work = &t->work;
	t->spec.topics_count = 1 + below(t, TOPICS_MAX);
	for (uint32_t i = 0; i < t->spec.topics_count; i++) {
		t->topics[i] = (struct assign_topic){t->spec.partitions_count, below(t, 31)};
		t->spec.partitions_count += t->topics[i].partitions;
	}
	members = 1 + below(t, MEMBERS_MAX);
	for (uint32_t i = 0; i < members; i++)
		add_member(t, is_equal ? 0x3f : (uint8_t)below(t, 64));
	for (uint32_t i = 0; i < PARTS_MAX; i++)
		t->before[i] = ASSIGN_NONE;
}

static void run(struct table *t, assign_fn *fn, uint32_t *owner)
{
	sl_arena_reset(&t->arena);
	cr_assert_eq(fn(&t->spec, &t->arena, owner), 0);
}

static bool has_subscriber(const struct table *t, uint32_t topic)
{
	for (uint32_t i = 0; i < t->spec.members_count; i++) {
		if (assign_has_topic(&t->members[i], topic))
			return true;
	}
	return false;
}

/* Each partition has one owner, who subscribes, exactly where somebody does. */
static void check_complete(const struct table *t, const uint32_t *owner, uint32_t *count)
{
	memset(count, 0, MEMBERS_MAX * sizeof(*count));
	for (uint32_t k = 0; k < t->spec.topics_count; k++) {
		for (uint32_t p = 0; p < t->topics[k].partitions; p++) {
			uint32_t to = owner[t->topics[k].first + p];

			cr_assert_eq(to != ASSIGN_NONE, has_subscriber(t, k));
			if (to == ASSIGN_NONE)
				continue;
			cr_assert(assign_has_topic(&t->members[to], k));
			count[to]++;
		}
	}
}

static void check_balance(const struct table *t, const uint32_t *owner, const uint32_t *count)
{
	for (uint32_t k = 0; k < t->spec.topics_count; k++) {
		for (uint32_t p = 0; p < t->topics[k].partitions; p++) {
			uint32_t from = owner[t->topics[k].first + p];

			for (uint32_t to = 0; from != ASSIGN_NONE && to < t->spec.members_count;
			     to++)
				cr_assert(!assign_has_topic(&t->members[to], k) ||
				                  count[from] < count[to] + 2,
				          "a move from %u to %u would help", from, to);
		}
	}
}

Test(group_assign, uniform_gives_everything_once_and_evenly)
{
	for (uint64_t seed = 1; seed <= 400; seed++) {
		uint32_t owner[PARTS_MAX];
		uint32_t count[MEMBERS_MAX];
		struct table t;

		make(&t, seed, seed % 2 == 0);
		run(&t, uniform_assign, owner);
		check_complete(&t, owner, count);
		check_balance(&t, owner, count);
		sl_arena_destroy(&t.arena);
	}
}

Test(group_assign, uniform_keeps_what_it_can_when_a_member_comes)
{
	for (uint64_t seed = 1; seed <= 200; seed++) {
		uint32_t owner[PARTS_MAX];
		uint32_t count[MEMBERS_MAX];
		uint32_t moved = 0;
		struct table t;

		make(&t, seed, true);
		if (t.spec.members_count == MEMBERS_MAX)
			t.spec.members_count--;
		run(&t, uniform_assign, t.before);
		add_member(&t, 0x3f);
		run(&t, uniform_assign, owner);
		check_complete(&t, owner, count);
		for (uint32_t p = 0; p < t.spec.partitions_count; p++) {
			if (owner[p] == t.before[p])
				continue;
			moved++;
			cr_assert_eq(owner[p], t.spec.members_count - 1,
			             "a partition moved between members that stayed");
		}
		cr_assert_eq(moved, count[t.spec.members_count - 1]);
		sl_arena_destroy(&t.arena);
	}
}

Test(group_assign, uniform_changes_nothing_without_need)
{
	for (uint64_t seed = 1; seed <= 300; seed++) {
		uint32_t again[PARTS_MAX];
		struct table t;

		make(&t, seed, seed % 2 == 0);
		run(&t, uniform_assign, t.before);
		run(&t, uniform_assign, again);
		cr_assert_arr_eq(again, t.before, t.spec.partitions_count * sizeof(*again));
		sl_arena_destroy(&t.arena);
	}
}

Test(group_assign, range_gives_contiguous_ranges_by_instance_then_id)
{
	uint32_t owner[PARTS_MAX];
	uint32_t count[MEMBERS_MAX];
	struct table t;

	for (uint64_t seed = 1; seed <= 200; seed++) {
		make(&t, seed, seed % 2 == 0);
		run(&t, range_assign, owner);
		check_complete(&t, owner, count);
		for (uint32_t k = 0; k < t.spec.topics_count; k++) {
			uint32_t changes = 0;

			for (uint32_t p = 1; p < t.topics[k].partitions; p++)
				changes += owner[t.topics[k].first + p] !=
				           owner[t.topics[k].first + p - 1];
			cr_assert_lt(changes, t.spec.members_count);
		}
		sl_arena_destroy(&t.arena);
	}
	make(&t, 1, true);
	t.spec.members_count = 0;
	t.spec.topics_count = 1;
	t.topics[0] = (struct assign_topic){0, 5};
	t.spec.partitions_count = 5;
	for (int i = 0; i < 3; i++)
		add_member(&t, 1);
	t.members[2].instance_id = sl_str_from("a");
	run(&t, range_assign, owner);
	cr_assert_eq(owner[0], 2);
	cr_assert_eq(owner[1], 2);
	cr_assert_eq(owner[2], 0);
	cr_assert_eq(owner[3], 0);
	cr_assert_eq(owner[4], 1);
	sl_arena_destroy(&t.arena);
}

Test(group_assign, says_so_when_memory_is_short)
{
	uint32_t owner[PARTS_MAX];
	struct table t;
	struct sl_arena none = {0};

	make(&t, 3, false);
	cr_assert_neq(uniform_assign(&t.spec, &none, owner), 0);
	cr_assert_neq(range_assign(&t.spec, &none, owner), 0);
	sl_arena_destroy(&t.arena);
}

/* ---- Racks ---- */

#define SMALL_PARTS   7
#define SMALL_MEMBERS 4

/* What is to be as small as can be, the first first. */
struct price {
	uint32_t misses;
	uint32_t moves;
};

static bool is_cheaper(struct price a, struct price b)
{
	return a.misses != b.misses ? a.misses < b.misses : a.moves < b.moves;
}

static struct price price_of(const struct assign_spec *s, const uint32_t *owner)
{
	struct price price = {0, 0};

	for (uint32_t k = 0; k < s->topics_count; k++) {
		for (uint32_t i = 0; i < s->topics[k].partitions; i++) {
			uint32_t p = s->topics[k].first + i;
			uint32_t had = s->before[p];

			if (owner[p] == ASSIGN_NONE)
				continue;
			price.misses += s->racks[p] && !(s->racks[p] & s->members[owner[p]].rack);
			price.moves += had != ASSIGN_NONE && had != owner[p] &&
			               assign_has_topic(&s->members[had], k);
		}
	}
	return price;
}

/* Racks of random sizes; some members and partitions have none. */
static void add_racks(struct table *t, uint32_t racks)
{
	t->spec.racks = t->racks;
	for (uint32_t i = 0; i < t->spec.members_count; i++) {
		uint32_t rack = SL_MIN(below(t, racks + 1), below(t, racks + 1));

		t->members[i].rack = rack < racks ? UINT64_C(1) << rack : 0;
	}
	for (uint32_t p = 0; p < t->spec.partitions_count; p++) {
		t->racks[p] = 0;
		for (uint32_t n = below(t, 3) + (below(t, 8) > 0); n > 0; n--)
			t->racks[p] |= UINT64_C(1) << below(t, racks);
	}
}

static void make_small(struct table *t, uint64_t seed, bool is_equal)
{
	*t = (struct table){.rng = seed};
	cr_assert_eq(sl_arena_create(&t->arena, ARENA_BYTES), 0);
	t->spec.topics = t->topics;
	t->spec.members = t->members;
	t->spec.before = t->before;
	t->spec.work = &t->work;
	t->spec.topics_count = 1 + below(t, 3);
	for (uint32_t i = 0; i < t->spec.topics_count; i++) {
		uint32_t left = SMALL_PARTS - t->spec.partitions_count;

		t->topics[i] = (struct assign_topic){t->spec.partitions_count, below(t, left + 1)};
		t->spec.partitions_count += t->topics[i].partitions;
	}
	for (uint32_t n = 1 + below(t, SMALL_MEMBERS); n > 0; n--)
		add_member(t, is_equal ? 0x3f : (uint8_t)below(t, 64));
	for (uint32_t p = 0; p < t->spec.partitions_count; p++)
		t->before[p] = below(t, 3) == 0 ? ASSIGN_NONE : below(t, t->spec.members_count);
	add_racks(t, 1 + below(t, 3));
}

/* The next assignment of all that there are.  Return: false: that was the last. */
static bool next_of_all(const struct assign_spec *s, uint32_t *owner)
{
	for (uint32_t p = 0; p < s->partitions_count; p++) {
		if (owner[p] == ASSIGN_NONE)
			continue;
		if (++owner[p] < s->members_count)
			return true;
		owner[p] = 0;
	}
	return false;
}

static bool is_allowed(const struct assign_spec *s, const uint32_t *owner, uint32_t *count)
{
	memset(count, 0, s->members_count * sizeof(*count));
	for (uint32_t k = 0; k < s->topics_count; k++) {
		for (uint32_t i = 0; i < s->topics[k].partitions; i++) {
			uint32_t to = owner[s->topics[k].first + i];

			if (to == ASSIGN_NONE)
				continue;
			if (!assign_has_topic(&s->members[to], k))
				return false;
			count[to]++;
		}
	}
	return true;
}

static bool is_even(const struct assign_spec *s, const uint32_t *count)
{
	uint32_t least = count[0];
	uint32_t most = count[0];

	for (uint32_t i = 1; i < s->members_count; i++) {
		least = SL_MIN(least, count[i]);
		most = SL_MAX(most, count[i]);
	}
	return most - least <= 1;
}

/* The lowest price by looking at all: of even assignments, or of those with the same @count. */
static struct price lowest_price(const struct assign_spec *s, const uint32_t *given,
                                 const uint32_t *same_count)
{
	struct price best = {UINT32_MAX, UINT32_MAX};
	uint32_t count[SMALL_MEMBERS];
	uint32_t owner[SMALL_PARTS];

	for (uint32_t p = 0; p < s->partitions_count; p++)
		owner[p] = given[p] == ASSIGN_NONE ? ASSIGN_NONE : 0;
	do {
		struct price price;

		if (!is_allowed(s, owner, count))
			continue;
		if (same_count ? memcmp(count, same_count, s->members_count * sizeof(*count)) != 0
		               : !is_even(s, count))
			continue;
		price = price_of(s, owner);
		if (is_cheaper(price, best))
			best = price;
	} while (next_of_all(s, owner));
	return best;
}

Test(group_assign, uniform_has_the_fewest_misses_and_then_the_fewest_moves)
{
	uint32_t with_choice = 0;

	for (uint64_t seed = 1; seed <= 1500; seed++) {
		uint32_t owner[PARTS_MAX];
		uint32_t count[MEMBERS_MAX];
		struct price price;
		struct price best;
		struct table t;

		make_small(&t, seed, true);
		run(&t, uniform_assign, owner);
		check_complete(&t, owner, count);
		check_balance(&t, owner, count);
		price = price_of(&t.spec, owner);
		best = lowest_price(&t.spec, owner, NULL);
		if (assign_has_racks(t.racks, t.spec.partitions_count)) {
			cr_assert_eq(price.misses, best.misses, "seed %llu: %u misses, not %u",
			             (unsigned long long)seed, price.misses, best.misses);
			cr_assert_eq(price.moves, best.moves, "seed %llu: %u moves, not %u",
			             (unsigned long long)seed, price.moves, best.moves);
			with_choice++;
		}
		sl_arena_destroy(&t.arena);
	}
	cr_assert_gt(with_choice, 500);
}

Test(group_assign, uniform_leaves_no_exchange_that_pays)
{
	for (uint64_t seed = 1; seed <= 1500; seed++) {
		uint32_t owner[PARTS_MAX];
		uint32_t count[MEMBERS_MAX];
		struct price price;
		struct price best;
		struct table t;

		make_small(&t, seed, false);
		run(&t, uniform_assign, owner);
		check_complete(&t, owner, count);
		check_balance(&t, owner, count);
		price = price_of(&t.spec, owner);
		best = lowest_price(&t.spec, owner, count);
		if (assign_has_racks(t.racks, t.spec.partitions_count)) {
			cr_assert_eq(price.misses, best.misses, "seed %llu",
			             (unsigned long long)seed);
			cr_assert_eq(price.moves, best.moves, "seed %llu",
			             (unsigned long long)seed);
		}
		sl_arena_destroy(&t.arena);
	}
}

/* Every one of the two does the same again with the same, and leaves alone what it made. */
Test(group_assign, with_racks_the_same_group_has_the_same_assignment)
{
	static assign_fn *const assignors[] = {uniform_assign, range_assign};

	for (uint64_t seed = 1; seed <= 400; seed++) {
		assign_fn *fn = assignors[seed % 2];
		uint32_t first[PARTS_MAX];
		uint32_t again[PARTS_MAX];
		uint32_t count[MEMBERS_MAX];
		struct table t;

		make(&t, seed, seed % 4 < 2);
		for (uint32_t p = 0; p < t.spec.partitions_count; p++)
			t.before[p] = below(&t, t.spec.members_count);
		add_racks(&t, 1 + below(&t, 5));
		run(&t, fn, first);
		memset(t.arena.base, 0xa5, t.arena.used);
		run(&t, fn, again);
		cr_assert_arr_eq(again, first, t.spec.partitions_count * sizeof(*again));
		check_complete(&t, first, count);
		if (fn == uniform_assign)
			check_balance(&t, first, count);
		memcpy(t.before, first, sizeof(first));
		run(&t, fn, again);
		cr_assert_arr_eq(again, first, t.spec.partitions_count * sizeof(*again),
		                 "seed %llu: something moved without need",
		                 (unsigned long long)seed);
		sl_arena_destroy(&t.arena);
	}
}

Test(group_assign, racks_that_tell_nothing_change_nothing)
{
	static assign_fn *const assignors[] = {uniform_assign, range_assign};

	for (uint64_t seed = 1; seed <= 300; seed++) {
		uint32_t without[PARTS_MAX];
		uint32_t with[PARTS_MAX];
		struct table t;

		make(&t, seed, seed % 2 == 0);
		for (uint32_t p = 0; p < t.spec.partitions_count; p++)
			t.before[p] = below(&t, t.spec.members_count);
		run(&t, assignors[seed % 2], without);
		cr_assert_eq(t.work, 0);
		add_racks(&t, 3);
		for (uint32_t p = 0; p < t.spec.partitions_count; p++)
			t.racks[p] = seed % 3;
		run(&t, assignors[seed % 2], with);
		cr_assert_arr_eq(with, without, t.spec.partitions_count * sizeof(*with));
		cr_assert_eq(t.work, 0);
		sl_arena_destroy(&t.arena);
	}
}

/* Who has a partition of one topic has it of all that have as many and the same readers. */
static void check_alike(const struct table *t, const uint32_t *owner)
{
	for (uint32_t a = 0; a < t->spec.topics_count; a++) {
		for (uint32_t b = 0; b < a; b++) {
			bool is_alike = t->topics[a].partitions == t->topics[b].partitions;

			for (uint32_t i = 0; i < t->spec.members_count; i++)
				is_alike &= assign_has_topic(&t->members[i], a) ==
				            assign_has_topic(&t->members[i], b);
			for (uint32_t p = 0; is_alike && p < t->topics[a].partitions; p++)
				cr_assert_eq(owner[t->topics[a].first + p],
				             owner[t->topics[b].first + p]);
		}
	}
}

static void check_even_by_topic(const struct table *t, const uint32_t *owner)
{
	for (uint32_t k = 0; k < t->spec.topics_count; k++) {
		uint32_t count[MEMBERS_MAX] = {0};
		uint32_t least = UINT32_MAX;
		uint32_t most = 0;

		for (uint32_t p = 0; p < t->topics[k].partitions; p++) {
			if (owner[t->topics[k].first + p] != ASSIGN_NONE)
				count[owner[t->topics[k].first + p]]++;
		}
		for (uint32_t i = 0; i < t->spec.members_count; i++) {
			if (!assign_has_topic(&t->members[i], k))
				continue;
			least = SL_MIN(least, count[i]);
			most = SL_MAX(most, count[i]);
		}
		cr_assert(least > most || most - least <= 1);
	}
}

Test(group_assign, range_is_even_in_each_topic_and_assigns_alike_with_racks_too)
{
	for (uint64_t seed = 1; seed <= 400; seed++) {
		uint32_t owner[PARTS_MAX];
		uint32_t count[MEMBERS_MAX];
		struct table t;

		make(&t, seed, seed % 2 == 0);
		/* Topics of few sizes, so that some are alike. */
		t.spec.partitions_count = 0;
		for (uint32_t k = 0; k < t.spec.topics_count; k++) {
			t.topics[k] = (struct assign_topic){t.spec.partitions_count,
			                                    12 + 6 * below(&t, 2)};
			t.spec.partitions_count += t.topics[k].partitions;
		}
		for (uint32_t p = 0; p < t.spec.partitions_count; p++)
			t.before[p] = below(&t, t.spec.members_count);
		if (seed % 5 > 0)
			add_racks(&t, 1 + below(&t, 5));
		run(&t, range_assign, owner);
		check_complete(&t, owner, count);
		check_even_by_topic(&t, owner);
		check_alike(&t, owner);
		sl_arena_destroy(&t.arena);
	}
}

/* Two topics that are alike are as good as one whose partitions have the racks that both have. */
Test(group_assign, range_has_the_fewest_misses_that_being_alike_allows)
{
	for (uint64_t seed = 1; seed <= 600; seed++) {
		uint32_t owner[PARTS_MAX];
		struct assign_topic one;
		struct assign_spec spec;
		struct price price;
		struct price best;
		struct table t;

		make_small(&t, seed, true);
		one = (struct assign_topic){0, SMALL_PARTS};
		t.topics[0] = one;
		t.topics[1] = (struct assign_topic){SMALL_PARTS, SMALL_PARTS};
		t.spec.topics_count = 2;
		t.spec.partitions_count = 2 * SMALL_PARTS;
		t.spec.members_count = 0;
		for (uint32_t n = 1 + below(&t, SMALL_MEMBERS); n > 0; n--)
			add_member(&t, 3);
		for (uint32_t p = 0; p < t.spec.partitions_count; p++)
			t.before[p] = below(&t, t.spec.members_count);
		add_racks(&t, 1 + below(&t, 3));
		run(&t, range_assign, owner);
		for (uint32_t p = 0; p < SMALL_PARTS; p++) {
			cr_assert_eq(owner[p], owner[SMALL_PARTS + p]);
			t.racks[p] &= t.racks[SMALL_PARTS + p];
			if (t.before[p] != t.before[SMALL_PARTS + p])
				t.before[p] = ASSIGN_NONE;
		}
		spec = t.spec;
		spec.topics = &one;
		spec.topics_count = 1;
		spec.partitions_count = SMALL_PARTS;
		price = price_of(&spec, owner);
		best = lowest_price(&spec, owner, NULL);
		if (assign_has_racks(t.racks, SMALL_PARTS)) {
			cr_assert_eq(price.misses, best.misses);
			cr_assert_eq(price.moves, best.moves);
		}
		sl_arena_destroy(&t.arena);
	}
}

/* What is not the best is at least even. */
Test(group_assign, says_so_when_the_work_gets_too_much)
{
	for (uint64_t seed = 1; seed <= 200; seed++) {
		uint32_t owner[PARTS_MAX];
		uint32_t count[MEMBERS_MAX];
		struct table t;

		make(&t, seed, seed % 4 < 2);
		add_racks(&t, 3);
		t.work = ASSIGN_WORK_MAX;
		if (!assign_has_racks(t.racks, t.spec.partitions_count))
			continue;
		if (seed % 2 == 0)
			cr_assert_eq(uniform_assign(&t.spec, &t.arena, owner), 1);
		else
			cr_assert_geq(range_assign(&t.spec, &t.arena, owner), 0);
		check_complete(&t, owner, count);
		if (seed % 2 == 0)
			check_balance(&t, owner, count);
		else
			check_even_by_topic(&t, owner);
		sl_arena_destroy(&t.arena);
	}
}

Test(group_assign, a_rack_with_more_than_its_share_of_replicas_gives_the_rest_away)
{
	uint32_t owner[PARTS_MAX];
	struct table t;

	make(&t, 1, true);
	t.spec.members_count = 0;
	t.spec.topics_count = 1;
	t.topics[0] = (struct assign_topic){0, 6};
	t.spec.partitions_count = 6;
	t.spec.racks = t.racks;
	for (uint32_t i = 0; i < 3; i++)
		add_member(&t, 1);
	/* One member in rack 1, one in rack 2, one in none; five partitions in rack 1. */
	t.members[0].rack = 1;
	t.members[1].rack = 2;
	for (uint32_t p = 0; p < 6; p++)
		t.racks[p] = 1;
	t.racks[2] = 3;
	t.racks[4] = 4 | 2;
	t.before[0] = t.before[1] = 2;
	t.before[3] = t.before[5] = 0;
	run(&t, uniform_assign, owner);
	cr_assert_eq(owner[2], 1, "the only other one in its rack");
	cr_assert_eq(owner[4], 1);
	cr_assert_eq(owner[3], 0, "kept");
	cr_assert_eq(owner[5], 0, "kept");
	cr_assert_eq(owner[0], 2, "no room where it is near: kept");
	cr_assert_eq(owner[1], 2);
	sl_arena_destroy(&t.arena);
}
