/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel-socket transport: non-blocking TCP.  Readiness is the lane's business (epoll,
 * edge-triggered); these calls only move bytes.
 */
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/transport.h"

static ssize_t sock_recv(struct net_io *io, void *p, size_t bytes)
{
	ssize_t n;

	do {
		n = recv(io->fd, p, bytes, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t sock_recvv(struct net_io *io, const struct iovec *iov, int iov_count)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)iov_count};
	ssize_t n;

	do {
		n = recvmsg(io->fd, &msg, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t sock_unread(struct net_io *io)
{
	int bytes;

	return ioctl(io->fd, FIONREAD, &bytes) == 0 ? bytes : -errno;
}

static ssize_t sock_sendv(struct net_io *io, const struct iovec *iov, int iov_count, bool more)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)iov_count};
	const int flags = MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0);
	ssize_t n;

	do {
		/* One answer at a time is the rule, and the kernel does not have to copy and check
		 * a msghdr for it. */
		n = iov_count == 1 ? send(io->fd, iov->iov_base, iov->iov_len, flags)
		                   : sendmsg(io->fd, &msg, flags);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* sendfile(2) has no MSG_MORE: a file range is normally the end of what is sent at once, and where
 * it is not, the next send carries on within the same loop iteration. */
static ssize_t sock_sendfile(struct net_io *io, int fd, uint64_t pos, size_t bytes, bool more)
{
	off_t off = (off_t)pos;
	ssize_t n;

	(void)more;
	do {
		n = sendfile(io->fd, fd, &off, bytes);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static void sock_close(struct net_io *io)
{
	if (io->fd >= 0)
		close(io->fd);
	io->fd = -1;
}

const struct transport_ops transport_sock = {
	.name = "sock",
	.recv = sock_recv,
	.recvv = sock_recvv,
	.unread = sock_unread,
	.sendv = sock_sendv,
	.sendfile = sock_sendfile,
	.close = sock_close,
};
