/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decision.  The Prepare record is what decides: once it is on the log the client is answered
 * and the markers go out, until then nothing has happened.
 *
 * With transaction.version 2 (EndTxn from version 5 on, and whenever the coordinator itself aborts)
 * the epoch rises with the decision, so that whatever a producer sent before it and comes late is
 * refused by the partitions.
 */
#include <errno.h>

#include "sluice/base/assert.h"
#include "sluice/wire/end_txn_gen.h"

#include "state.h"

#define VERSION_BUMPS   5
#define EPOCH_EXHAUSTED (INT16_MAX - 1)
#define TXN_VERSION_2   2

/* Return: 0; -EAGAIN no producer id is left; -ENOMEM. */
static int prepare(struct txn_coord *c, struct txn *t, enum txn_state to, bool is_bumping)
{
	struct image *next = journal_begin(t, to);
	int64_t id = -1;

	if (is_bumping) {
		/* The last epoch is for this transaction's markers; the producer goes on with
		 * another id. */
		if (next->producer_epoch >= EPOCH_EXHAUSTED && table_take_producer_id(c, &id))
			return -EAGAIN;
		if (id >= 0)
			coord_count(c, COUNT_producers_rotated);
		next->last_epoch = next->producer_epoch;
		if (next->producer_epoch < INT16_MAX)
			next->producer_epoch++;
		next->client_version = TXN_VERSION_2;
	}
	next->next_producer_id = id;
	if (t->now.state != TXN_ONGOING)
		next->start_ms = c->wall_ms;
	next->update_ms = c->wall_ms;
	return journal_write(c, t);
}

int end_fence(struct txn_coord *c, struct txn *t)
{
	SL_ASSERT(table_can_move(t->now.state, TXN_PREPARE_EPOCH_FENCE) &&
	          table_can_move(TXN_PREPARE_EPOCH_FENCE, TXN_PREPARE_ABORT));
	return prepare(c, t, TXN_PREPARE_ABORT, true);
}

/* What to do about an EndTxn. */
enum step {
	STEP_ANSWER = 0, /* *kerr is the answer */
	STEP_PREPARE,
};

/* An EndTxn of the older flow: the epoch stays, so that an equal one may be a repetition. */
static enum step judge_old(const struct txn *t, const struct sl_end_txn_req *m, enum sl_kerr *kerr)
{
	const struct image *now = &t->now;

	*kerr = SL_KERR_NONE;
	if (now->producer_id != m->producer_id)
		*kerr = SL_KERR_INVALID_PRODUCER_ID_MAPPING;
	else if (now->producer_epoch != m->producer_epoch)
		*kerr = SL_KERR_PRODUCER_FENCED;
	else if (table_is_busy(t))
		*kerr = SL_KERR_CONCURRENT_TRANSACTIONS;
	else if (now->state == TXN_ONGOING)
		return STEP_PREPARE;
	else if (now->state != (m->committed ? TXN_COMPLETE_COMMIT : TXN_COMPLETE_ABORT))
		*kerr = SL_KERR_INVALID_TXN_STATE;
	return STEP_ANSWER;
}

/* The epoch has risen with the decision: a repetition comes with the one before, or with the last
 * one of the producer id before. */
static bool is_repeated(const struct image *now, const struct sl_end_txn_req *m)
{
	if (now->producer_id == m->producer_id)
		return now->producer_epoch == m->producer_epoch + 1;
	return now->prev_producer_id == m->producer_id && m->producer_epoch == EPOCH_EXHAUSTED &&
	       now->producer_epoch == 0;
}

static enum step judge_completed(const struct txn *t, const struct sl_end_txn_req *m,
                                 enum sl_kerr *kerr)
{
	enum txn_state wanted = m->committed ? TXN_COMPLETE_COMMIT : TXN_COMPLETE_ABORT;
	bool is_again = is_repeated(&t->now, m);

	*kerr = SL_KERR_NONE;
	if (!is_again && t->now.producer_epoch != m->producer_epoch)
		*kerr = SL_KERR_PRODUCER_FENCED;
	else if (!is_again && !m->committed)
		return STEP_PREPARE; /* nothing was added: an abort all the same, with its bump */
	else if (!is_again || t->now.state != wanted)
		*kerr = SL_KERR_INVALID_TXN_STATE;
	return STEP_ANSWER;
}

static enum step judge_new(const struct txn *t, const struct sl_end_txn_req *m, enum sl_kerr *kerr)
{
	const struct image *now = &t->now;

	*kerr = SL_KERR_NONE;
	/* First: the producer may have been told of an id that is not in place yet. */
	if (table_is_busy(t))
		*kerr = SL_KERR_CONCURRENT_TRANSACTIONS;
	else if (now->producer_id != m->producer_id && !is_repeated(now, m))
		*kerr = SL_KERR_INVALID_PRODUCER_ID_MAPPING;
	else if (now->state == TXN_COMPLETE_COMMIT || now->state == TXN_COMPLETE_ABORT)
		return judge_completed(t, m, kerr);
	else if (now->producer_epoch != m->producer_epoch)
		*kerr = SL_KERR_PRODUCER_FENCED;
	else if (now->state == TXN_ONGOING || !m->committed)
		return STEP_PREPARE;
	else
		*kerr = SL_KERR_INVALID_TXN_STATE;
	return STEP_ANSWER;
}

/* Return: whether the answer waits. */
static bool start(struct txn_coord *c, const struct request *rq, struct txn *t, bool is_commit,
                  enum sl_kerr *kerr)
{
	struct waiter *w = answer_hold(c, rq);
	int err;

	*kerr = SL_KERR_COORDINATOR_NOT_AVAILABLE;
	if (!w)
		return false;
	err = prepare(c, t, is_commit ? TXN_PREPARE_COMMIT : TXN_PREPARE_ABORT,
	              rq->to.version >= VERSION_BUMPS);
	if (!err)
		sl_list_push_back(&t->waiters, &w->link);
	else if (err == -EAGAIN && c->is_asking_ids)
		sl_list_push_back(&c->want_ids, &w->link);
	else
		answer_forget(c, w);
	return !err || (err == -EAGAIN && c->is_asking_ids);
}

void end_handle(struct txn_coord *c, const struct request *rq, const void *msg)
{
	const struct sl_end_txn_req *m = msg;
	struct sl_str id = m->transactional_id;
	enum sl_kerr kerr = id.len <= 0 ? SL_KERR_INVALID_REQUEST : table_check_shard(c, id);
	struct txn *t = kerr == SL_KERR_NONE ? table_find(c, id) : NULL;
	enum step step = STEP_ANSWER;

	if (t)
		step = rq->to.version >= VERSION_BUMPS ? judge_new(t, m, &kerr)
		                                       : judge_old(t, m, &kerr);
	else if (kerr == SL_KERR_NONE)
		kerr = SL_KERR_INVALID_PRODUCER_ID_MAPPING;
	if (step == STEP_PREPARE && start(c, rq, t, m->committed, &kerr))
		return;
	answer_result(c, &rq->to, rq->body, kerr, t);
}
