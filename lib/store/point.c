/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A checkpoint of a log in use, in three parts: the owner puts together what the files are to say,
 * any thread writes them, the owner learns of it.  In between nobody else touches these files: both
 * indexes of the active segment, the snapshots and the checkpoint.  Whoever has to waits first.
 */
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "fileio.h"
#include "log_impl.h"

#define POINT_FILES_MAX 4

enum point_way {
	POINT_AT,      /* into the file that is there */
	POINT_ANEW,    /* emptied, or made */
	POINT_REPLACE, /* made and renamed over the old one */
	POINT_SNAPSHOT,
};

struct point_file {
	enum point_way way;
	char path[STORE_PATH_MAX];
	size_t begin; /* in the buffer */
	size_t len;
	uint64_t pos; /* AT */
};

struct sl_log_point {
	struct sl_log *log; /* Borrowed; NULL: it knows the outcome */
	struct sl_files files;
	int dirfd;
	struct sl_buf buf;                       /* Owned */
	struct point_file list[POINT_FILES_MAX]; /* in the order in which they are written */
	uint32_t count;
	char spare[STORE_PATH_MAX]; /* what the snapshot may be written over; has_spare */
	bool has_spare;
	/* What the log has when all of them are written. */
	uint32_t offsets_count;
	uint32_t times_count;
	bool has_snapshot;
	int64_t end; /* of the log, which the snapshot tells of */
	int64_t recovery_point;
	uint64_t recovery_pos;
	uint32_t sequence;
	/* The thread's, until is_done. */
	int result;
	uint32_t written; /* files, before the one that failed */
	_Atomic bool is_done;
};

int sl_log_point_create(struct sl_log_point **out)
{
	struct sl_log_point *pt = calloc(1, sizeof(*pt));

	if (!pt)
		return -ENOMEM;
	sl_buf_init_grow(&pt->buf, SIZE_MAX);
	*out = pt;
	return 0;
}

void sl_log_point_destroy(struct sl_log_point *pt)
{
	if (!pt)
		return;
	SL_ASSERT(!pt->log);
	sl_buf_fini(&pt->buf);
	free(pt);
}

/* ---- Begin ---- */

/* What is put into the buffer from now on is the contents of the file @f. */
static struct point_file *add_file(struct sl_log_point *pt, enum point_way way)
{
	struct point_file *f = &pt->list[pt->count++];

	SL_ASSERT(pt->count <= POINT_FILES_MAX);
	f->way = way;
	f->begin = pt->buf.len;
	f->pos = 0;
	return f;
}

static void end_file(const struct sl_log_point *pt, struct point_file *f)
{
	f->len = pt->buf.len - f->begin;
}

/* Return: whether the file begins anew. */
static bool add_index(struct sl_log *log, struct sl_log_point *pt, const struct index_rest *rest,
                      const char *suffix)
{
	struct point_file *f;

	if (rest->len == 0 && !rest->is_anew)
		return false;
	f = add_file(pt, rest->is_anew ? POINT_ANEW : POINT_AT);
	segment_path(log, log->active->base_offset, suffix, f->path);
	f->pos = rest->pos;
	sl_buf_put(&pt->buf, rest->p, rest->len);
	end_file(pt, f);
	return rest->is_anew;
}

static void add_snapshot(struct sl_log *log, struct sl_log_point *pt)
{
	struct point_file *f;

	pt->has_snapshot = !snapshot_is_there(log);
	if (!pt->has_snapshot)
		return;
	pt->has_spare = snapshot_spare(log, pt->spare);
	f = add_file(pt, POINT_SNAPSHOT);
	segment_path(log, log->end, ".snapshot", f->path);
	snapshot_encode(log, &pt->buf);
	end_file(pt, f);
}

static void add_checkpoint(struct sl_log *log, struct sl_log_point *pt, bool is_anew)
{
	const struct checkpoint c = {
		.log_start = log->start,
		.recovery_point = pt->recovery_point,
		.recovery_pos = (int64_t)pt->recovery_pos,
		.clean_end = -1,
		.time_entries = pt->times_count,
	};
	char text[CHECKPOINT_SLOTS * CHECKPOINT_SLOT_BYTES];
	struct point_file *f;

	/* What an index had before may be of records that were lost or cut off, and come back with
	 * a power cut.  A rename is in the file system's order behind its end, a slot is not. */
	pt->sequence = checkpoint_sequence(log, is_anew);
	checkpoint_encode_file(&c, pt->sequence, text);
	f = add_file(pt, pt->sequence == 1 ? POINT_REPLACE : POINT_AT);
	log_path(log, LOG_CHECKPOINT_FILE, f->path);
	if (f->way == POINT_AT) {
		f->pos = checkpoint_slot(pt->sequence);
		sl_buf_put(&pt->buf, text + f->pos, CHECKPOINT_SLOT_BYTES);
	} else {
		sl_buf_put(&pt->buf, text, sizeof(text));
	}
	end_file(pt, f);
}

/* The indexes and the producers may say more than is durable yet; recovery cuts that off. */
int sl_log_point_begin(struct sl_log *log, struct sl_log_point *pt)
{
	const struct segment *seg = log->active;
	struct index_rest offsets, times;
	bool is_anew;

	SL_ASSERT(!log->point && !pt->log);
	if (log->error)
		return log->error;
	if (!log->hot || log->flushed <= log->recovery_point || log->flushed < seg->base_offset)
		return 0;
	sl_buf_reset(&pt->buf);
	pt->files = log->files;
	pt->dirfd = log->dirfd;
	pt->count = 0;
	pt->offsets_count = seg->offsets.count;
	pt->times_count = seg->times.count;
	pt->end = log->end;
	pt->recovery_point = log->flushed;
	pt->recovery_pos = seg->durable;
	offsets = index_offset_rest(&seg->offsets);
	times = index_time_rest(&seg->times);
	is_anew = add_index(log, pt, &offsets, ".index");
	is_anew |= add_index(log, pt, &times, ".timeindex");
	add_snapshot(log, pt);
	add_checkpoint(log, pt, is_anew);
	if (!sl_buf_ok(&pt->buf))
		return -ENOMEM;
	atomic_store_explicit(&pt->is_done, false, memory_order_relaxed);
	pt->log = log;
	log->point = pt;
	return 1;
}

/* ---- Run ---- */

static int write_one(const struct sl_log_point *pt, const struct point_file *f)
{
	const uint8_t *p = pt->buf.p + f->begin;

	switch (f->way) {
	case POINT_AT:
		return fileio_write_at(&pt->files, pt->dirfd, f->path, p, f->len, f->pos);
	case POINT_ANEW:
		return fileio_store(&pt->files, pt->dirfd, f->path, p, f->len);
	case POINT_REPLACE:
		return fileio_replace(&pt->files, pt->dirfd, f->path, p, f->len, false);
	case POINT_SNAPSHOT:
		return snapshot_write(&pt->files, pt->dirfd, pt->has_spare ? pt->spare : NULL,
		                      f->path, p, f->len);
	}
	return -EINVAL;
}

void sl_log_point_run(struct sl_log_point *pt)
{
	pt->result = 0;
	for (pt->written = 0; pt->written < pt->count; pt->written++) {
		pt->result = write_one(pt, &pt->list[pt->written]);
		if (pt->result)
			break;
	}
	/* Release: pairs with point_settle(). */
	atomic_store_explicit(&pt->is_done, true, memory_order_release);
}

/* ---- End ---- */

static void take(struct sl_log *log, const struct sl_log_point *pt)
{
	struct segment *seg = log->active;

	if (pt->result == -ENOENT && pt->list[pt->written].way == POINT_AT) {
		/* Somebody has removed the file: all of them begin anew with the next one. */
		seg->offsets.is_stored = seg->times.is_stored = false;
		return;
	}
	if (pt->result) {
		(void)log_fail(log, pt->result, "write checkpoint");
		return;
	}
	index_stored(&seg->offsets, pt->offsets_count);
	index_stored(&seg->times, pt->times_count);
	if (pt->has_snapshot)
		snapshot_stored(log, pt->end, pt->has_spare);
	log->recovery_point = pt->recovery_point;
	log->recovery_pos = pt->recovery_pos;
	log->checkpoint_sequence = pt->sequence;
	log->is_checkpoint_clean = false;
	/* Nothing here has to survive a power cut, an older checkpoint serves as well: the folder's
	 * changes are not counted. */
}

void point_settle(struct sl_log *log)
{
	struct sl_log_point *pt = log->point;

	if (!pt)
		return;
	/* Acquire: pairs with sl_log_point_run(). */
	while (!atomic_load_explicit(&pt->is_done, memory_order_acquire))
		sched_yield();
	log->point = NULL;
	pt->log = NULL;
	take(log, pt);
}

void sl_log_point_end(struct sl_log_point *pt)
{
	if (pt->log)
		point_settle(pt->log);
}

int sl_log_checkpoint(struct sl_log *log)
{
	struct sl_log_point *pt;
	int rc = sl_log_point_create(&pt);

	if (rc)
		return rc;
	rc = sl_log_point_begin(log, pt);
	if (rc > 0) {
		sl_log_point_run(pt);
		sl_log_point_end(pt);
		rc = log->error ? log->error : 1;
	}
	sl_log_point_destroy(pt);
	return rc;
}
