/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata, FindCoordinator, DescribeCluster, DescribeTopicPartitions, DescribeLogDirs,
 * InitProducerId. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "sluice/wire/describe_cluster_gen.h"
#include "sluice/wire/describe_log_dirs_gen.h"
#include "sluice/wire/describe_topic_partitions_gen.h"
#include "sluice/wire/find_coordinator_gen.h"
#include "sluice/wire/init_producer_id_gen.h"
#include "sluice/wire/metadata_gen.h"

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

TestSuite(cluster, .init = setup, .fini = teardown);

/* ---- Metadata ---- */

static struct sl_metadata_resp metadata(struct sl_metadata_req_topic *topics, int32_t count,
                                        bool create, int16_t version)
{
	struct sl_metadata_req req;
	struct sl_metadata_resp resp;

	sl_metadata_req_init(&req);
	req.topics = topics;
	req.topics_count = count;
	req.allow_auto_topic_creation = create;
	req.include_topic_authorized_operations = version >= 8;
	CALL(&h, metadata, METADATA, version, &req, &resp);
	cr_assert_eq(resp.brokers_count, 3);
	return resp;
}

static struct sl_metadata_req_topic named(const char *name)
{
	return (struct sl_metadata_req_topic){.name = sl_str_from(name)};
}

Test(cluster, creates_a_topic_that_a_client_asks_for_at_every_version)
{
	char name[32];

	for (int16_t version = 0; version <= 13; version++) {
		struct sl_metadata_req_topic t;
		struct sl_metadata_resp resp;

		snprintf(name, sizeof(name), "auto-%d", version);
		t = named(name);
		resp = metadata(&t, 1, true, version);
		cr_assert_eq(resp.topics_count, 1);
		cr_assert_eq(resp.topics[0].error_code, 0);
		cr_assert(sl_str_eq_c(resp.topics[0].name, name));
		cr_assert_eq(resp.topics[0].partitions_count, 1);
		cr_assert_geq(resp.topics[0].partitions[0].leader_id, 100);
		cr_assert_eq(resp.topics[0].partitions[0].replica_nodes_count, 1);
		if (version >= 10)
			cr_assert_not(sl_uuid_is_zero(&resp.topics[0].topic_id));
		if (version >= 8)
			cr_assert_eq(resp.topics[0].topic_authorized_operations, 3576);
		cr_assert_eq(fake_topics_count(h.fake), (uint32_t)version + 1, "served");
	}
	cr_assert_eq(h.control->counters[COUNTER_topics_auto_created], 14);
}

Test(cluster, advertises_every_lane_as_a_broker)
{
	struct sl_metadata_resp resp = metadata(NULL, -1, false, 12);

	for (int i = 0; i < 3; i++) {
		cr_assert_eq(resp.brokers[i].node_id, 100 + i);
		cr_assert_eq(resp.brokers[i].port, 9093 + i);
		cr_assert(sl_str_eq_c(resp.brokers[i].host, "broker.test"));
	}
	cr_assert_eq(resp.controller_id, 100);
	cr_assert_eq(fake_controller_id(h.fake), 100);
	cr_assert(sl_str_eq_c(resp.cluster_id, meta_cluster_id(h.control->meta)));
	cr_assert_eq(resp.cluster_id.len, 22);
}

Test(cluster, creates_nothing_that_is_not_allowed)
{
	struct sl_metadata_req_topic t[] = {named("here"), named("no pe"), named("he.re"),
	                                    named("__transaction_state"), named("he_re")};
	struct sl_metadata_req_topic later = named("later");
	struct sl_metadata_resp resp = metadata(t, 5, false, 9);

	cr_assert_eq(resp.topics[0].error_code, SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_assert_eq(resp.topics[1].error_code, SL_KERR_INVALID_TOPIC_EXCEPTION);
	cr_assert_eq(meta_topics_count(h.control->meta), 0, "the client did not allow it");
	resp = metadata(t, 5, true, 9);
	cr_assert_eq(resp.topics[0].error_code, 0);
	cr_assert_eq(resp.topics[1].error_code, SL_KERR_INVALID_TOPIC_EXCEPTION);
	cr_assert_eq(resp.topics[2].error_code, 0);
	cr_assert_eq(resp.topics[3].error_code, SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_assert_eq(resp.topics[4].error_code, SL_KERR_UNKNOWN_TOPIC_OR_PARTITION, "collides");
	harness_set(&h, "auto.create.topics.enable", "false");
	resp = metadata(&later, 1, true, 9);
	cr_assert_eq(resp.topics[0].error_code, SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
}

Test(cluster, finds_topics_by_id)
{
	struct sl_metadata_req_topic t[2] = {{.name = SL_STR_NULL}, {.name = SL_STR_NULL}};
	struct sl_metadata_resp resp;
	struct fake_topic seen;

	harness_create_topic(&h, "ided", 1);
	cr_assert(fake_topic(h.fake, "ided", &seen));
	t[0].topic_id = seen.id;
	t[1].topic_id.b[0] = 5;
	resp = metadata(t, 2, true, 12);
	cr_assert_eq(resp.topics[0].error_code, 0);
	cr_assert(sl_str_eq_c(resp.topics[0].name, "ided"));
	cr_assert_eq(resp.topics[1].error_code, SL_KERR_UNKNOWN_TOPIC_ID);
	resp = metadata(t, 1, true, 11);
	cr_assert_eq(resp.topics[0].error_code, SL_KERR_INVALID_REQUEST);
	free(seen.configs);
}

Test(cluster, lists_all_topics)
{
	harness_create_topic(&h, "b", 1);
	harness_create_topic(&h, "a", 2);
	cr_assert_eq(metadata(NULL, 0, false, 0).topics_count, 2, "version 0: empty means all");
	cr_assert_eq(metadata(NULL, 0, false, 1).topics_count, 0);
	cr_assert_eq(metadata(NULL, -1, false, 1).topics_count, 2);
}

/* ---- FindCoordinator ---- */

static struct sl_find_coordinator_resp find(struct sl_str *keys, int32_t count, int8_t type,
                                            int16_t version)
{
	struct sl_find_coordinator_req req;
	struct sl_find_coordinator_resp resp;

	sl_find_coordinator_req_init(&req);
	req.key = keys[0];
	req.key_type = type;
	req.coordinator_keys = keys;
	req.coordinator_keys_count = count;
	CALL(&h, find_coordinator, FIND_COORDINATOR, version, &req, &resp);
	return resp;
}

Test(cluster, creates_the_offsets_topic_for_the_first_group)
{
	struct sl_str keys[] = {sl_str_from("g1"), sl_str_from("g2")};
	struct sl_find_coordinator_resp resp;
	struct fake_topic seen;

	for (int16_t version = 0; version <= 3; version++) {
		resp = find(keys, 1, 0, version);
		cr_assert_eq(resp.error_code, 0);
		cr_assert_geq(resp.node_id, 100);
		cr_assert_lt(resp.node_id, 103);
		cr_assert_eq(resp.port, 9093 + resp.node_id - 100);
	}
	cr_assert(fake_topic(h.fake, OFFSETS_TOPIC, &seen));
	cr_assert_eq(seen.partitions_count, 50);
	cr_assert(seen.is_internal);
	cr_assert_str_eq(harness_image_config(&h, OFFSETS_TOPIC, "cleanup.policy"), "compact");
	cr_assert_str_eq(harness_image_config(&h, OFFSETS_TOPIC, "compression.type"), "producer");
	cr_assert_str_eq(harness_image_config(&h, OFFSETS_TOPIC, "segment.bytes"), "104857600");
	for (int16_t version = 4; version <= 6; version++) {
		resp = find(keys, 2, 0, version);
		cr_assert_eq(resp.coordinators_count, 2);
		for (int i = 0; i < 2; i++) {
			cr_assert_eq(resp.coordinators[i].error_code, 0);
			cr_assert(sl_str_eq(resp.coordinators[i].key, keys[i]));
		}
	}
	free(seen.configs);
}

Test(cluster, spreads_groups_over_the_lanes)
{
	struct sl_str keys[64];
	char text[64][16];
	int per_lane[3] = {0};
	struct sl_find_coordinator_resp resp;

	for (int i = 0; i < 64; i++) {
		snprintf(text[i], sizeof(text[i]), "g%d", i);
		keys[i] = sl_str_from(text[i]);
	}
	resp = find(keys, 64, 0, 4);
	for (int i = 0; i < 64; i++)
		per_lane[resp.coordinators[i].node_id - 100]++;
	for (int i = 0; i < 3; i++)
		cr_assert_gt(per_lane[i], 8);
}

Test(cluster, tells_what_coordinators_there_are_not)
{
	struct sl_str key = sl_str_from("x");

	cr_assert_eq(find(&key, 1, 2, 6).coordinators[0].error_code, SL_KERR_INVALID_REQUEST);
	cr_assert_eq(find(&key, 1, 9, 3).error_code, SL_KERR_INVALID_REQUEST);
	cr_assert_eq(find(&key, 1, 9, 3).node_id, -1);
	cr_assert_eq(meta_topics_count(h.control->meta), 0, "nobody needs a topic");
}

Test(cluster, creates_the_topic_of_transactions_with_the_first_question)
{
	struct sl_str key = sl_str_from("tx");
	struct sl_find_coordinator_resp resp = find(&key, 1, 1, 3);
	struct fake_topic topic;

	cr_assert_eq(resp.error_code, 0);
	cr_assert(resp.node_id >= 100 && resp.node_id < 103);
	cr_assert(fake_topic(h.fake, "__transaction_state", &topic));
	cr_assert_eq(topic.partitions_count, 50);
	cr_assert(topic.is_internal);
	free(topic.configs);
	cr_assert_str_eq(harness_image_config(&h, "__transaction_state", "cleanup.policy"),
	                 "compact");
	cr_assert_eq(find(&key, 1, 1, 4).coordinators[0].node_id, resp.node_id);
	cr_assert_eq(meta_topics_count(h.control->meta), 1);
}

/* ---- InitProducerId ---- */

static struct sl_init_producer_id_resp init_producer(struct sl_str transactional_id, int64_t id,
                                                     int16_t epoch, int16_t version)
{
	struct sl_init_producer_id_req req;
	struct sl_init_producer_id_resp resp;

	sl_init_producer_id_req_init(&req);
	req.transactional_id = transactional_id;
	req.producer_id = id;
	req.producer_epoch = epoch;
	req.transaction_timeout_ms = 60000;
	CALL(&h, init_producer_id, INIT_PRODUCER_ID, version, &req, &resp);
	return resp;
}

Test(cluster, never_gives_a_producer_id_twice)
{
	int64_t last = -1;

	for (int i = 0; i < 1500; i++) {
		struct sl_init_producer_id_resp resp = init_producer(SL_STR_NULL, -1, -1,
		                                                     (int16_t)(i % 6));

		cr_assert_eq(resp.error_code, 0);
		cr_assert_eq(resp.producer_epoch, 0);
		cr_assert_gt(resp.producer_id, last);
		last = resp.producer_id;
	}
	harness_stop_control(&h);
	harness_start_control(&h);
	harness_until_served(&h);
	cr_assert_gt(init_producer(SL_STR_NULL, -1, -1, 4).producer_id, last, "after a restart");
}

Test(cluster, refuses_transactional_ids_before_their_topic_exists)
{
	cr_assert_eq(init_producer(sl_str_from("txn"), -1, -1, 4).error_code,
	             SL_KERR_NOT_COORDINATOR);
	cr_assert_eq(init_producer(sl_str_from("txn"), -1, -1, 4).producer_id, -1);
	cr_assert_eq(init_producer((struct sl_str){"", 0}, -1, -1, 4).error_code,
	             SL_KERR_INVALID_REQUEST);
	cr_assert_eq(init_producer(SL_STR_NULL, 5, -1, 4).error_code, SL_KERR_INVALID_REQUEST);
}

Test(cluster, shares_one_block_among_simultaneous_askers)
{
	struct sl_init_producer_id_req req;
	struct sl_init_producer_id_resp resp;
	bool seen[20] = {0};
	uint64_t seq[20];

	sl_init_producer_id_req_init(&req);
	req.transactional_id = SL_STR_NULL;
	for (int i = 0; i < 20; i++)
		seq[i] = SEND(&h, (uint32_t)i % 3, init_producer_id, INIT_PRODUCER_ID, 4, &req);
	for (int i = 0; i < 20; i++) {
		harness_wait(&h, seq[i]);
		TAKE(&h, init_producer_id, INIT_PRODUCER_ID, 4, &resp);
		cr_assert_eq(resp.error_code, 0);
		cr_assert_lt(resp.producer_id, 20);
		cr_assert_not(seen[resp.producer_id]);
		seen[resp.producer_id] = true;
	}
	cr_assert_eq(meta_next_producer_id(h.control->meta), 1000);
}

/* ---- DescribeCluster ---- */

Test(cluster, describes_itself)
{
	struct sl_describe_cluster_req req;
	struct sl_describe_cluster_resp resp;

	for (int16_t version = 0; version <= 2; version++) {
		sl_describe_cluster_req_init(&req);
		req.include_cluster_authorized_operations = version > 0;
		CALL(&h, describe_cluster, DESCRIBE_CLUSTER, version, &req, &resp);
		cr_assert_eq(resp.error_code, 0);
		cr_assert_eq(resp.brokers_count, 3);
		cr_assert_eq(resp.controller_id, 100);
		cr_assert_eq(resp.cluster_authorized_operations, version ? 8096 : INT32_MIN);
	}
	req.endpoint_type = 2;
	CALL(&h, describe_cluster, DESCRIBE_CLUSTER, 1, &req, &resp);
	cr_assert_eq(resp.error_code, SL_KERR_MISMATCHED_ENDPOINT_TYPE);
}

Test(cluster, tells_its_rack)
{
	struct sl_describe_cluster_req req;
	struct sl_describe_cluster_resp resp;
	struct sl_metadata_req ask;
	struct sl_metadata_resp told;

	cr_assert(sl_str_is_null(control_node_rack(h.control, 101)));
	harness_stop_control(&h);
	harness_set(&h, "broker.rack", "zone-a");
	harness_start_control(&h);
	harness_until_served(&h);
	sl_describe_cluster_req_init(&req);
	CALL(&h, describe_cluster, DESCRIBE_CLUSTER, 2, &req, &resp);
	cr_assert_eq(resp.brokers_count, 3);
	for (int i = 0; i < 3; i++)
		cr_assert(sl_str_eq_c(resp.brokers[i].rack, "zone-a"));
	sl_metadata_req_init(&ask);
	CALL(&h, metadata, METADATA, 12, &ask, &told);
	cr_assert_eq(told.brokers_count, 3);
	for (int i = 0; i < 3; i++)
		cr_assert(sl_str_eq_c(told.brokers[i].rack, "zone-a"));
	cr_assert(sl_str_eq_c(control_node_rack(h.control, 163), "zone-a"), "of any lane");
	cr_assert(sl_str_is_null(control_node_rack(h.control, 200)), "another server");
}

/* ---- DescribeTopicPartitions ---- */

static struct sl_describe_topic_partitions_resp describe(
	struct sl_describe_topic_partitions_req_topic *topics, int32_t count, int32_t limit,
	struct sl_describe_topic_partitions_req_cursor *cursor)
{
	struct sl_describe_topic_partitions_req req;
	struct sl_describe_topic_partitions_resp resp;

	sl_describe_topic_partitions_req_init(&req);
	req.topics = topics;
	req.topics_count = count;
	req.response_partition_limit = limit;
	req.cursor = cursor;
	CALL(&h, describe_topic_partitions, DESCRIBE_TOPIC_PARTITIONS, 0, &req, &resp);
	return resp;
}

Test(cluster, describes_topics_page_by_page)
{
	struct sl_describe_topic_partitions_req_cursor cursor = {{NULL, 0}, 0};
	struct sl_describe_topic_partitions_req_cursor *at = NULL;
	char name[3] = "ta", last[8] = "";
	int partitions = 0, pages = 0;

	for (int i = 0; i < 5; i++) {
		name[1] = (char)('e' - i);
		harness_create_topic(&h, name, 4);
	}
	do {
		struct sl_describe_topic_partitions_resp resp = describe(NULL, 0, 3, at);
		int on_page = 0;

		for (int i = 0; i < resp.topics_count; i++) {
			cr_assert_eq(resp.topics[i].error_code, 0);
			for (int p = 0; p < resp.topics[i].partitions_count; p++) {
				cr_assert_eq(resp.topics[i].partitions[p].partition_index,
				             partitions % 4);
				partitions++;
				on_page++;
			}
		}
		cr_assert_leq(on_page, 3);
		pages++;
		at = NULL;
		if (resp.next_cursor) {
			snprintf(last, sizeof(last), "%.*s",
			         SL_STR_ARG(resp.next_cursor->topic_name));
			cursor.topic_name = sl_str_from(last);
			cursor.partition_index = resp.next_cursor->partition_index;
			at = &cursor;
		}
	} while (at);
	cr_assert_eq(partitions, 20);
	cr_assert_eq(pages, 7);
}

Test(cluster, describes_named_topics_in_order_and_once)
{
	struct sl_describe_topic_partitions_req_topic t[] = {
		{sl_str_from("zz")}, {sl_str_from("a")}, {sl_str_from("zz")}, {sl_str_from("m!")}};
	struct sl_describe_topic_partitions_resp resp;

	harness_create_topic(&h, "a", 2);
	resp = describe(t, 4, 2000, NULL);
	cr_assert_eq(resp.topics_count, 3);
	cr_assert(sl_str_eq_c(resp.topics[0].name, "a"));
	cr_assert_eq(resp.topics[0].partitions_count, 2);
	cr_assert_eq(resp.topics[1].error_code, SL_KERR_INVALID_TOPIC_EXCEPTION);
	cr_assert_eq(resp.topics[2].error_code, SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_assert_null(resp.next_cursor);
}

/* ---- DescribeLogDirs ---- */

static int reported(uint32_t lane, struct sl_describe_log_dirs_req_topic *topics, int32_t count,
                    int16_t version, struct sl_describe_log_dirs_resp *resp)
{
	struct sl_describe_log_dirs_req req;
	int n = 0;

	sl_describe_log_dirs_req_init(&req);
	req.topics = topics;
	req.topics_count = count;
	harness_wait(&h, SEND(&h, lane, describe_log_dirs, DESCRIBE_LOG_DIRS, version, &req));
	TAKE(&h, describe_log_dirs, DESCRIBE_LOG_DIRS, version, resp);
	cr_assert_eq(resp->results_count, 1);
	for (int i = 0; i < resp->results[0].topics_count; i++)
		n += resp->results[0].topics[i].partitions_count;
	return n;
}

Test(cluster, reports_log_dirs_lane_by_lane)
{
	int32_t some[] = {0, 1, 2, 77, -1};
	struct sl_describe_log_dirs_req_topic asked[] = {{sl_str_from("b"), some, 5},
	                                                 {sl_str_from("nope"), some, 5}};
	struct sl_describe_log_dirs_resp resp;
	int all = 0, named_only = 0;

	harness_create_topic(&h, "a", 6);
	harness_create_topic(&h, "b", 3);
	mkdir(h.control->log_dirs[0], 0700);
	for (uint32_t lane = 0; lane < 3; lane++) {
		for (int16_t version = 1; version <= 5; version++) {
			cr_assert_eq(reported(lane, NULL, -1, version, &resp), 3);
			if (version >= 4)
				cr_assert_gt(resp.results[0].total_bytes, 0);
		}
		all += reported(lane, NULL, -1, 4, &resp);
		named_only += reported(lane, asked, 2, 4, &resp);
	}
	cr_assert_eq(all, 9);
	cr_assert_eq(named_only, 3);
}

Test(cluster, reports_a_log_dir_that_went_offline)
{
	struct sl_ipc_log_dir lost = {.log_dir = 0, .error = -EIO};
	struct sl_describe_log_dirs_resp resp;

	harness_create_topic(&h, "a", 1);
	fake_send_raw(h.fake, 0, SL_IPC_LOG_DIR, &lost, sizeof(lost));
	lost.log_dir = 99;
	fake_send_raw(h.fake, 0, SL_IPC_LOG_DIR, &lost, sizeof(lost));
	harness_create_topic(&h, "b", 1);
	cr_assert_eq(reported(0, NULL, -1, 4, &resp), 0);
	cr_assert_eq(resp.results[0].error_code, SL_KERR_KAFKA_STORAGE_ERROR);
}
