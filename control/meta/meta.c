/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions on the metadata image.  They wait in a queue; meta_poll() takes the oldest, checks
 * it against the image, has the back end make it durable and only then applies it.  One is on its
 * way at a time, so that each is checked against the image that the one before it has made.
 */
#include "meta.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/buf.h"
#include "sluice/base/hash.h"
#include "sluice/base/list.h"
#include "sluice/base/log.h"
#include "sluice/wire/meta_cluster_gen.h"
#include "sluice/wire/meta_producer_ids_gen.h"
#include "sluice/wire/meta_topic_delete_gen.h"
#include "sluice/wire/meta_topic_purge_gen.h"

#include "counters.h"
#include "image.h"

#define TXN_BYTES_MAX (UINT32_C(128) << 20)
/* Transactions that one call of meta_poll() ends. */
#define TXNS_PER_POLL 16

/* One put of a transaction. */
struct entry {
	enum meta_record_type type;
	uint64_t expected;
	bool is_guarded; /* @expected must hold */
	size_t pos;      /* of the payload in the transaction's buffer */
	size_t bytes;
	struct image_step step; /* while it is on its way */
};

struct meta_txn {
	struct sl_list link;
	struct meta *meta;
	struct entry *entries; /* Owned */
	uint32_t count;
	uint32_t max;
	uint32_t prepared; /* entries whose step is filled */
	struct sl_buf payloads;
	bool is_broken; /* out of memory while it was built */
	meta_done_fn *fn;
	void *arg;
};

struct meta {
	struct meta_opts opts;
	struct image image;
	struct meta_backend *backend; /* Owned */
	struct sl_list queue;         /* of transactions */
	struct meta_txn *current;     /* on its way; Owned */
	struct meta_record *records;  /* Owned; of the current transaction */
};

static void count(struct meta *m, enum counter counter)
{
	if (m->opts.counters)
		m->opts.counters[counter]++;
}

static int load(void *ctx, uint64_t revision, const struct meta_record *rec)
{
	struct meta *m = ctx;
	struct meta_change change;
	struct image_step step;
	int rc = image_prepare(&m->image, rec, &step);

	if (rc < 0)
		return rc == -EINVAL ? -EBADMSG : rc;
	image_apply(&m->image, &step, revision, &change);
	image_change_end(&change);
	m->image.revision = revision;
	return 0;
}

static int dump(void *ctx, int (*emit)(void *arg, const struct meta_record *rec), void *arg)
{
	struct meta *m = ctx;

	return image_dump(&m->image, emit, arg);
}

int meta_open(struct meta **out, const struct meta_opts *opts, struct meta_recovery *recovery,
              char error[META_ERROR_MAX])
{
	struct meta *m = calloc(1, sizeof(*m));
	struct meta_backend_opts backend_opts;
	int rc;

	if (!m) {
		snprintf(error, META_ERROR_MAX, "out of memory");
		return -ENOMEM;
	}
	m->opts = *opts;
	sl_list_init(&m->queue);
	*recovery = (struct meta_recovery){0};
	backend_opts =
		(struct meta_backend_opts){.dir = opts->dir, .ctx = m, .load = load, .dump = dump};
	error[0] = '\0';
	rc = opts->ops->open(&m->backend, &backend_opts, recovery, error);
	if (rc < 0) {
		image_fini(&m->image);
		free(m);
		return rc;
	}
	m->image.revision = recovery->revision;
	*out = m;
	return 0;
}

static void txn_free(struct meta_txn *txn)
{
	for (uint32_t i = 0; i < txn->prepared; i++)
		image_step_drop(&txn->entries[i].step);
	sl_buf_fini(&txn->payloads);
	free(txn->entries);
	free(txn);
}

static void end_txn(struct meta_txn *txn, enum meta_result result)
{
	meta_done_fn *fn = txn->fn;
	void *arg = txn->arg;
	uint64_t revision = txn->meta->image.revision;

	txn_free(txn);
	if (fn)
		fn(arg, result, revision);
}

void meta_close(struct meta *m)
{
	if (!m)
		return;
	m->opts.ops->close(m->backend);
	if (m->current)
		end_txn(m->current, META_FAILED);
	while (!sl_list_is_empty(&m->queue)) {
		struct meta_txn *txn = sl_list_entry(m->queue.next, struct meta_txn, link);

		sl_list_del(&txn->link);
		end_txn(txn, META_FAILED);
	}
	free(m->records);
	image_fini(&m->image);
	free(m);
}

/* ---- The image ---- */

uint64_t meta_revision(const struct meta *m)
{
	return m->image.revision;
}

const char *meta_cluster_id(const struct meta *m)
{
	return m->image.cluster_id;
}

uint32_t meta_topics_count(const struct meta *m)
{
	return m->image.topics_count;
}

const struct meta_topic *meta_topic_at(const struct meta *m, uint32_t index)
{
	return image_at(&m->image, index);
}

uint32_t meta_topic_lower_bound(const struct meta *m, struct sl_str name)
{
	return image_lower_bound(&m->image, name);
}

const struct meta_topic *meta_topic_by_name(const struct meta *m, struct sl_str name)
{
	const struct meta_topic *t = image_colliding(&m->image, name);

	return t && sl_str_eq(t->rec.name, name) ? t : NULL;
}

const struct meta_topic *meta_topic_by_id(const struct meta *m, const struct sl_uuid *id)
{
	return image_by_id(&m->image, id);
}

const struct meta_topic *meta_topic_colliding(const struct meta *m, struct sl_str name)
{
	return image_colliding(&m->image, name);
}

uint64_t meta_partitions_count(const struct meta *m)
{
	return m->image.partitions_count;
}

struct sl_str meta_topic_config(const struct meta_topic *t, struct sl_str name)
{
	for (int32_t i = 0; i < t->rec.configs_count; i++) {
		if (sl_str_eq(t->rec.configs[i].name, name))
			return t->rec.configs[i].value;
	}
	return SL_STR_NULL;
}

const struct meta_broker_config *meta_broker_config(const struct meta *m, int32_t server_id)
{
	return image_broker_config(&m->image, server_id);
}

const struct meta_group_config *meta_group_config(const struct meta *m, struct sl_str group_id)
{
	return image_group_config(&m->image, group_id);
}

uint32_t meta_group_configs_count(const struct meta *m)
{
	return m->image.groups.count;
}

const struct meta_group_config *meta_group_config_next(const struct meta *m, uint32_t *pos)
{
	return image_group_config_next(&m->image, pos);
}

int64_t meta_next_producer_id(const struct meta *m)
{
	return m->image.next_producer_id;
}

bool meta_deleted_next(const struct meta *m, uint32_t *pos, struct sl_uuid *id)
{
	return image_deleted_next(&m->image, pos, id);
}

/* ---- Building a transaction ---- */

struct meta_txn *meta_txn_begin(struct meta *m)
{
	struct meta_txn *txn = calloc(1, sizeof(*txn));

	/* A process that cannot get 200 bytes is not helped by going on. */
	SL_ASSERT(txn);
	txn->meta = m;
	sl_list_init(&txn->link);
	sl_buf_init_grow(&txn->payloads, TXN_BYTES_MAX);
	return txn;
}

/* Begins a put: what is encoded until end_put() is its payload. */
static struct entry *begin_put(struct meta_txn *txn, enum meta_record_type type)
{
	struct entry *e;

	if (txn->count == txn->max) {
		uint32_t max = txn->max ? txn->max * 2 : 4;
		struct entry *grown = reallocarray(txn->entries, max, sizeof(*grown));

		if (!grown) {
			txn->is_broken = true;
			return NULL;
		}
		txn->entries = grown;
		txn->max = max;
	}
	e = &txn->entries[txn->count++];
	*e = (struct entry){.type = type, .pos = txn->payloads.len};
	return e;
}

static void end_put(struct meta_txn *txn, struct entry *e)
{
	e->bytes = txn->payloads.len - e->pos;
}

static void guard(struct entry *e, uint64_t expected)
{
	e->is_guarded = true;
	e->expected = expected;
}

void meta_txn_put_topic(struct meta_txn *txn, const struct sl_meta_topic *rec, uint64_t expected)
{
	struct entry *e = begin_put(txn, META_REC_TOPIC);

	if (!e)
		return;
	guard(e, expected);
	sl_meta_topic_encode(rec, &txn->payloads, 0);
	end_put(txn, e);
}

void meta_txn_delete_topic(struct meta_txn *txn, const struct sl_uuid *id, uint64_t expected)
{
	struct sl_meta_topic_delete rec = {.topic_id = *id};
	struct entry *e = begin_put(txn, META_REC_TOPIC_DELETE);

	if (!e)
		return;
	SL_ASSERT(expected != 0);
	guard(e, expected);
	sl_meta_topic_delete_encode(&rec, &txn->payloads, 0);
	end_put(txn, e);
}

void meta_txn_purge_topic(struct meta_txn *txn, const struct sl_uuid *id)
{
	struct sl_meta_topic_purge rec = {.topic_id = *id};
	struct entry *e = begin_put(txn, META_REC_TOPIC_PURGE);

	if (!e)
		return;
	sl_meta_topic_purge_encode(&rec, &txn->payloads, 0);
	end_put(txn, e);
}

void meta_txn_put_broker_config(struct meta_txn *txn, const struct sl_meta_broker_config *rec,
                                uint64_t expected)
{
	struct entry *e = begin_put(txn, META_REC_BROKER_CONFIG);

	if (!e)
		return;
	guard(e, expected);
	sl_meta_broker_config_encode(rec, &txn->payloads, 0);
	end_put(txn, e);
}

void meta_txn_put_group_config(struct meta_txn *txn, const struct sl_meta_group_config *rec,
                               uint64_t expected)
{
	struct entry *e = begin_put(txn, META_REC_GROUP_CONFIG);

	if (!e)
		return;
	guard(e, expected);
	sl_meta_group_config_encode(rec, &txn->payloads, 0);
	end_put(txn, e);
}

void meta_txn_put_producer_ids(struct meta_txn *txn, int64_t next, int64_t expected)
{
	struct sl_meta_producer_ids rec = {.next_producer_id = next};
	struct entry *e = begin_put(txn, META_REC_PRODUCER_IDS);

	if (!e)
		return;
	guard(e, (uint64_t)expected);
	sl_meta_producer_ids_encode(&rec, &txn->payloads, 0);
	end_put(txn, e);
}

void meta_txn_put_cluster_id(struct meta_txn *txn, const char *cluster_id)
{
	struct sl_meta_cluster rec = {.cluster_id = sl_str_from(cluster_id)};
	struct entry *e = begin_put(txn, META_REC_CLUSTER);

	if (!e)
		return;
	sl_meta_cluster_encode(&rec, &txn->payloads, 0);
	end_put(txn, e);
}

void meta_txn_commit(struct meta_txn *txn, meta_done_fn *fn, void *arg)
{
	struct meta *m = txn->meta;

	txn->fn = fn;
	txn->arg = arg;
	sl_list_push_back(&m->queue, &txn->link);
	m->opts.wake(m->opts.arg);
}

void meta_txn_drop(struct meta_txn *txn)
{
	if (txn)
		txn_free(txn);
}

/* ---- Committing ---- */

/* Two new topics of one transaction must not collide with each other either. */
static int check_new_names(const struct meta_txn *txn)
{
	struct sl_map names = {0};
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < txn->count; i++) {
		struct sl_str folded = image_step_folded(&txn->entries[i].step);

		if (folded.len > 0)
			rc = sl_map_put(&names, folded.p, (size_t)folded.len,
			                (void *)(uintptr_t)folded.p);
	}
	sl_map_fini(&names);
	return rc;
}

/* Return: 0; -EAGAIN conflict; -errno. */
static int prepare_txn(struct meta *m, struct meta_txn *txn)
{
	if (txn->is_broken || !sl_buf_ok(&txn->payloads))
		return -ENOMEM;
	m->records = reallocarray(m->records, txn->count, sizeof(*m->records));
	if (!m->records)
		return -ENOMEM;
	for (uint32_t i = 0; i < txn->count; i++) {
		struct entry *e = &txn->entries[i];
		int rc;

		m->records[i] = (struct meta_record){
			(uint16_t)e->type, 0, {txn->payloads.p + e->pos, (int32_t)e->bytes}};
		rc = image_prepare(&m->image, &m->records[i], &e->step);
		if (rc == 0) {
			txn->prepared = i + 1;
			if (e->is_guarded && image_replaced(&m->image, &e->step) != e->expected)
				return -EAGAIN;
		} else if (rc == -EINVAL && e->is_guarded && e->type == META_REC_TOPIC &&
		           e->expected == 0) {
			/* A new topic that the image refuses lost to another one of its name. */
			return -EAGAIN;
		} else {
			return rc;
		}
	}
	return check_new_names(txn);
}

static void apply_txn(struct meta *m, struct meta_txn *txn)
{
	uint64_t revision = m->image.revision + 1;

	m->image.revision = revision;
	for (uint32_t i = 0; i < txn->count; i++) {
		struct meta_change change;

		image_apply(&m->image, &txn->entries[i].step, revision, &change);
		if (m->opts.changed)
			m->opts.changed(m->opts.arg, &change);
		image_change_end(&change);
	}
	txn->prepared = 0;
}

static void committed(void *arg, int error)
{
	struct meta *m = arg;
	struct meta_txn *txn = m->current;

	SL_ASSERT(txn);
	m->current = NULL;
	count(m, error < 0 ? COUNTER_meta_failed : COUNTER_meta_commits);
	if (error < 0) {
		sl_log(ERR, meta, "fail transaction revision=%llu cause=\"%s\"",
		       (unsigned long long)m->image.revision + 1, strerror(-error));
		end_txn(txn, META_FAILED);
		return;
	}
	apply_txn(m, txn);
	end_txn(txn, META_COMMITTED);
}

static void tidy(struct meta *m)
{
	int rc = m->opts.ops->tidy(m->backend);

	if (rc > 0)
		count(m, COUNTER_meta_snapshots);
	if (rc < 0)
		sl_log(WARN, meta, "postpone snapshot revision=%llu cause=\"%s\"",
		       (unsigned long long)m->image.revision, strerror(-rc));
}

int meta_poll(struct meta *m)
{
	int ended = 0;

	while (!m->current && ended < TXNS_PER_POLL && !sl_list_is_empty(&m->queue)) {
		struct meta_txn *txn = sl_list_entry(m->queue.next, struct meta_txn, link);
		int rc;

		sl_list_del(&txn->link);
		ended++;
		rc = prepare_txn(m, txn);
		if (rc < 0) {
			count(m, rc == -EAGAIN ? COUNTER_meta_conflicts : COUNTER_meta_failed);
			if (rc != -EAGAIN)
				sl_log(ERR, meta, "refuse transaction cause=\"%s\"", strerror(-rc));
			end_txn(txn, rc == -EAGAIN ? META_CONFLICT : META_FAILED);
			continue;
		}
		m->current = txn;
		m->opts.ops->commit(m->backend, m->image.revision + 1, m->records, txn->count,
		                    committed, m);
	}
	if (ended > 0 && !m->current)
		tidy(m);
	if (!m->current && !sl_list_is_empty(&m->queue))
		m->opts.wake(m->opts.arg);
	return ended;
}
