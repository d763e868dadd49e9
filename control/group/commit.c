/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OffsetCommit.  Each partition of a request has its own result; an offset counts, and is answered,
 * when its record is on the log.
 */
#include "consumer.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/wire/offset_commit_gen.h"

/* Topics are named by their id from this version on. */
#define VERSION_TOPIC_IDS       10
/* From this version on clients know GROUP_ID_NOT_FOUND here: KIP-848. */
#define VERSION_GROUP_NOT_FOUND 9
#define RETENTION_DEFAULT       INT64_C(-1)

struct commit {
	struct group_coord *c;
	const struct request *rq;
	const struct sl_offset_commit_req *m;
	struct sl_str *topics; /* names, one per topic of the request; null: unknown id */
	int16_t *errors;       /* one per partition, in the request's order */
	int32_t errors_count;
};

static bool fill(struct group_coord *c, const struct sl_offset_commit_req *m, const int16_t *errors,
                 struct sl_offset_commit_resp *resp)
{
	int32_t at = 0;

	sl_offset_commit_resp_init(resp);
	resp->topics = sl_arena_alloc_array(&c->arena, (size_t)m->topics_count,
	                                    sizeof(*resp->topics));
	if (!resp->topics)
		return false;
	resp->topics_count = m->topics_count;
	for (int32_t i = 0; i < m->topics_count; i++) {
		const struct sl_offset_commit_req_topic *from = &m->topics[i];
		struct sl_offset_commit_resp_topic *to = &resp->topics[i];

		to->name = from->name;
		to->topic_id = from->topic_id;
		to->partitions_count = from->partitions_count;
		to->partitions = sl_arena_alloc_array(&c->arena, (size_t)from->partitions_count,
		                                      sizeof(*to->partitions));
		if (!to->partitions)
			return false;
		for (int32_t k = 0; k < from->partitions_count; k++) {
			to->partitions[k].partition_index = from->partitions[k].partition_index;
			to->partitions[k].error_code = errors[at++];
		}
	}
	return true;
}

static void respond(struct commit *o)
{
	struct sl_offset_commit_resp resp;

	if (fill(o->c, o->m, o->errors, &resp))
		reply_send(o->c, &o->rq->to, &resp);
	else
		reply_close(o->c, &o->rq->to, COUNT_closed_too_large);
	free(o->errors);
}

void commit_finish(struct group_coord *c, struct op *op, const void *m)
{
	struct sl_offset_commit_resp resp;
	struct parked *p = op->parked;
	struct reply_to to = p->to;
	bool is_gone = p->is_gone;

	op->parked = NULL;
	if (fill(c, m, op->errors, &resp)) {
		reply_unpark(c, p, &resp);
		return;
	}
	reply_forget(c, p);
	if (!is_gone)
		reply_close(c, &to, COUNT_closed_too_large);
}

/* Gives all partitions that have no error yet the same one. */
static void fail_rest(struct commit *o, enum sl_kerr kerr)
{
	for (int32_t i = 0; i < o->errors_count; i++) {
		if (o->errors[i] == SL_KERR_NONE)
			o->errors[i] = (int16_t)kerr;
	}
}

/* Looks up the topics.  False: none of the partitions exists. */
static bool resolve(struct commit *o)
{
	const struct group_opts *opts = &o->c->opts;
	bool has_any = false;
	int32_t at = 0;

	for (int32_t i = 0; i < o->m->topics_count; i++) {
		const struct sl_offset_commit_req_topic *t = &o->m->topics[i];
		enum sl_kerr kerr = SL_KERR_UNKNOWN_TOPIC_OR_PARTITION;

		o->topics[i] = t->name;
		if (o->rq->to.version >= VERSION_TOPIC_IDS &&
		    !opts->topic_name(opts->ctx, &t->topic_id, &o->topics[i])) {
			o->topics[i] = SL_STR_NULL;
			kerr = SL_KERR_UNKNOWN_TOPIC_ID;
		}
		for (int32_t k = 0; k < t->partitions_count; k++, at++) {
			if (!sl_str_is_null(o->topics[i]) &&
			    opts->has_partition(opts->ctx, o->topics[i],
			                        t->partitions[k].partition_index))
				has_any = true;
			else
				o->errors[at] = (int16_t)kerr;
		}
	}
	return has_any;
}

enum sl_kerr commit_group(struct group_coord *c, struct sl_str group_id, int32_t generation,
                          enum sl_kerr missing, struct group **out)
{
	int err;

	*out = state_find(c, group_id);
	if (*out)
		return SL_KERR_NONE;
	if (generation >= 0)
		return missing;
	if (group_id.len > LIMIT_GROUP_ID_BYTES) {
		coord_count(c, COUNT_refused_group_id);
		return SL_KERR_INVALID_GROUP_ID;
	}
	err = state_create(c, group_id, out);
	if (!err) {
		coord_count(c, COUNT_groups_created);
		return SL_KERR_NONE;
	}
	coord_count(c, err == -ENOSPC ? COUNT_refused_groups_full : COUNT_refused_no_memory);
	return err == -ENOSPC ? SL_KERR_POLICY_VIOLATION : SL_KERR_COORDINATOR_NOT_AVAILABLE;
}

static enum sl_kerr get_group(struct commit *o, struct group **out)
{
	const enum sl_kerr missing = o->rq->to.version >= VERSION_GROUP_NOT_FOUND
	                                     ? SL_KERR_GROUP_ID_NOT_FOUND
	                                     : SL_KERR_ILLEGAL_GENERATION;

	return commit_group(o->c, o->m->group_id, o->m->generation_id_or_member_epoch, missing,
	                    out);
}

/* Who may commit: nobody in particular while there are no members, else members of the generation.
 */
static enum sl_kerr check_member(struct commit *o, struct group *g)
{
	const struct sl_offset_commit_req *m = o->m;
	int32_t generation = m->generation_id_or_member_epoch;
	enum sl_kerr kerr;

	if (g->is_deleting)
		return SL_KERR_COORDINATOR_LOAD_IN_PROGRESS;
	if (g->consumer)
		return consumer_check_commit(o->c, g, m->member_id, generation, o->rq->to.version);
	if (generation < 0 && g->state == GROUP_EMPTY)
		return SL_KERR_NONE;
	if (generation < 0 && m->member_id.len == 0 && sl_str_is_null(m->group_instance_id))
		return SL_KERR_UNKNOWN_MEMBER_ID;
	kerr = member_validate(o->c, g, m->member_id, m->group_instance_id);
	if (kerr != SL_KERR_NONE)
		return kerr;
	if (generation != g->generation)
		return SL_KERR_ILLEGAL_GENERATION;
	if (g->state == GROUP_COMPLETING)
		return SL_KERR_REBALANCE_IN_PROGRESS;
	/* A commit shows that the member is there, as a heartbeat does. */
	member_arm_session(o->c, member_find(g, m->member_id));
	return SL_KERR_NONE;
}

static int64_t expire_ms(const struct commit *o)
{
	int64_t at;

	if (o->m->retention_time_ms == RETENTION_DEFAULT)
		return -1;
	if (__builtin_add_overflow(o->c->wall_ms, o->m->retention_time_ms, &at))
		return INT64_MAX;
	return SL_MAX(at, 0);
}

enum sl_kerr commit_entry(struct group_coord *c, struct group *g, const struct commit_item *item,
                          struct offset **offset, struct committed **committed)
{
	int err = offsets_get(g, item->topic, item->partition, offset);

	if (err) {
		coord_count(c,
		            err == -ENOSPC ? COUNT_refused_offsets_full : COUNT_refused_no_memory);
		return err == -ENOSPC ? SL_KERR_POLICY_VIOLATION
		                      : SL_KERR_COORDINATOR_NOT_AVAILABLE;
	}
	*committed = offsets_make(item->head, item->metadata);
	if (*committed)
		return SL_KERR_NONE;
	offsets_drop_unused(g, *offset);
	coord_count(c, COUNT_refused_no_memory);
	return SL_KERR_COORDINATOR_NOT_AVAILABLE;
}

static enum sl_kerr commit_one(struct commit *o, struct append_writer *w, struct group *g,
                               struct sl_str topic,
                               const struct sl_offset_commit_req_topic_partition *p, int32_t result)
{
	const struct committed head = {
		.offset = p->committed_offset,
		.commit_ms = o->c->wall_ms,
		.expire_ms = expire_ms(o),
		.leader_epoch = p->committed_leader_epoch,
	};
	const struct commit_item item = {topic, p->partition_index, &head, p->committed_metadata};
	struct committed *committed;
	struct offset *offset;
	enum sl_kerr kerr;

	if (p->committed_metadata.len > o->c->opts.offset_metadata_bytes_max)
		return SL_KERR_OFFSET_METADATA_TOO_LARGE;
	kerr = commit_entry(o->c, g, &item, &offset, &committed);
	if (kerr != SL_KERR_NONE)
		return kerr;
	append_offset(w, g, offset, committed, result);
	return SL_KERR_NONE;
}

static void commit_all(struct commit *o, struct group *g, struct op *op)
{
	struct append_writer w;
	int32_t at = 0;

	append_begin(&w, o->c, g->shard, op);
	for (int32_t i = 0; i < o->m->topics_count; i++) {
		const struct sl_offset_commit_req_topic *t = &o->m->topics[i];

		for (int32_t k = 0; k < t->partitions_count; k++, at++) {
			enum sl_kerr kerr;

			if (o->errors[at] != SL_KERR_NONE)
				continue;
			kerr = commit_one(o, &w, g, o->topics[i], &t->partitions[k], at);
			if (kerr != SL_KERR_NONE)
				o->errors[at] = (int16_t)kerr;
		}
	}
	append_end(&w);
}

static enum sl_kerr start(struct commit *o, struct group **out_group, struct op **out_op)
{
	enum sl_kerr kerr = state_check_shard(o->c, o->m->group_id);
	struct op *op;

	if (kerr == SL_KERR_NONE)
		kerr = get_group(o, out_group);
	if (kerr == SL_KERR_NONE)
		kerr = check_member(o, *out_group);
	if (kerr != SL_KERR_NONE)
		return kerr;
	op = append_op_create(OP_COMMIT);
	if (!op) {
		coord_count(o->c, COUNT_refused_no_memory);
		return SL_KERR_COORDINATOR_NOT_AVAILABLE;
	}
	op->parked = reply_park(o->c, &o->rq->to);
	if (!op->parked || append_op_keep(o->c, op, o->rq, o->errors, o->errors_count)) {
		append_op_destroy(o->c, op);
		return SL_KERR_COORDINATOR_NOT_AVAILABLE;
	}
	*out_op = op;
	return SL_KERR_NONE;
}

void commit_handle(struct group_coord *c, const struct request *rq, const void *msg)
{
	struct commit o = {.c = c, .rq = rq, .m = msg};
	struct group *g = NULL;
	struct op *op = NULL;
	enum sl_kerr kerr;

	for (int32_t i = 0; i < o.m->topics_count; i++)
		o.errors_count += o.m->topics[i].partitions_count;
	o.topics = sl_arena_alloc_array(&c->arena, (size_t)o.m->topics_count, sizeof(*o.topics));
	o.errors = calloc((size_t)o.errors_count + 1, sizeof(*o.errors));
	if (!o.topics || !o.errors) {
		free(o.errors);
		reply_close(c, &rq->to, COUNT_closed_too_large);
		return;
	}
	if (!resolve(&o)) {
		respond(&o);
		return;
	}
	kerr = start(&o, &g, &op);
	if (kerr != SL_KERR_NONE) {
		if (g)
			state_forget_unused(c, g);
		fail_rest(&o, kerr);
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
