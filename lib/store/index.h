/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sparse indexes of one segment in Kafka's own file format, kept in memory in that same form so
 * that loading and storing is one copy-free read or write:
 *
 *   .index      {relative offset i32, position i32}: the last offset of a batch and where it begins
 *   .timeindex  {timestamp i64, relative offset i32}: largest timestamp so far and the last offset
 * of the batch that brought it; every later entry is larger in both
 */
#ifndef STORE_INDEX_H
#define STORE_INDEX_H

#include "sluice/base/base.h"
#include "sluice/store/file_ops.h"

#define INDEX_OFFSET_ENTRY_BYTES 8u
#define INDEX_TIME_ENTRY_BYTES   12u

/* Legal states: zeroed = empty; count <= cap; stored <= count. */
struct index {
	uint8_t *p; /* Owned. */
	uint32_t count;
	uint32_t cap;
	uint32_t stored; /* is_stored: so many leading entries are all that the file has */
	bool is_stored;  /* else nothing is known of the file */
};

void index_fini(struct index *index);
/* Both refuse an entry that does not rise with -EINVAL; -ENOMEM. */
int index_offset_append(struct index *index, uint32_t relative, uint32_t pos) SL_MUST_CHECK;
int index_time_append(struct index *index, int64_t time_ms, uint32_t relative) SL_MUST_CHECK;

/* Largest entry with an offset below @relative; false when there is none. */
bool index_offset_below(const struct index *index, uint32_t relative, uint32_t *entry_relative,
                        uint32_t *pos);
/* The first entry whose batch begins at @pos or behind; false when there is none. */
bool index_offset_at_pos(const struct index *index, uint64_t pos, uint32_t *relative);
bool index_offset_last(const struct index *index, uint32_t *relative, uint32_t *pos);
/* Largest entry with a timestamp below @time_ms; false when there is none. */
bool index_time_below(const struct index *index, int64_t time_ms, uint32_t *relative);
bool index_time_last(const struct index *index, int64_t *time_ms, uint32_t *relative);

/* Reads a file and checks that its size and order are those of an index of a segment of
 * @segment_bytes that holds relative offsets below @relative_end.
 * Return: 0; -EBADMSG it is not such an index; -errno. */
int index_offset_load(struct index *index, const struct sl_files *files, int dirfd,
                      const char *path, uint64_t segment_bytes,
                      uint64_t relative_end) SL_MUST_CHECK;
int index_time_load(struct index *index, const struct sl_files *files, int dirfd, const char *path,
                    uint64_t relative_end) SL_MUST_CHECK;
/* The same for a segment that still grows, whose file a crash may have left with an end that means
 * nothing: takes the leading entries that rise.  Without is_stored the file had others behind them.
 */
int index_offset_load_begin(struct index *index, const struct sl_files *files, int dirfd,
                            const char *path) SL_MUST_CHECK;
int index_time_load_begin(struct index *index, const struct sl_files *files, int dirfd,
                          const char *path) SL_MUST_CHECK;
/* Drops the entries from log position @pos on, or from relative offset @relative on. */
void index_offset_cut(struct index *index, uint64_t pos);
void index_offset_cut_from(struct index *index, uint32_t relative);
void index_time_cut(struct index *index, uint32_t relative);
/* What the file does not have yet; @is_anew: nothing is known of it, and this is all. */
struct index_rest {
	const uint8_t *p;
	size_t len;
	uint64_t pos; /* in the file */
	bool is_anew;
};
struct index_rest index_offset_rest(const struct index *index);
struct index_rest index_time_rest(const struct index *index);
/* The file has the @count leading entries, and nothing else. */
void index_stored(struct index *index, uint32_t count);
/* Brings the file up to date: appends what it does not have, or writes it anew. */
int index_offset_store(struct index *index, const struct sl_files *files, int dirfd,
                       const char *path) SL_MUST_CHECK;
int index_time_store(struct index *index, const struct sl_files *files, int dirfd,
                     const char *path) SL_MUST_CHECK;

#endif
