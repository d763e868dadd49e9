/* SPDX-License-Identifier: Apache-2.0 */
/* Connections that write. */
#ifndef LOAD_PRODUCE_H
#define LOAD_PRODUCE_H

#include "worker.h"

/* Room for a frame up to the records, and for all of a small one. */
#define PRODUCE_HEAD_BYTES 1024

/* What one connection writes to one partition. */
struct stream {
	struct sl_list link; /* in the producer's ready list, or in none */
	struct producer *producer;
	int32_t partition;
	int index;           /* in the worker's schedule */
	uint64_t id;         /* marks its values */
	uint64_t issued;     /* records begun */
	uint64_t acked;      /* records done */
	uint64_t pending;    /* records due and not begun; with --rate */
	int64_t producer_id; /* or SL_BATCH_NO_PRODUCER_ID */
	int16_t producer_epoch;
	int32_t sequence;            /* of the next batch */
	size_t prefix_records_bytes; /* for which prefix was made */
	size_t prefix_bytes;
	uint8_t prefix[PRODUCE_HEAD_BYTES / 2]; /* the frame up to the records */
};

enum producer_state {
	PRODUCER_WAITING = 0, /* for newer metadata, or for the back-off to pass */
	PRODUCER_CONNECTING,
	PRODUCER_OPEN,
	PRODUCER_DRAINING, /* something failed: what is under way is awaited, nothing new is sent */
};

struct request;

struct producer {
	struct worker *worker;
	struct conn conn;
	enum producer_state state;
	struct sockaddr_storage addr; /* of the leader */
	struct stream **streams;      /* Owned array */
	int streams_count, streams_cap;
	struct sl_list ready;   /* streams with records to send */
	struct sl_list sent;    /* requests handed to the socket or about to be, in order */
	struct sl_list failed;  /* requests to be sent again, in order */
	struct sl_list resend;  /* the same, once the leader is known again */
	struct request *unsent; /* first request in sent that is not wholly written */
	size_t unsent_pos;
	int in_flight;
	int repeating; /* of these, sent for another time */
	int32_t next_id;
	int16_t version; /* of Produce */
	uint32_t wait_version;
	uint64_t wait_until_ns;
	uint64_t failing_since_ns; /* 0: not */
};

int producer_create(struct worker *w, const struct sockaddr_storage *addr,
                    struct producer **out) SL_MUST_CHECK;
void producer_destroy(struct producer *p);
/* A new stream of @p's.  Return: 0; -ENOMEM. */
int producer_add(struct producer *p, int32_t partition, uint64_t id,
                 const struct cluster_producer *producer_id) SL_MUST_CHECK;
/* Begins to connect. */
void producer_start(struct producer *p, uint64_t now_ns);
/* The stream has records to send. */
void producer_ready(struct stream *s);
/* Sends what is ready, as far as it may. */
void producer_fill(struct producer *p, uint64_t now_ns);
/* Time has passed: retries, time-outs. */
void producer_tick(struct producer *p, uint64_t now_ns);
/* Nothing is under way and nothing waits to be sent again. */
bool producer_is_idle(const struct producer *p);
/* Records that were due and could not be begun before the end: their latency is at least what they
 * have waited.  Without them a stall at the end would not be seen. */
void producer_count_unsent(struct worker *w);
void producer_free_requests(struct worker *w);

#endif
