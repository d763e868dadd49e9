/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "errors.h"
#include "plan.h"
#include "sluice/wire/kerr.h"

static int64_t shares[8];

Test(plan, every_leader_gets_a_connection)
{
	int32_t parts[] = {1, 1, 0, 5};

	cr_assert_eq(plan_shares(parts, 4, 1, false, shares), 3);
	cr_assert(shares[0] == 1 && shares[1] == 1 && shares[2] == 0 && shares[3] == 1);
}

Test(plan, connections_follow_partitions)
{
	int32_t parts[] = {2, 6};

	cr_assert_eq(plan_shares(parts, 2, 8, false, shares), 8);
	cr_assert(shares[0] == 2 && shares[1] == 6);
	cr_assert_eq(plan_shares(parts, 2, 16, false, shares), 16);
	cr_assert(shares[0] == 4 && shares[1] == 12);
}

Test(plan, readers_have_no_more_connections_than_partitions)
{
	int32_t parts[] = {2, 3};

	cr_assert_eq(plan_shares(parts, 2, 100, true, shares), 5);
	cr_assert(shares[0] == 2 && shares[1] == 3);
}

Test(errors, what_heals_is_retriable_and_what_does_not_is_not)
{
	cr_assert(errors_is_retriable(SL_KERR_NOT_LEADER_OR_FOLLOWER));
	cr_assert(errors_is_retriable(SL_KERR_LEADER_NOT_AVAILABLE));
	cr_assert(errors_is_retriable(SL_KERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND));
	cr_assert_not(errors_is_retriable(SL_KERR_NONE));
	cr_assert_not(errors_is_retriable(SL_KERR_UNKNOWN_SERVER_ERROR));
	cr_assert_not(errors_is_retriable(SL_KERR_MESSAGE_TOO_LARGE));
	cr_assert_not(errors_is_retriable(SL_KERR_TOPIC_AUTHORIZATION_FAILED));
	cr_assert_not(errors_is_retriable(SL_KERR_OUT_OF_ORDER_SEQUENCE_NUMBER));
}
