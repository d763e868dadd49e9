/* SPDX-License-Identifier: Apache-2.0 */
/* Random topic ids and Kafka's text form of them (URL-safe base64 without padding, 22 characters).
 */
#ifndef SLUICE_BASE_UUID_H
#define SLUICE_BASE_UUID_H

#include "sluice/base/base.h"

#define SL_UUID_TEXT_MAX 23 /* with the NUL */

/* Version-4 UUID from getrandom(2), never zero and never starting with '-' in text (as Kafka's). */
void sl_uuid_random(struct sl_uuid *u);
/* Fills @out, returns it. */
const char *sl_uuid_text(const struct sl_uuid *u, char out[SL_UUID_TEXT_MAX]);
/* Return: 0; -EINVAL not 22 base64url characters. */
int sl_uuid_parse(struct sl_uuid *u, struct sl_str text) SL_MUST_CHECK;

#endif
