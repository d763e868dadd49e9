/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated world around the real coordinator: clients of both protocols, a network that loses,
 * repeats and reorders, a log that refuses and forgets, a clock that jumps.  Everything follows
 * from the seed.
 */
#ifndef TESTS_SIM_GROUP_WORLD_H
#define TESTS_SIM_GROUP_WORLD_H

#include "consumer.h"
#include "group.h"
#include "plant.h"

#include "sluice/base/buf.h"

#define TOPICS            4
#define PARTS             8
#define CLIENTS           7
#define RACKS             3
#define GROUP             "g"
#define SESSION_MS        10000
#define HEARTBEAT_MS      1000
#define REBALANCE_MS      8000
/* What Kafka's client asks for: nobody who waits for it has what it should within a test. */
#define REBALANCE_LONG_MS 300000
#define REQUEST_MS        4000
#define MESSAGES_MAX      4096
#define REQUESTS_MAX      65536
#define COMMITS_MAX       16384

struct world_times {
	int32_t session_ms;
	int32_t heartbeat_ms;
	int32_t rebalance_ms;
	int32_t request_ms; /* a client gives up waiting after this */
};

enum phase {
	PHASE_JOIN = 0,
	PHASE_SYNC,
	PHASE_STABLE,
};

struct client {
	bool is_alive;
	bool is_classic;
	bool is_regex;
	bool is_slow;   /* gives nothing up for long */
	uint8_t topics; /* bits */
	uint8_t rack;   /* RACKS: none */
	char id[80];
	char instance[16]; /* "": dynamic */
	int32_t epoch;
	/* What it reads, by topic; of which incarnation. */
	uint32_t owned[TOPICS];
	uint32_t owned_of[TOPICS];
	/* What it was told to read. */
	uint32_t told[TOPICS];
	uint32_t told_of[TOPICS];
	uint64_t target; /* of its last assignment; 0: none since it joined */
	bool has_told;   /* and did not do so yet */
	bool is_report_due;
	bool is_reporting; /* with what it sends now */
	int64_t apply_ms;
	uint32_t reported[TOPICS];
	bool is_full;
	uint64_t waits_for; /* handle; 0: nothing */
	int64_t waits_until;
	int64_t next_ms;
	enum phase phase;
	bool is_leader;
	int32_t seen[TOPICS];          /* partitions, when the leader planned */
	uint32_t incarnations[TOPICS]; /* that the answer it got last speaks of */
	struct sl_buf plan;            /* the leader's SyncGroup assignments, encoded one by one */
};

enum request_state {
	REQUEST_TRAVELS = 0,
	REQUEST_HELD,
	REQUEST_DONE,
};

struct sent {
	enum request_state state;
	int8_t client; /* -1: nobody waits */
	int16_t api;
	int16_t version;
	int32_t commit; /* index in commits; -1 */
	bool is_stale_commit;
	bool is_lost;                  /* with its connection, which its client sees */
	uint32_t incarnations[TOPICS]; /* that the answer speaks of */
};

struct message {
	int64_t due_ms;
	bool is_request;
	uint64_t handle;
	void *bytes; /* Owned. */
	int32_t len;
};

enum commit_state {
	COMMIT_SENT = 0,
	COMMIT_ACKED,
	COMMIT_OLD,
};

struct commit_info {
	uint8_t topic;
	uint8_t partition;
	enum commit_state state;
	char id[80];          /* of the member */
	uint32_t incarnation; /* of the topic */
	int32_t epoch;
};

struct batch {
	int64_t due_ms;
	uint64_t cookie;
	void *bytes; /* Owned. */
	int32_t len;
};

struct world {
	uint64_t seed;
	uint64_t rng;
	int64_t now_ms;
	int64_t wall_ms;
	int64_t next_tick_ms;
	struct group_coord *coord;
	struct group_opts opts;
	struct world_times times;
	struct {
		int32_t partitions; /* 0: gone */
		uint32_t incarnation;
		uint8_t racks[PARTS]; /* bits */
	} topics[TOPICS];
	uint8_t *log;
	size_t log_len;
	size_t log_cap;
	int64_t log_next;
	struct batch batches[1024];
	uint32_t batches_count;
	struct message messages[MESSAGES_MAX];
	uint32_t messages_count;
	struct sent sent[REQUESTS_MAX]; /* by handle */
	uint64_t handle_next;
	struct client clients[CLIENTS];
	struct commit_info commits[COMMITS_MAX];
	int32_t commits_count;
	int32_t acked[TOPICS][PARTS]; /* commit; -1 */
	uint64_t id_next;
	int32_t told_epoch; /* highest that a client of the group was told */
	bool is_calm;       /* no more faults */
	bool has_commits;   /* clients commit what they like, outside of transactions */
	bool is_eager;
	bool has_classic;
	bool has_consumer;
	bool has_racks;
	bool is_loaded; /* nothing is quick, also when it is calm */
	bool is_traced;
	bool is_loading; /* what is read is not complete yet */
	uint64_t steps;
	uint64_t restarts;
	const char *failure;
	char failure_text[512];
	struct sl_arena arena;
};

/* ---- world.c: chance, topics ---- */
uint64_t world_random(struct world *w);
/* Below @n. */
uint32_t world_below(struct world *w, int32_t n);
/* In @per_mille of all cases, and never when it is calm. */
bool world_fault(struct world *w, int32_t per_mille);
void world_fail(struct world *w, const char *format, ...) SL_PRINTF(2, 3);
void world_trace(const struct world *w, const char *format, ...) SL_PRINTF(2, 3);
struct sl_uuid world_topic_id(const struct world *w, int32_t topic);
/* -1: none of these, or of an earlier incarnation. */
int32_t world_topic(const struct world *w, const struct sl_uuid *id);
/* RACKS: null. */
struct sl_str world_rack(uint8_t rack);
/* The coordinator shall see the world's topics. */
void world_show_topics(struct world *w, struct group_opts *opts);
struct group *world_group(const struct world *w);

/* ---- network.c ---- */
/* Sends a request; @client -1: the answer is of no interest. */
uint64_t world_send(struct world *w, int8_t client, int16_t api, int16_t version,
                    const struct sl_buf *body, int32_t commit);
/* One message that is due by now.  Return: whether there was one. */
bool network_deliver(struct world *w);
/* Takes the coordinator's answer to a request. */
void network_take(struct world *w, const struct group_action *a);
/* The connections to the coordinator are gone, with all that was on its way. */
void network_lose(struct world *w);

/* ---- server.c, of this simulator alone ---- */
void world_init(struct world *w, uint64_t seed, bool is_traced);
void world_fini(struct world *w);
void world_restart(struct world *w);
/* Everything that is due by now. */
void world_run(struct world *w);
void world_change_topics(struct world *w);
void world_move_replicas(struct world *w);
/* Each simulator has its own: it gives @ev to the coordinator and does what that wants. */
void world_step(struct world *w, struct group_event *ev);

/* ---- client.c: both kinds ---- */
void client_start(struct world *w, int8_t index, bool is_classic);
void client_run(struct world *w, int8_t index);
/* Its thread is busy: for now it neither begins with a partition nor gives one up. */
void client_hold(struct world *w, int8_t index);
/* When nobody else is going to come: ends those that may never join the group that there is. */
void client_end_hopeless(struct world *w);
void client_answer(struct world *w, int8_t index, int16_t api, int16_t version,
                   struct sl_cursor *c);
void client_crash(struct world *w, int8_t index);
void client_leave(struct world *w, int8_t index);
void client_drop(struct client *c);
void client_give_up(struct world *w, int8_t index);
void client_forget_gone(struct world *w, struct client *c);
struct sl_str client_topic_name(int32_t topic);
bool client_reads(const struct world *w, const struct client *c, int32_t topic);
void client_wait(struct world *w, int8_t index, uint64_t handle);

/* ---- consumer_client.c ---- */
void consumer_client_run(struct world *w, int8_t index);
void consumer_client_answer(struct world *w, int8_t index, int16_t version, struct sl_cursor *c);
void consumer_client_leave(struct world *w, int8_t index);

/* ---- classic_client.c ---- */
void classic_client_run(struct world *w, int8_t index);
void classic_client_answer(struct world *w, int8_t index, int16_t api, int16_t version,
                           struct sl_cursor *c);
void classic_client_leave(struct world *w, int8_t index);

/* ---- check.c: what must hold ---- */
void check_step(struct world *w);
void check_loaded(struct world *w);
void check_end(struct world *w);
void check_commit_answer(struct world *w, const struct sent *s, struct sl_bytes bytes);
bool check_is_stale(const struct world *w, const struct commit_info *k);

#endif
