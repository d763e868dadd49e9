/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A frame from a client, without its size: header, then the body by the API table.
 * What decodes must encode, and come back as the same struct.
 */
#include <stdlib.h>

#include "fill_gen.h"
#include "sluice/base/assert.h"
#include "sluice/wire/apis.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ARENA_BYTES (1u << 20)

/* The test table's row of an API's request. */
static const struct fill_message *row_of(const struct sl_api *api)
{
	static const struct fill_message *rows[SL_API_COUNT];
	size_t n = 0;

	/* Both tables are in order of the keys; the test table has the responses too. */
	for (size_t i = 0; !rows[SL_API_COUNT - 1] && i < FILL_MESSAGES_COUNT; i++) {
		if (strstr(fill_messages[i]->name, "_req") && n < SL_API_COUNT &&
		    !strstr(fill_messages[i]->name, "header"))
			rows[n++] = fill_messages[i];
	}
	return rows[api - sl_api_table];
}

static void check_same(const struct sl_api *api, const void *m, int16_t version)
{
	static uint8_t memory[ARENA_BYTES];
	const struct fill_message *row = row_of(api);
	struct sl_arena arena;
	struct sl_buf b;
	void *again = calloc(1, row->size);

	SL_ASSERT(again && row->size == api->req_bytes);
	sl_buf_init_grow(&b, 64u << 20);
	row->encode(m, &b, version);
	SL_ASSERT(sl_buf_ok(&b));

	struct sl_cursor c = sl_cursor_from(b.p, b.len);

	sl_arena_init(&arena, memory, sizeof(memory));
	SL_ASSERT(row->decode(again, &c, &arena, version) == 0);
	SL_ASSERT(sl_cursor_is_done(&c));
	SL_ASSERT(row->same(m, again));
	sl_buf_fini(&b);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t memory[ARENA_BYTES];
	struct sl_cursor c = sl_cursor_from(data, size);
	struct sl_request_head head;
	struct sl_arena arena;

	if (sl_request_head_decode(&head, &c) != 0)
		return 0;

	const struct sl_api *api = sl_api_find(head.api_key);

	SL_ASSERT(api);
	if (!sl_api_serves(api, head.api_version))
		return 0;

	void *m = calloc(1, api->req_bytes);

	SL_ASSERT(m);
	sl_arena_init(&arena, memory, sizeof(memory));
	if (api->req_decode(m, &c, &arena, head.api_version) == 0)
		check_same(api, m, head.api_version);
	free(m);
	return 0;
}
