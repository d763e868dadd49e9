/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor: one thread in ppoll() over a signalfd.  Each child is its own process group, so
 * that Ctrl-C reaches the supervisor alone, which then stops them in order: the data plane first,
 * while the control process can still take its last messages.
 */
#include "supervise.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ready.h"
#include "sluice/base/base.h"
#include "sluice/base/clock.h"
#include "sluice/base/log.h"

#define SUPERVISE_STOP_MS        60000 /* after SIGTERM, before SIGKILL; as TimeoutStopSec= */
#define SUPERVISE_BACKOFF_MS     100
#define SUPERVISE_BACKOFF_MAX_MS 2000
#define SUPERVISE_HEALTHY_MS \
	10000 /* alive this long: the next death starts with the short back-off */
#define SUPERVISE_READY_POLL_MS   20
#define SUPERVISE_RESTART_POLL_MS 50

struct child {
	const char *name;
	pid_t pid; /* 0: not running */
	int64_t started_ms;
	int64_t restart_ms; /* when to start it again */
	int64_t backoff_ms;
	unsigned restarts;
};

struct supervisor {
	const struct supervise_opts *opts;
	struct child children[2]; /* data plane, control */
	bool is_ready;
	bool is_stopping;
	bool is_failed;
	int64_t kill_ms; /* when stopping: the patience with the current child ends */
};

static void exec_child(const struct supervise_opts *o, const char *name, pid_t supervisor)
{
	const char *argv[SUPERVISE_ARGS_MAX];
	char path[4096];
	sigset_t set;
	int n = 0;

	snprintf(path, sizeof(path), "%s/%s", o->bin_dir, name);
	argv[n++] = path;
	argv[n++] = "--data";
	argv[n++] = o->data_dir;
	if (o->config) {
		argv[n++] = "--config";
		argv[n++] = o->config;
	}
	for (unsigned i = 0; i < o->sets_count; i++) {
		argv[n++] = "--set";
		argv[n++] = o->sets[i];
	}
	argv[n] = NULL;
	/* Both take the signals to stop from a signalfd: one that comes while they start waits
	 * until they can stop in order. */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_SETMASK, &set, NULL);
	setpgid(0, 0);
	/* The supervisor's own death must not leave orphans that hold the ports and the lock. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != supervisor)
		_exit(1);
	execv(path, (char *const *)(uintptr_t)argv);
	fprintf(stderr, "%s: %s\n", path, strerror(errno));
	_exit(127);
}

static void start(struct supervisor *s, struct child *c)
{
	pid_t self = getpid();
	pid_t pid = fork();

	if (pid == 0)
		exec_child(s->opts, c->name, self);
	if (pid < 0) {
		sl_log(ERR, launcher, "fork %s: %s", c->name, strerror(errno));
		c->restart_ms = sl_mono_ms() + SUPERVISE_BACKOFF_MAX_MS;
		return;
	}
	c->pid = pid;
	c->started_ms = sl_mono_ms();
	sl_log(INFO, launcher, "start %s pid=%d", c->name, (int)pid);
}

static void note_death(struct supervisor *s, struct child *c, int status)
{
	const bool is_clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	int64_t now = sl_mono_ms();

	c->pid = 0;
	if (s->is_stopping) {
		s->is_failed |= !is_clean;
		return;
	}
	if (WIFSIGNALED(status))
		sl_log(ERR, launcher, "lost %s: killed by signal %d", c->name, WTERMSIG(status));
	else
		sl_log(ERR, launcher, "lost %s: exit status %d", c->name, WEXITSTATUS(status));
	if (!s->is_ready) {
		s->is_failed = s->is_stopping = true;
		return;
	}
	if (now - c->started_ms >= SUPERVISE_HEALTHY_MS)
		c->backoff_ms = 0;
	c->restart_ms = now + c->backoff_ms;
	c->backoff_ms = SL_MIN(SUPERVISE_BACKOFF_MAX_MS,
	                       SL_MAX(SUPERVISE_BACKOFF_MS, 2 * c->backoff_ms));
	c->restarts++;
}

static void reap(struct supervisor *s)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (unsigned i = 0; i < SL_ARRAY_SIZE(s->children); i++)
			if (s->children[i].pid == pid)
				note_death(s, &s->children[i], status);
}

static void check_ready(struct supervisor *s)
{
	const struct ready_pids pids = {s->children[0].pid, s->children[1].pid};

	if (s->is_ready || s->is_stopping || !ready_ask(s->opts->socket, &pids))
		return;
	s->is_ready = true;
	printf("sluice: ready on %s:%u (control socket %s)\n", s->opts->host, s->opts->port,
	       s->opts->socket);
	fflush(stdout);
}

/* ---- Stop ---- */

static bool is_running(const struct supervisor *s)
{
	return s->children[0].pid || s->children[1].pid;
}

/* One child after the other, in order; SIGKILL after its time is up. */
static void drive_stop(struct supervisor *s)
{
	for (unsigned i = 0; i < SL_ARRAY_SIZE(s->children); i++) {
		struct child *c = &s->children[i];

		if (!c->pid)
			continue;
		if (s->kill_ms == 0 || c->restart_ms != INT64_MAX) {
			c->restart_ms = INT64_MAX; /* marks that it was told to stop */
			s->kill_ms = sl_mono_ms() + SUPERVISE_STOP_MS;
			kill(c->pid, SIGTERM);
		} else if (sl_mono_ms() >= s->kill_ms) {
			sl_log(ERR, launcher, "kill %s: no stop within %d ms", c->name,
			       SUPERVISE_STOP_MS);
			kill(c->pid, SIGKILL);
			s->kill_ms = INT64_MAX;
		}
		return;
	}
}

static void drive(struct supervisor *s)
{
	if (s->is_stopping) {
		drive_stop(s);
		return;
	}
	for (unsigned i = 0; i < SL_ARRAY_SIZE(s->children); i++)
		if (!s->children[i].pid && sl_mono_ms() >= s->children[i].restart_ms)
			start(s, &s->children[i]);
	check_ready(s);
}

/* How long nothing is to be done unless a signal comes; -1: for ever. */
static int idle_ms(const struct supervisor *s)
{
	if (s->is_stopping || !s->is_ready)
		return SUPERVISE_READY_POLL_MS;
	return s->children[0].pid && s->children[1].pid ? -1 : SUPERVISE_RESTART_POLL_MS;
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int supervise_run(const struct supervise_opts *opts)
{
	struct supervisor s = {.opts = opts,
	                       .children = {{.name = "sluice-dataplane"},
	                                    {.name = "sluice-control"}}};
	struct pollfd pfd = {.fd = open_signals(), .events = POLLIN};

	if (pfd.fd < 0) {
		sl_log(ERR, launcher, "signalfd: %s", strerror(errno));
		return 1;
	}
	do {
		struct signalfd_siginfo si;

		drive(&s);
		(void)poll(&pfd, 1, idle_ms(&s));
		while (read(pfd.fd, &si, sizeof(si)) == (ssize_t)sizeof(si))
			if (si.ssi_signo != SIGCHLD)
				s.is_stopping = true;
		reap(&s);
	} while (!s.is_stopping || is_running(&s));
	close(pfd.fd);
	return s.is_failed ? 1 : 0;
}
