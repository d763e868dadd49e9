/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a connection's other end lies, and what it has read: questions to the kernel by netlink.
 * For the recycle guard, which must know who can still see pages that were sent by reference.
 * Owner lane only.
 */
#ifndef DATAPLANE_NET_PEER_H
#define DATAPLANE_NET_PEER_H

#include <linux/inet_diag.h>

#include "sluice/base/base.h"

struct sockaddr_storage;

/* X(name): what ends a socket's references to the pages it was given. */
#define PEER_CLASSES(X)                                                                      \
	X(UNKNOWN) /* nobody has asked yet */                                                \
	X(REMOTE)  /* beyond a device: the acknowledgement, the peer has bytes of its own */ \
	X(LOCAL)   /* a socket of this network namespace: its reader has copied them */      \
	X(HIDDEN)  /* a container or virtual machine of this host, or nobody can say: nothing */

#define PEER_CLASS_ENUM_(c) PEER_##c,
enum peer_class {
	PEER_CLASSES(PEER_CLASS_ENUM_) PEER_NR
};
#undef PEER_CLASS_ENUM_

#define PEER_LINKS_MAX 32 /* interfaces remembered */

/* Sockets to ask through, and what was learnt about interfaces.  Legal states: fds < 0 = closed,
 * every question is answered by PEER_HIDDEN or -EBADF. */
struct peer_oracle {
	int route_fd;
	int diag_fd;
	uint32_t seq;
	struct {
		uint32_t ifindex; /* never used again by the kernel while it counts upwards */
		bool is_physical;
	} links[PEER_LINKS_MAX];
	uint32_t links_count;
};

/* The peer's own socket, as the kernel finds it. */
struct peer_id {
	struct inet_diag_sockid sock;
	uint8_t family;
};

/* Return: 0; -errno, closed. */
int peer_open(struct peer_oracle *o) SL_MUST_CHECK;
void peer_close(struct peer_oracle *o);

/**
 * peer_classify() - which way bytes from @local to @peer go
 *
 * By the route and not by the address of the interface: a container is reached over a virtual link
 * although it talks to the address of the network card.
 * Context: two system calls, four more for an interface seen for the first time.
 */
enum peer_class peer_classify(struct peer_oracle *o, const struct sockaddr_storage *local,
                              const struct sockaddr_storage *peer);

/**
 * peer_find() - the socket at the other end of a connection within this network namespace
 *
 * Return: 0 and @id is set; -ENOENT there is none with these addresses, as behind an address
 * translation; -errno.
 */
int peer_find(struct peer_oracle *o, struct peer_id *id, const struct sockaddr_storage *local,
              const struct sockaddr_storage *peer) SL_MUST_CHECK;
/**
 * peer_unread() - bytes that have arrived at @id and were not read
 *
 * Return: 0; -ENOENT the socket is closed, and its queue with it; -errno nobody can say.
 */
int peer_unread(struct peer_oracle *o, const struct peer_id *id, uint32_t *unread) SL_MUST_CHECK;

#endif
