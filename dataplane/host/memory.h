/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory there is for this process: the machine's, or less by its cgroup's limit. */
#ifndef DATAPLANE_HOST_MEMORY_H
#define DATAPLANE_HOST_MEMORY_H

#include "sluice/base/base.h"

#define MEMORY_NO_LIMIT UINT64_MAX

struct memory {
	uint64_t total_bytes;     /* 0: unknown */
	uint64_t available_bytes; /* without swapping; 0: unknown */
};

void memory_read(struct memory *out);

/* A field of /proc/meminfo, e.g. "MemTotal".  Return: bytes, 0 when there is none. */
uint64_t memory_field(const char *meminfo, const char *name);
/* The smallest memory.max of a cgroup and those above it.
 * @root: where cgroup v2 is mounted, @path: "/a/b".  Return: bytes or MEMORY_NO_LIMIT. */
uint64_t memory_cgroup_limit(const char *root, const char *path);

#endif
