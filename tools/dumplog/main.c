/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sluice-dumplog: prints and verifies the segment files of partition logs.
 */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "dump.h"
#include "print.h"

/* What the exit status tells a script. */
enum status {
	STATUS_VALID = 0,
	STATUS_INVALID = 1,
	STATUS_FAILED = 2, /* usage, or something could not be read */
};

static const char usage_text[] =
	"usage: sluice-dumplog [--records] [--verify] [--json] FILE.log|FILE.txnindex|FOLDER...\n"
	"\n"
	"Prints the record batches of segment files, with the names Kafka's DumpLogSegments uses,\n"
	"and the aborted transactions of their .txnindex files.\n"
	"\n"
	"  -r, --records  print every record as well\n"
	"  -v, --verify   check checksums, offsets, records and the indexes; one line a file\n"
	"  -j, --json     one JSON object a line\n"
	"  -h, --help     print this\n"
	"\n"
	"Exit status: 0 all valid, 1 something is invalid, 2 something could not be read.\n";

static enum status worse(enum status a, enum status b)
{
	return a > b ? a : b;
}

static bool is_log_name(const char *name)
{
	size_t len = strlen(name);

	return len > 4 && strcmp(name + len - 4, ".log") == 0;
}

static bool is_txnindex_name(const char *name)
{
	static const char suffix[] = ".txnindex";
	size_t len = strlen(name);

	return len >= sizeof(suffix) && strcmp(name + len - (sizeof(suffix) - 1), suffix) == 0;
}

static enum status dump_one(const char *path, const struct dump_opts *opts)
{
	struct dump_result result;
	int err = is_txnindex_name(path) ? dump_txnindex(path, opts, &result)
	                                 : dump_file(path, opts, &result);

	if (!err && opts->is_quiet && is_log_name(path))
		err = dump_index(path, &result);
	if (!err && opts->is_quiet && is_log_name(path))
		err = dump_txnindex_of(path, &result);
	if (err) {
		fprintf(stderr, "sluice-dumplog: %s: %s\n", path, strerror(-err));
		return STATUS_FAILED;
	}
	print_file_end(opts, path, &result);
	return dump_is_valid(&result) ? STATUS_VALID : STATUS_INVALID;
}

static int keep_logs(const struct dirent *entry)
{
	return is_log_name(entry->d_name);
}

static enum status dump_folder(const char *folder, const struct dump_opts *opts)
{
	enum status status = STATUS_VALID;
	struct dirent **entries = NULL;
	int count = scandir(folder, &entries, keep_logs, alphasort);

	if (count < 0) {
		fprintf(stderr, "sluice-dumplog: %s: %s\n", folder, strerror(errno));
		return STATUS_FAILED;
	}
	if (count == 0) {
		fprintf(stderr, "sluice-dumplog: %s: no .log file in it\n", folder);
		status = STATUS_FAILED;
	}
	for (int i = 0; i < count; i++) {
		char *path = NULL;

		if (asprintf(&path, "%s/%s", folder, entries[i]->d_name) < 0)
			status = STATUS_FAILED;
		else
			status = worse(status, dump_one(path, opts));
		free(path);
		free(entries[i]);
	}
	free(entries);
	return status;
}

static enum status dump_path(const char *path, const struct dump_opts *opts)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		fprintf(stderr, "sluice-dumplog: %s: %s\n", path, strerror(errno));
		return STATUS_FAILED;
	}
	return S_ISDIR(st.st_mode) ? dump_folder(path, opts) : dump_one(path, opts);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"records", no_argument, NULL, 'r'},
		{"verify", no_argument, NULL, 'v'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct dump_opts opts = {.out = stdout};
	enum status status = STATUS_VALID;
	int option;

	while ((option = getopt_long(argc, argv, "rvjh", options, NULL)) != -1) {
		switch (option) {
		case 'r':
			opts.with_records = true;
			break;
		case 'v':
			opts.is_quiet = true;
			break;
		case 'j':
			opts.is_json = true;
			break;
		case 'h':
			fputs(usage_text, stdout);
			return STATUS_VALID;
		default:
			fputs(usage_text, stderr);
			return STATUS_FAILED;
		}
	}
	if (optind == argc) {
		fputs(usage_text, stderr);
		return STATUS_FAILED;
	}
	for (int i = optind; i < argc; i++)
		status = worse(status, dump_path(argv[i], &opts));
	if (fflush(stdout) != 0) {
		fprintf(stderr, "sluice-dumplog: cannot write: %s\n", strerror(errno));
		status = STATUS_FAILED;
	}
	return status;
}
