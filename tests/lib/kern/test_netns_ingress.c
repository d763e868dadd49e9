/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The XDP program on a veth pair between two namespaces, with the kernel's own TCP on both sides:
 * 10.77.0.1 listens; 10.77.0.2 and .3 and fd77::2 connect.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "netns.h"
#include "sluice/base/clock.h"
#include "sluice/kern/loader.h"

#define SERVER     "10.77.0.1"
#define CLIENT_A   "10.77.0.2"
#define CLIENT_B   "10.77.0.3"
#define SERVER6    "fd77::1"
#define CLIENT6    "fd77::2"
#define OUR_PORT   9092
#define OTHER_PORT 9093
#define SYN_BYTES  54 /* Ethernet, IPv4 and TCP without options */

struct rig {
	struct sl_ingress *ingress;
	int server_ns;
	int client_ns;
	int listener;
	int other_listener;
	int listener6;
};

static void link_namespaces(const struct rig *rig)
{
	char peer_ns[64];

	snprintf(peer_ns, sizeof(peer_ns), "/proc/%d/fd/%d", getpid(), rig->client_ns);
	netns_enter(rig->server_ns);
	netns_ip((const char *[]){"link", "add", "va", "type", "veth", "peer", "name", "vb", NULL});
	netns_ip((const char *[]){"link", "set", "vb", "netns", peer_ns, NULL});
	netns_ip((const char *[]){"addr", "add", SERVER "/24", "dev", "va", NULL});
	netns_ip((const char *[]){"addr", "add", SERVER6 "/64", "dev", "va", "nodad", NULL});
	netns_ip((const char *[]){"link", "set", "va", "up", NULL});
	netns_enter(rig->client_ns);
	netns_ip((const char *[]){"addr", "add", CLIENT_A "/24", "dev", "vb", NULL});
	netns_ip((const char *[]){"addr", "add", CLIENT_B "/24", "dev", "vb", NULL});
	netns_ip((const char *[]){"addr", "add", CLIENT6 "/64", "dev", "vb", "nodad", NULL});
	netns_ip((const char *[]){"link", "set", "vb", "up", NULL});
}

/* Leaves the calling thread on the clients' side. */
static void rig_open(struct rig *rig)
{
	struct sl_kern_reason why;

	netns_require(SL_KERN_XDP);
	*rig = (struct rig){0};
	rig->server_ns = netns_create();
	rig->client_ns = netns_create();
	link_namespaces(rig);
	netns_enter(rig->server_ns);
	rig->listener = netns_listen(SERVER, OUR_PORT, false);
	rig->other_listener = netns_listen(SERVER, OTHER_PORT, false);
	rig->listener6 = netns_listen(SERVER6, OUR_PORT, false);
	cr_assert_eq(sl_ingress_open(&rig->ingress, "va", NULL, &why), 0, "%s; fix: %s", why.cause,
	             why.fix);
	cr_assert_eq(sl_ingress_set_port(rig->ingress, OUR_PORT), 0);
	netns_enter(rig->client_ns);
}

static void rig_close(struct rig *rig)
{
	sl_ingress_close(rig->ingress);
	close(rig->listener);
	close(rig->other_listener);
	close(rig->listener6);
	close(rig->server_ns);
	close(rig->client_ns);
}

static struct sl_ingress_count counter(const struct rig *rig, enum sl_ingress_reason reason)
{
	struct sl_ingress_stats stats;

	cr_assert_eq(sl_ingress_stats(rig->ingress, &stats), 0);
	return stats.by_reason[reason];
}

/* The other side's softirq may run after connect(2) has returned. */
static void wait_counter(const struct rig *rig, enum sl_ingress_reason reason, uint64_t at_least)
{
	int64_t end_ms = sl_mono_ms() + NETNS_WAIT_MS;

	while (counter(rig, reason).packets < at_least) {
		cr_assert(sl_mono_ms() < end_ms, "%s stays below %lu",
		          sl_ingress_reason_name(reason), (unsigned long)at_least);
		poll(NULL, 0, 1);
	}
}

static void assert_connects(const char *source, const char *address, uint16_t port)
{
	int fd = netns_connect_start(source, address, port);

	cr_assert(netns_connect_wait(fd, NETNS_WAIT_MS), "%s cannot connect to %s port %u", source,
	          address, port);
	close(fd);
}

static uint32_t accept_all(int listener)
{
	uint32_t count = 0;

	for (int fd = netns_accept(listener); fd >= 0; fd = netns_accept(listener)) {
		close(fd);
		count++;
	}
	return count;
}

Test(ingress_veth, a_banned_source_is_counted_dropped_and_let_in_again)
{
	struct sl_ingress_ban_info ban;
	struct sl_ingress_count dropped;
	struct rig rig;
	int fd;

	rig_open(&rig);
	cr_assert_str_eq(sl_ingress_mode_name(rig.ingress), "native");
	assert_connects(CLIENT_A, SERVER, OUR_PORT);
	accept_all(rig.listener);
	cr_assert_eq(counter(&rig, SL_INGRESS_DROPPED_BAN).packets, 0);

	cr_assert_eq(sl_ingress_ban(rig.ingress, CLIENT_A), 0);
	fd = netns_connect_start(CLIENT_A, SERVER, OUR_PORT);
	wait_counter(&rig, SL_INGRESS_DROPPED_BAN, 1);
	assert_connects(CLIENT_B, SERVER, OUR_PORT);
	assert_connects(CLIENT_A, SERVER, OTHER_PORT);
	cr_assert_not(netns_connect_wait(fd, 0), "the banned source is connected");
	cr_assert_eq(accept_all(rig.listener), 1, "only the other source may get through");
	dropped = counter(&rig, SL_INGRESS_DROPPED_BAN);
	cr_assert_geq(dropped.bytes, dropped.packets * SYN_BYTES);
	cr_assert_eq(sl_ingress_bans(rig.ingress, &ban, 1), 1);
	cr_assert_str_eq(ban.cidr, CLIENT_A "/32");
	cr_assert_geq(ban.dropped_packets, 1);

	cr_assert_eq(sl_ingress_unban(rig.ingress, CLIENT_A), 0);
	assert_connects(CLIENT_A, SERVER, OUR_PORT);
	cr_assert(netns_connect_wait(fd, NETNS_WAIT_MS), "a retransmitted SYN is let in");
	close(fd);
	rig_close(&rig);
}

Test(ingress_veth, bans_ipv6_sources_too)
{
	struct rig rig;
	int fd;

	rig_open(&rig);
	assert_connects(CLIENT6, SERVER6, OUR_PORT);
	cr_assert_eq(accept_all(rig.listener6), 1);
	cr_assert_eq(sl_ingress_ban(rig.ingress, "fd77::/64"), 0);
	fd = netns_connect_start(CLIENT6, SERVER6, OUR_PORT);
	wait_counter(&rig, SL_INGRESS_DROPPED_BAN, 1);
	cr_assert_not(netns_connect_wait(fd, 0));
	cr_assert_eq(sl_ingress_unban(rig.ingress, "fd77::/64"), 0);
	assert_connects(CLIENT6, SERVER6, OUR_PORT);
	close(fd);
	rig_close(&rig);
}

Test(ingress_veth, a_source_over_the_syn_rate_loses_the_excess)
{
	enum {
		BURST = 5,
		SYNS = 60
	};
	struct rig rig;
	int64_t start_ms;
	uint64_t refilled;
	uint32_t accepted;
	int fds[SYNS];

	rig_open(&rig);
	start_ms = sl_mono_ms();
	cr_assert_eq(sl_ingress_set_rate(rig.ingress, &(struct sl_ingress_opts){1, BURST}), 0);
	for (int i = 0; i < SYNS; i++)
		fds[i] = netns_connect_start(CLIENT_A, SERVER, OUR_PORT);
	for (int i = 0; i < BURST; i++)
		cr_assert(netns_connect_wait(fds[i], NETNS_WAIT_MS), "connection %d of the burst",
		          i);
	/* Every first SYN meets its verdict; what the rate let in since can only be less than this.
	 */
	wait_counter(&rig, SL_INGRESS_DROPPED_RATE, SYNS / 2);
	accepted = accept_all(rig.listener);
	refilled = (uint64_t)(sl_mono_ms() - start_ms) / 1000 + 1;
	cr_assert(accepted >= BURST && accepted <= BURST + refilled, "%u accepted", accepted);
	wait_counter(&rig, SL_INGRESS_DROPPED_RATE, SYNS - BURST - refilled);

	assert_connects(CLIENT_B, SERVER, OUR_PORT);
	cr_assert_eq(sl_ingress_set_rate(rig.ingress, &(struct sl_ingress_opts){0}), 0);
	for (int i = 0; i < SYNS; i++) {
		cr_assert(netns_connect_wait(fds[i], NETNS_WAIT_MS),
		          "connection %d after the limit", i);
		close(fds[i]);
	}
	rig_close(&rig);
}

Test(ingress_veth, leaves_the_interface_when_closed)
{
	struct rig rig;

	rig_open(&rig);
	cr_assert_eq(sl_ingress_ban(rig.ingress, "0.0.0.0/0"), 0);
	sl_ingress_close(rig.ingress);
	rig.ingress = NULL;
	assert_connects(CLIENT_A, SERVER, OUR_PORT);
	rig_close(&rig);
}

Test(ingress_veth, survives_the_removal_of_the_interface)
{
	struct sl_ingress_stats stats;
	struct rig rig;

	rig_open(&rig);
	netns_ip((const char *[]){"link", "del", "vb", NULL});
	cr_assert_eq(sl_ingress_ban(rig.ingress, CLIENT_A), 0);
	cr_assert_eq(sl_ingress_set_rate(rig.ingress, &(struct sl_ingress_opts){.syn_rate = 5}), 0);
	cr_assert_eq(sl_ingress_stats(rig.ingress, &stats), 0);
	rig_close(&rig);
}
