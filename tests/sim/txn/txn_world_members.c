/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each producer's process has a member of the group, which tells it what to read.  The members are
 * those of tests/sim/group; here is what they mean to the producers:
 *
 * A process reads a partition from the offset that it fetched when it got the partition, or behind
 * its last transaction that it knows to be committed.  It does not give partitions up while it
 * sends the offsets of its transaction.  When it loses one before those are taken, it aborts.
 */
#include "txn_world.h"

#include "sluice/base/assert.h"

#define MEMBER_SESSION_MS 1500
#define MEMBER_TIMES      ((struct world_times){MEMBER_SESSION_MS, 150, 1200, 600})
#define STEP_MS           40
#define MEMBERS_ARENA     (8u << 20)

static void start(struct world *m, int8_t index)
{
	client_start(m, index, m->has_classic && (!m->has_consumer || world_below(m, 2) == 0));
	m->clients[index].next_ms = m->now_ms + world_below(m, 200);
	if (world_below(m, 8) != 0)
		m->clients[index].topics |= 1;
}

void members_start(struct txn_world *w, uint64_t seed, bool is_traced)
{
	static const enum group_migration policies[] = {
		GROUP_MIGRATE_BOTH, GROUP_MIGRATE_BOTH,    GROUP_MIGRATE_BOTH,
		GROUP_MIGRATE_BOTH, GROUP_MIGRATE_UPGRADE, GROUP_MIGRATE_DOWNGRADE,
		GROUP_MIGRATE_NONE};
	struct world *m = &w->members;
	struct msg step = {.kind = MSG_MEMBERS};

	m->seed = seed;
	m->rng = seed * UINT64_C(0x2545f4914f6cdd1d);
	m->is_traced = is_traced;
	m->handle_next = 1;
	m->next_tick_ms = INT64_MAX;
	memset(m->acked, 0xff, sizeof(m->acked));
	m->times = MEMBER_TIMES;
	m->topics[0].partitions = INPUTS;
	m->topics[0].incarnation = 1;
	m->opts = (struct group_opts){
		.partitions_count = GROUP_PARTS,
		.session_timeout_min_ms = 1,
		.session_timeout_max_ms = 1000000,
		.initial_rebalance_delay_ms = 50,
		.offsets_retention_ms = INT64_C(604800000),
		.offsets_retention_check_ms = 600000,
		.offset_metadata_bytes_max = 4096,
		.group_size_max = 100,
		.consumer = {m->times.session_ms, m->times.heartbeat_ms},
		.consumer_size_max = 100,
		.migration = policies[world_below(m, (int32_t)SL_ARRAY_SIZE(policies))],
		.assignors = {GROUP_ASSIGN_UNIFORM, GROUP_ASSIGN_RANGE},
		.assignors_count = 2,
	};
	world_show_topics(m, &m->opts);
	m->is_eager = world_below(m, 2) == 0;
	m->has_classic = world_below(m, 3) != 0;
	m->has_consumer = !m->has_classic || world_below(m, 4) != 0;
	SL_ASSERT(sl_arena_create(&m->arena, MEMBERS_ARENA) == 0);
	w->has_members = world_below(m, 5) != 0;
	if (!w->has_members)
		return;
	for (int8_t i = 0; i < PRODUCERS; i++) {
		if (world_below(m, 4) != 0)
			start(m, i);
	}
	push(w, &step, 1);
}

/* A process ends, or another one begins. */
static void churn(struct txn_world *w)
{
	struct world *m = &w->members;
	struct producer *k = &w->producers[world_below(m, PRODUCERS)];

	if (!m->clients[k->index].is_alive) {
		start(m, k->index);
		return;
	}
	if (world_below(m, 2) == 0) {
		client_leave(m, k->index);
	} else {
		client_crash(m, k->index);
		give_up(w, k);
	}
	/* Many come back at once, perhaps with the other protocol. */
	if (world_below(m, 3) != 0)
		start(m, k->index);
}

static bool is_sending_offsets(const struct producer *k)
{
	return k->txn && !k->is_ending && k->op == OP_COMMIT_OFFSETS;
}

static void run_member(struct txn_world *w, struct producer *k)
{
	/* It does not hear anything for so long that others get its partitions. */
	if (world_fault(&w->members, 2))
		k->stalled_until = w->now_ms + world_below(&w->members, 3 * MEMBER_SESSION_MS);
	if (k->stalled_until > w->now_ms && !w->is_healed)
		return;
	if (is_sending_offsets(k) && !w->is_healed)
		client_hold(&w->members, k->index);
	client_run(&w->members, k->index);
}

void members_go_on(struct txn_world *w)
{
	struct msg step = {.kind = MSG_MEMBERS};
	struct world *m = &w->members;

	m->now_ms = w->now_ms;
	if (world_below(m, 50) == 0 && !w->is_healed)
		churn(w);
	if (w->is_healed)
		client_end_hopeless(m);
	for (int8_t i = 0; i < PRODUCERS; i++)
		run_member(w, &w->producers[i]);
	members_look(w);
	while (!m->failure && network_deliver(m))
		continue;
	members_look(w);
	if (m->failure)
		fail(w, "%s", m->failure);
	push(w, &step, w->now_ms + 1 + world_below(m, STEP_MS));
}

static void look(struct txn_world *w, struct producer *k)
{
	const struct client *c = &w->members.clients[k->index];
	uint32_t reads = w->has_members ? c->owned[0] : 1u << (k->index % IDS);
	uint32_t lost = k->reads & ~reads;

	k->reads = reads;
	k->asked &= ~lost;
	for (int32_t p = 0; p < INPUTS; p++) {
		if ((lost >> p) & 1)
			k->position[p] = -1;
	}
	if (!k->txn || (k->txn_reads & lost) == 0)
		return;
	w->stats->moved++;
	k->has_lost = true;
}

void members_look(struct txn_world *w)
{
	for (int8_t i = 0; i < PRODUCERS; i++)
		look(w, &w->producers[i]);
}
