/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Record batches to be produced.
 *
 * The records of a batch depend on their place in it and on nothing before it, so the first n
 * records of the template are the records of a batch of n, and the CRC of that batch follows from
 * the CRCs of its header and of its records: no byte of a shared batch is looked at again.
 */
#include "content.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/clock.h"
#include "sluice/base/crc32c.h"
#include "verify.h"

/* Values are cut from a pool of so many bytes more than one value. */
#define POOL_BYTES ((size_t)4 << 20)

static void fill_random(uint8_t *p, size_t bytes, uint64_t *state)
{
	for (size_t i = 0; i < bytes; i += 8) {
		uint64_t r = keys_random(state);

		memcpy(p + i, &r, SL_MIN(bytes - i, sizeof(r)));
	}
}

/* English words in lines of log-like text: codecs find in it about what they find in real logs. */
static void fill_text(uint8_t *p, size_t bytes, uint64_t *state)
{
	static const char *const words[] = {
		"the",         "of",      "record",   "and",      "to",       "server",
		"in",          "request", "from",     "user",     "is",       "session",
		"for",         "with",    "order",    "at",       "value",    "customer",
		"on",          "payment", "was",      "queue",    "message",  "by",
		"error",       "address", "as",       "network",  "account",  "time",
		"region",      "device",  "latency",  "status",   "shipping", "cache",
		"temperature", "sensor",  "window",   "update",   "page",     "click",
		"search",      "query",   "result",   "balance",  "transfer", "amount",
		"currency",    "invoice", "product",  "weight",   "delivery", "partition",
		"leader",      "offset",  "replica",  "cluster",  "storage",  "volume",
		"backup",      "restore", "snapshot", "schedule",
	};
	size_t at = 0;

	while (at < bytes) {
		uint64_t r = keys_random(state);
		char word[32];
		/* Of two draws the smaller one: the first words are the frequent ones. */
		size_t i = SL_MIN(r & 63, r >> 6 & 63) % SL_ARRAY_SIZE(words);
		int n = (r >> 12 & 7) == 0 ? snprintf(word, sizeof(word), "%u ",
		                                      (unsigned int)(r >> 16 & 0xffffff))
		                           : snprintf(word, sizeof(word), "%s ", words[i]);

		memcpy(p + at, word, SL_MIN((size_t)n, bytes - at));
		at += (size_t)n;
	}
}

static void add_record(struct content *c, struct sl_batch_builder *b, int64_t timestamp,
                       int32_t partition, const uint8_t *value)
{
	const struct options *o = c->opts;
	struct sl_bytes key = SL_BYTES_NULL;

	if (o->key_bytes > 0) {
		keys_text(c->key, (size_t)o->key_bytes, keys_draw(&c->keys), partition);
		key = (struct sl_bytes){c->key, (int32_t)o->key_bytes};
	}
	sl_batch_add(b, timestamp, key, (struct sl_bytes){value, (int32_t)o->record_bytes});
}

/* The next piece of the pool. */
static const uint8_t *cut_value(struct content *c)
{
	return c->pool + keys_random(&c->random) % (c->pool_bytes - (size_t)c->opts->record_bytes);
}

/* Fills the template up to --batch-bytes or --batch-records and notes where each record ends. */
static int fill_template(struct content *c, struct sl_batch_builder *b, size_t bytes_max)
{
	const struct options *o = c->opts;
	int64_t now_ms = sl_wall_ms();
	int32_t cap = 0, count = 0;

	for (;;) {
		size_t before = c->template.len;

		add_record(c, b, now_ms, 0, cut_value(c));
		if (!sl_buf_ok(&c->template))
			return -ENOMEM;
		if (count > 0 && c->template.len > bytes_max) {
			c->template.len = before;
			b->head.records_count--;
			break;
		}
		if (count == cap) {
			cap = SL_MAX(2 * cap, 64);
			void *grown = realloc(c->prefixes, (size_t)cap * sizeof(*c->prefixes));

			if (!grown)
				return -ENOMEM;
			c->prefixes = grown;
		}
		c->prefixes[count++] = (struct content_prefix){
			.end = (uint32_t)(c->template.len - SL_BATCH_HEADER_BYTES)};
		if (count == o->batch_records)
			break;
	}
	c->records_max = count;
	return 0;
}

/* Compressed records are one piece, of which the whole is the only prefix. */
static void sum_prefixes(struct content *c)
{
	const uint8_t *records = c->template.p + SL_BATCH_HEADER_BYTES;
	bool is_compressed = c->opts->codec != SL_CODEC_NONE;
	int32_t last = c->records_max - 1;
	uint32_t crc = 0, at = 0;

	if (is_compressed)
		c->prefixes[last].end = (uint32_t)(c->template.len - SL_BATCH_HEADER_BYTES);
	for (int32_t i = is_compressed ? last : 0; i <= last; i++) {
		crc = sl_crc32c(crc, records + at, c->prefixes[i].end - at);
		at = c->prefixes[i].end;
		c->prefixes[i].crc = crc;
	}
}

static int build_template(struct content *c)
{
	const struct options *o = c->opts;
	struct sl_batch_head head;
	struct sl_batch_builder b;
	int err;

	sl_buf_init_grow(&c->template, (size_t)LOAD_BATCH_BYTES_MAX * 3);
	sl_batch_head_init(&head);
	head.attributes = o->codec;
	sl_batch_begin(&b, &c->template, &head);
	err = fill_template(c, &b, (size_t)o->batch_bytes);
	if (err)
		return err;
	err = sl_batch_end(&b);
	if (err)
		return err == -ENOSPC ? -ENOMEM : err;
	sum_prefixes(c);
	return 0;
}

int content_init(struct content *c, const struct options *opts, uint64_t seed)
{
	*c = (struct content){.opts = opts, .random = seed};
	c->pool_bytes = POOL_BYTES + (size_t)opts->record_bytes;
	c->pool = calloc(1, c->pool_bytes);
	c->value = malloc((size_t)opts->record_bytes + 1);
	c->key = malloc((size_t)opts->key_bytes + 1);
	if (!c->pool || !c->value || !c->key)
		return -ENOMEM;
	keys_init(&c->keys, opts->keys, opts->keys_count, opts->keys_skew, seed);
	if (opts->value == LOAD_VALUE_RANDOM)
		fill_random(c->pool, c->pool_bytes, &c->random);
	else if (opts->value == LOAD_VALUE_TEXT)
		fill_text(c->pool, c->pool_bytes, &c->random);
	c->is_shared = !opts->is_verifying && opts->key_bytes == 0;
	return build_template(c);
}

void content_fini(struct content *c)
{
	free(c->pool);
	free(c->value);
	free(c->key);
	free(c->prefixes);
	sl_buf_fini(&c->template);
	*c = (struct content){0};
}

/* ---- One batch --------------------------------------------------------------------------------
 */

static void share(struct content *c, const struct content_source *s, struct content_batch *out)
{
	struct content_prefix *prefix = &c->prefixes[s->count - 1];
	uint8_t *head = out->head;
	uint32_t crc;

	memcpy(head, c->template.p, SL_BATCH_HEADER_BYTES);
	out->records = c->template.p + SL_BATCH_HEADER_BYTES;
	out->records_bytes = prefix->end;
	if (s->count == c->records_max && s->producer_id == SL_BATCH_NO_PRODUCER_ID)
		return;
	if (!prefix->power)
		prefix->power = sl_crc32c_power(prefix->end);
	sl_store_be32(head + SL_BATCH_POS_LENGTH,
	              prefix->end + SL_BATCH_HEADER_BYTES - SL_BATCH_LOG_OVERHEAD);
	sl_store_be32(head + SL_BATCH_POS_LAST_OFFSET_DELTA, (uint32_t)s->count - 1);
	sl_store_be32(head + SL_BATCH_POS_RECORDS_COUNT, (uint32_t)s->count);
	if (s->producer_id != SL_BATCH_NO_PRODUCER_ID) {
		sl_store_be64(head + SL_BATCH_POS_PRODUCER_ID, (uint64_t)s->producer_id);
		sl_store_be16(head + SL_BATCH_POS_PRODUCER_EPOCH, (uint16_t)s->producer_epoch);
		sl_store_be32(head + SL_BATCH_POS_BASE_SEQUENCE, (uint32_t)s->base_sequence);
	}
	crc = sl_crc32c(0, head + SL_BATCH_POS_ATTRIBUTES,
	                SL_BATCH_HEADER_BYTES - SL_BATCH_POS_ATTRIBUTES);
	sl_store_be32(head + SL_BATCH_POS_CRC, sl_crc32c_join(crc, prefix->crc, prefix->power));
}

/* Every value of its own, with its mark when they are verified. */
static int build(struct content *c, const struct content_source *s, struct sl_buf *own,
                 struct content_batch *out)
{
	const struct options *o = c->opts;
	int64_t now_ms = sl_wall_ms();
	struct sl_batch_head head;
	struct sl_batch_builder b;
	int err;

	sl_batch_head_init(&head);
	head.attributes = o->codec;
	head.producer_id = s->producer_id;
	head.producer_epoch = s->producer_epoch;
	head.base_sequence = s->base_sequence;
	sl_buf_reset(own);
	sl_batch_begin(&b, own, &head);
	for (int32_t i = 0; i < s->count; i++) {
		struct verify_mark mark = {
			.stream = s->stream,
			.sequence = s->first + (uint64_t)i,
			.due_ns = s->due_ns + (uint64_t)(i * s->interval_ns),
			.partition = s->partition,
		};

		if (o->is_verifying) {
			memcpy(c->value, cut_value(c), (size_t)o->record_bytes);
			verify_seal(c->value, (size_t)o->record_bytes, &mark);
		}
		add_record(c, &b, now_ms, s->partition, o->is_verifying ? c->value : cut_value(c));
	}
	err = sl_batch_end(&b);
	if (err)
		return -ENOMEM;
	memcpy(out->head, own->p, SL_BATCH_HEADER_BYTES);
	out->records = own->p + SL_BATCH_HEADER_BYTES;
	out->records_bytes = own->len - SL_BATCH_HEADER_BYTES;
	return 0;
}

int content_make(struct content *c, const struct content_source *s, struct sl_buf *own,
                 struct content_batch *out)
{
	SL_ASSERT(s->count >= 1 && s->count <= c->records_max);
	/* A compressed template is one piece: its first records cannot be cut off. */
	if (!c->is_shared || (c->opts->codec != SL_CODEC_NONE && s->count != c->records_max))
		return build(c, s, own, out);
	share(c, s, out);
	return 0;
}
