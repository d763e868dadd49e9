/* SPDX-License-Identifier: Apache-2.0 */
/* Chunks of one slice: order of recycling, what protects memory, fragmentation, a random model. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hot_impl.h"

#define MIB        ((size_t)1 << 20)
#define CHUNKS_MAX 1024
#define UNITS      512 /* of SL_HOT_CHUNK_BYTES_MIN in 16 MiB */

struct world {
	struct sl_hot *hot;
	struct sl_hot_pool *pool;
	struct sl_hot_key key;
	struct sl_hot_chunk *forgotten[CHUNKS_MAX];
	uint32_t forgotten_count;
	bool is_settled;
	uint32_t settle_count;
};

static void on_forget(void *owner, struct sl_hot_chunk *chunk)
{
	struct world *w = owner;

	cr_assert_lt(w->forgotten_count, CHUNKS_MAX);
	w->forgotten[w->forgotten_count++] = chunk;
}

static bool on_settle(void *arg, struct sl_hot_chunk *chunk)
{
	struct world *w = arg;

	w->settle_count++;
	if (w->is_settled)
		chunk->holds = 0;
	return w->is_settled;
}

static void world_init(struct world *w, uint64_t bytes)
{
	struct sl_hot_opts opts = {
		.bytes = bytes, .slices = 1, .numa_node = -1, .is_huge_wanted = true};
	struct sl_hot_pool_ops ops = {.forget = on_forget, .settle = on_settle, .settle_arg = w};

	*w = (struct world){.key = {.topic_id = {{1, 2, 3}}, .partition = 7}};
	cr_assert_eq(sl_hot_create(&w->hot, &opts), 0);
	w->pool = sl_hot_pool(w->hot, 0);
	sl_hot_pool_set_ops(w->pool, &ops);
}

static void world_fini(struct world *w)
{
	sl_hot_destroy(w->hot);
}

static struct sl_hot_chunk *get(struct world *w, uint64_t begin, size_t min, size_t want)
{
	return sl_hot_get(w->pool, &w->key, w, begin, min, want);
}

/* A chunk full of @fill that is on disk. */
static struct sl_hot_chunk *get_clean(struct world *w, size_t bytes, int fill)
{
	struct sl_hot_chunk *chunk = get(w, 0, bytes, bytes);

	cr_assert_not_null(chunk);
	cr_assert_eq(chunk->bytes, bytes);
	memset(chunk->p, fill, chunk->bytes);
	sl_hot_commit(w->pool, chunk, chunk->bytes);
	sl_hot_durable(w->pool, chunk, chunk->bytes);
	return chunk;
}

/* 16 MiB in clean chunks of @bytes; the first is full of 'a', the next of 'b', ... */
static void world_init_clean(struct world *w, struct sl_hot_chunk *chunks[UNITS], size_t bytes)
{
	world_init(w, 16 * MIB);
	for (size_t i = 0; i < 16 * MIB / bytes; i++)
		chunks[i] = get_clean(w, bytes, 'a' + (int)(i % 26));
}

/* 16 MiB in the smallest chunks, all with a byte that is not on disk. */
static void world_init_dirty(struct world *w, struct sl_hot_chunk *chunks[UNITS])
{
	world_init(w, 16 * MIB);
	for (int i = 0; i < UNITS; i++) {
		chunks[i] = get(w, 0, 1, 1);
		sl_hot_commit(w->pool, chunks[i], 1);
	}
}

static struct sl_hot_usage usage(const struct world *w)
{
	struct sl_hot_usage usage;

	sl_hot_usage(w->pool, &usage);
	cr_assert_eq(usage.free + usage.clean + usage.dirty + usage.quarantined, usage.total);
	return usage;
}

Test(hot_pool, chunk_begins_at_the_block_of_its_first_byte)
{
	struct world w;
	struct sl_hot_chunk *chunk;

	world_init(&w, 16 * MIB);
	chunk = get(&w, 3 * SL_HOT_BLOCK + 5, 100, 0);
	cr_assert_not_null(chunk);
	cr_assert_eq(chunk->pos, 3 * SL_HOT_BLOCK);
	cr_assert_eq(chunk->begin, 3 * SL_HOT_BLOCK + 5);
	cr_assert_eq(chunk->end, chunk->begin);
	cr_assert_eq(chunk->durable, chunk->begin);
	cr_assert_eq(chunk->bytes, SL_HOT_CHUNK_BYTES_MIN);
	cr_assert_eq((uintptr_t)chunk->p % SL_HOT_BLOCK, 0);
	cr_assert_eq(chunk->owner, &w);
	/* The room behind begin is what was asked for, so a whole minimum needs the next size. */
	cr_assert_eq(get(&w, 5, SL_HOT_CHUNK_BYTES_MIN, 0)->bytes, 2 * SL_HOT_CHUNK_BYTES_MIN);
	cr_assert_eq(get(&w, SL_HOT_BLOCK, SL_HOT_CHUNK_BYTES_MIN, 0)->bytes,
	             SL_HOT_CHUNK_BYTES_MIN);
	cr_assert_eq(usage(&w).dirty, 4 * SL_HOT_CHUNK_BYTES_MIN);
	world_fini(&w);
}

Test(hot_pool, memory_is_the_file_at_the_place_named)
{
	struct world w;
	struct sl_hot_chunk *chunk;
	char got[8] = "";

	world_init(&w, 16 * MIB);
	(void)get(&w, 0, 1, MIB);
	chunk = get(&w, 0, 1, MIB);
	memcpy(chunk->p + 1000, "sluice", 6);
	cr_assert_eq(pread(sl_hot_pool_fd(w.pool), got, 6, (off_t)chunk->file_pos + 1000), 6);
	cr_assert_str_eq(got, "sluice");
	world_fini(&w);
}

Test(hot_pool, refuses_what_can_never_fit)
{
	struct world w;

	world_init(&w, 16 * MIB);
	cr_assert(sl_hot_fits(w.pool, 4 * MIB - SL_HOT_BLOCK + 1));
	cr_assert(!sl_hot_fits(w.pool, 4 * MIB - SL_HOT_BLOCK + 2), "behind the end of a block");
	cr_assert(!sl_hot_fits(w.pool, SIZE_MAX));
	cr_assert_null(get(&w, 0, 4 * MIB + 1, 0));
	cr_assert_null(get(&w, 1, 4 * MIB, 0));
	cr_assert_null(get(&w, 1, SIZE_MAX, SIZE_MAX));
	cr_assert_eq(get(&w, 0, 4 * MIB, 0)->bytes, 4 * MIB);
	/* A wish is cut to what there can be. */
	cr_assert_eq(get(&w, 0, 1, SIZE_MAX)->bytes, 4 * MIB);
	world_fini(&w);
}

Test(hot_pool, recycles_the_oldest_clean_chunk_and_says_so)
{
	struct world w;
	struct sl_hot_chunk *chunks[16];
	uint32_t gen;

	world_init(&w, 16 * MIB);
	for (int i = 0; i < 16; i++)
		chunks[i] = get(&w, 0, MIB, MIB);
	cr_assert_null(get(&w, 0, 1, 1), "everything is dirty");
	for (int i = 0; i < 16; i++) {
		/* Clean in another order than they were given out. */
		struct sl_hot_chunk *chunk = chunks[(i * 5) % 16];

		sl_hot_commit(w.pool, chunk, 10);
		sl_hot_durable(w.pool, chunk, 9);
		cr_assert_eq(usage(&w).clean, (size_t)i * MIB);
		sl_hot_durable(w.pool, chunk, 10);
		cr_assert_eq(usage(&w).clean, (size_t)(i + 1) * MIB);
	}
	for (int i = 0; i < 16; i++) {
		struct sl_hot_chunk *expected = chunks[(i * 5) % 16];

		gen = expected->gen;
		cr_assert_eq(get(&w, 0, MIB, MIB), expected);
		cr_assert_eq(w.forgotten_count, (uint32_t)i + 1);
		cr_assert_eq(w.forgotten[i], expected);
		cr_assert_gt(expected->gen, gen);
	}
	cr_assert_null(get(&w, 0, 1, 1));
	cr_assert_eq(usage(&w).recycled_count, 16);
	cr_assert_eq(w.settle_count, 0, "nobody held anything");
	world_fini(&w);
}

Test(hot_pool, clean_chunk_that_is_appended_to_is_dirty_again)
{
	struct world w;
	struct sl_hot_chunk *chunk;

	world_init(&w, 16 * MIB);
	chunk = get_clean(&w, 4 * MIB, 'a');
	sl_hot_commit(w.pool, chunk, 100);
	cr_assert_eq(usage(&w).dirty, 4 * MIB);
	cr_assert_eq(chunk->durable, 100, "what is behind a cut is not on disk");
	sl_hot_commit(w.pool, chunk, 200);
	sl_hot_durable(w.pool, chunk, 150);
	cr_assert_eq(usage(&w).dirty, 4 * MIB);
	sl_hot_durable(w.pool, chunk, 1000);
	cr_assert_eq(chunk->durable, 200);
	cr_assert_eq(usage(&w).clean, 4 * MIB);
	world_fini(&w);
}

Test(hot_pool, references_keep_clean_chunks)
{
	struct world w;
	struct sl_hot_chunk *chunks[UNITS];

	world_init_clean(&w, chunks, 4 * MIB);
	chunks[0]->refs = 1;
	chunks[2]->refs = 1;
	cr_assert_eq(get(&w, 0, 4 * MIB, 0), chunks[1]);
	cr_assert_eq(get(&w, 0, 4 * MIB, 0), chunks[3]);
	cr_assert_null(get(&w, 0, 1, 0));
	chunks[2]->refs = 0;
	cr_assert_eq(get(&w, 0, 4 * MIB, 0), chunks[2]);
	world_fini(&w);
}

Test(hot_pool, put_gives_dirty_and_clean_memory_back_whole)
{
	struct world w;
	struct sl_hot_chunk *chunks[UNITS];

	world_init_dirty(&w, chunks);
	for (int i = 0; i < UNITS; i += 3)
		sl_hot_durable(w.pool, chunks[i], 1);
	cr_assert_null(get(&w, 0, 2 * SL_HOT_CHUNK_BYTES_MIN, 0));
	for (int i = 0; i < UNITS; i++)
		sl_hot_put(w.pool, chunks[(i * 37) % UNITS]);
	cr_assert_eq(usage(&w).free, 16 * MIB);
	for (int i = 0; i < 4; i++)
		cr_assert_not_null(get(&w, 0, 4 * MIB, 0));
	cr_assert_eq(w.forgotten_count, 0, "the owner knows");
	world_fini(&w);
}

Test(hot_pool, settled_chunk_keeps_its_pages)
{
	struct world w;
	struct sl_hot_chunk *chunks[UNITS];
	struct sl_hot_chunk *chunk;

	world_init_clean(&w, chunks, 4 * MIB);
	for (int i = 0; i < 4; i++)
		chunks[i]->holds = 2;
	w.is_settled = true;
	chunk = get(&w, 0, 4 * MIB, 0);
	cr_assert_eq(w.settle_count, 1);
	cr_assert_eq(chunk->holds, 0);
	cr_assert_eq(chunk->p[5], 'a', "no page was exchanged");
	cr_assert_eq(usage(&w).punched_count, 0);
	world_fini(&w);
}

Test(hot_pool, chunk_of_huge_pages_that_is_held_gets_fresh_ones)
{
	struct world w;
	struct sl_hot_chunk *chunks[UNITS];
	struct sl_hot_chunk *chunk;

	world_init_clean(&w, chunks, 4 * MIB);
	for (int i = 0; i < 4; i++)
		chunks[i]->holds = 2;
	chunk = get(&w, 0, 4 * MIB, 0);
	cr_assert_eq(chunk->holds, 0);
	cr_assert_eq(chunk->p[5], 0);
	cr_assert_eq(chunk->p[4 * MIB - 1], 0);
	cr_assert_eq(usage(&w).punched_count, 2);
	cr_assert_eq(usage(&w).quarantined_count, 1);
	cr_assert_eq(usage(&w).quarantined, 0);
	world_fini(&w);
}

Test(hot_pool, small_chunk_that_is_held_waits_until_it_is_let_go)
{
	struct world w;
	struct sl_hot_chunk *held;
	uint32_t gen;

	world_init(&w, 16 * MIB);
	held = get_clean(&w, SL_HOT_CHUNK_BYTES_MIN, 'x');
	held->holds = 1;
	gen = held->gen;
	while (usage(&w).free > 0)
		get_clean(&w, SL_HOT_CHUNK_BYTES_MIN, 'y');
	for (int i = 0; i < 20; i++) {
		struct sl_hot_chunk *chunk = get(&w, 0, 1, 1);

		cr_assert_not_null(chunk);
		cr_assert_neq(chunk, held);
		cr_assert_eq(held->p[0], 'x');
		cr_assert_eq(held->gen, gen, "its holds are still counted");
	}
	cr_assert_eq(usage(&w).quarantined, SL_HOT_CHUNK_BYTES_MIN);
	cr_assert_eq(w.forgotten[0], held);
	w.is_settled = true;
	cr_assert_eq(get(&w, 0, 1, 1), held);
	cr_assert_gt(held->gen, gen);
	cr_assert_eq(usage(&w).quarantined, 0);
	world_fini(&w);
}

Test(hot_pool, put_of_a_held_chunk_waits_too)
{
	struct world w;
	struct sl_hot_chunk *held;

	world_init(&w, 16 * MIB);
	held = get_clean(&w, SL_HOT_CHUNK_BYTES_MIN, 'x');
	held->holds = 1;
	sl_hot_put(w.pool, held);
	cr_assert_eq(usage(&w).quarantined, SL_HOT_CHUNK_BYTES_MIN);
	cr_assert_neq(get(&w, 0, 1, 1), held);
	held->holds = 0; /* as the data plane does when the last socket is done */
	(void)get(&w, 0, 1, 1);
	cr_assert_eq(usage(&w).quarantined, 0);
	world_fini(&w);
}

Test(hot_pool, too_much_quarantine_is_exchanged_page_by_page)
{
	struct world w;

	world_init(&w, 16 * MIB);
	while (usage(&w).free > 0)
		get_clean(&w, SL_HOT_CHUNK_BYTES_MIN, 'y')->holds = 1;
	for (int i = 0; i < 400; i++) {
		struct sl_hot_chunk *chunk = get(&w, 0, 1, 1);

		cr_assert_not_null(chunk);
		cr_assert_neq(chunk->p[0], 'y');
		cr_assert_leq(usage(&w).quarantined, 16 * MIB / 4);
	}
	cr_assert_gt(usage(&w).punched_count, 0);
	world_fini(&w);
}

Test(hot_pool, quarantine_alone_cannot_keep_a_large_chunk_out)
{
	struct world w;
	struct sl_hot_chunk *chunks[UNITS];

	world_init_clean(&w, chunks, SL_HOT_CHUNK_BYTES_MIN);
	/* One in every quarter, below the share that is exchanged anyway. */
	for (int i = 0; i < UNITS; i++) {
		chunks[i]->holds = i % 128 == 77;
		sl_hot_put(w.pool, chunks[i]);
	}
	cr_assert_eq(usage(&w).quarantined, 4 * SL_HOT_CHUNK_BYTES_MIN);
	cr_assert_not_null(get(&w, 0, 4 * MIB, 0));
	cr_assert_eq(usage(&w).quarantined, 3 * SL_HOT_CHUNK_BYTES_MIN);
	world_fini(&w);
}

Test(hot_pool, large_chunks_can_be_had_again_after_small_ones)
{
	struct world w;

	world_init(&w, 16 * MIB);
	for (int round = 0; round < 3; round++) {
		struct sl_hot_chunk *chunk;

		while (w.forgotten_count < 512 && usage(&w).free > 0)
			get_clean(&w, SL_HOT_CHUNK_BYTES_MIN, 'y');
		w.forgotten_count = 0;
		/* Bounded work: what is wanted comes smaller, what is needed comes whole. */
		chunk = get(&w, 0, 1, 4 * MIB);
		cr_assert_eq(chunk->bytes, STORE_HOT_EVICTS * SL_HOT_CHUNK_BYTES_MIN);
		cr_assert_eq(w.forgotten_count, STORE_HOT_EVICTS);
		sl_hot_put(w.pool, chunk);
		chunk = get(&w, 0, 4 * MIB, 0);
		cr_assert_eq(chunk->bytes, 4 * MIB);
		w.forgotten_count = 0;
		sl_hot_put(w.pool, chunk);
	}
	world_fini(&w);
}

Test(hot_pool, dirty_neighbours_are_never_taken)
{
	struct world w;
	struct sl_hot_chunk *chunks[UNITS];

	world_init_dirty(&w, chunks);
	for (int i = 0; i < UNITS; i++)
		if (i % 128 != 5)
			sl_hot_durable(w.pool, chunks[i], 1);
	cr_assert_null(get(&w, 0, 4 * MIB, 0));
	cr_assert_not_null(get(&w, 0, 2 * MIB, 0));
	for (int i = 5; i < UNITS; i += 128)
		cr_assert_eq(chunks[i]->end, 1);
	world_fini(&w);
}

Test(hot_pool, populated_memory_is_preferred)
{
	struct world w;
	struct sl_hot_chunk *chunks[4];
	struct sl_hot_chunk *rest;

	world_init(&w, 32 * MIB);
	cr_assert_eq(sl_hot_populate(w.hot, 8 * MIB), 1);
	for (int i = 0; i < 4; i++)
		chunks[i] = get(&w, 0, 8 * MIB, 0);
	/* What is left of the last one would fit best, but it was never touched. */
	sl_hot_put(w.pool, chunks[3]);
	rest = get(&w, 0, MIB, 0);
	cr_assert_eq(rest, chunks[3]);
	sl_hot_put(w.pool, chunks[0]);
	cr_assert_eq(get(&w, 0, MIB, 0), chunks[0]);
	/* Where nothing touched is free the rest may be used. */
	cr_assert_not_null(get(&w, 0, 4 * MIB, 0));
	cr_assert_gt(get(&w, 0, 4 * MIB, 0)->file_pos, rest->file_pos);
	world_fini(&w);
}

Test(hot_pool, share_falls_with_the_number_of_tails)
{
	struct world w;

	world_init(&w, 16 * MIB);
	cr_expect_eq(sl_hot_share(w.pool), 8 * MIB, "nobody else");
	for (uint32_t tails = 1; tails <= 2 * UNITS; tails++) {
		sl_hot_count_tail(w.pool, 1);
		if (tails <= UNITS / 2)
			cr_assert_leq(tails * sl_hot_share(w.pool), 8 * MIB, "%u", tails);
		cr_assert_geq(sl_hot_share(w.pool), SL_HOT_CHUNK_BYTES_MIN);
		cr_assert_eq(sl_hot_share(w.pool) & (sl_hot_share(w.pool) - 1), 0);
	}
	cr_expect_eq(sl_hot_share(w.pool), SL_HOT_CHUNK_BYTES_MIN);
	for (uint32_t tails = 2 * UNITS; tails > 3; tails--)
		sl_hot_count_tail(w.pool, -1);
	cr_expect_eq(sl_hot_share(w.pool), 2 * MIB, "8 MiB for three");
	/* The machine had memory for a quarter of it. */
	hot_pool_set_populated(w.pool, 4 * MIB);
	hot_pool_set_end(w.pool);
	cr_expect_eq(sl_hot_share(w.pool), MIB / 2);
	world_fini(&w);
}

/* ---- Real sockets ---- */

static void connect_pair(int *from, int *to)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
	                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	cr_assert_eq(bind(listener, (struct sockaddr *)&addr, len), 0);
	cr_assert_eq(listen(listener, 1), 0);
	cr_assert_eq(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
	*from = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert_eq(connect(*from, (struct sockaddr *)&addr, len), 0);
	*to = accept(listener, NULL, NULL);
	cr_assert_geq(*to, 0);
	close(listener);
}

/* Sends the begin of @chunk to a socket that nobody reads; returns what the socket took. */
static size_t send_chunk(struct world *w, const struct sl_hot_chunk *chunk, int fd)
{
	off_t pos = (off_t)chunk->file_pos;
	ssize_t n = sendfile(fd, sl_hot_pool_fd(w->pool), &pos, SL_MIN(chunk->bytes, 64u << 10));

	cr_assert_gt(n, 0);
	return (size_t)n;
}

static void must_receive(int fd, size_t len, char fill)
{
	while (len > 0) {
		char got[4096];
		ssize_t n = read(fd, got, SL_MIN(len, sizeof(got)));

		cr_assert_gt(n, 0);
		for (ssize_t i = 0; i < n; i++)
			cr_assert_eq(got[i], fill, "byte %d", got[i]);
		len -= (size_t)n;
	}
}

Test(hot_pool, socket_that_holds_a_large_chunk_sends_the_old_bytes)
{
	struct world w;
	struct sl_hot_chunk *held;
	size_t sent;
	int from;
	int to;

	world_init(&w, 16 * MIB);
	connect_pair(&from, &to);
	held = get_clean(&w, 4 * MIB, 'o');
	for (int i = 0; i < 3; i++)
		(void)get(&w, 0, 4 * MIB, 0);
	sent = send_chunk(&w, held, from);
	held->holds = 1;
	cr_assert_eq(get(&w, 0, 4 * MIB, 0), held);
	memset(held->p, 'n', held->bytes);
	must_receive(to, sent, 'o');
	close(from);
	close(to);
	world_fini(&w);
}

Test(hot_pool, socket_that_holds_a_small_chunk_sends_the_old_bytes)
{
	struct world w;
	struct sl_hot_chunk *held;
	size_t sent;
	int from;
	int to;

	world_init(&w, 16 * MIB);
	connect_pair(&from, &to);
	held = get_clean(&w, SL_HOT_CHUNK_BYTES_MIN, 'o');
	sent = send_chunk(&w, held, from);
	held->holds = 1;
	for (int i = 0; i < 3; i++)
		(void)get(&w, 0, 4 * MIB, 0);
	/* Takes all that is left: the page of the held chunk goes with its neighbours. */
	for (;;) {
		struct sl_hot_chunk *chunk = get(&w, 0, 2 * MIB, 0);

		if (!chunk)
			break;
		memset(chunk->p, 'n', chunk->bytes);
	}
	cr_assert_eq(usage(&w).dirty, 16 * MIB);
	must_receive(to, sent, 'o');
	close(from);
	close(to);
	world_fini(&w);
}

/* ---- Model ---- */

struct model {
	struct world w;
	uint64_t seed;
	struct sl_hot_chunk *chunks[CHUNKS_MAX]; /* what the owner has */
	uint32_t count;
	struct sl_hot_chunk *forgotten;
	bool is_in_get;
};

static uint32_t next_random(struct model *m, uint32_t below)
{
	m->seed = m->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(m->seed >> 33) % below;
}

static void model_drop(struct model *m, const struct sl_hot_chunk *chunk)
{
	for (uint32_t i = 0; i < m->count; i++) {
		if (m->chunks[i] != chunk)
			continue;
		m->chunks[i] = m->chunks[--m->count];
		return;
	}
	cr_assert_fail("a chunk that the owner does not have");
}

static void model_forget(void *owner, struct sl_hot_chunk *chunk)
{
	struct model *m = owner;

	cr_assert(m->is_in_get);
	cr_assert_eq(chunk->refs, 0);
	cr_assert_eq(chunk->durable, chunk->end);
	model_drop(m, chunk);
}

static bool model_settle(void *arg, struct sl_hot_chunk *chunk)
{
	struct model *m = arg;

	cr_assert_gt(chunk->holds, 0);
	if (next_random(m, 32) > 0)
		return false;
	chunk->holds = 0;
	return true;
}

/* Units belong to one run each, free sets and runs agree, and the sums are right. */
static void model_check(struct model *m)
{
	struct hot_buddy *buddy = &m->w.pool->buddy;
	uint64_t bytes[HOT_KINDS_NR] = {0};
	struct sl_hot_usage now = usage(&m->w);
	uint64_t owned = 0;
	uint32_t unit = 0;

	while (unit < buddy->units) {
		struct hot_run run = buddy->runs[unit];
		uint32_t units = 1u << run.order;

		cr_assert_neq(run.kind, HOT_INSIDE);
		cr_assert_eq(unit % units, 0);
		cr_assert_eq(hot_bits_has(&buddy->free[run.order], unit >> run.order),
		             run.kind == HOT_FREE);
		for (uint32_t i = 1; i < units; i++)
			cr_assert_eq(buddy->runs[unit + i].kind, HOT_INSIDE);
		bytes[run.kind] += units * SL_HOT_CHUNK_BYTES_MIN;
		unit += units;
	}
	cr_assert_eq(unit, buddy->units);
	cr_assert_eq(bytes[HOT_FREE], now.free);
	cr_assert_eq(bytes[HOT_CLEAN], now.clean);
	cr_assert_eq(bytes[HOT_DIRTY], now.dirty);
	cr_assert_eq(bytes[HOT_QUARANTINED], now.quarantined);
	for (uint32_t i = 0; i < m->count; i++) {
		owned += m->chunks[i]->bytes;
		/* Nobody else wrote to it. */
		cr_assert_eq(memcmp(m->chunks[i]->p, &m->chunks[i], sizeof(void *)), 0);
	}
	cr_assert_eq(owned, now.clean + now.dirty);
}

static void model_get(struct model *m)
{
	uint64_t begin = next_random(m, 1u << 20);
	size_t min = next_random(m, 8) ? next_random(m, 200000) : next_random(m, 4u << 20);
	size_t want = next_random(m, 2) ? next_random(m, 8u << 20) : 0;
	struct sl_hot_chunk *chunk;

	if (m->count == CHUNKS_MAX)
		return;
	m->is_in_get = true;
	chunk = sl_hot_get(m->w.pool, &m->w.key, m, begin, min, want);
	m->is_in_get = false;
	if (!chunk) {
		/* Something must be in the way that will go away. */
		bool is_busy = !sl_hot_fits(m->w.pool, begin % SL_HOT_BLOCK + min);

		for (uint32_t i = 0; i < m->count && !is_busy; i++)
			is_busy = m->chunks[i]->refs > 0 ||
			          sl_list_is_empty(&m->chunks[i]->age_link);
		cr_assert(is_busy);
		return;
	}
	cr_assert_leq(begin + min, chunk->pos + chunk->bytes);
	cr_assert_leq(chunk->pos, begin);
	m->chunks[m->count++] = chunk;
	memcpy(chunk->p, &chunk, sizeof(chunk));
}

static void model_step(struct model *m)
{
	struct sl_hot_chunk *chunk;
	uint32_t what = next_random(m, 16);

	if (what < 5 || m->count == 0) {
		model_get(m);
		return;
	}
	chunk = m->chunks[next_random(m, m->count)];
	if (what < 8)
		sl_hot_commit(m->w.pool, chunk,
		              chunk->end + next_random(m, (uint32_t)(chunk->pos + chunk->bytes -
		                                                     chunk->end) +
		                                                  1));
	else if (what < 13)
		sl_hot_durable(m->w.pool, chunk, chunk->end - next_random(m, 2));
	else if (what == 13)
		chunk->refs = !chunk->refs;
	else if (what == 14)
		chunk->holds++;
	else if (chunk->refs == 0) {
		model_drop(m, chunk);
		sl_hot_put(m->w.pool, chunk);
	}
}

Test(hot_pool, random_use_keeps_the_books)
{
	const char *text = getenv("SLUICE_SEED");
	struct model *m = calloc(1, sizeof(*m));
	struct sl_hot_pool_ops ops = {
		.forget = model_forget, .settle = model_settle, .settle_arg = m};

	m->seed = text ? strtoull(text, NULL, 10) : 20251;
	fprintf(stderr, "SLUICE_SEED=%llu\n", (unsigned long long)m->seed);
	/* Not a power of two, so that the last runs are odd ones. */
	world_init(&m->w, 26 * MIB);
	sl_hot_pool_set_ops(m->w.pool, &ops);
	for (uint32_t i = 0; i < 100000; i++) {
		model_step(m);
		if (i % 64 == 0)
			model_check(m);
	}
	model_check(m);
	cr_assert_gt(usage(&m->w).recycled_count, 1000);
	cr_assert_gt(usage(&m->w).quarantined_count, 100);
	cr_assert_gt(usage(&m->w).punched_count, 0);
	while (m->count > 0) {
		struct sl_hot_chunk *chunk = m->chunks[--m->count];

		chunk->refs = 0;
		chunk->holds = 0;
		sl_hot_put(m->w.pool, chunk);
	}
	/* What sockets held at the end is let go in the end. */
	for (uint32_t i = 0; i < 10000 && usage(&m->w).quarantined > 0; i++)
		sl_hot_put(m->w.pool, sl_hot_get(m->w.pool, &m->w.key, m, 0, 1, 0));
	cr_assert_eq(usage(&m->w).free, 26 * MIB);
	world_fini(&m->w);
	free(m);
}
