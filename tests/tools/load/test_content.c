/* SPDX-License-Identifier: Apache-2.0 */
/* Batches are what a broker accepts, and hold what they should. */
#include <criterion/criterion.h>

#include "content.h"
#include "verify.h"

static struct options opts;
static struct content content;
static struct sl_codec_ctx *codec;
static struct sl_arena arena;
static struct sl_buf own;
static struct sl_buf whole;

static void setup(void)
{
	opts = (struct options){.record_bytes = 100, .batch_bytes = 4000, .acks = -1, .seed = 1};
	cr_assert_eq(sl_codec_ctx_create(&codec, NULL), 0);
	cr_assert_eq(sl_arena_create(&arena, (size_t)1 << 24), 0);
	sl_buf_init_grow(&own, (size_t)1 << 24);
	sl_buf_init_grow(&whole, (size_t)1 << 24);
}

static void teardown(void)
{
	content_fini(&content);
	sl_codec_ctx_destroy(codec);
	sl_arena_destroy(&arena);
	sl_buf_fini(&own);
	sl_buf_fini(&whole);
}

TestSuite(content, .init = setup, .fini = teardown);

static struct content_source source_of(int32_t count)
{
	return (struct content_source){.stream = 5,
	                               .first = 1000,
	                               .partition = 3,
	                               .count = count,
	                               .producer_id = SL_BATCH_NO_PRODUCER_ID,
	                               .producer_epoch = -1,
	                               .base_sequence = -1};
}

/* Makes the batch, puts it together in whole and lets the broker's own check look at it. */
static struct sl_batch_info make(const struct content_source *source)
{
	struct sl_batch_rules rules = {.before_max_ms = INT64_MAX, .after_max_ms = INT64_MAX};
	struct content_batch batch;
	struct sl_batch_info info;
	enum sl_batch_fault fault;

	cr_assert_eq(content_make(&content, source, &own, &batch), 0);
	sl_buf_reset(&whole);
	sl_buf_put(&whole, batch.head, sizeof(batch.head));
	sl_buf_put(&whole, batch.records, batch.records_bytes);
	fault = sl_batch_validate(whole.p, whole.len, &rules, 0, codec, &info);
	cr_assert_eq(fault, SL_BATCH_FAULT_OK, "%d records: %s", source->count,
	             sl_batch_fault_name(fault));
	cr_assert_eq(info.head.records_count, source->count);
	return info;
}

static void begin(struct sl_record_iter *it, const struct sl_batch_info *info)
{
	sl_arena_reset(&arena);
	cr_assert_eq(sl_record_iter_init(it, whole.p, &info->head, codec, &arena), 0);
}

Test(content, every_number_of_records_makes_a_valid_shared_batch)
{
	cr_assert_eq(content_init(&content, &opts, 1), 0);
	cr_assert(content.is_shared && content.records_max > 30);
	for (int32_t n = 1; n <= content.records_max; n++) {
		struct content_source source = source_of(n);

		make(&source);
		cr_assert(whole.len <= 4000);
	}
	/* One more would not have fitted. */
	cr_assert(whole.len + 100 > 4000);
}

Test(content, shared_batches_are_not_copied)
{
	struct content_source source;
	struct content_batch a, b;

	cr_assert_eq(content_init(&content, &opts, 1), 0);
	source = source_of(content.records_max);
	cr_assert_eq(content_make(&content, &source, &own, &a), 0);
	source = source_of(3);
	cr_assert_eq(content_make(&content, &source, &own, &b), 0);
	cr_assert(a.records == b.records && own.len == 0);
}

Test(content, producer_numbers_are_patched_with_a_right_sum)
{
	cr_assert_eq(content_init(&content, &opts, 1), 0);
	for (int32_t n = 1; n <= content.records_max; n++) {
		struct content_source source = source_of(n);

		source.producer_id = INT64_C(0x123456789abcdef);
		source.producer_epoch = 7;
		source.base_sequence = INT32_MAX - n;

		struct sl_batch_info info = make(&source);

		cr_assert_eq(info.head.producer_id, source.producer_id);
		cr_assert_eq(info.head.producer_epoch, 7);
		cr_assert_eq(info.head.base_sequence, INT32_MAX - n);
	}
}

Test(content, every_codec_makes_valid_batches_full_and_not_full)
{
	for (enum sl_codec c = SL_CODEC_NONE; c < SL_CODEC_NR; c++) {
		struct content_source source;
		struct sl_batch_info info;

		opts.codec = c;
		opts.value = LOAD_VALUE_TEXT;
		cr_assert_eq(content_init(&content, &opts, 1), 0);
		source = source_of(content.records_max);
		source.producer_id = 4;
		source.producer_epoch = 0;
		source.base_sequence = 0;
		info = make(&source);
		cr_assert_eq(sl_batch_codec(&info.head), c);
		source.count = 2;
		info = make(&source);
		cr_assert_eq(sl_batch_codec(&info.head), c);
		content_fini(&content);
	}
}

static size_t compressed_bytes(enum load_value value)
{
	struct content_source source;

	opts.codec = SL_CODEC_ZSTD;
	opts.value = value;
	opts.batch_bytes = 65536;
	cr_assert_eq(content_init(&content, &opts, 1), 0);
	source = source_of(content.records_max);
	make(&source);
	content_fini(&content);
	return whole.len;
}

Test(content, kinds_of_values_compress_as_they_promise)
{
	size_t random = compressed_bytes(LOAD_VALUE_RANDOM);
	size_t text = compressed_bytes(LOAD_VALUE_TEXT);
	size_t zero = compressed_bytes(LOAD_VALUE_ZERO);

	cr_assert(random > 58000, "%zu", random);
	cr_assert(text > 65536 / 5 && text < 65536 / 2, "%zu", text);
	cr_assert(zero < 2000, "%zu", zero);
}

Test(content, verified_values_carry_their_place)
{
	struct content_source source;
	struct sl_batch_info info;
	struct sl_record_iter it;
	struct sl_record r;

	opts.is_verifying = true;
	opts.codec = SL_CODEC_LZ4;
	cr_assert_eq(content_init(&content, &opts, 1), 0);
	source = source_of(10);
	source.due_ns = 5000;
	source.interval_ns = 100;
	info = make(&source);
	begin(&it, &info);
	for (uint64_t i = 0; i < 10; i++) {
		struct verify_mark mark;

		cr_assert_eq(sl_record_iter_next(&it, &r), 1);
		cr_assert_eq(verify_open(r.value.p, (size_t)r.value.len, &mark), 0);
		cr_assert(mark.stream == 5 && mark.sequence == 1000 + i && mark.partition == 3 &&
		          mark.due_ns == 5000 + 100 * i);
	}
	cr_assert_eq(sl_record_iter_next(&it, &r), 0);
}

Test(content, keys_have_their_size_and_follow_their_distribution)
{
	struct content_source source;
	struct sl_batch_info info;
	struct sl_record_iter it;
	struct sl_record r;
	char first[24];

	opts.key_bytes = 24;
	opts.keys = LOAD_KEYS_UNIFORM;
	opts.keys_count = 1;
	cr_assert_eq(content_init(&content, &opts, 1), 0);
	source = source_of(8);
	info = make(&source);
	keys_text(first, sizeof(first), 0, 3);
	begin(&it, &info);
	while (sl_record_iter_next(&it, &r) == 1) {
		cr_assert_eq(r.key.len, 24);
		cr_assert_eq(memcmp(r.key.p, first, 24), 0);
	}
}

Test(content, a_record_larger_than_the_batch_is_a_batch_of_its_own)
{
	struct content_source source;

	opts.record_bytes = 10000;
	cr_assert_eq(content_init(&content, &opts, 1), 0);
	cr_assert_eq(content.records_max, 1);
	source = source_of(1);
	make(&source);
}

Test(content, batch_records_limits_a_batch)
{
	opts.batch_records = 4;
	cr_assert_eq(content_init(&content, &opts, 1), 0);
	cr_assert_eq(content.records_max, 4);
}

Test(content, values_may_be_empty)
{
	struct content_source source;

	opts.record_bytes = 0;
	cr_assert_eq(content_init(&content, &opts, 1), 0);
	source = source_of(content.records_max);
	make(&source);
}
