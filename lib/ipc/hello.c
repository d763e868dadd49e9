/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hello: a fixed head and descriptors behind it.  Cold path; the data plane's host thread and
 * the control loop run it.
 *
 * Whatever is wrong with a hello, no descriptor of it stays open.  A tier's descriptor is only kept
 * and passed on here; it must be memory all the same, because a file of some other file system
 * could make close(2) wait.
 */
#include "hello.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "sluice/base/assert.h"

/* Ancillary data of one hello. */
union hello_control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int) * HELLO_FDS_MAX)];
};

void sl_ipc_tiers_close(struct sl_ipc_tiers *tiers)
{
	SL_ASSERT(tiers->count <= SL_SHM_LANES_MAX);
	for (uint32_t i = 0; i < tiers->count; i++)
		close(tiers->fds[i]);
	*tiers = (struct sl_ipc_tiers){0};
}

/* Ancillary data with @fds and those of @tiers.  Return: its size. */
static size_t fill_control(union hello_control *control, const int *fds, size_t fds_count,
                           const struct sl_ipc_tiers *tiers)
{
	const size_t count = fds_count + tiers->count;
	struct cmsghdr *cmsg = &control->align;
	unsigned char *data;

	SL_ASSERT(count <= HELLO_FDS_MAX);
	if (count == 0)
		return 0;
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int) * count);
	data = CMSG_DATA(cmsg);
	if (fds_count)
		memcpy(data, fds, sizeof(int) * fds_count);
	memcpy(data + sizeof(int) * fds_count, tiers->fds, sizeof(int) * tiers->count);
	return CMSG_SPACE(sizeof(int) * count);
}

int hello_send(int sock, const struct sl_ipc_hello *head, const int *fds, size_t fds_count,
               const struct sl_ipc_tiers *tiers)
{
	static const struct sl_ipc_tiers none;
	struct sl_ipc_hello hello = *head;
	union hello_control control = {0};
	struct iovec iov = {.iov_base = &hello, .iov_len = sizeof(hello)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (!tiers)
		tiers = &none;
	SL_ASSERT(tiers->count <= SL_SHM_LANES_MAX);
	hello.tiers_count = tiers->count;
	memcpy(hello.tiers, tiers->tiers, sizeof(hello.tiers));
	msg.msg_controllen = fill_control(&control, fds, fds_count, tiers);
	if (msg.msg_controllen)
		msg.msg_control = &control;
	n = sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	return n == (ssize_t)sizeof(hello) ? 0 : -EIO;
}

/* Takes the descriptors out of a message; closes what does not fit. */
static void take_fds(struct msghdr *msg, struct hello *hello)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (hello->fds_count < HELLO_FDS_MAX)
				hello->fds[hello->fds_count++] = fd;
			else
				close(fd);
		}
	}
}

int hello_recv(int sock, struct hello *hello)
{
	union hello_control control = {0};
	struct iovec iov = {.iov_base = &hello->head, .iov_len = sizeof(hello->head)};
	struct msghdr msg = {.msg_iov = &iov,
	                     .msg_iovlen = 1,
	                     .msg_control = &control,
	                     .msg_controllen = sizeof(control)};
	ssize_t n;

	hello->fds_count = 0;
	do {
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? -ECONNREFUSED : -errno;
	if (n == 0)
		return -ECONNREFUSED;
	take_fds(&msg, hello);
	if (n == (ssize_t)sizeof(hello->head) && !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return 0;
	hello_close(hello);
	return -EPROTO;
}

/* Memory that can be written, and nothing else. */
static bool is_tier(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	struct statfs fs;
	struct stat st;

	return flags >= 0 && (flags & O_ACCMODE) == O_RDWR && fstat(fd, &st) == 0 &&
	       S_ISREG(st.st_mode) && fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

int hello_check(const struct hello *hello, size_t fds_count)
{
	const struct sl_ipc_hello *head = &hello->head;

	if (head->version != SL_IPC_VERSION || head->tiers_count > SL_SHM_LANES_MAX ||
	    hello->fds_count != fds_count + head->tiers_count)
		return -EPROTO;
	for (size_t i = fds_count; i < hello->fds_count; i++)
		if (!is_tier(hello->fds[i]))
			return -EPROTO;
	return 0;
}

void hello_move_tiers(struct hello *hello, struct sl_ipc_tiers *tiers)
{
	const uint32_t count = hello->head.tiers_count;
	int *fds = &hello->fds[hello->fds_count - count];

	SL_ASSERT(count <= SL_SHM_LANES_MAX && count <= hello->fds_count);
	*tiers = (struct sl_ipc_tiers){.count = count};
	memcpy(tiers->fds, fds, sizeof(int) * count);
	memcpy(tiers->tiers, hello->head.tiers, sizeof(tiers->tiers[0]) * count);
	hello->fds_count -= count;
}

void hello_close(struct hello *hello)
{
	for (size_t i = 0; i < hello->fds_count; i++)
		if (hello->fds[i] >= 0)
			close(hello->fds[i]);
	hello->fds_count = 0;
}
