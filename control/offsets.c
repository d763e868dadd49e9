/* SPDX-License-Identifier: Apache-2.0 */
/* Glue around the pure group coordinator.  Runs on the loop's thread. */
#include "offsets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "config.h"
#include "group/group.h"
#include "sluice/base/assert.h"
#include "sluice/base/clock.h"
#include "sluice/base/log.h"

#include "markers.h"
#include "statelog.h"

#define RANDOM_BYTES 512

struct offsets {
	struct control *c;
	struct group_coord *coord; /* Owned */
	struct statelog *log;      /* Owned */
	struct loop_timer tick;
	uint8_t random[RANDOM_BYTES];
	size_t random_left;
	struct recent steps; /* microseconds that an event and its actions took */
};

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

static void topic_racks(void *ctx, struct sl_str topic, group_rack_fn *fn, void *arg)
{
	const struct offsets *o = ctx;
	const struct meta_topic *t = meta_topic_by_name(o->c->meta, topic);

	for (int32_t p = 0; t && p < t->rec.partitions_count; p++) {
		const struct sl_meta_topic_partition *part = &t->rec.partitions[p];

		for (int32_t i = 0; i < part->replica_nodes_count; i++) {
			struct sl_str rack = control_node_rack(o->c, part->replica_nodes[i]);

			if (!sl_str_is_null(rack))
				fn(arg, p, rack);
		}
	}
}

static void group_conf(void *ctx, struct sl_str group_id, struct group_conf *out)
{
	const struct offsets *o = ctx;

	if (meta_group_config(o->c->meta, group_id)->mod_revision == 0)
		return;
	out->session_timeout_ms = (int32_t)config_group_int(o->c, group_id,
	                                                    SL_CG_consumer_session_timeout_ms);
	out->heartbeat_interval_ms =
		(int32_t)config_group_int(o->c, group_id, SL_CG_consumer_heartbeat_interval_ms);
}

static bool is_listed_on(void *ctx, uint32_t lane, struct sl_str group_id)
{
	const struct offsets *o = ctx;

	return control_is_listed_on(o->c, lane, group_id);
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

/* The value of one key, kept within those of two others. */
static int32_t within(const struct sl_conf *conf, enum sl_conf_key key, enum sl_conf_key min,
                      enum sl_conf_key max)
{
	int64_t value = SL_MAX(sl_conf_int(conf, key), sl_conf_int(conf, min));

	return (int32_t)SL_MIN(value, sl_conf_int(conf, max));
}

static void set_consumer_opts(const struct sl_conf *conf, struct group_opts *opts)
{
	const char *word = sl_conf_str(conf, SL_CK_group_consumer_assignors);

	opts->consumer =
		(struct group_conf){within(conf, SL_CK_group_consumer_session_timeout_ms,
	                                   SL_CK_group_consumer_min_session_timeout_ms,
	                                   SL_CK_group_consumer_max_session_timeout_ms),
	                            within(conf, SL_CK_group_consumer_heartbeat_interval_ms,
	                                   SL_CK_group_consumer_min_heartbeat_interval_ms,
	                                   SL_CK_group_consumer_max_heartbeat_interval_ms)};
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

static int make_coordinator(void *arg, int32_t partitions_count)
{
	struct offsets *o = arg;
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
		.topic_racks = topic_racks,
		.group_conf = group_conf,
		.is_listed_on = is_listed_on,
	};
	struct group_coord *coord;
	int rc;

	set_consumer_opts(conf, &opts);
	rc = group_create(&coord, &opts);
	if (rc < 0)
		return rc;
	group_destroy(o->coord);
	o->coord = coord;
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

static void act(struct offsets *o, const struct group_action *a)
{
	struct request *r;

	if (a->type == GROUP_ACT_APPEND) {
		statelog_append(o->log, a->partition, a->cookie, a->bytes);
		return;
	}
	if (a->type == GROUP_ACT_MARKED) {
		markers_told(o->c->markers, a->handle, a->kerr);
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
	uint64_t begun_ns = sl_mono_ns();

	ev->now_ms = loop_mono_ms(loop);
	ev->wall_ms = loop_wall_ms(loop);
	ev->random = random_bits(o);
	group_step(o->coord, ev, &actions);
	for (uint32_t i = 0; i < actions.count; i++)
		act(o, &actions.list[i]);
	loop_timer_stop(loop, &o->tick);
	if (actions.next_ms != INT64_MAX && loop_timer_set(loop, &o->tick, actions.next_ms) < 0)
		sl_log(ERR, group, "miss tick reason=\"out of memory\"");
	recent_add(&o->steps, ev->now_ms, (sl_mono_ns() - begun_ns) / 1000);
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
		.lane = r->lane,
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

void offsets_mark(struct offsets *o, int32_t partition, const struct sl_txn_marker *marker,
                  uint64_t handle)
{
	struct group_event ev = {
		.type = GROUP_EV_MARK, .partition = partition, .marker = *marker, .handle = handle};

	step(o, &ev);
}

/* ---- The log ---- */

static void load_event(struct offsets *o, enum group_event_type type, int32_t partition,
                       struct sl_bytes batches)
{
	struct group_event ev = {.type = type, .partition = partition, .batches = batches};

	step(o, &ev);
}

static void on_begin(void *arg, int32_t partition)
{
	load_event(arg, GROUP_EV_LOAD_BEGIN, partition, (struct sl_bytes){NULL, 0});
}

static void on_batches(void *arg, int32_t partition, struct sl_bytes batches)
{
	load_event(arg, GROUP_EV_LOAD_BATCHES, partition, batches);
}

static void on_end(void *arg, int32_t partition)
{
	load_event(arg, GROUP_EV_LOAD_END, partition, (struct sl_bytes){NULL, 0});
}

static void on_unload(void *arg, int32_t partition)
{
	load_event(arg, GROUP_EV_UNLOAD, partition, (struct sl_bytes){NULL, 0});
}

static void on_appended(void *arg, int32_t partition, uint64_t cookie, enum sl_kerr kerr,
                        int64_t base_offset)
{
	struct group_event ev = {.type = GROUP_EV_APPENDED,
	                         .cookie = cookie,
	                         .partition = partition,
	                         .kerr = kerr,
	                         .base_offset = base_offset};

	step(arg, &ev);
}

static const struct statelog_ops log_ops = {
	.topic = OFFSETS_TOPIC,
	.loads = COUNTER_offsets_loads,
	.load_errors = COUNTER_offsets_load_errors,
	.appends = COUNTER_offsets_appends,
	.append_errors = COUNTER_offsets_append_errors,
	.resize = make_coordinator,
	.begin = on_begin,
	.batches = on_batches,
	.end = on_end,
	.unload = on_unload,
	.appended = on_appended,
};

struct statelog *offsets_log(const struct offsets *o)
{
	return o->log;
}

static bool has_other_replicas(const struct sl_meta_topic_partition *a,
                               const struct sl_meta_topic_partition *b)
{
	return a->replica_nodes_count != b->replica_nodes_count ||
	       (a->replica_nodes_count > 0 &&
	        memcmp(a->replica_nodes, b->replica_nodes,
	               (size_t)a->replica_nodes_count * sizeof(*a->replica_nodes)) != 0);
}

/* Was the topic made, or did it get more partitions, or replicas elsewhere? */
static bool is_other_place(const struct meta_change *change)
{
	const struct sl_meta_topic *before = change->before ? &change->before->rec : NULL;
	const struct sl_meta_topic *after = &change->after->rec;

	if (!before || before->partitions_count != after->partitions_count)
		return true;
	for (int32_t p = 0; p < after->partitions_count; p++) {
		if (has_other_replicas(&before->partitions[p], &after->partitions[p]))
			return true;
	}
	return false;
}

void offsets_changed(struct offsets *o, const struct meta_change *change)
{
	struct group_event ev = {.type = GROUP_EV_TOPIC_DELETED};

	if (change->type == META_REC_TOPIC && is_other_place(change)) {
		struct group_event changed = {.type = GROUP_EV_TOPICS_CHANGED};

		step(o, &changed);
	}
	statelog_changed(o->log, change);
	if (change->type != META_REC_TOPIC_DELETE || !change->before ||
	    sl_str_eq_c(change->before->rec.name, OFFSETS_TOPIC))
		return;
	ev.topic = change->before->rec.name;
	step(o, &ev);
}

struct group_coord *offsets_coordinator(const struct offsets *o)
{
	return o->coord;
}

const struct recent *offsets_steps(const struct offsets *o)
{
	return &o->steps;
}

void offsets_progress(const struct offsets *o, uint32_t *loaded, uint32_t *total)
{
	statelog_progress(o->log, loaded, total);
}

int offsets_create(struct offsets **out, struct control *c)
{
	struct offsets *o = calloc(1, sizeof(*o));
	int rc;

	if (!o)
		return -ENOMEM;
	o->c = c;
	o->tick = (struct loop_timer){.fn = on_tick, .arg = o};
	rc = statelog_create(&o->log, c, &log_ops, o,
	                     (int32_t)sl_conf_int(c->conf, SL_CK_offsets_topic_num_partitions));
	if (rc < 0) {
		free(o);
		return rc;
	}
	*out = o;
	return 0;
}

void offsets_destroy(struct offsets *o)
{
	if (!o)
		return;
	loop_timer_stop(o->c->loop, &o->tick);
	statelog_destroy(o->log);
	group_destroy(o->coord);
	free(o);
}
