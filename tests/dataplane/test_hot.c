/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log in a small hot tier, appended to many times the tier's size, and consumers of every kind
 * that read it meanwhile over TCP: each gets the log's bytes and no others.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fixture.h"
#include "reply/cold.h"
#include "sluice/store/hot.h"

#define TIER_BYTES    SL_HOT_BYTES_MIN
#define BATCHES       800
#define LOG_BYTES_MAX ((size_t)100 << 20)
#define TAIL_BATCHES  5
#define READERS       5

struct reader {
	struct net_io io;
	int client; /* -1: gone */
	struct sl_list queue;
	uint32_t next;        /* batch */
	uint64_t seen_pos;    /* of the log */
	uint32_t header_left; /* of the reply that arrives, before its range */
	uint32_t range_left;
	uint32_t ranges[64]; /* queued, by ranges_tail - ranges_head */
	unsigned ranges_head, ranges_tail;
	unsigned patience; /* reads one time in so many */
	bool is_at_tail;   /* asks for the newest when it has read what it asked for */
};

static struct {
	struct fx *fx;
	struct sl_hot *hot;
	struct sl_log *log;
	uint8_t *model;
	uint64_t batch_pos[BATCHES + 1];
	uint32_t batches;
	struct reader readers[READERS];
	uint32_t noise;
} t;

static uint32_t noise(void)
{
	t.noise = t.noise * 1664525 + 1013904223;
	return t.noise >> 8;
}

static void connect_reader(struct reader *r, unsigned patience)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	cr_assert(bind(listener, (struct sockaddr *)&sin, len) == 0 && listen(listener, 1) == 0);
	cr_assert(getsockname(listener, (struct sockaddr *)&sin, &len) == 0);
	r->client = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert(connect(r->client, (struct sockaddr *)&sin, len) == 0);
	r->io = (struct net_io){.ops = &transport_sock,
	                        .fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)};
	close(listener);
	cr_assert(fcntl(r->client, F_SETFL, O_NONBLOCK) == 0);
	sl_list_init(&r->queue);
	r->patience = patience;
}

static void disconnect(struct reader *r)
{
	struct sl_list *pos, *tmp;

	if (r->io.fd < 0)
		return;
	sl_list_for_each_safe(pos, tmp, &r->queue)
		reply_free(&t.fx->ctx, sl_list_entry(pos, struct reply, link));
	guard_leave(t.fx->ctx.guard, &r->io);
	r->io.ops->close(&r->io);
	close(r->client);
}

static void setup(void)
{
	const struct sl_hot_opts hot = {.bytes = TIER_BYTES, .slices = 1, .numa_node = -1};
	struct sl_log_opts opts = {.files = {&sl_file_ops_plain, NULL},
	                           .topic = "hot",
	                           .config = fx_config().log,
	                           .now_ms = FX_WALL_MS};
	struct sl_log_recovery report;
	struct sl_hot_pool_ops ops = {.forget = sl_log_forget};

	t.fx = fx_create();
	t.noise = 99;
	cr_assert(guard_create(&t.fx->ctx.guard, &t.fx->ctx) == 0);
	cr_assert(cold_create(&t.fx->ctx.cold) == 0);
	cr_assert(sl_hot_create(&t.hot, &hot) == 0);
	while (sl_hot_populate(t.hot, SIZE_MAX) > 0)
		;
	ops.settle = guard_settle;
	ops.settle_arg = t.fx->ctx.guard;
	sl_hot_pool_set_ops(sl_hot_pool(t.hot, 0), &ops);
	opts.dirfd = t.fx->dirfd;
	opts.topic_id.b[0] = 1;
	opts.hot = sl_hot_pool(t.hot, 0);
	cr_assert(sl_log_open(&t.log, &opts, &report) == 0);
	t.model = malloc(LOG_BYTES_MAX);
	for (unsigned i = 0; i < READERS; i++)
		connect_reader(&t.readers[i], 1 + i * i * 40);
	t.readers[3].is_at_tail = true;
}

static void teardown(void)
{
	for (unsigned i = 0; i < READERS; i++)
		disconnect(&t.readers[i]);
	sl_log_cool(t.log);
	cr_expect(sl_log_close(t.log, true) == 0);
	sl_hot_destroy(t.hot);
	guard_destroy(t.fx->ctx.guard);
	cold_destroy(t.fx->ctx.cold);
	fx_destroy(t.fx);
}

TestSuite(hot, .init = setup, .fini = teardown);

static void sync_all(void)
{
	const struct sl_files files = {&sl_file_ops_plain, NULL};
	struct sl_log_sync sync;

	while (sl_log_sync_begin(t.log, &sync, true))
		sl_log_sync_end(t.log, &sync, sl_log_sync_run(&files, &sync));
}

static void append(void)
{
	const struct fx_batch b = {.value_bytes = 1000 + noise() % 180000};
	struct sl_records r = fx_records(&b);
	struct sl_log_append io = {.leader_epoch = 5, .now_ms = FX_WALL_MS};
	uint8_t *p = (uint8_t *)(uintptr_t)r.p;
	int rc;

	/* Bytes that are found nowhere else in the log. */
	for (int32_t i = 100; i < r.len; i += 4)
		sl_store_be32(p + SL_MIN(i, r.len - 4), t.batches * 100003 + (uint32_t)i);
	rc = sl_log_append(t.log, p, (size_t)r.len, &io);
	if (rc == -EAGAIN) {
		sync_all();
		rc = sl_log_append(t.log, p, (size_t)r.len, &io);
	}
	cr_assert(rc == 0 && io.base_offset == t.batches, "%d", rc);
	cr_assert(t.batch_pos[t.batches] + (uint64_t)r.len <= LOG_BYTES_MAX);
	memcpy(t.model + t.batch_pos[t.batches], p, (size_t)r.len);
	t.batch_pos[t.batches + 1] = t.batch_pos[t.batches] + (uint64_t)r.len;
	t.batches++;
	free(p);
}

static int piece(const struct reply_range *rr, uint32_t done, struct sl_log_piece *out)
{
	return sl_log_range_piece(rr->owner, &rr->range, done, out);
}

static void put(struct ctx *ctx, struct reply_range *rr)
{
	(void)ctx;
	sl_log_range_put(rr->owner, &rr->range);
}

/* A fetch of what comes next, if there is something. */
static void fetch(struct reader *r)
{
	struct reply_range rr = {.owner = t.log, .piece = piece, .put = put};
	struct sl_buf *out = &t.fx->ctx.out;
	struct reply *reply;

	if (r->is_at_tail && t.batches > TAIL_BATCHES && r->next < t.batches) {
		if (r->ranges_head != r->ranges_tail || r->range_left)
			return;
		r->next = SL_MAX(r->next, t.batches - TAIL_BATCHES);
		r->seen_pos = t.batch_pos[r->next];
	}
	if (r->next == t.batches || r->ranges_tail - r->ranges_head == SL_ARRAY_SIZE(r->ranges))
		return;
	cr_assert(sl_log_read(t.log, r->next, t.batches, 50000 + noise() % 900000, true,
	                      &rr.range) == 0);
	cr_assert(rr.range.bytes > 0 && rr.range.pos == t.batch_pos[r->next]);
	/* Whole batches only, so that the stream is the log. */
	do
		r->next++;
	while (r->next < t.batches && t.batch_pos[r->next + 1] <= rr.range.pos + rr.range.bytes);
	rr.range.bytes = (uint32_t)(t.batch_pos[r->next] - rr.range.pos);
	sl_buf_reset(out);
	sl_buf_put_be32(out, 0);
	sl_buf_put(out, "head", 4);
	sl_buf_put_hole(out, rr.range.bytes, 0);
	reply = reply_build(&t.fx->ctx, &rr, 1);
	cr_assert(reply != NULL);
	sl_list_push_back(&r->queue, &reply->link);
	r->ranges[r->ranges_tail++ % SL_ARRAY_SIZE(r->ranges)] = rr.range.bytes;
}

static void check(struct reader *r, const uint8_t *p, size_t bytes)
{
	while (bytes > 0) {
		size_t part;

		if (r->header_left + r->range_left == 0) {
			r->header_left = 8;
			r->range_left = r->ranges[r->ranges_head++ % SL_ARRAY_SIZE(r->ranges)];
		}
		part = SL_MIN(bytes, (size_t)(r->header_left ? r->header_left : r->range_left));
		if (r->header_left) {
			r->header_left -= (uint32_t)part;
		} else {
			cr_assert(memcmp(p, t.model + r->seen_pos, part) == 0,
			          "reader %td got other bytes near %llu", r - t.readers,
			          (unsigned long long)r->seen_pos);
			r->seen_pos += part;
			r->range_left -= (uint32_t)part;
		}
		p += part;
		bytes -= part;
	}
}

static void turn(struct reader *r, bool is_reading)
{
	static uint8_t buf[1 << 20];
	ssize_t n;

	if (r->io.fd < 0)
		return;
	if (sl_list_is_empty(&r->queue))
		fetch(r);
	if (!sl_list_is_empty(&r->queue)) {
		int rc = reply_send(&t.fx->ctx, &r->io, &r->queue, 1 << 20);

		cr_assert(rc == 0 || rc == -EAGAIN || rc == -EINPROGRESS || rc == -EBUSY, "%d", rc);
	}
	while (is_reading && (n = read(r->client, buf, sizeof(buf))) > 0)
		check(r, buf, (size_t)n);
}

Test(hot, every_reader_gets_the_bytes_of_the_log_whatever_is_recycled)
{
	struct sl_hot_usage usage;
	bool is_done = false;

	t.readers[1].io.guard.peer = PEER_HIDDEN;
	for (unsigned i = 0; !is_done; i++) {
		t.fx->ctx.now_ns++;
		t.fx->ctx.now_ms += i % 16 == 0;
		if (t.batches < BATCHES)
			append();
		if (i % 20 == 0)
			sync_all();
		/* One that stalls and leaves with bytes unread. */
		if (t.batches == 40 && t.readers[4].io.fd >= 0)
			disconnect(&t.readers[4]);
		is_done = t.batches == BATCHES;
		for (unsigned k = 0; k < READERS; k++) {
			struct reader *r = &t.readers[k];

			turn(r, t.batches == BATCHES || noise() % r->patience == 0);
			is_done = is_done && (r->io.fd < 0 || r->seen_pos == t.batch_pos[BATCHES]);
		}
		cr_assert(i < 10000000);
	}
	sl_hot_usage(sl_hot_pool(t.hot, 0), &usage);
	cr_expect(usage.recycled_count > 10, "%llu", (unsigned long long)usage.recycled_count);
	cr_expect(usage.quarantined_count > 0);
	cr_expect(fx_stat(t.fx, SL_STAT_guard_held) > fx_stat(t.fx, SL_STAT_guard_unsettled));
	cr_expect(fx_stat(t.fx, SL_STAT_guard_copied) > 0);
	cr_expect(fx_stat(t.fx, SL_STAT_guard_orphaned) > 0);
}
