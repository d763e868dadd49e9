/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>

#include "rng.h"
#include "sluice/base/uuid.h"

Test(uuid, text_is_base64url_without_padding)
{
	char text[SL_UUID_TEXT_MAX];
	struct sl_uuid u;

	for (unsigned i = 0; i < 16; i++)
		u.b[i] = (uint8_t)i;
	cr_assert(strcmp(sl_uuid_text(&u, text), "AAECAwQFBgcICQoLDA0ODw") == 0);
	for (unsigned i = 0; i < 16; i++)
		u.b[i] = i % 2 ? 0xff : 0xfb;
	cr_assert(strcmp(sl_uuid_text(&u, text), "-__7__v_-__7__v_-__7_w") == 0);
	memset(&u, 0, sizeof(u));
	cr_assert(strcmp(sl_uuid_text(&u, text), "AAAAAAAAAAAAAAAAAAAAAA") == 0);
}

Test(uuid, text_round_trips)
{
	uint64_t rng = 8;

	for (int i = 0; i < 10000; i++) {
		char text[SL_UUID_TEXT_MAX];
		struct sl_uuid u;
		struct sl_uuid back;

		rng_fill(&rng, u.b, sizeof(u.b));
		cr_assert(sl_uuid_parse(&back, sl_str_from(sl_uuid_text(&u, text))) == 0);
		cr_assert(sl_uuid_eq(&u, &back));
	}
}

Test(uuid, parse_refuses_other_text_and_leaves_the_target)
{
	static const char *const bad[] = {
		"",
		"AAECAwQFBgcICQoLDA0OD",
		"AAECAwQFBgcICQoLDA0ODwA",
		"AAECAwQFBgcICQoLDA0OD=",
		"AAECAwQFBgcICQoLDA0OD+",
		"AAECAwQFBgcICQoLDA0/Dw",
		" AECAwQFBgcICQoLDA0ODw",
		"AAECAwQFBgcICQoLDA0OD\xc3",
	};
	struct sl_uuid u;

	memset(&u, 0x11, sizeof(u));
	for (size_t i = 0; i < SL_ARRAY_SIZE(bad); i++)
		cr_assert(sl_uuid_parse(&u, sl_str_from(bad[i])) == -EINVAL, "%s", bad[i]);
	cr_assert(sl_uuid_parse(&u, SL_STR_NULL) == -EINVAL);
	for (size_t i = 0; i < sizeof(u.b); i++)
		cr_assert(u.b[i] == 0x11);
}

Test(uuid, random_ones_are_version_4_distinct_and_never_begin_with_minus)
{
	enum {
		COUNT = 2000
	};
	static struct sl_uuid seen[COUNT];

	for (int i = 0; i < COUNT; i++) {
		char text[SL_UUID_TEXT_MAX];

		sl_uuid_random(&seen[i]);
		cr_assert((seen[i].b[6] & 0xf0) == 0x40);
		cr_assert((seen[i].b[8] & 0xc0) == 0x80);
		cr_assert(!sl_uuid_is_zero(&seen[i]));
		cr_assert(sl_uuid_text(&seen[i], text)[0] != '-');
		for (int j = 0; j < i; j++)
			cr_assert(!sl_uuid_eq(&seen[i], &seen[j]));
	}
}
