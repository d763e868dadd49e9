/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads /proc/meminfo and the limits of the cgroup (v2) that this process is in.  Host thread, at
 * the start.  What cannot be read is no limit: the kernel has the last word anyway.
 */
#include "host/memory.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/base/file.h"

#define MEMORY_FILE_MAX 65536
#define MEMORY_CGROUPS  "/sys/fs/cgroup"

uint64_t memory_field(const char *meminfo, const char *name)
{
	const size_t len = strlen(name);

	for (const char *line = meminfo; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, len) == 0 && line[len] == ':')
			return strtoull(line + len + 1, NULL, 10) << 10; /* all are in KiB */
	}
	return 0;
}

/* "max" or bytes. */
static uint64_t read_limit(const char *root, const char *path)
{
	char name[PATH_MAX], *text, *end;
	uint64_t limit;
	size_t len;

	if (snprintf(name, sizeof(name), "%s%s/memory.max", root, path) >= (int)sizeof(name) ||
	    sl_file_read(name, MEMORY_FILE_MAX, &text, &len) != 0)
		return MEMORY_NO_LIMIT;
	limit = strtoull(text, &end, 10);
	if (end == text)
		limit = MEMORY_NO_LIMIT;
	free(text);
	return limit;
}

uint64_t memory_cgroup_limit(const char *root, const char *path)
{
	uint64_t limit = MEMORY_NO_LIMIT;
	char at[PATH_MAX];
	char *slash = at;

	if (snprintf(at, sizeof(at), "%s", path) >= (int)sizeof(at))
		return limit;
	while (slash) {
		uint64_t own = read_limit(root, at);

		limit = SL_MIN(limit, own);
		slash = strrchr(at, '/');
		if (slash)
			*slash = '\0';
	}
	return limit;
}

/* That of this process; "0::<path>" is the line of version 2. */
static uint64_t own_limit(void)
{
	uint64_t limit = MEMORY_NO_LIMIT;
	char *text, *line;
	size_t len;

	if (sl_file_read("/proc/self/cgroup", MEMORY_FILE_MAX, &text, &len) != 0)
		return limit;
	line = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
	if (line) {
		line = strchr(line, '/');
		if (line)
			line[strcspn(line, "\n")] = '\0';
		limit = memory_cgroup_limit(MEMORY_CGROUPS, line ? line : "");
	}
	free(text);
	return limit;
}

void memory_read(struct memory *out)
{
	uint64_t limit = own_limit();
	char *text;
	size_t len;

	*out = (struct memory){0};
	if (sl_file_read("/proc/meminfo", MEMORY_FILE_MAX, &text, &len) != 0)
		return;
	out->total_bytes = SL_MIN(memory_field(text, "MemTotal"), limit);
	out->available_bytes = SL_MIN(memory_field(text, "MemAvailable"), limit);
	free(text);
}
