/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transaction coordinator's surroundings: reads __transaction_state into it after each
 * attachment, appends what it wants appended, writes its markers, fetches producer ids, and passes
 * on requests, the lanes' questions and the answers to both.
 */
#ifndef CONTROL_TXNS_H
#define CONTROL_TXNS_H

#include "control.h"
#include "request.h"
#include "statelog.h"

#define TXNS_TOPIC "__transaction_state"

struct txns;
struct txn_coord;

/* The group coordinator must exist.  Return: 0; -ENOMEM; -EINVAL. */
int txns_create(struct txns **out, struct control *c) SL_MUST_CHECK;
void txns_destroy(struct txns *x);

/* For the events of the attachment. */
struct statelog *txns_log(const struct txns *x);
void txns_changed(struct txns *x, const struct meta_change *change);

/* Handler of InitProducerId with a transactional id, AddPartitionsToTxn, AddOffsetsToTxn, EndTxn.
 */
enum request_result txns_request(struct control *c, struct request *r);
/* Handler of TxnOffsetCommit: asks whether the transaction may, then hands it to the groups. */
enum request_result txns_offset_commit(struct control *c, struct request *r);
/* The client of a request that the coordinator may hold is gone. */
void txns_cancel(struct txns *x, uint64_t request_id);
/* A lane's question. */
void txns_verify(struct txns *x, uint32_t lane, const struct sl_ipc_txn_verify *head,
                 struct sl_str transactional_id);

struct txn_coord *txns_coordinator(const struct txns *x);
/* How long lanes' questions took to be answered, in microseconds. */
const struct recent *txns_verifies(const struct txns *x);

#endif
