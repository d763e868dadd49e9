/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions of one partition that keep its last stable offset down: open ones, and those whose
 * marker is not below the high watermark yet (KIP-98).
 */
#ifndef STORE_TXNS_H
#define STORE_TXNS_H

#include "sluice/base/base.h"

#include "bounds.h"

struct txns_node {
	int64_t producer_id;
	int64_t first_offset;
	int64_t last_offset; /* of its marker; -1: open */
	uint32_t newer;      /* neighbours by first offset: node number + 1; 0: none */
	uint32_t older;      /* the free list uses it too */
	uint32_t next_ended; /* by the marker's offset */
};

/* Legal states: zeroed = empty.  Numbers are node number + 1; 0: none. */
struct txns {
	struct txns_node *nodes; /* Owned. */
	uint32_t cap;
	uint32_t used; /* high-water mark of nodes */
	uint32_t free_head;
	uint32_t oldest; /* by first offset, in which order transactions begin */
	uint32_t newest;
	uint32_t ended_first; /* have a marker; in which order markers come */
	uint32_t ended_last;
};

void txns_fini(struct txns *txns);
/* Makes room for one more.  Return: 0; -ENOMEM; -EBUSY as many as there may be. */
int txns_reserve(struct txns *txns) SL_MUST_CHECK;
/* Begins one behind all others.  Needs txns_reserve() before it.  Return: its number. */
uint32_t txns_begin(struct txns *txns, int64_t producer_id, int64_t first_offset);
/* Its marker is at @last_offset, above that of any other. */
void txns_end(struct txns *txns, uint32_t number, int64_t last_offset);
/* Forgets those whose marker is below @high_watermark. */
void txns_settle(struct txns *txns, int64_t high_watermark);
/* The oldest open one's number; 0: none. */
uint32_t txns_oldest_open(const struct txns *txns);
/* First offset of the oldest, open or ended; -1: none. */
int64_t txns_first(const struct txns *txns);
/* The same of the open ones alone. */
int64_t txns_first_open(const struct txns *txns);

static inline const struct txns_node *txns_node(const struct txns *txns, uint32_t number)
{
	return &txns->nodes[number - 1];
}

#endif
