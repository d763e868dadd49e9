/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a recovery takes hints from: sluice-checkpoint and both indexes.  Input: a byte that says
 * which, then the file.  What is taken must be in order and within bounds, and a file that has lost
 * its end must not say more than the whole one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/crc32c.h"

#include "log_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define KIND_CHECKPOINT 0
#define KIND_OFFSETS    1
#define KIND_TIMES      2
#define KINDS           3

#define SLOT_BYTES      512
#define CRC_KEY         "crc32c: "
#define CRC_DIGITS      8

/* The only file there is. */
struct file {
	uint8_t *p;
	size_t len;
};

static int file_open(void *ctx SL_UNUSED, int dirfd SL_UNUSED, const char *name SL_UNUSED,
                     int flags SL_UNUSED, mode_t mode SL_UNUSED)
{
	return 3;
}

static int file_close(void *ctx SL_UNUSED, int fd SL_UNUSED)
{
	return 0;
}

static int file_size(void *ctx, int fd SL_UNUSED, uint64_t *len)
{
	*len = ((struct file *)ctx)->len;
	return 0;
}

static ssize_t file_pread(void *ctx, int fd SL_UNUSED, void *p, size_t len, uint64_t pos)
{
	const struct file *f = ctx;
	size_t n = pos < f->len ? SL_MIN(len, f->len - (size_t)pos) : 0;

	memcpy(p, f->p + pos, n);
	return (ssize_t)n;
}

static const struct sl_file_ops ops = {
	.name = "one",
	.open = file_open,
	.close = file_close,
	.size = file_size,
	.pread = file_pread,
};

/* The checksum of the text at @p, as far as there is one. */
static void mend_crc(uint8_t *p, size_t len)
{
	const size_t key_bytes = sizeof(CRC_KEY) - 1;
	char digits[CRC_DIGITS + 1];
	uint8_t *at = memmem(p, len, CRC_KEY, key_bytes);

	if (!at || (size_t)(at - p) + key_bytes + CRC_DIGITS > len)
		return;
	snprintf(digits, sizeof(digits), "%08x", sl_crc32c(0, p, (size_t)(at - p)));
	memcpy(at + key_bytes, digits, CRC_DIGITS);
}

static int load_checkpoint(struct sl_log *log, struct checkpoint *c)
{
	int err = checkpoint_load(log, c);

	SL_ASSERT(err == 0 || err == -EBADMSG);
	if (err == 0) {
		SL_ASSERT(c->log_start >= 0 && c->recovery_pos >= 0);
		SL_ASSERT(c->clean_end >= -1 && c->clean_bytes >= 0);
	}
	return err;
}

static void check_checkpoint(const struct sl_files *files, struct file *f)
{
	struct sl_log *log = calloc(1, sizeof(*log) + sizeof("t-0"));
	struct checkpoint whole, part;
	uint32_t sequence;
	int err;

	SL_ASSERT(log);
	log->files = *files;
	for (size_t at = 0; at < f->len; at += SLOT_BYTES)
		mend_crc(f->p + at, SL_MIN(f->len - at, (size_t)SLOT_BYTES));
	err = load_checkpoint(log, &whole);
	sequence = log->checkpoint_sequence;
	if (f->len > 2 * SLOT_BYTES)
		SL_ASSERT(err);
	while (err == 0 && f->len > 0) {
		f->len -= SL_MIN(f->len, (size_t)37);
		if (load_checkpoint(log, &part) == 0)
			SL_ASSERT(log->checkpoint_sequence <= sequence);
	}
	free(log);
}

static void check_offsets(const struct sl_files *files, struct file *f)
{
	struct index begin = {0};
	struct index all = {0};
	int64_t last = -1;
	uint32_t pos = 0;

	SL_ASSERT(index_offset_load_begin(&begin, files, AT_FDCWD, "i") == 0);
	SL_ASSERT(!begin.is_stored || (size_t)begin.count * INDEX_OFFSET_ENTRY_BYTES == f->len);
	for (uint32_t i = 0; i < begin.count; i++) {
		const uint8_t *entry = begin.p + (size_t)i * INDEX_OFFSET_ENTRY_BYTES;

		SL_ASSERT(sl_load_be32(entry) > last && sl_load_be32(entry + 4) > pos);
		last = sl_load_be32(entry);
		pos = sl_load_be32(entry + 4);
	}
	if (index_offset_load(&all, files, AT_FDCWD, "i", INT32_MAX, INT32_MAX) == 0)
		SL_ASSERT(begin.count == all.count || begin.count == 0);
	index_offset_cut(&begin, pos / 2);
	SL_ASSERT(begin.stored <= begin.count);
	index_fini(&begin);
	index_fini(&all);
}

static void check_times(const struct sl_files *files, struct file *f)
{
	struct index begin = {0};
	struct index all = {0};
	int64_t last = -1;

	SL_ASSERT(index_time_load_begin(&begin, files, AT_FDCWD, "t") == 0);
	SL_ASSERT(!begin.is_stored || (size_t)begin.count * INDEX_TIME_ENTRY_BYTES == f->len);
	for (uint32_t i = 0; i < begin.count; i++) {
		const uint8_t *entry = begin.p + (size_t)i * INDEX_TIME_ENTRY_BYTES;

		SL_ASSERT(sl_load_be32(entry + 8) > last);
		SL_ASSERT(i == 0 || (int64_t)sl_load_be64(entry) >
		                            (int64_t)sl_load_be64(entry - INDEX_TIME_ENTRY_BYTES));
		last = sl_load_be32(entry + 8);
	}
	if (index_time_load(&all, files, AT_FDCWD, "t", INT32_MAX) == 0)
		SL_ASSERT(begin.count == all.count || begin.count == 0);
	index_fini(&begin);
	index_fini(&all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const checks[KINDS])(const struct sl_files *, struct file *) = {
		[KIND_CHECKPOINT] = check_checkpoint,
		[KIND_OFFSETS] = check_offsets,
		[KIND_TIMES] = check_times,
	};
	struct file f = {.len = size - 1};
	const struct sl_files files = {&ops, &f};

	if (size < 1)
		return 0;
	/* Its own memory, so that the first byte behind it is not ours. */
	f.p = malloc(size);
	SL_ASSERT(f.p);
	memcpy(f.p, data + 1, size - 1);
	checks[data[0] % KINDS](&files, &f);
	free(f.p);
	return 0;
}
