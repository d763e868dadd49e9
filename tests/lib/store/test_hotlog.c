/* SPDX-License-Identifier: Apache-2.0 */
/* A log whose newest bytes lie in the hot tier: what is read, written, recycled and recovered. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "fixture.h"
#include "hot_impl.h"
#include "log_impl.h"

#define TIER_BYTES SL_HOT_BYTES_MIN

static struct fixture *f;

static void open_log(uint64_t tier_bytes, int64_t segment_bytes)
{
	fixture_init_hot(f, tier_bytes);
	f->opts.config.segment_bytes = segment_bytes;
	fixture_must_open(f, false);
}

static void setup(void)
{
	f = malloc(sizeof(*f));
	open_log(TIER_BYTES, 200000);
}

static void teardown(void)
{
	fixture_fini(f);
	free(f);
}

TestSuite(hotlog, .init = setup, .fini = teardown);

/* simfs has full paths without the leading slash. */
#define LOCK_PATH "logs/.lock"

static void sync_dir(void)
{
	int fd = sl_log_dir_sync_open(&f->files, f->dirfd);

	cr_assert_geq(fd, 0);
	cr_assert_eq(sl_log_dir_sync_fs(&f->files, fd), 0);
	cr_assert_eq(f->files.ops->close(f->files.ctx, fd), 0);
}

/* One write-out without a sync. */
static bool write_plain(void)
{
	struct sl_log_sync sync;

	if (sl_log_sync_begin(f->log, &sync, false) <= 0)
		return false;
	cr_assert(!sync.is_durable && sync.fds_count == 0);
	sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
	return true;
}

/* One write-out, begun and ended. */
static bool write_one(void)
{
	struct sl_log_sync sync;

	if (sl_log_sync_begin(f->log, &sync, true) <= 0)
		return false;
	sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
	return true;
}

/* The file as the model says, then a batch header of zeros at least. */
static void check_file(void)
{
	size_t len = 0;
	uint8_t *data = simfs_data(f->fs, fixture_path(0, ".log"), &len);
	size_t pos = 0;

	for (uint32_t i = 0; i < f->batches_count; i++) {
		cr_assert_leq(pos + f->batches[i].len, len);
		cr_assert_eq(memcmp(data + pos, f->batches[i].bytes, f->batches[i].len), 0);
		pos += f->batches[i].len;
	}
	cr_assert_geq(len, pos + SL_BATCH_HEADER_BYTES);
	for (size_t i = pos; i < pos + SL_BATCH_HEADER_BYTES; i++)
		cr_assert_eq(data[i], 0);
}

Test(hotlog, serves_what_no_file_has_yet)
{
	size_t len = 0;

	fixture_append_many(f, 40, 300);
	cr_assert_eq(sl_log_unwritten(f->log), sl_log_bytes(f->log));
	cr_assert_eq(sl_log_flushed(f->log), 0);
	simfs_data(f->fs, fixture_path(0, ".log"), &len);
	cr_assert_eq(len, 0);
	fixture_check(f, 1);
	fixture_check(f, 5000);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_eq(sl_log_unwritten(f->log), 0);
	cr_assert_eq(sl_log_flushed(f->log), sl_log_end(f->log));
	fixture_check(f, 5000);
	check_file();
}

Test(hotlog, every_length_ends_in_zeros)
{
	f->opts.config.segment_bytes = 1 << 30;
	sl_log_set_config(f->log, &f->opts.config);
	for (uint32_t i = 0; i < 600; i++) {
		fixture_must_append(f, 1, (i * 37) % 1024, 1000);
		if (i % 3 == 0) {
			cr_assert_eq(fixture_sync(f), 0);
			check_file();
		}
	}
	/* Whatever the blocks had in them before. */
	for (uint32_t i = 0; i < 300; i++) {
		size_t len = 0;
		uint8_t *data = simfs_data(f->fs, fixture_path(0, ".log"), &len);
		size_t used = (size_t)sl_log_bytes(f->log);

		memset(data + used, 0xff, len - used);
		fixture_must_append(f, 1, 60 + i, 1000);
		cr_assert_eq(fixture_sync(f), 0);
		check_file();
	}
}

Test(hotlog, goes_on_in_memory_that_it_gave_away)
{
	struct sl_hot_usage usage;

	/* Several times the tier: clean chunks are recycled, the file has their bytes. */
	f->opts.config.segment_bytes = 4 << 20;
	sl_log_set_config(f->log, &f->opts.config);
	for (int i = 0; i < 700; i++) {
		fixture_must_append(f, 1, 60000 + (uint32_t)(i * 17), 1000 + i);
		if (i % 5 == 4)
			cr_assert_eq(fixture_sync(f), 0);
	}
	sl_hot_usage(f->opts.hot, &usage);
	cr_assert_gt(usage.recycled_count, 0);
	fixture_check(f, 100000);
	fixture_check(f, 1 << 20);
}

/* How many chunks the pool believes to be filled; the log knows its own. */
static uint32_t tails(void)
{
	cr_assert_eq(f->opts.hot->tails, f->log && f->log->tail_chunk ? 1 : 0);
	return f->opts.hot->tails;
}

static void roll(void)
{
	const uint32_t before = sl_log_segments(f->log);

	f->now_ms += f->opts.config.segment_ms;
	cr_assert_geq(sl_log_tick(f->log, f->now_ms, 0), 0);
	cr_assert_eq(sl_log_segments(f->log), before + 1);
}

Test(hotlog, chunks_are_no_larger_than_the_share_of_a_tail)
{
	f->opts.config.segment_bytes = 8 << 20;
	sl_log_set_config(f->log, &f->opts.config);
	/* With 64 others that fill one: half of 16 MiB for 65. */
	sl_hot_count_tail(f->opts.hot, 64);
	for (int i = 0; i < 40; i++) {
		fixture_append_many(f, 10, 1000);
		cr_assert_eq(fixture_sync(f), 0);
		cr_assert_leq(f->log->tail_chunk->bytes, 64u << 10);
	}
	cr_expect_eq(f->log->tail_chunk->bytes, 64u << 10);
	/* A batch that needs more gets it. */
	fixture_must_append(f, 1, 300000, 1000);
	cr_expect_eq(f->log->tail_chunk->bytes, 512u << 10);
	/* And alone they double. */
	sl_hot_count_tail(f->opts.hot, -64);
	for (int i = 0; i < 200; i++) {
		fixture_append_many(f, 10, 1000);
		cr_assert_eq(fixture_sync(f), 0);
	}
	cr_expect_geq(f->log->tail_chunk->bytes, 2u << 20);
	cr_expect_eq(tails(), 1);
	fixture_check(f, 1 << 20);
}

Test(hotlog, tails_are_counted_wherever_a_log_loses_one)
{
	const struct sl_hot_key key = {.partition = 9};
	struct sl_log_sync sync;
	void *at;

	cr_assert_eq(tails(), 0);
	/* The next chunk, the next segment. */
	fixture_append_many(f, 300, 1000);
	cr_assert_gt(sl_log_segments(f->log), 1u);
	cr_expect_eq(tails(), 1);
	roll();
	cr_expect_eq(tails(), 0);
	/* Taken for records that never came, replaced by a larger one, and left by a roll. */
	cr_assert_eq(sl_log_reserve(f->log, 1000, &at), 0);
	sl_log_unreserve(f->log);
	cr_assert_eq(sl_log_reserve(f->log, 150000, &at), 0);
	cr_expect_eq(tails(), 1);
	fixture_append_many(f, 1, 100);
	roll();
	sl_log_unreserve(f->log);
	cr_expect_eq(tails(), 0);
	fixture_append_many(f, 20, 1000);
	cr_expect_eq(tails(), 1);
	cr_assert_eq(sl_log_truncate(f->log, sl_log_end(f->log) - 5), 0);
	fixture_model_cut(f, 0, sl_log_end(f->log));
	cr_expect_eq(tails(), 0);
	fixture_append_many(f, 20, 1000);
	cr_assert_eq(fixture_sync(f), 0);
	cr_expect_eq(tails(), 1);
	/* Somebody else takes all there is: it is forgotten. */
	while (sl_hot_get(f->opts.hot, &key, NULL, 0, SL_HOT_CHUNK_BYTES_MIN, 0))
		;
	cr_expect_eq(tails(), 0);
	fixture_check(f, 5000);

	fixture_fini(f);
	open_log(TIER_BYTES, 200000);
	/* Everything goes, with a write under way in it. */
	fixture_append_many(f, 20, 1000);
	cr_assert_eq(sl_log_sync_begin(f->log, &sync, true), 1);
	cr_assert_eq(sl_log_sync_run(&f->files, &sync), 0);
	sl_log_sync_end(f->log, &sync, 0);
	cr_assert_eq(sl_log_truncate(f->log, 0), 0);
	fixture_model_cut(f, 0, 0);
	cr_expect_eq(tails(), 0);
	fixture_append_many(f, 20, 1000);
	cr_assert_eq(tails(), 1);
	cr_assert_eq(fixture_sync(f), 0);
	sl_log_cool(f->log);
	cr_expect_eq(f->opts.hot->tails, 0u);
	/* Without a tier there is nothing to count. */
	fixture_append_many(f, 300, 1000);
	cr_assert_eq(fixture_sync(f), 0);
	roll();
	cr_expect_eq(f->opts.hot->tails, 0u);
	fixture_close(f, true);
	fixture_must_open(f, true);
	fixture_append_many(f, 1, 100);
	cr_expect_eq(tails(), 1);
	fixture_close(f, true);
	cr_expect_eq(f->opts.hot->tails, 0u);
	fixture_must_open(f, true);
	fixture_append_many(f, 300, 1000);
	cr_expect_eq(tails(), 1);
	fixture_kill(f);
}

/* Writes that nobody waits for: no sync with each, but one in the end. */
Test(hotlog, plain_writes_are_durable_with_the_next_sync)
{
	struct sl_log_sync sync;
	struct sl_hot_usage usage;

	fixture_append_many(f, 20, 300);
	cr_assert_eq(sl_log_sync_begin(f->log, &sync, false), 1);
	cr_assert(sync.iov_count > 0 && !sync.is_durable && sync.fds_count == 0);
	sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
	cr_assert_eq(sl_log_unwritten(f->log), 0);
	cr_assert_eq(sl_log_flushed(f->log), 0);
	cr_assert_eq(sl_log_sync_begin(f->log, &sync, false), 0);
	/* With more behind it: the same sync covers both. */
	fixture_append_many(f, 3, 300);
	cr_assert_eq(sl_log_sync_begin(f->log, &sync, true), 1);
	cr_assert(sync.iov_count > 0 && sync.fds_count > 0);
	sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
	cr_assert_eq(sl_log_flushed(f->log), sl_log_end(f->log));
	/* And with nothing behind it. */
	fixture_append_many(f, 3, 300);
	cr_assert_eq(sl_log_sync_begin(f->log, &sync, false), 1);
	sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
	cr_assert_eq(sl_log_sync_begin(f->log, &sync, true), 1);
	cr_assert(sync.iov_count == 0 && sync.fds_count > 0);
	sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
	cr_assert_eq(sl_log_flushed(f->log), sl_log_end(f->log));
	sl_hot_usage(f->opts.hot, &usage);
	cr_assert_eq(usage.dirty, 0);
	check_file();
}

/* One write-out of @chunks chunks. */
static void write_chunks(uint32_t chunks, bool is_durable)
{
	struct sl_log_sync sync;
	size_t bytes = 0;

	cr_assert_eq(sl_log_sync_begin(f->log, &sync, is_durable), 1);
	cr_expect_eq(sync.is_durable, is_durable);
	cr_expect_eq(sync.iov_count, chunks + 1, "%u", sync.iov_count);
	for (uint32_t i = 0; i < sync.iov_count; i++) {
		cr_expect_eq(sync.iov[i].iov_len % SL_HOT_BLOCK, 0);
		bytes += sync.iov[i].iov_len;
	}
	cr_expect_eq(bytes, sync.write_bytes);
	sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
}

/* What a log has in several chunks is one write all the same. */
Test(hotlog, chunks_that_follow_each_other_are_written_together)
{
	struct sl_hot_usage usage;
	void *at;

	f->opts.config.segment_bytes = 8 << 20;
	sl_log_set_config(f->log, &f->opts.config);
	/* With so many others none is larger than 32 KiB, of which 24 are for data. */
	sl_hot_count_tail(f->opts.hot, 300);
	for (int i = 0; i < 8; i++) {
		fixture_append_many(f, 1, 20000 + (uint32_t)i);
		cr_assert_eq(sl_log_unwritten(f->log), sl_log_bytes(f->log));
	}
	write_chunks(SL_LOG_WRITE_CHUNKS, false);
	cr_expect_gt(sl_log_unwritten(f->log), 0);
	write_chunks(1, false);
	cr_expect_eq(sl_log_unwritten(f->log), 0);
	check_file();
	cr_assert_eq(fixture_sync(f), 0);
	/* The last one has nothing yet: it is for records that are still received. */
	for (int i = 0; i < 3; i++)
		fixture_append_many(f, 1, 20000);
	cr_assert_eq(sl_log_reserve(f->log, 20000, &at), 0);
	write_chunks(3, true);
	cr_expect_eq(sl_log_flushed(f->log), sl_log_end(f->log));
	sl_log_unreserve(f->log);
	sl_hot_count_tail(f->opts.hot, -300);
	check_file();
	fixture_check(f, 1 << 20);
	sl_hot_usage(f->opts.hot, &usage);
	cr_expect_eq(usage.dirty, SL_HOT_CHUNK_BYTES_MIN, "the last one only");
}

Test(hotlog, one_write_takes_four_mebibytes_at_most)
{
	size_t most = 0;

	fixture_fini(f);
	open_log(64 << 20, 1 << 30);
	for (int i = 0; i < 30; i++)
		fixture_must_append(f, 1, 500000, 1000);
	while (sl_log_unwritten(f->log) > 0) {
		struct sl_log_sync sync;

		cr_assert_eq(sl_log_sync_begin(f->log, &sync, true), 1);
		cr_expect_leq(sync.write_bytes, (4u << 20) + 2 * SL_HOT_BLOCK);
		most = SL_MAX(most, sync.write_bytes);
		sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
	}
	cr_expect_gt(most, 3u << 20);
	fixture_check(f, 1 << 20);
}

Test(hotlog, plain_writes_are_synced_before_they_are_too_many)
{
	uint64_t bytes = 0;

	fixture_fini(f);
	open_log(128 << 20, 1 << 30);
	while (sl_log_flushed(f->log) == 0 && bytes < 80 << 20) {
		struct sl_log_sync sync;

		fixture_must_append(f, 1, 500000, 1000);
		while (sl_log_sync_begin(f->log, &sync, false) > 0)
			sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
		bytes = sl_log_bytes(f->log);
	}
	cr_assert(bytes > 50 << 20 && bytes < 70 << 20, "%llu bytes", (unsigned long long)bytes);
	fixture_check(f, 1 << 20);
}

Test(hotlog, asks_for_a_write_out_when_the_tier_is_full)
{
	struct fixture_spec spec = {.records = 1, .value_bytes = 200000, .timestamp = 5};
	struct sl_log_append io;
	int err = 0;

	f->opts.config.segment_bytes = 64 << 20;
	sl_log_set_config(f->log, &f->opts.config);
	for (int i = 0; i < 200 && !err; i++)
		err = fixture_append(f, &spec, &io);
	cr_assert_eq(err, -EAGAIN);
	cr_assert_eq(sl_log_error(f->log), 0);
	fixture_check(f, 1 << 20);
	cr_assert(write_one());
	cr_assert_eq(fixture_append(f, &spec, &io), 0);
	fixture_check(f, 1 << 20);
}

Test(hotlog, takes_a_batch_that_was_received_in_place)
{
	uint8_t buf[4096];
	struct fixture_spec spec = {.records = 3, .value_bytes = 500, .timestamp = 5};
	size_t len = fixture_build(&spec, buf, sizeof(buf));
	struct sl_log_append io = {.leader_epoch = 0, .now_ms = f->now_ms};
	void *at = NULL;
	void *other = NULL;

	fixture_must_append(f, 2, 100, 1);
	cr_assert_eq(sl_log_reserve(f->log, len, &at), 0);
	cr_assert_eq(sl_log_reserve(f->log, len, &other), -EBUSY);
	memcpy(at, buf, len);
	cr_assert_eq(sl_log_append(f->log, at, len, &io), 0);
	cr_assert_eq(io.base_offset, 2);
	/* The reservation is used up. */
	cr_assert_eq(sl_log_reserve(f->log, len, &at), 0);
	sl_log_unreserve(f->log);
	sl_log_unreserve(f->log);
	cr_assert_eq(sl_log_reserve(f->log, (size_t)f->opts.config.segment_bytes + 1, &at), -EFBIG);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_eq(sl_log_flushed(f->log), 5);
}

Test(hotlog, reserved_memory_outlives_a_roll)
{
	uint8_t buf[4096];
	struct fixture_spec spec = {.records = 3, .value_bytes = 500, .timestamp = 5};
	size_t len = fixture_build(&spec, buf, sizeof(buf));
	struct sl_log_append io = {.leader_epoch = 0, .now_ms = f->now_ms};
	struct sl_log_range range;
	uint8_t got[4096];
	void *at = NULL;

	fixture_must_append(f, 2, 100, 1);
	cr_assert_eq(sl_log_reserve(f->log, len, &at), 0);
	memcpy(at, buf, len);
	f->now_ms += f->opts.config.segment_ms;
	cr_assert_geq(sl_log_tick(f->log, f->now_ms, 0), 0);
	cr_assert_eq(sl_log_segments(f->log), 2);
	io.now_ms = f->now_ms;
	cr_assert_eq(sl_log_append(f->log, at, len, &io), 0);
	cr_assert_eq(sl_log_read(f->log, 2, 5, 4096, true, &range), 0);
	cr_assert_eq(sl_log_range_copy(f->log, &range, got, sizeof(got)), (ssize_t)len);
	cr_assert_eq(memcmp(got + SL_BATCH_POS_ATTRIBUTES, buf + SL_BATCH_POS_ATTRIBUTES,
	                    len - SL_BATCH_POS_ATTRIBUTES),
	             0);
	sl_log_range_put(f->log, &range);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_eq(sl_log_flushed(f->log), 5);
}

Test(hotlog, memory_for_records_that_never_came_goes_back)
{
	struct sl_hot_usage usage;
	void *at;

	f->opts.config.segment_bytes = 8 << 20;
	sl_log_set_config(f->log, &f->opts.config);
	/* Replaced by a larger one. */
	cr_assert_eq(sl_log_reserve(f->log, 10000, &at), 0);
	sl_log_unreserve(f->log);
	cr_assert_eq(sl_log_reserve(f->log, 1 << 20, &at), 0);
	sl_hot_usage(f->opts.hot, &usage);
	cr_assert_eq(usage.dirty, 2 << 20);
	sl_log_unreserve(f->log);
	fixture_must_append(f, 1, 100, 1);
	/* Reserved while the segment rolls. */
	cr_assert_eq(sl_log_reserve(f->log, 3 << 20, &at), 0);
	f->now_ms += f->opts.config.segment_ms;
	cr_assert_geq(sl_log_tick(f->log, f->now_ms, 0), 0);
	sl_log_unreserve(f->log);
	cr_assert_eq(fixture_sync(f), 0);
	sl_hot_usage(f->opts.hot, &usage);
	cr_assert_eq(usage.dirty, 0);
	fixture_check(f, 1000);
	fixture_must_append(f, 1, 100, 1);
	fixture_check(f, 1000);
}

Test(hotlog, an_older_append_is_written_while_a_newer_one_comes)
{
	struct sl_log_sync sync;

	fixture_append_many(f, 10, 300);
	cr_assert_eq(sl_log_sync_begin(f->log, &sync, true), 1);
	cr_assert_eq(sl_log_sync_begin(f->log, &(struct sl_log_sync){0}, true), 0);
	fixture_append_many(f, 10, 300);
	cr_assert_eq(sl_log_sync_run(&f->files, &sync), 0);
	sl_log_sync_end(f->log, &sync, 0);
	cr_assert(sl_log_flushed(f->log) > 0 && sl_log_flushed(f->log) < sl_log_end(f->log));
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_eq(sl_log_flushed(f->log), sl_log_end(f->log));
	check_file();
}

Test(hotlog, a_failed_write_is_final_and_reads_go_on)
{
	fixture_append_many(f, 10, 300);
	simfs_fail(f->fs, SIMFS_PWRITE, 1, -EIO, 100, false);
	cr_assert_eq(fixture_sync(f), -EIO);
	cr_assert_eq(sl_log_error(f->log), -EIO);
	cr_assert_eq(sl_log_flushed(f->log), 0);
	fixture_check(f, 5000);
}

Test(hotlog, goes_on_where_only_direct_writes_are_refused)
{
	fixture_append_many(f, 10, 300);
	simfs_fail(f->fs, SIMFS_PWRITE, 1, -EINVAL, 0, false);
	cr_assert(write_one());
	cr_assert_eq(sl_log_error(f->log), 0);
	cr_assert_eq(sl_log_flushed(f->log), 0);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_eq(sl_log_flushed(f->log), sl_log_end(f->log));
	check_file();
	/* The second refusal has another reason. */
	fixture_append_many(f, 10, 300);
	simfs_fail(f->fs, SIMFS_PWRITE, 1, -EINVAL, 0, false);
	cr_assert_eq(fixture_sync(f), -EINVAL);
	cr_assert_eq(sl_log_error(f->log), -EINVAL);
}

Test(hotlog, a_full_disk_fails_the_write_out)
{
	simfs_set_space(f->fs, 3 * SL_HOT_BLOCK);
	fixture_append_many(f, 100, 300);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_eq(sl_log_error(f->log), -ENOSPC);
	cr_assert_lt(sl_log_flushed(f->log), sl_log_end(f->log));
	fixture_check(f, 5000);
	simfs_set_space(f->fs, UINT64_MAX);
}

Test(hotlog, retention_takes_segments_that_are_not_written)
{
	struct sl_log_sync sync;

	f->opts.config.retention_bytes = 300000;
	sl_log_set_config(f->log, &f->opts.config);
	fixture_append_many(f, 300, 1000);
	cr_assert_gt(sl_log_segments(f->log), 2);
	/* With a write under way in the one that goes, of several of its chunks. */
	cr_assert_eq(sl_log_sync_begin(f->log, &sync, true), 1);
	cr_assert_gt(sync.iov_count, 3);
	while (sl_log_bytes(f->log) > 500000)
		cr_assert_gt(sl_log_tick(f->log, f->now_ms, sl_log_end(f->log)), 0);
	cr_assert_eq(sl_log_sync_run(&f->files, &sync), 0);
	sl_log_sync_end(f->log, &sync, 0);
	fixture_model_cut(f, sl_log_start(f->log), INT64_MAX);
	fixture_check(f, 5000);
	cr_assert_eq(fixture_sync(f), 0);
	fixture_check(f, 5000);
}

Test(hotlog, truncates_in_memory_and_on_disk)
{
	for (int64_t cut = 1; cut < 60; cut += 7) {
		fixture_append_many(f, 60, 500);
		if (cut % 2)
			cr_assert_eq(fixture_sync(f), 0);
		fixture_append_many(f, 10, 500);
		cut += sl_log_end(f->log) / 2;
		cr_assert_eq(sl_log_truncate(f->log, cut), 0);
		fixture_model_cut(f, 0, cut);
		fixture_check(f, 700);
		cut -= sl_log_end(f->log) / 2;
		fixture_must_append(f, 2, 100, 9);
		fixture_check(f, 700);
	}
}

Test(hotlog, goes_through_the_page_cache_when_cooled)
{
	fixture_append_many(f, 50, 300);
	cr_assert_eq(fixture_sync(f), 0);
	sl_log_cool(f->log);
	fixture_check(f, 5000);
	fixture_append_many(f, 50, 300);
	fixture_check(f, 5000);
	cr_assert_eq(fixture_sync(f), 0);
	fixture_check(f, 5000);
}

Test(hotlog, a_clean_close_leaves_no_zeros)
{
	size_t len = 0;

	fixture_append_many(f, 50, 300);
	fixture_close(f, true);
	simfs_data(f->fs, fixture_path(0, ".log"), &len);
	fixture_must_open(f, true);
	cr_assert_eq(len, sl_log_bytes(f->log));
	cr_assert_eq(f->report.scanned_bytes, 0);
	fixture_check(f, 5000);
	fixture_append_many(f, 50, 300);
	cr_assert_eq(fixture_sync(f), 0);
	fixture_check(f, 5000);
}

/* The tier outlives the process: what was accepted and not written is written by the replay. */
Test(hotlog, a_kill_loses_nothing_that_was_accepted)
{
	for (uint64_t seed = 1; seed <= 30; seed++) {
		struct sl_hot_replay report;
		struct sl_log_dir *dir;
		uint64_t unwritten;
		bool was_clean;
		size_t len = 0;
		uint8_t *data;

		for (uint64_t i = 0; i < 50 + seed; i++) {
			fixture_must_append(f, 1, 200 + 40 * (uint32_t)seed, 1000);
			if ((i * seed) % 13 == 0)
				cr_assert(write_one());
		}
		unwritten = sl_log_unwritten(f->log);
		/* Blocks that another log had before: its batches are no continuation. */
		data = simfs_data(f->fs, fixture_path(0, ".log"), &len);
		for (size_t i = (size_t)(sl_log_bytes(f->log) - unwritten) + SL_BATCH_HEADER_BYTES;
		     i + f->batches[0].len <= len; i += f->batches[0].len)
			memcpy(data + i, f->batches[f->batches_count - 1].bytes,
			       f->batches[f->batches_count - 1].len);
		fixture_kill(f);
		cr_assert_eq(sl_log_dir_open(&dir, "logs", f->files, &was_clean), 0);
		cr_assert_eq(sl_hot_replay(f->killed_fd, &dir, 1, 1, &report), 0);
		cr_assert_eq(report.bytes, unwritten);
		cr_assert_eq(report.orphans, 0);
		cr_assert_eq(sl_log_dir_close(dir, false), 0);
		fixture_must_open(f, false);
		cr_assert_eq(sl_log_end(f->log), f->batches[f->batches_count - 1].last_offset + 1);
		fixture_check(f, 5000);
		teardown();
		setup();
	}
}

Test(hotlog, a_sync_of_the_dir_covers_what_was_marked)
{
	int64_t marked;

	simfs_set_data(f->fs, LOCK_PATH, "", 0);
	fixture_append_many(f, 20, 1000);
	while (write_plain())
		;
	cr_assert_eq(sl_log_flushed(f->log), 0);
	cr_assert_gt(sl_log_unsynced(f->log), 0);
	sl_log_mark(f->log);
	marked = sl_log_end(f->log);
	fixture_append_many(f, 5, 1000);
	sync_dir();
	/* Ended behind the begin of the sync, which says nothing about it. */
	while (write_plain())
		;
	sl_log_mark_end(f->log, 0);
	cr_expect_eq(sl_log_flushed(f->log), marked);
	cr_expect_gt(sl_log_unsynced(f->log), 0);
	/* A mark is good for one sync. */
	sl_log_mark_end(f->log, 0);
	cr_expect_eq(sl_log_flushed(f->log), marked);
	sl_log_mark(f->log);
	sync_dir();
	sl_log_mark_end(f->log, 0);
	cr_expect_eq(sl_log_flushed(f->log), sl_log_end(f->log));
	cr_expect_eq(sl_log_unsynced(f->log), 0);
	fixture_check(f, 5000);
}

Test(hotlog, a_sync_of_the_dir_covers_sealed_segments)
{
	simfs_set_data(f->fs, LOCK_PATH, "", 0);
	f->opts.config.segment_bytes = 5000;
	sl_log_set_config(f->log, &f->opts.config);
	fixture_append_many(f, 8, 1000);
	while (write_plain())
		;
	sl_log_mark(f->log);
	sync_dir();
	sl_log_mark_end(f->log, 0);
	cr_expect_gt(sl_log_segments(f->log), 3u);
	cr_expect_eq(sl_log_flushed(f->log), sl_log_end(f->log));
	cr_expect_eq(sl_log_unsynced(f->log), 0);
	fixture_kill(f);
	simfs_power_cut(f->fs, 7);
	fixture_must_open(f, false);
	cr_expect_eq(sl_log_end(f->log), f->batches[f->batches_count - 1].last_offset + 1);
	fixture_check(f, 5000);
}

Test(hotlog, a_failed_sync_of_the_dir_fails_what_was_marked)
{
	fixture_append_many(f, 20, 1000);
	while (write_plain())
		;
	/* Nothing of it is the log's without a mark. */
	sl_log_mark_end(f->log, -EIO);
	cr_assert_eq(sl_log_error(f->log), 0);
	sl_log_mark(f->log);
	sl_log_mark_end(f->log, -EIO);
	cr_expect_eq(sl_log_error(f->log), -EIO);
	cr_expect_eq(sl_log_flushed(f->log), 0);
	cr_expect_eq(f->log->recovery_point, 0);
}

Test(hotlog, a_truncation_takes_the_mark_away)
{
	simfs_set_data(f->fs, LOCK_PATH, "", 0);
	fixture_append_many(f, 20, 1000);
	while (write_plain())
		;
	sl_log_mark(f->log);
	cr_assert_eq(sl_log_truncate(f->log, 12), 0);
	fixture_model_cut(f, 0, 12);
	fixture_append_many(f, 15, 1000);
	while (write_plain())
		;
	sl_log_mark_end(f->log, 0);
	cr_expect_eq(sl_log_flushed(f->log), 12);
}

/* What was flushed is there after any power cut, with write-outs torn at any place. */
Test(hotlog, power_cuts_keep_what_was_flushed)
{
	struct sl_log_point *point;

	cr_assert_eq(sl_log_point_create(&point), 0);
	for (uint64_t seed = 1; seed <= 300; seed++) {
		struct sl_log_sync sync;
		int64_t flushed;
		int64_t end;
		/* Many small segments, or few of several chunks each. */
		const uint32_t scale = seed % 4 ? 1 : 8;

		simfs_set_data(f->fs, LOCK_PATH, "", 0);
		f->opts.config.segment_bytes = 20000 * (int32_t)scale * (int32_t)scale;
		sl_log_set_config(f->log, &f->opts.config);
		for (uint64_t i = 0; i < 60 + seed % 50; i++) {
			f->leader_epoch = (int32_t)(i / 10);
			fixture_must_append(f, 1 + (int32_t)(i % 3),
			                    90 * (uint32_t)(seed % 12) * scale, 1000 + (int64_t)i);
			if ((i * seed) % 11 == 0)
				cr_assert_eq(fixture_sync(f), 0);
			if ((i * seed) % 7 == 3 && sl_log_sync_begin(f->log, &sync, false) > 0)
				sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
			if ((i * seed) % 13 == 5)
				(void)write_one();
			/* Now and then a write-out comes between the mark and the word of the sync.
			 */
			if ((i * seed) % 19 == 6)
				sl_log_mark(f->log);
			if ((i * seed) % 19 == 7) {
				sync_dir();
				if (seed % 3 == 0)
					(void)write_one();
				sl_log_mark_end(f->log, 0);
			}
			/* Now and then rolls and syncs come before the log knows of it. */
			if ((i * seed) % 17 == 0 && !f->log->point &&
			    sl_log_point_begin(f->log, point) > 0)
				sl_log_point_run(point);
			if ((i * seed) % 17 == seed % 5)
				sl_log_point_end(point);
		}
		sl_log_point_end(point);
		flushed = sl_log_flushed(f->log);
		if (seed % 2 && sl_log_sync_begin(f->log, &sync, true)) {
			/* The cut comes in the middle of this write. */
			simfs_fail(f->fs, SIMFS_PWRITE, 1 + (unsigned int)(seed % 2), -EIO,
			           seed * 97 % 6000, true);
			sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
		}
		fixture_kill(f);
		simfs_power_cut(f->fs, seed);
		fixture_must_open(f, false);
		end = sl_log_end(f->log);
		cr_assert_geq(end, flushed, "seed %d: %d < %d", (int)seed, (int)end, (int)flushed);
		fixture_model_cut(f, 0, end);
		fixture_check(f, 600);
		fixture_must_append(f, 1, 10, 1);
		cr_assert_eq(fixture_sync(f), 0);
		end = sl_log_flushed(f->log);
		fixture_kill(f);
		simfs_power_cut(f->fs, seed + 1000);
		fixture_must_open(f, false);
		cr_assert_geq(sl_log_end(f->log), end);
		fixture_check(f, 600);
		teardown();
		setup();
	}
	sl_log_point_destroy(point);
}

/* What another log left in the blocks looks like a continuation, and is none. */
Test(hotlog, stale_batches_in_the_file_are_not_taken_over)
{
	for (uint32_t bytes = 3000; bytes < 3900; bytes += 61) {
		size_t len = 0;
		uint8_t *data;

		f->opts.config.segment_bytes = 1 << 20;
		sl_log_set_config(f->log, &f->opts.config);
		for (int i = 0; i < 20; i++)
			fixture_must_append(f, 1, bytes, 1000);
		cr_assert_eq(fixture_sync(f), 0);
		/* The same workload again, over the end of this one's first half. */
		data = simfs_data(f->fs, fixture_path(0, ".log"), &len);
		uint8_t *old = malloc(len);

		memcpy(old, data, len);
		teardown();
		setup();
		fixture_must_append(f, 1, bytes, 1000);
		cr_assert_eq(fixture_sync(f), 0);
		data = simfs_data(f->fs, fixture_path(0, ".log"), &len);
		memcpy(data + f->batches[0].len, old + f->batches[0].len, len - f->batches[0].len);
		for (int i = 1; i < 7; i++)
			fixture_must_append(f, 1, bytes, 1000);
		cr_assert_eq(fixture_sync(f), 0);
		free(old);
		fixture_kill(f);
		fixture_must_open(f, false);
		cr_assert_eq(sl_log_end(f->log), 7);
		fixture_check(f, 5000);
		teardown();
		setup();
	}
}
