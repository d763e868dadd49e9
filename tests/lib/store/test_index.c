/* SPDX-License-Identifier: Apache-2.0 */
/* The index arrays alone: order, search, file format. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "index.h"
#include "simfs.h"

Test(index, finds_the_entry_below)
{
	struct index index = {0};
	uint32_t relative = 0;
	uint32_t pos = 0;

	cr_assert(!index_offset_below(&index, 5, &relative, &pos));
	cr_assert(!index_offset_last(&index, &relative, &pos));
	for (uint32_t i = 0; i < 1000; i++)
		cr_assert_eq(index_offset_append(&index, 10 + i * 3, 100 + i * 7), 0);
	cr_assert_eq(index_offset_append(&index, 10 + 999 * 3, 100000), -EINVAL);
	cr_assert_eq(index_offset_append(&index, 100000, 100 + 999 * 7), -EINVAL);
	cr_assert(!index_offset_below(&index, 10, &relative, &pos));
	for (uint32_t at = 11; at < 3100; at++) {
		uint32_t expect = SL_MIN((at - 11) / 3, 999u);

		cr_assert(index_offset_below(&index, at, &relative, &pos));
		cr_assert_eq(relative, 10 + expect * 3);
		cr_assert_eq(pos, 100 + expect * 7);
	}
	index_fini(&index);
}

Test(index, files_are_big_endian_pairs)
{
	static const uint8_t expect[] = {0, 0, 0, 5, 0, 0, 1, 0, 0, 0, 0, 9, 0, 1, 0, 0};
	struct simfs *fs = simfs_create();
	struct sl_files files = simfs_files(fs);
	struct index index = {0};
	struct index again = {0};
	size_t len = 0;

	cr_assert_eq(index_offset_append(&index, 5, 256), 0);
	cr_assert_eq(index_offset_append(&index, 9, 65536), 0);
	cr_assert_eq(index_offset_store(&index, &files, AT_FDCWD, "i"), 0);
	cr_assert_eq(memcmp(simfs_data(fs, "i", &len), expect, sizeof(expect)), 0);
	cr_assert_eq(len, sizeof(expect));
	/* Entries must lie inside of the segment they are loaded for. */
	cr_assert_eq(index_offset_load(&again, &files, AT_FDCWD, "i", 65536, 10), -EBADMSG);
	cr_assert_eq(index_offset_load(&again, &files, AT_FDCWD, "i", 65537, 9), -EBADMSG);
	cr_assert_eq(index_offset_load(&again, &files, AT_FDCWD, "i", 65537, 10), 0);
	cr_assert_eq(again.count, 2);
	/* A loaded index goes on growing. */
	for (uint32_t i = 10; i < 40; i++)
		cr_assert_eq(index_offset_append(&again, i, 65536 + i), 0);
	index_fini(&index);
	index_fini(&again);
	simfs_destroy(fs);
}

static struct index rising(uint32_t count)
{
	struct index index = {0};

	for (uint32_t i = 1; i <= count; i++)
		cr_assert_eq(index_offset_append(&index, i, 100 * i), 0);
	return index;
}

/* A file that is up to date but for its end is not written anew. */
Test(index, a_file_grows_by_what_it_does_not_have)
{
	struct simfs *fs = simfs_create();
	struct sl_files files = simfs_files(fs);
	struct index index = rising(10);
	size_t len = 0;

	cr_assert_eq(index_offset_store(&index, &files, AT_FDCWD, "i"), 0);
	/* What only a file written anew would lose. */
	simfs_data(fs, "i", &len)[0] = 77;
	cr_assert_eq(index_offset_append(&index, 11, 1100), 0);
	cr_assert_eq(index_offset_store(&index, &files, AT_FDCWD, "i"), 0);
	cr_assert_eq(simfs_data(fs, "i", &len)[0], 77);
	cr_assert_eq(len, 11 * INDEX_OFFSET_ENTRY_BYTES);
	cr_assert_eq(memcmp(simfs_data(fs, "i", &len) + 80, index.p + 80, 8), 0);
	/* Behind a cut there would be old entries. */
	index_offset_cut(&index, 700);
	cr_assert_eq(index_offset_append(&index, 50, 5000), 0);
	cr_assert_eq(index_offset_store(&index, &files, AT_FDCWD, "i"), 0);
	cr_assert_eq(memcmp(simfs_data(fs, "i", &len), index.p, 56), 0);
	cr_assert_eq(len, 7 * INDEX_OFFSET_ENTRY_BYTES);
	/* One that is gone, or could not be written, has nothing. */
	simfs_remove(fs, "i");
	cr_assert_eq(index_offset_append(&index, 51, 5001), 0);
	cr_assert_eq(index_offset_store(&index, &files, AT_FDCWD, "i"), 0);
	simfs_fail(fs, SIMFS_PWRITE, 1, -EIO, 3, false);
	cr_assert_eq(index_offset_append(&index, 52, 5002), 0);
	cr_assert_eq(index_offset_store(&index, &files, AT_FDCWD, "i"), -EIO);
	cr_assert_eq(index_offset_store(&index, &files, AT_FDCWD, "i"), 0);
	cr_assert_eq(memcmp(simfs_data(fs, "i", &len), index.p, 72), 0);
	cr_assert_eq(len, 9 * INDEX_OFFSET_ENTRY_BYTES);
	index_fini(&index);
	simfs_destroy(fs);
}

Test(index, of_a_file_with_a_bad_end_the_begin_is_taken)
{
	struct simfs *fs = simfs_create();
	struct sl_files files = simfs_files(fs);
	struct index index = rising(10);
	uint8_t file[80];

	memcpy(file, index.p, sizeof(file));
	index_fini(&index);
	for (size_t good = 0; good <= sizeof(file); good++) {
		uint8_t torn[sizeof(file)] = {0};

		memcpy(torn, file, good);
		simfs_set_data(fs, "i", torn, sizeof(torn));
		cr_assert_eq(index_offset_load_begin(&index, &files, AT_FDCWD, "i"), 0);
		/* Without the last one: it may be half of itself, and rise all the same. */
		cr_assert_leq(index.count, good / 8);
		cr_assert_geq(index.count + 2, good / 8);
		cr_assert_eq(index.is_stored, good == sizeof(file));
		cr_assert_eq(memcmp(index.p, file, (size_t)index.count * 8), 0);
		index_fini(&index);
		simfs_set_data(fs, "i", torn, good);
		cr_assert_eq(index_offset_load_begin(&index, &files, AT_FDCWD, "i"), 0);
		cr_assert_eq(index.is_stored, good % 8 == 0);
		cr_assert_leq(index.count, good / 8);
		index_fini(&index);
	}
	simfs_destroy(fs);
}

Test(index, time_entries_rise_in_both)
{
	struct simfs *fs = simfs_create();
	struct sl_files files = simfs_files(fs);
	struct index index = {0};
	struct index again = {0};
	uint32_t relative = 0;
	int64_t time_ms = 0;
	size_t len = 0;

	cr_assert_eq(index_time_append(&index, 1000, 3), 0);
	cr_assert_eq(index_time_append(&index, 1000, 4), -EINVAL);
	cr_assert_eq(index_time_append(&index, 1001, 3), -EINVAL);
	cr_assert_eq(index_time_append(&index, 2000, 8), 0);
	cr_assert(!index_time_below(&index, 1000, &relative));
	cr_assert(index_time_below(&index, 2000, &relative));
	cr_assert_eq(relative, 3);
	cr_assert(index_time_below(&index, 2001, &relative));
	cr_assert_eq(relative, 8);
	cr_assert_eq(index_time_store(&index, &files, AT_FDCWD, "t"), 0);
	simfs_data(fs, "t", &len);
	cr_assert_eq(len, 24);
	cr_assert_eq(index_time_load(&again, &files, AT_FDCWD, "t", 8), -EBADMSG);
	cr_assert_eq(index_time_load(&again, &files, AT_FDCWD, "t", 9), 0);
	cr_assert(index_time_last(&again, &time_ms, &relative));
	cr_assert_eq(time_ms, 2000);
	cr_assert_eq(relative, 8);
	index_fini(&index);
	index_fini(&again);
	simfs_destroy(fs);
}
