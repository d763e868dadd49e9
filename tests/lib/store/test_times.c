/* SPDX-License-Identifier: Apache-2.0 */
/* ListOffsets by timestamp, against a search over the model. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "fixture.h"
#include "log_impl.h"

static struct fixture *f;

static void setup(void)
{
	f = malloc(sizeof(*f));
	fixture_init(f);
	fixture_must_open(f, false);
}

static void teardown(void)
{
	fixture_fini(f);
	free(f);
}

TestSuite(times, .init = setup, .fini = teardown);

static void append_codec(int32_t records, int64_t timestamp, enum sl_codec codec)
{
	struct fixture_spec spec = {
		.records = records, .value_bytes = 120, .timestamp = timestamp, .codec = codec};
	struct sl_log_append io;

	cr_assert_eq(fixture_append(f, &spec, &io), 0);
}

/* Record i of a batch has the timestamp first + i, see fixture_build(). */
static int64_t first_time(const struct fixture_batch *batch)
{
	return batch->max_timestamp - (batch->last_offset - batch->base_offset);
}

static void check_time(int64_t timestamp)
{
	int64_t expect = -1;
	int64_t expect_ms = -1;
	int64_t offset;
	int64_t found_ms;

	for (uint32_t i = 0; i < f->batches_count && expect < 0; i++) {
		const struct fixture_batch *batch = &f->batches[i];

		for (int64_t o = batch->base_offset; o <= batch->last_offset && expect < 0; o++) {
			int64_t ms = first_time(batch) + (o - batch->base_offset);

			if (ms < timestamp || o < sl_log_start(f->log))
				continue;
			expect = o;
			expect_ms = ms;
		}
	}
	cr_assert_eq(sl_log_offset_for_time(f->log, timestamp, INT64_MAX, &offset, &found_ms), 0);
	cr_assert_eq(offset, expect, "time %d: offset %d, not %d", (int)timestamp, (int)offset,
	             (int)expect);
	cr_assert_eq(found_ms, expect_ms);
	if (expect < 0)
		return;
	cr_assert_eq(sl_log_offset_for_time(f->log, timestamp, expect, &offset, &found_ms), 0);
	cr_assert_eq(offset, -1);
	cr_assert_eq(found_ms, -1);
}

static void check_max(int64_t expect, int64_t expect_ms)
{
	int64_t offset;
	int64_t found_ms;

	cr_assert_eq(sl_log_max_time(f->log, &offset, &found_ms), 0);
	cr_assert_eq(offset, expect, "offset %d, not %d", (int)offset, (int)expect);
	cr_assert_eq(found_ms, expect_ms);
}

Test(times, empty_log_has_none)
{
	check_time(0);
	check_max(-1, -1);
}

Test(times, finds_the_first_record_in_every_codec)
{
	for (int i = 0; i < 60; i++)
		append_codec(1 + i % 7, 1000 + i * 13 % 400, (enum sl_codec)(i % SL_CODEC_NR));
	for (int64_t t = 990; t < 1410; t++)
		check_time(t);
	fixture_close(f, true);
	fixture_must_open(f, true);
	for (int64_t t = 990; t < 1410; t++)
		check_time(t);
	fixture_kill(f);
	fixture_must_open(f, false);
	for (int64_t t = 990; t < 1410; t += 7)
		check_time(t);
}

Test(times, finds_the_largest_timestamp)
{
	for (int i = 0; i < 60; i++)
		append_codec(3, 1000 + (i == 20 ? 5000 : i), (enum sl_codec)(i % SL_CODEC_NR));
	check_max(20 * 3 + 2, 6002);
	fixture_close(f, true);
	fixture_must_open(f, true);
	check_max(20 * 3 + 2, 6002);
	/* Part of that batch was deleted, then all of it. */
	cr_assert_eq(sl_log_advance_start(f->log, 62), 0);
	check_max(62, 6002);
	for (int64_t t = 990; t < 6010; t += 3)
		check_time(t);
	cr_assert_eq(sl_log_advance_start(f->log, 63), 0);
	check_max(179, 1061);
}

Test(times, largest_below_the_log_start_does_not_count)
{
	uint8_t batch[1024];
	struct sl_batch_builder builder;
	struct sl_batch_head head;
	struct sl_buf buf;
	struct sl_log_append io = {.now_ms = 1};
	static const int64_t stamps[] = {9000, 100, 300, 200};

	sl_buf_init_fixed(&buf, batch, sizeof(batch));
	sl_batch_head_init(&head);
	sl_batch_begin(&builder, &buf, &head);
	for (size_t i = 0; i < SL_ARRAY_SIZE(stamps); i++)
		sl_batch_add(&builder, stamps[i], SL_BYTES_NULL, SL_BYTES_NULL);
	cr_assert_eq(sl_batch_end(&builder), 0);
	cr_assert_eq(sl_log_append(f->log, batch, buf.len, &io), 0);
	cr_assert_eq(io.timestamp_ms, 9000);
	check_max(0, 9000);
	cr_assert_eq(sl_log_advance_start(f->log, 1), 0);
	check_max(2, 300);
}

Test(times, log_append_time_holds_for_every_record)
{
	struct fixture_spec spec = {.records = 5, .value_bytes = 10, .timestamp = 100};
	struct sl_log_append io = {.now_ms = 1};
	struct sl_batch_head head;
	uint8_t batch[2048];
	size_t len = fixture_build(&spec, batch, sizeof(batch));
	int64_t offset;
	int64_t found_ms;

	cr_assert_eq(sl_batch_peek(batch, len, &head), 0);
	sl_batch_set_append_time(batch, &head, 7777);
	cr_assert_eq(sl_log_append(f->log, batch, len, &io), 0);
	cr_assert_eq(io.timestamp_ms, 7777);
	cr_assert_eq(sl_log_offset_for_time(f->log, 200, INT64_MAX, &offset, &found_ms), 0);
	cr_assert_eq(offset, 0);
	cr_assert_eq(found_ms, 7777);
	cr_assert_eq(sl_log_advance_start(f->log, 3), 0);
	cr_assert_eq(sl_log_offset_for_time(f->log, 200, INT64_MAX, &offset, &found_ms), 0);
	cr_assert_eq(offset, 3);
	cr_assert_eq(found_ms, 7777);
}
