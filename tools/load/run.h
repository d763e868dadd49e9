/* SPDX-License-Identifier: Apache-2.0 */
/* What the main thread and the workers of one run share. */
#ifndef LOAD_RUN_H
#define LOAD_RUN_H

#include <pthread.h>
#include <stdatomic.h>

#include "cluster.h"
#include "options.h"

struct run {
	const struct options *opts;
	pthread_mutex_t lock;
	struct cluster cluster; /* under lock */
	char fatal[512];        /* under lock; empty: nothing */
	/* Counts up with each change of cluster; written by the main thread with release, after the
	 * lock was given back, and read by the workers with acquire before they take it. */
	_Atomic uint32_t cluster_version;
	/* The newest version that a worker found to be wrong; relaxed, it is only a hint to look.
	 */
	_Atomic uint32_t stale_version;
	_Atomic bool is_stopping;      /* relaxed: end soon */
	_Atomic uint64_t records_seen; /* by consumers; relaxed */
	_Atomic uint64_t records_new;  /* of these, not duplicated and not corrupt; relaxed */
	_Atomic uint64_t records_acked;
	/* Workers whose producers may still write.  Decremented with release after the last count
	 * of records_acked, read with acquire by consumers of e2e. */
	_Atomic int32_t producing;
	uint64_t start_ns, count_from_ns, end_ns; /* set before the workers begin */
};

/* Remembers the first reason and ends the run. */
void run_fail(struct run *r, const char *fmt, ...) SL_PRINTF(2, 3);
static inline bool run_is_stopping(struct run *r)
{
	return atomic_load_explicit(&r->is_stopping, memory_order_relaxed);
}
static inline void run_stop(struct run *r)
{
	atomic_store_explicit(&r->is_stopping, true, memory_order_relaxed);
}
static inline bool run_counts(const struct run *r, uint64_t now_ns)
{
	return now_ns >= r->count_from_ns && now_ns < r->end_ns;
}
static inline uint32_t run_version(struct run *r)
{
	return atomic_load_explicit(&r->cluster_version, memory_order_acquire);
}
/* Asks the main thread for newer metadata than @version. */
void run_refresh(struct run *r, uint32_t version);
/* The leader of @partition.  Return: false when it has none. */
bool run_leader(struct run *r, int32_t partition, struct sockaddr_storage *addr);
/* First offset of @partition as last heard. */
int64_t run_earliest(struct run *r, int32_t partition);

#endif
