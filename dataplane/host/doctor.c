/* SPDX-License-Identifier: Apache-2.0 */
/* The data plane's checks for `sluicectl doctor`.  Each says what is so, and what would mend it. */
#include "doctor.h"

#include <inttypes.h>
#include <numa.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "host_impl.h"
#include "partition/writer.h"
#include "sluice/ipc/files.h"
#include "sluice/kern/loader.h"

#define MEMLOCK_BYTES_MIN (UINT64_C(64) << 20)

/* The texts of a check that is not well. */
struct lack {
	const char *cause;
	const char *cost;
	const char *fix;
};

static void add_ok(json_t *checks, const char *name, const char *what)
{
	json_array_append_new(checks, json_pack("{s:s, s:s, s:s, s:s, s:s}", "name", name, "state",
	                                        "ok", "cause", what, "cost", "", "fix", ""));
}

static void add(json_t *checks, const char *name, const char *state, const struct lack *lack)
{
	json_array_append_new(checks, json_pack("{s:s, s:s, s:s, s:s, s:s}", "name", name, "state",
	                                        state, "cause", lack->cause, "cost", lack->cost,
	                                        "fix", lack->fix));
}

static void check_hugepages(const struct host *h, json_t *checks)
{
	const char *reason = h->memory.reason ? h->memory.reason : "";
	const char *fix = strstr(reason, "; fix: ");
	char cause[256];

	if (h->memory.is_huge) {
		add_ok(checks, "hugepages", "DPDK memory is on huge pages");
		return;
	}
	if (strcmp(sl_conf_str(h->opts.conf, SL_CK_hugepages), "never") == 0) {
		add_ok(checks, "hugepages", "not wanted: hugepages=never");
		return;
	}
	snprintf(cause, sizeof(cause), "%.*s", (int)strcspn(reason, ";"), reason);
	add(checks, "hugepages", "warn",
	    &(struct lack){cause, "DPDK memory lies on small pages: more TLB misses per request",
	                   fix ? fix + strlen("; fix: ") : ""});
}

/* @reason: "cause; fix: fix", "cause; fix" or "cause: fix" */
static void add_tier(json_t *checks, const char *cost, const char *reason)
{
	static const char prefix[] = "fix: ";
	const char *end = strstr(reason, "; ");
	char cause[TIER_REASON_MAX];
	const char *fix;

	if (!end)
		end = strstr(reason, ": ");
	if (!end)
		end = reason + strlen(reason);
	fix = *end ? end + 2 : end;
	if (strncmp(fix, prefix, strlen(prefix)) == 0)
		fix += strlen(prefix);
	snprintf(cause, sizeof(cause), "%.*s", (int)(end - reason), reason);
	add(checks, "hot_tier", "warn", &(struct lack){cause, cost, fix});
}

static void check_tier(const struct host *h, json_t *checks)
{
	struct tier_state s;
	char text[160];

	tier_state(h->tier, &s);
	if (s.wanted == 0) {
		add_ok(checks, "hot_tier", "not wanted: log.hot.bytes=-1");
		return;
	}
	if (s.bytes < s.wanted || (!s.is_populating && s.populated < s.bytes)) {
		add_tier(checks, "records go through the page cache, or leave memory sooner",
		         s.reason);
		return;
	}
	if (!s.is_populating && !s.is_huge &&
	    strcmp(sl_conf_str(h->opts.conf, SL_CK_hugepages), "never") != 0) {
		add_tier(checks, "records lie on small pages: more work for each MiB in and out",
		         s.reason);
		return;
	}
	if (s.is_populating)
		snprintf(text, sizeof(text), "%" PRIu64 " MiB, %" PRIu64 " MiB populated so far",
		         s.bytes >> 20, s.populated >> 20);
	else
		snprintf(text, sizeof(text), "%" PRIu64 " MiB on %s pages, all populated",
		         s.bytes >> 20, s.is_huge ? "huge" : "small");
	add_ok(checks, "hot_tier", text);
}

static const char *cost_without(enum sl_kern_feature feature)
{
	switch (feature) {
	case SL_KERN_BPF:
		return "neither steering nor XDP ingress";
	case SL_KERN_SK_LOOKUP:
		return "every lane accepts on its own listeners; ports cannot be moved to another lane";
	case SL_KERN_XDP:
		return "banned and flooding sources are not dropped before the network stack";
	case SL_KERN_BTF:
		return "tracing tools know less; nothing of the server needs it";
	case SL_KERN_FEATURE_NR:
		break;
	}
	return "";
}

static void check_kernel(json_t *checks)
{
	struct sl_kern_probe probe;

	sl_kern_probe(&probe);
	for (unsigned i = 0; i < SL_KERN_FEATURE_NR; i++) {
		const char *name = sl_kern_feature_name((enum sl_kern_feature)i);
		const struct sl_kern_reason *why = &probe.feature[i].why;

		if (probe.feature[i].state == SL_KERN_OK)
			add_ok(checks, name, "can be used");
		else
			add(checks, name, "warn",
			    &(struct lack){why->cause, cost_without((enum sl_kern_feature)i),
			                   why->fix});
	}
}

/* What the kernel offers is one thing, whether it is used now another. */
static void check_program(json_t *checks, const char *name, const json_t *state, bool is_wanted,
                          const char *cost)
{
	const char *cause = json_string_value(json_object_get(state, "cause"));
	const char *fix = json_string_value(json_object_get(state, "fix"));

	if (json_is_true(json_object_get(state, "on")))
		add_ok(checks, name, "on");
	else if (!is_wanted)
		add_ok(checks, name, cause ? cause : "not wanted");
	else
		add(checks, name, "warn",
		    &(struct lack){cause ? cause : "off", cost, fix ? fix : ""});
}

static void check_programs(const struct host *h, json_t *checks)
{
	json_t *state = steer_describe(h->steer);

	check_program(checks, "steering", json_object_get(state, "sk_lookup"),
	              strcmp(sl_conf_str(h->opts.conf, SL_CK_steer), "never") != 0,
	              cost_without(SL_KERN_SK_LOOKUP));
	check_program(checks, "ingress", json_object_get(state, "xdp"),
	              *sl_conf_str(h->opts.conf, SL_CK_steer_xdp_iface), cost_without(SL_KERN_XDP));
	json_decref(state);
}

static void check_numa(const struct host *h, json_t *checks)
{
	char text[160];
	int nodes = numa_available() < 0 ? 1 : numa_num_configured_nodes();
	uint64_t used = 0;

	for (uint32_t i = 0; i < h->opts.lanes_count; i++)
		if (h->opts.numa_nodes[i] >= 0 && h->opts.numa_nodes[i] < 64)
			used |= UINT64_C(1) << h->opts.numa_nodes[i];
	snprintf(text, sizeof(text), "nodes=%d, lanes are on %d of them", nodes,
	         SL_MAX(1, __builtin_popcountll(used)));
	add_ok(checks, "numa", text);
}

static void check_nofile(const struct host *h, json_t *checks)
{
	uint64_t want = sl_lane_files(h->opts.lanes_count, h->config.connections_max,
	                              apply_table(h->apply)->states[HOSTED_OPEN]);
	char text[160], fix[96];
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) != 0)
		return;
	snprintf(text, sizeof(text),
	         "limit=%" PRIu64 ", all connections and today's partitions need %" PRIu64,
	         (uint64_t)rl.rlim_cur, want);
	snprintf(fix, sizeof(fix), "ulimit -n %" PRIu64 ", or LimitNOFILE= in the unit", want);
	if (rl.rlim_cur >= want)
		add_ok(checks, "nofile", text);
	else
		add(checks, "nofile", "warn",
		    &(struct lack){text,
		                   "connections or partitions are refused before their limits",
		                   fix});
}

static void check_memlock(const struct host *h, json_t *checks)
{
	uint64_t want = MEMLOCK_BYTES_MIN;
	struct tier_state tier;
	struct rlimit rl;
	char text[96];

	if (getrlimit(RLIMIT_MEMLOCK, &rl) != 0)
		return;
	if (rl.rlim_cur == RLIM_INFINITY) {
		add_ok(checks, "memlock", "no limit");
		return;
	}
	snprintf(text, sizeof(text), "limit=%" PRIu64 " bytes", (uint64_t)rl.rlim_cur);
	tier_state(h->tier, &tier);
	/* The limit does not bind root. */
	if (geteuid() != 0)
		want = SL_MAX(want, tier.bytes);
	if (rl.rlim_cur >= want)
		add_ok(checks, "memlock", text);
	else
		add(checks, "memlock", "warn",
		    &(struct lack){text,
		                   "records in memory may be swapped out, nothing can be pinned",
		                   "ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit"});
}

static void check_writer(const struct host *h, json_t *checks)
{
	const struct writer *w = lane_writer(h->lanes[0].lane);

	if (!*writer_reason(w))
		add_ok(checks, "io_uring", "the hot tier is written through it");
	else
		add(checks, "io_uring", "warn",
		    &(struct lack){writer_reason(w),
		                   "a thread writes the partitions of a lane one after the "
		                   "other: with many of them acks=all waits longer",
		                   writer_fix(w)});
}

static void check_dirs(const struct host *h, json_t *checks)
{
	for (uint32_t i = 0; i < logdirs_count(h->dirs); i++) {
		int error = logdirs_error(h->dirs, i);
		char text[512];

		snprintf(text, sizeof(text), "%s: %s", logdirs_path(h->dirs, i),
		         error ? strerror(-error) : "online");
		if (error == 0)
			add_ok(checks, "log_dir", text);
		else
			add(checks, "log_dir", "fail",
			    &(struct lack){text, "its partitions take no records",
			                   "mend the disk, then restart"});
	}
}

json_t *doctor_describe(const struct host *h)
{
	json_t *checks = json_array();

	if (!checks)
		return NULL;
	check_hugepages(h, checks);
	check_tier(h, checks);
	check_kernel(checks);
	check_programs(h, checks);
	check_numa(h, checks);
	check_nofile(h, checks);
	check_memlock(h, checks);
	check_writer(h, checks);
	check_dirs(h, checks);
	return json_pack("{s:o}", "checks", checks);
}
