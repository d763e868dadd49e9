/* SPDX-License-Identifier: Apache-2.0 */
/* The command line, by the table of commands. */
#ifndef CTL_PARSE_H
#define CTL_PARSE_H

#include "command.h"

#define PARSE_ERROR_MAX 256

/**
 * parse_args() - what follows a command's words, as parameters
 * @params: an object; Ownership: the caller's
 * "--name=value" and "--name value" are the same; after "--" nothing is an option.
 * Return: 0; -EINVAL with the reason in @error; -ENOMEM.
 */
int parse_args(const struct command *cmd, int argc, char *const *argv, json_t **params,
               char error[PARSE_ERROR_MAX]) SL_MUST_CHECK;

#endif
