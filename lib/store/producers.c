/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Producers.  A pool of entries that grows in powers of two, an open-addressing table of entry
 * numbers over it and a list by last use, so that expiry and eviction look at one end only.  Who
 * has an open transaction leaves that list for as long.  Owned by its log; touched by the log's
 * owner.
 */
#include "producers.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/hash.h"

#define POOL_FIRST 4u

void producers_fini(struct producers *producers)
{
	free(producers->entries);
	free(producers->slots);
	txns_fini(&producers->txns);
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

int producers_reserve(struct producers *producers, bool is_transactional)
{
	int err = is_transactional ? txns_reserve(&producers->txns) : 0;

	if (err)
		return err;
	if (producers->free_head || producers->entries_used < producers->entries_cap)
		return 0;
	if (SL_COUNT_IF(producers->entries_cap >= STORE_PRODUCERS_MAX))
		return producers->oldest ? 0 : -EBUSY; /* producers_update() will evict */
	return grow(producers);
}

struct producers_entry *producers_insert(struct producers *producers, int64_t producer_id)
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
	*entry = (struct producers_entry){
		.producer_id = producer_id,
		.coordinator_epoch = -1,
		.last_timestamp_ms = -1,
		.marker_offset = -1,
	};
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

const struct producers_entry *producers_find(const struct producers *producers, int64_t producer_id)
{
	return find(producers, producer_id);
}

const struct producers_entry *producers_of_txn(const struct producers *producers, uint32_t txn)
{
	const struct producers_entry *entry = find(producers,
	                                           txns_node(&producers->txns, txn)->producer_id);

	/* An open transaction keeps its producer. */
	SL_ASSERT(entry && entry->txn == txn);
	return entry;
}

const struct producers_entry *producers_of_oldest_txn(const struct producers *producers)
{
	const uint32_t number = txns_oldest_open(&producers->txns);

	return number ? producers_of_txn(producers, number) : NULL;
}

bool producers_has_txn(const struct producers *producers, int64_t producer_id, int16_t epoch)
{
	const struct producers_entry *entry = find(producers, producer_id);

	return entry && entry->txn && entry->epoch == epoch;
}

/* Which sequence the first batch of @claim must have; any if nothing is known. */
static int check_sequence(const struct producers_entry *entry, const struct producers_claim *claim)
{
	int32_t expected = 0;

	if (claim->base_sequence < 0)
		return 0;
	/* A producer whose epoch rises with every transaction begins each with 0, so the loss of
	 * its first batch shows even where nothing is known of it (KIP-890). */
	if (!entry)
		return claim->is_epoch_per_txn && claim->base_sequence != 0 ? -EILSEQ : 0;
	if (claim->epoch == entry->epoch && entry->count > 0)
		expected = sequence_add(latest_batch(entry)->last_sequence, 1);
	return claim->base_sequence == expected ? 0 : -EILSEQ;
}

/* KIP-98: "fence out zombies"; a marker of a newer epoch fences, too. */
static int check_marker(const struct producers_entry *entry, const struct producers_claim *claim)
{
	if (!entry)
		return 0;
	if (claim->epoch < entry->epoch)
		return -ESTALE;
	return claim->coordinator_epoch < entry->coordinator_epoch ? -EKEYREVOKED : 0;
}

int producers_check(const struct producers *producers, const struct producers_claim *claim,
                    const struct producers_batch **original)
{
	const struct producers_entry *entry = find(producers, claim->producer_id);
	int err;

	SL_ASSERT(claim->producer_id >= 0);
	if (claim->is_marker)
		return check_marker(entry, claim);
	if (entry && claim->epoch < entry->epoch)
		return -ESTALE;
	if (entry && claim->epoch == entry->epoch && claim->base_sequence >= 0) {
		*original = find_batch(entry, claim);
		if (*original)
			return -EEXIST;
	}
	/* KIP-890: no record of a transaction that the coordinator does not know of. */
	if (claim->is_transactional && !claim->is_verified &&
	    !(entry && entry->txn && entry->epoch == claim->epoch))
		return -EPROTO;
	err = check_sequence(entry, claim);
	if (err)
		return err;
	return entry && entry->txn && !claim->is_transactional ? -EPROTO : 0;
}

void producers_begin_txn(struct producers *producers, struct producers_entry *entry,
                         int64_t first_offset)
{
	SL_ASSERT(!entry->txn);
	unlink_entry(producers, entry);
	entry->txn = txns_begin(&producers->txns, entry->producer_id, first_offset);
}

/* Return: first offset of the transaction that was open; -1: none was. */
static int64_t take_marker(struct producers *producers, struct producers_entry *entry,
                           const struct producers_claim *claim)
{
	const uint32_t txn = entry->txn;

	entry->coordinator_epoch = claim->coordinator_epoch;
	entry->marker_offset = claim->last_offset;
	if (!txn)
		return -1;
	txns_end(&producers->txns, txn, claim->last_offset);
	entry->txn = 0;
	link_newest(producers, entry);
	return txns_node(&producers->txns, txn)->first_offset;
}

static void remember_batch(struct producers_entry *entry, const struct producers_claim *claim)
{
	int64_t delta = claim->last_offset - claim->base_offset;

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

int64_t producers_update(struct producers *producers, const struct producers_claim *claim,
                         int64_t now_ms)
{
	struct producers_entry *entry = find(producers, claim->producer_id);

	SL_ASSERT(claim->producer_id >= 0 && claim->last_offset >= claim->base_offset);
	SL_ASSERT(claim->last_offset - claim->base_offset <= INT32_MAX);
	if (entry && !entry->txn) {
		unlink_entry(producers, entry);
		link_newest(producers, entry);
	} else if (!entry) {
		entry = producers_insert(producers, claim->producer_id);
		entry->epoch = claim->epoch;
	}
	if (claim->epoch != entry->epoch) {
		entry->epoch = claim->epoch;
		entry->count = 0;
		entry->next = 0;
	}
	entry->seen_ms = now_ms;
	entry->last_offset = claim->last_offset;
	entry->last_timestamp_ms = claim->timestamp_ms;
	if (claim->is_marker)
		return take_marker(producers, entry, claim);
	if (claim->base_sequence >= 0)
		remember_batch(entry, claim);
	if (claim->is_transactional && !entry->txn)
		producers_begin_txn(producers, entry, claim->base_offset);
	return -1;
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

static struct sl_log_producer describe(const struct producers *producers,
                                       const struct producers_entry *entry)
{
	return (struct sl_log_producer){
		.producer_id = entry->producer_id,
		.epoch = entry->epoch,
		.last_sequence = entry->count ? latest_batch(entry)->last_sequence : -1,
		.coordinator_epoch = entry->coordinator_epoch,
		.last_timestamp_ms = entry->last_timestamp_ms,
		.last_offset = entry->last_offset,
		.txn_first_offset =
			entry->txn ? txns_node(&producers->txns, entry->txn)->first_offset : -1,
	};
}

uint32_t producers_list(const struct producers *producers, struct sl_log_producer *out,
                        uint32_t max)
{
	const struct txns *txns = &producers->txns;
	uint32_t count = 0;

	for (uint32_t n = producers->oldest; n && count < max; n = producers->entries[n - 1].newer)
		out[count++] = describe(producers, &producers->entries[n - 1]);
	for (uint32_t n = txns->oldest; n && count < max; n = txns_node(txns, n)->newer) {
		/* One that has ended is the producer's no more, which may have another. */
		if (txns_node(txns, n)->last_offset < 0)
			out[count++] = describe(producers, producers_of_txn(producers, n));
	}
	return count;
}
