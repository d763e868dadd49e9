/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DescribeLogDirs: the log dirs and the sizes of the partitions that the asked lane leads.  A
 * client asks every broker, so each lane answers for its own.
 */
#include "sluice/wire/describe_log_dirs_gen.h"

#include <sys/statvfs.h>

#include "admin.h"

/* One partition that is to be reported. */
struct found {
	const struct meta_topic *topic;
	int32_t partition;
	uint32_t log_dir;
	int64_t bytes;
};

struct report {
	struct sl_describe_log_dirs_req req;
	struct sl_describe_log_dirs_resp resp;
	struct found *found;
	int32_t found_count;
	/* The rest of the arrays that the answers' topics and partitions are cut from. */
	struct sl_describe_log_dirs_resp_result_topic *topics;
	struct sl_describe_log_dirs_resp_result_topic_partition *partitions;
};

static void add(struct request *r, struct report *rep, const struct meta_topic *t,
                int32_t partition)
{
	const struct sl_slot *slot;

	if (partition < 0 || partition >= t->rec.partitions_count ||
	    control_lane_of(r->c, t->rec.partitions[partition].leader_id) != (int)r->lane)
		return;
	slot = control_slot(r->c, &t->rec.topic_id, partition);
	if (!slot)
		return;
	rep->found[rep->found_count++] = (struct found){
		.topic = t,
		.partition = partition,
		.log_dir = atomic_load_explicit(&slot->log_dir, memory_order_relaxed),
		.bytes = (int64_t)atomic_load_explicit(&slot->log_bytes, memory_order_relaxed),
	};
}

/* Return: false: too much for the scratch memory. */
static bool find_all(struct request *r, struct report *rep)
{
	struct meta *m = r->c->meta;
	uint64_t count = meta_partitions_count(m);

	if (!request_has_room(r, count * sizeof(*rep->found)))
		return false;
	rep->found = request_alloc(r, count, sizeof(*rep->found));
	for (uint32_t i = 0; i < meta_topics_count(m); i++) {
		const struct meta_topic *t = meta_topic_at(m, i);

		for (int32_t p = 0; p < t->rec.partitions_count; p++)
			add(r, rep, t, p);
	}
	return true;
}

static bool find_named(struct request *r, struct report *rep)
{
	const struct sl_describe_log_dirs_req *req = &rep->req;
	uint64_t count = 0;

	for (int32_t i = 0; i < req->topics_count; i++)
		count += (uint64_t)req->topics[i].partitions_count;
	if (!request_has_room(r, count * sizeof(*rep->found)))
		return false;
	rep->found = request_alloc(r, count, sizeof(*rep->found));
	for (int32_t i = 0; i < req->topics_count; i++) {
		const struct meta_topic *t = meta_topic_by_name(r->c->meta, req->topics[i].topic);

		for (int32_t p = 0; t && p < req->topics[i].partitions_count; p++)
			add(r, rep, t, req->topics[i].partitions[p]);
	}
	return true;
}

static void fill_space(struct control *c, uint32_t dir,
                       struct sl_describe_log_dirs_resp_result *out)
{
	struct statvfs st;

	if (statvfs(c->log_dirs[dir], &st) < 0)
		return; /* stays -1: unknown */
	out->total_bytes = (int64_t)(st.f_blocks * st.f_frsize);
	out->usable_bytes = (int64_t)(st.f_bavail * st.f_frsize);
}

static void fill_dir(struct control *c, struct report *rep, uint32_t dir,
                     struct sl_describe_log_dirs_resp_result *out)
{
	struct sl_describe_log_dirs_resp_result_topic *topic = NULL;
	const struct meta_topic *last = NULL;

	sl_describe_log_dirs_resp_result_init(out);
	out->log_dir = sl_str_from(c->log_dirs[dir]);
	if (control_log_dir_error(c, dir)) {
		out->error_code = SL_KERR_KAFKA_STORAGE_ERROR;
		return;
	}
	fill_space(c, dir, out);
	out->topics = rep->topics;
	for (int32_t i = 0; i < rep->found_count; i++) {
		const struct found *f = &rep->found[i];

		if (f->log_dir != dir)
			continue;
		if (f->topic != last) {
			last = f->topic;
			topic = rep->topics++;
			out->topics_count++;
			topic->name = last->rec.name;
			topic->partitions = rep->partitions;
		}
		*rep->partitions++ = (struct sl_describe_log_dirs_resp_result_topic_partition){
			.partition_index = f->partition, .partition_size = f->bytes};
		topic->partitions_count++;
	}
}

enum request_result admin_describe_log_dirs(struct control *c, struct request *r)
{
	struct report *rep = request_alloc(r, 1, sizeof(*rep));
	size_t count;

	if (!request_decode(r, &rep->req))
		return REQUEST_CLOSE;
	if (rep->req.topics_count < 0 ? !find_all(r, rep) : !find_named(r, rep))
		return REQUEST_CLOSE;
	count = (size_t)rep->found_count;
	if (!request_has_room(r, count * (sizeof(*rep->topics) + sizeof(*rep->partitions))))
		return REQUEST_CLOSE;
	rep->topics = request_alloc(r, count, sizeof(*rep->topics));
	rep->partitions = request_alloc(r, count, sizeof(*rep->partitions));
	sl_describe_log_dirs_resp_init(&rep->resp);
	rep->resp.results_count = (int32_t)c->log_dirs_count;
	rep->resp.results = request_alloc(r, c->log_dirs_count, sizeof(*rep->resp.results));
	for (uint32_t i = 0; i < c->log_dirs_count; i++)
		fill_dir(c, rep, i, &rep->resp.results[i]);
	sl_describe_log_dirs_resp_encode(&rep->resp, request_answer(r), r->wire.api_version);
	return REQUEST_DONE;
}
