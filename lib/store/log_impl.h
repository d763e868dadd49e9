/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a partition log, shared by the files of this folder and by nobody else. */
#ifndef STORE_LOG_IMPL_H
#define STORE_LOG_IMPL_H

#include <fcntl.h>

#include "sluice/base/assert.h"
#include "sluice/base/list.h"
#include "sluice/base/log.h"
#include "sluice/store/hot.h"
#include "sluice/store/log.h"

#include "aborted.h"
#include "bounds.h"
#include "epochs.h"
#include "index.h"
#include "producers.h"
#include "walk.h"

#define LOG_EPOCHS_FILE      "leader-epoch-checkpoint"
#define LOG_METADATA_FILE    "partition.metadata"
#define LOG_CHECKPOINT_FILE  "sluice-checkpoint"
#define LOG_CLEAN_FILE       "sluice-cleaner-checkpoint"
#define LOG_LOCK_FILE        ".lock" /* of the log dir */

#define CLEAN_OFFSET_UNKNOWN INT64_C(-1) /* not read from its file yet */

#define SEGMENT_TIME_NONE    INT64_C(-1) /* no record has a timestamp */
#define SEGMENT_TIME_UNKNOWN INT64_MIN   /* not read from the time index yet */

/* A segment's descriptor for write-out.  In a write: open and in no list. */
struct direct {
	struct sl_list link; /* of the pool's directs */
	const struct sl_files *files;
	int fd; /* -1: closed */
};

/*
 * One segment.  States: active (the last one of its log: fd open, indexes in memory only), sealed
 * (indexes on disk; fd -1, or open and on the log's list), doomed (renamed to ".deleted", out of
 * the log's array, waiting for its delay and its last reference).
 */
struct segment {
	struct sl_list
		link; /* sealed and open: log->opened, last used first; doomed: log->doomed */
	int64_t base_offset;
	int64_t end_offset;    /* behind its last batch; base_offset when empty */
	uint64_t bytes;        /* of complete batches; the file may have a torn tail behind them */
	int64_t first_time_ms; /* largest timestamp of its first batch */
	int64_t void_time_ms;  /* largest of batches that compaction has emptied */
	int64_t max_time_ms;
	int64_t max_time_offset; /* last offset of the batch that brought max_time_ms */
	int64_t since_ms;        /* wall clock of its first append; 0: empty */
	int64_t doomed_ms;       /* when the files may be unlinked */
	/* With a hot tier: the newest bytes, struct sl_hot_chunk.link by pos.  What no chunk holds
	 * is in the file, durable. */
	struct sl_list hot;
	uint64_t written;       /* the file holds everything below */
	uint64_t durable;       /* of it, this is on stable storage */
	int64_t written_offset; /* log offset at @written, once something was */
	uint64_t allocated;     /* size of the file: blocks ahead of what is written */
	struct index offsets;
	struct index times; /* of the active segment only */
	/* Aborted transactions whose markers lie in it; in memory while has_aborted. */
	struct aborted aborted;
	int64_t aborted_first;    /* smallest first offset of them; ABORTED_NONE */
	int64_t open_first;       /* of the oldest transaction open at its end; ABORTED_NONE */
	uint64_t index_gap_bytes; /* appended since the last index entry */
	uint32_t refs;            /* ranges and syncs; all of the owner's core */
	uint32_t swap_change;     /* was_swapped: log->folder_changes that says so */
	struct direct direct;
	int fd;           /* -1: closed */
	int parked_fd;    /* read-only descriptor that references still use; -1: none */
	bool is_writable; /* fd was opened for writing */
	bool is_sealed;
	bool is_dirty; /* has bytes that no sync covered */
	bool is_doomed;
	bool was_swapped;      /* doomed, and another segment has its name and its records */
	bool has_offsets;      /* the offset index is in memory */
	bool has_aborted;      /* the list of aborted transactions is in memory */
	bool is_aborted_known; /* sealed: aborted_first and open_first are */
	bool is_aborted_lost;  /* sealed: no file has the list, replay_producers() finds it */
	bool was_used;         /* since the last tick */
};

/* Where a batch lies in its segment. */
struct log_place {
	int64_t base_offset;
	int64_t last_offset;
	uint32_t pos;
	uint32_t bytes;
};

/* What the files held when a sync of the whole file system was about to begin. */
struct log_mark {
	bool is_set;
	int64_t base_offset; /* of the last segment with bytes in its file */
	uint64_t pos;        /* so many of them */
	int64_t offset;      /* the log's, there */
	uint32_t folder_changes;
};

struct sl_log {
	struct sl_files files;
	int dirfd; /* Borrowed: the log dir. */
	int error; /* first failed write or sync; final */
	int64_t start;
	int64_t end;
	int64_t flushed;
	struct segment *active;    /* segments[segments_count - 1] */
	struct segment **segments; /* Owned. By base offset. */
	uint32_t segments_count;
	uint32_t segments_cap;
	uint32_t tail_next; /* batches ever put into tail since it was emptied */
	/* The last batches of the active segment, so that fetches at the tail need no disk read. */
	struct log_place tail[STORE_TAIL_BATCHES];
	struct sl_log_config config;
	struct epochs epochs;
	struct producers producers;
	uint64_t bytes;
	int64_t now_ms;         /* latest wall clock the caller told */
	int64_t recovery_point; /* everything below it is on stable storage */
	uint64_t recovery_pos;  /* its position, in the segment that contains it; 0: at its base */
	struct sl_list opened;
	uint32_t opened_count;
	struct sl_list doomed;
	/* Hot tier. */
	struct sl_recycler *recycler;    /* Borrowed; NULL: none */
	struct sl_hot_pool *hot;         /* NULL: through the page cache */
	struct sl_hot_chunk *tail_chunk; /* of the active segment, takes appends; NULL: none */
	size_t chunk_bytes;              /* size of the last one */
	struct sl_hot_chunk *reserved;   /* holds the reservation; NULL: none */
	struct segment *reserved_segment;
	uint8_t *reserved_at;
	size_t reserved_bytes;
	struct sl_hot_chunk *writing; /* first of the running write-out; NULL: it has none */
	struct sl_hot_chunk *writing_last;
	uint64_t writing_end;   /* what will be written of its segment */
	int64_t writing_offset; /* the log's offset there */
	uint64_t syncing_pos;   /* what the running sync makes durable of its segment */
	uint64_t unwritten;     /* bytes in memory only */
	uint64_t unsynced;      /* bytes in files that no sync has covered */
	bool is_disk_full;      /* the last write-out got no blocks: the lane gets the next one's */
	bool is_buffered;       /* the file system refuses O_DIRECT */
	struct log_mark mark;
	/* Group commit. */
	int sync_aux[3]; /* descriptors opened for the running sync; Owned. */
	uint32_t sync_aux_count;
	uint32_t folder_changes; /* files created or renamed in the folder */
	uint32_t folder_synced;  /* folder_changes that a sync has covered */
	uint32_t sync_folder;    /* folder_changes that the running sync covers */
	bool is_parent_dirty; /* the folder itself or its topic id may not be on stable storage */
	bool is_sync_running;
	bool is_sync_void; /* a truncation came in between: the running sync proves nothing */
	bool is_checkpoint_clean; /* the checkpoint on disk says "closed cleanly" */
	bool is_epochs_unsaved;   /* the history in memory is ahead of its file */
	/* Compaction. */
	struct sl_clean *cleaning;  /* under way; NULL: none.  Its own, until sl_log_clean_end(). */
	int64_t clean_offset;       /* everything below was cleaned; CLEAN_OFFSET_UNKNOWN */
	uint32_t truncations;       /* how often a tail was cut off */
	struct sl_log_point *point; /* Borrowed; a checkpoint that is being written; NULL: none */
	uint32_t checkpoint_sequence; /* of the newer slot; 0: the next one is a new file */
	int64_t snapshots[STORE_SNAPSHOTS_KEPT + 1]; /* offsets of snapshot files, rising */
	uint32_t snapshots_count;
	int32_t partition;
	struct sl_uuid topic_id;
	uint32_t topic_len; /* of folder */
	char folder[];      /* "<topic>-<partition>" */
};

/* ---- dir.c ---- */

/* The door to the disk that holds the log dir. */
const struct sl_files *dir_files(const struct sl_log_dir *dir);

/* ---- log.c ---- */

/* "<folder>/<name>" for openat(2); @path is returned. */
const char *log_path(const struct sl_log *log, const char *name, char path[STORE_PATH_MAX]);
/* Records the first failure, after which the log takes no more writes.  Returns @err. */
int log_fail(struct sl_log *log, int err, const char *what);
int log_store_epochs(struct sl_log *log) SL_MUST_CHECK;
void log_tail_clear(struct sl_log *log);
/* Accounts for a batch that the active segment now has at @batch->pos. */
void log_took(struct sl_log *log, const struct walk_batch *batch);
/**
 * log_claim() - what the batch means to its producer
 * @batch: its bytes; looked at only if it is a control batch
 * Return: 0; -EBADMSG a control batch that ends no transaction.
 */
int log_claim(const struct sl_batch_head *head, const void *batch,
              struct producers_claim *claim) SL_MUST_CHECK;

/* ---- segment.c ---- */

/* "<folder>/<20 digits><suffix>". */
const char *segment_path(const struct sl_log *log, int64_t base_offset, const char *suffix,
                         char path[STORE_PATH_MAX]);
/* Adds a segment to the end of the array; it is sealed and closed until the caller says otherwise.
 * -ENOMEM. */
int segment_add(struct sl_log *log, int64_t base_offset, struct segment **out) SL_MUST_CHECK;
/* A walk over the batches of @seg, wherever they lie. */
void segment_walk(const struct sl_log *log, struct segment *seg, struct walk *walk, uint8_t *window,
                  size_t window_bytes);
/* Cuts what was allocated ahead off a sealed segment that is written. */
int segment_trim(struct sl_log *log, struct segment *seg) SL_MUST_CHECK;
/* Creates the file of a new, empty, active segment at @base_offset. */
int segment_create(struct sl_log *log, int64_t base_offset) SL_MUST_CHECK;
/* Accounts for one batch at the end of @seg, feeding its indexes. */
void segment_took(struct sl_log *log, struct segment *seg, const struct walk_batch *batch);
/* The same for a segment that no log has yet. */
void segment_feed(struct segment *seg, const struct walk_batch *batch, uint64_t interval_bytes);
/* The entry with the segment's largest timestamp, the last one of its time index. */
void segment_end_times(struct segment *seg);
/* Writes the indexes of @seg and gives the memory back; it is sealed afterwards. */
int segment_seal(struct sl_log *log, struct segment *seg) SL_MUST_CHECK;
/* Reopens @seg for writing with both indexes in memory, which the caller fills or rebuilds; it is
 * neither sealed nor necessarily the last one then. */
int segment_unseal(struct sl_log *log, struct segment *seg) SL_MUST_CHECK;
/* Seals the active segment and begins a new one at the log's end. */
int segment_roll(struct sl_log *log) SL_MUST_CHECK;
/* Makes a sealed segment readable: descriptor and, if asked for, offset index. */
int segment_use(struct sl_log *log, struct segment *seg, bool with_index) SL_MUST_CHECK;
/* Closes sealed segments that nobody refers to, least recently used first, down to @keep. */
void segment_close_unused(struct sl_log *log, uint32_t keep, const struct segment *except);
void segment_put(struct sl_log *log, struct segment *seg);
/* Takes segments[first..first + count) out of the log: renamed at once, unlinked after the delay.
 */
int segment_doom(struct sl_log *log, uint32_t first, uint32_t count) SL_MUST_CHECK;
/* A segment that is in no log yet, sealed and closed.  NULL without memory. */
struct segment *segment_alloc(int64_t base_offset);
/* Unlinks the files of doomed segments whose time has come, at most @max of them; those that were
 * swapped out after a sync of the folder only. */
int segment_bury(struct sl_log *log, int64_t now_ms, uint32_t max) SL_MUST_CHECK;
/* Forgets everything that was derived from the batches. */
void segment_reset(struct segment *seg);
/* Frees memory and descriptors; the files stay. */
void segment_release(struct sl_log *log, struct segment *seg);
/* Reads the batch headers again and rebuilds end, size, times and both indexes in memory.
 * -EBADMSG the segment is damaged; what lies before the damage is accounted for. */
int segment_rebuild(struct sl_log *log, struct segment *seg) SL_MUST_CHECK;
/* Fills in max_time_ms of a sealed segment. */
int segment_load_time(struct sl_log *log, struct segment *seg) SL_MUST_CHECK;
/* Fills in first_time_ms of a segment. */
int segment_load_first_time(struct sl_log *log, struct segment *seg) SL_MUST_CHECK;

/* ---- lookup.c ---- */

/* Number of the segment that contains @offset or, in a gap, of the first one behind it;
 * segments_count - 1 for the log end. */
uint32_t lookup_segment(const struct sl_log *log, int64_t offset);
/* First batch of @seg whose last offset is >= @offset.  1 found; 0 none; -errno. */
int lookup_batch(struct sl_log *log, struct segment *seg, int64_t offset,
                 struct log_place *out) SL_MUST_CHECK;

/* ---- hotlog.c ---- */

/* Memory for @bytes behind the last batch of the active segment.  -EAGAIN the tier is full of dirty
 * bytes; -EFBIG; -errno of reading the block that the segment ends in. */
int hotlog_room(struct sl_log *log, size_t bytes, uint8_t **to) SL_MUST_CHECK;
/* The batch of @bytes at @batch is in memory made by hotlog_room() or is copied there, and is part
 * of the log from now on. */
int hotlog_append(struct sl_log *log, const void *batch, size_t bytes) SL_MUST_CHECK;
/* The log's end after that batch. */
void hotlog_took(struct sl_log *log);
/* Reads what may lie in chunks, in the file, or in both. */
int hotlog_read(const struct sl_files *files, int fd, const struct sl_list *hot, void *p,
                size_t len, uint64_t pos, size_t *got) SL_MUST_CHECK;
/* The piece of @seg at @pos, at most @bytes. */
void hotlog_piece(const struct sl_log *log, const struct segment *seg, int fd, uint64_t pos,
                  uint32_t bytes, struct sl_log_piece *out);
/* So much is in files without a sync that the next one need not be wanted. */
bool hotlog_is_sync_due(const struct sl_log *log);
/* Adds what comes next: the oldest unwritten chunk, or the oldest file that no sync has covered.
 * 1 done; 0 nothing; -errno. */
int hotlog_begin(struct sl_log *log, struct sl_log_sync *sync, bool is_wanted) SL_MUST_CHECK;
/* The write part has ended. */
void hotlog_write_end(struct sl_log *log, const struct sl_log_sync *sync, bool is_good);
/* Everything of @seg below @pos is on stable storage, and so are the chunks that hold it. */
void hotlog_settle(struct sl_log *log, struct segment *seg, uint64_t pos);
/* A sync of the file of @seg has ended well. */
void hotlog_synced(struct sl_log *log, struct segment *seg);
/* The tail chunk of @seg takes no more. */
void hotlog_end_tail(struct sl_log *log, struct segment *seg);
/* Gives back the chunks of @seg, but for those that something still refers to. */
void hotlog_drop(struct sl_log *log, struct segment *seg);

/* ---- direct.c ---- */

/* The descriptor for a write to @seg, until direct_put().  -EMFILE; -EINVAL the file system refuses
 * O_DIRECT; -errno. */
int direct_take(struct sl_log *log, struct segment *seg, int *fd) SL_MUST_CHECK;
/* The write has ended.  A no-op without a descriptor. */
void direct_put(struct sl_log *log, struct segment *seg);
/* A no-op when it is closed, or a write uses it. */
void direct_close(struct sl_log *log, struct segment *seg);

/* ---- recycle.c ---- */

/* Takes over the file at @path, which belongs to no segment any more.  False: it is still there. */
bool recycle_give(struct sl_recycler *r, const char *path, uint64_t bytes);
/* Puts a kept file at @path, over what is there.  False: there is none. */
bool recycle_take(struct sl_recycler *r, const char *path, uint64_t *bytes);
/* Removes one, for its space.  False: there is none. */
bool recycle_drop(struct sl_recycler *r);

/* ---- txnindex.c ---- */

/* An empty list, to be filled from the segment's begin on. */
void txnindex_begin(struct segment *seg);
/* @claim, a marker in @seg, aborted a transaction.  -ENOMEM; -EFBIG. */
int txnindex_add(struct segment *seg, const struct producers_claim *claim,
                 int64_t first_offset) SL_MUST_CHECK;
/* The list is complete: @producers are at the segment's end. */
void txnindex_end(struct segment *seg, const struct producers *producers);
/* Writes the file of a segment whose list is complete. */
int txnindex_store(struct sl_log *log, const struct segment *seg) SL_MUST_CHECK;
/* The same under another name, of a segment that no log has yet. */
int txnindex_write(const struct sl_files *files, int dirfd, const char *path,
                   const struct segment *seg) SL_MUST_CHECK;
/* Makes the list of @seg readable: from its file, or from the batches when that is no good. */
int txnindex_use(struct sl_log *log, struct segment *seg) SL_MUST_CHECK;
/* Removes the file, if there is one. */
int txnindex_remove(struct sl_log *log, const struct segment *seg) SL_MUST_CHECK;
/* Gives the memory back; the file has the list. */
void txnindex_drop(struct segment *seg);

/* ---- checkpoint.c ---- */

/* One place in the file of a log in use; disks write a sector whole. */
#define CHECKPOINT_SLOT_BYTES 512
#define CHECKPOINT_SLOTS      2

struct checkpoint {
	int64_t log_start;
	int64_t recovery_point;
	int64_t recovery_pos;
	int64_t clean_end;     /* log end of a clean close; -1: the log was in use */
	int64_t clean_bytes;   /* size of the active segment then */
	uint32_t time_entries; /* that the active segment's time index has at least, of a log in use
	                        */
};
/* -ENOENT absent; -EBADMSG damaged; -errno. */
int checkpoint_load(struct sl_log *log, struct checkpoint *out) SL_MUST_CHECK;
int checkpoint_store(struct sl_log *log, bool is_clean) SL_MUST_CHECK;
/* The same of a log in use whose recovery point has fallen: no slot is left that says more. */
int checkpoint_lower(struct sl_log *log) SL_MUST_CHECK;
/* Of the next one of a log in use: 1 begins the file anew. */
uint32_t checkpoint_sequence(const struct sl_log *log, bool is_anew);
/* Where in the file it stands. */
uint64_t checkpoint_slot(uint32_t sequence);
/* The whole file with one slot; @text has room for CHECKPOINT_SLOTS of them. */
void checkpoint_encode_file(const struct checkpoint *c, uint32_t sequence, char *text);
/* partition.metadata of @folder.  -ENOENT absent; -EBADMSG damaged; -errno. */
int checkpoint_load_topic_id(const struct sl_files *files, int dirfd, const char *folder,
                             struct sl_uuid *out) SL_MUST_CHECK;
int checkpoint_store_topic_id(const struct sl_log *log) SL_MUST_CHECK;

/* ---- point.c ---- */

/* Waits for the checkpoint that another thread is writing, if one is, and takes its outcome: before
 * anything else touches the files that it writes. */
void point_settle(struct sl_log *log);

/* ---- snapshot.c ---- */

/* Whether one says what the state was at the log's end. */
bool snapshot_is_there(const struct sl_log *log);
/* Writes the producers' state at the log's end and forgets the oldest file above the number kept.
 */
int snapshot_store(struct sl_log *log) SL_MUST_CHECK;
/* The same in parts, for whoever writes the file elsewhere: what it says; the file that it may be
 * written over (false: none); the writing, with or without such a file, on any thread; and that the
 * log has it. */
void snapshot_encode(const struct sl_log *log, struct sl_buf *buf);
bool snapshot_spare(const struct sl_log *log, char path[STORE_PATH_MAX]);
int snapshot_write(const struct sl_files *files, int dirfd, const char *spare, const char *path,
                   const void *p, size_t len) SL_MUST_CHECK;
void snapshot_stored(struct sl_log *log, int64_t offset, bool was_spare);
/**
 * snapshot_load() - the newest valid snapshot at or below @offset_max
 * @producers: cleared and filled
 * @aborted: empty; gets the list of the active segment, as far as the snapshot reaches; NULL: not
 * wanted
 * @offset: where the snapshot stands, -1: there is none
 */
int snapshot_load(struct sl_log *log, struct producers *producers, struct aborted *aborted,
                  int64_t offset_max, int64_t *offset) SL_MUST_CHECK;
/* Remembers a file found at open. */
void snapshot_found(struct sl_log *log, int64_t offset);
/* Removes files above @offset. */
void snapshot_cut(struct sl_log *log, int64_t offset);
/* Removes files below @offset, or says why one stays. */
int snapshot_drop(struct sl_log *log, int64_t offset) SL_MUST_CHECK;

/* ---- replay.c ---- */

/* Rebuilds the producers' state at the log's end from a snapshot and the batches behind it, and
 * with them the aborted transactions of the active segment and of every one whose list is lost;
 * with @is_epochs_lost the whole log is walked for leader epochs too. */
int replay_producers(struct sl_log *log, bool is_epochs_lost, int64_t now_ms) SL_MUST_CHECK;

/* The list of one sealed segment alone. */
int replay_aborted(struct sl_log *log, struct segment *seg) SL_MUST_CHECK;

/* ---- clean_log.c ---- */

/* Nothing from @offset on is clean any more.  Return: 0 or -errno of the checkpoint. */
int clean_cut(struct sl_log *log, int64_t offset) SL_MUST_CHECK;
/* After how long the active segment is rolled: segment.ms, or sooner for max.compaction.lag.ms. */
int64_t clean_roll_ms(const struct sl_log_config *config);

/* ---- clean_recover.c ---- */

/**
 * clean_finish_swap() - a ".log.swap" was found: the segment has to take its place
 * @end: where it ends, and so which segments it stands for; @base_offset: it was no segment and is
 * gone
 * The files of [base_offset, end) are removed, indexes included, and the segment gets its name.
 */
int clean_finish_swap(struct sl_log *log, int64_t base_offset, const int64_t *bases, uint32_t count,
                      int64_t *end) SL_MUST_CHECK;

/* ---- recover.c ---- */

int recover_log(struct sl_log *log, const struct sl_log_opts *opts,
                struct sl_log_recovery *report) SL_MUST_CHECK;

/* ---- sync.c ---- */

/* Syncs everything dirty now, in the caller's thread. */
int sync_all(struct sl_log *log) SL_MUST_CHECK;

#endif
