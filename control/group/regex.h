/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regular expressions for names of topics, in the part of RE2's syntax that bytes need.
 *
 * Supported: literals, . [classes] with ranges, negation and [:names:], \d \w \s and their
 * negations, \Q..\E, groups (capturing or not, they only group), alternation, * + ? {n,m} and their
 * lazy forms, ^ $ \A \z \b \B, the flags i m s U.  Refused: what RE2 refuses (back references,
 * look-around, repetitions above 1000), Unicode classes and bytes above 127.
 *
 * A match takes time in proportion to the length of the text and the size of the program, whatever
 * the expression, so that a client cannot stop the coordinator with one.
 */
#ifndef CONTROL_GROUP_REGEX_H
#define CONTROL_GROUP_REGEX_H

#include "sluice/base/base.h"

/* Steps of a program; repetitions are written out. */
#define REGEX_STEPS_MAX  4096u
#define REGEX_REPEAT_MAX 1000
/* Of groups within groups. */
#define REGEX_DEPTH_MAX  100u
#define REGEX_BYTES_MAX  1024

struct regex;

/* Return: 0; -EINVAL no valid expression, or one that is too large; -ENOMEM. */
int regex_create(struct regex **out, struct sl_str text) SL_MUST_CHECK;
void regex_destroy(struct regex *re);
/* Does it match the whole text?  Changes scratch memory of @re only. */
bool regex_matches(struct regex *re, struct sl_str text);

#endif
