/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Protocols that members offer: which are common, which wins, and which topics a group of consumers
 * reads.  The metadata is the clients' own; only subscriptions of protocol type "consumer" are
 * looked into, and one that cannot be read only means that the topics are unknown.
 */
#include "consumer.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/wire/consumer_protocol_subscription_gen.h"

#define TYPE_CONSUMER "consumer"

static bool is_listed(const struct sl_join_group_req_protocol *list, int32_t count,
                      struct sl_str name)
{
	for (int32_t i = 0; i < count; i++) {
		if (sl_str_eq(list[i].name, name))
			return true;
	}
	return false;
}

struct protocols *protocol_dup(const struct sl_join_group_req_protocol *list, int32_t count)
{
	size_t bytes = sizeof(struct protocols) + (size_t)count * sizeof(struct protocol);
	struct protocols *p;
	char *at;

	for (int32_t i = 0; i < count; i++)
		bytes += (size_t)list[i].name.len + (size_t)list[i].metadata.len;
	p = malloc(bytes);
	if (!p)
		return NULL;
	*p = (struct protocols){0};
	at = (char *)&p->list[count];
	for (int32_t i = 0; i < count; i++) {
		struct protocol *to = &p->list[p->count];

		if (is_listed(list, i, list[i].name))
			continue;
		to->name = (struct sl_str){at, list[i].name.len};
		if (list[i].name.len > 0)
			memcpy(at, list[i].name.p, (size_t)list[i].name.len);
		at += list[i].name.len;
		to->metadata = (struct sl_bytes){at, list[i].metadata.len};
		if (list[i].metadata.len > 0)
			memcpy(at, list[i].metadata.p, (size_t)list[i].metadata.len);
		at += list[i].metadata.len;
		p->metadata_bytes += (uint32_t)list[i].metadata.len;
		p->count++;
	}
	return p;
}

bool protocol_is_same(const struct protocols *a, const struct sl_join_group_req_protocol *b,
                      int32_t b_count)
{
	if (a->count != b_count)
		return false;
	for (int32_t i = 0; i < b_count; i++) {
		if (!sl_str_eq(a->list[i].name, b[i].name) ||
		    a->list[i].metadata.len != b[i].metadata.len ||
		    (b[i].metadata.len > 0 && memcmp(a->list[i].metadata.p, b[i].metadata.p,
		                                     (size_t)b[i].metadata.len) != 0))
			return false;
	}
	return true;
}

struct sl_bytes protocol_metadata(const struct protocols *list, struct sl_str name)
{
	for (int32_t i = 0; i < list->count; i++) {
		if (sl_str_eq(list->list[i].name, name))
			return list->list[i].metadata;
	}
	return SL_BYTES_NULL;
}

static struct votes *find_votes(const struct group *g, struct sl_str name)
{
	return sl_map_get(&g->votes, name.p, (size_t)name.len);
}

static void drop_supporter(struct group *g, struct sl_str name)
{
	struct votes *v = find_votes(g, name);

	SL_ASSERT(v && v->supporters > 0);
	if (--v->supporters > 0)
		return;
	sl_map_del(&g->votes, v->name, v->name_len);
	free(v);
}

static int add_supporter(struct group *g, struct sl_str name)
{
	struct votes *v = find_votes(g, name);

	if (!v) {
		v = malloc(sizeof(*v) + (size_t)name.len);
		if (!v)
			return -ENOMEM;
		*v = (struct votes){.name_len = (uint32_t)name.len};
		if (name.len > 0)
			memcpy(v->name, name.p, (size_t)name.len);
		if (sl_map_put(&g->votes, v->name, v->name_len, v)) {
			free(v);
			return -ENOMEM;
		}
	}
	v->supporters++;
	return 0;
}

int protocol_support(struct group *g, const struct protocols *list)
{
	for (int32_t i = 0; i < list->count; i++) {
		if (!add_supporter(g, list->list[i].name))
			continue;
		while (i > 0)
			drop_supporter(g, list->list[--i].name);
		return -ENOMEM;
	}
	g->metadata_bytes += list->metadata_bytes;
	return 0;
}

void protocol_unsupport(struct group *g, const struct protocols *list)
{
	SL_ASSERT(g->metadata_bytes >= list->metadata_bytes);
	for (int32_t i = 0; i < list->count; i++)
		drop_supporter(g, list->list[i].name);
	g->metadata_bytes -= list->metadata_bytes;
}

static bool is_common(const struct group *g, const struct votes *v)
{
	return v && v->supporters == g->members_by_id.count;
}

bool protocol_is_acceptable(const struct group *g, struct sl_str type,
                            const struct sl_join_group_req_protocol *list, int32_t count)
{
	/* Without members there is nothing to agree with. */
	if (g->state == GROUP_EMPTY)
		return type.len > 0 && count > 0;
	if (sl_str_is_null(g->protocol_type) || !sl_str_eq(g->protocol_type, type))
		return false;
	for (int32_t i = 0; i < count; i++) {
		const struct votes *v = find_votes(g, list[i].name);

		/* With nobody left a protocol that nobody supports is common to all. */
		if (is_common(g, v) || (!v && g->members_by_id.count == 0))
			return true;
	}
	return false;
}

/*
 * Each member votes for its most liked one of the common protocols.  Kafka leaves open which of
 * equals wins; here it is the one that the oldest member likes most, so that replays agree.
 */
struct sl_str protocol_select(struct group *g)
{
	const struct member *oldest = sl_list_first(&g->members, struct member, link);
	struct sl_str best = SL_STR_NULL;
	uint32_t best_votes = 0;
	struct sl_list *pos;

	SL_ASSERT(oldest != NULL);
	for (int32_t i = 0; i < oldest->protocols->count; i++)
		find_votes(g, oldest->protocols->list[i].name)->votes = 0;
	sl_list_for_each(pos, &g->members) {
		const struct member *m = sl_list_entry(pos, struct member, link);

		for (int32_t i = 0; i < m->protocols->count; i++) {
			struct votes *v = find_votes(g, m->protocols->list[i].name);

			if (is_common(g, v)) {
				v->votes++;
				break;
			}
		}
	}
	for (int32_t i = 0; i < oldest->protocols->count; i++) {
		const struct votes *v = find_votes(g, oldest->protocols->list[i].name);

		if (is_common(g, v) && v->votes > best_votes) {
			best = oldest->protocols->list[i].name;
			best_votes = v->votes;
		}
	}
	return best;
}

void protocol_unsubscribe(struct group *g)
{
	uint32_t pos = 0;
	struct sl_str *name;

	while ((name = sl_map_next(&g->subscribed, &pos)) != NULL) {
		sl_map_del(&g->subscribed, name->p, (size_t)name->len);
		text_free(name);
		free(name);
	}
	sl_map_fini(&g->subscribed);
	g->is_subscribed_known = false;
}

static int add_topic(struct group *g, struct sl_str topic)
{
	struct sl_str *name;

	if (sl_map_get(&g->subscribed, topic.p, (size_t)topic.len))
		return 0;
	name = calloc(1, sizeof(*name));
	if (!name)
		return -ENOMEM;
	if (text_dup(name, topic) || sl_map_put(&g->subscribed, name->p, (size_t)name->len, name)) {
		text_free(name);
		free(name);
		return -ENOMEM;
	}
	return 0;
}

static int add_subscription(struct group_coord *c, struct group *g, struct sl_bytes metadata)
{
	struct sl_consumer_protocol_subscription sub;
	struct sl_cursor cur = sl_cursor_from(metadata.p,
	                                      metadata.len > 0 ? (size_t)metadata.len : 0);
	int16_t version = sl_cursor_i16(&cur);
	int err;

	/* Newer ones begin with what version 0 has, and no more is of interest. */
	if (version < 0)
		return -EBADMSG;
	err = sl_consumer_protocol_subscription_decode(&sub, &cur, &c->arena, 0);
	for (int32_t i = 0; !err && i < sub.topics_count; i++)
		err = add_topic(g, sub.topics[i]);
	return err;
}

void protocol_subscribe(struct group_coord *c, struct group *g)
{
	struct sl_list *pos;

	protocol_unsubscribe(g);
	if (!sl_str_eq_c(g->protocol_type, TYPE_CONSUMER))
		return;
	if (sl_str_is_null(g->protocol) && !sl_list_is_empty(&g->members))
		return;
	sl_list_for_each(pos, &g->members) {
		const struct member *m = sl_list_entry(pos, struct member, link);

		if (add_subscription(c, g, protocol_metadata(m->protocols, g->protocol))) {
			protocol_unsubscribe(g);
			return;
		}
	}
	g->is_subscribed_known = true;
}

/* Where a group of consumers does not tell its topics, it is taken to read all of them. */
bool protocol_is_subscribed(const struct group *g, struct sl_str topic)
{
	if (g->consumer)
		return consumer_is_subscribed(g, topic);
	if (!g->is_subscribed_known)
		return sl_str_eq_c(g->protocol_type, TYPE_CONSUMER);
	return sl_map_get(&g->subscribed, topic.p, (size_t)topic.len) != NULL;
}
