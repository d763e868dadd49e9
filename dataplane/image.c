/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lookups in the metadata image, which every lane makes, and its construction, which is the host
 * thread's.  A topic version is one block of memory: its name, partitions and node lists lie behind
 * it.
 */
#include "image.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/wire/image_broker_gen.h"
#include "sluice/wire/image_topic_gen.h"

#define TOPIC_NAME_MAX 249 /* Kafka's: the folder "<topic>-<partition>.<hex>-delete" must fit */

/* ---- Lookup ---- */

const struct topic *image_topic(const struct image *image, struct sl_str name)
{
	return name.len > 0 ? sl_map_get(&image->by_name, name.p, (size_t)name.len) : NULL;
}

const struct topic *image_topic_by_id(const struct image *image, const struct sl_uuid *id)
{
	return sl_map_get(&image->by_id, id, sizeof(*id));
}

/* ---- Images ---- */

static void free_nodes(struct image_node *nodes, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		free(nodes[i].host);
	free(nodes);
}

int image_create(struct image **out)
{
	struct image *image = calloc(1, sizeof(*image));

	if (!image)
		return -ENOMEM;
	image->cluster_id = strdup("");
	if (!image->cluster_id) {
		free(image);
		return -ENOMEM;
	}
	image->controller_id = -1;
	*out = image;
	return 0;
}

int image_clone(struct image **out, const struct image *from)
{
	struct image *image;
	struct topic *t;
	uint32_t pos = 0;
	int rc = image_create(&image);

	if (rc != 0)
		return rc;
	image->revision = from->revision;
	rc = image_copy_cluster(image, from);
	while (rc == 0 && (t = sl_map_next(&from->by_id, &pos)))
		rc = image_put_topic(image, t);
	if (rc != 0) {
		image_destroy(image);
		return rc;
	}
	*out = image;
	return 0;
}

void image_destroy(struct image *image)
{
	struct topic *t;
	uint32_t pos = 0;

	if (!image)
		return;
	while ((t = sl_map_next(&image->by_id, &pos)))
		topic_put(t);
	sl_map_fini(&image->by_name);
	sl_map_fini(&image->by_id);
	free_nodes(image->nodes, image->nodes_count);
	free(image->cluster_id);
	free(image);
}

int image_put_topic(struct image *image, struct topic *topic)
{
	const struct topic *same =
		image_topic(image, (struct sl_str){topic->name, (int32_t)topic->name_len});
	int rc;

	if (same && !sl_uuid_eq(&same->id, &topic->id))
		return -EEXIST;
	/* The new version is held before the old one goes: they may be the same. */
	topic_get(topic);
	(void)image_del_topic(image, &topic->id);
	rc = sl_map_put(&image->by_id, &topic->id, sizeof(topic->id), topic);
	if (rc == 0) {
		rc = sl_map_put(&image->by_name, topic->name, topic->name_len, topic);
		if (rc != 0)
			(void)sl_map_del(&image->by_id, &topic->id, sizeof(topic->id));
	}
	if (rc != 0)
		topic_put(topic);
	return rc;
}

bool image_del_topic(struct image *image, const struct sl_uuid *id)
{
	struct topic *t = sl_map_del(&image->by_id, id, sizeof(*id));

	if (!t)
		return false;
	SL_ASSERT(sl_map_del(&image->by_name, t->name, t->name_len) == t);
	topic_put(t);
	return true;
}

/* Takes @id and @nodes. */
static void replace_cluster(struct image *image, char *id, struct image_node *nodes,
                            uint32_t nodes_count)
{
	free_nodes(image->nodes, image->nodes_count);
	free(image->cluster_id);
	image->cluster_id = id;
	image->nodes = nodes;
	image->nodes_count = nodes_count;
	image->host_bytes_max = 0;
	for (uint32_t i = 0; i < nodes_count; i++)
		image->host_bytes_max = SL_MAX(image->host_bytes_max, strlen(nodes[i].host) + 1);
}

int image_set_cluster(struct image *image, const struct sl_image_broker *rec)
{
	uint32_t count = (uint32_t)SL_MAX(rec->nodes_count, 0);
	struct image_node *nodes = calloc((size_t)count + 1, sizeof(*nodes));
	char *id = strndup(rec->cluster_id.p ? rec->cluster_id.p : "",
	                   (size_t)SL_MAX(rec->cluster_id.len, 0));
	int rc = nodes && id ? 0 : -ENOMEM;

	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		const struct sl_image_broker_node *n = &rec->nodes[i];

		if (n->host.len < 1 || n->port < 1 || n->port > 65535) {
			rc = -EINVAL;
			break;
		}
		nodes[i] = (struct image_node){n->node_id, strndup(n->host.p, (size_t)n->host.len),
		                               n->port};
		rc = nodes[i].host ? 0 : -ENOMEM;
	}
	if (rc != 0) {
		free_nodes(nodes, nodes ? count : 0);
		free(id);
		return rc;
	}
	replace_cluster(image, id, nodes, count);
	image->controller_id = rec->controller_id;
	image->auto_create_topics = rec->auto_create_topics;
	return 0;
}

int image_copy_cluster(struct image *image, const struct image *from)
{
	struct image_node *nodes = calloc((size_t)from->nodes_count + 1, sizeof(*nodes));
	char *id = strdup(from->cluster_id);
	bool is_done = nodes && id;

	for (uint32_t i = 0; is_done && i < from->nodes_count; i++) {
		nodes[i] = from->nodes[i];
		nodes[i].host = strdup(from->nodes[i].host);
		is_done = nodes[i].host;
	}
	if (!is_done) {
		free_nodes(nodes, nodes ? from->nodes_count : 0);
		free(id);
		return -ENOMEM;
	}
	replace_cluster(image, id, nodes, from->nodes_count);
	image->controller_id = from->controller_id;
	image->auto_create_topics = from->auto_create_topics;
	return 0;
}

/* ---- Topics ---- */

/* The name becomes a folder's: only Kafka's alphabet, which has no '/'. */
static bool is_legal_name(struct sl_str name)
{
	if (name.len < 1 || name.len > TOPIC_NAME_MAX || sl_str_eq_c(name, ".") ||
	    sl_str_eq_c(name, ".."))
		return false;
	for (int32_t i = 0; i < name.len; i++) {
		char c = name.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '.' || c == '_' || c == '-'))
			return false;
	}
	return true;
}

/* Numbers of nodes in all partitions; -EINVAL. */
static int64_t count_nodes(const struct sl_image_topic *rec)
{
	int64_t nodes = 0;

	if (!is_legal_name(rec->name) || sl_uuid_is_zero(&rec->topic_id) ||
	    rec->partitions_count < 1 || rec->partitions_count > TOPIC_PARTITIONS_MAX)
		return -EINVAL;
	for (int32_t i = 0; i < rec->partitions_count; i++) {
		const struct sl_image_topic_partition *p = &rec->partitions[i];

		if (p->replica_nodes_count < 0 || p->isr_nodes_count < 0 || p->leader_epoch < 0)
			return -EINVAL;
		nodes += (int64_t)p->replica_nodes_count + p->isr_nodes_count;
	}
	return nodes;
}

/* A block with room for everything; partitions and name are set, the rest is the caller's. */
static struct topic *alloc_topic(uint32_t partitions_count, size_t nodes_count, struct sl_str name,
                                 int32_t **nodes)
{
	size_t partitions_pos = SL_ALIGN_UP(sizeof(struct topic), sizeof(void *));
	size_t nodes_pos = partitions_pos + partitions_count * sizeof(struct topic_partition);
	size_t name_pos = nodes_pos + nodes_count * sizeof(int32_t);
	char *block = calloc(1, name_pos + (size_t)name.len + 1);
	struct topic *t = (void *)block;

	if (!t)
		return NULL;
	t->refs = 1;
	t->partitions_count = partitions_count;
	t->partitions = (void *)(block + partitions_pos);
	t->name = block + name_pos;
	t->name_len = (uint32_t)name.len;
	memcpy(t->name, name.p, (size_t)name.len);
	*nodes = (void *)(block + nodes_pos);
	return t;
}

static int32_t *copy_nodes(int32_t **room, const int32_t *from, uint32_t count)
{
	int32_t *at = *room;

	if (count)
		memcpy(at, from, count * sizeof(*at));
	*room += count;
	return at;
}

static void fill_partition(struct topic_partition *p, const struct sl_image_topic_partition *rec,
                           int32_t **room)
{
	p->leader_id = rec->leader_id;
	p->leader_epoch = rec->leader_epoch;
	p->replicas_count = (uint32_t)rec->replica_nodes_count;
	p->replicas = copy_nodes(room, rec->replica_nodes, p->replicas_count);
	p->isr_count = (uint32_t)rec->isr_nodes_count;
	p->isr = copy_nodes(room, rec->isr_nodes, p->isr_count);
}

int topic_create(struct topic **out, const struct sl_image_topic *rec,
                 const struct topic_config *config)
{
	int64_t nodes_count = count_nodes(rec);
	struct topic *t;
	int32_t *nodes;

	if (nodes_count < 0)
		return (int)nodes_count;
	t = alloc_topic((uint32_t)rec->partitions_count, (size_t)nodes_count, rec->name, &nodes);
	if (!t)
		return -ENOMEM;
	t->id = rec->topic_id;
	t->is_internal = rec->is_internal;
	t->config = *config;
	for (int32_t i = 0; i < rec->partitions_count; i++) {
		const struct sl_image_topic_partition *p = &rec->partitions[i];
		uint32_t at = (uint32_t)p->partition_index;

		/* Each exactly once: filled ones have a list of replicas. */
		if (at >= t->partitions_count || t->partitions[at].replicas) {
			free(t);
			return -EINVAL;
		}
		fill_partition(&t->partitions[at], p, &nodes);
	}
	*out = t;
	return 0;
}

int topic_copy(struct topic **out, const struct topic *from)
{
	size_t nodes_count = 0;
	struct topic *t;
	int32_t *nodes;

	for (uint32_t i = 0; i < from->partitions_count; i++)
		nodes_count += from->partitions[i].replicas_count + from->partitions[i].isr_count;
	t = alloc_topic(from->partitions_count, nodes_count,
	                (struct sl_str){from->name, (int32_t)from->name_len}, &nodes);
	if (!t)
		return -ENOMEM;
	t->id = from->id;
	t->is_internal = from->is_internal;
	t->config = from->config;
	for (uint32_t i = 0; i < from->partitions_count; i++) {
		const struct topic_partition *p = &from->partitions[i];

		t->partitions[i] = *p;
		t->partitions[i].replicas = copy_nodes(&nodes, p->replicas, p->replicas_count);
		t->partitions[i].isr = copy_nodes(&nodes, p->isr, p->isr_count);
	}
	*out = t;
	return 0;
}

void topic_get(struct topic *topic)
{
	SL_ASSERT(topic->refs > 0);
	topic->refs++;
}

void topic_put(struct topic *topic)
{
	if (!topic)
		return;
	SL_ASSERT(topic->refs > 0);
	if (--topic->refs == 0)
		free(topic);
}
