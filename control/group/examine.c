/* SPDX-License-Identifier: Apache-2.0 */
/* ConsumerGroupDescribe: what groups of the consumer protocol look like.  Changes nothing. */
#include <errno.h>

#include "sluice/wire/consumer_group_describe_gen.h"

#include "consumer.h"

/* Of Kafka's operations, as in describe.c. */
#define OPERATIONS_ALL (1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11)
#define TYPE_CLASSIC   0
#define TYPE_CONSUMER  1

/* The two assignments of a member have types of their own; they differ in nothing else. */
typedef struct sl_consumer_group_describe_resp_group_member_assignment_topic_partition assigned_tp;
typedef struct sl_consumer_group_describe_resp_group_member_target_assignment_topic_partition
	target_tp;

_Static_assert(sizeof(assigned_tp) == sizeof(target_tp), "one form for both");

/* Topics that are gone have no name any more; the list is short of them. */
static int list_parts(struct group_coord *c, const struct parts *p, assigned_tp **out,
                      int32_t *count)
{
	assigned_tp *list = sl_arena_alloc_array(&c->arena, parts_topics(p) + 1, sizeof(*list));
	uint32_t end;
	int32_t n = 0;

	if (!list)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->count; i = end) {
		struct sl_str name;
		int32_t *numbers;

		end = parts_topic_end(p, i);
		if (!c->opts.topic_name(c->opts.ctx, &p->list[i].topic, &name))
			continue;
		numbers = sl_arena_alloc_array(&c->arena, end - i, sizeof(*numbers));
		if (!numbers)
			return -ENOMEM;
		for (uint32_t k = i; k < end; k++)
			numbers[k - i] = p->list[k].partition;
		list[n++] = (assigned_tp){p->list[i].topic, name, numbers, (int32_t)(end - i)};
	}
	*out = list;
	*count = n;
	return 0;
}

static int list_target(struct group_coord *c, const struct parts *p,
                       struct sl_consumer_group_describe_resp_group_member_target_assignment *out)
{
	assigned_tp *list;

	if (list_parts(c, p, &list, &out->topic_partitions_count))
		return -ENOMEM;
	out->topic_partitions = sl_arena_alloc_array(
		&c->arena, (size_t)out->topic_partitions_count + 1, sizeof(target_tp));
	if (!out->topic_partitions)
		return -ENOMEM;
	for (int32_t i = 0; i < out->topic_partitions_count; i++)
		out->topic_partitions[i] = (target_tp){list[i].topic_id, list[i].topic_name,
		                                       list[i].partitions,
		                                       list[i].partitions_count};
	return 0;
}

static int examine_member(struct group_coord *c, const struct cmember *m,
                          struct sl_consumer_group_describe_resp_group_member *to)
{
	sl_consumer_group_describe_resp_group_member_init(to);
	to->member_id = m->id;
	to->instance_id = m->instance_id;
	to->rack_id = m->rack_id;
	to->member_epoch = m->epoch;
	to->client_id = m->client_id;
	to->client_host = m->client_host;
	to->subscribed_topic_names = m->names;
	to->subscribed_topic_names_count = (int32_t)m->names_count;
	to->subscribed_topic_regex = m->pattern ? m->pattern->text : SL_STR_NULL;
	to->member_type = m->classic ? TYPE_CLASSIC : TYPE_CONSUMER;
	if (list_parts(c, &m->assigned, &to->assignment.topic_partitions,
	               &to->assignment.topic_partitions_count))
		return -ENOMEM;
	return list_target(c, &m->target, &to->target_assignment);
}

static int examine_group(struct group_coord *c, const struct group *g,
                         struct sl_consumer_group_describe_resp_group *to)
{
	const struct cgroup *cg = g->consumer;

	to->group_state = sl_str_from(consumer_state_name(g));
	to->group_epoch = cg->epoch;
	to->assignment_epoch = cg->target_epoch;
	to->assignor_name = sl_str_from(target_assignor(c, cg));
	to->members = sl_arena_alloc_array(&c->arena, (size_t)cg->members_count + 1,
	                                   sizeof(*to->members));
	if (!to->members)
		return -ENOMEM;
	for (uint32_t i = 0; i < cg->members_count; i++) {
		if (examine_member(c, cg->members[i], &to->members[to->members_count++]))
			return -ENOMEM;
	}
	return 0;
}

static int examine_one(struct group_coord *c, struct sl_str id, bool has_operations,
                       struct sl_consumer_group_describe_resp_group *to)
{
	enum sl_kerr kerr = id.len <= 0 ? SL_KERR_INVALID_GROUP_ID : state_check_shard(c, id);
	const struct group *g = NULL;

	sl_consumer_group_describe_resp_group_init(to);
	to->group_id = id;
	if (kerr == SL_KERR_NONE) {
		g = state_find(c, id);
		if (!g || !g->consumer) {
			kerr = SL_KERR_GROUP_ID_NOT_FOUND;
			to->error_message = sl_str_from(sl_arena_printf(
				&c->arena,
				g ? "Group %.*s is not a consumer group." : "Group %.*s not found.",
				SL_STR_ARG(id)));
		}
	}
	to->error_code = (int16_t)kerr;
	if (kerr != SL_KERR_NONE)
		return 0;
	if (has_operations)
		to->authorized_operations = OPERATIONS_ALL;
	return examine_group(c, g, to);
}

void examine_handle(struct group_coord *c, const struct request *rq, const void *msg)
{
	const struct sl_consumer_group_describe_req *m = msg;
	struct sl_consumer_group_describe_resp resp;

	sl_consumer_group_describe_resp_init(&resp);
	resp.groups = sl_arena_alloc_array(&c->arena, (size_t)m->group_ids_count + 1,
	                                   sizeof(*resp.groups));
	for (int32_t i = 0; resp.groups && i < m->group_ids_count; i++) {
		if (examine_one(c, m->group_ids[i], m->include_authorized_operations,
		                &resp.groups[i]))
			resp.groups = NULL;
	}
	resp.groups_count = m->group_ids_count;
	if (resp.groups)
		reply_send(c, &rq->to, &resp);
	else
		reply_close(c, &rq->to, COUNT_closed_too_large);
}
