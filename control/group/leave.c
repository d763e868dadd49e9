/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LeaveGroup, of one member or of several.  A member that left is not put back when the log refuses
 * the record of it: its client is gone either way, and the next record tells the truth again.
 */
#include "consumer.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/wire/leave_group_gen.h"

/* From this version on members leave in batches: KIP-345. */
#define VERSION_BATCH 3

static int32_t leaving_count(const struct sl_leave_group_req *m, int16_t version)
{
	return version >= VERSION_BATCH ? m->members_count : 1;
}

static struct sl_leave_group_req_member leaving(const struct sl_leave_group_req *m, int16_t version,
                                                int32_t i)
{
	struct sl_leave_group_req_member one;

	if (version >= VERSION_BATCH)
		return m->members[i];
	sl_leave_group_req_member_init(&one);
	one.member_id = m->member_id;
	return one;
}

static void fill(struct group_coord *c, const struct reply_to *to,
                 const struct sl_leave_group_req *m, const int16_t *errors, enum sl_kerr kerr,
                 struct sl_leave_group_resp *resp)
{
	int32_t n = kerr == SL_KERR_NONE ? leaving_count(m, to->version) : 0;

	sl_leave_group_resp_init(resp);
	resp->error_code = (int16_t)kerr;
	if (to->version < VERSION_BATCH && n > 0) {
		resp->error_code = errors[0];
		n = 0;
	}
	resp->members = sl_arena_alloc_array(&c->arena, (size_t)n, sizeof(*resp->members));
	for (int32_t i = 0; resp->members && i < n; i++) {
		resp->members[i].member_id = m->members[i].member_id;
		resp->members[i].group_instance_id = m->members[i].group_instance_id;
		resp->members[i].error_code = errors[i];
	}
	resp->members_count = n;
	if (!resp->members) {
		resp->error_code = SL_KERR_COORDINATOR_NOT_AVAILABLE;
		resp->members_count = 0;
	}
}

static void respond(struct group_coord *c, struct parked *parked, const struct reply_to *to,
                    const struct sl_leave_group_req *m, const int16_t *errors, enum sl_kerr kerr)
{
	struct sl_leave_group_resp resp;

	fill(c, to, m, errors, kerr, &resp);
	if (parked)
		reply_unpark(c, parked, &resp);
	else
		reply_send(c, to, &resp);
}

static enum sl_kerr leave_one(struct group_coord *c, struct group *g,
                              const struct sl_leave_group_req_member *who)
{
	bool is_static = !sl_str_is_null(who->group_instance_id);
	struct pending *pending;
	struct member *m;
	enum sl_kerr kerr;

	if (!g)
		return SL_KERR_UNKNOWN_MEMBER_ID;
	if (who->member_id.len == 0) {
		/* An administrator names static members by their instance. */
		m = is_static ? member_find_instance(g, who->group_instance_id) : NULL;
		if (!m)
			return SL_KERR_UNKNOWN_MEMBER_ID;
		member_remove(c, m);
		return SL_KERR_NONE;
	}
	pending = member_find_pending(g, who->member_id);
	if (pending) {
		member_remove_pending(c, pending);
		return SL_KERR_NONE;
	}
	kerr = member_validate(c, g, who->member_id, who->group_instance_id);
	if (kerr == SL_KERR_NONE)
		member_remove(c, member_find(g, who->member_id));
	return kerr;
}

static struct op *after_leaving(struct group_coord *c, struct group *g)
{
	if (g->state == GROUP_STABLE || g->state == GROUP_COMPLETING || g->state == GROUP_PREPARING)
		return rebalance_start(c, g);
	state_forget_unused(c, g);
	return NULL;
}

/* Lets @op answer when the group's record is on the log. */
static bool attach(struct group_coord *c, struct op *op, const struct request *rq, int16_t *errors,
                   int32_t n)
{
	struct parked *p = reply_park(c, &rq->to);

	if (!p)
		return false;
	if (append_op_keep(c, op, rq, errors, n)) {
		reply_forget(c, p);
		return false;
	}
	op->kind = OP_LEAVE;
	op->parked = p;
	return true;
}

/* Members of a consumer group that speak the classic protocol. */
static void leave_consumer(struct group_coord *c, const struct request *rq, struct group *g,
                           const struct sl_leave_group_req *m, int16_t *errors)
{
	int32_t n = leaving_count(m, rq->to.version);
	struct sl_leave_group_resp resp;
	bool has_left = false;

	for (int32_t i = 0; i < n; i++) {
		const struct sl_leave_group_req_member who = leaving(m, rq->to.version, i);

		errors[i] = (int16_t)mixed_leave(c, g, who.member_id, who.group_instance_id);
		if (errors[i] != SL_KERR_NONE)
			continue;
		has_left = true;
		coord_count(c, COUNT_members_left);
	}
	if (has_left && !migrate_downgrade(c, g)) {
		consumer_bump(c, g->consumer);
		persist_flush(c, g->consumer);
	}
	fill(c, &rq->to, m, errors, SL_KERR_NONE, &resp);
	if (g->consumer)
		persist_answer(c, g->consumer, &rq->to, &resp);
	else
		reply_send(c, &rq->to, &resp);
}

void leave_handle(struct group_coord *c, const struct request *rq, const void *msg)
{
	const struct sl_leave_group_req *m = msg;
	int32_t n = leaving_count(m, rq->to.version);
	enum sl_kerr kerr = m->group_id.len <= 0 ? SL_KERR_INVALID_GROUP_ID
	                                         : state_check_shard(c, m->group_id);
	int16_t *errors = calloc((size_t)n + 1, sizeof(*errors));
	struct group *g = state_find(c, m->group_id);
	struct op *op = NULL;
	bool has_left = false;

	if (kerr == SL_KERR_NONE && !errors)
		kerr = SL_KERR_COORDINATOR_NOT_AVAILABLE;
	if (kerr == SL_KERR_NONE && g && g->consumer) {
		leave_consumer(c, rq, g, m, errors);
		free(errors);
		return;
	}
	for (int32_t i = 0; kerr == SL_KERR_NONE && i < n; i++) {
		const struct sl_leave_group_req_member who = leaving(m, rq->to.version, i);

		errors[i] = (int16_t)leave_one(c, g, &who);
		if (errors[i] != SL_KERR_NONE)
			continue;
		has_left = true;
		coord_count(c, COUNT_members_left);
	}
	if (has_left)
		op = after_leaving(c, g);
	if (op && op->kerr != SL_KERR_NONE)
		kerr = op->kerr;
	/* More than the creator's hold on it: its batch is on the way. */
	if (op && op->left > 1 && attach(c, op, rq, errors, n))
		errors = NULL;
	else
		respond(c, NULL, &rq->to, m, errors, kerr);
	append_op_release(c, op);
	free(errors);
}

void leave_finish(struct group_coord *c, struct op *op, const void *m)
{
	struct reply_to to = op->parked->to;
	struct parked *p = op->parked;

	op->parked = NULL;
	respond(c, p, &to, m, op->errors, op->kerr);
}
