/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hash functions and the one hash table.  The table probes linearly and closes the gap of a deleted
 * entry by moving later ones back, so there are no tombstones and look-ups stay short for ever. One
 * owner, one thread per map.
 */
#include "sluice/base/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "sluice/base/assert.h"

/* Odd 64-bit constants without pattern: fractional bits of square roots of the first primes. */
#define MIX_A     0x6a09e667f3bcc909u
#define MIX_B     0xbb67ae8584caa73bu
#define MIX_C     0x3c6ef372fe94f82bu

#define SLOTS_MIN 8u
#define SLOTS_MAX (1u << 30) /* sl_map_next() must count twice that in 32 bits */

/* Keys of groups and topics come from clients, who must not be able to make them all collide. */
static uint64_t map_seed = MIX_C;

__attribute__((constructor)) static void hash_start(void)
{
	uint64_t seed;

	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) == (ssize_t)sizeof(seed))
		map_seed = seed;
}

static inline uint64_t mix(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

uint64_t sl_hash(const void *p, size_t len, uint64_t seed)
{
	const uint8_t *at = p;
	uint64_t h = mix(seed ^ MIX_A, MIX_B);
	size_t left = len;
	uint64_t a = 0;
	uint64_t b = 0;

	for (; left > 16; left -= 16, at += 16)
		h = mix(load64(at) ^ MIX_B, load64(at + 8) ^ h);
	/* The last 1..16 bytes; the two loads may overlap, @len tells such inputs apart. */
	if (left >= 8) {
		a = load64(at);
		b = load64(at + left - 8);
	} else if (left >= 4) {
		a = load32(at);
		b = load32(at + left - 4);
	} else if (left > 0) {
		a = (uint64_t)at[0] << 16 | (uint64_t)at[left / 2] << 8 | at[left - 1];
	}
	h = mix(a ^ MIX_B, b ^ h);
	return mix(h ^ MIX_C, len ^ MIX_A);
}

/*
 * Decodes the UTF-8 sequence at the beginning of @len bytes.  Returns its length and the code
 * point; a byte that begins no valid sequence is one U+FFFD.
 */
static int decode_utf8(const uint8_t *p, int32_t len, uint32_t *code)
{
	static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t c = p[0];
	int n = c < 0x80 ? 1 : c < 0xc0 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf8 ? 4 : 0;

	*code = 0xfffd;
	if (n == 0 || n > len)
		return 1;
	if (n > 1)
		c &= 0x7fu >> n;
	for (int i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 1;
		c = c << 6 | (p[i] & 0x3f);
	}
	/* RFC 3629: no longer form than needed, no surrogates, nothing above U+10FFFF. */
	if (c < smallest[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 1;
	*code = c;
	return n;
}

int32_t sl_java_hash(struct sl_str s)
{
	const uint8_t *p = (const uint8_t *)s.p;
	uint32_t hash = 0;
	uint32_t code;
	int32_t i = 0;

	while (i < s.len) {
		i += decode_utf8(p + i, s.len - i, &code);
		if (code >= 0x10000) {
			code -= 0x10000;
			hash = hash * 31 + (0xd800 | code >> 10);
			hash = hash * 31 + (0xdc00 | (code & 0x3ff));
		} else {
			hash = hash * 31 + code;
		}
	}
	return (int32_t)hash;
}

int32_t sl_java_partition(struct sl_str s, int32_t partitions_count)
{
	int32_t hash = sl_java_hash(s);

	SL_ASSERT(partitions_count > 0);
	if (hash == INT32_MIN)
		return 0;
	return (hash < 0 ? -hash : hash) % partitions_count;
}

void sl_map_seed(uint64_t seed)
{
	map_seed = seed;
}

void sl_map_fini(struct sl_map *map)
{
	free(map->slots);
	*map = (struct sl_map){0};
}

/* The slot of the key, or the free slot that ends its probe.  The table is never full. */
static uint32_t find_slot(const struct sl_map *map, const void *key, uint32_t key_len,
                          uint32_t hash)
{
	uint32_t mask = map->slots_count - 1;
	uint32_t i = hash & mask;

	for (;; i = (i + 1) & mask) {
		const struct sl_map_entry *e = &map->slots[i];

		if (!e->value)
			return i;
		if (e->hash == hash && e->key_len == key_len &&
		    (key_len == 0 || memcmp(e->key, key, key_len) == 0))
			return i;
	}
}

void *sl_map_get(const struct sl_map *map, const void *key, size_t key_len)
{
	uint32_t hash;

	if (map->count == 0 || key_len > UINT32_MAX)
		return NULL;
	hash = (uint32_t)sl_hash(key, key_len, map_seed);
	return map->slots[find_slot(map, key, (uint32_t)key_len, hash)].value;
}

static int grow(struct sl_map *map)
{
	struct sl_map bigger = {.count = map->count};

	if (map->slots_count >= SLOTS_MAX)
		return -ENOMEM;
	bigger.slots_count = map->slots_count ? map->slots_count * 2 : SLOTS_MIN;
	bigger.slots = calloc(bigger.slots_count, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < map->slots_count; i++) {
		const struct sl_map_entry *e = &map->slots[i];

		if (e->value)
			bigger.slots[find_slot(&bigger, e->key, e->key_len, e->hash)] = *e;
	}
	free(map->slots);
	*map = bigger;
	return 0;
}

int sl_map_put(struct sl_map *map, const void *key, size_t key_len, void *value)
{
	struct sl_map_entry *e;
	uint32_t hash;
	int err;

	SL_ASSERT(value != NULL);
	if (key_len > UINT32_MAX)
		return -EINVAL;
	if (sl_map_get(map, key, key_len))
		return -EEXIST;
	/* At most three quarters full: probes stay short and there is always a free slot. */
	if (map->count >= map->slots_count / 4 * 3) {
		err = grow(map);
		if (err)
			return err;
	}
	hash = (uint32_t)sl_hash(key, key_len, map_seed);
	e = &map->slots[find_slot(map, key, (uint32_t)key_len, hash)];
	*e = (struct sl_map_entry){key, (uint32_t)key_len, hash, value};
	map->count++;
	return 0;
}

void *sl_map_del(struct sl_map *map, const void *key, size_t key_len)
{
	uint32_t mask = map->slots_count - 1;
	uint32_t gap;
	void *value;

	if (map->count == 0 || key_len > UINT32_MAX)
		return NULL;
	gap = find_slot(map, key, (uint32_t)key_len, (uint32_t)sl_hash(key, key_len, map_seed));
	value = map->slots[gap].value;
	if (!value)
		return NULL;
	for (uint32_t i = (gap + 1) & mask; map->slots[i].value; i = (i + 1) & mask) {
		uint32_t home = map->slots[i].hash & mask;

		/* An entry may move to the gap unless that lies before its home slot. */
		if (((i - home) & mask) >= ((i - gap) & mask)) {
			map->slots[gap] = map->slots[i];
			gap = i;
		}
	}
	map->slots[gap] = (struct sl_map_entry){0};
	map->count--;
	return value;
}

/*
 * Goes through the slots downwards, because sl_map_del() moves entries only from higher slots to
 * the gap: what it moves was returned already.  The exception is a run of entries that goes on from
 * the last slot to slot 0, so the run at the top end is visited last, when everything it may pull
 * down was returned:
 *
 *     0 ............... f f+1 ... N-1        f: the highest free slot
 *     <---- first ------   <- second -
 *
 * *pos is 0 at the start; slot + 1 in the first part; N + 1 + slot in the second, where "slot" is
 * the one visited last.  The second part ends at the first free slot, which is still f: entries
 * below the gap do not move, and no deletion fills a free slot.  The first part needs no f either.
 */
void *sl_map_next(const struct sl_map *map, uint32_t *pos)
{
	uint32_t n = map->slots_count;
	uint32_t slot;

	if (n == 0)
		return NULL;
	if (*pos == 0) {
		for (slot = n - 1; map->slots[slot].value;)
			slot--;
		*pos = slot + 1;
	}
	if (*pos <= n) {
		for (slot = *pos - 1; slot > 0;) {
			if (!map->slots[--slot].value)
				continue;
			*pos = slot + 1;
			return map->slots[slot].value;
		}
		*pos = n + 1 + n;
	}
	slot = *pos - n - 1;
	if (slot == 0 || !map->slots[slot - 1].value)
		return NULL;
	*pos = n + slot;
	return map->slots[slot - 1].value;
}
