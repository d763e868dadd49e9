/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records on their way to the log.  Changes are handed out as batches and take effect when the log
 * has them, in the order in which they were handed out, whatever order the outcomes arrive in.
 *
 * An op ties the batches of one cause together and says who is answered once all are done.  Relies
 * on: the caller appends a partition's batches in the order of the actions.
 *
 * A batch grows in a buffer of its own, one at a time, so that an answer sent meanwhile cannot end
 * up inside of it.
 */
#include "consumer.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

struct op *append_op_create(enum op_kind kind)
{
	struct op *op = calloc(1, sizeof(*op));

	if (op)
		*op = (struct op){.kind = kind, .left = 1};
	return op;
}

int append_op_keep(struct group_coord *c, struct op *op, const struct request *rq, int16_t *errors,
                   int32_t errors_count)
{
	struct sl_bytes body;

	if (c->held_bytes + (size_t)rq->body.len > LIMIT_HELD_BYTES) {
		coord_count(c, COUNT_refused_held_full);
		return -ENOMEM;
	}
	if (text_dup_bytes(&body, rq->body)) {
		coord_count(c, COUNT_refused_no_memory);
		return -ENOMEM;
	}
	op->body = (void *)(uintptr_t)body.p;
	op->body_len = body.len;
	c->held_bytes += (size_t)body.len;
	op->errors = errors;
	op->errors_count = errors_count;
	return 0;
}

void append_op_destroy(struct group_coord *c, struct op *op)
{
	if (op->parked)
		reply_forget(c, op->parked);
	if (op->body)
		c->held_bytes -= (size_t)op->body_len;
	free(op->body);
	free(op->errors);
	text_free(&op->id_new);
	text_free(&op->id_old);
	text_free(&op->leader_old);
	free(op->protocols_old);
	free(op);
}

/* Answers a request item by item, from its kept bytes.  They were decoded once already. */
static void answer(struct group_coord *c, struct op *op)
{
	const struct sl_api *api = sl_api_find(op->parked->to.api_key);
	struct sl_cursor cur = sl_cursor_from(op->body, (size_t)op->body_len);
	struct reply_to to = op->parked->to;
	bool is_gone = op->parked->is_gone;
	void *m = sl_arena_alloc(&c->arena, api->req_bytes);

	if (!m || api->req_decode(m, &cur, &c->arena, to.version)) {
		reply_forget(c, op->parked);
		op->parked = NULL;
		if (!is_gone)
			reply_close(c, &to, COUNT_closed_too_large);
		return;
	}
	if (op->kind == OP_COMMIT)
		commit_finish(c, op, m);
	else if (op->kind == OP_TXN_COMMIT)
		txn_commit_finish(c, op, m);
	else if (op->kind == OP_LEAVE)
		leave_finish(c, op, m);
	else if (op->kind == OP_DELETE_GROUPS)
		remove_finish_groups(c, op, m);
	else
		remove_finish_offsets(c, op, m);
}

static void finish(struct group_coord *c, struct op *op)
{
	switch (op->kind) {
	case OP_PLAIN:
		break;
	case OP_COMMIT:
	case OP_TXN_COMMIT:
	case OP_OFFSET_DELETE:
	case OP_DELETE_GROUPS:
	case OP_LEAVE:
		answer(c, op);
		break;
	case OP_NEW_GROUP:
		join_finish_new_group(c, op);
		break;
	case OP_SYNC:
		sync_finish(c, op);
		break;
	case OP_STATIC_JOIN:
		join_finish_static(c, op);
		break;
	case OP_CONSUMER:
		persist_finish(c, op);
		break;
	case OP_GONE:
		migrate_finish_gone(c, op);
		break;
	}
	append_op_destroy(c, op);
}

void append_op_release(struct group_coord *c, struct op *op)
{
	if (!op)
		return;
	SL_ASSERT(op->left > 0);
	if (--op->left == 0)
		finish(c, op);
}

static void fail_result(struct op *op, int32_t result, enum sl_kerr kerr)
{
	if (op->kerr == SL_KERR_NONE)
		op->kerr = shard_append_error(kerr);
	SL_ASSERT(result < op->errors_count);
	if (result >= 0)
		op->errors[result] = (int16_t)shard_append_error(kerr);
}

static void apply_offset(struct group_coord *c, struct change *ch, enum sl_kerr kerr)
{
	ch->offset->in_flight--;
	if (kerr != SL_KERR_NONE) {
		free(ch->committed);
		offsets_drop_unused(ch->group, ch->offset);
		return;
	}
	ch->group->is_in_log = true;
	if (ch->committed) {
		coord_count(c, COUNT_offsets_committed);
	} else {
		if (ch->offset->committed)
			coord_count(c, COUNT_offsets_deleted);
		pending_drop_offset(ch->offset);
	}
	offsets_set(ch->group, ch->offset, ch->committed);
}

static void apply_txn_offset(struct group_coord *c, struct change *ch, enum sl_kerr *kerr)
{
	ch->offset->in_flight--;
	ch->group->is_in_log |= *kerr == SL_KERR_NONE;
	if (*kerr == SL_KERR_NONE &&
	    pending_add(c, ch->group, ch->offset, ch->producer_id, ch->committed)) {
		/* The log has it: what is in memory is not what the log says any more. */
		coord_count(c, COUNT_refused_no_memory);
		*kerr = SL_KERR_COORDINATOR_NOT_AVAILABLE;
	}
	if (*kerr != SL_KERR_NONE)
		free(ch->committed);
	offsets_drop_unused(ch->group, ch->offset);
}

/* The change is on the log, or never will be.  Takes what @ch owns. */
static void settle(struct group_coord *c, struct op *op, struct change *ch, enum sl_kerr kerr)
{
	struct group *g = ch->group;

	SL_ASSERT(g->in_flight > 0);
	g->in_flight--;
	if (ch->kind == CHANGE_TXN_OFFSET)
		apply_txn_offset(c, ch, &kerr);
	if (kerr != SL_KERR_NONE)
		fail_result(op, ch->result, kerr);
	switch (ch->kind) {
	case CHANGE_OFFSET:
		apply_offset(c, ch, kerr);
		break;
	case CHANGE_TXN_OFFSET:
	case CHANGE_MARKER:
		break;
	case CHANGE_GROUP:
	case CHANGE_CONSUMER:
		g->is_in_log |= kerr == SL_KERR_NONE;
		break;
	case CHANGE_GROUP_GONE:
		g->is_deleting = false;
		if (kerr == SL_KERR_NONE) {
			SL_ASSERT(g->in_flight == 0);
			coord_count(c, COUNT_groups_deleted);
			state_destroy(c, g);
			return;
		}
		break;
	}
	if (op->group != g)
		state_forget_unused(c, g);
}

static void destroy(struct append *a)
{
	free(a->changes);
	free(a);
}

void append_begin(struct append_writer *w, struct group_coord *c, struct shard *shard,
                  struct op *op)
{
	*w = (struct append_writer){.c = c, .shard = shard, .op = op};
}

static bool open_batch(struct append_writer *w)
{
	struct group_coord *c = w->c;
	struct sl_batch_head head;
	struct append *a;

	/* A second one would be written into the first. */
	SL_ASSERT(!c->is_batch_open);
	if (!reply_has_room(c))
		return false;
	a = calloc(1, sizeof(*a));
	if (!a)
		return false;
	a->op = w->op;
	a->shard = w->shard;
	a->cookie = c->cookie_next++;
	if (sl_map_put(&c->appends, &a->cookie, sizeof(a->cookie), a)) {
		free(a);
		return false;
	}
	w->open = a;
	c->is_batch_open = true;
	sl_buf_reset(&c->batch);
	sl_batch_head_init(&head);
	if (w->op->kind == OP_TXN_COMMIT) {
		head.attributes = SL_BATCH_TRANSACTIONAL;
		head.producer_id = w->op->producer_id;
		head.producer_epoch = w->op->producer_epoch;
	}
	sl_batch_begin(&w->builder, &c->batch, &head);
	return true;
}

static bool add_change(struct append *a, const struct change *ch)
{
	if (a->changes_count == a->changes_cap) {
		uint32_t cap = a->changes_cap ? a->changes_cap * 2 : 4;
		struct change *changes = realloc(a->changes, cap * sizeof(*changes));

		if (!changes)
			return false;
		a->changes = changes;
		a->changes_cap = cap;
	}
	a->changes[a->changes_count++] = *ch;
	return true;
}

/* Ends the open batch and puts it behind the bytes of the other actions.  Return: 0; -ENOMEM. */
static int take_batch(struct append_writer *w, size_t *pos)
{
	struct group_coord *c = w->c;

	c->is_batch_open = false;
	*pos = c->out.len;
	if (sl_batch_end(&w->builder))
		return -ENOMEM;
	/* copy: of what the coordinator itself wrote, half a megabyte at most. */
	sl_buf_put(&c->out, c->batch.p, c->batch.len);
	if (sl_buf_ok(&c->out))
		return 0;
	sl_buf_rewind(&c->out, *pos);
	return -ENOMEM;
}

void append_end(struct append_writer *w)
{
	struct group_coord *c = w->c;
	struct append *a = w->open;
	size_t pos;

	if (!a)
		return;
	w->open = NULL;
	if (take_batch(w, &pos) || a->changes_count == 0) {
		sl_buf_rewind(&c->out, pos);
		coord_count(c, COUNT_refused_no_memory);
		sl_map_del(&c->appends, &a->cookie, sizeof(a->cookie));
		for (uint32_t i = 0; i < a->changes_count; i++)
			settle(c, a->op, &a->changes[i], SL_KERR_COORDINATOR_NOT_AVAILABLE);
		destroy(a);
		return;
	}
	a->op->left++;
	sl_list_push_back(&w->shard->appends, &a->link);
	reply_append(c, w->shard, a->cookie, pos);
}

/* Adds the record in the scratch buffers.  Null value: a tombstone. */
static void add(struct append_writer *w, struct change *ch, bool is_tombstone)
{
	struct group_coord *c = w->c;
	bool is_ok = sl_buf_ok(&c->key) && sl_buf_ok(&c->value);
	struct sl_bytes value = SL_BYTES_NULL;

	ch->group->in_flight++;
	if (ch->offset)
		ch->offset->in_flight++;
	if (w->open && c->batch.len >= LIMIT_BATCH_BYTES)
		append_end(w);
	if (!is_ok || (!w->open && !open_batch(w)) || !add_change(w->open, ch)) {
		coord_count(c, COUNT_refused_no_memory);
		settle(c, w->op, ch, SL_KERR_COORDINATOR_NOT_AVAILABLE);
		return;
	}
	if (!is_tombstone)
		value = (struct sl_bytes){c->value.p, (int32_t)c->value.len};
	sl_batch_add(&w->builder, c->wall_ms, (struct sl_bytes){c->key.p, (int32_t)c->key.len},
	             value);
}

static void add_offset(struct append_writer *w, struct change *ch)
{
	struct group_coord *c = w->c;

	sl_buf_reset(&c->key);
	sl_buf_reset(&c->value);
	records_offset_key(&c->key, ch->group->id, offsets_topic(ch->offset),
	                   ch->offset->partition);
	if (ch->committed)
		records_offset_value(&c->value, ch->committed);
	add(w, ch, !ch->committed);
}

void append_txn_offset(struct append_writer *w, struct group *g, struct offset *o,
                       struct committed *committed, int32_t result)
{
	struct change ch = {.kind = CHANGE_TXN_OFFSET,
	                    .result = result,
	                    .group = g,
	                    .offset = o,
	                    .committed = committed,
	                    .producer_id = w->op->producer_id};

	SL_ASSERT(w->op->kind == OP_TXN_COMMIT && committed);
	add_offset(w, &ch);
}

int append_marker(struct group_coord *c, struct shard *shard, const struct sl_txn_marker *m,
                  uint64_t handle)
{
	struct append *a = calloc(1, sizeof(*a));
	size_t pos = c->out.len;
	const struct change ch = {.kind = CHANGE_MARKER,
	                          .result = -1,
	                          .producer_id = m->producer_id,
	                          .is_commit = m->is_commit,
	                          .handle = handle};

	if (!a)
		return -ENOMEM;
	a->shard = shard;
	a->cookie = c->cookie_next++;
	sl_txn_marker_encode(m, &c->out, c->wall_ms);
	c->marks_count++;
	if (!sl_buf_ok(&c->out) || !add_change(a, &ch) || !reply_has_room(c) ||
	    sl_map_put(&c->appends, &a->cookie, sizeof(a->cookie), a)) {
		sl_buf_rewind(&c->out, pos);
		c->marks_count--;
		destroy(a);
		return -ENOMEM;
	}
	sl_list_push_back(&shard->appends, &a->link);
	reply_append(c, shard, a->cookie, pos);
	return 0;
}

void append_offset(struct append_writer *w, struct group *g, struct offset *o,
                   struct committed *committed, int32_t result)
{
	struct change ch = {.kind = CHANGE_OFFSET,
	                    .result = result,
	                    .group = g,
	                    .offset = o,
	                    .committed = committed};

	add_offset(w, &ch);
}

void append_group(struct append_writer *w, struct group *g, enum records_form form)
{
	struct change ch = {.kind = CHANGE_GROUP, .result = -1, .group = g};

	sl_buf_reset(&w->c->key);
	sl_buf_reset(&w->c->value);
	records_group_key(&w->c->key, g->id);
	if (records_group_value(w->c, &w->c->value, g, form))
		w->c->value.failed = true;
	add(w, &ch, false);
}

void append_group_gone(struct append_writer *w, struct group *g, int32_t result)
{
	struct change ch = {.kind = CHANGE_GROUP_GONE, .result = result, .group = g};

	if (g->consumer)
		persist_gone(w, g);
	else
		persist_ghosts(w, g);
	sl_buf_reset(&w->c->key);
	sl_buf_reset(&w->c->value);
	if (g->consumer)
		persist_group_key(&w->c->key, g);
	else
		records_group_key(&w->c->key, g->id);
	g->is_deleting = true;
	add(w, &ch, true);
}

void append_consumer(struct append_writer *w, struct group *g, bool is_tombstone)
{
	struct change ch = {.kind = CHANGE_CONSUMER, .result = -1, .group = g};

	add(w, &ch, is_tombstone);
}

/* The end of a transaction is on the log, or was refused and will be asked for again. */
static void complete_marker(struct group_coord *c, struct append *a, enum sl_kerr kerr)
{
	const struct change *ch = &a->changes[0];

	if (kerr == SL_KERR_NONE)
		pending_end(c, a->shard, ch->producer_id, ch->is_commit);
	else
		coord_count(c, COUNT_txn_markers_refused);
	c->marks_count--;
	reply_marked(c, ch->handle, kerr);
	destroy(a);
}

static void complete(struct group_coord *c, struct append *a, enum sl_kerr kerr,
                     int64_t base_offset)
{
	struct op *op = a->op;

	sl_map_del(&c->appends, &a->cookie, sizeof(a->cookie));
	sl_list_del(&a->link);
	if (kerr != SL_KERR_NONE)
		coord_count(c, COUNT_appends_failed);
	if (!op) {
		complete_marker(c, a, kerr);
		return;
	}
	for (uint32_t i = 0; i < a->changes_count; i++) {
		if (a->changes[i].committed)
			a->changes[i].committed->record_offset = base_offset + i;
		settle(c, op, &a->changes[i], kerr);
	}
	destroy(a);
	append_op_release(c, op);
}

void append_done(struct group_coord *c, const struct group_event *ev)
{
	struct append *a = sl_map_get(&c->appends, &ev->cookie, sizeof(ev->cookie));
	struct sl_list *pending;

	if (!a || a->is_done) {
		coord_count(c, COUNT_appends_unknown);
		return;
	}
	a->is_done = true;
	a->kerr = ev->kerr;
	a->base_offset = ev->base_offset;
	pending = &a->shard->appends;
	while ((a = sl_list_first(pending, struct append, link)) != NULL && a->is_done) {
		sl_arena_reset(&c->arena);
		complete(c, a, a->kerr, a->base_offset);
	}
}

/*
 * Nothing is rolled back: the groups go right after this.  Whoever waits is told to look for
 * another coordinator, which finds on the log whatever got there.
 */
void append_drop(struct group_coord *c, struct shard *shard)
{
	struct append *a;

	while ((a = sl_list_first(&shard->appends, struct append, link)) != NULL) {
		coord_count(c, COUNT_appends_dropped);
		if (a->op && a->op->group && a->op->group->shard == shard)
			a->op->group = NULL;
		complete(c, a, SL_KERR_NOT_COORDINATOR, -1);
	}
}
