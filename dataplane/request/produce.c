/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Produce: checks of reference §3.1 in Kafka's order, append, and with acks=all the wait for the
 * group commit.
 *
 * The records lie in the session's buffer, or landed in the log's own memory; batches are patched
 * there.  Both are gone once the request is parked, so the response, its names and the waiters live
 * in the request's own memory, which is taken before anything is appended.  That memory also says
 * how far the appends have come: a partition may have to wait when those before it are appended.
 *
 * Transactional batches wait for the coordinator's word before the first append: produce_txn.c.
 */
#include <errno.h>

#include "request/common.h"
#include "request/landing.h"
#include "request/produce_txn.h"
#include "sluice/base/assert.h"
#include "sluice/wire/batch.h"

/* Response and waiters of one request; far above what any client sends. */
#define PRODUCE_MEM_MAX      ((size_t)16 << 20)
/* The admin client may write to internal topics, as in Kafka. */
#define PRODUCE_ADMIN_CLIENT "__admin_client"

/* What outlives a run: at the start of the request's memory, and what req->wait points to. */
struct produce_state {
	struct sl_produce_resp resp;
	uint32_t done;        /* partitions dealt with, counted in the order of the request */
	uint32_t failed;      /* of them */
	uint32_t waits_begun; /* of req->waiters */
	bool is_done;         /* all are dealt with: only the answer is missing */
	bool is_checked;      /* the next one's batch is checked and stamped; it waits for room */
	int64_t time_ms;      /* that it was stamped with */
};

/* One run of the handler up to the last append. */
struct produce {
	struct ctx *ctx;
	struct request *req;
	struct sl_produce_req body;
	/* Of @body, when the records landed. */
	struct sl_produce_req_topic_data topic;
	struct sl_produce_req_topic_data_partition_data partition;
	int16_t version;
	bool is_transactional; /* a batch is */
	struct produce_state *state;
	struct partition **waited; /* scratch: partition of each waiter of this run */
	uint32_t waited_count;
	enum request_result result; /* REQUEST_REPLY: go on; else an append has to wait */
};

/* ---- Decode ---- */

/* The records are elsewhere, and the trailer follows the head. */
static bool decode_landed(struct produce *run)
{
	static const uint8_t no_tags[4];
	const struct request *req = run->req;
	const struct landing *l = req->landing;
	struct landing_head head;

	/* It was parsed before it landed. */
	SL_ASSERT(landing_decode(req->frame, req->frame_bytes, (size_t)req->frame_bytes + l->bytes,
	                         &head));
	SL_ASSERT(head.records_bytes == l->bytes && l->got == l->bytes);
	SL_ASSERT(head.trailer_bytes <= sizeof(no_tags));
	if (memcmp(req->frame + head.records_pos, no_tags, head.trailer_bytes) != 0) {
		ctx_count(run->ctx, SL_STAT_closed_malformed, 1);
		return false;
	}
	run->partition.index = head.partition;
	run->partition.records.p = landing_memory(l);
	run->partition.records.len = (int32_t)l->bytes;
	run->topic.name = head.topic;
	run->topic.topic_id = head.topic_id;
	run->topic.partition_data = &run->partition;
	run->topic.partition_data_count = 1;
	run->body = (struct sl_produce_req){
		.transactional_id = SL_STR_NULL,
		.acks = head.acks,
		.timeout_ms = head.timeout_ms,
		.topic_data = &run->topic,
		.topic_data_count = 1,
	};
	return true;
}

/* ---- Memory ---- */

static size_t room(size_t count, size_t bytes)
{
	return SL_ALIGN_UP(count * bytes + 1, (size_t)16);
}

static size_t partitions_of(const struct sl_produce_req *body)
{
	size_t n = 0;

	for (int32_t i = 0; i < body->topic_data_count; i++)
		n += (size_t)body->topic_data[i].partition_data_count;
	return n;
}

static bool needs_verify(const struct produce *run)
{
	return run->is_transactional && !sl_str_is_null(run->body.transactional_id);
}

/* What prepare() and the appends will take from the request's arena, at most. */
static size_t mem_bytes(const struct produce *run)
{
	const struct image *image = run->ctx->image;
	const struct sl_produce_req *body = &run->body;
	size_t bytes = room(1, sizeof(struct produce_state)) +
	               room((size_t)body->topic_data_count,
	                    sizeof(struct sl_produce_resp_response));
	size_t partitions = 0;

	for (int32_t i = 0; i < body->topic_data_count; i++) {
		const struct sl_produce_req_topic_data *t = &body->topic_data[i];

		bytes += room(1, (size_t)SL_MAX(t->name.len, 0) + 1) +
		         room((size_t)t->partition_data_count,
		              sizeof(struct sl_produce_resp_response_partition_response));
		partitions += (size_t)t->partition_data_count;
	}
	bytes += partitions *
	         room(1, sizeof(struct sl_produce_resp_response_partition_response_record_error));
	bytes += room(partitions, sizeof(struct waiter));
	if (needs_verify(run))
		bytes += room(1, sizeof(struct verify)) +
		         room(partitions, sizeof(struct verify_item));
	bytes += room(image->nodes_count, sizeof(struct sl_produce_resp_node_endpoint));
	bytes += image->nodes_count * room(1, image->host_bytes_max);
	return bytes;
}

static bool prepare_topic(struct produce *run, const struct sl_produce_req_topic_data *in,
                          struct sl_produce_resp_response *out)
{
	out->topic_id = in->topic_id;
	struct sl_arena *arena = &run->req->mem_arena;

	out->name = (struct sl_str){sl_arena_strndup(arena, in->name.len > 0 ? in->name.p : "",
	                                             (size_t)SL_MAX(in->name.len, 0)),
	                            in->name.len};
	out->partition_responses_count = in->partition_data_count;
	out->partition_responses = sl_arena_alloc_array(arena, (size_t)in->partition_data_count,
	                                                sizeof(*out->partition_responses));
	if (!out->name.p || !out->partition_responses)
		return false;
	for (int32_t i = 0; i < in->partition_data_count; i++) {
		struct sl_produce_resp_response_partition_response *p =
			&out->partition_responses[i];

		sl_produce_resp_response_partition_response_init(p);
		p->index = in->partition_data[i].index;
		p->base_offset = -1;
	}
	return true;
}

static bool prepare_verify(struct produce *run)
{
	struct sl_arena *arena = &run->req->mem_arena;
	struct verify *v = sl_arena_alloc(arena, sizeof(*v));

	if (!v)
		return false;
	*v = (struct verify){.count = (uint32_t)partitions_of(&run->body)};
	v->items = sl_arena_alloc_array(arena, v->count, sizeof(*v->items));
	if (!v->items)
		return false;
	memset(v->items, 0, v->count * sizeof(*v->items));
	run->req->verify = v;
	return true;
}

/* The response with an entry for every partition, and the waiters.  Return: false when the memory
 * is full. */
static bool prepare(struct produce *run)
{
	struct sl_arena *arena = &run->req->mem_arena;
	const struct sl_produce_req *body = &run->body;
	struct produce_state *state = sl_arena_alloc(arena, sizeof(*state));
	struct sl_produce_resp *resp;

	if (!state)
		return false;
	*state = (struct produce_state){0};
	run->state = state;
	resp = &state->resp;
	sl_produce_resp_init(resp);
	resp->responses_count = body->topic_data_count;
	resp->responses = sl_arena_alloc_array(arena, (size_t)body->topic_data_count,
	                                       sizeof(*resp->responses));
	if (!resp->responses)
		return false;
	for (int32_t i = 0; i < body->topic_data_count; i++)
		if (!prepare_topic(run, &body->topic_data[i], &resp->responses[i]))
			return false;
	if (needs_verify(run) && !prepare_verify(run))
		return false;
	if (body->acks != -1)
		return true;
	run->req->waiters = sl_arena_alloc_array(arena, partitions_of(body),
	                                         sizeof(*run->req->waiters));
	return run->req->waiters;
}

/* Return: REQUEST_REPLY: go on. */
static enum request_result take_memory(struct produce *run)
{
	struct ctx *ctx = run->ctx;
	size_t bytes = mem_bytes(run);

	if (bytes > SL_MIN(PRODUCE_MEM_MAX, ctx->pool.bytes / 4)) {
		ctx_count(ctx, SL_STAT_closed_malformed, 1);
		return REQUEST_CLOSE;
	}
	if (!request_mem(ctx, run->req, bytes)) {
		ctx_count(ctx, SL_STAT_buffer_exhausted, 1);
		return REQUEST_WAIT;
	}
	if (prepare(run)) {
		run->req->wait = run->state;
		return REQUEST_REPLY;
	}
	ctx_count(ctx, SL_STAT_closed_malformed, 1);
	return REQUEST_CLOSE;
}

/* ---- One partition ---- */

/* Step 3: exactly one batch of magic 2, in a codec that this version may use. */
static enum sl_batch_fault check_set(const struct sl_produce_req_topic_data_partition_data *in,
                                     int16_t version)
{
	struct sl_batch_head head;
	int rc;

	if (in->records.len <= 0)
		return SL_BATCH_FAULT_EMPTY;
	rc = sl_batch_peek(in->records.p, (size_t)in->records.len, &head);
	if (rc == -EAGAIN)
		return SL_BATCH_FAULT_TRUNCATED;
	if (rc != 0)
		return head.magic != 2 ? SL_BATCH_FAULT_MAGIC : SL_BATCH_FAULT_LENGTH;
	if (sl_batch_bytes(&head) != (size_t)in->records.len)
		return SL_BATCH_FAULT_TRAILING;
	if (sl_batch_codec(&head) == SL_CODEC_ZSTD && version < 7)
		return SL_BATCH_FAULT_CODEC;
	return SL_BATCH_FAULT_OK;
}

static enum sl_kerr refuse(struct produce *run, enum sl_batch_fault fault, int32_t error_index,
                           struct sl_produce_resp_response_partition_response *out)
{
	struct sl_str text = sl_str_from(sl_batch_fault_text(fault));

	out->error_message = text;
	if (error_index >= 0) {
		out->record_errors = sl_arena_alloc(&run->req->mem_arena,
		                                    sizeof(*out->record_errors));
		if (out->record_errors) {
			out->record_errors->batch_index = error_index;
			out->record_errors->batch_index_error_message = text;
			out->record_errors_count = 1;
		}
	}
	return sl_kerr_from_batch(fault);
}

static void rules_of(const struct topic_config *config, struct sl_batch_rules *rules)
{
	*rules = (struct sl_batch_rules){
		.is_compacted = config->is_compact,
		.is_log_append_time = config->is_log_append_time,
		.before_max_ms = config->timestamp_before_max_ms,
		.after_max_ms = config->timestamp_after_max_ms,
		.batch_bytes_max = config->max_message_bytes,
	};
}

/* Steps 7-11, and the times: once for each batch, since a stamped one would not pass again. */
static enum sl_kerr check_batch(struct produce *run, void *batch, size_t bytes,
                                const struct sl_batch_rules *rules,
                                struct sl_produce_resp_response_partition_response *out)
{
	struct produce_state *state = run->state;
	struct ctx *ctx = run->ctx;
	struct sl_batch_info info;
	enum sl_batch_fault fault;

	if (state->is_checked)
		return SL_KERR_NONE;
	fault = sl_batch_validate(batch, bytes, rules, ctx->wall_ms, ctx->codec, &info);
	if (fault != SL_BATCH_FAULT_OK)
		return refuse(run, fault, info.error_index, out);
	state->time_ms = sl_batch_stamp(batch, &info, rules, ctx->wall_ms);
	state->is_checked = true;
	return SL_KERR_NONE;
}

static void add_waiter(struct produce *run, struct partition *p, int64_t offset,
                       struct sl_produce_resp_response_partition_response *out)
{
	struct waiter *w = &run->req->waiters[run->req->waiters_count++];

	sl_list_init(&w->link);
	w->partition = NULL;
	w->offset = offset;
	w->error_code = &out->error_code;
	run->waited[run->waited_count++] = p;
}

/* Steps 7-14.  run->result tells when it has to wait. */
static enum sl_kerr append(struct produce *run, const struct topic *t, struct partition *p,
                           const struct sl_produce_req_topic_data_partition_data *in,
                           struct sl_log_append *io,
                           struct sl_produce_resp_response_partition_response *out)
{
	/* Writable memory of ours; decoders lend it as const. */
	void *batch = (void *)(uintptr_t)in->records.p;
	const size_t bytes = (size_t)in->records.len;
	struct sl_batch_rules rules;
	enum sl_kerr kerr;

	rules_of(&t->config, &rules);
	kerr = check_batch(run, batch, bytes, &rules, out);
	if (kerr != SL_KERR_NONE)
		return kerr;
	switch (partition_append(run->ctx, p, batch, bytes, io, &kerr)) {
	case PARTITION_APPENDED:
		out->log_append_time_ms = run->state->time_ms;
		break;
	case PARTITION_DUPLICATE:
		out->log_append_time_ms = rules.is_log_append_time ? io->timestamp_ms
		                                                   : run->state->time_ms;
		break;
	case PARTITION_REFUSED:
		return kerr;
	case PARTITION_NO_BUFFER:
		run->result = REQUEST_WAIT;
		return SL_KERR_NONE;
	case PARTITION_TIER_FULL:
		run->result = REQUEST_WAIT_TIER;
		return SL_KERR_NONE;
	}
	out->base_offset = io->base_offset;
	if (run->body.acks == -1)
		add_waiter(run, p, io->last_offset + 1, out);
	return SL_KERR_NONE;
}

static enum sl_kerr check_leader(struct produce *run, const struct topic *t,
                                 const struct sl_produce_req_topic_data_partition_data *in,
                                 struct partition **p)
{
	enum sl_kerr kerr = request_partition(run->ctx, t, in->index, p);
	const struct topic_partition *tp;

	if (kerr != SL_KERR_NONE)
		return kerr;
	if ((*p)->is_offline)
		return SL_KERR_KAFKA_STORAGE_ERROR;
	tp = &t->partitions[in->index];
	if (run->body.acks == -1 &&
	    (int64_t)tp->isr_count <
	            SL_MIN((int64_t)t->config.min_insync_replicas, (int64_t)tp->replicas_count))
		return SL_KERR_NOT_ENOUGH_REPLICAS;
	return SL_KERR_NONE;
}

/* Kafka tells the log start along with what it found in the batch itself. */
static bool is_about_records(enum sl_kerr kerr)
{
	return kerr == SL_KERR_NONE || kerr == SL_KERR_INVALID_RECORD ||
	       kerr == SL_KERR_INVALID_TIMESTAMP || kerr == SL_KERR_OUT_OF_ORDER_SEQUENCE_NUMBER ||
	       kerr == SL_KERR_INVALID_PRODUCER_EPOCH || kerr == SL_KERR_INVALID_TXN_STATE;
}

/* All steps for one partition, in the order of reference §3.1. */
static enum sl_kerr produce_partition(struct produce *run, const struct topic *t,
                                      const struct sl_produce_req_topic_data_partition_data *in,
                                      struct sl_produce_resp_response_partition_response *out)
{
	struct sl_log_append io = {0};
	struct partition *p = NULL;
	enum sl_batch_fault fault;
	enum sl_kerr kerr;

	if (!t)
		return run->version >= 13 ? SL_KERR_UNKNOWN_TOPIC_ID
		                          : SL_KERR_UNKNOWN_TOPIC_OR_PARTITION;
	if (in->index < 0 || (uint32_t)in->index >= t->partitions_count)
		return SL_KERR_UNKNOWN_TOPIC_OR_PARTITION;
	fault = check_set(in, run->version);
	if (fault != SL_BATCH_FAULT_OK)
		return refuse(run, fault, -1, out);
	if (run->body.acks < -1 || run->body.acks > 1)
		return SL_KERR_INVALID_REQUIRED_ACKS;
	if (t->is_internal && !sl_str_eq_c(run->req->head.client_id, PRODUCE_ADMIN_CLIENT))
		return SL_KERR_INVALID_TOPIC_EXCEPTION;
	kerr = check_leader(run, t, in, &p);
	if (kerr != SL_KERR_NONE)
		return kerr;
	kerr = produce_txn_admit(run->req, run->state->done, p, &io, &out->error_message);
	if (kerr != SL_KERR_NONE)
		return kerr;
	kerr = append(run, t, p, in, &io, out);
	if (is_about_records(kerr))
		out->log_start_offset = sl_log_start(p->log);
	return kerr;
}

static void tell_leader(const struct topic *t,
                        struct sl_produce_resp_response_partition_response *out)
{
	const struct topic_partition *tp = &t->partitions[out->index];

	out->current_leader.leader_id = tp->leader_id;
	out->current_leader.leader_epoch = tp->leader_epoch;
}

/* ---- The request ---- */

/* One partition from its checks to its place in the response.  Return: false when it has to wait
 * and nothing has happened. */
static bool produce_one(struct produce *run, const struct topic *t, bool is_refused,
                        const struct sl_produce_req_topic_data_partition_data *in,
                        struct sl_produce_resp_response_partition_response *out)
{
	struct produce_state *state = run->state;
	enum sl_kerr kerr = is_refused ? SL_KERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED
	                               : produce_partition(run, t, in, out);

	if (run->result != REQUEST_REPLY)
		return false;
	out->error_code = (int16_t)kerr;
	state->failed += kerr != SL_KERR_NONE;
	if (kerr == SL_KERR_NOT_LEADER_OR_FOLLOWER && run->version >= 10)
		tell_leader(t, out);
	state->is_checked = false;
	state->done++;
	return true;
}

/* Goes on where the run before had to stop. */
static void produce_all(struct produce *run)
{
	const struct sl_produce_req *body = &run->body;
	/* Step 1. */
	const bool is_refused = run->is_transactional && !needs_verify(run);
	const uint32_t done = run->state->done;
	uint32_t n = 0;

	for (int32_t i = 0; i < body->topic_data_count; i++) {
		const struct sl_produce_req_topic_data *in = &body->topic_data[i];
		struct sl_produce_resp_response *out = &run->state->resp.responses[i];
		const struct topic *t = run->version >= 13
		                                ? image_topic_by_id(run->ctx->image, &in->topic_id)
		                                : image_topic(run->ctx->image, in->name);

		for (int32_t j = 0; j < in->partition_data_count; j++) {
			if (n++ < done)
				continue;
			if (!produce_one(run, t, is_refused, &in->partition_data[j],
			                 &out->partition_responses[j]))
				return;
		}
	}
	run->state->is_done = true;
}

/* Who leads the partitions that are led elsewhere. */
static void find_leaders(struct ctx *ctx, const struct sl_produce_resp *resp,
                         struct request_leaders *leaders)
{
	for (int32_t i = 0; i < resp->responses_count; i++) {
		const struct sl_produce_resp_response *r = &resp->responses[i];

		for (int32_t j = 0; j < r->partition_responses_count; j++)
			if (r->partition_responses[j].current_leader.leader_id >= 0)
				request_leaders_add(
					ctx, leaders,
					r->partition_responses[j].current_leader.leader_id);
	}
}

/* Copied: the image may be another one when the reply is encoded. */
static void add_endpoints(struct produce *run)
{
	struct sl_arena *arena = &run->req->mem_arena;
	struct sl_produce_resp *resp = &run->state->resp;
	struct request_leaders leaders = {0};

	if (run->state->failed == 0)
		return;
	find_leaders(run->ctx, resp, &leaders);
	if (leaders.count == 0)
		return;
	resp->node_endpoints = sl_arena_alloc_array(arena, leaders.count,
	                                            sizeof(*resp->node_endpoints));
	for (uint32_t i = 0; resp->node_endpoints && i < leaders.count; i++) {
		const struct image_node *node = leaders.nodes[i];
		struct sl_produce_resp_node_endpoint *e = &resp->node_endpoints[i];

		sl_produce_resp_node_endpoint_init(e);
		e->node_id = node->node_id;
		e->host = sl_str_from(sl_arena_strndup(arena, node->host, strlen(node->host)));
		e->port = node->port;
		/* The memory was sized by an image that knew fewer or shorter hosts. */
		if (!e->host.p)
			break;
		resp->node_endpoints_count++;
	}
}

static void wait_ended(struct ctx *ctx, struct waiter *w, enum sl_kerr kerr)
{
	struct request *req = w->owner;

	SL_ASSERT(req->waits_left > 0);
	if (kerr != SL_KERR_NONE) {
		*w->error_code = (int16_t)kerr;
		ctx_count(ctx, SL_STAT_produce_failed, 1);
	}
	if (--req->waits_left == 0 && req->state == REQUEST_PARKED_PRODUCE)
		request_wake(ctx, req);
}

/* After the appends of a run, also of one that has to wait for its next: a partition may leave the
 * lane meanwhile, and then its waiters are told. */
static void begin_waits(struct produce *run)
{
	struct request *req = run->req;
	const uint32_t begun = run->state->waits_begun;

	for (uint32_t i = begun; i < req->waiters_count; i++) {
		struct waiter *w = &req->waiters[i];

		w->wake = wait_ended;
		w->owner = req;
		req->waits_left += partition_wait_sync(run->ctx, run->waited[i - begun], w);
	}
	run->state->waits_begun = req->waiters_count;
}

/* Encodes what is there.  Runs again while the pool is full. */
static enum request_result finish(struct ctx *ctx, struct request *req)
{
	const struct produce_state *state = req->wait;

	if (req->waits_left > 0) {
		for (uint32_t i = 0; i < req->waiters_count; i++) {
			struct waiter *w = &req->waiters[i];

			if (!w->partition)
				continue;
			*w->error_code = SL_KERR_REQUEST_TIMED_OUT;
			ctx_count(ctx, SL_STAT_produce_failed, 1);
		}
		req->waits_left = 0;
	}
	request_unwait(req);
	request_reply_begin(ctx, req);
	sl_produce_resp_encode(&state->resp, &ctx->out, req->head.api_version);
	return request_reply_end(ctx, req, NULL, 0);
}

/* All appends are done, and with them the frame. */
static enum request_result conclude(struct produce *run)
{
	struct request *req = run->req;
	struct ctx *ctx = run->ctx;

	ctx_count(ctx, SL_STAT_produce_failed, run->state->failed);
	if (run->body.acks == 0) {
		if (run->state->failed == 0)
			return REQUEST_NO_REPLY;
		ctx_count(ctx, SL_STAT_closed_acks0_error, 1);
		return REQUEST_CLOSE;
	}
	add_endpoints(run);
	if (req->waits_left == 0)
		return finish(ctx, req);
	request_park(ctx, req, REQUEST_PARKED_PRODUCE,
	             ctx->now_ms + SL_MAX(run->body.timeout_ms, 0));
	return REQUEST_PARK;
}

static bool decode(struct produce *run)
{
	struct sl_arena *scratch = &run->ctx->scratch;

	if (run->req->landing ? !decode_landed(run)
	                      : !request_decode(run->ctx, run->req, &run->body))
		return false;
	/* Landed records never are. */
	run->is_transactional = !run->req->landing && produce_txn_has_batch(&run->body);
	run->waited = sl_arena_alloc_array(scratch, partitions_of(&run->body),
	                                   sizeof(*run->waited));
	if (run->waited)
		return true;
	ctx_count(run->ctx, SL_STAT_closed_malformed, 1);
	return false;
}

enum request_result produce_run(struct ctx *ctx, struct request *req)
{
	struct produce run = {.ctx = ctx,
	                      .req = req,
	                      .version = req->head.api_version,
	                      .state = req->wait,
	                      .result = REQUEST_REPLY};
	enum sl_stat way = SL_STAT_produces_staged;

	/* All waits ended, the deadline passed, or there was no memory for the reply. */
	if (run.state && run.state->is_done)
		return finish(ctx, req);
	if (!decode(&run))
		return REQUEST_CLOSE;
	if (!run.state)
		run.result = take_memory(&run);
	if (run.result == REQUEST_REPLY && req->verify)
		run.result = produce_txn_verify(ctx, req, &run.body);
	if (run.result != REQUEST_REPLY)
		return run.result;
	if (req->landing && req->landing->reserved.partition)
		way = SL_STAT_produces_landed;
	produce_all(&run);
	begin_waits(&run);
	if (run.result != REQUEST_REPLY)
		return run.result;
	ctx_count(ctx, way, 1);
	if (req->landing)
		landing_release(ctx, req->landing);
	req->landing = NULL;
	return conclude(&run);
}
