/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * sk_lookup program: gives a new TCP connection to the listening socket of a lane.
 *
 * A lane's own port goes to that lane, a bootstrap port to one of the active lanes, and `redirect`
 * moves both while a lane is drained.  Whatever cannot be steered is left to the ordinary lookup,
 * where the broker's plain listeners serve it; this program never refuses a connection.
 *
 * Runs once per connection in the network namespace it is attached to.  All maps but `stats` are
 * written by lib/kern/steer.c only.
 */
#include <linux/bpf.h>
#include <linux/in.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "sluice/bpf/steer.h"

/* The address families' numbers; <sys/socket.h> belongs to libc. */
#define FAMILY_IPV4 2
#define FAMILY_IPV6 10

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SL_STEER_PORTS_MAX);
	__type(key, struct sl_steer_key);
	__type(value, struct sl_steer_port);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, SL_STEER_LANES_MAX);
	__type(key, __u32);
	__type(value, __u64);
} listeners SEC(".maps");

/* lane -> lane + 1 that serves it; 0: itself, so that the zeroed map redirects nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SL_STEER_LANES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} redirect SEC(".maps");

/* Bit i: lane i is active.  One word, so that a reader never sees half of a change. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lanes_active SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SL_STEER_STAT_NR);
	__type(key, __u32);
	__type(value, __u64);
} stats SEC(".maps");

/* Random per load, so that nobody outside can aim connections at one lane. */
const volatile __u64 hash_seed = 0;

static __always_inline void count(__u32 stat)
{
	__u64 *value = bpf_map_lookup_elem(&stats, &stat);

	if (value)
		*value += 1;
}

/* The exact address first, then the wildcard of the connection's family. */
static __always_inline struct sl_steer_port *find_port(const struct bpf_sk_lookup *ctx)
{
	struct sl_steer_key key = {.port = ctx->local_port};
	struct sl_steer_port *port;

	if (ctx->family == FAMILY_IPV4) {
		key.addr[2] = bpf_htonl(0xffff);
		key.addr[3] = ctx->local_ip4;
		/* Keeps clang from one load with a computed context offset, which the verifier
		 * refuses. */
		barrier();
	} else if (ctx->family == FAMILY_IPV6) {
		key.addr[0] = ctx->local_ip6[0];
		key.addr[1] = ctx->local_ip6[1];
		key.addr[2] = ctx->local_ip6[2];
		key.addr[3] = ctx->local_ip6[3];
	} else {
		return NULL;
	}
	port = bpf_map_lookup_elem(&ports, &key);
	if (port)
		return port;
	key.addr[0] = 0;
	key.addr[1] = 0;
	key.addr[2] = ctx->family == FAMILY_IPV4 ? bpf_htonl(0xffff) : 0;
	key.addr[3] = 0;
	return bpf_map_lookup_elem(&ports, &key);
}

static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
	return hash ^ (hash >> 32);
}

/*
 * The whole 4-tuple counts.  The remote port alone is not enough: connect(2) on Linux prefers ports
 * of one parity, so that port % lanes leaves every other lane empty.
 */
static __always_inline __u32 hash_tuple(const struct bpf_sk_lookup *ctx)
{
	__u64 hash = mix(hash_seed, (__u64)ctx->remote_port << 32 | ctx->local_port);

	if (ctx->family == FAMILY_IPV4) {
		hash = mix(hash, (__u64)ctx->remote_ip4 << 32 | ctx->local_ip4);
	} else {
		hash = mix(hash, (__u64)ctx->remote_ip6[0] << 32 | ctx->remote_ip6[1]);
		hash = mix(hash, (__u64)ctx->remote_ip6[2] << 32 | ctx->remote_ip6[3]);
		hash = mix(hash, (__u64)ctx->local_ip6[0] << 32 | ctx->local_ip6[1]);
		hash = mix(hash, (__u64)ctx->local_ip6[2] << 32 | ctx->local_ip6[3]);
	}
	return mix(hash, 0);
}

/*
 * Number of the @skip-th set bit; @lanes has more than @skip of them.  Halves the word six times,
 * because the verifier follows every way through the 64 rounds of a simple loop.
 */
static __always_inline __u32 lanes_nth(__u64 lanes, __u32 skip)
{
	__u32 lane = 0;

	for (__u32 width = SL_STEER_LANES_MAX / 2; width > 0; width /= 2) {
		__u32 below = __builtin_popcountll(lanes & ((1ull << width) - 1));

		if (skip >= below) {
			skip -= below;
			lanes >>= width;
			lane += width;
		}
	}
	return lane;
}

/* Return: a lane, or SL_STEER_LANES_MAX when there is no active one. */
static __always_inline __u32 pick_lane(const struct bpf_sk_lookup *ctx)
{
	__u32 zero = 0;
	__u64 *active = bpf_map_lookup_elem(&lanes_active, &zero);
	__u64 lanes = active ? *active : 0;

	if (lanes == 0)
		return SL_STEER_LANES_MAX;
	return lanes_nth(lanes, hash_tuple(ctx) % __builtin_popcountll(lanes));
}

static __always_inline __u32 follow_redirect(__u32 lane)
{
	__u32 *to = bpf_map_lookup_elem(&redirect, &lane);

	return to && *to != 0 ? *to - 1 : lane;
}

SEC("sk_lookup")
int sl_steer_lookup(struct bpf_sk_lookup *ctx)
{
	struct sl_steer_port *port;
	struct bpf_sock *sk;
	__u32 lane;
	long err;

	if (ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	port = find_port(ctx);
	if (!port)
		return SK_PASS;
	lane = port->kind == SL_STEER_BOOTSTRAP ? pick_lane(ctx) : port->lane;
	if (lane >= SL_STEER_LANES_MAX) {
		count(SL_STEER_MISS_NO_ACTIVE);
		return SK_PASS;
	}
	lane = follow_redirect(lane);
	sk = bpf_map_lookup_elem(&listeners, &lane);
	if (!sk) {
		count(SL_STEER_MISS_NO_LISTENER);
		return SK_PASS;
	}
	/* Without the flag the kernel spreads the choice over the socket's SO_REUSEPORT group
	 * again. */
	err = bpf_sk_assign(ctx, sk, BPF_SK_LOOKUP_F_NO_REUSEPORT);
	bpf_sk_release(sk);
	if (err)
		count(SL_STEER_MISS_REFUSED);
	else if (lane < SL_STEER_LANES_MAX)
		count(lane);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
