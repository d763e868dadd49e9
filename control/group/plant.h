/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bugs that the simulator plants to see that it would find them.  Programs are built without
 * SL_SIM_PLANTS: there every one of them is a constant false.
 */
#ifndef CONTROL_GROUP_PLANT_H
#define CONTROL_GROUP_PLANT_H

/* X(name, what goes wrong). */
/* clang-format off */
#define GROUP_PLANTS(X) \
	X(give_held, "a partition is given while another member holds it") \
	X(silence_releases, "a heartbeat that does not tell what it reads gives up what it should") \
	X(silent_epoch, "who is to give up something gets no new epoch, so older reports count") \
	X(join_releases, "a join's empty list is taken for a report") \
	X(answer_early, "answers do not wait for the log") \
	X(trust_refused, "what the log refused is taken for written") \
	X(no_time_out, "a member that does not give up its partitions keeps its place") \
	X(forget_current, "what a member has is not written") \
	X(no_session, "sessions do not begin again after loading") \
	X(topics_unseen, "a change of topics does not reach the groups") \
	X(racks_unseen, "replicas in other racks do not reach the groups") \
	X(stale_commit, "any epoch may commit") \
	X(upgrade_forgets, "members of the classic protocol hold nothing after the change")
/* Those that only transactions bring to light: tests/sim/txn. */
#define GROUP_TXN_PLANTS(X) \
	X(txn_stale, "members of the consumer protocol commit in transactions with any epoch") \
	X(txn_unknown, "... after they were removed, too") \
	X(txn_generation, "members of the classic protocol commit in transactions of any generation") \
	X(fetch_unstable, "groups of the consumer protocol tell offsets that a transaction may change") \
	X(upgrade_pending, "offsets that wait for a marker are forgotten by the change to the consumer protocol") \
	X(downgrade_pending, "... by the change to the classic protocol") \
	X(fence_pending, "a member that is removed takes along what waits for a marker") \
	X(load_pending, "what waits for a marker is not read back into groups of the consumer protocol")
/* clang-format on */

enum group_plant {
	PLANT_NONE = 0,
#define GROUP_PLANT_ENUM(name, text) PLANT_##name,
	GROUP_PLANTS(GROUP_PLANT_ENUM) PLANT_GROUP_NR, /* of the first list */
	GROUP_TXN_PLANTS(GROUP_PLANT_ENUM)
#undef GROUP_PLANT_ENUM
	PLANT_NR
};

#ifdef SL_SIM_PLANTS
extern enum group_plant group_plant;
#define PLANTED(name) (group_plant == PLANT_##name)
#else
#define PLANTED(name) false
#endif

#endif
