/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life of a hosted partition.  At most one has a folder at a time: who comes later waits until the
 * earlier one has closed its log, which may take as long as a slow consumer holds a piece of it.
 */
#include "hosted.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/clock.h"
#include "sluice/base/crew.h"
#include "sluice/base/log.h"
#include "sluice/ipc/msg.h"

#define OPENINGS_MAX 64 /* logs that are being opened at a time */
#define CLOSINGS_MAX 256
#define CREW_THREADS 8 /* most of them wait for the disk; when opening each may need 1 MiB */

/* A log that is being opened, by any thread of the crew. */
struct hosted_opening {
	struct hosted *h;
	struct sl_log_opts opts;
	char topic[LOGDIRS_NAME_MAX]; /* opts.topic */
	struct sl_log_recovery report;
	struct sl_log *log; /* Owned until it is the partition's */
	uint64_t deadline_ns;
	bool is_tried;
	int rc;
};

/* A log that is being closed, by any thread of the crew. */
struct hosted_closing {
	struct hosted *h;
	int rc;
};

_Static_assert(CREW_THREADS <= SL_CREW_THREADS_MAX, "a crew has so many");
_Static_assert(sizeof(struct hosted_key) == 20, "no padding in a hash key");
_Static_assert(sizeof(((struct partition *)0)->name) == LOGDIRS_NAME_MAX,
               "a partition's name is its folder's");

#define STATE_NAME_(s) #s,
static const char *const state_names[HOSTED_STATE_NR] = {HOSTED_STATES(STATE_NAME_)};
#undef STATE_NAME_

const char *hosted_state_name(enum hosted_state state)
{
	return state < HOSTED_STATE_NR ? state_names[state] : "?";
}

/* What may follow what; bit s: state s may. */
static const uint32_t moves[HOSTED_STATE_NR] = {
	[HOSTED_WAITING] = 1u << HOSTED_READY,
	[HOSTED_READY] = 1u << HOSTED_OPEN | 1u << HOSTED_FAILED | 1u << HOSTED_WAITING,
	[HOSTED_OPEN] = 1u << HOSTED_RETIRED,
	[HOSTED_FAILED] = 1u << HOSTED_READY | 1u << HOSTED_WAITING,
	[HOSTED_RETIRED] = 0,
};

static void set_state(struct hosted_table *t, struct hosted *h, enum hosted_state state)
{
	SL_ASSERT(moves[h->state] & 1u << state);
	t->states[h->state]--;
	t->states[state]++;
	sl_log(DEBUG, host, "move part=%s lane=%d epoch=%d from=%s to=%s", h->p.name,
	       (int)h->p.lane, (int)h->p.leader_epoch, state_names[h->state], state_names[state]);
	h->state = state;
	sl_list_del(&h->link);
	switch (state) {
	case HOSTED_WAITING:
		sl_list_push_back(&t->waiting, &h->link);
		break;
	case HOSTED_READY:
		sl_list_push_back(&t->ready, &h->link);
		break;
	case HOSTED_OPEN:
	case HOSTED_FAILED:
		sl_list_push_back(&t->opened, &h->link);
		break;
	case HOSTED_RETIRED:
		sl_list_push_back(&t->retired, &h->link);
		break;
	case HOSTED_STATE_NR:
		break;
	}
}

int hosted_init(struct hosted_table *t, struct logdirs *dirs, struct sl_shm *shm, uint32_t lane_max)
{
	memset(t, 0, sizeof(*t));
	t->dirs = dirs;
	t->shm = shm;
	t->lanes_count = shm->lanes_count;
	t->lane_max = lane_max;
	sl_list_init(&t->waiting);
	sl_list_init(&t->ready);
	sl_list_init(&t->opened);
	sl_list_init(&t->retired);
	t->lane_counts = calloc(t->lanes_count, sizeof(*t->lane_counts));
	t->free_slots = calloc(shm->slots_count, sizeof(*t->free_slots));
	t->openings = calloc(OPENINGS_MAX, sizeof(*t->openings));
	if (!t->lane_counts || !t->free_slots || !t->openings) {
		free(t->lane_counts);
		free(t->free_slots);
		free(t->openings);
		return -ENOMEM;
	}
	/* Low numbers first, so that the shared memory is touched densely. */
	for (uint32_t i = shm->slots_count; i > 0; i--)
		t->free_slots[t->free_slots_count++] = i - 1;
	return 0;
}

struct hosted *hosted_find(const struct hosted_table *t, const struct sl_uuid *topic_id,
                           int32_t index)
{
	struct hosted_key key = {*topic_id, index};

	return sl_map_get(&t->by_key, &key, sizeof(key));
}

struct hosted *hosted_next(const struct hosted_table *t, uint32_t *pos)
{
	return sl_map_next(&t->by_key, pos);
}

/* ---- Slots: chosen here, filled by the lane when it attaches the partition ---- */

static bool take_slot(struct hosted_table *t, struct hosted *h)
{
	uint32_t lane = (uint32_t)h->p.lane;

	SL_ASSERT(h->slot == UINT32_MAX && lane < t->lanes_count);
	if (t->free_slots_count == 0 || t->lane_counts[lane] >= t->lane_max)
		return false;
	h->slot = t->free_slots[--t->free_slots_count];
	t->lane_counts[lane]++;
	h->p.slot = sl_shm_slot(t->shm, h->slot);
	return true;
}

static void drop_slot(struct hosted_table *t, struct hosted *h)
{
	if (h->slot == UINT32_MAX)
		return;
	atomic_store_explicit(&h->p.slot->state, SL_SLOT_FREE, memory_order_relaxed);
	t->free_slots[t->free_slots_count++] = h->slot;
	t->lane_counts[h->p.lane]--;
	h->slot = UINT32_MAX;
	h->p.slot = NULL;
}

/* ---- Opening ---- */

static void fill(struct hosted *h, const struct hosted_want *want)
{
	h->config = want->topic->config;
	h->p.topic_id = want->topic->id;
	h->p.index = want->index;
	h->p.lane = want->lane;
	h->p.leader_epoch = want->leader_epoch;
	h->p.flush = h->config.flush;
}

/* READY when the folder is free, and then it is taken. */
static int claim(struct hosted_table *t, struct hosted *h)
{
	if (sl_map_get(&t->by_folder, h->p.name, strlen(h->p.name))) {
		set_state(t, h, HOSTED_WAITING);
		return 0;
	}
	if (sl_map_put(&t->by_folder, h->p.name, strlen(h->p.name), h) != 0)
		return -ENOMEM;
	if (h->state == HOSTED_READY)
		sl_list_push_back(&t->ready, &h->link);
	else
		set_state(t, h, HOSTED_READY);
	return 0;
}

int hosted_add(struct hosted **out, struct hosted_table *t, const struct hosted_want *want)
{
	struct hosted *h = calloc(1, sizeof(*h));
	int n;

	SL_ASSERT(want->lane >= 0 && (uint32_t)want->lane < t->lanes_count);
	if (!h)
		return -ENOMEM;
	n = snprintf(h->p.name, sizeof(h->p.name), "%s-%d", want->topic->name, (int)want->index);
	SL_ASSERT(n > 0 && (size_t)n < sizeof(h->p.name));
	sl_list_init(&h->link);
	sl_list_init(&h->p.lane_link);
	sl_list_init(&h->p.dirty_link);
	sl_list_init(&h->p.fetch_waiters);
	sl_list_init(&h->p.sync_waiters);
	sl_list_init(&h->msg.link);
	h->key.topic_id = want->topic->id;
	h->key.index = want->index;
	h->slot = UINT32_MAX;
	h->msg.owner = h;
	h->state = HOSTED_READY;
	fill(h, want);
	if (sl_map_put(&t->by_key, &h->key, sizeof(h->key), h) != 0) {
		free(h);
		return -ENOMEM;
	}
	t->states[HOSTED_READY]++;
	if (claim(t, h) != 0) {
		(void)sl_map_del(&t->by_key, &h->key, sizeof(h->key));
		t->states[h->state]--;
		free(h);
		return -ENOMEM;
	}
	*out = h;
	return 0;
}

void hosted_retry(struct hosted_table *t, struct hosted *h)
{
	SL_ASSERT(h->state == HOSTED_FAILED);
	h->error = 0;
	/* Without memory it stays FAILED until the next change. */
	if (claim(t, h) != 0)
		h->error = -ENOMEM;
}

static void report_recovery(const struct hosted *h, const struct sl_log_recovery *r)
{
	if (r->cut_bytes)
		sl_log(WARN, host,
		       "cut log part=%s dir=%u offset=%" PRId64 " bytes=%" PRIu64 " reason=\"%s\"",
		       h->p.name, h->p.log_dir, r->cut_offset, r->cut_bytes, r->reason);
	else if (r->scanned_bytes)
		sl_log(DEBUG, host, "recovered log part=%s bytes=%" PRIu64 " segments=%u",
		       h->p.name, r->scanned_bytes, r->segments);
}

static void fill_opening(struct hosted_table *t, struct hosted *h, struct hosted_opening *o)
{
	*o = (struct hosted_opening){.h = h};
	memcpy(o->topic, h->p.name, sizeof(o->topic));
	*strrchr(o->topic, '-') = '\0';
	o->opts = (struct sl_log_opts){
		.files = logdirs_files(t->dirs),
		.dirfd = logdirs_fd(t->dirs, h->folder->dir),
		.topic = o->topic,
		.partition = h->key.index,
		.topic_id = h->key.topic_id,
		.config = h->config.log,
		.hot = t->hot ? t->hot[h->p.lane] : NULL,
		.recycler = logdirs_recycler(t->dirs, h->folder->dir, (uint32_t)h->p.lane),
		.was_clean = h->folder->is_clean,
		.now_ms = sl_wall_ms(),
	};
}

/* Makes an opened log the partition's.  Return: 0 or what the attempt came to. */
static int take_log(struct hosted *h, struct hosted_opening *o)
{
	int rc = 0;

	if (o->rc != 0)
		return o->rc;
	h->folder->is_clean = false;
	report_recovery(h, &o->report);
	if (h->p.leader_epoch != sl_log_epoch(o->log))
		rc = sl_log_epoch_begin(o->log, h->p.leader_epoch);
	if (rc != 0) {
		(void)sl_log_close(o->log, false);
		return rc;
	}
	h->p.log = o->log;
	h->folder->topic_id = h->key.topic_id;
	return 0;
}

static int open_log(struct hosted_table *t, struct hosted *h)
{
	struct hosted_opening o;

	fill_opening(t, h, &o);
	o.rc = sl_log_open(&o.log, &o.opts, &o.report);
	return take_log(h, &o);
}

static void release_folder(struct hosted_table *t, struct hosted *h)
{
	(void)sl_map_del(&t->by_folder, h->p.name, strlen(h->p.name));
	if (h->folder)
		h->folder->is_hosted = false;
	h->folder = NULL;
}

/*
 * In the dir where the folder is, else in the best one.  A dir in which a new folder cannot be made
 * is offline from then on, and the next one is tried; a folder that was there before stays where
 * its data is.
 */
static int place_and_open(struct hosted_table *t, struct hosted *h)
{
	int error = 0;

	for (;;) {
		bool is_new = !logdirs_find(t->dirs, h->p.name);
		int rc = logdirs_place(t->dirs, h->p.name, &h->key.topic_id, &h->folder);

		if (rc != 0)
			return error ? error : rc;
		h->folder->is_hosted = true;
		h->p.log_dir = h->folder->dir;
		rc = open_log(t, h);
		if (rc == 0 || !sl_log_is_disk_error(rc))
			return rc;
		(void)logdirs_set_offline(t->dirs, h->p.log_dir, rc);
		if (!is_new)
			return rc;
		logdirs_forget(t->dirs, h->folder);
		h->folder = NULL;
		error = rc;
	}
}

/* The end of an attempt. */
static void end_opening(struct hosted_table *t, struct hosted *h, int rc)
{
	/* The folder is of a topic that was deleted while nobody could remove it.  No image has
	 * that topic, or this one could not have its name. */
	if (rc == -ESTALE && logdirs_set_aside(t->dirs, h->folder) == 0) {
		h->folder = NULL;
		rc = place_and_open(t, h);
	}
	if (rc == 0) {
		set_state(t, h, HOSTED_OPEN);
		return;
	}
	drop_slot(t, h);
	h->error = rc;
	sl_log(ERR, host, "open partition part=%s lane=%d epoch=%d: %s", h->p.name, (int)h->p.lane,
	       (int)h->p.leader_epoch,
	       logdirs_online(t->dirs) == 0 ? "every log dir is offline"
	       : rc == -ESTALE              ? "its folder belongs to another topic id"
	       : rc == -EDQUOT              ? "the lane has lane.partitions.max partitions"
	                                    : strerror(-rc));
	release_folder(t, h);
	set_state(t, h, HOSTED_FAILED);
}

static void open_first(struct hosted_table *t)
{
	struct hosted *h = sl_list_first(&t->ready, struct hosted, link);

	end_opening(t, h, take_slot(t, h) ? place_and_open(t, h) : -EDQUOT);
}

/* ---- Opening several at a time: after a crash each waits for the disk a few times ---- */

/* A new folder may be tried in several dirs: that is open_first()'s. */
static bool prepare(struct hosted_table *t, struct hosted *h, struct hosted_opening *o)
{
	if (!logdirs_find(t->dirs, h->p.name) || !take_slot(t, h))
		return false;
	if (logdirs_place(t->dirs, h->p.name, &h->key.topic_id, &h->folder) != 0) {
		drop_slot(t, h);
		return false;
	}
	h->folder->is_hosted = true;
	h->p.log_dir = h->folder->dir;
	fill_opening(t, h, o);
	return true;
}

/* It stays READY. */
static void undo(struct hosted_table *t, const struct hosted_opening *o)
{
	o->h->folder->is_hosted = false;
	o->h->folder = NULL;
	drop_slot(t, o->h);
}

/* Touches nothing but the log and its folder. */
static void try_opening(void *arg, uint32_t index, uint32_t worker SL_UNUSED)
{
	struct hosted_opening *o = (struct hosted_opening *)arg + index;

	o->is_tried = index == 0 || sl_mono_ns() < o->deadline_ns;
	if (o->is_tried)
		o->rc = sl_log_open(&o->log, &o->opts, &o->report);
}

/* In the order in which they would have been opened one by one, and with what that comes to: a dir
 * that failed serves no log which comes after. */
static void end_one_of_many(struct hosted_table *t, struct hosted_opening *o)
{
	struct hosted *h = o->h;
	int rc = o->rc;

	if (logdirs_error(t->dirs, h->p.log_dir)) {
		if (rc == 0)
			(void)sl_log_close(o->log, false);
		rc = -EIO;
	} else {
		rc = take_log(h, o);
	}
	if (sl_log_is_disk_error(rc))
		(void)logdirs_set_offline(t->dirs, h->p.log_dir, rc);
	end_opening(t, h, rc);
}

/* Return: how many of the first READY ones were dealt with; 0: the first is to be opened alone. */
static uint32_t open_many(struct hosted_table *t, uint64_t deadline_ns)
{
	struct sl_list *pos;
	uint32_t count = 0;
	uint32_t done = 0;

	sl_list_for_each(pos, &t->ready) {
		struct hosted *h = sl_list_entry(pos, struct hosted, link);

		if (count == OPENINGS_MAX || !prepare(t, h, &t->openings[count]))
			break;
		t->openings[count++].deadline_ns = deadline_ns;
	}
	sl_crew_run(count, CREW_THREADS, try_opening, t->openings);
	/* Slots go back in the order opposite to that in which they were taken. */
	for (uint32_t i = count; i > 0; i--)
		if (!t->openings[i - 1].is_tried)
			undo(t, &t->openings[i - 1]);
	for (uint32_t i = 0; i < count; i++) {
		if (!t->openings[i].is_tried)
			continue;
		end_one_of_many(t, &t->openings[i]);
		done++;
	}
	return done;
}

bool hosted_open_some(struct hosted_table *t, uint64_t deadline_ns)
{
	while (!sl_list_is_empty(&t->ready)) {
		if (open_many(t, deadline_ns) == 0)
			open_first(t);
		if (sl_mono_ns() >= deadline_ns)
			break;
	}
	return !sl_list_is_empty(&t->ready);
}

void hosted_opened_clear(struct hosted_table *t)
{
	while (!sl_list_is_empty(&t->opened))
		sl_list_del(t->opened.next);
}

/* ---- Closing ---- */

/* Closes or deletes the log and touches nothing else of the table. */
static int close_log(struct hosted *h)
{
	SL_ASSERT(h->p.log && h->folder);
	return h->is_delete ? sl_log_delete(h->p.log) : sl_log_close(h->p.log, true);
}

/* @rc: of close_log().  The folder is free afterwards. */
static void end_closing(struct hosted_table *t, struct hosted *h, int rc)
{
	if (h->is_delete) {
		uint32_t dir = h->folder->dir;

		if (rc != 0) {
			sl_log(ERR, host, "delete partition part=%s: %s", h->p.name, strerror(-rc));
		} else {
			logdirs_forget(t->dirs, h->folder);
			h->folder = NULL;
			logdirs_want_sweep(t->dirs, dir);
		}
	} else {
		h->folder->is_clean = rc == 0;
		if (rc != 0)
			sl_log(ERR, host, "close partition part=%s: %s; the next open scans it",
			       h->p.name, strerror(-rc));
	}
	if (sl_log_is_disk_error(rc))
		(void)logdirs_set_offline(t->dirs, h->p.log_dir, rc);
	h->p.log = NULL;
	release_folder(t, h);
}

static void free_hosted(struct hosted_table *t, struct hosted *h)
{
	t->states[h->state]--;
	sl_list_del(&h->link);
	free(h);
}

/* The next in line for a folder, if somebody waits.  Few ever do. */
static bool pass_on(struct hosted_table *t, const char *name)
{
	struct sl_list *pos;

	sl_list_for_each(pos, &t->waiting) {
		struct hosted *h = sl_list_entry(pos, struct hosted, link);

		if (strcmp(h->p.name, name) != 0)
			continue;
		if (claim(t, h) == 0)
			return true;
		sl_log(ERR, host, "open partition part=%s: no memory", name);
		return false;
	}
	return false;
}

void hosted_retire(struct hosted_table *t, struct hosted *h, bool is_delete)
{
	struct hosted *holder = sl_map_get(&t->by_folder, h->p.name, strlen(h->p.name));

	SL_ASSERT(h->state != HOSTED_RETIRED);
	SL_ASSERT(sl_map_del(&t->by_key, &h->key, sizeof(h->key)) == h);
	h->is_delete = is_delete;
	if (h->state == HOSTED_OPEN) {
		set_state(t, h, HOSTED_RETIRED);
		return;
	}
	/* An earlier life of the same partition is still closing: it is its folder. */
	if (holder && holder != h && sl_uuid_eq(&holder->key.topic_id, &h->key.topic_id))
		holder->is_delete |= is_delete;
	if (holder == h)
		release_folder(t, h);
	free_hosted(t, h);
}

bool hosted_closed(struct hosted_table *t, struct hosted *h)
{
	char name[LOGDIRS_NAME_MAX];

	SL_ASSERT(h->state == HOSTED_RETIRED);
	memcpy(name, h->p.name, sizeof(name));
	drop_slot(t, h);
	end_closing(t, h, close_log(h));
	free_hosted(t, h);
	return pass_on(t, name);
}

/* The lane may have ended between the two halves of a group commit. */
static void end_sync(struct hosted *h)
{
	if (!h->p.sync_running)
		return;
	/* Its result is lost, so nothing may vouch for this log: the next open scans it. */
	sl_log_sync_end(h->p.log, &h->p.sync, -EINTR);
	h->p.sync_running = false;
}

static void try_closing(void *arg, uint32_t index, uint32_t worker SL_UNUSED)
{
	struct hosted_closing *c = (struct hosted_closing *)arg + index;

	c->rc = close_log(c->h);
}

/* Some of the RETIRED ones, of which no lane has any.  Return: 0 or the first error. */
static int close_many(struct hosted_table *t)
{
	struct hosted_closing closings[CLOSINGS_MAX];
	struct hosted *h;
	uint32_t count = 0;
	int result = 0;

	while (count < CLOSINGS_MAX && (h = sl_list_first(&t->retired, struct hosted, link))) {
		sl_list_del(&h->link);
		end_sync(h);
		drop_slot(t, h);
		closings[count++].h = h;
	}
	sl_crew_run(count, CREW_THREADS, try_closing, closings);
	for (uint32_t i = 0; i < count; i++) {
		end_closing(t, closings[i].h, closings[i].rc);
		free_hosted(t, closings[i].h);
		result = result ? result : closings[i].rc;
	}
	return result;
}

int hosted_fini(struct hosted_table *t)
{
	struct hosted *h;
	uint32_t pos = 0;
	int result = 0;

	if (!t->dirs)
		return 0;
	while ((h = sl_map_next(&t->by_key, &pos))) {
		(void)sl_map_del(&t->by_key, &h->key, sizeof(h->key));
		if (h->state == HOSTED_OPEN)
			set_state(t, h, HOSTED_RETIRED);
		else
			free_hosted(t, h);
	}
	while (!sl_list_is_empty(&t->retired)) {
		int rc = close_many(t);

		result = result ? result : rc;
	}
	sl_map_fini(&t->by_key);
	sl_map_fini(&t->by_folder);
	free(t->lane_counts);
	free(t->free_slots);
	free(t->openings);
	memset(t, 0, sizeof(*t));
	return result;
}

void hosted_describe(const struct hosted *h, struct sl_ipc_partition *out)
{
	*out = (struct sl_ipc_partition){
		.topic_id = h->key.topic_id,
		.partition = h->key.index,
		.slot = h->state == HOSTED_OPEN ? h->slot : UINT32_MAX,
		.error = h->state == HOSTED_FAILED ? h->error : 0,
		.log_dir = h->p.log_dir,
	};
}
