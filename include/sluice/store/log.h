/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Partition log: Kafka-format segment files in one folder, their indexes, the leader-epoch history
 * and the idempotent producers' state.
 *
 * One owner: after sl_log_open() a log is handed to one lane, and every call below is that lane's
 * alone unless its Context line says otherwise.  Nothing here sleeps on a lock.  Appends write to
 * the page cache; durability comes from sl_log_sync_begin()/_end() around an fdatasync(2) that any
 * thread may run.
 */
#ifndef SLUICE_STORE_LOG_H
#define SLUICE_STORE_LOG_H

#include <sys/uio.h>

#include "sluice/base/base.h"
#include "sluice/store/file_ops.h"

struct sl_hot_pool;
struct sl_log;
struct sl_hot_chunk;
struct sl_recycler;

/* What a topic's configuration means to its logs; see conf_keys.h for the meaning of each. */
struct sl_log_config {
	int64_t segment_bytes;
	int64_t segment_ms;
	int64_t index_interval_bytes;
	int64_t retention_ms;    /* -1: no limit */
	int64_t retention_bytes; /* -1: no limit */
	int64_t file_delete_delay_ms;
	int64_t producer_id_expiration_ms;
	/* Of compaction, see clean.h. */
	int64_t delete_retention_ms;
	int64_t min_compaction_lag_ms;
	int64_t max_compaction_lag_ms; /* INT64_MAX: none */
	uint32_t min_dirty_ppm;        /* min.cleanable.dirty.ratio, parts per million */
	bool is_delete;                /* cleanup.policy has "delete" */
	bool is_compact;               /* cleanup.policy has "compact" */
};

struct sl_log_opts {
	struct sl_files files;
	int dirfd;         /* the log dir; borrowed while the log is open */
	const char *topic; /* folder is "<topic>-<partition>"; created if absent */
	int32_t partition;
	struct sl_uuid topic_id; /* kept in partition.metadata; another id there: -ESTALE */
	struct sl_log_config config;
	struct sl_hot_pool *hot; /* of the lane that will own the log; NULL: through the page cache.
	                          * Not touched before the owner has the log. */
	/* Of the same lane and of this log dir; NULL: files of deleted segments are unlinked. */
	struct sl_recycler *recycler;
	bool was_clean;   /* the log dir was shut down cleanly: trust indexes, skip the scan */
	int64_t now_ms;   /* wall clock */
	uint64_t *memory; /* optional: bytes allocated are added here */
};

/* What sl_log_open() had to do. */
struct sl_log_recovery {
	uint64_t scanned_bytes;
	uint64_t cut_bytes; /* torn or corrupt tail that was removed */
	int64_t cut_offset; /* first offset that is gone; -1: nothing was cut */
	char reason[96];    /* why it was cut, "" when it was not */
	uint32_t segments;
};

/**
 * sl_log_open() - open or create a partition's log, recovering it after a crash
 *
 * Context: any thread, before the owner has it.  Sleeps (disk).
 * Return: 0; -ESTALE the folder belongs to another topic id; -EIO, -ENOSPC, ... of the disk;
 * -ENOMEM.
 */
int sl_log_open(struct sl_log **out, const struct sl_log_opts *opts,
                struct sl_log_recovery *report) SL_MUST_CHECK;

/**
 * sl_log_close() - release a log; with a hot tier after sl_log_cool()
 * @is_clean: write producer snapshot, indexes and the end offset so that the next open need not
 *scan; the caller syncs the log dir's clean marker after all logs are closed
 *
 * Context: any thread, after the owner gave it up and every range was put back.  Sleeps.
 * Return: 0; -errno of the first failed write (the log is released all the same).
 */
int sl_log_close(struct sl_log *log, bool is_clean);

/**
 * sl_log_delete() - rename the folder to "<topic>-<partition>.<hex>-delete" and close the log
 *
 * Removing the renamed folder is sl_log_dir_sweep()'s work.  The rename is not synced: until the
 * next sl_log_dir_sync(), or the first sync of any log created in this dir since, a power cut may
 * bring the folder back under its old name, with its old topic id in it.  Whoever deletes many logs
 * pays for one sync.
 *
 * Context: as sl_log_close().
 * Return: 0; -errno of the rename (the log is released all the same).
 */
int sl_log_delete(struct sl_log *log);

/* New configuration, e.g. after IncrementalAlterConfigs. */
void sl_log_set_config(struct sl_log *log, const struct sl_log_config *config);

/* Outcome of one append. */
struct sl_log_append {
	/* in */
	int32_t leader_epoch;
	int64_t now_ms; /* wall clock */
	/* The coordinator knows that this partition is in the producer's transaction: the batch may
	 * begin it here (KIP-890). */
	bool is_verified;
	/* The producer's epoch rises with every transaction (transaction.version 2): what is first
	 * heard of it has the sequence 0. */
	bool is_epoch_per_txn;
	/* out; for a duplicate of an idempotent batch: those of the first append */
	int64_t base_offset;
	int64_t last_offset;
	int64_t timestamp_ms; /* of the duplicate's original batch, else the batch's max timestamp
	                       */
};

/**
 * sl_log_append() - append one validated record batch
 * @batch: complete v2 batch; its base offset and leader epoch are patched in place
 * @batch_bytes: 61..segment.bytes
 *
 * Checks the producer's epoch, sequence and transaction (reference §3.2) before anything is
 * written.  A control batch of a producer ends its transaction.
 *
 * Context: owner.  One pwrite(2), no allocation on the common path.
 * Ownership: borrows @batch; the bytes are in the page cache on return.
 * Return: 0; -EEXIST duplicate, nothing written, @io has the original offsets;
 *	-ESTALE producer epoch is older than the known one (INVALID_PRODUCER_EPOCH);
 *	-EILSEQ out of order sequence (OUT_OF_ORDER_SEQUENCE_NUMBER);
 *	-EPROTO a transactional batch without verified or open transaction, or another kind of
 *	batch while one is open (INVALID_TXN_STATE); -EKEYREVOKED the marker of a coordinator
 *	that has a successor (TRANSACTION_COORDINATOR_FENCED); -EBADMSG a control batch that is no
 *	marker; -EBUSY more transactions than there may be are open here;
 *	-EFBIG larger than a segment; -ENOSPC, -EIO, ...: the log takes no more appends, see
 *	sl_log_error(); what was acknowledged before stays readable.
 */
int sl_log_append(struct sl_log *log, void *batch, size_t batch_bytes,
                  struct sl_log_append *io) SL_MUST_CHECK;

/* First failed write or sync of this log (-errno), 0 while it is well. */
int sl_log_error(const struct sl_log *log);
/* Whether @err (-errno) says something about the disk, and so about every log in the log dir, and
 * not about this process's descriptors or memory or about one file.  Context: any. */
bool sl_log_is_disk_error(int err);

/**
 * sl_log_reserve() - room at the log's end, so that a batch can be received straight into the log
 * @bytes: of the complete batch
 * @out: writable memory of @bytes; hand it to sl_log_append() as the batch, which then copies
 * nothing
 *
 * One reservation per log.  It lasts until sl_log_append() of that memory or sl_log_unreserve(); an
 * append of another batch before that takes the place, so the owner gives the reservation up first
 * (and keeps what it has received elsewhere).  Rolling or truncating keeps the memory readable.
 *
 * Context: owner.
 * Return: 0; -ENOTSUP this log has no hot tier; -EAGAIN the tier is full of bytes that are not on
 * disk yet; -EBUSY reserved already; -EFBIG it never fits; the log's error.
 */
int sl_log_reserve(struct sl_log *log, size_t bytes, void **out) SL_MUST_CHECK;
/* A no-op without a reservation. */
void sl_log_unreserve(struct sl_log *log);

/* A run of a segment's bytes.  It lies in the hot tier, in the file, or partly in both, and may
 * move from the former to the latter while a slow reader takes it: sl_log_range_piece() says where.
 */
struct sl_log_range {
	int fd; /* of the segment file; -1 when bytes == 0 */
	uint64_t pos;
	uint32_t bytes;      /* starts at a batch boundary; may end inside a batch */
	int64_t base_offset; /* of the first batch in it */
	void *segment;       /* Owned reference; sl_log_range_put() returns it */
};

/**
 * sl_log_read() - find the bytes for a fetch
 * @offset: first wanted offset; log start <= @offset <= log end, else -ERANGE
 * @offset_max: nothing from this offset on (high watermark or last stable offset)
 * @bytes_max: limit of the range
 * @is_whole: if the first batch is larger than @bytes_max return it whole (KIP-74)
 *
 * The range begins with the batch that contains @offset (Kafka clients skip the rest) and never
 * crosses a segment border.  bytes == 0 means: nothing to read below @offset_max, or the first
 * batch does not fit and @is_whole is false.
 *
 * Context: owner.
 * Return: 0; -ERANGE; -EIO the segment cannot be read.
 */
int sl_log_read(struct sl_log *log, int64_t offset, int64_t offset_max, uint32_t bytes_max,
                bool is_whole, struct sl_log_range *out) SL_MUST_CHECK;

/* Contiguous bytes of a range: for sendfile(2) or pread(2) at @pos of @fd. */
struct sl_log_piece {
	int fd;
	uint64_t pos;
	uint32_t bytes;
	struct sl_hot_chunk *chunk; /* the memory they lie in; NULL: in the segment file */
};
/**
 * sl_log_range_piece() - where the bytes of @range from @done on lie now
 * @done: bytes of the range that are dealt with, below range->bytes
 *
 * The answer holds until the next call of anything that appends to a log of this lane.
 * Context: owner.  Return: 0 or -errno of opening the file.
 */
int sl_log_range_piece(struct sl_log *log, const struct sl_log_range *range, uint32_t done,
                       struct sl_log_piece *out) SL_MUST_CHECK;
/* copy: for readers that need the bytes in their own memory.  Return: bytes copied (all of the
 * range, or @bytes_max) or -errno. */
ssize_t sl_log_range_copy(struct sl_log *log, const struct sl_log_range *range, void *to,
                          size_t bytes_max);
/* Context: owner.  Safe on a zeroed range. */
void sl_log_range_put(struct sl_log *log, struct sl_log_range *range);

/* A transaction whose records committed readers have to skip. */
struct sl_log_aborted {
	int64_t producer_id;
	int64_t first_offset;
};
/**
 * sl_log_aborted() - the aborted transactions that overlap a range
 * @range: of sl_log_read()
 * @offset_max: as it was given there
 * @out: the first @max of them by no rule; all of them if there are no more, then by first offset
 *
 * Some may begin a little behind the range; none that touches it is missing.
 * Context: owner.  May read indexes of sealed segments.
 * Return: how many there are, which may be more than @max; -EIO, ...
 */
int64_t sl_log_aborted(struct sl_log *log, const struct sl_log_range *range, int64_t offset_max,
                       struct sl_log_aborted *out, uint32_t max) SL_MUST_CHECK;
/**
 * sl_log_stable() - the last stable offset: below it every transaction has ended
 * @high_watermark: does not fall; a transaction has ended once its marker is below it
 * Context: owner; cheap.
 */
int64_t sl_log_stable(struct sl_log *log, int64_t high_watermark);

/* Whether a transaction of this producer and epoch is open.  Context: owner. */
bool sl_log_has_txn(const struct sl_log *log, int64_t producer_id, int16_t epoch);
/* Offset of the producer's last marker, -1: none since the log was opened.  What the coordinator
 * said before it is about another transaction.  Context: owner. */
int64_t sl_log_txn_marker(const struct sl_log *log, int64_t producer_id);

/* Offsets.  Context: owner. */
int64_t sl_log_start(const struct sl_log *log); /* log start offset */
int64_t sl_log_end(
	const struct sl_log *log); /* log end offset (LEO): the next offset to be given */
int64_t sl_log_flushed(const struct sl_log *log); /* everything below is on stable storage */
uint64_t sl_log_bytes(const struct sl_log *log);  /* sum of segment sizes */
uint32_t sl_log_segments(const struct sl_log *log);

/**
 * sl_log_offset_for_time() - first record at or after a timestamp (ListOffsets)
 * @offset, @found_ms: -1/-1 when there is none
 * Return: 0 or -EIO.
 */
int sl_log_offset_for_time(struct sl_log *log, int64_t timestamp_ms, int64_t offset_max,
                           int64_t *offset, int64_t *found_ms) SL_MUST_CHECK;
/* The record with the largest timestamp (ListOffsets -3); -1/-1 when the log is empty. */
int sl_log_max_time(struct sl_log *log, int64_t *offset, int64_t *found_ms) SL_MUST_CHECK;

/* Leader epochs. */
/* Called when this server becomes leader: epoch -> current log end.  Return: 0; -EINVAL epoch
 * falls. */
int sl_log_epoch_begin(struct sl_log *log, int32_t epoch) SL_MUST_CHECK;
int32_t sl_log_epoch(const struct sl_log *log); /* latest, -1: none */
/* OffsetForLeaderEpoch: largest known epoch <= @asked and where it ends; -1/-1 unknown. */
void sl_log_epoch_end(const struct sl_log *log, int32_t asked, int32_t *epoch, int64_t *end);

/* DeleteRecords: raise the log start; whole segments below it go.  Return: 0; -ERANGE; -errno. */
int sl_log_advance_start(struct sl_log *log, int64_t offset) SL_MUST_CHECK;
/* Removes the tail from @offset on (a follower's divergence).  Return: 0; -EBUSY with a hot tier
 * and a sync under way, whose write would land behind the cut; -errno. */
int sl_log_truncate(struct sl_log *log, int64_t offset) SL_MUST_CHECK;

/**
 * sl_log_tick() - roll by time, retention by time and size, expiry of producers, delayed file
 * removal
 * @high_watermark: nothing at or above it is deleted
 *
 * Context: owner; bounded work, call it every log.retention.check.interval.ms and more often is
 * harmless. Return: number of segments deleted, or -errno.
 */
int sl_log_tick(struct sl_log *log, int64_t now_ms, int64_t high_watermark);

#define SL_LOG_WRITE_CHUNKS 7 /* of the hot tier in one write-out */

/*
 * Group commit.  The owner calls _begin, any thread runs the sync, the owner calls _end with its
 * result. At most one is under way per log.
 */
struct sl_log_sync {
	/* A write-out of the hot tier comes first: iov_count pieces to write_pos of write_fd, with
	 * is_durable the whole on stable storage with the write itself (RWF_DSYNC) or by an
	 * fdatasync(2) behind it.  Memory, position and length are multiples of SL_HOT_BLOCK;
	 * iov_count == 0: nothing to write.  With wants_direct write_fd will do, but is through the
	 * page cache: sl_log_sync_open() has a better one. */
	struct iovec iov[SL_LOG_WRITE_CHUNKS + 1];
	uint32_t iov_count;
	bool is_durable;
	bool wants_direct;
	bool is_allocated; /* by sl_log_sync_open() */
	int write_fd;
	uint64_t allocate_pos; /* blocks that the write needs, allocate_bytes of them; 0: none */
	uint64_t allocate_bytes;
	uint64_t write_pos;
	size_t write_bytes;
	void *write_segment; /* Owned reference; NULL without a write part */
	int fds[4]; /* to be synced after the write: segment files, names; fds_count of them */
	uint32_t fds_count;
	int64_t offset;    /* sl_log_flushed() after success */
	void *segments[4]; /* Owned references */
};
/**
 * sl_log_sync_begin() - what is to be written or synced next
 * @is_wanted: somebody waits, or it is time: a sync.  Else only writes of what the hot tier holds,
 * and a sync now and then for them.
 * Return: 1 @sync is filled; 0 nothing to do, or one is under way; -EAGAIN no descriptor is free.
 */
int sl_log_sync_begin(struct sl_log *log, struct sl_log_sync *sync, bool is_wanted) SL_MUST_CHECK;
/* The part in between.  Context: any thread.  Return: 0 or -errno. */
int sl_log_sync_run(const struct sl_files *files, struct sl_log_sync *sync) SL_MUST_CHECK;
/* Parts of it, for who writes and syncs by other means: blocks and a descriptor for the write, and
 * the end of that descriptor.  Context: any thread.
 * Return: 0; -errno: nothing is to be written, and that is the sync's result. */
int sl_log_sync_open(const struct sl_files *files, struct sl_log_sync *sync, int *fd) SL_MUST_CHECK;
void sl_log_sync_close(const struct sl_files *files, const struct sl_log_sync *sync, int fd);
/* @result: of the sync; an error is final for the log (fsync is never retried). */
void sl_log_sync_end(struct sl_log *log, struct sl_log_sync *sync, int result);

/*
 * One sync for many logs with a hot tier, of which nobody waits for.  The owner calls sl_log_mark()
 * after a write-out, any thread sl_log_dir_sync_fs(), the owner sl_log_mark_end() with its result.
 * Write-outs and syncs of the log itself may come in between; only the end of a sync that began
 * after the mark was set may be told.
 */
void sl_log_mark(struct sl_log *log);
/* @result: of the sync; an error is final for a log with a mark, as one of its own sync is. */
void sl_log_mark_end(struct sl_log *log, int result);
/* A descriptor for sl_log_dir_sync_fs() of the log dir @dirfd, which is told of errors from now on:
 * to be opened before the first write that such a sync shall cover.  Return: it, or -errno. */
int sl_log_dir_sync_open(const struct sl_files *files, int dirfd) SL_MUST_CHECK;
/* Everything in files of the log dir, names included, is on stable storage afterwards; so is the
 * rest of its file system.  Sleeps.  Context: any thread.  Return: 0; -EOPNOTSUPP the file system
 * is not known to do that, and nothing was tried; -errno, final: pages may be lost. */
int sl_log_dir_sync_fs(const struct sl_files *files, int fd) SL_MUST_CHECK;
/* Bytes in files that no sync has covered; 0 without a tier. */
uint64_t sl_log_unsynced(const struct sl_log *log);
/* Of the log dir; borrowed. */
int sl_log_dirfd(const struct sl_log *log);

bool sl_log_has_tier(const struct sl_log *log);
/* Bytes in the hot tier that are in no file yet; 0 without a tier. */
uint64_t sl_log_unwritten(const struct sl_log *log);
/**
 * sl_log_cool() - give every chunk back to the pool, so that another thread may close the log
 *
 * What is not written yet is lost, and an error of the log: sl_log_unwritten() is 0 before, unless
 * the disk has failed.  The log goes on through the page cache. Context: owner, with no sync under
 * way.
 */
void sl_log_cool(struct sl_log *log);
/* For struct sl_hot_pool_ops.forget: chunks belong to logs. */
void sl_log_forget(void *owner, struct sl_hot_chunk *chunk);

/*
 * Checkpoints write down how far a log with a hot tier is durable, so that a recovery begins there:
 * indexes, producers and the recovery point.  None of it is synced, all of it is checked when it is
 * read.  It takes a few small files, which a file system may be slow to make: so the owner begins
 * and ends a checkpoint, and any thread runs it.  The log may be used meanwhile; what needs the
 * same files (a roll, a truncation, retention) waits for the run.
 */
struct sl_log_point; /* one checkpoint at a time, of any log */

int sl_log_point_create(struct sl_log_point **out) SL_MUST_CHECK;
/* Not between begin and end.  NULL is a no-op. */
void sl_log_point_destroy(struct sl_log_point *pt);
/* Context: owner.  Return: 1 to be run, soon, and ended before the log is closed; 0 nothing new
 * since the last one; -ENOMEM, the log is as it was; another -errno: the log's. */
int sl_log_point_begin(struct sl_log *log, struct sl_log_point *pt) SL_MUST_CHECK;
/* Context: any thread. */
void sl_log_point_run(struct sl_log_point *pt);
/* After the run.  A failure is an error of the log.  Context: owner. */
void sl_log_point_end(struct sl_log_point *pt);
/* All three at once.  Return: as sl_log_point_begin(), 1: done. */
int sl_log_checkpoint(struct sl_log *log);

/* For DescribeProducers and tests. */
/* When the producer of the oldest open transaction sent its last batch, wall clock; -1: no
 * transaction is open.  Context: owner. */
int64_t sl_log_txn_oldest_ms(const struct sl_log *log);

struct sl_log_producer {
	int64_t producer_id;
	int16_t epoch;
	int32_t last_sequence;     /* -1: none since its epoch rose */
	int32_t coordinator_epoch; /* of its last marker; -1: none */
	int64_t last_timestamp_ms;
	int64_t last_offset;
	int64_t txn_first_offset; /* of its open transaction; -1: none */
};
/* How many there are. */
uint32_t sl_log_producers_count(const struct sl_log *log);
uint32_t sl_log_producers(const struct sl_log *log, struct sl_log_producer *out, uint32_t max);

/* ---- Log dirs ---- */

struct sl_log_dir;

/**
 * sl_log_dir_open() - open (and create) one of log.dirs and take its lock
 * @was_clean: the clean-shutdown marker was there and valid; it is removed now
 * Return: 0; -EBUSY another process holds the lock; -errno.
 */
int sl_log_dir_open(struct sl_log_dir **out, const char *path, struct sl_files files,
                    bool *was_clean) SL_MUST_CHECK;
int sl_log_dir_fd(const struct sl_log_dir *dir);
/* The lock is held for as long as anybody has this file open. */
int sl_log_dir_lock_fd(const struct sl_log_dir *dir);
const char *sl_log_dir_path(const struct sl_log_dir *dir);
/* Calls @each for every partition folder.  Return: 0, -errno, or @each's non-zero result. */
int sl_log_dir_scan(struct sl_log_dir *dir,
                    int (*each)(void *arg, const char *topic, int32_t partition,
                                const struct sl_uuid *topic_id),
                    void *arg) SL_MUST_CHECK;
/* Makes what sl_log_delete() renamed in this dir durable.  Sleeps.  Return: 0 or -errno. */
int sl_log_dir_sync(struct sl_log_dir *dir) SL_MUST_CHECK;
/* Removes "-delete" folders, at most @max files a call; sl_log_dir_sync() comes first, else a power
 * cut could bring a folder back without its files.  Return: files removed or -errno. */
int sl_log_dir_sweep(struct sl_log_dir *dir, uint32_t max);
/* Writes and syncs the clean-shutdown marker when @is_clean, drops the lock. */
int sl_log_dir_close(struct sl_log_dir *dir, bool is_clean);
struct sl_recycler_opts {
	uint32_t lane;        /* whose thread uses it */
	uint32_t lanes_count; /* lane 0 removes what lanes from here on had kept */
	uint64_t bytes_max;   /* kept at most; 0 keeps none */
};
/**
 * sl_recycler_open() - files of deleted segments, kept for new ones of logs with a hot tier
 *
 * Files of the lane's earlier lives are taken over.
 * Context: before the lane has it.  Return: 0; -ENOMEM; -errno.
 */
int sl_recycler_open(struct sl_recycler **out, struct sl_log_dir *dir,
                     const struct sl_recycler_opts *opts) SL_MUST_CHECK;
/* The files stay.  NULL is a no-op. */
void sl_recycler_close(struct sl_recycler *r);
/* Context: owner. */
uint64_t sl_recycler_bytes(const struct sl_recycler *r);
/* Total and free bytes (statvfs(3)). */
int sl_log_dir_space(const struct sl_log_dir *dir, uint64_t *total, uint64_t *free_bytes);

#endif
