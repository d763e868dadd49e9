/* SPDX-License-Identifier: Apache-2.0 */
/* Append, read, roll and lookup; the random test compares a log with a model through everything. */
#include <criterion/criterion.h>
#include <errno.h>
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

TestSuite(log, .init = setup, .fini = teardown);

Test(log, is_empty_when_new)
{
	struct sl_log_range range;

	cr_assert_eq(sl_log_start(f->log), 0);
	cr_assert_eq(sl_log_end(f->log), 0);
	cr_assert_eq(sl_log_flushed(f->log), 0);
	cr_assert_eq(sl_log_bytes(f->log), 0);
	cr_assert_eq(sl_log_segments(f->log), 1);
	cr_assert_eq(sl_log_epoch(f->log), -1);
	cr_assert_eq(sl_log_read(f->log, 0, 10, 1000, true, &range), 0);
	cr_assert_eq(range.bytes, 0);
	cr_assert_eq(range.fd, -1);
	sl_log_range_put(f->log, &range);
	cr_assert_eq(sl_log_read(f->log, 1, 10, 1000, true, &range), -ERANGE);
	cr_assert_eq(sl_log_read(f->log, -1, 10, 1000, true, &range), -ERANGE);
	cr_assert(simfs_exists(f->fs, FIXTURE_FOLDER "/partition.metadata"));
}

Test(log, needs_less_than_four_kib_when_empty)
{
	uint64_t memory = 0;

	fixture_close(f, false);
	f->opts.memory = &memory;
	fixture_must_open(f, false);
	cr_assert_gt(memory, 0);
	cr_assert_leq(memory, 4096);
	cr_assert_eq(simfs_open_count(f->fs), 2); /* the log dir and one segment */
}

Test(log, patches_offset_and_epoch_and_keeps_the_rest)
{
	struct fixture_spec spec = {.records = 3, .value_bytes = 10, .timestamp = 500};
	struct sl_log_append io;
	struct sl_batch_head head;
	uint8_t *data;
	size_t len = 0;

	f->leader_epoch = 7;
	fixture_must_append(f, 2, 5, 100);
	cr_assert_eq(fixture_append(f, &spec, &io), 0);
	cr_assert_eq(io.base_offset, 2);
	cr_assert_eq(io.last_offset, 4);
	cr_assert_eq(io.timestamp_ms, 502);
	data = simfs_data(f->fs, fixture_path(0, ".log"), &len);
	cr_assert_eq(len, f->batches[0].len + f->batches[1].len);
	cr_assert_eq(sl_batch_peek(data + f->batches[0].len, f->batches[1].len, &head), 0);
	cr_assert_eq(head.base_offset, 2);
	cr_assert_eq(head.leader_epoch, 7);
	cr_assert(sl_batch_check_crc(data + f->batches[0].len, &head));
	fixture_check(f, 1u << 20);
}

Test(log, rolls_by_size_and_never_crosses_a_segment)
{
	struct sl_log_range range;

	for (int i = 0; i < 100; i++)
		fixture_must_append(f, 1 + i % 5, 100, 1000 + i);
	cr_assert_gt(sl_log_segments(f->log), 5);
	for (uint32_t i = 0; i < sl_log_segments(f->log); i++)
		cr_assert_leq(f->log->segments[i]->bytes, 4096);
	cr_assert_eq(sl_log_read(f->log, 0, sl_log_end(f->log), 1u << 30, true, &range), 0);
	cr_assert_eq(range.bytes, f->log->segments[0]->bytes);
	sl_log_range_put(f->log, &range);
	fixture_check(f, 1u << 20);
	fixture_check(f, 1);
	fixture_check(f, 300);
	/* Sealed segments that are synced and that nobody refers to are closed but for two. */
	cr_assert_gt(simfs_open_count(f->fs), 4);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_leq(simfs_open_count(f->fs), 4);
	fixture_check(f, 1u << 20);
	cr_assert_leq(simfs_open_count(f->fs), 4);
	/* What was not read between two ticks is closed. */
	cr_assert_eq(sl_log_tick(f->log, f->now_ms, 0), 0);
	cr_assert_eq(sl_log_tick(f->log, f->now_ms, 0), 0);
	cr_assert_eq(simfs_open_count(f->fs), 2);
}

Test(log, refuses_batch_larger_than_segment)
{
	struct fixture_spec spec = {.records = 1, .value_bytes = 5000, .timestamp = 1};
	struct sl_log_append io;

	cr_assert_eq(fixture_append(f, &spec, &io), -EFBIG);
	cr_assert_eq(sl_log_error(f->log), 0);
	fixture_must_append(f, 1, 10, 1);
}

Test(log, rolls_by_time_on_append_and_on_tick)
{
	f->opts.config.segment_ms = 1000;
	sl_log_set_config(f->log, &f->opts.config);
	fixture_must_append(f, 1, 10, 1);
	f->now_ms += 999;
	fixture_must_append(f, 1, 10, 2);
	cr_assert_eq(sl_log_segments(f->log), 1);
	f->now_ms += 1;
	fixture_must_append(f, 1, 10, 3);
	cr_assert_eq(sl_log_segments(f->log), 2);
	cr_assert_eq(sl_log_tick(f->log, f->now_ms + 999, sl_log_end(f->log)), 0);
	cr_assert_eq(sl_log_segments(f->log), 2);
	cr_assert_eq(sl_log_tick(f->log, f->now_ms + 1000, sl_log_end(f->log)), 0);
	cr_assert_eq(sl_log_segments(f->log), 3);
	/* An empty segment is never rolled. */
	cr_assert_eq(sl_log_tick(f->log, f->now_ms + 100000, sl_log_end(f->log)), 0);
	cr_assert_eq(sl_log_segments(f->log), 3);
	fixture_check(f, 1000);
}

Test(log, read_respects_offset_max_and_whole_batches)
{
	struct sl_log_range range;

	for (int i = 0; i < 5; i++)
		fixture_must_append(f, 2, 50, i);
	/* Nothing at or above the limit, also when it lies inside of a batch. */
	cr_assert_eq(sl_log_read(f->log, 0, 4, 1u << 20, true, &range), 0);
	cr_assert_eq(range.bytes, f->batches[0].len + f->batches[1].len);
	sl_log_range_put(f->log, &range);
	cr_assert_eq(sl_log_read(f->log, 0, 5, 1u << 20, true, &range), 0);
	cr_assert_eq(range.bytes, f->batches[0].len + f->batches[1].len);
	sl_log_range_put(f->log, &range);
	cr_assert_eq(sl_log_read(f->log, 4, 5, 1u << 20, true, &range), 0);
	cr_assert_eq(range.bytes, 0);
	cr_assert_eq(sl_log_read(f->log, 4, 4, 1u << 20, true, &range), 0);
	cr_assert_eq(range.bytes, 0);
	/* KIP-74: the first batch is whole or nothing. */
	cr_assert_eq(sl_log_read(f->log, 3, 10, 10, true, &range), 0);
	cr_assert_eq(range.bytes, f->batches[1].len);
	cr_assert_eq(range.base_offset, 2);
	sl_log_range_put(f->log, &range);
	cr_assert_eq(sl_log_read(f->log, 3, 10, 10, false, &range), 0);
	cr_assert_eq(range.bytes, 0);
	/* Later ones may be cut. */
	cr_assert_eq(sl_log_read(f->log, 2, 10, f->batches[1].len + 7, false, &range), 0);
	cr_assert_eq(range.bytes, f->batches[1].len + 7);
	sl_log_range_put(f->log, &range);
}

Test(log, reads_the_tail_without_disk)
{
	struct sl_log_range range;
	unsigned int before;

	f->opts.config.segment_bytes = 1 << 20;
	sl_log_set_config(f->log, &f->opts.config);
	for (int i = 0; i < 200; i++)
		fixture_must_append(f, 3, 20, i);
	before = simfs_pread_count(f->fs);
	for (int i = 1; i <= (int)STORE_TAIL_BATCHES - 1; i++) {
		const struct fixture_batch *batch = &f->batches[200 - i];

		cr_assert_eq(sl_log_read(f->log, batch->base_offset + 1, batch->last_offset + 1,
		                         1u << 20, true, &range),
		             0);
		cr_assert_eq(range.base_offset, batch->base_offset);
		cr_assert_eq(range.bytes, batch->len);
		sl_log_range_put(f->log, &range);
	}
	cr_assert_eq(simfs_pread_count(f->fs), before);
}

Test(log, keeps_a_range_readable_after_its_segment_is_deleted)
{
	struct sl_log_range range;
	uint8_t byte;

	for (int i = 0; i < 100; i++)
		fixture_must_append(f, 1, 100, i);
	cr_assert_eq(sl_log_read(f->log, 0, 100, 1u << 20, true, &range), 0);
	cr_assert_eq(sl_log_advance_start(f->log, 90), 0);
	cr_assert(!simfs_exists(f->fs, fixture_path(0, ".log")));
	cr_assert_eq(sl_log_tick(f->log, f->now_ms + 1000000, 100), 0);
	cr_assert_eq(f->files.ops->pread(f->files.ctx, range.fd, &byte, 1, range.pos), 1);
	cr_assert(simfs_exists(f->fs, fixture_path(0, ".log.deleted")));
	sl_log_range_put(f->log, &range);
	cr_assert_eq(sl_log_tick(f->log, f->now_ms + 1000000, 100), 0);
	cr_assert(!simfs_exists(f->fs, fixture_path(0, ".log.deleted")));
}

Test(log, refuses_an_epoch_that_falls)
{
	struct fixture_spec spec = {.records = 1, .value_bytes = 1, .timestamp = 1};
	struct sl_log_append io;

	f->leader_epoch = 4;
	fixture_must_append(f, 1, 1, 1);
	f->leader_epoch = 3;
	cr_assert_eq(fixture_append(f, &spec, &io), -EINVAL);
	cr_assert_eq(sl_log_epoch_begin(f->log, 3), -EINVAL);
	cr_assert_eq(sl_log_error(f->log), 0);
	f->leader_epoch = 5;
	fixture_must_append(f, 1, 1, 1);
	cr_assert_eq(sl_log_epoch(f->log), 5);
}

Test(log, delete_renames_the_folder)
{
	fixture_must_append(f, 1, 10, 1);
	cr_assert_eq(sl_log_delete(f->log), 0);
	f->log = NULL;
	cr_assert(!simfs_exists(f->fs, FIXTURE_FOLDER));
	fixture_model_cut(f, INT64_MAX, 0);
	f->opts.topic_id.b[0] = 99;
	fixture_must_open(f, false);
	cr_assert_eq(sl_log_end(f->log), 0);
}

Test(log, refuses_the_folder_of_another_topic_id)
{
	fixture_must_append(f, 1, 10, 1);
	fixture_close(f, true);
	f->opts.topic_id.b[0] = 99;
	cr_assert_eq(fixture_open(f, true), -ESTALE);
	f->opts.topic_id.b[0] = 1;
	fixture_must_open(f, true);
	cr_assert_eq(sl_log_end(f->log), 1);
}

static uint64_t rng_state;

static uint32_t rnd(uint32_t below)
{
	rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(rng_state >> 33) % below;
}

static void random_reads(int64_t end)
{
	for (int i = 0; i < 10; i++) {
		int64_t start = sl_log_start(f->log);
		int64_t offset = start + (end > start ? (int64_t)rnd((uint32_t)(end - start)) : 0);
		int64_t limit = offset + rnd(20);
		uint32_t bytes_max = 1 + rnd(2000);
		struct sl_log_range range;
		uint32_t expect = 0;
		uint32_t first = 0;

		cr_assert_eq(sl_log_read(f->log, offset, limit, bytes_max, true, &range), 0);
		while (first < f->batches_count && f->batches[first].last_offset < offset)
			first++;
		for (uint32_t b = first;
		     b < f->batches_count && f->batches[b].last_offset < SL_MIN(limit, end); b++)
			expect += f->batches[b].len;
		if (range.bytes == 0) {
			cr_assert_eq(expect, 0);
			continue;
		}
		cr_assert_eq(range.base_offset, f->batches[first].base_offset);
		cr_assert_leq(range.bytes, expect);
		cr_assert(range.bytes >= SL_MIN(expect, bytes_max) ||
		          range.pos + range.bytes == ((struct segment *)range.segment)->bytes);
		sl_log_range_put(f->log, &range);
	}
}

static void random_change(void)
{
	int64_t start = sl_log_start(f->log);
	int64_t end = sl_log_end(f->log);
	uint32_t what = rnd(100);

	if (what < 4 && end > start) {
		int64_t to = start + rnd((uint32_t)(end - start) + 1);

		cr_assert_eq(sl_log_truncate(f->log, to), 0);
		cr_assert_leq(sl_log_end(f->log), SL_MAX(to, start));
		fixture_model_cut(f, sl_log_start(f->log), to);
		cr_assert(f->batches_count == 0 ||
		          f->batches[f->batches_count - 1].last_offset + 1 == sl_log_end(f->log));
	} else if (what < 7 && end > start) {
		int64_t to = start + rnd((uint32_t)(end - start) + 1);

		cr_assert_eq(sl_log_advance_start(f->log, to), 0);
		cr_assert_eq(sl_log_start(f->log), SL_MAX(start, to));
	} else if (what < 12) {
		bool is_clean = rnd(2);

		if (is_clean)
			fixture_close(f, true);
		else
			fixture_kill(f);
		fixture_must_open(f, is_clean);
		cr_assert_eq(f->report.cut_bytes, 0, "%s", f->report.reason);
		cr_assert_eq(sl_log_start(f->log), start);
		cr_assert_eq(sl_log_end(f->log), end);
	} else if (what < 20) {
		cr_assert_eq(fixture_sync(f), 0);
		cr_assert_eq(sl_log_flushed(f->log), end);
	} else if (what < 25) {
		f->leader_epoch++;
	} else if (what < 28) {
		f->now_ms += 30000;
		cr_assert_geq(sl_log_tick(f->log, f->now_ms, end), 0);
	} else {
		fixture_must_append(f, 1 + (int32_t)rnd(8), rnd(300), (int64_t)rnd(100000));
	}
}

Test(log, random_operations_agree_with_a_model)
{
	for (uint64_t seed = 1; seed <= 30; seed++) {
		rng_state = seed;
		for (int i = 0; i < 300; i++) {
			random_change();
			random_reads(sl_log_end(f->log));
		}
		fixture_model_cut(f, sl_log_start(f->log), INT64_MAX);
		fixture_check(f, 1 + rnd(5000));
		teardown();
		setup();
	}
}
