/* SPDX-License-Identifier: Apache-2.0 */
/* Config resources. */
#include "resource.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

#include "admin.h"
#include "config.h"
#include "group/limits.h"
#include "topics.h"

/* A group's id follows, so that its key is longer than those of the others. */
struct resource_key {
	struct sl_uuid topic_id; /* zero for brokers and groups */
	int32_t server_id;
	char group_id[];
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

/* As in Kafka the group need not exist yet: its configs may come first. */
static bool find_group(struct request *r, struct sl_str name, struct resource *out)
{
	if (name.len <= 0)
		return refuse(out, SL_KERR_INVALID_REQUEST,
		              sl_str_from("Default group resources are not allowed."));
	if (name.len > LIMIT_GROUP_ID_BYTES)
		return refuse(out, SL_KERR_INVALID_REQUEST,
		              request_printf(r, "A group id has at most %d bytes",
		                             LIMIT_GROUP_ID_BYTES));
	out->group = name;
	return true;
}

bool resource_find(struct request *r, int8_t type, struct sl_str name, struct resource *out)
{
	*out = (struct resource){.text = SL_STR_NULL, .group = SL_STR_NULL};
	switch (type) {
	case ADMIN_RESOURCE_TOPIC:
		return find_topic(r, name, out);
	case ADMIN_RESOURCE_BROKER:
		return find_broker(r, name, out);
	case ADMIN_RESOURCE_GROUP:
		return find_group(r, name, out);
	default:
		return refuse(out, SL_KERR_INVALID_REQUEST,
		              request_printf(r, "Unsupported resource type %d", type));
	}
}

static void begin_topic(struct resource_edit *e, const struct meta_topic *t)
{
	e->mod_revision = t->mod_revision;
	for (int32_t i = 0; i < t->rec.configs_count; i++)
		e->list[e->count++] = t->rec.configs[i];
}

static void begin_group(struct resource_edit *e, const struct meta_group_config *g)
{
	e->mod_revision = g->mod_revision;
	for (int32_t i = 0; i < g->rec.configs_count; i++)
		e->list[e->count++] = (struct sl_meta_topic_config){g->rec.configs[i].name,
		                                                    g->rec.configs[i].value};
}

static void begin_server(struct resource_edit *e, const struct meta_broker_config *b)
{
	e->mod_revision = b->mod_revision;
	for (int32_t i = 0; i < b->rec.configs_count; i++)
		e->list[e->count++] = (struct sl_meta_topic_config){b->rec.configs[i].name,
		                                                    b->rec.configs[i].value};
}

void resource_edit_begin(struct request *r, struct resource_edit *e, struct resource *resource,
                         int32_t changes_max, bool is_empty)
{
	const struct meta_broker_config *b = meta_broker_config(r->c->meta, resource->server_id);
	const struct meta_group_config *g = meta_group_config(r->c->meta, resource->group);
	const struct meta_topic *t = resource->topic;
	bool is_group = !sl_str_is_null(resource->group);
	int32_t have = t          ? t->rec.configs_count
	               : is_group ? g->rec.configs_count
	                          : b->rec.configs_count;

	*e = (struct resource_edit){.resource = resource, .max = have + changes_max};
	e->list = request_alloc(r, (size_t)e->max, sizeof(*e->list));
	if (t)
		begin_topic(e, t);
	else if (is_group)
		begin_group(e, g);
	else
		begin_server(e, b);
	if (is_empty)
		e->count = 0;
}

static const struct sl_conf_def *find_def(const struct resource *resource, struct sl_str name)
{
	int key = resource->topic                    ? sl_conf_find_topic(name)
	          : !sl_str_is_null(resource->group) ? sl_conf_find_group(name)
	                                             : sl_conf_find_broker(name);

	if (key < 0)
		return NULL;
	if (resource->topic)
		return &sl_conf_topic_defs[key];
	return sl_str_is_null(resource->group) ? &sl_conf_broker_defs[key]
	                                       : &sl_conf_group_defs[key];
}

const struct sl_conf_def *resource_edit_def(struct request *r, struct resource_edit *e,
                                            struct sl_str name)
{
	const struct sl_conf_def *def = find_def(e->resource, name);
	const char *kind = e->resource->topic                    ? "topic"
	                   : !sl_str_is_null(e->resource->group) ? "group"
	                                                         : "broker";

	if (!def) {
		(void)refuse(e->resource, SL_KERR_INVALID_CONFIG,
		             request_printf(r, "Unknown %s config name: %.*s", kind,
		                            SL_STR_ARG(name)));
		return NULL;
	}
	if (def->scope == SL_CONF_STATIC) {
		(void)refuse(e->resource, SL_KERR_INVALID_CONFIG,
		             request_printf(r, "Cannot update these configs dynamically: %.*s",
		                            SL_STR_ARG(name)));
		return NULL;
	}
	return def;
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
	else if (!sl_str_is_null(e->resource->group))
		(void)config_group_chain(r->c, NULL,
		                         (enum sl_conf_group_key)sl_conf_find_group(name), chain);
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

/* The group's value with the edit; false: refused, it is not within the server's bounds. */
static bool group_value(struct request *r, struct resource_edit *e, enum sl_conf_group_key key,
                        int64_t *out)
{
	const struct sl_conf_def *def = &sl_conf_group_defs[key];
	bool is_set = !sl_str_is_null(resource_edit_get(e, sl_str_from(def->name)));
	char error[SL_CONF_ERROR_MAX];
	struct sl_conf_value v = {0};
	enum sl_conf_key min;
	enum sl_conf_key max;

	if (sl_conf_check(def, resource_edit_effective(r, e, def), &v, error) < 0)
		return refuse(e->resource, SL_KERR_INVALID_CONFIG, request_printf(r, "%s", error));
	config_group_bounds(key, &min, &max);
	if (is_set && v.i < sl_conf_int(r->c->conf, min))
		return refuse(e->resource, SL_KERR_INVALID_CONFIG,
		              request_printf(r, "%s must be greater than or equal to %s", def->name,
		                             sl_conf_broker_defs[min].name));
	if (is_set && v.i > sl_conf_int(r->c->conf, max))
		return refuse(e->resource, SL_KERR_INVALID_CONFIG,
		              request_printf(r, "%s must be less than or equal to %s", def->name,
		                             sl_conf_broker_defs[max].name));
	v.i = SL_MAX(v.i, sl_conf_int(r->c->conf, min));
	*out = SL_MIN(v.i, sl_conf_int(r->c->conf, max));
	return true;
}

static bool check_group(struct request *r, struct resource_edit *e)
{
	bool is_new = meta_group_config(r->c->meta, e->resource->group)->mod_revision == 0;
	int64_t session_ms;
	int64_t heartbeat_ms;

	if (is_new && e->count > 0 && meta_group_configs_count(r->c->meta) >= META_GROUPS_MAX)
		return refuse(e->resource, SL_KERR_POLICY_VIOLATION,
		              request_printf(r, "No more than %u groups may have configs",
		                             META_GROUPS_MAX));
	if (!group_value(r, e, SL_CG_consumer_session_timeout_ms, &session_ms) ||
	    !group_value(r, e, SL_CG_consumer_heartbeat_interval_ms, &heartbeat_ms))
		return false;
	if (session_ms > heartbeat_ms)
		return true;
	return refuse(
		e->resource, SL_KERR_INVALID_CONFIG,
		request_printf(r, "%s must be greater than %s",
	                       sl_conf_group_defs[SL_CG_consumer_session_timeout_ms].name,
	                       sl_conf_group_defs[SL_CG_consumer_heartbeat_interval_ms].name));
}

bool resource_edit_check(struct request *r, struct resource_edit *e)
{
	return sl_str_is_null(e->resource->group) || check_group(r, e);
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

static void put_group(struct request *r, const struct resource_edit *e, struct meta_txn *txn)
{
	struct sl_meta_group_config rec = {.group_id = e->resource->group,
	                                   .configs_count = e->count};

	rec.configs = request_alloc(r, (size_t)e->count, sizeof(*rec.configs));
	for (int32_t i = 0; i < e->count; i++)
		rec.configs[i] = (struct sl_meta_group_config_config){e->list[i].name,
		                                                      e->list[i].value};
	meta_txn_put_group_config(txn, &rec, e->mod_revision);
}

void resource_edit_put(struct request *r, const struct resource_edit *e, struct meta_txn *txn)
{
	struct sl_meta_topic rec;

	if (!sl_str_is_null(e->resource->group)) {
		put_group(r, e, txn);
		return;
	}
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
	size_t extra = (size_t)SL_MAX(resource->group.len, 0);
	struct resource_key *key = request_alloc(r, 1, sizeof(*key) + extra);

	key->server_id = resource->server_id;
	if (resource->topic)
		key->topic_id = resource->topic->rec.topic_id;
	if (extra > 0)
		memcpy(key->group_id, resource->group.p, extra);
	return sl_map_put(seen, key, sizeof(*key) + extra, key) < 0;
}
