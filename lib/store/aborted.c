/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of aborted transactions of a segment, and its file: header and entries in big-endian
 * integers under one checksum.  Pure functions over the caller's memory.
 */
#include "aborted.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/crc32c.h"

#define LIST_FIRST        8u

#define FILE_MAGIC        0x534c5458u /* "SLTX" */
#define FILE_VERSION      1u
/* magic u32, version u32, crc u32, count u32, base i64, end i64, first open i64 (-1: none) */
#define FILE_HEADER_BYTES 40u
#define FILE_CRC_FROM     12u /* everything behind the crc */

_Static_assert(FILE_HEADER_BYTES + (uint64_t)STORE_ABORTED_MAX * ABORTED_ENTRY_BYTES < UINT32_MAX,
               "sizes fit");

void aborted_fini(struct aborted *list)
{
	free(list->entries);
	*list = (struct aborted){0};
}

int aborted_reserve(struct aborted *list)
{
	uint32_t cap = list->cap ? list->cap * 2 : LIST_FIRST;
	struct sl_txnindex_entry *entries;

	if (list->count < list->cap)
		return 0;
	if (cap > STORE_ABORTED_MAX)
		return -EFBIG;
	entries = realloc(list->entries, cap * sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	list->entries = entries;
	list->cap = cap;
	return 0;
}

void aborted_add(struct aborted *list, const struct sl_txnindex_entry *entry)
{
	SL_ASSERT(list->count < list->cap && entry->first_offset < entry->last_offset);
	SL_ASSERT(list->count == 0 ||
	          list->entries[list->count - 1].last_offset < entry->last_offset);
	list->entries[list->count++] = *entry;
}

int64_t aborted_first(const struct aborted *list)
{
	int64_t first = ABORTED_NONE;

	for (uint32_t i = 0; i < list->count; i++)
		first = SL_MIN(first, list->entries[i].first_offset);
	return first;
}

void aborted_encode_entries(const struct aborted *list, struct sl_buf *buf)
{
	for (uint32_t i = 0; i < list->count; i++) {
		sl_buf_put_be64(buf, (uint64_t)list->entries[i].producer_id);
		sl_buf_put_be64(buf, (uint64_t)list->entries[i].first_offset);
		sl_buf_put_be64(buf, (uint64_t)list->entries[i].last_offset);
	}
}

static void get_entry(const uint8_t *p, struct sl_txnindex_entry *out)
{
	*out = (struct sl_txnindex_entry){
		.producer_id = (int64_t)sl_load_be64(p),
		.first_offset = (int64_t)sl_load_be64(p + 8),
		.last_offset = (int64_t)sl_load_be64(p + 16),
	};
}

static bool check_entries(const uint8_t *p, uint32_t count, int64_t from, int64_t to)
{
	for (uint32_t i = 0; i < count; i++, p += ABORTED_ENTRY_BYTES) {
		struct sl_txnindex_entry entry;

		get_entry(p, &entry);
		if (entry.producer_id < 0 || entry.first_offset < 0 ||
		    entry.first_offset >= entry.last_offset || entry.last_offset < from ||
		    entry.last_offset >= to)
			return false;
		from = entry.last_offset + 1;
	}
	return true;
}

int aborted_decode_entries(struct aborted *list, const uint8_t *p, uint32_t count, int64_t from,
                           int64_t to)
{
	SL_ASSERT(list->count == 0 && list->cap == 0);
	if (count > STORE_ABORTED_MAX || !check_entries(p, count, from, to))
		return -EBADMSG;
	if (count == 0)
		return 0;
	list->entries = malloc(count * sizeof(*list->entries));
	if (!list->entries)
		return -ENOMEM;
	list->cap = count;
	for (uint32_t i = 0; i < count; i++)
		get_entry(p + (size_t)i * ABORTED_ENTRY_BYTES, &list->entries[i]);
	list->count = count;
	return 0;
}

void aborted_encode(const struct aborted *list, const struct aborted_head *head, struct sl_buf *buf)
{
	size_t begin = buf->len;

	sl_buf_put_be32(buf, FILE_MAGIC);
	sl_buf_put_be32(buf, FILE_VERSION);
	sl_buf_put_be32(buf, 0);
	sl_buf_put_be32(buf, list->count);
	sl_buf_put_be64(buf, (uint64_t)head->base_offset);
	sl_buf_put_be64(buf, (uint64_t)head->end_offset);
	sl_buf_put_be64(buf,
	                head->open_first == ABORTED_NONE ? UINT64_MAX : (uint64_t)head->open_first);
	aborted_encode_entries(list, buf);
	if (sl_buf_ok(buf))
		sl_store_be32(buf->p + begin + 8, sl_crc32c(0, buf->p + begin + FILE_CRC_FROM,
		                                            buf->len - begin - FILE_CRC_FROM));
}

int sl_txnindex_check(const void *p, size_t len, struct sl_txnindex *out)
{
	const uint8_t *at = p;

	if (len < FILE_HEADER_BYTES || sl_load_be32(at) != FILE_MAGIC ||
	    sl_load_be32(at + 4) != FILE_VERSION ||
	    sl_load_be32(at + 8) != sl_crc32c(0, at + FILE_CRC_FROM, len - FILE_CRC_FROM))
		return -EBADMSG;
	*out = (struct sl_txnindex){
		.count = sl_load_be32(at + 12),
		.base_offset = (int64_t)sl_load_be64(at + 16),
		.end_offset = (int64_t)sl_load_be64(at + 24),
		.open_first = (int64_t)sl_load_be64(at + 32),
	};
	if (len != FILE_HEADER_BYTES + (uint64_t)out->count * ABORTED_ENTRY_BYTES ||
	    out->base_offset < 0 || out->end_offset < out->base_offset || out->open_first < -1 ||
	    out->open_first >= out->end_offset)
		return -EBADMSG;
	return check_entries(at + FILE_HEADER_BYTES, out->count, out->base_offset, out->end_offset)
	               ? 0
	               : -EBADMSG;
}

void sl_txnindex_entry(const void *p, uint32_t i, struct sl_txnindex_entry *out)
{
	get_entry((const uint8_t *)p + FILE_HEADER_BYTES + (size_t)i * ABORTED_ENTRY_BYTES, out);
}

int aborted_decode(struct aborted *list, struct aborted_head *head, const void *p, size_t len)
{
	struct sl_txnindex index;
	int err = sl_txnindex_check(p, len, &index);

	if (err)
		return err;
	if (index.base_offset != head->base_offset || index.end_offset != head->end_offset)
		return -EBADMSG;
	head->open_first = index.open_first < 0 ? ABORTED_NONE : index.open_first;
	return aborted_decode_entries(list, (const uint8_t *)p + FILE_HEADER_BYTES, index.count,
	                              head->base_offset, head->end_offset);
}
