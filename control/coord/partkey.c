/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of partitions.  Pure functions. */
#include "partkey.h"

#include "sluice/base/assert.h"
#include "sluice/wire/codec.h"

#define HEAD_BYTES sizeof(int32_t)

size_t partkey_bytes(struct sl_str topic)
{
	return HEAD_BYTES + (size_t)SL_MAX(topic.len, 0);
}

uint32_t partkey_make(uint8_t *key, struct sl_str topic, int32_t partition)
{
	SL_ASSERT(topic.len <= SL_WIRE_STRING_MAX);
	sl_store_be32(key, (uint32_t)partition);
	if (topic.len > 0)
		memcpy(key + HEAD_BYTES, topic.p, (size_t)topic.len);
	return (uint32_t)partkey_bytes(topic);
}

struct sl_str partkey_topic(const uint8_t *key, uint32_t key_len)
{
	SL_ASSERT(key_len >= HEAD_BYTES);
	return (struct sl_str){(const char *)key + HEAD_BYTES, (int32_t)(key_len - HEAD_BYTES)};
}

void *partkey_find(const struct sl_map *map, struct sl_str topic, int32_t partition)
{
	uint8_t key[HEAD_BYTES + SL_WIRE_STRING_MAX];

	return sl_map_get(map, key, partkey_make(key, topic, partition));
}
