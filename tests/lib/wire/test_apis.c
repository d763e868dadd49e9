/* SPDX-License-Identifier: Apache-2.0 */
/* The API table, the headers around messages, and the error codes. */
#include <criterion/criterion.h>
#include <errno.h>

#include "sluice/wire/apis.h"
#include "sluice/wire/heartbeat_gen.h"
#include "sluice/wire/kerr.h"

/* The advertise column of the protocol reference, §1.1. */
static const struct {
	int16_t key;
	int16_t listed_min;
	int16_t min;
	int16_t max;
	int16_t flexible_from;
} served[] = {
	{0, 0, 3, 13, 9},
	{1, 4, 4, 18, 12},
	{2, 1, 1, 11, 6},
	{3, 0, 0, 13, 9},
	{8, 2, 2, 10, 8},
	{9, 1, 1, 10, 6},
	{10, 0, 0, 6, 3},
	{11, 0, 0, 9, 6},
	{12, 0, 0, 4, 4},
	{13, 0, 0, 5, 4},
	{14, 0, 0, 5, 4},
	{15, 0, 0, 6, 5},
	{16, 0, 0, 5, 3},
	{18, 0, 0, 4, 3},
	{19, 2, 2, 7, 5},
	{20, 1, 1, 6, 4},
	{21, 0, 0, 2, 2},
	{22, 0, 0, 5, 2},
	{23, 2, 2, 4, 4},
	{24, 0, 0, 3, 3},
	{25, 0, 0, 4, 3},
	{26, 0, 0, 5, 3},
	{27, 1, 1, 2, 1},
	{28, 0, 0, 5, 3},
	{32, 1, 1, 4, 4},
	{33, 0, 0, 2, 2},
	{35, 1, 1, 5, 2},
	{37, 0, 0, 3, 2},
	{42, 0, 0, 3, 2},
	{44, 0, 0, 1, 1},
	{47, 0, 0, 0, SL_API_NEVER_FLEXIBLE},
	{60, 0, 0, 2, 0},
	{61, 0, 0, 0, 0},
	{65, 0, 0, 0, 0},
	{66, 0, 0, 2, 0},
	{68, 0, 0, 1, 0},
	{69, 0, 0, 1, 0},
	{74, 0, 0, 1, 0},
	{75, 0, 0, 0, 0},
};

Test(apis, table_serves_the_reference_ranges)
{
	cr_assert_eq(SL_ARRAY_SIZE(served), SL_API_COUNT);
	for (size_t i = 0; i < SL_ARRAY_SIZE(served); i++) {
		const struct sl_api *api = sl_api_find(served[i].key);

		cr_assert(api);
		cr_assert_eq(api, &sl_api_table[i]);
		cr_assert_eq(api->key, served[i].key);
		cr_assert_eq(api->listed_min, served[i].listed_min);
		cr_assert_eq(api->min_version, served[i].min);
		cr_assert_eq(api->max_version, served[i].max);
		cr_assert_eq(api->flexible_from, served[i].flexible_from, "%s", api->name);
		cr_assert(!sl_api_serves(api, served[i].min - 1) &&
		          sl_api_serves(api, served[i].min));
		cr_assert(!sl_api_serves(api, served[i].max + 1) &&
		          sl_api_serves(api, served[i].max));
	}
}

Test(apis, keys_we_do_not_serve_are_not_found)
{
	static const int16_t keys[] = {-1, 4, 7, 17, 67, 76, 1000, INT16_MAX, INT16_MIN};

	for (size_t i = 0; i < SL_ARRAY_SIZE(keys); i++)
		cr_assert_null(sl_api_find(keys[i]));
}

Test(apis, header_versions_follow_the_rules)
{
	const struct sl_api *metadata = sl_api_find(SL_API_METADATA);
	const struct sl_api *versions = sl_api_find(SL_API_API_VERSIONS);

	cr_assert_eq(sl_api_request_header_version(metadata, 8), 1);
	cr_assert_eq(sl_api_request_header_version(metadata, 9), 2);
	cr_assert_eq(sl_api_response_header_version(metadata, 8), 0);
	cr_assert_eq(sl_api_response_header_version(metadata, 9), 1);
	cr_assert_eq(sl_api_request_header_version(versions, 2), 1);
	cr_assert_eq(sl_api_request_header_version(versions, 3), 2);
	cr_assert_eq(sl_api_response_header_version(versions, 4), 0);
	cr_assert_eq(sl_api_request_header_version(sl_api_find(SL_API_OFFSET_DELETE), 0), 1);
}

Test(apis, request_head_of_an_unknown_key_is_read_as_far_as_known)
{
	static const uint8_t frame[] = {0x03, 0xe8, 0, 2, 0, 0, 0, 9};
	struct sl_cursor c = sl_cursor_from(frame, sizeof(frame));
	struct sl_request_head head;

	cr_assert_eq(sl_request_head_decode(&head, &c), -ENOTSUP);
	cr_assert_eq(head.api_key, 1000);
	cr_assert_eq(head.api_version, 2);
	cr_assert_eq(head.correlation_id, 9);
}

/* Clients may know an ApiVersions that we do not: the head must be readable to answer at all. */
Test(apis, request_head_of_a_future_api_versions_is_read)
{
	static const uint8_t frame[] = {0, 18,  0, 99, 0, 0,   0,   1,  0,
	                                1, 'x', 1, 5,  2, 'a', 'b', 'z'};
	struct sl_cursor c = sl_cursor_from(frame, sizeof(frame));
	struct sl_request_head head;

	cr_assert_eq(sl_request_head_decode(&head, &c), 0);
	cr_assert_eq(head.api_version, 99);
	cr_assert(sl_str_eq_c(head.client_id, "x"));
	/* The tag was skipped; the body begins behind it. */
	cr_assert_eq(sl_cursor_left(&c), 1);
}

Test(apis, request_head_cut_short_is_malformed)
{
	static const uint8_t v1[] = {0, 3, 0, 1, 0, 0, 0, 1, 0, 3, 'a', 'b', 'c'};
	static const uint8_t v2[] = {0, 3, 0, 9, 0, 0, 0, 1, 0, 3, 'a', 'b', 'c', 0};
	struct sl_request_head head;

	for (size_t len = 0; len < sizeof(v1); len++) {
		struct sl_cursor c = sl_cursor_from(v1, len);

		cr_assert_eq(sl_request_head_decode(&head, &c), -EBADMSG, "%zu", len);
	}
	for (size_t len = 0; len < sizeof(v2); len++) {
		struct sl_cursor c = sl_cursor_from(v2, len);

		cr_assert_eq(sl_request_head_decode(&head, &c), -EBADMSG, "%zu", len);
	}
}

Test(apis, response_heads)
{
	const struct sl_api *metadata = sl_api_find(SL_API_METADATA);
	const struct sl_api *versions = sl_api_find(SL_API_API_VERSIONS);
	uint8_t memory[32];
	struct sl_buf b;
	struct sl_cursor c;
	int32_t id = 0;

	sl_buf_init_fixed(&b, memory, sizeof(memory));
	sl_response_head_encode(&b, metadata, 8, 7);
	cr_assert_eq(b.len, 4);
	sl_response_head_encode(&b, metadata, 9, 8);
	cr_assert_eq(b.len, 9);
	sl_response_head_encode(&b, versions, 4, 9);
	cr_assert_eq(b.len, 13);
	c = sl_cursor_from(memory, b.len);
	cr_assert_eq(sl_response_head_decode(&c, metadata, 8, &id), 0);
	cr_assert_eq(id, 7);
	cr_assert_eq(sl_response_head_decode(&c, metadata, 9, &id), 0);
	cr_assert_eq(id, 8);
	cr_assert_eq(sl_response_head_decode(&c, versions, 4, &id), 0);
	cr_assert_eq(id, 9);
	cr_assert_eq(sl_response_head_decode(&c, versions, 4, &id), -EBADMSG);
}

Test(apis, response_is_its_head_and_the_body_of_its_api)
{
	const struct sl_heartbeat_resp m = {.throttle_time_ms = 5, .error_code = 27};
	static const uint8_t v1[] = {0, 0, 0, 7, 0, 0, 0, 5, 0, 27};
	static const uint8_t v4[] = {0, 0, 0, 7, 0, 0, 0, 0, 5, 0, 27, 0};
	const struct sl_api *api = sl_api_find(SL_API_HEARTBEAT);
	uint8_t memory[32];
	struct sl_buf b;

	sl_buf_init_fixed(&b, memory, sizeof(memory));
	sl_response_encode(&b, api, 1, 7, &m);
	cr_assert(b.len == sizeof(v1) && memcmp(memory, v1, sizeof(v1)) == 0);
	sl_buf_reset(&b);
	sl_response_encode(&b, api, 4, 7, &m);
	cr_assert(b.len == sizeof(v4) && memcmp(memory, v4, sizeof(v4)) == 0);
}

/* Some codes of each era, by number, as the protocol guide lists them. */
Test(kerr, codes_have_kafkas_numbers_and_names)
{
	static const struct {
		int code;
		int number;
		const char *name;
	} codes[] = {
		{SL_KERR_UNKNOWN_SERVER_ERROR, -1, "UNKNOWN_SERVER_ERROR"},
		{SL_KERR_NONE, 0, "NONE"},
		{SL_KERR_UNKNOWN_TOPIC_OR_PARTITION, 3, "UNKNOWN_TOPIC_OR_PARTITION"},
		{SL_KERR_NOT_LEADER_OR_FOLLOWER, 6, "NOT_LEADER_OR_FOLLOWER"},
		{SL_KERR_COORDINATOR_LOAD_IN_PROGRESS, 14, "COORDINATOR_LOAD_IN_PROGRESS"},
		{SL_KERR_REBALANCE_IN_PROGRESS, 27, "REBALANCE_IN_PROGRESS"},
		{SL_KERR_UNSUPPORTED_VERSION, 35, "UNSUPPORTED_VERSION"},
		{SL_KERR_OUT_OF_ORDER_SEQUENCE_NUMBER, 45, "OUT_OF_ORDER_SEQUENCE_NUMBER"},
		{SL_KERR_KAFKA_STORAGE_ERROR, 56, "KAFKA_STORAGE_ERROR"},
		{SL_KERR_FENCED_LEADER_EPOCH, 74, "FENCED_LEADER_EPOCH"},
		{SL_KERR_MEMBER_ID_REQUIRED, 79, "MEMBER_ID_REQUIRED"},
		{SL_KERR_INVALID_RECORD, 87, "INVALID_RECORD"},
		{SL_KERR_UNKNOWN_TOPIC_ID, 100, "UNKNOWN_TOPIC_ID"},
		{SL_KERR_TRANSACTION_ABORTABLE, 120, "TRANSACTION_ABORTABLE"},
		{SL_KERR_STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED, 135,
	         "STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED"},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(codes); i++) {
		cr_assert_eq(codes[i].code, codes[i].number);
		cr_assert_str_eq(sl_kerr_name(codes[i].code), codes[i].name);
	}
	for (int code = SL_KERR_MIN; code <= SL_KERR_MAX; code++)
		cr_assert_str_neq(sl_kerr_name(code), "UNKNOWN_CODE", "%d", code);
	cr_assert_str_eq(sl_kerr_name(-2), "UNKNOWN_CODE");
	cr_assert_str_eq(sl_kerr_name(SL_KERR_MAX + 1), "UNKNOWN_CODE");
}

Test(kerr, errno_becomes_a_code)
{
	cr_assert_eq(sl_kerr_from_errno(0), SL_KERR_NONE);
	cr_assert_eq(sl_kerr_from_errno(-ENOSPC), SL_KERR_KAFKA_STORAGE_ERROR);
	cr_assert_eq(sl_kerr_from_errno(-EILSEQ), SL_KERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
	cr_assert_eq(sl_kerr_from_errno(-ESTALE), SL_KERR_INVALID_PRODUCER_EPOCH);
	cr_assert_eq(sl_kerr_from_errno(-ERANGE), SL_KERR_OFFSET_OUT_OF_RANGE);
	cr_assert_eq(sl_kerr_from_errno(-EPROTO), SL_KERR_INVALID_TXN_STATE);
	cr_assert_eq(sl_kerr_from_errno(-EKEYREVOKED), SL_KERR_TRANSACTION_COORDINATOR_FENCED);
	cr_assert_eq(sl_kerr_from_errno(-EDOM), SL_KERR_UNKNOWN_SERVER_ERROR);
	cr_assert_eq(sl_kerr_from_errno(EIO), SL_KERR_UNKNOWN_SERVER_ERROR);
}
