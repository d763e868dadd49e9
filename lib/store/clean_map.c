/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cleaner's map of keys: open addressing with linear probing in one mapping that the system
 * gets back between cleanings.  One thread.
 */
#include "clean_map.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "sluice/base/assert.h"

#define LOAD_NUM    9u
#define LOAD_DEN    10u
#define COUNT_LEAST 16u

static uint64_t rotate(uint64_t v, unsigned bits)
{
	return v << bits | v >> (64 - bits);
}

static void rounds(uint64_t v[4], unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		v[0] += v[1];
		v[1] = rotate(v[1], 13) ^ v[0];
		v[0] = rotate(v[0], 32);
		v[2] += v[3];
		v[3] = rotate(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = rotate(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = rotate(v[1], 17) ^ v[2];
		v[2] = rotate(v[2], 32);
	}
}

void clean_map_hash(const uint64_t key[2], const void *p, size_t len, uint64_t out[2])
{
	uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du ^ 0xee,
	                 key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u};
	const uint8_t *at = p;
	uint64_t word;

	for (size_t left = len; left >= sizeof(word); left -= sizeof(word), at += sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		v[3] ^= word;
		rounds(v, 2);
		v[0] ^= word;
	}
	word = (uint64_t)len << 56;
	for (size_t i = 0; i < len % sizeof(word); i++)
		word |= (uint64_t)at[i] << 8 * i;
	v[3] ^= word;
	rounds(v, 2);
	v[0] ^= word;
	v[2] ^= 0xee;
	rounds(v, 4);
	out[0] = v[0] ^ v[1] ^ v[2] ^ v[3];
	v[1] ^= 0xdd;
	rounds(v, 4);
	out[1] = v[0] ^ v[1] ^ v[2] ^ v[3];
}

int clean_map_init(struct clean_map *map, uint64_t bytes)
{
	uint64_t slots_count = bytes / sizeof(struct clean_map_entry);
	void *p;

	if (slots_count < COUNT_LEAST)
		return -EINVAL;
	*map = (struct clean_map){
		.slots_count = slots_count,
		.count_max = slots_count / LOAD_DEN * LOAD_NUM +
	                     slots_count % LOAD_DEN * LOAD_NUM / LOAD_DEN,
	};
	if (getrandom(map->key, sizeof(map->key), 0) != (ssize_t)sizeof(map->key))
		return -EIO;
	p = mmap(NULL, slots_count * sizeof(struct clean_map_entry), PROT_READ | PROT_WRITE,
	         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	map->slots = p;
	return 0;
}

void clean_map_fini(struct clean_map *map)
{
	if (map->slots)
		munmap(map->slots, map->slots_count * sizeof(struct clean_map_entry));
	*map = (struct clean_map){0};
}

void clean_map_clear(struct clean_map *map)
{
	const size_t bytes = map->slots_count * sizeof(struct clean_map_entry);

	map->count = 0;
	/* Private anonymous memory reads as zeros afterwards. */
	SL_ASSERT(madvise(map->slots, bytes, MADV_DONTNEED) == 0);
}

/* The entry of that hash, or the free one where it would go. */
static struct clean_map_entry *find(const struct clean_map *map, const uint64_t hash[2])
{
	uint64_t slot = (uint64_t)((unsigned __int128)hash[0] * map->slots_count >> 64);
	struct clean_map_entry *e = &map->slots[slot];

	while (e->offset_plus && (e->hash[0] != hash[0] || e->hash[1] != hash[1])) {
		slot = slot + 1 == map->slots_count ? 0 : slot + 1;
		e = &map->slots[slot];
	}
	return e;
}

bool clean_map_put(struct clean_map *map, struct sl_bytes key, int64_t offset)
{
	struct clean_map_entry *e;
	uint64_t hash[2];

	SL_ASSERT(key.len >= 0 && offset >= 0 && offset < INT64_MAX);
	clean_map_hash(map->key, key.p, (size_t)key.len, hash);
	e = find(map, hash);
	if (!e->offset_plus) {
		if (map->count >= map->count_max)
			return false;
		map->count++;
		e->hash[0] = hash[0];
		e->hash[1] = hash[1];
	}
	SL_ASSERT(e->offset_plus <= (uint64_t)offset + 1);
	e->offset_plus = (uint64_t)offset + 1;
	return true;
}

int64_t clean_map_get(const struct clean_map *map, struct sl_bytes key)
{
	uint64_t hash[2];

	SL_ASSERT(key.len >= 0);
	clean_map_hash(map->key, key.p, (size_t)key.len, hash);
	return (int64_t)find(map, hash)->offset_plus - 1;
}
