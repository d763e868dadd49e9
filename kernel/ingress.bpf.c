/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * XDP program: protects the broker's TCP ports on one interface.
 *
 * Only TCP to a port in `ports` is judged; everything else passes untouched and uncounted.  A
 * packet is dropped when its source is banned, its TCP header cannot be real, or its source opens
 * connections faster than the limit.  What the parser does not understand passes: the kernel's
 * stack is the authority.
 *
 * Runs per packet in the driver's receive path.  `counters`, `syn_sources` and the counts in `bans`
 * are written here; everything else by lib/kern/ingress.c only.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "sluice/bpf/ingress.h"

#define EXT_HEADERS_MAX    6
#define IPV4_FRAGMENT_MASK 0x1fff /* offset of a fragment, in 8 bytes */
#define IPV6_FRAGMENT_MASK 0xfff8
#define RATE_TRIES         4
#define RATE_SLACK_NS      1000000000ull
#define IPV6_SOURCE_BYTES  8 /* a /64: one host owns as many addresses below it as it likes */
#define HOST_BITS_IPV4     32
#define HOST_BITS_IPV6     128

struct vlan_tag {
	__be16 tci;
	__be16 proto;
};

struct ext_header {
	__u8 next;
	__u8 len; /* in 8 bytes, the first 8 not counted */
};

struct fragment_header {
	__u8 next;
	__u8 reserved;
	__be16 offset;
	__be32 id;
};

struct tcp_ports {
	__be16 source;
	__be16 dest;
};

/* A TCP packet; @tcp points at the header, of which only the ports are known to be there. */
struct packet {
	void *end;
	void *tcp;
	struct sl_ingress_addr source;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SL_INGRESS_PORTS_MAX);
	__type(key, __u32); /* host order */
	__type(value, __u32);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, SL_INGRESS_BANS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct sl_ingress_ban_key);
	__type(value, struct sl_ingress_ban);
} bans SEC(".maps");

/* Source -> time at which its next SYN is due by the average rate, CLOCK_MONOTONIC in ns. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SL_INGRESS_SOURCES_MAX);
	__type(key, struct sl_ingress_addr);
	__type(value, __u64);
} syn_sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sl_ingress_config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SL_INGRESS_REASON_NR);
	__type(key, __u32);
	__type(value, struct sl_ingress_count);
} counters SEC(".maps");

static __always_inline void count(__u32 reason, __u64 bytes)
{
	struct sl_ingress_count *c = bpf_map_lookup_elem(&counters, &reason);

	if (!c)
		return;
	c->packets += 1;
	c->bytes += bytes;
}

/* Each parser returns the first byte behind its header, or NULL when there is nothing for us. */
static __always_inline void *parse_eth(void *data, void *end, __be16 *proto)
{
	struct ethhdr *eth = data;
	struct vlan_tag *tag;

	if ((void *)(eth + 1) > end)
		return NULL;
	*proto = eth->h_proto;
	if (*proto != bpf_htons(ETH_P_8021Q) && *proto != bpf_htons(ETH_P_8021AD))
		return eth + 1;
	tag = (void *)(eth + 1);
	if ((void *)(tag + 1) > end)
		return NULL;
	*proto = tag->proto;
	return tag + 1;
}

static __always_inline void *parse_ipv4(void *data, void *end, struct sl_ingress_addr *source)
{
	struct iphdr *ip = data;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return NULL;
	/*
	 * Later fragments have no ports.  They may pass: when the first one, which has them, is
	 * dropped, the packet is never whole.
	 */
	if (ip->protocol != IPPROTO_TCP || ip->frag_off & bpf_htons(IPV4_FRAGMENT_MASK))
		return NULL;
	source->family = SL_INGRESS_IPV4;
	__builtin_memcpy(source->b, &ip->saddr, sizeof(ip->saddr));
	return data + ip->ihl * 4;
}

static __always_inline void *parse_ipv6(void *data, void *end, struct sl_ingress_addr *source)
{
	struct ipv6hdr *ip = data;
	struct fragment_header *fragment;
	struct ext_header *ext;
	__u8 next;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return NULL;
	source->family = SL_INGRESS_IPV6;
	__builtin_memcpy(source->b, &ip->saddr, sizeof(ip->saddr));
	next = ip->nexthdr;
	data = ip + 1;
	for (int i = 0; i < EXT_HEADERS_MAX; i++) {
		switch (next) {
		case IPPROTO_TCP:
			return data;
		case IPPROTO_FRAGMENT:
			fragment = data;
			if ((void *)(fragment + 1) > end ||
			    fragment->offset & bpf_htons(IPV6_FRAGMENT_MASK))
				return NULL;
			next = fragment->next;
			data = fragment + 1;
			break;
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
			ext = data;
			if ((void *)(ext + 1) > end)
				return NULL;
			next = ext->next;
			data += 8 + ext->len * 8;
			break;
		default:
			return NULL;
		}
	}
	return NULL;
}

/* True when the packet is TCP to one of our ports; @p is filled then. */
static __always_inline int find_packet(const struct xdp_md *ctx, struct packet *p)
{
	void *data = (void *)(long)ctx->data;
	struct tcp_ports *tcp;
	__be16 proto = 0;
	__u32 port;

	p->end = (void *)(long)ctx->data_end;
	data = parse_eth(data, p->end, &proto);
	if (!data)
		return 0;
	if (proto == bpf_htons(ETH_P_IP))
		data = parse_ipv4(data, p->end, &p->source);
	else if (proto == bpf_htons(ETH_P_IPV6))
		data = parse_ipv6(data, p->end, &p->source);
	else
		return 0;
	if (!data)
		return 0;
	tcp = data;
	if ((void *)(tcp + 1) > p->end)
		return 0;
	port = bpf_ntohs(tcp->dest);
	p->tcp = data;
	return bpf_map_lookup_elem(&ports, &port) != NULL;
}

static __always_inline int is_banned(const struct packet *p)
{
	struct sl_ingress_ban_key key = {.addr = p->source};
	struct sl_ingress_ban *ban;

	key.prefix_bits = SL_INGRESS_FAMILY_BITS +
	                  (p->source.family == SL_INGRESS_IPV4 ? HOST_BITS_IPV4 : HOST_BITS_IPV6);
	ban = bpf_map_lookup_elem(&bans, &key);
	if (!ban)
		return 0;
	__sync_fetch_and_add(&ban->dropped_packets, 1);
	return 1;
}

/*
 * RFC 9293 3.1 and 3.10: the header is at least 5 words and lies inside the packet; SYN goes with
 * neither FIN nor RST; after the SYN every segment but a reset carries ACK.
 */
static __always_inline int is_malformed(const struct packet *p)
{
	struct tcphdr *tcp = p->tcp;

	if ((void *)(tcp + 1) > p->end || tcp->doff < 5 || p->tcp + tcp->doff * 4 > p->end)
		return 1;
	if (tcp->syn)
		return tcp->fin || tcp->rst;
	return !tcp->ack && !tcp->rst;
}

static __always_inline int is_syn(const struct packet *p)
{
	struct tcphdr *tcp = p->tcp;

	return (void *)(tcp + 1) <= p->end && tcp->syn && !tcp->ack;
}

/*
 * A token bucket kept as one time stamp (GCRA): a SYN moves the stamp one interval on, and is over
 * the rate when the stamp is further ahead of now than the tolerance.  One word per source, so that
 * CPUs agree by compare-and-swap and need no lock.
 */
static __always_inline int is_over_rate(const struct packet *p)
{
	struct sl_ingress_addr source = p->source;
	struct sl_ingress_config *conf;
	__u64 now, interval, tolerance, stale;
	__u64 *stamp;
	__u32 zero = 0;

	conf = bpf_map_lookup_elem(&config, &zero);
	if (!conf || conf->syn_interval_ns == 0)
		return 0;
	interval = conf->syn_interval_ns;
	tolerance = conf->syn_tolerance_ns;
	if (source.family == SL_INGRESS_IPV6)
		__builtin_memset(source.b + IPV6_SOURCE_BYTES, 0, 16 - IPV6_SOURCE_BYTES);
	/*
	 * No stamp made under this configuration is that far ahead of now, so it is left from a
	 * stricter one.  The slack covers a CPU that read the clock earlier than the last writer of
	 * the stamp.
	 */
	stale = tolerance + interval + RATE_SLACK_NS;
	now = bpf_ktime_get_ns();
	stamp = bpf_map_lookup_elem(&syn_sources, &source);
	if (!stamp) {
		__u64 first = now + interval;

		bpf_map_update_elem(&syn_sources, &source, &first, BPF_ANY);
		return 0;
	}
	for (int i = 0; i < RATE_TRIES; i++) {
		__u64 seen = *(volatile __u64 *)stamp;
		__u64 due = seen < now || seen - now > stale ? now : seen;

		if (due - now > tolerance)
			return 1;
		if (__sync_val_compare_and_swap(stamp, seen, due + interval) == seen)
			return 0;
	}
	/* Other CPUs handle SYNs of this source at this very moment, several times over: a flood.
	 */
	return 1;
}

static __always_inline enum sl_ingress_reason judge(const struct packet *p)
{
	if (is_banned(p))
		return SL_INGRESS_DROPPED_BAN;
	if (is_malformed(p))
		return SL_INGRESS_DROPPED_MALFORMED;
	if (is_syn(p) && is_over_rate(p))
		return SL_INGRESS_DROPPED_RATE;
	return SL_INGRESS_PASSED;
}

/* ".frags": interfaces with an MTU above a page keep native mode; the headers are in the first
 * part. */
SEC("xdp.frags")
int sl_ingress_xdp(struct xdp_md *ctx)
{
	struct packet packet = {};
	enum sl_ingress_reason verdict;
	__u64 bytes;

	if (!find_packet(ctx, &packet))
		return XDP_PASS;
	bytes = bpf_xdp_get_buff_len(ctx);
	count(SL_INGRESS_SEEN, bytes);
	verdict = judge(&packet);
	count(verdict, bytes);
	return verdict == SL_INGRESS_PASSED ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
