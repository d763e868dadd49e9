/* SPDX-License-Identifier: Apache-2.0 */
/* Topics: lists from the metadata image, changes through the handlers of Kafka's admin requests. */
#include "sluice/base/uuid.h"
#include "sluice/wire/create_topics_gen.h"
#include "sluice/wire/delete_topics_gen.h"

#include "methods.h"
#include "value.h"

#define LIMIT_DEFAULT  1000
#define LIMIT_MAX      5000
#define CREATE_VERSION 7
#define DELETE_VERSION 6
/* How long an answer waits for the data plane to have the change. */
#define WAIT_MS        5000

static json_t *uuid_value(const struct sl_uuid *id)
{
	char text[SL_UUID_TEXT_MAX];

	return json_string(sl_uuid_text(id, text));
}

/* ---- list, describe ---- */

static json_t *list_row(const struct control *c, const struct meta_topic *t)
{
	int32_t count = t->rec.partitions_count, online = 0;
	json_int_t size = 0;
	struct slot_view v;

	for (int32_t i = 0; i < count; i++) {
		if (!partitions_slot(c, &t->rec.topic_id, i, &v))
			continue;
		online += v.state == SL_SLOT_OPEN;
		size += (json_int_t)v.log_bytes;
	}
	return json_pack("{s:o, s:o, s:b, s:i, s:i, s:I, s:i}", "name", value_str(t->rec.name),
	                 "topic_id", uuid_value(&t->rec.topic_id), "internal", (int)t->is_internal,
	                 "partitions", count, "replication_factor",
	                 count > 0 ? t->rec.partitions[0].replica_nodes_count : 0, "size_bytes",
	                 size, "online", online);
}

void rpc_topics_list(struct rpc_call *call)
{
	const struct meta *meta = call->c->meta;
	const char *after = rpc_call_str(call, "after");
	int64_t limit = rpc_call_int(call, "limit", LIMIT_DEFAULT);
	uint32_t i = 0, end = meta_topics_count(meta);
	json_t *list, *next;

	if (limit < 1 || limit > LIMIT_MAX) {
		rpc_call_error(call, RPC_INVALID_PARAMS, "\"limit\" is 1 to %d", LIMIT_MAX);
		return;
	}
	if (after) {
		i = meta_topic_lower_bound(meta, sl_str_from(after));
		if (i < end && sl_str_eq_c(meta_topic_at(meta, i)->rec.name, after))
			i++;
	}
	list = json_array();
	for (; i < end && limit > 0; i++, limit--)
		value_append(&list, list_row(call->c, meta_topic_at(meta, i)));
	next = i < end ? value_str(meta_topic_at(meta, i - 1)->rec.name) : json_null();
	rpc_call_result(call, json_pack("{s:o, s:o}", "topics", list, "next", next));
}

void rpc_topics_describe(struct rpc_call *call)
{
	const struct meta_topic *t = meta_topic_by_name(call->c->meta,
	                                                sl_str_from(rpc_call_str(call, "name")));
	json_t *configs, *partitions;

	if (!t) {
		rpc_call_kerr(call, SL_KERR_UNKNOWN_TOPIC_OR_PARTITION, SL_STR_NULL);
		return;
	}
	configs = json_object();
	partitions = json_array();
	for (int32_t i = 0; i < t->rec.configs_count; i++) {
		char key[128];

		snprintf(key, sizeof(key), "%.*s", SL_STR_ARG(t->rec.configs[i].name));
		value_set(&configs, key, value_str(t->rec.configs[i].value));
	}
	for (int32_t i = 0; i < t->rec.partitions_count; i++)
		value_append(&partitions, partitions_row(call->c, t, i));
	rpc_call_result(call, json_pack("{s:o, s:o, s:b, s:o, s:o}", "name", value_str(t->rec.name),
	                                "topic_id", uuid_value(&t->rec.topic_id), "internal",
	                                (int)t->is_internal, "configs", configs, "partitions",
	                                partitions));
}

/* ---- create ---- */

static void created(struct rpc_call *call, struct sl_cursor *body, struct sl_arena *arena,
                    int16_t version)
{
	struct sl_create_topics_resp resp;
	const struct sl_create_topics_resp_topic *t;

	if (sl_create_topics_resp_decode(&resp, body, arena, version) < 0 ||
	    resp.topics_count != 1) {
		kafka_malformed(call);
		return;
	}
	t = &resp.topics[0];
	if (t->error_code != SL_KERR_NONE) {
		rpc_call_kerr(call, t->error_code, t->error_message);
		return;
	}
	rpc_call_result(call,
	                json_pack("{s:o, s:o, s:i, s:i}", "name", value_str(t->name), "topic_id",
	                          uuid_value(&t->topic_id), "partitions", t->num_partitions,
	                          "replication_factor", t->replication_factor));
}

/* Return: false out of memory. */
static bool copy_configs(struct sl_create_topics_req_topic *topic, json_t *configs,
                         struct sl_arena *arena)
{
	size_t count = json_object_size(configs);
	const char *key;
	json_t *v;

	topic->configs = sl_arena_alloc_array(arena, count, sizeof(*topic->configs));
	if (!topic->configs)
		return false;
	json_object_foreach(configs, key, v)
		topic->configs[topic->configs_count++] = (struct sl_create_topics_req_topic_config){
			.name = sl_str_from(key), .value = sl_str_from(json_string_value(v))};
	return true;
}

void rpc_topics_create(struct rpc_call *call)
{
	int64_t partitions = rpc_call_int(call, "partitions", -1);
	int64_t replicas = rpc_call_int(call, "replication_factor", -1);
	struct sl_create_topics_req req;
	struct sl_create_topics_req_topic topic;
	struct kafka_frame frame;
	struct sl_arena arena;

	if (control_lanes_count(call->c) == 0) {
		rpc_call_error(
			call, RPC_UNAVAILABLE,
			"the data plane was not attached yet, so there is no lane to lead partitions");
		return;
	}
	if (partitions > INT32_MAX || partitions < -1 || replicas > INT16_MAX || replicas < -1) {
		rpc_call_error(call, RPC_INVALID_PARAMS,
		               "partitions or replication_factor out of range");
		return;
	}
	if (sl_arena_create(&arena, RPC_CREATE_SCRATCH) < 0) {
		rpc_call_error(call, RPC_INTERNAL, "out of memory");
		return;
	}
	sl_create_topics_req_init(&req);
	sl_create_topics_req_topic_init(&topic);
	topic.name = sl_str_from(rpc_call_str(call, "name"));
	topic.num_partitions = (int32_t)partitions;
	topic.replication_factor = (int16_t)replicas;
	req.topics = &topic;
	req.topics_count = 1;
	req.timeout_ms = WAIT_MS;
	req.validate_only = rpc_call_bool(call, "validate_only", false);
	if (!copy_configs(&topic, rpc_call_param(call, "configs"), &arena)) {
		rpc_call_error(call, RPC_INTERNAL, "out of memory");
	} else {
		sl_create_topics_req_encode(
			&req, kafka_begin(&frame, SL_API_CREATE_TOPICS, CREATE_VERSION),
			CREATE_VERSION);
		kafka_send(call, &frame, created);
	}
	sl_arena_destroy(&arena);
}

/* ---- delete ---- */

static void deleted(struct rpc_call *call, struct sl_cursor *body, struct sl_arena *arena,
                    int16_t version)
{
	struct sl_delete_topics_resp resp;
	const struct sl_delete_topics_resp_response *r;

	if (sl_delete_topics_resp_decode(&resp, body, arena, version) < 0 ||
	    resp.responses_count != 1) {
		kafka_malformed(call);
		return;
	}
	r = &resp.responses[0];
	if (r->error_code != SL_KERR_NONE)
		rpc_call_kerr(call, r->error_code, r->error_message);
	else
		rpc_call_result(call, json_pack("{s:o, s:o}", "name", value_str(r->name),
		                                "topic_id", uuid_value(&r->topic_id)));
}

void rpc_topics_delete(struct rpc_call *call)
{
	struct sl_delete_topics_req req;
	struct sl_delete_topics_req_topic topic;
	struct kafka_frame frame;

	sl_delete_topics_req_init(&req);
	sl_delete_topics_req_topic_init(&topic);
	topic.name = sl_str_from(rpc_call_str(call, "name"));
	req.topics = &topic;
	req.topics_count = 1;
	req.timeout_ms = WAIT_MS;
	sl_delete_topics_req_encode(&req, kafka_begin(&frame, SL_API_DELETE_TOPICS, DELETE_VERSION),
	                            DELETE_VERSION);
	kafka_send(call, &frame, deleted);
}
