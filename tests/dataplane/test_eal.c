/* SPDX-License-Identifier: Apache-2.0 */
/* CPU lists of lane.cpus. */
#include "eal.h"

#include <criterion/criterion.h>
#include <errno.h>

Test(eal, reads_cpu_lists)
{
	uint8_t set[64];

	cr_assert_eq(eal_parse_cpus("3", set, 64), 1);
	cr_assert(set[3] && !set[2]);
	cr_assert_eq(eal_parse_cpus("2-5,8", set, 64), 5);
	cr_assert(set[2] && set[5] && set[8] && !set[6]);
	cr_assert_eq(eal_parse_cpus("1,1,1-1", set, 64), 1);
	cr_assert_eq(eal_parse_cpus("63", set, 64), 1);
	cr_assert_eq(eal_parse_cpus("", set, 64), 0);
}

Test(eal, refuses_what_is_no_cpu_list)
{
	static const char *const bad[] = {"x",
	                                  "1-",
	                                  "-1",
	                                  "5-2",
	                                  "1,,2",
	                                  "1,",
	                                  "64",
	                                  "1 2",
	                                  "1-2-3",
	                                  "+1",
	                                  "99999999999999999999"};
	uint8_t set[64];

	for (size_t i = 0; i < SL_ARRAY_SIZE(bad); i++)
		cr_expect_eq(eal_parse_cpus(bad[i], set, 64), -EINVAL, "\"%s\" was taken", bad[i]);
}
