/* SPDX-License-Identifier: Apache-2.0 */
/* Hash functions and one hash table. */
#ifndef SLUICE_BASE_HASH_H
#define SLUICE_BASE_HASH_H

#include "sluice/base/base.h"

/* 64-bit hash of bytes (wyhash-like mixing; not for hostile keys without a secret seed). */
uint64_t sl_hash(const void *p, size_t len, uint64_t seed);
/* Java's String.hashCode() of UTF-8 text: over UTF-16 code units.  Kafka places groups by it.  A
 * byte that is no part of a valid sequence counts as U+FFFD. */
int32_t sl_java_hash(struct sl_str s);
/* Kafka's Utils.abs(hash) % n, where abs(INT32_MIN) is 0.  @partitions_count > 0. */
int32_t sl_java_partition(struct sl_str s, int32_t partitions_count);

/*
 * Map from byte strings to pointers; open addressing, grows by malloc.  Keys are borrowed: the
 * value normally contains the key.  Zeroed memory is a valid empty map.
 */
struct sl_map_entry {
	const void *key;
	uint32_t key_len;
	uint32_t hash;
	void *value; /* NULL: free slot */
};
struct sl_map {
	struct sl_map_entry *slots;
	uint32_t slots_count; /* 0 or a power of two */
	uint32_t count;
};

/* Makes map order repeatable (simulations, replays): replaces the random seed of this process,
 * which defends maps against keys chosen to collide.  Call it before the first sl_map_put(). */
void sl_map_seed(uint64_t seed);
void sl_map_fini(struct sl_map *map);
void *sl_map_get(const struct sl_map *map, const void *key, size_t key_len);
/* @value: not NULL.  Return: 0; -EEXIST the key is there; -EINVAL @key_len above 4 GiB; -ENOMEM. */
int sl_map_put(struct sl_map *map, const void *key, size_t key_len, void *value) SL_MUST_CHECK;
/* Removes and returns the value; NULL if absent. */
void *sl_map_del(struct sl_map *map, const void *key, size_t key_len);
/* Iterates in no useful order: start with *pos = 0; NULL at the end.  The map must not change,
 * except for deleting the entry just returned through sl_map_del(). */
void *sl_map_next(const struct sl_map *map, uint32_t *pos);

#endif
