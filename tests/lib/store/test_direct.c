/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors for write-out: how many stay open, and what happens when there are none left. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#include "fixture.h"
#include "hot_impl.h"
#include "log_impl.h"

static struct fixture *f;

static void setup(void)
{
	f = malloc(sizeof(*f));
	fixture_init_hot(f, SL_HOT_BYTES_MIN);
	f->opts.config.segment_bytes = 200000;
	fixture_must_open(f, false);
}

static void teardown(void)
{
	fixture_fini(f);
	free(f);
}

TestSuite(direct, .init = setup, .fini = teardown);

static uint64_t opened(void)
{
	return f->opts.hot->directs_opened;
}

static struct sl_log *open_log(int32_t partition)
{
	struct sl_log_opts opts = f->opts;
	struct sl_log_recovery report;
	struct sl_log *log;

	opts.partition = partition;
	cr_assert_eq(sl_log_open(&log, &opts, &report), 0);
	return log;
}

static void close_log(struct sl_log *log)
{
	sl_log_cool(log);
	cr_assert_eq(sl_log_close(log, true), 0);
}

static void append(struct sl_log *log)
{
	const struct fixture_spec spec = {.records = 1, .value_bytes = 100, .timestamp = 1000};
	struct sl_log_append io = {.now_ms = f->now_ms};
	uint8_t batch[1024];

	cr_assert_eq(sl_log_append(log, batch, fixture_build(&spec, batch, sizeof(batch)), &io), 0);
}

static void begin(struct sl_log *log, struct sl_log_sync *sync)
{
	append(log);
	cr_assert_eq(sl_log_sync_begin(log, sync, true), 1);
}

/* A write that nobody waits for. */
static void begin_unwanted(struct sl_log *log, struct sl_log_sync *sync)
{
	append(log);
	cr_assert_eq(sl_log_sync_begin(log, sync, false), 1);
	cr_assert_eq(sync->fds_count, 0u);
}

static void end(struct sl_log *log, struct sl_log_sync *sync)
{
	sl_log_sync_end(log, sync, sl_log_sync_run(&f->files, sync));
	cr_assert_eq(sl_log_flushed(log), sl_log_end(log));
}

static void write_out(struct sl_log *log)
{
	struct sl_log_sync sync;

	begin(log, &sync);
	end(log, &sync);
}

Test(direct, stays_open_for_the_next_write)
{
	struct sl_log *other = open_log(1);
	const unsigned int before = simfs_open_count(f->fs);

	for (int i = 0; i < 20; i++) {
		write_out(f->log);
		write_out(other);
		f->now_ms += f->opts.config.segment_ms / 100;
		cr_assert_geq(sl_log_tick(other, f->now_ms, 0), 0);
	}
	cr_expect_eq(opened(), 2);
	cr_expect_eq(simfs_open_count(f->fs), before + 2);
	/* A segment that takes no more needs it no longer. */
	f->now_ms += f->opts.config.segment_ms;
	cr_assert_geq(sl_log_tick(other, f->now_ms, 0), 0);
	cr_assert_eq(sl_log_segments(other), 2);
	cr_expect_eq(f->opts.hot->directs_count, 1u);
	close_log(other);
	cr_expect_eq(simfs_open_count(f->fs), before);
}

Test(direct, a_lane_keeps_the_last_used_ones_of_all_its_logs)
{
	enum {
		KEPT = 16,
		LOGS = 50
	};
	struct sl_log *logs[LOGS];
	unsigned int before;

	f->opts.hot->directs_max = KEPT;
	for (int i = 0; i < LOGS; i++)
		logs[i] = open_log(100 + i);
	before = simfs_open_count(f->fs);
	for (int i = 0; i < LOGS; i++)
		write_out(logs[i]);
	cr_expect_eq(opened(), (uint64_t)LOGS);
	cr_expect_eq(simfs_open_count(f->fs), before + KEPT);
	/* Of the last ones the first is used again, so the second goes. */
	write_out(logs[LOGS - KEPT]);
	cr_expect_eq(opened(), (uint64_t)LOGS);
	write_out(logs[0]);
	cr_expect_eq(opened(), (uint64_t)LOGS + 1);
	write_out(logs[LOGS - KEPT]);
	cr_expect_eq(opened(), (uint64_t)LOGS + 1);
	write_out(logs[LOGS - KEPT + 1]);
	cr_expect_eq(opened(), (uint64_t)LOGS + 2);
	cr_expect_eq(simfs_open_count(f->fs), before + KEPT);
	for (int i = 0; i < LOGS; i++)
		close_log(logs[i]);
	cr_expect_eq(f->opts.hot->directs_count, 0u);
}

Test(direct, without_descriptors_an_unused_one_goes)
{
	struct sl_log *other = open_log(1);
	struct sl_log_sync syncs[2];
	unsigned int before;

	write_out(f->log);
	write_out(other);
	direct_close(other, other->active);
	cr_assert_eq(f->opts.hot->directs_count, 1u);
	before = simfs_open_count(f->fs);
	simfs_fail(f->fs, SIMFS_OPEN, 1, -EMFILE, 0, false);
	begin(other, &syncs[0]);
	cr_expect(simfs_has_failed(f->fs));
	cr_expect_eq(f->opts.hot->directs_count, 0u);
	cr_expect_eq(simfs_open_count(f->fs), before);
	/* That one is in use, so there is none to give up. */
	append(f->log);
	simfs_fail(f->fs, SIMFS_OPEN, 1, -EMFILE, 0, false);
	cr_expect_eq(sl_log_sync_begin(f->log, &syncs[1], true), -EAGAIN);
	cr_expect_eq(sl_log_error(f->log), 0);
	end(other, &syncs[0]);
	cr_assert_eq(fixture_sync(f), 0);
	cr_expect_eq(sl_log_flushed(f->log), sl_log_end(f->log));
	close_log(other);
}

Test(direct, is_closed_with_a_segment_that_goes_during_its_write)
{
	struct sl_log_sync sync;
	unsigned int before;

	write_out(f->log);
	before = simfs_open_count(f->fs);
	begin(f->log, &sync);
	f->opts.config.retention_ms = 1000;
	sl_log_set_config(f->log, &f->opts.config);
	f->now_ms += f->opts.config.segment_ms;
	cr_assert_eq(sl_log_tick(f->log, f->now_ms, sl_log_end(f->log)), 1);
	/* Its file, and the new one's. */
	cr_expect_eq(simfs_open_count(f->fs), before + 1);
	sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
	cr_expect_eq(f->opts.hot->directs_count, 0u);
	cr_expect_eq(simfs_open_count(f->fs), before);
	append(f->log);
	cr_assert_eq(fixture_sync(f), 0);
}

/* Who runs a write that nobody waits for opens what it needs, and the lane nothing. */
Test(direct, of_a_write_that_nobody_waits_for_is_its_runners)
{
	const unsigned int before = simfs_open_count(f->fs);
	struct sl_log_sync sync;

	begin_unwanted(f->log, &sync);
	cr_expect(sync.wants_direct && sync.write_fd == f->log->active->fd);
	cr_expect_eq(simfs_open_count(f->fs), before);
	cr_assert_eq(sl_log_sync_run(&f->files, &sync), 0);
	cr_expect_eq(simfs_open_count(f->fs), before);
	sl_log_sync_end(f->log, &sync, 0);
	cr_expect_eq(sl_log_unwritten(f->log), 0u);
	cr_expect_eq(opened(), 0);
	/* One that is open is used by all. */
	write_out(f->log);
	cr_expect_eq(opened(), 1);
	begin_unwanted(f->log, &sync);
	cr_expect(!sync.wants_direct && sync.write_fd != f->log->active->fd);
	sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
	cr_expect_eq(sl_log_unwritten(f->log), 0u);
	cr_expect_eq(opened(), 1);
}

Test(direct, that_its_runner_cannot_open_is_done_without)
{
	static const int errors[] = {-EMFILE, -EINVAL, -ENOENT};
	const unsigned int before = simfs_open_count(f->fs);
	struct sl_log_sync sync;

	for (size_t i = 0; i < SL_ARRAY_SIZE(errors); i++) {
		begin_unwanted(f->log, &sync);
		cr_assert(sync.wants_direct);
		simfs_fail(f->fs, SIMFS_REOPEN, 1, errors[i], 0, false);
		sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
		cr_expect(simfs_has_failed(f->fs));
		cr_expect_eq(sl_log_error(f->log), 0);
		cr_expect_eq(sl_log_unwritten(f->log), 0u);
		cr_expect_eq(simfs_open_count(f->fs), before);
	}
}

/* The segment may have gone by then, and its name with it. */
Test(direct, its_runner_opens_the_file_and_not_the_name)
{
	struct sl_log_sync sync;
	int fd;

	begin_unwanted(f->log, &sync);
	f->opts.config.retention_ms = 1000;
	sl_log_set_config(f->log, &f->opts.config);
	f->now_ms += f->opts.config.segment_ms;
	cr_assert_eq(sl_log_tick(f->log, f->now_ms, sl_log_end(f->log)), 1);
	cr_assert_eq(sl_log_sync_open(&f->files, &sync, &fd), 0);
	cr_expect_neq(fd, sync.write_fd);
	sl_log_sync_close(&f->files, &sync, fd);
	sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
	cr_expect_eq(sl_log_error(f->log), 0);
	append(f->log);
	cr_assert_eq(fixture_sync(f), 0);
}

/* Nor does the lane wait for the blocks of such a write. */
Test(direct, runner_gets_the_blocks_of_its_write)
{
	struct sl_log_sync sync;
	uint64_t to;

	begin_unwanted(f->log, &sync);
	cr_assert(sync.allocate_pos == 0 && sync.allocate_bytes >= sync.write_bytes);
	to = sync.allocate_bytes;
	cr_expect_eq(f->log->active->allocated, 0u);
	sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
	cr_expect_eq(f->log->active->allocated, to);
	begin_unwanted(f->log, &sync);
	cr_expect_eq(sync.allocate_bytes, 0u);
	sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
	cr_expect_eq(f->log->active->allocated, to);
	cr_expect_eq(sl_log_unwritten(f->log), 0u);
}

/* Whoever asks for them. */
Test(direct, a_file_system_without_blocks_ahead_is_no_failure)
{
	struct sl_log_sync sync;

	for (int i = 0; i < 2; i++) {
		append(f->log);
		simfs_fail(f->fs, SIMFS_ALLOCATE, 1, i == 0 ? -EOPNOTSUPP : -ENOSYS, 0, false);
		cr_assert_eq(sl_log_sync_begin(f->log, &sync, i == 0), 1);
		sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
		cr_expect(simfs_has_failed(f->fs));
		cr_expect_eq(sl_log_error(f->log), 0);
		cr_expect_eq(sl_log_unwritten(f->log), 0u);
		f->log->active->allocated = f->log->active->written;
	}
}

/* What can be done about a full disk is done by the lane, at the next attempt. */
Test(direct, a_write_without_blocks_is_put_off)
{
	struct sl_log_sync sync;

	begin_unwanted(f->log, &sync);
	simfs_fail(f->fs, SIMFS_ALLOCATE | SIMFS_PWRITE, 1, -ENOSPC, 0, false);
	cr_assert_eq(sl_log_sync_run(&f->files, &sync), -ENOSPC);
	sl_log_sync_end(f->log, &sync, -ENOSPC);
	cr_expect_eq(sl_log_error(f->log), 0);
	cr_expect_eq(f->log->active->allocated, 0u);
	cr_expect_gt(sl_log_unwritten(f->log), 0u);
	cr_assert_eq(sl_log_sync_begin(f->log, &sync, false), 1);
	cr_expect_eq(sync.allocate_bytes, 0u);
	cr_expect_gt(f->log->active->allocated, 0u);
	sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
	cr_expect_eq(sl_log_unwritten(f->log), 0u);
	/* It is the runner's again. */
	f->log->active->allocated = sync.write_pos;
	begin_unwanted(f->log, &sync);
	cr_expect_gt(sync.allocate_bytes, 0u);
	/* Any other failure is final, as one of the write is. */
	simfs_fail(f->fs, SIMFS_ALLOCATE, 1, -EIO, 0, false);
	sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
	cr_expect_eq(sl_log_error(f->log), -EIO);
}

Test(direct, a_full_disk_that_stays_full_is_final)
{
	struct sl_log_sync sync;

	begin_unwanted(f->log, &sync);
	simfs_fail(f->fs, SIMFS_ALLOCATE | SIMFS_PWRITE, 1, -ENOSPC, 0, true);
	sl_log_sync_end(f->log, &sync, sl_log_sync_run(&f->files, &sync));
	cr_expect_eq(sl_log_error(f->log), 0);
	cr_expect_eq(sl_log_sync_begin(f->log, &sync, false), 0);
	cr_expect_eq(sl_log_error(f->log), -ENOSPC);
}
