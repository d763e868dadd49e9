/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members of a group and their held requests.  What follows for the group from a change is decided
 * by the callers; here the counts, maps and timers are kept in step.
 */
#include "coord.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

struct member *member_find(const struct group *g, struct sl_str id)
{
	return sl_map_get(&g->members_by_id, id.p, (size_t)id.len);
}

struct member *member_find_instance(const struct group *g, struct sl_str instance_id)
{
	return sl_map_get(&g->members_by_instance, instance_id.p, (size_t)instance_id.len);
}

static void destroy(struct member *m)
{
	text_free(&m->id);
	text_free(&m->instance_id);
	text_free(&m->client_id);
	text_free(&m->client_host);
	text_free_bytes(&m->assignment);
	text_free_bytes(&m->assignment_next);
	free(m->protocols);
	free(m);
}

static struct member *create(struct group *g, const struct member_opts *opts)
{
	struct member *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->group = g;
	m->rebalance_timeout_ms = opts->rebalance_timeout_ms;
	m->session_timeout_ms = opts->session_timeout_ms;
	m->assignment = SL_BYTES_NULL;
	m->assignment_next = SL_BYTES_NULL;
	m->session.kind = DEADLINE_SESSION;
	if (text_dup(&m->id, opts->id) || text_dup(&m->instance_id, opts->instance_id) ||
	    text_dup(&m->client_id, opts->client_id) ||
	    text_dup(&m->client_host, opts->client_host)) {
		destroy(m);
		return NULL;
	}
	return m;
}

/* The first member decides what kind of group it is. */
static int adopt_type(struct group *g, struct sl_str type)
{
	struct sl_str copy;

	if (!sl_list_is_empty(&g->members) || sl_str_eq(g->protocol_type, type))
		return 0;
	if (text_dup(&copy, type))
		return -ENOMEM;
	text_free(&g->protocol_type);
	g->protocol_type = copy;
	return 0;
}

int member_add(struct group_coord *c, struct group *g, const struct member_opts *opts,
               struct member **out)
{
	struct member *m = create(g, opts);

	if (!m)
		return -ENOMEM;
	if (deadline_reserve(&c->heap, 1))
		goto err_destroy;
	if (sl_map_put(&g->members_by_id, m->id.p, (size_t)m->id.len, m))
		goto err_unreserve;
	if (!sl_str_is_null(m->instance_id) &&
	    sl_map_put(&g->members_by_instance, m->instance_id.p, (size_t)m->instance_id.len, m))
		goto err_unmap;
	if (protocol_support(g, opts->protocols))
		goto err_unmap_instance;
	if (adopt_type(g, opts->protocol_type)) {
		protocol_unsupport(g, opts->protocols);
		goto err_unmap_instance;
	}
	m->protocols = opts->protocols;
	sl_list_push_back(&g->members, &m->link);
	if (!g->leader)
		g->leader = m;
	*out = m;
	return 0;

err_unmap_instance:
	if (!sl_str_is_null(m->instance_id))
		sl_map_del(&g->members_by_instance, m->instance_id.p, (size_t)m->instance_id.len);
err_unmap:
	sl_map_del(&g->members_by_id, m->id.p, (size_t)m->id.len);
err_unreserve:
	deadline_unreserve(&c->heap, 1);
err_destroy:
	destroy(m);
	return -ENOMEM;
}

void member_remove(struct group_coord *c, struct member *m)
{
	struct group *g = m->group;

	member_fail_join(c, m, SL_KERR_UNKNOWN_MEMBER_ID, (struct sl_str){"", 0});
	if (m->sync)
		member_answer_sync(c, m, SL_KERR_UNKNOWN_MEMBER_ID);
	member_set_sync_due(m, false);
	deadline_disarm(&c->heap, &m->session);
	deadline_unreserve(&c->heap, 1);
	sl_map_del(&g->members_by_id, m->id.p, (size_t)m->id.len);
	if (!sl_str_is_null(m->instance_id))
		sl_map_del(&g->members_by_instance, m->instance_id.p, (size_t)m->instance_id.len);
	protocol_unsupport(g, m->protocols);
	sl_list_del(&m->link);
	if (g->leader == m)
		g->leader = sl_list_first(&g->members, struct member, link);
	destroy(m);
}

int member_update(struct member *m, struct protocols **protocols, int32_t rebalance_timeout_ms,
                  int32_t session_timeout_ms)
{
	struct protocols *before = m->protocols;

	if (protocol_support(m->group, *protocols))
		return -ENOMEM;
	protocol_unsupport(m->group, before);
	m->protocols = *protocols;
	*protocols = before;
	m->rebalance_timeout_ms = rebalance_timeout_ms;
	m->session_timeout_ms = session_timeout_ms;
	return 0;
}

int member_rename(struct member *m, struct sl_str id)
{
	struct group *g = m->group;
	struct sl_str copy;

	if (text_dup(&copy, id))
		return -ENOMEM;
	if (sl_map_put(&g->members_by_id, copy.p, (size_t)copy.len, m)) {
		text_free(&copy);
		return -ENOMEM;
	}
	sl_map_del(&g->members_by_id, m->id.p, (size_t)m->id.len);
	text_free(&m->id);
	m->id = copy;
	return 0;
}

enum sl_kerr member_validate(struct group_coord *c, const struct group *g, struct sl_str id,
                             struct sl_str instance_id)
{
	if (!sl_str_is_null(instance_id)) {
		const struct member *m = member_find_instance(g, instance_id);

		if (!m)
			return SL_KERR_UNKNOWN_MEMBER_ID;
		if (!sl_str_eq(m->id, id)) {
			coord_count(c, COUNT_static_fenced);
			return SL_KERR_FENCED_INSTANCE_ID;
		}
	}
	return member_find(g, id) ? SL_KERR_NONE : SL_KERR_UNKNOWN_MEMBER_ID;
}

void member_hold_join(struct group_coord *c, struct member *m, struct parked *p)
{
	if (m->join) {
		coord_count(c, COUNT_superseded);
		member_fail_join(c, m, SL_KERR_REBALANCE_IN_PROGRESS, m->id);
	}
	m->join = p;
	m->group->join_waiting++;
}

void member_hold_sync(struct group_coord *c, struct member *m, struct parked *p)
{
	if (m->sync) {
		coord_count(c, COUNT_superseded);
		member_answer_sync(c, m, SL_KERR_REBALANCE_IN_PROGRESS);
	}
	m->sync = p;
}

void member_answer_join(struct group_coord *c, struct member *m, struct sl_join_group_resp *resp)
{
	struct parked *p = m->join;

	if (!p)
		return;
	SL_ASSERT(m->group->join_waiting > 0);
	m->join = NULL;
	m->group->join_waiting--;
	reply_unpark(c, p, resp);
}

void member_fail_join(struct group_coord *c, struct member *m, enum sl_kerr kerr,
                      struct sl_str member_id)
{
	struct sl_join_group_resp resp;

	reply_join_fill(&resp, kerr, member_id);
	member_answer_join(c, m, &resp);
}

void member_answer_sync(struct group_coord *c, struct member *m, enum sl_kerr kerr)
{
	struct sl_sync_group_resp resp;
	struct parked *p = m->sync;

	SL_ASSERT(p != NULL);
	sl_sync_group_resp_init(&resp);
	resp.error_code = (int16_t)kerr;
	if (kerr == SL_KERR_NONE) {
		resp.protocol_type = m->group->protocol_type;
		resp.protocol_name = m->group->protocol;
		resp.assignment = m->assignment;
	}
	m->sync = NULL;
	reply_unpark(c, p, &resp);
}

void member_arm_session(struct group_coord *c, struct member *m)
{
	deadline_arm(&c->heap, &m->session, c->now_ms + m->session_timeout_ms);
}

void member_set_sync_due(struct member *m, bool is_due)
{
	if (m->is_sync_due == is_due)
		return;
	m->is_sync_due = is_due;
	if (is_due)
		m->group->sync_due++;
	else
		m->group->sync_due--;
}

/* Prefix, "-", and a version 4 UUID made of the event's random bits and a count. */
size_t member_id_make(struct group_coord *c, struct sl_str prefix, char *out, size_t out_size)
{
	uint64_t count = c->id_next++;
	uint64_t hi = sl_hash(&count, sizeof(count), c->random);
	uint64_t lo = sl_hash(&count, sizeof(count), ~c->random);
	int n;

	if (prefix.len > LIMIT_ID_PREFIX_BYTES)
		prefix.len = LIMIT_ID_PREFIX_BYTES;
	hi = (hi & ~UINT64_C(0xf000)) | UINT64_C(0x4000);
	lo = (lo & ~(UINT64_C(0xc) << 60)) | (UINT64_C(0x8) << 60);
	n = snprintf(out, out_size, "%.*s-%08x-%04x-%04x-%04x-%012llx", SL_STR_ARG(prefix),
	             (unsigned int)(hi >> 32), (unsigned int)(hi >> 16 & 0xffff),
	             (unsigned int)(hi & 0xffff), (unsigned int)(lo >> 48),
	             (unsigned long long)(lo & UINT64_C(0xffffffffffff)));
	SL_ASSERT(n > 0 && (size_t)n < out_size);
	return (size_t)n;
}

struct pending *member_find_pending(const struct group *g, struct sl_str id)
{
	return sl_map_get(&g->pendings_by_id, id.p, (size_t)id.len);
}

int member_add_pending(struct group_coord *c, struct group *g, struct sl_str id, int64_t timeout_ms)
{
	struct pending *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->group = g;
	p->deadline.kind = DEADLINE_PENDING;
	if (text_dup(&p->id, id))
		goto err_free;
	if (deadline_reserve(&c->heap, 1))
		goto err_free_id;
	if (sl_map_put(&g->pendings_by_id, p->id.p, (size_t)p->id.len, p)) {
		deadline_unreserve(&c->heap, 1);
		goto err_free_id;
	}
	sl_list_push_back(&g->pendings, &p->link);
	deadline_arm(&c->heap, &p->deadline, c->now_ms + timeout_ms);
	return 0;

err_free_id:
	text_free(&p->id);
err_free:
	free(p);
	return -ENOMEM;
}

void member_remove_pending(struct group_coord *c, struct pending *p)
{
	deadline_disarm(&c->heap, &p->deadline);
	deadline_unreserve(&c->heap, 1);
	sl_map_del(&p->group->pendings_by_id, p->id.p, (size_t)p->id.len);
	sl_list_del(&p->link);
	text_free(&p->id);
	free(p);
}
