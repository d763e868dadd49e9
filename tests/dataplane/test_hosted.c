/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing many logs at a time: on several threads, with the results of one. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "host/hosted.h"
#include "rig.h"

#define MANY (RIG_LANES * RIG_LANE_MAX) /* more than are opened at a time */

static const struct rig_topic many = {"many", 1, MANY, 100, 3, NULL};

/* A rig with the logs of `many` on disk and nothing open. */
static struct rig *with_logs(const char *dirs)
{
	struct rig *r = rig_create(dirs);

	rig_publish(r, 1, true, &many);
	cr_assert(rig_settle(r) == 0);
	cr_assert(rig_restart(r) == 0);
	return r;
}

/* What was told of each partition, by index. */
static void read_told(const struct rig *r, const struct sl_ipc_partition *told[MANY])
{
	memset(told, 0, MANY * sizeof(*told));
	for (unsigned i = 0; i < r->told_count; i++)
		if (r->told[i].type == SL_IPC_PARTITION)
			told[r->told[i].partition.partition] = &r->told[i].partition;
	for (int i = 0; i < MANY; i++)
		cr_assert(told[i], "%d", i);
}

static pthread_barrier_t two_meet;
static _Atomic unsigned arrivals;

/* The first two calls wait for each other. */
static int list_together(void *ctx, int dirfd, const char *name,
                         int (*each)(void *arg, const char *entry), void *arg)
{
	if (strncmp(name, "many-", 5) == 0 && atomic_fetch_add(&arrivals, 1) < 2)
		(void)pthread_barrier_wait(&two_meet);
	return sl_file_ops_plain.list(ctx, dirfd, name, each, arg);
}

Test(hosted, logs_on_disk_are_opened_on_several_threads_and_get_slots_in_order)
{
	struct rig *r = with_logs(NULL);
	const struct sl_ipc_partition *told[MANY];

	cr_assert(pthread_barrier_init(&two_meet, NULL, 2) == 0);
	r->ops.list = list_together;
	rig_publish(r, 2, true, &many);
	cr_assert(rig_settle(r) == 0);
	cr_expect(arrivals == MANY, "each log once: %u", arrivals);
	read_told(r, told);
	for (uint32_t i = 0; i < MANY; i++)
		cr_expect(told[i]->error == 0 && told[i]->slot == i, "%u: slot %u", i,
		          told[i]->slot);
	cr_expect(apply_table(r->apply)->states[HOSTED_OPEN] == MANY);
	rig_destroy(r);
	pthread_barrier_destroy(&two_meet);
}

Test(hosted, opens_one_log_when_there_is_no_time_and_leaves_the_others_as_they_were)
{
	struct rig *r = rig_create(NULL);
	struct hosted *hosted[MANY];
	struct hosted_table t;
	struct topic *topic;

	rig_publish(r, 1, true, &many);
	cr_assert(rig_settle(r) == 0);
	cr_assert(topic_copy(&topic, rig_seen(r, "many")) == 0);
	cr_assert(rig_restart(r) == 0);
	cr_assert(hosted_init(&t, r->dirs, r->shm, RIG_LANE_MAX) == 0);
	for (int32_t i = 0; i < MANY; i++) {
		struct hosted_want want = {topic, i, i % RIG_LANES, 3};

		cr_assert(hosted_add(&hosted[i], &t, &want) == 0);
	}
	for (uint32_t i = 0; i < MANY; i++) {
		cr_expect(hosted_open_some(&t, 0) == (i + 1 < MANY));
		cr_assert(t.states[HOSTED_OPEN] == i + 1 && hosted[i]->state == HOSTED_OPEN);
		cr_expect(hosted[i]->slot == i);
		cr_expect(t.free_slots_count == MANY - i - 1);
		cr_expect(t.lane_counts[0] + t.lane_counts[1] == i + 1);
		if (i + 1 < MANY)
			cr_expect(!hosted[i + 1]->folder && !hosted[i + 1]->p.log &&
			          !logdirs_find(r->dirs, hosted[i + 1]->p.name)->is_hosted);
	}
	cr_expect(hosted_fini(&t) == 0);
	topic_put(topic);
	rig_destroy(r);
}

#define BROKEN 20 /* the partition whose log cannot be read */

static int open_broken(void *ctx, int dirfd, const char *name, int flags, mode_t mode)
{
	if (strncmp(name, "many-20/", 8) == 0 && strstr(name, ".log"))
		return -EIO;
	return sl_file_ops_plain.open(ctx, dirfd, name, flags, mode);
}

/* As one by one: whatever of the dir comes behind the failure is not served. */
Test(hosted, a_dir_that_fails_while_many_are_opened_serves_those_before_and_none_behind)
{
	struct rig *r = with_logs("two dirs");
	const struct sl_ipc_partition *told[MANY];
	const struct rig_told *dir = NULL;
	uint32_t bad;

	r->ops.open = open_broken;
	rig_publish(r, 2, true, &many);
	cr_assert(rig_settle(r) == 0);
	cr_assert(rig_told(r, SL_IPC_LOG_DIR, &dir) == 1);
	bad = dir->log_dir.log_dir;
	cr_expect(dir->log_dir.error == -EIO);
	read_told(r, told);
	cr_expect(told[BROKEN]->log_dir == bad);
	for (int i = 0; i < MANY; i++) {
		bool is_lost = i >= BROKEN && told[i]->log_dir == bad;

		cr_expect(told[i]->error == (is_lost ? -EIO : 0), "%d: %d", i, told[i]->error);
		cr_expect((told[i]->slot == UINT32_MAX) == is_lost);
	}
	rig_destroy(r);
}

static int open_out_of_files(void *ctx, int dirfd, const char *name, int flags, mode_t mode)
{
	if (strncmp(name, "many-20/", 8) == 0 && strstr(name, ".log"))
		return -EMFILE;
	return sl_file_ops_plain.open(ctx, dirfd, name, flags, mode);
}

Test(hosted, an_error_that_is_not_the_disks_costs_one_partition)
{
	struct rig *r = with_logs(NULL);
	const struct sl_ipc_partition *told[MANY];

	r->ops.open = open_out_of_files;
	rig_publish(r, 2, true, &many);
	cr_assert(rig_settle(r) == 0);
	cr_expect(rig_told(r, SL_IPC_LOG_DIR, NULL) == 0);
	read_told(r, told);
	for (int i = 0; i < MANY; i++)
		cr_expect(told[i]->error == (i == BROKEN ? -EMFILE : 0), "%d", i);
	cr_expect(apply_table(r->apply)->free_slots_count == 1);
	/* Its folder is free for the next try. */
	r->ops.open = sl_file_ops_plain.open;
	rig_publish(r, 3, false, &many);
	cr_assert(rig_settle(r) == 0);
	cr_expect(apply_table(r->apply)->states[HOSTED_OPEN] == MANY);
	rig_destroy(r);
}

Test(hosted, folders_of_another_topic_are_set_aside_while_many_are_opened)
{
	struct rig *r = with_logs(NULL);
	struct rig_topic other = many;

	other.id = 2;
	rig_publish(r, 2, true, &other);
	cr_assert(rig_settle(r) == 0);
	cr_expect(apply_table(r->apply)->states[HOSTED_OPEN] == MANY);
	cr_expect(rig_count(r->root, "log", "-stray") == MANY);
	rig_destroy(r);
}

/* A new partition comes first and takes the place of the last that is on disk. */
Test(hosted, a_lane_that_is_full_is_full_for_logs_on_disk_too)
{
	struct rig *r = with_logs(NULL);
	const struct rig_told *told = NULL;
	unsigned refused = 0;

	rig_begin(r, 2, true);
	rig_topic(r, &(struct rig_topic){"new", 2, 1, 101, 0, NULL});
	rig_topic(r, &many);
	rig_end(r, 2);
	cr_assert(rig_settle(r) == 0);
	for (unsigned i = 0; i < r->told_count; i++) {
		if (r->told[i].type != SL_IPC_PARTITION || r->told[i].partition.error == 0)
			continue;
		told = &r->told[i];
		refused++;
	}
	cr_assert(refused == 1 && told);
	cr_expect(told->partition.error == -EDQUOT && told->partition.topic_id.b[0] == 1 &&
	          told->partition.partition == MANY - 1);
	rig_destroy(r);
}

/* The first two closes wait for each other. */
static int rename_together(void *ctx, int dirfd, const char *from, const char *to)
{
	if (strncmp(to, "many-", 5) == 0 && strstr(to, "/sluice-checkpoint") &&
	    atomic_fetch_add(&arrivals, 1) < 2)
		(void)pthread_barrier_wait(&two_meet);
	return sl_file_ops_plain.rename(ctx, dirfd, from, to);
}

static unsigned clean_folders(const struct rig *r)
{
	unsigned count = 0;
	char name[32];

	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "many-%d", i);
		count += logdirs_find(r->dirs, name)->is_clean;
	}
	return count;
}

Test(hosted, logs_are_closed_on_several_threads)
{
	struct rig *r = rig_create(NULL);

	cr_assert(pthread_barrier_init(&two_meet, NULL, 2) == 0);
	rig_publish(r, 1, true, &many);
	cr_assert(rig_settle(r) == 0);
	r->ops.rename = rename_together;
	cr_assert(rig_restart(r) == 0);
	cr_expect(arrivals == MANY, "each log once: %u", arrivals);
	cr_expect(clean_folders(r) == MANY);
	rig_destroy(r);
	pthread_barrier_destroy(&two_meet);
}

static int rename_broken(void *ctx, int dirfd, const char *from, const char *to)
{
	if (strncmp(to, "many-20/", 8) == 0)
		return -ENOMEM;
	return sl_file_ops_plain.rename(ctx, dirfd, from, to);
}

Test(hosted, a_log_that_cannot_be_closed_is_told_of_and_leaves_its_dir_unclean)
{
	struct rig *r = rig_create("two dirs");
	uint32_t bad;

	rig_publish(r, 1, true, &many);
	cr_assert(rig_settle(r) == 0);
	bad = logdirs_find(r->dirs, "many-20")->dir;
	r->ops.rename = rename_broken;
	cr_expect(rig_restart(r) == -ENOMEM);
	cr_expect(!logdirs_find(r->dirs, "many-20")->is_clean);
	/* A start believes a marker or none, of the whole dir. */
	cr_expect(clean_folders(r) == logdirs_folders(r->dirs, 1 - bad));
	r->ops.rename = sl_file_ops_plain.rename;
	rig_destroy(r);
}
