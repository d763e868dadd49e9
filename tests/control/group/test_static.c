/* SPDX-License-Identifier: Apache-2.0 */
/* Static members: group.instance.id, KIP-345 and KIP-814. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "sim.h"

struct statics {
	char a[160]; /* instance "ia", leads */
	char b[160]; /* instance "ib" */
};

static void make_statics(struct sim *s, struct statics *out)
{
	char assign[512];
	uint64_t a = sim_join(s, 5, (struct sim_join){.group = "g", .instance = "ia"});
	uint64_t b = sim_join(s, 5, (struct sim_join){.group = "g", .instance = "ib"});

	sim_advance(s, 2 * SIM_DELAY_MS);
	cr_assert_eq(sim_joined(s, a)->members_count, 2);
	cr_assert(sim_str_is(sim_joined(s, a)->members[0].group_instance_id, "ia"));
	snprintf(out->a, sizeof(out->a), "%s", sim_text(s, sim_joined(s, a)->member_id));
	snprintf(out->b, sizeof(out->b), "%s", sim_text(s, sim_joined(s, b)->member_id));
	snprintf(assign, sizeof(assign), "%s=one;%s=two", out->a, out->b);
	cr_assert_eq(sim_synced(s, sim_sync(s, 3, "g", out->a, 1, assign))->error_code, 0);
	cr_assert_eq(sim_synced(s, sim_sync(s, 3, "g", out->b, 1, NULL))->error_code, 0);
}

Test(group_static, needs_one_join_only_and_the_id_begins_with_the_instance)
{
	struct statics m;
	struct sim s;

	sim_init(&s);
	make_statics(&s, &m);
	cr_assert_eq(strncmp(m.a, "ia-", 3), 0);
	sim_fini(&s);
}

Test(group_static, follower_that_returns_keeps_generation_and_fences_the_old_id)
{
	const struct sl_join_group_resp *r;
	struct statics m;
	struct sim s;
	char id[160];

	sim_init(&s);
	make_statics(&s, &m);
	r = sim_joined(&s, sim_join(&s, 5, (struct sim_join){.group = "g", .instance = "ib"}));
	cr_assert_eq(r->error_code, 0);
	cr_assert_eq(r->generation_id, 1);
	cr_assert(!sim_str_is(r->member_id, m.b));
	cr_assert(sim_str_is(r->leader, m.a));
	snprintf(id, sizeof(id), "%s", sim_text(&s, r->member_id));
	cr_assert_str_eq(sim_group_state(&s, "g"), "Stable");
	cr_assert_str_eq(
		sim_bytes_text(&s, sim_synced(&s, sim_sync(&s, 3, "g", id, 1, NULL))->assignment),
		"two");
	cr_assert_eq(sim_heartbeat_as(&s, "g", m.b, "ib", 1), SL_KERR_FENCED_INSTANCE_ID);
	cr_assert_eq(sim_heartbeat(&s, "g", m.b, 1), SL_KERR_UNKNOWN_MEMBER_ID);
	cr_assert_eq(sim_heartbeat_as(&s, "g", id, "ib", 1), 0);
	cr_assert_eq(sim_counter(&s, "static_replaced"), 1);
	/* The new id is on the log. */
	sim_reload(&s);
	cr_assert_eq(sim_heartbeat_as(&s, "g", id, "ib", 1), 0);
	cr_assert_eq(sim_heartbeat_as(&s, "g", m.b, "ib", 1), SL_KERR_FENCED_INSTANCE_ID);
	sim_fini(&s);
}

Test(group_static, returning_leader_is_told_to_skip_the_assignment_from_version_9)
{
	const struct sl_join_group_resp *r;
	struct statics m;
	struct sim s;

	sim_init(&s);
	make_statics(&s, &m);
	r = sim_joined(&s, sim_join(&s, 9, (struct sim_join){.group = "g", .instance = "ia"}));
	cr_assert_eq(r->error_code, 0);
	cr_assert_eq(r->generation_id, 1);
	cr_assert(r->skip_assignment);
	cr_assert(sl_str_eq(r->leader, r->member_id));
	cr_assert_eq(r->members_count, 2);
	r = sim_joined(&s, sim_join(&s, 9, (struct sim_join){.group = "g", .instance = "ib"}));
	cr_assert(!r->skip_assignment);
	cr_assert_eq(r->members_count, 0);
	sim_fini(&s);
}

Test(group_static, returning_leader_of_old_version_takes_itself_for_a_follower)
{
	const struct sl_join_group_resp *r;
	struct statics m;
	struct sim s;

	sim_init(&s);
	make_statics(&s, &m);
	r = sim_joined(&s, sim_join(&s, 8, (struct sim_join){.group = "g", .instance = "ia"}));
	cr_assert_eq(r->generation_id, 1);
	cr_assert(sim_str_is(r->leader, m.a));
	cr_assert_eq(r->members_count, 0);
	sim_fini(&s);
}

Test(group_static, changed_protocol_selection_rebalances)
{
	struct sim s;
	uint64_t a = 0;
	uint64_t b;

	sim_init(&s);
	a = sim_join(&s, 5,
	             (struct sim_join){.group = "g", .instance = "ia", .protocols = "range,rr"});
	sim_advance(&s, SIM_DELAY_MS);
	cr_assert(sim_str_is(sim_joined(&s, a)->protocol_name, "range"));
	sim_sync(&s, 3, "g", sim_text(&s, sim_joined(&s, a)->member_id), 1, "x=1");
	b = sim_join(&s, 5,
	             (struct sim_join){.group = "g", .instance = "ia", .protocols = "rr,range"});
	cr_assert_eq(sim_joined(&s, b)->generation_id, 2);
	cr_assert(sim_str_is(sim_joined(&s, b)->protocol_name, "rr"));
	sim_fini(&s);
}

Test(group_static, refused_record_puts_the_old_member_back)
{
	const struct sl_join_group_resp *r;
	struct statics m;
	struct sim s;
	uint64_t h;

	sim_init(&s);
	make_statics(&s, &m);
	s.is_holding = true;
	h = sim_join(&s, 5,
	             (struct sim_join){.group = "g",
	                               .instance = "ib",
	                               .protocols = "range,rr",
	                               .session_ms = 20000});
	cr_assert_eq(sim_state(&s, h), SIM_WAITING);
	cr_assert_eq(sim_heartbeat_as(&s, "g", m.b, "ib", 1), SL_KERR_FENCED_INSTANCE_ID);
	sim_flush(&s, SL_KERR_NOT_ENOUGH_REPLICAS);
	r = sim_joined(&s, h);
	cr_assert_eq(r->error_code, SL_KERR_COORDINATOR_NOT_AVAILABLE);
	cr_assert_eq(r->member_id.len, 0);
	cr_assert_eq(sim_heartbeat_as(&s, "g", m.b, "ib", 1), 0);
	cr_assert_eq(sim_counter(&s, "static_reverted"), 1);
	/* With its old protocols: the same ones are no reason for a rebalance. */
	r = sim_joined(&s,
	               sim_join(&s, 5,
	                        (struct sim_join){.group = "g", .member = m.b, .instance = "ib"}));
	cr_assert_eq(r->generation_id, 1);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Stable");
	/* With its old session, too. */
	sim_heartbeat_as(&s, "g", m.a, "ia", 1);
	sim_advance(&s, SIM_SESSION_MS);
	cr_assert_eq(sim_counter(&s, "members_expired"), 2);
	sim_fini(&s);
}

Test(group_static, rebalance_during_the_write_answers_the_join_whatever_the_log_says)
{
	struct statics m;
	struct sim s;
	uint64_t joins[2];
	uint64_t h;

	sim_init(&s);
	make_statics(&s, &m);
	s.is_holding = true;
	h = sim_join(&s, 5, (struct sim_join){.group = "g", .instance = "ib"});
	joins[0] = sim_join(&s, 5,
	                    (struct sim_join){.group = "g", .member = m.a, .instance = "ia"});
	cr_assert_eq(sim_joined(&s, joins[0])->generation_id, 2);
	cr_assert_eq(sim_joined(&s, h)->generation_id, 2);
	sim_flush(&s, SL_KERR_NOT_ENOUGH_REPLICAS);
	cr_assert_eq(sim_counter(&s, "static_reverted"), 0);
	joins[1] = sim_join(&s, 5,
	                    (struct sim_join){.group = "g",
	                                      .member = sim_text(&s, sim_joined(&s, h)->member_id),
	                                      .instance = "ib"});
	cr_assert_eq(sim_joined(&s, joins[1])->generation_id, 2);
	sim_fini(&s);
}

Test(group_static, returning_while_completing_or_preparing_joins_the_rebalance)
{
	struct statics m;
	struct sim s;
	uint64_t old;
	uint64_t new;
	uint64_t a;

	sim_init(&s);
	make_statics(&s, &m);
	a = sim_join(&s, 5, (struct sim_join){.group = "g", .member = m.a, .instance = "ia"});
	new = sim_join(&s, 5, (struct sim_join){.group = "g", .instance = "ib"});
	cr_assert_eq(sim_joined(&s, a)->generation_id, 2);
	cr_assert_eq(sim_joined(&s, new)->generation_id, 2);
	/* Completing: a held sync of the old id is fenced, and all begin anew. */
	old = sim_sync(&s, 3, "g", sim_text(&s, sim_joined(&s, new)->member_id), 2, NULL);
	cr_assert_eq(sim_state(&s, old), SIM_WAITING);
	new = sim_join(&s, 5, (struct sim_join){.group = "g", .instance = "ib"});
	cr_assert_eq(sim_synced(&s, old)->error_code, SL_KERR_FENCED_INSTANCE_ID);
	cr_assert_eq(sim_state(&s, new), SIM_WAITING);
	cr_assert_str_eq(sim_group_state(&s, "g"), "PreparingRebalance");
	/* Preparing: a held join of the old id is fenced. */
	old = new;
	new = sim_join(&s, 5, (struct sim_join){.group = "g", .instance = "ib"});
	cr_assert_eq(sim_joined(&s, old)->error_code, SL_KERR_FENCED_INSTANCE_ID);
	sim_join(&s, 5, (struct sim_join){.group = "g", .member = m.a, .instance = "ia"});
	cr_assert_eq(sim_joined(&s, new)->generation_id, 3);
	sim_fini(&s);
}

Test(group_static, absent_static_member_keeps_its_place_until_the_session_ends)
{
	struct statics m;
	struct sim s;
	uint64_t a;

	sim_init(&s);
	make_statics(&s, &m);
	a = sim_join(&s, 5,
	             (struct sim_join){
			     .group = "g", .member = m.a, .instance = "ia", .rebalance_ms = 7000});
	cr_assert_eq(sim_state(&s, a), SIM_WAITING);
	/* Its session runs out first, so the others need not wait for the rebalance time-out. */
	sim_advance(&s, SIM_SESSION_MS);
	cr_assert_eq(sim_joined(&s, a)->generation_id, 2);
	cr_assert_eq(sim_joined(&s, a)->members_count, 1);
	sim_fini(&s);
}

Test(group_static, static_member_that_heartbeats_but_does_not_join_stays_a_member)
{
	struct statics m;
	struct sim s;
	uint64_t a;

	sim_init(&s);
	make_statics(&s, &m);
	a = sim_join(&s, 5, (struct sim_join){.group = "g", .member = m.a, .instance = "ia"});
	for (int i = 0; i < SIM_REBALANCE_MS / 5000; i++) {
		sim_heartbeat_as(&s, "g", m.b, "ib", 1);
		sim_advance(&s, 5000);
	}
	cr_assert_eq(sim_joined(&s, a)->generation_id, 2);
	cr_assert_eq(sim_joined(&s, a)->members_count, 2);
	sim_fini(&s);
}

Test(group_static, leader_that_took_over_stays_leader_though_it_is_not_the_oldest)
{
	struct statics m;
	struct sim s;
	uint64_t a;
	uint64_t b;

	sim_init(&s);
	make_statics(&s, &m);
	/* The oldest member, the leader, only heartbeats. */
	b = sim_join(
		&s, 5,
		(struct sim_join){.group = "g", .member = m.b, .instance = "ib", .topics = "t1"});
	for (int i = 0; i < SIM_REBALANCE_MS / 5000; i++) {
		sim_heartbeat_as(&s, "g", m.a, "ia", 1);
		sim_advance(&s, 5000);
	}
	cr_assert(sim_str_is(sim_joined(&s, b)->leader, m.b));
	sim_sync(&s, 3, "g", m.b, 2, "x=1");
	for (int i = 0; i < 2; i++) {
		b = sim_join(
			&s, 5,
			(struct sim_join){
				.group = "g", .member = m.b, .instance = "ib", .topics = "t1"});
		a = sim_join(&s, 5,
		             (struct sim_join){.group = "g", .member = m.a, .instance = "ia"});
		cr_assert_eq(sim_joined(&s, a)->generation_id, 3 + i);
		cr_assert(sim_str_is(sim_joined(&s, a)->leader, m.b));
		cr_assert_eq(sim_joined(&s, b)->members_count, 2);
		sim_sync(&s, 3, "g", m.b, 3 + i, "x=1");
		/* The log remembers it as well. */
		sim_reload(&s);
	}
	sim_fini(&s);
}

Test(group_static, administrator_removes_by_instance_and_wrong_pairs_are_refused)
{
	struct statics m;
	struct sim s;

	sim_init(&s);
	make_statics(&s, &m);
	cr_assert_eq(sim_left(&s, sim_leave(&s, 3, "g", "", "nobody")), SL_KERR_UNKNOWN_MEMBER_ID);
	cr_assert_eq(sim_left(&s, sim_leave(&s, 3, "g", "", NULL)), SL_KERR_UNKNOWN_MEMBER_ID);
	cr_assert_eq(sim_left(&s, sim_leave(&s, 3, "g", m.a, "ib")), SL_KERR_FENCED_INSTANCE_ID);
	cr_assert_eq(sim_left(&s, sim_leave(&s, 3, "g", "", "ib")), 0);
	cr_assert_eq(sim_heartbeat_as(&s, "g", m.b, "ib", 1), SL_KERR_UNKNOWN_MEMBER_ID);
	sim_fini(&s);
}

Test(group_static, fenced_everywhere)
{
	struct sl_sync_group_req sync;
	struct statics m;
	struct sim s;
	uint64_t h;

	sim_init(&s);
	make_statics(&s, &m);
	sim_join(&s, 5, (struct sim_join){.group = "g", .instance = "ib"});
	h = sim_join(&s, 5, (struct sim_join){.group = "g", .member = m.b, .instance = "ib"});
	cr_assert_eq(sim_joined(&s, h)->error_code, SL_KERR_FENCED_INSTANCE_ID);
	h = sim_commit(&s, 7,
	               (struct sim_commit){
			       .group = "g", .member = m.b, .instance = "ib", .generation = 1});
	cr_assert_eq(sim_committed(&s, h), SL_KERR_FENCED_INSTANCE_ID);
	sl_sync_group_req_init(&sync);
	sync.group_id = sl_str_from("g");
	sync.member_id = sl_str_from(m.b);
	sync.group_instance_id = sl_str_from("ib");
	sync.generation_id = 1;
	h = sim_send(&s, SL_API_SYNC_GROUP, 3, &sync);
	cr_assert_eq(sim_synced(&s, h)->error_code, SL_KERR_FENCED_INSTANCE_ID);
	h = sim_join(&s, 5, (struct sim_join){.group = "g", .member = m.a, .instance = "unknown"});
	cr_assert_eq(sim_joined(&s, h)->error_code, SL_KERR_UNKNOWN_MEMBER_ID);
	sim_fini(&s);
}
