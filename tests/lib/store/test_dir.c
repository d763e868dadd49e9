/* SPDX-License-Identifier: Apache-2.0 */
/* Log dirs, on simulated files and (lock, plain file ops) on the kernel's. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fixture.h"

struct seen {
	int count;
	char topic[8][64];
	int32_t partition[8];
	struct sl_uuid id[8];
};

static int on_partition(void *arg, const char *topic, int32_t partition, const struct sl_uuid *id)
{
	struct seen *seen = arg;

	cr_assert_lt(seen->count, 8);
	snprintf(seen->topic[seen->count], 64, "%s", topic);
	seen->partition[seen->count] = partition;
	seen->id[seen->count] = *id;
	return ++seen->count == 8 ? -E2BIG : 0;
}

static void remove_tree(const char *path)
{
	char command[256];

	/* Only ever a folder of this test's own making. */
	cr_assert_eq(strncmp(path, "/tmp/sluice-store-", 18), 0);
	snprintf(command, sizeof(command), "%s/sub/.lock", path);
	unlink(command);
	snprintf(command, sizeof(command), "%s/sub", path);
	rmdir(command);
	rmdir(path);
}

Test(dir, creates_locks_and_marks)
{
	struct simfs *fs = simfs_create();
	struct sl_files files = simfs_files(fs);
	struct sl_log_dir *dir = NULL;
	struct sl_log_dir *second = NULL;
	bool was_clean = true;

	cr_assert_eq(sl_log_dir_open(&dir, "/data/a/b", files, &was_clean), 0);
	cr_assert(!was_clean);
	cr_assert_str_eq(sl_log_dir_path(dir), "/data/a/b");
	cr_assert_eq(sl_log_dir_open(&second, "/data/a/b", files, &was_clean), -EBUSY);
	cr_assert_null(second);
	cr_assert_eq(sl_log_dir_close(dir, true), 0);
	cr_assert(simfs_exists(fs, "data/a/b/.sluice_clean"));
	cr_assert_eq(sl_log_dir_open(&dir, "/data/a/b", files, &was_clean), 0);
	cr_assert(was_clean);
	/* The marker is used up: a kill now is not a clean shutdown. */
	cr_assert(!simfs_exists(fs, "data/a/b/.sluice_clean"));
	cr_assert_eq(sl_log_dir_close(dir, false), 0);
	cr_assert_eq(sl_log_dir_open(&dir, "/data/a/b", files, &was_clean), 0);
	cr_assert(!was_clean);
	cr_assert_eq(sl_log_dir_close(dir, false), 0);
	simfs_set_data(fs, "data/a/b/.sluice_clean", "version: 2\nboot_id: x\n", 22);
	cr_assert_eq(sl_log_dir_open(&dir, "/data/a/b", files, &was_clean), 0);
	cr_assert(!was_clean);
	cr_assert_eq(sl_log_dir_close(dir, false), 0);
	cr_assert_eq(simfs_open_count(fs), 0);
	simfs_destroy(fs);
}

Test(dir, marker_survives_a_power_cut_and_so_does_its_removal)
{
	struct simfs *fs = simfs_create();
	struct sl_files files = simfs_files(fs);
	struct sl_log_dir *dir = NULL;
	bool was_clean = false;

	cr_assert_eq(sl_log_dir_open(&dir, "/d", files, &was_clean), 0);
	cr_assert_eq(files.ops->sync(files.ctx, files.ops->open(files.ctx, AT_FDCWD, ".", 0, 0)),
	             0);
	cr_assert_eq(sl_log_dir_close(dir, true), 0);
	simfs_power_cut(fs, 3);
	cr_assert_eq(sl_log_dir_open(&dir, "/d", files, &was_clean), 0);
	cr_assert(was_clean);
	simfs_power_cut(fs, 4);
	free(dir);
	cr_assert_eq(sl_log_dir_open(&dir, "/d", files, &was_clean), 0);
	cr_assert(!was_clean);
	cr_assert_eq(sl_log_dir_close(dir, false), 0);
	simfs_destroy(fs);
}

Test(dir, scan_finds_partitions_and_nothing_else)
{
	static const char *const folders[] = {
		"logs/a-b-12", "logs/x-0",   "logs/x-01",          "logs/x-",
		"logs/-3",     "logs/plain", "logs/x-99999999999", "logs/x-0.0123-delete",
	};
	struct fixture *f = malloc(sizeof(*f));
	struct sl_log_dir *dir = NULL;
	struct seen seen = {0};
	bool was_clean;

	fixture_init(f);
	fixture_must_open(f, false);
	for (size_t i = 0; i < SL_ARRAY_SIZE(folders); i++)
		cr_assert_eq(f->files.ops->mkdir(f->files.ctx, AT_FDCWD, folders[i], 0750), 0);
	simfs_set_data(f->fs, "logs/file-7", "x", 1);
	cr_assert_eq(sl_log_dir_open(&dir, "logs", f->files, &was_clean), 0);
	cr_assert_eq(sl_log_dir_scan(dir, on_partition, &seen), 0);
	cr_assert_eq(seen.count, 3);
	cr_assert_str_eq(seen.topic[0], "orders");
	cr_assert_eq(seen.partition[0], 3);
	cr_assert(sl_uuid_eq(&seen.id[0], &f->opts.topic_id));
	cr_assert_str_eq(seen.topic[1], "a-b");
	cr_assert_eq(seen.partition[1], 12);
	cr_assert(sl_uuid_is_zero(&seen.id[1]));
	cr_assert_str_eq(seen.topic[2], "x");
	cr_assert_eq(sl_log_dir_close(dir, false), 0);
	fixture_fini(f);
	free(f);
}

Test(dir, sweep_removes_deleted_folders_in_steps)
{
	struct fixture *f = malloc(sizeof(*f));
	struct sl_log_dir *dir = NULL;
	struct seen seen = {0};
	bool was_clean;
	int total = 0;
	int n;

	fixture_init(f);
	fixture_must_open(f, false);
	for (int i = 0; i < 60; i++)
		fixture_must_append(f, 1, 200, i);
	cr_assert_eq(sl_log_delete(f->log), 0);
	f->log = NULL;
	cr_assert_eq(sl_log_dir_open(&dir, "logs", f->files, &was_clean), 0);
	cr_assert_eq(sl_log_dir_scan(dir, on_partition, &seen), 0);
	cr_assert_eq(seen.count, 0);
	while ((n = sl_log_dir_sweep(dir, 3)) > 0) {
		cr_assert_leq(n, 3);
		total += n;
	}
	cr_assert_eq(n, 0);
	cr_assert_gt(total, 12);
	cr_assert_eq(sl_log_dir_sweep(dir, 100), 0);
	f->files.ops->unlink(f->files.ctx, sl_log_dir_fd(dir), ".lock");
	/* Nothing is left: the folder can be removed. */
	cr_assert_eq(sl_log_dir_close(dir, false), 0);
	cr_assert_eq(f->files.ops->rmdir(f->files.ctx, AT_FDCWD, "logs"), 0);
	fixture_fini(f);
	free(f);
}

static int keep_name(void *arg, const char *name)
{
	if (strstr(name, "-delete"))
		snprintf(arg, 256, "%s", name);
	return 0;
}

Test(dir, deletions_share_one_sync_and_none_is_taken_for_a_new_topic)
{
	struct fixture *f = malloc(sizeof(*f));
	struct sl_log_dir *dir = NULL;
	char name[256] = "";
	bool was_clean;

	fixture_init(f);
	fixture_must_open(f, false);
	fixture_must_append(f, 1, 200, 1);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_eq(sl_log_dir_open(&dir, "logs", f->files, &was_clean), 0);
	simfs_fail(f->fs, SIMFS_SYNC, 1, -EIO, 0, false);
	cr_assert_eq(sl_log_delete(f->log), 0);
	f->log = NULL;
	cr_assert(!simfs_has_failed(f->fs), "no sync of its own");
	cr_assert_eq(sl_log_dir_sync(dir), -EIO);
	cr_assert_eq(sl_log_dir_sync(dir), 0);
	/* What a power cut before the sync may do. */
	cr_assert_eq(f->files.ops->list(f->files.ctx, f->dirfd, ".", keep_name, name), 0);
	cr_assert_eq(f->files.ops->rename(f->files.ctx, f->dirfd, name, "orders-3"), 0);
	f->opts.topic_id.b[0] ^= 1;
	cr_assert_eq(fixture_open(f, false), -ESTALE);
	f->opts.topic_id.b[0] ^= 1;
	fixture_must_open(f, false);
	fixture_check(f, 1000);
	cr_assert_eq(sl_log_dir_close(dir, false), 0);
	fixture_fini(f);
	free(f);
}

Test(dir, plain_files_lock_against_another_opening)
{
	const struct sl_files plain = {&sl_file_ops_plain, NULL};
	char root[] = "/tmp/sluice-store-XXXXXX";
	char path[64];
	struct sl_log_dir *dir = NULL;
	struct sl_log_dir *second = NULL;
	uint64_t total = 0;
	uint64_t free_bytes = 0;
	bool was_clean;

	cr_assert_not_null(mkdtemp(root));
	snprintf(path, sizeof(path), "%s/sub", root);
	cr_assert_eq(sl_log_dir_open(&dir, path, plain, &was_clean), 0);
	cr_assert_eq(sl_log_dir_open(&second, path, plain, &was_clean), -EBUSY);
	cr_assert_eq(sl_log_dir_space(dir, &total, &free_bytes), 0);
	cr_assert_gt(total, 0);
	cr_assert_leq(free_bytes, total);
	cr_assert_eq(sl_log_dir_close(dir, true), 0);
	cr_assert_eq(sl_log_dir_open(&dir, path, plain, &was_clean), 0);
	cr_assert(was_clean);
	cr_assert_eq(sl_log_dir_close(dir, false), 0);
	remove_tree(root);
}

/* The same log code on the kernel's files, once through everything. */
Test(dir, a_log_lives_on_plain_files)
{
	const struct sl_files plain = {&sl_file_ops_plain, NULL};
	char root[] = "/tmp/sluice-store-XXXXXX";
	struct fixture *f = malloc(sizeof(*f));
	struct sl_log_dir *dir = NULL;
	char path[64];
	bool was_clean;

	fixture_init(f);
	cr_assert_not_null(mkdtemp(root));
	snprintf(path, sizeof(path), "%s/sub", root);
	cr_assert_eq(sl_log_dir_open(&dir, path, plain, &was_clean), 0);
	f->files = plain;
	f->dirfd = sl_log_dir_fd(dir);
	fixture_must_open(f, false);
	for (int i = 0; i < 100; i++)
		fixture_must_append(f, 2, 150, 1000 + i);
	cr_assert_eq(fixture_sync(f), 0);
	cr_assert_eq(sl_log_flushed(f->log), 200);
	fixture_check(f, 700);
	cr_assert_eq(sl_log_close(f->log, false), 0);
	f->log = NULL;
	fixture_must_open(f, false);
	cr_assert_gt(f->report.scanned_bytes, 0);
	fixture_check(f, 700);
	cr_assert_eq(sl_log_truncate(f->log, 100), 0);
	fixture_model_cut(f, 0, 100);
	cr_assert_eq(sl_log_close(f->log, true), 0);
	f->log = NULL;
	fixture_must_open(f, true);
	cr_assert_eq(f->report.scanned_bytes, 0);
	fixture_check(f, 700);
	cr_assert_eq(sl_log_delete(f->log), 0);
	f->log = NULL;
	cr_assert_gt(sl_log_dir_sweep(dir, 1000), 0);
	cr_assert_eq(sl_log_dir_close(dir, false), 0);
	remove_tree(root);
	fixture_fini(f);
	free(f);
}
