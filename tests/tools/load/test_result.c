/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "result.h"

static struct options opts;
static struct result result;
static struct result other;
static struct sl_buf text;

static void setup(void)
{
	opts = (struct options){.topic = "t",
	                        .threads = 2,
	                        .record_bytes = 1024,
	                        .batch_bytes = 65536,
	                        .acks = -1,
	                        .codec = SL_CODEC_LZ4,
	                        .rate = 1000.5};
	sl_buf_init_grow(&text, 65536);
}

static void teardown(void)
{
	sl_buf_fini(&text);
}

TestSuite(result, .init = setup, .fini = teardown);

static const char *as_text(void)
{
	sl_buf_put_u8(&text, 0);
	cr_assert(sl_buf_ok(&text));
	return (const char *)text.p;
}

Test(result, json_has_the_promised_form)
{
	struct result_frame f = {.opts = &opts,
	                         .connections = 3,
	                         .partitions = 4,
	                         .seconds = 2,
	                         .cpu_user_s = 0.25,
	                         .cpu_system_s = 1.25};

	result.requests = 10;
	result.records = 100;
	result.bytes = 5000000;
	result.errors = 2;
	result.retries = 1;
	result.verify = (struct verify_counts){5, 4, 3, 2, 1};
	sl_hist_add(&result.latency_ns, 100000);
	sl_hist_add(&result.latency_ns, 100000);
	result_json(&text, &result, &f);
	cr_assert_str_eq(
		as_text(),
		"{\"mode\":\"produce\",\"topic\":\"t\",\"connections\":3,\"partitions\":4,"
		"\"threads\":2,\"record_bytes\":1024,\"batch_bytes\":65536,\"acks\":-1,"
		"\"compression\":\"lz4\",\"rate\":1000.5,\"seconds\":2.000,\"records\":100,"
		"\"records_s\":50.0,\"bytes\":5000000,\"mb_s\":2.500,\"requests\":10,"
		"\"requests_s\":5.0,\"errors\":2,\"retries\":1,\"verify\":{\"checked\":5,"
		"\"lost\":4,\"duplicated\":3,\"reordered\":2,\"corrupt\":1},\"latency_us\":{"
		"\"p50\":100.0,\"p90\":100.0,\"p99\":100.0,\"p99.9\":100.0,\"p99.99\":100.0,"
		"\"max\":100.0,\"mean\":100.0},\"cpu_user_s\":0.250,\"cpu_system_s\":1.250,"
		"\"cores_busy\":0.750}\n");
}

Test(result, json_of_nothing_has_zeros_and_no_division_by_zero)
{
	struct result_frame f = {.opts = &opts};

	result_json(&text, &result, &f);
	cr_assert_not_null(strstr(as_text(), "\"records_s\":0.0,"));
	cr_assert_null(strstr(as_text(), "nan"));
	cr_assert_null(strstr(as_text(), "inf"));
}

Test(result, json_escapes_what_a_topic_may_be_called)
{
	struct result_frame f = {.opts = &opts};

	opts.topic = "a\"b\\c\n";
	result_json(&text, &result, &f);
	cr_assert_not_null(strstr(as_text(), "\"topic\":\"a\\u0022b\\u005cc\\u000a\""));
}

Test(result, connections_report_how_they_were_opened)
{
	struct result_frame f = {.opts = &opts, .seconds = 1, .connects_s = 20};

	opts.mode = LOAD_CONNECTIONS;
	result.opened = 7;
	result.failed = 1;
	sl_hist_add(&result.connect_ns, 50000);
	result_json(&text, &result, &f);
	cr_assert_not_null(strstr(as_text(), "\"opened\":7,\"failed\":1,\"connects_s\":20.0,"
	                                     "\"connect_us\":{\"p50\":50.0,"));
}

Test(result, far_quantiles_are_within_a_percent)
{
	/* 99.95 % at 100 us and the rest spread: what p99.99 has to tell. */
	for (uint64_t i = 0; i < 100000; i++)
		sl_hist_add(&result.latency_ns, i < 99950 ? 100000 : 1000000 + i * 10);

	double got = (double)sl_hist_quantile(&result.latency_ns, 0.9999);
	double exact = 1000000 + 99989 * 10;

	cr_assert(got >= exact && got <= exact * 1.01, "%f", got);
}

Test(result, sums_add_up)
{
	result.requests = 1;
	result.records = 2;
	result.bytes = 3;
	result.errors = 4;
	result.retries = 5;
	result.last_ns = 100;
	result.verify.lost = 6;
	sl_hist_add(&result.latency_ns, 10);
	other = result;
	other.last_ns = 90;
	result_merge(&result, &other);
	cr_assert(result.requests == 2 && result.records == 4 && result.bytes == 6);
	cr_assert(result.errors == 8 && result.retries == 10 && result.last_ns == 100);
	cr_assert(result.verify.lost == 12 && result.latency_ns.count == 2);
}

Test(result, any_violation_is_one)
{
	cr_assert_not(result_is_violated(&result));
	result.verify.checked = 1;
	cr_assert_not(result_is_violated(&result));
	for (int i = 0; i < 4; i++) {
		uint64_t *counts[] = {&result.verify.lost, &result.verify.duplicated,
		                      &result.verify.reordered, &result.verify.corrupt};

		*counts[i] = 1;
		cr_assert(result_is_violated(&result));
		*counts[i] = 0;
	}
}

Test(result, progress_is_one_line)
{
	result.records = 1000;
	result.bytes = 2000000;
	result_progress(&text, &result, 2, 7);
	cr_assert_not_null(strstr(as_text(), "500 records/s"));
	cr_assert_not_null(strstr(as_text(), "1.0 MB/s"));
	cr_assert_eq(strchr(as_text(), '\n')[1], 0);
}

Test(result, table_names_what_latency_it_is)
{
	struct result_frame f = {.opts = &opts, .seconds = 1};

	result_table(&text, &result, &f);
	cr_assert_not_null(strstr(as_text(), "due to acknowledged"));
}
