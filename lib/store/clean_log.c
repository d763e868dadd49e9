/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The owner's side of a cleaning: how dirty the log is, what the cleaner has to know, and the swap.
 *
 * A swap is a row of renames that the file system keeps in order, and recovery finishes it from
 * wherever it ended:
 *
 *   1. base.log.cleaned -> base.log.swap       from here on the new segment counts
 *   2. each old file -> its name + ".deleted"  S1 ... Sn, by offset
 *   3. base.index.cleaned -> base.index        and the other two
 *   4. base.log.swap -> base.log
 *
 * The cleaner has synced the new file and its first name before, and syncs the folder afterwards;
 * the old files are removed after that sync only (segment_bury()).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/crc32c.h"

#include "clean_impl.h"
#include "fileio.h"

#define CLEAN_TEXT_MAX 128

/* ---- The checkpoint: what was cleaned ---- */

static int encode(int64_t offset, char text[CLEAN_TEXT_MAX])
{
	int n = snprintf(text, CLEAN_TEXT_MAX, "version: 1\nfirst_dirty_offset: %" PRId64 "\n",
	                 offset);
	uint32_t crc = sl_crc32c(0, text, (size_t)n);

	n += snprintf(text + n, (size_t)(CLEAN_TEXT_MAX - n), "crc32c: %08x\n", crc);
	SL_ASSERT(n < CLEAN_TEXT_MAX);
	return n;
}

/* Without a good file everything is dirty.  Return: 0 or -errno. */
static int load(struct sl_log *log)
{
	char again[CLEAN_TEXT_MAX];
	char path[STORE_PATH_MAX];
	int64_t offset = 0;
	char *text = NULL;
	size_t len = 0;
	int err;

	if (log->clean_offset != CLEAN_OFFSET_UNKNOWN)
		return 0;
	err = fileio_load(&log->files, log->dirfd, log_path(log, LOG_CLEAN_FILE, path),
	                  CLEAN_TEXT_MAX, &text, &len);
	if (err && err != -ENOENT && err != -EFBIG)
		return err;
	log->clean_offset = 0;
	if (!err && sscanf(text, "version: 1\nfirst_dirty_offset: %" SCNd64, &offset) == 1 &&
	    encode(offset, again) == (int)len && memcmp(again, text, len) == 0 && offset >= 0)
		log->clean_offset = offset;
	else if (err != -ENOENT)
		sl_log(WARN, store, "ignore damaged cleaner checkpoint part=%s", log->folder);
	free(text);
	return 0;
}

static int store(struct sl_log *log, int64_t offset)
{
	char text[CLEAN_TEXT_MAX];
	char path[STORE_PATH_MAX];
	int n = encode(offset, text);
	int err = fileio_replace(&log->files, log->dirfd, log_path(log, LOG_CLEAN_FILE, path), text,
	                         (size_t)n, false);

	/* Not synced: an older one makes the next cleaning read more, and nothing else. */
	if (!err)
		log->clean_offset = offset;
	return err;
}

int clean_cut(struct sl_log *log, int64_t offset)
{
	int err = load(log);

	log->truncations++;
	return err || log->clean_offset <= offset ? err : store(log, offset);
}

bool sl_log_is_compacted(const struct sl_log *log)
{
	return log->config.is_compact;
}

int64_t sl_log_clean_offset(const struct sl_log *log)
{
	return SL_MAX(log->clean_offset, log->start);
}

int64_t clean_roll_ms(const struct sl_log_config *config)
{
	/* KIP-354: a record that waits in the active segment is not compacted. */
	if (config->is_compact && config->max_compaction_lag_ms > 0)
		return SL_MIN(config->segment_ms, config->max_compaction_lag_ms);
	return config->segment_ms;
}

/* ---- How dirty ---- */

/* The segment may be cleaned now: closed, on stable storage, old enough.  1; 0; -errno. */
static int is_ripe(struct sl_log *log, struct segment *seg, int64_t stable, int64_t now_ms)
{
	const int64_t lag_ms = log->config.min_compaction_lag_ms;
	int err;

	if (seg == log->active || !seg->is_sealed || seg->is_dirty || seg->end_offset > stable)
		return 0;
	if (lag_ms <= 0)
		return 1;
	err = segment_load_time(log, seg);
	return err ? err : seg->max_time_ms <= now_ms - lag_ms;
}

/* Since when a record of the segment has been waiting longer than max.compaction.lag.ms. */
static int overdue(struct sl_log *log, struct segment *seg, int64_t now_ms, int64_t *overdue_ms)
{
	const int64_t lag_ms = log->config.max_compaction_lag_ms;
	int err;

	if (lag_ms == INT64_MAX || lag_ms > now_ms)
		return 0;
	err = segment_load_first_time(log, seg);
	if (!err && seg->first_time_ms > 0)
		*overdue_ms = SL_MAX(*overdue_ms, now_ms - lag_ms - seg->first_time_ms);
	return err;
}

/* Where the clean part ends: a checkpoint that does not fit the log says nothing. */
static int find_dirty(struct sl_log *log, int64_t *first_dirty)
{
	int err = load(log);

	*first_dirty = log->clean_offset > log->end || log->clean_offset < log->start
	                       ? log->start
	                       : log->clean_offset;
	return err;
}

int sl_log_cleanable(struct sl_log *log, int64_t stable, int64_t now_ms, struct sl_cleanable *out)
{
	uint32_t i;
	int rc;

	*out = (struct sl_cleanable){0};
	if (!log->config.is_compact || log->error)
		return 0;
	stable = clean_stable(log, stable);
	rc = find_dirty(log, &out->first_dirty);
	if (rc)
		return rc;
	out->end = out->first_dirty;
	i = lookup_segment(log, out->first_dirty);
	for (uint32_t k = 0; k < i; k++)
		out->clean_bytes += log->segments[k]->bytes;
	for (; i < log->segments_count; i++) {
		struct segment *seg = log->segments[i];

		rc = is_ripe(log, seg, stable, now_ms);
		if (rc <= 0)
			break;
		rc = overdue(log, seg, now_ms, &out->overdue_ms);
		if (rc < 0)
			break;
		out->dirty_bytes += seg->bytes;
		out->end = SL_MAX(out->end, seg->end_offset);
	}
	if (rc < 0)
		return rc;
	if (out->end <= out->first_dirty || out->dirty_bytes == 0)
		return 0;
	out->dirty_ppm = (uint32_t)((unsigned __int128)out->dirty_bytes * SL_CLEAN_PPM /
	                            (out->clean_bytes + out->dirty_bytes));
	return out->dirty_ppm > log->config.min_dirty_ppm || out->overdue_ms > 0;
}

/* ---- Begin ---- */

static int take_sources(const struct sl_log *log, struct sl_clean *c)
{
	uint32_t count = lookup_segment(log, c->end);

	SL_ASSERT(count > 0 && count < log->segments_count);
	c->sources = calloc(count, sizeof(*c->sources));
	if (!c->sources)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		const struct segment *seg = log->segments[i];

		SL_ASSERT(seg->is_sealed && !seg->is_dirty);
		/* A hole: what lies behind it in the file is not to be thrown away (README, rule
		 * 6).
		 */
		if (seg->end_offset != log->segments[i + 1]->base_offset)
			return -EBADMSG;
		c->sources[i] = (struct clean_source){
			.base_offset = seg->base_offset,
			.end_offset = seg->end_offset,
			.bytes = seg->bytes,
		};
	}
	c->sources_count = count;
	return 0;
}

static void clean_free(struct sl_clean *c)
{
	free(c->sources);
	free(c->producers);
	free(c->aborted);
	free(c);
}

int sl_log_clean_begin(struct sl_clean **out, struct sl_log *log, int64_t stable, int64_t now_ms)
{
	const size_t folder_bytes = strlen(log->folder) + 1;
	struct sl_cleanable found;
	struct sl_clean *c;
	int rc;

	if (log->cleaning)
		return -EBUSY;
	rc = sl_log_cleanable(log, stable, now_ms, &found);
	if (rc < 0 || found.dirty_bytes == 0)
		return rc < 0 ? rc : -ENODATA;
	c = calloc(1, sizeof(*c) + folder_bytes);
	if (!c)
		return -ENOMEM;
	memcpy(c->folder, log->folder, folder_bytes);
	c->files = log->files;
	c->dirfd = log->dirfd;
	c->now_ms = now_ms;
	c->first_dirty = found.first_dirty;
	c->end = found.end;
	c->delete_retention_ms = log->config.delete_retention_ms;
	c->segment_bytes = (uint64_t)log->config.segment_bytes;
	c->index_interval_bytes = (uint64_t)log->config.index_interval_bytes;
	c->truncations = log->truncations;
	rc = take_sources(log, c);
	if (!rc)
		rc = clean_take_producers(log, c);
	if (!rc)
		rc = clean_take_aborted(log, c);
	if (rc) {
		clean_free(c);
		return rc;
	}
	log->cleaning = c;
	*out = c;
	return 0;
}

/* ---- Swap ---- */

/* The segments are those that the cleaner has read.  *first: where they are. */
static int check_group(const struct sl_log *log, const struct sl_clean *c, uint32_t *first)
{
	const struct clean_source *sources = &c->sources[c->group.first];
	uint32_t i;

	if (log->error)
		return log->error;
	if (log->truncations != c->truncations)
		return -ESTALE;
	i = lookup_segment(log, sources[0].base_offset);
	/* Of an empty segment the look-up gives the next one. */
	while (i > 0 && log->segments[i]->base_offset > sources[0].base_offset)
		i--;
	*first = i;
	if (log->segments_count - i <= c->group.count)
		return -ESTALE;
	for (uint32_t k = 0; k < c->group.count; k++) {
		const struct segment *seg = log->segments[i + k];

		if (seg->base_offset != sources[k].base_offset || seg->bytes != sources[k].bytes ||
		    seg->end_offset != sources[k].end_offset || !seg->is_sealed || seg->is_dirty)
			return -ESTALE;
	}
	return 0;
}

static int rename_file(struct sl_log *log, int64_t base_offset, const char *from_suffix,
                       const char *to_suffix)
{
	char from[STORE_PATH_MAX];
	char to[STORE_PATH_MAX];

	return log->files.ops->rename(log->files.ctx, log->dirfd,
	                              segment_path(log, base_offset, from_suffix, from),
	                              segment_path(log, base_offset, to_suffix, to));
}

static struct segment *make(const struct sl_clean *c)
{
	struct segment *seg = segment_alloc(c->made.base_offset);

	if (!seg)
		return NULL;
	seg->end_offset = c->made.end_offset;
	seg->bytes = c->made.bytes;
	seg->first_time_ms = c->made.first_time_ms;
	seg->void_time_ms = c->made.void_time_ms;
	seg->max_time_ms = c->made.max_time_ms;
	seg->max_time_offset = c->made.max_time_offset;
	seg->written = seg->durable = seg->allocated = seg->bytes;
	seg->written_offset = seg->end_offset;
	seg->aborted_first = c->made.aborted_first;
	seg->open_first = c->made.open_first;
	seg->is_aborted_known = true;
	seg->has_aborted = seg->aborted_first == ABORTED_NONE;
	return seg;
}

/* Steps 2 to 4: what fails here is finished by the next open, and the log takes no more writes. */
static int replace(struct sl_log *log, uint32_t first, uint32_t count, struct segment *seg)
{
	/* One by segment_doom(), one below. */
	const uint32_t change = log->folder_changes + 2;
	int err;

	for (uint32_t i = 0; i < count; i++) {
		log->segments[first + i]->was_swapped = true;
		log->segments[first + i]->swap_change = change;
	}
	err = segment_doom(log, first, count);
	if (!err)
		err = rename_file(log, seg->base_offset, ".index.cleaned", ".index");
	if (!err)
		err = rename_file(log, seg->base_offset, ".timeindex.cleaned", ".timeindex");
	if (!err)
		err = rename_file(log, seg->base_offset, ".txnindex.cleaned", ".txnindex");
	if (!err)
		err = rename_file(log, seg->base_offset, ".log.swap", ".log");
	if (err) {
		free(seg);
		return log_fail(log, err, "swap cleaned segment");
	}
	memmove(log->segments + first + 1, log->segments + first,
	        (log->segments_count - first) * sizeof(struct segment *));
	log->segments[first] = seg;
	log->segments_count++;
	log->bytes += seg->bytes;
	log->folder_changes++;
	SL_ASSERT(log->folder_changes == change && log->segments_count >= 2);
	SL_ASSERT(log->segments[first + 1]->base_offset == seg->end_offset);
	return 0;
}

/* The cleaner has synced the folder after the last swap. */
static void note_settled(struct sl_log *log, struct sl_clean *c)
{
	if (c->is_settled && (int32_t)(c->settle - log->folder_synced) > 0)
		log->folder_synced = c->settle;
	c->is_settled = false;
}

void sl_log_clean_swap(struct sl_log *log, struct sl_clean *c)
{
	struct segment *seg = NULL;
	uint32_t first = 0;
	int err;

	SL_ASSERT(log->cleaning == c && c->phase == CLEAN_SWAP);
	note_settled(log, c);
	err = sl_clean_is_cancelled(c) ? -ECANCELED : check_group(log, c, &first);
	/* They may have a transaction open whose marker was cleaned away behind them. */
	if (!err)
		err = snapshot_drop(log, c->made.end_offset);
	if (!err) {
		seg = make(c);
		err = seg ? rename_file(log, seg->base_offset, ".log.cleaned", ".log.swap")
		          : -ENOMEM;
		if (err)
			free(seg);
	}
	if (!err)
		err = replace(log, first, c->group.count, seg);
	if (err) {
		c->error = err;
		return;
	}
	c->settle = log->folder_changes;
	c->phase = CLEAN_SETTLE;
}

void sl_log_clean_end(struct sl_log *log, struct sl_clean *c, int result)
{
	int err;

	SL_ASSERT(log->cleaning == c && result <= 0);
	log->cleaning = NULL;
	note_settled(log, c);
	/* Given back for a swap, and nobody wants it any more. */
	if (c->phase == CLEAN_SWAP)
		clean_discard(c, c->made.base_offset);
	if (result == 0 && !log->error && log->truncations == c->truncations) {
		err = store(log, c->clean_end);
		if (err)
			sl_log(WARN, store, "write cleaner checkpoint part=%s: %s", log->folder,
			       strerror(-err));
		log->clean_offset = c->clean_end;
	}
	clean_free(c);
}
