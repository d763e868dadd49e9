/* SPDX-License-Identifier: Apache-2.0 */
/* Names, limits and placement of topics. */
#include "topics.h"

#include <sys/random.h>

#include "sluice/base/assert.h"
#include "sluice/base/uuid.h"

#define NAME_MAX_LEN 249

static bool is_name_char(char ch)
{
	return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
	       ch == '.' || ch == '_' || ch == '-';
}

const char *topics_name_error(struct sl_str name)
{
	if (name.len <= 0)
		return "Topic name is invalid: the empty string is not allowed";
	if (sl_str_eq_c(name, ".") || sl_str_eq_c(name, ".."))
		return "Topic name is invalid: it must not be \".\" or \"..\"";
	if (name.len > NAME_MAX_LEN)
		return "Topic name is invalid: it is longer than 249 characters";
	for (int32_t i = 0; i < name.len; i++) {
		if (!is_name_char(name.p[i]))
			return "Topic name is invalid: only ASCII letters and digits, '.', '_' and "
			       "'-' are allowed";
	}
	return NULL;
}

uint64_t topics_room(const struct control *c)
{
	uint64_t max = control_lanes_count(c) *
	               (uint64_t)sl_conf_int(c->conf, SL_CK_lane_partitions_max);
	uint64_t used = meta_partitions_count(c->meta);

	return used < max ? max - used : 0;
}

void topics_place_on(struct request *r, struct sl_meta_topic_partition *part, int32_t node_id)
{
	int32_t *node = request_alloc(r, 1, sizeof(*node));

	*node = node_id;
	*part = (struct sl_meta_topic_partition){
		.leader_id = node_id,
		.leader_epoch = 0,
		.replica_nodes = node,
		.replica_nodes_count = 1,
		.isr_nodes = node,
		.isr_nodes_count = 1,
	};
}

void topics_place(struct request *r, struct sl_meta_topic_partition *parts, int32_t count)
{
	uint32_t lanes = control_lanes_count(r->c);
	uint32_t lane = 0;

	SL_ASSERT(lanes > 0);
	/* Topics of one partition must not all meet on lane 0. */
	SL_ASSERT(getrandom(&lane, sizeof(lane), 0) == (ssize_t)sizeof(lane));
	lane %= lanes;
	for (int32_t i = 0; i < count; i++)
		topics_place_on(r, &parts[i], control_node_id(r->c, (lane + (uint32_t)i) % lanes));
}

bool topics_is_state(struct sl_str name)
{
	return sl_str_eq_c(name, TOPICS_OFFSETS_NAME) || sl_str_eq_c(name, TOPICS_TXNS_NAME);
}

static void add_state_configs(struct request *r, struct sl_meta_topic *out)
{
	enum sl_conf_key segment_bytes = sl_str_eq_c(out->name, TOPICS_TXNS_NAME)
	                                         ? SL_CK_transaction_state_log_segment_bytes
	                                         : SL_CK_offsets_topic_segment_bytes;
	struct sl_meta_topic_config *configs = request_alloc(r, 3, sizeof(*configs));

	/* Reference 5.3, "internal topics". */
	configs[0] = (struct sl_meta_topic_config){sl_str_from("cleanup.policy"),
	                                           sl_str_from("compact")};
	configs[1] = (struct sl_meta_topic_config){sl_str_from("compression.type"),
	                                           sl_str_from("producer")};
	configs[2] = (struct sl_meta_topic_config){
		sl_str_from("segment.bytes"),
		request_printf(r, "%lld", (long long)sl_conf_int(r->c->conf, segment_bytes))};
	out->configs = configs;
	out->configs_count = 3;
}

void topics_make(struct request *r, struct sl_meta_topic *out, struct sl_str name,
                 int32_t partitions)
{
	*out = (struct sl_meta_topic){.name = name, .partitions_count = partitions};
	do {
		sl_uuid_random(&out->topic_id);
	} while (meta_topic_by_id(r->c->meta, &out->topic_id));
	out->partitions = request_alloc(r, (size_t)partitions, sizeof(*out->partitions));
	topics_place(r, out->partitions, partitions);
	if (topics_is_state(name))
		add_state_configs(r, out);
}

void topics_make_state(struct request *r, struct sl_meta_topic *out, struct sl_str name)
{
	enum sl_conf_key partitions = sl_str_eq_c(name, TOPICS_TXNS_NAME)
	                                      ? SL_CK_transaction_state_log_num_partitions
	                                      : SL_CK_offsets_topic_num_partitions;

	topics_make(r, out, name, (int32_t)sl_conf_int(r->c->conf, partitions));
}
