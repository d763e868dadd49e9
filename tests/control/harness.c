/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sluice/base/clock.h"
#include "sluice/base/log.h"
#include "sluice/wire/create_topics_gen.h"

#define WAIT_MS 10000

static int64_t clock_mono(void *arg)
{
	return sl_mono_ms() + ((struct harness *)arg)->shift_ms;
}

static int64_t clock_wall(void *arg)
{
	return sl_wall_ms() + ((struct harness *)arg)->shift_ms;
}

void harness_set(struct harness *h, const char *key, const char *value)
{
	char error[SL_CONF_ERROR_MAX];

	cr_assert_eq(sl_conf_set(&h->conf, key, value, error), 0, "%s", error);
}

void harness_prepare(struct harness *h, uint32_t lanes)
{
	char error[SL_CONF_ERROR_MAX];

	*h = (struct harness){0};
	sl_log_init("test", SL_LOG_ERR);
	snprintf(h->dir, sizeof(h->dir), "/tmp/sluice-control-XXXXXX");
	cr_assert(mkdtemp(h->dir));
	cr_assert_eq(sl_conf_load(&h->conf, NULL, error), 0, "%s", error);
	harness_set(h, "group.initial.rebalance.delay.ms", "0");
	harness_set(h, "advertised.host", "broker.test");
	cr_assert_eq(sl_arena_create(&h->arena, 256 << 20), 0);
	h->fake = fake_create(h->dir);
	fake_start(h->fake, lanes);
}

void harness_start_control(struct harness *h)
{
	struct loop_clock clock = {clock_mono, clock_wall, h};
	char error[CONTROL_ERROR_MAX];
	struct control_opts opts = {.conf = &h->conf, .data_dir = h->dir};

	cr_assert_eq(loop_create(&h->loop, &clock), 0);
	opts.loop = h->loop;
	cr_assert_eq(control_create(&h->control, &opts, error), 0, "%s", error);
}

void harness_stop_control(struct harness *h)
{
	control_destroy(h->control);
	loop_destroy(h->loop);
	h->control = NULL;
	h->loop = NULL;
}

void harness_init(struct harness *h, uint32_t lanes)
{
	harness_prepare(h, lanes);
	harness_start_control(h);
	harness_until_served(h);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void harness_fini(struct harness *h)
{
	if (h->control)
		harness_stop_control(h);
	fake_destroy(h->fake);
	sl_conf_fini(&h->conf);
	sl_arena_destroy(&h->arena);
	free(h->answer.p);
	(void)nftw(h->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void harness_until(struct harness *h, harness_cond *cond, void *arg, const char *what)
{
	int64_t end_ms = sl_mono_ms() + WAIT_MS;

	while (!cond(h, arg)) {
		cr_assert_lt(sl_mono_ms(), end_ms, "waited in vain: %s", what);
		cr_assert_geq(loop_poll(h->loop, 2), 0);
	}
}

static bool is_served(struct harness *h, void *arg)
{
	(void)arg;
	return publish_is_served(h->control->publish);
}

void harness_until_served(struct harness *h)
{
	harness_until(h, is_served, NULL, "image served");
}

static bool is_lost(struct harness *h, void *arg)
{
	(void)arg;
	return !link_is_up(h->control->link);
}

void harness_restart_fake(struct harness *h, uint32_t lanes)
{
	fake_stop(h->fake);
	if (h->control)
		harness_until(h, is_lost, NULL, "link lost");
	fake_start(h->fake, lanes);
	if (h->control)
		harness_until_served(h);
}

void harness_spin(struct harness *h, int rounds)
{
	while (rounds-- > 0)
		cr_assert_geq(loop_poll(h->loop, 2), 0);
}

void harness_advance(struct harness *h, int64_t ms)
{
	h->shift_ms += ms;
	harness_spin(h, 3);
}

uint64_t harness_send_frame(struct harness *h, uint32_t lane, const void *frame, size_t len)
{
	fake_request(h->fake, lane, ++h->seq, frame, len);
	return h->seq;
}

struct wait {
	uint64_t seq;
};

static bool has_answer(struct harness *h, void *arg)
{
	struct wait *w = arg;

	return fake_take_answer(h->fake, w->seq, &h->answer);
}

void harness_wait(struct harness *h, uint64_t seq)
{
	struct wait w = {seq};

	free(h->answer.p);
	h->answer = (struct fake_answer){0};
	harness_until(h, has_answer, &w, "answer");
}

uint64_t harness_send(struct harness *h, uint32_t lane, enum sl_api_key key, int16_t version,
                      harness_encode *encode, const void *req)
{
	struct sl_request_head head = {(int16_t)key, version, 4711, sl_str_from("tester")};
	const struct sl_api *api = sl_api_find((int16_t)key);
	struct sl_buf b;
	uint64_t seq;

	sl_buf_init_grow(&b, 8 << 20);
	sl_request_head_encode(&b, api, &head);
	encode(req, &b, version);
	cr_assert(sl_buf_ok(&b));
	seq = harness_send_frame(h, lane, b.p, b.len);
	sl_buf_fini(&b);
	return seq;
}

void harness_decode_answer(struct harness *h, enum sl_api_key key, int16_t version,
                           harness_decode *decode, void *resp)
{
	const struct sl_api *api = sl_api_find((int16_t)key);
	struct sl_cursor c = sl_cursor_from(h->answer.p, h->answer.len);
	int32_t correlation_id;

	cr_assert_not(h->answer.is_close, "the connection was closed");
	cr_assert_eq(sl_response_head_decode(&c, api, version, &correlation_id), 0);
	cr_assert_eq(correlation_id, 4711);
	sl_arena_reset(&h->arena);
	cr_assert_eq(decode(resp, &c, &h->arena, version), 0);
	cr_assert(sl_cursor_is_done(&c), "bytes behind the answer");
}

void harness_create_topic(struct harness *h, const char *name, int32_t partitions)
{
	struct sl_create_topics_req_topic topic;
	struct sl_create_topics_req req;
	struct sl_create_topics_resp resp;

	sl_create_topics_req_init(&req);
	sl_create_topics_req_topic_init(&topic);
	topic.name = sl_str_from(name);
	topic.num_partitions = partitions;
	topic.replication_factor = -1;
	req.topics = &topic;
	req.topics_count = 1;
	CALL(h, create_topics, CREATE_TOPICS, 7, &req, &resp);
	cr_assert_eq(resp.topics_count, 1);
	cr_assert_eq(resp.topics[0].error_code, 0, "%.*s",
	             SL_STR_ARG(resp.topics[0].error_message));
}

const char *harness_image_config(struct harness *h, const char *topic, const char *name)
{
	static char value[256];
	struct fake_topic t;
	size_t len = strlen(name);

	value[0] = '\0';
	cr_assert(fake_topic(h->fake, topic, &t), "no topic %s", topic);
	for (char *line = t.configs; line && *line; line = strchr(line, '\n') + 1) {
		if (strncmp(line, name, len) == 0 && line[len] == '=')
			snprintf(value, sizeof(value), "%.*s", (int)strcspn(line + len + 1, "\n"),
			         line + len + 1);
	}
	free(t.configs);
	return value;
}
