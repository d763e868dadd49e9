/* SPDX-License-Identifier: Apache-2.0 */
/* DescribeGroups and ListGroups: what groups look like from outside.  Changes nothing. */
#include "consumer.h"

#include <errno.h>

#include "sluice/wire/describe_groups_gen.h"
#include "sluice/wire/list_groups_gen.h"

/* Before this version a group that does not exist is shown as a dead one: KIP-1043. */
#define VERSION_NOT_FOUND 6
/* Bits of Kafka's operations that apply to groups, as it answers without an authorizer: read 3,
 * delete 6, describe 8, describe configs 10, alter configs 11. */
#define OPERATIONS_ALL    (1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11)

static void describe_absent(struct group_coord *c, struct sl_describe_groups_resp_group *to,
                            const struct group *g, int16_t version)
{
	char *text;

	to->group_state = sl_str_from(state_name(GROUP_DEAD));
	if (version < VERSION_NOT_FOUND)
		return;
	to->error_code = SL_KERR_GROUP_ID_NOT_FOUND;
	text = sl_arena_printf(&c->arena,
	                       g ? "Group %.*s is not a classic group." : "Group %.*s not found.",
	                       SL_STR_ARG(to->group_id));
	to->error_message = sl_str_from(text);
}

static int describe_group(struct group_coord *c, const struct group *g,
                          struct sl_describe_groups_resp_group *to)
{
	bool is_stable = g->state == GROUP_STABLE;
	struct sl_list *pos;

	to->group_state = sl_str_from(state_name(g->state));
	if (!sl_str_is_null(g->protocol_type))
		to->protocol_type = g->protocol_type;
	if (is_stable)
		to->protocol_data = g->protocol;
	to->members = sl_arena_alloc_array(&c->arena, g->members_by_id.count, sizeof(*to->members));
	if (!to->members)
		return -ENOMEM;
	sl_list_for_each(pos, &g->members) {
		const struct member *m = sl_list_entry(pos, struct member, link);

		to->members[to->members_count++] = (struct sl_describe_groups_resp_group_member){
			.member_id = m->id,
			.group_instance_id = m->instance_id,
			.client_id = m->client_id,
			.client_host = m->client_host,
			.member_metadata = is_stable ? protocol_metadata(m->protocols, g->protocol)
		                                     : (struct sl_bytes){0},
			.member_assignment = m->assignment,
		};
	}
	return 0;
}

static int describe_one(struct group_coord *c, struct sl_str id, bool has_operations,
                        int16_t version, struct sl_describe_groups_resp_group *to)
{
	enum sl_kerr kerr = state_check_shard(c, id);
	const struct group *g;

	sl_describe_groups_resp_group_init(to);
	to->group_id = id;
	to->error_code = (int16_t)kerr;
	if (kerr != SL_KERR_NONE)
		return 0;
	g = state_find(c, id);
	/* A consumer group is none of those that this request is about: KIP-848. */
	if (!g || g->consumer)
		describe_absent(c, to, g, version);
	else if (describe_group(c, g, to))
		return -ENOMEM;
	if (has_operations && to->error_code == SL_KERR_NONE)
		to->authorized_operations = OPERATIONS_ALL;
	return 0;
}

void describe_handle(struct group_coord *c, const struct request *rq, const void *msg)
{
	const struct sl_describe_groups_req *m = msg;
	struct sl_describe_groups_resp resp;

	sl_describe_groups_resp_init(&resp);
	resp.groups = sl_arena_alloc_array(&c->arena, (size_t)m->groups_count,
	                                   sizeof(*resp.groups));
	for (int32_t i = 0; resp.groups && i < m->groups_count; i++) {
		if (describe_one(c, m->groups[i], m->include_authorized_operations, rq->to.version,
		                 &resp.groups[i]))
			resp.groups = NULL;
	}
	resp.groups_count = m->groups_count;
	if (resp.groups)
		reply_send(c, &rq->to, &resp);
	else
		reply_close(c, &rq->to, COUNT_closed_too_large);
}

static char to_lower(char ch)
{
	return ch >= 'A' && ch <= 'Z' ? (char)(ch - 'A' + 'a') : ch;
}

/* Kafka compares filters without regard to case and to blanks around them. */
static bool has_word(const struct sl_str *filter, int32_t count, const char *text)
{
	int32_t len = (int32_t)strlen(text);

	for (int32_t i = 0; i < count; i++) {
		struct sl_str s = filter[i];
		int32_t at = 0;

		while (s.len > 0 && (unsigned char)s.p[0] <= ' ')
			s = (struct sl_str){s.p + 1, s.len - 1};
		while (s.len > 0 && (unsigned char)s.p[s.len - 1] <= ' ')
			s.len--;
		if (s.len != len)
			continue;
		while (at < len && to_lower(s.p[at]) == to_lower(text[at]))
			at++;
		if (at == len)
			return true;
	}
	return false;
}

static bool is_loading(const struct group_coord *c)
{
	for (int32_t i = 0; i < c->opts.partitions_count; i++) {
		if (c->shards[i].state == SHARD_LOADING)
			return true;
	}
	return false;
}

static bool is_listed_on(const struct group_coord *c, uint32_t lane, const struct group *g)
{
	return g->shard->state == SHARD_ACTIVE &&
	       (!c->opts.is_listed_on || c->opts.is_listed_on(c->opts.ctx, lane, g->id));
}

static void list_groups(const struct group_coord *c, const struct sl_list_groups_req *m,
                        uint32_t lane, struct sl_list_groups_resp *resp)
{
	struct sl_list *pos;

	sl_list_for_each(pos, &c->all_groups) {
		const struct group *g = sl_list_entry(pos, struct group, link);
		const char *type = g->consumer ? "consumer" : "classic";
		const char *state = g->consumer ? consumer_state_name(g) : state_name(g->state);
		struct sl_str protocol_type = g->consumer ? sl_str_from("consumer")
		                                          : g->protocol_type;

		if (!is_listed_on(c, lane, g) ||
		    (m->types_filter_count > 0 &&
		     !has_word(m->types_filter, m->types_filter_count, type)) ||
		    (m->states_filter_count > 0 &&
		     !has_word(m->states_filter, m->states_filter_count, state)))
			continue;
		resp->groups[resp->groups_count++] = (struct sl_list_groups_resp_group){
			.group_id = g->id,
			.protocol_type = sl_str_is_null(protocol_type) ? (struct sl_str){"", 0}
		                                                       : protocol_type,
			.group_state = sl_str_from(state),
			.group_type = sl_str_from(type),
		};
	}
}

void describe_handle_list(struct group_coord *c, const struct request *rq, const void *m)
{
	struct sl_list_groups_resp resp;

	sl_list_groups_resp_init(&resp);
	/* A list that silently lacks groups would be worse than none. */
	if (is_loading(c)) {
		resp.error_code = SL_KERR_COORDINATOR_LOAD_IN_PROGRESS;
		reply_send(c, &rq->to, &resp);
		return;
	}
	resp.groups = sl_arena_alloc_array(&c->arena, c->groups.count, sizeof(*resp.groups));
	if (!resp.groups) {
		reply_close(c, &rq->to, COUNT_closed_too_large);
		return;
	}
	list_groups(c, m, rq->lane, &resp);
	reply_send(c, &rq->to, &resp);
}
