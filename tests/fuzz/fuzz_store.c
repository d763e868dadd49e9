/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that the store reads back, and the control batches that recovery looks into.  Input: a byte
 * that says which, then the bytes.  Checksums are made right, or the fuzzer would hardly get beyond
 * them.  What is taken must be written again and come back the same.
 */
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/crc32c.h"
#include "sluice/store/txnindex.h"
#include "sluice/wire/batch.h"
#include "sluice/wire/marker.h"

#include "aborted.h"
#include "producers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define KIND_SNAPSHOT   0
#define KIND_TXNINDEX   1
#define KIND_MARKER     2
#define KINDS           3

#define CRC_POS         8 /* of both files; it covers everything behind it */
#define CRC_FROM        12
#define SNAPSHOT_OFFSET 16 /* where the snapshot says its offset */

static void mend_crc(uint8_t *p, size_t len)
{
	if (len >= CRC_FROM)
		sl_store_be32(p + CRC_POS, sl_crc32c(0, p + CRC_FROM, len - CRC_FROM));
}

static bool decode_snapshot(struct producers *producers, struct producers_snapshot *snapshot,
                            const uint8_t *p, size_t len)
{
	/* The name of the file says which offset is wanted: take the one that is there. */
	if (len >= SNAPSHOT_OFFSET + 8)
		snapshot->offset = (int64_t)sl_load_be64(p + SNAPSHOT_OFFSET);
	return producers_decode(producers, snapshot, p, len) == 0;
}

static void check_snapshot(uint8_t *p, size_t len)
{
	struct aborted lists[2] = {0};
	struct producers tables[2] = {0};
	struct producers_snapshot snapshots[2] = {{.aborted = &lists[0]}, {.aborted = &lists[1]}};
	struct sl_buf texts[2];

	mend_crc(p, len);
	if (!decode_snapshot(&tables[0], &snapshots[0], p, len)) {
		SL_ASSERT(tables[0].count == 0 && lists[0].count == 0);
		producers_fini(&tables[0]);
		return;
	}
	for (int i = 0; i < 2; i++) {
		sl_buf_init_grow(&texts[i], 64u << 20);
		producers_encode(&tables[i], &snapshots[i], &texts[i]);
		SL_ASSERT(sl_buf_ok(&texts[i]) && texts[i].len == len);
		if (i == 0)
			SL_ASSERT(decode_snapshot(&tables[1], &snapshots[1], texts[0].p, len));
	}
	SL_ASSERT(memcmp(texts[0].p, texts[1].p, len) == 0);
	SL_ASSERT(txns_first_open(&tables[0].txns) == txns_first_open(&tables[1].txns));
	for (int i = 0; i < 2; i++) {
		sl_buf_fini(&texts[i]);
		producers_fini(&tables[i]);
		aborted_fini(&lists[i]);
	}
}

static void check_txnindex(uint8_t *p, size_t len)
{
	struct sl_txnindex_entry entry;
	struct aborted_head head;
	struct aborted list = {0};
	struct sl_txnindex index;
	struct sl_buf text;

	mend_crc(p, len);
	if (sl_txnindex_check(p, len, &index))
		return;
	head = (struct aborted_head){.base_offset = index.base_offset,
	                             .end_offset = index.end_offset};
	SL_ASSERT(aborted_decode(&list, &head, p, len) == 0 && list.count == index.count);
	for (uint32_t i = 0; i < index.count; i++) {
		sl_txnindex_entry(p, i, &entry);
		SL_ASSERT(entry.last_offset == list.entries[i].last_offset);
		SL_ASSERT(entry.last_offset >= index.base_offset);
		SL_ASSERT(entry.last_offset < index.end_offset);
	}
	sl_buf_init_grow(&text, 64u << 20);
	aborted_encode(&list, &head, &text);
	SL_ASSERT(sl_buf_ok(&text) && text.len == len && memcmp(text.p, p, len) == 0);
	sl_buf_fini(&text);
	aborted_fini(&list);
}

static void check_marker(uint8_t *p, size_t len)
{
	struct sl_txn_marker marker;
	struct sl_batch_head head;

	if (len >= SL_BATCH_HEADER_BYTES)
		sl_store_be32(p + SL_BATCH_POS_LENGTH, (uint32_t)(len - SL_BATCH_LOG_OVERHEAD));
	if (sl_batch_peek(p, len, &head) || sl_txn_marker_decode(&marker, p, &head) != 1)
		return;
	SL_ASSERT(sl_batch_is_control(&head) && sl_batch_is_transactional(&head));
	SL_ASSERT(head.producer_id >= 0 && head.records_count == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const checks[KINDS])(uint8_t *, size_t) = {
		[KIND_SNAPSHOT] = check_snapshot,
		[KIND_TXNINDEX] = check_txnindex,
		[KIND_MARKER] = check_marker,
	};
	uint8_t *p;

	if (size < 1)
		return 0;
	/* Its own memory, so that the first byte behind it is not ours. */
	p = malloc(size);
	SL_ASSERT(p);
	memcpy(p, data + 1, size - 1);
	checks[data[0] % KINDS](p, size - 1);
	free(p);
	return 0;
}
