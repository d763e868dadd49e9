/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small world around the two coordinators that ship them: processes that read, produce and
 * commit in transactions of both flows, as members of a group of either protocol, lanes with
 * partitions, rings between them, and everything that goes wrong, all from one seed.
 */
#ifndef TESTS_SIM_TXN_TXN_WORLD_H
#define TESTS_SIM_TXN_TXN_WORLD_H

/* The members of the group, their network and their topics are those of tests/sim/group. */
#include "world.h"

#include "sluice/base/arena.h"
#include "sluice/wire/batch.h"
#include "sluice/wire/kerr.h"
#include "sluice/wire/marker.h"
#include "txn.h"

#include "runner.h"

#define PRODUCERS      5
#define IDS            4 /* transactional ids; the last producer shares the first one's */
#define TXN_PARTS      2
#define GROUP_PARTS    2
#define INPUTS         4 /* partitions of the topic that is read */
#define DATA_PARTS     3
#define PIDS_MAX       256
#define RECORDS_MAX    4096
#define TXNS_MAX       1024
#define LIFE_MS        12000
#define TIMEOUT_MS     1500 /* of a transaction */
#define PATIENCE_MS    300  /* of a producer for an answer */
#define EVENTS_MAX     60000
#define TOLD_MAX       1024
#define WALL_BASE      INT64_C(1700000000000)
#define TOPIC          "t"
#define OFFSETS        "__consumer_offsets"
#define ARENA_BYTES    (UINT64_C(4) << 20)
/* The group coordinator's handles of requests that are members' own begin here. */
#define HANDLE_MEMBERS (UINT64_C(1) << 32)

/* Bugs that are planted outside of the coordinators, as if they had made them. */
/* clang-format off */
#define WORLD_PLANTS(X) \
	X(marker_not_written, "a marker is said to be written and is not") \
	X(marker_flipped, "one partition gets the other marker after a restart") \
	X(marker_early, "a marker goes out before the decision is on the log") \
	X(record_not_written, "a record of an id is said to be written and is not") \
	X(record_forgotten, "the last record is not read after a restart") \
	X(everything_verified, "any question is answered with yes") \
	X(offsets_marker_lost, "the group coordinator does not hear of a marker") \
	X(offsets_marker_flipped, "... or hears of the other one") \
	X(offsets_overtaken, "a marker overtakes the offsets that it ends") \
	X(epochs_go_back, "a producer is told an epoch that was given before")
/* clang-format on */

enum world_plant {
	WORLD_SOUND = 0,
#define WORLD_PLANT_ENUM(name, text) WORLD_##name,
	WORLD_PLANTS(WORLD_PLANT_ENUM)
#undef WORLD_PLANT_ENUM
	WORLD_PLANT_NR
};
extern enum world_plant world_plant;

/* What was done, for the simulator to see that something was. */
struct world_stats {
	uint64_t events;
	uint64_t told_commit;
	uint64_t told_abort;
	uint64_t unknown; /* ends whose outcome no producer was told */
	uint64_t records;
	uint64_t offsets;
	uint64_t fenced;
	uint64_t restarts;
	uint64_t refused;  /* appends */
	uint64_t rotated;  /* producer ids, because the epochs were used up */
	uint64_t inputs;   /* that are read and count */
	uint64_t moved;    /* partitions whose reader lost them within a transaction */
	uint64_t stale;    /* offsets that were refused because of their member's epoch */
	uint64_t unstable; /* partitions that a reader had to wait for */
	uint64_t upgrades; /* of the group, to the consumer protocol */
	uint64_t downgrades;
};

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
	MSG_MEMBERS, /* they go on */
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

enum step {
	OP_INIT = 0,
	OP_FETCH_OFFSETS,
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

struct producer {
	int8_t index; /* that of its member, too */
	char id[8];
	bool is_new_flow;
	bool has_producer;
	int64_t pid;
	int16_t epoch;
	struct ctxn *txn; /* NULL: none */
	bool wants_commit;
	bool is_slow; /* within this transaction */
	bool wants_offsets;
	bool is_wanted[DATA_PARTS];
	bool is_added[DATA_PARTS];
	bool is_offsets_added;
	bool is_ending;
	/* What it reads, by partition: bits; where it goes on, -1: it has to ask. */
	uint32_t reads;
	int64_t position[INPUTS];
	uint32_t txn_reads;        /* of these, those that are in the transaction */
	int64_t next[INPUTS];      /* where the transaction leaves off */
	struct commit_info member; /* as which it commits */
	char member_instance[16];
	bool has_lost;         /* one of @txn_reads, before their offsets were taken */
	uint32_t asked;        /* for where to go on, and not lost meanwhile */
	int64_t stalled_until; /* its member is */
	/* The request that is waited for. */
	enum step op;
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
	struct commit_info member; /* of a TxnOffsetCommit */
	bool is_stale;             /* the member was not that any more when it was taken */
	bool is_used;
};

/* A produce that waits for its verification. */
struct held {
	struct msg msg;
	bool is_used;
};

/* What a record is made of. */
struct input {
	int32_t partition; /* -1: of nothing */
	int64_t offset;
};

struct txn_world {
	struct world members; /* its coordinator is the one below */
	bool has_members;     /* else each id reads a partition of its own */
	uint64_t rng;
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
	int64_t txn_next_ms;
	int64_t group_next_ms;
	int64_t ids_next;
	struct blob txn_log[TXN_PARTS];
	struct blob group_log[GROUP_PARTS];
	struct data_part data[DATA_PARTS];
	struct producer producers[PRODUCERS];
	struct ctxn txns[TXNS_MAX];
	uint32_t txns_count;
	uint32_t records_count;
	uint32_t record_txn[RECORDS_MAX];
	struct input record_input[RECORDS_MAX];
	int64_t committed[INPUTS]; /* as the group coordinator has them */
	bool is_group_loaded;
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
void fail(struct txn_world *w, const char *fmt, ...) SL_PRINTF(2, 3);
void *grow(void *p, uint32_t count, uint32_t *cap, size_t bytes);
int64_t pick(struct txn_world *w, int64_t n);
uint64_t rnd(struct txn_world *w);
void *copy_bytes(struct sl_bytes b);
void push(struct txn_world *w, const struct msg *from, int64_t at_ms);
void to_client(struct txn_world *w, int32_t client, uint64_t number, enum sl_kerr kerr,
               struct sl_bytes bytes);
void to_control(struct txn_world *w, struct msg *m);
void to_lane(struct txn_world *w, struct msg *m);
void run_until(struct txn_world *w, int64_t end_ms);

/* ---- txn_world_server.c: lanes and control process ---- */
int64_t blob_append(struct blob *b, const void *p, int32_t len);
bool has_record(const struct data_part *part, uint32_t record);
void note_decision(struct txn_world *w, const void *p);
void lane_append(struct txn_world *w, const struct msg *m);
void lane_produce(struct txn_world *w, const struct msg *m);
void lane_verified(struct txn_world *w, const struct msg *m);
void control_appended(struct txn_world *w, const struct msg *m);
void control_request(struct txn_world *w, const struct msg *m);
void control_verify(struct txn_world *w, const struct msg *m);
void group_do(struct txn_world *w, struct group_event *ev);
void make_coordinators(struct txn_world *w);
void txn_do(struct txn_world *w, struct txn_event *ev);
void begin_loading(struct txn_world *w);
void control_load(struct txn_world *w, int32_t i);
void drop_waiting(struct txn_world *w);
void fault(struct txn_world *w);
void lose(struct txn_world *w, bool is_control);

/* ---- txn_world_producer.c: producers ---- */
void choose(struct txn_world *w, struct producer *k);
void producer_response(struct txn_world *w, const struct msg *m);
void producer_wake(struct txn_world *w, struct producer *k, uint64_t number);
void go_on(struct txn_world *w, struct producer *k, int64_t delay_ms);
void give_up(struct txn_world *w, struct producer *k);

/* ---- txn_world_requests.c: what producers send ---- */
void send_op(struct txn_world *w, struct producer *k);

/* ---- txn_world_members.c: the members that the producers are ---- */
void members_start(struct txn_world *w, uint64_t seed, bool is_traced);
void members_go_on(struct txn_world *w);
/* Sees what the producers have lost and what they have to read. */
void members_look(struct txn_world *w);

/* ---- txn_world_check.c: what must hold ---- */
void check_committed(struct txn_world *w);
void check_all(struct txn_world *w);

/* ---- txn_world.c ---- */
/* Plays one seed; adds to @stats.  Return: whether all held; else @text says what did not. */
bool txn_world_run(uint64_t seed, bool is_traced, struct world_stats *stats,
                   char text[RUNNER_TEXT_MAX]);

#endif
