/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends in one thread: order, content, limits and the sleep flags, step by step. */
#include "sluice/ipc/channel.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>

#include "sluice/ipc/msg.h"

#include "ipc_pair.h"

#define DP  SL_CHANNEL_DATAPLANE
#define CTL SL_CHANNEL_CONTROL

static struct pair pair;

static void open_pair(void)
{
	pair_open(&pair, PAIR_RING_BYTES);
}

static void close_pair(void)
{
	pair_close(&pair);
}

TestSuite(channel, .init = open_pair, .fini = close_pair);

static size_t message_max(void)
{
	return SL_CHANNEL_MESSAGE_MAX(pair.ring_bytes);
}

/* Sends messages of @bytes until the ring is full.  Return: how many. */
static int fill_ring(struct sl_channel *ch, size_t bytes)
{
	static uint8_t body[PAIR_RING_BYTES];
	int n = 0;
	int rc;

	while ((rc = sl_channel_send(ch, SL_IPC_REQUEST, NULL, 0, body, bytes)) == 0)
		n++;
	cr_assert_eq(rc, -EAGAIN);
	return n;
}

static void drop_one(struct sl_channel *ch)
{
	uint32_t type;
	const void *p;
	size_t bytes;

	cr_assert_eq(sl_channel_peek(ch, &type, &p, &bytes), 1);
	sl_channel_release(ch);
}

Test(channel, keeps_order_and_content_both_ways_for_random_sizes)
{
	for (uint64_t seed = 1; seed <= 8; seed++) {
		struct stream out[2], in[2];
		uint64_t choice = seed;

		for (int side = 0; side < 2; side++) {
			out[side] = (struct stream){seed * 1000003 + (uint64_t)side, 0,
			                            side ? 500 : message_max()};
			in[side] = out[side];
		}
		for (int step = 0; step < 20000; step++) {
			int side = (int)(random_next(&choice) % 2);
			int rc = random_next(&choice) % 2 ? stream_send(&out[side], pair.ch[side])
			                                  : stream_recv(&in[side], pair.ch[!side]);

			cr_assert_geq(rc, 0, "seed %lu step %d: %d", (unsigned long)seed, step, rc);
			cr_assert_leq(in[side].seq, out[side].seq);
		}
		for (int side = 0; side < 2; side++) {
			while (in[side].seq < out[side].seq)
				cr_assert_eq(stream_recv(&in[side], pair.ch[!side]), 1);
			cr_assert_eq(stream_recv(&in[side], pair.ch[!side]), 0);
			cr_assert_gt(in[side].seq, 1000);
		}
	}
}

Test(channel, takes_the_largest_message_at_every_place_of_an_empty_ring)
{
	static uint8_t body[PAIR_RING_BYTES];
	uint32_t type;
	const void *p;
	size_t bytes;

	for (size_t i = 0; i < message_max(); i++)
		body[i] = (uint8_t)(i * 7 + i / 251);
	/* The small message between makes the largest one start at another place each round. */
	for (size_t round = 0; round < PAIR_RING_BYTES / 8; round++) {
		cr_assert_eq(sl_channel_send(pair.ch[DP], SL_IPC_READ_DONE, body, 9, body + 9,
		                             message_max() - 9),
		             0, "round %zu", round);
		cr_assert_eq(sl_channel_peek(pair.ch[CTL], &type, &p, &bytes), 1);
		cr_assert_eq(bytes, message_max());
		if (round % 64 == 0)
			cr_assert_eq(memcmp(p, body, bytes), 0);
		sl_channel_release(pair.ch[CTL]);
		cr_assert_eq(sl_channel_send(pair.ch[DP], SL_IPC_REQUEST, body, 1, NULL, 0), 0);
		drop_one(pair.ch[CTL]);
	}
}

Test(channel, refuses_larger_than_the_maximum)
{
	static uint8_t body[PAIR_RING_BYTES];
	size_t max = message_max();

	cr_assert_eq(sl_channel_send(pair.ch[DP], SL_IPC_REQUEST, NULL, 0, body, max + 1),
	             -EMSGSIZE);
	cr_assert_eq(sl_channel_send(pair.ch[DP], SL_IPC_REQUEST, body, 1, body, max), -EMSGSIZE);
	cr_assert_eq(sl_channel_send(pair.ch[DP], SL_IPC_REQUEST, body, 1, body, SIZE_MAX),
	             -EMSGSIZE);
	cr_assert_null(sl_channel_reserve(pair.ch[DP], max + 1));
	cr_assert_null(sl_channel_reserve(pair.ch[DP], SIZE_MAX));
	cr_assert_not(sl_channel_is_failed(pair.ch[DP]));
	cr_assert_eq(sl_channel_send(pair.ch[DP], SL_IPC_REQUEST, body, 1, body, max - 1), 0);
}

Test(channel, full_ring_loses_nothing_and_takes_more_after_release)
{
	struct stream out = {77, 0, 4000}, in = out;
	int sent = 0;

	for (int round = 0; round < 50; round++) {
		while (stream_send(&out, pair.ch[DP]) == 1)
			sent++;
		cr_assert_null(sl_channel_reserve(pair.ch[DP], message_max()));
		cr_assert_eq(stream_recv(&in, pair.ch[CTL]), 1);
	}
	while (stream_recv(&in, pair.ch[CTL]) == 1)
		;
	cr_assert_eq(in.seq, out.seq);
	cr_assert_gt(sent, 50);
	cr_assert_eq(stream_send(&out, pair.ch[DP]), 1);
}

Test(channel, uses_every_byte_of_the_ring)
{
	/* 56 bytes and their head are 64, which divides the ring. */
	cr_assert_eq(fill_ring(pair.ch[DP], 56), PAIR_RING_BYTES / 64);
	for (int i = 0; i < (int)(PAIR_RING_BYTES / 64); i++)
		drop_one(pair.ch[CTL]);
	cr_assert_eq(fill_ring(pair.ch[DP], 56), PAIR_RING_BYTES / 64);
}

Test(channel, commits_fewer_bytes_than_reserved_and_none)
{
	uint32_t type;
	const void *p;
	size_t bytes;
	uint8_t *room = sl_channel_reserve(pair.ch[CTL], 5000);

	cr_assert_not_null(room);
	memcpy(room, "abc", 3);
	sl_channel_commit(pair.ch[CTL], SL_IPC_QUERY, 3);
	cr_assert_not_null(sl_channel_reserve(pair.ch[CTL], 5000));
	sl_channel_commit(pair.ch[CTL], SL_IPC_IMAGE_END, 0);

	cr_assert_eq(sl_channel_peek(pair.ch[DP], &type, &p, &bytes), 1);
	cr_assert_eq(type, SL_IPC_QUERY);
	cr_assert_eq(bytes, 3);
	cr_assert_arr_eq(p, "abc", 3);
	sl_channel_release(pair.ch[DP]);
	cr_assert_eq(sl_channel_peek(pair.ch[DP], &type, &p, &bytes), 1);
	cr_assert_eq(type, SL_IPC_IMAGE_END);
	cr_assert_eq(bytes, 0);
	sl_channel_release(pair.ch[DP]);
	cr_assert_eq(sl_channel_peek(pair.ch[DP], &type, &p, &bytes), 0);
}

Test(channel, abandoned_reservation_leaves_no_trace)
{
	struct stream out = {5, 0, 2000}, in = out;

	for (int i = 0; i < 500; i++) {
		uint8_t *room = sl_channel_reserve(pair.ch[DP], message_max());

		if (room)
			memset(room, 0xff, message_max());
		cr_assert_eq(stream_send(&out, pair.ch[DP]), 1);
		cr_assert_eq(stream_recv(&in, pair.ch[CTL]), 1);
	}
}

Test(channel, peek_returns_the_same_message_until_release)
{
	uint32_t type[2];
	const void *p[2];
	size_t bytes[2];

	cr_assert_eq(sl_channel_send(pair.ch[DP], SL_IPC_REQUEST, "first", 5, NULL, 0), 0);
	cr_assert_eq(sl_channel_peek(pair.ch[CTL], &type[0], &p[0], &bytes[0]), 1);
	cr_assert_eq(sl_channel_send(pair.ch[DP], SL_IPC_CANCEL, "second", 6, NULL, 0), 0);
	cr_assert_eq(sl_channel_peek(pair.ch[CTL], &type[1], &p[1], &bytes[1]), 1);
	cr_assert_eq(p[0], p[1]);
	cr_assert_eq(bytes[1], 5);
	cr_assert_eq(type[1], SL_IPC_REQUEST);
}

Test(channel, creation_refuses_bad_sizes_other_layouts_and_used_memory)
{
	static const size_t bad[] = {0, 1, 65535, 65536 + 8, 32768, (size_t)1 << 31, SIZE_MAX};
	struct sl_channel *ch = NULL;
	struct pair other;

	for (size_t i = 0; i < SL_ARRAY_SIZE(bad); i++)
		cr_assert_eq(sl_channel_create(&ch, DP, pair.shm, bad[i], -1, -1), -EINVAL);
	cr_assert_eq(sl_channel_create(&ch, DP, (uint8_t *)pair.shm + 8, pair.ring_bytes, -1, -1),
	             -EINVAL);
	cr_assert_eq(sl_channel_create(&ch, DP, pair.shm, 2 * pair.ring_bytes, -1, -1), -EPROTO);
	cr_assert_eq(sl_channel_send(pair.ch[DP], SL_IPC_REQUEST, "x", 1, NULL, 0), 0);
	cr_assert_eq(sl_channel_create(&ch, DP, pair.shm, pair.ring_bytes, -1, -1), -EPROTO);
	drop_one(pair.ch[CTL]);
	cr_assert_eq(sl_channel_create(&ch, CTL, pair.shm, pair.ring_bytes, -1, -1), -EPROTO);
	cr_assert_null(ch);

	/* Either end may be the first one, and the other may have sent before the second is made.
	 */
	pair_open(&other, 2 * PAIR_RING_BYTES);
	cr_assert_eq(sl_channel_send(other.ch[CTL], SL_IPC_QUERY, "x", 1, NULL, 0), 0);
	cr_assert_eq(sl_channel_create(&ch, DP, other.shm, other.ring_bytes, -1, -1), 0);
	drop_one(ch);
	sl_channel_destroy(ch);
	pair_close(&other);
}

Test(channel, sleep_refuses_while_a_message_is_unread)
{
	cr_assert_eq(sl_channel_send(pair.ch[DP], SL_IPC_REQUEST, "x", 1, NULL, 0), 0);
	cr_assert_not(sl_channel_sleep(pair.ch[CTL]));
	/* The flag was taken back: nobody pays a system call for one that is awake. */
	cr_assert_eq(sl_channel_send(pair.ch[DP], SL_IPC_REQUEST, "y", 1, NULL, 0), 0);
	cr_assert_eq(wakes_taken(pair.wake_fd[CTL]), 0);
	drop_one(pair.ch[CTL]);
	cr_assert_not(sl_channel_sleep(pair.ch[CTL]));
	drop_one(pair.ch[CTL]);
	cr_assert(sl_channel_sleep(pair.ch[CTL]));
}

Test(channel, wakes_a_sleeper_once_and_nobody_else)
{
	cr_assert(sl_channel_sleep(pair.ch[CTL]));
	cr_assert_eq(wakes_taken(pair.wake_fd[CTL]), 0);
	for (int i = 0; i < 5; i++)
		cr_assert_eq(sl_channel_send(pair.ch[DP], SL_IPC_REQUEST, "x", 1, NULL, 0), 0);
	cr_assert_eq(wakes_taken(pair.wake_fd[CTL]), 1);
	cr_assert_eq(wakes_taken(pair.wake_fd[DP]), 0);
	sl_channel_wake(pair.ch[CTL]);
	for (int i = 0; i < 5; i++)
		drop_one(pair.ch[CTL]);
	cr_assert_eq(wakes_taken(pair.wake_fd[DP]), 0);
	/* An end that woke for another reason takes its flag back, and a late signal is drained. */
	cr_assert(sl_channel_sleep(pair.ch[CTL]));
	sl_channel_wake(pair.ch[CTL]);
	cr_assert_eq(sl_channel_send(pair.ch[DP], SL_IPC_REQUEST, "x", 1, NULL, 0), 0);
	cr_assert_eq(wakes_taken(pair.wake_fd[CTL]), 0);
}

Test(channel, wake_drains_the_eventfd)
{
	cr_assert(sl_channel_sleep(pair.ch[DP]));
	cr_assert_eq(sl_channel_send(pair.ch[CTL], SL_IPC_QUERY, "x", 1, NULL, 0), 0);
	sl_channel_wake(pair.ch[DP]);
	cr_assert_eq(wakes_taken(pair.wake_fd[DP]), 0);
}

Test(channel, wakes_a_sleeping_sender_when_half_the_ring_is_free)
{
	int sent = fill_ring(pair.ch[DP], 56);

	cr_assert(sl_channel_sleep(pair.ch[DP]));
	for (int i = 0; i < sent / 2 - 1; i++)
		drop_one(pair.ch[CTL]);
	cr_assert_eq(wakes_taken(pair.wake_fd[DP]), 0);
	drop_one(pair.ch[CTL]);
	cr_assert_eq(wakes_taken(pair.wake_fd[DP]), 1);
	drop_one(pair.ch[CTL]);
	cr_assert_eq(wakes_taken(pair.wake_fd[DP]), 0);
	sl_channel_wake(pair.ch[DP]);
	cr_assert_eq(sl_channel_send(pair.ch[DP], SL_IPC_REQUEST, "x", 1, NULL, 0), 0);
}

Test(channel, reports_room_once_so_that_a_sender_that_gave_up_can_sleep)
{
	int sent = fill_ring(pair.ch[DP], 56);

	for (int i = 0; i < sent; i++)
		drop_one(pair.ch[CTL]);
	cr_assert_not(sl_channel_sleep(pair.ch[DP]));
	cr_assert(sl_channel_sleep(pair.ch[DP]));
}

Test(channel, sender_that_is_not_blocked_is_not_woken_by_releases)
{
	cr_assert_eq(sl_channel_send(pair.ch[DP], SL_IPC_REQUEST, "x", 1, NULL, 0), 0);
	cr_assert(sl_channel_sleep(pair.ch[DP]));
	drop_one(pair.ch[CTL]);
	cr_assert_eq(wakes_taken(pair.wake_fd[DP]), 0);
}
