/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host thread: everything in the data plane that is not a lane.  It owns log dirs, opens and
 * closes partitions, builds metadata images, accepts the control process and answers its queries,
 * and drives steering.  Allocates and sleeps freely; never touches a lane's data.
 */
#ifndef DATAPLANE_HOST_HOST_H
#define DATAPLANE_HOST_HOST_H

#include "eal.h"
#include "lane.h"
#include "sluice/base/conf.h"
#include "sluice/ipc/msg.h"

#define HOST_LANES_MAX SL_SHM_LANES_MAX

struct host;

struct host_opts {
	const struct sl_conf *conf; /* borrowed for ever */
	const char *data_dir;       /* <data>: run/ and, by default, log/ are below it */
	uint32_t lanes_count;
	const char *listen_host;        /* of `listeners` */
	uint16_t listen_port;           /* bootstrap */
	uint16_t lane_port_base;        /* port of lane 0 */
	int numa_nodes[HOST_LANES_MAX]; /* of each lane, -1 any */
	int cpus[HOST_LANES_MAX];       /* of each lane */
};

/**
 * host_create() - open log dirs, listening sockets, shared memory, steering
 * @error: on failure, one line for the operator: what, why, what to do
 *
 * Needs nothing of DPDK, which starts meanwhile.
 *
 * Return: 0 or -errno.
 */
int host_create(struct host **out, const struct host_opts *opts,
                char error[SL_CONF_ERROR_MAX]) SL_MUST_CHECK;
/* What DPDK's memory lies on. */
struct host_memory {
	bool is_huge;       /* huge pages */
	const char *reason; /* why not, and the fix; NULL none; borrowed for ever */
};
/* The lanes, as far as they are without DPDK.  Return and @error as above. */
int host_create_lanes(struct host *host, const struct host_memory *memory,
                      char error[SL_CONF_ERROR_MAX]) SL_MUST_CHECK;
/* Starts the lanes when DPDK is up; runs until SIGTERM or SIGINT (signalfd), then stops the lanes
 * and closes every log cleanly.  Return: 0; -errno DPDK or the lanes did not start, see @error, or
 * a log could not be closed cleanly. */
int host_run(struct host *host, struct eal *eal, char error[SL_CONF_ERROR_MAX]) SL_MUST_CHECK;
void host_destroy(struct host *host);

#endif
