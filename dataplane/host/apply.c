/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rounds: see apply.h.  Why the order is what it is: a lane that reads the new image finds each of
 * its partitions attached, and no partition is taken from its lane while an image that points to it
 * may be in use on any lane.
 */
#include "apply.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/clock.h"
#include "sluice/base/log.h"
#include "sluice/wire/image_broker_gen.h"
#include "sluice/wire/image_topic_gen.h"
#include "topic_config.h"

#define OPEN_SLICE_NS UINT64_C(20000000) /* logs are opened this long, then messages again */
#define DECODE_ARENA_BYTES \
	((size_t)64 << 20)        /* touched lazily; larger than any message decodes to */
#define QUEUE_CHANGES_MAX 200000  /* complete batches: then the ring is not read */
#define BATCH_CHANGES_MAX 1000000 /* one batch: more is refused */
#define HOST_NAME_MAX_    255

_Static_assert(LOGDIRS_MAX <= CTX_DIRS_MAX, "a log dir is a bit");

/* X(name) */
#define APPLY_STATES(X)                                                                       \
	X(IDLE)    /* the lanes serve `current`; the next batch moves it on */                \
	X(OPENING) /* `next` is built, logs are being opened; moved on when none is left */   \
	X(SENDING) /* lanes have partitions and `next`; moved on when every message came back \
	            */

#define APPLY_STATE_ENUM_(s) APPLY_##s,
enum apply_state {
	APPLY_STATES(APPLY_STATE_ENUM_) APPLY_STATE_NR
};
#undef APPLY_STATE_ENUM_

struct change {
	struct sl_list link;
	enum sl_ipc_type type; /* IMAGE_TOPIC, IMAGE_TOPIC_DELETE, IMAGE_BROKER */
	struct sl_uuid topic_id;
	struct topic *topic;   /* Owned until it is in the image */
	struct image *cluster; /* Owned; an image with nothing but the cluster in it */
};

struct batch {
	struct sl_list link;
	struct sl_ipc_image head;
	struct sl_list changes; /* of struct change, Owned */
	uint32_t changes_count;
};

struct apply {
	struct apply_opts opts;
	struct hosted_table table;
	struct sl_arena arena; /* for decoding */
	enum apply_state state;
	struct image *current; /* Owned */
	struct image *next;    /* Owned; not IDLE */
	struct batch *running; /* Owned; NULL in a round that only brings late partitions */
	bool is_orphan;        /* the round's control process is gone */
	uint64_t round;
	uint32_t awaited;            /* messages of this round that lanes still have */
	struct lane_msg *image_msgs; /* Owned; one per lane */
	struct lane_msg *dir_msgs;   /* Owned; one per lane and log dir, each is sent once */
	uint64_t dirs_announced; /* offline log dirs that lanes and control know of; a bit each */
	struct batch *incoming;  /* Owned; after BEGIN, before END */
	struct sl_list queue;    /* of struct batch, Owned */
	uint32_t queued_changes;
};

/* ---- Batches ---- */

static void free_change(struct change *c)
{
	sl_list_del(&c->link);
	topic_put(c->topic);
	image_destroy(c->cluster);
	free(c);
}

static void free_batch(struct batch *b)
{
	if (!b)
		return;
	while (!sl_list_is_empty(&b->changes))
		free_change(sl_list_first(&b->changes, struct change, link));
	sl_list_del(&b->link);
	free(b);
}

static void drop_queue(struct apply *a)
{
	while (!sl_list_is_empty(&a->queue))
		free_batch(sl_list_first(&a->queue, struct batch, link));
	a->queued_changes = 0;
}

static int take_begin(struct apply *a, const void *p, size_t bytes)
{
	struct batch *b;

	if (bytes != sizeof(b->head) || a->incoming)
		return -EPROTO;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	memcpy(&b->head, p, sizeof(b->head));
	sl_list_init(&b->link);
	sl_list_init(&b->changes);
	a->incoming = b;
	return 0;
}

static int take_end(struct apply *a, const void *p, size_t bytes)
{
	struct sl_ipc_image head;

	if (bytes != sizeof(head))
		return -EPROTO;
	memcpy(&head, p, sizeof(head));
	if (head.revision != a->incoming->head.revision)
		return -EPROTO;
	sl_list_push_back(&a->queue, &a->incoming->link);
	a->queued_changes += a->incoming->changes_count + 1;
	a->incoming = NULL;
	return 0;
}

static int decode_topic(struct apply *a, struct change *c, const void *p, size_t bytes)
{
	struct sl_cursor cursor = sl_cursor_from(p, bytes);
	struct sl_image_topic rec;
	struct topic_config config;
	int rc;

	sl_arena_reset(&a->arena);
	rc = sl_image_topic_decode(&rec, &cursor, &a->arena, 0);
	if (rc != 0)
		return rc;
	topic_config_make(&config, a->opts.conf, &rec);
	c->topic_id = rec.topic_id;
	return topic_create(&c->topic, &rec, &config);
}

static int decode_broker(struct apply *a, struct change *c, const void *p, size_t bytes)
{
	struct sl_cursor cursor = sl_cursor_from(p, bytes);
	struct sl_image_broker rec;
	int rc;

	sl_arena_reset(&a->arena);
	rc = sl_image_broker_decode(&rec, &cursor, &a->arena, 0);
	if (rc != 0)
		return rc;
	rc = image_create(&c->cluster);
	return rc == 0 ? image_set_cluster(c->cluster, &rec) : rc;
}

static int take_change(struct apply *a, enum sl_ipc_type type, const void *p, size_t bytes)
{
	struct change *c;
	int rc = 0;

	if (a->incoming->changes_count >= BATCH_CHANGES_MAX)
		return -EPROTO;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->type = type;
	sl_list_push_back(&a->incoming->changes, &c->link);
	a->incoming->changes_count++;
	if (type == SL_IPC_IMAGE_TOPIC) {
		rc = decode_topic(a, c, p, bytes);
	} else if (type == SL_IPC_IMAGE_BROKER) {
		rc = decode_broker(a, c, p, bytes);
	} else {
		if (bytes != sizeof(struct sl_ipc_topic_delete))
			return -EPROTO;
		memcpy(&c->topic_id, p, sizeof(c->topic_id));
	}
	return rc == 0 || rc == -ENOMEM ? rc : -EPROTO;
}

int apply_message(struct apply *a, enum sl_ipc_type type, const void *p, size_t bytes)
{
	if (type == SL_IPC_IMAGE_BEGIN)
		return take_begin(a, p, bytes);
	if (!a->incoming)
		return -EPROTO;
	switch (type) {
	case SL_IPC_IMAGE_END:
		return take_end(a, p, bytes);
	case SL_IPC_IMAGE_TOPIC:
	case SL_IPC_IMAGE_TOPIC_DELETE:
	case SL_IPC_IMAGE_BROKER:
		return take_change(a, type, p, bytes);
	default:
		return -EPROTO;
	}
}

bool apply_is_full(const struct apply *a)
{
	return a->queued_changes >= QUEUE_CHANGES_MAX;
}

void apply_control_lost(struct apply *a)
{
	free_batch(a->incoming);
	a->incoming = NULL;
	/* Its successor begins with a full image. */
	drop_queue(a);
	a->is_orphan = true;
}

/* ---- Life ---- */

int apply_create(struct apply **out, const struct apply_opts *opts)
{
	struct apply *a = calloc(1, sizeof(*a));
	int rc;

	if (!a)
		return -ENOMEM;
	a->opts = *opts;
	sl_list_init(&a->queue);
	a->image_msgs = calloc(opts->shm->lanes_count, sizeof(*a->image_msgs));
	a->dir_msgs = calloc((size_t)opts->shm->lanes_count * logdirs_count(opts->dirs),
	                     sizeof(*a->dir_msgs));
	/* The control process hears of these when it attaches, and no lane has a partition there.
	 */
	for (uint32_t i = 0; i < logdirs_count(opts->dirs); i++)
		a->dirs_announced |= (uint64_t)(logdirs_error(opts->dirs, i) != 0) << i;
	rc = a->image_msgs && a->dir_msgs ? sl_arena_create(&a->arena, DECODE_ARENA_BYTES)
	                                  : -ENOMEM;
	if (rc == 0)
		rc = image_create(&a->current);
	if (rc == 0)
		rc = hosted_init(&a->table, opts->dirs, opts->shm, opts->partitions_max);
	if (rc != 0) {
		a->table.dirs = NULL;
		(void)apply_destroy(a);
		return rc;
	}
	*out = a;
	return 0;
}

int apply_destroy(struct apply *a)
{
	int rc;

	if (!a)
		return 0;
	rc = hosted_fini(&a->table);
	free_batch(a->incoming);
	free_batch(a->running);
	drop_queue(a);
	image_destroy(a->next);
	image_destroy(a->current);
	sl_arena_destroy(&a->arena);
	free(a->image_msgs);
	free(a->dir_msgs);
	free(a);
	return rc;
}

void apply_set_hot(struct apply *a, struct sl_hot_pool *const *by_lane)
{
	a->table.hot = by_lane;
}

const struct image *apply_image(const struct apply *a)
{
	return a->next ? a->next : a->current;
}

const struct hosted_table *apply_table(const struct apply *a)
{
	return &a->table;
}

/* ---- A round: the image ---- */

static int apply_change(struct image *image, struct change *c)
{
	int rc;

	switch (c->type) {
	case SL_IPC_IMAGE_TOPIC:
		rc = image_put_topic(image, c->topic);
		topic_put(c->topic);
		c->topic = NULL;
		return rc;
	case SL_IPC_IMAGE_TOPIC_DELETE:
		(void)image_del_topic(image, &c->topic_id);
		return 0;
	default:
		return image_copy_cluster(image, c->cluster);
	}
}

static int build(struct apply *a, const struct batch *b)
{
	struct image *image;
	struct sl_list *pos;
	int rc;

	rc = b && b->head.is_full ? image_create(&image) : image_clone(&image, a->current);
	if (rc != 0)
		return rc;
	if (b)
		image->revision = b->head.revision;
	for (pos = b ? b->changes.next : NULL; rc == 0 && b && pos != &b->changes; pos = pos->next)
		rc = apply_change(image, sl_list_entry(pos, struct change, link));
	if (rc != 0) {
		image_destroy(image);
		return rc;
	}
	a->next = image;
	return 0;
}

/* ---- A round: partitions ---- */

static void post(struct apply *a, struct lane_msg *msg, enum lane_msg_type type, uint32_t lane)
{
	msg->type = type;
	msg->lane = lane;
	sl_list_init(&msg->link);
	if (type != LANE_MSG_DETACH && type != LANE_MSG_DIR_OFFLINE)
		a->awaited++;
	a->opts.post(a->opts.arg, msg);
}

static void send_config(struct apply *a, struct hosted *h)
{
	h->msg.partition = &h->p;
	h->msg.log_config = &h->config.log;
	h->msg.flush = h->config.flush;
	post(a, &h->msg, LANE_MSG_CONFIG, (uint32_t)h->p.lane);
}

/* Whether the partition as it is open is the one that the image wants. */
static bool is_same(const struct hosted *h, const struct hosted_want *want)
{
	return h->state == HOSTED_OPEN && h->p.lane == want->lane &&
	       h->p.leader_epoch == want->leader_epoch;
}

/*
 * A partition of a changed topic.  One whose leader or epoch changed is closed and opened anew:
 * its lane gives it up as after any loss of leadership, and the epoch begins at the log end that
 * nobody can move any more.
 */
static void resolve_partition(struct apply *a, struct topic *t, uint32_t i)
{
	struct topic_partition *tp = &t->partitions[i];
	struct hosted_want want = {t, (int32_t)i, tp->leader_id - a->opts.node_id_base,
	                           tp->leader_epoch};
	struct hosted *h = hosted_find(&a->table, &t->id, (int32_t)i);

	if (want.lane < 0 || (uint32_t)want.lane >= a->table.lanes_count)
		return; /* nobody leads, or a node that is not here: retire_rest() takes it away */
	if (h && h->round == a->round)
		return;
	if (h && is_same(h, &want)) {
		h->round = a->round;
		tp->partition = &h->p;
		if (!topic_config_is_log_equal(&h->config, &t->config)) {
			h->config = t->config;
			send_config(a, h);
		}
		return;
	}
	if (h)
		hosted_retire(&a->table, h, false);
	if (hosted_add(&h, &a->table, &want) != 0) {
		sl_log(ERR, image, "open partition topic=%s part=%u: no memory", t->name, i);
		return;
	}
	h->round = a->round;
}

/* The host's own pointer to a topic of the image that it builds: no lane has it yet. */
static struct topic *own_topic(const struct image *image, const struct sl_uuid *id)
{
	return sl_map_get(&image->by_id, id, sizeof(*id));
}

static void resolve_batch(struct apply *a, const struct batch *b)
{
	struct sl_list *pos;

	sl_list_for_each(pos, &b->changes) {
		const struct change *c = sl_list_entry(pos, struct change, link);
		struct topic *t = NULL;

		if (c->type == SL_IPC_IMAGE_TOPIC)
			t = own_topic(a->next, &c->topic_id);
		for (uint32_t i = 0; t && i < t->partitions_count; i++)
			resolve_partition(a, t, i);
	}
}

/* Takes away what an old version of the topic had and the new image has not. */
static void retire_topic(struct apply *a, const struct change *c)
{
	const struct topic *old = image_topic_by_id(a->current, &c->topic_id);
	bool is_delete = c->type == SL_IPC_IMAGE_TOPIC_DELETE &&
	                 !image_topic_by_id(a->next, &c->topic_id);
	uint32_t purged;

	for (uint32_t i = 0; old && i < old->partitions_count; i++) {
		struct hosted *h = hosted_find(&a->table, &c->topic_id, (int32_t)i);

		if (h && h->round != a->round)
			hosted_retire(&a->table, h, is_delete);
	}
	if (!is_delete)
		return;
	/* What is on disk without being served: from before a restart, or it could not be opened.
	 */
	purged = logdirs_purge(a->opts.dirs, &c->topic_id);
	if (purged)
		sl_log(INFO, image, "deleted stray partitions count=%u", purged);
}

static void retire_rest(struct apply *a, const struct batch *b)
{
	struct sl_list *pos;
	struct hosted *h;
	uint32_t at = 0;

	sl_list_for_each(pos, &b->changes) {
		const struct change *c = sl_list_entry(pos, struct change, link);

		if (c->type != SL_IPC_IMAGE_BROKER)
			retire_topic(a, c);
	}
	if (!b->head.is_full)
		return;
	while ((h = hosted_next(&a->table, &at)))
		if (h->round != a->round)
			hosted_retire(&a->table, h, false);
}

static int begin_round(struct apply *a, struct batch *b)
{
	int rc = build(a, b);

	if (rc != 0) {
		sl_log(ERR, image, "build image revision=%" PRIu64 ": %s",
		       b ? b->head.revision : a->current->revision,
		       rc == -EEXIST ? "two topics have one name" : strerror(-rc));
		free_batch(b);
		return rc == -ENOMEM ? rc : -EPROTO;
	}
	a->running = b;
	a->is_orphan = false;
	a->round++;
	a->state = APPLY_OPENING;
	if (b) {
		resolve_batch(a, b);
		retire_rest(a, b);
	}
	return 1;
}

/* ---- A round: handing over ---- */

/* Points the new image at a partition that was opened in this round. */
static void enter(struct apply *a, struct hosted *h)
{
	struct topic *t = own_topic(a->next, &h->key.topic_id);
	struct topic *copy;

	if (!t || (uint32_t)h->key.index >= t->partitions_count)
		return;
	if (t->refs > 1) {
		/* Shared with the image that lanes read. */
		if (topic_copy(&copy, t) != 0 || image_put_topic(a->next, copy) != 0) {
			sl_log(ERR, image, "serve partition part=%s: no memory", h->p.name);
			return;
		}
		topic_put(copy);
		t = copy;
	}
	t->partitions[h->key.index].partition = &h->p;
}

static void send_round(struct apply *a)
{
	struct sl_list *pos;

	sl_list_for_each(pos, &a->table.opened) {
		struct hosted *h = sl_list_entry(pos, struct hosted, link);

		if (h->state != HOSTED_OPEN)
			continue;
		enter(a, h);
		h->is_attached = true;
		h->msg.partition = &h->p;
		post(a, &h->msg, LANE_MSG_ATTACH, (uint32_t)h->p.lane);
	}
	for (uint32_t i = 0; i < a->table.lanes_count; i++) {
		a->image_msgs[i].image = a->next;
		a->image_msgs[i].owner = NULL;
		post(a, &a->image_msgs[i], LANE_MSG_IMAGE, i);
	}
	a->state = APPLY_SENDING;
}

static void tell_partition(struct apply *a, const struct hosted *h)
{
	struct sl_ipc_partition head;

	if (h->state != HOSTED_OPEN && h->state != HOSTED_FAILED)
		return;
	hosted_describe(h, &head);
	a->opts.tell(a->opts.arg, SL_IPC_PARTITION, &head, sizeof(head));
}

static void tell_round(struct apply *a)
{
	struct sl_ipc_image ack = {.revision = a->current->revision};
	const struct hosted *h;
	struct sl_list *pos;
	uint32_t at = 0;

	if (a->is_orphan)
		return;
	if (a->running && a->running->head.is_full) {
		while ((h = hosted_next(&a->table, &at)))
			tell_partition(a, h);
	} else {
		sl_list_for_each(pos, &a->table.opened)
			tell_partition(a, sl_list_entry(pos, struct hosted, link));
	}
	if (a->running)
		a->opts.tell(a->opts.arg, SL_IPC_IMAGE_ACK, &ack, sizeof(ack));
}

static void end_round(struct apply *a)
{
	struct sl_list *pos, *tmp;

	image_destroy(a->current);
	a->current = a->next;
	a->next = NULL;
	tell_round(a);
	hosted_opened_clear(&a->table);
	/* Only now: until here a lane could find them in the old image. */
	sl_list_for_each_safe(pos, tmp, &a->table.retired) {
		struct hosted *h = sl_list_entry(pos, struct hosted, link);

		if (!h->is_attached)
			continue; /* DETACH is under way */
		h->is_attached = false;
		h->msg.partition = &h->p;
		post(a, &h->msg, LANE_MSG_DETACH, (uint32_t)h->p.lane);
	}
	if (a->running && a->running->head.is_full)
		(void)logdirs_report_strays(a->opts.dirs);
	sl_log(DEBUG, image,
	       "serve image revision=%" PRIu64 " topics=%u partitions=%" PRIu64 " waiting=%" PRIu64
	       " failed=%" PRIu64,
	       a->current->revision, a->current->by_id.count, a->table.states[HOSTED_OPEN],
	       a->table.states[HOSTED_WAITING], a->table.states[HOSTED_FAILED]);
	free_batch(a->running);
	a->running = NULL;
	a->state = APPLY_IDLE;
}

static int begin_next(struct apply *a)
{
	struct batch *b = sl_list_first(&a->queue, struct batch, link);

	if (!b && sl_list_is_empty(&a->table.ready))
		return 0;
	if (b) {
		sl_list_del(&b->link);
		a->queued_changes -= b->changes_count + 1;
	}
	return begin_round(a, b);
}

/* Tells every lane and the control process of the dirs that went offline, whoever found it. */
static void announce_dirs(struct apply *a)
{
	const uint32_t lanes = a->table.lanes_count;

	for (uint32_t i = 0; i < logdirs_count(a->opts.dirs); i++) {
		struct sl_ipc_log_dir head = {.log_dir = i,
		                              .error = logdirs_error(a->opts.dirs, i)};

		if (!head.error || a->dirs_announced & UINT64_C(1) << i)
			continue;
		a->dirs_announced |= UINT64_C(1) << i;
		a->opts.tell(a->opts.arg, SL_IPC_LOG_DIR, &head, sizeof(head));
		for (uint32_t lane = 0; lane < lanes; lane++) {
			struct lane_msg *msg = &a->dir_msgs[(size_t)i * lanes + lane];

			msg->log_dir = i;
			msg->error = head.error;
			post(a, msg, LANE_MSG_DIR_OFFLINE, lane);
		}
	}
}

int apply_poll(struct apply *a)
{
	announce_dirs(a);
	switch (a->state) {
	case APPLY_IDLE:
		return begin_next(a);
	case APPLY_OPENING:
		if (!hosted_open_some(&a->table, sl_mono_ns() + OPEN_SLICE_NS))
			send_round(a);
		return 1;
	case APPLY_SENDING:
		if (a->awaited > 0)
			return 0;
		end_round(a);
		return 1;
	case APPLY_STATE_NR:
		break;
	}
	SL_ASSERT(!"state of an unknown number");
	return 0;
}

void apply_returned(struct apply *a, struct lane_msg *msg)
{
	if (msg->type == LANE_MSG_DIR_OFFLINE)
		return;
	if (msg->type == LANE_MSG_DETACH) {
		/* Somebody who waited for the folder is opened by the next round. */
		(void)hosted_closed(&a->table, msg->owner);
		return;
	}
	SL_ASSERT(a->awaited > 0);
	a->awaited--;
}

/* ---- Disks ---- */

void apply_dir_failed(struct apply *a, uint32_t dir, int error)
{
	(void)logdirs_set_offline(a->opts.dirs, dir, error);
}
