/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In-memory file system.  A flat table of nodes with full paths ("" is the root); "synced" is what
 * a power cut leaves.  Renames and unlinks are taken as journalled; new names are durable once
 * their folder was synced.
 */
#include "simfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

#define SIMFS_NODES_MAX 512
#define SIMFS_FDS_MAX   512
#define SIMFS_FD_BASE   1000 /* so that a real descriptor is never mistaken for one */

struct node {
	char *path; /* NULL: free, or unlinked while open */
	uint8_t *data;
	size_t len;
	uint8_t *synced;
	size_t synced_len;
	unsigned int opened;
	bool is_used;
	bool is_dir;
	bool is_name_durable;
	bool is_locked;
};

struct simfs {
	struct node nodes[SIMFS_NODES_MAX];
	int fds[SIMFS_FDS_MAX]; /* node + 1; 0: free */
	bool fd_has_lock[SIMFS_FDS_MAX];
	unsigned int fault_ops;
	unsigned int fault_nth;
	int fault_err;
	size_t fault_torn;
	bool is_fault_sticky;
	bool has_failed;
	uint64_t space;
	unsigned int preads;
};

struct simfs *simfs_create(void)
{
	struct simfs *fs = calloc(1, sizeof(*fs));

	SL_ASSERT(fs);
	fs->nodes[0] = (struct node){
		.path = strdup(""), .is_used = true, .is_dir = true, .is_name_durable = true};
	fs->space = UINT64_MAX;
	return fs;
}

static void node_free(struct node *node)
{
	free(node->path);
	free(node->data);
	free(node->synced);
	*node = (struct node){0};
}

void simfs_destroy(struct simfs *fs)
{
	for (int i = 0; i < SIMFS_NODES_MAX; i++)
		node_free(&fs->nodes[i]);
	free(fs);
}

static void *dup_bytes(const void *p, size_t len)
{
	void *copy = malloc(len + 1);

	SL_ASSERT(copy);
	if (len > 0)
		memcpy(copy, p, len);
	return copy;
}

struct simfs *simfs_copy(const struct simfs *fs)
{
	struct simfs *copy = simfs_create();

	node_free(&copy->nodes[0]);
	for (int i = 0; i < SIMFS_NODES_MAX; i++) {
		const struct node *from = &fs->nodes[i];
		struct node *to = &copy->nodes[i];

		if (!from->is_used || !from->path)
			continue;
		*to = *from;
		to->path = strdup(from->path);
		to->data = dup_bytes(from->data, from->len);
		to->synced = dup_bytes(from->synced, from->synced_len);
		to->opened = 0;
		to->is_locked = false;
	}
	copy->space = fs->space;
	return copy;
}

void simfs_fail(struct simfs *fs, unsigned int ops, unsigned int nth, int err, size_t torn,
                bool is_sticky)
{
	fs->fault_ops = ops;
	fs->fault_nth = nth;
	fs->fault_err = err;
	fs->fault_torn = torn;
	fs->is_fault_sticky = is_sticky;
	fs->has_failed = false;
}

void simfs_heal(struct simfs *fs)
{
	fs->fault_ops = 0;
	fs->space = UINT64_MAX;
}

bool simfs_has_failed(const struct simfs *fs)
{
	return fs->has_failed;
}

void simfs_set_space(struct simfs *fs, uint64_t bytes)
{
	fs->space = bytes;
}

unsigned int simfs_pread_count(const struct simfs *fs)
{
	return fs->preads;
}

/* 0, or the error that this operation has to end with. */
static int strike(struct simfs *fs, unsigned int op)
{
	if (!(fs->fault_ops & op))
		return 0;
	if (fs->fault_nth > 1) {
		fs->fault_nth--;
		return 0;
	}
	fs->has_failed = true;
	if (!fs->is_fault_sticky)
		fs->fault_ops = 0;
	return fs->fault_err;
}

static struct node *find(struct simfs *fs, const char *path)
{
	for (int i = 0; i < SIMFS_NODES_MAX; i++) {
		if (fs->nodes[i].is_used && fs->nodes[i].path &&
		    strcmp(fs->nodes[i].path, path) == 0)
			return &fs->nodes[i];
	}
	return NULL;
}

static struct node *of_fd(struct simfs *fs, int fd)
{
	SL_ASSERT(fd >= SIMFS_FD_BASE && fd < SIMFS_FD_BASE + SIMFS_FDS_MAX);
	SL_ASSERT(fs->fds[fd - SIMFS_FD_BASE] > 0);
	return &fs->nodes[fs->fds[fd - SIMFS_FD_BASE] - 1];
}

/* Full path without leading slash; "." is the folder itself. */
static void resolve(struct simfs *fs, int dirfd, const char *name, char out[1024])
{
	const char *base = dirfd == AT_FDCWD || name[0] == '/' ? "" : of_fd(fs, dirfd)->path;

	SL_ASSERT(base);
	while (*name == '/')
		name++;
	if (strcmp(name, ".") == 0)
		snprintf(out, 1024, "%s", base);
	else
		snprintf(out, 1024, "%s%s%s", base, *base ? "/" : "", name);
}

static bool has_parent(struct simfs *fs, const char *path)
{
	char parent[1024];
	const char *slash = strrchr(path, '/');
	struct node *node;

	snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - path) : 0, path);
	node = find(fs, parent);
	return node && node->is_dir;
}

static bool is_below_file(struct simfs *fs, const char *path)
{
	char parent[1024];
	const char *slash = strrchr(path, '/');
	struct node *node;

	snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - path) : 0, path);
	node = find(fs, parent);
	return node && !node->is_dir;
}

static struct node *add(struct simfs *fs, const char *path, bool is_dir)
{
	for (int i = 0; i < SIMFS_NODES_MAX; i++) {
		if (fs->nodes[i].is_used)
			continue;
		fs->nodes[i] =
			(struct node){.path = strdup(path), .is_used = true, .is_dir = is_dir};
		return &fs->nodes[i];
	}
	SL_ASSERT(!"table of nodes is large enough");
	return NULL;
}

static int add_fd(struct simfs *fs, struct node *node)
{
	for (int i = 0; i < SIMFS_FDS_MAX; i++) {
		if (fs->fds[i])
			continue;
		fs->fds[i] = (int)(node - fs->nodes) + 1;
		fs->fd_has_lock[i] = false;
		node->opened++;
		return SIMFS_FD_BASE + i;
	}
	return -EMFILE;
}

static int sim_open(void *ctx, int dirfd, const char *name, int flags, mode_t mode SL_UNUSED)
{
	struct simfs *fs = ctx;
	struct node *node;
	char path[1024];
	int err;

	resolve(fs, dirfd, name, path);
	node = find(fs, path);
	if (node && (flags & O_CREAT) && (flags & O_EXCL))
		return -EEXIST;
	if (!node && is_below_file(fs, path))
		return -ENOTDIR;
	if (!node && (!(flags & O_CREAT) || !has_parent(fs, path)))
		return -ENOENT;
	if (node && (flags & O_DIRECTORY) && !node->is_dir)
		return -ENOTDIR;
	err = strike(fs, node ? SIMFS_OPEN : SIMFS_CREATE);
	if (err)
		return err;
	if (!node)
		node = add(fs, path, false);
	if (flags & O_TRUNC)
		node->len = 0;
	return add_fd(fs, node);
}

static int sim_reopen(void *ctx, int fd, int flags SL_UNUSED)
{
	struct simfs *fs = ctx;
	int err = strike(fs, SIMFS_REOPEN);

	return err ? err : add_fd(fs, of_fd(fs, fd));
}

static int sim_close(void *ctx, int fd)
{
	struct simfs *fs = ctx;
	struct node *node = of_fd(fs, fd);

	if (fs->fd_has_lock[fd - SIMFS_FD_BASE])
		node->is_locked = false;
	fs->fds[fd - SIMFS_FD_BASE] = 0;
	node->opened--;
	if (node->opened == 0 && !node->path)
		node_free(node);
	return 0;
}

static void resize(struct node *node, size_t len)
{
	if (len > node->len) {
		node->data = realloc(node->data, len);
		SL_ASSERT(node->data);
		memset(node->data + node->len, 0, len - node->len);
	}
	node->len = len;
}

static ssize_t sim_pwrite(void *ctx, int fd, const void *p, size_t len, uint64_t pos)
{
	struct simfs *fs = ctx;
	struct node *node = of_fd(fs, fd);
	int err = strike(fs, SIMFS_PWRITE);
	uint64_t growth;

	if (err) {
		len = SL_MIN(len, fs->fault_torn);
		if (len > 0) {
			resize(node, SL_MAX(node->len, (size_t)pos + len));
			memcpy(node->data + pos, p, len);
		}
		return err;
	}
	growth = pos + len > node->len ? pos + len - node->len : 0;
	if (growth > fs->space) {
		if (fs->space == 0 || len <= growth - fs->space)
			return -ENOSPC;
		len -= (size_t)(growth - fs->space);
		growth = fs->space;
	}
	fs->space -= fs->space == UINT64_MAX ? 0 : growth;
	if (len > 0) {
		resize(node, SL_MAX(node->len, (size_t)pos + len));
		memcpy(node->data + pos, p, len);
	}
	return (ssize_t)len;
}

static ssize_t sim_pread(void *ctx, int fd, void *p, size_t len, uint64_t pos)
{
	struct simfs *fs = ctx;
	struct node *node = of_fd(fs, fd);
	int err = strike(fs, SIMFS_PREAD);

	if (err)
		return err;
	fs->preads++;
	if (pos >= node->len)
		return 0;
	len = SL_MIN(len, node->len - (size_t)pos);
	memcpy(p, node->data + pos, len);
	return (ssize_t)len;
}

static bool is_child(const char *path, const char *parent)
{
	size_t len = strlen(parent);

	if (len == 0)
		return path[0] && !strchr(path, '/');
	return strncmp(path, parent, len) == 0 && path[len] == '/' && !strchr(path + len + 1, '/');
}

static int sim_sync(void *ctx, int fd)
{
	struct simfs *fs = ctx;
	struct node *node = of_fd(fs, fd);
	int err = strike(fs, SIMFS_SYNC);

	if (err)
		return err;
	if (!node->is_dir) {
		free(node->synced);
		node->synced = dup_bytes(node->data, node->len);
		node->synced_len = node->len;
		return 0;
	}
	for (int i = 0; i < SIMFS_NODES_MAX; i++) {
		if (fs->nodes[i].is_used && fs->nodes[i].path && node->path &&
		    is_child(fs->nodes[i].path, node->path))
			fs->nodes[i].is_name_durable = true;
	}
	return 0;
}

static int sim_sync_fs(void *ctx, int fd)
{
	struct simfs *fs = ctx;
	int err = strike(fs, SIMFS_SYNC);

	SL_ASSERT(!of_fd(fs, fd)->is_dir);
	for (int i = 0; i < SIMFS_NODES_MAX && !err; i++) {
		struct node *node = &fs->nodes[i];

		if (!node->is_used || !node->path)
			continue;
		node->is_name_durable = true;
		if (node->is_dir)
			continue;
		free(node->synced);
		node->synced = dup_bytes(node->data, node->len);
		node->synced_len = node->len;
	}
	return err;
}

static int sim_truncate(void *ctx, int fd, uint64_t len)
{
	struct simfs *fs = ctx;
	int err = strike(fs, SIMFS_TRUNCATE);

	if (err)
		return err;
	resize(of_fd(fs, fd), (size_t)len);
	return 0;
}

static int sim_allocate(void *ctx, int fd, uint64_t pos, uint64_t len)
{
	struct simfs *fs = ctx;
	struct node *node = of_fd(fs, fd);
	uint64_t growth = pos + len > node->len ? pos + len - node->len : 0;
	int err = strike(fs, SIMFS_ALLOCATE);

	if (err)
		return err;
	if (growth > fs->space)
		return -ENOSPC;
	fs->space -= fs->space == UINT64_MAX ? 0 : growth;
	resize(node, SL_MAX(node->len, (size_t)(pos + len)));
	return 0;
}

static int sim_size(void *ctx, int fd, uint64_t *len)
{
	*len = of_fd(ctx, fd)->len;
	return 0;
}

static void drop(struct node *node)
{
	free(node->path);
	node->path = NULL;
	if (node->opened == 0)
		node_free(node);
}

/* The same below a folder that moves. */
static void move_children(struct simfs *fs, const char *from, const char *to)
{
	size_t len = strlen(from);
	char path[2048];

	for (int i = 0; i < SIMFS_NODES_MAX; i++) {
		struct node *node = &fs->nodes[i];

		if (!node->is_used || !node->path || strncmp(node->path, from, len) != 0 ||
		    node->path[len] != '/')
			continue;
		snprintf(path, sizeof(path), "%s%s", to, node->path + len);
		free(node->path);
		node->path = strdup(path);
	}
}

static int sim_rename(void *ctx, int dirfd, const char *from, const char *to)
{
	struct simfs *fs = ctx;
	struct node *node;
	struct node *old;
	char path_from[1024];
	char path_to[1024];
	int err;

	resolve(fs, dirfd, from, path_from);
	resolve(fs, dirfd, to, path_to);
	node = find(fs, path_from);
	if (!node)
		return -ENOENT;
	err = strike(fs, SIMFS_RENAME);
	if (err)
		return err;
	old = find(fs, path_to);
	if (old) {
		/* As ext4 does (auto_da_alloc): replacing a durable name keeps old or new text. */
		node->is_name_durable = node->is_name_durable || old->is_name_durable;
		if (!node->synced)
			node->synced = dup_bytes(old->synced, node->synced_len = old->synced_len);
		drop(old);
	}
	free(node->path);
	node->path = strdup(path_to);
	move_children(fs, path_from, path_to);
	return 0;
}

static int sim_unlink(void *ctx, int dirfd, const char *name)
{
	struct simfs *fs = ctx;
	struct node *node;
	char path[1024];
	int err;

	resolve(fs, dirfd, name, path);
	node = find(fs, path);
	if (!node)
		return -ENOENT;
	if (node->is_dir)
		return -EISDIR;
	err = strike(fs, SIMFS_UNLINK);
	if (err)
		return err;
	drop(node);
	return 0;
}

static int sim_mkdir(void *ctx, int dirfd, const char *name, mode_t mode SL_UNUSED)
{
	struct simfs *fs = ctx;
	char path[1024];
	int err;

	resolve(fs, dirfd, name, path);
	if (find(fs, path))
		return -EEXIST;
	if (!has_parent(fs, path))
		return -ENOENT;
	err = strike(fs, SIMFS_MKDIR);
	if (err)
		return err;
	add(fs, path, true);
	return 0;
}

static int sim_rmdir(void *ctx, int dirfd, const char *name)
{
	struct simfs *fs = ctx;
	struct node *node;
	char path[1024];

	resolve(fs, dirfd, name, path);
	node = find(fs, path);
	if (!node)
		return -ENOENT;
	for (int i = 0; i < SIMFS_NODES_MAX; i++) {
		if (fs->nodes[i].is_used && fs->nodes[i].path && is_child(fs->nodes[i].path, path))
			return -ENOTEMPTY;
	}
	drop(node);
	return 0;
}

static int sim_list(void *ctx, int dirfd, const char *name,
                    int (*each)(void *arg, const char *entry), void *arg)
{
	struct simfs *fs = ctx;
	char *names[SIMFS_NODES_MAX];
	char path[1024];
	struct node *dir;
	int count = 0;
	int err = 0;

	resolve(fs, dirfd, name, path);
	dir = find(fs, path);
	if (!dir)
		return -ENOENT;
	if (!dir->is_dir)
		return -ENOTDIR;
	for (int i = 0; i < SIMFS_NODES_MAX; i++) {
		struct node *node = &fs->nodes[i];

		if (node->is_used && node->path && is_child(node->path, path))
			names[count++] = strdup(node->path + (*path ? strlen(path) + 1 : 0));
	}
	for (int i = 0; i < count; i++) {
		if (!err)
			err = each(arg, names[i]);
		free(names[i]);
	}
	return err;
}

static int sim_lock(void *ctx, int fd)
{
	struct simfs *fs = ctx;
	struct node *node = of_fd(fs, fd);

	if (node->is_locked)
		return -EWOULDBLOCK;
	node->is_locked = true;
	fs->fd_has_lock[fd - SIMFS_FD_BASE] = true;
	return 0;
}

static int sim_space(void *ctx, int fd SL_UNUSED, uint64_t *total, uint64_t *free_bytes)
{
	struct simfs *fs = ctx;

	*total = UINT64_MAX;
	*free_bytes = fs->space;
	return 0;
}

static const struct sl_file_ops sim_ops = {
	.name = "sim",
	.open = sim_open,
	.reopen = sim_reopen,
	.close = sim_close,
	.pwrite = sim_pwrite,
	.pread = sim_pread,
	.sync = sim_sync,
	.sync_fs = sim_sync_fs,
	.truncate = sim_truncate,
	.allocate = sim_allocate,
	.size = sim_size,
	.rename = sim_rename,
	.unlink = sim_unlink,
	.mkdir = sim_mkdir,
	.rmdir = sim_rmdir,
	.list = sim_list,
	.lock = sim_lock,
	.space = sim_space,
};

struct sl_files simfs_files(struct simfs *fs)
{
	return (struct sl_files){&sim_ops, fs};
}

unsigned int simfs_open_count(const struct simfs *fs)
{
	unsigned int count = 0;

	for (int i = 0; i < SIMFS_FDS_MAX; i++)
		count += fs->fds[i] != 0;
	return count;
}

void simfs_kill(struct simfs *fs)
{
	for (int i = 0; i < SIMFS_FDS_MAX; i++) {
		if (fs->fds[i])
			sim_close(fs, SIMFS_FD_BASE + i);
	}
	simfs_heal(fs);
}

static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

/* A name is lost with everything below it. */
static void lose(struct simfs *fs, struct node *node)
{
	size_t len = strlen(node->path);

	for (int i = 0; node->is_dir && i < SIMFS_NODES_MAX; i++) {
		struct node *child = &fs->nodes[i];

		if (child != node && child->is_used && child->path &&
		    strncmp(child->path, node->path, len) == 0 && child->path[len] == '/')
			drop(child);
	}
	drop(node);
}

void simfs_power_cut(struct simfs *fs, uint64_t seed)
{
	uint64_t rng = seed * 2654435761u + 12345;

	simfs_kill(fs);
	for (int i = 1; i < SIMFS_NODES_MAX; i++) {
		struct node *node = &fs->nodes[i];
		size_t keep;

		if (!node->is_used)
			continue;
		if (!node->is_name_durable && next_random(&rng) % 2) {
			lose(fs, node);
			continue;
		}
		if (node->is_dir)
			continue;
		if (node->len < node->synced_len ||
		    (node->synced_len > 0 &&
		     memcmp(node->data, node->synced, node->synced_len) != 0)) {
			/* Rewritten or cut since the sync: the old or the new contents. */
			if (next_random(&rng) % 2)
				continue;
			free(node->data);
			node->data = dup_bytes(node->synced, node->synced_len);
			node->len = node->synced_len;
			continue;
		}
		keep = node->synced_len +
		       (size_t)(next_random(&rng) % (node->len - node->synced_len + 1));
		/* Either the file ends there, or its size came through and the blocks did not. */
		if (next_random(&rng) % 2)
			node->len = keep;
		else
			memset(node->data + keep, 0, node->len - keep);
	}
}

uint8_t *simfs_data(struct simfs *fs, const char *path, size_t *len)
{
	struct node *node = find(fs, path);

	if (!node)
		return NULL;
	*len = node->len;
	return node->data;
}

void simfs_set_data(struct simfs *fs, const char *path, const void *p, size_t len)
{
	struct node *node = find(fs, path);

	if (!node) {
		SL_ASSERT(has_parent(fs, path));
		node = add(fs, path, false);
	}
	if (p == node->data) {
		resize(node, len);
		return;
	}
	free(node->data);
	node->data = dup_bytes(p, len);
	node->len = len;
}

bool simfs_exists(struct simfs *fs, const char *path)
{
	return find(fs, path) != NULL;
}

void simfs_remove(struct simfs *fs, const char *path)
{
	struct node *node = find(fs, path);

	SL_ASSERT(node);
	drop(node);
}
