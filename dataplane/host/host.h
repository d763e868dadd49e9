/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host thread: everything in the data plane that is not a lane.  It owns log dirs, opens and
 * closes partitions, builds metadata images, accepts the control process and answers its queries,
 * and drives steering.  Allocates and sleeps freely; never touches a lane's data.
 */
#ifndef DATAPLANE_HOST_HOST_H
#define DATAPLANE_HOST_HOST_H

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
	bool is_huge;                   /* DPDK memory is on huge pages */
	const char *huge_reason;        /* why not, and the fix; NULL none */
};

/**
 * host_create() - open log dirs, listening sockets, shared memory, steering; create the lanes
 * @error: on failure, one line for the operator: what, why, what to do
 * Return: 0 or -errno.
 */
int host_create(struct host **out, const struct host_opts *opts,
                char error[SL_CONF_ERROR_MAX]) SL_MUST_CHECK;
struct lane *host_lane(struct host *host, uint32_t index);
/* Runs until SIGTERM or SIGINT (signalfd), then stops the lanes and closes every log cleanly.
 * Return: 0, or -errno when a log could not be closed cleanly. */
int host_run(struct host *host);
void host_destroy(struct host *host);

#endif
