/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Idempotent producers of one partition: for each producer id its epoch and the last five batches,
 * by which a repeated batch is recognised and a gap is refused (KIP-98; reference §3.2).
 */
#ifndef STORE_PRODUCERS_H
#define STORE_PRODUCERS_H

#include "sluice/base/base.h"
#include "sluice/base/buf.h"
#include "sluice/store/log.h"

#include "bounds.h"

/* One remembered batch; its first sequence is last - delta, modulo 2^31. */
struct producers_batch {
	int32_t last_sequence;
	int32_t offset_delta;
	int64_t last_offset;
	int64_t timestamp_ms;
};

struct producers_entry {
	int64_t producer_id;
	int64_t seen_ms; /* wall clock of the last append, for expiry */
	uint32_t newer;  /* neighbours in the list by last use: entry number + 1; 0: none */
	uint32_t older;  /* the free list uses it too */
	int16_t epoch;
	uint8_t count; /* batches kept */
	uint8_t next;  /* slot the next batch goes to */
	int64_t last_offset;
	struct producers_batch batches[STORE_PRODUCER_WINDOW];
};

/* Legal states: zeroed = empty; slots_count is 0 or a power of two >= 2 * count. */
struct producers {
	struct producers_entry *entries; /* Owned. */
	uint32_t *slots;                 /* Owned. Entry number + 1, 0: free; linear probing. */
	uint32_t slots_count;
	uint32_t entries_cap;
	uint32_t entries_used; /* high-water mark of entries */
	uint32_t free_head;    /* entry number + 1; 0: none */
	uint32_t count;
	uint32_t newest; /* entry number + 1; 0: none */
	uint32_t oldest;
};

/* What a batch says about its producer. */
struct producers_claim {
	int64_t producer_id;
	int64_t base_offset;
	int64_t last_offset;
	int64_t timestamp_ms; /* batch's max timestamp */
	int32_t base_sequence;
	int16_t epoch;
	bool is_control;
};

void producers_fini(struct producers *producers);
void producers_clear(struct producers *producers);

/* Return: 0 in order or unknown; -EEXIST a kept batch, *original says which; -ESTALE old epoch;
 * -EILSEQ out of order. */
int producers_check(const struct producers *producers, const struct producers_claim *claim,
                    const struct producers_batch **original) SL_MUST_CHECK;
/* Makes room for one more producer, so that producers_update() cannot fail.  -ENOMEM. */
int producers_reserve(struct producers *producers) SL_MUST_CHECK;
/* Remembers an appended batch.  Needs producers_reserve() before it. */
void producers_update(struct producers *producers, const struct producers_claim *claim,
                      int64_t now_ms);
/* Forgets at most @max producers that were silent since before @before_ms; returns how many. */
uint32_t producers_expire(struct producers *producers, int64_t before_ms, uint32_t max);
uint32_t producers_list(const struct producers *producers, struct sl_log_producer *out,
                        uint32_t max);

/* Text of a snapshot file valid at log offset @offset, appended to @buf. */
void producers_encode(const struct producers *producers, int64_t offset, struct sl_buf *buf);
/* Fills an empty table.  -EBADMSG not a snapshot, damaged, or for another offset; -ENOMEM. */
int producers_decode(struct producers *producers, const void *p, size_t len,
                     int64_t offset) SL_MUST_CHECK;

#endif
