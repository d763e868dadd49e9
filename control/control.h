/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control process's parts and how they hang together.  One instance per process (tests make
 * their own); everything runs on its loop's thread.  http/ and rpc/ read what they show from here.
 */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include "sluice/base/base.h"
#include "sluice/base/conf.h"
#include "sluice/ipc/shm.h"

#include "counters.h"
#include "link.h"
#include "loop.h"
#include "meta/meta.h"

#define CONTROL_ERROR_MAX                640
/* Kafka node id of lane @lane. */
#define CONTROL_NODE_ID(server_id, lane) ((int32_t)((server_id)*100 + (int32_t)(lane)))
#define CONTROL_SERVER_ID(node_id)       ((node_id) / 100)

struct markers;
struct offsets;
struct publish;
struct request_table;
struct group_coord;
struct txn_coord;
struct txns;

struct control {
	struct sl_conf *conf;  /* static configuration; Borrowed */
	char *data_dir;        /* Owned */
	char *advertised_host; /* Owned */
	char **log_dirs;       /* Owned; NULL-terminated */
	int *log_dir_errors;   /* Owned; errno that took each offline, 0 */
	uint32_t log_dirs_count;
	int32_t server_id;
	int32_t lane_port_base;
	struct loop *loop;              /* Borrowed */
	struct link *link;              /* Owned */
	struct meta *meta;              /* Owned */
	struct publish *publish;        /* Owned: image sent to the data plane, partition slots */
	struct request_table *requests; /* Owned: requests being answered */
	struct offsets *offsets;        /* Owned: group coordinator on __consumer_offsets */
	struct markers *markers;        /* Owned: ends of transactions on their way */
	struct txns *txns;              /* Owned: transaction coordinator on __transaction_state */
	struct loop_work meta_work;
	int64_t started_wall_ms;
	int64_t started_mono_ms;
	bool is_stopping;
	/* Producer ids of the block that this life has taken. */
	int64_t producer_id_next;
	int64_t producer_id_end;
	uint64_t counters[COUNTER_NR];
};

struct control_opts {
	struct loop *loop;    /* Borrowed */
	struct sl_conf *conf; /* Borrowed */
	const char *data_dir;
	bool group_delay_off; /* tests: no initial rebalance delay, whatever the configuration says
	                       */
};

/**
 * control_create() - recover the metadata and start attaching to the data plane
 * @error: on failure what the operator must know
 * Return: 0; -EINVAL bad configuration; -EBADMSG damaged metadata; -EBUSY; -errno; -ENOMEM.
 */
int control_create(struct control **out, const struct control_opts *opts,
                   char error[CONTROL_ERROR_MAX]) SL_MUST_CHECK;
void control_destroy(struct control *c);

/* Lanes of the attached data plane; of the last one while it is away; 0 before the first. */
uint32_t control_lanes_count(const struct control *c);
/* Whether @node_id is a lane of this server. */
bool control_is_own_node(const struct control *c, int32_t node_id);
/* Lane that leads, -1 when the node is not ours. */
int control_lane_of(const struct control *c, int32_t node_id);
int32_t control_node_id(const struct control *c, uint32_t lane);
int32_t control_node_port(const struct control *c, uint32_t lane);
/* The rack of the node's server.  Null: none, or not known here. */
struct sl_str control_node_rack(const struct control *c, int32_t node_id);
/* The node that coordinates @key: any lane does, they are spread by hash. */
uint32_t control_lane_of_key(const struct control *c, struct sl_str key);
/* Whether a request that came over @lane may be answered with @key in a list: clients ask every
 * node and put the answers together.  This process's own requests come over no lane. */
bool control_is_listed_on(const struct control *c, uint32_t lane, struct sl_str key);

/* The slot of a partition in the data plane's shared memory; NULL while it has none or is away. */
const struct sl_slot *control_slot(const struct control *c, const struct sl_uuid *topic_id,
                                   int32_t partition);
/* Counters of a lane; NULL while the data plane is away. */
const struct sl_lane_stats *control_lane_stats(const struct control *c, uint32_t lane);
/* The group coordinator. */
struct group_coord *control_groups(const struct control *c);
/* The transaction coordinator. */
struct txn_coord *control_txns(const struct control *c);
/* Folders of partition logs.  Return: how many; *out is NULL-terminated and lives with @c. */
uint32_t control_log_dirs(const struct control *c, char *const **out);
/* 0, or the errno that took the folder offline. */
int control_log_dir_error(const struct control *c, uint32_t log_dir);

static inline void control_count(struct control *c, enum counter counter)
{
	c->counters[counter]++;
}

#endif
