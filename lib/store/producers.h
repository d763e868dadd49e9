/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Producers of one partition: for each producer id its epoch, the last five batches, by which a
 * repeated batch is recognised and a gap is refused, and its open transaction (KIP-98, KIP-890;
 * reference §3.2).
 */
#ifndef STORE_PRODUCERS_H
#define STORE_PRODUCERS_H

#include "sluice/base/base.h"
#include "sluice/base/buf.h"
#include "sluice/store/log.h"

#include "bounds.h"
#include "txns.h"

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
	/* Number of its open transaction in producers.txns; 0: none.  While it has one it is in no
	 * list: neither silence nor a full table forgets it. */
	uint32_t txn;
	int32_t coordinator_epoch; /* of its last marker; -1: none */
	int64_t last_offset;
	int64_t last_timestamp_ms; /* of its last batch or marker */
	int64_t marker_offset;     /* of its last marker; -1: none since the log was opened */
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
	struct txns txns;
};

/* What a batch says about its producer. */
struct producers_claim {
	int64_t producer_id;
	int64_t base_offset;
	int64_t last_offset;
	int64_t timestamp_ms;  /* batch's max timestamp */
	int32_t base_sequence; /* below 0: of a coordinator, whose batches have none */
	int16_t epoch;
	bool is_transactional;
	bool is_marker; /* it ends a transaction: */
	bool is_abort;
	int32_t coordinator_epoch;
	/* What the caller vouches for, see struct sl_log_append. */
	bool is_verified;
	bool is_epoch_per_txn;
};

void producers_fini(struct producers *producers);
void producers_clear(struct producers *producers);

/* Return: 0 in order or unknown; -EEXIST a kept batch, *original says which; -ESTALE old epoch;
 * -EILSEQ out of order; -EPROTO not in its transaction; -EKEYREVOKED old coordinator epoch. */
int producers_check(const struct producers *producers, const struct producers_claim *claim,
                    const struct producers_batch **original) SL_MUST_CHECK;
/* Makes room for one more producer and, if asked for, one more transaction, so that
 * producers_update() cannot fail.  -ENOMEM; -EBUSY too many transactions are open. */
int producers_reserve(struct producers *producers, bool is_transactional) SL_MUST_CHECK;
/* Remembers an appended batch.  Needs producers_reserve() before it.  Return: the first offset of
 * the transaction that the batch ended; -1: it ended none. */
int64_t producers_update(struct producers *producers, const struct producers_claim *claim,
                         int64_t now_ms);
/* NULL: unknown. */
const struct producers_entry *producers_find(const struct producers *producers,
                                             int64_t producer_id);
/* The producer of transaction number @txn, which is open. */
const struct producers_entry *producers_of_txn(const struct producers *producers, uint32_t txn);
/* The producer of the oldest open transaction; NULL: none is open. */
const struct producers_entry *producers_of_oldest_txn(const struct producers *producers);
/* Whether a transaction of this producer and epoch is open. */
bool producers_has_txn(const struct producers *producers, int64_t producer_id, int16_t epoch);
/* Forgets at most @max producers that were silent since before @before_ms; returns how many. */
uint32_t producers_expire(struct producers *producers, int64_t before_ms, uint32_t max);
uint32_t producers_list(const struct producers *producers, struct sl_log_producer *out,
                        uint32_t max);

/* ---- For producers_file.c ---- */

/* Adds a producer that is not there, as the one used last.  Needs producers_reserve(). */
struct producers_entry *producers_insert(struct producers *producers, int64_t producer_id);
/* Its transaction begins.  Needs producers_reserve() for one. */
void producers_begin_txn(struct producers *producers, struct producers_entry *entry,
                         int64_t first_offset);

/* ---- producers_file.c ---- */

struct aborted;

/* What a snapshot says beside the producers. */
struct producers_snapshot {
	int64_t offset;          /* the log's end then */
	int64_t segment_base;    /* of the segment that was active */
	struct aborted *aborted; /* transactions aborted in it up to there */
};

/* Text of a snapshot file, appended to @buf. */
void producers_encode(const struct producers *producers, const struct producers_snapshot *snapshot,
                      struct sl_buf *buf);
/* Fills an empty table and, if it is not NULL, the empty list @snapshot->aborted; snapshot->offset
 * says which one is wanted.  Return: 0; -EBADMSG not a snapshot, damaged, or for another offset;
 * -ENOMEM; both are empty again then. */
int producers_decode(struct producers *producers, struct producers_snapshot *snapshot,
                     const void *p, size_t len) SL_MUST_CHECK;

#endif
