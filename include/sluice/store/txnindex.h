/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file ".txnindex" of a sealed segment: the aborted transactions whose markers lie in it.  For
 * tools; the log reads it itself.
 */
#ifndef SLUICE_STORE_TXNINDEX_H
#define SLUICE_STORE_TXNINDEX_H

#include "sluice/base/base.h"

struct sl_txnindex {
	int64_t base_offset; /* of the segment */
	int64_t end_offset;
	int64_t open_first; /* first offset of the oldest transaction open at its end; -1: none */
	uint32_t count;
};

struct sl_txnindex_entry {
	int64_t producer_id;
	int64_t first_offset;
	int64_t last_offset; /* of the marker */
};

/* Checks a whole file: checksum, order, and that everything lies where it may.  Return: 0;
 * -EBADMSG.
 */
int sl_txnindex_check(const void *p, size_t len, struct sl_txnindex *out) SL_MUST_CHECK;
/* Entry @i, below the count, of a file that was checked; they rise by last_offset. */
void sl_txnindex_entry(const void *p, uint32_t i, struct sl_txnindex_entry *out);

#endif
