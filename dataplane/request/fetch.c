/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetch: finds ranges of log files and replies with them by reference (sendfile), or parks until
 * enough was appended.  A parked fetch keeps its frame and starts over when it is woken.
 *
 * Sessions (KIP-227): every answer has session id 0, which tells the client that the cache is full
 * and that it should name all its partitions each time.
 *
 * Followers: every partition has one replica, so a fetch that names a replica id comes from a
 * broker that no partition knows.  It gets what Kafka's leader tells an unknown follower
 * (reference: Partition.followerReplicaOrThrow): UNKNOWN_LEADER_EPOCH if it sent an epoch, else
 * UNKNOWN_TOPIC_OR_PARTITION.
 */
#include <errno.h>

#include "request/common.h"
#include "sluice/base/assert.h"
#include "sluice/wire/fetch_gen.h"

/* Waiters of one parked fetch; above it the fetch is answered at once instead. */
#define FETCH_MEM_MAX            ((size_t)16 << 20)
/* Versions that cannot tell a client KAFKA_STORAGE_ERROR. */
#define FETCH_STORAGE_ERROR_FROM 6
#define FETCH_READ_COMMITTED     1

/* One run of the handler. */
struct fetch {
	struct ctx *ctx;
	struct request *req;
	int16_t version;
	struct sl_fetch_req body;
	struct sl_fetch_resp resp;
	size_t partitions_count; /* of the request */
	struct reply_range *ranges;
	uint32_t ranges_count;
	uint32_t ranges_max;
	struct partition **local; /* partitions to wait for */
	size_t local_count;
	uint32_t bytes_left; /* of max_bytes */
	uint64_t bytes;      /* found */
	bool is_urgent;      /* error or divergence: answer whatever min_bytes says */
	bool is_full;        /* the scratch arena, with aborted transactions */
	bool is_committed;   /* of transactions it wants only what was committed */
	uint32_t failed;
	struct request_leaders leaders;
};

/* ---- One partition ---- */

/* KIP-320: does the client's log, whose last epoch it names, end where ours did?  Return: NONE and
 * diverging_epoch is set if not. */
static enum sl_kerr check_divergence(struct partition *p,
                                     const struct sl_fetch_req_topic_partition *in,
                                     struct sl_fetch_resp_response_partition *out,
                                     bool *is_diverging)
{
	int32_t epoch;
	int64_t end;

	*is_diverging = false;
	if (in->last_fetched_epoch < 0)
		return SL_KERR_NONE;
	sl_log_epoch_end(p->log, in->last_fetched_epoch, &epoch, &end);
	if (epoch < 0 || end < 0 || in->fetch_offset < sl_log_start(p->log))
		return SL_KERR_OFFSET_OUT_OF_RANGE;
	if (epoch < in->last_fetched_epoch || end < in->fetch_offset) {
		out->diverging_epoch.epoch = epoch;
		out->diverging_epoch.end_offset = end;
		*is_diverging = true;
	}
	return SL_KERR_NONE;
}

/* Where this reader stops. */
static int64_t offset_max(const struct fetch *run, const struct partition *p)
{
	return run->is_committed ? p->last_stable : p->high_watermark;
}

/* A reader in an older segment is behind: the rest of that segment is no reason to wait for
 * min_bytes (as in Kafka's DelayedFetch). */
static bool is_in_older_segment(struct partition *p, const struct sl_log_range *range, int64_t max)
{
	struct sl_log_range tail;
	bool is_older;

	if (sl_log_segments(p->log) == 1 || max <= sl_log_start(p->log) ||
	    sl_log_read(p->log, max - 1, max, 0, true, &tail) != 0)
		return false;
	is_older = tail.bytes > 0 && tail.segment != range->segment;
	sl_log_range_put(p->log, &tail);
	return is_older;
}

/* Which records in the range a reader of committed ones has to skip. */
static enum sl_kerr list_aborted(struct fetch *run, struct partition *p,
                                 const struct sl_log_range *range,
                                 struct sl_fetch_resp_response_partition *out)
{
	struct sl_arena *arena = &run->ctx->scratch;
	struct sl_log_aborted *found;
	int64_t count = sl_log_aborted(p->log, range, p->last_stable, NULL, 0);

	if (count == 0)
		return SL_KERR_NONE;
	if (count < 0)
		return SL_KERR_KAFKA_STORAGE_ERROR;
	found = sl_arena_alloc_array(arena, (size_t)count, sizeof(*found));
	out->aborted_transactions = sl_arena_alloc_array(arena, (size_t)count,
	                                                 sizeof(*out->aborted_transactions));
	if (!found || !out->aborted_transactions) {
		run->is_full = true;
		return SL_KERR_NONE;
	}
	count = sl_log_aborted(p->log, range, p->last_stable, found, (uint32_t)count);
	if (count < 0)
		return SL_KERR_KAFKA_STORAGE_ERROR;
	for (int64_t i = 0; i < count; i++) {
		out->aborted_transactions[i].producer_id = found[i].producer_id;
		out->aborted_transactions[i].first_offset = found[i].first_offset;
	}
	out->aborted_transactions_count = (int32_t)count;
	return SL_KERR_NONE;
}

static enum sl_kerr read_log(struct fetch *run, struct partition *p,
                             const struct sl_fetch_req_topic_partition *in,
                             struct sl_fetch_resp_response_partition *out)
{
	uint32_t max = SL_MIN((uint32_t)SL_MAX(in->partition_max_bytes, 0), run->bytes_left);
	const int64_t offset_end = offset_max(run, p);
	struct sl_log_range range;
	struct reply_range *rr;
	enum sl_kerr kerr = SL_KERR_NONE;
	int rc;

	/* Until one partition has bytes, the first batch is sent whole whatever the limits say. */
	rc = sl_log_read(p->log, in->fetch_offset, offset_end,
	                 run->ranges_count < run->ranges_max ? max : 0, run->bytes == 0, &range);
	if (rc == -ERANGE)
		return SL_KERR_OFFSET_OUT_OF_RANGE;
	if (rc != 0)
		return SL_KERR_KAFKA_STORAGE_ERROR;
	if (range.bytes == 0)
		return SL_KERR_NONE;
	SL_ASSERT(run->ranges_count < run->ranges_max);
	if (run->is_committed)
		kerr = list_aborted(run, p, &range, out);
	if (kerr != SL_KERR_NONE) {
		sl_log_range_put(p->log, &range);
		return kerr;
	}
	if (range.bytes < (uint32_t)SL_MAX(run->body.min_bytes, 0) &&
	    is_in_older_segment(p, &range, offset_end))
		run->is_urgent = true;
	out->records = (struct sl_records){
		.len = (int32_t)range.bytes, .external = true, .tag = run->ranges_count};
	rr = &run->ranges[run->ranges_count++];
	*rr = (struct reply_range){.range = range,
	                           .owner = p,
	                           .piece = partition_range_piece,
	                           .put = partition_range_put};
	partition_get(p);
	run->bytes += range.bytes;
	run->bytes_left -= SL_MIN(run->bytes_left, range.bytes);
	return SL_KERR_NONE;
}

static enum sl_kerr fetch_local(struct fetch *run, struct partition *p,
                                const struct sl_fetch_req_topic_partition *in,
                                struct sl_fetch_resp_response_partition *out)
{
	bool is_diverging;
	enum sl_kerr kerr = request_check_epoch(p, in->current_leader_epoch);

	if (kerr == SL_KERR_NONE)
		kerr = check_divergence(p, in, out, &is_diverging);
	if (kerr != SL_KERR_NONE)
		return kerr;
	if (is_diverging)
		run->is_urgent = true;
	else
		kerr = read_log(run, p, in, out);
	if (kerr != SL_KERR_NONE)
		return kerr;
	out->high_watermark = p->high_watermark;
	out->last_stable_offset = p->last_stable;
	out->log_start_offset = sl_log_start(p->log);
	run->local[run->local_count++] = p;
	return SL_KERR_NONE;
}

static bool is_replica(const struct fetch *run)
{
	return (run->version >= 15 ? run->body.replica_state.replica_id : run->body.replica_id) >=
	       0;
}

static enum sl_kerr fetch_partition(struct fetch *run, const struct topic *t,
                                    const struct sl_fetch_req_topic_partition *in,
                                    struct sl_fetch_resp_response_partition *out)
{
	struct partition *p = NULL;
	enum sl_kerr kerr;

	if (!t && run->version >= 13)
		return SL_KERR_UNKNOWN_TOPIC_ID;
	kerr = request_partition(run->ctx, t, in->partition, &p);
	if (kerr == SL_KERR_NONE && is_replica(run))
		kerr = in->current_leader_epoch >= 0 ? SL_KERR_UNKNOWN_LEADER_EPOCH
		                                     : SL_KERR_UNKNOWN_TOPIC_OR_PARTITION;
	if (kerr == SL_KERR_NONE)
		kerr = fetch_local(run, p, in, out);
	return kerr;
}

/* ---- All of them ---- */

static void fetch_one(struct fetch *run, const struct topic *t,
                      const struct sl_fetch_req_topic_partition *in,
                      struct sl_fetch_resp_response_partition *out)
{
	enum sl_kerr kerr;

	sl_fetch_resp_response_partition_init(out);
	out->partition_index = in->partition;
	out->high_watermark = -1;
	/* Null unless the reader wants only committed records. */
	out->aborted_transactions_count = run->is_committed ? 0 : -1;
	/* Empty is length 0: some clients cannot read a null (reference §1.2). */
	out->records = (struct sl_records){0};
	kerr = fetch_partition(run, t, in, out);
	if (kerr == SL_KERR_NONE)
		return;
	run->is_urgent = true;
	run->failed++;
	if (run->version >= 16 &&
	    (kerr == SL_KERR_NOT_LEADER_OR_FOLLOWER || kerr == SL_KERR_FENCED_LEADER_EPOCH)) {
		const struct topic_partition *tp = &t->partitions[in->partition];

		out->current_leader.leader_id = tp->leader_id;
		out->current_leader.leader_epoch = tp->leader_epoch;
		request_leaders_add(run->ctx, &run->leaders, tp->leader_id);
	}
	if (kerr == SL_KERR_KAFKA_STORAGE_ERROR && run->version < FETCH_STORAGE_ERROR_FROM)
		kerr = SL_KERR_NOT_LEADER_OR_FOLLOWER;
	out->error_code = (int16_t)kerr;
}

/* Return: false: the scratch arena is full. */
static bool allocate(struct fetch *run)
{
	struct sl_arena *arena = &run->ctx->scratch;
	const struct sl_fetch_req *body = &run->body;

	for (int32_t i = 0; i < body->topics_count; i++)
		run->partitions_count += (size_t)body->topics[i].partitions_count;
	run->ranges_max = (uint32_t)SL_MIN(run->partitions_count, (size_t)REPLY_RANGES_MAX);
	run->ranges = sl_arena_alloc_array(arena, run->ranges_max, sizeof(*run->ranges));
	run->local = sl_arena_alloc_array(arena, run->partitions_count, sizeof(struct partition *));
	run->resp.responses = sl_arena_alloc_array(arena, (size_t)body->topics_count,
	                                           sizeof(*run->resp.responses));
	for (int32_t i = 0; run->resp.responses && i < body->topics_count; i++) {
		struct sl_fetch_resp_response *t = &run->resp.responses[i];

		t->partitions_count = body->topics[i].partitions_count;
		t->partitions = sl_arena_alloc_array(arena, (size_t)t->partitions_count,
		                                     sizeof(*t->partitions));
	}
	run->resp.responses_count = body->topics_count;
	return !arena->failed;
}

static void fetch_all(struct fetch *run)
{
	for (int32_t i = 0; i < run->body.topics_count; i++) {
		const struct sl_fetch_req_topic *in = &run->body.topics[i];
		struct sl_fetch_resp_response *out = &run->resp.responses[i];
		const struct topic *t = run->version >= 13
		                                ? image_topic_by_id(run->ctx->image, &in->topic_id)
		                                : image_topic(run->ctx->image, in->topic);

		out->topic = in->topic;
		out->topic_id = in->topic_id;
		for (int32_t j = 0; j < in->partitions_count; j++)
			fetch_one(run, t, &in->partitions[j], &out->partitions[j]);
	}
}

static void put_ranges(struct fetch *run)
{
	while (run->ranges_count > 0) {
		struct reply_range *rr = &run->ranges[--run->ranges_count];

		rr->put(run->ctx, rr);
	}
}

/* ---- Waiting ---- */

/* @kerr does not matter: the handler finds out again when it runs. */
static void wake(struct ctx *ctx, struct waiter *w, enum sl_kerr kerr)
{
	(void)kerr;
	request_wake(ctx, w->owner);
}

static bool has_enough(const struct fetch *run)
{
	/* As Kafka: nobody waits for more than may be returned at once. */
	const int32_t min = SL_MIN(
		run->body.min_bytes,
		SL_MIN(run->body.max_bytes,
	               (int32_t)SL_MIN(run->ctx->config->fetch_bytes_max, (uint32_t)INT32_MAX)));

	return run->is_urgent || run->req->is_final || run->local_count == 0 ||
	       (int64_t)run->bytes >= min ||
	       run->ctx->now_ms - run->req->started_ms >= run->body.max_wait_ms ||
	       run->partitions_count * sizeof(struct waiter) >
	               SL_MIN(FETCH_MEM_MAX, run->ctx->pool.bytes / 4);
}

static enum request_result park(struct fetch *run)
{
	struct request *req = run->req;

	/* Kept from run to run; the frame, and so the number of partitions, stays the same. */
	if (!req->mem) {
		if (!request_mem(run->ctx, req, run->partitions_count * sizeof(struct waiter))) {
			ctx_count(run->ctx, SL_STAT_buffer_exhausted, 1);
			return REQUEST_WAIT;
		}
		req->waiters = sl_arena_alloc_array(&req->mem_arena, run->partitions_count,
		                                    sizeof(*req->waiters));
		SL_ASSERT(req->waiters);
	}
	for (size_t i = 0; i < run->local_count; i++) {
		struct waiter *w = &req->waiters[req->waiters_count++];

		memset(w, 0, sizeof(*w));
		sl_list_init(&w->link);
		w->wake = wake;
		w->owner = req;
		partition_wait_fetch(run->local[i], w, run->is_committed);
	}
	request_park(run->ctx, req, REQUEST_PARKED_FETCH, req->started_ms + run->body.max_wait_ms);
	return REQUEST_PARK;
}

/* ---- Reply ---- */

static void add_endpoints(struct fetch *run)
{
	struct sl_fetch_resp *resp = &run->resp;

	resp->node_endpoints = sl_arena_alloc_array(&run->ctx->scratch, run->leaders.count,
	                                            sizeof(*resp->node_endpoints));
	for (uint32_t i = 0; resp->node_endpoints && i < run->leaders.count; i++) {
		const struct image_node *node = run->leaders.nodes[i];
		struct sl_fetch_resp_node_endpoint *e = &resp->node_endpoints[i];

		sl_fetch_resp_node_endpoint_init(e);
		e->node_id = node->node_id;
		e->host = sl_str_from(node->host);
		e->port = node->port;
		resp->node_endpoints_count++;
	}
}

static enum request_result reply(struct fetch *run)
{
	enum request_result result;

	add_endpoints(run);
	request_reply_begin(run->ctx, run->req);
	sl_fetch_resp_encode(&run->resp, &run->ctx->out, run->version);
	result = request_reply_end(run->ctx, run->req, run->ranges, run->ranges_count);
	if (result == REQUEST_REPLY)
		ctx_count(run->ctx, SL_STAT_fetch_failed, run->failed);
	else
		put_ranges(run);
	return result;
}

enum request_result fetch_run(struct ctx *ctx, struct request *req)
{
	struct fetch run = {.ctx = ctx, .req = req, .version = req->head.api_version};

	request_unwait(req);
	if (!request_decode(ctx, req, &run.body))
		return REQUEST_CLOSE;
	sl_fetch_resp_init(&run.resp);
	/* Epoch 0 asks for a new session and -1 for none; all else needs one that we never gave. */
	if (run.body.session_id != 0 || run.body.session_epoch < -1 || run.body.session_epoch > 0) {
		run.resp.error_code = SL_KERR_FETCH_SESSION_ID_NOT_FOUND;
		return reply(&run);
	}
	if (!allocate(&run)) {
		ctx_count(ctx, SL_STAT_closed_malformed, 1);
		return REQUEST_CLOSE;
	}
	run.bytes_left = SL_MIN((uint32_t)SL_MAX(run.body.max_bytes, 0),
	                        ctx->config->fetch_bytes_max);
	run.is_committed = run.body.isolation_level == FETCH_READ_COMMITTED;
	fetch_all(&run);
	if (run.is_full) {
		put_ranges(&run);
		ctx_count(ctx, SL_STAT_closed_malformed, 1);
		return REQUEST_CLOSE;
	}
	if (has_enough(&run))
		return reply(&run);
	put_ranges(&run);
	return park(&run);
}
