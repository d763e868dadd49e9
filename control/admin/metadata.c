/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metadata.  The lanes answer it themselves; they forward it when a topic that the client names
 * does not exist and the client allows its creation.  It is created here, and the answer waits
 * until the data plane serves it: the client's first produce then finds the leader.
 */
#include "sluice/wire/metadata_gen.h"

#include "sluice/base/hash.h"

#include "admin.h"
#include "config.h"
#include "topics.h"

/* Topics that one request may create. */
#define CREATE_MAX 100

struct question {
	struct sl_metadata_req req;
	bool is_all;
};

static void fill_partition(const struct control *c, int32_t index,
                           const struct sl_meta_topic_partition *p,
                           struct sl_metadata_resp_topic_partition *out)
{
	bool has_leader = control_is_own_node(c, p->leader_id);

	sl_metadata_resp_topic_partition_init(out);
	out->error_code = has_leader ? SL_KERR_NONE : SL_KERR_LEADER_NOT_AVAILABLE;
	out->partition_index = index;
	out->leader_id = has_leader ? p->leader_id : -1;
	out->leader_epoch = p->leader_epoch;
	out->replica_nodes = p->replica_nodes;
	out->replica_nodes_count = p->replica_nodes_count;
	out->isr_nodes = p->isr_nodes;
	out->isr_nodes_count = p->isr_nodes_count;
}

/* Return: false: too much for the scratch memory. */
static bool fill_topic(struct request *r, const struct question *q, const struct meta_topic *t,
                       struct sl_metadata_resp_topic *out)
{
	size_t count = (size_t)t->rec.partitions_count;

	if (!request_has_room(r, count * sizeof(*out->partitions)))
		return false;
	out->name = t->rec.name;
	out->topic_id = t->rec.topic_id;
	out->is_internal = t->is_internal;
	out->partitions = request_alloc(r, count, sizeof(*out->partitions));
	out->partitions_count = t->rec.partitions_count;
	for (int32_t i = 0; i < t->rec.partitions_count; i++)
		fill_partition(r->c, i, &t->rec.partitions[i], &out->partitions[i]);
	if (q->req.include_topic_authorized_operations)
		out->topic_authorized_operations = ADMIN_TOPIC_OPERATIONS;
	return true;
}

static void refuse(const struct sl_metadata_req_topic *asked, enum sl_kerr kerr,
                   struct sl_metadata_resp_topic *out)
{
	out->error_code = (int16_t)kerr;
	out->name = asked->name;
	out->topic_id = asked->topic_id;
}

static bool fill_named(struct request *r, const struct question *q,
                       const struct sl_metadata_req_topic *asked,
                       struct sl_metadata_resp_topic *out)
{
	bool has_id = !sl_uuid_is_zero(&asked->topic_id);
	const struct meta_topic *t;

	/* Reference 4.1: ids are answered from version 12 on. */
	if (r->wire.api_version < 12 && (has_id || sl_str_is_null(asked->name))) {
		refuse(asked, SL_KERR_INVALID_REQUEST, out);
		out->name = (struct sl_str){"", 0};
		return true;
	}
	t = has_id ? meta_topic_by_id(r->c->meta, &asked->topic_id)
	           : meta_topic_by_name(r->c->meta, asked->name);
	if (t)
		return fill_topic(r, q, t, out);
	if (has_id) {
		refuse(asked, SL_KERR_UNKNOWN_TOPIC_ID, out);
		out->name = SL_STR_NULL;
	} else if (topics_name_error(asked->name)) {
		refuse(asked, SL_KERR_INVALID_TOPIC_EXCEPTION, out);
	} else {
		refuse(asked, SL_KERR_UNKNOWN_TOPIC_OR_PARTITION, out);
	}
	return true;
}

static bool fill_topics(struct request *r, const struct question *q, struct sl_metadata_resp *resp)
{
	struct meta *m = r->c->meta;
	int32_t count = q->is_all ? (int32_t)meta_topics_count(m) : q->req.topics_count;

	if (!request_has_room(r, (size_t)count * sizeof(*resp->topics)))
		return false;
	resp->topics = request_alloc(r, (size_t)count, sizeof(*resp->topics));
	resp->topics_count = count;
	for (int32_t i = 0; i < count; i++) {
		struct sl_metadata_resp_topic *out = &resp->topics[i];
		bool ok;

		sl_metadata_resp_topic_init(out);
		ok = q->is_all ? fill_topic(r, q, meta_topic_at(m, (uint32_t)i), out)
		               : fill_named(r, q, &q->req.topics[i], out);
		if (!ok)
			return false;
	}
	return true;
}

static bool answer(struct control *c, struct request *r, const struct question *q)
{
	uint32_t lanes = control_lanes_count(c);
	struct sl_metadata_resp resp;

	sl_metadata_resp_init(&resp);
	resp.brokers = request_alloc(r, lanes, sizeof(*resp.brokers));
	resp.brokers_count = (int32_t)lanes;
	for (uint32_t i = 0; i < lanes; i++)
		resp.brokers[i] = (struct sl_metadata_resp_broker){
			.node_id = control_node_id(c, i),
			.host = sl_str_from(c->advertised_host),
			.port = control_node_port(c, i),
			.rack = control_node_rack(c, control_node_id(c, i)),
		};
	resp.cluster_id = sl_str_from(meta_cluster_id(c->meta));
	resp.controller_id = control_node_id(c, 0);
	if (q->req.include_cluster_authorized_operations)
		resp.cluster_authorized_operations = ADMIN_CLUSTER_OPERATIONS;
	if (!fill_topics(r, q, &resp))
		return false;
	sl_metadata_resp_encode(&resp, request_answer(r), r->wire.api_version);
	return true;
}

static void finish(struct control *c, struct request *r, enum sl_kerr kerr)
{
	(void)kerr; /* what could not be created is still unknown, and the client asks again */
	if (!answer(c, r, r->state))
		r->out.failed = true;
}

/* Whether the named topic is to be created for the client. */
static bool is_creatable(struct control *c, struct sl_str name)
{
	/* Of the internal ones only the one that something here writes. */
	if (sl_str_eq_c(name, "__transaction_state") || sl_str_eq_c(name, "__share_group_state"))
		return false;
	return !topics_name_error(name) && !meta_topic_colliding(c->meta, name);
}

/* Whether an earlier name of this request is the same, or folds the same; remembers this one. */
static bool is_taken(struct request *r, struct sl_map *folded, struct sl_str name)
{
	char *key = request_alloc(r, (size_t)name.len, 1);

	for (int32_t i = 0; i < name.len; i++)
		key[i] = name.p[i] == '.' ? '_' : name.p[i];
	return sl_map_put(folded, key, (size_t)name.len, key) < 0;
}

/* Puts one topic into the transaction.  Return: false: the lanes are full. */
static bool create_one(struct request *r, struct sl_str name, uint64_t *room, struct meta_txn **txn)
{
	struct control *c = r->c;
	struct sl_meta_topic rec;

	if (topics_is_state(name))
		topics_make_state(r, &rec, name);
	else
		topics_make(r, &rec, name, (int32_t)config_broker_int(c, SL_CK_num_partitions));
	if ((uint64_t)rec.partitions_count > *room)
		return false;
	*room -= (uint64_t)rec.partitions_count;
	if (!*txn)
		*txn = meta_txn_begin(c->meta);
	meta_txn_put_topic(*txn, &rec, 0);
	control_count(c, COUNTER_topics_auto_created);
	return true;
}

/* A transaction that creates what is missing; NULL: nothing to create. */
static struct meta_txn *create_missing(struct control *c, struct request *r,
                                       const struct question *q)
{
	uint64_t room = topics_room(c);
	struct meta_txn *txn = NULL;
	struct sl_map folded = {0};
	int count = 0;

	if (q->is_all || !q->req.allow_auto_topic_creation ||
	    !config_broker_bool(c, SL_CK_auto_create_topics_enable))
		return NULL;
	for (int32_t i = 0; i < q->req.topics_count && count < CREATE_MAX; i++) {
		struct sl_str name = q->req.topics[i].name;

		if (!sl_uuid_is_zero(&q->req.topics[i].topic_id) || name.len <= 0 ||
		    !is_creatable(c, name) || is_taken(r, &folded, name))
			continue;
		if (!create_one(r, name, &room, &txn))
			break;
		count++;
	}
	sl_map_fini(&folded);
	return txn;
}

enum request_result admin_metadata(struct control *c, struct request *r)
{
	struct question *q = request_alloc(r, 1, sizeof(*q));
	struct meta_txn *txn;

	if (!request_decode(r, &q->req))
		return REQUEST_CLOSE;
	r->state = q;
	/* Version 0 had no null: there the empty list means all. */
	q->is_all = q->req.topics_count < 0 ||
	            (q->req.topics_count == 0 && r->wire.api_version == 0);
	txn = create_missing(c, r, q);
	if (txn)
		return request_commit(r, txn, PUBLISH_WAIT_MS, finish);
	return answer(c, r, q) ? REQUEST_DONE : REQUEST_CLOSE;
}
