/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every layer of one lane shares.  Owned by lane.c; all of it belongs to the lane's core.
 */
#ifndef DATAPLANE_CTX_H
#define DATAPLANE_CTX_H

#include <stdatomic.h>

#include "sluice/base/arena.h"
#include "sluice/base/base.h"
#include "sluice/base/buf.h"
#include "sluice/base/conf.h"
#include "sluice/base/list.h"
#include "sluice/ipc/channel.h"
#include "sluice/ipc/shm.h"

#include "net/pool.h"

struct checkpoints;
struct cleaner_port;
struct cold;
struct dirsync;
struct guard;
struct image;
struct request;
struct partition;
struct sl_clean;
struct sl_codec_ctx;
struct sl_hot_pool;
struct verify_table;
struct writer;

/* When appended data has to be on stable storage: flush, flush.ms and flush.bytes of a topic. */
struct flush_policy {
	bool is_lazy; /* acks=all does not wait for it */
	int64_t ms;
	int64_t bytes;
};

/* Broker configuration as the hot path wants it; constant after start. */
struct ctx_config {
	uint32_t request_bytes_max;
	uint32_t fetch_bytes_max;
	int64_t idle_ms;  /* connections.max.idle.ms */
	int64_t frame_ms; /* connection.request.timeout.ms */
	uint32_t connections_max;
	uint32_t connections_per_ip_max;
	int64_t idle_spin_ns;     /* -1: never sleep */
	int64_t control_grace_ms; /* how long a forwarded request waits for a lost control process
	                           */
	int64_t tick_ms;          /* log.retention.check.interval.ms */
	int64_t clean_backoff_ms; /* log.cleaner.backoff.ms */
	int64_t txn_late_ms;      /* an open transaction without a record for so long is late */
};

/* Requests that wait with a deadline: a binary heap ordered by request->deadline_ms. */
struct ctx_deadlines {
	struct request **heap; /* Owned; capacity fixed at start */
	uint32_t count;
	uint32_t max;
};

/* What runs out and comes back without an event of its own. */
enum ctx_lack {
	CTX_LACK_BUFFERS = 0, /* blocks of the pool, free requests */
	CTX_LACK_TIER,        /* room in the hot tier: its bytes are not on disk yet */
	CTX_LACK_NR
};

#define CTX_DIRS_MAX 64 /* log dirs: bits of a word */

/*
 * Log dirs that failed.  The one thing a lane has to tell the host thread unasked, so it has no
 * message to give back: the lane stores the error, sets the bit and writes wake_fd; the host takes
 * the bit away.
 */
struct ctx_dirs {
	uint64_t offline;                 /* the lane's own: no appends there any more */
	_Atomic uint64_t failed;          /* found by this lane, not yet taken by the host */
	_Atomic int errors[CTX_DIRS_MAX]; /* -errno, for each bit that was set in failed */
	int wake_fd;                      /* the host's; -1 none */
};

/* Rounds in which partition_tick() looks at every partition of the lane once. */
struct ctx_looks {
	int64_t begin_ms;    /* of this round */
	uint32_t round;      /* wraps around */
	uint32_t done;       /* looks of this round */
	uint32_t partitions; /* in ctx->partitions */
	uint32_t late;       /* writes of this round that nobody had asked for */
	bool are_many;       /* partitions with such writes, in the round before */
};

/* Compaction; see partition/cleaning.c. */
struct ctx_cleaning {
	struct cleaner_port *port; /* Borrowed; NULL: log.cleaner.enable=false */
	struct sl_list logs;       /* struct partition.clean_link: those that are compacted */
	struct partition *busy;    /* whose log the cleaner has; NULL: none */
	struct sl_clean *clean;    /* of busy; the cleaner's */
	int64_t begun_ms;
	int64_t next_ms; /* not before: next round */
	bool is_round;   /* logs are being looked at */
	uint32_t left;   /* of logs, in this round */
	struct partition *best;
	uint32_t max_ppm;
	int64_t max_overdue_ms;
	uint64_t uncleanable_bytes;
};

struct ctx {
	uint32_t index; /* lane number */
	uint32_t lanes_count;
	int32_t node_id;      /* Kafka node id of this lane */
	int32_t node_id_base; /* of lane 0 */
	const struct ctx_config *config;
	struct sl_lane_stats *stats;

	/* Read once per loop iteration. */
	uint64_t now_ns; /* monotonic */
	int64_t now_ms;
	int64_t wall_ms;

	const struct image *image; /* valid until the next loop top */
	struct sl_arena scratch;   /* reset before each request runs */
	struct sl_buf out;         /* the reply being encoded; fixed memory, holes enabled */
	struct pool pool;
	struct sl_codec_ctx *codec;
	struct sl_channel *control;     /* NULL: the control process is away */
	uint64_t control_attachment;    /* rises with every change of control */
	struct sl_list control_answers; /* control.c's: for which the ring had no room */
	struct verify_table *verifies;  /* Owned; questions to the transaction coordinator */
	struct writer *writer;
	struct dirsync *dirsync;         /* Owned; NULL: every partition is synced on its own */
	struct checkpoints *checkpoints; /* Owned; NULL: the lane writes them itself */
	struct sl_hot_pool *hot;         /* this lane's part of the hot tier; NULL: none */
	struct guard *guard;             /* Owned; NULL: nothing is sent by reference but files */
	struct cold *cold;               /* Owned; what was read ahead for catch-up readers */

	struct ctx_deadlines deadlines;
	struct request *
		*control_parked; /* Owned; by connection number: its PARKED_CONTROL request */
	struct sl_list done;     /* requests whose reply is ready: struct request.done_link */
	struct sl_list runnable; /* parked requests to run again: struct request.done_link */
	struct sl_list starved[CTX_LACK_NR]; /* struct request.done_link: run again after relief */
	uint64_t relief[CTX_LACK_NR];        /* rises when some came back; see ctx_relief() */
	size_t receive_bytes_max;  /* of pool.used: what is received stops there, answers do not */
	struct sl_list partitions; /* struct partition.lane_link */
	struct ctx_looks looks;
	struct sl_list points; /* struct partition.point_link */
	uint64_t gather_ns;    /* monotonic: until then a sync waits for more waiters */
	int64_t point_ms;      /* not before: next checkpoint of any partition */
	int64_t press_ms;      /* not before: next time that a full tier marks all dirty */
	struct ctx_cleaning cleaning;
	struct ctx_dirs dirs;
	struct sl_list dirty; /* struct partition.dirty_link: waiters, but no sync under way */
	struct sl_list
		released; /* closed partitions without references, on their way to the host */
};

static inline void ctx_count(struct ctx *ctx, enum sl_stat stat, uint64_t n)
{
	sl_stat_add(ctx->stats, stat, n);
}

/* Somebody who waits for @lack may get it now. */
static inline void ctx_relieve(struct ctx *ctx, enum ctx_lack lack)
{
	ctx->relief[lack]++;
}

/* Rises whenever some of @lack came back. */
static inline uint64_t ctx_relief(const struct ctx *ctx, enum ctx_lack lack)
{
	return ctx->relief[lack] + (lack == CTX_LACK_BUFFERS ? ctx->pool.puts : 0);
}

static inline void ctx_gauge_add(struct ctx *ctx, enum sl_stat stat, int64_t n)
{
	sl_stat_add(ctx->stats, stat, (uint64_t)n);
}

#endif
