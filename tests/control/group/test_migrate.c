/* SPDX-License-Identifier: Apache-2.0 */
/* Groups that change between the protocols, and members of both in one group. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "beat.h"
#include "sluice/wire/batch.h"
#include "sluice/wire/consumer_protocol_assignment_gen.h"

/* How many partitions a classic member is told to read. */
static int32_t synced_parts(struct sim *s, const char *member, int32_t generation)
{
	const struct sl_sync_group_resp *r =
		sim_synced(s, sim_sync(s, 3, "g", member, generation, NULL));
	struct sl_consumer_protocol_assignment a;
	struct sl_cursor cur = sl_cursor_from(r->assignment.p, (size_t)r->assignment.len);
	int32_t n = 0;

	cr_assert_eq(r->error_code, 0);
	cr_assert_eq(sl_cursor_i16(&cur), 0);
	cr_assert_eq(sl_consumer_protocol_assignment_decode(&a, &cur, &s->arena, 0), 0);
	for (int32_t i = 0; i < a.assigned_partitions_count; i++)
		n += a.assigned_partitions[i].partitions_count;
	return n;
}

/* Joins a group of the consumer protocol by the classic one. */
static int32_t join_mixed(struct sim *s, const char *member)
{
	const struct sl_join_group_resp *r = sim_joined(
		s,
		sim_join(s, 5, (struct sim_join){.group = "g", .member = member, .topics = "t0"}));

	cr_assert_eq(r->error_code, 0);
	cr_assert(sim_str_is(r->protocol_name, "range"));
	cr_assert_eq(r->members_count, 0, "nobody leads");
	return r->generation_id;
}

static void set_policy(struct sim *s, enum group_migration policy)
{
	struct group_opts opts = sim_default_opts(s);

	opts.migration = policy;
	sim_init_opts(s, &opts);
	sim_load_all(s);
}

Test(group_migrate, a_consumer_takes_a_classic_group_over_with_its_members)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct sim_commit k = {.group = "g", .partition = 1, .offset = 7};
	struct sim_pair pair;
	int32_t generation;
	struct sim s;

	sim_init(&s);
	sim_make_single(&s, "g", &pair);
	k.member = pair.a;
	k.generation = pair.generation;
	cr_assert_eq(sim_committed(&s, sim_commit(&s, 9, k)), 0);
	cr_assert_eq(beat(&s, &a), 0);
	cr_assert_eq(sim_counter(&s, "consumer_upgrades"), 1);
	cr_assert_eq(beat_describe(&s, "g")->members_count, 2);
	/* The member learns it by its heartbeat, joins, and is given its share. */
	cr_assert_eq(sim_heartbeat(&s, "g", pair.a, pair.generation),
	             SL_KERR_REBALANCE_IN_PROGRESS);
	generation = join_mixed(&s, pair.a);
	cr_assert_gt(generation, pair.generation);
	for (int i = 0; i < 4; i++) {
		cr_assert_eq(beat(&s, &a), 0);
		if (sim_heartbeat(&s, "g", pair.a, generation) != 0)
			generation = join_mixed(&s, pair.a);
	}
	cr_assert_eq(synced_parts(&s, pair.a, generation), SIM_TOPIC_PARTS / 2);
	cr_assert_eq(beat_count(&a), SIM_TOPIC_PARTS / 2);
	cr_assert_eq(sim_heartbeat(&s, "g", pair.a, generation), 0);
	cr_assert_eq(sim_heartbeat(&s, "g", pair.a, generation + 1), SL_KERR_ILLEGAL_GENERATION);
	/* All of it is on the log. */
	sim_reload(&s);
	cr_assert_eq(beat_describe(&s, "g")->members_count, 2);
	cr_assert_eq(sim_heartbeat(&s, "g", pair.a, generation), 0);
	cr_assert_eq(sim_offset(&s, "g", 0, 1), 7);
	sim_fini(&s);
}

Test(group_migrate, the_last_consumer_leaves_a_classic_group_behind)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct sim_pair pair;
	int32_t generation;
	struct sim s;

	sim_init(&s);
	sim_make_single(&s, "g", &pair);
	cr_assert_eq(beat(&s, &a), 0);
	generation = join_mixed(&s, pair.a);
	(void)synced_parts(&s, pair.a, generation);
	a.epoch = -1;
	cr_assert_eq(beat_answer(&s, beat_send_short(&s, &a))->error_code, 0);
	cr_assert_eq(sim_counter(&s, "consumer_downgrades"), 1);
	cr_assert_str_eq(sim_group_state(&s, "g"), "PreparingRebalance");
	/* Who loads the group rebalances it: nobody else would ask for what the consumer had. */
	sim_reload(&s);
	cr_assert_str_eq(sim_group_state(&s, "g"), "PreparingRebalance");
	cr_assert_eq(sim_heartbeat(&s, "g", pair.a, generation), SL_KERR_REBALANCE_IN_PROGRESS);
	cr_assert_eq(sim_describe(&s, "g")->members_count, 1);
	cr_assert_eq(beat_describe(&s, "g")->error_code, SL_KERR_GROUP_ID_NOT_FOUND);
	sim_fini(&s);
}

/* Keys that compaction would keep for ever: their last record is no tombstone. */
static uint32_t live_keys(struct sim *s, const struct sim_log *log)
{
	struct sl_bytes rest = {log->bytes, (int32_t)log->len};
	struct sl_bytes keys[64];
	bool is_live[64] = {false};
	struct sl_record_iter it;
	struct sl_batch_head h;
	struct sl_record r;
	uint32_t count = 0, live = 0, i;
	const uint8_t *p;

	while (sl_batch_next(&rest, &p, &h) > 0) {
		cr_assert_eq(sl_record_iter_init(&it, p, &h, NULL, &s->arena), 0);
		while (sl_record_iter_next(&it, &r) > 0) {
			for (i = 0; i < count; i++) {
				if (keys[i].len == r.key.len &&
				    memcmp(keys[i].p, r.key.p, (size_t)r.key.len) == 0)
					break;
			}
			cr_assert_lt(i, 64);
			keys[i] = r.key;
			is_live[i] = r.value.len >= 0;
			count = SL_MAX(count, i + 1);
		}
	}
	for (i = 0; i < count; i++)
		live += is_live[i];
	return live;
}

/* A group of @a and a classic member, which @a leaves; the log refuses what tells of it. */
static void leave_refused(struct sim *s, struct beat_member *a, struct sim_pair *pair)
{
	sim_make_single(s, "g", pair);
	cr_assert_eq(beat(s, a), 0);
	a->epoch = -1;
	s->is_holding = true;
	(void)beat_send_short(s, a);
	cr_assert_eq(sim_counter(s, "consumer_downgrades"), 1);
	sim_flush(s, SL_KERR_NOT_ENOUGH_REPLICAS);
	s->is_holding = false;
}

Test(group_migrate, who_left_before_a_refused_change_does_not_return_with_the_next)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct beat_member b = {.id = "b", .topics = "t0"};
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	leave_refused(&s, &a, &pair);
	cr_assert_eq(beat(&s, &b), 0);
	cr_assert_eq(sim_counter(&s, "consumer_upgrades"), 2);
	cr_assert_eq(beat_describe(&s, "g")->members_count, 2);
	sim_reload(&s);
	cr_assert_eq(beat_describe(&s, "g")->members_count, 2);
	sim_fini(&s);
}

Test(group_migrate, nothing_is_left_of_a_group_that_is_deleted_after_a_refused_change)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct sim_pair pair;
	uint32_t live = 0;
	struct sim s;

	sim_init(&s);
	leave_refused(&s, &a, &pair);
	cr_assert_eq(sim_left(&s, sim_leave(&s, 3, "g", pair.a, NULL)), 0);
	cr_assert_eq(sim_delete_group(&s, "g"), 0);
	for (uint32_t i = 0; i < SIM_PARTITIONS; i++)
		live += live_keys(&s, &s.logs[i]);
	cr_assert_eq(live, 0, "%u", live);
	sim_fini(&s);
}

Test(group_migrate, whom_the_last_consumer_leaves_behind_commits_what_it_read)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct sim_commit k = {.group = "g", .partition = 1, .offset = 7};
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	sim_make_single(&s, "g", &pair);
	cr_assert_eq(beat(&s, &a), 0);
	k.member = pair.a;
	k.generation = join_mixed(&s, pair.a);
	(void)synced_parts(&s, pair.a, k.generation);
	a.epoch = -1;
	cr_assert_eq(beat_answer(&s, beat_send_short(&s, &a))->error_code, 0);
	cr_assert_eq(sim_counter(&s, "consumer_downgrades"), 1);
	cr_assert_eq(sim_heartbeat(&s, "g", pair.a, k.generation), SL_KERR_REBALANCE_IN_PROGRESS);
	cr_assert_eq(sim_committed(&s, sim_commit(&s, 8, k)), 0);
	cr_assert_eq(sim_offset(&s, "g", 0, 1), 7);
	sim_fini(&s);
}

Test(group_migrate, a_consumer_whose_session_ends_leaves_a_classic_group_behind)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	sim_make_single(&s, "g", &pair);
	cr_assert_eq(beat(&s, &a), 0);
	for (int32_t at = 0; at < SIM_CONSUMER_SESSION_MS; at += SIM_HEARTBEAT_MS) {
		int32_t generation = join_mixed(&s, pair.a);

		(void)synced_parts(&s, pair.a, generation);
		sim_advance(&s, SIM_HEARTBEAT_MS);
	}
	cr_assert_eq(sim_counter(&s, "consumer_downgrades"), 1);
	cr_assert_str_eq(sim_group_state(&s, "g"), "PreparingRebalance");
	sim_fini(&s);
}

Test(group_migrate, the_policy_decides)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct sim_pair pair;
	struct sim s;

	set_policy(&s, GROUP_MIGRATE_DOWNGRADE);
	sim_make_single(&s, "g", &pair);
	cr_assert_eq(beat(&s, &a), SL_KERR_GROUP_ID_NOT_FOUND);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Stable");
	sim_fini(&s);
	set_policy(&s, GROUP_MIGRATE_UPGRADE);
	sim_make_single(&s, "g", &pair);
	cr_assert_eq(beat(&s, &a), 0);
	a.epoch = -1;
	(void)beat_send_short(&s, &a);
	cr_assert_eq(sim_counter(&s, "consumer_downgrades"), 0);
	cr_assert_eq(beat_describe(&s, "g")->members_count, 1);
	sim_fini(&s);
}

/* Nobody but them can notice it where the group may not become a classic one again. */
Test(group_migrate, classic_members_that_are_left_alone_learn_of_more_partitions)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct group_event ev = {.type = GROUP_EV_TOPICS_CHANGED};
	struct sim_pair pair;
	int32_t generation;
	struct sim s;

	set_policy(&s, GROUP_MIGRATE_UPGRADE);
	s.topic_parts[0] = 1;
	sim_make_single(&s, "g", &pair);
	cr_assert_eq(beat(&s, &a), 0);
	a.epoch = -1;
	(void)beat_send_short(&s, &a);
	generation = join_mixed(&s, pair.a);
	cr_assert_eq(synced_parts(&s, pair.a, generation), 1);
	cr_assert_eq(sim_heartbeat(&s, "g", pair.a, generation), 0);
	s.topic_parts[0] = 2;
	sim_step(&s, &ev);
	cr_assert_eq(sim_heartbeat(&s, "g", pair.a, generation), SL_KERR_REBALANCE_IN_PROGRESS);
	generation = join_mixed(&s, pair.a);
	cr_assert_eq(synced_parts(&s, pair.a, generation), 2);
	cr_assert_eq(sim_heartbeat(&s, "g", pair.a, generation), 0);
	/* Also of those that came before the group was loaded. */
	s.topic_parts[0] = 3;
	sim_reload(&s);
	cr_assert_eq(sim_heartbeat(&s, "g", pair.a, generation), SL_KERR_REBALANCE_IN_PROGRESS);
	sim_fini(&s);
}

Test(group_migrate, a_refused_consumer_changes_nothing)
{
	struct beat_member a = {.id = "a", .topics = "", .pattern = "("};
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	cr_assert_eq(beat(&s, &a), SL_KERR_INVALID_REGULAR_EXPRESSION);
	cr_assert_eq(beat_describe(&s, "g")->error_code, SL_KERR_GROUP_ID_NOT_FOUND);
	sim_make_single(&s, "g", &pair);
	cr_assert_eq(beat(&s, &a), SL_KERR_INVALID_REGULAR_EXPRESSION);
	cr_assert_eq(sim_describe(&s, "g")->members_count, 1, "it still is a classic group");
	sim_fini(&s);
}

Test(group_migrate, empty_groups_become_what_the_next_one_speaks)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct sim_commit k = {.group = "g", .generation = -1, .partition = 2, .offset = 9};
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	/* Offsets only, then a consumer group, then a classic one, then a consumer group again. */
	cr_assert_eq(sim_committed(&s, sim_commit(&s, 9, k)), 0);
	cr_assert_eq(beat(&s, &a), 0);
	a.epoch = -1;
	(void)beat_send_short(&s, &a);
	sim_reload(&s);
	sim_make_single(&s, "g", &pair);
	sim_reload(&s);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Stable");
	cr_assert_eq(sim_left(&s, sim_leave(&s, 3, "g", pair.a, NULL)), 0);
	a.epoch = 0;
	memset(a.owned, 0, sizeof(a.owned));
	cr_assert_eq(beat(&s, &a), 0);
	sim_reload(&s);
	cr_assert_eq(beat_describe(&s, "g")->members_count, 1);
	cr_assert_eq(sim_offset(&s, "g", 0, 2), 9, "its offsets stay");
	sim_fini(&s);
}

Test(group_migrate, classic_members_of_a_consumer_group_are_checked)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	const struct sl_join_group_resp *r;
	struct sim s;
	char id[128];
	int32_t generation;

	sim_init(&s);
	cr_assert_eq(beat(&s, &a), 0);
	r = sim_joined(&s, sim_join(&s, 5, (struct sim_join){.group = "g", .type = "connect"}));
	cr_assert_eq(r->error_code, SL_KERR_INCONSISTENT_GROUP_PROTOCOL);
	r = sim_joined(&s, sim_join(&s, 5, (struct sim_join){.group = "g", .session_ms = 1}));
	cr_assert_eq(r->error_code, SL_KERR_INVALID_SESSION_TIMEOUT);
	r = sim_joined(&s, sim_join_twice(&s, 5, (struct sim_join){.group = "g"}, id));
	cr_assert_eq(r->error_code, 0);
	generation = r->generation_id;
	r = sim_joined(&s, sim_join(&s, 5, (struct sim_join){.group = "g", .protocols = "rr"}));
	cr_assert_eq(r->error_code, SL_KERR_INCONSISTENT_GROUP_PROTOCOL,
	             "no protocol that all have");
	cr_assert_eq(sim_heartbeat(&s, "g", "a", a.epoch), SL_KERR_UNKNOWN_MEMBER_ID);
	cr_assert_eq(sim_left(&s, sim_leave(&s, 3, "g", "a", NULL)), SL_KERR_UNKNOWN_MEMBER_ID);
	/* It does not fetch what it was given in time. */
	(void)generation;
	sim_advance(&s, SIM_SESSION_MS + 1);
	cr_assert_eq(sim_heartbeat(&s, "g", id, generation), SL_KERR_UNKNOWN_MEMBER_ID);
	sim_fini(&s);
}

Test(group_migrate, a_commit_of_a_classic_member_counts_as_heartbeat)
{
	struct beat_member a = {.id = "a", .topics = "t0"};
	struct sim_commit k = {.group = "g", .offset = 5};
	struct sim s;
	char id[128];

	sim_init(&s);
	cr_assert_eq(beat(&s, &a), 0);
	k.generation = sim_joined(&s, sim_join_twice(&s, 5, (struct sim_join){.group = "g"}, id))
	                       ->generation_id;
	k.member = id;
	(void)synced_parts(&s, id, k.generation);
	for (int i = 0; i < 3; i++) {
		sim_advance(&s, SIM_SESSION_MS - 1);
		cr_assert_eq(sim_committed(&s, sim_commit(&s, 7, k)), 0);
	}
	sim_advance(&s, SIM_SESSION_MS + 1);
	cr_assert_eq(sim_committed(&s, sim_commit(&s, 7, k)), SL_KERR_UNKNOWN_MEMBER_ID);
	sim_fini(&s);
}
