/* SPDX-License-Identifier: Apache-2.0 */
/* Connections that read. */
#ifndef LOAD_CONSUME_H
#define LOAD_CONSUME_H

#include "fetch.h"
#include "worker.h"

enum consumer_state {
	CONSUMER_WAITING = 0, /* for newer metadata, or for the back-off to pass */
	CONSUMER_CONNECTING,
	CONSUMER_FETCHING, /* one fetch is under way */
};

struct consumer {
	struct worker *worker;
	int reader; /* which of --fan-out */
	struct conn conn;
	enum consumer_state state;
	struct sockaddr_storage addr;        /* of the leader */
	struct fetch_partition **partitions; /* Owned array, owned elements */
	int partitions_count, partitions_cap;
	struct fetch fetch; /* the answer being read */
	struct sl_buf out;  /* the request being written */
	size_t out_pos;
	int32_t next_id;
	int16_t version; /* of Fetch */
	bool is_failing; /* an error was in the answer being read */
	bool is_reset;   /* an offset was out of range */
	uint64_t sent_ns;
	uint64_t fetch_records, fetch_bytes; /* of the answer being read */
	uint32_t wait_version;
	uint64_t wait_until_ns;
	uint64_t failing_since_ns; /* 0: not */
};

int consumer_create(struct worker *w, int reader, const struct sockaddr_storage *addr,
                    struct consumer **out) SL_MUST_CHECK;
void consumer_destroy(struct consumer *c);
/* Reads @partition from @offset on.  @is_whole: the streams in it begin at or behind @offset. */
int consumer_add(struct consumer *c, int32_t partition, int64_t offset,
                 bool is_whole) SL_MUST_CHECK;
void consumer_start(struct consumer *c, uint64_t now_ns);
void consumer_tick(struct consumer *c, uint64_t now_ns);

#endif
