/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of the records of __consumer_offsets, in Kafka's format: keys of types 1 (a committed
 * offset) and 2 (a classic group), values led by their version.
 */
#include "coord.h"

#include <errno.h>

#include "sluice/wire/group_metadata_key_gen.h"
#include "sluice/wire/group_metadata_value_gen.h"
#include "sluice/wire/offset_commit_key_gen.h"
#include "sluice/wire/offset_commit_value_gen.h"

#define GROUP_VALUE_VERSION          3
#define OFFSET_VALUE_VERSION         3
/* The last one that carries a time of expiry, as commits of versions 2-4 may ask for. */
#define OFFSET_VALUE_VERSION_EXPIRES 1

void records_offset_key(struct sl_buf *b, struct sl_str group, struct sl_str topic,
                        int32_t partition)
{
	const struct sl_offset_commit_key key = {group, topic, partition};

	sl_put_i16(b, SL_OFFSET_COMMIT_KEY_TYPE);
	sl_offset_commit_key_encode(&key, b, 0);
}

void records_offset_value(struct sl_buf *b, const struct committed *v)
{
	int16_t version = v->expire_ms >= 0 ? OFFSET_VALUE_VERSION_EXPIRES : OFFSET_VALUE_VERSION;
	struct sl_offset_commit_value value;

	sl_offset_commit_value_init(&value);
	value.offset = v->offset;
	value.leader_epoch = v->leader_epoch;
	value.metadata = (struct sl_str){v->metadata, v->metadata_len};
	value.commit_timestamp = v->commit_ms;
	value.expire_timestamp = v->expire_ms;
	sl_put_i16(b, version);
	sl_offset_commit_value_encode(&value, b, version);
}

void records_group_key(struct sl_buf *b, struct sl_str group)
{
	const struct sl_group_metadata_key key = {group};

	sl_put_i16(b, SL_GROUP_METADATA_KEY_TYPE);
	sl_group_metadata_key_encode(&key, b, 0);
}

static struct sl_group_metadata_value_member describe_member(const struct group *g,
                                                             const struct member *m,
                                                             enum records_form form)
{
	return (struct sl_group_metadata_value_member){
		.member_id = m->id,
		.group_instance_id = m->instance_id,
		.client_id = m->client_id,
		.client_host = m->client_host,
		.rebalance_timeout = m->rebalance_timeout_ms,
		.session_timeout = m->session_timeout_ms,
		.subscription = protocol_metadata(m->protocols, g->protocol),
		.assignment = form == RECORDS_NEXT ? m->assignment_next : m->assignment,
	};
}

int records_group_value(struct group_coord *c, struct sl_buf *b, const struct group *g,
                        enum records_form form)
{
	struct sl_group_metadata_value value;
	struct sl_list *pos;

	sl_group_metadata_value_init(&value);
	value.protocol = SL_STR_NULL;
	value.leader = SL_STR_NULL;
	value.current_state_timestamp = g->state_since_ms;
	if (form != RECORDS_BARE) {
		value.members = sl_arena_alloc_array(&c->arena, g->members_by_id.count,
		                                     sizeof(*value.members));
		if (!value.members)
			return -ENOMEM;
		value.protocol_type = g->protocol_type;
		value.generation = g->generation;
		value.protocol = g->protocol;
		if (g->leader)
			value.leader = g->leader->id;
		sl_list_for_each(pos, &g->members)
			value.members[value.members_count++] =
				describe_member(g, sl_list_entry(pos, struct member, link), form);
	}
	sl_put_i16(b, GROUP_VALUE_VERSION);
	sl_group_metadata_value_encode(&value, b, GROUP_VALUE_VERSION);
	return 0;
}
