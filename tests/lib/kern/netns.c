/* SPDX-License-Identifier: Apache-2.0 */
/* Network namespaces, addresses and sockets for the kernel tests. */
#include "netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

#define LISTEN_BACKLOG 1024

extern char **environ;

void netns_require(enum sl_kern_feature feature)
{
	struct sl_kern_probe probe;

	sl_kern_probe(&probe);
	if (probe.feature[feature].state == SL_KERN_OK)
		return;
	cr_skip_test("%s is %s: %s; fix: %s", sl_kern_feature_name(feature),
	             sl_kern_state_name(probe.feature[feature].state),
	             probe.feature[feature].why.cause, probe.feature[feature].why.fix);
}

static void raise_loopback(void)
{
	struct ifreq req = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	cr_assert(fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &req) == 0, "lo: %s", strerror(errno));
	close(fd);
}

int netns_create(void)
{
	int fd;

	if (unshare(CLONE_NEWNET) != 0)
		cr_skip_test("no new network namespace: %s; fix: run as root", strerror(errno));
	raise_loopback();
	fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	cr_assert(fd >= 0, "%s", strerror(errno));
	return fd;
}

void netns_enter(int netns_fd)
{
	cr_assert(setns(netns_fd, CLONE_NEWNET) == 0, "%s", strerror(errno));
}

void netns_ip(const char *const words[])
{
	char *argv[24] = {(char *)"ip"};
	size_t count = 1;
	int status = -1;
	pid_t pid;
	int err;

	for (; words[count - 1]; count++) {
		cr_assert(count < SL_ARRAY_SIZE(argv) - 1);
		argv[count] = (char *)words[count - 1];
	}
	err = posix_spawnp(&pid, "ip", NULL, NULL, argv, environ);
	if (err != 0)
		cr_skip_test("no ip(8): %s; fix: apt-get install iproute2", strerror(err));
	cr_assert(waitpid(pid, &status, 0) == pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "ip %s %s failed", words[0],
	          words[1]);
}

socklen_t netns_addr(struct sockaddr_storage *out, const char *text, uint16_t port)
{
	struct sockaddr_in6 *in6 = (void *)out;
	struct sockaddr_in *in4 = (void *)out;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &in4->sin_addr) == 1) {
		in4->sin_family = AF_INET;
		in4->sin_port = htons(port);
		return sizeof(*in4);
	}
	cr_assert(inet_pton(AF_INET6, text, &in6->sin6_addr) == 1, "%s", text);
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	return sizeof(*in6);
}

int netns_listen(const char *address, uint16_t port, bool is_shared)
{
	struct sockaddr_storage addr;
	socklen_t len = netns_addr(&addr, address, port);
	int fd = socket(addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1;

	cr_assert(fd >= 0, "%s", strerror(errno));
	cr_assert(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
	if (is_shared)
		cr_assert(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0);
	cr_assert(bind(fd, (const void *)&addr, len) == 0, "%s: %s", address, strerror(errno));
	cr_assert(listen(fd, LISTEN_BACKLOG) == 0, "%s", strerror(errno));
	return fd;
}

int netns_connect_start(const char *source, const char *address, uint16_t port)
{
	struct sockaddr_storage addr;
	socklen_t len;
	int fd, err;

	len = netns_addr(&addr, source ? source : address, 0);
	fd = socket(addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cr_assert(fd >= 0, "%s", strerror(errno));
	if (source)
		cr_assert(bind(fd, (const void *)&addr, len) == 0, "%s: %s", source,
		          strerror(errno));
	len = netns_addr(&addr, address, port);
	err = connect(fd, (const void *)&addr, len) == 0 ? 0 : errno;
	/* A refusal shows when the connection is waited for. */
	cr_assert(err == 0 || err == EINPROGRESS || err == ECONNREFUSED, "%s", strerror(err));
	return fd;
}

bool netns_connect_wait(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);

	return poll(&p, 1, timeout_ms) == 1 && getpeername(fd, (void *)&peer, &len) == 0;
}

int netns_connect(const char *address, uint16_t port)
{
	int fd = netns_connect_start(NULL, address, port);

	cr_assert(netns_connect_wait(fd, NETNS_WAIT_MS), "cannot connect to %s port %u", address,
	          port);
	return fd;
}

int netns_accept(int listen_fd)
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

	cr_assert(fd >= 0 || errno == EAGAIN, "%s", strerror(errno));
	return fd;
}

void netns_reset(int fd)
{
	struct linger now = {.l_onoff = 1};

	cr_assert(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)) == 0);
	close(fd);
}
