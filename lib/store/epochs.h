/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leader-epoch history of one partition: which offset each epoch began at.  Kept in Kafka's
 * leader-epoch-checkpoint text: "0", number of entries, then "epoch offset" lines.
 */
#ifndef STORE_EPOCHS_H
#define STORE_EPOCHS_H

#include "sluice/base/base.h"
#include "sluice/store/file_ops.h"

struct epochs_entry {
	int32_t epoch;
	int64_t start; /* first offset written in it */
};

/* Legal states: zeroed = no history; entries rise in epoch and do not fall in start. */
struct epochs {
	struct epochs_entry *entries; /* Owned. */
	uint32_t count;
	uint32_t cap;
};

void epochs_fini(struct epochs *epochs);
int32_t epochs_latest(const struct epochs *epochs); /* -1: none */
/* Adds @epoch from @start on; an epoch that begins where the latest one began replaces it, because
 * that one wrote nothing.  Return: 1 added; 0 it is the latest already; -EINVAL it falls; -ENOMEM.
 */
int epochs_begin(struct epochs *epochs, int32_t epoch, int64_t start) SL_MUST_CHECK;
/* See sl_log_epoch_end(). */
void epochs_end(const struct epochs *epochs, int32_t asked, int64_t log_end, int32_t *epoch,
                int64_t *end);
/* Forgets what begins after the log's new end / is entirely below its new start.  True: changed. */
bool epochs_cut_tail(struct epochs *epochs, int64_t log_end);
bool epochs_cut_head(struct epochs *epochs, int64_t log_start);

/* -ENOENT absent; -EBADMSG not such a file; -errno. */
int epochs_load(struct epochs *epochs, const struct sl_files *files, int dirfd,
                const char *path) SL_MUST_CHECK;
int epochs_store(const struct epochs *epochs, const struct sl_files *files, int dirfd,
                 const char *path) SL_MUST_CHECK;

#endif
