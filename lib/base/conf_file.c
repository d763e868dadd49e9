/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reader of properties files.  Works in place on a writable copy of the text: a logical line, with
 * its continuations, never gets longer than the physical lines it came from.
 */
#include <errno.h>
#include <stdlib.h>

#include "conf_impl.h"
#include "sluice/base/file.h"

#define CONF_FILE_BYTES_MAX ((size_t)1024 * 1024)
/* Of the file's name and of the reason inside an error text. */
#define NAME_MAX_SHOWN      190
#define REASON_MAX_SHOWN    300

struct line_reader {
	char *at;
	char *end;
	unsigned line; /* number of the physical line that begins at `at` */
};

/* One logical line: `len` bytes at `p`, and p[len] may be overwritten. */
struct logical_line {
	char *p;
	size_t len;
	unsigned line;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\f';
}

/* Next physical line without leading blanks and line end; false at the end of the text. */
static bool next_physical(struct line_reader *r, char **p, size_t *len)
{
	char *newline;
	char *end;

	if (r->at == r->end)
		return false;
	newline = memchr(r->at, '\n', (size_t)(r->end - r->at));
	end = newline ? newline : r->end;
	*p = r->at;
	r->at = newline ? newline + 1 : r->end;
	r->line++;
	if (end > *p && end[-1] == '\r')
		end--;
	while (*p < end && is_blank(**p))
		(*p)++;
	*len = (size_t)(end - *p);
	return true;
}

/* Next line that is neither empty nor a comment, joined with its continuations. */
static bool next_logical(struct line_reader *r, struct logical_line *out)
{
	size_t len;
	char *p;

	do {
		out->line = r->line;
		if (!next_physical(r, &p, &len))
			return false;
	} while (len == 0 || p[0] == '#' || p[0] == '!');
	out->p = p;
	out->len = len;
	while (out->len > 0 && len > 0 && out->p[out->len - 1] == '\\') {
		out->len--;
		if (!next_physical(r, &p, &len))
			break;
		memmove(out->p + out->len, p, len);
		out->len += len;
	}
	return true;
}

/* Cuts "key = value" or "key: value" into two C strings. */
static int split(struct logical_line *line, char **key, char **value, char error[SL_CONF_ERROR_MAX])
{
	char *end = line->p + line->len;
	char quoted[CONF_QUOTE_MAX];
	char *key_end = line->p;
	char *p;

	*end = '\0';
	if (memchr(line->p, '\0', line->len)) {
		snprintf(error, SL_CONF_ERROR_MAX, "contains a NUL byte");
		return -EINVAL;
	}
	while (key_end < end && !is_blank(*key_end) && *key_end != '=' && *key_end != ':')
		key_end++;
	for (p = key_end; is_blank(*p);)
		p++;
	if (*p != '=' && *p != ':') {
		snprintf(error, SL_CONF_ERROR_MAX, "%s: has no '=' or ':' after the key",
		         conf_quote(quoted, sl_str_from(line->p)));
		return -EINVAL;
	}
	if (key_end == line->p) {
		snprintf(error, SL_CONF_ERROR_MAX, "has no key before '%c'", *p);
		return -EINVAL;
	}
	*value = p + 1;
	*key_end = '\0';
	*key = line->p;
	return 0;
}

int conf_parse(struct sl_conf *conf, const char *name, char *text, size_t len,
               char error[SL_CONF_ERROR_MAX])
{
	struct line_reader r = {text, text + len, 1};
	char reason[SL_CONF_ERROR_MAX];
	struct logical_line line;
	char *value;
	char *key;
	int err;

	while (next_logical(&r, &line)) {
		err = split(&line, &key, &value, reason);
		if (err == 0)
			err = sl_conf_set(conf, key, value, reason);
		if (err) {
			snprintf(error, SL_CONF_ERROR_MAX, "%.*s:%u: %.*s", NAME_MAX_SHOWN, name,
			         line.line, REASON_MAX_SHOWN, reason);
			return err;
		}
	}
	return 0;
}

int sl_conf_load(struct sl_conf *conf, const char *path, char error[SL_CONF_ERROR_MAX])
{
	size_t len;
	char *text;
	int err;

	conf_defaults(conf);
	if (!path)
		return 0;
	err = sl_file_read(path, CONF_FILE_BYTES_MAX, &text, &len);
	if (err) {
		snprintf(error, SL_CONF_ERROR_MAX, "%.*s: %s", NAME_MAX_SHOWN, path,
		         strerror(-err));
		return err;
	}
	err = conf_parse(conf, path, text, len, error);
	free(text);
	if (err)
		sl_conf_fini(conf);
	return err;
}
