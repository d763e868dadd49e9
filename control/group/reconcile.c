/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moving a member from what it has to what it shall have.
 *
 *   Stable ──new target──► gives up partitions? ──yes──► Unrevoked ──reported──┐
 *     ▲                          │ no ◄───────────────────────────────────────┘
 *     └──── all are free ────────┴──── some are still held ──► Unreleased ──► Stable
 *
 * A partition is given only when no other member holds it, and held until its holder reported that
 * it does not read it any more, or is not a member any more: nothing is ever read by two.  A member
 * that is to give up something gets a new epoch, so what it reports in that was sent after it was
 * told.
 * Source: KIP-848, "Reconciliation of the group".
 */
#include <errno.h>

#include "consumer.h"

bool reconcile_is_done(const struct cmember *m)
{
	return m->state == CMEMBER_STABLE && m->epoch == m->cg->target_epoch;
}

/* Splits what the target has beyond @kept into what is free and what others hold. */
static int split_pending(struct group_coord *c, const struct cmember *m, const struct parts *kept,
                         struct parts *all, bool *has_unreleased)
{
	struct part *list = sl_arena_alloc_array(&c->arena, (size_t)m->target.count + 1,
	                                         sizeof(*list));
	uint32_t count = 0;

	if (!list)
		return -ENOMEM;
	*has_unreleased = false;
	for (uint32_t i = 0; i < m->target.count; i++) {
		const struct part *had = parts_find(kept, &m->target.list[i]);
		const struct cmember *owner = consumer_owner(m->cg, &m->target.list[i]);

		if (had) {
			list[count++] = *had;
		} else if (!owner || owner == m || PLANTED(give_held)) {
			list[count] = m->target.list[i];
			list[count++].epoch = m->cg->target_epoch;
		} else {
			*has_unreleased = true;
		}
	}
	*all = (struct parts){list, count};
	return 0;
}

static void move_on(struct group_coord *c, struct cmember *m, enum cmember_state state,
                    int32_t epoch)
{
	m->epoch_before = m->epoch;
	m->epoch = epoch;
	m->state = state;
	m->is_current_changed = true;
	consumer_mark(m);
	if (m->classic)
		return;
	/* A member that does not give up its partitions in time loses its place. */
	if (state == CMEMBER_UNREVOKED && !PLANTED(no_time_out))
		deadline_arm(&c->heap, &m->rebalance, c->now_ms + m->rebalance_timeout_ms);
	else
		deadline_disarm(&c->heap, &m->rebalance);
}

static int next_assignment(struct group_coord *c, struct cmember *m, const struct parts *owned)
{
	static const struct parts none;
	struct parts kept;
	struct parts lost;
	struct parts all;
	bool has_unreleased;

	if (parts_common(&c->arena, &m->assigned, &m->target, &kept) ||
	    parts_less(&c->arena, &m->assigned, &m->target, &lost))
		return -ENOMEM;
	if (lost.count > 0 && (!owned ? !PLANTED(silence_releases) : parts_meet(&lost, owned))) {
		if (consumer_hold(m, &kept, &lost))
			return -ENOMEM;
		move_on(c, m, CMEMBER_UNREVOKED,
		        m->classic || PLANTED(silent_epoch) ? m->epoch : m->cg->target_epoch);
		return 1;
	}
	if (split_pending(c, m, &kept, &all, &has_unreleased))
		return -ENOMEM;
	if (m->state == CMEMBER_UNRELEASED && has_unreleased && m->epoch == m->cg->target_epoch &&
	    parts_eq(&all, &m->assigned))
		return 0;
	if (consumer_hold(m, &all, &none))
		return -ENOMEM;
	move_on(c, m, has_unreleased ? CMEMBER_UNRELEASED : CMEMBER_STABLE, m->cg->target_epoch);
	return 1;
}

int reconcile_member(struct group_coord *c, struct cmember *m, const struct parts *owned)
{
	if (m->state == CMEMBER_STABLE && m->epoch == m->cg->target_epoch)
		return 0;
	if (m->state == CMEMBER_UNREVOKED &&
	    (!owned ? !PLANTED(silence_releases) : parts_meet(&m->revoking, owned)))
		return 0;
	/* What is to be given up from now on it may begin with yet, though it did not report that.
	 * Joins of the classic protocol tell their generation, and who is new was told nothing. */
	return next_assignment(c, m, m->epoch == 0 || m->classic ? owned : NULL);
}
