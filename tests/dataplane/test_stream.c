/* SPDX-License-Identifier: Apache-2.0 */
/* A connection's stream where something runs out: buffers, room to send, the peer's patience. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "duplex.h"

#define KEY_FORWARDED 12 /* Heartbeat v0 */

Test(stream, answers_requests_that_fill_the_buffers)
{
	/* Each frame takes a block of 512 KiB, and there are as many clients as the pool has of
	 * those.  The first round teaches every connection the size of its frames. */
	const size_t body_bytes = (512 << 10) - 16;
	static uint8_t frame[512 << 10];
	struct sl_ipc_request head;
	struct duplex d;
	int fds[FX_REQUESTS];

	duplex_open(&d, 8 << 20);
	duplex_attach(&d);
	for (int i = 0; i < FX_REQUESTS; i++) {
		fds[i] = duplex_client(&d);
		duplex_write(&d, fds[i], frame,
		             duplex_frame(frame, KEY_FORWARDED, 0, i, body_bytes));
		duplex_settle(&d);
		cr_assert(duplex_take(&d, &head, sizeof(head)) == SL_IPC_REQUEST);
		duplex_answer(&d, &head, i, 6);
		duplex_settle(&d);
		cr_assert(duplex_read(&d, fds[i]) == i);
	}
	cr_assert(d.fx->ctx.pool.used == 0);
	/* All sizes first, so that every connection asks for its buffer; then the rest. */
	for (int i = 0; i < FX_REQUESTS; i++) {
		(void)duplex_frame(frame, KEY_FORWARDED, 0, 100 + i, body_bytes);
		duplex_write(&d, fds[i], frame, 16);
		(void)duplex_poll(&d);
	}
	size_t sent[FX_REQUESTS];
	int answered = 0;

	for (int i = 0; i < FX_REQUESTS; i++)
		sent[i] = 16;
	for (int round = 0; answered < FX_REQUESTS && round < 5000; round++) {
		for (int i = 0; i < FX_REQUESTS; i++) {
			ssize_t n;

			(void)duplex_frame(frame, KEY_FORWARDED, 0, 100 + i, body_bytes);
			n = send(fds[i], frame + sent[i], sizeof(frame) - sent[i], MSG_NOSIGNAL);
			sent[i] += n > 0 ? (size_t)n : 0;
		}
		(void)duplex_poll(&d);
		/* The control process answers when nobody can send any more. */
		if (round > 200 && duplex_take(&d, &head, sizeof(head)) == SL_IPC_REQUEST)
			duplex_answer(&d, &head, 100, 6);
		for (int i = 0; i < FX_REQUESTS; i++)
			answered += duplex_read(&d, fds[i]) == 100;
	}
	cr_expect(answered == FX_REQUESTS, "%d of %d were answered", answered, FX_REQUESTS);
	cr_expect(duplex_stat(&d, SL_STAT_connections) == FX_REQUESTS, "some were closed");
	for (int i = 0; i < FX_REQUESTS; i++)
		close(fds[i]);
	duplex_settle(&d);
	duplex_close(&d);
}

Test(stream, refuses_at_once_a_frame_that_no_buffer_can_hold)
{
	uint8_t p[4];
	struct duplex d;
	int fd;

	duplex_open(&d, 8 << 20);
	fd = duplex_client(&d);
	sl_store_be32(p, 50 << 20);
	cr_assert(d.fx->config.request_bytes_max > 50 << 20);
	duplex_write(&d, fd, p, sizeof(p));
	duplex_settle(&d);
	cr_expect(duplex_read(&d, fd) == -2);
	cr_expect(duplex_stat(&d, SL_STAT_closed_frame_size) == 1);
	close(fd);
	duplex_close(&d);
}
