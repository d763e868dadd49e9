/* SPDX-License-Identifier: Apache-2.0 */
/* Compaction between a lane and the cleaner, whose turns are taken here but where a thread matters.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "fixture.h"
#include "partition/cleaner.h"
#include "partition/cleaning.h"
#include "sluice/wire/fetch_gen.h"
#include "sluice/wire/marker.h"

#define BACKOFF_MS 1000
#define TURNS_MAX  1000

static struct fx *fx;
static struct cleaner *cleaner;

static void make_cleaner(int64_t bytes_per_second)
{
	const struct cleaner_opts o = {.files = {&fx->ops, fx},
	                               .map_bytes = 1 << 20,
	                               .window_bytes = 4096,
	                               .bytes_per_second = bytes_per_second,
	                               .lanes_count = 2};

	cr_assert(cleaner_create(&cleaner, &o) == 0);
	fx->ctx.cleaning.port = cleaner_port(cleaner, 0);
	cleaner_port_open(fx->ctx.cleaning.port, fx->wake_fd);
}

static void set_up(void)
{
	fx = fx_create();
	fx->config.clean_backoff_ms = BACKOFF_MS;
	make_cleaner(INT64_MAX);
}

static void tear_down(void)
{
	/* The lane's end cancels what is under way, and the cleaner has to hear of it. */
	if (fx->ctx.cleaning.busy) {
		sl_clean_cancel(fx->ctx.cleaning.clean);
		while (fx->ctx.cleaning.busy) {
			(void)cleaner_turn(cleaner);
			(void)cleaning_poll(&fx->ctx);
		}
	}
	fx_destroy(fx);
	cleaner_destroy(cleaner);
}

TestSuite(cleaning, .init = set_up, .fini = tear_down);

static struct topic_config compacted(void)
{
	struct topic_config c = fx_config();

	c.is_compact = c.log.is_compact = true;
	c.log.is_delete = false;
	c.log.segment_bytes = 4096;
	c.log.min_dirty_ppm = 500000;
	c.log.max_compaction_lag_ms = INT64_MAX;
	return c;
}

static struct partition *make_partition(const char *name, const struct topic_config *config)
{
	return fx_partition(fx_topic(fx, name, 1, config), 0);
}

static void woken(struct ctx *ctx, struct waiter *w, enum sl_kerr kerr)
{
	(void)ctx;
	(void)w;
	cr_expect(kerr == SL_KERR_NONE);
}

/* One sync takes a few segments only: who waits makes it go on. */
static void make_durable(struct partition *p)
{
	struct waiter w = {.wake = woken};

	sl_list_init(&w.link);
	w.offset = sl_log_end(p->log);
	if (partition_wait_sync(&fx->ctx, p, &w))
		fx_settle(fx);
	cr_assert(sl_log_flushed(p->log) == sl_log_end(p->log));
}

/* Records of ten keys, all of them durable. */
static void put(struct partition *p, int count)
{
	char key[16];

	for (int i = 0; i < count; i++) {
		const struct fx_batch b = {.key = key, .value_bytes = 100};
		struct sl_records r;
		struct sl_log_append io = {0};
		enum sl_kerr kerr;

		snprintf(key, sizeof(key), "k%d", i % 10);
		r = fx_records(&b);
		while (partition_append(&fx->ctx, p, (void *)(uintptr_t)r.p, (size_t)r.len, &io,
		                        &kerr) == PARTITION_TIER_FULL)
			fx_settle(fx);
		cr_assert(kerr == SL_KERR_NONE);
		free((void *)(uintptr_t)r.p);
	}
	make_durable(p);
}

/* The lane and the cleaner in turns until neither has anything to do. */
static void run(void)
{
	for (int i = 0; i < TURNS_MAX; i++) {
		unsigned work = cleaning_poll(&fx->ctx);

		if (!cleaner_turn(cleaner) && work == 0)
			return;
	}
	cr_assert_fail("it does not end");
}

static uint32_t slot_state(const struct partition *p)
{
	return atomic_load(&p->slot->cleaner);
}

Test(cleaning, compacts_what_is_dirty_and_tells_of_it)
{
	const struct topic_config config = compacted();
	struct partition *p = make_partition("a", &config);
	struct partition *plain = make_partition("b", NULL);
	const uint64_t plain_bytes = 300;
	uint64_t before;

	put(p, 300);
	(void)fx_append(fx, plain, (uint32_t)plain_bytes);
	before = sl_log_bytes(p->log);
	cr_expect(slot_state(p) == SL_SLOT_CLEANER_WAITING);
	cr_expect(slot_state(plain) == SL_SLOT_CLEANER_NONE);
	cr_expect(atomic_load(&plain->slot->clean_offset) == -1);
	cr_assert(cleaning_poll(&fx->ctx) > 0);
	cr_expect(fx->ctx.cleaning.busy == p && slot_state(p) == SL_SLOT_CLEANER_RUNNING);
	cr_expect(p->refs == 2, "the log stays open");
	run();
	cr_expect(!fx->ctx.cleaning.busy && p->refs == 1);
	cr_expect(sl_log_bytes(p->log) < before / 4);
	cr_expect(atomic_load(&p->slot->log_bytes) == sl_log_bytes(p->log));
	cr_expect(atomic_load(&p->slot->clean_offset) == sl_log_clean_offset(p->log));
	cr_expect(sl_log_clean_offset(p->log) > 250);
	cr_expect(slot_state(p) == SL_SLOT_CLEANER_WAITING);
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 1);
	cr_expect(fx_stat(fx, SL_STAT_clean_records_read) == (uint64_t)sl_log_clean_offset(p->log));
	cr_expect(fx_stat(fx, SL_STAT_clean_records_kept) == 10);
	cr_expect(fx_stat(fx, SL_STAT_clean_recopy_percent) < 30);
	cr_expect(fx_stat(fx, SL_STAT_clean_bytes_read) > fx_stat(fx, SL_STAT_clean_bytes_written));
	/* Nothing is dirty enough now. */
	fx->ctx.now_ms += BACKOFF_MS;
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 1);
	cr_expect(fx_stat(fx, SL_STAT_clean_max_dirty_percent) < 50);
}

Test(cleaning, the_dirtiest_log_comes_first)
{
	const struct topic_config config = compacted();
	struct topic_config eager = config;
	struct partition *clean, *dirty;

	eager.log.min_dirty_ppm = 10000;
	clean = make_partition("clean", &eager);
	put(clean, 300);
	run();
	cr_assert(fx_stat(fx, SL_STAT_cleanings) == 1);
	put(clean, 40);
	dirty = make_partition("dirty", &config);
	put(dirty, 300);
	fx->ctx.now_ms += BACKOFF_MS;
	cr_assert(cleaning_poll(&fx->ctx) == 2);
	cr_expect(fx->ctx.cleaning.busy == dirty);
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 3, "then the other");
}

Test(cleaning, looks_no_sooner_than_the_backoff)
{
	const struct topic_config config = compacted();
	struct partition *p = make_partition("a", &config);

	run();
	cr_expect(cleaning_next_ms(&fx->ctx) == fx->ctx.now_ms + BACKOFF_MS);
	put(p, 300);
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 0);
	fx->ctx.now_ms += BACKOFF_MS - 1;
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 0);
	fx->ctx.now_ms += 1;
	cr_expect(cleaning_poll(&fx->ctx) > 0);
	cr_expect(cleaning_next_ms(&fx->ctx) == INT64_MAX, "the cleaner wakes the lane");
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 1);
}

Test(cleaning, follows_the_cleanup_policy)
{
	struct topic_config config = compacted();
	struct topic_config plain = config;
	struct partition *p;

	plain.log.is_compact = false;
	p = make_partition("a", &plain);
	put(p, 300);
	fx->ctx.now_ms += BACKOFF_MS;
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 0);
	cr_expect(cleaning_next_ms(&fx->ctx) == INT64_MAX, "there is nothing to look at");
	partition_configure(&fx->ctx, p, &config.log, &config.flush);
	cr_expect(slot_state(p) == SL_SLOT_CLEANER_WAITING);
	cr_assert(cleaning_poll(&fx->ctx) > 0);
	cr_assert(fx->ctx.cleaning.busy == p);
	/* Away again, in the middle. */
	partition_configure(&fx->ctx, p, &plain.log, &plain.flush);
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 0);
	cr_expect(fx_stat(fx, SL_STAT_clean_cancelled) == 1);
	cr_expect(slot_state(p) == SL_SLOT_CLEANER_NONE && p->refs == 1);
}

Test(cleaning, log_that_is_detached_is_let_go_when_the_cleaner_has_given_it_back)
{
	const struct topic_config config = compacted();
	struct partition *p = make_partition("a", &config);

	put(p, 300);
	cr_assert(cleaning_poll(&fx->ctx) > 0);
	partition_detach(&fx->ctx, p);
	cr_expect(p->refs == 1 && sl_list_is_empty(&fx->ctx.released));
	cr_expect(cleaner_turn(cleaner));
	cr_expect(cleaning_poll(&fx->ctx) == 1);
	cr_expect(p->refs == 0 && fx->ctx.released.next == &p->lane_link);
	cr_expect(fx_stat(fx, SL_STAT_clean_cancelled) == 1);
	cr_expect(fx_stat(fx, SL_STAT_clean_uncleanable) == 0);
	sl_list_del(&p->lane_link);
}

static void flip(const struct partition *p, off_t pos)
{
	char path[400];
	uint8_t byte;
	int fd;

	snprintf(path, sizeof(path), "%s/%s/00000000000000000000.log", fx->dir, p->name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	cr_assert(fd >= 0 && pread(fd, &byte, 1, pos) == 1);
	byte ^= 1;
	cr_assert(pwrite(fd, &byte, 1, pos) == 1);
	close(fd);
}

Test(cleaning, damage_takes_the_partition_out_and_nothing_else)
{
	const struct topic_config config = compacted();
	struct partition *bad = make_partition("bad", &config);
	struct partition *good = make_partition("good", &config);

	put(bad, 300);
	flip(bad, 100);
	run();
	cr_expect(slot_state(bad) == SL_SLOT_CLEANER_FAILED && bad->clean_error == -EBADMSG);
	cr_expect(fx_stat(fx, SL_STAT_clean_failed) == 1);
	cr_expect(fx_stat(fx, SL_STAT_clean_uncleanable) == 1);
	cr_expect(!bad->is_offline && fx_append(fx, bad, 10) == 300,
	          "it takes records all the same");
	put(good, 300);
	for (int i = 0; i < 3; i++) {
		fx->ctx.now_ms += BACKOFF_MS;
		run();
	}
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 1 && fx_stat(fx, SL_STAT_clean_failed) == 1);
	cr_expect(fx_stat(fx, SL_STAT_clean_uncleanable_bytes) > 0);
	cr_expect(fx_stat(fx, SL_STAT_clean_looked_ms) == FX_WALL_MS);
	/* Mended, and somebody says so. */
	flip(bad, 100);
	partition_configure(&fx->ctx, bad, &config.log, &config.flush);
	cr_expect(fx_stat(fx, SL_STAT_clean_uncleanable) == 0);
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 2 && bad->clean_error == 0);
	cr_expect(fx_stat(fx, SL_STAT_clean_uncleanable_bytes) == 0);
}

Test(cleaning, full_disk_is_tried_again)
{
	const struct topic_config config = compacted();
	struct partition *p = make_partition("a", &config);

	put(p, 300);
	atomic_store(&fx->pwrite_error, -ENOSPC);
	run();
	cr_expect(fx_stat(fx, SL_STAT_clean_failed) == 1 && p->clean_error == 0);
	cr_expect(slot_state(p) == SL_SLOT_CLEANER_WAITING && !p->is_offline);
	atomic_store(&fx->pwrite_error, 0);
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 0, "not at once");
	fx->ctx.now_ms += BACKOFF_MS;
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 1);
}

Test(cleaning, nothing_is_swapped_in_a_dir_that_has_failed)
{
	const struct topic_config config = compacted();
	struct partition *p = make_partition("a", &config);
	uint32_t segments;

	put(p, 300);
	segments = sl_log_segments(p->log);
	cr_assert(cleaning_poll(&fx->ctx) > 0);
	cr_assert(cleaner_turn(cleaner));
	partition_dir_offline(&fx->ctx, p->log_dir, -EIO);
	run();
	cr_expect(sl_log_segments(p->log) == segments);
	cr_expect(fx_stat(fx, SL_STAT_clean_cancelled) == 1);
	fx->ctx.now_ms += BACKOFF_MS;
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 0);
}

Test(cleaning, cleans_what_the_hot_tier_has_written_and_keeps_it_readable)
{
	const struct topic_config config = compacted();
	struct sl_log_range range;
	struct partition *p;
	uint8_t bytes[300];

	fx_tier(fx, false);
	p = make_partition("a", &config);
	put(p, 300);
	run();
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 1);
	for (int64_t at = 0; at < 300;) {
		struct sl_batch_head head;

		cr_assert(sl_log_read(p->log, at, 300, sizeof(bytes), true, &range) == 0);
		cr_assert(range.bytes > 0);
		cr_assert(sl_log_range_copy(p->log, &range, bytes, sizeof(bytes)) > 0);
		cr_assert(sl_batch_peek(bytes, range.bytes, &head) == 0);
		cr_expect(sl_batch_check_crc(bytes, &head));
		at = sl_batch_last_offset(&head) + 1;
		sl_log_range_put(p->log, &range);
	}
}

/* ---- Readers of committed records ---- */

#define COMMITTED_KEYS 10

/* A record of key @n: in the transaction of @producer_id, plain for 0. */
static void put_record(struct partition *p, int64_t producer_id, int32_t sequence, int n)
{
	struct fx_batch b = {.value_bytes = 100};
	char key[16];

	snprintf(key, sizeof(key), "%d", n);
	b.key = key;
	if (producer_id) {
		b.has_producer = true;
		b.producer_id = producer_id;
		b.base_sequence = sequence;
		b.attributes = SL_BATCH_TRANSACTIONAL;
	}
	cr_assert(fx_put(fx, p, fx_records(&b)) == SL_KERR_NONE);
}

/* Plain records, and transactions of two producers that overlap, of which every other is aborted.
 */
static void put_transactions(struct partition *p, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		put_record(p, 0, 0, i % COMMITTED_KEYS);
		put_record(p, 7, 2 * i, (i + 1) % COMMITTED_KEYS);
		put_record(p, 8, i, (i + 2) % COMMITTED_KEYS);
		put_record(p, 7, 2 * i + 1, (i + 3) % COMMITTED_KEYS);
		cr_assert(fx_put(fx, p, fx_marker(7, 0, i % 2 == 0, 1)) == SL_KERR_NONE);
		cr_assert(fx_put(fx, p, fx_marker(8, 0, i % 2 == 1, 1)) == SL_KERR_NONE);
	}
	make_durable(p);
}

static void encode_fetch(const void *body, struct sl_buf *buf, int16_t version)
{
	sl_fetch_req_encode(body, buf, version);
}

static struct request *fetch(int64_t offset, bool is_committed)
{
	struct sl_fetch_req_topic_partition part;
	struct sl_fetch_req_topic topic = {
		.topic = sl_str_from("a"), .partitions = &part, .partitions_count = 1};
	struct sl_fetch_req body;

	sl_fetch_req_topic_partition_init(&part);
	part.fetch_offset = offset;
	part.partition_max_bytes = 3000;
	sl_fetch_req_init(&body);
	body.replica_id = -1;
	body.isolation_level = is_committed;
	body.topics = &topic;
	body.topics_count = 1;
	return fx_request(fx, SL_API_FETCH, 11, encode_fetch, &body);
}

/* What a reader has found so far. */
struct view {
	int64_t last[COMMITTED_KEYS]; /* offset of the last record of each key */
	uint32_t records;
	int64_t next;
	int64_t skipped[2]; /* producers whose records are passed over; 0: none */
};

/* A client's rule (KIP-98): a listed producer is passed over from its first offset to its abort
 * marker. */
static bool is_passed_over(struct view *v, const uint8_t *p, const struct sl_batch_head *head,
                           const struct sl_fetch_resp_response_partition *part)
{
	int64_t *skipped = &v->skipped[head->producer_id == 8];
	struct sl_txn_marker marker;

	if (sl_batch_is_control(head)) {
		cr_assert(sl_txn_marker_decode(&marker, p, head) == 1);
		if (!marker.is_commit)
			*skipped = 0;
		return true;
	}
	for (int32_t i = 0; i < part->aborted_transactions_count; i++)
		if (part->aborted_transactions[i].producer_id == head->producer_id &&
		    part->aborted_transactions[i].first_offset == head->base_offset)
			*skipped = head->producer_id;
	return sl_batch_is_transactional(head) && *skipped == head->producer_id;
}

static void take_batch(struct view *v, const uint8_t *p, const struct sl_batch_head *head)
{
	struct sl_record_iter it;
	struct sl_record r;
	int n;

	cr_assert(sl_batch_check_crc(p, head));
	cr_assert(sl_record_iter_init(&it, p, head, NULL, NULL) == 0);
	while (sl_record_iter_next(&it, &r) == 1) {
		cr_assert(r.key.len == 1);
		n = *(const char *)r.key.p - '0';
		v->last[n] = r.offset;
		v->records++;
	}
}

/* Everything up to the high watermark or the last stable offset. */
static struct view read_all(bool is_committed)
{
	struct view v = {0};

	for (int64_t before = -1; v.next > before;) {
		struct request *req = fetch(v.next, is_committed);
		const struct sl_fetch_resp_response_partition *part;
		struct sl_fetch_resp resp;
		struct sl_batch_head head;
		struct sl_cursor c;
		uint8_t *block;

		before = v.next;
		cr_assert(fx_run(fx, req) == REQUEST_REPLY);
		c = fx_reply(fx, req, &block);
		cr_assert(sl_fetch_resp_decode(&resp, &c, fx_arena(), 11) == 0);
		part = resp.responses[0].partitions;
		cr_assert(part->error_code == 0);
		for (int32_t at = 0; at < part->records.len; at += (int32_t)sl_batch_bytes(&head)) {
			const uint8_t *p = (const uint8_t *)part->records.p + at;

			if (sl_batch_peek(p, (size_t)(part->records.len - at), &head) != 0)
				break;
			if (!is_committed || !is_passed_over(&v, p, &head, part)) {
				if (!sl_batch_is_control(&head))
					take_batch(&v, p, &head);
			}
			v.next = sl_batch_last_offset(&head) + 1;
		}
		free(block);
		fx_release(fx, req);
		if (req == &fx->requests[fx->requests_count - 1])
			fx->requests_count--;
	}
	return v;
}

Test(cleaning, committed_readers_find_the_same_in_a_cleaned_log)
{
	const struct topic_config config = compacted();
	struct partition *p = make_partition("a", &config);
	struct view before, after, all;

	put_transactions(p, 100);
	cr_assert(p->last_stable == 600);
	before = read_all(true);
	cr_expect(before.next == 600 && before.records == 250);
	cr_expect(read_all(false).records == 400);
	run();
	cr_assert(fx_stat(fx, SL_STAT_cleanings) > 0 && sl_log_clean_offset(p->log) > 500);
	after = read_all(true);
	cr_expect(after.next == 600 && after.records < 80, "%u", after.records);
	for (int i = 0; i < COMMITTED_KEYS; i++)
		cr_expect(before.last[i] == after.last[i], "key %d: %lld, %lld before", i,
		          (long long)after.last[i], (long long)before.last[i]);
	/* Of what was aborted nothing is left but in the part that is not clean. */
	all = read_all(false);
	cr_expect(all.records - after.records < 100, "%u", all.records - after.records);
	/* Its producers go on. */
	put_record(p, 7, 200, 5);
	cr_assert(fx_put(fx, p, fx_marker(7, 0, false, 1)) == SL_KERR_NONE);
	cr_expect(read_all(true).last[5] == 600);
}

Test(cleaning, cleans_nothing_from_the_first_offset_of_an_open_transaction_on)
{
	const struct topic_config config = compacted();
	struct partition *p = make_partition("a", &config);

	put_transactions(p, 50);
	put_record(p, 9, 0, 1);
	make_durable(p);
	cr_assert(p->last_stable == 300);
	put(p, 300);
	cr_assert(p->last_stable == 300 && p->high_watermark == 601);
	run();
	cr_assert(fx_stat(fx, SL_STAT_cleanings) > 0);
	cr_expect(sl_log_clean_offset(p->log) > 200 && sl_log_clean_offset(p->log) <= 300);
	cr_expect(sl_log_has_txn(p->log, 9, 0));
	cr_assert(fx_put(fx, p, fx_marker(9, 0, false, 1)) == SL_KERR_NONE);
	make_durable(p);
	fx->ctx.now_ms += BACKOFF_MS;
	run();
	cr_expect(sl_log_clean_offset(p->log) > 500);
}

Test(cleaning, lanes_take_turns_with_whole_cleanings)
{
	const struct topic_config config = compacted();
	struct partition *p = make_partition("a", &config);
	struct partition *q = make_partition("b", &config);
	struct cleaner_port *other = cleaner_port(cleaner, 1);
	struct sl_clean *c;
	int result;

	put(p, 300);
	put(q, 300);
	cr_assert(cleaning_poll(&fx->ctx) > 0);
	q = fx->ctx.cleaning.busy == p ? q : p;
	cleaner_port_open(other, fx->wake_fd);
	cr_assert(sl_log_clean_begin(&c, q->log, 300, FX_WALL_MS) == 0);
	/* As dirty as can be, and still it waits until the first is through. */
	cr_assert(cleaner_turn(cleaner));
	cleaner_submit(other, c, UINT32_MAX);
	cr_expect(!cleaner_turn(cleaner), "the first one's lane is to swap");
	cr_expect(cleaner_reap(other, &result) == NULL);
	while (fx->ctx.cleaning.busy) {
		cr_expect(cleaner_reap(other, &result) == NULL);
		cr_assert(cleaning_poll(&fx->ctx) > 0);
		if (fx->ctx.cleaning.busy)
			cr_assert(cleaner_turn(cleaner));
	}
	cr_assert(cleaner_turn(cleaner));
	while (cleaner_reap(other, &result) == c && result == 1) {
		sl_log_clean_swap(q->log, c);
		cleaner_submit(other, c, 0);
		cr_assert(cleaner_turn(cleaner));
	}
	cr_expect(result == 0);
	sl_log_clean_end(q->log, c, result);
}

/* One byte a second: only an end that interrupts the sleep comes in time. */
Test(cleaning, end_of_the_lane_interrupts_a_cleaner_that_waits_for_its_bandwidth)
{
	const struct topic_config config = compacted();
	struct partition *p = make_partition("a", &config);
	cpu_set_t cpus;

	cleaner_destroy(cleaner);
	make_cleaner(1);
	CPU_ZERO(&cpus);
	for (int i = 0; i < CPU_SETSIZE; i++)
		CPU_SET(i, &cpus);
	cr_assert(cleaner_start(cleaner, &cpus) == 0);
	put(p, 300);
	while (!fx->ctx.cleaning.busy)
		cr_assert(cleaning_poll(&fx->ctx) > 0);
	cleaning_stop(&fx->ctx);
	cr_expect(!fx->ctx.cleaning.busy && p->refs == 1);
	cr_expect(fx_stat(fx, SL_STAT_clean_cancelled) == 1);
}

Test(cleaning, a_thread_compacts_what_the_lane_gives_it)
{
	const struct topic_config config = compacted();
	struct partition *p = make_partition("a", &config);
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	for (int i = 0; i < CPU_SETSIZE; i++)
		CPU_SET(i, &cpus);
	cr_assert(cleaner_start(cleaner, &cpus) == 0);
	put(p, 300);
	cr_assert(cleaning_poll(&fx->ctx) > 0);
	while (fx->ctx.cleaning.busy) {
		fx_wait(fx);
		(void)cleaning_poll(&fx->ctx);
	}
	cr_expect(fx_stat(fx, SL_STAT_cleanings) == 1);
}
