/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SL_IPC_QUERY on channel 0: a JSON object {"method": NAME, ...} in, a JSON object out.  A failed
 * one is answered with -errno in the head and {"error": TEXT}.
 */
#ifndef DATAPLANE_HOST_QUERY_H
#define DATAPLANE_HOST_QUERY_H

#include "lane.h"
#include "sluice/ipc/msg.h"

struct host;

/* Return: 0; -EPROTO the head is not whole. */
int query_take(struct host *host, const void *p, size_t bytes) SL_MUST_CHECK;
/* A lane has written its part. */
void query_returned(struct host *host, struct lane_msg *msg);
/* Frees those that wait for lanes; every lane has ended. */
void query_drop_all(struct host *host);

#endif
