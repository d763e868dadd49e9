/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CreateTopics.  Every topic is checked on its own; those that pass are created in one transaction.
 * Error codes: reference 4.1, "CreateTopics errors".
 */
#include "sluice/wire/create_topics_gen.h"

#include <errno.h>

#include "sluice/base/hash.h"

#include "admin.h"
#include "config.h"
#include "topics.h"

#define DEFAULT_COUNT (-1)

/* One request on its way. */
struct creation {
	struct sl_create_topics_req req;
	struct sl_create_topics_resp resp;
	bool *is_made;        /* which topics are part of the transaction */
	uint64_t room;        /* partitions that still fit */
	int64_t request_room; /* partitions this request may still create */
};

static void refuse(struct sl_create_topics_resp_topic *res, enum sl_kerr kerr, struct sl_str text)
{
	res->error_code = (int16_t)kerr;
	res->error_message = text;
}

/* Names that occur more than once.  Return: false: out of memory. */
static bool find_duplicates(struct creation *cr, bool *is_twice)
{
	struct sl_map seen = {0};
	bool ok = true;

	for (int32_t i = 0; ok && i < cr->req.topics_count; i++) {
		struct sl_str name = cr->req.topics[i].name;
		int rc = sl_map_put(&seen, name.p, (size_t)name.len, &is_twice[i]);

		if (rc == -EEXIST) {
			is_twice[i] = true;
			*(bool *)sl_map_get(&seen, name.p, (size_t)name.len) = true;
		} else if (rc < 0) {
			ok = false;
		}
	}
	sl_map_fini(&seen);
	return ok;
}

/* Copies the overrides; of a key given twice the last one counts.  Return: false: refused. */
static bool take_configs(struct request *r, const struct sl_create_topics_req_topic *t,
                         struct sl_meta_topic *rec, struct sl_create_topics_resp_topic *res)
{
	struct sl_meta_topic_config *out = request_alloc(r, SL_CT_NR + 1, sizeof(*out));
	int32_t place[SL_CT_NR];
	char error[SL_CONF_ERROR_MAX];
	struct sl_conf_value v;

	/* Those that an internal topic is born with come first and can be replaced. */
	memset(place, -1, sizeof(place));
	for (int32_t i = 0; i < rec->configs_count; i++) {
		place[sl_conf_find_topic(rec->configs[i].name)] = i;
		out[i] = rec->configs[i];
	}
	for (int32_t i = 0; i < t->configs_count; i++) {
		int key = sl_conf_find_topic(t->configs[i].name);

		if (key < 0) {
			refuse(res, SL_KERR_INVALID_CONFIG,
			       request_printf(r, "Unknown topic config name: %.*s",
			                      SL_STR_ARG(t->configs[i].name)));
			return false;
		}
		if (sl_str_is_null(t->configs[i].value)) {
			refuse(res, SL_KERR_INVALID_CONFIG,
			       request_printf(r, "Null value not supported for topic configs: %.*s",
			                      SL_STR_ARG(t->configs[i].name)));
			return false;
		}
		if (sl_conf_check(&sl_conf_topic_defs[key], t->configs[i].value, &v, error) < 0) {
			refuse(res, SL_KERR_INVALID_CONFIG, request_printf(r, "%s", error));
			return false;
		}
		if (place[key] < 0)
			place[key] = rec->configs_count++;
		out[place[key]] = (struct sl_meta_topic_config){t->configs[i].name,
		                                                t->configs[i].value};
	}
	rec->configs = out;
	return true;
}

/* Places the partitions as the client says.  Return: false: refused. */
static bool place_assigned(struct request *r, const struct sl_create_topics_req_topic *t,
                           struct sl_meta_topic *rec, struct sl_create_topics_resp_topic *res)
{
	bool *seen = request_alloc(r, (size_t)t->assignments_count, sizeof(*seen));

	for (int32_t i = 0; i < t->assignments_count; i++) {
		const struct sl_create_topics_req_topic_assignment *a = &t->assignments[i];

		if (a->partition_index < 0 || a->partition_index >= t->assignments_count ||
		    seen[a->partition_index]) {
			refuse(res, SL_KERR_INVALID_REPLICA_ASSIGNMENT,
			       sl_str_from("partitions should be a consecutive 0-based integer "
			                   "sequence"));
			return false;
		}
		if (a->broker_ids_count != 1) {
			refuse(res, SL_KERR_INVALID_REPLICA_ASSIGNMENT,
			       sl_str_from(
				       "every partition needs exactly one replica: the lanes of "
				       "this server are one failure domain"));
			return false;
		}
		if (!control_is_own_node(r->c, a->broker_ids[0])) {
			refuse(res, SL_KERR_INVALID_REPLICA_ASSIGNMENT,
			       request_printf(r, "broker %d is not registered", a->broker_ids[0]));
			return false;
		}
		seen[a->partition_index] = true;
		topics_place_on(r, &rec->partitions[a->partition_index], a->broker_ids[0]);
	}
	return true;
}

/* How many partitions the topic shall have; 0: refused. */
static int32_t partitions_of(struct request *r, struct creation *cr,
                             const struct sl_create_topics_req_topic *t,
                             struct sl_create_topics_resp_topic *res)
{
	int32_t count = t->num_partitions;

	if (t->assignments_count > 0) {
		if (t->num_partitions != DEFAULT_COUNT || t->replication_factor != DEFAULT_COUNT) {
			refuse(res, SL_KERR_INVALID_REQUEST,
			       sl_str_from("A manual partition assignment was specified, but also "
			                   "partitions or replication factor"));
			return 0;
		}
		count = t->assignments_count;
	} else if (t->replication_factor != DEFAULT_COUNT && t->replication_factor < 1) {
		refuse(res, SL_KERR_INVALID_REPLICATION_FACTOR,
		       sl_str_from("Replication factor must be larger than 0, or -1 to use the "
		                   "default value"));
		return 0;
	} else if (t->replication_factor > 1) {
		refuse(res, SL_KERR_INVALID_REPLICATION_FACTOR,
		       request_printf(r,
		                      "Unable to replicate the partition %d times: there is one "
		                      "server, and its lanes are one failure domain",
		                      t->replication_factor));
		return 0;
	} else if (count == DEFAULT_COUNT) {
		count = (int32_t)config_broker_int(r->c, SL_CK_num_partitions);
	} else if (count < 1) {
		refuse(res, SL_KERR_INVALID_PARTITIONS,
		       sl_str_from(
			       "Number of partitions was set to an invalid non-positive value"));
		return 0;
	}
	if (count > cr->request_room) {
		refuse(res, SL_KERR_POLICY_VIOLATION,
		       sl_str_from("Excessively large number of partitions per request"));
		return 0;
	}
	if ((uint64_t)count > cr->room) {
		refuse(res, SL_KERR_POLICY_VIOLATION,
		       request_printf(r,
		                      "The lanes have room for %llu more partitions "
		                      "(lane.partitions.max)",
		                      (unsigned long long)cr->room));
		return 0;
	}
	return count;
}

static void fill_configs(struct request *r, const struct sl_meta_topic *rec,
                         struct sl_create_topics_resp_topic *res)
{
	res->configs = request_alloc(r, SL_CT_NR, sizeof(*res->configs));
	res->configs_count = SL_CT_NR;
	for (int key = 0; key < SL_CT_NR; key++) {
		struct config_value chain[CONFIG_CHAIN_MAX];

		(void)config_topic_chain(r->c, rec, (enum sl_conf_topic_key)key, chain);
		res->configs[key] = (struct sl_create_topics_resp_topic_config){
			.name = sl_str_from(sl_conf_topic_defs[key].name),
			.value = request_copy(r, chain[0].value),
			.config_source = (int8_t)chain[0].source,
		};
	}
}

/* Checks one topic.  Return: whether @rec is to be created. */
static bool check_topic(struct request *r, struct creation *cr,
                        const struct sl_create_topics_req_topic *t, struct sl_meta_topic *rec,
                        struct sl_create_topics_resp_topic *res)
{
	const char *error = topics_name_error(t->name);
	const struct meta_topic *other;
	int32_t count;

	if (error) {
		refuse(res, SL_KERR_INVALID_TOPIC_EXCEPTION, sl_str_from(error));
		return false;
	}
	other = meta_topic_colliding(r->c->meta, t->name);
	if (other && sl_str_eq(other->rec.name, t->name)) {
		refuse(res, SL_KERR_TOPIC_ALREADY_EXISTS,
		       request_printf(r, "Topic '%.*s' already exists", SL_STR_ARG(t->name)));
		return false;
	}
	if (other) {
		refuse(res, SL_KERR_INVALID_TOPIC_EXCEPTION,
		       request_printf(r, "Topic '%.*s' collides with existing topic: %.*s",
		                      SL_STR_ARG(t->name), SL_STR_ARG(other->rec.name)));
		return false;
	}
	count = partitions_of(r, cr, t, res);
	if (count == 0)
		return false;
	topics_make(r, rec, t->name, count);
	if (t->assignments_count > 0 && !place_assigned(r, t, rec, res))
		return false;
	return take_configs(r, t, rec, res);
}

/* A name that folds like that of an earlier topic of this request. */
static bool collides_within(struct request *r, struct sl_map *folded, struct sl_str name)
{
	char *key = request_alloc(r, (size_t)name.len, 1);

	for (int32_t i = 0; i < name.len; i++)
		key[i] = name.p[i] == '.' ? '_' : name.p[i];
	return sl_map_put(folded, key, (size_t)name.len, key) < 0;
}

static struct meta_txn *check_all(struct request *r, struct creation *cr, const bool *is_twice)
{
	struct meta_txn *txn = NULL;
	struct sl_map folded = {0};

	for (int32_t i = 0; i < cr->req.topics_count; i++) {
		struct sl_create_topics_req_topic *t = &cr->req.topics[i];
		struct sl_create_topics_resp_topic *res = &cr->resp.topics[i];
		struct sl_meta_topic rec;

		if (is_twice[i]) {
			refuse(res, SL_KERR_INVALID_REQUEST, sl_str_from("Duplicate topic name"));
			continue;
		}
		if (!check_topic(r, cr, t, &rec, res))
			continue;
		if (collides_within(r, &folded, t->name)) {
			refuse(res, SL_KERR_INVALID_TOPIC_EXCEPTION,
			       sl_str_from("Topic collides with another topic of this request"));
			continue;
		}
		cr->room -= (uint64_t)rec.partitions_count;
		cr->request_room -= rec.partitions_count;
		res->num_partitions = rec.partitions_count;
		res->replication_factor = 1;
		fill_configs(r, &rec, res);
		if (cr->req.validate_only)
			continue;
		res->topic_id = rec.topic_id;
		cr->is_made[i] = true;
		if (!txn)
			txn = meta_txn_begin(r->c->meta);
		meta_txn_put_topic(txn, &rec, 0);
	}
	sl_map_fini(&folded);
	return txn;
}

static void finish(struct control *c, struct request *r, enum sl_kerr kerr)
{
	struct creation *cr = r->state;

	(void)c;
	for (int32_t i = 0; kerr != SL_KERR_NONE && i < cr->req.topics_count; i++) {
		struct sl_create_topics_resp_topic *res = &cr->resp.topics[i];

		if (!cr->is_made[i])
			continue;
		sl_create_topics_resp_topic_init(res);
		res->name = cr->req.topics[i].name;
		refuse(res, kerr, sl_str_from("The metadata could not be written"));
	}
	sl_create_topics_resp_encode(&cr->resp, request_answer(r), r->wire.api_version);
}

enum request_result admin_create_topics(struct control *c, struct request *r)
{
	struct creation *cr = request_alloc(r, 1, sizeof(*cr));
	struct meta_txn *txn;
	bool *is_twice;
	int32_t count;

	if (!request_decode(r, &cr->req))
		return REQUEST_CLOSE;
	count = cr->req.topics_count;
	if (!request_has_room(r, (size_t)count * (sizeof(*cr->resp.topics) + 2)))
		return REQUEST_CLOSE;
	r->state = cr;
	cr->room = topics_room(c);
	cr->request_room = TOPICS_PARTITIONS_PER_REQUEST;
	cr->is_made = request_alloc(r, (size_t)count, sizeof(bool));
	is_twice = request_alloc(r, (size_t)count, sizeof(bool));
	sl_create_topics_resp_init(&cr->resp);
	cr->resp.topics = request_alloc(r, (size_t)count, sizeof(*cr->resp.topics));
	cr->resp.topics_count = count;
	for (int32_t i = 0; i < count; i++) {
		sl_create_topics_resp_topic_init(&cr->resp.topics[i]);
		cr->resp.topics[i].name = cr->req.topics[i].name;
		cr->resp.topics[i].error_message = SL_STR_NULL;
	}
	if (!find_duplicates(cr, is_twice))
		return REQUEST_CLOSE;
	txn = check_all(r, cr, is_twice);
	if (txn)
		return request_commit(r, txn, cr->req.timeout_ms, finish);
	finish(c, r, SL_KERR_NONE);
	return REQUEST_DONE;
}
