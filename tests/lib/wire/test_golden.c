/* SPDX-License-Identifier: Apache-2.0 */
/* Our codec against bytes that it did not write: other clients' and hand-made ones. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "golden.h"
#include "rnd.h"
#include "sluice/wire/apis.h"
#include "sluice/wire/batch.h"
#include "sluice/wire/consumer_protocol_subscription_gen.h"
#include "sluice/wire/fetch_gen.h"
#include "sluice/wire/group_metadata_value_gen.h"
#include "sluice/wire/join_group_gen.h"
#include "sluice/wire/metadata_gen.h"
#include "sluice/wire/offset_commit_key_gen.h"
#include "sluice/wire/offset_commit_value_gen.h"
#include "sluice/wire/produce_gen.h"

#define ARENA_BYTES (1u << 20)

static struct sl_arena new_arena(void)
{
	struct sl_arena a;

	cr_assert_eq(sl_arena_create(&a, ARENA_BYTES), 0);
	return a;
}

/* @p decodes at @version, takes all bytes, and encodes to the same bytes again. */
static void check_body(const struct fill_message *f, int version, const uint8_t *p, size_t len)
{
	struct sl_arena arena = new_arena();
	struct sl_cursor c = sl_cursor_from(p, len);
	struct sl_buf b;
	void *m = calloc(1, f->size);

	cr_assert(m);
	cr_assert_eq(f->decode(m, &c, &arena, (int16_t)version), 0, "%s v%d", f->name, version);
	cr_assert(sl_cursor_is_done(&c), "%s v%d leaves %zu bytes", f->name, version,
	          sl_cursor_left(&c));
	sl_buf_init_grow(&b, ARENA_BYTES);
	f->encode(m, &b, (int16_t)version);
	cr_assert(sl_buf_ok(&b));
	cr_assert(same_bytes(b.p, (int32_t)b.len, p, (int32_t)len), "%s v%d encodes differently",
	          f->name, version);
	sl_buf_fini(&b);
	free(m);
	sl_arena_destroy(&arena);
}

/* The same message, filled by the names of its fields, must be the same bytes. */
static void check_by_name(const struct golden_line *line, void *arg)
{
	const struct fill_message *f = golden_message(line->message);
	struct sl_arena arena = new_arena();
	struct rnd r = {.by_name = true};
	struct sl_buf b;
	void *m = calloc(1, f->size);

	(void)arg;
	cr_assert(m);
	f->fill(m, &r, &arena, (int16_t)line->version);
	sl_buf_init_grow(&b, ARENA_BYTES);
	f->encode(m, &b, (int16_t)line->version);
	cr_assert(same_bytes(b.p, (int32_t)b.len, line->bytes, (int32_t)line->len),
	          "%s v%d: fields are not where kafka-python puts them", f->name, line->version);
	sl_buf_fini(&b);
	free(m);
	sl_arena_destroy(&arena);
	check_body(f, line->version, line->bytes, line->len);
}

Test(golden, fields_are_where_kafka_python_puts_them)
{
	cr_assert_gt(golden_each("by_name.txt", check_by_name, NULL), 300);
}

static void check_captured(const struct golden_line *line, void *arg)
{
	const struct fill_message *f = golden_message(line->message);
	struct sl_cursor c = sl_cursor_from(line->bytes, line->len);
	struct sl_request_head head;
	struct sl_buf b;
	int *requests = arg;

	if (!strstr(line->message, "_req")) {
		check_body(f, line->version, line->bytes, line->len);
		return;
	}
	++*requests;
	cr_assert_eq(sl_request_head_decode(&head, &c), 0, "%s", line->message);
	cr_assert_eq(head.api_version, line->version);
	cr_assert(sl_str_eq_c(head.client_id, "cap"));
	check_body(f, line->version, c.p, sl_cursor_left(&c));
	/* The header too. */
	sl_buf_init_grow(&b, 256);
	sl_request_head_encode(&b, sl_api_find(head.api_key), &head);
	cr_assert(b.len == (size_t)(c.p - line->bytes) && memcmp(b.p, line->bytes, b.len) == 0);
	sl_buf_fini(&b);
}

Test(golden, librdkafka_requests_and_its_mock_brokers_responses)
{
	int requests = 0;

	cr_assert_gt(golden_each("librdkafka.txt", check_captured, &requests), 25);
	cr_assert_gt(requests, 12);
}

/* The four records that the captured producer sent. */
static void check_records(const struct sl_batch_info *info, const void *p, struct sl_codec_ctx *ctx)
{
	struct sl_arena arena = new_arena();
	struct sl_record_iter it;
	struct sl_record rec;
	char want[256];

	cr_assert_eq(info->head.records_count, 4);
	cr_assert_eq(info->max_timestamp, 1700000000003);
	cr_assert_eq(info->max_timestamp_delta, 3);
	cr_assert_eq(sl_record_iter_init(&it, p, &info->head, ctx, &arena), 0);
	for (int i = 0; i < 4; i++) {
		cr_assert_eq(sl_record_iter_next(&it, &rec), 1);
		cr_assert_eq(rec.offset, i);
		cr_assert_eq(rec.timestamp, 1700000000000 + i);
		snprintf(want, sizeof(want), "key%d", i);
		cr_assert(same_bytes(rec.key.p, rec.key.len, want, 4));
		cr_assert_eq(rec.value.len, 140);
		snprintf(want, sizeof(want), "value%d ", i);
		cr_assert(same_bytes(rec.value.p, 7, want, 7));
		cr_assert_eq(rec.headers_count, i == 1 ? 2 : 0);
		if (i == 1) {
			struct sl_bytes value;
			struct sl_str key;

			cr_assert_eq(sl_record_header_next(&rec.headers, &key, &value), 1);
			cr_assert(sl_str_eq_c(key, "h1") && same_bytes(value.p, value.len, "x", 1));
			cr_assert_eq(sl_record_header_next(&rec.headers, &key, &value), 1);
			cr_assert(sl_str_eq_c(key, "h2") && value.len == -1);
			cr_assert_eq(sl_record_header_next(&rec.headers, &key, &value), 0);
		}
	}
	cr_assert_eq(sl_record_iter_next(&it, &rec), 0);
	sl_arena_destroy(&arena);
}

static void check_produced(const struct golden_line *line, void *arg)
{
	static const struct sl_batch_rules rules = {.is_compacted = true,
	                                            .before_max_ms = INT64_MAX,
	                                            .after_max_ms = 3600000,
	                                            .batch_bytes_max = 1048588};
	struct sl_arena arena = new_arena();
	struct sl_cursor c = sl_cursor_from(line->bytes, line->len);
	struct sl_request_head head;
	struct sl_produce_req req;
	struct sl_codec_ctx *ctx;
	struct sl_batch_info info;
	unsigned int *codecs = arg;

	if (strcmp(line->message, "produce_req") != 0)
		return;
	cr_assert_eq(sl_request_head_decode(&head, &c), 0);
	cr_assert_eq(sl_produce_req_decode(&req, &c, &arena, head.api_version), 0);
	cr_assert(req.topic_data_count == 1 && req.topic_data[0].partition_data_count == 1);

	struct sl_records records = req.topic_data[0].partition_data[0].records;

	cr_assert_eq(sl_codec_ctx_create(&ctx, NULL), 0);
	cr_assert_eq(sl_batch_validate(records.p, (size_t)records.len, &rules, 1700000000000, ctx,
	                               &info),
	             SL_BATCH_FAULT_OK, "%s", line->note);
	cr_assert_str_eq(sl_codec_name(sl_batch_codec(&info.head)), line->note);
	*codecs |= 1u << sl_batch_codec(&info.head);
	check_records(&info, records.p, ctx);
	sl_codec_ctx_destroy(ctx);
	sl_arena_destroy(&arena);
}

Test(golden, librdkafka_batches_of_every_codec)
{
	unsigned int codecs = 0;

	golden_each("librdkafka.txt", check_produced, &codecs);
	cr_assert_eq(codecs, (1u << SL_CODEC_NR) - 1);
}

/* By hand after the protocol guide: message, version, bytes. */
static const struct {
	const char *message;
	int version;
	const char *hex;
} by_hand[] = {
	/* Metadata v0 of no topics; v1 null = all topics; v4 with auto creation off. */
	{"metadata_req", 0, "00000000"},
	{"metadata_req", 1, "ffffffff"},
	{"metadata_req", 4, "00000001 0001 61 00"},
	/* v12: one topic by id (name null), flags, three empty tag sections in all but one place.
         */
	{"metadata_req", 12, "02 000102030405060708090a0b0c0d0e0f 00 00 01 00 00"},
	{"metadata_resp", 0,
         "00000001 00000064 0001 68 00002384 00000001 0000 0001 74 00000001 0000 00000000 00000064"
         "00000001 00000064 00000001 00000064"},
	/* v12: compact forms; a null topic name beside an error. */
	{"metadata_resp", 12,
         "00000005 02 00000064 02 68 00002384 00 00 02 63 00000064"
         "02 0064 00 00000000000000000000000000000000 00 01 80000000 00 00"},
	/* Produce v9: null transactional id, acks -1, one topic "t", partition 7, null records. */
	{"produce_req", 9, "00 ffff 00007530 02 02 74 02 00000007 00 00 00 00"},
	/* Produce v10 answer with CurrentLeader (tag 0, 9 bytes) and one node endpoint. */
	{"produce_resp", 10,
         "02 02 74 02 00000000 0006 ffffffffffffffff ffffffffffffffff ffffffffffffffff 01 00"
         "01 00 09 00000065 00000003 00 00 00000000"
         "01 00 0e 02 00000065 02 68 00002385 02 72 00"},
	/* Fetch v13 by topic id, no forgotten topics, rack "r", no tags. */
	{"fetch_req", 13,
         "ffffffff 000001f4 00000001 03200000 01 00000000 ffffffff"
         "02 000102030405060708090a0b0c0d0e0f 02 00000000 00000002 0000000000000064 ffffffff"
         "ffffffffffffffff 00100000 00 00 01 02 72 00"},
	/* Fetch v12 answer: diverging epoch tag, null aborted list, null records. */
	{"fetch_resp", 12,
         "00000000 0000 00000000 02 02 74 02 00000000 0000 000000000000000a 000000000000000a"
         "0000000000000000 00 ffffffff 00 01 00 0d 00000004 0000000000000009 00 00 00"},
	/* ApiVersions v3: entries with tags; a supported feature in tag 0, its epoch in tag 1. */
	{"api_versions_resp", 3,
         "0000 02 0012 0000 0004 00 00000000 02 00 08 02 02 66 0000 0001 00 01 08 0000000000000000"},
	/* OffsetFetch v7: null topics = all; require stable. */
	{"offset_fetch_req", 7, "02 67 00 01 00"},
	/* OffsetFetch v8: two groups, the second for all topics. */
	{"offset_fetch_req", 8, "03 02 67 02 02 74 02 00000001 00 00 02 68 00 00 00 00"},
	/* DescribeTopicPartitions: no topics, limit, a cursor (present = 1) and none (-1). */
	{"describe_topic_partitions_req", 0, "01 000007d0 01 02 74 00000003 00 00"},
	{"describe_topic_partitions_req", 0, "01 000007d0 ff 00"},
	/* DeleteTopics v6 by id: name null. */
	{"delete_topics_req", 6, "02 00 000102030405060708090a0b0c0d0e0f 00 00000064 00"},
	/* __consumer_offsets: {group g, topic t, partition 5} -> {offset 9, epoch 2, "m", time
           1000}. */
	{"offset_commit_key", 0, "0001 67 0001 74 00000005"},
	{"offset_commit_value", 3, "0000000000000009 00000002 0001 6d 00000000000003e8"},
	{"offset_commit_value", 1, "0000000000000009 0001 6d 00000000000003e8 00000000000007d0"},
	{"offset_commit_value", 4,
         "0000000000000009 00000002 02 6d 00000000000003e8 01 00 10 000102030405060708090a0b0c0d0e0f"},
	{"group_metadata_key", 0, "0001 67"},
	{"group_metadata_value", 3,
         "0008 636f6e73756d6572 00000001 0005 72616e6765 0001 6d 0000000000000001 00000001"
         "0001 6d ffff 0001 63 0001 68 00007530 00002710 00000002 aabb 00000001 cc"},
	/* ConsumerProtocolSubscription v1: topics t, no user data, owns t-0. */
	{"consumer_protocol_subscription", 1,
         "00000001 0001 74 ffffffff 00000001 0001 74 00000001 00000000"},
	{"consumer_protocol_assignment", 0, "00000001 0001 74 00000002 00000000 00000001 00000000"},
	{"end_txn_marker", 0, "00000007"},
	{"leader_change_message", 0, "0000 00000001 02 00000001 00 02 00000001 00 00"},
	{"request_header", 1, "0003 0001 00000007 ffff"},
	{"request_header", 2, "0003 0009 00000007 0001 63 00"},
	{"response_header", 0, "00000007"},
	{"response_header", 1, "00000007 00"},
};

Test(golden, messages_by_hand)
{
	for (size_t i = 0; i < SL_ARRAY_SIZE(by_hand); i++) {
		size_t len;
		uint8_t *p = golden_hex(by_hand[i].hex, &len);

		check_body(golden_message(by_hand[i].message), by_hand[i].version, p, len);
		free(p);
	}
}

/* Which field is which, where a round trip cannot tell. */
Test(golden, fields_of_hand_made_messages)
{
	struct sl_arena arena = new_arena();
	struct sl_produce_resp resp;
	struct sl_offset_commit_value value;
	struct sl_cursor c;
	size_t len;
	uint8_t *p = golden_hex(
		"02 02 74 02 00000000 0006 000000000000000b ffffffffffffffff 0000000000000003"
		"01 00 01 00 09 00000065 00000004 00 00 00000005"
		"01 00 0e 02 00000066 02 68 00002385 02 72 00",
		&len);

	c = sl_cursor_from(p, len);
	cr_assert_eq(sl_produce_resp_decode(&resp, &c, &arena, 10), 0);
	cr_assert_eq(resp.throttle_time_ms, 5);
	cr_assert_eq(resp.responses[0].partition_responses[0].error_code, 6);
	cr_assert_eq(resp.responses[0].partition_responses[0].base_offset, 11);
	cr_assert_eq(resp.responses[0].partition_responses[0].log_append_time_ms, -1);
	cr_assert_eq(resp.responses[0].partition_responses[0].log_start_offset, 3);
	cr_assert_eq(resp.responses[0].partition_responses[0].error_message.len, -1);
	cr_assert_eq(resp.responses[0].partition_responses[0].current_leader.leader_id, 101);
	cr_assert_eq(resp.responses[0].partition_responses[0].current_leader.leader_epoch, 4);
	cr_assert_eq(resp.node_endpoints_count, 1);
	cr_assert_eq(resp.node_endpoints[0].node_id, 102);
	cr_assert_eq(resp.node_endpoints[0].port, 9093);
	cr_assert(sl_str_eq_c(resp.node_endpoints[0].rack, "r"));
	free(p);

	p = golden_hex("0000000000000009 0001 6d 00000000000003e8 00000000000007d0", &len);
	c = sl_cursor_from(p, len);
	cr_assert_eq(sl_offset_commit_value_decode(&value, &c, &arena, 1), 0);
	cr_assert_eq(value.offset, 9);
	cr_assert_eq(value.leader_epoch, -1);
	cr_assert_eq(value.commit_timestamp, 1000);
	cr_assert_eq(value.expire_timestamp, 2000);
	free(p);
	sl_arena_destroy(&arena);
}

/* Bodies that no version allows. */
static const struct {
	const char *message;
	int version;
	const char *hex;
} malformed[] = {
	{"metadata_req", 0, "ffffffff"},             /* null where null is not allowed yet */
	{"metadata_req", 1, "fffffffe"},             /* no such length */
	{"metadata_req", 1, "7fffffff"},             /* more topics than bytes */
	{"metadata_req", 1, "00000001 ffff"},        /* null name */
	{"metadata_req", 9, "ffffffff0f"},           /* compact count above the type */
	{"metadata_req", 9, "8080808080808000"},     /* varint longer than five bytes */
	{"metadata_req", 9, "02 ffffffff1f"},        /* fifth byte too large */
	{"find_coordinator_req", 0, "8000"},         /* negative string length */
	{"find_coordinator_req", 3, "818002 00 00"}, /* string longer than 32767 */
	{"fetch_req", 12, /* cluster id tag larger than its contents, and smaller */
         "ffffffff 00000000 00000000 00000000 00 00000000 00000000 01 01 01 01 00 03 02 63"},
	{"api_versions_resp", 3, "0000 01 00000000 01 01 09 0000000000000000 ff"},
	{"api_versions_resp", 3, "0000 01 00000000 01 01 07 00000000000000"},
	{"api_versions_resp", 3, "0000 01 00000000 ffffffff0f"}, /* more tags than bytes */
};

Test(golden, malformed_by_hand)
{
	for (size_t i = 0; i < SL_ARRAY_SIZE(malformed); i++) {
		const struct fill_message *f = golden_message(malformed[i].message);
		struct sl_arena arena = new_arena();
		size_t len;
		uint8_t *p = golden_hex(malformed[i].hex, &len);
		struct sl_cursor c = sl_cursor_from(p, len);
		void *m = calloc(1, f->size);

		cr_assert_eq(f->decode(m, &c, &arena, (int16_t)malformed[i].version), -EBADMSG,
		             "%s: %s", f->name, malformed[i].hex);
		free(m);
		free(p);
		sl_arena_destroy(&arena);
	}
}

/* An arena that is too small is told apart from a malformed message. */
Test(golden, full_arena_is_no_malformed_message)
{
	uint8_t memory[64];
	struct sl_arena arena;
	struct sl_metadata_req req;
	size_t len;
	uint8_t *p = golden_hex("00000004 0001 61 0001 61 0001 61 0001 61", &len);
	struct sl_cursor c = sl_cursor_from(p, len);

	sl_arena_init(&arena, memory, sizeof(memory));
	cr_assert_eq(sl_metadata_req_decode(&req, &c, &arena, 1), -ENOMEM);
	free(p);
}

Test(golden, external_records_leave_a_hole)
{
	struct sl_fetch_resp_response_partition part;
	struct sl_fetch_resp_response topic;
	struct sl_buf_hole holes[1];
	struct sl_fetch_resp resp;
	struct sl_buf b;
	uint8_t memory[256];

	sl_fetch_resp_init(&resp);
	sl_fetch_resp_response_init(&topic);
	sl_fetch_resp_response_partition_init(&part);
	resp.responses = &topic;
	resp.responses_count = 1;
	topic.topic = sl_str_from("t");
	topic.partitions = &part;
	topic.partitions_count = 1;
	part.records = (struct sl_records){.len = 300, .external = true, .tag = 77};
	sl_buf_init_fixed(&b, memory, sizeof(memory));
	b.holes = holes;
	b.holes_max = 1;
	sl_fetch_resp_encode(&resp, &b, 12);
	cr_assert(sl_buf_ok(&b));
	cr_assert_eq(b.holes_count, 1);
	cr_assert_eq(holes[0].bytes, 300);
	cr_assert_eq(holes[0].tag, 77);
	/* The compact length 301 lies before the hole, three empty tag sections behind it. */
	cr_assert_eq(b.len - holes[0].pos, 3);
	cr_assert_eq(memory[holes[0].pos - 2], 0xad);
	cr_assert_eq(memory[holes[0].pos - 1], 0x02);
	cr_assert_eq(sl_buf_wire_bytes(&b), b.len + 300);
}
