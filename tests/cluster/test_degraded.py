#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 180
"""Without privilege, huge pages, eBPF, DPDK's folder or locked memory a broker still serves; its log and
`sluicectl doctor` say what is missing, what that costs and what mends it.  With what they name it is
mended."""

import os
import pathlib
import re
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop" / "support"))
from sluice import BUILD, Broker, check, main, need, run, skip  # noqa: E402

need("kcat")
need("setpriv")
need("prlimit")
if os.geteuid() != 0:
    skip("needs root, to take away privileges one by one")

NOBODY = 65534
UNPRIVILEGED = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                "--bounding-set=-all", "--inh-caps=-all"]
HUGE = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB")


class Place:
    """A folder that an ordinary user may use, with programs that it may run."""

    def __enter__(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="sluice-test-"))
        self.root.chmod(0o755)
        self.bin = self.root / "bin"
        self.bin.mkdir(mode=0o755)
        for name in ("sluice", "sluice-dataplane", "sluice-control"):
            shutil.copy(BUILD / "bin" / name, self.bin / name)
            (self.bin / name).chmod(0o755)
        self.data = self.folder("data")
        self.runtime = self.folder("runtime")
        return self

    def folder(self, name):
        path = self.root / name
        path.mkdir(mode=0o700)
        os.chown(path, NOBODY, NOBODY)
        return path

    def broker(self, prefix=UNPRIVILEGED, runtime=None, **kwargs):
        env = {**os.environ, "XDG_RUNTIME_DIR": str(runtime or self.runtime)}
        env.pop("RUNTIME_DIRECTORY", None)
        return Unprivileged(self, data=self.data, prefix=prefix, options={"env": env}, **kwargs)

    def __exit__(self, *_):
        shutil.rmtree(self.root, ignore_errors=True)


class Unprivileged(Broker):
    def __init__(self, place, **kwargs):
        super().__init__(**kwargs)
        self.bin = place.bin

    def command(self):
        return [str(self.bin / "sluice") if word == str(BUILD / "bin" / "sluice") else word
                for word in super().command()]


def serves(broker):
    lines = b"".join(b"k%d:line %d\n" % (i % 7, i) for i in range(2000))
    broker.ctl("topics", "create", "t", "--partitions", "2")
    run(["kcat", "-b", broker.bootstrap, "-P", "-t", "t", "-K:", "-X", "acks=all"], input=lines)
    got = run(["kcat", "-b", broker.bootstrap, "-C", "-t", "t", "-e", "-q", "-K:"])
    check(sorted(got.splitlines()) == sorted(lines.splitlines()), "what was consumed differs")
    broker.ctl("topics", "delete", "t")


def log_line(broker, *patterns):
    """The line of the start-up log that has the patterns, in this order."""
    text = broker.log_path.read_text()
    match = re.search("^.*" + ".*".join(patterns) + ".*$", text, re.MULTILINE)
    check(match, broker.tail(f"no line like {patterns} in the log"))
    return match[0]


def diagnosis(broker):
    return {c["name"]: c for c in broker.ctl("doctor")["checks"]}


def lacks(broker, name, *, cause, fix):
    """A check that is not well, with cause, cost and fix; the table for people has them too."""
    found = diagnosis(broker)[name]
    check(found["state"] == "warn", f"{name}: {found}")
    check(re.search(cause, found["cause"] or ""), f"{name}: cause: {found}")
    check(found["cost"], f"{name}: no cost: {found}")
    check(re.search(fix, found["fix"] or ""), f"{name}: fix: {found}")
    text = broker.ctl("doctor", as_json=False)
    for key in ("cause", "cost", "fix"):
        check(found[key] in text, f"{name}: the table lacks its {key} {found[key]!r}:\n{text}")
    return found


def is_well(broker, name, what):
    found = diagnosis(broker)[name]
    check(found["state"] == "ok" and re.search(what, found["cause"]), f"{name}: {found}")


def an_ordinary_user_serves_and_learns_what_is_missing():
    with Place() as place, place.broker(["prlimit", "--nofile=4096:4096", "--memlock=65536:65536",
                                         *UNPRIVILEGED], lanes=2) as broker:
        status = pathlib.Path(f"/proc/{broker.pids()['sluice-dataplane']}/status").read_text()
        check(re.search(rf"^Uid:\s+{NOBODY}\s+{NOBODY}\s", status, re.MULTILINE), "it has privileges")
        check(re.search(r"^CapEff:\s+0+$", status, re.MULTILINE), "it has capabilities")
        serves(broker)

        line = log_line(broker, "warn", "steering off: .*needs cap_bpf,cap_net_admin",
                        "every lane accepts on its own listeners", "fix: run as root, or: setcap")
        check(str(place.bin / "sluice-dataplane") in line, f"the fix names no program: {line}")
        log_line(broker, "warn", "limit descriptors have=4096 want=\\d+", "fewer connections",
                 "fix: ulimit -n \\d+")
        found = lacks(broker, "sk_lookup", cause="cap_bpf", fix="setcap cap_bpf,cap_net_admin")
        check(found["fix"] in line, f"log and doctor differ: {found}\n{line}")
        lacks(broker, "steering", cause="cap_bpf", fix="setcap cap_bpf,cap_net_admin")
        lacks(broker, "bpf", cause="cap_bpf", fix="setcap")
        lacks(broker, "xdp", cause="cap_", fix="setcap")
        lacks(broker, "nofile", cause="4096", fix=r"ulimit -n \d+")
        lacks(broker, "memlock", cause="65536", fix="ulimit -l unlimited")
        check(not broker.ctl("steer")["sk_lookup"]["on"], "steering is on without privilege")
        # DPDK's folder is where an ordinary user may have one.
        log_line(broker, f"telemetry on: {place.runtime}/dpdk/sluice-\\d+/dpdk_telemetry.v2")


def without_huge_pages_it_says_so():
    free = int((HUGE / "free_hugepages").read_text())
    with Place() as place, place.broker(settings={"hugepages.bytes": str((free + 32) << 21)}) as broker:
        serves(broker)
        line = log_line(broker, "warn", f"hugepages off: {free * 2} MiB of free 2 MiB pages",
                        f"{(free + 32) * 2} MiB wanted", "more TLB misses", "fix: sysctl ")
        found = lacks(broker, "hugepages", cause="free 2 MiB pages",
                      fix=r"^sysctl vm\.nr_hugepages=\d+$")
        check(found["fix"] in line, f"log and doctor differ: {found}\n{line}")


def huge_bytes(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps").read_text()
    return sum(int(kb) * 1024 for kb in re.findall(r"^\w+_Hugetlb:\s+(\d+) kB", text, re.MULTILINE))


def serves_on_huge_pages(prefix):
    with Place() as place, place.broker(prefix, settings={"hugepages.bytes": str(64 << 20)}) as broker:
        log_line(broker, "info", "hugepages on bytes=67108864")
        check(huge_bytes(broker.pids()["sluice-dataplane"]) > 0, "no page of the data plane is huge")
        is_well(broker, "hugepages", "on huge pages")
        serves(broker)


def the_fix_for_huge_pages_mends_it():
    before = (HUGE / "nr_hugepages").read_text()
    want = int((HUGE / "free_hugepages").read_text()) + 32
    try:
        with Place() as place, place.broker(settings={"hugepages.bytes": str(want << 21)}) as broker:
            fix = diagnosis(broker)["hugepages"]["fix"]
        run(fix.split())
        if int((HUGE / "free_hugepages").read_text()) < want:
            skip("the kernel cannot make 64 MiB of huge pages now")
        serves_on_huge_pages([])
        serves_on_huge_pages(UNPRIVILEGED)
    finally:
        (HUGE / "nr_hugepages").write_text(before)


def the_fix_for_steering_mends_it():
    """setcap as the log names it; the programs are still an ordinary user's."""
    with Place() as place:
        with place.broker(lanes=2) as broker:
            fix = log_line(broker, "steering off")
        command = re.search(r"setcap \S+ \S+/sluice-dataplane", fix)[0]
        if shutil.which("setcap") is None:
            skip("setcap is not installed")
        run(command.split())
        # The bounding set has to allow what the file gives.
        with place.broker(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"],
                          lanes=2) as broker:
            check(broker.ctl("steer")["sk_lookup"]["on"], broker.tail("steering is still off"))
            is_well(broker, "steering", "on")
            serves(broker)


def what_is_not_wanted_is_no_lack():
    settings = {"hugepages": "never", "steer": "never"}
    with Broker(lanes=2, settings=settings) as broker:
        serves(broker)
        log_line(broker, "info", "hugepages off: hugepages=never")
        log_line(broker, "info", "steering off: steer=never", "every lane accepts on its own listeners")
        log_line(broker, "info", "ingress off: steer.xdp.iface is not set")
        is_well(broker, "hugepages", "never")
        is_well(broker, "steering", "never")
        is_well(broker, "ingress", "not set")


def sixty_four_kilobytes_of_locked_memory_are_enough():
    with Broker(lanes=2, prefix=["prlimit", "--memlock=65536:65536"]) as broker:
        limits = pathlib.Path(f"/proc/{broker.pids()['sluice-dataplane']}/limits").read_text()
        check(re.search(r"Max locked memory\s+65536\s+65536", limits), limits)
        check(broker.ctl("steer")["sk_lookup"]["on"], broker.tail("steering is off"))
        serves(broker)
        lacks(broker, "memlock", cause="65536", fix="ulimit -l unlimited")


def without_a_folder_for_dpdk_only_its_socket_is_missing():
    with Place() as place, place.broker(runtime="/nonexistent") as broker:
        serves(broker)
        line = log_line(broker, "warn", "telemetry off: DPDK could not make a folder", "DPDK's own tools",
                        "fix: set XDG_RUNTIME_DIR")
        check(broker.ctl("status")["health"]["state"] == "ok", line)


main(an_ordinary_user_serves_and_learns_what_is_missing, without_huge_pages_it_says_so,
     the_fix_for_huge_pages_mends_it, the_fix_for_steering_mends_it, what_is_not_wanted_is_no_lack,
     sixty_four_kilobytes_of_locked_memory_are_enough, without_a_folder_for_dpdk_only_its_socket_is_missing)
