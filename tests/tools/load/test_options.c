/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "options.h"

static struct options o;
static char wrong[512];

/* Splits @line at blanks and parses it. */
static enum options_result parse(const char *line)
{
	static char copy[1024];
	static char name[] = "sluice-load";
	char *argv[64] = {name};
	char *save = NULL;
	int argc = 1;

	snprintf(copy, sizeof(copy), "%s", line);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	wrong[0] = 0;
	return options_parse(&o, argc, argv, wrong, sizeof(wrong));
}

static void expect_run(const char *line)
{
	cr_assert_eq(parse(line), OPTIONS_RUN, "%s: %s", line, wrong);
}

/* Refused in one line that contains @text. */
static void expect_wrong(const char *line, const char *text)
{
	cr_assert_eq(parse(line), OPTIONS_WRONG, "%s was accepted", line);
	cr_assert_not_null(strstr(wrong, text), "%s: %s", line, wrong);
	cr_assert_null(strchr(wrong, '\n'), "%s: %s", line, wrong);
}

Test(options, defaults_are_those_of_the_manual)
{
	expect_run("produce");
	cr_assert_str_eq(o.host, "127.0.0.1");
	cr_assert_eq(o.port, 9092);
	cr_assert_str_eq(o.topic, "sluice-load");
	cr_assert(o.partitions == 1 && o.replication == 1 && o.threads == 1);
	cr_assert(o.record_bytes == 1024 && o.batch_bytes == 65536 && o.batch_records == 0);
	cr_assert(o.duration_s == 10 && o.warmup_s == 1 && o.rate == 0);
	cr_assert(o.acks == -1 && o.in_flight == 5 && !o.is_idempotent);
	expect_run("consume");
	cr_assert(o.max_bytes == 52428800 && o.max_partition_bytes == 1048576);
	cr_assert(o.min_bytes == 1 && o.max_wait_ms == 500 && o.from == LOAD_FROM_EARLIEST);
}

Test(options, takes_both_forms_of_a_value)
{
	expect_run("produce --partitions 7 --threads=3 --rate 2.5e3");
	cr_assert(o.partitions == 7 && o.threads == 3 && o.rate == 2500);
}

Test(options, reads_hosts_with_and_without_port_and_brackets)
{
	expect_run("produce --bootstrap broker.example:1234");
	cr_assert_str_eq(o.host, "broker.example");
	cr_assert_eq(o.port, 1234);
	expect_run("produce --bootstrap broker");
	cr_assert_eq(o.port, 9092);
	expect_run("produce --bootstrap [::1]:99");
	cr_assert_str_eq(o.host, "::1");
	cr_assert_eq(o.port, 99);
	expect_wrong("produce --bootstrap broker:0", "--bootstrap broker:0");
	expect_wrong("produce --bootstrap broker:x", "HOST:PORT");
	expect_wrong("produce --bootstrap :9092", "HOST:PORT");
}

Test(options, reads_words)
{
	expect_run("produce --acks 0");
	cr_assert_eq(o.acks, 0);
	expect_run("produce --acks all --compression zstd --value text");
	cr_assert(o.acks == -1 && o.codec == SL_CODEC_ZSTD && o.value == LOAD_VALUE_TEXT);
	expect_run("consume --from latest");
	cr_assert_eq(o.from, LOAD_FROM_LATEST);
	expect_run("consume --from 123");
	cr_assert_eq(o.from, 123);
	expect_wrong("produce --acks 2", "--acks 2");
	expect_wrong("produce --compression rar", "none, gzip, snappy, lz4 or zstd");
	expect_wrong("consume --from -5", "earliest, latest or an offset");
}

Test(options, reads_key_distributions)
{
	expect_run("produce --key-bytes 16 --keys uniform:1000");
	cr_assert(o.keys == LOAD_KEYS_UNIFORM && o.keys_count == 1000);
	expect_run("produce --key-bytes 16 --keys zipf:1000000,0.99");
	cr_assert(o.keys == LOAD_KEYS_ZIPF && o.keys_count == 1000000 && o.keys_skew == 0.99);
	expect_wrong("produce --key-bytes 16 --keys zipf:10", "zipf:N,S");
	expect_wrong("produce --key-bytes 16 --keys zipf:10,0", "zipf:N,S");
	expect_wrong("produce --key-bytes 16 --keys uniform:0", "uniform:N");
	expect_wrong("produce --key-bytes 16 --keys uniform:-4", "uniform:N");
	expect_wrong("produce --key-bytes 16 --keys pareto:4", "sequential");
	expect_wrong("produce --keys uniform:10", "--key-bytes");
}

Test(options, collects_topic_configurations)
{
	expect_run("produce --topic-config retention.ms=1 --topic-config cleanup.policy=compact");
	cr_assert_eq(o.configs_count, 2);
	cr_assert_str_eq(o.configs[1], "cleanup.policy=compact");
	expect_wrong("produce --topic-config retention", "K=V");
	expect_wrong("produce --topic-config =1", "K=V");
}

Test(options, one_record_a_batch_can_be_said_in_two_ways)
{
	expect_run("produce --batch-bytes 0");
	cr_assert_eq(o.batch_records, 1);
	expect_run("produce --batch-records 100 --record-bytes 10000");
	cr_assert(o.batch_records == 100 && o.batch_bytes > 1100000);
	expect_run("produce --batch-records 100 --batch-bytes 5000");
	cr_assert(o.batch_records == 100 && o.batch_bytes == 5000);
}

Test(options, warm_up_is_off_when_records_are_counted)
{
	expect_run("produce --records 100");
	cr_assert_eq(o.warmup_s, 0);
	expect_run("produce --records 100 --warmup 2");
	cr_assert_eq(o.warmup_s, 2);
}

Test(options, connections_count_from_the_first_one)
{
	expect_run("connections");
	cr_assert_eq(o.warmup_s, 0);
}

Test(options, refuses_what_is_no_number_or_out_of_range)
{
	expect_wrong("produce --partitions x", "--partitions x");
	expect_wrong("produce --partitions 0", "from 1 to");
	expect_wrong("produce --partitions 3x", "--partitions 3x");
	expect_wrong("produce --partitions 99999999999999999999", "number");
	expect_wrong("produce --rate nan", "--rate nan");
	expect_wrong("produce --rate inf", "--rate inf");
	expect_wrong("produce --rate -1", "--rate -1");
	expect_wrong("produce --duration 0", "--duration 0");
}

Test(options, refuses_unknown_options_and_those_of_another_mode)
{
	expect_wrong("produce --partition 3", "no option --partition;");
	expect_wrong("produce -p 3", "no option -p;");
	expect_wrong("produce 3", "no option 3;");
	expect_wrong("produce --loop", "produce has no option --loop");
	expect_wrong("consume --acks all", "consume has no option --acks");
	expect_wrong("produce --partitions", "--partitions takes N");
	expect_wrong("produce --json=1", "--json takes no value");
	expect_wrong("fetch", "produce, consume, e2e or connections");
	expect_wrong("", "produce, consume, e2e or connections");
}

Test(options, refuses_contradictions)
{
	expect_wrong("e2e", "--rate");
	expect_wrong("produce --linger-ms 5", "--rate");
	expect_wrong("produce --idempotent --acks 1", "--acks all");
	expect_wrong("produce --idempotent --in-flight 6", "--in-flight 5");
	expect_wrong("produce --verify --record-bytes 20", "--record-bytes 40");
	expect_wrong("e2e --rate 1 --record-bytes 20", "--record-bytes 40");
	expect_wrong("e2e --rate 1 --acks 0", "--acks");
	expect_wrong("consume --verify --loop", "exclude");
}

Test(options, help_is_found_anywhere_and_says_every_option_of_the_mode)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	cr_assert_eq(parse("--help"), OPTIONS_HELP);
	cr_assert_eq(o.mode, LOAD_MODE_NR);
	cr_assert_eq(parse("consume --loop --help"), OPTIONS_HELP);
	cr_assert_eq(o.mode, LOAD_CONSUME);
	options_help(out, LOAD_CONSUME);
	fclose(out);
	cr_assert_not_null(strstr(text, "--fan-out N"));
	cr_assert_not_null(strstr(text, "--max-partition-bytes N"));
	cr_assert_not_null(strstr(text, "Examples:"));
	cr_assert_null(strstr(text, "--acks"));
	free(text);
}
