/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sluice: the launcher.  `sluice dev` runs a whole broker in the foreground; `sluice check-config`
 * and `sluice config-doc` are about the configuration.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sluice/base/conf.h"
#include "sluice/base/file.h"
#include "sluice/base/log.h"
#include "supervise.h"

#define MAIN_SET_BYTES 512

struct args {
	struct supervise_opts o;
	char listeners[MAIN_SET_BYTES];
	char lanes[64];
	char socket_set[MAIN_SET_BYTES];
	const char *port;
	const char *socket;
};

static int usage(void)
{
	fprintf(stderr,
	        "usage: sluice dev [--config FILE] [--data DIR] [--port PORT] [--lanes N] [--socket PATH]"
	        " [--set KEY=VALUE]...\n"
	        "       sluice check-config FILE\n"
	        "       sluice config-doc\n");
	return 2;
}

static int add_set(struct args *a, const char *set)
{
	if (a->o.sets_count == SL_ARRAY_SIZE(a->o.sets))
		return -E2BIG;
	a->o.sets[a->o.sets_count++] = set;
	return 0;
}

static int parse_args(struct args *a, int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
	                                        {"data", required_argument, NULL, 'd'},
	                                        {"port", required_argument, NULL, 'p'},
	                                        {"lanes", required_argument, NULL, 'l'},
	                                        {"socket", required_argument, NULL, 'k'},
	                                        {"set", required_argument, NULL, 's'},
	                                        {NULL, 0, NULL, 0}};
	int o, rc = 0;

	while (rc == 0 && (o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 'c':
			a->o.config = optarg;
			break;
		case 'd':
			a->o.data_dir = optarg;
			break;
		case 'p':
			a->port = optarg;
			break;
		case 'l':
			snprintf(a->lanes, sizeof(a->lanes), "lane.count=%s", optarg);
			rc = add_set(a, a->lanes);
			break;
		case 'k':
			a->socket = optarg;
			snprintf(a->socket_set, sizeof(a->socket_set), "control.socket=%s", optarg);
			rc = add_set(a, a->socket_set);
			break;
		case 's':
			rc = add_set(a, optarg);
			break;
		default:
			return -EINVAL;
		}
	}
	return rc != 0 || optind != argc ? -EINVAL : 0;
}

/* host and port of `listeners`, and --port put into it. */
static int resolve_listener(struct args *a, struct sl_conf *conf, char host[256],
                            char error[SL_CONF_ERROR_MAX])
{
	const char *text = sl_conf_str(conf, SL_CK_listeners);
	const char *at = strstr(text, "://");
	const char *colon = at ? strrchr(at + 3, ':') : NULL;
	long port;
	char *end;

	if (!colon || colon == at + 3) {
		snprintf(error, SL_CONF_ERROR_MAX, "listeners: \"%s\" is not PLAINTEXT://host:port",
		         text);
		return -EINVAL;
	}
	port = strtol(a->port ? a->port : colon + 1, &end, 10);
	if (port < 1 || port > 65535 || *end) {
		snprintf(error, SL_CONF_ERROR_MAX, "port: \"%s\" is not 1..65535",
		         a->port ? a->port : colon + 1);
		return -EINVAL;
	}
	snprintf(host, 256, "%.*s", (int)(colon - at - 3), at + 3);
	if (a->port) {
		snprintf(a->listeners, sizeof(a->listeners), "listeners=%.*s:%ld",
		         (int)(colon - text), text, port);
		(void)add_set(a, a->listeners);
	}
	a->o.host = host;
	a->o.port = (uint16_t)port;
	return 0;
}

static int prepare(struct args *a, struct sl_conf *conf, char host[256],
                   char error[SL_CONF_ERROR_MAX])
{
	int rc = sl_conf_load(conf, a->o.config, error);

	for (unsigned i = 0; rc == 0 && i < a->o.sets_count; i++)
		rc = sl_conf_set_pair(conf, a->o.sets[i], error);
	if (rc == 0)
		rc = resolve_listener(a, conf, host, error);
	if (rc == 0) {
		rc = sl_mkdir_p(a->o.data_dir, 0755);
		if (rc != 0)
			snprintf(error, SL_CONF_ERROR_MAX, "data folder %s: %s", a->o.data_dir,
			         strerror(-rc));
	}
	return rc;
}

static int dev(int argc, char **argv)
{
	struct args a = {.o = {.data_dir = "sluice-data"}};
	char error[SL_CONF_ERROR_MAX] = "";
	char bin[PATH_MAX], socket[PATH_MAX], host[256];
	struct sl_conf conf;
	ssize_t n = readlink("/proc/self/exe", bin, sizeof(bin) - 1);
	int rc;

	if (parse_args(&a, argc, argv) != 0 || n <= 0)
		return usage();
	bin[n] = '\0';
	*strrchr(bin, '/') = '\0';
	a.o.bin_dir = bin;
	rc = prepare(&a, &conf, host, error);
	if (rc != 0) {
		fprintf(stderr, "sluice: %s\n", *error ? error : strerror(-rc));
		return 1;
	}
	if (*sl_conf_str(&conf, SL_CK_control_socket))
		snprintf(socket, sizeof(socket), "%s", sl_conf_str(&conf, SL_CK_control_socket));
	else
		snprintf(socket, sizeof(socket), "%s/run/sluice.sock", a.o.data_dir);
	a.o.socket = socket;
	sl_log_init("sluice", SL_LOG_INFO);
	rc = supervise_run(&a.o);
	sl_conf_fini(&conf);
	return rc;
}

static int check_config(const char *path)
{
	char error[SL_CONF_ERROR_MAX] = "";
	struct sl_conf conf;
	int rc = sl_conf_load(&conf, path, error);

	if (rc != 0) {
		fprintf(stderr, "sluice: %s\n", *error ? error : strerror(-rc));
		return 1;
	}
	sl_conf_fini(&conf);
	printf("%s: ok\n", path);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 2 && strcmp(argv[1], "dev") == 0)
		return dev(argc - 1, argv + 1);
	if (argc == 3 && strcmp(argv[1], "check-config") == 0)
		return check_config(argv[2]);
	if (argc == 2 && strcmp(argv[1], "config-doc") == 0) {
		sl_conf_print_markdown(stdout);
		return 0;
	}
	return usage();
}
