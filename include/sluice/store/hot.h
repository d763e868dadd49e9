/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hot tier: the memory that holds the newest part of every partition log.  One tmpfs file of huge
 * pages per NUMA node, cut into chunks that are recycled and never freed, so that an append meets
 * no fresh page.  Bytes are received into a chunk, written to the segment file from it (O_DIRECT)
 * and sent to consumers from it (sendfile).
 *
 * A table at the head of the file says which bytes of which segment each chunk holds and how far
 * they are on disk.  The file outlives its maker as long as somebody has the descriptor: after a
 * crash sl_hot_replay() completes the writes that were interrupted.
 *
 * One pool per lane: a slice of a tier, used by its owner's core only, without locks.
 */
#ifndef SLUICE_STORE_HOT_H
#define SLUICE_STORE_HOT_H

#include "sluice/base/base.h"
#include "sluice/base/list.h"
#include "sluice/store/file_ops.h"

struct sl_hot;
struct sl_hot_pool;
struct sl_log_dir;

#define SL_HOT_BLOCK           4096u               /* unit of O_DIRECT: memory, position, length */
#define SL_HOT_CHUNK_BYTES_MIN ((size_t)32 << 10)  /* power of two */
#define SL_HOT_CHUNK_BYTES_MAX ((size_t)128 << 20) /* and at most a quarter of the slice */
#define SL_HOT_SLICES_MAX      64u
#define SL_HOT_DIRECTS_MAX     1024u /* files a lane keeps open for its next write-outs */
#define SL_HOT_BYTES_MIN       ((uint64_t)16 << 20) /* of one slice */

/* ---- The tier: host thread ---- */

struct sl_hot_opts {
	uint64_t bytes;      /* of all slices; each is rounded down to whole huge pages */
	uint32_t slices;     /* pools, 1..SL_HOT_SLICES_MAX */
	int numa_node;       /* -1: no preference */
	bool is_huge_wanted; /* false: 4 KiB pages without a try */
};

/**
 * sl_hot_create() - make the tier's file and map it
 *
 * tmpfs with huge=always on a detached mount (fsopen(2), fsmount(2)); where that is refused a
 * memfd, with sl_hot_reason() saying why.  Memory is touched by sl_hot_populate(), not here.
 *
 * Return: 0; -EINVAL; -ENOMEM; -errno.
 */
int sl_hot_create(struct sl_hot **out, const struct sl_hot_opts *opts) SL_MUST_CHECK;

/**
 * sl_hot_adopt() - use a file that an earlier process made, after sl_hot_replay()
 * @fd: duplicated
 *
 * The table is cleared: every chunk is free.
 * Return: 0; -ESTALE other size, number of slices or layout: create a new one; -EPROTO not a tier.
 */
int sl_hot_adopt(struct sl_hot **out, int fd, const struct sl_hot_opts *opts) SL_MUST_CHECK;
/* Unmaps; no chunk is used any more.  NULL is a no-op. */
void sl_hot_destroy(struct sl_hot *hot);

int sl_hot_fd(const struct sl_hot *hot);
/* Bytes of chunk memory, of all slices; the file is larger by the table. */
uint64_t sl_hot_bytes(const struct sl_hot *hot);
/* Whether populated memory really is on huge pages (smaps), looked at by sl_hot_populate(). */
bool sl_hot_is_huge(const struct sl_hot *hot);
/* Why it is not, and the command that would help; "" when it is. */
const char *sl_hot_reason(const struct sl_hot *hot);
/**
 * sl_hot_populate() - touch up to @bytes more memory, so that no append meets a fresh page
 *
 * Context: one thread at a time, any; lanes may use the tier meanwhile and prefer what is
 * populated.
 * Return: 1 there is more; 0 all done; -EAGAIN the machine has no more now, try again in a moment;
 * -ENOMEM it had none for many times: the tier ends here, or where it has next to nothing the rest
 * is left to page faults.
 */
int sl_hot_populate(struct sl_hot *hot, size_t bytes);
/* Bytes of chunk memory touched so far, of all slices.  Context: any. */
uint64_t sl_hot_populated(const struct sl_hot *hot);
struct sl_hot_pool *sl_hot_pool(struct sl_hot *hot, uint32_t slice);

struct sl_hot_replay {
	uint32_t chunks;  /* that held bytes not known to be on disk */
	uint64_t bytes;   /* written */
	uint32_t orphans; /* chunks whose folder or segment is gone: deleted topics */
	uint32_t damaged; /* descriptors that cannot be true: skipped */
};
/**
 * sl_hot_replay() - write what a crashed process had accepted and not written yet
 * @fd: of the tier's file; nothing in it is trusted: positions, lengths and ids are checked
 * @dirs, @dirs_count: open log dirs; NULL entries are offline and skipped
 * @threads_max: that write, 1..SL_CREW_THREADS_MAX; each has its own partitions
 *
 * Idempotent.  Before any log is opened.  Files are not synced: recovery does that.
 * Return: 0; -EPROTO not a tier; -ESTALE another layout; else the first failed read or write: what
 * could be completed is, and the call may be repeated.
 */
int sl_hot_replay(int fd, struct sl_log_dir *const *dirs, uint32_t dirs_count, uint32_t threads_max,
                  struct sl_hot_replay *report) SL_MUST_CHECK;

/* ---- Chunks: the pool's owner ---- */

/* Which segment a chunk belongs to. */
struct sl_hot_key {
	struct sl_uuid topic_id; /* not zero, or it is not replayed */
	int64_t base_offset;     /* of the segment */
	int32_t partition;
};

/*
 * Memory of one run of a segment's bytes: file positions [pos, pos + bytes) at p, of which
 * [begin, end) are valid.  pos is a multiple of SL_HOT_BLOCK, so memory and file blocks coincide.
 *
 * States: dirty (owner's; end > durable, or the owner says so), clean (durable; in the pool's queue
 * of what may be recycled, still readable), free (not a chunk).  Zeroed memory is no valid chunk:
 * only sl_hot_get() makes them.
 */
struct sl_hot_chunk {
	struct sl_list link;     /* the owner's: in the segment's list, by pos */
	struct sl_list age_link; /* the pool's: clean chunks, first to become clean first */
	uint8_t *p;
	uint64_t file_pos; /* of p in the tier's file, for sendfile(2) */
	size_t bytes;      /* a power of two */
	uint64_t pos;
	uint64_t begin;
	uint64_t end;
	int64_t end_offset; /* the owner's: log offset that begins at end */
	uint64_t durable;   /* everything below this position is on stable storage */
	void *owner;        /* for sl_hot_pool_ops.forget */
	/* Rises when the memory may be given to something else, never falls.  Who remembers a
	 * chunk remembers it too: when it differs the chunk is another one, holds are not his. */
	uint32_t gen;
	uint32_t holds; /* sockets that may still read its pages: the data plane's */
	/* Writes under way, and bytes being received behind end: never recycled meanwhile. */
	uint32_t refs;
	uint32_t slot; /* its place in the table */
};

struct sl_hot_pool_ops {
	/* A clean chunk is taken away: unlink it and forget every pointer to it.  Called inside
	 * sl_hot_get(), possibly for a chunk of the very owner that asks; the pool must not be
	 * called from it. */
	void (*forget)(void *owner, struct sl_hot_chunk *chunk);
	/* May the pages of @chunk, which has holds, be overwritten?  Asks the sockets; on true
	 * chunk->holds is 0.  On false the chunk gets fresh pages instead (or waits). NULL: false.
	 */
	bool (*settle)(void *arg, struct sl_hot_chunk *chunk);
	void *settle_arg;
};
void sl_hot_pool_set_ops(struct sl_hot_pool *pool, const struct sl_hot_pool_ops *ops);
int sl_hot_pool_fd(const struct sl_hot_pool *pool);

/**
 * sl_hot_get() - a chunk for bytes of a segment from @begin on
 * @bytes_min: contiguous room needed behind @begin
 * @bytes_want: size of the chunk if memory allows; rounded up to a power of two
 *
 * Takes free memory, else recycles clean chunks, oldest first; with them newer ones that lie
 * beside, when only together they make the room.  Work per call is bounded, so the chunk may be
 * smaller than wanted though patience would have brought a larger one.  Pages that a socket may
 * still read are not overwritten: a chunk of whole huge pages gets fresh ones (hole punched); a
 * smaller one is set aside until it is let go, or until all of its huge page can be exchanged.
 * chunk->pos is @begin rounded down to a block; [pos, begin) is the caller's to fill before it is
 * written.  The chunk is dirty and belongs to @owner.
 *
 * Context: owner core.  No lock, no allocation; a system call only for memory with holds.
 * Return: NULL: dirty or referenced chunks are in the way (wait for write-out), or @bytes_min can
 * never fit (sl_hot_fits()).
 */
struct sl_hot_chunk *sl_hot_get(struct sl_hot_pool *pool, const struct sl_hot_key *key, void *owner,
                                uint64_t begin, size_t bytes_min, size_t bytes_want);
/* An owner has one chunk more that it still fills, or (-1) one less; 0 changes nothing. */
void sl_hot_count_tail(struct sl_hot_pool *pool, int more);
/* What each of them may take so that together they are half of the pool at most: with many owners
 * most of it would be their empty rests.  A power of two, SL_HOT_CHUNK_BYTES_MIN at least; a chunk
 * that was taken when there were fewer stays as large as it is. */
size_t sl_hot_share(const struct sl_hot_pool *pool);
/* Whether a batch of @bytes may ever find a chunk, wherever in a block it begins. */
bool sl_hot_fits(const struct sl_hot_pool *pool, size_t bytes);
/* The chunk now holds bytes up to @end: from here on a crash of this process does not lose them.
 * It is dirty afterwards, also if it was clean.  A lower @end than before cuts it; what lies above
 * may be written again only when the chunk has no holds, else put it and go on in another one. */
void sl_hot_commit(struct sl_hot_pool *pool, struct sl_hot_chunk *chunk, uint64_t end);
/* Everything below @pos is on stable storage; the chunk becomes clean when that is all of it. */
void sl_hot_durable(struct sl_hot_pool *pool, struct sl_hot_chunk *chunk, uint64_t pos);
/* Gives the memory back, dirty or clean: its segment is gone or was cut.  The owner has unlinked
 * it.  Not while it has refs.  With holds the memory waits as in sl_hot_get(). */
void sl_hot_put(struct sl_hot_pool *pool, struct sl_hot_chunk *chunk);

/* Levels in bytes, for back-pressure and metrics. */
struct sl_hot_usage {
	uint64_t total; /* the sum of the four below */
	uint64_t free;
	uint64_t clean;
	uint64_t dirty;
	uint64_t quarantined;
	uint64_t recycled_count;    /* chunks recycled */
	uint64_t quarantined_count; /* recycled or put while a socket still held their pages */
	uint64_t punched_count;     /* huge pages exchanged for fresh ones */
};
void sl_hot_usage(const struct sl_hot_pool *pool, struct sl_hot_usage *out);

#endif
