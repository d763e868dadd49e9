/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One slice of the hot tier at work: chunks, what may be recycled, and what sockets still read.
 * Used by its lane alone; the populating thread only moves the two atomics of struct sl_hot_pool.
 *
 * Pages that a socket may read are exchanged for fresh ones only as whole huge pages: punching a
 * part of one makes the kernel zero that part in place, under the eyes of the socket.
 */
#include <errno.h>
#include <fcntl.h>

#include "sluice/base/assert.h"

#include "hot_impl.h"

/* ---- Places and kinds ---- */

static uint32_t unit_of(const struct sl_hot_pool *pool, const struct sl_hot_chunk *chunk)
{
	SL_ASSERT_HOT(chunk >= pool->chunks && chunk < pool->chunks + pool->opts.units);
	return (uint32_t)(chunk - pool->chunks);
}

static enum hot_kind kind_of(const struct sl_hot_pool *pool, const struct sl_hot_chunk *chunk)
{
	return (enum hot_kind)pool->buddy.runs[unit_of(pool, chunk)].kind;
}

static uint32_t order_of(size_t bytes)
{
	size_t units = (bytes + SL_HOT_CHUNK_BYTES_MIN - 1) / SL_HOT_CHUNK_BYTES_MIN;

	return units <= 1 ? 0 : 64 - (uint32_t)__builtin_clzll(units - 1);
}

/* Between the kinds of chunks; the allocator's own are free and inside. */
static void set_kind(struct sl_hot_pool *pool, struct sl_hot_chunk *chunk, enum hot_kind kind)
{
	struct hot_run *run = &pool->buddy.runs[unit_of(pool, chunk)];

	SL_ASSERT(run->kind > HOT_FREE && kind > HOT_FREE);
	SL_ASSERT(pool->bytes[run->kind] >= chunk->bytes);
	pool->bytes[run->kind] -= chunk->bytes;
	pool->bytes[kind] += chunk->bytes;
	run->kind = (uint8_t)kind;
	sl_list_del(&chunk->age_link);
	if (kind == HOT_CLEAN)
		sl_list_push_back(&pool->clean, &chunk->age_link);
	else if (kind == HOT_QUARANTINED)
		sl_list_push_back(&pool->quarantined, &chunk->age_link);
}

/* ---- Giving back ---- */

/* The memory may be overwritten from here on. */
static void give(struct sl_hot_pool *pool, struct sl_hot_chunk *chunk)
{
	enum hot_kind kind = kind_of(pool, chunk);

	SL_ASSERT(chunk->refs == 0 && kind > HOT_FREE);
	sl_list_del(&chunk->age_link);
	chunk->gen++;
	chunk->holds = 0;
	pool->bytes[kind] -= chunk->bytes;
	pool->bytes[HOT_FREE] += chunk->bytes;
	hot_buddy_give(&pool->buddy, unit_of(pool, chunk));
}

static bool is_settled(struct sl_hot_pool *pool, struct sl_hot_chunk *chunk)
{
	if (chunk->holds == 0)
		return true;
	if (!pool->ops.settle || !pool->ops.settle(pool->ops.settle_arg, chunk))
		return false;
	SL_ASSERT(chunk->holds == 0);
	return true;
}

/* Exchanges the pages of whole huge pages; sockets keep the old ones.  They read as zeros. */
static bool punch(struct sl_hot_pool *pool, uint32_t unit, uint32_t units)
{
	off_t pos = (off_t)(pool->opts.file_pos + (uint64_t)unit * SL_HOT_CHUNK_BYTES_MIN);
	off_t len = (off_t)(units * SL_HOT_CHUNK_BYTES_MIN);
	int err;

	SL_ASSERT(unit % HOT_UNITS_PER_HUGE == 0 && units % HOT_UNITS_PER_HUGE == 0);
	do
		err = fallocate(pool->opts.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, pos,
		                len);
	while (err < 0 && errno == EINTR);
	if (SL_COUNT_IF(err < 0))
		return false;
	pool->punched_count += units / HOT_UNITS_PER_HUGE;
	return true;
}

/* A chunk that nobody owns any more becomes free, or waits for the sockets. */
static void release(struct sl_hot_pool *pool, struct sl_hot_chunk *chunk)
{
	uint32_t unit = unit_of(pool, chunk);
	uint32_t units = 1u << pool->buddy.runs[unit].order;

	/* Before the memory changes: a replay must not take other bytes for the segment's. */
	atomic_store_explicit(&pool->descs_all[chunk->slot].state, 0, memory_order_release);
	chunk->owner = NULL;
	if (is_settled(pool, chunk)) {
		give(pool, chunk);
		return;
	}
	pool->quarantined_count++;
	if (units >= HOT_UNITS_PER_HUGE && punch(pool, unit, units))
		give(pool, chunk);
	else
		set_kind(pool, chunk, HOT_QUARANTINED);
}

static void evict(struct sl_hot_pool *pool, struct sl_hot_chunk *chunk)
{
	SL_ASSERT(kind_of(pool, chunk) == HOT_CLEAN && chunk->refs == 0);
	if (pool->ops.forget)
		pool->ops.forget(chunk->owner, chunk);
	pool->recycled_count++;
	release(pool, chunk);
}

void sl_hot_put(struct sl_hot_pool *pool, struct sl_hot_chunk *chunk)
{
	SL_ASSERT(kind_of(pool, chunk) == HOT_DIRTY || kind_of(pool, chunk) == HOT_CLEAN);
	SL_ASSERT(chunk->refs == 0);
	release(pool, chunk);
}

/* ---- Regions: aligned runs of units that are emptied to make one chunk ---- */

/*
 * Whether the region holds nothing but free memory and at most @chunks_max clean chunks, and, when
 * it is to be @punched, quarantined ones.
 */
static bool can_empty(const struct sl_hot_pool *pool, uint32_t first, uint32_t order,
                      uint32_t chunks_max, bool punched)
{
	uint32_t end = first + (1u << order);
	uint32_t chunks = 0;

	if (end > pool->opts.units)
		return false;
	for (uint32_t unit = first; unit < end;) {
		const struct hot_run *run = &pool->buddy.runs[unit];

		if (run->kind == HOT_DIRTY || (run->kind == HOT_QUARANTINED && !punched))
			return false;
		if (run->kind != HOT_FREE && (++chunks > chunks_max || pool->chunks[unit].refs > 0))
			return false;
		unit += 1u << run->order;
	}
	return true;
}

/* Recycles the clean chunks of a region that can_empty().  Returns how many. */
static uint32_t empty(struct sl_hot_pool *pool, uint32_t first, uint32_t order)
{
	uint32_t end = first + (1u << order);
	uint32_t evicted = 0;

	for (uint32_t unit = first; unit < end;) {
		struct hot_run run = pool->buddy.runs[unit];

		/* Runs merge as they are given back, to the left as well: the next one begins where
		 * this one ended before. */
		if (run.kind == HOT_CLEAN) {
			evict(pool, &pool->chunks[unit]);
			evicted++;
		}
		unit += 1u << run.order;
	}
	return evicted;
}

/* Frees what is in quarantine in a region that holds nothing else, page by page. */
static void exchange(struct sl_hot_pool *pool, uint32_t first, uint32_t order)
{
	uint32_t punched_end = first;

	for (uint32_t unit = first; unit < first + (1u << order);) {
		struct hot_run run = pool->buddy.runs[unit];

		if (run.kind == HOT_QUARANTINED) {
			uint32_t units = 1u << SL_MAX(run.order, HOT_HUGE_ORDER);
			uint32_t page = unit & ~(units - 1);

			if (unit >= punched_end && !punch(pool, page, units))
				return;
			punched_end = page + units;
			give(pool, &pool->chunks[unit]);
		}
		unit += 1u << run.order;
	}
}

/* The last resort: empties the region of at least a huge page around @chunk, pages that sockets
 * read included. */
static bool exchange_around(struct sl_hot_pool *pool, const struct sl_hot_chunk *chunk,
                            uint32_t order)
{
	uint32_t unit = unit_of(pool, chunk);
	uint32_t first;

	order = SL_MAX(SL_MAX(order, HOT_HUGE_ORDER), (uint32_t)pool->buddy.runs[unit].order);
	first = unit & ~((1u << order) - 1);
	if (!can_empty(pool, first, order, UINT32_MAX, true))
		return false;
	(void)empty(pool, first, order);
	exchange(pool, first, order);
	return true;
}

/* ---- Getting ---- */

/* Places of one size that were looked at in vain. */
struct search {
	uint32_t order;
	uint32_t count;
	uint32_t firsts[STORE_HOT_PLACES];
};

static bool is_rejected(const struct search *search, uint32_t unit)
{
	for (uint32_t i = 0; i < search->count; i++)
		if (search->firsts[i] == unit >> search->order << search->order)
			return true;
	return false;
}

static void reject(struct search *search, uint32_t unit)
{
	SL_ASSERT(search->count < STORE_HOT_PLACES);
	search->firsts[search->count++] = unit >> search->order << search->order;
}

/* The oldest clean chunk without references outside of the places that were rejected. */
static struct sl_hot_chunk *candidate(struct sl_hot_pool *pool, const struct search *search)
{
	struct sl_list *pos;
	struct sl_list *tmp;
	uint32_t looked = 0;

	sl_list_for_each_safe(pos, tmp, &pool->clean) {
		struct sl_hot_chunk *chunk = sl_list_entry(pos, struct sl_hot_chunk, age_link);

		if (looked++ == STORE_HOT_LOOKS)
			break;
		if (chunk->refs > 0) {
			/* In use: as good as used just now. */
			sl_list_del(pos);
			sl_list_push_back(&pool->clean, pos);
		} else if (!is_rejected(search, unit_of(pool, chunk))) {
			return chunk;
		}
	}
	return NULL;
}

/* Populated memory first, then what is there. */
static uint32_t take(struct sl_hot_pool *pool, uint32_t order)
{
	uint32_t populated = (uint32_t)(hot_pool_populated(pool) / SL_HOT_CHUNK_BYTES_MIN);
	uint32_t end = hot_pool_units_end(pool);
	uint32_t unit = hot_buddy_take(&pool->buddy, order, SL_MIN(populated, end));

	if (unit == HOT_NO_UNIT && populated < end)
		unit = hot_buddy_take(&pool->buddy, order, end);
	return unit;
}

/* Recycles around the oldest clean chunks until a run of @order can be had. */
static uint32_t make_room(struct sl_hot_pool *pool, uint32_t order, uint32_t *budget)
{
	struct search search = {.order = order};
	uint32_t unit = HOT_NO_UNIT;

	for (uint32_t tries = 0; tries<STORE_HOT_PLACES && * budget> 0; tries++) {
		struct sl_hot_chunk *chunk = candidate(pool, &search);
		uint32_t around;
		uint32_t first;

		if (!chunk)
			break;
		first = unit_of(pool, chunk);
		around = pool->buddy.runs[first].order;
		if (first < hot_pool_units_end(pool))
			around = SL_MAX(around, order);
		first &= ~((1u << around) - 1);
		if (!can_empty(pool, first, around, *budget, false)) {
			reject(&search, first);
			continue;
		}
		*budget -= empty(pool, first, around);
		unit = take(pool, order);
		if (unit != HOT_NO_UNIT)
			break;
	}
	return unit;
}

/* At any price but that of dirty bytes. */
static uint32_t force_room(struct sl_hot_pool *pool, uint32_t order)
{
	struct search search = {.order = SL_MAX(order, HOT_HUGE_ORDER)};
	uint32_t unit = HOT_NO_UNIT;

	for (uint32_t tries = 0; tries < STORE_HOT_PLACES && unit == HOT_NO_UNIT; tries++) {
		struct sl_hot_chunk *chunk = candidate(pool, &search);

		if (!chunk)
			break;
		if (exchange_around(pool, chunk, order))
			unit = take(pool, order);
		else
			reject(&search, unit_of(pool, chunk));
	}
	for (uint32_t tries = 0; tries < STORE_HOT_PLACES && unit == HOT_NO_UNIT; tries++) {
		struct sl_hot_chunk *chunk = sl_list_first(&pool->quarantined, struct sl_hot_chunk,
		                                           age_link);

		if (!chunk)
			break;
		if (exchange_around(pool, chunk, order)) {
			unit = take(pool, order);
		} else {
			sl_list_del(&chunk->age_link);
			sl_list_push_back(&pool->quarantined, &chunk->age_link);
		}
	}
	return unit;
}

/* Asks after a few chunks in quarantine; when there is too much of it, exchanges a page. */
static void quarantine_poll(struct sl_hot_pool *pool)
{
	uint64_t total = (uint64_t)pool->opts.units * SL_HOT_CHUNK_BYTES_MIN;

	for (uint32_t i = 0; i < STORE_HOT_SETTLES; i++) {
		struct sl_hot_chunk *chunk = sl_list_first(&pool->quarantined, struct sl_hot_chunk,
		                                           age_link);

		if (!chunk)
			return;
		if (is_settled(pool, chunk)) {
			give(pool, chunk);
		} else if (pool->bytes[HOT_QUARANTINED] > total / STORE_HOT_HELD_SHARE &&
		           exchange_around(pool, chunk, HOT_HUGE_ORDER)) {
			break;
		} else {
			sl_list_del(&chunk->age_link);
			sl_list_push_back(&pool->quarantined, &chunk->age_link);
		}
	}
}

static uint32_t find_unit(struct sl_hot_pool *pool, uint32_t order_min, uint32_t order_want)
{
	uint32_t budget = STORE_HOT_EVICTS;
	uint32_t order = order_want;

	for (;; order--) {
		uint32_t unit = take(pool, order);

		if (unit == HOT_NO_UNIT)
			unit = make_room(pool, order, &budget);
		if (unit != HOT_NO_UNIT)
			return unit;
		if (order == order_min)
			return force_room(pool, order_min);
	}
}

void sl_hot_count_tail(struct sl_hot_pool *pool, int more)
{
	SL_ASSERT(more >= 0 || pool->tails > 0);
	pool->tails += (uint32_t)more;
}

size_t sl_hot_share(const struct sl_hot_pool *pool)
{
	uint64_t bytes = (uint64_t)hot_pool_units_end(pool) * SL_HOT_CHUNK_BYTES_MIN /
	                 STORE_HOT_TAILS_SHARE / SL_MAX(pool->tails, 1u);

	bytes = SL_MIN(SL_MAX(bytes, SL_HOT_CHUNK_BYTES_MIN), SL_HOT_CHUNK_BYTES_MAX);
	return (size_t)1 << (63 - __builtin_clzll(bytes));
}

static bool can_fit(const struct sl_hot_pool *pool, size_t bytes)
{
	return bytes <= SL_HOT_CHUNK_BYTES_MIN << pool->buddy.order_max &&
	       1u << order_of(bytes) <= hot_pool_units_end(pool);
}

struct sl_hot_chunk *sl_hot_get(struct sl_hot_pool *pool, const struct sl_hot_key *key, void *owner,
                                uint64_t begin, size_t bytes_min, size_t bytes_want)
{
	size_t lead = begin % SL_HOT_BLOCK;
	struct sl_hot_chunk *chunk;
	struct hot_desc *desc;
	uint32_t order;
	uint32_t unit;

	if (bytes_min > SL_HOT_CHUNK_BYTES_MAX || !can_fit(pool, lead + bytes_min))
		return NULL;
	quarantine_poll(pool);
	order = order_of(SL_MIN(bytes_want, SL_HOT_CHUNK_BYTES_MAX));
	order = SL_MIN(SL_MAX(order, order_of(lead + bytes_min)), pool->buddy.order_max);
	unit = find_unit(pool, order_of(lead + bytes_min), order);
	if (unit == HOT_NO_UNIT)
		return NULL;
	order = pool->buddy.runs[unit].order;
	chunk = &pool->chunks[unit];
	*chunk = (struct sl_hot_chunk){
		.p = pool->opts.memory + (size_t)unit * SL_HOT_CHUNK_BYTES_MIN,
		.file_pos = pool->opts.file_pos + (uint64_t)unit * SL_HOT_CHUNK_BYTES_MIN,
		.bytes = SL_HOT_CHUNK_BYTES_MIN << order,
		.pos = begin - lead,
		.begin = begin,
		.end = begin,
		.durable = begin,
		.owner = owner,
		.gen = chunk->gen,
		.slot = pool->opts.slot_first + unit,
	};
	sl_list_init(&chunk->link);
	sl_list_init(&chunk->age_link);
	pool->bytes[HOT_FREE] -= chunk->bytes;
	pool->bytes[HOT_DIRTY] += chunk->bytes;
	desc = &pool->opts.descs[unit];
	atomic_store_explicit(&desc->end, begin, memory_order_relaxed);
	atomic_store_explicit(&desc->durable, begin, memory_order_relaxed);
	desc->begin = begin;
	desc->pos = chunk->pos;
	desc->topic_id = key->topic_id;
	desc->base_offset = key->base_offset;
	desc->partition = key->partition;
	/* Last: with this the descriptor counts.  Read by sl_hot_replay() of a later process. */
	atomic_store_explicit(&desc->state, hot_desc_state(desc, chunk->slot, order),
	                      memory_order_release);
	return chunk;
}

bool sl_hot_fits(const struct sl_hot_pool *pool, size_t bytes)
{
	return bytes <= SL_HOT_CHUNK_BYTES_MAX && can_fit(pool, bytes + SL_HOT_BLOCK - 1);
}

/* ---- Contents ---- */

void sl_hot_commit(struct sl_hot_pool *pool, struct sl_hot_chunk *chunk, uint64_t end)
{
	struct hot_desc *desc = &pool->descs_all[chunk->slot];

	SL_ASSERT(end >= chunk->begin && end <= chunk->pos + chunk->bytes);
	if (sl_unlikely(!sl_list_is_empty(&chunk->age_link)))
		set_kind(pool, chunk, HOT_DIRTY);
	chunk->end = end;
	/* After the bytes, whoever wrote them.  Read by sl_hot_replay() of a later process. */
	atomic_store_explicit(&desc->end, end, memory_order_release);
	if (sl_unlikely(end < chunk->durable)) {
		/* Cut: what comes behind the new end is not on disk yet. */
		chunk->durable = end;
		atomic_store_explicit(&desc->durable, end, memory_order_release);
	}
}

void sl_hot_durable(struct sl_hot_pool *pool, struct sl_hot_chunk *chunk, uint64_t pos)
{
	pos = SL_MIN(pos, chunk->end);
	if (pos > chunk->durable) {
		chunk->durable = pos;
		atomic_store_explicit(&pool->descs_all[chunk->slot].durable, pos,
		                      memory_order_release);
	}
	if (chunk->durable == chunk->end && sl_list_is_empty(&chunk->age_link))
		set_kind(pool, chunk, HOT_CLEAN);
}
