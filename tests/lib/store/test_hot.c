/* SPDX-License-Identifier: Apache-2.0 */
/* The tier's file: size, pages, populating, adoption. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hot_impl.h"
#include "sluice/base/crc32c.h"

#define MIB ((size_t)1 << 20)

static struct sl_hot_opts opts_of(uint64_t bytes, uint32_t slices)
{
	return (struct sl_hot_opts){
		.bytes = bytes, .slices = slices, .numa_node = -1, .is_huge_wanted = true};
}

static struct sl_hot *create(uint64_t bytes, uint32_t slices)
{
	struct sl_hot_opts opts = opts_of(bytes, slices);
	struct sl_hot *hot = NULL;

	cr_assert_eq(sl_hot_create(&hot, &opts), 0);
	return hot;
}

/* KiB of the file that have pages. */
static uint64_t backed_kib(const struct sl_hot *hot)
{
	struct stat st;

	cr_assert_eq(fstat(sl_hot_fd(hot), &st), 0);
	return (uint64_t)st.st_blocks / 2;
}

Test(hot, sizes_are_whole_huge_pages_of_every_slice)
{
	struct sl_hot *hot = create(100 * MIB + 12345, 3);
	struct stat st;

	cr_assert_eq(sl_hot_bytes(hot), 96 * MIB);
	cr_assert_eq(fstat(sl_hot_fd(hot), &st), 0);
	cr_assert_eq((size_t)st.st_size, 98 * MIB, "the table takes one more");
	for (uint32_t i = 0; i < 3; i++) {
		struct sl_hot_usage usage;

		sl_hot_usage(sl_hot_pool(hot, i), &usage);
		cr_assert_eq(usage.total, 32 * MIB);
		cr_assert_eq(usage.free, 32 * MIB);
		cr_assert_eq(sl_hot_pool_fd(sl_hot_pool(hot, i)), sl_hot_fd(hot));
	}
	sl_hot_destroy(hot);
	sl_hot_destroy(NULL);
}

Test(hot, refuses_slices_that_are_too_small_or_too_many)
{
	struct sl_hot *hot = NULL;
	struct sl_hot_opts opts = opts_of(16 * MIB, 0);

	cr_assert_eq(sl_hot_create(&hot, &opts), -EINVAL);
	opts = opts_of(31 * MIB, 2);
	cr_assert_eq(sl_hot_create(&hot, &opts), -EINVAL);
	opts = opts_of((uint64_t)1 << 40, SL_HOT_SLICES_MAX + 1);
	cr_assert_eq(sl_hot_create(&hot, &opts), -EINVAL);
	opts = opts_of(UINT64_MAX, 1);
	cr_assert_eq(sl_hot_create(&hot, &opts), -EINVAL);
	cr_assert_null(hot);
}

Test(hot, slices_do_not_overlap_and_lie_behind_the_table)
{
	struct sl_hot *hot = create(48 * MIB, 3);
	struct sl_hot_key key = {.topic_id = {{1}}};
	uint64_t last = 2 * MIB - 4 * MIB;

	for (uint32_t i = 0; i < 3; i++) {
		for (int k = 0; k < 4; k++) {
			struct sl_hot_chunk *chunk = sl_hot_get(sl_hot_pool(hot, i), &key, NULL, 0,
			                                        4 * MIB, 0);

			cr_assert_not_null(chunk);
			cr_assert_eq(chunk->file_pos, last + 4 * MIB);
			last = chunk->file_pos;
		}
		cr_assert_null(sl_hot_get(sl_hot_pool(hot, i), &key, NULL, 0, 1, 0));
	}
	sl_hot_destroy(hot);
}

Test(hot, nothing_is_resident_before_it_is_populated_or_used)
{
	struct sl_hot *hot = create((uint64_t)16 << 30, 2);

	/* The page that the header is in. */
	cr_assert_leq(backed_kib(hot), 2048);
	sl_hot_destroy(hot);
}

Test(hot, populating_goes_through_the_slices_and_ends)
{
	struct sl_hot *hot = create(80 * MIB, 2);
	uint32_t calls = 0;
	uint64_t before = 0;
	int more;

	cr_assert_str_eq(sl_hot_reason(hot), "not populated yet");
	do {
		uint64_t a = hot_pool_populated(sl_hot_pool(hot, 0));
		uint64_t b = hot_pool_populated(sl_hot_pool(hot, 1));

		more = sl_hot_populate(hot, 6 * MIB);
		cr_assert_geq(more, 0);
		cr_assert_leq(sl_hot_populated(hot) - before, 6 * MIB);
		before = sl_hot_populated(hot);
		cr_assert_leq(a > b ? a - b : b - a, STORE_HOT_POPULATE_STEP);
		cr_assert_lt(calls++, 20);
	} while (more > 0);
	cr_assert_eq(sl_hot_populated(hot), 80 * MIB);
	cr_assert_geq(backed_kib(hot), 80 * 1024);
	cr_assert_eq(sl_hot_populate(hot, MIB), 0);
	sl_hot_destroy(hot);
}

Test(hot, pages_are_huge_where_that_is_permitted)
{
	struct sl_hot *hot = create(32 * MIB, 1);

	cr_assert(!sl_hot_is_huge(hot), "nothing is known yet");
	while (sl_hot_populate(hot, 64 * MIB) > 0)
		;
	if (!sl_hot_is_huge(hot)) {
		cr_assert_neq(sl_hot_reason(hot)[0], '\0');
		/* Only a refusal is an excuse. */
		cr_assert_not_null(strstr(sl_hot_reason(hot), "shmem_enabled"), "%s",
		                   sl_hot_reason(hot));
		cr_skip_test("no huge pages here: %s", sl_hot_reason(hot));
	}
	cr_assert_str_eq(sl_hot_reason(hot), "");
	sl_hot_destroy(hot);
}

Test(hot, small_pages_on_demand)
{
	struct sl_hot_opts opts = opts_of(16 * MIB, 1);
	struct sl_hot *hot = NULL;

	opts.is_huge_wanted = false;
	cr_assert_eq(sl_hot_create(&hot, &opts), 0);
	cr_assert_eq(sl_hot_populate(hot, 16 * MIB), 0);
	cr_assert(!sl_hot_is_huge(hot));
	cr_assert_str_eq(sl_hot_reason(hot), "small pages were asked for");
	sl_hot_destroy(hot);
}

Test(hot, works_without_privilege_and_says_what_would_help)
{
	struct sl_hot *hot;

	if (geteuid() == 0)
		cr_assert_eq(seteuid(65534), 0);
	hot = create(16 * MIB, 1);
	cr_assert_eq(sl_hot_populate(hot, 16 * MIB), 0);
	if (!sl_hot_is_huge(hot)) {
		cr_assert_not_null(strstr(sl_hot_reason(hot), "fsopen(2)"));
		cr_assert_not_null(strstr(sl_hot_reason(hot), "shmem_enabled"));
	}
	sl_hot_destroy(hot);
	/* Else a leak checker may not look at this process any more. */
	if (getuid() == 0)
		cr_assert_eq(seteuid(0) | prctl(PR_SET_DUMPABLE, 1), 0);
}

Test(hot, node_is_a_preference_only)
{
	struct sl_hot_opts opts = opts_of(16 * MIB, 1);
	struct sl_hot *hot = NULL;

	for (int node = 0; node < 2000; node += 700) {
		opts.numa_node = node;
		cr_assert_eq(sl_hot_create(&hot, &opts), 0);
		cr_assert_eq(sl_hot_populate(hot, 2 * MIB), 1);
		sl_hot_destroy(hot);
	}
}

/* ---- Adoption ---- */

Test(hot, adopted_file_keeps_its_pages_and_loses_its_table)
{
	struct sl_hot_opts opts = opts_of(32 * MIB, 2);
	struct sl_hot *first = create(32 * MIB, 2);
	struct sl_hot *second = NULL;
	struct sl_hot_key key = {.topic_id = {{1}}};
	struct sl_hot_usage usage;
	struct sl_hot_replay report;
	struct sl_hot_chunk *chunk;
	int fd = dup(sl_hot_fd(first));

	while (sl_hot_populate(first, 32 * MIB) > 0)
		;
	chunk = sl_hot_get(sl_hot_pool(first, 1), &key, NULL, 0, 100, 0);
	memcpy(chunk->p, "still there", 12);
	sl_hot_commit(sl_hot_pool(first, 1), chunk, 100);
	sl_hot_destroy(first);
	cr_assert_eq(sl_hot_replay(fd, NULL, 0, 1, &report), 0);
	cr_assert_eq(report.orphans, 1);
	cr_assert_eq(sl_hot_adopt(&second, fd, &opts), 0);
	close(fd);
	cr_assert_geq(backed_kib(second), 32 * 1024);
	sl_hot_usage(sl_hot_pool(second, 1), &usage);
	cr_assert_eq(usage.free, 16 * MIB);
	cr_assert_eq(sl_hot_replay(sl_hot_fd(second), NULL, 0, 1, &report), 0);
	cr_assert_eq(report.chunks, 0, "the table is empty");
	chunk = sl_hot_get(sl_hot_pool(second, 1), &key, NULL, 0, 100, 0);
	cr_assert_str_eq((char *)chunk->p, "still there");
	/* And it counts as populated when it was mapped again. */
	cr_assert_eq(sl_hot_populated(second), 0);
	while (sl_hot_populate(second, 32 * MIB) > 0)
		;
	cr_assert_eq(sl_hot_populated(second), 32 * MIB);
	sl_hot_destroy(second);
}

Test(hot, adopts_nothing_of_another_shape)
{
	struct sl_hot *hot = create(32 * MIB, 2);
	struct sl_hot *other = NULL;
	struct sl_hot_opts opts = opts_of(64 * MIB, 2);

	cr_assert_eq(sl_hot_adopt(&other, sl_hot_fd(hot), &opts), -ESTALE);
	opts = opts_of(32 * MIB, 1);
	cr_assert_eq(sl_hot_adopt(&other, sl_hot_fd(hot), &opts), -ESTALE);
	opts = opts_of(33 * MIB, 2);
	cr_assert_eq(sl_hot_adopt(&other, sl_hot_fd(hot), &opts), 0, "rounded to the same");
	sl_hot_destroy(other);
	sl_hot_destroy(hot);
}

/* A header that is whole, of some other version. */
static void write_header(int fd, struct hot_header header)
{
	header.check = sl_crc32c(0, &header, offsetof(struct hot_header, check));
	cr_assert_eq(pwrite(fd, &header, sizeof(header), 0), (ssize_t)sizeof(header));
}

Test(hot, adopts_no_foreign_file)
{
	struct sl_hot *hot = create(32 * MIB, 2);
	struct sl_hot *other = NULL;
	struct sl_hot_opts opts = opts_of(32 * MIB, 2);
	struct hot_header header;
	int fd = memfd_create("foreign", MFD_CLOEXEC);

	cr_assert_eq(sl_hot_adopt(&other, fd, &opts), -EPROTO);
	cr_assert_eq(ftruncate(fd, 34 * MIB), 0);
	cr_assert_eq(sl_hot_adopt(&other, fd, &opts), -EPROTO);
	cr_assert_eq(pread(sl_hot_fd(hot), &header, sizeof(header), 0), (ssize_t)sizeof(header));
	header.version++;
	write_header(fd, header);
	cr_assert_eq(sl_hot_adopt(&other, fd, &opts), -ESTALE);
	header.version--;
	header.file_bytes += 4096;
	write_header(fd, header);
	cr_assert_eq(sl_hot_adopt(&other, fd, &opts), -EPROTO);
	header.file_bytes -= 4096;
	write_header(fd, header);
	cr_assert_eq(ftruncate(fd, 33 * MIB), 0);
	cr_assert_eq(sl_hot_adopt(&other, fd, &opts), -EPROTO);
	cr_assert_null(other);
	close(fd);
	sl_hot_destroy(hot);
}

/* A file that says 32 MiB on a file system that has @bytes. */
static int short_tmpfs(const struct sl_hot *like, const char *bytes)
{
	struct hot_header header;
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int mnt;
	int fd;

	if (fs < 0)
		return -1;
	cr_assert_eq(fsconfig(fs, FSCONFIG_SET_STRING, "size", bytes, 0), 0);
	cr_assert_eq(fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0), 0);
	mnt = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	fd = openat(mnt, ".", O_TMPFILE | O_RDWR, 0600);
	cr_assert_geq(fd, 0);
	close(mnt);
	close(fs);
	cr_assert_eq(ftruncate(fd, 34 * MIB), 0);
	cr_assert_eq(pread(sl_hot_fd(like), &header, sizeof(header), 0), (ssize_t)sizeof(header));
	write_header(fd, header);
	return fd;
}

Test(hot, tier_ends_where_memory_ends)
{
	struct sl_hot *like = create(32 * MIB, 2);
	struct sl_hot_opts opts = opts_of(32 * MIB, 2);
	struct sl_hot_key key = {.topic_id = {{1}}};
	struct sl_hot_usage usage;
	struct sl_hot *hot = NULL;
	uint64_t got = 0;
	int more;
	int fd = short_tmpfs(like, "13m");

	if (fd < 0)
		cr_skip_test("mounting a tmpfs is not permitted: %s", strerror(errno));
	cr_assert_eq(sl_hot_adopt(&hot, fd, &opts), 0);
	do
		more = sl_hot_populate(hot, 2 * MIB);
	while (more > 0);
	/* It may be a bad moment, so it is tried again. */
	for (int i = 1; i < 20; i++) {
		cr_assert_eq(more, -EAGAIN);
		more = sl_hot_populate(hot, 2 * MIB);
	}
	cr_assert_eq(more, -ENOMEM);
	cr_assert_eq(sl_hot_populate(hot, 2 * MIB), -ENOMEM);
	cr_assert_eq(sl_hot_populated(hot), 12 * MIB);
	cr_assert(sl_hot_fits(sl_hot_pool(hot, 0), 2 * MIB));
	for (uint32_t i = 0; i < 2; i++) {
		struct sl_hot_pool *pool = sl_hot_pool(hot, i);

		sl_hot_usage(pool, &usage);
		cr_assert_eq(usage.total, 6 * MIB);
		cr_assert_eq(usage.free, 6 * MIB);
		for (;;) {
			struct sl_hot_chunk *chunk = sl_hot_get(pool, &key, NULL, 0, 1, 256 << 10);

			if (!chunk)
				break;
			memset(chunk->p, 1, chunk->bytes);
			got += chunk->bytes;
		}
	}
	cr_assert_eq(got, 12 * MIB);
	sl_hot_destroy(hot);
	sl_hot_destroy(like);
	close(fd);
}
