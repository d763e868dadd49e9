/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The four codecs behind one streaming reader.  gzip, lz4 and zstd stream through a fixed window;
 * snappy has no streaming form, so each of its blocks is decompressed whole, up to a cap.
 * The states live in the context, which one lane or thread owns.
 */
#include "sluice/wire/compress.h"

#include <errno.h>
#include <lz4frame.h>
#include <snappy-c.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define WINDOW_BYTES_DEFAULT (UINT32_C(64) << 10)
#define BLOCK_BYTES_DEFAULT  (UINT32_C(64) << 20)
#define OUT_BYTES_DEFAULT    (UINT64_C(256) << 20)
#define RATIO_DEFAULT        4096
#define RATIO_GRACE_BYTES    (UINT64_C(16) << 20)

#define GZIP_WINDOW_BITS     (15 + 16) /* 15 is the format's maximum, + 16 selects the gzip header */

/* snappy-java's stream: magic, version, compatible version, then {int32 length, raw block}*. */
#define XERIAL_HEAD_BYTES    16
#define XERIAL_BLOCK_BYTES   (UINT32_C(32) << 10)
static const uint8_t xerial_magic[8] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};

struct sl_codec_ctx {
	struct sl_codec_opts opts;
	enum sl_codec codec;
	const uint8_t *in;
	size_t in_left;
	uint64_t in_total;
	uint64_t out_total;
	bool is_xerial;
	bool is_ended;   /* the codec said so */
	uint8_t *window; /* Owned; opts.window_bytes */
	uint8_t *block;  /* Owned; of snappy, grows up to opts.block_bytes_max */
	size_t block_size;
	z_stream gzip;
	bool has_gzip;
	LZ4F_dctx *lz4;     /* Owned. */
	ZSTD_DStream *zstd; /* Owned. */
};

const char *sl_codec_name(unsigned int codec)
{
	static const char *const names[SL_CODEC_NR] = {"none", "gzip", "snappy", "lz4", "zstd"};

	return codec < SL_CODEC_NR ? names[codec] : NULL;
}

static void set_defaults(struct sl_codec_opts *o)
{
	if (!o->window_bytes)
		o->window_bytes = WINDOW_BYTES_DEFAULT;
	if (!o->block_bytes_max)
		o->block_bytes_max = BLOCK_BYTES_DEFAULT;
	if (!o->out_bytes_max)
		o->out_bytes_max = OUT_BYTES_DEFAULT;
	if (!o->ratio_max)
		o->ratio_max = RATIO_DEFAULT;
}

/* The largest zstd window that does not take more memory than a snappy block may. */
static int zstd_window_log(uint32_t bytes_max)
{
	int log = 10;

	while (log < 30 && (UINT32_C(2) << log) <= bytes_max)
		log++;
	return log;
}

int sl_codec_ctx_create(struct sl_codec_ctx **out, const struct sl_codec_opts *opts)
{
	struct sl_codec_ctx *ctx = calloc(1, sizeof(*ctx));

	if (!ctx)
		return -ENOMEM;
	if (opts)
		ctx->opts = *opts;
	set_defaults(&ctx->opts);
	ctx->is_ended = true;
	ctx->window = malloc(ctx->opts.window_bytes);
	ctx->has_gzip = inflateInit2(&ctx->gzip, GZIP_WINDOW_BITS) == Z_OK;
	ctx->zstd = ZSTD_createDStream();
	if (LZ4F_isError(LZ4F_createDecompressionContext(&ctx->lz4, LZ4F_VERSION)))
		ctx->lz4 = NULL;
	if (!ctx->window || !ctx->has_gzip || !ctx->zstd || !ctx->lz4 ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(ctx->zstd, ZSTD_d_windowLogMax,
	                                        zstd_window_log(ctx->opts.block_bytes_max)))) {
		sl_codec_ctx_destroy(ctx);
		return -ENOMEM;
	}
	*out = ctx;
	return 0;
}

void sl_codec_ctx_destroy(struct sl_codec_ctx *ctx)
{
	if (!ctx)
		return;
	if (ctx->has_gzip)
		inflateEnd(&ctx->gzip);
	LZ4F_freeDecompressionContext(ctx->lz4);
	ZSTD_freeDStream(ctx->zstd);
	free(ctx->block);
	free(ctx->window);
	free(ctx);
}

int sl_codec_begin(struct sl_codec_ctx *ctx, enum sl_codec codec, const void *in, size_t in_bytes)
{
	ctx->codec = codec;
	ctx->in = in;
	ctx->in_left = in_bytes;
	ctx->in_total = in_bytes;
	ctx->out_total = 0;
	ctx->is_ended = false;
	ctx->is_xerial = false;
	switch (codec) {
	case SL_CODEC_NONE:
		return 0;
	case SL_CODEC_GZIP:
		return inflateReset(&ctx->gzip) == Z_OK ? 0 : -EBADMSG;
	case SL_CODEC_SNAPPY:
		ctx->is_xerial = in_bytes >= sizeof(xerial_magic) &&
		                 memcmp(in, xerial_magic, sizeof(xerial_magic)) == 0;
		return 0;
	case SL_CODEC_LZ4:
		LZ4F_resetDecompressionContext(ctx->lz4);
		return 0;
	case SL_CODEC_ZSTD:
		return ZSTD_isError(ZSTD_DCtx_reset(ctx->zstd, ZSTD_reset_session_only)) ? -EBADMSG
		                                                                         : 0;
	default:
		ctx->is_ended = true;
		return -ENOTSUP;
	}
}

static void consume(struct sl_codec_ctx *ctx, size_t n)
{
	ctx->in += n;
	ctx->in_left -= n;
}

static int64_t next_plain(struct sl_codec_ctx *ctx, const uint8_t **out)
{
	int64_t n = (int64_t)ctx->in_left;

	*out = ctx->in;
	consume(ctx, ctx->in_left);
	ctx->is_ended = true;
	return n;
}

/* A gzip file may have several members (RFC 1952, 2.2). */
static int64_t next_gzip(struct sl_codec_ctx *ctx, const uint8_t **out)
{
	z_stream *z = &ctx->gzip;

	z->next_out = ctx->window;
	z->avail_out = ctx->opts.window_bytes;
	while (z->avail_out == ctx->opts.window_bytes) {
		/* zlib counts in unsigned int. */
		uInt piece = (uInt)SL_MIN(ctx->in_left, (size_t)UINT32_MAX);
		int err;

		z->next_in = (Bytef *)(uintptr_t)ctx->in; /* zlib reads through it only */
		z->avail_in = piece;
		err = inflate(z, Z_NO_FLUSH);
		consume(ctx, piece - z->avail_in);
		if (err == Z_MEM_ERROR)
			return -ENOMEM;
		if (err == Z_STREAM_END) {
			ctx->is_ended = ctx->in_left == 0;
			if (ctx->is_ended)
				break;
			if (inflateReset(z) != Z_OK)
				return -EBADMSG;
			continue;
		}
		if (err != Z_OK)
			return -EBADMSG;
	}
	*out = ctx->window;
	return (int64_t)(ctx->opts.window_bytes - z->avail_out);
}

static int64_t next_lz4(struct sl_codec_ctx *ctx, const uint8_t **out)
{
	size_t produced = 0;

	while (produced == 0 && !ctx->is_ended) {
		size_t used = ctx->in_left;
		size_t hint;

		produced = ctx->opts.window_bytes;
		hint = LZ4F_decompress(ctx->lz4, ctx->window, &produced, ctx->in, &used, NULL);
		if (LZ4F_isError(hint))
			return -EBADMSG;
		consume(ctx, used);
		ctx->is_ended = hint == 0;
		/* More is wanted, but there is no more. */
		if (!ctx->is_ended && produced == 0 && used == 0)
			return -EBADMSG;
	}
	*out = ctx->window;
	return (int64_t)produced;
}

static int64_t zstd_error(size_t code)
{
	switch (ZSTD_getErrorCode(code)) {
	case ZSTD_error_memory_allocation:
		return -ENOMEM;
	case ZSTD_error_frameParameter_windowTooLarge:
		return -E2BIG;
	default:
		return -EBADMSG;
	}
}

static int64_t next_zstd(struct sl_codec_ctx *ctx, const uint8_t **out)
{
	ZSTD_outBuffer o = {ctx->window, ctx->opts.window_bytes, 0};

	while (o.pos == 0 && !ctx->is_ended) {
		ZSTD_inBuffer in = {ctx->in, ctx->in_left, 0};
		size_t hint = ZSTD_decompressStream(ctx->zstd, &o, &in);

		if (ZSTD_isError(hint))
			return zstd_error(hint);
		consume(ctx, in.pos);
		/* 0: a frame ended; another one may follow. */
		ctx->is_ended = hint == 0 && ctx->in_left == 0;
		if (!ctx->is_ended && o.pos == 0 && in.pos == 0)
			return -EBADMSG;
	}
	*out = ctx->window;
	return (int64_t)o.pos;
}

/* Room for a block; kept for later ones. */
static int reserve_block(struct sl_codec_ctx *ctx, size_t bytes)
{
	uint8_t *block;

	if (bytes > ctx->opts.block_bytes_max)
		return -E2BIG;
	if (bytes <= ctx->block_size)
		return 0;
	free(ctx->block);
	ctx->block_size = 0;
	block = malloc(bytes);
	ctx->block = block;
	if (!block)
		return -ENOMEM;
	ctx->block_size = bytes;
	return 0;
}

static int64_t snappy_block(struct sl_codec_ctx *ctx, size_t in_bytes, const uint8_t **out)
{
	const char *in = (const char *)ctx->in;
	size_t size;
	int err;

	if (snappy_uncompressed_length(in, in_bytes, &size) != SNAPPY_OK)
		return -EBADMSG;
	err = reserve_block(ctx, size);
	if (err)
		return err;
	if (snappy_uncompress(in, in_bytes, (char *)ctx->block, &size) != SNAPPY_OK)
		return -EBADMSG;
	consume(ctx, in_bytes);
	*out = ctx->block;
	return (int64_t)size;
}

static int64_t next_snappy(struct sl_codec_ctx *ctx, const uint8_t **out)
{
	int64_t n;

	if (!ctx->is_xerial) {
		ctx->is_ended = true;
		return snappy_block(ctx, ctx->in_left, out);
	}
	do {
		/* The head, also where streams were put one behind the other. */
		while (ctx->in_left >= XERIAL_HEAD_BYTES &&
		       memcmp(ctx->in, xerial_magic, sizeof(xerial_magic)) == 0)
			consume(ctx, XERIAL_HEAD_BYTES);
		if (ctx->in_left == 0) {
			ctx->is_ended = true;
			return 0;
		}
		if (ctx->in_left < sizeof(uint32_t))
			return -EBADMSG;

		uint32_t len = sl_load_be32(ctx->in);

		consume(ctx, sizeof(len));
		if (len > ctx->in_left)
			return -EBADMSG;
		n = snappy_block(ctx, len, out);
	} while (n == 0);
	return n;
}

static int64_t next_piece(struct sl_codec_ctx *ctx, const uint8_t **out)
{
	switch (ctx->codec) {
	case SL_CODEC_NONE:
		return next_plain(ctx, out);
	case SL_CODEC_GZIP:
		return next_gzip(ctx, out);
	case SL_CODEC_SNAPPY:
		return next_snappy(ctx, out);
	case SL_CODEC_LZ4:
		return next_lz4(ctx, out);
	case SL_CODEC_ZSTD:
		return next_zstd(ctx, out);
	default:
		return -ENOTSUP;
	}
}

int64_t sl_codec_next(struct sl_codec_ctx *ctx, const uint8_t **out)
{
	uint64_t limit;
	int64_t n;

	if (ctx->is_ended)
		return ctx->in_left ? -EBADMSG : 0;
	n = next_piece(ctx, out);
	if (n <= 0) {
		/* An end with nothing before it is fine, unless something follows. */
		bool is_clean = n == 0 && ctx->in_left == 0;

		ctx->is_ended = true;
		return n == 0 && !is_clean ? -EBADMSG : n;
	}
	ctx->out_total += (uint64_t)n;
	limit = SL_MAX(ctx->in_total * ctx->opts.ratio_max, RATIO_GRACE_BYTES);
	if (ctx->out_total > SL_MIN(limit, ctx->opts.out_bytes_max)) {
		ctx->is_ended = true;
		return -E2BIG;
	}
	return n;
}

/* ---- Compression of whole blocks: coordinators, tools, tests; the libraries allocate ----------
 */

static const LZ4F_preferences_t lz4_prefs = {
	.frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = LZ4F_blockIndependent},
};

size_t sl_compress_bound(enum sl_codec codec, size_t in_bytes)
{
	size_t blocks = in_bytes / XERIAL_BLOCK_BYTES + 1;

	switch (codec) {
	case SL_CODEC_NONE:
		return in_bytes;
	case SL_CODEC_GZIP:
		return compressBound(in_bytes) + 12; /* the gzip wrapper is larger than zlib's */
	case SL_CODEC_SNAPPY:
		return XERIAL_HEAD_BYTES + snappy_max_compressed_length(in_bytes) +
		       blocks * (sizeof(uint32_t) + snappy_max_compressed_length(0));
	case SL_CODEC_LZ4:
		return LZ4F_compressFrameBound(in_bytes, &lz4_prefs);
	case SL_CODEC_ZSTD:
		return ZSTD_compressBound(in_bytes);
	default:
		return 0;
	}
}

static int compress_gzip(struct sl_bytes in, void *out, size_t *out_bytes)
{
	z_stream z = {0};
	int err;

	if (*out_bytes > UINT32_MAX)
		*out_bytes = UINT32_MAX;
	if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW_BITS, 8,
	                 Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	z.next_in = (Bytef *)(uintptr_t)in.p; /* zlib reads through it only */
	z.avail_in = (uInt)in.len;
	z.next_out = out;
	z.avail_out = (uInt)*out_bytes;
	err = deflate(&z, Z_FINISH);
	*out_bytes -= z.avail_out;
	deflateEnd(&z);
	return err == Z_STREAM_END ? 0 : -ENOSPC;
}

static int compress_xerial(struct sl_bytes in, uint8_t *out, size_t *out_bytes)
{
	const char *p = in.p;
	size_t left = (size_t)in.len;
	size_t pos = XERIAL_HEAD_BYTES;

	if (*out_bytes < sl_compress_bound(SL_CODEC_SNAPPY, left))
		return -ENOSPC;
	memcpy(out, xerial_magic, sizeof(xerial_magic));
	sl_store_be32(out + 8, 1);  /* version */
	sl_store_be32(out + 12, 1); /* least version that can read it */
	while (left > 0) {
		size_t n = SL_MIN(left, XERIAL_BLOCK_BYTES);
		size_t used = *out_bytes - pos - sizeof(uint32_t);

		if (snappy_compress(p, n, (char *)out + pos + sizeof(uint32_t), &used) != SNAPPY_OK)
			return -ENOSPC;
		sl_store_be32(out + pos, (uint32_t)used);
		pos += sizeof(uint32_t) + used;
		p += n;
		left -= n;
	}
	*out_bytes = pos;
	return 0;
}

int sl_compress_snappy(enum sl_snappy_form form, struct sl_bytes in, void *out, size_t *out_bytes)
{
	if (form == SL_SNAPPY_XERIAL)
		return compress_xerial(in, out, out_bytes);
	return snappy_compress(in.p, (size_t)in.len, out, out_bytes) == SNAPPY_OK ? 0 : -ENOSPC;
}

int sl_compress(enum sl_codec codec, struct sl_bytes in, void *out, size_t *out_bytes)
{
	size_t n;

	switch (codec) {
	case SL_CODEC_NONE:
		if (*out_bytes < (size_t)in.len)
			return -ENOSPC;
		if (in.len > 0)
			memcpy(out, in.p, (size_t)in.len);
		*out_bytes = (size_t)in.len;
		return 0;
	case SL_CODEC_GZIP:
		return compress_gzip(in, out, out_bytes);
	case SL_CODEC_SNAPPY:
		return compress_xerial(in, out, out_bytes);
	case SL_CODEC_LZ4:
		n = LZ4F_compressFrame(out, *out_bytes, in.p, (size_t)in.len, &lz4_prefs);
		if (LZ4F_isError(n))
			return -ENOSPC;
		break;
	case SL_CODEC_ZSTD:
		n = ZSTD_compress(out, *out_bytes, in.p, (size_t)in.len, ZSTD_CLEVEL_DEFAULT);
		if (ZSTD_isError(n))
			return -ENOSPC;
		break;
	default:
		return -ENOTSUP;
	}
	*out_bytes = n;
	return 0;
}
