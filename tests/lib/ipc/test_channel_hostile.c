/* SPDX-License-Identifier: Apache-2.0 */
/* A peer that writes whatever it likes: the channel fails, for ever, and nothing outside it is
 * read. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "sluice/ipc/msg.h"

#include "ipc_pair.h"

#define DP   SL_CHANNEL_DATAPLANE
#define CTL  SL_CHANNEL_CONTROL
#define RING ((uint64_t)PAIR_RING_BYTES)

static void put_head(uint8_t *at, uint32_t bytes, uint32_t type)
{
	union channel_head head = {{.bytes = bytes, .type = type}};

	atomic_store_explicit((_Atomic uint64_t *)(void *)at, head.word, memory_order_relaxed);
}

/* Moves both ends of the data plane's ring to @pos, a multiple of 64, with honest messages. */
static void advance(struct pair *p, uint64_t pos)
{
	static const uint8_t body[56];
	uint32_t type;
	const void *msg;
	size_t bytes;

	for (uint64_t at = 0; at < pos; at += 64) {
		cr_assert_eq(sl_channel_send(p->ch[DP], SL_IPC_REQUEST, NULL, 0, body, 56), 0);
		cr_assert_eq(sl_channel_peek(p->ch[CTL], &type, &msg, &bytes), 1);
		sl_channel_release(p->ch[CTL]);
	}
}

/* Everything a failed end must refuse. */
static void expect_failed(struct sl_channel *ch, const char *what)
{
	uint32_t type;
	const void *msg;
	size_t bytes;

	for (int i = 0; i < 2; i++) {
		cr_assert_eq(sl_channel_peek(ch, &type, &msg, &bytes), -EPROTO, "%s", what);
		cr_assert_null(sl_channel_reserve(ch, 1), "%s", what);
		cr_assert_eq(sl_channel_send(ch, SL_IPC_REQUEST, "x", 1, NULL, 0), -EPROTO, "%s",
		             what);
		cr_assert_not(sl_channel_sleep(ch), "%s", what);
		cr_assert(sl_channel_is_failed(ch), "%s", what);
	}
}

struct bad_position {
	const char *what;
	uint64_t add; /* to the honest position, modulo 2^64 */
};

Test(channel_hostile, refuses_bad_produced_positions)
{
	static const struct bad_position bad[] = {
		{"misaligned", 4},
		{"one byte", 1},
		{"one record back", -UINT64_C(64)},
		{"zero", -UINT64_C(6400)},
		{"more than the ring", RING + 8},
		{"twice the ring", 2 * RING},
		{"half the number range", UINT64_C(1) << 63},
		{"last aligned number", UINT64_MAX - 7 - 6400},
		{"last number", UINT64_MAX - 6400},
	};

	for (size_t i = 0; i < 2 * SL_ARRAY_SIZE(bad); i++) {
		const struct bad_position *b = &bad[i / 2];
		uint32_t type;
		const void *msg;
		size_t bytes;
		struct pair p;

		pair_open(&p, RING);
		advance(&p, 6400);
		atomic_store(&p.shm->dir[DP].produced, 6400 + b->add);
		/* Found by peek in one round, by sleep in the other. */
		if (i % 2)
			cr_assert_not(sl_channel_sleep(p.ch[CTL]), "%s", b->what);
		else
			cr_assert_eq(sl_channel_peek(p.ch[CTL], &type, &msg, &bytes), -EPROTO, "%s",
			             b->what);
		/* Sticky: a peer that repairs the position is not trusted again. */
		atomic_store(&p.shm->dir[DP].produced, 6400);
		expect_failed(p.ch[CTL], b->what);
		pair_close(&p);
	}
}

Test(channel_hostile, refuses_bad_consumed_positions)
{
	/* The honest peer is at 640; the sender is at 640 + RING. */
	static const struct bad_position bad[] = {
		{"ahead of the sender", RING + 8},
		{"misaligned", 12},
		{"back", -UINT64_C(64)},
		{"zero", -UINT64_C(640)},
		{"half the number range", UINT64_C(1) << 63},
		{"last aligned number", UINT64_MAX - 7 - 640},
	};
	static const uint8_t body[56];

	for (size_t i = 0; i < 2 * SL_ARRAY_SIZE(bad); i++) {
		const struct bad_position *b = &bad[i / 2];
		struct pair p;
		int rc;

		pair_open(&p, RING);
		advance(&p, 640);
		while ((rc = sl_channel_send(p.ch[DP], SL_IPC_REQUEST, NULL, 0, body, 56)) == 0)
			;
		cr_assert_eq(rc, -EAGAIN);
		atomic_store(&p.shm->dir[DP].consumed, 640 + b->add);
		if (i % 2)
			cr_assert_not(sl_channel_sleep(p.ch[DP]), "%s", b->what);
		else
			cr_assert_null(sl_channel_reserve(p.ch[DP], 8), "%s", b->what);
		atomic_store(&p.shm->dir[DP].consumed, 704);
		expect_failed(p.ch[DP], b->what);
		pair_close(&p);
	}
}

struct bad_record {
	const char *what;
	uint64_t pos;      /* where it starts: both ends are there */
	uint64_t produced; /* bytes published */
	uint32_t bytes, type;
	uint32_t next_bytes, next_type; /* head at the ring's start, for fillers */
};

Test(channel_hostile, refuses_bad_records)
{
	static const uint32_t max = SL_CHANNEL_MESSAGE_MAX(RING);
	const struct bad_record bad[] = {
		{"type zero", 640, 64, 56, SL_IPC_NONE, 0, 0},
		{"first unknown type", 640, 64, 56, SL_IPC_TYPE_NR, 0, 0},
		{"last type but the filler", 640, 64, 56, UINT32_MAX - 1, 0, 0},
		{"longer than published", 640, 64, 57, SL_IPC_REQUEST, 0, 0},
		{"longer than published, head only", 640, 8, 1, SL_IPC_REQUEST, 0, 0},
		{"longest length", 640, RING, UINT32_MAX, SL_IPC_REQUEST, 0, 0},
		{"length that wraps with its head", 640, RING, UINT32_MAX - 7, SL_IPC_REQUEST, 0,
	         0},
		{"above the maximum", 640, RING, max + 1, SL_IPC_REQUEST, 0, 0},
		{"crosses the end", RING - 64, RING, 57, SL_IPC_REQUEST, 0, 0},
		{"crosses the end, second lap", 2 * RING - 64, RING, 64, SL_IPC_REQUEST, 0, 0},
		{"filler in the middle", 640, RING, 56, CHANNEL_FILLER, 1, SL_IPC_REQUEST},
		{"filler of the whole ring", RING, RING, (uint32_t)RING - 8, CHANNEL_FILLER, 1,
	         SL_IPC_REQUEST},
		{"filler of more than half", 640, RING, (uint32_t)RING - 648, CHANNEL_FILLER, 1,
	         SL_IPC_REQUEST},
		{"filler too short", RING - 64, RING, 48, CHANNEL_FILLER, 1, SL_IPC_REQUEST},
		{"filler too long", RING - 64, RING, 64, CHANNEL_FILLER, 1, SL_IPC_REQUEST},
		{"longest filler", RING - 64, RING, UINT32_MAX, CHANNEL_FILLER, 1, SL_IPC_REQUEST},
		{"filler alone", RING - 64, 64, 56, CHANNEL_FILLER, 1, SL_IPC_REQUEST},
		{"filler not all published", RING - 64, 56, 56, CHANNEL_FILLER, 1, SL_IPC_REQUEST},
		{"two fillers", RING - 64, RING, 56, CHANNEL_FILLER, (uint32_t)RING - 8,
	         CHANNEL_FILLER},
		{"type zero after a filler", RING - 64, 128, 56, CHANNEL_FILLER, 56, SL_IPC_NONE},
		{"too long after a filler", RING - 64, 128, 56, CHANNEL_FILLER, 57, SL_IPC_REQUEST},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(bad); i++) {
		const struct bad_record *b = &bad[i];
		uint8_t *ring;
		uint32_t type;
		const void *msg;
		size_t bytes;
		struct pair p;

		pair_open(&p, RING);
		ring = pair_ring(&p, DP);
		advance(&p, b->pos);
		if (b->type == CHANNEL_FILLER)
			put_head(ring, b->next_bytes, b->next_type);
		put_head(ring + b->pos % RING, b->bytes, b->type);
		atomic_store(&p.shm->dir[DP].produced, b->pos + b->produced);
		cr_assert_eq(sl_channel_peek(p.ch[CTL], &type, &msg, &bytes), -EPROTO, "%s",
		             b->what);
		put_head(ring + b->pos % RING, 0, SL_IPC_REQUEST);
		expect_failed(p.ch[CTL], b->what);
		pair_close(&p);
	}
}

/* The rows above fail for the reason they name: their honest neighbours pass. */
Test(channel_hostile, accepts_the_extremes_that_are_allowed)
{
	static const uint32_t max = SL_CHANNEL_MESSAGE_MAX(RING);
	const struct bad_record good[] = {
		{"no bytes", 640, 8, 0, SL_IPC_TYPE_NR - 1, 0, 0},
		{"exactly published", 640, 64, 56, SL_IPC_REQUEST, 0, 0},
		{"the largest", 640, RING, max, SL_IPC_REQUEST, 0, 0},
		{"up to the end", RING - 64, 64, 56, SL_IPC_REQUEST, 0, 0},
		{"after a filler", RING - 64, 128, 56, CHANNEL_FILLER, 56, SL_IPC_REQUEST},
		{"after a filler, no bytes", RING - 64, 72, 56, CHANNEL_FILLER, 0, SL_IPC_REQUEST},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(good); i++) {
		const struct bad_record *b = &good[i];
		bool has_filler = b->type == CHANNEL_FILLER;
		uint32_t type;
		const void *msg;
		size_t bytes;
		struct pair p;

		pair_open(&p, RING);
		advance(&p, b->pos);
		if (has_filler)
			put_head(pair_ring(&p, DP), b->next_bytes, b->next_type);
		put_head(pair_ring(&p, DP) + b->pos % RING, b->bytes, b->type);
		atomic_store(&p.shm->dir[DP].produced, b->pos + b->produced);
		cr_assert_eq(sl_channel_peek(p.ch[CTL], &type, &msg, &bytes), 1, "%s", b->what);
		cr_assert_eq(bytes, has_filler ? b->next_bytes : b->bytes, "%s", b->what);
		cr_assert_eq(type, has_filler ? b->next_type : b->type, "%s", b->what);
		sl_channel_release(p.ch[CTL]);
		pair_close(&p);
	}
}

Test(channel_hostile, head_changed_after_peek_has_no_effect)
{
	uint32_t type;
	const void *msg;
	size_t bytes;
	struct pair p;

	pair_open(&p, RING);
	cr_assert_eq(sl_channel_send(p.ch[DP], SL_IPC_REQUEST, "first", 5, NULL, 0), 0);
	cr_assert_eq(sl_channel_send(p.ch[DP], SL_IPC_CANCEL, "second", 6, NULL, 0), 0);
	cr_assert_eq(sl_channel_peek(p.ch[CTL], &type, &msg, &bytes), 1);
	put_head(pair_ring(&p, DP), 4000, SL_IPC_TYPE_NR);
	cr_assert_eq(sl_channel_peek(p.ch[CTL], &type, &msg, &bytes), 1);
	cr_assert_eq(type, SL_IPC_REQUEST);
	cr_assert_eq(bytes, 5);
	sl_channel_release(p.ch[CTL]);
	cr_assert_eq(sl_channel_peek(p.ch[CTL], &type, &msg, &bytes), 1);
	cr_assert_eq(type, SL_IPC_CANCEL);
	cr_assert_arr_eq(msg, "second", 6);
	pair_close(&p);
}

Test(channel_hostile, own_positions_overwritten_by_the_peer_are_ignored)
{
	struct stream out = {9, 0, 1000}, in = out;
	struct pair p;

	pair_open(&p, RING);
	for (int i = 0; i < 300; i++) {
		/* The peer writes where only this end may write, before this end writes again. */
		atomic_store(&p.shm->dir[CTL].produced, UINT64_MAX);
		atomic_store(&p.shm->dir[DP].consumed, (uint64_t)i);
		cr_assert_eq(stream_send(&out, p.ch[CTL]), 1);
		cr_assert_eq(stream_recv(&in, p.ch[DP]), 1);
	}
	pair_close(&p);
}

/* A value that is likely to be near some limit. */
static uint64_t interesting(uint64_t *random, uint64_t near)
{
	uint64_t r = random_next(random);

	switch (r % 6) {
	case 0:
		return r >> 8;
	case 1:
		return near + (r >> 8) % 4096 * 8;
	case 2:
		return near - (r >> 8) % 64 * 8;
	case 3:
		return near + RING + 64 - (r >> 8) % 16 * 8;
	case 4:
		return UINT64_MAX - (r >> 8) % 64;
	default:
		return (r >> 8) % 128;
	}
}

/* One write of a malicious peer that tries to stay plausible. */
static void scribble(struct pair *p, uint64_t *random)
{
	int side = (int)(random_next(random) % 2);
	struct channel_direction *dir = &p->shm->dir[side];
	uint64_t near = atomic_load(&dir->produced);
	uint64_t place = random_next(random) % 3 ? near % RING & ~UINT64_C(7)
	                                         : random_next(random) % (RING / 8) * 8;
	uint32_t types[] = {CHANNEL_FILLER, SL_IPC_REQUEST, SL_IPC_NONE, SL_IPC_TYPE_NR};

	switch (random_next(random) % 8) {
	case 0:
		atomic_store(&dir->produced, interesting(random, near));
		break;
	case 1:
		atomic_store(&dir->consumed, interesting(random, near));
		break;
	case 2:
		atomic_store(&p->shm->end[side].waiting, (uint32_t)random_next(random));
		break;
	case 3:
		atomic_store(&p->shm->layout, random_next(random));
		break;
	default:
		put_head(pair_ring(p, (enum sl_channel_side)side) + place,
		         (uint32_t)interesting(random, RING - place - 8),
		         types[random_next(random) % 4]);
	}
}

/* Uses one end like an owner would; reads every byte it is given.  Return: false out of bounds. */
static bool use_end(struct pair *p, enum sl_channel_side side, uint64_t *random, uint64_t *sum)
{
	struct sl_channel *ch = p->ch[side];
	const uint8_t *ring = pair_ring(p, side == DP ? CTL : DP);
	const void *msg;
	uint32_t type;
	size_t bytes;
	uint8_t *room;

	if (sl_channel_peek(ch, &type, &msg, &bytes) == 1) {
		const uint8_t *at = msg;

		if (at < ring + 8 || bytes > RING || at + bytes > ring + RING)
			return false;
		for (size_t i = 0; i < bytes; i++)
			*sum += at[i];
		sl_channel_release(ch);
	}
	bytes = random_next(random) % 3000;
	room = sl_channel_reserve(ch, bytes);
	if (room) {
		const uint8_t *own = pair_ring(p, side);

		if (room < own + 8 || room + bytes > own + RING)
			return false;
		memset(room, (int)bytes, bytes);
		sl_channel_commit(ch, SL_IPC_QUERY, bytes);
	}
	if (sl_channel_sleep(ch))
		sl_channel_wake(ch);
	return true;
}

Test(channel_hostile, random_scribbling_never_leads_out_of_bounds)
{
	uint64_t random = 20240607;
	uint64_t sum = 0;
	int failed = 0;

	for (int round = 0; round < 3000; round++) {
		struct pair p;

		pair_open(&p, RING);
		for (int step = 0; step < 60; step++) {
			enum sl_channel_side side = random_next(&random) % 2 ? CTL : DP;

			if (step > 5 && random_next(&random) % 4 == 0)
				scribble(&p, &random);
			cr_assert(use_end(&p, side, &random, &sum), "round %d step %d", round,
			          step);
		}
		failed += sl_channel_is_failed(p.ch[DP]) || sl_channel_is_failed(p.ch[CTL]);
		pair_close(&p);
	}
	/* The scribbles are real: nearly every round ends with a failed end, and some do not. */
	cr_assert_gt(failed, 1000);
	cr_assert_lt(failed, 3000);
}

#define RACED_PAIRS 64

static int scribble_for_ever(void *arg)
{
	struct pair *pairs = arg;
	uint64_t random = 99;

	for (;;)
		scribble(&pairs[random_next(&random) % RACED_PAIRS], &random);
	return 1;
}

/* As above, but the peer writes between this end's check and its use. */
Test(channel_hostile, scribbling_process_beside_us_never_leads_out_of_bounds)
{
	static struct pair pairs[RACED_PAIRS];
	uint64_t random = 4711;
	uint64_t sum = 0;
	int failed = 0;
	int status;
	pid_t pid;

	for (int i = 0; i < RACED_PAIRS; i++)
		pair_open(&pairs[i], RING);
	pid = child_start(scribble_for_ever, pairs);
	for (int step = 0; step < 40000; step++)
		cr_assert(use_end(&pairs[random_next(&random) % RACED_PAIRS], step % 2 ? CTL : DP,
		                  &random, &sum),
		          "step %d", step);
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	for (int i = 0; i < RACED_PAIRS; i++) {
		failed += sl_channel_is_failed(pairs[i].ch[DP]);
		pair_close(&pairs[i]);
	}
	cr_assert_gt(failed, 0);
}
