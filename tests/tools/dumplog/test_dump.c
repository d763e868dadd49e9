/* SPDX-License-Identifier: Apache-2.0 */
/* Printing and verifying segment files. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "dump.h"
#include "print.h"
#include "sluice/base/crc32c.h"

static char folder[] = "/tmp/sluice-dumplog-XXXXXX";
static char log_path[80];
static char index_path[80];
static char txnindex_path[80];
static struct sl_buf segment;

/* Three batches at offsets 10, 12 and 15 of segment 10. */
static void setup(void)
{
	static const struct sl_record_header header = {{"h\"1", 3}, {"v", 1}};
	int64_t offset = 10;

	cr_assert_not_null(mkdtemp(folder));
	snprintf(log_path, sizeof(log_path), "%s/00000000000000000010.log", folder);
	snprintf(index_path, sizeof(index_path), "%s/00000000000000000010.index", folder);
	snprintf(txnindex_path, sizeof(txnindex_path), "%s/00000000000000000010.txnindex", folder);
	sl_buf_init_grow(&segment, 1u << 20);
	for (int i = 0; i < 3; i++) {
		struct sl_batch_builder b;
		struct sl_batch_head head;

		sl_batch_head_init(&head);
		head.base_offset = offset;
		head.leader_epoch = 4;
		head.attributes = i == 1 ? SL_CODEC_GZIP : 0;
		if (i == 2) {
			head.producer_id = 77;
			head.producer_epoch = 1;
			head.base_sequence = INT32_MAX;
		}
		sl_batch_begin(&b, &segment, &head);
		for (int r = 0; r < 2 + (i == 1); r++)
			sl_batch_add_headers(&b, 1000 + r, (struct sl_bytes){"key", 3},
			                     SL_BYTES_NULL, &header, 1);
		cr_assert_eq(sl_batch_end(&b), 0);
		offset += 2 + (i == 1);
	}
}

static void teardown(void)
{
	unlink(log_path);
	unlink(index_path);
	unlink(txnindex_path);
	rmdir(folder);
	sl_buf_fini(&segment);
}

TestSuite(dump, .init = setup, .fini = teardown);

static void write_file(const char *path, const void *p, size_t len)
{
	FILE *file = fopen(path, "w");

	cr_assert_not_null(file);
	cr_assert_eq(fwrite(p, 1, len, file), len);
	cr_assert_eq(fclose(file), 0);
}

/* Dumps the segment and returns what was printed; the caller frees it. */
static char *dump(struct dump_opts opts, struct dump_result *result)
{
	char *text = NULL;
	size_t len = 0;

	write_file(log_path, segment.p, segment.len);
	opts.out = open_memstream(&text, &len);
	cr_assert_eq(dump_file(log_path, &opts, result), 0);
	print_file_end(&opts, "F", result);
	fclose(opts.out);
	return text;
}

static size_t count(const char *text, const char *what)
{
	size_t n = 0;

	while ((text = strstr(text, what))) {
		text++;
		n++;
	}
	return n;
}

Test(dump, prints_batches_with_kafkas_names)
{
	struct dump_result result;
	char *text = dump((struct dump_opts){0}, &result);

	cr_assert(dump_is_valid(&result));
	cr_assert_eq(result.batches, 3);
	cr_assert_eq(result.records, 7);
	cr_assert_eq(result.bytes, segment.len);
	cr_assert_eq(count(text, "baseOffset: "), 3);
	cr_assert_not_null(strstr(text, "Log starting offset: 10\n"));
	cr_assert_not_null(strstr(text,
	                          "\nbaseOffset: 12 lastOffset: 14 count: 3 baseSequence: -1 "
	                          "lastSequence: -1 producerId: -1 producerEpoch: -1 "
	                          "partitionLeaderEpoch: 4 isTransactional: false isControl: false "
	                          "deleteHorizonMs: OptionalLong.empty position: "));
	cr_assert_not_null(strstr(text, " CreateTime: 1002 size: "));
	cr_assert_not_null(strstr(text, " magic: 2 compresscodec: gzip crc: "));
	cr_assert_not_null(strstr(text, "baseSequence: 2147483647 lastSequence: 0 producerId: 77"));
	cr_assert_eq(count(text, "isvalid: true\n"), 3);
	cr_assert_eq(count(text, "| offset"), 0);
	free(text);
}

Test(dump, prints_records)
{
	struct dump_result result;
	char *text = dump((struct dump_opts){.with_records = true}, &result);

	cr_assert(dump_is_valid(&result));
	cr_assert_eq(count(text, "| offset: "), 7);
	cr_assert_not_null(strstr(text, "| offset: 14 CreateTime: 1002 keySize: 3 valueSize: -1 "
	                                "sequence: -1 headerKeys: [h\\\"1]\n"));
	cr_assert_not_null(strstr(text, "| offset: 16 CreateTime: 1001 keySize: 3 valueSize: -1 "
	                                "sequence: 0 headerKeys: "));
	free(text);
}

Test(dump, json_is_one_object_a_line)
{
	struct dump_result result;
	char *text = dump((struct dump_opts){.with_records = true, .is_json = true}, &result);

	cr_assert_eq(count(text, "\n"), 4);
	cr_assert_eq(strncmp(text, "{\"type\":\"batch\",\"baseOffset\":10,\"lastOffset\":11,", 48),
	             0);
	cr_assert_eq(count(text, "{"), count(text, "}"));
	cr_assert_eq(count(text, "\"headerKeys\":[\"h\\\"1\"]}"), 7);
	cr_assert_not_null(strstr(text, "{\"type\":\"file\",\"file\":\"F\",\"batches\":3,"
	                                "\"records\":7,"));
	free(text);
}

Test(dump, finds_every_damaged_byte)
{
	for (size_t i = 0; i < segment.len; i++) {
		struct dump_result result;
		size_t pos = 0;
		char *text;

		/* Position in its batch: base offset may grow, the epoch is not protected. */
		while (pos + sl_load_be32(segment.p + pos + 8) + 12 <= i)
			pos += sl_load_be32(segment.p + pos + 8) + 12;
		if (i - pos < 8 || (i - pos >= 12 && i - pos < 16))
			continue;
		segment.p[i] ^= 0x10;
		text = dump((struct dump_opts){.is_quiet = true}, &result);
		cr_assert(!dump_is_valid(&result), "byte %zu", i);
		cr_assert_not_null(strstr(text, "INVALID"));
		free(text);
		segment.p[i] ^= 0x10;
	}
}

Test(dump, reports_a_torn_tail_and_offsets_that_go_back)
{
	struct dump_result result;
	char *text;

	segment.len -= 5;
	text = dump((struct dump_opts){.is_json = true}, &result);
	cr_assert_eq(result.batches, 2);
	cr_assert_not_null(strstr(result.error, "incomplete batch"));
	cr_assert_not_null(strstr(text, "\"isvalid\":false,\"error\":\"position "));
	free(text);
	segment.len += 5;
	sl_store_be64(segment.p, 9);
	text = dump((struct dump_opts){0}, &result);
	cr_assert_str_eq(result.error, "position 0: offset 9 where at least 10 is due");
	free(text);
}

Test(dump, checks_the_index)
{
	uint8_t entry[8];
	struct dump_result result;
	size_t second = sl_load_be32(segment.p + 8) + 12;

	free(dump((struct dump_opts){.is_quiet = true}, &result));
	cr_assert_eq(dump_index(log_path, &result), 0);
	cr_assert(dump_is_valid(&result));
	sl_store_be32(entry, 4); /* last offset 14 */
	sl_store_be32(entry + 4, (uint32_t)second);
	write_file(index_path, entry, sizeof(entry));
	cr_assert_eq(dump_index(log_path, &result), 0);
	cr_assert(dump_is_valid(&result), "%s", result.error);
	sl_store_be32(entry, 5);
	write_file(index_path, entry, sizeof(entry));
	cr_assert_eq(dump_index(log_path, &result), 0);
	cr_assert(!dump_is_valid(&result));
}

Test(dump, missing_files_are_errors)
{
	struct dump_opts opts = {.out = stdout};
	struct dump_result result;

	cr_assert_eq(dump_file("/tmp/sluice-dumplog-none.log", &opts, &result), -ENOENT);
	cr_assert_eq(dump_file(folder, &opts, &result), -EINVAL);
}

/* ---- Transactions ---- */

/* Puts the end of a transaction of producer 77 at @offset. */
static void put_marker(int64_t offset, enum sl_control_type type)
{
	const uint8_t key[4] = {0, 0, 0, (uint8_t)type};
	const uint8_t value[6] = {0, 0, 0, 0, 0, 5};
	struct sl_batch_builder b;
	struct sl_batch_head head;

	sl_batch_head_init(&head);
	head.base_offset = offset;
	head.attributes = SL_BATCH_CONTROL | SL_BATCH_TRANSACTIONAL;
	head.producer_id = 77;
	head.producer_epoch = 1;
	sl_batch_begin(&b, &segment, &head);
	sl_batch_add(&b, 1000, (struct sl_bytes){key, sizeof(key)},
	             (struct sl_bytes){value, sizeof(value)});
	cr_assert_eq(sl_batch_end(&b), 0);
}

/* A file with one entry of @producer_id that ends at @last. */
static void write_txnindex(int64_t producer_id, int64_t first, int64_t last)
{
	struct sl_buf buf;

	sl_buf_init_grow(&buf, 4096);
	sl_buf_put_be32(&buf, 0x534c5458); /* "SLTX" */
	sl_buf_put_be32(&buf, 1);
	sl_buf_put_be32(&buf, 0);
	sl_buf_put_be32(&buf, 1);
	sl_buf_put_be64(&buf, 10);
	sl_buf_put_be64(&buf, 19);
	sl_buf_put_be64(&buf, UINT64_MAX);
	sl_buf_put_be64(&buf, (uint64_t)producer_id);
	sl_buf_put_be64(&buf, (uint64_t)first);
	sl_buf_put_be64(&buf, (uint64_t)last);
	sl_store_be32(buf.p + 8, sl_crc32c(0, buf.p + 12, buf.len - 12));
	write_file(txnindex_path, buf.p, buf.len);
	sl_buf_fini(&buf);
}

Test(dump, prints_how_transactions_ended)
{
	struct dump_result result;
	char *text;

	put_marker(17, SL_CONTROL_ABORT);
	put_marker(18, SL_CONTROL_COMMIT);
	text = dump((struct dump_opts){.with_records = true}, &result);
	cr_assert(dump_is_valid(&result), "%s", result.error);
	cr_assert_not_null(strstr(text, "| offset: 17 CreateTime: 1000 keySize: 4 valueSize: 6 "
	                                "sequence: -1 headerKeys: [] endTxnMarker: ABORT "
	                                "coordinatorEpoch: 5\n"));
	cr_assert_eq(count(text, "endTxnMarker: "), 2);
	cr_assert_eq(count(text, "endTxnMarker: COMMIT coordinatorEpoch: 5\n"), 1);
	free(text);
	text = dump((struct dump_opts){.with_records = true, .is_json = true}, &result);
	cr_assert_eq(count(text, "\"headerKeys\":[],\"endTxnMarker\":\"ABORT\","
	                         "\"coordinatorEpoch\":5}]}\n"),
	             1);
	cr_assert_eq(count(text, "{"), count(text, "}"));
	free(text);
}

Test(dump, prints_aborted_transactions)
{
	struct dump_opts opts = {0};
	struct dump_result result;
	char *text = NULL;
	size_t len = 0;

	write_txnindex(77, 15, 17);
	opts.out = open_memstream(&text, &len);
	cr_assert_eq(dump_txnindex(txnindex_path, &opts, &result), 0);
	fclose(opts.out);
	cr_assert(dump_is_valid(&result), "%s", result.error);
	cr_assert_not_null(strstr(text, "\nproducerId: 77 firstOffset: 15 lastOffset: 17\n"));
	free(text);
	/* One that lies outside of its segment. */
	write_txnindex(77, 15, 19);
	opts.is_quiet = true;
	cr_assert_eq(dump_txnindex(txnindex_path, &opts, &result), 0);
	cr_assert(!dump_is_valid(&result));
}

struct txnindex_row {
	int64_t producer_id;
	int64_t last;
	bool is_valid;
};

static const struct txnindex_row txnindex_rows[] = {
	{77, 17, true},  /* an abort */
	{78, 17, false}, /* another producer's */
	{77, 18, false}, /* a commit */
	{77, 16, false}, /* a record */
};

Test(dump, checks_aborted_transactions_against_the_log)
{
	struct dump_result result;

	put_marker(17, SL_CONTROL_ABORT);
	put_marker(18, SL_CONTROL_COMMIT);
	for (size_t i = 0; i < SL_ARRAY_SIZE(txnindex_rows); i++) {
		free(dump((struct dump_opts){.is_quiet = true}, &result));
		write_txnindex(txnindex_rows[i].producer_id, 15, txnindex_rows[i].last);
		cr_assert_eq(dump_txnindex_of(log_path, &result), 0);
		cr_assert_eq(dump_is_valid(&result), txnindex_rows[i].is_valid, "row %zu: %s", i,
		             result.error);
	}
	unlink(txnindex_path);
	free(dump((struct dump_opts){.is_quiet = true}, &result));
	cr_assert_eq(dump_txnindex_of(log_path, &result), 0);
	cr_assert(dump_is_valid(&result));
}
