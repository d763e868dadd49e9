/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control process's end of the attachment to the data plane: connects again for ever, copies
 * every message out of shared memory before anything looks at it, and gives the rest of the process
 * plain calls with callbacks.
 *
 * No callback runs inside the call that asked for it.  When the data plane goes away, every
 * outstanding callback gets an error first, then `lost` is called.
 */
#ifndef CONTROL_LINK_H
#define CONTROL_LINK_H

#include "sluice/base/base.h"
#include "sluice/ipc/msg.h"
#include "sluice/ipc/shm.h"
#include "sluice/wire/kerr.h"

#include "loop.h"

struct link;

/* What the rest of the process hears.  Pointers are valid during the call. */
struct link_events {
	void *arg;
	void (*attached)(void *arg);
	void (*lost)(void *arg);
	void (*request)(void *arg, uint32_t lane, const struct sl_ipc_request *head,
	                struct sl_bytes frame);
	void (*cancel)(void *arg, uint32_t lane, const struct sl_ipc_request *head);
	void (*image_ack)(void *arg, uint64_t revision);
	void (*partition)(void *arg, const struct sl_ipc_partition *p);
	void (*verify)(void *arg, uint32_t lane, const struct sl_ipc_txn_verify *head,
	               struct sl_str transactional_id);
	void (*log_dir)(void *arg, const struct sl_ipc_log_dir *d);
};

struct link_opts {
	struct loop *loop;
	const char *path;       /* of the data plane's socket; copied */
	size_t queue_bytes_max; /* waiting for room in one ring; above it the link is dropped; 0: 64
	                           MiB */
	uint64_t *counters;     /* enum counter, see counters.h */
	struct link_events events;
};

/* Starts connecting.  Return: 0 or -ENOMEM. */
int link_create(struct link **out, const struct link_opts *opts) SL_MUST_CHECK;
/* Outstanding callbacks are called with an error. */
void link_destroy(struct link *l);

bool link_is_up(const struct link *l);
/* Of the present or the last attachment; 0 before the first one. */
uint32_t link_lanes_count(const struct link *l);
/* Random number of the data plane's present life; 0 while down. */
uint64_t link_incarnation(const struct link *l);
/* Slots and lane counters; NULL while down.  Every word in it is the peer's: check before use. */
struct sl_shm *link_shm(const struct link *l);
/* Attachments since the start. */
uint64_t link_attach_count(const struct link *l);
/* What is kept for the next data plane; while up, what the present one uses. */
const struct sl_ipc_tiers *link_held(const struct link *l);

/**
 * link_send_host() - one message to the data plane's host thread
 * Queued when the ring is full.
 * Return: 0; -ENOTCONN; -EMSGSIZE.
 */
int link_send_host(struct link *l, enum sl_ipc_type type, struct sl_bytes head,
                   struct sl_bytes body) SL_MUST_CHECK;

/* Answers a lane's request.  Same errors; with -EMSGSIZE nothing was sent. */
int link_respond(struct link *l, uint32_t lane, const struct sl_ipc_response *head,
                 struct sl_bytes body) SL_MUST_CHECK;

/* Answers a lane's question about a transaction.  Return: 0; -ENOTCONN. */
int link_verified(struct link *l, uint32_t lane, uint64_t cookie, enum sl_kerr kerr) SL_MUST_CHECK;

/* @kerr: COORDINATOR_NOT_AVAILABLE when the link was lost: the outcome is then unknown. */
typedef void link_append_fn(void *arg, enum sl_kerr kerr, int64_t base_offset);
/* Appends @batch (one batch v2, copied) through the lane that leads the partition. */
void link_append(struct link *l, uint32_t lane, const struct sl_uuid *topic_id, int32_t partition,
                 struct sl_bytes batch, link_append_fn *fn, void *arg);

struct link_read_result {
	enum sl_kerr kerr;
	int64_t log_start;
	int64_t log_end;
	struct sl_bytes batches; /* may end inside a batch */
};
typedef void link_read_fn(void *arg, const struct link_read_result *r);
struct link_read_opts {
	uint32_t lane;
	struct sl_uuid topic_id;
	int32_t partition;
	int64_t offset;
	uint32_t bytes_max;
};
void link_read(struct link *l, const struct link_read_opts *opts, link_read_fn *fn, void *arg);

#define LINK_HOST             (-1)
#define LINK_QUERY_TIMEOUT_MS 5000

/* @error: 0, or -errno of the data plane, -ENOTCONN, -ETIMEDOUT.  @json: valid during the call. */
typedef void link_query_fn(void *arg, int error, struct sl_str json);
/* Asks lane @lane, or the host thread (LINK_HOST). */
void link_query(struct link *l, int lane, struct sl_str json, link_query_fn *fn, void *arg);

#endif
