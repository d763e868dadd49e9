/* SPDX-License-Identifier: Apache-2.0 */
/* The transactional part of a produce: which batches need the coordinator's word, and what it means
 * to the client. */
#ifndef DATAPLANE_REQUEST_PRODUCE_TXN_H
#define DATAPLANE_REQUEST_PRODUCE_TXN_H

#include "request/verify.h"
#include "sluice/wire/produce_gen.h"

/* Whether any of its batches is transactional. */
bool produce_txn_has_batch(const struct sl_produce_req *body);

/**
 * produce_txn_verify() - ask about every batch that may begin a transaction in its partition
 * @req: with req->verify, which has an item for every partition of @body
 *
 * Runs again until all is answered.  Return: REQUEST_REPLY: go on; REQUEST_PARK.
 */
enum request_result produce_txn_verify(struct ctx *ctx, struct request *req,
                                       const struct sl_produce_req *body) SL_MUST_CHECK;

/**
 * produce_txn_admit() - what the answers say about the batch of partition number @n
 * @io: is_verified and is_epoch_per_txn are set for the append
 * @message: set with an error, where Kafka has one
 *
 * Return: NONE: append it, the log decides; else the error for the client.
 */
enum sl_kerr produce_txn_admit(const struct request *req, uint32_t n, const struct partition *p,
                               struct sl_log_append *io, struct sl_str *message) SL_MUST_CHECK;

#endif
