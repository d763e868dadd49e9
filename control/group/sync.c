/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SyncGroup and Heartbeat.  The leader's assignment is written to the log before anybody gets it,
 * so that a restarted coordinator knows what every member of the generation reads.
 */
#include "consumer.h"

#include <errno.h>

#include "sluice/base/assert.h"
#include "sluice/wire/heartbeat_gen.h"

/* A client that names a protocol must name the one in use; from version 5 on. */
static bool is_other(struct sl_str theirs, struct sl_str ours)
{
	return !sl_str_is_null(theirs) && !sl_str_is_null(ours) && !sl_str_eq(theirs, ours);
}

static enum sl_kerr check(struct group_coord *c, const struct sl_sync_group_req *m,
                          struct group **out)
{
	enum sl_kerr kerr;
	struct group *g;

	if (m->group_id.len <= 0)
		return SL_KERR_INVALID_GROUP_ID;
	kerr = state_check_shard(c, m->group_id);
	if (kerr != SL_KERR_NONE)
		return kerr;
	g = state_find(c, m->group_id);
	if (!g || g->state == GROUP_EMPTY)
		return SL_KERR_UNKNOWN_MEMBER_ID;
	kerr = member_validate(c, g, m->member_id, m->group_instance_id);
	if (kerr != SL_KERR_NONE)
		return kerr;
	if (m->generation_id != g->generation)
		return SL_KERR_ILLEGAL_GENERATION;
	if (is_other(m->protocol_type, g->protocol_type) || is_other(m->protocol_name, g->protocol))
		return SL_KERR_INCONSISTENT_GROUP_PROTOCOL;
	if (g->state == GROUP_PREPARING)
		return SL_KERR_REBALANCE_IN_PROGRESS;
	*out = g;
	return SL_KERR_NONE;
}

static void settle_sync_due(struct group_coord *c, struct member *m)
{
	struct group *g = m->group;

	member_set_sync_due(m, false);
	if (g->sync_due == 0)
		deadline_disarm(&c->heap, &g->sync_deadline);
}

/* Members that the leader left out have nothing to read. */
static int take_assignments(struct group *g, const struct sl_sync_group_req *m)
{
	struct sl_list *pos;

	sl_list_for_each(pos, &g->members)
		text_free_bytes(&sl_list_entry(pos, struct member, link)->assignment_next);
	for (int32_t i = 0; i < m->assignments_count; i++) {
		struct member *to = member_find(g, m->assignments[i].member_id);

		if (!to)
			continue;
		text_free_bytes(&to->assignment_next);
		if (text_dup_bytes(&to->assignment_next, m->assignments[i].assignment))
			return -ENOMEM;
	}
	return 0;
}

static void store_assignments(struct group_coord *c, struct group *g, struct op *op)
{
	struct append_writer w;

	op->group = g;
	op->generation = g->generation;
	g->sync_generation = g->generation;
	append_begin(&w, c, g->shard, op);
	append_group(&w, g, RECORDS_NEXT);
	append_end(&w);
	append_op_release(c, op);
}

static void hold(struct group_coord *c, const struct request *rq,
                 const struct sl_sync_group_req *req, struct member *m)
{
	struct group *g = m->group;
	/* A leader that repeats itself waits for what it sent first. */
	bool is_storing = g->leader == m && g->sync_generation != g->generation;
	struct op *op = is_storing ? append_op_create(OP_SYNC) : NULL;
	struct parked *p = reply_park(c, &rq->to);

	if (!p || (is_storing && (!op || take_assignments(g, req)))) {
		coord_count(c, COUNT_refused_no_memory);
		if (op)
			append_op_destroy(c, op);
		if (p)
			reply_forget(c, p);
		reply_sync_error(c, &rq->to, SL_KERR_COORDINATOR_NOT_AVAILABLE);
		return;
	}
	member_hold_sync(c, m, p);
	settle_sync_due(c, m);
	if (is_storing)
		store_assignments(c, g, op);
}

/* The group, if it is served here and of the consumer protocol. */
static struct group *find_consumer(struct group_coord *c, struct sl_str group_id)
{
	struct group *g = group_id.len > 0 ? state_find(c, group_id) : NULL;

	return g && g->consumer && g->shard->state == SHARD_ACTIVE ? g : NULL;
}

void sync_handle(struct group_coord *c, const struct request *rq, const void *msg)
{
	const struct sl_sync_group_req *req = msg;
	struct sl_sync_group_resp resp;
	struct group *g = NULL;
	enum sl_kerr kerr;
	struct member *m;

	g = find_consumer(c, req->group_id);
	if (g) {
		mixed_sync(c, rq, req, g);
		return;
	}
	kerr = check(c, req, &g);
	if (kerr != SL_KERR_NONE) {
		reply_sync_error(c, &rq->to, kerr);
		return;
	}
	m = member_find(g, req->member_id);
	if (g->state == GROUP_COMPLETING) {
		hold(c, rq, req, m);
		return;
	}
	SL_ASSERT(g->state == GROUP_STABLE);
	settle_sync_due(c, m);
	sl_sync_group_resp_init(&resp);
	resp.protocol_type = g->protocol_type;
	resp.protocol_name = g->protocol;
	resp.assignment = m->assignment;
	reply_send(c, &rq->to, &resp);
}

void sync_finish(struct group_coord *c, struct op *op)
{
	struct group *g = op->group;
	struct sl_list *pos;

	if (!g)
		return;
	if (g->sync_generation == op->generation)
		g->sync_generation = -1;
	/* A rebalance that began meanwhile has told the members already. */
	if (g->state != GROUP_COMPLETING || g->generation != op->generation)
		return;
	if (op->kerr != SL_KERR_NONE) {
		rebalance_clear_assignments(g);
		rebalance_propagate(c, g, op->kerr);
		append_op_release(c, rebalance_start(c, g));
		return;
	}
	sl_list_for_each(pos, &g->members) {
		struct member *m = sl_list_entry(pos, struct member, link);

		text_free_bytes(&m->assignment);
		m->assignment = m->assignment_next;
		m->assignment_next = SL_BYTES_NULL;
	}
	rebalance_propagate(c, g, SL_KERR_NONE);
	state_set(c, g, GROUP_STABLE);
}

static enum sl_kerr beat(struct group_coord *c, const struct sl_heartbeat_req *m)
{
	enum sl_kerr kerr;
	struct group *g;

	if (m->group_id.len <= 0)
		return SL_KERR_INVALID_GROUP_ID;
	kerr = state_check_shard(c, m->group_id);
	/* While loading Kafka answers blindly: session timers begin anew at the end of it anyway.
	 */
	if (kerr == SL_KERR_COORDINATOR_LOAD_IN_PROGRESS)
		return SL_KERR_NONE;
	if (kerr != SL_KERR_NONE)
		return kerr;
	g = state_find(c, m->group_id);
	if (!g)
		return SL_KERR_UNKNOWN_MEMBER_ID;
	if (g->consumer)
		return mixed_heartbeat(c, g, m->member_id, m->group_instance_id, m->generation_id);
	kerr = member_validate(c, g, m->member_id, m->group_instance_id);
	if (kerr != SL_KERR_NONE)
		return kerr;
	if (m->generation_id != g->generation)
		return SL_KERR_ILLEGAL_GENERATION;
	member_arm_session(c, member_find(g, m->member_id));
	return g->state == GROUP_PREPARING ? SL_KERR_REBALANCE_IN_PROGRESS : SL_KERR_NONE;
}

void sync_handle_heartbeat(struct group_coord *c, const struct request *rq, const void *m)
{
	struct sl_heartbeat_resp resp;

	sl_heartbeat_resp_init(&resp);
	resp.error_code = (int16_t)beat(c, m);
	reply_send(c, &rq->to, &resp);
}
