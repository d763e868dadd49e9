/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FindCoordinator.  The coordinator of every group and transactional id is this process, reached
 * through any lane; they are spread over the lanes by their key.  The first question of a kind
 * creates the topic that the kind's state is kept on.
 */
#include "sluice/wire/find_coordinator_gen.h"

#include "admin.h"
#include "topics.h"

enum key_type {
	KEY_GROUP = 0,
	KEY_TRANSACTION = 1,
	KEY_SHARE = 2
};

static void find_one(struct control *c, int8_t key_type, enum sl_kerr failure,
                     struct sl_find_coordinator_resp_coordinator *out)
{
	uint32_t lane = control_lane_of_key(c, out->key);

	out->node_id = -1;
	out->port = -1;
	out->error_message = SL_STR_NULL;
	if (key_type != KEY_GROUP && key_type != KEY_TRANSACTION) {
		out->error_code = SL_KERR_INVALID_REQUEST;
		out->error_message = sl_str_from(key_type == KEY_SHARE
		                                         ? "Share groups are not served"
		                                         : "Unknown coordinator type");
	} else if (failure != SL_KERR_NONE) {
		out->error_code = (int16_t)failure;
		out->error_message = sl_str_from("The coordinator's topic could not be created");
	} else {
		out->node_id = control_node_id(c, lane);
		out->host = sl_str_from(c->advertised_host);
		out->port = control_node_port(c, lane);
	}
}

static void answer(struct control *c, struct request *r, const struct sl_find_coordinator_req *req,
                   enum sl_kerr failure)
{
	struct sl_find_coordinator_resp resp;
	int32_t count = r->wire.api_version >= 4 ? req->coordinator_keys_count : 1;
	struct sl_find_coordinator_resp_coordinator *list = request_alloc(r, (size_t)count,
	                                                                  sizeof(*list));

	sl_find_coordinator_resp_init(&resp);
	for (int32_t i = 0; i < count; i++) {
		sl_find_coordinator_resp_coordinator_init(&list[i]);
		list[i].key = r->wire.api_version >= 4 ? req->coordinator_keys[i] : req->key;
		find_one(c, req->key_type, failure, &list[i]);
	}
	if (r->wire.api_version >= 4) {
		resp.coordinators = list;
		resp.coordinators_count = count;
	} else {
		resp.error_code = list[0].error_code;
		resp.error_message = list[0].error_message;
		resp.node_id = list[0].node_id;
		resp.host = list[0].host;
		resp.port = list[0].port;
	}
	sl_find_coordinator_resp_encode(&resp, request_answer(r), r->wire.api_version);
}

static void finish(struct control *c, struct request *r, enum sl_kerr kerr)
{
	answer(c, r, r->state,
	       kerr == SL_KERR_NONE ? SL_KERR_NONE : SL_KERR_COORDINATOR_NOT_AVAILABLE);
}

enum request_result admin_find_coordinator(struct control *c, struct request *r)
{
	struct sl_find_coordinator_req *req = request_alloc(r, 1, sizeof(*req));
	struct sl_meta_topic rec;
	struct meta_txn *txn;
	struct sl_str topic;

	if (!request_decode(r, req))
		return REQUEST_CLOSE;
	if (!request_has_room(r, (size_t)SL_MAX(req->coordinator_keys_count, 0) *
	                                 sizeof(struct sl_find_coordinator_resp_coordinator)))
		return REQUEST_CLOSE;
	topic = sl_str_from(req->key_type == KEY_TRANSACTION ? TOPICS_TXNS_NAME
	                                                     : TOPICS_OFFSETS_NAME);
	if ((req->key_type != KEY_GROUP && req->key_type != KEY_TRANSACTION) ||
	    meta_topic_by_name(c->meta, topic)) {
		answer(c, r, req, SL_KERR_NONE);
		return REQUEST_DONE;
	}
	r->state = req;
	topics_make_state(r, &rec, topic);
	txn = meta_txn_begin(c->meta);
	meta_txn_put_topic(txn, &rec, 0);
	return request_commit(r, txn, PUBLISH_WAIT_MS, finish);
}
