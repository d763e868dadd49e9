/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the data plane publishes for the control process to read: one slot per partition and one
 * block of counters per lane, in a sealed memfd that lives as long as the data plane.  Single
 * writer each (the lane), any number of readers; every field is an independent relaxed atomic.
 */
#ifndef SLUICE_IPC_SHM_H
#define SLUICE_IPC_SHM_H

#include <stdatomic.h>

#include "sluice/base/base.h"
#include "sluice/ipc/stats.h"

#define SL_SHM_MAGIC        UINT64_C(0x534c5549434531) /* "SLUICE1" */
#define SL_SHM_LANES_MAX    64
/* The header has this much to itself: a multiple of every page size, because the control process
 * replaces these pages by a private copy of the header that it checked. */
#define SL_SHM_HEADER_BYTES 65536

enum sl_slot_state {
	SL_SLOT_FREE = 0,
	SL_SLOT_OPEN,    /* served */
	SL_SLOT_OFFLINE, /* its log dir failed: reads may work, appends do not */
	SL_SLOT_NR
};

/* What becomes of a partition with cleanup.policy=compact. */
enum sl_slot_cleaner {
	SL_SLOT_CLEANER_NONE = 0, /* it is not compacted */
	SL_SLOT_CLEANER_WAITING,  /* until it is dirty enough and its turn */
	SL_SLOT_CLEANER_RUNNING,
	SL_SLOT_CLEANER_FAILED, /* out of compaction after an error */
	SL_SLOT_CLEANER_NR
};

struct sl_slot {
	struct sl_uuid topic_id; /* set before state is released as OPEN */
	int32_t partition;
	_Atomic uint32_t state;
	_Atomic int64_t log_start;
	_Atomic int64_t high_watermark;
	_Atomic int64_t log_end;
	_Atomic int64_t flushed;
	_Atomic uint64_t log_bytes;
	_Atomic uint32_t segments;
	_Atomic int32_t lane;
	_Atomic uint32_t log_dir; /* index into log.dirs */
	_Atomic int32_t leader_epoch;
	_Atomic int64_t last_stable;  /* last stable offset */
	_Atomic int64_t clean_offset; /* everything below was compacted; -1: it is not compacted */
	_Atomic uint32_t cleaner;     /* enum sl_slot_cleaner */
	_Atomic uint32_t dirty_ppm;   /* at the last look */
	uint8_t pad[24];
};
_Static_assert(sizeof(struct sl_slot) == 128, "a slot is two cache lines");

struct sl_lane_stats {
	_Atomic uint64_t v[SL_STAT_NR];
} SL_CACHE_ALIGNED;

struct sl_shm {
	uint64_t magic;
	uint64_t bytes; /* of the whole mapping */
	uint32_t lanes_count;
	uint32_t slots_count;
	uint64_t stats_pos;   /* struct sl_lane_stats[lanes_count] */
	uint64_t slots_pos;   /* struct sl_slot[slots_count] */
	uint64_t incarnation; /* random, new at every start of the data plane */
	int64_t started_ms;   /* wall clock */
	int32_t pid;
	uint8_t pad[4];
};

size_t sl_shm_bytes(uint32_t lanes_count, uint32_t slots_count);
/* Fills the header of zeroed memory: sizes, a new random incarnation, start time, pid. */
void sl_shm_init(struct sl_shm *shm, uint32_t lanes_count, uint32_t slots_count);
/* Return: 0; -EPROTO when @mapped_bytes or the header do not fit each other. */
int sl_shm_check(const struct sl_shm *shm, size_t mapped_bytes) SL_MUST_CHECK;
/* NULL when @index or @lane is not below the count in the header. */
struct sl_slot *sl_shm_slot(struct sl_shm *shm, uint32_t index);
struct sl_lane_stats *sl_shm_stats(struct sl_shm *shm, uint32_t lane);

static inline void sl_stat_add(struct sl_lane_stats *s, enum sl_stat stat, uint64_t n)
{
	/* One writer: a plain add published with a relaxed store is enough. */
	atomic_store_explicit(&s->v[stat],
	                      atomic_load_explicit(&s->v[stat], memory_order_relaxed) + n,
	                      memory_order_relaxed);
}

static inline void sl_stat_set(struct sl_lane_stats *s, enum sl_stat stat, uint64_t value)
{
	atomic_store_explicit(&s->v[stat], value, memory_order_relaxed);
}

#endif
