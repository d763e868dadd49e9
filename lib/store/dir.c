/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log dir: the lock that keeps a second process out, the marker of a clean shutdown, and the list
 * of partition folders.  Used while the process starts and stops, and by one housekeeping thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/assert.h"
#include "sluice/base/log.h"
#include "sluice/store/log.h"

#include "fileio.h"
#include "log_impl.h"

#define DIR_CLEAN_FILE ".sluice_clean"
#define DIR_FORMAT     1 /* of everything below the log dir */
#define BOOT_ID_MAX    64

struct sl_log_dir {
	struct sl_files files;
	int fd;
	int lock_fd;
	char path[]; /* as the caller gave it */
};

/* Entries of a folder, read before anything is done with them. */
struct entries {
	char **names; /* Owned, each. */
	uint32_t count;
	uint32_t cap;
	uint32_t max; /* stop here */
	bool (*is_wanted)(const char *name);
};

static void entries_fini(struct entries *entries)
{
	for (uint32_t i = 0; i < entries->count; i++)
		free(entries->names[i]);
	free(entries->names);
	*entries = (struct entries){0};
}

static int on_entry(void *arg, const char *name)
{
	struct entries *entries = arg;

	if (entries->is_wanted && !entries->is_wanted(name))
		return 0;
	if (entries->count == entries->max)
		return 1;
	if (entries->count == entries->cap) {
		uint32_t cap = entries->cap ? entries->cap * 2 : 64;
		char **names = realloc(entries->names, cap * sizeof(char *));

		if (!names)
			return -ENOMEM;
		entries->names = names;
		entries->cap = cap;
	}
	entries->names[entries->count] = strdup(name);
	if (!entries->names[entries->count])
		return -ENOMEM;
	entries->count++;
	return 0;
}

static int entries_read(struct entries *entries, const struct sl_log_dir *dir, const char *folder)
{
	int err = dir->files.ops->list(dir->files.ctx, dir->fd, folder, on_entry, entries);

	if (err < 0)
		entries_fini(entries);
	return err < 0 ? err : 0;
}

/* Random id of this boot, "" if the kernel does not tell. */
static void read_boot_id(char id[BOOT_ID_MAX])
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

	id[0] = '\0';
	if (!file)
		return;
	if (fgets(id, BOOT_ID_MAX, file))
		id[strcspn(id, "\n")] = '\0';
	fclose(file);
}

/* mkdir -p through the file ops. */
static int create_path(const struct sl_files *files, const char *path)
{
	char prefix[STORE_PATH_MAX * 8];
	size_t len = strlen(path);

	if (len >= sizeof(prefix))
		return -ENAMETOOLONG;
	for (size_t i = 1; i <= len; i++) {
		int err;

		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(prefix, path, i);
		prefix[i] = '\0';
		err = files->ops->mkdir(files->ctx, AT_FDCWD, prefix, 0750);
		if (err && err != -EEXIST)
			return err;
	}
	return 0;
}

static int take_lock(struct sl_log_dir *dir)
{
	int err;

	dir->lock_fd = dir->files.ops->open(dir->files.ctx, dir->fd, LOG_LOCK_FILE,
	                                    O_RDWR | O_CREAT, 0640);
	if (dir->lock_fd < 0)
		return dir->lock_fd;
	err = dir->files.ops->lock(dir->files.ctx, dir->lock_fd);
	if (!err)
		return 0;
	dir->files.ops->close(dir->files.ctx, dir->lock_fd);
	return err == -EWOULDBLOCK ? -EBUSY : err;
}

/* The marker vouches for one start only. */
static int take_marker(struct sl_log_dir *dir, bool *was_clean)
{
	char boot_now[BOOT_ID_MAX];
	char boot_then[BOOT_ID_MAX] = "";
	char *text = NULL;
	size_t len = 0;
	int version = 0;
	int err;

	*was_clean = false;
	err = fileio_load(&dir->files, dir->fd, DIR_CLEAN_FILE, 512, &text, &len);
	if (err == -ENOENT)
		return 0;
	if (err && err != -EFBIG)
		return err;
	if (!err &&
	    sscanf(text, "version: %d\nboot_id: %63[0-9a-f-]\n", &version, boot_then) >= 1 &&
	    version == DIR_FORMAT && text[len - 1] == '\n')
		*was_clean = true;
	free(text);
	read_boot_id(boot_now);
	sl_log(INFO, store, "found clean shutdown marker dir=%s valid=%s boot=%s", dir->path,
	       *was_clean ? "yes" : "no", strcmp(boot_now, boot_then) == 0 ? "same" : "earlier");
	err = dir->files.ops->unlink(dir->files.ctx, dir->fd, DIR_CLEAN_FILE);
	/* Gone from the disk before any log changes: a power cut must not bring it back. */
	return err ? err : dir->files.ops->sync(dir->files.ctx, dir->fd);
}

int sl_log_dir_open(struct sl_log_dir **out, const char *path, struct sl_files files,
                    bool *was_clean)
{
	size_t path_bytes = strlen(path) + 1;
	struct sl_log_dir *dir;
	int err;

	SL_ASSERT(path_bytes > 1);
	dir = calloc(1, sizeof(*dir) + path_bytes);
	if (!dir)
		return -ENOMEM;
	memcpy(dir->path, path, path_bytes);
	dir->files = files;
	err = create_path(&files, path);
	if (err)
		goto err_free;
	dir->fd = files.ops->open(files.ctx, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	if (dir->fd < 0) {
		err = dir->fd;
		goto err_free;
	}
	err = take_lock(dir);
	if (err)
		goto err_close;
	err = take_marker(dir, was_clean);
	if (err)
		goto err_unlock;
	*out = dir;
	return 0;
err_unlock:
	files.ops->close(files.ctx, dir->lock_fd);
err_close:
	files.ops->close(files.ctx, dir->fd);
err_free:
	free(dir);
	return err;
}

const struct sl_files *dir_files(const struct sl_log_dir *dir)
{
	return &dir->files;
}

int sl_log_dir_fd(const struct sl_log_dir *dir)
{
	return dir->fd;
}

int sl_log_dir_lock_fd(const struct sl_log_dir *dir)
{
	return dir->lock_fd;
}

const char *sl_log_dir_path(const struct sl_log_dir *dir)
{
	return dir->path;
}

/* "<topic>-<partition>", the number as printf writes it.  The topic's length, or 0. */
static size_t parse_folder(const char *name, int32_t *partition)
{
	const char *dash = strrchr(name, '-');
	int64_t v = 0;

	if (!dash || dash == name || dash[1] == '\0' || (dash[1] == '0' && dash[2] != '\0'))
		return 0;
	for (const char *p = dash + 1; *p; p++) {
		if (*p < '0' || *p > '9')
			return 0;
		v = v * 10 + (*p - '0');
		if (v > INT32_MAX)
			return 0;
	}
	*partition = (int32_t)v;
	return (size_t)(dash - name);
}

static bool is_partition_folder(const char *name)
{
	int32_t partition;

	return parse_folder(name, &partition) > 0;
}

static bool is_deleted_folder(const char *name)
{
	static const char suffix[] = "-delete";
	size_t len = strlen(name);

	return len > sizeof(suffix) && strcmp(name + len - (sizeof(suffix) - 1), suffix) == 0;
}

int sl_log_dir_scan(struct sl_log_dir *dir,
                    int (*each)(void *arg, const char *topic, int32_t partition,
                                const struct sl_uuid *topic_id),
                    void *arg)
{
	struct entries entries = {.max = UINT32_MAX, .is_wanted = is_partition_folder};
	int err = entries_read(&entries, dir, ".");

	if (err)
		return err;
	for (uint32_t i = 0; i < entries.count && !err; i++) {
		struct sl_uuid topic_id = {0};
		int32_t partition = 0;
		size_t topic_len = parse_folder(entries.names[i], &partition);

		err = checkpoint_load_topic_id(&dir->files, dir->fd, entries.names[i], &topic_id);
		if (err == -ENOTDIR) { /* somebody's file with such a name */
			err = 0;
			continue;
		}
		/* No readable id: the caller sees zeros, sl_log_open() decides. */
		if (err && err != -ENOENT && err != -EBADMSG)
			break;
		entries.names[i][topic_len] = '\0';
		err = each(arg, entries.names[i], partition, &topic_id);
	}
	entries_fini(&entries);
	return err;
}

/* Unlinks at most @max files of one deleted folder, and the folder when it is empty. */
static int sweep_folder(struct sl_log_dir *dir, const char *folder, uint32_t max)
{
	struct entries entries = {.max = max};
	char path[STORE_PATH_MAX];
	uint32_t done = 0;
	int err = entries_read(&entries, dir, folder);

	if (err)
		return err == -ENOTDIR ? 0 : err;
	for (; done < entries.count && !err; done++) {
		int n = snprintf(path, sizeof(path), "%s/%s", folder, entries.names[done]);

		SL_ASSERT(n > 0 && (size_t)n < sizeof(path));
		err = dir->files.ops->unlink(dir->files.ctx, dir->fd, path);
	}
	entries_fini(&entries);
	if (!err && done < max)
		err = dir->files.ops->rmdir(dir->files.ctx, dir->fd, folder);
	return err ? err : (int)done;
}

int sl_log_dir_sync(struct sl_log_dir *dir)
{
	return dir->files.ops->sync(dir->files.ctx, dir->fd);
}

int sl_log_dir_sweep(struct sl_log_dir *dir, uint32_t max)
{
	struct entries entries = {.max = UINT32_MAX, .is_wanted = is_deleted_folder};
	uint32_t done = 0;
	int err = entries_read(&entries, dir, ".");

	if (err)
		return err;
	for (uint32_t i = 0; i < entries.count && done < max && err >= 0; i++) {
		err = sweep_folder(dir, entries.names[i], max - done);
		if (err > 0)
			done += (uint32_t)err;
	}
	entries_fini(&entries);
	return err < 0 ? err : (int)done;
}

static int write_marker(struct sl_log_dir *dir)
{
	char boot_id[BOOT_ID_MAX];
	char text[128];
	int err;
	int n;

	read_boot_id(boot_id);
	n = snprintf(text, sizeof(text), "version: %d\nboot_id: %s\n", DIR_FORMAT, boot_id);
	err = fileio_replace(&dir->files, dir->fd, DIR_CLEAN_FILE, text, (size_t)n, true);
	return err ? err : dir->files.ops->sync(dir->files.ctx, dir->fd);
}

int sl_log_dir_close(struct sl_log_dir *dir, bool is_clean)
{
	int err = is_clean ? write_marker(dir) : 0;

	dir->files.ops->close(dir->files.ctx, dir->lock_fd);
	dir->files.ops->close(dir->files.ctx, dir->fd);
	free(dir);
	return err;
}

int sl_log_dir_space(const struct sl_log_dir *dir, uint64_t *total, uint64_t *free_bytes)
{
	return dir->files.ops->space(dir->files.ctx, dir->fd, total, free_bytes);
}
