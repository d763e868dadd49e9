/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control batch that ends a producer's transaction on one partition (reference §3, "Control
 * batch").
 */
#ifndef SLUICE_WIRE_MARKER_H
#define SLUICE_WIRE_MARKER_H

#include "sluice/base/base.h"
#include "sluice/base/buf.h"
#include "sluice/wire/batch.h"

struct sl_txn_marker {
	int64_t producer_id;
	int16_t producer_epoch;
	int32_t coordinator_epoch;
	bool is_commit;
};

/* One batch v2 with one record, at the end of @buf.  Failure is sticky in @buf. */
void sl_txn_marker_encode(const struct sl_txn_marker *m, struct sl_buf *buf, int64_t timestamp_ms);

/**
 * sl_txn_marker_decode() - read a control batch as the end of a transaction
 * @p: a whole batch, as sl_batch_peek() found it
 *
 * One uncompressed record with a key of ABORT or COMMIT and a value of schema end_txn_marker, from
 * a producer, transactional.
 * Return: 1, and @out is filled; 0 a control record of another kind; -EBADMSG malformed.
 */
int sl_txn_marker_decode(struct sl_txn_marker *out, const void *p,
                         const struct sl_batch_head *h) SL_MUST_CHECK;

#endif
