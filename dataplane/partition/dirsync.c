/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A dir's partitions move between two lists: written ones, whose mark says what a sync that begins
 * now would cover, and those that the running sync covers, whose mark stays as it is until it ends.
 * One sync is under way at a time.
 *
 * The descriptor of a dir is open from its first partition on: the kernel tells each one of the
 * errors since it was opened, once, so none is missed and no other lane takes it away.
 */
#include "partition/dirsync.h"

#include <errno.h>
#include <stdlib.h>

#include "partition/errand.h"
#include "partition/partition.h"
#include "sluice/base/assert.h"
#include "sluice/base/log.h"

#define DIRSYNC_MS       1000 /* from the begin of a dir's sync to that of its next one */
#define DIRSYNC_HURRY_MS 20   /* the same while the tier is full */
#define DIRSYNC_SLOW_MS  3000 /* one that takes longer is not waited for: see is_slow() */
#define DIRSYNC_ENDS_MAX 64   /* partitions told in one poll */

struct dirsync {
	struct sl_files files;
	struct errand *errand; /* Owned; of the sync of @fd */
	/* The thread's while it runs. */
	int fd;
	int result;
	/* The lane's. */
	int fds[CTX_DIRS_MAX];                /* Owned; -1: not open.  What is told of errors. */
	uint32_t dirs_count;                  /* the highest dir that was joined, plus one */
	struct sl_list written[CTX_DIRS_MAX]; /* struct partition.dirsync_link */
	struct sl_list covered;               /* the same, of the sync that runs or has ended */
	uint32_t gens[CTX_DIRS_MAX];          /* rises with each sync of the dir */
	int64_t due_ms[CTX_DIRS_MAX];
	uint64_t refused; /* dirs that are not synced as a whole */
	uint32_t dir;     /* of @covered */
	int error;        /* of the sync that ended */
	bool is_ended;    /* @covered is being told */
	int64_t begun_ms;
	uint64_t begun_ns;
};

static void run(void *arg)
{
	struct dirsync *d = arg;

	d->result = sl_log_dir_sync_fs(&d->files, d->fd);
}

int dirsync_create(struct dirsync **out, struct sl_files files, int wake_fd)
{
	struct dirsync *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return -ENOMEM;
	d->files = files;
	for (uint32_t i = 0; i < CTX_DIRS_MAX; i++) {
		sl_list_init(&d->written[i]);
		d->fds[i] = -1;
	}
	sl_list_init(&d->covered);
	rc = errand_create(&d->errand, "sl-dirsync", run, d, wake_fd);
	if (rc != 0) {
		dirsync_destroy(d);
		return rc;
	}
	*out = d;
	return 0;
}

void dirsync_stop(struct dirsync *d)
{
	if (d)
		errand_stop(d->errand);
}

void dirsync_destroy(struct dirsync *d)
{
	if (!d)
		return;
	errand_destroy(d->errand);
	for (uint32_t i = 0; i < d->dirs_count; i++)
		if (d->fds[i] >= 0)
			d->files.ops->close(d->files.ctx, d->fds[i]);
	free(d);
}

static void refuse(struct dirsync *d, uint32_t dir)
{
	d->refused |= UINT64_C(1) << dir;
}

static bool serves(const struct ctx *ctx, uint32_t dir)
{
	const struct dirsync *d = ctx->dirsync;

	return d && !errand_is_stopped(d->errand) &&
	       !((d->refused | ctx->dirs.offline) & UINT64_C(1) << dir);
}

void dirsync_join(struct ctx *ctx, const struct partition *p)
{
	struct dirsync *d = ctx->dirsync;
	const uint32_t dir = p->log_dir;
	int fd;

	if (!serves(ctx, dir) || d->fds[dir] >= 0)
		return;
	fd = sl_log_dir_sync_open(&d->files, sl_log_dirfd(p->log));
	if (fd < 0) {
		refuse(d, dir);
		sl_log(WARN, partition, "sync partitions one by one lane=%u dir=%u: open: %s",
		       ctx->index, dir, strerror(-fd));
		return;
	}
	d->fds[dir] = fd;
	d->dirs_count = SL_MAX(d->dirs_count, dir + 1);
}

/* The file system's other users may have written much, for which a sync of all waits. */
static bool is_slow(const struct ctx *ctx, uint32_t dir)
{
	const struct dirsync *d = ctx->dirsync;

	return !sl_list_is_empty(&d->covered) && d->dir == dir &&
	       ctx->now_ms - d->begun_ms > DIRSYNC_SLOW_MS;
}

bool dirsync_has(const struct ctx *ctx, const struct partition *p)
{
	return serves(ctx, p->log_dir) && !is_slow(ctx, p->log_dir) && sl_log_has_tier(p->log);
}

void dirsync_written(struct ctx *ctx, struct partition *p)
{
	struct dirsync *d = ctx->dirsync;

	/* What a failed log has in its files stays unsynced for ever. */
	if (!serves(ctx, p->log_dir) || sl_log_error(p->log) || sl_log_unsynced(p->log) == 0)
		return;
	if (sl_list_is_empty(&p->dirsync_link)) {
		sl_list_push_back(&d->written[p->log_dir], &p->dirsync_link);
		p->dirsync_gen = d->gens[p->log_dir];
	}
	/* Else the running sync covers it, which may have begun before this write ended. */
	if (p->dirsync_gen == d->gens[p->log_dir])
		sl_log_mark(p->log);
}

/* A dir with something to sync whose turn it is, the longest waiting one first; CTX_DIRS_MAX. */
static uint32_t next_dir(const struct dirsync *d, int64_t *due_ms)
{
	uint32_t found = CTX_DIRS_MAX;

	*due_ms = INT64_MAX;
	for (uint32_t i = 0; i < d->dirs_count; i++) {
		if (!sl_list_is_empty(&d->written[i]) && d->due_ms[i] < *due_ms) {
			*due_ms = d->due_ms[i];
			found = i;
		}
	}
	return found;
}

static void drop(struct sl_list *written)
{
	struct partition *p;

	while ((p = sl_list_first(written, struct partition, dirsync_link)))
		sl_list_del(&p->dirsync_link);
}

static unsigned begin(struct ctx *ctx)
{
	struct dirsync *d = ctx->dirsync;
	int64_t due_ms;
	uint32_t dir = next_dir(d, &due_ms);

	if (due_ms > ctx->now_ms)
		return 0;
	SL_ASSERT(sl_list_is_empty(&d->covered));
	/* Nothing is done to a dir that failed. */
	if (!serves(ctx, dir)) {
		drop(&d->written[dir]);
		return 1;
	}
	d->gens[dir]++;
	sl_list_splice_back(&d->covered, &d->written[dir]);
	d->dir = dir;
	d->fd = d->fds[dir];
	d->due_ms[dir] = ctx->now_ms + DIRSYNC_MS;
	d->begun_ms = ctx->now_ms;
	d->begun_ns = ctx->now_ns;
	errand_begin(d->errand);
	return 1;
}

static unsigned tell(struct ctx *ctx)
{
	struct dirsync *d = ctx->dirsync;
	/* Not when the dir failed meanwhile: its success may be what the failure left over. */
	const bool is_void = d->error == -EOPNOTSUPP ||
	                     (d->error == 0 && ctx->dirs.offline & UINT64_C(1) << d->dir);
	struct partition *p;
	unsigned told = 0;

	while (told < DIRSYNC_ENDS_MAX &&
	       (p = sl_list_first(&d->covered, struct partition, dirsync_link))) {
		sl_list_del(&p->dirsync_link);
		if (!is_void)
			sl_log_mark_end(p->log, d->error);
		partition_dir_synced(ctx, p);
		dirsync_written(ctx, p);
		told++;
	}
	d->is_ended = !sl_list_is_empty(&d->covered);
	return told;
}

static void end(struct ctx *ctx)
{
	struct dirsync *d = ctx->dirsync;

	d->error = d->result;
	d->is_ended = true;
	errand_end(d->errand);
	ctx_count(ctx, SL_STAT_dir_syncs, 1);
	ctx_count(ctx, SL_STAT_dir_sync_us, (ctx->now_ns - d->begun_ns) / 1000);
	ctx_relieve(ctx, CTX_LACK_TIER);
	if (d->error == 0)
		return;
	refuse(d, d->dir);
	if (d->error == -EOPNOTSUPP) {
		sl_log(INFO, partition,
		       "sync partitions one by one lane=%u dir=%u: its file system is not ext4 or XFS",
		       ctx->index, d->dir);
		return;
	}
	ctx_count(ctx, SL_STAT_sync_errors, 1);
	sl_log(ERR, partition, "sync log dir lane=%u dir=%u: %s", ctx->index, d->dir,
	       strerror(-d->error));
	/* Its own partitions may all have left meanwhile. */
	partition_dir_failed(ctx, d->dir, d->error);
}

unsigned dirsync_poll(struct ctx *ctx)
{
	struct dirsync *d = ctx->dirsync;
	enum errand_state state;

	if (!d)
		return 0;
	state = errand_state(d->errand);
	if (state == ERRAND_RUNNING)
		return 0;
	if (state == ERRAND_DONE)
		end(ctx);
	if (d->is_ended)
		return tell(ctx);
	return errand_is_stopped(d->errand) ? 0 : begin(ctx);
}

void dirsync_hurry(struct ctx *ctx)
{
	struct dirsync *d = ctx->dirsync;

	for (uint32_t i = 0; d && i < d->dirs_count; i++)
		d->due_ms[i] = SL_MIN(d->due_ms[i], ctx->now_ms + DIRSYNC_HURRY_MS);
}

bool dirsync_drain(struct ctx *ctx)
{
	struct dirsync *d = ctx->dirsync;
	int64_t due_ms;

	if (!d || errand_is_stopped(d->errand))
		return false;
	for (uint32_t i = 0; i < d->dirs_count; i++)
		d->due_ms[i] = ctx->now_ms;
	return !sl_list_is_empty(&d->covered) || next_dir(d, &due_ms) < CTX_DIRS_MAX;
}

int64_t dirsync_next_ms(const struct ctx *ctx)
{
	const struct dirsync *d = ctx->dirsync;
	int64_t due_ms;

	if (!d)
		return INT64_MAX;
	if (d->is_ended)
		return ctx->now_ms;
	/* The end of the one that runs writes the eventfd. */
	if (errand_is_stopped(d->errand) || errand_state(d->errand) != ERRAND_IDLE)
		return INT64_MAX;
	(void)next_dir(d, &due_ms);
	return due_ms;
}
