/* SPDX-License-Identifier: Apache-2.0 */
/* What a log is after kills, power cuts, torn tails and damaged files. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

TestSuite(recover, .init = setup, .fini = teardown);

/* Opens a copy of @disk after @change made it different; the caller looks and then calls undo(). */
static struct simfs *disk;

static void redo(void)
{
	simfs_destroy(f->fs);
	f->fs = simfs_copy(disk);
	f->files = simfs_files(f->fs);
	f->dirfd = -1;
}

static void undo(void)
{
	if (f->log)
		sl_log_close(f->log, false);
	f->log = NULL;
}

Test(recover, keeps_everything_after_a_kill)
{
	for (int i = 0; i < 100; i++)
		fixture_must_append(f, 1 + i % 3, 100, 1000 + i);
	fixture_kill(f);
	fixture_must_open(f, false);
	cr_assert_eq(f->report.cut_bytes, 0);
	cr_assert_eq(f->report.cut_offset, -1);
	cr_assert_eq(f->report.scanned_bytes, sl_log_bytes(f->log));
	cr_assert_eq(sl_log_flushed(f->log), sl_log_end(f->log));
	fixture_check(f, 5000);
}

Test(recover, scans_nothing_after_a_clean_close)
{
	for (int i = 0; i < 100; i++)
		fixture_must_append(f, 1 + i % 3, 100, 1000 + i);
	fixture_close(f, true);
	fixture_must_open(f, true);
	cr_assert_eq(f->report.scanned_bytes, 0);
	cr_assert_eq(sl_log_flushed(f->log), sl_log_end(f->log));
	fixture_check(f, 5000);
	fixture_must_append(f, 2, 10, 5);
	fixture_check(f, 5000);
	/* The clean close before vouches no more. */
	fixture_close(f, false);
	fixture_must_open(f, true);
	cr_assert_gt(f->report.scanned_bytes, 0);
	fixture_check(f, 5000);
}

Test(recover, scans_only_what_no_sync_covered)
{
	uint64_t bytes;

	for (int i = 0; i < 100; i++)
		fixture_must_append(f, 1, 100, 1000 + i);
	cr_assert_eq(fixture_sync(f), 0);
	bytes = f->log->active->bytes;
	fixture_kill(f);
	fixture_must_open(f, false);
	cr_assert_eq(f->report.scanned_bytes, bytes);
	fixture_check(f, 5000);
}

/* The offset behind the last batch that lies wholly below @len. */
static int64_t end_below(size_t len)
{
	size_t pos = 0;
	int64_t end = 0;

	for (uint32_t i = 0; i < f->batches_count && pos + f->batches[i].len <= len; i++) {
		pos += f->batches[i].len;
		end = f->batches[i].last_offset + 1;
	}
	return end;
}

/* The model is only read here: batches behind @end are ignored. */
static void check_prefix(int64_t end)
{
	uint32_t count = f->batches_count;

	cr_assert_eq(sl_log_end(f->log), end);
	while (f->batches_count > 0 && f->batches[f->batches_count - 1].last_offset >= end)
		f->batches_count--;
	fixture_check(f, 700);
	f->batches_count = count;
}

Test(recover, cuts_at_every_byte)
{
	size_t len = 0;
	uint8_t *data;

	for (int i = 0; i < 12; i++)
		fixture_must_append(f, 1 + i % 3, (uint32_t)(i * 7), 1000 + i);
	fixture_kill(f);
	disk = f->fs;
	f->fs = simfs_copy(disk);
	simfs_data(disk, fixture_path(0, ".log"), &len);
	for (size_t cut = 0; cut <= len; cut++) {
		size_t now;

		redo();
		data = simfs_data(f->fs, fixture_path(0, ".log"), &now);
		simfs_set_data(f->fs, fixture_path(0, ".log"), data, cut);
		fixture_must_open(f, false);
		check_prefix(end_below(cut));
		cr_assert_eq(f->report.cut_bytes, cut - sl_log_bytes(f->log));
		cr_assert_eq(f->report.cut_offset, f->report.cut_bytes ? sl_log_end(f->log) : -1);
		cr_assert_eq(f->report.reason[0] != '\0', f->report.cut_bytes > 0);
		simfs_data(f->fs, fixture_path(0, ".log"), &now);
		cr_assert_eq(now, sl_log_bytes(f->log));
		undo();
	}
	simfs_destroy(disk);
}

Test(recover, cuts_a_zero_filled_tail)
{
	size_t len = 0;
	uint8_t *data;

	for (int i = 0; i < 5; i++)
		fixture_must_append(f, 2, 50, 1000 + i);
	fixture_kill(f);
	data = simfs_data(f->fs, fixture_path(0, ".log"), &len);
	simfs_set_data(f->fs, fixture_path(0, ".log"), data, len + 5000);
	fixture_must_open(f, false);
	cr_assert_eq(f->report.cut_bytes, 5000);
	cr_assert_str_eq(f->report.reason, "zero-filled tail");
	fixture_check(f, 700);
	/* And appending goes on where the good data ends. */
	fixture_must_append(f, 2, 50, 9);
	fixture_check(f, 700);
}

Test(recover, detects_every_flipped_bit)
{
	size_t len = 0;
	uint8_t *data;

	for (int i = 0; i < 4; i++)
		fixture_must_append(f, 1 + i % 2, 9, 1000 + i);
	fixture_kill(f);
	disk = f->fs;
	f->fs = simfs_copy(disk);
	simfs_data(disk, fixture_path(0, ".log"), &len);
	for (size_t bit = 0; bit < len * 8; bit++) {
		size_t pos = bit / 8;
		size_t batch_pos = 0;
		uint32_t i = 0;

		redo();
		data = simfs_data(f->fs, fixture_path(0, ".log"), &len);
		data[pos] ^= (uint8_t)(1 << (bit % 8));
		while (batch_pos + f->batches[i].len <= pos)
			batch_pos += f->batches[i++].len;
		/* Leader epoch: not protected by the checksum, as in Kafka. */
		if (pos - batch_pos >= SL_BATCH_POS_LEADER_EPOCH &&
		    pos - batch_pos < SL_BATCH_POS_MAGIC)
			continue;
		cr_assert_eq(fixture_open(f, false), 0);
		/* A larger base offset looks like a gap, which only an exact history could refuse.
		 */
		if (pos - batch_pos >= 8)
			check_prefix(f->batches[i].base_offset);
		undo();
	}
	simfs_destroy(disk);
}

Test(recover, rebuilds_missing_and_damaged_indexes)
{
	static const char *const suffixes[] = {".index", ".timeindex"};

	for (int i = 0; i < 60; i++)
		fixture_must_append(f, 2, 100, 1000 + i);
	cr_assert_eq(fixture_sync(f), 0);
	fixture_close(f, true);
	disk = f->fs;
	f->fs = simfs_copy(disk);
	for (int what = 0; what < 12; what++) {
		const char *suffix = suffixes[what % 2];
		int64_t offset = 0;
		int64_t found = 0;
		size_t len = 0;
		uint8_t *data;

		redo();
		data = simfs_data(f->fs, fixture_path(0, suffix), &len);
		cr_assert_gt(len, 12);
		if (what / 4 == 0)
			simfs_remove(f->fs, fixture_path(0, suffix));
		else if (what / 4 == 1)
			memset(data, 0, len);
		else
			simfs_set_data(f->fs, fixture_path(0, suffix), data, len - 3);
		fixture_must_open(f, what / 2 % 2);
		cr_assert_eq(f->report.cut_bytes, 0);
		fixture_check(f, 500);
		cr_assert_eq(sl_log_offset_for_time(f->log, 1005, INT64_MAX, &offset, &found), 0);
		cr_assert_eq(found, 1005);
		undo();
	}
	simfs_destroy(disk);
}

Test(recover, does_not_trust_an_index_that_points_between_batches)
{
	size_t len = 0;
	uint8_t *data;

	for (int i = 0; i < 60; i++)
		fixture_must_append(f, 2, 100, 1000 + i);
	fixture_close(f, true);
	data = simfs_data(f->fs, fixture_path(0, ".index"), &len);
	sl_store_be32(data + 12, sl_load_be32(data + 12) + 1);
	fixture_must_open(f, true);
	fixture_check(f, 500);
}

Test(recover, does_not_trust_an_index_that_points_to_a_later_batch)
{
	struct sl_log_range range;
	size_t len = 0;
	uint8_t *data;
	int64_t last;

	f->opts.config.index_interval_bytes = 700;
	sl_log_set_config(f->log, &f->opts.config);
	for (int i = 0; i < 60; i++)
		fixture_must_append(f, 2, 100, 1000 + i);
	fixture_close(f, true);
	data = simfs_data(f->fs, fixture_path(0, ".index"), &len);
	/* The entry says that the batch ends 3 offsets earlier than it does. */
	last = sl_load_be32(data + 16);
	cr_assert_gt(last - 3, sl_load_be32(data + 8));
	sl_store_be32(data + 16, (uint32_t)last - 3);
	fixture_must_open(f, true);
	cr_assert_eq(sl_log_read(f->log, last - 2, 120, 500, true, &range), 0);
	cr_assert_eq(range.base_offset, last - 3);
	sl_log_range_put(f->log, &range);
	fixture_check(f, 500);
}

Test(recover, drops_segments_behind_a_cut)
{
	size_t len = 0;
	uint8_t *data;
	int64_t base;

	for (int i = 0; i < 100; i++)
		fixture_must_append(f, 1, 100, 1000 + i);
	cr_assert_gt(sl_log_segments(f->log), 3);
	base = f->log->segments[1]->base_offset;
	fixture_kill(f);
	data = simfs_data(f->fs, fixture_path(base, ".log"), &len);
	data[len / 2] ^= 1;
	fixture_must_open(f, false);
	cr_assert_eq(sl_log_segments(f->log), 2);
	cr_assert_str_eq(f->report.reason, "wrong checksum");
	cr_assert_eq(f->report.cut_offset, sl_log_end(f->log));
	cr_assert_gt(f->report.cut_bytes, len);
	fixture_model_cut(f, 0, sl_log_end(f->log));
	fixture_check(f, 500);
	fixture_must_append(f, 1, 100, 5);
	fixture_check(f, 500);
}

Test(recover, keeps_synced_segments_behind_damage_in_a_synced_one)
{
	struct sl_log_range range;
	int64_t next;
	size_t len = 0;
	uint8_t *data;

	for (int i = 0; i < 100; i++)
		fixture_must_append(f, 1, 100, 1000 + i);
	cr_assert_eq(fixture_sync(f), 0);
	next = f->log->segments[1]->base_offset;
	fixture_kill(f);
	/* The file of a sealed, synced segment has lost its end. */
	data = simfs_data(f->fs, fixture_path(0, ".log"), &len);
	simfs_set_data(f->fs, fixture_path(0, ".log"), data, len - 10);
	fixture_must_open(f, false);
	cr_assert_eq(sl_log_end(f->log), 100);
	cr_assert_eq(f->report.cut_offset, next - 1);
	cr_assert_str_eq(f->report.reason, "damage inside a sealed segment");
	/* A reader of the lost batch gets the next one there is, as after compaction. */
	cr_assert_eq(sl_log_read(f->log, next - 1, 100, 1u << 20, true, &range), 0);
	cr_assert_eq(range.base_offset, next);
	sl_log_range_put(f->log, &range);
}

Test(recover, drops_a_segment_behind_a_gap)
{
	for (int i = 0; i < 20; i++)
		fixture_must_append(f, 1, 100, 1000 + i);
	fixture_kill(f);
	simfs_set_data(f->fs, fixture_path(500, ".log"), "", 0);
	fixture_must_open(f, false);
	cr_assert_eq(sl_log_end(f->log), 20);
	fixture_check(f, 500);
	cr_assert(!simfs_exists(f->fs, fixture_path(500, ".log")));
}

Test(recover, removes_leftovers_and_orphans)
{
	fixture_must_append(f, 1, 100, 1000);
	fixture_kill(f);
	simfs_set_data(f->fs, fixture_path(7, ".log.deleted"), "x", 1);
	simfs_set_data(f->fs, fixture_path(7, ".index"), "x", 1);
	simfs_set_data(f->fs, fixture_path(7, ".log.swap"), "x", 1);
	simfs_set_data(f->fs, FIXTURE_FOLDER "/sluice-checkpoint.tmp", "x", 1);
	simfs_set_data(f->fs, FIXTURE_FOLDER "/0000000000000000000x.log", "x", 1);
	fixture_must_open(f, false);
	cr_assert_eq(sl_log_end(f->log), 1);
	cr_assert(!simfs_exists(f->fs, fixture_path(7, ".log.deleted")));
	cr_assert(!simfs_exists(f->fs, fixture_path(7, ".index")));
	cr_assert(!simfs_exists(f->fs, fixture_path(7, ".log.swap")));
	cr_assert(!simfs_exists(f->fs, FIXTURE_FOLDER "/sluice-checkpoint.tmp"));
	/* What is not ours stays. */
	cr_assert(simfs_exists(f->fs, FIXTURE_FOLDER "/0000000000000000000x.log"));
}

Test(recover, opens_a_folder_whose_creation_was_interrupted)
{
	fixture_kill(f);
	simfs_remove(f->fs, FIXTURE_FOLDER "/partition.metadata");
	simfs_remove(f->fs, fixture_path(0, ".log"));
	fixture_must_open(f, false);
	fixture_must_append(f, 1, 100, 1000);
	fixture_close(f, true);
	f->opts.topic_id.b[3] ^= 1;
	cr_assert_eq(fixture_open(f, true), -ESTALE);
}

Test(recover, survives_a_damaged_checkpoint_and_history)
{
	int32_t epoch;
	int64_t end;

	for (int i = 0; i < 60; i++) {
		f->leader_epoch = 10 + i / 20;
		fixture_must_append(f, 1, 100, 1000 + i);
	}
	fixture_close(f, true);
	simfs_set_data(f->fs, FIXTURE_FOLDER "/sluice-checkpoint", "version: 0\nrubbish", 18);
	simfs_set_data(f->fs, FIXTURE_FOLDER "/leader-epoch-checkpoint", "0\n9\n1 1\n", 8);
	fixture_must_open(f, true);
	fixture_check(f, 500);
	cr_assert_eq(sl_log_epoch(f->log), 12);
	sl_log_epoch_end(f->log, 10, &epoch, &end);
	cr_assert_eq(epoch, 10);
	cr_assert_eq(end, 20);
	sl_log_epoch_end(f->log, 11, &epoch, &end);
	cr_assert_eq(end, 40);
}

/* What recovery does to the disk, counted in front of the simulated one. */
static struct sl_file_ops counted;
static const struct sl_file_ops *uncounted;
static uint64_t read_bytes;
static unsigned int epoch_files; /* put in place */

static ssize_t counted_pread(void *ctx, int fd, void *p, size_t len, uint64_t pos)
{
	ssize_t n = uncounted->pread(ctx, fd, p, len, pos);

	read_bytes += n > 0 ? (uint64_t)n : 0;
	return n;
}

static int counted_rename(void *ctx, int dirfd, const char *from, const char *to)
{
	epoch_files += strstr(to, "/leader-epoch-checkpoint") != NULL;
	return uncounted->rename(ctx, dirfd, from, to);
}

static void open_counted(void)
{
	uncounted = f->files.ops;
	counted = *uncounted;
	counted.pread = counted_pread;
	counted.rename = counted_rename;
	f->files.ops = &counted;
	read_bytes = epoch_files = 0;
	fixture_must_open(f, false);
}

/* Thousands of logs are opened after a crash: each unneeded file costs a tenth of a millisecond. */
Test(recover, writes_the_epochs_only_where_the_file_lacks_some)
{
	static const char file[] = FIXTURE_FOLDER "/leader-epoch-checkpoint";
	uint32_t synced;

	f->leader_epoch = 7;
	fixture_must_append(f, 1, 100, 1000);
	fixture_must_append(f, 1, 100, 1001);
	cr_assert(simfs_exists(f->fs, file));
	fixture_kill(f);
	open_counted();
	cr_assert_gt(f->report.scanned_bytes, 0);
	cr_assert_eq(epoch_files, 0, "the file has what the scan found");
	cr_assert_eq(sl_log_epoch(f->log), 7);
	fixture_must_append(f, 1, 100, 1002);
	f->leader_epoch = 8;
	fixture_must_append(f, 1, 100, 1003);
	fixture_kill(f);
	/* As a power cut may leave it: older than the batches. */
	simfs_set_data(f->fs, file, "0\n1\n7 0\n", 8);
	open_counted();
	cr_assert_eq(epoch_files, 1);
	cr_assert_eq(sl_log_epoch(f->log), 8);
	synced = f->log->folder_synced;
	cr_assert_eq(synced, f->log->folder_changes, "and is durable");
	fixture_kill(f);
	simfs_remove(f->fs, file);
	open_counted();
	cr_assert_eq(epoch_files, 1);
	/* More than the batches say goes. */
	fixture_kill(f);
	simfs_set_data(f->fs, file, "0\n3\n7 0\n8 3\n9 5\n", 16);
	open_counted();
	cr_assert_eq(epoch_files, 1);
	cr_assert_eq(sl_log_epoch(f->log), 8);
	fixture_kill(f);
	open_counted();
	cr_assert_eq(epoch_files, 0);
	fixture_check(f, 700);
}

Test(recover, reads_little_of_what_was_allocated_ahead)
{
	const size_t ahead = 4u << 20;
	uint8_t *longer;
	uint64_t bytes;
	uint8_t *data;
	size_t len;

	f->opts.config.segment_bytes = 16 << 20;
	sl_log_set_config(f->log, &f->opts.config);
	for (int i = 0; i < 10; i++)
		fixture_must_append(f, 1, 100, 1000 + i);
	bytes = sl_log_bytes(f->log);
	fixture_kill(f);
	data = simfs_data(f->fs, fixture_path(0, ".log"), &len);
	longer = calloc(1, len + ahead);
	memcpy(longer, data, len);
	simfs_set_data(f->fs, fixture_path(0, ".log"), longer, len + ahead);
	free(longer);
	open_counted();
	cr_assert_eq(sl_log_bytes(f->log), bytes);
	cr_assert_lt(read_bytes, 64u << 10, "%llu", (unsigned long long)read_bytes);
	fixture_check(f, 700);
}

/* Small reads are for the first steps only. */
Test(recover, reads_a_long_tail_in_large_pieces)
{
	unsigned int before;

	f->opts.config.segment_bytes = 16 << 20;
	sl_log_set_config(f->log, &f->opts.config);
	for (int i = 0; i < 1000; i++)
		fixture_must_append(f, 1, 4000, 1000 + i);
	fixture_kill(f);
	before = simfs_pread_count(f->fs);
	fixture_must_open(f, false);
	cr_assert_geq(f->report.scanned_bytes, 4000000);
	cr_assert_lt(simfs_pread_count(f->fs) - before, 60);
	fixture_check(f, 100000);
}

Test(recover, start_offset_survives)
{
	for (int i = 0; i < 100; i++)
		fixture_must_append(f, 2, 100, 1000 + i);
	cr_assert_eq(sl_log_advance_start(f->log, 57), 0);
	fixture_kill(f);
	fixture_must_open(f, false);
	cr_assert_eq(sl_log_start(f->log), 57);
	fixture_check(f, 500);
	fixture_close(f, true);
	fixture_must_open(f, true);
	cr_assert_eq(sl_log_start(f->log), 57);
}

/* What was synced once is not trusted after a truncation and other data in its place. */
Test(recover, power_cuts_after_a_truncation)
{
	for (uint64_t seed = 1; seed <= 200; seed++) {
		int64_t flushed;

		for (int i = 0; i < 60; i++)
			fixture_must_append(f, 1, 90, 1000 + i);
		cr_assert_eq(fixture_sync(f), 0);
		cr_assert_eq(sl_log_truncate(f->log, (int64_t)(seed % 40)), 0);
		fixture_model_cut(f, 0, (int64_t)(seed % 40));
		flushed = sl_log_flushed(f->log);
		cr_assert_eq(flushed, sl_log_end(f->log));
		for (int i = 0; i < 50; i++)
			fixture_must_append(f, 2, 80, 5000 + i);
		fixture_kill(f);
		simfs_power_cut(f->fs, seed);
		fixture_must_open(f, false);
		cr_assert_geq(sl_log_end(f->log), flushed);
		fixture_model_cut(f, 0, sl_log_end(f->log));
		fixture_check(f, 600);
		teardown();
		setup();
	}
}

/* Synced data is there after any power cut, and what is there is a prefix of what was written. */
Test(recover, power_cuts_keep_what_was_synced)
{
	for (uint64_t seed = 1; seed <= 300; seed++) {
		int64_t flushed = 0;
		int64_t end;

		for (uint64_t i = 0; i < 40 + seed % 50; i++) {
			f->leader_epoch = (int32_t)(i / 10);
			fixture_must_append(f, 1 + (int32_t)(i % 3), 90, 1000 + (int64_t)i);
			if ((i * seed) % 11 == 0)
				cr_assert_eq(fixture_sync(f), 0);
			flushed = sl_log_flushed(f->log);
		}
		fixture_kill(f);
		simfs_power_cut(f->fs, seed);
		fixture_must_open(f, false);
		end = sl_log_end(f->log);
		cr_assert_geq(end, flushed, "seed %d: %d < %d", (int)seed, (int)end, (int)flushed);
		cr_assert_eq(sl_log_flushed(f->log), end);
		fixture_model_cut(f, 0, end);
		fixture_check(f, 600);
		fixture_must_append(f, 1, 10, 1);
		/* What recovery called flushed survives the next cut, too. */
		fixture_kill(f);
		simfs_power_cut(f->fs, seed + 1000);
		fixture_must_open(f, false);
		cr_assert_geq(sl_log_end(f->log), end);
		teardown();
		setup();
	}
}

Test(recover, first_records_after_a_clean_close_of_an_empty_log_survive_a_power_cut)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		fixture_close(f, true);
		fixture_must_open(f, true);
		fixture_must_append(f, 1, 100, 1000);
		cr_assert_eq(fixture_sync(f), 0);
		fixture_kill(f);
		simfs_power_cut(f->fs, seed);
		fixture_must_open(f, false);
		cr_assert_eq(sl_log_end(f->log), 1, "seed %d", (int)seed);
		fixture_check(f, 500);
		fixture_fini(f);
		fixture_init(f);
		fixture_must_open(f, false);
	}
}
