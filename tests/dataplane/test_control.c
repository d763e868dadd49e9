/* SPDX-License-Identifier: Apache-2.0 */
/* The lane's end of the channel, with a control process that is slow, new, or broken. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "duplex.h"
#include "sluice/base/crc32c.h"

#define KEY_FORWARDED  12 /* Heartbeat v0 */
#define LAST_DELTA_POS 23 /* lastOffsetDelta in a batch */

/* Asks the lane to append @r to partition 0 of @t. */
static void ask_append(struct duplex *d, const struct topic *t, uint64_t cookie,
                       struct sl_records r)
{
	struct sl_ipc_append head = {.cookie = cookie, .topic_id = t->id};

	cr_assert(sl_channel_send(d->control_end, SL_IPC_APPEND, &head, sizeof(head), r.p,
	                          (size_t)r.len) == 0);
}

static struct sl_records one_record(void)
{
	const struct fx_batch b = {.value_bytes = 100};

	return fx_records(&b);
}

static void free_records(struct sl_records r)
{
	free((void *)(uintptr_t)r.p);
}

Test(control, answers_an_append_when_it_is_durable)
{
	struct sl_ipc_append_done done;
	struct sl_records r = one_record();
	struct duplex d;
	struct topic *t;
	const uint64_t many = 100;

	duplex_open(&d, 0);
	duplex_attach(&d);
	t = fx_topic(d.fx, "t", 1, NULL);
	t->is_internal = true;
	d.fx->gate_fd = eventfd(0, EFD_SEMAPHORE);
	ask_append(&d, t, 7, r);
	(void)duplex_poll(&d);
	cr_expect(duplex_take(&d, &done, sizeof(done)) == SL_IPC_NONE);
	cr_assert(write(d.fx->gate_fd, &many, sizeof(many)) == sizeof(many));
	fx_settle(d.fx);
	cr_assert(duplex_take(&d, &done, sizeof(done)) == SL_IPC_APPEND_DONE);
	cr_expect(done.cookie == 7 && done.kerr == 0 && done.base_offset == 0);
	free_records(r);
	duplex_close(&d);
}

Test(control, tells_a_new_process_nothing_of_what_the_old_one_asked)
{
	struct sl_ipc_append_done done;
	struct sl_records r = one_record();
	uint64_t many = 100;
	struct duplex d;
	struct topic *t;

	duplex_open(&d, 0);
	duplex_attach(&d);
	t = fx_topic(d.fx, "t", 1, NULL);
	t->is_internal = true;
	d.fx->gate_fd = eventfd(0, EFD_SEMAPHORE);
	ask_append(&d, t, 1, r);
	(void)duplex_poll(&d);
	/* Its successor counts its cookies from 1 as well. */
	duplex_detach(&d);
	duplex_attach(&d);
	cr_assert(write(d.fx->gate_fd, &many, sizeof(many)) == sizeof(many));
	fx_settle(d.fx);
	duplex_settle(&d);
	cr_expect(duplex_take(&d, &done, sizeof(done)) == SL_IPC_NONE);
	cr_expect(d.fx->ctx.pool.used == 0);
	free_records(r);
	duplex_close(&d);
}

/* Leaves no room for anything of @bytes or more in the lane's ring. */
static void fill_ring(struct duplex *d, size_t bytes)
{
	static const uint8_t zeroes[1 << 20];

	for (size_t n = sizeof(zeroes); n >= bytes; n /= 2)
		while (sl_channel_send(d->lane_end, SL_IPC_CANCEL, zeroes, n, NULL, 0) == 0)
			;
}

Test(control, loses_no_answer_when_the_ring_is_full)
{
	struct sl_records r = one_record();
	struct sl_ipc_append_done done;
	uint64_t many = 100;
	unsigned answers = 0;
	struct duplex d;
	struct topic *t;

	duplex_open(&d, 0);
	duplex_attach(&d);
	t = fx_topic(d.fx, "t", 1, NULL);
	t->is_internal = true;
	d.fx->gate_fd = eventfd(0, EFD_SEMAPHORE);
	ask_append(&d, t, 1, r);
	(void)duplex_poll(&d);
	fill_ring(&d, 8);
	/* The first becomes durable now, the second is not even looked at. */
	ask_append(&d, t, 2, r);
	cr_assert(write(d.fx->gate_fd, &many, sizeof(many)) == sizeof(many));
	fx_settle(d.fx);
	(void)duplex_poll(&d);
	cr_expect(sl_log_end(fx_partition(t, 0)->log) == 1);
	cr_expect(sl_log_flushed(fx_partition(t, 0)->log) == 1);
	for (bool is_empty = false; !is_empty || answers < 2;) {
		enum sl_ipc_type type = duplex_take(&d, &done, sizeof(uint64_t));

		is_empty = type == SL_IPC_NONE;
		answers += type == SL_IPC_APPEND_DONE;
		if (!is_empty)
			continue;
		cr_assert(duplex_poll(&d) > 0 || answers == 2, "answer %u is missing", answers + 1);
		fx_settle(d.fx);
	}
	cr_expect(sl_log_end(fx_partition(t, 0)->log) == 2);
	free_records(r);
	duplex_close(&d);
}

Test(control, survives_a_batch_with_a_negative_offset_delta)
{
	struct sl_ipc_append_done done;
	struct sl_records r = one_record();
	uint8_t *batch = (uint8_t *)(uintptr_t)r.p;
	struct sl_batch_head head;
	struct duplex d;
	struct topic *t;

	duplex_open(&d, 0);
	duplex_attach(&d);
	t = fx_topic(d.fx, "t", 1, NULL);
	t->is_internal = true;
	sl_store_be32(batch + LAST_DELTA_POS, UINT32_MAX);
	/* Keeps the CRC right: everything but the delta is left to it. */
	cr_assert(sl_batch_peek(batch, (size_t)r.len, &head) == 0);
	cr_assert(head.last_offset_delta == -1);
	sl_store_be32(batch + SL_BATCH_POS_CRC, sl_crc32c(0, batch + SL_BATCH_POS_ATTRIBUTES,
	                                                  (size_t)r.len - SL_BATCH_POS_ATTRIBUTES));
	ask_append(&d, t, 3, r);
	(void)duplex_poll(&d);
	cr_assert(duplex_take(&d, &done, sizeof(done)) == SL_IPC_APPEND_DONE);
	cr_expect(done.cookie == 3 && done.kerr == SL_KERR_INVALID_RECORD);
	free_records(r);
	duplex_close(&d);
}

Test(control, appends_no_damaged_batch)
{
	struct sl_ipc_append_done done;
	struct sl_records r = one_record();
	struct duplex d;
	struct topic *t;

	duplex_open(&d, 0);
	duplex_attach(&d);
	t = fx_topic(d.fx, "t", 1, NULL);
	t->is_internal = true;
	((uint8_t *)(uintptr_t)r.p)[r.len - 1] ^= 1;
	ask_append(&d, t, 3, r);
	(void)duplex_poll(&d);
	cr_assert(duplex_take(&d, &done, sizeof(done)) == SL_IPC_APPEND_DONE);
	cr_expect(done.cookie == 3 && done.kerr == SL_KERR_CORRUPT_MESSAGE);
	cr_expect(sl_log_end(fx_partition(t, 0)->log) == 0);
	free_records(r);
	duplex_close(&d);
}

Test(control, keeps_an_answer_until_there_is_room_for_the_reply)
{
	struct sl_ipc_request head;
	uint8_t p[64];
	struct duplex d;
	void *block;
	size_t cap;
	int fd;

	duplex_open(&d, 8 << 20);
	duplex_attach(&d);
	fd = duplex_client(&d);
	duplex_write(&d, fd, p, duplex_frame(p, KEY_FORWARDED, 0, 5, 8));
	duplex_settle(&d);
	cr_assert(duplex_take(&d, &head, sizeof(head)) == SL_IPC_REQUEST);
	block = pool_get(&d.fx->ctx.pool, 4 << 20, &cap);
	cr_assert(block != NULL);
	duplex_answer(&d, &head, 5, 2000000);
	for (size_t n = cap / 2; n >= 512; n /= 2)
		(void)pool_get(&d.fx->ctx.pool, n, &cap);
	(void)duplex_poll(&d);
	(void)duplex_poll(&d);
	cr_assert(duplex_stat(&d, SL_STAT_connections) == 1, "closed for lack of memory");
	cr_expect(duplex_read(&d, fd) == -1);
	pool_put(&d.fx->ctx.pool, block);
	duplex_settle(&d);
	cr_expect(duplex_read(&d, fd) == 5);
	close(fd);
	duplex_settle(&d);
	sessions_destroy(d.sessions);
	d.sessions = NULL;
	pool_fini(&d.fx->ctx.pool);
	cr_assert(pool_init(&d.fx->ctx.pool, 8 << 20, -1) == 0);
	duplex_close(&d);
}

Test(control, lets_go_of_a_ring_that_was_broken)
{
	const uint64_t nonsense = 12345;
	struct sl_ipc_request head;
	uint8_t p[64];
	struct duplex d;
	int fd;

	duplex_open(&d, 0);
	duplex_attach(&d);
	fd = duplex_client(&d);
	duplex_write(&d, fd, p, duplex_frame(p, KEY_FORWARDED, 0, 5, 8));
	duplex_settle(&d);
	cr_assert(duplex_take(&d, &head, sizeof(head)) == SL_IPC_REQUEST);
	/* A message whose head says nonsense. */
	cr_assert(sl_channel_send(d.control_end, SL_IPC_QUERY, &nonsense, sizeof(nonsense), NULL,
	                          0) == 0);
	for (uint8_t *at = (uint8_t *)d.shm + 4096 + DUPLEX_RING_BYTES;
	     at < (uint8_t *)d.shm + 4096 + DUPLEX_RING_BYTES + 64; at++)
		*at = 0xff;
	(void)duplex_poll(&d);
	cr_assert(d.fx->ctx.control == NULL);
	/* As if the process were gone: the request waits for the next one, but not for ever. */
	d.fx->ctx.now_ms += d.fx->config.control_grace_ms;
	duplex_settle(&d);
	cr_expect(duplex_read(&d, fd) == -2);
	cr_expect(duplex_stat(&d, SL_STAT_closed_control_lost) == 1);
	close(fd);
	duplex_close(&d);
}

Test(control, gets_what_waited_for_it_even_when_it_does_not_fit_at_once)
{
	/* Three requests that wait, of which the ring holds two. */
	const size_t body_bytes = 6900000;
	uint8_t *frame = malloc(body_bytes + 16);
	struct sl_ipc_request head;
	struct duplex d;
	int fds[3];

	duplex_open(&d, 0);
	for (int i = 0; i < 3; i++) {
		fds[i] = duplex_client(&d);
		duplex_write(&d, fds[i], frame,
		             duplex_frame(frame, KEY_FORWARDED, 0, i, body_bytes));
		duplex_settle(&d);
	}
	cr_assert(duplex_stat(&d, SL_STAT_control_parked) == 3);
	duplex_attach(&d);
	for (int i = 0; i < 3; i++) {
		(void)duplex_poll(&d);
		cr_assert(duplex_take(&d, &head, sizeof(head)) == SL_IPC_REQUEST,
		          "request %d was not sent", i);
		/* It takes its time, which no request must suffer for. */
		d.fx->ctx.now_ms += d.fx->config.control_grace_ms;
		(void)duplex_poll(&d);
		duplex_answer(&d, &head, (int32_t)head.conn, 6);
	}
	duplex_settle(&d);
	for (int i = 0; i < 3; i++) {
		cr_expect(duplex_read(&d, fds[i]) == i);
		close(fds[i]);
	}
	duplex_settle(&d);
	duplex_close(&d);
	free(frame);
}
