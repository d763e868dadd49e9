/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One slice of the hot tier: set-up, how far it is populated, its levels.  What its lane does with
 * it all day is in hot_pool.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "sluice/base/assert.h"

#include "hot_impl.h"

int hot_pool_create(struct sl_hot_pool **out, const struct hot_pool_opts *opts)
{
	size_t slice_bytes = (size_t)opts->units * SL_HOT_CHUNK_BYTES_MIN;
	struct sl_hot_pool *pool;
	uint32_t order_max = 0;
	void *chunks;
	int err;

	SL_ASSERT(slice_bytes >= SL_HOT_BYTES_MIN && slice_bytes % HOT_HUGE_BYTES == 0);
	pool = aligned_alloc(SL_CACHE_LINE, sizeof(*pool));
	if (!pool)
		return -ENOMEM;
	memset(pool, 0, sizeof(*pool));
	/* A structure per unit, of which only those are touched where a chunk begins. */
	chunks = mmap(NULL, opts->units * sizeof(struct sl_hot_chunk), PROT_READ | PROT_WRITE,
	              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (chunks == MAP_FAILED) {
		err = -ENOMEM;
		goto err_free;
	}
	while (order_max + 1 < HOT_ORDERS_MAX &&
	       SL_HOT_CHUNK_BYTES_MIN << (order_max + 1) <= slice_bytes / 4)
		order_max++;
	err = hot_buddy_init(&pool->buddy, opts->units, order_max);
	if (err)
		goto err_unmap;
	pool->opts = *opts;
	pool->chunks = chunks;
	pool->descs_all = opts->descs - opts->slot_first;
	pool->bytes[HOT_FREE] = slice_bytes;
	sl_list_init(&pool->clean);
	sl_list_init(&pool->quarantined);
	sl_list_init(&pool->directs);
	pool->directs_max = SL_HOT_DIRECTS_MAX;
	*out = pool;
	return 0;
err_unmap:
	munmap(chunks, opts->units * sizeof(struct sl_hot_chunk));
err_free:
	free(pool);
	return err;
}

void hot_pool_destroy(struct sl_hot_pool *pool)
{
	if (!pool)
		return;
	SL_ASSERT(pool->directs_count == 0);
	munmap(pool->chunks, pool->opts.units * sizeof(struct sl_hot_chunk));
	hot_buddy_fini(&pool->buddy);
	free(pool);
}

void hot_pool_set_populated(struct sl_hot_pool *pool, uint64_t bytes)
{
	atomic_store_explicit(&pool->populated, bytes, memory_order_relaxed);
}

uint64_t hot_pool_populated(const struct sl_hot_pool *pool)
{
	return atomic_load_explicit(&pool->populated, memory_order_relaxed);
}

void hot_pool_set_end(struct sl_hot_pool *pool)
{
	atomic_store_explicit(&pool->is_ended, true, memory_order_relaxed);
}

uint32_t hot_pool_units_end(const struct sl_hot_pool *pool)
{
	if (sl_likely(!atomic_load_explicit(&pool->is_ended, memory_order_relaxed)))
		return pool->opts.units;
	return (uint32_t)(hot_pool_populated(pool) / SL_HOT_CHUNK_BYTES_MIN);
}

void sl_hot_pool_set_ops(struct sl_hot_pool *pool, const struct sl_hot_pool_ops *ops)
{
	pool->ops = *ops;
}

int sl_hot_pool_fd(const struct sl_hot_pool *pool)
{
	return pool->opts.fd;
}

/* Free bytes behind the end of a slice that could not be populated; walked in that case only. */
static uint64_t unreachable_bytes(const struct sl_hot_pool *pool)
{
	uint32_t end = hot_pool_units_end(pool);
	uint64_t lost = 0;

	if (end == pool->opts.units)
		return 0;
	for (uint32_t unit = 0; unit < pool->opts.units;) {
		const struct hot_run *run = &pool->buddy.runs[unit];
		uint32_t run_end = unit + (1u << run->order);

		if (run->kind == HOT_FREE && run_end > end)
			lost += run_end - SL_MAX(unit, end);
		unit = run_end;
	}
	return lost * SL_HOT_CHUNK_BYTES_MIN;
}

void sl_hot_usage(const struct sl_hot_pool *pool, struct sl_hot_usage *out)
{
	uint64_t lost = unreachable_bytes(pool);

	*out = (struct sl_hot_usage){
		.total = (uint64_t)pool->opts.units * SL_HOT_CHUNK_BYTES_MIN - lost,
		.free = pool->bytes[HOT_FREE] - lost,
		.clean = pool->bytes[HOT_CLEAN],
		.dirty = pool->bytes[HOT_DIRTY],
		.quarantined = pool->bytes[HOT_QUARANTINED],
		.recycled_count = pool->recycled_count,
		.quarantined_count = pool->quarantined_count,
		.punched_count = pool->punched_count,
	};
}
