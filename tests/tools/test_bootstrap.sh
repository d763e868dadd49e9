#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# tools/build/bootstrap.sh against a false dpkg-query, apt-get, sudo and id: what it asks for, and
# that it never ends well with something missing.  Prints TAP.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"
count=0
failed=0

program() {
	printf '#!/bin/bash\n%s\n' "$2" >"$work/bin/$1"
	chmod +x "$work/bin/$1"
}

# The state of the false machine is one package name per line in $work/have.
program dpkg-query '
for package in "$@"; do
	case $package in -*) continue ;; esac
	grep -qx "$package" "'"$work"'/have" && echo "installed $package"
done
exit 0'
program apt-get '
echo "apt-get $*" >>"'"$work"'/calls"
case "$* " in
*" update "*) exit "$(cat "'"$work"'/update_status")" ;;
*" --simulate "*) exit "$(cat "'"$work"'/simulate_status")" ;;
esac
for package in "$@"; do
	case $package in -* | install) continue ;; esac
	grep -qx "$package" "'"$work"'/refuse" || echo "$package" >>"'"$work"'/have"
done
exit "$(cat "'"$work"'/install_status")"'
program id 'cat "'"$work"'/uid"'
program sudo 'echo "sudo" >>"'"$work"'/calls"; [ "$1" = -n ] && exit "$(cat "'"$work"'/sudo_status")"; exec "$@"'
program node ''
program npm ''
program javac ''
program mvn ''

reset() {
	awk '/^(build|tests|clients|java) +[a-z]/ { print $2 }' "$root/tools/build/bootstrap.sh" >"$work/have"
	for missing in "$@"; do
		sed -i "/^$missing\$/d" "$work/have"
	done
	: >"$work/calls"
	: >"$work/refuse"
	echo 0 | tee "$work"/{update,simulate,install,sudo}_status "$work/uid" >/dev/null
}

run() {
	status=0
	output=$(PATH="${path:-$work/bin:$PATH}" SLUICE_SETUP=1 "$root/tools/build/bootstrap.sh" "$@" 2>&1 </dev/null) || status=$?
}

expect() {
	local name=$1
	shift
	count=$((count + 1))
	if "$@"; then
		echo "ok $count - $name"
	else
		echo "not ok $count - $name"
		printf '# status %s\n' "$status"
		printf '%s\n' "$output" "$(cat "$work/calls")" | sed 's/^/# /'
		failed=1
	fi
}

says() { case $output in *"$1"*) ;; *) return 1 ;; esac }
fails_saying() { [ "$status" != 0 ] && says "$1"; }
never_installed() { ! grep -v -e simulate "$work/calls" | grep -q ' install '; }

reset
run
expect "nothing missing: quiet" [ "$status$output" = 0 ]
expect "nothing missing: apt-get is not called" [ ! -s "$work/calls" ]

reset kcat libdpdk-dev
run
expect "installs what is missing" [ "$status" = 0 ]
expect "names the package and the reason" says "libdpdk-dev              build: DPDK EAL"
expect "asks apt-get for these two only" \
	grep -qx 'apt-get -q -y --no-install-recommends install libdpdk-dev kcat' "$work/calls"

reset kcat libdpdk-dev
run build
expect "a set leaves the others alone" grep -qx '.* install libdpdk-dev' "$work/calls"

reset kcat
echo 100 >"$work/update_status"
run
expect "update fails: says so and gives the command" fails_saying "apt-get update && apt-get install"
expect "update fails: nothing is installed" never_installed

reset kcat
echo 100 >"$work/simulate_status"
run
expect "package cannot be had: fails" fails_saying "nothing was installed"
expect "package cannot be had: nothing is installed" never_installed

reset kcat curl
echo kcat >"$work/refuse"
run
expect "half an installation is a failure, whatever apt-get says" fails_saying "still missing: kcat"

reset kcat
echo 1000 >"$work/uid"
echo 1 >"$work/sudo_status"
run
expect "neither root nor sudo: fails with the command" fails_saying "sudo sh -c 'apt-get update"
expect "neither root nor sudo: nothing is installed" never_installed

reset kcat
echo 1000 >"$work/uid"
run
expect "uses sudo when not root" [ "$status" = 0 ]
expect "sudo was called" grep -qx sudo "$work/calls"

reset kcat
run --dry-run
expect "--dry-run fails and installs nothing" fails_saying "would run"
expect "--dry-run does not call apt-get" [ ! -s "$work/calls" ]

reset
run bench
expect "an optional set is installed when it is asked for" grep -q ' install gnuplot-nox$' "$work/calls"

# A machine that has nothing but what bootstrap.sh and the false programs themselves call.
mkdir "$work/bare"
ln -s "$(command -v bash)" "$(command -v cat)" "$(command -v env)" "$(command -v grep)" "$work/bare"
rm "$work/bin"/{node,npm,javac,mvn}
reset nodejs npm openjdk-17-jdk-headless maven
path=$work/bin:$work/bare run
expect "without node, npm, javac and mvn their packages are asked for" \
	grep -q ' install nodejs npm openjdk-17-jdk-headless maven$' "$work/calls"

reset
run everything
expect "an unknown set is refused" fails_saying "unknown argument"

echo "1..$count"
exit $failed
