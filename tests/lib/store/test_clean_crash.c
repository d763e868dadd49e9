/* SPDX-License-Identifier: Apache-2.0 */
/* Cleanings of random logs, and ends of the process or of the power at every step of one. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "compaction.h"
#include "log_impl.h"

#define KEYS 40

static struct fixture *f;
static struct kv *kv;

static void set_up(void)
{
	f = calloc(1, sizeof(*f));
	kv = calloc(1, sizeof(*kv));
}

static void tear_down(void)
{
	fixture_fini(f);
	kv_fini(kv);
	free(kv);
	free(f);
}

TestSuite(clean_crash, .init = set_up, .fini = tear_down);

static void append_some(uint32_t batches)
{
	for (uint32_t i = 0; i < batches; i++) {
		struct kv_batch b = {.codec = (enum sl_codec)kv_random(kv, SL_CODEC_NR)};
		struct kv_pair pairs[8];
		uint32_t count = 1 + kv_random(kv, 8);

		if (kv_random(kv, 3) == 0)
			b.attributes = SL_BATCH_LOG_APPEND_TIME;
		if (kv_random(kv, 3) == 0) {
			b.producer_id = 1 + kv_random(kv, 4);
			/* A new epoch each time: sequences begin at 0. */
			b.producer_epoch = (int16_t)(kv->count & INT16_MAX);
		}
		for (uint32_t n = 0; n < count; n++)
			pairs[n] = (struct kv_pair){
				(int32_t)kv_random(kv, KEYS),
				kv_random(kv, 8) == 0 ? -1 : (int32_t)kv_random(kv, 1000)};
		f->now_ms += kv_random(kv, 100);
		kv_append(kv, &b, pairs, count);
	}
}

/* One epoch after the other, whatever else happened to a producer. */
static void step(void)
{
	switch (kv_random(kv, 10)) {
	case 0:
		kv_seal(kv);
		break;
	case 1:
		cr_assert_eq(fixture_sync(f), 0);
		break;
	case 2:
		kv_crash(kv, 0);
		kv_check_last(kv);
		break;
	case 3:
		cr_assert_eq(fixture_sync(f), 0);
		kv_crash(kv, 1 + kv_random(kv, 1000));
		kv_check_last(kv);
		break;
	case 4:
		cr_assert_eq(fixture_sync(f), 0);
		fixture_close(f, true);
		fixture_must_open(f, true);
		break;
	case 5:
	case 6: {
		int rc;

		kv_seal(kv);
		rc = kv_clean(kv);
		cr_assert(rc == 0 || rc == -ENODATA, "clean: %s", strerror(-rc));
		if (rc == 0)
			kv_check(kv, false, NULL);
		break;
	}
	case 7:
		f->now_ms += kv_random(kv, 3000);
		cr_assert_geq(sl_log_tick(f->log, f->now_ms, sl_log_end(f->log)), 0);
		break;
	default:
		append_some(1 + kv_random(kv, 12));
	}
}

ParameterizedTestParameters(clean_crash, random_logs_keep_what_they_must)
{
	static uint64_t seeds[24];

	for (uint64_t i = 0; i < SL_ARRAY_SIZE(seeds); i++)
		seeds[i] = i + 1;
	return cr_make_param_array(uint64_t, seeds, SL_ARRAY_SIZE(seeds));
}

ParameterizedTest(const uint64_t *seed, clean_crash, random_logs_keep_what_they_must)
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
	kv_seal(kv);
	while (kv_clean(kv) == 0)
		kv_check(kv, false, NULL);
	cr_assert_eq(sl_log_clean_offset(f->log), sl_log_end(f->log));
}

/* A log with something to clean, all of it durable. */
static void make_dirty(uint64_t seed)
{
	kv->rng = seed;
	append_some(25);
	kv_seal(kv);
	kv_must_clean(kv);
	append_some(25);
	kv_seal(kv);
}

ParameterizedTestParameters(clean_crash, end_at_every_step)
{
	/* 0: the process is killed; else the power goes, in that way. */
	static uint64_t seeds[8];

	for (uint64_t i = 0; i < SL_ARRAY_SIZE(seeds); i++)
		seeds[i] = i;
	return cr_make_param_array(uint64_t, seeds, SL_ARRAY_SIZE(seeds));
}

ParameterizedTest(const uint64_t *seed, clean_crash, end_at_every_step)
{
	bool was_reached = true;
	unsigned swaps = 0;

	cr_log_info("seed=%" PRIu64, *seed);
	fixture_init(f);
	kv_init(kv, f);
	for (unsigned nth = 1; was_reached; nth++) {
		fixture_must_open(f, false);
		kv_new_cleaner(kv);
		make_dirty(nth);
		simfs_fail(f->fs, SIMFS_CHANGES, nth, -EIO, 0, true);
		swaps += kv_clean(kv) != 0 && f->log->error != 0;
		was_reached = simfs_has_failed(f->fs);
		kv_crash(kv, *seed ? *seed * 1000 + nth : 0);
		kv_check_last(kv);
		/* What was left of the cleaning is gone with the first open, and by the next
		 * cleaning at the latest. */
		kv_crash(kv, 0);
		kv_check_last(kv);
		kv_put(kv, 1, 1);
		kv_must_clean(kv);
		while (kv_clean(kv) == 0)
			;
		kv_check(kv, false, NULL);
		cr_assert(!simfs_exists(f->fs, fixture_path(0, ".log.swap")));
		cr_assert(!simfs_exists(f->fs, fixture_path(0, ".log.cleaned")));
		/* Anew, on another disk. */
		fixture_fini(f);
		fixture_init(f);
		kv->count = 0;
		f->opts.config.is_compact = true;
		f->opts.config.is_delete = false;
		f->opts.config.delete_retention_ms = 1000;
		f->opts.config.max_compaction_lag_ms = INT64_MAX;
	}
	cr_assert_gt(swaps, 8, "ends in the middle of a swap");
}
