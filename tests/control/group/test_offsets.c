/* SPDX-License-Identifier: Apache-2.0 */
/* OffsetCommit, OffsetFetch, OffsetDelete, expiry. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

#define DAY_MS INT64_C(86400000)

static int16_t commit_error(struct sim *s, int16_t version, struct sim_commit k)
{
	return sim_committed(s, sim_commit(s, version, k));
}

static struct sim_commit simple(const char *group, int32_t topic, int32_t partition, int64_t offset)
{
	return (struct sim_commit){.group = group,
	                           .topic = topic,
	                           .partition = partition,
	                           .offset = offset,
	                           .generation = -1};
}

Test(group_commit, simple_group_in_every_version)
{
	for (int16_t version = 2; version <= 10; version++) {
		struct sim s;

		sim_init(&s);
		cr_assert_eq(sim_offset(&s, "g", 1, 2), -1);
		cr_assert_eq(commit_error(&s, version, simple("g", 1, 2, 77)), 0);
		cr_assert_eq(sim_offset(&s, "g", 1, 2), 77);
		cr_assert_eq(sim_offset(&s, "g", 1, 3), -1);
		cr_assert_eq(commit_error(&s, version, simple("g", 1, 2, 78)), 0);
		cr_assert_eq(sim_offset(&s, "g", 1, 2), 78);
		cr_assert_str_eq(sim_group_state(&s, "g"), "Empty");
		sim_reload(&s);
		cr_assert_eq(sim_offset(&s, "g", 1, 2), 78);
		sim_fini(&s);
	}
}

Test(group_commit, empty_group_id_is_allowed_as_in_kafka)
{
	struct sim s;

	sim_init(&s);
	cr_assert_eq(commit_error(&s, 7, simple("", 0, 0, 5)), 0);
	cr_assert_eq(sim_offset(&s, "", 0, 0), 5);
	sim_fini(&s);
}

Test(group_commit, members_of_the_generation_only)
{
	struct sim_pair pair;
	struct sim_commit k = {.group = "g", .offset = 9};
	struct sim s;

	sim_init(&s);
	sim_make_pair(&s, "g", &pair);
	k.member = pair.b;
	k.generation = pair.generation;
	cr_assert_eq(commit_error(&s, 7, k), 0);
	k.generation++;
	cr_assert_eq(commit_error(&s, 7, k), SL_KERR_ILLEGAL_GENERATION);
	k.generation = -1;
	cr_assert_eq(commit_error(&s, 7, k), SL_KERR_ILLEGAL_GENERATION);
	k.member = "nobody";
	k.generation = pair.generation;
	cr_assert_eq(commit_error(&s, 7, k), SL_KERR_UNKNOWN_MEMBER_ID);
	cr_assert_eq(commit_error(&s, 7, simple("g", 0, 0, 1)), SL_KERR_UNKNOWN_MEMBER_ID);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 9);
	sim_fini(&s);
}

Test(group_commit, refused_while_completing_and_accepted_while_preparing)
{
	struct sim_pair pair;
	struct sim_commit k = {.group = "g", .offset = 9};
	struct sim s;
	uint64_t a;

	sim_init(&s);
	sim_make_pair(&s, "g", &pair);
	a = sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.a});
	cr_assert_eq(sim_state(&s, a), SIM_WAITING);
	k.member = pair.b;
	k.generation = pair.generation;
	cr_assert_eq(commit_error(&s, 7, k), 0);
	sim_join(&s, 5, (struct sim_join){.group = "g", .member = pair.b});
	k.generation = pair.generation + 1;
	cr_assert_eq(commit_error(&s, 7, k), SL_KERR_REBALANCE_IN_PROGRESS);
	sim_fini(&s);
}

Test(group_commit, absent_group_with_a_generation)
{
	struct sim_commit k = {.group = "g", .member = "m", .generation = 3};
	struct sim s;

	sim_init(&s);
	cr_assert_eq(commit_error(&s, 8, k), SL_KERR_ILLEGAL_GENERATION);
	cr_assert_eq(commit_error(&s, 9, k), SL_KERR_GROUP_ID_NOT_FOUND);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Dead");
	sim_fini(&s);
}

Test(group_commit, unknown_topics_and_ids)
{
	struct sim s;

	sim_init(&s);
	s.is_topic_gone[5] = true;
	cr_assert_eq(commit_error(&s, 9, simple("g", 5, 0, 1)), SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_assert_eq(commit_error(&s, 9, simple("g", 4, SIM_TOPIC_PARTS, 1)),
	             SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_assert_eq(commit_error(&s, 10, simple("g", 5, 0, 1)), SL_KERR_UNKNOWN_TOPIC_ID);
	cr_assert_eq(commit_error(&s, 10, simple("g", 4, SIM_TOPIC_PARTS, 1)),
	             SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_assert_eq(s.appended, 0);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Dead");
	sim_fini(&s);
}

Test(group_commit, metadata_limit_and_null_metadata)
{
	struct sim_commit k = simple("g", 0, 0, 1);
	char text[66];
	struct sim s;

	sim_init(&s);
	memset(text, 'm', 65);
	text[65] = 0;
	k.metadata = text;
	cr_assert_eq(commit_error(&s, 7, k), SL_KERR_OFFSET_METADATA_TOO_LARGE);
	/* Nothing was written, and no group is left behind. */
	cr_assert_str_eq(sim_group_state(&s, "g"), "Dead");
	text[64] = 0;
	cr_assert_eq(commit_error(&s, 7, k), 0);
	k.metadata = NULL;
	cr_assert_eq(commit_error(&s, 7, k), 0);
	sim_fini(&s);
}

Test(group_commit, each_partition_has_its_result)
{
	struct sl_offset_commit_req_topic_partition p[3];
	const struct sl_offset_commit_resp *r;
	struct sl_offset_commit_req_topic t[2];
	struct sl_offset_commit_req m;
	char text[100];
	struct sim s;

	sim_init(&s);
	memset(text, 'm', sizeof(text));
	sl_offset_commit_req_init(&m);
	for (int i = 0; i < 3; i++) {
		sl_offset_commit_req_topic_partition_init(&p[i]);
		p[i].partition_index = i;
		p[i].committed_offset = 100 + i;
	}
	p[1].committed_metadata = (struct sl_str){text, sizeof(text)};
	for (int i = 0; i < 2; i++)
		sl_offset_commit_req_topic_init(&t[i]);
	t[0].name = sl_str_from("t1");
	t[0].partitions = p;
	t[0].partitions_count = 3;
	t[1].name = sl_str_from("none");
	t[1].partitions = p;
	t[1].partitions_count = 1;
	m.group_id = sl_str_from("g");
	m.topics = t;
	m.topics_count = 2;
	r = sim_answer(&s, sim_send(&s, SL_API_OFFSET_COMMIT, 7, &m));
	cr_assert_eq(r->topics_count, 2);
	cr_assert_eq(r->topics[0].partitions[0].error_code, 0);
	cr_assert_eq(r->topics[0].partitions[1].error_code, SL_KERR_OFFSET_METADATA_TOO_LARGE);
	cr_assert_eq(r->topics[0].partitions[2].error_code, 0);
	cr_assert_eq(r->topics[1].partitions[0].error_code, SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_assert_eq(s.appended, 1);
	cr_assert_eq(sim_offset(&s, "g", 1, 0), 100);
	cr_assert_eq(sim_offset(&s, "g", 1, 1), -1);
	cr_assert_eq(sim_offset(&s, "g", 1, 2), 102);
	sim_fini(&s);
}

Test(group_commit, visible_and_answered_only_when_on_the_log)
{
	struct sim s;
	uint64_t h;

	sim_init(&s);
	commit_error(&s, 7, simple("g", 0, 0, 1));
	s.is_holding = true;
	h = sim_commit(&s, 7, simple("g", 0, 0, 2));
	cr_assert_eq(sim_state(&s, h), SIM_WAITING);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 1);
	sim_flush(&s, SL_KERR_NONE);
	cr_assert_eq(sim_committed(&s, h), 0);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 2);
	h = sim_commit(&s, 7, simple("g", 0, 0, 3));
	sim_flush(&s, SL_KERR_REQUEST_TIMED_OUT);
	cr_assert_eq(sim_committed(&s, h), SL_KERR_COORDINATOR_NOT_AVAILABLE);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 2);
	sim_fini(&s);
}

Test(group_commit, outcomes_out_of_order_take_effect_in_order_of_the_log)
{
	struct sim s;
	uint64_t h[2];

	sim_init(&s);
	s.is_holding = true;
	h[0] = sim_commit(&s, 7, simple("g", 0, 0, 1));
	h[1] = sim_commit(&s, 7, simple("g", 0, 0, 2));
	sim_flush_one(&s, 1, SL_KERR_NONE);
	cr_assert_eq(sim_state(&s, h[1]), SIM_WAITING);
	sim_flush_one(&s, 0, SL_KERR_NONE);
	cr_assert_eq(sim_committed(&s, h[0]), 0);
	cr_assert_eq(sim_committed(&s, h[1]), 0);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 2);
	sim_fini(&s);
}

Test(group_commit, refused_first_commit_leaves_no_group)
{
	struct sim s;
	uint64_t h;

	sim_init(&s);
	s.is_holding = true;
	h = sim_commit(&s, 7, simple("g", 0, 0, 1));
	cr_assert_str_eq(sim_group_state(&s, "g"), "Empty");
	sim_flush(&s, SL_KERR_NOT_LEADER_OR_FOLLOWER);
	cr_assert_eq(sim_committed(&s, h), SL_KERR_NOT_COORDINATOR);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Dead");
	sim_fini(&s);
}

Test(group_commit, counts_as_heartbeat)
{
	struct sim_pair pair;
	struct sim_commit k = {.group = "g"};
	struct sim s;

	sim_init(&s);
	sim_make_single(&s, "g", &pair);
	k.member = pair.a;
	k.generation = pair.generation;
	for (int i = 0; i < 10; i++) {
		sim_advance(&s, SIM_SESSION_MS - 1);
		cr_assert_eq(commit_error(&s, 7, k), 0);
	}
	cr_assert_str_eq(sim_group_state(&s, "g"), "Stable");
	sim_advance(&s, SIM_SESSION_MS);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Empty");
	sim_fini(&s);
}

Test(group_commit, large_request_is_split_and_answered_once)
{
	enum {
		TOPICS = SIM_TOPICS,
		REPEATS = 400
	};
	static struct sl_offset_commit_req_topic_partition p[TOPICS][SIM_TOPIC_PARTS * REPEATS];
	static struct sl_offset_commit_req_topic t[TOPICS];
	static char names[TOPICS][16];
	const struct sl_offset_commit_resp *r;
	struct sl_offset_commit_req m;
	struct sim s;
	uint64_t h;

	sim_init(&s);
	sl_offset_commit_req_init(&m);
	for (int i = 0; i < TOPICS; i++) {
		sl_offset_commit_req_topic_init(&t[i]);
		snprintf(names[i], sizeof(names[i]), "t%d", i);
		t[i].name = sl_str_from(names[i]);
		t[i].partitions = p[i];
		t[i].partitions_count = SIM_TOPIC_PARTS * REPEATS;
		for (int k = 0; k < SIM_TOPIC_PARTS * REPEATS; k++) {
			sl_offset_commit_req_topic_partition_init(&p[i][k]);
			p[i][k].partition_index = k % SIM_TOPIC_PARTS;
			p[i][k].committed_offset = k;
		}
	}
	m.group_id = sl_str_from("g");
	m.topics = t;
	m.topics_count = TOPICS;
	s.is_holding = true;
	h = sim_send(&s, SL_API_OFFSET_COMMIT, 8, &m);
	cr_assert_gt(s.queue_count, 1);
	for (uint32_t i = 0; i < s.queue_count; i++)
		cr_assert_lt(s.queue[i].len, 600 << 10);
	/* The second batch is refused: only what it held is told so. */
	sim_flush_one(&s, 0, SL_KERR_NONE);
	sim_flush_one(&s, 0, SL_KERR_NOT_ENOUGH_REPLICAS);
	sim_flush(&s, SL_KERR_NONE);
	r = sim_answer(&s, h);
	cr_assert_eq(r->topics[0].partitions[0].error_code, 0);
	cr_assert_eq(r->topics[TOPICS - 1].partitions[SIM_TOPIC_PARTS * REPEATS - 1].error_code, 0);
	int32_t failed = 0;

	for (int i = 0; i < TOPICS; i++) {
		for (int k = 0; k < SIM_TOPIC_PARTS * REPEATS; k++)
			failed += r->topics[i].partitions[k].error_code != 0;
	}
	cr_assert_gt(failed, 1000);
	cr_assert_eq(sim_offset(&s, "g", 0, SIM_TOPIC_PARTS - 1), SIM_TOPIC_PARTS * REPEATS - 1);
	sim_fini(&s);
}

static void fetch_all(struct sim *s, int16_t version, const struct sl_offset_fetch_resp **out)
{
	struct sl_offset_fetch_req_group g[2];
	struct sl_offset_fetch_req m;

	sl_offset_fetch_req_init(&m);
	for (int i = 0; i < 2; i++) {
		sl_offset_fetch_req_group_init(&g[i]);
		g[i].group_id = sl_str_from(i ? "none" : "g");
		g[i].topics_count = -1;
	}
	m.group_id = sl_str_from("g");
	m.topics_count = -1;
	m.groups = g;
	m.groups_count = 2;
	m.require_stable = version >= 7;
	*out = sim_answer(s, sim_send(s, SL_API_OFFSET_FETCH, version, &m));
}

Test(group_fetch, all_offsets_of_a_group_in_order)
{
	for (int16_t version = 2; version <= 10; version++) {
		const struct sl_offset_fetch_resp *r;
		struct sim s;

		sim_init(&s);
		commit_error(&s, 7, simple("g", 2, 5, 25));
		commit_error(&s, 7, simple("g", 1, 9, 19));
		commit_error(&s, 7, simple("g", 1, 0, 10));
		fetch_all(&s, version, &r);
		if (version < 8) {
			cr_assert_eq(r->error_code, 0);
			cr_assert_eq(r->topics_count, 2);
			cr_assert(sim_str_is(r->topics[0].name, "t1"));
			cr_assert_eq(r->topics[0].partitions_count, 2);
			cr_assert_eq(r->topics[0].partitions[0].committed_offset, 10);
			cr_assert_eq(r->topics[0].partitions[1].committed_offset, 19);
			cr_assert_eq(r->topics[1].partitions[0].committed_offset, 25);
			if (version >= 5)
				cr_assert_eq(r->topics[0].partitions[0].committed_leader_epoch, 3);
		} else {
			struct sl_uuid id = sim_topic_id(1);

			cr_assert_eq(r->groups_count, 2);
			cr_assert_eq(r->groups[0].topics_count, 2);
			cr_assert_eq(r->groups[0].topics[0].partitions[1].committed_offset, 19);
			cr_assert_eq(r->groups[1].error_code, 0);
			cr_assert_eq(r->groups[1].topics_count, 0);
			if (version >= 10)
				cr_assert(sl_uuid_eq(&r->groups[0].topics[0].topic_id, &id));
			else
				cr_assert(sim_str_is(r->groups[0].topics[0].name, "t1"));
		}
		sim_fini(&s);
	}
}

Test(group_fetch, partitions_come_in_order_of_their_numbers)
{
	const struct sl_offset_fetch_resp *r;
	struct sim s;

	sim_init(&s);
	for (int32_t i = 0; i < SIM_TOPIC_PARTS; i++)
		commit_error(&s, 7, simple("g", 1, i * 7 % SIM_TOPIC_PARTS, i));
	fetch_all(&s, 9, &r);
	cr_assert_eq(r->groups[0].topics[0].partitions_count, SIM_TOPIC_PARTS);
	for (int32_t i = 0; i < SIM_TOPIC_PARTS; i++)
		cr_assert_eq(r->groups[0].topics[0].partitions[i].partition_index, i);
	sim_fini(&s);
}

Test(group_fetch, topics_without_an_id_are_left_out_of_version_10)
{
	const struct sl_offset_fetch_resp *r;
	struct sim s;

	sim_init(&s);
	commit_error(&s, 7, simple("g", 1, 0, 10));
	commit_error(&s, 7, simple("g", 2, 0, 20));
	commit_error(&s, 7, simple("g", 3, 0, 30));
	s.is_topic_gone[2] = true;
	fetch_all(&s, 10, &r);
	cr_assert_eq(r->groups[0].topics_count, 2);
	cr_assert_eq(r->groups[0].topics[1].partitions_count, 1);
	cr_assert_eq(r->groups[0].topics[1].partitions[0].committed_offset, 30);
	fetch_all(&s, 9, &r);
	cr_assert_eq(r->groups[0].topics_count, 3);
	sim_fini(&s);
}

Test(group_fetch, version_1_and_several_groups_with_named_topics)
{
	struct sl_offset_fetch_req_group_topic gt;
	struct sl_offset_fetch_req_group g[2];
	const struct sl_offset_fetch_resp *r;
	struct sl_offset_fetch_req_topic t;
	struct sl_offset_fetch_req m;
	int32_t parts[2] = {0, 1};
	struct sim s;

	sim_init(&s);
	commit_error(&s, 7, simple("g", 1, 1, 11));
	sl_offset_fetch_req_init(&m);
	t = (struct sl_offset_fetch_req_topic){sl_str_from("t1"), parts, 2};
	m.group_id = sl_str_from("g");
	m.topics = &t;
	m.topics_count = 1;
	r = sim_answer(&s, sim_send(&s, SL_API_OFFSET_FETCH, 1, &m));
	cr_assert_eq(r->topics[0].partitions[0].committed_offset, -1);
	cr_assert(sim_str_is(r->topics[0].partitions[0].metadata, ""));
	cr_assert_eq(r->topics[0].partitions[1].committed_offset, 11);

	for (int i = 0; i < 2; i++) {
		sl_offset_fetch_req_group_init(&g[i]);
		g[i].topics = &gt;
		g[i].topics_count = 1;
		g[i].member_id = sl_str_from("ignored");
		g[i].member_epoch = 12;
	}
	sl_offset_fetch_req_group_topic_init(&gt);
	gt.topic_id = sim_topic_id(1);
	gt.name = sl_str_from("t1");
	gt.partition_indexes = parts;
	gt.partition_indexes_count = 2;
	g[0].group_id = sl_str_from("absent");
	g[1].group_id = sl_str_from("g");
	m.groups = g;
	m.groups_count = 2;
	for (int16_t version = 8; version <= 10; version++) {
		r = sim_answer(&s, sim_send(&s, SL_API_OFFSET_FETCH, version, &m));
		cr_assert_eq(r->groups_count, 2);
		cr_assert_eq(r->groups[0].error_code, 0);
		cr_assert_eq(r->groups[0].topics[0].partitions[1].committed_offset, -1);
		cr_assert_eq(r->groups[0].topics[0].partitions[1].committed_leader_epoch, -1);
		cr_assert_eq(r->groups[1].topics[0].partitions[1].committed_offset, 11);
	}
	gt.topic_id = sim_topic_id(100);
	r = sim_answer(&s, sim_send(&s, SL_API_OFFSET_FETCH, 10, &m));
	cr_assert_eq(r->groups[1].topics[0].partitions[1].error_code, SL_KERR_UNKNOWN_TOPIC_ID);
	cr_assert_eq(r->groups[1].topics[0].partitions[1].committed_offset, -1);
	sim_fini(&s);
}

static const struct sl_offset_delete_resp *delete_offset(struct sim *s, const char *group,
                                                         const char *topic, int32_t partition)
{
	struct sl_offset_delete_req_topic_partition p = {partition};
	struct sl_offset_delete_req_topic t = {sl_str_from(topic), &p, 1};
	struct sl_offset_delete_req m;

	sl_offset_delete_req_init(&m);
	m.group_id = sl_str_from(group);
	m.topics = &t;
	m.topics_count = 1;
	return sim_answer(s, sim_send(s, SL_API_OFFSET_DELETE, 0, &m));
}

Test(group_offset_delete, removes_for_good_and_refuses_what_is_read)
{
	struct sim_commit k = {.group = "g", .generation = 1, .offset = 5};
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	cr_assert_eq(delete_offset(&s, "", "t0", 0)->error_code, SL_KERR_INVALID_GROUP_ID);
	cr_assert_eq(delete_offset(&s, "g", "t0", 0)->error_code, SL_KERR_GROUP_ID_NOT_FOUND);
	sim_make_single(&s, "g", &pair); /* reads t0 */
	k.member = pair.a;
	cr_assert_eq(commit_error(&s, 7, k), 0);
	k.topic = 1;
	cr_assert_eq(commit_error(&s, 7, k), 0);
	cr_assert_eq(delete_offset(&s, "g", "t0", 0)->topics[0].partitions[0].error_code,
	             SL_KERR_GROUP_SUBSCRIBED_TO_TOPIC);
	cr_assert_eq(delete_offset(&s, "g", "none", 0)->topics[0].partitions[0].error_code,
	             SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_assert_eq(delete_offset(&s, "g", "t1", 0)->topics[0].partitions[0].error_code, 0);
	cr_assert_eq(sim_offset(&s, "g", 1, 0), -1);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 5);
	/* Deleting what is not there is fine, too. */
	cr_assert_eq(delete_offset(&s, "g", "t1", 0)->topics[0].partitions[0].error_code, 0);
	sim_reload(&s);
	cr_assert_eq(sim_offset(&s, "g", 1, 0), -1);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 5);
	/* After the reload the subscription is known from the log. */
	cr_assert_eq(delete_offset(&s, "g", "t0", 0)->topics[0].partitions[0].error_code,
	             SL_KERR_GROUP_SUBSCRIBED_TO_TOPIC);
	sim_fini(&s);
}

Test(group_offset_delete, group_of_another_kind_must_be_empty)
{
	const struct sl_join_group_resp *r;
	struct sim s;
	uint64_t h;

	sim_init(&s);
	h = sim_join(&s, 2, (struct sim_join){.group = "g", .type = "connect"});
	sim_advance(&s, SIM_DELAY_MS);
	r = sim_joined(&s, h);
	cr_assert_eq(delete_offset(&s, "g", "t0", 0)->error_code, SL_KERR_NON_EMPTY_GROUP);
	sim_leave(&s, 1, "g", sim_text(&s, r->member_id), NULL);
	cr_assert_eq(delete_offset(&s, "g", "t0", 0)->error_code, 0);
	sim_fini(&s);
}

Test(group_offset_delete, also_removes_a_commit_that_is_still_on_its_way)
{
	struct sl_offset_delete_req_topic_partition p = {0};
	struct sl_offset_delete_req_topic t = {sl_str_from("t0"), &p, 1};
	struct sl_offset_delete_req m;
	struct sim s;
	uint64_t h;

	sim_init(&s);
	s.is_holding = true;
	sim_commit(&s, 7, simple("g", 0, 0, 5));
	sl_offset_delete_req_init(&m);
	m.group_id = sl_str_from("g");
	m.topics = &t;
	m.topics_count = 1;
	h = sim_send(&s, SL_API_OFFSET_DELETE, 0, &m);
	cr_assert_eq(sim_state(&s, h), SIM_WAITING);
	sim_flush(&s, SL_KERR_NONE);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), -1);
	sim_reload(&s);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), -1);
	sim_fini(&s);
}

Test(group_offset_delete, refused_tombstone_keeps_the_offset)
{
	struct sl_offset_delete_req_topic_partition p = {0};
	struct sl_offset_delete_req_topic t = {sl_str_from("t0"), &p, 1};
	const struct sl_offset_delete_resp *r;
	struct sl_offset_delete_req m;
	struct sim s;
	uint64_t h;

	sim_init(&s);
	commit_error(&s, 7, simple("g", 0, 0, 5));
	s.is_holding = true;
	sl_offset_delete_req_init(&m);
	m.group_id = sl_str_from("g");
	m.topics = &t;
	m.topics_count = 1;
	h = sim_send(&s, SL_API_OFFSET_DELETE, 0, &m);
	sim_flush(&s, SL_KERR_KAFKA_STORAGE_ERROR);
	r = sim_answer(&s, h);
	cr_assert_eq(r->error_code, SL_KERR_NOT_COORDINATOR);
	cr_assert_eq(r->topics_count, 0);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 5);
	sim_fini(&s);
}

Test(group_expiry, simple_group_counts_from_the_commit)
{
	struct sim s;

	sim_init(&s);
	commit_error(&s, 7, simple("g", 0, 0, 5));
	sim_advance(&s, 3 * DAY_MS);
	commit_error(&s, 7, simple("g", 0, 1, 6));
	sim_advance(&s, 4 * DAY_MS);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), -1);
	cr_assert_eq(sim_offset(&s, "g", 0, 1), 6);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Empty");
	sim_advance(&s, 3 * DAY_MS);
	cr_assert_eq(sim_offset(&s, "g", 0, 1), -1);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Dead");
	cr_assert_eq(sim_counter(&s, "offsets_expired"), 2);
	cr_assert_eq(sim_counter(&s, "groups_expired"), 1);
	sim_reload(&s);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Dead");
	sim_fini(&s);
}

Test(group_expiry, group_with_members_keeps_what_it_reads_and_empty_one_counts_from_then)
{
	struct sim_commit k = {.group = "g", .generation = 1, .offset = 5};
	struct sim_pair pair;
	struct sim s;

	sim_init(&s);
	sim_make_single(&s, "g", &pair); /* reads t0 */
	k.member = pair.a;
	commit_error(&s, 7, k);
	k.topic = 1;
	commit_error(&s, 7, k);
	for (int64_t t = 0; t < 8 * DAY_MS; t += 9000) {
		sim_advance(&s, 9000);
		sim_heartbeat(&s, "g", pair.a, 1);
		/* Decoded answers pile up over so many days. */
		sl_arena_reset(&s.arena);
	}
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 5);
	/* What a stable consumer group no longer reads expires by its commit. */
	cr_assert_eq(sim_offset(&s, "g", 1, 0), -1);
	sim_leave(&s, 1, "g", pair.a, NULL);
	sim_advance(&s, 7 * DAY_MS - SIM_CHECK_MS);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 5);
	sim_advance(&s, 2 * SIM_CHECK_MS);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), -1);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Dead");
	sim_fini(&s);
}

Test(group_expiry, retention_of_the_request_wins_in_versions_that_have_it)
{
	struct sim_commit k = simple("g", 0, 0, 5);
	struct sim s;

	sim_init(&s);
	k.retention_ms = DAY_MS;
	commit_error(&s, 2, k);
	k.partition = 1;
	k.retention_ms = INT64_MAX;
	commit_error(&s, 4, k);
	/* The time of expiry is on the log. */
	sim_reload(&s);
	sim_advance(&s, DAY_MS + SIM_CHECK_MS);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), -1);
	sim_advance(&s, 30 * DAY_MS);
	cr_assert_eq(sim_offset(&s, "g", 0, 1), 5);
	sim_fini(&s);
}

Test(group_expiry, fresh_commit_in_flight_is_not_buried_under_a_tombstone)
{
	struct sim s;
	uint64_t h;

	sim_init(&s);
	commit_error(&s, 7, simple("g", 0, 0, 5));
	sim_advance(&s, 7 * DAY_MS - SIM_CHECK_MS);
	s.is_holding = true;
	h = sim_commit(&s, 7, simple("g", 0, 0, 6));
	sim_advance(&s, 2 * SIM_CHECK_MS);
	sim_flush(&s, SL_KERR_NONE);
	cr_assert_eq(sim_committed(&s, h), 0);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 6);
	sim_fini(&s);
}

Test(group_expiry, refused_tombstones_are_tried_again_at_the_next_check)
{
	struct sim s;

	sim_init(&s);
	commit_error(&s, 7, simple("g", 0, 0, 5));
	sim_advance(&s, 7 * DAY_MS - SIM_CHECK_MS / 2);
	s.is_holding = true;
	sim_advance(&s, SIM_CHECK_MS);
	cr_assert_eq(s.queue_count, 1);
	sim_flush(&s, SL_KERR_NOT_ENOUGH_REPLICAS);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), 5);
	s.is_holding = false;
	sim_advance(&s, SIM_CHECK_MS);
	cr_assert_eq(sim_offset(&s, "g", 0, 0), -1);
	sim_fini(&s);
}

Test(group_expiry, group_that_never_had_members_goes_with_the_next_check_unless_one_is_due)
{
	struct sim s;
	char id[128];
	uint64_t h;

	sim_init(&s);
	sim_join_twice(&s, 5, (struct sim_join){.group = "g"}, id);
	sim_leave(&s, 3, "g", id, NULL);
	sim_advance(&s, SIM_DELAY_MS);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Empty");
	/* A member that was told its id just before the check finds its group afterwards. */
	sim_advance(&s, SIM_CHECK_MS - (s.now_ms - 1000) - 1000);
	h = sim_join(&s, 5, (struct sim_join){.group = "g"});
	snprintf(id, sizeof(id), "%s", sim_text(&s, sim_joined(&s, h)->member_id));
	sim_advance(&s, 2000);
	h = sim_join(&s, 5, (struct sim_join){.group = "g", .member = id});
	cr_assert_eq(sim_state(&s, h), SIM_WAITING);
	sim_leave(&s, 3, "g", id, NULL);
	sim_advance(&s, SIM_CHECK_MS);
	cr_assert_str_eq(sim_group_state(&s, "g"), "Dead");
	sim_fini(&s);
}

Test(group_topics, offsets_of_a_deleted_topic_go_from_all_groups)
{
	struct group_event ev = {.type = GROUP_EV_TOPIC_DELETED, .topic = sl_str_from("t1")};
	struct sim s;

	sim_init(&s);
	commit_error(&s, 7, simple("g", 1, 0, 5));
	commit_error(&s, 7, simple("g", 1, 1, 6));
	commit_error(&s, 7, simple("g", 2, 0, 7));
	commit_error(&s, 7, simple("h", 1, 0, 8));
	sim_step(&s, &ev);
	cr_assert_eq(sim_offset(&s, "g", 1, 0), -1);
	cr_assert_eq(sim_offset(&s, "g", 1, 1), -1);
	cr_assert_eq(sim_offset(&s, "h", 1, 0), -1);
	cr_assert_eq(sim_offset(&s, "g", 2, 0), 7);
	sim_reload(&s);
	cr_assert_eq(sim_offset(&s, "g", 1, 1), -1);
	cr_assert_eq(sim_offset(&s, "g", 2, 0), 7);
	sim_fini(&s);
}

Test(group_topics, deleted_while_the_offsets_are_being_loaded)
{
	struct group_event ev = {.type = GROUP_EV_TOPIC_DELETED, .topic = sl_str_from("t1")};
	struct sim s;
	int32_t p;

	sim_init(&s);
	commit_error(&s, 7, simple("g", 1, 0, 5));
	commit_error(&s, 7, simple("g", 2, 0, 7));
	p = group_partition(s.c, sl_str_from("g"));
	sim_partition(&s, GROUP_EV_LOAD_BEGIN, p);
	sim_step(&s, &ev);
	sim_partition(&s, GROUP_EV_LOAD_BATCHES, p);
	sim_partition(&s, GROUP_EV_LOAD_END, p);
	cr_assert_eq(sim_offset(&s, "g", 1, 0), -1);
	cr_assert_eq(sim_offset(&s, "g", 2, 0), 7);
	sim_reload(&s);
	cr_assert_eq(sim_offset(&s, "g", 1, 0), -1);
	/* One that is let go of while loading leaves nothing behind. */
	sim_partition(&s, GROUP_EV_LOAD_BEGIN, p);
	sim_step(&s, &ev);
	sim_partition(&s, GROUP_EV_UNLOAD, p);
	sim_fini(&s);
}
