/* SPDX-License-Identifier: Apache-2.0 */
/* Reading ahead, on a real file whose pages are really gone. */
#include "reply/cold.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILE_BYTES ((size_t)12 << 20)
#define TRIES_MAX  10000000

static struct sl_lane_stats stats;
static struct ctx ctx;
static char path[] = "/var/tmp/sluice-cold-XXXXXX";
static int fd = -1;
static uint8_t *map; /* of the file, never touched */
static int segment;  /* its address is the file's name */

/* mincore(2) and not a read: that would bring the page. */
static bool is_there(uint64_t pos)
{
	unsigned char state;

	cr_assert(mincore(map + pos / 4096 * 4096, 1, &state) == 0);
	return state & 1;
}

/* A disk that never answers: no file can be made to behave so. */
static bool is_silent;

ssize_t preadv2(int from, const struct iovec *iov, int count, off_t pos, int flags)
{
	if (is_silent) {
		errno = EAGAIN;
		return -1;
	}
	return syscall(SYS_preadv2, from, iov, count, pos, 0L, flags);
}

static void setup(void)
{
	uint8_t *p = calloc(1, FILE_BYTES);

	ctx.stats = &stats;
	ctx.now_ms = 1000000;
	cr_assert(cold_create(&ctx.cold) == 0);
	fd = mkstemp(path);
	cr_assert(fd >= 0 && write(fd, p, FILE_BYTES) == (ssize_t)FILE_BYTES);
	free(p);
	map = mmap(NULL, FILE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	cr_assert(map != MAP_FAILED);
}

/* Everything is on the disk only.  Skips where the file system keeps it or cannot say. */
static void evict(void)
{
	cr_assert(fdatasync(fd) == 0);
	cr_assert(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
	for (uint64_t pos = 0; pos < FILE_BYTES; pos += 65536)
		if (is_there(pos))
			cr_skip_test("this file system does not let go of its pages");
}

static void teardown(void)
{
	cold_destroy(ctx.cold);
	close(fd);
	unlink(path);
}

TestSuite(cold, .init = setup, .fini = teardown);

static uint64_t stat_of(enum sl_stat stat)
{
	return atomic_load(&stats.v[stat]);
}

static struct sl_log_piece piece_at(uint64_t pos, uint32_t bytes)
{
	return (struct sl_log_piece){.fd = fd, .pos = pos, .bytes = bytes};
}

static size_t ready(uint64_t pos, uint32_t bytes)
{
	const struct sl_log_piece piece = piece_at(pos, bytes);

	return cold_ready(&ctx, &segment, &piece, bytes);
}

static void sent(uint64_t pos, uint32_t bytes)
{
	const struct sl_log_piece piece = piece_at(pos, bytes);

	cold_sent(&ctx, &segment, &piece, bytes);
}

/* The disk answers when it answers; nothing tells. */
static void wait_for(uint64_t pos)
{
	unsigned i = 0;

	while (!is_there(pos))
		cr_assert(++i < TRIES_MAX);
}

Test(cold, sends_at_once_what_is_in_memory)
{
	cr_expect(ready(5, 500000) == 500000);
	cr_expect(ready(FILE_BYTES - 10, 10) == 10);
	cr_expect(stat_of(SL_STAT_cold_waits) == 0 && stat_of(SL_STAT_cold_reads) == 0);
}

Test(cold, asks_the_disk_and_comes_back)
{
	evict();
	cr_expect(ready(100, 250000) == 0);
	cr_expect(stat_of(SL_STAT_cold_waits) == 1);
	cr_expect(stat_of(SL_STAT_cold_reads) == 2, "what is needed, and one ahead");
	cr_expect(ready(100, 250000) == 0 || is_there(100));
	cr_expect(stat_of(SL_STAT_cold_reads) <= 3, "not twice");
	for (uint64_t pos = 0; pos < 250100; pos += 4096)
		wait_for(pos);
	cr_expect(ready(100, 250000) == 250000);
}

Test(cold, sends_up_to_what_is_missing)
{
	uint8_t byte;

	evict();
	cr_assert(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM) == 0);
	for (uint64_t pos = 0; pos < 131072; pos += 4096)
		cr_assert(pread(fd, &byte, 1, (off_t)pos) == 1);
	cr_expect(ready(1000, 400000) == 131072 - 1000);
	cr_expect(stat_of(SL_STAT_cold_reads) == 2, "and asks for the rest meanwhile");
	cr_expect(stat_of(SL_STAT_cold_waits) == 0);
}

/* Reads the first 24 windows @step bytes at a time. */
static void read_on(uint32_t step)
{
	for (uint64_t pos = 0; pos < 24 * COLD_WINDOW_BYTES; pos += step) {
		if (ready(pos, step) < step)
			for (uint64_t p = pos; p < pos + step; p += 4096)
				wait_for(p);
		sent(pos, step);
	}
}

Test(cold, reads_ahead_and_leaves_what_it_read)
{
	evict();
	read_on((uint32_t)COLD_WINDOW_BYTES / 2);
	cr_expect(stat_of(SL_STAT_cold_reads) == 29, "%llu: the reader is in the 25th, and 4 ahead",
	          (unsigned long long)stat_of(SL_STAT_cold_reads));
	cr_expect(is_there(0) && is_there(10 * COLD_WINDOW_BYTES), "for the next reader");
}

Test(cold, reads_nothing_that_is_there)
{
	for (uint64_t pos = 0; pos < FILE_BYTES; pos += 262144) {
		cr_expect(ready(pos, 262144) == 262144);
		sent(pos, 262144);
	}
	cr_expect(stat_of(SL_STAT_cold_reads) == 0);
}

Test(cold, lets_sendfile_find_out_about_a_disk_that_does_not_answer)
{
	unsigned waits = 0;

	is_silent = true;
	while (ready(0, 65536) == 0 && waits < 100000) {
		ctx.now_ms++;
		waits++;
	}
	cr_expect(waits == 2000, "%u ms", waits);
	/* The next reader, much later, is patient again. */
	ctx.now_ms += 60000;
	cr_expect(ready(0, 65536) == 0);
}
