/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contents for messages: random from a seed that a failing test prints, or a function of each
 * field's path, so that another program can make the same message and a field at the wrong place
 * shows.
 */
#ifndef TESTS_WIRE_RND_H
#define TESTS_WIRE_RND_H

#include "sluice/wire/codec.h"

struct rnd {
	uint64_t state;
	bool by_name; /* nothing is null or empty, and rnd_field() sets the state */
};

/* splitmix64. */
uint64_t rnd(struct rnd *r);
/* By name: the state becomes FNV-1a of @path, which has no underscores. */
void rnd_field(struct rnd *r, const char *path);
bool rnd_bool(struct rnd *r);
/* Is a nullable struct there? */
bool rnd_present(struct rnd *r);
/* 0-3, seldom up to 200 so that compact lengths of two bytes occur; sometimes -1 if @nullable.
 * By name: 1-2. */
int32_t rnd_count(struct rnd *r, bool nullable);
void *rnd_array(struct sl_arena *arena, int32_t count, size_t elem_size);
struct sl_str rnd_str(struct rnd *r, struct sl_arena *arena, bool nullable);
struct sl_bytes rnd_bytes(struct rnd *r, struct sl_arena *arena, bool nullable);
struct sl_records rnd_records(struct rnd *r, struct sl_arena *arena, bool nullable);
struct sl_uuid rnd_uuid(struct rnd *r);

bool same_bytes(const void *a, int32_t a_len, const void *b, int32_t b_len);
/* Prints the name of the field that differs.  Return: false. */
bool differs(const char *field);

#endif
