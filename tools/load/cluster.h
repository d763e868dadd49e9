/* SPDX-License-Identifier: Apache-2.0 */
/* Where the partitions of the topic are served, asked of the brokers by the main thread. */
#ifndef LOAD_CLUSTER_H
#define LOAD_CLUSTER_H

#include "client.h"
#include "options.h"

struct cluster_node {
	int32_t id;
	struct sockaddr_storage addr;
	socklen_t addr_bytes;
};

struct cluster_partition {
	int32_t node;     /* index of the leader in nodes, -1: none at present */
	int64_t earliest; /* first offset, when asked for; else -1 */
	int64_t latest;   /* end offset, likewise */
};

/* Zeroed memory is a valid empty one. */
struct cluster {
	struct cluster_node *nodes; /* Owned */
	int32_t nodes_count;
	struct cluster_partition *partitions; /* Owned */
	int32_t partitions_count;
	struct client_versions versions; /* what all the leaders know */
};

void cluster_fini(struct cluster *c);
/* Takes over what is in @from, which is empty afterwards. */
void cluster_move(struct cluster *to, struct cluster *from);

/**
 * cluster_load() - ask for brokers and leaders, and for offsets where the mode reads
 * @c: replaced on success; its nodes are asked too when the bootstrap broker does not answer
 * @o: the topic is created when it is absent and @may_create
 * @wrong: on failure one line that says what, @wrong_bytes
 *
 * Context: blocks, for a bounded time.
 * Return: 0; -EAGAIN no answer, no leader: may be better later; -EIO the broker refuses; -ENOMEM.
 */
int cluster_load(struct cluster *c, const struct options *o, bool may_create, char *wrong,
                 size_t wrong_bytes) SL_MUST_CHECK;

struct cluster_producer {
	int64_t id;
	int16_t epoch;
};
/* Asks for @count producer ids.  Return: as cluster_load(). */
int cluster_producers(const struct cluster *c, struct cluster_producer *out, int count, char *wrong,
                      size_t wrong_bytes) SL_MUST_CHECK;

#endif
