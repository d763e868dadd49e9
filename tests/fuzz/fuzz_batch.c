/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A produced record set.  Input: a byte of flags, then the record set.  Its length and CRC are made
 * right unless a flag says not to, or the fuzzer would hardly get beyond them.  What validates must
 * be readable record by record, and must stay valid when its times are stamped.
 */
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/crc32c.h"
#include "sluice/wire/batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FLAG_COMPACTED   0x01
#define FLAG_APPEND_TIME 0x02
#define FLAG_INTERNAL    0x04
#define FLAG_AS_IS       0x08

#define NOW              INT64_C(1700000000000)
#define ARENA_BYTES      (8u << 20)

static struct sl_codec_ctx *shared_ctx(void)
{
	static const struct sl_codec_opts opts = {.block_bytes_max = 1u << 20,
	                                          .out_bytes_max = 4u << 20};
	static struct sl_codec_ctx *ctx;

	if (!ctx)
		SL_ASSERT(sl_codec_ctx_create(&ctx, &opts) == 0);
	return ctx;
}

static void check_readable(const uint8_t *p, const struct sl_batch_info *info)
{
	static uint8_t memory[ARENA_BYTES];
	struct sl_arena arena;
	struct sl_record_iter it;
	struct sl_record rec;
	int32_t count = 0;
	int got;

	sl_arena_init(&arena, memory, sizeof(memory));
	SL_ASSERT(sl_record_iter_init(&it, p, &info->head, shared_ctx(), &arena) == 0);
	while ((got = sl_record_iter_next(&it, &rec)) > 0) {
		struct sl_bytes value;
		struct sl_str key;
		int32_t headers = 0;

		SL_ASSERT(rec.offset == count);
		SL_ASSERT(rec.timestamp <= info->max_timestamp);
		while ((got = sl_record_header_next(&rec.headers, &key, &value)) > 0)
			headers++;
		SL_ASSERT(got == 0 && headers == rec.headers_count);
		count++;
	}
	SL_ASSERT(got == 0 && count == info->head.records_count);
}

static void check_stamped(uint8_t *p, size_t len, const struct sl_batch_rules *rules,
                          struct sl_batch_info *info)
{
	struct sl_batch_head h;

	sl_batch_stamp(p, info, rules, NOW);
	sl_batch_set_offset(p, 1234, 5);
	SL_ASSERT(sl_batch_peek(p, len, &h) == 0);
	SL_ASSERT(sl_batch_check_crc(p, &h));
	SL_ASSERT(h.base_offset == 1234 && h.leader_epoch == 5);
	SL_ASSERT(h.max_timestamp == (rules->is_log_append_time ? NOW : info->max_timestamp));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sl_batch_info info;
	uint8_t *p;

	if (size < 1)
		return 0;

	const struct sl_batch_rules rules = {
		.is_compacted = data[0] & FLAG_COMPACTED,
		.is_log_append_time = data[0] & FLAG_APPEND_TIME,
		.is_internal = data[0] & FLAG_INTERNAL,
		.before_max_ms = INT64_MAX,
		.after_max_ms = 3600000,
	};
	size_t len = size - 1;

	p = malloc(len + 1);
	SL_ASSERT(p);
	memcpy(p, data + 1, len);
	if (len >= SL_BATCH_HEADER_BYTES && !(data[0] & FLAG_AS_IS)) {
		sl_store_be32(p + SL_BATCH_POS_LENGTH, (uint32_t)(len - SL_BATCH_LOG_OVERHEAD));
		sl_store_be32(p + SL_BATCH_POS_CRC, sl_crc32c(0, p + SL_BATCH_POS_ATTRIBUTES,
		                                              len - SL_BATCH_POS_ATTRIBUTES));
	}
	if (sl_batch_validate(p, len, &rules, NOW, shared_ctx(), &info) == SL_BATCH_FAULT_OK) {
		check_readable(p, &info);
		check_stamped(p, len, &rules, &info);
	}
	free(p);
	return 0;
}
