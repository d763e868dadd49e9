/* SPDX-License-Identifier: Apache-2.0 */
/* CreateTopics, DeleteTopics, CreatePartitions and what the data plane gets of them. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/wire/create_partitions_gen.h"
#include "sluice/wire/create_topics_gen.h"
#include "sluice/wire/delete_topics_gen.h"

#include "harness.h"

static struct harness h;

static void setup(void)
{
	harness_init(&h, 3);
}

static void teardown(void)
{
	harness_fini(&h);
}

TestSuite(topics, .init = setup, .fini = teardown);

static struct sl_create_topics_req_topic topic(const char *name, int32_t partitions,
                                               int16_t replicas)
{
	struct sl_create_topics_req_topic t;

	sl_create_topics_req_topic_init(&t);
	t.name = sl_str_from(name);
	t.num_partitions = partitions;
	t.replication_factor = replicas;
	return t;
}

static struct sl_create_topics_resp create(struct sl_create_topics_req_topic *t, int32_t count,
                                           int16_t version, bool validate_only)
{
	struct sl_create_topics_req req;
	struct sl_create_topics_resp resp;

	sl_create_topics_req_init(&req);
	req.topics = t;
	req.topics_count = count;
	req.validate_only = validate_only;
	CALL(&h, create_topics, CREATE_TOPICS, version, &req, &resp);
	cr_assert_eq(resp.topics_count, count);
	return resp;
}

static int16_t create_one(struct sl_create_topics_req_topic t)
{
	return create(&t, 1, 7, false).topics[0].error_code;
}

static bool exists(const char *name)
{
	return meta_topic_by_name(h.control->meta, sl_str_from(name)) != NULL;
}

Test(topics, answers_after_the_data_plane_serves_the_topic)
{
	struct sl_create_topics_req_topic t = topic("orders", 6, 1);
	struct sl_create_topics_resp resp = create(&t, 1, 7, false);
	struct fake_topic seen;
	int per_lane[3] = {0};

	cr_assert_eq(resp.topics[0].error_code, 0);
	cr_assert(sl_str_is_null(resp.topics[0].error_message));
	cr_assert_eq(resp.topics[0].num_partitions, 6);
	cr_assert_eq(resp.topics[0].replication_factor, 1);
	cr_assert_eq(resp.topics[0].configs_count, SL_CT_NR);
	cr_assert(fake_topic(h.fake, "orders", &seen), "served before the answer");
	cr_assert(sl_uuid_eq(&seen.id, &resp.topics[0].topic_id));
	cr_assert_eq(seen.partitions_count, 6);
	for (int i = 0; i < 6; i++) {
		cr_assert_eq(seen.partitions[i].leader_epoch, 0);
		per_lane[seen.partitions[i].leader_id - 100]++;
		cr_assert_not_null(control_slot(h.control, &seen.id, i));
	}
	for (int i = 0; i < 3; i++)
		cr_assert_eq(per_lane[i], 2, "round robin over the lanes");
	free(seen.configs);
}

Test(topics, works_at_every_version)
{
	char name[32];

	for (int16_t version = 2; version <= 7; version++) {
		struct sl_create_topics_req_topic t;
		struct sl_create_topics_resp resp;

		snprintf(name, sizeof(name), "t%d", version);
		t = topic(name, 2, 1);
		resp = create(&t, 1, version, false);
		cr_assert_eq(resp.topics[0].error_code, 0);
		cr_assert(exists(name));
	}
}

Test(topics, uses_the_defaults_when_asked)
{
	struct sl_create_topics_req_topic t = topic("d", -1, -1);

	h.conf.v[SL_CK_num_partitions].i = 4;
	harness_set(&h, "num.partitions", "4");
	cr_assert_eq(create_one(t), 0);
	cr_assert_eq(meta_topic_by_name(h.control->meta, sl_str_from("d"))->rec.partitions_count,
	             4);
}

struct refusal {
	const char *name;
	int32_t partitions;
	int16_t replicas;
	int16_t code;
};

Test(topics, refuses_with_the_right_code)
{
	static char long_name[251];
	struct refusal cases[] = {
		{"", 1, 1, SL_KERR_INVALID_TOPIC_EXCEPTION},
		{".", 1, 1, SL_KERR_INVALID_TOPIC_EXCEPTION},
		{"..", 1, 1, SL_KERR_INVALID_TOPIC_EXCEPTION},
		{"a b", 1, 1, SL_KERR_INVALID_TOPIC_EXCEPTION},
		{"\xc3\xa4", 1, 1, SL_KERR_INVALID_TOPIC_EXCEPTION},
		{long_name, 1, 1, SL_KERR_INVALID_TOPIC_EXCEPTION},
		{"here", 1, 1, SL_KERR_TOPIC_ALREADY_EXISTS},
		{"dot_ted", 1, 1, SL_KERR_INVALID_TOPIC_EXCEPTION},
		{"n", 0, 1, SL_KERR_INVALID_PARTITIONS},
		{"n", -2, 1, SL_KERR_INVALID_PARTITIONS},
		{"n", 1, 0, SL_KERR_INVALID_REPLICATION_FACTOR},
		{"n", 1, -2, SL_KERR_INVALID_REPLICATION_FACTOR},
		{"n", 1, 2, SL_KERR_INVALID_REPLICATION_FACTOR},
		{"n", 10001, 1, SL_KERR_POLICY_VIOLATION},
	};

	memset(long_name, 'x', 250);
	harness_create_topic(&h, "here", 1);
	harness_create_topic(&h, "dot.ted", 1);
	for (size_t i = 0; i < SL_ARRAY_SIZE(cases); i++) {
		struct refusal *c = &cases[i];
		struct sl_create_topics_req_topic t = topic(c->name, c->partitions, c->replicas);
		struct sl_create_topics_resp resp = create(&t, 1, 7, false);

		cr_assert_eq(resp.topics[0].error_code, c->code, "case %zu: %d", i,
		             resp.topics[0].error_code);
		cr_assert_gt(resp.topics[0].error_message.len, 0);
		cr_assert(sl_uuid_is_zero(&resp.topics[0].topic_id));
	}
	cr_assert_eq(meta_topics_count(h.control->meta), 2);
}

static int16_t create_assigned(struct sl_create_topics_req_topic_assignment *a, int32_t count,
                               int32_t partitions)
{
	struct sl_create_topics_req_topic t = topic("assigned", partitions, -1);

	t.assignments = a;
	t.assignments_count = count;
	return create_one(t);
}

Test(topics, obeys_manual_assignments)
{
	int32_t on[] = {102, 100, 999, 101};
	struct sl_create_topics_req_topic_assignment good[] = {{1, &on[0], 1}, {0, &on[1], 1}};
	struct sl_create_topics_req_topic_assignment unknown[] = {{0, &on[2], 1}};
	struct sl_create_topics_req_topic_assignment gap[] = {{0, &on[0], 1}, {2, &on[1], 1}};
	struct sl_create_topics_req_topic_assignment twice[] = {{0, &on[0], 1}, {0, &on[1], 1}};
	struct sl_create_topics_req_topic_assignment two[] = {{0, on, 2}};
	const struct meta_topic *t;

	cr_assert_eq(create_assigned(unknown, 1, -1), SL_KERR_INVALID_REPLICA_ASSIGNMENT);
	cr_assert_eq(create_assigned(gap, 2, -1), SL_KERR_INVALID_REPLICA_ASSIGNMENT);
	cr_assert_eq(create_assigned(twice, 2, -1), SL_KERR_INVALID_REPLICA_ASSIGNMENT);
	cr_assert_eq(create_assigned(two, 1, -1), SL_KERR_INVALID_REPLICA_ASSIGNMENT);
	cr_assert_eq(create_assigned(good, 2, 2), SL_KERR_INVALID_REQUEST);
	cr_assert_eq(create_assigned(good, 2, -1), 0);
	t = meta_topic_by_name(h.control->meta, sl_str_from("assigned"));
	cr_assert_eq(t->rec.partitions[0].leader_id, 100);
	cr_assert_eq(t->rec.partitions[1].leader_id, 102);
}

static int16_t create_with(const char *name, const char *key, const char *value)
{
	struct sl_create_topics_req_topic_config config = {sl_str_from(key), sl_str_from(value)};
	struct sl_create_topics_req_topic t = topic(name, 1, 1);

	t.configs = &config;
	t.configs_count = 1;
	return create_one(t);
}

Test(topics, checks_configs)
{
	cr_assert_eq(create_with("c1", "no.such.key", "1"), SL_KERR_INVALID_CONFIG);
	cr_assert_eq(create_with("c2", "retention.ms", "soon"), SL_KERR_INVALID_CONFIG);
	cr_assert_eq(create_with("c3", "retention.ms", "-2"), SL_KERR_INVALID_CONFIG);
	cr_assert_eq(create_with("c4", "retention.ms", NULL), SL_KERR_INVALID_CONFIG);
	cr_assert_eq(create_with("c5", "cleanup.policy", "shred"), SL_KERR_INVALID_CONFIG);
	cr_assert_eq(meta_topics_count(h.control->meta), 0);
	cr_assert_eq(create_with("c6", "retention.ms", "1234"), 0);
	cr_assert_str_eq(harness_image_config(&h, "c6", "retention.ms"), "1234");
	cr_assert_str_eq(harness_image_config(&h, "c6", "segment.bytes"), "1073741824");
}

Test(topics, judges_each_topic_of_a_request_by_itself)
{
	struct sl_create_topics_req_topic t[] = {topic("a", 1, 1),   topic("b c", 1, 1),
	                                         topic("d", 1, 1),   topic("d", 2, 1),
	                                         topic("e.e", 1, 1), topic("e_e", 1, 1)};
	struct sl_create_topics_resp resp = create(t, 6, 7, false);

	cr_assert_eq(resp.topics[0].error_code, 0);
	cr_assert_eq(resp.topics[1].error_code, SL_KERR_INVALID_TOPIC_EXCEPTION);
	cr_assert_eq(resp.topics[2].error_code, SL_KERR_INVALID_REQUEST);
	cr_assert_eq(resp.topics[3].error_code, SL_KERR_INVALID_REQUEST);
	cr_assert_eq(resp.topics[4].error_code, 0);
	cr_assert_eq(resp.topics[5].error_code, SL_KERR_INVALID_TOPIC_EXCEPTION);
	cr_assert_eq(meta_topics_count(h.control->meta), 2);
}

Test(topics, only_checks_when_told_so)
{
	struct sl_create_topics_req_topic t[] = {topic("v", 3, 1), topic("", 1, 1)};
	struct sl_create_topics_resp resp = create(t, 2, 7, true);

	cr_assert_eq(resp.topics[0].error_code, 0);
	cr_assert_eq(resp.topics[0].num_partitions, 3);
	cr_assert_eq(resp.topics[1].error_code, SL_KERR_INVALID_TOPIC_EXCEPTION);
	cr_assert_not(exists("v"));
}

Test(topics, keeps_within_the_lanes_room)
{
	struct sl_create_topics_req_topic t = topic("fits", 192, 1);

	harness_set(&h, "lane.partitions.max", "64");
	cr_assert_eq(create_one(topic("big", 193, 1)), SL_KERR_POLICY_VIOLATION);
	cr_assert_eq(create_one(t), 0);
	cr_assert_eq(create_one(topic("more", 1, 1)), SL_KERR_POLICY_VIOLATION);
}

Test(topics, settles_two_requests_for_the_same_name)
{
	struct sl_create_topics_req_topic t = topic("race", 1, 1);
	struct sl_create_topics_req req;
	struct sl_create_topics_resp resp;
	uint64_t seq[3];
	int codes[2] = {0};

	sl_create_topics_req_init(&req);
	req.topics = &t;
	req.topics_count = 1;
	for (int i = 0; i < 3; i++)
		seq[i] = SEND(&h, (uint32_t)i, create_topics, CREATE_TOPICS, 5, &req);
	for (int i = 0; i < 3; i++) {
		harness_wait(&h, seq[i]);
		TAKE(&h, create_topics, CREATE_TOPICS, 5, &resp);
		cr_assert(resp.topics[0].error_code == 0 ||
		          resp.topics[0].error_code == SL_KERR_TOPIC_ALREADY_EXISTS);
		codes[resp.topics[0].error_code != 0]++;
	}
	cr_assert_eq(codes[0], 1);
	cr_assert_eq(codes[1], 2);
}

Test(topics, answers_without_the_data_planes_word_after_a_while)
{
	struct sl_create_topics_req_topic t = topic("slow", 1, 1);
	struct sl_create_topics_req req;
	struct sl_create_topics_resp resp;
	struct fake_answer answer;
	uint64_t seq;

	fake_hold_acks(h.fake, true);
	sl_create_topics_req_init(&req);
	req.topics = &t;
	req.topics_count = 1;
	seq = SEND(&h, 0, create_topics, CREATE_TOPICS, 7, &req);
	while (!exists("slow"))
		harness_spin(&h, 1);
	harness_spin(&h, 10);
	cr_assert_not(fake_take_answer(h.fake, seq, &answer), "the change is not served yet");
	harness_advance(&h, PUBLISH_WAIT_MS + 1);
	harness_wait(&h, seq);
	TAKE(&h, create_topics, CREATE_TOPICS, 7, &resp);
	cr_assert_eq(resp.topics[0].error_code, 0);
	cr_assert_eq(h.control->counters[COUNTER_image_ack_timeouts], 1);
}

Test(topics, forgets_a_request_whose_client_left)
{
	struct sl_create_topics_req_topic t = topic("left", 1, 1);
	struct sl_create_topics_req req;
	struct fake_answer answer;
	uint64_t seq;

	fake_hold_acks(h.fake, true);
	sl_create_topics_req_init(&req);
	req.topics = &t;
	req.topics_count = 1;
	seq = SEND(&h, 1, create_topics, CREATE_TOPICS, 7, &req);
	while (!exists("left"))
		harness_spin(&h, 1);
	fake_cancel(h.fake, 1, seq);
	while (request_table_count(h.control->requests) > 0)
		harness_spin(&h, 1);
	fake_hold_acks(h.fake, false);
	harness_create_topic(&h, "next", 1);
	cr_assert_not(fake_take_answer(h.fake, seq, &answer));
	cr_assert_eq(h.control->counters[COUNTER_requests_cancelled], 1);
}

/* ---- DeleteTopics ---- */

static int16_t delete_by_name(const char *name, int16_t version)
{
	struct sl_str names[] = {sl_str_from(name)};
	struct sl_delete_topics_req_topic t = {.name = names[0]};
	struct sl_delete_topics_req req;
	struct sl_delete_topics_resp resp;

	sl_delete_topics_req_init(&req);
	req.topics = &t;
	req.topics_count = version >= 6;
	req.topic_names = names;
	req.topic_names_count = version < 6;
	req.timeout_ms = 5000;
	CALL(&h, delete_topics, DELETE_TOPICS, version, &req, &resp);
	cr_assert_eq(resp.responses_count, 1);
	cr_assert(sl_str_eq(resp.responses[0].name, names[0]));
	return resp.responses[0].error_code;
}

Test(topics, deletes_by_name_at_every_version)
{
	for (int16_t version = 1; version <= 6; version++) {
		harness_create_topic(&h, "gone", 4);
		cr_assert_eq(fake_logs_count(h.fake), 4);
		cr_assert_eq(delete_by_name("gone", version), 0);
		cr_assert_eq(fake_logs_count(h.fake), 0, "the logs go with it");
		cr_assert_not(exists("gone"));
		cr_assert_eq(delete_by_name("gone", version), SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	}
}

Test(topics, deletes_by_id_and_refuses_riddles)
{
	struct sl_delete_topics_req_topic t[5] = {{.name = SL_STR_NULL},
	                                          {.name = SL_STR_NULL},
	                                          {.name = SL_STR_NULL},
	                                          {.name = sl_str_from("x")},
	                                          {.name = SL_STR_NULL}};
	struct sl_delete_topics_req req;
	struct sl_delete_topics_resp resp;
	struct fake_topic seen;

	harness_create_topic(&h, "x", 1);
	cr_assert(fake_topic(h.fake, "x", &seen));
	t[0].topic_id = seen.id;
	t[1].topic_id.b[3] = 9;
	t[3].topic_id = seen.id;
	t[4].topic_id = seen.id;
	sl_delete_topics_req_init(&req);
	req.topics = t;
	req.topics_count = 5;
	req.timeout_ms = 5000;
	CALL(&h, delete_topics, DELETE_TOPICS, 6, &req, &resp);
	cr_assert_eq(resp.responses[0].error_code, 0);
	cr_assert(sl_str_eq_c(resp.responses[0].name, "x"));
	cr_assert_eq(resp.responses[1].error_code, SL_KERR_UNKNOWN_TOPIC_ID);
	cr_assert(sl_str_is_null(resp.responses[1].name));
	cr_assert_eq(resp.responses[2].error_code, SL_KERR_INVALID_REQUEST, "neither");
	cr_assert_eq(resp.responses[3].error_code, SL_KERR_INVALID_REQUEST, "both");
	cr_assert_eq(resp.responses[4].error_code, SL_KERR_INVALID_REQUEST, "twice");
	cr_assert_not(exists("x"));
	free(seen.configs);
}

Test(topics, gives_a_recreated_topic_a_new_id)
{
	struct fake_topic a, b;

	harness_create_topic(&h, "again", 1);
	cr_assert(fake_topic(h.fake, "again", &a));
	cr_assert_eq(delete_by_name("again", 4), 0);
	harness_create_topic(&h, "again", 1);
	cr_assert(fake_topic(h.fake, "again", &b));
	cr_assert_not(sl_uuid_eq(&a.id, &b.id));
	free(a.configs);
	free(b.configs);
}

Test(topics, obeys_delete_topic_enable)
{
	harness_create_topic(&h, "kept", 1);
	harness_set(&h, "delete.topic.enable", "false");
	cr_assert_eq(delete_by_name("kept", 2), SL_KERR_INVALID_REQUEST);
	cr_assert_eq(delete_by_name("kept", 6), SL_KERR_TOPIC_DELETION_DISABLED);
	cr_assert(exists("kept"));
}

Test(topics, forgets_a_deleted_id_once_the_logs_are_gone)
{
	struct sl_uuid id;
	uint32_t pos = 0;

	harness_create_topic(&h, "gone", 1);
	cr_assert_eq(delete_by_name("gone", 6), 0);
	harness_spin(&h, 3);
	cr_assert_not(meta_deleted_next(h.control->meta, &pos, &id));
}

/* ---- CreatePartitions ---- */

static int16_t grow(struct sl_create_partitions_req_topic t, int16_t version, bool validate_only)
{
	struct sl_create_partitions_req req;
	struct sl_create_partitions_resp resp;

	sl_create_partitions_req_init(&req);
	req.topics = &t;
	req.topics_count = 1;
	req.timeout_ms = 5000;
	req.validate_only = validate_only;
	CALL(&h, create_partitions, CREATE_PARTITIONS, version, &req, &resp);
	cr_assert_eq(resp.results_count, 1);
	return resp.results[0].error_code;
}

static struct sl_create_partitions_req_topic more(const char *name, int32_t count)
{
	return (struct sl_create_partitions_req_topic){
		.name = sl_str_from(name), .count = count, .assignments_count = -1};
}

Test(topics, grows_at_every_version)
{
	struct fake_topic seen;

	harness_create_topic(&h, "g", 2);
	for (int16_t version = 0; version <= 3; version++)
		cr_assert_eq(grow(more("g", 3 + version), version, false), 0);
	cr_assert(fake_topic(h.fake, "g", &seen));
	cr_assert_eq(seen.partitions_count, 6);
	cr_assert_eq(fake_logs_count(h.fake), 6);
	free(seen.configs);
}

Test(topics, refuses_to_grow_wrongly)
{
	int32_t on[] = {101, 555};
	struct sl_create_partitions_req_topic_assignment one = {&on[0], 1}, bad = {&on[1], 1};
	struct sl_create_partitions_req_topic t = more("g", 4);

	harness_create_topic(&h, "g", 3);
	harness_create_topic(&h, "__consumer_offsets", 3);
	cr_assert_eq(grow(more("nope", 4), 3, false), SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_assert_eq(grow(more("g", 3), 3, false), SL_KERR_INVALID_PARTITIONS);
	cr_assert_eq(grow(more("g", 2), 3, false), SL_KERR_INVALID_PARTITIONS);
	cr_assert_eq(grow(more("g", 20000), 3, false), SL_KERR_POLICY_VIOLATION);
	cr_assert_eq(grow(more("g", INT32_MAX), 3, false), SL_KERR_POLICY_VIOLATION);
	cr_assert_eq(grow(more("__consumer_offsets", 9), 3, false), SL_KERR_INVALID_REQUEST);
	t.assignments = &bad;
	t.assignments_count = 1;
	cr_assert_eq(grow(t, 3, false), SL_KERR_INVALID_REPLICA_ASSIGNMENT);
	t.count = 5;
	t.assignments = &one;
	cr_assert_eq(grow(t, 3, false), SL_KERR_INVALID_REPLICA_ASSIGNMENT);
	t.count = 4;
	cr_assert_eq(grow(t, 3, true), 0, "validate only");
	cr_assert_eq(meta_topic_by_name(h.control->meta, t.name)->rec.partitions_count, 3);
	cr_assert_eq(grow(t, 3, false), 0);
	cr_assert_eq(meta_topic_by_name(h.control->meta, t.name)->rec.partitions[3].leader_id, 101);
}

/* ---- Frames ---- */

Test(topics, closes_the_connection_on_malformed_requests)
{
	uint8_t frame[] = {0, 19, 0, 5, 0, 0, 0, 1, 0xff, 0xff, 0, 0x7f, 0xff, 0xff};
	uint8_t unserved[] = {0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0};
	uint8_t version[] = {0, 19, 0, 99, 0, 0, 0, 1, 0xff, 0xff, 0};

	for (size_t len = 0; len <= sizeof(frame); len++) {
		harness_wait(&h, harness_send_frame(&h, 0, frame, len));
		cr_assert(h.answer.is_close, "length %zu", len);
	}
	harness_wait(&h, harness_send_frame(&h, 0, unserved, sizeof(unserved)));
	cr_assert(h.answer.is_close);
	harness_wait(&h, harness_send_frame(&h, 0, version, sizeof(version)));
	cr_assert(h.answer.is_close);
	cr_assert_eq(h.control->counters[COUNTER_requests_unserved], 2);
	cr_assert_eq(request_table_count(h.control->requests), 0);
}
