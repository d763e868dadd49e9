/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a partition folder that exists.  After a clean close sizes and indexes are trusted and
 * one walk behind the last index entry proves them; otherwise every segment that ends above the
 * recovery point is read whole and its checksums are verified, and the log is cut at the first bad
 * batch.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/crc32c.h"

#include "fileio.h"
#include "log_impl.h"

#define BASE_DIGITS 20

struct names {
	int64_t *offsets; /* Owned. */
	uint32_t count;
	uint32_t cap;
};

struct recover {
	struct sl_log *log;
	struct sl_log_recovery *report;
	struct checkpoint checkpoint;
	struct names logs;
	struct names indexes; /* of all kinds, each once for every file */
	struct names aborted; /* indexes of aborted transactions */
	struct names swaps;   /* cleaned segments on their way in */
	uint8_t *buffer; /* Owned. STORE_SCAN_WINDOW_BYTES for headers, as many for checksums. */
	int64_t now_ms;
	bool is_clean;
	bool is_epochs_lost;
	bool is_epoch_found; /* by scanning, and not in the file */
	bool was_scanned;
	bool is_point_good; /* the active segment was taken over up to the recovery point */
};

/* The file was allocated ahead of what was written: nothing is lost. */
static const char zero_tail[] = "zero-filled tail";

/* ---- What the folder holds ---- */

static int names_add(struct names *names, int64_t offset)
{
	if (names->count == names->cap) {
		uint32_t cap = names->cap ? names->cap * 2 : 8;
		int64_t *offsets;

		if (cap > 4 * STORE_SEGMENTS_MAX)
			return -ENOMEM;
		offsets = realloc(names->offsets, cap * sizeof(*offsets));
		if (!offsets)
			return -ENOMEM;
		names->offsets = offsets;
		names->cap = cap;
	}
	names->offsets[names->count++] = offset;
	return 0;
}

static int compare_offsets(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a;
	int64_t y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* "<20 digits><suffix>"; returns the suffix or NULL. */
static const char *parse_name(const char *name, int64_t *offset)
{
	int64_t v = 0;

	for (int i = 0; i < BASE_DIGITS; i++) {
		if (name[i] < '0' || name[i] > '9')
			return NULL;
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, name[i] - '0', &v))
			return NULL;
	}
	*offset = v;
	return name + BASE_DIGITS;
}

static bool has_suffix(const char *name, const char *suffix)
{
	size_t len = strlen(name);
	size_t suffix_len = strlen(suffix);

	return len >= suffix_len && strcmp(name + len - suffix_len, suffix) == 0;
}

/* Half-done work of an earlier run: none of these names is ever read. */
static bool is_leftover(const char *name)
{
	return has_suffix(name, ".tmp") || has_suffix(name, ".deleted") ||
	       has_suffix(name, ".cleaned");
}

static int on_entry(void *arg, const char *name)
{
	struct recover *r = arg;
	char path[STORE_PATH_MAX];
	const char *suffix;
	int64_t offset = 0;
	int err;

	if (is_leftover(name)) {
		if (strlen(name) > STORE_NAME_MAX)
			return 0;
		err = r->log->files.ops->unlink(r->log->files.ctx, r->log->dirfd,
		                                log_path(r->log, name, path));
		return err == -ENOENT ? 0 : err;
	}
	suffix = parse_name(name, &offset);
	if (!suffix)
		return 0;
	if (strcmp(suffix, ".log.swap") == 0)
		return names_add(&r->swaps, offset);
	if (strcmp(suffix, ".log") == 0)
		return names_add(&r->logs, offset);
	if (strcmp(suffix, ".index") == 0 || strcmp(suffix, ".timeindex") == 0)
		return names_add(&r->indexes, offset);
	if (strcmp(suffix, ".txnindex") == 0) {
		err = names_add(&r->aborted, offset);
		return err ? err : names_add(&r->indexes, offset);
	}
	if (strcmp(suffix, ".snapshot") == 0)
		snapshot_found(r->log, offset);
	return 0;
}

/* @names is sorted. */
static bool names_has(const struct names *names, int64_t offset)
{
	return names->count > 0 &&
	       bsearch(&offset, names->offsets, names->count, sizeof(offset), compare_offsets);
}

static void names_sort(struct names *names)
{
	if (names->count > 0)
		qsort(names->offsets, names->count, sizeof(int64_t), compare_offsets);
}

/* A crash between two renames of a removal leaves indexes without their log. */
static int remove_orphans(struct recover *r)
{
	static const char *const suffixes[] = {".index", ".timeindex", ".txnindex"};
	struct sl_log *log = r->log;
	char path[STORE_PATH_MAX];

	for (uint32_t i = 0; i < r->indexes.count; i++) {
		if (names_has(&r->logs, r->indexes.offsets[i]))
			continue;
		for (uint32_t k = 0; k < SL_ARRAY_SIZE(suffixes); k++) {
			int err = log->files.ops->unlink(log->files.ctx, log->dirfd,
			                                 segment_path(log, r->indexes.offsets[i],
			                                              suffixes[k], path));

			if (err && err != -ENOENT)
				return err;
		}
	}
	return 0;
}

/* Without those of [from, end). */
static void names_cut(struct names *names, int64_t from, int64_t end)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < names->count; i++)
		if (names->offsets[i] < from || names->offsets[i] >= end)
			names->offsets[kept++] = names->offsets[i];
	names->count = kept;
}

/* The names as they are once a swap of cleaned segments is finished. */
static int finish_swap(struct recover *r, int64_t base_offset)
{
	struct names *logs = &r->logs;
	int64_t end;
	int err;

	err = clean_finish_swap(r->log, base_offset, logs->offsets, logs->count, &end);
	if (err || end == base_offset)
		return err;
	names_cut(logs, base_offset, end);
	/* Its aborted transactions are found by replay, as of any segment without the file. */
	names_cut(&r->aborted, base_offset, end);
	return names_add(logs, base_offset);
}

static int list_folder(struct recover *r)
{
	struct sl_log *log = r->log;
	int err = log->files.ops->list(log->files.ctx, log->dirfd, log->folder, on_entry, r);

	for (uint32_t i = 0; i < r->swaps.count && !err; i++)
		err = finish_swap(r, r->swaps.offsets[i]);
	if (err)
		return err;
	names_sort(&r->logs);
	names_sort(&r->aborted);
	return remove_orphans(r);
}

static int check_topic_id(struct recover *r)
{
	struct sl_log *log = r->log;
	struct sl_uuid id;
	int err = checkpoint_load_topic_id(&log->files, log->dirfd, log->folder, &id);

	if (!err)
		return sl_uuid_eq(&id, &log->topic_id) ? 0 : -ESTALE;
	if (err != -ENOENT && err != -EBADMSG)
		return err;
	/* Synced data has its id beside it, so this is a folder whose creation was interrupted, or
	 * one from before topic ids: Kafka takes it over too. */
	sl_log(WARN, store, "adopt folder without topic id part=%s", log->folder);
	return checkpoint_store_topic_id(log);
}

static int load_small_files(struct recover *r, bool was_clean)
{
	struct sl_log *log = r->log;
	char path[STORE_PATH_MAX];
	int err = checkpoint_load(log, &r->checkpoint);

	if (err && err != -ENOENT && err != -EBADMSG)
		return err;
	if (err)
		r->checkpoint = (struct checkpoint){.clean_end = -1};
	r->is_clean = was_clean && r->checkpoint.clean_end >= 0;
	log->is_checkpoint_clean = r->checkpoint.clean_end >= 0;
	err = epochs_load(&log->epochs, &log->files, log->dirfd,
	                  log_path(log, LOG_EPOCHS_FILE, path));
	r->is_epochs_lost = err != 0;
	return err == -ENOENT || err == -EBADMSG ? 0 : err;
}

static int add_segments(struct recover *r)
{
	struct sl_log *log = r->log;
	char path[STORE_PATH_MAX];

	for (uint32_t i = 0; i < r->logs.count; i++) {
		struct segment *seg;
		int err;
		int fd;

		fd = log->files.ops->open(log->files.ctx, log->dirfd,
		                          segment_path(log, r->logs.offsets[i], ".log", path),
		                          O_RDONLY, 0);
		if (fd < 0)
			return fd;
		err = segment_add(log, r->logs.offsets[i], &seg);
		if (!err)
			err = log->files.ops->size(log->files.ctx, fd, &seg->bytes);
		log->files.ops->close(log->files.ctx, fd);
		if (err)
			return err;
		log->bytes += seg->bytes;
		seg->allocated = seg->bytes;
		seg->is_aborted_lost = !names_has(&r->aborted, seg->base_offset);
		if (i > 0)
			log->segments[i - 1]->end_offset = seg->base_offset;
	}
	return 0;
}

/* ---- Scan with checksums ---- */

/* CRC of a batch that may be larger than any buffer. */
static int check_crc(struct recover *r, const struct segment *seg, const struct walk *walk,
                     const struct walk_batch *batch, bool *is_good)
{
	uint64_t pos = batch->pos + SL_BATCH_POS_ATTRIBUTES;
	uint64_t end = batch->pos + batch->bytes;
	uint32_t crc = 0;

	if (end <= walk->window_pos + walk->window_len) {
		*is_good = sl_batch_check_crc(walk->window + (batch->pos - walk->window_pos),
		                              &batch->head);
		return 0;
	}
	while (pos < end) {
		uint8_t *piece = r->buffer + STORE_SCAN_WINDOW_BYTES;
		size_t want = SL_MIN(end - pos, (uint64_t)STORE_SCAN_WINDOW_BYTES);
		size_t got = 0;
		int err = fileio_read(&r->log->files, seg->fd, piece, want, pos, &got);

		if (err)
			return err;
		if (got == 0)
			return -EIO;
		crc = sl_crc32c(crc, piece, got);
		pos += got;
	}
	*is_good = crc == batch->head.crc;
	return 0;
}

/* Why walk_next() refused what lies at @pos. */
static const char *explain(const struct sl_log *log, const struct segment *seg, uint64_t pos,
                           uint64_t size)
{
	uint8_t header[SL_BATCH_HEADER_BYTES];
	size_t want = (size_t)SL_MIN(size - pos, (uint64_t)sizeof(header));
	struct sl_batch_head head;
	bool is_zero = true;
	size_t got = 0;

	if (fileio_read(&log->files, seg->fd, header, want, pos, &got))
		return "unreadable batch header";
	for (size_t i = 0; i < got; i++)
		is_zero &= header[i] == 0;
	if (is_zero)
		return zero_tail;
	if (got < sizeof(header))
		return "incomplete batch header";
	if (sl_batch_peek(header, got, &head) == -EBADMSG)
		return "not a batch of magic 2";
	if (sl_batch_bytes(&head) > size - pos)
		return "incomplete batch";
	return "impossible batch header";
}

static const char *check_order(const struct segment *seg, const struct sl_batch_head *head)
{
	if (head->base_offset < seg->end_offset)
		return "offset goes back";
	if (head->base_offset > INT64_MAX - INT32_MAX ||
	    sl_batch_last_offset(head) - seg->base_offset > INT32_MAX)
		return "offset too far from the segment's base";
	return NULL;
}

/* An epoch that the history does not have: its file was written before the batch but never synced.
 */
static int take_epoch(struct recover *r, const struct sl_batch_head *head)
{
	struct sl_log *log = r->log;
	int err = 0;

	if (head->leader_epoch > epochs_latest(&log->epochs))
		err = epochs_begin(&log->epochs, head->leader_epoch, head->base_offset);
	r->is_epoch_found |= err > 0;
	/* -EINVAL: the file has later entries than the data; they are cut when the scan is done. */
	return err == -ENOMEM ? err : 0;
}

/* Reads the segment from its accounted end on.  @reason is set where it is cut. */
static int scan_batches(struct recover *r, struct segment *seg, uint64_t size, const char **reason)
{
	struct sl_log *log = r->log;
	struct walk_batch batch;
	struct walk walk;
	int err;

	segment_walk(log, seg, &walk, r->buffer, STORE_SCAN_WINDOW_BYTES);
	walk_seek(&walk, seg->bytes, size);
	while ((err = walk_next(&walk, &batch)) > 0) {
		bool is_good = false;

		*reason = check_order(seg, &batch.head);
		if (*reason)
			return 0;
		err = check_crc(r, seg, &walk, &batch, &is_good);
		if (err)
			return err;
		if (!is_good) {
			*reason = "wrong checksum";
			return 0;
		}
		err = take_epoch(r, &batch.head);
		if (err)
			return err;
		if (seg->bytes == 0)
			seg->since_ms = batch.head.max_timestamp > 0
			                        ? SL_MIN(r->now_ms, batch.head.max_timestamp)
			                        : r->now_ms;
		log_took(log, &batch);
	}
	if (err == -EBADMSG) {
		*reason = explain(log, seg, walk.pos, size);
		err = 0;
	}
	return err;
}

static void report_cut(struct recover *r, int64_t offset, uint64_t bytes, const char *reason)
{
	r->report->cut_bytes += bytes;
	if (r->report->cut_offset < 0) {
		r->report->cut_offset = offset;
		snprintf(r->report->reason, sizeof(r->report->reason), "%s", reason);
	}
	sl_log(WARN, store, "cut log part=%s offset=%" PRId64 " bytes=%" PRIu64 ": %s",
	       r->log->folder, offset, bytes, reason);
}

/* ---- Segments that are trusted ---- */

/* Walks from the last index entry to the end; true when it ends exactly there, below @end_max. */
static int check_tail(struct sl_log *log, struct segment *seg, int64_t end_max, bool *is_good)
{
	uint8_t window[STORE_WALK_WINDOW_BYTES];
	struct walk_batch batch = {
		.head = {.base_offset = seg->base_offset, .last_offset_delta = -1}};
	struct walk walk;
	uint32_t relative = 0;
	uint32_t pos = 0;
	int err;

	index_offset_last(&seg->offsets, &relative, &pos);
	walk_init(&walk, &log->files, seg->fd, window, sizeof(window));
	walk_seek(&walk, pos, seg->bytes);
	while ((err = walk_next(&walk, &batch)) > 0)
		;
	*is_good = err == 0 && sl_batch_last_offset(&batch.head) < end_max;
	return err == -EBADMSG ? 0 : err;
}

/* The cut of what was allocated ahead did not survive the crash. */
static int cut_file(struct sl_log *log, struct segment *seg)
{
	char path[STORE_PATH_MAX];
	int err;
	int fd = log->files.ops->open(log->files.ctx, log->dirfd,
	                              segment_path(log, seg->base_offset, ".log", path), O_RDWR, 0);

	if (fd < 0)
		return fd;
	err = log->files.ops->truncate(log->files.ctx, fd, seg->bytes);
	log->files.ops->close(log->files.ctx, fd);
	seg->allocated = seg->bytes;
	return err;
}

/*
 * A sealed segment below the recovery point: its bytes were synced, so an index that fits them is
 * enough.  If the bytes are damaged all the same, what was acknowledged behind them must not go:
 * the readable part stays, the file is left as it is, and readers skip the hole.
 */
static int check_sealed(struct recover *r, struct segment *seg, int64_t next_base)
{
	struct sl_log *log = r->log;
	uint64_t size = seg->bytes;
	bool is_good = false;
	int err;

	err = segment_use(log, seg, true);
	if (!err && seg->bytes == size)
		err = check_tail(log, seg, next_base, &is_good);
	if (!err && !is_good && seg->bytes == size) {
		err = segment_rebuild(log, seg);
		if (err == -EBADMSG || seg->end_offset > next_base)
			err = 0;
	}
	segment_close_unused(log, 0, NULL);
	if (err || seg->bytes == size)
		return err;
	if (seg->end_offset == next_base)
		return cut_file(log, seg);
	report_cut(r, seg->end_offset, size - seg->bytes, "damage inside a sealed segment");
	return 0;
}

/* Empties what is known of @seg and makes it the active one. */
static void begin_segment(struct sl_log *log, struct segment *seg)
{
	log->bytes -= seg->bytes;
	segment_reset(seg);
	log->active = seg;
	log->end = seg->base_offset;
	log_tail_clear(log);
	seg->has_offsets = true;
	seg->is_dirty = true;
}

static int load_indexes(struct recover *r, struct segment *seg, int64_t end, uint64_t pos_end)
{
	struct sl_log *log = r->log;
	uint64_t relative_end = (uint64_t)(end - seg->base_offset);
	char path[STORE_PATH_MAX];
	uint32_t relative = 0;
	int64_t time_ms = 0;
	int err;

	err = index_offset_load_begin(&seg->offsets, &log->files, log->dirfd,
	                              segment_path(log, seg->base_offset, ".index", path));
	if (!err)
		err = index_time_load_begin(&seg->times, &log->files, log->dirfd,
		                            segment_path(log, seg->base_offset, ".timeindex",
		                                         path));
	if (err)
		return err;
	/* The walk behind the offsets finds the times that are lost. */
	if (!seg->times.is_stored || seg->times.count < r->checkpoint.time_entries) {
		index_time_last(&seg->times, &time_ms, &relative);
		index_offset_cut_from(&seg->offsets, relative + 1);
	}
	/* They were stored while more was in memory than on disk. */
	index_offset_cut(&seg->offsets, pos_end);
	index_time_cut(&seg->times, (uint32_t)SL_MIN(relative_end, (uint64_t)UINT32_MAX));
	return 0;
}

/*
 * Takes over what was written down about @seg: both indexes, and a walk behind the last entry that
 * has to end at @pos_end with the offset @end.  Return: 1 it all fits; 0 it does not; -errno.
 */
static int load_trusted(struct recover *r, struct segment *seg, int64_t end, uint64_t pos_end)
{
	struct sl_log *log = r->log;
	uint8_t window[STORE_WALK_WINDOW_BYTES];
	struct walk_batch batch;
	struct walk walk;
	uint32_t relative = 0;
	uint32_t pos = 0;
	int err;

	begin_segment(log, seg);
	if (pos_end == 0)
		return end == seg->base_offset;
	err = load_indexes(r, seg, end, pos_end);
	if (err)
		return err == -EBADMSG || err == -ENOENT ? 0 : err;
	index_offset_last(&seg->offsets, &relative, &pos);
	if (index_time_last(&seg->times, &seg->max_time_ms, &relative))
		seg->max_time_offset = seg->base_offset + relative;
	segment_walk(log, seg, &walk, window, sizeof(window));
	walk_seek(&walk, pos, pos_end);
	log->bytes += pos;
	seg->bytes = pos;
	while ((err = walk_next(&walk, &batch)) > 0) {
		if (check_order(seg, &batch.head))
			return 0;
		log_took(log, &batch);
	}
	if (err)
		return err == -EBADMSG ? 0 : err;
	seg->since_ms = seg->max_time_ms > 0 ? SL_MIN(r->now_ms, seg->max_time_ms) : r->now_ms;
	seg->written = seg->bytes;
	return log->end == end;
}

/* The recovery point, when it lies in @seg: what is before it need not be read.  The segment is
 * empty afterwards, or ends there.  Return: 0 or -errno. */
static int load_point(struct recover *r, struct segment *seg, uint64_t size)
{
	const struct checkpoint *c = &r->checkpoint;
	int rc = 0;

	if (r->log->hot && c->recovery_pos > 0 && (uint64_t)c->recovery_pos <= size &&
	    c->recovery_point > seg->base_offset &&
	    c->recovery_point - seg->base_offset < INT32_MAX)
		rc = load_trusted(r, seg, c->recovery_point, (uint64_t)c->recovery_pos);
	if (rc <= 0)
		begin_segment(r->log, seg);
	r->is_point_good = rc > 0;
	return rc < 0 ? rc : 0;
}

/* Loads what a clean close wrote about the active segment.  Return: 1 it all fits; 0 scan; -errno.
 */
static int load_clean(struct recover *r, struct segment *seg)
{
	int err;

	if (r->checkpoint.clean_end < seg->base_offset ||
	    seg->bytes != (uint64_t)r->checkpoint.clean_bytes)
		return 0;
	err = segment_unseal(r->log, seg);
	return err ? err : load_trusted(r, seg, r->checkpoint.clean_end, seg->bytes);
}

/* Return: 1 the segment was cut; 0 whole; -errno. */
static int scan_segment(struct recover *r, struct segment *seg)
{
	struct sl_log *log = r->log;
	uint64_t size = seg->bytes;
	const char *reason = NULL;
	uint64_t begin;
	int err;

	if (!r->buffer) {
		r->buffer = malloc(2 * (size_t)STORE_SCAN_WINDOW_BYTES);
		if (!r->buffer)
			return -ENOMEM;
	}
	err = seg->is_sealed ? segment_unseal(log, seg) : 0;
	if (!err)
		err = load_point(r, seg, size);
	if (err < 0)
		return err;
	begin = seg->bytes;
	err = scan_batches(r, seg, size, &reason);
	if (err)
		return err;
	r->was_scanned |= seg->bytes > begin;
	r->report->scanned_bytes += seg->bytes - begin;
	seg->written = seg->bytes;
	if (reason == zero_tail && log->hot)
		return 0;
	r->report->scanned_bytes += size - seg->bytes;
	if (!reason)
		return 0;
	report_cut(r, seg->end_offset, size - seg->bytes, reason);
	err = log->files.ops->truncate(log->files.ctx, seg->fd, seg->bytes);
	seg->allocated = seg->bytes;
	return err ? err : 1;
}

/* ---- The whole log ---- */

/* Removes the segments from @first on: nothing behind a cut is part of the log any more. */
static int drop_from(struct recover *r, uint32_t first, const char *reason)
{
	struct sl_log *log = r->log;
	uint64_t bytes = 0;

	if (first >= log->segments_count)
		return 0;
	for (uint32_t i = first; i < log->segments_count; i++)
		bytes += log->segments[i]->bytes;
	report_cut(r, log->segments[first]->base_offset, bytes, reason);
	return segment_doom(log, first, log->segments_count - first);
}

/* A scanned segment that is not the last: make it as if it had been sealed and synced. */
static int seal_scanned(struct sl_log *log, struct segment *seg)
{
	int err = log->files.ops->sync(log->files.ctx, seg->fd);

	if (!err)
		err = segment_seal(log, seg);
	if (err)
		return err;
	seg->is_dirty = false;
	/* Its file, if there is one, may be of what was there before. */
	seg->is_aborted_lost = true;
	segment_close_unused(log, 0, NULL);
	return 0;
}

/* Return: 1 the log ends with segment @i; 0 go on; -errno. */
static int check_segment(struct recover *r, uint32_t i)
{
	struct sl_log *log = r->log;
	struct segment *seg = log->segments[i];
	bool is_last = i + 1 == log->segments_count;
	int err;

	if (!is_last) {
		int64_t next_base = log->segments[i + 1]->base_offset;

		if (r->is_clean)
			return 0;
		if (next_base <= r->checkpoint.recovery_point)
			return check_sealed(r, seg, next_base);
		err = scan_segment(r, seg);
		if (err)
			return err;
		/* Segments begin where the one before ended; above the recovery point a gap means
		 * that bytes were lost. */
		return seg->end_offset == next_base ? seal_scanned(log, seg) : 1;
	}
	err = r->is_clean ? load_clean(r, seg) : 0;
	if (err)
		return err;
	if (r->is_clean) {
		uint64_t size = 0;

		/* load_clean() may have moved the sizes before it gave up. */
		sl_log(WARN, store, "scan cleanly closed log part=%s: files do not fit",
		       log->folder);
		r->is_clean = false;
		err = seg->is_sealed ? segment_unseal(log, seg) : 0;
		if (!err)
			err = log->files.ops->size(log->files.ctx, seg->fd, &size);
		if (err)
			return err;
		log->bytes += size - seg->bytes;
		seg->bytes = size;
	}
	err = scan_segment(r, seg);
	return err < 0 ? err : 1;
}

static int check_segments(struct recover *r)
{
	struct sl_log *log = r->log;
	int err = 0;

	if (log->segments_count == 0)
		return segment_create(log, r->checkpoint.log_start);
	for (uint32_t i = 0; i < log->segments_count && !err; i++) {
		err = check_segment(r, i);
		if (err > 0)
			err = drop_from(r, i + 1, "behind the cut");
	}
	return err;
}

/* Start, history and producers, now that the end is known. */
static int settle(struct recover *r)
{
	struct sl_log *log = r->log;
	bool is_changed;
	int err;

	log->end = log->active->end_offset;
	log->start = SL_MAX(log->segments[0]->base_offset, r->checkpoint.log_start);
	if (log->start > log->end) {
		/* All that is left was deleted by DeleteRecords: offsets must not be given twice.
		 */
		err = drop_from(r, 0, "below the log start offset");
		if (!err)
			err = segment_create(log, log->start);
		if (err)
			return err;
		log->end = log->start;
	}
	is_changed = epochs_cut_tail(&log->epochs, log->end);
	is_changed |= epochs_cut_head(&log->epochs, log->start);
	snapshot_cut(log, log->end);
	err = replay_producers(log, r->is_epochs_lost && log->end > log->start, r->now_ms);
	segment_close_unused(log, 0, NULL);
	if (err || log->epochs.count == 0)
		return err;
	if (is_changed || r->is_epochs_lost || r->is_epoch_found)
		return log_store_epochs(log);
	/* The last life may have ended between writing the file and syncing the folder. */
	if (r->was_scanned)
		log->folder_changes++;
	return 0;
}

/*
 * With a hot tier nothing is synced here: thousands of logs open after a crash.  What lies behind
 * the recovery point waits for the log's first group commit, which its owner begins soon.
 */
static int leave_dirty(struct recover *r)
{
	struct sl_log *log = r->log;

	if (r->is_point_good) {
		log->recovery_point = r->checkpoint.recovery_point;
		log->recovery_pos = (uint64_t)r->checkpoint.recovery_pos;
	}
	log->is_parent_dirty = log->end > log->recovery_point || log->bytes == 0;
	if (log->end > log->recovery_point) {
		log->flushed = SL_MAX(log->start, log->recovery_point);
		log->active->is_dirty = true;
		log->active->durable = r->is_point_good ? log->recovery_pos : 0;
		log->active->written_offset = log->end;
		log->unsynced = log->active->written - log->active->durable;
	}
	/* A point behind the end would vouch for what is written there next. */
	return r->checkpoint.recovery_point > log->end ? checkpoint_lower(log) : 0;
}

/* What was found by scanning is only known to be in the page cache: after this it is on the disk.
 */
static int make_durable(struct recover *r)
{
	struct sl_log *log = r->log;
	char path[STORE_PATH_MAX];
	int err;

	for (uint32_t i = 0; i < log->segments_count; i++) {
		log->segments[i]->written = log->segments[i]->bytes;
		log->segments[i]->durable = log->segments[i]->bytes;
	}
	log->flushed = log->end;
	log->recovery_point = log->active->base_offset;
	log->active->is_dirty = false;
	if (r->is_clean) {
		/* Of a log that was never written no sync has covered even the names. */
		log->is_parent_dirty = log->bytes == 0;
		return 0;
	}
	if (log->hot)
		return leave_dirty(r);
	if (log->bytes == 0 && log->start == 0) {
		/* Created, never written: as if it were new. */
		log->is_parent_dirty = true;
		return 0;
	}
	err = log->files.ops->sync(log->files.ctx, log->active->fd);
	if (!err)
		err = fileio_sync_path(&log->files, log->dirfd,
		                       log_path(log, LOG_METADATA_FILE, path), O_RDONLY);
	if (!err)
		err = checkpoint_lower(log);
	if (!err)
		err = fileio_sync_path(&log->files, log->dirfd, log->folder,
		                       O_RDONLY | O_DIRECTORY);
	if (!err)
		err = log->files.ops->sync(log->files.ctx, log->dirfd);
	log->folder_synced = log->folder_changes;
	return err;
}

int recover_log(struct sl_log *log, const struct sl_log_opts *opts, struct sl_log_recovery *report)
{
	struct recover r = {.log = log, .report = report, .now_ms = opts->now_ms};
	int err;

	err = check_topic_id(&r);
	if (!err)
		err = list_folder(&r);
	if (!err)
		err = load_small_files(&r, opts->was_clean);
	if (!err)
		err = add_segments(&r);
	if (!err)
		err = check_segments(&r);
	if (!err)
		err = settle(&r);
	if (!err)
		err = make_durable(&r);
	free(r.logs.offsets);
	free(r.indexes.offsets);
	free(r.aborted.offsets);
	free(r.swaps.offsets);
	free(r.buffer);
	return err;
}
