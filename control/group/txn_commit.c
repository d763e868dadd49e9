/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TxnOffsetCommit: offsets that count if the producer's transaction commits.  The caller has made
 * sure that the transaction exists and that the offsets' partition is in it.
 *
 * The answer comes when the records are on the log; the offsets themselves with the marker.
 */
#include "consumer.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/wire/txn_offset_commit_gen.h"

/* From this version on producers survive COORDINATOR_LOAD_IN_PROGRESS (KAFKA-7296). */
#define VERSION_LOADING 2

struct commit {
	struct group_coord *c;
	const struct request *rq;
	const struct sl_txn_offset_commit_req *m;
	int16_t *errors; /* one per partition, in the request's order */
	int32_t errors_count;
};

static int16_t translate(int16_t version, int16_t error)
{
	return version < VERSION_LOADING && error == SL_KERR_COORDINATOR_LOAD_IN_PROGRESS
	               ? SL_KERR_COORDINATOR_NOT_AVAILABLE
	               : error;
}

static bool fill(struct group_coord *c, const struct sl_txn_offset_commit_req *m, int16_t version,
                 const int16_t *errors, struct sl_txn_offset_commit_resp *resp)
{
	int32_t at = 0;

	sl_txn_offset_commit_resp_init(resp);
	resp->topics = sl_arena_alloc_array(&c->arena, (size_t)m->topics_count,
	                                    sizeof(*resp->topics));
	if (!resp->topics)
		return false;
	resp->topics_count = m->topics_count;
	for (int32_t i = 0; i < m->topics_count; i++) {
		const struct sl_txn_offset_commit_req_topic *from = &m->topics[i];
		struct sl_txn_offset_commit_resp_topic *to = &resp->topics[i];

		to->name = from->name;
		to->topic_id = from->topic_id;
		to->partitions_count = from->partitions_count;
		to->partitions = sl_arena_alloc_array(&c->arena, (size_t)from->partitions_count,
		                                      sizeof(*to->partitions));
		if (!to->partitions)
			return false;
		for (int32_t k = 0; k < from->partitions_count; k++) {
			to->partitions[k].partition_index = from->partitions[k].partition_index;
			to->partitions[k].error_code = translate(version, errors[at++]);
		}
	}
	return true;
}

static void respond(struct commit *o)
{
	struct sl_txn_offset_commit_resp resp;

	if (fill(o->c, o->m, o->rq->to.version, o->errors, &resp))
		reply_send(o->c, &o->rq->to, &resp);
	else
		reply_close(o->c, &o->rq->to, COUNT_closed_too_large);
	free(o->errors);
}

void txn_commit_finish(struct group_coord *c, struct op *op, const void *m)
{
	struct sl_txn_offset_commit_resp resp;
	struct parked *p = op->parked;
	struct reply_to to = p->to;
	bool is_gone = p->is_gone;

	op->parked = NULL;
	if (fill(c, m, to.version, op->errors, &resp)) {
		reply_unpark(c, p, &resp);
		return;
	}
	reply_forget(c, p);
	if (!is_gone)
		reply_close(c, &to, COUNT_closed_too_large);
}

/* Unlike a plain commit, one without a member is taken whatever the group does: versions before 3
 * have none.  Nor does a rebalance refuse it (KIP-447). */
static enum sl_kerr check_member(struct commit *o, struct group *g)
{
	const struct sl_txn_offset_commit_req *m = o->m;
	int32_t generation = m->generation_id_or_member_epoch;
	enum sl_kerr kerr;

	if (g->is_deleting)
		return SL_KERR_COORDINATOR_LOAD_IN_PROGRESS;
	if (g->consumer)
		return consumer_check_txn_commit(o->c, g, m->member_id, m->group_instance_id,
		                                 generation);
	if (generation < 0 && g->state == GROUP_EMPTY)
		return SL_KERR_NONE;
	if (generation < 0 && m->member_id.len == 0 && sl_str_is_null(m->group_instance_id))
		return SL_KERR_NONE;
	kerr = member_validate(o->c, g, m->member_id, m->group_instance_id);
	if (kerr == SL_KERR_NONE && generation != g->generation && !PLANTED(txn_generation))
		kerr = SL_KERR_ILLEGAL_GENERATION;
	return kerr;
}

static enum sl_kerr commit_one(struct commit *o, struct append_writer *w, struct group *g,
                               struct sl_str topic,
                               const struct sl_txn_offset_commit_req_topic_partition *p,
                               int32_t result)
{
	const struct committed head = {
		.offset = p->committed_offset,
		.commit_ms = o->c->wall_ms,
		.expire_ms = -1,
		.leader_epoch = p->committed_leader_epoch,
	};
	const struct commit_item item = {topic, p->partition_index, &head, p->committed_metadata};
	struct committed *committed;
	struct offset *offset;
	enum sl_kerr kerr;

	if (p->committed_metadata.len > o->c->opts.offset_metadata_bytes_max)
		return SL_KERR_OFFSET_METADATA_TOO_LARGE;
	if (g->shard->txn_offsets_count >= LIMIT_TXN_OFFSETS) {
		coord_count(o->c, COUNT_refused_offsets_full);
		return SL_KERR_POLICY_VIOLATION;
	}
	kerr = commit_entry(o->c, g, &item, &offset, &committed);
	if (kerr != SL_KERR_NONE)
		return kerr;
	append_txn_offset(w, g, offset, committed, result);
	return SL_KERR_NONE;
}

static void commit_all(struct commit *o, struct group *g, struct op *op)
{
	const struct group_opts *opts = &o->c->opts;
	struct append_writer w;
	int32_t at = 0;

	append_begin(&w, o->c, g->shard, op);
	for (int32_t i = 0; i < o->m->topics_count; i++) {
		const struct sl_txn_offset_commit_req_topic *t = &o->m->topics[i];

		for (int32_t k = 0; k < t->partitions_count; k++, at++) {
			enum sl_kerr kerr = SL_KERR_UNKNOWN_TOPIC_OR_PARTITION;

			if (opts->has_partition(opts->ctx, t->name,
			                        t->partitions[k].partition_index))
				kerr = commit_one(o, &w, g, t->name, &t->partitions[k], at);
			if (kerr != SL_KERR_NONE)
				o->errors[at] = (int16_t)kerr;
		}
	}
	append_end(&w);
}

static enum sl_kerr start(struct commit *o, struct group **out_group, struct op **out_op)
{
	enum sl_kerr kerr = o->m->group_id.len <= 0 ? SL_KERR_INVALID_GROUP_ID
	                                            : state_check_shard(o->c, o->m->group_id);
	struct op *op;

	if (kerr == SL_KERR_NONE)
		kerr = commit_group(o->c, o->m->group_id, o->m->generation_id_or_member_epoch,
		                    SL_KERR_ILLEGAL_GENERATION, out_group);
	if (kerr == SL_KERR_NONE)
		kerr = check_member(o, *out_group);
	if (kerr != SL_KERR_NONE)
		return kerr;
	op = append_op_create(OP_TXN_COMMIT);
	if (!op) {
		coord_count(o->c, COUNT_refused_no_memory);
		return SL_KERR_COORDINATOR_NOT_AVAILABLE;
	}
	op->producer_id = o->m->producer_id;
	op->producer_epoch = o->m->producer_epoch;
	op->parked = reply_park(o->c, &o->rq->to);
	if (!op->parked || append_op_keep(o->c, op, o->rq, o->errors, o->errors_count)) {
		append_op_destroy(o->c, op);
		return SL_KERR_COORDINATOR_NOT_AVAILABLE;
	}
	*out_op = op;
	return SL_KERR_NONE;
}

void txn_commit_handle(struct group_coord *c, const struct request *rq, const void *msg)
{
	struct commit o = {.c = c, .rq = rq, .m = msg};
	struct group *g = NULL;
	struct op *op = NULL;
	enum sl_kerr kerr;

	for (int32_t i = 0; i < o.m->topics_count; i++)
		o.errors_count += o.m->topics[i].partitions_count;
	o.errors = calloc((size_t)o.errors_count + 1, sizeof(*o.errors));
	if (!o.errors) {
		reply_close(c, &rq->to, COUNT_closed_too_large);
		return;
	}
	kerr = start(&o, &g, &op);
	if (kerr != SL_KERR_NONE) {
		if (g)
			state_forget_unused(c, g);
		for (int32_t i = 0; i < o.errors_count; i++)
			o.errors[i] = (int16_t)kerr;
		respond(&o);
		return;
	}
	/* Refused changes may leave the group unused; it is looked at when all are through. */
	g->in_flight++;
	commit_all(&o, g, op);
	g->in_flight--;
	state_forget_unused(c, g);
	append_op_release(c, op);
}
