/* SPDX-License-Identifier: Apache-2.0 */
/* Markers on their way.  Runs on the loop's thread. */
#include "markers.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/hash.h"
#include "sluice/base/log.h"

#include "offsets.h"

#define MARKER_BYTES 128

/* One marker.  Owned by the map while the group coordinator has it, by the list once it is told. */
struct mark {
	struct sl_list link;
	struct markers *x;
	uint64_t handle;
	enum sl_kerr kerr;
	markers_fn *fn;
	void *arg;
};

struct markers {
	struct control *c;
	struct sl_map groups; /* of struct mark, by handle */
	struct sl_list told;
	struct loop_work work;
	uint64_t handle_next;
};

static void finish(struct mark *m)
{
	markers_fn *fn = m->fn;
	void *arg = m->arg;
	enum sl_kerr kerr = m->kerr;

	if (kerr != SL_KERR_NONE) {
		control_count(m->x->c, COUNTER_txn_marker_errors);
		sl_log(WARN, group, "fail transaction marker error=%s", sl_kerr_name(kerr));
	}
	free(m);
	fn(arg, kerr);
}

/* Whoever waits hears of it after the present callback: it may be the one who asks. */
static void tell_later(struct mark *m, enum sl_kerr kerr)
{
	m->kerr = kerr;
	sl_list_push_back(&m->x->told, &m->link);
	loop_work_post(m->x->c->loop, &m->x->work);
}

static void tell(void *arg)
{
	struct markers *x = arg;
	struct sl_list told;
	struct mark *m;

	sl_list_init(&told);
	while ((m = sl_list_first(&x->told, struct mark, link)) != NULL) {
		sl_list_del(&m->link);
		sl_list_push_back(&told, &m->link);
	}
	while ((m = sl_list_first(&told, struct mark, link)) != NULL) {
		sl_list_del(&m->link);
		finish(m);
	}
}

static void append_done(void *arg, enum sl_kerr kerr, int64_t base_offset)
{
	struct mark *m = arg;

	(void)base_offset;
	m->kerr = kerr;
	finish(m);
}

static void through_lane(struct mark *m, const struct meta_topic *t, int32_t partition,
                         const struct sl_txn_marker *marker)
{
	struct control *c = m->x->c;
	int lane = control_lane_of(c, t->rec.partitions[partition].leader_id);
	uint8_t bytes[MARKER_BYTES];
	struct sl_buf b;

	if (lane < 0) {
		tell_later(m, SL_KERR_NOT_LEADER_OR_FOLLOWER);
		return;
	}
	sl_buf_init_fixed(&b, bytes, sizeof(bytes));
	sl_txn_marker_encode(marker, &b, loop_wall_ms(c->loop));
	SL_ASSERT(sl_buf_ok(&b));
	link_append(c->link, (uint32_t)lane, &t->rec.topic_id, partition,
	            (struct sl_bytes){b.p, (int32_t)b.len}, append_done, m);
}

static void through_groups(struct mark *m, int32_t partition, const struct sl_txn_marker *marker)
{
	struct markers *x = m->x;

	m->handle = x->handle_next++;
	if (sl_map_put(&x->groups, &m->handle, sizeof(m->handle), m)) {
		tell_later(m, SL_KERR_COORDINATOR_NOT_AVAILABLE);
		return;
	}
	offsets_mark(x->c->offsets, partition, marker, m->handle);
}

void markers_write(struct markers *x, const struct markers_target *to,
                   const struct sl_txn_marker *marker, markers_fn *fn, void *arg)
{
	const struct meta_topic *t = meta_topic_by_name(x->c->meta, to->topic);
	struct mark *m = calloc(1, sizeof(*m));

	SL_ASSERT(m);
	*m = (struct mark){.x = x, .fn = fn, .arg = arg};
	sl_list_init(&m->link);
	control_count(x->c, COUNTER_txn_markers);
	if (!t || to->partition < 0 || to->partition >= t->rec.partitions_count)
		tell_later(m, SL_KERR_UNKNOWN_TOPIC_OR_PARTITION);
	else if (sl_str_eq_c(to->topic, OFFSETS_TOPIC))
		through_groups(m, to->partition, marker);
	else
		through_lane(m, t, to->partition, marker);
}

void markers_told(struct markers *x, uint64_t handle, enum sl_kerr kerr)
{
	struct mark *m = sl_map_del(&x->groups, &handle, sizeof(handle));

	SL_ASSERT(m);
	tell_later(m, kerr);
}

int markers_create(struct markers **out, struct control *c)
{
	struct markers *x = calloc(1, sizeof(*x));

	if (!x)
		return -ENOMEM;
	x->c = c;
	x->handle_next = 1;
	sl_list_init(&x->told);
	loop_work_init(&x->work, tell, x);
	*out = x;
	return 0;
}

void markers_destroy(struct markers *x)
{
	struct mark *m;
	uint32_t pos = 0;

	if (!x)
		return;
	loop_work_cancel(&x->work);
	while ((m = sl_map_next(&x->groups, &pos)) != NULL) {
		(void)sl_map_del(&x->groups, &m->handle, sizeof(m->handle));
		m->kerr = SL_KERR_COORDINATOR_NOT_AVAILABLE;
		sl_list_push_back(&x->told, &m->link);
	}
	tell(x);
	sl_map_fini(&x->groups);
	free(x);
}
