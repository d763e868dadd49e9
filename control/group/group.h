/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Group coordinator: classic consumer groups and committed offsets, as one pure step function.
 *
 * No clock, I/O, randomness or globals: time and random bits arrive in the event, and what must be
 * done comes out as actions.  State lives in memory and on __consumer_offsets in Kafka's record
 * format; the caller appends the batches it is handed and feeds back the outcome.  Answers to
 * changes are held back until their records are appended.
 */
#ifndef CONTROL_GROUP_GROUP_H
#define CONTROL_GROUP_GROUP_H

#include "sluice/base/base.h"
#include "sluice/base/buf.h"
#include "sluice/wire/kerr.h"
#include "sluice/wire/marker.h"

struct group_coord;

/* Whether groups may change between the protocols while they have members. */
enum group_migration {
	GROUP_MIGRATE_NONE = 0,
	GROUP_MIGRATE_UPGRADE,   /* classic to consumer */
	GROUP_MIGRATE_DOWNGRADE, /* consumer to classic */
	GROUP_MIGRATE_BOTH,
};

enum group_assignor {
	GROUP_ASSIGN_UNIFORM = 0,
	GROUP_ASSIGN_RANGE,
	GROUP_ASSIGN_NR,
};

/* What members of the consumer protocol are told, and held to. */
struct group_conf {
	int32_t session_timeout_ms;
	int32_t heartbeat_interval_ms;
};

/* @rack: borrowed for the call. */
typedef void group_rack_fn(void *arg, int32_t partition, struct sl_str rack);

struct group_opts {
	int32_t partitions_count; /* of __consumer_offsets */
	int64_t session_timeout_min_ms;
	int64_t session_timeout_max_ms;
	int64_t initial_rebalance_delay_ms;
	int64_t offsets_retention_ms;
	int64_t offsets_retention_check_ms;
	int32_t offset_metadata_bytes_max;
	int32_t group_size_max;
	/* Groups of the consumer protocol.  @consumer: of those that have no own. */
	struct group_conf consumer;
	int32_t consumer_size_max;
	enum group_migration migration;
	enum group_assignor assignors[GROUP_ASSIGN_NR]; /* the first is the default */
	uint32_t assignors_count;
	/* Topics, as the metadata has them now.  @ctx is given back. */
	void *ctx;
	bool (*has_partition)(void *ctx, struct sl_str topic, int32_t partition);
	/* Return: false unknown.  @name stays valid for this step only. */
	bool (*topic_name)(void *ctx, const struct sl_uuid *id, struct sl_str *name);
	bool (*topic_id)(void *ctx, struct sl_str name, struct sl_uuid *id);
	/* Return: how many partitions it has; 0 unknown. */
	int32_t (*topic_partitions)(void *ctx, struct sl_str name);
	/* All topics that a pattern may match, in order of their names; start with *pos = 0.
	 * Return: false at the end. */
	bool (*topic_next)(void *ctx, uint32_t *pos, struct sl_str *name);
	/* Tells @fn the racks of the servers that have replicas of the topic, in sync or not; all
	 * of a partition, then all of the next one.  The same one may be told again.  NULL: there
	 * are no racks. */
	void (*topic_racks)(void *ctx, struct sl_str name, group_rack_fn *fn, void *arg);
	/* What members of one group are told; NULL: all the same.  Asked at each heartbeat. */
	void (*group_conf)(void *ctx, struct sl_str group_id, struct group_conf *out);
	/* Whether @lane lists the group; NULL: each lists all of them. */
	bool (*is_listed_on)(void *ctx, uint32_t lane, struct sl_str group_id);
};

enum group_event_type {
	GROUP_EV_REQUEST = 0, /* answered by exactly one RESPOND or CLOSE, now or later */
	GROUP_EV_CANCEL,      /* the client of an unanswered request is gone */
	GROUP_EV_APPENDED,    /* outcome of an APPEND action */
	GROUP_EV_TICK,       /* time passed: session time-outs, joins that are due, offset expiry */
	GROUP_EV_LOAD_BEGIN, /* this __consumer_offsets partition is being read */
	GROUP_EV_LOAD_BATCHES, /* record batches of it, in order, complete ones */
	GROUP_EV_LOAD_END,     /* it is now served; session timers start at full length */
	GROUP_EV_UNLOAD, /* not served any more: drop its groups, fail their parked requests */
	GROUP_EV_TOPIC_DELETED, /* committed offsets of the topic go */
	/* One was made, got more partitions, or replicas in other racks. */
	GROUP_EV_TOPICS_CHANGED,
	/* A transaction ends on a partition: its marker is to be written, and told with MARKED. */
	GROUP_EV_MARK,
};

struct group_event {
	enum group_event_type type;
	int64_t now_ms;    /* monotonic */
	int64_t wall_ms;   /* wall clock, for commit timestamps */
	uint64_t random;   /* fresh random bits, for member ids */
	int32_t partition; /* LOAD_*, UNLOAD, MARK */
	/* REQUEST, CANCEL, MARK */
	uint64_t handle; /* the caller's name for the request, unique while unanswered */
	/* 8, 9, 11-16, 28, 42, 47, 68, 69.  28, TxnOffsetCommit: the caller knows that the
	 * partition of the offsets is in the producer's transaction. */
	int16_t api_key;
	int16_t version;
	int32_t correlation_id;
	struct sl_str client_id;
	struct sl_str client_host; /* "/127.0.0.1" as Kafka writes it */
	struct sl_bytes body;      /* request body after the header */
	uint32_t lane;             /* REQUEST: that it came over; for ListGroups */
	/* APPENDED */
	uint64_t cookie;
	enum sl_kerr kerr;
	int64_t base_offset;
	/* LOAD_BATCHES */
	struct sl_bytes batches;
	/* TOPIC_DELETED */
	struct sl_str topic;
	struct sl_txn_marker marker; /* MARK */
};

enum group_action_type {
	GROUP_ACT_RESPOND = 0, /* send @bytes (response header and body) to @handle's client */
	GROUP_ACT_CLOSE,       /* the request was malformed: close the connection of @handle */
	GROUP_ACT_APPEND, /* append @bytes (one batch v2) to @partition, then EV_APPENDED @cookie */
	GROUP_ACT_MARKED, /* the marker of EV_MARK @handle: @kerr NONE is on the log and counts */
};

struct group_action {
	enum group_action_type type;
	uint64_t handle;
	uint64_t cookie;
	int32_t partition;
	enum sl_kerr kerr;
	struct sl_bytes bytes; /* valid until the next group_step() */
};

struct group_actions {
	struct group_action *list; /* owned by the coordinator, valid until the next step */
	uint32_t count;
	int64_t next_ms; /* monotonic time of the next TICK that has something to do; INT64_MAX none
	                  */
};

/* Return: 0; -EINVAL; -ENOMEM. */
int group_create(struct group_coord **out, const struct group_opts *opts) SL_MUST_CHECK;
void group_destroy(struct group_coord *c);
void group_step(struct group_coord *c, const struct group_event *ev, struct group_actions *out);

/* The partition of __consumer_offsets that holds a group. */
int32_t group_partition(const struct group_coord *c, struct sl_str group_id);

/* ---- Views for metrics and the CLI.  Pointers are valid until the next step. ---- */
struct group_view {
	struct sl_str group_id;
	const char
		*state; /* "Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead" */
	const char
		*type; /* "classic"; "consumer", whose states also are "Assigning", "Reconciling" */
	struct sl_str protocol_type;
	struct sl_str protocol;
	int32_t generation;
	uint32_t members;
	int32_t partition;
};
struct group_offset_view {
	struct sl_str topic;
	int32_t partition;
	int64_t offset;
	int64_t commit_ms;
};
/* Start with *pos = 0.  Return: false at the end. */
bool group_next(const struct group_coord *c, uint32_t *pos, struct group_view *out);
/* Is it served here, and of the consumer protocol? */
bool group_is_consumer(const struct group_coord *c, struct sl_str group_id);
/* Offsets of one group, same way. */
bool group_next_offset(const struct group_coord *c, struct sl_str group_id, uint32_t *pos,
                       struct group_offset_view *out);

/* What there is now on the partitions that are served. */
enum group_gauge {
	GROUP_GAUGE_CLASSIC = 0, /* groups of the classic protocol, or with offsets only */
	GROUP_GAUGE_CLASSIC_EMPTY,
	GROUP_GAUGE_CLASSIC_PREPARING,
	GROUP_GAUGE_CLASSIC_COMPLETING,
	GROUP_GAUGE_CLASSIC_STABLE,
	GROUP_GAUGE_CONSUMER, /* groups of the consumer protocol */
	GROUP_GAUGE_CONSUMER_EMPTY,
	GROUP_GAUGE_CONSUMER_ASSIGNING,
	GROUP_GAUGE_CONSUMER_RECONCILING,
	GROUP_GAUGE_CONSUMER_STABLE,
	GROUP_GAUGE_OFFSETS, /* committed ones */
	GROUP_GAUGE_PARTITIONS_LOADING,
	GROUP_GAUGE_PARTITIONS_ACTIVE,
	GROUP_GAUGE_PARTITIONS_FAILED,
	GROUP_GAUGE_NR
};
struct group_gauges {
	uint64_t v[GROUP_GAUGE_NR];
};
/* Walks over all groups. */
void group_gauges(const struct group_coord *c, struct group_gauges *out);

/* Those of the counters below that Kafka has a name for. */
enum group_total {
	GROUP_TOTAL_OFFSET_COMMITS = 0,
	GROUP_TOTAL_OFFSET_EXPIRATIONS,
	GROUP_TOTAL_OFFSET_DELETIONS,
	GROUP_TOTAL_CLASSIC_REBALANCES,  /* completed ones */
	GROUP_TOTAL_CONSUMER_REBALANCES, /* new epochs of groups of the consumer protocol */
};
uint64_t group_total(const struct group_coord *c, enum group_total which);
/* Counters since creation, by name; NULL at the end of @index. */
const char *group_counter(const struct group_coord *c, uint32_t index, uint64_t *value);

#endif
