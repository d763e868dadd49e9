/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "/sluice/lanes" lists the lanes, "/sluice/lanes,N" has the counters of lane N: an answer of DPDK
 * holds 16 KiB, which is less than those of all lanes.
 */
#include "telemetry.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_telemetry.h>

#include "host_impl.h"
#include "sluice/base/log.h"

/* DPDK cannot take a command back and has a thread per client, so telemetry_stop() waits for them:
 * an answer counts itself in before it looks at the memory, whose owner takes it away before it
 * looks at the count. */
static struct sl_shm *_Atomic shown;
static _Atomic uint32_t readers;

static int list_lanes(const struct sl_shm *shm, struct rte_tel_data *out)
{
	int rc = rte_tel_data_start_array(out, RTE_TEL_INT_VAL);

	for (uint32_t i = 0; rc == 0 && i < shm->lanes_count; i++)
		rc = rte_tel_data_add_array_int(out, (int)i);
	return rc;
}

static int show_lane(struct sl_shm *shm, const char *params, struct rte_tel_data *out)
{
	const struct sl_lane_stats *stats;
	char *end;
	unsigned long lane = strtoul(params, &end, 10);
	int rc;

	if (*params < '0' || *params > '9' || *end || lane >= shm->lanes_count)
		return -EINVAL;
	stats = sl_shm_stats(shm, (uint32_t)lane);
	rc = rte_tel_data_start_dict(out);
	for (unsigned i = 0; rc == 0 && i < SL_STAT_NR; i++)
		rc = rte_tel_data_add_dict_u64(out, sl_stat_defs[i].name,
		                               atomic_load_explicit(&stats->v[i],
		                                                    memory_order_relaxed));
	return rc;
}

static int answer(const char *cmd, const char *params, struct rte_tel_data *out)
{
	struct sl_shm *shm;
	int rc = -ESHUTDOWN;

	(void)cmd;
	/* Sequentially consistent, with telemetry_stop(). */
	atomic_fetch_add_explicit(&readers, 1, memory_order_seq_cst);
	shm = atomic_load_explicit(&shown, memory_order_seq_cst);
	if (shm)
		rc = params && *params ? show_lane(shm, params, out) : list_lanes(shm, out);
	/* Release: with the acquire in telemetry_stop(). */
	atomic_fetch_sub_explicit(&readers, 1, memory_order_release);
	return rc;
}

void telemetry_start(const struct host *host)
{
	const char *dir = rte_eal_get_runtime_dir();
	char path[4096];
	int rc;

	snprintf(path, sizeof(path), "%s/dpdk_telemetry.v2", dir);
	if (access(path, F_OK) != 0) {
		sl_log(WARN, host,
		       "telemetry off: DPDK could not make a folder for its socket; DPDK's own tools "
		       "see nothing, sluicectl and /metrics do; fix: set XDG_RUNTIME_DIR to a folder "
		       "of this user");
		return;
	}
	atomic_store_explicit(&shown, host->shm, memory_order_seq_cst);
	rc = rte_telemetry_register_cmd(
		"/sluice/lanes", answer,
		"Lists the lanes, or shows the counters of one. Parameters: lane (optional)");
	if (rc != 0)
		sl_log(WARN, host, "telemetry without /sluice/lanes: %s", strerror(-rc));
	else
		sl_log(INFO, host, "telemetry on: %s", path);
}

void telemetry_stop(void)
{
	atomic_store_explicit(&shown, NULL, memory_order_seq_cst);
	while (atomic_load_explicit(&readers, memory_order_seq_cst) > 0)
		sched_yield();
}
