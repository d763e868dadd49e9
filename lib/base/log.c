/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines on stderr.  Each line is one write(2), so that lines of threads and of the two
 * processes never mix.  Text that came from a peer is defused: control characters become '?', so
 * nobody can forge a line.
 */
#include "sluice/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "log_limit.h"
#include "sluice/base/clock.h"

#define LINE_BYTES_MAX 2048
#define TAIL_BYTES_MAX 48 /* room kept for the cut mark, the suppressed note and the newline */

#define LEVEL_INFO_(m) [SL_LOGM_##m] = SL_LOG_INFO,
_Atomic uint8_t sl_log_levels[SL_LOGM_NR] = {SL_LOG_MODULES(LEVEL_INFO_)};
#undef LEVEL_INFO_

#define NAME_(m) [SL_LOGM_##m] = #m,
static const char *const module_names[SL_LOGM_NR] = {SL_LOG_MODULES(NAME_)};
#undef NAME_

static const char *const level_names[SL_LOG_LEVEL_NR] = {"err", "warn", "info", "debug"};
static const char *program_name = "sluice";

void sl_log_init(const char *program, enum sl_log_level level)
{
	program_name = program;
	for (unsigned i = 0; i < SL_LOGM_NR; i++)
		atomic_store_explicit(&sl_log_levels[i], (uint8_t)level, memory_order_relaxed);
}

int sl_log_set_level(const char *module, const char *level)
{
	bool is_all = strcmp(module, "all") == 0;
	bool found = false;
	unsigned l;

	for (l = 0; l < SL_LOG_LEVEL_NR; l++)
		if (strcmp(level, level_names[l]) == 0)
			break;
	if (l == SL_LOG_LEVEL_NR)
		return -EINVAL;
	for (unsigned i = 0; i < SL_LOGM_NR; i++) {
		if (!is_all && strcmp(module, module_names[i]) != 0)
			continue;
		atomic_store_explicit(&sl_log_levels[i], (uint8_t)l, memory_order_relaxed);
		found = true;
	}
	return found ? 0 : -ENOENT;
}

const char *sl_log_module_name(enum sl_log_module module)
{
	return (unsigned)module < SL_LOGM_NR ? module_names[module] : "?";
}

const char *sl_log_level_name(enum sl_log_level level)
{
	return (unsigned)level < SL_LOG_LEVEL_NR ? level_names[level] : "?";
}

bool log_limit_admit(struct sl_log_site *site, uint64_t now_ms, uint32_t *suppressed)
{
	uint64_t start = atomic_load_explicit(&site->window_ms, memory_order_relaxed);

	/*
	 * Relaxed throughout: the numbers guard nothing else, and at the turn of a window a few
	 * lines more or less do no harm.  Only the thread that turns the window takes the count of
	 * lost lines.
	 */
	*suppressed = 0;
	if ((int64_t)(now_ms - start) >= LOG_WINDOW_MS &&
	    atomic_compare_exchange_strong_explicit(&site->window_ms, &start, now_ms,
	                                            memory_order_relaxed, memory_order_relaxed)) {
		atomic_store_explicit(&site->in_window, 0, memory_order_relaxed);
		*suppressed = atomic_exchange_explicit(&site->suppressed, 0, memory_order_relaxed);
	}
	if (atomic_fetch_add_explicit(&site->in_window, 1, memory_order_relaxed) <
	    LOG_LINES_PER_WINDOW)
		return true;
	atomic_fetch_add_explicit(&site->suppressed, *suppressed + 1, memory_order_relaxed);
	*suppressed = 0;
	return false;
}

/* Writes "2026-11-21T02:31:10.123Z level program module: " and returns its length. */
static size_t put_head(char *line, size_t size, enum sl_log_level level, enum sl_log_module module)
{
	int64_t now_ms = sl_wall_ms();
	time_t seconds = (time_t)(now_ms / 1000);
	struct tm tm;
	int n;

	gmtime_r(&seconds, &tm);
	n = snprintf(line, size,
	             "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ %s %.64s %s: ", tm.tm_year + 1900,
	             tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
	             (int)(now_ms % 1000), sl_log_level_name(level), program_name,
	             sl_log_module_name(module));
	return n < 0 ? 0 : SL_MIN((size_t)n, size - 1);
}

static void defuse(char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			text[i] = '?';
}

void sl_log_write(struct sl_log_site *site, enum sl_log_level level, enum sl_log_module module,
                  const char *fmt, ...)
{
	char line[LINE_BYTES_MAX];
	size_t text_end = sizeof(line) - TAIL_BYTES_MAX;
	int saved_errno = errno;
	uint32_t suppressed;
	ssize_t written;
	size_t len;
	va_list ap;
	int n;

	if (!log_limit_admit(site, (uint64_t)sl_mono_ms(), &suppressed))
		return;
	len = put_head(line, text_end, level, module);
	errno = saved_errno; /* for %m */
	va_start(ap, fmt);
	n = vsnprintf(line + len, text_end - len, fmt, ap);
	va_end(ap);
	if (n > 0) {
		size_t text_len = SL_MIN((size_t)n, text_end - len - 1);

		defuse(line + len, text_len);
		len += text_len;
		if (text_len < (size_t)n)
			len += (size_t)snprintf(line + len, sizeof(line) - len, "...");
	}
	if (suppressed > 0)
		len += (size_t)snprintf(line + len, sizeof(line) - len, " suppressed=%u",
		                        suppressed);
	line[len++] = '\n';
	written = write(STDERR_FILENO, line, len);
	(void)written; /* There is no place left to report that stderr is gone. */
	errno = saved_errno;
}
