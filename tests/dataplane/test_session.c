/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions over real socket pairs: framing, order, limits and time-outs, with the clock in hand. */
#include "session/session.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "session/conn.h"
#include "sluice/wire/api_versions_gen.h"

#define CONNS_MAX   16
#define REQUEST_MAX 65536

static struct ctx_config config;
static struct sl_lane_stats stats;
static struct ctx ctx;
static struct sessions *sessions;
static int epoll_fd;
static struct sl_buf_hole holes[REPLY_RANGES_MAX];

static void setup(void)
{
	static uint8_t out[1 << 20];

	config = (struct ctx_config){.request_bytes_max = REQUEST_MAX,
	                             .fetch_bytes_max = 1 << 20,
	                             .idle_ms = 60000,
	                             .frame_ms = 5000,
	                             .connections_max = CONNS_MAX,
	                             .connections_per_ip_max = UINT32_MAX,
	                             .control_grace_ms = 9000};
	ctx.config = &config;
	ctx.stats = &stats;
	ctx.lanes_count = 1;
	ctx.now_ms = 1000000;
	sl_list_init(&ctx.done);
	sl_list_init(&ctx.runnable);
	for (unsigned i = 0; i < CTX_LACK_NR; i++)
		sl_list_init(&ctx.starved[i]);
	sl_list_init(&ctx.partitions);
	sl_list_init(&ctx.points);
	sl_list_init(&ctx.dirty);
	sl_list_init(&ctx.released);
	sl_list_init(&ctx.control_answers);
	cr_assert_eq(pool_init(&ctx.pool, 16 << 20, -1), 0);
	cr_assert_eq(sl_arena_create(&ctx.scratch, 4 << 20), 0);
	sl_buf_init_fixed(&ctx.out, out, sizeof(out));
	ctx.out.holes = holes;
	ctx.out.holes_max = SL_ARRAY_SIZE(holes);
	ctx.deadlines.max = 1024;
	ctx.deadlines.heap = calloc(1024, sizeof(struct request *));
	ctx.control_parked = calloc(CONNS_MAX, sizeof(struct request *));
	epoll_fd = epoll_create1(0);
	cr_assert_eq(sessions_create(&sessions, &ctx, epoll_fd), 0);
}

static void teardown(void)
{
	sessions_destroy(sessions);
	cr_expect_eq(ctx.pool.used, 0u, "%zu bytes of buffers leaked", ctx.pool.used);
	cr_expect_eq(ctx.deadlines.count, 0u);
	free(ctx.deadlines.heap);
	free(ctx.control_parked);
	sl_arena_destroy(&ctx.scratch);
	pool_fini(&ctx.pool);
	close(epoll_fd);
}

TestSuite(session, .init = setup, .fini = teardown);

static uint64_t count_of(enum sl_stat s)
{
	return atomic_load(&stats.v[s]);
}

/* The client's end of a new connection. */
static int client(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	sessions_accept(sessions, fds[1], (struct sockaddr *)&in, 9092);
	return fds[0];
}

/* Runs the lane's part until nothing is left to do. */
static void settle(void)
{
	for (unsigned i = 0; i < 1000; i++) {
		struct epoll_event ev[32];
		int n = epoll_wait(epoll_fd, ev, 32, 0);

		for (int k = 0; k < n; k++)
			sessions_event(sessions, (uint32_t)ev[k].data.u64, ev[k].events);
		if (sessions_poll(sessions) == 0 && n <= 0)
			return;
	}
	cr_assert_fail("the sessions do not come to rest");
}

static size_t api_versions(uint8_t *p, int32_t correlation_id)
{
	static const uint8_t body[] = {0, 18, 0, 0, 0, 0, 0, 0, 0, 2, 'm', 'e'};

	sl_store_be32(p, sizeof(body));
	memcpy(p + 4, body, sizeof(body));
	sl_store_be32(p + 8, (uint32_t)correlation_id);
	return sizeof(body) + 4;
}

static void put(int fd, const void *p, size_t n)
{
	cr_assert_eq(write(fd, p, n), (ssize_t)n);
}

/* Reads one response; returns its correlation id, or -1 nothing there, -2 end of the stream. */
static int32_t answer(int fd)
{
	uint8_t head[8], body[8192];
	ssize_t n = recv(fd, head, sizeof(head), 0);

	if (n == 0)
		return -2;
	if (n < 0)
		return errno == ECONNRESET ? -2 : -1;
	cr_assert_eq(n, 8);
	size_t left = sl_load_be32(head) - 4;

	cr_assert_leq(left, sizeof(body));
	cr_assert_eq(recv(fd, body, left, 0), (ssize_t)left);
	return (int32_t)sl_load_be32(head + 4);
}

Test(session, answers_pipelined_requests_in_order)
{
	uint8_t p[4096];
	size_t n = 0;
	int fd = client();

	for (int i = 0; i < 100; i++)
		n += api_versions(p + n, i);
	put(fd, p, n);
	settle();
	for (int i = 0; i < 100; i++)
		cr_assert_eq(answer(fd), i);
	cr_assert_eq(answer(fd), -1);
	cr_assert_eq(count_of(SL_STAT_requests), 100u);
	cr_assert_eq(count_of(SL_STAT_responses), 100u);
	close(fd);
}

Test(session, puts_a_frame_together_from_single_bytes)
{
	uint8_t p[64];
	size_t n = api_versions(p, 7);
	int fd = client();

	for (size_t i = 0; i < n; i++) {
		cr_assert_eq(answer(fd), -1);
		put(fd, p + i, 1);
		settle();
	}
	cr_assert_eq(answer(fd), 7);
	close(fd);
	settle();
	cr_assert_eq(count_of(SL_STAT_connections), 0u);
	cr_assert_eq(count_of(SL_STAT_closed_by_peer), 1u);
}

Test(session, holds_no_buffer_while_idle)
{
	uint8_t p[64];
	int fd = client();

	put(fd, p, api_versions(p, 1));
	settle();
	cr_assert_eq(answer(fd), 1);
	cr_assert_eq(ctx.pool.used, 0u);
	close(fd);
}

Test(session, closes_on_impossible_frame_sizes)
{
	static const uint32_t sizes[] = {0, 9, REQUEST_MAX + 1, 0x7fffffff, 0x80000000, 0xffffffff};

	for (size_t i = 0; i < SL_ARRAY_SIZE(sizes); i++) {
		uint8_t p[4];
		int fd = client();

		sl_store_be32(p, sizes[i]);
		put(fd, p, 4);
		settle();
		cr_assert_eq(answer(fd), -2, "size %u was taken", sizes[i]);
		cr_assert_eq(count_of(SL_STAT_closed_frame_size), i + 1);
		close(fd);
	}
}

Test(session, closes_on_unknown_keys_and_versions)
{
	static const uint8_t bad[][4] = {{0, 4, 0, 0},  {0x7f, 0xff, 0, 0}, {0xff, 0xff, 0, 0},
	                                 {0, 3, 0, 99}, {0, 0, 0, 2},       {0, 1, 0, 3}};

	for (size_t i = 0; i < SL_ARRAY_SIZE(bad); i++) {
		uint8_t p[64];
		size_t n = api_versions(p, 1);
		int fd = client();

		memcpy(p + 4, bad[i], 4);
		put(fd, p, n);
		settle();
		cr_assert_eq(answer(fd), -2, "case %zu was answered", i);
		cr_assert_eq(count_of(SL_STAT_closed_unknown_api), i + 1);
		close(fd);
	}
}

Test(session, answers_a_too_new_api_versions_in_the_old_form)
{
	/* Version 99, flexible header: empty tag section before the body. */
	uint8_t p[64];
	size_t n = api_versions(p, 5);
	uint8_t got[64];
	int fd = client();

	p[7] = 99;
	p[n++] = 0;
	sl_store_be32(p, (uint32_t)n - 4);
	put(fd, p, n);
	settle();
	cr_assert_eq(recv(fd, got, sizeof(got), 0), 4 + 4 + 2 + 4 + 6);
	cr_assert_eq(sl_load_be16(got + 8), 35u);
	cr_assert_eq(sl_load_be32(got + 10), 1u);
	cr_assert_eq(sl_load_be16(got + 14), 18u);
	close(fd);
}

/* Without it clients do not use the consumer protocol. */
Test(session, finalizes_the_level_of_groups)
{
	for (uint8_t version = 3; version <= 4; version++) {
		uint8_t p[64];
		uint8_t got[8192];
		size_t n = api_versions(p, 5);
		struct sl_api_versions_resp resp;
		struct sl_arena arena;
		struct sl_cursor c;
		int fd = client();
		ssize_t bytes;

		p[7] = version;
		/* Tags of the head, two names, tags of the body. */
		memcpy(p + n, (const uint8_t[]){0, 2, 'c', 2, '1', 0}, 6);
		n += 6;
		sl_store_be32(p, (uint32_t)n - 4);
		put(fd, p, n);
		settle();
		bytes = recv(fd, got, sizeof(got), 0);
		cr_assert_gt(bytes, 8);
		c = sl_cursor_from(got + 8, (size_t)bytes - 8);
		cr_assert_eq(sl_arena_create(&arena, 1 << 20), 0);
		cr_assert_eq(sl_api_versions_resp_decode(&resp, &c, &arena, version), 0);
		cr_assert_eq(resp.error_code, 0);
		cr_assert_geq(resp.finalized_features_epoch, 0);
		for (int32_t i = 0; i < resp.finalized_features_count; i++) {
			/* Clients take a range that begins with 0 for broken before version 4. */
			cr_assert_eq(resp.supported_features[i].min_version, version < 4);
			if (!sl_str_eq_c(resp.finalized_features[i].name, "group.version"))
				continue;
			cr_assert_eq(resp.finalized_features[i].max_version_level, 1);
			n = 0;
		}
		cr_assert_eq(n, 0, "group.version is missing");
		sl_arena_destroy(&arena);
		close(fd);
	}
}

Test(session, closes_a_frame_that_never_completes)
{
	uint8_t p[64];
	int fd = client();
	size_t n = api_versions(p, 1);

	put(fd, p, n - 1);
	settle();
	ctx.now_ms += config.frame_ms - 1;
	settle();
	cr_assert_eq(answer(fd), -1);
	ctx.now_ms += 101;
	settle();
	cr_assert_eq(answer(fd), -2);
	cr_assert_eq(count_of(SL_STAT_closed_slow_frame), 1u);
	close(fd);
}

Test(session, closes_idle_connections_and_keeps_busy_ones)
{
	uint8_t p[64];
	int idle = client(), busy = client();

	settle();
	ctx.now_ms += config.idle_ms - 1;
	put(busy, p, api_versions(p, 1));
	settle();
	cr_assert_eq(answer(busy), 1);
	ctx.now_ms += 200;
	settle();
	cr_assert_eq(answer(idle), -2);
	cr_assert_eq(answer(busy), -1);
	cr_assert_eq(count_of(SL_STAT_closed_idle), 1u);
	close(idle);
	close(busy);
}

Test(session, refuses_connections_above_the_limit)
{
	int fds[CONNS_MAX + 3];

	for (int i = 0; i < CONNS_MAX + 3; i++)
		fds[i] = client();
	settle();
	cr_assert_eq(count_of(SL_STAT_connections), (uint64_t)CONNS_MAX);
	cr_assert_eq(count_of(SL_STAT_connections_refused_limit), 3u);
	cr_assert_eq(answer(fds[CONNS_MAX]), -2);
	for (int i = 0; i < CONNS_MAX + 3; i++)
		close(fds[i]);
	settle();
	cr_assert_eq(count_of(SL_STAT_connections), 0u);
	/* The slots are usable again. */
	int fd = client();
	uint8_t p[64];

	put(fd, p, api_versions(p, 3));
	settle();
	cr_assert_eq(answer(fd), 3);
	close(fd);
}

Test(session, limits_connections_of_one_address)
{
	config.connections_per_ip_max = 2;
	int a = client(), b = client(), c = client();

	cr_assert_eq(answer(c), -2);
	cr_assert_eq(count_of(SL_STAT_connections_refused_limit), 1u);
	close(a);
	close(b);
	close(c);
}

Test(session, answers_before_it_follows_a_half_close)
{
	uint8_t p[64];
	int fd = client();

	put(fd, p, api_versions(p, 9));
	shutdown(fd, SHUT_WR);
	settle();
	cr_assert_eq(answer(fd), 9);
	cr_assert_eq(answer(fd), -2);
	cr_assert_eq(count_of(SL_STAT_connections), 0u);
	close(fd);
}

Test(session, parks_forwarded_requests_until_the_grace_is_over)
{
	/* Heartbeat v0 goes to the control process, which is away. */
	uint8_t p[64];
	size_t n = api_versions(p, 1);
	int fd = client();

	p[5] = 12;
	put(fd, p, n);
	put(fd, p, api_versions(p, 2));
	settle();
	cr_assert_eq(count_of(SL_STAT_control_parked), 1u);
	cr_assert_eq(answer(fd), -1, "a later request overtook");
	ctx.now_ms += config.control_grace_ms;
	settle();
	cr_assert_eq(answer(fd), -2);
	cr_assert_eq(count_of(SL_STAT_closed_control_lost), 1u);
	cr_assert_eq(count_of(SL_STAT_control_parked), 0u);
	close(fd);
}

Test(session, grows_for_a_large_frame_and_gives_it_back)
{
	static uint8_t p[REQUEST_MAX + 4];
	int fd = client();
	size_t sent = 0;

	/* ApiVersions v0 with a body that is too long: malformed, but only known when it is whole.
	 */
	(void)api_versions(p, 1);
	sl_store_be32(p, REQUEST_MAX);
	while (sent < sizeof(p)) {
		ssize_t n = write(fd, p + sent, sizeof(p) - sent);

		cr_assert_gt(n, 0);
		sent += (size_t)n;
		settle();
	}
	cr_assert_eq(answer(fd), -2);
	cr_assert_eq(count_of(SL_STAT_closed_malformed), 1u);
	cr_assert_eq(ctx.pool.used, 0u);
	close(fd);
}
