/* SPDX-License-Identifier: Apache-2.0 */
/* Which handler answers which API. */
#ifndef CONTROL_DISPATCH_H
#define CONTROL_DISPATCH_H

#include "request.h"

/* NULL: the control process does not serve it. */
request_handler *dispatch_handler(int16_t api_key);

#endif
