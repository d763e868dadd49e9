/* SPDX-License-Identifier: Apache-2.0 */
/* Retention, DeleteRecords, truncation and leader epochs. */
#include <criterion/criterion.h>
#include <errno.h>
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

TestSuite(retain, .init = setup, .fini = teardown);
TestSuite(epochs, .init = setup, .fini = teardown);

static void fill(int batches, int64_t timestamp)
{
	for (int i = 0; i < batches; i++)
		fixture_must_append(f, 1, 200, timestamp + i);
}

static int tick_all(int64_t high_watermark)
{
	int total = 0;
	int n;

	do {
		n = sl_log_tick(f->log, f->now_ms, high_watermark);
		cr_assert_geq(n, 0);
		total += n;
	} while (n > 0);
	return total;
}

Test(retain, deletes_nothing_without_limits)
{
	fill(100, 1);
	f->now_ms += 1000000000000;
	cr_assert_eq(sl_log_tick(f->log, f->now_ms, 100), 0);
	cr_assert_eq(sl_log_start(f->log), 0);
}

Test(retain, deletes_by_time_up_to_the_high_watermark)
{
	uint32_t segments;

	fill(100, 1000);
	segments = sl_log_segments(f->log);
	f->opts.config.retention_ms = 5000;
	sl_log_set_config(f->log, &f->opts.config);
	f->now_ms = 6050; /* records up to 1050 are older than 5 s */
	cr_assert_gt(tick_all(100), 0);
	cr_assert_leq(sl_log_start(f->log), 50);
	cr_assert_gt(sl_log_start(f->log), 50 - 20);
	cr_assert(simfs_exists(f->fs, fixture_path(0, ".log.deleted")));
	fixture_check(f, 500);
	/* Everything is old, but not everything is replicated. */
	f->now_ms = 1000000;
	tick_all(70);
	cr_assert_leq(sl_log_start(f->log), 70);
	fixture_check(f, 500);
	tick_all(100);
	cr_assert_eq(sl_log_start(f->log), 100);
	cr_assert_eq(sl_log_end(f->log), 100);
	cr_assert_eq(sl_log_segments(f->log), 1);
	cr_assert_eq(sl_log_bytes(f->log), 0);
	cr_assert_gt(segments, 5);
	/* The files leave after the delay. */
	f->now_ms += 60001;
	for (int i = 0; i < 5; i++)
		tick_all(100);
	cr_assert(!simfs_exists(f->fs, fixture_path(0, ".log.deleted")));
	cr_assert(!simfs_exists(f->fs, fixture_path(0, ".index.deleted")));
	cr_assert_eq(simfs_open_count(f->fs), 2);
	fixture_model_cut(f, 100, INT64_MAX);
	fixture_must_append(f, 1, 10, 1);
	fixture_check(f, 500);
	fixture_kill(f);
	fixture_must_open(f, false);
	cr_assert_eq(sl_log_start(f->log), 100);
	fixture_check(f, 500);
}

Test(retain, a_future_timestamp_blocks_what_is_behind_it)
{
	fill(5, 1000);
	fixture_must_append(f, 1, 200, 999999999999);
	fill(80, 1000);
	f->opts.config.retention_ms = 5000;
	sl_log_set_config(f->log, &f->opts.config);
	cr_assert_eq(tick_all(86), 0);
	cr_assert_eq(sl_log_start(f->log), 0);
}

Test(retain, deletes_by_size)
{
	fill(100, 1000);
	f->opts.config.retention_bytes = 10000;
	sl_log_set_config(f->log, &f->opts.config);
	cr_assert_gt(tick_all(100), 0);
	cr_assert_geq(sl_log_bytes(f->log), 10000);
	cr_assert_lt(sl_log_bytes(f->log), 10000 + 4096);
	fixture_check(f, 500);
	/* Reopened, sizes and times come from the files. */
	fixture_close(f, true);
	f->opts.config.retention_bytes = 5000;
	fixture_must_open(f, true);
	cr_assert_gt(tick_all(100), 0);
	cr_assert_lt(sl_log_bytes(f->log), 5000 + 4096);
	fixture_check(f, 500);
}

Test(retain, compacted_topics_are_left_alone)
{
	fill(100, 1000);
	f->opts.config.retention_bytes = 0;
	f->opts.config.retention_ms = 0;
	f->opts.config.is_delete = false;
	f->opts.config.is_compact = true;
	sl_log_set_config(f->log, &f->opts.config);
	f->now_ms += 1000000;
	cr_assert_eq(tick_all(100), 0);
	cr_assert_eq(sl_log_start(f->log), 0);
}

Test(retain, advance_start_removes_whole_segments)
{
	struct sl_log_range range;

	fill(100, 1000);
	cr_assert_eq(sl_log_advance_start(f->log, 101), -ERANGE);
	cr_assert_eq(sl_log_advance_start(f->log, 50), 0);
	cr_assert_eq(sl_log_start(f->log), 50);
	cr_assert_leq(f->log->segments[0]->base_offset, 50);
	cr_assert_gt(f->log->segments[1]->base_offset, 50);
	cr_assert_eq(sl_log_advance_start(f->log, 20), 0);
	cr_assert_eq(sl_log_start(f->log), 50);
	cr_assert_eq(sl_log_read(f->log, 49, 100, 100, true, &range), -ERANGE);
	fixture_check(f, 500);
	cr_assert_eq(sl_log_advance_start(f->log, 100), 0);
	cr_assert_eq(sl_log_start(f->log), 100);
	fixture_kill(f);
	fixture_must_open(f, false);
	cr_assert_eq(sl_log_start(f->log), 100);
	cr_assert_eq(sl_log_end(f->log), 100);
}

Test(retain, offsets_are_not_given_twice_when_the_tail_below_the_start_is_lost)
{
	size_t len = 0;
	uint8_t *data;

	fill(10, 1000);
	cr_assert_eq(sl_log_advance_start(f->log, 10), 0);
	fixture_kill(f);
	data = simfs_data(f->fs, fixture_path(0, ".log"), &len);
	simfs_set_data(f->fs, fixture_path(0, ".log"), data, len / 2);
	fixture_must_open(f, false);
	cr_assert_eq(sl_log_start(f->log), 10);
	cr_assert_eq(sl_log_end(f->log), 10);
	fixture_model_cut(f, 10, INT64_MAX);
	fixture_must_append(f, 1, 10, 1);
	fixture_check(f, 500);
}

Test(retain, truncate_cuts_at_the_batch)
{
	for (int i = 0; i < 60; i++)
		fixture_must_append(f, 3, 100, 1000 + i);
	cr_assert_eq(sl_log_truncate(f->log, 180), 0);
	cr_assert_eq(sl_log_end(f->log), 180);
	cr_assert_eq(sl_log_truncate(f->log, 100), 0);
	cr_assert_eq(sl_log_end(f->log), 99);
	fixture_model_cut(f, 0, 99);
	fixture_check(f, 500);
	fixture_must_append(f, 3, 100, 7);
	fixture_check(f, 500);
	fixture_kill(f);
	fixture_must_open(f, false);
	fixture_check(f, 500);
	cr_assert_eq(sl_log_truncate(f->log, 0), 0);
	cr_assert_eq(sl_log_end(f->log), 0);
	fixture_model_cut(f, 0, 0);
	fixture_must_append(f, 3, 100, 7);
	fixture_check(f, 500);
}

Test(retain, truncate_below_the_start_begins_again)
{
	fill(60, 1000);
	cr_assert_eq(sl_log_advance_start(f->log, 30), 0);
	cr_assert_eq(sl_log_truncate(f->log, 12), 0);
	cr_assert_eq(sl_log_start(f->log), 12);
	cr_assert_eq(sl_log_end(f->log), 12);
	fixture_model_cut(f, 100, 0);
	fixture_must_append(f, 1, 10, 1);
	fixture_check(f, 100);
}

static void check_end(int32_t asked, int32_t epoch, int64_t end)
{
	int32_t got_epoch;
	int64_t got_end;

	sl_log_epoch_end(f->log, asked, &got_epoch, &got_end);
	cr_assert_eq(got_epoch, epoch, "asked %d got epoch %d", asked, got_epoch);
	cr_assert_eq(got_end, end, "asked %d got end %d", asked, (int)got_end);
}

static void check_history(void)
{
	check_end(-1, -1, -1);
	check_end(1, 1, 0); /* below the first known one: go to where that begins */
	check_end(2, 2, 10);
	check_end(3, 2, 10);
	check_end(5, 5, 20);
	check_end(9, 9, 30);
	check_end(10, -1, -1);
}

Test(epochs, answer_where_each_one_ends)
{
	static const int32_t epochs[] = {2, 5, 9};

	check_end(0, -1, -1);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(sl_log_epoch_begin(f->log, epochs[i]), 0);
		f->leader_epoch = epochs[i];
		fill(10, 1000);
	}
	check_history();
	fixture_close(f, true);
	fixture_must_open(f, true);
	check_history();
	fixture_kill(f);
	fixture_must_open(f, false);
	check_history();
	/* The file is lost: the batches know. */
	fixture_kill(f);
	simfs_remove(f->fs, FIXTURE_FOLDER "/leader-epoch-checkpoint");
	fixture_must_open(f, false);
	check_history();
}

Test(epochs, file_is_kafka_text)
{
	size_t len = 0;
	const char *text;

	cr_assert_eq(sl_log_epoch_begin(f->log, 2), 0);
	f->leader_epoch = 2;
	fill(3, 1000);
	cr_assert_eq(sl_log_epoch_begin(f->log, 4), 0);
	text = (const char *)simfs_data(f->fs, FIXTURE_FOLDER "/leader-epoch-checkpoint", &len);
	cr_assert_eq(len, strlen("0\n2\n2 0\n4 3\n"));
	cr_assert_eq(memcmp(text, "0\n2\n2 0\n4 3\n", len), 0);
}

Test(epochs, file_comes_with_the_first_batch_or_a_clean_close)
{
	static const char file[] = FIXTURE_FOLDER "/leader-epoch-checkpoint";

	cr_assert_eq(sl_log_epoch_begin(f->log, 4), 0);
	cr_assert(!simfs_exists(f->fs, file));
	check_end(4, 4, 0);
	fixture_close(f, false);
	fixture_must_open(f, false);
	cr_assert_eq(sl_log_epoch(f->log), -1, "nothing was written in it");
	cr_assert_eq(sl_log_epoch_begin(f->log, 4), 0);
	fixture_close(f, true);
	cr_assert(simfs_exists(f->fs, file));
	fixture_must_open(f, true);
	cr_assert_eq(sl_log_epoch(f->log), 4);
	cr_assert_eq(sl_log_epoch_begin(f->log, 3), -EINVAL);
	cr_assert_eq(sl_log_epoch_begin(f->log, 6), 0);
	f->leader_epoch = 6;
	fixture_must_append(f, 3, 10, 1);
	fixture_kill(f);
	fixture_must_open(f, false);
	cr_assert_eq(sl_log_epoch(f->log), 6);
	check_end(6, 6, 3);
	fixture_check(f, 1000);
}

Test(epochs, a_file_that_cannot_be_made_fails_the_first_append)
{
	struct fixture_spec spec = {.records = 1, .value_bytes = 10, .timestamp = 1};
	struct sl_log_append io;

	f->leader_epoch = 2;
	cr_assert_eq(sl_log_epoch_begin(f->log, 2), 0);
	simfs_fail(f->fs, SIMFS_CREATE, 1, -ENOSPC, 0, false);
	cr_assert_eq(fixture_append(f, &spec, &io), -ENOSPC);
	cr_assert_eq(sl_log_error(f->log), -ENOSPC);
	cr_assert_eq(sl_log_end(f->log), 0);
}

Test(epochs, an_epoch_that_wrote_nothing_is_replaced)
{
	cr_assert_eq(sl_log_epoch_begin(f->log, 1), 0);
	cr_assert_eq(sl_log_epoch_begin(f->log, 3), 0);
	check_end(1, 1, 0);
	check_end(3, 3, 0);
	cr_assert_eq(sl_log_epoch_begin(f->log, 3), 0);
	cr_assert_eq(sl_log_epoch_begin(f->log, 2), -EINVAL);
	cr_assert_eq(sl_log_epoch_begin(f->log, -1), -EINVAL);
}

Test(epochs, follow_truncation_and_log_start)
{
	for (int i = 1; i <= 4; i++) {
		f->leader_epoch = i;
		fill(20, 1000);
	}
	cr_assert_eq(sl_log_truncate(f->log, 60), 0);
	fixture_model_cut(f, 0, 60);
	cr_assert_eq(sl_log_epoch(f->log), 3);
	check_end(3, 3, 60);
	check_end(4, -1, -1);
	cr_assert_eq(sl_log_advance_start(f->log, 45), 0);
	check_end(1, 1, 45);
	check_end(3, 3, 60);
	f->leader_epoch = 7;
	fill(1, 1000);
	check_end(3, 3, 60);
	check_end(7, 7, 61);
}

Test(epochs, damaged_files_are_refused)
{
	static const char *const texts[] = {
		"",
		"0",
		"0\n",
		"0\n1\n",
		"1\n0\n",
		"0\n1\n1\n",
		"0\n1\n1 x\n",
		"0\n2\n1 0\n",
		"0\n2\n2 0\n1 5\n",
		"0\n2\n1 5\n2 4\n",
		"0\n1\n1 0\nrubbish\n",
		"0\n-1\n",
		"0\n99999999999\n",
		"0\n1\n99999999999 0\n",
	};
	struct epochs epochs = {0};

	for (size_t i = 0; i < SL_ARRAY_SIZE(texts); i++) {
		simfs_set_data(f->fs, "logs/e", texts[i], strlen(texts[i]));
		cr_assert_eq(epochs_load(&epochs, &f->files, f->dirfd, "e"), -EBADMSG, "%s",
		             texts[i]);
		cr_assert_eq(epochs.count, 0);
	}
	simfs_set_data(f->fs, "logs/e", "0\n0\n", 4);
	cr_assert_eq(epochs_load(&epochs, &f->files, f->dirfd, "e"), 0);
	epochs_fini(&epochs);
}
