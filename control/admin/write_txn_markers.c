/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WriteTxnMarkers: ends transactions on partitions by hand, whatever their coordinator thinks of
 * them.  `kafka-transactions --abort` and sluicectl use it for transactions that hang: those that a
 * partition has open and no coordinator knows.  The answer comes when all are written or refused.
 */
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/wire/write_txn_markers_gen.h"

#include "admin.h"
#include "markers.h"

/* Markers that one request may ask for. */
#define MARKERS_MAX 10000

/* One request; it outlives the request when the client leaves. */
struct batch {
	struct control *c;
	uint64_t request_id;
	int32_t left;
	int16_t errors[];
};

/* One marker of it. */
struct one {
	struct batch *batch;
	int32_t index;
};

static void fill(struct request *r, const struct sl_write_txn_markers_req *req,
                 const int16_t *errors, struct sl_write_txn_markers_resp *resp)
{
	int32_t at = 0;

	sl_write_txn_markers_resp_init(resp);
	resp->markers_count = req->markers_count;
	resp->markers = request_alloc(r, (size_t)req->markers_count, sizeof(*resp->markers));
	for (int32_t i = 0; i < req->markers_count; i++) {
		const struct sl_write_txn_markers_req_marker *from = &req->markers[i];
		struct sl_write_txn_markers_resp_marker *to = &resp->markers[i];

		to->producer_id = from->producer_id;
		to->topics_count = from->topics_count;
		to->topics = request_alloc(r, (size_t)from->topics_count, sizeof(*to->topics));
		for (int32_t k = 0; k < from->topics_count; k++) {
			const struct sl_write_txn_markers_req_marker_topic *topic =
				&from->topics[k];
			struct sl_write_txn_markers_resp_marker_topic *out = &to->topics[k];

			out->name = topic->name;
			out->partitions_count = topic->partition_indexes_count;
			out->partitions = request_alloc(r, (size_t)topic->partition_indexes_count,
			                                sizeof(*out->partitions));
			for (int32_t p = 0; p < topic->partition_indexes_count; p++) {
				out->partitions[p].partition_index = topic->partition_indexes[p];
				out->partitions[p].error_code = errors[at++];
			}
		}
	}
}

static void answer(struct request *r, const int16_t *errors)
{
	struct sl_write_txn_markers_resp resp;

	fill(r, r->state, errors, &resp);
	sl_write_txn_markers_resp_encode(&resp, request_answer(r), r->wire.api_version);
}

static void marked(void *arg, enum sl_kerr kerr)
{
	struct one one = *(struct one *)arg;
	struct batch *b = one.batch;
	struct request *r;

	free(arg);
	b->errors[one.index] = (int16_t)kerr;
	if (--b->left > 0)
		return;
	r = b->c->is_stopping ? NULL : request_find(b->c->requests, b->request_id);
	if (r) {
		answer(r, b->errors);
		request_finish(r);
	}
	free(b);
}

/* How many partitions are asked for; -1: too many. */
static int32_t count_markers(const struct sl_write_txn_markers_req *req)
{
	int64_t n = 0;

	for (int32_t i = 0; i < req->markers_count; i++) {
		for (int32_t k = 0; k < req->markers[i].topics_count; k++)
			n += req->markers[i].topics[k].partition_indexes_count;
	}
	return n <= MARKERS_MAX ? (int32_t)n : -1;
}

static size_t room(const struct sl_write_txn_markers_req *req, int32_t markers)
{
	size_t bytes = (size_t)req->markers_count * sizeof(struct sl_write_txn_markers_resp_marker);

	for (int32_t i = 0; i < req->markers_count; i++)
		bytes += (size_t)req->markers[i].topics_count *
		         sizeof(struct sl_write_txn_markers_resp_marker_topic);
	return bytes +
	       (size_t)markers * sizeof(struct sl_write_txn_markers_resp_marker_topic_partition);
}

static void write_one(struct batch *b, int32_t index,
                      const struct sl_write_txn_markers_req_marker *from,
                      const struct markers_target *to)
{
	const struct sl_txn_marker marker = {
		.producer_id = from->producer_id,
		.producer_epoch = from->producer_epoch,
		.coordinator_epoch = from->coordinator_epoch,
		.is_commit = from->transaction_result,
	};
	struct one *one = calloc(1, sizeof(*one));

	SL_ASSERT(one);
	*one = (struct one){b, index};
	markers_write(b->c->markers, to, &marker, marked, one);
}

static void write_all(struct batch *b, const struct sl_write_txn_markers_req *req)
{
	int32_t at = 0;

	for (int32_t i = 0; i < req->markers_count; i++) {
		const struct sl_write_txn_markers_req_marker *from = &req->markers[i];

		for (int32_t k = 0; k < from->topics_count; k++) {
			for (int32_t p = 0; p < from->topics[k].partition_indexes_count; p++) {
				const struct markers_target to = {
					from->topics[k].name, from->topics[k].partition_indexes[p]};

				write_one(b, at++, from, &to);
			}
		}
	}
}

enum request_result admin_write_txn_markers(struct control *c, struct request *r)
{
	struct sl_write_txn_markers_req *req = request_alloc(r, 1, sizeof(*req));
	struct batch *b;
	int32_t count;

	if (!request_decode(r, req))
		return REQUEST_CLOSE;
	count = count_markers(req);
	if (count < 0 || !request_has_room(r, room(req, count)))
		return REQUEST_CLOSE;
	r->state = req;
	if (count == 0) {
		answer(r, NULL);
		return REQUEST_DONE;
	}
	b = calloc(1, sizeof(*b) + (size_t)count * sizeof(b->errors[0]));
	SL_ASSERT(b);
	b->c = c;
	b->request_id = r->id;
	b->left = count;
	write_all(b, req);
	return REQUEST_PARKED;
}
