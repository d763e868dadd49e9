/* SPDX-License-Identifier: Apache-2.0 */
/* The list of commands. */
#ifndef CTL_HELP_H
#define CTL_HELP_H

#include "command.h"

void help_list(FILE *out);

#endif
