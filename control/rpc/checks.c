/* SPDX-License-Identifier: Apache-2.0 */
/* Each check looks at one thing, and says what it costs and how it is mended. */
#include "checks.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sluice/base/file.h"
#include "sluice/ipc/files.h"

#include "control.h"
#include "probe.h"
#include "value.h"

#define TEXT_MAX     256
/* Above the first a sync is felt by acks=all, above the second it is what limits the server. */
#define SYNC_WARN_US 2000
#define SYNC_BAD_US  20000

void checks_add(json_t **list, const char *name, const struct check_text *text)
{
	value_append(list, json_pack("{s:s, s:s, s:s, s:s, s:s?, s:s?}", "name", name, "source",
	                             "control", "state", text->state, "cause", text->cause, "cost",
	                             text->cost, "fix", text->fix));
}

/* First line of a small file of the kernel; "" when it cannot be read. */
static void read_line(const char *path, char out[TEXT_MAX])
{
	FILE *f = fopen(path, "re");

	out[0] = '\0';
	if (!f)
		return;
	if (fgets(out, TEXT_MAX, f))
		out[strcspn(out, "\n")] = '\0';
	fclose(f);
}

static long long read_number(const char *path)
{
	char text[TEXT_MAX];

	read_line(path, text);
	return text[0] ? strtoll(text, NULL, 10) : -1;
}

static void check_hugepages(json_t **list, struct control *c)
{
	long long all = read_number("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
	long long unused = read_number("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
	long long needed = (sl_conf_int(c->conf, SL_CK_hugepages_bytes) + (1 << 21) - 1) >> 21;
	struct check_text t = {"ok", NULL, NULL, NULL};
	char cause[TEXT_MAX], fix[TEXT_MAX];

	t.cause = cause;
	snprintf(cause, sizeof(cause), "%lld huge pages of 2 MiB, %lld of them free",
	         SL_MAX(all, 0LL), SL_MAX(unused, 0LL));
	if (strcmp(sl_conf_str(c->conf, SL_CK_hugepages), "never") == 0) {
		t.cause = "not wanted: hugepages = never";
	} else if (all < needed) {
		t.state = "warn";
		t.cost = "the data plane's memory lies on small pages: more TLB misses per request";
		snprintf(fix, sizeof(fix),
		         "sysctl vm.nr_hugepages=%lld, then restart the data plane", needed);
		t.fix = fix;
	}
	checks_add(list, "hugepages", &t);
}

/* While the data plane is away: what is kept for it.  It knows more itself. */
static void check_tier(json_t **list, struct control *c)
{
	const struct sl_ipc_tiers *held = link_held(c->link);
	struct check_text t = {"ok", NULL, NULL, NULL};
	unsigned long long bytes = 0;
	char cause[TEXT_MAX];

	for (uint32_t i = 0; i < held->count; i++)
		bytes += held->tiers[i].bytes;
	t.cause = cause;
	if (held->count)
		snprintf(cause, sizeof(cause), "%llu MiB of records are kept for the data plane",
		         bytes >> 20);
	else
		snprintf(cause, sizeof(cause), "none is kept for the data plane");
	checks_add(list, "hot_tier", &t);
}

/* A limit of the data plane; of this process, which the same parent started, when that is hidden.
 */
static unsigned long long limit_of(struct control *c, int what)
{
	struct rlimit r;
	const struct sl_shm *shm = link_is_up(c->link) ? link_shm(c->link) : NULL;

	if (shm && shm->pid > 0 && prlimit(shm->pid, what, NULL, &r) == 0)
		return r.rlim_cur;
	return getrlimit(what, &r) == 0 ? r.rlim_cur : 0;
}

static void check_memlock(json_t **list, struct control *c)
{
	unsigned long long have = limit_of(c, RLIMIT_MEMLOCK);
	unsigned long long want = (unsigned long long)sl_conf_int(c->conf, SL_CK_hugepages_bytes);
	struct check_text t = {"ok", NULL, NULL, NULL};
	char cause[TEXT_MAX];

	t.cause = cause;
	if (have == RLIM_INFINITY)
		snprintf(cause, sizeof(cause), "no limit on locked memory");
	else
		snprintf(cause, sizeof(cause), "at most %llu KiB may be locked", have / 1024);
	if (have < want && geteuid() != 0) {
		t.state = "warn";
		t.cost = "memory of the data plane may be paged out under pressure";
		t.fix = "LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited";
	}
	checks_add(list, "memlock", &t);
}

static void check_nofile(json_t **list, struct control *c)
{
	unsigned long long have = limit_of(c, RLIMIT_NOFILE);
	unsigned long long want =
		sl_lane_files(SL_MAX(control_lanes_count(c), 1u),
	                      (uint64_t)sl_conf_int(c->conf, SL_CK_lane_connections_max),
	                      meta_partitions_count(c->meta));
	struct check_text t = {"ok", NULL, NULL, NULL};
	char cause[TEXT_MAX], fix[TEXT_MAX];

	t.cause = cause;
	snprintf(cause, sizeof(cause),
	         "%llu descriptors; all connections and partitions may need %llu", have, want);
	if (have < want) {
		t.state = have < want / 4 ? "bad" : "warn";
		t.cost =
			"connections are refused, or partitions fail to open, before the configured limits";
		snprintf(fix, sizeof(fix), "LimitNOFILE=%llu in the unit, or ulimit -n", want);
		t.fix = fix;
	}
	checks_add(list, "nofile", &t);
}

static void check_io_uring(json_t **list)
{
	struct io_uring_params params = {0};
	long fd = syscall(SYS_io_uring_setup, 1, &params);
	struct check_text t = {"ok", "io_uring can be used", NULL, NULL};
	char cause[TEXT_MAX];

	if (fd >= 0) {
		close((int)fd);
	} else {
		snprintf(cause, sizeof(cause), "io_uring_setup: %s", strerror(errno));
		t = (struct check_text){
			"warn", cause, "asynchronous disk writes are not possible",
			"sysctl kernel.io_uring_disabled=0; look at seccomp filters"};
	}
	checks_add(list, "io_uring", &t);
}

static void check_numa(json_t **list, struct control *c)
{
	struct check_text t = {"ok", NULL, NULL, NULL};
	char online[TEXT_MAX], cause[TEXT_MAX + 64];
	bool is_one;

	read_line("/sys/devices/system/node/online", online);
	is_one = !strpbrk(online, "-,");
	snprintf(cause, sizeof(cause), is_one ? "one memory node%s" : "memory nodes %s",
	         is_one ? "" : online);
	t.cause = cause;
	if (!is_one && control_lanes_count(c) > 1 && !sl_conf_str(c->conf, SL_CK_lane_cpus)[0]) {
		t.state = "warn";
		t.cost =
			"lanes are spread over the nodes by default, network card and disks are not";
		t.fix = "set lane.cpus to cores of the node that has the network card";
	}
	checks_add(list, "numa", &t);
}

static void check_clock(json_t **list)
{
	static const char *const fast[] = {"tsc", "kvm-clock", "hyperv_clocksource_tsc_page",
	                                   "arch_sys_counter"};
	struct check_text t = {
		"bad", NULL, "every time stamp is a system call",
		"boot with tsc=reliable where the CPU's TSC is, or look at dmesg for why "
		"it was refused"};
	char source[TEXT_MAX], cause[TEXT_MAX + 32];

	read_line("/sys/devices/system/clocksource/clocksource0/current_clocksource", source);
	snprintf(cause, sizeof(cause), "clock source %s", source[0] ? source : "unknown");
	t.cause = cause;
	for (unsigned i = 0; i < SL_ARRAY_SIZE(fast); i++) {
		if (strcmp(source, fast[i]) == 0)
			t = (struct check_text){"ok", cause, NULL, NULL};
	}
	checks_add(list, "clock", &t);
}

void checks_machine(json_t **list, struct control *c)
{
	check_hugepages(list, c);
	check_tier(list, c);
	check_memlock(list, c);
	check_nofile(list, c);
	check_io_uring(list);
	check_numa(list, c);
	check_clock(list);
}

void checks_disk(json_t **list, const struct probe_result *r)
{
	struct check_text t = {"ok", NULL, NULL, NULL};
	char cause[TEXT_MAX + 1024];

	t.cause = cause;
	if (r->error != 0) {
		snprintf(cause, sizeof(cause), "%s: %s", r->dir, strerror(r->error));
		t.state = "bad";
		t.cost = "partitions in this folder cannot be written";
		t.fix = "look at the disk, its free space and the folder's owner";
		checks_add(list, "disk-sync", &t);
		return;
	}
	snprintf(cause, sizeof(cause),
	         "%s: a sync of 4 KiB takes %llu us (median of %u), at most %llu us", r->dir,
	         (unsigned long long)r->median_us, r->syncs, (unsigned long long)r->max_us);
	if (r->is_memory) {
		t.state = "warn";
		t.cost = "the folder lies in memory: records are gone after a reboot";
		t.fix = "put log.dirs on a disk";
	} else if (r->median_us > SYNC_WARN_US) {
		t.state = r->median_us > SYNC_BAD_US ? "bad" : "warn";
		t.cost =
			"acks=all waits at least this long, and group commits cannot be more frequent";
		t.fix = "a disk with power-loss protection, or flush=lazy for topics that can lose records";
	}
	checks_add(list, "disk-sync", &t);
}
