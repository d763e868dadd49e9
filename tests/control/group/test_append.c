/* SPDX-License-Identifier: Apache-2.0 */
/* Batches on their way to the log: what happens while one is being built. */
#include <criterion/criterion.h>
#include <signal.h>

#include "coord.h"
#include "sim.h"

static struct group *find(struct sim *s)
{
	struct sim_pair pair;
	struct group *g;

	sim_make_single(s, "g", &pair);
	g = state_find(s->c, sl_str_from("g"));
	cr_assert_not_null(g);
	return g;
}

static struct sl_bytes action_bytes(const struct group_coord *c, uint32_t index)
{
	return (struct sl_bytes){c->out.p + c->actions_pos[index], c->actions[index].bytes.len};
}

Test(group_append, an_answer_does_not_end_up_in_the_open_batch)
{
	const struct reply_to to = {.handle = 9, .api_key = SL_API_HEARTBEAT, .version = 4};
	struct sl_heartbeat_resp resp;
	struct append_writer w;
	struct sl_batch_head h;
	struct group_event done = {.type = GROUP_EV_APPENDED};
	struct group_actions actions;
	struct sl_bytes batch;
	struct group *g;
	struct op *op;
	struct sim s;
	uint32_t first;

	sim_init(&s);
	g = find(&s);
	first = s.c->actions_count;
	op = append_op_create(OP_PLAIN);
	cr_assert_not_null(op);
	sl_heartbeat_resp_init(&resp);
	append_begin(&w, s.c, g->shard, op);
	append_group(&w, g, RECORDS_CURRENT);
	reply_send(s.c, &to, &resp);
	append_group(&w, g, RECORDS_CURRENT);
	append_end(&w);
	append_op_release(s.c, op);

	cr_assert_eq(s.c->actions_count, first + 2);
	cr_assert_eq(s.c->actions[first].type, GROUP_ACT_RESPOND);
	cr_assert_eq(s.c->actions[first + 1].type, GROUP_ACT_APPEND);
	batch = action_bytes(s.c, first + 1);
	cr_assert_eq(sl_batch_peek(batch.p, (size_t)batch.len, &h), 0);
	cr_assert_eq(sl_batch_bytes(&h), (size_t)batch.len);
	cr_assert(sl_batch_check_crc(batch.p, &h));
	cr_assert_eq(h.records_count, 2);
	done.cookie = s.c->actions[first + 1].cookie;
	done.now_ms = s.now_ms;
	group_step(s.c, &done, &actions);
	cr_assert_eq(g->in_flight, 0);
	sim_fini(&s);
}

Test(group_append, one_batch_is_open_at_a_time, .signal = SIGABRT)
{
	struct append_writer w[2];
	struct group *g;
	struct op *op;
	struct sim s;

	sim_init(&s);
	g = find(&s);
	op = append_op_create(OP_PLAIN);
	cr_assert_not_null(op);
	for (int i = 0; i < 2; i++) {
		append_begin(&w[i], s.c, g->shard, op);
		append_group(&w[i], g, RECORDS_CURRENT);
	}
}
