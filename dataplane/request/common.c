/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the handlers of topic data share.  Reads ctx->image, which stays as it is while a handler
 * runs; owner lane only.
 */
#include "request/common.h"

#define TOPIC_NAME_MAX                                                            \
	249 /* Kafka's: leaves room for "-<partition>" and a suffix in file names \
	     */

bool request_decode(struct ctx *ctx, const struct request *req, void *body)
{
	struct sl_cursor c = sl_cursor_from(req->frame + req->body_pos,
	                                    req->frame_bytes - req->body_pos);

	if (req->api->req_decode(body, &c, &ctx->scratch, req->head.api_version) == 0 &&
	    sl_cursor_is_done(&c))
		return true;
	ctx_count(ctx, SL_STAT_closed_malformed, 1);
	return false;
}

enum sl_kerr request_partition(const struct ctx *ctx, const struct topic *t, int32_t index,
                               struct partition **out)
{
	const struct topic_partition *tp;

	if (!t || index < 0 || (uint32_t)index >= t->partitions_count)
		return SL_KERR_UNKNOWN_TOPIC_OR_PARTITION;
	tp = &t->partitions[index];
	if (tp->leader_id != ctx->node_id)
		return SL_KERR_NOT_LEADER_OR_FOLLOWER;
	if (!tp->partition)
		return SL_KERR_KAFKA_STORAGE_ERROR;
	/* The image may be ahead of, or behind, what was attached to this lane. */
	if (tp->partition->lane != (int32_t)ctx->index || tp->partition->is_closing)
		return SL_KERR_NOT_LEADER_OR_FOLLOWER;
	*out = tp->partition;
	return SL_KERR_NONE;
}

enum sl_kerr request_check_epoch(const struct partition *p, int32_t epoch)
{
	if (epoch == -1 || epoch == p->leader_epoch)
		return SL_KERR_NONE;
	return epoch < p->leader_epoch ? SL_KERR_FENCED_LEADER_EPOCH : SL_KERR_UNKNOWN_LEADER_EPOCH;
}

const struct image_node *request_node(const struct image *image, int32_t node_id)
{
	for (uint32_t i = 0; i < image->nodes_count; i++)
		if (image->nodes[i].node_id == node_id)
			return &image->nodes[i];
	return NULL;
}

bool request_is_topic_name(struct sl_str name)
{
	if (name.len < 1 || name.len > TOPIC_NAME_MAX || sl_str_eq_c(name, ".") ||
	    sl_str_eq_c(name, ".."))
		return false;
	for (int32_t i = 0; i < name.len; i++) {
		const char ch = name.p[i];

		if (!(ch >= 'a' && ch <= 'z') && !(ch >= 'A' && ch <= 'Z') &&
		    !(ch >= '0' && ch <= '9') && ch != '.' && ch != '_' && ch != '-')
			return false;
	}
	return true;
}

void request_leaders_add(struct ctx *ctx, struct request_leaders *leaders, int32_t node_id)
{
	const struct image_node *node = request_node(ctx->image, node_id);

	if (!node)
		return;
	if (!leaders->nodes)
		leaders->nodes = sl_arena_alloc_array(&ctx->scratch, ctx->image->nodes_count,
		                                      sizeof(*leaders->nodes));
	if (!leaders->nodes)
		return;
	for (uint32_t i = 0; i < leaders->count; i++)
		if (leaders->nodes[i] == node)
			return;
	leaders->nodes[leaders->count++] = node;
}
