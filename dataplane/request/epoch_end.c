/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OffsetForLeaderEpoch: where a leader epoch ended, so that a client or follower can find the place
 * at which its log and ours went apart (KIP-320).
 */
#include "request/common.h"
#include "sluice/wire/offset_for_leader_epoch_gen.h"

static enum sl_kerr find_end(struct ctx *ctx, const struct topic *t,
                             const struct sl_offset_for_leader_epoch_req_topic_partition *in,
                             struct sl_offset_for_leader_epoch_resp_topic_partition *out)
{
	struct partition *p = NULL;
	enum sl_kerr kerr = request_partition(ctx, t, in->partition, &p);

	if (kerr == SL_KERR_NONE)
		kerr = request_check_epoch(p, in->current_leader_epoch);
	if (kerr == SL_KERR_NONE)
		sl_log_epoch_end(p->log, in->leader_epoch, &out->leader_epoch, &out->end_offset);
	return kerr;
}

static bool find_topic(struct ctx *ctx, const struct sl_offset_for_leader_epoch_req_topic *in,
                       struct sl_offset_for_leader_epoch_resp_topic *out)
{
	const struct topic *t = image_topic(ctx->image, in->topic);

	out->topic = in->topic;
	out->partitions_count = in->partitions_count;
	out->partitions = sl_arena_alloc_array(&ctx->scratch, (size_t)in->partitions_count,
	                                       sizeof(*out->partitions));
	if (!out->partitions)
		return false;
	for (int32_t i = 0; i < in->partitions_count; i++) {
		struct sl_offset_for_leader_epoch_resp_topic_partition *p = &out->partitions[i];

		sl_offset_for_leader_epoch_resp_topic_partition_init(p);
		p->partition = in->partitions[i].partition;
		p->leader_epoch = -1;
		p->end_offset = -1;
		p->error_code = (int16_t)find_end(ctx, t, &in->partitions[i], p);
	}
	return true;
}

enum request_result epoch_end_run(struct ctx *ctx, struct request *req)
{
	struct sl_offset_for_leader_epoch_resp resp;
	struct sl_offset_for_leader_epoch_req body;

	if (!request_decode(ctx, req, &body))
		return REQUEST_CLOSE;
	sl_offset_for_leader_epoch_resp_init(&resp);
	resp.topics = sl_arena_alloc_array(&ctx->scratch, (size_t)body.topics_count,
	                                   sizeof(*resp.topics));
	for (int32_t i = 0; i < body.topics_count; i++) {
		if (!resp.topics || !find_topic(ctx, &body.topics[i], &resp.topics[i])) {
			ctx_count(ctx, SL_STAT_closed_malformed, 1);
			return REQUEST_CLOSE;
		}
	}
	resp.topics_count = body.topics_count;
	request_reply_begin(ctx, req);
	sl_offset_for_leader_epoch_resp_encode(&resp, &ctx->out, req->head.api_version);
	return request_reply_end(ctx, req, NULL, 0);
}
