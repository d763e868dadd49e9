#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs the Debian 12 packages that Sluice is built, checked and tried with.  `make run`,
# `make check` and `.ci/run` call it first; when nothing is missing it is one dpkg-query.
#
#   bootstrap.sh [--dry-run] [SET...]    SET: build, tests, clients, java (default: these four),
#                                        bench (plots of make bench), peers (make bench-peers)
#
# SLUICE_SETUP=0 in the environment skips it, for machines whose libraries come from elsewhere.
set -euo pipefail

# set     package               why it is needed
table=$(
	cat <<'EOF'
build     gcc                   compiles everything (version 12)
build     libc6-dev             C library headers
build     make                  runs the build
build     pkg-config            finds the flags of the libraries below
build     clang-14              compiles the eBPF programs; second compiler of CI
build     bpftool               makes a C skeleton from each eBPF object
build     libbpf-dev            loads the eBPF programs; bpf_helpers.h
build     linux-libc-dev        kernel headers: BPF, io_uring, if_link
build     libelf-dev            libbpf reads ELF objects with it
build     libdpdk-dev           DPDK EAL, the runtime of the data plane
build     libnuma-dev           memory and thread placement per NUMA node
build     libjansson-dev        JSON of the control socket and of --json
build     libmicrohttpd-dev     the /metrics HTTP port
build     liburing-dev          doctor asks the kernel what its io_uring can do
build     zlib1g-dev            gzip record batches
build     liblz4-dev            lz4 record batches
build     libsnappy-dev         snappy record batches
build     libzstd-dev           zstd record batches
build     python3               generators and checkers (/usr/bin/python3, no modules)
tests     libcriterion-dev      runs the C unit tests
tests     clang-format-14       make tidy checks the formatting with it
tests     clang-tidy-14         make analyze
tests     libclang-rt-14-dev    libFuzzer and the sanitizers of clang
tests     binutils              nm, for the purity check
tests     iproute2              network namespaces and veth pairs of the kernel tests
tests     ethtool               switches veth offloads off for the XDP test
tests     procps                ps, used by the tests that kill processes
tests     util-linux            prlimit and unshare in the cluster tests
tests     curl                  reads /metrics
tests     libfuse3-dev          fault file system of the disk-failure test
tests     fuse3                 fusermount3, to unmount it
clients   kcat                  librdkafka's command line, first of the real clients
clients   python3-kafka         pure Python client
clients   python3-confluent-kafka  librdkafka from Python
clients   python3-pip           fetches the current librdkafka, pinned
clients   nodejs                kafkajs and @platformatic/kafka run on it
clients   npm                   fetches these two, pinned
java      openjdk-17-jdk-headless  Apache Kafka's own clients and tools, and Kafka as a peer
java      maven                 fetches Apache Kafka, pinned
bench     gnuplot-nox           plots of the results
peers     nats-server           a peer where Go cannot build a newer one; not in make check: it starts a service
EOF
)

dry_run=0
sets=()
for arg in "$@"; do
	case $arg in
	--dry-run) dry_run=1 ;;
	build | tests | clients | java | bench | peers) sets+=("$arg") ;;
	*)
		echo "bootstrap: unknown argument '$arg' (sets: build tests clients java bench peers; option: --dry-run)" >&2
		exit 2
		;;
	esac
done
[ ${#sets[@]} -gt 0 ] || sets=(build tests clients java)
[ "${SLUICE_SETUP:-1}" != 0 ] || exit 0

# Any origin of node and npm serves (nodesource packs both into one package), and any Java and Maven:
# these are asked for by program.
is_wanted() {
	case " ${sets[*]} " in *" $1 "*) ;; *) return 1 ;; esac
	case $2 in
	nodejs) ! command -v node >/dev/null ;;
	npm) ! command -v npm >/dev/null ;;
	openjdk-*) ! command -v javac >/dev/null ;;
	maven) ! command -v mvn >/dev/null ;;
	esac
}

packages=()
declare -A reason
while read -r set package why; do
	is_wanted "$set" "$package" || continue
	packages+=("$package")
	reason[$package]="$set: $why"
done <<<"$table"

# Prints those of its arguments that dpkg does not know as completely installed.
missing_of() {
	local have
	have=$'\n'$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null || true)$'\n'
	local package
	for package in "$@"; do
		case $have in *$'\n'"installed $package"$'\n'*) ;; *) printf '%s\n' "$package" ;; esac
	done
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	echo "bootstrap: this is not a Debian system, so nothing was installed." >&2
	echo "  Install what corresponds to these Debian 12 packages, then run with SLUICE_SETUP=0:" >&2
	echo "  ${packages[*]}" >&2
	exit 1
fi

mapfile -t missing < <(missing_of "${packages[@]}")
[ ${#missing[@]} -gt 0 ] || exit 0

echo "bootstrap: ${#missing[@]} package(s) missing:"
for package in "${missing[@]}"; do
	printf '  %-24s %s\n' "$package" "${reason[$package]}"
done

as_root=()
by_hand="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
if [ "$(id -u)" != 0 ]; then
	by_hand="sudo sh -c '$by_hand'"
	as_root=(sudo)
	if ! command -v sudo >/dev/null || { ! sudo -n true 2>/dev/null && [ ! -t 0 ]; }; then
		echo "bootstrap: not root, and sudo cannot be used here; nothing was installed. Run:" >&2
		echo "  $by_hand" >&2
		exit 1
	fi
fi
if [ $dry_run = 1 ]; then
	echo "bootstrap: --dry-run, would run: $by_hand"
	exit 1
fi

# sudo drops the environment, so the two settings travel on the command line.
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q -y)
fail() {
	echo "bootstrap: $1. To see why, run:" >&2
	echo "  $by_hand" >&2
	exit 1
}
"${apt[@]}" update || fail "apt-get update failed; nothing was installed"
# The rehearsal changes nothing, so a name that cannot be had stops the run before any package is
# unpacked.
"${apt[@]}" --no-install-recommends --simulate install "${missing[@]}" >/dev/null ||
	fail "apt-get cannot satisfy the list; nothing was installed"
status=0
"${apt[@]}" --no-install-recommends install "${missing[@]}" || status=$?
mapfile -t still < <(missing_of "${missing[@]}")
if [ $status != 0 ] || [ ${#still[@]} -gt 0 ]; then
	fail "apt-get ended with $status; still missing: ${still[*]:-none}"
fi
echo "bootstrap: installed ${missing[*]}"
