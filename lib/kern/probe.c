/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds out what the kernel and this process's privileges allow, by loading a program of two
 * instructions per type.  Nothing is attached, and each program is gone when its descriptor is
 * closed.
 */
#include "loader.h"

#include <errno.h>
#include <linux/capability.h>
#include <unistd.h>

#include <bpf/bpf.h>

#define BTF_PATH "/sys/kernel/btf/vmlinux"

static const char *const feature_names[SL_KERN_FEATURE_NR] = {
	[SL_KERN_BPF] = "bpf",
	[SL_KERN_SK_LOOKUP] = "sk_lookup",
	[SL_KERN_XDP] = "xdp",
	[SL_KERN_BTF] = "btf",
};

/* Return: 0, or -errno of loading the smallest program of this type. */
static int try_load(enum bpf_prog_type type, enum bpf_attach_type attach_type, uint32_t flags)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = attach_type,
	            .prog_flags = flags);
	int fd = bpf_prog_load(type, "sl_probe", "Dual BSD/GPL", insns, SL_ARRAY_SIZE(insns),
	                       &opts);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static void judge(struct sl_kern_probe *out, enum sl_kern_feature feature,
                  const struct loader_need *need, int err)
{
	/* Loading says nothing about CAP_PERFMON: only the real program's pointer arithmetic needs
	 * it. */
	if (err == 0 && loader_caps_missing(need->caps & 1ull << CAP_PERFMON))
		err = -EPERM;
	if (err == 0)
		return;
	out->feature[feature].state = err == -EPERM || err == -EACCES ? SL_KERN_DENIED
	                                                              : SL_KERN_ABSENT;
	loader_explain(&out->feature[feature].why, need, err);
}

void sl_kern_probe(struct sl_kern_probe *out)
{
	*out = (struct sl_kern_probe){0};
	loader_capture_messages();
	judge(out, SL_KERN_BPF, &loader_need_bpf, try_load(BPF_PROG_TYPE_SOCKET_FILTER, 0, 0));
	judge(out, SL_KERN_SK_LOOKUP, &loader_need_steer,
	      try_load(BPF_PROG_TYPE_SK_LOOKUP, BPF_SK_LOOKUP, 0));
	judge(out, SL_KERN_XDP, &loader_need_ingress,
	      try_load(BPF_PROG_TYPE_XDP, BPF_XDP, BPF_F_XDP_HAS_FRAGS));
	if (access(BTF_PATH, R_OK) != 0) {
		out->feature[SL_KERN_BTF].state = errno == EACCES ? SL_KERN_DENIED : SL_KERN_ABSENT;
		loader_reason_set(
			&out->feature[SL_KERN_BTF].why, BTF_PATH " cannot be read",
			"use a kernel built with CONFIG_DEBUG_INFO_BTF; only tracing tools miss it");
	}
}

const char *sl_kern_feature_name(enum sl_kern_feature feature)
{
	return feature < SL_KERN_FEATURE_NR ? feature_names[feature] : "unknown";
}

const char *sl_kern_state_name(enum sl_kern_state state)
{
	switch (state) {
	case SL_KERN_OK:
		return "ok";
	case SL_KERN_DENIED:
		return "denied";
	case SL_KERN_ABSENT:
		return "absent";
	}
	return "unknown";
}
