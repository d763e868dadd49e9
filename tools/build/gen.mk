# SPDX-License-Identifier: Apache-2.0
# Generated code of lib/wire.  The results are committed; make gen writes them anew, make gen-check
# says whether they are what the schemas say, make schema-check compares the schemas with Kafka's own.

GEN_CHECK_DIR = $(O)/gen-check

.PHONY: gen
gen:
	$(call say,GEN,lib/wire)$(PYTHON) tools/gen/wire.py .

# Both directions: a stale file, and a generated file whose schema is gone.
.PHONY: gen-check
gen-check:
	$(Q)rm -rf $(GEN_CHECK_DIR) && $(PYTHON) tools/gen/wire.py . $(GEN_CHECK_DIR)
	$(Q)for f in $$(cd $(GEN_CHECK_DIR) && find . -type f) \
		$$(ls include/sluice/wire/*_gen.h lib/wire/*_gen.c tests/lib/wire/*_gen.[ch] 2>/dev/null); do \
		diff -u $$f $(GEN_CHECK_DIR)/$$f || { echo "gen-check: $$f is not what the schema gives; run make gen"; exit 1; }; \
	done

.PHONY: schema-check
schema-check:
	$(Q)$(PYTHON) tools/gen/compare.py lib/wire/schema ../shared/protocol/messages
