/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A coordinator with a virtual clock, a log in memory and a mailbox of answers.  Requests are
 * encoded and answers decoded with the real codec; what a caller may rely on (one answer for each
 * request, batches that the log would accept, ...) is checked on every action.
 */
#ifndef TESTS_CONTROL_GROUP_SIM_H
#define TESTS_CONTROL_GROUP_SIM_H

#include "group.h"

#include "sluice/base/arena.h"
#include "sluice/wire/apis.h"
#include "sluice/wire/consumer_group_describe_gen.h"
#include "sluice/wire/consumer_group_heartbeat_gen.h"
#include "sluice/wire/consumer_protocol_subscription_gen.h"
#include "sluice/wire/delete_groups_gen.h"
#include "sluice/wire/describe_groups_gen.h"
#include "sluice/wire/heartbeat_gen.h"
#include "sluice/wire/join_group_gen.h"
#include "sluice/wire/leave_group_gen.h"
#include "sluice/wire/list_groups_gen.h"
#include "sluice/wire/offset_commit_gen.h"
#include "sluice/wire/offset_delete_gen.h"
#include "sluice/wire/offset_fetch_gen.h"
#include "sluice/wire/sync_group_gen.h"
#include "sluice/wire/txn_offset_commit_gen.h"

#define SIM_PARTITIONS          4
#define SIM_TOPICS              8  /* "t0".."t7" */
#define SIM_TOPIC_PARTS         16 /* of each topic */
#define SIM_SESSION_MS          10000
#define SIM_REBALANCE_MS        60000
#define SIM_DELAY_MS            3000
#define SIM_CONSUMER_SESSION_MS 45000
#define SIM_HEARTBEAT_MS        5000
#define SIM_RETENTION_MS        INT64_C(604800000)
#define SIM_CHECK_MS            600000
#define SIM_MARKS               64
#define SIM_NOT_MARKED          (-1000)
#define SIM_WALL_BASE           INT64_C(1700000000000)

enum sim_mail_state {
	SIM_WAITING = 0,
	SIM_ANSWERED,
	SIM_CLOSED,
	SIM_CANCELLED,
};

struct sim_mail {
	enum sim_mail_state state;
	int16_t api_key;
	int16_t version;
	void *bytes;
	int32_t len;
};

struct sim_batch {
	uint64_t cookie;
	int32_t partition;
	void *bytes;
	int32_t len;
};

struct sim_log {
	uint8_t *bytes;
	size_t len;
	size_t cap;
	int64_t next_offset;
};

struct sim {
	struct group_coord *c;
	struct group_opts opts;
	int64_t now_ms;
	int64_t next_ms;
	uint64_t rng;
	bool is_holding; /* batches wait for sim_flush() */
	struct sim_mail *mails;
	uint32_t mails_count;
	uint32_t mails_cap;
	struct sim_batch *queue;
	uint32_t queue_count;
	uint32_t queue_cap;
	struct sim_log logs[SIM_PARTITIONS];
	uint64_t appended;     /* batches */
	int marked[SIM_MARKS]; /* what was told of each marker */
	uint64_t marks_count;
	bool is_topic_gone[SIM_TOPICS];
	int32_t topic_parts[SIM_TOPICS]; /* 0: SIM_TOPIC_PARTS */
	/* Of the replicas of the first partitions, a letter each: "ab"; NULL: none. */
	const char *racks[SIM_TOPICS][SIM_TOPIC_PARTS];
	struct sl_arena arena; /* of decoded answers */
	char client_id[32];
};

void sim_init(struct sim *s);
/* As sim_init(), with changed options and nothing loaded. */
void sim_init_opts(struct sim *s, const struct group_opts *opts);
struct group_opts sim_default_opts(struct sim *s);
void sim_fini(struct sim *s);
uint64_t sim_random(struct sim *s);

void sim_step(struct sim *s, struct group_event *ev);
void sim_load_all(struct sim *s);
void sim_partition(struct sim *s, enum group_event_type type, int32_t partition);
/* A new coordinator is made of what is on the log. */
void sim_reload(struct sim *s);
/* Moves the clock, with a tick at each time that the coordinator asked for. */
void sim_advance(struct sim *s, int64_t ms);
/* Outcome of everything queued, in order.  On success the batches go to the log. */
void sim_flush(struct sim *s, enum sl_kerr kerr);
/* Outcome of one queued batch. */
void sim_flush_one(struct sim *s, uint32_t index, enum sl_kerr kerr);
void sim_cancel(struct sim *s, uint64_t handle);
uint64_t sim_counter(const struct sim *s, const char *name);

/* Sends a request struct; returns its handle. */
uint64_t sim_send(struct sim *s, int16_t api_key, int16_t version, const void *req);
uint64_t sim_send_raw(struct sim *s, int16_t api_key, int16_t version, const void *p, size_t len);
enum sim_mail_state sim_state(const struct sim *s, uint64_t handle);
/* The decoded answer, in the arena. */
const void *sim_answer(struct sim *s, uint64_t handle);

/* ---- Requests as clients write them ---- */
struct sim_join {
	const char *group;
	const char *member;    /* NULL: "" */
	const char *instance;  /* NULL: dynamic */
	const char *type;      /* NULL: "consumer" */
	const char *protocols; /* "range,rr"; NULL: "range" */
	const char *topics;    /* subscription "t0,t1"; NULL: "t0" */
	int32_t session_ms;    /* 0: SIM_SESSION_MS */
	int32_t rebalance_ms;  /* 0: SIM_REBALANCE_MS */
};
uint64_t sim_join(struct sim *s, int16_t version, struct sim_join j);
const struct sl_join_group_resp *sim_joined(struct sim *s, uint64_t handle);
/* Both steps of a dynamic member; copies the id to @id (128 bytes), returns the held join. */
uint64_t sim_join_twice(struct sim *s, int16_t version, struct sim_join j, char *id);

/* @assign: "member=text;member=text", or NULL. */
uint64_t sim_sync(struct sim *s, int16_t version, const char *group, const char *member,
                  int32_t generation, const char *assign);
const struct sl_sync_group_resp *sim_synced(struct sim *s, uint64_t handle);
int16_t sim_heartbeat(struct sim *s, const char *group, const char *member, int32_t generation);
int16_t sim_heartbeat_as(struct sim *s, const char *group, const char *member, const char *instance,
                         int32_t generation);
uint64_t sim_leave(struct sim *s, int16_t version, const char *group, const char *member,
                   const char *instance);
int16_t sim_left(struct sim *s, uint64_t handle);

struct sim_commit {
	const char *group;
	const char *member; /* NULL: "" */
	const char *instance;
	int32_t generation; /* as given; -1 for simple groups */
	int32_t topic;      /* number */
	int32_t partition;
	int64_t offset;
	const char *metadata;
	int64_t retention_ms; /* 0: default */
};
uint64_t sim_commit(struct sim *s, int16_t version, struct sim_commit k);
/* Error of the only partition. */
int16_t sim_committed(struct sim *s, uint64_t handle);
/* Fetched offset of one partition; checks that there is no error. */
int64_t sim_offset(struct sim *s, const char *group, int32_t topic, int32_t partition);
/* Error of the partition, or its offset, when stable ones are asked for. */
int64_t sim_stable_offset(struct sim *s, const char *group, int32_t topic, int32_t partition);
/* Inside a transaction; member, instance, generation, topic, partition, offset, metadata of @k. */
uint64_t sim_txn_commit(struct sim *s, int16_t version, int64_t producer_id, struct sim_commit k);
/* Error of the only partition. */
int16_t sim_txn_committed(struct sim *s, uint64_t handle);
/* Ends a transaction on the group's partition; returns the marker's number in s->marked. */
uint64_t sim_end_txn(struct sim *s, const char *group, int64_t producer_id, bool is_commit);
int16_t sim_delete_group(struct sim *s, const char *group);
/* The described group, version 5. */
const struct sl_describe_groups_resp_group *sim_describe(struct sim *s, const char *group);
const char *sim_group_state(struct sim *s, const char *group);
/* NUL-terminated, in the arena. */
const char *sim_text(struct sim *s, struct sl_str text);
const char *sim_bytes_text(struct sim *s, struct sl_bytes bytes);
struct sl_uuid sim_topic_id(int32_t topic);

/* A stable group of one or two members. */
struct sim_pair {
	char a[128]; /* the leader */
	char b[128];
	int32_t generation;
};
void sim_make_single(struct sim *s, const char *group, struct sim_pair *out);
void sim_make_pair(struct sim *s, const char *group, struct sim_pair *out);
bool sim_str_is(struct sl_str s, const char *text);

#endif
