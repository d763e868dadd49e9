/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "conf_impl.h"
#include "rng.h"
#include "sluice/base/conf.h"
#include "sluice/base/file.h"

static struct sl_conf conf;
static char error[SL_CONF_ERROR_MAX];

/* Parses a copy with nothing behind its one spare byte, so that asan sees every step outside. */
static int parse_bytes(const char *text, size_t len)
{
	char *copy = malloc(len + 1);
	int err;

	cr_assert(copy != NULL);
	memcpy(copy, text, len);
	copy[len] = '\0';
	sl_conf_fini(&conf);
	conf_defaults(&conf);
	error[0] = '\0';
	err = conf_parse(&conf, "t.conf", copy, len, error);
	free(copy);
	return err;
}

static int parse(const char *text)
{
	return parse_bytes(text, strlen(text));
}

static void expect_error(const char *text, const char *expected)
{
	cr_assert(parse(text) == -EINVAL, "accepted: %s", text);
	cr_assert(strcmp(error, expected) == 0, "error is: %s", error);
}

static void drop_conf(void)
{
	sl_conf_fini(&conf);
}

TestSuite(conf, .fini = drop_conf);

Test(conf, defaults_come_from_the_table)
{
	cr_assert(sl_conf_load(&conf, NULL, error) == 0);
	cr_assert(sl_conf_int(&conf, SL_CK_num_partitions) == 1);
	cr_assert(sl_conf_int(&conf, SL_CK_log_flush_interval_ms) == INT64_MAX);
	cr_assert(sl_conf_int(&conf, SL_CK_log_retention_bytes) == -1);
	cr_assert(sl_conf_bool(&conf, SL_CK_auto_create_topics_enable));
	cr_assert(strcmp(sl_conf_str(&conf, SL_CK_http_listen), "127.0.0.1:9644") == 0);
	cr_assert(strcmp(sl_conf_str(&conf, SL_CK_cluster_id), "") == 0);
	for (int i = 0; i < SL_CK_NR; i++)
		cr_assert(!conf.v[i].is_set && conf.v[i].s == NULL);
}

Test(conf, both_separators_comments_blanks_and_line_ends)
{
	cr_assert(parse("# comment = 1\n"
	                "  ! another: 2\r\n"
	                "\n"
	                " \t\r\n"
	                "num.partitions=3\n"
	                "  server.id : 7  \r\n"
	                "cluster.id\t=\tmy cluster \n"
	                "advertised.host:h=x:1#no comment\n"
	                "listeners=PLAINTEXT://[::1]:9092") == 0,
	          "%s", error);
	cr_assert(sl_conf_int(&conf, SL_CK_num_partitions) == 3);
	cr_assert(sl_conf_int(&conf, SL_CK_server_id) == 7);
	cr_assert(strcmp(sl_conf_str(&conf, SL_CK_cluster_id), "my cluster") == 0);
	cr_assert(strcmp(sl_conf_str(&conf, SL_CK_advertised_host), "h=x:1#no comment") == 0);
	cr_assert(strcmp(sl_conf_str(&conf, SL_CK_listeners), "PLAINTEXT://[::1]:9092") == 0);
	cr_assert(conf.v[SL_CK_server_id].is_set && !conf.v[SL_CK_lane_count].is_set);
}

Test(conf, takes_pairs_and_refuses_what_is_none)
{
	static const char *const bad[] = {"", "=", "=1", "lane.count", "server.id 7"};
	char longest[300];

	cr_assert(parse("") == 0, "%s", error);
	cr_assert(sl_conf_set_pair(&conf, "server.id=7", error) == 0);
	cr_assert(sl_conf_int(&conf, SL_CK_server_id) == 7);
	cr_assert(sl_conf_set_pair(&conf, "cluster.id=a=b", error) == 0);
	cr_assert(strcmp(sl_conf_str(&conf, SL_CK_cluster_id), "a=b") == 0);
	for (size_t i = 0; i < SL_ARRAY_SIZE(bad); i++) {
		cr_assert(sl_conf_set_pair(&conf, bad[i], error) == -EINVAL, "%s", bad[i]);
		cr_assert(strstr(error, "not KEY=VALUE"), "%s", error);
	}
	memset(longest, 'k', sizeof(longest));
	longest[sizeof(longest) - 2] = '=';
	longest[sizeof(longest) - 1] = '\0';
	cr_assert(sl_conf_set_pair(&conf, longest, error) == -EINVAL);
	cr_assert(sl_conf_set_pair(&conf, "no.such.key=1", error) == -EINVAL);
	cr_assert(!strstr(error, "KEY=VALUE"), "%s", error);
}

Test(conf, backslash_continues_a_line)
{
	cr_assert(parse("log.dirs = /a,\\\n   /b,\\\r\n\t/c\n"
	                "num.part\\\n  itions = 5\n"
	                "cluster.id = \\\n\\\n x\n"
	                "advertised.host = end\\") == 0,
	          "%s", error);
	cr_assert(strcmp(sl_conf_str(&conf, SL_CK_log_dirs), "/a,/b,/c") == 0);
	cr_assert(sl_conf_int(&conf, SL_CK_num_partitions) == 5);
	cr_assert(strcmp(sl_conf_str(&conf, SL_CK_cluster_id), "x") == 0);
	cr_assert(strcmp(sl_conf_str(&conf, SL_CK_advertised_host), "end") == 0);
}

Test(conf, empty_line_ends_a_continued_line)
{
	cr_assert(parse("cluster.id = a\\\\\n\nnum.partitions = 3\n") == 0, "%s", error);
	cr_assert(strcmp(sl_conf_str(&conf, SL_CK_cluster_id), "a\\") == 0);
	cr_assert(sl_conf_int(&conf, SL_CK_num_partitions) == 3);
	expect_error("\\\n\\\n\\", "t.conf:1: : has no '=' or ':' after the key");
}

Test(conf, comment_is_not_continued_and_continuation_is_no_comment)
{
	cr_assert(parse("# comment \\\nnum.partitions = 4\ncluster.id = a\\\n#b\n") == 0);
	cr_assert(sl_conf_int(&conf, SL_CK_num_partitions) == 4);
	cr_assert(strcmp(sl_conf_str(&conf, SL_CK_cluster_id), "a#b") == 0);
}

Test(conf, last_value_of_a_key_counts)
{
	cr_assert(parse("num.partitions = 2\nnum.partitions = 9\n") == 0);
	cr_assert(sl_conf_int(&conf, SL_CK_num_partitions) == 9);
}

Test(conf, errors_name_file_line_key_value_and_what_is_allowed)
{
	expect_error("# one\n\nnum.partitions = many\n",
	             "t.conf:3: num.partitions = \"many\": must be an integer from 1 to 10000");
	expect_error("num.partitions = 0",
	             "t.conf:1: num.partitions = \"0\": must be an integer from 1 to 10000");
	expect_error("cluster.id = a\\\nb\\\nc\nnum.partitions = 10001",
	             "t.conf:4: num.partitions = \"10001\": must be an integer from 1 to 10000");
	expect_error("delete.topic.enable = yes",
	             "t.conf:1: delete.topic.enable = \"yes\": must be true or false");
	expect_error("steer = Auto", "t.conf:1: steer = \"Auto\": must be one of auto|never");
	expect_error("log.cleanup.policy = delete,compress",
	             "t.conf:1: log.cleanup.policy = \"delete,compress\": must be a list of "
	             "delete|compact with ',' between");
	expect_error("server.id =", "t.conf:1: server.id = \"\": must be an integer from 0 to "
	                            "21474835");
	expect_error("num.partitions 5",
	             "t.conf:1: num.partitions 5: has no '=' or ':' after the key");
	expect_error("= 5", "t.conf:1: has no key before '='");
}

Test(conf, unknown_keys_are_refused_with_a_hint)
{
	expect_error("num.partition = 5",
	             "t.conf:1: num.partition: unknown key; did you mean num.partitions?");
	expect_error("auto.create.topic.enabled = true",
	             "t.conf:1: auto.create.topic.enabled: unknown key; did you mean "
	             "auto.create.topics.enable?");
	expect_error("retention.ms = 5",
	             "t.conf:1: retention.ms: is a key of topics; its default for "
	             "all topics is log.retention.ms");
	expect_error("zookeeper.connect = x", "t.conf:1: zookeeper.connect: unknown key");
	expect_error("Num.Partitions = 5",
	             "t.conf:1: Num.Partitions: unknown key; did you mean num.partitions?");
}

Test(conf, error_text_is_harmless_and_bounded)
{
	static char longline[9000];

	cr_assert(parse("a\x1b[2Jb\x7f = 5") == -EINVAL);
	cr_assert(strcmp(error, "t.conf:1: a?[2Jb?: unknown key") == 0, "%s", error);
	cr_assert(parse_bytes("server.id = 1\0", 14) == -EINVAL);
	cr_assert(strcmp(error, "t.conf:1: contains a NUL byte") == 0, "%s", error);
	memset(longline, 'k', sizeof(longline) - 1);
	cr_assert(parse(longline) == -EINVAL);
	cr_assert(strlen(error) < SL_CONF_ERROR_MAX);
	memcpy(longline, "cluster.id = ", 13);
	cr_assert(parse(longline) == -EINVAL);
	cr_assert(strstr(error, "t.conf:1: cluster.id = \"kkk") == error, "%s", error);
	cr_assert(strstr(error, "...\": is too long") != NULL, "%s", error);
	longline[13 + SL_CONF_VALUE_MAX] = '\0';
	cr_assert(parse(longline) == 0);
}

Test(conf, set_keeps_the_old_value_when_the_new_one_is_bad)
{
	cr_assert(sl_conf_load(&conf, NULL, error) == 0);
	cr_assert(sl_conf_set(&conf, "num.partitions", " 12 ", error) == 0);
	cr_assert(strcmp(sl_conf_str(&conf, SL_CK_num_partitions), "12") == 0);
	cr_assert(sl_conf_set(&conf, "num.partitions", "x", error) == -EINVAL);
	cr_assert(strcmp(error, "num.partitions = \"x\": must be an integer from 1 to 10000") == 0);
	cr_assert(sl_conf_int(&conf, SL_CK_num_partitions) == 12);
	cr_assert(strcmp(sl_conf_str(&conf, SL_CK_num_partitions), "12") == 0);
	cr_assert(sl_conf_set(&conf, "delete.topic.enable", "FALSE", error) == 0);
	cr_assert(!sl_conf_bool(&conf, SL_CK_delete_topic_enable));
}

struct check_case {
	const char *key;
	const char *text;
	bool ok;
	int64_t i;
};

Test(conf, topic_values_are_checked_by_type)
{
	static const struct check_case cases[] = {
		{"retention.ms", "-1", true, -1},
		{"retention.ms", "-2", false, 0},
		{"retention.ms", "9223372036854775807", true, INT64_MAX},
		{"retention.ms", "9223372036854775808", false, 0},
		{"retention.ms", "-9223372036854775808", false, 0},
		{"retention.ms", "99999999999999999999999", false, 0},
		{"retention.ms", " +5\t", true, 5},
		{"retention.ms", "5ms", false, 0},
		{"retention.ms", "0x10", false, 0},
		{"retention.ms", "", false, 0},
		{"retention.ms", "-", false, 0},
		{"retention.ms", "- 1", false, 0},
		{"retention.ms", "1e3", false, 0},
		{"min.cleanable.dirty.ratio", "0.5", true, 500000},
		{"min.cleanable.dirty.ratio", "1", true, 1000000},
		{"min.cleanable.dirty.ratio", "1.0000000", true, 1000000},
		{"min.cleanable.dirty.ratio", ".1234567", true, 123456},
		{"min.cleanable.dirty.ratio", "0", true, 0},
		{"min.cleanable.dirty.ratio", "1.000001", false, 0},
		{"min.cleanable.dirty.ratio", "-0.1", false, 0},
		{"min.cleanable.dirty.ratio", ".", false, 0},
		{"min.cleanable.dirty.ratio", "", false, 0},
		{"min.cleanable.dirty.ratio", "0.5.1", false, 0},
		{"min.cleanable.dirty.ratio", "1e-1", false, 0},
		{"min.cleanable.dirty.ratio", "99999999999999999999", false, 0},
		{"cleanup.policy", "delete", true, 0},
		{"cleanup.policy", "compact , delete", true, 0},
		{"cleanup.policy", "", true, 0},
		{"cleanup.policy", "delete,", false, 0},
		{"cleanup.policy", ",delete", false, 0},
		{"cleanup.policy", "delete,,compact", false, 0},
		{"cleanup.policy", "delet", false, 0},
		{"cleanup.policy", "deletecompact", false, 0},
		{"cleanup.policy", "delete|compact", false, 0},
		{"message.timestamp.type", "LogAppendTime", true, 0},
		{"message.timestamp.type", "logappendtime", false, 0},
		{"message.timestamp.type", "", false, 0},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(cases); i++) {
		int key = sl_conf_find_topic(sl_str_from(cases[i].key));
		struct sl_conf_value v = {0};
		int err;

		cr_assert(key >= 0);
		error[0] = '\0';
		err = sl_conf_check(&sl_conf_topic_defs[key], sl_str_from(cases[i].text), &v,
		                    error);
		cr_assert(err == (cases[i].ok ? 0 : -EINVAL), "%s = '%s'", cases[i].key,
		          cases[i].text);
		cr_assert(v.i == cases[i].i, "%s = '%s'", cases[i].key, cases[i].text);
		cr_assert((error[0] == '\0') == cases[i].ok);
	}
}

Test(conf, null_and_nul_values_are_refused)
{
	const struct sl_conf_def *def = &sl_conf_broker_defs[SL_CK_cluster_id];
	struct sl_conf_value v = {0};

	cr_assert(sl_conf_check(def, SL_STR_NULL, &v, error) == -EINVAL);
	cr_assert(strcmp(error, "cluster.id: has no value") == 0);
	cr_assert(sl_conf_check(def, (struct sl_str){"a\0b", 3}, &v, error) == -EINVAL);
	cr_assert(strcmp(error, "cluster.id = \"a?b\": contains a NUL byte") == 0, "%s", error);
	cr_assert(sl_conf_check(def, (struct sl_str){NULL, 0}, &v, error) == 0);
}

Test(conf, words_of_any_kind_are_a_list_without_words)
{
	static const struct sl_conf_def def = {.name = "x",
	                                       .type = SL_CONF_LIST,
	                                       .def = "",
	                                       .words = "",
	                                       .synonym = "",
	                                       .text = ""};
	struct sl_conf_value v;

	cr_assert(sl_conf_check(&def, sl_str_from("a, b"), &v, error) == 0);
	cr_assert(sl_conf_check(&def, sl_str_from(""), &v, error) == 0);
	cr_assert(sl_conf_check(&def, sl_str_from("a, ,b"), &v, error) == -EINVAL);
}

static bool is_in_words(const struct sl_conf_def *def)
{
	return def->type == SL_CONF_ENUM || def->words[0] || def->type != SL_CONF_LIST;
}

Test(conf, tables_are_consistent)
{
	struct sl_conf_value v;

	for (int i = 0; i < SL_CK_NR; i++) {
		const struct sl_conf_def *def = &sl_conf_broker_defs[i];

		cr_assert(sl_conf_find_broker(sl_str_from(def->name)) == i, "%s", def->name);
		cr_assert(sl_conf_check(def, sl_str_from(def->def), &v, error) == 0, "%s", error);
		cr_assert(def->text[0] && is_in_words(def));
		cr_assert(strlen(def->name) <= 64);
	}
	for (int i = 0; i < SL_CT_NR; i++) {
		const struct sl_conf_def *def = &sl_conf_topic_defs[i];
		const struct sl_conf_def *broker;
		int synonym;

		cr_assert(sl_conf_find_topic(sl_str_from(def->name)) == i, "%s", def->name);
		cr_assert(sl_conf_check(def, sl_str_from(def->def), &v, error) == 0, "%s", error);
		cr_assert(def->scope == SL_CONF_TOPIC);
		if (!def->synonym[0])
			continue;
		synonym = sl_conf_find_broker(sl_str_from(def->synonym));
		cr_assert(synonym >= 0, "%s", def->synonym);
		/* A broker value must be a legal topic value, or topics would inherit nonsense. */
		broker = &sl_conf_broker_defs[synonym];
		cr_assert(broker->type == def->type && broker->min == def->min &&
		                  broker->max == def->max &&
		                  strcmp(broker->words, def->words) == 0 &&
		                  strcmp(broker->def, def->def) == 0,
		          "%s", def->name);
	}
	cr_assert(sl_conf_find_broker(sl_str_from("nosuch")) == -1);
	cr_assert(sl_conf_find_topic(SL_STR_NULL) == -1);
}

Test(conf, file_is_loaded_and_its_errors_reported)
{
	char path[] = "/tmp/sl-conf-XXXXXX";
	char expected[128];
	int fd = mkstemp(path);

	cr_assert(fd >= 0);
	cr_assert(sl_write_all(fd, "num.partitions=6\n", 17) == 0);
	cr_assert(sl_conf_load(&conf, path, error) == 0);
	cr_assert(sl_conf_int(&conf, SL_CK_num_partitions) == 6);
	sl_conf_fini(&conf);

	cr_assert(sl_write_all(fd, "oops\n", 5) == 0);
	cr_assert(sl_conf_load(&conf, path, error) == -EINVAL);
	snprintf(expected, sizeof(expected), "%s:2: oops: has no '=' or ':' after the key", path);
	cr_assert(strcmp(error, expected) == 0, "%s", error);
	close(fd);
	unlink(path);
	cr_assert(sl_conf_load(&conf, path, error) == -ENOENT);
	snprintf(expected, sizeof(expected), "%s: No such file or directory", path);
	cr_assert(strcmp(error, expected) == 0, "%s", error);
}

static void expect_sane(const char *bytes, size_t len)
{
	int err = parse_bytes(bytes, len);

	if (err == 0)
		return;
	cr_assert(err == -EINVAL);
	cr_assert(strncmp(error, "t.conf:", 7) == 0, "%s", error);
	cr_assert(strlen(error) < SL_CONF_ERROR_MAX);
	for (const char *p = error; *p; p++)
		cr_assert((unsigned char)*p >= 0x20 && *p != 0x7f);
}

Test(conf, random_bytes_never_crash_it)
{
	static const char tokens[] = "\n\r\\=: \t#!,|-+09azAZ.\0\x7f\xff";
	char bytes[300];
	uint64_t rng = 13;

	for (int i = 0; i < 20000; i++) {
		size_t len = rng_next(&rng) % sizeof(bytes);

		rng_fill(&rng, bytes, len);
		if (i % 2)
			for (size_t j = 0; j < len; j++)
				bytes[j] = tokens[(uint8_t)bytes[j] % (sizeof(tokens) - 1)];
		expect_sane(bytes, len);
	}
}

Test(conf, damaged_files_never_crash_it)
{
	static const char good[] = "# file\nserver.id = 3\nlog.dirs = /a,\\\n  /b\n"
				   "log.cleanup.policy: delete, compact\r\nsteer = never\n"
				   "log.retention.ms = -1\n!end\ndelete.topic.enable=false";
	char bytes[sizeof(good) + 8];
	uint64_t rng = 14;

	cr_assert(parse(good) == 0, "%s", error);
	for (int i = 0; i < 20000; i++) {
		size_t len = sizeof(good) - 1 - rng_next(&rng) % 4 * (rng_next(&rng) % 40);
		int damages = 1 + (int)(rng_next(&rng) % 4);

		memcpy(bytes, good, sizeof(good));
		for (int d = 0; d < damages; d++)
			bytes[rng_next(&rng) % len] = "\n\\=: \0x-"[rng_next(&rng) % 8];
		expect_sane(bytes, len);
	}
}

Test(conf, markdown_lists_every_key_in_well_formed_rows)
{
	char *text = NULL;
	size_t len = 0;
	FILE *file = open_memstream(&text, &len);
	unsigned rows = 0;

	cr_assert(file != NULL);
	sl_conf_print_markdown(file);
	fclose(file);
	for (int i = 0; i < SL_CK_NR; i++)
		cr_assert(strstr(text, sl_conf_broker_defs[i].name), "%s",
		          sl_conf_broker_defs[i].name);
	for (int i = 0; i < SL_CT_NR; i++)
		cr_assert(strstr(text, sl_conf_topic_defs[i].name), "%s",
		          sl_conf_topic_defs[i].name);
	for (char *line = text; *line;) {
		size_t line_len = strcspn(line, "\n");
		unsigned bars = 0;

		for (size_t i = 0; i < line_len; i++)
			bars += line[i] == '|';
		if (line[0] == '|') {
			rows++;
			cr_assert(bars == 6, "%.*s", (int)line_len, line);
		}
		line += line_len + (line[line_len] == '\n');
	}
	/* Each of the three tables has a head of two lines. */
	cr_assert(rows == SL_CK_NR + SL_CT_NR + SL_CG_NR + 6);
	free(text);
}
