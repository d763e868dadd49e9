/* SPDX-License-Identifier: Apache-2.0 */
/* Configs of topics and groups, through DescribeConfigs and IncrementalAlterConfigs. */
#include "sluice/wire/describe_configs_gen.h"
#include "sluice/wire/incremental_alter_configs_gen.h"

#include "methods.h"
#include "value.h"

#define DESCRIBE_VERSION 4
#define ALTER_VERSION    1
/* Kafka's numbers of the resource types, and its operations. */
#define RESOURCE_TOPIC   2
#define RESOURCE_GROUP   32
#define OP_SET           0
#define OP_DELETE        1

/* Kafka's names (ConfigEntry.ConfigSource) for its numbers. */
static const char *source_name(int8_t source)
{
	static const char *const names[] = {"UNKNOWN",
	                                    "DYNAMIC_TOPIC_CONFIG",
	                                    "DYNAMIC_BROKER_CONFIG",
	                                    "DYNAMIC_DEFAULT_BROKER_CONFIG",
	                                    "STATIC_BROKER_CONFIG",
	                                    "DEFAULT_CONFIG",
	                                    "DYNAMIC_BROKER_LOGGER_CONFIG",
	                                    "DYNAMIC_CLIENT_METRICS_CONFIG",
	                                    "DYNAMIC_GROUP_CONFIG"};

	return source > 0 && (size_t)source < SL_ARRAY_SIZE(names) ? names[source] : names[0];
}

static void described(struct rpc_call *call, struct sl_cursor *body, struct sl_arena *arena,
                      int16_t version)
{
	struct sl_describe_configs_resp resp;
	const struct sl_describe_configs_resp_result *r;
	json_t *list;

	if (sl_describe_configs_resp_decode(&resp, body, arena, version) < 0 ||
	    resp.results_count != 1) {
		kafka_malformed(call);
		return;
	}
	r = &resp.results[0];
	if (r->error_code != SL_KERR_NONE) {
		rpc_call_kerr(call, r->error_code, r->error_message);
		return;
	}
	list = json_array();
	for (int32_t i = 0; i < r->configs_count; i++)
		value_append(&list, json_pack("{s:o, s:o, s:s, s:b}", "name",
		                              value_str(r->configs[i].name), "value",
		                              value_str(r->configs[i].value), "source",
		                              source_name(r->configs[i].config_source), "read_only",
		                              (int)r->configs[i].read_only));
	rpc_call_result(call, json_pack("{s:o, s:o}", "name", value_str(r->resource_name),
	                                "configs", list));
}

static void get(struct rpc_call *call, int8_t type, const char *name)
{
	const char *only = rpc_call_str(call, "config");
	struct sl_str key = sl_str_from(only);
	struct sl_describe_configs_req req;
	struct sl_describe_configs_req_resource resource;
	struct kafka_frame frame;

	sl_describe_configs_req_init(&req);
	sl_describe_configs_req_resource_init(&resource);
	resource.resource_type = type;
	resource.resource_name = sl_str_from(name);
	/* Kafka's null array means all. */
	resource.configuration_keys = only ? &key : NULL;
	resource.configuration_keys_count = only ? 1 : -1;
	req.resources = &resource;
	req.resources_count = 1;
	sl_describe_configs_req_encode(
		&req, kafka_begin(&frame, SL_API_DESCRIBE_CONFIGS, DESCRIBE_VERSION),
		DESCRIBE_VERSION);
	kafka_send(call, &frame, described);
}

void rpc_configs_get(struct rpc_call *call)
{
	get(call, RESOURCE_TOPIC, rpc_call_str(call, "name"));
}

void rpc_group_configs_get(struct rpc_call *call)
{
	get(call, RESOURCE_GROUP, rpc_call_str(call, "group"));
}

static void altered(struct rpc_call *call, struct sl_cursor *body, struct sl_arena *arena,
                    int16_t version)
{
	struct sl_incremental_alter_configs_resp resp;
	const struct sl_incremental_alter_configs_resp_response *r;

	if (sl_incremental_alter_configs_resp_decode(&resp, body, arena, version) < 0 ||
	    resp.responses_count != 1) {
		kafka_malformed(call);
		return;
	}
	r = &resp.responses[0];
	if (r->error_code != SL_KERR_NONE)
		rpc_call_kerr(call, r->error_code, r->error_message);
	else
		rpc_call_result(call, json_pack("{s:o}", "name", value_str(r->resource_name)));
}

/* The changes that the parameters ask for.  Return: how many; -1 out of memory. */
static int32_t read_changes(const struct rpc_call *call, struct sl_arena *arena,
                            struct sl_incremental_alter_configs_req_resource *resource)
{
	json_t *set = rpc_call_param(call, "set"), *del = rpc_call_param(call, "delete");
	size_t count = json_object_size(set) + json_array_size(del);
	struct sl_incremental_alter_configs_req_resource_config *out;
	const char *key;
	size_t index;
	json_t *v;

	resource->configs = sl_arena_alloc_array(arena, count, sizeof(*resource->configs));
	if (!resource->configs)
		return -1;
	out = resource->configs;
	json_object_foreach(set, key, v)
		*out++ = (struct sl_incremental_alter_configs_req_resource_config){
			.name = sl_str_from(key),
			.config_operation = OP_SET,
			.value = sl_str_from(json_string_value(v))};
	json_array_foreach(del, index, v)
		*out++ = (struct sl_incremental_alter_configs_req_resource_config){
			.name = sl_str_from(json_string_value(v)),
			.config_operation = OP_DELETE,
			.value = SL_STR_NULL};
	resource->configs_count = (int32_t)count;
	return resource->configs_count;
}

static void set(struct rpc_call *call, int8_t type, const char *name)
{
	struct sl_incremental_alter_configs_req req;
	struct sl_incremental_alter_configs_req_resource resource;
	struct kafka_frame frame;
	struct sl_arena arena;
	int32_t count;

	if (sl_arena_create(&arena, RPC_CREATE_SCRATCH) < 0) {
		rpc_call_error(call, RPC_INTERNAL, "out of memory");
		return;
	}
	sl_incremental_alter_configs_req_init(&req);
	sl_incremental_alter_configs_req_resource_init(&resource);
	resource.resource_type = type;
	resource.resource_name = sl_str_from(name);
	req.resources = &resource;
	req.resources_count = 1;
	req.validate_only = rpc_call_bool(call, "validate_only", false);
	count = read_changes(call, &arena, &resource);
	if (count < 0) {
		rpc_call_error(call, RPC_INTERNAL, "out of memory");
	} else if (count == 0) {
		rpc_call_error(call, RPC_INVALID_PARAMS, "give \"set\" or \"delete\"");
	} else {
		sl_incremental_alter_configs_req_encode(
			&req, kafka_begin(&frame, SL_API_INCREMENTAL_ALTER_CONFIGS, ALTER_VERSION),
			ALTER_VERSION);
		kafka_send(call, &frame, altered);
	}
	sl_arena_destroy(&arena);
}

void rpc_configs_set(struct rpc_call *call)
{
	set(call, RESOURCE_TOPIC, rpc_call_str(call, "name"));
}

void rpc_group_configs_set(struct rpc_call *call)
{
	set(call, RESOURCE_GROUP, rpc_call_str(call, "group"));
}
