/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coordinator's state, shared by the files of this folder and by nobody else.
 *
 *   coordinator -> shards (partitions of __transaction_state) -> txns -> parts
 *                                                                  \-> waiters, held questions
 */
#ifndef CONTROL_TXN_STATE_H
#define CONTROL_TXN_STATE_H

#include "coord/partkey.h"
#include "coord/shard.h"
#include "coord/text.h"
#include "limits.h"
#include "txn.h"

#include "sluice/base/arena.h"
#include "sluice/base/hash.h"
#include "sluice/base/list.h"
#include "sluice/wire/apis.h"
#include "sluice/wire/batch.h"

/* X(name, what it counts).  The names are those of txn_counter(). */
/* clang-format off */
#define TXN_COUNTERS(X) \
	X(requests) X(answers) X(answers_dropped) X(closed_malformed) X(closed_unsupported) \
	X(closed_too_large) X(refused_not_loaded) X(refused_id) X(refused_ids_full) \
	X(refused_parts_full) X(refused_held_full) X(refused_no_memory) X(refused_fenced) \
	X(refused_mapping) X(refused_concurrent) X(refused_state) X(refused_timeout) \
	X(refused_partition) X(cancels) X(cancels_unknown) \
	X(verifies) X(verifies_held) X(verifies_expired) X(verifies_refused) \
	X(appends) X(appends_failed) X(appends_unknown) X(appends_dropped) \
	X(ids_created) X(ids_expired) X(producers_fenced) X(producers_rotated) \
	X(commits) X(aborts) X(aborts_timed_out) X(completed) X(completions_retried) \
	X(markers) X(markers_retried) X(markers_fenced) X(markers_partition_gone) X(markers_unknown) \
	X(blocks) X(blocks_failed) X(load_records) X(load_skipped_version) X(load_skipped_control) \
	X(load_skipped_misplaced) X(load_bad) X(load_failed_partitions) X(load_completions)
/* clang-format on */

enum counter_id {
#define TXN_COUNTER_ENUM(name) COUNT_##name,
	TXN_COUNTERS(TXN_COUNTER_ENUM)
#undef TXN_COUNTER_ENUM
	COUNT_NR
};

/* X(name, Kafka's text, what is true in it and who moves it on), in the order of the codes on the
 * log. */
/* clang-format off */
#define TXN_STATES(X) \
	X(EMPTY,           "Empty") /* a producer, no transaction; a first partition moves it on */ \
	X(ONGOING,         "Ongoing") /* partitions join; EndTxn, the time-out or a new producer */ \
	X(PREPARE_COMMIT,  "PrepareCommit") /* decided; markers go out until all are written */ \
	X(PREPARE_ABORT,   "PrepareAbort") /* the same */ \
	X(COMPLETE_COMMIT, "CompleteCommit") /* all markers are written; as EMPTY otherwise */ \
	X(COMPLETE_ABORT,  "CompleteAbort") /* the same */ \
	X(DEAD,            "Dead") /* its tombstone is on its way to the log */ \
	X(PREPARE_EPOCH_FENCE, "PrepareEpochFence") /* between ONGOING and PREPARE_ABORT; on no log */
/* clang-format on */

enum txn_state {
#define TXN_STATE_ENUM(name, text) TXN_##name,
	TXN_STATES(TXN_STATE_ENUM)
#undef TXN_STATE_ENUM
	TXN_STATE_NR
};

struct shard {
	int32_t partition;
	int32_t epoch; /* of the coordinator, in markers */
	enum shard_state state;
	bool is_damaged;     /* while loading: ends as FAILED */
	struct sl_list txns; /* of struct txn */
};

/* Where an answer goes. */
struct reply_to {
	uint64_t handle;
	int32_t correlation_id;
	int16_t api_key; /* 0: a question, answered with VERIFIED */
	int16_t version;
};

struct request {
	struct reply_to to;
	struct sl_bytes body;
};

/* Somebody whose answer is held back. */
struct waiter {
	struct sl_list link; /* txn.waiters, txn.held or coordinator.want_ids */
	struct sl_list held; /* coordinator.holding, oldest first */
	struct reply_to to;
	bool is_gone;   /* its client is: nothing is sent */
	bool is_fencer; /* its InitProducerId aborts the transaction of another producer */
	int64_t since_ms;
	struct sl_bytes body; /* Owned.  Of a request that is answered, or run again, by it. */
	/* Of a question. */
	int64_t producer_id;
	int16_t producer_epoch;
	bool is_add;
	int32_t partition;
	struct sl_str topic; /* Owned. */
};

enum part_state {
	PART_ADDING = 0, /* the record that has it is on its way to the log */
	PART_IN,
	PART_QUEUED, /* its marker is to be written */
	PART_SENT,   /* its marker is on its way */
	PART_RETRY,  /* its marker was refused; the retry timer moves it on */
};

/* A partition of a transaction. */
struct part {
	struct sl_list link;  /* txn.parts, in order of joining */
	struct sl_list queue; /* coordinator.to_mark or coordinator.to_retry */
	struct txn *txn;
	enum part_state state;
	uint64_t cookie; /* SENT */
	int32_t partition;
	uint32_t key_len;
	uint8_t key[]; /* partkey_make() */
};

/* What a record says of an id. */
struct image {
	enum txn_state state;
	int64_t producer_id;
	int64_t prev_producer_id;
	int64_t next_producer_id; /* PREPARE_*: what the producer goes on with, -1 the same */
	int16_t producer_epoch;   /* -1: a producer that nobody was told of */
	int16_t last_epoch;       /* before the last bump by the producer itself; -1; on no log */
	int16_t client_version;   /* 2: the epoch rises with every transaction */
	int32_t timeout_ms;
	int64_t start_ms;
	int64_t update_ms;
};

struct txn {
	struct sl_list link; /* coordinator's list for its state */
	struct sl_list shard_link;
	struct shard *shard;
	struct sl_str id; /* Owned. */
	struct image now; /* as on the log */
	struct image next;
	bool is_pending; /* @next is on its way to the log */
	bool is_in_log;  /* some record of it is */
	uint64_t cookie; /* while pending */
	struct sl_list parts;
	struct sl_map parts_by_key;
	struct sl_list waiters; /* to be answered by the outcome of @next */
	struct sl_list held;    /* questions for the time after it */
};

struct txn_coord {
	struct txn_opts opts;
	struct sl_map txns;
	struct sl_list idle; /* no transaction, longest unused first */
	struct sl_list ongoing;
	struct sl_list preparing;
	uint32_t ongoing_count;
	uint32_t preparing_count;
	struct shard *shards;  /* Owned, opts.partitions_count of them. */
	struct sl_map appends; /* of struct txn, by cookie */
	struct sl_map markers; /* of struct part, by cookie */
	struct sl_list to_mark;
	struct sl_list to_retry;
	uint32_t queued_count;   /* in either of them */
	struct sl_map requests;  /* of struct waiter, by handle */
	struct sl_list want_ids; /* of struct waiter: no producer id is left for them */
	struct sl_list holding;
	uint32_t waiters_count;
	size_t held_bytes;
	uint64_t cookie_next;
	int64_t ids_next;
	int64_t ids_end;
	bool is_asking_ids;
	int64_t abort_at_ms; /* monotonic; -1: not due */
	int64_t expire_at_ms;
	int64_t retry_at_ms;
	/* This step. */
	int64_t now_ms;
	int64_t wall_ms;
	struct sl_arena arena;
	struct sl_buf out; /* bytes of the actions */
	struct sl_buf key;
	struct sl_buf value;
	struct txn_action *actions; /* Owned. */
	size_t *actions_pos;        /* Owned.  Where in @out the bytes of each begin. */
	uint32_t actions_count;
	uint32_t actions_cap;
	uint64_t counters[COUNT_NR];
};

static inline void coord_count(struct txn_coord *c, enum counter_id which)
{
	c->counters[which]++;
}

/* ---- table.c: ids and their states ---- */
const char *table_state_name(enum txn_state state);
/* Kafka's table of previous states. */
bool table_can_move(enum txn_state from, enum txn_state to);
static inline bool table_is_preparing(enum txn_state state)
{
	return state == TXN_PREPARE_COMMIT || state == TXN_PREPARE_ABORT;
}
struct shard *table_shard(const struct txn_coord *c, struct sl_str id);
enum sl_kerr table_check_shard(struct txn_coord *c, struct sl_str id);
struct txn *table_find(const struct txn_coord *c, struct sl_str id);
/* Return: 0; -ENOSPC too many; -ENOMEM. */
int table_create(struct txn_coord *c, struct sl_str id, struct txn **out) SL_MUST_CHECK;
/* Whoever waits is answered with @kerr. */
void table_destroy(struct txn_coord *c, struct txn *t, enum sl_kerr kerr);
/* Becomes @image; the id moves to the list of its state. */
void table_set(struct txn_coord *c, struct txn *t, const struct image *image);
/* Nothing may begin: something is on its way to the log, or markers are. */
static inline bool table_is_busy(const struct txn *t)
{
	return t->is_pending || table_is_preparing(t->now.state);
}
/* Return: 0; -EAGAIN none is left, a block was asked for. */
int table_take_producer_id(struct txn_coord *c, int64_t *out) SL_MUST_CHECK;

/* ---- partset.c: partitions of a transaction ---- */
struct part *partset_find(const struct txn *t, struct sl_str topic, int32_t partition);
/* Return: 0, and the partition is there, as ADDING if it was not; -ENOSPC; -ENOMEM. */
int partset_add(struct txn *t, struct sl_str topic, int32_t partition) SL_MUST_CHECK;
struct sl_str partset_topic(const struct part *p);
void partset_remove(struct txn_coord *c, struct part *p);
void partset_clear(struct txn_coord *c, struct txn *t);
/* Those that are being added are in, or go again. */
void partset_settle(struct txn_coord *c, struct txn *t, bool is_in);

/* ---- answer.c: actions of a step, and who waits for an answer ---- */
/* Room for @n more actions beside the answers that may come.  False: no memory. */
bool answer_has_room(struct txn_coord *c, uint32_t n);
void answer_close(struct txn_coord *c, const struct reply_to *to, enum counter_id why);
/* @m: the response struct of @to's API. */
void answer_send(struct txn_coord *c, const struct reply_to *to, const void *m);
/* An answer of @to's API that says @kerr, or success with what @t is then; @body: the request's. */
void answer_result(struct txn_coord *c, const struct reply_to *to, struct sl_bytes body,
                   enum sl_kerr kerr, const struct txn *t);
/* NULL: too many, or no memory; counted.  @rq's body is kept. */
struct waiter *answer_hold(struct txn_coord *c, const struct request *rq);
struct waiter *answer_hold_question(struct txn_coord *c, const struct txn_event *ev);
/* Answers, unless the client is gone.  Ownership: takes @w. */
void answer_waiter(struct txn_coord *c, struct waiter *w, enum sl_kerr kerr, const struct txn *t);
void answer_forget(struct txn_coord *c, struct waiter *w);
void answer_cancel(struct txn_coord *c, uint64_t handle);
void answer_append(struct txn_coord *c, const struct shard *shard, uint64_t cookie, size_t pos);
void answer_mark(struct txn_coord *c, const struct part *p);
void answer_ask_ids(struct txn_coord *c);
void answer_all(struct txn_coord *c, struct sl_list *waiters, enum sl_kerr kerr,
                const struct txn *t);

/* ---- journal.c: records on their way to the log ---- */
/* The next image, a copy of the present one in state @to.  Nothing may be pending. */
struct image *journal_begin(struct txn *t, enum txn_state to);
/* Hands out the record of t->next.  Return: 0, and t is pending; -ENOMEM, counted. */
int journal_write(struct txn_coord *c, struct txn *t) SL_MUST_CHECK;
void journal_done(struct txn_coord *c, const struct txn_event *ev);

/* ---- Handlers of the APIs; the decoded request is the caller's. ---- */
void init_handle(struct txn_coord *c, const struct request *rq, const void *m);
void add_handle_partitions(struct txn_coord *c, const struct request *rq, const void *m);
void add_handle_offsets(struct txn_coord *c, const struct request *rq, const void *m);
void add_handle_verify(struct txn_coord *c, const struct txn_event *ev);
/* Questions that waited for what was pending. */
void add_run_held(struct txn_coord *c, struct txn *t);
void end_handle(struct txn_coord *c, const struct request *rq, const void *m);
/* Aborts an ongoing transaction and bumps the epoch, against its producer.  Return: 0; -EAGAIN no
 * producer id is left; -ENOMEM. */
int end_fence(struct txn_coord *c, struct txn *t) SL_MUST_CHECK;

/* ---- marker.c ---- */
/* The decision is on the log: its markers go out. */
void marker_start(struct txn_coord *c, struct txn *t);
void marker_done(struct txn_coord *c, const struct txn_event *ev);
/* Sends as many as may be on their way. */
void marker_pump(struct txn_coord *c);
void marker_retry(struct txn_coord *c);

/* ---- scan.c: what time brings ---- */
void scan_tick(struct txn_coord *c);
void scan_retry_later(struct txn_coord *c);
/* When to look next. */
int64_t scan_next(struct txn_coord *c);

/* ---- replay.c ---- */
void replay_begin(struct txn_coord *c, struct shard *shard);
void replay_batches(struct txn_coord *c, struct shard *shard, struct sl_bytes batches);
/* @epoch: of the coordinator.  Not before the partition is read: who leads it is settled then. */
void replay_end(struct txn_coord *c, struct shard *shard, int32_t epoch);
void replay_drop(struct txn_coord *c, struct shard *shard);

/* ---- txn.c ---- */
/* Runs a request whose waiter was held for want of producer ids.  Ownership: takes @w. */
void txn_run_again(struct txn_coord *c, struct waiter *w);

#endif
