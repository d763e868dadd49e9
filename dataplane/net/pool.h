/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buffer memory of one lane: a buddy allocator over one region that is mapped at start and touched
 * lazily.  It never grows: when it is full a connection waits.  Owner lane only.
 *
 * Every request takes and returns a few small blocks.  Some of each small size are kept as they
 * are, last in, first out: splitting and merging them takes ten times as long, and the block that
 * came back last is the one that is still in the CPU's cache.
 */
#ifndef DATAPLANE_NET_POOL_H
#define DATAPLANE_NET_POOL_H

#include "sluice/base/base.h"
#include "sluice/base/list.h"

#define POOL_ORDER_MIN      9  /* 512 B */
#define POOL_ORDER_MAX      27 /* 128 MiB */

#define POOL_KEPT_ORDER_MAX 15 /* 32 KiB: what a request's frame, memory and reply take */
#define POOL_KEPT_ORDERS    (POOL_KEPT_ORDER_MAX - POOL_ORDER_MIN + 1)
#define POOL_KEPT_BLOCKS    64 /* of each size: 4 MiB in all */

/* Blocks of one size that are free but not merged; linked through themselves. */
struct pool_kept {
	struct pool_kept_block *first;
	uint32_t count;
};

struct pool {
	uint8_t *base;
	size_t bytes;
	size_t used;
	uint64_t puts;   /* blocks given back: whoever waits for memory looks whether it rose */
	uint8_t *orders; /* Owned.  One byte per 512 B block that begins a run: order | POOL_FREE,
	                  * or POOL_KEPT */
	struct pool_kept kept[POOL_KEPT_ORDERS];
	struct sl_list free[POOL_ORDER_MAX + 1];
};

/* @bytes is rounded down to whole blocks of 8 MiB.  Return: 0; -EINVAL; -ENOMEM. */
int pool_init(struct pool *pool, size_t bytes, int numa_node) SL_MUST_CHECK;
void pool_fini(struct pool *pool);
/* A block of at least @bytes; *cap is its real size.  NULL when no run is free or it is too large.
 */
void *pool_get(struct pool *pool, size_t bytes, size_t *cap);
/* What pool_get() takes for @bytes; SIZE_MAX: no block is so large. */
size_t pool_block_bytes(size_t bytes);
/* NULL is a no-op. */
void pool_put(struct pool *pool, void *block);

#endif
