/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cheapest assignment as a flow of least cost.  Members are nodes; a partition is an edge from
 * its owner to whoever may have it, and costs what it would cost there less what it costs here.
 * A circle of negative cost is an exchange that pays; when there is none, no assignment with the
 * same counts is cheaper (the optimality condition of flows).
 *
 *   owner ──partition──► hub of (topic, rack), hub of (topic, any) ──► its subscribers
 *         └─partition──► its former owner, where it costs no move
 *   member of the least share ──► spare ──► member with one more, which gives one away
 *
 * Hubs keep the edges few: a partition has one for each rack of its replicas and two more, however
 * many members there are.  Circles are found by Bellman and Ford's method with a queue: a node
 * whose distance fell makes those behind its edges fall.  Each remembers which one did; if that
 * closes a circle, its cost is negative.  Turning it changes the edges of its members only, so the
 * search goes on from them.
 */
#include "exchange.h"

#include <errno.h>

#include "sluice/base/assert.h"

/* A miss costs more than all moves of one circle. */
#define MISS_COST (INT64_C(1) << 32)

/* Members, then hubs, then the spare. */
struct node {
	int64_t distance;
	uint32_t cause; /* node that made it fall; ASSIGN_NONE: nobody */
	uint32_t
		partition; /* on the edge between; ASSIGN_NONE: none, a hub or the spare is there */
	bool is_queued;
};

/* Partitions of one owner, in a list. */
struct link {
	uint32_t next;
	uint32_t before;
};

struct exchange {
	const struct assign_spec *s;
	uint32_t *owner;
	uint32_t *count;
	uint32_t share;
	uint32_t racks_count;
	uint32_t topics_count; /* 1 where all subscribe to the same: they are one */
	uint32_t *topic_of;    /* per partition */
	uint32_t *home;        /* per partition: former owner that subscribes, or ASSIGN_NONE */
	uint32_t *first;       /* per member, of its partitions */
	struct link *links;    /* per partition */
	/* Who is behind hub h: subscribers[hub_from[h]] up to [hub_from[h + 1]].  The hub of any
	 * rack is the last one of its topic and has none of its own. */
	uint32_t *hub_from;
	uint32_t *subscribers;
	struct node *nodes;
	uint32_t nodes_count;
	uint32_t *queue; /* a ring of nodes_count */
	uint32_t queue_at;
	uint32_t queue_count;
};

static bool is_equal(const struct exchange *x)
{
	return x->share != EXCHANGE_COUNTS_STAY;
}

/* Hubs of a topic: one per rack, one of members without, one of any. */
static uint32_t stride(const struct exchange *x)
{
	return x->racks_count + 2;
}

static uint32_t rack_hub(const struct exchange *x, uint32_t topic, uint64_t rack)
{
	uint32_t slot = rack ? (uint32_t)__builtin_ctzll(rack) : x->racks_count;

	return topic * stride(x) + slot;
}

static uint32_t any_hub(const struct exchange *x, uint32_t topic)
{
	return topic * stride(x) + x->racks_count + 1;
}

static uint32_t hub_node(const struct exchange *x, uint32_t hub)
{
	return x->s->members_count + hub;
}

static uint32_t spare_node(const struct exchange *x)
{
	return x->nodes_count - 1;
}

static int64_t miss_cost(uint64_t racks, uint64_t rack)
{
	return racks == 0 || (racks & rack) ? 0 : MISS_COST;
}

/* ---- Making ---- */

static uint32_t highest_rack(const struct assign_spec *s)
{
	uint64_t all = 0;

	for (uint32_t i = 0; i < s->members_count; i++)
		all |= s->members[i].rack;
	for (uint32_t p = 0; p < s->partitions_count; p++)
		all |= s->racks[p];
	return all ? ASSIGN_RACKS_MAX - (uint32_t)__builtin_clzll(all) : 0;
}

static void number_partitions(struct exchange *x)
{
	const struct assign_spec *s = x->s;

	for (uint32_t t = 0; t < s->topics_count; t++) {
		const struct assign_topic *topic = &s->topics[t];

		for (uint32_t p = topic->first; p < topic->first + topic->partitions; p++) {
			uint32_t had = s->before[p];
			bool is_home = had != ASSIGN_NONE && assign_has_topic(&s->members[had], t);

			x->topic_of[p] = is_equal(x) ? 0 : t;
			x->home[p] = is_home ? had : ASSIGN_NONE;
		}
	}
}

static uint32_t topics_of(const struct exchange *x, uint32_t member)
{
	return is_equal(x) ? 1 : x->s->members[member].topics_count;
}

static uint32_t own_hub(const struct exchange *x, uint32_t member, uint32_t k)
{
	const struct assign_member *m = &x->s->members[member];

	return rack_hub(x, is_equal(x) ? 0 : m->topics[k], m->rack);
}

static int list_subscribers(struct exchange *x, struct sl_arena *arena)
{
	uint32_t hubs = x->topics_count * stride(x);
	uint32_t *at = sl_arena_alloc_array(arena, hubs, sizeof(*at));

	x->hub_from = sl_arena_alloc_array(arena, (size_t)hubs + 1, sizeof(*x->hub_from));
	if (!at || !x->hub_from)
		return -ENOMEM;
	for (uint32_t i = 0; i < x->s->members_count; i++) {
		for (uint32_t k = 0; k < topics_of(x, i); k++)
			x->hub_from[own_hub(x, i, k) + 1]++;
	}
	for (uint32_t h = 0; h < hubs; h++) {
		at[h] = x->hub_from[h];
		x->hub_from[h + 1] += x->hub_from[h];
	}
	x->subscribers = sl_arena_alloc_array(arena, x->hub_from[hubs], sizeof(*x->subscribers));
	if (!x->subscribers)
		return -ENOMEM;
	for (uint32_t i = 0; i < x->s->members_count; i++) {
		for (uint32_t k = 0; k < topics_of(x, i); k++)
			x->subscribers[at[own_hub(x, i, k)]++] = i;
	}
	return 0;
}

struct exchange *exchange_create(const struct assign_spec *s, struct sl_arena *arena,
                                 uint32_t *owner, uint32_t *count, uint32_t share)
{
	struct exchange *x = sl_arena_alloc(arena, sizeof(*x));

	SL_ASSERT(s->racks);
	if (!x)
		return NULL;
	*x = (struct exchange){.s = s,
	                       .owner = owner,
	                       .count = count,
	                       .share = share,
	                       .racks_count = highest_rack(s)};
	x->topics_count = is_equal(x) ? 1 : s->topics_count;
	x->nodes_count = s->members_count + x->topics_count * stride(x) + 1;
	x->topic_of = sl_arena_alloc_array(arena, s->partitions_count, sizeof(*x->topic_of));
	x->home = sl_arena_alloc_array(arena, s->partitions_count, sizeof(*x->home));
	x->links = sl_arena_alloc_array(arena, s->partitions_count, sizeof(*x->links));
	x->first = sl_arena_alloc_array(arena, s->members_count, sizeof(*x->first));
	x->nodes = sl_arena_alloc_array(arena, x->nodes_count, sizeof(*x->nodes));
	x->queue = sl_arena_alloc_array(arena, x->nodes_count, sizeof(*x->queue));
	if (!x->topic_of || !x->home || !x->links || !x->first || !x->nodes || !x->queue ||
	    list_subscribers(x, arena))
		return NULL;
	number_partitions(x);
	return x;
}

/* ---- Who has what ---- */

static void link_partition(struct exchange *x, uint32_t p)
{
	uint32_t *first = &x->first[x->owner[p]];

	x->links[p] = (struct link){*first, ASSIGN_NONE};
	if (*first != ASSIGN_NONE)
		x->links[*first].before = p;
	*first = p;
}

static void unlink_partition(struct exchange *x, uint32_t p)
{
	struct link l = x->links[p];

	if (l.next != ASSIGN_NONE)
		x->links[l.next].before = l.before;
	if (l.before != ASSIGN_NONE)
		x->links[l.before].next = l.next;
	else
		x->first[x->owner[p]] = l.next;
}

static void put_in_queue(struct exchange *x, uint32_t node)
{
	uint32_t at = x->queue_at + x->queue_count;

	if (x->nodes[node].is_queued)
		return;
	x->nodes[node].is_queued = true;
	x->queue[at < x->nodes_count ? at : at - x->nodes_count] = node;
	x->queue_count++;
}

static uint32_t take_from_queue(struct exchange *x)
{
	uint32_t node = x->queue[x->queue_at];

	x->queue_at = x->queue_at + 1 < x->nodes_count ? x->queue_at + 1 : 0;
	x->queue_count--;
	x->nodes[node].is_queued = false;
	return node;
}

static void start(struct exchange *x)
{
	x->queue_at = 0;
	x->queue_count = 0;
	for (uint32_t i = 0; i < x->nodes_count; i++)
		x->nodes[i] = (struct node){.cause = ASSIGN_NONE, .partition = ASSIGN_NONE};
	for (uint32_t i = 0; i < x->s->members_count; i++) {
		x->first[i] = ASSIGN_NONE;
		put_in_queue(x, i);
	}
	for (uint32_t p = x->s->partitions_count; p-- > 0;) {
		if (x->owner[p] != ASSIGN_NONE)
			link_partition(x, p);
	}
	*x->s->work += x->s->partitions_count + x->nodes_count;
}

/* ---- Circles ---- */

static void forget_cause(struct exchange *x, uint32_t node, uint32_t partition)
{
	if (x->nodes[node].partition == partition)
		x->nodes[node].cause = x->nodes[node].partition = ASSIGN_NONE;
}

/* Edges of the partition begin elsewhere from now on. */
static void forget_partition(struct exchange *x, uint32_t p)
{
	for (uint64_t left = x->s->racks[p]; left; left &= left - 1)
		forget_cause(x, hub_node(x, rack_hub(x, x->topic_of[p], left)), p);
	forget_cause(x, hub_node(x, any_hub(x, x->topic_of[p])), p);
	if (x->home[p] != ASSIGN_NONE)
		forget_cause(x, x->home[p], p);
}

/* The circle that ends at @end, against its direction.  Each member in it has one edge out of it:
 * what it gives away goes to the member that was met last. */
static void turn(struct exchange *x, uint32_t end)
{
	uint32_t at = end;
	uint32_t to = ASSIGN_NONE; /* the member met last */
	uint32_t given = ASSIGN_NONE;

	/* Begin at a member, so that who gets what is known. */
	while (at >= x->s->members_count)
		at = x->nodes[at].cause;
	end = at;
	do {
		struct node *n = &x->nodes[at];
		uint32_t cause = n->cause;

		if (at < x->s->members_count) {
			to = at;
			put_in_queue(x, at);
		}
		if (at == spare_node(x)) {
			x->count[to]--;
			x->count[cause]++;
			put_in_queue(x, at);
		}
		given = n->partition;
		n->cause = n->partition = ASSIGN_NONE;
		if (given != ASSIGN_NONE) {
			forget_partition(x, given);
			unlink_partition(x, given);
			x->owner[given] = to;
			link_partition(x, given);
		}
		at = cause;
	} while (at != end);
}

/* The node's distance falls, if that is less.  Return: whether this closed a circle: then the edges
 * of @cause may be others now. */
static bool reach(struct exchange *x, uint32_t node, int64_t distance, uint32_t cause,
                  uint32_t partition)
{
	struct node *n = &x->nodes[node];

	if (distance >= n->distance)
		return false;
	n->distance = distance;
	n->cause = cause;
	n->partition = partition;
	for (uint32_t at = cause; at != ASSIGN_NONE; at = x->nodes[at].cause) {
		++*x->s->work;
		if (at != node)
			continue;
		turn(x, node);
		put_in_queue(x, node);
		put_in_queue(x, cause);
		return true;
	}
	put_in_queue(x, node);
	return false;
}

/* ---- Edges ---- */

/* The owner gives the partition away. */
static bool spread_partition(struct exchange *x, uint32_t owner, uint32_t p)
{
	const struct assign_member *members = x->s->members;
	uint64_t racks = x->s->racks[p];
	uint32_t home = x->home[p];
	uint32_t topic = x->topic_of[p];
	int64_t moved = home != ASSIGN_NONE;
	int64_t rest = x->nodes[owner].distance - miss_cost(racks, members[owner].rack) -
	               (home != owner ? moved : 0);

	for (uint64_t left = racks; left; left &= left - 1) {
		if (reach(x, hub_node(x, rack_hub(x, topic, left)), rest + moved, owner, p))
			return true;
	}
	if (reach(x, hub_node(x, any_hub(x, topic)), rest + moved + miss_cost(racks, 0), owner, p))
		return true;
	return home != ASSIGN_NONE && home != owner &&
	       reach(x, home, rest + miss_cost(racks, members[home].rack), owner, p);
}

static void spread_member(struct exchange *x, uint32_t member)
{
	uint32_t next;

	for (uint32_t p = x->first[member]; p != ASSIGN_NONE; p = next) {
		next = x->links[p].next;
		++*x->s->work;
		if (spread_partition(x, member, p))
			return;
	}
	/* It may have one more, if another one has one more no longer. */
	if (is_equal(x) && x->count[member] == x->share)
		(void)reach(x, spare_node(x), x->nodes[member].distance, member, ASSIGN_NONE);
}

static void spread_spare(struct exchange *x)
{
	uint32_t spare = spare_node(x);

	for (uint32_t i = 0; i < x->s->members_count; i++) {
		if (x->count[i] == x->share + 1 &&
		    reach(x, i, x->nodes[spare].distance, spare, ASSIGN_NONE))
			break;
	}
	*x->s->work += x->s->members_count;
}

static void spread_hub(struct exchange *x, uint32_t hub)
{
	bool is_any = hub % stride(x) == stride(x) - 1;
	uint32_t from = x->hub_from[is_any ? hub - (stride(x) - 1) : hub];
	uint32_t node = hub_node(x, hub);

	for (uint32_t i = from; i < x->hub_from[hub + 1]; i++) {
		++*x->s->work;
		if (reach(x, x->subscribers[i], x->nodes[node].distance, node, ASSIGN_NONE))
			return;
	}
}

int exchange_run(struct exchange *x)
{
	start(x);
	while (x->queue_count > 0) {
		uint32_t node = take_from_queue(x);

		if (*x->s->work >= ASSIGN_WORK_MAX)
			return 1;
		if (node < x->s->members_count)
			spread_member(x, node);
		else if (node == spare_node(x))
			spread_spare(x);
		else
			spread_hub(x, node - x->s->members_count);
	}
	return 0;
}
