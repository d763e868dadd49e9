/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions: the client connections of one lane, from accept to close.  Cuts the byte stream into
 * frames, runs requests, keeps replies in the order of requests, and enforces the limits of a
 * connection.
 */
#ifndef DATAPLANE_SESSION_SESSION_H
#define DATAPLANE_SESSION_SESSION_H

#include "ctx.h"
#include "request/request.h"

struct sessions;
struct sockaddr;

/* Allocates every connection and request the lane will ever have.  Return: 0 or -ENOMEM. */
int sessions_create(struct sessions **out, struct ctx *ctx, int epoll_fd) SL_MUST_CHECK;
/* Closes what is open. */
void sessions_destroy(struct sessions *s);

/* Takes over an accepted socket; refuses (closes) it when a limit is reached. */
void sessions_accept(struct sessions *s, int fd, const struct sockaddr *peer, uint16_t local_port);
/* Readiness of connection @index as epoll reported it. */
void sessions_event(struct sessions *s, uint32_t index, uint32_t epoll_events);
/* Bounded work: connections that can go on, requests that were woken or finished, time-outs.
 * Return: amount of work done; 0 idle. */
unsigned sessions_poll(struct sessions *s);
/* When sessions_poll() has something to do without any event, monotonic ms. */
int64_t sessions_next_ms(const struct sessions *s);
/* No more reading; sessions_drained() becomes true when every parked produce is answered and sent.
 */
void sessions_drain(struct sessions *s);
bool sessions_drained(const struct sessions *s);
/* One JSON object per connection, ',' between. */
void sessions_print(const struct sessions *s, struct sl_buf *out);

#endif
