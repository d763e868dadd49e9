/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OffsetFetch.  Offsets that are on the log are visible, others are not.  A client that asks for
 * stable ones is told to come back for those that an open transaction may change (KIP-447).
 */
#include "consumer.h"

#include <errno.h>

#include "sluice/wire/offset_fetch_gen.h"

#define VERSION_TOP_LEVEL_ERROR 2
#define VERSION_GROUPS          8
#define VERSION_TOPIC_IDS       10

static void set_absent(struct sl_offset_fetch_resp_group_topic_partition *p, int32_t index,
                       enum sl_kerr kerr)
{
	sl_offset_fetch_resp_group_topic_partition_init(p);
	p->partition_index = index;
	p->committed_offset = -1;
	p->committed_leader_epoch = -1;
	p->metadata = (struct sl_str){"", 0};
	p->error_code = (int16_t)kerr;
}

static void set_committed(struct sl_offset_fetch_resp_group_topic_partition *p, int32_t index,
                          const struct committed *v)
{
	sl_offset_fetch_resp_group_topic_partition_init(p);
	p->partition_index = index;
	p->committed_offset = v->offset;
	p->committed_leader_epoch = v->leader_epoch;
	p->metadata = (struct sl_str){v->metadata, v->metadata_len};
}

/* What is asked for. */
struct wish {
	int16_t version;
	bool is_stable; /* not what a transaction may change */
};

static void fill_one(struct sl_offset_fetch_resp_group_topic_partition *p, int32_t index,
                     const struct offset *o, const struct wish *wish)
{
	if (o && wish->is_stable && pending_has_offset(o))
		set_absent(p, index, SL_KERR_UNSTABLE_OFFSET_COMMIT);
	else if (o && o->committed)
		set_committed(p, index, o->committed);
	else
		set_absent(p, index, SL_KERR_NONE);
}

static int fetch_topic(struct group_coord *c, const struct group *g, const struct wish *wish,
                       const struct sl_offset_fetch_req_group_topic *from,
                       struct sl_offset_fetch_resp_group_topic *to)
{
	enum sl_kerr kerr = SL_KERR_NONE;
	struct sl_str name = from->name;

	if (wish->version >= VERSION_TOPIC_IDS &&
	    !c->opts.topic_name(c->opts.ctx, &from->topic_id, &name))
		kerr = SL_KERR_UNKNOWN_TOPIC_ID;
	*to = (struct sl_offset_fetch_resp_group_topic){.name = from->name,
	                                                .topic_id = from->topic_id};
	to->partitions_count = from->partition_indexes_count;
	to->partitions = sl_arena_alloc_array(&c->arena, (size_t)to->partitions_count,
	                                      sizeof(*to->partitions));
	if (!to->partitions)
		return -ENOMEM;
	for (int32_t i = 0; i < to->partitions_count; i++) {
		int32_t index = from->partition_indexes[i];
		const struct offset *o = g && kerr == SL_KERR_NONE ? offsets_find(g, name, index)
		                                                   : NULL;

		if (kerr != SL_KERR_NONE)
			set_absent(&to->partitions[i], index, kerr);
		else
			fill_one(&to->partitions[i], index, o, wish);
	}
	return 0;
}

/* Topics without an id cannot be named in versions that know ids only; they are left out. */
static bool start_topic(struct group_coord *c, int16_t version, struct sl_str name,
                        struct sl_offset_fetch_resp_group_topic *to)
{
	*to = (struct sl_offset_fetch_resp_group_topic){.name = name};
	return version < VERSION_TOPIC_IDS || c->opts.topic_id(c->opts.ctx, name, &to->topic_id);
}

static int fetch_all(struct group_coord *c, const struct group *g, const struct wish *wish,
                     struct sl_offset_fetch_resp_group *to)
{
	struct sl_offset_fetch_resp_group_topic_partition *partitions;
	struct sl_offset_fetch_resp_group_topic *topic = NULL;
	struct offset **list;
	uint32_t count = 0;
	bool is_named = false;

	if (!g)
		return 0;
	if (offsets_sorted(c, g, OFFSETS_COMMITTED, &list, &count))
		return -ENOMEM;
	partitions = sl_arena_alloc_array(&c->arena, count, sizeof(*partitions));
	/* As many topics as offsets at most; sized by them to spare a second pass. */
	to->topics = sl_arena_alloc_array(&c->arena, count, sizeof(*to->topics));
	if (!partitions || !to->topics)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		struct sl_str name = offsets_topic(list[i]);

		if (!topic || !sl_str_eq(topic->name, name)) {
			topic = &to->topics[to->topics_count];
			is_named = start_topic(c, wish->version, name, topic);
			topic->partitions = &partitions[i];
			to->topics_count += is_named;
		}
		fill_one(&partitions[i], list[i]->partition, list[i], wish);
		topic->partitions_count++;
	}
	return 0;
}

static int fetch_group(struct group_coord *c, const struct wish *wish,
                       const struct sl_offset_fetch_req_group *from,
                       struct sl_offset_fetch_resp_group *to)
{
	enum sl_kerr kerr = state_check_shard(c, from->group_id);
	const struct group *g = state_find(c, from->group_id);
	const struct wish planted = {wish->version, false};

	if (kerr == SL_KERR_NONE && g && g->consumer)
		kerr = consumer_check_fetch(g, from->member_id, from->member_epoch);
	if (PLANTED(fetch_unstable) && g && g->consumer)
		wish = &planted;
	sl_offset_fetch_resp_group_init(to);
	to->group_id = from->group_id;
	to->error_code = (int16_t)kerr;
	if (kerr != SL_KERR_NONE)
		return 0;
	if (from->topics_count < 0)
		return fetch_all(c, g, wish, to);
	to->topics = sl_arena_alloc_array(&c->arena, (size_t)from->topics_count,
	                                  sizeof(*to->topics));
	if (!to->topics)
		return -ENOMEM;
	to->topics_count = from->topics_count;
	for (int32_t i = 0; i < from->topics_count; i++) {
		if (fetch_topic(c, g, wish, &from->topics[i], &to->topics[i]))
			return -ENOMEM;
	}
	return 0;
}

/* Versions before 8 ask for one group at the top level. */
static int one_group(struct group_coord *c, const struct sl_offset_fetch_req *m,
                     struct sl_offset_fetch_req_group *out)
{
	sl_offset_fetch_req_group_init(out);
	out->group_id = m->group_id;
	out->topics_count = m->topics_count;
	if (m->topics_count <= 0)
		return 0;
	out->topics = sl_arena_alloc_array(&c->arena, (size_t)m->topics_count,
	                                   sizeof(*out->topics));
	if (!out->topics)
		return -ENOMEM;
	for (int32_t i = 0; i < m->topics_count; i++) {
		out->topics[i].name = m->topics[i].name;
		out->topics[i].partition_indexes = m->topics[i].partition_indexes;
		out->topics[i].partition_indexes_count = m->topics[i].partition_indexes_count;
	}
	return 0;
}

/* Version 1 has no error but those of partitions. */
static int spread_error(struct group_coord *c, const struct wish *wish,
                        const struct sl_offset_fetch_req_group *from,
                        struct sl_offset_fetch_resp_group *to)
{
	to->topics = sl_arena_alloc_array(&c->arena, (size_t)from->topics_count,
	                                  sizeof(*to->topics));
	if (!to->topics)
		return -ENOMEM;
	to->topics_count = from->topics_count;
	for (int32_t i = 0; i < from->topics_count; i++) {
		if (fetch_topic(c, NULL, wish, &from->topics[i], &to->topics[i]))
			return -ENOMEM;
		for (int32_t k = 0; k < to->topics[i].partitions_count; k++)
			to->topics[i].partitions[k].error_code = to->error_code;
	}
	return 0;
}

static int flatten_topic(struct group_coord *c, const struct sl_offset_fetch_resp_group_topic *from,
                         struct sl_offset_fetch_resp_topic *to)
{
	to->name = from->name;
	to->partitions_count = from->partitions_count;
	to->partitions = sl_arena_alloc_array(&c->arena, (size_t)from->partitions_count,
	                                      sizeof(*to->partitions));
	if (!to->partitions)
		return -ENOMEM;
	for (int32_t i = 0; i < from->partitions_count; i++)
		to->partitions[i] = (struct sl_offset_fetch_resp_topic_partition){
			.partition_index = from->partitions[i].partition_index,
			.committed_offset = from->partitions[i].committed_offset,
			.committed_leader_epoch = from->partitions[i].committed_leader_epoch,
			.metadata = from->partitions[i].metadata,
			.error_code = from->partitions[i].error_code,
		};
	return 0;
}

static int fetch_one(struct group_coord *c, const struct wish *wish,
                     const struct sl_offset_fetch_req *m, struct sl_offset_fetch_resp *resp)
{
	struct sl_offset_fetch_resp_group to;
	struct sl_offset_fetch_req_group from;

	if (one_group(c, m, &from) || fetch_group(c, wish, &from, &to))
		return -ENOMEM;
	if (wish->version < VERSION_TOP_LEVEL_ERROR && to.error_code != SL_KERR_NONE &&
	    spread_error(c, wish, &from, &to))
		return -ENOMEM;
	resp->error_code = to.error_code;
	resp->topics = sl_arena_alloc_array(&c->arena, (size_t)to.topics_count,
	                                    sizeof(*resp->topics));
	if (!resp->topics)
		return -ENOMEM;
	resp->topics_count = to.topics_count;
	for (int32_t i = 0; i < to.topics_count; i++) {
		if (flatten_topic(c, &to.topics[i], &resp->topics[i]))
			return -ENOMEM;
	}
	return 0;
}

static int fetch_groups(struct group_coord *c, const struct wish *wish,
                        const struct sl_offset_fetch_req *m, struct sl_offset_fetch_resp *resp)
{
	resp->groups = sl_arena_alloc_array(&c->arena, (size_t)m->groups_count,
	                                    sizeof(*resp->groups));
	if (!resp->groups)
		return -ENOMEM;
	resp->groups_count = m->groups_count;
	for (int32_t i = 0; i < m->groups_count; i++) {
		if (fetch_group(c, wish, &m->groups[i], &resp->groups[i]))
			return -ENOMEM;
	}
	return 0;
}

void fetch_handle(struct group_coord *c, const struct request *rq, const void *msg)
{
	const struct sl_offset_fetch_req *m = msg;
	const struct wish wish = {rq->to.version, m->require_stable};
	struct sl_offset_fetch_resp resp;
	int err;

	sl_offset_fetch_resp_init(&resp);
	if (wish.version >= VERSION_GROUPS)
		err = fetch_groups(c, &wish, m, &resp);
	else
		err = fetch_one(c, &wish, m, &resp);
	if (err)
		reply_close(c, &rq->to, COUNT_closed_too_large);
	else
		reply_send(c, &rq->to, &resp);
}
