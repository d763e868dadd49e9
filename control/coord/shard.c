/* SPDX-License-Identifier: Apache-2.0 */
/* Errors for clients of a coordinator.  Pure functions. */
#include "shard.h"

enum sl_kerr shard_error(enum shard_state state)
{
	switch (state) {
	case SHARD_ACTIVE:
		return SL_KERR_NONE;
	case SHARD_LOADING:
		return SL_KERR_COORDINATOR_LOAD_IN_PROGRESS;
	case SHARD_FAILED:
		return SL_KERR_COORDINATOR_NOT_AVAILABLE;
	case SHARD_ABSENT:
		break;
	}
	return SL_KERR_NOT_COORDINATOR;
}

enum sl_kerr shard_append_error(enum sl_kerr kerr)
{
	switch (kerr) {
	case SL_KERR_UNKNOWN_TOPIC_OR_PARTITION:
	case SL_KERR_NOT_ENOUGH_REPLICAS:
	case SL_KERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
	case SL_KERR_REQUEST_TIMED_OUT:
		return SL_KERR_COORDINATOR_NOT_AVAILABLE;
	case SL_KERR_NOT_LEADER_OR_FOLLOWER:
	case SL_KERR_KAFKA_STORAGE_ERROR:
		return SL_KERR_NOT_COORDINATOR;
	case SL_KERR_MESSAGE_TOO_LARGE:
	case SL_KERR_RECORD_LIST_TOO_LARGE:
	case SL_KERR_INVALID_FETCH_SIZE:
		return SL_KERR_UNKNOWN_SERVER_ERROR;
	default:
		return kerr;
	}
}
