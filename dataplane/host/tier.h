/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hot tier as this process has it: one for each NUMA node that has lanes, a slice of it for
 * each of them.  The control process keeps the descriptors, so the memory outlives this process:
 * what a killed one had not written is written first, then its memory is used again.
 *
 * Host thread only, but for a thread of its own that touches the memory in the background.
 */
#ifndef DATAPLANE_HOST_TIER_H
#define DATAPLANE_HOST_TIER_H

#include "host/logdirs.h"
#include "host/memory.h"
#include "sluice/base/conf.h"
#include "sluice/ipc/msg.h"

struct sl_hot_pool;
struct tier;

#define TIER_REASON_MAX 256

struct tier_opts {
	const struct sl_conf *conf; /* Borrowed */
	uint32_t lanes_count;
	const int *numa_nodes; /* of each lane, -1 any; copied */
};

/* How large it is to be. */
struct tier_size {
	uint64_t wanted; /* by the key, for the size of the machine; 0: off */
	uint64_t bytes;  /* as far as memory is there; 0: no tier */
};

/* @key: log.hot.bytes.  Pure. */
void tier_size(struct tier_size *out, int64_t key, const struct memory *memory, uint32_t lanes);

/* Divides the lanes; there is no memory before tier_open().  Return: 0 or -ENOMEM. */
int tier_create(struct tier **out, const struct tier_opts *opts) SL_MUST_CHECK;
/* Stops the thread and unmaps.  After every log is closed; a no-op on NULL. */
void tier_destroy(struct tier *t);

/**
 * tier_open() - save what earlier data planes left, then make the tiers of this one
 * @memory: of the machine, now
 * @offered: what the control process holds; borrowed
 * @dirs: in which no log is open yet.  One that cannot take its records goes offline.
 *
 * Once.  Memory that cannot be had is no error: the lanes of that node work without.
 *
 * Return: 0; -ENOSPC, -EDQUOT there is no room for what was left; -ENOMEM, -EMFILE, ...: it is for
 * the control process to keep until another try.
 */
int tier_open(struct tier *t, const struct memory *memory, const struct sl_ipc_tiers *offered,
              struct logdirs *dirs) SL_MUST_CHECK;
bool tier_is_open(const struct tier *t);
/* Begins to touch the memory, in a thread of its own.  Once, after tier_open(). */
void tier_populate(struct tier *t);

/* For the control process to hold.  Descriptors are borrowed. */
void tier_list(const struct tier *t, struct sl_ipc_tiers *out);
/* By lane; an entry is NULL while that lane has none.  Borrowed, as long as @t. */
struct sl_hot_pool *const *tier_pools(const struct tier *t);

/* For doctor: all nodes together. */
struct tier_state {
	uint64_t wanted;
	uint64_t bytes; /* 0: there is none */
	uint64_t populated;
	bool is_populating;
	bool is_huge; /* once nothing is populated any more */
	/* What is amiss, "cause; fix": too little memory, or small pages; "" */
	char reason[TIER_REASON_MAX];
};
void tier_state(const struct tier *t, struct tier_state *out);

#endif
