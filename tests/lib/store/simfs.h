/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files in memory behind struct sl_file_ops, for tests: errors at the n-th operation, short writes,
 * full disks, killed processes and power cuts.  One thread.
 */
#ifndef TEST_STORE_SIMFS_H
#define TEST_STORE_SIMFS_H

#include "sluice/store/file_ops.h"

enum simfs_op {
	SIMFS_OPEN = 1 << 0,
	SIMFS_PWRITE = 1 << 1,
	SIMFS_PREAD = 1 << 2,
	SIMFS_SYNC = 1 << 3,
	SIMFS_TRUNCATE = 1 << 4,
	SIMFS_RENAME = 1 << 5,
	SIMFS_UNLINK = 1 << 6,
	SIMFS_MKDIR = 1 << 7,
	SIMFS_CREATE = 1 << 8, /* open that makes a file */
	SIMFS_ALLOCATE = 1 << 9,
	SIMFS_REOPEN = 1 << 10,
	SIMFS_CHANGES = SIMFS_ALLOCATE | SIMFS_PWRITE | SIMFS_SYNC | SIMFS_TRUNCATE | SIMFS_RENAME |
	                SIMFS_UNLINK | SIMFS_MKDIR | SIMFS_CREATE,
};

struct simfs;

struct simfs *simfs_create(void);
void simfs_destroy(struct simfs *fs);
struct sl_files simfs_files(struct simfs *fs);

/* The @nth (1 = next) operation among @ops fails with @err; a write has written @torn bytes by
 * then.
 * @is_sticky: so do all after it. */
void simfs_fail(struct simfs *fs, unsigned int ops, unsigned int nth, int err, size_t torn,
                bool is_sticky);
void simfs_heal(struct simfs *fs);
/* True when the fault of simfs_fail() has happened. */
bool simfs_has_failed(const struct simfs *fs);
/* Files may grow by @bytes more in all; then a short write and -ENOSPC. */
void simfs_set_space(struct simfs *fs, uint64_t bytes);
/* Every descriptor is gone, all data stays. */
void simfs_kill(struct simfs *fs);
/* As simfs_kill(), and unsynced data and names survive or not as @seed says. */
void simfs_power_cut(struct simfs *fs, uint64_t seed);
unsigned int simfs_open_count(const struct simfs *fs);
unsigned int simfs_pread_count(const struct simfs *fs);

/* Direct access to a file by its full path; NULL if absent.  @len may be set through the pointer.
 */
uint8_t *simfs_data(struct simfs *fs, const char *path, size_t *len);
void simfs_set_data(struct simfs *fs, const char *path, const void *p, size_t len);
bool simfs_exists(struct simfs *fs, const char *path);
void simfs_remove(struct simfs *fs, const char *path);
/* A copy of everything that is not open: for trying many things on one state. */
struct simfs *simfs_copy(const struct simfs *fs);

#endif
