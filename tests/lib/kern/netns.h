/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Test rig: network namespaces without names.  They belong to the test's own process and vanish
 * with it, however it ends, so there is nothing to clean up and nothing to collide with.
 */
#ifndef TEST_KERN_NETNS_H
#define TEST_KERN_NETNS_H

#include <sys/socket.h>

#include "sluice/kern/loader.h"

#define NETNS_WAIT_MS 10000

/* Skips the calling test, printing cause and fix, when the kernel or the privilege is missing. */
void netns_require(enum sl_kern_feature feature);

/* Moves the calling thread to a new namespace with loopback up.  Return: its descriptor. */
int netns_create(void);
/* Moves the calling thread; sockets stay in the namespace they were made in. */
void netns_enter(int netns_fd);

/* Runs ip(8) with these words (the last one NULL) in the calling thread's namespace. */
void netns_ip(const char *const words[]);

/* "10.1.2.3" or "fd77::1". */
socklen_t netns_addr(struct sockaddr_storage *out, const char *text, uint16_t port);
/* A non-blocking listening socket; fails the test if it cannot be made. */
int netns_listen(const char *address, uint16_t port, bool is_shared);
/* Starts to connect, from @source if it is not NULL, without waiting. */
int netns_connect_start(const char *source, const char *address, uint16_t port);
/* Waits for it.  Return: true if connected in time. */
bool netns_connect_wait(int fd, int timeout_ms);
/* A connected blocking socket; fails the test if that takes longer than NETNS_WAIT_MS. */
int netns_connect(const char *address, uint16_t port);
/* The next connection of a listener, or -1 when there is none. */
int netns_accept(int listen_fd);
/* Closes with a reset, so that no port stays in TIME_WAIT. */
void netns_reset(int fd);

#endif
