/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What time brings: transactions past their time-out, ids that nobody uses, markers to be sent
 * again, questions that have waited long enough.
 *
 * Times of a transaction are of the wall clock, since it outlives this process; a clock that jumps
 * ahead aborts transactions early, which is safe.  When to look is a matter of the monotonic clock.
 */
#include "state.h"

void scan_retry_later(struct txn_coord *c)
{
	if (c->retry_at_ms < 0)
		c->retry_at_ms = c->now_ms + LIMIT_RETRY_MS;
}

static bool is_due(int64_t at_ms, int64_t now_ms)
{
	return at_ms >= 0 && at_ms <= now_ms;
}

static void abort_timed_out(struct txn_coord *c)
{
	struct sl_list *pos;
	struct sl_list *tmp;

	sl_list_for_each_safe(pos, tmp, &c->ongoing) {
		struct txn *t = sl_list_entry(pos, struct txn, link);

		sl_arena_reset(&c->arena);
		if (t->is_pending || c->wall_ms - t->now.start_ms <= t->now.timeout_ms)
			continue;
		/* What cannot be done now is found again by the next scan. */
		if (!end_fence(c, t))
			coord_count(c, COUNT_aborts_timed_out);
	}
	c->abort_at_ms = -1;
}

/* Return: whether more are left that may go now. */
static bool expire(struct txn_coord *c)
{
	uint32_t left = LIMIT_EXPIRE;
	struct sl_list *pos;
	struct sl_list *tmp;

	/* The longest unused one is the first. */
	sl_list_for_each_safe(pos, tmp, &c->idle) {
		struct txn *t = sl_list_entry(pos, struct txn, link);

		if (t->is_pending)
			continue;
		if (c->wall_ms - t->now.update_ms < c->opts.id_expiration_ms)
			return false;
		if (left-- == 0)
			return true;
		sl_arena_reset(&c->arena);
		(void)journal_begin(t, TXN_DEAD);
		if (journal_write(c, t))
			return false;
	}
	return false;
}

static void answer_held(struct txn_coord *c)
{
	struct waiter *w;

	while ((w = sl_list_first(&c->holding, struct waiter, held)) != NULL &&
	       c->now_ms - w->since_ms >= LIMIT_HOLD_MS) {
		coord_count(c, COUNT_verifies_expired);
		answer_waiter(c, w, SL_KERR_CONCURRENT_TRANSACTIONS, NULL);
	}
}

void scan_tick(struct txn_coord *c)
{
	answer_held(c);
	if (is_due(c->retry_at_ms, c->now_ms)) {
		c->retry_at_ms = -1;
		marker_retry(c);
	}
	if (is_due(c->abort_at_ms, c->now_ms))
		abort_timed_out(c);
	if (is_due(c->expire_at_ms, c->now_ms)) {
		c->expire_at_ms = -1;
		if (expire(c))
			c->expire_at_ms = c->now_ms + LIMIT_EXPIRE_GAP_MS;
	}
}

static void sooner(int64_t *at_ms, int64_t candidate_ms)
{
	if (candidate_ms >= 0 && candidate_ms < *at_ms)
		*at_ms = candidate_ms;
}

int64_t scan_next(struct txn_coord *c)
{
	const struct waiter *w = sl_list_first(&c->holding, struct waiter, held);
	int64_t at_ms = INT64_MAX;

	if (c->abort_at_ms < 0 && c->ongoing_count > 0)
		c->abort_at_ms = c->now_ms + c->opts.abort_check_ms;
	if (c->expire_at_ms < 0 && c->txns.count > 0)
		c->expire_at_ms = c->now_ms + c->opts.id_expiration_check_ms;
	if (c->ongoing_count > 0)
		sooner(&at_ms, c->abort_at_ms);
	if (c->txns.count > 0)
		sooner(&at_ms, c->expire_at_ms);
	sooner(&at_ms, c->retry_at_ms);
	if (w)
		sooner(&at_ms, w->since_ms + LIMIT_HOLD_MS);
	return at_ms;
}
