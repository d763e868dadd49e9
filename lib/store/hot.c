/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hot tier's file: made on a tmpfs of its own, mapped, cut into slices, populated step by step,
 * taken over from an earlier process.  Owned by the host thread; one thread at a time populates.
 */
#include "sluice/store/hot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sluice/base/assert.h"
#include "sluice/base/crc32c.h"
#include "sluice/base/log.h"

#include "hot_impl.h"

#define HOT_NODES_MAX 1024
#define HOT_TEXT_MAX  320

struct sl_hot {
	uint8_t *map; /* Owned. Of the whole file, at a multiple of HOT_HUGE_BYTES. */
	struct hot_layout layout;
	struct hot_header header;
	int fd; /* Owned. */
	uint32_t populate_failures;
	bool is_end_logged;
	_Atomic uint64_t populated;
	_Atomic bool is_huge;
	_Atomic(const char *) reason; /* static, or refused */
	char refused[HOT_TEXT_MAX];   /* fixed after creation */
	struct sl_hot_pool *pools[SL_HOT_SLICES_MAX];
};

/* ---- Layout ---- */

int hot_layout_init(struct hot_layout *layout, uint64_t bytes, uint32_t slices)
{
	uint64_t slice_bytes;
	uint64_t table_bytes;

	if (slices == 0 || slices > SL_HOT_SLICES_MAX)
		return -EINVAL;
	slice_bytes = bytes / slices & ~(HOT_HUGE_BYTES - 1);
	if (slice_bytes < SL_HOT_BYTES_MIN || slice_bytes > STORE_HOT_SLICE_MAX)
		return -EINVAL;
	table_bytes = slices * (slice_bytes / SL_HOT_CHUNK_BYTES_MIN) * sizeof(struct hot_desc);
	*layout = (struct hot_layout){
		.slices = slices,
		.units = (uint32_t)(slice_bytes / SL_HOT_CHUNK_BYTES_MIN),
		.slice_bytes = slice_bytes,
		.data_pos = SL_ALIGN_UP(HOT_HEADER_BYTES + table_bytes, HOT_HUGE_BYTES),
	};
	layout->file_bytes = layout->data_pos + slices * slice_bytes;
	return 0;
}

static uint32_t header_check(const struct hot_header *header)
{
	return sl_crc32c(0, header, offsetof(struct hot_header, check));
}

static struct hot_header header_of(const struct hot_layout *layout, enum hot_origin origin)
{
	struct hot_header header = {
		.magic = HOT_MAGIC,
		.version = HOT_VERSION,
		.header_bytes = sizeof(header),
		.file_bytes = layout->file_bytes,
		.slice_bytes = layout->slice_bytes,
		.slices = layout->slices,
		.unit_bytes = SL_HOT_CHUNK_BYTES_MIN,
		.desc_bytes = sizeof(struct hot_desc),
		.block_bytes = SL_HOT_BLOCK,
		.origin = origin,
	};

	header.check = header_check(&header);
	return header;
}

int hot_header_read(int fd, struct hot_header *header, struct hot_layout *layout)
{
	struct hot_header expected;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) ||
	    pread(fd, header, sizeof(*header), 0) != (ssize_t)sizeof(*header))
		return -EPROTO;
	if (header->magic != HOT_MAGIC || header->check != header_check(header))
		return -EPROTO;
	if (header->slices == 0 || header->slices > SL_HOT_SLICES_MAX ||
	    header->slice_bytes > STORE_HOT_SLICE_MAX ||
	    hot_layout_init(layout, header->slice_bytes * header->slices, header->slices) < 0)
		return -EPROTO;
	expected = header_of(layout, (enum hot_origin)header->origin);
	if (header->version != expected.version || header->unit_bytes != expected.unit_bytes ||
	    header->desc_bytes != expected.desc_bytes ||
	    header->block_bytes != expected.block_bytes)
		return -ESTALE;
	if (memcmp(header, &expected, sizeof(expected)) != 0 ||
	    (uint64_t)st.st_size != layout->file_bytes)
		return -EPROTO;
	return 0;
}

uint32_t hot_desc_state(const struct hot_desc *desc, uint64_t slot, uint32_t order)
{
	uint64_t place[2] = {slot, order};
	uint32_t check = sl_crc32c(0, place, sizeof(place));

	check = sl_crc32c(check, (const uint8_t *)desc + HOT_DESC_CHECKED_POS,
	                  HOT_DESC_CHECKED_SIZE);
	return (check & HOT_STATE_CHECK_MASK) | HOT_STATE_IS_CHUNK | order;
}

/* ---- The file ---- */

static int set_option(int fs, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	return fsconfig(fs, FSCONFIG_SET_STRING, key, text, 0);
}

/* A file on a tmpfs that no path leads to.  *what is the step that failed. */
static int open_tmpfs(const struct hot_layout *layout, const char **what)
{
	int mnt = -1;
	int fd = -1;
	int err;
	int fs;

	*what = "fsopen(2)";
	fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	if (fs < 0)
		return -errno;
	*what = "tmpfs option huge=always";
	if (fsconfig(fs, FSCONFIG_SET_STRING, "huge", "always", 0) < 0)
		goto out_close;
	*what = "mount of a tmpfs";
	/* Without a size it would be half of the machine's memory. */
	if (set_option(fs, "size", layout->file_bytes) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		goto out_close;
	mnt = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (mnt < 0)
		goto out_close;
	/* The file keeps the mount alive. */
	fd = openat(mnt, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
out_close:
	err = -errno;
	if (mnt >= 0)
		close(mnt);
	close(fs);
	return fd >= 0 ? fd : err;
}

static int open_file(struct sl_hot *hot, bool is_huge_wanted, enum hot_origin *origin)
{
	const char *what = "";
	int fd;

	*origin = HOT_MEMFD_SMALL;
	if (is_huge_wanted) {
		*origin = HOT_TMPFS_HUGE;
		fd = open_tmpfs(&hot->layout, &what);
		if (fd >= 0)
			return fd;
		*origin = HOT_MEMFD;
		snprintf(hot->refused, sizeof(hot->refused),
		         "%s: %s; start with CAP_SYS_ADMIN, or echo advise > "
		         "/sys/kernel/mm/transparent_hugepage/shmem_enabled",
		         what, strerror(-fd));
	}
	fd = memfd_create("sluice-hot", MFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static void prefer_node(const struct sl_hot *hot, int node)
{
	unsigned long mask[HOT_NODES_MAX / (8 * sizeof(unsigned long))] = {0};
	const unsigned int bits = 8 * sizeof(unsigned long);

	if (node < 0 || node >= HOT_NODES_MAX)
		return;
	mask[(unsigned int)node / bits] = 1UL << ((unsigned int)node % bits);
	/* A preference only: a full node must not stop the broker. */
	if (syscall(SYS_mbind, hot->map, hot->layout.file_bytes, MPOL_PREFERRED, mask,
	            HOT_NODES_MAX, 0) < 0)
		sl_log(WARN, store, "leave hot tier unbound node=%d: %s", node, strerror(errno));
}

/* Maps the file where its huge pages can be mapped as such. */
static int map_file(struct sl_hot *hot, const struct sl_hot_opts *opts)
{
	size_t bytes = hot->layout.file_bytes;
	uint8_t *room = mmap(NULL, bytes + HOT_HUGE_BYTES, PROT_NONE,
	                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t lead;

	if (room == MAP_FAILED)
		return -ENOMEM;
	lead = SL_ALIGN_UP((uintptr_t)room, HOT_HUGE_BYTES) - (uintptr_t)room;
	if (mmap(room + lead, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, hot->fd, 0) ==
	    MAP_FAILED) {
		int err = -errno;

		munmap(room, bytes + HOT_HUGE_BYTES);
		return err;
	}
	if (lead > 0)
		munmap(room, lead);
	munmap(room + lead + bytes, HOT_HUGE_BYTES - lead);
	hot->map = room + lead;
	if (hot->header.origin != HOT_MEMFD_SMALL)
		(void)madvise(hot->map, bytes, MADV_HUGEPAGE); /* sl_hot_is_huge() tells */
	/* Not in core dumps: it is the size of the machine, and the customers' data. */
	(void)madvise(hot->map, bytes, MADV_DONTDUMP);
	prefer_node(hot, opts->numa_node);
	/* Where it is not permitted swapping is the operator's affair. */
	(void)mlock2(hot->map, bytes, MLOCK_ONFAULT);
	return 0;
}

static int create_pools(struct sl_hot *hot)
{
	const struct hot_layout *layout = &hot->layout;
	struct hot_desc *table = (struct hot_desc *)(void *)(hot->map + HOT_HEADER_BYTES);

	for (uint32_t i = 0; i < layout->slices; i++) {
		uint64_t pos = layout->data_pos + i * layout->slice_bytes;
		struct hot_pool_opts opts = {
			.fd = hot->fd,
			.memory = hot->map + pos,
			.descs = table + (size_t)i * layout->units,
			.file_pos = pos,
			.units = layout->units,
			.slot_first = i * layout->units,
		};
		int err = hot_pool_create(&hot->pools[i], &opts);

		if (err)
			return err;
	}
	return 0;
}

static void set_first_reason(struct sl_hot *hot)
{
	const char *reason = "not populated yet";

	if (hot->header.origin == HOT_MEMFD_SMALL)
		reason = "small pages were asked for";
	atomic_store_explicit(&hot->reason, reason, memory_order_relaxed);
	if (hot->header.origin == HOT_MEMFD && !hot->refused[0])
		snprintf(hot->refused, sizeof(hot->refused),
		         "an earlier process made the file without huge pages; end all of them "
		         "and start with CAP_SYS_ADMIN");
}

static struct sl_hot *hot_alloc(const struct hot_layout *layout)
{
	struct sl_hot *hot = calloc(1, sizeof(*hot));

	if (hot) {
		hot->layout = *layout;
		hot->fd = -1;
	}
	return hot;
}

/* What is left to do when the file is as it shall be, new or adopted.  Return: 0 or -errno. */
static int finish(struct sl_hot *hot, const struct sl_hot_opts *opts)
{
	int err = map_file(hot, opts);

	if (!err)
		err = create_pools(hot);
	if (!err)
		set_first_reason(hot);
	return err;
}

int sl_hot_create(struct sl_hot **out, const struct sl_hot_opts *opts)
{
	struct hot_layout layout;
	enum hot_origin origin;
	struct sl_hot *hot;
	int err = hot_layout_init(&layout, opts->bytes, opts->slices);

	if (err)
		return err;
	hot = hot_alloc(&layout);
	if (!hot)
		return -ENOMEM;
	hot->fd = open_file(hot, opts->is_huge_wanted, &origin);
	if (hot->fd < 0) {
		err = hot->fd;
		goto err_destroy;
	}
	hot->header = header_of(&layout, origin);
	err = ftruncate(hot->fd, (off_t)layout.file_bytes) < 0 ? -errno : 0;
	/* Not through the mapping: where there is no memory that would be a signal. */
	if (!err &&
	    pwrite(hot->fd, &hot->header, sizeof(hot->header), 0) != (ssize_t)sizeof(hot->header))
		err = -ENOMEM;
	if (!err)
		err = finish(hot, opts);
	if (err)
		goto err_destroy;
	*out = hot;
	return 0;
err_destroy:
	sl_hot_destroy(hot);
	return err;
}

int sl_hot_adopt(struct sl_hot **out, int fd, const struct sl_hot_opts *opts)
{
	struct hot_layout wanted;
	struct hot_layout layout;
	struct hot_header header;
	struct sl_hot *hot;
	int err = hot_layout_init(&wanted, opts->bytes, opts->slices);

	if (!err)
		err = hot_header_read(fd, &header, &layout);
	if (err)
		return err;
	if (wanted.slices != layout.slices || wanted.slice_bytes != layout.slice_bytes)
		return -ESTALE;
	hot = hot_alloc(&layout);
	if (!hot)
		return -ENOMEM;
	hot->header = header;
	hot->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (hot->fd < 0) {
		err = -errno;
		goto err_destroy;
	}
	/* Every descriptor of the old table goes; the header's page stays. */
	if (fallocate(hot->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, HOT_HEADER_BYTES,
	              (off_t)(layout.data_pos - HOT_HEADER_BYTES)) < 0)
		err = -errno;
	if (!err)
		err = finish(hot, opts);
	if (err)
		goto err_destroy;
	*out = hot;
	return 0;
err_destroy:
	sl_hot_destroy(hot);
	return err;
}

void sl_hot_destroy(struct sl_hot *hot)
{
	if (!hot)
		return;
	for (uint32_t i = 0; i < hot->layout.slices; i++)
		hot_pool_destroy(hot->pools[i]);
	if (hot->map)
		munmap(hot->map, hot->layout.file_bytes);
	if (hot->fd >= 0)
		close(hot->fd);
	free(hot);
}

/* ---- Questions ---- */

int sl_hot_fd(const struct sl_hot *hot)
{
	return hot->fd;
}

uint64_t sl_hot_bytes(const struct sl_hot *hot)
{
	return hot->layout.slices * hot->layout.slice_bytes;
}

bool sl_hot_is_huge(const struct sl_hot *hot)
{
	return atomic_load_explicit(&hot->is_huge, memory_order_relaxed);
}

const char *sl_hot_reason(const struct sl_hot *hot)
{
	return atomic_load_explicit(&hot->reason, memory_order_relaxed);
}

uint64_t sl_hot_populated(const struct sl_hot *hot)
{
	return atomic_load_explicit(&hot->populated, memory_order_relaxed);
}

struct sl_hot_pool *sl_hot_pool(struct sl_hot *hot, uint32_t slice)
{
	SL_ASSERT(slice < hot->layout.slices);
	return hot->pools[slice];
}

/* ---- Populating ---- */

/* Bytes of the mapping that are mapped by huge pages, as smaps has it. */
static uint64_t count_huge_bytes(const struct sl_hot *hot)
{
	uintptr_t begin = (uintptr_t)hot->map;
	uintptr_t end = begin + hot->layout.file_bytes;
	FILE *file = fopen("/proc/self/smaps", "re");
	bool is_inside = false;
	uint64_t bytes = 0;
	char line[512];

	if (!file)
		return 0;
	/* The loop ends with the process' own mappings. */
	while (fgets(line, sizeof(line), file)) {
		uint64_t from;
		uint64_t to;
		uint64_t kib;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2)
			is_inside = from >= begin && to <= end;
		else if (is_inside && sscanf(line, "ShmemPmdMapped: %" SCNu64, &kib) == 1)
			bytes += kib << 10;
	}
	fclose(file);
	return bytes;
}

/* Whether the system's policy overrides the mount's. */
static bool is_denied(void)
{
	FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "re");
	char line[128] = "";
	bool is_denied;

	if (!file)
		return false;
	is_denied = fgets(line, sizeof(line), file) && strstr(line, "[deny]");
	fclose(file);
	return is_denied;
}

/* What the machine made of our wish. */
static void look_at_pages(struct sl_hot *hot)
{
	uint64_t populated = sl_hot_populated(hot);
	bool is_huge = populated > 0 && count_huge_bytes(hot) >= populated - populated / 8;
	const char *reason = "";

	if (hot->header.origin == HOT_MEMFD_SMALL)
		reason = "small pages were asked for";
	else if (!is_huge && hot->refused[0])
		reason = hot->refused;
	else if (!is_huge && is_denied())
		reason = "shared memory is denied huge pages: echo never > "
			 "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
	else if (!is_huge)
		reason = "the kernel has no huge pages left: echo 1 > /proc/sys/vm/compact_memory";
	atomic_store_explicit(&hot->is_huge, is_huge, memory_order_relaxed);
	atomic_store_explicit(&hot->reason, reason, memory_order_relaxed);
}

/* Touches [pos, pos + bytes) of the file.  Lanes may be writing there. */
static int touch(const struct sl_hot *hot, uint64_t pos, uint64_t bytes)
{
	uint64_t end = pos + bytes;
	int rc;

	/* Not fallocate(2): it holds the inode's lock all the time, and a lane that exchanges pages
	 * would wait for it. */
	do
		rc = madvise(hot->map + pos, bytes, MADV_POPULATE_WRITE);
	while (rc != 0 && errno == EINTR);
	if (rc == 0 || errno != EINVAL)
		return rc == 0 ? 0 : -errno;
	/* Before Linux 5.14.  Backed, but not mapped: the first access is a cheap fault. */
	for (; pos < end; pos += SL_MIN(HOT_HUGE_BYTES, end - pos))
		if (fallocate(hot->fd, FALLOC_FL_KEEP_SIZE, (off_t)pos,
		              (off_t)SL_MIN(HOT_HUGE_BYTES, end - pos)) < 0)
			return -errno;
	return 0;
}

/* The slice's memory from its watermark on, and the part of the table that describes it. */
static int populate_slice(struct sl_hot *hot, uint32_t slice, uint64_t bytes)
{
	const struct hot_layout *layout = &hot->layout;
	uint64_t done = hot_pool_populated(hot->pools[slice]);
	uint64_t pos = slice * layout->slice_bytes + done;
	uint64_t table_pos = HOT_HEADER_BYTES + pos / HOT_HUGE_BYTES * HOT_HEADER_BYTES;
	int err = touch(hot, table_pos, bytes / HOT_HUGE_BYTES * HOT_HEADER_BYTES);

	if (!err)
		err = touch(hot, layout->data_pos + pos, bytes);
	if (err)
		return err;
	hot_pool_set_populated(hot->pools[slice], done + bytes);
	atomic_fetch_add_explicit(&hot->populated, bytes, memory_order_relaxed);
	return 0;
}

/* The slice that is behind the others. */
static uint32_t next_slice(const struct sl_hot *hot)
{
	uint32_t next = 0;

	for (uint32_t i = 1; i < hot->layout.slices; i++)
		if (hot_pool_populated(hot->pools[i]) < hot_pool_populated(hot->pools[next]))
			next = i;
	return next;
}

/*
 * Memory may be short for a moment only: a process that ends gives it back a little later.  A tier
 * that has next to nothing is not ended: its lanes could not work at all, and a fault may still
 * find the page.
 */
static int end_tier(struct sl_hot *hot, int err)
{
	const bool is_usable = sl_hot_populated(hot) >= hot->layout.slices * HOT_HUGE_BYTES;

	if (++hot->populate_failures < STORE_HOT_POPULATE_TRIES)
		return -EAGAIN;
	for (uint32_t i = 0; i < hot->layout.slices && is_usable; i++)
		hot_pool_set_end(hot->pools[i]);
	sl_log(WARN, store, "%s hot tier bytes=%" PRIu64 " wanted=%" PRIu64 ": %s",
	       is_usable ? "end" : "leave to page faults", sl_hot_populated(hot), sl_hot_bytes(hot),
	       strerror(-err));
	hot->is_end_logged = true;
	look_at_pages(hot);
	return -ENOMEM;
}

int sl_hot_populate(struct sl_hot *hot, size_t bytes)
{
	uint64_t before = sl_hot_populated(hot);
	uint64_t left = SL_MAX((uint64_t)bytes & ~(HOT_HUGE_BYTES - 1), HOT_HUGE_BYTES);

	if (hot->is_end_logged)
		return -ENOMEM;
	if (before == sl_hot_bytes(hot))
		return 0;
	while (left > 0 && sl_hot_populated(hot) < sl_hot_bytes(hot)) {
		uint32_t slice = next_slice(hot);
		uint64_t step = hot->layout.slice_bytes - hot_pool_populated(hot->pools[slice]);

		step = SL_MIN(step, SL_MIN(left, STORE_HOT_POPULATE_STEP));
		int err = populate_slice(hot, slice, step);

		if (err)
			return end_tier(hot, err);
		left -= step;
	}
	if (before == 0 || sl_hot_populated(hot) == sl_hot_bytes(hot))
		look_at_pages(hot);
	return sl_hot_populated(hot) < sl_hot_bytes(hot) ? 1 : 0;
}
