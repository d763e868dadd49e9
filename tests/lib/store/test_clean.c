/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "clean_impl.h"
#include "compaction.h"
#include "log_impl.h"

static struct fixture *f;
static struct kv *kv;

static void set_up(void)
{
	f = calloc(1, sizeof(*f));
	kv = calloc(1, sizeof(*kv));
	fixture_init(f);
	kv_init(kv, f);
	fixture_must_open(f, false);
}

static void tear_down(void)
{
	fixture_fini(f);
	kv_fini(kv);
	free(kv);
	free(f);
}

TestSuite(clean, .init = set_up, .fini = tear_down);

Test(clean, keeps_the_last_record_of_each_key_under_its_offset)
{
	struct kv_left before, after;

	for (int i = 0; i < 600; i++)
		kv_put(kv, i % 7, i);
	kv_seal(kv);
	kv_check(kv, true, &before);
	cr_assert_eq(before.records, 600);
	kv_must_clean(kv);
	kv_check(kv, true, &after);
	cr_assert_eq(after.records, 7);
	cr_assert_lt(after.bytes, before.bytes / 20);
	cr_assert_eq(sl_log_end(f->log), 600);
	cr_assert_eq(sl_log_clean_offset(f->log), 600);
	cr_assert_eq(sl_log_start(f->log), 0);
}

Test(clean, has_nothing_to_do_without_a_closed_segment)
{
	struct sl_cleanable found;

	for (int i = 0; i < 10; i++)
		kv_put(kv, 1, i);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_eq(sl_log_cleanable(f->log, 10, f->now_ms, &found), 0);
	cr_assert_eq(kv_clean(kv), -ENODATA);
}

Test(clean, leaves_alone_what_no_sync_has_covered)
{
	struct sl_cleanable found;

	for (int i = 0; i < 10; i++)
		kv_put(kv, 1, i);
	cr_assert_eq(segment_roll(f->log), 0);
	cr_assert_eq(sl_log_cleanable(f->log, 10, f->now_ms, &found), 0);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_eq(sl_log_cleanable(f->log, 10, f->now_ms, &found), 1);
	cr_assert_eq(found.end, 10);
}

Test(clean, stops_at_the_stable_offset)
{
	struct sl_cleanable found;

	for (int i = 0; i < 10; i++)
		kv_put(kv, 1, i);
	kv_seal(kv);
	for (int i = 0; i < 10; i++)
		kv_put(kv, 1, i);
	kv_seal(kv);
	cr_assert_eq(sl_log_cleanable(f->log, 19, f->now_ms, &found), 1);
	cr_assert_eq(found.end, 10);
	cr_assert_eq(sl_log_cleanable(f->log, 9, f->now_ms, &found), 0);
	cr_assert_eq(sl_log_cleanable(f->log, 20, f->now_ms, &found), 1);
	cr_assert_eq(found.end, 20);
}

Test(clean, waits_until_the_ratio_is_exceeded)
{
	struct sl_cleanable found;

	f->opts.config.min_dirty_ppm = 500000;
	sl_log_set_config(f->log, &f->opts.config);
	for (int i = 0; i < 40; i++)
		kv_put(kv, i, i);
	kv_seal(kv);
	cr_assert_eq(sl_log_cleanable(f->log, 40, f->now_ms, &found), 1);
	cr_assert_eq(found.dirty_ppm, SL_CLEAN_PPM);
	kv_must_clean(kv);
	for (int i = 0; i < 20; i++)
		kv_put(kv, i, i);
	kv_seal(kv);
	cr_assert_eq(sl_log_cleanable(f->log, 60, f->now_ms, &found), 0);
	cr_assert(found.dirty_ppm > 300000 && found.dirty_ppm < 400000, "%u", found.dirty_ppm);
	cr_assert(found.dirty_bytes > 0 && found.clean_bytes > found.dirty_bytes);
	for (int i = 0; i < 60; i++)
		kv_put(kv, i, i);
	kv_seal(kv);
	cr_assert_eq(sl_log_cleanable(f->log, 120, f->now_ms, &found), 1);
}

Test(clean, leaves_young_records_alone_for_min_compaction_lag)
{
	struct sl_cleanable found;

	f->opts.config.min_compaction_lag_ms = 5000;
	sl_log_set_config(f->log, &f->opts.config);
	for (int i = 0; i < 10; i++)
		kv_put(kv, 1, i);
	kv_seal(kv);
	f->now_ms += 10000;
	for (int i = 0; i < 10; i++)
		kv_put(kv, 1, i);
	kv_seal(kv);
	cr_assert_eq(sl_log_cleanable(f->log, 20, f->now_ms, &found), 1);
	cr_assert_eq(found.end, 10);
	kv_must_clean(kv);
	cr_assert_eq(sl_log_clean_offset(f->log), 10);
	kv_check(kv, true, NULL);
	f->now_ms += 5000;
	cr_assert_eq(sl_log_cleanable(f->log, 20, f->now_ms, &found), 1);
	cr_assert_eq(found.end, 20);
}

Test(clean, is_due_when_a_record_has_waited_for_max_compaction_lag)
{
	struct sl_cleanable found;

	f->opts.config.min_dirty_ppm = SL_CLEAN_PPM;
	f->opts.config.max_compaction_lag_ms = 5000;
	sl_log_set_config(f->log, &f->opts.config);
	kv_put(kv, 1, 1);
	f->now_ms += 6000;
	/* What waits must not wait in the active segment. */
	cr_assert_eq(sl_log_tick(f->log, f->now_ms, 1), 0);
	cr_assert_eq(sl_log_segments(f->log), 2);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_eq(sl_log_cleanable(f->log, 1, f->now_ms - 1500, &found), 0);
	cr_assert_eq(found.overdue_ms, 0);
	cr_assert_eq(sl_log_cleanable(f->log, 1, f->now_ms, &found), 1);
	cr_assert_eq(found.overdue_ms, 1000);
	/* After a restart the first batch has to be asked. */
	fixture_kill(f);
	fixture_must_open(f, false);
	sl_log_set_config(f->log, &f->opts.config);
	cr_assert_eq(sl_log_cleanable(f->log, 1, f->now_ms, &found), 1);
	cr_assert_eq(found.overdue_ms, 1000);
}

Test(clean, tombstone_goes_after_delete_retention_by_its_horizon)
{
	struct sl_batch_head head;
	struct kv_left left;
	int64_t offset;

	kv_put(kv, 1, 5);
	kv_put(kv, 2, 5);
	offset = kv_put(kv, 1, -1);
	kv_put(kv, 3, 5);
	kv_must_clean(kv);
	kv_check(kv, true, &left);
	cr_assert_eq(left.records, 3);
	head = kv_batch_at(kv, offset, NULL);
	cr_assert(head.attributes & SL_BATCH_DELETE_HORIZON);
	cr_assert_eq(head.base_timestamp, f->now_ms + 1000);
	cr_assert_eq(head.max_timestamp, f->now_ms);
	/* A cleaning before the horizon leaves it, and the horizon as it is. */
	f->now_ms += 999;
	kv_put(kv, 9, 5);
	kv_must_clean(kv);
	kv_check(kv, true, NULL);
	cr_assert_eq(kv_batch_at(kv, offset, NULL).base_timestamp, f->now_ms + 1);
	f->now_ms += 1;
	kv_put(kv, 9, 6);
	kv_must_clean(kv);
	kv_check(kv, false, &left);
	cr_assert_eq(left.records, 3); /* 2, 3 and 9 */
}

Test(clean, batch_with_nothing_to_drop_is_copied_byte_for_byte)
{
	const struct kv_batch b = {.codec = SL_CODEC_ZSTD};
	const struct kv_pair pairs[] = {{10, 1}, {11, 1}, {12, 1}};
	const struct kv_pair other[] = {{20, 1}, {21, 1}, {20, 2}};
	uint8_t *before, *after;
	struct sl_batch_head head, again;

	kv_append(kv, &b, pairs, 3);
	kv_append(kv, &b, other, 3);
	kv_seal(kv);
	head = kv_batch_at(kv, 0, &before);
	kv_must_clean(kv);
	again = kv_batch_at(kv, 0, &after);
	cr_assert_eq(sl_batch_bytes(&head), sl_batch_bytes(&again));
	cr_assert_eq(memcmp(before, after, sl_batch_bytes(&head)), 0);
	/* The other has changed, and keeps its codec, base offset and last offset delta. */
	again = kv_batch_at(kv, 3, NULL);
	cr_assert_eq(sl_batch_codec(&again), SL_CODEC_ZSTD);
	cr_assert_eq(again.base_offset, 3);
	cr_assert_eq(again.last_offset_delta, 2);
	cr_assert_eq(again.records_count, 2);
	kv_check(kv, true, NULL);
	free(before);
	free(after);
}

Test(clean, changes_no_file_when_nothing_goes)
{
	uint32_t changes;

	for (int i = 0; i < 20; i++)
		kv_put(kv, i, i);
	kv_seal(kv);
	changes = f->log->folder_changes;
	kv_must_clean(kv);
	cr_assert_eq(sl_log_clean_offset(f->log), 20);
	cr_assert_eq(f->log->folder_changes, changes);
	cr_assert(sl_list_is_empty(&f->log->doomed));
	cr_assert(!simfs_exists(f->fs, fixture_path(0, ".log.cleaned")));
	kv_check(kv, true, NULL);
}

Test(clean, drops_records_without_a_key)
{
	struct kv_left left;

	kv_put(kv, 1, 1);
	kv_put(kv, -1, 1);
	kv_put(kv, 2, 1);
	kv_must_clean(kv);
	kv_check(kv, true, &left);
	cr_assert_eq(left.records, 2);
}

Test(clean, groups_small_segments_up_to_the_segment_size)
{
	uint32_t segments;

	for (int i = 0; i < 300; i++) {
		kv_put(kv, i % 150, i);
		if (i % 5 == 4)
			kv_seal(kv);
	}
	segments = sl_log_segments(f->log);
	cr_assert_eq(segments, 61);
	kv_must_clean(kv);
	kv_check(kv, true, NULL);
	/* At most as many as a swap renames become one, and never more bytes than a segment has. */
	cr_assert(sl_log_segments(f->log) <= 10, "%u segments", sl_log_segments(f->log));
	for (uint32_t i = 0; i < f->log->segments_count; i++)
		cr_assert_leq(f->log->segments[i]->bytes, 4096);
}

Test(clean, each_segment_ends_where_the_next_begins)
{
	for (int i = 0; i < 400; i++)
		kv_put(kv, 1, i);
	kv_must_clean(kv);
	for (uint32_t i = 0; i + 1 < f->log->segments_count; i++) {
		const struct segment *seg = f->log->segments[i];
		struct sl_batch_head head = kv_batch_at(kv, seg->end_offset - 1, NULL);

		cr_assert_eq(sl_batch_last_offset(&head) + 1, seg->end_offset);
		cr_assert_eq(seg->end_offset, f->log->segments[i + 1]->base_offset);
	}
	kv_check(kv, true, NULL);
}

Test(clean, batch_that_only_ends_a_segment_is_nobodys)
{
	uint32_t empty = 0;

	for (int i = 0; i < 400; i++) {
		const struct kv_batch b = {.producer_id = 7, .base_sequence = i};
		const struct kv_pair pair = {1, i};

		kv_append(kv, &b, &pair, 1);
	}
	kv_must_clean(kv);
	cr_assert_gt(f->log->segments_count, 2);
	for (uint32_t i = 0; i + 1 < f->log->segments_count; i++) {
		struct sl_batch_head head = kv_batch_at(kv, f->log->segments[i]->end_offset - 1,
		                                        NULL);

		if (head.records_count > 0)
			continue;
		cr_assert(!sl_batch_has_producer(&head));
		empty++;
	}
	cr_assert_gt(empty, 0);
}

Test(clean, small_map_cleans_the_log_in_several_rounds)
{
	const struct sl_cleaner_opts opts = {.files = f->files,
	                                     .map_bytes = 100 * sizeof(struct clean_map_entry)};
	int64_t before = 0;

	sl_cleaner_destroy(kv->cleaner);
	cr_assert_eq(sl_cleaner_create(&kv->cleaner, &opts), 0);
	for (int i = 0; i < 1000; i++)
		kv_put(kv, i / 2, i);
	kv_seal(kv);
	while (sl_log_clean_offset(f->log) < 1000) {
		int rc = kv_clean(kv);

		cr_assert_eq(rc, 0, "clean: %s", strerror(-rc));
		cr_assert_gt(sl_log_clean_offset(f->log), before);
		before = sl_log_clean_offset(f->log);
		kv_check(kv, true, NULL);
	}
}

Test(clean, counts_what_went_for_want_of_a_key)
{
	struct sl_clean_stats stats;
	struct sl_clean *c;
	int rc;

	for (int i = 0; i < 10; i++)
		kv_put(kv, i < 3 ? -1 : i, i);
	kv_seal(kv);
	cr_assert_eq(sl_log_clean_begin(&c, f->log, sl_log_end(f->log), f->now_ms), 0);
	while ((rc = sl_clean_run(c, kv->cleaner)) == 1)
		sl_log_clean_swap(f->log, c);
	sl_clean_stats(c, &stats);
	sl_log_clean_end(f->log, c, rc);
	cr_assert_eq(rc, 0);
	cr_assert_eq(stats.records_keyless, 3);
	cr_assert_eq(stats.records_read, 10);
	cr_assert_eq(stats.records_kept, 7);
}

Test(clean, behind_the_map_everything_stays)
{
	const struct sl_cleaner_opts opts = {.files = f->files,
	                                     .map_bytes = 16 * sizeof(struct clean_map_entry)};

	sl_cleaner_destroy(kv->cleaner);
	cr_assert_eq(sl_cleaner_create(&kv->cleaner, &opts), 0);
	/* Without a key at 5 and at 18; something goes, so that all is written anew. */
	for (int i = 0; i < 20; i++)
		kv_put(kv, i == 5 || i == 18 ? -1 : SL_MAX(i, 1), i);
	kv_seal(kv);
	cr_assert_eq(kv_clean(kv), 0);
	cr_assert(sl_log_clean_offset(f->log) > 5 && sl_log_clean_offset(f->log) < 18);
	kv_read(kv);
	cr_assert(!kv->records[0].is_seen && !kv->records[5].is_seen);
	cr_assert(kv->records[18].is_seen);
}

Test(clean, batch_that_no_map_holds_is_an_error_and_changes_nothing)
{
	const struct sl_cleaner_opts opts = {.files = f->files,
	                                     .map_bytes = 16 * sizeof(struct clean_map_entry)};
	const struct kv_batch b = {0};
	struct kv_pair pairs[20];
	struct kv_left left;

	sl_cleaner_destroy(kv->cleaner);
	cr_assert_eq(sl_cleaner_create(&kv->cleaner, &opts), 0);
	for (int i = 0; i < 20; i++)
		pairs[i] = (struct kv_pair){i, i};
	kv_append(kv, &b, pairs, 20);
	kv_seal(kv);
	cr_assert_eq(kv_clean(kv), -ENOBUFS);
	cr_assert_eq(sl_log_clean_offset(f->log), 0);
	kv_check(kv, true, &left);
	cr_assert_eq(left.records, 20);
}

Test(clean, refuses_a_map_for_nothing)
{
	const struct sl_cleaner_opts opts = {.files = f->files, .map_bytes = 100};
	struct sl_cleaner *w = NULL;

	cr_assert_eq(sl_cleaner_create(&w, &opts), -EINVAL);
	cr_assert_null(w);
}

Test(clean, one_at_a_time)
{
	struct sl_clean *c, *d;

	kv_put(kv, 1, 1);
	kv_seal(kv);
	cr_assert_eq(sl_log_clean_begin(&c, f->log, 1, f->now_ms), 0);
	cr_assert_eq(sl_log_clean_begin(&d, f->log, 1, f->now_ms), -EBUSY);
	sl_clean_cancel(c);
	cr_assert_eq(sl_clean_run(c, kv->cleaner), -ECANCELED);
	sl_log_clean_end(f->log, c, -ECANCELED);
	cr_assert_eq(sl_log_clean_offset(f->log), 0);
	kv_must_clean(kv);
}

Test(clean, cancelled_before_its_swap_leaves_no_file)
{
	struct sl_clean *c;

	for (int i = 0; i < 10; i++)
		kv_put(kv, 1, i);
	kv_seal(kv);
	cr_assert_eq(sl_log_clean_begin(&c, f->log, 10, f->now_ms), 0);
	cr_assert_eq(sl_clean_run(c, kv->cleaner), 1);
	cr_assert(simfs_exists(f->fs, fixture_path(0, ".log.cleaned")));
	sl_clean_cancel(c);
	sl_log_clean_end(f->log, c, -ECANCELED);
	cr_assert(!simfs_exists(f->fs, fixture_path(0, ".log.cleaned")));
	cr_assert(!simfs_exists(f->fs, fixture_path(0, ".index.cleaned")));
	kv_check(kv, true, NULL);
}

Test(clean, a_log_that_was_truncated_meanwhile_is_left_alone)
{
	struct sl_clean *c;
	int rc;

	for (int i = 0; i < 200; i++)
		kv_put(kv, i % 3, i);
	kv_must_clean(kv);
	for (int i = 0; i < 200; i++)
		kv_put(kv, i % 3, i);
	kv_seal(kv);
	cr_assert_eq(sl_log_clean_begin(&c, f->log, 400, f->now_ms), 0);
	cr_assert_eq(sl_clean_run(c, kv->cleaner), 1);
	cr_assert_eq(sl_log_truncate(f->log, 300), 0);
	kv->count = 300;
	sl_log_clean_swap(f->log, c);
	rc = sl_clean_run(c, kv->cleaner);
	cr_assert_eq(rc, -ESTALE);
	sl_log_clean_end(f->log, c, rc);
	cr_assert_eq(sl_log_clean_offset(f->log), 200);
	kv_check(kv, true, NULL);
	/* What was clean behind the cut is not any more. */
	cr_assert_eq(sl_log_truncate(f->log, 150), 0);
	cr_assert_leq(sl_log_clean_offset(f->log), sl_log_end(f->log));
	kv_put(kv, 1, 1);
	kv_seal(kv);
	cr_assert_eq(kv_clean(kv), 0);
}

Test(clean, segments_that_retention_took_meanwhile_are_no_harm)
{
	struct sl_clean *c;
	int rc;

	for (int i = 0; i < 200; i++)
		kv_put(kv, i, i);
	kv_seal(kv);
	for (int i = 0; i < 200; i++)
		kv_put(kv, i, i);
	kv_seal(kv);
	cr_assert_eq(sl_log_clean_begin(&c, f->log, 400, f->now_ms), 0);
	cr_assert_eq(sl_clean_run(c, kv->cleaner), 1);
	cr_assert_eq(sl_log_advance_start(f->log, 250), 0);
	sl_log_clean_swap(f->log, c);
	rc = sl_clean_run(c, kv->cleaner);
	cr_assert_eq(rc, -ESTALE);
	sl_log_clean_end(f->log, c, rc);
	cr_assert_eq(sl_log_clean_offset(f->log), 250);
	kv_must_clean(kv);
	kv_check(kv, true, NULL);
}

Test(clean, reader_of_an_old_segment_keeps_its_file)
{
	struct sl_log_range range;
	uint8_t before[2000], after[2000];

	for (int i = 0; i < 200; i++)
		kv_put(kv, 1, i);
	kv_seal(kv);
	cr_assert_eq(sl_log_read(f->log, 0, 200, sizeof(before), true, &range), 0);
	cr_assert_eq(sl_log_range_copy(f->log, &range, before, sizeof(before)), range.bytes);
	kv_must_clean(kv);
	/* Not even a second cleaning of the same base, or time, takes it away. */
	f->now_ms += 100000;
	for (int i = 0; i < 200; i++)
		kv_put(kv, 1, i);
	kv_must_clean(kv);
	cr_assert_geq(sl_log_tick(f->log, f->now_ms + 100000, 400), 0);
	cr_assert_eq(sl_log_range_copy(f->log, &range, after, sizeof(after)), range.bytes);
	cr_assert_eq(memcmp(before, after, range.bytes), 0);
	sl_log_range_put(f->log, &range);
	kv_check(kv, true, NULL);
	cr_assert_geq(sl_log_tick(f->log, f->now_ms + 200000, 400), 0);
	cr_assert(sl_list_is_empty(&f->log->doomed));
}

Test(clean, old_files_stay_until_the_folder_is_synced)
{
	struct sl_clean *c;
	int rc;

	f->opts.config.file_delete_delay_ms = 0;
	sl_log_set_config(f->log, &f->opts.config);
	for (int i = 0; i < 10; i++)
		kv_put(kv, 1, i);
	kv_seal(kv);
	cr_assert_eq(sl_log_clean_begin(&c, f->log, 10, f->now_ms), 0);
	cr_assert_eq(sl_clean_run(c, kv->cleaner), 1);
	sl_log_clean_swap(f->log, c);
	cr_assert_eq(sl_log_tick(f->log, f->now_ms + 1, 10), 0);
	cr_assert(!sl_list_is_empty(&f->log->doomed), "a power cut may still want it");
	rc = sl_clean_run(c, kv->cleaner);
	cr_assert_eq(rc, 0);
	sl_log_clean_end(f->log, c, rc);
	cr_assert_eq(sl_log_tick(f->log, f->now_ms + 2, 10), 0);
	cr_assert(sl_list_is_empty(&f->log->doomed));
}

Test(clean, damage_is_an_error_and_changes_nothing)
{
	size_t len = 0;
	uint8_t *data;

	for (int i = 0; i < 100; i++)
		kv_put(kv, 1, i);
	kv_seal(kv);
	data = simfs_data(f->fs, fixture_path(0, ".log"), &len);
	data[len / 2] ^= 1;
	cr_assert_eq(kv_clean(kv), -EBADMSG);
	data[len / 2] ^= 1;
	kv_check(kv, true, NULL);
	cr_assert(!simfs_exists(f->fs, fixture_path(0, ".log.cleaned")));
}

Test(clean, a_hole_is_damage_whatever_is_still_readable)
{
	size_t len = 0;
	uint8_t *data;

	for (int i = 0; i < 100; i++)
		kv_put(kv, 1, i);
	kv_seal(kv);
	fixture_kill(f);
	data = simfs_data(f->fs, fixture_path(0, ".log"), &len);
	simfs_set_data(f->fs, fixture_path(0, ".log"), data, len - 10);
	fixture_must_open(f, false);
	cr_assert_str_eq(f->report.reason, "damage inside a sealed segment");
	cr_assert_eq(kv_clean(kv), -EBADMSG);
	cr_assert_null(f->log->cleaning);
}

Test(clean, disk_errors_at_any_step_lose_nothing)
{
	for (unsigned nth = 1; nth < 400; nth++) {
		int rc;

		for (int i = 0; i < 30; i++)
			kv_put(kv, i % 5, i);
		kv_seal(kv);
		simfs_fail(f->fs, SIMFS_CHANGES | SIMFS_OPEN | SIMFS_PREAD, nth, -EIO, 0, false);
		rc = kv_clean(kv);
		if (!simfs_has_failed(f->fs)) {
			cr_assert_eq(rc, 0);
			cr_assert_gt(nth, 20);
			break;
		}
		simfs_heal(f->fs);
		/* Either a cleaning that failed, or a swap that did and closed the log. */
		if (sl_log_error(f->log)) {
			fixture_kill(f);
			fixture_must_open(f, false);
		}
		cr_assert_eq(sl_log_end(f->log), kv->count);
		/* A log that the disk did not fail in the middle of goes on being cleaned. */
		kv_put(kv, 1, 1);
		kv_must_clean(kv);
		kv_check(kv, true, NULL);
	}
}

Test(clean, old_files_stay_until_the_renames_are_synced)
{
	struct sl_clean *c;
	char name[40];

	for (int i = 0; i < 30; i++)
		kv_put(kv, i % 5, i);
	kv_seal(kv);
	cr_assert_eq(sl_log_clean_begin(&c, f->log, sl_log_end(f->log), f->now_ms), 0);
	cr_assert_eq(sl_clean_run(c, kv->cleaner), 1);
	sl_log_clean_swap(f->log, c);
	snprintf(name, sizeof(name), ".log.%08x.deleted", f->log->folder_changes);
	simfs_fail(f->fs, SIMFS_SYNC, 1, -EIO, 0, false);
	cr_assert_eq(sl_clean_run(c, kv->cleaner), -EIO);
	sl_log_clean_end(f->log, c, -EIO);
	simfs_heal(f->fs);
	f->now_ms += 2 * f->opts.config.file_delete_delay_ms;
	cr_assert_geq(sl_log_tick(f->log, f->now_ms, sl_log_end(f->log)), 0);
	cr_assert(simfs_exists(f->fs, fixture_path(0, name)));
	/* Any sync of the log covers its folder. */
	kv_put(kv, 1, 1);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_geq(sl_log_tick(f->log, f->now_ms, sl_log_end(f->log)), 0);
	cr_assert(!simfs_exists(f->fs, fixture_path(0, name)));
	kv_must_clean(kv);
	kv_check(kv, true, NULL);
}

/* ---- Producers ---- */

Test(clean, last_batch_without_sequence_stays_too)
{
	/* As coordinators append the offsets of a transaction. */
	const struct kv_batch b = {.producer_id = 7, .producer_epoch = 3, .base_sequence = -1};
	const struct kv_pair pair = {1, 1};
	struct sl_log_producer producer;

	kv_append(kv, &b, &pair, 1);
	kv_put(kv, 1, 2);
	kv_must_clean(kv);
	fixture_close(f, true);
	for (int64_t at = 0; at <= 2; at++)
		if (simfs_exists(f->fs, fixture_path(at, ".snapshot")))
			simfs_remove(f->fs, fixture_path(at, ".snapshot"));
	fixture_must_open(f, false);
	cr_assert_eq(sl_log_producers(f->log, &producer, 1), 1);
	cr_assert_eq(producer.producer_id, 7);
	cr_assert_eq(producer.epoch, 3);
	cr_assert_eq(producer.last_sequence, -1);
}

Test(clean, last_batch_of_a_producer_stays_without_records)
{
	struct kv_batch b = {.producer_id = 7, .producer_epoch = 3, .base_sequence = 10};
	const struct kv_pair pairs[] = {{1, 1}, {2, 1}};
	struct sl_log_producer producer;
	struct sl_batch_head head;
	struct kv_left left;

	kv_append(kv, &b, pairs, 2);
	kv_put(kv, 1, 2);
	kv_put(kv, 2, 2);
	kv_must_clean(kv);
	kv_check(kv, true, &left);
	cr_assert_eq(left.records, 2);
	cr_assert_eq(left.empty, 1);
	head = kv_batch_at(kv, 0, NULL);
	cr_assert_eq(head.records_count, 0);
	cr_assert_eq(head.last_offset_delta, 1);
	cr_assert_eq(head.producer_id, 7);
	cr_assert_eq(head.base_sequence, 10);
	/* Without snapshots the batches are all that is left to remember it by. */
	fixture_close(f, true);
	for (int64_t at = 0; at <= 4; at++)
		if (simfs_exists(f->fs, fixture_path(at, ".snapshot")))
			simfs_remove(f->fs, fixture_path(at, ".snapshot"));
	fixture_must_open(f, false);
	cr_assert_eq(sl_log_producers(f->log, &producer, 1), 1);
	cr_assert_eq(producer.producer_id, 7);
	cr_assert_eq(producer.epoch, 3);
	cr_assert_eq(producer.last_sequence, 11);
	cr_assert_eq(producer.last_offset, 1);
	/* It goes with the next batch of its producer. */
	b.base_sequence = 12;
	kv_append(kv, &b, pairs, 2);
	kv_must_clean(kv);
	kv_check(kv, true, &left);
	cr_assert_eq(left.empty, 0);
}

/* ---- The checkpoint ---- */

Test(clean, remembers_over_a_restart_what_is_clean)
{
	struct sl_cleanable found;

	for (int i = 0; i < 200; i++)
		kv_put(kv, i % 3, i);
	kv_must_clean(kv);
	fixture_kill(f);
	fixture_must_open(f, false);
	cr_assert_eq(sl_log_cleanable(f->log, 200, f->now_ms, &found), 0);
	cr_assert_eq(found.first_dirty, 200);
	kv_check(kv, true, NULL);
	/* Damaged: everything is dirty. */
	fixture_kill(f);
	simfs_set_data(f->fs, FIXTURE_FOLDER "/sluice-cleaner-checkpoint", "version: 1\n", 11);
	fixture_must_open(f, false);
	cr_assert_eq(sl_log_cleanable(f->log, 200, f->now_ms, &found), 1);
	cr_assert_eq(found.first_dirty, 0);
}

/* ---- Time ---- */

Test(clean, times_lead_to_records_that_are_left)
{
	const struct kv_batch stamped = {.attributes = SL_BATCH_LOG_APPEND_TIME, .timestamp = 5000};
	const struct kv_pair pairs[] = {{50, 1}, {51, 1}, {50, 2}};
	int64_t offset, found_ms;

	for (int i = 0; i < 50; i++) {
		const struct kv_batch b = {.timestamp = 1000 + i};
		const struct kv_pair pair = {i % 5, i};

		kv_append(kv, &b, &pair, 1);
	}
	kv_append(kv, &stamped, pairs, 3);
	kv_must_clean(kv);
	cr_assert_eq(sl_log_offset_for_time(f->log, 1000, 1000, &offset, &found_ms), 0);
	cr_assert_eq(offset, 45);
	cr_assert_eq(found_ms, 1045);
	cr_assert_eq(sl_log_offset_for_time(f->log, 1047, 1000, &offset, &found_ms), 0);
	cr_assert_eq(offset, 47);
	cr_assert_eq(sl_log_offset_for_time(f->log, 4000, 1000, &offset, &found_ms), 0);
	cr_assert_eq(offset, 51, "the record at 50 is gone");
	cr_assert_eq(found_ms, 5000);
	cr_assert_eq(sl_log_max_time(f->log, &offset, &found_ms), 0);
	cr_assert_eq(offset, 51);
}

Test(clean, largest_time_is_not_that_of_an_emptied_batch)
{
	const struct kv_batch late = {.timestamp = 9000, .producer_id = 7};
	const struct kv_batch early = {.timestamp = 1000};
	const struct kv_pair pair = {1, 1};
	int64_t offset, found_ms;

	kv_append(kv, &late, &pair, 1);
	kv_append(kv, &early, &pair, 1);
	kv_must_clean(kv);
	cr_assert_eq(kv_batch_at(kv, 0, NULL).records_count, 0);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(sl_log_max_time(f->log, &offset, &found_ms), 0);
		cr_assert_eq(offset, 1);
		cr_assert_eq(found_ms, 1000);
		fixture_kill(f);
		fixture_must_open(f, false);
	}
}

/* ---- compact,delete ---- */

Test(clean, retention_goes_on_beside_compaction)
{
	f->opts.config.is_delete = true;
	f->opts.config.retention_ms = 60000;
	sl_log_set_config(f->log, &f->opts.config);
	for (int i = 0; i < 100; i++)
		kv_put(kv, i % 10, i);
	kv_must_clean(kv);
	f->now_ms += 50000;
	for (int i = 0; i < 100; i++)
		kv_put(kv, 100 + i % 10, i);
	kv_seal(kv);
	cr_assert_eq(sl_log_tick(f->log, f->now_ms + 5000, 200), 0);
	cr_assert_gt(sl_log_tick(f->log, f->now_ms + 20000, 200), 0);
	cr_assert_eq(sl_log_start(f->log), 100);
	kv_must_clean(kv);
	kv_check(kv, true, NULL);
}

Test(clean, map_hash_is_siphash_128)
{
	/* First and last vector of the reference implementation's 128-bit table. */
	static const uint8_t want[2][16] = {{0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d,
	                                     0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93},
	                                    {0x51, 0x50, 0xd1, 0x77, 0x2f, 0x50, 0x83, 0x4a, 0x50,
	                                     0x3e, 0x06, 0x9a, 0x97, 0x3f, 0xbd, 0x7c}};
	uint8_t in[64], key[16];
	uint64_t k[2], out[2];

	for (uint8_t i = 0; i < 64; i++)
		in[i] = i;
	memcpy(key, in, sizeof(key));
	memcpy(k, key, sizeof(k));
	clean_map_hash(k, in, 0, out);
	cr_assert_eq(memcmp(out, want[0], 16), 0);
	clean_map_hash(k, in, 63, out);
	cr_assert_eq(memcmp(out, want[1], 16), 0);
}

Test(clean, map_holds_nine_tenths_and_knows_what_it_has)
{
	struct clean_map map = {0};
	uint32_t n = 0;

	cr_assert_eq(clean_map_init(&map, 100 * sizeof(struct clean_map_entry)), 0);
	while (clean_map_put(&map, (struct sl_bytes){&n, sizeof(n)}, n))
		n++;
	cr_assert_eq(n, 90);
	for (uint32_t i = 0; i < 200; i++) {
		struct sl_bytes key = {&i, sizeof(i)};

		cr_assert_eq(clean_map_get(&map, key), i < 90 ? (int64_t)i : -1);
		/* A known key needs no room. */
		if (i < 90)
			cr_assert(clean_map_put(&map, key, 1000 + i));
	}
	n = 5;
	cr_assert_eq(clean_map_get(&map, (struct sl_bytes){&n, sizeof(n)}), 1005);
	clean_map_clear(&map);
	cr_assert_eq(clean_map_get(&map, (struct sl_bytes){&n, sizeof(n)}), -1);
	cr_assert_eq(map.count, 0);
	clean_map_fini(&map);
}
