# SPDX-License-Identifier: Apache-2.0
# The one list of components and of who may use whom.  The linker obeys it (archives are linked in
# this order) and tools/check/layers.py checks every #include against it.
#
#   DIR-x   folder           USES-x  components x may include and link
#   PKG-x   pkg-config names (as -isystem, only for x)      PROG-x  program made from x's main.c
#   LDLIBS-x plain -l flags  STATIC-x archives that are linked whole, ahead of the shared PKG-x
#   SIM_ON-x component whose simulator x's builds upon: both are in its world
#   PURE-x  1: step-function archive, checked by tools/check/purity.sh

COMPONENTS := base wire store ipc kern coord group txn dataplane control launcher ctl dumplog load bench

DIR-base       := lib/base
USES-base      :=

DIR-wire       := lib/wire
USES-wire      := base
PKG-wire       := zlib liblz4 libzstd
LDLIBS-wire    := -lsnappy

DIR-store      := lib/store
USES-store     := wire base

DIR-ipc        := lib/ipc
USES-ipc       := wire base

DIR-kern       := lib/kern
USES-kern      := base
PKG-kern       := libbpf

DIR-coord      := control/coord
USES-coord     := wire base
PURE-coord     := 1

DIR-group      := control/group
USES-group     := coord wire base
PURE-group     := 1

DIR-txn        := control/txn
USES-txn       := coord wire base
SIM_ON-txn     := group
PURE-txn       := 1

DIR-dataplane  := dataplane
USES-dataplane := store ipc kern wire base
PKG-dataplane  := libdpdk numa jansson liburing
# A shared librte_eal loads every driver that is installed, 160 libraries of network cards that nobody
# uses: 60 ms of each start and 20 MB.
STATIC-dataplane := rte_ring rte_eal rte_telemetry rte_kvargs
PROG-dataplane := sluice-dataplane

DIR-control    := control
USES-control   := group txn coord ipc wire base
PKG-control    := jansson libmicrohttpd
PROG-control   := sluice-control

DIR-launcher   := tools/launcher
USES-launcher  := base
PKG-launcher   := jansson
PROG-launcher  := sluice

DIR-ctl        := tools/ctl
USES-ctl       := base
PKG-ctl        := jansson
PROG-ctl       := sluicectl

DIR-dumplog    := tools/dumplog
USES-dumplog   := store wire base
PROG-dumplog   := sluice-dumplog

DIR-load       := tools/load
USES-load      := wire base
LDLIBS-load    := -lm
PROG-load      := sluice-load

DIR-bench      := bench
USES-bench     := wire base
PKG-bench      := liburing
PROG-bench     := sluice-bench

# Programs may share nothing but lib/; a component named here is never linked by another one.
PROGRAMS := $(foreach c,$(COMPONENTS),$(PROG-$(c)))

# Order of the folders inside a program, left may include right, never back; folders joined by a
# comma are neighbours that do not see each other.  "." is the program's top folder.  LEAF-x are
# headers of the top folder that every folder of x may include.
ORDER-dataplane := . session request partition reply net
LEAF-dataplane  := ctx.h image.h
ORDER-control   := . http,rpc admin,share,replica meta
LEAF-control    := control.h request.h publish.h config.h link.h loop.h counters.h offsets.h markers.h recent.h statelog.h txns.h
