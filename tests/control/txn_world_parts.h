/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the world share: its state, and who sends what to whom. */
#ifndef TESTS_CONTROL_TXN_WORLD_PARTS_H
#define TESTS_CONTROL_TXN_WORLD_PARTS_H

#include "txn_world.h"

#include "group/group.h"
#include "sluice/base/arena.h"
#include "sluice/wire/batch.h"
#include "sluice/wire/kerr.h"
#include "sluice/wire/marker.h"
#include "txn/txn.h"

#define CLIENTS     5
#define IDS         4 /* transactional ids; the last client shares the first one's */
#define TXN_PARTS   2
#define GROUP_PARTS 2
#define DATA_PARTS  3
#define PIDS_MAX    256
#define RECORDS_MAX 4096
#define TXNS_MAX    1024
#define LIFE_MS     12000
#define TIMEOUT_MS  1500 /* of a transaction */
#define PATIENCE_MS 300  /* of a client for an answer */
#define EVENTS_MAX  40000
#define TOLD_MAX    1024
#define WALL_BASE   INT64_C(1700000000000)
#define GROUP       "g"
#define TOPIC       "t"
#define OFFSETS     "__consumer_offsets"
#define ARENA_BYTES (UINT64_C(4) << 20)

enum msg_kind {
	MSG_REQUEST = 0, /* client -> control */
	MSG_PRODUCE,     /* client -> lane */
	MSG_RESPONSE,    /* -> client */
	MSG_WAKE,        /* of a client */
	MSG_APPEND,      /* control -> lane */
	MSG_VERIFIED,    /* control -> lane */
	MSG_APPENDED,    /* lane -> control */
	MSG_VERIFY,      /* lane -> control */
	MSG_MARKED,      /* within control, after the present step */
	MSG_IDS,         /* producer ids are durable */
	MSG_LOAD,        /* a partition has been read */
	MSG_FAULT,
};

enum source {
	FROM_TXN = 0,
	FROM_GROUP,
	FROM_MARK, /* the transaction coordinator's markers */
};

struct msg {
	int64_t at_ms;
	uint64_t order;
	enum msg_kind kind;
	uint64_t life; /* of the link; 0: of no matter */
	enum source source;
	int32_t client;
	uint64_t number; /* of the client's request */
	uint64_t cookie;
	int32_t partition;
	enum sl_kerr kerr;
	int16_t api_key;
	int16_t version;
	struct sl_txn_marker marker;
	/* PRODUCE, VERIFY, VERIFIED */
	int64_t pid;
	int16_t epoch;
	bool is_add;
	uint32_t record;
	void *bytes; /* Owned. */
	int32_t len;
};

enum op {
	OP_INIT = 0,
	OP_ADD,
	OP_PRODUCE,
	OP_ADD_OFFSETS,
	OP_COMMIT_OFFSETS,
	OP_END,
};

enum told {
	TOLD_NOTHING = 0,
	TOLD_COMMIT,
	TOLD_ABORT,
};

/* A transaction as its client sees it. */
struct ctxn {
	enum told told;
	bool has_sent_commit;
	bool has_offset; /* acknowledged */
	int32_t client;
	bool is_in[DATA_PARTS]; /* acknowledged */
	uint32_t record[DATA_PARTS];
	int outcome; /* found on the logs: 0 none, 1 commit, 2 abort */
};

struct client {
	int32_t index;
	char id[8];
	bool is_new_flow;
	bool has_producer;
	int64_t pid;
	int16_t epoch;
	struct ctxn *txn; /* NULL: none */
	bool wants_commit;
	bool wants_offsets;
	bool is_wanted[DATA_PARTS];
	bool is_added[DATA_PARTS];
	bool is_offsets_added;
	bool is_ending;
	/* The request that is waited for. */
	enum op op;
	int32_t op_partition;
	uint64_t number;
	bool is_waiting;
	int tries;
};

struct entry {
	int64_t pid;
	int16_t epoch;
	bool is_marker;
	bool is_commit;
	uint32_t record;
};

struct producer_state {
	int64_t pid;
	int16_t epoch;
	bool is_open;
};

struct data_part {
	struct entry *log;
	uint32_t count;
	uint32_t cap;
	struct producer_state states[PIDS_MAX];
	uint32_t states_count;
};

struct blob {
	uint8_t *bytes;
	size_t len;
	size_t cap;
	int64_t next_offset;
	size_t last_pos; /* of the last batch */
};

/* Where an answer goes. */
struct handle {
	int32_t client;
	uint64_t number;
	int16_t api_key;
	int16_t version;
	void *body; /* Owned: a TxnOffsetCommit that waits to be verified */
	int32_t len;
	bool is_lane;
	uint64_t lane_cookie;
	bool is_used;
};

/* A produce that waits for its verification. */
struct held {
	struct msg msg;
	bool is_used;
};

struct world {
	uint64_t rng;
	enum world_bug bug;
	struct world_stats *stats;
	char *text;
	bool has_failed;
	int64_t now_ms;
	int64_t wall_shift_ms;
	struct msg **heap;
	uint32_t heap_count;
	uint32_t heap_cap;
	uint64_t order;
	int64_t lane_at_ms;
	int64_t ctrl_at_ms;
	uint64_t life;
	bool is_up;
	bool is_healed;
	bool has_restarted;
	struct txn_coord *txn;
	struct group_coord *group;
	int64_t txn_next_ms;
	int64_t group_next_ms;
	int64_t ids_next;
	struct blob txn_log[TXN_PARTS];
	struct blob group_log[GROUP_PARTS];
	struct data_part data[DATA_PARTS];
	struct client clients[CLIENTS];
	struct ctxn txns[TXNS_MAX];
	uint32_t txns_count;
	uint32_t records_count;
	uint32_t record_txn[RECORDS_MAX];
	struct handle *handles;
	uint32_t handles_count;
	uint32_t handles_cap;
	struct held *helds;
	uint32_t helds_count;
	uint32_t helds_cap;
	int64_t logged[IDS][2];    /* last producer and epoch of an id on the log */
	int64_t told[TOLD_MAX][2]; /* producers and epochs that InitProducerId gave away */
	uint32_t told_count;
	int64_t decided[PIDS_MAX][3]; /* pid, state, epoch of the last decision on the log */
	uint32_t decided_count;
	struct sl_arena arena;
	uint64_t events;
};

/* ---- txn_world.c: the clock and its messages ---- */
void fail(struct world *w, const char *fmt, ...) SL_PRINTF(2, 3);
void *grow(void *p, uint32_t count, uint32_t *cap, size_t bytes);
int64_t pick(struct world *w, int64_t n);
uint64_t rnd(struct world *w);
void *copy_bytes(struct sl_bytes b);
void push(struct world *w, const struct msg *from, int64_t at_ms);
void to_client(struct world *w, int32_t client, uint64_t number, enum sl_kerr kerr,
               struct sl_bytes bytes);
void to_control(struct world *w, struct msg *m);
void to_lane(struct world *w, struct msg *m);
void run_until(struct world *w, int64_t end_ms);

/* ---- txn_world_server.c: lanes and control process ---- */
int64_t blob_append(struct blob *b, const void *p, int32_t len);
bool has_record(const struct data_part *part, uint32_t record);
void note_decision(struct world *w, const void *p);
void lane_append(struct world *w, const struct msg *m);
void lane_produce(struct world *w, const struct msg *m);
void lane_verified(struct world *w, const struct msg *m);
void control_appended(struct world *w, const struct msg *m);
void control_request(struct world *w, const struct msg *m);
void control_verify(struct world *w, const struct msg *m);
void group_do(struct world *w, struct group_event *ev);
void make_coordinators(struct world *w);
void txn_do(struct world *w, struct txn_event *ev);
void begin_loading(struct world *w);
void control_load(struct world *w, int32_t i);
void drop_waiting(struct world *w);
void fault(struct world *w);
void lose(struct world *w, bool is_control);

/* ---- txn_world_client.c: clients ---- */
void choose(struct world *w, struct client *k);
void client_response(struct world *w, const struct msg *m);
void client_wake(struct world *w, struct client *k, uint64_t number);
void go_on(struct world *w, struct client *k, int64_t delay_ms);

/* ---- txn_world_check.c: what must hold ---- */
void check_all(struct world *w);

#endif
