/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lane's end of its channel to the control process: forwards requests and takes answers;
 * appends to and reads from internal topics on the coordinators' behalf.  What arrives is copied
 * before it is looked at: the peer could still write to it.
 */
#include <errno.h>
#include <unistd.h>

#include "image.h"
#include "partition/partition.h"
#include "request/request.h"
#include "sluice/base/assert.h"
#include "sluice/base/log.h"
#include "sluice/ipc/msg.h"
#include "sluice/wire/batch.h"

#define CONTROL_READ_BYTES_MAX (UINT32_C(4) << 20)

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
		return REQUEST_WAIT;
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

void control_set(struct ctx *ctx, struct sl_channel *channel)
{
	ctx->control = channel;
	for (uint32_t i = 0; i < ctx->config->connections_max; i++) {
		struct request *req = ctx->control_parked[i];
		int64_t deadline = ctx->now_ms + ctx->config->control_grace_ms;

		if (!req)
			continue;
		/* Not sent (ring full): it stays parked and the grace period ends it. */
		if (channel && send_request(ctx, req, SL_IPC_REQUEST_AGAIN))
			deadline = INT64_MAX;
		request_park(ctx, req, REQUEST_PARKED_CONTROL, deadline);
	}
}

static void take_response(struct ctx *ctx, const void *p, size_t bytes)
{
	struct sl_ipc_response head;
	struct request *req;

	if (bytes < sizeof(head))
		return;
	memcpy(&head, p, sizeof(head));
	req = head.conn < ctx->config->connections_max ? ctx->control_parked[head.conn] : NULL;
	if (!req || req->conn_gen != head.conn_gen || req->seq != head.seq)
		return; /* the connection is gone, or the answer came twice */
	if (head.flags & SL_IPC_RESPONSE_CLOSE) {
		ctx_count(ctx, SL_STAT_closed_malformed, 1);
		req->is_close = true;
		request_done(ctx, req);
		return;
	}
	sl_buf_reset(&ctx->out);
	sl_buf_put_be32(&ctx->out, 0);
	/* copy: a response of the control process, not record data */
	sl_buf_put(&ctx->out, (const uint8_t *)p + sizeof(head), bytes - sizeof(head));
	req->reply = reply_build(ctx, NULL, 0);
	if (!req->reply) {
		ctx_count(ctx, SL_STAT_buffer_exhausted, 1);
		req->is_close = true;
	}
	request_done(ctx, req);
}

static struct partition *find_partition(struct ctx *ctx, const struct sl_uuid *topic_id,
                                        int32_t index)
{
	const struct topic *t = image_topic_by_id(ctx->image, topic_id);
	struct partition *p;

	if (!t || index < 0 || (uint32_t)index >= t->partitions_count)
		return NULL;
	p = t->partitions[index].partition;
	return p && p->lane == (int32_t)ctx->index && !p->is_closing ? p : NULL;
}

static void append_done(struct ctx *ctx, uint64_t cookie, int64_t base_offset, enum sl_kerr kerr)
{
	struct sl_ipc_append_done done = {
		.cookie = cookie,
		.base_offset = kerr == SL_KERR_NONE ? base_offset : -1,
		.kerr = kerr,
	};

	/* The ring is far larger than all outstanding appends can fill; if it is full all the same
	 * the control process has stopped reading, and will attach anew. */
	if (ctx->control &&
	    sl_channel_send(ctx->control, SL_IPC_APPEND_DONE, &done, sizeof(done), NULL, 0))
		ctx_count(ctx, SL_STAT_ring_full, 1);
}

static void append_durable(struct ctx *ctx, struct waiter *w, enum sl_kerr kerr)
{
	append_done(ctx, w->cookie, w->base_offset, kerr);
	pool_put(&ctx->pool, w);
}

/* Answers now, or when the batch is durable. */
static void append_wait(struct ctx *ctx, struct partition *p, uint64_t cookie,
                        const struct sl_log_append *io)
{
	size_t cap;
	struct waiter *w = pool_get(&ctx->pool, sizeof(*w), &cap);

	if (!w) {
		append_done(ctx, cookie, -1, SL_KERR_KAFKA_STORAGE_ERROR);
		return;
	}
	memset(w, 0, sizeof(*w));
	sl_list_init(&w->link);
	w->wake = append_durable;
	w->cookie = cookie;
	w->base_offset = io->base_offset;
	w->offset = io->last_offset + 1;
	if (!partition_wait_sync(ctx, p, w))
		append_durable(ctx, w, SL_KERR_NONE);
}

/* Checks what the control process wants appended: one complete batch whose CRC is right. */
static enum sl_kerr check_batch(const uint8_t *batch, size_t bytes)
{
	struct sl_batch_head head;

	if (sl_batch_peek(batch, bytes, &head) != 0 || sl_batch_bytes(&head) != bytes)
		return SL_KERR_INVALID_RECORD;
	return sl_batch_check_crc(batch, &head) ? SL_KERR_NONE : SL_KERR_CORRUPT_MESSAGE;
}

static void take_append(struct ctx *ctx, const void *p, size_t bytes)
{
	struct sl_ipc_append head;
	struct sl_log_append io = {0};
	struct partition *part;
	bool is_duplicate;
	size_t batch_bytes;
	enum sl_kerr kerr;
	uint8_t *batch;
	size_t cap;

	if (bytes < sizeof(head))
		return;
	memcpy(&head, p, sizeof(head));
	batch_bytes = bytes - sizeof(head);
	part = find_partition(ctx, &head.topic_id, head.partition);
	batch = part ? pool_get(&ctx->pool, batch_bytes, &cap) : NULL;
	if (!batch) {
		append_done(ctx, head.cookie, -1,
		            part ? SL_KERR_KAFKA_STORAGE_ERROR : SL_KERR_NOT_LEADER_OR_FOLLOWER);
		return;
	}
	/* copy: out of memory that the other process can write to */
	memcpy(batch, (const uint8_t *)p + sizeof(head), batch_bytes);
	kerr = check_batch(batch, batch_bytes);
	if (kerr == SL_KERR_NONE)
		kerr = partition_append(ctx, part, batch, batch_bytes, &io, &is_duplicate);
	pool_put(&ctx->pool, batch);
	if (kerr == SL_KERR_NONE)
		append_wait(ctx, part, head.cookie, &io);
	else
		append_done(ctx, head.cookie, -1, kerr);
}

static enum sl_kerr read_batches(struct ctx *ctx, struct partition *p,
                                 const struct sl_ipc_read *head, uint8_t *to, size_t *bytes)
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
	while (got < range.bytes) {
		ssize_t n = pread(range.fd, to + got, range.bytes - got, (off_t)(range.pos + got));

		if (n <= 0) {
			kerr = SL_KERR_KAFKA_STORAGE_ERROR;
			got = 0;
			break;
		}
		got += (size_t)n;
	}
	sl_log_range_put(p->log, &range);
	(void)ctx;
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
	part = find_partition(ctx, &head.topic_id, head.partition);
	done.cookie = head.cookie;
	done.kerr = SL_KERR_NOT_LEADER_OR_FOLLOWER;
	if (part) {
		got = head.bytes_max;
		done.kerr = read_batches(ctx, part, &head, room + sizeof(done), &got);
		done.log_start = sl_log_start(part->log);
		done.log_end = sl_log_end(part->log);
	}
	memcpy(room, &done, sizeof(done));
	sl_channel_commit(ctx->control, SL_IPC_READ_DONE, sizeof(done) + got);
	return true;
}

unsigned control_poll(struct ctx *ctx, unsigned max)
{
	unsigned done = 0;

	while (ctx->control && done < max) {
		const void *p;
		size_t bytes;
		uint32_t type;
		int rc = sl_channel_peek(ctx->control, &type, &p, &bytes);

		if (rc <= 0) {
			/* A broken ring: the host thread sees the control process go and detaches
			 * it. */
			if (rc < 0 && SL_COUNT_IF(rc == -EPROTO))
				sl_log(ERR, request, "read control ring lane=%u: %s", ctx->index,
				       strerror(-rc));
			break;
		}
		if (type == SL_IPC_RESPONSE)
			take_response(ctx, p, bytes);
		else if (type == SL_IPC_APPEND)
			take_append(ctx, p, bytes);
		else if (type == SL_IPC_READ && !take_read(ctx, p, bytes))
			break;
		sl_channel_release(ctx->control);
		done++;
	}
	return done;
}
