/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A partition as its lane serves it: the log, its high watermark and who waits for it.
 */
#ifndef DATAPLANE_PARTITION_PARTITION_H
#define DATAPLANE_PARTITION_PARTITION_H

#include "ctx.h"
#include "sluice/store/log.h"
#include "sluice/wire/kerr.h"

struct reply_range;

/*
 * Somebody waiting for a partition: a parked fetch for data, a parked produce or an append of the
 * control process for durability, a produce for the transaction coordinator's word about it.
 * Memory is the owner's.
 */
struct waiter {
	struct sl_list link;
	struct partition *partition; /* NULL: not linked anywhere */
	/* The wait ended; @w is unlinked before the call.  @kerr: NONE, or why it failed. */
	void (*wake)(struct ctx *ctx, struct waiter *w, enum sl_kerr kerr);
	void *owner;
	int64_t offset; /* durability: wait until flushed >= offset */
	uint64_t cookie;
	int64_t base_offset;
	int16_t *error_code; /* durability: where the owner notes a failure */
};

/*
 * Memory at a log's end that records are received into.  Legal states: partition NULL: none, and
 * zeroed memory is that; else it is partition->reservation, and keeps a reference, so that the log
 * stays open.  Memory is the owner's.
 */
struct reservation {
	struct partition *partition;
	uint8_t *memory; /* the log's */
	/* Somebody else appends: copy what is there, the reservation ends with this call.  Return:
	 * false when there is no room for it now. */
	bool (*displace)(struct ctx *ctx, struct reservation *r);
};

struct partition {
	struct sl_list lane_link;    /* ctx->partitions */
	struct sl_list dirty_link;   /* partitions with waiters for a sync that has not begun */
	struct sl_list point_link;   /* ctx->points: a sync ended since the last checkpoint */
	struct sl_list dirsync_link; /* dirsync.c: written, and no sync has ended that covers it */
	uint32_t dirsync_gen;        /* while linked: of its dir then */
	struct sl_list clean_link;   /* ctx->cleaning.logs */
	struct sl_log *log;
	struct sl_slot *slot;
	struct sl_uuid topic_id;
	int32_t index; /* partition number */
	int32_t lane;  /* that owns it */
	uint32_t log_dir;
	int32_t leader_epoch;
	uint32_t refs;             /* replies holding ranges, syncs under way, the lane itself */
	struct flush_policy flush; /* of the topic's configuration */
	uint64_t unsynced_bytes;   /* appended since the last sync began */
	int64_t appended_ms;       /* monotonic: when the oldest unsynced append came; 0 none */
	int64_t tick_ms;           /* next sl_log_tick() */
	int64_t point_ms;          /* while in ctx->points, in whose order: checkpoint not before */
	int clean_error;           /* -errno that took it out of compaction; 0 none */
	uint32_t dirty_ppm;        /* of its log, at the last look */
	uint32_t turn;             /* of which rounds of looks write what nobody asks for */
	uint32_t producers;        /* of its log, as the lane's gauge has them */
	bool is_txn_late;          /* the same */
	bool is_cleaning;          /* the cleaner has its log */
	bool is_closing;           /* detached: fail new work */
	bool is_offline;           /* its log or log dir failed: KAFKA_STORAGE_ERROR for appends */
	bool sync_running;
	bool is_place_wanted;            /* an append could not displace the reservation */
	struct reservation *reservation; /* at the log's end; NULL none */
	int64_t contested_ms; /* monotonic: until then records are likely to be displaced */
	uint64_t sync_started_ns;
	uint64_t gather_until_ns; /* the next sync waits at most so long for more waiters */
	uint32_t gather_count;    /* waiters that the last sync took along */
	uint32_t gathered;        /* waiters linked since that one began */
	int64_t high_watermark;
	int64_t last_stable; /* the last stable offset: where readers of committed records stop */
	struct sl_list fetch_waiters;  /* struct waiter, woken by an append */
	struct sl_list stable_waiters; /* the same, woken when last_stable moves */
	struct sl_list sync_waiters;   /* struct waiter in offset order */
	struct sl_list verify_waiters; /* struct waiter, woken by whoever has the answer */
	struct sl_log_sync sync;
	char name[264]; /* "topic-partition" for log lines */
};

/* References; the last put of a closing partition hands it to the host thread. */
void partition_get(struct partition *p);
void partition_put(struct ctx *ctx, struct partition *p);

/* For struct reply_range.piece and .put; the latter returns the range and the reference that a
 * fetch took. */
int partition_range_piece(const struct reply_range *range, uint32_t done, struct sl_log_piece *out);
void partition_range_put(struct ctx *ctx, struct reply_range *range);

/*
 * Adopted by / taken from its lane.  The host fills in log, slot, topic_id, index, lane, log_dir,
 * leader_epoch, flush and name; attach sets all the rest and opens the slot.
 * Detach fails every waiter with NOT_LEADER_OR_FOLLOWER and frees the slot.
 */
void partition_attach(struct ctx *ctx, struct partition *p);
void partition_detach(struct ctx *ctx, struct partition *p);

/* How an append ended. */
enum partition_outcome {
	PARTITION_APPENDED = 0,
	PARTITION_DUPLICATE, /* of an idempotent batch: nothing is written, @io has its offsets */
	PARTITION_REFUSED,   /* *kerr is the error for the client */
	PARTITION_NO_BUFFER, /* not now, nothing happened: after relief of CTX_LACK_BUFFERS */
	PARTITION_TIER_FULL, /* not now, nothing happened: after relief of CTX_LACK_TIER */
};

/**
 * partition_append() - append a validated batch and wake fetches
 * @batch: patched in place; the memory of the partition's reservation, or any other, which
 * displaces the reservation
 * @kerr: SL_KERR_NONE unless refused
 *
 * The reservation is over when its own memory is appended, a duplicate or refused.
 */
enum partition_outcome partition_append(struct ctx *ctx, struct partition *p, void *batch,
                                        size_t bytes, struct sl_log_append *io,
                                        enum sl_kerr *kerr) SL_MUST_CHECK;

/**
 * partition_reserve() - take memory at the log's end for records that are about to arrive
 * @r: with displace set; linked on success
 *
 * Return: 0; -EAGAIN the hot tier is full; -EBUSY reserved by another; other: not here.
 */
int partition_reserve(struct ctx *ctx, struct partition *p, size_t bytes,
                      struct reservation *r) SL_MUST_CHECK;
/* A no-op when it is none. */
void partition_unreserve(struct ctx *ctx, struct reservation *r);
/* Several connections append here, or did a moment ago. */
bool partition_is_contested(const struct ctx *ctx, const struct partition *p);

/* Links @w until flushed >= w->offset.  Return: false when it is durable already (with flush=lazy:
 * once it is appended) and nothing was linked. */
bool partition_wait_sync(struct ctx *ctx, struct partition *p, struct waiter *w);
/* Links @w until something is appended; with @is_committed until the last stable offset moves. */
void partition_wait_fetch(struct partition *p, struct waiter *w, bool is_committed);
/* Links @w so that it is told when the partition leaves this lane. */
void partition_wait_verify(struct partition *p, struct waiter *w);
void partition_unwait(struct waiter *w);

/* After any other change of the log: takes the partition offline if the log failed, and with it
 * every partition of its log dir if it was the disk that failed. */
void partition_check(struct ctx *ctx, struct partition *p);
/* A sync of its whole log dir has ended, well or not. */
void partition_dir_synced(struct ctx *ctx, struct partition *p);
/* The disk of the log dir failed: partition_dir_offline(), and the host is told. */
void partition_dir_failed(struct ctx *ctx, uint32_t dir, int error);
/* The log dir takes no more appends: every partition in it goes offline, and those that are
 * attached later.  @error: -errno. */
void partition_dir_offline(struct ctx *ctx, uint32_t dir, int error);
/* A dir that failed under a lane, and is taken away from @dirs by this call.  Context: host thread.
 * Return: false when there is none. */
bool partition_failed_dir(struct ctx_dirs *dirs, uint32_t *dir, int *error);

/* Begins group commits for dirty partitions, takes results of finished ones.  Return: work done. */
unsigned partition_poll(struct ctx *ctx);
/* Retention, roll, slots; bounded work per call.  Return: work done. */
unsigned partition_tick(struct ctx *ctx);
/* When partition_tick() has something to do next, monotonic ms. */
int64_t partition_next_ms(const struct ctx *ctx);
/* New topic configuration. */
void partition_configure(struct ctx *ctx, struct partition *p, const struct sl_log_config *config,
                         const struct flush_policy *flush);
/* At the end of a lane, before any log is closed: waits for group commits under way and takes their
 * results.  Sleeps. */
void partition_stop(struct ctx *ctx);
/* After the log's start or end, or the high watermark, may have moved: derives the last stable
 * offset, publishes offsets and sizes in the slot, wakes who waits for committed records. */
void partition_moved(struct ctx *ctx, struct partition *p);

#endif
