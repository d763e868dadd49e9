# SPDX-License-Identifier: Apache-2.0
# Sluice. One non-recursive make: components are listed in tools/build/layers.mk, each one's
# sources in its folder's Build.mk.  Knobs: O=dir V=1 W=1 SAN=asan|ubsan|tsan[,...] CC=gcc|clang-14
.DEFAULT_GOAL := all
MAKEFLAGS += --no-builtin-rules

include tools/build/toolchain.mk
include tools/build/layers.mk
include tools/build/rules.mk
$(foreach c,$(COMPONENTS),$(eval $(call sl_component,$(c))))
$(foreach c,$(COMPONENTS),$(eval $(call sl_tests,$(c))))
-include tools/build/bpf.mk tools/build/gen.mk tools/build/fuzz.mk tools/build/race.mk tools/build/sim.mk
include tools/build/targets.mk
-include $(ALL_DEPS)
