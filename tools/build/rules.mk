# SPDX-License-Identifier: Apache-2.0
# How a component becomes objects, an archive, a program and a test program.
#
# A component's sources are the src-y list of <folder>/Build.mk, relative to that folder.  main.c never
# goes into the archive, so that tests can link everything else.

closure = $(1) $(foreach u,$(USES-$(1)),$(call closure,$(u)))
uniq    = $(if $(1),$(firstword $(1)) $(call uniq,$(filter-out $(firstword $(1)),$(1))))
# Archives in link order: the order of COMPONENTS reversed, so that a user comes before what it uses.
reverse = $(if $(1),$(call reverse,$(wordlist 2,$(words $(1)),$(1))) $(firstword $(1)))
libs_of = $(foreach l,$(call reverse,$(filter $(call closure,$(1)),$(COMPONENTS))),$(O)/lib/libsl$(l).a)
pkgs_of = $(call uniq,$(foreach c,$(call closure,$(1)),$(PKG-$(c))))
static_of = $(call uniq,$(foreach c,$(call closure,$(1)),$(STATIC-$(c))))
# Whole: their constructors register what nothing names.
static_libs = $(if $(1),-Wl$(comma)--whole-archive $(patsubst %,-l:lib%.a,$(1)) -Wl$(comma)--no-whole-archive)
ldlibs_of = $(call uniq,$(foreach c,$(call closure,$(1)),$(LDLIBS-$(c))))

# Cached in make variables, so that pkg-config runs once per package set.
pkg_cflags = $(if $(1),$(if $(PKGC-$(subst $(space),_,$(1))),,$(eval PKGC-$(subst $(space),_,$(1)) := \
	$(patsubst -I%,-isystem %,$(shell pkg-config --cflags $(1) 2>/dev/null)) ))$(PKGC-$(subst $(space),_,$(1))))
pkg_libs = $(if $(1),$(if $(PKGL-$(subst $(space),_,$(1))),,$(eval PKGL-$(subst $(space),_,$(1)) := \
	$(shell pkg-config --libs $(1) 2>/dev/null) ))$(PKGL-$(subst $(space),_,$(1))))

# A component inside of a program's folder names its neighbours' headers with their folder: "coord/shard.h".
beside = $(patsubst %/,-I%,$(filter-out ./,$(dir $(DIR-$(1)))))

define sl_component
src-y :=
-include $(DIR-$(1))/Build.mk
SRC-$(1) := $$(addprefix $(DIR-$(1))/,$$(src-y))
OBJ-$(1) := $$(patsubst %.c,$(O)/obj/%.o,$$(filter-out $(DIR-$(1))/main.c,$$(SRC-$(1))))
$$(OBJ-$(1)) $(O)/obj/$(DIR-$(1))/main.o: CFLAGS_PKG = -I$(DIR-$(1)) $(call beside,$(1)) $$(call pkg_cflags,$(PKG-$(1)))
ALL_DEPS += $$(OBJ-$(1):.o=.d) $(if $(PROG-$(1)),$(O)/obj/$(DIR-$(1))/main.d)
# Depends on the list too: a file taken off it must leave the archive.
$(O)/lib/libsl$(1).a: $$(OBJ-$(1)) $$(wildcard $(DIR-$(1))/Build.mk)
	$$(call say,AR,$$@)mkdir -p $$(@D) && rm -f $$@ && ar rcs $$@ $$(filter %.o,$$^)
ifneq ($(PROG-$(1)),)
ifneq ($$(filter $(DIR-$(1))/main.c,$$(SRC-$(1))),)
ALL_PROGS += $(O)/bin/$(PROG-$(1))
$(O)/bin/$(PROG-$(1)): $(O)/obj/$(DIR-$(1))/main.o $(call libs_of,$(1))
	$$(call say,LD,$$@)mkdir -p $$(@D) && $$(CC) $(LDFLAGS_ALL) -o $$@ $$(filter %.o %.a,$$^) $(call static_libs,$(call static_of,$(1))) $$(call pkg_libs,$(call pkgs_of,$(1))) $(call ldlibs_of,$(1)) $$(LDLIBS)
endif
endif
endef

# Unit tests: every tests/<folder of the component>/test_*.c goes into one Criterion program.
# tests/<folder>/*.c without the test_ prefix are that program's helpers; tests/support is for all.
define sl_tests
TSRC-$(1) := $$(wildcard tests/$(DIR-$(1))/*.c)
ifneq ($$(TSRC-$(1)),)
TOBJ-$(1) := $$(patsubst %.c,$(O)/obj/%.o,$$(TSRC-$(1)) $$(wildcard tests/support/*.c))
$$(TOBJ-$(1)): CFLAGS_PKG = $$(call pkg_cflags,criterion $(PKG-$(1))) -Itests/support -I$(DIR-$(1)) $(call beside,$(1)) -Wno-missing-prototypes -Wno-null-dereference -Wno-shadow
ALL_DEPS += $$(TOBJ-$(1):.o=.d)
ALL_TESTS += $(O)/tests/$(1)-test
$(O)/tests/$(1)-test: $$(TOBJ-$(1)) $(call libs_of,$(1))
	$$(call say,LD,$$@)mkdir -p $$(@D) && $$(CC) $(LDFLAGS_ALL) -o $$@ $$(filter %.o %.a,$$^) $(call static_libs,$(call static_of,$(1))) $$(call pkg_libs,criterion $(call pkgs_of,$(1))) $(call ldlibs_of,$(1)) $$(LDLIBS)
endif
endef

$(O)/obj/%.o: %.c
	$(call say,CC,$@)mkdir -p $(@D) && $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -I$(dir $<) $(CFLAGS_PKG) -MMD -MP -c -o $@ $<

.SECONDARY:
.DELETE_ON_ERROR:
