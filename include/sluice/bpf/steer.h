/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What kernel/steer.bpf.c and lib/kern/steer.c agree on: keys and values of the maps, and limits.
 * Both compilers include it, so it holds fixed-width PODs only, with explicit padding.
 */
#ifndef SLUICE_BPF_STEER_H
#define SLUICE_BPF_STEER_H

#include <linux/types.h>

/* A set of lanes is one __u64, so that it changes in one store; hence at most 64. */
#define SL_STEER_LANES_MAX 64
#define SL_STEER_PORTS_MAX 512

/* Key of `ports`: an address of this host and a port. */
struct sl_steer_key {
	__u32 addr[4]; /* network order; IPv4 as ::ffff:a.b.c.d; the wildcards :: and ::ffff:0.0.0.0
	                */
	__u32 port;    /* host order */
};

enum sl_steer_kind {
	SL_STEER_BOOTSTRAP = 1, /* spread over the active lanes */
	SL_STEER_LANE = 2,      /* one lane's own port */
};

/* Value of `ports`. */
struct sl_steer_port {
	__u32 kind; /* enum sl_steer_kind */
	__u32 lane; /* SL_STEER_LANE: below SL_STEER_LANES_MAX; else 0 */
};

/*
 * Index into `stats`: 0 .. SL_STEER_LANES_MAX - 1 count connections given to that lane, after
 * `redirect`.  The misses are connections to a port in `ports` that were left to the ordinary
 * listeners.
 */
enum sl_steer_stat {
	SL_STEER_MISS_NO_ACTIVE = SL_STEER_LANES_MAX, /* bootstrap port, but no active lane */
	SL_STEER_MISS_NO_LISTENER,                    /* the lane has no listening socket */
	SL_STEER_MISS_REFUSED,                        /* the kernel refused the socket (family) */
	SL_STEER_STAT_NR
};

_Static_assert(sizeof(struct sl_steer_key) == 20, "no padding in a hash key");
_Static_assert(sizeof(struct sl_steer_port) == 8, "layout shared with the kernel");

#endif
