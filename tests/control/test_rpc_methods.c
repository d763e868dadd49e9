/* SPDX-License-Identifier: Apache-2.0 */
/* What the methods of the control socket do. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "group/group.h"
#include "rpc/call.h"
#include "rpc_client.h"
#include "sluice/base/file.h"
#include "sluice/wire/batch.h"
#include "sluice/wire/consumer_group_heartbeat_gen.h"
#include "sluice/wire/find_coordinator_gen.h"
#include "sluice/wire/join_group_gen.h"
#include "sluice/wire/offset_commit_gen.h"

static struct harness h;
static struct rpc *rpc;
static struct rpc_client c;

static void setup(void)
{
	harness_init(&h, 2);
	cr_assert_eq(rpc_create(&rpc, h.control, NULL), 0);
	rpc_client_open(&c, &h, rpc);
}

static void teardown(void)
{
	rpc_client_close(&c);
	rpc_destroy(rpc);
	harness_fini(&h);
}

TestSuite(rpc_methods, .init = setup, .fini = teardown);

static void run(const char *method, const char *params)
{
	json_decref(rpc_client_result(&c, method, params));
}

static void expect_error(const char *method, const char *params, int code, const char *kafka_error)
{
	json_t *error = rpc_client_error(&c, method, params);

	cr_assert_eq(rpc_client_int(error, "code"), code, "%s", rpc_client_str(error, "message"));
	if (kafka_error)
		cr_assert_str_eq(rpc_client_str(error, "data.kafka_error"), kafka_error);
	json_decref(error);
}

Test(rpc_methods, every_method_is_described_and_reachable)
{
	json_t *all = rpc_client_result(&c, "rpc.discover", NULL);
	size_t i;
	json_t *m;

	cr_assert_gt(json_array_size(rpc_client_at(all, "methods")), 20);
	json_array_foreach(rpc_client_at(all, "methods"), i, m) {
		char params[256];
		json_t *one;

		snprintf(params, sizeof(params), "{\"method\":\"%s\"}", rpc_client_str(m, "name"));
		one = rpc_client_result(&c, "help", params);
		cr_assert(json_equal(one, m));
		json_decref(one);
	}
	json_decref(all);
	expect_error("help", "{\"method\":\"nothing\"}", RPC_NOT_FOUND, NULL);
}

static bool is_lost(struct harness *unused, void *arg)
{
	(void)arg;
	return !link_is_up(unused->control->link);
}

Test(rpc_methods, status_says_what_is_there_and_what_is_wrong)
{
	json_t *v;

	run("topics.create", "{\"name\":\"t\",\"partitions\":5}");
	v = rpc_client_result(&c, "status", NULL);
	cr_assert_str_eq(rpc_client_str(v, "health.state"), "ok");
	cr_assert_eq(rpc_client_int(v, "counts.topics"), 1);
	cr_assert_eq(rpc_client_int(v, "counts.partitions"), 5);
	cr_assert_eq(rpc_client_int(v, "nodes.1.node_id"), 101);
	cr_assert_str_eq(rpc_client_str(v, "nodes.1.host"), "broker.test");
	cr_assert_str_eq(rpc_client_str(v, "cluster_id"), meta_cluster_id(h.control->meta));
	json_decref(v);
	fake_stop(h.fake);
	harness_until(&h, is_lost, NULL, "link lost");
	v = rpc_client_result(&c, "status", NULL);
	cr_assert_str_eq(rpc_client_str(v, "health.state"), "down");
	cr_assert_str_eq(rpc_client_str(v, "health.reasons.0"), "the data plane is not attached");
	json_decref(v);
	expect_error("lanes", NULL, RPC_UNAVAILABLE, NULL);
	expect_error("connections", NULL, RPC_UNAVAILABLE, NULL);
	expect_error("log.level", "{\"process\":\"dataplane\"}", RPC_UNAVAILABLE, NULL);
	fake_start(h.fake, 2);
	harness_until_served(&h);
	v = rpc_client_result(&c, "status", NULL);
	cr_assert_eq(rpc_client_int(v, "data_plane.reattachments"), 1);
	json_decref(v);
}

Test(rpc_methods, topics_are_made_shown_changed_and_deleted)
{
	json_t *v;

	v = rpc_client_result(
		&c, "topics.create",
		"{\"name\":\"t\",\"partitions\":3,\"configs\":{\"retention.ms\":\"5000\"}}");
	cr_assert_eq(rpc_client_int(v, "partitions"), 3);
	cr_assert_eq(strlen(rpc_client_str(v, "topic_id")), 22);
	json_decref(v);
	cr_assert_str_eq(harness_image_config(&h, "t", "retention.ms"), "5000");
	v = rpc_client_result(&c, "topics.describe", "{\"name\":\"t\"}");
	cr_assert_eq(json_array_size(rpc_client_at(v, "partitions")), 3);
	cr_assert_str_eq(
		json_string_value(json_object_get(rpc_client_at(v, "configs"), "retention.ms")),
		"5000");
	cr_assert_eq(rpc_client_int(v, "partitions.2.partition"), 2);
	cr_assert_str_eq(rpc_client_str(v, "partitions.0.state"), "open");
	json_decref(v);
	run("topics.config.set",
	    "{\"name\":\"t\",\"set\":{\"flush\":\"lazy\"},\"delete\":[\"retention.ms\"]}");
	cr_assert_str_eq(harness_image_config(&h, "t", "flush"), "lazy");
	cr_assert_str_neq(harness_image_config(&h, "t", "retention.ms"), "5000");
	v = rpc_client_result(&c, "topics.config.get", "{\"name\":\"t\",\"config\":\"flush\"}");
	cr_assert_eq(json_array_size(rpc_client_at(v, "configs")), 1);
	cr_assert_str_eq(rpc_client_str(v, "configs.0.value"), "lazy");
	cr_assert_str_eq(rpc_client_str(v, "configs.0.source"), "DYNAMIC_TOPIC_CONFIG");
	json_decref(v);
	run("topics.delete", "{\"name\":\"t\"}");
	cr_assert_null(meta_topic_by_name(h.control->meta, sl_str_from("t")));
}

Test(rpc_methods, configs_of_groups_are_changed_and_shown)
{
	json_t *v;

	run("groups.config.set",
	    "{\"group\":\"g\",\"set\":{\"consumer.session.timeout.ms\":\"50000\"}}");
	v = rpc_client_result(&c, "groups.config.get", "{\"group\":\"g\"}");
	cr_assert_str_eq(rpc_client_str(v, "name"), "g");
	cr_assert_eq(json_array_size(rpc_client_at(v, "configs")), 2);
	cr_assert_str_eq(rpc_client_str(v, "configs.0.value"), "50000");
	cr_assert_str_eq(rpc_client_str(v, "configs.0.source"), "DYNAMIC_GROUP_CONFIG");
	cr_assert_str_eq(rpc_client_str(v, "configs.1.source"), "DEFAULT_CONFIG");
	json_decref(v);
	run("groups.config.set", "{\"group\":\"g\",\"delete\":[\"consumer.session.timeout.ms\"]}");
	v = rpc_client_result(&c, "groups.config.get",
	                      "{\"group\":\"g\",\"config\":\"consumer.session.timeout.ms\"}");
	cr_assert_str_eq(rpc_client_str(v, "configs.0.source"), "DEFAULT_CONFIG");
	json_decref(v);
	expect_error("groups.config.set",
	             "{\"group\":\"g\",\"set\":{\"consumer.session.timeout.ms\":\"1\"}}",
	             RPC_FAILED, "INVALID_CONFIG");
}

Test(rpc_methods, kafkas_rules_hold_here_too)
{
	run("topics.create", "{\"name\":\"t\",\"validate_only\":true}");
	cr_assert_eq(meta_topics_count(h.control->meta), 0);
	run("topics.create", "{\"name\":\"t\"}");
	expect_error("topics.create", "{\"name\":\"t\"}", RPC_FAILED, "TOPIC_ALREADY_EXISTS");
	expect_error("topics.create", "{\"name\":\"a b\"}", RPC_FAILED, "INVALID_TOPIC_EXCEPTION");
	expect_error("topics.create", "{\"name\":\"u\",\"partitions\":0}", RPC_FAILED,
	             "INVALID_PARTITIONS");
	expect_error("topics.create", "{\"name\":\"u\",\"configs\":{\"nonsense\":\"1\"}}",
	             RPC_FAILED, "INVALID_CONFIG");
	expect_error("topics.create", "{\"name\":\"u\",\"partitions\":5000000000}",
	             RPC_INVALID_PARAMS, NULL);
	expect_error("topics.delete", "{\"name\":\"u\"}", RPC_NOT_FOUND,
	             "UNKNOWN_TOPIC_OR_PARTITION");
	expect_error("topics.describe", "{\"name\":\"u\"}", RPC_NOT_FOUND,
	             "UNKNOWN_TOPIC_OR_PARTITION");
	expect_error("topics.config.get", "{\"name\":\"u\"}", RPC_NOT_FOUND,
	             "UNKNOWN_TOPIC_OR_PARTITION");
	expect_error("topics.config.set", "{\"name\":\"t\",\"set\":{\"flush\":\"never\"}}",
	             RPC_FAILED, "INVALID_CONFIG");
	expect_error("topics.config.set", "{\"name\":\"t\"}", RPC_INVALID_PARAMS, NULL);
	expect_error("partitions.list", "{\"topic\":\"u\"}", RPC_NOT_FOUND, NULL);
}

Test(rpc_methods, pages_have_every_row_once)
{
	char params[200] = "{\"limit\":3}";
	char name[16];
	int rows = 0, pages = 0;
	json_t *v;

	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "t%d", i);
		harness_create_topic(&h, name, 1 + i);
	}
	for (;;) {
		size_t i;
		json_t *row;

		v = rpc_client_result(&c, "partitions.list", params);
		json_array_foreach(rpc_client_at(v, "partitions"), i, row) {
			static const char *const expected[] = {"t0 0", "t1 0", "t1 1", "t2 0",
			                                       "t2 1", "t2 2", "t3 0", "t3 1",
			                                       "t3 2", "t3 3"};
			char seen[64];

			snprintf(seen, sizeof(seen), "%s %d", rpc_client_str(row, "topic"),
			         (int)rpc_client_int(row, "partition"));
			cr_assert_lt(rows, 10);
			cr_assert_str_eq(seen, expected[rows++]);
		}
		pages++;
		if (json_is_null(rpc_client_at(v, "next")))
			break;
		snprintf(params, sizeof(params),
		         "{\"limit\":3,\"after_topic\":\"%s\",\"after_partition\":%d}",
		         rpc_client_str(v, "next.topic"), (int)rpc_client_int(v, "next.partition"));
		json_decref(v);
	}
	json_decref(v);
	cr_assert_eq(rows, 10);
	cr_assert_eq(pages, 4);
	v = rpc_client_result(&c, "topics.list", "{\"after\":\"t1\",\"limit\":1}");
	cr_assert_str_eq(rpc_client_str(v, "topics.0.name"), "t2");
	cr_assert_str_eq(rpc_client_str(v, "next"), "t2");
	json_decref(v);
	v = rpc_client_result(&c, "topics.list", "{\"after\":\"t2\"}");
	cr_assert_eq(json_array_size(rpc_client_at(v, "topics")), 1);
	cr_assert(json_is_null(rpc_client_at(v, "next")));
	json_decref(v);
	v = rpc_client_result(&c, "partitions.list", "{\"topic\":\"t2\"}");
	cr_assert_eq(json_array_size(rpc_client_at(v, "partitions")), 3);
	json_decref(v);
	expect_error("partitions.list", "{\"limit\":0}", RPC_INVALID_PARAMS, NULL);
}

/* ---- Groups ---- */

static bool is_loaded(struct harness *unused, void *arg)
{
	uint32_t loaded, total;

	(void)arg;
	offsets_progress(unused->control->offsets, &loaded, &total);
	return total > 0 && loaded == total;
}

static void load_groups(void)
{
	struct sl_find_coordinator_req req;
	struct sl_find_coordinator_resp resp;

	sl_find_coordinator_req_init(&req);
	req.key = sl_str_from("g");
	CALL(&h, find_coordinator, FIND_COORDINATOR, 2, &req, &resp);
	cr_assert_eq(resp.error_code, 0);
	harness_until(&h, is_loaded, NULL, "offsets loaded");
	harness_create_topic(&h, "t", 3);
}

static void join(const char *group)
{
	struct sl_join_group_req_protocol protocol;
	struct sl_join_group_req req;
	struct sl_join_group_resp resp;

	sl_join_group_req_init(&req);
	sl_join_group_req_protocol_init(&protocol);
	protocol.name = sl_str_from("range");
	protocol.metadata = (struct sl_bytes){"m", 1};
	req.group_id = sl_str_from(group);
	req.session_timeout_ms = 10000;
	req.rebalance_timeout_ms = 10000;
	req.member_id = sl_str_from("");
	req.protocol_type = sl_str_from("consumer");
	req.protocols = &protocol;
	req.protocols_count = 1;
	CALL(&h, join_group, JOIN_GROUP, 3, &req, &resp);
	cr_assert_eq(resp.error_code, 0);
}

Test(rpc_methods, offsets_of_a_group_are_reset_and_shown)
{
	json_t *v;

	expect_error("groups.describe", "{\"group\":\"g\"}", RPC_UNAVAILABLE, "NOT_COORDINATOR");
	load_groups();
	expect_error("groups.describe", "{\"group\":\"g\"}", RPC_NOT_FOUND, "GROUP_ID_NOT_FOUND");
	expect_error("groups.reset-offsets", "{\"group\":\"g\",\"topic\":\"t\"}",
	             RPC_INVALID_PARAMS, NULL);
	expect_error("groups.reset-offsets", "{\"group\":\"g\",\"topic\":\"u\",\"to\":1}",
	             RPC_NOT_FOUND, NULL);
	expect_error("groups.reset-offsets",
	             "{\"group\":\"g\",\"topic\":\"t\",\"partition\":3,\"to\":1}", RPC_NOT_FOUND,
	             NULL);
	expect_error("groups.reset-offsets", "{\"group\":\"g\",\"topic\":\"t\",\"to\":\"middle\"}",
	             RPC_INVALID_PARAMS, NULL);
	expect_error("groups.reset-offsets", "{\"group\":\"g\",\"topic\":\"t\",\"shift\":-1}",
	             RPC_NOT_FOUND, NULL);
	v = rpc_client_result(
		&c, "groups.reset-offsets",
		"{\"group\":\"g\",\"topic\":\"t\",\"to\":\"latest\",\"dry_run\":true}");
	cr_assert_eq(json_array_size(rpc_client_at(v, "offsets")), 3);
	cr_assert(json_is_null(rpc_client_at(v, "offsets.0.before")));
	json_decref(v);
	expect_error("groups.describe", "{\"group\":\"g\"}", RPC_NOT_FOUND, NULL);
	/* The log is empty, so 50 is kept within it. */
	v = rpc_client_result(&c, "groups.reset-offsets",
	                      "{\"group\":\"g\",\"topic\":\"t\",\"to\":50}");
	cr_assert_eq(rpc_client_int(v, "offsets.2.after"), 0);
	json_decref(v);
	v = rpc_client_result(&c, "groups.describe", "{\"group\":\"g\"}");
	cr_assert_str_eq(rpc_client_str(v, "state"), "Empty");
	cr_assert_eq(json_array_size(rpc_client_at(v, "offsets")), 3);
	for (int i = 0; i < 3; i++) {
		char path[32];

		snprintf(path, sizeof(path), "offsets.%d.partition", i);
		cr_assert_eq(rpc_client_int(v, path), i);
	}
	cr_assert_eq(rpc_client_int(v, "offsets.0.lag"), 0);
	json_decref(v);
	expect_error("groups.delete-offsets", "{\"group\":\"g\",\"topic\":\"u\"}", RPC_NOT_FOUND,
	             NULL);
	expect_error("groups.delete-offsets", "{\"group\":\"g\",\"topic\":\"t\",\"partition\":3}",
	             RPC_NOT_FOUND, NULL);
	expect_error("groups.delete-offsets", "{\"group\":\"none\",\"topic\":\"t\"}", RPC_NOT_FOUND,
	             NULL);
	v = rpc_client_result(&c, "groups.delete-offsets",
	                      "{\"group\":\"g\",\"topic\":\"t\",\"partition\":1}");
	cr_assert_eq(json_array_size(rpc_client_at(v, "offsets")), 1);
	cr_assert_eq(rpc_client_int(v, "offsets.0.partition"), 1);
	cr_assert_eq(rpc_client_int(v, "offsets.0.before"), 0);
	json_decref(v);
	v = rpc_client_result(&c, "groups.describe", "{\"group\":\"g\"}");
	cr_assert_eq(json_array_size(rpc_client_at(v, "offsets")), 2);
	json_decref(v);
	v = rpc_client_result(&c, "groups.list", NULL);
	cr_assert_str_eq(rpc_client_str(v, "groups.0.group"), "g");
	cr_assert_eq(rpc_client_int(v, "groups.0.lag"), 0);
	json_decref(v);
	v = rpc_client_result(&c, "groups.delete-offsets", "{\"group\":\"g\",\"topic\":\"t\"}");
	cr_assert_eq(json_array_size(rpc_client_at(v, "offsets")), 2);
	json_decref(v);
	/* A group to delete, whatever became of this one. */
	v = rpc_client_result(&c, "groups.reset-offsets",
	                      "{\"group\":\"g\",\"topic\":\"t\",\"to\":0}");
	json_decref(v);
	run("groups.delete", "{\"group\":\"g\"}");
	expect_error("groups.delete", "{\"group\":\"g\"}", RPC_NOT_FOUND, "GROUP_ID_NOT_FOUND");
}

static void commit(const char *group, const char *topic, int32_t partition, int64_t offset)
{
	struct sl_offset_commit_req_topic_partition part;
	struct sl_offset_commit_req_topic t;
	struct sl_offset_commit_req req;
	struct sl_offset_commit_resp resp;

	sl_offset_commit_req_init(&req);
	sl_offset_commit_req_topic_init(&t);
	sl_offset_commit_req_topic_partition_init(&part);
	part.partition_index = partition;
	part.committed_offset = offset;
	t.name = sl_str_from(topic);
	t.partitions = &part;
	t.partitions_count = 1;
	req.group_id = sl_str_from(group);
	req.generation_id_or_member_epoch = -1;
	req.topics = &t;
	req.topics_count = 1;
	CALL(&h, offset_commit, OFFSET_COMMIT, 7, &req, &resp);
	cr_assert_eq(resp.topics[0].partitions[0].error_code, 0);
}

static void appended(void *arg, enum sl_kerr kerr, int64_t base_offset)
{
	bool *is_done = arg;

	(void)base_offset;
	cr_assert_eq(kerr, SL_KERR_NONE);
	*is_done = true;
}

static bool is_true(struct harness *unused, void *arg)
{
	(void)unused;
	return *(bool *)arg;
}

/* One record. */
static void put_record(const char *topic, int32_t partition)
{
	const struct meta_topic *t = meta_topic_by_name(h.control->meta, sl_str_from(topic));
	struct sl_batch_builder builder;
	struct sl_batch_head head;
	uint8_t bytes[256];
	struct sl_buf b;
	bool is_done = false;

	sl_buf_init_fixed(&b, bytes, sizeof(bytes));
	sl_batch_head_init(&head);
	sl_batch_begin(&builder, &b, &head);
	sl_batch_add(&builder, loop_wall_ms(h.loop), SL_BYTES_NULL, (struct sl_bytes){"x", 1});
	cr_assert_eq(sl_batch_end(&builder), 0);
	link_append(h.control->link, 0, &t->rec.topic_id, partition,
	            (struct sl_bytes){b.p, (int32_t)b.len}, appended, &is_done);
	harness_until(&h, is_true, &is_done, "a record appended");
}

Test(rpc_methods, lag_is_a_sum_and_offsets_are_those_of_the_topic)
{
	json_t *v;

	load_groups();
	harness_create_topic(&h, "s", 3);
	for (int i = 0; i < 3; i++)
		put_record("t", i > 0);
	commit("g", "s", 0, 0);
	commit("g", "t", 0, 0);
	commit("g", "t", 1, 0);
	v = rpc_client_result(&c, "groups.list", NULL);
	cr_assert_eq(rpc_client_int(v, "groups.0.lag"), 3);
	json_decref(v);
	/* The other topic has an offset for a number without one here. */
	commit("g", "s", 2, 1);
	v = rpc_client_result(&c, "groups.reset-offsets",
	                      "{\"group\":\"g\",\"topic\":\"t\",\"shift\":1,\"dry_run\":true}");
	cr_assert_eq(json_array_size(rpc_client_at(v, "offsets")), 2);
	cr_assert_eq(rpc_client_int(v, "offsets.1.partition"), 1);
	cr_assert_eq(rpc_client_int(v, "offsets.1.before"), 0);
	cr_assert_eq(rpc_client_int(v, "offsets.1.after"), 1);
	json_decref(v);
	v = rpc_client_result(&c, "groups.reset-offsets",
	                      "{\"group\":\"g\",\"topic\":\"t\",\"to\":\"latest\"}");
	cr_assert_eq(rpc_client_int(v, "offsets.0.after"), 1);
	cr_assert_eq(rpc_client_int(v, "offsets.1.after"), 2);
	cr_assert_eq(rpc_client_int(v, "offsets.2.after"), 0);
	json_decref(v);
	v = rpc_client_result(&c, "groups.list", NULL);
	cr_assert_eq(rpc_client_int(v, "groups.0.lag"), 0);
	json_decref(v);
	v = rpc_client_result(
		&c, "groups.reset-offsets",
		"{\"group\":\"g\",\"topic\":\"t\",\"to\":\"earliest\",\"partition\":1}");
	cr_assert_eq(json_array_size(rpc_client_at(v, "offsets")), 1);
	cr_assert_eq(rpc_client_int(v, "offsets.0.before"), 2);
	cr_assert_eq(rpc_client_int(v, "offsets.0.after"), 0);
	json_decref(v);
}

Test(rpc_methods, a_group_of_the_consumer_protocol_is_described)
{
	struct sl_str name = sl_str_from("t");
	struct sl_consumer_group_heartbeat_req req;
	struct sl_consumer_group_heartbeat_resp resp;
	json_t *v;

	load_groups();
	sl_consumer_group_heartbeat_req_init(&req);
	req.group_id = sl_str_from("g");
	req.member_id = sl_str_from("m");
	req.rebalance_timeout_ms = 10000;
	req.subscribed_topic_names = &name;
	req.subscribed_topic_names_count = 1;
	req.topic_partitions_count = 0;
	CALL(&h, consumer_group_heartbeat, CONSUMER_GROUP_HEARTBEAT, 1, &req, &resp);
	cr_assert_eq(resp.error_code, 0);
	commit("simple", "t", 0, 0);
	v = rpc_client_result(&c, "groups.describe", "{\"group\":\"g\"}");
	cr_assert_str_eq(rpc_client_str(v, "type"), "consumer");
	cr_assert_str_eq(rpc_client_str(v, "state"), "Stable");
	cr_assert_str_eq(rpc_client_str(v, "protocol"), "uniform");
	cr_assert_eq(rpc_client_int(v, "epoch"), 1);
	cr_assert_eq(rpc_client_int(v, "assignment_epoch"), 1);
	cr_assert_str_eq(rpc_client_str(v, "members.0.member_id"), "m");
	cr_assert_str_eq(rpc_client_str(v, "members.0.type"), "consumer");
	cr_assert_str_eq(rpc_client_str(v, "members.0.topics.0"), "t");
	cr_assert_str_eq(rpc_client_str(v, "members.0.assignment.0.topic"), "t");
	cr_assert_eq(json_array_size(rpc_client_at(v, "members.0.target.0.partitions")), 3);
	json_decref(v);
	v = rpc_client_result(&c, "groups.describe", "{\"group\":\"simple\"}");
	cr_assert_str_eq(rpc_client_str(v, "type"), "classic");
	json_decref(v);
	expect_error("groups.delete", "{\"group\":\"g\"}", RPC_FAILED, "NON_EMPTY_GROUP");
}

Test(rpc_methods, a_group_with_members_is_left_alone)
{
	json_t *v;

	load_groups();
	join("g");
	expect_error("groups.reset-offsets", "{\"group\":\"g\",\"topic\":\"t\",\"to\":0}",
	             RPC_FAILED, "NON_EMPTY_GROUP");
	expect_error("groups.delete", "{\"group\":\"g\"}", RPC_FAILED, "NON_EMPTY_GROUP");
	v = rpc_client_result(&c, "groups.describe", "{\"group\":\"g\"}");
	cr_assert_eq(json_array_size(rpc_client_at(v, "members")), 1);
	cr_assert_str_eq(rpc_client_str(v, "members.0.client_id"), "tester");
	json_decref(v);
}

/* ---- The rest ---- */

Test(rpc_methods, doctor_measures_the_disk)
{
	char dir[128];
	json_t *v, *check, *disk = NULL;
	size_t i;

	snprintf(dir, sizeof(dir), "%s/log", h.dir);
	cr_assert_eq(sl_mkdir_p(dir, 0700), 0);
	v = rpc_client_result(&c, "doctor", NULL);
	json_array_foreach(rpc_client_at(v, "checks"), i, check) {
		const char *state = rpc_client_str(check, "state");

		cr_assert(strcmp(state, "ok") == 0 || strcmp(state, "warn") == 0 ||
		          strcmp(state, "bad") == 0);
		/* What is not well has a remedy. */
		cr_assert(strcmp(state, "ok") == 0 || rpc_client_str(check, "fix")[0]);
		if (strcmp(rpc_client_str(check, "name"), "disk-sync") == 0)
			disk = check;
	}
	cr_assert(disk);
	cr_assert(strstr(rpc_client_str(disk, "cause"), "a sync of 4 KiB takes"), "%s",
	          rpc_client_str(disk, "cause"));
	json_decref(v);
}

Test(rpc_methods, doctor_says_that_a_log_dir_is_missing)
{
	json_t *v = rpc_client_result(&c, "doctor", NULL), *check;
	bool found = false;
	size_t i;

	json_array_foreach(rpc_client_at(v, "checks"), i, check) {
		if (strcmp(rpc_client_str(check, "name"), "disk-sync") != 0)
			continue;
		found = true;
		cr_assert_str_eq(rpc_client_str(check, "state"), "bad");
	}
	cr_assert(found);
	json_decref(v);
}

Test(rpc_methods, lanes_have_all_counters)
{
	json_t *v = rpc_client_result(&c, "lanes", NULL);

	cr_assert_eq(json_array_size(rpc_client_at(v, "lanes")), 2);
	cr_assert_eq(json_object_size(rpc_client_at(v, "lanes.1.stats")), SL_STAT_NR);
	cr_assert_eq(rpc_client_int(v, "lanes.1.node_id"), 101);
	json_decref(v);
}

static double ratio_of(json_t *v, const char *name)
{
	json_t *ratio = json_object_get(rpc_client_at(v, "lanes.1.ratios"), name);

	cr_assert(json_is_real(ratio), "%s", name);
	return json_real_value(ratio);
}

Test(rpc_methods, lanes_say_what_their_time_and_calls_went_into)
{
	static const struct {
		enum sl_stat stat;
		uint64_t value;
	} stats[] = {
		{SL_STAT_cycles_busy, 6000},    {SL_STAT_cycles_idle, 1000},
		{SL_STAT_cycles_asleep, 5000},  {SL_STAT_requests, 20},
		{SL_STAT_requests_produce, 10}, {SL_STAT_batches_in, 40},
		{SL_STAT_messages_in, 120},     {SL_STAT_bytes_received, 900},
		{SL_STAT_bytes_sent, 600},      {SL_STAT_recv_calls, 30},
		{SL_STAT_send_calls, 19},       {SL_STAT_sendfile_calls, 1},
		{SL_STAT_uring_calls, 5},       {SL_STAT_epoll_calls, 999},
		{SL_STAT_epoll_calls_busy, 10}, {SL_STAT_epoll_events, 35},
		{SL_STAT_polls_busy, 8},
	};
	json_t *v;

	for (size_t i = 0; i < SL_ARRAY_SIZE(stats); i++)
		fake_stat(h.fake, 1, stats[i].stat, stats[i].value);
	v = rpc_client_result(&c, "lanes", NULL);
	cr_assert_float_eq(ratio_of(v, "busy") + ratio_of(v, "idle") + ratio_of(v, "asleep"), 1,
	                   1e-9);
	cr_assert_float_eq(ratio_of(v, "busy"), 0.5, 1e-9);
	cr_assert_float_eq(ratio_of(v, "cycles_per_request"), 300, 1e-9);
	cr_assert_float_eq(ratio_of(v, "cycles_per_message_in"), 50, 1e-9);
	cr_assert_float_eq(ratio_of(v, "cycles_per_byte"), 4, 1e-9);
	cr_assert_float_eq(ratio_of(v, "messages_per_batch"), 3, 1e-9);
	cr_assert_float_eq(ratio_of(v, "batches_per_produce"), 4, 1e-9);
	cr_assert_float_eq(ratio_of(v, "requests_per_busy_poll"), 2.5, 1e-9);
	cr_assert_float_eq(ratio_of(v, "calls_per_request"), 3.25, 1e-9);
	cr_assert_float_eq(ratio_of(v, "bytes_per_recv"), 30, 1e-9);
	cr_assert_float_eq(ratio_of(v, "bytes_per_send"), 30, 1e-9);
	cr_assert_float_eq(ratio_of(v, "events_per_epoll"), 3.5, 1e-9);
	/* Nothing was synced: no number rather than a wrong one. */
	cr_assert(json_is_null(
		json_object_get(rpc_client_at(v, "lanes.1.ratios"), "batches_per_sync")));
	json_decref(v);
}

Test(rpc_methods, log_levels_are_set_here)
{
	json_t *v = rpc_client_result(
		&c, "log.level",
		"{\"module\":\"admin\",\"level\":\"debug\",\"process\":\"control\"}");

	cr_assert_str_eq(rpc_client_str(v, "control.admin"), "debug");
	cr_assert_str_eq(rpc_client_str(v, "control.meta"), "err");
	json_decref(v);
	expect_error("log.level", "{\"module\":\"nothing\",\"level\":\"debug\"}",
	             RPC_INVALID_PARAMS, NULL);
	expect_error("log.level", "{\"module\":\"admin\",\"level\":\"loud\"}", RPC_INVALID_PARAMS,
	             NULL);
	expect_error("log.level", "{\"module\":\"admin\"}", RPC_INVALID_PARAMS, NULL);
	expect_error("log.level", "{\"process\":\"other\"}", RPC_INVALID_PARAMS, NULL);
}

Test(rpc_methods, counters_have_both_tables)
{
	json_t *v = rpc_client_result(&c, "counters", NULL);

	cr_assert_eq(json_object_size(rpc_client_at(v, "control")), COUNTER_NR);
	cr_assert_gt(json_object_size(rpc_client_at(v, "group")), 10);
	cr_assert_eq(rpc_client_int(v, "control.rpc_calls"), 1);
	json_decref(v);
}
