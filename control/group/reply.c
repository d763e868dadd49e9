/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers and the list of actions of a step.
 *
 * Relies on: at most one request arrives in a step, so the list needs room for one answer more than
 * there are held requests and markers on their way.  That room is made when a request is held, so
 * that answering cannot fail for want of it.
 */
#include "coord.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

/* Room kept free for the answer of this step's request. */
#define ACTIONS_SPARE 8u

/* Room for @n more actions beside the answers that may come. */
static bool make_room(struct group_coord *c, uint32_t n)
{
	uint32_t need = c->actions_count + c->parked.count + c->marks_count + ACTIONS_SPARE + n;
	uint32_t cap = c->actions_cap ? c->actions_cap : 64;
	struct group_action *actions;
	size_t *pos;

	if (need <= c->actions_cap)
		return true;
	while (cap < need)
		cap *= 2;
	actions = realloc(c->actions, cap * sizeof(*actions));
	if (!actions)
		return false;
	c->actions = actions;
	pos = realloc(c->actions_pos, cap * sizeof(*pos));
	if (!pos)
		return false;
	c->actions_pos = pos;
	c->actions_cap = cap;
	return true;
}

bool reply_has_room(struct group_coord *c)
{
	return make_room(c, 1);
}

static struct group_action *push(struct group_coord *c, size_t pos)
{
	struct group_action *a = &c->actions[c->actions_count];

	SL_ASSERT(c->actions_count < c->actions_cap);
	*a = (struct group_action){.bytes = {NULL, (int32_t)(c->out.len - pos)}};
	c->actions_pos[c->actions_count++] = pos;
	return a;
}

void reply_append(struct group_coord *c, const struct shard *shard, uint64_t cookie, size_t pos)
{
	struct group_action *a = push(c, pos);

	a->type = GROUP_ACT_APPEND;
	a->partition = shard->partition;
	a->cookie = cookie;
	coord_count(c, COUNT_appends);
}

void reply_marked(struct group_coord *c, uint64_t handle, enum sl_kerr kerr)
{
	struct group_action *a = push(c, c->out.len);

	a->type = GROUP_ACT_MARKED;
	a->handle = handle;
	a->kerr = kerr;
}

void reply_close(struct group_coord *c, const struct reply_to *to, enum coord_counter why)
{
	struct group_action *a = push(c, c->out.len);

	a->type = GROUP_ACT_CLOSE;
	a->handle = to->handle;
	coord_count(c, why);
}

void reply_encode(struct sl_buf *b, const struct reply_to *to, const void *m)
{
	sl_response_encode(b, sl_api_find(to->api_key), to->version, to->correlation_id, m);
}

void reply_send(struct group_coord *c, const struct reply_to *to, const void *m)
{
	size_t pos = c->out.len;
	struct group_action *a;

	reply_encode(&c->out, to, m);
	if (!sl_buf_ok(&c->out)) {
		/* One answer that does not fit must not spoil the others of this step. */
		sl_buf_rewind(&c->out, pos);
		reply_close(c, to, COUNT_closed_too_large);
		return;
	}
	a = push(c, pos);
	a->type = GROUP_ACT_RESPOND;
	a->handle = to->handle;
	coord_count(c, COUNT_answers);
}

struct parked *reply_park(struct group_coord *c, const struct reply_to *to)
{
	struct parked *p;

	if (c->parked.count >= LIMIT_PARKED) {
		coord_count(c, COUNT_refused_parked_full);
		return NULL;
	}
	p = malloc(sizeof(*p));
	if (!p || !make_room(c, 1))
		goto err_free;
	*p = (struct parked){.to = *to, .seq = c->parked_next++};
	if (sl_map_put(&c->parked, &p->to.handle, sizeof(p->to.handle), p))
		goto err_free;
	return p;
err_free:
	free(p);
	coord_count(c, COUNT_refused_no_memory);
	return NULL;
}

void reply_forget(struct group_coord *c, struct parked *p)
{
	if (!p->is_gone)
		sl_map_del(&c->parked, &p->to.handle, sizeof(p->to.handle));
	free(p);
}

void reply_unpark(struct group_coord *c, struct parked *p, const void *m)
{
	struct reply_to to = p->to;
	bool is_gone = p->is_gone;

	reply_forget(c, p);
	if (is_gone)
		coord_count(c, COUNT_answers_dropped);
	else
		reply_send(c, &to, m);
}

void reply_unpark_bytes(struct group_coord *c, struct parked *p, struct sl_bytes bytes)
{
	struct reply_to to = p->to;
	bool is_gone = p->is_gone;
	size_t pos = c->out.len;
	struct group_action *a;

	reply_forget(c, p);
	if (is_gone) {
		coord_count(c, COUNT_answers_dropped);
		return;
	}
	sl_buf_put(&c->out, bytes.p, (size_t)bytes.len);
	if (!sl_buf_ok(&c->out)) {
		sl_buf_rewind(&c->out, pos);
		reply_close(c, &to, COUNT_closed_too_large);
		return;
	}
	a = push(c, pos);
	a->type = GROUP_ACT_RESPOND;
	a->handle = to.handle;
	coord_count(c, COUNT_answers);
}

/*
 * The request stays held: as in Kafka a member whose connection broke still counts as having
 * joined, and its session time-out decides about it afterwards.
 */
void reply_cancel(struct group_coord *c, uint64_t handle)
{
	struct parked *p = sl_map_del(&c->parked, &handle, sizeof(handle));

	if (!p) {
		coord_count(c, COUNT_cancels_unknown);
		return;
	}
	p->is_gone = true;
	coord_count(c, COUNT_cancels);
}

/* Where versions have a null for "no protocol", they get it; the older ones get an empty name. */
void reply_join_fill(struct sl_join_group_resp *resp, enum sl_kerr kerr, struct sl_str member_id)
{
	sl_join_group_resp_init(resp);
	resp->protocol_name = SL_STR_NULL;
	resp->error_code = (int16_t)kerr;
	resp->member_id = member_id;
}

void reply_join_error(struct group_coord *c, const struct reply_to *to, enum sl_kerr kerr,
                      struct sl_str member_id)
{
	struct sl_join_group_resp resp;

	reply_join_fill(&resp, kerr, member_id);
	reply_send(c, to, &resp);
}

void reply_sync_error(struct group_coord *c, const struct reply_to *to, enum sl_kerr kerr)
{
	struct sl_sync_group_resp resp;

	sl_sync_group_resp_init(&resp);
	resp.error_code = (int16_t)kerr;
	reply_send(c, to, &resp);
}
