/* SPDX-License-Identifier: Apache-2.0 */
/* Properties of the assignors, over random groups: all is given once, evenly, and mostly kept. */
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
	t->members[i] = (struct assign_member){sl_str_from(t->ids[i]), SL_STR_NULL, t->lists[i], n};
}

static void make(struct table *t, uint64_t seed, bool is_equal)
{
	uint32_t members;

	*t = (struct table){.rng = seed};
	cr_assert_eq(sl_arena_create(&t->arena, ARENA_BYTES), 0);
	t->spec.topics = t->topics;
	t->spec.members = t->members;
	t->spec.before = t->before;
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
