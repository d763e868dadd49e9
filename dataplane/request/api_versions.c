/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ApiVersions: what we speak.  Rules of reference §1.3: a version above ours is answered in the v0
 * form with UNSUPPORTED_VERSION and the one key 18 (KIP-511); the response header is always v0.
 */
#include <ctype.h>

#include "request/request.h"
#include "sluice/wire/api_versions_gen.h"
#include "sluice/wire/kerr.h"

/* KIP-511: [a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])? */
static bool is_software_text(struct sl_str s)
{
	if (s.len <= 0 || !isalnum((unsigned char)s.p[0]) ||
	    !isalnum((unsigned char)s.p[s.len - 1]))
		return false;
	for (int32_t i = 0; i < s.len; i++)
		if (!isalnum((unsigned char)s.p[i]) && s.p[i] != '-' && s.p[i] != '.')
			return false;
	return true;
}

static void list_apis(struct ctx *ctx, struct sl_api_versions_resp *resp, bool is_only_self)
{
	resp->api_keys = sl_arena_alloc_array(&ctx->scratch, SL_API_COUNT, sizeof(*resp->api_keys));
	if (!resp->api_keys)
		return;
	for (int16_t key = 0; key <= SL_API_KEY_MAX; key++) {
		const struct sl_api *api = sl_api_find(key);

		if (!api || (is_only_self && key != SL_API_API_VERSIONS))
			continue;
		struct sl_api_versions_resp_api_key *k = &resp->api_keys[resp->api_keys_count++];

		sl_api_versions_resp_api_key_init(k);
		k->api_key = key;
		k->min_version = api->listed_min;
		k->max_version = api->max_version;
	}
}

/* From this version on a feature may begin at level 0. */
#define VERSION_LEVEL_0 4

/* Each feature is finalized at the one level that there is. */
static void list_features(struct ctx *ctx, struct sl_api_versions_resp *resp, int16_t version)
{
	static const struct {
		const char *name;
		int16_t level;
	} features[] = {
		{"group.version", 1},       /* groups of the consumer protocol: KIP-848 */
		{"transaction.version", 2}, /* epochs rise with every transaction: KIP-890 */
	};
	size_t n = SL_ARRAY_SIZE(features);

	resp->supported_features = sl_arena_alloc_array(&ctx->scratch, n,
	                                                sizeof(*resp->supported_features));
	resp->finalized_features = sl_arena_alloc_array(&ctx->scratch, n,
	                                                sizeof(*resp->finalized_features));
	if (!resp->supported_features || !resp->finalized_features)
		return;
	for (size_t i = 0; i < n; i++) {
		sl_api_versions_resp_supported_feature_init(&resp->supported_features[i]);
		resp->supported_features[i].name = sl_str_from(features[i].name);
		/* Clients of older versions take 0 for a broken range: KAFKA-17011. */
		resp->supported_features[i].min_version = version < VERSION_LEVEL_0 ? 1 : 0;
		resp->supported_features[i].max_version = features[i].level;
		sl_api_versions_resp_finalized_feature_init(&resp->finalized_features[i]);
		resp->finalized_features[i].name = sl_str_from(features[i].name);
		resp->finalized_features[i].max_version_level = features[i].level;
		resp->finalized_features[i].min_version_level = features[i].level;
	}
	resp->supported_features_count = (int32_t)n;
	resp->finalized_features_count = (int32_t)n;
	resp->finalized_features_epoch = 0;
}

enum request_result api_versions_run(struct ctx *ctx, struct request *req)
{
	struct sl_cursor c = sl_cursor_from(req->frame + req->body_pos,
	                                    req->frame_bytes - req->body_pos);
	struct sl_api_versions_resp resp;
	struct sl_api_versions_req body;
	int16_t version = req->head.api_version;

	sl_api_versions_resp_init(&resp);
	if (version < 0 || version > req->api->max_version) {
		version = 0;
		resp.error_code = SL_KERR_UNSUPPORTED_VERSION;
		list_apis(ctx, &resp, true);
	} else {
		if (sl_api_versions_req_decode(&body, &c, &ctx->scratch, version) != 0 ||
		    !sl_cursor_is_done(&c)) {
			ctx_count(ctx, SL_STAT_closed_malformed, 1);
			return REQUEST_CLOSE;
		}
		if (version >= 3 && (!is_software_text(body.client_software_name) ||
		                     !is_software_text(body.client_software_version)))
			resp.error_code = SL_KERR_INVALID_REQUEST;
		else
			list_apis(ctx, &resp, false);
		list_features(ctx, &resp, version);
	}
	request_reply_begin(ctx, req);
	sl_api_versions_resp_encode(&resp, &ctx->out, version);
	return request_reply_end(ctx, req, NULL, 0);
}
