/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lanes' counters on DPDK's telemetry socket, for whoever watches DPDK programs anyway. Answers
 * run in DPDK's thread and read shared memory only.
 */
#ifndef DATAPLANE_HOST_TELEMETRY_H
#define DATAPLANE_HOST_TELEMETRY_H

struct host;

/**
 * telemetry_start() - register /sluice/lanes and answer it from @host's counters
 *
 * Says in the log when DPDK has no socket, or refuses the command: counters are elsewhere too, so
 * nothing fails for that.  Once per process.
 */
void telemetry_start(const struct host *host);
/* From its return on nothing of the host is read any more. */
void telemetry_stop(void);

#endif
