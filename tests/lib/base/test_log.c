/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log_limit.h"
#include "sluice/base/log.h"

static char text[64 * 1024];

/* Sends stderr into memory; end_capture() gives what was written. */
static int begin_capture(void)
{
	int fd = memfd_create("log", MFD_CLOEXEC);

	cr_assert(fd >= 0);
	cr_assert(dup2(fd, STDERR_FILENO) >= 0);
	return fd;
}

static const char *end_capture(int fd)
{
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	cr_assert(n >= 0);
	text[n] = '\0';
	close(fd);
	return text;
}

static unsigned count_lines(const char *s)
{
	unsigned lines = 0;

	for (; *s; s++)
		lines += *s == '\n';
	return lines;
}

Test(log, line_has_time_level_program_and_module)
{
	int fd = begin_capture();
	int year, month, day, hour, minute, second, ms, end = 0;
	const char *line;

	sl_log_init("dataplane", SL_LOG_INFO);
	sl_log(WARN, store, "cut log topic=%s part=%d", "orders", 3);
	line = end_capture(fd);
	cr_assert(sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &year, &month, &day, &hour,
	                 &minute, &second, &ms, &end) == 7);
	cr_assert(end == 25, "head ends at %d", end);
	cr_assert(year >= 2024 && month >= 1 && month <= 12 && day >= 1 && day <= 31);
	cr_assert(strcmp(line + end, "warn dataplane store: cut log topic=orders part=3\n") == 0);
}

Test(log, default_level_is_info_for_every_module)
{
	for (unsigned i = 0; i < SL_LOGM_NR; i++)
		cr_assert(atomic_load_explicit(&sl_log_levels[i], memory_order_relaxed) ==
		          SL_LOG_INFO);
}

Test(log, levels_filter_by_module)
{
	const char *out;
	int fd = begin_capture();

	cr_assert(sl_log_set_level("lane", "debug") == 0);
	sl_log(DEBUG, lane, "shown one");
	sl_log(DEBUG, net, "hidden one");
	cr_assert(sl_log_set_level("all", "err") == 0);
	sl_log(WARN, lane, "hidden two");
	sl_log(ERR, net, "shown two");
	out = end_capture(fd);
	cr_assert(strstr(out, "shown one") && strstr(out, "shown two"));
	cr_assert(!strstr(out, "hidden"));
	cr_assert(count_lines(out) == 2);
}

Test(log, unknown_module_or_level_is_refused_and_changes_nothing)
{
	cr_assert(sl_log_set_level("nosuch", "debug") == -ENOENT);
	cr_assert(sl_log_set_level("lane", "loud") == -EINVAL);
	cr_assert(sl_log_set_level("all", "") == -EINVAL);
	cr_assert(sl_log_is_on(SL_LOG_INFO, SL_LOGM_lane));
	cr_assert(!sl_log_is_on(SL_LOG_DEBUG, SL_LOGM_lane));
}

Test(log, names_round_trip)
{
	for (unsigned i = 0; i < SL_LOGM_NR; i++)
		cr_assert(sl_log_set_level(sl_log_module_name((enum sl_log_module)i), "warn") == 0);
	for (unsigned i = 0; i < SL_LOG_LEVEL_NR; i++)
		cr_assert(sl_log_set_level("all", sl_log_level_name((enum sl_log_level)i)) == 0);
	cr_assert(strcmp(sl_log_level_name((enum sl_log_level)99), "?") == 0);
	cr_assert(strcmp(sl_log_module_name(SL_LOGM_NR), "?") == 0);
}

Test(log, peer_text_cannot_forge_a_line)
{
	int fd = begin_capture();
	const char *out;

	sl_log(INFO, session, "open client=%s",
	       "x\n2026-11-21T00:00:00.000Z err a b: forged\x1b[2J");
	out = end_capture(fd);
	cr_assert(count_lines(out) == 1);
	cr_assert(strstr(out, "client=x?2026") != NULL);
	cr_assert(strchr(out, 0x1b) == NULL);
}

Test(log, long_line_is_cut_and_marked)
{
	static char longtext[5000];
	int fd = begin_capture();
	const char *out;

	memset(longtext, 'y', sizeof(longtext) - 1);
	sl_log(INFO, main, "%s", longtext);
	out = end_capture(fd);
	cr_assert(count_lines(out) == 1);
	cr_assert(strlen(out) <= 2048);
	cr_assert(strcmp(out + strlen(out) - 6, "yy...\n") == 0);
}

Test(log, errno_survives)
{
	int fd = begin_capture();

	errno = ENOSPC;
	sl_log(INFO, main, "fail cause=%m");
	cr_assert(errno == ENOSPC);
	cr_assert(strstr(end_capture(fd), "cause=No space left on device\n"));
	errno = EIO;
	close(STDERR_FILENO);
	sl_log(INFO, main, "nobody reads this");
	cr_assert(errno == EIO);
}

Test(log, site_admits_twenty_lines_per_second_and_then_tells_the_loss)
{
	struct sl_log_site site = {0};
	uint64_t now_ms = 5000;
	uint32_t suppressed;

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 20; i++) {
			cr_assert(log_limit_admit(&site, now_ms + (uint64_t)i, &suppressed));
			cr_assert(suppressed == (round > 0 && i == 0 ? 30u : 0u));
		}
		for (int i = 0; i < 30; i++)
			cr_assert(!log_limit_admit(&site, now_ms + 999, &suppressed));
		now_ms += 1000;
	}
	cr_assert(log_limit_admit(&site, now_ms, &suppressed));
	cr_assert(suppressed == 30);
	/* A thread that read its clock earlier does not open a new window. */
	cr_assert(log_limit_admit(&site, now_ms - 900, &suppressed));
	cr_assert(atomic_load_explicit(&site.window_ms, memory_order_relaxed) == now_ms);
}

Test(log, fault_in_a_loop_writes_few_lines)
{
	int fd = begin_capture();
	unsigned lines;

	for (int i = 0; i < 1000; i++)
		sl_log(WARN, store, "refuse write n=%d", i);
	lines = count_lines(end_capture(fd));
	/* Two windows if the loop crosses a second. */
	cr_assert(lines >= 20 && lines <= 40, "%u lines", lines);
}

Test(log, suppressed_count_is_appended_to_the_next_line)
{
	struct sl_log_site site = {.suppressed = 17};
	int fd = begin_capture();

	sl_log_write(&site, SL_LOG_WARN, SL_LOGM_store, "refuse write part=%d", 1);
	cr_assert(
		strstr(end_capture(fd), "warn sluice store: refuse write part=1 suppressed=17\n"));
}
