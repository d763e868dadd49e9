/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decompression of record batches as a stream with bounded memory, and compression of whole blocks
 * for the builder.
 *
 * A struct sl_codec_ctx owns the codecs' states and windows; it is created once per lane or thread
 * and used for one stream at a time, so that a batch costs no allocation.
 */
#ifndef SLUICE_WIRE_COMPRESS_H
#define SLUICE_WIRE_COMPRESS_H

#include "sluice/base/base.h"

/* Values of the codec bits in a batch's attributes. */
enum sl_codec {
	SL_CODEC_NONE = 0,
	SL_CODEC_GZIP = 1,
	SL_CODEC_SNAPPY = 2,
	SL_CODEC_LZ4 = 3,
	SL_CODEC_ZSTD = 4,
	SL_CODEC_NR
};

/* Kafka's name: "none", "gzip", "snappy", "lz4", "zstd"; NULL when there is no such codec. */
const char *sl_codec_name(unsigned int codec);

struct sl_codec_ctx;

/* Zeroed: the defaults.  A stream that wants to grow past a cap ends with -E2BIG. */
struct sl_codec_opts {
	uint32_t window_bytes; /* output handed out at once; default 64 KiB */
	/* Largest block of a codec that has no streaming form (snappy); default 64 MiB.  The memory
	 * is taken when a block first needs it, and kept. */
	uint32_t block_bytes_max;
	uint64_t out_bytes_max; /* of one stream; default 256 MiB */
	/* Once a stream has given 16 MiB, its output may not exceed its input times this; default
	 * 4096. */
	uint32_t ratio_max;
};

/* Return: 0; -ENOMEM. */
int sl_codec_ctx_create(struct sl_codec_ctx **out, const struct sl_codec_opts *opts) SL_MUST_CHECK;
void sl_codec_ctx_destroy(struct sl_codec_ctx *ctx);

/**
 * sl_codec_begin() - start a stream, ending the one before
 * @in: compressed bytes, borrowed until the stream's end
 *
 * Return: 0; -EBADMSG the framing is wrong; -E2BIG a declared size is above a cap; -ENOTSUP unknown
 * codec; -ENOMEM.
 */
int sl_codec_begin(struct sl_codec_ctx *ctx, enum sl_codec codec, const void *in,
                   size_t in_bytes) SL_MUST_CHECK;

/**
 * sl_codec_next() - the next piece of output
 * @out: set to memory of the context, good until the next call
 *
 * Return: bytes at @out; 0 the stream ended where its input ended; -EBADMSG corrupt, cut short or
 * followed by garbage; -E2BIG above a cap; -ENOMEM.
 */
int64_t sl_codec_next(struct sl_codec_ctx *ctx, const uint8_t **out) SL_MUST_CHECK;

/* How snappy blocks are framed: librdkafka sends raw ones, the Java clients snappy-java's. */
enum sl_snappy_form {
	SL_SNAPPY_XERIAL = 0,
	SL_SNAPPY_RAW
};

/* Upper bound of the compressed size of @in_bytes. */
size_t sl_compress_bound(enum sl_codec codec, size_t in_bytes);

/**
 * sl_compress() - compress a whole block
 * @out: room for sl_compress_bound()
 * @out_bytes: in the room, out what was used
 *
 * Context: control process, tests and tools; allocates.
 * Return: 0; -ENOSPC does not fit; -ENOTSUP; -ENOMEM.
 */
int sl_compress(enum sl_codec codec, struct sl_bytes in, void *out,
                size_t *out_bytes) SL_MUST_CHECK;
/* As above with snappy, in either form. */
int sl_compress_snappy(enum sl_snappy_form form, struct sl_bytes in, void *out,
                       size_t *out_bytes) SL_MUST_CHECK;

#endif
