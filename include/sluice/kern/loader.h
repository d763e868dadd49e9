/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two eBPF programs as the broker sees them: steering of new connections to lanes (sk_lookup)
 * and protection of an interface (XDP).  Both are optional: where the kernel or the privilege is
 * missing, open says why and how to fix it, the handle stays NULL, and every call on it gives
 * -ENOTSUP.
 *
 * Context of all functions: one thread at a time per handle; they make system calls, so no lane
 * calls them while it polls.  Both programs live as long as their handle or the process, whichever
 * ends first.
 */
#ifndef SLUICE_KERN_LOADER_H
#define SLUICE_KERN_LOADER_H

#include <sys/socket.h>

#include "sluice/base/base.h"
#include "sluice/bpf/ingress.h"
#include "sluice/bpf/steer.h"

/* Why something is off and what the operator does about it; both are empty when nothing is wrong.
 */
struct sl_kern_reason {
	char cause[192];
	char fix[320];
};

struct sl_steer;

/**
 * sl_steer_open() - load the sk_lookup program and attach it to the calling thread's network
 * namespace
 * @out: the handle
 * @why: filled on failure
 *
 * Nothing is steered until ports, listeners and active lanes are set.
 *
 * Return: 0; -EPERM or -EACCES a privilege is missing; -EINVAL or -ENOSYS the kernel is too old or
 * built without it; -ENOMEM; or what the kernel said.
 */
int sl_steer_open(struct sl_steer **out, struct sl_kern_reason *why) SL_MUST_CHECK;

/* Detaches and frees; NULL is a no-op.  Connections already accepted are not touched. */
void sl_steer_close(struct sl_steer *steer);

/**
 * sl_steer_set_port() - steer new connections to an address of this host
 * @steer: handle or NULL
 * @local: address and port that the broker listens on, as getsockname(2) gives it; the IPv4
 *	wildcard stands for every IPv4 address, the IPv6 wildcard for every address of both families
 * @to: kind, and the lane for SL_STEER_LANE
 *
 * Return: 0; -ENOTSUP @steer is NULL; -EINVAL bad family, port 0, kind or lane; -E2BIG table full.
 */
int sl_steer_set_port(struct sl_steer *steer, const struct sockaddr *local,
                      const struct sl_steer_port *to) SL_MUST_CHECK;

/* Return: 0; -ENOTSUP @steer is NULL; -EINVAL as above; -ENOENT it was not set. */
int sl_steer_clear_port(struct sl_steer *steer, const struct sockaddr *local) SL_MUST_CHECK;

/**
 * sl_steer_set_listener() - name the socket that accepts for a lane
 * @steer: handle or NULL
 * @lane: below SL_STEER_LANES_MAX
 * @listen_fd: TCP socket after listen(2); an IPv6 socket takes IPv4 too unless it is IPV6_V6ONLY
 *
 * The kernel forgets the socket when it is closed; until the lane has another one, its connections
 * go to the ordinary listeners.
 *
 * Ownership: borrows @listen_fd during the call only.
 * Return: 0; -ENOTSUP @steer is NULL; -EINVAL bad lane, or the socket does not listen; -EBADF.
 */
int sl_steer_set_listener(struct sl_steer *steer, uint32_t lane, int listen_fd) SL_MUST_CHECK;

/**
 * sl_steer_set_active() - choose the lanes that share bootstrap connections
 * @steer: handle or NULL
 * @lanes: bit i set: lane i takes part; 0: bootstrap ports are not steered
 *
 * Return: 0; -ENOTSUP @steer is NULL.
 */
int sl_steer_set_active(struct sl_steer *steer, uint64_t lanes) SL_MUST_CHECK;

struct sl_steer_move {
	uint32_t from;
	uint32_t to;
};

/**
 * sl_steer_redirect() - let another lane take a lane's new connections, bootstrap and lane port
 * alike
 * @steer: handle or NULL
 * @move: @from == @to ends the redirection
 *
 * Redirections chain: with 1 -> 2 and 2 -> 3, lane 1's connections go to 3.
 *
 * Return: 0; -ENOTSUP @steer is NULL; -EINVAL bad lane; -ELOOP the chain would be a ring, nothing
 * changed.
 */
int sl_steer_redirect(struct sl_steer *steer, const struct sl_steer_move *move) SL_MUST_CHECK;

struct sl_steer_stats {
	uint64_t steered[SL_STEER_LANES_MAX]; /* connections given to the lane */
	uint64_t missed_no_active;
	uint64_t missed_no_listener;
	uint64_t missed_refused;
};

/* Return: 0; -ENOTSUP @steer is NULL; or what the kernel said. */
int sl_steer_stats(const struct sl_steer *steer, struct sl_steer_stats *out) SL_MUST_CHECK;

struct sl_ingress;

/* Zeroed memory is valid: no SYN limit. */
struct sl_ingress_opts {
	uint32_t syn_rate;  /* SYNs per second and source; 0: no limit */
	uint32_t syn_burst; /* SYNs a source may send at once; 0: as many as @syn_rate */
};

/**
 * sl_ingress_open() - load the XDP program and attach it to an interface
 * @out: the handle
 * @ifname: interface in the calling thread's network namespace
 * @opts: NULL: all defaults
 * @why: filled on failure
 *
 * Tries the driver's native mode, then the generic one.  Nothing is inspected until ports are set.
 *
 * Return: 0; -EPERM or -EACCES a privilege is missing; -ENODEV no such interface; -EBUSY it has an
 * XDP program; -EINVAL bad options or the kernel is too old; -ENOMEM; or what the kernel said.
 */
int sl_ingress_open(struct sl_ingress **out, const char *ifname, const struct sl_ingress_opts *opts,
                    struct sl_kern_reason *why) SL_MUST_CHECK;

/* Detaches and frees; NULL is a no-op. */
void sl_ingress_close(struct sl_ingress *ingress);

/* "native", "generic", or "off" for NULL. */
const char *sl_ingress_mode_name(const struct sl_ingress *ingress);

/* Return: 0; -ENOTSUP @ingress is NULL; -EINVAL port 0; -E2BIG table full. */
int sl_ingress_set_port(struct sl_ingress *ingress, uint16_t port) SL_MUST_CHECK;
/* Return: 0; -ENOTSUP @ingress is NULL; -ENOENT it was not set. */
int sl_ingress_clear_port(struct sl_ingress *ingress, uint16_t port) SL_MUST_CHECK;

/**
 * sl_ingress_ban() - drop everything a source sends to our ports
 * @ingress: handle or NULL
 * @cidr: "10.1.2.3", "10.0.0.0/8", "2001:db8::/32"; bits behind the prefix are ignored
 *
 * Banning twice is allowed and starts the count of what was dropped anew.
 *
 * Return: 0; -ENOTSUP @ingress is NULL; -EINVAL not an address or prefix; -ENOSPC table full.
 */
int sl_ingress_ban(struct sl_ingress *ingress, const char *cidr) SL_MUST_CHECK;

/* Return: 0; -ENOTSUP @ingress is NULL; -EINVAL as above; -ENOENT exactly this prefix is not
 * banned. */
int sl_ingress_unban(struct sl_ingress *ingress, const char *cidr) SL_MUST_CHECK;

struct sl_ingress_ban_info {
	char cidr[64];
	uint64_t dropped_packets;
};

/**
 * sl_ingress_bans() - list the bans
 * @ingress: handle or NULL
 * @out: filled, in no useful order
 * @count_max: room in @out
 *
 * Return: number of bans written, at most @count_max; -ENOTSUP @ingress is NULL; or what the kernel
 * said.
 */
int sl_ingress_bans(const struct sl_ingress *ingress, struct sl_ingress_ban_info *out,
                    size_t count_max) SL_MUST_CHECK;

/* Changes the SYN limit at run time.  Return: 0; -ENOTSUP @ingress is NULL; -EINVAL out of range.
 */
int sl_ingress_set_rate(struct sl_ingress *ingress,
                        const struct sl_ingress_opts *opts) SL_MUST_CHECK;

struct sl_ingress_stats {
	struct sl_ingress_count by_reason[SL_INGRESS_REASON_NR];
};

/* Return: 0; -ENOTSUP @ingress is NULL; or what the kernel said. */
int sl_ingress_stats(const struct sl_ingress *ingress, struct sl_ingress_stats *out) SL_MUST_CHECK;
/* "seen", "passed", "dropped_ban", ...: label of a counter. */
const char *sl_ingress_reason_name(enum sl_ingress_reason reason);

/* What sl_kern_probe() looks at. */
enum sl_kern_feature {
	SL_KERN_BPF,       /* bpf(2) may load a program at all */
	SL_KERN_SK_LOOKUP, /* steering */
	SL_KERN_XDP,       /* protection of an interface */
	SL_KERN_BTF, /* the kernel's type information, for tracing tools; nothing here needs it */
	SL_KERN_FEATURE_NR
};

enum sl_kern_state {
	SL_KERN_OK,
	SL_KERN_DENIED, /* the kernel has it, this process may not use it */
	SL_KERN_ABSENT, /* the kernel does not have it */
};

struct sl_kern_probe {
	struct {
		enum sl_kern_state state;
		struct sl_kern_reason why;
	} feature[SL_KERN_FEATURE_NR];
};

/* Tries what this process may do; leaves nothing loaded or attached. */
void sl_kern_probe(struct sl_kern_probe *out);
/* "bpf", "sk_lookup", "xdp", "btf". */
const char *sl_kern_feature_name(enum sl_kern_feature feature);
/* "ok", "denied", "absent". */
const char *sl_kern_state_name(enum sl_kern_state state);

#endif
