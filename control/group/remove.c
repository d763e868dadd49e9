/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ends with tombstones: DeleteGroups, OffsetDelete, deleted topics, and offsets and groups
 * past their retention.  Things are gone when the tombstones are on the log; until then a group
 * that is being deleted takes no changes.
 */
#include "consumer.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/wire/delete_groups_gen.h"
#include "sluice/wire/offset_delete_gen.h"

#define TYPE_CONSUMER    "consumer"
/* In op.errors: a group that the request names once more; it is answered once. */
#define RESULT_DUPLICATE INT16_MIN

static void mark_duplicates(const struct sl_delete_groups_req *m, int16_t *errors)
{
	struct sl_map seen = {0};

	for (int32_t i = 0; i < m->groups_names_count; i++) {
		struct sl_str *name = &m->groups_names[i];

		/* Without memory the second one finds the group being deleted. */
		if (sl_map_put(&seen, name->p, (size_t)name->len, name) == -EEXIST)
			errors[i] = RESULT_DUPLICATE;
	}
	sl_map_fini(&seen);
}

static bool fill_groups(struct group_coord *c, const struct sl_delete_groups_req *m,
                        const int16_t *errors, struct sl_delete_groups_resp *resp)
{
	sl_delete_groups_resp_init(resp);
	resp->results = sl_arena_alloc_array(&c->arena, (size_t)m->groups_names_count,
	                                     sizeof(*resp->results));
	if (!resp->results)
		return false;
	for (int32_t i = 0; i < m->groups_names_count; i++) {
		struct sl_delete_groups_resp_result *to = &resp->results[resp->results_count];

		if (errors[i] == RESULT_DUPLICATE)
			continue;
		sl_delete_groups_resp_result_init(to);
		to->group_id = m->groups_names[i];
		to->error_code = errors[i];
		resp->results_count++;
	}
	return true;
}

static void close_held(struct group_coord *c, struct parked *p)
{
	struct reply_to to = p->to;
	bool is_gone = p->is_gone;

	reply_forget(c, p);
	if (!is_gone)
		reply_close(c, &to, COUNT_closed_too_large);
}

void remove_finish_groups(struct group_coord *c, struct op *op, const void *m)
{
	struct sl_delete_groups_resp resp;
	struct parked *p = op->parked;

	op->parked = NULL;
	if (fill_groups(c, m, op->errors, &resp))
		reply_unpark(c, p, &resp);
	else
		close_held(c, p);
}

static enum sl_kerr delete_offsets(struct append_writer *w, struct group *g, int32_t result)
{
	struct offset **list;
	uint32_t count;

	if (offsets_sorted(w->c, g, OFFSETS_ALL, &list, &count)) {
		coord_count(w->c, COUNT_refused_no_memory);
		return SL_KERR_COORDINATOR_NOT_AVAILABLE;
	}
	for (uint32_t i = 0; i < count; i++)
		append_offset(w, g, list[i], NULL, result);
	return SL_KERR_NONE;
}

static enum sl_kerr delete_group(struct group_coord *c, struct sl_str id, struct op *op,
                                 int32_t result)
{
	enum sl_kerr kerr = state_check_shard(c, id);
	struct append_writer w;
	struct group *g;

	if (kerr != SL_KERR_NONE)
		return kerr;
	g = state_find(c, id);
	if (!g)
		return SL_KERR_GROUP_ID_NOT_FOUND;
	if (g->state != GROUP_EMPTY || !consumer_is_empty(g))
		return SL_KERR_NON_EMPTY_GROUP;
	if (g->is_deleting)
		return SL_KERR_COORDINATOR_LOAD_IN_PROGRESS;
	g->in_flight++;
	append_begin(&w, c, g->shard, op);
	kerr = delete_offsets(&w, g, result);
	if (kerr == SL_KERR_NONE)
		append_group_gone(&w, g, result);
	append_end(&w);
	g->in_flight--;
	state_forget_unused(c, g);
	return kerr;
}

/* Makes the op that answers the request.  Takes @errors if it succeeds. */
static struct op *make_op(struct group_coord *c, enum op_kind kind, const struct request *rq,
                          int16_t *errors, int32_t errors_count)
{
	struct op *op = append_op_create(kind);

	if (!op)
		return NULL;
	op->parked = reply_park(c, &rq->to);
	if (!op->parked || append_op_keep(c, op, rq, errors, errors_count)) {
		append_op_destroy(c, op);
		return NULL;
	}
	return op;
}

void remove_handle_groups(struct group_coord *c, const struct request *rq, const void *msg)
{
	const struct sl_delete_groups_req *m = msg;
	int16_t *errors = calloc((size_t)m->groups_names_count + 1, sizeof(*errors));
	struct op *op = errors ? make_op(c, OP_DELETE_GROUPS, rq, errors, m->groups_names_count)
	                       : NULL;

	if (!op) {
		free(errors);
		reply_close(c, &rq->to, COUNT_refused_no_memory);
		return;
	}
	mark_duplicates(m, errors);
	for (int32_t i = 0; i < m->groups_names_count; i++) {
		enum sl_kerr kerr;

		if (errors[i] == RESULT_DUPLICATE)
			continue;
		kerr = delete_group(c, m->groups_names[i], op, i);
		if (kerr != SL_KERR_NONE)
			errors[i] = (int16_t)kerr;
	}
	append_op_release(c, op);
}

static bool fill_offsets(struct group_coord *c, const struct sl_offset_delete_req *m,
                         const int16_t *errors, struct sl_offset_delete_resp *resp)
{
	int32_t at = 0;

	resp->topics = sl_arena_alloc_array(&c->arena, (size_t)m->topics_count,
	                                    sizeof(*resp->topics));
	if (!resp->topics)
		return false;
	resp->topics_count = m->topics_count;
	for (int32_t i = 0; i < m->topics_count; i++) {
		const struct sl_offset_delete_req_topic *from = &m->topics[i];
		struct sl_offset_delete_resp_topic *to = &resp->topics[i];

		to->name = from->name;
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

void remove_finish_offsets(struct group_coord *c, struct op *op, const void *m)
{
	struct sl_offset_delete_resp resp;
	struct parked *p = op->parked;

	op->parked = NULL;
	sl_offset_delete_resp_init(&resp);
	resp.error_code = (int16_t)op->kerr;
	if (op->kerr != SL_KERR_NONE || fill_offsets(c, m, op->errors, &resp))
		reply_unpark(c, p, &resp);
	else
		close_held(c, p);
}

static enum sl_kerr check_offset_delete(struct group_coord *c, struct sl_str id, struct group **out)
{
	enum sl_kerr kerr = id.len <= 0 ? SL_KERR_INVALID_GROUP_ID : state_check_shard(c, id);
	struct group *g;

	if (kerr != SL_KERR_NONE)
		return kerr;
	g = state_find(c, id);
	if (!g)
		return SL_KERR_GROUP_ID_NOT_FOUND;
	if (g->is_deleting)
		return SL_KERR_COORDINATOR_LOAD_IN_PROGRESS;
	/* Of other kinds of groups nobody knows which topics they are reading. */
	if (g->state != GROUP_EMPTY && !sl_str_eq_c(g->protocol_type, TYPE_CONSUMER))
		return SL_KERR_NON_EMPTY_GROUP;
	*out = g;
	return SL_KERR_NONE;
}

static void delete_topic_offsets(struct append_writer *w, struct group *g,
                                 const struct sl_offset_delete_req_topic *t, int32_t at)
{
	const struct group_opts *opts = &w->c->opts;
	bool is_read = protocol_is_subscribed(g, t->name);

	for (int32_t k = 0; k < t->partitions_count; k++, at++) {
		int32_t index = t->partitions[k].partition_index;
		struct offset *o = offsets_find(g, t->name, index);

		if (!opts->has_partition(opts->ctx, t->name, index))
			w->op->errors[at] = SL_KERR_UNKNOWN_TOPIC_OR_PARTITION;
		else if (is_read)
			w->op->errors[at] = SL_KERR_GROUP_SUBSCRIBED_TO_TOPIC;
		else if (o)
			append_offset(w, g, o, NULL, at);
	}
}

void remove_handle_offsets(struct group_coord *c, const struct request *rq, const void *msg)
{
	const struct sl_offset_delete_req *m = msg;
	struct group *g = NULL;
	enum sl_kerr kerr = check_offset_delete(c, m->group_id, &g);
	struct sl_offset_delete_resp resp;
	struct append_writer w;
	int16_t *errors = NULL;
	struct op *op = NULL;
	int32_t n = 0;

	for (int32_t i = 0; i < m->topics_count; i++)
		n += m->topics[i].partitions_count;
	if (kerr == SL_KERR_NONE) {
		errors = calloc((size_t)n + 1, sizeof(*errors));
		op = errors ? make_op(c, OP_OFFSET_DELETE, rq, errors, n) : NULL;
	}
	if (!op) {
		free(errors);
		sl_offset_delete_resp_init(&resp);
		resp.error_code =
			(int16_t)(kerr != SL_KERR_NONE ? kerr : SL_KERR_COORDINATOR_NOT_AVAILABLE);
		reply_send(c, &rq->to, &resp);
		return;
	}
	g->in_flight++;
	append_begin(&w, c, g->shard, op);
	n = 0;
	for (int32_t i = 0; i < m->topics_count; i++) {
		delete_topic_offsets(&w, g, &m->topics[i], n);
		n += m->topics[i].partitions_count;
	}
	append_end(&w);
	g->in_flight--;
	state_forget_unused(c, g);
	append_op_release(c, op);
}

static void remove_topic_from(struct group_coord *c, struct group *g, struct sl_str topic)
{
	struct op *op = append_op_create(OP_PLAIN);
	struct append_writer w;
	struct offset **list;
	uint32_t count;

	if (!op || offsets_sorted(c, g, OFFSETS_ALL, &list, &count)) {
		coord_count(c, COUNT_refused_no_memory);
		if (op)
			append_op_destroy(c, op);
		return;
	}
	g->in_flight++;
	append_begin(&w, c, g->shard, op);
	for (uint32_t i = 0; i < count; i++) {
		if (sl_str_eq(offsets_topic(list[i]), topic))
			append_offset(&w, g, list[i], NULL, -1);
	}
	append_end(&w);
	g->in_flight--;
	state_forget_unused(c, g);
	append_op_release(c, op);
}

static bool is_changeable(const struct group *g)
{
	return g->shard->state == SHARD_ACTIVE && !g->is_deleting;
}

static void remove_topic_from_shard(struct group_coord *c, struct shard *shard, struct sl_str topic)
{
	struct sl_list *pos;
	struct sl_list *tmp;

	sl_list_for_each_safe(pos, tmp, &shard->groups) {
		struct group *g = sl_list_entry(pos, struct group, shard_link);

		sl_arena_reset(&c->arena);
		if (is_changeable(g))
			remove_topic_from(c, g, topic);
	}
}

/* What is being read was committed before, so the end of loading is the time to remove it. */
static void remember_deleted_topic(struct group_coord *c, struct shard *shard, struct sl_str topic)
{
	struct deleted_topic *t = NULL;

	if (shard->deleted_topics_count < LIMIT_DELETED_TOPICS)
		t = calloc(1, sizeof(*t));
	if (!t || text_dup(&t->name, topic)) {
		free(t);
		coord_count(c, COUNT_refused_no_memory);
		return;
	}
	sl_list_push_back(&shard->deleted_topics, &t->link);
	shard->deleted_topics_count++;
}

void remove_topic(struct group_coord *c, struct sl_str topic)
{
	for (int32_t i = 0; i < c->opts.partitions_count; i++) {
		if (c->shards[i].state == SHARD_LOADING)
			remember_deleted_topic(c, &c->shards[i], topic);
		else
			remove_topic_from_shard(c, &c->shards[i], topic);
	}
}

void remove_deleted_topics(struct group_coord *c, struct shard *shard)
{
	struct sl_list *pos;

	sl_list_for_each(pos, &shard->deleted_topics)
		remove_topic_from_shard(c, shard,
		                        sl_list_entry(pos, struct deleted_topic, link)->name);
	remove_forget_deleted_topics(shard);
}

void remove_forget_deleted_topics(struct shard *shard)
{
	struct sl_list *pos;
	struct sl_list *tmp;

	sl_list_for_each_safe(pos, tmp, &shard->deleted_topics) {
		struct deleted_topic *t = sl_list_entry(pos, struct deleted_topic, link);

		sl_list_del(&t->link);
		text_free(&t->name);
		free(t);
	}
	shard->deleted_topics_count = 0;
}

/* Do the group's rules let offsets expire at all in its present state? */
static bool can_expire(const struct group *g)
{
	if (sl_str_is_null(g->protocol_type) || g->state == GROUP_EMPTY)
		return true;
	return g->state == GROUP_STABLE && g->is_subscribed_known;
}

static bool is_expired(const struct group_coord *c, const struct group *g, const struct offset *o)
{
	const struct committed *v = o->committed;
	int64_t since_ms = v->commit_ms;

	if (v->expire_ms >= 0)
		return c->wall_ms >= v->expire_ms;
	/* KIP-211: the time counts from when the group lost its last member. */
	if (!sl_str_is_null(g->protocol_type) && g->state == GROUP_EMPTY && g->state_since_ms >= 0)
		since_ms = g->state_since_ms;
	return c->wall_ms - since_ms >= c->opts.offsets_retention_ms;
}

/* Return: whether nothing of the group's offsets is left to keep. */
static bool expire_offsets(struct group_coord *c, struct group *g, struct append_writer *w)
{
	bool is_all = true;
	struct offset *o;
	uint32_t pos = 0;

	if (g->offsets.count > 0 && !can_expire(g))
		return false;
	/* In no order: most scans find nothing.  What is committed stays while its tombstone is on
	 * its way, so the map does not change under the scan. */
	while ((o = sl_map_next(&g->offsets, &pos)) != NULL) {
		/* What is on its way to the log is new, whatever is committed now; so is what a
		 * transaction may commit. */
		if (o->in_flight > 0 || pending_has_offset(o) ||
		    protocol_is_subscribed(g, offsets_topic(o)) || !is_expired(c, g, o)) {
			is_all = false;
			continue;
		}
		coord_count(c, COUNT_offsets_expired);
		append_offset(w, g, o, NULL, -1);
	}
	return is_all;
}

static void expire_group(struct group_coord *c, struct group *g)
{
	struct op *op = append_op_create(OP_PLAIN);
	bool is_idle = g->in_flight == 0;
	struct append_writer w;

	if (!op) {
		coord_count(c, COUNT_refused_no_memory);
		return;
	}
	g->in_flight++;
	append_begin(&w, c, g->shard, op);
	if (expire_offsets(c, g, &w) && is_idle && g->state == GROUP_EMPTY &&
	    consumer_is_empty(g) && g->pendings_by_id.count == 0) {
		coord_count(c, COUNT_groups_expired);
		append_group_gone(&w, g, -1);
	}
	append_end(&w);
	g->in_flight--;
	state_forget_unused(c, g);
	append_op_release(c, op);
}

void remove_expired(struct group_coord *c)
{
	struct sl_list *pos;
	struct sl_list *tmp;

	sl_list_for_each_safe(pos, tmp, &c->all_groups) {
		struct group *g = sl_list_entry(pos, struct group, link);

		sl_arena_reset(&c->arena);
		if (is_changeable(g))
			expire_group(c, g);
	}
}
