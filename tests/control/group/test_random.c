/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random clients against a coordinator whose log sometimes refuses, is slow, or moves away.
 * Whatever happens: every request is answered once, members of a generation get that generation's
 * assignment and no two of them the same one, and a coordinator made of the log knows what the old
 * one knew.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

#define SEEDS   80
#define STEPS   600
#define GROUPS  3
#define CLIENTS 10

enum phase {
	IDLE = 0,
	JOINING,
	JOINED,
	SYNCING,
	STABLE,
};

struct client {
	enum phase phase;
	const char *group;
	const char *instance; /* NULL: dynamic */
	char id[160];
	int32_t generation;
	uint64_t handle;
	uint64_t join_handle; /* of the generation that it joined */
};

struct world {
	struct sim s;
	struct client clients[CLIENTS];
	/* Who got an assignment: "group/generation/member" is unique by construction of the text.
	 */
	uint64_t checked_assignments;
};

static const char *const group_names[GROUPS] = {"alpha", "beta", "gamma"};

static uint64_t pick(struct world *w, uint64_t n)
{
	return sim_random(&w->s) % n;
}

static void forget(struct client *k)
{
	k->phase = IDLE;
	k->id[0] = 0;
}

static void start_join(struct world *w, struct client *k)
{
	struct sim_join j = {
		.group = k->group,
		.member = k->id,
		.instance = k->instance,
		.topics = pick(w, 4) ? "t0" : "t0,t1",
		.protocols = pick(w, 4) ? "range,rr" : "rr,range",
		.rebalance_ms = 15000,
	};

	k->handle = sim_join(&w->s, k->instance ? 9 : (int16_t)(pick(w, 2) ? 5 : 2), j);
	k->phase = JOINING;
}

static void see_join(struct world *w, struct client *k)
{
	const struct sl_join_group_resp *r;

	if (sim_state(&w->s, k->handle) != SIM_ANSWERED) {
		if (sim_state(&w->s, k->handle) != SIM_WAITING)
			forget(k);
		return;
	}
	r = sim_joined(&w->s, k->handle);
	if (r->error_code == SL_KERR_MEMBER_ID_REQUIRED) {
		snprintf(k->id, sizeof(k->id), "%.*s", SL_STR_ARG(r->member_id));
		start_join(w, k);
		return;
	}
	if (r->error_code != 0) {
		if (r->error_code != SL_KERR_REBALANCE_IN_PROGRESS)
			forget(k);
		k->phase = IDLE;
		return;
	}
	snprintf(k->id, sizeof(k->id), "%.*s", SL_STR_ARG(r->member_id));
	k->generation = r->generation_id;
	k->join_handle = k->handle;
	/* A returning leader that shall skip the assignment fetches its old one by a sync. */
	k->phase = JOINED;
}

static void start_sync(struct world *w, struct client *k)
{
	const struct sl_join_group_resp *r = sim_joined(&w->s, k->join_handle);
	char assign[4096] = "";
	size_t len = 0;

	if (!r->skip_assignment) {
		for (int32_t i = 0; i < r->members_count; i++)
			len += (size_t)snprintf(assign + len, sizeof(assign) - len, "%s%.*s=%d:%d",
			                        i ? ";" : "", SL_STR_ARG(r->members[i].member_id),
			                        r->generation_id, i);
	}
	k->handle = sim_sync(&w->s, 3, k->group, k->id, k->generation, assign);
	k->phase = SYNCING;
}

static void see_sync(struct world *w, struct client *k)
{
	const struct sl_sync_group_resp *r;
	const char *text;
	char *end;

	if (sim_state(&w->s, k->handle) != SIM_ANSWERED) {
		if (sim_state(&w->s, k->handle) != SIM_WAITING)
			forget(k);
		return;
	}
	r = sim_synced(&w->s, k->handle);
	if (r->error_code != 0) {
		if (r->error_code == SL_KERR_UNKNOWN_MEMBER_ID ||
		    r->error_code == SL_KERR_FENCED_INSTANCE_ID)
			forget(k);
		k->phase = IDLE;
		return;
	}
	text = sim_bytes_text(&w->s, r->assignment);
	if (text[0]) {
		cr_assert_eq(strtol(text, &end, 10), k->generation,
		             "member of generation %d has the assignment %s", k->generation, text);
		cr_assert_eq(*end, ':');
		w->checked_assignments++;
	}
	k->phase = STABLE;
}

static void act(struct world *w, struct client *k)
{
	struct sim_commit c = {.group = k->group,
	                       .member = k->id,
	                       .instance = k->instance,
	                       .generation = k->generation,
	                       .topic = (int32_t)pick(w, 3),
	                       .partition = (int32_t)pick(w, 4),
	                       .offset = (int64_t)pick(w, 1000)};
	int16_t err;

	switch (pick(w, 12)) {
	case 0:
		sim_leave(&w->s, 3, k->group, k->id, k->instance);
		forget(k);
		break;
	case 1:
		start_join(w, k);
		break;
	case 2: /* the client dies; a static one comes back without its id */
		forget(k);
		break;
	case 3:
	case 4:
	case 5:
		sim_commit(&w->s, 7, c);
		break;
	default:
		err = sim_heartbeat_as(&w->s, k->group, k->id, k->instance, k->generation);
		if (err == SL_KERR_REBALANCE_IN_PROGRESS)
			start_join(w, k);
		else if (err != 0)
			forget(k);
		break;
	}
}

static void run_client(struct world *w, struct client *k)
{
	switch (k->phase) {
	case IDLE:
		start_join(w, k);
		break;
	case JOINING:
		see_join(w, k);
		break;
	case JOINED:
		start_sync(w, k);
		break;
	case SYNCING:
		see_sync(w, k);
		break;
	case STABLE:
		act(w, k);
		break;
	}
}

static void administrate(struct world *w)
{
	struct sl_offset_delete_req_topic_partition p = {(int32_t)pick(w, 4)};
	struct sl_offset_delete_req_topic t = {sl_str_from("t2"), &p, 1};
	struct sl_str name = sl_str_from(group_names[pick(w, GROUPS)]);
	struct group_event gone = {.type = GROUP_EV_TOPIC_DELETED, .topic = sl_str_from("t1")};
	struct sl_offset_delete_req d;
	struct sl_delete_groups_req g;

	switch (pick(w, 4)) {
	case 0:
		sl_delete_groups_req_init(&g);
		g.groups_names = &name;
		g.groups_names_count = 1;
		sim_send(&w->s, SL_API_DELETE_GROUPS, 2, &g);
		break;
	case 1:
		sl_offset_delete_req_init(&d);
		d.group_id = name;
		d.topics = &t;
		d.topics_count = 1;
		sim_send(&w->s, SL_API_OFFSET_DELETE, 0, &d);
		break;
	case 2:
		sim_step(&w->s, &gone);
		break;
	default:
		sim_commit(&w->s, 7,
		           (struct sim_commit){.group = "simple",
		                               .generation = -1,
		                               .topic = (int32_t)pick(w, 3),
		                               .offset = (int64_t)pick(w, 1000)});
		break;
	}
}

/* The partition goes to another coordinator and comes back. */
static void move_partition(struct world *w)
{
	int32_t p = (int32_t)pick(w, SIM_PARTITIONS);

	if (pick(w, 2))
		sim_flush(&w->s, SL_KERR_NONE);
	sim_partition(&w->s, GROUP_EV_UNLOAD, p);
	/* What was still on its way is lost. */
	for (uint32_t i = w->s.queue_count; i-- > 0;) {
		if (w->s.queue[i].partition == p)
			sim_flush_one(&w->s, i, SL_KERR_NOT_LEADER_OR_FOLLOWER);
	}
	sim_partition(&w->s, GROUP_EV_LOAD_BEGIN, p);
	sim_partition(&w->s, GROUP_EV_LOAD_BATCHES, p);
	sim_partition(&w->s, GROUP_EV_LOAD_END, p);
}

static void disturb(struct world *w)
{
	uint64_t what = pick(w, 40);

	if (what < 6)
		w->s.is_holding = !w->s.is_holding;
	else if (what < 8 && w->s.queue_count > 0)
		sim_flush(&w->s, SL_KERR_NOT_ENOUGH_REPLICAS);
	else if (what == 8)
		move_partition(w);
	else if (what == 9)
		sim_advance(&w->s, SIM_CHECK_MS);
	else if (what == 10 && w->s.mails_count > 0) {
		uint64_t h = pick(w, w->s.mails_count);

		if (sim_state(&w->s, h) == SIM_WAITING)
			sim_cancel(&w->s, h);
	} else if (what < 14)
		administrate(w);
	if (!w->s.is_holding)
		sim_flush(&w->s, SL_KERR_NONE);
}

/* ---- What a coordinator knows, as text; compared before and after ---- */
static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_line(char **lines, uint32_t *n, uint32_t max, char *line)
{
	cr_assert(line);
	cr_assert_lt(*n, max);
	lines[(*n)++] = line;
}

static uint32_t dump(struct sim *s, char **lines, uint32_t max)
{
	struct group_offset_view o;
	struct group_view v;
	uint32_t pos = 0;
	uint32_t n = 0;

	while (group_next(s->c, &pos, &v)) {
		const char *name = sim_text(s, v.group_id);
		uint32_t at = 0;

		while (group_next_offset(s->c, sl_str_from(name), &at, &o))
			add_line(lines, &n, max,
			         sl_arena_printf(&s->arena, "%s offset %.*s-%d=%lld at %lld", name,
			                         SL_STR_ARG(o.topic), o.partition,
			                         (long long)o.offset, (long long)o.commit_ms));
	}
	qsort(lines, n, sizeof(*lines), compare_lines);
	return n;
}

static uint32_t dump_stable(struct sim *s, const char *name, char **lines, uint32_t max)
{
	const struct sl_describe_groups_resp_group *g = sim_describe(s, name);
	uint32_t n = 0;

	add_line(lines, &n, max,
	         sl_arena_printf(&s->arena, "%.*s %.*s %.*s", SL_STR_ARG(g->group_state),
	                         SL_STR_ARG(g->protocol_type), SL_STR_ARG(g->protocol_data)));
	for (int32_t i = 0; i < g->members_count; i++)
		add_line(lines, &n, max,
		         sl_arena_printf(&s->arena, "member %.*s instance %.*s assignment %s",
		                         SL_STR_ARG(g->members[i].member_id),
		                         SL_STR_ARG(g->members[i].group_instance_id),
		                         sim_bytes_text(s, g->members[i].member_assignment)));
	return n;
}

static void check_unique_assignments(struct sim *s, const char *name)
{
	const struct sl_describe_groups_resp_group *g = sim_describe(s, name);

	for (int32_t i = 0; i < g->members_count; i++) {
		for (int32_t k = 0; k < i; k++) {
			struct sl_bytes a = g->members[i].member_assignment;
			struct sl_bytes b = g->members[k].member_assignment;

			cr_assert(a.len == 0 || a.len != b.len ||
			                  memcmp(a.p, b.p, (size_t)a.len) != 0,
			          "two members of %s have the same assignment", name);
		}
	}
}

static void compare_with_reload(struct world *w)
{
	enum {
		MAX = 256
	};
	static char *before[MAX];
	static char *after[MAX];
	static char *stable_before[GROUPS][MAX];
	uint32_t stable_count[GROUPS] = {0};
	struct sim *s = &w->s;
	uint32_t n = dump(s, before, MAX);

	for (int i = 0; i < GROUPS; i++) {
		check_unique_assignments(s, group_names[i]);
		if (strcmp(sim_group_state(s, group_names[i]), "Stable") == 0)
			stable_count[i] = dump_stable(s, group_names[i], stable_before[i], MAX);
	}
	sim_reload(s);
	cr_assert_eq(dump(s, after, MAX), n);
	for (uint32_t i = 0; i < n; i++)
		cr_assert_str_eq(before[i], after[i]);
	for (int i = 0; i < GROUPS; i++) {
		if (stable_count[i] == 0)
			continue;
		cr_assert_eq(dump_stable(s, group_names[i], after, MAX), stable_count[i]);
		for (uint32_t k = 0; k < stable_count[i]; k++)
			cr_assert_str_eq(stable_before[i][k], after[k]);
	}
}

static void run_seed(uint64_t seed)
{
	static struct world w;
	static const char *const instances[CLIENTS] = {[1] = "i1", [4] = "i4", [7] = "i7"};

	w = (struct world){0};
	sim_init(&w.s);
	w.s.rng = seed * 7919;
	for (int i = 0; i < CLIENTS; i++)
		w.clients[i] = (struct client){.group = group_names[i % GROUPS],
		                               .instance = instances[i]};
	for (int step = 0; step < STEPS; step++) {
		run_client(&w, &w.clients[pick(&w, CLIENTS)]);
		disturb(&w);
		if (pick(&w, 3) == 0)
			sim_advance(&w.s, (int64_t)pick(&w, 3000));
	}
	w.s.is_holding = false;
	sim_flush(&w.s, SL_KERR_NONE);
	compare_with_reload(&w);
	/* Nothing is left over when the coordinator lets go. */
	for (int32_t i = 0; i < SIM_PARTITIONS; i++)
		sim_partition(&w.s, GROUP_EV_UNLOAD, i);
	for (uint32_t i = 0; i < w.s.mails_count; i++)
		cr_assert_neq(sim_state(&w.s, i), SIM_WAITING,
		              "seed %llu: request %u is unanswered", (unsigned long long)seed, i);
	cr_assert_eq(sim_counter(&w.s, "closed_too_large"), 0);
	cr_assert_eq(sim_counter(&w.s, "load_bad"), 0);
	cr_assert_gt(w.checked_assignments, 0);
	sim_fini(&w.s);
}

Test(group_random, live_state_equals_what_the_log_says)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run_seed(seed);
}
