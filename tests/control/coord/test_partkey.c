/* SPDX-License-Identifier: Apache-2.0 */
/* Partitions as keys of maps. */
#include <criterion/criterion.h>

#include "partkey.h"

Test(partkey, key_is_the_number_then_the_name)
{
	struct sl_str topic = sl_str_from("ab");
	uint8_t key[6];
	struct sl_str name;

	cr_assert_eq(partkey_bytes(topic), sizeof(key));
	cr_assert_eq(partkey_make(key, topic, 0x01020304), sizeof(key));
	cr_assert(memcmp(key, "\1\2\3\4ab", sizeof(key)) == 0);
	name = partkey_topic(key, sizeof(key));
	cr_assert(sl_str_eq(name, topic) && (const uint8_t *)name.p == key + 4);
}

Test(partkey, null_name_counts_as_an_empty_one)
{
	uint8_t key[4];

	cr_assert_eq(partkey_bytes(SL_STR_NULL), sizeof(key));
	cr_assert_eq(partkey_make(key, SL_STR_NULL, 7), sizeof(key));
	cr_assert_eq(partkey_topic(key, sizeof(key)).len, 0);
}

Test(partkey, finds_the_partition_and_no_other)
{
	struct sl_map map = {0};
	uint8_t key[16];
	int value;
	uint32_t len = partkey_make(key, sl_str_from("t"), 3);

	cr_assert_eq(sl_map_put(&map, key, len, &value), 0);
	cr_assert_eq(partkey_find(&map, sl_str_from("t"), 3), &value);
	cr_assert_null(partkey_find(&map, sl_str_from("t"), 4));
	cr_assert_null(partkey_find(&map, sl_str_from("tt"), 3));
	cr_assert_null(partkey_find(&map, SL_STR_NULL, 3));
	sl_map_fini(&map);
}
