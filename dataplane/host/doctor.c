/* SPDX-License-Identifier: Apache-2.0 */
/* The data plane's checks for `sluicectl doctor`.  Each says what is so, and what would mend it. */
#include "doctor.h"

#include <inttypes.h>
#include <numa.h>
#include <stdio.h>
#include <sys/resource.h>

#include "host_impl.h"
#include "sluice/kern/loader.h"

#define MEMLOCK_BYTES_MIN (UINT64_C(64) << 20)

static void add(json_t *checks, const char *name, const char *state, const char *cause,
                const char *fix)
{
	json_array_append_new(checks, json_pack("{s:s, s:s, s:s, s:s}", "name", name, "state",
	                                        state, "cause", cause, "fix", fix));
}

static void check_hugepages(const struct host *h, json_t *checks)
{
	const char *reason = h->opts.huge_reason ? h->opts.huge_reason : "";
	const char *fix = strstr(reason, "; fix: ");
	char cause[256];

	if (h->opts.is_huge) {
		add(checks, "hugepages", "ok", "DPDK memory is on huge pages", "");
		return;
	}
	snprintf(cause, sizeof(cause), "%.*s", fix ? (int)(fix - reason) : (int)strlen(reason),
	         reason);
	add(checks, "hugepages", "warn", cause, fix ? fix + strlen("; fix: ") : "");
}

static void check_kernel(json_t *checks)
{
	struct sl_kern_probe probe;

	sl_kern_probe(&probe);
	for (unsigned i = 0; i < SL_KERN_FEATURE_NR; i++) {
		enum sl_kern_state state = probe.feature[i].state;
		const struct sl_kern_reason *why = &probe.feature[i].why;

		add(checks, sl_kern_feature_name((enum sl_kern_feature)i),
		    state == SL_KERN_OK ? "ok" : "warn",
		    state == SL_KERN_OK ? sl_kern_state_name(state) : why->cause, why->fix);
	}
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
	add(checks, "numa", "ok", text, "");
}

static void check_nofile(const struct host *h, json_t *checks)
{
	uint64_t want = (uint64_t)h->opts.lanes_count * h->config.connections_max +
	                apply_table(h->apply)->states[HOSTED_OPEN] * 3 + 1024;
	char text[160], fix[96];
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) != 0)
		return;
	snprintf(text, sizeof(text),
	         "limit=%" PRIu64 ", all connections and today's partitions need %" PRIu64,
	         (uint64_t)rl.rlim_cur, want);
	snprintf(fix, sizeof(fix), "ulimit -n %" PRIu64 ", or LimitNOFILE= in the unit", want);
	if (rl.rlim_cur >= want)
		add(checks, "nofile", "ok", text, "");
	else
		add(checks, "nofile", "warn", text, fix);
}

static void check_memlock(json_t *checks)
{
	struct rlimit rl;
	char text[96];

	if (getrlimit(RLIMIT_MEMLOCK, &rl) != 0)
		return;
	if (rl.rlim_cur == RLIM_INFINITY) {
		add(checks, "memlock", "ok", "no limit", "");
		return;
	}
	snprintf(text, sizeof(text), "limit=%" PRIu64 " bytes", (uint64_t)rl.rlim_cur);
	if (rl.rlim_cur >= MEMLOCK_BYTES_MIN)
		add(checks, "memlock", "ok", text, "");
	else
		add(checks, "memlock", "warn", text,
		    "ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit");
}

static void check_dirs(const struct host *h, json_t *checks)
{
	for (uint32_t i = 0; i < logdirs_count(h->dirs); i++) {
		int error = logdirs_error(h->dirs, i);
		char text[512];

		snprintf(text, sizeof(text), "%s: %s", logdirs_path(h->dirs, i),
		         error ? strerror(-error) : "online");
		add(checks, "log_dir", error ? "fail" : "ok", text,
		    error ? "mend the disk, then restart" : "");
	}
}

json_t *doctor_describe(const struct host *h)
{
	json_t *checks = json_array();

	if (!checks)
		return NULL;
	check_hugepages(h, checks);
	check_kernel(checks);
	check_numa(h, checks);
	check_nofile(h, checks);
	check_memlock(checks);
	check_dirs(h, checks);
	return json_pack("{s:o}", "checks", checks);
}
