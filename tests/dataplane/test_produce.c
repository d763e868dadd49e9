/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "fixture.h"
#include "sluice/wire/produce_gen.h"

/* One topic, one or two partitions' record sets. */
struct produce_args {
	const char *name;
	struct sl_uuid id;
	int32_t index;
	int16_t acks;
	int32_t timeout_ms;
	const char *transactional_id;
	struct sl_records records;
	struct sl_records second; /* len 0: only one partition */
};

static void encode(const void *body, struct sl_buf *buf, int16_t version)
{
	sl_produce_req_encode(body, buf, version);
}

static struct request *request_of(struct fx *fx, int16_t version, const struct produce_args *a)
{
	struct sl_produce_req_topic_data_partition_data parts[2] = {
		{.index = a->index, .records = a->records},
		{.index = a->index + 1, .records = a->second}};
	struct sl_produce_req_topic_data topic = {.name = sl_str_from(a->name ? a->name : ""),
	                                          .topic_id = a->id,
	                                          .partition_data = parts,
	                                          .partition_data_count = a->second.len ? 2 : 1};
	struct sl_produce_req body = {.acks = a->acks,
	                              .timeout_ms = a->timeout_ms,
	                              .transactional_id = sl_str_from(a->transactional_id),
	                              .topic_data = &topic,
	                              .topic_data_count = 1};

	return fx_request(fx, SL_API_PRODUCE, version, encode, &body);
}

static const struct sl_produce_resp_response_partition_response *response_of(
	struct fx *fx, const struct request *req, struct sl_produce_resp *resp)
{
	static uint8_t *block;
	struct sl_cursor c;

	free(block);
	c = fx_reply(fx, req, &block);
	cr_assert(sl_produce_resp_decode(resp, &c, fx_arena(), req->head.api_version) == 0);
	cr_assert(sl_cursor_is_done(&c) && resp->responses_count == 1);
	return resp->responses[0].partition_responses;
}

static struct sl_records records(uint32_t value_bytes)
{
	const struct fx_batch b = {.value_bytes = value_bytes};

	return fx_records(&b);
}

static void free_records(struct sl_records r)
{
	free((void *)(uintptr_t)r.p);
}

/* Runs a request of one partition and returns its error; *out is valid until the next call. */
static int run_one(struct fx *fx, int16_t version, const struct produce_args *a,
                   struct sl_produce_resp *resp)
{
	struct request *req = request_of(fx, version, a);
	enum request_result result = fx_run(fx, req);
	int error;

	if (result == REQUEST_PARK) {
		fx_settle(fx);
		result = (enum request_result)fx_run_woken(fx);
	}
	cr_assert(result == REQUEST_REPLY, "result %d", result);
	error = response_of(fx, req, resp)->error_code;
	fx_release(fx, req);
	fx->requests_count--;
	return error;
}

/* With a new batch made of @b. */
static int produce_batch(struct fx *fx, int16_t version, const char *name, const struct fx_batch *b,
                         struct sl_produce_resp *resp)
{
	struct produce_args a = {.name = name, .acks = 1, .records = fx_records(b)};
	int error = run_one(fx, version, &a, resp);

	free_records(a.records);
	return error;
}

static const struct sl_produce_resp_response_partition_response *first(struct sl_produce_resp *r)
{
	return r->responses[0].partition_responses;
}

Test(produce, acks_1_answers_at_once_with_offsets)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	struct sl_produce_resp resp;

	for (int16_t version = 3; version <= 12; version++) {
		struct produce_args a = {.name = "t", .acks = 1, .records = records(100)};
		struct request *req = request_of(fx, version, &a);

		cr_assert(fx_run(fx, req) == REQUEST_REPLY);
		response_of(fx, req, &resp);
		cr_expect(sl_str_eq_c(resp.responses[0].name, "t"));
		cr_expect(first(&resp)->error_code == 0);
		cr_expect(first(&resp)->base_offset == version - 3);
		cr_expect(first(&resp)->log_append_time_ms == -1);
		cr_expect(version < 5 || first(&resp)->log_start_offset == 0);
		fx_release(fx, req);
		free_records(a.records);
	}
	cr_expect(sl_log_end(fx_partition(t, 0)->log) == 10);
	cr_expect(fx_stat(fx, SL_STAT_syncs) == 0);
	fx_destroy(fx);
}

Test(produce, acks_all_waits_for_the_disk_and_needs_no_frame_meanwhile)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "orders", 2, NULL);
	struct produce_args a = {.name = "orders", .acks = -1, .timeout_ms = 1000};
	struct sl_produce_resp resp;
	struct request *req;

	a.records = records(10);
	a.second = records(20);
	req = request_of(fx, 9, &a);
	cr_assert(fx_run(fx, req) == REQUEST_PARK);
	cr_expect(req->state == REQUEST_PARKED_PRODUCE && req->waits_left == 2);
	fx_scribble(req);
	cr_expect(fx_run_woken(fx) == -1, "nothing is durable yet");
	fx_settle(fx);
	cr_assert(fx_run_woken(fx) == REQUEST_REPLY);
	response_of(fx, req, &resp);
	cr_expect(sl_str_eq_c(resp.responses[0].name, "orders"));
	cr_expect(first(&resp)[0].error_code == 0 && first(&resp)[0].index == 0);
	cr_expect(first(&resp)[1].error_code == 0 && first(&resp)[1].index == 1);
	cr_expect(sl_log_flushed(fx_partition(t, 0)->log) == 1);
	cr_expect(sl_log_flushed(fx_partition(t, 1)->log) == 1);
	cr_expect(fx_stat(fx, SL_STAT_produces_parked) == 0);
	free_records(a.records);
	free_records(a.second);
	fx_destroy(fx);
}

Test(produce, acks_all_with_lazy_flush_answers_at_once)
{
	struct fx *fx = fx_create();
	struct topic_config config = fx_config();
	struct produce_args a = {.name = "t", .acks = -1, .records = records(10)};
	struct request *req;

	config.flush.is_lazy = true;
	fx_topic(fx, "t", 1, &config);
	req = request_of(fx, 9, &a);
	cr_expect(fx_run(fx, req) == REQUEST_REPLY);
	free_records(a.records);
	fx_destroy(fx);
}

Test(produce, acks_all_times_out_with_7_on_what_still_waits)
{
	struct fx *fx = fx_create();
	struct produce_args a = {
		.name = "t", .acks = -1, .timeout_ms = 500, .records = records(10)};
	struct sl_produce_resp resp;
	struct request *req;

	fx_topic(fx, "t", 1, NULL);
	req = request_of(fx, 9, &a);
	cr_assert(fx_run(fx, req) == REQUEST_PARK);
	fx->ctx.now_ms += 499;
	cr_expect(fx_run_woken(fx) == -1);
	fx->ctx.now_ms += 1;
	cr_assert(fx_run_woken(fx) == REQUEST_REPLY);
	cr_expect(response_of(fx, req, &resp)->error_code == SL_KERR_REQUEST_TIMED_OUT);
	cr_expect(fx_stat(fx, SL_STAT_produce_failed) == 1);
	/* The sync that comes too late finds nobody. */
	fx_settle(fx);
	cr_expect(fx_run_woken(fx) == -1);
	free_records(a.records);
	fx_destroy(fx);
}

Test(produce, acks_all_reports_a_failed_sync)
{
	struct fx *fx = fx_create();
	struct produce_args a = {
		.name = "t", .acks = -1, .timeout_ms = 500, .records = records(10)};
	struct sl_produce_resp resp;

	fx_topic(fx, "t", 1, NULL);
	atomic_store(&fx->sync_error, -EIO);
	cr_expect(run_one(fx, 9, &a, &resp) == SL_KERR_KAFKA_STORAGE_ERROR);
	atomic_store(&fx->sync_error, 0);
	cr_expect(run_one(fx, 9, &a, &resp) == SL_KERR_KAFKA_STORAGE_ERROR, "offline for good");
	free_records(a.records);
	fx_destroy(fx);
}

Test(produce, connection_lost_while_parked_leaves_no_waiter)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	struct produce_args a = {
		.name = "t", .acks = -1, .timeout_ms = 500, .records = records(10)};
	struct request *req = request_of(fx, 9, &a);

	cr_assert(fx_run(fx, req) == REQUEST_PARK);
	fx_release(fx, req);
	cr_expect(sl_list_is_empty(&fx_partition(t, 0)->sync_waiters));
	fx_settle(fx);
	free_records(a.records);
	fx_destroy(fx);
}

Test(produce, acks_0_has_no_reply_and_closes_on_error)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	struct produce_args a = {.name = "t", .acks = 0, .records = records(10)};

	cr_expect(fx_run(fx, request_of(fx, 9, &a)) == REQUEST_NO_REPLY);
	cr_expect(sl_log_end(fx_partition(t, 0)->log) == 1);
	a.index = 1;
	cr_expect(fx_run(fx, request_of(fx, 9, &a)) == REQUEST_CLOSE);
	cr_expect(fx_stat(fx, SL_STAT_closed_acks0_error) == 1);
	free_records(a.records);
	fx_destroy(fx);
}

Test(produce, appends_once_when_the_pool_is_full_for_the_reply)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	struct produce_args a = {.name = "t", .acks = 1, .records = records(10)};
	struct request *req = request_of(fx, 9, &a);
	void *blocks[64];
	unsigned count = 0;
	struct sl_produce_resp resp;
	size_t cap;
	void *p;

	/* Everything but one block of the smallest kind, which the request's own memory takes. */
	p = pool_get(&fx->ctx.pool, 1, &cap);
	for (size_t bytes = (size_t)64 << 20; bytes >= 512; bytes /= 2)
		while (count < 64 && (blocks[count] = pool_get(&fx->ctx.pool, bytes, &cap)))
			count++;
	cr_assert(fx_run(fx, req) == REQUEST_WAIT);
	cr_expect(sl_log_end(fx_partition(t, 0)->log) == 0, "no memory, nothing appended");
	pool_put(&fx->ctx.pool, p);
	cr_assert(fx_run(fx, req) == REQUEST_WAIT);
	cr_expect(sl_log_end(fx_partition(t, 0)->log) == 1);
	cr_expect(fx_run(fx, req) == REQUEST_WAIT);
	while (count > 0)
		pool_put(&fx->ctx.pool, blocks[--count]);
	cr_assert(fx_run(fx, req) == REQUEST_REPLY);
	cr_expect(response_of(fx, req, &resp)->error_code == 0 && first(&resp)->base_offset == 0);
	cr_expect(sl_log_end(fx_partition(t, 0)->log) == 1, "appended once");
	free_records(a.records);
	fx_destroy(fx);
}

/* ---- A partition that has to wait ---- */

static bool has_room;

static bool move_away(struct ctx *ctx, struct reservation *r)
{
	(void)ctx;
	(void)r;
	return has_room;
}

/* A request of two partitions that has run: the first is appended, the second's place is taken. */
struct stuck {
	struct fx *fx;
	struct topic *topic;
	struct reservation place;
	struct produce_args args;
	struct request *req;
};

static void stuck_init(struct stuck *s, int16_t acks, const struct topic_config *config)
{
	*s = (struct stuck){.fx = fx_create(),
	                    .place.displace = move_away,
	                    .args = {.name = "t", .acks = acks, .timeout_ms = 1000}};
	fx_tier(s->fx, false);
	s->topic = fx_topic(s->fx, "t", 2, config);
	has_room = false;
	cr_assert(partition_reserve(&s->fx->ctx, fx_partition(s->topic, 1), 1000, &s->place) == 0);
	s->args.records = records(10);
	s->args.second = records(20);
	s->req = request_of(s->fx, 9, &s->args);
	for (int i = 0; i < 3; i++) {
		cr_assert(fx_run(s->fx, s->req) == REQUEST_WAIT);
		cr_expect(sl_log_end(fx_partition(s->topic, 0)->log) == 1, "appended once");
		cr_expect(sl_log_end(fx_partition(s->topic, 1)->log) == 0);
	}
	cr_expect(fx_run_woken(s->fx) == -1, "no reason to run again yet");
}

static void stuck_fini(struct stuck *s)
{
	fx_release(s->fx, s->req);
	partition_unreserve(&s->fx->ctx, &s->place);
	free_records(s->args.records);
	free_records(s->args.second);
	fx_destroy(s->fx);
}

Test(produce, goes_on_with_the_partition_that_had_to_wait)
{
	for (int16_t acks = -1; acks <= 1; acks++) {
		struct topic_config config = fx_config();
		struct sl_produce_resp resp;
		struct stuck s;

		/* A batch that has been stamped would not pass the check again. */
		config.is_log_append_time = true;
		stuck_init(&s, acks, &config);
		fx_settle(s.fx);
		cr_expect(fx_run_woken(s.fx) == -1, "one of two is durable");
		has_room = true;
		s.fx->ctx.wall_ms += 5;
		cr_expect(fx_run(s.fx, s.req) == (acks == -1  ? REQUEST_PARK
		                                  : acks == 0 ? REQUEST_NO_REPLY
		                                              : REQUEST_REPLY));
		cr_expect(sl_log_end(fx_partition(s.topic, 0)->log) == 1);
		cr_expect(sl_log_end(fx_partition(s.topic, 1)->log) == 1);
		cr_expect(!s.place.partition, "it was displaced");
		if (acks == -1) {
			cr_expect(s.req->waits_left == 1);
			fx_settle(s.fx);
			cr_expect(fx_run_woken(s.fx) == REQUEST_REPLY);
		}
		if (acks != 0) {
			response_of(s.fx, s.req, &resp);
			for (int i = 0; i < 2; i++) {
				cr_expect(first(&resp)[i].error_code == 0);
				cr_expect(first(&resp)[i].base_offset == 0);
				cr_expect(first(&resp)[i].log_append_time_ms == FX_WALL_MS);
			}
		}
		cr_expect(fx_stat(s.fx, SL_STAT_produces_staged) == 1);
		stuck_fini(&s);
	}
}

Test(produce, is_told_that_a_partition_left_while_another_had_to_wait)
{
	struct sl_produce_resp resp;
	struct partition *gone;
	struct stuck s;

	stuck_init(&s, -1, NULL);
	gone = fx_partition(s.topic, 0);
	partition_detach(&s.fx->ctx, gone);
	has_room = true;
	cr_expect(fx_run(s.fx, s.req) == REQUEST_PARK);
	fx_settle(s.fx);
	cr_expect(fx_run_woken(s.fx) == REQUEST_REPLY);
	response_of(s.fx, s.req, &resp);
	cr_expect(first(&resp)[0].error_code == SL_KERR_NOT_LEADER_OR_FOLLOWER);
	cr_expect(first(&resp)[1].error_code == 0);
	stuck_fini(&s);
}

Test(produce, leaves_no_waiter_behind_when_it_ends_before_its_last_partition)
{
	struct stuck s;

	stuck_init(&s, -1, NULL);
	cr_expect(!sl_list_is_empty(&fx_partition(s.topic, 0)->sync_waiters));
	stuck_fini(&s);
}

Test(produce, refuses_what_it_cannot_find)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	struct produce_args a = {.name = "nope", .acks = 1, .records = records(10)};
	struct sl_produce_resp resp;

	cr_expect(run_one(fx, 9, &a, &resp) == SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_expect(first(&resp)->base_offset == -1 && first(&resp)->log_start_offset == -1);
	a.name = "t";
	a.index = 1;
	cr_expect(run_one(fx, 9, &a, &resp) == SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	a.index = -1;
	cr_expect(run_one(fx, 9, &a, &resp) == SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	a.index = 0;
	cr_expect(run_one(fx, 13, &a, &resp) == SL_KERR_UNKNOWN_TOPIC_ID);
	a.id = t->id;
	cr_expect(run_one(fx, 13, &a, &resp) == SL_KERR_NONE);
	cr_expect(sl_uuid_eq(&resp.responses[0].topic_id, &t->id));
	a.id.b[0] ^= 1;
	cr_expect(run_one(fx, 13, &a, &resp) == SL_KERR_UNKNOWN_TOPIC_ID);
	cr_expect(fx_stat(fx, SL_STAT_produce_failed) == 5);
	free_records(a.records);
	fx_destroy(fx);
}

Test(produce, names_the_leader_from_version_10_on)
{
	struct fx *fx = fx_create();
	struct produce_args a = {.name = "far", .acks = 1, .records = records(10)};
	struct sl_produce_resp resp;

	fx_foreign_topic(fx, "far", FX_NODE + 1);
	cr_expect(run_one(fx, 9, &a, &resp) == SL_KERR_NOT_LEADER_OR_FOLLOWER);
	cr_expect(resp.node_endpoints_count == 0);
	cr_expect(run_one(fx, 10, &a, &resp) == SL_KERR_NOT_LEADER_OR_FOLLOWER);
	cr_expect(first(&resp)->current_leader.leader_id == FX_NODE + 1);
	cr_expect(first(&resp)->current_leader.leader_epoch == 5);
	cr_assert(resp.node_endpoints_count == 1);
	cr_expect(resp.node_endpoints[0].node_id == FX_NODE + 1);
	cr_expect(sl_str_eq_c(resp.node_endpoints[0].host, "host-b"));
	cr_expect(resp.node_endpoints[0].port == 19093);
	free_records(a.records);
	fx_destroy(fx);
}

Test(produce, refuses_a_partition_without_log_or_replicas)
{
	struct fx *fx = fx_create();
	struct topic_config config = fx_config();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	struct produce_args a = {.name = "lost", .acks = -1, .records = records(10)};
	struct sl_produce_resp resp;
	struct partition *p = fx_partition(t, 0);

	fx_foreign_topic(fx, "lost", FX_NODE);
	cr_expect(run_one(fx, 9, &a, &resp) == SL_KERR_KAFKA_STORAGE_ERROR);
	/* min.insync.replicas above the replication factor counts as that. */
	config.min_insync_replicas = 3;
	fx_topic(fx, "strict", 1, &config);
	a.name = "strict";
	cr_expect(run_one(fx, 9, &a, &resp) == SL_KERR_NONE);
	image_topic(fx->image, sl_str_from("strict"))->partitions[0].isr_count = 0;
	cr_expect(run_one(fx, 9, &a, &resp) == SL_KERR_NOT_ENOUGH_REPLICAS);
	a.acks = 1;
	cr_expect(run_one(fx, 9, &a, &resp) == SL_KERR_NONE);
	a.name = "t";
	partition_detach(&fx->ctx, p);
	cr_expect(run_one(fx, 9, &a, &resp) == SL_KERR_NOT_LEADER_OR_FOLLOWER);
	free_records(a.records);
	fx_destroy(fx);
}

Test(produce, refuses_acks_internal_topics_and_transactions_without_id)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	struct topic *internal = fx_topic(fx, "__consumer_offsets", 1, NULL);
	const struct fx_batch txn = {
		.has_producer = true, .producer_id = 1, .attributes = SL_BATCH_TRANSACTIONAL};
	struct produce_args a = {.name = "t", .acks = 1, .records = records(10)};
	struct sl_produce_resp resp;

	a.acks = 2;
	cr_expect(run_one(fx, 9, &a, &resp) == SL_KERR_INVALID_REQUIRED_ACKS);
	a.acks = 1;
	internal->is_internal = true;
	a.name = "__consumer_offsets";
	cr_expect(run_one(fx, 9, &a, &resp) == SL_KERR_INVALID_TOPIC_EXCEPTION);
	cr_expect(produce_batch(fx, 9, "t", &txn, &resp) ==
	          SL_KERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
	cr_expect(sl_log_end(fx_partition(t, 0)->log) == 0);
	free_records(a.records);
	fx_destroy(fx);
}

Test(produce, refuses_broken_record_sets)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	struct produce_args a = {.name = "t", .acks = 1};
	struct sl_records good = records(50);
	uint8_t two[1024];
	struct sl_produce_resp resp;

	a.records = SL_RECORDS_NULL;
	cr_expect(run_one(fx, 9, &a, &resp) == SL_KERR_INVALID_RECORD);
	a.records = (struct sl_records){.p = good.p, .len = good.len - 1};
	cr_expect(run_one(fx, 9, &a, &resp) == SL_KERR_INVALID_RECORD);
	memcpy(two, good.p, (size_t)good.len);
	memcpy(two + good.len, good.p, (size_t)good.len);
	a.records = (struct sl_records){.p = two, .len = 2 * good.len};
	cr_expect(run_one(fx, 9, &a, &resp) == SL_KERR_INVALID_RECORD);
	cr_expect(first(&resp)->error_message.len > 0 && first(&resp)->record_errors_count == 0);
	a.records.len = good.len;
	two[SL_BATCH_POS_MAGIC] = 1;
	cr_expect(run_one(fx, 9, &a, &resp) == SL_KERR_INVALID_RECORD);
	two[SL_BATCH_POS_MAGIC] = 2;
	two[SL_BATCH_POS_CRC] ^= 1;
	cr_expect(run_one(fx, 9, &a, &resp) == SL_KERR_CORRUPT_MESSAGE);
	two[SL_BATCH_POS_CRC] ^= 1;
	two[7] = 1;
	cr_expect(run_one(fx, 9, &a, &resp) == SL_KERR_INVALID_RECORD, "base offset is not 0");
	two[7] = 0;
	cr_expect(sl_log_end(fx_partition(t, 0)->log) == 0);
	cr_expect(run_one(fx, 9, &a, &resp) == SL_KERR_NONE);
	free_records(good);
	fx_destroy(fx);
}

Test(produce, obeys_the_topics_limits)
{
	struct fx *fx = fx_create();
	struct topic_config config = fx_config();
	const struct fx_batch keyless = {.records = 2};
	const struct fx_batch keyed = {.key = "k"};
	const struct fx_batch future = {.timestamp = FX_WALL_MS + 5000};
	const struct fx_batch zstd = {.attributes = SL_CODEC_ZSTD, .value_bytes = 100};
	const struct fx_batch large = {.value_bytes = 2000};
	struct sl_produce_resp resp;

	config.is_compact = true;
	fx_topic(fx, "compacted", 1, &config);
	cr_expect(produce_batch(fx, 9, "compacted", &keyless, &resp) == SL_KERR_INVALID_RECORD);
	cr_assert(first(&resp)->record_errors_count == 1);
	cr_expect(first(&resp)->record_errors[0].batch_index == 0);
	cr_expect(first(&resp)->record_errors[0].batch_index_error_message.len > 0);
	cr_expect(first(&resp)->log_start_offset == 0);
	cr_expect(produce_batch(fx, 9, "compacted", &keyed, &resp) == SL_KERR_NONE);

	config = fx_config();
	config.timestamp_after_max_ms = 4000;
	config.max_message_bytes = 1500;
	fx_topic(fx, "t", 1, &config);
	cr_expect(produce_batch(fx, 9, "t", &future, &resp) == SL_KERR_INVALID_TIMESTAMP);
	cr_expect(first(&resp)->record_errors_count == 1);
	cr_expect(produce_batch(fx, 7, "t", &future, &resp) == SL_KERR_INVALID_TIMESTAMP);
	cr_expect(produce_batch(fx, 9, "t", &large, &resp) == SL_KERR_MESSAGE_TOO_LARGE);
	cr_expect(produce_batch(fx, 6, "t", &zstd, &resp) == SL_KERR_UNSUPPORTED_COMPRESSION_TYPE);
	cr_expect(produce_batch(fx, 7, "t", &zstd, &resp) == SL_KERR_NONE);

	config = fx_config();
	config.log.segment_bytes = 1000;
	fx_topic(fx, "small", 1, &config);
	cr_expect(produce_batch(fx, 9, "small", &large, &resp) == SL_KERR_RECORD_LIST_TOO_LARGE);
	fx_destroy(fx);
}

Test(produce, log_append_time_stamps_the_batch)
{
	struct fx *fx = fx_create();
	struct topic_config config = fx_config();
	struct fx_batch b = {.has_producer = true, .producer_id = 9, .timestamp = 1000};
	struct sl_produce_resp resp;
	struct sl_batch_head head;
	struct sl_log_range range;
	uint8_t stored[512];
	size_t bytes;
	struct topic *t;

	config.is_log_append_time = true;
	t = fx_topic(fx, "t", 1, &config);
	cr_expect(produce_batch(fx, 9, "t", &b, &resp) == SL_KERR_NONE);
	cr_expect(first(&resp)->log_append_time_ms == FX_WALL_MS);
	cr_assert(sl_log_read(fx_partition(t, 0)->log, 0, 1, 512, true, &range) == 0);
	cr_assert(pread(range.fd, stored, range.bytes, (off_t)range.pos) == (ssize_t)range.bytes);
	bytes = range.bytes;
	sl_log_range_put(fx_partition(t, 0)->log, &range);
	cr_assert(sl_batch_peek(stored, bytes, &head) == 0);
	cr_expect(sl_batch_is_log_append_time(&head) && head.max_timestamp == FX_WALL_MS);
	cr_expect(sl_batch_check_crc(stored, &head) && head.leader_epoch == 5);
	/* The duplicate answers with the time of the first one. */
	fx->ctx.wall_ms += 7777;
	cr_expect(produce_batch(fx, 9, "t", &b, &resp) == SL_KERR_NONE);
	cr_expect(first(&resp)->log_append_time_ms == FX_WALL_MS);
	cr_expect(sl_log_end(fx_partition(t, 0)->log) == 1);
	fx_destroy(fx);
}

Test(produce, duplicates_get_the_original_offset_and_gaps_45)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	struct fx_batch b = {.has_producer = true, .producer_id = 9, .records = 3};
	struct sl_produce_resp resp;

	cr_expect(produce_batch(fx, 9, "t", &b, &resp) == SL_KERR_NONE);
	b.base_sequence = 3;
	cr_expect(produce_batch(fx, 9, "t", &b, &resp) == SL_KERR_NONE);
	cr_expect(first(&resp)->base_offset == 3);
	b.base_sequence = 0;
	cr_expect(produce_batch(fx, 9, "t", &b, &resp) == SL_KERR_NONE);
	cr_expect(first(&resp)->base_offset == 0);
	b.base_sequence = 7;
	cr_expect(produce_batch(fx, 9, "t", &b, &resp) == SL_KERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
	cr_expect(sl_log_end(fx_partition(t, 0)->log) == 6);
	fx_destroy(fx);
}

Test(produce, malformed_body_closes_the_connection)
{
	struct fx *fx = fx_create();
	struct produce_args a = {.name = "t", .acks = 1, .records = records(10)};
	struct request *req = request_of(fx, 9, &a);

	req->frame_bytes--;
	cr_expect(fx_run(fx, req) == REQUEST_CLOSE);
	cr_expect(fx_stat(fx, SL_STAT_closed_malformed) == 1);
	free_records(a.records);
	fx_destroy(fx);
}
