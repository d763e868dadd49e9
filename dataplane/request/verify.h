/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to the transaction coordinator: may this producer's transaction reach this partition
 * (KIP-890)?  They go to the control process and end with its answer, its loss, the partition's
 * leaving, or the request's end.
 */
#ifndef DATAPLANE_REQUEST_VERIFY_H
#define DATAPLANE_REQUEST_VERIFY_H

#include "partition/partition.h"

/* Under way at once from one lane. */
#define VERIFY_QUESTIONS_MAX 4096u

/*
 * What one batch of a request needs.  Legal states: zeroed: nothing; is_asked and wait.cookie != 0:
 * under way, and linked to its partition; is_asked alone: kerr is the answer.
 */
struct verify_item {
	struct waiter wait;
	struct sl_uuid topic_id;
	int64_t producer_id;
	int64_t marker_offset; /* sl_log_txn_marker() when it was asked */
	int16_t producer_epoch;
	int16_t kerr;   /* enum sl_kerr, as the coordinator says it */
	bool is_wanted; /* the batch is transactional */
	bool is_asked;
};

/* Of one request, in its memory. */
struct verify {
	struct verify_item *items; /* one for each partition, in the order of the request */
	uint32_t count;
	uint32_t left; /* questions under way */
	int64_t started_ms;
	bool is_begun;
	bool is_done; /* every answer is final */
};

struct verify_table;

/* All the questions that a lane may have under way.  Return: 0 or -ENOMEM. */
int verify_create(struct verify_table **out) SL_MUST_CHECK;
void verify_destroy(struct verify_table *table);

/**
 * verify_ask() - ask about @item, whose producer is filled in
 * @req: it belongs to; woken when it has no question left
 * @flags: SL_IPC_TXN_*
 *
 * Return: NONE: under way; else the answer: COORDINATOR_NOT_AVAILABLE,
 * COORDINATOR_LOAD_IN_PROGRESS.
 */
enum sl_kerr verify_ask(struct ctx *ctx, struct request *req, struct verify_item *item,
                        struct partition *p, struct sl_str transactional_id,
                        uint16_t flags) SL_MUST_CHECK;
/* The questions that are under way have @kerr for an answer. */
void verify_give_up(struct ctx *ctx, struct verify *v, enum sl_kerr kerr);
/* The control process's answer, a message of the channel. */
void verify_answer(struct ctx *ctx, const void *p, size_t bytes);
/* The control process is gone, or another one came. */
void verify_lost(struct ctx *ctx);

#endif
