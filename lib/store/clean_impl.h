/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a cleaning, shared by the files clean*.c. */
#ifndef STORE_CLEAN_IMPL_H
#define STORE_CLEAN_IMPL_H

#include <stdatomic.h>

#include "sluice/base/arena.h"
#include "sluice/base/buf.h"
#include "sluice/base/hash.h"
#include "sluice/store/clean.h"
#include "sluice/wire/batch.h"

#include "clean_map.h"
#include "log_impl.h"

/* ---- What the owner takes down ---- */

/* A closed segment, all of it on stable storage. */
struct clean_source {
	int64_t base_offset;
	int64_t end_offset;
	uint64_t bytes;
	uint32_t aborted_count; /* transactions whose markers lie in it */
	int64_t open_first;     /* of the oldest transaction open at its end; ABORTED_NONE */
};

#define CLEAN_MARKER_ANY INT64_C(-2) /* nobody knows which marker was the last: all stay */

/* The batches that hold what a producer did last: they stay, data without records if need be. */
struct clean_producer {
	int64_t producer_id;
	int64_t data_offset;   /* last one of its last batch of data */
	int64_t marker_offset; /* of its last marker, with the coordinator's epoch; -1: none */
};

/* A transaction that was aborted: its batches of data from first_offset on go. */
struct clean_aborted {
	int64_t producer_id;
	int64_t first_offset;
	int64_t last_offset; /* of its marker */
};

/* Which segments become one; as many as the owner renames in one go. */
struct clean_group {
	uint32_t first;
	uint32_t count;
};

/*
 * X(name): where a cleaning stands.  sl_clean_run() moves it on, but for SWAP, which is the
 * owner's.
 */
#define CLEAN_PHASES(X)                                                                       \
	X(MAP)    /* the keys of the dirty segments are still to be read */                   \
	X(GROUP)  /* the next group is to be cleaned */                                       \
	X(SWAP)   /* its new segment lies there as ".cleaned", on stable storage */           \
	X(SETTLE) /* it has the place of the old ones, but maybe not on stable storage yet */ \
	X(DONE)

#define CLEAN_PHASE_ENUM_(s) CLEAN_##s,
enum clean_phase {
	CLEAN_PHASES(CLEAN_PHASE_ENUM_) CLEAN_PHASE_NR
};
#undef CLEAN_PHASE_ENUM_

struct sl_clean {
	/* The owner's word; constant afterwards. */
	struct sl_files files;
	int dirfd;
	int64_t now_ms;
	int64_t first_dirty;
	int64_t end; /* of the last source */
	int64_t delete_retention_ms;
	uint64_t segment_bytes;
	uint64_t index_interval_bytes;
	struct clean_source *sources; /* Owned; from the log's first segment on */
	uint32_t sources_count;
	struct clean_producer *producers; /* Owned; by id */
	uint32_t producers_count;
	struct clean_aborted *aborted; /* Owned; by first offset */
	uint32_t aborted_count;
	uint32_t truncations; /* of the log, before */
	_Atomic bool is_cancelled;
	/* Whoever has it. */
	enum clean_phase phase;
	int error;         /* -errno of the owner: why it did not swap */
	int64_t clean_end; /* what the map covers ends here */
	struct clean_group group;
	struct segment made; /* of the group; its lists only until they are stored */
	uint32_t settle;     /* log->folder_changes after the last swap */
	bool is_settled;     /* that is on stable storage */
	struct sl_clean_stats stats;
	char folder[]; /* "<topic>-<partition>" */
};

/* "<folder>/<20 digits><suffix>". */
const char *clean_path(const struct sl_clean *c, int64_t base_offset, const char *suffix,
                       char path[STORE_PATH_MAX]);
/* Removes the files of a new segment that is not wanted. */
void clean_discard(const struct sl_clean *c, int64_t base_offset);

/* ---- clean_txn.c ---- */

/*
 * Transactions as one pass meets them.  Zeroed memory is a pass that has met none.
 */
struct clean_txn {
	const struct clean_aborted *aborted; /* Borrowed */
	uint32_t aborted_count;
	uint32_t next;         /* of aborted: not begun yet */
	struct sl_map ongoing; /* struct clean_ongoing, Owned; by producer id */
	/* Transactions whose abort marker stays for the sake of batches that this pass met: what
	 * the new segment's index of aborted transactions has to name.  By their markers. */
	struct clean_aborted *kept; /* Owned */
	uint32_t kept_count;
	uint32_t kept_cap;
};

void clean_txn_init(struct clean_txn *txn, const struct clean_aborted *aborted, uint32_t count);
void clean_txn_fini(struct clean_txn *txn);
/* A batch of data.  Return: 1 it belongs to an aborted transaction; 0 not; -ENOMEM. */
int clean_txn_data(struct clean_txn *txn, const struct sl_batch_head *head) SL_MUST_CHECK;
/* A control batch.  Return: 1 its transaction has no data any more, it goes when its time has come;
 * 0 it stays; -EBADMSG; -ENOMEM. */
int clean_txn_control(struct clean_txn *txn, const void *p,
                      const struct sl_batch_head *head) SL_MUST_CHECK;

/* ---- clean_filter.c ---- */

/* What one pass over all records needs to judge them. */
struct clean_filter {
	const struct sl_clean *clean;
	const struct clean_map *map;
	struct clean_txn txn;
	struct sl_codec_ctx *codec; /* Borrowed */
	struct sl_arena *arena;     /* Borrowed; for decompressed records */
	struct sl_buf records;      /* Owned; kept ones, not compressed */
	struct sl_buf batch;        /* Owned; what a batch becomes */
	uint64_t records_read;
	uint64_t records_kept;
	uint64_t records_keyless;
};

/* What becomes of a batch: bytes 0, nothing; p the batch itself, everything; else the filter's own
 * memory until the next one. */
struct clean_verdict {
	const void *p;
	size_t bytes;
};

void clean_filter_init(struct clean_filter *f, const struct sl_clean *c,
                       const struct clean_map *map);
void clean_filter_fini(struct clean_filter *f);
/**
 * clean_filter_batch() - keep of a batch what has to be kept
 * @p: whole, with a good checksum; the batches of a log come in order
 * @is_last: of its group: an empty batch stays at least, so that the new segment ends where the
 * next one begins Return: 0; -EBADMSG its records cannot be read; -ENOMEM.
 */
int clean_filter_batch(struct clean_filter *f, const void *p, const struct sl_batch_head *head,
                       bool is_last, struct clean_verdict *out) SL_MUST_CHECK;

/* ---- clean_io.c ---- */

/* What files are worked on through. */
struct clean_io {
	const struct sl_clean *clean;
	const struct sl_cleaner_opts *opts;
};

/* Whole batches of a segment, one after the other, checksums included. */
struct clean_reader {
	struct clean_io io;
	int fd;
	uint64_t pos; /* in the file, of p */
	uint64_t end;
	uint8_t **window; /* Borrowed; may be made larger */
	size_t *window_cap;
	size_t len; /* read into the window */
	size_t at;  /* of it, dealt with */
};

int clean_reader_open(struct clean_reader *r, const struct clean_io *io,
                      const struct clean_source *source, uint8_t **window,
                      size_t *window_cap) SL_MUST_CHECK;
/* Return: 1 and a batch; 0 the end; -EBADMSG; -ECANCELED; -errno. */
int clean_reader_next(struct clean_reader *r, const void **p,
                      struct sl_batch_head *head) SL_MUST_CHECK;
void clean_reader_close(struct clean_reader *r);

/* A new file, written from its beginning. */
struct clean_writer {
	struct clean_io io;
	int fd; /* -1: not open */
	uint64_t written;
	uint64_t synced;
	uint8_t *window; /* Borrowed */
	size_t window_cap;
	size_t len;
};

int clean_writer_open(struct clean_writer *w, const struct clean_io *io, const char *path,
                      uint8_t *window, size_t window_cap) SL_MUST_CHECK;
int clean_writer_put(struct clean_writer *w, const void *p, size_t bytes) SL_MUST_CHECK;
/* Everything on stable storage; closed whatever it returns. */
int clean_writer_close(struct clean_writer *w) SL_MUST_CHECK;
/* Closed, whatever is in it. */
void clean_writer_drop(struct clean_writer *w);

/* ---- clean_aborted.c ---- */

/* Nothing at or above it may be cleaned, whatever the caller took for the last stable offset. */
int64_t clean_stable(const struct sl_log *log, int64_t stable);
/* Fills c->aborted with the transactions that began below c->end and were aborted, by first offset,
 * and tells the sources of theirs.  -ENOMEM; -errno of reading their indexes. */
int clean_take_aborted(struct sl_log *log, struct sl_clean *c) SL_MUST_CHECK;
/* Fills c->producers. */
int clean_take_producers(const struct sl_log *log, struct sl_clean *c) SL_MUST_CHECK;

#endif
