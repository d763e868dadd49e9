/* SPDX-License-Identifier: Apache-2.0 */
/* The macros of base.h that could surprise. */
#include "sluice/base/base.h"

#include <criterion/criterion.h>

static int calls;

static int next(void)
{
	return ++calls;
}

Test(base, min_and_max_evaluate_their_arguments_once)
{
	cr_assert_eq(SL_MIN(next(), 100), 1);
	cr_assert_eq(calls, 1);
	cr_assert_eq(SL_MAX(next(), 0), 2);
	cr_assert_eq(calls, 2);
}

Test(base, min_and_max_nest)
{
	cr_assert_eq(SL_MIN(SL_MAX(1, 5), SL_MIN(9, 7)), 5);
	cr_assert_eq(SL_MAX(SL_MIN(1, 5), SL_MIN(9, 7)), 7);
}
