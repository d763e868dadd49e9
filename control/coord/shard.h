/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients are told about a partition of the topic that a coordinator keeps its state on: where
 * it stands, and what its log answered.
 */
#ifndef CONTROL_COORD_SHARD_H
#define CONTROL_COORD_SHARD_H

#include "sluice/wire/kerr.h"

enum shard_state {
	SHARD_ABSENT = 0, /* not served here */
	SHARD_LOADING,    /* batches are being replayed */
	SHARD_ACTIVE,     /* served */
	SHARD_FAILED, /* a record of a known kind could not be read: refused until it is reloaded */
};

/* NONE when requests for what the partition holds can be served. */
enum sl_kerr shard_error(enum shard_state state);
/* Kafka's translation of append errors for clients of a coordinator. */
enum sl_kerr shard_append_error(enum sl_kerr kerr);

#endif
