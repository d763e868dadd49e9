/* SPDX-License-Identifier: Apache-2.0 */
/* DescribeProducers: what the logs remember of their producers, for `kafka-transactions.sh`. */
#include "request/common.h"
#include "sluice/wire/describe_producers_gen.h"

/* Return: false: the scratch arena is full. */
static bool list_producers(struct ctx *ctx, const struct partition *p,
                           struct sl_describe_producers_resp_topic_partition *out)
{
	const uint32_t count = sl_log_producers_count(p->log);
	struct sl_log_producer *known = sl_arena_alloc_array(&ctx->scratch, count, sizeof(*known));

	out->active_producers = sl_arena_alloc_array(&ctx->scratch, count,
	                                             sizeof(*out->active_producers));
	if (!known || !out->active_producers)
		return false;
	out->active_producers_count = (int32_t)sl_log_producers(p->log, known, count);
	for (int32_t i = 0; i < out->active_producers_count; i++) {
		struct sl_describe_producers_resp_topic_partition_active_producer *a =
			&out->active_producers[i];

		sl_describe_producers_resp_topic_partition_active_producer_init(a);
		a->producer_id = known[i].producer_id;
		a->producer_epoch = known[i].epoch;
		a->last_sequence = known[i].last_sequence;
		a->last_timestamp = known[i].last_timestamp_ms;
		a->coordinator_epoch = known[i].coordinator_epoch;
		a->current_txn_start_offset = known[i].txn_first_offset;
	}
	return true;
}

static bool describe_topic(struct ctx *ctx, const struct sl_describe_producers_req_topic *in,
                           struct sl_describe_producers_resp_topic *out)
{
	const struct topic *t = image_topic(ctx->image, in->name);

	out->name = in->name;
	out->partitions_count = in->partition_indexes_count;
	out->partitions = sl_arena_alloc_array(&ctx->scratch, (size_t)out->partitions_count,
	                                       sizeof(*out->partitions));
	if (!out->partitions)
		return false;
	for (int32_t i = 0; i < out->partitions_count; i++) {
		struct sl_describe_producers_resp_topic_partition *p = &out->partitions[i];
		struct partition *found = NULL;

		sl_describe_producers_resp_topic_partition_init(p);
		p->partition_index = in->partition_indexes[i];
		p->error_code = (int16_t)request_partition(ctx, t, p->partition_index, &found);
		if (p->error_code == SL_KERR_NONE && !list_producers(ctx, found, p))
			return false;
	}
	return true;
}

enum request_result describe_producers_run(struct ctx *ctx, struct request *req)
{
	struct sl_describe_producers_resp resp;
	struct sl_describe_producers_req body;

	if (!request_decode(ctx, req, &body))
		return REQUEST_CLOSE;
	sl_describe_producers_resp_init(&resp);
	resp.topics = sl_arena_alloc_array(&ctx->scratch, (size_t)body.topics_count,
	                                   sizeof(*resp.topics));
	for (int32_t i = 0; i < body.topics_count; i++) {
		if (!resp.topics || !describe_topic(ctx, &body.topics[i], &resp.topics[i])) {
			ctx_count(ctx, SL_STAT_closed_malformed, 1);
			return REQUEST_CLOSE;
		}
	}
	resp.topics_count = body.topics_count;
	request_reply_begin(ctx, req);
	sl_describe_producers_resp_encode(&resp, &ctx->out, req->head.api_version);
	return request_reply_end(ctx, req, NULL, 0);
}
