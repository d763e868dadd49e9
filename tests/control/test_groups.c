/* SPDX-License-Identifier: Apache-2.0 */
/* Groups end to end: frames in, offsets on the data plane's log, across the loss of either process.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "group/group.h"
#include "sluice/wire/consumer_group_heartbeat_gen.h"
#include "sluice/wire/consumer_protocol_subscription_gen.h"
#include "sluice/wire/find_coordinator_gen.h"
#include "sluice/wire/heartbeat_gen.h"
#include "sluice/wire/incremental_alter_configs_gen.h"
#include "sluice/wire/join_group_gen.h"
#include "sluice/wire/list_groups_gen.h"
#include "sluice/wire/offset_commit_gen.h"
#include "sluice/wire/offset_fetch_gen.h"
#include "sluice/wire/sync_group_gen.h"

#include "harness.h"

static struct harness h;

static bool is_loaded(struct harness *unused, void *arg)
{
	uint32_t loaded, total;

	(void)arg;
	offsets_progress(unused->control->offsets, &loaded, &total);
	return total > 0 && loaded == total;
}

static void find_coordinator(const char *group)
{
	struct sl_find_coordinator_req req;
	struct sl_find_coordinator_resp resp;

	sl_find_coordinator_req_init(&req);
	req.key = sl_str_from(group);
	CALL(&h, find_coordinator, FIND_COORDINATOR, 2, &req, &resp);
	cr_assert_eq(resp.error_code, 0);
	harness_until(&h, is_loaded, NULL, "offsets loaded");
}

static void setup(void)
{
	harness_init(&h, 2);
	harness_create_topic(&h, "t", 3);
	find_coordinator("g");
}

static void teardown(void)
{
	harness_fini(&h);
}

TestSuite(groups, .init = setup, .fini = teardown);

static int16_t commit(const char *group, int32_t partition, int64_t offset)
{
	struct sl_offset_commit_req_topic_partition part;
	struct sl_offset_commit_req_topic topic;
	struct sl_offset_commit_req req;
	struct sl_offset_commit_resp resp;

	sl_offset_commit_req_init(&req);
	sl_offset_commit_req_topic_init(&topic);
	sl_offset_commit_req_topic_partition_init(&part);
	part.partition_index = partition;
	part.committed_offset = offset;
	part.committed_metadata = sl_str_from("note");
	topic.name = sl_str_from("t");
	topic.partitions = &part;
	topic.partitions_count = 1;
	req.group_id = sl_str_from(group);
	req.generation_id_or_member_epoch = -1;
	req.topics = &topic;
	req.topics_count = 1;
	CALL(&h, offset_commit, OFFSET_COMMIT, 7, &req, &resp);
	cr_assert_eq(resp.topics_count, 1);
	return resp.topics[0].partitions[0].error_code;
}

/* Committed offset; -1 none; -1000 - code on an error. */
static int64_t fetch(const char *group, int32_t partition)
{
	struct sl_offset_fetch_req_topic topic;
	struct sl_offset_fetch_req req;
	struct sl_offset_fetch_resp resp;

	sl_offset_fetch_req_init(&req);
	sl_offset_fetch_req_topic_init(&topic);
	topic.name = sl_str_from("t");
	topic.partition_indexes = &partition;
	topic.partition_indexes_count = 1;
	req.group_id = sl_str_from(group);
	req.topics = &topic;
	req.topics_count = 1;
	CALL(&h, offset_fetch, OFFSET_FETCH, 5, &req, &resp);
	if (resp.error_code)
		return -1000 - resp.error_code;
	return resp.topics[0].partitions[0].committed_offset;
}

Test(groups, keeps_committed_offsets_on_the_log)
{
	cr_assert_eq(fetch("g", 0), -1);
	cr_assert_eq(commit("g", 0, 42), 0);
	cr_assert_eq(commit("g", 2, 7), 0);
	cr_assert_eq(fetch("g", 0), 42);
	cr_assert_eq(fetch("g", 1), -1);
	cr_assert_eq(fetch("g", 2), 7);
	cr_assert_eq(fake_batches(h.fake, OFFSETS_TOPIC), 2);
	cr_assert_eq(h.control->counters[COUNTER_offsets_appends], 2);
}

Test(groups, fails_a_commit_that_is_not_on_the_log)
{
	cr_assert_eq(commit("g", 0, 1), 0);
	fake_fail_appends(h.fake, SL_KERR_KAFKA_STORAGE_ERROR);
	cr_assert_neq(commit("g", 0, 2), 0);
	fake_fail_appends(h.fake, 0);
	cr_assert_eq(fetch("g", 0), 1);
	cr_assert_eq(h.control->counters[COUNTER_offsets_append_errors], 1);
}

/* The lane whose node FindCoordinator names. */
static uint32_t coordinator_of(const char *group)
{
	struct sl_find_coordinator_req req;
	struct sl_find_coordinator_resp resp;

	sl_find_coordinator_req_init(&req);
	req.key = sl_str_from(group);
	CALL(&h, find_coordinator, FIND_COORDINATOR, 2, &req, &resp);
	cr_assert_eq(resp.error_code, 0);
	return (uint32_t)control_lane_of(h.control, resp.node_id);
}

Test(groups, lists_each_group_on_the_node_of_its_coordinator)
{
	unsigned seen = 0;
	char group[32];

	for (int i = 0; i < 8; i++) {
		snprintf(group, sizeof(group), "group-%d", i);
		cr_assert_eq(commit(group, 0, i), 0);
	}
	for (uint32_t lane = 0; lane < 2; lane++) {
		struct sl_list_groups_req req;
		struct sl_list_groups_resp resp;

		sl_list_groups_req_init(&req);
		harness_wait(&h, SEND(&h, lane, list_groups, LIST_GROUPS, 4, &req));
		TAKE(&h, list_groups, LIST_GROUPS, 4, &resp);
		cr_assert_eq(resp.error_code, 0);
		cr_assert_gt(resp.groups_count, 0, "eight groups, none of them on lane %u", lane);
		for (int32_t i = 0; i < resp.groups_count; i++) {
			snprintf(group, sizeof(group), "%.*s", SL_STR_ARG(resp.groups[i].group_id));
			cr_assert_eq(strncmp(group, "group-", 6), 0);
			cr_assert_eq(seen & 1u << (group[6] - '0'), 0, "%s is there twice", group);
			seen |= 1u << (group[6] - '0');
			/* The answer is valid until the next one. */
			cr_assert_eq(control_lane_of_key(h.control, resp.groups[i].group_id), lane);
		}
	}
	cr_assert_eq(seen, 0xff, "groups %x", seen);
	for (int i = 0; i < 8; i++) {
		snprintf(group, sizeof(group), "group-%d", i);
		cr_assert_eq(coordinator_of(group),
		             control_lane_of_key(h.control, sl_str_from(group)));
	}
}

static void write_many(void)
{
	char group[32];

	for (int i = 0; i < 40; i++) {
		snprintf(group, sizeof(group), "group-%d", i);
		for (int p = 0; p < 3; p++)
			cr_assert_eq(commit(group, p, i * 100 + p), 0);
		cr_assert_eq(commit(group, 1, i * 100 + 50), 0);
	}
}

static void expect_many(void)
{
	char group[32];

	harness_until(&h, is_loaded, NULL, "offsets loaded");
	for (int i = 0; i < 40; i++) {
		snprintf(group, sizeof(group), "group-%d", i);
		cr_assert_eq(fetch(group, 0), i * 100);
		cr_assert_eq(fetch(group, 1), i * 100 + 50);
		cr_assert_eq(fetch(group, 2), i * 100 + 2);
	}
}

Test(groups, reads_offsets_back_after_its_own_restart)
{
	write_many();
	harness_stop_control(&h);
	harness_start_control(&h);
	harness_until_served(&h);
	expect_many();
	cr_assert_eq(h.control->counters[COUNTER_offsets_loads], 50);
}

Test(groups, reads_offsets_back_after_the_data_planes_restart)
{
	write_many();
	harness_restart_fake(&h, 2);
	expect_many();
	harness_restart_fake(&h, 1);
	expect_many();
	cr_assert_eq(commit("group-0", 0, 99999), 0, "over the lane that took over");
	cr_assert_eq(fetch("group-0", 0), 99999);
}

Test(groups, lives_through_a_lost_link)
{
	uint64_t before = link_attach_count(h.control->link);

	write_many();
	fake_drop_link(h.fake);
	while (link_attach_count(h.control->link) == before)
		harness_spin(&h, 1);
	harness_until_served(&h);
	expect_many();
}

/* A member that joins and syncs alone. */
static int32_t join_alone(const char *group, char member[128])
{
	struct sl_join_group_req_protocol protocol = {sl_str_from("range"), {"meta", 4}};
	struct sl_join_group_req join;
	struct sl_join_group_resp joined;
	struct sl_sync_group_req sync;
	struct sl_sync_group_req_assignment assignment = {.assignment = {"mine", 4}};
	struct sl_sync_group_resp synced;

	sl_join_group_req_init(&join);
	join.group_id = sl_str_from(group);
	join.session_timeout_ms = 10000;
	join.rebalance_timeout_ms = 10000;
	join.protocol_type = sl_str_from("consumer");
	join.protocols = &protocol;
	join.protocols_count = 1;
	CALL(&h, join_group, JOIN_GROUP, 5, &join, &joined);
	cr_assert_eq(joined.error_code, SL_KERR_MEMBER_ID_REQUIRED);
	snprintf(member, 128, "%.*s", SL_STR_ARG(joined.member_id));
	join.member_id = sl_str_from(member);
	CALL(&h, join_group, JOIN_GROUP, 5, &join, &joined);
	cr_assert_eq(joined.error_code, 0);
	cr_assert(sl_str_eq_c(joined.leader, member));
	sl_sync_group_req_init(&sync);
	sync.group_id = sl_str_from(group);
	sync.generation_id = joined.generation_id;
	sync.member_id = sl_str_from(member);
	assignment.member_id = sl_str_from(member);
	sync.assignments = &assignment;
	sync.assignments_count = 1;
	CALL(&h, sync_group, SYNC_GROUP, 3, &sync, &synced);
	cr_assert_eq(synced.error_code, 0);
	cr_assert_eq(synced.assignment.len, 4);
	return sync.generation_id;
}

static int16_t heartbeat(const char *group, int32_t generation, const char *member)
{
	struct sl_heartbeat_req req;
	struct sl_heartbeat_resp resp;

	sl_heartbeat_req_init(&req);
	req.group_id = sl_str_from(group);
	req.generation_id = generation;
	req.member_id = sl_str_from(member);
	CALL(&h, heartbeat, HEARTBEAT, 3, &req, &resp);
	return resp.error_code;
}

Test(groups, runs_sessions_by_its_timers)
{
	char member[128];
	int32_t generation = join_alone("g", member);

	cr_assert_eq(heartbeat("g", generation, member), 0);
	harness_advance(&h, 9000);
	cr_assert_eq(heartbeat("g", generation, member), 0);
	harness_advance(&h, 9000);
	cr_assert_eq(heartbeat("g", generation, member), 0);
	harness_advance(&h, 10001);
	cr_assert_eq(heartbeat("g", generation, member), SL_KERR_UNKNOWN_MEMBER_ID);
}

Test(groups, keeps_members_over_its_restart)
{
	char member[128];
	int32_t generation = join_alone("g", member);

	harness_stop_control(&h);
	harness_start_control(&h);
	harness_until_served(&h);
	harness_until(&h, is_loaded, NULL, "offsets loaded");
	cr_assert_eq(heartbeat("g", generation, member), 0);
}

Test(groups, says_that_it_is_loading)
{
	harness_stop_control(&h);
	fake_hold_acks(h.fake, true);
	harness_start_control(&h);
	while (!link_is_up(h.control->link))
		harness_spin(&h, 1);
	cr_assert_eq(fetch("g", 0), -1000 - SL_KERR_COORDINATOR_LOAD_IN_PROGRESS);
	fake_hold_acks(h.fake, false);
	harness_until(&h, is_loaded, NULL, "offsets loaded");
	cr_assert_eq(fetch("g", 0), -1);
}

Test(groups, loads_partitions_that_open_late)
{
	uint32_t loaded, total;

	cr_assert_eq(commit("g", 0, 8), 0);
	harness_stop_control(&h);
	fake_late_slots(h.fake, true);
	harness_start_control(&h);
	harness_until_served(&h);
	harness_spin(&h, 5);
	offsets_progress(h.control->offsets, &loaded, &total);
	cr_assert_eq(loaded, 0);
	cr_assert_eq(fetch("g", 0), -1000 - SL_KERR_COORDINATOR_LOAD_IN_PROGRESS);
	fake_late_slots(h.fake, false);
	harness_until(&h, is_loaded, NULL, "offsets loaded");
	cr_assert_eq(fetch("g", 0), 8);
}

static bool has_one_member(void)
{
	struct group_view view;
	uint32_t pos = 0;

	while (group_next(control_groups(h.control), &pos, &view)) {
		if (sl_str_eq_c(view.group_id, "g") && view.members == 1)
			return true;
	}
	return false;
}

Test(groups, drops_a_waiting_member_whose_client_left)
{
	struct sl_join_group_req_protocol protocol = {sl_str_from("range"), {"meta", 4}};
	struct sl_join_group_req join;
	struct fake_answer answer;
	char member[128];
	uint64_t seq;

	(void)join_alone("g", member);
	cr_assert(has_one_member());
	sl_join_group_req_init(&join);
	join.group_id = sl_str_from("g");
	join.session_timeout_ms = 10000;
	join.rebalance_timeout_ms = 10000;
	join.protocol_type = sl_str_from("consumer");
	join.protocols = &protocol;
	join.protocols_count = 1;
	/* Waits for the first member to rejoin. */
	seq = SEND(&h, 1, join_group, JOIN_GROUP, 3, &join);
	while (request_table_count(h.control->requests) == 0)
		harness_spin(&h, 1);
	fake_cancel(h.fake, 1, seq);
	while (request_table_count(h.control->requests) > 0)
		harness_spin(&h, 1);
	cr_assert_not(fake_take_answer(h.fake, seq, &answer));
	cr_assert_eq(commit("other", 0, 3), 0);
}

Test(groups, forgets_offsets_of_a_deleted_topic)
{
	const struct meta_topic *t = meta_topic_by_name(h.control->meta, sl_str_from("t"));
	struct meta_txn *txn = meta_txn_begin(h.control->meta);

	cr_assert_eq(commit("g", 0, 5), 0);
	t = meta_topic_by_name(h.control->meta, sl_str_from("t"));
	meta_txn_delete_topic(txn, &t->rec.topic_id, t->mod_revision);
	meta_txn_commit(txn, NULL, NULL);
	harness_spin(&h, 3);
	harness_create_topic(&h, "t", 3);
	cr_assert_eq(fetch("g", 0), -1);
}

Test(groups, starts_over_when_its_topic_is_deleted)
{
	const struct meta_topic *t;
	struct meta_txn *txn;

	cr_assert_eq(commit("g", 0, 5), 0);
	t = meta_topic_by_name(h.control->meta, sl_str_from(OFFSETS_TOPIC));
	txn = meta_txn_begin(h.control->meta);
	meta_txn_delete_topic(txn, &t->rec.topic_id, t->mod_revision);
	meta_txn_commit(txn, NULL, NULL);
	harness_spin(&h, 5);
	cr_assert_neq(commit("g", 0, 6), 0);
	harness_create_topic(&h, OFFSETS_TOPIC, 3);
	harness_until(&h, is_loaded, NULL, "offsets loaded");
	cr_assert_eq(fetch("g", 0), -1);
	cr_assert_eq(commit("g", 0, 7), 0);
	cr_assert_eq(fetch("g", 0), 7);
}

/* ---- Configs ---- */

#define GROUP_RESOURCE 32

/* Ends with the control process started again, under other configs. */
static void restart_with(const char *const (*configs)[2], size_t count)
{
	harness_stop_control(&h);
	for (size_t i = 0; i < count; i++)
		harness_set(&h, configs[i][0], configs[i][1]);
	harness_start_control(&h);
	harness_until_served(&h);
	harness_until(&h, is_loaded, NULL, "offsets loaded");
}

/* One member of the consumer protocol; zeroed but for its id: joins for "t". */
struct beat {
	const char *member;
	int32_t epoch;
	const char *regex;
	const char *assignor;
	/* The last answer. */
	int32_t interval_ms;
	int32_t topics;
	struct sl_uuid topic;
};

static int16_t beat(const char *group, struct beat *b)
{
	struct sl_str name = sl_str_from("t");
	struct sl_consumer_group_heartbeat_req req;
	struct sl_consumer_group_heartbeat_resp resp;

	sl_consumer_group_heartbeat_req_init(&req);
	req.group_id = sl_str_from(group);
	req.member_id = sl_str_from(b->member);
	req.member_epoch = b->epoch;
	if (b->epoch == 0) {
		req.rebalance_timeout_ms = 10000;
		req.topic_partitions_count = 0;
		req.server_assignor = sl_str_from(b->assignor);
		req.subscribed_topic_regex = sl_str_from(b->regex);
		req.subscribed_topic_names = &name;
		req.subscribed_topic_names_count = b->regex ? 0 : 1;
	}
	CALL(&h, consumer_group_heartbeat, CONSUMER_GROUP_HEARTBEAT, 1, &req, &resp);
	if (resp.error_code != 0)
		return resp.error_code;
	b->epoch = resp.member_epoch;
	b->interval_ms = resp.heartbeat_interval_ms;
	b->topics = resp.assignment ? resp.assignment->topic_partitions_count : 0;
	if (b->topics > 0)
		b->topic = resp.assignment->topic_partitions[0].topic_id;
	return 0;
}

Test(groups, limits_what_consumer_groups_are_told)
{
	static const char *const low[][2] = {
		{"group.consumer.heartbeat.interval.ms", "6000"},
		{"group.consumer.session.timeout.ms", "1000"},
	};
	static const char *const high[][2] = {
		{"group.consumer.heartbeat.interval.ms", "20000"},
		{"group.consumer.session.timeout.ms", "70000"},
	};
	struct beat a = {.member = "a"};
	struct beat b = {.member = "b"};

	restart_with(low, SL_ARRAY_SIZE(low));
	cr_assert_eq(beat("g", &a), 0);
	cr_assert_eq(a.interval_ms, 6000);
	harness_advance(&h, 44000);
	cr_assert_eq(beat("g", &a), 0, "a session lasts 45 s at least");
	restart_with(high, SL_ARRAY_SIZE(high));
	cr_assert_eq(beat("other", &b), 0);
	cr_assert_eq(b.interval_ms, 15000);
	harness_advance(&h, 61000);
	cr_assert_eq(beat("other", &b), SL_KERR_UNKNOWN_MEMBER_ID, "and 60 s at most");
}

Test(groups, takes_members_up_to_the_limits)
{
	static const char *const configs[][2] = {
		{"group.max.size", "1"},
		{"group.consumer.max.size", "1"},
	};
	struct sl_join_group_req_protocol protocol = {sl_str_from("range"), {"meta", 4}};
	struct beat a = {.member = "a"};
	struct beat b = {.member = "b"};
	struct sl_join_group_req join;
	struct sl_join_group_resp joined;
	char member[128];

	restart_with(configs, SL_ARRAY_SIZE(configs));
	cr_assert_eq(beat("new", &a), 0);
	cr_assert_eq(beat("new", &b), SL_KERR_GROUP_MAX_SIZE_REACHED);
	(void)join_alone("old", member);
	sl_join_group_req_init(&join);
	join.group_id = sl_str_from("old");
	join.session_timeout_ms = 10000;
	join.rebalance_timeout_ms = 10000;
	join.protocol_type = sl_str_from("consumer");
	join.protocols = &protocol;
	join.protocols_count = 1;
	CALL(&h, join_group, JOIN_GROUP, 3, &join, &joined);
	cr_assert_eq(joined.error_code, SL_KERR_GROUP_MAX_SIZE_REACHED);
}

Test(groups, has_the_assignors_that_are_configured)
{
	static const char *const only[][2] = {{"group.consumer.assignors", "range"}};
	struct beat a = {.member = "a", .assignor = "range"};
	struct beat b = {.member = "b", .assignor = "uniform"};

	cr_assert_eq(beat("g", &a), 0);
	cr_assert_eq(beat("g", &b), 0);
	restart_with(only, 1);
	a.epoch = b.epoch = 0;
	cr_assert_eq(beat("new", &a), 0);
	cr_assert_eq(beat("new", &b), SL_KERR_UNSUPPORTED_ASSIGNOR);
}

Test(groups, patterns_do_not_reach_internal_topics)
{
	const struct meta_topic *t = meta_topic_by_name(h.control->meta, sl_str_from("t"));
	struct beat a = {.member = "a", .regex = ".*"};

	cr_assert_eq(beat("g", &a), 0);
	cr_assert_eq(a.topics, 1);
	cr_assert(sl_uuid_eq(&a.topic, &t->rec.topic_id));
}

Test(groups, a_groups_own_session_time_out_holds)
{
	struct sl_incremental_alter_configs_req_resource_config config = {
		sl_str_from("consumer.session.timeout.ms"), 0, sl_str_from("55000")};
	struct sl_incremental_alter_configs_req_resource resource = {GROUP_RESOURCE,
	                                                             sl_str_from("g"), &config, 1};
	struct sl_incremental_alter_configs_req req;
	struct sl_incremental_alter_configs_resp resp;
	struct beat a = {.member = "a"};
	struct beat b = {.member = "b"};

	sl_incremental_alter_configs_req_init(&req);
	req.resources = &resource;
	req.resources_count = 1;
	CALL(&h, incremental_alter_configs, INCREMENTAL_ALTER_CONFIGS, 1, &req, &resp);
	cr_assert_eq(resp.responses[0].error_code, 0);
	cr_assert_eq(beat("g", &a), 0);
	cr_assert_eq(beat("other", &b), 0);
	harness_advance(&h, 50000);
	cr_assert_eq(beat("g", &a), 0);
	cr_assert_eq(beat("other", &b), SL_KERR_UNKNOWN_MEMBER_ID);
}

Test(groups, forgets_offsets_after_the_minutes_of_retention)
{
	static const char *const configs[][2] = {
		{"offsets.retention.minutes", "2"},
		{"offsets.retention.check.interval.ms", "1000"},
	};

	restart_with(configs, SL_ARRAY_SIZE(configs));
	cr_assert_eq(commit("g", 0, 5), 0);
	harness_advance(&h, 119000);
	cr_assert_eq(fetch("g", 0), 5);
	harness_advance(&h, 2500);
	cr_assert_eq(fetch("g", 0), -1);
}

/* A classic member whose subscription can be read, alone in its group. */
static void join_classic(const char *group)
{
	struct sl_str name = sl_str_from("t");
	struct sl_consumer_protocol_subscription sub;
	struct sl_join_group_req_protocol protocol = {.name = sl_str_from("range")};
	struct sl_join_group_req join;
	struct sl_join_group_resp joined;
	uint8_t bytes[64];
	struct sl_buf b;

	sl_consumer_protocol_subscription_init(&sub);
	sub.topics = &name;
	sub.topics_count = 1;
	sl_buf_init_fixed(&b, bytes, sizeof(bytes));
	sl_put_i16(&b, 0);
	sl_consumer_protocol_subscription_encode(&sub, &b, 0);
	protocol.metadata = (struct sl_bytes){b.p, (int32_t)b.len};
	sl_join_group_req_init(&join);
	join.group_id = sl_str_from(group);
	join.session_timeout_ms = 10000;
	join.rebalance_timeout_ms = 10000;
	join.protocol_type = sl_str_from("consumer");
	join.protocols = &protocol;
	join.protocols_count = 1;
	CALL(&h, join_group, JOIN_GROUP, 3, &join, &joined);
	cr_assert_eq(joined.error_code, 0);
}

struct policy_row {
	const char *policy;
	bool is_up;
	bool is_down;
};

Test(groups, change_over_as_the_policy_says)
{
	static const struct policy_row rows[] = {
		{"bidirectional", true, true},
		{"upgrade", true, false},
		{"downgrade", false, true},
		{"disabled", false, false},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		const char *const configs[][2] = {
			{"group.consumer.migration.policy", rows[i].policy}};
		struct beat a = {.member = "a"};
		struct beat b = {.member = "b"};

		restart_with(configs, 1);
		join_classic(rows[i].policy);
		cr_assert_eq(beat(rows[i].policy, &a),
		             rows[i].is_up ? 0 : SL_KERR_GROUP_ID_NOT_FOUND, "%s", rows[i].policy);
		/* The other way round. */
		cr_assert_eq(beat("down", &b), 0);
		join_classic("down");
		b.epoch = -1;
		cr_assert_eq(beat("down", &b), 0);
		cr_assert_eq(group_is_consumer(control_groups(h.control), sl_str_from("down")),
		             !rows[i].is_down, "%s", rows[i].policy);
		/* Nobody is in it for the next policy. */
		harness_advance(&h, 10001);
	}
}
