/* SPDX-License-Identifier: Apache-2.0 */
/* Compaction between a lane and the cleaner, whose turns are taken here but where a thread matters.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "fixture.h"
#include "partition/cleaner.h"
#include "partition/cleaning.h"

#define BACKOFF_MS 1000
#define TURNS_MAX  1000

static struct fx *fx;
static struct cleaner *cleaner;

static void make_cleaner(int64_t bytes_per_second)
{
	const struct cleaner_opts o = {.files = {&fx->ops, fx},
	                               .map_bytes = 1 << 20,
	                               .window_bytes = 4096,
	                               .bytes_per_second = bytes_per_second,
	                               .lanes_count = 2};

	cr_assert(cleaner_create(&cleaner, &o) == 0);
	fx->ctx.cleaning.port = cleaner_port(cleaner, 0);
	cleaner_port_open(fx->ctx.cleaning.port, fx->wake_fd);
}

static void set_up(void)
{
	fx = fx_create();
	fx->config.clean_backoff_ms = BACKOFF_MS;
	make_cleaner(INT64_MAX);
}

static void tear_down(void)
{
	/* The lane's end cancels what is under way, and the cleaner has to hear of it. */
	if (fx->ctx.cleaning.busy) {
		sl_clean_cancel(fx->ctx.cleaning.clean);
		while (fx->ctx.cleaning.busy) {
			(void)cleaner_turn(cleaner);
			(void)cleaning_poll(&fx->ctx);
		}
	}
	fx_destroy(fx);
	cleaner_destroy(cleaner);
}

TestSuite(cleaning, .init = set_up, .fini = tear_down);

static struct topic_config compacted(void)
{
	struct topic_config c = fx_config();

	c.is_compact = c.log.is_compact = true;
	c.log.is_delete = false;
	c.log.segment_bytes = 4096;
	c.log.min_dirty_ppm = 500000;
	c.log.max_compaction_lag_ms = INT64_MAX;
	return c;
}

static struct partition *make_partition(const char *name, const struct topic_config *config)
{
	return fx_partition(fx_topic(fx, name, 1, config), 0);
}

static void woken(struct ctx *ctx, struct waiter *w, enum sl_kerr kerr)
{
	(void)ctx;
	(void)w;
	cr_expect(kerr == SL_KERR_NONE);
}

/* Records of ten keys, all of them durable. */
static void put(struct partition *p, int count)
{
	struct waiter w = {.wake = woken};
	char key[16];

	sl_list_init(&w.link);
	for (int i = 0; i < count; i++) {
		const struct fx_batch b = {.key = key, .value_bytes = 100};
		struct sl_records r;
		struct sl_log_append io = {0};
		enum sl_kerr kerr;

		snprintf(key, sizeof(key), "k%d", i % 10);
		r = fx_records(&b);
		while (partition_append(&fx->ctx, p, (void *)(uintptr_t)r.p, (size_t)r.len, &io,
		                        &kerr) == PARTITION_TIER_FULL)
			fx_settle(fx);
		cr_assert(kerr == SL_KERR_NONE);
		free((void *)(uintptr_t)r.p);
	}
	/* One sync takes a few segments only: who waits makes it go on. */
	w.offset = sl_log_end(p->log);
	if (partition_wait_sync(&fx->ctx, p, &w))
		fx_settle(fx);
	cr_assert(sl_log_flushed(p->log) == sl_log_end(p->log));
}

/* The lane and the cleaner in turns until neither has anything to do. */
static void run(void)
{
	for (int i = 0; i < TURNS_MAX; i++) {
		unsigned work = cleaning_poll(&fx->ctx);

		if (!cleaner_turn(cleaner) && work == 0)
			return;
	}
	cr_assert_fail("it does not end");
}

static uint32_t slot_state(const struct partition *p)
{
	return atomic_load(&p->slot->cleaner);
}

Test(cleaning, compacts_what_is_dirty_and_tells_of_it)
{
	const struct topic_config config = compacted();
	struct partition *p = make_partition("a", &config);
	struct partition *plain = make_partition("b", NULL);
	const uint64_t plain_bytes = 300;
	uint64_t before;

	put(p, 300);
	(void)fx_append(fx, plain, (uint32_t)plain_bytes);
	before = sl_log_bytes(p->log);
	cr_expect(slot_state(p) == SL_SLOT_CLEANER_WAITING);
	cr_expect(slot_state(plain) == SL_SLOT_CLEANER_NONE);
	cr_expect(atomic_load(&plain->slot->clean_offset) == -1);
	cr_assert(cleaning_poll(&fx->ctx) > 0);
	cr_expect(fx->ctx.cleaning.busy == p && slot_state(p) == SL_SLOT_CLEANER_RUNNING);
	cr_expect(p->refs == 2, "the log stays open");
	run();
	cr_expect(!fx->ctx.cleaning.busy && p->refs == 1);
	cr_expect(sl_log_bytes(p->log) < before / 4);
	cr_expect(atomic_load(&p->slot->log_bytes) == sl_log_bytes(p->log));
	cr_expect(atomic_load(&p->slot->clean_offset) == sl_log_clean_offset(p->log));
	cr_expect(sl_log_clean_offset(p->log) > 250);
	cr_expect(slot_state(p) == SL_SLOT_CLEANER_WAITING);
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 1);
	cr_expect(fx_stat(fx, SL_STAT_clean_records_read) == (uint64_t)sl_log_clean_offset(p->log));
	cr_expect(fx_stat(fx, SL_STAT_clean_records_kept) == 10);
	cr_expect(fx_stat(fx, SL_STAT_clean_recopy_percent) < 30);
	cr_expect(fx_stat(fx, SL_STAT_clean_bytes_read) > fx_stat(fx, SL_STAT_clean_bytes_written));
	/* Nothing is dirty enough now. */
	fx->ctx.now_ms += BACKOFF_MS;
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 1);
	cr_expect(fx_stat(fx, SL_STAT_clean_max_dirty_percent) < 50);
}

Test(cleaning, the_dirtiest_log_comes_first)
{
	const struct topic_config config = compacted();
	struct topic_config eager = config;
	struct partition *clean, *dirty;

	eager.log.min_dirty_ppm = 10000;
	clean = make_partition("clean", &eager);
	put(clean, 300);
	run();
	cr_assert(fx_stat(fx, SL_STAT_cleanings) == 1);
	put(clean, 40);
	dirty = make_partition("dirty", &config);
	put(dirty, 300);
	fx->ctx.now_ms += BACKOFF_MS;
	cr_assert(cleaning_poll(&fx->ctx) == 2);
	cr_expect(fx->ctx.cleaning.busy == dirty);
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 3, "then the other");
}

Test(cleaning, looks_no_sooner_than_the_backoff)
{
	const struct topic_config config = compacted();
	struct partition *p = make_partition("a", &config);

	run();
	cr_expect(cleaning_next_ms(&fx->ctx) == fx->ctx.now_ms + BACKOFF_MS);
	put(p, 300);
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 0);
	fx->ctx.now_ms += BACKOFF_MS - 1;
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 0);
	fx->ctx.now_ms += 1;
	cr_expect(cleaning_poll(&fx->ctx) > 0);
	cr_expect(cleaning_next_ms(&fx->ctx) == INT64_MAX, "the cleaner wakes the lane");
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 1);
}

Test(cleaning, follows_the_cleanup_policy)
{
	struct topic_config config = compacted();
	struct topic_config plain = config;
	struct partition *p;

	plain.log.is_compact = false;
	p = make_partition("a", &plain);
	put(p, 300);
	fx->ctx.now_ms += BACKOFF_MS;
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 0);
	cr_expect(cleaning_next_ms(&fx->ctx) == INT64_MAX, "there is nothing to look at");
	partition_configure(&fx->ctx, p, &config.log, &config.flush);
	cr_expect(slot_state(p) == SL_SLOT_CLEANER_WAITING);
	cr_assert(cleaning_poll(&fx->ctx) > 0);
	cr_assert(fx->ctx.cleaning.busy == p);
	/* Away again, in the middle. */
	partition_configure(&fx->ctx, p, &plain.log, &plain.flush);
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 0);
	cr_expect(fx_stat(fx, SL_STAT_clean_cancelled) == 1);
	cr_expect(slot_state(p) == SL_SLOT_CLEANER_NONE && p->refs == 1);
}

Test(cleaning, log_that_is_detached_is_let_go_when_the_cleaner_has_given_it_back)
{
	const struct topic_config config = compacted();
	struct partition *p = make_partition("a", &config);

	put(p, 300);
	cr_assert(cleaning_poll(&fx->ctx) > 0);
	partition_detach(&fx->ctx, p);
	cr_expect(p->refs == 1 && sl_list_is_empty(&fx->ctx.released));
	cr_expect(cleaner_turn(cleaner));
	cr_expect(cleaning_poll(&fx->ctx) == 1);
	cr_expect(p->refs == 0 && fx->ctx.released.next == &p->lane_link);
	cr_expect(fx_stat(fx, SL_STAT_clean_cancelled) == 1);
	cr_expect(fx_stat(fx, SL_STAT_clean_uncleanable) == 0);
	sl_list_del(&p->lane_link);
}

static void flip(const struct partition *p, off_t pos)
{
	char path[400];
	uint8_t byte;
	int fd;

	snprintf(path, sizeof(path), "%s/%s/00000000000000000000.log", fx->dir, p->name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	cr_assert(fd >= 0 && pread(fd, &byte, 1, pos) == 1);
	byte ^= 1;
	cr_assert(pwrite(fd, &byte, 1, pos) == 1);
	close(fd);
}

Test(cleaning, damage_takes_the_partition_out_and_nothing_else)
{
	const struct topic_config config = compacted();
	struct partition *bad = make_partition("bad", &config);
	struct partition *good = make_partition("good", &config);

	put(bad, 300);
	flip(bad, 100);
	run();
	cr_expect(slot_state(bad) == SL_SLOT_CLEANER_FAILED && bad->clean_error == -EBADMSG);
	cr_expect(fx_stat(fx, SL_STAT_clean_failed) == 1);
	cr_expect(fx_stat(fx, SL_STAT_clean_uncleanable) == 1);
	cr_expect(!bad->is_offline && fx_append(fx, bad, 10) == 300,
	          "it takes records all the same");
	put(good, 300);
	for (int i = 0; i < 3; i++) {
		fx->ctx.now_ms += BACKOFF_MS;
		run();
	}
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 1 && fx_stat(fx, SL_STAT_clean_failed) == 1);
	/* Mended, and somebody says so. */
	flip(bad, 100);
	partition_configure(&fx->ctx, bad, &config.log, &config.flush);
	cr_expect(fx_stat(fx, SL_STAT_clean_uncleanable) == 0);
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 2 && bad->clean_error == 0);
}

Test(cleaning, full_disk_is_tried_again)
{
	const struct topic_config config = compacted();
	struct partition *p = make_partition("a", &config);

	put(p, 300);
	atomic_store(&fx->pwrite_error, -ENOSPC);
	run();
	cr_expect(fx_stat(fx, SL_STAT_clean_failed) == 1 && p->clean_error == 0);
	cr_expect(slot_state(p) == SL_SLOT_CLEANER_WAITING && !p->is_offline);
	atomic_store(&fx->pwrite_error, 0);
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 0, "not at once");
	fx->ctx.now_ms += BACKOFF_MS;
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 1);
}

Test(cleaning, nothing_is_swapped_in_a_dir_that_has_failed)
{
	const struct topic_config config = compacted();
	struct partition *p = make_partition("a", &config);
	uint32_t segments;

	put(p, 300);
	segments = sl_log_segments(p->log);
	cr_assert(cleaning_poll(&fx->ctx) > 0);
	cr_assert(cleaner_turn(cleaner));
	partition_dir_offline(&fx->ctx, p->log_dir, -EIO);
	run();
	cr_expect(sl_log_segments(p->log) == segments);
	cr_expect(fx_stat(fx, SL_STAT_clean_cancelled) == 1);
	fx->ctx.now_ms += BACKOFF_MS;
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 0);
}

Test(cleaning, cleans_what_the_hot_tier_has_written_and_keeps_it_readable)
{
	const struct topic_config config = compacted();
	struct sl_log_range range;
	struct partition *p;
	uint8_t bytes[300];

	fx_tier(fx, false);
	p = make_partition("a", &config);
	put(p, 300);
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 1);
	for (int64_t at = 0; at < 300;) {
		struct sl_batch_head head;

		cr_assert(sl_log_read(p->log, at, 300, sizeof(bytes), true, &range) == 0);
		cr_assert(range.bytes > 0);
		cr_assert(sl_log_range_copy(p->log, &range, bytes, sizeof(bytes)) > 0);
		cr_assert(sl_batch_peek(bytes, range.bytes, &head) == 0);
		cr_expect(sl_batch_check_crc(bytes, &head));
		at = sl_batch_last_offset(&head) + 1;
		sl_log_range_put(p->log, &range);
	}
}

Test(cleaning, lanes_take_turns_with_whole_cleanings)
{
	const struct topic_config config = compacted();
	struct partition *p = make_partition("a", &config);
	struct partition *q = make_partition("b", &config);
	struct cleaner_port *other = cleaner_port(cleaner, 1);
	struct sl_clean *c;
	int result;

	put(p, 300);
	put(q, 300);
	cr_assert(cleaning_poll(&fx->ctx) > 0);
	q = fx->ctx.cleaning.busy == p ? q : p;
	cleaner_port_open(other, fx->wake_fd);
	cr_assert(sl_log_clean_begin(&c, q->log, 300, FX_WALL_MS) == 0);
	/* As dirty as can be, and still it waits until the first is through. */
	cr_assert(cleaner_turn(cleaner));
	cleaner_submit(other, c, UINT32_MAX);
	cr_expect(!cleaner_turn(cleaner), "the first one's lane is to swap");
	cr_expect(cleaner_reap(other, &result) == NULL);
	while (fx->ctx.cleaning.busy) {
		cr_expect(cleaner_reap(other, &result) == NULL);
		cr_assert(cleaning_poll(&fx->ctx) > 0);
		if (fx->ctx.cleaning.busy)
			cr_assert(cleaner_turn(cleaner));
	}
	cr_assert(cleaner_turn(cleaner));
	while (cleaner_reap(other, &result) == c && result == 1) {
		sl_log_clean_swap(q->log, c);
		cleaner_submit(other, c, 0);
		cr_assert(cleaner_turn(cleaner));
	}
	cr_expect(result == 0);
	sl_log_clean_end(q->log, c, result);
}

/* One byte a second: only an end that interrupts the sleep comes in time. */
Test(cleaning, end_of_the_lane_interrupts_a_cleaner_that_waits_for_its_bandwidth)
{
	const struct topic_config config = compacted();
	struct partition *p = make_partition("a", &config);
	cpu_set_t cpus;

	cleaner_destroy(cleaner);
	make_cleaner(1);
	CPU_ZERO(&cpus);
	for (int i = 0; i < CPU_SETSIZE; i++)
		CPU_SET(i, &cpus);
	cr_assert(cleaner_start(cleaner, &cpus) == 0);
	put(p, 300);
	while (!fx->ctx.cleaning.busy)
		cr_assert(cleaning_poll(&fx->ctx) > 0);
	cleaning_stop(&fx->ctx);
	cr_expect(!fx->ctx.cleaning.busy && p->refs == 1);
	cr_expect(fx_stat(fx, SL_STAT_clean_cancelled) == 1);
}

Test(cleaning, a_thread_compacts_what_the_lane_gives_it)
{
	const struct topic_config config = compacted();
	struct partition *p = make_partition("a", &config);
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	for (int i = 0; i < CPU_SETSIZE; i++)
		CPU_SET(i, &cpus);
	cr_assert(cleaner_start(cleaner, &cpus) == 0);
	put(p, 300);
	cr_assert(cleaning_poll(&fx->ctx) > 0);
	while (fx->ctx.cleaning.busy) {
		fx_wait(fx);
		(void)cleaning_poll(&fx->ctx);
	}
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 1);
}
