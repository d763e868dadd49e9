/* SPDX-License-Identifier: Apache-2.0 */
/* The one message that carries descriptors: what each side says first. */
#ifndef IPC_HELLO_H
#define IPC_HELLO_H

#include "sluice/ipc/msg.h"

/* Order of the descriptors in the data plane's hello; the channels' eventfds follow from
 * HELLO_FD_CHANNELS on, then the tiers.  That of the control process has tiers only. */
enum hello_fd {
	HELLO_FD_SHM = 0,
	HELLO_FD_RINGS,
	HELLO_FD_CONTROL_WAKE,
	HELLO_FD_CHANNELS
};

#define HELLO_FDS_MAX (HELLO_FD_CHANNELS + SL_SHM_LANES_MAX + 1 + SL_SHM_LANES_MAX)

_Static_assert(HELLO_FDS_MAX <= 253, "the kernel passes at most SCM_MAX_FD descriptors at once");
_Static_assert(sizeof(struct sl_ipc_hello) == 32 + 24 * SL_SHM_LANES_MAX,
               "both sides agree on the hello");

/* A hello that was received.  Nothing in it is checked but its size. */
struct hello {
	struct sl_ipc_hello head;
	int fds[HELLO_FDS_MAX]; /* Owned; -1 once it was moved out */
	size_t fds_count;
};

/**
 * hello_send() - say hello
 * @head: its tiers are filled in here
 * @fds, @fds_count: descriptors before those of @tiers
 * @tiers: may be NULL
 * Return: 0; -EPIPE the peer is gone or does not listen; -errno.
 */
int hello_send(int sock, const struct sl_ipc_hello *head, const int *fds, size_t fds_count,
               const struct sl_ipc_tiers *tiers) SL_MUST_CHECK;
/* @hello owns descriptors on success only.  Return: 0; -EAGAIN; -EPROTO not of a hello's size;
 * -ECONNREFUSED the peer is gone; -errno. */
int hello_recv(int sock, struct hello *hello) SL_MUST_CHECK;
/**
 * hello_check() - version, number of descriptors and the tiers
 * @fds_count: how many must come before the tiers
 * Return: 0 or -EPROTO.
 */
int hello_check(const struct hello *hello, size_t fds_count) SL_MUST_CHECK;
/* Out of a checked hello, which keeps none of them. */
void hello_move_tiers(struct hello *hello, struct sl_ipc_tiers *tiers);
/* Closes what was not moved out. */
void hello_close(struct hello *hello);

#endif
