/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Partitions join a transaction: by AddPartitionsToTxn and AddOffsetsToTxn of older clients, or by
 * the question of a lane that was asked to append (KIP-890).  The first one begins it.
 *
 * A question that comes while something else of the id is on its way waits for it, and all that
 * waited join with one record: a producer sends to many partitions at once, over several lanes.
 */
#include <errno.h>

#include "sluice/base/assert.h"
#include "sluice/wire/add_offsets_to_txn_gen.h"
#include "sluice/wire/add_partitions_to_txn_gen.h"

#include "state.h"

#define TOPIC_OFFSETS "__consumer_offsets"
#define TOPIC_TXNS    "__transaction_state"
/* transaction.version of a producer that names its partitions itself, and of one that does not. */
#define VERSION_TOLD  0
#define VERSION_ASKED 2

static struct image *begin(struct txn_coord *c, struct txn *t, int16_t client_version)
{
	struct image *next = journal_begin(t, TXN_ONGOING);

	if (t->now.state != TXN_ONGOING)
		next->start_ms = c->wall_ms;
	next->update_ms = c->wall_ms;
	next->client_version = client_version;
	return next;
}

static enum sl_kerr check_producer(const struct txn *t, int64_t producer_id, int16_t epoch)
{
	if (t->now.producer_id != producer_id)
		return SL_KERR_INVALID_PRODUCER_ID_MAPPING;
	return t->now.producer_epoch == epoch ? SL_KERR_NONE : SL_KERR_PRODUCER_FENCED;
}

static enum sl_kerr add_error(struct txn_coord *c, int err)
{
	coord_count(c, err == -ENOSPC ? COUNT_refused_parts_full : COUNT_refused_no_memory);
	return err == -ENOSPC ? SL_KERR_POLICY_VIOLATION : SL_KERR_COORDINATOR_NOT_AVAILABLE;
}

/* ---- Requests ---- */

struct producer {
	struct sl_str transactional_id;
	int64_t producer_id;
	int16_t producer_epoch;
};

static enum sl_kerr check(struct txn_coord *c, const struct producer *p, struct txn **out)
{
	enum sl_kerr kerr = p->transactional_id.len <= 0
	                            ? SL_KERR_INVALID_REQUEST
	                            : table_check_shard(c, p->transactional_id);

	if (kerr != SL_KERR_NONE)
		return kerr;
	*out = table_find(c, p->transactional_id);
	if (!*out)
		return SL_KERR_INVALID_PRODUCER_ID_MAPPING;
	if (table_is_busy(*out))
		return SL_KERR_CONCURRENT_TRANSACTIONS;
	return check_producer(*out, p->producer_id, p->producer_epoch);
}

/* The record with the partitions that are being added goes out; @rq is answered with it. */
static enum sl_kerr write(struct txn_coord *c, const struct request *rq, struct txn *t)
{
	struct waiter *w = answer_hold(c, rq);
	enum sl_kerr kerr = SL_KERR_COORDINATOR_NOT_AVAILABLE;

	if (w) {
		(void)begin(c, t, VERSION_TOLD);
		if (!journal_write(c, t)) {
			sl_list_push_back(&t->waiters, &w->link);
			return SL_KERR_NONE;
		}
		answer_forget(c, w);
	}
	partset_settle(c, t, false);
	return kerr;
}

/* Return: whether the answer waits for the log. */
static bool add_all(struct txn_coord *c, const struct request *rq, struct txn *t,
                    const struct sl_add_partitions_to_txn_req *m, enum sl_kerr *kerr)
{
	bool is_new = t->now.state != TXN_ONGOING;

	for (int32_t i = 0; i < m->v3_and_below_topics_count; i++) {
		const struct sl_add_partitions_to_txn_req_v3_and_below_topic *topic =
			&m->v3_and_below_topics[i];

		for (int32_t k = 0; k < topic->partitions_count; k++) {
			int err = 0;

			if (!partset_find(t, topic->name, topic->partitions[k])) {
				err = partset_add(t, topic->name, topic->partitions[k]);
				is_new = true;
			}
			if (err) {
				*kerr = add_error(c, err);
				partset_settle(c, t, false);
				return false;
			}
		}
	}
	*kerr = is_new ? write(c, rq, t) : SL_KERR_NONE;
	return is_new && *kerr == SL_KERR_NONE;
}

static enum sl_kerr check_partition(struct txn_coord *c, struct sl_str topic, int32_t partition)
{
	/* Nobody may produce to them, as if there were an authorizer. */
	if (sl_str_eq_c(topic, TOPIC_OFFSETS) || sl_str_eq_c(topic, TOPIC_TXNS))
		return SL_KERR_TOPIC_AUTHORIZATION_FAILED;
	return c->opts.has_partition(c->opts.ctx, topic, partition)
	               ? SL_KERR_NONE
	               : SL_KERR_UNKNOWN_TOPIC_OR_PARTITION;
}

/* One bad partition spoils the request; the others say that nothing was tried.  Return: 1 all are
 * good; 0 @resp says which are not; -ENOMEM. */
static int check_partitions(struct txn_coord *c, const struct sl_add_partitions_to_txn_req *m,
                            struct sl_add_partitions_to_txn_resp *resp)
{
	struct sl_add_partitions_to_txn_resp_results_by_topic_v3_and_below *topics;
	bool is_good = true;

	sl_add_partitions_to_txn_resp_init(resp);
	topics = sl_arena_alloc_array(&c->arena, (size_t)m->v3_and_below_topics_count,
	                              sizeof(*topics));
	for (int32_t i = 0; topics && i < m->v3_and_below_topics_count; i++) {
		const struct sl_add_partitions_to_txn_req_v3_and_below_topic *from =
			&m->v3_and_below_topics[i];

		topics[i].name = from->name;
		topics[i].results_by_partition_count = from->partitions_count;
		topics[i].results_by_partition =
			sl_arena_alloc_array(&c->arena, (size_t)from->partitions_count,
		                             sizeof(*topics[i].results_by_partition));
		if (!topics[i].results_by_partition)
			return -ENOMEM;
		for (int32_t k = 0; k < from->partitions_count; k++) {
			enum sl_kerr kerr = check_partition(c, from->name, from->partitions[k]);

			is_good &= kerr == SL_KERR_NONE;
			topics[i].results_by_partition[k].partition_index = from->partitions[k];
			topics[i].results_by_partition[k].partition_error_code =
				(int16_t)(kerr == SL_KERR_NONE ? SL_KERR_OPERATION_NOT_ATTEMPTED
			                                       : kerr);
		}
	}
	resp->results_by_topic_v3_and_below = topics;
	resp->results_by_topic_v3_and_below_count = m->v3_and_below_topics_count;
	return topics ? is_good : -ENOMEM;
}

void add_handle_partitions(struct txn_coord *c, const struct request *rq, const void *msg)
{
	const struct sl_add_partitions_to_txn_req *m = msg;
	const struct producer p = {m->v3_and_below_transactional_id, m->v3_and_below_producer_id,
	                           m->v3_and_below_producer_epoch};
	struct sl_add_partitions_to_txn_resp resp;
	struct txn *t = NULL;
	enum sl_kerr kerr;
	int rc = check_partitions(c, m, &resp);

	if (rc < 0) {
		answer_close(c, &rq->to, COUNT_closed_too_large);
		return;
	}
	if (rc == 0) {
		coord_count(c, COUNT_refused_partition);
		answer_send(c, &rq->to, &resp);
		return;
	}
	kerr = check(c, &p, &t);
	if (kerr == SL_KERR_NONE && add_all(c, rq, t, m, &kerr))
		return;
	answer_result(c, &rq->to, rq->body, kerr, t);
}

void add_handle_offsets(struct txn_coord *c, const struct request *rq, const void *msg)
{
	const struct sl_add_offsets_to_txn_req *m = msg;
	const struct producer p = {m->transactional_id, m->producer_id, m->producer_epoch};
	struct sl_str topic = sl_str_from(TOPIC_OFFSETS);
	int32_t partition = sl_java_partition(m->group_id, c->opts.offsets_partitions_count);
	struct txn *t = NULL;
	enum sl_kerr kerr = check(c, &p, &t);
	bool is_in = kerr == SL_KERR_NONE && t->now.state == TXN_ONGOING &&
	             partset_find(t, topic, partition);

	if (kerr == SL_KERR_NONE && !is_in) {
		int err = partset_add(t, topic, partition);

		kerr = err ? add_error(c, err) : write(c, rq, t);
		if (kerr == SL_KERR_NONE)
			return;
	}
	answer_result(c, &rq->to, rq->body, kerr, t);
}

/* ---- Questions ---- */

enum verdict {
	VERDICT_ANSWER = 0, /* *kerr is the answer */
	VERDICT_ADD,        /* to be added */
};

static enum verdict judge(const struct txn *t, const struct waiter *w, enum sl_kerr *kerr)
{
	const struct part *part;

	*kerr = check_producer(t, w->producer_id, w->producer_epoch);
	if (*kerr != SL_KERR_NONE)
		return VERDICT_ANSWER;
	part = t->now.state == TXN_ONGOING ? partset_find(t, w->topic, w->partition) : NULL;
	if (part && part->state == PART_IN)
		return VERDICT_ANSWER;
	if (w->is_add)
		return VERDICT_ADD;
	*kerr = SL_KERR_TRANSACTION_ABORTABLE;
	return VERDICT_ANSWER;
}

void add_run_held(struct txn_coord *c, struct txn *t)
{
	struct sl_list *pos;
	struct sl_list *tmp;
	bool is_adding = false;

	if (table_is_busy(t))
		return;
	sl_list_for_each_safe(pos, tmp, &t->held) {
		struct waiter *w = sl_list_entry(pos, struct waiter, link);
		enum sl_kerr kerr;
		int err = 0;

		if (judge(t, w, &kerr) == VERDICT_ADD) {
			err = partset_add(t, w->topic, w->partition);
			kerr = err ? add_error(c, err) : SL_KERR_NONE;
			if (!err) {
				is_adding = true;
				sl_list_del(&w->held);
				sl_list_del(&w->link);
				sl_list_push_back(&t->waiters, &w->link);
				continue;
			}
		}
		answer_waiter(c, w, kerr, t);
	}
	if (!is_adding)
		return;
	(void)begin(c, t, VERSION_ASKED);
	if (journal_write(c, t)) {
		partset_settle(c, t, false);
		answer_all(c, &t->waiters, SL_KERR_COORDINATOR_NOT_AVAILABLE, t);
	}
}

/* What a question that adds nothing is told while the id is busy.  One more partition on its way
 * is no reason to wait, the end of the transaction is one to refuse. */
static bool is_ending(const struct txn *t)
{
	return table_is_preparing(t->now.state) || (t->is_pending && t->next.state != TXN_ONGOING);
}

static void answer_question(struct txn_coord *c, const struct txn_event *ev, enum sl_kerr kerr)
{
	const struct reply_to to = {.handle = ev->handle};

	answer_result(c, &to, SL_BYTES_NULL, kerr, NULL);
}

void add_handle_verify(struct txn_coord *c, const struct txn_event *ev)
{
	struct sl_str id = ev->verify.transactional_id;
	enum sl_kerr kerr = id.len <= 0 ? SL_KERR_INVALID_REQUEST : table_check_shard(c, id);
	struct txn *t = NULL;
	struct waiter *w;

	coord_count(c, COUNT_verifies);
	if (kerr == SL_KERR_NONE) {
		t = table_find(c, id);
		if (!t)
			kerr = SL_KERR_INVALID_PRODUCER_ID_MAPPING;
		else if (!ev->verify.is_add && is_ending(t))
			kerr = SL_KERR_CONCURRENT_TRANSACTIONS;
	}
	if (kerr != SL_KERR_NONE) {
		answer_question(c, ev, kerr);
		return;
	}
	w = answer_hold_question(c, ev);
	if (!w) {
		answer_question(c, ev, SL_KERR_COORDINATOR_NOT_AVAILABLE);
		return;
	}
	if (!w->is_add) {
		(void)judge(t, w, &kerr);
		answer_waiter(c, w, kerr, t);
		return;
	}
	sl_list_push_back(&t->held, &w->link);
	sl_list_push_back(&c->holding, &w->held);
	if (table_is_busy(t))
		coord_count(c, COUNT_verifies_held);
	add_run_held(c, t);
}
