/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One TCP connection: connect, receive, discard, send, none of which blocks.  epoll reports edges,
 * so can_read and can_write stay set until a call finds the socket dry or full.  Owned by one
 * worker thread.
 */
#include "conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "sluice/base/assert.h"

void conn_init(struct conn *c, const struct conn_ops *ops, void *owner)
{
	*c = (struct conn){.ops = ops, .owner = owner, .fd = -1};
}

void conn_fini(struct conn *c)
{
	conn_close(c);
	free(c->in);
	c->in = NULL;
	c->in_cap = 0;
}

void conn_close(struct conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->state = CONN_CLOSED;
	c->can_read = c->can_write = c->is_ended = false;
	c->in_start = c->in_end = 0;
}

static socklen_t addr_bytes(const struct sockaddr_storage *addr)
{
	return addr->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
	                                   : sizeof(struct sockaddr_in);
}

int conn_open(struct conn *c, int epoll_fd, const struct sockaddr_storage *addr,
              const struct sockaddr_storage *local, uint64_t now_ns)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
	                            .data.ptr = c};
	int one = 1;
	int err;

	SL_ASSERT(c->state == CONN_CLOSED);
	c->fd = socket(addr->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (local) {
		/* The port is chosen by connect(), so that one may serve for several addresses. */
		(void)setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		if (bind(c->fd, (const struct sockaddr *)local, addr_bytes(local)) != 0)
			goto err_close;
	}
	c->began_ns = now_ns;
	c->state = CONN_CONNECTING;
	if (connect(c->fd, (const struct sockaddr *)addr, addr_bytes(addr)) != 0 &&
	    errno != EINPROGRESS)
		goto err_close;
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0)
		goto err_close;
	return 0;

err_close:
	err = -errno;
	conn_close(c);
	return err;
}

void conn_event(struct conn *c, uint32_t events, uint64_t now_ns)
{
	if (c->state == CONN_CLOSED)
		return;
	if (c->state == CONN_CONNECTING) {
		int err = 0;
		socklen_t bytes = sizeof(err);

		if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
			return;
		(void)getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &bytes);
		if (err) {
			conn_close(c);
			c->ops->refused(c, now_ns, -err);
			return;
		}
		c->state = CONN_OPEN;
		c->can_write = true;
		c->ops->opened(c, now_ns);
	}
	/* An error or the end of the stream is found by reading. */
	c->can_read |= (events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0;
	c->can_write |= (events & EPOLLOUT) != 0;
	c->is_ended |= (events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0;
	if (c->state == CONN_OPEN)
		c->ops->ready(c, now_ns);
}

int conn_reserve(struct conn *c, size_t bytes, size_t bytes_max)
{
	size_t cap = SL_MAX(c->in_cap, (size_t)4096);
	uint8_t *grown;

	if (c->in_start > 0 && c->in_start + bytes > c->in_cap) {
		/* copy: the rest of a message to the front of the buffer, so that all of it fits */
		memmove(c->in, c->in + c->in_start, conn_left(c));
		c->in_end -= c->in_start;
		c->in_start = 0;
	}
	if (bytes <= c->in_cap)
		return 0;
	if (bytes > bytes_max)
		return -E2BIG;
	while (cap < bytes)
		cap *= 2;
	grown = realloc(c->in, cap);
	if (!grown)
		return -ENOMEM;
	c->in = grown;
	c->in_cap = cap;
	return 0;
}

/* What a receiving call returned.  A short count means that the socket is dry (epoll(7)), unless
 * the end of the stream waits behind it, for which there is no further event. */
static ssize_t received(struct conn *c, ssize_t n, size_t wanted)
{
	if (n == 0)
		return -ECONNRESET;
	if (n < 0) {
		c->can_read &= errno != EAGAIN;
		return -errno;
	}
	c->can_read &= (size_t)n == wanted || c->is_ended;
	return n;
}

ssize_t conn_receive(struct conn *c, size_t bytes)
{
	ssize_t n;

	if (c->in_start == c->in_end)
		c->in_start = c->in_end = 0;
	bytes = SL_MIN(bytes, c->in_cap - c->in_end);
	SL_ASSERT(bytes > 0);
	n = received(c, recv(c->fd, c->in + c->in_end, bytes, 0), bytes);
	if (n > 0)
		c->in_end += (size_t)n;
	return n;
}

ssize_t conn_discard(struct conn *c, size_t bytes)
{
	/* tcp(7): MSG_TRUNC on a stream throws the bytes away instead of copying them. */
	return received(c, recv(c->fd, NULL, bytes, MSG_TRUNC), bytes);
}

ssize_t conn_send(struct conn *c, const struct iovec *iov, int iov_count)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)iov_count};
	ssize_t n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);

	if (n >= 0)
		return n;
	c->can_write &= errno != EAGAIN;
	return -errno;
}
