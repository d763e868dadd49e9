/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishing of the image.  Changes of one loop iteration leave as one revision.  A topic is always
 * sent as a whole with the effective value of every config, so that the data plane needs no
 * precedence rules.
 *
 * A deleted topic stays in the metadata until the data plane has acknowledged its deletion: a full
 * image says only what exists, and logs it does not name are kept.
 */
#include "publish.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/arena.h"
#include "sluice/base/assert.h"
#include "sluice/base/hash.h"
#include "sluice/base/log.h"
#include "sluice/ipc/channel.h"
#include "sluice/wire/image_broker_gen.h"
#include "sluice/wire/image_topic_gen.h"

#include "config.h"

#define MESSAGE_MAX   SL_CHANNEL_MESSAGE_MAX(SL_IPC_RING_BYTES)
/* Touched as far as it is used; moves of many large topics need the most. */
#define SCRATCH_BYTES (UINT64_C(512) << 20)
/* Leader changes that one transaction makes when lanes are gone. */
#define MOVES_PER_TXN 512

enum publish_state {
	PUBLISH_DOWN = 0, /* no data plane; the link moves it on */
	PUBLISH_MOVING, /* partitions of missing lanes get a leader; the transaction's end moves it
	                   on */
	PUBLISH_SENT,   /* the full image was sent; deltas follow */
};

/* A topic that must be sent. */
struct dirty {
	struct sl_uuid id;
	bool is_deleted;
};

/* A deletion that was sent. */
struct deletion {
	struct sl_list link;
	struct sl_uuid id;
	uint64_t revision;
};

struct slot_key {
	struct sl_uuid topic_id;
	int32_t partition;
};

struct slot_entry {
	struct slot_key key;
	uint32_t slot;
};

struct publish {
	struct control *c;
	enum publish_state state;
	uint64_t sent;  /* revision of the last image */
	uint64_t acked; /* of this attachment; 0 none */
	bool is_acked;
	struct sl_map dirty; /* of struct dirty, Owned */
	bool is_all_dirty;
	struct sl_list deletions; /* Owned */
	struct sl_list waits;
	struct sl_map slots; /* of struct slot_entry, Owned */
	struct loop_work flush_work;
	struct loop_timer move_timer;
	struct sl_arena scratch;
	struct sl_buf buf;
};

static void flush(void *arg);
static void move_partitions(void *arg);

int publish_create(struct publish **out, struct control *c)
{
	struct publish *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->c = c;
	sl_list_init(&p->waits);
	sl_list_init(&p->deletions);
	loop_work_init(&p->flush_work, flush, p);
	p->move_timer = (struct loop_timer){.fn = move_partitions, .arg = p};
	sl_buf_init_grow(&p->buf, MESSAGE_MAX);
	if (sl_arena_create(&p->scratch, SCRATCH_BYTES) < 0) {
		free(p);
		return -ENOMEM;
	}
	*out = p;
	return 0;
}

static void clear_map(struct sl_map *map)
{
	uint32_t pos = 0;
	void *v;

	while ((v = sl_map_next(map, &pos)))
		free(v);
	sl_map_fini(map);
	*map = (struct sl_map){0};
}

static void clear_deletions(struct publish *p)
{
	while (!sl_list_is_empty(&p->deletions)) {
		struct deletion *d = sl_list_entry(p->deletions.next, struct deletion, link);

		sl_list_del(&d->link);
		free(d);
	}
}

void publish_destroy(struct publish *p)
{
	if (!p)
		return;
	SL_ASSERT(sl_list_is_empty(&p->waits));
	loop_work_cancel(&p->flush_work);
	loop_timer_stop(p->c->loop, &p->move_timer);
	clear_map(&p->dirty);
	clear_map(&p->slots);
	clear_deletions(p);
	sl_arena_destroy(&p->scratch);
	sl_buf_fini(&p->buf);
	free(p);
}

bool publish_is_served(const struct publish *p)
{
	return p->is_acked;
}

uint64_t publish_acked(const struct publish *p)
{
	return p->acked;
}

/* ---- Who waits ---- */

static void wait_end(void *arg)
{
	struct publish_wait *w = arg;

	publish_wait_stop(w);
	w->fn(w->arg);
}

static void wait_timed_out(void *arg)
{
	struct publish_wait *w = arg;

	control_count(w->publish->c, COUNTER_image_ack_timeouts);
	wait_end(w);
}

void publish_wait_stop(struct publish_wait *w)
{
	if (!w->is_waiting)
		return;
	w->is_waiting = false;
	sl_list_del(&w->link);
	loop_timer_stop(w->publish->c->loop, &w->timer);
	loop_work_cancel(&w->work);
}

void publish_wait(struct publish *p, struct publish_wait *w, uint64_t revision, int64_t timeout_ms)
{
	struct loop *loop = p->c->loop;

	SL_ASSERT(!w->is_waiting && w->fn);
	w->publish = p;
	w->revision = revision;
	w->is_waiting = true;
	w->timer = (struct loop_timer){.fn = wait_timed_out, .arg = w};
	loop_work_init(&w->work, wait_end, w);
	sl_list_push_back(&p->waits, &w->link);
	if (p->state == PUBLISH_DOWN || (p->is_acked && p->acked >= revision) ||
	    loop_timer_set(loop, &w->timer, loop_mono_ms(loop) + timeout_ms) < 0)
		loop_work_post(loop, &w->work);
}

static void wake_waits(struct publish *p, uint64_t revision)
{
	struct sl_list *pos;

	sl_list_for_each(pos, &p->waits) {
		struct publish_wait *w = sl_list_entry(pos, struct publish_wait, link);

		if (w->revision <= revision)
			loop_work_post(p->c->loop, &w->work);
	}
}

/* ---- Slots ---- */

void publish_partition(struct publish *p, const struct sl_ipc_partition *part)
{
	struct sl_shm *shm = link_shm(p->c->link);
	struct slot_key key = {part->topic_id, part->partition};
	struct slot_entry *e;

	free(sl_map_del(&p->slots, &key, sizeof(key)));
	if (part->error || part->slot == UINT32_MAX) {
		control_count(p->c, COUNTER_partitions_failed);
		sl_log(ERR, meta, "fail partition part=%d log_dir=%u cause=\"%s\"", part->partition,
		       part->log_dir, strerror(part->error < 0 ? -part->error : EIO));
		return;
	}
	if (!shm || part->slot >= shm->slots_count) {
		control_count(p->c, COUNTER_slots_refused);
		return;
	}
	e = calloc(1, sizeof(*e));
	SL_ASSERT(e);
	e->key = key;
	e->slot = part->slot;
	if (sl_map_put(&p->slots, &e->key, sizeof(e->key), e) < 0)
		free(e);
}

const struct sl_slot *publish_slot(const struct publish *p, const struct sl_uuid *topic_id,
                                   int32_t partition)
{
	struct slot_key key = {*topic_id, partition};
	struct slot_entry *e = sl_map_get(&p->slots, &key, sizeof(key));
	struct sl_shm *shm = link_shm(p->c->link);
	const struct sl_slot *slot;

	if (!e || !shm)
		return NULL;
	slot = sl_shm_slot(shm, e->slot);
	/* Acquire: pairs with the lane's release of the state after it set the topic id. */
	if (atomic_load_explicit(&slot->state, memory_order_acquire) == SL_SLOT_FREE ||
	    !sl_uuid_eq(&slot->topic_id, topic_id) || slot->partition != partition)
		return NULL;
	return slot;
}

static void forget_slots(struct publish *p, const struct meta_topic *t)
{
	for (int32_t i = 0; i < t->rec.partitions_count; i++) {
		struct slot_key key = {t->rec.topic_id, i};

		free(sl_map_del(&p->slots, &key, sizeof(key)));
	}
}

/* ---- Messages ---- */

static void emit(struct publish *p, enum sl_ipc_type type, const void *head, size_t head_bytes)
{
	int rc = link_send_host(p->c->link, type, (struct sl_bytes){head, (int32_t)head_bytes},
	                        (struct sl_bytes){p->buf.p, (int32_t)p->buf.len});

	/* When the link is gone the next image will be a full one. */
	if (SL_COUNT_IF(rc == -EMSGSIZE))
		sl_log(ERR, meta, "skip image message type=%d bytes=%zu reason=\"too big\"", type,
		       p->buf.len);
}

static void send_broker(struct publish *p)
{
	struct control *c = p->c;
	uint32_t lanes = control_lanes_count(c);
	struct sl_image_broker m = {
		.cluster_id = sl_str_from(meta_cluster_id(c->meta)),
		.controller_id = control_node_id(c, 0),
		.nodes_count = (int32_t)lanes,
		.auto_create_topics = config_broker_bool(c, SL_CK_auto_create_topics_enable),
	};
	struct sl_image_broker_node nodes[SL_SHM_LANES_MAX];

	for (uint32_t i = 0; i < lanes; i++)
		nodes[i] = (struct sl_image_broker_node){.node_id = control_node_id(c, i),
		                                         .host = sl_str_from(c->advertised_host),
		                                         .port = control_node_port(c, i)};
	m.nodes = nodes;
	sl_buf_reset(&p->buf);
	sl_image_broker_encode(&m, &p->buf, 0);
	emit(p, SL_IPC_IMAGE_BROKER, NULL, 0);
}

static void fill_partition(struct sl_image_topic_partition *out, int32_t index,
                           const struct sl_meta_topic_partition *part)
{
	*out = (struct sl_image_topic_partition){
		.partition_index = index,
		.leader_id = part->leader_id,
		.leader_epoch = part->leader_epoch,
		.replica_nodes = part->replica_nodes,
		.replica_nodes_count = part->replica_nodes_count,
		.isr_nodes = part->isr_nodes,
		.isr_nodes_count = part->isr_nodes_count,
	};
}

static void send_topic(struct publish *p, const struct meta_topic *t)
{
	struct sl_image_topic_config configs[SL_CT_NR];
	struct sl_image_topic m = {
		.topic_id = t->rec.topic_id,
		.name = t->rec.name,
		.is_internal = t->is_internal,
		.partitions_count = t->rec.partitions_count,
		.configs = configs,
		.configs_count = SL_CT_NR,
	};

	sl_arena_reset(&p->scratch);
	m.partitions = sl_arena_alloc_array(&p->scratch, (size_t)m.partitions_count,
	                                    sizeof(*m.partitions));
	SL_ASSERT(m.partitions);
	for (int32_t i = 0; i < m.partitions_count; i++)
		fill_partition(&m.partitions[i], i, &t->rec.partitions[i]);
	for (int key = 0; key < SL_CT_NR; key++) {
		struct config_value chain[CONFIG_CHAIN_MAX];

		(void)config_topic_chain(p->c, &t->rec, (enum sl_conf_topic_key)key, chain);
		configs[key] = (struct sl_image_topic_config){
			sl_str_from(sl_conf_topic_defs[key].name), chain[0].value};
	}
	sl_buf_reset(&p->buf);
	sl_image_topic_encode(&m, &p->buf, 0);
	emit(p, SL_IPC_IMAGE_TOPIC, NULL, 0);
}

static void send_deletion(struct publish *p, const struct sl_uuid *id, uint64_t revision)
{
	struct sl_ipc_topic_delete head = {*id};
	struct deletion *d = calloc(1, sizeof(*d));

	SL_ASSERT(d);
	d->id = *id;
	d->revision = revision;
	sl_list_push_back(&p->deletions, &d->link);
	sl_buf_reset(&p->buf);
	emit(p, SL_IPC_IMAGE_TOPIC_DELETE, &head, sizeof(head));
}

static void send_mark(struct publish *p, enum sl_ipc_type type, bool is_full)
{
	struct sl_ipc_image head = {.revision = p->sent, .is_full = is_full};

	sl_buf_reset(&p->buf);
	emit(p, type, &head, sizeof(head));
}

static void send_all_topics(struct publish *p)
{
	for (uint32_t i = 0; i < meta_topics_count(p->c->meta); i++)
		send_topic(p, meta_topic_at(p->c->meta, i));
}

static void send_full(struct publish *p)
{
	struct meta *m = p->c->meta;
	struct sl_uuid id;
	uint32_t pos = 0;

	clear_map(&p->dirty);
	p->is_all_dirty = false;
	clear_deletions(p);
	p->state = PUBLISH_SENT;
	p->sent = meta_revision(m);
	send_mark(p, SL_IPC_IMAGE_BEGIN, true);
	send_broker(p);
	/* First, so that a log of a deleted topic does not stand in the way of a new one of its
	 * name. */
	while (meta_deleted_next(m, &pos, &id))
		send_deletion(p, &id, p->sent);
	send_all_topics(p);
	send_mark(p, SL_IPC_IMAGE_END, true);
	control_count(p->c, COUNTER_images_full);
	sl_log(INFO, meta, "send image revision=%llu topics=%u", (unsigned long long)p->sent,
	       meta_topics_count(m));
}

static void send_dirty(struct publish *p)
{
	uint32_t pos = 0;
	struct dirty *d;

	while ((d = sl_map_next(&p->dirty, &pos))) {
		if (d->is_deleted)
			send_deletion(p, &d->id, p->sent);
	}
	pos = 0;
	while (!p->is_all_dirty && (d = sl_map_next(&p->dirty, &pos))) {
		const struct meta_topic *t = meta_topic_by_id(p->c->meta, &d->id);

		if (t)
			send_topic(p, t);
	}
	if (p->is_all_dirty)
		send_all_topics(p);
}

static void flush(void *arg)
{
	struct publish *p = arg;

	if (p->state != PUBLISH_SENT || p->sent == meta_revision(p->c->meta))
		return;
	p->sent = meta_revision(p->c->meta);
	send_mark(p, SL_IPC_IMAGE_BEGIN, false);
	send_dirty(p);
	send_mark(p, SL_IPC_IMAGE_END, false);
	clear_map(&p->dirty);
	p->is_all_dirty = false;
	control_count(p->c, COUNTER_images_delta);
}

/* ---- Events ---- */

static void mark_dirty(struct publish *p, const struct sl_uuid *id, bool is_deleted)
{
	struct dirty *d = sl_map_get(&p->dirty, id, sizeof(*id));

	if (!d) {
		d = calloc(1, sizeof(*d));
		SL_ASSERT(d);
		d->id = *id;
		if (sl_map_put(&p->dirty, &d->id, sizeof(d->id), d) < 0) {
			free(d);
			p->is_all_dirty = true;
			return;
		}
	}
	d->is_deleted = is_deleted;
}

void publish_changed(struct publish *p, const struct meta_change *change)
{
	switch (change->type) {
	case META_REC_TOPIC:
		mark_dirty(p, &change->topic_id, false);
		break;
	case META_REC_TOPIC_DELETE:
		mark_dirty(p, &change->topic_id, true);
		if (change->before)
			forget_slots(p, change->before);
		break;
	case META_REC_BROKER_CONFIG:
		p->is_all_dirty = true;
		break;
	default:
		return; /* nothing of it is in the image */
	}
	if (p->state == PUBLISH_SENT)
		loop_work_post(p->c->loop, &p->flush_work);
}

/* Deletions up to the revision are done: their ids need not be remembered any longer. */
static void purge(struct publish *p, uint64_t revision)
{
	struct meta_txn *txn = NULL;

	while (!sl_list_is_empty(&p->deletions)) {
		struct deletion *d = sl_list_entry(p->deletions.next, struct deletion, link);

		if (d->revision > revision)
			break;
		if (!txn)
			txn = meta_txn_begin(p->c->meta);
		meta_txn_purge_topic(txn, &d->id);
		sl_list_del(&d->link);
		free(d);
	}
	if (txn)
		meta_txn_commit(txn, NULL, NULL);
}

void publish_ack(struct publish *p, uint64_t revision)
{
	if (p->state != PUBLISH_SENT || revision > p->sent || revision < p->acked) {
		sl_log(ERR, meta, "ignore image ack revision=%llu sent=%llu",
		       (unsigned long long)revision, (unsigned long long)p->sent);
		return;
	}
	p->acked = revision;
	p->is_acked = true;
	purge(p, revision);
	wake_waits(p, revision);
}

void publish_lost(struct publish *p)
{
	p->state = PUBLISH_DOWN;
	p->is_acked = false;
	p->acked = 0;
	p->sent = 0;
	loop_work_cancel(&p->flush_work);
	loop_timer_stop(p->c->loop, &p->move_timer);
	clear_map(&p->slots);
	clear_deletions(p);
	wake_waits(p, UINT64_MAX);
}

/* ---- Lanes that are gone ---- */

/* A copy of the topic's record with new leaders where a lane is missing.  Return: how many changed.
 */
static uint32_t with_moves(struct publish *p, const struct meta_topic *t, struct sl_meta_topic *out,
                           uint32_t *next_lane)
{
	struct control *c = p->c;
	uint32_t moved = 0;

	*out = t->rec;
	for (int32_t i = 0; i < t->rec.partitions_count; i++) {
		int32_t *node;
		struct sl_meta_topic_partition *part;

		if (control_lane_of(c, t->rec.partitions[i].leader_id) >= 0)
			continue;
		if (moved++ == 0) {
			size_t bytes = (size_t)t->rec.partitions_count * sizeof(*out->partitions);

			out->partitions = sl_arena_alloc(&p->scratch, bytes);
			SL_ASSERT(out->partitions);
			memcpy(out->partitions, t->rec.partitions, bytes);
		}
		node = sl_arena_alloc(&p->scratch, sizeof(*node));
		SL_ASSERT(node);
		*node = control_node_id(c, (*next_lane)++ % control_lanes_count(c));
		part = &out->partitions[i];
		part->leader_id = *node;
		part->leader_epoch++;
		part->replica_nodes = node;
		part->replica_nodes_count = 1;
		part->isr_nodes = node;
		part->isr_nodes_count = 1;
	}
	return moved;
}

static void moved(void *arg, enum meta_result result, uint64_t revision)
{
	struct publish *p = arg;
	struct loop *loop = p->c->loop;

	(void)revision;
	if (p->state != PUBLISH_MOVING || p->c->is_stopping)
		return;
	if (result != META_FAILED) {
		move_partitions(p);
		return;
	}
	/* The partitions stay without a leader; the others must be served all the same. */
	send_full(p);
	if (loop_timer_set(loop, &p->move_timer, loop_mono_ms(loop) + PUBLISH_WAIT_MS) < 0)
		sl_log(ERR, meta, "leave partitions without leader reason=\"out of memory\"");
}

/* Gives every partition whose lane does not exist a lane that does, then sends the image. */
static void move_partitions(void *arg)
{
	struct publish *p = arg;
	struct meta *m = p->c->meta;
	struct meta_txn *txn = NULL;
	uint32_t lane = 0;
	uint32_t count = 0;

	sl_arena_reset(&p->scratch);
	for (uint32_t i = 0; i < meta_topics_count(m) && count < MOVES_PER_TXN; i++) {
		const struct meta_topic *t = meta_topic_at(m, i);
		struct sl_meta_topic rec;
		uint32_t changed = with_moves(p, t, &rec, &lane);

		if (changed == 0)
			continue;
		if (!txn)
			txn = meta_txn_begin(m);
		meta_txn_put_topic(txn, &rec, t->mod_revision);
		count += changed;
	}
	if (txn) {
		p->c->counters[COUNTER_partitions_moved] += count;
		sl_log(WARN, meta, "move partitions count=%u reason=\"their lanes are gone\"",
		       count);
		p->state = PUBLISH_MOVING;
		meta_txn_commit(txn, moved, p);
	} else if (p->state == PUBLISH_MOVING) {
		send_full(p);
	}
}

void publish_attached(struct publish *p)
{
	p->state = PUBLISH_MOVING;
	move_partitions(p);
}
