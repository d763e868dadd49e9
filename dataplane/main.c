/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sluice-dataplane: reads the configuration, starts DPDK and the host thread (this one), which
 * starts the lanes, and takes them down again.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "eal.h"
#include "host/host.h"
#include "sluice/base/log.h"
#include "sluice/ipc/files.h"

struct args {
	const char *config;
	const char *data;
	const char *sets[64]; /* key=value, after the file */
	unsigned sets_count;
};

static int usage(void)
{
	fprintf(stderr,
	        "usage: sluice-dataplane --data DIR [--config FILE] [--set KEY=VALUE]...\n");
	return 2;
}

static int parse_args(struct args *a, int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
	                                        {"data", required_argument, NULL, 'd'},
	                                        {"set", required_argument, NULL, 's'},
	                                        {NULL, 0, NULL, 0}};
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o == 'c')
			a->config = optarg;
		else if (o == 'd')
			a->data = optarg;
		else if (o == 's' && a->sets_count < SL_ARRAY_SIZE(a->sets))
			a->sets[a->sets_count++] = optarg;
		else
			return -EINVAL;
	}
	return a->data && optind == argc ? 0 : -EINVAL;
}

static int load(struct sl_conf *conf, const struct args *a, char error[SL_CONF_ERROR_MAX])
{
	int rc = sl_conf_load(conf, a->config, error);

	for (unsigned i = 0; rc == 0 && i < a->sets_count; i++)
		rc = sl_conf_set_pair(conf, a->sets[i], error);
	return rc;
}

/* "PLAINTEXT://host:port" */
static int parse_listener(struct host_opts *o, char host[256], char error[SL_CONF_ERROR_MAX])
{
	const char *text = sl_conf_str(o->conf, SL_CK_listeners);
	const char *scheme = "PLAINTEXT://";
	const char *at, *colon;
	char *end;
	long port;
	int64_t base;

	at = strncmp(text, scheme, strlen(scheme)) == 0 ? text + strlen(scheme) : NULL;
	colon = at ? strrchr(at, ':') : NULL;
	port = colon ? strtol(colon + 1, &end, 10) : 0;
	if (!colon || port < 1 || port > 65535 || *end || colon == at || colon - at >= 256) {
		snprintf(error, SL_CONF_ERROR_MAX, "listeners: \"%s\" is not PLAINTEXT://host:port",
		         text);
		return -EINVAL;
	}
	if (*at == '[' && colon[-1] == ']')
		snprintf(host, 256, "%.*s", (int)(colon - at - 2), at + 1);
	else
		snprintf(host, 256, "%.*s", (int)(colon - at), at);
	base = sl_conf_int(o->conf, SL_CK_lane_port_base);
	if (base == 0)
		base = port + 1;
	if (base + o->lanes_count - 1 > 65535 || (port >= base && port < base + o->lanes_count)) {
		snprintf(
			error, SL_CONF_ERROR_MAX,
			"lane.port.base: ports %lld..%lld leave the range or include the bootstrap port %ld",
			(long long)base, (long long)base + o->lanes_count - 1, port);
		return -EINVAL;
	}
	o->listen_host = host;
	o->listen_port = (uint16_t)port;
	o->lane_port_base = (uint16_t)base;
	return 0;
}

/* Connections and segment files need descriptors; what the hard limit refuses is reported, not
 * fatal. */
static void raise_nofile(const struct sl_conf *conf, uint32_t lanes)
{
	uint64_t partitions = lanes * (uint64_t)sl_conf_int(conf, SL_CK_lane_partitions_max);
	uint64_t connections = (uint64_t)sl_conf_int(conf, SL_CK_lane_connections_max);
	rlim_t want = sl_lane_files(lanes, connections, partitions);
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) != 0 || rl.rlim_cur >= want)
		return;
	struct rlimit more = {.rlim_cur = want, .rlim_max = SL_MAX(rl.rlim_max, want)};

	if (setrlimit(RLIMIT_NOFILE, &more) == 0)
		return;
	rl.rlim_cur = rl.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &rl) != 0 || rl.rlim_cur < want)
		sl_log(WARN, main,
		       "limit descriptors have=%llu want=%llu: fewer connections and partitions; fix: ulimit -n %llu",
		       (unsigned long long)rl.rlim_cur, (unsigned long long)want,
		       (unsigned long long)want);
}

/* Only the host thread's signalfd sees them; threads made later inherit the mask. */
static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* DPDK starts beside the host, which needs it for its lanes only. */
static int run(const struct host_opts *opts, struct eal_plan *plan, char error[SL_CONF_ERROR_MAX])
{
	struct host *host = NULL;
	struct eal *eal;
	int rc = eal_start(&eal, plan, opts->conf);

	if (rc == 0) {
		const struct host_memory memory = {plan->is_huge, plan->huge_reason};

		rc = host_create(&host, opts, error);
		if (rc == 0)
			rc = host_create_lanes(host, &memory, error);
		if (rc == 0)
			rc = host_run(host, eal, error);
		host_destroy(host);
		eal_stop(eal);
	}
	if (rc != 0 && !*error)
		snprintf(error, SL_CONF_ERROR_MAX, "run data plane: %s", strerror(-rc));
	return rc;
}

int main(int argc, char **argv)
{
	struct args args = {0};
	struct sl_conf conf;
	struct eal_plan plan;
	struct host_opts opts = {.conf = &conf};
	char error[SL_CONF_ERROR_MAX] = "";
	char host[256];
	int rc;

	if (parse_args(&args, argc, argv) != 0)
		return usage();
	sl_log_init("dataplane", SL_LOG_INFO);
	rc = load(&conf, &args, error);
	if (rc == 0)
		rc = sl_log_set_level("all", sl_conf_str(&conf, SL_CK_log_level));
	block_signals();
	if (rc == 0)
		rc = eal_plan_make(&plan, &conf, error);
	if (rc == 0) {
		opts.data_dir = args.data;
		opts.lanes_count = plan.lanes_count;
		memcpy(opts.numa_nodes, plan.numa_nodes, sizeof(opts.numa_nodes));
		memcpy(opts.cpus, plan.cpus, sizeof(opts.cpus));
		rc = parse_listener(&opts, host, error);
	}
	if (rc == 0) {
		raise_nofile(&conf, plan.lanes_count);
		rc = run(&opts, &plan, error);
	}
	if (rc != 0)
		sl_log(ERR, main, "%s", *error ? error : strerror(-rc));
	sl_conf_fini(&conf);
	return rc == 0 ? 0 : 1;
}
