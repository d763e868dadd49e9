/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metadata: nodes, topics and leaders, all from the image; rules of reference §4.1.  Every lane is
 * a node of its own.  A topic that should be created on first use is the control process's matter:
 * it gets the whole request.
 */
#include "request/common.h"
#include "sluice/wire/metadata_gen.h"

#define METADATA_AUTO_CREATE_FROM 4  /* older versions always allow it */
#define METADATA_IDS_FROM         12 /* versions 10 and 11 have the field, but no meaning for it */

/*
 * Bits of AuthorizedOperations, by Kafka's AclOperation: READ 3, WRITE 4, CREATE 5, DELETE 6,
 * ALTER 7, DESCRIBE 8, CLUSTER_ACTION 9, DESCRIBE_CONFIGS 10, ALTER_CONFIGS 11,
 * IDEMPOTENT_WRITE 12.  Without an authorizer everybody may do everything a resource knows.
 */
#define METADATA_TOPIC_OPERATIONS \
	((1 << 3) | (1 << 4) | (1 << 5) | (1 << 6) | (1 << 7) | (1 << 8) | (1 << 10) | (1 << 11))
#define METADATA_CLUSTER_OPERATIONS \
	((1 << 5) | (1 << 7) | (1 << 8) | (1 << 9) | (1 << 10) | (1 << 11) | (1 << 12))

struct metadata {
	struct ctx *ctx;
	int16_t version;
	struct sl_metadata_req body;
	struct sl_metadata_resp resp;
	bool may_forward;   /* to have topics created */
	bool needs_forward; /* one has to be */
};

/* ---- Topics ---- */

static bool fill_partition(struct metadata *run, const struct topic_partition *tp,
                           struct sl_metadata_resp_topic_partition *out)
{
	const struct image *image = run->ctx->image;

	/* The arrays are encoded before the image can change. */
	out->leader_id = tp->leader_id;
	out->leader_epoch = tp->leader_epoch;
	out->replica_nodes = tp->replicas;
	out->replica_nodes_count = (int32_t)tp->replicas_count;
	out->isr_nodes = tp->isr;
	out->isr_nodes_count = (int32_t)tp->isr_count;
	if (tp->leader_id < 0 || !request_node(image, tp->leader_id)) {
		out->leader_id = -1;
		out->error_code = SL_KERR_LEADER_NOT_AVAILABLE;
	}
	for (uint32_t i = 0; i < tp->replicas_count; i++) {
		if (request_node(image, tp->replicas[i]))
			continue;
		if (!out->offline_replicas)
			out->offline_replicas =
				sl_arena_alloc_array(&run->ctx->scratch, tp->replicas_count,
			                             sizeof(*out->offline_replicas));
		if (!out->offline_replicas)
			return false;
		out->offline_replicas[out->offline_replicas_count++] = tp->replicas[i];
	}
	return true;
}

static bool fill_topic(struct metadata *run, const struct topic *t,
                       struct sl_metadata_resp_topic *out)
{
	out->name = (struct sl_str){t->name, (int32_t)t->name_len};
	out->topic_id = t->id;
	out->is_internal = t->is_internal;
	if (run->body.include_topic_authorized_operations)
		out->topic_authorized_operations = METADATA_TOPIC_OPERATIONS;
	out->partitions = sl_arena_alloc_array(&run->ctx->scratch, t->partitions_count,
	                                       sizeof(*out->partitions));
	if (!out->partitions)
		return false;
	out->partitions_count = (int32_t)t->partitions_count;
	for (uint32_t i = 0; i < t->partitions_count; i++) {
		sl_metadata_resp_topic_partition_init(&out->partitions[i]);
		out->partitions[i].partition_index = (int32_t)i;
		if (!fill_partition(run, &t->partitions[i], &out->partitions[i]))
			return false;
	}
	return true;
}

static enum sl_kerr unknown_name(struct metadata *run, struct sl_str name)
{
	const bool is_allowed = run->version < METADATA_AUTO_CREATE_FROM ||
	                        run->body.allow_auto_topic_creation;

	if (!request_is_topic_name(name))
		return SL_KERR_INVALID_TOPIC_EXCEPTION;
	if (is_allowed && run->ctx->image->auto_create_topics && run->may_forward)
		run->needs_forward = true;
	return SL_KERR_UNKNOWN_TOPIC_OR_PARTITION;
}

static bool named_topic(struct metadata *run, const struct sl_metadata_req_topic *in,
                        struct sl_metadata_resp_topic *out)
{
	const bool is_by_id = run->version >= METADATA_IDS_FROM &&
	                      (!sl_uuid_is_zero(&in->topic_id) || sl_str_is_null(in->name));
	const struct topic *t = is_by_id ? image_topic_by_id(run->ctx->image, &in->topic_id)
	                                 : image_topic(run->ctx->image, in->name);

	if (t)
		return fill_topic(run, t, out);
	out->name = is_by_id ? SL_STR_NULL : in->name;
	out->topic_id = in->topic_id;
	out->error_code = (int16_t)(is_by_id ? SL_KERR_UNKNOWN_TOPIC_ID
	                                     : unknown_name(run, in->name));
	return true;
}

static bool alloc_topics(struct metadata *run, size_t count)
{
	struct sl_metadata_resp *resp = &run->resp;

	resp->topics = sl_arena_alloc_array(&run->ctx->scratch, count, sizeof(*resp->topics));
	if (!resp->topics)
		return false;
	resp->topics_count = (int32_t)count;
	for (size_t i = 0; i < count; i++)
		sl_metadata_resp_topic_init(&resp->topics[i]);
	return true;
}

static bool all_topics(struct metadata *run)
{
	const struct sl_map *map = &run->ctx->image->by_name;
	const struct topic *t;
	uint32_t pos = 0;
	uint32_t i = 0;

	if (!alloc_topics(run, map->count))
		return false;
	while ((t = sl_map_next(map, &pos)))
		if (!fill_topic(run, t, &run->resp.topics[i++]))
			return false;
	return true;
}

static bool named_topics(struct metadata *run)
{
	if (!alloc_topics(run, (size_t)run->body.topics_count))
		return false;
	for (int32_t i = 0; i < run->body.topics_count; i++)
		if (!named_topic(run, &run->body.topics[i], &run->resp.topics[i]))
			return false;
	return true;
}

/* ---- The request ---- */

static bool fill_nodes(struct metadata *run)
{
	const struct image *image = run->ctx->image;
	struct sl_metadata_resp *resp = &run->resp;

	resp->brokers = sl_arena_alloc_array(&run->ctx->scratch, image->nodes_count,
	                                     sizeof(*resp->brokers));
	if (!resp->brokers)
		return false;
	resp->brokers_count = (int32_t)image->nodes_count;
	for (uint32_t i = 0; i < image->nodes_count; i++) {
		sl_metadata_resp_broker_init(&resp->brokers[i]);
		resp->brokers[i].node_id = image->nodes[i].node_id;
		resp->brokers[i].host = sl_str_from(image->nodes[i].host);
		resp->brokers[i].port = image->nodes[i].port;
	}
	resp->cluster_id = sl_str_from(image->cluster_id);
	resp->controller_id = image->controller_id;
	if (run->body.include_cluster_authorized_operations)
		resp->cluster_authorized_operations = METADATA_CLUSTER_OPERATIONS;
	return true;
}

/* Versions 10 and 11 cannot ask by id, and nothing below 12 without a name. */
static bool is_invalid(const struct metadata *run)
{
	for (int32_t i = 0; run->version < METADATA_IDS_FROM && i < run->body.topics_count; i++)
		if (sl_str_is_null(run->body.topics[i].name) ||
		    !sl_uuid_is_zero(&run->body.topics[i].topic_id))
			return true;
	return false;
}

/* As Kafka answers an invalid request: every topic with the error, and no nodes. */
static bool refuse(struct metadata *run)
{
	if (!alloc_topics(run, (size_t)run->body.topics_count))
		return false;
	for (int32_t i = 0; i < run->body.topics_count; i++) {
		const struct sl_metadata_req_topic *in = &run->body.topics[i];
		struct sl_metadata_resp_topic *out = &run->resp.topics[i];

		out->error_code = SL_KERR_INVALID_REQUEST;
		out->name = sl_str_is_null(in->name) ? sl_str_from("") : in->name;
		out->topic_id = in->topic_id;
	}
	run->resp.error_code = SL_KERR_INVALID_REQUEST;
	return true;
}

static bool answer(struct metadata *run)
{
	const bool is_all = run->version == 0 ? run->body.topics_count <= 0
	                                      : run->body.topics_count < 0;

	if (is_invalid(run))
		return refuse(run);
	return fill_nodes(run) && (is_all ? all_topics(run) : named_topics(run));
}

enum request_result metadata_run(struct ctx *ctx, struct request *req)
{
	struct metadata run = {.ctx = ctx, .version = req->head.api_version};

	if (!request_decode(ctx, req, &run.body))
		return REQUEST_CLOSE;
	sl_metadata_resp_init(&run.resp);
	/* Without the control process nothing can be created: clients may come back for that, but
	 * must get their leaders now.  So too if it was forwarded and no answer came. */
	run.may_forward = ctx->control && req->state != REQUEST_PARKED_CONTROL;
	if (!answer(&run)) {
		ctx_count(ctx, SL_STAT_closed_malformed, 1);
		return REQUEST_CLOSE;
	}
	if (run.needs_forward)
		return request_forward(ctx, req);
	request_reply_begin(ctx, req);
	sl_metadata_resp_encode(&run.resp, &ctx->out, run.version);
	return request_reply_end(ctx, req, NULL, 0);
}
