# SPDX-License-Identifier: Apache-2.0
# Two threads over one channel under ThreadSanitizer.  A program of its own, since Criterion cannot
# start under it.

RACE_SRC := $(wildcard tests/lib/ipc/race/*.c) tests/lib/ipc/ipc_jobs.c tests/lib/ipc/ipc_pair.c \
	$(SRC-ipc) $(SRC-base)

$(O)/tests/ipc-race: $(RACE_SRC) $(wildcard include/sluice/ipc/*.h include/sluice/base/*.h)
	$(call say,TSAN,$@)mkdir -p $(@D) && $(CC) $(CPPFLAGS_ALL) -std=gnu17 -O1 -g -fsanitize=thread -pthread \
		-Itests/lib/ipc -Ilib/ipc -o $@ $(RACE_SRC)

#: race-check     the channel between the processes under ThreadSanitizer
.PHONY: race-check
race-check: $(O)/tests/ipc-race
	$(Q)TSAN_OPTIONS=halt_on_error=1 $<
