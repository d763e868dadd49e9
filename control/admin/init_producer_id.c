/* SPDX-License-Identifier: Apache-2.0 */
/*
 * InitProducerId for idempotent producers: a fresh id, epoch 0.  Ids come from blocks that are
 * taken from the metadata, so that a restart never gives one twice.  One with a transactional id is
 * the transaction coordinator's.
 */
#include "sluice/wire/init_producer_id_gen.h"

#include "admin.h"
#include "txns.h"

#define BLOCK_IDS 1000

static void answer(struct request *r, enum sl_kerr kerr)
{
	struct control *c = r->c;
	struct sl_init_producer_id_resp resp;

	sl_init_producer_id_resp_init(&resp);
	resp.error_code = (int16_t)kerr;
	resp.producer_id = -1;
	resp.producer_epoch = -1;
	if (kerr == SL_KERR_NONE) {
		resp.producer_id = c->producer_id_next++;
		resp.producer_epoch = 0;
	}
	sl_init_producer_id_resp_encode(&resp, request_answer(r), r->wire.api_version);
}

static void finish(struct control *c, struct request *r, enum sl_kerr kerr)
{
	const int64_t *first = r->state;

	if (kerr != SL_KERR_NONE) {
		answer(r, SL_KERR_COORDINATOR_NOT_AVAILABLE);
		return;
	}
	c->producer_id_next = *first;
	c->producer_id_end = *first + BLOCK_IDS;
	answer(r, SL_KERR_NONE);
}

static enum sl_kerr check(const struct sl_init_producer_id_req *req)
{
	/* Both or neither: an id without its epoch cannot be continued. */
	if ((req->producer_id == -1) != (req->producer_epoch == -1))
		return SL_KERR_INVALID_REQUEST;
	return SL_KERR_NONE;
}

enum request_result admin_init_producer_id(struct control *c, struct request *r)
{
	struct sl_init_producer_id_req req;
	struct meta_txn *txn;
	enum sl_kerr kerr;
	int64_t *first;

	if (!request_decode(r, &req))
		return REQUEST_CLOSE;
	if (!sl_str_is_null(req.transactional_id))
		return txns_request(c, r);
	kerr = check(&req);
	if (kerr != SL_KERR_NONE || c->producer_id_next < c->producer_id_end) {
		answer(r, kerr);
		return REQUEST_DONE;
	}
	first = request_alloc(r, 1, sizeof(*first));
	*first = meta_next_producer_id(c->meta);
	r->state = first;
	txn = meta_txn_begin(c->meta);
	meta_txn_put_producer_ids(txn, *first + BLOCK_IDS, *first);
	return request_commit(r, txn, 0, finish);
}
