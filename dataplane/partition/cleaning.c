/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A round looks at every compacted log of the lane, a few in each poll, and the dirtiest one goes
 * to the cleaner.  While the cleaner has one no round begins.  When a cleaning has ended well the
 * next round begins at once, else after log.cleaner.backoff.ms.
 */
#include "partition/cleaning.h"

#include <errno.h>
#include <sched.h>

#include "partition/cleaner.h"
#include "partition/partition.h"
#include "sluice/base/assert.h"
#include "sluice/base/log.h"
#include "sluice/store/clean.h"

#define CLEANING_LOOKS_MAX 8 /* logs looked at in one poll; some ask the disk */
#define CLEANING_PERCENT   (SL_CLEAN_PPM / 100)

void cleaning_publish(struct partition *p)
{
	const bool is_compacted = sl_log_is_compacted(p->log);
	enum sl_slot_cleaner state = SL_SLOT_CLEANER_NONE;

	if (!p->slot)
		return;
	if (is_compacted)
		state = p->is_cleaning   ? SL_SLOT_CLEANER_RUNNING
		        : p->clean_error ? SL_SLOT_CLEANER_FAILED
		                         : SL_SLOT_CLEANER_WAITING;
	atomic_store_explicit(&p->slot->clean_offset,
	                      is_compacted ? sl_log_clean_offset(p->log) : -1,
	                      memory_order_relaxed);
	atomic_store_explicit(&p->slot->cleaner, (uint32_t)state, memory_order_relaxed);
	atomic_store_explicit(&p->slot->dirty_ppm, is_compacted ? p->dirty_ppm : 0,
	                      memory_order_relaxed);
}

/* ---- Which logs ---- */

static void set_error(struct ctx *ctx, struct partition *p, int error)
{
	if ((p->clean_error == 0) != (error == 0))
		ctx_gauge_add(ctx, SL_STAT_clean_uncleanable, error ? 1 : -1);
	p->clean_error = error;
}

void cleaning_join(struct ctx *ctx, struct partition *p)
{
	struct ctx_cleaning *k = &ctx->cleaning;

	if (!k->port)
		return;
	/* Whatever was wrong, a new configuration is worth another try. */
	set_error(ctx, p, 0);
	if (sl_log_is_compacted(p->log)) {
		if (sl_list_is_empty(&p->clean_link))
			sl_list_push_back(&k->logs, &p->clean_link);
		/* It should be seen to work soon, not at the next round. */
		k->next_ms = ctx->now_ms;
	} else {
		cleaning_leave(ctx, p);
	}
	cleaning_publish(p);
}

void cleaning_leave(struct ctx *ctx, struct partition *p)
{
	struct ctx_cleaning *k = &ctx->cleaning;

	set_error(ctx, p, 0);
	p->dirty_ppm = 0;
	/* Out of the round that goes on: what is left to look at is one less at most. */
	if (!sl_list_is_empty(&p->clean_link) && k->left > 0)
		k->left--;
	sl_list_del(&p->clean_link);
	if (k->best == p)
		k->best = NULL;
	if (k->busy == p)
		sl_clean_cancel(k->clean);
}

/* ---- A round ---- */

static void look(struct ctx *ctx, struct partition *p)
{
	struct ctx_cleaning *k = &ctx->cleaning;
	struct sl_cleanable found;
	int rc;

	if (p->is_offline)
		return;
	rc = sl_log_cleanable(p->log, p->last_stable, ctx->wall_ms, &found);
	if (rc < 0 && !p->clean_error)
		sl_log(WARN, partition, "look for dirt part=%s: %s", p->name, strerror(-rc));
	if (rc < 0)
		return;
	if (p->clean_error) {
		k->uncleanable_bytes += found.dirty_bytes;
		return;
	}
	p->dirty_ppm = found.dirty_ppm;
	k->max_ppm = SL_MAX(k->max_ppm, found.dirty_ppm);
	k->max_overdue_ms = SL_MAX(k->max_overdue_ms, found.overdue_ms);
	if (rc > 0 && (!k->best || found.dirty_ppm > k->best->dirty_ppm))
		k->best = p;
	cleaning_publish(p);
}

/* The log is as it was but for what was swapped in before.  Some errors go by themselves; after the
 * others the log is left alone, as in Kafka, and everything else goes on. */
static void failed(struct ctx *ctx, struct partition *p, int error)
{
	switch (-error) {
	case ECANCELED:
	case ESTALE:
		ctx_count(ctx, SL_STAT_clean_cancelled, 1);
		return;
	case ENOMEM:
	case EMFILE:
	case ENFILE:
	case ENOSPC:
	case EDQUOT:
		ctx_count(ctx, SL_STAT_clean_failed, 1);
		sl_log(WARN, partition, "compact part=%s: %s; it is tried again", p->name,
		       strerror(-error));
		return;
	default:
		ctx_count(ctx, SL_STAT_clean_failed, 1);
	}
	sl_log(ERR, partition, "stop compacting part=%s: %s; it grows until a restart%s", p->name,
	       strerror(-error),
	       error == -ENOBUFS   ? "; fix: a larger log.cleaner.dedupe.buffer.size"
	       : error == -EBADMSG ? "; a segment is damaged, see sluice-dumplog"
	                           : "");
	if (!p->is_closing)
		set_error(ctx, p, error);
}

static void submit(struct ctx *ctx, struct partition *p)
{
	struct ctx_cleaning *k = &ctx->cleaning;
	int rc = sl_log_clean_begin(&k->clean, p->log, p->last_stable, ctx->wall_ms);

	/* Retention may have been there since the look. */
	if (rc == -ENODATA)
		return;
	if (rc != 0) {
		failed(ctx, p, rc);
		cleaning_publish(p);
		return;
	}
	partition_get(p);
	k->busy = p;
	p->is_cleaning = true;
	k->begun_ms = ctx->now_ms;
	cleaning_publish(p);
	cleaner_submit(k->port, k->clean, p->dirty_ppm);
}

static void end_round(struct ctx *ctx)
{
	struct ctx_cleaning *k = &ctx->cleaning;
	struct partition *best = k->best;

	sl_stat_set(ctx->stats, SL_STAT_clean_max_dirty_percent, k->max_ppm / CLEANING_PERCENT);
	sl_stat_set(ctx->stats, SL_STAT_clean_max_delay_seconds,
	            (uint64_t)k->max_overdue_ms / 1000);
	sl_stat_set(ctx->stats, SL_STAT_clean_uncleanable_bytes, k->uncleanable_bytes);
	sl_stat_set(ctx->stats, SL_STAT_clean_looked_ms, (uint64_t)ctx->wall_ms);
	k->is_round = false;
	k->best = NULL;
	k->next_ms = ctx->now_ms + ctx->config->clean_backoff_ms;
	if (best)
		submit(ctx, best);
}

static unsigned go_round(struct ctx *ctx)
{
	struct ctx_cleaning *k = &ctx->cleaning;
	unsigned looks = 0;
	struct sl_list *pos;

	if (!k->is_round) {
		k->is_round = true;
		k->left = 0;
		k->max_ppm = 0;
		k->max_overdue_ms = 0;
		k->uncleanable_bytes = 0;
		sl_list_for_each(pos, &k->logs)
			k->left++;
	}
	for (; k->left > 0 && looks < CLEANING_LOOKS_MAX; k->left--, looks++) {
		struct partition *p = sl_list_first(&k->logs, struct partition, clean_link);

		SL_ASSERT(p);
		sl_list_del(&p->clean_link);
		sl_list_push_back(&k->logs, &p->clean_link);
		look(ctx, p);
	}
	if (k->left == 0)
		end_round(ctx);
	return looks;
}

/* ---- What comes back ---- */

static void count(struct ctx *ctx, const struct sl_clean *clean, int64_t ms)
{
	struct sl_clean_stats s;

	sl_clean_stats(clean, &s);
	ctx_count(ctx, SL_STAT_cleanings, 1);
	ctx_count(ctx, SL_STAT_clean_bytes_read, s.bytes_read);
	ctx_count(ctx, SL_STAT_clean_bytes_written, s.bytes_written);
	ctx_count(ctx, SL_STAT_clean_records_read, s.records_read);
	ctx_count(ctx, SL_STAT_clean_records_kept, s.records_kept);
	ctx_count(ctx, SL_STAT_clean_records_keyless, s.records_keyless);
	sl_stat_set(ctx->stats, SL_STAT_clean_seconds, (uint64_t)ms / 1000);
	sl_stat_set(ctx->stats, SL_STAT_clean_map_percent, s.map_ppm / CLEANING_PERCENT);
	if (s.bytes_scanned > 0)
		sl_stat_set(ctx->stats, SL_STAT_clean_recopy_percent,
		            (uint64_t)((unsigned __int128)s.bytes_written * 100 / s.bytes_scanned));
}

static void report(const struct partition *p, const struct sl_clean *clean, int64_t ms)
{
	struct sl_clean_stats s;

	sl_clean_stats(clean, &s);
	sl_log(INFO, partition,
	       "compacted part=%s segments=%llu->%llu bytes=%llu->%llu records=%llu->%llu ms=%lld",
	       p->name, (unsigned long long)s.segments_before, (unsigned long long)s.segments_after,
	       (unsigned long long)s.bytes_scanned, (unsigned long long)s.bytes_written,
	       (unsigned long long)s.records_read, (unsigned long long)s.records_kept,
	       (long long)ms);
}

static void end(struct ctx *ctx, int result)
{
	struct ctx_cleaning *k = &ctx->cleaning;
	struct partition *p = k->busy;
	const int64_t ms = ctx->now_ms - k->begun_ms;

	if (result == 0) {
		count(ctx, k->clean, ms);
		report(p, k->clean, ms);
		k->next_ms = ctx->now_ms;
	} else {
		failed(ctx, p, result);
		k->next_ms = ctx->now_ms + ctx->config->clean_backoff_ms;
	}
	sl_log_clean_end(p->log, k->clean, result);
	k->clean = NULL;
	k->busy = NULL;
	p->is_cleaning = false;
	partition_check(ctx, p);
	partition_moved(ctx, p);
	cleaning_publish(p);
	partition_put(ctx, p);
}

/* Return: true when something came back. */
static bool take_back(struct ctx *ctx)
{
	struct ctx_cleaning *k = &ctx->cleaning;
	int result;

	if (!cleaner_reap(k->port, &result))
		return false;
	if (result != 1) {
		end(ctx, result);
		return true;
	}
	/* Nothing is renamed in a dir that has failed. */
	if (k->busy->is_offline)
		sl_clean_cancel(k->clean);
	sl_log_clean_swap(k->busy->log, k->clean);
	partition_moved(ctx, k->busy);
	cleaner_submit(k->port, k->clean, UINT32_MAX);
	return true;
}

unsigned cleaning_poll(struct ctx *ctx)
{
	struct ctx_cleaning *k = &ctx->cleaning;

	if (!k->port)
		return 0;
	if (k->busy)
		return take_back(ctx);
	if (!k->is_round && (ctx->now_ms < k->next_ms || sl_list_is_empty(&k->logs)))
		return 0;
	return go_round(ctx);
}

int64_t cleaning_next_ms(const struct ctx *ctx)
{
	const struct ctx_cleaning *k = &ctx->cleaning;

	/* The cleaner wakes the lane. */
	if (!k->port || k->busy)
		return INT64_MAX;
	if (k->is_round)
		return ctx->now_ms;
	return sl_list_is_empty(&k->logs) ? INT64_MAX : k->next_ms;
}

void cleaning_stop(struct ctx *ctx)
{
	struct ctx_cleaning *k = &ctx->cleaning;

	if (k->busy)
		sl_clean_cancel(k->clean);
	while (k->busy)
		if (!take_back(ctx))
			sched_yield();
}
