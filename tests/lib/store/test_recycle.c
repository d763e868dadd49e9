/* SPDX-License-Identifier: Apache-2.0 */
/* Files of deleted segments come back as new segments, and nothing of their past with them. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#include "fixture.h"
#include "log_impl.h"

static struct fixture *f;
static struct sl_log_dir *dir;

static void open_recycler(uint64_t bytes_max)
{
	bool was_clean;
	const struct sl_recycler_opts opts = {.lanes_count = 2, .bytes_max = bytes_max};

	cr_assert_eq(sl_log_dir_open(&dir, "logs", f->files, &was_clean), 0);
	cr_assert_eq(sl_recycler_open(&f->opts.recycler, dir, &opts), 0);
}

static void close_recycler(void)
{
	sl_recycler_close(f->opts.recycler);
	f->opts.recycler = NULL;
	cr_assert_eq(sl_log_dir_close(dir, false), 0);
}

static void setup(void)
{
	f = malloc(sizeof(*f));
	fixture_init_hot(f, SL_HOT_BYTES_MIN);
	f->opts.config.segment_bytes = 2 << 20;
	f->opts.config.retention_bytes = 3 << 20;
	f->opts.config.file_delete_delay_ms = 0;
}

static void teardown(void)
{
	fixture_fini(f);
	free(f);
}

TestSuite(recycle, .init = setup, .fini = teardown);

static void close_log(void)
{
	cr_assert_eq(fixture_sync(f), 0);
	sl_log_cool(f->log);
	cr_assert_eq(sl_log_close(f->log, true), 0);
	f->log = NULL;
}

/* The same workload as a benchmark's: every batch of one size, offsets that fit anywhere. */
static void run_through(int batches)
{
	for (int i = 0; i < batches; i++) {
		fixture_must_append(f, 1, 100000, 1000);
		cr_assert_eq(fixture_sync(f), 0);
		if (i % 10 == 9) {
			cr_assert_geq(sl_log_tick(f->log, ++f->now_ms, sl_log_end(f->log)), 0);
			fixture_model_cut(f, sl_log_start(f->log), INT64_MAX);
		}
	}
}

Test(recycle, segments_get_files_that_were_written_before)
{
	open_recycler(64 << 20);
	fixture_must_open(f, false);
	run_through(200);
	cr_assert_gt(sl_recycler_bytes(f->opts.recycler), 0);
	fixture_check(f, 1 << 20);
	/* What a new segment begins with is as large as one that was full. */
	cr_assert_gt(f->log->active->allocated, (uint64_t)1 << 20);
	close_log();
	close_recycler();
}

Test(recycle, a_crash_finds_nothing_of_the_last_life)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		int64_t flushed;

		open_recycler(64 << 20);
		fixture_must_open(f, false);
		run_through(100 + (int)seed);
		if (seed % 3 == 0)
			fixture_must_append(f, 1, 100000, 1000);
		flushed = sl_log_flushed(f->log);
		close_recycler();
		fixture_kill(f);
		if (seed % 2)
			simfs_power_cut(f->fs, seed);
		fixture_must_open(f, false);
		cr_assert_geq(sl_log_end(f->log), flushed);
		cr_assert_leq(sl_log_end(f->log), f->batches[f->batches_count - 1].last_offset + 1);
		fixture_model_cut(f, sl_log_start(f->log), sl_log_end(f->log));
		fixture_check(f, 1 << 20);
		teardown();
		setup();
	}
}

Test(recycle, keeps_no_more_than_it_may)
{
	open_recycler(5 << 20);
	fixture_must_open(f, false);
	for (int i = 0; i < 30; i++) {
		run_through(10);
		cr_assert_leq(sl_recycler_bytes(f->opts.recycler), 5 << 20);
	}
	close_log();
	close_recycler();
	/* A smaller allowance removes what is too much. */
	open_recycler(0);
	cr_assert_eq(sl_recycler_bytes(f->opts.recycler), 0);
	close_recycler();
	open_recycler(5 << 20);
	cr_assert_eq(sl_recycler_bytes(f->opts.recycler), 0);
	close_recycler();
}

Test(recycle, the_next_life_finds_the_kept_files)
{
	uint64_t bytes;

	open_recycler(64 << 20);
	fixture_must_open(f, false);
	run_through(60);
	close_log();
	bytes = sl_recycler_bytes(f->opts.recycler);
	cr_assert_gt(bytes, 0);
	close_recycler();
	simfs_set_data(f->fs, "logs/.recycled/1.7", "lane 1", 6);
	simfs_set_data(f->fs, "logs/.recycled/2.7", "no such lane", 12);
	open_recycler(64 << 20);
	cr_assert_eq(sl_recycler_bytes(f->opts.recycler), bytes);
	cr_assert(simfs_exists(f->fs, "logs/.recycled/1.7"));
	cr_assert_not(simfs_exists(f->fs, "logs/.recycled/2.7"));
	close_recycler();
}

Test(recycle, a_full_disk_takes_the_kept_files_back)
{
	f->opts.config.retention_bytes = 900000;
	open_recycler(64 << 20);
	fixture_must_open(f, false);
	run_through(30);
	cr_assert_gt(sl_recycler_bytes(f->opts.recycler), 0);
	simfs_set_space(f->fs, 0);
	/* Not so many that the segment is full: its blocks are what is missing. */
	for (int i = 0; i < 9; i++)
		fixture_must_append(f, 1, 100000, 1000);
	(void)fixture_sync(f);
	cr_assert_eq(sl_recycler_bytes(f->opts.recycler), 0);
	cr_assert_eq(sl_log_error(f->log), -ENOSPC);
	simfs_set_space(f->fs, UINT64_MAX);
	sl_log_cool(f->log);
	(void)sl_log_close(f->log, false);
	f->log = NULL;
	close_recycler();
}
