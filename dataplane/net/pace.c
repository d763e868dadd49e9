/* SPDX-License-Identifier: Apache-2.0 */
/* See pace.h. */
#include "net/pace.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

/* Every kernel has it and every process may choose it (tcp(7)). */
#define PACE_NONE "reno"

static void set(int fd, const char *name)
{
	(void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name));
}

void pace_system(char name[PACE_NAME_MAX])
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char found[PACE_NAME_MAX] = "";
	socklen_t len = sizeof(found) - 1;

	/* The name of its versions begins so, too. */
	if (fd < 0 || getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, found, &len) != 0 ||
	    strncmp(found, "bbr", 3) != 0)
		found[0] = '\0';
	if (fd >= 0)
		close(fd);
	memcpy(name, found, PACE_NAME_MAX);
}

void pace_listener(int fd, const char *system)
{
	if (*system != '\0')
		set(fd, PACE_NONE);
}

/* Both ends have the same address, or the peer's is of the loopback interface. */
static bool is_within_host(int fd, const struct sockaddr *peer)
{
	struct sockaddr_storage local;
	socklen_t len = sizeof(local);

	if (getsockname(fd, (struct sockaddr *)&local, &len) != 0 ||
	    local.ss_family != peer->sa_family)
		return false;
	if (peer->sa_family == AF_INET6) {
		const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)&local;
		const struct sockaddr_in6 *b = (const struct sockaddr_in6 *)(const void *)peer;

		return memcmp(&a->sin6_addr, &b->sin6_addr, sizeof(a->sin6_addr)) == 0;
	}
	if (peer->sa_family == AF_INET) {
		const struct sockaddr_in *a = (const struct sockaddr_in *)&local;
		const struct sockaddr_in *b = (const struct sockaddr_in *)(const void *)peer;

		return a->sin_addr.s_addr == b->sin_addr.s_addr ||
		       ntohl(b->sin_addr.s_addr) >> IN_CLASSA_NSHIFT == IN_LOOPBACKNET;
	}
	return false;
}

void pace_accepted(int fd, const struct sockaddr *peer, const char *system)
{
	if (*system != '\0' && !is_within_host(fd, peer))
		set(fd, system);
}
