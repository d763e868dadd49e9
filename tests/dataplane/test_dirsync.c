/* SPDX-License-Identifier: Apache-2.0 */
/* What nobody asks for: when it is written, and the sync of a whole log dir behind it. */
#include "partition/dirsync.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "fixture.h"

#define UNASKED 8

static struct fx *with_dirsync(struct topic **t)
{
	struct fx *fx = fx_create();
	int fd = openat(fx->dirfd, ".lock", O_CREAT | O_WRONLY | O_CLOEXEC, 0640);

	cr_assert(fd >= 0);
	close(fd);
	fx_tier(fx, false);
	cr_assert(dirsync_create(&fx->ctx.dirsync, (struct sl_files){&fx->ops, fx}, fx->wake_fd) ==
	          0);
	*t = fx_topic(fx, "t", UNASKED, NULL);
	return fx;
}

/* Rounds of looks: what is unwritten before is written in one of any two. */
static void look(struct fx *fx, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		fx->ctx.now_ms += 1000;
		while (partition_tick(&fx->ctx) > 0 || !sl_list_is_empty(&fx->ctx.dirty))
			fx_settle(fx);
	}
}

/* Something new in each of them, written because it is time. */
static void write_unasked(struct fx *fx, struct topic *t)
{
	for (int i = 0; i < UNASKED; i++)
		fx_append(fx, fx_partition(t, i), 10);
	look(fx, 2);
}

/* The same with a sync of the dir behind it that does not end before let_syncs_end(). */
static void hold_sync(struct fx *fx, struct topic *t)
{
	fx->gate_fs_fd = eventfd(0, EFD_SEMAPHORE);
	write_unasked(fx, t);
	(void)partition_poll(&fx->ctx);
}

static void let_syncs_end(struct fx *fx, uint64_t count)
{
	cr_assert(write(fx->gate_fs_fd, &count, sizeof(count)) == sizeof(count));
}

/* Until the partitions' @end is durable, or syncs of the dir are given up.  Its first sync may have
 * begun when one of them was written, so that a second one has the rest. */
static void wait_dir_synced(struct fx *fx, struct topic *t, int64_t end)
{
	for (int i = 0; i < UNASKED; i++) {
		struct partition *p = fx_partition(t, i);

		while (sl_log_flushed(p->log) < end && dirsync_has(&fx->ctx, p)) {
			fx->ctx.now_ms += 1000;
			if (partition_poll(&fx->ctx) == 0)
				fx_wait(fx);
		}
	}
}

static unsigned unwritten(struct topic *t)
{
	unsigned n = 0;

	for (int i = 0; i < UNASKED; i++)
		n += sl_log_unwritten(fx_partition(t, i)->log) > 0;
	return n;
}

/* Where a round had more such writes than 2,048 partitions have in two, they come less often. */
Test(dirsync, many_partitions_are_written_half_as_often)
{
	struct topic *t;
	struct fx *fx = with_dirsync(&t);

	write_unasked(fx, t);
	cr_assert(unwritten(t) == 0 && !fx->ctx.looks.are_many);
	fx->ctx.looks.late = 1025;
	look(fx, 1);
	cr_expect(fx->ctx.looks.are_many);
	/* Not those that are worth a write. */
	for (int i = 0; i < UNASKED; i++)
		for (int n = 0; n < 3; n++)
			fx_append(fx, fx_partition(t, i), 100000);
	fx->ctx.looks.late = 600;
	look(fx, 1);
	cr_expect(unwritten(t) == 0);
	for (int i = 0; i < UNASKED; i++)
		fx_append(fx, fx_partition(t, i), 10);
	for (unsigned round = 1; round <= 4; round++) {
		fx->ctx.looks.late = 600;
		look(fx, 1);
		cr_expect(unwritten(t) == UNASKED - round * UNASKED / 4, "%u: %u", round,
		          unwritten(t));
	}
	/* As before, as soon as they are fewer. */
	fx->ctx.looks.late = 500;
	look(fx, 1);
	cr_expect(!fx->ctx.looks.are_many);
	write_unasked(fx, t);
	cr_expect(unwritten(t) == 0);
	partition_stop(&fx->ctx);
	fx_destroy(fx);
}

static void count_good(struct ctx *ctx SL_UNUSED, struct waiter *w, enum sl_kerr kerr)
{
	*(unsigned *)w->owner += kerr == SL_KERR_NONE;
}

Test(dirsync, one_sync_covers_all_of_a_dir)
{
	struct topic *t;
	struct fx *fx = with_dirsync(&t);

	write_unasked(fx, t);
	wait_dir_synced(fx, t, 1);
	for (int i = 0; i < UNASKED; i++)
		cr_expect(sl_log_flushed(fx_partition(t, i)->log) == 1);
	cr_expect(fx_stat(fx, SL_STAT_syncs) == 0, "none of its own");
	cr_expect(fx_stat(fx, SL_STAT_writes) == UNASKED);
	cr_expect(fx_stat(fx, SL_STAT_dir_syncs) <= 3, "one a second");
	/* Whoever waits does not wait for that. */
	{
		struct partition *p = fx_partition(t, 3);
		const uint64_t before = fx_stat(fx, SL_STAT_dir_syncs);
		unsigned woken = 0;
		struct waiter w = {.wake = count_good, .owner = &woken, .offset = 2};

		sl_list_init(&w.link);
		fx_append(fx, p, 10);
		cr_assert(partition_wait_sync(&fx->ctx, p, &w));
		fx_settle(fx);
		cr_expect(woken == 1);
		cr_expect(fx_stat(fx, SL_STAT_syncs) == 1);
		cr_expect(fx_stat(fx, SL_STAT_dir_syncs) == before);
	}
	fx_destroy(fx);
}

#define SPREAD 50

/* A disk that gets a second's writes at once has all producers wait for it. */
Test(dirsync, writes_that_nobody_asked_for_are_spread)
{
	struct topic *t;
	struct fx *fx = with_dirsync(&t);
	struct topic *more = fx_topic(fx, "more", SPREAD, NULL);

	for (int round = 0; round < 3; round++) {
		const uint64_t before = fx_stat(fx, SL_STAT_writes);

		for (int i = 0; i < SPREAD; i++)
			fx_append(fx, fx_partition(more, i), 10);
		for (int ms = 20; ms <= 2000; ms += 20) {
			const uint64_t writes = fx_stat(fx, SL_STAT_writes);

			fx->ctx.now_ms += 20;
			(void)partition_tick(&fx->ctx);
			fx_settle(fx);
			cr_expect(fx_stat(fx, SL_STAT_writes) - writes <= 2, "%d ms", ms);
		}
		cr_expect(fx_stat(fx, SL_STAT_writes) == before + SPREAD);
		for (int i = 0; i < SPREAD; i++)
			cr_expect(sl_log_unwritten(fx_partition(more, i)->log) == 0);
	}
	cr_expect(partition_next_ms(&fx->ctx) <= fx->ctx.now_ms + 20);
	fx_destroy(fx);
}

static void expect_offline(struct fx *fx, struct topic *t, int64_t flushed)
{
	for (int i = 0; i < UNASKED; i++) {
		cr_expect(fx_partition(t, i)->is_offline);
		cr_expect(sl_log_flushed(fx_partition(t, i)->log) == flushed, "nothing is claimed");
	}
	cr_expect(fx_stat(fx, SL_STAT_partitions_offline) == UNASKED);
	cr_expect(fx_stat(fx, SL_STAT_syncs) == 0);
}

/* Until a sync of the dir has been told, which is not one of the first @before. */
static void wait_dir_end(struct fx *fx, uint64_t before)
{
	while (fx_stat(fx, SL_STAT_dir_syncs) == before) {
		fx->ctx.now_ms += 20;
		if (partition_poll(&fx->ctx) == 0)
			fx_wait(fx);
	}
	while (partition_poll(&fx->ctx) > 0)
		;
}

static void expect_own_syncs(struct fx *fx, struct topic *t, int64_t end)
{
	look(fx, 3);
	for (int i = 0; i < UNASKED; i++)
		cr_expect(sl_log_flushed(fx_partition(t, i)->log) == end);
	cr_expect(fx_stat(fx, SL_STAT_syncs) >= UNASKED);
	cr_expect(fx_stat(fx, SL_STAT_partitions_offline) == 0);
}

/* After it nobody knows whose pages were lost, and a second sync would say that none were. */
Test(dirsync, a_failed_sync_of_the_dir_is_final)
{
	struct topic *t;
	struct fx *fx = with_dirsync(&t);
	uint64_t before;
	uint32_t dir;
	int error;

	write_unasked(fx, t);
	wait_dir_synced(fx, t, 1);
	before = fx_stat(fx, SL_STAT_dir_syncs);
	atomic_store(&fx->sync_fs_error, -EIO);
	write_unasked(fx, t);
	wait_dir_end(fx, before);
	atomic_store(&fx->sync_fs_error, 0);
	cr_expect(fx_stat(fx, SL_STAT_sync_errors) == 1);
	cr_assert(partition_failed_dir(&fx->ctx.dirs, &dir, &error));
	cr_expect(dir == 0 && error == -EIO);
	/* The first was written before that sync began, and is not closed as if all were well. */
	cr_expect(sl_log_error(fx_partition(t, 0)->log) == -EIO);
	expect_offline(fx, t, 1);
	/* Nor is it tried again. */
	for (int i = 0; i < 3; i++) {
		fx->ctx.now_ms += 1000;
		while (partition_tick(&fx->ctx) + partition_poll(&fx->ctx) > 0)
			;
	}
	expect_offline(fx, t, 1);
	cr_expect(fx_stat(fx, SL_STAT_dir_syncs) == before + 1);
	fx_destroy(fx);
}

Test(dirsync, a_sync_of_a_failed_dir_vouches_for_nothing)
{
	struct topic *t;
	struct fx *fx = with_dirsync(&t);

	hold_sync(fx, t);
	partition_dir_failed(&fx->ctx, 0, -EIO);
	let_syncs_end(fx, 1);
	wait_dir_end(fx, 0);
	expect_offline(fx, t, 0);
	fx_destroy(fx);
}

Test(dirsync, a_failure_at_the_stop_is_not_missed)
{
	struct topic *t;
	struct fx *fx = with_dirsync(&t);

	atomic_store(&fx->sync_fs_error, -EIO);
	hold_sync(fx, t);
	let_syncs_end(fx, 1);
	partition_stop(&fx->ctx);
	cr_expect(sl_log_error(fx_partition(t, 0)->log) == -EIO);
	fx_destroy(fx);
}

/* Else each log would sync itself when it is closed. */
Test(dirsync, the_stop_syncs_what_was_written)
{
	struct topic *t;
	struct fx *fx = with_dirsync(&t);
	const uint64_t before = fx_stat(fx, SL_STAT_dir_syncs);

	for (int i = 0; i < UNASKED; i++)
		fx_append(fx, fx_partition(t, i), 10);
	partition_stop(&fx->ctx);
	for (int i = 0; i < UNASKED; i++)
		cr_expect(sl_log_flushed(fx_partition(t, i)->log) == 1);
	cr_expect(fx_stat(fx, SL_STAT_syncs) == 0, "none of its own");
	cr_expect(fx_stat(fx, SL_STAT_dir_syncs) - before <= 2);
	fx_destroy(fx);
}

/* One that failed for want of memory, not of the disk: nothing of it will ever be durable. */
Test(dirsync, a_failed_log_wants_no_more_syncs_of_its_dir)
{
	struct topic *t;
	struct fx *fx = with_dirsync(&t);
	uint64_t before;

	hold_sync(fx, t);
	atomic_store(&fx->pwrite_error, -ENOMEM);
	fx_append(fx, fx_partition(t, 0), 10);
	look(fx, 2);
	atomic_store(&fx->pwrite_error, 0);
	cr_assert(fx_partition(t, 0)->is_offline && !fx_partition(t, 1)->is_offline);
	let_syncs_end(fx, 100);
	wait_dir_end(fx, 0);
	for (int i = 1; i < UNASKED; i++)
		while (sl_log_flushed(fx_partition(t, i)->log) < 1) {
			fx->ctx.now_ms += 1000;
			if (partition_poll(&fx->ctx) == 0)
				fx_wait(fx);
		}
	while (partition_poll(&fx->ctx) > 0)
		;
	before = fx_stat(fx, SL_STAT_dir_syncs);
	cr_expect(sl_log_unsynced(fx_partition(t, 0)->log) > 0);
	for (int i = 0; i < 3; i++) {
		fx->ctx.now_ms += 1000;
		cr_expect(partition_poll(&fx->ctx) == 0);
	}
	cr_expect(dirsync_next_ms(&fx->ctx) == INT64_MAX);
	cr_expect(fx_stat(fx, SL_STAT_dir_syncs) == before);
	fx_destroy(fx);
}

Test(dirsync, a_file_system_without_a_sync_of_all_has_one_of_each)
{
	struct topic *t;
	struct fx *fx = with_dirsync(&t);

	atomic_store(&fx->sync_fs_error, -EOPNOTSUPP);
	write_unasked(fx, t);
	wait_dir_end(fx, 0);
	cr_expect(!dirsync_has(&fx->ctx, fx_partition(t, 0)));
	expect_own_syncs(fx, t, 1);
	cr_expect(fx_stat(fx, SL_STAT_sync_errors) == 0);
	cr_expect(fx_stat(fx, SL_STAT_dir_syncs) == 1);
	fx_destroy(fx);
}

Test(dirsync, a_slow_sync_of_the_dir_is_not_waited_for)
{
	struct topic *t;
	struct fx *fx = with_dirsync(&t);

	hold_sync(fx, t);
	fx->ctx.now_ms += 2000;
	while (partition_tick(&fx->ctx) > 0)
		fx_settle(fx);
	cr_expect(fx_stat(fx, SL_STAT_syncs) == 0);
	fx->ctx.now_ms += 2000;
	expect_own_syncs(fx, t, 1);
	cr_expect(fx_stat(fx, SL_STAT_dir_syncs) == 0);
	let_syncs_end(fx, 100);
	wait_dir_end(fx, 0);
	cr_expect(dirsync_has(&fx->ctx, fx_partition(t, 0)));
	write_unasked(fx, t);
	wait_dir_synced(fx, t, 2);
	cr_expect(fx_stat(fx, SL_STAT_syncs) == UNASKED);
	fx_destroy(fx);
}
