/* SPDX-License-Identifier: Apache-2.0 */
/* The recycle guard over real TCP connections of this host, with chunks made by hand. */
#include "net/guard.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctx.h"
#include "net/transport.h"
#include "sluice/store/hot.h"

#define CHUNKS      20
#define CHUNK_BYTES ((size_t)64 << 10)
#define TRIES_MAX   1000000 /* questions until an acknowledgement is given up */

static struct sl_lane_stats stats;
static struct ctx ctx;
static struct guard *guard;
static struct sl_hot_chunk chunks[CHUNKS];
static int tier_fd;
static struct net_io io;
static int peer_fd;

static void connect_pair(int *ours, int *theirs)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);
	int one = 1;
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	cr_assert(bind(listener, (struct sockaddr *)&sin, len) == 0 && listen(listener, 1) == 0);
	cr_assert(getsockname(listener, (struct sockaddr *)&sin, &len) == 0);
	*theirs = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert(connect(*theirs, (struct sockaddr *)&sin, len) == 0);
	*ours = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	cr_assert(*ours >= 0);
	cr_assert(setsockopt(*ours, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
	close(listener);
}

static void setup(void)
{
	uint8_t *p;

	ctx.stats = &stats;
	ctx.now_ns = 1;
	cr_assert(guard_create(&guard, &ctx) == 0);
	tier_fd = memfd_create("tier", MFD_CLOEXEC);
	cr_assert(ftruncate(tier_fd, CHUNKS * CHUNK_BYTES) == 0);
	p = mmap(NULL, CHUNKS * CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, tier_fd, 0);
	cr_assert(p != MAP_FAILED);
	for (unsigned i = 0; i < CHUNKS; i++) {
		chunks[i] = (struct sl_hot_chunk){.p = p + i * CHUNK_BYTES,
		                                  .file_pos = i * CHUNK_BYTES,
		                                  .bytes = CHUNK_BYTES,
		                                  .gen = 1};
		memset(chunks[i].p, (int)i + 1, CHUNK_BYTES);
	}
	io = (struct net_io){.ops = &transport_sock};
	connect_pair(&io.fd, &peer_fd);
}

static void teardown(void)
{
	if (io.fd >= 0) {
		guard_leave(guard, &io);
		io.ops->close(&io);
	}
	close(peer_fd);
	guard_destroy(guard);
}

TestSuite(guard, .init = setup, .fini = teardown);

static uint64_t stat_of(enum sl_stat stat)
{
	return atomic_load(&stats.v[stat]);
}

/* As a reply does.  Return: bytes sent; -EPERM they may only be copied. */
static ssize_t send_chunk(struct sl_hot_chunk *c, size_t bytes)
{
	ssize_t n;

	ctx.now_ns++;
	if (!guard_may_hold(guard, &io, c))
		return -EPERM;
	n = io.ops->sendfile(&io, tier_fd, c->file_pos, bytes, false);
	if (n > 0) {
		io.sent += (uint64_t)n;
		guard_hold(guard, &io, c);
	}
	return n;
}

static bool settle_once(struct sl_hot_chunk *c)
{
	ctx.now_ns++;
	return guard_settle(guard, c);
}

/* Acknowledgements come when they come; nothing tells. */
static bool settle_soon(struct sl_hot_chunk *c)
{
	for (unsigned i = 0; i < TRIES_MAX; i++)
		if (settle_once(c))
			return true;
	return false;
}

static void wait_acked(void)
{
	int out = 1;

	for (unsigned i = 0; i < TRIES_MAX && out > 0; i++)
		cr_assert(ioctl(io.fd, SIOCOUTQ, &out) == 0);
	cr_assert(out == 0, "%d bytes were never acknowledged", out);
}

static void read_all(size_t bytes)
{
	static uint8_t buf[CHUNKS * CHUNK_BYTES];

	cr_assert(recv(peer_fd, buf, bytes, MSG_WAITALL) == (ssize_t)bytes);
}

Test(guard, holds_what_is_acknowledged_but_not_read)
{
	cr_assert(send_chunk(&chunks[0], 8000) == 8000);
	cr_assert(chunks[0].holds == 1 && io.guard.peer == PEER_LOCAL);
	wait_acked();
	cr_expect(!settle_once(&chunks[0]), "the reader would see what is written there next");
	cr_expect(chunks[0].holds == 1);
	read_all(7999);
	cr_expect(!settle_once(&chunks[0]), "one byte is still there");
	read_all(1);
	cr_expect(settle_once(&chunks[0]));
	cr_expect(chunks[0].holds == 0 && io.guard.marks_count == 0);
	cr_expect(stat_of(SL_STAT_guard_held) == 3 && stat_of(SL_STAT_guard_unsettled) == 2);
}

Test(guard, lets_go_of_early_chunks_while_later_ones_are_unread)
{
	for (unsigned i = 0; i < 3; i++)
		cr_assert(send_chunk(&chunks[i], 5000) == 5000);
	wait_acked();
	read_all(5000);
	cr_expect(settle_once(&chunks[0]));
	cr_expect(!settle_once(&chunks[1]) && !settle_once(&chunks[2]));
	read_all(5000);
	cr_expect(settle_once(&chunks[1]));
	cr_expect(!settle_once(&chunks[2]));
}

Test(guard, one_mark_covers_all_that_was_sent_of_a_chunk)
{
	for (unsigned i = 0; i < 2 * GUARD_MARKS; i++)
		cr_assert(send_chunk(&chunks[i % 2], 100) == 100);
	cr_expect(io.guard.marks_count == 2 && chunks[0].holds == 1 && chunks[1].holds == 1);
	wait_acked();
	read_all(200);
	cr_expect(!settle_once(&chunks[0]), "it came again later in the stream");
	read_all(2 * GUARD_MARKS * 100 - 200);
	cr_expect(settle_once(&chunks[0]) && settle_once(&chunks[1]));
}

Test(guard, peer_that_closed_holds_nothing)
{
	cr_assert(send_chunk(&chunks[0], 8000) == 8000);
	wait_acked();
	close(peer_fd);
	peer_fd = -1;
	cr_expect(settle_once(&chunks[0]), "its queue went with it");
}

Test(guard, closing_with_unread_bytes_is_never_proved)
{
	cr_assert(send_chunk(&chunks[0], 8000) == 8000);
	wait_acked();
	guard_leave(guard, &io);
	io.ops->close(&io);
	cr_expect(chunks[0].holds == 1 && stat_of(SL_STAT_guard_orphaned) == 1);
	cr_expect(!settle_once(&chunks[0]));
	read_all(8000);
	cr_expect(!settle_once(&chunks[0]), "nobody can ask for that connection any more");
}

Test(guard, closing_after_everything_was_read_leaves_nothing)
{
	cr_assert(send_chunk(&chunks[0], 8000) == 8000);
	wait_acked();
	read_all(8000);
	guard_leave(guard, &io);
	io.ops->close(&io);
	cr_expect(chunks[0].holds == 0 && stat_of(SL_STAT_guard_orphaned) == 0);
	cr_expect(settle_once(&chunks[0]));
}

Test(guard, remote_peer_is_done_with_what_it_acknowledged)
{
	/* Bytes that a device has carried away; played by a connection that is said to be one. */
	ctx.now_ms = 5;
	io.guard.peer = PEER_REMOTE;
	io.guard.classified_ms = 5;
	cr_assert(send_chunk(&chunks[0], 8000) == 8000);
	wait_acked();
	cr_expect(settle_once(&chunks[0]));
	cr_expect(stat_of(SL_STAT_guard_questions) == 0);
}

Test(guard, remote_peer_holds_what_waits_in_the_send_queue)
{
	size_t all = 0;
	ssize_t n;

	io.guard.peer = PEER_REMOTE;
	for (unsigned i = 0; i < TRIES_MAX && (n = send_chunk(&chunks[0], CHUNK_BYTES)) > 0; i++)
		all += (size_t)n;
	cr_assert(n == -EAGAIN, "the socket is full");
	cr_expect(!settle_once(&chunks[0]));
	for (size_t left = all; left > 0;) {
		uint8_t buf[65536];
		ssize_t got = read(peer_fd, buf, sizeof(buf));

		cr_assert(got > 0);
		left -= (size_t)got;
	}
	cr_expect(settle_soon(&chunks[0]));
}

Test(guard, changed_route_ends_all_belief)
{
	cr_assert(send_chunk(&chunks[0], 100) == 100);
	io.guard.peer = PEER_REMOTE;
	ctx.now_ms += 3600000;
	cr_expect(send_chunk(&chunks[1], 100) == -EPERM);
	cr_expect(io.guard.peer == PEER_HIDDEN);
	wait_acked();
	read_all(100);
	cr_expect(!settle_once(&chunks[0]), "which way its bytes went is unknown");
}

Test(guard, refuses_when_too_many_chunks_are_under_way)
{
	for (unsigned i = 0; i < GUARD_MARKS; i++)
		cr_assert(send_chunk(&chunks[i], 100) == 100);
	cr_expect(send_chunk(&chunks[GUARD_MARKS], 100) == -EPERM);
	cr_expect(send_chunk(&chunks[0], 100) == 100, "what has a mark needs no other");
	wait_acked();
	read_all(100 * (GUARD_MARKS + 1));
	cr_expect(send_chunk(&chunks[GUARD_MARKS], 100) == 100);
	cr_expect(io.guard.marks_count == 1, "all others were let go");
}

Test(guard, asks_a_local_peer_once_for_many_chunks)
{
	for (unsigned i = 0; i < GUARD_MARKS; i++) {
		cr_assert(send_chunk(&chunks[i], 100) == 100);
		wait_acked();
		read_all(100);
	}
	/* One to find it, and one after every eighth. */
	cr_expect(stat_of(SL_STAT_guard_questions) <= 3, "%llu",
	          (unsigned long long)stat_of(SL_STAT_guard_questions));
}

Test(guard, asks_once_in_an_iteration_however_many_chunks_are_wanted)
{
	for (unsigned i = 0; i < 4; i++)
		cr_assert(send_chunk(&chunks[i], 100) == 100);
	ctx.now_ns++;
	for (unsigned i = 0; i < 4; i++)
		cr_expect(!guard_settle(guard, &chunks[i]));
	cr_expect(stat_of(SL_STAT_guard_questions) == 2, "to find it, and for all four");
}

Test(guard, mark_of_an_earlier_generation_is_void)
{
	cr_assert(send_chunk(&chunks[0], 100) == 100);
	/* The pool has exchanged the pages. */
	chunks[0].gen++;
	chunks[0].holds = 0;
	cr_expect(settle_once(&chunks[0]));
	cr_assert(send_chunk(&chunks[0], 100) == 100);
	cr_expect(chunks[0].holds == 1);
	wait_acked();
	read_all(199);
	cr_expect(!settle_once(&chunks[0]));
	chunks[0].gen++;
	chunks[0].holds = 0;
	guard_leave(guard, &io);
	cr_expect(chunks[0].holds == 0 && stat_of(SL_STAT_guard_orphaned) == 0);
}

Test(guard, holds_of_several_connections_are_all_asked_for)
{
	struct net_io other = {.ops = &transport_sock};
	int other_peer;
	uint8_t buf[8000];

	cr_assert(send_chunk(&chunks[0], 8000) == 8000);
	wait_acked();
	connect_pair(&other.fd, &other_peer);
	cr_assert(guard_may_hold(guard, &other, &chunks[0]));
	cr_assert(other.ops->sendfile(&other, tier_fd, 0, 8000, false) == 8000);
	other.sent += 8000;
	guard_hold(guard, &other, &chunks[0]);
	cr_expect(chunks[0].holds == 2);
	read_all(8000);
	cr_expect(!settle_once(&chunks[0]));
	cr_expect(chunks[0].holds == 1);
	cr_assert(recv(other_peer, buf, sizeof(buf), MSG_WAITALL) == 8000);
	cr_expect(settle_soon(&chunks[0]));
	guard_leave(guard, &other);
	other.ops->close(&other);
	close(other_peer);
}

Test(guard, holds_nothing_for_what_is_no_tcp_connection)
{
	int fds[2];

	guard_leave(guard, &io);
	close(io.fd);
	cr_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	io.fd = fds[0];
	cr_expect(!guard_may_hold(guard, &io, &chunks[0]));
	cr_expect(io.guard.peer == PEER_HIDDEN);
	cr_expect(!guard_may_hold(NULL, &io, &chunks[0]), "there is no guard");
	close(fds[1]);
}

/* ---- Bytes arrive as they were sent, whatever the reader does ---- */

struct ring {
	uint8_t value[CHUNKS]; /* what each chunk holds */
	uint64_t overwritten, exchanged;
};

static uint8_t value_of(uint64_t seq)
{
	return (uint8_t)(seq * 31 + 7);
}

/* What the pool does with a chunk that it wants for other bytes. */
static void recycle(struct ring *ring, struct sl_hot_chunk *c, uint8_t value)
{
	ctx.now_ns++;
	if (c->holds == 0 || guard_settle(guard, c)) {
		ring->overwritten++;
	} else {
		cr_assert(fallocate(tier_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		                    (off_t)c->file_pos, (off_t)c->bytes) == 0);
		c->holds = 0;
		ring->exchanged++;
	}
	c->gen++;
	memset(c->p, value, c->bytes);
}

Test(guard, recycled_memory_never_shows_in_a_stream)
{
	const uint64_t total = 2000;
	struct ring ring = {0};
	uint64_t sent = 0, seen = 0;
	uint32_t noise = 12345;

	cr_assert(fcntl(peer_fd, F_SETFL, O_NONBLOCK) == 0);
	while (seen < total * 4096) {
		uint8_t buf[40960];
		ssize_t n;

		noise = noise * 1664525 + 1013904223;
		/* A few chunks of memory, so that what is under way laps them. */
		if (sent < total) {
			struct sl_hot_chunk *c = &chunks[sent % 5];

			recycle(&ring, c, value_of(sent));
			n = send_chunk(c, 4096);
			if (n == 4096)
				sent++;
			else
				cr_assert(n == -EAGAIN || n == -EPERM, "%zd", n);
		}
		/* It stalls for long stretches, then reads all at once. */
		if ((noise >> 20) % 61 != 0 && sent < total)
			continue;
		while ((n = read(peer_fd, buf, sizeof(buf))) > 0)
			for (ssize_t i = 0; i < n; i++, seen++)
				cr_assert(buf[i] == value_of(seen / 4096),
				          "byte %llu: the reader saw recycled memory",
				          (unsigned long long)seen);
	}
	cr_expect(ring.overwritten > 50 && ring.exchanged > 50, "%llu, %llu",
	          (unsigned long long)ring.overwritten, (unsigned long long)ring.exchanged);
}
