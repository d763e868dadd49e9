/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers and the list of actions of a step.
 *
 * Relies on: at most one request or question arrives in a step, so the list needs room for one
 * answer more than there are waiters.  That room is made when a waiter is, so that answering cannot
 * fail for want of it.
 */
#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/wire/add_offsets_to_txn_gen.h"
#include "sluice/wire/add_partitions_to_txn_gen.h"
#include "sluice/wire/end_txn_gen.h"
#include "sluice/wire/init_producer_id_gen.h"

#include "state.h"

/* Room kept free for the answer of this step's request. */
#define ACTIONS_SPARE         8u
/* From this version on clients know PRODUCER_FENCED. */
#define VERSION_FENCED_INIT   4
#define VERSION_FENCED_REST   2
/* EndTxn tells which producer goes on. */
#define VERSION_NEXT_PRODUCER 5

bool answer_has_room(struct txn_coord *c, uint32_t n)
{
	uint32_t need = c->actions_count + c->waiters_count + ACTIONS_SPARE + n;
	uint32_t cap = c->actions_cap ? c->actions_cap : 64;
	struct txn_action *actions;
	size_t *pos;

	if (need <= c->actions_cap)
		return true;
	while (cap < need)
		cap *= 2;
	actions = realloc(c->actions, cap * sizeof(*actions));
	if (!actions)
		return false;
	c->actions = actions;
	pos = realloc(c->actions_pos, cap * sizeof(*pos));
	if (!pos)
		return false;
	c->actions_pos = pos;
	c->actions_cap = cap;
	return true;
}

static struct txn_action *push(struct txn_coord *c, enum txn_action_type type, size_t pos)
{
	struct txn_action *a = &c->actions[c->actions_count];

	SL_ASSERT(c->actions_count < c->actions_cap);
	*a = (struct txn_action){.type = type, .bytes = {NULL, (int32_t)(c->out.len - pos)}};
	c->actions_pos[c->actions_count++] = pos;
	return a;
}

void answer_append(struct txn_coord *c, const struct shard *shard, uint64_t cookie, size_t pos)
{
	struct txn_action *a = push(c, TXN_ACT_APPEND, pos);

	a->partition = shard->partition;
	a->cookie = cookie;
	coord_count(c, COUNT_appends);
}

void answer_mark(struct txn_coord *c, const struct part *p)
{
	struct txn_action *a = push(c, TXN_ACT_MARK, c->out.len);
	const struct txn *t = p->txn;

	a->cookie = p->cookie;
	a->topic = partset_topic(p);
	a->partition = p->partition;
	a->marker = (struct sl_txn_marker){
		.producer_id = t->now.producer_id,
		.producer_epoch = t->now.producer_epoch,
		.coordinator_epoch = t->shard->epoch,
		.is_commit = t->now.state == TXN_PREPARE_COMMIT,
	};
	coord_count(c, COUNT_markers);
}

void answer_ask_ids(struct txn_coord *c)
{
	if (c->is_asking_ids || !answer_has_room(c, 1))
		return;
	c->is_asking_ids = true;
	(void)push(c, TXN_ACT_PRODUCER_IDS, c->out.len);
	coord_count(c, COUNT_blocks);
}

void answer_close(struct txn_coord *c, const struct reply_to *to, enum counter_id why)
{
	struct txn_action *a = push(c, TXN_ACT_CLOSE, c->out.len);

	a->handle = to->handle;
	coord_count(c, why);
}

void answer_send(struct txn_coord *c, const struct reply_to *to, const void *m)
{
	size_t pos = c->out.len;

	sl_response_encode(&c->out, sl_api_find(to->api_key), to->version, to->correlation_id, m);
	if (!sl_buf_ok(&c->out)) {
		/* One answer that does not fit must not spoil the others of this step. */
		sl_buf_rewind(&c->out, pos);
		answer_close(c, to, COUNT_closed_too_large);
		return;
	}
	push(c, TXN_ACT_RESPOND, pos)->handle = to->handle;
	coord_count(c, COUNT_answers);
}

/* ---- The answers of the APIs ---- */

/* What older clients understand by it. */
static enum sl_kerr translate(const struct reply_to *to, enum sl_kerr kerr)
{
	int16_t from = to->api_key == SL_API_INIT_PRODUCER_ID ? VERSION_FENCED_INIT
	                                                      : VERSION_FENCED_REST;

	return kerr == SL_KERR_PRODUCER_FENCED && to->version < from
	               ? SL_KERR_INVALID_PRODUCER_EPOCH
	               : kerr;
}

static void send_init(struct txn_coord *c, const struct reply_to *to, enum sl_kerr kerr,
                      const struct txn *t)
{
	struct sl_init_producer_id_resp resp;

	sl_init_producer_id_resp_init(&resp);
	resp.error_code = (int16_t)translate(to, kerr);
	resp.producer_epoch = -1;
	if (kerr == SL_KERR_NONE) {
		resp.producer_id = t->now.producer_id;
		resp.producer_epoch = t->now.producer_epoch;
	}
	answer_send(c, to, &resp);
}

static void send_end(struct txn_coord *c, const struct reply_to *to, enum sl_kerr kerr,
                     const struct txn *t)
{
	struct sl_end_txn_resp resp;

	sl_end_txn_resp_init(&resp);
	resp.error_code = (int16_t)translate(to, kerr);
	if (kerr == SL_KERR_NONE && to->version >= VERSION_NEXT_PRODUCER) {
		bool is_rotated = t->now.next_producer_id >= 0;

		resp.producer_id = is_rotated ? t->now.next_producer_id : t->now.producer_id;
		resp.producer_epoch = is_rotated ? 0 : t->now.producer_epoch;
	}
	answer_send(c, to, &resp);
}

static void send_offsets(struct txn_coord *c, const struct reply_to *to, enum sl_kerr kerr)
{
	struct sl_add_offsets_to_txn_resp resp;

	sl_add_offsets_to_txn_resp_init(&resp);
	resp.error_code = (int16_t)translate(to, kerr);
	answer_send(c, to, &resp);
}

static bool fill_topic(struct txn_coord *c,
                       const struct sl_add_partitions_to_txn_req_v3_and_below_topic *from,
                       struct sl_add_partitions_to_txn_resp_results_by_topic_v3_and_below *to,
                       enum sl_kerr kerr)
{
	to->name = from->name;
	to->results_by_partition_count = from->partitions_count;
	to->results_by_partition = sl_arena_alloc_array(&c->arena, (size_t)from->partitions_count,
	                                                sizeof(*to->results_by_partition));
	for (int32_t i = 0; to->results_by_partition && i < from->partitions_count; i++) {
		to->results_by_partition[i].partition_index = from->partitions[i];
		to->results_by_partition[i].partition_error_code = (int16_t)kerr;
	}
	return to->results_by_partition != NULL;
}

/* Every partition of the request has the same result. */
static void send_partitions(struct txn_coord *c, const struct reply_to *to, struct sl_bytes body,
                            enum sl_kerr kerr)
{
	struct sl_cursor cur = sl_cursor_from(body.p, (size_t)body.len);
	struct sl_add_partitions_to_txn_resp resp;
	struct sl_add_partitions_to_txn_req m;
	bool is_ok = !sl_add_partitions_to_txn_req_decode(&m, &cur, &c->arena, to->version);

	sl_add_partitions_to_txn_resp_init(&resp);
	if (is_ok) {
		resp.results_by_topic_v3_and_below_count = m.v3_and_below_topics_count;
		resp.results_by_topic_v3_and_below =
			sl_arena_alloc_array(&c->arena, (size_t)m.v3_and_below_topics_count,
		                             sizeof(*resp.results_by_topic_v3_and_below));
		is_ok = resp.results_by_topic_v3_and_below != NULL;
	}
	for (int32_t i = 0; is_ok && i < m.v3_and_below_topics_count; i++)
		is_ok = fill_topic(c, &m.v3_and_below_topics[i],
		                   &resp.results_by_topic_v3_and_below[i], translate(to, kerr));
	if (is_ok)
		answer_send(c, to, &resp);
	else
		answer_close(c, to, COUNT_closed_too_large);
}

static void send_verified(struct txn_coord *c, const struct reply_to *to, enum sl_kerr kerr)
{
	struct txn_action *a = push(c, TXN_ACT_VERIFIED, c->out.len);

	a->handle = to->handle;
	a->kerr = kerr;
	if (kerr != SL_KERR_NONE)
		coord_count(c, COUNT_verifies_refused);
}

static void count_refusal(struct txn_coord *c, enum sl_kerr kerr)
{
	switch (kerr) {
	case SL_KERR_PRODUCER_FENCED:
		coord_count(c, COUNT_refused_fenced);
		break;
	case SL_KERR_INVALID_PRODUCER_ID_MAPPING:
		coord_count(c, COUNT_refused_mapping);
		break;
	case SL_KERR_CONCURRENT_TRANSACTIONS:
		coord_count(c, COUNT_refused_concurrent);
		break;
	case SL_KERR_INVALID_TXN_STATE:
	case SL_KERR_TRANSACTION_ABORTABLE:
		coord_count(c, COUNT_refused_state);
		break;
	case SL_KERR_INVALID_TRANSACTION_TIMEOUT:
		coord_count(c, COUNT_refused_timeout);
		break;
	default:
		break;
	}
}

void answer_result(struct txn_coord *c, const struct reply_to *to, struct sl_bytes body,
                   enum sl_kerr kerr, const struct txn *t)
{
	count_refusal(c, kerr);
	switch (to->api_key) {
	case 0:
		send_verified(c, to, kerr);
		break;
	case SL_API_INIT_PRODUCER_ID:
		send_init(c, to, kerr, t);
		break;
	case SL_API_ADD_PARTITIONS_TO_TXN:
		send_partitions(c, to, body, kerr);
		break;
	case SL_API_ADD_OFFSETS_TO_TXN:
		send_offsets(c, to, kerr);
		break;
	default:
		send_end(c, to, kerr, t);
		break;
	}
}

/* ---- Waiters ---- */

static struct waiter *make_waiter(struct txn_coord *c, struct sl_bytes keep)
{
	struct waiter *w = NULL;
	uint8_t *copy = NULL;
	size_t bytes = keep.len > 0 ? (size_t)keep.len : 0;

	if (c->waiters_count >= LIMIT_HELD || c->held_bytes + bytes > LIMIT_HELD_BYTES) {
		coord_count(c, COUNT_refused_held_full);
		return NULL;
	}
	w = calloc(1, sizeof(*w));
	copy = malloc(bytes + 1);
	if (!w || !copy || !answer_has_room(c, 1)) {
		coord_count(c, COUNT_refused_no_memory);
		free(copy);
		free(w);
		return NULL;
	}
	if (bytes > 0)
		memcpy(copy, keep.p, bytes);
	w->body = (struct sl_bytes){copy, (int32_t)bytes};
	w->since_ms = c->now_ms;
	sl_list_init(&w->link);
	sl_list_init(&w->held);
	c->held_bytes += bytes;
	c->waiters_count++;
	return w;
}

static void free_waiter(struct txn_coord *c, struct waiter *w)
{
	sl_list_del(&w->link);
	sl_list_del(&w->held);
	c->held_bytes -= (size_t)w->body.len;
	c->waiters_count--;
	free((void *)(uintptr_t)w->body.p);
	free(w);
}

struct waiter *answer_hold(struct txn_coord *c, const struct request *rq)
{
	struct waiter *w = make_waiter(c, rq->body);

	if (!w)
		return NULL;
	w->to = rq->to;
	if (sl_map_put(&c->requests, &w->to.handle, sizeof(w->to.handle), w)) {
		coord_count(c, COUNT_refused_no_memory);
		free_waiter(c, w);
		return NULL;
	}
	return w;
}

struct waiter *answer_hold_question(struct txn_coord *c, const struct txn_event *ev)
{
	struct waiter *w = make_waiter(c,
	                               (struct sl_bytes){ev->verify.topic.p, ev->verify.topic.len});

	if (!w)
		return NULL;
	w->to = (struct reply_to){.handle = ev->handle};
	w->producer_id = ev->verify.producer_id;
	w->producer_epoch = ev->verify.producer_epoch;
	w->is_add = ev->verify.is_add;
	w->partition = ev->verify.partition;
	w->topic = (struct sl_str){w->body.p, w->body.len};
	return w;
}

void answer_forget(struct txn_coord *c, struct waiter *w)
{
	if (!w->is_gone && w->to.api_key != 0)
		sl_map_del(&c->requests, &w->to.handle, sizeof(w->to.handle));
	free_waiter(c, w);
}

void answer_waiter(struct txn_coord *c, struct waiter *w, enum sl_kerr kerr, const struct txn *t)
{
	/* The producer that was in the way is fenced now; its transaction has to be completed. */
	if (kerr == SL_KERR_NONE && w->is_fencer)
		kerr = SL_KERR_CONCURRENT_TRANSACTIONS;
	/* Before the answer: its room is the waiter's. */
	c->waiters_count--;
	if (w->is_gone)
		coord_count(c, COUNT_answers_dropped);
	else
		answer_result(c, &w->to, w->body, kerr, t);
	c->waiters_count++;
	answer_forget(c, w);
}

void answer_all(struct txn_coord *c, struct sl_list *waiters, enum sl_kerr kerr,
                const struct txn *t)
{
	struct waiter *w;

	while ((w = sl_list_first(waiters, struct waiter, link)) != NULL)
		answer_waiter(c, w, kerr, t);
}

/* The change goes on: what is on its way to the log cannot be called back. */
void answer_cancel(struct txn_coord *c, uint64_t handle)
{
	struct waiter *w = sl_map_del(&c->requests, &handle, sizeof(handle));

	if (!w) {
		coord_count(c, COUNT_cancels_unknown);
		return;
	}
	w->is_gone = true;
	coord_count(c, COUNT_cancels);
}
