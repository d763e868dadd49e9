/* SPDX-License-Identifier: Apache-2.0 */
/* Disk errors at every operation: one clear error, reads go on, nothing acknowledged is lost. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
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

TestSuite(faults, .init = setup, .fini = teardown);

Test(faults, first_error_is_final_and_reads_go_on)
{
	struct fixture_spec spec = {.records = 2, .value_bytes = 50, .timestamp = 1};
	struct sl_log_append io;
	struct sl_log_sync sync;

	for (int i = 0; i < 10; i++)
		fixture_must_append(f, 2, 50, i);
	simfs_fail(f->fs, SIMFS_PWRITE, 1, -EIO, 33, false);
	cr_assert_eq(fixture_append(f, &spec, &io), -EIO);
	cr_assert_eq(sl_log_error(f->log), -EIO);
	simfs_heal(f->fs);
	/* The disk is well again; the log does not believe it. */
	cr_assert_eq(fixture_append(f, &spec, &io), -EIO);
	cr_assert_eq(sl_log_epoch_begin(f->log, 9), -EIO);
	cr_assert_eq(sl_log_truncate(f->log, 1), -EIO);
	cr_assert_eq(sl_log_advance_start(f->log, 1), -EIO);
	cr_assert_eq(sl_log_tick(f->log, f->now_ms, 0), -EIO);
	cr_assert_eq(sl_log_sync_begin(f->log, &sync, true), 0);
	fixture_check(f, 400);
	cr_assert_eq(sl_log_close(f->log, true), -EIO);
	f->log = NULL;
	/* The torn batch is cut at the next open. */
	fixture_must_open(f, true);
	cr_assert_eq(f->report.cut_bytes, 33);
	fixture_check(f, 400);
	fixture_must_append(f, 2, 50, 1);
	fixture_check(f, 400);
}

Test(faults, sync_error_is_final)
{
	struct sl_log_sync sync;

	fixture_must_append(f, 2, 50, 1);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_eq(sl_log_flushed(f->log), 2);
	fixture_must_append(f, 2, 50, 1);
	cr_assert_eq(sl_log_sync_begin(f->log, &sync, true), 1);
	cr_assert_eq(sync.offset, 4);
	/* One at a time, and only for what was there at its begin. */
	fixture_must_append(f, 2, 50, 1);
	cr_assert_eq(sl_log_sync_begin(f->log, &(struct sl_log_sync){0}, true), 0);
	simfs_fail(f->fs, SIMFS_SYNC, 1, -EIO, 0, false);
	sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
	cr_assert_eq(sl_log_flushed(f->log), 2);
	cr_assert_eq(sl_log_error(f->log), -EIO);
	cr_assert_eq(sl_log_sync_begin(f->log, &sync, true), 0);
	fixture_check(f, 400);
}

Test(faults, sync_waits_for_descriptors_and_gives_up_on_a_dead_disk)
{
	struct sl_log_sync sync;

	fixture_must_append(f, 2, 50, 1);
	simfs_fail(f->fs, SIMFS_OPEN, 1, -EMFILE, 0, false);
	cr_assert_eq(sl_log_sync_begin(f->log, &sync, true), -EAGAIN);
	cr_assert_eq(sl_log_error(f->log), 0);
	cr_assert_eq(simfs_open_count(f->fs), 2);
	simfs_fail(f->fs, SIMFS_OPEN, 2, -EIO, 0, false);
	cr_assert_eq(sl_log_sync_begin(f->log, &sync, true), 0);
	cr_assert_eq(sl_log_error(f->log), -EIO);
	cr_assert_eq(simfs_open_count(f->fs), 2);
}

Test(faults, sync_covers_what_was_there_at_its_begin)
{
	struct sl_log_sync sync;

	fixture_must_append(f, 2, 50, 1);
	cr_assert_eq(sl_log_sync_begin(f->log, &sync, true), 1);
	fixture_must_append(f, 3, 50, 1);
	cr_assert_eq(sl_log_sync_run(&f->files, &sync), 0);
	sl_log_sync_end(f->log, &sync, 0);
	cr_assert_eq(sl_log_flushed(f->log), 2);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_eq(sl_log_flushed(f->log), 5);
	cr_assert_eq(sl_log_sync_begin(f->log, &sync, true), 0);
}

Test(faults, sync_in_flight_survives_rolls_and_is_void_after_a_truncation)
{
	struct sl_log_sync sync;

	fixture_must_append(f, 2, 50, 1);
	cr_assert_eq(sl_log_sync_begin(f->log, &sync, true), 1);
	for (int i = 0; i < 50; i++)
		fixture_must_append(f, 2, 200, 1);
	cr_assert_gt(sl_log_segments(f->log), 4);
	cr_assert_eq(sl_log_sync_run(&f->files, &sync), 0);
	sl_log_sync_end(f->log, &sync, 0);
	cr_assert_eq(sl_log_flushed(f->log), 2);

	cr_assert_eq(sl_log_sync_begin(f->log, &sync, true), 1);
	cr_assert_eq(sl_log_truncate(f->log, 2), 0);
	fixture_model_cut(f, 0, 2);
	fixture_must_append(f, 7, 5, 1);
	cr_assert_eq(sl_log_sync_run(&f->files, &sync), 0);
	sl_log_sync_end(f->log, &sync, 0);
	cr_assert_eq(sl_log_flushed(f->log), 2);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_eq(sl_log_flushed(f->log), 9);
	fixture_check(f, 400);
}

Test(faults, truncation_keeps_descriptors_that_are_in_use)
{
	struct sl_log_range range;
	uint8_t byte;

	for (int i = 0; i < 60; i++)
		fixture_must_append(f, 2, 150, 1000 + i);
	fixture_close(f, true);
	fixture_must_open(f, true);
	cr_assert_eq(sl_log_read(f->log, 0, 100, 500, true, &range), 0);
	cr_assert_eq(sl_log_truncate(f->log, 8), 0);
	fixture_model_cut(f, 0, 8);
	cr_assert_eq(f->files.ops->pread(f->files.ctx, range.fd, &byte, 1, range.pos), 1);
	fixture_must_append(f, 2, 150, 1);
	fixture_check(f, 500);
	sl_log_range_put(f->log, &range);
	fixture_check(f, 500);
	cr_assert_eq(simfs_open_count(f->fs), 2);
}

/* A day in the life of a log, until the first error. */
static int live(bool *is_cut)
{
	struct fixture_spec spec = {.records = 2, .value_bytes = 150};
	struct sl_log_append io;
	int err;

	for (int i = 0; i < 60; i++) {
		spec.timestamp = 1000 + i;
		spec.producer_id = 1 + i % 3;
		spec.base_sequence = (i / 3) * 2;
		f->leader_epoch = i / 15;
		err = fixture_append(f, &spec, &io);
		if (!err && i % 10 == 9)
			err = fixture_sync(f);
		if (!err && i == 30)
			err = sl_log_advance_start(f->log, 25);
		if (!err && i == 45) {
			int64_t to = sl_log_end(f->log) - 9;

			*is_cut = true;
			err = sl_log_truncate(f->log, to);
			if (!err)
				fixture_model_cut(f, 0, sl_log_end(f->log));
			return err;
		}
		if (!err && i % 7 == 0)
			err = SL_MIN(sl_log_tick(f->log, f->now_ms += 100000, 0), 0);
		if (err)
			return err;
	}
	return 0;
}

/* Each changing operation fails in turn; then the process is killed. */
Test(faults, every_operation_may_fail)
{
	static const int errors[] = {-EIO, -ENOSPC};
	bool was_hit = true;

	for (unsigned int nth = 1; was_hit; nth++) {
		bool is_cut = false;
		int64_t flushed;
		int64_t end;
		int err;

		simfs_fail(f->fs, SIMFS_CHANGES, nth, errors[nth % 2], nth % 97, nth % 3 == 0);
		err = live(&is_cut);
		was_hit = simfs_has_failed(f->fs);
		flushed = sl_log_flushed(f->log);
		end = sl_log_end(f->log);
		if (err)
			cr_assert_eq(sl_log_error(f->log), err);
		simfs_heal(f->fs);
		/* A failed truncation may or may not have happened; all else reads as before. */
		fixture_kill(f);
		fixture_must_open(f, false);
		cr_assert(is_cut || flushed <= sl_log_end(f->log));
		cr_assert_leq(sl_log_end(f->log), end);
		fixture_model_cut(f, 0, sl_log_end(f->log));
		fixture_check(f, 700);
		teardown();
		setup();
	}
}

Test(faults, full_disk_at_every_byte)
{
	for (uint64_t space = 0; space < 12000; space += 61) {
		int64_t acked = 0;
		int64_t flushed = 0;
		int err = 0;

		simfs_set_space(f->fs, space);
		for (int i = 0; i < 60 && !err; i++) {
			struct fixture_spec spec = {
				.records = 2, .value_bytes = 150, .timestamp = 1000 + i};
			struct sl_log_append io;

			err = fixture_append(f, &spec, &io);
			if (!err)
				acked = sl_log_end(f->log);
			if (!err && i % 5 == 4)
				err = fixture_sync(f);
			flushed = sl_log_flushed(f->log);
		}
		cr_assert_eq(err, -ENOSPC);
		cr_assert_eq(sl_log_error(f->log), -ENOSPC);
		fixture_check(f, 700);
		fixture_kill(f);
		fixture_must_open(f, false);
		cr_assert_eq(sl_log_end(f->log), acked);
		cr_assert_leq(flushed, acked);
		fixture_check(f, 700);
		teardown();
		setup();
	}
}

Test(faults, open_fails_cleanly_at_every_operation)
{
	bool was_hit = true;

	for (int i = 0; i < 40; i++)
		fixture_must_append(f, 2, 150, 1000 + i);
	fixture_kill(f);
	for (unsigned int nth = 1; was_hit; nth++) {
		struct simfs *before = simfs_copy(f->fs);
		int err;

		f->dirfd = f->files.ops->open(f->files.ctx, -100, "logs", 0200000, 0);
		simfs_fail(f->fs, SIMFS_CHANGES | SIMFS_OPEN | SIMFS_PREAD, nth, -EIO, 0, false);
		err = fixture_open(f, false);
		was_hit = simfs_has_failed(f->fs);
		simfs_heal(f->fs);
		if (was_hit)
			cr_assert(err == -EIO || err == 0, "%d", err);
		if (err)
			cr_assert_eq(simfs_open_count(f->fs), 1);
		if (!err) {
			fixture_check(f, 700);
			sl_log_close(f->log, false);
			f->log = NULL;
		}
		simfs_destroy(f->fs);
		f->fs = before;
		f->files = simfs_files(before);
		f->dirfd = -1;
	}
	fixture_must_open(f, false);
	fixture_check(f, 700);
}

Test(faults, read_error_is_not_final)
{
	struct sl_log_range range;

	for (int i = 0; i < 60; i++)
		fixture_must_append(f, 2, 150, 1000 + i);
	simfs_fail(f->fs, SIMFS_PREAD, 1, -EIO, 0, false);
	cr_assert_eq(sl_log_read(f->log, 3, 100, 500, true, &range), -EIO);
	cr_assert_eq(sl_log_error(f->log), 0);
	fixture_check(f, 700);
	fixture_must_append(f, 2, 150, 1);
}

Test(faults, a_creation_that_fails_leaves_no_folder)
{
	unsigned int failures = 0;

	fixture_close(f, false);
	f->opts.partition = 100;
	for (unsigned int nth = 1;; nth++) {
		int err;

		cr_assert_lt(nth, 20);
		simfs_fail(f->fs, SIMFS_PWRITE | SIMFS_CREATE, nth, -ENOSPC, 0, false);
		err = fixture_open(f, false);
		if (!simfs_has_failed(f->fs)) {
			cr_assert_eq(err, 0);
			break;
		}
		failures++;
		cr_assert_eq(err, -ENOSPC);
		simfs_heal(f->fs);
		/* -EEXIST: it is still there. */
		cr_assert_eq(f->files.ops->mkdir(f->files.ctx, f->dirfd, "orders-100", 0750), 0);
		cr_assert_eq(f->files.ops->rmdir(f->files.ctx, f->dirfd, "orders-100"), 0);
	}
	cr_assert_geq(failures, 3, "metadata, its contents, the segment");
}

Test(faults, tells_errors_of_the_disk_from_others)
{
	cr_assert(sl_log_is_disk_error(-EIO));
	cr_assert(sl_log_is_disk_error(-ENOSPC));
	cr_assert(sl_log_is_disk_error(-EROFS));
	cr_assert(!sl_log_is_disk_error(0));
	cr_assert(!sl_log_is_disk_error(-EMFILE));
	cr_assert(!sl_log_is_disk_error(-ENOMEM));
	cr_assert(!sl_log_is_disk_error(-ESTALE));
}

Test(faults, write_part_of_a_sync_is_whole_and_durable_or_an_error)
{
	char pieces[2][3] = {"abc", "def"};
	int fd = f->files.ops->open(f->files.ctx, AT_FDCWD, "written", O_RDWR | O_CREAT, 0600);
	struct sl_log_sync sync = {.iov = {{pieces[0], 3}, {pieces[1], 3}},
	                           .iov_count = 2,
	                           .is_durable = true,
	                           .write_fd = fd,
	                           .write_pos = 1,
	                           .write_bytes = 6};
	size_t len;

	cr_assert(fd >= 0);
	simfs_fail(f->fs, SIMFS_SYNC, 1, -EIO, 0, false);
	cr_assert_eq(sl_log_sync_run(&f->files, &sync), -EIO);
	simfs_heal(f->fs);
	simfs_fail(f->fs, SIMFS_PWRITE, 2, -ENOSPC, 1, false);
	cr_assert_eq(sl_log_sync_run(&f->files, &sync), -ENOSPC);
	simfs_heal(f->fs);
	cr_assert_eq(sl_log_sync_run(&f->files, &sync), 0);
	cr_assert_arr_eq(simfs_data(f->fs, "written", &len) + 1, "abcdef", 6);
	cr_assert_eq(len, 7);
	f->files.ops->close(f->files.ctx, fd);
}
