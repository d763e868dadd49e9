/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a data plane does after a crash, on several threads and on real files, for ThreadSanitizer,
 * under which Criterion cannot start: completes the writes of a hot tier, then opens the logs.
 * Exit status: 0; 1 something is missing afterwards; 66 tsan saw a race.
 */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sluice/base/assert.h"
#include "sluice/base/crew.h"
#include "sluice/store/hot.h"
#include "sluice/store/log.h"
#include "sluice/wire/batch.h"

#define LOGS    40
#define BATCHES 20
#define THREADS 8
#define ROUNDS  5

static const struct sl_files plain = {.ops = &sl_file_ops_plain};

struct race {
	int dirfd;
	struct sl_hot_pool *pool; /* NULL: logs go through the page cache */
	struct sl_log *logs[LOGS];
	int errors[LOGS];
};

static struct sl_log_opts opts_of(const struct race *r, uint32_t index)
{
	return (struct sl_log_opts){
		.files = plain,
		.dirfd = r->dirfd,
		.topic = "race",
		.partition = (int32_t)index,
		.topic_id = {{7}},
		.config = {.segment_bytes = 1 << 16,
	                   .segment_ms = INT64_MAX,
	                   .index_interval_bytes = 4096,
	                   .retention_ms = -1,
	                   .retention_bytes = -1},
		.hot = r->pool,
	};
}

static void open_one(void *arg, uint32_t index, uint32_t worker SL_UNUSED)
{
	struct race *r = arg;
	const struct sl_log_opts opts = opts_of(r, index);
	struct sl_log_recovery report;

	r->errors[index] = sl_log_open(&r->logs[index], &opts, &report);
}

static void append(struct sl_log *log)
{
	static const char value[3000] = "value";
	struct sl_log_append io = {.leader_epoch = 1};
	struct sl_batch_builder builder;
	struct sl_batch_head head;
	uint8_t batch[4096];
	struct sl_buf out;

	sl_buf_init_fixed(&out, batch, sizeof(batch));
	sl_batch_head_init(&head);
	sl_batch_begin(&builder, &out, &head);
	sl_batch_add(&builder, 1000, (struct sl_bytes){"key", 3},
	             (struct sl_bytes){value, sizeof(value)});
	SL_ASSERT(sl_batch_end(&builder) == 0);
	SL_ASSERT(sl_log_append(log, batch, out.len, &io) == 0);
}

/* Opens all, writes to all, and leaves them as a kill would: the tier has what no file has.
 * Return: 0; 1 something of the life before is missing. */
static int live(struct race *r, int64_t expected)
{
	int bad = 0;

	sl_crew_run(LOGS, THREADS, open_one, r);
	for (uint32_t i = 0; i < LOGS; i++) {
		SL_ASSERT(r->errors[i] == 0);
		if (sl_log_end(r->logs[i]) != expected) {
			printf("log=%u end=%lld expected=%lld\n", i,
			       (long long)sl_log_end(r->logs[i]), (long long)expected);
			bad = 1;
		}
		for (int k = 0; k < BATCHES; k++)
			append(r->logs[i]);
	}
	return bad;
}

/* The logs' memory must go somewhere, and closing wants nothing left to write. */
static void let_go(struct race *r)
{
	for (uint32_t i = 0; i < LOGS; i++) {
		sl_log_cool(r->logs[i]);
		(void)sl_log_close(r->logs[i], false);
	}
}

/* A copy of the tier, as another process that has its descriptor is left with. */
static int copy_tier(const struct sl_hot *hot)
{
	int fd = memfd_create("killed", MFD_CLOEXEC);
	static char buffer[1 << 20];
	off_t pos = 0;
	ssize_t n;

	SL_ASSERT(fd >= 0);
	while ((n = pread(sl_hot_fd(hot), buffer, sizeof(buffer), pos)) > 0) {
		SL_ASSERT(pwrite(fd, buffer, (size_t)n, pos) == n);
		pos += n;
	}
	return fd;
}

static int remove_entry(const char *path, const struct stat *st SL_UNUSED, int type SL_UNUSED,
                        struct FTW *ftw SL_UNUSED)
{
	return remove(path);
}

static int run(struct race *r, struct sl_log_dir *dir)
{
	const struct sl_hot_opts opts = {.bytes = SL_HOT_BYTES_MIN, .slices = 1, .numa_node = -1};
	const struct sl_hot_pool_ops ops = {.forget = sl_log_forget};
	struct sl_hot_replay report;
	int killed = -1;
	int bad = 0;

	r->dirfd = sl_log_dir_fd(dir);
	for (int64_t round = 0; round < ROUNDS; round++) {
		struct sl_hot *hot;

		if (killed >= 0) {
			SL_ASSERT(sl_hot_replay(killed, &dir, 1, THREADS, &report) == 0);
			close(killed);
		}
		SL_ASSERT(sl_hot_create(&hot, &opts) == 0);
		r->pool = sl_hot_pool(hot, 0);
		sl_hot_pool_set_ops(r->pool, &ops);
		bad |= live(r, round * BATCHES);
		killed = copy_tier(hot);
		let_go(r);
		sl_hot_destroy(hot);
	}
	close(killed);
	return bad;
}

int main(void)
{
	char root[] = "/tmp/sluice-race-XXXXXX";
	struct sl_log_dir *dir;
	struct race r = {0};
	bool was_clean;
	int bad;

	SL_ASSERT(mkdtemp(root));
	SL_ASSERT(sl_log_dir_open(&dir, root, plain, &was_clean) == 0);
	bad = run(&r, dir);
	SL_ASSERT(sl_log_dir_close(dir, false) == 0);
	(void)nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	printf("logs=%d rounds=%d bad=%d\n", LOGS, ROUNDS, bad);
	return bad;
}
