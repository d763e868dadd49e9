/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log dirs: locks, inventory, placement, deletion.  The inventory is read once at start and
 * kept up to date, so that nobody lists a dir of many thousand folders to find one.
 */
#include "logdirs.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sluice/base/assert.h"
#include "sluice/base/clock.h"
#include "sluice/base/hash.h"
#include "sluice/base/log.h"
#include "sluice/base/uuid.h"
#include "sluice/ipc/shm.h"

#define SWEEP_FILES_MAX 64   /* removed per call: an unlink may take milliseconds */
#define LOCK_RETRY_US   1000 /* between two tries to take a lock */

struct dir {
	struct sl_log_dir *log_dir; /* Owned; NULL: it could not be opened */
	char *path;                 /* Owned */
	bool was_clean;
	bool is_sweep_due;
	bool is_sync_due; /* folders were renamed since the last sync */
	int error;
	uint32_t folders_count;
	struct sl_recycler *recyclers[SL_SHM_LANES_MAX]; /* Owned; each is used by its lane alone */
};

struct logdirs {
	struct sl_files files;
	uint64_t recycle_bytes;
	int64_t lock_until_ms; /* monotonic: a lock is waited for until then */
	uint32_t lanes_count;
	uint32_t count;
	struct dir dirs[LOGDIRS_MAX];
	struct sl_map folders; /* name -> struct logdirs_folder, Owned */
};

/* ---- Start ---- */

static int add_path(struct logdirs *d, const char *p, size_t len)
{
	while (len > 0 && (*p == ' ' || *p == '\t')) {
		p++;
		len--;
	}
	while (len > 0 && (p[len - 1] == ' ' || p[len - 1] == '\t'))
		len--;
	if (len == 0 || d->count == LOGDIRS_MAX)
		return -EINVAL;
	d->dirs[d->count].path = strndup(p, len);
	if (!d->dirs[d->count].path)
		return -ENOMEM;
	d->count++;
	return 0;
}

static int parse_list(struct logdirs *d, const char *list, const char *data_dir,
                      char error[SL_CONF_ERROR_MAX])
{
	int rc = 0;

	if (!*list) {
		if (asprintf(&d->dirs[0].path, "%s/log", data_dir) < 0) {
			d->dirs[0].path = NULL;
			return -ENOMEM;
		}
		d->count = 1;
		return 0;
	}
	for (const char *p = list; rc == 0 && p;) {
		const char *comma = strchr(p, ',');

		rc = add_path(d, p, comma ? (size_t)(comma - p) : strlen(p));
		p = comma ? comma + 1 : NULL;
	}
	if (rc == -EINVAL)
		snprintf(error, SL_CONF_ERROR_MAX,
		         "log.dirs: \"%s\" has an empty entry or more than %d", list, LOGDIRS_MAX);
	return rc;
}

static struct logdirs_folder *add_folder(struct logdirs *d, const char *name,
                                         const struct sl_uuid *topic_id, uint32_t dir)
{
	struct logdirs_folder *f = calloc(1, sizeof(*f));
	int n;

	if (!f)
		return NULL;
	n = snprintf(f->name, sizeof(f->name), "%s", name);
	SL_ASSERT(n > 0 && (size_t)n < sizeof(f->name));
	f->topic_id = *topic_id;
	f->dir = dir;
	f->is_clean = true;
	if (sl_map_put(&d->folders, f->name, strlen(f->name), f) != 0) {
		free(f);
		return NULL;
	}
	d->dirs[dir].folders_count++;
	return f;
}

struct scan {
	struct logdirs *dirs;
	uint32_t dir;
	char *error;
};

/* Two folders of one name, one without a topic id: its dir failed while it was being made, so that
 * the partition went to the other dir.  The one with an id is the partition. */
static void choose(struct scan *s, struct logdirs_folder *f, const struct sl_uuid *topic_id)
{
	uint32_t loser = sl_uuid_is_zero(topic_id) ? s->dir : f->dir;

	sl_log(WARN, host, "ignore unfinished folder part=%s dir=%s: remove it", f->name,
	       s->dirs->dirs[loser].path);
	if (loser == s->dir)
		return;
	s->dirs->dirs[loser].folders_count--;
	s->dirs->dirs[s->dir].folders_count++;
	f->dir = s->dir;
	f->topic_id = *topic_id;
	f->is_clean = s->dirs->dirs[s->dir].was_clean;
}

static int scan_folder(void *arg, const char *topic, int32_t partition,
                       const struct sl_uuid *topic_id)
{
	struct scan *s = arg;
	struct logdirs_folder *f, *other;
	char name[LOGDIRS_NAME_MAX];

	snprintf(name, sizeof(name), "%s-%d", topic, (int)partition);
	other = logdirs_find(s->dirs, name);
	if (other && sl_uuid_is_zero(topic_id) != sl_uuid_is_zero(&other->topic_id)) {
		choose(s, other, topic_id);
		return 0;
	}
	if (other) {
		snprintf(s->error, SL_CONF_ERROR_MAX,
		         "log.dirs: %s is in %s and in %s; move one of them away", name,
		         s->dirs->dirs[other->dir].path, s->dirs->dirs[s->dir].path);
		return -EEXIST;
	}
	f = add_folder(s->dirs, name, topic_id, s->dir);
	if (!f)
		return -ENOMEM;
	f->is_clean = s->dirs->dirs[s->dir].was_clean;
	return 0;
}

/* The lock of a process that was killed is free when the last of its writes is done: they must not
 * land among ours.  Return: as sl_log_dir_open(). */
static int lock_dir(struct logdirs *d, struct dir *dir)
{
	const int64_t begun_ms = sl_mono_ms();
	int rc = sl_log_dir_open(&dir->log_dir, dir->path, d->files, &dir->was_clean);

	if (rc != -EBUSY)
		return rc;
	while (rc == -EBUSY && sl_mono_ms() < d->lock_until_ms) {
		(void)usleep(LOCK_RETRY_US);
		rc = sl_log_dir_open(&dir->log_dir, dir->path, d->files, &dir->was_clean);
	}
	if (rc != -EBUSY)
		sl_log(INFO, host, "waited for the lock of a log dir path=%s ms=%" PRId64,
		       dir->path, sl_mono_ms() - begun_ms);
	return rc;
}

/* Return: 0, also for a dir that is merely offline; -EBUSY, -EEXIST, -ENOMEM stop the start. */
static int open_dir(struct logdirs *d, uint32_t i, char error[SL_CONF_ERROR_MAX])
{
	struct scan scan = {.dirs = d, .dir = i, .error = error};
	struct dir *dir = &d->dirs[i];
	int rc = lock_dir(d, dir);

	if (rc == -EBUSY) {
		snprintf(error, SL_CONF_ERROR_MAX,
		         "log.dirs: %s is in use by another process, or listed twice", dir->path);
		return rc;
	}
	/* A crash may have come between the renames of an earlier life and their sync. */
	dir->is_sweep_due = dir->is_sync_due = rc == 0;
	if (rc == 0)
		rc = sl_log_dir_scan(dir->log_dir, scan_folder, &scan);
	if (rc == -EEXIST || rc == -ENOMEM)
		return rc;
	if (rc != 0) {
		snprintf(error, SL_CONF_ERROR_MAX, "log.dirs: open %s: %s", dir->path,
		         strerror(-rc));
		(void)logdirs_set_offline(d, i, rc);
	}
	return 0;
}

int logdirs_create(struct logdirs **out, const char *list, const char *data_dir,
                   struct sl_files files, int64_t lock_wait_ms, char error[SL_CONF_ERROR_MAX])
{
	struct logdirs *d = calloc(1, sizeof(*d));
	uint32_t online = 0;
	int rc;

	if (!d)
		return -ENOMEM;
	d->files = files;
	d->lock_until_ms = sl_mono_ms() + lock_wait_ms;
	rc = parse_list(d, list, data_dir, error);
	for (uint32_t i = 0; rc == 0 && i < d->count; i++) {
		rc = open_dir(d, i, error);
		online += d->dirs[i].error == 0;
	}
	if (rc == 0 && online == 0)
		rc = d->dirs[d->count - 1].error;
	if (rc != 0) {
		/* Nothing was opened in them: what was clean stays so. */
		(void)logdirs_destroy(d);
		return rc;
	}
	*out = d;
	return 0;
}

/* One sync for all folders that were renamed since the last one, before any of their files goes.
 * Return: 0 or -errno. */
static int sync_renames(struct dir *dir)
{
	int rc = dir->is_sync_due ? sl_log_dir_sync(dir->log_dir) : 0;

	if (rc == 0)
		dir->is_sync_due = false;
	return rc;
}

/* A log that was never opened in this life is as clean as it was at the start. */
static bool is_dir_clean(const struct logdirs *d, uint32_t dir)
{
	const struct logdirs_folder *f;
	uint32_t pos = 0;

	if (d->dirs[dir].error)
		return false;
	while ((f = sl_map_next(&d->folders, &pos)))
		if (f->dir == dir && !f->is_clean)
			return false;
	return true;
}

int logdirs_destroy(struct logdirs *d)
{
	struct logdirs_folder *f;
	uint32_t pos = 0;
	int result = 0;

	if (!d)
		return 0;
	for (uint32_t i = 0; i < d->count; i++) {
		int rc = 0;

		for (uint32_t k = 0; k < SL_SHM_LANES_MAX; k++)
			sl_recycler_close(d->dirs[i].recyclers[k]);
		if (d->dirs[i].log_dir) {
			int sync_rc = sync_renames(&d->dirs[i]);

			rc = sl_log_dir_close(d->dirs[i].log_dir,
			                      sync_rc == 0 && is_dir_clean(d, i));
			rc = sync_rc ? sync_rc : rc;
		}
		if (rc != 0)
			sl_log(ERR, host,
			       "close log dir path=%s: %s; the next start scans its logs",
			       d->dirs[i].path, strerror(-rc));
		if (rc != 0 && result == 0)
			result = rc;
		free(d->dirs[i].path);
	}
	while ((f = sl_map_next(&d->folders, &pos)))
		free(f);
	sl_map_fini(&d->folders);
	free(d);
	return result;
}

/* ---- Dirs ---- */

uint32_t logdirs_count(const struct logdirs *d)
{
	return d->count;
}

const char *logdirs_path(const struct logdirs *d, uint32_t dir)
{
	SL_ASSERT(dir < d->count);
	return d->dirs[dir].path;
}

int logdirs_error(const struct logdirs *d, uint32_t dir)
{
	SL_ASSERT(dir < d->count);
	return d->dirs[dir].error;
}

uint32_t logdirs_online(const struct logdirs *d)
{
	uint32_t online = 0;

	for (uint32_t i = 0; i < d->count; i++)
		online += d->dirs[i].error == 0;
	return online;
}

uint32_t logdirs_folders(const struct logdirs *d, uint32_t dir)
{
	SL_ASSERT(dir < d->count);
	return d->dirs[dir].folders_count;
}

bool logdirs_set_offline(struct logdirs *d, uint32_t dir, int error)
{
	SL_ASSERT(dir < d->count && error < 0);
	if (d->dirs[dir].error)
		return false;
	d->dirs[dir].error = error;
	sl_log(ERR, host,
	       "take log dir offline path=%s online=%u: %s; reads go on; fix: %s, then restart",
	       d->dirs[dir].path, logdirs_online(d), strerror(-error),
	       error == -ENOSPC || error == -EDQUOT ? "make room on it" : "mend the disk");
	return true;
}

int logdirs_fd(const struct logdirs *d, uint32_t dir)
{
	SL_ASSERT(dir < d->count);
	return d->dirs[dir].log_dir ? sl_log_dir_fd(d->dirs[dir].log_dir) : -1;
}

int logdirs_lock_fd(const struct logdirs *d, uint32_t dir)
{
	return d->dirs[dir].log_dir ? sl_log_dir_lock_fd(d->dirs[dir].log_dir) : -1;
}

struct sl_log_dir *logdirs_handle(const struct logdirs *d, uint32_t dir)
{
	SL_ASSERT(dir < d->count);
	return d->dirs[dir].error ? NULL : d->dirs[dir].log_dir;
}

void logdirs_set_recycle(struct logdirs *d, uint64_t bytes, uint32_t lanes_count)
{
	d->lanes_count = lanes_count;
	d->recycle_bytes = bytes;
}

struct sl_recycler *logdirs_recycler(struct logdirs *d, uint32_t dir, uint32_t lane)
{
	struct sl_recycler **r = &d->dirs[dir].recyclers[lane];
	int rc;

	SL_ASSERT(dir < d->count && lane < SL_SHM_LANES_MAX);
	if (*r || !d->dirs[dir].log_dir || d->dirs[dir].error)
		return *r;
	rc = sl_recycler_open(r, d->dirs[dir].log_dir,
	                      &(struct sl_recycler_opts){.lane = lane,
	                                                 .lanes_count = d->lanes_count,
	                                                 .bytes_max = d->recycle_bytes});
	if (rc != 0)
		sl_log(WARN, host, "keep no segment files dir=%s lane=%u: %s", d->dirs[dir].path,
		       lane, strerror(-rc));
	return *r;
}

struct sl_files logdirs_files(const struct logdirs *d)
{
	return d->files;
}

/* ---- Folders ---- */

struct logdirs_folder *logdirs_find(const struct logdirs *d, const char *name)
{
	return sl_map_get(&d->folders, name, strlen(name));
}

int logdirs_place(struct logdirs *d, const char *name, const struct sl_uuid *topic_id,
                  struct logdirs_folder **out)
{
	struct logdirs_folder *f = logdirs_find(d, name);
	uint32_t best = UINT32_MAX;

	if (!f) {
		for (uint32_t i = 0; i < d->count; i++)
			if (!d->dirs[i].error &&
			    (best == UINT32_MAX ||
			     d->dirs[i].folders_count < d->dirs[best].folders_count))
				best = i;
		if (best == UINT32_MAX)
			return -EIO;
		f = add_folder(d, name, topic_id, best);
		if (!f)
			return -ENOMEM;
	}
	if (d->dirs[f->dir].error)
		return -EIO;
	*out = f;
	return 0;
}

void logdirs_forget(struct logdirs *d, struct logdirs_folder *f)
{
	SL_ASSERT(sl_map_del(&d->folders, f->name, strlen(f->name)) == f);
	d->dirs[f->dir].folders_count--;
	free(f);
}

int logdirs_set_aside(struct logdirs *d, struct logdirs_folder *f)
{
	const char *suffix = "-stray";
	char to[NAME_MAX + 1];
	struct sl_uuid id;
	char hex[33];
	int rc;

	sl_uuid_random(&id);
	for (size_t i = 0; i < sizeof(id.b); i++)
		snprintf(hex + 2 * i, 3, "%02x", id.b[i]);
	/* Cut as deleted folders' names are, so that every legal topic name has room. */
	snprintf(to, sizeof(to), "%.*s.%s%s", (int)(NAME_MAX - 1 - strlen(hex) - strlen(suffix)),
	         f->name, hex, suffix);
	rc = d->files.ops->rename(d->files.ctx, logdirs_fd(d, f->dir), f->name, to);
	if (rc != 0)
		return rc;
	sl_log(WARN, host, "set aside stray partition dir=%s from=%s to=%s", d->dirs[f->dir].path,
	       f->name, to);
	logdirs_forget(d, f);
	return 0;
}

void logdirs_want_sweep(struct logdirs *d, uint32_t dir)
{
	SL_ASSERT(dir < d->count);
	d->dirs[dir].is_sweep_due = d->dirs[dir].is_sync_due = true;
}

bool logdirs_sweep(struct logdirs *d)
{
	bool is_more = false;

	for (uint32_t i = 0; i < d->count; i++) {
		struct dir *dir = &d->dirs[i];
		int n;

		if (!dir->is_sweep_due || dir->error)
			continue;
		n = sync_renames(dir);
		if (n == 0)
			n = sl_log_dir_sweep(dir->log_dir, SWEEP_FILES_MAX);
		dir->is_sweep_due = n == SWEEP_FILES_MAX;
		is_more |= dir->is_sweep_due;
		/* Their space is lost until the next deletion tries again; nothing else is. */
		if (n < 0)
			sl_log(WARN, host, "remove deleted partitions path=%s: %s", dir->path,
			       strerror(-n));
		if (sl_log_is_disk_error(n))
			(void)logdirs_set_offline(d, i, n);
	}
	return is_more;
}

/* Only an open log can be deleted; @was_clean spares the scan of what is thrown away. */
static int delete_folder(struct logdirs *d, const struct logdirs_folder *f)
{
	struct sl_log_recovery report;
	struct sl_log_opts opts = {
		.files = d->files,
		.dirfd = logdirs_fd(d, f->dir),
		.topic_id = f->topic_id,
		.config = {.segment_bytes = INT32_MAX, .retention_ms = -1, .retention_bytes = -1},
		.was_clean = true,
		.now_ms = sl_wall_ms(),
	};
	char topic[LOGDIRS_NAME_MAX];
	char *dash;
	struct sl_log *log;
	int rc;

	memcpy(topic, f->name, sizeof(topic));
	dash = strrchr(topic, '-');
	SL_ASSERT(dash);
	*dash = '\0';
	opts.topic = topic;
	opts.partition = (int32_t)strtol(dash + 1, NULL, 10);
	rc = sl_log_open(&log, &opts, &report);
	return rc == 0 ? sl_log_delete(log) : rc;
}

uint32_t logdirs_purge(struct logdirs *d, const struct sl_uuid *topic_id)
{
	struct logdirs_folder *f;
	uint32_t purged = 0;
	uint32_t pos = 0;

	if (sl_uuid_is_zero(topic_id))
		return 0;
	while ((f = sl_map_next(&d->folders, &pos))) {
		int rc;

		if (f->is_hosted || d->dirs[f->dir].error || !sl_uuid_eq(&f->topic_id, topic_id))
			continue;
		rc = delete_folder(d, f);
		if (rc != 0) {
			sl_log(WARN, host, "delete stray partition part=%s: %s", f->name,
			       strerror(-rc));
			continue;
		}
		logdirs_want_sweep(d, f->dir);
		logdirs_forget(d, f);
		purged++;
	}
	return purged;
}

uint32_t logdirs_report_strays(const struct logdirs *d)
{
	const struct logdirs_folder *f, *first = NULL;
	uint32_t count = 0;
	uint32_t pos = 0;

	while ((f = sl_map_next(&d->folders, &pos))) {
		if (f->is_hosted)
			continue;
		sl_log(DEBUG, host, "found stray partition part=%s dir=%s", f->name,
		       d->dirs[f->dir].path);
		first = first ? first : f;
		count++;
	}
	if (count)
		sl_log(WARN, host,
		       "found stray partitions count=%u first=%s dir=%s: no topic has them, they are kept",
		       count, first->name, d->dirs[first->dir].path);
	return count;
}
