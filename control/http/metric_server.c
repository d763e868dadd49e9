/* SPDX-License-Identifier: Apache-2.0 */
/* Values of the server, its lanes and its log dirs. */
#include <sys/statvfs.h>

#include "group/group.h"
#include "metrics.h"
#include "publish.h"

static bool whole(struct metric_value *out, int64_t i)
{
	*out = (struct metric_value){.i = i};
	return i >= 0;
}

static bool real(struct metric_value *out, double d)
{
	*out = (struct metric_value){.is_real = true, .d = d};
	return d >= 0;
}

/* ---- Lanes ---- */

bool metric_lane_stat(const struct metric_at *at, struct metric_value *out)
{
	const struct sl_lane_stats *s = control_lane_stats(at->c, at->lane);

	return s &&
	       whole(out, (int64_t)(atomic_load_explicit(&s->v[at->index], memory_order_relaxed) &
	                            INT64_MAX));
}

bool metric_lane_idle(const struct metric_at *at, struct metric_value *out)
{
	out->is_real = true;
	return busy_idle(at->scrape->busy, at->lane, &out->d);
}

/* When the lane last looked, as an age. */
bool metric_lane_since_cleaning(const struct metric_at *at, struct metric_value *out)
{
	int64_t looked_ms;

	if (!metric_lane_stat(at, out) || out->i == 0)
		return false;
	looked_ms = out->i;
	return whole(out, SL_MAX(loop_wall_ms(at->c->loop) - looked_ms, (int64_t)0));
}

/* ---- Log dirs ---- */

bool metric_dir_online(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, control_log_dir_error(at->c, at->lane) == 0);
}

static bool read_dir(const struct metric_at *at, struct statvfs *fs)
{
	char *const *dirs;

	return at->lane < control_log_dirs(at->c, &dirs) && statvfs(dirs[at->lane], fs) == 0;
}

bool metric_dir_free(const struct metric_at *at, struct metric_value *out)
{
	struct statvfs fs;

	return read_dir(at, &fs) && whole(out, (int64_t)(fs.f_bavail * fs.f_frsize));
}

bool metric_dir_size(const struct metric_at *at, struct metric_value *out)
{
	struct statvfs fs;

	return read_dir(at, &fs) && whole(out, (int64_t)(fs.f_blocks * fs.f_frsize));
}

/* ---- Totals ---- */

/* One walk over all partitions: 50 ns each, 5 ms for 100,000. */
static const struct metric_scrape *totals(const struct metric_at *at)
{
	struct metric_scrape *s = at->scrape;
	const struct meta *meta = at->c->meta;

	if (s->has_totals)
		return s;
	s->has_totals = true;
	s->under_replicated = 0;
	s->offline = 0;
	for (uint32_t i = 0; i < meta_topics_count(meta); i++) {
		const struct meta_topic *t = meta_topic_at(meta, i);

		for (int32_t p = 0; p < t->rec.partitions_count; p++) {
			const struct sl_slot *slot = control_slot(at->c, &t->rec.topic_id, p);

			s->under_replicated += t->rec.partitions[p].isr_nodes_count <
			                       t->rec.partitions[p].replica_nodes_count;
			s->offline += !slot ||
			              atomic_load_explicit(&slot->state, memory_order_relaxed) !=
			                      SL_SLOT_OPEN;
		}
	}
	return s;
}

bool metric_server_under_replicated(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, (int64_t)totals(at)->under_replicated);
}

bool metric_server_offline(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, (int64_t)totals(at)->offline);
}

bool metric_server_controller(const struct metric_at *at, struct metric_value *out)
{
	(void)at;
	/* The local metadata has one writer: this process. */
	return whole(out, 1);
}

bool metric_server_brokers(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, publish_is_served(at->c->publish) ? control_lanes_count(at->c) : 0);
}

bool metric_server_topics(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, meta_topics_count(at->c->meta));
}

bool metric_server_partitions(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, (int64_t)meta_partitions_count(at->c->meta));
}

bool metric_server_counter(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, (int64_t)at->c->counters[at->index]);
}

bool metric_server_group_counter(const struct metric_at *at, struct metric_value *out)
{
	const struct group_coord *coord = control_groups(at->c);
	uint64_t value = 0;

	return coord && group_counter(coord, at->index, &value) && whole(out, (int64_t)value);
}

bool metric_server_info(const struct metric_at *at, struct metric_value *out)
{
	(void)at;
	return whole(out, 1);
}

/* ---- The two processes ---- */

bool metric_server_attached(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, link_is_up(at->c->link));
}

bool metric_server_serving(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, publish_is_served(at->c->publish));
}

static const struct sl_shm *shm_of(const struct metric_at *at)
{
	return link_is_up(at->c->link) ? link_shm(at->c->link) : NULL;
}

static const struct metric_scrape *processes(const struct metric_at *at)
{
	struct metric_scrape *s = at->scrape;
	const struct sl_shm *shm = shm_of(at);

	if (s->has_processes)
		return s;
	s->has_processes = true;
	process_read(&s->own, 0);
	if (shm && shm->pid > 0)
		process_read(&s->dataplane, shm->pid);
	else
		s->dataplane = (struct process){-1, -1, -1, -1, -1, -1, -1, -1, -1};
	return s;
}

bool metric_server_dataplane_start(const struct metric_at *at, struct metric_value *out)
{
	const struct sl_shm *shm = shm_of(at);

	return shm && real(out, (double)shm->started_ms / 1000);
}

bool metric_server_dataplane_cpu(const struct metric_at *at, struct metric_value *out)
{
	return real(out, processes(at)->dataplane.cpu_seconds);
}

bool metric_server_dataplane_resident(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, processes(at)->dataplane.resident_bytes);
}

bool metric_server_disk_read(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, processes(at)->dataplane.disk_read_bytes);
}

bool metric_server_disk_write(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, processes(at)->dataplane.disk_write_bytes);
}

bool metric_server_cpu(const struct metric_at *at, struct metric_value *out)
{
	return real(out, processes(at)->own.cpu_seconds);
}

bool metric_server_resident(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, processes(at)->own.resident_bytes);
}

bool metric_server_virtual(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, processes(at)->own.virtual_bytes);
}

bool metric_server_threads(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, processes(at)->own.threads);
}

bool metric_server_fds(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, processes(at)->own.open_fds);
}

bool metric_server_fds_max(const struct metric_at *at, struct metric_value *out)
{
	return whole(out, processes(at)->own.max_fds);
}

bool metric_server_start(const struct metric_at *at, struct metric_value *out)
{
	return real(out, processes(at)->own.start_seconds);
}
