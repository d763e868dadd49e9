/* SPDX-License-Identifier: Apache-2.0 */
/* Loading and appending for the coordinators.  Runs on the loop's thread. */
#include "statelog.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/clock.h"
#include "sluice/base/log.h"

#include "publish.h"

#define READ_BYTES     (UINT32_C(1) << 20)
#define READ_BYTES_MAX (UINT32_C(7) << 20)
/* Partitions that are read at the same time. */
#define LOADS_MAX      8
#define RETRY_MS       500
#define BATCH_HEAD     61

enum load_state {
	LOAD_NONE = 0, /* not served; a served image moves it on */
	LOAD_WAIT,     /* a read failed; the retry timer moves it on */
	LOAD_READING,  /* a read is on its way */
	LOAD_DONE,     /* served */
};

struct part {
	enum load_state state;
	bool is_begun; /* the coordinator was told */
	int64_t next;  /* next offset to read; -1: from the start of the log */
	int64_t begun_ms;
	uint32_t read_bytes;
};

struct statelog {
	struct control *c;
	const struct statelog_ops *ops;
	void *arg;
	bool has_topic;
	struct sl_uuid topic_id;
	struct part *parts; /* Owned */
	int32_t parts_count;
	uint32_t reading;
	uint64_t life;
	struct loop_timer retry;
	struct statelog_loads loads;
	struct recent appends;
};

/* An append or a read that is on its way. */
struct pending {
	struct statelog *s;
	uint64_t life;
	int32_t partition;
	uint64_t cookie;
	uint64_t begun_ns; /* of an append */
};

static void pump(struct statelog *s);

/* ---- Appending ---- */

static void append_done(void *arg, enum sl_kerr kerr, int64_t base_offset)
{
	struct pending p = *(struct pending *)arg;
	struct statelog *s = p.s;
	bool is_current = p.life == s->life;

	free(arg);
	recent_add(&s->appends, loop_mono_ms(s->c->loop), (sl_mono_ns() - p.begun_ns) / 1000);
	if (kerr != SL_KERR_NONE) {
		control_count(s->c, s->ops->append_errors);
		sl_log(WARN, group, "fail append topic=%s part=%d error=%s", s->ops->topic,
		       p.partition, sl_kerr_name(kerr));
	}
	if (is_current && !s->c->is_stopping)
		s->ops->appended(s->arg, p.partition, p.cookie, kerr, base_offset);
}

static int lane_of(const struct statelog *s, int32_t partition)
{
	const struct meta_topic *t = meta_topic_by_id(s->c->meta, &s->topic_id);

	if (!s->has_topic || !t || partition < 0 || partition >= t->rec.partitions_count)
		return -1;
	return control_lane_of(s->c, t->rec.partitions[partition].leader_id);
}

void statelog_append(struct statelog *s, int32_t partition, uint64_t cookie, struct sl_bytes batch)
{
	struct pending *p = calloc(1, sizeof(*p));
	int lane = lane_of(s, partition);

	SL_ASSERT(p);
	*p = (struct pending){s, s->life, partition, cookie, sl_mono_ns()};
	control_count(s->c, s->ops->appends);
	/* Without a leader any lane answers that it is not the one. */
	link_append(s->c->link, lane < 0 ? 0 : (uint32_t)lane, &s->topic_id, partition, batch,
	            append_done, p);
}

int32_t statelog_epoch(const struct statelog *s, int32_t partition)
{
	const struct meta_topic *t = meta_topic_by_id(s->c->meta, &s->topic_id);

	if (!s->has_topic || !t || partition < 0 || partition >= t->rec.partitions_count)
		return 0;
	return t->rec.partitions[partition].leader_epoch;
}

/* ---- Loading ---- */

/* Bytes of the complete batches at the start of @b; *next is the offset after them. */
static int32_t whole_batches(struct sl_bytes b, int64_t *next)
{
	const uint8_t *p = b.p;
	int32_t pos = 0;

	while (b.len - pos >= BATCH_HEAD) {
		int64_t base = (int64_t)sl_load_be64(p + pos);
		int32_t length = (int32_t)sl_load_be32(p + pos + 8);
		int32_t delta = (int32_t)sl_load_be32(p + pos + 23);

		if (length < BATCH_HEAD - 12 || length > b.len - pos - 12 || base < 0 || delta < 0)
			break;
		*next = base + delta + 1;
		pos += 12 + length;
	}
	return pos;
}

static void retry_later(struct statelog *s, int32_t partition, enum sl_kerr kerr)
{
	struct loop *loop = s->c->loop;

	control_count(s->c, s->ops->load_errors);
	sl_log(WARN, group, "retry load topic=%s part=%d error=%s", s->ops->topic, partition,
	       sl_kerr_name(kerr));
	s->parts[partition].state = LOAD_WAIT;
	if (s->retry.place == 0 &&
	    loop_timer_set(loop, &s->retry, loop_mono_ms(loop) + RETRY_MS) < 0)
		sl_log(ERR, group, "stop loading reason=\"out of memory\"");
}

static void on_retry(void *arg)
{
	struct statelog *s = arg;

	for (int32_t i = 0; i < s->parts_count; i++) {
		if (s->parts[i].state == LOAD_WAIT)
			s->parts[i].state = LOAD_NONE;
	}
	pump(s);
}

static void read_done(void *arg, const struct link_read_result *res);

static void read_next(struct statelog *s, int32_t partition)
{
	struct part *part = &s->parts[partition];
	const struct sl_slot *slot = control_slot(s->c, &s->topic_id, partition);
	struct pending *p = calloc(1, sizeof(*p));
	int lane = lane_of(s, partition);
	struct link_read_opts opts = {
		.lane = lane < 0 ? 0 : (uint32_t)lane,
		.topic_id = s->topic_id,
		.partition = partition,
		.bytes_max = part->read_bytes,
	};

	SL_ASSERT(p);
	if (part->next < 0 && slot)
		part->next = atomic_load_explicit(&slot->log_start, memory_order_relaxed);
	opts.offset = SL_MAX(part->next, (int64_t)0);
	*p = (struct pending){.s = s, .life = s->life, .partition = partition};
	part->state = LOAD_READING;
	s->reading++;
	link_read(s->c->link, &opts, read_done, p);
}

/* Return: whether the partition is complete; false: read on. */
static bool take_batches(struct statelog *s, int32_t partition, const struct link_read_result *res)
{
	struct part *part = &s->parts[partition];
	int64_t next = part->next;
	int32_t bytes = whole_batches(res->batches, &next);

	if (bytes > 0 && next > part->next) {
		part->next = next;
		part->read_bytes = READ_BYTES;
		s->ops->batches(s->arg, partition, (struct sl_bytes){res->batches.p, bytes});
	} else if (part->next < res->log_end) {
		/* The next batch is larger than what was asked for. */
		part->read_bytes = SL_MIN(part->read_bytes * 2, READ_BYTES_MAX);
	}
	return part->next >= res->log_end;
}

static void count_load(struct statelog *s, const struct part *part)
{
	int64_t ms = loop_mono_ms(s->c->loop) - part->begun_ms;

	control_count(s->c, s->ops->loads);
	s->loads.count++;
	s->loads.sum_ms += ms;
	s->loads.max_ms = SL_MAX(s->loads.max_ms, ms);
}

static void read_done(void *arg, const struct link_read_result *res)
{
	struct pending *p = arg;
	struct statelog *s = p->s;
	int32_t partition = p->partition;
	bool is_current = p->life == s->life;
	struct part *part;
	uint32_t before;

	free(p);
	if (!is_current || s->c->is_stopping)
		return;
	s->reading--;
	part = &s->parts[partition];
	part->next = SL_MAX(part->next, (int64_t)0);
	before = part->read_bytes;
	if (res->kerr == SL_KERR_OFFSET_OUT_OF_RANGE && part->next < res->log_start) {
		part->next = res->log_start;
		read_next(s, partition);
	} else if (res->kerr != SL_KERR_NONE) {
		retry_later(s, partition, res->kerr);
	} else if (take_batches(s, partition, res)) {
		part->state = LOAD_DONE;
		count_load(s, part);
		s->ops->end(s->arg, partition);
	} else if (before == READ_BYTES_MAX && part->read_bytes == READ_BYTES_MAX) {
		/* Nothing came although there is more: a damaged or impossibly large batch. */
		retry_later(s, partition, SL_KERR_CORRUPT_MESSAGE);
	} else {
		read_next(s, partition);
	}
	pump(s);
}

/* Tells the coordinator that the partition will be served: clients wait instead of looking
 * elsewhere. */
static void begin(struct statelog *s, int32_t partition)
{
	struct part *part = &s->parts[partition];

	if (part->is_begun)
		return;
	*part = (struct part){.is_begun = true,
	                      .next = -1,
	                      .begun_ms = loop_mono_ms(s->c->loop),
	                      .read_bytes = READ_BYTES};
	s->ops->begin(s->arg, partition);
}

/* Starts as many reads as may run. */
static void pump(struct statelog *s)
{
	if (!s->has_topic || !publish_is_served(s->c->publish))
		return;
	for (int32_t i = 0; i < s->parts_count && s->reading < LOADS_MAX; i++) {
		struct part *part = &s->parts[i];

		if (part->state != LOAD_NONE || !control_slot(s->c, &s->topic_id, i))
			continue;
		begin(s, i);
		read_next(s, i);
	}
}

static void unload_all(struct statelog *s)
{
	s->life++;
	s->reading = 0;
	loop_timer_stop(s->c->loop, &s->retry);
	for (int32_t i = 0; i < s->parts_count; i++) {
		bool was_begun = s->parts[i].is_begun;

		s->parts[i] = (struct part){.next = -1};
		if (was_begun)
			s->ops->unload(s->arg, i);
	}
}

void statelog_attached(struct statelog *s)
{
	for (int32_t i = 0; s->has_topic && i < s->parts_count; i++)
		begin(s, i);
}

void statelog_served(struct statelog *s)
{
	pump(s);
}

void statelog_opened(struct statelog *s, const struct sl_uuid *id)
{
	if (s->has_topic && sl_uuid_eq(id, &s->topic_id))
		pump(s);
}

void statelog_lost(struct statelog *s)
{
	unload_all(s);
}

static int resize(struct statelog *s, int32_t partitions_count)
{
	struct part *parts = calloc((size_t)partitions_count, sizeof(*parts));
	int rc = parts ? s->ops->resize(s->arg, partitions_count) : -ENOMEM;

	if (rc < 0) {
		free(parts);
		return rc;
	}
	free(s->parts);
	s->parts = parts;
	s->parts_count = partitions_count;
	return 0;
}

/* The topic exists, maybe with another number of partitions than the coordinator was made for. */
static int adopt_topic(struct statelog *s, const struct meta_topic *t)
{
	s->has_topic = true;
	s->topic_id = t->rec.topic_id;
	if (s->parts_count == t->rec.partitions_count)
		return 0;
	unload_all(s);
	return resize(s, t->rec.partitions_count);
}

void statelog_changed(struct statelog *s, const struct meta_change *change)
{
	if (change->type == META_REC_TOPIC && sl_str_eq_c(change->after->rec.name, s->ops->topic)) {
		int rc = adopt_topic(s, change->after);

		SL_ASSERT(rc == 0);
	} else if (change->type == META_REC_TOPIC_DELETE && s->has_topic &&
	           sl_uuid_eq(&change->topic_id, &s->topic_id)) {
		unload_all(s);
		s->has_topic = false;
	}
}

uint64_t statelog_life(const struct statelog *s)
{
	return s->life;
}

int32_t statelog_partitions(const struct statelog *s)
{
	return s->parts_count;
}

void statelog_progress(const struct statelog *s, uint32_t *loaded, uint32_t *total)
{
	*loaded = 0;
	*total = s->has_topic ? (uint32_t)s->parts_count : 0;
	for (int32_t i = 0; i < s->parts_count; i++)
		*loaded += s->parts[i].state == LOAD_DONE;
}

void statelog_loads(const struct statelog *s, struct statelog_loads *out)
{
	*out = s->loads;
}

const struct recent *statelog_appends(const struct statelog *s)
{
	return &s->appends;
}

int statelog_create(struct statelog **out, struct control *c, const struct statelog_ops *ops,
                    void *arg, int32_t partitions_count)
{
	const struct meta_topic *t = meta_topic_by_name(c->meta, sl_str_from(ops->topic));
	struct statelog *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return -ENOMEM;
	s->c = c;
	s->ops = ops;
	s->arg = arg;
	s->retry = (struct loop_timer){.fn = on_retry, .arg = s};
	rc = resize(s, t ? t->rec.partitions_count : partitions_count);
	if (rc < 0) {
		free(s);
		return rc;
	}
	if (t) {
		s->has_topic = true;
		s->topic_id = t->rec.topic_id;
	}
	*out = s;
	return 0;
}

void statelog_destroy(struct statelog *s)
{
	if (!s)
		return;
	loop_timer_stop(s->c->loop, &s->retry);
	free(s->parts);
	free(s);
}
