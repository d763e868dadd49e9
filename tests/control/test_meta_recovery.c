/* SPDX-License-Identifier: Apache-2.0 */
/* What the local back end makes of its files after crashes and damage. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sluice/base/file.h"
#include "sluice/base/log.h"

#include "meta_bench.h"

#define STATES_MAX 16
#define LOG_HEAD   28

/* A small history: the text of the image and the size of the log after each transaction. */
struct history {
	struct meta_bench bench;
	char *text[STATES_MAX];
	size_t end[STATES_MAX];
	int count;
	char *log; /* bytes of the log in the end */
	size_t log_bytes;
	char log_path[128];
};

static size_t file_bytes(const char *path)
{
	struct stat st;

	cr_assert_eq(stat(path, &st), 0);
	return (size_t)st.st_size;
}

static void note(struct history *h)
{
	cr_assert_lt(h->count, STATES_MAX);
	h->text[h->count] = meta_bench_text(&h->bench);
	h->end[h->count++] = file_bytes(h->log_path);
}

static void make_history(struct history *h)
{
	struct sl_meta_broker_config_config pair = {sl_str_from("log.retention.ms"),
	                                            sl_str_from("5")};
	struct sl_meta_broker_config rec = {META_ALL_SERVERS, &pair, 1};
	struct meta_txn *txn;
	const struct meta_topic *t;

	*h = (struct history){0};
	sl_log_init("test", SL_LOG_ERR);
	meta_bench_init(&h->bench);
	meta_bench_path(&h->bench, "log-1", h->log_path);
	cr_assert_eq(meta_bench_open(&h->bench), 0);
	note(h);
	txn = meta_txn_begin(h->bench.meta);
	meta_txn_put_cluster_id(txn, "cluster");
	cr_assert_eq(meta_bench_commit(&h->bench, txn), META_COMMITTED);
	note(h);
	meta_bench_create(&h->bench, "alpha", 2);
	note(h);
	txn = meta_txn_begin(h->bench.meta);
	meta_txn_put_producer_ids(txn, 1000, 0);
	meta_txn_put_broker_config(txn, &rec, 0);
	cr_assert_eq(meta_bench_commit(&h->bench, txn), META_COMMITTED);
	note(h);
	meta_bench_create(&h->bench, "beta", 1);
	note(h);
	t = meta_topic_by_name(h->bench.meta, sl_str_from("alpha"));
	txn = meta_txn_begin(h->bench.meta);
	meta_txn_delete_topic(txn, &t->rec.topic_id, t->mod_revision);
	cr_assert_eq(meta_bench_commit(&h->bench, txn), META_COMMITTED);
	note(h);
	meta_bench_close(&h->bench);
	cr_assert_eq(sl_file_read(h->log_path, 1 << 20, &h->log, &h->log_bytes), 0);
	cr_assert_eq(h->log_bytes, h->end[h->count - 1]);
}

static void end_history(struct history *h)
{
	for (int i = 0; i < h->count; i++)
		free(h->text[i]);
	free(h->log);
	meta_bench_fini(&h->bench);
}

static void write_log(const struct history *h, const void *p, size_t len)
{
	int fd = open(h->log_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(sl_write_all(fd, p, len), 0);
	close(fd);
}

/* Opens the damaged store and says which state it is in; -1: it refused. */
static int state_after_open(struct history *h)
{
	int rc = meta_bench_open(&h->bench);
	int state = -1;
	char *text;

	if (rc < 0) {
		cr_assert_eq(rc, -EBADMSG);
		cr_assert(strstr(h->bench.error, "log-1: position"), "%s", h->bench.error);
		return -1;
	}
	text = meta_bench_text(&h->bench);
	for (int i = 0; i < h->count; i++) {
		if (strcmp(text, h->text[i]) == 0)
			state = i;
	}
	cr_assert_geq(state, 0, "an image that never was: %s", text);
	free(text);
	meta_bench_close(&h->bench);
	return state;
}

Test(meta_recovery, reads_back_what_was_committed)
{
	struct history h;

	make_history(&h);
	cr_assert_eq(state_after_open(&h), h.count - 1);
	cr_assert_eq(h.bench.recovery.cut_bytes, 0);
	cr_assert_eq(h.bench.recovery.revision, 5);
	end_history(&h);
}

Test(meta_recovery, cuts_a_torn_tail_at_every_byte)
{
	struct history h;

	make_history(&h);
	for (size_t len = 0; len <= h.log_bytes; len++) {
		int whole = 0;
		int state;

		write_log(&h, h.log, len);
		state = state_after_open(&h);
		if (len < LOG_HEAD) {
			cr_assert_eq(state, -1, "a log without its head at %zu", len);
			continue;
		}
		while (whole + 1 < h.count && h.end[whole + 1] <= len)
			whole++;
		cr_assert_eq(state, whole, "cut at %zu", len);
		cr_assert_eq(h.bench.recovery.cut_bytes, len - h.end[whole], "cut at %zu", len);
		if (len > h.end[whole])
			cr_assert_eq(h.bench.recovery.cut_pos, h.end[whole]);
		cr_assert_eq(file_bytes(h.log_path), h.end[whole], "the tail is gone");
	}
	end_history(&h);
}

Test(meta_recovery, goes_on_after_a_cut)
{
	struct history h;

	make_history(&h);
	write_log(&h, h.log, h.log_bytes - 3);
	cr_assert_eq(meta_bench_open(&h.bench), 0);
	meta_bench_create(&h.bench, "gamma", 1);
	meta_bench_close(&h.bench);
	cr_assert_eq(meta_bench_open(&h.bench), 0);
	cr_assert_eq(h.bench.recovery.cut_bytes, 0);
	cr_assert_not_null(meta_topic_by_name(h.bench.meta, sl_str_from("gamma")));
	cr_assert_not_null(meta_topic_by_name(h.bench.meta, sl_str_from("alpha")));
	end_history(&h);
}

Test(meta_recovery, finds_every_flipped_bit_of_the_log)
{
	struct history h;
	size_t last;
	int refused = 0;

	make_history(&h);
	last = h.end[h.count - 2];
	for (size_t bit = 0; bit < h.log_bytes * 8; bit++) {
		int state;

		h.log[bit / 8] ^= (char)(1 << bit % 8);
		write_log(&h, h.log, h.log_bytes);
		state = state_after_open(&h);
		h.log[bit / 8] ^= (char)(1 << bit % 8);
		if (bit / 8 < last) {
			cr_assert_eq(state, -1, "bit %zu was not found", bit);
			refused++;
		} else {
			/* The last transaction looks like one that a crash has torn. */
			cr_assert_eq(state, h.count - 2, "bit %zu", bit);
			cr_assert_gt(h.bench.recovery.cut_bytes, 0);
		}
	}
	cr_assert_gt(refused, 0);
	end_history(&h);
}

/* Grows the log over the size that makes a snapshot. */
static void fill(struct meta_bench *b, int topics)
{
	char name[32];

	for (int i = 0; i < topics; i++) {
		snprintf(name, sizeof(name), "big-%03d", i);
		meta_bench_create(b, name, 30000);
	}
}

Test(meta_recovery, makes_a_snapshot_and_drops_the_log_before_it)
{
	struct meta_bench b;
	char path[128];
	char *before, *after;

	meta_bench_init(&b);
	cr_assert_eq(meta_bench_open(&b), 0);
	fill(&b, 9);
	meta_bench_path(&b, "log-1", path);
	cr_assert_lt(access(path, F_OK), 0, "the first log is gone");
	meta_bench_path(&b, "log-2", path);
	cr_assert_eq(access(path, F_OK), 0);
	cr_assert_lt(file_bytes(path), 4 << 20);
	before = meta_bench_text(&b);
	meta_bench_close(&b);
	cr_assert_eq(meta_bench_open(&b), 0, "%s", b.error);
	after = meta_bench_text(&b);
	cr_assert_str_eq(before, after);
	free(before);
	free(after);
	meta_bench_fini(&b);
}

Test(meta_recovery, finds_flipped_bits_of_the_snapshot)
{
	struct meta_bench b;
	char path[128];
	char *p;
	size_t len;

	meta_bench_init(&b);
	cr_assert_eq(meta_bench_open(&b), 0);
	meta_bench_close(&b);
	meta_bench_path(&b, "snapshot", path);
	cr_assert_eq(sl_file_read(path, 1 << 20, &p, &len), 0);
	for (size_t bit = 0; bit < len * 8; bit++) {
		p[bit / 8] ^= (char)(1 << bit % 8);
		cr_assert_eq(sl_file_write_atomic(path, p, len), 0);
		cr_assert_eq(meta_bench_open(&b), -EBADMSG, "bit %zu", bit);
		cr_assert(strstr(b.error, path));
		p[bit / 8] ^= (char)(1 << bit % 8);
	}
	for (size_t cut = 0; cut < len; cut++) {
		cr_assert_eq(sl_file_write_atomic(path, p, cut), 0);
		cr_assert_eq(meta_bench_open(&b), -EBADMSG, "cut %zu", cut);
	}
	free(p);
	meta_bench_fini(&b);
}

Test(meta_recovery, refuses_transactions_without_their_snapshot)
{
	struct history h;
	char path[128];

	make_history(&h);
	meta_bench_path(&h.bench, "snapshot", path);
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(meta_bench_open(&h.bench), -EBADMSG);
	cr_assert(strstr(h.bench.error, "snapshot"));
	end_history(&h);
}

Test(meta_recovery, refuses_a_snapshot_without_its_log)
{
	struct history h;

	make_history(&h);
	cr_assert_eq(unlink(h.log_path), 0);
	cr_assert_eq(meta_bench_open(&h.bench), -EBADMSG);
	end_history(&h);
}

Test(meta_recovery, starts_anew_after_a_crash_before_the_first_snapshot)
{
	struct history h;
	char path[128];

	make_history(&h);
	write_log(&h, h.log, LOG_HEAD);
	meta_bench_path(&h.bench, "snapshot", path);
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(meta_bench_open(&h.bench), 0, "%s", h.bench.error);
	cr_assert_eq(meta_revision(h.bench.meta), 0);
	end_history(&h);
}

Test(meta_recovery, keeps_a_second_process_out)
{
	struct meta_bench b, other;

	meta_bench_init(&b);
	cr_assert_eq(meta_bench_open(&b), 0);
	other = b;
	other.meta = NULL;
	cr_assert_eq(meta_bench_open(&other), -EBUSY);
	meta_bench_fini(&b);
}

/* A full disk, made by the limit on the size of files. */
Test(meta_recovery, survives_a_full_disk, .signal = 0)
{
	struct meta_bench b;
	struct rlimit old, small = {0};
	struct sl_meta_topic rec = meta_bench_topic("t", 100);
	struct meta_txn *txn;
	char *before, *after;

	signal(SIGXFSZ, SIG_IGN);
	meta_bench_init(&b);
	cr_assert_eq(meta_bench_open(&b), 0);
	meta_bench_create(&b, "first", 1);
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = 200;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	for (int i = 0; i < 3; i++) {
		txn = meta_txn_begin(b.meta);
		meta_txn_put_topic(txn, &rec, 0);
		cr_assert_eq(meta_bench_commit(&b, txn), META_FAILED);
		cr_assert_eq(meta_topics_count(b.meta), 1);
	}
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
	txn = meta_txn_begin(b.meta);
	meta_txn_put_topic(txn, &rec, 0);
	cr_assert_eq(meta_bench_commit(&b, txn), META_COMMITTED);
	before = meta_bench_text(&b);
	meta_bench_close(&b);
	cr_assert_eq(meta_bench_open(&b), 0, "%s", b.error);
	after = meta_bench_text(&b);
	cr_assert_str_eq(before, after);
	free(before);
	free(after);
	free(rec.partitions);
	meta_bench_fini(&b);
}
