/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coordinator's state, shared by the files of this folder and by nobody else.
 *
 *   coordinator -> shards (partitions of __consumer_offsets) -> groups -> members, pending, offsets
 *                         \-> appends in flight, oldest first -> changes -> op (who is answered)
 */
#ifndef CONTROL_GROUP_COORD_H
#define CONTROL_GROUP_COORD_H

#include "coord/partkey.h"
#include "coord/shard.h"
#include "coord/text.h"
#include "deadline.h"
#include "group.h"
#include "limits.h"

#include "sluice/base/arena.h"
#include "sluice/base/hash.h"
#include "sluice/base/list.h"
#include "sluice/wire/apis.h"
#include "sluice/wire/batch.h"
#include "sluice/wire/join_group_gen.h"
#include "sluice/wire/marker.h"
#include "sluice/wire/sync_group_gen.h"

/* X(name, what it counts).  The names are those of group_counter(). */
/* clang-format off */
#define COORD_COUNTERS(X) \
	X(requests) X(answers) X(answers_dropped) X(closed_malformed) X(closed_unsupported) \
	X(closed_too_large) X(refused_not_loaded) X(refused_group_id) X(refused_groups_full) \
	X(refused_group_full) X(refused_pending_full) X(refused_metadata_full) \
	X(refused_offsets_full) X(refused_parked_full) X(refused_held_full) X(refused_no_memory) \
	X(cancels) X(cancels_unknown) X(superseded) \
	X(appends) X(appends_failed) X(appends_unknown) X(appends_dropped) \
	X(rebalances) X(rebalances_completed) X(members_expired) X(members_left) \
	X(members_pending_expired) X(members_not_rejoined) X(members_not_synced) \
	X(static_replaced) X(static_fenced) X(static_reverted) \
	X(offsets_committed) X(offsets_expired) X(offsets_deleted) X(groups_created) \
	X(groups_deleted) X(groups_expired) X(load_records) X(load_skipped_version) \
	X(load_transactional) X(load_markers) X(load_skipped_control) X(load_skipped_misplaced) \
	X(load_bad) X(load_failed_partitions) X(txn_offsets_pending) X(txn_offsets_committed) \
	X(txn_offsets_aborted) X(txn_offsets_superseded) X(txn_markers) X(txn_markers_refused) \
	X(consumer_rebalances) X(consumer_members_fenced) X(consumer_stale_epochs) \
	X(consumer_unreleased_instances) X(consumer_rewrites) X(consumer_regexes_refused) \
	X(consumer_upgrades) X(consumer_downgrades) X(refused_subscription_full) \
	X(assign_racks_ignored) X(assign_work_exceeded)
/* clang-format on */

enum coord_counter {
#define COORD_COUNTER_ENUM(name) COUNT_##name,
	COORD_COUNTERS(COORD_COUNTER_ENUM)
#undef COORD_COUNTER_ENUM
	COUNT_NR
};

/* X(name, Kafka's text, what is true in it and who moves it on). */
/* clang-format off */
#define GROUP_STATES(X) \
	X(EMPTY,      "Empty") /* no members; perhaps offsets; a join moves it on */ \
	X(PREPARING,  "PreparingRebalance") /* joins are held until all are here or the time is up */ \
	X(COMPLETING, "CompletingRebalance") /* joins are answered; the leader's assignment is due */ \
	X(STABLE,     "Stable") /* assignments are on the log; a join, leave or expiry moves it on */ \
	X(DEAD,       "Dead") /* being taken apart; never seen from outside */
/* clang-format on */

enum group_state {
#define GROUP_STATE_ENUM(name, text) GROUP_##name,
	GROUP_STATES(GROUP_STATE_ENUM)
#undef GROUP_STATE_ENUM
	GROUP_STATE_NR
};

struct shard {
	int32_t partition;
	enum shard_state state;
	bool is_damaged;               /* while loading: ends as FAILED */
	struct sl_list groups;         /* of struct group */
	struct sl_list appends;        /* of struct append, as handed out */
	struct sl_list deleted_topics; /* of struct deleted_topic, while loading */
	struct sl_map txns;            /* of struct txn, by producer id */
	uint32_t txn_offsets_count;
	uint64_t offsets_count; /* that are committed, of all its groups */
	uint32_t deleted_topics_count;
};

/* A topic that was deleted while its offsets were being loaded. */
struct deleted_topic {
	struct sl_list link;
	struct sl_str name; /* Owned. */
};

/* Where an answer goes. */
struct reply_to {
	uint64_t handle;
	int32_t correlation_id;
	int16_t api_key;
	int16_t version;
};

/* A request whose answer is held back. */
struct parked {
	struct reply_to to;
	uint64_t seq;
	bool is_gone; /* its client is: nothing is sent */
};

struct request {
	struct reply_to to;
	struct sl_str client_id;
	struct sl_str client_host;
	struct sl_bytes body;
	uint32_t lane;
};

/* Protocols of a member, one block.  Immutable. */
struct protocol {
	struct sl_str name;
	struct sl_bytes metadata;
};

struct protocols {
	int32_t count;
	uint32_t metadata_bytes;
	struct protocol list[];
};

/* How many members support a protocol. */
struct votes {
	uint32_t supporters;
	uint32_t votes;
	uint32_t name_len;
	char name[];
};

struct member {
	struct sl_list link; /* group.members, in order of joining */
	struct group *group;
	struct sl_str id;          /* Owned. */
	struct sl_str instance_id; /* Owned.  Null: dynamic. */
	struct sl_str client_id;   /* Owned. */
	struct sl_str client_host; /* Owned. */
	int32_t rebalance_timeout_ms;
	int32_t session_timeout_ms;
	struct protocols *protocols;     /* Owned. */
	struct sl_bytes assignment;      /* Owned. */
	struct sl_bytes assignment_next; /* Owned.  From the leader, on its way to the log. */
	struct parked *join; /* Owned.  Held JoinGroup; set exactly while it waits for a join. */
	struct parked *sync; /* Owned.  Held SyncGroup. */
	bool is_new;         /* joined and saw no rebalance complete yet */
	bool is_sync_due;    /* did not sync in this generation yet */
	struct deadline session;
};

/* A member that was told its id and shall come back with it. */
struct pending {
	struct sl_list link;
	struct group *group;
	struct sl_str id; /* Owned. */
	struct deadline deadline;
};

/* What was committed.  Immutable. */
struct committed {
	int64_t offset;
	int64_t commit_ms;
	int64_t expire_ms;     /* -1: by the group's rules */
	int64_t record_offset; /* on the log: the later commit wins, not the later marker */
	int32_t leader_epoch;
	int32_t metadata_len;
	char metadata[];
};

/* A partition's offset in a group.  Lives while something is committed or on its way to the log. */
struct offset {
	struct committed *committed; /* Owned.  NULL: nothing yet, or not any more. */
	uint32_t in_flight;
	int32_t partition;
	struct sl_list txn_offsets; /* of struct txn_offset: open transactions that commit it */
	uint32_t key_len;
	uint8_t key[]; /* partkey_make() */
};

/* What one producer's open transaction has on the log of a shard. */
struct txn {
	int64_t producer_id;
	struct shard *shard;
	struct sl_list offsets; /* of struct txn_offset */
};

/* An offset that counts once the transaction's marker says so. */
struct txn_offset {
	struct sl_list link;        /* txn.offsets */
	struct sl_list offset_link; /* offset.txn_offsets */
	struct txn *txn;
	struct group *group;
	struct offset *offset;
	struct committed *committed; /* Owned. */
};

struct group {
	struct cgroup *consumer; /* Owned.  NULL: of the classic protocol, or of none. */
	struct sl_list link;     /* coordinator.all_groups, oldest first */
	struct sl_list shard_link;
	struct shard *shard;
	struct sl_str id; /* Owned. */
	enum group_state state;
	enum group_state state_before;
	int64_t state_since_ms; /* wall clock; -1 unknown */
	int32_t generation;
	struct sl_str protocol_type; /* Owned.  Null: offsets only. */
	struct sl_str protocol;      /* Owned.  Null: none selected. */
	struct member *leader;
	struct sl_list members;
	struct sl_map members_by_id;
	struct sl_map members_by_instance;
	struct sl_list pendings;
	struct sl_map pendings_by_id;
	struct sl_map votes;      /* of struct votes, by protocol name */
	struct sl_map subscribed; /* names of topics; each value is its key */
	struct sl_map offsets;
	uint32_t join_waiting;   /* members with a held join */
	uint32_t sync_due;       /* members with is_sync_due */
	uint32_t in_flight;      /* changes on their way to the log */
	size_t metadata_bytes;   /* of all members' protocols */
	int32_t sync_generation; /* whose assignment is on its way to the log; -1 none */
	int64_t join_rest_ms;    /* how much longer the initial delay may be extended */
	int64_t join_delay_ms;   /* of the running part of the initial delay */
	bool is_subscribed_known;
	bool is_initial_delay; /* the join deadline is one of the initial delay */
	bool is_member_added;  /* during the running part of the initial delay */
	bool is_deleting;      /* its tombstone is on its way to the log */
	bool is_in_log;        /* some record of it is */
	/* struct gone: what it had as a consumer group, of which the log may lack the
	 * tombstones. */
	struct sl_list ghosts;
	bool is_unled; /* while loading: members, but nobody who gave them anything */
	struct deadline join_deadline;
	struct deadline sync_deadline;
};

enum change_kind {
	CHANGE_OFFSET = 0, /* set @committed, or remove when NULL */
	CHANGE_GROUP,      /* the group's record */
	CHANGE_GROUP_GONE, /* the group's tombstone */
	CHANGE_TXN_OFFSET, /* @committed waits for the end of the producer's transaction */
	CHANGE_MARKER,     /* the end of one; no group */
	CHANGE_CONSUMER,   /* a record of a consumer group, whose state is ahead of it */
};

/* What a record does to the state once it is on the log. */
struct change {
	enum change_kind kind;
	int32_t result; /* index in op.errors; -1 none */
	struct group *group;
	struct offset *offset;
	struct committed *committed; /* Owned. */
	int64_t producer_id;         /* TXN_OFFSET, MARKER */
	bool is_commit;              /* MARKER */
	uint64_t handle;             /* MARKER */
};

/* One batch that was handed out. */
struct append {
	struct sl_list link; /* shard.appends */
	uint64_t cookie;
	struct op *op; /* NULL: a marker */
	struct shard *shard;
	bool is_done;
	enum sl_kerr kerr;
	int64_t base_offset;
	struct change *changes; /* Owned. */
	uint32_t changes_count;
	uint32_t changes_cap;
};

enum op_kind {
	OP_PLAIN = 0, /* nobody is answered */
	OP_COMMIT,
	OP_TXN_COMMIT,
	OP_OFFSET_DELETE,
	OP_DELETE_GROUPS,
	OP_LEAVE,
	OP_NEW_GROUP,   /* an empty group's first record */
	OP_SYNC,        /* the leader's assignment */
	OP_STATIC_JOIN, /* a static member came back under a new id */
	OP_CONSUMER,    /* records of a consumer group */
	OP_GONE,        /* tombstones of a consumer group that is none any more */
};

/* What is done when all batches of a change are on the log, or one was refused. */
struct op {
	enum op_kind kind;
	uint32_t left;         /* batches in flight, and one while it is being built */
	enum sl_kerr kerr;     /* the first failure, as the client sees it */
	struct parked *parked; /* Owned.  NULL: nobody waits. */
	struct group *group;   /* NEW_GROUP, SYNC, STATIC_JOIN, CONSUMER, GONE; NULL once its shard
	                        * is unloaded */
	int32_t generation;    /* SYNC */
	uint64_t join_seq;     /* NEW_GROUP, STATIC_JOIN: of the held join */
	uint64_t serial;       /* CONSUMER, GONE: of the cgroup */
	uint64_t consumer_seq; /* CONSUMER: number of the change */
	void *body;            /* Owned.  The request, to be answered item by item. */
	int32_t body_len;
	int64_t producer_id; /* TXN_COMMIT */
	int16_t producer_epoch;
	int16_t *errors; /* Owned.  One per item of the request, in its order. */
	int32_t errors_count;
	/* STATIC_JOIN: what is put back when the log refuses. */
	struct sl_str id_new;            /* Owned. */
	struct sl_str id_old;            /* Owned. */
	struct sl_str leader_old;        /* Owned. */
	struct protocols *protocols_old; /* Owned. */
	int32_t rebalance_timeout_old_ms;
	int32_t session_timeout_old_ms;
};

struct group_coord {
	struct group_opts opts;
	struct sl_map groups;
	struct sl_list all_groups;
	struct shard *shards; /* Owned, opts.partitions_count of them. */
	struct deadline_heap heap;
	struct deadline expiry;
	struct sl_map parked;
	struct sl_map appends;
	uint32_t marks_count; /* markers on their way to the log */
	size_t held_bytes;    /* of op.body */
	uint64_t cookie_next;
	uint64_t parked_next;
	uint64_t id_next;
	uint64_t serial_next;
	uint64_t topics_seq; /* rises with each change of topics; from 1 */
	/* This step. */
	int64_t now_ms;
	int64_t wall_ms;
	uint64_t random;
	struct sl_arena arena;
	struct sl_buf out;   /* bytes of the actions */
	struct sl_buf batch; /* of the open writer, until it is complete */
	bool is_batch_open;
	struct sl_buf key;
	struct sl_buf value;
	struct group_action *actions; /* Owned. */
	size_t *actions_pos;          /* Owned.  Where in @out the bytes of each begin. */
	uint32_t actions_count;
	uint32_t actions_cap;
	struct sl_codec_ctx *codec; /* Owned.  Made for the first compressed batch. */
	uint64_t counters[COUNT_NR];
};

static inline void coord_count(struct group_coord *c, enum coord_counter which)
{
	c->counters[which]++;
}

/* ---- reply.c ---- */
/* @m: the response struct of @to's API. */
void reply_send(struct group_coord *c, const struct reply_to *to, const void *m);
void reply_close(struct group_coord *c, const struct reply_to *to, enum coord_counter why);
/* Holds the answer back.  NULL: too many are, or no memory; counted. */
struct parked *reply_park(struct group_coord *c, const struct reply_to *to);
/* Answers, unless the client is gone.  Ownership: takes @p. */
void reply_unpark(struct group_coord *c, struct parked *p, const void *m);
/* The answer as encoded before by reply_encode(). */
void reply_unpark_bytes(struct group_coord *c, struct parked *p, struct sl_bytes bytes);
void reply_encode(struct sl_buf *b, const struct reply_to *to, const void *m);
void reply_cancel(struct group_coord *c, uint64_t handle);
/* Forgets @p without an answer; the caller answers it at once. */
void reply_forget(struct group_coord *c, struct parked *p);
void reply_join_fill(struct sl_join_group_resp *resp, enum sl_kerr kerr, struct sl_str member_id);
void reply_join_error(struct group_coord *c, const struct reply_to *to, enum sl_kerr kerr,
                      struct sl_str member_id);
void reply_sync_error(struct group_coord *c, const struct reply_to *to, enum sl_kerr kerr);
/* Room for one more action that is no answer.  False: no memory. */
bool reply_has_room(struct group_coord *c);
void reply_append(struct group_coord *c, const struct shard *shard, uint64_t cookie, size_t pos);
void reply_marked(struct group_coord *c, uint64_t handle, enum sl_kerr kerr);

/* ---- protocol.c ---- */
/* Copies what a request offers, each name once. */
struct protocols *protocol_dup(const struct sl_join_group_req_protocol *list, int32_t count);
bool protocol_is_same(const struct protocols *a, const struct sl_join_group_req_protocol *b,
                      int32_t b_count);
/* Null bytes when the member has no such protocol. */
struct sl_bytes protocol_metadata(const struct protocols *list, struct sl_str name);
/* Return: 0; -ENOMEM, nothing was counted. */
int protocol_support(struct group *g, const struct protocols *list) SL_MUST_CHECK;
void protocol_unsupport(struct group *g, const struct protocols *list);
/* Could a member with these protocols be in the group? */
bool protocol_is_acceptable(const struct group *g, struct sl_str type,
                            const struct sl_join_group_req_protocol *list, int32_t count);
/* The common protocol with most votes.  The group has members.  Borrowed from a member. */
struct sl_str protocol_select(struct group *g);
/* Recomputes which topics the group reads, where its protocol tells. */
void protocol_subscribe(struct group_coord *c, struct group *g);
/* The topics are unknown again. */
void protocol_unsubscribe(struct group *g);
bool protocol_is_subscribed(const struct group *g, struct sl_str topic);

/* ---- state.c: groups and their states ---- */
struct group *state_find(const struct group_coord *c, struct sl_str group_id);
/* Return: 0; -ENOSPC too many groups; -ENOMEM. */
int state_create(struct group_coord *c, struct sl_str group_id, struct group **out) SL_MUST_CHECK;
/* Answers nobody: its members have no held requests any more. */
void state_destroy(struct group_coord *c, struct group *g);
/* Drops a group that is on no log and holds nothing. */
void state_forget_unused(struct group_coord *c, struct group *g);
void state_set(struct group_coord *c, struct group *g, enum group_state to);
bool state_can_rebalance(const struct group *g);
const char *state_name(enum group_state state);
/* NONE when requests for the group can be served here. */
enum sl_kerr state_check_shard(struct group_coord *c, struct sl_str group_id);
struct shard *state_shard(struct group_coord *c, struct sl_str group_id);

/* ---- member.c ---- */
struct member_opts {
	struct sl_str id;
	struct sl_str instance_id;
	struct sl_str client_id;
	struct sl_str client_host;
	struct sl_str protocol_type;
	int32_t rebalance_timeout_ms;
	int32_t session_timeout_ms;
	struct protocols *protocols; /* Ownership: taken when the member is added. */
};

/* Return: 0; -ENOMEM, nothing changed. */
int member_add(struct group_coord *c, struct group *g, const struct member_opts *opts,
               struct member **out) SL_MUST_CHECK;
/* Held requests of it are answered with UNKNOWN_MEMBER_ID. */
void member_remove(struct group_coord *c, struct member *m);
/* Exchanges *@protocols with the member's.  Return: 0; -ENOMEM, nothing changed. */
int member_update(struct member *m, struct protocols **protocols, int32_t rebalance_timeout_ms,
                  int32_t session_timeout_ms) SL_MUST_CHECK;
/* Gives a static member a new id.  Return: 0; -ENOMEM, nothing changed. */
int member_rename(struct member *m, struct sl_str id) SL_MUST_CHECK;
struct member *member_find(const struct group *g, struct sl_str id);
struct member *member_find_instance(const struct group *g, struct sl_str instance_id);
/* Kafka's check of (member id, instance id).  @instance_id: null for dynamic ones. */
enum sl_kerr member_validate(struct group_coord *c, const struct group *g, struct sl_str id,
                             struct sl_str instance_id);
/* Holds a JoinGroup; one held before is answered with REBALANCE_IN_PROGRESS.  Takes @p. */
void member_hold_join(struct group_coord *c, struct member *m, struct parked *p);
void member_hold_sync(struct group_coord *c, struct member *m, struct parked *p);
void member_answer_join(struct group_coord *c, struct member *m, struct sl_join_group_resp *resp);
void member_fail_join(struct group_coord *c, struct member *m, enum sl_kerr kerr,
                      struct sl_str member_id);
void member_answer_sync(struct group_coord *c, struct member *m, enum sl_kerr kerr);
void member_arm_session(struct group_coord *c, struct member *m);
void member_set_sync_due(struct member *m, bool is_due);
size_t member_id_make(struct group_coord *c, struct sl_str prefix, char *out, size_t out_size);
struct pending *member_find_pending(const struct group *g, struct sl_str id);
int member_add_pending(struct group_coord *c, struct group *g, struct sl_str id,
                       int64_t timeout_ms) SL_MUST_CHECK;
void member_remove_pending(struct group_coord *c, struct pending *p);

/* ---- rebalance.c: what a change of members leads to.  Each returned op is to be released. ---- */
/* The group's members changed: Kafka's maybePrepareRebalanceOrCompleteJoin. */
struct op *rebalance_start(struct group_coord *c, struct group *g) SL_MUST_CHECK;
struct op *rebalance_prepare(struct group_coord *c, struct group *g) SL_MUST_CHECK;
struct op *rebalance_try_complete(struct group_coord *c, struct group *g) SL_MUST_CHECK;
/* The held sync answers of the generation become @kerr, or the assignments. */
void rebalance_propagate(struct group_coord *c, struct group *g, enum sl_kerr kerr);
/* Nobody has an assignment any more: not the old one, not one on its way. */
void rebalance_clear_assignments(struct group *g);
/* A member's answer to a join that changes nothing, or that completed. */
void rebalance_fill_answer(struct group_coord *c, const struct member *m,
                           struct sl_join_group_resp *resp);
void rebalance_due(struct group_coord *c, struct deadline *d);

/* ---- Handlers of the APIs.  @to and the decoded request are the caller's. ---- */
void join_handle(struct group_coord *c, const struct request *rq, const void *m);
void join_finish_new_group(struct group_coord *c, struct op *op);
void join_finish_static(struct group_coord *c, struct op *op);
void sync_handle(struct group_coord *c, const struct request *rq, const void *m);
void sync_finish(struct group_coord *c, struct op *op);
void sync_handle_heartbeat(struct group_coord *c, const struct request *rq, const void *m);
void leave_handle(struct group_coord *c, const struct request *rq, const void *m);
void leave_finish(struct group_coord *c, struct op *op, const void *m);
/* The group of a commit; one from outside makes it.  @missing: a member's group is not there. */
enum sl_kerr commit_group(struct group_coord *c, struct sl_str group_id, int32_t generation,
                          enum sl_kerr missing, struct group **out);
/* What is committed for one partition; all borrowed. */
struct commit_item {
	struct sl_str topic;
	int32_t partition;
	const struct committed *head;
	struct sl_str metadata;
};
/* The entry of the partition, and an owned copy for it.  A refusal is counted and leaves nothing.
 */
enum sl_kerr commit_entry(struct group_coord *c, struct group *g, const struct commit_item *item,
                          struct offset **offset, struct committed **committed);
void commit_handle(struct group_coord *c, const struct request *rq, const void *m);
void commit_finish(struct group_coord *c, struct op *op, const void *m);
void txn_commit_handle(struct group_coord *c, const struct request *rq, const void *m);
void txn_commit_finish(struct group_coord *c, struct op *op, const void *m);
void fetch_handle(struct group_coord *c, const struct request *rq, const void *m);
void describe_handle(struct group_coord *c, const struct request *rq, const void *m);
void describe_handle_list(struct group_coord *c, const struct request *rq, const void *m);
void remove_handle_groups(struct group_coord *c, const struct request *rq, const void *m);
void remove_finish_groups(struct group_coord *c, struct op *op, const void *m);
void remove_handle_offsets(struct group_coord *c, const struct request *rq, const void *m);
void remove_finish_offsets(struct group_coord *c, struct op *op, const void *m);
void remove_topic(struct group_coord *c, struct sl_str topic);
/* What was deleted meanwhile goes once the partition is loaded. */
void remove_deleted_topics(struct group_coord *c, struct shard *shard);
void remove_forget_deleted_topics(struct shard *shard);
void remove_expired(struct group_coord *c);

/* ---- offsets.c: committed offsets of a group ---- */
struct offset *offsets_find(const struct group *g, struct sl_str topic, int32_t partition);
/* Return: 0; -ENOSPC the group has too many; -ENOMEM. */
int offsets_get(struct group *g, struct sl_str topic, int32_t partition,
                struct offset **out) SL_MUST_CHECK;
struct sl_str offsets_topic(const struct offset *o);
/* Takes @committed, NULL to remove; frees the entry when nothing holds it any more. */
void offsets_set(struct group *g, struct offset *o, struct committed *committed);
void offsets_drop_unused(struct group *g, struct offset *o);
void offsets_clear(struct group *g);
struct committed *offsets_make(const struct committed *head, struct sl_str metadata);
enum offsets_which {
	OFFSETS_COMMITTED = 0,
	OFFSETS_ALL, /* also those whose first commit is on its way to the log */
};
/* In order of topic and partition; the list is in the arena.  Return: 0; -ENOMEM. */
int offsets_sorted(struct group_coord *c, const struct group *g, enum offsets_which which,
                   struct offset ***out, uint32_t *count) SL_MUST_CHECK;

/* ---- pending.c: offsets of open transactions ---- */
/* Takes @committed.  Return: 0; -ENOMEM, @committed not taken. */
int pending_add(struct group_coord *c, struct group *g, struct offset *o, int64_t producer_id,
                struct committed *committed) SL_MUST_CHECK;
/* The end of the producer's transaction is on the log: its offsets count, or never happened. */
void pending_end(struct group_coord *c, struct shard *shard, int64_t producer_id, bool is_commit);
/* Open transactions do not commit this one any more. */
void pending_drop_offset(struct offset *o);
/* For planted bugs only. */
void pending_drop_group(struct group *g);
static inline bool pending_has_offset(const struct offset *o)
{
	return !sl_list_is_empty(&o->txn_offsets);
}
/* Writes a marker, in the order of the shard's batches. */
void pending_mark(struct group_coord *c, const struct group_event *ev);

/* ---- records.c: bytes of the records ---- */
/* Which side of a group its record shows. */
enum records_form {
	RECORDS_CURRENT = 0, /* as it is */
	RECORDS_NEXT,        /* with the assignments that are on their way */
	RECORDS_BARE,        /* as it was made: no members, generation 0 */
};
void records_offset_key(struct sl_buf *b, struct sl_str group, struct sl_str topic,
                        int32_t partition);
void records_offset_value(struct sl_buf *b, const struct committed *v);
void records_group_key(struct sl_buf *b, struct sl_str group);
/* Return: 0; -ENOMEM arena full. */
int records_group_value(struct group_coord *c, struct sl_buf *b, const struct group *g,
                        enum records_form form) SL_MUST_CHECK;

/* ---- append.c: records on their way to the log ---- */
struct append_writer {
	struct group_coord *c;
	struct shard *shard;
	struct op *op;
	struct append *open;
	struct sl_batch_builder builder;
};

/* NULL: no memory. */
struct op *append_op_create(enum op_kind kind);
/* Keeps a copy of the request and takes @errors.  Return: 0; -ENOMEM, also when too much is kept,
 * @errors not taken. */
int append_op_keep(struct group_coord *c, struct op *op, const struct request *rq, int16_t *errors,
                   int32_t errors_count) SL_MUST_CHECK;
/* The creator is done with it; finished when no batch of it is in flight.  NULL is a no-op. */
void append_op_release(struct group_coord *c, struct op *op);
void append_op_destroy(struct group_coord *c, struct op *op);
void append_begin(struct append_writer *w, struct group_coord *c, struct shard *shard,
                  struct op *op);
/* The commit of an OP_TXN_COMMIT; the same for the rest. */
void append_txn_offset(struct append_writer *w, struct group *g, struct offset *o,
                       struct committed *committed, int32_t result);
/* One batch, @m's marker, that is told with GROUP_ACT_MARKED @handle.  Return: 0; -ENOMEM. */
int append_marker(struct group_coord *c, struct shard *shard, const struct sl_txn_marker *m,
                  uint64_t handle) SL_MUST_CHECK;
/* A failure shows up as the failure of the change.  @committed: taken; NULL a tombstone. */
void append_offset(struct append_writer *w, struct group *g, struct offset *o,
                   struct committed *committed, int32_t result);
void append_group(struct append_writer *w, struct group *g, enum records_form form);
void append_group_gone(struct append_writer *w, struct group *g, int32_t result);
/* The record of a consumer group in the scratch buffers. */
void append_consumer(struct append_writer *w, struct group *g, bool is_tombstone);
void append_end(struct append_writer *w);
void append_done(struct group_coord *c, const struct group_event *ev);
/* Fails everything in flight of a shard that is not served any more. */
void append_drop(struct group_coord *c, struct shard *shard);

/* ---- load.c ---- */
void load_begin(struct group_coord *c, struct shard *shard);
void load_batches(struct group_coord *c, struct shard *shard, struct sl_bytes batches);
void load_end(struct group_coord *c, struct shard *shard);
void load_drop(struct group_coord *c, struct shard *shard);

#endif
