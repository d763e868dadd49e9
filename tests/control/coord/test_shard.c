/* SPDX-License-Identifier: Apache-2.0 */
/* What clients of a coordinator are told. */
#include <criterion/criterion.h>

#include "shard.h"

Test(shard, only_an_active_partition_is_served)
{
	cr_assert_eq(shard_error(SHARD_ACTIVE), SL_KERR_NONE);
	cr_assert_eq(shard_error(SHARD_ABSENT), SL_KERR_NOT_COORDINATOR);
	cr_assert_eq(shard_error(SHARD_LOADING), SL_KERR_COORDINATOR_LOAD_IN_PROGRESS);
	cr_assert_eq(shard_error(SHARD_FAILED), SL_KERR_COORDINATOR_NOT_AVAILABLE);
}

/* Kafka's GroupMetadataManager and TransactionStateManager. */
Test(shard, append_errors_become_those_that_clients_of_coordinators_know)
{
	static const struct {
		enum sl_kerr from, to;
	} rows[] = {
		{SL_KERR_NONE, SL_KERR_NONE},
		{SL_KERR_UNKNOWN_TOPIC_OR_PARTITION, SL_KERR_COORDINATOR_NOT_AVAILABLE},
		{SL_KERR_NOT_ENOUGH_REPLICAS, SL_KERR_COORDINATOR_NOT_AVAILABLE},
		{SL_KERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, SL_KERR_COORDINATOR_NOT_AVAILABLE},
		{SL_KERR_REQUEST_TIMED_OUT, SL_KERR_COORDINATOR_NOT_AVAILABLE},
		{SL_KERR_NOT_LEADER_OR_FOLLOWER, SL_KERR_NOT_COORDINATOR},
		{SL_KERR_KAFKA_STORAGE_ERROR, SL_KERR_NOT_COORDINATOR},
		{SL_KERR_MESSAGE_TOO_LARGE, SL_KERR_UNKNOWN_SERVER_ERROR},
		{SL_KERR_RECORD_LIST_TOO_LARGE, SL_KERR_UNKNOWN_SERVER_ERROR},
		{SL_KERR_INVALID_FETCH_SIZE, SL_KERR_UNKNOWN_SERVER_ERROR},
		{SL_KERR_COORDINATOR_NOT_AVAILABLE, SL_KERR_COORDINATOR_NOT_AVAILABLE},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++)
		cr_assert_eq(shard_append_error(rows[i].from), rows[i].to, "row %zu", i);
}
