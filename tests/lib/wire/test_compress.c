/* SPDX-License-Identifier: Apache-2.0 */
/* The streaming reader: every codec and framing, cuts, damage, bombs. */
#include <criterion/criterion.h>
#include <errno.h>
#include <snappy-c.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "golden.h"
#include "rnd.h"
#include "sluice/wire/compress.h"

#define FORMS (SL_CODEC_NR + 1) /* every codec, and snappy's second form */

/* Half text that repeats, half noise. */
static uint8_t *sample(size_t len)
{
	struct rnd r = {.state = len};
	uint8_t *p = malloc(len + 1);

	cr_assert(p);
	for (size_t i = 0; i < len; i++)
		p[i] = i / 512 % 2 ? (uint8_t)rnd(&r) : (uint8_t)('a' + i % 7);
	return p;
}

static enum sl_codec form_codec(int form)
{
	return form == SL_CODEC_NR ? SL_CODEC_SNAPPY : (enum sl_codec)form;
}

static uint8_t *pack(int form, const void *p, size_t len, size_t *out_bytes)
{
	struct sl_bytes in = {p, (int32_t)len};
	uint8_t *out;
	int err;

	*out_bytes = sl_compress_bound(form_codec(form), len);
	out = malloc(*out_bytes + 1);
	cr_assert(out);
	if (form == SL_CODEC_NR)
		err = sl_compress_snappy(SL_SNAPPY_RAW, in, out, out_bytes);
	else
		err = sl_compress(form_codec(form), in, out, out_bytes);
	cr_assert_eq(err, 0, "form %d", form);
	return out;
}

/* Reads a whole stream and compares.  Return: bytes, or the error. */
static int64_t unpack(struct sl_codec_ctx *ctx, enum sl_codec codec, struct sl_bytes in,
                      const uint8_t *want, size_t want_len)
{
	int64_t n = sl_codec_begin(ctx, codec, in.p, (size_t)in.len);
	const uint8_t *piece;
	size_t pos = 0;

	if (n < 0)
		return n;
	while ((n = sl_codec_next(ctx, &piece)) > 0) {
		if (want) {
			cr_assert_leq(pos + (size_t)n, want_len);
			cr_assert_eq(memcmp(want + pos, piece, (size_t)n), 0);
		}
		pos += (size_t)n;
	}
	/* Whatever it was, it stays ended. */
	cr_assert_leq(sl_codec_next(ctx, &piece), 0);
	return n < 0 ? n : (int64_t)pos;
}

static struct sl_codec_ctx *new_ctx(const struct sl_codec_opts *opts)
{
	struct sl_codec_ctx *ctx;

	cr_assert_eq(sl_codec_ctx_create(&ctx, opts), 0);
	return ctx;
}

Test(compress, gives_back_what_was_packed)
{
	static const size_t sizes[] = {1, 100, 65535, 65536, 65537, 300000, 3000000};
	struct sl_codec_ctx *ctx = new_ctx(NULL);

	for (size_t i = 0; i < SL_ARRAY_SIZE(sizes); i++) {
		uint8_t *p = sample(sizes[i]);

		for (int form = 0; form < FORMS; form++) {
			size_t len;
			uint8_t *z = pack(form, p, sizes[i], &len);
			struct sl_bytes in = {z, (int32_t)len};

			cr_assert_eq(unpack(ctx, form_codec(form), in, p, sizes[i]),
			             (int64_t)sizes[i], "form %d size %zu", form, sizes[i]);
			free(z);
		}
		free(p);
	}
	sl_codec_ctx_destroy(ctx);
}

Test(compress, cut_streams_are_errors_at_every_byte)
{
	struct sl_codec_ctx *ctx = new_ctx(NULL);
	uint8_t *p = sample(2000);

	for (int form = SL_CODEC_GZIP; form < FORMS; form++) {
		size_t len;
		uint8_t *z = pack(form, p, 2000, &len);

		for (size_t cut = 0; cut < len; cut++) {
			/* Memory of exactly this size, so that a sanitizer sees a byte too many. */
			uint8_t *copy = malloc(cut + 1);
			struct sl_bytes in = {copy, (int32_t)cut};
			int64_t n;

			memcpy(copy, z, cut);
			n = unpack(ctx, form_codec(form), in, p, 2000);
			/* A xerial stream may end after its head or any block. */
			if (form == SL_CODEC_SNAPPY && cut == 16)
				cr_assert_eq(n, 0);
			else
				cr_assert_lt(n, 0, "form %d cut to %zu of %zu gives %ld", form, cut,
				             len, (long)n);
			free(copy);
		}
		free(z);
	}
	free(p);
	sl_codec_ctx_destroy(ctx);
}

Test(compress, garbage_behind_a_stream_is_an_error)
{
	struct sl_codec_ctx *ctx = new_ctx(NULL);
	uint8_t *p = sample(2000);

	for (int form = SL_CODEC_GZIP; form < FORMS; form++) {
		size_t len;
		uint8_t *z = pack(form, p, 2000, &len);
		uint8_t *more = malloc(len + 3);
		struct sl_bytes in = {more, (int32_t)len + 3};

		memcpy(more, z, len);
		memcpy(more + len, "xyz", 3);
		cr_assert_eq(unpack(ctx, form_codec(form), in, NULL, 0), -EBADMSG, "form %d", form);
		free(more);
		free(z);
	}
	free(p);
	sl_codec_ctx_destroy(ctx);
}

/* A stream that failed must not spoil the next one in the same context. */
Test(compress, damage_ends_in_an_error_or_other_bytes_and_spoils_nothing)
{
	struct sl_codec_ctx *ctx = new_ctx(NULL);
	struct rnd r = {.state = 99};
	uint8_t *p = sample(5000);

	for (int form = SL_CODEC_GZIP; form < FORMS; form++) {
		size_t len;
		uint8_t *z = pack(form, p, 5000, &len);
		struct sl_bytes in = {z, (int32_t)len};

		for (int i = 0; i < 300; i++) {
			size_t at = rnd(&r) % len;
			uint8_t was = z[at];
			int64_t n;

			z[at] = (uint8_t)rnd(&r);
			n = unpack(ctx, form_codec(form), in, NULL, 0);
			cr_assert(n >= 0 || n == -EBADMSG || n == -E2BIG);
			z[at] = was;
			if (i % 50 == 0)
				cr_assert_eq(unpack(ctx, form_codec(form), in, p, 5000), 5000);
		}
		free(z);
	}
	free(p);
	sl_codec_ctx_destroy(ctx);
}

Test(compress, bombs_stop_at_the_caps)
{
	const struct sl_codec_opts opts = {.block_bytes_max = 1 << 20, .out_bytes_max = 20 << 20};
	struct sl_codec_ctx *ctx = new_ctx(&opts);
	size_t size = 40 << 20;
	uint8_t *zeros = calloc(1, size);

	cr_assert(zeros);
	for (int form = SL_CODEC_GZIP; form < FORMS; form++) {
		size_t len;
		uint8_t *z = pack(form, zeros, size, &len);
		struct sl_bytes in = {z, (int32_t)len};

		cr_assert_lt(len, size / 15);
		cr_assert_eq(unpack(ctx, form_codec(form), in, NULL, 0), -E2BIG, "form %d", form);
		free(z);
	}
	free(zeros);
	sl_codec_ctx_destroy(ctx);
}

Test(compress, ratio_is_capped_after_the_grace)
{
	const struct sl_codec_opts opts = {.ratio_max = 100};
	struct sl_codec_ctx *ctx = new_ctx(&opts);
	size_t size = 17 << 20;
	uint8_t *zeros = calloc(1, size);
	size_t len;
	uint8_t *z = pack(SL_CODEC_ZSTD, zeros, size, &len);
	struct sl_bytes in = {z, (int32_t)len};

	cr_assert_eq(unpack(ctx, SL_CODEC_ZSTD, in, NULL, 0), -E2BIG);
	free(z);
	/* Below the grace any ratio is fine. */
	z = pack(SL_CODEC_ZSTD, zeros, 15 << 20, &len);
	in = (struct sl_bytes){z, (int32_t)len};
	cr_assert_eq(unpack(ctx, SL_CODEC_ZSTD, in, zeros, 15 << 20), 15 << 20);
	free(z);
	free(zeros);
	sl_codec_ctx_destroy(ctx);
}

/* A zstd frame may declare a window of gigabytes; the memory for it must not be taken. */
Test(compress, zstd_window_above_the_block_cap_is_refused)
{
	const struct sl_codec_opts opts = {.block_bytes_max = 1 << 20};
	struct sl_codec_ctx *ctx = new_ctx(&opts);
	ZSTD_CCtx *c = ZSTD_createCCtx();
	size_t size = 5 << 20;
	size_t cap = ZSTD_compressBound(size);
	uint8_t *p = sample(size);
	uint8_t *z = malloc(cap);
	ZSTD_outBuffer out = {z, cap, 0};
	ZSTD_inBuffer in = {p, size, 0};

	cr_assert(c && z);
	ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, 22);
	while (ZSTD_compressStream2(c, &out, &in, ZSTD_e_end) != 0)
		;
	cr_assert_eq(unpack(ctx, SL_CODEC_ZSTD, (struct sl_bytes){z, (int32_t)out.pos}, NULL, 0),
	             -E2BIG);
	ZSTD_freeCCtx(c);
	free(z);
	free(p);
	sl_codec_ctx_destroy(ctx);
}

/* A raw snappy block declares its size in front: 4 GiB here. */
Test(compress, snappy_block_that_declares_too_much_is_refused)
{
	struct sl_codec_ctx *ctx = new_ctx(NULL);
	static const uint8_t block[] = {0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 'a'};

	cr_assert_eq(unpack(ctx, SL_CODEC_SNAPPY, (struct sl_bytes){block, sizeof(block)}, NULL, 0),
	             -E2BIG);
	sl_codec_ctx_destroy(ctx);
}

Test(compress, streams_one_behind_the_other)
{
	static const int forms[] = {SL_CODEC_GZIP, SL_CODEC_SNAPPY, SL_CODEC_ZSTD};
	struct sl_codec_ctx *ctx = new_ctx(NULL);
	uint8_t *p = sample(2000);

	for (size_t i = 0; i < SL_ARRAY_SIZE(forms); i++) {
		size_t a, b;
		uint8_t *first = pack(forms[i], p, 1500, &a);
		uint8_t *second = pack(forms[i], p + 1500, 500, &b);
		uint8_t *both = malloc(a + b);

		cr_assert(both);
		memcpy(both, first, a);
		memcpy(both + a, second, b);
		cr_assert_eq(unpack(ctx, form_codec(forms[i]),
		                    (struct sl_bytes){both, (int32_t)(a + b)}, p, 2000),
		             2000, "form %d", forms[i]);
		free(both);
		free(second);
		free(first);
	}
	free(p);
	sl_codec_ctx_destroy(ctx);
}

/* "abcabcabc..." by hand: literal "abc", then a copy of 27 bytes from 3 back
 * (format_description.txt). */
Test(compress, snappy_by_hand)
{
	static const uint8_t raw[] = {30, 2 << 2, 'a', 'b', 'c', 26 << 2 | 2, 3, 0};
	struct sl_codec_ctx *ctx = new_ctx(NULL);
	uint8_t want[30];
	uint8_t framed[16 + 4 + sizeof(raw)] = {0x82, 'S', 'N', 'A', 'P', 'P',        'Y',
	                                        0,    0,   0,   0,   1,   0,          0,
	                                        0,    1,   0,   0,   0,   sizeof(raw)};

	for (size_t i = 0; i < sizeof(want); i++)
		want[i] = (uint8_t)('a' + i % 3);
	memcpy(framed + 20, raw, sizeof(raw));
	cr_assert_eq(unpack(ctx, SL_CODEC_SNAPPY, (struct sl_bytes){raw, sizeof(raw)}, want, 30),
	             30);
	cr_assert_eq(unpack(ctx, SL_CODEC_SNAPPY, (struct sl_bytes){framed, sizeof(framed)}, want,
	                    30),
	             30);
	sl_codec_ctx_destroy(ctx);
}

Test(compress, unknown_codecs_have_no_name_and_no_stream)
{
	struct sl_codec_ctx *ctx = new_ctx(NULL);
	const uint8_t *piece;

	cr_assert_str_eq(sl_codec_name(SL_CODEC_ZSTD), "zstd");
	for (unsigned int codec = SL_CODEC_NR; codec < 8; codec++) {
		cr_assert_null(sl_codec_name(codec));
		cr_assert_eq(sl_codec_begin(ctx, (enum sl_codec)codec, "a", 1), -ENOTSUP);
		cr_assert_leq(sl_codec_next(ctx, &piece), 0);
	}
	sl_codec_ctx_destroy(ctx);
	sl_codec_ctx_destroy(NULL);
}

Test(compress, no_room_is_told)
{
	uint8_t *p = sample(5000);
	uint8_t out[64];

	for (int form = 0; form < FORMS; form++) {
		size_t bytes = sizeof(out);
		struct sl_bytes in = {p, 5000};

		if (form == SL_CODEC_NR)
			cr_assert_eq(sl_compress_snappy(SL_SNAPPY_RAW, in, out, &bytes), -ENOSPC);
		else
			cr_assert_eq(sl_compress((enum sl_codec)form, in, out, &bytes), -ENOSPC);
	}
	free(p);
}
