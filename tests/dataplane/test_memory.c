/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory there is, from files of the test's own. */
#include <stdio.h>
#include <sys/stat.h>

#include <criterion/criterion.h>

#include "host/memory.h"
#include "rig.h"

#include "sluice/base/file.h"

Test(memory, reads_fields_of_meminfo)
{
	static const char text[] = "MemTotal:       24684384 kB\n"
				   "MemFree:        21458612 kB\n"
				   "MemAvailable:   23776384 kB\n"
				   "HugePages_Total:       0\n";

	cr_expect_eq(memory_field(text, "MemTotal"), UINT64_C(24684384) * 1024);
	cr_expect_eq(memory_field(text, "MemAvailable"), UINT64_C(23776384) * 1024);
	cr_expect_eq(memory_field(text, "Mem"), 0);
	cr_expect_eq(memory_field(text, "Total"), 0, "it is in the middle of a name");
	cr_expect_eq(memory_field("", "MemTotal"), 0);
}

static void put_limit(const char *root, const char *path, const char *limit)
{
	char name[160];

	snprintf(name, sizeof(name), "%s%s", root, path);
	cr_assert_eq(sl_mkdir_p(name, 0700), 0);
	snprintf(name, sizeof(name), "%s%s/memory.max", root, path);
	cr_assert_eq(sl_file_write_atomic(name, limit, strlen(limit)), 0);
}

Test(memory, the_smallest_limit_of_a_cgroup_and_those_above_it_counts)
{
	char root[64];

	rig_root(root);
	put_limit(root, "/a", "1000000\n");
	put_limit(root, "/a/b", "max\n");
	put_limit(root, "/a/b/c", "3000000\n");
	cr_expect_eq(memory_cgroup_limit(root, "/a/b/c"), 1000000);
	put_limit(root, "/a", "max\n");
	cr_expect_eq(memory_cgroup_limit(root, "/a/b/c"), 3000000);
	cr_expect_eq(memory_cgroup_limit(root, "/a/b"), MEMORY_NO_LIMIT);
	/* The root of the hierarchy has no such file, but that of a container may. */
	cr_expect_eq(memory_cgroup_limit(root, "/"), MEMORY_NO_LIMIT);
	put_limit(root, "", "500000\n");
	cr_expect_eq(memory_cgroup_limit(root, "/a/b"), 500000);
	cr_expect_eq(memory_cgroup_limit(root, "/"), 500000);
	rig_root_remove(root);
}

Test(memory, of_this_machine_is_known)
{
	struct memory m;

	memory_read(&m);
	cr_expect_gt(m.total_bytes, 0);
	cr_expect_leq(m.available_bytes, m.total_bytes);
}
