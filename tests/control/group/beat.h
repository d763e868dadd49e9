/* SPDX-License-Identifier: Apache-2.0 */
/* Heartbeats of the consumer protocol, spelled shortly. */
#ifndef TESTS_CONTROL_GROUP_BEAT_H
#define TESTS_CONTROL_GROUP_BEAT_H

#include "sim.h"

#define BEAT_REBALANCE_MS 30000

/* What a member knows.  Zeroed but for @id and @topics: about to join. */
struct beat_member {
	const char *id;
	const char *instance;
	const char *topics; /* "t0,t1"; NULL: a pattern */
	const char *pattern;
	const char *assignor;
	const char *rack;
	int32_t epoch;
	uint32_t owned[SIM_TOPICS]; /* bits */
	const char *group;          /* NULL: "g" */
	int16_t version;            /* 0 means 1 here; -1 means 0 */
};

/* A full request with what is owned. */
uint64_t beat_send(struct sim *s, const struct beat_member *m);
/* One that says nothing is new. */
uint64_t beat_send_short(struct sim *s, const struct beat_member *m);
const struct sl_consumer_group_heartbeat_resp *beat_answer(struct sim *s, uint64_t handle);
/* Sends a full request, takes over epoch and assignment.  Return: the error. */
int16_t beat(struct sim *s, struct beat_member *m);
/* Lets all members beat until nothing changes any more. */
void beat_settle(struct sim *s, struct beat_member *const *list, uint32_t count);
uint32_t beat_count(const struct beat_member *m);
const struct sl_consumer_group_describe_resp_group *beat_describe(struct sim *s, const char *group);

#endif
