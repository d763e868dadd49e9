/* SPDX-License-Identifier: Apache-2.0 */
/* DescribeGroups, ListGroups, DeleteGroups, the views. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "sim.h"

static void commit(struct sim *s, const char *group, int32_t partition)
{
	struct sim_commit k = {
		.group = group, .generation = -1, .partition = partition, .offset = 1};

	cr_assert_eq(sim_committed(s, sim_commit(s, 7, k)), 0);
}

static const struct sl_describe_groups_resp_group *describe(struct sim *s, int16_t version,
                                                            const char *group)
{
	const struct sl_describe_groups_resp *r;
	struct sl_str name = sl_str_from(group);
	struct sl_describe_groups_req m;

	sl_describe_groups_req_init(&m);
	m.groups = &name;
	m.groups_count = 1;
	m.include_authorized_operations = true;
	r = sim_answer(s, sim_send(s, SL_API_DESCRIBE_GROUPS, version, &m));
	return r->groups;
}

Test(group_describe, absent_group_is_dead_until_version_5_and_an_error_from_6)
{
	struct sim s;

	sim_init(&s);
	for (int16_t version = 0; version <= 6; version++) {
		const struct sl_describe_groups_resp_group *g = describe(&s, version, "none");

		cr_assert(sim_str_is(g->group_state, "Dead"));
		cr_assert_eq(g->error_code, version < 6 ? 0 : SL_KERR_GROUP_ID_NOT_FOUND);
		cr_assert_eq(g->members_count, 0);
		if (version == 6)
			cr_assert(sim_str_is(g->error_message, "Group none not found."));
	}
	cr_assert(sim_str_is(describe(&s, 5, "")->group_state, "Dead"));
	sim_fini(&s);
}

Test(group_describe, stable_group_shows_metadata_and_assignment)
{
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	sim_make_pair(&s, "g", &pair);
	for (int16_t version = 0; version <= 6; version++) {
		const struct sl_describe_groups_resp_group *g = describe(&s, version, "g");

		cr_assert_eq(g->error_code, 0);
		cr_assert(sim_str_is(g->group_state, "Stable"));
		cr_assert(sim_str_is(g->protocol_type, "consumer"));
		cr_assert(sim_str_is(g->protocol_data, "range"));
		cr_assert_eq(g->members_count, 2);
		cr_assert(sim_str_is(g->members[0].member_id, pair.a));
		cr_assert(sim_str_is(g->members[0].client_id, "client"));
		cr_assert(sim_str_is(g->members[0].client_host, "/127.0.0.1"));
		cr_assert_gt(g->members[0].member_metadata.len, 0);
		cr_assert_str_eq(sim_bytes_text(&s, g->members[1].member_assignment), "two");
		if (version >= 3)
			cr_assert_eq(g->authorized_operations, 3400);
	}
	sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.a});
	cr_assert_eq(sim_describe(&s, "g")->members[0].member_metadata.len, 0);
	cr_assert_eq(sim_describe(&s, "g")->protocol_data.len, 0);
	cr_assert_eq(sim_describe(&s, "g")->authorized_operations, INT32_MIN);
	sim_fini(&s);
}

static int32_t list_count(struct sim *s, int16_t version, const char *state, const char *type)
{
	const struct sl_list_groups_resp *r;
	struct sl_str states = sl_str_from(state);
	struct sl_str types = sl_str_from(type);
	struct sl_list_groups_req m;

	sl_list_groups_req_init(&m);
	m.states_filter = &states;
	m.states_filter_count = state ? 1 : 0;
	m.types_filter = &types;
	m.types_filter_count = type ? 1 : 0;
	r = sim_answer(s, sim_send(s, SL_API_LIST_GROUPS, version, &m));
	cr_assert_eq(r->error_code, 0);
	for (int32_t i = 0; i < r->groups_count; i++) {
		cr_assert_gt(r->groups[i].group_id.len, 0);
		if (version >= 5)
			cr_assert(sim_str_is(r->groups[i].group_type, "classic"));
	}
	return r->groups_count;
}

Test(group_list, filters_by_state_and_type_without_regard_to_case)
{
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	sim_make_single(&s, "a", &pair);
	commit(&s, "b", 0);
	commit(&s, "c", 0);
	for (int16_t version = 0; version <= 5; version++)
		cr_assert_eq(list_count(&s, version, NULL, NULL), 3);
	cr_assert_eq(list_count(&s, 4, "Stable", NULL), 1);
	cr_assert_eq(list_count(&s, 4, "sTaBLE ", NULL), 1);
	cr_assert_eq(list_count(&s, 4, "Empty", NULL), 2);
	cr_assert_eq(list_count(&s, 4, "Assigning", NULL), 0);
	cr_assert_eq(list_count(&s, 5, NULL, "Classic"), 3);
	cr_assert_eq(list_count(&s, 5, NULL, "consumer"), 0);
	cr_assert_eq(list_count(&s, 5, "Empty", "classic"), 2);
	sim_fini(&s);
}

Test(group_list, says_so_while_a_partition_is_loading)
{
	const struct sl_list_groups_resp *r;
	struct sl_list_groups_req m;
	struct sim s;

	sim_init(&s);
	commit(&s, "b", 0);
	sim_partition(&s, GROUP_EV_LOAD_BEGIN, 0);
	sl_list_groups_req_init(&m);
	r = sim_answer(&s, sim_send(&s, SL_API_LIST_GROUPS, 4, &m));
	cr_assert_eq(r->error_code, SL_KERR_COORDINATOR_LOAD_IN_PROGRESS);
	sim_fini(&s);
}

Test(group_delete, empty_groups_only)
{
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	cr_assert_eq(sim_delete_group(&s, "none"), SL_KERR_GROUP_ID_NOT_FOUND);
	sim_make_single(&s, "g", &pair);
	cr_assert_eq(sim_delete_group(&s, "g"), SL_KERR_NON_EMPTY_GROUP);
	sim_leave(&s, 1, "g", pair.a, NULL);
	cr_assert_eq(sim_delete_group(&s, "g"), 0);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Dead");
	commit(&s, "h", 0);
	commit(&s, "h", 1);
	cr_assert_eq(sim_delete_group(&s, "h"), 0);
	cr_assert_eq(sim_offset(&s, "h", 0, 1), -1);
	sim_reload(&s);
	cr_assert_eq(list_count(&s, 4, NULL, NULL), 0);
	cr_assert_eq(sim_offset(&s, "h", 0, 1), -1);
	sim_fini(&s);
}

Test(group_delete, several_groups_each_with_its_result_and_named_twice_answered_once)
{
	struct sl_str names[4] = {sl_str_from("a"), sl_str_from("none"), sl_str_from("a"),
	                          sl_str_from("b")};
	const struct sl_delete_groups_resp *r;
	struct sl_delete_groups_req m;
	struct sim s;

	sim_init(&s);
	sl_delete_groups_req_init(&m);
	m.groups_names = names;
	m.groups_names_count = 4;
	for (int16_t version = 0; version <= 3; version++) {
		commit(&s, "a", 0);
		commit(&s, "b", 0);
		r = sim_answer(&s, sim_send(&s, SL_API_DELETE_GROUPS, version, &m));
		cr_assert_eq(r->results_count, 3);
		cr_assert_eq(r->results[0].error_code, 0);
		cr_assert_eq(r->results[1].error_code, SL_KERR_GROUP_ID_NOT_FOUND);
		cr_assert(sim_str_is(r->results[2].group_id, "b"));
		cr_assert_eq(r->results[2].error_code, 0);
		cr_assert_eq(list_count(&s, 4, NULL, NULL), 0);
	}
	sim_fini(&s);
}

Test(group_delete, group_takes_no_changes_while_its_tombstone_is_on_the_way)
{
	struct sim_commit k = {.group = "g", .generation = -1};
	struct sl_str name = sl_str_from("g");
	const struct sl_delete_groups_resp *r;
	struct group_event gone = {.type = GROUP_EV_TOPIC_DELETED, .topic = sl_str_from("t0")};
	struct sl_delete_groups_req m;
	struct sim s;
	uint64_t h;

	sim_init(&s);
	commit(&s, "g", 0);
	s.is_holding = true;
	sl_delete_groups_req_init(&m);
	m.groups_names = &name;
	m.groups_names_count = 1;
	h = sim_send(&s, SL_API_DELETE_GROUPS, 2, &m);
	cr_assert_eq(sim_joined(&s, sim_join(&s, 5, (struct sim_join){.group = "g"}))->error_code,
	             SL_KERR_COORDINATOR_LOAD_IN_PROGRESS);
	cr_assert_eq(sim_committed(&s, sim_commit(&s, 7, k)), SL_KERR_COORDINATOR_LOAD_IN_PROGRESS);
	cr_assert_eq(sim_delete_group(&s, "g"), SL_KERR_COORDINATOR_LOAD_IN_PROGRESS);
	sim_step(&s, &gone);
	cr_assert_eq(s.queue_count, 1);
	/* Refused: everything is as before. */
	sim_flush(&s, SL_KERR_NOT_LEADER_OR_FOLLOWER);
	r = sim_answer(&s, h);
	cr_assert_eq(r->results[0].error_code, SL_KERR_NOT_COORDINATOR);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 1);
	s.is_holding = false;
	cr_assert_eq(sim_committed(&s, sim_commit(&s, 7, k)), 0);
	cr_assert_eq(sim_delete_group(&s, "g"), 0);
	sim_fini(&s);
}

Test(group_delete, also_buries_a_commit_on_its_way)
{
	struct sim_commit k = {.group = "g", .generation = -1, .offset = 9, .partition = 3};
	struct sl_str name = sl_str_from("g");
	struct sl_delete_groups_req m;
	struct sim s;
	uint64_t h[2];

	sim_init(&s);
	commit(&s, "g", 0);
	s.is_holding = true;
	h[0] = sim_commit(&s, 7, k);
	sl_delete_groups_req_init(&m);
	m.groups_names = &name;
	m.groups_names_count = 1;
	h[1] = sim_send(&s, SL_API_DELETE_GROUPS, 2, &m);
	sim_flush(&s, SL_KERR_NONE);
	cr_assert_eq(sim_committed(&s, h[0]), 0);
	cr_assert_eq(sim_state(&s, h[1]), SIM_ANSWERED);
	/* A tombstone for each, or compaction would bring the second one back one day. */
	cr_assert_eq(sim_counter(&s, "offsets_deleted"), 2);
	cr_assert_eq(sim_offset(&s, "g", 0, 3), -1);
	sim_reload(&s);
	cr_assert_eq(sim_offset(&s, "g", 0, 3), -1);
	cr_assert_eq(list_count(&s, 4, NULL, NULL), 0);
	sim_fini(&s);
}

Test(group_views, show_groups_and_offsets)
{
	struct group_offset_view o;
	struct group_view v;
	struct sim_pair pair;
	struct sim s;
	uint32_t pos = 0;
	int seen = 0;

	sim_init(&s);
	sim_make_single(&s, "g", &pair);
	commit(&s, "h", 2);
	while (group_next(s.c, &pos, &v)) {
		bool is_g = sim_str_is(v.group_id, "g");

		seen++;
		cr_assert_str_eq(v.state, is_g ? "Stable" : "Empty");
		cr_assert_eq(v.members, is_g ? 1 : 0);
		cr_assert_eq(v.generation, is_g ? 1 : 0);
		cr_assert_eq(v.partition, group_partition(s.c, v.group_id));
	}
	cr_assert_eq(seen, 2);
	pos = 0;
	cr_assert(group_next_offset(s.c, sl_str_from("h"), &pos, &o));
	cr_assert(sim_str_is(o.topic, "t0"));
	cr_assert_eq(o.partition, 2);
	cr_assert_eq(o.offset, 1);
	cr_assert_eq(o.commit_ms, SIM_WALL_BASE + s.now_ms);
	cr_assert(!group_next_offset(s.c, sl_str_from("h"), &pos, &o));
	pos = 0;
	cr_assert(!group_next_offset(s.c, sl_str_from("none"), &pos, &o));
	sim_fini(&s);
}
