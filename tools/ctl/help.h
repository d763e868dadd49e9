/* SPDX-License-Identifier: Apache-2.0 */
/* The list of commands. */
#ifndef CTL_HELP_H
#define CTL_HELP_H

#include "command.h"

void help_list(FILE *out);
/* --help among the words of @argv: the command in full, those that begin so, or the list. */
void help_option(FILE *out, int argc, char *const *argv);

#endif
