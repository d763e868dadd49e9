# SPDX-License-Identifier: Apache-2.0
# What several threads do at once, under ThreadSanitizer: two ends of a channel, and a recovery.
# Programs of their own, since Criterion cannot start under it.

RACE_SRC-ipc   := $(wildcard tests/lib/ipc/race/*.c) tests/lib/ipc/ipc_jobs.c tests/lib/ipc/ipc_pair.c \
	$(SRC-ipc) $(SRC-base)
RACE_SRC-store := $(wildcard tests/lib/store/race/*.c) $(SRC-store) $(SRC-wire) $(SRC-base)
RACE_NAMES     := ipc store
RACE_HEADERS   := $(foreach c,$(RACE_NAMES) wire base,$(wildcard include/sluice/$(c)/*.h lib/$(c)/*.h))

$(O)/tests/%-race: tools/build/race.mk $(RACE_HEADERS)
	$(call say,TSAN,$@)mkdir -p $(@D) && $(CC) $(CPPFLAGS_ALL) -std=gnu17 -O1 -g -fsanitize=thread -pthread \
		-Itests/lib/$* -Ilib/$* -Ilib/wire -o $@ $(RACE_SRC-$*) \
		$(call pkg_libs,$(call pkgs_of,$*)) $(call ldlibs_of,$*)

$(foreach c,$(RACE_NAMES),$(eval $(O)/tests/$(c)-race: $(RACE_SRC-$(c))))

#: race-check     the channel and recovery under ThreadSanitizer
.PHONY: race-check
race-check: $(patsubst %,$(O)/tests/%-race,$(RACE_NAMES))
	$(Q)for program in $^; do TSAN_OPTIONS=halt_on_error=1 $$program || exit 1; done
