/* SPDX-License-Identifier: Apache-2.0 */
/* When a lane's logs get their checkpoints, and that it does not wait for the files. */
#include "partition/checkpoints.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "fixture.h"

#define POINTS 60 /* nearly as many as are looked at in one tick */

/* What each checkpoint takes of a CPU.  The thread reads it while one is under way. */
static uint64_t cost_ns;

/* Called before and after. */
static uint64_t fake_clock(void)
{
	static uint64_t now_ns;

	now_ns += cost_ns;
	return now_ns;
}

static int gate_fd = -1; /* or an eventfd that each rename waits for */

static int rename_at_gate(void *ctx SL_UNUSED, int dirfd, const char *from, const char *to)
{
	uint64_t n;

	if (gate_fd >= 0)
		cr_assert(read(gate_fd, &n, sizeof(n)) == sizeof(n));
	return sl_file_ops_plain.rename(NULL, dirfd, from, to);
}

static void open_gate(uint64_t count)
{
	cr_assert(write(gate_fd, &count, sizeof(count)) == sizeof(count));
}

/* As many partitions, whose syncs end in one poll. */
static struct fx *with_points(bool has_thread, struct topic **t)
{
	struct fx *fx = fx_create();

	fx_tier(fx, false);
	fx->ops.rename = rename_at_gate;
	if (has_thread)
		cr_assert(checkpoints_create(&fx->ctx.checkpoints, fake_clock, fx->wake_fd) == 0);
	*t = fx_topic(fx, "t", POINTS, NULL);
	for (int i = 0; i < POINTS; i++)
		fx_append(fx, fx_partition(*t, i), 10);
	fx->ctx.now_ms += 1000;
	while (partition_tick(&fx->ctx) > 0 || !sl_list_is_empty(&fx->ctx.dirty))
		fx_settle(fx);
	fx_settle(fx);
	return fx;
}

static unsigned written(const struct fx *fx)
{
	unsigned stored = 0;

	for (int i = 0; i < POINTS; i++) {
		char path[64];

		snprintf(path, sizeof(path), "t-%d/sluice-checkpoint", i);
		stored += faccessat(fx->dirfd, path, R_OK, 0) == 0;
	}
	return stored;
}

/* Until what is under way has ended, at a time when no other is due. */
static void settle(struct fx *fx)
{
	const int64_t now_ms = fx->ctx.now_ms;

	fx->ctx.now_ms = 0;
	while (checkpoints_next_ms(&fx->ctx) == INT64_MAX && !sl_list_is_empty(&fx->ctx.points)) {
		fx_wait(fx);
		(void)checkpoints_poll(&fx->ctx);
	}
	fx->ctx.now_ms = now_ms;
}

/* The checkpoints spread, and none waits for another round of looks. */
static void expect_turns(bool has_thread)
{
	struct topic *t;
	struct fx *fx = with_points(has_thread, &t);

	fx->ctx.now_ms += 4999;
	(void)partition_tick(&fx->ctx);
	settle(fx);
	cr_expect(written(fx) == 0, "not so soon after the sync");
	fx->ctx.now_ms++;
	for (unsigned i = 0; i + 1 < POINTS; i++) {
		cr_expect(partition_next_ms(&fx->ctx) <= fx->ctx.now_ms);
		cr_expect(partition_tick(&fx->ctx) >= 1);
		settle(fx);
		cr_expect(written(fx) == i + 1, "%u: %u", i, written(fx));
		fx->ctx.now_ms += 4;
		(void)partition_tick(&fx->ctx);
		settle(fx);
		cr_expect(written(fx) == i + 1, "they take turns with other work");
		fx->ctx.now_ms++;
	}
	(void)partition_tick(&fx->ctx);
	cr_expect(sl_list_is_empty(&fx->ctx.points));
	partition_stop(&fx->ctx);
	cr_expect(written(fx) == POINTS);
	fx_destroy(fx);
}

Test(checkpoints, every_partition_gets_its_own_in_turn)
{
	expect_turns(true);
}

Test(checkpoints, without_a_thread_the_lane_writes_them)
{
	expect_turns(false);
}

Test(checkpoints, a_lane_that_comes_late_makes_up_for_them)
{
	struct topic *t;
	struct fx *fx = with_points(true, &t);
	unsigned ms = 0;

	/* What 40 of them would have taken. */
	fx->ctx.now_ms += 5000 + 40 * 5;
	for (; !sl_list_is_empty(&fx->ctx.points) && ms < 1000; ms++) {
		unsigned before = written(fx);

		(void)partition_tick(&fx->ctx);
		settle(fx);
		cr_expect(written(fx) <= before + 1, "one after the other all the same");
		fx->ctx.now_ms++;
	}
	/* 50 come 1 ms apart, which makes up for 4 ms each, and 10 at the usual pace. */
	cr_expect(ms > 90 && ms < 110, "%u", ms);
	fx_destroy(fx);
}

Test(checkpoints, a_lane_makes_up_for_a_second_at_most)
{
	struct topic *t;
	struct fx *fx = with_points(true, &t);

	fx->ctx.now_ms += 60000;
	(void)partition_tick(&fx->ctx);
	cr_expect(fx->ctx.point_ms == fx->ctx.now_ms - 1000 + 5);
	settle(fx);
	cr_expect(written(fx) == 1);
	fx_destroy(fx);
}

/* From the begin of one checkpoint to the next. */
static int64_t gap_ms(struct fx *fx, uint64_t ns)
{
	const int64_t now_ms = fx->ctx.now_ms;

	cost_ns = ns;
	cr_assert(checkpoints_poll(&fx->ctx) == 1);
	settle(fx);
	fx->ctx.now_ms = checkpoints_next_ms(&fx->ctx);
	return fx->ctx.now_ms - now_ms;
}

Test(checkpoints, one_that_took_much_of_a_cpu_is_rested_from)
{
	struct topic *t;
	struct fx *fx = with_points(true, &t);

	fx->ctx.now_ms += 5000;
	cr_expect(gap_ms(fx, 0) == 5);
	cr_expect(gap_ms(fx, 250000) == 5);
	cr_expect(gap_ms(fx, 300000) == 6);
	cr_expect(gap_ms(fx, 1100000) == 22);
	cr_expect(gap_ms(fx, 900000000) == 100);
	cr_expect(gap_ms(fx, 0) == 5, "and from no other");
	fx_destroy(fx);
	cost_ns = 0;
}

/* A file system that is slow to make files holds up nobody but the next checkpoint. */
Test(checkpoints, the_lane_does_not_wait_for_the_files)
{
	struct topic *t;
	struct fx *fx = with_points(true, &t);
	struct partition *p = fx_partition(t, 0);
	int64_t end;

	gate_fd = eventfd(0, EFD_SEMAPHORE);
	fx->ctx.now_ms += 5000;
	cr_assert(checkpoints_poll(&fx->ctx) == 1);
	cr_expect(p->refs == 2, "%u", p->refs);
	end = fx_append(fx, p, 10) + 1;
	fx->ctx.now_ms += 1000;
	cr_expect(checkpoints_poll(&fx->ctx) == 0, "the next one waits");
	cr_expect(checkpoints_next_ms(&fx->ctx) == INT64_MAX);
	cr_expect(sl_log_end(p->log) == end && written(fx) == 0);
	/* Nor does it when the partition leaves. */
	partition_detach(&fx->ctx, p);
	fx_settle(fx);
	cr_expect(sl_list_is_empty(&fx->ctx.released), "its files are still written");
	open_gate(1000);
	settle(fx);
	partition_stop(&fx->ctx);
	cr_expect(!sl_list_is_empty(&fx->ctx.released));
	fx_destroy(fx);
	close(gate_fd);
	gate_fd = -1;
}

Test(checkpoints, the_stop_takes_the_one_under_way)
{
	struct topic *t;
	struct fx *fx = with_points(true, &t);

	fx->ctx.now_ms += 5000;
	cr_assert(checkpoints_poll(&fx->ctx) == 1);
	partition_stop(&fx->ctx);
	cr_expect(written(fx) == 1);
	cr_expect(checkpoints_poll(&fx->ctx) == 0 && checkpoints_next_ms(&fx->ctx) == INT64_MAX);
	fx_destroy(fx);
}

static int rename_full(void *ctx SL_UNUSED, int dirfd SL_UNUSED, const char *from SL_UNUSED,
                       const char *to SL_UNUSED)
{
	return -ENOSPC;
}

Test(checkpoints, a_failure_takes_the_dir_offline)
{
	struct topic *t;
	struct fx *fx = with_points(true, &t);
	uint32_t dir;
	int error;

	fx->ops.rename = rename_full;
	fx->ctx.now_ms += 5000;
	cr_assert(checkpoints_poll(&fx->ctx) == 1);
	fx_wait(fx);
	cr_expect(checkpoints_poll(&fx->ctx) >= 1);
	cr_expect(fx_partition(t, 0)->is_offline);
	cr_assert(partition_failed_dir(&fx->ctx.dirs, &dir, &error));
	cr_expect(dir == 0 && error == -ENOSPC);
	fx_destroy(fx);
}
