/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <sys/eventfd.h>

#include "fixture.h"

struct wait {
	struct waiter w;
	int woken;
	int order;
	enum sl_kerr kerr;
};

static int wake_order;

static void woken(struct ctx *ctx, struct waiter *w, enum sl_kerr kerr)
{
	struct wait *wait = w->owner;

	(void)ctx;
	cr_expect(w->partition == NULL, "a waiter is unlinked before it is woken");
	wait->woken++;
	wait->order = ++wake_order;
	wait->kerr = kerr;
}

static void wait_init(struct wait *wait, int64_t offset)
{
	memset(wait, 0, sizeof(*wait));
	sl_list_init(&wait->w.link);
	wait->w.wake = woken;
	wait->w.owner = wait;
	wait->w.offset = offset;
}

static enum sl_kerr append_with(struct fx *fx, struct partition *p, const struct fx_batch *b,
                                struct sl_log_append *io, bool *is_duplicate)
{
	struct sl_records r = fx_records(b);
	enum sl_kerr kerr;

	*is_duplicate = partition_append(&fx->ctx, p, (void *)(uintptr_t)r.p, (size_t)r.len, io,
	                                 &kerr) == PARTITION_DUPLICATE;
	free((void *)(uintptr_t)r.p);
	return kerr;
}

Test(partition, append_raises_high_watermark_and_wakes_fetches_once)
{
	struct fx *fx = fx_create();
	struct partition *p = fx_partition(fx_topic(fx, "t", 1, NULL), 0);
	struct wait wait;

	wait_init(&wait, 0);
	partition_wait_fetch(p, &wait.w, false);
	cr_expect(fx_append(fx, p, 10) == 0);
	cr_expect(p->high_watermark == 1 && sl_log_flushed(p->log) == 0,
	          "visible before it is durable");
	cr_expect(fx_append(fx, p, 10) == 1);
	cr_expect(wait.woken == 1 && wait.kerr == SL_KERR_NONE);
	cr_expect(atomic_load(&p->slot->log_end) == 2 &&
	          atomic_load(&p->slot->high_watermark) == 2);
	cr_expect(atomic_load(&p->slot->state) == SL_SLOT_OPEN);
	cr_expect(fx_stat(fx, SL_STAT_batches_in) == 2 && fx_stat(fx, SL_STAT_messages_in) == 2);
	fx_destroy(fx);
}

Test(partition, one_sync_makes_all_waiting_appends_durable)
{
	struct fx *fx = fx_create();
	struct partition *p = fx_partition(fx_topic(fx, "t", 1, NULL), 0);
	struct wait waits[8];

	for (int64_t i = 0; i < 8; i++) {
		cr_assert(fx_append(fx, p, 100) == i);
		wait_init(&waits[i], i + 1);
		cr_expect(partition_wait_sync(&fx->ctx, p, &waits[i].w));
	}
	fx_settle(fx);
	for (int i = 0; i < 8; i++)
		cr_expect(waits[i].woken == 1 && waits[i].kerr == SL_KERR_NONE);
	cr_expect(fx_stat(fx, SL_STAT_syncs) == 1);
	cr_expect(sl_log_flushed(p->log) == 8 && atomic_load(&p->slot->flushed) == 8);
	cr_expect(p->refs == 1);
	wait_init(&waits[0], 8);
	cr_expect(!partition_wait_sync(&fx->ctx, p, &waits[0].w), "durable already");
	fx_destroy(fx);
}

Test(partition, append_during_a_sync_waits_for_the_next_one)
{
	struct fx *fx = fx_create();
	struct partition *p = fx_partition(fx_topic(fx, "t", 1, NULL), 0);
	const uint64_t many = 100;
	struct wait first, second;

	/* Names of a new log are synced here, so that each sync below is one call. */
	fx_append(fx, p, 1);
	wait_init(&first, 1);
	cr_assert(partition_wait_sync(&fx->ctx, p, &first.w));
	fx_settle(fx);

	fx->gate_fd = eventfd(0, EFD_SEMAPHORE);
	fx_append(fx, p, 1);
	wait_init(&first, 2);
	cr_assert(partition_wait_sync(&fx->ctx, p, &first.w));
	cr_expect(partition_poll(&fx->ctx) == 1 && p->sync_running);
	fx_append(fx, p, 1);
	wait_init(&second, 3);
	cr_assert(partition_wait_sync(&fx->ctx, p, &second.w));
	cr_expect(partition_poll(&fx->ctx) == 0, "one sync at a time");
	cr_expect(write(fx->gate_fd, &(uint64_t){1}, 8) == 8);
	fx_wait(fx);
	cr_expect(partition_poll(&fx->ctx) == 2, "one ended, the next began");
	cr_expect(first.woken == 1 && second.woken == 0);
	cr_expect(write(fx->gate_fd, &many, 8) == 8);
	fx_settle(fx);
	cr_expect(second.woken == 1);
	cr_expect(fx_stat(fx, SL_STAT_syncs) == 3);
	fx_destroy(fx);
}

/* Appends a record that somebody waits for; polls.  Return: work done. */
static unsigned commit(struct fx *fx, struct partition *p, struct wait *wait)
{
	wait_init(wait, fx_append(fx, p, 1) + 1);
	cr_assert(partition_wait_sync(&fx->ctx, p, &wait->w));
	return partition_poll(&fx->ctx);
}

/* A sync of @us that takes @count waiters along. */
static void sync_for(struct fx *fx, struct partition *p, struct wait *waits, int count, uint64_t us)
{
	for (int i = 0; i < count; i++) {
		wait_init(&waits[i], fx_append(fx, p, 1) + 1);
		cr_assert(partition_wait_sync(&fx->ctx, p, &waits[i].w));
	}
	cr_assert(partition_poll(&fx->ctx) == 1 && p->sync_running);
	fx_wait(fx);
	fx->ctx.now_ns += us * 1000;
	cr_assert(partition_poll(&fx->ctx) == 1 && !p->sync_running);
}

Test(partition, sync_waits_for_as_many_as_the_last_one_answered)
{
	struct fx *fx = fx_create();
	struct partition *p = fx_partition(fx_topic(fx, "t", 1, NULL), 0);
	struct wait waits[3];

	sync_for(fx, p, waits, 3, 400);
	cr_expect(commit(fx, p, &waits[0]) == 0 && !p->sync_running, "two more are expected");
	cr_expect(fx->ctx.gather_ns == p->gather_until_ns, "so the lane does not sleep");
	cr_expect(commit(fx, p, &waits[1]) == 0 && !p->sync_running);
	cr_expect(commit(fx, p, &waits[2]) == 1 && p->sync_running, "all are back");
	cr_expect(fx->ctx.gather_ns == 0);
	fx_settle(fx);
	cr_expect(waits[0].woken == 1 && waits[1].woken == 1 && waits[2].woken == 1);
	cr_expect(fx_stat(fx, SL_STAT_syncs) == 2);
	fx_destroy(fx);
}

Test(partition, sync_waits_no_longer_for_more_than_the_last_one_ran)
{
	static const struct {
		uint64_t ran_us, waits_us;
	} cases[] = {{400, 400}, {30000, 1000}};

	for (size_t i = 0; i < SL_ARRAY_SIZE(cases); i++) {
		struct fx *fx = fx_create();
		struct partition *p = fx_partition(fx_topic(fx, "t", 1, NULL), 0);
		struct wait waits[2];

		sync_for(fx, p, waits, 2, cases[i].ran_us);
		cr_expect(commit(fx, p, &waits[0]) == 0);
		fx->ctx.now_ns += cases[i].waits_us * 1000 - 1;
		cr_expect(partition_poll(&fx->ctx) == 0);
		fx->ctx.now_ns++;
		cr_expect(partition_poll(&fx->ctx) == 1 && p->sync_running);
		fx_settle(fx);
		cr_expect(waits[0].woken == 1);
		/* One waiter is all there is now. */
		cr_expect(commit(fx, p, &waits[0]) == 1);
		fx_settle(fx);
		fx_destroy(fx);
	}
}

Test(partition, duplicate_waits_for_its_original_only)
{
	struct fx *fx = fx_create();
	struct partition *p = fx_partition(fx_topic(fx, "t", 1, NULL), 0);
	struct fx_batch b = {.has_producer = true, .producer_id = 7};
	struct sl_log_append io = {0};
	struct wait later, duplicate;
	bool is_duplicate;

	cr_assert(append_with(fx, p, &b, &io, &is_duplicate) == SL_KERR_NONE && !is_duplicate);
	b.base_sequence = 1;
	cr_assert(append_with(fx, p, &b, &io, &is_duplicate) == SL_KERR_NONE && !is_duplicate);
	wait_init(&later, io.last_offset + 1);
	cr_assert(partition_wait_sync(&fx->ctx, p, &later.w));
	b.base_sequence = 0;
	cr_assert(append_with(fx, p, &b, &io, &is_duplicate) == SL_KERR_NONE);
	cr_expect(is_duplicate && io.base_offset == 0 && sl_log_end(p->log) == 2);
	wait_init(&duplicate, io.last_offset + 1);
	cr_assert(partition_wait_sync(&fx->ctx, p, &duplicate.w));
	fx_settle(fx);
	cr_expect(duplicate.order < later.order && duplicate.order > 0);
	cr_expect(fx_stat(fx, SL_STAT_duplicates) == 1);
	fx_destroy(fx);
}

Test(partition, tells_producer_errors_apart_from_disk_errors)
{
	struct fx *fx = fx_create();
	struct partition *p = fx_partition(fx_topic(fx, "t", 1, NULL), 0);
	struct fx_batch b = {.has_producer = true, .producer_id = 7, .producer_epoch = 3};
	struct sl_log_append io = {0};
	bool is_duplicate;

	cr_assert(append_with(fx, p, &b, &io, &is_duplicate) == SL_KERR_NONE);
	b.base_sequence = 9;
	cr_expect(append_with(fx, p, &b, &io, &is_duplicate) ==
	          SL_KERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
	b.producer_epoch = 2;
	cr_expect(append_with(fx, p, &b, &io, &is_duplicate) == SL_KERR_INVALID_PRODUCER_EPOCH);
	cr_expect(!p->is_offline && fx_append(fx, p, 1) == 1);
	fx_destroy(fx);
}

Test(partition, lazy_flush_waits_for_nothing_until_flush_ms)
{
	struct fx *fx = fx_create();
	struct topic_config config = fx_config();
	struct partition *p;
	struct wait wait;

	config.flush.is_lazy = true;
	config.flush.ms = 3000;
	p = fx_partition(fx_topic(fx, "t", 1, &config), 0);
	fx_append(fx, p, 1);
	wait_init(&wait, 1);
	cr_expect(!partition_wait_sync(&fx->ctx, p, &wait.w));
	fx_settle(fx);
	cr_expect(fx_stat(fx, SL_STAT_syncs) == 0);
	fx->ctx.now_ms += 2999;
	cr_expect(partition_tick(&fx->ctx) == 0 && !p->sync_running);
	cr_expect(partition_next_ms(&fx->ctx) <= fx->ctx.now_ms + 1000);
	fx->ctx.now_ms = partition_next_ms(&fx->ctx);
	cr_expect(partition_tick(&fx->ctx) == 1 && p->sync_running);
	fx_settle(fx);
	cr_expect(sl_log_flushed(p->log) == 1 && fx_stat(fx, SL_STAT_syncs) == 1);
	fx->ctx.now_ms += 100000;
	cr_expect(partition_tick(&fx->ctx) <= 1 && !p->sync_running, "nothing left to sync");
	fx_destroy(fx);
}

Test(partition, flush_bytes_syncs_without_anybody_waiting)
{
	struct fx *fx = fx_create();
	struct topic_config config = fx_config();
	struct partition *p;
	unsigned appends = 0;

	config.flush.bytes = 1000;
	p = fx_partition(fx_topic(fx, "t", 1, &config), 0);
	while (sl_list_is_empty(&fx->ctx.dirty)) {
		fx_append(fx, p, 1);
		appends++;
	}
	cr_expect(appends > 1 && sl_log_bytes(p->log) >= 1000);
	fx_settle(fx);
	cr_expect(fx_stat(fx, SL_STAT_syncs) == 1);
	cr_expect(sl_log_flushed(p->log) == sl_log_end(p->log));
	/* Counted anew from there. */
	fx_append(fx, p, 1);
	fx_settle(fx);
	cr_expect(fx_stat(fx, SL_STAT_syncs) == 1);
	fx_destroy(fx);
}

Test(partition, failed_sync_fails_all_waiters_and_is_final)
{
	struct fx *fx = fx_create();
	struct partition *p = fx_partition(fx_topic(fx, "t", 1, NULL), 0);
	struct fx_batch b = {0};
	struct sl_log_append io = {0};
	struct wait waits[3];
	struct sl_log_range range;
	bool is_duplicate;

	for (int64_t i = 0; i < 3; i++) {
		fx_append(fx, p, 1);
		wait_init(&waits[i], i + 1);
		cr_assert(partition_wait_sync(&fx->ctx, p, &waits[i].w));
	}
	atomic_store(&fx->sync_error, -EIO);
	fx_settle(fx);
	for (int i = 0; i < 3; i++)
		cr_expect(waits[i].woken == 1 && waits[i].kerr == SL_KERR_KAFKA_STORAGE_ERROR);
	atomic_store(&fx->sync_error, 0);
	cr_expect(append_with(fx, p, &b, &io, &is_duplicate) == SL_KERR_KAFKA_STORAGE_ERROR);
	cr_expect(p->is_offline && atomic_load(&p->slot->state) == SL_SLOT_OFFLINE);
	cr_expect(fx_stat(fx, SL_STAT_partitions_offline) == 1);
	cr_expect(fx_stat(fx, SL_STAT_sync_errors) == 1);
	cr_assert(sl_log_read(p->log, 0, p->high_watermark, 1 << 20, true, &range) == 0);
	cr_expect(range.bytes > 0, "reads are still served");
	sl_log_range_put(p->log, &range);
	fx_destroy(fx);
}

Test(partition, failed_append_fails_earlier_waiters_in_the_next_poll)
{
	struct fx *fx = fx_create();
	struct partition *p = fx_partition(fx_topic(fx, "t", 1, NULL), 0);
	struct fx_batch b = {0};
	struct sl_log_append io = {0};
	bool is_duplicate;
	struct wait wait;

	fx_append(fx, p, 1);
	wait_init(&wait, 1);
	cr_assert(partition_wait_sync(&fx->ctx, p, &wait.w));
	atomic_store(&fx->pwrite_error, -ENOSPC);
	cr_expect(append_with(fx, p, &b, &io, &is_duplicate) == SL_KERR_KAFKA_STORAGE_ERROR);
	cr_expect(wait.woken == 0, "no wait ends inside an append");
	cr_expect(partition_poll(&fx->ctx) == 1);
	cr_expect(wait.woken == 1 && wait.kerr == SL_KERR_KAFKA_STORAGE_ERROR);
	cr_expect(fx_stat(fx, SL_STAT_partitions_offline) == 1);
	fx_destroy(fx);
}

Test(partition, a_failed_disk_takes_the_whole_log_dir_offline)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 4, NULL);
	struct fx_batch b = {0};
	struct sl_log_append io = {0};
	struct sl_log_range range;
	bool is_duplicate;
	struct wait wait;
	uint64_t woken;
	uint32_t dir;
	int error;

	/* 0 and 1 in one dir, 2 and 3 in another. */
	for (int i = 0; i < 4; i++)
		fx_partition(t, i)->log_dir = i < 2 ? 5 : 63;
	fx_append(fx, fx_partition(t, 1), 1);
	wait_init(&wait, 1);
	cr_assert(partition_wait_sync(&fx->ctx, fx_partition(t, 1), &wait.w));
	cr_expect(!partition_failed_dir(&fx->ctx.dirs, &dir, &error));
	atomic_store(&fx->pwrite_error, -ENOSPC);
	cr_expect(append_with(fx, fx_partition(t, 0), &b, &io, &is_duplicate) ==
	          SL_KERR_KAFKA_STORAGE_ERROR);
	atomic_store(&fx->pwrite_error, 0);
	cr_expect(append_with(fx, fx_partition(t, 1), &b, &io, &is_duplicate) ==
	                  SL_KERR_KAFKA_STORAGE_ERROR,
	          "its own log is well, its dir is not");
	cr_expect(sl_log_error(fx_partition(t, 1)->log) == 0);
	cr_expect(atomic_load(&fx_partition(t, 1)->slot->state) == SL_SLOT_OFFLINE);
	cr_expect(fx_stat(fx, SL_STAT_partitions_offline) == 2);
	cr_expect(wait.woken == 0);
	(void)partition_poll(&fx->ctx);
	cr_expect(wait.woken == 1 && wait.kerr == SL_KERR_KAFKA_STORAGE_ERROR);
	cr_assert(sl_log_read(fx_partition(t, 1)->log, 0, 1, 1000, true, &range) == 0);
	cr_expect(range.bytes > 0, "reads go on");
	sl_log_range_put(fx_partition(t, 1)->log, &range);
	/* The host hears of it once, with the reason. */
	cr_expect(read(fx->host_wake_fd, &woken, sizeof(woken)) == sizeof(woken) && woken == 1);
	cr_assert(partition_failed_dir(&fx->ctx.dirs, &dir, &error));
	cr_expect(dir == 5 && error == -ENOSPC);
	cr_expect(!partition_failed_dir(&fx->ctx.dirs, &dir, &error));
	/* The other dir is as ever. */
	for (int i = 2; i < 4; i++)
		cr_expect(append_with(fx, fx_partition(t, i), &b, &io, &is_duplicate) ==
		          SL_KERR_NONE);
	cr_expect(atomic_load(&fx_partition(t, 3)->slot->state) == SL_SLOT_OPEN);
	fx_destroy(fx);
}

Test(partition, the_hosts_word_takes_a_dir_offline_and_what_is_attached_later)
{
	struct fx *fx = fx_create();
	struct partition *p = fx_partition(fx_topic(fx, "t", 1, NULL), 0);
	struct fx_batch b = {0};
	struct sl_log_append io = {0};
	struct partition *late;
	bool is_duplicate;
	uint32_t dir;
	int error;

	partition_dir_offline(&fx->ctx, 0, -EIO);
	partition_dir_offline(&fx->ctx, 0, -EIO);
	cr_expect(append_with(fx, p, &b, &io, &is_duplicate) == SL_KERR_KAFKA_STORAGE_ERROR);
	late = fx_partition(fx_topic(fx, "late", 1, NULL), 0);
	cr_expect(append_with(fx, late, &b, &io, &is_duplicate) == SL_KERR_KAFKA_STORAGE_ERROR);
	cr_expect(atomic_load(&late->slot->state) == SL_SLOT_OFFLINE);
	cr_expect(fx_stat(fx, SL_STAT_partitions_offline) == 2);
	cr_expect(!partition_failed_dir(&fx->ctx.dirs, &dir, &error), "the host knows");
	partition_detach(&fx->ctx, late);
	cr_expect(fx_stat(fx, SL_STAT_partitions_offline) == 1);
	fx_destroy(fx);
}

Test(partition, a_sync_that_fails_after_detach_still_takes_its_dir_offline)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 2, NULL);
	const uint64_t many = 100;
	struct wait sync;
	uint32_t dir;
	int error;

	fx->gate_fd = eventfd(0, EFD_SEMAPHORE);
	fx_append(fx, fx_partition(t, 0), 1);
	wait_init(&sync, 1);
	cr_assert(partition_wait_sync(&fx->ctx, fx_partition(t, 0), &sync.w));
	cr_expect(partition_poll(&fx->ctx) == 1);
	partition_detach(&fx->ctx, fx_partition(t, 0));
	atomic_store(&fx->sync_error, -EIO);
	cr_expect(write(fx->gate_fd, &many, 8) == 8);
	fx_settle(fx);
	cr_expect(fx_partition(t, 1)->is_offline);
	cr_expect(fx_stat(fx, SL_STAT_partitions_offline) == 1, "the one that is still here");
	cr_expect(atomic_load(&fx_partition(t, 0)->slot->state) == SL_SLOT_FREE);
	cr_assert(partition_failed_dir(&fx->ctx.dirs, &dir, &error));
	cr_expect(dir == 0 && error == -EIO);
	fx_destroy(fx);
}

Test(partition, a_lack_of_descriptors_takes_one_partition_offline_only)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 2, NULL);
	struct fx_batch b = {0};
	struct sl_log_append io = {0};
	bool is_duplicate;
	uint32_t dir;
	int error;

	atomic_store(&fx->pwrite_error, -EMFILE);
	cr_expect(append_with(fx, fx_partition(t, 0), &b, &io, &is_duplicate) ==
	          SL_KERR_KAFKA_STORAGE_ERROR);
	atomic_store(&fx->pwrite_error, 0);
	cr_expect(fx_partition(t, 0)->is_offline && !fx_partition(t, 1)->is_offline);
	cr_expect(!partition_failed_dir(&fx->ctx.dirs, &dir, &error));
	cr_expect(append_with(fx, fx_partition(t, 1), &b, &io, &is_duplicate) == SL_KERR_NONE);
	fx_destroy(fx);
}

Test(partition, detach_fails_waiters_and_releases_after_the_last_range)
{
	struct fx *fx = fx_create();
	struct partition *p = fx_partition(fx_topic(fx, "t", 1, NULL), 0);
	struct reply_range rr = {.owner = p, .put = partition_range_put};
	struct wait fetch, sync;

	fx_append(fx, p, 1);
	cr_assert(sl_log_read(p->log, 0, 1, 1000, true, &rr.range) == 0);
	partition_get(p);
	wait_init(&fetch, 0);
	wait_init(&sync, 1);
	partition_wait_fetch(p, &fetch.w, false);
	cr_assert(partition_wait_sync(&fx->ctx, p, &sync.w));
	partition_detach(&fx->ctx, p);
	cr_expect(fetch.kerr == SL_KERR_NOT_LEADER_OR_FOLLOWER && fetch.woken == 1);
	cr_expect(sync.kerr == SL_KERR_NOT_LEADER_OR_FOLLOWER && sync.woken == 1);
	cr_expect(sl_list_is_empty(&fx->ctx.released), "a reply still sends from it");
	cr_expect(sl_list_is_empty(&fx->ctx.dirty) && sl_list_is_empty(&fx->ctx.partitions));
	rr.put(&fx->ctx, &rr);
	cr_expect(sl_list_first(&fx->ctx.released, struct partition, lane_link) == p);
	cr_expect(atomic_load(&p->slot->state) == SL_SLOT_FREE);
	cr_expect(fx_stat(fx, SL_STAT_partitions) == 0);
	fx_destroy(fx);
}

Test(partition, detach_during_a_sync_releases_when_it_ended)
{
	struct fx *fx = fx_create();
	struct partition *p = fx_partition(fx_topic(fx, "t", 1, NULL), 0);
	const uint64_t many = 100;
	struct wait sync;

	fx->gate_fd = eventfd(0, EFD_SEMAPHORE);
	fx_append(fx, p, 1);
	wait_init(&sync, 1);
	cr_assert(partition_wait_sync(&fx->ctx, p, &sync.w));
	cr_expect(partition_poll(&fx->ctx) == 1);
	partition_detach(&fx->ctx, p);
	cr_expect(sync.kerr == SL_KERR_NOT_LEADER_OR_FOLLOWER);
	cr_expect(sl_list_is_empty(&fx->ctx.released));
	cr_expect(write(fx->gate_fd, &many, 8) == 8);
	fx_settle(fx);
	cr_expect(!sl_list_is_empty(&fx->ctx.released));
	cr_expect(sync.woken == 1);
	fx_destroy(fx);
}

Test(partition, stop_takes_the_results_of_what_is_under_way)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 3, NULL);
	struct wait waits[3];

	for (int i = 0; i < 3; i++) {
		fx_append(fx, fx_partition(t, i), 1);
		wait_init(&waits[i], 1);
		cr_assert(partition_wait_sync(&fx->ctx, fx_partition(t, i), &waits[i].w));
	}
	cr_expect(partition_poll(&fx->ctx) == 3);
	partition_stop(&fx->ctx);
	for (int i = 0; i < 3; i++)
		cr_expect(waits[i].woken == 1 && !fx_partition(t, i)->sync_running);
	cr_expect(writer_is_full(fx->ctx.writer), "nothing is taken any more");
	fx_destroy(fx);
}

/* Whose clients have gone: nobody comes back for the sync to wait for. */
Test(partition, stop_gathers_nobody)
{
	struct fx *fx = fx_create();
	struct partition *p = fx_partition(fx_topic(fx, "t", 1, NULL), 0);
	struct wait waits[3];

	sync_for(fx, p, waits, 3, 400);
	cr_assert(commit(fx, p, &waits[0]) == 0);
	partition_unwait(&waits[0].w);
	partition_stop(&fx->ctx);
	cr_expect(sl_list_is_empty(&fx->ctx.dirty) && !p->sync_running);
	fx_destroy(fx);
}

Test(partition, full_writer_leaves_partitions_dirty)
{
	struct fx *fx = fx_create();
	struct topic *t = fx_topic(fx, "t", 3, NULL);
	struct wait waits[3];

	fx_writer(fx, 2);
	for (int i = 0; i < 3; i++) {
		fx_append(fx, fx_partition(t, i), 1);
		wait_init(&waits[i], 1);
		cr_assert(partition_wait_sync(&fx->ctx, fx_partition(t, i), &waits[i].w));
	}
	cr_expect(partition_poll(&fx->ctx) == 2);
	cr_expect(!sl_list_is_empty(&fx->ctx.dirty));
	cr_expect(partition_next_ms(&fx->ctx) <= fx->ctx.now_ms + 10);
	fx_settle(fx);
	for (int i = 0; i < 3; i++)
		cr_expect(waits[i].woken == 1);
	fx_destroy(fx);
}

Test(partition, tick_deletes_old_segments_a_few_partitions_at_a_time)
{
	struct fx *fx = fx_create();
	struct topic_config config = fx_config();
	struct topic *t;
	unsigned calls = 0;

	config.log.retention_bytes = 1;
	config.log.segment_bytes = 1 << 20;
	t = fx_topic(fx, "t", 20, &config);
	for (int i = 0; i < 20; i++) {
		config.log.segment_bytes = 100;
		sl_log_set_config(fx_partition(t, i)->log, &config.log);
		fx_append(fx, fx_partition(t, i), 10);
		fx_append(fx, fx_partition(t, i), 10);
	}
	cr_expect(partition_tick(&fx->ctx) == 0, "not due yet");
	fx->ctx.now_ms += 30000;
	for (unsigned n; (n = partition_tick(&fx->ctx)) > 0; calls++)
		cr_expect(n <= 4);
	cr_expect(calls >= 5);
	for (int i = 0; i < 20; i++) {
		cr_expect(sl_log_start(fx_partition(t, i)->log) == 1);
		cr_expect(atomic_load(&fx_partition(t, i)->slot->log_start) == 1);
	}
	cr_expect(partition_next_ms(&fx->ctx) > fx->ctx.now_ms);
	fx_destroy(fx);
}

Test(partition, configure_reaches_the_log_and_its_flush_mode)
{
	struct fx *fx = fx_create();
	struct partition *p = fx_partition(fx_topic(fx, "t", 1, NULL), 0);
	struct topic_config config = fx_config();
	struct sl_log_append io = {0};
	struct fx_batch b = {.value_bytes = 2000};
	bool is_duplicate;
	struct wait wait;

	config.log.segment_bytes = 1000;
	partition_configure(&fx->ctx, p, &config.log,
	                    &(struct flush_policy){.is_lazy = true, .ms = 10, .bytes = INT64_MAX});
	cr_expect(append_with(fx, p, &b, &io, &is_duplicate) == SL_KERR_RECORD_LIST_TOO_LARGE);
	fx_append(fx, p, 1);
	wait_init(&wait, 1);
	cr_expect(!partition_wait_sync(&fx->ctx, p, &wait.w));
	fx_destroy(fx);
}

/* ---- The end of the log, reserved ---- */

static bool give_way(struct ctx *ctx, struct reservation *r)
{
	(void)ctx;
	return r->memory != NULL;
}

static struct partition *with_tier(struct fx *fx)
{
	fx_tier(fx, false);
	return fx_partition(fx_topic(fx, "t", 1, NULL), 0);
}

static enum partition_outcome append_there(struct fx *fx, struct partition *p,
                                           const struct fx_batch *b, struct reservation *r,
                                           enum sl_kerr *kerr)
{
	struct sl_records records = fx_records(b);
	struct sl_log_append io = {0};

	cr_assert(partition_reserve(&fx->ctx, p, (size_t)records.len, r) == 0);
	cr_expect(p->reservation == r && p->refs == 2);
	memcpy(r->memory, records.p, (size_t)records.len);
	free((void *)(uintptr_t)records.p);
	return partition_append(&fx->ctx, p, r->memory, (size_t)records.len, &io, kerr);
}

Test(partition, takes_reserved_memory_back_with_the_append_that_ends_in_it)
{
	struct fx *fx = fx_create();
	struct partition *p = with_tier(fx);
	struct fx_batch b = {.value_bytes = 100, .has_producer = true, .producer_id = 1};
	struct reservation r = {.displace = give_way};
	static const enum partition_outcome outcomes[] = {PARTITION_APPENDED, PARTITION_DUPLICATE,
	                                                  PARTITION_REFUSED};
	enum sl_kerr kerr;

	for (size_t i = 0; i < SL_ARRAY_SIZE(outcomes); i++) {
		b.base_sequence = i == 2 ? 5 : 0;
		cr_expect(append_there(fx, p, &b, &r, &kerr) == outcomes[i]);
		cr_expect(kerr == (i == 2 ? SL_KERR_OUT_OF_ORDER_SEQUENCE_NUMBER : SL_KERR_NONE));
		cr_expect(!p->reservation && !r.partition && p->refs == 1);
	}
	cr_expect(sl_log_end(p->log) == 1);
	fx_destroy(fx);
}

Test(partition, lends_the_end_of_its_log_to_one_at_a_time)
{
	struct fx *fx = fx_create();
	struct partition *p = with_tier(fx);
	struct reservation first = {.displace = give_way}, second = {.displace = give_way};

	cr_assert(partition_reserve(&fx->ctx, p, 1000, &first) == 0);
	cr_expect(!partition_is_contested(&fx->ctx, p));
	cr_expect(partition_reserve(&fx->ctx, p, 1000, &second) == -EBUSY);
	cr_expect(partition_is_contested(&fx->ctx, p));
	partition_unreserve(&fx->ctx, &first);
	partition_unreserve(&fx->ctx, &first);
	cr_expect(partition_reserve(&fx->ctx, p, 1000, &second) == 0);
	cr_expect(fx_append(fx, p, 10) == 0, "whoever appends does not wait");
	cr_expect(!second.partition && p->refs == 1);
	partition_dir_offline(&fx->ctx, 0, -EIO);
	cr_expect(partition_reserve(&fx->ctx, p, 1000, &first) < 0);
	fx_destroy(fx);
}
