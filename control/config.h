/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which value of a configuration counts: a topic's or a group's own, the server's or the cluster's
 * dynamic broker config, the configuration file, the default, in this order.
 *
 * Kafka keeps dynamic broker configs per broker.  Every lane is a Kafka broker, but the lanes of a
 * server share one configuration, so what is set through any lane's node id is set for the server.
 */
#ifndef CONTROL_CONFIG_H
#define CONTROL_CONFIG_H

#include "control.h"

/* Kafka's numbers (DescribeConfigs, "config source"). */
enum config_source {
	CONFIG_SOURCE_TOPIC = 1,
	CONFIG_SOURCE_DYNAMIC_BROKER = 2,
	CONFIG_SOURCE_DYNAMIC_DEFAULT = 3,
	CONFIG_SOURCE_STATIC = 4,
	CONFIG_SOURCE_DEFAULT = 5,
	CONFIG_SOURCE_GROUP = 8,
};

#define CONFIG_CHAIN_MAX 5

/* One place that has a value.  Strings live as long as the metadata image does not change. */
struct config_value {
	struct sl_str name;
	struct sl_str value;
	enum config_source source;
};

/**
 * config_topic_chain() - every place that has a value for a topic's config
 * @overrides: configs of the topic record, may be none
 * @out: most specific first; out[0] counts
 * Return: how many, at least 1.
 */
uint32_t config_topic_chain(const struct control *c, const struct sl_meta_topic *topic,
                            enum sl_conf_topic_key key, struct config_value out[CONFIG_CHAIN_MAX]);
uint32_t config_broker_chain(const struct control *c, enum sl_conf_key key,
                             struct config_value out[CONFIG_CHAIN_MAX]);
/* Only what is set cluster-wide and dynamically.  Return: false when it is not. */
bool config_dynamic_default(const struct control *c, enum sl_conf_key key,
                            struct config_value *out);

/* @own: what the group has set, may be none. */
uint32_t config_group_chain(const struct control *c, const struct sl_meta_group_config *own,
                            enum sl_conf_group_key key, struct config_value out[CONFIG_CHAIN_MAX]);
/* The broker keys that a group's value must lie between. */
void config_group_bounds(enum sl_conf_group_key key, enum sl_conf_key *min, enum sl_conf_key *max);
/* The value that the group's members are held to: within the bounds, whoever set it. */
int64_t config_group_int(const struct control *c, struct sl_str group_id,
                         enum sl_conf_group_key key);

/* Effective values of a broker key. */
int64_t config_broker_int(const struct control *c, enum sl_conf_key key);
bool config_broker_bool(const struct control *c, enum sl_conf_key key);

/* Kafka's number for the type of a value (DescribeConfigs, "config type"). */
int8_t config_type(const struct sl_conf_def *def);

#endif
