/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the data plane and the control process as children and keeps them running. */
#ifndef LAUNCHER_SUPERVISE_H
#define LAUNCHER_SUPERVISE_H

#include <stdbool.h>
#include <stdint.h>

#define SUPERVISE_ARGS_MAX 96

struct supervise_opts {
	const char *bin_dir; /* where sluice-dataplane and sluice-control are */
	const char *data_dir;
	const char *config;   /* NULL: none */
	const char *sets[32]; /* KEY=VALUE, handed to both */
	unsigned sets_count;
	const char *socket; /* control socket, for the readiness check */
	const char *host;   /* bootstrap address, to be told */
	uint16_t port;
};

/**
 * supervise_run() - start both, restart what dies, stop both on SIGTERM or SIGINT
 *
 * A child that fails before the broker was ready once ends the run: its reason is on stderr.
 *
 * Return: 0 after a clean stop; 1 a child failed to start or to stop cleanly.
 */
int supervise_run(const struct supervise_opts *opts);

#endif
