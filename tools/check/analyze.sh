#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# analyze.sh BUILD COMPONENT...: slow static analysis, not part of CI.
# clang-tidy (.clang-tidy) and gcc -fanalyzer over each component, with the flags make compiles with.
set -euo pipefail

build=$1
shift
# The compiler commands as make would run them, for every object of the archives.
commands=$(env -u MAKEFLAGS -u MFLAGS make -n -B V=1 CC=gcc O="$build" \
	$(printf "$build/lib/libsl%s.a " "$@") | grep -oE 'gcc .* -c -o [^ ]+ [^ ]+\.c$' || true)
status=0
while read -r -a words; do
	[ ${#words[@]} -gt 0 ] || continue
	source=${words[-1]}
	flags=()
	for word in "${words[@]:1:${#words[@]}-5}"; do
		case $word in -MMD | -MP | -c) ;; *) flags+=("$word") ;; esac
	done
	echo "== $source"
	clang-tidy-14 --quiet "$source" -- "${flags[@]}" 2>/dev/null || status=1
	gcc "${flags[@]}" -Wno-error -fanalyzer -c -o /dev/null "$source" || status=1
done <<<"$commands"
exit $status
