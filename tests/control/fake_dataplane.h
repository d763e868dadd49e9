/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A data plane for tests, in a thread of this process: it listens like the real one, acknowledges
 * images, keeps logs in memory and lets a test play clients.  Its memory survives fake_stop(), so
 * that a new start is a restart.
 */
#ifndef TESTS_CONTROL_FAKE_DATAPLANE_H
#define TESTS_CONTROL_FAKE_DATAPLANE_H

#include "sluice/base/base.h"
#include "sluice/ipc/msg.h"
#include "sluice/ipc/stats.h"
#include "sluice/wire/batch.h"
#include "sluice/wire/marker.h"

struct fake;

/* One partition as an image has it. */
struct fake_partition {
	int32_t leader_id;
	int32_t leader_epoch;
};

/* A topic of the image that is served. */
struct fake_topic {
	struct sl_uuid id;
	char name[256];
	bool is_internal;
	int32_t partitions_count;
	struct fake_partition partitions[64]; /* the first ones */
	char *configs;                        /* "name=value\n"... */
};

struct fake_answer {
	uint8_t *p; /* malloc'ed */
	size_t len;
	bool is_close;
};

struct fake *fake_create(const char *data_dir);
void fake_destroy(struct fake *f);
/* Begins to listen with a new incarnation; the logs are what they were. */
void fake_start(struct fake *f, uint32_t lanes);
/* As if killed: the attachment ends, partitions are closed, unanswered requests forgotten. */
void fake_stop(struct fake *f);

/* Hostile or slow behaviour, set at any time. */
void fake_hold_acks(struct fake *f, bool hold);
/* Slots are told after the acknowledgement: when @late is false again. */
void fake_late_slots(struct fake *f, bool late);
void fake_stop_reading(struct fake *f, bool stop);
void fake_fail_appends(struct fake *f, int32_t kerr); /* 0: appends work */
/* Only appends to this topic fail; NULL: to none. */
void fake_fail_topic(struct fake *f, const char *topic, int32_t kerr);
/* Puts any message into the ring of a channel. */
void fake_send_raw(struct fake *f, uint32_t channel, uint32_t type, const void *p, size_t len);
/* Hears control processes and does not answer them, as while it saves what they hold. */
void fake_hold_answer(struct fake *f, bool hold);
/* The next answers come with @count tiers; the first word of each is its number, from @first on. */
void fake_use_tiers(struct fake *f, uint32_t count, uint64_t first);
/* Ends the attachment without ending the data plane. */
void fake_drop_link(struct fake *f);

/* Sets a lane's counter. */
void fake_stat(struct fake *f, uint32_t lane, enum sl_stat stat, uint64_t value);

/* A client's request over a lane; @seq is the caller's. */
void fake_request(struct fake *f, uint32_t lane, uint64_t seq, const void *frame, size_t len);
void fake_cancel(struct fake *f, uint32_t lane, uint64_t seq);
/* Return: whether it was answered; the answer is handed over. */
bool fake_take_answer(struct fake *f, uint64_t seq, struct fake_answer *out);

/* A lane's question about a transaction; @cookie is the caller's, not 0. */
void fake_verify(struct fake *f, uint32_t lane, const struct sl_ipc_txn_verify *head,
                 const char *transactional_id);
/* Return: whether it was answered. */
bool fake_take_verified(struct fake *f, uint64_t cookie, int32_t *kerr);

/* How many control processes were heard; what the last one held: their numbers, their count. */
uint32_t fake_offers(struct fake *f);
uint32_t fake_offered(struct fake *f, uint64_t words[SL_SHM_LANES_MAX]);

/* What was seen so far. */
bool fake_topic(struct fake *f, const char *name, struct fake_topic *out); /* free(out->configs) */
uint32_t fake_topics_count(struct fake *f);
uint64_t fake_revision(struct fake *f); /* of the served image */
uint32_t fake_full_images(struct fake *f);
uint32_t fake_deletions(struct fake *f);  /* TOPIC_DELETE messages */
uint32_t fake_logs_count(struct fake *f); /* partitions with a log, deleted ones left out */
int32_t fake_controller_id(struct fake *f);
/* Batches appended to all partitions of a topic. */
uint32_t fake_batches(struct fake *f, const char *topic);
/* A batch of a partition, by its number from 0 on. */
struct fake_place {
	const char *topic;
	int32_t partition;
	uint32_t index;
};
/* The first @max bytes of it.  Return: how many there are; 0 there is no such batch. */
size_t fake_read_batch(struct fake *f, const struct fake_place *at, uint8_t *to, size_t max);
/* Header of a partition's batch number @index, from 0.  Return: false there is none. */
bool fake_batch(struct fake *f, const char *topic, int32_t partition, uint32_t index,
                struct sl_batch_head *out);
/* The marker in that batch.  Return: false it is none. */
bool fake_marker(struct fake *f, const char *topic, int32_t partition, uint32_t index,
                 struct sl_txn_marker *out);
/* The order of all appends that worked: the topic of number @index, "" at the end. */
const char *fake_append_topic(struct fake *f, uint32_t index);
uint32_t fake_appends_count(struct fake *f);

#endif
