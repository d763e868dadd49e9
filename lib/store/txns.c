/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool of nodes in two lists: all by first offset, so that the oldest is at one end, and the
 * ended ones by their marker, so that a rising high watermark looks at one end too.  Owned by its
 * log; touched by the log's owner.
 */
#include "txns.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

#define POOL_FIRST 4u

void txns_fini(struct txns *txns)
{
	free(txns->nodes);
	*txns = (struct txns){0};
}

int txns_reserve(struct txns *txns)
{
	uint32_t cap = txns->cap ? txns->cap * 2 : POOL_FIRST;
	struct txns_node *nodes;

	if (txns->free_head || txns->used < txns->cap)
		return 0;
	if (SL_COUNT_IF(cap > STORE_TXNS_MAX))
		return -EBUSY;
	nodes = realloc(txns->nodes, cap * sizeof(*nodes));
	if (!nodes)
		return -ENOMEM;
	txns->nodes = nodes;
	txns->cap = cap;
	return 0;
}

static struct txns_node *at(struct txns *txns, uint32_t number)
{
	SL_ASSERT(number > 0 && number <= txns->used);
	return &txns->nodes[number - 1];
}

uint32_t txns_begin(struct txns *txns, int64_t producer_id, int64_t first_offset)
{
	struct txns_node *node;
	uint32_t number = txns->free_head;

	SL_ASSERT(!txns->newest || at(txns, txns->newest)->first_offset < first_offset);
	SL_ASSERT(number || txns->used < txns->cap);
	if (!number)
		number = ++txns->used;
	node = at(txns, number);
	if (txns->free_head)
		txns->free_head = node->older;
	*node = (struct txns_node){
		.producer_id = producer_id,
		.first_offset = first_offset,
		.last_offset = -1,
		.older = txns->newest,
	};
	if (txns->newest)
		at(txns, txns->newest)->newer = number;
	else
		txns->oldest = number;
	txns->newest = number;
	return number;
}

void txns_end(struct txns *txns, uint32_t number, int64_t last_offset)
{
	struct txns_node *node = at(txns, number);

	SL_ASSERT(node->last_offset < 0 && last_offset > node->first_offset);
	SL_ASSERT(!txns->ended_last || at(txns, txns->ended_last)->last_offset < last_offset);
	node->last_offset = last_offset;
	if (txns->ended_last)
		at(txns, txns->ended_last)->next_ended = number;
	else
		txns->ended_first = number;
	txns->ended_last = number;
}

static void forget(struct txns *txns, uint32_t number)
{
	struct txns_node *node = at(txns, number);

	if (node->newer)
		at(txns, node->newer)->older = node->older;
	else
		txns->newest = node->older;
	if (node->older)
		at(txns, node->older)->newer = node->newer;
	else
		txns->oldest = node->newer;
	node->older = txns->free_head;
	txns->free_head = number;
}

void txns_settle(struct txns *txns, int64_t high_watermark)
{
	while (txns->ended_first && at(txns, txns->ended_first)->last_offset < high_watermark) {
		const uint32_t number = txns->ended_first;

		txns->ended_first = at(txns, number)->next_ended;
		if (!txns->ended_first)
			txns->ended_last = 0;
		forget(txns, number);
	}
}

int64_t txns_first(const struct txns *txns)
{
	return txns->oldest ? txns_node(txns, txns->oldest)->first_offset : -1;
}

uint32_t txns_oldest_open(const struct txns *txns)
{
	uint32_t number = txns->oldest;

	while (number && txns_node(txns, number)->last_offset >= 0)
		number = txns_node(txns, number)->newer;
	return number;
}

int64_t txns_first_open(const struct txns *txns)
{
	const uint32_t number = txns_oldest_open(txns);

	return number ? txns_node(txns, number)->first_offset : -1;
}
