/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "host/logdirs.h"
#include "rig.h"

static const struct sl_files plain = {.ops = &sl_file_ops_plain};

/* @list: log.dirs, in which '@' stands for @root. */
static int open_list(struct logdirs **out, const char *root, const char *list, char *error)
{
	char text[512];
	size_t len = 0;

	for (const char *p = list; *p; p++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%.*s",
		                        *p == '@' ? (int)strlen(root) : 1, *p == '@' ? root : p);
	return logdirs_create(out, text, root, plain, 0, error);
}

/* A folder with a log in it, as a partition would leave it. */
static void make_log(struct logdirs *d, const char *name, uint8_t id)
{
	struct sl_log_recovery report;
	struct logdirs_folder *f;
	struct sl_uuid topic_id = rig_id(id);
	char topic[64];
	struct sl_log_opts o = {
		.files = plain,
		.topic = topic,
		.topic_id = topic_id,
		.config = {.segment_bytes = 1 << 20, .retention_ms = -1, .retention_bytes = -1},
	};
	struct sl_log *log;

	cr_assert(logdirs_place(d, name, &topic_id, &f) == 0);
	snprintf(topic, sizeof(topic), "%.*s", (int)(strrchr(name, '-') - name), name);
	o.partition = strrchr(name, '-')[1] - '0';
	o.dirfd = logdirs_fd(d, f->dir);
	cr_assert(sl_log_open(&log, &o, &report) == 0);
	cr_assert(sl_log_close(log, true) == 0);
}

Test(logdirs, defaults_to_log_below_the_data_folder)
{
	char error[SL_CONF_ERROR_MAX], root[64], path[128];
	struct logdirs *d;

	rig_root(root);
	cr_assert(logdirs_create(&d, "", root, plain, 0, error) == 0);
	snprintf(path, sizeof(path), "%s/log", root);
	cr_expect(logdirs_count(d) == 1);
	cr_expect_str_eq(logdirs_path(d, 0), path);
	cr_expect(rig_exists(root, "log"));
	cr_expect(logdirs_destroy(d) == 0);
	rig_root_remove(root);
}

Test(logdirs, refuses_empty_entries_and_dirs_listed_twice)
{
	char error[SL_CONF_ERROR_MAX], root[64];
	struct logdirs *d = NULL;

	rig_root(root);
	cr_expect(open_list(&d, root, "@/a,", error) == -EINVAL);
	cr_expect(strstr(error, "log.dirs"));
	cr_expect(open_list(&d, root, "@/a, ,@/b", error) == -EINVAL);
	cr_expect(open_list(&d, root, "@/a,@/a", error) == -EBUSY);
	cr_expect(strstr(error, "/a"));
	cr_expect_null(d);
	cr_assert(open_list(&d, root, " @/a , @/b ", error) == 0, "%s", error);
	cr_expect(logdirs_count(d) == 2);
	cr_expect(logdirs_destroy(d) == 0);
	rig_root_remove(root);
}

static struct sl_log_dir *holder; /* has the lock */
static unsigned lock_tries;

/* A process that is dying: the third try finds it gone. */
static int lock_of_dying(void *ctx, int fd)
{
	if (++lock_tries == 3)
		cr_assert(sl_log_dir_close(holder, false) == 0);
	return sl_file_ops_plain.lock(ctx, fd);
}

static int lock_counted(void *ctx, int fd)
{
	lock_tries++;
	return sl_file_ops_plain.lock(ctx, fd);
}

Test(logdirs, waits_for_the_lock_of_a_dying_process_and_not_for_ever)
{
	char error[SL_CONF_ERROR_MAX], root[64], path[128];
	struct sl_file_ops ops = sl_file_ops_plain;
	const struct sl_files files = {.ops = &ops};
	struct logdirs *d = NULL;
	bool was_clean;

	rig_root(root);
	snprintf(path, sizeof(path), "%s/log", root);
	cr_assert(sl_log_dir_open(&holder, path, plain, &was_clean) == 0);
	ops.lock = lock_counted;
	cr_expect(logdirs_create(&d, "", root, files, 0, error) == -EBUSY);
	cr_expect(lock_tries == 1 && strstr(error, "in use by another process"));
	cr_expect(logdirs_create(&d, "", root, files, 5, error) == -EBUSY, "it lives on");
	cr_expect_null(d);
	lock_tries = 0;
	ops.lock = lock_of_dying;
	cr_assert(logdirs_create(&d, "", root, files, 60000, error) == 0, "%s", error);
	cr_expect(lock_tries == 3);
	cr_expect(logdirs_destroy(d) == 0);
	rig_root_remove(root);
}

Test(logdirs, places_where_the_folder_is_else_where_the_fewest_are)
{
	char error[SL_CONF_ERROR_MAX], root[64];
	struct sl_uuid id = rig_id(1);
	struct logdirs_folder *f;
	struct logdirs *d;

	rig_root(root);
	cr_assert(open_list(&d, root, "@/a,@/b,@/c", error) == 0);
	for (int i = 0; i < 9; i++) {
		char name[16];

		snprintf(name, sizeof(name), "t-%d", i);
		make_log(d, name, 1);
	}
	for (uint32_t i = 0; i < 3; i++)
		cr_expect(logdirs_folders(d, i) == 3);
	cr_assert(logdirs_destroy(d) == 0);

	cr_assert(open_list(&d, root, "@/c,@/a,@/b", error) == 0);
	cr_assert(logdirs_place(d, "t-0", &id, &f) == 0);
	cr_expect(f->dir == 1, "found again, in another order of the list");
	cr_expect(f->is_clean && sl_uuid_eq(&f->topic_id, &id));
	logdirs_forget(d, f);
	cr_assert(logdirs_place(d, "new-0", &id, &f) == 0);
	cr_expect(f->dir == 1 && logdirs_folders(d, 1) == 3);
	cr_expect(logdirs_destroy(d) == 0);
	rig_root_remove(root);
}

Test(logdirs, serves_on_without_a_dir_that_cannot_be_used)
{
	char error[SL_CONF_ERROR_MAX], root[64], path[128];
	struct sl_uuid id = rig_id(1);
	struct logdirs_folder *f;
	struct logdirs *d;
	int fd;

	rig_root(root);
	snprintf(path, sizeof(path), "%s/a", root);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	cr_assert(fd >= 0);
	close(fd);
	cr_expect(open_list(&d, root, "@/a", error) == -ENOTDIR, "the only one");
	cr_expect(strstr(error, "/a"));
	cr_assert(open_list(&d, root, "@/a,@/b", error) == 0);
	cr_expect(logdirs_error(d, 0) == -ENOTDIR && logdirs_error(d, 1) == 0);
	cr_assert(logdirs_place(d, "t-0", &id, &f) == 0);
	cr_expect(f->dir == 1);
	cr_expect(logdirs_set_offline(d, 1, -EIO));
	cr_expect(!logdirs_set_offline(d, 1, -EIO), "once");
	cr_expect(logdirs_place(d, "t-0", &id, &f) == -EIO);
	cr_expect(logdirs_place(d, "t-1", &id, &f) == -EIO);
	cr_expect(logdirs_destroy(d) == 0);
	rig_root_remove(root);
}

Test(logdirs, refuses_a_partition_that_is_in_two_dirs)
{
	char error[SL_CONF_ERROR_MAX], root[64];
	struct logdirs *d = NULL;

	rig_root(root);
	cr_assert(open_list(&d, root, "@/a", error) == 0);
	make_log(d, "t-0", 1);
	cr_assert(logdirs_destroy(d) == 0);
	cr_assert(open_list(&d, root, "@/b", error) == 0);
	make_log(d, "t-0", 1);
	cr_assert(logdirs_destroy(d) == 0);
	cr_expect(open_list(&d, root, "@/a,@/b", error) == -EEXIST);
	cr_expect(strstr(error, "t-0") && strstr(error, "/a") && strstr(error, "/b"));
	rig_root_remove(root);
}

Test(logdirs, vouches_only_for_dirs_whose_logs_were_all_closed)
{
	char error[SL_CONF_ERROR_MAX], root[64];
	struct logdirs *d;

	rig_root(root);
	cr_assert(open_list(&d, root, "@/a,@/b", error) == 0);
	make_log(d, "t-0", 1);
	make_log(d, "t-1", 1);
	logdirs_find(d, "t-0")->is_clean = false;
	cr_assert(logdirs_destroy(d) == 0);
	cr_assert(open_list(&d, root, "@/a,@/b", error) == 0);
	cr_expect(!logdirs_find(d, "t-0")->is_clean);
	cr_expect(logdirs_find(d, "t-1")->is_clean);
	/* A log that stays unopened is not made clean by a clean life of the process. */
	cr_assert(logdirs_destroy(d) == 0);
	cr_assert(open_list(&d, root, "@/a,@/b", error) == 0);
	cr_expect(!logdirs_find(d, "t-0")->is_clean);
	cr_expect(logdirs_destroy(d) == 0);
	rig_root_remove(root);
}

Test(logdirs, purges_the_unused_folders_of_one_topic)
{
	char error[SL_CONF_ERROR_MAX], root[64];
	struct sl_uuid id = rig_id(1), none = rig_id(0);
	struct logdirs *d;

	rig_root(root);
	cr_assert(open_list(&d, root, "@/a", error) == 0);
	make_log(d, "t-0", 1);
	make_log(d, "t-1", 1);
	make_log(d, "u-0", 2);
	logdirs_find(d, "t-1")->is_hosted = true;
	cr_expect(logdirs_report_strays(d) == 2);
	cr_expect(logdirs_purge(d, &none) == 0, "no id is not an id");
	cr_expect(logdirs_purge(d, &id) == 1);
	cr_expect(!rig_exists(root, "a/t-0") && rig_exists(root, "a/t-1"));
	cr_expect(rig_exists(root, "a/u-0"));
	cr_expect_null(logdirs_find(d, "t-0"));
	while (logdirs_sweep(d))
		;
	cr_expect(rig_count(root, "a", "-delete") == 0);
	cr_expect(logdirs_destroy(d) == 0);
	rig_root_remove(root);
}

Test(logdirs, sets_a_folder_with_the_longest_name_aside)
{
	char error[SL_CONF_ERROR_MAX], root[64], name[252];
	struct sl_uuid id = rig_id(1);
	struct logdirs_folder *f;
	struct logdirs *d;
	int fd;

	rig_root(root);
	memset(name, 'x', 249);
	snprintf(name + 249, sizeof(name) - 249, "-0");
	cr_assert(open_list(&d, root, "@/a", error) == 0);
	cr_assert(logdirs_place(d, name, &id, &f) == 0);
	cr_expect(logdirs_set_aside(d, f) == -ENOENT, "there is nothing yet");
	fd = logdirs_fd(d, 0);
	cr_assert(mkdirat(fd, name, 0700) == 0);
	cr_expect(logdirs_set_aside(d, f) == 0);
	cr_expect_null(logdirs_find(d, name));
	cr_expect(rig_count(root, "a", "-stray") == 1);
	cr_expect(logdirs_destroy(d) == 0);
	rig_root_remove(root);
}

Test(logdirs, an_unfinished_folder_gives_way_to_the_partition_in_the_other_dir)
{
	static const char *const lists[] = {"@/a,@/b", "@/b,@/a"};
	char error[SL_CONF_ERROR_MAX], root[64], path[128];
	struct logdirs *d;

	rig_root(root);
	cr_assert(open_list(&d, root, "@/a", error) == 0);
	make_log(d, "t-0", 7);
	cr_expect(logdirs_destroy(d) == 0);
	snprintf(path, sizeof(path), "%s/b", root);
	cr_assert(mkdir(path, 0750) == 0);
	snprintf(path, sizeof(path), "%s/b/t-0", root);
	cr_assert(mkdir(path, 0750) == 0);
	for (unsigned i = 0; i < SL_ARRAY_SIZE(lists); i++) {
		const struct logdirs_folder *f;
		const struct sl_uuid id = rig_id(7);

		cr_assert(open_list(&d, root, lists[i], error) == 0, "%s", error);
		f = logdirs_find(d, "t-0");
		cr_assert(f);
		cr_expect(f->dir == i && sl_uuid_eq(&f->topic_id, &id));
		cr_expect(logdirs_folders(d, i) == 1 && logdirs_folders(d, !i) == 0);
		cr_expect(logdirs_destroy(d) == 0);
	}
	/* Two that both have an id are for the operator to decide. */
	cr_assert(open_list(&d, root, "@/b", error) == 0);
	cr_assert(rmdir(path) == 0);
	logdirs_forget(d, logdirs_find(d, "t-0"));
	make_log(d, "t-0", 7);
	cr_expect(logdirs_destroy(d) == 0);
	cr_expect(open_list(&d, root, "@/a,@/b", error) == -EEXIST);
	cr_expect(strstr(error, "t-0"));
	rig_root_remove(root);
}
