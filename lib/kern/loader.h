/* SPDX-License-Identifier: Apache-2.0 */
/* What the loaders of the programs share: libbpf's messages, reasons of failure, per-CPU sums. */
#ifndef KERN_LOADER_H
#define KERN_LOADER_H

#include "sluice/kern/loader.h"

/* What a feature needs, for the texts. */
struct loader_need {
	const char *what;   /* "sk_lookup steering" */
	const char *kernel; /* oldest kernel, "Linux 5.12" */
	const char *config; /* kernel options, "CONFIG_BPF_SYSCALL" */
	uint64_t caps;      /* bit per CAP_* */
};

extern const struct loader_need loader_need_bpf;
extern const struct loader_need loader_need_steer;
extern const struct loader_need loader_need_ingress;

/* Sends libbpf's messages to the log (module kern, level debug) instead of stderr. */
void loader_capture_messages(void);

/* Capabilities of @caps that this thread lacks; CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON.
 */
uint64_t loader_caps_missing(uint64_t caps);

/* Says in @why what error @err (-errno) of loading or attaching means here, and what helps. */
void loader_explain(struct sl_kern_reason *why, const struct loader_need *need, int err);

void loader_reason_set(struct sl_kern_reason *why, const char *cause, const char *fix);

/* Room for one value of a per-CPU map on every CPU. */
struct loader_percpu {
	uint64_t *values; /* Owned. */
	uint32_t cpus_count;
	uint32_t words_count; /* __u64 per value */
};

int loader_percpu_init(struct loader_percpu *percpu, uint32_t words_count) SL_MUST_CHECK;
void loader_percpu_fini(struct loader_percpu *percpu);
/* Sums element @index of a per-CPU array over all CPUs into @out, words_count words. */
int loader_percpu_sum(const struct loader_percpu *percpu, int map_fd, uint32_t index,
                      uint64_t *out) SL_MUST_CHECK;

#endif
