/* SPDX-License-Identifier: Apache-2.0 */
/* DescribeConfigs, AlterConfigs, IncrementalAlterConfigs, ListConfigResources. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/wire/alter_configs_gen.h"
#include "sluice/wire/describe_configs_gen.h"
#include "sluice/wire/incremental_alter_configs_gen.h"
#include "sluice/wire/list_config_resources_gen.h"

#include "config.h"
#include "harness.h"

enum {
	TOPIC = 2,
	BROKER = 4,
	GROUP = 32
};
enum {
	SET = 0,
	DELETE,
	APPEND,
	SUBTRACT
};

static struct harness h;

static void setup(void)
{
	harness_prepare(&h, 2);
	harness_set(&h, "log.segment.bytes", "2097152");
	harness_start_control(&h);
	harness_until_served(&h);
	harness_create_topic(&h, "t", 2);
}

static void teardown(void)
{
	harness_fini(&h);
}

TestSuite(configs, .init = setup, .fini = teardown);

static struct sl_describe_configs_resp describe(int8_t type, const char *name, const char *key,
                                                int16_t version)
{
	struct sl_str keys[] = {sl_str_from(key)};
	struct sl_describe_configs_req_resource resource = {
		.resource_type = type,
		.resource_name = sl_str_from(name),
		.configuration_keys = keys,
		.configuration_keys_count = key ? 1 : -1,
	};
	struct sl_describe_configs_req req;
	struct sl_describe_configs_resp resp;

	sl_describe_configs_req_init(&req);
	req.resources = &resource;
	req.resources_count = 1;
	req.include_synonyms = true;
	req.include_documentation = true;
	CALL(&h, describe_configs, DESCRIBE_CONFIGS, version, &req, &resp);
	cr_assert_eq(resp.results_count, 1);
	return resp;
}

/* The one config of a resource, as "value source". */
static const char *shown(int8_t type, const char *name, const char *key)
{
	static char text[128];
	struct sl_describe_configs_resp resp = describe(type, name, key, 4);
	struct sl_describe_configs_resp_result *res = &resp.results[0];

	cr_assert_eq(res->error_code, 0);
	if (res->configs_count == 0)
		return "none";
	cr_assert_eq(res->configs_count, 1);
	cr_assert(sl_str_eq_c(res->configs[0].name, key));
	snprintf(text, sizeof(text), "%.*s %d", SL_STR_ARG(res->configs[0].value),
	         res->configs[0].config_source);
	return text;
}

static int16_t change(int8_t type, const char *name, int8_t op, const char *key, const char *value)
{
	struct sl_incremental_alter_configs_req_resource_config config = {sl_str_from(key), op,
	                                                                  sl_str_from(value)};
	struct sl_incremental_alter_configs_req_resource resource = {type, sl_str_from(name),
	                                                             &config, 1};
	struct sl_incremental_alter_configs_req req;
	struct sl_incremental_alter_configs_resp resp;

	sl_incremental_alter_configs_req_init(&req);
	req.resources = &resource;
	req.resources_count = 1;
	CALL(&h, incremental_alter_configs, INCREMENTAL_ALTER_CONFIGS, 1, &req, &resp);
	cr_assert_eq(resp.responses_count, 1);
	return resp.responses[0].error_code;
}

Test(configs, shows_all_of_a_topic_at_every_version)
{
	for (int16_t version = 1; version <= 4; version++) {
		struct sl_describe_configs_resp resp = describe(TOPIC, "t", NULL, version);

		cr_assert_eq(resp.results[0].configs_count, SL_CT_NR);
		for (int i = 0; i < SL_CT_NR; i++) {
			cr_assert_not(resp.results[0].configs[i].read_only);
			cr_assert_geq(resp.results[0].configs[i].synonyms_count, 1);
			if (version >= 3)
				cr_assert_gt(resp.results[0].configs[i].documentation.len, 0);
		}
	}
}

Test(configs, walks_through_the_sources_in_order)
{
	const char *const topic = "segment.bytes", *const broker = "log.segment.bytes";
	struct sl_describe_configs_resp resp;
	struct sl_describe_configs_resp_result_config *c;
	int8_t wanted[] = {1, 2, 3, 4, 5};

	cr_assert_str_eq(shown(TOPIC, "t", "retention.bytes"), "-1 5");
	cr_assert_str_eq(shown(TOPIC, "t", topic), "2097152 4");
	cr_assert_eq(change(BROKER, "", SET, broker, "3000000"), 0);
	cr_assert_str_eq(shown(TOPIC, "t", topic), "3000000 3");
	cr_assert_str_eq(shown(BROKER, "", broker), "3000000 3");
	cr_assert_str_eq(shown(BROKER, "", "log.retention.ms"), "none");
	cr_assert_eq(change(BROKER, "101", SET, broker, "4000000"), 0);
	cr_assert_str_eq(shown(TOPIC, "t", topic), "4000000 2");
	cr_assert_str_eq(shown(BROKER, "100", broker), "4000000 2");
	cr_assert_eq(change(TOPIC, "t", SET, topic, "5000000"), 0);
	cr_assert_str_eq(shown(TOPIC, "t", topic), "5000000 1");
	cr_assert_str_eq(harness_image_config(&h, "t", topic), "5000000");
	resp = describe(TOPIC, "t", topic, 4);
	c = &resp.results[0].configs[0];
	cr_assert_eq(c->config_type, 3);
	cr_assert_eq(c->synonyms_count, 5);
	for (int i = 0; i < 5; i++) {
		cr_assert_eq(c->synonyms[i].source, wanted[i]);
		cr_assert(sl_str_eq_c(c->synonyms[i].name, i == 0 ? topic : broker));
	}
	cr_assert_eq(change(TOPIC, "t", DELETE, topic, NULL), 0);
	cr_assert_eq(change(BROKER, "100", DELETE, broker, NULL), 0);
	cr_assert_eq(change(BROKER, "", DELETE, broker, NULL), 0);
	cr_assert_str_eq(shown(TOPIC, "t", topic), "2097152 4");
	cr_assert_str_eq(harness_image_config(&h, "t", topic), "2097152");
}

Test(configs, sends_every_topic_when_a_broker_default_changes)
{
	harness_create_topic(&h, "u", 1);
	cr_assert_eq(change(BROKER, "", SET, "log.retention.ms", "777"), 0);
	cr_assert_str_eq(harness_image_config(&h, "t", "retention.ms"), "777");
	cr_assert_str_eq(harness_image_config(&h, "u", "retention.ms"), "777");
}

Test(configs, marks_static_broker_keys_read_only)
{
	struct sl_describe_configs_resp resp = describe(BROKER, "100", NULL, 4);
	int read_only = 0;

	cr_assert_eq(resp.results[0].configs_count, SL_CK_NR);
	for (int i = 0; i < SL_CK_NR; i++)
		read_only += resp.results[0].configs[i].read_only;
	cr_assert_gt(read_only, 0);
	cr_assert_lt(read_only, SL_CK_NR);
	resp = describe(BROKER, "100", "log.dirs", 4);
	cr_assert(resp.results[0].configs[0].read_only);
	resp = describe(BROKER, "100", "num.partitions", 4);
	cr_assert_not(resp.results[0].configs[0].read_only);
}

struct refusal {
	int8_t type;
	const char *name;
	int16_t code;
};

Test(configs, refuses_to_describe_what_is_not_there)
{
	static const struct refusal cases[] = {
		{TOPIC, "nope", SL_KERR_UNKNOWN_TOPIC_OR_PARTITION},
		{TOPIC, "no pe", SL_KERR_INVALID_TOPIC_EXCEPTION},
		{BROKER, "102", SL_KERR_INVALID_REQUEST},
		{BROKER, "x", SL_KERR_INVALID_REQUEST},
		{BROKER, "99999999999999999", SL_KERR_INVALID_REQUEST},
		{8, "100", SL_KERR_INVALID_REQUEST},
		{77, "", SL_KERR_INVALID_REQUEST},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(cases); i++) {
		struct sl_describe_configs_resp resp = describe(cases[i].type, cases[i].name, NULL,
		                                                4);

		cr_assert_eq(resp.results[0].error_code, cases[i].code, "case %zu", i);
		cr_assert_eq(resp.results[0].configs_count, 0);
		cr_assert_eq(resp.results[0].resource_type, cases[i].type);
	}
}

Test(configs, refuses_wrong_changes)
{
	cr_assert_eq(change(TOPIC, "t", SET, "nope", "1"), SL_KERR_INVALID_CONFIG);
	cr_assert_eq(change(TOPIC, "t", SET, "retention.ms", "x"), SL_KERR_INVALID_CONFIG);
	cr_assert_eq(change(TOPIC, "t", SET, "retention.ms", NULL), SL_KERR_INVALID_REQUEST);
	cr_assert_eq(change(TOPIC, "t", APPEND, "retention.ms", "1"), SL_KERR_INVALID_CONFIG);
	cr_assert_eq(change(TOPIC, "t", 4, "retention.ms", "1"), SL_KERR_INVALID_REQUEST);
	cr_assert_eq(change(TOPIC, "t", -1, "retention.ms", "1"), SL_KERR_INVALID_REQUEST);
	cr_assert_eq(change(TOPIC, "nope", SET, "retention.ms", "1"),
	             SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_assert_eq(change(BROKER, "100", SET, "log.dirs", "/x"), SL_KERR_INVALID_CONFIG);
	cr_assert_eq(change(BROKER, "100", SET, "nope", "1"), SL_KERR_INVALID_CONFIG);
	cr_assert_eq(change(BROKER, "7", SET, "num.partitions", "1"), SL_KERR_INVALID_REQUEST);
	cr_assert_eq(change(BROKER, "", SET, "num.partitions", "0"), SL_KERR_INVALID_CONFIG);
	cr_assert_eq(h.control->counters[COUNTER_meta_commits], 2, "cluster id and topic");
}

Test(configs, appends_to_lists_and_subtracts)
{
	cr_assert_eq(change(TOPIC, "t", APPEND, "cleanup.policy", "compact"), 0);
	cr_assert_str_eq(shown(TOPIC, "t", "cleanup.policy"), "delete,compact 1");
	cr_assert_eq(change(TOPIC, "t", APPEND, "cleanup.policy", "compact,delete"), 0);
	cr_assert_str_eq(shown(TOPIC, "t", "cleanup.policy"), "delete,compact 1");
	cr_assert_eq(change(TOPIC, "t", SUBTRACT, "cleanup.policy", "delete"), 0);
	cr_assert_str_eq(shown(TOPIC, "t", "cleanup.policy"), "compact 1");
	cr_assert_str_eq(harness_image_config(&h, "t", "cleanup.policy"), "compact");
	cr_assert_eq(change(TOPIC, "t", APPEND, "cleanup.policy", "shred"), SL_KERR_INVALID_CONFIG);
}

Test(configs, refuses_a_key_or_a_resource_given_twice)
{
	struct sl_incremental_alter_configs_req_resource_config config[2] = {
		{sl_str_from("retention.ms"), SET, sl_str_from("1")},
		{sl_str_from("retention.ms"), SET, sl_str_from("2")}};
	struct sl_incremental_alter_configs_req_resource twice[] = {
		{TOPIC, sl_str_from("t"), config, 2},
		{BROKER, sl_str_from("100"), NULL, 0},
		{BROKER, sl_str_from("101"), NULL, 0},
	};
	struct sl_incremental_alter_configs_req req;
	struct sl_incremental_alter_configs_resp resp;

	sl_incremental_alter_configs_req_init(&req);
	req.resources = twice;
	req.resources_count = 3;
	CALL(&h, incremental_alter_configs, INCREMENTAL_ALTER_CONFIGS, 0, &req, &resp);
	cr_assert_eq(resp.responses[0].error_code, SL_KERR_INVALID_REQUEST);
	cr_assert_eq(resp.responses[1].error_code, 0);
	cr_assert_eq(resp.responses[2].error_code, SL_KERR_INVALID_REQUEST,
	             "both lanes are one server");
}

static int16_t replace(const char *topic, struct sl_alter_configs_req_resource_config *configs,
                       int32_t count, bool validate_only, int16_t version)
{
	struct sl_alter_configs_req_resource resource = {TOPIC, sl_str_from(topic), configs, count};
	struct sl_alter_configs_req req;
	struct sl_alter_configs_resp resp;

	sl_alter_configs_req_init(&req);
	req.resources = &resource;
	req.resources_count = 1;
	req.validate_only = validate_only;
	CALL(&h, alter_configs, ALTER_CONFIGS, version, &req, &resp);
	return resp.responses[0].error_code;
}

Test(configs, replaces_the_whole_set_with_alter_configs)
{
	struct sl_alter_configs_req_resource_config a[] = {
		{sl_str_from("retention.ms"), sl_str_from("11")},
		{sl_str_from("flush"), sl_str_from("lazy")}};
	struct sl_alter_configs_req_resource_config bad[] = {
		{sl_str_from("nope"), sl_str_from("1")}};
	struct sl_alter_configs_req_resource_config null[] = {{sl_str_from("flush"), SL_STR_NULL}};

	cr_assert_eq(replace("t", a, 2, true, 2), 0);
	cr_assert_str_eq(shown(TOPIC, "t", "retention.ms"), "604800000 5", "validate only");
	cr_assert_eq(replace("t", a, 2, false, 0), 0);
	cr_assert_str_eq(shown(TOPIC, "t", "retention.ms"), "11 1");
	cr_assert_eq(replace("t", &a[1], 1, false, 1), 0);
	cr_assert_str_eq(shown(TOPIC, "t", "retention.ms"), "604800000 5");
	cr_assert_str_eq(shown(TOPIC, "t", "flush"), "lazy 1");
	cr_assert_eq(replace("t", bad, 1, false, 2), SL_KERR_INVALID_CONFIG);
	cr_assert_eq(replace("t", null, 1, false, 2), SL_KERR_INVALID_REQUEST);
	cr_assert_eq(replace("u", a, 2, false, 2), SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	cr_assert_str_eq(shown(TOPIC, "t", "flush"), "lazy 1");
}

Test(configs, uses_a_changed_num_partitions)
{
	struct fake_topic seen;

	cr_assert_eq(change(BROKER, "", SET, "num.partitions", "5"), 0);
	harness_create_topic(&h, "five", -1);
	cr_assert(fake_topic(h.fake, "five", &seen));
	cr_assert_eq(seen.partitions_count, 5);
	free(seen.configs);
}

static struct sl_list_config_resources_resp list(int8_t *types, int32_t count, int16_t version)
{
	struct sl_list_config_resources_req req = {types, count};
	struct sl_list_config_resources_resp resp;

	CALL(&h, list_config_resources, LIST_CONFIG_RESOURCES, version, &req, &resp);
	return resp;
}

Test(configs, lists_resources)
{
	int8_t topics[] = {TOPIC}, odd[] = {TOPIC, 99};
	struct sl_list_config_resources_resp resp = list(NULL, 0, 1);

	cr_assert_eq(resp.config_resources_count, 3, "one topic, two brokers");
	resp = list(topics, 1, 1);
	cr_assert_eq(resp.config_resources_count, 1);
	cr_assert(sl_str_eq_c(resp.config_resources[0].resource_name, "t"));
	cr_assert_eq(list(odd, 2, 1).error_code, SL_KERR_UNSUPPORTED_VERSION);
	cr_assert_eq(list(NULL, 0, 0).config_resources_count, 0, "client metrics only");
}

Test(configs, keeps_those_of_groups)
{
	const char *const session = "consumer.session.timeout.ms";
	const char *const beat = "consumer.heartbeat.interval.ms";
	struct sl_describe_configs_resp resp;
	struct sl_list_config_resources_resp all;
	int8_t groups[] = {GROUP};

	cr_assert_str_eq(shown(GROUP, "g", session), "45000 5");
	cr_assert_eq(list(groups, 1, 1).config_resources_count, 0);
	cr_assert_eq(change(GROUP, "g", SET, session, "50000"), 0);
	cr_assert_eq(change(GROUP, "g", SET, beat, "6000"), 0);
	cr_assert_str_eq(shown(GROUP, "g", session), "50000 8");
	cr_assert_str_eq(shown(GROUP, "g", beat), "6000 8");
	cr_assert_str_eq(shown(GROUP, "other", session), "45000 5");
	resp = describe(GROUP, "g", NULL, 4);
	cr_assert_eq(resp.results[0].configs_count, SL_CG_NR);
	cr_assert_eq(resp.results[0].configs[0].synonyms_count, 2);
	cr_assert_not(resp.results[0].configs[0].read_only);
	all = list(NULL, 0, 1);
	cr_assert_eq(all.config_resources_count, 4, "a topic, two brokers, a group");
	all = list(groups, 1, 1);
	cr_assert_eq(all.config_resources_count, 1);
	cr_assert_eq(all.config_resources[0].resource_type, GROUP);
	cr_assert(sl_str_eq_c(all.config_resources[0].resource_name, "g"));
	harness_stop_control(&h);
	harness_start_control(&h);
	harness_until_served(&h);
	cr_assert_str_eq(shown(GROUP, "g", session), "50000 8");
	cr_assert_eq(change(GROUP, "g", DELETE, session, NULL), 0);
	cr_assert_eq(change(GROUP, "g", DELETE, beat, NULL), 0);
	cr_assert_str_eq(shown(GROUP, "g", session), "45000 5");
	cr_assert_eq(list(groups, 1, 1).config_resources_count, 0);
}

Test(configs, holds_groups_within_the_servers_bounds)
{
	const char *const session = "consumer.session.timeout.ms";
	const char *const beat = "consumer.heartbeat.interval.ms";
	char name[251];

	memset(name, 'g', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	cr_assert_eq(change(GROUP, "g", SET, session, "44999"), SL_KERR_INVALID_CONFIG);
	cr_assert_eq(change(GROUP, "g", SET, session, "60001"), SL_KERR_INVALID_CONFIG);
	cr_assert_eq(change(GROUP, "g", SET, session, "soon"), SL_KERR_INVALID_CONFIG);
	cr_assert_eq(change(GROUP, "g", SET, beat, "4999"), SL_KERR_INVALID_CONFIG);
	cr_assert_eq(change(GROUP, "g", SET, beat, "15001"), SL_KERR_INVALID_CONFIG);
	cr_assert_eq(change(GROUP, "g", SET, "share.session.timeout.ms", "45000"),
	             SL_KERR_INVALID_CONFIG);
	cr_assert_eq(change(GROUP, "g", SET, "retention.ms", "1"), SL_KERR_INVALID_CONFIG);
	cr_assert_eq(change(GROUP, "g", APPEND, session, "1"), SL_KERR_INVALID_CONFIG);
	cr_assert_eq(change(GROUP, "", SET, session, "50000"), SL_KERR_INVALID_REQUEST);
	cr_assert_eq(change(GROUP, name, SET, session, "50000"), SL_KERR_INVALID_REQUEST);
	cr_assert_eq(describe(GROUP, "", NULL, 4).results[0].error_code, SL_KERR_INVALID_REQUEST);
	cr_assert_eq(meta_group_configs_count(h.control->meta), 0);
	cr_assert_eq(change(GROUP, "g", SET, session, "60000"), 0);
	cr_assert_eq(change(GROUP, "g", SET, beat, "15000"), 0);
}

Test(configs, keeps_the_session_of_a_group_longer_than_its_heartbeats)
{
	const char *const session = "consumer.session.timeout.ms";
	const char *const beat = "consumer.heartbeat.interval.ms";

	harness_stop_control(&h);
	harness_set(&h, "group.consumer.min.session.timeout.ms", "6000");
	harness_start_control(&h);
	harness_until_served(&h);
	cr_assert_eq(change(GROUP, "g", SET, session, "9000"), 0);
	cr_assert_eq(change(GROUP, "g", SET, beat, "9000"), SL_KERR_INVALID_CONFIG);
	cr_assert_eq(change(GROUP, "g", SET, beat, "8999"), 0);
	cr_assert_eq(change(GROUP, "g", SET, session, "8999"), SL_KERR_INVALID_CONFIG);
	/* A narrower bound counts for what was set before. */
	harness_stop_control(&h);
	harness_set(&h, "group.consumer.min.session.timeout.ms", "20000");
	harness_start_control(&h);
	harness_until_served(&h);
	cr_assert_str_eq(shown(GROUP, "g", session), "9000 8");
	cr_assert_eq(config_group_int(h.control, sl_str_from("g"),
	                              SL_CG_consumer_session_timeout_ms),
	             20000);
}

Test(configs, refuses_a_group_given_twice)
{
	struct sl_incremental_alter_configs_req_resource_config config = {
		sl_str_from("consumer.session.timeout.ms"), SET, sl_str_from("50000")};
	struct sl_incremental_alter_configs_req_resource twice[] = {
		{GROUP, sl_str_from("g"), &config, 1},
		{GROUP, sl_str_from("h"), &config, 1},
		{GROUP, sl_str_from("g"), &config, 1},
	};
	struct sl_incremental_alter_configs_req req;
	struct sl_incremental_alter_configs_resp resp;

	sl_incremental_alter_configs_req_init(&req);
	req.resources = twice;
	req.resources_count = 3;
	CALL(&h, incremental_alter_configs, INCREMENTAL_ALTER_CONFIGS, 1, &req, &resp);
	cr_assert_eq(resp.responses[0].error_code, 0);
	cr_assert_eq(resp.responses[1].error_code, 0);
	cr_assert_eq(resp.responses[2].error_code, SL_KERR_INVALID_REQUEST);
	cr_assert_eq(meta_group_configs_count(h.control->meta), 2);
}

/* Naming one broker many times must not eat the memory: the connection is closed instead. */
Test(configs, closes_on_a_request_that_would_explode)
{
	int32_t count = 200000;
	struct sl_describe_configs_req_resource *resources = calloc((size_t)count,
	                                                            sizeof(*resources));
	struct sl_describe_configs_req req;

	for (int32_t i = 0; i < count; i++)
		resources[i] = (struct sl_describe_configs_req_resource){BROKER, sl_str_from("100"),
		                                                         NULL, -1};
	sl_describe_configs_req_init(&req);
	req.resources = resources;
	req.resources_count = count;
	req.include_synonyms = true;
	harness_wait(&h, SEND(&h, 0, describe_configs, DESCRIBE_CONFIGS, 4, &req));
	cr_assert(h.answer.is_close);
	free(resources);
	harness_create_topic(&h, "alive", 1);
}
