/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Printing.  Text follows Kafka's DumpLogSegments name by name, so that the two can be compared
 * with diff; JSON has the same names as keys.
 */
#include "print.h"

#include <inttypes.h>

/* Bytes of the valid UTF-8 character at @p, 0 if it is none (RFC 3629). */
static size_t utf8_bytes(const uint8_t *p, size_t len)
{
	uint32_t code;
	size_t n;

	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		n = 2;
	else if ((p[0] & 0xf0) == 0xe0)
		n = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		n = 4;
	else
		return 0;
	if (n > len)
		return 0;
	code = p[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3f);
	}
	if (n == 3 && (code < 0x800 || (code >= 0xd800 && code <= 0xdfff)))
		return 0;
	if (n == 4 && (code < 0x10000 || code > 0x10ffff))
		return 0;
	return n;
}

/* A string from outside: control characters, quotes and what is not UTF-8 are escaped. */
static void print_escaped(FILE *out, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < len;) {
		size_t n = utf8_bytes(p + i, len - i);

		if (n == 0 || p[i] < 0x20 || p[i] == 0x7f) {
			fprintf(out, "\\u%04x", p[i]);
			i++;
			continue;
		}
		if (p[i] == '"' || p[i] == '\\')
			fputc('\\', out);
		fwrite(p + i, 1, n, out);
		i += n;
	}
}

static const char *bool_text(bool v)
{
	return v ? "true" : "false";
}

static const char *time_name(const struct sl_batch_head *head)
{
	return sl_batch_is_log_append_time(head) ? "LogAppendTime" : "CreateTime";
}

static const char *codec_text(const struct sl_batch_head *head)
{
	const char *name = sl_codec_name(sl_batch_codec(head));

	return name ? name : "unknown";
}

static int32_t last_sequence(const struct sl_batch_head *head)
{
	return head->base_sequence < 0
	               ? -1
	               : sl_batch_sequence_add(head->base_sequence, head->last_offset_delta);
}

void print_file_begin(const struct dump_opts *opts, const char *path, int64_t base_offset)
{
	if (opts->is_json || opts->is_quiet)
		return;
	fprintf(opts->out, "Dumping %s\nLog starting offset: %" PRId64 "\n", path, base_offset);
}

static void print_batch_text(FILE *out, const struct print_batch *batch)
{
	const struct sl_batch_head *h = batch->head;

	fprintf(out,
	        "baseOffset: %" PRId64 " lastOffset: %" PRId64 " count: %d baseSequence: %d"
	        " lastSequence: %d producerId: %" PRId64 " producerEpoch: %d"
	        " partitionLeaderEpoch: %d isTransactional: %s isControl: %s",
	        h->base_offset, sl_batch_last_offset(h), h->records_count, h->base_sequence,
	        last_sequence(h), h->producer_id, h->producer_epoch, h->leader_epoch,
	        bool_text(sl_batch_is_transactional(h)), bool_text(sl_batch_is_control(h)));
	if (h->attributes & SL_BATCH_DELETE_HORIZON)
		fprintf(out, " deleteHorizonMs: OptionalLong[%" PRId64 "]", h->base_timestamp);
	else
		fprintf(out, " deleteHorizonMs: OptionalLong.empty");
	fprintf(out,
	        " position: %" PRIu64 " %s: %" PRId64 " size: %zu magic: %d compresscodec: %s"
	        " crc: %" PRIu32 " isvalid: %s\n",
	        batch->pos, time_name(h), h->max_timestamp, sl_batch_bytes(h), h->magic,
	        codec_text(h), h->crc, bool_text(batch->is_valid));
}

static void print_batch_json(FILE *out, const struct print_batch *batch)
{
	const struct sl_batch_head *h = batch->head;

	fprintf(out,
	        "{\"type\":\"batch\",\"baseOffset\":%" PRId64 ",\"lastOffset\":%" PRId64
	        ",\"count\":%d,\"baseSequence\":%d,\"lastSequence\":%d,\"producerId\":%" PRId64
	        ",\"producerEpoch\":%d,\"partitionLeaderEpoch\":%d,\"isTransactional\":%s"
	        ",\"isControl\":%s",
	        h->base_offset, sl_batch_last_offset(h), h->records_count, h->base_sequence,
	        last_sequence(h), h->producer_id, h->producer_epoch, h->leader_epoch,
	        bool_text(sl_batch_is_transactional(h)), bool_text(sl_batch_is_control(h)));
	if (h->attributes & SL_BATCH_DELETE_HORIZON)
		fprintf(out, ",\"deleteHorizonMs\":%" PRId64, h->base_timestamp);
	fprintf(out,
	        ",\"position\":%" PRIu64 ",\"%s\":%" PRId64 ",\"size\":%zu,\"magic\":%d"
	        ",\"compresscodec\":\"%s\",\"crc\":%" PRIu32 ",\"isvalid\":%s",
	        batch->pos, time_name(h), h->max_timestamp, sl_batch_bytes(h), h->magic,
	        codec_text(h), h->crc, bool_text(batch->is_valid));
	/* print_record() and print_batch_end() go on from here. */
}

void print_batch_begin(const struct dump_opts *opts, const struct print_batch *batch)
{
	if (opts->is_quiet)
		return;
	if (!opts->is_json) {
		print_batch_text(opts->out, batch);
		return;
	}
	print_batch_json(opts->out, batch);
	if (opts->with_records)
		fprintf(opts->out, ",\"records\":[");
}

static void print_headers(const struct dump_opts *opts, struct sl_bytes headers)
{
	struct sl_bytes value;
	struct sl_str key;
	bool is_first = true;

	while (sl_record_header_next(&headers, &key, &value) > 0) {
		if (!is_first)
			fputc(',', opts->out);
		is_first = false;
		if (opts->is_json)
			fputc('"', opts->out);
		print_escaped(opts->out, key.p, (size_t)SL_MAX(key.len, 0));
		if (opts->is_json)
			fputc('"', opts->out);
	}
}

void print_record(const struct dump_opts *opts, const struct sl_batch_head *head,
                  const struct sl_record *record, bool is_first)
{
	int32_t delta = (int32_t)(record->offset - head->base_offset);
	int32_t sequence = head->base_sequence < 0
	                           ? -1
	                           : sl_batch_sequence_add(head->base_sequence, delta);

	if (opts->is_quiet || !opts->with_records)
		return;
	if (opts->is_json)
		fprintf(opts->out,
		        "%s{\"offset\":%" PRId64 ",\"%s\":%" PRId64
		        ",\"keySize\":%d,\"valueSize\":%d"
		        ",\"sequence\":%d,\"headerKeys\":[",
		        is_first ? "" : ",", record->offset, time_name(head), record->timestamp,
		        record->key.len, record->value.len, sequence);
	else
		fprintf(opts->out,
		        "| offset: %" PRId64 " %s: %" PRId64 " keySize: %d valueSize: %d"
		        " sequence: %d headerKeys: [",
		        record->offset, time_name(head), record->timestamp, record->key.len,
		        record->value.len, sequence);
	print_headers(opts, record->headers);
	fputc(']', opts->out);
}

void print_record_end(const struct dump_opts *opts, const struct sl_txn_marker *marker)
{
	if (opts->is_quiet || !opts->with_records)
		return;
	if (marker)
		fprintf(opts->out,
		        opts->is_json ? ",\"endTxnMarker\":\"%s\",\"coordinatorEpoch\":%d"
		                      : " endTxnMarker: %s coordinatorEpoch: %d",
		        marker->is_commit ? "COMMIT" : "ABORT", marker->coordinator_epoch);
	fputs(opts->is_json ? "}" : "\n", opts->out);
}

void print_aborted(const struct dump_opts *opts, const struct sl_txnindex_entry *entry)
{
	if (opts->is_quiet)
		return;
	fprintf(opts->out,
	        opts->is_json ? "{\"type\":\"aborted\",\"producerId\":%" PRId64
	                        ",\"firstOffset\":%" PRId64 ",\"lastOffset\":%" PRId64 "}\n"
	                      : "producerId: %" PRId64 " firstOffset: %" PRId64
	                        " lastOffset: %" PRId64 "\n",
	        entry->producer_id, entry->first_offset, entry->last_offset);
}

void print_batch_end(const struct dump_opts *opts)
{
	if (opts->is_quiet || !opts->is_json)
		return;
	fputs(opts->with_records ? "]}\n" : "}\n", opts->out);
}

void print_file_end(const struct dump_opts *opts, const char *path,
                    const struct dump_result *result)
{
	bool is_valid = dump_is_valid(result);

	if (opts->is_json) {
		fprintf(opts->out, "{\"type\":\"file\",\"file\":\"");
		print_escaped(opts->out, path, strlen(path));
		fprintf(opts->out,
		        "\",\"batches\":%" PRIu64 ",\"records\":%" PRIu64 ",\"bytes\":%" PRIu64
		        ",\"tailBytes\":%" PRIu64 ",\"isvalid\":%s",
		        result->batches, result->records, result->bytes,
		        result->file_bytes - result->bytes, bool_text(is_valid));
		if (!is_valid)
			fprintf(opts->out, ",\"error\":\"%s\"", result->error);
		fputs("}\n", opts->out);
	} else if (!is_valid) {
		fprintf(opts->out, "%s: INVALID: %s\n", path, result->error);
	} else if (opts->is_quiet) {
		fprintf(opts->out,
		        "%s: ok batches=%" PRIu64 " records=%" PRIu64 " bytes=%" PRIu64 "\n", path,
		        result->batches, result->records, result->bytes);
	}
}
