/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests: header, dispatch by API key, parking, deadlines and the way to a reply.  Owner lane
 * only.
 */
#include "request/request.h"

#include <errno.h>

#include "partition/partition.h"
#include "request/verify.h"
#include "sluice/base/assert.h"

typedef enum request_result request_handler(struct ctx *ctx, struct request *req);

static const struct {
	request_handler *run;
	enum sl_stat stat;
} handlers[SL_API_KEY_MAX + 1] = {
	[SL_API_PRODUCE] = {produce_run, SL_STAT_requests_produce},
	[SL_API_FETCH] = {fetch_run, SL_STAT_requests_fetch},
	[SL_API_LIST_OFFSETS] = {list_offsets_run, SL_STAT_requests},
	[SL_API_METADATA] = {metadata_run, SL_STAT_requests_metadata},
	[SL_API_API_VERSIONS] = {api_versions_run, SL_STAT_requests},
	[SL_API_DELETE_RECORDS] = {delete_records_run, SL_STAT_requests},
	[SL_API_OFFSET_FOR_LEADER_EPOCH] = {epoch_end_run, SL_STAT_requests},
	[SL_API_DESCRIBE_PRODUCERS] = {describe_producers_run, SL_STAT_requests},
};

/* Reference §1.2: an unknown key or version is not answered, the connection is closed; only
 * ApiVersions answers a version it does not know (KIP-511), in its handler. */
static enum request_result decode_head(struct ctx *ctx, struct request *req)
{
	struct sl_cursor c = sl_cursor_from(req->frame, req->frame_bytes);

	if (req->frame_bytes >= 4) {
		int16_t version = (int16_t)sl_load_be16(req->frame + 2);

		req->api = sl_api_find((int16_t)sl_load_be16(req->frame));
		if (!req->api ||
		    (req->api->key != SL_API_API_VERSIONS &&
		     (version < req->api->min_version || version > req->api->max_version))) {
			ctx_count(ctx, SL_STAT_closed_unknown_api, 1);
			return REQUEST_CLOSE;
		}
	}
	if (req->frame_bytes < 4 || sl_request_head_decode(&req->head, &c) != 0) {
		ctx_count(ctx, SL_STAT_closed_malformed, 1);
		return REQUEST_CLOSE;
	}
	req->body_pos = (uint32_t)(c.p - req->frame);
	ctx_count(ctx, SL_STAT_requests, 1);
	if (handlers[req->api->key].run && handlers[req->api->key].stat != SL_STAT_requests)
		ctx_count(ctx, handlers[req->api->key].stat, 1);
	return REQUEST_REPLY;
}

enum request_result request_run(struct ctx *ctx, struct request *req)
{
	request_handler *run;

	sl_arena_reset(&ctx->scratch);
	if (!req->api) {
		req->started_ms = ctx->now_ms;
		if (decode_head(ctx, req) == REQUEST_CLOSE)
			return REQUEST_CLOSE;
	}
	run = handlers[req->api->key].run;
	return run ? run(ctx, req) : request_forward(ctx, req);
}

/* ---- Deadlines: a binary heap, each request knows its place ---- */

static void heap_set(struct ctx_deadlines *d, uint32_t i, struct request *req)
{
	d->heap[i] = req;
	req->heap_index = i;
}

static void heap_up(struct ctx_deadlines *d, uint32_t i)
{
	struct request *req = d->heap[i];

	while (i > 0 && d->heap[(i - 1) / 2]->deadline_ms > req->deadline_ms) {
		heap_set(d, i, d->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_set(d, i, req);
}

static void heap_down(struct ctx_deadlines *d, uint32_t i)
{
	struct request *req = d->heap[i];

	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= d->count)
			break;
		if (child + 1 < d->count &&
		    d->heap[child + 1]->deadline_ms < d->heap[child]->deadline_ms)
			child++;
		if (d->heap[child]->deadline_ms >= req->deadline_ms)
			break;
		heap_set(d, i, d->heap[child]);
		i = child;
	}
	heap_set(d, i, req);
}

static void heap_remove(struct ctx_deadlines *d, struct request *req)
{
	uint32_t i = req->heap_index;
	struct request *last;

	if (i == UINT32_MAX)
		return;
	SL_ASSERT(i < d->count && d->heap[i] == req);
	last = d->heap[--d->count];
	req->heap_index = UINT32_MAX;
	if (last == req)
		return;
	heap_set(d, i, last);
	heap_up(d, i);
	heap_down(d, last->heap_index);
}

int64_t request_deadline_first(const struct ctx *ctx)
{
	return ctx->deadlines.count ? ctx->deadlines.heap[0]->deadline_ms : INT64_MAX;
}

struct request *request_deadline_pop(struct ctx *ctx)
{
	struct request *req;

	if (request_deadline_first(ctx) > ctx->now_ms)
		return NULL;
	req = ctx->deadlines.heap[0];
	heap_remove(&ctx->deadlines, req);
	return req;
}

/* ---- Parking ---- */

static enum sl_stat parked_stat(enum request_state state)
{
	switch (state) {
	case REQUEST_PARKED_FETCH:
		return SL_STAT_fetches_parked;
	case REQUEST_PARKED_PRODUCE:
		return SL_STAT_produces_parked;
	case REQUEST_PARKED_VERIFY:
		return SL_STAT_verifies_parked;
	default:
		return SL_STAT_control_parked;
	}
}

static bool is_parked(const struct request *req)
{
	return req->state == REQUEST_PARKED_FETCH || req->state == REQUEST_PARKED_PRODUCE ||
	       req->state == REQUEST_PARKED_CONTROL || req->state == REQUEST_PARKED_VERIFY;
}

/* Every change of state goes through here, so that the gauges are right. */
static void set_state(struct ctx *ctx, struct request *req, enum request_state state)
{
	if (is_parked(req)) {
		ctx_gauge_add(ctx, parked_stat(req->state), -1);
		if (req->state == REQUEST_PARKED_CONTROL)
			ctx->control_parked[req->conn_index] = NULL;
	}
	req->state = state;
	if (is_parked(req)) {
		ctx_gauge_add(ctx, parked_stat(state), 1);
		if (state == REQUEST_PARKED_CONTROL)
			ctx->control_parked[req->conn_index] = req;
	}
}

void request_park(struct ctx *ctx, struct request *req, enum request_state state,
                  int64_t deadline_ms)
{
	struct ctx_deadlines *d = &ctx->deadlines;

	SL_ASSERT(state == REQUEST_PARKED_FETCH || state == REQUEST_PARKED_PRODUCE ||
	          state == REQUEST_PARKED_CONTROL || state == REQUEST_PARKED_VERIFY);
	heap_remove(d, req);
	set_state(ctx, req, state);
	req->deadline_ms = deadline_ms;
	if (deadline_ms == INT64_MAX)
		return;
	SL_ASSERT(d->count < d->max);
	heap_set(d, d->count, req);
	d->count++;
	heap_up(d, req->heap_index);
}

void request_wake(struct ctx *ctx, struct request *req)
{
	heap_remove(&ctx->deadlines, req);
	if (sl_list_is_empty(&req->done_link))
		sl_list_push_back(&ctx->runnable, &req->done_link);
}

void request_starve(struct ctx *ctx, struct request *req, enum ctx_lack lack)
{
	SL_ASSERT(sl_list_is_empty(&req->done_link));
	heap_remove(&ctx->deadlines, req);
	sl_list_push_back(&ctx->starved[lack], &req->done_link);
}

void request_again(struct ctx *ctx, struct request *req)
{
	SL_ASSERT(is_parked(req) && req->waiters_count == 0);
	set_state(ctx, req, REQUEST_RUNNING);
	request_wake(ctx, req);
}

void request_done(struct ctx *ctx, struct request *req)
{
	heap_remove(&ctx->deadlines, req);
	set_state(ctx, req, REQUEST_DONE);
	sl_list_del(&req->done_link);
	sl_list_push_back(&ctx->done, &req->done_link);
}

bool request_mem(struct ctx *ctx, struct request *req, size_t bytes)
{
	size_t cap;

	SL_ASSERT(!req->mem);
	req->mem = pool_get(&ctx->pool, bytes, &cap);
	if (!req->mem)
		return false;
	sl_arena_init(&req->mem_arena, req->mem, cap);
	return true;
}

void request_release(struct ctx *ctx, struct request *req)
{
	if (req->state == REQUEST_PARKED_CONTROL)
		control_cancel(ctx, req);
	if (req->verify)
		verify_give_up(ctx, req->verify, SL_KERR_NONE);
	req->verify = NULL;
	if (req->waiters_count > 0)
		request_unwait(req);
	heap_remove(&ctx->deadlines, req);
	set_state(ctx, req, REQUEST_FREE);
	sl_list_del(&req->done_link);
	sl_list_del(&req->link);
	pool_put(&ctx->pool, req->mem);
	req->mem = NULL;
	reply_free(ctx, req->reply);
	req->reply = NULL;
}

void request_unwait(struct request *req)
{
	for (uint32_t i = 0; i < req->waiters_count; i++)
		partition_unwait(&req->waiters[i]);
	req->waiters_count = 0;
}

/* ---- Replies ---- */

void request_reply_begin(struct ctx *ctx, const struct request *req)
{
	sl_buf_reset(&ctx->out);
	sl_buf_put_be32(&ctx->out, 0); /* frame size, filled in by reply_build() */
	sl_response_head_encode(&ctx->out, req->api, req->head.api_version,
	                        req->head.correlation_id);
}

enum request_result request_reply_end(struct ctx *ctx, struct request *req,
                                      const struct reply_range *ranges, uint32_t ranges_count)
{
	SL_ASSERT(!req->reply);
	if (!sl_buf_ok(&ctx->out)) {
		ctx_count(ctx, SL_STAT_closed_malformed, 1);
		return REQUEST_CLOSE;
	}
	req->reply = reply_build(ctx, ranges, ranges_count);
	if (req->reply)
		return REQUEST_REPLY;
	if (ctx->out.len > ctx->pool.bytes / 4) {
		/* It may never fit: waiting would be for ever. */
		ctx_count(ctx, SL_STAT_closed_error, 1);
		return REQUEST_CLOSE;
	}
	ctx_count(ctx, SL_STAT_buffer_exhausted, 1);
	return REQUEST_WAIT;
}
