/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every other message: responses as a client of ours reads them, and records as they come from
 * disk. Input: which message, which version, then its bytes.
 */
#include <stdlib.h>

#include "fill_gen.h"
#include "sluice/base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ARENA_BYTES (1u << 20)

/* FNV-1a, folded to 16 bits. */
static uint16_t name_hash(const char *name)
{
	uint32_t h = UINT32_C(0x811c9dc5);

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * UINT32_C(0x01000193);
	return (uint16_t)(h >> 16 ^ h);
}

/* Inputs that the fuzzer makes up hit some message as well. */
static const struct fill_message *choose(uint16_t hash)
{
	for (size_t i = 0; i < FILL_MESSAGES_COUNT; i++) {
		if (name_hash(fill_messages[i]->name) == hash)
			return fill_messages[i];
	}
	return fill_messages[hash % FILL_MESSAGES_COUNT];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t memory[2][ARENA_BYTES];
	struct sl_arena arena;
	struct sl_buf b;

	if (size < 3)
		return 0;

	const struct fill_message *f = choose(sl_load_be16(data));
	int16_t version = (int16_t)(f->min + data[2] % (f->max - f->min + 1));
	struct sl_cursor c = sl_cursor_from(data + 3, size - 3);
	void *m = calloc(1, f->size);
	void *again = calloc(1, f->size);

	SL_ASSERT(m && again);
	sl_buf_init_grow(&b, 64u << 20);
	sl_arena_init(&arena, memory[0], ARENA_BYTES);
	if (f->decode(m, &c, &arena, version) == 0) {
		f->encode(m, &b, version);
		SL_ASSERT(sl_buf_ok(&b));
		c = sl_cursor_from(b.p, b.len);
		sl_arena_init(&arena, memory[1], ARENA_BYTES);
		SL_ASSERT(f->decode(again, &c, &arena, version) == 0);
		SL_ASSERT(sl_cursor_is_done(&c));
		SL_ASSERT(f->same(m, again));
	}
	sl_buf_fini(&b);
	free(again);
	free(m);
	return 0;
}
