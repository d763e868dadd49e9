/* SPDX-License-Identifier: Apache-2.0 */
/* What follows from the seed, what is told about it, and the topics. */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>

uint64_t world_random(struct world *w)
{
	uint64_t z = (w->rng += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint32_t world_below(struct world *w, int32_t n)
{
	return (uint32_t)(world_random(w) % (uint64_t)n);
}

bool world_fault(struct world *w, int32_t per_mille)
{
	return !w->is_calm && (int32_t)world_below(w, 1000) < per_mille;
}

void world_fail(struct world *w, const char *format, ...)
{
	va_list args;

	if (w->failure)
		return;
	va_start(args, format);
	vsnprintf(w->failure_text, sizeof(w->failure_text), format, args);
	va_end(args);
	w->failure = w->failure_text;
	world_trace(w, "FAILURE %s", w->failure);
}

void world_trace(const struct world *w, const char *format, ...)
{
	va_list args;

	if (!w->is_traced)
		return;
	printf("%8lld ", (long long)w->now_ms);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

/* ---- Topics ---- */

struct sl_str client_topic_name(int32_t topic)
{
	static const char names[TOPICS][3] = {"t0", "t1", "t2", "t3"};

	return sl_str_from(names[topic]);
}

struct sl_uuid world_topic_id(const struct world *w, int32_t topic)
{
	struct sl_uuid id = {{'t'}};

	id.b[1] = (uint8_t)topic;
	sl_store_be32(&id.b[12], w->topics[topic].incarnation);
	return id;
}

int32_t world_topic(const struct world *w, const struct sl_uuid *id)
{
	for (int32_t t = 0; t < TOPICS; t++) {
		struct sl_uuid known = world_topic_id(w, t);

		if (w->topics[t].partitions > 0 && sl_uuid_eq(id, &known))
			return t;
	}
	return -1;
}

static int32_t number_of(const struct world *w, struct sl_str name)
{
	for (int32_t t = 0; t < TOPICS; t++) {
		if (sl_str_eq(name, client_topic_name(t)) && w->topics[t].partitions > 0)
			return t;
	}
	return -1;
}

static bool has_partition(void *ctx, struct sl_str topic, int32_t partition)
{
	const struct world *w = ctx;
	int32_t t = number_of(w, topic);

	return t >= 0 && partition >= 0 && partition < w->topics[t].partitions;
}

static bool topic_name(void *ctx, const struct sl_uuid *id, struct sl_str *name)
{
	int32_t t = world_topic(ctx, id);

	if (t >= 0)
		*name = client_topic_name(t);
	return t >= 0;
}

static bool topic_id(void *ctx, struct sl_str name, struct sl_uuid *id)
{
	int32_t t = number_of(ctx, name);

	if (t >= 0)
		*id = world_topic_id(ctx, t);
	return t >= 0;
}

static int32_t topic_partitions(void *ctx, struct sl_str name)
{
	const struct world *w = ctx;
	int32_t t = number_of(w, name);

	return t >= 0 ? w->topics[t].partitions : 0;
}

static bool topic_next(void *ctx, uint32_t *pos, struct sl_str *name)
{
	const struct world *w = ctx;

	while (*pos < TOPICS) {
		int32_t t = (int32_t)(*pos)++;

		if (w->topics[t].partitions == 0)
			continue;
		*name = client_topic_name(t);
		return true;
	}
	return false;
}

struct sl_str world_rack(uint8_t rack)
{
	static const char names[RACKS][3] = {"r0", "r1", "r2"};

	return rack < RACKS ? sl_str_from(names[rack]) : SL_STR_NULL;
}

static void topic_racks(void *ctx, struct sl_str name, group_rack_fn *fn, void *arg)
{
	const struct world *w = ctx;
	int32_t t = number_of(w, name);

	for (int32_t p = 0; t >= 0 && p < w->topics[t].partitions; p++) {
		for (uint8_t r = 0; r < RACKS; r++) {
			if ((w->topics[t].racks[p] >> r) & 1)
				fn(arg, p, world_rack(r));
		}
	}
}

void world_show_topics(struct world *w, struct group_opts *opts)
{
	opts->ctx = w;
	opts->has_partition = has_partition;
	opts->topic_name = topic_name;
	opts->topic_id = topic_id;
	opts->topic_partitions = topic_partitions;
	opts->topic_next = topic_next;
	opts->topic_racks = topic_racks;
}

struct group *world_group(const struct world *w)
{
	return state_find(w->coord, sl_str_from(GROUP));
}
