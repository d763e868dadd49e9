/* SPDX-License-Identifier: Apache-2.0 */
/* What compaction does to transactions, rule by rule, and to what a log remembers of producers. */
#include <criterion/criterion.h>
#include <errno.h>
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

TestSuite(clean_txn, .init = set_up, .fini = tear_down);

/* The producers are forgotten, as after their time: nothing stays for their sake. */
static void forget_producers(void)
{
	producers_clear(&f->log->producers);
}

static int64_t txn_append(int64_t producer_id, int32_t sequence, int32_t key, int32_t value)
{
	const struct kv_batch b = {.attributes = SL_BATCH_TRANSACTIONAL,
	                           .producer_id = producer_id,
	                           .base_sequence = sequence};
	const struct kv_pair pair = {key, value};

	return kv_append(kv, &b, &pair, 1);
}

/* For the model of what must be left: it was never there. */
static void never_there(int64_t offset)
{
	for (uint32_t i = 0; i < kv->count; i++)
		if (kv->records[i].offset == offset)
			kv->records[i].key = -1;
}

/* The aborted transactions that a reader of one batch at @offset is told of. */
static int64_t ask(int64_t offset, struct sl_log_aborted *out, uint32_t max)
{
	const int64_t stable = sl_log_stable(f->log, sl_log_end(f->log));
	struct sl_log_range range;
	int64_t count;

	count = sl_log_read(f->log, offset, stable, 1, true, &range);
	if (count < 0)
		return count;
	count = sl_log_aborted(f->log, &range, stable, out, max);
	sl_log_range_put(f->log, &range);
	return count;
}

/* Only the batches tell of producers then. */
static void drop_snapshots(void)
{
	for (int64_t at = 0; at < 1000; at++)
		if (simfs_exists(f->fs, fixture_path(at, ".snapshot")))
			simfs_remove(f->fs, fixture_path(at, ".snapshot"));
}

static void reopen_from_batches(void)
{
	fixture_kill(f);
	drop_snapshots();
	fixture_must_open(f, false);
}

/* ---- Markers ---- */

Test(clean_txn, commit_marker_stays_while_data_of_its_transaction_does)
{
	struct kv_left left;
	int64_t marker;

	txn_append(7, 0, 1, 1);
	marker = kv_marker(kv, 7, SL_CONTROL_COMMIT);
	kv_put(kv, 2, 1);
	forget_producers();
	kv_must_clean(kv);
	kv_check(kv, true, &left);
	cr_assert_eq(left.records, 2);
	cr_assert_eq(left.markers, 1);
	cr_assert(!(kv_batch_at(kv, marker, NULL).attributes & SL_BATCH_DELETE_HORIZON));
	/* The data goes, the marker gets its time. */
	kv_put(kv, 1, 2);
	kv_must_clean(kv);
	kv_put(kv, 3, 2);
	kv_must_clean(kv);
	kv_check(kv, true, &left);
	cr_assert_eq(left.markers, 1);
	cr_assert(kv_batch_at(kv, marker, NULL).attributes & SL_BATCH_DELETE_HORIZON);
	f->now_ms += 1000;
	kv_put(kv, 3, 3);
	kv_must_clean(kv);
	kv_check(kv, true, &left);
	cr_assert_eq(left.markers, 0);
}

Test(clean_txn, aborted_data_goes_and_hides_nothing)
{
	struct sl_log_aborted told;
	struct kv_left left;
	int64_t marker;

	kv_put(kv, 1, 1);
	never_there(txn_append(7, 0, 1, 99));
	marker = kv_marker(kv, 7, SL_CONTROL_ABORT);
	kv_put(kv, 2, 1);
	cr_assert_eq(ask(marker - 1, &told, 1), 1);
	forget_producers();
	kv_must_clean(kv);
	kv_check(kv, true, &left);
	cr_assert_eq(left.records, 2);
	cr_assert_eq(left.markers, 1);
	/* No batch is left: its time begins. */
	cr_assert(!(kv_batch_at(kv, marker, NULL).attributes & SL_BATCH_DELETE_HORIZON));
	kv_put(kv, 3, 1);
	kv_must_clean(kv);
	cr_assert(kv_batch_at(kv, marker, NULL).attributes & SL_BATCH_DELETE_HORIZON);
	cr_assert_eq(ask(marker, &told, 1), 0, "there is nothing to skip");
	f->now_ms += 1000;
	kv_put(kv, 3, 2);
	kv_must_clean(kv);
	kv_check(kv, true, &left);
	cr_assert_eq(left.markers, 0);
}

Test(clean_txn, aborted_data_goes_though_its_marker_is_not_cleaned_yet)
{
	struct sl_log_aborted told;
	struct kv_left left;
	int64_t first;

	kv_put(kv, 1, 1);
	first = txn_append(7, 0, 1, 99);
	never_there(first);
	kv_put(kv, 2, 1);
	kv_seal(kv);
	never_there(txn_append(7, 1, 2, 99));
	kv_marker(kv, 7, SL_CONTROL_ABORT);
	cr_assert_eq(kv_clean(kv), 0);
	cr_assert_eq(sl_log_clean_offset(f->log), 3);
	kv->records[kv->count - 1].is_seen = true;
	/* The rest of it is in the active segment, and hidden as before. */
	cr_assert_eq(ask(3, &told, 1), 1);
	cr_assert(told.producer_id == 7 && told.first_offset == first);
	cr_assert_eq(kv_batch_at(kv, first, NULL).base_offset, 2);
	forget_producers();
	kv_must_clean(kv);
	kv_check(kv, true, &left);
	cr_assert_eq(left.records, 2);
}

Test(clean_txn, open_transaction_is_not_touched_whatever_the_caller_takes_for_stable)
{
	struct sl_cleanable found;
	struct sl_clean *c;
	struct kv_left left;

	kv_put(kv, 1, 1);
	kv_put(kv, 1, 2);
	kv_seal(kv);
	txn_append(7, 0, 1, 3);
	kv_put(kv, 1, 4);
	kv_seal(kv);
	cr_assert_eq(sl_log_cleanable(f->log, sl_log_end(f->log), f->now_ms, &found), 1);
	cr_assert_eq(found.end, 2);
	cr_assert_eq(sl_log_clean_begin(&c, f->log, sl_log_end(f->log), f->now_ms), 0);
	cr_assert_eq(c->end, 2);
	sl_log_clean_end(f->log, c, -ECANCELED);
	cr_assert_eq(kv_clean(kv), 0);
	kv_check(kv, true, &left);
	cr_assert_eq(left.records, 3);
	cr_assert(sl_log_has_txn(f->log, 7, 0));
	kv_marker(kv, 7, SL_CONTROL_COMMIT);
	kv_must_clean(kv);
	kv_check(kv, true, &left);
	cr_assert_eq(left.records, 1);
	cr_assert_eq(left.empty, 1, "the producer's last batch");
}

/* ---- The pass ---- */

static int feed(struct clean_txn *txn, int64_t offset)
{
	uint8_t *p;
	struct sl_batch_head head = kv_batch_at(kv, offset, &p);
	int rc = sl_batch_is_control(&head) ? clean_txn_control(txn, p, &head)
	                                    : clean_txn_data(txn, &head);

	free(p);
	return rc;
}

Test(clean_txn, pass_names_the_aborted_transactions_whose_markers_stay)
{
	const struct clean_aborted aborted[] = {{7, 0, 1}, {8, 2, 4}};
	const int want[] = {1, 0, 0, 0};
	struct clean_txn txn;

	txn_append(7, 0, 1, 1);
	kv_marker(kv, 7, SL_CONTROL_ABORT);
	txn_append(8, 0, 2, 1);
	txn_append(9, 0, 3, 1);
	kv_marker(kv, 8, SL_CONTROL_ABORT);
	kv_marker(kv, 9, SL_CONTROL_COMMIT);
	clean_txn_init(&txn, aborted, SL_ARRAY_SIZE(aborted));
	/* A pass that begins behind the first one's end does not know it. */
	for (int64_t at = 2; at < 6; at++)
		cr_assert_eq(feed(&txn, at), want[at - 2]);
	cr_assert_eq(txn.kept_count, 1);
	cr_assert_eq(txn.kept[0].producer_id, 8);
	cr_assert_eq(txn.kept[0].first_offset, 2);
	cr_assert_eq(txn.kept[0].last_offset, 4);
	clean_txn_fini(&txn);
}

Test(clean_txn, pass_does_not_take_the_next_transaction_for_one_whose_marker_is_gone)
{
	/* Its marker was at 1, where something else is now. */
	const struct clean_aborted aborted[] = {{7, 0, 1}};
	struct clean_txn txn;

	kv_put(kv, 1, 1);
	kv_put(kv, 1, 1);
	txn_append(7, 0, 1, 1);
	kv_marker(kv, 7, SL_CONTROL_COMMIT);
	clean_txn_init(&txn, aborted, SL_ARRAY_SIZE(aborted));
	for (int64_t at = 0; at < 4; at++)
		cr_assert_eq(feed(&txn, at), 0);
	cr_assert_eq(txn.kept_count, 0);
	clean_txn_fini(&txn);
}

Test(clean_txn, pass_names_a_transaction_that_the_list_does_not)
{
	struct clean_txn txn;

	txn_append(7, 0, 1, 1);
	txn_append(7, 1, 1, 1);
	kv_marker(kv, 7, SL_CONTROL_ABORT);
	clean_txn_init(&txn, NULL, 0);
	for (int64_t at = 0; at < 3; at++)
		cr_assert_eq(feed(&txn, at), 0);
	cr_assert_eq(txn.kept_count, 1);
	cr_assert(txn.kept[0].first_offset == 0 && txn.kept[0].last_offset == 2);
	clean_txn_fini(&txn);
}

/* ---- The list of a cleaned segment ---- */

/* Two segments with an aborted transaction of a producer each, of which the last batch stays. */
static void two_aborts(void)
{
	never_there(txn_append(7, 0, 1, 99)); /* 0 */
	never_there(txn_append(7, 1, 2, 99)); /* 1 */
	kv_marker(kv, 7, SL_CONTROL_ABORT);   /* 2 */
	kv_put(kv, 1, 1);                     /* 3 */
	kv_seal(kv);
	never_there(txn_append(8, 0, 1, 99)); /* 4 */
	kv_marker(kv, 8, SL_CONTROL_ABORT);   /* 5 */
	txn_append(9, 0, 2, 1);               /* 6 */
	kv_marker(kv, 9, SL_CONTROL_COMMIT);  /* 7 */
	kv_seal(kv);
}

static void check_list(void)
{
	struct sl_log_aborted told[2];

	/* Of one segment all that a reader may come to. */
	cr_assert_geq(ask(1, told, 2), 1);
	cr_assert(told[0].producer_id == 7 && told[0].first_offset <= 1);
	cr_assert_eq(ask(4, told, 2), 1);
	cr_assert(told[0].producer_id == 8 && told[0].first_offset == 4);
	cr_assert_eq(ask(6, told, 2), 0);
	cr_assert_eq(sl_log_stable(f->log, sl_log_end(f->log)), sl_log_end(f->log));
}

Test(clean_txn, cleaned_segment_has_a_list_of_its_own)
{
	struct sl_txnindex_entry entry;
	struct sl_txnindex index;
	size_t len = 0;
	uint8_t *p;

	two_aborts();
	kv_must_clean(kv);
	kv_check(kv, true, NULL);
	cr_assert_eq(sl_log_segments(f->log), 2);
	cr_assert(f->log->segments[0]->is_aborted_known && !f->log->segments[0]->has_aborted);
	cr_assert_eq(f->log->segments[0]->aborted_first, 0);
	cr_assert_eq(f->log->segments[0]->open_first, ABORTED_NONE);
	check_list();
	p = simfs_data(f->fs, fixture_path(0, ".txnindex"), &len);
	cr_assert(p && sl_txnindex_check(p, len, &index) == 0);
	cr_assert(index.base_offset == 0 && index.end_offset == 8 && index.open_first == -1);
	cr_assert_eq(index.count, 2);
	sl_txnindex_entry(p, 0, &entry);
	cr_assert(entry.producer_id == 7 && entry.first_offset == 0 && entry.last_offset == 2);
	sl_txnindex_entry(p, 1, &entry);
	cr_assert(entry.producer_id == 8 && entry.first_offset == 4 && entry.last_offset == 5);
	cr_assert(!simfs_exists(f->fs, fixture_path(4, ".txnindex")));
	cr_assert(!simfs_exists(f->fs, fixture_path(0, ".txnindex.cleaned")));
	/* The old ones go with their segments. */
	cr_assert_eq(fixture_sync(f), 0);
	f->now_ms += 10 * f->opts.config.file_delete_delay_ms;
	cr_assert_eq(sl_log_tick(f->log, f->now_ms, sl_log_end(f->log)), 0);
	cr_assert(sl_list_is_empty(&f->log->doomed));
	fixture_close(f, true);
	fixture_must_open(f, true);
	check_list();
}

Test(clean_txn, list_says_what_was_open_at_the_end_of_the_last_one)
{
	struct sl_log_aborted told;

	kv_put(kv, 1, 1);
	kv_seal(kv);
	never_there(txn_append(7, 0, 5, 99)); /* 1 */
	kv_seal(kv);
	kv_put(kv, 1, 2);
	kv_seal(kv);
	never_there(txn_append(7, 1, 5, 99)); /* 3 */
	kv_marker(kv, 7, SL_CONTROL_ABORT);
	cr_assert_eq(kv_clean(kv), 0);
	cr_assert_eq(sl_log_segments(f->log), 2);
	cr_assert_eq(f->log->segments[0]->open_first, 1);
	/* The search for the marker goes on behind the cleaned segment. */
	cr_assert_eq(ask(0, &told, 1), 1);
	cr_assert(told.producer_id == 7 && told.first_offset == 1);
}

Test(clean_txn, lost_list_of_a_cleaned_segment_is_found_again)
{
	two_aborts();
	kv_must_clean(kv);
	fixture_kill(f);
	simfs_remove(f->fs, fixture_path(0, ".txnindex"));
	fixture_must_open(f, false);
	check_list();
	cr_assert(simfs_exists(f->fs, fixture_path(0, ".txnindex")));
}

Test(clean_txn, damaged_list_of_a_cleaned_segment_is_found_again)
{
	size_t len = 0;

	two_aborts();
	kv_must_clean(kv);
	fixture_kill(f);
	simfs_data(f->fs, fixture_path(0, ".txnindex"), &len)[50] ^= 1;
	fixture_must_open(f, false);
	check_list();
	/* For the cleaner, too. */
	simfs_data(f->fs, fixture_path(0, ".txnindex"), &len)[50] ^= 1;
	fixture_kill(f);
	fixture_must_open(f, false);
	kv_new_cleaner(kv);
	kv_put(kv, 1, 2);
	kv_must_clean(kv);
	kv_check(kv, true, NULL);
	check_list();
}

Test(clean_txn, list_that_cannot_be_rebuilt_now_is_not_taken_for_a_short_one)
{
	bool was_reached = true;

	two_aborts();
	kv_must_clean(kv);
	for (unsigned nth = 1; was_reached; nth++) {
		struct sl_log_aborted told[2];
		size_t len = 0;

		fixture_kill(f);
		fixture_must_open(f, false);
		simfs_data(f->fs, fixture_path(0, ".txnindex"), &len)[50] ^= 1;
		simfs_fail(f->fs, SIMFS_PREAD | SIMFS_OPEN, nth, -EIO, 0, false);
		(void)ask(1, told, 2);
		was_reached = simfs_has_failed(f->fs);
		simfs_heal(f->fs);
		check_list();
		cr_assert(was_reached || nth > 4);
	}
}

Test(clean_txn, rebuilt_list_does_not_name_a_marker_whose_data_is_gone)
{
	struct sl_log_aborted told;

	never_there(txn_append(7, 0, 1, 99));
	kv_marker(kv, 7, SL_CONTROL_ABORT);
	txn_append(7, 1, 1, 1);
	kv_marker(kv, 7, SL_CONTROL_COMMIT);
	kv_must_clean(kv);
	cr_assert_eq(kv_batch_at(kv, 0, NULL).base_offset, 1, "the marker is first now");
	/* The cleaning that took the data still names it, which is no harm before its marker. */
	cr_assert_eq(ask(1, &told, 1), 1);
	cr_assert_eq(ask(2, &told, 1), 0);
	fixture_kill(f);
	simfs_remove(f->fs, fixture_path(0, ".txnindex"));
	fixture_must_open(f, false);
	cr_assert_eq(ask(1, &told, 1), 0);
	cr_assert_eq(ask(2, &told, 1), 0);
}

Test(clean_txn, swap_that_the_next_open_finishes_has_the_new_list)
{
	struct sl_clean *c;

	two_aborts();
	cr_assert_eq(sl_log_clean_begin(&c, f->log, sl_log_end(f->log), f->now_ms), 0);
	cr_assert_eq(sl_clean_run(c, kv->cleaner), 1);
	/* The end comes with the second rename. */
	simfs_fail(f->fs, SIMFS_RENAME, 2, -EIO, 0, true);
	sl_log_clean_swap(f->log, c);
	cr_assert_neq(sl_log_error(f->log), 0);
	cr_assert_eq(sl_clean_run(c, kv->cleaner), -EIO);
	sl_log_clean_end(f->log, c, -EIO);
	fixture_kill(f);
	f->files = simfs_files(f->fs);
	cr_assert(simfs_exists(f->fs, fixture_path(0, ".log.swap")));
	cr_assert(simfs_exists(f->fs, fixture_path(0, ".txnindex")), "the old one");
	fixture_must_open(f, false);
	cr_assert_eq(sl_log_segments(f->log), 2);
	cr_assert(simfs_exists(f->fs, fixture_path(0, ".txnindex")));
	cr_assert(!simfs_exists(f->fs, fixture_path(4, ".txnindex")));
	check_list();
	kv_check_last(kv);
}

Test(clean_txn, segments_with_too_long_lists_stay_apart)
{
	struct sl_clean *c;

	two_aborts();
	cr_assert_eq(sl_log_clean_begin(&c, f->log, sl_log_end(f->log), f->now_ms), 0);
	cr_assert_eq(c->sources_count, 2);
	cr_assert_eq(c->sources[0].aborted_count, 1);
	c->sources[0].aborted_count = STORE_ABORTED_ROLL;
	cr_assert_eq(sl_clean_run(c, kv->cleaner), 1);
	cr_assert_eq(c->group.count, 1);
	sl_log_clean_swap(f->log, c);
	cr_assert_eq(sl_clean_run(c, kv->cleaner), 1);
	sl_log_clean_swap(f->log, c);
	cr_assert_eq(sl_clean_run(c, kv->cleaner), 0);
	sl_log_clean_end(f->log, c, 0);
	check_list();
}

/* ---- Producers ---- */

Test(clean_txn, last_marker_of_a_producer_stays_for_the_coordinators_epoch)
{
	struct kv_marker m = {7, SL_CONTROL_COMMIT, 2, 5};
	struct sl_log_producer producer;
	struct kv_left left;
	int64_t marker = -1;

	/* The first two go in time, the producer has written another. */
	for (int i = 0; i < 3; i++)
		marker = kv_marker_of(kv, &m);
	for (int i = 0; i < 4; i++) {
		f->now_ms += 1000;
		kv_put(kv, 1, i);
		kv_must_clean(kv);
	}
	kv_check(kv, true, &left);
	cr_assert_eq(left.markers, 1);
	cr_assert_eq(kv_batch_at(kv, marker, NULL).records_count, 1);
	reopen_from_batches();
	cr_assert_eq(sl_log_producers(f->log, &producer, 1), 1);
	cr_assert_eq(producer.producer_id, 7);
	cr_assert_eq(producer.epoch, 2);
	cr_assert_eq(producer.coordinator_epoch, 5);
	cr_assert_eq(producer.last_offset, marker);
	/* Nobody knows any more whether it is the last one: of an open transaction it stays. */
	kv_append(kv,
	          &(struct kv_batch){.attributes = SL_BATCH_TRANSACTIONAL,
	                             .producer_id = 7,
	                             .producer_epoch = 2},
	          &(struct kv_pair){1, 9}, 1);
	fixture_kill(f);
	fixture_must_open(f, false);
	kv_new_cleaner(kv);
	f->now_ms += 1000;
	cr_assert(kv_clean(kv) == 0 || sl_log_clean_offset(f->log) > marker);
	cr_assert_eq(kv_batch_at(kv, marker, NULL).base_offset, marker);
	cr_assert_eq(kv_batch_at(kv, marker, NULL).records_count, 1);
}

Test(clean_txn, transaction_does_not_come_back_from_a_snapshot_behind_which_its_marker_is_gone)
{
	int64_t marker;

	txn_append(7, 0, 1, 1);
	kv_seal(kv); /* this snapshot knows it as open */
	marker = kv_marker(kv, 7, SL_CONTROL_COMMIT);
	kv_put(kv, 1, 2);
	kv_seal(kv);
	forget_producers();
	for (int i = 0; i < 3; i++) {
		f->now_ms += 1000;
		/* As after the loss of the checkpoint: everything is dirty. */
		f->log->clean_offset = 0;
		cr_assert_eq(kv_clean(kv), 0);
	}
	cr_assert_gt(kv_batch_at(kv, marker, NULL).base_offset, marker);
	fixture_kill(f);
	/* The newest did not come through a power cut. */
	simfs_remove(f->fs, fixture_path(3, ".snapshot"));
	fixture_must_open(f, false);
	cr_assert(!sl_log_has_txn(f->log, 7, 0));
	cr_assert_eq(sl_log_stable(f->log, sl_log_end(f->log)), sl_log_end(f->log));
}

Test(clean_txn, snapshots_below_a_swap_are_gone_before_it)
{
	struct sl_clean *c;

	/* The second one's snapshot is kept beside the newest. */
	kv_put(kv, 1, 1);
	kv_seal(kv);
	kv_put(kv, 1, 2);
	kv_seal(kv);
	cr_assert(simfs_exists(f->fs, fixture_path(1, ".snapshot")));
	cr_assert_eq(sl_log_clean_begin(&c, f->log, 2, f->now_ms), 0);
	cr_assert_eq(sl_clean_run(c, kv->cleaner), 1);
	/* One that does not go keeps the segments as they are. */
	simfs_fail(f->fs, SIMFS_UNLINK, 1, -EIO, 0, false);
	sl_log_clean_swap(f->log, c);
	cr_assert_eq(sl_log_error(f->log), 0);
	cr_assert_eq(sl_log_segments(f->log), 3);
	cr_assert_eq(sl_clean_run(c, kv->cleaner), -EIO);
	sl_log_clean_end(f->log, c, -EIO);
	kv_must_clean(kv);
	cr_assert(!simfs_exists(f->fs, fixture_path(1, ".snapshot")));
	cr_assert(simfs_exists(f->fs, fixture_path(2, ".snapshot")));
	kv_check(kv, true, NULL);
}

Test(clean_txn, producers_go_on_where_they_were_after_a_restart_without_snapshots)
{
	struct sl_log_producer before[4], after[4];
	struct kv_batch plain = {.producer_id = 5, .producer_epoch = 1};
	const struct kv_pair pairs[] = {{1, 1}, {2, 1}};

	for (int i = 0; i < 10; i++) {
		plain.base_sequence = 2 * i;
		kv_append(kv, &plain, pairs, 2);
		txn_append(7, i, 1, i);
		kv_marker(kv, 7, i % 2 ? SL_CONTROL_ABORT : SL_CONTROL_COMMIT);
		if (i % 2)
			never_there(sl_log_end(f->log) - 2);
	}
	/* Offsets of a group: a coordinator's batches have no sequence. */
	kv_append(kv,
	          &(struct kv_batch){.attributes = SL_BATCH_TRANSACTIONAL,
	                             .producer_id = 8,
	                             .base_sequence = -1},
	          &(struct kv_pair){3, 1}, 1);
	kv_marker(kv, 8, SL_CONTROL_COMMIT);
	kv_put(kv, 1, 50);
	kv_put(kv, 2, 50);
	kv_put(kv, 3, 50);
	for (int i = 0; i < 4; i++) {
		f->now_ms += 1000;
		kv_put(kv, 4, i);
		kv_must_clean(kv);
	}
	kv_check(kv, true, NULL);
	cr_assert_eq(sl_log_producers(f->log, before, 4), 3);
	fixture_close(f, true);
	drop_snapshots();
	fixture_must_open(f, true);
	cr_assert_eq(sl_log_producers(f->log, after, 4), 3);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(before[i].producer_id, after[i].producer_id);
		cr_assert_eq(before[i].epoch, after[i].epoch);
		cr_assert_eq(before[i].last_sequence, after[i].last_sequence);
		cr_assert_eq(before[i].coordinator_epoch, after[i].coordinator_epoch);
		cr_assert_eq(before[i].last_offset, after[i].last_offset);
		cr_assert_eq(before[i].txn_first_offset, after[i].txn_first_offset);
	}
	plain.base_sequence = 20;
	kv_append(kv, &plain, pairs, 2);
	txn_append(7, 10, 1, 60);
	kv_marker(kv, 7, SL_CONTROL_COMMIT);
	kv_new_cleaner(kv);
	kv_must_clean(kv);
	kv_check(kv, true, NULL);
}
