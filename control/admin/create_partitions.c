/* SPDX-License-Identifier: Apache-2.0 */
/* CreatePartitions: more partitions for existing topics. */
#include "sluice/wire/create_partitions_gen.h"

#include <errno.h>

#include "sluice/base/hash.h"

#include "admin.h"
#include "topics.h"

struct growth {
	struct sl_create_partitions_req req;
	struct sl_create_partitions_resp resp;
	bool *is_made;
	uint64_t room;
	int64_t request_room;
};

static void refuse(struct sl_create_partitions_resp_result *res, enum sl_kerr kerr,
                   struct sl_str text)
{
	res->error_code = (int16_t)kerr;
	res->error_message = text;
}

static bool check_count(struct request *r, struct growth *g, const struct meta_topic *t,
                        int32_t count, struct sl_create_partitions_resp_result *res)
{
	int32_t have = t->rec.partitions_count;

	if (t->is_internal) {
		/* Groups are placed by the partition count: another count would lose them. */
		refuse(res, SL_KERR_INVALID_REQUEST,
		       sl_str_from("The partition count of an internal topic is fixed"));
	} else if (count == have) {
		refuse(res, SL_KERR_INVALID_PARTITIONS,
		       request_printf(r, "Topic already has %d partition(s)", have));
	} else if (count < have) {
		refuse(res, SL_KERR_INVALID_PARTITIONS,
		       request_printf(
			       r,
			       "The topic %.*s currently has %d partition(s); %d would not be "
			       "an increase",
			       SL_STR_ARG(t->rec.name), have, count));
	} else if (count > TOPICS_PARTITIONS_MAX) {
		refuse(res, SL_KERR_POLICY_VIOLATION,
		       request_printf(r, "A topic has at most %d partitions",
		                      TOPICS_PARTITIONS_MAX));
	} else if (count - have > g->request_room) {
		refuse(res, SL_KERR_POLICY_VIOLATION,
		       sl_str_from("Excessively large number of partitions per request"));
	} else if ((uint64_t)(count - have) > g->room) {
		refuse(res, SL_KERR_POLICY_VIOLATION,
		       request_printf(r,
		                      "The lanes have room for %llu more partitions "
		                      "(lane.partitions.max)",
		                      (unsigned long long)g->room));
	} else {
		return true;
	}
	return false;
}

static bool place(struct request *r, const struct sl_create_partitions_req_topic *t,
                  struct sl_meta_topic_partition *parts, int32_t more,
                  struct sl_create_partitions_resp_result *res)
{
	if (t->assignments_count < 0) {
		topics_place(r, parts, more);
		return true;
	}
	if (t->assignments_count != more) {
		refuse(res, SL_KERR_INVALID_REPLICA_ASSIGNMENT,
		       request_printf(r,
		                      "Attempted to add %d additional partition(s), but only %d "
		                      "assignment(s) were specified",
		                      more, t->assignments_count));
		return false;
	}
	for (int32_t i = 0; i < more; i++) {
		if (t->assignments[i].broker_ids_count != 1 ||
		    !control_is_own_node(r->c, t->assignments[i].broker_ids[0])) {
			refuse(res, SL_KERR_INVALID_REPLICA_ASSIGNMENT,
			       sl_str_from(
				       "every new partition needs exactly one replica, on a lane "
				       "of this server"));
			return false;
		}
		topics_place_on(r, &parts[i], t->assignments[i].broker_ids[0]);
	}
	return true;
}

/* Return: whether @rec is to be written in place of @old. */
static bool check_topic(struct request *r, struct growth *g,
                        const struct sl_create_partitions_req_topic *t,
                        const struct meta_topic *old, struct sl_meta_topic *rec,
                        struct sl_create_partitions_resp_result *res)
{
	int32_t have;

	if (!old) {
		refuse(res, SL_KERR_UNKNOWN_TOPIC_OR_PARTITION,
		       sl_str_from("This server does not host this topic"));
		return false;
	}
	if (!check_count(r, g, old, t->count, res))
		return false;
	have = old->rec.partitions_count;
	*rec = old->rec;
	rec->partitions_count = t->count;
	rec->partitions = request_alloc(r, (size_t)t->count, sizeof(*rec->partitions));
	memcpy(rec->partitions, old->rec.partitions, (size_t)have * sizeof(*rec->partitions));
	return place(r, t, rec->partitions + have, t->count - have, res);
}

static struct meta_txn *check_all(struct request *r, struct growth *g)
{
	struct meta_txn *txn = NULL;
	struct sl_map seen = {0};

	for (int32_t i = 0; i < g->req.topics_count; i++) {
		struct sl_create_partitions_req_topic *t = &g->req.topics[i];
		struct sl_create_partitions_resp_result *res = &g->resp.results[i];
		const struct meta_topic *old = meta_topic_by_name(r->c->meta, t->name);
		struct sl_meta_topic rec;

		if (sl_map_put(&seen, t->name.p, (size_t)t->name.len, t) < 0) {
			refuse(res, SL_KERR_INVALID_REQUEST, sl_str_from("Duplicate topic name"));
			continue;
		}
		if (!check_topic(r, g, t, old, &rec, res))
			continue;
		g->room -= (uint64_t)(t->count - old->rec.partitions_count);
		g->request_room -= t->count - old->rec.partitions_count;
		if (g->req.validate_only)
			continue;
		g->is_made[i] = true;
		if (!txn)
			txn = meta_txn_begin(r->c->meta);
		meta_txn_put_topic(txn, &rec, old->mod_revision);
	}
	sl_map_fini(&seen);
	return txn;
}

static void finish(struct control *c, struct request *r, enum sl_kerr kerr)
{
	struct growth *g = r->state;

	(void)c;
	for (int32_t i = 0; kerr != SL_KERR_NONE && i < g->resp.results_count; i++) {
		if (g->is_made[i])
			refuse(&g->resp.results[i], kerr,
			       sl_str_from("The metadata could not be written"));
	}
	sl_create_partitions_resp_encode(&g->resp, request_answer(r), r->wire.api_version);
}

enum request_result admin_create_partitions(struct control *c, struct request *r)
{
	struct growth *g = request_alloc(r, 1, sizeof(*g));
	struct meta_txn *txn;
	int32_t count;

	if (!request_decode(r, &g->req))
		return REQUEST_CLOSE;
	count = g->req.topics_count;
	if (!request_has_room(r, (size_t)count * (sizeof(*g->resp.results) + 1)))
		return REQUEST_CLOSE;
	r->state = g;
	g->room = topics_room(c);
	g->request_room = TOPICS_PARTITIONS_PER_REQUEST;
	g->is_made = request_alloc(r, (size_t)count, sizeof(bool));
	sl_create_partitions_resp_init(&g->resp);
	g->resp.results = request_alloc(r, (size_t)count, sizeof(*g->resp.results));
	g->resp.results_count = count;
	for (int32_t i = 0; i < count; i++)
		g->resp.results[i] = (struct sl_create_partitions_resp_result){
			.name = g->req.topics[i].name, .error_message = SL_STR_NULL};
	txn = check_all(r, g);
	if (txn)
		return request_commit(r, txn, g->req.timeout_ms, finish);
	finish(c, r, SL_KERR_NONE);
	return REQUEST_DONE;
}
