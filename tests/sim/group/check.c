/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must hold: at every step nothing is read by two members and nothing is held by two; after a
 * restart epochs and committed offsets are at least what clients were told; in the end, when
 * everything is calm, every live client reads its target and all of it is read.
 */
#include "sluice/wire/consumer_group_heartbeat_gen.h"
#include "sluice/wire/offset_commit_gen.h"

#include "world.h"

/* Is the client one that the coordinator counts on?  One that was removed, and does not know it
 * yet, may read on. */
static bool is_member(const struct world *w, const struct client *c)
{
	const struct group *g = world_group(w);
	struct sl_str id = sl_str_from(c->id);
	const struct cmember *m;

	if (!c->is_alive || !c->id[0] || !g)
		return false;
	if (!g->consumer)
		return member_find(g, id) != NULL;
	m = consumer_find(g->consumer, id);
	return m && (c->epoch == m->epoch || c->epoch == m->epoch_before);
}

static void check_readers(struct world *w)
{
	bool is_in[CLIENTS];

	for (int8_t i = 0; i < CLIENTS; i++)
		is_in[i] = is_member(w, &w->clients[i]);
	for (int8_t i = 0; i < CLIENTS; i++) {
		for (int8_t k = (int8_t)(i + 1); k < CLIENTS; k++) {
			const struct client *a = &w->clients[i];
			const struct client *b = &w->clients[k];

			if (!is_in[i] || !is_in[k])
				continue;
			for (int32_t t = 0; t < TOPICS; t++) {
				if (w->topics[t].partitions > 0 && (a->owned[t] & b->owned[t]) &&
				    a->owned_of[t] == b->owned_of[t])
					world_fail(w, "clients %d and %d both read %x of topic %d",
					           i, k, a->owned[t] & b->owned[t], t);
			}
		}
	}
}

static void check_holders(struct world *w, const struct cgroup *cg)
{
	uint32_t held = 0;

	for (uint32_t i = 0; i < cg->members_count; i++) {
		const struct cmember *m = cg->members[i];

		held += m->assigned.count + m->revoking.count;
		for (uint32_t k = 0; k < m->assigned.count; k++) {
			if (consumer_owner(cg, &m->assigned.list[k]) != m)
				world_fail(w, "a partition of %.*s is another one's",
				           SL_STR_ARG(m->id));
		}
		if (m->epoch > cg->epoch)
			world_fail(w, "a member is ahead of its group");
	}
	if (held != cg->owners.count)
		world_fail(w, "%u partitions are held, %u have owners", held, cg->owners.count);
	if (cg->target_epoch > cg->epoch)
		world_fail(w, "the target is ahead of its group");
}

void check_step(struct world *w)
{
	const struct group *g = world_group(w);

	check_readers(w);
	if (g && g->consumer)
		check_holders(w, g->consumer);
	if (!g || !g->consumer || g->consumer->members_count == 0) {
		w->told_epoch = 0;
		return;
	}
	for (int8_t i = 0; i < CLIENTS; i++) {
		/* A generation of a classic group is told before it is on the log. */
		if (!w->clients[i].is_classic && is_member(w, &w->clients[i]))
			w->told_epoch = SL_MAX(w->told_epoch, w->clients[i].epoch);
	}
}

bool check_is_stale(const struct world *w, const struct commit_info *k)
{
	const struct group *g = world_group(w);
	const struct cmember *m;

	if (!g)
		return true;
	if (!g->consumer)
		return !member_find(g, sl_str_from(k->id)) || g->generation != k->epoch;
	m = consumer_find(g->consumer, sl_str_from(k->id));
	if (!m || m->epoch == k->epoch)
		return !m;
	/* It still has all that it had before. */
	return m->classic || m->state != CMEMBER_UNREVOKED || m->epoch_before != k->epoch;
}

void check_commit_answer(struct world *w, const struct sent *s, struct sl_bytes bytes)
{
	struct sl_cursor cur = sl_cursor_from(bytes.p, (size_t)bytes.len);
	struct commit_info *k = &w->commits[s->commit];
	struct sl_offset_commit_resp m;
	int32_t correlation_id;

	sl_arena_reset(&w->arena);
	if (sl_response_head_decode(&cur, sl_api_find(s->api), s->version, &correlation_id) ||
	    sl_offset_commit_resp_decode(&m, &cur, &w->arena, s->version)) {
		world_fail(w, "the answer to a commit cannot be read");
		return;
	}
	if (m.topics[0].partitions[0].error_code != SL_KERR_NONE)
		return;
	if (s->is_stale_commit)
		world_fail(w, "a commit of an epoch that is over was taken");
	/* The topic may be another one by now, whose offsets begin anew. */
	if (w->topics[k->topic].partitions == 0 ||
	    w->topics[k->topic].incarnation != k->incarnation)
		return;
	if (w->acked[k->topic][k->partition] >= 0)
		w->commits[w->acked[k->topic][k->partition]].state = COMMIT_OLD;
	w->acked[k->topic][k->partition] = s->commit;
	k->state = COMMIT_ACKED;
}

static int64_t committed(const struct world *w, int32_t t, int32_t p)
{
	const struct group *g = world_group(w);
	const struct offset *o = g ? offsets_find(g, client_topic_name(t), p) : NULL;

	return o && o->committed ? o->committed->offset : -1;
}

static void check_commits(struct world *w)
{
	for (int32_t t = 0; t < TOPICS; t++) {
		for (int32_t p = 0; p < w->topics[t].partitions; p++) {
			int64_t offset = committed(w, t, p);

			if (offset < 0 && w->acked[t][p] >= 0)
				world_fail(w, "offset %d of topic %d, partition %d is lost",
				           w->acked[t][p], t, p);
			if (offset >= 0 && w->commits[offset].state == COMMIT_OLD)
				world_fail(w, "topic %d, partition %d went back from %d to %lld", t,
				           p, w->acked[t][p], (long long)offset);
		}
	}
}

void check_loaded(struct world *w)
{
	const struct group *g = world_group(w);

	check_commits(w);
	if (g && g->consumer && g->consumer->members_count > 0 &&
	    g->consumer->epoch < w->told_epoch)
		world_fail(w, "the group's epoch went from %d back to %d", w->told_epoch,
		           g->consumer->epoch);
}

static void check_client_end(struct world *w, int8_t index, const struct group *g)
{
	const struct client *c = &w->clients[index];
	const struct cmember *m;
	uint32_t held[TOPICS] = {0};

	if (!is_member(w, c)) {
		world_fail(w, "client %d is no member in the end (epoch %d)", index, c->epoch);
		return;
	}
	if (!g->consumer)
		return;
	m = consumer_find(g->consumer, sl_str_from(c->id));
	if (!parts_eq(&m->assigned, &m->target) || m->state != CMEMBER_STABLE ||
	    m->epoch != g->consumer->epoch)
		world_fail(w, "client %d has not its target in the end: state %d, epoch %d of %d",
		           index, m->state, m->epoch, g->consumer->epoch);
	for (uint32_t i = 0; i < m->assigned.count; i++) {
		int32_t t = world_topic(w, &m->assigned.list[i].topic);

		if (t >= 0)
			held[t] |= 1u << m->assigned.list[i].partition;
	}
	if (memcmp(held, c->owned, sizeof(held)) != 0)
		world_fail(w, "client %d does not read what it has in the end", index);
}

/* Has the partition replicas in racks, and none in that of the member? */
static bool is_miss(const struct world *w, const struct cmember *m, const struct part *what)
{
	int32_t t = world_topic(w, &what->topic);
	uint8_t racks = t < 0 ? 0 : w->topics[t].racks[what->partition];

	for (uint8_t r = 0; r < RACKS; r++) {
		if ((racks >> r) & 1 && sl_str_eq(m->rack_id, world_rack(r)))
			return false;
	}
	return racks != 0;
}

/* A rack without members counts for nothing. */
static bool is_far(const struct world *w, const struct cgroup *cg, const struct cmember *m,
                   const struct part *what)
{
	if (!is_miss(w, m, what))
		return false;
	for (uint32_t i = 0; i < cg->members_count; i++) {
		if (!is_miss(w, cg->members[i], what))
			return true;
	}
	return false;
}

static bool has_sub(const struct cmember *m, const struct world *w, const struct part *what)
{
	int32_t t = world_topic(w, &what->topic);

	for (uint32_t i = 0; i < m->subs_count; i++) {
		if (t >= 0 && sl_str_eq(m->subs[i]->name, client_topic_name(t)))
			return true;
	}
	return false;
}

/* Nobody has fewer after an exchange, so one that saves a miss is owed. */
static void check_exchanges(struct world *w, const struct cgroup *cg, const struct cmember *a,
                            const struct cmember *b)
{
	for (uint32_t i = 0; i < a->target.count; i++) {
		for (uint32_t k = 0; k < b->target.count; k++) {
			const struct part *p = &a->target.list[i];
			const struct part *q = &b->target.list[k];

			if (has_sub(b, w, p) && has_sub(a, w, q) &&
			    is_far(w, cg, b, p) + is_far(w, cg, a, q) <
			            is_far(w, cg, a, p) + is_far(w, cg, b, q))
				world_fail(w, "two members had better exchange two partitions");
		}
	}
}

static void check_near(struct world *w, const struct cgroup *cg)
{
	for (uint32_t i = 0; i < cg->members_count; i++) {
		for (uint32_t k = 0; k < i; k++)
			check_exchanges(w, cg, cg->members[i], cg->members[k]);
	}
}

void check_end(struct world *w)
{
	const struct group *g = world_group(w);
	uint32_t members = 0;

	for (int8_t i = 0; i < CLIENTS && !w->failure; i++) {
		if (!w->clients[i].is_alive)
			continue;
		members++;
		if (!g)
			world_fail(w, "the group is gone");
		else
			check_client_end(w, i, g);
	}
	if (g && g->consumer && !w->failure)
		check_near(w, g->consumer);
	if (g && !w->failure &&
	    members != (g->consumer ? g->consumer->members_count : g->members_by_id.count))
		world_fail(w, "the group has other members than there are clients");
	for (int32_t t = 0; t < TOPICS && !w->failure; t++) {
		bool is_wanted = false;
		uint32_t all = 0;

		for (int8_t i = 0; i < CLIENTS; i++) {
			if (!w->clients[i].is_alive)
				continue;
			is_wanted |= client_reads(w, &w->clients[i], t);
			all |= w->clients[i].owned[t];
		}
		if (all != (is_wanted ? (1u << w->topics[t].partitions) - 1 : 0))
			world_fail(w, "of topic %d %x is read in the end", t, all);
	}
	check_commits(w);
}
