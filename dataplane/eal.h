/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DPDK's environment layer: which CPUs the lanes get, where their memory comes from, and the thread
 * that is DPDK's main lcore.  DPDK sleeps 0.1 s at its start to measure the clock where the
 * processor does not tell its rate; that thread sleeps, and the host thread works meanwhile.
 */
#ifndef DATAPLANE_EAL_H
#define DATAPLANE_EAL_H

#include "sluice/base/conf.h"
#include "sluice/ipc/shm.h"

struct eal_plan {
	uint32_t lanes_count;
	int cpus[SL_SHM_LANES_MAX];       /* CPU of each lane */
	int numa_nodes[SL_SHM_LANES_MAX]; /* its NUMA node, -1 without NUMA */
	bool is_huge;                     /* DPDK memory on huge pages */
	char huge_reason[256];            /* why not, and the command that fixes it */
};

/**
 * eal_plan_make() - choose CPUs for the lanes by configuration, affinity mask and NUMA layout
 * Return: 0; -EINVAL lane.cpus cannot be read or names a CPU this process may not use; -ERANGE more
 * lanes than CPUs were given.
 */
int eal_plan_make(struct eal_plan *plan, const struct sl_conf *conf,
                  char error[SL_CONF_ERROR_MAX]) SL_MUST_CHECK;

/* Lane i is lcore 1 + i; lcore 0 is a thread that only starts DPDK and runs what DPDK wants to be
 * called from there. */
struct eal;
typedef int eal_fn(void *arg);

/**
 * eal_start() - begin rte_eal_init() by the plan, in a thread of its own
 * @plan: is_huge and huge_reason are filled in here: ordinary pages when there are too few huge
 * ones
 *
 * Ownership: @plan and @conf are borrowed until eal_stop().
 * Return: 0 it has begun; -errno.
 */
int eal_start(struct eal **out, struct eal_plan *plan, const struct sl_conf *conf) SL_MUST_CHECK;
/* Readable from when eal_wait() would not sleep. */
int eal_fd(const struct eal *eal);
/* Sleeps until DPDK is up or has failed, and says which; to be called once.  Return: 0 or -errno.
 */
int eal_wait(struct eal *eal, char error[SL_CONF_ERROR_MAX]) SL_MUST_CHECK;
/* Runs @fn on the main lcore and sleeps until it has returned; after eal_wait() returned 0.
 * Return: what @fn returned. */
int eal_call(struct eal *eal, eal_fn *fn, void *arg) SL_MUST_CHECK;
/* Sleeps until DPDK is up or has failed, then takes it down, and the folder for its telemetry
 * socket too. */
void eal_stop(struct eal *eal);
/* Parses "2-5,8" into @set; for tests too.  Return: number of CPUs or -EINVAL. */
int eal_parse_cpus(const char *text, uint8_t *set, uint32_t set_count);

#endif
