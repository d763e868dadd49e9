/* SPDX-License-Identifier: Apache-2.0 */
/* Answers to fetches, whole and in pieces of every size. */
#include <criterion/criterion.h>
#include <errno.h>

#include "fetch.h"
#include "sluice/wire/apis.h"
#include "sluice/wire/fetch_gen.h"
#include "sluice/wire/kerr.h"

enum {
	ID = 77,
	PARTITIONS = 3
};

static struct sl_buf records;
static struct sl_buf answer;
static struct fetch_partition parts[PARTITIONS];
static int batches, errors_seen, last_code;
static int64_t records_seen;
static bool wants_records;

static void setup(void)
{
	sl_buf_init_grow(&records, (size_t)1 << 20);
	sl_buf_init_grow(&answer, (size_t)4 << 20);
	for (int i = 0; i < PARTITIONS; i++)
		parts[i] = (struct fetch_partition){.index = 10 + i, .log_start = -1};
}

static void teardown(void)
{
	sl_buf_fini(&records);
	sl_buf_fini(&answer);
}

TestSuite(fetch, .init = setup, .fini = teardown);

static struct fetch_partition *find(void *arg, int32_t index)
{
	(void)arg;
	return index >= 10 && index < 10 + PARTITIONS ? &parts[index - 10] : NULL;
}

static void see_error(void *arg, struct fetch_partition *p, int code)
{
	(void)arg;
	(void)p;
	errors_seen++;
	last_code = code;
}

static int see_batch(void *arg, struct fetch_partition *p, const struct sl_batch_head *head,
                     const uint8_t *whole)
{
	(void)arg;
	cr_assert(head->base_offset >= p->offset);
	cr_assert_eq(whole != NULL, wants_records);
	if (whole)
		cr_assert(sl_batch_check_crc(whole, head));
	batches++;
	records_seen += head->records_count;
	return 0;
}

static const struct fetch_sink sink = {find, see_error, see_batch, NULL};

/* Appends a batch of @count records to records. */
static void add_batch(int64_t offset, int count, int32_t value_bytes)
{
	static uint8_t value[5000];
	struct sl_batch_builder b;
	struct sl_batch_head head;

	sl_batch_head_init(&head);
	head.base_offset = offset;
	sl_batch_begin(&b, &records, &head);
	for (int i = 0; i < count; i++)
		sl_batch_add(&b, 1, SL_BYTES_NULL, (struct sl_bytes){value, value_bytes});
	cr_assert_eq(sl_batch_end(&b), 0);
}

/* The answer of @version with records in every partition but the last, which has @code. */
static void encode(int16_t version, int16_t code, size_t records_bytes)
{
	struct sl_fetch_resp_response_partition p[PARTITIONS];
	struct sl_fetch_resp_response_partition_aborted_transaction aborted = {5, 6};
	struct sl_fetch_resp_response topic;
	struct sl_fetch_resp resp;

	sl_fetch_resp_init(&resp);
	sl_fetch_resp_response_init(&topic);
	for (int i = 0; i < PARTITIONS; i++) {
		sl_fetch_resp_response_partition_init(&p[i]);
		p[i].partition_index = 10 + i;
		p[i].high_watermark = 1000 + i;
		p[i].log_start_offset = i;
		p[i].records = (struct sl_records){.p = records.p, .len = (int32_t)records_bytes};
	}
	p[1].aborted_transactions = &aborted;
	p[1].aborted_transactions_count = 1;
	p[1].current_leader.leader_id = 5;
	p[2].error_code = code;
	p[2].records = SL_RECORDS_NULL;
	topic.topic = sl_str_from("a-topic");
	topic.partitions = p;
	topic.partitions_count = PARTITIONS;
	resp.responses = &topic;
	resp.responses_count = 1;
	sl_buf_reset(&answer);
	sl_buf_put_be32(&answer, 0);
	sl_response_head_encode(&answer, sl_api_find(SL_API_FETCH), version, ID);
	sl_fetch_resp_encode(&resp, &answer, version);
	sl_store_be32(answer.p, (uint32_t)(answer.len - 4));
}

/* Hands over what has arrived, at most @piece bytes more each time.  Return: as fetch_read(). */
static int64_t read_in_pieces(int16_t version, size_t piece)
{
	struct fetch f = {0};
	size_t taken = 0, arrived = 0;

	batches = errors_seen = last_code = 0;
	records_seen = 0;
	for (int i = 0; i < PARTITIONS; i++)
		parts[i].offset = 0;
	fetch_begin(&f, version, ID, wants_records);
	while (f.step != FETCH_END || f.frame_left > 0) {
		int64_t n;

		cr_assert(arrived < answer.len, "wants more than there is");
		arrived = SL_MIN(arrived + piece, answer.len);
		n = fetch_read(&f, answer.p + taken, arrived - taken, &sink);
		if (n < 0)
			return n;
		taken += (size_t)n;
	}
	cr_assert_eq(taken, answer.len);
	return 0;
}

static void expect_all_versions_and_pieces(void)
{
	static const size_t pieces[] = {1, 2, 3, 7, 50, 61, 100, 1000, 100000};

	for (int16_t version = 4; version <= 12; version++) {
		encode(version, SL_KERR_NONE, records.len);
		for (size_t i = 0; i < SL_ARRAY_SIZE(pieces); i++) {
			cr_assert_eq(read_in_pieces(version, pieces[i]), 0, "version %d piece %d",
			             version, (int)pieces[i]);
			cr_assert_eq(batches, 4);
			cr_assert_eq(records_seen, 2 * (3 + 5));
			cr_assert_eq(errors_seen, 0);
			cr_assert_eq(parts[0].offset, 108);
			cr_assert_eq(parts[1].high_watermark, 1001);
			cr_assert_eq(parts[2].offset, 0);
			cr_assert_eq(parts[1].log_start, version >= 5 ? 1 : -1);
		}
	}
}

Test(fetch, reads_every_version_in_pieces_of_any_size)
{
	add_batch(100, 3, 40);
	add_batch(103, 5, 400);
	expect_all_versions_and_pieces();
}

Test(fetch, hands_over_whole_batches_when_records_are_wanted)
{
	wants_records = true;
	add_batch(100, 3, 40);
	add_batch(103, 5, 400);
	expect_all_versions_and_pieces();
}

Test(fetch, tells_errors_of_partitions)
{
	encode(11, SL_KERR_NOT_LEADER_OR_FOLLOWER, 0);
	cr_assert_eq(read_in_pieces(11, 10), 0);
	cr_assert_eq(errors_seen, 1);
	cr_assert_eq(last_code, SL_KERR_NOT_LEADER_OR_FOLLOWER);
}

Test(fetch, passes_over_a_last_batch_that_is_cut_short)
{
	static const size_t kept[] = {1, 11, 12, 20, 60, 61, 62, 500};

	add_batch(100, 3, 40);
	size_t first = records.len;

	add_batch(103, 5, 400);
	for (size_t i = 0; i < SL_ARRAY_SIZE(kept); i++) {
		encode(12, SL_KERR_NONE, first + kept[i]);
		for (size_t piece = 1; piece < 200; piece += 13) {
			cr_assert_eq(read_in_pieces(12, piece), 0, "%d", (int)kept[i]);
			cr_assert_eq(batches, 2);
			cr_assert_eq(parts[1].offset, 103);
		}
	}
}

Test(fetch, refuses_the_answer_to_another_request)
{
	encode(12, SL_KERR_NONE, 0);
	sl_store_be32(answer.p + 4, ID + 1);
	cr_assert_eq(read_in_pieces(12, 1000), -EBADMSG);
}

Test(fetch, refuses_a_frame_that_ends_too_early)
{
	add_batch(100, 3, 40);
	for (int16_t version = 4; version <= 12; version++) {
		encode(version, SL_KERR_NONE, records.len);
		size_t whole = answer.len - 4;

		for (size_t bytes = 8; bytes < whole - 1; bytes++) {
			sl_store_be32(answer.p, (uint32_t)bytes);
			answer.len = bytes + 4;
			/* Cut inside the last tags it may still pass as complete. */
			if (read_in_pieces(version, 9) == 0)
				cr_assert(bytes + 4 > whole, "version %d bytes %d of %d", version,
				          (int)bytes, (int)whole);
		}
	}
}

Test(fetch, refuses_a_partition_that_was_not_asked_for)
{
	encode(12, SL_KERR_NONE, 0);
	parts[0].index = 10;
	/* The first partition's index follows the head, the topic count, the name and the count. */
	uint8_t *index = memmem(answer.p, answer.len, "\0\0\0\x0a", 4);

	cr_assert_not_null(index);
	index[3] = 99;
	cr_assert_eq(read_in_pieces(12, 1000), -EBADMSG);
}

Test(fetch, refuses_records_that_are_no_batches)
{
	add_batch(100, 3, 40);
	records.p[SL_BATCH_POS_MAGIC] = 1;
	encode(12, SL_KERR_NONE, records.len);
	cr_assert_eq(read_in_pieces(12, 1000), -EBADMSG);
}
