/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of consumer groups on their way to the log, and answers that wait for them.
 *
 * The state in memory is ahead of the log; nobody is told of it before the log has it.  The order
 * of the records makes every beginning of them a state that can be gone on from: who leaves before
 * who takes over, the group's epoch before a target, the target's members before its epoch.
 *
 * When the log refuses a change, what was handed out after it rests on nothing: its answers fail
 * too, and the next request of the group writes all of it anew.
 */
#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/wire/consumer_group_current_member_assignment_key_gen.h"
#include "sluice/wire/consumer_group_current_member_assignment_value_gen.h"
#include "sluice/wire/consumer_group_heartbeat_gen.h"
#include "sluice/wire/consumer_group_member_metadata_key_gen.h"
#include "sluice/wire/consumer_group_member_metadata_value_gen.h"
#include "sluice/wire/consumer_group_metadata_key_gen.h"
#include "sluice/wire/consumer_group_metadata_value_gen.h"
#include "sluice/wire/consumer_group_regular_expression_key_gen.h"
#include "sluice/wire/consumer_group_regular_expression_value_gen.h"
#include "sluice/wire/consumer_group_target_assignment_member_key_gen.h"
#include "sluice/wire/consumer_group_target_assignment_member_value_gen.h"
#include "sluice/wire/consumer_group_target_assignment_metadata_key_gen.h"
#include "sluice/wire/consumer_group_target_assignment_metadata_value_gen.h"
#include "sluice/wire/leave_group_gen.h"

#include "consumer.h"

#define VALUE_VERSION 0

/* ---- Records ---- */

static void begin(struct group_coord *c, int16_t type)
{
	sl_buf_reset(&c->key);
	sl_buf_reset(&c->value);
	sl_put_i16(&c->key, type);
	sl_put_i16(&c->value, VALUE_VERSION);
}

/* The keys of the three kinds of a member's records have the same fields. */
static void begin_member(struct group_coord *c, int16_t type, const struct group *g,
                         struct sl_str member_id)
{
	const struct sl_consumer_group_member_metadata_key key = {g->id, member_id};

	begin(c, type);
	sl_consumer_group_member_metadata_key_encode(&key, &c->key, 0);
}

static void put_member(struct append_writer *w, struct group *g, const struct cmember *m)
{
	struct sl_consumer_group_member_metadata_value_classic_member_metadata classic;
	struct sl_consumer_group_member_metadata_value v;
	struct group_coord *c = w->c;

	begin_member(c, SL_CONSUMER_GROUP_MEMBER_METADATA_KEY_TYPE, g, m->id);
	sl_consumer_group_member_metadata_value_init(&v);
	v.instance_id = m->instance_id;
	v.rack_id = m->rack_id;
	v.client_id = m->client_id;
	v.client_host = m->client_host;
	v.subscribed_topic_names = m->names;
	v.subscribed_topic_names_count = (int32_t)m->names_count;
	v.subscribed_topic_regex = m->pattern ? m->pattern->text : SL_STR_NULL;
	v.rebalance_timeout_ms = m->rebalance_timeout_ms;
	v.server_assignor = m->assignor;
	if (m->classic) {
		const struct protocols *p = m->classic->protocols;

		sl_consumer_group_member_metadata_value_classic_member_metadata_init(&classic);
		classic.session_timeout_ms = m->classic->session_timeout_ms;
		classic.supported_protocols = sl_arena_alloc_array(
			&c->arena, (size_t)p->count + 1, sizeof(*classic.supported_protocols));
		for (int32_t i = 0; classic.supported_protocols && i < p->count; i++) {
			classic.supported_protocols[i].name = p->list[i].name;
			classic.supported_protocols[i].metadata = p->list[i].metadata;
		}
		classic.supported_protocols_count = p->count;
		if (!classic.supported_protocols)
			c->value.failed = true;
		v.classic_member_metadata = &classic;
	}
	if (sl_buf_ok(&c->value))
		sl_consumer_group_member_metadata_value_encode(&v, &c->value, VALUE_VERSION);
	append_consumer(w, g, false);
}

static void put_group(struct append_writer *w, struct group *g)
{
	struct sl_consumer_group_metadata_value v;
	struct group_coord *c = w->c;

	sl_buf_reset(&c->value);
	sl_buf_reset(&c->key);
	persist_group_key(&c->key, g);
	sl_put_i16(&c->value, VALUE_VERSION);
	sl_consumer_group_metadata_value_init(&v);
	v.epoch = g->consumer->epoch;
	v.metadata_hash = g->consumer->hash;
	sl_consumer_group_metadata_value_encode(&v, &c->value, VALUE_VERSION);
	append_consumer(w, g, false);
}

void persist_group_key(struct sl_buf *b, const struct group *g)
{
	const struct sl_consumer_group_metadata_key key = {g->id};

	sl_put_i16(b, SL_CONSUMER_GROUP_METADATA_KEY_TYPE);
	sl_consumer_group_metadata_key_encode(&key, b, 0);
}

static void put_target_epoch(struct append_writer *w, struct group *g, bool is_tombstone)
{
	const struct sl_consumer_group_target_assignment_metadata_key key = {g->id};
	struct sl_consumer_group_target_assignment_metadata_value v;
	struct group_coord *c = w->c;

	begin(c, SL_CONSUMER_GROUP_TARGET_ASSIGNMENT_METADATA_KEY_TYPE);
	sl_consumer_group_target_assignment_metadata_key_encode(&key, &c->key, 0);
	if (!is_tombstone) {
		sl_consumer_group_target_assignment_metadata_value_init(&v);
		v.assignment_epoch = g->consumer->target_epoch;
		v.assignment_timestamp = g->consumer->target_ms;
		sl_consumer_group_target_assignment_metadata_value_encode(&v, &c->value,
		                                                          VALUE_VERSION);
	}
	append_consumer(w, g, is_tombstone);
}

/* Numbers of the partitions of one topic, in the arena. */
static int32_t *numbers(struct group_coord *c, const struct parts *p, uint32_t from, uint32_t end,
                        bool is_epoch)
{
	int32_t *list = sl_arena_alloc_array(&c->arena, end - from, sizeof(*list));

	for (uint32_t i = from; list && i < end; i++)
		list[i - from] = is_epoch ? p->list[i].epoch : p->list[i].partition;
	return list;
}

static void put_target(struct append_writer *w, struct group *g, const struct cmember *m)
{
	struct sl_consumer_group_target_assignment_member_value v;
	struct group_coord *c = w->c;
	uint32_t end;

	begin_member(c, SL_CONSUMER_GROUP_TARGET_ASSIGNMENT_MEMBER_KEY_TYPE, g, m->id);
	sl_consumer_group_target_assignment_member_value_init(&v);
	v.topic_partitions = sl_arena_alloc_array(&c->arena, parts_topics(&m->target) + 1,
	                                          sizeof(*v.topic_partitions));
	for (uint32_t i = 0; v.topic_partitions && i < m->target.count; i = end) {
		end = parts_topic_end(&m->target, i);
		v.topic_partitions[v.topic_partitions_count++] =
			(struct sl_consumer_group_target_assignment_member_value_topic_partition){
				.topic_id = m->target.list[i].topic,
				.partitions = numbers(c, &m->target, i, end, false),
				.partitions_count = (int32_t)(end - i),
			};
	}
	if (c->arena.failed)
		c->value.failed = true;
	else
		sl_consumer_group_target_assignment_member_value_encode(&v, &c->value,
		                                                        VALUE_VERSION);
	append_consumer(w, g, false);
}

/* The two lists of a member have types of their own, with the same members. */
_Static_assert(
	sizeof(struct sl_consumer_group_current_member_assignment_value_assigned_partition) ==
		sizeof(struct
                       sl_consumer_group_current_member_assignment_value_partitions_pending_revocation),
	"one form for both");

static void put_current(struct append_writer *w, struct group *g, const struct cmember *m)
{
	struct sl_consumer_group_current_member_assignment_value v;
	struct group_coord *c = w->c;
	uint32_t end;

	begin_member(c, SL_CONSUMER_GROUP_CURRENT_MEMBER_ASSIGNMENT_KEY_TYPE, g, m->id);
	sl_consumer_group_current_member_assignment_value_init(&v);
	v.member_epoch = m->epoch;
	v.previous_member_epoch = m->epoch_before;
	v.state = (int8_t)m->state;
	v.assigned_partitions = sl_arena_alloc_array(&c->arena, parts_topics(&m->assigned) + 1,
	                                             sizeof(*v.assigned_partitions));
	v.partitions_pending_revocation =
		sl_arena_alloc_array(&c->arena, parts_topics(&m->revoking) + 1,
	                             sizeof(*v.partitions_pending_revocation));
	for (uint32_t i = 0; v.assigned_partitions && i < m->assigned.count; i = end) {
		end = parts_topic_end(&m->assigned, i);
		v.assigned_partitions[v.assigned_partitions_count++] =
			(struct
		         sl_consumer_group_current_member_assignment_value_assigned_partition){
				.topic_id = m->assigned.list[i].topic,
				.partitions = numbers(c, &m->assigned, i, end, false),
				.partitions_count = (int32_t)(end - i),
				.assignment_epochs = numbers(c, &m->assigned, i, end, true),
				.assignment_epochs_count = (int32_t)(end - i),
			};
	}
	for (uint32_t i = 0; v.partitions_pending_revocation && i < m->revoking.count; i = end) {
		end = parts_topic_end(&m->revoking, i);
		v.partitions_pending_revocation[v.partitions_pending_revocation_count++] =
			(struct
		         sl_consumer_group_current_member_assignment_value_partitions_pending_revocation){
				.topic_id = m->revoking.list[i].topic,
				.partitions = numbers(c, &m->revoking, i, end, false),
				.partitions_count = (int32_t)(end - i),
				.assignment_epochs = numbers(c, &m->revoking, i, end, true),
				.assignment_epochs_count = (int32_t)(end - i),
			};
	}
	if (c->arena.failed)
		c->value.failed = true;
	else
		sl_consumer_group_current_member_assignment_value_encode(&v, &c->value,
		                                                         VALUE_VERSION);
	append_consumer(w, g, false);
}

static void put_pattern(struct append_writer *w, struct group *g, struct sl_str text,
                        const struct pattern *p)
{
	const struct sl_consumer_group_regular_expression_key key = {g->id, text};
	struct sl_consumer_group_regular_expression_value v;
	struct group_coord *c = w->c;

	begin(c, SL_CONSUMER_GROUP_REGULAR_EXPRESSION_KEY_TYPE);
	sl_consumer_group_regular_expression_key_encode(&key, &c->key, 0);
	if (p) {
		sl_consumer_group_regular_expression_value_init(&v);
		v.topics = p->topics;
		v.topics_count = (int32_t)p->topics_count;
		v.version = (int64_t)g->consumer->topics_seq;
		v.timestamp = p->resolved_ms;
		sl_consumer_group_regular_expression_value_encode(&v, &c->value, VALUE_VERSION);
	}
	append_consumer(w, g, !p);
}

/* A member that left and one that never was on the log get the same tombstones. */
static void put_member_gone(struct append_writer *w, struct group *g, struct sl_str id)
{
	static const int16_t types[] = {
		SL_CONSUMER_GROUP_CURRENT_MEMBER_ASSIGNMENT_KEY_TYPE,
		SL_CONSUMER_GROUP_TARGET_ASSIGNMENT_MEMBER_KEY_TYPE,
		SL_CONSUMER_GROUP_MEMBER_METADATA_KEY_TYPE,
	};

	for (uint32_t i = 0; i < SL_ARRAY_SIZE(types); i++) {
		begin_member(w->c, types[i], g, id);
		append_consumer(w, g, true);
	}
}

/* Unless somebody came by the same name since. */
static void put_gone(struct append_writer *w, struct group *g, const struct gone *gone)
{
	if (!gone->is_pattern && !consumer_find(g->consumer, gone->text))
		put_member_gone(w, g, gone->text);
	if (gone->is_pattern &&
	    !sl_map_get(&g->consumer->patterns, gone->text.p, (size_t)gone->text.len))
		put_pattern(w, g, gone->text, NULL);
}

static void put_all_gone(struct append_writer *w, struct group *g)
{
	struct cgroup *cg = g->consumer;
	struct gone *gone;

	while ((gone = sl_list_first(&cg->gone, struct gone, link)) != NULL) {
		put_gone(w, g, gone);
		gone->seq = cg->sent;
		sl_list_del(&gone->link);
		sl_list_push_back(&cg->gone_sent, &gone->link);
	}
}

void persist_gone(struct append_writer *w, struct group *g)
{
	put_all_gone(w, g);
	put_target_epoch(w, g, true);
}

static void put_group_gone(struct append_writer *w, struct group *g)
{
	sl_buf_reset(&w->c->key);
	sl_buf_reset(&w->c->value);
	persist_group_key(&w->c->key, g);
	append_consumer(w, g, true);
}

void persist_all_gone(struct append_writer *w, struct group *g)
{
	struct cgroup *cg = g->consumer;
	struct sl_list *pos;

	/* Those on their way may be refused yet. */
	sl_list_for_each(pos, &cg->gone_sent)
		put_gone(w, g, sl_list_entry(pos, struct gone, link));
	put_all_gone(w, g);
	for (uint32_t i = 0; i < cg->members_count; i++)
		put_member_gone(w, g, cg->members[i]->id);
	put_target_epoch(w, g, true);
	put_group_gone(w, g);
}

void persist_ghosts(struct append_writer *w, struct group *g)
{
	struct sl_list *pos;

	SL_ASSERT(!g->consumer);
	if (sl_list_is_empty(&g->ghosts))
		return;
	sl_list_for_each(pos, &g->ghosts) {
		const struct gone *gone = sl_list_entry(pos, struct gone, link);

		if (gone->is_pattern)
			put_pattern(w, g, gone->text, NULL);
		else
			put_member_gone(w, g, gone->text);
	}
	put_target_epoch(w, g, true);
	put_group_gone(w, g);
}

/* The classic group that it was is no more. */
static void put_classic_gone(struct append_writer *w, struct group *g)
{
	sl_buf_reset(&w->c->key);
	sl_buf_reset(&w->c->value);
	records_group_key(&w->c->key, g->id);
	append_consumer(w, g, true);
}

/* ---- Changes ---- */

static void mark_all(struct cgroup *cg)
{
	struct pattern *p;
	uint32_t pos = 0;

	for (uint32_t i = 0; i < cg->members_count; i++) {
		cg->members[i]->is_member_changed = true;
		cg->members[i]->is_target_changed = true;
		cg->members[i]->is_current_changed = true;
		consumer_mark(cg->members[i]);
	}
	while ((p = sl_map_next(&cg->patterns, &pos)) != NULL)
		p->is_changed = true;
	cg->is_group_changed = true;
	cg->is_target_changed = true;
}

static void put_patterns(struct append_writer *w, struct group *g)
{
	struct pattern *p;
	uint32_t pos = 0;

	while ((p = sl_map_next(&g->consumer->patterns, &pos)) != NULL) {
		if (!p->is_changed)
			continue;
		p->is_changed = false;
		put_pattern(w, g, p->text, p);
	}
}

static void put_changed(struct append_writer *w, struct group *g)
{
	struct cgroup *cg = g->consumer;
	struct sl_list *pos;
	struct sl_list *tmp;

	if (cg->is_classic_gone)
		put_classic_gone(w, g);
	cg->is_classic_gone = false;
	put_all_gone(w, g);
	put_patterns(w, g);
	sl_list_for_each(pos, &cg->changed) {
		struct cmember *m = sl_list_entry(pos, struct cmember, changed);

		if (m->is_member_changed)
			put_member(w, g, m);
	}
	if (cg->is_group_changed)
		put_group(w, g);
	sl_list_for_each(pos, &cg->changed) {
		struct cmember *m = sl_list_entry(pos, struct cmember, changed);

		if (m->is_target_changed)
			put_target(w, g, m);
	}
	if (cg->is_target_changed)
		put_target_epoch(w, g, false);
	sl_list_for_each_safe(pos, tmp, &cg->changed) {
		struct cmember *m = sl_list_entry(pos, struct cmember, changed);

		if (m->is_current_changed && !PLANTED(forget_current))
			put_current(w, g, m);
		m->is_member_changed = false;
		m->is_target_changed = false;
		m->is_current_changed = false;
		sl_list_del(&m->changed);
	}
	cg->is_group_changed = false;
	cg->is_target_changed = false;
}

static bool has_changes(struct cgroup *cg)
{
	return cg->is_dirty || cg->is_group_changed || cg->is_target_changed ||
	       !sl_list_is_empty(&cg->changed) || !sl_list_is_empty(&cg->gone);
}

/* All that was handed out so far rests on something the log does not have. */
static void mark_broken(struct cgroup *cg)
{
	cg->is_dirty = true;
	cg->broken = cg->sent;
}

void persist_flush(struct group_coord *c, struct cgroup *cg)
{
	struct group *g = cg->group;
	struct append_writer w;
	struct op *op;

	if (!has_changes(cg))
		return;
	op = append_op_create(OP_CONSUMER);
	if (!op) {
		coord_count(c, COUNT_refused_no_memory);
		mark_broken(cg);
		return;
	}
	cg->sent++;
	if (cg->is_dirty) {
		coord_count(c, COUNT_consumer_rewrites);
		mark_all(cg);
		cg->is_dirty = false;
	}
	op->group = g;
	op->serial = cg->serial;
	op->consumer_seq = cg->sent;
	append_begin(&w, c, g->shard, op);
	put_changed(&w, g);
	append_end(&w);
	append_op_release(c, op);
}

/* ---- Answers ---- */

static void destroy_waiter(struct waiter *wt)
{
	sl_list_del(&wt->link);
	sl_buf_fini(&wt->bytes);
	free(wt);
}

static void send_error(struct group_coord *c, struct parked *p, enum sl_kerr kerr)
{
	struct sl_consumer_group_heartbeat_resp beat;
	struct sl_join_group_resp join;
	struct sl_sync_group_resp sync;
	struct sl_leave_group_resp leave;

	switch (p->to.api_key) {
	case SL_API_CONSUMER_GROUP_HEARTBEAT:
		sl_consumer_group_heartbeat_resp_init(&beat);
		beat.error_code = (int16_t)kerr;
		reply_unpark(c, p, &beat);
		break;
	case SL_API_JOIN_GROUP:
		reply_join_fill(&join, kerr, (struct sl_str){"", 0});
		reply_unpark(c, p, &join);
		break;
	case SL_API_SYNC_GROUP:
		sl_sync_group_resp_init(&sync);
		sync.error_code = (int16_t)kerr;
		reply_unpark(c, p, &sync);
		break;
	default:
		SL_ASSERT(p->to.api_key == SL_API_LEAVE_GROUP);
		sl_leave_group_resp_init(&leave);
		leave.error_code = (int16_t)kerr;
		reply_unpark(c, p, &leave);
		break;
	}
}

static void release(struct group_coord *c, struct waiter *wt, enum sl_kerr kerr)
{
	struct parked *p = wt->parked;

	if (kerr != SL_KERR_NONE)
		send_error(c, p, kerr);
	else
		reply_unpark_bytes(c, p, (struct sl_bytes){wt->bytes.p, (int32_t)wt->bytes.len});
	destroy_waiter(wt);
}

void persist_answer(struct group_coord *c, struct cgroup *cg, const struct reply_to *to,
                    const void *resp)
{
	struct waiter *wt = NULL;
	struct parked *p;

	if ((cg->done == cg->sent && !cg->is_dirty) || PLANTED(answer_early)) {
		reply_send(c, to, resp);
		return;
	}
	p = reply_park(c, to);
	if (p)
		wt = calloc(1, sizeof(*wt));
	if (!wt) {
		if (p)
			reply_forget(c, p);
		reply_close(c, to, COUNT_refused_no_memory);
		return;
	}
	wt->parked = p;
	wt->seq = cg->sent;
	sl_buf_init_grow(&wt->bytes, LIMIT_OUT_BYTES);
	reply_encode(&wt->bytes, to, resp);
	sl_list_push_back(&cg->waiters, &wt->link);
	if (!sl_buf_ok(&wt->bytes) || cg->done == cg->sent)
		release(c, wt, SL_KERR_COORDINATOR_NOT_AVAILABLE);
}

void persist_fail_waiters(struct group_coord *c, struct cgroup *cg, enum sl_kerr kerr)
{
	struct waiter *wt;

	while ((wt = sl_list_first(&cg->waiters, struct waiter, link)) != NULL)
		release(c, wt, kerr);
}

/* Tombstones that the log has are done with; others are to be written again. */
static void settle_gone(struct cgroup *cg, uint64_t seq, bool is_refused)
{
	struct sl_list *pos;
	struct sl_list *tmp;

	sl_list_for_each_safe(pos, tmp, &cg->gone_sent) {
		struct gone *gone = sl_list_entry(pos, struct gone, link);

		if (gone->seq != seq)
			continue;
		sl_list_del(&gone->link);
		if (is_refused) {
			sl_list_push_back(&cg->gone, &gone->link);
			continue;
		}
		text_free(&gone->text);
		free(gone);
	}
}

void persist_finish(struct group_coord *c, struct op *op)
{
	struct cgroup *cg = op->group ? op->group->consumer : NULL;
	struct waiter *wt;

	/* The group may be of another kind by now. */
	if (!cg || cg->serial != op->serial)
		return;
	/* One that could not even be handed out overtakes those on their way. */
	cg->done = SL_MAX(cg->done, op->consumer_seq);
	settle_gone(cg, op->consumer_seq, op->kerr != SL_KERR_NONE && !PLANTED(trust_refused));
	if (op->kerr != SL_KERR_NONE && !PLANTED(trust_refused))
		mark_broken(cg);
	while ((wt = sl_list_first(&cg->waiters, struct waiter, link)) != NULL &&
	       wt->seq <= cg->done)
		release(c, wt,
		        wt->seq > cg->broken       ? SL_KERR_NONE
		        : op->kerr != SL_KERR_NONE ? op->kerr
		                                   : SL_KERR_COORDINATOR_NOT_AVAILABLE);
}
