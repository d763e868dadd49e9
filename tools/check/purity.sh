#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# purity.sh ARCHIVE...: step-function archives (PURE-x in layers.mk) need nothing impure.
# Prints "archive:0: message" for each symbol that purity.allow does not allow.
set -euo pipefail

list=${PURITY_ALLOW:-$(dirname "$0")/purity.allow}
allow=$(grep -v -e '^#' -e '^!' -e '^$' "$list" | paste -sd'|')
deny=$(sed -n 's/^!//p' "$list" | paste -sd'|')

status=0
for archive in "$@"; do
	if [ ! -f "$archive" ]; then
		echo "$archive:0: no such archive"
		status=1
		continue
	fi
	# What one member defines, another may use, also one of another pure archive.
	impure=$(LC_ALL=C comm -23 \
		<(nm -u "$archive" 2>/dev/null | awk '$1 == "U" || $1 == "w" { print $2 }' | LC_ALL=C sort -u) \
		<(nm --defined-only "$@" 2>/dev/null | awk 'NF == 3 { print $3 }' | LC_ALL=C sort -u) |
		awk -v allow="^($allow)$" -v deny="^($deny)$" '$0 !~ allow || $0 ~ deny')
	for symbol in $impure; do
		users=$(nm -A -u "$archive" | awk -v s="$symbol" '$NF == s { split($1, p, ":"); print p[2] }' | sort -u | paste -sd' ')
		echo "$archive:0: impure: $symbol is used by $users"
		status=1
	done
done
exit $status
