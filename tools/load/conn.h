/* SPDX-License-Identifier: Apache-2.0 */
/* One TCP connection of a worker, never blocking, edge-triggered. */
#ifndef LOAD_CONN_H
#define LOAD_CONN_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "load.h"

struct conn;

struct conn_ops {
	/* The connection stands and can be written to. */
	void (*opened)(struct conn *c, uint64_t now_ns);
	/* can_read or can_write was set.  Called once more after opened(). */
	void (*ready)(struct conn *c, uint64_t now_ns);
	/* It could not be opened; it is closed already. */
	void (*refused)(struct conn *c, uint64_t now_ns, int err);
};

enum conn_state {
	CONN_CLOSED = 0,
	CONN_CONNECTING,
	CONN_OPEN,
};

/* Legal states: zeroed with fd -1 is closed; in_start <= in_end <= in_cap. */
struct conn {
	const struct conn_ops *ops;
	void *owner;
	int fd;
	enum conn_state state;
	bool can_read;
	bool can_write;
	bool is_ended;     /* the peer sends no more: read until the end is met */
	uint64_t began_ns; /* connect() */
	uint8_t *in;       /* Owned; what was received and not yet consumed */
	size_t in_start, in_end, in_cap;
};

void conn_init(struct conn *c, const struct conn_ops *ops, void *owner);
void conn_fini(struct conn *c);
/* Begins to connect; the outcome is told through ops, never from within this call.  @local: to bind
 * to, or NULL.  Return: 0; -errno. */
int conn_open(struct conn *c, int epoll_fd, const struct sockaddr_storage *addr,
              const struct sockaddr_storage *local, uint64_t now_ns) SL_MUST_CHECK;
/* Forgets what was received.  No-op when closed. */
void conn_close(struct conn *c);
/* Hands on what epoll reported.  Ownership: @c may be gone afterwards, if ops free it. */
void conn_event(struct conn *c, uint32_t events, uint64_t now_ns);

static inline size_t conn_left(const struct conn *c)
{
	return c->in_end - c->in_start;
}

/* Makes room for @bytes in all at in_start; grows up to @bytes_max.  Return: 0; -E2BIG; -ENOMEM. */
int conn_reserve(struct conn *c, size_t bytes, size_t bytes_max) SL_MUST_CHECK;
/* Receives at most @bytes behind in_end, as far as there is room.  Return: bytes; -EAGAIN nothing
 * there (can_read is cleared); -ECONNRESET; -errno. */
ssize_t conn_receive(struct conn *c, size_t bytes) SL_MUST_CHECK;
/* Drops up to @bytes that have not been received yet, in the kernel.  Return: as conn_receive(). */
ssize_t conn_discard(struct conn *c, size_t bytes) SL_MUST_CHECK;
/* Return: bytes taken by the socket; -EAGAIN none (can_write is cleared); -errno. */
ssize_t conn_send(struct conn *c, const struct iovec *iov, int iov_count) SL_MUST_CHECK;

#endif
