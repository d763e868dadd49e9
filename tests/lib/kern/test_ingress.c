/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every verdict of the XDP program, by running the loaded program in the real kernel on frames made
 * here (BPF_PROG_TEST_RUN).  It hangs on the loopback of a fresh namespace, which has generic mode
 * only.
 */
#include "ingress.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <criterion/criterion.h>

#include "netns.h"
#include "packet.h"
#include "sluice/base/clock.h"

#define OUR_PORT     9092
#define OTHER_PORT   9093
#define ETH_BYTES    14
#define PORTS_BYTES  4
#define V4_BYTES     54
#define V6_BYTES     74
#define PROTO_UDP    17
#define ETH_ARP      0x0806
#define EXT_ROUTING  43
#define EXT_FRAGMENT 44
#define EXT_DSTOPTS  60

/* Not judged at all: passes, and no counter moves. */
#define UNSEEN       SL_INGRESS_REASON_NR

static struct sl_ingress *open_on_loopback(void)
{
	struct sl_ingress *ingress;
	struct sl_kern_reason why;

	netns_require(SL_KERN_XDP);
	close(netns_create());
	cr_assert_eq(sl_ingress_open(&ingress, "lo", NULL, &why), 0, "%s; fix: %s", why.cause,
	             why.fix);
	cr_assert_eq(sl_ingress_set_port(ingress, OUR_PORT), 0);
	return ingress;
}

static uint64_t packets(const struct sl_ingress_stats *stats, enum sl_ingress_reason reason)
{
	return stats->by_reason[reason].packets;
}

/* Runs the program once and returns which counter moved; the action must fit it. */
static enum sl_ingress_reason run(struct sl_ingress *ingress, const void *frame, size_t bytes)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = (uint32_t)bytes,
	            .repeat = 1);
	struct sl_ingress_stats before, after;
	enum sl_ingress_reason moved = UNSEEN;

	cr_assert_eq(sl_ingress_stats(ingress, &before), 0);
	cr_assert_eq(bpf_prog_test_run_opts(ingress_prog_fd(ingress), &opts), 0, "%s",
	             strerror(errno));
	cr_assert_eq(sl_ingress_stats(ingress, &after), 0);
	for (int reason = SL_INGRESS_PASSED; reason < SL_INGRESS_REASON_NR; reason++) {
		struct sl_ingress_count *a = &after.by_reason[reason],
					*b = &before.by_reason[reason];

		if (a->packets == b->packets)
			continue;
		cr_assert_eq(moved, UNSEEN, "two verdicts for one packet");
		cr_assert_eq(a->packets, b->packets + 1);
		cr_assert_eq(a->bytes, b->bytes + bytes);
		moved = reason;
	}
	cr_assert_eq(packets(&after, SL_INGRESS_SEEN) - packets(&before, SL_INGRESS_SEEN),
	             moved == UNSEEN ? 0 : 1);
	cr_assert_eq(opts.retval,
	             moved == UNSEEN || moved == SL_INGRESS_PASSED ? XDP_PASS : XDP_DROP);
	return moved;
}

static enum sl_ingress_reason run_spec(struct sl_ingress *ingress, const struct packet_spec *spec)
{
	uint8_t frame[PACKET_BYTES_MAX];
	size_t bytes = packet_build(spec, frame);

	return run(ingress, frame, bytes);
}

static enum sl_ingress_reason run_syn(struct sl_ingress *ingress, const char *source)
{
	return run_spec(ingress, &(struct packet_spec){
					 .source = source, .port = OUR_PORT, .flags = PACKET_SYN});
}

struct verdict_case {
	const char *name;
	struct packet_spec spec;
	enum sl_ingress_reason want;
};

#define V4            .source = "10.1.2.3", .port = OUR_PORT
#define V6            .source = "2001:db8::7", .port = OUR_PORT
#define BAD_FLAGS     .flags = PACKET_SYN | PACKET_FIN
#define OK            SL_INGRESS_PASSED
#define BAD           SL_INGRESS_DROPPED_MALFORMED
#define LATE_FRAGMENT 3

/* clang-format off */
static const struct verdict_case flag_cases[] = {
	{"syn", {V4, .flags = PACKET_SYN}, OK},
	{"syn with ecn", {V4, .flags = PACKET_SYN | PACKET_ECE | PACKET_CWR}, OK},
	{"syn ack", {V4, .flags = PACKET_SYN | PACKET_ACK}, OK},
	{"ack", {V4, .flags = PACKET_ACK}, OK},
	{"data", {V4, .flags = PACKET_ACK | PACKET_PSH}, OK},
	{"fin", {V4, .flags = PACKET_FIN | PACKET_ACK}, OK},
	{"rst", {V4, .flags = PACKET_RST}, OK},
	{"rst ack", {V4, .flags = PACKET_RST | PACKET_ACK}, OK},
	{"syn fin", {V4, .flags = PACKET_SYN | PACKET_FIN}, BAD},
	{"syn rst", {V4, .flags = PACKET_SYN | PACKET_RST}, BAD},
	{"syn ack fin", {V4, .flags = PACKET_SYN | PACKET_ACK | PACKET_FIN}, BAD},
	{"no flag", {V4, .flags = 0}, BAD},
	{"fin alone", {V4, .flags = PACKET_FIN}, BAD},
	{"christmas tree", {V4, .flags = PACKET_FIN | PACKET_PSH | PACKET_URG}, BAD},
	{"header of 4 words", {V4, .flags = PACKET_ACK, .doff = 4}, BAD},
	{"header beyond the end", {V4, .flags = PACKET_ACK, .doff = 6}, BAD},
	{"header far beyond the end", {V4, .flags = PACKET_SYN, .doff = 15}, BAD},
	{"header cut in a fragment", {V4, .flags = PACKET_SYN, .cut = 12}, BAD},
};

static const struct verdict_case place_cases[] = {
	{"other port", {.source = "10.1.2.3", .port = OTHER_PORT, BAD_FLAGS}, UNSEEN},
	{"udp", {V4, BAD_FLAGS, .protocol = PROTO_UDP}, UNSEEN},
	{"arp", {V4, BAD_FLAGS, .ethertype = ETH_ARP}, UNSEEN},
	{"one tag", {V4, BAD_FLAGS, .tags = 1}, BAD},
	{"one tag, ipv6", {V6, BAD_FLAGS, .tags = 1}, BAD},
	{"two tags", {V4, BAD_FLAGS, .tags = 2}, UNSEEN},
	{"ipv4 options", {V4, BAD_FLAGS, .ihl = 6}, BAD},
	{"ipv4 options, all 40 bytes", {V4, BAD_FLAGS, .ihl = 15}, BAD},
	{"ipv4 options, sound", {V4, .flags = PACKET_SYN, .ihl = 15}, OK},
	{"ipv4 header of 4 words", {V4, BAD_FLAGS, .ihl = 4}, UNSEEN},
	{"ipv4 later fragment", {V4, BAD_FLAGS, .fragment = LATE_FRAGMENT}, UNSEEN},
	{"ipv4 first fragment", {V4, BAD_FLAGS, .fragment = 0x2000}, BAD},
	{"ipv4 named as ipv6", {V4, BAD_FLAGS, .ethertype = 0x86dd}, UNSEEN},
	{"ipv6 named as ipv4", {V6, BAD_FLAGS, .ethertype = 0x0800}, UNSEEN},
	{"ipv6", {V6, .flags = PACKET_SYN}, OK},
	{"ipv6 bad", {V6, BAD_FLAGS}, BAD},
	{"ipv6 udp", {V6, BAD_FLAGS, .protocol = PROTO_UDP}, UNSEEN},
	{"ipv6 hop-by-hop", {V6, BAD_FLAGS, .exts = {PACKET_EXT_HOPOPTS}}, BAD},
	{"ipv6 four headers", {V6, BAD_FLAGS,
		.exts = {PACKET_EXT_HOPOPTS, EXT_DSTOPTS, EXT_ROUTING, EXT_FRAGMENT}}, BAD},
	{"ipv6 long headers", {V6, BAD_FLAGS, .ext_len = 5, .exts = {PACKET_EXT_HOPOPTS, EXT_DSTOPTS}}, BAD},
	{"ipv6 long headers, sound", {V6, .flags = PACKET_SYN, .ext_len = 20, .exts = {EXT_ROUTING}}, OK},
	{"ipv6 later fragment", {V6, BAD_FLAGS, .exts = {EXT_FRAGMENT}, .ext_fragment = LATE_FRAGMENT}, UNSEEN},
	{"ipv6 too many headers", {V6, BAD_FLAGS, .exts = {EXT_DSTOPTS, EXT_DSTOPTS, EXT_DSTOPTS,
		EXT_DSTOPTS, EXT_DSTOPTS, EXT_DSTOPTS, EXT_DSTOPTS}}, UNSEEN},
	{"ipv6 unknown header", {V6, BAD_FLAGS, .exts = {50}}, UNSEEN},
};
/* clang-format on */

static void run_cases(const struct verdict_case *cases, size_t count)
{
	struct sl_ingress *ingress = open_on_loopback();

	for (size_t i = 0; i < count; i++) {
		enum sl_ingress_reason got = run_spec(ingress, &cases[i].spec);

		cr_assert_eq(got, cases[i].want, "%s: %s", cases[i].name,
		             sl_ingress_reason_name(got));
	}
	sl_ingress_close(ingress);
}

Test(ingress, drops_flags_and_headers_that_no_stack_sends)
{
	run_cases(flag_cases, SL_ARRAY_SIZE(flag_cases));
}

Test(ingress, finds_tcp_behind_tags_options_and_extension_headers)
{
	run_cases(place_cases, SL_ARRAY_SIZE(place_cases));
}

/* Shorter than the ports: not ours.  Shorter than the TCP header: malformed. */
Test(ingress, judges_a_packet_cut_at_every_byte)
{
	struct sl_ingress *ingress = open_on_loopback();
	const struct packet_spec specs[] = {{V4, .flags = PACKET_SYN}, {V6, .flags = PACKET_SYN}};
	const size_t full[] = {V4_BYTES, V6_BYTES};
	uint8_t frame[PACKET_BYTES_MAX];

	for (size_t i = 0; i < SL_ARRAY_SIZE(specs); i++) {
		size_t ports_end = full[i] - 20 + PORTS_BYTES;

		cr_assert_eq(packet_build(&specs[i], frame), full[i]);
		for (size_t bytes = ETH_BYTES; bytes <= full[i]; bytes++) {
			enum sl_ingress_reason want = bytes < ports_end ? UNSEEN
			                              : bytes < full[i] ? BAD
			                                                : OK;

			cr_assert_eq(run(ingress, frame, bytes), want, "%zu bytes", bytes);
		}
	}
	sl_ingress_close(ingress);
}

Test(ingress, judges_a_port_only_while_it_is_set)
{
	struct sl_ingress *ingress = open_on_loopback();

	cr_assert_eq(run_syn(ingress, "10.1.2.3"), OK);
	cr_assert_eq(sl_ingress_clear_port(ingress, OUR_PORT), 0);
	cr_assert_eq(run_syn(ingress, "10.1.2.3"), UNSEEN);
	cr_assert_eq(sl_ingress_clear_port(ingress, OUR_PORT), -ENOENT);
	cr_assert_eq(sl_ingress_set_port(ingress, 0), -EINVAL);
	sl_ingress_close(ingress);
}

Test(ingress, bans_prefixes_of_one_family_only)
{
	struct sl_ingress *ingress = open_on_loopback();
	const enum sl_ingress_reason banned = SL_INGRESS_DROPPED_BAN;

	cr_assert_eq(sl_ingress_ban(ingress, "10.0.0.0/8"), 0);
	cr_assert_eq(run_syn(ingress, "10.255.2.3"), banned);
	cr_assert_eq(run_syn(ingress, "11.0.0.1"), OK);
	cr_assert_eq(sl_ingress_ban(ingress, "2001:db8::/32"), 0);
	cr_assert_eq(run_syn(ingress, "2001:db8:ffff::1"), banned);
	cr_assert_eq(run_syn(ingress, "2001:db9::1"), OK);

	cr_assert_eq(sl_ingress_ban(ingress, "::/0"), 0);
	cr_assert_eq(run_syn(ingress, "2001:db9::1"), banned);
	cr_assert_eq(run_syn(ingress, "11.0.0.1"), OK);
	cr_assert_eq(sl_ingress_unban(ingress, "::/0"), 0);
	cr_assert_eq(sl_ingress_ban(ingress, "0.0.0.0/0"), 0);
	cr_assert_eq(run_syn(ingress, "11.0.0.1"), banned);
	cr_assert_eq(run_syn(ingress, "2001:db9::1"), OK);
	cr_assert_eq(sl_ingress_unban(ingress, "0.0.0.0/0"), 0);

	/* As accept(2) of a dual-stack listener shows an IPv4 source. */
	cr_assert_eq(sl_ingress_ban(ingress, "::ffff:11.0.0.1"), 0);
	cr_assert_eq(run_syn(ingress, "11.0.0.1"), banned);
	cr_assert_eq(run_syn(ingress, "11.0.0.2"), OK);
	cr_assert_eq(sl_ingress_unban(ingress, "11.0.0.1/32"), 0);
	cr_assert_eq(run_syn(ingress, "11.0.0.1"), OK);
	sl_ingress_close(ingress);
}

/* A ban ends what is established, too: everything the source sends is dropped, sound or not. */
Test(ingress, a_ban_comes_before_every_other_verdict)
{
	struct sl_ingress *ingress = open_on_loopback();

	cr_assert_eq(sl_ingress_ban(ingress, "10.1.2.3"), 0);
	for (size_t i = 0; i < SL_ARRAY_SIZE(flag_cases); i++)
		cr_assert_eq(run_spec(ingress, &flag_cases[i].spec), SL_INGRESS_DROPPED_BAN, "%s",
		             flag_cases[i].name);
	sl_ingress_close(ingress);
}

Test(ingress, lists_bans_in_canonical_form_with_what_they_dropped)
{
	struct sl_ingress *ingress = open_on_loopback();
	struct sl_ingress_ban_info bans[4];
	int v4;

	cr_assert_eq(sl_ingress_bans(ingress, bans, 4), 0);
	cr_assert_eq(sl_ingress_ban(ingress, "10.1.2.3/12"), 0);
	cr_assert_eq(sl_ingress_ban(ingress, "2001:db8::1/40"), 0);
	cr_assert_eq(run_syn(ingress, "10.1.2.3"), SL_INGRESS_DROPPED_BAN);
	cr_assert_eq(run_syn(ingress, "10.15.0.1"), SL_INGRESS_DROPPED_BAN);
	cr_assert_eq(sl_ingress_bans(ingress, bans, 4), 2);
	v4 = strchr(bans[0].cidr, ':') ? 1 : 0;
	cr_assert_str_eq(bans[v4].cidr, "10.0.0.0/12");
	cr_assert_eq(bans[v4].dropped_packets, 2);
	cr_assert_str_eq(bans[!v4].cidr, "2001:db8::/40");
	cr_assert_eq(bans[!v4].dropped_packets, 0);
	cr_assert_eq(sl_ingress_bans(ingress, bans, 1), 1);

	cr_assert_eq(sl_ingress_unban(ingress, "10.0.0.0/13"), -ENOENT);
	cr_assert_eq(sl_ingress_unban(ingress, "10.9.9.9/12"), 0);
	cr_assert_eq(sl_ingress_bans(ingress, bans, 4), 1);
	sl_ingress_close(ingress);
}

Test(ingress, refuses_what_is_not_a_cidr)
{
	static const char *const bad[] = {
		"",
		"10.0.0",
		"10.0.0.0/",
		"10.0.0.0/33",
		"10.0.0.0/-1",
		"10.0.0.0/+1",
		"::/129",
		"::1/ 8",
		"10.0.0.0/8/",
		"host",
		"10.0.0.0/8x",
		"10.0.0.0/0000",
		"1.2.3.4 ",
		"::ffff:1.2.3.4/129",
		"2001:0db8:0000:0000:0000:0000:0000:0001:0002:0003/128",
	};
	struct sl_ingress *ingress = open_on_loopback();
	struct sl_ingress_ban_info ban;

	for (size_t i = 0; i < SL_ARRAY_SIZE(bad); i++) {
		cr_assert_eq(sl_ingress_ban(ingress, bad[i]), -EINVAL, "%s", bad[i]);
		cr_assert_eq(sl_ingress_unban(ingress, bad[i]), -EINVAL, "%s", bad[i]);
	}
	cr_assert_eq(sl_ingress_bans(ingress, &ban, 1), 0);
	sl_ingress_close(ingress);
}

/* Sends @count SYNs and returns how many passed; the bounds allow for the time that took. */
static uint64_t syns_passed(struct sl_ingress *ingress, const char *source, uint32_t count)
{
	uint64_t passed = 0;

	for (uint32_t i = 0; i < count; i++) {
		enum sl_ingress_reason verdict = run_syn(ingress, source);

		cr_assert(verdict == OK || verdict == SL_INGRESS_DROPPED_RATE);
		passed += verdict == OK;
	}
	return passed;
}

Test(ingress, lets_a_burst_of_syns_through_and_then_the_rate)
{
	struct sl_ingress *ingress = open_on_loopback();
	int64_t start_ms = sl_mono_ms();
	uint64_t passed, refilled;

	cr_assert_eq(syns_passed(ingress, "10.1.2.3", 50), 50, "no limit is the default");
	cr_assert_eq(sl_ingress_set_rate(ingress, &(struct sl_ingress_opts){1, 20}), 0);
	passed = syns_passed(ingress, "10.1.2.3", 400);
	refilled = (uint64_t)(sl_mono_ms() - start_ms) / 1000 + 1;
	cr_assert(passed >= 20 && passed <= 20 + refilled, "%lu passed", (unsigned long)passed);

	/* Only SYNs cost, and only the source pays. */
	cr_assert_eq(run_spec(ingress, &(struct packet_spec){V4, .flags = PACKET_ACK}), OK);
	cr_assert_eq(run_spec(ingress, &(struct packet_spec){V4, .flags = PACKET_SYN | PACKET_ACK}),
	             OK);
	cr_assert_eq(run_syn(ingress, "10.1.2.4"), OK);
	cr_assert_eq(sl_ingress_set_rate(ingress, &(struct sl_ingress_opts){.syn_rate = 0}), 0);
	cr_assert_eq(syns_passed(ingress, "10.1.2.3", 50), 50);
	sl_ingress_close(ingress);
}

Test(ingress, takes_a_64_bit_prefix_of_ipv6_for_one_source)
{
	struct sl_ingress *ingress = open_on_loopback();
	int64_t start_ms = sl_mono_ms();
	uint64_t passed, refilled;

	cr_assert_eq(sl_ingress_set_rate(ingress, &(struct sl_ingress_opts){1, 10}), 0);
	passed = syns_passed(ingress, "2001:db8:0:1::1", 5);
	passed += syns_passed(ingress, "2001:db8:0:1:ffff::2", 200);
	refilled = (uint64_t)(sl_mono_ms() - start_ms) / 1000 + 1;
	cr_assert(passed >= 10 && passed <= 10 + refilled, "%lu passed", (unsigned long)passed);
	cr_assert_eq(run_syn(ingress, "2001:db8:0:2::1"), OK);
	sl_ingress_close(ingress);
}

/* The debt of 100 SYNs at one per second would otherwise last 100 s. */
Test(ingress, forgets_debts_of_a_stricter_limit)
{
	struct sl_ingress *ingress = open_on_loopback();

	cr_assert_eq(sl_ingress_set_rate(ingress, &(struct sl_ingress_opts){1, 100}), 0);
	cr_assert_geq(syns_passed(ingress, "10.1.2.3", 200), 100);
	cr_assert_eq(sl_ingress_set_rate(ingress, &(struct sl_ingress_opts){1000, 50}), 0);
	cr_assert_geq(syns_passed(ingress, "10.1.2.3", 50), 50);
	sl_ingress_close(ingress);
}

Test(ingress, refuses_bad_options_and_interfaces_with_a_reason)
{
	const struct sl_ingress_opts too_fast = {.syn_rate = SL_INGRESS_RATE_MAX + 1};
	struct sl_ingress *ingress = open_on_loopback(), *second;
	struct sl_kern_reason why;

	cr_assert_str_eq(sl_ingress_mode_name(ingress), "generic");
	cr_assert_eq(sl_ingress_set_rate(ingress, &too_fast), -EINVAL);
	cr_assert_eq(sl_ingress_open(&second, "lo", &too_fast, &why), -EINVAL);
	cr_assert(why.cause[0] && why.fix[0]);
	cr_assert_eq(sl_ingress_open(&second, "nosuchif0", NULL, &why), -ENODEV);
	cr_assert(strstr(why.cause, "nosuchif0"));
	cr_assert_eq(sl_ingress_open(&second, "lo", NULL, &why), -EBUSY);
	cr_assert(strstr(why.fix, "ip link set dev lo xdp off"), "%s", why.fix);
	sl_ingress_close(ingress);
	cr_assert_eq(sl_ingress_open(&second, "lo", NULL, &why), 0, "the interface is free again");
	sl_ingress_close(second);
}
