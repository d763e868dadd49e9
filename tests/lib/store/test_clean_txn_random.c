/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Producers of every kind on a compacted log, with ends of the process and of the power in between:
 * what readers of committed records and of all records find is that of a model, before a cleaning
 * and after it, and so is what the log remembers of the producers.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "compaction.h"
#include "log_impl.h"
#include "sluice/wire/marker.h"

#define KEYS        30
#define PLAIN_MAX   2 /* ids from 1 on: idempotent */
#define SEQUENCE    5 /* up to here transactional, with sequences */
#define IDS         6 /* the last one as a group coordinator: transactional, without */
#define MARKERS_MAX 16384

/* Beside kv.records: whose they are. */
struct owner {
	int64_t producer_id; /* 0: none */
	bool is_transactional;
};

struct marker {
	int64_t offset;
	int64_t producer_id;
	bool is_abort;
};

enum fate {
	OPEN,
	COMMITTED,
	ABORTED
};

static struct fixture *f;
static struct kv *kv;
static struct owner owners[KV_RECORDS_MAX];
static struct marker markers[MARKERS_MAX];
static uint32_t markers_count;
static bool is_visible[KV_RECORDS_MAX]; /* to a reader of committed records */
static int16_t epochs[IDS + 1];
static int32_t sequences[IDS + 1];
static bool is_open[IDS + 1];
static uint8_t coordinator;
static int64_t touched; /* no cleaning has been at or above it */

static void set_up(void)
{
	f = calloc(1, sizeof(*f));
	kv = calloc(1, sizeof(*kv));
	markers_count = 0;
	touched = 0;
}

static void tear_down(void)
{
	fixture_fini(f);
	kv_fini(kv);
	free(kv);
	free(f);
}

TestSuite(clean_txn_random, .init = set_up, .fini = tear_down);

/* ---- Writers ---- */

static void write_data(int64_t id)
{
	struct kv_batch b = {.codec = (enum sl_codec)kv_random(kv, SL_CODEC_NR)};
	const uint32_t count = 1 + kv_random(kv, 5);
	const bool is_transactional = id > PLAIN_MAX;
	struct kv_pair pairs[5];

	if (id > 0) {
		b.producer_id = id;
		b.producer_epoch = epochs[id];
		b.base_sequence = id > SEQUENCE ? -1 : sequences[id];
		b.attributes = is_transactional ? SL_BATCH_TRANSACTIONAL : 0;
		sequences[id] += (int32_t)count;
		is_open[id] = is_transactional;
	}
	for (uint32_t i = 0; i < count; i++) {
		pairs[i] = (struct kv_pair){(int32_t)kv_random(kv, KEYS),
		                            kv_random(kv, 8) == 0 ? -1
		                                                  : (int32_t)kv_random(kv, 1000)};
		owners[kv->count + i] = (struct owner){id, is_transactional};
	}
	kv_append(kv, &b, pairs, count);
}

static void write_marker(int64_t id)
{
	struct kv_marker m = {.producer_id = id, .type = SL_CONTROL_COMMIT};

	if (kv_random(kv, 2))
		m.type = SL_CONTROL_ABORT;
	/* A new coordinator; a marker that fences or, as with KIP-890, ends the epoch. */
	if (kv_random(kv, 20) == 0 && coordinator < 200)
		coordinator++;
	if (kv_random(kv, 3) == 0) {
		epochs[id]++;
		sequences[id] = 0;
	}
	m.producer_epoch = epochs[id];
	m.coordinator_epoch = coordinator;
	cr_assert_lt(markers_count, MARKERS_MAX);
	markers[markers_count++] = (struct marker){kv_marker_of(kv, &m), id,
	                                           m.type == SL_CONTROL_ABORT};
	is_open[id] = false;
}

static void write_some(uint32_t batches)
{
	for (uint32_t i = 0; i < batches; i++) {
		const int64_t id = kv_random(kv, IDS + 1);

		f->now_ms += kv_random(kv, 100);
		if (id > PLAIN_MAX && kv_random(kv, 3) == 0)
			write_marker(id);
		else
			write_data(id);
	}
}

/* Every open transaction ends. */
static void end_all(void)
{
	for (int64_t id = 1; id <= IDS; id++)
		if (is_open[id])
			write_marker(id);
}

/* The log has lost its end, or nothing: what the producers know is what it says. */
static void go_on(void)
{
	struct sl_log_producer list[IDS];
	uint32_t n = sl_log_producers(f->log, list, IDS);

	kv_cut(kv);
	while (markers_count > 0 && markers[markers_count - 1].offset >= sl_log_end(f->log))
		markers_count--;
	memset(epochs, 0, sizeof(epochs));
	memset(sequences, 0, sizeof(sequences));
	memset(is_open, 0, sizeof(is_open));
	for (uint32_t i = 0; i < n; i++) {
		epochs[list[i].producer_id] = list[i].epoch;
		sequences[list[i].producer_id] = list[i].last_sequence + 1;
		is_open[list[i].producer_id] = list[i].txn_first_offset >= 0;
	}
}

/* ---- Readers ---- */

static enum fate fate_of(uint32_t record)
{
	const struct owner *o = &owners[record];
	uint32_t low = 0, high = markers_count;

	if (!o->is_transactional)
		return COMMITTED;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (markers[mid].offset < kv->records[record].offset)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < markers_count; low++)
		if (markers[low].producer_id == o->producer_id)
			return markers[low].is_abort ? ABORTED : COMMITTED;
	return OPEN;
}

static uint32_t record_at(int64_t offset)
{
	uint32_t low = 0, high = kv->count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (kv->records[mid].offset < offset)
			low = mid + 1;
		else
			high = mid;
	}
	cr_assert(low < kv->count && kv->records[low].offset == offset);
	return low;
}

static void see(const uint8_t *p, const struct sl_batch_head *head, int64_t from,
                struct sl_codec_ctx *ctx)
{
	static uint8_t memory[1 << 20];
	struct sl_arena arena = {.base = memory, .size = sizeof(memory)};
	struct sl_record_iter it;
	struct sl_record r;
	int rc;

	cr_assert_eq(sl_record_iter_init(&it, p, head, ctx, &arena), 0);
	while ((rc = sl_record_iter_next(&it, &r)) > 0)
		if (r.offset >= from)
			is_visible[record_at(r.offset)] = true;
	cr_assert_eq(rc, 0);
}

/* A client's rule (KIP-98): a producer of the list is skipped from its first offset on, until its
 * abort marker. */
static bool is_skipped(const uint8_t *p, const struct sl_batch_head *head,
                       struct sl_log_aborted *list, int64_t *count, bool skipped[IDS + 1])
{
	struct sl_txn_marker marker;

	while (*count > 0 && list[0].first_offset <= sl_batch_last_offset(head)) {
		skipped[list[0].producer_id] = true;
		memmove(list, list + 1, (size_t)-- * count * sizeof(*list));
	}
	if (!sl_batch_is_control(head))
		return sl_batch_is_transactional(head) && skipped[head->producer_id];
	cr_assert_eq(sl_txn_marker_decode(&marker, p, head), 1);
	if (!marker.is_commit)
		skipped[head->producer_id] = false;
	return true;
}

/* One fetch of a reader of committed records at @offset.  Return: where it goes on. */
static int64_t fetch(int64_t offset, int64_t stable, struct sl_codec_ctx *ctx)
{
	static struct sl_log_aborted list[4096];
	bool skipped[IDS + 1] = {false};
	struct sl_log_range range;
	struct sl_batch_head head;
	int64_t count;
	uint8_t *p;

	cr_assert_eq(sl_log_read(f->log, offset, stable, 1 + kv_random(kv, 5000), true, &range), 0);
	if (range.bytes == 0)
		return stable;
	count = sl_log_aborted(f->log, &range, stable, list, SL_ARRAY_SIZE(list));
	cr_assert(count >= 0 && count <= (int64_t)SL_ARRAY_SIZE(list));
	p = malloc(range.bytes);
	cr_assert_eq(sl_log_range_copy(f->log, &range, p, SIZE_MAX), (ssize_t)range.bytes);
	for (size_t at = 0; sl_batch_peek(p + at, range.bytes - at, &head) == 0;
	     at += sl_batch_bytes(&head)) {
		if (!is_skipped(p + at, &head, list, &count, skipped))
			see(p + at, &head, offset, ctx);
		offset = sl_batch_last_offset(&head) + 1;
	}
	free(p);
	sl_log_range_put(f->log, &range);
	return offset;
}

static void read_committed(int64_t stable)
{
	const struct sl_codec_opts opts = {0};
	int64_t offset = sl_log_start(f->log);
	struct sl_codec_ctx *ctx;

	memset(is_visible, 0, sizeof(is_visible));
	cr_assert_eq(sl_codec_ctx_create(&ctx, &opts), 0);
	while (offset < stable) {
		const int64_t next = fetch(offset, stable, ctx);

		cr_assert_gt(next, offset);
		offset = next;
	}
	sl_codec_ctx_destroy(ctx);
}

static int64_t expect_stable(void)
{
	int64_t stable = sl_log_end(f->log);

	for (uint32_t i = kv->count; i > 0; i--)
		if (fate_of(i - 1) == OPEN)
			stable = SL_MIN(stable, kv->records[i - 1].offset);
	return stable;
}

/* One record, those of its key behind it being known: @has_later, a committed one below the last
 * stable offset. */
static void check_record(uint32_t i, int64_t stable, bool has_later)
{
	const struct kv_record *r = &kv->records[i];
	const enum fate fate = fate_of(i);
	const bool is_dirty = r->offset >= touched;

	cr_assert(!is_visible[i] || r->is_seen);
	cr_assert(fate != OPEN || r->is_seen, "open record at %" PRId64 " is gone", r->offset);
	if (r->offset >= stable) {
		cr_assert(r->is_seen && !is_visible[i]);
		return;
	}
	cr_assert(fate != OPEN);
	if (fate == ABORTED) {
		cr_assert(!is_visible[i], "aborted record at %" PRId64 " is shown", r->offset);
		return;
	}
	cr_assert_eq(is_visible[i], r->is_seen, "record at %" PRId64 " key %d is %s", r->offset,
	             r->key, r->is_seen ? "hidden" : "shown");
	if (!has_later || is_dirty)
		cr_assert(is_visible[i] || (r->value < 0 && !is_dirty),
		          "record at %" PRId64 " key %d is lost", r->offset, r->key);
}

static void check(void)
{
	const int64_t stable = sl_log_stable(f->log, sl_log_end(f->log));
	bool has_later[KEYS] = {false};
	bool is_gone[KEYS] = {false};

	cr_assert_eq(stable, expect_stable(), "stable %" PRId64 " not %" PRId64, stable,
	             expect_stable());
	/* All records: contents, offsets, order. */
	kv_read(kv);
	read_committed(stable);
	for (uint32_t i = kv->count; i > 0; i--) {
		const struct kv_record *r = &kv->records[i - 1];

		check_record(i - 1, stable, has_later[r->key]);
		if (r->offset >= stable || fate_of(i - 1) != COMMITTED)
			continue;
		/* What a tombstone deleted does not come back without it. */
		cr_assert(!is_gone[r->key] || !is_visible[i - 1], "key %d is back", r->key);
		is_gone[r->key] |= !has_later[r->key] && !is_visible[i - 1];
		has_later[r->key] = true;
	}
}

/* After a cleaning nothing that was aborted is left in front of its end. */
static void check_cleaned(void)
{
	const int64_t clean_end = sl_log_clean_offset(f->log);

	touched = SL_MAX(touched, clean_end);
	check();
	for (uint32_t i = 0; i < kv->count && kv->records[i].offset < clean_end; i++)
		cr_assert(!kv->records[i].is_seen || fate_of(i) == COMMITTED,
		          "aborted record at %" PRId64 " is left", kv->records[i].offset);
}

/* ---- What the log remembers ---- */

static const struct sl_log_producer *find(const struct sl_log_producer *list, uint32_t count,
                                          int64_t id)
{
	for (uint32_t i = 0; i < count; i++)
		if (list[i].producer_id == id)
			return &list[i];
	return NULL;
}

static uint32_t drop_files(const char *suffix, uint32_t one_of)
{
	uint32_t count = 0;

	for (int64_t at = 0; at <= sl_log_end(f->log); at++) {
		if (!simfs_exists(f->fs, fixture_path(at, suffix)) || kv_random(kv, one_of) != 0)
			continue;
		simfs_remove(f->fs, fixture_path(at, suffix));
		count++;
	}
	return count;
}

static void damage_files(const char *suffix)
{
	for (int64_t at = 0; at <= sl_log_end(f->log); at++) {
		size_t len = 0;
		uint8_t *p = simfs_data(f->fs, fixture_path(at, suffix), &len);

		if (p && len > 0 && kv_random(kv, 2))
			p[kv_random(kv, (uint32_t)len)] ^= 1;
	}
}

/* The same producers, from the batches and whatever @how leaves of the files beside them. */
static void forget(uint32_t how)
{
	struct sl_log_producer before[IDS], after[IDS];
	uint32_t n = sl_log_producers(f->log, before, IDS);
	uint32_t m;

	cr_assert_eq(fixture_sync(f), 0);
	if (how & 1)
		(void)drop_files(".snapshot", 1 + kv_random(kv, 2));
	if (how & 2)
		(void)drop_files(".txnindex", 2);
	if (how & 4)
		damage_files(".txnindex");
	kv_crash(kv, 0);
	m = sl_log_producers(f->log, after, IDS);
	cr_assert_eq(n, m, "%u producers of %u", m, n);
	for (uint32_t i = 0; i < n; i++) {
		const struct sl_log_producer *p = find(after, m, before[i].producer_id);
		const int64_t id = before[i].producer_id;

		cr_assert(p, "producer %" PRId64 " is forgotten", id);
		cr_assert_eq(p->epoch, before[i].epoch, "epoch of %" PRId64, id);
		cr_assert_eq(p->last_sequence, before[i].last_sequence, "sequence of %" PRId64, id);
		cr_assert_eq(p->coordinator_epoch, before[i].coordinator_epoch,
		             "coordinator of %" PRId64, id);
		cr_assert_eq(p->last_offset, before[i].last_offset, "offset of %" PRId64, id);
		cr_assert_eq(p->txn_first_offset, before[i].txn_first_offset,
		             "transaction of %" PRId64, id);
	}
	go_on();
}

/* ---- Random logs ---- */

static void step(void)
{
	switch (kv_random(kv, 12)) {
	case 0:
		kv_seal(kv);
		break;
	case 1:
		forget(kv_random(kv, 8));
		check();
		break;
	case 2:
		kv_crash(kv, 0);
		go_on();
		check();
		break;
	case 3:
		cr_assert_eq(fixture_sync(f), 0);
		kv_crash(kv, 1 + kv_random(kv, 1000));
		go_on();
		check();
		break;
	case 4:
		cr_assert_eq(fixture_sync(f), 0);
		fixture_close(f, true);
		fixture_must_open(f, true);
		go_on();
		break;
	case 5:
	case 6: {
		int rc;

		kv_seal(kv);
		check();
		rc = kv_clean(kv);
		cr_assert(rc == 0 || rc == -ENODATA, "clean: %s", strerror(-rc));
		if (rc == 0)
			check_cleaned();
		break;
	}
	case 7:
		f->now_ms += kv_random(kv, 3000);
		cr_assert_geq(sl_log_tick(f->log, f->now_ms, sl_log_end(f->log)), 0);
		break;
	case 8:
		if (kv_random(kv, 3) == 0)
			end_all();
		break;
	default:
		write_some(1 + kv_random(kv, 15));
	}
}

ParameterizedTestParameters(clean_txn_random, readers_and_producers_find_what_they_must)
{
	static uint64_t seeds[24];

	for (uint64_t i = 0; i < SL_ARRAY_SIZE(seeds); i++)
		seeds[i] = i + 1;
	return cr_make_param_array(uint64_t, seeds, SL_ARRAY_SIZE(seeds));
}

ParameterizedTest(const uint64_t *seed, clean_txn_random, readers_and_producers_find_what_they_must)
{
	/* Every third log has a hot tier. */
	if (*seed % 3 == 0)
		fixture_init_hot(f, SL_HOT_BYTES_MIN);
	else
		fixture_init(f);
	kv_init(kv, f);
	kv->rng = *seed;
	cr_log_info("seed=%" PRIu64, *seed);
	fixture_must_open(f, false);
	for (int i = 0; i < 250; i++)
		step();
	end_all();
	kv_seal(kv);
	while (kv_clean(kv) == 0)
		check_cleaned();
	cr_assert_eq(sl_log_clean_offset(f->log), sl_log_end(f->log));
	/* In the end nothing is left but last records, last batches of producers, and markers. */
	forget(7);
	check();
}

/* ---- An end at every step ---- */

ParameterizedTestParameters(clean_txn_random, end_at_every_step)
{
	/* 0: the process is killed; else the power goes, in that way. */
	static uint64_t seeds[6];

	for (uint64_t i = 0; i < SL_ARRAY_SIZE(seeds); i++)
		seeds[i] = i;
	return cr_make_param_array(uint64_t, seeds, SL_ARRAY_SIZE(seeds));
}

/* Anew, on another disk. */
static void begin_anew(uint64_t seed)
{
	fixture_init(f);
	kv->f = f;
	kv->count = 0;
	kv->rng = seed;
	markers_count = 0;
	touched = 0;
	memset(epochs, 0, sizeof(epochs));
	memset(sequences, 0, sizeof(sequences));
	memset(is_open, 0, sizeof(is_open));
	f->opts.config.is_compact = true;
	f->opts.config.is_delete = false;
	f->opts.config.delete_retention_ms = 0;
	f->opts.config.max_compaction_lag_ms = INT64_MAX;
	f->opts.config.producer_id_expiration_ms = INT64_MAX / 2;
	fixture_must_open(f, false);
	kv_new_cleaner(kv);
}

ParameterizedTest(const uint64_t *seed, clean_txn_random, end_at_every_step)
{
	bool was_reached = true;
	unsigned swaps = 0;

	cr_log_info("seed=%" PRIu64, *seed);
	fixture_init(f);
	kv_init(kv, f);
	for (unsigned nth = 1; was_reached; nth++) {
		fixture_fini(f);
		begin_anew(nth);
		for (int i = 0; i < 3; i++) {
			write_some(25);
			end_all();
			kv_seal(kv);
			if (i < 2)
				cr_assert_eq(kv_clean(kv), 0);
		}
		/* Some stay open. */
		write_some(5);
		cr_assert_eq(fixture_sync(f), 0);
		touched = sl_log_end(f->log);
		simfs_fail(f->fs, SIMFS_CHANGES, nth, -EIO, 0, true);
		swaps += kv_clean(kv) != 0 && f->log->error != 0;
		was_reached = simfs_has_failed(f->fs);
		kv_crash(kv, *seed ? *seed * 1000 + nth : 0);
		go_on();
		check();
		forget(1 + 2 * (nth % 4));
		check();
		/* Whatever was left of the cleaning, the next one ends it. */
		write_some(10);
		end_all();
		kv_seal(kv);
		while (kv_clean(kv) == 0)
			check_cleaned();
		cr_assert(!simfs_exists(f->fs, fixture_path(0, ".log.swap")));
		cr_assert(!simfs_exists(f->fs, fixture_path(0, ".txnindex.cleaned")));
	}
	cr_assert_gt(swaps, 8, "ends in the middle of a swap");
}
