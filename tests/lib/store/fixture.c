/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define BATCH_BYTES_MAX (1u << 20)

void fixture_init(struct fixture *f)
{
	*f = (struct fixture){.now_ms = 1000000};
	f->fs = simfs_create();
	f->files = simfs_files(f->fs);
	cr_assert_eq(f->files.ops->mkdir(f->files.ctx, AT_FDCWD, "logs", 0750), 0);
	f->dirfd = f->files.ops->open(f->files.ctx, AT_FDCWD, ".", O_RDONLY | O_DIRECTORY, 0);
	cr_assert_eq(f->files.ops->sync(f->files.ctx, f->dirfd), 0);
	cr_assert_eq(f->files.ops->close(f->files.ctx, f->dirfd), 0);
	f->dirfd = -1;
	f->opts = (struct sl_log_opts){
		.topic = "orders",
		.partition = 3,
		.topic_id = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}},
		.config =
			{
				.segment_bytes = 4096,
				.segment_ms = 1000000000,
				.index_interval_bytes = 256,
				.retention_ms = -1,
				.retention_bytes = -1,
				.file_delete_delay_ms = 60000,
				.producer_id_expiration_ms = 86400000,
				.is_delete = true,
			},
	};
}

static void make_tier(struct fixture *f, uint64_t bytes)
{
	const struct sl_hot_opts opts = {.bytes = bytes, .slices = 1, .numa_node = -1};
	const struct sl_hot_pool_ops ops = {.forget = sl_log_forget};

	cr_assert_eq(sl_hot_create(&f->hot, &opts), 0);
	sl_hot_pool_set_ops(sl_hot_pool(f->hot, 0), &ops);
	f->opts.hot = sl_hot_pool(f->hot, 0);
}

void fixture_init_hot(struct fixture *f, uint64_t bytes)
{
	fixture_init(f);
	make_tier(f, bytes);
}

/* Closes the log whatever state it is in; what the disk is left with does not matter. */
static void drop_log(struct fixture *f)
{
	if (!f->log)
		return;
	simfs_heal(f->fs);
	if (f->hot) {
		(void)fixture_sync(f);
		sl_log_cool(f->log);
	}
	sl_log_close(f->log, false);
	f->log = NULL;
}

void fixture_fini(struct fixture *f)
{
	drop_log(f);
	sl_hot_destroy(f->hot);
	if (f->killed_fd)
		close(f->killed_fd);
	for (uint32_t i = 0; i < f->batches_count; i++)
		free(f->batches[i].bytes);
	simfs_destroy(f->fs);
}

int fixture_open(struct fixture *f, bool was_clean)
{
	cr_assert_null(f->log);
	if (f->dirfd < 0)
		f->dirfd = f->files.ops->open(f->files.ctx, AT_FDCWD, "logs",
		                              O_RDONLY | O_DIRECTORY, 0);
	cr_assert_geq(f->dirfd, 0);
	f->opts.files = f->files;
	f->opts.dirfd = f->dirfd;
	f->opts.was_clean = was_clean;
	f->opts.now_ms = f->now_ms;
	return sl_log_open(&f->log, &f->opts, &f->report);
}

void fixture_must_open(struct fixture *f, bool was_clean)
{
	int err = fixture_open(f, was_clean);

	cr_assert_eq(err, 0, "open: %s", strerror(-err));
}

void fixture_close(struct fixture *f, bool is_clean)
{
	int err = f->hot ? fixture_sync(f) : 0;

	cr_assert_eq(err, 0, "write out: %s", strerror(-err));
	sl_log_cool(f->log);
	err = sl_log_close(f->log, is_clean);
	f->log = NULL;
	cr_assert_eq(err, 0, "close: %s", strerror(-err));
	/* Everything the log opened is closed again. */
	cr_assert_eq(simfs_open_count(f->fs), 1);
}

/* What another process that has the tier's descriptor is left with. */
static void keep_tier(struct fixture *f)
{
	struct stat st;
	void *p;

	if (f->killed_fd)
		close(f->killed_fd);
	f->killed_fd = memfd_create("killed", MFD_CLOEXEC);
	cr_assert(f->killed_fd > 0 && fstat(sl_hot_fd(f->hot), &st) == 0);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, sl_hot_fd(f->hot), 0);
	cr_assert(p != MAP_FAILED);
	cr_assert_eq(pwrite(f->killed_fd, p, (size_t)st.st_size, 0), (ssize_t)st.st_size);
	munmap(p, (size_t)st.st_size);
}

void fixture_kill(struct fixture *f)
{
	struct simfs *disk = simfs_copy(f->fs);

	if (f->hot && f->log)
		keep_tier(f);

	/* The dying process' memory must go somewhere: it is closed on the disk that is left
	 * behind. */
	drop_log(f);
	simfs_destroy(f->fs);
	f->fs = disk;
	simfs_heal(f->fs);
	f->files = simfs_files(disk);
	f->dirfd = -1;
}

/* The one record of a control batch: version and type, version and epoch. */
static void add_marker(struct sl_batch_builder *builder, const struct fixture_spec *spec)
{
	uint8_t key[4] = {0, 0, 0, spec->is_abort ? SL_CONTROL_ABORT : SL_CONTROL_COMMIT};
	uint8_t value[6] = {0};

	cr_assert_eq(spec->records, 1);
	sl_store_be32(value + 2, (uint32_t)spec->coordinator_epoch);
	sl_batch_add(builder, spec->timestamp, (struct sl_bytes){key, sizeof(key)},
	             (struct sl_bytes){value, sizeof(value)});
}

size_t fixture_build(const struct fixture_spec *spec, void *buf, size_t cap)
{
	struct sl_batch_builder builder;
	struct sl_batch_head head;
	struct sl_buf out;
	char key[32];
	uint8_t *value = malloc(spec->value_bytes + 1);

	sl_buf_init_fixed(&out, buf, cap);
	sl_batch_head_init(&head);
	head.attributes = spec->codec;
	if (spec->producer_id) {
		head.producer_id = spec->producer_id;
		head.producer_epoch = spec->producer_epoch;
		head.base_sequence = spec->is_marker ? -1 : spec->base_sequence;
	}
	if (spec->is_transactional || spec->is_marker)
		head.attributes |= SL_BATCH_TRANSACTIONAL;
	if (spec->is_marker)
		head.attributes |= SL_BATCH_CONTROL;
	sl_batch_begin(&builder, &out, &head);
	if (spec->is_marker)
		add_marker(&builder, spec);
	for (int32_t i = 0; i < spec->records && !spec->is_marker; i++) {
		int n = snprintf(key, sizeof(key), "k%d", i);

		memset(value, 'a' + (int)((spec->timestamp + i) % 26), spec->value_bytes);
		sl_batch_add(&builder, spec->timestamp + i, (struct sl_bytes){key, n},
		             (struct sl_bytes){value, (int32_t)spec->value_bytes});
	}
	cr_assert_eq(sl_batch_end(&builder), 0);
	free(value);
	return out.len;
}

int fixture_append(struct fixture *f, const struct fixture_spec *spec, struct sl_log_append *io)
{
	uint8_t *batch = malloc(BATCH_BYTES_MAX);
	size_t len = fixture_build(spec, batch, BATCH_BYTES_MAX);
	int64_t end = sl_log_end(f->log);
	struct fixture_batch *model;
	int err;

	*io = (struct sl_log_append){.leader_epoch = f->leader_epoch,
	                             .now_ms = f->now_ms,
	                             .is_verified = !spec->is_unverified,
	                             .is_epoch_per_txn = spec->is_epoch_per_txn};
	err = sl_log_append(f->log, batch, len, io);
	if (err) {
		cr_assert_eq(sl_log_end(f->log), end);
		free(batch);
		return err;
	}
	cr_assert_eq(io->base_offset, end);
	cr_assert_eq(io->last_offset, end + spec->records - 1);
	cr_assert_eq(sl_log_end(f->log), end + spec->records);
	cr_assert_lt(f->batches_count, FIXTURE_BATCHES_MAX);
	model = &f->batches[f->batches_count++];
	*model = (struct fixture_batch){
		.base_offset = end,
		.last_offset = io->last_offset,
		.max_timestamp = spec->timestamp + spec->records - 1,
		.bytes = batch,
		.len = (uint32_t)len,
	};
	return 0;
}

void fixture_must_append(struct fixture *f, int32_t records, uint32_t value_bytes,
                         int64_t timestamp)
{
	struct fixture_spec spec = {
		.records = records, .value_bytes = value_bytes, .timestamp = timestamp};
	struct sl_log_append io;
	int err = fixture_append(f, &spec, &io);

	cr_assert_eq(err, 0, "append: %s", strerror(-err));
}

void fixture_append_many(struct fixture *f, int count, uint32_t value_bytes)
{
	for (int i = 0; i < count; i++)
		fixture_must_append(f, 1 + i % 3, value_bytes, 1000 + i);
}

int fixture_sync(struct fixture *f)
{
	struct sl_log_sync sync;
	int err = 0;

	while (!err && sl_log_sync_begin(f->log, &sync, true) > 0) {
		err = sl_log_sync_run(&f->files, &sync);
		sl_log_sync_end(f->log, &sync, err);
	}
	return err;
}

void fixture_model_cut(struct fixture *f, int64_t start, int64_t end)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < f->batches_count; i++) {
		struct fixture_batch *batch = &f->batches[i];

		if (batch->last_offset < start || batch->last_offset >= end)
			free(batch->bytes);
		else
			f->batches[kept++] = *batch;
	}
	f->batches_count = kept;
}

/* Reads a range as the data plane sends it, piece by piece. */
static void copy_pieces(struct fixture *f, const struct sl_log_range *range, uint8_t *to)
{
	uint8_t *again = malloc(range->bytes);
	uint32_t done = 0;

	while (done < range->bytes) {
		struct sl_log_piece piece;
		ssize_t n;

		cr_assert_eq(sl_log_range_piece(f->log, range, done, &piece), 0);
		cr_assert(piece.bytes > 0 && piece.bytes <= range->bytes - done);
		if (piece.chunk)
			n = pread(piece.fd, to + done, piece.bytes, (off_t)piece.pos);
		else
			n = f->files.ops->pread(f->files.ctx, piece.fd, to + done, piece.bytes,
			                        piece.pos);
		cr_assert_eq(n, (ssize_t)piece.bytes);
		done += piece.bytes;
	}
	cr_assert_eq(sl_log_range_copy(f->log, range, again, SIZE_MAX), (ssize_t)range->bytes);
	cr_assert_eq(memcmp(again, to, range->bytes), 0);
	free(again);
}

/* Compares one range with the model from batch @i on; returns the batches it contains whole. */
static uint32_t check_range(struct fixture *f, uint32_t i, const struct sl_log_range *range)
{
	uint8_t *got = malloc(range->bytes);
	uint32_t at = 0;
	uint32_t whole = 0;

	copy_pieces(f, range, got);
	cr_assert_eq(range->base_offset, f->batches[i].base_offset);
	while (at < range->bytes) {
		const struct fixture_batch *batch = &f->batches[i + whole];
		uint32_t n = SL_MIN(batch->len, range->bytes - at);

		cr_assert_lt(i + whole, f->batches_count);
		cr_assert_eq(memcmp(got + at, batch->bytes, n), 0,
		             "batch at offset %" PRId64 " differs", batch->base_offset);
		at += n;
		if (n < batch->len)
			break;
		whole++;
	}
	free(got);
	return whole;
}

void fixture_check(struct fixture *f, uint32_t bytes_max)
{
	int64_t offset = sl_log_start(f->log);
	int64_t end = sl_log_end(f->log);
	struct sl_log_range range;
	uint32_t i = 0;

	if (f->batches_count > 0)
		cr_assert_eq(f->batches[f->batches_count - 1].last_offset + 1, end);
	while (offset < end) {
		uint32_t whole;

		while (f->batches[i].last_offset < offset)
			i++;
		cr_assert_lt(i, f->batches_count);
		cr_assert_eq(sl_log_read(f->log, offset, end, bytes_max, true, &range), 0);
		cr_assert_gt(range.bytes, 0);
		whole = check_range(f, i, &range);
		cr_assert_gt(whole, 0);
		offset = f->batches[i + whole - 1].last_offset + 1;
		sl_log_range_put(f->log, &range);
	}
	cr_assert_eq(sl_log_read(f->log, end, INT64_MAX, bytes_max, true, &range), 0);
	cr_assert_eq(range.bytes, 0);
}

const char *fixture_path(int64_t base, const char *suffix)
{
	static char path[256];

	snprintf(path, sizeof(path), FIXTURE_FOLDER "/%020" PRId64 "%s", base, suffix);
	return path;
}
