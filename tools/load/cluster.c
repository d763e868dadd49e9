/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the partitions of the topic are served: Metadata, CreateTopics, ListOffsets and
 * InitProducerId, asked one after the other.  Main thread only; what the workers may see is copied
 * out under the run's lock.
 */
#include "cluster.h"

#include <errno.h>
#include <stdlib.h>

#include "errors.h"
#include "sluice/wire/create_topics_gen.h"
#include "sluice/wire/init_producer_id_gen.h"
#include "sluice/wire/kerr.h"
#include "sluice/wire/list_offsets_gen.h"
#include "sluice/wire/metadata_gen.h"

#define CREATE_TIMEOUT_MS 10000

void cluster_fini(struct cluster *c)
{
	free(c->nodes);
	free(c->partitions);
	*c = (struct cluster){0};
}

void cluster_move(struct cluster *to, struct cluster *from)
{
	cluster_fini(to);
	*to = *from;
	*from = (struct cluster){0};
}

/* One line of what went wrong.  Return: -EAGAIN. */
static int no_answer(char *wrong, size_t wrong_bytes, const char *step, int err)
{
	snprintf(wrong, wrong_bytes, "%s: %s", step, strerror(-err));
	return err == -ENOMEM ? err : -EAGAIN;
}

static int refused(char *wrong, size_t wrong_bytes, const char *step, int code)
{
	snprintf(wrong, wrong_bytes, "%s: the broker says %s", step, sl_kerr_name(code));
	return errors_is_retriable(code) ? -EAGAIN : -EIO;
}

/* ---- Metadata ---------------------------------------------------------------------------------
 */

static int ask_metadata(struct client *client, const char *topic, struct sl_metadata_resp *resp)
{
	int16_t version = client_start(client, SL_API_METADATA);
	struct sl_metadata_req_topic t;
	struct sl_metadata_req req;
	struct sl_cursor body;
	int rc;

	sl_metadata_req_init(&req);
	sl_metadata_req_topic_init(&t);
	req.topics = &t;
	if (topic) {
		t.name = sl_str_from(topic);
		req.topics_count = 1;
	}
	req.allow_auto_topic_creation = false;
	sl_metadata_req_encode(&req, &client->out, version);
	rc = client_ask(client, SL_API_METADATA, &body);
	return rc != 0 ? rc : sl_metadata_resp_decode(resp, &body, &client->arena, version);
}

static int copy_nodes(struct cluster *c, const struct sl_metadata_resp *m)
{
	c->nodes = calloc((size_t)SL_MAX(m->brokers_count, 1), sizeof(*c->nodes));
	if (!c->nodes)
		return -ENOMEM;
	for (int32_t i = 0; i < m->brokers_count; i++) {
		struct cluster_node *n = &c->nodes[c->nodes_count];
		char host[256];

		snprintf(host, sizeof(host), "%.*s", SL_STR_ARG(m->brokers[i].host));
		n->id = m->brokers[i].node_id;
		if (client_resolve(host, (uint16_t)m->brokers[i].port, &n->addr, &n->addr_bytes))
			continue;
		c->nodes_count++;
	}
	return c->nodes_count > 0 ? 0 : -EHOSTUNREACH;
}

static int32_t find_node(const struct cluster *c, int32_t id)
{
	for (int32_t i = 0; i < c->nodes_count; i++)
		if (c->nodes[i].id == id)
			return i;
	return -1;
}

static int copy_partitions(struct cluster *c, const struct sl_metadata_resp_topic *t)
{
	int32_t count = t->partitions_count;

	if (count < 1 || count > LOAD_PARTITIONS_MAX)
		return -EBADMSG;
	c->partitions = calloc((size_t)count, sizeof(*c->partitions));
	if (!c->partitions)
		return -ENOMEM;
	c->partitions_count = count;
	for (int32_t i = 0; i < count; i++)
		c->partitions[i] = (struct cluster_partition){-1, -1, -1};
	for (int32_t i = 0; i < count; i++) {
		int32_t at = t->partitions[i].partition_index;

		if (at < 0 || at >= count)
			return -EBADMSG;
		c->partitions[at].node = find_node(c, t->partitions[i].leader_id);
	}
	return 0;
}

/* ---- CreateTopics -----------------------------------------------------------------------------
 */

static int encode_create(struct client *client, const struct options *o, int16_t version)
{
	struct sl_create_topics_req_topic_config configs[LOAD_CONFIGS_MAX];
	struct sl_create_topics_req_topic t;
	struct sl_create_topics_req req;

	sl_create_topics_req_init(&req);
	sl_create_topics_req_topic_init(&t);
	for (int i = 0; i < o->configs_count; i++) {
		const char *equals = strchr(o->configs[i], '=');

		sl_create_topics_req_topic_config_init(&configs[i]);
		configs[i].name = (struct sl_str){o->configs[i], (int32_t)(equals - o->configs[i])};
		configs[i].value = sl_str_from(equals + 1);
	}
	t.name = sl_str_from(o->topic);
	t.num_partitions = (int32_t)o->partitions;
	t.replication_factor = (int16_t)o->replication;
	t.configs = configs;
	t.configs_count = o->configs_count;
	req.topics = &t;
	req.topics_count = 1;
	req.timeout_ms = CREATE_TIMEOUT_MS;
	sl_create_topics_req_encode(&req, &client->out, version);
	return sl_buf_ok(&client->out) ? 0 : -ENOMEM;
}

/* Return: 0 it exists now; -EAGAIN; -EIO. */
static int create_topic(struct client *client, const struct options *o, char *wrong,
                        size_t wrong_bytes)
{
	int16_t version = client_start(client, SL_API_CREATE_TOPICS);
	struct sl_create_topics_resp resp;
	struct sl_cursor body;
	int rc = version < 0 ? -EPROTO : encode_create(client, o, version);

	if (rc == 0)
		rc = client_ask(client, SL_API_CREATE_TOPICS, &body);
	if (rc == 0)
		rc = sl_create_topics_resp_decode(&resp, &body, &client->arena, version);
	if (rc == 0 && resp.topics_count != 1)
		rc = -EBADMSG;
	if (rc != 0)
		return no_answer(wrong, wrong_bytes, "create topic", rc);
	if (resp.topics[0].error_code == SL_KERR_NONE ||
	    resp.topics[0].error_code == SL_KERR_TOPIC_ALREADY_EXISTS)
		return 0;
	snprintf(wrong, wrong_bytes, "create topic %s: the broker says %s%s%.*s", o->topic,
	         sl_kerr_name(resp.topics[0].error_code),
	         resp.topics[0].error_message.len > 0 ? ": " : "",
	         SL_STR_ARG(resp.topics[0].error_message));
	return errors_is_retriable(resp.topics[0].error_code) ? -EAGAIN : -EIO;
}

/* ---- ListOffsets ------------------------------------------------------------------------------
 */

static int encode_offsets(struct client *client, const struct cluster *c, const char *topic,
                          int32_t node, int64_t when)
{
	int16_t version = client_start(client, SL_API_LIST_OFFSETS);
	struct sl_list_offsets_req_topic_partition *parts = calloc((size_t)c->partitions_count,
	                                                           sizeof(*parts));
	struct sl_list_offsets_req_topic t;
	struct sl_list_offsets_req req;

	if (!parts || version < 0) {
		free(parts);
		return version < 0 ? -EPROTO : -ENOMEM;
	}
	sl_list_offsets_req_init(&req);
	sl_list_offsets_req_topic_init(&t);
	req.replica_id = -1;
	t.name = sl_str_from(topic);
	t.partitions = parts;
	for (int32_t i = 0; i < c->partitions_count; i++) {
		if (c->partitions[i].node != node)
			continue;
		sl_list_offsets_req_topic_partition_init(&parts[t.partitions_count]);
		parts[t.partitions_count].partition_index = i;
		parts[t.partitions_count++].timestamp = when;
	}
	req.topics = &t;
	req.topics_count = 1;
	sl_list_offsets_req_encode(&req, &client->out, version);
	free(parts);
	return sl_buf_ok(&client->out) ? 0 : -ENOMEM;
}

/* Return: 0; a Kafka error code above 0; -errno. */
static int ask_offsets(struct client *client, struct cluster *c, const char *topic, int32_t node,
                       int64_t when)
{
	struct sl_list_offsets_resp resp;
	struct sl_cursor body;
	int rc = encode_offsets(client, c, topic, node, when);

	if (rc == 0)
		rc = client_ask(client, SL_API_LIST_OFFSETS, &body);
	if (rc == 0)
		rc = sl_list_offsets_resp_decode(&resp, &body, &client->arena,
		                                 client_version(&client->versions,
		                                                SL_API_LIST_OFFSETS));
	if (rc != 0)
		return rc;
	for (int32_t i = 0; resp.topics_count == 1 && i < resp.topics[0].partitions_count; i++) {
		const struct sl_list_offsets_resp_topic_partition *p =
			&resp.topics[0].partitions[i];

		if (p->error_code != SL_KERR_NONE)
			return p->error_code;
		if (p->partition_index < 0 || p->partition_index >= c->partitions_count)
			return -EBADMSG;
		if (when == LOAD_FROM_EARLIEST)
			c->partitions[p->partition_index].earliest = p->offset;
		else
			c->partitions[p->partition_index].latest = p->offset;
	}
	return 0;
}

/* ---- All of it --------------------------------------------------------------------------------
 */

static bool leads_something(const struct cluster *c, int32_t node)
{
	for (int32_t i = 0; i < c->partitions_count; i++)
		if (c->partitions[i].node == node)
			return true;
	return false;
}

/* Versions that both @a and @b have. */
static void intersect(struct client_versions *a, const struct client_versions *b)
{
	for (int k = 0; k <= SL_API_KEY_MAX; k++)
		a->max[k] = SL_MIN(a->max[k], b->max[k]);
}

/* Asks one leader for its versions, and its partitions' offsets where they are needed. */
static int ask_leader(struct cluster *c, const struct options *o, int32_t node, char *wrong,
                      size_t wrong_bytes)
{
	struct client client;
	int rc = client_open(&client, &c->nodes[node].addr, c->nodes[node].addr_bytes);

	if (rc == 0)
		intersect(&c->versions, &client.versions);
	if (rc == 0 && o->mode != LOAD_PRODUCE)
		rc = ask_offsets(&client, c, o->topic, node, LOAD_FROM_EARLIEST);
	if (rc == 0 && o->mode != LOAD_PRODUCE)
		rc = ask_offsets(&client, c, o->topic, node, LOAD_FROM_LATEST);
	client_close(&client);
	if (rc > 0)
		return refused(wrong, wrong_bytes, "list offsets", rc);
	return rc < 0 ? no_answer(wrong, wrong_bytes, "ask leader", rc) : 0;
}

static int load_topic(struct cluster *c, struct client *client, const struct options *o,
                      bool may_create, char *wrong, size_t wrong_bytes)
{
	struct sl_metadata_resp m;
	int rc = ask_metadata(client, o->topic, &m);

	if (rc == 0 && m.topics_count != 1)
		rc = -EBADMSG;
	if (rc != 0)
		return no_answer(wrong, wrong_bytes, "ask for metadata", rc);
	if (m.topics[0].error_code == SL_KERR_UNKNOWN_TOPIC_OR_PARTITION && may_create) {
		rc = create_topic(client, o, wrong, wrong_bytes);
		if (rc == 0)
			snprintf(wrong, wrong_bytes, "topic %s was created and is not there",
			         o->topic);
		return rc != 0 ? rc : -EAGAIN;
	}
	if (m.topics[0].error_code != SL_KERR_NONE)
		return refused(wrong, wrong_bytes, o->topic, m.topics[0].error_code);
	rc = copy_nodes(c, &m);
	if (rc == 0)
		rc = copy_partitions(c, &m.topics[0]);
	return rc != 0 ? no_answer(wrong, wrong_bytes, "read metadata", rc) : 0;
}

static int load_from(struct cluster *c, const struct cluster_node *from, const struct options *o,
                     bool may_create, char *wrong, size_t wrong_bytes)
{
	struct sl_metadata_resp m;
	struct client client;
	int rc = client_open(&client, &from->addr, from->addr_bytes);

	if (rc != 0) {
		rc = no_answer(wrong, wrong_bytes, "connect", rc);
	} else if (o->mode == LOAD_CONNECTIONS) {
		rc = ask_metadata(&client, NULL, &m);
		if (rc == 0)
			rc = copy_nodes(c, &m);
		if (rc != 0)
			rc = no_answer(wrong, wrong_bytes, "ask for metadata", rc);
	} else {
		rc = load_topic(c, &client, o, may_create, wrong, wrong_bytes);
	}
	c->versions = client.versions;
	client_close(&client);
	for (int32_t i = 0; rc == 0 && i < c->partitions_count; i++) {
		if (c->partitions[i].node >= 0)
			continue;
		snprintf(wrong, wrong_bytes, "partition %d of %s has no leader", i, o->topic);
		rc = -EAGAIN;
	}
	for (int32_t n = 0; rc == 0 && n < c->nodes_count; n++)
		if (leads_something(c, n))
			rc = ask_leader(c, o, n, wrong, wrong_bytes);
	return rc;
}

int cluster_load(struct cluster *c, const struct options *o, bool may_create, char *wrong,
                 size_t wrong_bytes)
{
	struct cluster_node bootstrap = {.id = -1};
	struct cluster fresh = {0};
	int rc = client_resolve(o->host, o->port, &bootstrap.addr, &bootstrap.addr_bytes);

	if (rc == 0)
		rc = load_from(&fresh, &bootstrap, o, may_create, wrong, wrong_bytes);
	else
		rc = no_answer(wrong, wrong_bytes, o->host, rc);
	for (int32_t i = 0; rc == -EAGAIN && i < c->nodes_count; i++) {
		cluster_fini(&fresh);
		rc = load_from(&fresh, &c->nodes[i], o, may_create, wrong, wrong_bytes);
	}
	if (rc == 0)
		cluster_move(c, &fresh);
	cluster_fini(&fresh);
	return rc;
}

static int ask_producer(struct client *client, struct cluster_producer *out, char *wrong,
                        size_t wrong_bytes)
{
	int16_t version = client_start(client, SL_API_INIT_PRODUCER_ID);
	struct sl_init_producer_id_resp resp;
	struct sl_init_producer_id_req req;
	struct sl_cursor body;
	int rc;

	sl_init_producer_id_req_init(&req);
	req.transactional_id = SL_STR_NULL;
	req.transaction_timeout_ms = 60000;
	sl_init_producer_id_req_encode(&req, &client->out, SL_MAX(version, (int16_t)0));
	rc = client_ask(client, SL_API_INIT_PRODUCER_ID, &body);
	if (rc == 0)
		rc = sl_init_producer_id_resp_decode(&resp, &body, &client->arena, version);
	if (rc != 0)
		return no_answer(wrong, wrong_bytes, "ask for a producer id", rc);
	if (resp.error_code != SL_KERR_NONE)
		return refused(wrong, wrong_bytes, "ask for a producer id", resp.error_code);
	*out = (struct cluster_producer){resp.producer_id, resp.producer_epoch};
	return 0;
}

int cluster_producers(const struct cluster *c, struct cluster_producer *out, int count, char *wrong,
                      size_t wrong_bytes)
{
	struct client client;
	int rc = client_open(&client, &c->nodes[0].addr, c->nodes[0].addr_bytes);

	if (rc != 0)
		rc = no_answer(wrong, wrong_bytes, "connect", rc);
	for (int i = 0; rc == 0 && i < count; i++)
		rc = ask_producer(&client, &out[i], wrong, wrong_bytes);
	client_close(&client);
	return rc;
}
