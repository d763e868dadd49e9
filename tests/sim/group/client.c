/* SPDX-License-Identifier: Apache-2.0 */
/* What clients of both kinds have in common: starting, ending, committing, waiting. */
#include <stdio.h>

#include "sluice/wire/offset_commit_gen.h"

#include "world.h"

#define COMMIT_VERSION 9

void client_drop(struct client *c)
{
	memset(c->owned, 0, sizeof(c->owned));
	c->target = 0;
	c->has_told = false;
}

/* Nothing is read of a topic that is gone. */
void client_forget_gone(struct world *w, struct client *c)
{
	for (int32_t t = 0; t < TOPICS; t++) {
		if (w->topics[t].partitions == 0 || c->owned_of[t] != w->topics[t].incarnation)
			c->owned[t] = 0;
		if (w->topics[t].partitions == 0 || c->told_of[t] != w->topics[t].incarnation)
			c->told[t] = 0;
	}
}

bool client_reads(const struct world *w, const struct client *c, int32_t topic)
{
	(void)w;
	/* The expression of those that have one is t[01]. */
	return c->is_regex ? topic <= 1 : (c->topics >> topic) & 1;
}

void client_start(struct world *w, int8_t index, bool is_classic)
{
	struct client *c = &w->clients[index];
	char instance[16] = "";

	/* A classic group goes on without static members that do not join in time; what they were
	 * given last, its leader does not know.  That protocol has no answer to it. */
	if (!is_classic && world_below(w, 4) == 0)
		snprintf(instance, sizeof(instance), "i%d", index);
	sl_buf_fini(&c->plan);
	*c = (struct client){
		.is_alive = true,
		.is_classic = is_classic,
		.is_regex = !is_classic && world_below(w, 4) == 0,
		.is_slow = world_below(w, 12) == 0,
		.rack = (uint8_t)world_below(w, RACKS + 1),
		.topics = (uint8_t)(world_below(w, 3) == 0 ? 1 + world_below(w, 15) : 3),
		.is_full = true,
		.next_ms = w->now_ms + world_below(w, 1000),
	};
	sl_buf_init_grow(&c->plan, 1u << 20);
	snprintf(c->instance, sizeof(c->instance), "%s", instance);
	if (!is_classic)
		snprintf(c->id, sizeof(c->id), "m%d-%llu", index, (unsigned long long)w->id_next++);
	world_trace(w, "client %d starts %s%s%s topics %x", index,
	            is_classic ? "classic" : "consumer", instance[0] ? " static" : "",
	            c->is_regex ? " regex" : "", c->topics);
}

void client_crash(struct world *w, int8_t index)
{
	world_trace(w, "client %d dies", index);
	client_give_up(w, index);
	w->clients[index].is_alive = false;
	client_drop(&w->clients[index]);
}

void client_leave(struct world *w, int8_t index)
{
	struct client *c = &w->clients[index];

	world_trace(w, "client %d leaves", index);
	client_give_up(w, index);
	client_drop(c);
	if (c->is_classic)
		classic_client_leave(w, index);
	else
		consumer_client_leave(w, index);
	c->is_alive = false;
}

void client_wait(struct world *w, int8_t index, uint64_t handle)
{
	bool is_held = w->sent[handle].api == SL_API_JOIN_GROUP && !w->sent[handle].is_lost;

	w->clients[index].waits_for = handle;
	/* A join is held until all others have joined. */
	w->clients[index].waits_until = w->now_ms + w->times.request_ms +
	                                (is_held ? 2 * w->times.rebalance_ms : 0);
}

/* The connection is closed; the coordinator learns it if it holds the request. */
void client_give_up(struct world *w, int8_t index)
{
	struct client *c = &w->clients[index];
	struct sent *s = &w->sent[c->waits_for];

	if (c->waits_for == 0)
		return;
	c->waits_for = 0;
	c->is_full = true;
	s->client = -1;
	if (s->state == REQUEST_HELD && !w->failure) {
		struct group_event ev = {.type = GROUP_EV_CANCEL,
		                         .handle = (uint64_t)(s - w->sent)};

		s->state = REQUEST_DONE;
		world_step(w, &ev);
	}
}

static void commit(struct world *w, int8_t index)
{
	struct client *c = &w->clients[index];
	int32_t t = (int32_t)world_below(w, TOPICS);
	int32_t p = (int32_t)world_below(w, PARTS);
	struct sl_offset_commit_req_topic_partition partition;
	struct sl_offset_commit_req_topic topic;
	struct sl_offset_commit_req m;
	struct sl_buf b;

	if (!((c->owned[t] >> p) & 1) || w->commits_count == COMMITS_MAX)
		return;
	w->commits[w->commits_count] = (struct commit_info){.topic = (uint8_t)t,
	                                                    .partition = (uint8_t)p,
	                                                    .incarnation = w->topics[t].incarnation,
	                                                    .epoch = c->epoch};
	memcpy(w->commits[w->commits_count].id, c->id, sizeof(c->id));
	sl_offset_commit_req_init(&m);
	sl_offset_commit_req_topic_init(&topic);
	sl_offset_commit_req_topic_partition_init(&partition);
	partition.partition_index = p;
	partition.committed_offset = w->commits_count;
	partition.committed_metadata = sl_str_from("");
	topic.name = client_topic_name(t);
	topic.partitions = &partition;
	topic.partitions_count = 1;
	m.group_id = sl_str_from(GROUP);
	m.member_id = sl_str_from(c->id);
	m.group_instance_id = c->instance[0] ? sl_str_from(c->instance) : SL_STR_NULL;
	m.generation_id_or_member_epoch = c->epoch;
	m.topics = &topic;
	m.topics_count = 1;
	sl_buf_init_grow(&b, 1u << 16);
	sl_offset_commit_req_encode(&m, &b, COMMIT_VERSION);
	(void)world_send(w, -1, SL_API_OFFSET_COMMIT, COMMIT_VERSION, &b, w->commits_count++);
	sl_buf_fini(&b);
}

void client_run(struct world *w, int8_t index)
{
	struct client *c = &w->clients[index];

	if (!c->is_alive)
		return;
	client_forget_gone(w, c);
	if (c->waits_for && c->waits_until <= w->now_ms) {
		world_trace(w, "client %d gives up waiting", index);
		client_give_up(w, index);
		c->next_ms = w->now_ms;
	}
	if (w->has_commits && c->epoch > 0 && world_below(w, 8) == 0)
		commit(w, index);
	if (c->is_classic)
		classic_client_run(w, index);
	else
		consumer_client_run(w, index);
}

void client_hold(struct world *w, int8_t index)
{
	struct client *c = &w->clients[index];

	c->apply_ms = SL_MAX(c->apply_ms, w->now_ms + 1);
	/* An eager member gives everything up when it joins. */
	if (c->is_classic && w->is_eager && c->phase == PHASE_JOIN)
		c->next_ms = SL_MAX(c->next_ms, w->now_ms + 1);
}

void client_answer(struct world *w, int8_t index, int16_t api, int16_t version, struct sl_cursor *c)
{
	if (w->clients[index].is_classic)
		classic_client_answer(w, index, api, version, c);
	else
		consumer_client_answer(w, index, version, c);
}

/* A consumer that may not join the group that there is would ask for ever. */
void client_end_hopeless(struct world *w)
{
	const struct group *g = world_group(w);

	if (w->opts.migration == GROUP_MIGRATE_BOTH || w->opts.migration == GROUP_MIGRATE_UPGRADE)
		return;
	for (int8_t i = 0; i < CLIENTS; i++) {
		if (w->clients[i].is_alive && !w->clients[i].is_classic && g && !g->consumer &&
		    g->members_by_id.count > 0)
			client_crash(w, i);
	}
}
