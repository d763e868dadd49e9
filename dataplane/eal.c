/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUs and memory of the data plane.  Without lane.cpus the lanes take the last CPUs this process
 * may run on, so that CPU 0, where most machines' housekeeping runs, stays free as long as it can.
 */
#include "eal.h"

#include <errno.h>
#include <numa.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>

#include "sluice/base/assert.h"
#include "sluice/base/file.h"
#include "sluice/base/log.h"

#define EAL_CPUS_MAX CPU_SETSIZE
#define EAL_ARGS_MAX 24

int eal_parse_cpus(const char *text, uint8_t *set, uint32_t set_count)
{
	int found = 0;

	memset(set, 0, set_count);
	while (*text) {
		char *end;
		unsigned long from = strtoul(text, &end, 10);
		unsigned long to = from;

		if (end == text || *text == '-' || *text == '+')
			return -EINVAL;
		if (*end == '-') {
			text = end + 1;
			to = strtoul(text, &end, 10);
			if (end == text || *text == '-' || *text == '+')
				return -EINVAL;
		}
		if (to < from || to >= set_count || (*end && *end != ','))
			return -EINVAL;
		for (unsigned long cpu = from; cpu <= to; cpu++) {
			found += !set[cpu];
			set[cpu] = 1;
		}
		if (*end == ',' && !end[1])
			return -EINVAL;
		text = *end ? end + 1 : end;
	}
	return found;
}

static int numa_node_of(int cpu)
{
	return numa_available() < 0 ? -1 : numa_node_of_cpu(cpu);
}

/* CPUs by NUMA node, so that neighbours share a node. */
static int order_cpus(const cpu_set_t *mask, int cpus[EAL_CPUS_MAX])
{
	int nodes = numa_available() < 0 ? 0 : numa_max_node();
	int count = 0;

	for (int node = -1; node <= nodes; node++)
		for (int cpu = 0; cpu < EAL_CPUS_MAX; cpu++)
			if (CPU_ISSET(cpu, mask) && numa_node_of(cpu) == node)
				cpus[count++] = cpu;
	return count;
}

static int restrict_cpus(cpu_set_t *mask, const char *text, char error[SL_CONF_ERROR_MAX])
{
	uint8_t set[EAL_CPUS_MAX];

	if (eal_parse_cpus(text, set, EAL_CPUS_MAX) <= 0) {
		snprintf(error, SL_CONF_ERROR_MAX, "lane.cpus: \"%s\" is not a CPU list like 2-5,8",
		         text);
		return -EINVAL;
	}
	for (int cpu = 0; cpu < EAL_CPUS_MAX; cpu++) {
		if (set[cpu] && !CPU_ISSET(cpu, mask)) {
			snprintf(
				error, SL_CONF_ERROR_MAX,
				"lane.cpus: CPU %d does not exist or is outside this process's affinity",
				cpu);
			return -EINVAL;
		}
		if (!set[cpu])
			CPU_CLR(cpu, mask);
	}
	return 0;
}

int eal_plan_make(struct eal_plan *plan, const struct sl_conf *conf, char error[SL_CONF_ERROR_MAX])
{
	const char *text = sl_conf_str(conf, SL_CK_lane_cpus);
	int64_t wanted = sl_conf_int(conf, SL_CK_lane_count);
	int cpus[EAL_CPUS_MAX];
	cpu_set_t mask;
	int count, rc;

	memset(plan, 0, sizeof(*plan));
	if (sched_getaffinity(0, sizeof(mask), &mask) != 0)
		return -errno;
	if (*text) {
		rc = restrict_cpus(&mask, text, error);
		if (rc != 0)
			return rc;
	}
	count = order_cpus(&mask, cpus);
	if (wanted == 0)
		wanted = *text ? count : SL_MAX(1, count - 1);
	wanted = SL_MIN(wanted, SL_SHM_LANES_MAX);
	if (*text && wanted > count) {
		snprintf(error, SL_CONF_ERROR_MAX,
		         "lane.count: %lld lanes but lane.cpus names %d CPUs", (long long)wanted,
		         count);
		return -ERANGE;
	}
	plan->lanes_count = (uint32_t)wanted;
	for (int i = 0; i < wanted; i++) {
		/* More lanes than CPUs share them: slow, but right, and what tests need. */
		int at = count >= wanted ? count - (int)wanted + i : i % count;

		plan->cpus[i] = cpus[at];
		plan->numa_nodes[i] = numa_node_of(cpus[at]);
	}
	return 0;
}

/* ---- Memory ---- */

static int64_t free_huge_bytes(void)
{
	char *text;
	size_t len;
	int64_t pages;

	if (sl_file_read("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", 64, &text,
	                 &len) != 0)
		return 0;
	pages = strtoll(text, NULL, 10);
	free(text);
	return pages * (INT64_C(2) << 20);
}

static void choose_memory(struct eal_plan *plan, const struct sl_conf *conf)
{
	int64_t want = sl_conf_int(conf, SL_CK_hugepages_bytes);
	int64_t have = free_huge_bytes();

	plan->is_huge = false;
	if (strcmp(sl_conf_str(conf, SL_CK_hugepages), "never") == 0) {
		snprintf(plan->huge_reason, sizeof(plan->huge_reason),
		         "hugepages=never in the configuration");
		return;
	}
	if (have >= want) {
		plan->is_huge = true;
		return;
	}
	snprintf(plan->huge_reason, sizeof(plan->huge_reason),
	         "%lld MiB of free 2 MiB pages, %lld MiB wanted; more TLB misses; fix: sysctl "
	         "vm.nr_hugepages=%lld",
	         (long long)(have >> 20), (long long)(want >> 20), (long long)((want >> 21) + 16));
}

static int init(const struct eal_plan *plan, const struct sl_conf *conf)
{
	char lcores[SL_SHM_LANES_MAX * 16 + 64];
	char prefix[48], mem[24];
	char *argv[EAL_ARGS_MAX];
	cpu_set_t mask;
	int argc = 0;
	int len = 0;

	/* The host thread runs wherever the scheduler likes; each lane is pinned to its CPU. */
	if (sched_getaffinity(0, sizeof(mask), &mask) != 0)
		return -errno;
	len += snprintf(lcores, sizeof(lcores), "0@(");
	for (int cpu = 0, n = 0; cpu < EAL_CPUS_MAX && len < (int)sizeof(lcores) / 2; cpu++)
		if (CPU_ISSET(cpu, &mask))
			len += snprintf(lcores + len, sizeof(lcores) - (size_t)len, "%s%d",
			                n++ ? "," : "", cpu);
	len += snprintf(lcores + len, sizeof(lcores) - (size_t)len, ")");
	for (uint32_t i = 0; i < plan->lanes_count; i++)
		len += snprintf(lcores + len, sizeof(lcores) - (size_t)len, ",%u@%d", i + 1,
		                plan->cpus[i]);
	SL_ASSERT(len < (int)sizeof(lcores));
	snprintf(prefix, sizeof(prefix), "sluice-%d", (int)getpid());
	snprintf(mem, sizeof(mem), "%lld",
	         (long long)(sl_conf_int(conf, SL_CK_hugepages_bytes) >> 20));

	const char *const args[] = {"sluice-dataplane",
	                            "--lcores",
	                            lcores,
	                            "--main-lcore",
	                            "0",
	                            "--no-pci",
	                            "--iova-mode=va",
	                            "--file-prefix",
	                            prefix,
	                            "--log-level=*:warning",
	                            "-m",
	                            mem,
	                            plan->is_huge ? "--in-memory" : "--no-huge"};

	for (size_t i = 0; i < SL_ARRAY_SIZE(args); i++)
		argv[argc++] = (char *)(uintptr_t)args[i];
	argv[argc] = NULL;
	return rte_eal_init(argc, argv) < 0 ? -rte_errno : 0;
}

int eal_start(struct eal_plan *plan, const struct sl_conf *conf, char error[SL_CONF_ERROR_MAX])
{
	int rc;

	choose_memory(plan, conf);
	rc = init(plan, conf);
	if (rc != 0) {
		snprintf(error, SL_CONF_ERROR_MAX, "start DPDK: %s", strerror(-rc));
		return rc;
	}
	if (plan->is_huge)
		sl_log(INFO, main, "hugepages on bytes=%lld",
		       (long long)sl_conf_int(conf, SL_CK_hugepages_bytes));
	else
		sl_log(WARN, main, "hugepages off: %s", plan->huge_reason);
	return 0;
}
