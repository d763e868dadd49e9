# SPDX-License-Identifier: Apache-2.0
# Simulators: tests/sim/<component>/*.c with the component's own sources, in which bugs can be
# planted; that of transactions is a test of control-test, around two components.  `make sim` runs each with SEEDS seeds, `make sim-check` a few of them and all plants.

SIM_NAMES := $(notdir $(patsubst %/,%,$(wildcard tests/sim/*/)))
SEEDS     ?= 10000
FROM      ?= 1

define sl_sim
SIM_OBJ-$(1) := $$(patsubst %.c,$(O)/sim/%.o,$$(wildcard tests/sim/$(1)/*.c) $$(SRC-$(1)))
$$(SIM_OBJ-$(1)): CFLAGS_PKG = -DSL_SIM_PLANTS -Itests/sim/$(1) -I$(DIR-$(1)) $(call beside,$(1)) $$(call pkg_cflags,$(PKG-$(1)))
ALL_DEPS += $$(SIM_OBJ-$(1):.o=.d)
$(O)/tests/sim-$(1): $$(SIM_OBJ-$(1)) $(filter-out $(O)/lib/libsl$(1).a,$(call libs_of,$(1)))
	$$(call say,LD,$$@)mkdir -p $$(@D) && $$(CC) $(LDFLAGS_ALL) -o $$@ $$(filter %.o %.a,$$^) $$(call pkg_libs,$(call pkgs_of,$(1))) $(call ldlibs_of,$(1)) $$(LDLIBS)
endef
$(foreach s,$(SIM_NAMES),$(eval $(call sl_sim,$(s))))

$(O)/sim/%.o: %.c
	$(call say,CC,$@)mkdir -p $(@D) && $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -I$(dir $<) $(CFLAGS_PKG) -MMD -MP -c -o $@ $<

#: sim            random worlds around the coordinators; SEEDS=10000, FROM=1 the first one
.PHONY: sim
sim: $(addprefix $(O)/tests/sim-,$(SIM_NAMES)) $(O)/tests/control-test
	$(Q)for s in $(filter %-test,$^); do SEEDS=$(SEEDS) $$s --filter 'txn_sim/*' || exit 1; done
	$(Q)for s in $(filter-out %-test,$^); do $$s --from $(FROM) --seeds $(SEEDS) || exit 1; done

.PHONY: sim-check
sim-check: $(addprefix $(O)/tests/sim-,$(SIM_NAMES))
	$(Q)for s in $^; do $$s --seeds 150 && $$s --plants || exit 1; done
