/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How connections find their lane: listening sockets, and the two eBPF programs where they can be
 * had.  Host thread only.
 */
#ifndef DATAPLANE_HOST_STEER_H
#define DATAPLANE_HOST_STEER_H

#include <jansson.h>

#include "sluice/base/base.h"
#include "sluice/base/conf.h"

struct steer;

struct steer_opts {
	const struct sl_conf *conf; /* Borrowed */
	const char *host;
	uint16_t bootstrap_port;
	uint16_t lane_port_base;
	uint32_t lanes_count;
};

/**
 * steer_create() - bind and listen; load steering and ingress if they are wanted and allowed
 * @error: on failure one line for the operator
 *
 * Says in one line each whether steering and ingress are on, and if not, why and what would help.
 *
 * Return: 0; -EADDRINUSE, -EACCES, -EADDRNOTAVAIL, ... of a socket; -EINVAL @host has no address.
 */
int steer_create(struct steer **out, const struct steer_opts *opts,
                 char error[SL_CONF_ERROR_MAX]) SL_MUST_CHECK;
/* Closes sockets and programs; a no-op on NULL. */
void steer_destroy(struct steer *steer);

/* Listening sockets; they stay @steer's. */
int steer_bootstrap_fd(const struct steer *steer, uint32_t lane);
int steer_lane_fd(const struct steer *steer, uint32_t lane);
/* No new connections: nothing is steered any more. */
void steer_stop(struct steer *steer);

/* For queries: what is on, counters, bans.  NULL: no memory. */
json_t *steer_describe(const struct steer *steer);
/* Return: 0; -ENOTSUP the program is off; -EINVAL, -ENOENT, -ENOSPC, -ELOOP of loader.h. */
int steer_ban(struct steer *steer, const char *cidr, bool is_on) SL_MUST_CHECK;
int steer_redirect(struct steer *steer, uint32_t from, uint32_t to) SL_MUST_CHECK;

#endif
