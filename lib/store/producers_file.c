/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of a producers' snapshot: header, producers with the batches kept of each, aborted
 * transactions of the segment that was active.  Integers are big-endian, under one checksum.
 */
#include <errno.h>

#include "sluice/base/assert.h"
#include "sluice/base/crc32c.h"

#include "aborted.h"
#include "producers.h"

#define SNAPSHOT_MAGIC        0x534c5053u /* "SLPS" */
#define SNAPSHOT_VERSION      2u
/* magic u32, version u32, crc u32, producers u32, offset i64, segment base i64, aborted u32, 0 u32
 */
#define SNAPSHOT_HEADER_BYTES 40u
#define SNAPSHOT_CRC_FROM     12u /* everything behind the crc */
/* id i64, seen i64, last offset i64, last timestamp i64, first offset of its transaction i64 (-1:
 * none), coordinator epoch i32, epoch i16, count u8, 0 u8 */
#define SNAPSHOT_ENTRY_BYTES  48u
#define SNAPSHOT_BATCH_BYTES  24u /* last seq i32, delta i32, last offset i64, timestamp i64 */

static void encode_entry(const struct producers *producers, const struct producers_entry *entry,
                         struct sl_buf *buf)
{
	const int64_t txn_first = entry->txn ? txns_node(&producers->txns, entry->txn)->first_offset
	                                     : -1;
	uint32_t first = (entry->next + STORE_PRODUCER_WINDOW - entry->count) %
	                 STORE_PRODUCER_WINDOW;

	sl_buf_put_be64(buf, (uint64_t)entry->producer_id);
	sl_buf_put_be64(buf, (uint64_t)entry->seen_ms);
	sl_buf_put_be64(buf, (uint64_t)entry->last_offset);
	sl_buf_put_be64(buf, (uint64_t)entry->last_timestamp_ms);
	sl_buf_put_be64(buf, (uint64_t)txn_first);
	sl_buf_put_be32(buf, (uint32_t)entry->coordinator_epoch);
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

/* Oldest first, so that decoding in file order restores the list by last use, then those with a
 * transaction in the order of their first offsets. */
static void encode_entries(const struct producers *producers, struct sl_buf *buf)
{
	const struct txns *txns = &producers->txns;

	for (uint32_t n = producers->oldest; n; n = producers->entries[n - 1].newer)
		encode_entry(producers, &producers->entries[n - 1], buf);
	for (uint32_t n = txns->oldest; n; n = txns_node(txns, n)->newer) {
		/* One that has ended is below the high watermark by the time this is read. */
		if (txns_node(txns, n)->last_offset < 0)
			encode_entry(producers, producers_of_txn(producers, n), buf);
	}
}

void producers_encode(const struct producers *producers, const struct producers_snapshot *snapshot,
                      struct sl_buf *buf)
{
	size_t begin = buf->len;

	sl_buf_put_be32(buf, SNAPSHOT_MAGIC);
	sl_buf_put_be32(buf, SNAPSHOT_VERSION);
	sl_buf_put_be32(buf, 0);
	sl_buf_put_be32(buf, producers->count);
	sl_buf_put_be64(buf, (uint64_t)snapshot->offset);
	sl_buf_put_be64(buf, (uint64_t)snapshot->segment_base);
	sl_buf_put_be32(buf, snapshot->aborted->count);
	sl_buf_put_be32(buf, 0);
	encode_entries(producers, buf);
	aborted_encode_entries(snapshot->aborted, buf);
	if (sl_buf_ok(buf))
		sl_store_be32(buf->p + begin + 8, sl_crc32c(0, buf->p + begin + SNAPSHOT_CRC_FROM,
		                                            buf->len - begin - SNAPSHOT_CRC_FROM));
}

/* Takes the fixed part of one entry.  Return: false: it contradicts itself or one before. */
static bool decode_head(struct producers *producers, struct producers_entry *entry,
                        const uint8_t *p, int64_t end_offset)
{
	const struct txns *txns = &producers->txns;
	const int64_t txn_first = (int64_t)sl_load_be64(p + 32);

	entry->seen_ms = (int64_t)sl_load_be64(p + 8);
	entry->last_offset = (int64_t)sl_load_be64(p + 16);
	entry->last_timestamp_ms = (int64_t)sl_load_be64(p + 24);
	entry->coordinator_epoch = (int32_t)sl_load_be32(p + 40);
	entry->epoch = (int16_t)sl_load_be16(p + 44);
	entry->count = p[46];
	entry->next = (uint8_t)(entry->count % STORE_PRODUCER_WINDOW);
	if (txn_first < -1 || txn_first >= end_offset || entry->last_offset < txn_first ||
	    (txn_first >= 0 && txns->newest &&
	     txns_node(txns, txns->newest)->first_offset >= txn_first))
		return false;
	if (txn_first >= 0)
		producers_begin_txn(producers, entry, txn_first);
	return true;
}

/* Reads one entry at @p of @len bytes; returns the bytes it took, 0 when it is damaged. */
static size_t decode_entry(struct producers *producers, const uint8_t *p, size_t len,
                           int64_t end_offset)
{
	struct producers_entry *entry;
	int64_t producer_id;
	uint32_t count;

	if (len < SNAPSHOT_ENTRY_BYTES)
		return 0;
	producer_id = (int64_t)sl_load_be64(p);
	count = p[46];
	if (producer_id < 0 || count > STORE_PRODUCER_WINDOW ||
	    producers_find(producers, producer_id) ||
	    len < SNAPSHOT_ENTRY_BYTES + (size_t)count * SNAPSHOT_BATCH_BYTES)
		return 0;
	entry = producers_insert(producers, producer_id);
	if (!decode_head(producers, entry, p, end_offset))
		return 0;
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

/* What is left behind the entries is the list, whole or not at all. */
static int decode_aborted(struct producers_snapshot *snapshot, const uint8_t *p, size_t len,
                          uint32_t count)
{
	struct aborted list = {0};
	int err;

	if (len != (size_t)count * ABORTED_ENTRY_BYTES)
		return -EBADMSG;
	err = aborted_decode_entries(&list, p, count, snapshot->segment_base, snapshot->offset);
	if (err)
		return err;
	if (snapshot->aborted)
		*snapshot->aborted = list;
	else
		aborted_fini(&list);
	return 0;
}

int producers_decode(struct producers *producers, struct producers_snapshot *snapshot,
                     const void *p, size_t len)
{
	const uint8_t *at = p;
	uint32_t aborted_count;
	uint32_t count;
	int err = 0;

	SL_ASSERT(producers->count == 0);
	if (len < SNAPSHOT_HEADER_BYTES || sl_load_be32(at) != SNAPSHOT_MAGIC ||
	    sl_load_be32(at + 4) != SNAPSHOT_VERSION ||
	    sl_load_be32(at + 8) != sl_crc32c(0, at + SNAPSHOT_CRC_FROM, len - SNAPSHOT_CRC_FROM) ||
	    (int64_t)sl_load_be64(at + 16) != snapshot->offset)
		return -EBADMSG;
	count = sl_load_be32(at + 12);
	snapshot->segment_base = (int64_t)sl_load_be64(at + 24);
	aborted_count = sl_load_be32(at + 32);
	at += SNAPSHOT_HEADER_BYTES;
	len -= SNAPSHOT_HEADER_BYTES;
	for (uint32_t i = 0; i < count && !err; i++) {
		size_t took;

		err = producers_reserve(producers, true);
		if (err)
			break;
		took = decode_entry(producers, at, len, snapshot->offset);
		if (took == 0)
			err = -EBADMSG;
		at += took;
		len -= took;
	}
	if (!err)
		err = decode_aborted(snapshot, at, len, aborted_count);
	if (err)
		producers_clear(producers);
	return err == -EBUSY ? -EBADMSG : err;
}
