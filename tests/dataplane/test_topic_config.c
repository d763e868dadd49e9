/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "host/topic_config.h"
#include "sluice/wire/image_topic_gen.h"

static void make(struct topic_config *out, const char *broker_key, const char *broker_value,
                 const char *key, const char *value)
{
	struct sl_image_topic_config config = {sl_str_from(key), sl_str_from(value)};
	const struct sl_image_topic rec = {
		.name = sl_str_from("t"), .configs = &config, .configs_count = key ? 1 : 0};
	char error[SL_CONF_ERROR_MAX];
	struct sl_conf conf;

	cr_assert(sl_conf_load(&conf, NULL, error) == 0);
	if (broker_key)
		cr_assert(sl_conf_set(&conf, broker_key, broker_value, error) == 0, "%s", error);
	topic_config_make(out, &conf, &rec);
	sl_conf_fini(&conf);
}

Test(topic_config, has_the_documented_defaults)
{
	struct topic_config c;

	make(&c, NULL, NULL, NULL, NULL);
	cr_expect(c.max_message_bytes == 1048588 && c.min_insync_replicas == 1);
	cr_expect(!c.is_compact && !c.is_log_append_time && !c.flush.is_lazy);
	cr_expect(c.flush.ms == INT64_MAX && c.flush.bytes == INT64_MAX &&
	          c.timestamp_before_max_ms == INT64_MAX);
	cr_expect(c.timestamp_after_max_ms == 3600000);
	cr_expect(c.log.segment_bytes == 1 << 30 && c.log.segment_ms == 604800000);
	cr_expect(c.log.retention_ms == 604800000 && c.log.retention_bytes == -1);
	cr_expect(c.log.index_interval_bytes == 4096 && c.log.file_delete_delay_ms == 60000);
	cr_expect(c.log.producer_id_expiration_ms == 86400000);
	cr_expect(c.log.is_delete && !c.log.is_compact);
	cr_expect(c.log.min_dirty_ppm == 500000 && c.log.delete_retention_ms == 86400000);
	cr_expect(c.log.min_compaction_lag_ms == 0 && c.log.max_compaction_lag_ms == INT64_MAX);
}

Test(topic_config, a_topic_value_wins_over_the_broker_value)
{
	struct topic_config c;

	make(&c, "log.retention.ms", "1000", NULL, NULL);
	cr_expect(c.log.retention_ms == 1000);
	make(&c, "log.retention.ms", "1000", "retention.ms", "2000");
	cr_expect(c.log.retention_ms == 2000);
	make(&c, "log.flush", "lazy", NULL, NULL);
	cr_expect(c.flush.is_lazy);
	make(&c, "log.flush", "lazy", "flush", "ack");
	cr_expect(!c.flush.is_lazy);
	make(&c, NULL, NULL, "message.timestamp.type", "LogAppendTime");
	cr_expect(c.is_log_append_time);
}

Test(topic_config, reads_the_words_of_the_cleanup_policy)
{
	struct topic_config c;

	make(&c, NULL, NULL, "cleanup.policy", "compact");
	cr_expect(c.is_compact && c.log.is_compact && !c.log.is_delete);
	make(&c, NULL, NULL, "cleanup.policy", "compact, delete");
	cr_expect(c.is_compact && c.log.is_compact && c.log.is_delete);
	make(&c, NULL, NULL, "cleanup.policy", "delete");
	cr_expect(!c.is_compact && !c.log.is_compact && c.log.is_delete);
}

Test(topic_config, leaves_out_what_it_cannot_read)
{
	struct topic_config c;

	make(&c, NULL, NULL, "retention.ms", "soon");
	cr_expect(c.log.retention_ms == 604800000);
	make(&c, NULL, NULL, "retention.ms", NULL);
	cr_expect(c.log.retention_ms == 604800000);
	make(&c, NULL, NULL, "segment.bytes", "5");
	cr_expect(c.log.segment_bytes == 1 << 30, "below its range");
	make(&c, NULL, NULL, "no.such.key", "1");
	cr_expect(c.max_message_bytes == 1048588);
}

/* topic_config_make() asserts that a synonym's value is good for the topic key. */
Test(topic_config, a_topic_key_takes_whatever_its_synonym_takes)
{
	for (int key = 0; key < SL_CT_NR; key++) {
		const struct sl_conf_def *topic = &sl_conf_topic_defs[key];
		const struct sl_conf_def *broker;
		int index;

		if (!*topic->synonym)
			continue;
		index = sl_conf_find_broker(sl_str_from(topic->synonym));
		cr_assert(index >= 0, "%s", topic->name);
		broker = &sl_conf_broker_defs[index];
		cr_expect(topic->type == broker->type, "%s", topic->name);
		cr_expect(topic->min <= broker->min && topic->max >= broker->max, "%s",
		          topic->name);
		cr_expect_str_eq(topic->words, broker->words);
		cr_expect_str_eq(topic->def, broker->def);
	}
}

Test(topic_config, sees_every_difference_that_a_lane_must_hear_of)
{
	static const char *const heard[][2] = {
		{"segment.bytes", "2000000"},
		{"segment.ms", "5"},
		{"index.interval.bytes", "1"},
		{"retention.ms", "1"},
		{"retention.bytes", "1"},
		{"file.delete.delay.ms", "1"},
		{"cleanup.policy", "compact"},
		{"delete.retention.ms", "1"},
		{"min.compaction.lag.ms", "1"},
		{"max.compaction.lag.ms", "1"},
		{"min.cleanable.dirty.ratio", "0.25"},
		{"flush", "lazy"},
		{"flush.ms", "1"},
	};
	struct topic_config base, c;

	make(&base, NULL, NULL, NULL, NULL);
	make(&c, NULL, NULL, NULL, NULL);
	cr_expect(topic_config_is_log_equal(&base, &c));
	for (size_t i = 0; i < SL_ARRAY_SIZE(heard); i++) {
		make(&c, NULL, NULL, heard[i][0], heard[i][1]);
		cr_expect(!topic_config_is_log_equal(&base, &c), "%s", heard[i][0]);
	}
	make(&c, NULL, NULL, "max.message.bytes", "5");
	cr_expect(topic_config_is_log_equal(&base, &c));
}
