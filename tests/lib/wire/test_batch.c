/* SPDX-License-Identifier: Apache-2.0 */
/* Record batches: header, checks on produce, patches, iteration and building. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "golden.h"
#include "rnd.h"
#include "sluice/base/crc32c.h"
#include "sluice/wire/batch.h"

#define NOW INT64_C(1700000000000)

/* One record, key "k", value "v", by hand after the protocol guide. */
static const char by_hand[] =
	"0000000000000000 0000003a ffffffff 02 00000000 0000 00000000 0000018bcfe56800 0000018bcfe56800"
	"ffffffffffffffff ffff ffffffff 00000001"
	"10 00 00 00 02 6b 02 76 00";

static const struct sl_batch_rules topic = {
	.before_max_ms = INT64_MAX,
	.after_max_ms = 3600000,
	.batch_bytes_max = 1048588,
};

struct world {
	struct sl_codec_ctx *ctx;
	struct sl_arena arena;
	struct sl_buf buf;
	struct sl_batch_info info;
};

static struct world new_world(void)
{
	struct world w = {0};

	cr_assert_eq(sl_codec_ctx_create(&w.ctx, NULL), 0);
	cr_assert_eq(sl_arena_create(&w.arena, 16u << 20), 0);
	sl_buf_init_grow(&w.buf, 64u << 20);
	return w;
}

static void end_world(struct world *w)
{
	sl_codec_ctx_destroy(w->ctx);
	sl_arena_destroy(&w->arena);
	sl_buf_fini(&w->buf);
}

static struct sl_bytes bytes_of(const char *s)
{
	return s ? (struct sl_bytes){s, (int32_t)strlen(s)} : SL_BYTES_NULL;
}

static void fix_crc(uint8_t *p, size_t len)
{
	sl_store_be32(p + SL_BATCH_POS_CRC,
	              sl_crc32c(0, p + SL_BATCH_POS_ATTRIBUTES, len - SL_BATCH_POS_ATTRIBUTES));
}

static uint8_t *hand_made(size_t *len)
{
	uint8_t *p = golden_hex(by_hand, len);

	fix_crc(p, *len);
	return p;
}

static enum sl_batch_fault validate(struct world *w, const void *p, size_t len,
                                    const struct sl_batch_rules *rules)
{
	return sl_batch_validate(p, len, rules, NOW, w->ctx, &w->info);
}

/* @count records "key<i>" -> value of @value_bytes, at NOW + i. */
static void build(struct world *w, uint16_t attributes, int count, size_t value_bytes)
{
	struct sl_batch_builder b;
	struct sl_batch_head head;
	char *value = malloc(value_bytes + 1);

	cr_assert(value);
	memset(value, 'v', value_bytes);
	sl_batch_head_init(&head);
	head.attributes = attributes;
	sl_buf_reset(&w->buf);
	sl_batch_begin(&b, &w->buf, &head);
	for (int i = 0; i < count; i++) {
		char key[16];

		snprintf(key, sizeof(key), "key%d", i);
		sl_batch_add(&b, NOW + i, bytes_of(key),
		             (struct sl_bytes){value, (int32_t)value_bytes});
	}
	cr_assert_eq(sl_batch_end(&b), 0);
	free(value);
}

Test(batch, hand_made_batch_is_valid_and_has_its_fields)
{
	struct world w = new_world();
	struct sl_record_iter it;
	struct sl_record rec;
	size_t len;
	uint8_t *p = hand_made(&len);

	cr_assert_eq(len, 70);
	cr_assert_eq(validate(&w, p, len, &topic), SL_BATCH_FAULT_OK);
	cr_assert_eq(w.info.head.base_timestamp, NOW);
	cr_assert_eq(w.info.max_timestamp, NOW);
	cr_assert_eq(w.info.max_timestamp_delta, 0);
	cr_assert_eq(w.info.records_bytes, 9);
	cr_assert_eq(w.info.head.producer_id, -1);
	cr_assert_eq(w.info.head.leader_epoch, -1);
	cr_assert_eq(sl_record_iter_init(&it, p, &w.info.head, w.ctx, &w.arena), 0);
	cr_assert_eq(sl_record_iter_next(&it, &rec), 1);
	cr_assert(same_bytes(rec.key.p, rec.key.len, "k", 1));
	cr_assert(same_bytes(rec.value.p, rec.value.len, "v", 1));
	cr_assert_eq(sl_record_iter_next(&it, &rec), 0);
	free(p);
	end_world(&w);
}

/* The builder must make the very bytes that the hand did. */
Test(batch, builder_makes_the_hand_made_batch)
{
	struct world w = new_world();
	struct sl_batch_builder b;
	struct sl_batch_head head;
	size_t len;
	uint8_t *p = hand_made(&len);

	sl_batch_head_init(&head);
	sl_batch_begin(&b, &w.buf, &head);
	sl_batch_add(&b, NOW, bytes_of("k"), bytes_of("v"));
	cr_assert_eq(sl_batch_end(&b), 0);
	cr_assert(same_bytes(w.buf.p, (int32_t)w.buf.len, p, (int32_t)len));
	free(p);
	end_world(&w);
}

Test(batch, peek_tells_incomplete_from_impossible)
{
	struct sl_batch_head h;
	size_t len;
	uint8_t *p = hand_made(&len);

	for (size_t n = 0; n < len; n++) {
		cr_assert_eq(sl_batch_peek(p, n, &h), -EAGAIN);
		cr_assert_eq(h.magic, n < SL_BATCH_HEADER_BYTES ? 0 : 2);
	}
	cr_assert_eq(sl_batch_peek(p, len, &h), 0);
	cr_assert_eq(sl_batch_bytes(&h), len);
	cr_assert(sl_batch_check_crc(p, &h));
	p[SL_BATCH_POS_MAGIC] = 1;
	cr_assert_eq(sl_batch_peek(p, len, &h), -EBADMSG);
	p[SL_BATCH_POS_MAGIC] = 2;
	sl_store_be32(p + SL_BATCH_POS_LENGTH, 48);
	cr_assert_eq(sl_batch_peek(p, len, &h), -EBADMSG);
	sl_store_be32(p + SL_BATCH_POS_LENGTH, UINT32_MAX);
	cr_assert_eq(sl_batch_peek(p, len, &h), -EBADMSG);
	free(p);
}

Test(batch, next_walks_whole_batches_and_stops_where_one_is_not)
{
	struct sl_batch_head h;
	struct sl_bytes rest;
	const uint8_t *at;
	size_t len;
	uint8_t *p = hand_made(&len);
	uint8_t *run = malloc(2 * len);

	memcpy(run, p, len);
	memcpy(run + len, p, len);
	rest = (struct sl_bytes){run, (int32_t)(2 * len)};
	cr_assert_eq(sl_batch_next(&rest, &at, &h), 1);
	cr_assert(at == run && sl_batch_bytes(&h) == len);
	cr_assert_eq(sl_batch_next(&rest, &at, &h), 1);
	cr_assert(at == run + len && rest.len == 0);
	cr_assert_eq(sl_batch_next(&rest, &at, &h), 0);
	rest = SL_BYTES_NULL;
	cr_assert_eq(sl_batch_next(&rest, &at, &h), 0);

	rest = (struct sl_bytes){run, (int32_t)(2 * len - 1)};
	cr_assert_eq(sl_batch_next(&rest, &at, &h), 1);
	cr_assert_eq(sl_batch_next(&rest, &at, &h), -EAGAIN);
	cr_assert(rest.p == run + len && rest.len == (int32_t)len - 1);
	run[len + SL_BATCH_POS_MAGIC] = 1;
	cr_assert_eq(sl_batch_next(&rest, &at, &h), -EBADMSG);
	free(run);
	free(p);
}

/* One change of the header or the record each, CRC made right again unless it is the point. */
static const struct {
	size_t pos;
	int size;
	uint64_t value;
	bool is_crc_kept;
	enum sl_batch_fault fault;
	enum sl_kerr kerr;
} changes[] = {
	{SL_BATCH_POS_BASE_OFFSET, 8, 1, false, SL_BATCH_FAULT_BASE_OFFSET, SL_KERR_INVALID_RECORD},
	{SL_BATCH_POS_LENGTH, 4, 0x3b, false, SL_BATCH_FAULT_TRUNCATED, SL_KERR_INVALID_RECORD},
	{SL_BATCH_POS_LENGTH, 4, 0x39, false, SL_BATCH_FAULT_TRAILING, SL_KERR_INVALID_RECORD},
	{SL_BATCH_POS_LENGTH, 4, 0x10, false, SL_BATCH_FAULT_LENGTH, SL_KERR_CORRUPT_MESSAGE},
	{SL_BATCH_POS_MAGIC, 1, 1, false, SL_BATCH_FAULT_MAGIC, SL_KERR_INVALID_RECORD},
	{SL_BATCH_POS_MAGIC, 1, 3, false, SL_BATCH_FAULT_MAGIC, SL_KERR_INVALID_RECORD},
	{SL_BATCH_POS_CRC, 4, 1, true, SL_BATCH_FAULT_CRC, SL_KERR_CORRUPT_MESSAGE},
	{SL_BATCH_POS_MAX_TIMESTAMP, 8, NOW + 1, true, SL_BATCH_FAULT_CRC, SL_KERR_CORRUPT_MESSAGE},
	{SL_BATCH_POS_ATTRIBUTES, 2, SL_BATCH_CONTROL, false, SL_BATCH_FAULT_CONTROL,
         SL_KERR_INVALID_RECORD},
	{SL_BATCH_POS_ATTRIBUTES, 2, 5, false, SL_BATCH_FAULT_CODEC,
         SL_KERR_UNSUPPORTED_COMPRESSION_TYPE},
	{SL_BATCH_POS_ATTRIBUTES, 2, SL_CODEC_GZIP, false, SL_BATCH_FAULT_COMPRESSED,
         SL_KERR_INVALID_RECORD},
	{SL_BATCH_POS_LAST_OFFSET_DELTA, 4, 1, false, SL_BATCH_FAULT_COUNT, SL_KERR_INVALID_RECORD},
	{SL_BATCH_POS_LAST_OFFSET_DELTA, 4, UINT32_MAX, false, SL_BATCH_FAULT_COUNT,
         SL_KERR_INVALID_RECORD},
	{SL_BATCH_POS_RECORDS_COUNT, 4, 0, false, SL_BATCH_FAULT_COUNT, SL_KERR_INVALID_RECORD},
	{SL_BATCH_POS_RECORDS_COUNT, 4, 0x80000000, false, SL_BATCH_FAULT_COUNT,
         SL_KERR_INVALID_RECORD},
	{SL_BATCH_POS_PRODUCER_ID, 8, 7, false, SL_BATCH_FAULT_SEQUENCE, SL_KERR_INVALID_RECORD},
	{SL_BATCH_POS_BASE_TIMESTAMP, 8, NOW + 3600001, false, SL_BATCH_FAULT_TIMESTAMP,
         SL_KERR_INVALID_TIMESTAMP},
	{SL_BATCH_POS_BASE_TIMESTAMP, 8, INT64_MAX, false, SL_BATCH_FAULT_TIMESTAMP,
         SL_KERR_INVALID_TIMESTAMP},
	{61, 1, 0x12, false, SL_BATCH_FAULT_RECORD, SL_KERR_INVALID_RECORD}, /* record length */
	{61, 1, 0x0e, false, SL_BATCH_FAULT_RECORD, SL_KERR_INVALID_RECORD}, /* too small */
	{61, 1, 0x01, false, SL_BATCH_FAULT_RECORD, SL_KERR_INVALID_RECORD}, /* negative */
	{63, 1, 0x80, false, SL_BATCH_FAULT_RECORD, SL_KERR_INVALID_RECORD}, /* varlong runs on */
	{64, 1, 0x02, false, SL_BATCH_FAULT_RECORD_OFFSET,
         SL_KERR_INVALID_RECORD},                                            /* offset delta 1 */
	{65, 1, 0x20, false, SL_BATCH_FAULT_RECORD, SL_KERR_INVALID_RECORD}, /* key too long */
	{65, 1, 0x03, false, SL_BATCH_FAULT_RECORD, SL_KERR_INVALID_RECORD}, /* key length -2 */
	{67, 1, 0x04, false, SL_BATCH_FAULT_RECORD, SL_KERR_INVALID_RECORD}, /* value too long */
	{69, 1, 0x02, false, SL_BATCH_FAULT_RECORD, SL_KERR_INVALID_RECORD}, /* no such header */
	{69, 1, 0x01, false, SL_BATCH_FAULT_RECORD, SL_KERR_INVALID_RECORD}, /* count -1 */
};

Test(batch, each_rule_of_produce_has_its_fault)
{
	struct world w = new_world();

	for (size_t i = 0; i < SL_ARRAY_SIZE(changes); i++) {
		size_t len;
		uint8_t *p = hand_made(&len);

		for (int k = 0; k < changes[i].size; k++)
			p[changes[i].pos + (size_t)k] = (uint8_t)(changes[i].value >>
			                                          8 * (changes[i].size - 1 - k));
		if (!changes[i].is_crc_kept)
			fix_crc(p, len);
		cr_assert_eq(validate(&w, p, len, &topic), changes[i].fault, "change %zu: %s", i,
		             sl_batch_fault_name(validate(&w, p, len, &topic)));
		cr_assert_eq(sl_kerr_from_batch(changes[i].fault), changes[i].kerr);
		cr_assert_gt(strlen(sl_batch_fault_text(changes[i].fault)), 10);
		free(p);
	}
	end_world(&w);
}

Test(batch, record_sets_of_none_or_several_batches_are_refused)
{
	struct world w = new_world();
	size_t len;
	uint8_t *p = hand_made(&len);
	uint8_t two[140];

	cr_assert_eq(validate(&w, p, 0, &topic), SL_BATCH_FAULT_EMPTY);
	cr_assert_eq(validate(&w, p, 30, &topic), SL_BATCH_FAULT_TRUNCATED);
	memcpy(two, p, len);
	memcpy(two + len, p, len);
	cr_assert_eq(validate(&w, two, sizeof(two), &topic), SL_BATCH_FAULT_TRAILING);
	free(p);
	end_world(&w);
}

Test(batch, size_limit_is_of_the_batch_as_sent)
{
	struct sl_batch_rules rules = topic;
	struct world w = new_world();
	size_t len;
	uint8_t *p = hand_made(&len);

	rules.batch_bytes_max = (uint32_t)len;
	cr_assert_eq(validate(&w, p, len, &rules), SL_BATCH_FAULT_OK);
	rules.batch_bytes_max--;
	cr_assert_eq(validate(&w, p, len, &rules), SL_BATCH_FAULT_TOO_LARGE);
	cr_assert_eq(sl_kerr_from_batch(SL_BATCH_FAULT_TOO_LARGE), SL_KERR_MESSAGE_TOO_LARGE);
	/* But a compressed batch may expand beyond it. */
	build(&w, SL_CODEC_ZSTD, 10, 100000);
	rules.batch_bytes_max = 5000;
	cr_assert_lt(w.buf.len, 5000);
	cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &rules), SL_BATCH_FAULT_OK);
	cr_assert_gt(w.info.records_bytes, 1000000);
	free(p);
	end_world(&w);
}

static void check_walk(struct world *w, int count, size_t value_bytes)
{
	struct sl_record_iter it;
	struct sl_record rec;
	char key[16];

	cr_assert_eq(sl_record_iter_init(&it, w->buf.p, &w->info.head, w->ctx, &w->arena), 0);
	for (int i = 0; i < count; i++) {
		cr_assert_eq(sl_record_iter_next(&it, &rec), 1);
		snprintf(key, sizeof(key), "key%d", i);
		cr_assert(same_bytes(rec.key.p, rec.key.len, key, (int32_t)strlen(key)));
		cr_assert_eq(rec.value.len, (int32_t)value_bytes);
		cr_assert_eq(rec.offset, i);
		cr_assert_eq(rec.timestamp, NOW + i);
	}
	cr_assert_eq(sl_record_iter_next(&it, &rec), 0);
}

Test(batch, every_codec_round_trips_and_validates)
{
	struct world w = new_world();
	struct sl_batch_rules rules = topic;

	rules.is_compacted = true;
	for (uint16_t codec = 0; codec < SL_CODEC_NR; codec++) {
		/* Records that fit into the window, and records larger than it. */
		build(&w, codec, 1000, 100);
		cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &rules), SL_BATCH_FAULT_OK);
		cr_assert_eq(w.info.max_timestamp, NOW + 999);
		cr_assert_eq(w.info.max_timestamp_delta, 999);
		check_walk(&w, 1000, 100);
		build(&w, codec, 5, 150000);
		cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &rules), SL_BATCH_FAULT_OK);
		check_walk(&w, 5, 150000);
	}
	end_world(&w);
}

/* Changes the count in the header of compressed batches: both ways the records disagree. */
Test(batch, wrong_counts_of_compressed_batches_are_found)
{
	struct world w = new_world();

	for (uint16_t codec = 0; codec < SL_CODEC_NR; codec++) {
		for (int count = 9; count <= 11; count += 2) {
			build(&w, codec, 10, 20);
			sl_store_be32(w.buf.p + SL_BATCH_POS_RECORDS_COUNT, (uint32_t)count);
			sl_store_be32(w.buf.p + SL_BATCH_POS_LAST_OFFSET_DELTA,
			              (uint32_t)count - 1);
			fix_crc(w.buf.p, w.buf.len);
			cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &topic),
			             SL_BATCH_FAULT_RECORD, "codec %d count %d", codec, count);
		}
	}
	end_world(&w);
}

/* Puts @records, already compressed or not, behind a header of @count records. */
static void wrap(struct world *w, uint16_t attributes, int32_t count, struct sl_bytes records)
{
	struct sl_batch_builder b;
	struct sl_batch_head head;

	sl_batch_head_init(&head);
	sl_buf_reset(&w->buf);
	sl_batch_begin(&b, &w->buf, &head);
	sl_buf_put(&w->buf, records.p, (size_t)records.len);
	cr_assert_eq(sl_batch_end(&b), 0);
	sl_store_be16(w->buf.p + SL_BATCH_POS_ATTRIBUTES, attributes);
	sl_store_be32(w->buf.p + SL_BATCH_POS_RECORDS_COUNT, (uint32_t)count);
	sl_store_be32(w->buf.p + SL_BATCH_POS_LAST_OFFSET_DELTA, (uint32_t)count - 1);
	fix_crc(w->buf.p, w->buf.len);
}

Test(batch, raw_snappy_is_taken_like_xerial)
{
	struct world w = new_world();
	static const uint8_t record[] = {0x10, 0, 0, 0, 0x02, 'k', 0x02, 'v', 0};
	uint8_t out[128];
	size_t out_bytes = sizeof(out);

	cr_assert_eq(sl_compress_snappy(SL_SNAPPY_RAW, (struct sl_bytes){record, sizeof(record)},
	                                out, &out_bytes),
	             0);
	wrap(&w, SL_CODEC_SNAPPY, 1, (struct sl_bytes){out, (int32_t)out_bytes});
	/* No timestamp at all is legal. */
	cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &topic), SL_BATCH_FAULT_OK);
	cr_assert_eq(w.info.max_timestamp, -1);
	end_world(&w);
}

Test(batch, bombs_are_refused_in_bounded_memory)
{
	struct world w = new_world();
	size_t size = 300u << 20;
	uint8_t *zeros = calloc(1, size);
	size_t cap = sl_compress_bound(SL_CODEC_ZSTD, size);
	uint8_t *z = malloc(cap);

	cr_assert(zeros && z);
	/* A record of 300 MiB: the length is right, but who would want to see all of it? */
	zeros[0] = 0x80;
	cr_assert_eq(sl_compress(SL_CODEC_ZSTD, (struct sl_bytes){zeros, (int32_t)size}, z, &cap),
	             0);
	cr_assert_lt(cap, 1u << 20);
	wrap(&w, SL_CODEC_ZSTD, 1, (struct sl_bytes){z, (int32_t)cap});

	enum sl_batch_fault fault = validate(&w, w.buf.p, w.buf.len, &topic);

	cr_assert(fault == SL_BATCH_FAULT_EXPANDS || fault == SL_BATCH_FAULT_RECORD);
	/* The same as one valid record: length 300 MiB - 5, value of all the rest. */
	struct sl_buf b;

	sl_buf_init_grow(&b, 512u << 20);
	sl_buf_put_varint(&b, (int32_t)(size - 16));
	sl_buf_put(&b, "\0\0\0", 3);
	sl_buf_put_varint(&b, -1);
	sl_buf_put_varint(&b, (int32_t)(size - 16 - 9));
	sl_buf_put(&b, zeros, size - 16 - 9);
	sl_buf_put_varint(&b, 0);
	cr_assert(sl_buf_ok(&b));
	cap = sl_compress_bound(SL_CODEC_ZSTD, b.len);
	z = realloc(z, cap);
	cr_assert_eq(sl_compress(SL_CODEC_ZSTD, (struct sl_bytes){b.p, (int32_t)b.len}, z, &cap),
	             0);
	wrap(&w, SL_CODEC_ZSTD, 1, (struct sl_bytes){z, (int32_t)cap});
	cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &topic), SL_BATCH_FAULT_EXPANDS);
	cr_assert_eq(sl_kerr_from_batch(SL_BATCH_FAULT_EXPANDS), SL_KERR_MESSAGE_TOO_LARGE);
	sl_buf_fini(&b);
	free(z);
	free(zeros);
	end_world(&w);
}

Test(batch, null_key_is_refused_on_compacted_topics_with_its_index)
{
	struct sl_batch_rules rules = topic;
	struct world w = new_world();

	for (uint16_t codec = 0; codec < SL_CODEC_NR; codec++) {
		struct sl_batch_builder b;
		struct sl_batch_head head;

		sl_batch_head_init(&head);
		head.attributes = codec;
		sl_buf_reset(&w.buf);
		sl_batch_begin(&b, &w.buf, &head);
		sl_batch_add(&b, NOW, bytes_of("a"), SL_BYTES_NULL); /* a tombstone is fine */
		sl_batch_add(&b, NOW, bytes_of(""), bytes_of("v"));  /* an empty key is a key */
		sl_batch_add(&b, NOW, SL_BYTES_NULL, bytes_of("v"));
		cr_assert_eq(sl_batch_end(&b), 0);
		rules.is_compacted = false;
		cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &rules), SL_BATCH_FAULT_OK);
		cr_assert_eq(w.info.error_index, -1);
		rules.is_compacted = true;
		cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &rules), SL_BATCH_FAULT_RECORD_KEY);
		cr_assert_eq(w.info.error_index, 2);
	}
	end_world(&w);
}

Test(batch, timestamps_outside_the_topics_bounds_have_their_index)
{
	struct sl_batch_rules rules = topic;
	struct world w = new_world();
	struct sl_batch_builder b;
	struct sl_batch_head head;

	rules.before_max_ms = 1000;
	rules.after_max_ms = 500;
	sl_batch_head_init(&head);
	sl_batch_begin(&b, &w.buf, &head);
	sl_batch_add(&b, NOW - 1000, bytes_of("a"), SL_BYTES_NULL);
	sl_batch_add(&b, NOW + 500, bytes_of("a"), SL_BYTES_NULL);
	cr_assert_eq(sl_batch_end(&b), 0);
	cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &rules), SL_BATCH_FAULT_OK);
	rules.after_max_ms = 499;
	cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &rules), SL_BATCH_FAULT_TIMESTAMP);
	cr_assert_eq(w.info.error_index, 1);
	rules.before_max_ms = 999;
	cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &rules), SL_BATCH_FAULT_TIMESTAMP);
	cr_assert_eq(w.info.error_index, 0);
	/* The bounds are of CreateTime topics only. */
	rules.is_log_append_time = true;
	cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &rules), SL_BATCH_FAULT_OK);
	end_world(&w);
}

Test(batch, producers_may_not_say_log_append_time)
{
	struct sl_batch_rules rules = topic;
	struct world w = new_world();

	build(&w, SL_BATCH_LOG_APPEND_TIME, 3, 10);
	sl_store_be64(w.buf.p + SL_BATCH_POS_MAX_TIMESTAMP, NOW + 5);
	fix_crc(w.buf.p, w.buf.len);
	rules.is_log_append_time = true;
	cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &rules), SL_BATCH_FAULT_TIMESTAMP_TYPE);
	/* On a CreateTime topic Kafka takes it and clears the attribute. */
	rules.is_log_append_time = false;
	cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &rules), SL_BATCH_FAULT_OK);
	cr_assert_eq(sl_batch_stamp(w.buf.p, &w.info, &rules, NOW), -1);
	cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &rules), SL_BATCH_FAULT_OK);
	cr_assert(!sl_batch_is_log_append_time(&w.info.head));
	end_world(&w);
}

Test(batch, offset_and_epoch_are_patched_outside_of_the_crc)
{
	struct world w = new_world();
	struct sl_batch_head h;
	uint8_t before[200];

	build(&w, SL_CODEC_NONE, 3, 10);
	cr_assert_leq(w.buf.len, sizeof(before));
	memcpy(before, w.buf.p, w.buf.len);
	sl_batch_set_offset(w.buf.p, INT64_C(0x1122334455667788), 0x01020304);
	cr_assert_eq(sl_batch_peek(w.buf.p, w.buf.len, &h), 0);
	cr_assert_eq(h.base_offset, INT64_C(0x1122334455667788));
	cr_assert_eq(h.leader_epoch, 0x01020304);
	cr_assert_eq(sl_batch_last_offset(&h), INT64_C(0x112233445566778a));
	cr_assert(sl_batch_check_crc(w.buf.p, &h));
	cr_assert_eq(memcmp(before + 8, w.buf.p + 8, 4), 0);
	cr_assert_eq(memcmp(before + 16, w.buf.p + 16, w.buf.len - 16), 0);
	end_world(&w);
}

/* The derived CRC must be what reading everything gives, at sizes that use every bit of the
 * distance. */
Test(batch, derived_crc_equals_the_computed_one)
{
	static const size_t sizes[] = {0, 1, 2, 3, 63, 64, 1000, 4096, 65537, 1000003};
	struct world w = new_world();

	for (size_t i = 0; i < SL_ARRAY_SIZE(sizes); i++) {
		struct sl_batch_rules rules = topic;
		struct sl_batch_head h;

		rules.batch_bytes_max = 0; /* no limit */
		build(&w, SL_CODEC_NONE, 2, sizes[i]);
		cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &rules), SL_BATCH_FAULT_OK);
		rules.is_log_append_time = true;
		cr_assert_eq(sl_batch_stamp(w.buf.p, &w.info, &rules, NOW + 12345), NOW + 12345);
		cr_assert_eq(sl_batch_peek(w.buf.p, w.buf.len, &h), 0);
		cr_assert(sl_batch_check_crc(w.buf.p, &h), "size %zu", sizes[i]);
		cr_assert(sl_batch_is_log_append_time(&h));
		cr_assert_eq(h.max_timestamp, NOW + 12345);
		cr_assert_eq(h.crc, w.info.head.crc);
		cr_assert_eq(h.attributes, w.info.head.attributes);
	}
	end_world(&w);
}

Test(batch, wrong_max_timestamp_is_corrected_and_a_right_one_left_alone)
{
	struct world w = new_world();
	struct sl_batch_head h;

	build(&w, SL_CODEC_LZ4, 3, 10);
	cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &topic), SL_BATCH_FAULT_OK);

	uint32_t crc = w.info.head.crc;

	cr_assert_eq(sl_batch_stamp(w.buf.p, &w.info, &topic, NOW), -1);
	cr_assert_eq(sl_load_be32(w.buf.p + SL_BATCH_POS_CRC), crc);

	sl_store_be64(w.buf.p + SL_BATCH_POS_MAX_TIMESTAMP, 1);
	fix_crc(w.buf.p, w.buf.len);
	cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &topic), SL_BATCH_FAULT_OK);
	cr_assert_eq(sl_batch_stamp(w.buf.p, &w.info, &topic, NOW), -1);
	cr_assert_eq(sl_batch_peek(w.buf.p, w.buf.len, &h), 0);
	cr_assert_eq(h.max_timestamp, NOW + 2);
	cr_assert(sl_batch_check_crc(w.buf.p, &h));
	cr_assert_eq(h.crc, crc);
	end_world(&w);
}

Test(batch, readers_take_append_time_for_every_record)
{
	struct sl_batch_rules rules = topic;
	struct world w = new_world();
	struct sl_record_iter it;
	struct sl_record rec;

	rules.is_log_append_time = true;
	build(&w, SL_CODEC_GZIP, 3, 10);
	cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &rules), SL_BATCH_FAULT_OK);
	sl_batch_stamp(w.buf.p, &w.info, &rules, NOW + 777);
	cr_assert_eq(sl_record_iter_init(&it, w.buf.p, &w.info.head, w.ctx, &w.arena), 0);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(sl_record_iter_next(&it, &rec), 1);
		cr_assert_eq(rec.timestamp, NOW + 777);
	}
	end_world(&w);
}

Test(batch, headers_survive)
{
	const struct sl_record_header headers[] = {
		{sl_str_from("trace"), bytes_of("1")},
		{sl_str_from(""), SL_BYTES_NULL},
		{sl_str_from("trace"), bytes_of("")},
	};
	struct world w = new_world();
	struct sl_batch_builder b;
	struct sl_batch_head head;
	struct sl_record_iter it;
	struct sl_record rec;
	struct sl_bytes value;
	struct sl_str key;

	sl_batch_head_init(&head);
	head.attributes = SL_CODEC_ZSTD;
	sl_batch_begin(&b, &w.buf, &head);
	sl_batch_add_headers(&b, NOW, SL_BYTES_NULL, SL_BYTES_NULL, headers, 3);
	cr_assert_eq(sl_batch_end(&b), 0);
	cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &topic), SL_BATCH_FAULT_OK);
	cr_assert_eq(sl_record_iter_init(&it, w.buf.p, &w.info.head, w.ctx, &w.arena), 0);
	cr_assert_eq(sl_record_iter_next(&it, &rec), 1);
	cr_assert_eq(rec.headers_count, 3);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(sl_record_header_next(&rec.headers, &key, &value), 1);
		cr_assert(sl_str_eq(key, headers[i].key));
		cr_assert(same_bytes(value.p, value.len, headers[i].value.p, headers[i].value.len));
	}
	cr_assert_eq(sl_record_header_next(&rec.headers, &key, &value), 0);
	end_world(&w);
}

/* A coordinator of ours may write control records: a COMMIT marker takes 78 bytes (reference §3).
 */
Test(batch, transaction_marker_has_78_bytes_and_is_for_internal_writers)
{
	static const uint8_t key[] = {0, 0, 0, SL_CONTROL_COMMIT};
	static const uint8_t value[] = {0, 0, 0, 0, 0, 7};
	struct sl_batch_rules rules = topic;
	struct world w = new_world();
	struct sl_batch_builder b;
	struct sl_batch_head head;

	sl_batch_head_init(&head);
	head.attributes = SL_BATCH_CONTROL | SL_BATCH_TRANSACTIONAL;
	head.producer_id = 9;
	head.producer_epoch = 1;
	sl_batch_begin(&b, &w.buf, &head);
	sl_batch_add(&b, NOW, (struct sl_bytes){key, sizeof(key)},
	             (struct sl_bytes){value, sizeof(value)});
	cr_assert_eq(sl_batch_end(&b), 0);
	cr_assert_eq(w.buf.len, 78);
	cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &rules), SL_BATCH_FAULT_CONTROL);
	rules.is_internal = true;
	cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &rules), SL_BATCH_FAULT_OK);
	cr_assert(sl_batch_is_control(&w.info.head) && sl_batch_is_transactional(&w.info.head));
	end_world(&w);
}

Test(batch, sequences_wrap_to_zero)
{
	cr_assert_eq(sl_batch_sequence_add(0, 5), 5);
	cr_assert_eq(sl_batch_sequence_add(INT32_MAX, 0), INT32_MAX);
	cr_assert_eq(sl_batch_sequence_add(INT32_MAX, 1), 0);
	cr_assert_eq(sl_batch_sequence_add(INT32_MAX - 2, 5), 2);
}

/* Every byte of a batch counts: any change is noticed, except in the two fields the broker owns. */
Test(batch, any_flipped_bit_is_noticed)
{
	struct world w = new_world();

	build(&w, SL_CODEC_SNAPPY, 5, 20);
	for (size_t i = 0; i < w.buf.len; i++) {
		w.buf.p[i] ^= 0x10;
		if (i >= SL_BATCH_POS_LEADER_EPOCH && i < SL_BATCH_POS_MAGIC)
			cr_assert_eq(validate(&w, w.buf.p, w.buf.len, &topic), SL_BATCH_FAULT_OK);
		else
			cr_assert_neq(validate(&w, w.buf.p, w.buf.len, &topic), SL_BATCH_FAULT_OK,
			              "byte %zu", i);
		w.buf.p[i] ^= 0x10;
	}
	end_world(&w);
}

/* Whether the iterator, which reads by other code, finds the records well formed and counted. */
static bool is_readable(struct world *w, const void *p)
{
	struct sl_record_iter it;
	struct sl_record rec;
	int64_t offset = 0;
	int got;

	if (sl_record_iter_init(&it, p, &w->info.head, w->ctx, &w->arena) != 0)
		return false;
	while ((got = sl_record_iter_next(&it, &rec)) > 0)
		if (rec.offset != offset++)
			return false;
	return got == 0;
}

Test(batch, usual_and_unusual_records_are_judged_alike)
{
	static const uint8_t zeros[70];
	struct world w = new_world();
	const struct sl_batch_rules rules = {.before_max_ms = INT64_MAX, .after_max_ms = INT64_MAX};
	struct sl_batch_head head;
	struct sl_batch_builder b;
	int accepted = 0;

	/* Lengths of one and of two bytes; each byte of the records becomes everything.  A zero is
	 * a length and a number of headers too, so that shifted fields are tempting. */
	sl_batch_head_init(&head);
	sl_batch_begin(&b, &w.buf, &head);
	sl_batch_add(&b, NOW, (struct sl_bytes){zeros, 0}, (struct sl_bytes){zeros, 0});
	sl_batch_add(&b, NOW, (struct sl_bytes){zeros, 1}, (struct sl_bytes){zeros, 70});
	sl_batch_add(&b, NOW, SL_BYTES_NULL, (struct sl_bytes){zeros, 70});
	cr_assert_eq(sl_batch_end(&b), 0);
	for (size_t at = SL_BATCH_HEADER_BYTES; at < w.buf.len; at++) {
		uint8_t kept = w.buf.p[at];

		for (int value = 0; value < 256; value++) {
			enum sl_batch_fault fault;

			w.buf.p[at] = (uint8_t)value;
			fix_crc(w.buf.p, w.buf.len);
			fault = validate(&w, w.buf.p, w.buf.len, &rules);
			cr_assert((fault == SL_BATCH_FAULT_OK) == is_readable(&w, w.buf.p),
			          "at=%zu value=%d fault=%d", at, value, (int)fault);
			accepted += fault == SL_BATCH_FAULT_OK;
		}
		w.buf.p[at] = kept;
	}
	cr_assert_gt(accepted, 0);
	end_world(&w);
}

Test(batch, builder_reports_a_full_buffer)
{
	uint8_t memory[80];
	struct sl_buf buf;
	struct sl_batch_builder b;
	struct sl_batch_head head;

	sl_batch_head_init(&head);
	sl_buf_init_fixed(&buf, memory, sizeof(memory));
	sl_batch_begin(&b, &buf, &head);
	sl_batch_add(&b, NOW, SL_BYTES_NULL, bytes_of("a value that is too long"));
	cr_assert_eq(sl_batch_end(&b), -ENOSPC);
	/* And codecs that do not exist. */
	sl_buf_reset(&buf);
	head.attributes = 7;
	sl_batch_begin(&b, &buf, &head);
	cr_assert_eq(sl_batch_end(&b), -ENOTSUP);
}
