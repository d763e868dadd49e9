/* SPDX-License-Identifier: Apache-2.0 */
/* JoinGroup: member ids, the initial delay, protocols, limits. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "sim.h"

static int16_t join_error(struct sim *s, int16_t version, struct sim_join j)
{
	return sim_joined(s, sim_join(s, version, j))->error_code;
}

Test(group_join, old_versions_join_at_once_and_new_ones_twice)
{
	for (int16_t version = 0; version <= 9; version++) {
		const struct sl_join_group_resp *r;
		struct sim s;
		char id[128];
		uint64_t h;

		sim_init(&s);
		if (version < 4)
			h = sim_join(&s, version, (struct sim_join){.group = "g"});
		else
			h = sim_join_twice(&s, version, (struct sim_join){.group = "g"}, id);
		sim_advance(&s, SIM_DELAY_MS - 1);
		cr_assert_eq(sim_state(&s, h), SIM_WAITING);
		sim_advance(&s, 1);
		r = sim_joined(&s, h);
		cr_assert_eq(r->error_code, 0);
		cr_assert_eq(r->generation_id, 1);
		cr_assert(sim_str_is(r->protocol_name, "range"));
		cr_assert(sl_str_eq(r->leader, r->member_id));
		cr_assert_eq(r->members_count, 1);
		cr_assert(sl_str_eq(r->members[0].member_id, r->member_id));
		cr_assert_gt(r->members[0].metadata.len, 0);
		cr_assert(strncmp(r->member_id.p, "client-", 7) == 0);
		cr_assert_eq(r->member_id.len, 7 + 36);
		if (version >= 4)
			cr_assert(sim_str_is(r->member_id, id));
		if (version >= 7)
			cr_assert(sim_str_is(r->protocol_type, "consumer"));
		cr_assert(!r->skip_assignment);
		sim_fini(&s);
	}
}

Test(group_join, refuses_what_kafka_refuses)
{
	struct sim s;
	char long_id[301];

	memset(long_id, 'x', 300);
	long_id[300] = 0;
	sim_init(&s);
	cr_assert_eq(join_error(&s, 5, (struct sim_join){.group = ""}), SL_KERR_INVALID_GROUP_ID);
	cr_assert_eq(join_error(&s, 5, (struct sim_join){.group = long_id}),
	             SL_KERR_INVALID_GROUP_ID);
	cr_assert_eq(join_error(&s, 5, (struct sim_join){.group = "g", .session_ms = 5999}),
	             SL_KERR_INVALID_SESSION_TIMEOUT);
	cr_assert_eq(join_error(&s, 5, (struct sim_join){.group = "g", .session_ms = 1800001}),
	             SL_KERR_INVALID_SESSION_TIMEOUT);
	cr_assert_eq(join_error(&s, 5, (struct sim_join){.group = "g", .member = "nobody"}),
	             SL_KERR_UNKNOWN_MEMBER_ID);
	cr_assert_eq(join_error(&s, 2, (struct sim_join){.group = "g", .type = ""}),
	             SL_KERR_INCONSISTENT_GROUP_PROTOCOL);
	cr_assert_eq(join_error(&s, 2, (struct sim_join){.group = "g", .protocols = ","}),
	             SL_KERR_INCONSISTENT_GROUP_PROTOCOL);
	/* None of these left a group behind. */
	cr_assert_str_eq(sim_group_state(&s, "g"), "Dead");
	cr_assert_eq(s.appended, 0);
	cr_assert_eq(sim_counter(&s, "refused_group_id"), 2);
	sim_fini(&s);
}

Test(group_join, error_echoes_the_member_id)
{
	struct sim s;
	const struct sl_join_group_resp *r;

	sim_init(&s);
	r = sim_joined(&s, sim_join(&s, 9, (struct sim_join){.group = "g", .member = "m-1"}));
	cr_assert(sim_str_is(r->member_id, "m-1"));
	cr_assert_eq(r->generation_id, -1);
	cr_assert(sl_str_is_null(r->protocol_name));
	sim_fini(&s);
}

Test(group_join, inconsistent_protocol_or_type_is_refused_and_group_goes_on)
{
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	sim_make_single(&s, "g", &pair);
	cr_assert_eq(join_error(&s, 5, (struct sim_join){.group = "g", .protocols = "other"}),
	             SL_KERR_INCONSISTENT_GROUP_PROTOCOL);
	cr_assert_eq(join_error(&s, 5, (struct sim_join){.group = "g", .type = "connect"}),
	             SL_KERR_INCONSISTENT_GROUP_PROTOCOL);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Stable");
	cr_assert_eq(sim_heartbeat(&s, "g", pair.a, pair.generation), 0);
	sim_fini(&s);
}

Test(group_join, delay_is_extended_while_members_come_up_to_rebalance_timeout)
{
	struct sim s;
	uint64_t h[8];

	sim_init(&s);
	/* One member more in each part of the delay: 3, 6, then the 7 s of the time-out are used
	 * up. */
	for (int i = 0; i < 8; i++) {
		h[i] = sim_join(&s, 2, (struct sim_join){.group = "g", .rebalance_ms = 7000});
		sim_advance(&s, 1000);
		if (i < 6)
			cr_assert_eq(sim_state(&s, h[0]), SIM_WAITING, "after %d s", i + 1);
	}
	cr_assert_eq(sim_joined(&s, h[0])->members_count, 7);
	cr_assert_eq(sim_joined(&s, h[6])->generation_id, 1);
	/* The eighth came too late and began the next rebalance. */
	cr_assert_eq(sim_state(&s, h[7]), SIM_WAITING);
	cr_assert_str_eq(sim_group_state(&s, "g"), "PreparingRebalance");
	sim_fini(&s);
}

Test(group_join, delay_ends_when_nobody_more_came)
{
	struct sim s;
	uint64_t a;
	uint64_t b;

	sim_init(&s);
	a = sim_join(&s, 2, (struct sim_join){.group = "g"});
	sim_advance(&s, 1000);
	b = sim_join(&s, 2, (struct sim_join){.group = "g"});
	sim_advance(&s, 2000);
	cr_assert_eq(sim_state(&s, a), SIM_WAITING);
	sim_advance(&s, 3000);
	cr_assert_eq(sim_joined(&s, a)->members_count, 2);
	cr_assert_eq(sim_joined(&s, b)->members_count, 0);
	cr_assert(sl_str_eq(sim_joined(&s, b)->leader, sim_joined(&s, a)->member_id));
	sim_fini(&s);
}

Test(group_join, highest_voted_common_protocol_wins)
{
	struct sim s;
	uint64_t a;
	uint64_t b;
	uint64_t c;

	sim_init(&s);
	a = sim_join(&s, 2, (struct sim_join){.group = "g", .protocols = "x,range,rr"});
	b = sim_join(&s, 2, (struct sim_join){.group = "g", .protocols = "rr,range"});
	c = sim_join(&s, 2, (struct sim_join){.group = "g", .protocols = "rr,y,range"});
	sim_advance(&s, 2 * SIM_DELAY_MS);
	cr_assert(sim_str_is(sim_joined(&s, a)->protocol_name, "rr"));
	cr_assert(sim_str_is(sim_joined(&s, b)->protocol_name, "rr"));
	cr_assert(sim_str_is(sim_joined(&s, c)->protocol_name, "rr"));
	cr_assert_eq(join_error(&s, 2, (struct sim_join){.group = "g", .protocols = "x,y"}),
	             SL_KERR_INCONSISTENT_GROUP_PROTOCOL);
	sim_fini(&s);
}

Test(group_join, votes_for_protocols_that_are_not_common_go_to_the_next_best)
{
	struct sim s;
	uint64_t a;

	sim_init(&s);
	a = sim_join(&s, 2, (struct sim_join){.group = "g", .protocols = "x,range,rr"});
	sim_join(&s, 2, (struct sim_join){.group = "g", .protocols = "y,range,rr"});
	sim_join(&s, 2, (struct sim_join){.group = "g", .protocols = "rr,range"});
	sim_advance(&s, 2 * SIM_DELAY_MS);
	cr_assert(sim_str_is(sim_joined(&s, a)->protocol_name, "range"));
	sim_fini(&s);
}

Test(group_join, follower_with_same_metadata_keeps_generation_and_leader_starts_rebalance)
{
	const struct sl_join_group_resp *r;
	struct sim_pair pair;
	struct sim s;
	uint64_t a;
	uint64_t b;

	sim_init(&s);
	sim_make_pair(&s, "g", &pair);
	r = sim_joined(&s, sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.b}));
	cr_assert_eq(r->error_code, 0);
	cr_assert_eq(r->generation_id, pair.generation);
	cr_assert(sim_str_is(r->leader, pair.a));
	cr_assert_eq(r->members_count, 0);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Stable");

	a = sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.a});
	cr_assert_eq(sim_state(&s, a), SIM_WAITING);
	cr_assert_eq(sim_heartbeat(&s, "g", pair.b, pair.generation),
	             SL_KERR_REBALANCE_IN_PROGRESS);
	/* All known members are back: no need to wait for the time-out. */
	b = sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.b});
	cr_assert_eq(sim_joined(&s, a)->generation_id, pair.generation + 1);
	cr_assert_eq(sim_joined(&s, a)->members_count, 2);
	cr_assert_eq(sim_joined(&s, b)->generation_id, pair.generation + 1);
	sim_fini(&s);
}

Test(group_join, follower_with_new_metadata_starts_rebalance)
{
	struct sim_pair pair;
	struct sim s;
	uint64_t b;

	sim_init(&s);
	sim_make_pair(&s, "g", &pair);
	b = sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.b, .topics = "t0,t1"});
	cr_assert_eq(sim_state(&s, b), SIM_WAITING);
	cr_assert_str_eq(sim_group_state(&s, "g"), "PreparingRebalance");
	sim_fini(&s);
}

Test(group_join, repeated_join_while_completing_gets_same_generation)
{
	const struct sl_join_group_resp *r;
	struct sim s;
	char id[128];
	uint64_t h;

	sim_init(&s);
	h = sim_join_twice(&s, 5, (struct sim_join){.group = "g"}, id);
	sim_advance(&s, SIM_DELAY_MS);
	cr_assert_eq(sim_joined(&s, h)->generation_id, 1);
	r = sim_joined(&s, sim_join(&s, 5, (struct sim_join){.group = "g", .member = id}));
	cr_assert_eq(r->generation_id, 1);
	cr_assert_eq(r->members_count, 1);
	/* Changed metadata makes the generation useless. */
	h = sim_join(&s, 5, (struct sim_join){.group = "g", .member = id, .topics = "t1"});
	cr_assert_eq(sim_joined(&s, h)->generation_id, 2);
	sim_fini(&s);
}

Test(group_join, version_0_waits_for_others_as_long_as_their_sessions_last)
{
	struct sim_join a = {.group = "g", .session_ms = SIM_SESSION_MS};
	char assign[256];
	char id[128];
	struct sim s;
	uint64_t h;
	uint64_t b;

	sim_init(&s);
	h = sim_join(&s, 0, a);
	sim_advance(&s, SIM_DELAY_MS);
	snprintf(id, sizeof(id), "%.*s", SL_STR_ARG(sim_joined(&s, h)->member_id));
	snprintf(assign, sizeof(assign), "%s=mine", id);
	cr_assert_eq(sim_synced(&s, sim_sync(&s, 0, "g", id, 1, assign))->error_code, 0);
	b = sim_join(&s, 0, a);
	sim_advance(&s, SIM_SESSION_MS - 1);
	cr_assert_eq(sim_state(&s, b), SIM_WAITING);
	a.member = id;
	h = sim_join(&s, 0, a);
	cr_assert_eq(sim_joined(&s, h)->generation_id, 2);
	cr_assert_eq(sim_joined(&s, h)->members_count, 2);
	cr_assert_eq(sim_joined(&s, b)->generation_id, 2);
	sim_fini(&s);
}

Test(group_join, members_that_stay_away_are_removed_and_next_joiner_leads)
{
	struct sim_pair pair;
	struct sim s;
	uint64_t b;

	sim_init(&s);
	sim_make_pair(&s, "g", &pair);
	b = sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.b, .topics = "t1"});
	/* The leader's heartbeats go on, but it never joins. */
	for (int i = 0; i < SIM_REBALANCE_MS / 5000; i++) {
		cr_assert_eq(sim_heartbeat(&s, "g", pair.a, pair.generation),
		             SL_KERR_REBALANCE_IN_PROGRESS);
		sim_advance(&s, 5000);
	}
	cr_assert_eq(sim_joined(&s, b)->generation_id, pair.generation + 1);
	cr_assert(sim_str_is(sim_joined(&s, b)->leader, pair.b));
	cr_assert_eq(sim_joined(&s, b)->members_count, 1);
	cr_assert_eq(sim_heartbeat(&s, "g", pair.a, pair.generation + 1),
	             SL_KERR_UNKNOWN_MEMBER_ID);
	cr_assert_eq(sim_counter(&s, "members_not_rejoined"), 1);
	sim_fini(&s);
}

Test(group_join, pending_member_that_never_returns_expires_and_holds_up_the_join_till_then)
{
	struct sim_pair pair;
	struct sim s;
	uint64_t a;

	sim_init(&s);
	sim_make_single(&s, "g", &pair);
	cr_assert_eq(join_error(&s, 5, (struct sim_join){.group = "g"}),
	             SL_KERR_MEMBER_ID_REQUIRED);
	a = sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.a});
	cr_assert_eq(sim_state(&s, a), SIM_WAITING);
	sim_advance(&s, SIM_SESSION_MS);
	cr_assert_eq(sim_joined(&s, a)->generation_id, pair.generation + 1);
	cr_assert_eq(sim_counter(&s, "members_pending_expired"), 1);
	sim_fini(&s);
}

Test(group_join, size_limit_refuses_the_next_member)
{
	struct sim s;
	struct group_opts opts = sim_default_opts(&s);
	uint64_t a;
	uint64_t b;

	opts.group_size_max = 2;
	sim_init_opts(&s, &opts);
	sim_load_all(&s);
	a = sim_join(&s, 2, (struct sim_join){.group = "g"});
	b = sim_join(&s, 2, (struct sim_join){.group = "g"});
	cr_assert_eq(join_error(&s, 2, (struct sim_join){.group = "g"}),
	             SL_KERR_GROUP_MAX_SIZE_REACHED);
	sim_advance(&s, 2 * SIM_DELAY_MS);
	cr_assert_eq(sim_joined(&s, a)->members_count, 2);
	cr_assert_eq(sim_joined(&s, b)->error_code, 0);
	cr_assert_eq(join_error(&s, 2, (struct sim_join){.group = "g"}),
	             SL_KERR_GROUP_MAX_SIZE_REACHED);
	cr_assert_eq(sim_counter(&s, "refused_group_full"), 2);
	sim_fini(&s);
}

Test(group_join, second_join_of_a_member_answers_the_first)
{
	struct sim_pair pair;
	struct sim s;
	uint64_t first;
	uint64_t second;

	sim_init(&s);
	sim_make_pair(&s, "g", &pair);
	first = sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.a});
	second = sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.a});
	cr_assert_eq(sim_joined(&s, first)->error_code, SL_KERR_REBALANCE_IN_PROGRESS);
	cr_assert_eq(sim_state(&s, second), SIM_WAITING);
	sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.b});
	cr_assert_eq(sim_joined(&s, second)->error_code, 0);
	sim_fini(&s);
}

Test(group_join, cancelled_join_still_counts_and_is_never_answered)
{
	struct sim_pair pair;
	struct sim s;
	uint64_t a;
	uint64_t b;

	sim_init(&s);
	sim_make_pair(&s, "g", &pair);
	a = sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.a});
	sim_cancel(&s, a);
	b = sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.b});
	cr_assert_eq(sim_joined(&s, b)->generation_id, pair.generation + 1);
	cr_assert_eq(sim_state(&s, a), SIM_CANCELLED);
	cr_assert_eq(sim_counter(&s, "answers_dropped"), 1);
	/* Its session decides afterwards. */
	sim_sync(&s, 5, "g", pair.b, pair.generation + 1, NULL);
	for (int i = 0; i < 3; i++) {
		sim_advance(&s, SIM_SESSION_MS / 2);
		sim_heartbeat(&s, "g", pair.b, pair.generation + 1);
	}
	cr_assert_eq(sim_counter(&s, "members_expired"), 1);
	sim_fini(&s);
}

Test(group_join, new_member_whose_join_never_completes_is_dropped_after_five_minutes)
{
	struct sim_pair pair;
	struct sim s;
	uint64_t joins[2];

	sim_init(&s);
	sim_make_single(&s, "g", &pair);
	/* Rebalance time-out longer than the five minutes, and the old member does not come. */
	joins[0] = sim_join(
		&s, 5, (struct sim_join){.group = "g", .member = pair.a, .rebalance_ms = 1000000});
	cr_assert_eq(sim_joined(&s, joins[0])->generation_id, 2);
	joins[1] = sim_join(&s, 3, (struct sim_join){.group = "g", .rebalance_ms = 1000000});
	for (int i = 0; i < 62; i++) {
		cr_assert_eq(sim_heartbeat(&s, "g", pair.a, 2), SL_KERR_REBALANCE_IN_PROGRESS);
		sim_advance(&s, 5000);
	}
	cr_assert_eq(sim_joined(&s, joins[1])->error_code, SL_KERR_UNKNOWN_MEMBER_ID);
	cr_assert_eq(sim_counter(&s, "members_expired"), 1);
	sim_fini(&s);
}

Test(group_join, refused_first_record_fails_the_held_join)
{
	struct sim s;
	uint64_t h;

	sim_init(&s);
	s.is_holding = true;
	h = sim_join(&s, 2, (struct sim_join){.group = "g"});
	cr_assert_eq(s.queue_count, 1);
	sim_flush(&s, SL_KERR_NOT_LEADER_OR_FOLLOWER);
	cr_assert_eq(sim_joined(&s, h)->error_code, SL_KERR_NOT_COORDINATOR);
	sim_fini(&s);
}

Test(group_join, thousand_members_join_one_group)
{
	static uint64_t h[1000];
	const struct sl_join_group_resp *r;
	struct sim s;

	sim_init(&s);
	for (int i = 0; i < 1000; i++)
		h[i] = sim_join(&s, 2, (struct sim_join){.group = "g"});
	sim_advance(&s, 2 * SIM_DELAY_MS);
	r = sim_joined(&s, h[0]);
	cr_assert_eq(r->members_count, 1000);
	for (int i = 1; i < 1000; i++)
		cr_assert_eq(sim_joined(&s, h[i])->generation_id, 1);
	sim_fini(&s);
}
