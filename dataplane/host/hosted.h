/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The partitions of this server, from the host thread's side: which are open, on which lane, in
 * which slot; opening and closing their logs.  Talks to lanes through the messages of its owner.
 */
#ifndef DATAPLANE_HOST_HOSTED_H
#define DATAPLANE_HOST_HOSTED_H

#include "image.h"
#include "lane.h"
#include "logdirs.h"
#include "partition/partition.h"
#include "sluice/base/hash.h"
#include "sluice/base/list.h"
#include "sluice/ipc/msg.h"
#include "sluice/ipc/shm.h"

/* X(name): where a partition stands. */
#define HOSTED_STATES(X)                                                                        \
	X(WAITING) /* its folder is still another one's; moved on when that one has closed */   \
	X(READY)   /* to be opened by hosted_open_some() */                                     \
	X(OPEN)    /* its lane has it, or gets it with the next image */                        \
	X(FAILED)  /* could not be opened; tried again when its topic changes */                \
	X(RETIRED) /* no image that is to come has it: its lane gives it up, then it is closed, \
	              maybe deleted */

#define HOSTED_STATE_ENUM_(s) HOSTED_##s,
enum hosted_state {
	HOSTED_STATES(HOSTED_STATE_ENUM_) HOSTED_STATE_NR
};
#undef HOSTED_STATE_ENUM_

/* Identity in struct hosted_table.by_key; no padding. */
struct hosted_key {
	struct sl_uuid topic_id;
	int32_t index;
};

struct hosted {
	/* From ATTACH to the return of DETACH the lane's, except what never changes. */
	struct partition p;
	enum hosted_state state;
	struct hosted_key key;
	struct sl_list link;           /* in the list of its state, or of itself */
	struct logdirs_folder *folder; /* Borrowed; NULL while it has none */
	uint32_t slot;                 /* UINT32_MAX: none */
	bool is_delete;                /* RETIRED: the folder goes too */
	bool is_attached;              /* the lane has had it */
	int error;                     /* FAILED: -errno */
	uint64_t round;                /* the last image that has it */
	struct lane_msg msg;           /* ATTACH, CONFIG, DETACH: one at a time */
	struct topic_config config;    /* as the lane should have it */
};

struct hosted_opening;

struct hosted_table {
	struct logdirs *dirs; /* Borrowed */
	struct sl_shm *shm;   /* Borrowed */
	/* Borrowed; by lane, for the logs opened from now on; NULL: none */
	struct sl_hot_pool *const *hot;
	uint32_t lanes_count;
	uint32_t lane_max;     /* partitions a lane may have */
	uint32_t *lane_counts; /* Owned; by lane */
	uint32_t *free_slots;  /* Owned; a stack */
	uint32_t free_slots_count;
	struct hosted_opening *openings; /* Owned; those under way, in one call */
	struct sl_map by_key;            /* struct hosted, Owned; all but RETIRED */
	struct sl_map by_folder; /* name -> the one that uses the folder: READY, OPEN, RETIRED */
	struct sl_list waiting;
	struct sl_list ready;
	struct sl_list opened; /* OPEN, since hosted_opened_clear() */
	struct sl_list retired;
	uint64_t states[HOSTED_STATE_NR]; /* how many are in each */
};

int hosted_init(struct hosted_table *t, struct logdirs *dirs, struct sl_shm *shm,
                uint32_t lane_max) SL_MUST_CHECK;
/* After every lane has ended: closes every log, deletes those that were to be deleted.
 * Return: 0 or the first -errno of a close. */
int hosted_fini(struct hosted_table *t);

struct hosted *hosted_find(const struct hosted_table *t, const struct sl_uuid *topic_id,
                           int32_t index);
/* Every partition that is not RETIRED: start with *pos = 0; NULL at the end. */
struct hosted *hosted_next(const struct hosted_table *t, uint32_t *pos);

/* What an image says of a partition. */
struct hosted_want {
	const struct topic *topic;
	int32_t index;
	int32_t lane;
	int32_t leader_epoch;
};

/**
 * hosted_add() - a partition that is to be opened
 * READY, or WAITING while its folder is another one's.
 * Return: 0 or -ENOMEM.
 */
int hosted_add(struct hosted **out, struct hosted_table *t,
               const struct hosted_want *want) SL_MUST_CHECK;
/* A FAILED one gets another try. */
void hosted_retry(struct hosted_table *t, struct hosted *h);
/* Opens READY ones until @deadline_ns (monotonic), at least one; those that are on disk on several
 * threads, with the results of opening them in order.  Return: true when some are left. */
bool hosted_open_some(struct hosted_table *t, uint64_t deadline_ns);
/* Forgets which ones were opened lately. */
void hosted_opened_clear(struct hosted_table *t);

/* No image to come has it.  One that was never attached ends at once. */
void hosted_retire(struct hosted_table *t, struct hosted *h, bool is_delete);
/* Its lane has given it up.  Return: true when somebody who waited for the folder is READY now. */
bool hosted_closed(struct hosted_table *t, struct hosted *h);

/* For SL_IPC_PARTITION. */
void hosted_describe(const struct hosted *h, struct sl_ipc_partition *out);
const char *hosted_state_name(enum hosted_state state);

#endif
