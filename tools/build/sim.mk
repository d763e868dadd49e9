# SPDX-License-Identifier: Apache-2.0
# Simulators: tests/sim/<component>/*.c with the component's own sources, in which bugs can be
# planted.  `make sim` runs each with SEEDS seeds, `make sim-check` a few of them and all plants.

SIM_NAMES := $(notdir $(patsubst %/,%,$(wildcard tests/sim/*/)))
SEEDS     ?= 10000
FROM      ?= 1

# Of the simulator that one builds upon (SIM_ON-x) all but the program and its coordinator's place.
SIM_SRC      = $(wildcard tests/sim/$(1)/*.c) $(SRC-$(1))
SIM_PARTS    = $(filter-out tests/sim/$(1)/main.c tests/sim/$(1)/server.c,$(call SIM_SRC,$(1)))
SIM_INCLUDES = $(foreach s,$(1) $(SIM_ON-$(1)),-Itests/sim/$(s) -I$(DIR-$(s))) -Itests/sim
SIM_LIBS     = $(filter-out $(O)/lib/libsl$(1).a,$(call libs_of,$(1)))

define sl_sim
SIM_OBJ-$(1) := $$(patsubst %.c,$(O)/sim/%.o,$(call SIM_SRC,$(1)))
$$(SIM_OBJ-$(1)): CFLAGS_PKG = -DSL_SIM_PLANTS $(call SIM_INCLUDES,$(1)) $(call beside,$(1)) $$(call pkg_cflags,$(PKG-$(1)))
ALL_DEPS += $$(SIM_OBJ-$(1):.o=.d)
$(O)/tests/sim-$(1): $$(SIM_OBJ-$(1)) $(foreach s,$(SIM_ON-$(1)),$(patsubst %.c,$(O)/sim/%.o,$(call SIM_PARTS,$(s)))) \
		$(O)/sim/tests/sim/runner.o $(call SIM_LIBS,$(1))
	$$(call say,LD,$$@)mkdir -p $$(@D) && $$(CC) $(LDFLAGS_ALL) -o $$@ $$(filter %.o %.a,$$^) $$(call pkg_libs,$(call pkgs_of,$(1))) $(call ldlibs_of,$(1)) $$(LDLIBS)
endef
$(foreach s,$(SIM_NAMES),$(eval $(call sl_sim,$(s))))
ALL_DEPS += $(O)/sim/tests/sim/runner.d

$(O)/sim/%.o: %.c
	$(call say,CC,$@)mkdir -p $(@D) && $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -I$(dir $<) $(CFLAGS_PKG) -MMD -MP -c -o $@ $<

#: sim            random worlds around the coordinators; SEEDS=10000, FROM=1 the first one
.PHONY: sim
sim: $(addprefix $(O)/tests/sim-,$(SIM_NAMES))
	$(Q)for s in $^; do $$s --from $(FROM) --seeds $(SEEDS) || exit 1; done

.PHONY: sim-check
sim-check: $(addprefix $(O)/tests/sim-,$(SIM_NAMES))
	$(Q)for s in $^; do $$s --seeds 150 && $$s --plants || exit 1; done
