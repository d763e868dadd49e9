/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verification of transactional batches (KIP-890).  All questions of a request are asked before its
 * first append, and the answers that come are used in the same order of partitions.  The request
 * keeps its frame meanwhile, so that nothing behind it on its connection starts.
 */
#include "request/produce_txn.h"

#include "image.h"
#include "request/common.h"
#include "sluice/base/assert.h"
#include "sluice/base/uuid.h"
#include "sluice/ipc/msg.h"
#include "sluice/wire/batch.h"

/* Produce versions, as in Kafka's AddPartitionsToTxnManager: from which a client understands
 * TRANSACTION_ABORTABLE, and from which a produce adds its partition to the transaction. */
#define VERSION_ABORTABLE  11
#define VERSION_ADDS       12
#define VERSION_TOPIC_ID   13
/* Longer than any coordinator that is well, shorter than a client's request.timeout.ms. */
#define VERIFY_MS          10000
/* Kafka's add.partitions.to.txn.retry.backoff.ms and .max.ms: the end of the producer's last
 * transaction is on its way, and waiting for it here is cheaper than sending the batch again. */
#define VERIFY_BACKOFF_MS  20
#define VERIFY_CONFLICT_MS 100

static bool peek(const struct sl_records *r, struct sl_batch_head *head)
{
	return r->len > 0 && sl_batch_peek(r->p, (size_t)r->len, head) == 0;
}

bool produce_txn_has_batch(const struct sl_produce_req *body)
{
	struct sl_batch_head head;

	for (int32_t i = 0; i < body->topic_data_count; i++) {
		const struct sl_produce_req_topic_data *t = &body->topic_data[i];

		for (int32_t j = 0; j < t->partition_data_count; j++)
			if (peek(&t->partition_data[j].records, &head) &&
			    sl_batch_is_transactional(&head))
				return true;
	}
	return false;
}

/* ---- Asking ---- */

/* One run over the batches of a request. */
struct asking {
	struct ctx *ctx;
	struct request *req;
	const struct sl_produce_req *body;
	const struct verify_item *first; /* that is transactional */
	bool is_mixed;                   /* another one has another producer */
};

/* What is done with the item of each partition. */
typedef void each_item(struct asking *a, const struct topic *t,
                       const struct sl_produce_req_topic_data_partition_data *in,
                       struct verify_item *item);

static void for_each(struct asking *a, each_item *each)
{
	const bool is_by_id = a->req->head.api_version >= VERSION_TOPIC_ID;
	struct verify_item *item = a->req->verify->items;

	for (int32_t i = 0; i < a->body->topic_data_count; i++) {
		const struct sl_produce_req_topic_data *in = &a->body->topic_data[i];
		const struct topic *t = is_by_id ? image_topic_by_id(a->ctx->image, &in->topic_id)
		                                 : image_topic(a->ctx->image, in->name);

		for (int32_t j = 0; j < in->partition_data_count; j++)
			each(a, t, &in->partition_data[j], item++);
	}
}

static void read_producer(struct asking *a, const struct topic *t,
                          const struct sl_produce_req_topic_data_partition_data *in,
                          struct verify_item *item)
{
	struct sl_batch_head head;

	(void)t;
	if (!peek(&in->records, &head) || !sl_batch_is_transactional(&head))
		return;
	item->is_wanted = true;
	item->producer_id = head.producer_id;
	item->producer_epoch = head.producer_epoch;
	if (!a->first)
		a->first = item;
	a->is_mixed |= item->producer_id != a->first->producer_id ||
	               item->producer_epoch != a->first->producer_epoch;
}

static void refuse(struct asking *a, const struct topic *t,
                   const struct sl_produce_req_topic_data_partition_data *in,
                   struct verify_item *item)
{
	(void)a;
	(void)t;
	(void)in;
	item->is_asked = true;
	item->kerr = SL_KERR_INVALID_PRODUCER_ID_MAPPING;
}

/* Asks, if the transaction is not open in its partition. */
static void ask(struct asking *a, const struct topic *t,
                const struct sl_produce_req_topic_data_partition_data *in, struct verify_item *item)
{
	const bool is_add = a->req->head.api_version >= VERSION_ADDS;
	struct partition *p = NULL;

	/* What is wrong with the partition itself is told by the append. */
	if (!item->is_wanted || request_partition(a->ctx, t, in->index, &p) != SL_KERR_NONE ||
	    p->is_offline || t->is_internal ||
	    sl_log_has_txn(p->log, item->producer_id, item->producer_epoch))
		return;
	item->kerr = (int16_t)verify_ask(a->ctx, a->req, item, p, a->body->transactional_id,
	                                 is_add ? SL_IPC_TXN_ADD : 0);
}

/* Where the producer's last transaction was not over. */
static void ask_again(struct asking *a, const struct topic *t,
                      const struct sl_produce_req_topic_data_partition_data *in,
                      struct verify_item *item)
{
	if (item->kerr != SL_KERR_CONCURRENT_TRANSACTIONS)
		return;
	item->is_asked = false;
	item->kerr = SL_KERR_NONE;
	ask(a, t, in, item);
}

static void ask_all(struct asking *a)
{
	for_each(a, read_producer);
	/* A request is of one producer, or none of its batches is taken (Kafka's ReplicaManager).
	 */
	if (a->is_mixed || (a->first && a->first->producer_id < 0))
		for_each(a, refuse);
	else
		for_each(a, ask);
}

static bool has_conflict(const struct verify *v)
{
	for (uint32_t i = 0; i < v->count; i++)
		if (v->items[i].kerr == SL_KERR_CONCURRENT_TRANSACTIONS)
			return true;
	return false;
}

/* The deadline was that of the answers, or of the pause before the next try. */
static void pass_deadline(struct asking *a)
{
	a->req->is_final = false;
	if (a->req->verify->left > 0)
		verify_give_up(a->ctx, a->req->verify, SL_KERR_NETWORK_EXCEPTION);
	else
		for_each(a, ask_again);
}

enum request_result produce_txn_verify(struct ctx *ctx, struct request *req,
                                       const struct sl_produce_req *body)
{
	struct asking a = {.ctx = ctx, .req = req, .body = body};
	struct verify *v = req->verify;

	if (v->is_done)
		return REQUEST_REPLY;
	if (!v->is_begun) {
		v->is_begun = true;
		v->started_ms = ctx->now_ms;
		ask_all(&a);
	} else if (req->is_final) {
		pass_deadline(&a);
	}
	if (v->left > 0) {
		request_park(ctx, req, REQUEST_PARKED_VERIFY, v->started_ms + VERIFY_MS);
		return REQUEST_PARK;
	}
	if (req->head.api_version >= VERSION_ADDS && has_conflict(v) &&
	    ctx->now_ms - v->started_ms < VERIFY_CONFLICT_MS) {
		request_park(ctx, req, REQUEST_PARKED_VERIFY, ctx->now_ms + VERIFY_BACKOFF_MS);
		return REQUEST_PARK;
	}
	v->is_done = true;
	return REQUEST_REPLY;
}

/* ---- What the answer means ---- */

static const char not_added[] = "Partition was not added to the transaction";
static const char not_known[] = "Unable to verify the partition has been added to the transaction";

/* Kafka's AddPartitionsToTxnManager and ReplicaManager.handleProduceAppend: errors that the
 * producer of this version retries, or gives up at. */
static enum sl_kerr for_client(enum sl_kerr kerr, int16_t version, struct sl_str *message)
{
	switch (kerr) {
	case SL_KERR_PRODUCER_FENCED:
		return SL_KERR_INVALID_PRODUCER_EPOCH;
	case SL_KERR_CONCURRENT_TRANSACTIONS:
		if (version >= VERSION_ADDS)
			return kerr;
		break;
	case SL_KERR_NETWORK_EXCEPTION:
	case SL_KERR_COORDINATOR_LOAD_IN_PROGRESS:
	case SL_KERR_COORDINATOR_NOT_AVAILABLE:
	case SL_KERR_NOT_COORDINATOR:
		break;
	case SL_KERR_TRANSACTION_ABORTABLE:
		if (version >= VERSION_ABORTABLE)
			return kerr;
		*message = sl_str_from(not_added);
		return SL_KERR_INVALID_TXN_STATE;
	case SL_KERR_CLUSTER_AUTHORIZATION_FAILED:
	case SL_KERR_INVALID_TXN_STATE:
		*message = sl_str_from(not_added);
		return SL_KERR_INVALID_TXN_STATE;
	default:
		return kerr;
	}
	/* One that every client retries, and that asks for no new metadata. */
	*message = sl_str_from(not_known);
	return SL_KERR_NOT_ENOUGH_REPLICAS;
}

enum sl_kerr produce_txn_admit(const struct request *req, uint32_t n, const struct partition *p,
                               struct sl_log_append *io, struct sl_str *message)
{
	const struct verify_item *item;

	if (!req->verify)
		return SL_KERR_NONE;
	SL_ASSERT(n < req->verify->count && req->verify->is_done);
	item = &req->verify->items[n];
	if (!item->is_asked)
		return SL_KERR_NONE;
	if (item->kerr != SL_KERR_NONE)
		return for_client((enum sl_kerr)item->kerr, req->head.api_version, message);
	/* A marker since the question has ended the transaction that the answer is about, or the
	 * one before it, whose end the question waited for.  Who adds by asking asks once more. */
	io->is_verified = sl_uuid_eq(&item->topic_id, &p->topic_id) &&
	                  sl_log_txn_marker(p->log, item->producer_id) == item->marker_offset;
	io->is_epoch_per_txn = req->head.api_version >= VERSION_ADDS;
	return io->is_verified || !io->is_epoch_per_txn ? SL_KERR_NONE
	                                                : SL_KERR_CONCURRENT_TRANSACTIONS;
}
