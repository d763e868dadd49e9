/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offset and time index of one segment: growing sorted arrays in file byte order, binary search,
 * load with a check of every entry.  Owned by the segment that contains them.
 */
#include "index.h"

#include <errno.h>
#include <stdlib.h>

#include "sluice/base/assert.h"

#include "fileio.h"

#define INDEX_GROW_FIRST  16u
/* A segment is below 2 GiB and an entry needs a batch of at least 61 bytes. */
#define INDEX_ENTRIES_MAX ((1u << 31) / 61u)

void index_fini(struct index *index)
{
	free(index->p);
	*index = (struct index){0};
}

static int grow(struct index *index, uint32_t entry_bytes)
{
	uint32_t cap = index->cap ? index->cap * 2 : INDEX_GROW_FIRST;
	uint8_t *p;

	if (index->count < index->cap)
		return 0;
	if (index->cap >= INDEX_ENTRIES_MAX)
		return -ENOMEM;
	p = realloc(index->p, (size_t)cap * entry_bytes);
	if (!p)
		return -ENOMEM;
	index->p = p;
	index->cap = cap;
	return 0;
}

static uint32_t offset_at(const struct index *index, uint32_t i)
{
	SL_ASSERT_HOT(i < index->count);
	return sl_load_be32(index->p + (size_t)i * INDEX_OFFSET_ENTRY_BYTES);
}

static uint32_t pos_at(const struct index *index, uint32_t i)
{
	SL_ASSERT_HOT(i < index->count);
	return sl_load_be32(index->p + (size_t)i * INDEX_OFFSET_ENTRY_BYTES + 4);
}

static int64_t time_at(const struct index *index, uint32_t i)
{
	SL_ASSERT_HOT(i < index->count);
	return (int64_t)sl_load_be64(index->p + (size_t)i * INDEX_TIME_ENTRY_BYTES);
}

static uint32_t time_offset_at(const struct index *index, uint32_t i)
{
	SL_ASSERT_HOT(i < index->count);
	return sl_load_be32(index->p + (size_t)i * INDEX_TIME_ENTRY_BYTES + 8);
}

int index_offset_append(struct index *index, uint32_t relative, uint32_t pos)
{
	uint8_t *entry;
	int err;

	if (index->count > 0 && (relative <= offset_at(index, index->count - 1) ||
	                         pos <= pos_at(index, index->count - 1)))
		return -EINVAL;
	err = grow(index, INDEX_OFFSET_ENTRY_BYTES);
	if (err)
		return err;
	entry = index->p + (size_t)index->count * INDEX_OFFSET_ENTRY_BYTES;
	sl_store_be32(entry, relative);
	sl_store_be32(entry + 4, pos);
	index->count++;
	return 0;
}

int index_time_append(struct index *index, int64_t time_ms, uint32_t relative)
{
	uint8_t *entry;
	int err;

	if (index->count > 0 && (time_ms <= time_at(index, index->count - 1) ||
	                         relative <= time_offset_at(index, index->count - 1)))
		return -EINVAL;
	err = grow(index, INDEX_TIME_ENTRY_BYTES);
	if (err)
		return err;
	entry = index->p + (size_t)index->count * INDEX_TIME_ENTRY_BYTES;
	sl_store_be64(entry, (uint64_t)time_ms);
	sl_store_be32(entry + 8, relative);
	index->count++;
	return 0;
}

/* How many entries have a key below @wanted. */
static inline uint32_t count_below(const struct index *index, int64_t wanted,
                                   int64_t (*key_at)(const struct index *index, uint32_t i))
{
	uint32_t low = 0;
	uint32_t high = index->count;

	/* Invariant: entries before low are below, entries from high on are not. */
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (key_at(index, mid) < wanted)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int64_t offset_key_at(const struct index *index, uint32_t i)
{
	return offset_at(index, i);
}

bool index_offset_below(const struct index *index, uint32_t relative, uint32_t *entry_relative,
                        uint32_t *pos)
{
	uint32_t below = count_below(index, relative, offset_key_at);

	if (below == 0)
		return false;
	*entry_relative = offset_at(index, below - 1);
	*pos = pos_at(index, below - 1);
	return true;
}

bool index_offset_at_pos(const struct index *index, uint64_t pos, uint32_t *relative)
{
	uint32_t low = 0;
	uint32_t high = index->count;

	/* Invariant: entries before low begin below, entries from high on do not. */
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (pos_at(index, mid) < pos)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == index->count)
		return false;
	*relative = offset_at(index, low);
	return true;
}

bool index_offset_last(const struct index *index, uint32_t *relative, uint32_t *pos)
{
	if (index->count == 0)
		return false;
	*relative = offset_at(index, index->count - 1);
	*pos = pos_at(index, index->count - 1);
	return true;
}

bool index_time_below(const struct index *index, int64_t time_ms, uint32_t *relative)
{
	uint32_t below = count_below(index, time_ms, time_at);

	if (below == 0)
		return false;
	*relative = time_offset_at(index, below - 1);
	return true;
}

bool index_time_last(const struct index *index, int64_t *time_ms, uint32_t *relative)
{
	if (index->count == 0)
		return false;
	*time_ms = time_at(index, index->count - 1);
	*relative = time_offset_at(index, index->count - 1);
	return true;
}

/* What the file has behind the cut must not come to lie behind new entries. */
static void cut(struct index *index, uint32_t count)
{
	index->count = count;
	if (index->stored > count)
		index->is_stored = false;
	index->stored = SL_MIN(index->stored, count);
}

void index_offset_cut(struct index *index, uint64_t pos)
{
	uint32_t count = index->count;

	while (count > 0 && pos_at(index, count - 1) >= pos)
		count--;
	cut(index, count);
}

void index_offset_cut_from(struct index *index, uint32_t relative)
{
	cut(index, count_below(index, relative, offset_key_at));
}

void index_time_cut(struct index *index, uint32_t relative)
{
	uint32_t count = index->count;

	while (count > 0 && time_offset_at(index, count - 1) >= relative)
		count--;
	cut(index, count);
}

/* ---- Files ---- */

static int load(struct index *index, const struct sl_files *files, int dirfd, const char *path,
                uint32_t entry_bytes)
{
	size_t len = 0;
	char *p = NULL;
	int err;

	SL_ASSERT(index->p == NULL);
	err = fileio_load(files, dirfd, path, (size_t)INDEX_ENTRIES_MAX * entry_bytes, &p, &len);
	if (err == -EFBIG)
		return -EBADMSG;
	if (err)
		return err;
	index->p = (uint8_t *)p;
	index->count = (uint32_t)(len / entry_bytes);
	index->cap = index->count;
	index->stored = index->count;
	index->is_stored = len % entry_bytes == 0;
	return 0;
}

/* How many leading entries rise, below @segment_bytes and @relative_end. */
static uint32_t count_good_offsets(const struct index *index, uint64_t segment_bytes,
                                   uint64_t relative_end)
{
	uint32_t i = 0;

	while (i < index->count && pos_at(index, i) < segment_bytes &&
	       offset_at(index, i) < relative_end &&
	       (i == 0 || (pos_at(index, i) > pos_at(index, i - 1) &&
	                   offset_at(index, i) > offset_at(index, i - 1))))
		i++;
	return i;
}

static uint32_t count_good_times(const struct index *index, uint64_t relative_end)
{
	uint32_t i = 0;

	while (i < index->count && time_offset_at(index, i) < relative_end &&
	       (i == 0 || (time_at(index, i) > time_at(index, i - 1) &&
	                   time_offset_at(index, i) > time_offset_at(index, i - 1))))
		i++;
	return i;
}

/* Of a file that should be good to its end. */
static int take_all(struct index *index, uint32_t good)
{
	if (good == index->count && index->is_stored)
		return 0;
	index_fini(index);
	return -EBADMSG;
}

int index_offset_load(struct index *index, const struct sl_files *files, int dirfd,
                      const char *path, uint64_t segment_bytes, uint64_t relative_end)
{
	int err = load(index, files, dirfd, path, INDEX_OFFSET_ENTRY_BYTES);

	return err ? err : take_all(index, count_good_offsets(index, segment_bytes, relative_end));
}

int index_time_load(struct index *index, const struct sl_files *files, int dirfd, const char *path,
                    uint64_t relative_end)
{
	int err = load(index, files, dirfd, path, INDEX_TIME_ENTRY_BYTES);

	return err ? err : take_all(index, count_good_times(index, relative_end));
}

/* Of a file whose end may mean nothing: the last good entry may be half of one then. */
static void take_begin(struct index *index, uint32_t good)
{
	if (good > 0 && (good < index->count || !index->is_stored))
		good--;
	cut(index, good);
}

int index_offset_load_begin(struct index *index, const struct sl_files *files, int dirfd,
                            const char *path)
{
	int err = load(index, files, dirfd, path, INDEX_OFFSET_ENTRY_BYTES);

	if (err)
		return err;
	/* No entry leads to the first batch: where one seems to, its end is lost. */
	take_begin(index, index->count > 0 && pos_at(index, 0) == 0
	                          ? 0
	                          : count_good_offsets(index, INT32_MAX, INT32_MAX));
	return 0;
}

int index_time_load_begin(struct index *index, const struct sl_files *files, int dirfd,
                          const char *path)
{
	int err = load(index, files, dirfd, path, INDEX_TIME_ENTRY_BYTES);

	if (err)
		return err;
	/* Nearly always for the same reason; the first record's own time is found again. */
	take_begin(index, index->count > 0 && time_offset_at(index, 0) == 0
	                          ? 0
	                          : count_good_times(index, INT32_MAX));
	return 0;
}

static struct index_rest rest(const struct index *index, uint32_t entry_bytes)
{
	const size_t has = index->is_stored ? (size_t)index->stored * entry_bytes : 0;

	return (struct index_rest){
		.p = index->p + has,
		.len = (size_t)index->count * entry_bytes - has,
		.pos = has,
		.is_anew = !index->is_stored,
	};
}

struct index_rest index_offset_rest(const struct index *index)
{
	return rest(index, INDEX_OFFSET_ENTRY_BYTES);
}

struct index_rest index_time_rest(const struct index *index)
{
	return rest(index, INDEX_TIME_ENTRY_BYTES);
}

void index_stored(struct index *index, uint32_t count)
{
	SL_ASSERT(count <= index->count);
	index->is_stored = true;
	index->stored = count;
}

static int store(struct index *index, const struct sl_files *files, int dirfd, const char *path,
                 uint32_t entry_bytes)
{
	const struct index_rest r = rest(index, entry_bytes);
	int err = r.is_anew ? -ENOENT : 0;

	if (r.len > 0 && !err)
		err = fileio_write_at(files, dirfd, path, r.p, r.len, r.pos);
	if (err == -ENOENT)
		err = fileio_store(files, dirfd, path, index->p,
		                   (size_t)index->count * entry_bytes);
	index->is_stored = !err;
	index->stored = err ? 0 : index->count;
	return err;
}

int index_offset_store(struct index *index, const struct sl_files *files, int dirfd,
                       const char *path)
{
	return store(index, files, dirfd, path, INDEX_OFFSET_ENTRY_BYTES);
}

int index_time_store(struct index *index, const struct sl_files *files, int dirfd, const char *path)
{
	return store(index, files, dirfd, path, INDEX_TIME_ENTRY_BYTES);
}
