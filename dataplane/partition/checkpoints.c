/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/checkpoints.h"

#include <errno.h>
#include <stdlib.h>

#include "partition/errand.h"
#include "partition/partition.h"
#include "sluice/base/assert.h"
#include "sluice/base/log.h"

#define CHECKPOINTS_MS      5000 /* from a sync to the checkpoint that tells of it */
#define CHECKPOINTS_GAP_MS  5    /* between two of a lane */
#define CHECKPOINTS_LAG_MS  1000 /* a lane that is late makes up for so much */
#define CHECKPOINTS_SHARE   20   /* a CPU's time divided by what they may take of it */
#define CHECKPOINTS_REST_MS 100  /* they rest no longer for that */

struct checkpoints {
	struct errand *errand;       /* Owned */
	struct sl_log_point *point;  /* Owned */
	struct partition *partition; /* whose it is, a reference; NULL: none is under way */
	checkpoints_clock *clock;
	uint64_t cpu_ns; /* that the last one took; the errand's */
};

static void run(void *arg)
{
	struct checkpoints *c = arg;
	const uint64_t before_ns = c->clock();

	sl_log_point_run(c->point);
	c->cpu_ns = c->clock() - before_ns;
}

int checkpoints_create(struct checkpoints **out, checkpoints_clock *clock, int wake_fd)
{
	struct checkpoints *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return -ENOMEM;
	c->clock = clock;
	rc = sl_log_point_create(&c->point);
	if (rc == 0)
		rc = errand_create(&c->errand, "sl-checkpoints", run, c, wake_fd);
	if (rc != 0) {
		checkpoints_destroy(c);
		return rc;
	}
	*out = c;
	return 0;
}

void checkpoints_destroy(struct checkpoints *c)
{
	if (!c)
		return;
	SL_ASSERT(!c->partition);
	errand_destroy(c->errand);
	sl_log_point_destroy(c->point);
	free(c);
}

void checkpoints_want(struct ctx *ctx, struct partition *p)
{
	if (!sl_log_has_tier(p->log) || !sl_list_is_empty(&p->point_link))
		return;
	p->point_ms = ctx->now_ms + CHECKPOINTS_MS;
	sl_list_push_back(&ctx->points, &p->point_link);
}

/* ext4 looks for an inode for milliseconds where many were removed.  Recovery can wait for its
 * checkpoints better than producers for a CPU. */
static void rest(struct ctx *ctx)
{
	const int64_t ms = (int64_t)(ctx->checkpoints->cpu_ns * CHECKPOINTS_SHARE / 1000000);

	ctx->point_ms += SL_MAX(SL_MIN(ms, CHECKPOINTS_REST_MS) - CHECKPOINTS_GAP_MS, 0);
}

/* Return: how many have ended. */
static unsigned end(struct ctx *ctx)
{
	struct checkpoints *c = ctx->checkpoints;
	struct partition *p = c ? c->partition : NULL;

	if (!p || errand_state(c->errand) != ERRAND_DONE)
		return 0;
	errand_end(c->errand);
	c->partition = NULL;
	rest(ctx);
	sl_log_point_end(c->point);
	partition_check(ctx, p);
	partition_put(ctx, p);
	return 1;
}

/* Return: whether there was one to write. */
static bool begin(struct ctx *ctx, struct partition *p)
{
	struct checkpoints *c = ctx->checkpoints;
	int rc;

	/* Without a thread it is the lane's own work. */
	if (!c)
		return sl_log_checkpoint(p->log) != 0;
	rc = sl_log_point_begin(p->log, c->point);
	if (rc == -ENOMEM)
		sl_log(WARN, partition, "skip checkpoint part=%s: %s", p->name, strerror(-rc));
	if (rc <= 0)
		return rc < 0;
	partition_get(p);
	c->partition = p;
	errand_begin(c->errand);
	return true;
}

/* When that of @p is due. */
static int64_t due_ms(const struct ctx *ctx, const struct partition *p)
{
	return SL_MAX(p->point_ms, ctx->point_ms);
}

static bool is_busy(const struct ctx *ctx)
{
	const struct checkpoints *c = ctx->checkpoints;

	return c && (c->partition || errand_is_stopped(c->errand));
}

unsigned checkpoints_poll(struct ctx *ctx)
{
	const unsigned ended = end(ctx);
	struct partition *p = sl_list_first(&ctx->points, struct partition, point_link);
	int64_t due;

	if (!p || is_busy(ctx) || ctx->now_ms < due_ms(ctx, p))
		return ended;
	due = due_ms(ctx, p);
	sl_list_del(&p->point_link);
	if (p->is_offline || !begin(ctx, p))
		return ended + 1;
	/* From when it was due: a lane that sleeps or shares its CPU is always late by some. */
	due = SL_MAX(due, ctx->now_ms - CHECKPOINTS_LAG_MS);
	ctx->point_ms = due + CHECKPOINTS_GAP_MS;
	partition_check(ctx, p);
	return ended + 1;
}

int64_t checkpoints_next_ms(const struct ctx *ctx)
{
	const struct partition *p = sl_list_first(&ctx->points, struct partition, point_link);

	return p && !is_busy(ctx) ? due_ms(ctx, p) : INT64_MAX;
}

void checkpoints_stop(struct ctx *ctx)
{
	struct checkpoints *c = ctx->checkpoints;

	if (!c)
		return;
	errand_stop(c->errand);
	(void)end(ctx);
}
