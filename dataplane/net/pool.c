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

#define POOL_FREE      0x80u /* flag in orders[]: the run is free */
#define POOL_NODES_MAX 1024
#define POOL_TOP_ORDER \
	23 /* runs the region is cut into at start: 8 MiB, merged upwards where aligned */
#define POOL_UNIT_BYTES ((size_t)1 << POOL_TOP_ORDER)

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

static unsigned order_of(size_t bytes)
{
	unsigned order = POOL_ORDER_MIN;

	while (order <= POOL_ORDER_MAX && ((size_t)1 << order) < bytes)
		order++;
	return order;
}

size_t pool_block_bytes(size_t bytes)
{
	unsigned order = order_of(bytes);

	return order <= POOL_ORDER_MAX ? (size_t)1 << order : SIZE_MAX;
}

void *pool_get(struct pool *pool, size_t bytes, size_t *cap)
{
	unsigned order = order_of(bytes);
	unsigned found;

	for (found = order; found <= POOL_ORDER_MAX; found++)
		if (!sl_list_is_empty(&pool->free[found]))
			break;
	if (found > POOL_ORDER_MAX)
		return NULL;

	struct sl_list *node = pool->free[found].next;
	uint8_t *p = (uint8_t *)node;

	sl_list_del(node);
	while (found > order) {
		found--;
		push_free(pool, p + ((size_t)1 << found), found);
	}
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
	give_back(pool, block, order);
}
