/* SPDX-License-Identifier: Apache-2.0 */
/*
 * InitProducerId with a transactional id: a producer takes the id over and fences the one before
 * it, or goes on after an error when it says who it is (KIP-360).
 */
#include <errno.h>

#include "sluice/base/assert.h"
#include "sluice/wire/init_producer_id_gen.h"

#include "state.h"

/* One below the largest, which only a marker may use. */
#define EPOCH_EXHAUSTED (INT16_MAX - 1)

/* Does the producer that asks name itself? */
static bool has_expected(const struct sl_init_producer_id_req *m)
{
	return m->producer_id >= 0 && m->producer_epoch >= 0;
}

static enum sl_kerr check_request(struct txn_coord *c, const struct sl_init_producer_id_req *m)
{
	if (m->transactional_id.len <= 0 || (m->producer_id == -1) != (m->producer_epoch == -1))
		return SL_KERR_INVALID_REQUEST;
	if (m->transaction_timeout_ms <= 0 || m->transaction_timeout_ms > c->opts.timeout_max_ms)
		return SL_KERR_INVALID_TRANSACTION_TIMEOUT;
	return table_check_shard(c, m->transactional_id);
}

/* The producer that asks is the present one, or asks again after its last epoch ran out and the
 * answer was lost. */
static bool is_known(const struct image *now, const struct sl_init_producer_id_req *m)
{
	return now->producer_epoch < 0 || m->producer_id == now->producer_id ||
	       (m->producer_id == now->prev_producer_id && m->producer_epoch >= EPOCH_EXHAUSTED);
}

/* Return: NONE; PRODUCER_FENCED. */
static enum sl_kerr bump(struct image *next, const struct sl_init_producer_id_req *m)
{
	int16_t epoch = next->producer_epoch;

	if (has_expected(m) && epoch >= 0 && m->producer_epoch != epoch) {
		/* The same call again: nobody else has been here, or the last epoch were unset. */
		return m->producer_epoch == next->last_epoch ? SL_KERR_NONE
		                                             : SL_KERR_PRODUCER_FENCED;
	}
	if (epoch >= EPOCH_EXHAUSTED)
		return SL_KERR_PRODUCER_FENCED;
	next->last_epoch = has_expected(m) ? epoch : -1;
	next->producer_epoch = (int16_t)(epoch + 1);
	return SL_KERR_NONE;
}

static enum sl_kerr rotate(struct txn_coord *c, struct image *next,
                           const struct sl_init_producer_id_req *m)
{
	int64_t id;

	if (table_take_producer_id(c, &id))
		return SL_KERR_COORDINATOR_LOAD_IN_PROGRESS;
	next->prev_producer_id = next->producer_id;
	next->last_epoch = has_expected(m) ? next->producer_epoch : -1;
	next->producer_id = id;
	next->producer_epoch = 0;
	coord_count(c, COUNT_producers_rotated);
	return SL_KERR_NONE;
}

/* A new producer without a transaction.  COORDINATOR_LOAD_IN_PROGRESS: no producer id is left. */
static enum sl_kerr begin(struct txn_coord *c, struct txn *t,
                          const struct sl_init_producer_id_req *m)
{
	struct image *next = journal_begin(t, TXN_EMPTY);
	bool is_last = t->now.producer_epoch >= EPOCH_EXHAUSTED &&
	               (!has_expected(m) || m->producer_epoch == t->now.producer_epoch);
	enum sl_kerr kerr = is_last ? rotate(c, next, m) : bump(next, m);

	next->next_producer_id = -1;
	next->timeout_ms = m->transaction_timeout_ms;
	next->start_ms = -1;
	next->update_ms = c->wall_ms;
	if (kerr == SL_KERR_NONE && journal_write(c, t))
		kerr = SL_KERR_COORDINATOR_NOT_AVAILABLE;
	return kerr;
}

static enum sl_kerr fence(struct txn_coord *c, struct txn *t)
{
	int err = end_fence(c, t);

	if (err == -EAGAIN)
		return SL_KERR_COORDINATOR_LOAD_IN_PROGRESS;
	if (err)
		return SL_KERR_COORDINATOR_NOT_AVAILABLE;
	coord_count(c, COUNT_producers_fenced);
	return SL_KERR_NONE;
}

static enum sl_kerr run(struct txn_coord *c, struct txn *t, const struct sl_init_producer_id_req *m)
{
	if (table_is_busy(t))
		return SL_KERR_CONCURRENT_TRANSACTIONS;
	if (has_expected(m) && !is_known(&t->now, m))
		return SL_KERR_PRODUCER_FENCED;
	return t->now.state == TXN_ONGOING ? fence(c, t) : begin(c, t, m);
}

static enum sl_kerr find_or_create(struct txn_coord *c, const struct sl_init_producer_id_req *m,
                                   struct txn **out)
{
	int64_t id;
	int err;

	*out = table_find(c, m->transactional_id);
	if (*out)
		return SL_KERR_NONE;
	if (m->transactional_id.len > LIMIT_ID_BYTES) {
		coord_count(c, COUNT_refused_id);
		return SL_KERR_INVALID_REQUEST;
	}
	if (table_take_producer_id(c, &id))
		return SL_KERR_COORDINATOR_LOAD_IN_PROGRESS;
	err = table_create(c, m->transactional_id, out);
	if (err) {
		coord_count(c, err == -ENOSPC ? COUNT_refused_ids_full : COUNT_refused_no_memory);
		return err == -ENOSPC ? SL_KERR_POLICY_VIOLATION
		                      : SL_KERR_COORDINATOR_NOT_AVAILABLE;
	}
	(*out)->now.producer_id = id;
	coord_count(c, COUNT_ids_created);
	return SL_KERR_NONE;
}

void init_handle(struct txn_coord *c, const struct request *rq, const void *msg)
{
	const struct sl_init_producer_id_req *m = msg;
	enum sl_kerr kerr = check_request(c, m);
	struct txn *t = NULL;
	struct waiter *w;

	if (kerr != SL_KERR_NONE) {
		answer_result(c, &rq->to, rq->body, kerr, NULL);
		return;
	}
	w = answer_hold(c, rq);
	if (!w) {
		answer_result(c, &rq->to, rq->body, SL_KERR_COORDINATOR_NOT_AVAILABLE, NULL);
		return;
	}
	kerr = find_or_create(c, m, &t);
	if (kerr == SL_KERR_NONE)
		kerr = run(c, t, m);
	if (kerr == SL_KERR_NONE) {
		w->is_fencer = t->next.state == TXN_PREPARE_ABORT;
		sl_list_push_back(&t->waiters, &w->link);
		return;
	}
	if (t && !t->is_in_log && !t->is_pending)
		table_destroy(c, t, kerr);
	if (kerr == SL_KERR_COORDINATOR_LOAD_IN_PROGRESS && c->is_asking_ids)
		sl_list_push_back(&c->want_ids, &w->link);
	else
		answer_waiter(c, w, kerr, NULL);
}
