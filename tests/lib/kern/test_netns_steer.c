/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sk_lookup program on the real kernel, in a namespace of its own: which listener accepts a
 * connection is the only evidence that counts.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "netns.h"
#include "sluice/kern/loader.h"

#define LANES          4
#define BOOTSTRAP_PORT 9092
#define LANE_PORT(i)   ((uint16_t)(9093 + (i)))
#define ALL_LANES      ((1u << LANES) - 1)

struct rig {
	struct sl_steer *steer;
	int listeners[LANES];
	uint32_t landed[LANES];
	uint32_t total;
};

static void set_port(struct sl_steer *steer, const char *address, uint16_t port,
                     struct sl_steer_port to)
{
	struct sockaddr_storage addr;

	netns_addr(&addr, address, port);
	cr_assert_eq(sl_steer_set_port(steer, (void *)&addr, &to), 0);
}

/* The listeners sit on ports nobody dials, so a connection that arrives was steered. */
static void rig_open(struct rig *rig, const char *listen_address)
{
	struct sl_kern_reason why;

	netns_require(SL_KERN_SK_LOOKUP);
	*rig = (struct rig){0};
	close(netns_create());
	cr_assert_eq(sl_steer_open(&rig->steer, &why), 0, "%s; fix: %s", why.cause, why.fix);
	for (uint32_t lane = 0; lane < LANES; lane++) {
		rig->listeners[lane] = netns_listen(listen_address, 0, false);
		cr_assert_eq(sl_steer_set_listener(rig->steer, lane, rig->listeners[lane]), 0);
	}
	cr_assert_eq(sl_steer_set_active(rig->steer, ALL_LANES), 0);
}

static void rig_set_ports(struct rig *rig, const char *address)
{
	set_port(rig->steer, address, BOOTSTRAP_PORT,
	         (struct sl_steer_port){.kind = SL_STEER_BOOTSTRAP});
	for (uint32_t lane = 0; lane < LANES; lane++)
		set_port(rig->steer, address, LANE_PORT(lane),
		         (struct sl_steer_port){.kind = SL_STEER_LANE, .lane = lane});
}

static void rig_close(struct rig *rig)
{
	for (uint32_t lane = 0; lane < LANES; lane++)
		close(rig->listeners[lane]);
	sl_steer_close(rig->steer);
}

/* Connects and returns the lane that accepted; exactly one must. */
static uint32_t dial(struct rig *rig, const char *address, uint16_t port)
{
	struct pollfd p[LANES];
	struct sockaddr_storage local, dialled;
	socklen_t len = sizeof(local);
	uint32_t found = LANES;
	int client = netns_connect(address, port);
	int fd;

	for (uint32_t lane = 0; lane < LANES; lane++)
		p[lane] = (struct pollfd){.fd = rig->listeners[lane], .events = POLLIN};
	cr_assert_eq(poll(p, LANES, NETNS_WAIT_MS), 1, "not accepted by exactly one lane");
	for (uint32_t lane = 0; lane < LANES; lane++) {
		if (p[lane].revents)
			found = lane;
	}
	fd = netns_accept(rig->listeners[found]);
	cr_assert(fd >= 0);
	cr_assert(getsockname(fd, (void *)&local, &len) == 0);
	netns_addr(&dialled, address, port);
	if (local.ss_family == AF_INET)
		cr_assert(memcmp(&local, &dialled, sizeof(struct sockaddr_in)) == 0,
		          "the session does not see the dialled address");
	netns_reset(client);
	netns_reset(fd);
	rig->landed[found]++;
	rig->total++;
	return found;
}

static void assert_stats_agree(const struct rig *rig)
{
	struct sl_steer_stats stats;

	cr_assert_eq(sl_steer_stats(rig->steer, &stats), 0);
	for (uint32_t lane = 0; lane < SL_STEER_LANES_MAX; lane++)
		cr_assert_eq(stats.steered[lane], lane < LANES ? rig->landed[lane] : 0);
	cr_assert_eq(stats.missed_no_active + stats.missed_no_listener + stats.missed_refused, 0);
}

Test(steer, puts_1000_connections_on_the_lanes_the_maps_say)
{
	struct rig rig;

	rig_open(&rig, "127.0.0.1");
	rig_set_ports(&rig, "127.0.0.1");
	for (int i = 0; i < 400; i++)
		dial(&rig, "127.0.0.1", BOOTSTRAP_PORT);
	/* 100 expected, standard deviation 8.7: six of them either way. */
	for (uint32_t lane = 0; lane < LANES; lane++)
		cr_assert(rig.landed[lane] > 48 && rig.landed[lane] < 152, "lane %u got %u of 400",
		          lane, rig.landed[lane]);
	for (uint32_t i = 0; i < 600; i++)
		cr_assert_eq(dial(&rig, "127.0.0.1", LANE_PORT(i % LANES)), i % LANES);
	cr_assert_eq(rig.total, 1000);
	assert_stats_agree(&rig);
	rig_close(&rig);
}

Test(steer, gives_a_drained_lane_nothing_and_its_port_to_the_other)
{
	struct rig rig;

	rig_open(&rig, "127.0.0.1");
	rig_set_ports(&rig, "127.0.0.1");
	cr_assert_eq(sl_steer_set_active(rig.steer, ALL_LANES & ~(1u << 2)), 0);
	cr_assert_eq(sl_steer_redirect(rig.steer, &(struct sl_steer_move){2, 3}), 0);
	for (int i = 0; i < 150; i++) {
		cr_assert_neq(dial(&rig, "127.0.0.1", BOOTSTRAP_PORT), 2);
		cr_assert_eq(dial(&rig, "127.0.0.1", LANE_PORT(2)), 3);
	}
	cr_assert(rig.landed[0] > 20 && rig.landed[1] > 20 && rig.landed[3] > 170);
	cr_assert_eq(rig.landed[2], 0);
	assert_stats_agree(&rig);

	cr_assert_eq(sl_steer_redirect(rig.steer, &(struct sl_steer_move){2, 2}), 0);
	cr_assert_eq(dial(&rig, "127.0.0.1", LANE_PORT(2)), 2);
	rig_close(&rig);
}

Test(steer, redirects_a_bootstrap_pick_of_a_lane_that_is_still_active)
{
	struct rig rig;

	rig_open(&rig, "127.0.0.1");
	rig_set_ports(&rig, "127.0.0.1");
	cr_assert_eq(sl_steer_redirect(rig.steer, &(struct sl_steer_move){1, 0}), 0);
	for (int i = 0; i < 100; i++)
		cr_assert_neq(dial(&rig, "127.0.0.1", BOOTSTRAP_PORT), 1);
	rig_close(&rig);
}

Test(steer, follows_a_chain_of_redirections_and_refuses_a_ring)
{
	struct rig rig;

	rig_open(&rig, "127.0.0.1");
	rig_set_ports(&rig, "127.0.0.1");
	cr_assert_eq(sl_steer_redirect(rig.steer, &(struct sl_steer_move){0, 1}), 0);
	cr_assert_eq(sl_steer_redirect(rig.steer, &(struct sl_steer_move){1, 2}), 0);
	cr_assert_eq(dial(&rig, "127.0.0.1", LANE_PORT(0)), 2);
	cr_assert_eq(dial(&rig, "127.0.0.1", LANE_PORT(1)), 2);
	cr_assert_eq(sl_steer_redirect(rig.steer, &(struct sl_steer_move){2, 0}), -ELOOP);
	cr_assert_eq(dial(&rig, "127.0.0.1", LANE_PORT(2)), 2);
	cr_assert_eq(sl_steer_redirect(rig.steer, &(struct sl_steer_move){1, 1}), 0);
	cr_assert_eq(dial(&rig, "127.0.0.1", LANE_PORT(0)), 1);
	rig_close(&rig);
}

/* Listeners that share a port are a group over which the kernel would spread the choice again. */
Test(steer, keeps_its_choice_among_reuseport_listeners)
{
	struct sl_kern_reason why;
	struct rig rig = {0};

	netns_require(SL_KERN_SK_LOOKUP);
	close(netns_create());
	cr_assert_eq(sl_steer_open(&rig.steer, &why), 0, "%s", why.cause);
	for (uint32_t lane = 0; lane < LANES; lane++) {
		rig.listeners[lane] = netns_listen("127.0.0.1", 9000, true);
		cr_assert_eq(sl_steer_set_listener(rig.steer, lane, rig.listeners[lane]), 0);
	}
	rig_set_ports(&rig, "127.0.0.1");
	for (uint32_t i = 0; i < 100; i++)
		cr_assert_eq(dial(&rig, "127.0.0.1", LANE_PORT(2)), 2);
	rig_close(&rig);
}

Test(steer, serves_both_families_through_the_ipv6_wildcard)
{
	struct rig rig;

	rig_open(&rig, "::");
	rig_set_ports(&rig, "::");
	for (uint32_t lane = 0; lane < LANES; lane++) {
		cr_assert_eq(dial(&rig, "::1", LANE_PORT(lane)), lane);
		cr_assert_eq(dial(&rig, "127.0.0.1", LANE_PORT(lane)), lane);
	}
	memset(rig.landed, 0, sizeof(rig.landed));
	for (int i = 0; i < 200; i++)
		dial(&rig, "::1", BOOTSTRAP_PORT);
	for (uint32_t lane = 0; lane < LANES; lane++)
		cr_assert(rig.landed[lane] > 10, "lane %u got %u of 200", lane, rig.landed[lane]);
	rig_close(&rig);
}

Test(steer, leaves_other_addresses_of_the_host_alone)
{
	struct rig rig;
	int other, client, fd;

	rig_open(&rig, "127.0.0.1");
	rig_set_ports(&rig, "127.0.0.1");
	other = netns_listen("127.0.0.2", BOOTSTRAP_PORT, false);
	client = netns_connect("127.0.0.2", BOOTSTRAP_PORT);
	cr_assert_eq(poll(&(struct pollfd){.fd = other, .events = POLLIN}, 1, NETNS_WAIT_MS), 1);
	fd = netns_accept(other);
	cr_assert(fd >= 0, "the other program's connection was taken away");
	assert_stats_agree(&rig);
	close(fd);
	close(client);
	close(other);
	rig_close(&rig);
}

/* Connects and expects the plain listener to accept. */
static void dial_plain(int plain, const char *address, uint16_t port)
{
	struct pollfd p = {.fd = plain, .events = POLLIN};
	int client = netns_connect(address, port);
	int fd;

	cr_assert_eq(poll(&p, 1, NETNS_WAIT_MS), 1);
	fd = netns_accept(plain);
	cr_assert(fd >= 0);
	netns_reset(client);
	netns_reset(fd);
}

Test(steer, falls_back_to_plain_listeners_and_counts_why)
{
	struct sl_steer_stats stats;
	struct sockaddr_storage addr;
	struct rig rig;
	int plain4, plain6;

	rig_open(&rig, "127.0.0.1");
	rig_set_ports(&rig, "0.0.0.0");
	rig_set_ports(&rig, "::1");
	plain4 = netns_listen("127.0.0.1", LANE_PORT(0), false);
	plain6 = netns_listen("::1", LANE_PORT(0), false);

	dial_plain(plain6, "::1", LANE_PORT(0)); /* The lane's socket is IPv4. */
	cr_assert_eq(dial(&rig, "127.0.0.1", LANE_PORT(0)), 0);
	close(rig.listeners[0]); /* As when a lane dies. */
	dial_plain(plain4, "127.0.0.1", LANE_PORT(0));
	cr_assert_eq(sl_steer_stats(rig.steer, &stats), 0);
	cr_assert_eq(stats.missed_refused, 1);
	cr_assert_eq(stats.missed_no_listener, 1);
	cr_assert_eq(stats.missed_no_active, 0);

	set_port(rig.steer, "127.0.0.1", LANE_PORT(0),
	         (struct sl_steer_port){.kind = SL_STEER_BOOTSTRAP});
	cr_assert_eq(sl_steer_set_active(rig.steer, 0), 0);
	dial_plain(plain4, "127.0.0.1", LANE_PORT(0));
	cr_assert_eq(sl_steer_stats(rig.steer, &stats), 0);
	cr_assert_eq(stats.missed_no_active, 1);

	netns_addr(&addr, "127.0.0.1", LANE_PORT(0));
	cr_assert_eq(sl_steer_clear_port(rig.steer, (void *)&addr), 0);
	cr_assert_eq(sl_steer_clear_port(rig.steer, (void *)&addr), -ENOENT);
	rig.listeners[0] = -1;
	rig_close(&rig);
	dial_plain(plain4, "127.0.0.1", LANE_PORT(0));
	close(plain4);
	close(plain6);
}

Test(steer, detaches_when_closed)
{
	struct rig rig;
	int fd;

	rig_open(&rig, "127.0.0.1");
	rig_set_ports(&rig, "127.0.0.1");
	dial(&rig, "127.0.0.1", BOOTSTRAP_PORT);
	rig_close(&rig);
	fd = netns_connect_start(NULL, "127.0.0.1", BOOTSTRAP_PORT);
	cr_assert_not(netns_connect_wait(fd, NETNS_WAIT_MS), "still steered");
	close(fd);
}

Test(steer, refuses_bad_arguments)
{
	struct sl_steer_port lane = {.kind = SL_STEER_LANE, .lane = SL_STEER_LANES_MAX};
	struct sl_steer_port kind = {.kind = 0};
	struct sl_steer_port good = {.kind = SL_STEER_BOOTSTRAP};
	struct sockaddr_storage addr;
	int bound = socket(AF_INET, SOCK_STREAM, 0);
	struct rig rig;

	rig_open(&rig, "127.0.0.1");
	netns_addr(&addr, "127.0.0.1", BOOTSTRAP_PORT);
	cr_assert_eq(sl_steer_set_port(rig.steer, (void *)&addr, &lane), -EINVAL);
	cr_assert_eq(sl_steer_set_port(rig.steer, (void *)&addr, &kind), -EINVAL);
	netns_addr(&addr, "127.0.0.1", 0);
	cr_assert_eq(sl_steer_set_port(rig.steer, (void *)&addr, &good), -EINVAL);
	addr.ss_family = AF_UNIX;
	cr_assert_eq(sl_steer_set_port(rig.steer, (void *)&addr, &good), -EINVAL);
	cr_assert_eq(sl_steer_set_listener(rig.steer, SL_STEER_LANES_MAX, rig.listeners[0]),
	             -EINVAL);
	cr_assert_eq(sl_steer_set_listener(rig.steer, 0, bound), -EINVAL);
	cr_assert_eq(sl_steer_set_listener(rig.steer, 0, -1), -EBADF);
	cr_assert_eq(sl_steer_redirect(rig.steer, &(struct sl_steer_move){0, SL_STEER_LANES_MAX}),
	             -EINVAL);
	cr_assert_eq(sl_steer_redirect(rig.steer, &(struct sl_steer_move){SL_STEER_LANES_MAX, 0}),
	             -EINVAL);
	close(bound);
	rig_close(&rig);
}

Test(steer, reports_a_full_port_table)
{
	struct sl_steer_port to = {.kind = SL_STEER_BOOTSTRAP};
	struct sockaddr_storage addr;
	struct rig rig;

	rig_open(&rig, "127.0.0.1");
	for (uint16_t i = 0; i < SL_STEER_PORTS_MAX; i++)
		set_port(rig.steer, "127.0.0.1", (uint16_t)(1000 + i), to);
	netns_addr(&addr, "127.0.0.1", 30000);
	cr_assert_eq(sl_steer_set_port(rig.steer, (void *)&addr, &to), -E2BIG);
	netns_addr(&addr, "127.0.0.1", 1000);
	cr_assert_eq(sl_steer_clear_port(rig.steer, (void *)&addr), 0);
	/* The IPv6 wildcard needs two rows and there is one: it must leave none behind. */
	netns_addr(&addr, "::", 30000);
	cr_assert_eq(sl_steer_set_port(rig.steer, (void *)&addr, &to), -E2BIG);
	set_port(rig.steer, "127.0.0.1", 30000, to);
	rig_close(&rig);
}
