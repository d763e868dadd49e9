/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions in one log: what is refused, what is stable, and that no restart forgets any of it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
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

TestSuite(txn, .init = setup, .fini = teardown);

/* A transactional batch of @records of producer @id at epoch 0. */
static int data(int64_t id, int32_t sequence, int32_t records)
{
	const struct fixture_spec spec = {.records = records,
	                                  .value_bytes = 20,
	                                  .timestamp = 1000 + sequence,
	                                  .producer_id = id,
	                                  .base_sequence = sequence,
	                                  .is_transactional = true};
	struct sl_log_append io;

	return fixture_append(f, &spec, &io);
}

static int marker(int64_t id, int16_t epoch, bool is_abort, int32_t coordinator_epoch)
{
	const struct fixture_spec spec = {.records = 1,
	                                  .timestamp = 2000,
	                                  .producer_id = id,
	                                  .producer_epoch = epoch,
	                                  .is_marker = true,
	                                  .is_abort = is_abort,
	                                  .coordinator_epoch = coordinator_epoch};
	struct sl_log_append io;

	return fixture_append(f, &spec, &io);
}

static int64_t stable(void)
{
	return sl_log_stable(f->log, sl_log_end(f->log));
}

static struct sl_log_aborted found[4096];

/* The aborted transactions for a fetch of @bytes at @offset. */
static int64_t ask(int64_t offset, uint32_t bytes)
{
	struct sl_log_range range;
	int64_t count;

	cr_assert_eq(sl_log_read(f->log, offset, stable(), bytes, true, &range), 0);
	count = sl_log_aborted(f->log, &range, stable(), NULL, 0);
	cr_assert_geq(count, 0);
	cr_assert_leq(count, (int64_t)SL_ARRAY_SIZE(found));
	cr_assert_eq(sl_log_aborted(f->log, &range, stable(), found, (uint32_t)count), count);
	sl_log_range_put(f->log, &range);
	return count;
}

/* ---- One append ---- */

Test(txn, begins_only_where_the_coordinator_knows_of_it)
{
	struct fixture_spec spec = {.records = 2,
	                            .value_bytes = 20,
	                            .timestamp = 1,
	                            .producer_id = 7,
	                            .is_transactional = true,
	                            .is_unverified = true};
	struct sl_log_append io;

	cr_assert_eq(fixture_append(f, &spec, &io), -EPROTO);
	spec.is_unverified = false;
	cr_assert_eq(fixture_append(f, &spec, &io), 0);
	cr_assert(sl_log_has_txn(f->log, 7, 0));
	cr_assert_not(sl_log_has_txn(f->log, 7, 1));
	cr_assert_not(sl_log_has_txn(f->log, 8, 0));
	/* It goes on without another word, and its repetition is a repetition. */
	spec.is_unverified = true;
	spec.base_sequence = 2;
	cr_assert_eq(fixture_append(f, &spec, &io), 0);
	cr_assert_eq(fixture_append(f, &spec, &io), -EEXIST);
	/* A newer epoch is another transaction. */
	spec.producer_epoch = 1;
	spec.base_sequence = 0;
	cr_assert_eq(fixture_append(f, &spec, &io), -EPROTO);
	cr_assert_eq(marker(7, 0, false, 0), 0);
	spec.producer_epoch = 0;
	spec.base_sequence = 4;
	cr_assert_eq(fixture_append(f, &spec, &io), -EPROTO);
	fixture_check(f, 500);
}

Test(txn, takes_no_other_batch_of_its_producer)
{
	struct fixture_spec spec = {.records = 1,
	                            .value_bytes = 20,
	                            .timestamp = 1,
	                            .producer_id = 7,
	                            .base_sequence = 2};
	struct sl_log_append io;

	cr_assert_eq(data(7, 0, 2), 0);
	cr_assert_eq(fixture_append(f, &spec, &io), -EPROTO);
	cr_assert_eq(marker(7, 0, true, 0), 0);
	cr_assert_eq(fixture_append(f, &spec, &io), 0);
}

struct marker_row {
	const char *name;
	int16_t epoch;
	int32_t coordinator_epoch;
	int result;
};

/* After a transaction at epoch 3 and a marker of coordinator epoch 5. */
static const struct marker_row markers[] = {
	{"again", 3, 5, 0},
	{"newer coordinator", 3, 6, 0},
	{"newer epoch fences", 4, 5, 0},
	{"older epoch", 2, 5, -ESTALE},
	{"older coordinator", 3, 4, -EKEYREVOKED},
	{"older coordinator, newer epoch", 4, 4, -EKEYREVOKED},
};

Test(txn, checks_the_epochs_of_a_marker)
{
	for (size_t i = 0; i < SL_ARRAY_SIZE(markers); i++) {
		const struct marker_row *row = &markers[i];
		const int64_t id = 100 + (int64_t)i;
		struct fixture_spec spec = {.records = 1,
		                            .value_bytes = 20,
		                            .timestamp = 1,
		                            .producer_id = id,
		                            .producer_epoch = 3,
		                            .is_transactional = true};
		struct sl_log_append io;

		cr_assert_eq(fixture_append(f, &spec, &io), 0);
		cr_assert_eq(marker(id, 3, false, 5), 0);
		cr_assert_eq(marker(id, row->epoch, true, row->coordinator_epoch), row->result,
		             "%s", row->name);
		/* The epoch of a marker that was taken is the producer's, which begins at 0. */
		spec.base_sequence = 1;
		cr_assert_eq(fixture_append(f, &spec, &io),
		             row->epoch > 3 && !row->result ? -ESTALE : 0, "%s", row->name);
		if (row->epoch > 3 && !row->result) {
			spec.producer_epoch = row->epoch;
			cr_assert_eq(fixture_append(f, &spec, &io), -EILSEQ);
			spec.base_sequence = 0;
			cr_assert_eq(fixture_append(f, &spec, &io), 0);
		}
	}
}

Test(txn, writes_the_marker_of_an_unknown_producer)
{
	struct sl_log_producer p;

	cr_assert_eq(marker(7, 2, true, 9), 0);
	cr_assert_eq(stable(), 1);
	cr_assert_eq(ask(0, 1000), 0);
	cr_assert_eq(sl_log_producers(f->log, &p, 1), 1);
	cr_assert(p.epoch == 2 && p.coordinator_epoch == 9 && p.last_sequence == -1);
	cr_assert(p.txn_first_offset == -1 && p.last_timestamp_ms == 2000);
	cr_assert_eq(sl_log_txn_marker(f->log, 7), 0);
	cr_assert_eq(sl_log_txn_marker(f->log, 8), -1);
	/* Its first batch at that epoch is known to be the first. */
	cr_assert_eq(data(7, 0, 1), -ESTALE);
}

Test(txn, wants_the_first_sequence_of_a_producer_whose_epochs_rise)
{
	struct fixture_spec spec = {.records = 1,
	                            .value_bytes = 20,
	                            .timestamp = 1,
	                            .producer_id = 7,
	                            .base_sequence = 3,
	                            .is_transactional = true,
	                            .is_epoch_per_txn = true};
	struct sl_log_append io;

	cr_assert_eq(fixture_append(f, &spec, &io), -EILSEQ);
	spec.base_sequence = 0;
	cr_assert_eq(fixture_append(f, &spec, &io), 0);
}

Test(txn, takes_the_batches_of_a_coordinator_without_sequence)
{
	struct fixture_spec spec = {.records = 1,
	                            .value_bytes = 20,
	                            .timestamp = 1,
	                            .producer_id = 7,
	                            .base_sequence = -1,
	                            .is_transactional = true};
	struct sl_log_append io;

	for (int i = 0; i < 10; i++)
		cr_assert_eq(fixture_append(f, &spec, &io), 0);
	cr_assert_eq(stable(), 0);
	cr_assert_eq(marker(7, 0, false, 0), 0);
	cr_assert_eq(stable(), 11);
}

Test(txn, refuses_a_control_batch_that_ends_nothing)
{
	struct fixture_spec spec = {
		.records = 1, .timestamp = 1, .producer_id = 7, .is_marker = true};
	struct sl_log_append io = {.now_ms = 1};
	uint8_t batch[256];
	size_t len = fixture_build(&spec, batch, sizeof(batch));

	cr_assert_eq(len, 78);
	batch[61 + 5 + 3] = SL_CONTROL_LEADER_CHANGE; /* the key's type */
	cr_assert_eq(sl_log_append(f->log, batch, len, &io), -EBADMSG);
	cr_assert_eq(sl_log_end(f->log), 0);
}

/* ---- What is stable ---- */

Test(txn, keeps_records_unstable_until_the_marker_is_below_the_high_watermark)
{
	fixture_must_append(f, 2, 20, 1);
	cr_assert_eq(stable(), 2);
	cr_assert_eq(data(7, 0, 2), 0); /* 2-3 */
	cr_assert_eq(data(8, 0, 2), 0); /* 4-5 */
	fixture_must_append(f, 1, 20, 1);
	cr_assert_eq(stable(), 2);
	cr_assert_eq(sl_log_stable(f->log, 1), 1);
	cr_assert_eq(marker(7, 0, false, 0), 0); /* 7 */
	cr_assert_eq(sl_log_stable(f->log, 7), 2);
	cr_assert_eq(sl_log_stable(f->log, 8), 4);
	cr_assert_eq(marker(8, 0, true, 0), 0); /* 8 */
	cr_assert_eq(sl_log_stable(f->log, 8), 4);
	/* The producer has its next one while the last is not below the high watermark. */
	cr_assert_eq(data(8, 2, 1), 0); /* 9 */
	cr_assert_eq(sl_log_stable(f->log, 8), 4);
	cr_assert_eq(sl_log_stable(f->log, 9), 9);
	cr_assert_eq(sl_log_stable(f->log, 10), 9);
	cr_assert_eq(marker(8, 0, false, 0), 0); /* 10 */
	cr_assert_eq(stable(), 11);
}

Test(txn, ends_in_any_order)
{
	for (int64_t id = 1; id <= 5; id++)
		cr_assert_eq(data(id, 0, 1), 0); /* id - 1 */
	cr_assert_eq(marker(3, 0, true, 0), 0);  /* 5 */
	cr_assert_eq(stable(), 0);
	cr_assert_eq(marker(1, 0, true, 0), 0); /* 6 */
	cr_assert_eq(stable(), 1);
	cr_assert_eq(marker(5, 0, false, 0), 0);
	cr_assert_eq(marker(2, 0, true, 0), 0);
	cr_assert_eq(stable(), 3);
	cr_assert_eq(marker(4, 0, false, 0), 0);
	cr_assert_eq(stable(), 10);
	/* Sorted by first offset, though they ended as 3, 1, 2. */
	cr_assert_eq(ask(0, 100000), 3);
	for (int64_t i = 0; i < 3; i++)
		cr_assert(found[i].producer_id == i + 1 && found[i].first_offset == i);
}

Test(txn, does_not_hold_up_retention)
{
	f->opts.config.retention_bytes = 1000;
	sl_log_set_config(f->log, &f->opts.config);
	cr_assert_eq(data(7, 0, 1), 0);
	for (int i = 0; i < 200; i++)
		fixture_must_append(f, 1, 100, 1000 + i);
	cr_assert_eq(stable(), 0);
	cr_assert_gt(sl_log_tick(f->log, f->now_ms, sl_log_end(f->log)), 0);
	cr_assert_gt(sl_log_start(f->log), 0);
	/* As Kafka: never below the start. */
	cr_assert_eq(stable(), sl_log_start(f->log));
	cr_assert_eq(marker(7, 0, true, 0), 0);
	cr_assert_eq(stable(), sl_log_end(f->log));
	cr_assert_eq(ask(sl_log_start(f->log), 100), 1);
}

Test(txn, is_not_forgotten_by_time_or_by_a_full_table)
{
	struct sl_log_producer list[4];
	struct fixture_spec spec = {.records = 1, .value_bytes = 1, .timestamp = 1};
	struct sl_log_append io;

	f->opts.config.producer_id_expiration_ms = 1000;
	sl_log_set_config(f->log, &f->opts.config);
	cr_assert_eq(data(7, 0, 2), 0);
	spec.producer_id = 8;
	cr_assert_eq(fixture_append(f, &spec, &io), 0);
	f->now_ms += 5000;
	cr_assert_geq(sl_log_tick(f->log, f->now_ms, 3), 0);
	cr_assert_eq(sl_log_producers(f->log, list, 4), 1);
	cr_assert_eq(sl_log_producers_count(f->log), 1);
	cr_assert(list[0].producer_id == 7 && list[0].txn_first_offset == 0);
	cr_assert_eq(list[0].coordinator_epoch, -1);
	cr_assert_eq(marker(7, 0, false, 3), 0);
	cr_assert_eq(sl_log_producers(f->log, list, 4), 1);
	cr_assert(list[0].txn_first_offset == -1 && list[0].coordinator_epoch == 3);
	cr_assert_geq(sl_log_tick(f->log, f->now_ms + 5000, 4), 0);
	cr_assert_eq(sl_log_producers(f->log, list, 4), 0);
}

Test(txn, limits_how_many_are_open)
{
	struct producers p = {0};
	struct producers_claim c = {.is_transactional = true, .is_verified = true};
	const struct producers_batch *original = NULL;
	int64_t first;

	for (int64_t id = 0; id < STORE_PRODUCERS_MAX; id++) {
		c.producer_id = id;
		c.base_offset = c.last_offset = id;
		cr_assert_eq(producers_reserve(&p, true), 0);
		cr_assert_eq(producers_update(&p, &c, 0), -1);
	}
	/* No one may be forgotten, so no one comes in. */
	cr_assert_eq(producers_reserve(&p, true), -EBUSY);
	cr_assert_eq(producers_reserve(&p, false), -EBUSY);
	cr_assert_eq(producers_expire(&p, INT64_MAX, UINT32_MAX), 0);
	c.producer_id = 5;
	c.base_offset = c.last_offset = STORE_PRODUCERS_MAX;
	c.is_marker = true;
	cr_assert_eq(producers_check(&p, &c, &original), 0);
	first = producers_update(&p, &c, 0);
	cr_assert_eq(first, 5);
	cr_assert_eq(producers_reserve(&p, true), 0);
	cr_assert_eq(txns_first(&p.txns), 0);
	producers_fini(&p);
}

Test(txn, a_pool_that_waits_for_the_high_watermark_has_a_limit)
{
	struct txns txns = {0};
	int64_t offset = 0;
	int err = 0;

	while (!(err = txns_reserve(&txns))) {
		txns_end(&txns, txns_begin(&txns, 1, offset), offset + 1);
		offset += 2;
		cr_assert_leq(offset, 2 * (int64_t)STORE_TXNS_MAX);
	}
	cr_assert_eq(err, -EBUSY);
	cr_assert_eq(txns_first(&txns), 0);
	cr_assert_eq(txns_first_open(&txns), -1);
	txns_settle(&txns, 1001);
	cr_assert_eq(txns_first(&txns), 1000);
	cr_assert_eq(txns_reserve(&txns), 0);
	txns_settle(&txns, INT64_MAX);
	cr_assert_eq(txns_first(&txns), -1);
	txns_fini(&txns);
}

/* ---- Files ---- */

Test(txn, damaged_indexes_are_refused)
{
	struct aborted list = {0};
	struct aborted again = {0};
	struct aborted_head head = {.base_offset = 10, .end_offset = 50, .open_first = 7};
	struct sl_buf buf;

	for (int64_t i = 0; i < 3; i++) {
		cr_assert_eq(aborted_reserve(&list), 0);
		aborted_add(&list, &(struct sl_txnindex_entry){9, 3 * i, 20 + i});
	}
	sl_buf_init_grow(&buf, 4096);
	aborted_encode(&list, &head, &buf);
	for (size_t i = 0; i < buf.len * 8; i++) {
		buf.p[i / 8] ^= (uint8_t)(1 << (i % 8));
		cr_assert_eq(aborted_decode(&again, &head, buf.p, buf.len), -EBADMSG);
		cr_assert_eq(again.count, 0);
		buf.p[i / 8] ^= (uint8_t)(1 << (i % 8));
	}
	for (size_t len = 0; len < buf.len; len++)
		cr_assert_eq(aborted_decode(&again, &head, buf.p, len), -EBADMSG);
	head.end_offset = 51;
	cr_assert_eq(aborted_decode(&again, &head, buf.p, buf.len), -EBADMSG);
	head = (struct aborted_head){.base_offset = 10, .end_offset = 50};
	cr_assert_eq(aborted_decode(&again, &head, buf.p, buf.len), 0);
	cr_assert(again.count == 3 && again.entries[2].last_offset == 22 && head.open_first == 7);
	cr_assert_eq(aborted_first(&again), 0);
	aborted_fini(&again);
	aborted_fini(&list);
	sl_buf_fini(&buf);
}

/* ---- Against a model ---- */

#define MODEL_IDS 6

struct model_txn {
	int64_t id;
	int64_t first;
	int64_t last;
	bool is_abort;
};

/* What has happened in the order of the log; cut and counted anew, never undone. */
static struct model_op {
	int64_t id;
	int64_t offset;
	bool is_marker;
	bool is_abort;
} ops[FIXTURE_BATCHES_MAX];
static uint32_t ops_count;
static uint32_t seed;

static uint32_t next_random(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % below;
}

/* Derived from the operations alone. */
static uint32_t model_txns(struct model_txn txns[FIXTURE_BATCHES_MAX], int64_t open[MODEL_IDS + 1])
{
	uint32_t count = 0;

	for (int i = 0; i <= MODEL_IDS; i++)
		open[i] = -1;
	for (uint32_t i = 0; i < ops_count; i++) {
		const struct model_op *op = &ops[i];

		if (op->id == 0)
			continue;
		if (!op->is_marker) {
			open[op->id] = open[op->id] < 0 ? op->offset : open[op->id];
			continue;
		}
		if (open[op->id] >= 0)
			txns[count++] = (struct model_txn){op->id, open[op->id], op->offset,
			                                   op->is_abort};
		open[op->id] = -1;
	}
	return count;
}

static int32_t sequences[MODEL_IDS + 1];

static void random_op(void)
{
	const int64_t id = next_random(MODEL_IDS + 1);
	struct model_op op = {.id = id, .offset = sl_log_end(f->log)};

	if (id == 0) {
		fixture_must_append(f, 1 + (int32_t)next_random(3), next_random(60), 1000);
	} else if (next_random(4) == 0) {
		op.is_marker = true;
		op.is_abort = next_random(3) > 0;
		cr_assert_eq(marker(id, 0, op.is_abort, 0), 0);
	} else {
		int32_t records = 1 + (int32_t)next_random(3);

		cr_assert_eq(data(id, sequences[id], records), 0);
		sequences[id] += records;
	}
	ops[ops_count++] = op;
}

/* Every transaction that touches what was returned is told of, and none that is wholly elsewhere by
 * more than an index interval. */
static void check_query(const struct model_txn *txns, uint32_t count, int64_t offset,
                        uint32_t bytes)
{
	struct sl_log_range range;
	int64_t lso = stable();
	int64_t n = ask(offset, bytes);
	int64_t end;

	cr_assert_eq(sl_log_read(f->log, offset, lso, bytes, true, &range), 0);
	end = range.base_offset;
	for (uint32_t i = 0, left = range.bytes; left > 0; i++) {
		if (f->batches[i].last_offset < range.base_offset)
			continue;
		end = f->batches[i].last_offset + 1;
		left -= SL_MIN(left, f->batches[i].len);
	}
	for (uint32_t i = 0; i < count; i++) {
		bool is_told = false;

		for (int64_t k = 0; k < n; k++)
			is_told |= found[k].producer_id == txns[i].id &&
			           found[k].first_offset == txns[i].first;
		if (is_told)
			cr_assert(txns[i].is_abort && txns[i].last >= range.base_offset);
		else
			cr_assert(!txns[i].is_abort || txns[i].last < range.base_offset ||
			                  txns[i].first >= end,
			          "lost %" PRId64 " at %" PRId64 "-%" PRId64 " of [%" PRId64
			          ", %" PRId64 ")",
			          txns[i].id, txns[i].first, txns[i].last, range.base_offset, end);
	}
	for (int64_t k = 1; k < n; k++)
		cr_assert_leq(found[k - 1].first_offset, found[k].first_offset);
	sl_log_range_put(f->log, &range);
}

static void check_model(void)
{
	static struct model_txn txns[FIXTURE_BATCHES_MAX];
	int64_t open[MODEL_IDS + 1];
	uint32_t count = model_txns(txns, open);
	int64_t lso = sl_log_end(f->log);

	for (int i = 1; i <= MODEL_IDS; i++) {
		if (open[i] >= 0)
			lso = SL_MIN(lso, SL_MAX(open[i], sl_log_start(f->log)));
		cr_assert_eq(sl_log_has_txn(f->log, i, 0), open[i] >= 0);
	}
	cr_assert_eq(stable(), lso, "stable %" PRId64 " not %" PRId64, stable(), lso);
	for (int i = 0; i < 40; i++) {
		int64_t span = lso - sl_log_start(f->log);

		if (span > 0)
			check_query(txns, count, sl_log_start(f->log) + next_random((uint32_t)span),
			            1 + next_random(3000));
	}
}

/* Goes on from whatever the log has: sequences of the model follow the log's. */
static void model_cut(int64_t end)
{
	struct sl_log_producer list[MODEL_IDS];
	uint32_t n = sl_log_producers(f->log, list, MODEL_IDS);

	while (ops_count > 0 && ops[ops_count - 1].offset >= end)
		ops_count--;
	fixture_model_cut(f, 0, end);
	memset(sequences, 0, sizeof(sequences));
	for (uint32_t i = 0; i < n; i++)
		sequences[list[i].producer_id] = list[i].last_sequence + 1;
}

static void restart(uint32_t how)
{
	switch (how) {
	case 0:
		fixture_close(f, true);
		fixture_must_open(f, true);
		break;
	case 1:
		fixture_kill(f);
		fixture_must_open(f, false);
		break;
	case 2:
		cr_assert_eq(fixture_sync(f), 0);
		cr_assert_geq(sl_log_checkpoint(f->log), 0);
		fixture_kill(f);
		fixture_must_open(f, false);
		break;
	default: {
		int64_t at = next_random((uint32_t)sl_log_end(f->log) + 1);

		cr_assert_eq(sl_log_truncate(f->log, at), 0);
	}
	}
	model_cut(sl_log_end(f->log));
}

static void run_model(uint32_t from, uint32_t to)
{
	for (uint32_t s = from; s < to; s++) {
		seed = s;
		for (int round = 0; round < 6; round++) {
			for (uint32_t i = next_random(60); i > 0; i--)
				random_op();
			check_model();
			if (next_random(2))
				cr_assert_eq(fixture_sync(f), 0);
			restart(next_random(4));
			check_model();
		}
		cr_assert_eq(sl_log_truncate(f->log, 0), 0);
		model_cut(0);
	}
}

Test(txn, agrees_with_a_model_through_restarts_and_truncations)
{
	run_model(1, 25);
}

Test(txn, agrees_with_a_model_while_segments_are_tiny)
{
	f->opts.config.segment_bytes = 700;
	f->opts.config.index_interval_bytes = 0;
	sl_log_set_config(f->log, &f->opts.config);
	run_model(100, 120);
}

/* A power cut, a lost or a damaged file: nothing that is left may change what is told. */
static void fill(int count)
{
	seed = 77;
	for (int i = 0; i < count; i++)
		random_op();
	check_model();
}

static uint32_t each_index(void (*act)(const char *path))
{
	uint32_t count = 0;

	for (int64_t o = 0; o < sl_log_end(f->log); o++) {
		if (!simfs_exists(f->fs, fixture_path(o, ".txnindex")))
			continue;
		act(fixture_path(o, ".txnindex"));
		count++;
	}
	return count;
}

static void lose(const char *path)
{
	simfs_remove(f->fs, path);
}

static void damage(const char *path)
{
	size_t len = 0;
	uint8_t *p = simfs_data(f->fs, path, &len);

	p[len - 1] ^= 1;
}

static void nothing(const char *path)
{
	(void)path;
}

Test(txn, finds_lost_indexes_again_when_the_log_is_opened)
{
	fill(400);
	cr_assert_eq(fixture_sync(f), 0);
	fixture_close(f, true);
	fixture_must_open(f, true);
	cr_assert_gt(each_index(lose), 3);
	fixture_close(f, true);
	fixture_must_open(f, true);
	cr_assert_gt(each_index(nothing), 3);
	check_model();
}

Test(txn, finds_damaged_indexes_again_when_they_are_read)
{
	fill(400);
	fixture_close(f, true);
	fixture_must_open(f, true);
	cr_assert_gt(each_index(damage), 3);
	check_model();
	/* They are whole again on the disk. */
	fixture_close(f, true);
	fixture_must_open(f, true);
	check_model();
}

Test(txn, removes_the_index_with_its_segment)
{
	fill(400);
	cr_assert_gt(each_index(nothing), 3);
	f->opts.config.retention_bytes = 0;
	sl_log_set_config(f->log, &f->opts.config);
	for (int i = 0; i < 20; i++)
		cr_assert_geq(sl_log_tick(f->log, f->now_ms, sl_log_end(f->log)), 0);
	cr_assert_eq(each_index(nothing), 0);
	f->now_ms += 10 * f->opts.config.file_delete_delay_ms;
	for (int i = 0; i < 20; i++)
		cr_assert_geq(sl_log_tick(f->log, f->now_ms, sl_log_end(f->log)), 0);
	for (int64_t o = 0; o < sl_log_end(f->log); o++)
		cr_assert_not(simfs_exists(f->fs, fixture_path(o, ".txnindex.deleted")));
}

Test(txn, deletes_records_below_an_open_transaction)
{
	fill(300);
	cr_assert_eq(sl_log_advance_start(f->log, stable()), 0);
	cr_assert_eq(sl_log_advance_start(f->log, sl_log_end(f->log) - 3), 0);
	check_model();
	fixture_close(f, true);
	fixture_must_open(f, true);
	check_model();
	fixture_kill(f);
	fixture_must_open(f, false);
	check_model();
}

/* What is on the disk after a power cut at any moment gives a log whose transactions are those of
 * its batches. */
Test(txn, survives_power_cuts)
{
	struct simfs *disk;

	fill(250);
	cr_assert_eq(fixture_sync(f), 0);
	for (int i = 0; i < 60; i++)
		random_op();
	fixture_kill(f);
	disk = f->fs;
	for (uint64_t s = 1; s <= 60; s++) {
		uint32_t ops_were = ops_count;
		uint32_t batches_were = f->batches_count;

		f->fs = simfs_copy(disk);
		simfs_power_cut(f->fs, s);
		f->files = simfs_files(f->fs);
		f->dirfd = -1;
		fixture_must_open(f, false);
		while (ops_count > 0 && ops[ops_count - 1].offset >= sl_log_end(f->log))
			ops_count--;
		while (f->batches[f->batches_count - 1].last_offset >= sl_log_end(f->log))
			f->batches_count--;
		check_model();
		sl_log_close(f->log, false);
		f->log = NULL;
		simfs_destroy(f->fs);
		ops_count = ops_were;
		f->batches_count = batches_were;
	}
	f->fs = disk;
	f->files = simfs_files(disk);
	f->dirfd = -1;
}

/* ---- With a hot tier ---- */

static void setup_hot(void)
{
	f = malloc(sizeof(*f));
	fixture_init_hot(f, SL_HOT_BYTES_MIN);
	f->opts.config.segment_bytes = 64 << 10;
	fixture_must_open(f, false);
}

TestSuite(txn_hot, .init = setup_hot, .fini = teardown);

Test(txn_hot, agrees_with_a_model_through_checkpoints)
{
	run_model(200, 215);
}

Test(txn_hot, takes_over_what_a_checkpoint_knew)
{
	cr_assert_eq(data(1, 0, 1), 0);
	cr_assert_eq(marker(1, 0, true, 0), 0);
	cr_assert_eq(data(2, 0, 1), 0);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_eq(sl_log_checkpoint(f->log), 1);
	fixture_kill(f);
	fixture_must_open(f, false);
	cr_assert_eq(f->report.scanned_bytes, 0);
	cr_assert_eq(stable(), 2);
	cr_assert_eq(ask(0, 1000), 1);
	cr_assert(found[0].producer_id == 1 && found[0].first_offset == 0);
}
