/* SPDX-License-Identifier: Apache-2.0 */
/* Random UUIDs and their base64url text.  No state. */
#include "sluice/base/uuid.h"

#include <errno.h>
#include <sys/random.h>

#include "sluice/base/assert.h"

#define UUID_TEXT_LEN 22

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void fill_random(struct sl_uuid *u)
{
	size_t done = 0;

	while (done < sizeof(u->b)) {
		ssize_t n = getrandom(u->b + done, sizeof(u->b) - done, 0);

		/* Without randomness ids would repeat, which no caller could repair. */
		SL_ASSERT(n > 0 || errno == EINTR);
		if (n > 0)
			done += (size_t)n;
	}
}

void sl_uuid_random(struct sl_uuid *u)
{
	do {
		fill_random(u);
		u->b[6] = (uint8_t)((u->b[6] & 0x0f) |
		                    0x40); /* RFC 9562: version 4, so never zero */
		u->b[8] = (uint8_t)((u->b[8] & 0x3f) | 0x80); /* and its variant */
		/* A leading '-' would look like an option on a command line. */
	} while (alphabet[u->b[0] >> 2] == '-');
}

const char *sl_uuid_text(const struct sl_uuid *u, char out[SL_UUID_TEXT_MAX])
{
	uint32_t bits = 0;
	unsigned bits_count = 0;
	unsigned n = 0;

	for (unsigned i = 0; i < sizeof(u->b); i++) {
		bits = bits << 8 | u->b[i];
		for (bits_count += 8; bits_count >= 6; bits_count -= 6)
			out[n++] = alphabet[bits >> (bits_count - 6) & 63];
	}
	out[n++] = alphabet[bits << (6 - bits_count) & 63];
	SL_ASSERT(n == UUID_TEXT_LEN);
	out[n] = '\0';
	return out;
}

static int digit_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '-')
		return 62;
	return c == '_' ? 63 : -1;
}

int sl_uuid_parse(struct sl_uuid *u, struct sl_str text)
{
	struct sl_uuid out;
	uint32_t bits = 0;
	unsigned bits_count = 0;
	unsigned n = 0;

	if (text.len != UUID_TEXT_LEN)
		return -EINVAL;
	for (int i = 0; i < UUID_TEXT_LEN; i++) {
		int digit = digit_of(text.p[i]);

		if (digit < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)digit;
		bits_count += 6;
		if (bits_count >= 8) {
			bits_count -= 8;
			out.b[n++] = (uint8_t)(bits >> bits_count);
		}
	}
	SL_ASSERT(n == sizeof(out.b));
	*u = out;
	return 0;
}
