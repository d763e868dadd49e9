/* SPDX-License-Identifier: Apache-2.0 */
/* DescribeTopicPartitions: topics in order of their names, page by page.  Source: KIP-966. */
#include "sluice/wire/describe_topic_partitions_gen.h"

#include <stdlib.h>

#include "admin.h"
#include "topics.h"

/* max.request.partition.size.limit */
#define PARTITIONS_MAX 2000

/* One answer being filled. */
struct page {
	struct sl_describe_topic_partitions_req req;
	struct sl_describe_topic_partitions_resp resp;
	int32_t left; /* partitions that still fit */
};

static int compare_names(const void *a, const void *b)
{
	const struct sl_describe_topic_partitions_req_topic *x = a;
	const struct sl_describe_topic_partitions_req_topic *y = b;
	int32_t len = SL_MIN(x->name.len, y->name.len);
	int rc = len > 0 ? memcmp(x->name.p, y->name.p, (size_t)len) : 0;

	return rc ? rc : x->name.len - y->name.len;
}

static bool is_before(struct sl_str a, struct sl_str b)
{
	struct sl_describe_topic_partitions_req_topic x = {a};
	struct sl_describe_topic_partitions_req_topic y = {b};

	return compare_names(&x, &y) < 0;
}

static void fill_partition(const struct control *c, int32_t index,
                           const struct sl_meta_topic_partition *p,
                           struct sl_describe_topic_partitions_resp_topic_partition *out)
{
	bool has_leader = control_is_own_node(c, p->leader_id);

	sl_describe_topic_partitions_resp_topic_partition_init(out);
	out->error_code = has_leader ? SL_KERR_NONE : SL_KERR_LEADER_NOT_AVAILABLE;
	out->partition_index = index;
	out->leader_id = has_leader ? p->leader_id : -1;
	out->leader_epoch = p->leader_epoch;
	out->replica_nodes = p->replica_nodes;
	out->replica_nodes_count = p->replica_nodes_count;
	out->isr_nodes = p->isr_nodes;
	out->isr_nodes_count = p->isr_nodes_count;
	/* With one replica there is nobody else to elect. */
	out->eligible_leader_replicas_count = 0;
	out->last_known_elr_count = 0;
}

/* Return: false: the page is full, the cursor says where the next one begins. */
static bool add_topic(struct request *r, struct page *page, const struct meta_topic *t,
                      int32_t first)
{
	struct sl_describe_topic_partitions_resp_topic *out;
	int32_t count = t->rec.partitions_count - SL_MIN(first, t->rec.partitions_count);

	if (count > page->left)
		count = page->left;
	if (count > 0 || first >= t->rec.partitions_count) {
		out = &page->resp.topics[page->resp.topics_count++];
		sl_describe_topic_partitions_resp_topic_init(out);
		out->name = t->rec.name;
		out->topic_id = t->rec.topic_id;
		out->is_internal = t->is_internal;
		out->topic_authorized_operations = ADMIN_TOPIC_OPERATIONS;
		out->partitions = request_alloc(r, (size_t)count, sizeof(*out->partitions));
		out->partitions_count = count;
		for (int32_t i = 0; i < count; i++)
			fill_partition(r->c, first + i, &t->rec.partitions[first + i],
			               &out->partitions[i]);
		page->left -= count;
	}
	if (first + count >= t->rec.partitions_count)
		return true;
	page->resp.next_cursor = request_alloc(r, 1, sizeof(*page->resp.next_cursor));
	page->resp.next_cursor->topic_name = t->rec.name;
	page->resp.next_cursor->partition_index = first + count;
	return false;
}

static int32_t first_partition(const struct page *page, struct sl_str name)
{
	return page->req.cursor && sl_str_eq(page->req.cursor->topic_name, name)
	               ? page->req.cursor->partition_index
	               : 0;
}

static void describe_all(struct request *r, struct page *page)
{
	struct meta *m = r->c->meta;
	uint32_t i = page->req.cursor ? meta_topic_lower_bound(m, page->req.cursor->topic_name) : 0;

	/* Every topic has a partition, so a page has no more topics than partitions. */
	page->resp.topics = request_alloc(r, (size_t)page->left + 1, sizeof(*page->resp.topics));
	for (; i < meta_topics_count(m); i++) {
		const struct meta_topic *t = meta_topic_at(m, i);

		if (!add_topic(r, page, t, first_partition(page, t->rec.name)))
			return;
	}
}

static void add_unknown(struct page *page, struct sl_str name)
{
	struct sl_describe_topic_partitions_resp_topic *out =
		&page->resp.topics[page->resp.topics_count++];

	sl_describe_topic_partitions_resp_topic_init(out);
	out->name = name;
	out->error_code = (int16_t)(topics_name_error(name) ? SL_KERR_INVALID_TOPIC_EXCEPTION
	                                                    : SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
}

static void describe_named(struct request *r, struct page *page)
{
	struct sl_describe_topic_partitions_req *req = &page->req;

	qsort(req->topics, (size_t)req->topics_count, sizeof(*req->topics), compare_names);
	page->resp.topics = request_alloc(r, (size_t)req->topics_count, sizeof(*page->resp.topics));
	for (int32_t i = 0; i < req->topics_count; i++) {
		struct sl_str name = req->topics[i].name;
		const struct meta_topic *t = meta_topic_by_name(r->c->meta, name);

		if ((req->cursor && is_before(name, req->cursor->topic_name)) ||
		    (i > 0 && sl_str_eq(name, req->topics[i - 1].name)))
			continue;
		if (!t)
			add_unknown(page, name);
		else if (!add_topic(r, page, t, first_partition(page, name)))
			return;
	}
}

enum request_result admin_describe_topic_partitions(struct control *c, struct request *r)
{
	struct page *page = request_alloc(r, 1, sizeof(*page));

	(void)c;
	if (!request_decode(r, &page->req))
		return REQUEST_CLOSE;
	/* A cursor before partition 0 means nothing. */
	if (page->req.cursor && page->req.cursor->partition_index < 0)
		return REQUEST_CLOSE;
	if (!request_has_room(r, (size_t)page->req.topics_count * sizeof(*page->resp.topics)))
		return REQUEST_CLOSE;
	sl_describe_topic_partitions_resp_init(&page->resp);
	page->left = SL_MAX(1, SL_MIN(page->req.response_partition_limit, PARTITIONS_MAX));
	if (page->req.topics_count == 0)
		describe_all(r, page);
	else
		describe_named(r, page);
	sl_describe_topic_partitions_resp_encode(&page->resp, request_answer(r),
	                                         r->wire.api_version);
	return REQUEST_DONE;
}
