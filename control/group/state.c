/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups: finding, making and dropping them, and the one place where their state changes.
 * A group belongs to one shard, and is in the coordinator's map and list as long as it lives.
 */
#include "consumer.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

/* A group's join and sync deadlines. */
#define GROUP_DEADLINES 2u

const char *state_name(enum group_state state)
{
	static const char *const names[] = {
#define GROUP_STATE_NAME(name, text) [GROUP_##name] = text,
		GROUP_STATES(GROUP_STATE_NAME)
#undef GROUP_STATE_NAME
	};

	SL_ASSERT(state < GROUP_STATE_NR);
	return names[state];
}

struct shard *state_shard(struct group_coord *c, struct sl_str group_id)
{
	return &c->shards[sl_java_partition(group_id, c->opts.partitions_count)];
}

enum sl_kerr state_check_shard(struct group_coord *c, struct sl_str group_id)
{
	enum sl_kerr kerr = shard_error(state_shard(c, group_id)->state);

	if (kerr != SL_KERR_NONE)
		coord_count(c, COUNT_refused_not_loaded);
	return kerr;
}

struct group *state_find(const struct group_coord *c, struct sl_str group_id)
{
	return sl_map_get(&c->groups, group_id.p, (size_t)group_id.len);
}

int state_create(struct group_coord *c, struct sl_str group_id, struct group **out)
{
	struct shard *shard = state_shard(c, group_id);
	struct group *g;

	if (c->groups.count >= LIMIT_GROUPS)
		return -ENOSPC;
	g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->shard = shard;
	g->protocol_type = SL_STR_NULL;
	g->protocol = SL_STR_NULL;
	g->state_before = GROUP_DEAD;
	g->state_since_ms = c->wall_ms;
	g->sync_generation = -1;
	g->join_deadline.kind = DEADLINE_JOIN;
	g->sync_deadline.kind = DEADLINE_SYNC;
	sl_list_init(&g->members);
	sl_list_init(&g->pendings);
	sl_list_init(&g->ghosts);
	if (text_dup(&g->id, group_id))
		goto err_free;
	if (deadline_reserve(&c->heap, GROUP_DEADLINES))
		goto err_free_id;
	if (sl_map_put(&c->groups, g->id.p, (size_t)g->id.len, g))
		goto err_unreserve;
	sl_list_push_back(&c->all_groups, &g->link);
	sl_list_push_back(&shard->groups, &g->shard_link);
	*out = g;
	return 0;

err_unreserve:
	deadline_unreserve(&c->heap, GROUP_DEADLINES);
err_free_id:
	text_free(&g->id);
err_free:
	free(g);
	return -ENOMEM;
}

void state_destroy(struct group_coord *c, struct group *g)
{
	struct sl_list *pos;
	struct sl_list *tmp;

	g->state = GROUP_DEAD;
	consumer_destroy(c, g, SL_KERR_NOT_COORDINATOR);
	consumer_lay_ghosts(g, 0);
	sl_list_for_each_safe(pos, tmp, &g->members)
		member_remove(c, sl_list_entry(pos, struct member, link));
	sl_list_for_each_safe(pos, tmp, &g->pendings)
		member_remove_pending(c, sl_list_entry(pos, struct pending, link));
	SL_ASSERT(g->join_waiting == 0 && g->sync_due == 0 && g->votes.count == 0);
	protocol_unsubscribe(g);
	offsets_clear(g);
	deadline_disarm(&c->heap, &g->join_deadline);
	deadline_disarm(&c->heap, &g->sync_deadline);
	deadline_unreserve(&c->heap, GROUP_DEADLINES);
	sl_map_del(&c->groups, g->id.p, (size_t)g->id.len);
	sl_list_del(&g->link);
	sl_list_del(&g->shard_link);
	sl_map_fini(&g->members_by_id);
	sl_map_fini(&g->members_by_instance);
	sl_map_fini(&g->pendings_by_id);
	sl_map_fini(&g->votes);
	text_free(&g->protocol_type);
	text_free(&g->protocol);
	text_free(&g->id);
	free(g);
}

void state_forget_unused(struct group_coord *c, struct group *g)
{
	if (g->state == GROUP_EMPTY && !g->consumer && !g->is_in_log && g->in_flight == 0 &&
	    g->offsets.count == 0 && g->pendings_by_id.count == 0)
		state_destroy(c, g);
}

bool state_can_rebalance(const struct group *g)
{
	return g->state == GROUP_EMPTY || g->state == GROUP_COMPLETING || g->state == GROUP_STABLE;
}

void state_set(struct group_coord *c, struct group *g, enum group_state to)
{
	static const bool allowed[GROUP_STATE_NR][GROUP_STATE_NR] = {
		[GROUP_EMPTY] = {[GROUP_PREPARING] = true},
		[GROUP_PREPARING] = {[GROUP_COMPLETING] = true, [GROUP_EMPTY] = true},
		[GROUP_COMPLETING] = {[GROUP_PREPARING] = true, [GROUP_STABLE] = true},
		[GROUP_STABLE] = {[GROUP_PREPARING] = true},
	};

	SL_ASSERT(allowed[g->state][to]);
	g->state_before = g->state;
	g->state = to;
	g->state_since_ms = c->wall_ms;
	if (to == GROUP_PREPARING)
		coord_count(c, COUNT_rebalances);
	if (to == GROUP_STABLE)
		coord_count(c, COUNT_rebalances_completed);
}
