/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JoinGroup.  New members are told their id first (from version 4 on), known ones are held until
 * the rebalance completes, and a static member that comes back without its id takes its place
 * again.
 */
#include "consumer.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

#define ID_EMPTY                   ((struct sl_str){"", 0})
/* From this version on a dynamic member joins twice: KIP-394. */
#define VERSION_MEMBER_ID_REQUIRED 4
/* KIP-814: a static leader that comes back is told to keep the assignment. */
#define VERSION_SKIP_ASSIGNMENT    9
#define MEMBER_ID_BYTES            (LIMIT_ID_PREFIX_BYTES + 64)

/* One JoinGroup that is being handled. */
struct join {
	struct group_coord *c;
	const struct request *rq;
	const struct sl_join_group_req *m;
	struct group *g;
	int32_t rebalance_timeout_ms;
};

static enum sl_kerr check_request(const struct group_coord *c, const struct sl_join_group_req *m)
{
	if (m->group_id.len <= 0 || m->group_id.len > LIMIT_GROUP_ID_BYTES)
		return SL_KERR_INVALID_GROUP_ID;
	if (m->session_timeout_ms < c->opts.session_timeout_min_ms ||
	    m->session_timeout_ms > c->opts.session_timeout_max_ms)
		return SL_KERR_INVALID_SESSION_TIMEOUT;
	if (m->protocols_count > LIMIT_PROTOCOLS)
		return SL_KERR_INCONSISTENT_GROUP_PROTOCOL;
	return SL_KERR_NONE;
}

static void fail(const struct join *j, enum sl_kerr kerr, struct sl_str member_id)
{
	reply_join_error(j->c, &j->rq->to, kerr, member_id);
}

/* Is there room for the member? */
static bool can_accept(const struct join *j)
{
	const struct group *g = j->g;
	const struct member *m = member_find(g, j->m->member_id);
	uint32_t max = SL_MIN((uint32_t)SL_MAX(j->c->opts.group_size_max, 1), LIMIT_MEMBERS);

	switch (g->state) {
	case GROUP_PREPARING:
		return (m && m->join) || g->join_waiting < max;
	case GROUP_COMPLETING:
	case GROUP_STABLE:
		return m || g->members_by_id.count < max;
	default:
		return true;
	}
}

static void refuse_full(const struct join *j)
{
	struct member *m = member_find(j->g, j->m->member_id);
	struct pending *p = member_find_pending(j->g, j->m->member_id);

	coord_count(j->c, COUNT_refused_group_full);
	if (m)
		member_remove(j->c, m);
	if (p)
		member_remove_pending(j->c, p);
	fail(j, SL_KERR_GROUP_MAX_SIZE_REACHED, ID_EMPTY);
	append_op_release(j->c, rebalance_try_complete(j->c, j->g));
}

/* Copies of what the request brings, made before anything changes. */
struct intake {
	struct parked *parked;
	struct protocols *protocols;
};

static void intake_fini(const struct join *j, struct intake *in)
{
	if (in->parked)
		reply_forget(j->c, in->parked);
	free(in->protocols);
}

static bool intake_init(const struct join *j, struct intake *in, size_t metadata_before)
{
	*in = (struct intake){0};
	in->protocols = protocol_dup(j->m->protocols, j->m->protocols_count);
	if (!in->protocols) {
		coord_count(j->c, COUNT_refused_no_memory);
		fail(j, SL_KERR_COORDINATOR_NOT_AVAILABLE, ID_EMPTY);
		return false;
	}
	if (j->g->metadata_bytes - metadata_before + in->protocols->metadata_bytes >
	    LIMIT_METADATA_BYTES) {
		coord_count(j->c, COUNT_refused_metadata_full);
		intake_fini(j, in);
		fail(j, SL_KERR_GROUP_MAX_SIZE_REACHED, ID_EMPTY);
		return false;
	}
	in->parked = reply_park(j->c, &j->rq->to);
	if (!in->parked) {
		intake_fini(j, in);
		fail(j, SL_KERR_COORDINATOR_NOT_AVAILABLE, ID_EMPTY);
		return false;
	}
	return true;
}

static void refuse_no_memory(const struct join *j, struct intake *in)
{
	coord_count(j->c, COUNT_refused_no_memory);
	intake_fini(j, in);
	fail(j, SL_KERR_COORDINATOR_NOT_AVAILABLE, ID_EMPTY);
}

static void add_member(const struct join *j, struct sl_str id)
{
	struct group_coord *c = j->c;
	struct group *g = j->g;
	struct pending *pending = member_find_pending(g, id);
	struct member *m;
	struct intake in;

	if (!intake_init(j, &in, 0))
		return;

	const struct member_opts opts = {
		.id = id,
		.instance_id = j->m->group_instance_id,
		.client_id = j->rq->client_id,
		.client_host = j->rq->client_host,
		.protocol_type = j->m->protocol_type,
		.rebalance_timeout_ms = j->rebalance_timeout_ms,
		.session_timeout_ms = j->m->session_timeout_ms,
		.protocols = in.protocols,
	};

	if (member_add(c, g, &opts, &m)) {
		refuse_no_memory(j, &in);
		return;
	}
	if (pending)
		member_remove_pending(c, pending);
	m->is_new = true;
	if (g->state == GROUP_PREPARING && g->state_before == GROUP_EMPTY)
		g->is_member_added = true;
	member_hold_join(c, m, in.parked);
	deadline_arm(&c->heap, &m->session, c->now_ms + LIMIT_NEW_MEMBER_JOIN_MS);
	append_op_release(c, rebalance_start(c, g));
}

static void update_member(const struct join *j, struct member *m)
{
	struct group_coord *c = j->c;
	struct group *g = j->g;
	struct intake in;

	if (!intake_init(j, &in, m->protocols->metadata_bytes))
		return;
	if (member_update(m, &in.protocols, j->rebalance_timeout_ms, j->m->session_timeout_ms)) {
		refuse_no_memory(j, &in);
		return;
	}
	free(in.protocols);
	member_hold_join(c, m, in.parked);
	append_op_release(c, rebalance_start(c, g));
}

static void answer_current(const struct join *j, const struct member *m)
{
	struct sl_join_group_resp resp;

	rebalance_fill_answer(j->c, m, &resp);
	reply_send(j->c, &j->rq->to, &resp);
}

/* What is needed to put the old member back, should the log refuse the new one. */
static struct op *make_static_op(const struct join *j, const struct member *m, struct sl_str id)
{
	struct op *op = append_op_create(OP_STATIC_JOIN);

	if (!op)
		return NULL;
	if (text_dup(&op->id_new, id) || text_dup(&op->id_old, m->id) ||
	    text_dup(&op->leader_old, j->g->leader->id)) {
		append_op_destroy(j->c, op);
		return NULL;
	}
	op->group = j->g;
	op->rebalance_timeout_old_ms = m->rebalance_timeout_ms;
	op->session_timeout_old_ms = m->session_timeout_ms;
	return op;
}

/* The place is taken over: whoever used the old id finds itself fenced. */
static bool take_over(const struct join *j, struct member *m, struct sl_str id, struct intake *in)
{
	struct group_coord *c = j->c;

	if (member_update(m, &in->protocols, j->rebalance_timeout_ms, j->m->session_timeout_ms))
		return false;
	member_fail_join(c, m, SL_KERR_FENCED_INSTANCE_ID, m->id);
	if (m->sync)
		member_answer_sync(c, m, SL_KERR_FENCED_INSTANCE_ID);
	if (member_rename(m, id)) {
		/* The old member was only told to join anew, which it can. */
		coord_count(c, COUNT_refused_no_memory);
		return false;
	}
	m->is_new = false;
	member_arm_session(c, m);
	member_hold_join(c, m, in->parked);
	coord_count(c, COUNT_static_replaced);
	return true;
}

static void rejoin_static(const struct join *j, struct member *m, struct sl_str id)
{
	struct group_coord *c = j->c;
	struct group *g = j->g;
	struct append_writer w;
	struct intake in;
	struct op *op;

	if (!intake_init(j, &in, m->protocols->metadata_bytes))
		return;
	op = make_static_op(j, m, id);
	if (!op || !take_over(j, m, id, &in)) {
		if (op)
			append_op_destroy(c, op);
		refuse_no_memory(j, &in);
		return;
	}
	op->join_seq = in.parked->seq;
	op->protocols_old = in.protocols;
	if (g->state == GROUP_STABLE && sl_str_eq(protocol_select(g), g->protocol)) {
		append_begin(&w, c, g->shard, op);
		append_group(&w, g, RECORDS_CURRENT);
		append_end(&w);
		append_op_release(c, op);
		return;
	}
	append_op_destroy(c, op);
	if (g->state == GROUP_COMPLETING)
		append_op_release(c, rebalance_prepare(c, g));
	else
		append_op_release(c, rebalance_start(c, g));
}

static void join_new(const struct join *j)
{
	const struct sl_join_group_req *m = j->m;
	struct group_coord *c = j->c;
	struct group *g = j->g;
	bool is_static = !sl_str_is_null(m->group_instance_id);
	char text[MEMBER_ID_BYTES];
	struct member *before = is_static ? member_find_instance(g, m->group_instance_id) : NULL;
	struct sl_str id = {text, 0};

	id.len = (int32_t)member_id_make(c, is_static ? m->group_instance_id : j->rq->client_id,
	                                 text, sizeof(text));
	if (before) {
		rejoin_static(j, before, id);
		return;
	}
	if (is_static || j->rq->to.version < VERSION_MEMBER_ID_REQUIRED) {
		add_member(j, id);
		return;
	}
	if (g->pendings_by_id.count >= LIMIT_PENDING) {
		coord_count(c, COUNT_refused_pending_full);
		fail(j, SL_KERR_GROUP_MAX_SIZE_REACHED, ID_EMPTY);
	} else if (member_add_pending(c, g, id, m->session_timeout_ms)) {
		coord_count(c, COUNT_refused_no_memory);
		fail(j, SL_KERR_COORDINATOR_NOT_AVAILABLE, ID_EMPTY);
	} else {
		fail(j, SL_KERR_MEMBER_ID_REQUIRED, id);
	}
}

static void join_known(const struct join *j)
{
	struct group *g = j->g;
	enum sl_kerr kerr;
	struct member *m;

	if (member_find_pending(g, j->m->member_id) && sl_str_is_null(j->m->group_instance_id)) {
		add_member(j, j->m->member_id);
		return;
	}
	kerr = member_validate(j->c, g, j->m->member_id, j->m->group_instance_id);
	if (kerr != SL_KERR_NONE) {
		fail(j, kerr, j->m->member_id);
		return;
	}
	m = member_find(g, j->m->member_id);
	SL_ASSERT(g->state != GROUP_EMPTY && g->state != GROUP_DEAD);
	/* A leader that joins a stable group wants a new assignment; others that changed need one.
	 */
	if (g->state == GROUP_PREPARING || (g->state == GROUP_STABLE && g->leader == m) ||
	    !protocol_is_same(m->protocols, j->m->protocols, j->m->protocols_count))
		update_member(j, m);
	else
		answer_current(j, m);
}

/* The group's first record.  It says that the group exists, and nothing else. */
static void store_new_group(struct group_coord *c, struct group *g)
{
	struct member *m = sl_list_first(&g->members, struct member, link);
	struct op *op = append_op_create(OP_NEW_GROUP);
	struct append_writer w;

	if (!op) {
		coord_count(c, COUNT_refused_no_memory);
		return;
	}
	op->group = g;
	op->join_seq = m && m->join ? m->join->seq : UINT64_MAX;
	append_begin(&w, c, g->shard, op);
	append_group(&w, g, RECORDS_BARE);
	append_end(&w);
	append_op_release(c, op);
}

static struct group *get_group(struct group_coord *c, const struct request *rq,
                               const struct sl_join_group_req *m)
{
	struct group *g = state_find(c, m->group_id);
	int err;

	if (g)
		return g;
	if (m->member_id.len > 0) {
		reply_join_error(c, &rq->to, SL_KERR_UNKNOWN_MEMBER_ID, m->member_id);
		return NULL;
	}
	err = state_create(c, m->group_id, &g);
	if (!err)
		return g;
	coord_count(c, err == -ENOSPC ? COUNT_refused_groups_full : COUNT_refused_no_memory);
	reply_join_error(c, &rq->to,
	                 err == -ENOSPC ? SL_KERR_POLICY_VIOLATION
	                                : SL_KERR_COORDINATOR_NOT_AVAILABLE,
	                 ID_EMPTY);
	return NULL;
}

void join_handle(struct group_coord *c, const struct request *rq, const void *msg)
{
	const struct sl_join_group_req *m = msg;
	struct join j = {c, rq, m, NULL, m->rebalance_timeout_ms};
	enum sl_kerr kerr = check_request(c, m);
	bool is_new_group;

	/* Version 0 knows one time-out only. */
	if (rq->to.version == 0)
		j.rebalance_timeout_ms = m->session_timeout_ms;
	if (kerr != SL_KERR_NONE) {
		if (kerr == SL_KERR_INVALID_GROUP_ID)
			coord_count(c, COUNT_refused_group_id);
		fail(&j, kerr, m->member_id);
		return;
	}
	kerr = state_check_shard(c, m->group_id);
	if (kerr != SL_KERR_NONE) {
		fail(&j, kerr, ID_EMPTY);
		return;
	}
	j.g = state_find(c, m->group_id);
	if (j.g && j.g->consumer && !j.g->is_deleting) {
		if (j.g->consumer->members_count > 0) {
			mixed_join(c, rq, m, j.g);
			return;
		}
		migrate_forget_consumer(c, j.g);
	}
	is_new_group = !j.g;
	j.g = get_group(c, rq, m);
	if (!j.g)
		return;
	if (j.g->is_deleting)
		fail(&j, SL_KERR_COORDINATOR_LOAD_IN_PROGRESS, ID_EMPTY);
	else if (!can_accept(&j))
		refuse_full(&j);
	else if (!protocol_is_acceptable(j.g, m->protocol_type, m->protocols, m->protocols_count))
		fail(&j, SL_KERR_INCONSISTENT_GROUP_PROTOCOL, m->member_id);
	else if (m->member_id.len == 0)
		join_new(&j);
	else
		join_known(&j);
	if (!is_new_group)
		return;
	if (j.g->members_by_id.count > 0 || j.g->pendings_by_id.count > 0) {
		coord_count(c, COUNT_groups_created);
		store_new_group(c, j.g);
	} else {
		state_forget_unused(c, j.g);
	}
}

void join_finish_new_group(struct group_coord *c, struct op *op)
{
	struct group *g = op->group;
	struct sl_list *pos;
	struct sl_list *tmp;

	if (!g || op->kerr == SL_KERR_NONE)
		return;
	sl_list_for_each_safe(pos, tmp, &g->members) {
		struct member *m = sl_list_entry(pos, struct member, link);

		if (!m->join || m->join->seq != op->join_seq)
			continue;
		member_fail_join(c, m, op->kerr, ID_EMPTY);
		member_arm_session(c, m);
	}
	state_forget_unused(c, g);
}

static void revert_static(struct group_coord *c, struct op *op, struct member *m)
{
	struct sl_join_group_resp resp;
	struct group *g = m->group;

	coord_count(c, COUNT_static_reverted);
	reply_join_fill(&resp, op->kerr, ID_EMPTY);
	resp.generation_id = g->generation;
	resp.protocol_type = g->protocol_type;
	resp.protocol_name = g->protocol;
	resp.leader = op->leader_old;
	member_answer_join(c, m, &resp);
	if (member_update(m, &op->protocols_old, op->rebalance_timeout_old_ms,
	                  op->session_timeout_old_ms) ||
	    member_rename(m, op->id_old)) {
		coord_count(c, COUNT_refused_no_memory);
		member_remove(c, m);
		append_op_release(c, rebalance_start(c, g));
		return;
	}
	member_arm_session(c, m);
}

/*
 * Where a rebalance began meanwhile, the join is part of it and answered by it, and the log gets
 * the next generation: then there is nothing to do or to undo.
 */
void join_finish_static(struct group_coord *c, struct op *op)
{
	struct sl_join_group_resp resp;
	struct member *m;
	bool is_leader;

	if (!op->group || op->group->state != GROUP_STABLE)
		return;
	m = member_find(op->group, op->id_new);
	if (!m || !m->join || m->join->seq != op->join_seq)
		return;
	if (op->kerr != SL_KERR_NONE) {
		revert_static(c, op, m);
		return;
	}
	rebalance_fill_answer(c, m, &resp);
	is_leader = m == op->group->leader;
	if (m->join->to.version >= VERSION_SKIP_ASSIGNMENT) {
		resp.skip_assignment = is_leader;
	} else {
		/* An old client would assign anew if it saw that it leads; it is told the old id.
		 */
		resp.leader = op->leader_old;
		resp.members = NULL;
		resp.members_count = 0;
	}
	member_answer_join(c, m, &resp);
	member_arm_session(c, m);
}
