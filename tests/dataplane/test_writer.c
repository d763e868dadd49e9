/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer's ways of running a sync, on real files.  Every test of the contract runs on each; the
 * thread without a ring gets file operations that can fail, the rings get files that do.
 */
#include "partition/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "partition/partition.h"

#define PARTS_MAX   8
#define BLOCK       ((size_t)4096)
#define TIER_BYTES  ((size_t)1 << 20)
#define WAIT_MS     20000
#define SPINS_MAX   (1 << 26)
#define RACE_ROUNDS 2000

enum way {
	WAY_THREAD,      /* io_uring is not to be had */
	WAY_LANE_RING,   /* what is only written, and durable */
	WAY_THREAD_RING, /* everything else */
};

struct rig {
	struct writer *w;
	enum way way;
	struct sl_lane_stats stats;
	struct sl_file_ops ops;
	_Atomic int pwrite_limit; /* bytes of one pwrite; -1 all */
	_Atomic int pwrite_error;
	_Atomic int sync_error;
	_Atomic int syncs;
	int gate_fd; /* -1, or an eventfd that each sync waits for */
	int wake_fd;
	char path[64];
	int fd;        /* O_DIRECT if the file system can */
	uint8_t *tier; /* what is written */
	struct partition parts[PARTS_MAX];
};

/* ---- File operations of the thread ---- */

static ssize_t fault_pwrite(void *ctx, int fd, const void *p, size_t len, uint64_t pos)
{
	struct rig *r = ctx;
	int limit = atomic_load(&r->pwrite_limit);
	int err = atomic_load(&r->pwrite_error);

	if (err)
		return err;
	return sl_file_ops_plain.pwrite(NULL, fd, p, limit < 0 ? len : SL_MIN(len, (size_t)limit),
	                                pos);
}

static int fault_sync(void *ctx, int fd)
{
	struct rig *r = ctx;
	int err = atomic_load(&r->sync_error);
	uint64_t n;

	atomic_fetch_add(&r->syncs, 1);
	if (r->gate_fd >= 0)
		cr_assert(read(r->gate_fd, &n, sizeof(n)) == sizeof(n));
	return err ? err : sl_file_ops_plain.sync(NULL, fd);
}

/* ---- The rig ---- */

static struct rig *rig_create(enum way way, uint32_t depth)
{
	bool is_uring = way != WAY_THREAD;
	struct rig *r = aligned_alloc(SL_CACHE_LINE, SL_ALIGN_UP(sizeof(*r), SL_CACHE_LINE));
	struct writer_opts o;

	memset(r, 0, sizeof(*r));
	r->way = way;
	r->gate_fd = -1;
	r->pwrite_limit = -1;
	r->ops = sl_file_ops_plain;
	r->ops.pwrite = fault_pwrite;
	r->ops.sync = fault_sync;
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	snprintf(r->path, sizeof(r->path), "/tmp/sl-writer-XXXXXX");
	r->fd = mkstemp(r->path);
	cr_assert(r->fd >= 0 && r->wake_fd >= 0);
	(void)fcntl(r->fd, F_SETFL, O_DIRECT);
	r->tier = mmap(NULL, TIER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert(r->tier != MAP_FAILED);
	for (size_t i = 0; i < TIER_BYTES; i++)
		r->tier[i] = (uint8_t)(i / BLOCK + 1);
	o = (struct writer_opts){.files = {is_uring ? &sl_file_ops_plain : &r->ops, r},
	                         .wake_fd = r->wake_fd,
	                         .depth = depth,
	                         .stats = &r->stats};
	cr_assert(writer_create(&r->w, &o) == 0);
	if (is_uring && strcmp(writer_name(r->w), "io_uring") != 0)
		cr_skip_test("%s", writer_reason(r->w));
	return r;
}

static void rig_destroy(struct rig *r)
{
	writer_stop(r->w);
	writer_destroy(r->w);
	cr_expect(unlink(r->path) == 0);
	close(r->fd);
	close(r->wake_fd);
	munmap(r->tier, TIER_BYTES);
	free(r);
}

static uint64_t stat_of(const struct rig *r, enum sl_stat stat)
{
	return atomic_load(&r->stats.v[stat]);
}

/* A sync of @fd alone. */
static struct partition *sync_only(struct rig *r, unsigned i, int fd)
{
	struct partition *p = &r->parts[i];

	p->sync = (struct sl_log_sync){.fds = {fd}, .fds_count = 1, .segments = {r}};
	return p;
}

/* Two pieces of the tier, of @blocks each, to @pos of @fd; as durable as the rig's way asks for. */
static struct partition *write_two(struct rig *r, unsigned i, int fd, size_t blocks, uint64_t pos)
{
	struct partition *p = &r->parts[i];

	p->sync = (struct sl_log_sync){
		.iov = {{r->tier, blocks * BLOCK}, {r->tier + TIER_BYTES / 2, blocks * BLOCK}},
		.iov_count = 2,
		.is_durable = r->way != WAY_THREAD_RING,
		.write_fd = fd,
		.write_pos = pos,
		.write_bytes = 2 * blocks * BLOCK,
	};
	return p;
}

static void submit(struct rig *r, struct partition *p)
{
	cr_assert(writer_submit(r->w, p));
}

static void await_wake(struct rig *r)
{
	struct pollfd pfd = {.fd = r->wake_fd, .events = POLLIN};
	uint64_t n;

	cr_assert(poll(&pfd, 1, WAIT_MS) == 1, "nobody woke the lane");
	cr_assert(read(r->wake_fd, &n, sizeof(n)) == sizeof(n));
}

/* As a lane does: sleeps on wake_fd and nowhere else. */
static struct partition *await(struct rig *r, int *result)
{
	struct partition *p;

	writer_flush(r->w);
	while (!(p = writer_reap(r->w, result))) {
		writer_flush(r->w);
		if (writer_sleep(r->w))
			await_wake(r);
		writer_wake(r->w);
	}
	return p;
}

static void expect_file(const struct rig *r, size_t pos, size_t tier_pos, size_t bytes)
{
	uint8_t *p = aligned_alloc(BLOCK, bytes);

	cr_assert(pread(r->fd, p, bytes, (off_t)pos) == (ssize_t)bytes);
	cr_expect(memcmp(p, r->tier + tier_pos, bytes) == 0, "at %zu", pos);
	free(p);
}

/* ---- The contract, on every way ---- */

#define ON_WAYS(name, ...)                                                       \
	ParameterizedTestParameters(writer, name)                                \
	{                                                                        \
		static enum way ways[] = {__VA_ARGS__};                          \
                                                                                 \
		return cr_make_param_array(enum way, ways, SL_ARRAY_SIZE(ways)); \
	}                                                                        \
	ParameterizedTest(enum way *way, writer, name)
#define EACH_WAY(name)  ON_WAYS(name, WAY_THREAD, WAY_LANE_RING, WAY_THREAD_RING)
#define EACH_RING(name) ON_WAYS(name, WAY_LANE_RING, WAY_THREAD_RING)

EACH_WAY(writes_the_pieces_one_behind_the_other)
{
	struct rig *r = rig_create(*way, 4);
	struct partition *p = write_two(r, 0, r->fd, 3, 2 * BLOCK);
	int result = 1;

	p->sync.fds[0] = r->fd;
	p->sync.fds[1] = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	p->sync.fds_count = 2;
	submit(r, p);
	cr_expect(await(r, &result) == p && result == 0);
	expect_file(r, 2 * BLOCK, 0, 3 * BLOCK);
	expect_file(r, 5 * BLOCK, TIER_BYTES / 2, 3 * BLOCK);
	cr_expect(writer_reap(r->w, &result) == NULL, "a result comes once");
	close(p->sync.fds[1]);
	rig_destroy(r);
}

EACH_WAY(writes_a_single_piece)
{
	struct rig *r = rig_create(*way, 4);
	struct partition *p = write_two(r, 0, r->fd, 5, BLOCK);
	int result = 1;

	p->sync.iov_count = 1;
	p->sync.write_bytes = 5 * BLOCK;
	submit(r, p);
	cr_expect(await(r, &result) == p && result == 0);
	expect_file(r, BLOCK, 0, 5 * BLOCK);
	cr_expect((stat_of(r, SL_STAT_uring_calls) > 0) == (*way == WAY_LANE_RING),
	          "the lane's calls are counted, and no others");
	rig_destroy(r);
}

/* Through a descriptor that cannot write: it has one of its own, and none of them is left. */
ON_WAYS(opens_what_a_write_wants, WAY_THREAD, WAY_THREAD_RING)
{
	struct rig *r = rig_create(*way, 4);
	int fd = open(r->path, O_RDONLY | O_CLOEXEC);
	int next_fd = dup(fd);
	int result = 1;

	close(next_fd);
	for (unsigned i = 0; i < 2; i++) {
		struct partition *p = write_two(r, 0, fd, 1, i * 2 * BLOCK);

		p->sync.is_durable = false;
		p->sync.wants_direct = i == 0;
		submit(r, p);
		cr_expect(await(r, &result) == p);
		cr_expect_eq(result, i == 0 ? 0 : -EBADF);
	}
	expect_file(r, 0, 0, BLOCK);
	expect_file(r, BLOCK, TIER_BYTES / 2, BLOCK);
	cr_expect_eq(dup(fd), next_fd);
	close(next_fd);
	close(fd);
	rig_destroy(r);
}

/* Its blocks come first: where there are none, nothing is written, and the next one has its turn.
 */
ON_WAYS(allocates_what_a_write_needs, WAY_THREAD, WAY_THREAD_RING)
{
	struct rig *r = rig_create(*way, 4);
	struct stat st;
	int result = 1;

	for (unsigned i = 0; i < 2; i++) {
		struct partition *p = write_two(r, i, r->fd, 1, 0);

		p->sync.is_durable = false;
		p->sync.allocate_pos = 8 * BLOCK;
		/* More than any file may have. */
		p->sync.allocate_bytes = i == 0 ? (uint64_t)INT64_MAX : BLOCK;
		submit(r, p);
		cr_expect(await(r, &result) == p);
		cr_expect_eq(result, i == 0 ? -EFBIG : 0);
		cr_expect_eq(p->sync.is_allocated, i == 1);
		cr_assert_eq(fstat(r->fd, &st), 0);
		cr_expect_eq((size_t)st.st_size, i == 0 ? 0 : 9 * BLOCK);
	}
	expect_file(r, 0, 0, BLOCK);
	rig_destroy(r);
}

/* As many as a sync can have. */
static struct partition *write_most(struct rig *r, unsigned part, int fd, size_t piece_bytes)
{
	struct partition *p = write_two(r, part, fd, 1, 0);

	p->sync.iov_count = SL_ARRAY_SIZE(p->sync.iov);
	for (uint32_t i = 0; i < p->sync.iov_count; i++)
		p->sync.iov[i] = (struct iovec){r->tier + i * piece_bytes, piece_bytes};
	p->sync.write_bytes = p->sync.iov_count * piece_bytes;
	return p;
}

EACH_WAY(writes_as_many_pieces_as_there_can_be)
{
	struct rig *r = rig_create(*way, 4);
	struct partition *p = write_most(r, 0, r->fd, BLOCK);
	int result = 1;

	submit(r, p);
	cr_expect(await(r, &result) == p && result == 0);
	expect_file(r, 0, 0, p->sync.write_bytes);
	rig_destroy(r);
}

EACH_WAY(every_sync_gets_its_own_result)
{
	struct rig *r = rig_create(*way, 8);
	int results[PARTS_MAX];
	int seen[PARTS_MAX] = {0};
	int result;

	for (unsigned i = 0; i < PARTS_MAX; i++)
		submit(r, i % 3 == 2 ? sync_only(r, i, r->fd)
		                     : write_two(r, i, i % 3 ? r->fd : -1, 1, i * 2 * BLOCK));
	for (unsigned i = 0; i < PARTS_MAX; i++) {
		const struct partition *p = await(r, &result);

		seen[p - r->parts]++;
		results[p - r->parts] = result;
	}
	for (unsigned i = 0; i < PARTS_MAX; i++)
		cr_expect(seen[i] == 1 && results[i] == (i % 3 ? 0 : -EBADF), "%u: %d", i,
		          results[i]);
	cr_expect(stat_of(r, SL_STAT_sync_bursts) == 1, "they were started together");
	rig_destroy(r);
}

EACH_WAY(one_bad_descriptor_fails_the_whole_and_nothing_after_it)
{
	struct rig *r = rig_create(*way, 4);
	struct partition *p = sync_only(r, 0, r->fd);
	int result = 1;

	p->sync.fds_count = 4;
	p->sync.fds[1] = p->sync.fds[3] = r->fd;
	p->sync.fds[2] = -1;
	submit(r, p);
	cr_expect(await(r, &result) == p && result == -EBADF);
	cr_expect(writer_reap(r->w, &result) == NULL);
	submit(r, sync_only(r, 0, r->fd));
	cr_expect(await(r, &result) == p && result == 0);
	rig_destroy(r);
}

EACH_WAY(full_queue_takes_more_after_a_reap)
{
	struct rig *r = rig_create(*way, 2);
	int result = 1;

	cr_expect(!writer_is_full(r->w));
	submit(r, sync_only(r, 0, r->fd));
	submit(r, sync_only(r, 1, r->fd));
	cr_expect(writer_is_full(r->w));
	cr_expect(!writer_submit(r->w, sync_only(r, 2, r->fd)));
	cr_expect(await(r, &result) != &r->parts[2] && result == 0);
	cr_expect(!writer_is_full(r->w));
	submit(r, sync_only(r, 2, r->fd));
	cr_expect(writer_is_full(r->w));
	for (int i = 0; i < 2; i++)
		cr_expect(await(r, &result) && result == 0);
	rig_destroy(r);
}

EACH_WAY(stop_waits_and_leaves_the_results)
{
	struct rig *r = rig_create(*way, 8);
	int result = 1;

	for (unsigned i = 0; i < PARTS_MAX; i++)
		submit(r, write_two(r, i, r->fd, 16, i * 32 * BLOCK));
	writer_stop(r->w);
	cr_expect(writer_is_full(r->w), "nothing is taken any more");
	for (unsigned i = 0; i < PARTS_MAX; i++)
		cr_expect(writer_reap(r->w, &result) && result == 0);
	cr_expect(writer_reap(r->w, &result) == NULL);
	cr_expect(!writer_submit(r->w, sync_only(r, 0, r->fd)));
	rig_destroy(r);
}

EACH_WAY(stop_without_any_work_returns)
{
	struct rig *r = rig_create(*way, 1);
	int result;

	writer_flush(r->w);
	cr_expect(writer_reap(r->w, &result) == NULL);
	cr_expect(writer_sleep(r->w));
	writer_stop(r->w);
	writer_stop(r->w);
	rig_destroy(r);
}

/* A wake-up that is lost in one of the rounds is a poll() that ends without an event. */
EACH_WAY(no_wake_up_is_lost)
{
	struct rig *r = rig_create(*way, 2);
	unsigned sleeps = 0;
	int result = 1;

	for (unsigned round = 0; round < RACE_ROUNDS; round++) {
		bool is_reaped = false;

		submit(r, round % 2 ? sync_only(r, 0, r->fd) : write_two(r, 0, r->fd, 1, 0));
		writer_flush(r->w);
		/* Polls for a while of its own in each round, so that the end of the sync meets
		 * every point of going to sleep. */
		for (unsigned spin = 0; spin < round % 64 && !is_reaped; spin++)
			is_reaped = writer_reap(r->w, &result) != NULL;
		while (!is_reaped) {
			if (writer_sleep(r->w)) {
				await_wake(r);
				sleeps++;
			}
			writer_wake(r->w);
			is_reaped = writer_reap(r->w, &result) != NULL;
		}
		cr_assert(result == 0);
	}
	cr_expect(sleeps > 0);
	rig_destroy(r);
}

EACH_WAY(a_polling_lane_is_not_woken)
{
	struct rig *r = rig_create(*way, 2);
	struct partition *p = NULL;
	uint64_t n;
	int result = 1;

	writer_wake(r->w);
	submit(r, write_two(r, 0, r->fd, 1, 0));
	cr_expect(!writer_sleep(r->w), "not before it is flushed");
	writer_wake(r->w);
	writer_flush(r->w);
	for (unsigned i = 0; i < SPINS_MAX && !p; i++) {
		p = writer_reap(r->w, &result);
		(void)sched_yield();
	}
	cr_expect(p && result == 0);
	cr_expect(read(r->wake_fd, &n, sizeof(n)) < 0 && errno == EAGAIN);
	rig_destroy(r);
}

/* A pipe cannot be synced: that would be another error. */
EACH_WAY(what_could_not_be_written_is_not_synced)
{
	struct rig *r = rig_create(*way, 4);
	struct partition *p = write_two(r, 0, -1, 1, 0);
	int result = 1;
	int fds[2];

	cr_assert(pipe2(fds, O_CLOEXEC) == 0);
	r->pwrite_error = -EBADF;
	p->sync.fds[0] = fds[1];
	p->sync.fds_count = 1;
	submit(r, p);
	cr_expect(await(r, &result) == p && result == -EBADF, "%d", result);
	cr_expect(writer_reap(r->w, &result) == NULL, "it ended once");
	r->pwrite_error = 0;
	p = sync_only(r, 0, fds[1]);
	submit(r, p);
	cr_expect(await(r, &result) == p && result == -EINVAL, "%d", result);
	close(fds[0]);
	close(fds[1]);
	rig_destroy(r);
}

/* ---- The thread ---- */

Test(writer, thread_says_why_it_is_not_io_uring)
{
	struct rig *r = rig_create(WAY_THREAD, 2);

	cr_expect_str_eq(writer_name(r->w), "thread");
	cr_expect_str_eq(writer_reason(r->w), "the file operations are not the kernel's");
	cr_expect_str_eq(writer_fix(r->w), "");
	cr_expect(writer_hold_fd(r->w, r->fd) == 0);
	rig_destroy(r);
}

Test(writer, thread_continues_short_writes)
{
	struct rig *r = rig_create(WAY_THREAD, 2);
	int result = 1;

	r->pwrite_limit = (int)BLOCK;
	submit(r, write_two(r, 0, r->fd, 7, 0));
	cr_expect(await(r, &result) && result == 0);
	expect_file(r, 0, 0, 7 * BLOCK);
	expect_file(r, 7 * BLOCK, TIER_BYTES / 2, 7 * BLOCK);
	r->pwrite_limit = 0;
	submit(r, write_two(r, 0, r->fd, 7, 0));
	cr_expect(await(r, &result) && result == -EIO);
	rig_destroy(r);
}

Test(writer, thread_does_not_sync_what_it_could_not_write)
{
	struct rig *r = rig_create(WAY_THREAD, 2);
	int result = 1;

	r->pwrite_error = -ENOSPC;
	submit(r, write_two(r, 0, r->fd, 1, 0));
	cr_expect(await(r, &result) && result == -ENOSPC);
	cr_expect(r->syncs == 0);
	r->pwrite_error = 0;
	r->sync_error = -EIO;
	submit(r, write_two(r, 0, r->fd, 1, 0));
	cr_expect(await(r, &result) && result == -EIO);
	cr_expect(r->syncs == 1);
	rig_destroy(r);
}

Test(writer, thread_is_not_waited_for_by_the_lane)
{
	struct rig *r = rig_create(WAY_THREAD, 2);
	const uint64_t many = 2;
	int result = 1;

	r->gate_fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	submit(r, sync_only(r, 0, r->fd));
	submit(r, sync_only(r, 1, r->fd));
	writer_flush(r->w);
	cr_expect(writer_reap(r->w, &result) == NULL);
	cr_expect(write(r->gate_fd, &many, sizeof(many)) == sizeof(many));
	cr_expect(await(r, &result) && result == 0);
	cr_expect(await(r, &result) && result == 0);
	close(r->gate_fd);
	rig_destroy(r);
}

/* ---- io_uring ---- */

/* What fails at once has ended with the flush, while nobody wanted to be woken. */
Test(writer, uring_lets_no_lane_sleep_on_a_result)
{
	struct rig *r = rig_create(WAY_LANE_RING, 2);
	int result = 1;

	writer_wake(r->w);
	submit(r, write_two(r, 0, -1, 1, 0));
	submit(r, write_two(r, 1, -1, 1, 0));
	writer_flush(r->w);
	cr_expect(!writer_sleep(r->w));
	writer_wake(r->w);
	cr_expect(writer_reap(r->w, &result) != NULL);
	cr_expect(!writer_sleep(r->w), "the other one is there as well");
	cr_expect(await(r, &result) != NULL);
	cr_expect(writer_sleep(r->w), "nothing is under way");
	rig_destroy(r);
}

/* A pipe takes what it has room for, and the rest when somebody reads. */
EACH_RING(uring_continues_short_writes)
{
	struct rig *r = rig_create(*way, 2);
	struct partition *ended = NULL;
	struct partition *p;
	uint8_t *got = malloc(TIER_BYTES);
	size_t done = 0;
	int result = 1;
	int fds[2];

	cr_assert(pipe2(fds, O_CLOEXEC) == 0);
	writer_wake(r->w);
	p = write_most(r, 0, fds[1], TIER_BYTES / SL_ARRAY_SIZE(p->sync.iov));
	cr_assert(p->sync.write_bytes == TIER_BYTES);
	submit(r, p);
	while (done < TIER_BYTES) {
		ssize_t n;

		writer_flush(r->w);
		if (!ended)
			ended = writer_reap(r->w, &result);
		writer_flush(r->w);
		n = read(fds[0], got + done, TIER_BYTES - done);
		cr_assert(n > 0);
		done += (size_t)n;
	}
	if (!ended)
		ended = await(r, &result);
	cr_expect(ended == p && result == 0);
	cr_expect(stat_of(r, SL_STAT_write_retries) > 0);
	cr_expect(memcmp(got, r->tier, TIER_BYTES) == 0);
	free(got);
	close(fds[0]);
	close(fds[1]);
	rig_destroy(r);
}

/* Of this test's process.  A write beyond is cut short, and the next one fails with EFBIG. */
static void limit_files(rlim_t bytes)
{
	const struct rlimit limit = {.rlim_cur = bytes, .rlim_max = RLIM_INFINITY};

	(void)signal(SIGXFSZ, SIG_IGN);
	cr_assert(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

EACH_RING(uring_reports_what_stops_a_continued_write)
{
	struct rig *r = rig_create(*way, 2);
	struct partition *p = write_two(r, 0, r->fd, 2, 0);
	int result = 1;

	limit_files(3 * BLOCK);
	submit(r, p);
	cr_expect(await(r, &result) == p && result == -EFBIG, "%d", result);
	cr_expect(stat_of(r, SL_STAT_write_retries) == 1);
	expect_file(r, 0, 0, 2 * BLOCK);
	expect_file(r, 2 * BLOCK, TIER_BYTES / 2, BLOCK);
	rig_destroy(r);
}

Test(writer, uring_continues_where_the_file_ends)
{
	struct rig *r = rig_create(WAY_LANE_RING, 2);
	struct partition *p = write_two(r, 0, r->fd, 2, 0);
	int result = 1;

	limit_files(3 * BLOCK);
	submit(r, p);
	writer_flush(r->w);
	await_wake(r);
	cr_assert(writer_reap(r->w, &result) == NULL);
	cr_expect(!writer_sleep(r->w), "the rest has not been flushed");
	limit_files(RLIM_INFINITY);
	cr_expect(await(r, &result) == p && result == 0);
	cr_expect(stat_of(r, SL_STAT_write_retries) == 1);
	expect_file(r, 0, 0, 2 * BLOCK);
	expect_file(r, 2 * BLOCK, TIER_BYTES / 2, 2 * BLOCK);
	rig_destroy(r);
}

EACH_RING(uring_takes_a_write_without_progress_for_an_error)
{
	struct rig *r = rig_create(*way, 2);
	struct partition *p = write_two(r, 0, r->fd, 0, 0);
	int result = 1;

	submit(r, p);
	cr_expect(await(r, &result) == p && result == -EIO);
	rig_destroy(r);
}

EACH_RING(uring_at_its_greatest_depth_has_room_for_every_write)
{
	struct rig *r = rig_create(*way, WRITER_DEPTH_MAX);
	struct partition *parts = calloc(WRITER_DEPTH_MAX, sizeof(*parts));
	int result = 1;

	for (unsigned i = 0; i < WRITER_DEPTH_MAX; i++) {
		parts[i].sync = write_two(r, 0, r->fd, 1, 2 * i * BLOCK)->sync;
		submit(r, &parts[i]);
	}
	cr_expect(writer_is_full(r->w));
	for (unsigned i = 0; i < WRITER_DEPTH_MAX; i++)
		cr_assert(await(r, &result) && result == 0);
	cr_expect(!writer_is_full(r->w));
	free(parts);
	rig_destroy(r);
}

Test(writer, uring_keeps_a_held_lock_until_it_has_stopped)
{
	struct rig *r = rig_create(WAY_LANE_RING, 2);
	int held = open(r->path, O_RDWR | O_CLOEXEC);
	int other = open(r->path, O_RDWR | O_CLOEXEC);
	int result = 1;

	cr_assert(flock(held, LOCK_EX | LOCK_NB) == 0);
	cr_assert(writer_hold_fd(r->w, r->wake_fd) == 0);
	cr_assert(writer_hold_fd(r->w, held) == 0);
	close(held);
	submit(r, write_two(r, 0, r->fd, 1, 0));
	cr_expect(await(r, &result) && result == 0);
	cr_expect(flock(other, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK);
	writer_stop(r->w);
	cr_expect(flock(other, LOCK_EX | LOCK_NB) == 0);
	close(other);
	rig_destroy(r);
}

/* Of the process's rings, those whose first registered file is @path. */
static unsigned rings_that_hold(const char *path)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++) {
		char name[64], line[256];
		FILE *f;

		snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
		f = fopen(name, "re");
		while (f && fgets(line, sizeof(line), f))
			n += strncmp(line, "    0: ", 7) == 0 && strstr(line, path) != NULL;
		if (f)
			(void)fclose(f);
	}
	return n;
}

/* Either may have writes under way when the process is killed. */
Test(writer, both_rings_keep_a_held_descriptor)
{
	struct rig *r = rig_create(WAY_LANE_RING, 2);

	cr_assert(writer_hold_fd(r->w, r->fd) == 0);
	cr_expect(rings_that_hold(r->path) == 2);
	writer_stop(r->w);
	cr_expect(rings_that_hold(r->path) == 0);
	rig_destroy(r);
}

Test(writer, uring_holds_a_bounded_number_of_descriptors)
{
	struct rig *r = rig_create(WAY_LANE_RING, 2);

	for (unsigned i = 0; i < WRITER_HOLDS_MAX; i++)
		cr_assert(writer_hold_fd(r->w, r->fd) == 0);
	cr_expect(writer_hold_fd(r->w, r->fd) == -ENOSPC);
	rig_destroy(r);
}

/* ---- The choice ---- */

static void refuse_io_uring(int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {SL_ARRAY_SIZE(code), code};

	cr_assert(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	cr_assert(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0);
}

static void expect_refused(int err, const char *word)
{
	struct writer_opts o = {.files = {&sl_file_ops_plain, NULL}, .wake_fd = -1, .depth = 1};
	struct writer *w;

	refuse_io_uring(err);
	cr_assert(writer_create(&w, &o) == 0);
	cr_expect_str_eq(writer_name(w), "thread");
	cr_expect(strstr(writer_reason(w), word) != NULL, "%s", writer_reason(w));
	cr_expect(*writer_fix(w) != '\0');
	writer_destroy(w);
}

Test(writer, falls_back_where_a_filter_forbids_io_uring)
{
	expect_refused(EPERM, "forbids");
}

Test(writer, falls_back_where_the_kernel_has_no_io_uring)
{
	expect_refused(ENOSYS, "no io_uring");
}

Test(writer, falls_back_where_memory_is_short)
{
	expect_refused(ENOMEM, "memory");
}

Test(writer, refuses_a_depth_out_of_range)
{
	struct writer_opts o = {.files = {&sl_file_ops_plain, NULL}, .wake_fd = -1};
	struct writer *w;

	cr_expect(writer_create(&w, &o) == -EINVAL);
	o.depth = WRITER_DEPTH_MAX + 1;
	cr_expect(writer_create(&w, &o) == -EINVAL);
	writer_destroy(NULL);
}
