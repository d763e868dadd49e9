/* SPDX-License-Identifier: Apache-2.0 */
/* Tiers without lanes and without a control process: what it would hold is handed over by hand. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "host/tier.h"
#include "rig.h"
#include "sluice/store/hot.h"

#define MIB    (UINT64_C(1) << 20)
#define GIB    (UINT64_C(1) << 30)
#define ANY    (-1)
#define PLENTY (1000 * GIB)
#define LEAST  (SL_HOT_BYTES_MIN) /* for one lane */

/* ---- Size ---- */

struct size_case {
	const char *what;
	int64_t key;
	struct memory memory;
	uint32_t lanes;
	uint64_t wanted;
	uint64_t bytes;
};

Test(tier, is_as_large_as_the_configuration_and_the_machine_have_it)
{
	static const struct size_case cases[] = {
		{"off", -1, {8 * GIB, 8 * GIB}, 1, 0, 0},
		{"a quarter", 0, {8 * GIB, 8 * GIB}, 1, 2 * GIB, 2 * GIB},
		{"a quarter, and little left", 0, {8 * GIB, 1 * GIB}, 1, 2 * GIB, 768 * MIB},
		{"as asked", (int64_t)(100 * MIB), {8 * GIB, 8 * GIB}, 1, 100 * MIB, 100 * MIB},
		{"in whole huge pages of each lane",
	         (int64_t)(100 * MIB + 1),
	         {8 * GIB, 8 * GIB},
	         4,
	         96 * MIB,
	         96 * MIB},
		{"more than there is", (int64_t)(7 * GIB), {8 * GIB, 4 * GIB}, 1, 7 * GIB, 3 * GIB},
		{"too little for each lane", 1, {8 * GIB, 8 * GIB}, 3, 48 * MIB, 48 * MIB},
		{"no room for the least", 0, {8 * GIB, 30 * MIB}, 2, 2 * GIB, 0},
		{"a machine that says nothing", (int64_t)(64 * MIB), {0, 0}, 2, 64 * MIB, 64 * MIB},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(cases); i++) {
		const struct size_case *c = &cases[i];
		struct tier_size size;

		tier_size(&size, c->key, &c->memory, c->lanes);
		cr_expect_eq(size.wanted, c->wanted, "%s: wanted", c->what);
		cr_expect_eq(size.bytes, c->bytes, "%s: bytes", c->what);
	}
}

/* ---- A life ---- */

struct bench {
	char root[64];
	struct sl_conf conf;
	struct sl_file_ops ops; /* the plain ones, for faults */
	struct logdirs *dirs;
	int nodes[SL_SHM_LANES_MAX];
	uint32_t lanes;
	struct sl_ipc_tiers held; /* by the control process that is not there */
};

static void set(struct bench *b, const char *key, const char *value)
{
	char error[SL_CONF_ERROR_MAX];

	cr_assert(sl_conf_set(&b->conf, key, value, error) == 0, "%s", error);
}

static struct bench *bench_create(uint32_t lanes)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct sl_files files = {.ops = &sl_file_ops_plain};
	char error[SL_CONF_ERROR_MAX], list[160];

	cr_assert(b);
	b->ops = sl_file_ops_plain;
	files.ops = &b->ops;
	rig_root(b->root);
	snprintf(list, sizeof(list), "%s/a,%s/b", b->root, b->root);
	cr_assert(sl_conf_load(&b->conf, NULL, error) == 0);
	set(b, "log.hot.bytes", "67108864");
	cr_assert(logdirs_create(&b->dirs, list, b->root, files, 0, error) == 0, "%s", error);
	b->lanes = lanes;
	for (uint32_t i = 0; i < lanes; i++)
		b->nodes[i] = ANY;
	return b;
}

static void bench_destroy(struct bench *b)
{
	sl_ipc_tiers_close(&b->held);
	(void)logdirs_destroy(b->dirs);
	sl_conf_fini(&b->conf);
	rig_root_remove(b->root);
	free(b);
}

static struct tier *open_with(struct bench *b, uint64_t available_bytes)
{
	const struct tier_opts opts = {
		.conf = &b->conf, .lanes_count = b->lanes, .numa_nodes = b->nodes};
	const struct memory memory = {.total_bytes = PLENTY, .available_bytes = available_bytes};
	struct tier *t;

	cr_assert(tier_create(&t, &opts) == 0);
	cr_expect(!tier_is_open(t));
	cr_assert(tier_open(t, &memory, &b->held, b->dirs) == 0);
	cr_expect(tier_is_open(t));
	tier_populate(t);
	return t;
}

/* As the control process does when it is answered. */
static void hold(struct bench *b, const struct tier *t)
{
	struct sl_ipc_tiers listed;

	tier_list(t, &listed);
	for (uint32_t i = 0; i < listed.count; i++)
		listed.fds[i] = fcntl(listed.fds[i], F_DUPFD_CLOEXEC, 0);
	sl_ipc_tiers_close(&b->held);
	b->held = listed;
}

static ino_t inode_of(int fd, dev_t *dev)
{
	struct stat st;

	cr_assert(fstat(fd, &st) == 0);
	*dev = st.st_dev;
	return st.st_ino;
}

/* Whether tier @i of @t is the memory that is held. */
static bool is_held(const struct bench *b, const struct tier *t, uint32_t i)
{
	struct sl_ipc_tiers listed;
	dev_t held_dev, dev;

	tier_list(t, &listed);
	cr_assert(i < listed.count && i < b->held.count);
	return inode_of(listed.fds[i], &dev) == inode_of(b->held.fds[i], &held_dev) &&
	       dev == held_dev;
}

static int count_fds(void)
{
	int count = 0;

	for (int fd = 3; fd < 512; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

Test(tier, gives_each_lane_a_slice_of_its_nodes)
{
	struct bench *b = bench_create(3);
	int before = count_fds();
	struct sl_hot_usage usage;
	struct sl_ipc_tiers listed;
	struct tier *t;

	b->nodes[1] = 0;
	set(b, "log.hot.bytes", "100663296");
	t = open_with(b, PLENTY);
	tier_list(t, &listed);
	cr_assert(listed.count == 2, "lanes are on two nodes");
	cr_expect(listed.tiers[0].numa_node == ANY && listed.tiers[0].bytes == 64 * MIB);
	cr_expect(listed.tiers[1].numa_node == 0 && listed.tiers[1].bytes == 32 * MIB);
	for (uint32_t i = 0; i < 3; i++) {
		cr_assert_not_null(tier_pools(t)[i]);
		sl_hot_usage(tier_pools(t)[i], &usage);
		cr_expect_eq(usage.total, 32 * MIB);
	}
	cr_expect_neq(tier_pools(t)[0], tier_pools(t)[2], "one node, two slices");
	cr_expect_eq(sl_hot_pool_fd(tier_pools(t)[0]), sl_hot_pool_fd(tier_pools(t)[2]));
	cr_expect_neq(sl_hot_pool_fd(tier_pools(t)[0]), sl_hot_pool_fd(tier_pools(t)[1]));
	tier_destroy(t);
	cr_expect_eq(count_fds(), before);
	bench_destroy(b);
}

Test(tier, touches_its_memory_only_when_told)
{
	const struct memory memory = {.total_bytes = PLENTY, .available_bytes = PLENTY};
	struct bench *b = bench_create(1);
	const struct tier_opts opts = {.conf = &b->conf, .lanes_count = 1, .numa_nodes = b->nodes};
	struct tier_state state;
	struct tier *t;

	cr_assert(tier_create(&t, &opts) == 0);
	cr_assert(tier_open(t, &memory, &b->held, b->dirs) == 0);
	tier_state(t, &state);
	cr_expect(state.bytes == 64 * MIB && state.populated == 0 && state.is_populating);
	tier_populate(t);
	do {
		sched_yield();
		tier_state(t, &state);
	} while (state.is_populating);
	cr_expect_eq(state.populated, state.bytes);
	tier_destroy(t);
	bench_destroy(b);
}

Test(tier, uses_the_memory_of_a_process_before_it)
{
	struct bench *b = bench_create(2);
	int before = count_fds();
	struct tier *t = open_with(b, PLENTY);

	hold(b, t);
	tier_destroy(t);
	for (int i = 0; i < 2; i++) {
		t = open_with(b, PLENTY);
		cr_expect(is_held(b, t, 0));
		hold(b, t);
		tier_destroy(t);
	}
	cr_expect_eq(count_fds(), before + 1, "what is held, and nothing else");
	bench_destroy(b);
}

Test(tier, is_made_anew_when_another_one_is_wanted)
{
	struct bench *b = bench_create(2);
	struct tier *t = open_with(b, PLENTY);

	hold(b, t);
	tier_destroy(t);
	set(b, "log.hot.bytes", "134217728");
	t = open_with(b, PLENTY);
	cr_expect_not(is_held(b, t, 0), "other size");
	hold(b, t);
	tier_destroy(t);
	b->nodes[0] = b->nodes[1] = 0;
	t = open_with(b, PLENTY);
	cr_expect_not(is_held(b, t, 0), "other node");
	hold(b, t);
	tier_destroy(t);
	set(b, "hugepages", "never");
	t = open_with(b, PLENTY);
	cr_expect_not(is_held(b, t, 0), "other pages");
	hold(b, t);
	tier_destroy(t);
	b->lanes = 1;
	t = open_with(b, PLENTY);
	cr_expect_not(is_held(b, t, 0), "other number of lanes");
	tier_destroy(t);
	bench_destroy(b);
}

Test(tier, keeps_the_size_that_it_got_when_memory_was_short)
{
	struct bench *b = bench_create(1);
	struct tier_state state;
	struct tier *t = open_with(b, 48 * MIB);

	tier_state(t, &state);
	cr_expect_eq(state.wanted, 64 * MIB);
	cr_expect_eq(state.bytes, 36 * MIB);
	cr_expect(strstr(state.reason, "; fix: "), "%s", state.reason);
	hold(b, t);
	cr_expect_eq(b->held.tiers[0].bytes_wanted, 64 * MIB);
	tier_destroy(t);
	/* Its own memory is what is missing now. */
	t = open_with(b, 8 * MIB);
	cr_expect(is_held(b, t, 0));
	tier_state(t, &state);
	cr_expect_eq(state.bytes, 36 * MIB);
	tier_destroy(t);
	bench_destroy(b);
}

Test(tier, is_left_out_when_it_is_not_wanted_or_has_no_room)
{
	struct bench *b = bench_create(1);
	struct sl_ipc_tiers listed;
	struct tier_state state;
	struct tier *t;

	for (int i = 0; i < 2; i++) {
		set(b, "log.hot.bytes", i ? "67108864" : "-1");
		t = open_with(b, i ? LEAST : PLENTY);
		tier_list(t, &listed);
		tier_state(t, &state);
		cr_expect(listed.count == 0 && tier_pools(t)[0] == NULL);
		cr_expect(state.bytes == 0 && !state.is_populating && !state.is_huge);
		cr_expect_eq(state.wanted, i ? 64 * MIB : 0);
		tier_destroy(t);
	}
	bench_destroy(b);
}

Test(tier, does_not_stumble_over_what_is_no_tier)
{
	struct bench *b = bench_create(1);
	struct tier *t;

	b->held.count = 1;
	b->held.fds[0] = memfd_create("nonsense", MFD_CLOEXEC);
	b->held.tiers[0] =
		(struct sl_ipc_tier){.numa_node = ANY, .bytes_wanted = 64 * MIB, .bytes = 64 * MIB};
	t = open_with(b, PLENTY);
	cr_expect_not(is_held(b, t, 0));
	cr_expect_not_null(tier_pools(t)[0]);
	tier_destroy(t);
	bench_destroy(b);
}

/* ---- What was left ---- */

#define LEFT_BYTES 10000

/* An empty partition 0 of a topic whose id is all @name[0]. */
static void make_log(struct bench *b, uint32_t dir, const char *name)
{
	struct sl_log_recovery report;
	struct sl_log *log;
	struct sl_log_opts opts = {
		.files = logdirs_files(b->dirs),
		.dirfd = logdirs_fd(b->dirs, dir),
		.topic = name,
		.topic_id = rig_id((uint8_t)name[0]),
		.config = {.segment_bytes = 1 << 20, .segment_ms = 1 << 30},
		.was_clean = true,
		.now_ms = 1,
	};

	cr_assert(sl_log_open(&log, &opts, &report) == 0);
	cr_assert(sl_log_close(log, true) == 0);
}

/* Appended, and not written: as a killed lane leaves it. */
static void leave(struct sl_hot_pool *pool, const char *name)
{
	const struct sl_hot_key key = {.topic_id = rig_id((uint8_t)name[0])};
	struct sl_hot_chunk *chunk = sl_hot_get(pool, &key, NULL, 0, LEFT_BYTES, LEFT_BYTES);

	cr_assert_not_null(chunk);
	memset(chunk->p, name[0], LEFT_BYTES);
	sl_hot_commit(pool, chunk, LEFT_BYTES);
}

/* Bytes of the segment, if they are what was left; else -1. */
static long saved(const struct bench *b, const char *dir, const char *name)
{
	char path[160], bytes[2 * LEFT_BYTES];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s/%s-0/00000000000000000000.log", b->root, dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_geq(fd, 0, "%s", path);
	n = read(fd, bytes, sizeof(bytes));
	close(fd);
	for (ssize_t i = 0; i < n; i++)
		if (bytes[i] != name[0])
			return -1;
	return n;
}

/* Two logs, each in a dir of its own; both have records in memory only. */
static struct bench *bench_with_records(void)
{
	struct bench *b = bench_create(2);
	struct tier *t;

	make_log(b, 0, "first");
	make_log(b, 1, "second");
	t = open_with(b, PLENTY);
	leave(tier_pools(t)[0], "first");
	leave(tier_pools(t)[1], "second");
	hold(b, t);
	tier_destroy(t);
	cr_assert(saved(b, "a", "first") == 0 && saved(b, "b", "second") == 0);
	return b;
}

Test(tier, saves_the_records_of_a_process_before_it)
{
	struct bench *b = bench_with_records();
	struct sl_hot_usage usage;
	struct tier *t = open_with(b, PLENTY);

	cr_expect_eq(saved(b, "a", "first"), LEFT_BYTES);
	cr_expect_eq(saved(b, "b", "second"), LEFT_BYTES);
	cr_expect(is_held(b, t, 0));
	sl_hot_usage(tier_pools(t)[0], &usage);
	cr_expect_eq(usage.dirty, 0, "its memory is free again");
	tier_destroy(t);
	bench_destroy(b);
}

Test(tier, saves_records_also_when_it_is_not_wanted_any_more)
{
	struct bench *b = bench_with_records();
	struct tier *t;

	set(b, "log.hot.bytes", "-1");
	t = open_with(b, PLENTY);
	cr_expect_eq(saved(b, "a", "first"), LEFT_BYTES);
	cr_expect_eq(saved(b, "b", "second"), LEFT_BYTES);
	tier_destroy(t);
	bench_destroy(b);
}

static int fault; /* what a write to dir b returns */

static ssize_t pwrite_faulty(void *ctx, int fd, const void *p, size_t len, uint64_t pos)
{
	char link[64], path[256];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[SL_MAX(n, 0)] = '\0';
	return strstr(path, "/b/second-0/") ? fault
	                                    : sl_file_ops_plain.pwrite(ctx, fd, p, len, pos);
}

Test(tier, a_broken_disk_does_not_take_the_records_of_others)
{
	struct bench *b = bench_with_records();
	struct tier *t;

	b->ops.pwrite = pwrite_faulty;
	fault = -EIO;
	t = open_with(b, PLENTY);
	cr_expect_eq(saved(b, "a", "first"), LEFT_BYTES);
	cr_expect_eq(saved(b, "b", "second"), 0);
	cr_expect_eq(logdirs_error(b->dirs, 0), 0);
	cr_expect_eq(logdirs_error(b->dirs, 1), -EIO);
	tier_destroy(t);
	bench_destroy(b);
}

Test(tier, keeps_records_for_which_there_is_no_room_yet)
{
	static const int faults[] = {-ENOSPC, -EDQUOT, -ENOMEM};
	struct bench *b = bench_with_records();
	const struct tier_opts opts = {
		.conf = &b->conf, .lanes_count = b->lanes, .numa_nodes = b->nodes};
	const struct memory memory = {PLENTY, PLENTY};
	struct tier *t;

	b->ops.pwrite = pwrite_faulty;
	for (size_t i = 0; i < SL_ARRAY_SIZE(faults); i++) {
		fault = faults[i];
		cr_assert(tier_create(&t, &opts) == 0);
		cr_expect_eq(tier_open(t, &memory, &b->held, b->dirs), fault);
		cr_expect_not(tier_is_open(t));
		tier_destroy(t);
		cr_expect_eq(logdirs_error(b->dirs, 1), 0, "it may be mended");
	}
	b->ops.pwrite = sl_file_ops_plain.pwrite;
	t = open_with(b, PLENTY);
	cr_expect_eq(saved(b, "b", "second"), LEFT_BYTES);
	tier_destroy(t);
	bench_destroy(b);
}
