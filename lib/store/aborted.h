/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Aborted transactions of one segment: those whose marker lies in it.  A reader of committed
 * records is told of them with the records (KIP-98).  A sealed segment has them in its file
 * ".txnindex", an active one in memory and in the producers' snapshots.
 */
#ifndef STORE_ABORTED_H
#define STORE_ABORTED_H

#include "sluice/base/base.h"
#include "sluice/base/buf.h"
#include "sluice/store/txnindex.h"

#include "bounds.h"

#define ABORTED_NONE        INT64_MAX /* no such offset */

#define ABORTED_ENTRY_BYTES 24u

/* By the marker's offset.  Legal states: zeroed = empty; count <= cap. */
struct aborted {
	struct sl_txnindex_entry *entries; /* Owned. */
	uint32_t count;
	uint32_t cap;
};

/* What else a file says: to which segment it belongs, and what was open at its end. */
struct aborted_head {
	int64_t base_offset;
	int64_t end_offset;
	int64_t open_first; /* first offset of the oldest transaction open there; or ABORTED_NONE */
};

void aborted_fini(struct aborted *list);
/* Makes room for one more.  Return: 0; -ENOMEM; -EFBIG as many as there may be. */
int aborted_reserve(struct aborted *list) SL_MUST_CHECK;
/* Adds one whose marker is behind all others'.  Needs aborted_reserve() before it. */
void aborted_add(struct aborted *list, const struct sl_txnindex_entry *entry);
/* Smallest first offset; ABORTED_NONE of an empty list. */
int64_t aborted_first(const struct aborted *list);

/* Entries alone, as the snapshots have them, too. */
void aborted_encode_entries(const struct aborted *list, struct sl_buf *buf);
/* Fills an empty list with @count entries, for which @p has room; markers lie in [from, to).
 * Return: 0; -EBADMSG not in order; -ENOMEM; the list is empty then. */
int aborted_decode_entries(struct aborted *list, const uint8_t *p, uint32_t count, int64_t from,
                           int64_t to) SL_MUST_CHECK;
/* Text of a file, appended to @buf. */
void aborted_encode(const struct aborted *list, const struct aborted_head *head,
                    struct sl_buf *buf);
/* Fills an empty list.  @head: base and end are given, open_first is filled in.  Return: 0;
 * -EBADMSG not such a file, damaged, or another segment's; -ENOMEM. */
int aborted_decode(struct aborted *list, struct aborted_head *head, const void *p,
                   size_t len) SL_MUST_CHECK;

#endif
