/* SPDX-License-Identifier: Apache-2.0 */
/* A connection's stream where something runs out: buffers, room to send, the peer's patience. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "duplex.h"
#include "sluice/wire/fetch_gen.h"

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

Test(stream, rests_while_the_pool_is_empty_and_goes_on_when_memory_comes_back)
{
	void *blocks[64];
	unsigned count = 0;
	uint8_t p[64];
	struct duplex d;
	int fds[2];
	size_t cap;

	duplex_open(&d, 8 << 20);
	for (size_t bytes = 8 << 20; bytes >= 512; bytes /= 2)
		while (count < SL_ARRAY_SIZE(blocks) &&
		       (blocks[count] = pool_get(&d.fx->ctx.pool, bytes, &cap)))
			count++;
	for (int i = 0; i < 2; i++) {
		fds[i] = duplex_client(&d);
		duplex_write(&d, fds[i], p, duplex_frame(p, SL_API_API_VERSIONS, 0, i, 0));
	}
	duplex_settle(&d);
	cr_expect(duplex_stat(&d, SL_STAT_buffer_exhausted) == 2, "they wait, they do not poll");
	cr_expect(sessions_next_ms(d.sessions) > d.fx->ctx.now_ms, "the lane may sleep");
	while (count > 0)
		pool_put(&d.fx->ctx.pool, blocks[--count]);
	cr_expect(sessions_next_ms(d.sessions) == d.fx->ctx.now_ms);
	duplex_settle(&d);
	for (int i = 0; i < 2; i++) {
		cr_expect(duplex_read(&d, fds[i]) == i);
		close(fds[i]);
	}
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

/* ---- A socket that takes whatever it is given ---- */

static size_t taken_bytes;

static ssize_t take_all(struct net_io *io, const struct iovec *iov, int iov_count, bool more)
{
	size_t n = 0;

	(void)io;
	(void)more;
	for (int i = 0; i < iov_count; i++)
		n += iov[i].iov_len;
	taken_bytes += n;
	return (ssize_t)n;
}

/* Topics enough for a Metadata response of some 400 KB. */
static void fill_image(struct fx *fx)
{
	for (unsigned i = 0; i < 1700; i++) {
		char name[201];

		memset(name, 'n', 200);
		snprintf(name + 190, 11, "%010u", i);
		fx_foreign_topic(fx, name, FX_NODE + 1);
	}
}

Test(stream, goes_on_after_a_long_queue_was_sent_in_one_call)
{
	struct transport_ops ops = transport_sock;
	const unsigned count = 60;
	uint8_t frames[60 * 20];
	struct duplex d;
	size_t n = 0;
	int fd;

	duplex_open(&d, 0);
	fill_image(d.fx);
	fd = duplex_client(&d);
	ops.sendv = take_all;
	d.sessions->conns[0].io.ops = &ops;
	/* Metadata v1 with a null array asks for all topics. */
	for (unsigned i = 0; i < count; i++) {
		n += duplex_frame(frames + n, SL_API_METADATA, 1, (int32_t)i, 4);
		sl_store_be32(frames + n - 4, UINT32_MAX);
	}
	duplex_write(&d, fd, frames, n);
	duplex_settle(&d);
	cr_expect(duplex_stat(&d, SL_STAT_responses) == count, "%llu of %u were answered",
	          (unsigned long long)duplex_stat(&d, SL_STAT_responses), count);
	cr_expect(taken_bytes > count * (size_t)300000);
	close(fd);
	duplex_settle(&d);
	duplex_close(&d);
}

Test(stream, forgets_a_peer_that_left_while_its_request_waits)
{
	struct sl_ipc_request head;
	uint8_t p[64];
	struct duplex d;
	int gone, waiting;

	duplex_open(&d, 0);
	duplex_attach(&d);
	gone = duplex_client(&d);
	waiting = duplex_client(&d);
	duplex_write(&d, gone, p, duplex_frame(p, KEY_FORWARDED, 0, 1, 8));
	duplex_write(&d, waiting, p, duplex_frame(p, KEY_FORWARDED, 0, 2, 8));
	shutdown(gone, SHUT_WR);
	duplex_settle(&d);
	cr_assert(duplex_stat(&d, SL_STAT_control_parked) == 2);
	d.fx->ctx.now_ms += d.fx->config.idle_ms + 1;
	duplex_settle(&d);
	cr_expect(duplex_read(&d, gone) == -2);
	cr_expect(duplex_read(&d, waiting) == -1, "it waits for us");
	cr_expect(duplex_stat(&d, SL_STAT_closed_idle) == 1);
	cr_assert(duplex_take(&d, &head, sizeof(head)) == SL_IPC_REQUEST);
	cr_assert(duplex_take(&d, &head, sizeof(head)) == SL_IPC_REQUEST);
	cr_expect(duplex_take(&d, &head, sizeof(head)) == SL_IPC_CANCEL);
	close(gone);
	close(waiting);
	duplex_settle(&d);
	duplex_close(&d);
}

Test(stream, does_not_poll_until_a_time_out_is_looked_at)
{
	uint8_t p[64];
	struct duplex d;
	int fd;

	duplex_open(&d, 0);
	fd = duplex_client(&d);
	duplex_settle(&d);
	/* A look now; the next one may only come a tenth of a second later. */
	d.fx->ctx.now_ms += 1000;
	(void)duplex_frame(p, KEY_FORWARDED, 0, 1, 8);
	duplex_write(&d, fd, p, 10);
	duplex_settle(&d);
	d.fx->ctx.now_ms += d.fx->config.frame_ms - 50;
	duplex_settle(&d);
	d.fx->ctx.now_ms += 50;
	duplex_settle(&d);
	cr_expect(duplex_stat(&d, SL_STAT_closed_slow_frame) == 1 ||
	          sessions_next_ms(d.sessions) > d.fx->ctx.now_ms);
	close(fd);
	duplex_settle(&d);
	duplex_close(&d);
}

Test(stream, sends_what_is_answered_before_it_closes)
{
	uint8_t p[128];
	struct duplex d;
	size_t n = 0;
	int fd;

	duplex_open(&d, 0);
	fd = duplex_client(&d);
	for (int i = 0; i < 3; i++)
		n += duplex_frame(p + n, SL_API_API_VERSIONS, 0, i, 0);
	n += duplex_frame(p + n, 999, 0, 3, 0);
	duplex_write(&d, fd, p, n);
	duplex_settle(&d);
	for (int i = 0; i < 3; i++)
		cr_expect(duplex_read(&d, fd) == i, "answer %d was thrown away", i);
	cr_expect(duplex_read(&d, fd) == -2);
	close(fd);
	duplex_close(&d);
}

/* ---- A log whose disk is slow ---- */

static unsigned asked;

static ssize_t not_yet(struct net_io *io, int fd, uint64_t pos, size_t bytes, bool more)
{
	return asked++ < 3 ? -EBUSY : transport_sock.sendfile(io, fd, pos, bytes, more);
}

static void encode_fetch(const void *body, struct sl_buf *buf, int16_t version)
{
	sl_fetch_req_encode(body, buf, version);
}

Test(stream, comes_back_every_millisecond_while_the_disk_is_read)
{
	struct transport_ops ops = transport_sock;
	struct sl_fetch_req_topic_partition part;
	struct sl_fetch_req_topic topic = {
		.topic = sl_str_from("t"), .partitions = &part, .partitions_count = 1};
	struct sl_fetch_req body;
	struct request *req;
	uint8_t size[4];
	struct duplex d;
	int fd;

	duplex_open(&d, 0);
	fx_append(d.fx, fx_partition(fx_topic(d.fx, "t", 1, NULL), 0), 5000);
	fd = duplex_client(&d);
	ops.sendfile = not_yet;
	d.sessions->conns[0].io.ops = &ops;
	sl_fetch_req_topic_partition_init(&part);
	part.partition_max_bytes = 1 << 20;
	sl_fetch_req_init(&body);
	body.max_bytes = 1 << 20;
	body.topics = &topic;
	body.topics_count = 1;
	req = fx_request(d.fx, SL_API_FETCH, 4, encode_fetch, &body);
	sl_store_be32(size, req->frame_bytes);
	duplex_write(&d, fd, size, sizeof(size));
	duplex_write(&d, fd, req->frame, req->frame_bytes);
	for (unsigned i = 1; i <= 3; i++) {
		duplex_settle(&d);
		cr_assert(asked == i, "asked %u times", asked);
		cr_expect(duplex_stat(&d, SL_STAT_responses) == 0);
		cr_expect(sessions_next_ms(d.sessions) == d.fx->ctx.now_ms + 1);
		d.fx->ctx.now_ms++;
	}
	duplex_settle(&d);
	cr_expect(asked == 4 && duplex_stat(&d, SL_STAT_responses) == 1);
	cr_expect(duplex_read(&d, fd) == 77);
	cr_expect(sessions_next_ms(d.sessions) > d.fx->ctx.now_ms + 1);
	close(fd);
	duplex_settle(&d);
	fx_release(d.fx, req);
	duplex_close(&d);
}
