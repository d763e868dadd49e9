/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Markers: each partition of a prepared transaction gets one, repeated until it is written; then
 * the transaction is complete.  A partition that does not exist any more is dropped.
 *
 * A marker may be written twice, when its outcome was lost.  That is harmless as long as the
 * transaction is not complete: its producer cannot begin the next one before.
 */
#include <errno.h>

#include "sluice/base/assert.h"

#include "state.h"

/* All markers are written: the record that says so goes out. */
static void finish(struct txn_coord *c, struct txn *t)
{
	bool is_commit = t->now.state == TXN_PREPARE_COMMIT;
	struct image *next;

	if (t->is_pending || t->parts_by_key.count > 0)
		return;
	next = journal_begin(t, is_commit ? TXN_COMPLETE_COMMIT : TXN_COMPLETE_ABORT);
	if (next->next_producer_id >= 0) {
		next->prev_producer_id = next->producer_id;
		next->producer_id = next->next_producer_id;
		next->producer_epoch = 0;
	} else {
		next->prev_producer_id = next->producer_id;
	}
	next->next_producer_id = -1;
	next->update_ms = c->wall_ms;
	if (journal_write(c, t))
		scan_retry_later(c);
}

static void queue(struct txn_coord *c, struct part *p, struct sl_list *list, enum part_state state)
{
	p->state = state;
	sl_list_del(&p->queue);
	sl_list_push_back(list, &p->queue);
	c->queued_count++;
}

void marker_start(struct txn_coord *c, struct txn *t)
{
	struct sl_list *pos;

	SL_ASSERT(table_is_preparing(t->now.state));
	sl_list_for_each(pos, &t->parts) {
		struct part *p = sl_list_entry(pos, struct part, link);

		SL_ASSERT(p->state == PART_IN);
		queue(c, p, &c->to_mark, PART_QUEUED);
	}
	finish(c, t);
	marker_pump(c);
}

/* The partition needs no marker any more. */
static void drop(struct txn_coord *c, struct part *p)
{
	struct txn *t = p->txn;

	partset_remove(c, p);
	finish(c, t);
}

static void send(struct txn_coord *c, struct part *p)
{
	c->queued_count--;
	sl_list_del(&p->queue);
	p->cookie = c->cookie_next++;
	if (!answer_has_room(c, 1) || sl_map_put(&c->markers, &p->cookie, sizeof(p->cookie), p)) {
		coord_count(c, COUNT_refused_no_memory);
		queue(c, p, &c->to_retry, PART_RETRY);
		scan_retry_later(c);
		return;
	}
	p->state = PART_SENT;
	answer_mark(c, p);
}

void marker_pump(struct txn_coord *c)
{
	struct part *p;

	while (c->markers.count < LIMIT_MARKERS &&
	       (p = sl_list_first(&c->to_mark, struct part, queue)) != NULL) {
		if (c->opts.has_partition(c->opts.ctx, partset_topic(p), p->partition)) {
			send(c, p);
			continue;
		}
		coord_count(c, COUNT_markers_partition_gone);
		drop(c, p);
	}
}

void marker_done(struct txn_coord *c, const struct txn_event *ev)
{
	struct part *p = sl_map_del(&c->markers, &ev->cookie, sizeof(ev->cookie));

	if (!p) {
		coord_count(c, COUNT_markers_unknown);
		return;
	}
	p->state = PART_IN;
	switch (ev->kerr) {
	case SL_KERR_NONE:
		drop(c, p);
		break;
	case SL_KERR_INVALID_PRODUCER_EPOCH:
	case SL_KERR_TRANSACTION_COORDINATOR_FENCED:
		/* Somebody with a higher epoch ended it there: WriteTxnMarkers by hand. */
		coord_count(c, COUNT_markers_fenced);
		drop(c, p);
		break;
	default:
		coord_count(c, COUNT_markers_retried);
		queue(c, p, &c->to_retry, PART_RETRY);
		scan_retry_later(c);
		break;
	}
	marker_pump(c);
}

void marker_retry(struct txn_coord *c)
{
	struct sl_list *pos;
	struct sl_list *tmp;
	struct part *p;

	while ((p = sl_list_first(&c->to_retry, struct part, queue)) != NULL) {
		c->queued_count--;
		queue(c, p, &c->to_mark, PART_QUEUED);
	}
	/* Those whose last record was refused. */
	sl_list_for_each_safe(pos, tmp, &c->preparing) {
		struct txn *t = sl_list_entry(pos, struct txn, link);

		if (t->is_pending || t->parts_by_key.count > 0)
			continue;
		coord_count(c, COUNT_completions_retried);
		finish(c, t);
	}
	marker_pump(c);
}
