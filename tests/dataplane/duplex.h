/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions over socket pairs with everything behind them: partitions with real logs, a pool of any
 * size, and a control process that the test plays.  Built on struct fx; the clock is the test's.
 */
#ifndef TESTS_DATAPLANE_DUPLEX_H
#define TESTS_DATAPLANE_DUPLEX_H

#include "fixture.h"
#include "session/conn.h"
#include "sluice/ipc/msg.h"

#define DUPLEX_RING_BYTES ((size_t)16 << 20)

struct duplex {
	struct fx *fx;
	struct sessions *sessions;
	int epoll_fd;
	/* The attachment, both ends; NULL while the control process is away. */
	void *shm;
	int wake_fds[2];
	struct sl_channel *lane_end, *control_end;
};

/* @pool_bytes: 0 for the fixture's. */
void duplex_open(struct duplex *d, size_t pool_bytes);
/* Closes all, and checks that nothing is left of any connection. */
void duplex_close(struct duplex *d);

/* The client's end of a new connection. */
int duplex_client(struct duplex *d);
/* One iteration of the lane's loop.  Return: work done. */
unsigned duplex_poll(struct duplex *d);
/* Iterations until there is nothing to do; fails the test when that never comes. */
void duplex_settle(struct duplex *d);

void duplex_attach(struct duplex *d);
void duplex_detach(struct duplex *d);
/* Takes the oldest message to the control process.  Return: its type, SL_IPC_NONE: there is none.
 */
enum sl_ipc_type duplex_take(struct duplex *d, void *head, size_t head_bytes);
/* Answers a request with its correlation id and @bytes of body. */
void duplex_answer(struct duplex *d, const struct sl_ipc_request *to, int32_t correlation_id,
                   size_t bytes);

/* A frame with its size: key, version, correlation id, client id "me", then @body_bytes of zeroes.
 * Return: bytes in all. */
size_t duplex_frame(uint8_t *p, int16_t key, int16_t version, int32_t correlation_id,
                    size_t body_bytes);
/* Writes all, with iterations of the lane while the socket is full. */
void duplex_write(struct duplex *d, int fd, const void *p, size_t bytes);
/* Reads one response; returns its correlation id, -1 nothing there, -2 end of the stream. */
int32_t duplex_read(struct duplex *d, int fd);
uint64_t duplex_stat(const struct duplex *d, enum sl_stat stat);

#endif
