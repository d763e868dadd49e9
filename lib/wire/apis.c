/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Headers of requests and responses.  Which header version a message has follows from its API
 * alone, so these wrap the generated codecs.  Pure functions, any core.
 */
#include "sluice/wire/apis.h"

#include <errno.h>

#include "sluice/wire/request_header_gen.h"
#include "sluice/wire/response_header_gen.h"

int sl_request_head_decode(struct sl_request_head *head, struct sl_cursor *c)
{
	struct sl_arena no_arena = {0}; /* The header has no arrays. */
	struct sl_request_header h;
	struct sl_cursor peek = *c;

	head->api_key = sl_cursor_i16(&peek);
	head->api_version = sl_cursor_i16(&peek);
	head->correlation_id = sl_cursor_i32(&peek);
	head->client_id = SL_STR_NULL;
	if (peek.failed)
		return -EBADMSG;

	const struct sl_api *api = sl_api_find(head->api_key);

	if (!api)
		return -ENOTSUP;

	int err = sl_request_header_decode(&h, c, &no_arena,
	                                   sl_api_request_header_version(api, head->api_version));

	if (!err)
		head->client_id = h.client_id;
	return err;
}

void sl_request_head_encode(struct sl_buf *b, const struct sl_api *api,
                            const struct sl_request_head *head)
{
	struct sl_request_header h = {
		.request_api_key = head->api_key,
		.request_api_version = head->api_version,
		.correlation_id = head->correlation_id,
		.client_id = head->client_id,
	};

	sl_request_header_encode(&h, b, sl_api_request_header_version(api, head->api_version));
}

void sl_response_head_encode(struct sl_buf *b, const struct sl_api *api, int16_t version,
                             int32_t correlation_id)
{
	struct sl_response_header h = {.correlation_id = correlation_id};

	sl_response_header_encode(&h, b, sl_api_response_header_version(api, version));
}

void sl_response_encode(struct sl_buf *b, const struct sl_api *api, int16_t version,
                        int32_t correlation_id, const void *m)
{
	sl_response_head_encode(b, api, version, correlation_id);
	api->resp_encode(m, b, version);
}

int sl_response_head_decode(struct sl_cursor *c, const struct sl_api *api, int16_t version,
                            int32_t *correlation_id)
{
	struct sl_arena no_arena = {0}; /* The header has no arrays. */
	struct sl_response_header h;
	int err = sl_response_header_decode(&h, c, &no_arena,
	                                    sl_api_response_header_version(api, version));

	if (!err)
		*correlation_id = h.correlation_id;
	return err;
}
