/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ListOffsets: an offset for a timestamp, or for one of the special timestamps of reference §4.1.
 * Nothing is tiered.  For readers of committed records the log ends at the last stable offset.
 */
#include <errno.h>

#include "request/common.h"
#include "sluice/wire/list_offsets_gen.h"

#define LIST_OFFSETS_READ_COMMITTED 1

/* Kafka's special timestamps, and the version from which each is understood. */
enum list_offsets_special {
	LIST_OFFSETS_LATEST = -1,
	LIST_OFFSETS_EARLIEST = -2,
	LIST_OFFSETS_MAX_TIMESTAMP = -3,
	LIST_OFFSETS_EARLIEST_LOCAL = -4,
	LIST_OFFSETS_LATEST_TIERED = -5,
	LIST_OFFSETS_EARLIEST_PENDING_UPLOAD = -6
};

static const int16_t special_from[] = {
	[-LIST_OFFSETS_LATEST] = 1,        [-LIST_OFFSETS_EARLIEST] = 1,
	[-LIST_OFFSETS_MAX_TIMESTAMP] = 7, [-LIST_OFFSETS_EARLIEST_LOCAL] = 8,
	[-LIST_OFFSETS_LATEST_TIERED] = 9, [-LIST_OFFSETS_EARLIEST_PENDING_UPLOAD] = 11,
};

/* ---- Partitions named twice ---- */

/* Open addressing in the scratch arena, at most half full. */
struct named {
	const struct topic *topic; /* NULL: free */
	int32_t index;
	uint32_t times;
};

struct named_set {
	struct named *slots;
	size_t mask;
};

static struct named *named_find(const struct named_set *set, const struct topic *topic,
                                int32_t index)
{
	const struct {
		const struct topic *topic;
		int64_t index;
	} key = {topic, index};
	size_t i = sl_hash(&key, sizeof(key), 0) & set->mask;

	while (set->slots[i].topic &&
	       (set->slots[i].topic != topic || set->slots[i].index != index))
		i = (i + 1) & set->mask;
	return &set->slots[i];
}

/* Counts how often each partition of a known topic is named.  Return: false: the arena is full. */
static bool named_count(struct ctx *ctx, const struct sl_list_offsets_req *body,
                        struct named_set *set)
{
	size_t partitions = 0;
	size_t slots = 2;

	for (int32_t i = 0; i < body->topics_count; i++)
		partitions += (size_t)body->topics[i].partitions_count;
	while (slots < 2 * partitions)
		slots *= 2;
	set->mask = slots - 1;
	set->slots = sl_arena_alloc_array(&ctx->scratch, slots, sizeof(*set->slots));
	if (!set->slots)
		return false;
	for (int32_t i = 0; i < body->topics_count; i++) {
		const struct sl_list_offsets_req_topic *t = &body->topics[i];
		const struct topic *topic = image_topic(ctx->image, t->name);

		for (int32_t j = 0; topic && j < t->partitions_count; j++) {
			struct named *n = named_find(set, topic, t->partitions[j].partition_index);

			n->topic = topic;
			n->index = t->partitions[j].partition_index;
			n->times++;
		}
	}
	return true;
}

/* ---- One partition ---- */

/* The epoch in which the record at @offset was, or will be, appended. */
static int32_t epoch_at(const struct partition *p, int64_t offset)
{
	int32_t at = sl_log_epoch(p->log);
	int32_t before;
	int64_t end;

	/* In or before the oldest epoch; below, every round finds an older one that the log knows.
	 */
	sl_log_epoch_end(p->log, 0, &before, &end);
	if (end >= 0 && offset < end)
		return before;
	while (at > 0) {
		sl_log_epoch_end(p->log, at - 1, &before, &end);
		if (before < 0 || end <= offset)
			break;
		at = before;
	}
	return at;
}

/* @end: of what the reader may see. */
static enum sl_kerr look_up(struct partition *p, int64_t timestamp, int64_t end,
                            struct sl_list_offsets_resp_topic_partition *out)
{
	int rc = 0;

	switch (timestamp) {
	case LIST_OFFSETS_LATEST:
		out->offset = end;
		out->leader_epoch = p->leader_epoch;
		return SL_KERR_NONE;
	case LIST_OFFSETS_EARLIEST:
	case LIST_OFFSETS_EARLIEST_LOCAL:
		out->offset = sl_log_start(p->log);
		break;
	case LIST_OFFSETS_LATEST_TIERED:
	case LIST_OFFSETS_EARLIEST_PENDING_UPLOAD:
		return SL_KERR_NONE;
	case LIST_OFFSETS_MAX_TIMESTAMP:
		rc = sl_log_max_time(p->log, &out->offset, &out->timestamp);
		/* As Kafka: the log has one largest timestamp, which this reader may not see. */
		if (out->offset >= end)
			out->offset = out->timestamp = -1;
		break;
	default:
		rc = sl_log_offset_for_time(p->log, timestamp, end, &out->offset, &out->timestamp);
		break;
	}
	if (rc != 0) {
		out->offset = out->timestamp = -1;
		return sl_kerr_from_errno(rc);
	}
	if (out->offset >= 0)
		out->leader_epoch = epoch_at(p, out->offset);
	return SL_KERR_NONE;
}

static enum sl_kerr list_partition(struct ctx *ctx, const struct request *req, bool is_committed,
                                   const struct topic *t,
                                   const struct sl_list_offsets_req_topic_partition *in,
                                   struct sl_list_offsets_resp_topic_partition *out)
{
	struct partition *p = NULL;
	enum sl_kerr kerr;

	if (in->timestamp < 0 && (in->timestamp <= -(int64_t)SL_ARRAY_SIZE(special_from) ||
	                          req->head.api_version < special_from[-in->timestamp]))
		return SL_KERR_UNSUPPORTED_VERSION;
	kerr = request_partition(ctx, t, in->partition_index, &p);
	if (kerr == SL_KERR_NONE)
		kerr = request_check_epoch(p, in->current_leader_epoch);
	if (kerr != SL_KERR_NONE)
		return kerr;
	return look_up(p, in->timestamp, is_committed ? p->last_stable : p->high_watermark, out);
}

/* ---- All of them ---- */

static bool list_topic(struct ctx *ctx, const struct request *req, bool is_committed,
                       const struct named_set *set, const struct sl_list_offsets_req_topic *in,
                       struct sl_list_offsets_resp_topic *out)
{
	const struct topic *t = image_topic(ctx->image, in->name);

	out->name = in->name;
	out->partitions_count = in->partitions_count;
	out->partitions = sl_arena_alloc_array(&ctx->scratch, (size_t)in->partitions_count,
	                                       sizeof(*out->partitions));
	if (!out->partitions)
		return false;
	for (int32_t i = 0; i < in->partitions_count; i++) {
		struct sl_list_offsets_resp_topic_partition *p = &out->partitions[i];
		enum sl_kerr kerr = SL_KERR_INVALID_REQUEST;

		sl_list_offsets_resp_topic_partition_init(p);
		p->partition_index = in->partitions[i].partition_index;
		p->timestamp = p->offset = p->leader_epoch = -1;
		if (!t || named_find(set, t, p->partition_index)->times == 1)
			kerr = list_partition(ctx, req, is_committed, t, &in->partitions[i], p);
		p->error_code = (int16_t)kerr;
	}
	return true;
}

enum request_result list_offsets_run(struct ctx *ctx, struct request *req)
{
	struct sl_list_offsets_resp resp;
	struct sl_list_offsets_req body;
	struct named_set set;
	bool is_committed;

	if (!request_decode(ctx, req, &body))
		return REQUEST_CLOSE;
	is_committed = body.isolation_level == LIST_OFFSETS_READ_COMMITTED;
	sl_list_offsets_resp_init(&resp);
	resp.topics = sl_arena_alloc_array(&ctx->scratch, (size_t)body.topics_count,
	                                   sizeof(*resp.topics));
	if (!resp.topics || !named_count(ctx, &body, &set))
		goto full;
	for (int32_t i = 0; i < body.topics_count; i++)
		if (!list_topic(ctx, req, is_committed, &set, &body.topics[i], &resp.topics[i]))
			goto full;
	resp.topics_count = body.topics_count;
	request_reply_begin(ctx, req);
	sl_list_offsets_resp_encode(&resp, &ctx->out, req->head.api_version);
	return request_reply_end(ctx, req, NULL, 0);
full:
	ctx_count(ctx, SL_STAT_closed_malformed, 1);
	return REQUEST_CLOSE;
}
