/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the disk can do for a group commit: producers that each wait until their block is durable
 * before they bring the next one, and a writer that puts whatever has come meanwhile into its next
 * write.  From huge pages with O_DIRECT and RWF_DSYNC, into a file that was written before, so
 * that no write waits for the file system's journal.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"
#include "sluice/base/clock.h"

#define DISK_BYTES ((size_t)1 << 30)
#define GROUPS_MAX 16
#define SHARE_MIN  0.25 /* seconds for each trial when the best is looked for */

/* A write under way: blocks of @count producers, the first of which is waiting[first]. */
struct group {
	unsigned first;
	unsigned count;
	bool is_busy;
};

struct writer {
	struct io_uring ring;
	struct bench_pages pages;
	int file;
	bool is_durable;
	bool is_registered; /* pages are known to the ring: not pinned anew for each write */
	size_t at;          /* in pages and file alike */
	struct group groups[GROUPS_MAX];
	/* Producers that wait to be written, oldest first: when each came.  A ring. */
	uint64_t *came_ns;
	unsigned first, last;
};

static int submit(const struct bench_opts *o, struct writer *w, struct group *g)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);
	/* Shared out, or the first write would take all producers and the second none. */
	unsigned share = (unsigned)((o->producers + o->groups - 1) / o->groups);
	size_t room = (w->pages.bytes - w->at) / o->block_bytes;
	size_t bytes;

	if (!sqe)
		return -EBUSY;
	g->first = w->first;
	g->count = SL_MIN(SL_MIN(w->last - w->first, share), (unsigned)room);
	g->is_busy = true;
	bytes = g->count * o->block_bytes;
	if (w->is_registered)
		io_uring_prep_write_fixed(sqe, w->file, w->pages.p + w->at, (unsigned)bytes, w->at,
		                          0);
	else
		io_uring_prep_write(sqe, w->file, w->pages.p + w->at, (unsigned)bytes, w->at);
	sqe->rw_flags = w->is_durable ? RWF_DSYNC : 0;
	io_uring_sqe_set_data(sqe, g);
	w->first += g->count;
	w->at += bytes;
	if (w->at + o->block_bytes > w->pages.bytes)
		w->at = 0;
	return 0;
}

static int finish(struct bench_side *side, struct writer *w, struct io_uring_cqe *cqe)
{
	const struct bench_opts *o = side->opts;
	struct group *g = io_uring_cqe_get_data(cqe);
	uint64_t now = sl_mono_ns();
	bool counts = bench_counts(side, now);

	if (cqe->res != (int)(g->count * o->block_bytes))
		return cqe->res < 0 ? cqe->res : -EIO;
	for (unsigned i = 0; i < g->count; i++) {
		uint64_t came = w->came_ns[(g->first + i) % (unsigned)(2 * o->producers)];

		/* Its producer brings the next block at once. */
		w->came_ns[w->last++ % (unsigned)(2 * o->producers)] = now;
		if (!counts)
			continue;
		side->requests++;
		side->bytes += o->block_bytes;
		sl_hist_add(&side->latency_ns, now - came);
	}
	g->is_busy = false;
	io_uring_cqe_seen(&w->ring, cqe);
	return 0;
}

static int drain(struct writer *w)
{
	struct io_uring_cqe *cqe;
	int busy = 0;
	int rc = 0;

	for (int i = 0; i < GROUPS_MAX; i++)
		busy += w->groups[i].is_busy;
	for (; busy > 0 && rc == 0; busy--) {
		rc = io_uring_wait_cqe(&w->ring, &cqe);
		if (rc == 0)
			io_uring_cqe_seen(&w->ring, cqe);
	}
	return rc;
}

static int writer_run(struct bench_side *side)
{
	const struct bench_opts *o = side->opts;
	struct writer *w = side->arg;
	struct io_uring_cqe *cqe;
	uint64_t now = sl_mono_ns();
	int rc = 0;

	for (int i = 0; i < o->producers; i++)
		w->came_ns[w->last++ % (unsigned)(2 * o->producers)] = now;
	while (rc == 0 && sl_mono_ns() < side->end_ns) {
		(void)bench_counts(side, sl_mono_ns());
		for (int i = 0; rc == 0 && i < o->groups && w->first != w->last; i++)
			if (!w->groups[i].is_busy)
				rc = submit(o, w, &w->groups[i]);
		if (rc == 0)
			rc = SL_MIN(io_uring_submit_and_wait(&w->ring, 1), 0);
		while (rc == 0 && io_uring_peek_cqe(&w->ring, &cqe) == 0)
			rc = finish(side, w, cqe);
	}
	return rc != 0 ? rc : drain(w);
}

/* One run with o->groups writes in flight; the result is in @side. */
static int trial(struct bench_side *side, struct writer *w)
{
	struct iovec all = {.iov_base = w->pages.p, .iov_len = w->pages.bytes};
	int rc = io_uring_queue_init(GROUPS_MAX, &w->ring, 0);

	if (rc != 0)
		return rc;
	w->is_registered = io_uring_register_buffers(&w->ring, &all, 1) == 0;
	w->first = w->last = 0;
	memset(w->groups, 0, sizeof(w->groups));
	side->run = writer_run;
	side->arg = w;
	rc = bench_run(side, 1);
	io_uring_queue_exit(&w->ring);
	return rc;
}

/* Tries 1 to 4 writes in flight, or what the caller says, and prints the best. */
static int best_of(const struct bench_opts *o, const char *limit, struct writer *w)
{
	const int first = o->groups > 0 ? o->groups : 1;
	const int last = o->groups > 0 ? o->groups : SL_MIN(4, o->producers);
	struct bench_opts mine[GROUPS_MAX + 1];
	struct bench_side *best = NULL;
	int rc = 0;

	for (int g = first; rc == 0 && g <= last; g++) {
		struct bench_side *side;

		mine[g] = *o;
		mine[g].groups = g;
		if (first != last)
			mine[g].seconds = SL_MAX(o->seconds / 2, SHARE_MIN);
		side = bench_sides(&mine[g], 1, 1);
		rc = side ? trial(side, w) : -ENOMEM;
		if (rc == 0 && (!best || side->bytes > best->bytes)) {
			free(best);
			best = side;
			side = NULL;
		}
		free(side);
	}
	if (rc == 0)
		bench_print(limit, best, 1, true);
	free(best);
	return rc;
}

static int measure(const struct bench_opts *o, const char *limit, bool is_durable)
{
	struct writer w = {.pages.fd = -1, .is_durable = is_durable, .file = -1};
	size_t bytes = o->file_bytes > 0 ? o->file_bytes : DISK_BYTES;
	int rc = o->block_bytes <= bytes ? bench_pages_open(&w.pages, bytes) : -EINVAL;

	w.came_ns = calloc(2 * (size_t)o->producers, sizeof(*w.came_ns));
	if (rc == 0 && !w.came_ns)
		rc = -ENOMEM;
	if (rc == 0) {
		w.file = bench_file_open(o->dir ? o->dir : ".", w.pages.bytes, O_RDWR | O_DIRECT);
		rc = SL_MIN(w.file, 0);
	}
	if (rc == 0)
		rc = best_of(o, limit, &w);
	if (w.file >= 0)
		close(w.file);
	bench_pages_close(&w.pages);
	free(w.came_ns);
	return rc;
}

int bench_durable(const struct bench_opts *o)
{
	return measure(o, "durable", true);
}

int bench_direct_write(const struct bench_opts *o)
{
	struct bench_opts mine = *o;

	/* A queue of 4 is what keeps such a disk busy; nobody waits for durability. */
	mine.producers = mine.groups = 4;
	mine.block_bytes = (size_t)1 << 20;
	return measure(&mine, "direct-write", false);
}
