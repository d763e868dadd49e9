/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Common part of the eBPF loaders: turns libbpf's messages into log lines and the kernel's errno
 * into a cause and a fix that an operator can act on.  Keeps no state of its own.
 */
#include "loader.h"

#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "sluice/base/assert.h"
#include "sluice/base/log.h"

#define CAP_BIT(cap)      (1ull << (cap))
#define CAP_NAMES_BYTES   64
#define EXE_PATH_SHOWN    120
#define MESSAGE_LINES_MAX 12

const struct loader_need loader_need_bpf = {
	.what = "loading eBPF programs",
	.kernel = "Linux 5.12",
	.config = "CONFIG_BPF_SYSCALL",
	.caps = CAP_BIT(CAP_BPF),
};

const struct loader_need loader_need_steer = {
	.what = "sk_lookup steering",
	.kernel = "Linux 5.12",
	.config = "CONFIG_BPF_SYSCALL, CONFIG_NET_SOCK_MSG",
	.caps = CAP_BIT(CAP_BPF) | CAP_BIT(CAP_NET_ADMIN),
};

/* The parser adds header lengths to packet pointers, which the verifier allows with CAP_PERFMON
 * only. */
const struct loader_need loader_need_ingress = {
	.what = "XDP ingress",
	.kernel = "Linux 5.18",
	.config = "CONFIG_BPF_SYSCALL",
	.caps = CAP_BIT(CAP_BPF) | CAP_BIT(CAP_NET_ADMIN) | CAP_BIT(CAP_PERFMON),
};

static const struct {
	unsigned int cap;
	const char *name;
} cap_names[] = {
	{CAP_BPF, "cap_bpf"}, {CAP_NET_ADMIN, "cap_net_admin"}, {CAP_PERFMON, "cap_perfmon"}};

/*
 * The verifier's log comes as one message of up to megabytes whose end says what is wrong: only the
 * last lines are kept.
 */
static void log_message(char *text)
{
	size_t start = strlen(text);
	char *line, *end;

	for (int lines = 0; start > 0; start--) {
		if (text[start - 1] == '\n' && text[start] != '\0' && ++lines == MESSAGE_LINES_MAX)
			break;
	}
	for (line = text + start; line && *line; line = end) {
		end = strchr(line, '\n');
		if (end)
			*end++ = '\0';
		if (*line)
			sl_log(DEBUG, kern, "report libbpf text=\"%s\"", line);
	}
}

static SL_PRINTF(2, 0) int print_message(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char *text = NULL;

	(void)level;
	if (vasprintf(&text, fmt, ap) < 0)
		return 0;
	log_message(text);
	free(text);
	return 0;
}

void loader_capture_messages(void)
{
	libbpf_set_print(print_message);
}

uint64_t loader_caps_missing(uint64_t caps)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
	uint64_t have;

	if (syscall(SYS_capget, &head, data) != 0)
		return caps;
	have = (uint64_t)data[1].effective << 32 | data[0].effective;
	if (have & CAP_BIT(CAP_SYS_ADMIN))
		have |= CAP_BIT(CAP_BPF) | CAP_BIT(CAP_PERFMON);
	return caps & ~have;
}

void loader_reason_set(struct sl_kern_reason *why, const char *cause, const char *fix)
{
	snprintf(why->cause, sizeof(why->cause), "%s", cause);
	snprintf(why->fix, sizeof(why->fix), "%s", fix);
}

/* "cap_bpf,cap_net_admin" */
static void name_caps(uint64_t caps, char *out, size_t out_bytes)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < SL_ARRAY_SIZE(cap_names); i++) {
		if (!(caps & CAP_BIT(cap_names[i].cap)))
			continue;
		used += (size_t)snprintf(out + used, out_bytes - used, "%s%s", used ? "," : "",
		                         cap_names[i].name);
		SL_ASSERT(used < out_bytes);
	}
}

/* bpf(2) asks for capabilities of the initial user namespace, whose uid_map is the identity. */
static bool is_in_user_namespace(void)
{
	unsigned long inside = 1, outside = 1, count = 0;
	FILE *map = fopen("/proc/self/uid_map", "re");
	int fields;

	if (!map)
		return false;
	fields = fscanf(map, "%lu %lu %lu", &inside, &outside, &count);
	fclose(map);
	return fields == 3 && !(inside == 0 && outside == 0 && count == UINT32_MAX);
}

static void explain_caps(struct sl_kern_reason *why, const struct loader_need *need,
                         uint64_t missing)
{
	char names[CAP_NAMES_BYTES], all[CAP_NAMES_BYTES], exe[PATH_MAX];
	ssize_t exe_len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	exe[exe_len > 0 ? exe_len : 0] = '\0';
	name_caps(missing, names, sizeof(names));
	name_caps(need->caps, all, sizeof(all));
	snprintf(why->cause, sizeof(why->cause), "%s needs %s", need->what, names);
	snprintf(
		why->fix, sizeof(why->fix),
		"run as root, or: setcap %s+ep %.*s, or AmbientCapabilities= with them in the systemd unit",
		all, EXE_PATH_SHOWN, exe);
}

static void explain_denied(struct sl_kern_reason *why, const struct loader_need *need, int err)
{
	uint64_t missing = loader_caps_missing(need->caps);

	if (is_in_user_namespace()) {
		snprintf(why->cause, sizeof(why->cause), "%s is refused inside a user namespace",
		         need->what);
		snprintf(why->fix, sizeof(why->fix),
		         "run outside of it (no unshare -U, no rootless container)");
	} else if (missing) {
		explain_caps(why, need, missing);
	} else if (err == -EACCES) {
		snprintf(why->cause, sizeof(why->cause), "this kernel's verifier refused %s",
		         need->what);
		snprintf(why->fix, sizeof(why->fix),
		         "report it with the lines that log level debug of module kern prints");
	} else {
		snprintf(why->cause, sizeof(why->cause),
		         "%s is refused although the capabilities are there", need->what);
		snprintf(
			why->fix, sizeof(why->fix),
			"allow bpf(2) in the seccomp filter, container or security module of this process");
	}
}

void loader_explain(struct sl_kern_reason *why, const struct loader_need *need, int err)
{
	struct utsname host = {0};

	SL_ASSERT(err < 0);
	(void)uname(&host);
	switch (err) {
	case -EPERM:
	case -EACCES:
		explain_denied(why, need, err);
		return;
	case -ENOSYS:
	case -EINVAL:
	case -EOPNOTSUPP:
		snprintf(why->cause, sizeof(why->cause), "kernel %.40s does not know %s (%s)",
		         host.release, need->what, strerror(-err));
		snprintf(why->fix, sizeof(why->fix), "use %s or newer, built with %s", need->kernel,
		         need->config);
		return;
	case -ENOMEM:
	case -EAGAIN:
		snprintf(why->cause, sizeof(why->cause), "no memory for %s (%s)", need->what,
		         strerror(-err));
		snprintf(
			why->fix, sizeof(why->fix),
			"free memory or raise the memory limit of the control group; before Linux 5.11 "
			"also: ulimit -l unlimited");
		return;
	default:
		snprintf(why->cause, sizeof(why->cause), "%s failed: %s", need->what,
		         strerror(-err));
		snprintf(why->fix, sizeof(why->fix),
		         "set log level debug for module kern and start again");
	}
}

int loader_percpu_init(struct loader_percpu *percpu, uint32_t words_count)
{
	int cpus = libbpf_num_possible_cpus();

	if (cpus < 0)
		return cpus;
	percpu->values = calloc((size_t)cpus * words_count, sizeof(*percpu->values));
	if (!percpu->values)
		return -ENOMEM;
	percpu->cpus_count = (uint32_t)cpus;
	percpu->words_count = words_count;
	return 0;
}

void loader_percpu_fini(struct loader_percpu *percpu)
{
	free(percpu->values);
	*percpu = (struct loader_percpu){0};
}

int loader_percpu_sum(const struct loader_percpu *percpu, int map_fd, uint32_t index, uint64_t *out)
{
	SL_ASSERT(percpu->values);
	if (bpf_map_lookup_elem(map_fd, &index, percpu->values) != 0)
		return -errno;
	memset(out, 0, percpu->words_count * sizeof(*out));
	for (uint32_t cpu = 0; cpu < percpu->cpus_count; cpu++) {
		for (uint32_t word = 0; word < percpu->words_count; word++)
			out[word] += percpu->values[cpu * percpu->words_count + word];
	}
	return 0;
}
