/* SPDX-License-Identifier: Apache-2.0 */
/*
 * State of groups of the consumer protocol (KIP-848), shared by their files and by nobody else.
 *
 *   group -> cgroup -> members -> subscription (subs, regex), target, assigned, revoking
 *                  \-> owners: who holds each partition   \-> waiters: answers behind the log
 *
 * A group is of this kind exactly while group.consumer is set; its classic state then is Empty and
 * its list of classic members is empty.
 */
#ifndef CONTROL_GROUP_CONSUMER_H
#define CONTROL_GROUP_CONSUMER_H

#include "coord.h"
#include "parts.h"
#include "plant.h"
#include "regex.h"

#include "sluice/wire/consumer_protocol_subscription_gen.h"

#define EPOCH_NONE         (-1) /* of a commit from outside of the group */
#define EPOCH_LEAVE        (-1)
#define EPOCH_LEAVE_STATIC (-2)

/* X(name, Kafka's number on the log, what is true in it). */
/* clang-format off */
#define CMEMBER_STATES(X) \
	X(STABLE,     0) /* has its target of its epoch; a newer target moves it on */ \
	X(UNREVOKED,  1) /* must give up partitions first; its report, or the time-out, moves it on */ \
	X(UNRELEASED, 2) /* at the target's epoch; others still hold partitions of its target */
/* clang-format on */

enum cmember_state {
#define CMEMBER_STATE_ENUM(name, number) CMEMBER_##name = number,
	CMEMBER_STATES(CMEMBER_STATE_ENUM)
#undef CMEMBER_STATE_ENUM
	CMEMBER_STATE_NR
};

/* A topic that members subscribe to, whether or not it exists. */
struct sub {
	struct sl_str name; /* Owned. */
	uint32_t refs;      /* members */
	uint32_t index;     /* while a target is computed */
	int32_t partitions; /* 0: does not exist */
	struct sl_uuid id;
	uint64_t racks_hash; /* of its partitions' racks; 0: they have none */
};

/* A regular expression that members subscribe by. */
struct pattern {
	struct sl_str text;    /* Owned. */
	uint32_t refs;         /* members */
	struct sl_str *topics; /* Owned, and each of them.  Sorted. */
	uint32_t topics_count;
	bool is_resolved; /* against the topics of cgroup.topics_seq */
	bool is_changed;  /* since its record was written */
	int64_t resolved_ms;
};

/* What a member that speaks the classic protocol brings along. */
struct cclassic {
	int32_t session_timeout_ms;
	struct protocols *protocols; /* Owned.  In the member's order of preference. */
};

struct cmember {
	struct sl_list changed; /* cgroup.changed */
	struct cgroup *cg;
	struct sl_str id;          /* Owned. */
	struct sl_str instance_id; /* Owned.  Null: dynamic. */
	struct sl_str rack_id;     /* Owned.  Null: none. */
	struct sl_str client_id;   /* Owned. */
	struct sl_str client_host; /* Owned. */
	struct sl_str assignor;    /* Owned.  Null: the group's choice. */
	struct sl_str *names;      /* Owned, and each of them.  Sorted, each once. */
	uint32_t names_count;
	struct pattern *pattern; /* NULL: none. */
	struct sub **subs;       /* Owned list.  Names and topics of the pattern, by name. */
	uint32_t subs_count;
	struct cclassic *classic; /* Owned.  NULL: speaks the consumer protocol. */
	int32_t rebalance_timeout_ms;
	int32_t epoch;
	int32_t epoch_before;
	enum cmember_state state;
	struct parts target;   /* Owned. */
	struct parts assigned; /* Owned. */
	struct parts revoking; /* Owned.  Not the member's any more, but nobody else's yet. */
	uint32_t tells_left; /* answers that still carry the assignment, as none may have arrived */
	bool is_known;       /* while loading: its metadata was seen */
	bool is_overtaken;   /* the same: a later record gave another one what it has */
	bool is_member_changed;
	bool is_target_changed;
	bool is_current_changed;
	struct deadline session;
	struct deadline rebalance;
};

/* Who holds a partition: it is in assigned or revoking of that member. */
struct owner {
	struct part what;
	struct cmember *m;
};

/* A member or pattern whose records get tombstones.  When the group changes over before the log has
 * them, it becomes a ghost of the group: it would be there again after loading, once nothing later
 * outweighs it. */
struct gone {
	struct sl_list link;
	struct sl_str text; /* Owned. */
	bool is_pattern;
	uint64_t seq; /* of the change that has the tombstones; of a ghost: serial of the cgroup */
};

/* An answer that waits until what it tells is on the log. */
struct waiter {
	struct sl_list link; /* cgroup.waiters, in order of @seq */
	struct parked *parked;
	uint64_t seq;
	struct sl_buf bytes;
};

/* X(name, Kafka's text, what is true in it).  It follows from the members. */
/* clang-format off */
#define CGROUP_STATES(X) \
	X(EMPTY,       "Empty") /* no members */ \
	X(ASSIGNING,   "Assigning") /* a target is to be computed */ \
	X(RECONCILING, "Reconciling") /* members are on their way to it */ \
	X(STABLE,      "Stable") /* all have what they shall have */
/* clang-format on */

enum cgroup_state {
#define CGROUP_STATE_ENUM(name, text) CGROUP_##name,
	CGROUP_STATES(CGROUP_STATE_ENUM)
#undef CGROUP_STATE_ENUM
	CGROUP_STATE_NR
};

struct cgroup {
	struct group *group;
	uint64_t serial; /* no other cgroup of this coordinator has it */
	int32_t epoch;
	int32_t target_epoch;
	int64_t hash;             /* of the subscribed topics, at @epoch */
	int64_t target_ms;        /* wall clock, when the target was computed */
	struct cmember **members; /* Owned list.  In order of their ids' bytes. */
	uint32_t members_count;
	uint32_t members_cap;
	struct sl_map by_id;
	struct sl_map by_instance;
	struct sl_map owners; /* of struct owner, by topic id and partition */
	struct sl_map subs;
	struct sl_map patterns;
	struct sl_list changed; /* members with something to write */
	struct sl_list gone;
	struct sl_list gone_sent; /* on their way to the log; back to gone if it refuses */
	struct sl_list waiters;
	uint64_t topics_seq; /* coordinator's, when subs and patterns were looked up; 0 never */
	uint64_t sent;       /* changes handed out */
	uint64_t done;       /* of them, on the log or refused */
	uint64_t broken;     /* changes up to this one rest on one that was refused */
	uint32_t classic_count;
	bool is_group_changed;
	bool is_target_changed;
	bool is_classic_gone; /* the record of the classic group that it was gets a tombstone */
	bool is_dirty;        /* the log lacks something: all is to be written anew */
};

/* ---- consumer.c: groups and members ---- */
/* Return: 0; -ENOMEM. */
int consumer_create(struct group_coord *c, struct group *g) SL_MUST_CHECK;
/* The group becomes one without members and kind.  Waiting answers fail with @kerr. */
void consumer_destroy(struct group_coord *c, struct group *g, enum sl_kerr kerr);
/* The log has the tombstones of those of one cgroup; @serial 0: of all. */
void consumer_lay_ghosts(struct group *g, uint64_t serial);
bool consumer_is_empty(const struct group *g);
enum cgroup_state consumer_state(const struct group *g);
const char *consumer_state_name(const struct group *g);
bool consumer_is_subscribed(const struct group *g, struct sl_str topic);
struct cmember *consumer_find(const struct cgroup *cg, struct sl_str id);
struct cmember *consumer_find_instance(const struct cgroup *cg, struct sl_str instance_id);
/* Return: 0; -ENOMEM. */
int consumer_add(struct group_coord *c, struct cgroup *cg, struct sl_str id,
                 struct sl_str instance_id, struct cmember **out) SL_MUST_CHECK;
/* What it held is free; its records get tombstones.  Without memory for those it stays on the log
 * until it expires from there. */
void consumer_remove(struct group_coord *c, struct cmember *m);
/* The member goes on under another id.  Return: 0; -ENOMEM, nothing changed. */
int consumer_rename(struct group_coord *c, struct cmember *m, struct sl_str id) SL_MUST_CHECK;
/* Sets a text that is owned, if it differs.  Return: 1 changed; 0; -ENOMEM. */
int consumer_set_text(struct sl_str *to, struct sl_str from) SL_MUST_CHECK;
/* Sorts and keeps the names.  Return: 1 changed; 0; -ENOMEM. */
int consumer_set_names(struct cmember *m, const struct sl_str *names, int32_t count) SL_MUST_CHECK;
/* Return: 1 changed; 0; -ENOMEM; -EINVAL no valid expression. */
int consumer_set_pattern(struct cmember *m, struct sl_str text) SL_MUST_CHECK;
/* Takes @classic; NULL: it speaks the consumer protocol. */
void consumer_set_classic(struct cmember *m, struct cclassic *classic);
void consumer_mark(struct cmember *m);
/* Takes the place of what the member had.  Partitions of another member stay with that one.
 * Return: 0; -ENOMEM, then it has less than wanted, and nobody has more. */
int consumer_hold(struct cmember *m, const struct parts *assigned,
                  const struct parts *revoking) SL_MUST_CHECK;
struct cmember *consumer_owner(const struct cgroup *cg, const struct part *what);
/* The member has it no more, and nobody has. */
void consumer_release(struct cmember *m, const struct part *what);
struct group_conf consumer_conf(const struct group_coord *c, const struct group *g);
void consumer_arm_session(struct group_coord *c, struct cmember *m);
void consumer_due(struct group_coord *c, struct deadline *d);
void consumer_bump(struct group_coord *c, struct cgroup *cg);
/* Kafka's checks of who commits and who fetches.  @version: of the request. */
enum sl_kerr consumer_check_commit(struct group_coord *c, const struct group *g,
                                   struct sl_str member_id, int32_t epoch, int16_t version);
/* Inside a transaction: older producers name no member, and know no STALE_MEMBER_EPOCH. */
enum sl_kerr consumer_check_txn_commit(struct group_coord *c, const struct group *g,
                                       struct sl_str member_id, struct sl_str instance_id,
                                       int32_t epoch);
enum sl_kerr consumer_check_fetch(const struct group *g, struct sl_str member_id, int32_t epoch);

/* ---- target.c: topics, epochs and what members shall have ---- */
/* Looks the topics up again if they may have changed, and what members read.  Return: 1 members
 * read other topics now; 0; -ENOMEM. */
int target_refresh(struct group_coord *c, struct cgroup *cg) SL_MUST_CHECK;
/* The member's names or pattern changed.  Return: 1 it reads other topics; 0; -ENOMEM. */
int target_subscribe(struct group_coord *c, struct cmember *m) SL_MUST_CHECK;
void target_unsubscribe(struct cmember *m);
/* Of the members' and the server's choice. */
const char *target_assignor(const struct group_coord *c, const struct cgroup *cg);
bool target_has_assignor(const struct group_coord *c, struct sl_str name);
int64_t target_hash(const struct cgroup *cg);
/* Another rack of a member makes another target only where topics have racks. */
bool target_has_racks(const struct cgroup *cg);
/* Computes the target of the group's epoch, if it has none.  Return: 0; -ENOMEM. */
int target_update(struct group_coord *c, struct cgroup *cg) SL_MUST_CHECK;

/* ---- reconcile.c ---- */
/* One step of a member towards its target.  @owned: what it reports to hold; NULL it did not say.
 * Return: 1 it changed; 0; -ENOMEM. */
int reconcile_member(struct group_coord *c, struct cmember *m,
                     const struct parts *owned) SL_MUST_CHECK;
bool reconcile_is_done(const struct cmember *m);

/* ---- persist.c: records of consumer groups, and answers that wait for them ---- */
/* Writes what changed. */
void persist_flush(struct group_coord *c, struct cgroup *cg);
/* Sends the answer once everything that was written before is on the log. */
void persist_answer(struct group_coord *c, struct cgroup *cg, const struct reply_to *to,
                    const void *resp);
void persist_finish(struct group_coord *c, struct op *op);
void persist_fail_waiters(struct group_coord *c, struct cgroup *cg, enum sl_kerr kerr);
/* Tombstones of all but the group's own record, which append_group_gone() writes. */
/* As persist_gone(), of a group with members, and its own record. */
void persist_all_gone(struct append_writer *w, struct group *g);
void persist_gone(struct append_writer *w, struct group *g);
/* Of what a group that is a classic one had before, if anything is left of it. */
void persist_ghosts(struct append_writer *w, struct group *g);
void persist_group_key(struct sl_buf *b, const struct group *g);

/* ---- revive.c: replay ---- */
/* Return: 1 the record is no consumer group's; 0; -EBADMSG; -ENOMEM. */
int revive_record(struct group_coord *c, const struct shard *shard, int16_t type,
                  struct sl_cursor *key, struct sl_bytes value) SL_MUST_CHECK;
/* The shard is complete: drops what has no member record, arms the timers. */
void revive_end(struct group_coord *c, struct group *g);

/* ---- migrate.c: between the protocols, with members ---- */
/* Return: whether the classic group may become one of the consumer protocol. */
bool migrate_can_upgrade(const struct group_coord *c, const struct group *g);
/* The members go on in a consumer group.  Return: 0; -ENOMEM, nothing changed. */
int migrate_upgrade(struct group_coord *c, struct group *g) SL_MUST_CHECK;
/* Makes the group a classic one if its last member of the consumer protocol is gone.  Called
 * before consumer_bump() for that member: the epoch that the others know becomes the generation,
 * and under another one they could neither commit nor join without losing their partitions.
 * Return: whether it did. */
bool migrate_downgrade(struct group_coord *c, struct group *g);
/* A classic group becomes one of no kind: its members, if it has any, are gone.  So does a consumer
 * group. */
void migrate_forget_classic(struct group_coord *c, struct group *g);
/* While loading: of the group only its offsets are left, or nothing. */
void migrate_forget_all(struct group_coord *c, struct group *g);
void migrate_forget_consumer(struct group_coord *c, struct group *g);
void migrate_finish_gone(struct group_coord *c, struct op *op);

/* ---- mixed.c: members of a consumer group that speak the classic protocol ---- */
void mixed_join(struct group_coord *c, const struct request *rq, const struct sl_join_group_req *m,
                struct group *g);
void mixed_sync(struct group_coord *c, const struct request *rq, const struct sl_sync_group_req *m,
                struct group *g);
enum sl_kerr mixed_heartbeat(struct group_coord *c, struct group *g, struct sl_str member_id,
                             struct sl_str instance_id, int32_t generation);
/* One member leaves.  The caller flushes. */
enum sl_kerr mixed_leave(struct group_coord *c, struct group *g, struct sl_str member_id,
                         struct sl_str instance_id);
/* What a classic member is told to read, in its protocol's form, in the arena.  Null: no memory. */
struct sl_bytes mixed_assignment(struct group_coord *c, const struct parts *p);
/* Return: 0; -EBADMSG; -ENOMEM. */
int mixed_read_subscription(struct group_coord *c, struct sl_bytes metadata,
                            struct sl_consumer_protocol_subscription *out) SL_MUST_CHECK;
/* What a subscription says that its member holds, in the arena.  Return: 0; -ENOMEM. */
int mixed_read_owned(struct group_coord *c, const struct sl_consumer_protocol_subscription *sub,
                     struct parts *out) SL_MUST_CHECK;

/* ---- Handlers ---- */
void heartbeat_handle(struct group_coord *c, const struct request *rq, const void *m);
void examine_handle(struct group_coord *c, const struct request *rq, const void *m);

#endif
