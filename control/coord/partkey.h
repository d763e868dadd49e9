/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A topic's partition as the key of a map: the number, big-endian, then the name.
 *
 * Who is in such a map ends with its key, and has room made for partkey_bytes() of it.
 */
#ifndef CONTROL_COORD_PARTKEY_H
#define CONTROL_COORD_PARTKEY_H

#include "sluice/base/base.h"
#include "sluice/base/hash.h"

/* A null name counts as an empty one. */
size_t partkey_bytes(struct sl_str topic);
/* Return: the key's length, partkey_bytes(). */
uint32_t partkey_make(uint8_t *key, struct sl_str topic, int32_t partition);
/* The name in a key; borrows it. */
struct sl_str partkey_topic(const uint8_t *key, uint32_t key_len);
/* What lies in @map under the partition's key; NULL nothing. */
void *partkey_find(const struct sl_map *map, struct sl_str topic, int32_t partition);

#endif
