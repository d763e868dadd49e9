/* SPDX-License-Identifier: Apache-2.0 */
/* Topic configuration: texts and defaults in, plain numbers out. */
#include "topic_config.h"

#include "sluice/base/assert.h"
#include "sluice/base/log.h"
#include "sluice/wire/image_topic_gen.h"

/* Effective values of one topic. */
struct values {
	int64_t i[SL_CT_NR];
	struct sl_str s[SL_CT_NR];
};

static void take_default(struct values *v, const struct sl_conf *conf, int key)
{
	const struct sl_conf_def *def = &sl_conf_topic_defs[key];
	struct sl_conf_value value = {0};
	char error[SL_CONF_ERROR_MAX];
	int broker = *def->synonym ? sl_conf_find_broker(sl_str_from(def->synonym)) : -1;
	struct sl_str text = sl_str_from(broker >= 0 ? sl_conf_str(conf, (enum sl_conf_key)broker)
	                                             : def->def);

	/* A topic key takes every value that its synonym takes: tests compare the two tables. */
	SL_ASSERT(sl_conf_check(def, text, &value, error) == 0);
	v->i[key] = value.i;
	v->s[key] = text;
}

static void take_override(struct values *v, const struct sl_image_topic *rec,
                          const struct sl_image_topic_config *c)
{
	struct sl_conf_value value = {0};
	char error[SL_CONF_ERROR_MAX];
	int key = sl_conf_find_topic(c->name);

	if (key < 0 || sl_str_is_null(c->value) ||
	    sl_conf_check(&sl_conf_topic_defs[key], c->value, &value, error) != 0) {
		sl_log(WARN, host, "ignore config topic=%.*s key=%.*s value=%.*s: %s",
		       SL_STR_ARG(rec->name), SL_STR_ARG(c->name), SL_STR_ARG(c->value),
		       key < 0 ? "unknown key" : "bad value");
		return;
	}
	v->i[key] = value.i;
	v->s[key] = c->value;
}

static bool has_word(struct sl_str list, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = list.p, *end = p + SL_MAX(list.len, 0); p < end; p++) {
		while (p < end && (*p == ' ' || *p == ','))
			p++;
		if ((size_t)(end - p) >= len && memcmp(p, word, len) == 0 &&
		    (p + len == end || p[len] == ' ' || p[len] == ','))
			return true;
		while (p < end && *p != ',')
			p++;
	}
	return false;
}

void topic_config_make(struct topic_config *out, const struct sl_conf *conf,
                       const struct sl_image_topic *rec)
{
	struct values v;

	memset(&v, 0, sizeof(v));
	for (int key = 0; key < SL_CT_NR; key++)
		take_default(&v, conf, key);
	for (int32_t i = 0; i < rec->configs_count; i++)
		take_override(&v, rec, &rec->configs[i]);
	*out = (struct topic_config){
		.max_message_bytes = (uint32_t)v.i[SL_CT_max_message_bytes],
		.min_insync_replicas = (int32_t)v.i[SL_CT_min_insync_replicas],
		.is_compact = has_word(v.s[SL_CT_cleanup_policy], "compact"),
		.is_log_append_time = has_word(v.s[SL_CT_message_timestamp_type], "LogAppendTime"),
		.flush =
			{
				.is_lazy = has_word(v.s[SL_CT_flush], "lazy"),
				.ms = v.i[SL_CT_flush_ms],
				.bytes = v.i[SL_CT_flush_bytes],
			},
		.timestamp_before_max_ms = v.i[SL_CT_message_timestamp_before_max_ms],
		.timestamp_after_max_ms = v.i[SL_CT_message_timestamp_after_max_ms],
		.log =
			{
				.segment_bytes = v.i[SL_CT_segment_bytes],
				.segment_ms = v.i[SL_CT_segment_ms],
				.index_interval_bytes = v.i[SL_CT_index_interval_bytes],
				.retention_ms = v.i[SL_CT_retention_ms],
				.retention_bytes = v.i[SL_CT_retention_bytes],
				.file_delete_delay_ms = v.i[SL_CT_file_delete_delay_ms],
				.producer_id_expiration_ms =
					sl_conf_int(conf, SL_CK_producer_id_expiration_ms),
				.delete_retention_ms = v.i[SL_CT_delete_retention_ms],
				.min_compaction_lag_ms = v.i[SL_CT_min_compaction_lag_ms],
				.max_compaction_lag_ms = v.i[SL_CT_max_compaction_lag_ms],
				.min_dirty_ppm = (uint32_t)v.i[SL_CT_min_cleanable_dirty_ratio],
				.is_delete = has_word(v.s[SL_CT_cleanup_policy], "delete"),
				.is_compact = has_word(v.s[SL_CT_cleanup_policy], "compact"),
			},
	};
}

bool topic_config_is_log_equal(const struct topic_config *a, const struct topic_config *b)
{
	const struct sl_log_config *x = &a->log;
	const struct sl_log_config *y = &b->log;

	return a->flush.is_lazy == b->flush.is_lazy && a->flush.ms == b->flush.ms &&
	       a->flush.bytes == b->flush.bytes && x->segment_bytes == y->segment_bytes &&
	       x->segment_ms == y->segment_ms &&
	       x->index_interval_bytes == y->index_interval_bytes &&
	       x->retention_ms == y->retention_ms && x->retention_bytes == y->retention_bytes &&
	       x->file_delete_delay_ms == y->file_delete_delay_ms &&
	       x->producer_id_expiration_ms == y->producer_id_expiration_ms &&
	       x->delete_retention_ms == y->delete_retention_ms &&
	       x->min_compaction_lag_ms == y->min_compaction_lag_ms &&
	       x->max_compaction_lag_ms == y->max_compaction_lag_ms &&
	       x->min_dirty_ppm == y->min_dirty_ppm && x->is_delete == y->is_delete &&
	       x->is_compact == y->is_compact;
}
