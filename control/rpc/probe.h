/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long the disks take to make 4 KiB durable.  Measured by a thread of its own, because a disk
 * may hang: the loop only waits for a descriptor.
 */
#ifndef CONTROL_RPC_PROBE_H
#define CONTROL_RPC_PROBE_H

#include "sluice/base/base.h"

#define PROBE_SYNCS_MAX 64
/* Measuring one folder stops after this long. */
#define PROBE_DIR_MS    300

struct probe_result {
	char *dir; /* Owned by the probe */
	int error; /* 0, or errno of what failed */
	uint32_t syncs;
	uint64_t median_us;
	uint64_t max_us;
	bool is_memory; /* the folder lies on tmpfs */
};

struct probe;

/* One at a time.  Return: 0; -EBUSY one is running; -errno; -ENOMEM. */
int probe_start(struct probe **out, char *const *dirs, uint32_t dirs_count) SL_MUST_CHECK;
/* Becomes readable when the results are there. */
int probe_fd(const struct probe *p);
/* To be called once, after that.  Return: how many. */
uint32_t probe_results(struct probe *p, const struct probe_result **out);
/* Gives up one's hold, also while it is running. */
void probe_put(struct probe *p);

#endif
