/* SPDX-License-Identifier: Apache-2.0 */
/* Precedence of configurations.  Reads the metadata image and the static configuration. */
#include "config.h"

#include "sluice/base/assert.h"

#define TYPE_BOOLEAN 1
#define TYPE_STRING  2
#define TYPE_INT     3
#define TYPE_LONG    5
#define TYPE_DOUBLE  6
#define TYPE_LIST    7

static bool find(const struct sl_meta_broker_config *rec, struct sl_str name, struct sl_str *value)
{
	for (int32_t i = 0; i < rec->configs_count; i++) {
		if (sl_str_eq(rec->configs[i].name, name)) {
			*value = rec->configs[i].value;
			return true;
		}
	}
	return false;
}

static void add(struct config_value *out, uint32_t *count, struct sl_str name, struct sl_str value,
                enum config_source source)
{
	SL_ASSERT(*count < CONFIG_CHAIN_MAX);
	out[(*count)++] = (struct config_value){name, value, source};
}

/* The broker's part of the chain, from *count on. */
static void add_broker(const struct control *c, enum sl_conf_key key, struct config_value *out,
                       uint32_t *count)
{
	const struct sl_conf_def *def = &sl_conf_broker_defs[key];
	struct sl_str name = sl_str_from(def->name);
	struct sl_str value;

	if (def->scope == SL_CONF_DYNAMIC) {
		if (find(&meta_broker_config(c->meta, c->server_id)->rec, name, &value))
			add(out, count, name, value, CONFIG_SOURCE_DYNAMIC_BROKER);
		if (find(&meta_broker_config(c->meta, META_ALL_SERVERS)->rec, name, &value))
			add(out, count, name, value, CONFIG_SOURCE_DYNAMIC_DEFAULT);
	}
	if (c->conf->v[key].is_set)
		add(out, count, name, sl_str_from(sl_conf_str(c->conf, key)), CONFIG_SOURCE_STATIC);
	add(out, count, name, sl_str_from(def->def), CONFIG_SOURCE_DEFAULT);
}

uint32_t config_topic_chain(const struct control *c, const struct sl_meta_topic *topic,
                            enum sl_conf_topic_key key, struct config_value out[CONFIG_CHAIN_MAX])
{
	const struct sl_conf_def *def = &sl_conf_topic_defs[key];
	struct sl_str name = sl_str_from(def->name);
	uint32_t count = 0;
	int broker;

	for (int32_t i = 0; topic && i < topic->configs_count; i++) {
		if (sl_str_eq(topic->configs[i].name, name))
			add(out, &count, name, topic->configs[i].value, CONFIG_SOURCE_TOPIC);
	}
	broker = def->synonym[0] ? sl_conf_find_broker(sl_str_from(def->synonym)) : -1;
	if (broker >= 0)
		add_broker(c, (enum sl_conf_key)broker, out, &count);
	else
		add(out, &count, name, sl_str_from(def->def), CONFIG_SOURCE_DEFAULT);
	return count;
}

uint32_t config_group_chain(const struct control *c, const struct sl_meta_group_config *own,
                            enum sl_conf_group_key key, struct config_value out[CONFIG_CHAIN_MAX])
{
	const struct sl_conf_def *def = &sl_conf_group_defs[key];
	struct sl_str name = sl_str_from(def->name);
	uint32_t count = 0;

	for (int32_t i = 0; own && i < own->configs_count; i++) {
		if (sl_str_eq(own->configs[i].name, name))
			add(out, &count, name, own->configs[i].value, CONFIG_SOURCE_GROUP);
	}
	add_broker(c, (enum sl_conf_key)sl_conf_find_broker(sl_str_from(def->synonym)), out,
	           &count);
	return count;
}

void config_group_bounds(enum sl_conf_group_key key, enum sl_conf_key *min, enum sl_conf_key *max)
{
	static const enum sl_conf_key bounds[SL_CG_NR][2] = {
		[SL_CG_consumer_session_timeout_ms] = {SL_CK_group_consumer_min_session_timeout_ms,
	                                               SL_CK_group_consumer_max_session_timeout_ms},
		[SL_CG_consumer_heartbeat_interval_ms] =
			{SL_CK_group_consumer_min_heartbeat_interval_ms,
	                 SL_CK_group_consumer_max_heartbeat_interval_ms},
	};

	*min = bounds[key][0];
	*max = bounds[key][1];
}

int64_t config_group_int(const struct control *c, struct sl_str group_id,
                         enum sl_conf_group_key key)
{
	const struct sl_conf_def *def = &sl_conf_group_defs[key];
	const struct sl_meta_group_config *own = &meta_group_config(c->meta, group_id)->rec;
	struct config_value chain[CONFIG_CHAIN_MAX];
	char error[SL_CONF_ERROR_MAX];
	struct sl_conf_value v = {0};
	enum sl_conf_key min;
	enum sl_conf_key max;

	(void)config_group_chain(c, own, key, chain);
	/* It was checked when it was set. */
	(void)SL_COUNT_IF(sl_conf_check(def, chain[0].value, &v, error) < 0);
	config_group_bounds(key, &min, &max);
	v.i = SL_MAX(v.i, sl_conf_int(c->conf, min));
	return SL_MIN(v.i, sl_conf_int(c->conf, max));
}

uint32_t config_broker_chain(const struct control *c, enum sl_conf_key key,
                             struct config_value out[CONFIG_CHAIN_MAX])
{
	uint32_t count = 0;

	add_broker(c, key, out, &count);
	return count;
}

bool config_dynamic_default(const struct control *c, enum sl_conf_key key, struct config_value *out)
{
	out->name = sl_str_from(sl_conf_broker_defs[key].name);
	out->source = CONFIG_SOURCE_DYNAMIC_DEFAULT;
	return find(&meta_broker_config(c->meta, META_ALL_SERVERS)->rec, out->name, &out->value);
}

/* Every value was checked when it was set. */
static int64_t parsed(const struct control *c, enum sl_conf_key key)
{
	struct config_value chain[CONFIG_CHAIN_MAX];
	char error[SL_CONF_ERROR_MAX];
	struct sl_conf_value v = {0};

	(void)config_broker_chain(c, key, chain);
	if (SL_COUNT_IF(sl_conf_check(&sl_conf_broker_defs[key], chain[0].value, &v, error) < 0))
		return c->conf->v[key].i;
	return v.i;
}

int64_t config_broker_int(const struct control *c, enum sl_conf_key key)
{
	SL_ASSERT(sl_conf_broker_defs[key].type == SL_CONF_INT);
	return parsed(c, key);
}

bool config_broker_bool(const struct control *c, enum sl_conf_key key)
{
	SL_ASSERT(sl_conf_broker_defs[key].type == SL_CONF_BOOL);
	return parsed(c, key) != 0;
}

int8_t config_type(const struct sl_conf_def *def)
{
	switch (def->type) {
	case SL_CONF_BOOL:
		return TYPE_BOOLEAN;
	case SL_CONF_INT:
		return def->max <= INT32_MAX ? TYPE_INT : TYPE_LONG;
	case SL_CONF_DOUBLE:
		return TYPE_DOUBLE;
	case SL_CONF_LIST:
		return TYPE_LIST;
	default:
		return TYPE_STRING;
	}
}
