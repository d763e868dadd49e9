/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a connection's bytes travel on.  A transport is chosen per listener and never mixed within
 * one connection.  All calls are non-blocking and return bytes, 0 for the end of the stream (recv),
 * or -errno
 * (-EAGAIN: the other direction of readiness must come first).
 */
#ifndef DATAPLANE_NET_TRANSPORT_H
#define DATAPLANE_NET_TRANSPORT_H

#include <sys/types.h>
#include <sys/uio.h>

#include "net/guard.h"

struct net_io;

struct transport_ops {
	const char *name;
	ssize_t (*recv)(struct net_io *io, void *p, size_t bytes);
	ssize_t (*recvv)(struct net_io *io, const struct iovec *iov, int iov_count);
	/* Bytes that have arrived and are not received yet. */
	ssize_t (*unread)(struct net_io *io);
	/* @more: further bytes follow at once (MSG_MORE). */
	ssize_t (*sendv)(struct net_io *io, const struct iovec *iov, int iov_count, bool more);
	ssize_t (*sendfile)(struct net_io *io, int fd, uint64_t pos, size_t bytes, bool more);
	void (*close)(struct net_io *io);
};

/* One connection's end of a transport. */
struct net_io {
	const struct transport_ops *ops;
	int fd;
	uint64_t sent; /* bytes of the stream that the transport has taken: reply.c counts them */
	struct guard_sock guard;
};

/* Kernel TCP. */
extern const struct transport_ops transport_sock;

#endif
