/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loader of kernel/ingress.bpf.c.  It is the only writer of the maps `ports`, `bans` (but for their
 * counts) and `config`.  The program hangs on a bpf link whose descriptor the handle owns, so it
 * leaves the interface when the process ends in whatever way.
 */
#include "ingress.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "loader.h"
#include "sluice/base/assert.h"
#include "sluice/base/log.h"
#include "sluice/skel/ingress.skel.h"

#define NSEC_PER_SEC    1000000000ull
#define COUNT_WORDS     (sizeof(struct sl_ingress_count) / sizeof(uint64_t))
#define IPV4_PREFIX_MAX 32
#define IPV6_PREFIX_MAX 128
#define V4MAPPED_BITS   96
#define PREFIX_DIGITS   3

struct sl_ingress {
	struct ingress_skel *skel;   /* Owned: program and maps. */
	struct loader_percpu percpu; /* Owned. */
	int link_fd;                 /* Owned. */
	bool is_native;
};

static const char *const reason_names[SL_INGRESS_REASON_NR] = {
	[SL_INGRESS_SEEN] = "seen",
	[SL_INGRESS_PASSED] = "passed",
	[SL_INGRESS_DROPPED_BAN] = "dropped_ban",
	[SL_INGRESS_DROPPED_RATE] = "dropped_rate",
	[SL_INGRESS_DROPPED_MALFORMED] = "dropped_malformed",
};

static bool is_taken(int err)
{
	return err == -EBUSY || err == -EEXIST;
}

static int attach_mode(struct sl_ingress *ingress, int ifindex, uint32_t flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);
	int fd = bpf_link_create(ingress_prog_fd(ingress), ifindex, BPF_XDP, &opts);

	if (fd < 0)
		return fd;
	ingress->link_fd = fd;
	ingress->is_native = flags == XDP_FLAGS_DRV_MODE;
	return 0;
}

/* libbpf's bpf_program__attach_xdp() lets the kernel choose, and the kernel does not fall back. */
static int attach(struct sl_ingress *ingress, const char *ifname, int ifindex)
{
	int err = attach_mode(ingress, ifindex, XDP_FLAGS_DRV_MODE);

	if (err == 0 || is_taken(err) || err == -EPERM)
		return err;
	sl_log(INFO, kern, "fall back to generic xdp iface=%s cause=\"%s\"", ifname,
	       strerror(-err));
	return attach_mode(ingress, ifindex, XDP_FLAGS_SKB_MODE);
}

static int load(struct sl_ingress *ingress)
{
	ingress->skel = ingress_skel__open();
	if (!ingress->skel)
		return -errno;
	return ingress_skel__load(ingress->skel);
}

static void explain(struct sl_kern_reason *why, const char *ifname, int err)
{
	if (err == -ENODEV) {
		snprintf(why->cause, sizeof(why->cause), "there is no interface %.32s", ifname);
		snprintf(why->fix, sizeof(why->fix),
		         "set steer.xdp.iface to one that `ip link` shows");
	} else if (is_taken(err)) {
		snprintf(why->cause, sizeof(why->cause),
		         "interface %.32s has an XDP program already", ifname);
		snprintf(
			why->fix, sizeof(why->fix),
			"remove it: ip link set dev %.32s xdp off (or stop the program that owns it)",
			ifname);
	} else {
		loader_explain(why, &loader_need_ingress, err);
	}
}

/* Return: 0, or why the arguments cannot be right, with @why filled. */
static int check_arguments(const char *ifname, const struct sl_ingress_opts *opts,
                           unsigned int *ifindex, struct sl_kern_reason *why)
{
	if (opts->syn_rate > SL_INGRESS_RATE_MAX || opts->syn_burst > SL_INGRESS_RATE_MAX) {
		loader_reason_set(why, "the SYN rate or burst is above 10000000",
		                  "choose a lower one");
		return -EINVAL;
	}
	*ifindex = if_nametoindex(ifname);
	if (*ifindex == 0) {
		explain(why, ifname, -ENODEV);
		return -ENODEV;
	}
	return 0;
}

int sl_ingress_open(struct sl_ingress **out, const char *ifname, const struct sl_ingress_opts *opts,
                    struct sl_kern_reason *why)
{
	static const struct sl_ingress_opts defaults;
	struct sl_ingress *ingress = NULL;
	unsigned int ifindex;
	int err;

	*why = (struct sl_kern_reason){0};
	loader_capture_messages();
	if (!opts)
		opts = &defaults;
	err = check_arguments(ifname, opts, &ifindex, why);
	if (err)
		return err;
	err = -ENOMEM;
	ingress = calloc(1, sizeof(*ingress));
	if (!ingress)
		goto err_explain;
	ingress->link_fd = -1;
	err = loader_percpu_init(&ingress->percpu, COUNT_WORDS);
	if (err)
		goto err_close;
	err = load(ingress);
	if (err)
		goto err_close;
	err = sl_ingress_set_rate(ingress, opts);
	if (err)
		goto err_close;
	err = attach(ingress, ifname, (int)ifindex);
	if (err)
		goto err_close;
	*out = ingress;
	return 0;

err_close:
	sl_ingress_close(ingress);
err_explain:
	explain(why, ifname, err);
	return is_taken(err) ? -EBUSY : err;
}

void sl_ingress_close(struct sl_ingress *ingress)
{
	if (!ingress)
		return;
	if (ingress->link_fd >= 0)
		close(ingress->link_fd);
	ingress_skel__destroy(ingress->skel);
	loader_percpu_fini(&ingress->percpu);
	free(ingress);
}

const char *sl_ingress_mode_name(const struct sl_ingress *ingress)
{
	if (!ingress)
		return "off";
	return ingress->is_native ? "native" : "generic";
}

int ingress_prog_fd(const struct sl_ingress *ingress)
{
	return bpf_program__fd(ingress->skel->progs.sl_ingress_xdp);
}

int sl_ingress_set_port(struct sl_ingress *ingress, uint16_t port)
{
	uint32_t key = port, value = 1;

	if (!ingress)
		return -ENOTSUP;
	if (port == 0)
		return -EINVAL;
	if (bpf_map_update_elem(bpf_map__fd(ingress->skel->maps.ports), &key, &value, BPF_ANY) != 0)
		return -errno;
	return 0;
}

int sl_ingress_clear_port(struct sl_ingress *ingress, uint16_t port)
{
	uint32_t key = port;

	if (!ingress)
		return -ENOTSUP;
	if (bpf_map_delete_elem(bpf_map__fd(ingress->skel->maps.ports), &key) != 0)
		return -errno;
	return 0;
}

/* Return: length of the prefix; @host_bits if @text is NULL; -EINVAL. */
static int parse_prefix(const char *text, int host_bits)
{
	int bits = 0;

	if (!text)
		return host_bits;
	if (*text == '\0' || strspn(text, "0123456789") != strlen(text) ||
	    strlen(text) > PREFIX_DIGITS)
		return -EINVAL;
	for (; *text; text++)
		bits = bits * 10 + (*text - '0');
	return bits <= host_bits ? bits : -EINVAL;
}

/* An IPv4 source is IPv4 on the wire, even where an IPv6 socket shows it as ::ffff:a.b.c.d. */
static int unmap_v4(struct sl_ingress_addr *addr, int prefix)
{
	const struct in6_addr *in6 = (const void *)addr->b;

	if (!IN6_IS_ADDR_V4MAPPED(in6) || prefix < V4MAPPED_BITS)
		return prefix;
	addr->family = SL_INGRESS_IPV4;
	memmove(addr->b, addr->b + V4MAPPED_BITS / 8, 4);
	memset(addr->b + 4, 0, sizeof(addr->b) - 4);
	return prefix - V4MAPPED_BITS;
}

static int parse_cidr(const char *cidr, struct sl_ingress_ban_key *key)
{
	char text[INET6_ADDRSTRLEN + 1 + PREFIX_DIGITS];
	char *slash;
	int prefix;

	*key = (struct sl_ingress_ban_key){0};
	if (strlen(cidr) >= sizeof(text))
		return -EINVAL;
	memcpy(text, cidr, strlen(cidr) + 1);
	slash = strchr(text, '/');
	if (slash)
		*slash++ = '\0';
	if (inet_pton(AF_INET, text, key->addr.b) == 1) {
		key->addr.family = SL_INGRESS_IPV4;
		prefix = parse_prefix(slash, IPV4_PREFIX_MAX);
	} else if (inet_pton(AF_INET6, text, key->addr.b) == 1) {
		key->addr.family = SL_INGRESS_IPV6;
		prefix = unmap_v4(&key->addr, parse_prefix(slash, IPV6_PREFIX_MAX));
	} else {
		return -EINVAL;
	}
	if (prefix < 0)
		return prefix;
	/* Bits behind the prefix would be stored and listed. */
	for (size_t bit = (size_t)prefix; bit < IPV6_PREFIX_MAX; bit++)
		key->addr.b[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	key->prefix_bits = SL_INGRESS_FAMILY_BITS + (uint32_t)prefix;
	return 0;
}

/* What stands for @cidr in the table of bans, if there is one. */
static int find_ban_key(const struct sl_ingress *ingress, const char *cidr,
                        struct sl_ingress_ban_key *key)
{
	return ingress ? parse_cidr(cidr, key) : -ENOTSUP;
}

int sl_ingress_ban(struct sl_ingress *ingress, const char *cidr)
{
	struct sl_ingress_ban ban = {0};
	struct sl_ingress_ban_key key;
	int err = find_ban_key(ingress, cidr, &key);

	if (err)
		return err;
	if (bpf_map_update_elem(bpf_map__fd(ingress->skel->maps.bans), &key, &ban, BPF_ANY) != 0)
		return -errno;
	sl_log(INFO, kern, "ban source cidr=%s", cidr);
	return 0;
}

int sl_ingress_unban(struct sl_ingress *ingress, const char *cidr)
{
	struct sl_ingress_ban_key key;
	int err = find_ban_key(ingress, cidr, &key);

	if (err)
		return err;
	if (bpf_map_delete_elem(bpf_map__fd(ingress->skel->maps.bans), &key) != 0)
		return -errno;
	sl_log(INFO, kern, "lift ban of source cidr=%s", cidr);
	return 0;
}

static void print_ban(const struct sl_ingress_ban_key *key, struct sl_ingress_ban_info *out)
{
	int family = key->addr.family == SL_INGRESS_IPV4 ? AF_INET : AF_INET6;
	char text[INET6_ADDRSTRLEN];
	const char *printed = inet_ntop(family, key->addr.b, text, sizeof(text));

	SL_ASSERT(key->prefix_bits >= SL_INGRESS_FAMILY_BITS);
	SL_ASSERT(printed);
	snprintf(out->cidr, sizeof(out->cidr), "%s/%u", text,
	         key->prefix_bits - SL_INGRESS_FAMILY_BITS);
}

int sl_ingress_bans(const struct sl_ingress *ingress, struct sl_ingress_ban_info *out,
                    size_t count_max)
{
	struct sl_ingress_ban_key key, *last = NULL;
	struct sl_ingress_ban ban;
	size_t count = 0;
	int fd;

	if (!ingress)
		return -ENOTSUP;
	fd = bpf_map__fd(ingress->skel->maps.bans);
	while (count < count_max && count < SL_INGRESS_BANS_MAX) {
		if (bpf_map_get_next_key(fd, last, &key) != 0)
			return errno == ENOENT ? (int)count : -errno;
		last = &key;
		/* The trie gives the longest match of a key, which for one that is in it is itself.
		 */
		if (bpf_map_lookup_elem(fd, &key, &ban) != 0)
			return -errno;
		print_ban(&key, &out[count]);
		out[count++].dropped_packets = ban.dropped_packets;
	}
	return (int)count;
}

int sl_ingress_set_rate(struct sl_ingress *ingress, const struct sl_ingress_opts *opts)
{
	struct sl_ingress_config config = {0};
	uint32_t burst, zero = 0;

	if (!ingress)
		return -ENOTSUP;
	if (opts->syn_rate > SL_INGRESS_RATE_MAX || opts->syn_burst > SL_INGRESS_RATE_MAX)
		return -EINVAL;
	burst = opts->syn_burst ? opts->syn_burst : opts->syn_rate;
	if (opts->syn_rate != 0) {
		config.syn_interval_ns = NSEC_PER_SEC / opts->syn_rate;
		config.syn_tolerance_ns = (burst - 1) * config.syn_interval_ns;
	}
	if (bpf_map_update_elem(bpf_map__fd(ingress->skel->maps.config), &zero, &config, BPF_ANY) !=
	    0)
		return -errno;
	sl_log(DEBUG, kern, "set syn limit rate=%u burst=%u", opts->syn_rate, burst);
	return 0;
}

int sl_ingress_stats(const struct sl_ingress *ingress, struct sl_ingress_stats *out)
{
	uint64_t words[COUNT_WORDS];
	int fd, err;

	if (!ingress)
		return -ENOTSUP;
	fd = bpf_map__fd(ingress->skel->maps.counters);
	for (uint32_t reason = 0; reason < SL_INGRESS_REASON_NR; reason++) {
		err = loader_percpu_sum(&ingress->percpu, fd, reason, words);
		if (err)
			return err;
		memcpy(&out->by_reason[reason], words, sizeof(words));
	}
	return 0;
}

const char *sl_ingress_reason_name(enum sl_ingress_reason reason)
{
	return reason < SL_INGRESS_REASON_NR ? reason_names[reason] : "unknown";
}
