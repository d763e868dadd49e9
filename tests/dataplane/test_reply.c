/* SPDX-License-Identifier: Apache-2.0 */
/* Replies whose ranges lie in memory, in a file, or partly in both, over a TCP connection. */
#include "reply/reply.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fixture.h"
#include "reply/cold.h"
#include "sluice/store/hot.h"

#define LOG_BYTES   ((size_t)8 << 20)
#define CHUNK_BYTES ((size_t)256 << 10)
#define CHUNKS      (LOG_BYTES / CHUNK_BYTES)

/* A log of one segment: every byte is in the file, and from hot_from on also in memory. */
static struct {
	struct fx *fx;
	struct net_io io;
	int client;
	int file_fd, tier_fd;
	uint8_t *bytes; /* what a reader has to see */
	uint64_t hot_from;
	uint64_t hot_shift; /* where the chunks' borders are */
	struct sl_hot_chunk chunks[CHUNKS + 1];
	unsigned puts, pieces;
	int piece_error;
	struct sl_list queue;
	uint8_t *want, *got;
	size_t want_bytes, got_bytes;
} t;

static void fill_chunks(void)
{
	uint8_t *p;

	t.tier_fd = memfd_create("tier", MFD_CLOEXEC);
	cr_assert(ftruncate(t.tier_fd, (off_t)(LOG_BYTES + CHUNK_BYTES)) == 0);
	p = mmap(NULL, LOG_BYTES + CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, t.tier_fd, 0);
	cr_assert(p != MAP_FAILED);
	/* Neighbours in the log are none in the tier. */
	for (unsigned i = 0; i <= CHUNKS; i++) {
		const size_t at = (i * 7 % (CHUNKS + 1)) * CHUNK_BYTES;

		t.chunks[i] = (struct sl_hot_chunk){
			.p = p + at, .file_pos = at, .bytes = CHUNK_BYTES, .gen = 1};
	}
}

static void setup(void)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	uint32_t x = 1;

	t.fx = fx_create();
	cr_assert(guard_create(&t.fx->ctx.guard, &t.fx->ctx) == 0);
	cr_assert(cold_create(&t.fx->ctx.cold) == 0);
	cr_assert(bind(listener, (struct sockaddr *)&sin, len) == 0 && listen(listener, 1) == 0);
	cr_assert(getsockname(listener, (struct sockaddr *)&sin, &len) == 0);
	t.client = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert(connect(t.client, (struct sockaddr *)&sin, len) == 0);
	t.io = (struct net_io){.ops = &transport_sock,
	                       .fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)};
	close(listener);
	cr_assert(fcntl(t.client, F_SETFL, O_NONBLOCK) == 0);
	t.bytes = malloc(LOG_BYTES);
	for (size_t i = 0; i < LOG_BYTES; i++)
		t.bytes[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
	t.file_fd = openat(t.fx->dirfd, "segment", O_RDWR | O_CREAT, 0600);
	cr_assert(pwrite(t.file_fd, t.bytes, LOG_BYTES, 0) == (ssize_t)LOG_BYTES);
	fill_chunks();
	t.hot_from = UINT64_MAX;
	t.want = malloc(4 * LOG_BYTES);
	t.got = malloc(4 * LOG_BYTES);
	sl_list_init(&t.queue);
}

static void teardown(void)
{
	guard_leave(t.fx->ctx.guard, &t.io);
	t.io.ops->close(&t.io);
	close(t.client);
	guard_destroy(t.fx->ctx.guard);
	cold_destroy(t.fx->ctx.cold);
	unlinkat(t.fx->dirfd, "segment", 0);
	fx_destroy(t.fx);
}

TestSuite(reply, .init = setup, .fini = teardown);

/* From @pos on, what is read comes out of memory.  Chunks begin @shift bytes before their grid. */
static void make_hot(uint64_t pos, uint64_t shift)
{
	t.hot_from = pos;
	t.hot_shift = shift;
	for (uint64_t at = pos; at < LOG_BYTES; at++) {
		const uint64_t in = at + shift;

		t.chunks[in / CHUNK_BYTES].p[in % CHUNK_BYTES] = t.bytes[at];
	}
}

static int piece(const struct reply_range *rr, uint32_t done, struct sl_log_piece *out)
{
	const uint64_t pos = rr->range.pos + done;
	const uint64_t end = rr->range.pos + rr->range.bytes;
	const uint64_t in = pos + t.hot_shift;
	struct sl_hot_chunk *c = &t.chunks[in / CHUNK_BYTES];

	t.pieces++;
	if (t.piece_error)
		return t.piece_error;
	if (pos < t.hot_from)
		*out = (struct sl_log_piece){.fd = t.file_fd,
		                             .pos = pos,
		                             .bytes = (uint32_t)(SL_MIN(end, t.hot_from) - pos)};
	else
		*out = (struct sl_log_piece){
			.fd = t.tier_fd,
			.pos = c->file_pos + in % CHUNK_BYTES,
			.bytes = (uint32_t)SL_MIN(end - pos, CHUNK_BYTES - in % CHUNK_BYTES),
			.chunk = c};
	return 0;
}

static void put(struct ctx *ctx, struct reply_range *rr)
{
	(void)ctx;
	(void)rr;
	t.puts++;
}

struct part {
	uint64_t pos;
	uint32_t bytes;
};

/* Queues a reply with some bytes before, between and behind the ranges. */
static void queue(const struct part *parts, uint32_t count, bool has_tail)
{
	struct reply_range ranges[64];
	struct sl_buf *out = &t.fx->ctx.out;
	const size_t begin = t.want_bytes;
	struct reply *reply;

	sl_buf_reset(out);
	sl_buf_put_be32(out, 0);
	t.want_bytes += 4;
	for (uint32_t i = 0; i < count; i++) {
		sl_buf_put(out, "head of a partition", 19);
		memcpy(t.want + t.want_bytes, "head of a partition", 19);
		sl_buf_put_hole(out, parts[i].bytes, i);
		memcpy(t.want + t.want_bytes + 19, t.bytes + parts[i].pos, parts[i].bytes);
		t.want_bytes += 19 + parts[i].bytes;
		ranges[i] = (struct reply_range){
			.range = {.fd = t.file_fd, .pos = parts[i].pos, .bytes = parts[i].bytes},
			.piece = piece,
			.put = put};
	}
	if (has_tail) {
		sl_buf_put(out, "tail", 4);
		memcpy(t.want + t.want_bytes, "tail", 4);
		t.want_bytes += 4;
	}
	sl_store_be32(t.want + begin, (uint32_t)(t.want_bytes - begin - 4));
	reply = reply_build(&t.fx->ctx, ranges, count);
	cr_assert(reply != NULL);
	sl_list_push_back(&t.queue, &reply->link);
}

static void take(void)
{
	ssize_t n;

	while ((n = read(t.client, t.got + t.got_bytes, 4 * LOG_BYTES - t.got_bytes)) > 0)
		t.got_bytes += (size_t)n;
}

/* Sends and reads until all is there. */
static void deliver(size_t budget)
{
	for (unsigned i = 0; t.got_bytes < t.want_bytes; i++) {
		int rc = 0;

		t.fx->ctx.now_ns++;
		t.fx->ctx.now_ms += i % 1000 == 0;
		if (!sl_list_is_empty(&t.queue))
			rc = reply_send(&t.fx->ctx, &t.io, &t.queue, budget);
		cr_assert(rc == 0 || rc == -EAGAIN || rc == -EINPROGRESS || rc == -EBUSY, "%d", rc);
		cr_assert(i < 1000000);
		take();
	}
	cr_expect(t.got_bytes == t.want_bytes && memcmp(t.got, t.want, t.want_bytes) == 0);
	cr_expect(sl_list_is_empty(&t.queue));
	cr_expect(t.io.sent == t.want_bytes);
	cr_expect(fx_stat(t.fx, SL_STAT_bytes_sent) == t.want_bytes);
}

Test(reply, small_pieces_of_memory_go_with_the_header_in_one_call)
{
	const struct part parts[] = {{100, 3000}, {5000, 32768}, {200000, 1}};

	make_hot(0, 0);
	queue(parts, 3, true);
	queue(parts, 1, false);
	deliver(SIZE_MAX);
	cr_expect(fx_stat(t.fx, SL_STAT_send_calls) == 1);
	cr_expect(fx_stat(t.fx, SL_STAT_sendfile_calls) == 0);
	cr_expect(t.io.guard.marks_count == 0, "what was copied is held by nobody");
	cr_expect(fx_stat(t.fx, SL_STAT_guard_copied) == 0);
	cr_expect(t.puts == 4 && fx_stat(t.fx, SL_STAT_responses) == 2);
}

Test(reply, large_pieces_of_memory_go_by_reference_and_are_held)
{
	const struct part parts[] = {{100, 200000}};

	make_hot(0, 0);
	queue(parts, 1, false);
	deliver(SIZE_MAX);
	cr_expect(fx_stat(t.fx, SL_STAT_sendfile_calls) > 0);
	cr_expect(t.io.guard.marks_count == 1 && t.chunks[0].holds == 1);
	cr_expect(t.io.guard.marks[0].end <= t.io.sent &&
	          t.io.sent - t.io.guard.marks[0].end <= (32 << 10));
	cr_expect(t.puts == 1);
}

Test(reply, range_over_many_chunks_arrives_in_order)
{
	const struct part parts[] = {{1234567, 3000000}, {0, 40000}, {5000000, 3000000}};

	make_hot(0, 4096);
	queue(parts, 3, true);
	queue(parts, 3, true);
	deliver(SIZE_MAX);
	cr_expect(t.puts == 6);
	cr_expect(fx_stat(t.fx, SL_STAT_bytes_out) == 2 * 6040000);
}

Test(reply, range_may_begin_in_the_file_and_end_in_memory)
{
	const struct part parts[] = {{1000000, 2000000}, {2100000, 10}, {2500000, 1000000}};

	make_hot(2150000, 8192);
	queue(parts, 3, true);
	deliver(SIZE_MAX);
	cr_expect(t.puts == 3);
}

Test(reply, range_moves_to_the_file_while_a_slow_reader_takes_it)
{
	const struct part parts[] = {{0, 7000000}};
	int rc;

	make_hot(0, 0);
	queue(parts, 1, true);
	rc = reply_send(&t.fx->ctx, &t.io, &t.queue, 1000000);
	cr_assert(rc == -EINPROGRESS || rc == -EAGAIN);
	t.hot_from = UINT64_MAX;
	deliver(SIZE_MAX);
}

Test(reply, hidden_peer_gets_copies)
{
	const struct part parts[] = {{0, 1000000}, {2000000, 1000000}};

	make_hot(0, 0);
	t.io.guard.peer = PEER_HIDDEN;
	queue(parts, 2, true);
	deliver(SIZE_MAX);
	cr_expect(fx_stat(t.fx, SL_STAT_sendfile_calls) == 0);
	cr_expect(fx_stat(t.fx, SL_STAT_guard_copied) > 0);
	for (unsigned i = 0; i < CHUNKS; i++)
		cr_expect(t.chunks[i].holds == 0);
}

Test(reply, peer_that_reads_nothing_gets_copies_when_its_marks_are_used_up)
{
	struct part parts[GUARD_MARKS + 4];

	make_hot(0, 0);
	for (unsigned i = 0; i < SL_ARRAY_SIZE(parts); i++)
		parts[i] = (struct part){i * CHUNK_BYTES, 40000};
	queue(parts, SL_ARRAY_SIZE(parts), false);
	deliver(SIZE_MAX);
	cr_expect(t.io.guard.marks_count <= GUARD_MARKS);
}

Test(reply, small_budget_still_delivers_everything)
{
	const struct part parts[] = {{3, 300000}, {400000, 20000}, {600000, 300000}};

	make_hot(500000, 0);
	queue(parts, 3, true);
	deliver(70001);
	cr_expect(t.puts == 3);
}

Test(reply, a_turn_ends_with_its_budget)
{
	enum {
		BUDGET = 128 << 10
	};
	const struct part parts[] = {{0, 2000000}};
	int rc;

	queue(parts, 1, true);
	rc = reply_send(&t.fx->ctx, &t.io, &t.queue, BUDGET);
	cr_expect(rc == -EINPROGRESS || rc == -EAGAIN || rc == -EBUSY);
	cr_expect(fx_stat(t.fx, SL_STAT_bytes_out) <= BUDGET);
	deliver(SIZE_MAX);
}

Test(reply, piece_that_cannot_be_found_ends_the_connection_after_what_lies_before_it)
{
	const struct part parts[] = {{0, 1000}};

	queue(parts, 1, false);
	t.piece_error = -EMFILE;
	cr_expect(reply_send(&t.fx->ctx, &t.io, &t.queue, SIZE_MAX) == -EMFILE);
	take();
	cr_expect(t.got_bytes == 4 + 19);
	reply_free(&t.fx->ctx, sl_list_entry(t.queue.next, struct reply, link));
	cr_expect(t.puts == 1);
}
