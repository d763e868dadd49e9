/* SPDX-License-Identifier: Apache-2.0 */
/* Large groups: what must take a second or less, without a clock to say so. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "assign.h"
#include "beat.h"

#define MEMBERS    1000
#define PARTITIONS 1000
#define OFFSETS    100000

struct crowd {
	char id[16];
	int32_t epoch;
	int32_t owned[PARTITIONS];
	int32_t count;
};

static void crowd_beat(struct sim *s, struct crowd *m)
{
	struct sl_consumer_group_heartbeat_req_topic_partition owned = {sim_topic_id(0), m->owned,
	                                                                m->count};
	const struct sl_consumer_group_heartbeat_resp *r;
	struct sl_consumer_group_heartbeat_req req;
	struct sl_str name = sl_str_from("t0");

	sl_consumer_group_heartbeat_req_init(&req);
	req.group_id = sl_str_from("g");
	req.member_id = sl_str_from(m->id);
	req.member_epoch = m->epoch;
	req.topic_partitions = &owned;
	req.topic_partitions_count = m->count > 0;
	if (m->epoch == 0) {
		req.rebalance_timeout_ms = 600000;
		req.subscribed_topic_names = &name;
		req.subscribed_topic_names_count = 1;
	}
	sl_arena_reset(&s->arena);
	r = beat_answer(s, sim_send(s, SL_API_CONSUMER_GROUP_HEARTBEAT, 1, &req));
	cr_assert_eq(r->error_code, 0);
	m->epoch = r->member_epoch;
	if (!r->assignment)
		return;
	m->count = 0;
	for (int32_t i = 0; i < r->assignment->topic_partitions_count; i++) {
		for (int32_t k = 0; k < r->assignment->topic_partitions[i].partitions_count; k++)
			m->owned[m->count++] = r->assignment->topic_partitions[i].partitions[k];
	}
}

Test(group_scale, a_thousand_members_come_to_rest)
{
	static struct crowd crowd[MEMBERS];
	static bool is_owned[PARTITIONS];
	uint32_t rounds = 0;
	bool is_done = false;
	struct sim s;

	sim_init(&s);
	s.topic_parts[0] = PARTITIONS;
	for (uint32_t i = 0; i < MEMBERS; i++)
		snprintf(crowd[i].id, sizeof(crowd[i].id), "m%u", i);
	for (; !is_done; rounds++) {
		cr_assert_lt(rounds, 10);
		is_done = true;
		for (uint32_t i = 0; i < MEMBERS; i++) {
			crowd_beat(&s, &crowd[i]);
			is_done &= crowd[i].count == 1 && crowd[i].epoch == MEMBERS;
		}
	}
	for (uint32_t i = 0; i < MEMBERS; i++) {
		cr_assert(!is_owned[crowd[i].owned[0]]);
		is_owned[crowd[i].owned[0]] = true;
	}
	sim_reload(&s);
	cr_assert_str_eq(sim_text(&s, beat_describe(&s, "g")->group_state), "Stable");
	sim_fini(&s);
}

Test(group_scale, the_assignor_places_a_thousand_on_a_thousand)
{
	static struct assign_member members[MEMBERS];
	static uint32_t before[PARTITIONS];
	static uint32_t owner[PARTITIONS];
	static char ids[MEMBERS][16];
	static const uint32_t topics[2] = {0, 1};
	const struct assign_topic list[2] = {{0, PARTITIONS / 2}, {PARTITIONS / 2, PARTITIONS / 2}};
	struct assign_spec spec = {.topics = list,
	                           .topics_count = 2,
	                           .members = members,
	                           .members_count = MEMBERS,
	                           .before = before,
	                           .partitions_count = PARTITIONS};
	struct sl_arena arena;

	cr_assert_eq(sl_arena_create(&arena, 64u << 20), 0);
	for (uint32_t i = 0; i < MEMBERS; i++) {
		snprintf(ids[i], sizeof(ids[i]), "m%u", i);
		/* Every tenth reads one of the two only. */
		members[i] = (struct assign_member){sl_str_from(ids[i]), SL_STR_NULL, topics,
		                                    i % 10 == 0 ? 1 : 2, 0};
		before[i] = 0;
	}
	/* The worst start: one member has everything. */
	for (int round = 0; round < 10; round++) {
		sl_arena_reset(&arena);
		cr_assert_eq(uniform_assign(&spec, &arena, owner), 0);
	}
	for (uint32_t i = 0; i < PARTITIONS; i++)
		cr_assert_neq(owner[i], ASSIGN_NONE);
	sl_arena_destroy(&arena);
}

/* ---- Racks ---- */

#define MANY_PARTS  10000
#define MANY_TOPICS 10
#define RACKS       10

struct land {
	struct assign_topic topics[MANY_TOPICS];
	struct assign_member members[MEMBERS];
	uint32_t numbers[MANY_TOPICS];
	char ids[MEMBERS][8];
	uint64_t racks[MANY_PARTS];
	uint32_t before[MANY_PARTS];
	uint32_t owner[MANY_PARTS];
	uint64_t work;
	uint64_t rng;
	struct assign_spec spec;
};

static uint32_t below(struct land *l, uint32_t n)
{
	l->rng = l->rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(l->rng >> 33) % n;
}

/* Three replicas each. */
static void place_replicas(struct land *l)
{
	for (uint32_t p = 0; p < MANY_PARTS; p++) {
		l->racks[p] = 0;
		for (int n = 0; n < 3; n++)
			l->racks[p] |= UINT64_C(1) << below(l, RACKS);
	}
}

/* The racks' shares of the members go from a tenth to ten times as much. */
static void make_land(struct land *l, bool is_equal)
{
	uint32_t per_topic = MANY_PARTS / MANY_TOPICS;

	*l = (struct land){.rng = 1};
	for (uint32_t t = 0; t < MANY_TOPICS; t++) {
		l->topics[t] = (struct assign_topic){t * per_topic, per_topic};
		l->numbers[t] = t;
	}
	for (uint32_t i = 0; i < MEMBERS; i++) {
		snprintf(l->ids[i], sizeof(l->ids[i]), "m%03u", i);
		l->members[i] = (struct assign_member){
			.id = sl_str_from(l->ids[i]),
			.topics = l->numbers,
			.topics_count = is_equal ? MANY_TOPICS : MANY_TOPICS - i % 7,
			.rack = UINT64_C(1) << below(l, RACKS) * below(l, RACKS) / RACKS};
	}
	for (uint32_t p = 0; p < MANY_PARTS; p++)
		l->before[p] = ASSIGN_NONE;
	place_replicas(l);
	l->spec = (struct assign_spec){l->topics, MANY_TOPICS, l->members, MEMBERS,
	                               l->before, l->racks,    MANY_PARTS, &l->work};
}

/* Return: the work. */
static uint64_t place(struct land *l, assign_fn *fn, struct sl_arena *arena)
{
	l->work = 0;
	sl_arena_reset(arena);
	cr_assert_eq(fn(&l->spec, arena, l->owner), 0, "it ended before the best");
	for (uint32_t p = 0; p < MANY_PARTS; p++) {
		cr_assert_neq(l->owner[p], ASSIGN_NONE);
		l->before[p] = l->owner[p];
	}
	return l->work;
}

/* A look at each partition and member is one; all of them once is 11,000. */
Test(group_scale, a_thousand_are_placed_near_ten_thousand)
{
	static assign_fn *const assignors[] = {uniform_assign, uniform_assign, range_assign};
	static struct land land;
	struct sl_arena arena;

	cr_assert_eq(sl_arena_create(&arena, 64u << 20), 0);
	for (uint32_t round = 0; round < SL_ARRAY_SIZE(assignors); round++) {
		assign_fn *fn = assignors[round];

		make_land(&land, round != 1);
		cr_assert_lt(place(&land, fn, &arena), ASSIGN_WORK_MAX / 4);
		cr_assert_lt(place(&land, fn, &arena), 100000, "nothing changed");
		land.spec.members_count--;
		for (uint32_t p = 0; p < MANY_PARTS; p++) {
			if (land.before[p] == MEMBERS - 1)
				land.before[p] = ASSIGN_NONE;
		}
		cr_assert_lt(place(&land, fn, &arena), 1000000, "one left");
		land.spec.members_count++;
		cr_assert_lt(place(&land, fn, &arena), 1000000, "one came");
		place_replicas(&land);
		cr_assert_lt(place(&land, fn, &arena), ASSIGN_WORK_MAX, "all replicas moved");
	}
	sl_arena_destroy(&arena);
}

Test(group_scale, a_hundred_thousand_offsets_are_loaded)
{
	struct sl_offset_commit_req_topic_partition *parts = calloc(OFFSETS, sizeof(*parts));
	struct sl_offset_commit_req_topic topic;
	struct sl_offset_commit_req req;
	struct sim s;

	sim_init(&s);
	sl_offset_commit_req_init(&req);
	sl_offset_commit_req_topic_init(&topic);
	topic.name = sl_str_from("t0");
	topic.partitions = parts;
	topic.partitions_count = SIM_TOPIC_PARTS;
	for (int32_t i = 0; i < SIM_TOPIC_PARTS; i++) {
		parts[i].partition_index = i;
		parts[i].committed_metadata = sl_str_from("");
		parts[i].committed_leader_epoch = -1;
	}
	req.topics = &topic;
	req.topics_count = 1;
	for (int32_t at = 0; at < OFFSETS; at += SIM_TOPIC_PARTS) {
		char id[16];

		snprintf(id, sizeof(id), "g%d", at);
		req.group_id = sl_str_from(id);
		(void)sim_send(&s, SL_API_OFFSET_COMMIT, 9, &req);
	}
	sim_reload(&s);
	cr_assert_eq(sim_offset(&s, "g0", 0, SIM_TOPIC_PARTS - 1), 0);
	cr_assert_geq(sim_counter(&s, "load_records"), OFFSETS);
	free(parts);
	sim_fini(&s);
}
