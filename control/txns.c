/* SPDX-License-Identifier: Apache-2.0 */
/* Glue around the pure transaction coordinator.  Runs on the loop's thread. */
#include "txns.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/clock.h"
#include "sluice/base/hash.h"
#include "sluice/base/log.h"
#include "sluice/wire/txn_offset_commit_gen.h"

#include "markers.h"
#include "offsets.h"
#include "txn/txn.h"

#define BLOCK_IDS             1000
/* TxnOffsetCommit joins the transaction by itself from this version on (KIP-890). */
#define COMMIT_VERSION_ADDS   5
/* ... and its clients know TRANSACTION_ABORTABLE from this one on. */
#define COMMIT_VERSION_ABORTS 4

enum asker {
	ASKER_LANE = 0,
	ASKER_COMMIT, /* a TxnOffsetCommit that waits to be handed on */
};

/* A question that the coordinator has. */
struct question {
	uint64_t handle;
	enum asker asker;
	uint32_t lane;
	uint64_t cookie; /* the lane's */
	uint64_t attach; /* the attachment it came with */
	uint64_t request_id;
	uint64_t asked_ns;
};

struct txns {
	struct control *c;
	struct txn_coord *coord; /* Owned */
	struct statelog *log;    /* Owned */
	struct loop_timer tick;
	struct sl_map questions; /* of struct question, Owned */
	uint64_t handle_next;
	int64_t ids_first;      /* of the block that is being taken */
	struct recent verifies; /* microseconds that a lane's question took */
};

/* A marker that is on its way. */
struct mark {
	struct txns *x;
	uint64_t life;
	uint64_t cookie;
};

static void step(struct txns *x, struct txn_event *ev);

/* ---- What the coordinator asks about topics ---- */

static bool has_partition(void *ctx, struct sl_str topic, int32_t partition)
{
	const struct txns *x = ctx;
	const struct meta_topic *t = meta_topic_by_name(x->c->meta, topic);

	return t && partition >= 0 && partition < t->rec.partitions_count;
}

static int32_t offsets_partitions(const struct txns *x)
{
	return statelog_partitions(offsets_log(x->c->offsets));
}

static int make_coordinator(void *arg, int32_t partitions_count)
{
	struct txns *x = arg;
	const struct sl_conf *conf = x->c->conf;
	struct txn_opts opts = {
		.partitions_count = partitions_count,
		.offsets_partitions_count = offsets_partitions(x),
		.timeout_max_ms = (int32_t)sl_conf_int(conf, SL_CK_transaction_max_timeout_ms),
		.id_expiration_ms = sl_conf_int(conf, SL_CK_transactional_id_expiration_ms),
		.id_expiration_check_ms = sl_conf_int(conf, SL_CK_transaction_expiry_check_ms),
		.abort_check_ms = sl_conf_int(conf, SL_CK_transaction_abort_check_ms),
		.ctx = x,
		.has_partition = has_partition,
	};
	struct txn_coord *coord;
	int rc = txn_create(&coord, &opts);

	if (rc < 0)
		return rc;
	txn_destroy(x->coord);
	x->coord = coord;
	return 0;
}

/* ---- Producer ids ---- */

static void take_block(struct txns *x);

static void block_taken(void *arg, enum meta_result result, uint64_t revision)
{
	struct txns *x = arg;
	struct txn_event ev = {.type = TXN_EV_PRODUCER_IDS};

	(void)revision;
	if (x->c->is_stopping)
		return;
	if (result == META_CONFLICT) {
		take_block(x);
		return;
	}
	ev.ids_first = x->ids_first;
	ev.ids_count = BLOCK_IDS;
	if (result == META_FAILED)
		ev.kerr = SL_KERR_COORDINATOR_NOT_AVAILABLE;
	step(x, &ev);
}

/* Ids come from the metadata, so that a restart never gives one twice. */
static void take_block(struct txns *x)
{
	struct meta_txn *txn = meta_txn_begin(x->c->meta);

	x->ids_first = meta_next_producer_id(x->c->meta);
	meta_txn_put_producer_ids(txn, x->ids_first + BLOCK_IDS, x->ids_first);
	meta_txn_commit(txn, block_taken, x);
}

/* ---- Questions ---- */

static struct question *ask(struct txns *x)
{
	struct question *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->handle = x->handle_next++;
	q->asked_ns = sl_mono_ns();
	if (sl_map_put(&x->questions, &q->handle, sizeof(q->handle), q)) {
		free(q);
		return NULL;
	}
	return q;
}

static void answer_lane(struct txns *x, uint32_t lane, uint64_t cookie, enum sl_kerr kerr)
{
	if (link_verified(x->c->link, lane, cookie, kerr) < 0)
		control_count(x->c, COUNTER_responses_dropped);
}

void txns_verify(struct txns *x, uint32_t lane, const struct sl_ipc_txn_verify *head,
                 struct sl_str transactional_id)
{
	const struct meta_topic *t = meta_topic_by_id(x->c->meta, &head->topic_id);
	struct txn_event ev = {
		.type = TXN_EV_VERIFY,
		.verify = {.transactional_id = transactional_id,
	                   .producer_id = head->producer_id,
	                   .producer_epoch = head->producer_epoch,
	                   .partition = head->partition,
	                   .is_add = head->flags & SL_IPC_TXN_ADD},
	};
	struct question *q = NULL;

	control_count(x->c, COUNTER_txn_questions);
	if (!t || head->partition < 0 || head->partition >= t->rec.partitions_count) {
		answer_lane(x, lane, head->cookie, SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
		return;
	}
	q = ask(x);
	if (!q) {
		answer_lane(x, lane, head->cookie, SL_KERR_COORDINATOR_NOT_AVAILABLE);
		return;
	}
	q->lane = lane;
	q->cookie = head->cookie;
	q->attach = link_attach_count(x->c->link);
	ev.handle = q->handle;
	ev.verify.topic = t->rec.name;
	step(x, &ev);
}

/* ---- TxnOffsetCommit ---- */

/* Kafka's translation for clients of the group coordinator. */
static enum sl_kerr commit_error(enum sl_kerr kerr, int16_t version)
{
	switch (kerr) {
	case SL_KERR_NOT_COORDINATOR:
	case SL_KERR_COORDINATOR_LOAD_IN_PROGRESS:
	case SL_KERR_CONCURRENT_TRANSACTIONS:
		return SL_KERR_COORDINATOR_NOT_AVAILABLE;
	case SL_KERR_PRODUCER_FENCED:
		return SL_KERR_INVALID_PRODUCER_EPOCH;
	case SL_KERR_TRANSACTION_ABORTABLE:
		return version >= COMMIT_VERSION_ABORTS ? kerr : SL_KERR_INVALID_TXN_STATE;
	default:
		return kerr;
	}
}

static void refuse_commit(struct request *r, enum sl_kerr kerr)
{
	const struct sl_txn_offset_commit_req *req = r->state;
	struct sl_txn_offset_commit_resp resp;

	sl_txn_offset_commit_resp_init(&resp);
	resp.topics_count = req->topics_count;
	resp.topics = request_alloc(r, (size_t)req->topics_count, sizeof(*resp.topics));
	for (int32_t i = 0; i < req->topics_count; i++) {
		const struct sl_txn_offset_commit_req_topic *from = &req->topics[i];
		struct sl_txn_offset_commit_resp_topic *to = &resp.topics[i];

		to->name = from->name;
		to->partitions_count = from->partitions_count;
		to->partitions = request_alloc(r, (size_t)from->partitions_count,
		                               sizeof(*to->partitions));
		for (int32_t k = 0; k < from->partitions_count; k++) {
			to->partitions[k].partition_index = from->partitions[k].partition_index;
			to->partitions[k].error_code = (int16_t)commit_error(kerr,
			                                                     r->wire.api_version);
		}
	}
	sl_txn_offset_commit_resp_encode(&resp, request_answer(r), r->wire.api_version);
	request_finish(r);
}

enum request_result txns_offset_commit(struct control *c, struct request *r)
{
	struct sl_txn_offset_commit_req *req = request_alloc(r, 1, sizeof(*req));
	struct txns *x = c->txns;
	struct txn_event ev = {.type = TXN_EV_VERIFY};
	struct question *q;
	size_t room = 0;

	if (!request_decode(r, req))
		return REQUEST_CLOSE;
	for (int32_t i = 0; i < req->topics_count; i++)
		room += sizeof(struct sl_txn_offset_commit_resp_topic) +
		        (size_t)req->topics[i].partitions_count *
		                sizeof(struct sl_txn_offset_commit_resp_topic_partition);
	q = request_has_room(r, room) ? ask(x) : NULL;
	if (!q)
		return REQUEST_CLOSE;
	r->state = req;
	q->asker = ASKER_COMMIT;
	q->request_id = r->id;
	ev.handle = q->handle;
	ev.verify = (struct txn_verify){
		.transactional_id = req->transactional_id,
		.producer_id = req->producer_id,
		.producer_epoch = req->producer_epoch,
		.topic = sl_str_from(OFFSETS_TOPIC),
		.partition = sl_java_partition(req->group_id, offsets_partitions(x)),
		.is_add = r->wire.api_version >= COMMIT_VERSION_ADDS,
	};
	step(x, &ev);
	return REQUEST_PARKED;
}

/* At once: a marker that this coordinator hands out later must come behind the offsets. */
static void commit_verified(struct txns *x, uint64_t request_id, enum sl_kerr kerr)
{
	struct request *r = request_find(x->c->requests, request_id);

	if (!r)
		return; /* its client left meanwhile */
	if (kerr == SL_KERR_NONE)
		(void)offsets_request(x->c, r);
	else
		refuse_commit(r, kerr);
}

static void act_verified(struct txns *x, const struct txn_action *a)
{
	struct question *q = sl_map_del(&x->questions, &a->handle, sizeof(a->handle));
	struct question copy;

	SL_ASSERT(q);
	copy = *q;
	free(q);
	if (copy.asker == ASKER_LANE)
		recent_add(&x->verifies, loop_mono_ms(x->c->loop),
		           (sl_mono_ns() - copy.asked_ns) / 1000);
	if (copy.asker == ASKER_COMMIT)
		commit_verified(x, copy.request_id, a->kerr);
	else if (copy.attach == link_attach_count(x->c->link))
		answer_lane(x, copy.lane, copy.cookie, a->kerr);
}

/* ---- Markers ---- */

static void marked(void *arg, enum sl_kerr kerr)
{
	struct mark m = *(struct mark *)arg;
	struct txn_event ev = {.type = TXN_EV_MARKED, .cookie = m.cookie, .kerr = kerr};

	free(arg);
	if (m.life == statelog_life(m.x->log) && !m.x->c->is_stopping)
		step(m.x, &ev);
}

static void act_mark(struct txns *x, const struct txn_action *a)
{
	const struct markers_target to = {a->topic, a->partition};
	struct mark *m = calloc(1, sizeof(*m));

	SL_ASSERT(m);
	*m = (struct mark){x, statelog_life(x->log), a->cookie};
	markers_write(x->c->markers, &to, &a->marker, marked, m);
}

/* ---- Steps ---- */

static void act_answer(struct txns *x, const struct txn_action *a)
{
	struct request *r = request_find(x->c->requests, a->handle);

	if (!r)
		return; /* its client left meanwhile */
	if (a->type == TXN_ACT_RESPOND) {
		request_finish_bytes(r, a->bytes);
		return;
	}
	control_count(x->c, COUNTER_requests_malformed);
	request_close(r);
}

static void act(struct txns *x, const struct txn_action *a)
{
	switch (a->type) {
	case TXN_ACT_RESPOND:
	case TXN_ACT_CLOSE:
		act_answer(x, a);
		break;
	case TXN_ACT_APPEND:
		statelog_append(x->log, a->partition, a->cookie, a->bytes);
		break;
	case TXN_ACT_MARK:
		act_mark(x, a);
		break;
	case TXN_ACT_VERIFIED:
		act_verified(x, a);
		break;
	case TXN_ACT_PRODUCER_IDS:
		take_block(x);
		break;
	}
}

static void step(struct txns *x, struct txn_event *ev)
{
	struct loop *loop = x->c->loop;
	struct txn_actions actions = {.next_ms = INT64_MAX};

	ev->now_ms = loop_mono_ms(loop);
	ev->wall_ms = loop_wall_ms(loop);
	txn_step(x->coord, ev, &actions);
	for (uint32_t i = 0; i < actions.count; i++)
		act(x, &actions.list[i]);
	loop_timer_stop(loop, &x->tick);
	if (actions.next_ms != INT64_MAX && loop_timer_set(loop, &x->tick, actions.next_ms) < 0)
		sl_log(ERR, group, "miss tick reason=\"out of memory\"");
}

static void on_tick(void *arg)
{
	struct txn_event ev = {.type = TXN_EV_TICK};

	step(arg, &ev);
}

enum request_result txns_request(struct control *c, struct request *r)
{
	struct txn_event ev = {
		.type = TXN_EV_REQUEST,
		.handle = r->id,
		.api_key = r->wire.api_key,
		.version = r->wire.api_version,
		.correlation_id = r->wire.correlation_id,
		.body = r->body,
	};

	step(c->txns, &ev);
	return REQUEST_PARKED;
}

void txns_cancel(struct txns *x, uint64_t request_id)
{
	struct txn_event ev = {.type = TXN_EV_CANCEL, .handle = request_id};

	step(x, &ev);
}

/* ---- The log ---- */

static void load_event(struct txns *x, enum txn_event_type type, int32_t partition,
                       struct sl_bytes batches)
{
	struct txn_event ev = {.type = type, .partition = partition, .batches = batches};

	ev.coordinator_epoch = x->log ? statelog_epoch(x->log, partition) : 0;
	step(x, &ev);
}

static void on_begin(void *arg, int32_t partition)
{
	load_event(arg, TXN_EV_LOAD_BEGIN, partition, (struct sl_bytes){NULL, 0});
}

static void on_batches(void *arg, int32_t partition, struct sl_bytes batches)
{
	load_event(arg, TXN_EV_LOAD_BATCHES, partition, batches);
}

static void on_end(void *arg, int32_t partition)
{
	load_event(arg, TXN_EV_LOAD_END, partition, (struct sl_bytes){NULL, 0});
}

static void on_unload(void *arg, int32_t partition)
{
	load_event(arg, TXN_EV_UNLOAD, partition, (struct sl_bytes){NULL, 0});
}

static void on_appended(void *arg, int32_t partition, uint64_t cookie, enum sl_kerr kerr,
                        int64_t base_offset)
{
	struct txn_event ev = {.type = TXN_EV_APPENDED, .cookie = cookie, .kerr = kerr};

	(void)partition;
	(void)base_offset;
	step(arg, &ev);
}

static const struct statelog_ops log_ops = {
	.topic = TXNS_TOPIC,
	.loads = COUNTER_txn_loads,
	.load_errors = COUNTER_txn_load_errors,
	.appends = COUNTER_txn_appends,
	.append_errors = COUNTER_txn_append_errors,
	.resize = make_coordinator,
	.begin = on_begin,
	.batches = on_batches,
	.end = on_end,
	.unload = on_unload,
	.appended = on_appended,
};

struct statelog *txns_log(const struct txns *x)
{
	return x->log;
}

/* After the group coordinator has heard of it. */
void txns_changed(struct txns *x, const struct meta_change *change)
{
	statelog_changed(x->log, change);
	txn_set_offsets_partitions(x->coord, offsets_partitions(x));
}

struct txn_coord *txns_coordinator(const struct txns *x)
{
	return x->coord;
}

const struct recent *txns_verifies(const struct txns *x)
{
	return &x->verifies;
}

int txns_create(struct txns **out, struct control *c)
{
	struct txns *x = calloc(1, sizeof(*x));
	int rc;

	if (!x)
		return -ENOMEM;
	x->c = c;
	x->handle_next = 1;
	x->tick = (struct loop_timer){.fn = on_tick, .arg = x};
	rc = statelog_create(&x->log, c, &log_ops, x,
	                     (int32_t)sl_conf_int(c->conf,
	                                          SL_CK_transaction_state_log_num_partitions));
	if (rc < 0) {
		free(x);
		return rc;
	}
	*out = x;
	return 0;
}

void txns_destroy(struct txns *x)
{
	struct question *q;
	uint32_t pos = 0;

	if (!x)
		return;
	loop_timer_stop(x->c->loop, &x->tick);
	statelog_destroy(x->log);
	txn_destroy(x->coord);
	while ((q = sl_map_next(&x->questions, &pos)) != NULL) {
		(void)sl_map_del(&x->questions, &q->handle, sizeof(q->handle));
		free(q);
	}
	sl_map_fini(&x->questions);
	free(x);
}
