/* SPDX-License-Identifier: Apache-2.0 */
/* Which congestion control connections get, on real sockets. */
#include "net/pace.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

/* Stands for the one that paces: every kernel has it, and it differs from what replaces it. */
#define SYSTEM "cubic"

struct pair {
	int listener, client, server;
	struct sockaddr_storage peer;
};

static void expect_algorithm(int fd, const char *expect)
{
	char name[PACE_NAME_MAX + 1] = "";
	socklen_t len = PACE_NAME_MAX;

	cr_assert(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) == 0);
	cr_expect_str_eq(name, expect);
}

static void begin(struct pair *p, int family, const char *system)
{
	struct sockaddr_storage at = {.ss_family = (sa_family_t)family};
	socklen_t len = family == AF_INET ? sizeof(struct sockaddr_in)
	                                  : sizeof(struct sockaddr_in6);

	inet_pton(family, family == AF_INET ? "127.0.0.1" : "::1",
	          family == AF_INET ? (void *)&((struct sockaddr_in *)&at)->sin_addr
	                            : (void *)&((struct sockaddr_in6 *)&at)->sin6_addr);
	p->listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	p->client = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(setsockopt(p->listener, IPPROTO_TCP, TCP_CONGESTION, SYSTEM, strlen(SYSTEM)) ==
	          0);
	pace_listener(p->listener, system);
	cr_assert(bind(p->listener, (struct sockaddr *)&at, len) == 0 &&
	          listen(p->listener, 1) == 0);
	cr_assert(getsockname(p->listener, (struct sockaddr *)&at, &len) == 0);
	cr_assert(connect(p->client, (struct sockaddr *)&at, len) == 0);
	len = sizeof(p->peer);
	p->server = accept4(p->listener, (struct sockaddr *)&p->peer, &len, SOCK_CLOEXEC);
	cr_assert(p->server >= 0);
}

static void end(const struct pair *p)
{
	close(p->server);
	close(p->client);
	close(p->listener);
}

static void expect_of_peer(int family, const char *system, const char *peer, const char *expect)
{
	struct pair p;

	begin(&p, family, system);
	if (peer)
		inet_pton(family, peer,
		          family == AF_INET ? (void *)&((struct sockaddr_in *)&p.peer)->sin_addr
		                            : (void *)&((struct sockaddr_in6 *)&p.peer)->sin6_addr);
	pace_accepted(p.server, (struct sockaddr *)&p.peer, system);
	expect_algorithm(p.server, expect);
	end(&p);
}

Test(pace, not_within_this_host)
{
	expect_of_peer(AF_INET, SYSTEM, NULL, "reno");
	expect_of_peer(AF_INET, SYSTEM, "127.8.7.6", "reno");
	expect_of_peer(AF_INET6, SYSTEM, NULL, "reno");
}

Test(pace, as_the_system_has_it_beyond_this_host)
{
	expect_of_peer(AF_INET, SYSTEM, "192.0.2.1", SYSTEM);
	expect_of_peer(AF_INET6, SYSTEM, "2001:db8::1", SYSTEM);
}

/* What the system has does not pace: it is left alone everywhere. */
Test(pace, leaves_alone_what_does_not_pace)
{
	expect_of_peer(AF_INET, "", NULL, SYSTEM);
	expect_of_peer(AF_INET, "", "192.0.2.1", SYSTEM);
}

Test(pace, system_has_a_name_only_where_it_paces)
{
	char name[PACE_NAME_MAX];
	char found[PACE_NAME_MAX + 1] = "";
	socklen_t len = PACE_NAME_MAX;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, found, &len) == 0);
	close(fd);
	pace_system(name);
	cr_expect_str_eq(name, strncmp(found, "bbr", 3) == 0 ? found : "");
}
