/* SPDX-License-Identifier: Apache-2.0 */
/* Start of DPDK's environment layer: which CPUs the lanes get, and where their memory comes from.
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
/* rte_eal_init() by the plan; falls back to ordinary pages when huge ones are refused.  Lane i is
 * lcore 1 + i, the calling thread is lcore 0.  Return: 0 or -errno. */
int eal_start(struct eal_plan *plan, const struct sl_conf *conf,
              char error[SL_CONF_ERROR_MAX]) SL_MUST_CHECK;
/* Takes down what eal_start() built, the folder for DPDK's telemetry socket too. */
void eal_stop(void);
/* Parses "2-5,8" into @set; for tests too.  Return: number of CPUs or -EINVAL. */
int eal_parse_cpus(const char *text, uint8_t *set, uint32_t set_count);

#endif
