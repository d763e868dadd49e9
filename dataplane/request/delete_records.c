/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DeleteRecords: raises log starts.  The only replica is here, so the low watermark is the new log
 * start and nobody has to be waited for: timeout_ms plays no part.
 */
#include <errno.h>

#include "request/common.h"
#include "sluice/wire/delete_records_gen.h"

#define DELETE_TO_HIGH_WATERMARK (-1)

static enum sl_kerr delete_from(struct ctx *ctx, const struct topic *t,
                                const struct sl_delete_records_req_topic_partition *in,
                                int64_t *low_watermark)
{
	int64_t offset = in->offset;
	struct partition *p = NULL;
	enum sl_kerr kerr;
	int rc;

	if (t && t->is_internal)
		return SL_KERR_INVALID_TOPIC_EXCEPTION;
	kerr = request_partition(ctx, t, in->partition_index, &p);
	if (kerr != SL_KERR_NONE)
		return kerr;
	if (p->is_offline)
		return SL_KERR_KAFKA_STORAGE_ERROR;
	/* What only compaction may remove is not for clients to cut off. */
	if (t->config.log.is_compact && !t->config.log.is_delete)
		return SL_KERR_POLICY_VIOLATION;
	if (offset == DELETE_TO_HIGH_WATERMARK)
		offset = p->high_watermark;
	if (offset < 0 || offset > p->high_watermark)
		return SL_KERR_OFFSET_OUT_OF_RANGE;
	rc = sl_log_advance_start(p->log, offset);
	partition_check(ctx, p);
	partition_moved(ctx, p);
	if (rc == -ERANGE)
		return SL_KERR_OFFSET_OUT_OF_RANGE;
	if (rc != 0)
		return SL_KERR_KAFKA_STORAGE_ERROR;
	*low_watermark = sl_log_start(p->log);
	return SL_KERR_NONE;
}

static bool delete_topic(struct ctx *ctx, const struct sl_delete_records_req_topic *in,
                         struct sl_delete_records_resp_topic *out)
{
	const struct topic *t = image_topic(ctx->image, in->name);

	out->name = in->name;
	out->partitions_count = in->partitions_count;
	out->partitions = sl_arena_alloc_array(&ctx->scratch, (size_t)in->partitions_count,
	                                       sizeof(*out->partitions));
	if (!out->partitions)
		return false;
	for (int32_t i = 0; i < in->partitions_count; i++) {
		struct sl_delete_records_resp_topic_partition *p = &out->partitions[i];

		sl_delete_records_resp_topic_partition_init(p);
		p->partition_index = in->partitions[i].partition_index;
		p->low_watermark = -1;
		p->error_code = (int16_t)delete_from(ctx, t, &in->partitions[i], &p->low_watermark);
	}
	return true;
}

enum request_result delete_records_run(struct ctx *ctx, struct request *req)
{
	struct sl_delete_records_resp resp;
	struct sl_delete_records_req body;

	if (!request_decode(ctx, req, &body))
		return REQUEST_CLOSE;
	sl_delete_records_resp_init(&resp);
	resp.topics = sl_arena_alloc_array(&ctx->scratch, (size_t)body.topics_count,
	                                   sizeof(*resp.topics));
	for (int32_t i = 0; i < body.topics_count; i++) {
		if (!resp.topics || !delete_topic(ctx, &body.topics[i], &resp.topics[i])) {
			ctx_count(ctx, SL_STAT_closed_malformed, 1);
			return REQUEST_CLOSE;
		}
	}
	resp.topics_count = body.topics_count;
	request_reply_begin(ctx, req);
	sl_delete_records_resp_encode(&resp, &ctx->out, req->head.api_version);
	return request_reply_end(ctx, req, NULL, 0);
}
