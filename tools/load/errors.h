/* SPDX-License-Identifier: Apache-2.0 */
/* What to do about an error code of the broker. */
#ifndef LOAD_ERRORS_H
#define LOAD_ERRORS_H

#include "sluice/base/base.h"

/* Whether the same request may succeed later, after the leaders have been asked for again. Anything
 * else will fail in the same way for ever. */
bool errors_is_retriable(int code);

#endif
