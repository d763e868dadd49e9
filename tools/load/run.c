/* SPDX-License-Identifier: Apache-2.0 */
/* What the main thread and the workers share: the way to fail, and the map of the cluster. */
#include "run.h"

#include <stdarg.h>

void run_fail(struct run *r, const char *fmt, ...)
{
	va_list args;

	pthread_mutex_lock(&r->lock);
	/* The first reason is the cause, the others follow from it. */
	if (!r->fatal[0]) {
		va_start(args, fmt);
		vsnprintf(r->fatal, sizeof(r->fatal), fmt, args);
		va_end(args);
	}
	pthread_mutex_unlock(&r->lock);
	run_stop(r);
}

void run_refresh(struct run *r, uint32_t version)
{
	atomic_store_explicit(&r->stale_version, version, memory_order_relaxed);
}

bool run_leader(struct run *r, int32_t partition, struct sockaddr_storage *addr)
{
	int32_t node = -1;

	pthread_mutex_lock(&r->lock);
	if (partition < r->cluster.partitions_count)
		node = r->cluster.partitions[partition].node;
	if (node >= 0)
		*addr = r->cluster.nodes[node].addr;
	pthread_mutex_unlock(&r->lock);
	return node >= 0;
}

int64_t run_earliest(struct run *r, int32_t partition)
{
	int64_t offset = 0;

	pthread_mutex_lock(&r->lock);
	if (partition < r->cluster.partitions_count)
		offset = SL_MAX(r->cluster.partitions[partition].earliest, INT64_C(0));
	pthread_mutex_unlock(&r->lock);
	return offset;
}
