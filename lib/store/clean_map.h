/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a record's key to the last offset that has it, for as many keys as a fixed piece of memory
 * holds.  A key is known by 128 bits of a keyed hash: two keys that share them would be taken for
 * one, and nobody outside can look for such a pair.
 */
#ifndef STORE_CLEAN_MAP_H
#define STORE_CLEAN_MAP_H

#include "sluice/base/base.h"

struct clean_map_entry {
	uint64_t hash[2];
	uint64_t offset_plus; /* offset + 1; 0: free */
};

/* Legal states: zeroed: none; slots_count > count else. */
struct clean_map {
	struct clean_map_entry *slots; /* Owned; touched lazily */
	uint64_t slots_count;
	uint64_t count;
	uint64_t count_max; /* nine tenths of the slots, as Kafka's load factor */
	uint64_t key[2];    /* of the hash; random */
};

/* Return: 0; -EINVAL @bytes is too little for anything; -ENOMEM. */
int clean_map_init(struct clean_map *map, uint64_t bytes) SL_MUST_CHECK;
void clean_map_fini(struct clean_map *map);
/* Forgets everything and gives the memory back to the system. */
void clean_map_clear(struct clean_map *map);
/* Offsets of a key only rise.  Return: false when there is no room for a new key. */
bool clean_map_put(struct clean_map *map, struct sl_bytes key, int64_t offset) SL_MUST_CHECK;
/* -1: not there. */
int64_t clean_map_get(const struct clean_map *map, struct sl_bytes key);

/* SipHash-2-4 with 128 bits of output (Aumasson, Bernstein).  For tests, too. */
void clean_map_hash(const uint64_t key[2], const void *p, size_t len, uint64_t out[2]);

#endif
