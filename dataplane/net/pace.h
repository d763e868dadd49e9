/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pacing of connections within this host.
 *
 * BBR spaces what it sends by timers, as its estimate of the path's rate says (tcp_bbr.c of Linux).
 * Between two processes of one host there is no path, and answers of 64 to 256 KiB arrive at half
 * to two thirds of the speed.  A socket that once had BBR stays paced, so listening sockets get
 * another algorithm, and connections that leave the host the system's again.
 */
#ifndef DATAPLANE_NET_PACE_H
#define DATAPLANE_NET_PACE_H

#include "sluice/base/base.h"

#define PACE_NAME_MAX 16 /* TCP_CA_NAME_MAX of the kernel */

struct sockaddr;

/* The system's congestion control (net.ipv4.tcp_congestion_control) if it paces, else "". */
void pace_system(char name[PACE_NAME_MAX]);
/* @fd: before listen(2).  @system: of pace_system().  Where it is refused connections are paced. */
void pace_listener(int fd, const char *system);
/* @fd: just accepted, from @peer. */
void pace_accepted(int fd, const struct sockaddr *peer, const char *system);

#endif
