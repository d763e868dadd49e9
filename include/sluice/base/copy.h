/* SPDX-License-Identifier: Apache-2.0 */
/* A copy that leaves the caches to others. */
#ifndef SLUICE_BASE_COPY_H
#define SLUICE_BASE_COPY_H

#include <stddef.h>

/* Fewer bytes are moved by memmove(3): they are not worth the wait for the last of them. */
#define SL_COPY_AROUND_MIN ((size_t)4 << 10)

/**
 * sl_copy_around() - memmove(3) for a target that no cache has and that this CPU does not read soon
 *
 * Stores go around the caches, which have neither to read the target first nor to give up anything
 * for it: a third of the time.  Everything is visible to other CPUs, in the order of the program,
 * when the call returns.
 */
void sl_copy_around(void *to, const void *from, size_t bytes);

#endif
