/* SPDX-License-Identifier: Apache-2.0 */
#include "sluice/ipc/shm.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define LANES 3
#define SLOTS 40

static struct sl_shm *make(size_t *bytes)
{
	struct sl_shm *shm;

	*bytes = sl_shm_bytes(LANES, SLOTS);
	shm = aligned_alloc(4096, SL_ALIGN_UP(*bytes, 4096));
	cr_assert_not_null(shm);
	memset(shm, 0, *bytes);
	sl_shm_init(shm, LANES, SLOTS);
	return shm;
}

Test(shm, init_passes_check_and_fills_the_header)
{
	size_t bytes;
	struct sl_shm *shm = make(&bytes);
	struct sl_shm *other = make(&bytes);

	cr_assert_eq(sl_shm_check(shm, bytes), 0);
	cr_assert_eq(shm->pid, (int32_t)getpid());
	cr_assert_gt(shm->started_ms, INT64_C(1500000000000));
	cr_assert_neq(shm->incarnation, other->incarnation);
	cr_assert_eq(sl_shm_check(shm, bytes - 1), -EPROTO);
	cr_assert_eq(sl_shm_check(shm, bytes + 4096), -EPROTO);
	cr_assert_eq(sl_shm_check(shm, 16), -EPROTO);
	free(shm);
	free(other);
}

Test(shm, lanes_and_slots_are_disjoint_aligned_and_inside)
{
	size_t bytes;
	struct sl_shm *shm = make(&bytes);
	uint8_t *last = (uint8_t *)shm + shm->stats_pos;

	for (uint32_t i = 0; i < LANES; i++) {
		struct sl_lane_stats *s = sl_shm_stats(shm, i);

		cr_assert_eq((uint8_t *)s, last);
		cr_assert_eq((uintptr_t)s % SL_CACHE_LINE, 0);
		last = (uint8_t *)(s + 1);
	}
	cr_assert_geq((uint8_t *)sl_shm_slot(shm, 0), last);
	cr_assert_eq((uint8_t *)sl_shm_slot(shm, 0), (uint8_t *)shm + shm->slots_pos);
	for (uint32_t i = 0; i < SLOTS; i++) {
		struct sl_slot *slot = sl_shm_slot(shm, i);

		cr_assert_eq((uintptr_t)slot % sizeof(*slot), 0);
		memset(slot, 0xa5, sizeof(*slot)); /* asan sees what is outside */
	}
	cr_assert_eq((uint8_t *)(sl_shm_slot(shm, SLOTS - 1) + 1), (uint8_t *)shm + bytes);
	cr_assert_null(sl_shm_slot(shm, SLOTS));
	cr_assert_null(sl_shm_slot(shm, UINT32_MAX));
	cr_assert_null(sl_shm_stats(shm, LANES));
	for (uint32_t i = 0; i < LANES; i++)
		for (int k = 0; k < SL_STAT_NR; k++)
			cr_assert_eq(atomic_load(&sl_shm_stats(shm, i)->v[k]), 0);
	free(shm);
}

struct bad_header {
	const char *what;
	size_t pos;
	size_t size;
	uint64_t value;
};
#define BAD(field, v)                                                      \
	{                                                                  \
#field " = " #v, offsetof(struct sl_shm, field),           \
			sizeof(((struct sl_shm *)0)->field), (uint64_t)(v) \
	}

Test(shm, check_refuses_every_header_that_does_not_fit)
{
	static const struct bad_header bad[] = {
		BAD(magic, 0),
		BAD(magic, SL_SHM_MAGIC + 1),
		BAD(bytes, 0),
		BAD(bytes, UINT64_MAX),
		BAD(lanes_count, 0),
		BAD(lanes_count, LANES + 1),
		BAD(lanes_count, 65),
		BAD(lanes_count, UINT32_MAX),
		BAD(slots_count, 0),
		BAD(slots_count, SLOTS + 1),
		BAD(slots_count, SLOTS - 1),
		BAD(slots_count, UINT32_MAX),
		BAD(stats_pos, 0),
		BAD(stats_pos, UINT64_MAX),
		BAD(slots_pos, 0),
		BAD(slots_pos, UINT64_MAX - 127),
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(bad); i++) {
		size_t bytes;
		struct sl_shm *shm = make(&bytes);

		memcpy((uint8_t *)shm + bad[i].pos, &bad[i].value, bad[i].size);
		cr_assert_eq(sl_shm_check(shm, bytes), -EPROTO, "%s", bad[i].what);
		free(shm);
	}
}

Test(shm, slot_sizes_do_not_overflow)
{
	cr_assert_gt(sl_shm_bytes(SL_SHM_LANES_MAX, UINT32_MAX),
	             (size_t)UINT32_MAX * sizeof(struct sl_slot));
}

Test(stats, add_and_set_change_only_their_counter)
{
	size_t bytes;
	struct sl_shm *shm = make(&bytes);
	struct sl_lane_stats *s = sl_shm_stats(shm, 1);

	sl_stat_add(s, SL_STAT_requests, 2);
	sl_stat_add(s, SL_STAT_requests, 40);
	sl_stat_set(s, SL_STAT_tsc_hz, 7);
	for (int k = 0; k < SL_STAT_NR; k++) {
		uint64_t want = k == SL_STAT_requests ? 42 : k == SL_STAT_tsc_hz ? 7 : 0;

		cr_assert_eq(atomic_load(&s->v[k]), want);
		cr_assert_eq(atomic_load(&sl_shm_stats(shm, 0)->v[k]), 0);
		cr_assert_eq(atomic_load(&sl_shm_stats(shm, 2)->v[k]), 0);
	}
	free(shm);
}

Test(stats, every_counter_has_a_metric_name_a_kind_and_a_text)
{
	for (int i = 0; i < SL_STAT_NR; i++) {
		const struct sl_stat_def *d = &sl_stat_defs[i];

		cr_assert_not_null(d->name);
		/* Prometheus metric names: [a-zA-Z_:][a-zA-Z0-9_:]*; ours are lower case. */
		cr_assert_eq(strspn(d->name, "abcdefghijklmnopqrstuvwxyz0123456789_"),
		             strlen(d->name));
		cr_assert(d->kind == 'C' || d->kind == 'G');
		cr_assert_gt(strlen(d->text), 0);
		for (int k = 0; k < i; k++)
			cr_assert_str_neq(d->name, sl_stat_defs[k].name);
	}
	cr_assert_str_eq(sl_stat_defs[SL_STAT_connections].name, "connections");
	cr_assert_eq(sl_stat_defs[SL_STAT_connections].kind, 'G');
	cr_assert_eq(sl_stat_defs[SL_STAT_sync_us].kind, 'C');
}
