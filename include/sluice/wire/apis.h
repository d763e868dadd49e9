/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The APIs we serve, and the headers around requests and responses.
 */
#ifndef SLUICE_WIRE_APIS_H
#define SLUICE_WIRE_APIS_H

#include "sluice/wire/apis_gen.h"
#include "sluice/wire/codec.h"

#define SL_API_NEVER_FLEXIBLE INT16_MAX

/* Decodes a request body into @m, which has the api's req_bytes.  Returns as the generated
 * decoders. */
typedef int sl_api_decode(void *m, struct sl_cursor *c, struct sl_arena *arena, int16_t version);

/* Encodes the api's response struct @m. */
typedef void sl_api_encode(const void *m, struct sl_buf *b, int16_t version);

/* One row per API key, generated from the schema. */
struct sl_api {
	int16_t key;
	int16_t listed_min; /* minimum that ApiVersions lists; below min_version for Produce only */
	int16_t min_version;   /* served */
	int16_t max_version;   /* served */
	int16_t flexible_from; /* or SL_API_NEVER_FLEXIBLE */
	const char *name;      /* Kafka's */
	size_t req_bytes;      /* size of the request's struct */
	sl_api_decode *req_decode;
	sl_api_encode *resp_encode;
};

/* In order of their keys. */
extern const struct sl_api sl_api_table[SL_API_COUNT];
extern const uint8_t sl_api_index[SL_API_KEY_MAX + 1];

/* NULL for a key that we do not serve. */
static inline const struct sl_api *sl_api_find(int16_t key)
{
	if (key < 0 || key > SL_API_KEY_MAX || sl_api_index[key] == 0)
		return NULL;
	return &sl_api_table[sl_api_index[key] - 1];
}

static inline bool sl_api_serves(const struct sl_api *api, int16_t version)
{
	return version >= api->min_version && version <= api->max_version;
}

static inline bool sl_api_is_flexible(const struct sl_api *api, int16_t version)
{
	return version >= api->flexible_from;
}

/* 2 (with tags) for flexible versions, else 1. */
static inline int16_t sl_api_request_header_version(const struct sl_api *api, int16_t version)
{
	return sl_api_is_flexible(api, version) ? 2 : 1;
}

/* ApiVersions answers with header 0 at every version, since its reader may not know our version
 * yet. */
static inline int16_t sl_api_response_header_version(const struct sl_api *api, int16_t version)
{
	return api->key != SL_API_API_VERSIONS && sl_api_is_flexible(api, version) ? 1 : 0;
}

struct sl_request_head {
	int16_t api_key;
	int16_t api_version;
	int32_t correlation_id;
	struct sl_str client_id; /* borrows the frame; may be null */
};

/**
 * sl_request_head_decode() - read the header in front of a request
 * @head: filled; key, version and correlation id also when -ENOTSUP is returned
 * @c: at the start of the frame (after its size); afterwards at the body
 *
 * The version's range is not checked: ApiVersions must be answered whatever its version is.
 *
 * Return: 0; -EBADMSG malformed; -ENOTSUP a key that we do not serve, so that the rest of the
 * header has no known form.
 */
int sl_request_head_decode(struct sl_request_head *head, struct sl_cursor *c) SL_MUST_CHECK;

/* The header in front of a request, as a client sends it. */
void sl_request_head_encode(struct sl_buf *b, const struct sl_api *api,
                            const struct sl_request_head *head);

/* The header in front of the response to @api at @version. */
void sl_response_head_encode(struct sl_buf *b, const struct sl_api *api, int16_t version,
                             int32_t correlation_id);

/* Header and body; @m: the response struct of @api. */
void sl_response_encode(struct sl_buf *b, const struct sl_api *api, int16_t version,
                        int32_t correlation_id, const void *m);

/* Return: 0; -EBADMSG. */
int sl_response_head_decode(struct sl_cursor *c, const struct sl_api *api, int16_t version,
                            int32_t *correlation_id) SL_MUST_CHECK;

#endif
