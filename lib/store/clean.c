/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cleaner's side of a cleaning: keys of the dirty segments into the map, then group by group of
 * segments what is to be kept into a new one.  Runs on the cleaner's thread, which may sleep; of
 * the log it knows only what its owner took down, and files that nobody changes any more.
 */
#include "sluice/store/clean.h"

#include <errno.h>
#include <stdlib.h>

#include "clean_impl.h"
#include "fileio.h"

#define WINDOW_BYTES_MIN 4096u
/* Records of one batch, decompressed: the codecs' own limit and what the arena needs beside. */
#define ARENA_BYTES      (((size_t)256 << 20) + 4096)

struct sl_cleaner {
	struct sl_cleaner_opts opts;
	struct clean_map map;
	struct sl_codec_ctx *codec; /* Owned */
	struct sl_arena arena;      /* Owned */
	uint8_t *in; /* Owned; as large as the largest batch so far in this cleaning */
	size_t in_cap;
	uint8_t *out; /* Owned */
	struct clean_filter filter;
	bool has_filter; /* the filter is that of the cleaning under way */
};

int sl_cleaner_create(struct sl_cleaner **out, const struct sl_cleaner_opts *opts)
{
	const struct sl_codec_opts codec_opts = {0};
	struct sl_cleaner *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	w->opts = *opts;
	w->opts.window_bytes = SL_MAX(opts->window_bytes, WINDOW_BYTES_MIN);
	w->in_cap = w->opts.window_bytes;
	w->in = malloc(w->in_cap);
	w->out = malloc(w->opts.window_bytes);
	err = w->in && w->out ? clean_map_init(&w->map, opts->map_bytes) : -ENOMEM;
	if (!err)
		err = sl_codec_ctx_create(&w->codec, &codec_opts);
	if (!err)
		err = sl_arena_create(&w->arena, ARENA_BYTES);
	if (err) {
		sl_cleaner_destroy(w);
		return err;
	}
	*out = w;
	return 0;
}

/* The filter's state is that of one pass over the whole log. */
static void end_pass(struct sl_cleaner *w)
{
	if (w->has_filter)
		clean_filter_fini(&w->filter);
	w->has_filter = false;
}

void sl_cleaner_destroy(struct sl_cleaner *w)
{
	if (!w)
		return;
	end_pass(w);
	clean_map_fini(&w->map);
	sl_codec_ctx_destroy(w->codec);
	sl_arena_destroy(&w->arena);
	free(w->in);
	free(w->out);
	free(w);
}

/* Memory that one large batch has touched is not kept for the next cleaning. */
static void shrink(struct sl_cleaner *w)
{
	uint8_t *p;

	sl_arena_trim(&w->arena, 0);
	if (w->in_cap <= w->opts.window_bytes)
		return;
	p = realloc(w->in, w->opts.window_bytes);
	if (!p)
		return;
	w->in = p;
	w->in_cap = w->opts.window_bytes;
}

/* ---- Pass one: keys ---- */

/* Return: 1 all of the batch's keys are in the map; 0 it is full; -errno. */
static int map_batch(struct sl_clean *c, struct sl_cleaner *w, const void *p,
                     const struct sl_batch_head *head)
{
	int64_t next = head->base_offset;
	struct sl_record_iter it;
	struct sl_record r;
	int err;

	sl_arena_reset(&w->arena);
	err = sl_record_iter_init(&it, p, head, w->codec, &w->arena);
	if (err)
		return err == -ENOMEM ? err : -EBADMSG;
	while ((err = sl_record_iter_next(&it, &r)) > 0) {
		if (r.offset < next || r.offset > sl_batch_last_offset(head))
			return -EBADMSG;
		next = r.offset + 1;
		if (r.key.len >= 0 && r.offset >= c->first_dirty &&
		    !clean_map_put(&w->map, r.key, r.offset))
			return 0;
	}
	return err < 0 ? err : 1;
}

/* Return: 1 go on; 0 the map is full; -errno. */
static int map_next(struct sl_clean *c, struct sl_cleaner *w, struct clean_txn *txn, const void *p,
                    const struct sl_batch_head *head)
{
	int rc;

	if (sl_batch_is_control(head)) {
		rc = clean_txn_control(txn, p, head);
		return rc < 0 ? rc : 1;
	}
	rc = clean_txn_data(txn, head);
	/* Records of an aborted transaction were never there. */
	if (rc != 0 || sl_batch_last_offset(head) < c->first_dirty)
		return rc < 0 ? rc : 1;
	return map_batch(c, w, p, head);
}

/* Return: 1 the whole segment is in the map; 0 it is full; -errno. */
static int map_segment(struct sl_clean *c, struct sl_cleaner *w, struct clean_txn *txn,
                       const struct clean_source *source)
{
	const struct clean_io io = {c, &w->opts};
	int64_t next = source->base_offset;
	bool is_full = false;
	struct clean_reader reader;
	struct sl_batch_head head;
	const void *p;
	int rc = clean_reader_open(&reader, &io, source, &w->in, &w->in_cap);

	if (rc < 0)
		return rc;
	while ((rc = clean_reader_next(&reader, &p, &head)) > 0) {
		c->stats.bytes_read += sl_batch_bytes(&head);
		rc = head.base_offset < next || sl_batch_last_offset(&head) >= source->end_offset
		             ? -EBADMSG
		             : map_next(c, w, txn, p, &head);
		is_full = rc == 0;
		if (rc <= 0)
			break;
		next = sl_batch_last_offset(&head) + 1;
		c->clean_end = SL_MAX(c->clean_end, next);
	}
	/* The reader's own end is 0, too, and then all of the segment must be there. */
	if (rc == 0 && reader.pos + reader.at == source->bytes && !is_full)
		rc = next == source->end_offset ? 1 : -EBADMSG;
	clean_reader_close(&reader);
	return rc;
}

static int build_map(struct sl_clean *c, struct sl_cleaner *w)
{
	struct clean_txn txn;
	int rc = 1;

	clean_map_clear(&w->map);
	end_pass(w);
	clean_txn_init(&txn, c->aborted, c->aborted_count);
	c->clean_end = c->first_dirty;
	for (uint32_t i = 0; i < c->sources_count && rc > 0; i++)
		if (c->sources[i].end_offset > c->first_dirty)
			rc = map_segment(c, w, &txn, &c->sources[i]);
	clean_txn_fini(&txn);
	if (rc < 0)
		return rc;
	/* Not a batch more than before: it would be tried again and again. */
	if (c->clean_end == c->first_dirty)
		return -ENOBUFS;
	c->stats.map_ppm = (uint32_t)(w->map.count * SL_CLEAN_PPM / w->map.count_max);
	c->phase = CLEAN_GROUP;
	return 0;
}

/* ---- Pass two: groups ---- */

/* The next segments that fit into one, as many as begin below the end of what is cleaned. */
static bool next_group(struct sl_clean *c)
{
	struct clean_group *g = &c->group;
	const struct clean_source *first;
	uint32_t aborted = 0;
	uint64_t bytes = 0;

	g->first += g->count;
	g->count = 0;
	first = &c->sources[g->first];
	while (g->first + g->count < c->sources_count && g->count < STORE_CLEAN_GROUP_MAX) {
		const struct clean_source *s = &first[g->count];

		if (s->base_offset >= c->clean_end)
			break;
		if (g->count > 0 && (bytes + s->bytes > c->segment_bytes ||
		                     aborted + s->aborted_count > STORE_ABORTED_ROLL ||
		                     s->end_offset - 1 - first->base_offset > INT32_MAX))
			break;
		bytes += s->bytes;
		aborted += s->aborted_count;
		g->count++;
	}
	return g->count > 0;
}

/* A batch becomes part of the new segment. */
static int put(struct sl_clean *c, struct clean_writer *out, const struct clean_verdict *v)
{
	struct walk_batch batch = {.pos = c->made.bytes, .bytes = (uint32_t)v->bytes};
	int err = sl_batch_peek(v->p, v->bytes, &batch.head);

	SL_ASSERT(!err && sl_batch_bytes(&batch.head) == v->bytes);
	/* A position is 32 bits.  Delete horizons may make a segment a little larger than it was.
	 */
	if (c->made.bytes + v->bytes > UINT32_MAX)
		return -EFBIG;
	segment_feed(&c->made, &batch, c->index_interval_bytes);
	return clean_writer_put(out, v->p, v->bytes);
}

static int clean_segment(struct sl_clean *c, struct sl_cleaner *w,
                         const struct clean_source *source, bool is_last, struct clean_writer *out,
                         bool *is_changed)
{
	const struct clean_io io = {c, &w->opts};
	struct clean_reader reader;
	struct sl_batch_head head = {.base_offset = source->base_offset, .last_offset_delta = -1};
	const void *p;
	int rc = clean_reader_open(&reader, &io, source, &w->in, &w->in_cap);

	if (rc < 0)
		return rc;
	while ((rc = clean_reader_next(&reader, &p, &head)) > 0) {
		const int64_t end = sl_batch_last_offset(&head) + 1;
		struct clean_verdict v;

		c->stats.bytes_read += sl_batch_bytes(&head);
		rc = head.base_offset < c->made.end_offset || end > source->end_offset ||
		                     end - 1 - c->made.base_offset > INT32_MAX
		             ? -EBADMSG
		             : clean_filter_batch(&w->filter, p, &head,
		                                  is_last && end == source->end_offset, &v);
		if (rc == 0 && v.bytes > 0)
			rc = put(c, out, &v);
		if (rc < 0)
			break;
		*is_changed |= v.p != p || v.bytes == 0;
	}
	clean_reader_close(&reader);
	/* A hole: what lies behind it must not move to where it was. */
	if (rc == 0 && sl_batch_last_offset(&head) + 1 != source->end_offset)
		rc = -EBADMSG;
	return rc;
}

static int store_indexes(struct sl_clean *c)
{
	struct segment *seg = &c->made;
	char path[STORE_PATH_MAX];
	int err;

	segment_end_times(seg);
	err = index_offset_store(&seg->offsets, &c->files, c->dirfd,
	                         clean_path(c, seg->base_offset, ".index.cleaned", path));
	if (!err)
		err = index_time_store(&seg->times, &c->files, c->dirfd,
		                       clean_path(c, seg->base_offset, ".timeindex.cleaned", path));
	if (!err)
		err = txnindex_write(&c->files, c->dirfd,
		                     clean_path(c, seg->base_offset, ".txnindex.cleaned", path),
		                     seg);
	return err;
}

/* The aborted transactions whose markers are in the new segment, and data of theirs somewhere. */
static int list_aborted(struct sl_clean *c, const struct clean_txn *txn)
{
	struct segment *seg = &c->made;
	int err = 0;

	txnindex_begin(seg);
	for (uint32_t i = 0; i < txn->kept_count && !err; i++) {
		const struct sl_txnindex_entry entry = {
			.producer_id = txn->kept[i].producer_id,
			.first_offset = txn->kept[i].first_offset,
			.last_offset = txn->kept[i].last_offset,
		};

		SL_ASSERT(entry.last_offset >= seg->base_offset);
		SL_ASSERT(entry.last_offset < seg->end_offset);
		err = aborted_reserve(&seg->aborted);
		if (!err)
			aborted_add(&seg->aborted, &entry);
	}
	seg->aborted_first = aborted_first(&seg->aborted);
	seg->open_first = c->sources[c->group.first + c->group.count - 1].open_first;
	seg->is_aborted_known = true;
	return err;
}

/* The new segment of c->group, up to its name in the folder, on stable storage. */
static int make_segment(struct sl_clean *c, struct sl_cleaner *w, bool *is_changed)
{
	const struct clean_io io = {c, &w->opts};
	const struct clean_source *sources = &c->sources[c->group.first];
	struct clean_writer out;
	char path[STORE_PATH_MAX];
	int err;

	segment_reset(&c->made);
	c->made.base_offset = sources[0].base_offset;
	c->made.end_offset = sources[0].base_offset;
	*is_changed = c->group.count > 1;
	w->filter.txn.kept_count = 0;
	err = clean_writer_open(&out, &io,
	                        clean_path(c, sources[0].base_offset, ".log.cleaned", path), w->out,
	                        w->opts.window_bytes);
	for (uint32_t i = 0; i < c->group.count && !err; i++)
		err = clean_segment(c, w, &sources[i], i + 1 == c->group.count, &out, is_changed);
	if (!err && *is_changed) {
		err = clean_writer_close(&out);
		if (!err)
			err = list_aborted(c, &w->filter.txn);
		if (!err)
			err = store_indexes(c);
		if (!err)
			err = fileio_sync_path(&c->files, c->dirfd, c->folder,
			                       O_RDONLY | O_DIRECTORY);
	}
	clean_writer_drop(&out);
	index_fini(&c->made.offsets);
	index_fini(&c->made.times);
	aborted_fini(&c->made.aborted);
	return err;
}

/* Return: 1 the owner is to swap; 0 go on; -errno. */
static int clean_group(struct sl_clean *c, struct sl_cleaner *w)
{
	bool is_changed;
	int err;

	if (!w->has_filter) {
		clean_filter_init(&w->filter, c, &w->map);
		w->filter.codec = w->codec;
		w->filter.arena = &w->arena;
		w->has_filter = true;
	}
	if (!next_group(c)) {
		c->phase = CLEAN_DONE;
		return 0;
	}
	err = make_segment(c, w, &is_changed);
	for (uint32_t i = 0; i < c->group.count; i++)
		c->stats.bytes_scanned += c->sources[c->group.first + i].bytes;
	c->stats.bytes_written += c->made.bytes;
	c->stats.segments_before += c->group.count;
	c->stats.segments_after++;
	c->stats.records_read = w->filter.records_read;
	c->stats.records_kept = w->filter.records_kept;
	c->stats.records_keyless = w->filter.records_keyless;
	if (!err && is_changed) {
		c->phase = CLEAN_SWAP;
		return 1;
	}
	clean_discard(c, c->made.base_offset);
	return err;
}

/* ---- Both ---- */

/* The renames of a swap: only then may the old files go. */
static int settle(struct sl_clean *c)
{
	int err = fileio_sync_path(&c->files, c->dirfd, c->folder, O_RDONLY | O_DIRECTORY);

	if (err)
		return err;
	c->is_settled = true;
	c->phase = CLEAN_GROUP;
	return 0;
}

static int step(struct sl_clean *c, struct sl_cleaner *w)
{
	switch (c->phase) {
	case CLEAN_MAP:
		return build_map(c, w);
	case CLEAN_GROUP:
		return clean_group(c, w);
	case CLEAN_SETTLE:
		return settle(c);
	case CLEAN_SWAP:
		/* The owner has not swapped, and says why. */
		SL_ASSERT(c->error < 0);
		clean_discard(c, c->made.base_offset);
		return c->error;
	case CLEAN_DONE:
	case CLEAN_PHASE_NR:
		break;
	}
	SL_ASSERT(!"a phase of a cleaning that goes on");
	return -EINVAL;
}

int sl_clean_run(struct sl_clean *c, struct sl_cleaner *w)
{
	int rc = 0;

	SL_ASSERT(c->phase != CLEAN_DONE);
	while (rc == 0 && c->phase != CLEAN_DONE)
		rc = sl_clean_is_cancelled(c) && !c->error ? -ECANCELED : step(c, w);
	if (rc == 1)
		return 1;
	end_pass(w);
	clean_map_clear(&w->map);
	shrink(w);
	return rc;
}

void sl_clean_cancel(struct sl_clean *c)
{
	atomic_store_explicit(&c->is_cancelled, true, memory_order_relaxed);
}

bool sl_clean_is_cancelled(const struct sl_clean *c)
{
	return atomic_load_explicit(&c->is_cancelled, memory_order_relaxed);
}

void sl_clean_stats(const struct sl_clean *c, struct sl_clean_stats *out)
{
	*out = c->stats;
}
