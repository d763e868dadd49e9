/* SPDX-License-Identifier: Apache-2.0 */
/* Idempotent producers: the table alone, and through a log that restarts. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#include "aborted.h"
#include "fixture.h"
#include "producers.h"

/* One producer whose last batches were 0-1, 2-3, ... 18-19 at epoch 3; window: 10-11 to 18-19. */
struct case_row {
	const char *name;
	int32_t base_sequence;
	int32_t records;
	int16_t epoch;
	int result;
	int64_t original; /* base offset for -EEXIST */
};

static const struct case_row rows[] = {
	{"next in order", 20, 2, 3, 0, 0},
	{"gap", 21, 1, 3, -EILSEQ, 0},
	{"latest again", 18, 2, 3, -EEXIST, 18},
	{"oldest in the window again", 10, 2, 3, -EEXIST, 10},
	{"older than the window", 8, 2, 3, -EILSEQ, 0},
	{"same first, other last", 18, 1, 3, -EILSEQ, 0},
	{"same last, other first", 17, 3, 3, -EILSEQ, 0},
	{"older epoch", 20, 2, 2, -ESTALE, 0},
	{"older epoch, duplicate numbers", 18, 2, 2, -ESTALE, 0},
	{"newer epoch from 0", 0, 2, 4, 0, 0},
	{"newer epoch not from 0", 20, 2, 4, -EILSEQ, 0},
	{"newer epoch, duplicate numbers", 18, 2, 4, -EILSEQ, 0},
	{"wraps too early", 0, 2, 3, -EILSEQ, 0},
};

static struct producers_claim claim(int64_t id, int16_t epoch, int32_t sequence, int64_t base,
                                    int32_t records)
{
	return (struct producers_claim){
		.producer_id = id,
		.epoch = epoch,
		.base_sequence = sequence,
		.base_offset = base,
		.last_offset = base + records - 1,
		.timestamp_ms = 1000 + base,
	};
}

static void put(struct producers *p, struct producers_claim c, int64_t now_ms)
{
	const struct producers_batch *original = NULL;

	cr_assert_eq(producers_check(p, &c, &original), 0);
	cr_assert_eq(producers_reserve(p, true), 0);
	producers_update(p, &c, now_ms);
}

static int check(const struct producers *p, struct producers_claim c)
{
	const struct producers_batch *original = NULL;

	return producers_check(p, &c, &original);
}

Test(producers, answer_every_case_of_the_table)
{
	struct producers p = {0};

	for (int i = 0; i < 10; i++)
		put(&p, claim(7, 3, 2 * i, 2 * i, 2), 1);
	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		const struct producers_batch *original = NULL;
		struct producers_claim c = claim(7, rows[i].epoch, rows[i].base_sequence, 20,
		                                 rows[i].records);
		int result = producers_check(&p, &c, &original);

		cr_assert_eq(result, rows[i].result, "%s: %d", rows[i].name, result);
		if (result == -EEXIST) {
			cr_assert_eq(original->last_offset - original->offset_delta,
			             rows[i].original, "%s", rows[i].name);
			cr_assert_eq(original->timestamp_ms, 1000 + rows[i].original);
		}
	}
	/* Nothing is known of another producer: any sequence is accepted. */
	cr_assert_eq(check(&p, claim(8, 0, 12345, 20, 1)), 0);
	producers_fini(&p);
}

Test(producers, sequences_wrap_to_zero)
{
	struct producers p = {0};

	put(&p, claim(7, 0, INT32_MAX - 1, 0, 2), 1);
	cr_assert_eq(check(&p, claim(7, 0, 1, 2, 1)), -EILSEQ);
	put(&p, claim(7, 0, 0, 2, 1), 1);
	producers_fini(&p);

	/* A batch that wraps inside: INT32_MAX - 1, INT32_MAX, 0, 1. */
	put(&p, claim(7, 0, INT32_MAX - 1, 0, 4), 1);
	cr_assert_eq(check(&p, claim(7, 0, INT32_MAX - 1, 4, 4)), -EEXIST);
	cr_assert_eq(check(&p, claim(7, 0, 2, 4, 4)), 0);
	cr_assert_eq(check(&p, claim(7, 0, 3, 4, 4)), -EILSEQ);
	producers_fini(&p);
}

Test(producers, new_epoch_forgets_the_window)
{
	struct producers p = {0};

	put(&p, claim(7, 0, 0, 0, 2), 1);
	put(&p, claim(7, 1, 0, 2, 1), 1);
	cr_assert_eq(check(&p, claim(7, 1, 0, 3, 2)), -EILSEQ);
	cr_assert_eq(check(&p, claim(7, 0, 2, 3, 1)), -ESTALE);
	cr_assert_eq(check(&p, claim(7, 1, 1, 3, 1)), 0);
	/* The numbers of the old epoch's batches are new ones now, not duplicates. */
	put(&p, claim(8, 0, 0, 4, 2), 1);
	put(&p, claim(8, 0, 2, 6, 2), 1);
	put(&p, claim(8, 1, 0, 8, 2), 1);
	put(&p, claim(8, 1, 2, 10, 2), 1);
	producers_fini(&p);
}

Test(producers, expire_by_last_use)
{
	struct sl_log_producer list[8];
	struct producers p = {0};

	for (int i = 0; i < 6; i++)
		put(&p, claim(i, 0, 0, i, 1), 100 + i);
	put(&p, claim(0, 0, 1, 6, 1), 200);
	cr_assert_eq(producers_expire(&p, 103, 100), 2); /* 1 and 2; 0 was used again */
	cr_assert_eq(producers_expire(&p, 1000, 1), 1);
	cr_assert_eq(producers_list(&p, list, 8), 3);
	cr_assert_eq(list[0].producer_id, 4);
	cr_assert_eq(list[2].producer_id, 0);
	cr_assert_eq(list[2].last_sequence, 1);
	cr_assert_eq(list[2].last_offset, 6);
	cr_assert_eq(list[2].last_timestamp_ms, 1006);
	producers_fini(&p);
}

Test(producers, many_come_and_go_and_snapshots_keep_them)
{
	struct aborted none = {0};
	struct producers_snapshot snapshot = {.aborted = &none};
	struct producers p = {0};
	struct producers q = {0};
	struct sl_buf buf;

	/* More than the limit: the longest silent ones are forgotten. */
	for (int64_t i = 0; i < STORE_PRODUCERS_MAX + 1000; i++)
		put(&p, claim(i * 1000003, 5, 0, i, 1), i);
	cr_assert_eq(p.count, STORE_PRODUCERS_MAX);
	cr_assert_eq(check(&p, claim(999 * 1000003, 5, 77, 0, 1)), 0);
	cr_assert_eq(check(&p, claim(1000 * 1000003, 5, 77, 0, 1)), -EILSEQ);
	cr_assert_eq(producers_expire(&p, STORE_PRODUCERS_MAX - 10, UINT32_MAX),
	             STORE_PRODUCERS_MAX - 1010);
	cr_assert_eq(p.count, 1010);

	sl_buf_init_grow(&buf, 1u << 24);
	snapshot.offset = 4711;
	producers_encode(&p, &snapshot, &buf);
	cr_assert(sl_buf_ok(&buf));
	cr_assert_eq(producers_decode(&q, &snapshot, buf.p, buf.len), 0);
	cr_assert_eq(q.count, p.count);
	for (int64_t i = 0; i < STORE_PRODUCERS_MAX + 1000; i++) {
		struct producers_claim c = claim(i * 1000003, 5, 0, i, 1);

		cr_assert_eq(check(&q, c), check(&p, c));
	}
	producers_clear(&q);
	snapshot.offset = 4712;
	cr_assert_eq(producers_decode(&q, &snapshot, buf.p, buf.len), -EBADMSG);
	sl_buf_fini(&buf);
	producers_fini(&p);
	producers_fini(&q);
}

Test(producers, damaged_snapshots_are_refused)
{
	struct aborted none = {0};
	struct producers_snapshot snapshot = {.aborted = &none};
	struct producers p = {0};
	struct producers q = {0};
	struct sl_buf buf;

	for (int i = 0; i < 3; i++)
		put(&p, claim(i, 0, 0, i, 1), i);
	sl_buf_init_grow(&buf, 1u << 20);
	snapshot.offset = 3;
	producers_encode(&p, &snapshot, &buf);
	for (size_t i = 0; i < buf.len * 8; i++) {
		buf.p[i / 8] ^= (uint8_t)(1 << (i % 8));
		cr_assert_eq(producers_decode(&q, &snapshot, buf.p, buf.len), -EBADMSG);
		cr_assert_eq(q.count, 0);
		buf.p[i / 8] ^= (uint8_t)(1 << (i % 8));
	}
	for (size_t len = 0; len < buf.len; len++)
		cr_assert_eq(producers_decode(&q, &snapshot, buf.p, len), -EBADMSG);
	cr_assert_eq(producers_decode(&q, &snapshot, buf.p, buf.len), 0);
	sl_buf_fini(&buf);
	producers_fini(&p);
	producers_fini(&q);
}

/* ---- Through the log ---- */

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

TestSuite(producers_log, .init = setup, .fini = teardown);

static int produce(int64_t id, int32_t sequence, int32_t records, struct sl_log_append *io)
{
	struct fixture_spec spec = {.records = records,
	                            .value_bytes = 100,
	                            .timestamp = 5000 + sequence,
	                            .producer_id = id,
	                            .base_sequence = sequence};

	return fixture_append(f, &spec, io);
}

static void check_window(int64_t next)
{
	struct sl_log_append io;

	for (int i = 1; i <= 5; i++) {
		int32_t sequence = (int32_t)next - 2 * i;

		cr_assert_eq(produce(9, sequence, 2, &io), -EEXIST);
		cr_assert_eq(io.base_offset, sequence);
		cr_assert_eq(io.last_offset, sequence + 1);
		cr_assert_eq(io.timestamp_ms, 5000 + sequence + 1);
	}
	cr_assert_eq(produce(9, (int32_t)next - 12, 2, &io), -EILSEQ);
	cr_assert_eq(produce(9, (int32_t)next + 1, 2, &io), -EILSEQ);
	cr_assert_eq(sl_log_end(f->log), next);
}

Test(producers_log, state_survives_clean_close_kill_and_lost_snapshots)
{
	struct sl_log_append io;
	int64_t next = 0;

	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < 30; i++, next += 2)
			cr_assert_eq(produce(9, (int32_t)next, 2, &io), 0);
		check_window(next);
		if (round == 0) {
			fixture_close(f, true);
			fixture_must_open(f, true);
			cr_assert_eq(f->report.scanned_bytes, 0);
		} else {
			fixture_kill(f);
			if (round == 2) {
				for (int64_t o = 0; o <= next; o++) {
					if (simfs_exists(f->fs, fixture_path(o, ".snapshot")))
						simfs_remove(f->fs, fixture_path(o, ".snapshot"));
				}
			}
			fixture_must_open(f, false);
		}
		check_window(next);
	}
	fixture_check(f, 700);
}

Test(producers_log, keeps_few_snapshot_files)
{
	struct sl_log_append io;
	int count = 0;

	for (int i = 0; i < 200; i++)
		cr_assert_eq(produce(9, 2 * i, 2, &io), 0);
	for (int64_t o = 0; o <= 400; o++)
		count += simfs_exists(f->fs, fixture_path(o, ".snapshot"));
	cr_assert_eq(count, STORE_SNAPSHOTS_KEPT);
}

/* Closing thousands of logs that nobody wrote to should be quick. */
Test(producers_log, a_close_keeps_the_snapshot_of_the_same_end)
{
	struct sl_log_append io;

	cr_assert_eq(produce(9, 0, 2, &io), 0);
	fixture_close(f, true);
	fixture_must_open(f, true);
	/* The first is the checkpoint's. */
	simfs_fail(f->fs, SIMFS_RENAME, 2, -EIO, 0, false);
	fixture_close(f, true);
	cr_expect(!simfs_has_failed(f->fs));
	simfs_heal(f->fs);
	fixture_must_open(f, true);
	cr_expect_eq(produce(9, 0, 2, &io), -EEXIST);
	cr_assert_eq(produce(9, 2, 2, &io), 0);
	simfs_fail(f->fs, SIMFS_RENAME, 2, -EIO, 0, false);
	cr_expect_eq(sl_log_close(f->log, true), -EIO, "one with a new end has two");
	f->log = NULL;
	simfs_heal(f->fs);
}

Test(producers_log, truncation_goes_back_to_the_state_of_that_offset)
{
	struct sl_log_append io;

	for (int i = 0; i < 60; i++)
		cr_assert_eq(produce(9, 2 * i, 2, &io), 0);
	cr_assert_eq(sl_log_truncate(f->log, 31), 0);
	cr_assert_eq(sl_log_end(f->log), 30);
	fixture_model_cut(f, 0, 30);
	check_window(30);
	cr_assert_eq(produce(9, 30, 2, &io), 0);
	fixture_check(f, 700);
}

Test(producers_log, expire_on_tick)
{
	struct sl_log_producer list[4];
	struct sl_log_append io;

	f->opts.config.producer_id_expiration_ms = 1000;
	sl_log_set_config(f->log, &f->opts.config);
	cr_assert_eq(produce(9, 0, 2, &io), 0);
	f->now_ms += 500;
	cr_assert_eq(produce(10, 0, 2, &io), 0);
	cr_assert_eq(sl_log_tick(f->log, f->now_ms + 501, 4), 0);
	cr_assert_eq(sl_log_producers(f->log, list, 4), 1);
	cr_assert_eq(list[0].producer_id, 10);
}

Test(producers_log, a_failed_append_is_not_remembered)
{
	struct sl_log_append io;

	cr_assert_eq(produce(9, 0, 2, &io), 0);
	simfs_fail(f->fs, SIMFS_PWRITE, 1, -EIO, 10, false);
	cr_assert_eq(produce(9, 2, 2, &io), -EIO);
	fixture_kill(f);
	fixture_must_open(f, false);
	cr_assert_eq(produce(9, 2, 2, &io), 0);
	cr_assert_eq(io.base_offset, 2);
}
