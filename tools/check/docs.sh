#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# docs.sh BUILD write|check: the pages of Documentation/ that a program prints.
# "write" replaces them; "check" fails with a diff when one differs from what the program prints.
# A page whose program is not built is passed over by "check" and refused by "write".
set -euo pipefail

build=$1
mode=$2
status=0

# one_page PAGE PROGRAM ARGUMENT...
one_page() {
	local page=$1 program=$build/bin/$2
	shift 2
	if [ ! -x "$program" ]; then
		[ "$mode" = check ] && return
		echo "docs: $program is not built, so $page cannot be written" >&2
		status=1
		return
	fi
	local new
	new=$(mktemp)
	if ! "$program" "$@" >"$new" || [ ! -s "$new" ]; then
		echo "$page:1: '$program $*' did not print it"
		status=1
	elif [ "$mode" = write ]; then
		cmp -s "$new" "$page" || { cat "$new" >"$page" && echo "docs: wrote $page"; }
	elif ! diff -u --label "$page" --label "printed by $program $*" "$page" "$new"; then
		echo "$page:1: differs from what the program prints; run make docs"
		status=1
	fi
	rm -f "$new"
}

one_page Documentation/admin-guide/configuration.md sluice config-doc
exit $status
