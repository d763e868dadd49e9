/* SPDX-License-Identifier: Apache-2.0 */
/* DescribeConfigs: topics, groups and brokers, with sources and synonyms.  Source: reference 5.3.
 */
#include "sluice/wire/describe_configs_gen.h"

#include <errno.h>
#include <stdlib.h>

#include "admin.h"
#include "config.h"
#include "resource.h"
#include "topics.h"

struct description {
	struct sl_describe_configs_req req;
	struct sl_describe_configs_resp resp;
};

/* Whether the client wants this config: no list, or an empty one, means all. */
static bool is_wanted(const struct sl_describe_configs_req_resource *q, struct sl_str name)
{
	if (q->configuration_keys_count <= 0)
		return true;
	for (int32_t i = 0; i < q->configuration_keys_count; i++) {
		if (sl_str_eq(q->configuration_keys[i], name))
			return true;
	}
	return false;
}

static void add_config(struct request *r, const struct description *d,
                       const struct sl_conf_def *def, const struct config_value *chain,
                       uint32_t count, struct sl_describe_configs_resp_result *res)
{
	struct sl_describe_configs_resp_result_config *out = &res->configs[res->configs_count++];

	sl_describe_configs_resp_result_config_init(out);
	out->name = sl_str_from(def->name);
	out->value = chain[0].value;
	out->config_source = (int8_t)chain[0].source;
	out->read_only = def->scope == SL_CONF_STATIC;
	out->config_type = config_type(def);
	out->documentation = d->req.include_documentation ? sl_str_from(def->text) : SL_STR_NULL;
	if (!d->req.include_synonyms)
		return;
	out->synonyms = request_alloc(r, count, sizeof(*out->synonyms));
	out->synonyms_count = (int32_t)count;
	for (uint32_t i = 0; i < count; i++)
		out->synonyms[i] = (struct sl_describe_configs_resp_result_config_synonym){
			.name = chain[i].name,
			.value = chain[i].value,
			.source = (int8_t)chain[i].source,
		};
}

static void describe_topic(struct request *r, const struct description *d,
                           const struct sl_describe_configs_req_resource *q,
                           const struct meta_topic *t, struct sl_describe_configs_resp_result *res)
{
	res->configs = request_alloc(r, SL_CT_NR, sizeof(*res->configs));
	for (int key = 0; key < SL_CT_NR; key++) {
		const struct sl_conf_def *def = &sl_conf_topic_defs[key];
		struct config_value chain[CONFIG_CHAIN_MAX];

		if (is_wanted(q, sl_str_from(def->name)))
			add_config(r, d, def, chain,
			           config_topic_chain(r->c, &t->rec, (enum sl_conf_topic_key)key,
			                              chain),
			           res);
	}
}

static void describe_group(struct request *r, const struct description *d,
                           const struct sl_describe_configs_req_resource *q, struct sl_str group,
                           struct sl_describe_configs_resp_result *res)
{
	const struct meta_group_config *own = meta_group_config(r->c->meta, group);

	res->configs = request_alloc(r, SL_CG_NR, sizeof(*res->configs));
	for (int key = 0; key < SL_CG_NR; key++) {
		const struct sl_conf_def *def = &sl_conf_group_defs[key];
		struct config_value chain[CONFIG_CHAIN_MAX];

		if (is_wanted(q, sl_str_from(def->name)))
			add_config(r, d, def, chain,
			           config_group_chain(r->c, &own->rec, (enum sl_conf_group_key)key,
			                              chain),
			           res);
	}
}

static void describe_server(struct request *r, const struct description *d,
                            const struct sl_describe_configs_req_resource *q,
                            struct sl_describe_configs_resp_result *res)
{
	res->configs = request_alloc(r, SL_CK_NR, sizeof(*res->configs));
	for (int key = 0; key < SL_CK_NR; key++) {
		const struct sl_conf_def *def = &sl_conf_broker_defs[key];
		struct config_value chain[CONFIG_CHAIN_MAX];

		if (is_wanted(q, sl_str_from(def->name)))
			add_config(r, d, def, chain,
			           config_broker_chain(r->c, (enum sl_conf_key)key, chain), res);
	}
}

/* The empty broker name: only what is set cluster-wide. */
static void describe_defaults(struct request *r, const struct description *d,
                              const struct sl_describe_configs_req_resource *q,
                              struct sl_describe_configs_resp_result *res)
{
	res->configs = request_alloc(r, SL_CK_NR, sizeof(*res->configs));
	for (int key = 0; key < SL_CK_NR; key++) {
		const struct sl_conf_def *def = &sl_conf_broker_defs[key];
		struct config_value value;

		if (is_wanted(q, sl_str_from(def->name)) &&
		    config_dynamic_default(r->c, (enum sl_conf_key)key, &value))
			add_config(r, d, def, &value, 1, res);
	}
}

static void describe(struct request *r, const struct description *d,
                     const struct sl_describe_configs_req_resource *q,
                     struct sl_describe_configs_resp_result *res)
{
	struct resource resource;

	res->resource_type = q->resource_type;
	res->resource_name = q->resource_name;
	if (!resource_find(r, q->resource_type, q->resource_name, &resource)) {
		res->error_code = (int16_t)resource.kerr;
		res->error_message = resource.text;
		return;
	}
	res->error_message = SL_STR_NULL;
	if (resource.topic)
		describe_topic(r, d, q, resource.topic, res);
	else if (!sl_str_is_null(resource.group))
		describe_group(r, d, q, resource.group, res);
	else if (resource.server_id == META_ALL_SERVERS)
		describe_defaults(r, d, q, res);
	else
		describe_server(r, d, q, res);
}

/* Scratch memory that one described resource takes at most. */
#define RESOURCE_BYTES                                            \
	(SL_MAX((size_t)SL_CK_NR, (size_t)SL_CT_NR) *             \
	 (sizeof(struct sl_describe_configs_resp_result_config) + \
	  CONFIG_CHAIN_MAX * sizeof(struct sl_describe_configs_resp_result_config_synonym) + 16))

enum request_result admin_describe_configs(struct control *c, struct request *r)
{
	struct description *d = request_alloc(r, 1, sizeof(*d));

	(void)c;
	if (!request_decode(r, &d->req))
		return REQUEST_CLOSE;
	if (!request_has_room(r, (size_t)d->req.resources_count * sizeof(*d->resp.results)))
		return REQUEST_CLOSE;
	sl_describe_configs_resp_init(&d->resp);
	d->resp.results_count = d->req.resources_count;
	d->resp.results = request_alloc(r, (size_t)d->resp.results_count, sizeof(*d->resp.results));
	for (int32_t i = 0; i < d->req.resources_count; i++) {
		if (!request_has_room(r, RESOURCE_BYTES))
			return REQUEST_CLOSE;
		sl_describe_configs_resp_result_init(&d->resp.results[i]);
		describe(r, d, &d->req.resources[i], &d->resp.results[i]);
	}
	sl_describe_configs_resp_encode(&d->resp, request_answer(r), r->wire.api_version);
	return REQUEST_DONE;
}
