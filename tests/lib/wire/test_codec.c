/* SPDX-License-Identifier: Apache-2.0 */
/* Every message at every version: round trips, cut short at every byte, bounds of counts. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "fill_gen.h"
#include "rnd.h"

#define ROUNDS      24
#define ARENA_BYTES (8u << 20)
#define BUF_BYTES   (4u << 20)

struct world {
	struct sl_arena in;  /* what was encoded */
	struct sl_arena out; /* what was decoded */
	struct sl_buf buf;
	void *a;
	void *b;
};

static void world_init(struct world *w, const struct fill_message *f)
{
	cr_assert_eq(sl_arena_create(&w->in, ARENA_BYTES), 0);
	cr_assert_eq(sl_arena_create(&w->out, ARENA_BYTES), 0);
	sl_buf_init_grow(&w->buf, BUF_BYTES);
	w->a = calloc(1, f->size);
	w->b = calloc(1, f->size);
	cr_assert(w->a && w->b);
}

static void world_fini(struct world *w)
{
	free(w->a);
	free(w->b);
	sl_buf_fini(&w->buf);
	sl_arena_destroy(&w->in);
	sl_arena_destroy(&w->out);
}

static void encode_random(struct world *w, const struct fill_message *f, uint64_t seed,
                          int16_t version)
{
	struct rnd r = {.state = seed};

	sl_arena_reset(&w->in);
	sl_buf_reset(&w->buf);
	f->fill(w->a, &r, &w->in, version);
	f->encode(w->a, &w->buf, version);
	cr_assert(sl_buf_ok(&w->buf), "%s v%d seed %lu", f->name, version, (unsigned long)seed);
}

/* Decodes from memory of exactly @len bytes, so that a sanitizer sees one byte too many. */
static int decode_exact(struct world *w, const struct fill_message *f, size_t len, int16_t version,
                        bool *is_done)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct sl_cursor c = sl_cursor_from(copy, len);
	int err;

	cr_assert(copy);
	if (len)
		memcpy(copy, w->buf.p, len);
	sl_arena_reset(&w->out);
	err = f->decode(w->b, &c, &w->out, version);
	*is_done = sl_cursor_is_done(&c);
	free(copy);
	return err;
}

static void round_trip(const struct fill_message *f, uint64_t seed)
{
	struct world w;

	world_init(&w, f);
	for (int16_t version = f->min; version <= f->max; version++) {
		for (uint64_t i = 0; i < ROUNDS; i++) {
			encode_random(&w, f, seed + i, version);

			struct sl_cursor c = sl_cursor_from(w.buf.p, w.buf.len);

			sl_arena_reset(&w.out);
			cr_assert_eq(f->decode(w.b, &c, &w.out, version), 0, "%s v%d seed %lu",
			             f->name, version, (unsigned long)(seed + i));
			cr_assert(sl_cursor_is_done(&c), "%s v%d seed %lu", f->name, version,
			          (unsigned long)(seed + i));
			cr_assert(f->same(w.a, w.b), "%s v%d seed %lu", f->name, version,
			          (unsigned long)(seed + i));
		}
	}
	world_fini(&w);
}

Test(codec, round_trip_of_every_message_at_every_version)
{
	for (size_t i = 0; i < FILL_MESSAGES_COUNT; i++)
		round_trip(fill_messages[i], 1000);
}

/* Seeds never tried before; the seed is in the message of a failure. */
Test(codec, round_trip_with_fresh_seeds)
{
	uint64_t seed;

	cr_assert_eq(getrandom(&seed, sizeof(seed), 0), (ssize_t)sizeof(seed));
	for (size_t i = 0; i < FILL_MESSAGES_COUNT; i++)
		round_trip(fill_messages[i], seed);
}

/* A prefix of a message is never a message: the last thing in it is needed. */
static void cut(const struct fill_message *f, uint64_t seed)
{
	struct world w;
	bool is_done;

	world_init(&w, f);
	for (int16_t version = f->min; version <= f->max; version++) {
		encode_random(&w, f, seed, version);
		for (size_t len = 0; len < w.buf.len; len++)
			cr_assert_eq(decode_exact(&w, f, len, version, &is_done), -EBADMSG,
			             "%s v%d cut to %zu of %zu", f->name, version, len, w.buf.len);
		cr_assert_eq(decode_exact(&w, f, w.buf.len, version, &is_done), 0);
		cr_assert(is_done);
	}
	world_fini(&w);
}

Test(codec, cut_short_at_every_byte_is_malformed)
{
	for (size_t i = 0; i < FILL_MESSAGES_COUNT; i++) {
		cut(fill_messages[i], 7);
		cut(fill_messages[i], 8);
	}
}

/* Random damage must end in an error or in a struct that can be encoded again, never in a crash. */
Test(codec, damaged_messages_do_no_harm)
{
	struct rnd r = {.state = 42};

	for (size_t i = 0; i < FILL_MESSAGES_COUNT; i++) {
		const struct fill_message *f = fill_messages[i];
		struct world w;

		world_init(&w, f);
		for (int n = 0; n < 200; n++) {
			int16_t version =
				(int16_t)(f->min +
			                  (int)(rnd(&r) % (uint64_t)(f->max - f->min + 1)));
			bool is_done;

			encode_random(&w, f, rnd(&r), version);
			for (int k = 0; k < 3 && w.buf.len; k++)
				w.buf.p[rnd(&r) % w.buf.len] = (uint8_t)rnd(&r);

			int err = decode_exact(&w, f, w.buf.len, version, &is_done);

			cr_assert(err == 0 || err == -EBADMSG || err == -ENOMEM);
		}
		world_fini(&w);
	}
}

Test(codec, versions_outside_the_schema_are_refused)
{
	for (size_t i = 0; i < FILL_MESSAGES_COUNT; i++) {
		const struct fill_message *f = fill_messages[i];
		struct world w;
		bool is_done;

		world_init(&w, f);
		encode_random(&w, f, 1, f->max);
		cr_assert_eq(decode_exact(&w, f, w.buf.len, f->max + 1, &is_done), -ENOTSUP);
		cr_assert_eq(decode_exact(&w, f, w.buf.len, f->min - 1, &is_done), -ENOTSUP);
		f->encode(w.a, &w.buf, f->max + 1);
		cr_assert(!sl_buf_ok(&w.buf));
		world_fini(&w);
	}
}

/* KIP-482: a reader skips the tags it does not know. */
Test(codec, unknown_tags_are_skipped)
{
	static const uint8_t tags[] = {0x01, 0xe8, 0x07, 0x03, 'x', 'y', 'z'}; /* tag 1000 */

	for (size_t i = 0; i < FILL_MESSAGES_COUNT; i++) {
		const struct fill_message *f = fill_messages[i];
		struct world w;
		bool is_done;

		if (f->flexible_from > f->max)
			continue;
		world_init(&w, f);
		/* At their defaults all messages end in an empty tag section, which is replaced. */
		f->init(w.a);
		f->encode(w.a, &w.buf, f->max);
		cr_assert_eq(w.buf.p[w.buf.len - 1], 0);
		w.buf.len--;
		sl_buf_put(&w.buf, tags, sizeof(tags));
		cr_assert_eq(decode_exact(&w, f, w.buf.len, f->max, &is_done), 0, "%s", f->name);
		cr_assert(is_done);
		for (size_t len = w.buf.len - sizeof(tags); len < w.buf.len; len++)
			cr_assert_eq(decode_exact(&w, f, len, f->max, &is_done), -EBADMSG);
		world_fini(&w);
	}
}
