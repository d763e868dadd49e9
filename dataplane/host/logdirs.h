/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log dirs and what lies in them: which folder is in which dir, where a new partition goes, and
 * which dirs have failed.  Host thread only.
 */
#ifndef DATAPLANE_HOST_LOGDIRS_H
#define DATAPLANE_HOST_LOGDIRS_H

#include "sluice/base/base.h"
#include "sluice/base/conf.h"
#include "sluice/store/log.h"

#define LOGDIRS_MAX      64
/* "<topic>-<partition>" with the NUL. */
#define LOGDIRS_NAME_MAX 264

struct logdirs;

/* A partition's folder. */
struct logdirs_folder {
	char name[LOGDIRS_NAME_MAX];
	struct sl_uuid topic_id; /* zero: unreadable */
	uint32_t dir;
	bool is_hosted; /* a partition uses it, or is about to */
	bool is_clean;  /* its log was closed in order and not opened since */
};

/**
 * logdirs_create() - lock the dirs of a list and take stock of them
 * @list: log.dirs, ',' between; "": <data_dir>/log
 * @files: of all logs
 * @lock_wait_ms: how long another process may go on holding a dir: the kernel lets go of the lock
 * of one that was killed only when the writes that it had under way are done
 * @error: on failure one line for the operator
 *
 * A dir that cannot be used is offline from the start; the others serve.
 *
 * Return: 0; -EBUSY another process still has one of them; -EEXIST a partition is in two dirs;
 * -EINVAL bad list; what the last dir said when none can be used; -ENOMEM.
 */
int logdirs_create(struct logdirs **out, const char *list, const char *data_dir,
                   struct sl_files files, int64_t lock_wait_ms,
                   char error[SL_CONF_ERROR_MAX]) SL_MUST_CHECK;
/* After all logs are closed: writes the clean-shutdown marker of each dir whose logs were all
 * closed cleanly.  Return: 0 or the first -errno; the memory is gone all the same. */
int logdirs_destroy(struct logdirs *dirs);

uint32_t logdirs_count(const struct logdirs *dirs);
const char *logdirs_path(const struct logdirs *dirs, uint32_t dir);
/* How many are not offline. */
uint32_t logdirs_online(const struct logdirs *dirs);
/* 0, or the -errno that took the dir offline. */
int logdirs_error(const struct logdirs *dirs, uint32_t dir);
/* Partitions in the dir. */
uint32_t logdirs_folders(const struct logdirs *dirs, uint32_t dir);
/* Return: true when it was online until now. */
bool logdirs_set_offline(struct logdirs *dirs, uint32_t dir, int error);
/* The dir's descriptor; -1 offline from the start. */
int logdirs_fd(const struct logdirs *dirs, uint32_t dir);
/* That of its lock; -1 likewise. */
int logdirs_lock_fd(const struct logdirs *dirs, uint32_t dir);
/* NULL while the dir is offline.  Borrowed. */
struct sl_log_dir *logdirs_handle(const struct logdirs *dirs, uint32_t dir);
/* Disk space that each lane keeps in each dir; before the first logdirs_recycler(). */
void logdirs_set_recycle(struct logdirs *dirs, uint64_t bytes, uint32_t lanes_count);
/* That lane's, opened when it is first asked for; NULL: it keeps none.  Borrowed. */
struct sl_recycler *logdirs_recycler(struct logdirs *dirs, uint32_t dir, uint32_t lane);
struct sl_files logdirs_files(const struct logdirs *dirs);

/**
 * logdirs_place() - the folder of a partition: where it is, else in the online dir with the fewest
 * @name: "<topic>-<partition>"
 * Return: 0; -EIO its dir, or every dir, is offline; -ENOMEM.
 */
int logdirs_place(struct logdirs *dirs, const char *name, const struct sl_uuid *topic_id,
                  struct logdirs_folder **out) SL_MUST_CHECK;
struct logdirs_folder *logdirs_find(const struct logdirs *dirs, const char *name);
/* The folder is gone, or never came to be. */
void logdirs_forget(struct logdirs *dirs, struct logdirs_folder *folder);
/* Renames a folder of another topic's that is in the way to "<name>.<hex>-stray" and forgets it;
 * its data is kept.  Return: 0 or -errno. */
int logdirs_set_aside(struct logdirs *dirs, struct logdirs_folder *folder) SL_MUST_CHECK;
/* Deleted folders wait in @dir for logdirs_sweep(). */
void logdirs_want_sweep(struct logdirs *dirs, uint32_t dir);
/* Removes files of deleted partitions, a bounded number.  Return: true when there may be more. */
bool logdirs_sweep(struct logdirs *dirs);
/* Deletes the folders of a topic that no partition uses.  Return: how many. */
uint32_t logdirs_purge(struct logdirs *dirs, const struct sl_uuid *topic_id);
/* Logs the folders that no partition uses: nobody's data, kept.  Return: how many. */
uint32_t logdirs_report_strays(const struct logdirs *dirs);

#endif
