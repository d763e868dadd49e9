/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints of a log in use: what they spare a recovery, and what may happen while one is
 * written. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "fixture.h"
#include "log_impl.h"
#include "sluice/base/crc32c.h"

static struct fixture *f;
static struct sl_log_point *point;

static void setup(void)
{
	f = malloc(sizeof(*f));
	fixture_init_hot(f, SL_HOT_BYTES_MIN);
	f->opts.config.segment_bytes = 200000;
	fixture_must_open(f, false);
	cr_assert_eq(sl_log_point_create(&point), 0);
}

static void teardown(void)
{
	sl_log_point_destroy(point);
	fixture_fini(f);
	free(f);
}

TestSuite(point, .init = setup, .fini = teardown);

Test(point, recovery_reads_only_behind_the_checkpoint)
{
	uint64_t before;

	f->opts.config.segment_bytes = 1 << 30;
	sl_log_set_config(f->log, &f->opts.config);
	fixture_append_many(f, 500, 1000);
	cr_assert_eq(sl_log_checkpoint(f->log), 0);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_eq(sl_log_checkpoint(f->log), 1);
	cr_assert_eq(sl_log_checkpoint(f->log), 0);
	before = sl_log_bytes(f->log);
	fixture_append_many(f, 20, 1000);
	cr_assert_eq(fixture_sync(f), 0);
	fixture_append_many(f, 5, 1000);
	cr_assert_eq(fixture_sync(f), 0);
	{
		const uint64_t behind = sl_log_bytes(f->log) - before;

		fixture_kill(f);
		fixture_must_open(f, false);
		cr_assert_eq(f->report.scanned_bytes, behind);
		cr_assert_eq(f->report.cut_bytes, 0);
	}
	fixture_check(f, 5000);
	/* What was behind the point is not called durable before a sync has seen it. */
	cr_assert_lt(sl_log_flushed(f->log), sl_log_end(f->log));
	fixture_append_many(f, 5, 100);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_eq(sl_log_flushed(f->log), sl_log_end(f->log));
	fixture_check(f, 5000);
	cr_assert_eq(sl_log_checkpoint(f->log), 1);
}

/* A checkpoint whose indexes are wrong costs a walk, one without them a scan, and nothing else. */
Test(point, a_damaged_checkpoint_is_not_believed)
{
	static const char *const suffixes[] = {".index", ".timeindex"};

	fixture_append_many(f, 50, 1000);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_eq(sl_log_checkpoint(f->log), 1);
	for (int i = 0; i < 3; i++) {
		const uint64_t bytes = sl_log_bytes(f->log);

		fixture_kill(f);
		if (i < 2)
			simfs_set_data(f->fs, fixture_path(0, suffixes[i]), "12345678",
			               7 + (size_t)i);
		else
			simfs_remove(f->fs, fixture_path(0, ".index"));
		fixture_must_open(f, false);
		cr_assert_eq(f->report.scanned_bytes, i < 2 ? 0 : bytes);
		fixture_check(f, 5000);
		fixture_must_append(f, 1, 10, 1);
		cr_assert_eq(fixture_sync(f), 0);
		cr_assert_eq(sl_log_checkpoint(f->log), 1);
	}
}

/* A power cut may leave the end of an index that grew as zeros, half of an entry, or nothing. */
Test(point, indexes_that_lost_their_end_are_walked_to_it)
{
	static const char *const suffixes[] = {".index", ".timeindex"};
	int64_t time_ms = 1000;

	f->opts.config.segment_bytes = 1 << 30;
	f->opts.config.index_interval_bytes = 1000;
	sl_log_set_config(f->log, &f->opts.config);
	for (size_t i = 0; i < 120; i++) {
		const char *suffix = suffixes[i % 2];
		uint8_t *data;
		size_t lost;
		size_t len;

		for (int batches = 0; batches < 20; batches++)
			fixture_must_append(f, 1, 1000, ++time_ms);
		cr_assert_eq(fixture_sync(f), 0);
		cr_assert_eq(sl_log_checkpoint(f->log), 1);
		fixture_kill(f);
		data = simfs_data(f->fs, fixture_path(0, suffix), &len);
		lost = SL_MIN(4 * (i / 4), len);
		memset(data + len - lost, 0, lost);
		simfs_set_data(f->fs, fixture_path(0, suffix), data, i % 4 < 2 ? len - lost : len);
		fixture_must_open(f, false);
		cr_assert_eq(f->report.scanned_bytes, 0);
		cr_assert_eq(f->log->active->max_time_ms, time_ms);
		cr_assert_geq(f->log->active->offsets.count, 19 * (i + 1));
		fixture_check(f, 5000);
	}
}

/* Checkpoints are written in turns: a torn one leaves the one before, whichever it is. */
Test(point, a_torn_checkpoint_leaves_the_one_before)
{
	static const char path[] = FIXTURE_FOLDER "/sluice-checkpoint";

	for (int rounds = 2; rounds < 5; rounds++) {
		for (size_t torn = 1; torn < 250; torn += 31) {
			uint64_t before = 0;
			uint8_t *data;
			size_t len;

			f->opts.config.segment_bytes = 1 << 30;
			sl_log_set_config(f->log, &f->opts.config);
			for (int i = 0; i < rounds; i++) {
				before = sl_log_bytes(f->log);
				fixture_append_many(f, 5, 1000);
				cr_assert_eq(fixture_sync(f), 0);
				cr_assert_eq(sl_log_checkpoint(f->log), 1);
			}
			data = simfs_data(f->fs, path, &len);
			cr_assert_eq(len, 1024);
			/* The newest has sequence @rounds. */
			memset(data + 512 * (rounds % 2) + torn, 0, 512 - torn);
			fixture_kill(f);
			fixture_must_open(f, false);
			cr_assert_eq(f->report.scanned_bytes, sl_log_bytes(f->log) - before);
			fixture_check(f, 5000);
			/* It goes on in the slot that is no good. */
			fixture_append_many(f, 1, 10);
			cr_assert_eq(fixture_sync(f), 0);
			cr_assert_eq(sl_log_checkpoint(f->log), 1);
			fixture_kill(f);
			fixture_must_open(f, false);
			cr_assert_eq(f->report.scanned_bytes, 0);
			teardown();
			setup();
		}
	}
}

/* One segment, whose checkpoint has been written in either slot. */
static void fill_both_slots(void)
{
	f->opts.config.segment_bytes = 1 << 30;
	sl_log_set_config(f->log, &f->opts.config);
	for (int i = 0; i < 4; i++) {
		fixture_append_many(f, 20, 1000);
		cr_assert_eq(fixture_sync(f), 0);
		cr_assert_eq(sl_log_checkpoint(f->log), 1);
	}
}

/* An index that was cut is written anew, and could come back with a power cut: no slot that was
 * written since may be there then. */
Test(point, a_cut_index_is_told_of_in_a_new_file)
{
	static const char path[] = FIXTURE_FOLDER "/sluice-checkpoint";
	size_t len;

	fill_both_slots();
	cr_assert_neq(simfs_data(f->fs, path, &len)[0], '\n');
	cr_assert_neq(simfs_data(f->fs, path, &len)[512], '\n');
	cr_assert_eq(sl_log_truncate(f->log, 30), 0);
	fixture_model_cut(f, 0, 30);
	fixture_append_many(f, 20, 1000);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_eq(sl_log_checkpoint(f->log), 1);
	cr_assert_eq(simfs_data(f->fs, path, &len)[0], '\n');
	cr_assert_eq(len, 1024);
	fixture_kill(f);
	fixture_must_open(f, false);
	cr_assert_eq(f->report.scanned_bytes, 0);
	fixture_check(f, 5000);
}

/* A start without the tier takes less for durable than the last life did: no slot may say more. */
Test(point, a_start_without_the_tier_begins_the_checkpoint_anew)
{
	static const char path[] = FIXTURE_FOLDER "/sluice-checkpoint";
	struct sl_hot_pool *pool = f->opts.hot;
	size_t len;

	fill_both_slots();
	fixture_kill(f);
	f->opts.hot = NULL;
	fixture_must_open(f, false);
	cr_assert_eq(f->log->recovery_point, 0);
	cr_assert_eq(simfs_data(f->fs, path, &len)[0], '\n');
	cr_assert_eq(len, 1024);
	fixture_check(f, 5000);
	f->opts.hot = pool;
}

/* As the versions before this one left it, whose checkpoints were new files. */
Test(point, a_checkpoint_of_version_1_is_taken_over)
{
	static const char path[] = FIXTURE_FOLDER "/sluice-checkpoint";
	char text[256];
	uint64_t bytes;
	int n;

	fixture_append_many(f, 50, 1000);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_eq(sl_log_checkpoint(f->log), 1);
	bytes = sl_log_bytes(f->log);
	n = snprintf(text, sizeof(text),
	             "version: 1\nlog_start_offset: 0\nrecovery_point: %d\nrecovery_pos: %d\n"
	             "clean_end: -1\nclean_bytes: 0\n",
	             (int)sl_log_end(f->log), (int)bytes);
	n += snprintf(text + n, sizeof(text) - (size_t)n, "crc32c: %08x\n",
	              sl_crc32c(0, text, (size_t)n));
	simfs_set_data(f->fs, path, text, (size_t)n);
	fixture_append_many(f, 3, 1000);
	cr_assert_eq(fixture_sync(f), 0);
	fixture_kill(f);
	fixture_must_open(f, false);
	cr_assert_eq(f->report.scanned_bytes, sl_log_bytes(f->log) - bytes);
	fixture_check(f, 5000);
}

/* After a few of them a checkpoint makes no file and removes none. */
Test(point, checkpoints_reuse_their_files)
{
	f->opts.config.segment_bytes = 1 << 30;
	sl_log_set_config(f->log, &f->opts.config);
	for (int i = 0; i < 10; i++) {
		fixture_append_many(f, 5, 1000);
		cr_assert_eq(fixture_sync(f), 0);
		if (i == 3)
			simfs_fail(f->fs, SIMFS_CREATE | SIMFS_UNLINK, 1, -EIO, 0, true);
		cr_assert_eq(sl_log_checkpoint(f->log), 1);
	}
	cr_expect(!simfs_has_failed(f->fs));
	fixture_kill(f);
	fixture_must_open(f, false);
	cr_assert_eq(f->report.scanned_bytes, 0);
	fixture_check(f, 5000);
}

/* Something durable that no checkpoint tells of yet. */
static void append_durable(int count)
{
	fixture_append_many(f, count, 1000);
	cr_assert_eq(fixture_sync(f), 0);
}

static void expect_scan(uint64_t bytes)
{
	fixture_kill(f);
	fixture_must_open(f, false);
	cr_expect_eq(f->report.scanned_bytes, bytes);
	fixture_check(f, 5000);
}

Test(point, tells_of_the_moment_at_which_it_began)
{
	uint64_t before;

	append_durable(20);
	before = sl_log_bytes(f->log);
	cr_assert_eq(sl_log_point_begin(f->log, point), 1);
	append_durable(30);
	sl_log_point_run(point);
	append_durable(5);
	sl_log_point_end(point);
	cr_expect_eq(f->log->active->offsets.stored < f->log->active->offsets.count, true);
	expect_scan(sl_log_bytes(f->log) - before);
	/* The indexes go on where they were. */
	append_durable(5);
	cr_assert_eq(sl_log_checkpoint(f->log), 1);
	append_durable(5);
	cr_assert_eq(sl_log_checkpoint(f->log), 1);
	expect_scan(0);
}

/* Killed before the run, in the middle of it, and before the log knew of it. */
Test(point, a_kill_leaves_this_one_or_the_one_before)
{
	for (unsigned int done = 0; done < 12; done++) {
		uint64_t before;

		append_durable(20);
		cr_assert_eq(sl_log_checkpoint(f->log), 1);
		before = sl_log_bytes(f->log);
		append_durable(20);
		cr_assert_eq(sl_log_point_begin(f->log, point), 1);
		simfs_fail(f->fs, SIMFS_CHANGES, done + 1, -EIO, done * 7, true);
		sl_log_point_run(point);
		f->log->error = 0;
		sl_log_point_end(point);
		fixture_kill(f);
		simfs_heal(f->fs);
		fixture_must_open(f, false);
		cr_assert_leq(f->report.scanned_bytes, sl_log_bytes(f->log) - before);
		fixture_check(f, 5000);
		teardown();
		setup();
	}
}

/* Whatever needs the same files takes the outcome first. */
Test(point, a_roll_takes_it)
{
	append_durable(20);
	cr_assert_eq(sl_log_point_begin(f->log, point), 1);
	sl_log_point_run(point);
	append_durable(250);
	cr_assert_gt(sl_log_segments(f->log), 1);
	cr_assert_null(f->log->point);
	sl_log_point_end(point);
	cr_assert_eq(sl_log_checkpoint(f->log), 1);
	expect_scan(0);
}

Test(point, a_truncation_takes_it_and_lowers_it)
{
	append_durable(20);
	cr_assert_eq(sl_log_point_begin(f->log, point), 1);
	sl_log_point_run(point);
	cr_assert_eq(sl_log_truncate(f->log, 10), 0);
	fixture_model_cut(f, 0, 10);
	cr_assert_null(f->log->point);
	cr_assert_leq(f->log->recovery_point, 10);
	sl_log_point_end(point);
	append_durable(20);
	expect_scan(sl_log_bytes(f->log));
}

static void *run_point(void *arg)
{
	sl_log_point_run(arg);
	return NULL;
}

Test(point, a_roll_waits_for_a_run_on_another_thread)
{
	pthread_t thread;

	append_durable(20);
	cr_assert_eq(sl_log_point_begin(f->log, point), 1);
	cr_assert_eq(pthread_create(&thread, NULL, run_point, point), 0);
	f->now_ms += f->opts.config.segment_ms;
	cr_assert_geq(sl_log_tick(f->log, f->now_ms, 0), 0);
	cr_assert_eq(sl_log_segments(f->log), 2);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	sl_log_point_end(point);
	cr_assert_eq(fixture_sync(f), 0);
	expect_scan(0);
}

Test(point, a_file_that_somebody_removed_begins_anew)
{
	static const char *const suffixes[] = {".index", ".timeindex"};

	for (size_t i = 0; i < SL_ARRAY_SIZE(suffixes); i++) {
		append_durable(20);
		cr_assert_eq(sl_log_checkpoint(f->log), 1);
		simfs_remove(f->fs, fixture_path(0, suffixes[i]));
		append_durable(20);
		(void)sl_log_checkpoint(f->log);
		cr_assert_eq(sl_log_error(f->log), 0);
		append_durable(20);
		cr_assert_eq(sl_log_checkpoint(f->log), 1);
		expect_scan(0);
	}
}

Test(point, a_folder_that_somebody_removed_is_an_error)
{
	append_durable(20);
	simfs_fail(f->fs, SIMFS_CREATE, 1, -ENOENT, 0, true);
	cr_expect_eq(sl_log_checkpoint(f->log), -ENOENT);
	simfs_heal(f->fs);
}

Test(point, a_failure_is_the_logs)
{
	append_durable(20);
	cr_assert_eq(sl_log_point_begin(f->log, point), 1);
	simfs_fail(f->fs, SIMFS_PWRITE, 1, -ENOSPC, 0, true);
	sl_log_point_run(point);
	cr_expect_eq(sl_log_error(f->log), 0, "not known yet");
	sl_log_point_end(point);
	cr_expect_eq(sl_log_error(f->log), -ENOSPC);
	cr_expect_eq(sl_log_point_begin(f->log, point), -ENOSPC);
	simfs_heal(f->fs);
}
