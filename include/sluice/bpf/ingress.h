/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What kernel/ingress.bpf.c and lib/kern/ingress.c agree on: keys and values of the maps, and
 * limits. Both compilers include it, so it holds fixed-width PODs only, with explicit padding.
 */
#ifndef SLUICE_BPF_INGRESS_H
#define SLUICE_BPF_INGRESS_H

#include <linux/types.h>

#define SL_INGRESS_PORTS_MAX 512
#define SL_INGRESS_BANS_MAX  16384
#define SL_INGRESS_SOURCES_MAX                                             \
	65536 /* sources whose SYN rate is remembered; the oldest go first \
	       */
#define SL_INGRESS_RATE_MAX 10000000

enum sl_ingress_family {
	SL_INGRESS_IPV4 = 4,
	SL_INGRESS_IPV6 = 6,
};

/* A source address.  IPv4 fills the first four bytes; the rest is zero. */
struct sl_ingress_addr {
	__u32 family; /* enum sl_ingress_family */
	__u8 b[16];   /* network order */
};

/*
 * Key of `bans`, a longest-prefix-match trie.  The family is part of the matched bits, so that ::/0
 * does not ban IPv4: prefix_bits = SL_INGRESS_FAMILY_BITS + length of the CIDR prefix.
 */
#define SL_INGRESS_FAMILY_BITS 32
struct sl_ingress_ban_key {
	__u32 prefix_bits;
	struct sl_ingress_addr addr;
};

/* Value of `bans`. */
struct sl_ingress_ban {
	__u64 dropped_packets;
};

/* The one value of `config`.  An interval of 0 switches the limit off. */
struct sl_ingress_config {
	__u64 syn_interval_ns;  /* one SYN of a source per this time on average */
	__u64 syn_tolerance_ns; /* how far ahead of that average a source may run: (burst - 1)
	                           intervals */
};

/* Index into `counters`.  Only TCP to a port in `ports` is counted. */
enum sl_ingress_reason {
	SL_INGRESS_SEEN,
	SL_INGRESS_PASSED,
	SL_INGRESS_DROPPED_BAN,
	SL_INGRESS_DROPPED_RATE,
	SL_INGRESS_DROPPED_MALFORMED,
	SL_INGRESS_REASON_NR
};

/* Value of `counters`, per CPU. */
struct sl_ingress_count {
	__u64 packets;
	__u64 bytes;
};

_Static_assert(sizeof(struct sl_ingress_addr) == 20, "no padding in a hash key");
_Static_assert(sizeof(struct sl_ingress_ban_key) == 24, "no padding in a trie key");
_Static_assert(sizeof(struct sl_ingress_ban) == 8, "layout shared with the kernel");
_Static_assert(sizeof(struct sl_ingress_config) == 16, "layout shared with the kernel");
_Static_assert(sizeof(struct sl_ingress_count) == 16, "layout shared with the kernel");

#endif
