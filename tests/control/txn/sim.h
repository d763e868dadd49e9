/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A transaction coordinator with a virtual clock, a log in memory, a mailbox of answers and a list
 * of markers.  Requests are encoded and answers decoded with the real codec; what a caller may rely
 * on is checked on every action.
 */
#ifndef TESTS_CONTROL_TXN_SIM_H
#define TESTS_CONTROL_TXN_SIM_H

#include "txn.h"

#include "sluice/base/arena.h"
#include "sluice/wire/add_offsets_to_txn_gen.h"
#include "sluice/wire/add_partitions_to_txn_gen.h"
#include "sluice/wire/apis.h"
#include "sluice/wire/end_txn_gen.h"
#include "sluice/wire/init_producer_id_gen.h"

#define SIM_PARTITIONS  4
#define SIM_TOPICS      8  /* "t0".."t7" */
#define SIM_TOPIC_PARTS 16 /* of each topic */
#define SIM_OFFSETS     10 /* partitions of __consumer_offsets */
#define SIM_TIMEOUT_MS  60000
#define SIM_MAX_MS      900000
#define SIM_EXPIRY_MS   INT64_C(604800000)
#define SIM_ABORT_MS    10000
#define SIM_WALL_BASE   INT64_C(1700000000000)
#define SIM_EPOCH       7 /* of the coordinator */

enum sim_mail_state {
	SIM_WAITING = 0,
	SIM_ANSWERED,
	SIM_CLOSED,
	SIM_CANCELLED,
};

struct sim_mail {
	enum sim_mail_state state;
	int16_t api_key; /* 0: a question */
	int16_t version;
	enum sl_kerr kerr; /* of a question */
	void *bytes;
	int32_t len;
};

struct sim_batch {
	uint64_t cookie;
	int32_t partition;
	void *bytes;
	int32_t len;
};

struct sim_mark {
	uint64_t cookie;
	char topic[64];
	int32_t partition;
	struct sl_txn_marker marker;
	bool is_told;
};

struct sim_log {
	uint8_t *bytes;
	size_t len;
	size_t cap;
	int64_t next_offset;
};

struct sim {
	struct txn_coord *c;
	struct txn_opts opts;
	int64_t now_ms;
	int64_t wall_shift_ms;
	int64_t next_ms;
	bool is_holding;       /* batches wait for sim_flush() */
	bool is_holding_marks; /* markers wait for sim_mark() */
	bool is_holding_ids;
	bool wants_ids;
	int64_t ids_next;
	int32_t ids_block;
	struct sim_mail *mails;
	uint32_t mails_count;
	uint32_t mails_cap;
	struct sim_batch *queue;
	uint32_t queue_count;
	uint32_t queue_cap;
	struct sim_mark *marks; /* all so far */
	uint32_t marks_count;
	uint32_t marks_cap;
	struct sim_log logs[SIM_PARTITIONS];
	uint64_t appended; /* batches */
	bool is_topic_gone[SIM_TOPICS];
	struct sl_arena arena; /* of decoded answers */
};

void sim_init(struct sim *s);
/* As sim_init(), with changed options and nothing loaded. */
void sim_init_opts(struct sim *s, const struct txn_opts *opts);
struct txn_opts sim_default_opts(struct sim *s);
void sim_fini(struct sim *s);

void sim_step(struct sim *s, struct txn_event *ev);
void sim_load_all(struct sim *s);
void sim_partition(struct sim *s, enum txn_event_type type, int32_t partition);
/* A new coordinator is made of what is on the log; what is on its way is lost. */
void sim_reload(struct sim *s);
/* Moves the clock, with a tick at each time that the coordinator asked for. */
void sim_advance(struct sim *s, int64_t ms);
/* Outcome of everything queued, in order.  On success the batches go to the log. */
void sim_flush(struct sim *s, enum sl_kerr kerr);
/* Outcome of all markers that are not told yet. */
void sim_mark(struct sim *s, enum sl_kerr kerr);
void sim_mark_one(struct sim *s, uint32_t index, enum sl_kerr kerr);
void sim_give_ids(struct sim *s, enum sl_kerr kerr);
void sim_cancel(struct sim *s, uint64_t handle);
uint64_t sim_counter(const struct sim *s, const char *name);
/* Puts bytes on the log of an id's partition. */
void sim_put(struct sim *s, const char *id, const void *p, size_t len);

uint64_t sim_send(struct sim *s, int16_t api_key, int16_t version, const void *req);
uint64_t sim_send_raw(struct sim *s, int16_t api_key, int16_t version, const void *p, size_t len);
enum sim_mail_state sim_state(const struct sim *s, uint64_t handle);
const void *sim_answer(struct sim *s, uint64_t handle);

/* ---- Requests as clients write them ---- */
struct sim_producer {
	int64_t id;
	int16_t epoch;
};
uint64_t sim_init_send(struct sim *s, int16_t version, const char *id, struct sim_producer from,
                       int32_t timeout_ms);
/* Error of the answer; fills @out when there is none. */
int16_t sim_inited(struct sim *s, uint64_t handle, struct sim_producer *out);
/* A new producer of the id, version 4; must succeed. */
struct sim_producer sim_producer(struct sim *s, const char *id);
uint64_t sim_add_send(struct sim *s, int16_t version, const char *id, struct sim_producer p,
                      int32_t topic, int32_t partition);
/* Error of the only partition. */
int16_t sim_added(struct sim *s, uint64_t handle);
int16_t sim_add(struct sim *s, const char *id, struct sim_producer p, int32_t topic,
                int32_t partition);
uint64_t sim_add_offsets_send(struct sim *s, int16_t version, const char *id, struct sim_producer p,
                              const char *group);
int16_t sim_added_offsets(struct sim *s, uint64_t handle);
uint64_t sim_end_send(struct sim *s, int16_t version, const char *id, struct sim_producer p,
                      bool is_commit);
/* Error; fills @out, from version 5 on, when there is none. */
int16_t sim_ended(struct sim *s, uint64_t handle, struct sim_producer *out);
uint64_t sim_ask(struct sim *s, const char *id, struct sim_producer p, int32_t topic,
                 int32_t partition, bool is_add);
int sim_told(struct sim *s, uint64_t handle); /* -1: not yet */
const char *sim_txn_state(struct sim *s, const char *id);
uint32_t sim_parts(struct sim *s, const char *id);

#endif
