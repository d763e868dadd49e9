/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compaction of a log (cleanup.policy=compact): of each key the last record stays, under its
 * offset.
 *
 * A cleaning moves between two threads.  The log's owner begins it, puts cleaned segments into the
 * log's place and ends it; the cleaner reads closed segments and writes new files with descriptors
 * of its own.  At any time one of them has it, and a log has one at most.
 *
 *   owner: sl_log_clean_begin ──► cleaner: sl_clean_run ──1──► owner: sl_log_clean_swap ─┐
 *                                     ▲     └──0 or -errno──► owner: sl_log_clean_end    │
 *                                     └──────────────────────────────────────────────────┘
 */
#ifndef SLUICE_STORE_CLEAN_H
#define SLUICE_STORE_CLEAN_H

#include "sluice/base/base.h"
#include "sluice/store/log.h"

struct sl_clean;
struct sl_cleaner;

#define SL_CLEAN_PPM 1000000 /* ratios are parts per million */

/* ---- The owner's side ---- */

/* cleanup.policy has "compact". */
bool sl_log_is_compacted(const struct sl_log *log);

/* How dirty a log is. */
struct sl_cleanable {
	int64_t first_dirty;  /* everything below was cleaned */
	int64_t end;          /* nothing from here on may be cleaned now */
	uint64_t clean_bytes; /* of whole segments below first_dirty */
	uint64_t dirty_bytes; /* of the segments that hold [first_dirty, end) */
	uint32_t dirty_ppm;   /* dirty_bytes of both */
	int64_t overdue_ms;   /* max.compaction.lag.ms is exceeded by this much; 0: not */
};

/**
 * sl_log_cleanable() - what there is to clean
 * @stable: nothing at or above it is cleaned: the last stable offset
 * @now_ms: wall clock
 *
 * Context: owner.  Reads small files for segments that it has not looked at before.
 * Return: 1 it is due: dirtier than min.cleanable.dirty.ratio, or overdue; 0 not; -errno.
 */
int sl_log_cleanable(struct sl_log *log, int64_t stable, int64_t now_ms,
                     struct sl_cleanable *out) SL_MUST_CHECK;
/* Everything below it was cleaned; what sl_log_cleanable() found out last. */
int64_t sl_log_clean_offset(const struct sl_log *log);

/**
 * sl_log_clean_begin() - take down what a cleaning needs to know of the log
 * Arguments as above.
 *
 * Context: owner; allocates.  The log is not closed or deleted before sl_log_clean_end().
 * Return: 0; -EBUSY one is under way; -ENODATA there is nothing to clean; -EBADMSG a segment is
 * damaged; -errno.
 */
int sl_log_clean_begin(struct sl_clean **out, struct sl_log *log, int64_t stable,
                       int64_t now_ms) SL_MUST_CHECK;
/* The log's segments become the cleaned one that sl_clean_run() has made, or the cleaning knows why
 * not and ends with its next sl_clean_run().  Context: owner; some renames. */
void sl_log_clean_swap(struct sl_log *log, struct sl_clean *c);
/**
 * sl_log_clean_end() - @c is over and gone
 * @result: of the last sl_clean_run(), 0 or -errno
 * Context: owner.
 */
void sl_log_clean_end(struct sl_log *log, struct sl_clean *c, int result);
/* sl_clean_run() ends soon, with -ECANCELED.  Context: any thread, before sl_log_clean_end(). */
void sl_clean_cancel(struct sl_clean *c);

/* Context: any thread, before sl_log_clean_end(). */
bool sl_clean_is_cancelled(const struct sl_clean *c);

/* What a cleaning did. */
struct sl_clean_stats {
	uint64_t bytes_read;    /* of segments, by both passes */
	uint64_t bytes_scanned; /* of the segments that were cleaned */
	uint64_t bytes_written; /* of what they became */
	uint64_t records_read;  /* of the segments that were cleaned */
	uint64_t records_kept;
	uint64_t records_keyless; /* dropped: a record without a key has no place in such a log */
	uint64_t segments_before;
	uint64_t segments_after;
	uint32_t map_ppm; /* how full the map of keys was */
};
void sl_clean_stats(const struct sl_clean *c, struct sl_clean_stats *out);

/* ---- The cleaner's side ---- */

struct sl_cleaner_opts {
	struct sl_files files;
	uint64_t map_bytes;    /* log.cleaner.dedupe.buffer.size; taken while a cleaning runs */
	uint32_t window_bytes; /* log.cleaner.io.buffer.size; larger batches get more */
	/* After each piece of work on a file, for a limit of bandwidth and for the page cache.
	 * May be NULL, may sleep. */
	void (*io)(void *arg, int fd, uint64_t pos, uint64_t bytes, bool is_write);
	void *arg;
};

/* What cleanings need, one at a time.  Return: 0; -EINVAL the map is too small; -ENOMEM. */
int sl_cleaner_create(struct sl_cleaner **out, const struct sl_cleaner_opts *opts) SL_MUST_CHECK;
void sl_cleaner_destroy(struct sl_cleaner *w);

/**
 * sl_clean_run() - go on until the owner is needed
 *
 * After 1 the same cleaner goes on with the same cleaning, and with no other in between.
 * Context: one thread for each cleaner; sleeps (disk), allocates.
 * Return: 1 for sl_log_clean_swap(); 0 done; -ECANCELED; -ESTALE the log has changed; -ENOBUFS the
 * map does not hold a single batch; -EBADMSG a segment is damaged; -errno.  Files that were not
 * swapped in are gone.
 */
int sl_clean_run(struct sl_clean *c, struct sl_cleaner *w) SL_MUST_CHECK;

#endif
