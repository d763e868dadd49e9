/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lane's end of its channel to the control process: forwards requests and takes answers;
 * appends to and reads from internal topics on the coordinators' behalf, and ends transactions.
 * What arrives is copied before it is looked at: the peer could still write to it.
 */
#include <errno.h>
#include <unistd.h>

#include "image.h"
#include "partition/partition.h"
#include "request/request.h"
#include "request/verify.h"
#include "sluice/base/assert.h"
#include "sluice/ipc/msg.h"
#include "sluice/wire/batch.h"
#include "sluice/wire/marker.h"

#define CONTROL_READ_BYTES_MAX (UINT32_C(4) << 20)

/* An append that waits to be durable, or its answer that waits for room in the ring.  A pool block.
 */
struct append {
	struct waiter wait;
	uint64_t attachment; /* that asked: ctx->control_attachment */
	enum sl_kerr kerr;
};

static bool send_request(struct ctx *ctx, struct request *req, uint32_t flags)
{
	struct sl_ipc_request head = {
		.conn = req->conn_index,
		.conn_gen = req->conn_gen,
		.seq = req->seq,
		.peer_port = req->peer_port,
		.local_port = req->local_port,
		.flags = flags,
	};

	memcpy(head.peer, req->peer, sizeof(head.peer));
	return sl_channel_send(ctx->control, SL_IPC_REQUEST, &head, sizeof(head), req->frame,
	                       req->frame_bytes) == 0;
}

enum request_result request_forward(struct ctx *ctx, struct request *req)
{
	if (req->state == REQUEST_PARKED_CONTROL) {
		/* Woken by its deadline: the control process stayed away too long. */
		ctx_count(ctx, SL_STAT_closed_control_lost, 1);
		return REQUEST_CLOSE;
	}
	if (req->frame_bytes > SL_IPC_REQUEST_MAX) {
		ctx_count(ctx, SL_STAT_closed_frame_size, 1);
		return REQUEST_CLOSE;
	}
	if (ctx->control && !send_request(ctx, req, 0)) {
		ctx_count(ctx, SL_STAT_ring_full, 1);
		return REQUEST_AGAIN;
	}
	ctx_count(ctx, SL_STAT_requests_forwarded, 1);
	/* While the control process is there it decides how long an answer may take (a JoinGroup
	 * waits for minutes); only its absence is bounded here. */
	request_park(ctx, req, REQUEST_PARKED_CONTROL,
	             ctx->control ? INT64_MAX : ctx->now_ms + ctx->config->control_grace_ms);
	return REQUEST_PARK;
}

void control_cancel(struct ctx *ctx, const struct request *req)
{
	struct sl_ipc_request head = {
		.conn = req->conn_index, .conn_gen = req->conn_gen, .seq = req->seq};

	/* Best effort: an answer to a connection that is gone is dropped by its generation. */
	if (ctx->control &&
	    sl_channel_send(ctx->control, SL_IPC_CANCEL, &head, sizeof(head), NULL, 0))
		ctx_count(ctx, SL_STAT_ring_full, 1);
}

static void drop_answers(struct ctx *ctx)
{
	struct append *a;

	while ((a = sl_list_first(&ctx->control_answers, struct append, wait.link))) {
		sl_list_del(&a->wait.link);
		pool_put(&ctx->pool, a);
	}
}

void control_set(struct ctx *ctx, struct sl_channel *channel)
{
	ctx->control = channel;
	ctx->control_attachment++;
	drop_answers(ctx);
	verify_lost(ctx);
	for (uint32_t i = 0; i < ctx->config->connections_max; i++) {
		struct request *req = ctx->control_parked[i];

		if (!req)
			continue;
		if (!channel)
			request_park(ctx, req, REQUEST_PARKED_CONTROL,
			             ctx->now_ms + ctx->config->control_grace_ms);
		else if (send_request(ctx, req, SL_IPC_REQUEST_AGAIN))
			request_park(ctx, req, REQUEST_PARKED_CONTROL, INT64_MAX);
		else
			request_again(ctx, req); /* the ring is full: it waits for room */
	}
}

/* Return: false when there is no memory for the reply and the answer has to wait. */
static bool take_response(struct ctx *ctx, const void *p, size_t bytes)
{
	struct sl_ipc_response head;
	struct request *req;

	if (bytes < sizeof(head))
		return true;
	memcpy(&head, p, sizeof(head));
	req = head.conn < ctx->config->connections_max ? ctx->control_parked[head.conn] : NULL;
	if (!req || req->conn_gen != head.conn_gen || req->seq != head.seq)
		return true; /* the connection is gone, or the answer came twice */
	if (head.flags & SL_IPC_RESPONSE_CLOSE) {
		ctx_count(ctx, SL_STAT_closed_malformed, 1);
		req->is_close = true;
		request_done(ctx, req);
		return true;
	}
	sl_buf_reset(&ctx->out);
	sl_buf_put_be32(&ctx->out, 0);
	/* copy: a response of the control process, not record data */
	sl_buf_put(&ctx->out, (const uint8_t *)p + sizeof(head), bytes - sizeof(head));
	switch (request_reply_end(ctx, req, NULL, 0)) {
	case REQUEST_REPLY:
		break;
	case REQUEST_WAIT:
		return false;
	default:
		req->is_close = true;
		break;
	}
	request_done(ctx, req);
	return true;
}

/* @topic: set as soon as it is known; NULL: not wanted. */
static struct partition *find_partition(struct ctx *ctx, const struct sl_uuid *topic_id,
                                        int32_t index, const struct topic **topic)
{
	const struct topic *t = image_topic_by_id(ctx->image, topic_id);
	struct partition *p;

	if (topic)
		*topic = t;
	if (!t || index < 0 || (uint32_t)index >= t->partitions_count)
		return NULL;
	p = t->partitions[index].partition;
	return p && p->lane == (int32_t)ctx->index && !p->is_closing ? p : NULL;
}

/* Return: false when the ring is full. */
static bool append_done(struct ctx *ctx, uint64_t cookie, int64_t base_offset, enum sl_kerr kerr)
{
	struct sl_ipc_append_done done = {
		.cookie = cookie,
		.base_offset = kerr == SL_KERR_NONE ? base_offset : -1,
		.kerr = kerr,
	};

	return sl_channel_send(ctx->control, SL_IPC_APPEND_DONE, &done, sizeof(done), NULL, 0) == 0;
}

/* Answers that found the ring full: what is asked there waits for them without end. */
static void send_answers(struct ctx *ctx)
{
	struct append *a;

	while ((a = sl_list_first(&ctx->control_answers, struct append, wait.link)) &&
	       append_done(ctx, a->wait.cookie, a->wait.base_offset, a->kerr)) {
		sl_list_del(&a->wait.link);
		pool_put(&ctx->pool, a);
	}
}

static void append_ended(struct ctx *ctx, struct waiter *w, enum sl_kerr kerr)
{
	struct append *a = SL_CONTAINER_OF(w, struct append, wait);

	/* Another process would take the cookie for one of its own. */
	if (a->attachment != ctx->control_attachment || !ctx->control) {
		pool_put(&ctx->pool, a);
		return;
	}
	a->kerr = kerr;
	sl_list_push_back(&ctx->control_answers, &w->link);
	send_answers(ctx);
	if (!sl_list_is_empty(&ctx->control_answers))
		ctx_count(ctx, SL_STAT_ring_full, 1);
}

/* Answers now, or when the batch is durable. */
static void append_wait(struct ctx *ctx, struct partition *p, uint64_t cookie,
                        const struct sl_log_append *io)
{
	size_t cap;
	struct append *a = pool_get(&ctx->pool, sizeof(*a), &cap);

	/* The batch has just given its block back. */
	SL_ASSERT(a);
	memset(a, 0, sizeof(*a));
	sl_list_init(&a->wait.link);
	a->attachment = ctx->control_attachment;
	a->wait.wake = append_ended;
	a->wait.cookie = cookie;
	a->wait.base_offset = io->base_offset;
	a->wait.offset = io->last_offset + 1;
	if (!partition_wait_sync(ctx, p, &a->wait))
		append_ended(ctx, &a->wait, SL_KERR_NONE);
}

/* Checks what the control process wants appended: one complete batch whose CRC is right, and for
 * a topic of the users' the end of a transaction. */
static enum sl_kerr check_batch(const struct topic *t, const uint8_t *batch, size_t bytes)
{
	struct sl_txn_marker marker;
	struct sl_batch_head head;

	if (sl_batch_peek(batch, bytes, &head) != 0 || sl_batch_bytes(&head) != bytes ||
	    head.last_offset_delta < 0)
		return SL_KERR_INVALID_RECORD;
	if (!sl_batch_check_crc(batch, &head))
		return SL_KERR_CORRUPT_MESSAGE;
	if (!sl_batch_is_control(&head))
		return t->is_internal ? SL_KERR_NONE : SL_KERR_INVALID_TOPIC_EXCEPTION;
	return sl_txn_marker_decode(&marker, batch, &head) == 1 ? SL_KERR_NONE
	                                                        : SL_KERR_INVALID_RECORD;
}

/* Return: false when the append has to wait: the ring has no room for the answer, the hot tier none
 * for the batch. */
static bool take_append(struct ctx *ctx, const void *p, size_t bytes)
{
	struct sl_ipc_append head;
	/* The coordinators know their transactions. */
	struct sl_log_append io = {.is_verified = true};
	const struct topic *topic = NULL;
	struct partition *part;
	enum partition_outcome outcome = PARTITION_REFUSED;
	size_t batch_bytes;
	enum sl_kerr kerr;
	uint8_t *batch;
	size_t cap;

	if (bytes < sizeof(head))
		return true;
	if (!sl_channel_reserve(ctx->control, sizeof(struct sl_ipc_append_done)))
		return false;
	memcpy(&head, p, sizeof(head));
	batch_bytes = bytes - sizeof(head);
	part = find_partition(ctx, &head.topic_id, head.partition, &topic);
	batch = part ? pool_get(&ctx->pool, batch_bytes, &cap) : NULL;
	if (!batch) {
		return append_done(ctx, head.cookie, -1,
		                   part ? SL_KERR_KAFKA_STORAGE_ERROR
		                        : SL_KERR_NOT_LEADER_OR_FOLLOWER);
	}
	/* copy: out of memory that the other process can write to */
	memcpy(batch, (const uint8_t *)p + sizeof(head), batch_bytes);
	kerr = check_batch(topic, batch, batch_bytes);
	if (kerr == SL_KERR_NONE)
		outcome = partition_append(ctx, part, batch, batch_bytes, &io, &kerr);
	pool_put(&ctx->pool, batch);
	if (outcome == PARTITION_NO_BUFFER || outcome == PARTITION_TIER_FULL)
		return false;
	if (kerr != SL_KERR_NONE)
		return append_done(ctx, head.cookie, -1, kerr);
	append_wait(ctx, part, head.cookie, &io);
	return true;
}

static enum sl_kerr read_batches(struct partition *p, const struct sl_ipc_read *head, uint8_t *to,
                                 size_t *bytes)
{
	struct sl_log_range range = {0};
	enum sl_kerr kerr = SL_KERR_NONE;
	size_t got = 0;
	int rc = sl_log_read(p->log, head->offset, sl_log_end(p->log), (uint32_t)*bytes, false,
	                     &range);

	if (rc != 0) {
		*bytes = 0;
		return rc == -ERANGE ? SL_KERR_OFFSET_OUT_OF_RANGE : SL_KERR_KAFKA_STORAGE_ERROR;
	}
	if (range.bytes > 0) {
		/* copy: into the ring, for a process that has no part in the log's memory */
		ssize_t n = sl_log_range_copy(p->log, &range, to, *bytes);

		if (n == (ssize_t)range.bytes)
			got = (size_t)n;
		else
			kerr = SL_KERR_KAFKA_STORAGE_ERROR;
	}
	sl_log_range_put(p->log, &range);
	*bytes = got;
	return kerr;
}

/* Return: false when the ring is full and the read has to wait. */
static bool take_read(struct ctx *ctx, const void *p, size_t bytes)
{
	struct sl_ipc_read head;
	struct sl_ipc_read_done done = {0};
	struct partition *part;
	size_t got = 0;
	uint8_t *room;

	if (bytes < sizeof(head))
		return true;
	memcpy(&head, p, sizeof(head));
	head.bytes_max = SL_MIN(head.bytes_max, CONTROL_READ_BYTES_MAX);
	room = sl_channel_reserve(ctx->control, sizeof(done) + head.bytes_max);
	if (!room)
		return false;
	part = find_partition(ctx, &head.topic_id, head.partition, NULL);
	done.cookie = head.cookie;
	done.kerr = SL_KERR_NOT_LEADER_OR_FOLLOWER;
	if (part) {
		got = head.bytes_max;
		done.kerr = read_batches(part, &head, room + sizeof(done), &got);
		done.log_start = sl_log_start(part->log);
		done.log_end = sl_log_end(part->log);
	}
	memcpy(room, &done, sizeof(done));
	sl_channel_commit(ctx->control, SL_IPC_READ_DONE, sizeof(done) + got);
	return true;
}

/* Return: false when it has to be tried again. */
static bool take_message(struct ctx *ctx, uint32_t type, const void *p, size_t bytes)
{
	switch (type) {
	case SL_IPC_RESPONSE:
		return take_response(ctx, p, bytes);
	case SL_IPC_APPEND:
		return take_append(ctx, p, bytes);
	case SL_IPC_READ:
		return take_read(ctx, p, bytes);
	case SL_IPC_TXN_VERIFY_DONE:
		verify_answer(ctx, p, bytes);
		return true;
	default:
		return true;
	}
}

unsigned control_poll(struct ctx *ctx, unsigned max)
{
	unsigned done = 0;

	if (ctx->control)
		send_answers(ctx);
	while (ctx->control && done < max) {
		const void *p;
		size_t bytes;
		uint32_t type;
		int rc = sl_channel_peek(ctx->control, &type, &p, &bytes);

		if (rc < 0) {
			/* As if the process were gone: nothing can be said to it any more, and a
			 * lane with a broken channel would never sleep.  The channel has logged it.
			 */
			control_set(ctx, NULL);
			break;
		}
		if (rc == 0 || !take_message(ctx, type, p, bytes))
			break;
		sl_channel_release(ctx->control);
		done++;
	}
	return done;
}
