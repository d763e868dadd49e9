/* SPDX-License-Identifier: Apache-2.0 */
#include "compaction.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "log_impl.h"

#define KV_BATCH_MAX (1u << 20)

void kv_init(struct kv *kv, struct fixture *f)
{
	const struct sl_cleaner_opts opts = {
		.files = f->files, .map_bytes = 1u << 20, .window_bytes = 4096};

	memset(kv, 0, sizeof(*kv));
	kv->f = f;
	kv->value_bytes = 40;
	kv->rng = 1;
	f->opts.config.is_compact = true;
	f->opts.config.is_delete = false;
	f->opts.config.delete_retention_ms = 1000;
	f->opts.config.max_compaction_lag_ms = INT64_MAX;
	f->opts.config.producer_id_expiration_ms = INT64_MAX / 2;
	cr_assert_eq(sl_cleaner_create(&kv->cleaner, &opts), 0);
}

void kv_fini(struct kv *kv)
{
	sl_cleaner_destroy(kv->cleaner);
}

uint32_t kv_random(struct kv *kv, uint32_t below)
{
	kv->rng = kv->rng * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(kv->rng >> 33) % below;
}

static struct sl_bytes key_of(int32_t key, char text[32])
{
	return key < 0 ? SL_BYTES_NULL : (struct sl_bytes){text, snprintf(text, 32, "key-%d", key)};
}

/* Text that tells key and value, filled up to the wanted size. */
static struct sl_bytes value_of(const struct kv *kv, int32_t key, int32_t value, char text[512])
{
	int n = snprintf(text, 512, "%d=%d;", key, value);

	if (value < 0)
		return SL_BYTES_NULL;
	cr_assert_lt(kv->value_bytes, 512);
	for (; n < (int)kv->value_bytes; n++)
		text[n] = (char)('a' + (value + n) % 26);
	return (struct sl_bytes){text, n};
}

static void append(struct kv *kv, uint8_t *p, size_t len)
{
	/* The coordinator knows of every transaction here. */
	struct sl_log_append io = {
		.leader_epoch = kv->f->leader_epoch, .now_ms = kv->f->now_ms, .is_verified = true};
	int err = sl_log_append(kv->f->log, p, len, &io);

	cr_assert_eq(err, 0, "append: %s", strerror(-err));
}

int64_t kv_append(struct kv *kv, const struct kv_batch *b, const struct kv_pair *pairs,
                  uint32_t count)
{
	const struct sl_record_header header = {sl_str_from("h"), {"1", 1}};
	const int64_t base = sl_log_end(kv->f->log);
	int64_t timestamp = b->timestamp ? b->timestamp : kv->f->now_ms;
	struct sl_batch_builder builder;
	struct sl_batch_head head;
	struct sl_buf buf;
	char key[32], value[512];

	sl_buf_init_grow(&buf, KV_BATCH_MAX);
	sl_batch_head_init(&head);
	head.attributes = (uint16_t)(b->attributes | b->codec);
	if (b->producer_id) {
		head.producer_id = b->producer_id;
		head.producer_epoch = b->producer_epoch;
		head.base_sequence = b->base_sequence;
	}
	if (b->attributes & SL_BATCH_LOG_APPEND_TIME)
		head.max_timestamp = timestamp;
	sl_batch_begin(&builder, &buf, &head);
	for (uint32_t i = 0; i < count; i++) {
		sl_batch_add_headers(&builder, timestamp + i, key_of(pairs[i].key, key),
		                     value_of(kv, pairs[i].key, pairs[i].value, value), &header,
		                     pairs[i].key % 3 == 0);
		cr_assert_lt(kv->count, KV_RECORDS_MAX);
		kv->records[kv->count++] = (struct kv_record){
			base + i,
			b->attributes & SL_BATCH_LOG_APPEND_TIME ? timestamp : timestamp + i,
			pairs[i].key, pairs[i].value, false};
	}
	cr_assert_eq(sl_batch_end(&builder), 0);
	append(kv, buf.p, buf.len);
	sl_buf_fini(&buf);
	return base;
}

int64_t kv_put(struct kv *kv, int32_t key, int32_t value)
{
	const struct kv_batch b = {0};
	const struct kv_pair pair = {key, value};

	return kv_append(kv, &b, &pair, 1);
}

int64_t kv_marker(struct kv *kv, int64_t producer_id, enum sl_control_type type)
{
	return kv_marker_of(kv, &(struct kv_marker){producer_id, type, 0, 1});
}

int64_t kv_marker_of(struct kv *kv, const struct kv_marker *m)
{
	const int64_t base = sl_log_end(kv->f->log);
	const uint8_t key[] = {0, 0, 0, (uint8_t)m->type};
	const uint8_t value[] = {0, 0, 0, 0, 0, (uint8_t)m->coordinator_epoch};
	struct sl_batch_builder builder;
	struct sl_batch_head head;
	struct sl_buf buf;

	sl_buf_init_grow(&buf, KV_BATCH_MAX);
	sl_batch_head_init(&head);
	head.attributes = SL_BATCH_TRANSACTIONAL | SL_BATCH_CONTROL;
	head.producer_id = m->producer_id;
	head.producer_epoch = m->producer_epoch;
	sl_batch_begin(&builder, &buf, &head);
	sl_batch_add(&builder, kv->f->now_ms, (struct sl_bytes){key, sizeof(key)},
	             (struct sl_bytes){value, sizeof(value)});
	cr_assert_eq(sl_batch_end(&builder), 0);
	append(kv, buf.p, buf.len);
	sl_buf_fini(&buf);
	return base;
}

void kv_seal(struct kv *kv)
{
	struct sl_log *log = kv->f->log;

	if (log->active->bytes > 0)
		cr_assert_eq(segment_roll(log), 0);
	cr_assert_eq(fixture_sync(kv->f), 0);
}

int kv_clean(struct kv *kv)
{
	struct sl_log *log = kv->f->log;
	struct sl_clean *c;
	int rc = sl_log_clean_begin(&c, log, sl_log_stable(log, sl_log_end(log)), kv->f->now_ms);

	if (rc)
		return rc;
	while ((rc = sl_clean_run(c, kv->cleaner)) == 1)
		sl_log_clean_swap(log, c);
	sl_log_clean_end(log, c, rc);
	return rc;
}

void kv_must_clean(struct kv *kv)
{
	int rc;

	kv_seal(kv);
	rc = kv_clean(kv);
	cr_assert_eq(rc, 0, "clean: %s", strerror(-rc));
}

/* ---- Check ---- */

static bool is_equal(struct sl_bytes a, struct sl_bytes b)
{
	return a.len == b.len && (a.len <= 0 || memcmp(a.p, b.p, (size_t)a.len) == 0);
}

static struct kv_record *find(struct kv *kv, int64_t offset)
{
	uint32_t low = 0, high = kv->count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (kv->records[mid].offset < offset)
			low = mid + 1;
		else
			high = mid;
	}
	cr_assert(low < kv->count && kv->records[low].offset == offset,
	          "record at offset %" PRId64 " was never appended", offset);
	return &kv->records[low];
}

static void check_record(struct kv *kv, const struct sl_record *r)
{
	struct kv_record *want = find(kv, r->offset);
	char key[32], value[512];

	cr_assert(!want->is_seen, "offset %" PRId64 " twice", r->offset);
	want->is_seen = true;
	cr_assert(is_equal(r->key, key_of(want->key, key)), "key at %" PRId64, r->offset);
	cr_assert(is_equal(r->value, value_of(kv, want->key, want->value, value)),
	          "value at %" PRId64, r->offset);
	cr_assert_eq(r->timestamp, want->timestamp, "time at %" PRId64 ": %" PRId64 " for %" PRId64,
	             r->offset, r->timestamp, want->timestamp);
	cr_assert_eq(r->headers_count, want->key % 3 == 0);
}

static void check_batch(struct kv *kv, const uint8_t *p, const struct sl_batch_head *head,
                        struct sl_codec_ctx *ctx, struct kv_left *out)
{
	struct sl_arena arena;
	struct sl_record_iter it;
	struct sl_record r;
	int64_t last = head->base_offset - 1;
	int rc;

	cr_assert(sl_batch_check_crc(p, head), "checksum at %" PRId64, head->base_offset);
	out->batches++;
	out->empty += head->records_count == 0;
	out->markers += sl_batch_is_control(head) && head->records_count > 0;
	if (sl_batch_is_control(head))
		return;
	cr_assert_eq(sl_arena_create(&arena, 4u << 20), 0);
	cr_assert_eq(sl_record_iter_init(&it, p, head, ctx, &arena), 0);
	while ((rc = sl_record_iter_next(&it, &r)) > 0) {
		cr_assert(r.offset > last && r.offset <= sl_batch_last_offset(head));
		last = r.offset;
		check_record(kv, &r);
		out->records++;
	}
	cr_assert_eq(rc, 0);
	sl_arena_destroy(&arena);
}

static void read_all(struct kv *kv, struct kv_left *out)
{
	struct sl_log *log = kv->f->log;
	const struct sl_codec_opts opts = {0};
	int64_t offset = sl_log_start(log);
	struct sl_codec_ctx *ctx;

	*out = (struct kv_left){.bytes = sl_log_bytes(log)};
	cr_assert_eq(sl_codec_ctx_create(&ctx, &opts), 0);
	while (offset < sl_log_end(log)) {
		struct sl_log_range range;
		struct sl_batch_head head;
		size_t at = 0;
		uint8_t *p;

		cr_assert_eq(sl_log_read(log, offset, INT64_MAX, 64u << 10, true, &range), 0);
		cr_assert(range.bytes > 0, "nothing to read at %" PRId64, offset);
		p = malloc(range.bytes);
		cr_assert_eq(sl_log_range_copy(log, &range, p, SIZE_MAX), (ssize_t)range.bytes);
		while (sl_batch_peek(p + at, range.bytes - at, &head) == 0) {
			if (sl_batch_last_offset(&head) >= offset) {
				check_batch(kv, p + at, &head, ctx, out);
				offset = sl_batch_last_offset(&head) + 1;
			}
			at += sl_batch_bytes(&head);
		}
		cr_assert(at > 0);
		free(p);
		sl_log_range_put(log, &range);
	}
	cr_assert_eq(offset, sl_log_end(log));
	sl_codec_ctx_destroy(ctx);
}

void kv_check(struct kv *kv, bool with_tombstones, struct kv_left *out)
{
	const int64_t clean_end = sl_log_clean_offset(kv->f->log);
	struct kv_left left;
	int32_t keys_max = 0;
	bool *is_known, *has_later;

	for (uint32_t i = 0; i < kv->count; i++) {
		kv->records[i].is_seen = false;
		keys_max = SL_MAX(keys_max, kv->records[i].key + 1);
	}
	read_all(kv, &left);
	is_known = calloc((size_t)keys_max + 1, sizeof(*is_known));
	has_later = calloc((size_t)keys_max + 1, sizeof(*has_later));
	for (uint32_t i = kv->count; i > 0; i--) {
		const struct kv_record *r = &kv->records[i - 1];
		bool is_last;

		if (r->offset < sl_log_start(kv->f->log))
			break;
		if (r->offset >= clean_end) {
			cr_assert(r->is_seen, "offset %" PRId64 " is missing", r->offset);
			if (r->key >= 0)
				has_later[r->key] = true;
			continue;
		}
		is_last = r->key >= 0 && !is_known[r->key];
		if (r->key >= 0)
			is_known[r->key] = true;
		/* A map that is full in the middle of a batch knows the keys before that. */
		if (is_last && has_later[r->key] && !r->is_seen)
			continue;
		if (r->value >= 0 || with_tombstones)
			cr_assert_eq(r->is_seen, is_last, "offset %" PRId64 " key %d: %s",
			             r->offset, r->key, r->is_seen ? "is there" : "is missing");
		else
			cr_assert(is_last || !r->is_seen, "old tombstone at %" PRId64, r->offset);
	}
	free(is_known);
	free(has_later);
	if (out)
		*out = left;
}

void kv_read(struct kv *kv)
{
	for (uint32_t i = 0; i < kv->count; i++)
		kv->records[i].is_seen = false;
	read_all(kv, &(struct kv_left){0});
}

void kv_check_last(struct kv *kv)
{
	bool is_known[64] = {false};

	kv_read(kv);
	for (uint32_t i = kv->count; i > 0; i--) {
		const struct kv_record *r = &kv->records[i - 1];

		if (r->key < 0)
			continue;
		cr_assert_lt(r->key, 64);
		if (!is_known[r->key] && r->value >= 0)
			cr_assert(r->is_seen, "offset %" PRId64 " key %d is lost", r->offset,
			          r->key);
		is_known[r->key] = true;
	}
}

void kv_new_cleaner(struct kv *kv)
{
	const struct sl_cleaner_opts opts = {.files = kv->f->files,
	                                     .map_bytes = 1000 + kv_random(kv, 40000),
	                                     .window_bytes = 4096};

	sl_cleaner_destroy(kv->cleaner);
	cr_assert_eq(sl_cleaner_create(&kv->cleaner, &opts), 0);
}

void kv_crash(struct kv *kv, uint64_t power_seed)
{
	struct fixture *f = kv->f;
	const int64_t flushed = sl_log_flushed(f->log);

	fixture_kill(f);
	if (power_seed)
		simfs_power_cut(f->fs, power_seed);
	f->files = simfs_files(f->fs);
	fixture_must_open(f, false);
	kv_new_cleaner(kv);
	cr_assert_geq(sl_log_end(f->log), flushed, "%" PRId64 " of %" PRId64, sl_log_end(f->log),
	              flushed);
	kv_cut(kv);
}

void kv_cut(struct kv *kv)
{
	while (kv->count > 0 && kv->records[kv->count - 1].offset >= sl_log_end(kv->f->log))
		kv->count--;
}

struct sl_batch_head kv_batch_at(struct kv *kv, int64_t offset, uint8_t **p)
{
	struct sl_log *log = kv->f->log;
	struct sl_log_range range;
	struct sl_batch_head head;
	uint8_t *all;

	cr_assert_eq(sl_log_read(log, offset, INT64_MAX, 1, true, &range), 0);
	all = malloc(range.bytes);
	cr_assert_eq(sl_log_range_copy(log, &range, all, SIZE_MAX), (ssize_t)range.bytes);
	cr_assert_eq(sl_batch_peek(all, range.bytes, &head), 0);
	sl_log_range_put(log, &range);
	if (p)
		*p = all;
	else
		free(all);
	return head;
}
