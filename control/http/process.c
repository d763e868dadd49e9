/* SPDX-License-Identifier: Apache-2.0 */
/* proc(5). */
#include "process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define STAT_MAX 4096

/* Return: bytes read, 0 when it cannot be read. */
static size_t read_small(int pid, const char *name, char out[STAT_MAX])
{
	char path[64];
	size_t n = 0;
	FILE *f;

	if (pid > 0)
		snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	else
		snprintf(path, sizeof(path), "/proc/self/%s", name);
	f = fopen(path, "re");
	if (f) {
		n = fread(out, 1, STAT_MAX - 1, f);
		fclose(f);
	}
	out[n] = '\0';
	return n;
}

/* Seconds since 1970 at which the machine was started. */
static double boot_seconds(void)
{
	struct timespec wall, boot;

	if (clock_gettime(CLOCK_REALTIME, &wall) < 0 || clock_gettime(CLOCK_BOOTTIME, &boot) < 0)
		return -1;
	return (double)(wall.tv_sec - boot.tv_sec) + (double)(wall.tv_nsec - boot.tv_nsec) / 1e9;
}

static void read_stat(struct process *p, int pid)
{
	char text[STAT_MAX];
	unsigned long utime, stime, vsize;
	unsigned long long start;
	long threads, rss;
	double hz = (double)sysconf(_SC_CLK_TCK);
	const char *end;

	if (read_small(pid, "stat", text) == 0)
		return;
	/* The name in parentheses may contain anything. */
	end = strrchr(text, ')');
	if (!end ||
	    sscanf(end + 1,
	           " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %ld"
	           " %*d %llu %lu %ld",
	           &utime, &stime, &threads, &start, &vsize, &rss) != 6)
		return;
	p->cpu_seconds = (double)(utime + stime) / hz;
	p->start_seconds = boot_seconds() + (double)start / hz;
	p->threads = threads;
	p->virtual_bytes = (int64_t)vsize;
	p->resident_bytes = (int64_t)rss * sysconf(_SC_PAGESIZE);
}

static int64_t field(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? strtoll(at + strlen(name), NULL, 10) : -1;
}

static void count_fds(struct process *p)
{
	DIR *dir = opendir("/proc/self/fd");
	struct rlimit limit;

	if (dir) {
		int64_t n = 0;

		while (readdir(dir))
			n++;
		closedir(dir);
		/* Less ".", ".." and the folder's own. */
		p->open_fds = n - 3;
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		p->max_fds = (int64_t)limit.rlim_cur;
}

void process_read(struct process *out, int pid)
{
	char text[STAT_MAX];

	*out = (struct process){-1, -1, -1, -1, -1, -1, -1, -1, -1};
	read_stat(out, pid);
	if (read_small(pid, "io", text) > 0) {
		out->disk_read_bytes = field(text, "\nread_bytes: ");
		out->disk_write_bytes = field(text, "\nwrite_bytes: ");
	}
	if (pid == 0)
		count_fds(out);
}
