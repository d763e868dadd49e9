# SPDX-License-Identifier: Apache-2.0
# eBPF objects and their skeletons.  The skeleton headers land in $(O)/include/sluice/skel/ and only
# lib/kern/ includes them; kernel/X.bpf.c becomes struct X_skel.  cpu v3: compare-and-swap, Linux 5.12.

BPF_SRC  := $(wildcard kernel/*.bpf.c)
BPF_SKEL := $(patsubst kernel/%.bpf.c,$(O)/include/sluice/skel/%.skel.h,$(BPF_SRC))

$(O)/bpf/%.bpf.o: kernel/%.bpf.c $(wildcard include/sluice/bpf/*.h)
	$(call say,BPF,$@)mkdir -p $(@D) && $(CLANG) -target bpf -mcpu=v3 -O2 -g -Wall -Werror -Iinclude -I/usr/include/$(shell uname -m)-linux-gnu -c -o $@ $<

$(O)/include/sluice/skel/%.skel.h: $(O)/bpf/%.bpf.o
	$(call say,SKEL,$@)mkdir -p $(@D) && $(BPFTOOL) gen skeleton $< name $*_skel > $@.tmp 2>$@.err && mv $@.tmp $@ || { cat $@.err; exit 1; }

$(OBJ-kern): $(BPF_SKEL)
