/* SPDX-License-Identifier: Apache-2.0 */
/* sluice-control: arguments, signals and the loop. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "sluice/base/conf.h"
#include "sluice/base/log.h"

#include "control.h"
#include "http/http.h"
#include "loop.h"
#include "rpc/rpc.h"

#define EXIT_USAGE 2

static void usage(FILE *f)
{
	fputs("Usage: sluice-control --data DIR [--config FILE] [--socket PATH] [--set KEY=VALUE]...\n"
	      "\n"
	      "The control process of one Sluice server; normally started by sluice.\n"
	      "  --data DIR        folder of the server's state\n"
	      "  --config FILE     sluice.conf\n"
	      "  --socket PATH     control socket (control.socket)\n"
	      "  --set KEY=VALUE   sets a key over the file; may be repeated\n"
	      "  --metrics-doc     prints the page on metrics and ends\n"
	      "  --rpc-doc         prints the page on the control socket and ends\n",
	      f);
}

struct args {
	const char *config;
	const char *data;
	const char *socket;
	char *const *argv;
	int argc;
};

static const struct option options[] = {
	{"config", required_argument, NULL, 'c'}, {"data", required_argument, NULL, 'd'},
	{"socket", required_argument, NULL, 's'}, {"set", required_argument, NULL, 'k'},
	{"help", no_argument, NULL, 'h'},         {"metrics-doc", no_argument, NULL, 'm'},
	{"rpc-doc", no_argument, NULL, 'r'},      {NULL, 0, NULL, 0},
};

/* Return: -1 go on, else the exit status. */
static int parse_args(struct args *a, int argc, char **argv)
{
	int opt;

	*a = (struct args){.argv = argv, .argc = argc};
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'c':
			a->config = optarg;
			break;
		case 'd':
			a->data = optarg;
			break;
		case 's':
			a->socket = optarg;
			break;
		case 'k':
			break; /* second pass, over the file */
		case 'h':
			usage(stdout);
			return EXIT_SUCCESS;
		case 'm':
			return http_print_markdown(stdout) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
		case 'r':
			rpc_print_markdown(stdout);
			return EXIT_SUCCESS;
		default:
			usage(stderr);
			return EXIT_USAGE;
		}
	}
	if (optind == argc && a->data)
		return -1;
	usage(stderr);
	return EXIT_USAGE;
}

/* The file, then what the command line sets over it. */
static int load_conf(struct sl_conf *conf, const struct args *a, char error[SL_CONF_ERROR_MAX])
{
	int rc = sl_conf_load(conf, a->config, error);
	int opt;

	if (rc < 0)
		return rc;
	optind = 1;
	while (rc == 0 && (opt = getopt_long(a->argc, a->argv, "", options, NULL)) != -1) {
		if (opt == 'k')
			rc = sl_conf_set_pair(conf, optarg, error);
	}
	if (rc == 0 && a->socket)
		rc = sl_conf_set(conf, "control.socket", a->socket, error);
	if (rc < 0)
		sl_conf_fini(conf);
	return rc;
}

static enum sl_log_level log_level(const struct sl_conf *conf)
{
	for (int level = 0; level < SL_LOG_LEVEL_NR; level++) {
		if (strcmp(sl_conf_str(conf, SL_CK_log_level),
		           sl_log_level_name((enum sl_log_level)level)) == 0)
			return (enum sl_log_level)level;
	}
	return SL_LOG_INFO;
}

struct signals {
	struct loop *loop;
	struct loop_fd fd;
};

static void on_signal(void *arg, uint32_t events)
{
	struct signals *s = arg;
	struct signalfd_siginfo info;
	uint32_t signo;

	(void)events;
	if (read(s->fd.fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	signo = info.ssi_signo;
	sl_log(INFO, main, "stop signal=%u", signo);
	loop_stop(s->loop);
}

static int watch_signals(struct signals *s, struct loop *loop)
{
	sigset_t set;
	int rc;

	s->loop = loop;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	s->fd = (struct loop_fd){signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), on_signal, s};
	if (s->fd.fd < 0)
		return -errno;
	rc = loop_fd_add(loop, &s->fd, EPOLLIN);
	if (rc < 0)
		close(s->fd.fd);
	return rc;
}

/* The control process with its doors open, until it is told to stop. */
static int serve(struct control *control)
{
	struct http *http = NULL;
	struct rpc *rpc = NULL;
	int rc = http_create(&http, control, NULL);

	if (rc == 0)
		rc = rpc_create(&rpc, control, NULL);
	if (rc == 0) {
		rc = loop_run(control->loop);
		if (rc < 0)
			sl_log(ERR, main, "fail loop cause=\"%s\"", strerror(-rc));
	}
	rpc_destroy(rpc);
	http_destroy(http);
	return rc;
}

static int run(struct sl_conf *conf, const char *data_dir)
{
	char error[CONTROL_ERROR_MAX];
	struct control_opts opts = {.conf = conf, .data_dir = data_dir};
	struct signals signals;
	struct control *control;
	struct loop *loop;
	int rc = loop_create(&loop, NULL);

	if (rc < 0) {
		sl_log(ERR, main, "fail start cause=\"%s\"", strerror(-rc));
		return EXIT_FAILURE;
	}
	rc = watch_signals(&signals, loop);
	if (rc < 0) {
		sl_log(ERR, main, "fail signals cause=\"%s\"", strerror(-rc));
		loop_destroy(loop);
		return EXIT_FAILURE;
	}
	opts.loop = loop;
	rc = control_create(&control, &opts, error);
	if (rc < 0) {
		sl_log(ERR, main, "fail start reason=\"%s\"", error);
	} else {
		sl_log(INFO, main, "start server=%d cluster=%s data=%s", control->server_id,
		       meta_cluster_id(control->meta), data_dir);
		rc = serve(control);
		control_destroy(control);
	}
	loop_fd_del(loop, &signals.fd);
	close(signals.fd.fd);
	loop_destroy(loop);
	return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	char error[SL_CONF_ERROR_MAX];
	struct sl_conf conf;
	struct args args;
	int status = parse_args(&args, argc, argv);

	if (status >= 0)
		return status;
	sl_log_init("control", SL_LOG_INFO);
	signal(SIGPIPE, SIG_IGN);
	if (load_conf(&conf, &args, error) < 0) {
		sl_log(ERR, main, "fail configuration reason=\"%s\"", error);
		return EXIT_FAILURE;
	}
	sl_log_init("control", log_level(&conf));
	status = run(&conf, args.data);
	sl_conf_fini(&conf);
	return status;
}
