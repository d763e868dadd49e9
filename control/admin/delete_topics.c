/* SPDX-License-Identifier: Apache-2.0 */
/* DeleteTopics, by name or by id. */
#include "sluice/wire/delete_topics_gen.h"

#include <errno.h>

#include "sluice/base/hash.h"

#include "admin.h"
#include "config.h"

struct deletion {
	struct sl_delete_topics_req req;
	struct sl_delete_topics_resp resp;
	bool *is_made;
};

static void refuse(struct sl_delete_topics_resp_response *res, enum sl_kerr kerr, const char *text)
{
	res->error_code = (int16_t)kerr;
	res->error_message = sl_str_from(text);
}

static void begin_answer(struct request *r, struct deletion *d)
{
	bool by_topic = r->wire.api_version >= 6;
	int32_t count = by_topic ? d->req.topics_count : d->req.topic_names_count;

	sl_delete_topics_resp_init(&d->resp);
	d->resp.responses_count = count;
	d->resp.responses = request_alloc(r, (size_t)count, sizeof(*d->resp.responses));
	d->is_made = request_alloc(r, (size_t)count, sizeof(*d->is_made));
	for (int32_t i = 0; i < count; i++) {
		struct sl_delete_topics_resp_response *res = &d->resp.responses[i];

		sl_delete_topics_resp_response_init(res);
		res->error_message = SL_STR_NULL;
		res->name = by_topic ? d->req.topics[i].name : d->req.topic_names[i];
		if (by_topic)
			res->topic_id = d->req.topics[i].topic_id;
	}
}

/* The topic an entry means; NULL: refused. */
static const struct meta_topic *find_topic(struct control *c,
                                           struct sl_delete_topics_resp_response *res)
{
	bool has_name = !sl_str_is_null(res->name);
	bool has_id = !sl_uuid_is_zero(&res->topic_id);
	const struct meta_topic *t;

	if (has_name == has_id) {
		refuse(res, SL_KERR_INVALID_REQUEST,
		       has_name ? "You may not specify both topic name and topic id"
		                : "Neither topic name nor id were specified");
		return NULL;
	}
	t = has_name ? meta_topic_by_name(c->meta, res->name)
	             : meta_topic_by_id(c->meta, &res->topic_id);
	if (!t)
		refuse(res,
		       has_name ? SL_KERR_UNKNOWN_TOPIC_OR_PARTITION : SL_KERR_UNKNOWN_TOPIC_ID,
		       "This server does not host this topic");
	return t;
}

static struct meta_txn *check_all(struct control *c, struct deletion *d)
{
	struct meta_txn *txn = NULL;
	struct sl_map seen = {0};

	for (int32_t i = 0; i < d->resp.responses_count; i++) {
		struct sl_delete_topics_resp_response *res = &d->resp.responses[i];
		const struct meta_topic *t = find_topic(c, res);

		if (!t)
			continue;
		/* The key must outlive the map: the image does not change meanwhile. */
		if (sl_map_put(&seen, &t->rec.topic_id, sizeof(t->rec.topic_id), res) < 0) {
			refuse(res, SL_KERR_INVALID_REQUEST, "The topic is named more than once");
			continue;
		}
		res->name = t->rec.name;
		res->topic_id = t->rec.topic_id;
		d->is_made[i] = true;
		if (!txn)
			txn = meta_txn_begin(c->meta);
		meta_txn_delete_topic(txn, &t->rec.topic_id, t->mod_revision);
	}
	sl_map_fini(&seen);
	return txn;
}

static void finish(struct control *c, struct request *r, enum sl_kerr kerr)
{
	struct deletion *d = r->state;

	(void)c;
	for (int32_t i = 0; kerr != SL_KERR_NONE && i < d->resp.responses_count; i++) {
		if (d->is_made[i])
			refuse(&d->resp.responses[i], kerr, "The metadata could not be written");
	}
	sl_delete_topics_resp_encode(&d->resp, request_answer(r), r->wire.api_version);
}

/* The names borrow the image, which will not have them any more when the answer is written. */
static void keep_names(struct request *r, struct deletion *d)
{
	for (int32_t i = 0; i < d->resp.responses_count; i++) {
		if (d->is_made[i])
			d->resp.responses[i].name = request_copy(r, d->resp.responses[i].name);
	}
}

enum request_result admin_delete_topics(struct control *c, struct request *r)
{
	struct deletion *d = request_alloc(r, 1, sizeof(*d));
	struct meta_txn *txn = NULL;
	size_t count;

	if (!request_decode(r, &d->req))
		return REQUEST_CLOSE;
	count = (size_t)d->req.topics_count + (size_t)d->req.topic_names_count;
	if (!request_has_room(r, count * (sizeof(*d->resp.responses) + 1)))
		return REQUEST_CLOSE;
	r->state = d;
	begin_answer(r, d);
	if (config_broker_bool(c, SL_CK_delete_topic_enable)) {
		txn = check_all(c, d);
		keep_names(r, d);
	} else {
		/* Source: KIP-322; older versions do not know the code. */
		for (int32_t i = 0; i < d->resp.responses_count; i++)
			refuse(&d->resp.responses[i],
			       r->wire.api_version < 3 ? SL_KERR_INVALID_REQUEST
			                               : SL_KERR_TOPIC_DELETION_DISABLED,
			       "Topic deletion is disabled (delete.topic.enable)");
	}
	if (txn)
		return request_commit(r, txn, d->req.timeout_ms, finish);
	finish(c, r, SL_KERR_NONE);
	return REQUEST_DONE;
}
