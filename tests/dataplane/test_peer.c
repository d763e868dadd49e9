/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel says about peers: by which way they are reached, and what they have read. */
#include "net/peer.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static struct peer_oracle oracle;

static struct sockaddr_storage address(const char *text, uint16_t port)
{
	struct sockaddr_storage ss = {0};
	struct sockaddr_in *in = (void *)&ss;
	struct sockaddr_in6 *in6 = (void *)&ss;

	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
	} else {
		cr_assert(inet_pton(AF_INET6, text, &in6->sin6_addr) == 1);
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
	}
	return ss;
}

static enum peer_class classify(const char *local, const char *peer)
{
	const struct sockaddr_storage from = address(local, 9092), to = address(peer, 40000);

	return peer_classify(&oracle, &from, &to);
}

static bool ip(const char *args)
{
	char line[256], name[] = "ip";
	char *argv[32] = {name};
	unsigned n = 1;
	int status;
	pid_t pid;

	snprintf(line, sizeof(line), "%s", args);
	for (char *save, *word = strtok_r(line, " ", &save); word && n < 31;
	     word = strtok_r(NULL, " ", &save))
		argv[n++] = word;
	return posix_spawnp(&pid, "ip", NULL, NULL, argv, environ) == 0 &&
	       waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* A network namespace of this test's own. */
static void own_network(void)
{
	if (unshare(CLONE_NEWNET) != 0)
		cr_skip_test("needs CAP_SYS_ADMIN for a network namespace");
	if (!ip("link set lo up"))
		cr_skip_test("needs iproute2");
	cr_assert(peer_open(&oracle) == 0);
}

static void veth(const char *address)
{
	char args[64];

	if (!ip("link add v0 type veth peer name v1"))
		cr_skip_test("needs the veth module");
	snprintf(args, sizeof(args), "addr add %s dev v0", address);
	cr_assert(ip(args) && ip("link set v0 up") && ip("link set v1 up"));
}

Test(peer, address_of_this_host_is_local)
{
	own_network();
	/* The kernel routes to a new IPv6 address only some time after the command that added it,
	 * even without duplicate detection; to a local route at once. */
	cr_assert(ip("addr add 10.11.0.1/24 dev lo") && ip("-6 route add local fd00:11::1 dev lo"));
	cr_expect(classify("127.0.0.1", "127.0.0.1") == PEER_LOCAL);
	cr_expect(classify("127.0.0.1", "127.8.7.6") == PEER_LOCAL);
	cr_expect(classify("::1", "::1") == PEER_LOCAL);
	cr_expect(classify("::ffff:127.0.0.1", "::ffff:127.0.0.1") == PEER_LOCAL);
	cr_expect(classify("10.11.0.1", "127.0.0.1") == PEER_LOCAL);
	cr_expect(classify("10.11.0.1", "10.11.0.1") == PEER_LOCAL);
	cr_expect(classify("fd00:11::1", "fd00:11::1") == PEER_LOCAL);
	peer_close(&oracle);
}

Test(peer, container_behind_a_veth_is_hidden)
{
	own_network();
	veth("10.11.0.1/24");
	cr_assert(ip("addr add fd00:11::1/64 dev v0 nodad"));
	cr_expect(classify("10.11.0.1", "10.11.0.2") == PEER_HIDDEN);
	cr_expect(classify("10.11.0.1", "10.11.0.2") == PEER_HIDDEN, "remembered");
	cr_expect(oracle.links_count == 1);
	cr_expect(classify("fd00:11::1", "fd00:11::2") == PEER_HIDDEN);
	/* It talks to the address of a card, but is reached over the veth. */
	cr_assert(ip("addr add 10.12.0.1/24 dev lo"));
	cr_expect(classify("10.12.0.1", "10.11.0.2") == PEER_HIDDEN);
	cr_expect(classify("10.12.0.1", "10.11.0.1") == PEER_LOCAL);
	peer_close(&oracle);
}

Test(peer, whoever_is_on_a_bridge_is_hidden)
{
	own_network();
	veth("10.15.0.1/24");
	if (!ip("link add br0 type bridge"))
		cr_skip_test("needs the bridge module");
	cr_assert(ip("addr add 10.11.0.1/24 dev br0") && ip("link set v0 master br0") &&
	          ip("link set br0 up"));
	cr_expect(classify("10.11.0.1", "10.11.0.2") == PEER_HIDDEN);
	peer_close(&oracle);
}

Test(peer, vlan_is_what_lies_below_it)
{
	own_network();
	veth("10.15.0.1/24");
	if (!ip("link add link v1 name v1.5 type vlan id 5"))
		cr_skip_test("needs the 8021q module");
	cr_assert(ip("addr add 10.11.0.1/24 dev v1.5") && ip("link set v1.5 up"));
	cr_expect(classify("10.11.0.1", "10.11.0.2") == PEER_HIDDEN);
	peer_close(&oracle);
}

Test(peer, bond_is_what_its_members_are)
{
	own_network();
	veth("10.15.0.1/24");
	if (!ip("link add bond9 type bond"))
		cr_skip_test("needs the bonding module");
	cr_assert(ip("addr add 10.11.0.1/24 dev bond9") && ip("link set bond9 up"));
	cr_expect(classify("10.11.0.1", "10.11.0.2") == PEER_HIDDEN, "it has none");
	cr_assert(ip("link set v0 down") && ip("link set v0 master bond9"));
	oracle.links_count = 0;
	cr_expect(classify("10.11.0.1", "10.11.0.2") == PEER_HIDDEN, "a virtual one");
	peer_close(&oracle);
}

Test(peer, what_has_no_route_or_is_no_address_is_hidden)
{
	struct sockaddr_storage none = {.ss_family = AF_UNIX};
	struct sockaddr_storage some;

	own_network();
	some = address("127.0.0.1", 1);
	cr_expect(classify("127.0.0.1", "192.0.2.1") == PEER_HIDDEN);
	cr_expect(peer_classify(&oracle, &none, &none) == PEER_HIDDEN);
	cr_expect(peer_classify(&oracle, &none, &some) == PEER_HIDDEN);
	peer_close(&oracle);
	cr_expect(peer_classify(&oracle, &some, &some) == PEER_HIDDEN, "closed");
}

/* ---- Sockets ---- */

struct pair {
	int listener, ours, theirs;
	struct sockaddr_storage local, peer; /* of ours */
};

static void open_pair(struct pair *p, const char *listen_at, const char *connect_to)
{
	struct sockaddr_storage ss = address(listen_at, 0);
	socklen_t len = sizeof(ss);
	uint16_t port;

	p->listener = socket(ss.ss_family, SOCK_STREAM, 0);
	cr_assert(bind(p->listener, (struct sockaddr *)&ss, len) == 0);
	cr_assert(listen(p->listener, 4) == 0);
	cr_assert(getsockname(p->listener, (struct sockaddr *)&ss, &len) == 0);
	port = ntohs(ss.ss_family == AF_INET ? ((struct sockaddr_in *)(void *)&ss)->sin_port
	                                     : ((struct sockaddr_in6 *)(void *)&ss)->sin6_port);
	ss = address(connect_to, port);
	p->theirs = socket(ss.ss_family, SOCK_STREAM, 0);
	cr_assert(connect(p->theirs, (struct sockaddr *)&ss, sizeof(ss)) == 0);
	p->ours = accept(p->listener, NULL, NULL);
	len = sizeof(p->local);
	cr_assert(getsockname(p->ours, (struct sockaddr *)&p->local, &len) == 0);
	len = sizeof(p->peer);
	cr_assert(getpeername(p->ours, (struct sockaddr *)&p->peer, &len) == 0);
}

static void close_pair(struct pair *p)
{
	close(p->listener);
	close(p->ours);
	if (p->theirs >= 0)
		close(p->theirs);
}

static const char *const ways[][2] = {
	{"127.0.0.1", "127.0.0.1"}, {"::1", "::1"},
	{"::", "127.0.0.1"}, /* a listener for both, an IPv4 client */
	{"::", "::ffff:127.0.0.1"}, {"0.0.0.0", "::ffff:127.0.0.1"}, /* as Java's clients connect */
};

Test(peer, tells_what_the_reader_has_left_unread)
{
	own_network();
	for (unsigned i = 0; i < SL_ARRAY_SIZE(ways); i++) {
		struct peer_id id;
		uint32_t unread;
		struct pair p;
		char buf[1000];

		open_pair(&p, ways[i][0], ways[i][1]);
		cr_assert(peer_find(&oracle, &id, &p.local, &p.peer) == 0, "way %u", i);
		cr_expect(peer_unread(&oracle, &id, &unread) == 0 && unread == 0);
		cr_assert(write(p.ours, buf, sizeof(buf)) == sizeof(buf));
		cr_expect(peer_unread(&oracle, &id, &unread) == 0 && unread == 1000, "way %u", i);
		cr_assert(read(p.theirs, buf, 400) == 400);
		cr_expect(peer_unread(&oracle, &id, &unread) == 0 && unread == 600, "way %u", i);
		close_pair(&p);
	}
	peer_close(&oracle);
}

Test(peer, socket_that_was_closed_is_gone)
{
	struct peer_id id;
	uint32_t unread;
	struct pair p;

	own_network();
	open_pair(&p, "127.0.0.1", "127.0.0.1");
	cr_assert(peer_find(&oracle, &id, &p.local, &p.peer) == 0);
	cr_assert(write(p.ours, "unread", 6) == 6);
	close(p.theirs);
	p.theirs = -1;
	cr_expect(peer_unread(&oracle, &id, &unread) == -ENOENT);
	close_pair(&p);
	peer_close(&oracle);
}

Test(peer, listener_is_not_taken_for_a_peer)
{
	struct sockaddr_storage elsewhere;
	struct peer_id id;
	struct pair p;

	own_network();
	open_pair(&p, "127.0.0.1", "127.0.0.1");
	/* No connection has these addresses, but somebody listens at the first. */
	elsewhere = address("127.0.0.1", 1);
	cr_expect(peer_find(&oracle, &id, &elsewhere, &p.local) == -ENOENT);
	/* Addresses that were translated on the way: the peer knows us by another one. */
	elsewhere = address("127.0.0.2", 0);
	((struct sockaddr_in *)(void *)&elsewhere)->sin_port =
		((struct sockaddr_in *)(void *)&p.local)->sin_port;
	cr_expect(peer_find(&oracle, &id, &elsewhere, &p.peer) == -ENOENT);
	close_pair(&p);
	peer_close(&oracle);
}
