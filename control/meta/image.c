/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata in memory: topics sorted by name, with maps by id and by folded name.  Each topic is
 * one block of memory that holds its record's bytes and their decoded form.
 */
#include "image.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/arena.h"
#include "sluice/base/assert.h"
#include "sluice/wire/meta_cluster_gen.h"
#include "sluice/wire/meta_producer_ids_gen.h"
#include "sluice/wire/meta_topic_delete_gen.h"
#include "sluice/wire/meta_topic_purge_gen.h"

/* Room for a record's decoded form: the smallest element of any array, a config of three bytes,
 * becomes 32; the allocator rounds each array up to 16. */
#define DECODE_ROOM(payload_bytes) ((payload_bytes)*32 + 1024)

struct image_topic {
	struct meta_topic topic; /* first: handed out */
	struct sl_str folded;
	struct sl_bytes payload;
	int16_t version; /* of the payload */
			 /* then the payload, the folded name, and the decoded arrays */
};

struct image_broker {
	struct meta_broker_config config; /* first: handed out */
	struct sl_bytes payload;
	int16_t version; /* of the payload */
};

struct image_group {
	struct meta_group_config config; /* first: handed out */
	struct sl_bytes payload;
	int16_t version; /* of the payload */
};

struct image_deleted {
	struct sl_uuid id;
};

static char fold(char ch)
{
	return ch == '.' ? '_' : ch;
}

/* Topics that Kafka calls internal (reference 5.3). */
static bool is_internal_name(struct sl_str name)
{
	return sl_str_eq_c(name, "__consumer_offsets") ||
	       sl_str_eq_c(name, "__transaction_state") || sl_str_eq_c(name, "__share_group_state");
}

static int compare_names(struct sl_str a, struct sl_str b)
{
	int32_t len = SL_MIN(a.len, b.len);
	int rc = len > 0 ? memcmp(a.p, b.p, (size_t)len) : 0;

	return rc ? rc : a.len - b.len;
}

static struct image_topic *find_id(const struct image *img, const struct sl_uuid *id)
{
	return sl_map_get(&img->by_id, id, sizeof(*id));
}

void image_fini(struct image *img)
{
	uint32_t pos = 0;
	void *p;

	for (uint32_t i = 0; i < img->topics_count; i++)
		free(img->topics[i]);
	free(img->topics);
	while ((p = sl_map_next(&img->deleted, &pos)))
		free(p);
	pos = 0;
	while ((p = sl_map_next(&img->brokers, &pos)))
		free(p);
	pos = 0;
	while ((p = sl_map_next(&img->groups, &pos)))
		free(p);
	sl_map_fini(&img->by_id);
	sl_map_fini(&img->by_folded);
	sl_map_fini(&img->deleted);
	sl_map_fini(&img->brokers);
	sl_map_fini(&img->groups);
	*img = (struct image){0};
}

/* How much arena a record's decoded form needs: it is decoded twice, first only to see. */
typedef int decode_fn(void *m, struct sl_cursor *c, struct sl_arena *arena, int16_t version);

static int decoded_bytes(const struct meta_record *rec, decode_fn *fn, void *m, size_t *bytes)
{
	struct sl_cursor c = sl_cursor_from(rec->payload.p, (size_t)rec->payload.len);
	size_t room = DECODE_ROOM((size_t)rec->payload.len);
	void *p = malloc(room);
	struct sl_arena arena;
	int rc;

	if (!p)
		return -ENOMEM;
	sl_arena_init(&arena, p, room);
	rc = fn(m, &c, &arena, rec->version);
	if (rc == 0 && !sl_cursor_is_done(&c))
		rc = -EBADMSG;
	if (rc == -ENOTSUP)
		rc = -EBADMSG;
	/* Alignment of the block's own start may differ from the arena's. */
	*bytes = arena.used + 16;
	free(p);
	return rc;
}

static int decode_topic(void *m, struct sl_cursor *c, struct sl_arena *arena, int16_t version)
{
	return sl_meta_topic_decode(m, c, arena, version);
}

static int decode_broker(void *m, struct sl_cursor *c, struct sl_arena *arena, int16_t version)
{
	return sl_meta_broker_config_decode(m, c, arena, version);
}

static int decode_group(void *m, struct sl_cursor *c, struct sl_arena *arena, int16_t version)
{
	return sl_meta_group_config_decode(m, c, arena, version);
}

/* Rules that hold for one topic and against the one that it replaces. */
static int check_topic(const struct image *img, const struct sl_meta_topic *rec)
{
	const struct image_topic *old = find_id(img, &rec->topic_id);

	if (sl_uuid_is_zero(&rec->topic_id) || rec->name.len < 1 || rec->name.len > 249 ||
	    rec->partitions_count < 1)
		return -EINVAL;
	if (sl_map_get(&img->deleted, &rec->topic_id, sizeof(rec->topic_id)))
		return -EINVAL;
	for (int32_t i = 0; i < rec->partitions_count; i++) {
		if (rec->partitions[i].leader_epoch < 0 ||
		    rec->partitions[i].replica_nodes_count < 1)
			return -EINVAL;
	}
	if (!old)
		return image_colliding(img, rec->name) ? -EINVAL : 0;
	if (!sl_str_eq(old->topic.rec.name, rec->name) ||
	    rec->partitions_count < old->topic.rec.partitions_count)
		return -EINVAL;
	for (int32_t i = 0; i < old->topic.rec.partitions_count; i++) {
		const struct sl_meta_topic_partition *a = &old->topic.rec.partitions[i];
		const struct sl_meta_topic_partition *b = &rec->partitions[i];

		/* Clients ignore a leader whose epoch is not newer, so a change needs a new epoch.
		 */
		if (b->leader_epoch < a->leader_epoch ||
		    (b->leader_id != a->leader_id && b->leader_epoch == a->leader_epoch))
			return -EINVAL;
	}
	return 0;
}

static int prepare_topic(const struct image *img, const struct meta_record *rec,
                         struct image_step *out)
{
	struct sl_meta_topic seen = {0};
	struct image_topic *t;
	struct sl_arena arena;
	struct sl_cursor c;
	size_t decoded = 0;
	size_t payload = (size_t)rec->payload.len;
	uint8_t *p;
	int rc = decoded_bytes(rec, decode_topic, &seen, &decoded);

	if (rc < 0)
		return rc;
	t = malloc(sizeof(*t) + 2 * payload + 32 + decoded);
	if (!t)
		return -ENOMEM;
	*t = (struct image_topic){0};
	p = (uint8_t *)(t + 1);
	memcpy(p, rec->payload.p, payload);
	t->payload = (struct sl_bytes){p, rec->payload.len};
	t->version = rec->version;
	c = sl_cursor_from(p, payload);
	p += 2 * payload + 16;
	p = (uint8_t *)SL_ALIGN_UP((uintptr_t)p, (uintptr_t)16);
	sl_arena_init(&arena, p, decoded);
	rc = sl_meta_topic_decode(&t->topic.rec, &c, &arena, rec->version);
	if (rc == 0)
		rc = check_topic(img, &t->topic.rec);
	if (rc < 0) {
		free(t);
		return rc;
	}
	p = (uint8_t *)(t + 1) + payload;
	for (int32_t i = 0; i < t->topic.rec.name.len; i++)
		p[i] = (uint8_t)fold(t->topic.rec.name.p[i]);
	t->folded = (struct sl_str){(const char *)p, t->topic.rec.name.len};
	t->topic.is_internal = is_internal_name(t->topic.rec.name);
	out->topic = t;
	out->topic_id = t->topic.rec.topic_id;
	return 0;
}

static int prepare_broker(const struct meta_record *rec, struct image_step *out)
{
	struct sl_meta_broker_config seen = {0};
	struct image_broker *b;
	struct sl_arena arena;
	struct sl_cursor c;
	size_t decoded = 0;
	size_t payload = (size_t)rec->payload.len;
	uint8_t *p;
	int rc = decoded_bytes(rec, decode_broker, &seen, &decoded);

	if (rc < 0)
		return rc;
	b = malloc(sizeof(*b) + payload + 32 + decoded);
	if (!b)
		return -ENOMEM;
	*b = (struct image_broker){0};
	p = (uint8_t *)(b + 1);
	memcpy(p, rec->payload.p, payload);
	b->payload = (struct sl_bytes){p, rec->payload.len};
	b->version = rec->version;
	c = sl_cursor_from(p, payload);
	p = (uint8_t *)SL_ALIGN_UP((uintptr_t)(p + payload), (uintptr_t)16);
	sl_arena_init(&arena, p, decoded);
	rc = sl_meta_broker_config_decode(&b->config.rec, &c, &arena, rec->version);
	if (rc < 0) {
		free(b);
		return rc;
	}
	out->broker = b;
	return 0;
}

static int prepare_group(const struct meta_record *rec, struct image_step *out)
{
	struct sl_meta_group_config seen = {0};
	struct image_group *g;
	struct sl_arena arena;
	struct sl_cursor c;
	size_t decoded = 0;
	size_t payload = (size_t)rec->payload.len;
	uint8_t *p;
	int rc = decoded_bytes(rec, decode_group, &seen, &decoded);

	if (rc < 0)
		return rc;
	g = malloc(sizeof(*g) + payload + 32 + decoded);
	if (!g)
		return -ENOMEM;
	*g = (struct image_group){0};
	p = (uint8_t *)(g + 1);
	memcpy(p, rec->payload.p, payload);
	g->payload = (struct sl_bytes){p, rec->payload.len};
	g->version = rec->version;
	c = sl_cursor_from(p, payload);
	p = (uint8_t *)SL_ALIGN_UP((uintptr_t)(p + payload), (uintptr_t)16);
	sl_arena_init(&arena, p, decoded);
	rc = sl_meta_group_config_decode(&g->config.rec, &c, &arena, rec->version);
	if (rc == 0 && g->config.rec.group_id.len < 1)
		rc = -EINVAL;
	if (rc < 0) {
		free(g);
		return rc;
	}
	out->group = g;
	return 0;
}

static int prepare_cluster(const struct image *img, const struct meta_record *rec,
                           struct image_step *out)
{
	struct sl_cursor c = sl_cursor_from(rec->payload.p, (size_t)rec->payload.len);
	struct sl_meta_cluster m;
	struct sl_arena arena = {0};
	int rc = sl_meta_cluster_decode(&m, &c, &arena, rec->version);

	if (rc < 0 || !sl_cursor_is_done(&c))
		return -EBADMSG;
	if (m.cluster_id.len < 1 || m.cluster_id.len >= IMAGE_CLUSTER_ID_MAX || img->cluster_id[0])
		return -EINVAL;
	memcpy(out->cluster_id, m.cluster_id.p, (size_t)m.cluster_id.len);
	out->cluster_id[m.cluster_id.len] = '\0';
	return 0;
}

static int prepare_producer_ids(const struct image *img, const struct meta_record *rec,
                                struct image_step *out)
{
	struct sl_cursor c = sl_cursor_from(rec->payload.p, (size_t)rec->payload.len);
	struct sl_meta_producer_ids m;
	struct sl_arena arena = {0};
	int rc = sl_meta_producer_ids_decode(&m, &c, &arena, rec->version);

	if (rc < 0 || !sl_cursor_is_done(&c))
		return -EBADMSG;
	if (m.next_producer_id < img->next_producer_id)
		return -EINVAL;
	out->next_producer_id = m.next_producer_id;
	return 0;
}

static int prepare_delete(const struct image *img, const struct meta_record *rec,
                          struct image_step *out)
{
	struct sl_cursor c = sl_cursor_from(rec->payload.p, (size_t)rec->payload.len);
	struct sl_meta_topic_delete m;
	struct sl_arena arena = {0};
	int rc = sl_meta_topic_delete_decode(&m, &c, &arena, rec->version);

	if (rc < 0 || !sl_cursor_is_done(&c))
		return -EBADMSG;
	/* A snapshot has the deletion without the topic. */
	if (sl_uuid_is_zero(&m.topic_id) ||
	    sl_map_get(&img->deleted, &m.topic_id, sizeof(m.topic_id)))
		return -EINVAL;
	out->deleted = malloc(sizeof(*out->deleted));
	if (!out->deleted)
		return -ENOMEM;
	out->deleted->id = m.topic_id;
	out->topic_id = m.topic_id;
	return 0;
}

static int prepare_purge(const struct image *img, const struct meta_record *rec,
                         struct image_step *out)
{
	struct sl_cursor c = sl_cursor_from(rec->payload.p, (size_t)rec->payload.len);
	struct sl_meta_topic_purge m;
	struct sl_arena arena = {0};
	int rc = sl_meta_topic_purge_decode(&m, &c, &arena, rec->version);

	if (rc < 0 || !sl_cursor_is_done(&c))
		return -EBADMSG;
	if (!sl_map_get(&img->deleted, &m.topic_id, sizeof(m.topic_id)))
		return -EINVAL;
	out->topic_id = m.topic_id;
	return 0;
}

int image_prepare(const struct image *img, const struct meta_record *rec, struct image_step *out)
{
	*out = (struct image_step){.type = (enum meta_record_type)rec->type};
	switch (rec->type) {
	case META_REC_CLUSTER:
		return prepare_cluster(img, rec, out);
	case META_REC_TOPIC:
		return prepare_topic(img, rec, out);
	case META_REC_TOPIC_DELETE:
		return prepare_delete(img, rec, out);
	case META_REC_TOPIC_PURGE:
		return prepare_purge(img, rec, out);
	case META_REC_BROKER_CONFIG:
		return prepare_broker(rec, out);
	case META_REC_GROUP_CONFIG:
		return prepare_group(rec, out);
	case META_REC_PRODUCER_IDS:
		return prepare_producer_ids(img, rec, out);
	default:
		return -EBADMSG;
	}
}

void image_step_drop(struct image_step *step)
{
	free(step->topic);
	free(step->broker);
	free(step->group);
	free(step->deleted);
	step->topic = NULL;
	step->broker = NULL;
	step->group = NULL;
	step->deleted = NULL;
}

uint64_t image_replaced(const struct image *img, const struct image_step *step)
{
	const struct meta_topic *t;

	switch (step->type) {
	case META_REC_TOPIC:
	case META_REC_TOPIC_DELETE:
		t = image_by_id(img, &step->topic_id);
		return t ? t->mod_revision : 0;
	case META_REC_BROKER_CONFIG:
		return image_broker_config(img, step->broker->config.rec.server_id)->mod_revision;
	case META_REC_GROUP_CONFIG:
		return image_group_config(img, step->group->config.rec.group_id)->mod_revision;
	case META_REC_PRODUCER_IDS:
		return (uint64_t)img->next_producer_id;
	default:
		return 0;
	}
}

struct sl_str image_step_folded(const struct image_step *step)
{
	return step->topic ? step->topic->folded : (struct sl_str){NULL, 0};
}

/* Memory that a durable record needs.  The way out of a shortage is a restart. */
static void must(int rc)
{
	SL_ASSERT(rc == 0);
}

static void insert_topic(struct image *img, struct image_topic *t)
{
	uint32_t at = image_lower_bound(img, t->topic.rec.name);

	if (img->topics_count == img->topics_max) {
		uint32_t max = img->topics_max ? img->topics_max * 2 : 64;

		img->topics = reallocarray(img->topics, max, sizeof(*img->topics));
		SL_ASSERT(img->topics);
		img->topics_max = max;
	}
	memmove(&img->topics[at + 1], &img->topics[at],
	        (img->topics_count - at) * sizeof(*img->topics));
	img->topics[at] = t;
	img->topics_count++;
	must(sl_map_put(&img->by_id, &t->topic.rec.topic_id, sizeof(struct sl_uuid), t));
	must(sl_map_put(&img->by_folded, t->folded.p, (size_t)t->folded.len, t));
	img->partitions_count += (uint64_t)t->topic.rec.partitions_count;
}

/* Takes the topic out and returns it. */
static struct image_topic *remove_topic(struct image *img, const struct sl_uuid *id)
{
	struct image_topic *t = sl_map_del(&img->by_id, id, sizeof(*id));
	uint32_t at;

	if (!t)
		return NULL;
	(void)sl_map_del(&img->by_folded, t->folded.p, (size_t)t->folded.len);
	at = image_lower_bound(img, t->topic.rec.name);
	SL_ASSERT(at < img->topics_count && img->topics[at] == t);
	img->topics_count--;
	memmove(&img->topics[at], &img->topics[at + 1],
	        (img->topics_count - at) * sizeof(*img->topics));
	img->partitions_count -= (uint64_t)t->topic.rec.partitions_count;
	return t;
}

static void put_broker(struct image *img, struct image_broker *b)
{
	int32_t *id = &b->config.rec.server_id;

	free(sl_map_del(&img->brokers, id, sizeof(*id)));
	must(sl_map_put(&img->brokers, id, sizeof(*id), b));
}

static void put_group(struct image *img, struct image_group *g)
{
	struct sl_str id = g->config.rec.group_id;

	free(sl_map_del(&img->groups, id.p, (size_t)id.len));
	if (g->config.rec.configs_count > 0)
		must(sl_map_put(&img->groups, id.p, (size_t)id.len, g));
	else
		free(g);
}

void image_apply(struct image *img, struct image_step *step, uint64_t revision,
                 struct meta_change *change)
{
	struct image_topic *before = NULL;

	*change = (struct meta_change){
		.type = step->type, .topic_id = step->topic_id, .revision = revision};
	switch (step->type) {
	case META_REC_CLUSTER:
		memcpy(img->cluster_id, step->cluster_id, sizeof(img->cluster_id));
		break;
	case META_REC_TOPIC:
		before = remove_topic(img, &step->topic_id);
		step->topic->topic.mod_revision = revision;
		insert_topic(img, step->topic);
		change->after = &step->topic->topic;
		break;
	case META_REC_TOPIC_DELETE:
		before = remove_topic(img, &step->topic_id);
		must(sl_map_put(&img->deleted, &step->deleted->id, sizeof(struct sl_uuid),
		                step->deleted));
		break;
	case META_REC_TOPIC_PURGE:
		free(sl_map_del(&img->deleted, &step->topic_id, sizeof(step->topic_id)));
		break;
	case META_REC_BROKER_CONFIG:
		step->broker->config.mod_revision = revision;
		put_broker(img, step->broker);
		break;
	case META_REC_GROUP_CONFIG:
		step->group->config.mod_revision = revision;
		put_group(img, step->group);
		break;
	case META_REC_PRODUCER_IDS:
		img->next_producer_id = step->next_producer_id;
		break;
	default:
		SL_ASSERT(!"prepared record of unknown type");
	}
	change->before = before ? &before->topic : NULL;
	step->topic = NULL;
	step->broker = NULL;
	step->group = NULL;
	step->deleted = NULL;
}

void image_change_end(struct meta_change *change)
{
	/* The topic is the first member of its block. */
	free((void *)(uintptr_t)change->before);
	change->before = NULL;
}

const struct meta_topic *image_by_id(const struct image *img, const struct sl_uuid *id)
{
	struct image_topic *t = find_id(img, id);

	return t ? &t->topic : NULL;
}

const struct meta_topic *image_at(const struct image *img, uint32_t index)
{
	return index < img->topics_count ? &img->topics[index]->topic : NULL;
}

uint32_t image_lower_bound(const struct image *img, struct sl_str name)
{
	uint32_t low = 0;
	uint32_t high = img->topics_count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (compare_names(img->topics[mid]->topic.rec.name, name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

const struct meta_topic *image_colliding(const struct image *img, struct sl_str name)
{
	char folded[256];
	struct image_topic *t;

	if (name.len < 1 || (size_t)name.len > sizeof(folded))
		return NULL;
	for (int32_t i = 0; i < name.len; i++)
		folded[i] = fold(name.p[i]);
	t = sl_map_get(&img->by_folded, folded, (size_t)name.len);
	return t ? &t->topic : NULL;
}

const struct meta_broker_config *image_broker_config(const struct image *img, int32_t server_id)
{
	static const struct meta_broker_config none;
	struct image_broker *b = sl_map_get(&img->brokers, &server_id, sizeof(server_id));

	return b ? &b->config : &none;
}

const struct meta_group_config *image_group_config(const struct image *img, struct sl_str group_id)
{
	static const struct meta_group_config none;
	struct image_group *g = sl_map_get(&img->groups, group_id.p,
	                                   (size_t)SL_MAX(group_id.len, 0));

	return g ? &g->config : &none;
}

const struct meta_group_config *image_group_config_next(const struct image *img, uint32_t *pos)
{
	struct image_group *g = sl_map_next(&img->groups, pos);

	return g ? &g->config : NULL;
}

bool image_deleted_next(const struct image *img, uint32_t *pos, struct sl_uuid *id)
{
	struct image_deleted *d = sl_map_next(&img->deleted, pos);

	if (d)
		*id = d->id;
	return d != NULL;
}

/* Encodes small records on the stack. */
struct dump {
	int (*emit)(void *arg, const struct meta_record *rec);
	void *arg;
	uint8_t room[512];
	struct sl_buf buf;
};

static int dump_one(struct dump *d, enum meta_record_type type)
{
	struct meta_record rec = {(uint16_t)type, 0, {d->buf.p, (int32_t)d->buf.len}};

	SL_ASSERT(sl_buf_ok(&d->buf));
	return d->emit(d->arg, &rec);
}

static int dump_small(const struct image *img, struct dump *d)
{
	struct sl_meta_cluster cluster = {.cluster_id = sl_str_from(img->cluster_id)};
	struct sl_meta_producer_ids ids = {.next_producer_id = img->next_producer_id};
	struct sl_meta_topic_delete gone;
	uint32_t pos = 0;
	int rc = 0;

	sl_buf_init_fixed(&d->buf, d->room, sizeof(d->room));
	if (img->cluster_id[0]) {
		sl_meta_cluster_encode(&cluster, &d->buf, 0);
		rc = dump_one(d, META_REC_CLUSTER);
	}
	sl_buf_reset(&d->buf);
	sl_meta_producer_ids_encode(&ids, &d->buf, 0);
	if (rc == 0)
		rc = dump_one(d, META_REC_PRODUCER_IDS);
	while (rc == 0 && image_deleted_next(img, &pos, &gone.topic_id)) {
		sl_buf_reset(&d->buf);
		sl_meta_topic_delete_encode(&gone, &d->buf, 0);
		rc = dump_one(d, META_REC_TOPIC_DELETE);
	}
	return rc;
}

int image_dump(const struct image *img, int (*emit)(void *arg, const struct meta_record *rec),
               void *arg)
{
	struct dump d = {.emit = emit, .arg = arg};
	struct image_broker *b;
	struct image_group *g;
	uint32_t pos = 0;
	int rc = dump_small(img, &d);

	while (rc == 0 && (b = sl_map_next(&img->brokers, &pos))) {
		struct meta_record rec = {META_REC_BROKER_CONFIG, b->version, b->payload};

		rc = emit(arg, &rec);
	}
	pos = 0;
	while (rc == 0 && (g = sl_map_next(&img->groups, &pos))) {
		struct meta_record rec = {META_REC_GROUP_CONFIG, g->version, g->payload};

		rc = emit(arg, &rec);
	}
	for (uint32_t i = 0; rc == 0 && i < img->topics_count; i++) {
		const struct image_topic *t = img->topics[i];
		struct meta_record rec = {META_REC_TOPIC, t->version, t->payload};

		rc = emit(arg, &rec);
	}
	return rc;
}
