# SPDX-License-Identifier: Apache-2.0
# Compilers, flags and the knobs that change them.

SAN ?=
V   ?= 0
W   ?= 0
ifeq ($(origin CC),default)
CC := gcc
endif
CLANG   ?= clang-14
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/bin/bpftool) bpftool)
PYTHON  ?= $(firstword $(wildcard /usr/bin/python3) python3)

comma := ,
empty :=
space := $(empty) $(empty)
SANS  := $(subst $(comma),$(space),$(SAN))

# A build folder for each flavour, so that switching one knob never mixes objects.
O ?= build$(if $(findstring clang,$(CC)),-clang)$(addprefix -,$(subst $(space),-,$(SANS)))

WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
	-Wvla -Wpointer-arith -Wundef -Wwrite-strings -Wformat=2 -Wimplicit-fallthrough -Wnull-dereference
# Roles such as "owner core" are clang capabilities (house style 4.5); gcc ignores them.
WARN += $(if $(findstring clang,$(CC)),-Wthread-safety)
ifneq ($(W),0)
WARN += -Wconversion -Wno-sign-conversion -Wcast-align -Wno-error
endif

OPT := -O2 -g
ifneq ($(SANS),)
OPT  := -O1 -g -fno-omit-frame-pointer -DSL_SANITIZED=1
SANF := $(if $(filter asan,$(SANS)),-fsanitize=address) $(if $(filter ubsan,$(SANS)),-fsanitize=undefined -fno-sanitize-recover=all) \
	$(if $(filter tsan,$(SANS)),-fsanitize=thread)
# The sanitizers' own instrumentation confuses this one.
WARN += -Wno-null-dereference
endif

CPPFLAGS_ALL := -D_GNU_SOURCE -Iinclude -I$(O)/include
CFLAGS_ALL   := -std=gnu17 $(OPT) $(WARN) $(SANF) -fno-common -fno-strict-aliasing -fstack-protector-strong \
	-fvisibility=hidden -pthread
LDFLAGS_ALL  := $(SANF) -pthread -Wl,-z,relro,-z,now,-z,noexecstack

ifeq ($(V),0)
Q := @
say = @printf '  %-7s %s\n' $(1) $(patsubst $(O)/%,%,$(2));
else
Q :=
say =
endif
