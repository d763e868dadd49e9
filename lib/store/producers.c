/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Idempotent producers.  A pool of entries that grows in powers of two, an open-addressing table of
 * entry numbers over it and a list by last use, so that expiry and eviction look at one end only.
 * Owned by its log; touched by the log's owner.
 */
#include "producers.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/crc32c.h"
#include "sluice/base/hash.h"

#define POOL_FIRST            4u

/* Snapshot file: header, then entries; integers big-endian. */
#define SNAPSHOT_MAGIC        0x534c5053u /* "SLPS" */
#define SNAPSHOT_VERSION      1u
#define SNAPSHOT_HEADER_BYTES 24u /* magic u32, version u32, crc u32, count u32, offset i64 */
#define SNAPSHOT_CRC_FROM     12u /* everything behind the crc */
#define SNAPSHOT_ENTRY_BYTES                                                                     \
	28u                      /* id i64, seen i64, last offset i64, epoch i16, count u8, 0 u8 \
	                          */
#define SNAPSHOT_BATCH_BYTES 24u /* last seq i32, delta i32, last offset i64, timestamp i64 */

void producers_fini(struct producers *producers)
{
	free(producers->entries);
	free(producers->slots);
	*producers = (struct producers){0};
}

void producers_clear(struct producers *producers)
{
	producers_fini(producers);
}

static uint32_t slot_of(const struct producers *producers, int64_t producer_id)
{
	return (uint32_t)sl_hash(&producer_id, sizeof(producer_id), 0) &
	       (producers->slots_count - 1);
}

/* The slot that holds @producer_id or the free one where it would go. */
static uint32_t find_slot(const struct producers *producers, int64_t producer_id)
{
	uint32_t slot = slot_of(producers, producer_id);

	while (producers->slots[slot] != 0 &&
	       producers->entries[producers->slots[slot] - 1].producer_id != producer_id)
		slot = (slot + 1) & (producers->slots_count - 1);
	return slot;
}

static struct producers_entry *find(const struct producers *producers, int64_t producer_id)
{
	uint32_t slot;

	if (producers->slots_count == 0)
		return NULL;
	slot = find_slot(producers, producer_id);
	return producers->slots[slot] ? &producers->entries[producers->slots[slot] - 1] : NULL;
}

static uint32_t number_of(const struct producers *producers, const struct producers_entry *entry)
{
	return (uint32_t)(entry - producers->entries) + 1;
}

static void unlink_entry(struct producers *producers, const struct producers_entry *entry)
{
	if (entry->newer)
		producers->entries[entry->newer - 1].older = entry->older;
	else
		producers->newest = entry->older;
	if (entry->older)
		producers->entries[entry->older - 1].newer = entry->newer;
	else
		producers->oldest = entry->newer;
}

static void link_newest(struct producers *producers, struct producers_entry *entry)
{
	uint32_t number = number_of(producers, entry);

	entry->newer = 0;
	entry->older = producers->newest;
	if (producers->newest)
		producers->entries[producers->newest - 1].newer = number;
	else
		producers->oldest = number;
	producers->newest = number;
}

/* Linear probing without tombstones: later members of the run move up into the hole. */
static void erase_slot(struct producers *producers, uint32_t hole)
{
	uint32_t mask = producers->slots_count - 1;
	uint32_t slot = hole;

	for (;;) {
		uint32_t home;

		slot = (slot + 1) & mask;
		if (producers->slots[slot] == 0)
			break;
		home = slot_of(producers,
		               producers->entries[producers->slots[slot] - 1].producer_id);
		/* It may move unless its home lies cyclically in (hole, slot]. */
		if (((slot - home) & mask) >= ((slot - hole) & mask)) {
			producers->slots[hole] = producers->slots[slot];
			hole = slot;
		}
	}
	producers->slots[hole] = 0;
}

static void forget_oldest(struct producers *producers)
{
	struct producers_entry *entry;
	uint32_t number = producers->oldest;

	SL_ASSERT(producers->count > 0 && number > 0);
	entry = &producers->entries[number - 1];
	erase_slot(producers, find_slot(producers, entry->producer_id));
	unlink_entry(producers, entry);
	entry->older = producers->free_head;
	producers->free_head = number;
	producers->count--;
}

static int grow(struct producers *producers)
{
	uint32_t cap = producers->entries_cap ? producers->entries_cap * 2 : POOL_FIRST;
	struct producers_entry *entries = realloc(producers->entries, cap * sizeof(*entries));
	uint32_t *old = producers->slots;
	uint32_t old_count = producers->slots_count;
	uint32_t *slots;

	if (!entries)
		return -ENOMEM;
	producers->entries = entries;
	slots = calloc((size_t)cap * 2, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	producers->entries_cap = cap;
	producers->slots = slots;
	producers->slots_count = cap * 2;
	for (uint32_t i = 0; i < old_count; i++) {
		if (old[i] == 0)
			continue;
		slots[find_slot(producers, entries[old[i] - 1].producer_id)] = old[i];
	}
	free(old);
	return 0;
}

int producers_reserve(struct producers *producers)
{
	if (producers->free_head || producers->entries_used < producers->entries_cap)
		return 0;
	if (SL_COUNT_IF(producers->entries_cap >= STORE_PRODUCERS_MAX))
		return 0; /* producers_update() will evict */
	return grow(producers);
}

static struct producers_entry *insert(struct producers *producers, int64_t producer_id)
{
	struct producers_entry *entry;
	uint32_t number;

	if (!producers->free_head && producers->entries_used == producers->entries_cap)
		forget_oldest(producers);
	if (producers->free_head) {
		number = producers->free_head;
		producers->free_head = producers->entries[number - 1].older;
	} else {
		SL_ASSERT(producers->entries_used < producers->entries_cap);
		number = ++producers->entries_used;
	}
	entry = &producers->entries[number - 1];
	*entry = (struct producers_entry){.producer_id = producer_id};
	producers->slots[find_slot(producers, producer_id)] = number;
	producers->count++;
	link_newest(producers, entry);
	return entry;
}

/* Sequences run 0..2^31-1 and wrap to 0 (KIP-98). */
static int32_t sequence_add(int32_t sequence, int64_t delta)
{
	return (int32_t)(((int64_t)sequence + delta) & INT32_MAX);
}

static const struct producers_batch *latest_batch(const struct producers_entry *entry)
{
	return &entry->batches[(entry->next + STORE_PRODUCER_WINDOW - 1) % STORE_PRODUCER_WINDOW];
}

static const struct producers_batch *find_batch(const struct producers_entry *entry,
                                                const struct producers_claim *claim)
{
	int64_t delta = claim->last_offset - claim->base_offset;
	int32_t last_sequence = sequence_add(claim->base_sequence, delta);

	for (uint32_t i = 0; i < entry->count; i++) {
		if (entry->batches[i].last_sequence == last_sequence &&
		    entry->batches[i].offset_delta == delta)
			return &entry->batches[i];
	}
	return NULL;
}

int producers_check(const struct producers *producers, const struct producers_claim *claim,
                    const struct producers_batch **original)
{
	const struct producers_entry *entry = find(producers, claim->producer_id);

	SL_ASSERT(claim->producer_id >= 0);
	if (!entry)
		return 0;
	if (claim->epoch < entry->epoch)
		return -ESTALE;
	if (claim->is_control)
		return 0;
	if (claim->epoch > entry->epoch)
		return claim->base_sequence == 0 ? 0 : -EILSEQ;
	*original = find_batch(entry, claim);
	if (*original)
		return -EEXIST;
	if (entry->count == 0)
		return 0;
	if (claim->base_sequence != sequence_add(latest_batch(entry)->last_sequence, 1))
		return -EILSEQ;
	return 0;
}

void producers_update(struct producers *producers, const struct producers_claim *claim,
                      int64_t now_ms)
{
	struct producers_entry *entry = find(producers, claim->producer_id);
	int64_t delta = claim->last_offset - claim->base_offset;

	SL_ASSERT(claim->producer_id >= 0 && delta >= 0 && delta <= INT32_MAX);
	if (entry) {
		unlink_entry(producers, entry);
		link_newest(producers, entry);
	} else {
		entry = insert(producers, claim->producer_id);
		entry->epoch = claim->epoch;
	}
	if (claim->epoch != entry->epoch) {
		entry->epoch = claim->epoch;
		entry->count = 0;
		entry->next = 0;
	}
	entry->seen_ms = now_ms;
	entry->last_offset = claim->last_offset;
	if (claim->is_control)
		return;
	entry->batches[entry->next] = (struct producers_batch){
		.last_sequence = sequence_add(claim->base_sequence, delta),
		.offset_delta = (int32_t)delta,
		.last_offset = claim->last_offset,
		.timestamp_ms = claim->timestamp_ms,
	};
	entry->next = (uint8_t)((entry->next + 1) % STORE_PRODUCER_WINDOW);
	if (entry->count < STORE_PRODUCER_WINDOW)
		entry->count++;
}

uint32_t producers_expire(struct producers *producers, int64_t before_ms, uint32_t max)
{
	uint32_t gone = 0;

	while (gone < max && producers->oldest &&
	       producers->entries[producers->oldest - 1].seen_ms < before_ms) {
		forget_oldest(producers);
		gone++;
	}
	return gone;
}

uint32_t producers_list(const struct producers *producers, struct sl_log_producer *out,
                        uint32_t max)
{
	uint32_t count = 0;

	for (uint32_t n = producers->oldest; n && count < max;
	     n = producers->entries[n - 1].newer) {
		const struct producers_entry *entry = &producers->entries[n - 1];
		const struct producers_batch *batch = entry->count ? latest_batch(entry) : NULL;

		out[count++] = (struct sl_log_producer){
			.producer_id = entry->producer_id,
			.epoch = entry->epoch,
			.last_sequence = batch ? batch->last_sequence : -1,
			.last_timestamp_ms = batch ? batch->timestamp_ms : -1,
			.last_offset = entry->last_offset,
		};
	}
	return count;
}

static void encode_entry(const struct producers_entry *entry, struct sl_buf *buf)
{
	uint32_t first = (entry->next + STORE_PRODUCER_WINDOW - entry->count) %
	                 STORE_PRODUCER_WINDOW;

	sl_buf_put_be64(buf, (uint64_t)entry->producer_id);
	sl_buf_put_be64(buf, (uint64_t)entry->seen_ms);
	sl_buf_put_be64(buf, (uint64_t)entry->last_offset);
	sl_buf_put_be16(buf, (uint16_t)entry->epoch);
	sl_buf_put_u8(buf, entry->count);
	sl_buf_put_u8(buf, 0);
	for (uint32_t i = 0; i < entry->count; i++) {
		const struct producers_batch *batch =
			&entry->batches[(first + i) % STORE_PRODUCER_WINDOW];

		sl_buf_put_be32(buf, (uint32_t)batch->last_sequence);
		sl_buf_put_be32(buf, (uint32_t)batch->offset_delta);
		sl_buf_put_be64(buf, (uint64_t)batch->last_offset);
		sl_buf_put_be64(buf, (uint64_t)batch->timestamp_ms);
	}
}

void producers_encode(const struct producers *producers, int64_t offset, struct sl_buf *buf)
{
	size_t begin = buf->len;

	sl_buf_put_be32(buf, SNAPSHOT_MAGIC);
	sl_buf_put_be32(buf, SNAPSHOT_VERSION);
	sl_buf_put_be32(buf, 0);
	sl_buf_put_be32(buf, producers->count);
	sl_buf_put_be64(buf, (uint64_t)offset);
	/* Oldest first, so that decoding in file order restores the list by last use. */
	for (uint32_t n = producers->oldest; n; n = producers->entries[n - 1].newer)
		encode_entry(&producers->entries[n - 1], buf);
	if (sl_buf_ok(buf))
		sl_store_be32(buf->p + begin + 8, sl_crc32c(0, buf->p + begin + SNAPSHOT_CRC_FROM,
		                                            buf->len - begin - SNAPSHOT_CRC_FROM));
}

/* Reads one entry at @p of @len bytes; returns the bytes it took, 0 when it is damaged. */
static size_t decode_entry(struct producers *producers, const uint8_t *p, size_t len)
{
	struct producers_entry *entry;
	int64_t producer_id;
	uint32_t count;

	if (len < SNAPSHOT_ENTRY_BYTES)
		return 0;
	producer_id = (int64_t)sl_load_be64(p);
	count = p[26];
	if (producer_id < 0 || count > STORE_PRODUCER_WINDOW || find(producers, producer_id) ||
	    len < SNAPSHOT_ENTRY_BYTES + (size_t)count * SNAPSHOT_BATCH_BYTES)
		return 0;
	entry = insert(producers, producer_id);
	entry->seen_ms = (int64_t)sl_load_be64(p + 8);
	entry->last_offset = (int64_t)sl_load_be64(p + 16);
	entry->epoch = (int16_t)sl_load_be16(p + 24);
	entry->count = (uint8_t)count;
	entry->next = (uint8_t)(count % STORE_PRODUCER_WINDOW);
	p += SNAPSHOT_ENTRY_BYTES;
	for (uint32_t i = 0; i < count; i++, p += SNAPSHOT_BATCH_BYTES)
		entry->batches[i] = (struct producers_batch){
			.last_sequence = (int32_t)sl_load_be32(p),
			.offset_delta = (int32_t)sl_load_be32(p + 4),
			.last_offset = (int64_t)sl_load_be64(p + 8),
			.timestamp_ms = (int64_t)sl_load_be64(p + 16),
		};
	return SNAPSHOT_ENTRY_BYTES + (size_t)count * SNAPSHOT_BATCH_BYTES;
}

int producers_decode(struct producers *producers, const void *p, size_t len, int64_t offset)
{
	const uint8_t *at = p;
	uint32_t count;

	SL_ASSERT(producers->count == 0);
	if (len < SNAPSHOT_HEADER_BYTES || sl_load_be32(at) != SNAPSHOT_MAGIC ||
	    sl_load_be32(at + 4) != SNAPSHOT_VERSION ||
	    sl_load_be32(at + 8) != sl_crc32c(0, at + SNAPSHOT_CRC_FROM, len - SNAPSHOT_CRC_FROM) ||
	    (int64_t)sl_load_be64(at + 16) != offset)
		return -EBADMSG;
	count = sl_load_be32(at + 12);
	at += SNAPSHOT_HEADER_BYTES;
	len -= SNAPSHOT_HEADER_BYTES;
	for (uint32_t i = 0; i < count; i++) {
		size_t took;
		int err = producers_reserve(producers);

		if (err) {
			producers_clear(producers);
			return err;
		}
		took = decode_entry(producers, at, len);
		if (took == 0) {
			producers_clear(producers);
			return -EBADMSG;
		}
		at += took;
		len -= took;
	}
	if (len == 0)
		return 0;
	producers_clear(producers);
	return -EBADMSG;
}
