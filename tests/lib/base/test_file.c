/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rng.h"
#include "sluice/base/file.h"

static char dir[64];
static char path[128];

static void make_dir(void)
{
	snprintf(dir, sizeof(dir), "/tmp/sl-file-XXXXXX");
	cr_assert(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/f", dir);
}

static void remove_dir(void)
{
	unlink(path);
	cr_assert(rmdir(dir) == 0, "%s is not empty", dir);
}

TestSuite(file, .init = make_dir, .fini = remove_dir);

Test(file, written_file_reads_back_at_many_sizes)
{
	static const size_t sizes[] = {0, 1, 4094, 4095, 4096, 4097, 12286, 12287, 12288, 100000};
	static char bytes[100000];
	uint64_t rng = 2;

	rng_fill(&rng, bytes, sizeof(bytes));
	for (size_t i = 0; i < SL_ARRAY_SIZE(sizes); i++) {
		size_t len;
		char *back;

		cr_assert(sl_file_write_atomic(path, bytes, sizes[i]) == 0);
		cr_assert(sl_file_read(path, sizes[i], &back, &len) == 0);
		cr_assert(len == sizes[i]);
		cr_assert(memcmp(back, bytes, len) == 0);
		cr_assert(back[len] == '\0');
		free(back);
	}
}

Test(file, read_refuses_what_is_larger_than_allowed)
{
	char *out = NULL;
	size_t len = 77;

	cr_assert(sl_file_write_atomic(path, "12345", 5) == 0);
	cr_assert(sl_file_read(path, 4, &out, &len) == -EFBIG);
	cr_assert(out == NULL && len == 77);
}

Test(file, read_reports_errors)
{
	size_t len;
	char *out;

	cr_assert(sl_file_read(path, 10, &out, &len) == -ENOENT);
	cr_assert(sl_file_read(dir, 10, &out, &len) == -EISDIR);
	/* A file whose size is not known before. */
	cr_assert(sl_file_read("/proc/self/status", 1 << 20, &out, &len) == 0);
	cr_assert(len > 0 && strncmp(out, "Name:", 5) == 0);
	free(out);
}

Test(file, failed_write_leaves_the_old_file_and_no_leftover)
{
	char below[160];
	size_t len;
	char *out;

	cr_assert(sl_file_write_atomic(path, "old", 3) == 0);
	snprintf(below, sizeof(below), "%s/x", path);
	cr_assert(sl_file_write_atomic(below, "new", 3) == -ENOTDIR);
	/* A folder in the place of the target: rename fails after the temporary file is complete.
	 */
	snprintf(below, sizeof(below), "%s/d", dir);
	cr_assert(mkdir(below, 0700) == 0);
	cr_assert(sl_file_write_atomic(below, "new", 3) == -EISDIR);
	cr_assert(rmdir(below) == 0);
	snprintf(below, sizeof(below), "%s/d.tmp", dir);
	cr_assert(access(below, F_OK) < 0);
	cr_assert(sl_file_read(path, 10, &out, &len) == 0);
	cr_assert(strcmp(out, "old") == 0);
	free(out);
}

Test(file, relative_name_is_written_into_the_current_folder)
{
	cr_assert(chdir(dir) == 0);
	cr_assert(sl_file_write_atomic("f", "x", 1) == 0);
	cr_assert(access(path, R_OK) == 0);
}

Test(file, mkdir_p_makes_all_parts_and_accepts_what_is_there)
{
	static const char *const tails[] = {"a/b/c", "a/b", "a"};
	char deep[160];
	struct stat st;

	snprintf(deep, sizeof(deep), "%s//a/b/c/", dir);
	cr_assert(sl_mkdir_p(deep, 0700) == 0);
	cr_assert(sl_mkdir_p(deep, 0700) == 0);
	cr_assert(stat(deep, &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & 0777) == 0700);
	cr_assert(sl_mkdir_p("", 0700) == -ENOENT);
	cr_assert(sl_mkdir_p("/", 0700) == 0);
	for (size_t i = 0; i < SL_ARRAY_SIZE(tails); i++) {
		snprintf(deep, sizeof(deep), "%s/%s", dir, tails[i]);
		cr_assert(rmdir(deep) == 0);
	}
}

Test(file, mkdir_p_refuses_a_file_in_the_way)
{
	char below[160];

	cr_assert(sl_file_write_atomic(path, "x", 1) == 0);
	snprintf(below, sizeof(below), "%s/d", path);
	cr_assert(sl_mkdir_p(path, 0700) == -ENOTDIR);
	cr_assert(sl_mkdir_p(below, 0700) == -ENOTDIR);
}

Test(file, mkdir_p_refuses_a_path_that_is_too_long)
{
	static char longpath[5000];

	memset(longpath, 'a', sizeof(longpath) - 1);
	cr_assert(sl_mkdir_p(longpath, 0700) == -ENAMETOOLONG);
}

Test(file, pread_all_reads_at_a_position_and_reports_the_early_end)
{
	char out[4] = {0};
	int fd;

	cr_assert(sl_file_write_atomic(path, "0123456789", 10) == 0);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert(fd >= 0);
	cr_assert(sl_pread_all(fd, out, 4, 3) == 0);
	cr_assert(memcmp(out, "3456", 4) == 0);
	cr_assert(sl_pread_all(fd, out, 4, 7) == -EIO);
	cr_assert(sl_pread_all(fd, out, 0, 100) == 0);
	cr_assert(sl_write_all(fd, "x", 1) == -EBADF);
	close(fd);
}

Test(file, write_all_reports_a_full_disk)
{
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	cr_assert(fd >= 0);
	cr_assert(sl_write_all(fd, "x", 1) == -ENOSPC);
	close(fd);
}
