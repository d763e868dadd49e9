/* SPDX-License-Identifier: Apache-2.0 */
/* ListConfigResources: what DescribeConfigs can be asked about.  Source: KIP-1142. */
#include "sluice/wire/list_config_resources_gen.h"

#include "admin.h"

static bool is_wanted(const struct sl_list_config_resources_req *req, int8_t type)
{
	for (int32_t i = 0; i < req->resource_types_count; i++) {
		if (req->resource_types[i] == type)
			return true;
	}
	return req->resource_types_count == 0;
}

static bool is_known(int8_t type)
{
	return type == ADMIN_RESOURCE_TOPIC || type == ADMIN_RESOURCE_BROKER ||
	       type == ADMIN_RESOURCE_CLIENT_METRICS || type == ADMIN_RESOURCE_GROUP;
}

static void add(struct sl_list_config_resources_resp *resp, int8_t type, struct sl_str name)
{
	resp->config_resources[resp->config_resources_count++] =
		(struct sl_list_config_resources_resp_config_resource){name, type};
}

static void add_groups(const struct control *c, struct sl_list_config_resources_resp *resp)
{
	const struct meta_group_config *g;
	uint32_t pos = 0;

	while ((g = meta_group_config_next(c->meta, &pos)) != NULL)
		add(resp, ADMIN_RESOURCE_GROUP, g->rec.group_id);
}

enum request_result admin_list_config_resources(struct control *c, struct request *r)
{
	uint32_t topics = meta_topics_count(c->meta);
	uint32_t lanes = control_lanes_count(c);
	uint32_t groups = meta_group_configs_count(c->meta);
	/* Version 0 asks for client metrics subscriptions, and there are none. */
	bool has_types = r->wire.api_version >= 1;
	struct sl_list_config_resources_req req;
	struct sl_list_config_resources_resp resp;

	if (!request_decode(r, &req))
		return REQUEST_CLOSE;
	sl_list_config_resources_resp_init(&resp);
	for (int32_t i = 0; has_types && i < req.resource_types_count; i++) {
		if (!is_known(req.resource_types[i]))
			resp.error_code = SL_KERR_UNSUPPORTED_VERSION;
	}
	resp.config_resources = request_alloc(r, topics + lanes + groups,
	                                      sizeof(*resp.config_resources));
	if (has_types && resp.error_code == SL_KERR_NONE && is_wanted(&req, ADMIN_RESOURCE_TOPIC)) {
		for (uint32_t i = 0; i < topics; i++)
			add(&resp, ADMIN_RESOURCE_TOPIC, meta_topic_at(c->meta, i)->rec.name);
	}
	if (has_types && resp.error_code == SL_KERR_NONE &&
	    is_wanted(&req, ADMIN_RESOURCE_BROKER)) {
		for (uint32_t i = 0; i < lanes; i++)
			add(&resp, ADMIN_RESOURCE_BROKER,
			    request_printf(r, "%d", control_node_id(c, i)));
	}
	if (has_types && resp.error_code == SL_KERR_NONE && is_wanted(&req, ADMIN_RESOURCE_GROUP))
		add_groups(c, &resp);
	sl_list_config_resources_resp_encode(&resp, request_answer(r), r->wire.api_version);
	return REQUEST_DONE;
}
