/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Glue around the pure group coordinator.  Runs on the loop's thread.
 *
 * When the data plane goes away every partition is unloaded, and read again after the next
 * attachment: the outcome of appends that were on their way is unknown, and the log is the truth.
 */
#include "offsets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "group/group.h"
#include "sluice/base/assert.h"
#include "sluice/base/log.h"

#include "publish.h"

#define READ_BYTES     (UINT32_C(1) << 20)
#define READ_BYTES_MAX (UINT32_C(7) << 20)
/* Partitions that are read at the same time. */
#define LOADS_MAX      8
#define RETRY_MS       500
#define BATCH_HEAD     61
#define RANDOM_BYTES   512

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
	uint32_t read_bytes;
};

struct offsets {
	struct control *c;
	struct group_coord *coord; /* Owned */
	bool has_topic;
	struct sl_uuid topic_id;
	struct part *parts; /* Owned */
	int32_t parts_count;
	uint32_t reading;
	uint64_t life; /* rises when everything is unloaded: late answers are told by it */
	struct loop_timer tick;
	struct loop_timer retry;
	uint8_t random[RANDOM_BYTES];
	size_t random_left;
};

/* An append or a read that is on its way. */
struct pending {
	struct offsets *o;
	uint64_t life;
	int32_t partition;
	uint64_t cookie;
};

static void pump(struct offsets *o);

/* ---- What the coordinator asks about topics ---- */

static bool has_partition(void *ctx, struct sl_str topic, int32_t partition)
{
	const struct offsets *o = ctx;
	const struct meta_topic *t = meta_topic_by_name(o->c->meta, topic);

	return t && partition >= 0 && partition < t->rec.partitions_count;
}

static bool topic_name(void *ctx, const struct sl_uuid *id, struct sl_str *name)
{
	const struct offsets *o = ctx;
	const struct meta_topic *t = meta_topic_by_id(o->c->meta, id);

	if (t)
		*name = t->rec.name;
	return t != NULL;
}

static bool topic_id(void *ctx, struct sl_str name, struct sl_uuid *id)
{
	const struct offsets *o = ctx;
	const struct meta_topic *t = meta_topic_by_name(o->c->meta, name);

	if (t)
		*id = t->rec.topic_id;
	return t != NULL;
}

static int32_t topic_partitions(void *ctx, struct sl_str topic)
{
	const struct offsets *o = ctx;
	const struct meta_topic *t = meta_topic_by_name(o->c->meta, topic);

	return t ? t->rec.partitions_count : 0;
}

/* Patterns do not reach internal topics, as Kafka's consumers leave them out. */
static bool topic_next(void *ctx, uint32_t *pos, struct sl_str *name)
{
	const struct offsets *o = ctx;

	while (*pos < meta_topics_count(o->c->meta)) {
		const struct meta_topic *t = meta_topic_at(o->c->meta, (*pos)++);

		if (t->is_internal)
			continue;
		*name = t->rec.name;
		return true;
	}
	return false;
}

static enum group_migration migration_policy(const struct sl_conf *conf)
{
	const char *word = sl_conf_str(conf, SL_CK_group_consumer_migration_policy);

	if (strcmp(word, "bidirectional") == 0)
		return GROUP_MIGRATE_BOTH;
	if (strcmp(word, "upgrade") == 0)
		return GROUP_MIGRATE_UPGRADE;
	return strcmp(word, "downgrade") == 0 ? GROUP_MIGRATE_DOWNGRADE : GROUP_MIGRATE_NONE;
}

/* Adds the assignor unless it is there. */
static void add_assignor(struct group_opts *opts, enum group_assignor assignor)
{
	for (uint32_t i = 0; i < opts->assignors_count; i++) {
		if (opts->assignors[i] == assignor)
			return;
	}
	opts->assignors[opts->assignors_count++] = assignor;
}

static void set_consumer_opts(const struct sl_conf *conf, struct group_opts *opts)
{
	const char *word = sl_conf_str(conf, SL_CK_group_consumer_assignors);

	opts->consumer = (struct group_conf){
		(int32_t)sl_conf_int(conf, SL_CK_group_consumer_session_timeout_ms),
		(int32_t)sl_conf_int(conf, SL_CK_group_consumer_heartbeat_interval_ms)};
	opts->consumer_size_max = (int32_t)sl_conf_int(conf, SL_CK_group_consumer_max_size);
	opts->migration = migration_policy(conf);
	for (; *word; word += strcspn(word, ",")) {
		word += strspn(word, ", ");
		if (strncmp(word, "uniform", strlen("uniform")) == 0)
			add_assignor(opts, GROUP_ASSIGN_UNIFORM);
		else if (strncmp(word, "range", strlen("range")) == 0)
			add_assignor(opts, GROUP_ASSIGN_RANGE);
	}
	if (opts->assignors_count == 0)
		add_assignor(opts, GROUP_ASSIGN_UNIFORM);
}

static int make_coordinator(struct offsets *o, int32_t partitions_count)
{
	const struct sl_conf *conf = o->c->conf;
	struct group_opts opts = {
		.partitions_count = partitions_count,
		.session_timeout_min_ms = sl_conf_int(conf, SL_CK_group_min_session_timeout_ms),
		.session_timeout_max_ms = sl_conf_int(conf, SL_CK_group_max_session_timeout_ms),
		.initial_rebalance_delay_ms = sl_conf_int(conf,
	                                                  SL_CK_group_initial_rebalance_delay_ms),
		.offsets_retention_ms = sl_conf_int(conf, SL_CK_offsets_retention_minutes) * 60000,
		.offsets_retention_check_ms =
			sl_conf_int(conf, SL_CK_offsets_retention_check_interval_ms),
		.offset_metadata_bytes_max = (int32_t)sl_conf_int(conf,
	                                                          SL_CK_offset_metadata_max_bytes),
		.group_size_max = (int32_t)sl_conf_int(conf, SL_CK_group_max_size),
		.ctx = o,
		.has_partition = has_partition,
		.topic_name = topic_name,
		.topic_id = topic_id,
		.topic_partitions = topic_partitions,
		.topic_next = topic_next,
	};
	struct group_coord *coord;
	struct part *parts = calloc((size_t)partitions_count, sizeof(*parts));
	int rc;

	if (!parts)
		return -ENOMEM;
	set_consumer_opts(conf, &opts);
	rc = group_create(&coord, &opts);
	if (rc < 0) {
		free(parts);
		return rc;
	}
	group_destroy(o->coord);
	free(o->parts);
	o->coord = coord;
	o->parts = parts;
	o->parts_count = partitions_count;
	return 0;
}

/* ---- Steps ---- */

static uint64_t random_bits(struct offsets *o)
{
	uint64_t bits;

	if (o->random_left < sizeof(bits)) {
		ssize_t n = getrandom(o->random, sizeof(o->random), 0);

		SL_ASSERT(n == (ssize_t)sizeof(o->random));
		o->random_left = sizeof(o->random);
	}
	o->random_left -= sizeof(bits);
	memcpy(&bits, o->random + o->random_left, sizeof(bits));
	return bits;
}

static void step(struct offsets *o, struct group_event *ev);

static void append_done(void *arg, enum sl_kerr kerr, int64_t base_offset)
{
	struct pending *p = arg;
	struct offsets *o = p->o;
	struct group_event ev = {.type = GROUP_EV_APPENDED,
	                         .cookie = p->cookie,
	                         .partition = p->partition,
	                         .kerr = kerr,
	                         .base_offset = base_offset};
	bool is_current = p->life == o->life;

	free(p);
	if (kerr != SL_KERR_NONE) {
		control_count(o->c, COUNTER_offsets_append_errors);
		sl_log(WARN, group, "fail append topic=%s part=%d error=%s", OFFSETS_TOPIC,
		       ev.partition, sl_kerr_name(kerr));
	}
	if (is_current && !o->c->is_stopping)
		step(o, &ev);
}

static int lane_of(const struct offsets *o, int32_t partition)
{
	const struct meta_topic *t = meta_topic_by_id(o->c->meta, &o->topic_id);

	if (!o->has_topic || !t || partition < 0 || partition >= t->rec.partitions_count)
		return -1;
	return control_lane_of(o->c, t->rec.partitions[partition].leader_id);
}

static void act_append(struct offsets *o, const struct group_action *a)
{
	struct pending *p = calloc(1, sizeof(*p));
	int lane = lane_of(o, a->partition);

	SL_ASSERT(p);
	*p = (struct pending){o, o->life, a->partition, a->cookie};
	control_count(o->c, COUNTER_offsets_appends);
	/* Without a leader any lane answers that it is not the one. */
	link_append(o->c->link, lane < 0 ? 0 : (uint32_t)lane, &o->topic_id, a->partition, a->bytes,
	            append_done, p);
}

static void act(struct offsets *o, const struct group_action *a)
{
	struct request *r;

	if (a->type == GROUP_ACT_APPEND) {
		act_append(o, a);
		return;
	}
	r = request_find(o->c->requests, a->handle);
	if (!r)
		return; /* its client left meanwhile */
	if (a->type == GROUP_ACT_RESPOND) {
		request_finish_bytes(r, a->bytes);
		return;
	}
	control_count(o->c, COUNTER_requests_malformed);
	request_close(r);
}

static void step(struct offsets *o, struct group_event *ev)
{
	struct loop *loop = o->c->loop;
	struct group_actions actions = {.next_ms = INT64_MAX};

	ev->now_ms = loop_mono_ms(loop);
	ev->wall_ms = loop_wall_ms(loop);
	ev->random = random_bits(o);
	group_step(o->coord, ev, &actions);
	for (uint32_t i = 0; i < actions.count; i++)
		act(o, &actions.list[i]);
	loop_timer_stop(loop, &o->tick);
	if (actions.next_ms != INT64_MAX && loop_timer_set(loop, &o->tick, actions.next_ms) < 0)
		sl_log(ERR, group, "miss tick reason=\"out of memory\"");
}

static void on_tick(void *arg)
{
	struct offsets *o = arg;
	struct group_event ev = {.type = GROUP_EV_TICK};

	step(o, &ev);
}

/* ---- Requests ---- */

static struct sl_str host_text(const uint8_t peer[16], char out[INET6_ADDRSTRLEN + 1])
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	bool is_v4 = memcmp(peer, mapped, sizeof(mapped)) == 0;

	out[0] = '/';
	if (!inet_ntop(is_v4 ? AF_INET : AF_INET6, is_v4 ? peer + 12 : peer, out + 1,
	               INET6_ADDRSTRLEN))
		out[1] = '\0';
	return sl_str_from(out);
}

enum request_result offsets_request(struct control *c, struct request *r)
{
	char host[INET6_ADDRSTRLEN + 1];
	struct group_event ev = {
		.type = GROUP_EV_REQUEST,
		.handle = r->id,
		.api_key = r->wire.api_key,
		.version = r->wire.api_version,
		.correlation_id = r->wire.correlation_id,
		.client_id = r->wire.client_id,
		.body = r->body,
	};

	ev.client_host = host_text(r->head.peer, host);
	step(c->offsets, &ev);
	return REQUEST_PARKED;
}

void offsets_cancel(struct offsets *o, uint64_t request_id)
{
	struct group_event ev = {.type = GROUP_EV_CANCEL, .handle = request_id};

	step(o, &ev);
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

static void load_event(struct offsets *o, enum group_event_type type, int32_t partition,
                       struct sl_bytes batches)
{
	struct group_event ev = {.type = type, .partition = partition, .batches = batches};

	step(o, &ev);
}

static void retry_later(struct offsets *o, int32_t partition, enum sl_kerr kerr)
{
	struct loop *loop = o->c->loop;

	control_count(o->c, COUNTER_offsets_load_errors);
	sl_log(WARN, group, "retry load topic=%s part=%d error=%s", OFFSETS_TOPIC, partition,
	       sl_kerr_name(kerr));
	o->parts[partition].state = LOAD_WAIT;
	if (o->retry.place == 0 &&
	    loop_timer_set(loop, &o->retry, loop_mono_ms(loop) + RETRY_MS) < 0)
		sl_log(ERR, group, "stop loading reason=\"out of memory\"");
}

static void on_retry(void *arg)
{
	struct offsets *o = arg;

	for (int32_t i = 0; i < o->parts_count; i++) {
		if (o->parts[i].state == LOAD_WAIT)
			o->parts[i].state = LOAD_NONE;
	}
	pump(o);
}

static void read_done(void *arg, const struct link_read_result *res);

static void read_next(struct offsets *o, int32_t partition)
{
	struct part *part = &o->parts[partition];
	const struct sl_slot *slot = control_slot(o->c, &o->topic_id, partition);
	struct pending *p = calloc(1, sizeof(*p));
	int lane = lane_of(o, partition);
	struct link_read_opts opts = {
		.lane = lane < 0 ? 0 : (uint32_t)lane,
		.topic_id = o->topic_id,
		.partition = partition,
		.bytes_max = part->read_bytes,
	};

	SL_ASSERT(p);
	if (part->next < 0 && slot)
		part->next = atomic_load_explicit(&slot->log_start, memory_order_relaxed);
	opts.offset = SL_MAX(part->next, (int64_t)0);
	*p = (struct pending){o, o->life, partition, 0};
	part->state = LOAD_READING;
	o->reading++;
	link_read(o->c->link, &opts, read_done, p);
}

/* Return: whether the partition is complete; false: read on. */
static bool take_batches(struct offsets *o, int32_t partition, const struct link_read_result *res)
{
	struct part *part = &o->parts[partition];
	int64_t next = part->next;
	int32_t bytes = whole_batches(res->batches, &next);

	if (bytes > 0 && next > part->next) {
		part->next = next;
		part->read_bytes = READ_BYTES;
		load_event(o, GROUP_EV_LOAD_BATCHES, partition,
		           (struct sl_bytes){res->batches.p, bytes});
	} else if (part->next < res->log_end) {
		/* The next batch is larger than what was asked for. */
		part->read_bytes = SL_MIN(part->read_bytes * 2, READ_BYTES_MAX);
	}
	return part->next >= res->log_end;
}

static void read_done(void *arg, const struct link_read_result *res)
{
	struct pending *p = arg;
	struct offsets *o = p->o;
	int32_t partition = p->partition;
	bool is_current = p->life == o->life;
	struct part *part;
	uint32_t before;

	free(p);
	if (!is_current || o->c->is_stopping)
		return;
	o->reading--;
	part = &o->parts[partition];
	part->next = SL_MAX(part->next, (int64_t)0);
	before = part->read_bytes;
	if (res->kerr == SL_KERR_OFFSET_OUT_OF_RANGE && part->next < res->log_start) {
		part->next = res->log_start;
		read_next(o, partition);
	} else if (res->kerr != SL_KERR_NONE) {
		retry_later(o, partition, res->kerr);
	} else if (take_batches(o, partition, res)) {
		part->state = LOAD_DONE;
		control_count(o->c, COUNTER_offsets_loads);
		load_event(o, GROUP_EV_LOAD_END, partition, (struct sl_bytes){NULL, 0});
	} else if (before == READ_BYTES_MAX && part->read_bytes == READ_BYTES_MAX) {
		/* Nothing came although there is more: a damaged or impossibly large batch. */
		retry_later(o, partition, SL_KERR_CORRUPT_MESSAGE);
	} else {
		read_next(o, partition);
	}
	pump(o);
}

/* Tells the coordinator that the partition will be served: clients wait instead of looking
 * elsewhere. */
static void begin(struct offsets *o, int32_t partition)
{
	struct part *part = &o->parts[partition];

	if (part->is_begun)
		return;
	*part = (struct part){.is_begun = true, .next = -1, .read_bytes = READ_BYTES};
	load_event(o, GROUP_EV_LOAD_BEGIN, partition, (struct sl_bytes){NULL, 0});
}

/* Starts as many reads as may run. */
static void pump(struct offsets *o)
{
	if (!o->has_topic || !publish_is_served(o->c->publish))
		return;
	for (int32_t i = 0; i < o->parts_count && o->reading < LOADS_MAX; i++) {
		struct part *part = &o->parts[i];

		if (part->state != LOAD_NONE || !control_slot(o->c, &o->topic_id, i))
			continue;
		begin(o, i);
		read_next(o, i);
	}
}

static void unload_all(struct offsets *o)
{
	o->life++;
	o->reading = 0;
	loop_timer_stop(o->c->loop, &o->retry);
	for (int32_t i = 0; i < o->parts_count; i++) {
		bool was_begun = o->parts[i].is_begun;

		o->parts[i] = (struct part){.next = -1};
		if (was_begun)
			load_event(o, GROUP_EV_UNLOAD, i, (struct sl_bytes){NULL, 0});
	}
}

void offsets_attached(struct offsets *o)
{
	for (int32_t i = 0; o->has_topic && i < o->parts_count; i++)
		begin(o, i);
}

void offsets_served(struct offsets *o)
{
	pump(o);
}

void offsets_opened(struct offsets *o, const struct sl_uuid *id)
{
	if (o->has_topic && sl_uuid_eq(id, &o->topic_id))
		pump(o);
}

void offsets_lost(struct offsets *o)
{
	unload_all(o);
}

/* The topic exists, maybe with another number of partitions than the coordinator was made for. */
static int adopt_topic(struct offsets *o, const struct meta_topic *t)
{
	o->has_topic = true;
	o->topic_id = t->rec.topic_id;
	if (o->parts_count == t->rec.partitions_count)
		return 0;
	unload_all(o);
	return make_coordinator(o, t->rec.partitions_count);
}

/* Was the topic made, or did it get more partitions? */
static bool is_other_size(const struct meta_change *change)
{
	return !change->before ||
	       change->before->rec.partitions_count != change->after->rec.partitions_count;
}

void offsets_changed(struct offsets *o, const struct meta_change *change)
{
	struct group_event ev = {.type = GROUP_EV_TOPIC_DELETED};

	if (change->type == META_REC_TOPIC && is_other_size(change)) {
		struct group_event changed = {.type = GROUP_EV_TOPICS_CHANGED};

		step(o, &changed);
	}
	if (change->type == META_REC_TOPIC && sl_str_eq_c(change->after->rec.name, OFFSETS_TOPIC)) {
		int rc = adopt_topic(o, change->after);

		SL_ASSERT(rc == 0);
	} else if (change->type == META_REC_TOPIC_DELETE && change->before) {
		if (o->has_topic && sl_uuid_eq(&change->topic_id, &o->topic_id)) {
			unload_all(o);
			o->has_topic = false;
			return;
		}
		ev.topic = change->before->rec.name;
		step(o, &ev);
	}
}

struct group_coord *offsets_coordinator(const struct offsets *o)
{
	return o->coord;
}

void offsets_progress(const struct offsets *o, uint32_t *loaded, uint32_t *total)
{
	*loaded = 0;
	*total = o->has_topic ? (uint32_t)o->parts_count : 0;
	for (int32_t i = 0; i < o->parts_count; i++)
		*loaded += o->parts[i].state == LOAD_DONE;
}

int offsets_create(struct offsets **out, struct control *c)
{
	const struct meta_topic *t = meta_topic_by_name(c->meta, sl_str_from(OFFSETS_TOPIC));
	struct offsets *o = calloc(1, sizeof(*o));
	int rc;

	if (!o)
		return -ENOMEM;
	o->c = c;
	o->tick = (struct loop_timer){.fn = on_tick, .arg = o};
	o->retry = (struct loop_timer){.fn = on_retry, .arg = o};
	rc = make_coordinator(o, t ? t->rec.partitions_count
	                           : (int32_t)sl_conf_int(c->conf,
	                                                  SL_CK_offsets_topic_num_partitions));
	if (rc < 0) {
		free(o);
		return rc;
	}
	if (t) {
		o->has_topic = true;
		o->topic_id = t->rec.topic_id;
	}
	*out = o;
	return 0;
}

void offsets_destroy(struct offsets *o)
{
	if (!o)
		return;
	loop_timer_stop(o->c->loop, &o->tick);
	loop_timer_stop(o->c->loop, &o->retry);
	group_destroy(o->coord);
	free(o->parts);
	free(o);
}
