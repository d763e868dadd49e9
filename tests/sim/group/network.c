/* SPDX-License-Identifier: Apache-2.0 */
/* Between members and coordinator: requests and answers that are late, lost or repeated. */
#include <stdlib.h>

#include "world.h"

static void add_message(struct world *w, bool is_request, uint64_t handle, int64_t due_ms,
                        struct sl_bytes bytes)
{
	struct message *m;

	if (w->messages_count == MESSAGES_MAX) {
		world_fail(w, "too many messages");
		return;
	}
	m = &w->messages[w->messages_count++];
	*m = (struct message){due_ms, is_request, handle, malloc((size_t)bytes.len + 1), bytes.len};
	memcpy(m->bytes, bytes.p, (size_t)bytes.len);
}

static int64_t delay(struct world *w)
{
	return world_below(w, w->is_loaded ? w->times.request_ms / 3 : 30);
}

void network_take(struct world *w, const struct group_action *a)
{
	struct sent *s = &w->sent[a->handle];

	if (s->state != REQUEST_HELD) {
		world_fail(w, "second answer to a request");
		return;
	}
	s->state = REQUEST_DONE;
	for (int32_t t = 0; t < TOPICS; t++)
		s->incarnations[t] = w->topics[t].incarnation;
	if (a->type == GROUP_ACT_CLOSE) {
		world_fail(w, "a request was closed");
		return;
	}
	if (s->commit >= 0)
		check_commit_answer(w, s, a->bytes);
	if (s->client < 0)
		return;
	/* It is lost with its connection, which its client sees. */
	if (world_fault(w, 20))
		w->clients[s->client].waits_until = w->now_ms + world_below(w, w->times.request_ms);
	else
		add_message(w, false, a->handle, w->now_ms + delay(w), a->bytes);
}

uint64_t world_send(struct world *w, int8_t client, int16_t api, int16_t version,
                    const struct sl_buf *body, int32_t commit)
{
	struct sl_bytes bytes = {body->p, (int32_t)body->len};
	uint64_t handle = w->handle_next++;
	int64_t due_ms = w->now_ms + delay(w);
	/* A late join of the classic protocol tells its leader what the member read long ago; that
	 * protocol has no answer to it. */
	bool is_ordered = api == SL_API_JOIN_GROUP;
	/* Joins may come very late; reports of one epoch cannot be told apart, by nobody. */
	bool is_join = client >= 0 && api == SL_API_CONSUMER_GROUP_HEARTBEAT &&
	               w->clients[client].epoch == 0;
	/* Of reports see above.  What a repetition is told nobody hears: its member may not learn
	 * what it was given, and then only the rebalance time-out frees that. */
	bool is_once = client >= 0 && api == SL_API_CONSUMER_GROUP_HEARTBEAT && !is_join &&
	               (w->clients[client].is_reporting ||
	                w->times.rebalance_ms == REBALANCE_LONG_MS);

	if (handle + 2 >= REQUESTS_MAX) {
		world_fail(w, "too many requests");
		return handle;
	}
	w->sent[handle] =
		(struct sent){.client = client, .api = api, .version = version, .commit = commit};
	if (!is_ordered && world_fault(w, 20))
		due_ms += world_below(w, 2 * w->times.request_ms);
	if (world_fault(w, 20))
		w->sent[handle].is_lost = true;
	else
		add_message(w, true, handle, due_ms, bytes);
	/* A repeated commit of the same epoch counts again; clients do not repeat them. */
	if (commit < 0 && !is_ordered && !is_once && world_fault(w, is_join ? 100 : 50)) {
		uint64_t twin = w->handle_next++;

		w->sent[twin] =
			(struct sent){.client = -1, .api = api, .version = version, .commit = -1};
		add_message(w, true, twin,
		            due_ms + world_below(w, (is_join ? 4 : 1) * w->times.request_ms),
		            bytes);
	}
	return handle;
}

static void deliver_request(struct world *w, const struct message *m)
{
	struct sent *s = &w->sent[m->handle];
	struct group_event ev = {
		.type = GROUP_EV_REQUEST,
		.handle = m->handle,
		.api_key = s->api,
		.version = s->version,
		.client_id = sl_str_from("client"),
		.client_host = sl_str_from("/127.0.0.1"),
		.body = {m->bytes, m->len},
	};

	world_trace(w, "request %llu of client %d arrives", (unsigned long long)m->handle,
	            s->client);
	s->state = REQUEST_HELD;
	if (s->commit >= 0)
		s->is_stale_commit = check_is_stale(w, &w->commits[s->commit]);
	world_step(w, &ev);
}

static void deliver_answer(struct world *w, const struct message *m)
{
	const struct sent *s = &w->sent[m->handle];
	struct sl_cursor cur = sl_cursor_from(m->bytes, (size_t)m->len);
	struct client *c;
	int32_t correlation_id;

	/* The twin of a request belongs to no client. */
	if (s->client < 0)
		return;
	c = &w->clients[s->client];
	if (!c->is_alive || c->waits_for != m->handle)
		return;
	if (sl_response_head_decode(&cur, sl_api_find(s->api), s->version, &correlation_id)) {
		world_fail(w, "the head of an answer cannot be read");
		return;
	}
	c->waits_for = 0;
	memcpy(c->incarnations, s->incarnations, sizeof(c->incarnations));
	sl_arena_reset(&w->arena);
	client_answer(w, s->client, s->api, s->version, &cur);
}

bool network_deliver(struct world *w)
{
	uint32_t first = UINT32_MAX;
	struct message m;

	for (uint32_t i = 0; i < w->messages_count; i++) {
		if (w->messages[i].due_ms <= w->now_ms &&
		    (first == UINT32_MAX || w->messages[i].due_ms < w->messages[first].due_ms))
			first = i;
	}
	if (first == UINT32_MAX)
		return false;
	m = w->messages[first];
	w->messages[first] = w->messages[--w->messages_count];
	if (m.is_request)
		deliver_request(w, &m);
	else
		deliver_answer(w, &m);
	free(m.bytes);
	return true;
}

void network_lose(struct world *w)
{
	for (uint32_t i = 0; i < w->messages_count; i++)
		free(w->messages[i].bytes);
	w->messages_count = 0;
	for (int8_t i = 0; i < CLIENTS; i++)
		client_give_up(w, i);
}
