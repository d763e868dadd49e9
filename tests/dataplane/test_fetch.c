/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "fixture.h"
#include "sluice/wire/fetch_gen.h"

#define MAX_PARTS 4

/* A fetch of the first @count partitions of one topic; zeroed limits mean large ones. */
struct fetch_args {
	const char *name;
	struct sl_uuid id;
	int32_t count; /* 0: one */
	int64_t offsets[MAX_PARTS];
	int32_t index; /* of the first */
	int32_t partition_max_bytes;
	int32_t max_bytes;
	int32_t min_bytes;
	int32_t max_wait_ms;
	int32_t epoch;        /* 0: -1 */
	int32_t last_epoch;   /* 0: -1 */
	int32_t replica_plus; /* replica id + 1; 0: a consumer */
	int32_t session_id;
	int8_t isolation;
};

static void encode(const void *body, struct sl_buf *buf, int16_t version)
{
	sl_fetch_req_encode(body, buf, version);
}

static struct request *request_of(struct fx *fx, int16_t version, const struct fetch_args *a)
{
	struct sl_fetch_req_topic_partition parts[MAX_PARTS];
	struct sl_fetch_req_topic topic = {.topic = sl_str_from(a->name ? a->name : ""),
	                                   .topic_id = a->id,
	                                   .partitions = parts,
	                                   .partitions_count = a->count ? a->count : 1};
	struct sl_fetch_req body;

	for (int32_t i = 0; i < topic.partitions_count; i++) {
		sl_fetch_req_topic_partition_init(&parts[i]);
		parts[i].partition = a->index + i;
		parts[i].fetch_offset = a->offsets[i];
		parts[i].partition_max_bytes = a->partition_max_bytes ? a->partition_max_bytes
		                                                      : 1 << 20;
		parts[i].current_leader_epoch = a->epoch ? a->epoch : -1;
		parts[i].last_fetched_epoch = a->last_epoch ? a->last_epoch : -1;
	}
	sl_fetch_req_init(&body);
	body.replica_id = body.replica_state.replica_id = a->replica_plus - 1;
	body.max_wait_ms = a->max_wait_ms;
	body.min_bytes = a->min_bytes ? a->min_bytes : 1;
	body.max_bytes = a->max_bytes ? a->max_bytes : 50 << 20;
	body.session_id = a->session_id;
	body.isolation_level = a->isolation;
	body.topics = &topic;
	body.topics_count = 1;
	return fx_request(fx, SL_API_FETCH, version, encode, &body);
}

static const struct sl_fetch_resp_response_partition *response_of(struct fx *fx,
                                                                  const struct request *req,
                                                                  struct sl_fetch_resp *resp)
{
	static uint8_t *block;
	struct sl_cursor c;

	free(block);
	c = fx_reply(fx, req, &block);
	cr_assert(sl_fetch_resp_decode(resp, &c, fx_arena(), req->head.api_version) == 0);
	cr_assert(sl_cursor_is_done(&c));
	return resp->responses_count ? resp->responses[0].partitions : NULL;
}

/* For what is answered at once: the partitions of the reply, good until the next call. */
static const struct sl_fetch_resp_response_partition *fetch(struct fx *fx, int16_t version,
                                                            const struct fetch_args *a,
                                                            struct sl_fetch_resp *resp)
{
	struct request *req = request_of(fx, version, a);
	const struct sl_fetch_resp_response_partition *p;
	enum request_result result = fx_run(fx, req);

	cr_assert(result == REQUEST_REPLY, "version %d: result %d", version, result);
	p = response_of(fx, req, resp);
	fx_release(fx, req);
	fx->requests_count--;
	return p;
}

/* Bytes that one batch of one record with @value_bytes takes. */
static int32_t batch_bytes(uint32_t value_bytes)
{
	const struct fx_batch b = {.value_bytes = value_bytes};
	struct sl_records r = fx_records(&b);

	free((void *)(uintptr_t)r.p);
	return r.len;
}

Test(fetch, returns_what_was_appended_without_copying_it)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	const int32_t one = batch_bytes(100);
	struct sl_fetch_resp resp;

	for (int i = 0; i < 3; i++)
		fx_append(fx, fx_partition(t, 0), 100);
	for (int16_t version = 4; version <= 18; version++) {
		struct fetch_args a = {
			.name = "t", .id = t->id, .offsets = {1}, .max_wait_ms = 500};
		const struct sl_fetch_resp_response_partition *p = fetch(fx, version, &a, &resp);
		struct sl_batch_head head;

		cr_assert(p && p->error_code == 0);
		cr_expect(p->high_watermark == 3 && p->last_stable_offset == 3);
		cr_expect(p->records.len == 2 * one);
		cr_assert(sl_batch_peek(p->records.p, (size_t)p->records.len, &head) == 0);
		cr_expect(head.base_offset == 1 && head.leader_epoch == 5);
		cr_expect(sl_batch_check_crc(p->records.p, &head));
		cr_expect(p->aborted_transactions_count == -1 && p->preferred_read_replica == -1);
		cr_expect(resp.session_id == 0 && resp.error_code == 0);
	}
	cr_expect(fx_partition(t, 0)->refs == 1);
	fx_destroy(fx);
}

Test(fetch, empty_is_length_0_and_committed_readers_get_an_empty_list)
{
	struct fx *fx = fx_create();
	struct fetch_args a = {.name = "t", .isolation = 1};
	const struct sl_fetch_resp_response_partition *p;
	struct sl_fetch_resp resp;

	fx_topic(fx, "t", 1, NULL);
	p = fetch(fx, 11, &a, &resp);
	cr_expect(p->records.len == 0 && p->error_code == 0);
	cr_expect(p->aborted_transactions_count == 0);
	fx_destroy(fx);
}

Test(fetch, first_batch_is_whole_and_later_partitions_share_what_is_left)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 3, NULL);
	const int32_t large = batch_bytes(1000);
	struct fetch_args a = {.name = "t", .count = 3, .max_bytes = 10, .partition_max_bytes = 5};
	const struct sl_fetch_resp_response_partition *p;
	struct sl_fetch_resp resp;

	fx_append(fx, fx_partition(t, 1), 1000);
	fx_append(fx, fx_partition(t, 1), 1000);
	fx_append(fx, fx_partition(t, 2), 1000);
	p = fetch(fx, 11, &a, &resp);
	cr_expect(p[0].records.len == 0);
	cr_expect(p[1].records.len == large, "the first batch with bytes ignores all limits");
	cr_expect(p[2].records.len == 0 && p[2].high_watermark == 1);
	/* With room for one and a half, the second partition gets a part of nothing. */
	a.max_bytes = large + large / 2;
	a.partition_max_bytes = 1 << 20;
	p = fetch(fx, 11, &a, &resp);
	cr_expect(p[1].records.len == large + large / 2, "may end inside a batch");
	cr_expect(p[2].records.len == 0);
	a.partition_max_bytes = large;
	p = fetch(fx, 11, &a, &resp);
	cr_expect(p[1].records.len == large && p[2].records.len == 0);
	a.max_bytes = 2 * large;
	p = fetch(fx, 11, &a, &resp);
	cr_expect(p[1].records.len == large && p[2].records.len == large);
	fx->config.fetch_bytes_max = 100;
	p = fetch(fx, 11, &a, &resp);
	cr_expect(p[1].records.len == large && p[2].records.len == 0, "fetch.max.bytes caps it");
	fx_destroy(fx);
}

Test(fetch, parks_until_min_bytes_are_there)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 2, NULL);
	const int32_t one = batch_bytes(100);
	struct fetch_args a = {.name = "t", .count = 2, .max_wait_ms = 500, .min_bytes = 2 * one};
	struct request *req = request_of(fx, 11, &a);
	const struct sl_fetch_resp_response_partition *p;
	struct sl_fetch_resp resp;

	cr_assert(fx_run(fx, req) == REQUEST_PARK);
	cr_expect(req->state == REQUEST_PARKED_FETCH && req->deadline_ms == fx->ctx.now_ms + 500);
	fx->ctx.now_ms += 100;
	fx_append(fx, fx_partition(t, 0), 100);
	cr_expect(fx_run_woken(fx) == REQUEST_PARK, "not enough yet");
	cr_expect(req->deadline_ms == fx->ctx.now_ms + 400, "the deadline stays");
	cr_expect(fx_partition(t, 0)->refs == 1);
	fx_append(fx, fx_partition(t, 1), 100);
	cr_assert(fx_run_woken(fx) == REQUEST_REPLY);
	p = response_of(fx, req, &resp);
	cr_expect(p[0].records.len == one && p[1].records.len == one);
	cr_expect(sl_list_is_empty(&fx_partition(t, 0)->fetch_waiters));
	cr_expect(fx_stat(fx, SL_STAT_fetches_parked) == 0);
	fx_destroy(fx);
}

Test(fetch, answers_with_what_there_is_at_the_deadline)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	struct fetch_args a = {.name = "t", .max_wait_ms = 500, .min_bytes = 100000};
	struct request *req = request_of(fx, 11, &a);
	struct sl_fetch_resp resp;

	fx_append(fx, fx_partition(t, 0), 10);
	cr_assert(fx_run(fx, req) == REQUEST_PARK);
	fx->ctx.now_ms += 500;
	cr_assert(fx_run_woken(fx) == REQUEST_REPLY);
	cr_expect(response_of(fx, req, &resp)->records.len == batch_bytes(10));
	fx_destroy(fx);
}

Test(fetch, does_not_wait_for_more_than_max_bytes)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	struct fetch_args a = {
		.name = "t", .max_wait_ms = 500, .min_bytes = 100000, .max_bytes = 50};
	struct sl_fetch_resp resp;

	fx_append(fx, fx_partition(t, 0), 10);
	cr_expect(fetch(fx, 11, &a, &resp)->records.len > 0);
	fx_destroy(fx);
}

Test(fetch, reader_in_an_older_segment_does_not_wait)
{
	struct fx *fx = fx_create();
	struct topic_config config = fx_config();
	struct fetch_args a = {.name = "t", .max_wait_ms = 500, .min_bytes = 100000};
	struct topic *t;
	struct sl_fetch_resp resp;

	config.log.segment_bytes = 1000;
	t = fx_topic(fx, "t", 1, &config);
	for (int i = 0; i < 3; i++)
		fx_append(fx, fx_partition(t, 0), 800);
	cr_assert(sl_log_segments(fx_partition(t, 0)->log) == 3);
	cr_expect(fetch(fx, 11, &a, &resp)->records.len == batch_bytes(800));
	a.offsets[0] = 2;
	cr_expect(fx_run(fx, request_of(fx, 11, &a)) == REQUEST_PARK, "at the tail it does");
	fx_destroy(fx);
}

Test(fetch, detached_partition_answers_6_and_wakes_its_readers)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	struct fetch_args a = {.name = "t", .max_wait_ms = 500};
	struct request *req = request_of(fx, 11, &a);
	struct sl_fetch_resp resp;

	cr_assert(fx_run(fx, req) == REQUEST_PARK);
	partition_detach(&fx->ctx, fx_partition(t, 0));
	cr_assert(fx_run_woken(fx) == REQUEST_REPLY);
	cr_expect(response_of(fx, req, &resp)->error_code == SL_KERR_NOT_LEADER_OR_FOLLOWER);
	fx_destroy(fx);
}

Test(fetch, connection_lost_while_parked_leaves_no_waiter)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	struct fetch_args a = {.name = "t", .max_wait_ms = 500};
	struct request *req = request_of(fx, 11, &a);

	cr_assert(fx_run(fx, req) == REQUEST_PARK);
	fx_release(fx, req);
	fx_append(fx, fx_partition(t, 0), 1);
	cr_expect(fx_run_woken(fx) == -1);
	fx_destroy(fx);
}

Test(fetch, is_answered_at_once_when_the_pool_cannot_hold_its_waiters)
{
	const int32_t count = 120000;
	struct fx *fx = fx_create();
	struct sl_fetch_req_topic topic = {.topic = sl_str_from("t"), .partitions_count = count};
	struct sl_fetch_req body;

	fx_topic(fx, "t", 1, NULL);
	pool_fini(&fx->ctx.pool);
	cr_assert(pool_init(&fx->ctx.pool, 8 << 20, -1) == 0);
	sl_arena_destroy(&fx->ctx.scratch);
	cr_assert(sl_arena_create(&fx->ctx.scratch, (size_t)64 << 20) == 0);
	/* One partition over and over, which the protocol does not forbid. */
	topic.partitions = calloc((size_t)count, sizeof(*topic.partitions));
	for (int32_t i = 0; i < count; i++)
		sl_fetch_req_topic_partition_init(&topic.partitions[i]);
	sl_fetch_req_init(&body);
	body.replica_id = -1;
	body.max_wait_ms = 1000;
	body.min_bytes = 1;
	body.max_bytes = 1000;
	body.topics = &topic;
	body.topics_count = 1;
	/* REQUEST_WAIT would be for ever: no pool of this size ever has that much. */
	cr_expect(fx_run(fx, fx_request(fx, SL_API_FETCH, 4, encode, &body)) == REQUEST_REPLY);
	free(topic.partitions);
	fx_destroy(fx);
}

Test(fetch, full_pool_puts_ranges_back)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	struct fetch_args a = {.name = "t", .max_wait_ms = 500};
	struct request *req = request_of(fx, 11, &a);
	struct sl_fetch_resp resp;
	size_t cap;
	void *all = pool_get(&fx->ctx.pool, fx->ctx.pool.bytes, &cap);

	cr_assert(all != NULL);
	cr_expect(fx_run(fx, req) == REQUEST_WAIT, "no memory to park with");
	fx_append(fx, fx_partition(t, 0), 10);
	cr_expect(fx_run(fx, req) == REQUEST_WAIT, "nor to answer");
	cr_expect(fx_partition(t, 0)->refs == 1);
	pool_put(&fx->ctx.pool, all);
	cr_assert(fx_run(fx, req) == REQUEST_REPLY);
	cr_expect(fx_partition(t, 0)->refs == 2, "the reply holds the log");
	cr_expect(response_of(fx, req, &resp)->records.len == batch_bytes(10));
	fx_release(fx, req);
	cr_expect(fx_partition(t, 0)->refs == 1);
	fx_destroy(fx);
}

Test(fetch, checks_offsets_and_epochs)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	struct partition *p = fx_partition(t, 0);
	struct fetch_args a = {.name = "t", .max_wait_ms = 500};
	const struct sl_fetch_resp_response_partition *r;
	struct sl_fetch_resp resp;

	fx_append(fx, p, 10);
	fx_append(fx, p, 10);
	cr_assert(sl_log_advance_start(p->log, 1) == 0);
	r = fetch(fx, 11, &a, &resp);
	cr_expect(r->error_code == SL_KERR_OFFSET_OUT_OF_RANGE && r->high_watermark == -1);
	a.offsets[0] = 3;
	cr_expect(fetch(fx, 11, &a, &resp)->error_code == SL_KERR_OFFSET_OUT_OF_RANGE);
	a.offsets[0] = 1;
	a.epoch = 4;
	cr_expect(fetch(fx, 11, &a, &resp)->error_code == SL_KERR_FENCED_LEADER_EPOCH);
	a.epoch = 6;
	cr_expect(fetch(fx, 11, &a, &resp)->error_code == SL_KERR_UNKNOWN_LEADER_EPOCH);
	cr_expect(fetch(fx, 8, &a, &resp)->error_code == 0, "version 8 has no epoch");
	a.epoch = 5;
	cr_expect(fetch(fx, 11, &a, &resp)->error_code == 0);
	cr_expect(fx_stat(fx, SL_STAT_fetch_failed) == 4);
	fx_destroy(fx);
}

Test(fetch, tells_a_diverging_reader_where_its_epoch_ended)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	struct partition *p = fx_partition(t, 0);
	struct fetch_args a = {.name = "t", .max_wait_ms = 500, .last_epoch = 5, .offsets = {3}};
	const struct sl_fetch_resp_response_partition *r;
	struct sl_fetch_resp resp;

	/* Epoch 5: offsets 0 and 1, epoch 8: from 2 on. */
	fx_append(fx, p, 10);
	fx_append(fx, p, 10);
	cr_assert(sl_log_epoch_begin(p->log, 8) == 0);
	p->leader_epoch = 8;
	for (int i = 0; i < 3; i++)
		fx_append(fx, p, 10);
	r = fetch(fx, 12, &a, &resp);
	cr_expect(r->error_code == 0 && r->records.len == 0);
	cr_expect(r->diverging_epoch.epoch == 5 && r->diverging_epoch.end_offset == 2);
	a.last_epoch = 7;
	r = fetch(fx, 12, &a, &resp);
	cr_expect(r->diverging_epoch.epoch == 5 && r->diverging_epoch.end_offset == 2);
	a.last_epoch = 8;
	r = fetch(fx, 12, &a, &resp);
	cr_expect(r->diverging_epoch.epoch == -1 && r->records.len > 0);
	a.last_epoch = 9;
	cr_expect(fetch(fx, 12, &a, &resp)->error_code == SL_KERR_OFFSET_OUT_OF_RANGE);
	fx_destroy(fx);
}

Test(fetch, refuses_unknown_topics_sessions_and_followers)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	struct fetch_args a = {.name = "nope", .max_wait_ms = 500};
	struct sl_fetch_resp resp;

	cr_expect(fetch(fx, 12, &a, &resp)->error_code == SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_expect(fetch(fx, 13, &a, &resp)->error_code == SL_KERR_UNKNOWN_TOPIC_ID);
	a.name = "t";
	a.id = t->id;
	a.index = 1;
	cr_expect(fetch(fx, 13, &a, &resp)->error_code == SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	a.index = 0;
	a.replica_plus = 1 + FX_NODE + 100;
	cr_expect(fetch(fx, 13, &a, &resp)->error_code == SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	a.epoch = 5;
	cr_expect(fetch(fx, 13, &a, &resp)->error_code == SL_KERR_UNKNOWN_LEADER_EPOCH);
	cr_expect(fetch(fx, 15, &a, &resp)->error_code == SL_KERR_UNKNOWN_LEADER_EPOCH);
	a.replica_plus = 0;
	a.session_id = 77;
	cr_expect(fetch(fx, 13, &a, &resp) == NULL);
	cr_expect(resp.error_code == SL_KERR_FETCH_SESSION_ID_NOT_FOUND);
	fx_destroy(fx);
}

Test(fetch, names_the_leader_from_version_16_on)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_foreign_topic(fx, "far", FX_NODE + 1);
	struct fetch_args a = {.name = "far", .id = t->id, .max_wait_ms = 500};
	const struct sl_fetch_resp_response_partition *r;
	struct sl_fetch_resp resp;

	r = fetch(fx, 15, &a, &resp);
	cr_expect(r->error_code == SL_KERR_NOT_LEADER_OR_FOLLOWER &&
	          resp.node_endpoints_count == 0);
	r = fetch(fx, 16, &a, &resp);
	cr_expect(r->current_leader.leader_id == FX_NODE + 1 &&
	          r->current_leader.leader_epoch == 5);
	cr_assert(resp.node_endpoints_count == 1);
	cr_expect(sl_str_eq_c(resp.node_endpoints[0].host, "host-b"));
	fx_destroy(fx);
}

Test(fetch, storage_error_is_6_before_version_6)
{
	struct fx *fx = fx_create();
	struct fetch_args a = {.name = "lost", .max_wait_ms = 500};
	struct sl_fetch_resp resp;

	fx_foreign_topic(fx, "lost", FX_NODE);
	cr_expect(fetch(fx, 5, &a, &resp)->error_code == SL_KERR_NOT_LEADER_OR_FOLLOWER);
	cr_expect(fetch(fx, 6, &a, &resp)->error_code == SL_KERR_KAFKA_STORAGE_ERROR);
	fx_destroy(fx);
}

Test(fetch, offline_partition_still_serves_reads)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 1, NULL);
	struct fetch_args a = {.name = "t", .max_wait_ms = 500};
	struct sl_fetch_resp resp;

	fx_append(fx, fx_partition(t, 0), 10);
	atomic_store(&fx->sync_error, -EIO);
	fx->ctx.now_ms += 2000;
	fx_partition(t, 0)->flush.ms = 0;
	cr_expect(partition_tick(&fx->ctx) == 1);
	fx_settle(fx);
	cr_expect(fx_partition(t, 0)->is_offline);
	cr_expect(fetch(fx, 11, &a, &resp)->records.len == batch_bytes(10));
	fx_destroy(fx);
}

Test(fetch, malformed_body_closes_the_connection)
{
	struct fx *fx = fx_create();
	struct fetch_args a = {.name = "t"};
	struct request *req = request_of(fx, 11, &a);

	req->frame_bytes -= 3;
	cr_expect(fx_run(fx, req) == REQUEST_CLOSE);
	cr_expect(fx_stat(fx, SL_STAT_closed_malformed) == 1);
	fx_destroy(fx);
}
