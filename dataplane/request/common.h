/* SPDX-License-Identifier: Apache-2.0 */
/* What the handlers of topic data share: decoding, finding a partition, telling who leads it. */
#ifndef DATAPLANE_REQUEST_COMMON_H
#define DATAPLANE_REQUEST_COMMON_H

#include "image.h"
#include "partition/partition.h"
#include "request/request.h"

/* Decodes the whole body into @body, which has the api's req_bytes, with ctx->scratch.  Return:
 * false (counted) when it is malformed, has bytes behind it or does not fit: close. */
bool request_decode(struct ctx *ctx, const struct request *req, void *body) SL_MUST_CHECK;

/**
 * request_partition() - find the partition a request means, if this lane serves it
 * @t: its topic, NULL: unknown
 * @out: set with SL_KERR_NONE only
 *
 * Return: UNKNOWN_TOPIC_OR_PARTITION; NOT_LEADER_OR_FOLLOWER another lane leads it, or nobody;
 * KAFKA_STORAGE_ERROR this lane should, but the log could not be opened.
 */
enum sl_kerr request_partition(const struct ctx *ctx, const struct topic *t, int32_t index,
                               struct partition **out) SL_MUST_CHECK;

/* The client's CurrentLeaderEpoch against ours; -1 is not checked. */
enum sl_kerr request_check_epoch(const struct partition *p, int32_t epoch) SL_MUST_CHECK;

/* NULL: not registered. */
const struct image_node *request_node(const struct image *image, int32_t node_id);

/* 1 to 249 of [a-zA-Z0-9._-], but not "." or "..". */
bool request_is_topic_name(struct sl_str name);

/* The distinct leaders that a response names, for NodeEndpoints (KIP-951).  Zeroed: none yet. */
struct request_leaders {
	const struct image_node **nodes; /* in the scratch arena */
	uint32_t count;
};
/* Leaves it out when the node is unknown or the arena is full: clients then ask Metadata. */
void request_leaders_add(struct ctx *ctx, struct request_leaders *leaders, int32_t node_id);

#endif
