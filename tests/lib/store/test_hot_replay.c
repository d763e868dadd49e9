/* SPDX-License-Identifier: Apache-2.0 */
/* Completion of interrupted writes: what a table leads to, killed processes, damaged tables. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"
#include "hot_impl.h"
#include "sluice/base/uuid.h"

#define MIB        ((size_t)1 << 20)
#define PARTITIONS 4

/* A log dir on a simulated disk with a few empty segments, and a tier. */
struct world {
	struct simfs *fs;
	struct sl_files files;
	struct sl_log_dir *dir;
	struct sl_hot *hot;
	struct sl_hot_pool *pool;
	struct sl_hot_replay report;
};

static struct sl_hot_key key_of(int32_t partition)
{
	return (struct sl_hot_key){
		.topic_id = {{9, 8, 7, 6}}, .base_offset = 100, .partition = partition};
}

static const char *path_of(int32_t partition)
{
	static char path[128];

	snprintf(path, sizeof(path), "logs/clicks-%d/%020d.log", partition, 100);
	return path;
}

/* What every byte of a segment is; never 0, so that holes are seen. */
static uint8_t byte_at(int32_t partition, uint64_t pos)
{
	uint32_t x = (uint32_t)(pos * 2654435761u) ^ (uint32_t)partition * 40503u;

	return (uint8_t)((x >> 13) | 1);
}

static void add_partition(struct world *w, int32_t partition)
{
	struct sl_hot_key key = key_of(partition);
	char id[SL_UUID_TEXT_MAX];
	char text[128];
	char path[128];

	snprintf(path, sizeof(path), "logs/clicks-%d", partition);
	cr_assert_eq(w->files.ops->mkdir(w->files.ctx, AT_FDCWD, path, 0750), 0);
	snprintf(path, sizeof(path), "logs/clicks-%d/partition.metadata", partition);
	snprintf(text, sizeof(text), "version: 0\ntopic_id: %s\n", sl_uuid_text(&key.topic_id, id));
	simfs_set_data(w->fs, path, text, strlen(text));
	simfs_set_data(w->fs, path_of(partition), "", 0);
}

static void make_hot(struct world *w, uint64_t bytes, uint32_t slices)
{
	struct sl_hot_opts opts = {
		.bytes = bytes, .slices = slices, .numa_node = -1, .is_huge_wanted = true};

	cr_assert_eq(sl_hot_create(&w->hot, &opts), 0);
	w->pool = sl_hot_pool(w->hot, slices - 1);
}

static void world_init(struct world *w)
{
	bool was_clean;

	*w = (struct world){.fs = simfs_create()};
	w->files = simfs_files(w->fs);
	cr_assert_eq(sl_log_dir_open(&w->dir, "logs", w->files, &was_clean), 0);
	for (int32_t partition = 0; partition < PARTITIONS; partition++)
		add_partition(w, partition);
	/* Not a power of two: the last large run is cut off. */
	make_hot(w, 36 * MIB, 2);
}

static void world_fini(struct world *w)
{
	sl_hot_destroy(w->hot);
	cr_assert_eq(sl_log_dir_close(w->dir, false), 0);
	cr_assert_eq(simfs_open_count(w->fs), 0);
	simfs_destroy(w->fs);
}

/* A chunk of @partition with the bytes [begin, end), of which those below @durable are on disk. */
static struct sl_hot_chunk *add_chunk(struct world *w, int32_t partition, uint64_t begin,
                                      uint64_t end, uint64_t durable)
{
	struct sl_hot_key key = key_of(partition);
	struct sl_hot_chunk *chunk = sl_hot_get(w->pool, &key, w, begin, (size_t)(end - begin), 0);

	cr_assert_not_null(chunk);
	for (uint64_t pos = begin; pos < end; pos++)
		chunk->p[pos - chunk->pos] = byte_at(partition, pos);
	sl_hot_commit(w->pool, chunk, end);
	sl_hot_durable(w->pool, chunk, durable);
	return chunk;
}

static int replay(struct world *w)
{
	struct sl_log_dir *dirs[] = {NULL, w->dir};

	return sl_hot_replay(sl_hot_fd(w->hot), dirs, 2, 1, &w->report);
}

/* The segment has @len bytes; those from @begin on are its own, those below are a hole. */
static void check_segment(struct world *w, int32_t partition, uint64_t begin, uint64_t len)
{
	size_t size;
	const uint8_t *data = simfs_data(w->fs, path_of(partition), &size);

	cr_assert_not_null(data);
	cr_assert_eq(size, len);
	for (uint64_t pos = 0; pos < len; pos++)
		cr_assert_eq(data[pos], pos < begin ? 0 : byte_at(partition, pos),
		             "partition %d position %" PRIu64, partition, pos);
}

Test(hot_replay, writes_what_was_not_on_disk)
{
	struct world w;

	world_init(&w);
	add_chunk(&w, 1, 0, 5000, 0);
	add_chunk(&w, 1, 5000, 40000, 5000);
	add_chunk(&w, 2, 8197, 9000, 8200);
	add_chunk(&w, 3, 0, 100, 100); /* clean */
	cr_assert_eq(replay(&w), 0);
	cr_assert_eq(w.report.chunks, 3);
	cr_assert_eq(w.report.bytes, 40000 + 800);
	cr_assert_eq(w.report.orphans + w.report.damaged, 0);
	check_segment(&w, 0, 0, 0);
	check_segment(&w, 1, 0, 40000);
	check_segment(&w, 2, 8200, 9000);
	check_segment(&w, 3, 0, 0);
	/* Again: the same. */
	cr_assert_eq(replay(&w), 0);
	cr_assert_eq(w.report.bytes, 40000 + 800);
	check_segment(&w, 1, 0, 40000);
	world_fini(&w);
}

Test(hot_replay, empty_table_looks_at_no_disk)
{
	struct world w;

	world_init(&w);
	simfs_fail(w.fs, SIMFS_OPEN | SIMFS_PREAD, 1, -EIO, 0, true);
	add_chunk(&w, 0, 0, 10, 10);
	cr_assert_eq(replay(&w), 0);
	cr_assert_eq(w.report.chunks, 0);
	cr_assert(!simfs_has_failed(w.fs));
	simfs_heal(w.fs);
	world_fini(&w);
}

Test(hot_replay, what_was_given_back_cut_or_recycled_is_not_written)
{
	struct world w;
	struct sl_hot_chunk *chunk;

	world_init(&w);
	chunk = add_chunk(&w, 1, 0, 1000, 400);
	sl_hot_commit(w.pool, chunk, 600);
	chunk = add_chunk(&w, 2, 0, 1000, 900);
	sl_hot_commit(w.pool, chunk, 500);
	/* Last, so that nothing takes its place. */
	sl_hot_put(w.pool, add_chunk(&w, 0, 0, 1000, 0));
	cr_assert_eq(replay(&w), 0);
	cr_assert_eq(w.report.chunks, 1);
	check_segment(&w, 0, 0, 0);
	check_segment(&w, 1, 400, 600);
	check_segment(&w, 2, 0, 0);
	world_fini(&w);
}

Test(hot_replay, deleted_topics_and_segments_are_orphans)
{
	struct world w;
	struct sl_hot_key other = {.topic_id = {{1}}, .base_offset = 100, .partition = 0};
	struct sl_hot_chunk *chunk;

	world_init(&w);
	chunk = sl_hot_get(w.pool, &other, &w, 0, 10, 0);
	sl_hot_commit(w.pool, chunk, 10);
	add_chunk(&w, 17, 0, 10, 0); /* no such partition */
	add_chunk(&w, 3, 0, 10, 0);
	simfs_remove(w.fs, path_of(3));
	add_chunk(&w, 1, 0, 10, 0);
	cr_assert_eq(replay(&w), 0);
	cr_assert_eq(w.report.chunks, 4);
	cr_assert_eq(w.report.orphans, 3);
	cr_assert(!simfs_exists(w.fs, path_of(3)));
	check_segment(&w, 0, 0, 0);
	check_segment(&w, 1, 0, 10);
	world_fini(&w);
}

Test(hot_replay, failed_write_is_told_and_leaves_no_hole)
{
	struct world w;

	world_init(&w);
	/* Later positions lie in earlier slots. */
	add_chunk(&w, 1, 70000, 80000, 0);
	add_chunk(&w, 1, 40000, 70000, 0);
	add_chunk(&w, 1, 0, 40000, 0);
	add_chunk(&w, 2, 0, 10, 0);
	simfs_fail(w.fs, SIMFS_PWRITE, 2, -EIO, 1000, false);
	cr_assert_eq(replay(&w), -EIO);
	check_segment(&w, 1, 0, 41000);
	check_segment(&w, 2, 0, 10);
	simfs_heal(w.fs);
	cr_assert_eq(replay(&w), 0);
	check_segment(&w, 1, 0, 80000);
	world_fini(&w);
}

Test(hot_replay, log_has_the_batches_that_only_memory_had)
{
	static struct fixture f;
	struct world w = {0};
	struct sl_hot_key key;
	struct sl_hot_chunk *chunk;
	struct fixture_spec spec = {.records = 3, .value_bytes = 100, .timestamp = 1000};
	uint8_t batch[4096];
	uint64_t bytes;
	size_t size;
	size_t len;
	bool was_clean;

	fixture_init(&f);
	fixture_must_open(&f, false);
	fixture_must_append(&f, 5, 50, 900);
	bytes = sl_log_bytes(f.log);
	fixture_kill(&f);
	/* The next batch went no further than the tier. */
	len = fixture_build(&spec, batch, sizeof(batch));
	sl_store_be64(batch, 5);
	make_hot(&w, 16 * MIB, 1);
	key = (struct sl_hot_key){.topic_id = f.opts.topic_id, .partition = f.opts.partition};
	chunk = sl_hot_get(w.pool, &key, &w, bytes, len, 0);
	memcpy(chunk->p + (bytes - chunk->pos), batch, len);
	sl_hot_commit(w.pool, chunk, bytes + len);
	cr_assert_eq(sl_log_dir_open(&w.dir, "logs", f.files, &was_clean), 0);
	cr_assert_eq(replay(&w), 0);
	cr_assert_eq(w.report.bytes, len);
	(void)simfs_data(f.fs, fixture_path(0, ".log"), &size);
	cr_assert_eq(size, bytes + len);
	cr_assert_eq(sl_log_dir_close(w.dir, false), 0);
	fixture_must_open(&f, false);
	cr_assert_eq(sl_log_end(f.log), 8);
	fixture_fini(&f);
	sl_hot_destroy(w.hot);
}

/* ---- Killed processes ---- */

/* What the child had done for certain when it was killed. */
struct progress {
	_Atomic uint64_t steps;
	_Atomic uint64_t committed[PARTITIONS];
};

struct child {
	struct world *w;
	struct progress *progress;
	struct sl_hot_chunk *chunks[PARTITIONS];
	uint64_t seed;
	bool is_durable; /* says that bytes are on disk, so that chunks are recycled */
};

static uint32_t next_random(struct child *c, uint32_t below)
{
	c->seed = c->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(c->seed >> 33) % below;
}

static void child_forget(void *owner, struct sl_hot_chunk *chunk)
{
	struct child *c = owner;

	for (int i = 0; i < PARTITIONS; i++)
		if (c->chunks[i] == chunk)
			c->chunks[i] = NULL;
}

/* Appends until the tier is full; false then. */
static bool child_step(struct child *c)
{
	int32_t partition = (int32_t)next_random(c, PARTITIONS);
	uint64_t end = c->progress->committed[partition];
	uint32_t len = 1 + next_random(c, 20000);
	struct sl_hot_chunk *chunk = c->chunks[partition];
	struct sl_hot_key key = key_of(partition);

	if (!chunk || end + len > chunk->pos + chunk->bytes) {
		chunk = sl_hot_get(c->w->pool, &key, c, end, len, next_random(c, 100000));
		if (!chunk)
			return false;
		c->chunks[partition] = chunk;
	}
	for (uint64_t pos = end; pos < end + len; pos++)
		chunk->p[pos - chunk->pos] = byte_at(partition, pos);
	sl_hot_commit(c->w->pool, chunk, end + len);
	c->progress->committed[partition] = end + len;
	if (c->is_durable)
		sl_hot_durable(c->w->pool, chunk, end + next_random(c, len + 1));
	if (c->is_durable && next_random(c, 2) == 0)
		sl_hot_durable(c->w->pool, chunk, end + len);
	c->progress->steps++;
	return true;
}

/* Lets a child work on the tier and kills it after @steps, wherever it is then. */
static struct progress *run_and_kill(struct world *w, uint64_t seed, uint64_t steps,
                                     bool is_durable)
{
	struct progress *progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE,
	                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct child child = {.w = w, .progress = progress, .seed = seed, .is_durable = is_durable};
	struct sl_hot_pool_ops ops = {.forget = child_forget};
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		sl_hot_pool_set_ops(w->pool, &ops);
		while (child_step(&child))
			;
		raise(SIGKILL);
	}
	cr_assert_gt(pid, 0);
	while (progress->steps < steps && waitpid(pid, &status, WNOHANG) == 0)
		;
	kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return progress;
}

/* Every byte is its own or a hole. */
static void check_bytes(struct world *w, int32_t partition, uint64_t len_min)
{
	size_t size;
	const uint8_t *data = simfs_data(w->fs, path_of(partition), &size);

	cr_assert_geq(size, len_min);
	for (uint64_t pos = 0; pos < size; pos++)
		if (data[pos] != 0)
			cr_assert_eq(data[pos], byte_at(partition, pos));
}

/* Twenty processes killed at different times, each one's tier replayed and looked at by @check. */
static void kill_and_replay(uint64_t steps, uint64_t more_steps, bool is_durable,
                            void (*check)(struct world *w, const struct progress *progress))
{
	for (uint64_t round = 0; round < 20; round++) {
		struct progress *progress;
		struct world w;

		world_init(&w);
		progress = run_and_kill(&w, round, steps + round * more_steps, is_durable);
		cr_assert_eq(replay(&w), 0);
		cr_assert_eq(w.report.damaged, 0);
		check(&w, progress);
		munmap(progress, sizeof(*progress));
		world_fini(&w);
	}
}

static void check_nothing_is_lost(struct world *w, const struct progress *progress)
{
	for (int32_t partition = 0; partition < PARTITIONS; partition++) {
		size_t size;

		(void)simfs_data(w->fs, path_of(partition), &size);
		cr_assert_geq(size, progress->committed[partition]);
		check_segment(w, partition, 0, size);
	}
}

Test(hot_replay, nothing_that_was_committed_is_lost_with_the_process)
{
	kill_and_replay(20, 37, false, check_nothing_is_lost);
}

static void check_nothing_is_foreign(struct world *w, const struct progress *progress)
{
	(void)progress;
	for (int32_t partition = 0; partition < PARTITIONS; partition++)
		check_bytes(w, partition, 0);
}

Test(hot_replay, recycled_chunks_of_a_killed_process_write_nothing_foreign)
{
	kill_and_replay(3000, 101, true, check_nothing_is_foreign);
}

/* ---- Several threads ---- */

static const struct sl_file_ops *one_thread;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static int open_in_turn(void *ctx, int dirfd, const char *name, int flags, mode_t mode)
{
	int fd;

	if (strncmp(name, "clicks-1/", 9) == 0 && flags == O_WRONLY)
		return -EIO;
	if (strncmp(name, "clicks-2/", 9) == 0 && flags == O_WRONLY)
		return -ENOSPC;
	pthread_mutex_lock(&turn);
	fd = one_thread->open(ctx, dirfd, name, flags, mode);
	pthread_mutex_unlock(&turn);
	return fd;
}

static int close_in_turn(void *ctx, int fd)
{
	int err;

	pthread_mutex_lock(&turn);
	err = one_thread->close(ctx, fd);
	pthread_mutex_unlock(&turn);
	return err;
}

static ssize_t pwrite_in_turn(void *ctx, int fd, const void *p, size_t len, uint64_t pos)
{
	ssize_t n;

	pthread_mutex_lock(&turn);
	n = one_thread->pwrite(ctx, fd, p, len, pos);
	pthread_mutex_unlock(&turn);
	return n;
}

static int size_in_turn(void *ctx, int fd, uint64_t *len)
{
	int err;

	pthread_mutex_lock(&turn);
	err = one_thread->size(ctx, fd, len);
	pthread_mutex_unlock(&turn);
	return err;
}

Test(hot_replay, threads_write_what_one_would_and_tell_the_first_error_of_the_table)
{
	struct sl_file_ops in_turn;
	struct sl_log_dir *dir;
	struct sl_files files;
	struct world w;
	bool was_clean;

	world_init(&w);
	one_thread = w.files.ops;
	in_turn = *one_thread;
	in_turn.open = open_in_turn;
	in_turn.close = close_in_turn;
	in_turn.pwrite = pwrite_in_turn;
	in_turn.size = size_in_turn;
	files = (struct sl_files){.ops = &in_turn, .ctx = w.files.ctx};
	cr_assert_eq(sl_log_dir_close(w.dir, false), 0);
	cr_assert_eq(sl_log_dir_open(&dir, "logs", files, &was_clean), 0);
	for (int32_t partition = PARTITIONS - 1; partition >= 0; partition--) {
		add_chunk(&w, partition, 300000, 400000, 300000);
		add_chunk(&w, partition, 0, 300000, 0);
	}
	add_chunk(&w, 17, 0, 10, 0); /* no such partition */
	for (int i = 0; i < 50; i++) {
		cr_assert_eq(sl_hot_replay(sl_hot_fd(w.hot), &dir, 1, 8, &w.report), -EIO);
		cr_assert_eq(w.report.chunks, 2 * PARTITIONS + 1);
		cr_assert_eq(w.report.bytes, 2 * 400000);
		cr_assert_eq(w.report.orphans, 1);
		check_segment(&w, 0, 0, 400000);
		check_segment(&w, 1, 0, 0);
		check_segment(&w, 2, 0, 0);
		check_segment(&w, 3, 0, 400000);
		simfs_set_data(w.fs, path_of(0), "", 0);
		simfs_set_data(w.fs, path_of(3), "", 0);
	}
	cr_assert_eq(sl_log_dir_close(dir, false), 0);
	cr_assert_eq(sl_log_dir_open(&w.dir, "logs", w.files, &was_clean), 0);
	world_fini(&w);
}

/* ---- Damage ---- */

static off_t desc_pos(const struct sl_hot_chunk *chunk)
{
	return (off_t)(HOT_HEADER_BYTES + chunk->slot * sizeof(struct hot_desc));
}

static void flip(struct world *w, off_t pos, uint8_t mask)
{
	uint8_t byte;

	cr_assert_eq(pread(sl_hot_fd(w->hot), &byte, 1, pos), 1);
	byte ^= mask;
	cr_assert_eq(pwrite(sl_hot_fd(w->hot), &byte, 1, pos), 1);
}

Test(hot_replay, damaged_descriptor_writes_nothing_outside_of_its_chunk)
{
	struct world w;
	struct sl_hot_chunk *chunk;
	size_t size;

	world_init(&w);
	chunk = add_chunk(&w, 1, 4097, 9000, 4100);
	memset(chunk->p + (9000 - chunk->pos), 0, chunk->bytes - (9000 - chunk->pos));
	add_chunk(&w, 2, 0, 5000, 0);
	for (size_t bit = 0; bit < sizeof(struct hot_desc) * 8; bit++) {
		off_t pos = desc_pos(chunk) + (off_t)(bit / 8);
		bool is_checked = bit / 8 >= HOT_DESC_CHECKED_POS;

		simfs_set_data(w.fs, path_of(1), "", 0);
		flip(&w, pos, (uint8_t)(1u << bit % 8));
		cr_assert_eq(replay(&w), 0);
		flip(&w, pos, (uint8_t)(1u << bit % 8));
		if (is_checked)
			cr_assert_eq(w.report.damaged, 1, "bit %zu", bit);
		(void)simfs_data(w.fs, path_of(1), &size);
		cr_assert_leq(size, is_checked ? 0 : chunk->pos + chunk->bytes, "bit %zu", bit);
		check_bytes(&w, 1, 0);
		check_segment(&w, 0, 0, 0);
		check_segment(&w, 2, 0, 5000);
		check_segment(&w, 3, 0, 0);
	}
	world_fini(&w);
}

/* A descriptor that says of itself that it is right. */
static void forge(struct world *w, uint32_t slot, struct hot_desc desc, uint32_t order)
{
	desc.state = hot_desc_state(&desc, slot, order);
	cr_assert_eq(pwrite(sl_hot_fd(w->hot), &desc, sizeof(desc),
	                    (off_t)(HOT_HEADER_BYTES + slot * sizeof(desc))),
	             (ssize_t)sizeof(desc));
}

Test(hot_replay, sealed_nonsense_is_refused_too)
{
	struct world w;
	uint32_t units = 18 * MIB / SL_HOT_CHUNK_BYTES_MIN;
	const struct hot_desc good = {.end = 5000,
	                              .durable = 10,
	                              .begin = 10,
	                              .topic_id = {{9, 8, 7, 6}},
	                              .base_offset = 100,
	                              .partition = 1};
	struct hot_desc bad[11];
	size_t n = 0;

	for (size_t i = 0; i < SL_ARRAY_SIZE(bad); i++)
		bad[i] = good;
	bad[n++].end = SL_HOT_CHUNK_BYTES_MIN + 1;
	bad[n++].end = UINT64_MAX;
	bad[n++].end = 9;
	bad[n++].begin = SL_HOT_BLOCK;
	bad[n++].pos = SL_HOT_BLOCK;
	bad[n++].pos = 1;
	bad[n++].durable = 9;
	bad[n++].partition = -1;
	bad[n++].base_offset = -1;
	bad[n++].topic_id = (struct sl_uuid){0};
	bad[n] = (struct hot_desc){.end = UINT64_MAX - 10,
	                           .durable = UINT64_MAX - 4095,
	                           .begin = UINT64_MAX - 4095,
	                           .pos = UINT64_MAX - 4095,
	                           .topic_id = good.topic_id,
	                           .base_offset = 100,
	                           .partition = 1};
	world_init(&w);
	for (size_t i = 0; i < SL_ARRAY_SIZE(bad); i++) {
		forge(&w, 3, bad[i], 0);
		cr_assert_eq(replay(&w), 0);
		cr_assert_eq(w.report.damaged, 1, "case %zu", i);
		cr_assert_eq(w.report.chunks, 0, "case %zu", i);
	}
	forge(&w, 3, good, 1); /* not where such a chunk can begin */
	cr_assert_eq(replay(&w), 0);
	cr_assert_eq(w.report.damaged, 1);
	forge(&w, 3, good, 31);
	cr_assert_eq(replay(&w), 0);
	cr_assert_eq(w.report.damaged, 1);
	forge(&w, 3, good, 0);
	forge(&w, 2 * units - 64, good, 7); /* ends behind the slice */
	cr_assert_eq(replay(&w), 0);
	cr_assert_eq(w.report.damaged, 1);
	cr_assert_eq(w.report.chunks, 1);
	cr_assert_eq(w.report.bytes, 4990);
	world_fini(&w);
}

Test(hot_replay, descriptor_inside_of_a_chunk_does_not_count)
{
	struct world w;
	struct sl_hot_chunk *chunk;
	struct hot_desc inside = {
		.end = 100, .topic_id = {{9, 8, 7, 6}}, .base_offset = 100, .partition = 2};

	world_init(&w);
	chunk = add_chunk(&w, 1, 0, 200000, 0);
	forge(&w, chunk->slot + 3, inside, 0);
	cr_assert_eq(replay(&w), 0);
	cr_assert_eq(w.report.chunks, 1);
	check_segment(&w, 2, 0, 0);
	world_fini(&w);
}

Test(hot_replay, file_that_is_no_tier_is_refused)
{
	struct world w;
	int err;

	world_init(&w);
	add_chunk(&w, 1, 0, 5000, 0);
	for (size_t bit = 0; bit < sizeof(struct hot_header) * 8; bit++) {
		flip(&w, (off_t)(bit / 8), (uint8_t)(1u << bit % 8));
		err = replay(&w);
		cr_assert(err == -EPROTO, "bit %zu: %d", bit, err);
		flip(&w, (off_t)(bit / 8), (uint8_t)(1u << bit % 8));
	}
	check_segment(&w, 1, 0, 0);
	cr_assert_eq(ftruncate(sl_hot_fd(w.hot), 30 * MIB), 0);
	cr_assert_eq(replay(&w), -EPROTO);
	cr_assert_eq(ftruncate(sl_hot_fd(w.hot), 10), 0);
	cr_assert_eq(replay(&w), -EPROTO);
	err = open("/dev/zero", O_RDONLY);
	cr_assert_eq(sl_hot_replay(err, NULL, 0, 1, &w.report), -EPROTO);
	close(err);
	cr_assert_eq(sl_hot_replay(-1, NULL, 0, 1, &w.report), -EBADF);
	world_fini(&w);
}
