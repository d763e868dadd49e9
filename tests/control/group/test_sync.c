/* SPDX-License-Identifier: Apache-2.0 */
/* SyncGroup, Heartbeat, LeaveGroup, sessions: the life of a generation. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "sim.h"

static int16_t sync_error(struct sim *s, int16_t version, const char *group, const char *member,
                          int32_t generation)
{
	return sim_synced(s, sim_sync(s, version, group, member, generation, NULL))->error_code;
}

/* Joins two members and stops before anybody synced. */
static void make_completing(struct sim *s, const char *group, struct sim_pair *out)
{
	uint64_t a = sim_join_twice(s, 5, (struct sim_join){.group = group}, out->a);
	uint64_t b = sim_join_twice(s, 5, (struct sim_join){.group = group}, out->b);

	sim_advance(s, 2 * SIM_DELAY_MS);
	out->generation = sim_joined(s, a)->generation_id;
	cr_assert_eq(sim_joined(s, b)->generation_id, out->generation);
	cr_assert_str_eq(sim_group_state(s, group), "CompletingRebalance");
}

Test(group_sync, every_version_gets_its_assignment)
{
	for (int16_t version = 0; version <= 5; version++) {
		const struct sl_sync_group_resp *r;
		struct sim_pair pair;
		struct sim s;
		char assign[300];
		uint64_t a;
		uint64_t b;

		sim_init(&s);
		make_completing(&s, "g", &pair);
		b = sim_sync(&s, version, "g", pair.b, pair.generation, NULL);
		cr_assert_eq(sim_state(&s, b), SIM_WAITING);
		snprintf(assign, sizeof(assign), "%s=one;%s=two;stranger=three", pair.a, pair.b);
		a = sim_sync(&s, version, "g", pair.a, pair.generation, assign);
		r = sim_synced(&s, a);
		cr_assert_eq(r->error_code, 0);
		cr_assert_str_eq(sim_bytes_text(&s, r->assignment), "one");
		if (version >= 5) {
			cr_assert(sim_str_is(r->protocol_type, "consumer"));
			cr_assert(sim_str_is(r->protocol_name, "range"));
		}
		cr_assert_str_eq(sim_bytes_text(&s, sim_synced(&s, b)->assignment), "two");
		/* A repeated sync in the stable group gives the same. */
		b = sim_sync(&s, version, "g", pair.b, pair.generation, NULL);
		cr_assert_str_eq(sim_bytes_text(&s, sim_synced(&s, b)->assignment), "two");
		sim_fini(&s);
	}
}

Test(group_sync, refuses_what_kafka_refuses)
{
	struct sl_sync_group_req m;
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	cr_assert_eq(sync_error(&s, 3, "", "m", 1), SL_KERR_INVALID_GROUP_ID);
	cr_assert_eq(sync_error(&s, 3, "g", "m", 1), SL_KERR_UNKNOWN_MEMBER_ID);
	make_completing(&s, "g", &pair);
	cr_assert_eq(sync_error(&s, 3, "g", "m", pair.generation), SL_KERR_UNKNOWN_MEMBER_ID);
	cr_assert_eq(sync_error(&s, 3, "g", pair.a, pair.generation + 1),
	             SL_KERR_ILLEGAL_GENERATION);
	sl_sync_group_req_init(&m);
	m.group_id = sl_str_from("g");
	m.member_id = sl_str_from(pair.a);
	m.generation_id = pair.generation;
	m.protocol_type = sl_str_from("connect");
	cr_assert_eq(sim_synced(&s, sim_send(&s, SL_API_SYNC_GROUP, 5, &m))->error_code,
	             SL_KERR_INCONSISTENT_GROUP_PROTOCOL);
	m.protocol_type = sl_str_from("consumer");
	m.protocol_name = sl_str_from("rr");
	cr_assert_eq(sim_synced(&s, sim_send(&s, SL_API_SYNC_GROUP, 5, &m))->error_code,
	             SL_KERR_INCONSISTENT_GROUP_PROTOCOL);
	sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.a, .topics = "t3"});
	cr_assert_eq(sync_error(&s, 3, "g", pair.b, pair.generation),
	             SL_KERR_REBALANCE_IN_PROGRESS);
	sim_fini(&s);
}

Test(group_sync, members_left_out_by_the_leader_get_an_empty_assignment)
{
	struct sim_pair pair;
	struct sim s;
	char assign[300];
	uint64_t b;

	sim_init(&s);
	make_completing(&s, "g", &pair);
	b = sim_sync(&s, 3, "g", pair.b, pair.generation, NULL);
	snprintf(assign, sizeof(assign), "%s=one", pair.a);
	sim_sync(&s, 3, "g", pair.a, pair.generation, assign);
	cr_assert_eq(sim_synced(&s, b)->error_code, 0);
	cr_assert_eq(sim_synced(&s, b)->assignment.len, 0);
	sim_fini(&s);
}

Test(group_sync, nobody_gets_an_assignment_before_it_is_on_the_log)
{
	struct sim_pair pair;
	struct sim s;
	uint64_t again;
	uint64_t a;
	uint64_t b;

	sim_init(&s);
	make_completing(&s, "g", &pair);
	s.is_holding = true;
	a = sim_sync(&s, 3, "g", pair.a, pair.generation, "x=1");
	b = sim_sync(&s, 3, "g", pair.b, pair.generation, NULL);
	cr_assert_eq(s.queue_count, 1);
	cr_assert_eq(sim_state(&s, a), SIM_WAITING);
	cr_assert_eq(sim_state(&s, b), SIM_WAITING);
	cr_assert_str_eq(sim_group_state(&s, "g"), "CompletingRebalance");
	/* A leader that repeats itself is not written twice. */
	again = sim_sync(&s, 3, "g", pair.a, pair.generation, "x=2");
	cr_assert_eq(s.queue_count, 1);
	cr_assert_eq(sim_synced(&s, a)->error_code, SL_KERR_REBALANCE_IN_PROGRESS);
	sim_flush(&s, SL_KERR_NONE);
	cr_assert_eq(sim_synced(&s, again)->error_code, 0);
	cr_assert_eq(sim_synced(&s, b)->error_code, 0);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Stable");
	sim_fini(&s);
}

Test(group_sync, refused_record_fails_the_syncs_and_starts_a_rebalance)
{
	static const struct {
		enum sl_kerr from;
		enum sl_kerr to;
	} table[] = {
		{SL_KERR_NOT_LEADER_OR_FOLLOWER, SL_KERR_NOT_COORDINATOR},
		{SL_KERR_KAFKA_STORAGE_ERROR, SL_KERR_NOT_COORDINATOR},
		{SL_KERR_NOT_ENOUGH_REPLICAS, SL_KERR_COORDINATOR_NOT_AVAILABLE},
		{SL_KERR_REQUEST_TIMED_OUT, SL_KERR_COORDINATOR_NOT_AVAILABLE},
		{SL_KERR_UNKNOWN_TOPIC_OR_PARTITION, SL_KERR_COORDINATOR_NOT_AVAILABLE},
		{SL_KERR_MESSAGE_TOO_LARGE, SL_KERR_UNKNOWN_SERVER_ERROR},
		{SL_KERR_RECORD_LIST_TOO_LARGE, SL_KERR_UNKNOWN_SERVER_ERROR},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(table); i++) {
		struct sim_pair pair;
		struct sim s;
		uint64_t a;
		uint64_t b;

		sim_init(&s);
		make_completing(&s, "g", &pair);
		s.is_holding = true;
		b = sim_sync(&s, 3, "g", pair.b, pair.generation, NULL);
		a = sim_sync(&s, 3, "g", pair.a, pair.generation, "x=1");
		sim_flush(&s, table[i].from);
		cr_assert_eq(sim_synced(&s, a)->error_code, table[i].to);
		cr_assert_eq(sim_synced(&s, b)->error_code, table[i].to);
		cr_assert_str_eq(sim_group_state(&s, "g"), "PreparingRebalance");
		cr_assert_eq(sim_counter(&s, "appends_failed"), 1);
		sim_fini(&s);
	}
}

Test(group_sync, rebalance_during_the_write_tells_waiting_members_at_once)
{
	struct sim_pair pair;
	struct sim s;
	uint64_t a;

	sim_init(&s);
	make_completing(&s, "g", &pair);
	s.is_holding = true;
	a = sim_sync(&s, 3, "g", pair.a, pair.generation, "x=1");
	sim_join(&s, 3, (struct sim_join){.group = "g"});
	cr_assert_eq(sim_synced(&s, a)->error_code, SL_KERR_REBALANCE_IN_PROGRESS);
	sim_flush(&s, SL_KERR_NONE);
	cr_assert_str_eq(sim_group_state(&s, "g"), "PreparingRebalance");
	sim_fini(&s);
}

Test(group_sync, rebalance_while_completing_takes_the_old_assignments_away)
{
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	sim_make_pair(&s, "g", &pair);
	sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.a});
	sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.b});
	cr_assert_str_eq(sim_group_state(&s, "g"), "CompletingRebalance");
	cr_assert_str_eq(sim_bytes_text(&s, sim_describe(&s, "g")->members[0].member_assignment),
	                 "one");
	sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.b, .topics = "t4"});
	cr_assert_str_eq(sim_group_state(&s, "g"), "PreparingRebalance");
	cr_assert_eq(sim_describe(&s, "g")->members[0].member_assignment.len, 0);
	sim_fini(&s);
}

Test(group_sync, old_write_in_flight_does_not_hold_up_the_next_generation)
{
	struct sim_pair pair;
	struct sim s;
	uint64_t joins[2];
	uint64_t a;

	sim_init(&s);
	make_completing(&s, "g", &pair);
	s.is_holding = true;
	sim_sync(&s, 3, "g", pair.a, pair.generation, "x=1");
	joins[0] = sim_join(&s, 5,
	                    (struct sim_join){.group = "g", .member = pair.a, .topics = "t2"});
	joins[1] = sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.b});
	cr_assert_eq(sim_joined(&s, joins[0])->generation_id, 2);
	cr_assert_eq(sim_joined(&s, joins[1])->generation_id, 2);
	a = sim_sync(&s, 3, "g", pair.a, 2, "x=1");
	cr_assert_eq(s.queue_count, 2);
	sim_flush_one(&s, 0, SL_KERR_NONE);
	cr_assert_eq(sim_state(&s, a), SIM_WAITING);
	sim_flush_one(&s, 0, SL_KERR_NONE);
	cr_assert_eq(sim_synced(&s, a)->error_code, 0);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Stable");
	sim_fini(&s);
}

Test(group_sync, member_that_never_syncs_is_removed_after_the_rebalance_timeout)
{
	struct sim_pair pair;
	struct sim s;
	uint64_t a;

	sim_init(&s);
	make_completing(&s, "g", &pair);
	a = sim_sync(&s, 3, "g", pair.a, pair.generation, "x=1");
	cr_assert_eq(sim_synced(&s, a)->error_code, 0);
	for (int i = 0; i < SIM_REBALANCE_MS / 5000; i++) {
		cr_assert_eq(sim_heartbeat(&s, "g", pair.a, pair.generation), 0);
		cr_assert_eq(sim_heartbeat(&s, "g", pair.b, pair.generation), 0);
		sim_advance(&s, 5000);
	}
	cr_assert_eq(sim_counter(&s, "members_not_synced"), 1);
	cr_assert_eq(sim_heartbeat(&s, "g", pair.a, pair.generation),
	             SL_KERR_REBALANCE_IN_PROGRESS);
	cr_assert_eq(sim_heartbeat(&s, "g", pair.b, pair.generation), SL_KERR_UNKNOWN_MEMBER_ID);
	sim_fini(&s);
}

Test(group_heartbeat, follows_the_state)
{
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	cr_assert_eq(sim_heartbeat(&s, "", "m", 1), SL_KERR_INVALID_GROUP_ID);
	cr_assert_eq(sim_heartbeat(&s, "g", "m", 1), SL_KERR_UNKNOWN_MEMBER_ID);
	make_completing(&s, "g", &pair);
	cr_assert_eq(sim_heartbeat(&s, "g", pair.a, pair.generation), 0);
	cr_assert_eq(sim_heartbeat(&s, "g", pair.a, pair.generation + 1),
	             SL_KERR_ILLEGAL_GENERATION);
	cr_assert_eq(sim_heartbeat(&s, "g", "m", pair.generation), SL_KERR_UNKNOWN_MEMBER_ID);
	sim_sync(&s, 3, "g", pair.a, pair.generation, "x=1");
	cr_assert_eq(sim_heartbeat(&s, "g", pair.b, pair.generation), 0);
	sim_join(&s, 3, (struct sim_join){.group = "g"});
	cr_assert_eq(sim_heartbeat(&s, "g", pair.b, pair.generation),
	             SL_KERR_REBALANCE_IN_PROGRESS);
	sim_fini(&s);
}

Test(group_heartbeat, silent_member_expires_and_heartbeats_keep_the_other)
{
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	sim_make_pair(&s, "g", &pair);
	sim_advance(&s, SIM_SESSION_MS - 1);
	cr_assert_eq(sim_heartbeat(&s, "g", pair.b, pair.generation), 0);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Stable");
	sim_advance(&s, 1);
	cr_assert_str_eq(sim_group_state(&s, "g"), "PreparingRebalance");
	cr_assert_eq(sim_counter(&s, "members_expired"), 1);
	cr_assert_eq(sim_heartbeat(&s, "g", pair.b, pair.generation),
	             SL_KERR_REBALANCE_IN_PROGRESS);
	sim_fini(&s);
}

Test(group_heartbeat, held_join_and_held_sync_suspend_the_session)
{
	struct sim_pair pair;
	struct sim s;
	uint64_t a;
	uint64_t b;

	sim_init(&s);
	sim_make_pair(&s, "g", &pair);
	a = sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.a});
	for (int i = 0; i < 8; i++) {
		sim_advance(&s, 5000);
		sim_heartbeat(&s, "g", pair.b, pair.generation);
	}
	cr_assert_eq(sim_state(&s, a), SIM_WAITING);
	cr_assert_eq(sim_counter(&s, "members_expired"), 0);
	b = sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.b});
	cr_assert_eq(sim_joined(&s, a)->error_code, 0);
	cr_assert_eq(sim_joined(&s, b)->error_code, 0);
	b = sim_sync(&s, 3, "g", pair.b, pair.generation + 1, NULL);
	for (int i = 0; i < 8; i++) {
		sim_advance(&s, 5000);
		sim_heartbeat(&s, "g", pair.a, pair.generation + 1);
	}
	cr_assert_eq(sim_state(&s, b), SIM_WAITING);
	cr_assert_eq(sim_counter(&s, "members_expired"), 0);
	/* Once answered, the session counts again. */
	sim_sync(&s, 3, "g", pair.a, pair.generation + 1, "x=1");
	cr_assert_eq(sim_synced(&s, b)->error_code, 0);
	sim_advance(&s, SIM_SESSION_MS);
	cr_assert_eq(sim_counter(&s, "members_expired"), 2);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Empty");
	sim_fini(&s);
}

Test(group_heartbeat, last_member_expiring_empties_the_group_on_the_log)
{
	struct sim_pair pair;
	struct sim s;
	uint64_t appended;

	sim_init(&s);
	sim_make_single(&s, "g", &pair);
	appended = s.appended;
	sim_advance(&s, SIM_SESSION_MS);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Empty");
	cr_assert_eq(s.appended, appended + 1);
	sim_reload(&s);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Empty");
	sim_fini(&s);
}

Test(group_leave, every_version_and_the_other_rebalances)
{
	for (int16_t version = 0; version <= 5; version++) {
		struct sim_pair pair;
		struct sim s;

		sim_init(&s);
		sim_make_pair(&s, "g", &pair);
		cr_assert_eq(sim_left(&s, sim_leave(&s, version, "g", "nobody", NULL)),
		             SL_KERR_UNKNOWN_MEMBER_ID);
		cr_assert_eq(sim_left(&s, sim_leave(&s, version, "g", pair.a, NULL)), 0);
		cr_assert_eq(sim_heartbeat(&s, "g", pair.b, pair.generation),
		             SL_KERR_REBALANCE_IN_PROGRESS);
		cr_assert_eq(sim_left(&s, sim_leave(&s, version, "g", pair.a, NULL)),
		             SL_KERR_UNKNOWN_MEMBER_ID);
		cr_assert_eq(sim_left(&s, sim_leave(&s, version, "none", "m", NULL)),
		             SL_KERR_UNKNOWN_MEMBER_ID);
		cr_assert_eq(sim_left(&s, sim_leave(&s, version, "", "m", NULL)),
		             SL_KERR_INVALID_GROUP_ID);
		sim_fini(&s);
	}
}

Test(group_leave, last_one_is_answered_when_the_empty_group_is_on_the_log)
{
	struct sim_pair pair;
	struct sim s;
	uint64_t h;

	sim_init(&s);
	sim_make_single(&s, "g", &pair);
	s.is_holding = true;
	h = sim_leave(&s, 3, "g", pair.a, NULL);
	cr_assert_eq(sim_state(&s, h), SIM_WAITING);
	sim_flush(&s, SL_KERR_NONE);
	cr_assert_eq(sim_left(&s, h), 0);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Empty");
	sim_fini(&s);
}

Test(group_leave, refused_record_is_told_and_the_member_stays_gone)
{
	struct sim_pair pair;
	struct sim s;
	uint64_t h;

	sim_init(&s);
	sim_make_single(&s, "g", &pair);
	s.is_holding = true;
	h = sim_leave(&s, 3, "g", pair.a, NULL);
	sim_flush(&s, SL_KERR_NOT_ENOUGH_REPLICAS);
	cr_assert_eq(sim_left(&s, h), SL_KERR_COORDINATOR_NOT_AVAILABLE);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Empty");
	sim_fini(&s);
}

Test(group_leave, several_at_once_with_a_result_each)
{
	struct sl_leave_group_req_member who[3];
	const struct sl_leave_group_resp *r;
	struct sl_leave_group_req m;
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	sim_make_pair(&s, "g", &pair);
	sl_leave_group_req_init(&m);
	for (int i = 0; i < 3; i++)
		sl_leave_group_req_member_init(&who[i]);
	m.group_id = sl_str_from("g");
	m.members = who;
	m.members_count = 3;
	who[0].member_id = sl_str_from(pair.a);
	who[1].member_id = sl_str_from("nobody");
	who[2].member_id = sl_str_from(pair.b);
	r = sim_answer(&s, sim_send(&s, SL_API_LEAVE_GROUP, 5, &m));
	cr_assert_eq(r->error_code, 0);
	cr_assert_eq(r->members_count, 3);
	cr_assert_eq(r->members[0].error_code, 0);
	cr_assert(sim_str_is(r->members[0].member_id, pair.a));
	cr_assert_eq(r->members[1].error_code, SL_KERR_UNKNOWN_MEMBER_ID);
	cr_assert_eq(r->members[2].error_code, 0);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Empty");
	sim_fini(&s);
}

Test(group_leave, leaver_completes_the_join_of_those_that_wait)
{
	struct sim_pair pair;
	struct sim s;
	uint64_t a;

	sim_init(&s);
	sim_make_pair(&s, "g", &pair);
	a = sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.a});
	cr_assert_eq(sim_state(&s, a), SIM_WAITING);
	cr_assert_eq(sim_left(&s, sim_leave(&s, 3, "g", pair.b, NULL)), 0);
	cr_assert_eq(sim_joined(&s, a)->members_count, 1);
	sim_fini(&s);
}

Test(group_leave, member_with_a_held_join_or_sync_is_answered)
{
	struct sim_pair pair;
	struct sim s;
	uint64_t a;
	uint64_t b;

	sim_init(&s);
	sim_make_pair(&s, "g", &pair);
	a = sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.a});
	sim_leave(&s, 3, "g", pair.a, NULL);
	cr_assert_eq(sim_joined(&s, a)->error_code, SL_KERR_UNKNOWN_MEMBER_ID);
	b = sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.b});
	cr_assert_eq(sim_joined(&s, b)->error_code, 0);
	s.is_holding = true;
	b = sim_sync(&s, 3, "g", pair.b, pair.generation + 1, "x=1");
	sim_leave(&s, 3, "g", pair.b, NULL);
	cr_assert_eq(sim_synced(&s, b)->error_code, SL_KERR_UNKNOWN_MEMBER_ID);
	sim_flush(&s, SL_KERR_NONE);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Empty");
	sim_fini(&s);
}

Test(group_leave, pending_member_may_leave)
{
	const struct sl_join_group_resp *r;
	struct sim s;

	sim_init(&s);
	r = sim_joined(&s, sim_join(&s, 5, (struct sim_join){.group = "g"}));
	cr_assert_eq(r->error_code, SL_KERR_MEMBER_ID_REQUIRED);
	cr_assert_eq(sim_left(&s, sim_leave(&s, 3, "g", sim_text(&s, r->member_id), NULL)), 0);
	cr_assert_eq(sim_left(&s, sim_leave(&s, 3, "g", sim_text(&s, r->member_id), NULL)),
	             SL_KERR_UNKNOWN_MEMBER_ID);
	sim_fini(&s);
}

Test(group_trace, member_joins_a_stable_group_and_both_get_a_share)
{
	struct sim_pair pair;
	struct sim s;
	char c[128];
	char assign[512];
	uint64_t ja;
	uint64_t jc;
	uint64_t sc;

	sim_init(&s);
	sim_make_single(&s, "g", &pair);
	jc = sim_join_twice(&s, 5, (struct sim_join){.group = "g"}, c);
	cr_assert_eq(sim_state(&s, jc), SIM_WAITING);
	cr_assert_eq(sim_heartbeat(&s, "g", pair.a, 1), SL_KERR_REBALANCE_IN_PROGRESS);
	ja = sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.a});
	cr_assert_eq(sim_joined(&s, ja)->generation_id, 2);
	cr_assert_eq(sim_joined(&s, ja)->members_count, 2);
	cr_assert(sim_str_is(sim_joined(&s, jc)->leader, pair.a));
	sc = sim_sync(&s, 3, "g", c, 2, NULL);
	snprintf(assign, sizeof(assign), "%s=A;%s=C", pair.a, c);
	cr_assert_str_eq(
		sim_bytes_text(&s,
	                       sim_synced(&s, sim_sync(&s, 3, "g", pair.a, 2, assign))->assignment),
		"A");
	cr_assert_str_eq(sim_bytes_text(&s, sim_synced(&s, sc)->assignment), "C");
	/* The leader leaves: the next oldest leads. */
	cr_assert_eq(sim_left(&s, sim_leave(&s, 1, "g", pair.a, NULL)), 0);
	jc = sim_join(&s, 5, (struct sim_join){.group = "g", .member = c});
	cr_assert_eq(sim_joined(&s, jc)->generation_id, 3);
	cr_assert(sim_str_is(sim_joined(&s, jc)->leader, c));
	cr_assert_eq(sim_joined(&s, jc)->members_count, 1);
	sim_fini(&s);
}
