/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buddy allocator for a lane's buffers.  A free run's list node lies in the run itself; the order
 * of the run that begins at a 512 B block is kept beside the region.  Owned and used by one lane.
 */
#include "net/pool.h"

#include <errno.h>
#include <numaif.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "sluice/base/assert.h"

/* Flags in orders[]. */
#define POOL_FREE      0x80u /* the run is free */
#define POOL_KEPT      0x40u /* the block is kept; its buddy must not take it for free */
#define POOL_NODES_MAX 1024
#define POOL_TOP_ORDER \
	23 /* runs the region is cut into at start: 8 MiB, merged upwards where aligned */
#define POOL_UNIT_BYTES ((size_t)1 << POOL_TOP_ORDER)

struct pool_kept_block {
	struct pool_kept_block *next;
};

static size_t index_of(const struct pool *pool, const void *p)
{
	return (size_t)((const uint8_t *)p - pool->base) >> POOL_ORDER_MIN;
}

static void push_free(struct pool *pool, uint8_t *p, unsigned order)
{
	struct sl_list *node = (struct sl_list *)(void *)p;

	pool->orders[index_of(pool, p)] = (uint8_t)(order | POOL_FREE);
	sl_list_push_front(&pool->free[order], node);
}

/* Frees a run, merging it with its buddy as long as that is free and whole. */
static void give_back(struct pool *pool, uint8_t *p, unsigned order)
{
	while (order < POOL_ORDER_MAX) {
		size_t pos = (size_t)(p - pool->base);
		size_t buddy_pos = pos ^ ((size_t)1 << order);
		uint8_t *buddy = pool->base + buddy_pos;

		if (buddy_pos + ((size_t)1 << order) > pool->bytes ||
		    pool->orders[buddy_pos >> POOL_ORDER_MIN] != (order | POOL_FREE))
			break;
		sl_list_del((struct sl_list *)(void *)buddy);
		pool->orders[buddy_pos >> POOL_ORDER_MIN] = 0;
		pool->orders[pos >> POOL_ORDER_MIN] = 0;
		p = pool->base + SL_MIN(pos, buddy_pos);
		order++;
	}
	push_free(pool, p, order);
}

int pool_init(struct pool *pool, size_t bytes, int numa_node)
{
	memset(pool, 0, sizeof(*pool));
	for (unsigned o = 0; o <= POOL_ORDER_MAX; o++)
		sl_list_init(&pool->free[o]);
	bytes &= ~(POOL_UNIT_BYTES - 1);
	if (bytes == 0)
		return -EINVAL;
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
	                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return -ENOMEM;
	pool->orders = calloc(bytes >> POOL_ORDER_MIN, 1);
	if (!pool->orders) {
		munmap(base, bytes);
		return -ENOMEM;
	}
	if (numa_node >= 0 && numa_node < POOL_NODES_MAX) {
		unsigned long mask[POOL_NODES_MAX / (8 * sizeof(unsigned long))] = {0};
		const unsigned bits = 8 * sizeof(unsigned long);

		mask[(unsigned)numa_node / bits] = 1UL << ((unsigned)numa_node % bits);
		/* A preference only: a full node must not stop the broker. */
		(void)mbind(base, bytes, MPOL_PREFERRED, mask, POOL_NODES_MAX, 0);
	}
	pool->base = base;
	pool->bytes = bytes;
	for (size_t pos = 0; pos < bytes; pos += POOL_UNIT_BYTES)
		give_back(pool, pool->base + pos, POOL_TOP_ORDER);
	return 0;
}

void pool_fini(struct pool *pool)
{
	if (!pool->base)
		return;
	munmap(pool->base, pool->bytes);
	free(pool->orders);
	memset(pool, 0, sizeof(*pool));
}

/* Above POOL_ORDER_MAX for what no block holds. */
static unsigned order_of(size_t bytes)
{
	return bytes <= (size_t)1 << POOL_ORDER_MIN ? POOL_ORDER_MIN
	                                            : 64 - (unsigned)__builtin_clzl(bytes - 1);
}

size_t pool_block_bytes(size_t bytes)
{
	unsigned order = order_of(bytes);

	return order <= POOL_ORDER_MAX ? (size_t)1 << order : SIZE_MAX;
}

/* ---- Kept blocks ---- */

static void *take_kept(struct pool *pool, unsigned order)
{
	struct pool_kept *kept = &pool->kept[order - POOL_ORDER_MIN];
	struct pool_kept_block *block = kept->first;

	SL_ASSERT(pool->orders[index_of(pool, block)] == (order | POOL_KEPT));
	kept->first = block->next;
	kept->count--;
	return block;
}

static bool keep(struct pool *pool, void *p, unsigned order)
{
	struct pool_kept_block *block = p;
	struct pool_kept *kept;

	if (order > POOL_KEPT_ORDER_MAX)
		return false;
	kept = &pool->kept[order - POOL_ORDER_MIN];
	if (kept->count == POOL_KEPT_BLOCKS)
		return false;
	pool->orders[index_of(pool, p)] = (uint8_t)(order | POOL_KEPT);
	block->next = kept->first;
	kept->first = block;
	kept->count++;
	return true;
}

/* When nothing else is large enough: what is kept may be the halves of what is wanted. */
static void merge_kept(struct pool *pool)
{
	for (unsigned order = POOL_ORDER_MIN; order <= POOL_KEPT_ORDER_MAX; order++)
		while (pool->kept[order - POOL_ORDER_MIN].first)
			give_back(pool, take_kept(pool, order), order);
}

/* The smallest free run for a block of @order.  Return: above POOL_ORDER_MAX: there is none. */
static unsigned find_run(const struct pool *pool, unsigned order)
{
	while (order <= POOL_ORDER_MAX && sl_list_is_empty(&pool->free[order]))
		order++;
	return order;
}

static void *take_run(struct pool *pool, unsigned order)
{
	unsigned found = find_run(pool, order);

	if (found > POOL_ORDER_MAX) {
		merge_kept(pool);
		found = find_run(pool, order);
	}
	if (found > POOL_ORDER_MAX)
		return NULL;

	struct sl_list *node = pool->free[found].next;
	uint8_t *p = (uint8_t *)node;

	sl_list_del(node);
	while (found > order) {
		found--;
		push_free(pool, p + ((size_t)1 << found), found);
	}
	return p;
}

void *pool_get(struct pool *pool, size_t bytes, size_t *cap)
{
	unsigned order = order_of(bytes);
	void *p;

	if (order <= POOL_KEPT_ORDER_MAX && pool->kept[order - POOL_ORDER_MIN].first)
		p = take_kept(pool, order);
	else
		p = take_run(pool, order);
	if (!p)
		return NULL;
	pool->orders[index_of(pool, p)] = (uint8_t)order;
	pool->used += (size_t)1 << order;
	*cap = (size_t)1 << order;
	return p;
}

void pool_put(struct pool *pool, void *block)
{
	if (!block)
		return;
	SL_ASSERT((uint8_t *)block >= pool->base && (uint8_t *)block < pool->base + pool->bytes);

	unsigned order = pool->orders[index_of(pool, block)];

	SL_ASSERT(order >= POOL_ORDER_MIN && order <= POOL_ORDER_MAX);
	SL_ASSERT(pool->used >= (size_t)1 << order);
	pool->used -= (size_t)1 << order;
	pool->puts++;
	if (!keep(pool, block, order))
		give_back(pool, block, order);
}
