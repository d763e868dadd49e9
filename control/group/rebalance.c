/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rebalances: what follows when members come, go or stay away.
 *
 *   Empty ──join──► PreparingRebalance ──all joined, or time is up──► CompletingRebalance
 *     ▲                  ▲     │ nobody left                             │ assignment on the log
 *     └──────────────────┼─────┘                                         ▼
 *                        └─── join, leave, expiry ──────────────────── Stable
 *
 * The functions that may write the group's record return the op of it, so that a leaving member can
 * be answered when that record is on the log; the group may be gone when they return.
 */
#include "coord.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

static bool has_all_joined(const struct group *g)
{
	return g->join_waiting == g->members_by_id.count && g->pendings_by_id.count == 0;
}

static int64_t rebalance_timeout_ms(const struct group *g)
{
	struct sl_list *pos;
	int64_t max = 0;

	sl_list_for_each(pos, &g->members) {
		const struct member *m = sl_list_entry(pos, struct member, link);

		max = SL_MAX(max, (int64_t)m->rebalance_timeout_ms);
	}
	return max;
}

void rebalance_clear_assignments(struct group *g)
{
	struct sl_list *pos;

	sl_list_for_each(pos, &g->members) {
		struct member *m = sl_list_entry(pos, struct member, link);

		text_free_bytes(&m->assignment);
		text_free_bytes(&m->assignment_next);
	}
}

void rebalance_propagate(struct group_coord *c, struct group *g, enum sl_kerr kerr)
{
	struct sl_list *pos;

	SL_ASSERT(g->state == GROUP_COMPLETING);
	sl_list_for_each(pos, &g->members) {
		struct member *m = sl_list_entry(pos, struct member, link);

		if (!m->sync)
			continue;
		member_answer_sync(c, m, kerr);
		member_arm_session(c, m);
	}
}

/* An empty group's record.  NULL: no memory, the log keeps the group's former state. */
static struct op *store_empty(struct group_coord *c, struct group *g)
{
	struct op *op = append_op_create(OP_PLAIN);
	struct append_writer w;

	if (!op) {
		coord_count(c, COUNT_refused_no_memory);
		return NULL;
	}
	append_begin(&w, c, g->shard, op);
	append_group(&w, g, RECORDS_CURRENT);
	append_end(&w);
	return op;
}

static void drop_not_rejoined(struct group_coord *c, struct group *g)
{
	struct sl_list *pos;
	struct sl_list *tmp;

	sl_list_for_each_safe(pos, tmp, &g->members) {
		struct member *m = sl_list_entry(pos, struct member, link);

		/* Static members keep their place until their session ends. */
		if (m->join || !sl_str_is_null(m->instance_id))
			continue;
		coord_count(c, COUNT_members_not_rejoined);
		member_remove(c, m);
	}
}

/* The leader stays if it joined; else the oldest member that did.  False: nobody did. */
static bool elect_leader(struct group *g)
{
	struct sl_list *pos;

	if (!g->leader)
		return false;
	if (g->leader->join)
		return true;
	sl_list_for_each(pos, &g->members) {
		struct member *m = sl_list_entry(pos, struct member, link);

		if (m->join) {
			g->leader = m;
			return true;
		}
	}
	return false;
}

void rebalance_fill_answer(struct group_coord *c, const struct member *m,
                           struct sl_join_group_resp *resp)
{
	const struct group *g = m->group;
	struct sl_list *pos;

	sl_join_group_resp_init(resp);
	resp->generation_id = g->generation;
	resp->protocol_type = g->protocol_type;
	resp->protocol_name = g->protocol;
	resp->leader = g->leader->id;
	resp->member_id = m->id;
	if (g->leader != m)
		return;
	resp->members = sl_arena_alloc_array(&c->arena, g->members_by_id.count,
	                                     sizeof(*resp->members));
	if (!resp->members) {
		reply_join_fill(resp, SL_KERR_COORDINATOR_NOT_AVAILABLE, m->id);
		return;
	}
	sl_list_for_each(pos, &g->members) {
		const struct member *other = sl_list_entry(pos, struct member, link);

		resp->members[resp->members_count++] = (struct sl_join_group_resp_member){
			.member_id = other->id,
			.group_instance_id = other->instance_id,
			.metadata = protocol_metadata(other->protocols, g->protocol),
		};
	}
}

static void answer_joins(struct group_coord *c, struct group *g)
{
	struct sl_join_group_resp resp;
	struct sl_list *pos;

	sl_list_for_each(pos, &g->members) {
		struct member *m = sl_list_entry(pos, struct member, link);

		if (m->join) {
			rebalance_fill_answer(c, m, &resp);
			member_answer_join(c, m, &resp);
		}
		member_arm_session(c, m);
		m->is_new = false;
		member_set_sync_due(m, true);
	}
	deadline_arm(&c->heap, &g->sync_deadline, c->now_ms + rebalance_timeout_ms(g));
}

static int next_generation(struct group *g)
{
	struct sl_str protocol = SL_STR_NULL;

	if (!sl_list_is_empty(&g->members) && text_dup(&protocol, protocol_select(g)))
		return -ENOMEM;
	text_free(&g->protocol);
	g->protocol = protocol;
	g->generation = g->generation == INT32_MAX ? 0 : g->generation + 1;
	return 0;
}

static struct op *complete(struct group_coord *c, struct group *g)
{
	deadline_disarm(&c->heap, &g->join_deadline);
	g->is_initial_delay = false;
	drop_not_rejoined(c, g);
	if ((!elect_leader(g) && !sl_list_is_empty(&g->members)) || next_generation(g)) {
		/* Only static members that stay away, or no memory: another round of waiting. */
		deadline_arm(&c->heap, &g->join_deadline, c->now_ms + rebalance_timeout_ms(g));
		return NULL;
	}
	protocol_subscribe(c, g);
	if (sl_list_is_empty(&g->members)) {
		state_set(c, g, GROUP_EMPTY);
		return store_empty(c, g);
	}
	state_set(c, g, GROUP_COMPLETING);
	answer_joins(c, g);
	return NULL;
}

struct op *rebalance_prepare(struct group_coord *c, struct group *g)
{
	bool is_initial = g->state == GROUP_EMPTY;

	SL_ASSERT(state_can_rebalance(g));
	if (g->state == GROUP_COMPLETING) {
		rebalance_clear_assignments(g);
		rebalance_propagate(c, g, SL_KERR_REBALANCE_IN_PROGRESS);
	}
	deadline_disarm(&c->heap, &g->sync_deadline);
	state_set(c, g, GROUP_PREPARING);
	if (is_initial) {
		/* More members are likely to come soon; one rebalance for all of them. */
		g->is_initial_delay = true;
		g->is_member_added = false;
		g->join_delay_ms = c->opts.initial_rebalance_delay_ms;
		g->join_rest_ms = SL_MAX(rebalance_timeout_ms(g) - g->join_delay_ms, 0);
		deadline_arm(&c->heap, &g->join_deadline, c->now_ms + g->join_delay_ms);
		return NULL;
	}
	if (has_all_joined(g))
		return complete(c, g);
	deadline_arm(&c->heap, &g->join_deadline, c->now_ms + rebalance_timeout_ms(g));
	return NULL;
}

struct op *rebalance_try_complete(struct group_coord *c, struct group *g)
{
	/* The initial delay always runs its time. */
	if (g->state != GROUP_PREPARING || g->state_before == GROUP_EMPTY || !has_all_joined(g))
		return NULL;
	return complete(c, g);
}

struct op *rebalance_start(struct group_coord *c, struct group *g)
{
	return state_can_rebalance(g) ? rebalance_prepare(c, g) : rebalance_try_complete(c, g);
}

static struct op *join_due(struct group_coord *c, struct group *g)
{
	int64_t delay_ms = g->join_delay_ms;

	if (!g->is_initial_delay || !g->is_member_added || g->join_rest_ms == 0)
		return complete(c, g);
	g->is_member_added = false;
	g->join_delay_ms = SL_MIN(c->opts.initial_rebalance_delay_ms, g->join_rest_ms);
	g->join_rest_ms = SL_MAX(g->join_rest_ms - delay_ms, 0);
	deadline_arm(&c->heap, &g->join_deadline, c->now_ms + g->join_delay_ms);
	return NULL;
}

/* Members that joined but never fetched their assignment hold partitions nobody reads. */
static struct op *sync_due(struct group_coord *c, struct group *g)
{
	struct sl_list *pos;
	struct sl_list *tmp;

	if (g->sync_due == 0 || (g->state != GROUP_COMPLETING && g->state != GROUP_STABLE))
		return NULL;
	sl_list_for_each_safe(pos, tmp, &g->members) {
		struct member *m = sl_list_entry(pos, struct member, link);

		if (!m->is_sync_due)
			continue;
		coord_count(c, COUNT_members_not_synced);
		member_remove(c, m);
	}
	return rebalance_prepare(c, g);
}

static struct op *after_removal(struct group_coord *c, struct group *g)
{
	if (g->state == GROUP_STABLE || g->state == GROUP_COMPLETING)
		return rebalance_start(c, g);
	if (g->state == GROUP_PREPARING && has_all_joined(g))
		return complete(c, g);
	return NULL;
}

static struct op *session_due(struct group_coord *c, struct member *m)
{
	struct group *g = m->group;

	/* A held request shows that the member is there, unless it never got an answer yet. */
	if (!m->is_new && (m->join || m->sync))
		return NULL;
	coord_count(c, COUNT_members_expired);
	member_remove(c, m);
	return after_removal(c, g);
}

static struct op *pending_due(struct group_coord *c, struct pending *p)
{
	struct group *g = p->group;

	coord_count(c, COUNT_members_pending_expired);
	member_remove_pending(c, p);
	if (g->state == GROUP_PREPARING && has_all_joined(g))
		return complete(c, g);
	state_forget_unused(c, g);
	return NULL;
}

void rebalance_due(struct group_coord *c, struct deadline *d)
{
	struct op *op = NULL;

	deadline_disarm(&c->heap, d);
	switch (d->kind) {
	case DEADLINE_SESSION:
		op = session_due(c, SL_CONTAINER_OF(d, struct member, session));
		break;
	case DEADLINE_PENDING:
		op = pending_due(c, SL_CONTAINER_OF(d, struct pending, deadline));
		break;
	case DEADLINE_JOIN:
		op = join_due(c, SL_CONTAINER_OF(d, struct group, join_deadline));
		break;
	case DEADLINE_SYNC:
		op = sync_due(c, SL_CONTAINER_OF(d, struct group, sync_deadline));
		break;
	case DEADLINE_EXPIRY:
	case DEADLINE_CONSUMER_SESSION:
	case DEADLINE_CONSUMER_REBALANCE:
		SL_ASSERT(!"not a classic group's deadline");
		break;
	}
	append_op_release(c, op);
}
