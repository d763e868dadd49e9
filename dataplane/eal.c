/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUs and memory of the data plane.  Without lane.cpus the lanes take the last CPUs this process
 * may run on, so that CPU 0, where most machines' housekeeping runs, stays free as long as it can.
 */
#include "eal.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <numa.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>

#include "sluice/base/assert.h"
#include "sluice/base/file.h"
#include "sluice/base/log.h"

#define EAL_CPUS_MAX   CPU_SETSIZE
#define EAL_ARGS_MAX   24
#define EAL_HUGE_BYTES (INT64_C(2) << 20)
#define EAL_PREFIX     "sluice-" /* of the folders for telemetry sockets; the pid follows */

struct eal {
	const struct eal_plan *plan;
	const struct sl_conf *conf;
	pthread_t thread;
	int fd;       /* eventfd, written when the start has ended */
	sem_t called; /* by the host thread: fn is to be run, or, NULL, the end has come */
	sem_t done;   /* by the main lcore: result is there, that of the start first */
	eal_fn *fn;
	void *arg;
	int result;
};

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

/* A number of the kernel about 2 MiB pages; 0 where there are none. */
static int64_t huge_pages(const char *name)
{
	char path[128], *text;
	size_t len;
	int64_t pages;

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-2048kB/%s", name);
	if (sl_file_read(path, 64, &text, &len) != 0)
		return 0;
	pages = strtoll(text, NULL, 10);
	free(text);
	return pages;
}

static void choose_memory(struct eal_plan *plan, const struct sl_conf *conf)
{
	int64_t want = (sl_conf_int(conf, SL_CK_hugepages_bytes) + EAL_HUGE_BYTES - 1) /
	               EAL_HUGE_BYTES;
	int64_t have = huge_pages("free_hugepages");

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
	/* The key counts all pages, those that others use as well. */
	snprintf(plan->huge_reason, sizeof(plan->huge_reason),
	         "%lld MiB of free 2 MiB pages, %lld MiB wanted; more TLB misses; fix: sysctl "
	         "vm.nr_hugepages=%lld",
	         (long long)(have * EAL_HUGE_BYTES >> 20), (long long)(want * EAL_HUGE_BYTES >> 20),
	         (long long)(huge_pages("nr_hugepages") + want - have));
}

static int init(const struct eal_plan *plan, const struct sl_conf *conf)
{
	char lcores[SL_SHM_LANES_MAX * 16 + 64];
	char prefix[48], mem[24];
	char *argv[EAL_ARGS_MAX];
	cpu_set_t mask;
	int argc = 0;
	int len = 0;

	/* This thread runs wherever the scheduler likes; each lane is pinned to its CPU. */
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
	snprintf(prefix, sizeof(prefix), EAL_PREFIX "%d", (int)getpid());
	snprintf(mem, sizeof(mem), "%lld",
	         (long long)(sl_conf_int(conf, SL_CK_hugepages_bytes) >> 20));

	const char *const args[] = {"sluice-dataplane", "--lcores", lcores, "--main-lcore", "0",
	                            "--no-pci", "--iova-mode=va", "--file-prefix", prefix,
	                            /* It warns that nothing uses its old protocol. */
	                            "--log-level=lib.telemetry:error", "--log-level=*:warning",
	                            "-m", mem,
	                            /* No secondary process is to map this one's memory. */
	                            "--no-shconf", plan->is_huge ? "--in-memory" : "--no-huge"};

	for (size_t i = 0; i < SL_ARRAY_SIZE(args); i++)
		argv[argc++] = (char *)(uintptr_t)args[i];
	argv[argc] = NULL;
	return rte_eal_init(argc, argv) < 0 ? -rte_errno : 0;
}

/* ---- The folder that DPDK makes for every process and never removes ---- */

static void remove_runtime_dir(const char *dir)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/dpdk_telemetry.v2", dir) < (int)sizeof(path))
		(void)unlink(path);
	/* Whatever else is in it is not ours, and keeps it. */
	(void)rmdir(dir);
}

/* Those of data planes that were killed. */
static void sweep_runtime_dirs(void)
{
	const char *own = rte_eal_get_runtime_dir();
	const char *slash = strrchr(own, '/');
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "%.*s", slash ? (int)(slash - own) : 0, own);
	dir = opendir(path);
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		const char *name = entry->d_name;
		char *end;
		long pid;

		if (strncmp(name, EAL_PREFIX, strlen(EAL_PREFIX)) != 0)
			continue;
		pid = strtol(name + strlen(EAL_PREFIX), &end, 10);
		if (*end || pid <= 0 || pid > INT_MAX || kill((pid_t)pid, 0) == 0 || errno != ESRCH)
			continue;
		if (snprintf(path, sizeof(path), "%.*s/%s", (int)(slash - own), own, name) <
		    (int)sizeof(path))
			remove_runtime_dir(path);
	}
	closedir(dir);
}

/* ---- The main lcore ---- */

static void log_memory(const struct eal *e)
{
	const struct eal_plan *plan = e->plan;

	if (plan->is_huge)
		sl_log(INFO, main, "hugepages on bytes=%lld",
		       (long long)sl_conf_int(e->conf, SL_CK_hugepages_bytes));
	else if (strcmp(sl_conf_str(e->conf, SL_CK_hugepages), "never") == 0)
		sl_log(INFO, main, "hugepages off: %s", plan->huge_reason);
	else
		sl_log(WARN, main, "hugepages off: %s", plan->huge_reason);
}

static void clean_up(void)
{
	char dir[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s", rte_eal_get_runtime_dir());
	rte_eal_cleanup();
	remove_runtime_dir(dir);
}

static void sleep_until(sem_t *sem)
{
	while (sem_wait(sem) != 0)
		SL_ASSERT(errno == EINTR);
}

static void *main_lcore(void *arg)
{
	const uint64_t one = 1;
	struct eal *e = arg;
	int rc;

	(void)pthread_setname_np(pthread_self(), "eal");
	rc = init(e->plan, e->conf);
	if (rc == 0) {
		sweep_runtime_dirs();
		log_memory(e);
	}
	e->result = rc;
	SL_ASSERT(sem_post(&e->done) == 0);
	SL_ASSERT(write(e->fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
	for (;;) {
		sleep_until(&e->called);
		if (!e->fn)
			break;
		e->result = e->fn(e->arg);
		SL_ASSERT(sem_post(&e->done) == 0);
	}
	if (rc == 0)
		clean_up();
	return NULL;
}

int eal_start(struct eal **out, struct eal_plan *plan, const struct sl_conf *conf)
{
	struct eal *e = calloc(1, sizeof(*e));
	int rc;

	if (!e)
		return -ENOMEM;
	choose_memory(plan, conf);
	e->plan = plan;
	e->conf = conf;
	SL_ASSERT(sem_init(&e->called, 0, 0) == 0 && sem_init(&e->done, 0, 0) == 0);
	e->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = e->fd < 0 ? -errno : -pthread_create(&e->thread, NULL, main_lcore, e);
	if (rc == 0) {
		*out = e;
		return 0;
	}
	if (e->fd >= 0)
		close(e->fd);
	free(e);
	return rc;
}

int eal_fd(const struct eal *e)
{
	return e->fd;
}

int eal_wait(struct eal *e, char error[SL_CONF_ERROR_MAX])
{
	sleep_until(&e->done);
	if (e->result != 0)
		snprintf(error, SL_CONF_ERROR_MAX,
		         "start DPDK: %s; fix: hugepages=never, or a smaller hugepages.bytes",
		         strerror(-e->result));
	return e->result;
}

int eal_call(struct eal *e, eal_fn *fn, void *arg)
{
	SL_ASSERT(fn);
	e->fn = fn;
	e->arg = arg;
	SL_ASSERT(sem_post(&e->called) == 0);
	sleep_until(&e->done);
	return e->result;
}

void eal_stop(struct eal *e)
{
	e->fn = NULL;
	SL_ASSERT(sem_post(&e->called) == 0);
	SL_ASSERT(pthread_join(e->thread, NULL) == 0);
	sem_destroy(&e->called);
	sem_destroy(&e->done);
	close(e->fd);
	free(e);
}
