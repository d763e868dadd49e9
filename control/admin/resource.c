/* SPDX-License-Identifier: Apache-2.0 */
/* Config resources. */
#include "resource.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

#include "admin.h"
#include "config.h"
#include "topics.h"

struct resource_key {
	struct sl_uuid topic_id; /* zero for brokers */
	int32_t server_id;
};

static bool refuse(struct resource *res, enum sl_kerr kerr, struct sl_str text)
{
	res->kerr = kerr;
	res->text = text;
	return false;
}

static bool find_topic(struct request *r, struct sl_str name, struct resource *out)
{
	const char *error = topics_name_error(name);

	if (error)
		return refuse(out, SL_KERR_INVALID_TOPIC_EXCEPTION, sl_str_from(error));
	out->topic = meta_topic_by_name(r->c->meta, name);
	if (!out->topic)
		return refuse(out, SL_KERR_UNKNOWN_TOPIC_OR_PARTITION,
		              sl_str_from("This server does not host this topic"));
	return true;
}

static bool find_broker(struct request *r, struct sl_str name, struct resource *out)
{
	char text[16];
	char *end;
	long node;

	out->server_id = META_ALL_SERVERS;
	if (name.len == 0)
		return true;
	if ((size_t)name.len >= sizeof(text))
		return refuse(out, SL_KERR_INVALID_REQUEST,
		              sl_str_from("Broker id must be an integer"));
	memcpy(text, name.p, (size_t)name.len);
	text[name.len] = '\0';
	errno = 0;
	node = strtol(text, &end, 10);
	if (errno || *end || end == text)
		return refuse(out, SL_KERR_INVALID_REQUEST,
		              sl_str_from("Broker id must be an integer"));
	if (node < 0 || node > INT32_MAX || !control_is_own_node(r->c, (int32_t)node))
		return refuse(out, SL_KERR_INVALID_REQUEST,
		              request_printf(r,
		                             "Unexpected broker id %ld: this server has %d to %d",
		                             node, control_node_id(r->c, 0),
		                             control_node_id(r->c, control_lanes_count(r->c) - 1)));
	out->server_id = r->c->server_id;
	return true;
}

bool resource_find(struct request *r, int8_t type, struct sl_str name, struct resource *out)
{
	*out = (struct resource){.text = SL_STR_NULL};
	switch (type) {
	case ADMIN_RESOURCE_TOPIC:
		return find_topic(r, name, out);
	case ADMIN_RESOURCE_BROKER:
		return find_broker(r, name, out);
	default:
		return refuse(out, SL_KERR_INVALID_REQUEST,
		              request_printf(r, "Unsupported resource type %d", type));
	}
}

void resource_edit_begin(struct request *r, struct resource_edit *e, struct resource *resource,
                         int32_t changes_max, bool is_empty)
{
	const struct meta_broker_config *b = meta_broker_config(r->c->meta, resource->server_id);
	const struct meta_topic *t = resource->topic;
	int32_t have = t ? t->rec.configs_count : b->rec.configs_count;

	*e = (struct resource_edit){
		.resource = resource,
		.max = have + changes_max,
		.mod_revision = t ? t->mod_revision : b->mod_revision,
	};
	e->list = request_alloc(r, (size_t)e->max, sizeof(*e->list));
	for (int32_t i = 0; !is_empty && i < have; i++)
		e->list[e->count++] = t ? t->rec.configs[i]
		                        : (struct sl_meta_topic_config){b->rec.configs[i].name,
		                                                        b->rec.configs[i].value};
}

const struct sl_conf_def *resource_edit_def(struct request *r, struct resource_edit *e,
                                            struct sl_str name)
{
	bool is_topic = e->resource->topic != NULL;
	int key = is_topic ? sl_conf_find_topic(name) : sl_conf_find_broker(name);

	if (key < 0) {
		(void)refuse(e->resource, SL_KERR_INVALID_CONFIG,
		             request_printf(r, "Unknown %s config name: %.*s",
		                            is_topic ? "topic" : "broker", SL_STR_ARG(name)));
		return NULL;
	}
	if (is_topic)
		return &sl_conf_topic_defs[key];
	if (sl_conf_broker_defs[key].scope != SL_CONF_DYNAMIC) {
		(void)refuse(e->resource, SL_KERR_INVALID_CONFIG,
		             request_printf(r, "Cannot update these configs dynamically: %.*s",
		                            SL_STR_ARG(name)));
		return NULL;
	}
	return &sl_conf_broker_defs[key];
}

static int32_t place_of(const struct resource_edit *e, struct sl_str name)
{
	for (int32_t i = 0; i < e->count; i++) {
		if (sl_str_eq(e->list[i].name, name))
			return i;
	}
	return -1;
}

struct sl_str resource_edit_get(const struct resource_edit *e, struct sl_str name)
{
	int32_t at = place_of(e, name);

	return at < 0 ? SL_STR_NULL : e->list[at].value;
}

struct sl_str resource_edit_effective(struct request *r, const struct resource_edit *e,
                                      const struct sl_conf_def *def)
{
	struct config_value chain[CONFIG_CHAIN_MAX];
	struct sl_str name = sl_str_from(def->name);
	struct sl_str value = resource_edit_get(e, name);

	if (!sl_str_is_null(value))
		return value;
	if (e->resource->topic)
		(void)config_topic_chain(r->c, NULL,
		                         (enum sl_conf_topic_key)sl_conf_find_topic(name), chain);
	else
		(void)config_broker_chain(r->c, (enum sl_conf_key)sl_conf_find_broker(name), chain);
	return chain[0].value;
}

bool resource_edit_set(struct request *r, struct resource_edit *e, const struct sl_conf_def *def,
                       struct sl_str value)
{
	char error[SL_CONF_ERROR_MAX];
	struct sl_str name = sl_str_from(def->name);
	struct sl_conf_value parsed;
	int32_t at = place_of(e, name);

	if (sl_conf_check(def, value, &parsed, error) < 0)
		return refuse(e->resource, SL_KERR_INVALID_CONFIG, request_printf(r, "%s", error));
	if (at < 0) {
		SL_ASSERT(e->count < e->max);
		at = e->count++;
	}
	e->list[at] = (struct sl_meta_topic_config){name, value};
	return true;
}

void resource_edit_unset(struct resource_edit *e, struct sl_str name)
{
	int32_t at = place_of(e, name);

	if (at >= 0)
		e->list[at] = e->list[--e->count];
}

static void put_server(struct request *r, const struct resource_edit *e, struct meta_txn *txn)
{
	struct sl_meta_broker_config rec = {.server_id = e->resource->server_id,
	                                    .configs_count = e->count};

	rec.configs = request_alloc(r, (size_t)e->count, sizeof(*rec.configs));
	for (int32_t i = 0; i < e->count; i++)
		rec.configs[i] = (struct sl_meta_broker_config_config){e->list[i].name,
		                                                       e->list[i].value};
	meta_txn_put_broker_config(txn, &rec, e->mod_revision);
}

void resource_edit_put(struct request *r, const struct resource_edit *e, struct meta_txn *txn)
{
	struct sl_meta_topic rec;

	if (!e->resource->topic) {
		put_server(r, e, txn);
		return;
	}
	rec = e->resource->topic->rec;
	rec.configs = e->list;
	rec.configs_count = e->count;
	meta_txn_put_topic(txn, &rec, e->mod_revision);
}

bool resource_is_twice(struct request *r, struct sl_map *seen, const struct resource *resource)
{
	struct resource_key *key = request_alloc(r, 1, sizeof(*key));

	key->server_id = resource->server_id;
	if (resource->topic)
		key->topic_id = resource->topic->rec.topic_id;
	return sl_map_put(seen, key, sizeof(*key), key) < 0;
}
