/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cluster metadata: the image in memory and the transactions that change it.
 *
 * The image is read directly.  It changes only through transactions: each put names the revision of
 * what it replaces, so that a decision made on an old image is refused (META_CONFLICT) and made
 * again, and a transaction is applied as a whole or not at all, after the back end has made it
 * durable.  Back ends
 * (`local`; later an engine shared by servers) sit behind struct meta_ops.
 */
#ifndef CONTROL_META_META_H
#define CONTROL_META_META_H

#include "sluice/base/base.h"
#include "sluice/wire/meta_broker_config_gen.h"
#include "sluice/wire/meta_group_config_gen.h"
#include "sluice/wire/meta_topic_gen.h"

#define META_ERROR_MAX   512
/* server_id of the cluster-wide dynamic broker configs. */
#define META_ALL_SERVERS (-1)
/* Groups that may have configs of their own. */
#define META_GROUPS_MAX  UINT32_C(100000)

struct meta;
struct meta_txn;

/* A topic as of one revision.  Immutable; replaced as a whole, freed when it is replaced. */
struct meta_topic {
	uint64_t mod_revision; /* of the transaction that wrote it */
	bool is_internal;
	struct sl_meta_topic rec;
};

struct meta_broker_config {
	uint64_t mod_revision; /* 0: there is none, rec is empty */
	struct sl_meta_broker_config rec;
};

struct meta_group_config {
	uint64_t mod_revision; /* 0: there is none, rec is empty */
	struct sl_meta_group_config rec;
};

enum meta_record_type {
	META_REC_NONE = 0,
	META_REC_CLUSTER,
	META_REC_TOPIC,
	META_REC_TOPIC_DELETE,
	META_REC_TOPIC_PURGE,
	META_REC_BROKER_CONFIG,
	META_REC_PRODUCER_IDS,
	META_REC_GROUP_CONFIG,
	META_REC_NR
};

struct meta_record {
	uint16_t type; /* enum meta_record_type */
	int16_t version;
	struct sl_bytes payload;
};

/* One applied record. */
struct meta_change {
	enum meta_record_type type;
	struct sl_uuid topic_id;         /* TOPIC, TOPIC_DELETE, TOPIC_PURGE */
	const struct meta_topic *before; /* TOPIC, TOPIC_DELETE; freed after the call */
	const struct meta_topic *after;  /* TOPIC */
	uint64_t revision;
};

/* What recovery had to do. */
struct meta_recovery {
	uint64_t revision;  /* after recovery */
	uint64_t records;   /* loaded, snapshot and log */
	uint64_t cut_bytes; /* torn tail of the log that was removed */
	uint64_t cut_pos;   /* where */
	char cut_file[256];
};

struct meta_ops;

struct meta_opts {
	const struct meta_ops *ops; /* &meta_local_ops */
	const char *dir;            /* for local: folder of its files; created */
	/* Called when transactions wait for meta_poll(); asks for a call of it soon. */
	void (*wake)(void *arg);
	void (*changed)(void *arg, const struct meta_change *change);
	void *arg;
	uint64_t *counters; /* enum counter; may be NULL */
};

/**
 * meta_open() - recover the image
 * @error: on failure what is wrong, with file and position
 * Return: 0; -EBADMSG damaged files; -EBUSY another process has them; -errno; -ENOMEM.
 */
int meta_open(struct meta **out, const struct meta_opts *opts, struct meta_recovery *recovery,
              char error[META_ERROR_MAX]) SL_MUST_CHECK;
/* Waiting transactions are called back with META_FAILED.  No-op on NULL. */
void meta_close(struct meta *m);
/* Commits a bounded number of waiting transactions.  Return: how many ended. */
int meta_poll(struct meta *m);

/* ---- The image.  Pointers are valid until the loop goes on to its next callback. ---- */
uint64_t meta_revision(const struct meta *m);
/* "" before the first transaction. */
const char *meta_cluster_id(const struct meta *m);
/* Topics in order of their names' bytes. */
uint32_t meta_topics_count(const struct meta *m);
const struct meta_topic *meta_topic_at(const struct meta *m, uint32_t index);
/* Index of the first topic whose name is not before @name. */
uint32_t meta_topic_lower_bound(const struct meta *m, struct sl_str name);
const struct meta_topic *meta_topic_by_name(const struct meta *m, struct sl_str name);
const struct meta_topic *meta_topic_by_id(const struct meta *m, const struct sl_uuid *id);
/* A topic whose name differs from @name at most in '.' against '_' (their metric names collide). */
const struct meta_topic *meta_topic_colliding(const struct meta *m, struct sl_str name);
uint64_t meta_partitions_count(const struct meta *m);
/* Value of one override of a topic; null when there is none. */
struct sl_str meta_topic_config(const struct meta_topic *t, struct sl_str name);
/* Never NULL. */
const struct meta_broker_config *meta_broker_config(const struct meta *m, int32_t server_id);
/* Never NULL. */
const struct meta_group_config *meta_group_config(const struct meta *m, struct sl_str group_id);
uint32_t meta_group_configs_count(const struct meta *m);
/* Groups with configs.  Start with *pos = 0.  Return: NULL at the end. */
const struct meta_group_config *meta_group_config_next(const struct meta *m, uint32_t *pos);
int64_t meta_next_producer_id(const struct meta *m);
/* Deleted topics whose logs may still exist.  Start with *pos = 0.  Return: false at the end. */
bool meta_deleted_next(const struct meta *m, uint32_t *pos, struct sl_uuid *id);

/* ---- Transactions. ---- */
enum meta_result {
	META_COMMITTED = 0, /* durable and applied */
	META_CONFLICT,      /* an expected revision was not met: look again, decide again */
	META_FAILED,        /* could not be written; nothing applied; unknown after a crash */
};
typedef void meta_done_fn(void *arg, enum meta_result result, uint64_t revision);

/* Never NULL: running out of memory shows as META_FAILED. */
struct meta_txn *meta_txn_begin(struct meta *m);
/* @expected: mod_revision of the topic; 0: neither its id nor a colliding name may exist.  A record
 * that lowers a leader epoch or drops a partition of the topic makes the transaction META_FAILED.
 */
void meta_txn_put_topic(struct meta_txn *txn, const struct sl_meta_topic *rec, uint64_t expected);
void meta_txn_delete_topic(struct meta_txn *txn, const struct sl_uuid *id, uint64_t expected);
void meta_txn_purge_topic(struct meta_txn *txn, const struct sl_uuid *id);
void meta_txn_put_broker_config(struct meta_txn *txn, const struct sl_meta_broker_config *rec,
                                uint64_t expected);
/* Without configs the group has none of its own any more. */
void meta_txn_put_group_config(struct meta_txn *txn, const struct sl_meta_group_config *rec,
                               uint64_t expected);
/* @expected: meta_next_producer_id() that @next was computed from. */
void meta_txn_put_producer_ids(struct meta_txn *txn, int64_t next, int64_t expected);
/* Only while there is none. */
void meta_txn_put_cluster_id(struct meta_txn *txn, const char *cluster_id);
/* Ownership: takes @txn.  @fn is called from meta_poll() or meta_close(), never from here. */
void meta_txn_commit(struct meta_txn *txn, meta_done_fn *fn, void *arg);
/* Gives up a transaction that was not committed. */
void meta_txn_drop(struct meta_txn *txn);

/* ---- Back ends. ---- */
struct meta_backend;
typedef void meta_backend_done_fn(void *arg, int error);
struct meta_backend_opts {
	const char *dir;
	void *ctx;
	/* Loads one record of revision @revision.  Return: 0; -EBADMSG it makes no sense; -ENOMEM.
	 */
	int (*load)(void *ctx, uint64_t revision, const struct meta_record *rec);
	/* Emits the whole image as records.  Return: 0 or what @emit returned first. */
	int (*dump)(void *ctx, int (*emit)(void *arg, const struct meta_record *rec), void *arg);
};

struct meta_ops {
	const char *name;
	int (*open)(struct meta_backend **out, const struct meta_backend_opts *opts,
	            struct meta_recovery *recovery, char error[META_ERROR_MAX]);
	/* Makes the records durable as @revision, then calls @fn once, maybe before it returns. */
	void (*commit)(struct meta_backend *b, uint64_t revision, const struct meta_record *recs,
	               uint32_t count, meta_backend_done_fn *fn, void *arg);
	/* After the image has the last commit: housekeeping.  Return: 1 did some; 0; -errno. */
	int (*tidy)(struct meta_backend *b);
	void (*close)(struct meta_backend *b);
};

extern const struct meta_ops meta_local_ops;

#endif
