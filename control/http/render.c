/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metric by metric, and in each sample by sample.  The place among topics is kept as a name,
 * because an index means another topic once one was created or deleted.
 *
 * Cost: about 0.25 us for a sample; a piece is at most STEPS_MAX samples, so under 1 ms of the
 * loop.
 */
#include "render.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/buf.h"
#include "sluice/base/version.h"

#include "metrics.h"

#define STEPS_MAX  2000
#define BUFFER_MAX (UINT32_C(4) << 20)
#define LABEL_MAX  2048
/* Kafka's longest topic name. */
#define TOPIC_MAX  249

struct render {
	struct metric_scrape scrape;
	struct sl_buf buf;
	size_t sent;     /* of buf */
	unsigned number; /* of the metric */
	struct metric metric;
	char name[METRIC_NAME_MAX];
	bool has_metric;
	bool has_head; /* HELP and TYPE were written: */
	char family[METRIC_NAME_MAX];
	bool is_done;
	uint32_t i; /* lane, folder, topic, group or offset */
	int32_t j;  /* partition */
	/* The topic at i, to find it again. */
	char topic[TOPIC_MAX];
	int32_t topic_len;
};

int render_create(struct render **out, struct control *c, const struct busy *busy)
{
	struct render *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->scrape.c = c;
	r->scrape.busy = busy;
	sl_buf_init_grow(&r->buf, BUFFER_MAX);
	*out = r;
	return 0;
}

void render_destroy(struct render *r)
{
	if (!r)
		return;
	metrics_scrape_fini(&r->scrape);
	sl_buf_fini(&r->buf);
	free(r);
}

/* ---- Samples ---- */

/* A label's value with '\', '"' and newline escaped; what may not be UTF-8 becomes '?'. */
static void put_label(struct sl_buf *b, const char *name, struct sl_str value)
{
	sl_buf_printf(b, "%s=\"", name);
	for (int32_t i = 0; i < SL_MIN(value.len, LABEL_MAX); i++) {
		unsigned char ch = (unsigned char)value.p[i];

		if (ch == '\n')
			sl_buf_put(b, "\\n", 2);
		else if (ch == '\\' || ch == '"')
			sl_buf_put(b, (const char[]){'\\', (char)ch}, 2);
		else
			sl_buf_put_u8(b, ch < 0x80 ? ch : '?');
	}
	sl_buf_put_u8(b, '"');
}

static void put_server_labels(struct sl_buf *b, const struct metric *m, const struct metric_at *at)
{
	if (m->label)
		sl_buf_printf(b, "{%s}", m->label);
	if (m->value != metric_server_info)
		return;
	sl_buf_put_u8(b, '{');
	put_label(b, "version", sl_str_from(SL_VERSION));
	sl_buf_put_u8(b, ',');
	put_label(b, "cluster_id", sl_str_from(meta_cluster_id(at->c->meta)));
	sl_buf_put_u8(b, '}');
}

static void put_group_labels(struct sl_buf *b, enum metric_scope scope, const struct metric_at *at)
{
	const struct snapshot *s = &at->scrape->groups;

	sl_buf_put_u8(b, '{');
	put_label(b, "consumergroup", snapshot_group_name(s, at->group));
	if (scope != METRIC_GROUP) {
		sl_buf_put_u8(b, ',');
		put_label(b, "topic", snapshot_topic(s, at->offset));
	}
	if (scope == METRIC_GROUP_PARTITION)
		sl_buf_printf(b, ",partition=\"%d\"", s->offsets[at->offset].partition);
	sl_buf_put_u8(b, '}');
}

static void put_labels(struct sl_buf *b, const struct metric *m, const struct metric_at *at)
{
	char *const *dirs;

	switch (m->scope) {
	case METRIC_SERVER:
		put_server_labels(b, m, at);
		break;
	case METRIC_LANE:
		sl_buf_printf(b, "{lane=\"%u\",node_id=\"%d\"}", at->lane,
		              control_node_id(at->c, at->lane));
		break;
	case METRIC_LOG_DIR:
		(void)control_log_dirs(at->c, &dirs);
		sl_buf_put_u8(b, '{');
		put_label(b, "dir", sl_str_from(dirs[at->lane]));
		sl_buf_put_u8(b, '}');
		break;
	case METRIC_TOPIC:
	case METRIC_PARTITION:
		sl_buf_put_u8(b, '{');
		put_label(b, "topic", at->topic->rec.name);
		if (m->scope == METRIC_PARTITION)
			sl_buf_printf(b, ",partition=\"%d\"", at->partition);
		sl_buf_put_u8(b, '}');
		break;
	case METRIC_GROUP:
	case METRIC_GROUP_TOPIC:
	case METRIC_GROUP_PARTITION:
		put_group_labels(b, m->scope, at);
		break;
	}
}

static void put_head(struct render *r)
{
	const struct metric *m = &r->metric;

	sl_buf_printf(&r->buf, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->text, m->name,
	              m->kind == 'C' ? "counter" : "gauge");
	r->has_head = true;
	snprintf(r->family, sizeof(r->family), "%s", m->name);
}

static void put_sample(struct render *r, struct metric_at *at)
{
	struct metric_value v = {0};

	at->scrape = &r->scrape;
	at->c = r->scrape.c;
	at->index = r->metric.index;
	if (!r->metric.value(at, &v))
		return;
	if (!r->has_head)
		put_head(r);
	sl_buf_put(&r->buf, r->metric.name, strlen(r->metric.name));
	put_labels(&r->buf, &r->metric, at);
	if (v.is_real)
		sl_buf_printf(&r->buf, " %.15g\n", v.d);
	else
		sl_buf_printf(&r->buf, " %" PRId64 "\n", v.i);
}

/* ---- Places ---- */

/* One sample of each scope; false: the metric has no more. */

static bool step_numbered(struct render *r, uint32_t count)
{
	struct metric_at at = {.lane = r->i};

	if (r->i >= count)
		return false;
	put_sample(r, &at);
	r->i++;
	return true;
}

static bool step_topic(struct render *r)
{
	struct metric_at at = {0};

	if (r->i >= meta_topics_count(r->scrape.c->meta))
		return false;
	at.topic = meta_topic_at(r->scrape.c->meta, r->i);
	at.partition = r->j;
	if (r->metric.scope == METRIC_TOPIC || r->j < at.topic->rec.partitions_count)
		put_sample(r, &at);
	if (r->metric.scope == METRIC_TOPIC || ++r->j >= at.topic->rec.partitions_count) {
		r->i++;
		r->j = 0;
	}
	return true;
}

static bool step_group(struct render *r)
{
	const struct snapshot *s = &r->scrape.groups;
	struct metric_at at = {.group = r->i};

	if (r->metric.scope == METRIC_GROUP) {
		if (r->i >= s->groups_count)
			return false;
		put_sample(r, &at);
		r->i++;
		return true;
	}
	if (r->i >= s->offsets_count)
		return false;
	at.group = s->offsets[r->i].group;
	at.offset = r->i;
	put_sample(r, &at);
	r->i = r->metric.scope == METRIC_GROUP_TOPIC ? snapshot_topic_end(s, r->i) : r->i + 1;
	return true;
}

static bool step_sample(struct render *r)
{
	const struct control *c = r->scrape.c;
	char *const *dirs;

	switch (r->metric.scope) {
	case METRIC_SERVER:
		return step_numbered(r, 1);
	case METRIC_LANE:
		return step_numbered(r, control_lanes_count(c));
	case METRIC_LOG_DIR:
		return step_numbered(r, control_log_dirs(c, &dirs));
	case METRIC_TOPIC:
	case METRIC_PARTITION:
		return step_topic(r);
	case METRIC_GROUP:
	case METRIC_GROUP_TOPIC:
	case METRIC_GROUP_PARTITION:
		return step_group(r);
	}
	return false;
}

/* Begins the next metric.  Return: 1; 0 there is none; -ENOMEM. */
static int begin_metric(struct render *r)
{
	const struct metric_coords coords = {control_groups(r->scrape.c),
	                                     control_txns(r->scrape.c)};

	r->i = 0;
	r->j = 0;
	/* Rows of one name, apart by their labels, are one family with one head. */
	r->has_metric = metrics_at(r->number++, &coords, &r->metric, r->name);
	if (!r->has_metric)
		return 0;
	r->has_head = strcmp(r->family, r->metric.name) == 0;
	if (r->metric.scope >= METRIC_GROUP && !r->scrape.has_groups) {
		r->scrape.has_groups = true;
		if (snapshot_take(&r->scrape.groups, control_groups(r->scrape.c)) < 0)
			return -ENOMEM;
	}
	return 1;
}

static bool is_by_topic(const struct render *r)
{
	return r->has_metric &&
	       (r->metric.scope == METRIC_TOPIC || r->metric.scope == METRIC_PARTITION);
}

/* Topics may have changed since the last piece. */
static void find_place(struct render *r)
{
	const struct meta *meta = r->scrape.c->meta;
	struct sl_str name = {r->topic, r->topic_len};

	r->scrape.min_isr_topic = NULL;
	if (!is_by_topic(r) || r->topic_len == 0)
		return;
	r->i = meta_topic_lower_bound(meta, name);
	if (r->i >= meta_topics_count(meta) ||
	    !sl_str_eq(meta_topic_at(meta, r->i)->rec.name, name))
		r->j = 0;
}

static void keep_place(struct render *r)
{
	const struct meta *meta = r->scrape.c->meta;

	r->topic_len = 0;
	if (!is_by_topic(r))
		return;
	if (r->i >= meta_topics_count(meta)) {
		/* A topic created meanwhile must not bring the last one back. */
		r->i = UINT32_MAX;
		return;
	}
	r->topic_len = meta_topic_at(meta, r->i)->rec.name.len;
	SL_ASSERT(r->topic_len <= TOPIC_MAX);
	memcpy(r->topic, meta_topic_at(meta, r->i)->rec.name.p, (size_t)r->topic_len);
}

static int fill(struct render *r, size_t max)
{
	int rc = 1;

	sl_buf_reset(&r->buf);
	r->sent = 0;
	find_place(r);
	for (unsigned steps = 0; steps < STEPS_MAX && r->buf.len < max && rc > 0; steps++) {
		if (!r->has_metric || !step_sample(r))
			rc = begin_metric(r);
	}
	keep_place(r);
	if (rc < 0 || !sl_buf_ok(&r->buf))
		return -ENOMEM;
	r->is_done = rc == 0;
	/* Nothing to say after so many steps: a comment keeps the connection going. */
	if (!r->is_done && r->buf.len == 0)
		sl_buf_put(&r->buf, "#\n", 2);
	return 0;
}

ssize_t render_next(struct render *r, char *out, size_t max)
{
	size_t n;
	int rc;

	if (r->sent == r->buf.len && !r->is_done) {
		rc = fill(r, max);
		if (rc < 0)
			return rc;
	}
	n = SL_MIN(r->buf.len - r->sent, max);
	if (n > 0)
		memcpy(out, r->buf.p + r->sent, n);
	r->sent += n;
	return (ssize_t)n;
}
