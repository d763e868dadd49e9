/* SPDX-License-Identifier: Apache-2.0 */
/* ListOffsets, OffsetForLeaderEpoch and DeleteRecords. */
#include <errno.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "fixture.h"
#include "sluice/wire/delete_records_gen.h"
#include "sluice/wire/list_offsets_gen.h"
#include "sluice/wire/offset_for_leader_epoch_gen.h"

#define DAY_MS INT64_C(86400000)

static uint8_t *block;

static struct sl_cursor run(struct fx *fx, int16_t key, int16_t version, fx_encode *encode,
                            const void *body)
{
	struct request *req = fx_request(fx, key, version, encode, body);
	struct sl_cursor c;

	cr_assert(fx_run(fx, req) == REQUEST_REPLY);
	free(block);
	c = fx_reply(fx, req, &block);
	fx_release(fx, req);
	fx->requests_count--;
	return c;
}

/* ---- ListOffsets ---- */

static void encode_list(const void *body, struct sl_buf *buf, int16_t version)
{
	sl_list_offsets_req_encode(body, buf, version);
}

static const struct sl_list_offsets_resp_topic_partition *list(
	struct fx *fx, int16_t version, const char *name,
	struct sl_list_offsets_req_topic_partition *parts, int32_t count)
{
	struct sl_list_offsets_req_topic topic = {sl_str_from(name), parts, count};
	struct sl_list_offsets_req body;
	struct sl_list_offsets_resp resp;
	struct sl_cursor c;

	sl_list_offsets_req_init(&body);
	body.topics = &topic;
	body.topics_count = 1;
	body.replica_id = -1;
	c = run(fx, SL_API_LIST_OFFSETS, version, encode_list, &body);
	cr_assert(sl_list_offsets_resp_decode(&resp, &c, fx_arena(), version) == 0);
	cr_assert(sl_cursor_is_done(&c) && resp.topics_count == 1);
	cr_assert(resp.topics[0].partitions_count == count);
	return resp.topics[0].partitions;
}

static const struct sl_list_offsets_resp_topic_partition *list_at(struct fx *fx, int16_t version,
                                                                  int64_t timestamp, int32_t epoch)
{
	struct sl_list_offsets_req_topic_partition part = {0, epoch, timestamp};

	return list(fx, version, "t", &part, 1);
}

static void append_at(struct fx *fx, struct partition *p, int64_t timestamp)
{
	const struct fx_batch b = {.timestamp = timestamp, .records = 2};
	struct sl_records r = fx_records(&b);
	struct sl_log_append io = {0};
	enum sl_kerr kerr;

	cr_assert(partition_append(&fx->ctx, p, (void *)(uintptr_t)r.p, (size_t)r.len, &io,
	                           &kerr) == PARTITION_APPENDED);
	free((void *)(uintptr_t)r.p);
}

/* Offsets 0,1 at day 1 in epoch 5; 2,3 at day 3 and 4,5 at day 2 in epoch 8. */
static struct partition *three_days(struct fx *fx)
{
	struct partition *p = fx_partition(fx_topic(fx, "t", 1, NULL), 0);

	append_at(fx, p, DAY_MS);
	cr_assert(sl_log_epoch_begin(p->log, 8) == 0);
	p->leader_epoch = 8;
	append_at(fx, p, 3 * DAY_MS);
	append_at(fx, p, 2 * DAY_MS);
	return p;
}

Test(list_offsets, finds_the_ends_and_times)
{
	struct fx *fx = fx_create();
	struct partition *p = three_days(fx);
	const struct sl_list_offsets_resp_topic_partition *r;

	for (int16_t version = 1; version <= 11; version++) {
		r = list_at(fx, version, -1, -1);
		cr_expect(r->error_code == 0 && r->offset == 6 && r->timestamp == -1);
		cr_expect(version < 4 || r->leader_epoch == 8);
		r = list_at(fx, version, -2, -1);
		cr_expect(r->error_code == 0 && r->offset == 0 && r->timestamp == -1);
		cr_expect(version < 4 || r->leader_epoch == 5);
		r = list_at(fx, version, DAY_MS + 1, -1);
		cr_expect(r->offset == 2 && r->timestamp == 3 * DAY_MS);
		cr_expect(version < 4 || r->leader_epoch == 8);
		r = list_at(fx, version, 0, -1);
		cr_expect(r->offset == 0 && r->timestamp == DAY_MS);
		r = list_at(fx, version, 3 * DAY_MS + 1, -1);
		cr_expect(r->error_code == 0 && r->offset == -1 && r->timestamp == -1);
	}
	cr_assert(sl_log_advance_start(p->log, 3) == 0);
	r = list_at(fx, 8, -2, -1);
	cr_expect(r->offset == 3 && r->leader_epoch == 8);
	cr_expect(list_at(fx, 8, -4, -1)->offset == 3);
	fx_destroy(fx);
}

Test(list_offsets, special_timestamps_begin_with_their_versions)
{
	struct fx *fx = fx_create();
	const struct {
		int64_t timestamp;
		int16_t from;
		int64_t offset;
	} cases[] = {{-3, 7, 2}, {-4, 8, 0}, {-5, 9, -1}, {-6, 11, -1}};

	three_days(fx);
	for (size_t i = 0; i < SL_ARRAY_SIZE(cases); i++) {
		const struct sl_list_offsets_resp_topic_partition *r;

		r = list_at(fx, (int16_t)(cases[i].from - 1), cases[i].timestamp, -1);
		cr_expect(r->error_code == SL_KERR_UNSUPPORTED_VERSION && r->offset == -1);
		r = list_at(fx, cases[i].from, cases[i].timestamp, -1);
		cr_expect(r->error_code == 0 && r->offset == cases[i].offset, "timestamp %lld",
		          (long long)cases[i].timestamp);
	}
	cr_expect(list_at(fx, 7, -3, -1)->timestamp == 3 * DAY_MS);
	cr_expect(list_at(fx, 11, -7, -1)->error_code == SL_KERR_UNSUPPORTED_VERSION);
	cr_expect(list_at(fx, 11, INT64_MIN, -1)->error_code == SL_KERR_UNSUPPORTED_VERSION);
	fx_destroy(fx);
}

Test(list_offsets, empty_log_has_no_largest_timestamp)
{
	struct fx *fx = fx_create();

	fx_topic(fx, "t", 1, NULL);
	cr_expect(list_at(fx, 7, -3, -1)->offset == -1);
	cr_expect(list_at(fx, 7, -1, -1)->offset == 0);
	fx_destroy(fx);
}

Test(list_offsets, refuses_wrong_epochs_places_and_repetitions)
{
	struct fx *fx = fx_create();
	struct sl_list_offsets_req_topic_partition parts[3] = {
		{0, -1, -1}, {1, -1, -1}, {0, -1, -2}};
	const struct sl_list_offsets_resp_topic_partition *r;

	three_days(fx);
	fx_topic(fx, "two", 2, NULL);
	fx_foreign_topic(fx, "far", FX_NODE + 1);
	cr_expect(list_at(fx, 4, -1, 5)->error_code == SL_KERR_FENCED_LEADER_EPOCH);
	cr_expect(list_at(fx, 4, -1, 9)->error_code == SL_KERR_UNKNOWN_LEADER_EPOCH);
	cr_expect(list_at(fx, 4, -1, 8)->error_code == 0);
	r = list(fx, 5, "two", parts, 3);
	cr_expect(r[0].error_code == SL_KERR_INVALID_REQUEST);
	cr_expect(r[1].error_code == 0);
	cr_expect(r[2].error_code == SL_KERR_INVALID_REQUEST);
	cr_expect(list(fx, 5, "nope", parts, 1)->error_code == SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_expect(list(fx, 5, "t", &parts[1], 1)->error_code == SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_expect(list(fx, 5, "far", parts, 1)->error_code == SL_KERR_NOT_LEADER_OR_FOLLOWER);
	fx_destroy(fx);
}

/* ---- OffsetForLeaderEpoch ---- */

static void encode_epoch(const void *body, struct sl_buf *buf, int16_t version)
{
	sl_offset_for_leader_epoch_req_encode(body, buf, version);
}

static struct sl_offset_for_leader_epoch_resp_topic_partition end_of(struct fx *fx, int16_t version,
                                                                     const char *name,
                                                                     int32_t current, int32_t epoch)
{
	struct sl_offset_for_leader_epoch_req_topic_partition part = {0, current, epoch};
	struct sl_offset_for_leader_epoch_req_topic topic = {sl_str_from(name), &part, 1};
	struct sl_offset_for_leader_epoch_req body;
	struct sl_offset_for_leader_epoch_resp resp;
	struct sl_cursor c;

	sl_offset_for_leader_epoch_req_init(&body);
	body.topics = &topic;
	body.topics_count = 1;
	c = run(fx, SL_API_OFFSET_FOR_LEADER_EPOCH, version, encode_epoch, &body);
	cr_assert(sl_offset_for_leader_epoch_resp_decode(&resp, &c, fx_arena(), version) == 0);
	cr_assert(sl_cursor_is_done(&c));
	return resp.topics[0].partitions[0];
}

Test(epoch_end, tells_where_epochs_ended)
{
	struct fx *fx = fx_create();
	const struct {
		int32_t asked;
		int32_t epoch;
		int64_t end;
	} cases[] = {{5, 5, 2}, {6, 5, 2}, {7, 5, 2}, {8, 8, 6}, {9, -1, -1}, {-1, -1, -1}};

	three_days(fx);
	for (int16_t version = 2; version <= 4; version++)
		for (size_t i = 0; i < SL_ARRAY_SIZE(cases); i++) {
			struct sl_offset_for_leader_epoch_resp_topic_partition r =
				end_of(fx, version, "t", -1, cases[i].asked);

			cr_expect(r.error_code == 0);
			cr_expect(r.leader_epoch == cases[i].epoch && r.end_offset == cases[i].end,
			          "asked %d: %d, %lld", cases[i].asked, r.leader_epoch,
			          (long long)r.end_offset);
		}
	fx_destroy(fx);
}

Test(epoch_end, refuses_wrong_epochs_and_places)
{
	struct fx *fx = fx_create();
	struct sl_offset_for_leader_epoch_resp_topic_partition r;

	three_days(fx);
	fx_foreign_topic(fx, "far", FX_NODE + 1);
	r = end_of(fx, 4, "t", 7, 5);
	cr_expect(r.error_code == SL_KERR_FENCED_LEADER_EPOCH && r.end_offset == -1);
	cr_expect(end_of(fx, 4, "t", 9, 5).error_code == SL_KERR_UNKNOWN_LEADER_EPOCH);
	cr_expect(end_of(fx, 4, "far", -1, 5).error_code == SL_KERR_NOT_LEADER_OR_FOLLOWER);
	cr_expect(end_of(fx, 4, "nope", -1, 5).error_code == SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	fx_destroy(fx);
}

/* ---- DeleteRecords ---- */

static void encode_delete(const void *body, struct sl_buf *buf, int16_t version)
{
	sl_delete_records_req_encode(body, buf, version);
}

static struct sl_delete_records_resp_topic_partition delete_to(struct fx *fx, int16_t version,
                                                               const char *name, int64_t offset)
{
	struct sl_delete_records_req_topic_partition part = {0, offset};
	struct sl_delete_records_req_topic topic = {sl_str_from(name), &part, 1};
	struct sl_delete_records_req body = {&topic, 1, 1000};
	struct sl_delete_records_resp resp;
	struct sl_cursor c = run(fx, SL_API_DELETE_RECORDS, version, encode_delete, &body);

	cr_assert(sl_delete_records_resp_decode(&resp, &c, fx_arena(), version) == 0);
	cr_assert(sl_cursor_is_done(&c));
	return resp.topics[0].partitions[0];
}

Test(delete_records, raises_the_log_start)
{
	struct fx *fx = fx_create();
	struct partition *p = three_days(fx);
	struct sl_delete_records_resp_topic_partition r;

	r = delete_to(fx, 0, "t", 3);
	cr_expect(r.error_code == 0 && r.low_watermark == 3);
	cr_expect(atomic_load(&p->slot->log_start) == 3);
	r = delete_to(fx, 1, "t", 1);
	cr_expect(r.error_code == 0 && r.low_watermark == 3, "it never falls");
	cr_expect(delete_to(fx, 2, "t", 7).error_code == SL_KERR_OFFSET_OUT_OF_RANGE);
	r = delete_to(fx, 2, "t", -2);
	cr_expect(r.error_code == SL_KERR_OFFSET_OUT_OF_RANGE && r.low_watermark == -1);
	r = delete_to(fx, 2, "t", -1);
	cr_expect(r.error_code == 0 && r.low_watermark == 6 && sl_log_start(p->log) == 6);
	fx_destroy(fx);
}

Test(delete_records, refuses_compacted_internal_and_foreign_topics)
{
	struct fx *fx = fx_create();
	struct topic_config config = fx_config();

	config.log.is_delete = false;
	config.log.is_compact = config.is_compact = true;
	fx_topic(fx, "compacted", 1, &config);
	cr_expect(delete_to(fx, 2, "compacted", 0).error_code == SL_KERR_POLICY_VIOLATION);
	fx_topic(fx, "__consumer_offsets", 1, NULL)->is_internal = true;
	cr_expect(delete_to(fx, 2, "__consumer_offsets", 0).error_code ==
	          SL_KERR_INVALID_TOPIC_EXCEPTION);
	fx_foreign_topic(fx, "far", FX_NODE + 1);
	cr_expect(delete_to(fx, 2, "far", 0).error_code == SL_KERR_NOT_LEADER_OR_FOLLOWER);
	cr_expect(delete_to(fx, 2, "nope", 0).error_code == SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	fx_destroy(fx);
}

Test(delete_records, disk_error_takes_the_partition_offline)
{
	struct fx *fx = fx_create();
	struct partition *p = three_days(fx);

	atomic_store(&fx->pwrite_error, -EIO);
	cr_expect(delete_to(fx, 2, "t", 2).error_code == SL_KERR_KAFKA_STORAGE_ERROR);
	cr_expect(p->is_offline && fx_stat(fx, SL_STAT_partitions_offline) == 1);
	fx_destroy(fx);
}
