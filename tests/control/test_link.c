/* SPDX-License-Identifier: Apache-2.0 */
/* The attachment: coming, going, and a data plane that misbehaves. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>

#include "harness.h"

static struct harness h;

static void setup(void)
{
	harness_init(&h, 2);
}

static void teardown(void)
{
	harness_fini(&h);
}

TestSuite(link, .init = setup, .fini = teardown);

struct query {
	int calls;
	int error;
	char json[64];
};

static void on_query(void *arg, int error, struct sl_str json)
{
	struct query *q = arg;

	q->calls++;
	q->error = error;
	memcpy(q->json, json.p, (size_t)SL_MIN(json.len, 63));
}

static bool is_called(struct harness *unused, void *arg)
{
	(void)unused;
	return ((struct query *)arg)->calls > 0;
}

Test(link, asks_the_host_and_the_lanes)
{
	struct query q = {0}, lane = {0};

	link_query(h.control->link, LINK_HOST, sl_str_from("{}"), on_query, &q);
	link_query(h.control->link, 1, sl_str_from("{}"), on_query, &lane);
	cr_assert_eq(q.calls, 0, "no callback from within");
	harness_until(&h, is_called, &q, "host");
	harness_until(&h, is_called, &lane, "lane");
	cr_assert_eq(q.error, 0);
	cr_assert_str_eq(q.json, "{\"lane\":-1}");
	cr_assert_eq(lane.error, -ENOENT);
}

Test(link, gives_up_a_question_nobody_answers)
{
	struct query q = {0};

	link_query(h.control->link, LINK_HOST, sl_str_from("silent"), on_query, &q);
	harness_spin(&h, 5);
	cr_assert_eq(q.calls, 0);
	harness_advance(&h, LINK_QUERY_TIMEOUT_MS + 1);
	cr_assert_eq(q.calls, 1);
	cr_assert_eq(q.error, -ETIMEDOUT);
	cr_assert_eq(h.control->counters[COUNTER_queries_timed_out], 1);
}

Test(link, fails_outstanding_questions_when_the_data_plane_dies)
{
	struct query q = {0}, late = {0};

	link_query(h.control->link, LINK_HOST, sl_str_from("silent"), on_query, &q);
	harness_spin(&h, 3);
	fake_stop(h.fake);
	harness_until(&h, is_called, &q, "error");
	cr_assert_eq(q.error, -ENOTCONN);
	link_query(h.control->link, 0, sl_str_from("{}"), on_query, &late);
	cr_assert_eq(late.calls, 0);
	harness_until(&h, is_called, &late, "error while down");
	cr_assert_eq(late.error, -ENOTCONN);
	cr_assert_null(link_shm(h.control->link));
}

Test(link, ends_a_question_once_when_it_failed_before_it_timed_out)
{
	struct query q = {0};

	fake_stop(h.fake);
	while (link_is_up(h.control->link))
		harness_spin(&h, 1);
	link_query(h.control->link, 0, sl_str_from("{}"), on_query, &q);
	/* The loop was busy elsewhere all the while: timers come before what was posted. */
	harness_advance(&h, LINK_QUERY_TIMEOUT_MS + 1);
	harness_until(&h, is_called, &q, "error while down");
	harness_spin(&h, 3);
	cr_assert_eq(q.calls, 1);
	cr_assert_eq(q.error, -ENOTCONN);
	cr_assert_eq(h.control->counters[COUNTER_queries_timed_out], 0);
}

Test(link, attaches_again_and_sends_a_full_image)
{
	uint64_t before = link_incarnation(h.control->link);

	harness_create_topic(&h, "t", 3);
	for (int i = 0; i < 5; i++) {
		harness_restart_fake(&h, 2);
		cr_assert_eq(fake_topics_count(h.fake), 1);
	}
	cr_assert_neq(link_incarnation(h.control->link), before);
	cr_assert_eq(link_attach_count(h.control->link), 6);
	cr_assert_eq(fake_full_images(h.fake), 6);
	cr_assert_eq(fake_logs_count(h.fake), 3);
}

static bool has_attached(struct harness *unused, void *arg)
{
	return link_attach_count(unused->control->link) >= *(uint64_t *)arg &&
	       publish_is_served(unused->control->publish);
}

static void expect_reattach(uint32_t channel, uint32_t type, const void *p, size_t len)
{
	uint64_t wanted = link_attach_count(h.control->link) + 1;
	uint64_t errors = h.control->counters[COUNTER_link_protocol_errors];

	fake_send_raw(h.fake, channel, type, p, len);
	harness_until(&h, has_attached, &wanted, "attached again");
	cr_assert_eq(h.control->counters[COUNTER_link_protocol_errors], errors + 1);
}

Test(link, drops_a_data_plane_that_breaks_the_rules)
{
	uint8_t bytes[256] = {0};

	expect_reattach(0, SL_IPC_REQUEST, bytes, sizeof(bytes));   /* only lanes may */
	expect_reattach(1, SL_IPC_IMAGE_ACK, bytes, sizeof(bytes)); /* only the host may */
	expect_reattach(0, SL_IPC_IMAGE_ACK, bytes, 3);
	expect_reattach(2, SL_IPC_APPEND_DONE, bytes, sizeof(struct sl_ipc_append_done) - 1);
	expect_reattach(1, SL_IPC_APPEND, bytes, sizeof(bytes)); /* only we send it */
	harness_create_topic(&h, "works", 1);
}

Test(link, counts_answers_nobody_waits_for)
{
	struct sl_ipc_append_done done = {.cookie = 123456789};

	fake_send_raw(h.fake, 1, SL_IPC_APPEND_DONE, &done, sizeof(done));
	harness_create_topic(&h, "works", 1);
	cr_assert_eq(h.control->counters[COUNTER_link_stale_answers], 1);
	cr_assert_eq(link_attach_count(h.control->link), 1);
}

Test(link, refuses_slots_that_do_not_exist)
{
	struct sl_ipc_partition p = {.slot = 1u << 30};
	struct fake_topic t;

	harness_create_topic(&h, "t", 1);
	cr_assert(fake_topic(h.fake, "t", &t));
	cr_assert_not_null(control_slot(h.control, &t.id, 0));
	p.topic_id = t.id;
	fake_send_raw(h.fake, 0, SL_IPC_PARTITION, &p, sizeof(p));
	p.slot = UINT32_MAX;
	p.error = -EIO;
	fake_send_raw(h.fake, 0, SL_IPC_PARTITION, &p, sizeof(p));
	harness_create_topic(&h, "later", 1);
	cr_assert_eq(h.control->counters[COUNTER_slots_refused], 1);
	cr_assert_eq(h.control->counters[COUNTER_partitions_failed], 1);
	cr_assert_null(control_slot(h.control, &t.id, 0));
	free(t.configs);
}

struct append {
	int calls;
	enum sl_kerr kerr;
};

static void on_append(void *arg, enum sl_kerr kerr, int64_t base_offset)
{
	struct append *a = arg;

	(void)base_offset;
	a->calls++;
	a->kerr = kerr;
}

static bool is_dropped(struct harness *unused, void *arg)
{
	(void)arg;
	return unused->control->counters[COUNTER_link_queue_overflow] > 0;
}

Test(link, waits_for_room_and_drops_a_peer_that_never_reads)
{
	static uint8_t batch[1 << 20];
	struct append a = {0};
	struct sl_uuid id = {{1}};
	uint64_t wanted = 2;

	fake_stop_reading(h.fake, true);
	for (int i = 0; i < 30; i++)
		link_append(h.control->link, 0, &id, 0,
		            (struct sl_bytes){batch, (int32_t)sizeof(batch)}, on_append, &a);
	cr_assert_gt(h.control->counters[COUNTER_link_queued], 0);
	cr_assert(link_is_up(h.control->link), "within the bound");
	fake_stop_reading(h.fake, false);
	while (a.calls < 30)
		harness_spin(&h, 1);
	cr_assert_eq(link_attach_count(h.control->link), 1, "everything went through");
	cr_assert_eq(a.kerr, SL_KERR_NOT_LEADER_OR_FOLLOWER);
	fake_stop_reading(h.fake, true);
	for (int i = 0; i < 100; i++)
		link_append(h.control->link, 0, &id, 0,
		            (struct sl_bytes){batch, (int32_t)sizeof(batch)}, on_append, &a);
	harness_until(&h, is_dropped, NULL, "dropped");
	fake_stop_reading(h.fake, false);
	harness_until(&h, has_attached, &wanted, "attached again");
	cr_assert_eq(a.calls, 130);
	cr_assert_eq(a.kerr, SL_KERR_COORDINATOR_NOT_AVAILABLE);
}

Test(link, refuses_a_batch_larger_than_any_message)
{
	size_t bytes = 9 << 20;
	uint8_t *batch = calloc(1, bytes);
	struct append a = {0};
	struct sl_uuid id = {{1}};

	link_append(h.control->link, 0, &id, 0, (struct sl_bytes){batch, (int32_t)bytes}, on_append,
	            &a);
	cr_assert_eq(a.calls, 0);
	harness_spin(&h, 2);
	cr_assert_eq(a.calls, 1);
	cr_assert_eq(a.kerr, SL_KERR_MESSAGE_TOO_LARGE);
	free(batch);
}

/* ---- Memory that outlives the data plane ---- */

static int count_fds(void)
{
	int count = 0;

	for (int fd = 3; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* What the data plane was last offered are @count tiers from @first on. */
static void expect_offered(uint32_t count, uint64_t first)
{
	uint64_t words[SL_SHM_LANES_MAX];

	cr_expect_eq(fake_offered(h.fake, words), count);
	for (uint32_t i = 0; i < count; i++)
		cr_expect_eq(words[i], first + i);
}

Test(link, keeps_the_tiers_of_a_data_plane_that_died)
{
	int before = count_fds();

	cr_expect_eq(link_held(h.control->link)->count, 0);
	expect_offered(0, 0);
	fake_use_tiers(h.fake, 2, 10);
	harness_restart_fake(&h, 2);
	expect_offered(0, 0);
	cr_expect_eq(link_held(h.control->link)->count, 2);
	cr_expect_eq(link_held(h.control->link)->tiers[1].bytes, 11);
	cr_expect_eq(count_fds(), before + 2);

	/* Others take their place; nothing else stays open. */
	fake_use_tiers(h.fake, 3, 20);
	harness_restart_fake(&h, 2);
	expect_offered(2, 10);
	cr_expect_eq(count_fds(), before + 3);

	fake_use_tiers(h.fake, 0, 0);
	harness_restart_fake(&h, 2);
	expect_offered(3, 20);
	cr_expect_eq(link_held(h.control->link)->count, 0);
	cr_expect_eq(count_fds(), before);
}

static bool is_heard(struct harness *unused, void *arg)
{
	return fake_offers(unused->fake) >= *(uint32_t *)arg;
}

Test(link, keeps_its_tiers_until_a_data_plane_has_answered)
{
	uint32_t wanted;

	fake_use_tiers(h.fake, 1, 30);
	harness_restart_fake(&h, 2);
	fake_hold_answer(h.fake, true);
	for (int i = 0; i < 3; i++) {
		wanted = fake_offers(h.fake) + 1;
		fake_stop(h.fake);
		while (link_is_up(h.control->link))
			harness_spin(&h, 1);
		fake_start(h.fake, 2);
		harness_until(&h, is_heard, &wanted, "heard");
		expect_offered(1, 30);
		/* However long that takes, nothing else waits for it. */
		harness_advance(&h, 60000);
		cr_expect_not(link_is_up(h.control->link));
	}
	cr_expect_eq(fake_offers(h.fake), wanted, "it waits, and does not ask again");
	fake_hold_answer(h.fake, false);
	harness_until_served(&h);
	cr_expect_eq(link_held(h.control->link)->tiers[0].bytes, 30);
}

Test(link, ends_while_it_waits_for_an_answer)
{
	uint32_t wanted = fake_offers(h.fake) + 1;
	int before;

	fake_stop(h.fake);
	while (link_is_up(h.control->link))
		harness_spin(&h, 1);
	fake_hold_answer(h.fake, true);
	fake_start(h.fake, 2);
	harness_until(&h, is_heard, &wanted, "heard");
	before = count_fds();
	harness_stop_control(&h);
	cr_expect_lt(count_fds(), before);
}
