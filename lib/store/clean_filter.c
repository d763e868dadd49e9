/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a cleaning keeps of a batch.  Rules (KIP-98, KIP-534, and what Kafka's cleaner does):
 *
 *   - A record goes when a later one with its key is in the map; behind the map everything stays.
 *   - A null value (tombstone) stays delete.retention.ms longer than the first cleaning that finds
 *     nothing before it: that cleaning writes the time when it may go, the delete horizon, into the
 *     batch (attribute bit 6, in the place of the base timestamp).
 *   - Markers of transactions go in the same way, once their transaction has no batch any more,
 *     and their producer a later marker.
 *   - A batch from which nothing goes is copied byte for byte.
 *   - Offsets never change: a batch keeps base offset and last offset delta whatever it still
 * holds, and its sequence numbers with them.
 */
#include <errno.h>
#include <stdlib.h>

#include "sluice/base/crc32c.h"

#include "clean_impl.h"

#define BATCH_BYTES_MAX ((size_t)INT32_MAX)
#define KEEP_ATTRIBUTES (SL_BATCH_LOG_APPEND_TIME | SL_BATCH_TRANSACTIONAL | SL_BATCH_CONTROL)

/* The decision about one batch. */
struct look {
	bool is_void;     /* none of its records stays */
	bool is_horizon;  /* it gets a delete horizon now */
	bool has_horizon; /* it has one */
	int64_t horizon_ms;
	int64_t max_timestamp; /* of the records that stay */
	int32_t kept;
};

void clean_filter_init(struct clean_filter *f, const struct sl_clean *c,
                       const struct clean_map *map)
{
	*f = (struct clean_filter){.clean = c, .map = map};
	clean_txn_init(&f->txn, c->aborted, c->aborted_count);
	sl_buf_init_grow(&f->records, BATCH_BYTES_MAX);
	sl_buf_init_grow(&f->batch, BATCH_BYTES_MAX);
}

void clean_filter_fini(struct clean_filter *f)
{
	clean_txn_fini(&f->txn);
	sl_buf_fini(&f->records);
	sl_buf_fini(&f->batch);
}

static int compare_producer(const void *a, const void *b)
{
	const struct clean_producer *x = a, *y = b;

	return (x->producer_id > y->producer_id) - (x->producer_id < y->producer_id);
}

/* Whether the batch is one of those that remember what their producer did last. */
static bool is_last_of_producer(const struct sl_clean *c, const struct sl_batch_head *head)
{
	const struct clean_producer key = {.producer_id = head->producer_id};
	const struct clean_producer *p = NULL;

	if (sl_batch_has_producer(head) && c->producers_count > 0)
		p = bsearch(&key, c->producers, c->producers_count, sizeof(key), compare_producer);
	if (!p)
		return false;
	if (sl_batch_is_control(head))
		return p->marker_offset == CLEAN_MARKER_ANY ||
		       p->marker_offset == head->base_offset;
	return p->data_offset == sl_batch_last_offset(head);
}

static bool is_kept(struct clean_filter *f, const struct look *look,
                    const struct sl_batch_head *head, const struct sl_record *r)
{
	if (look->is_void)
		return false;
	if (sl_batch_is_control(head) || r->offset >= f->clean->clean_end)
		return true;
	if (r->key.len < 0) {
		f->records_keyless++;
		return false;
	}
	if (r->offset < clean_map_get(f->map, r->key))
		return false;
	return r->value.len >= 0 || !look->has_horizon || f->clean->now_ms < look->horizon_ms;
}

/* A record's bytes with another timestamp delta. */
static int put_moved(struct sl_buf *out, const uint8_t *p, size_t bytes, int64_t timestamp_delta)
{
	struct sl_cursor c = sl_cursor_from(p, bytes);
	size_t before, rest;
	uint8_t head[16];
	struct sl_buf small;
	uint8_t attributes;

	(void)sl_cursor_varint(&c);
	attributes = (uint8_t)sl_cursor_i8(&c);
	(void)sl_cursor_varlong(&c);
	if (c.failed)
		return -EBADMSG;
	before = sl_cursor_left(&c);
	sl_buf_init_fixed(&small, head, sizeof(head));
	sl_buf_put_u8(&small, attributes);
	sl_buf_put_varlong(&small, timestamp_delta);
	rest = small.len + before;
	if (rest > INT32_MAX)
		return -E2BIG;
	sl_buf_put_varint(out, (int32_t)rest);
	sl_buf_put(out, head, small.len);
	sl_buf_put(out, c.p, before);
	return 0;
}

/* Goes over the records: f->records gets those that stay, with timestamps relative to
 * @base_timestamp if that is another one. */
static int sift(struct clean_filter *f, struct look *look, const void *p,
                const struct sl_batch_head *head, int64_t base_timestamp, bool *has_tombstone)
{
	struct sl_record_iter it;
	struct sl_record r;
	const uint8_t *from;
	int err;

	sl_buf_reset(&f->records);
	sl_arena_reset(f->arena);
	*has_tombstone = false;
	look->kept = 0;
	look->max_timestamp = SL_BATCH_NO_TIMESTAMP;
	err = sl_record_iter_init(&it, p, head, f->codec, f->arena);
	if (err)
		return err == -ENOMEM ? err : -EBADMSG;
	for (from = it.c.p; (err = sl_record_iter_next(&it, &r)) > 0; from = it.c.p) {
		if (!is_kept(f, look, head, &r))
			continue;
		look->kept++;
		look->max_timestamp = SL_MAX(look->max_timestamp, r.timestamp);
		*has_tombstone |= r.value.len < 0 && !sl_batch_is_control(head);
		err = 0;
		if (base_timestamp == head->base_timestamp)
			sl_buf_put(&f->records, from, (size_t)(it.c.p - from));
		else
			err = put_moved(
				&f->records, from, (size_t)(it.c.p - from),
				(int64_t)((uint64_t)r.timestamp - (uint64_t)base_timestamp));
		if (err)
			return err;
	}
	if (!err && !sl_buf_ok(&f->records))
		err = -ENOMEM;
	return err;
}

/* Lengths, counts and checksum; what was not changed is the old header's. */
static void seal(struct sl_buf *b, int32_t records_count)
{
	uint8_t *p = b->p;

	sl_store_be32(p + SL_BATCH_POS_LENGTH, (uint32_t)(b->len - SL_BATCH_LOG_OVERHEAD));
	sl_store_be32(p + SL_BATCH_POS_RECORDS_COUNT, (uint32_t)records_count);
	sl_store_be32(p + SL_BATCH_POS_CRC,
	              sl_crc32c(0, p + SL_BATCH_POS_ATTRIBUTES, b->len - SL_BATCH_POS_ATTRIBUTES));
}

static int put_records(struct clean_filter *f, enum sl_codec codec)
{
	struct sl_bytes in = {f->records.p, (int32_t)f->records.len};
	size_t bytes;
	uint8_t *to;
	int err;

	if (codec == SL_CODEC_NONE) {
		sl_buf_put(&f->batch, in.p, (size_t)in.len);
		return sl_buf_ok(&f->batch) ? 0 : -ENOMEM;
	}
	bytes = sl_compress_bound(codec, (size_t)in.len);
	to = sl_buf_take(&f->batch, bytes);
	if (!to)
		return -ENOMEM;
	err = sl_compress(codec, in, to, &bytes);
	f->batch.len = SL_BATCH_HEADER_BYTES + bytes;
	return err;
}

/* f->records as a batch in the place of the one at @p. */
static int rewrite(struct clean_filter *f, const struct look *look, const void *p,
                   const struct sl_batch_head *head, struct clean_verdict *out)
{
	int err;
	uint8_t *b;

	sl_buf_reset(&f->batch);
	sl_buf_put(&f->batch, p, SL_BATCH_HEADER_BYTES);
	err = put_records(f, sl_batch_codec(head));
	if (err)
		return err;
	b = f->batch.p;
	if (look->is_horizon) {
		sl_store_be16(b + SL_BATCH_POS_ATTRIBUTES,
		              head->attributes | SL_BATCH_DELETE_HORIZON);
		sl_store_be64(b + SL_BATCH_POS_BASE_TIMESTAMP, (uint64_t)look->horizon_ms);
	}
	if (!sl_batch_is_log_append_time(head))
		sl_store_be64(b + SL_BATCH_POS_MAX_TIMESTAMP, (uint64_t)look->max_timestamp);
	seal(&f->batch, look->kept);
	*out = (struct clean_verdict){b, f->batch.len};
	return 0;
}

/*
 * A batch without records: for its producer's sake, or for the offset that it ends with.  In the
 * latter case it belongs to nobody, or it would keep the marker of its transaction for ever.
 */
static int empty(struct clean_filter *f, const void *p, const struct sl_batch_head *head,
                 bool is_of_producer, struct clean_verdict *out)
{
	uint8_t *b;

	sl_buf_reset(&f->batch);
	sl_buf_put(&f->batch, p, SL_BATCH_HEADER_BYTES);
	if (!sl_buf_ok(&f->batch))
		return -ENOMEM;
	b = f->batch.p;
	sl_store_be64(b + SL_BATCH_POS_BASE_TIMESTAMP, (uint64_t)SL_BATCH_NO_TIMESTAMP);
	sl_store_be16(b + SL_BATCH_POS_ATTRIBUTES,
	              is_of_producer ? head->attributes & KEEP_ATTRIBUTES
	                             : head->attributes & SL_BATCH_LOG_APPEND_TIME);
	if (!is_of_producer) {
		sl_store_be64(b + SL_BATCH_POS_PRODUCER_ID, (uint64_t)SL_BATCH_NO_PRODUCER_ID);
		sl_store_be16(b + SL_BATCH_POS_PRODUCER_EPOCH, UINT16_MAX);
		sl_store_be32(b + SL_BATCH_POS_BASE_SEQUENCE, UINT32_MAX);
	}
	seal(&f->batch, 0);
	*out = (struct clean_verdict){b, f->batch.len};
	return 0;
}

static void count(struct clean_filter *f, const struct sl_batch_head *head, int32_t kept)
{
	f->records_read += (uint64_t)head->records_count;
	f->records_kept += (uint64_t)kept;
}

/* Nothing of the batch stays but maybe its header. */
static int none_kept(struct clean_filter *f, const void *p, const struct sl_batch_head *head,
                     bool is_last, struct clean_verdict *out)
{
	const bool is_of_producer = is_last_of_producer(f->clean, head);

	*out = (struct clean_verdict){p, 0};
	if (!is_of_producer && !is_last)
		return 0;
	/* One that is empty already and may stay so. */
	if (head->records_count == 0 && is_of_producer == sl_batch_has_producer(head)) {
		out->bytes = sl_batch_bytes(head);
		return 0;
	}
	return empty(f, p, head, is_of_producer, out);
}

int clean_filter_batch(struct clean_filter *f, const void *p, const struct sl_batch_head *head,
                       bool is_last, struct clean_verdict *out)
{
	const bool is_control = sl_batch_is_control(head);
	struct look look = {
		.has_horizon = head->attributes & SL_BATCH_DELETE_HORIZON,
		.horizon_ms = head->base_timestamp,
	};
	bool has_tombstone = false;
	int rc = is_control ? clean_txn_control(&f->txn, p, head) : clean_txn_data(&f->txn, head);

	if (rc < 0 || head->records_count < 0)
		return rc < 0 ? rc : -EBADMSG;
	/* A producer's last marker has the coordinator's epoch: it stays whole. */
	look.is_void = rc > 0 &&
	               (!is_control || (look.has_horizon && look.horizon_ms <= f->clean->now_ms &&
	                                !is_last_of_producer(f->clean, head)));
	if (head->records_count > 0 && !look.is_void) {
		int err = sift(f, &look, p, head, head->base_timestamp, &has_tombstone);

		if (err)
			return err;
	}
	count(f, head, look.kept);
	if (look.kept == 0)
		return none_kept(f, p, head, is_last, out);
	look.is_horizon = !look.has_horizon && (has_tombstone || (rc > 0 && is_control));
	if (look.kept == head->records_count && !look.is_horizon) {
		*out = (struct clean_verdict){p, sl_batch_bytes(head)};
		return 0;
	}
	if (look.is_horizon) {
		const uint64_t keyless = f->records_keyless;
		int64_t horizon;
		int err;

		if (__builtin_add_overflow(f->clean->now_ms, f->clean->delete_retention_ms,
		                           &horizon))
			horizon = INT64_MAX;
		/* The records' timestamps count from the horizon now. */
		err = sift(f, &look, p, head, horizon, &has_tombstone);
		f->records_keyless = keyless;
		look.horizon_ms = horizon;
		if (err)
			return err;
	}
	return rewrite(f, &look, p, head, out);
}
