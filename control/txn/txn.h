/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transaction coordinator: transactional ids, their producers and transactions, as one pure step
 * function.
 *
 * No clock, I/O, randomness or globals: time arrives in the event, and what must be done comes out
 * as actions.  State lives in memory and on __transaction_state in Kafka's record format; the
 * caller appends the batches and writes the markers it is handed, and feeds back the outcome.
 */
#ifndef CONTROL_TXN_TXN_H
#define CONTROL_TXN_TXN_H

#include "sluice/base/base.h"
#include "sluice/base/buf.h"
#include "sluice/wire/kerr.h"
#include "sluice/wire/marker.h"

struct txn_coord;

struct txn_opts {
	int32_t partitions_count;         /* of __transaction_state */
	int32_t offsets_partitions_count; /* of __consumer_offsets */
	int32_t timeout_max_ms;           /* transaction.max.timeout.ms */
	int64_t id_expiration_ms;         /* transactional.id.expiration.ms */
	int64_t id_expiration_check_ms;
	int64_t abort_check_ms; /* how often transactions past their time-out are looked for */
	/* Topics, as the metadata has them now.  @ctx is given back. */
	void *ctx;
	bool (*has_partition)(void *ctx, struct sl_str topic, int32_t partition);
};

enum txn_event_type {
	TXN_EV_REQUEST = 0,  /* answered by exactly one RESPOND or CLOSE, now or later */
	TXN_EV_CANCEL,       /* the client of an unanswered request is gone */
	TXN_EV_VERIFY,       /* answered by exactly one VERIFIED, now or later */
	TXN_EV_APPENDED,     /* outcome of an APPEND action */
	TXN_EV_MARKED,       /* outcome of a MARK action */
	TXN_EV_PRODUCER_IDS, /* outcome of a PRODUCER_IDS action */
	TXN_EV_TICK,
	TXN_EV_LOAD_BEGIN,   /* this __transaction_state partition is being read */
	TXN_EV_LOAD_BATCHES, /* record batches of it, in order, complete ones */
	TXN_EV_LOAD_END,     /* it is now served; what was prepared is completed */
	TXN_EV_UNLOAD,       /* not served any more: drop its ids, fail their held requests */
};

/* May this producer's transaction reach this partition? */
struct txn_verify {
	struct sl_str transactional_id;
	int64_t producer_id;
	int16_t producer_epoch;
	struct sl_str topic;
	int32_t partition;
	/* The partition joins the transaction, which begins if there is none (transaction.version
	 * 2); else the answer only says whether it is in. */
	bool is_add;
};

struct txn_event {
	enum txn_event_type type;
	int64_t now_ms;            /* monotonic */
	int64_t wall_ms;           /* wall clock: transactions outlive this process */
	int32_t partition;         /* LOAD_*, UNLOAD */
	int32_t coordinator_epoch; /* LOAD_END: leader epoch of the partition */
	/* REQUEST, CANCEL, VERIFY */
	uint64_t handle; /* the caller's name for it, unique while unanswered */
	int16_t api_key; /* 22, 24, 25, 26 */
	int16_t version;
	int32_t correlation_id;
	struct sl_bytes body; /* request body after the header */
	struct txn_verify verify;
	/* APPENDED, MARKED */
	uint64_t cookie;
	enum sl_kerr kerr; /* also PRODUCER_IDS */
	/* PRODUCER_IDS: may be given away, never twice */
	int64_t ids_first;
	int32_t ids_count;
	/* LOAD_BATCHES */
	struct sl_bytes batches;
};

enum txn_action_type {
	TXN_ACT_RESPOND = 0, /* send @bytes (response header and body) to @handle's client */
	TXN_ACT_CLOSE,       /* the request was malformed: close the connection of @handle */
	TXN_ACT_APPEND, /* append @bytes (one batch v2) to @partition, then EV_APPENDED @cookie */
	/* End the transaction on @topic's @partition, then EV_MARKED @cookie.  Repeated until it
	 * worked, so it may come twice. */
	TXN_ACT_MARK,
	TXN_ACT_VERIFIED,     /* the answer to EV_VERIFY @handle is @kerr */
	TXN_ACT_PRODUCER_IDS, /* fetch a block of producer ids, then EV_PRODUCER_IDS */
};

struct txn_action {
	enum txn_action_type type;
	uint64_t handle;
	uint64_t cookie;
	int32_t partition;
	enum sl_kerr kerr;
	struct sl_bytes bytes; /* valid until the next txn_step(), as is @topic */
	struct sl_str topic;
	struct sl_txn_marker marker;
};

struct txn_actions {
	struct txn_action *list; /* owned by the coordinator, valid until the next step */
	uint32_t count;
	int64_t next_ms; /* monotonic time of the next TICK with work; INT64_MAX none */
};

/* Return: 0; -EINVAL; -ENOMEM. */
int txn_create(struct txn_coord **out, const struct txn_opts *opts) SL_MUST_CHECK;
void txn_destroy(struct txn_coord *c);
void txn_step(struct txn_coord *c, const struct txn_event *ev, struct txn_actions *out);

/* The partition of __transaction_state that holds an id. */
int32_t txn_partition(const struct txn_coord *c, struct sl_str transactional_id);
/* The number of partitions of __consumer_offsets is another one. */
void txn_set_offsets_partitions(struct txn_coord *c, int32_t count);

/* ---- Views for the admin APIs, metrics and the CLI.  Pointers are valid until the next step. ----
 */
struct txn_view {
	struct sl_str transactional_id;
	const char *state; /* "Empty", "Ongoing", "PrepareCommit", "PrepareAbort", ... */
	int64_t producer_id;
	int16_t producer_epoch;
	int32_t timeout_ms;
	int64_t start_ms; /* wall clock; -1 no transaction since the last InitProducerId */
	int64_t update_ms;
	uint32_t parts;
	int32_t partition; /* of __transaction_state */
	int32_t coordinator_epoch;
};
/* NONE when questions about the id can be answered here, else what the client is told. */
enum sl_kerr txn_check(const struct txn_coord *c, struct sl_str transactional_id);
/* Return: false unknown. */
bool txn_find(const struct txn_coord *c, struct sl_str transactional_id, struct txn_view *out);
/* Start with *pos = 0.  Return: false at the end. */
bool txn_next(const struct txn_coord *c, uint32_t *pos, struct txn_view *out);
struct txn_part_view {
	struct sl_str topic;
	int32_t partition;
};
/* Partitions of one id's transaction, same way. */
bool txn_next_part(const struct txn_coord *c, struct sl_str transactional_id, uint32_t *pos,
                   struct txn_part_view *out);
bool txn_is_loading(const struct txn_coord *c);
/* Whether @name is one of Kafka's states. */
bool txn_is_state(struct sl_str name);

struct txn_gauges {
	uint32_t ids;
	uint32_t ongoing;
	uint32_t preparing;      /* markers are being written */
	uint32_t markers_queued; /* not sent yet, or to be sent again */
	uint32_t markers_retry;  /* of them, those that their partition could not take */
	/* All markers are written, but the log has refused the record that says so. */
	uint32_t completions_retry;
	uint32_t markers_in_flight;
	uint32_t held; /* requests and questions that wait */
};
/* Walks over what waits. */
void txn_gauges(const struct txn_coord *c, struct txn_gauges *out);
/* Counters since creation, by name; NULL at the end of @index. */
const char *txn_counter(const struct txn_coord *c, uint32_t index, uint64_t *value);

#endif
