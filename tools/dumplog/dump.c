/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking a segment.  The file is mapped read-only and private; it should not be cut meanwhile, so
 * a live active segment is read up to the size it had at the begin.
 */
#include "dump.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "print.h"

/* Decompressed records of one batch; address space only until touched. */
#define DUMP_ARENA_BYTES  (512u << 20)
#define DUMP_BASE_DIGITS  20
#define INDEX_ENTRY_BYTES 8

struct map {
	const uint8_t *p;
	size_t len;
};

struct dump {
	const struct dump_opts *opts;
	struct dump_result *result;
	struct sl_codec_ctx *ctx; /* Owned. */
	struct sl_arena arena;    /* Owned. */
	struct map file;
	size_t pos;
	int64_t next_offset; /* the least the next batch may begin with */
};

static void fault(struct dump_result *result, const char *fmt, ...) SL_PRINTF(2, 3);

static void fault(struct dump_result *result, const char *fmt, ...)
{
	va_list args;

	result->invalid++;
	if (result->error[0] != '\0')
		return;
	va_start(args, fmt);
	vsnprintf(result->error, sizeof(result->error), fmt, args);
	va_end(args);
}

static int map_open(struct map *map, const char *path)
{
	struct stat st;
	void *p = NULL;
	int err = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (!S_ISREG(st.st_mode))
		err = -EINVAL;
	else if (st.st_size > 0) {
		p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (p == MAP_FAILED)
			err = -errno;
	}
	close(fd);
	if (err)
		return err;
	*map = (struct map){p, (size_t)st.st_size};
	return 0;
}

static void map_close(struct map *map)
{
	if (map->len > 0)
		munmap((void *)(uintptr_t)map->p, map->len);
	*map = (struct map){0};
}

/* Base offset that the file's name says, 0 if it is named otherwise. */
static int64_t name_offset(const char *path)
{
	const char *name = strrchr(path, '/');

	name = name ? name + 1 : path;
	return strspn(name, "0123456789") == DUMP_BASE_DIGITS ? strtoll(name, NULL, 10) : 0;
}

/* Decodes all records of a batch with a good checksum and prints them if asked for. */
static void dump_records(struct dump *d, const struct sl_batch_head *head)
{
	struct sl_txn_marker marker;
	const bool is_marker = sl_batch_is_control(head) &&
	                       sl_txn_marker_decode(&marker, d->file.p + d->pos, head) == 1;
	struct sl_record_iter it;
	struct sl_record record;
	int32_t count = 0;
	int err;

	sl_arena_reset(&d->arena);
	err = sl_record_iter_init(&it, d->file.p + d->pos, head, d->ctx, &d->arena);
	while (!err && (err = sl_record_iter_next(&it, &record)) > 0) {
		if (record.offset < head->base_offset || record.offset > sl_batch_last_offset(head))
			fault(d->result,
			      "position %zu: record offset %" PRId64 " outside of its batch",
			      d->pos, record.offset);
		print_record(d->opts, head, &record, count == 0);
		print_record_end(d->opts, is_marker ? &marker : NULL);
		count++;
		err = 0;
	}
	d->result->records += (uint64_t)count;
	if (err)
		fault(d->result, "position %zu: record %d cannot be decoded: %s", d->pos, count,
		      strerror(-err));
}

static void dump_batch(struct dump *d, const struct sl_batch_head *head)
{
	struct print_batch batch = {
		.head = head,
		.pos = d->pos,
		.is_valid = sl_batch_check_crc(d->file.p + d->pos, head),
	};

	d->result->batches++;
	print_batch_begin(d->opts, &batch);
	if (!batch.is_valid)
		fault(d->result, "position %zu: wrong checksum", d->pos);
	else if (d->opts->with_records || d->opts->is_quiet)
		dump_records(d, head);
	else
		d->result->records += (uint64_t)SL_MAX(head->records_count, 0);
	print_batch_end(d->opts);
	if (head->base_offset < d->next_offset || head->last_offset_delta < 0)
		fault(d->result,
		      "position %zu: offset %" PRId64 " where at least %" PRId64 " is due", d->pos,
		      head->base_offset, d->next_offset);
	d->next_offset = sl_batch_last_offset(head) + 1;
}

static void dump_batches(struct dump *d)
{
	while (d->pos < d->file.len) {
		struct sl_batch_head head;
		int err = sl_batch_peek(d->file.p + d->pos, d->file.len - d->pos, &head);

		if (err) {
			fault(d->result, "position %zu: %s, %zu bytes left", d->pos,
			      err == -EAGAIN ? "incomplete batch" : "not a batch of magic 2",
			      d->file.len - d->pos);
			break;
		}
		dump_batch(d, &head);
		d->pos += sl_batch_bytes(&head);
	}
	d->result->bytes = d->pos;
}

int dump_file(const char *path, const struct dump_opts *opts, struct dump_result *result)
{
	const struct sl_codec_opts codec_opts = {.out_bytes_max = DUMP_ARENA_BYTES};
	struct dump d = {.opts = opts, .result = result, .next_offset = name_offset(path)};
	int err;

	*result = (struct dump_result){0};
	err = map_open(&d.file, path);
	if (err)
		return err;
	result->file_bytes = d.file.len;
	err = sl_codec_ctx_create(&d.ctx, &codec_opts);
	if (err)
		goto out_unmap;
	err = sl_arena_create(&d.arena, DUMP_ARENA_BYTES);
	if (err)
		goto out_destroy;
	print_file_begin(opts, path, d.next_offset);
	dump_batches(&d);
	sl_arena_destroy(&d.arena);
out_destroy:
	sl_codec_ctx_destroy(d.ctx);
out_unmap:
	map_close(&d.file);
	return err;
}

static void check_entries(const struct map *index, const struct map *log, int64_t base_offset,
                          struct dump_result *result)
{
	if (index->len % INDEX_ENTRY_BYTES != 0)
		fault(result, "index: %zu bytes are not whole entries", index->len);
	for (size_t at = 0; at + INDEX_ENTRY_BYTES <= index->len; at += INDEX_ENTRY_BYTES) {
		int64_t offset = base_offset + sl_load_be32(index->p + at);
		uint32_t pos = sl_load_be32(index->p + at + 4);
		struct sl_batch_head head;

		if (pos >= log->len || sl_batch_peek(log->p + pos, log->len - pos, &head) ||
		    sl_batch_last_offset(&head) != offset)
			fault(result,
			      "index: entry %zu: no batch with last offset %" PRId64
			      " at position %" PRIu32,
			      at / INDEX_ENTRY_BYTES, offset, pos);
	}
}

int dump_index(const char *path, struct dump_result *result)
{
	size_t stem = strlen(path) - strlen(".log");
	struct map index = {0};
	struct map log = {0};
	char *index_path;
	int err;

	if (asprintf(&index_path, "%.*s.index", (int)stem, path) < 0)
		return -ENOMEM;
	err = map_open(&index, index_path);
	free(index_path);
	if (err)
		return err == -ENOENT ? 0 : err;
	err = map_open(&log, path);
	if (!err)
		check_entries(&index, &log, name_offset(path), result);
	map_close(&log);
	map_close(&index);
	return err;
}

/* ---- Aborted transactions ---- */

static int open_txnindex(struct map *map, const char *path, struct sl_txnindex *index,
                         struct dump_result *result)
{
	int err = map_open(map, path);

	if (err)
		return err;
	if (sl_txnindex_check(map->p, map->len, index)) {
		*index = (struct sl_txnindex){.base_offset = name_offset(path)};
		fault(result, "txnindex: damaged, or of another format");
	} else if (index->base_offset != name_offset(path)) {
		fault(result, "txnindex: of the segment at offset %" PRId64, index->base_offset);
	}
	return 0;
}

int dump_txnindex(const char *path, const struct dump_opts *opts, struct dump_result *result)
{
	struct sl_txnindex index;
	struct map map = {0};
	int err;

	*result = (struct dump_result){0};
	err = open_txnindex(&map, path, &index, result);
	if (err)
		return err;
	result->file_bytes = result->bytes = map.len;
	result->records = index.count;
	print_file_begin(opts, path, index.base_offset);
	for (uint32_t i = 0; i < index.count; i++) {
		struct sl_txnindex_entry entry;

		sl_txnindex_entry(map.p, i, &entry);
		print_aborted(opts, &entry);
	}
	map_close(&map);
	return 0;
}

/* Every entry must lead to a marker that aborts a transaction of its producer. */
static void check_aborted(const struct map *map, const struct sl_txnindex *index,
                          const struct map *log, struct dump_result *result)
{
	struct sl_txnindex_entry entry = {.last_offset = -1};
	struct sl_txn_marker marker;
	struct sl_batch_head head;
	uint32_t i = 0;

	for (size_t at = 0; i < index->count && at < log->len; at += sl_batch_bytes(&head)) {
		if (sl_batch_peek(log->p + at, log->len - at, &head))
			break;
		sl_txnindex_entry(map->p, i, &entry);
		if (sl_batch_last_offset(&head) < entry.last_offset)
			continue;
		if (head.base_offset != entry.last_offset ||
		    head.producer_id != entry.producer_id ||
		    sl_txn_marker_decode(&marker, log->p + at, &head) != 1 || marker.is_commit)
			break;
		i++;
	}
	if (i < index->count)
		fault(result,
		      "txnindex: entry %" PRIu32 ": no abort of producer %" PRId64
		      " at offset %" PRId64,
		      i, entry.producer_id, entry.last_offset);
}

int dump_txnindex_of(const char *path, struct dump_result *result)
{
	size_t stem = strlen(path) - strlen(".log");
	struct sl_txnindex index;
	struct map map = {0};
	struct map log = {0};
	char *index_path;
	int err;

	if (asprintf(&index_path, "%.*s.txnindex", (int)stem, path) < 0)
		return -ENOMEM;
	err = open_txnindex(&map, index_path, &index, result);
	free(index_path);
	if (err)
		return err == -ENOENT ? 0 : err;
	err = map_open(&log, path);
	if (!err)
		check_aborted(&map, &index, &log, result);
	map_close(&log);
	map_close(&map);
	return err;
}
