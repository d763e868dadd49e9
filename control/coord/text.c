/* SPDX-License-Identifier: Apache-2.0 */
/* Owned copies of borrowed strings and bytes.  A copy of an empty value is not NULL. */
#include "text.h"

#include <errno.h>
#include <stdlib.h>

static void *copy(const void *p, int32_t len)
{
	void *to = malloc((size_t)len + 1);

	if (to && len > 0)
		memcpy(to, p, (size_t)len);
	return to;
}

int text_dup(struct sl_str *out, struct sl_str s)
{
	char *to;

	if (s.len < 0) {
		*out = SL_STR_NULL;
		return 0;
	}
	to = copy(s.p, s.len);
	if (!to)
		return -ENOMEM;
	*out = (struct sl_str){to, s.len};
	return 0;
}

void text_free(struct sl_str *s)
{
	free((void *)(uintptr_t)s->p);
	*s = SL_STR_NULL;
}

int text_dup_bytes(struct sl_bytes *out, struct sl_bytes b)
{
	void *to;

	if (b.len < 0) {
		*out = SL_BYTES_NULL;
		return 0;
	}
	to = copy(b.p, b.len);
	if (!to)
		return -ENOMEM;
	*out = (struct sl_bytes){to, b.len};
	return 0;
}

void text_free_bytes(struct sl_bytes *b)
{
	free((void *)(uintptr_t)b->p);
	*b = SL_BYTES_NULL;
}
