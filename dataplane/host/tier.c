/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiers: sized by the configuration and the machine, adopted or made when the first control process
 * has said what it holds, populated by a thread.  The thread reads `nodes` and nothing else of what
 * the host thread owns; they do not change while it runs.
 */
#include "host/tier.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sluice/base/assert.h"
#include "sluice/base/clock.h"
#include "sluice/base/log.h"
#include "sluice/store/hot.h"

#define TIER_SHARE          4                   /* of the machine's memory, when nothing is said */
#define TIER_HUGE_BYTES     (UINT64_C(2) << 20) /* slices are whole huge pages */
#define TIER_RETRY_US       50000               /* after a failure: memory may come back */
#define TIER_POPULATE_BYTES ((size_t)64 << 20)  /* between two looks at is_stopping */
#define TIER_NICE           10
#define TIER_REPLAY_THREADS 8 /* most of them wait for the disk; each needs 1 MiB */

_Static_assert(SL_SHM_LANES_MAX <= SL_HOT_SLICES_MAX, "all lanes of a machine may be on one node");
_Static_assert(SL_HOT_BYTES_MIN % TIER_HUGE_BYTES == 0, "the smallest slice is whole huge pages");

/* A NUMA node with lanes. */
struct node {
	int numa_node;
	uint32_t lanes_count;
	struct tier_size size;
	struct sl_hot *hot; /* Owned; NULL: its lanes have none */
	/* Set by the thread when it has done with this one; pairs with tier_state(). */
	_Atomic bool is_populated;
};

struct tier {
	struct node nodes[SL_SHM_LANES_MAX];
	uint32_t nodes_count;
	uint32_t lanes_count;
	uint32_t lane_nodes[SL_SHM_LANES_MAX];  /* index in nodes */
	uint32_t lane_slices[SL_SHM_LANES_MAX]; /* of that node's tier */
	struct sl_hot_pool *pools[SL_SHM_LANES_MAX];
	int64_t key;           /* log.hot.bytes */
	struct tier_size size; /* of all; zero before tier_open() */
	bool is_huge_wanted;
	bool is_open;
	char reason[TIER_REASON_MAX]; /* why there is none; "" */
	pthread_t thread;
	bool has_thread;
	_Atomic bool is_stopping;
};

/* ---- Plan ---- */

void tier_size(struct tier_size *out, int64_t key, const struct memory *memory, uint32_t lanes)
{
	const uint64_t min = lanes * SL_HOT_BYTES_MIN;
	const uint64_t step = lanes * TIER_HUGE_BYTES;
	/* What others use is theirs, and the page cache is not to be squeezed to nothing. */
	const uint64_t limit = memory->available_bytes
	                               ? memory->available_bytes - memory->available_bytes / 4
	                               : UINT64_MAX;

	*out = (struct tier_size){0};
	if (key < 0)
		return;
	out->wanted = key > 0 ? (uint64_t)key : memory->total_bytes / TIER_SHARE;
	out->wanted = SL_MAX(out->wanted, min) / step * step;
	out->bytes = SL_MIN(out->wanted, limit) / step * step;
	if (out->bytes < min)
		out->bytes = 0;
}

static struct node *find_node(struct tier *t, int numa_node)
{
	for (uint32_t i = 0; i < t->nodes_count; i++)
		if (t->nodes[i].numa_node == numa_node)
			return &t->nodes[i];
	t->nodes[t->nodes_count].numa_node = numa_node;
	return &t->nodes[t->nodes_count++];
}

int tier_create(struct tier **out, const struct tier_opts *opts)
{
	struct tier *t = calloc(1, sizeof(*t));

	SL_ASSERT(opts->lanes_count >= 1 && opts->lanes_count <= SL_SHM_LANES_MAX);
	if (!t)
		return -ENOMEM;
	t->lanes_count = opts->lanes_count;
	t->key = sl_conf_int(opts->conf, SL_CK_log_hot_bytes);
	t->is_huge_wanted = strcmp(sl_conf_str(opts->conf, SL_CK_hugepages), "never") != 0;
	for (uint32_t i = 0; i < t->lanes_count; i++) {
		struct node *n = find_node(t, opts->numa_nodes[i]);

		t->lane_nodes[i] = (uint32_t)(n - t->nodes);
		t->lane_slices[i] = n->lanes_count++;
	}
	*out = t;
	return 0;
}

/* ---- What was left ---- */

/* An error that says nothing about the records' disk, or that it is full, which can be mended. */
static bool is_worth_another_try(int rc)
{
	return !sl_log_is_disk_error(rc) || rc == -ENOSPC || rc == -EDQUOT;
}

/* After a failure: one dir after the other, to learn whose records are lost. */
static int replay_each(int fd, struct sl_log_dir *const *open, struct logdirs *dirs)
{
	struct sl_hot_replay report;

	for (uint32_t i = 0; i < logdirs_count(dirs); i++) {
		struct sl_log_dir *one[LOGDIRS_MAX] = {NULL};
		int rc;

		if (!open[i])
			continue;
		one[i] = open[i];
		rc = sl_hot_replay(fd, one, logdirs_count(dirs), TIER_REPLAY_THREADS, &report);
		if (rc == 0)
			continue;
		if (is_worth_another_try(rc))
			return rc;
		sl_log(ERR, host, "lose records of the hot tier dir=%s: %s", logdirs_path(dirs, i),
		       strerror(-rc));
		(void)logdirs_set_offline(dirs, i, rc);
	}
	return 0;
}

static int replay(int fd, uint32_t index, struct logdirs *dirs)
{
	struct sl_log_dir *open[LOGDIRS_MAX];
	struct sl_hot_replay report = {0};
	int64_t begun_ms = sl_mono_ms();
	int rc;

	for (uint32_t i = 0; i < logdirs_count(dirs); i++)
		open[i] = logdirs_handle(dirs, i);
	rc = sl_hot_replay(fd, open, logdirs_count(dirs), TIER_REPLAY_THREADS, &report);
	if (rc == -EPROTO || rc == -ESTALE) {
		sl_log(ERR, host, "drop hot tier index=%u: %s; records in it are lost", index,
		       rc == -ESTALE ? "it is of another version" : "it is none");
		return 0;
	}
	if (report.damaged)
		sl_log(WARN, host, "skip damaged parts of the hot tier index=%u count=%u", index,
		       report.damaged);
	if (rc != 0)
		return is_worth_another_try(rc) ? rc : replay_each(fd, open, dirs);
	sl_log(INFO, host, "saved records of the hot tier index=%u bytes=%" PRIu64 " ms=%" PRId64,
	       index, report.bytes, sl_mono_ms() - begun_ms);
	return 0;
}

/* ---- Opening ---- */

/* Bytes that are free as soon as the control process has let go of @offered. */
static uint64_t allocated_bytes(const struct sl_ipc_tiers *offered)
{
	uint64_t sum = 0;
	struct stat st;

	for (uint32_t i = 0; i < offered->count; i++)
		if (fstat(offered->fds[i], &st) == 0)
			sum += (uint64_t)st.st_blocks * 512;
	return sum;
}

static void plan(struct tier *t, const struct memory *memory, const struct sl_ipc_tiers *offered)
{
	struct memory m = *memory;

	if (m.available_bytes)
		m.available_bytes += allocated_bytes(offered);
	tier_size(&t->size, t->key, &m, t->lanes_count);
	for (uint32_t i = 0; i < t->nodes_count; i++) {
		struct node *n = &t->nodes[i];

		n->size.wanted = t->size.wanted / t->lanes_count * n->lanes_count;
		n->size.bytes = t->size.bytes / t->lanes_count * n->lanes_count;
	}
	if (t->key > 0 && t->size.wanted > (uint64_t)t->key)
		sl_log(WARN, host,
		       "raise hot tier bytes=%" PRIu64 " log.hot.bytes=%" PRId64
		       ": each lane needs %" PRIu64,
		       t->size.wanted, t->key, SL_HOT_BYTES_MIN);
}

static struct sl_hot_opts hot_opts(const struct tier *t, const struct node *n)
{
	return (struct sl_hot_opts){
		.bytes = n->size.bytes,
		.slices = n->lanes_count,
		.numa_node = n->numa_node,
		.is_huge_wanted = t->is_huge_wanted,
	};
}

/* The one of @offered that was made for the same purpose, in the size that it got then: memory that
 * it has is not to be found a second time. */
static bool adopt(struct tier *t, struct node *n, const struct sl_ipc_tiers *offered)
{
	for (uint32_t i = 0; i < offered->count; i++) {
		const struct sl_ipc_tier *o = &offered->tiers[i];
		struct sl_hot_opts opts = hot_opts(t, n);
		int rc;

		if (o->numa_node != n->numa_node || o->bytes_wanted != n->size.wanted ||
		    o->is_huge_wanted != t->is_huge_wanted)
			continue;
		opts.bytes = o->bytes;
		rc = sl_hot_adopt(&n->hot, offered->fds[i], &opts);
		if (rc == 0) {
			n->size.bytes = o->bytes;
			sl_log(INFO, host, "adopt hot tier node=%d bytes=%" PRIu64 " lanes=%u",
			       n->numa_node, sl_hot_bytes(n->hot), n->lanes_count);
			return true;
		}
		sl_log(INFO, host, "adopt hot tier node=%d: %s; it is made anew", n->numa_node,
		       rc == -ESTALE ? "its layout is another one" : strerror(-rc));
	}
	return false;
}

static void note_shortage(struct tier *t, const struct node *n, const char *why)
{
	snprintf(t->reason, sizeof(t->reason),
	         "%" PRIu64 " of %" PRIu64
	         " MiB: %s; fix: free memory, or set log.hot.bytes=%" PRId64,
	         n->size.bytes >> 20, n->size.wanted >> 20, why,
	         n->size.bytes ? (int64_t)t->size.bytes : INT64_C(-1));
	sl_log(WARN, host, "reduce hot tier node=%d: %s", n->numa_node, t->reason);
}

static void make(struct tier *t, struct node *n)
{
	const struct sl_hot_opts opts = hot_opts(t, n);
	int rc;

	if (n->size.bytes < n->size.wanted)
		note_shortage(t, n, "no more memory is available");
	if (n->size.bytes == 0)
		return;
	rc = sl_hot_create(&n->hot, &opts);
	if (rc == 0) {
		sl_log(INFO, host, "create hot tier node=%d bytes=%" PRIu64 " lanes=%u",
		       n->numa_node, sl_hot_bytes(n->hot), n->lanes_count);
		return;
	}
	n->hot = NULL;
	n->size.bytes = 0;
	note_shortage(t, n, strerror(-rc));
}

int tier_open(struct tier *t, const struct memory *memory, const struct sl_ipc_tiers *offered,
              struct logdirs *dirs)
{
	SL_ASSERT(!t->is_open);
	for (uint32_t i = 0; i < offered->count; i++) {
		int rc = replay(offered->fds[i], i, dirs);

		if (rc != 0)
			return rc;
	}
	plan(t, memory, offered);
	for (uint32_t i = 0; t->size.wanted && i < t->nodes_count; i++)
		if (!adopt(t, &t->nodes[i], offered))
			make(t, &t->nodes[i]);
	for (uint32_t i = 0; i < t->lanes_count; i++) {
		const struct node *n = &t->nodes[t->lane_nodes[i]];

		if (n->hot)
			t->pools[i] = sl_hot_pool(n->hot, t->lane_slices[i]);
	}
	t->is_open = true;
	if (!t->size.wanted)
		sl_log(INFO, host, "hot tier off: log.hot.bytes=-1");
	return 0;
}

bool tier_is_open(const struct tier *t)
{
	return t->is_open;
}

void tier_list(const struct tier *t, struct sl_ipc_tiers *out)
{
	*out = (struct sl_ipc_tiers){0};
	for (uint32_t i = 0; i < t->nodes_count; i++) {
		const struct node *n = &t->nodes[i];

		if (!n->hot)
			continue;
		out->fds[out->count] = sl_hot_fd(n->hot);
		out->tiers[out->count++] = (struct sl_ipc_tier){
			.numa_node = n->numa_node,
			.is_huge_wanted = t->is_huge_wanted,
			.bytes_wanted = n->size.wanted,
			.bytes = n->size.bytes,
		};
	}
}

struct sl_hot_pool *const *tier_pools(const struct tier *t)
{
	return t->pools;
}

/* ---- The thread ---- */

/* Return: as sl_hot_populate(); 1 when it was stopped. */
static int populate_node(struct tier *t, struct node *n)
{
	const int64_t begun_ms = sl_mono_ms();
	const char *why;
	int rc = 1;

	while ((rc == 1 || rc == -EAGAIN) &&
	       !atomic_load_explicit(&t->is_stopping, memory_order_relaxed)) {
		if (rc == -EAGAIN)
			(void)usleep(TIER_RETRY_US);
		rc = sl_hot_populate(n->hot, TIER_POPULATE_BYTES);
	}
	if (rc == 1 || rc == -EAGAIN)
		return 1;
	why = sl_hot_reason(n->hot);
	if (rc < 0)
		sl_log(WARN, host, "populate hot tier node=%d: %s", n->numa_node, strerror(-rc));
	sl_log(INFO, host, "populate hot tier node=%d bytes=%" PRIu64 " huge=%s ms=%" PRId64 "%s%s",
	       n->numa_node, sl_hot_populated(n->hot), sl_hot_is_huge(n->hot) ? "yes" : "no",
	       sl_mono_ms() - begun_ms, *why ? ": " : "", why);
	/* Release: pairs with tier_state(), which then reads what the calls above found out. */
	atomic_store_explicit(&n->is_populated, true, memory_order_release);
	return rc;
}

static void *populate(void *arg)
{
	struct tier *t = arg;
	int rc = 0;

	(void)pthread_setname_np(pthread_self(), "populate");
	/* It is in no hurry: lanes take what is populated first.  Linux gives each thread a
	 * priority of its own. */
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), TIER_NICE);
	for (uint32_t i = 0; rc != 1 && i < t->nodes_count; i++)
		if (t->nodes[i].hot)
			rc = populate_node(t, &t->nodes[i]);
	return NULL;
}

void tier_populate(struct tier *t)
{
	int rc;

	SL_ASSERT(t->is_open && !t->has_thread);
	if (!t->size.wanted)
		return;
	rc = pthread_create(&t->thread, NULL, populate, t);
	t->has_thread = rc == 0;
	if (rc != 0)
		sl_log(WARN, host, "populate hot tier: %s; appends meet fresh pages", strerror(rc));
}

void tier_destroy(struct tier *t)
{
	if (!t)
		return;
	/* Relaxed: nothing depends on it but the end, for which the thread is waited. */
	atomic_store_explicit(&t->is_stopping, true, memory_order_relaxed);
	if (t->has_thread)
		(void)pthread_join(t->thread, NULL);
	for (uint32_t i = 0; i < t->nodes_count; i++)
		sl_hot_destroy(t->nodes[i].hot);
	free(t);
}

/* ---- For doctor ---- */

/* What the thread found out about a node with which it has done. */
static void add_findings(const struct node *n, struct tier_state *out)
{
	const uint64_t bytes = sl_hot_bytes(n->hot);
	const uint64_t populated = sl_hot_populated(n->hot);

	if (!sl_hot_is_huge(n->hot)) {
		out->is_huge = false;
		snprintf(out->reason, sizeof(out->reason), "%s", sl_hot_reason(n->hot));
	}
	if (populated < bytes)
		snprintf(out->reason, sizeof(out->reason),
		         "memory ran out at %" PRIu64 " of %" PRIu64
		         " MiB; fix: free memory, or a smaller log.hot.bytes, then restart",
		         populated >> 20, bytes >> 20);
}

void tier_state(const struct tier *t, struct tier_state *out)
{
	*out = (struct tier_state){.wanted = t->size.wanted, .is_huge = true};
	memcpy(out->reason, t->reason, sizeof(out->reason));
	for (uint32_t i = 0; i < t->nodes_count; i++) {
		const struct node *n = &t->nodes[i];

		if (!n->hot)
			continue;
		out->bytes += sl_hot_bytes(n->hot);
		out->populated += sl_hot_populated(n->hot);
		/* Acquire: pairs with populate_node(). */
		if (atomic_load_explicit(&n->is_populated, memory_order_acquire))
			add_findings(n, out);
		else
			out->is_populating = true;
	}
	out->is_huge &= out->bytes > 0 && !out->is_populating;
}
