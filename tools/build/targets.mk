# SPDX-License-Identifier: Apache-2.0
# The targets people type; `make help` lists them.

# The recipes below name targets that other .mk files (gen.mk, fuzz.mk, race.mk) may bring.
has_target = $(shell grep -lE '^$(1)[ :]' tools/build/*.mk)
# A nested make that uses both cores unless the caller has said how many.
SUBMAKE    = $(MAKE) $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))
# A make started by a script: it cannot share our job server, so it gets the knobs by name.
AGAIN      = env -u MAKEFLAGS -u MFLAGS $(MAKE) -s O="$(O)" CC="$(CC)" SAN="$(SAN)"
TIDY       = $(PYTHON) tools/check/tidy.py --build $(O)
RUN_TESTS  = $(PYTHON) tests/run.py --build $(O) --logs $(O)/test-logs $(if $(TOTALS),--totals $(TOTALS)) \
	$(if $(REASONS),--reasons $(REASONS)) $(if $(filter 1,$(V)),--verbose) $(if $(F),--filter '$(F)')

# Scripts need the programs without instrumentation: a run with SAN= is for the unit tests.
TEST_SCRIPTS   := $(if $(SANS),,$(sort $(foreach e,sh py, \
	$(wildcard $(foreach d,tools tools/* kernel interop cluster,tests/$(d)/test_*.$(e))))))
CLIENT_SCRIPTS := $(filter tests/interop/%,$(TEST_SCRIPTS))
CHECK_COMMANDS  = $(foreach t,fuzz-replay schema-check race-check sim-check,$(if $(call has_target,$(t)),'$(t)=$(AGAIN) $(t)'))
PURE_LIBS      := $(foreach c,$(COMPONENTS),$(if $(PURE-$(c)),$(O)/lib/libsl$(c).a))

.PHONY: help
help:
	@sed -n 's/^#: //p' tools/build/targets.mk

#: all            the programs, into $(O)/bin (default)
.PHONY: all
all: $(ALL_PROGS)

#: setup          install what is missing (Debian 12), say why; SETS="build tests clients java bench peers"
.PHONY: setup
setup:
	$(Q)tools/build/bootstrap.sh $(SETS)

#: run            setup, all, then one server in the foreground; ARGS="--port 9092 ..."
.PHONY: run
run:
	$(Q)tools/build/bootstrap.sh build
	$(Q)+$(SUBMAKE) all
	$(Q)exec $(O)/bin/sluice dev $(ARGS)

.PHONY: tests
tests: $(ALL_TESTS)

#: unit           unit tests; T=store: those of one component, with their output; F=pattern
.PHONY: unit
unit: $(if $(T),$(O)/tests/$(T)-test,$(ALL_TESTS))
	$(Q)$(RUN_TESTS) $(if $(T),--verbose) --unit $^

#: check          setup, all, unit tests, fuzz corpus, scripts of tests/{tools,kernel,interop,cluster}
#:                (with SAN= only unit tests and corpus); ends with a line that counts the tests
.PHONY: check
check:
	$(Q)tools/build/bootstrap.sh
	$(Q)+$(SUBMAKE) all tests
	$(Q)$(RUN_TESTS) --unit $(ALL_TESTS) --command $(CHECK_COMMANDS) \
		--scripts $(TEST_SCRIPTS)

#: check-clients  only the tests with real clients, output shown
.PHONY: check-clients
check-clients:
	$(Q)tools/build/bootstrap.sh
	$(Q)+$(SUBMAKE) all
	$(Q)$(RUN_TESTS) --verbose --scripts $(CLIENT_SCRIPTS)

#: tidy           every rule of house style that a script can check; ONLY=banned,size for some
TIDY_COMMANDS = 'purity=$(AGAIN) $(PURE_LIBS) && tools/check/purity.sh $(PURE_LIBS)' \
	$(foreach t,gen-check docs-check,$(if $(call has_target,$(t)),'$(t)=$(AGAIN) $(t)'))
.PHONY: tidy
tidy:
	$(Q)$(TIDY) $(if $(ONLY),--only $(ONLY)) --command $(TIDY_COMMANDS)

#: analyze        slow static analysis: clang-tidy and gcc -fanalyzer; T=store for one component
.PHONY: analyze
analyze:
	$(Q)tools/check/analyze.sh $(O) $(or $(T),$(COMPONENTS))

#: docs           regenerate what of Documentation/ is generated
.PHONY: docs docs-check
docs: $(filter %/sluice %/sluice-control %/sluicectl,$(ALL_PROGS))
	$(Q)tools/check/docs.sh $(O) write

docs-check:
	$(Q)tools/check/docs.sh $(O) check

#: bench          setup, all, then figures of the broker beside the machine's own limits;
#:                ARGS="--quick", "--only PATTERN", "--rounds N", "--seconds S", "--list"
.PHONY: bench
bench:
	$(Q)tools/build/bootstrap.sh build
	$(Q)tools/build/bootstrap.sh bench || echo "bench: without plots"
	$(Q)+$(SUBMAKE) all
	$(Q)SLUICE_BUILD=$(abspath $(O)) bench/run.py $(ARGS)

#: bench-peers    the same load on Apache Kafka and NATS JetStream, at equal durability; ARGS as for bench
.PHONY: bench-peers
bench-peers:
	$(Q)tools/build/bootstrap.sh build
	$(Q)tools/build/bootstrap.sh bench java peers || echo "bench-peers: what is missing is left out"
	$(Q)+$(SUBMAKE) all
	$(Q)SLUICE_BUILD=$(abspath $(O)) bench/peers/run.py $(ARGS)

#: install        DESTDIR= PREFIX=/usr/local
PREFIX  ?= /usr/local
BINDIR   = $(DESTDIR)$(PREFIX)/bin
COMPDIR  = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
UNITDIR  = $(DESTDIR)$(PREFIX)/lib/systemd/system
INSTALL_UNITS := $(wildcard tools/launcher/*.service tools/launcher/*.target)
INSTALL_COMPS := $(wildcard tools/ctl/*.bash)
.PHONY: install
install: all
	install -d $(BINDIR)
	install -m 755 $(ALL_PROGS) $(BINDIR)
	$(if $(INSTALL_COMPS),install -d $(COMPDIR))
	$(foreach f,$(INSTALL_COMPS),install -m 644 $(f) $(COMPDIR)/$(basename $(notdir $(f)));)
	$(if $(INSTALL_UNITS),install -d $(UNITDIR) && install -m 644 $(INSTALL_UNITS) $(UNITDIR))

#: clean          remove the build folders inside the tree
.PHONY: clean
clean:
	rm -rf build build-*
