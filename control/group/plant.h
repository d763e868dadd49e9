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
/* clang-format on */

enum group_plant {
	PLANT_NONE = 0,
#define GROUP_PLANT_ENUM(name, text) PLANT_##name,
	GROUP_PLANTS(GROUP_PLANT_ENUM)
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
