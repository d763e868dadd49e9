# SPDX-License-Identifier: Apache-2.0
# libFuzzer targets of tests/fuzz, one program per fuzz_*.c.  Their corpus lies in
# tests/fuzz/corpus/<name>; what a run finds stays in $(O)/fuzz until somebody merges it.

FUZZ_SECONDS ?= 60
FUZZ_NAMES   := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_LIBS    := base wire store
FUZZ_SRC     := $(foreach c,$(FUZZ_LIBS),$(SRC-$(c))) $(wildcard tests/lib/wire/fill*_gen.c) tests/lib/wire/rnd.c \
	control/group/regex.c control/group/regex_parse.c
FUZZ_OBJ     := $(patsubst %.c,$(O)/fuzz/obj/%.o,$(FUZZ_SRC))
FUZZ_BIN     := $(addprefix $(O)/fuzz/fuzz_,$(FUZZ_NAMES))
FUZZ_PKGS    := $(foreach c,$(FUZZ_LIBS),$(PKG-$(c)))
FUZZ_LDLIBS   = $(call pkg_libs,$(FUZZ_PKGS)) $(foreach c,$(FUZZ_LIBS),$(LDLIBS-$(c)))
FUZZ_SAN     := -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZ_CFLAGS   = -std=gnu17 -O1 -g -fno-omit-frame-pointer -fno-strict-aliasing -Wall -Wextra -Werror -pthread \
	-DSL_SANITIZED=1 -fsanitize=fuzzer-no-link $(FUZZ_SAN)
ALL_DEPS     += $(FUZZ_OBJ:.o=.d) $(patsubst %,$(O)/fuzz/obj/tests/fuzz/fuzz_%.d,$(FUZZ_NAMES))

$(O)/fuzz/obj/%.o: %.c
	$(call say,CLANG,$@)mkdir -p $(@D) && $(CLANG) $(CPPFLAGS_ALL) $(FUZZ_CFLAGS) -I$(dir $<) -Itests/lib/wire -Ilib/store -iquote control/group \
		$(call pkg_cflags,$(FUZZ_PKGS)) -MMD -MP -c -o $@ $<

$(O)/fuzz/fuzz_%: $(O)/fuzz/obj/tests/fuzz/fuzz_%.o $(FUZZ_OBJ)
	$(call say,LD,$@)mkdir -p $(@D) && $(CLANG) -fsanitize=fuzzer $(FUZZ_SAN) -pthread -o $@ $^ $(FUZZ_LDLIBS)

# Searches; new inputs go to $(O)/fuzz/new-*, a finding to $(O)/fuzz/*-crash-*.
.PHONY: fuzz
fuzz: $(FUZZ_BIN)
	$(Q)for n in $(FUZZ_NAMES); do \
		echo "== fuzz_$$n, $(FUZZ_SECONDS) s"; mkdir -p $(O)/fuzz/new-$$n; \
		$(O)/fuzz/fuzz_$$n -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -timeout=10 -rss_limit_mb=2048 \
			-print_final_stats=1 -verbosity=0 -artifact_prefix=$(O)/fuzz/$$n- \
			$(O)/fuzz/new-$$n tests/fuzz/corpus/$$n || exit 1; \
	done

# Only the inputs in the tree; part of make check.
.PHONY: fuzz-replay
fuzz-replay: $(FUZZ_BIN)
	$(Q)for n in $(FUZZ_NAMES); do \
		inputs=$$(ls tests/fuzz/corpus/$$n | wc -l); \
		test $$inputs -gt 0 || { echo "fuzz-replay: no corpus for fuzz_$$n"; exit 1; }; \
		$(O)/fuzz/fuzz_$$n -runs=0 -timeout=10 -rss_limit_mb=2048 -verbosity=0 \
			-artifact_prefix=$(O)/fuzz/$$n- tests/fuzz/corpus/$$n || exit 1; \
		echo "fuzz-replay: fuzz_$$n ran $$inputs inputs"; \
	done

# Adds to the corpus what the last searches found and the corpus does not cover.
.PHONY: fuzz-merge
fuzz-merge: $(FUZZ_BIN)
	$(Q)for n in $(FUZZ_NAMES); do \
		$(O)/fuzz/fuzz_$$n -merge=1 -verbosity=0 tests/fuzz/corpus/$$n $(O)/fuzz/new-$$n || exit 1; \
	done
