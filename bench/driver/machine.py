# SPDX-License-Identifier: Apache-2.0
"""What the driver must know of the machine: its name, its cpus, where its disk is, and who used how
much CPU time while something was measured."""

import os
import pathlib
import platform
import re
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "interop" / "support"))
from sluice import BUILD, Failed, children_of  # noqa: E402

# Of a run, this much at either end is left out of the CPU sample: threads that start or stop.
SAMPLE_MARGIN = 0.1
MIB = 1024 * 1024
IN_MEMORY = ("tmpfs", "ramfs")
# How /proc names a nameless file on a tmpfs of its own, or the memfd where that is refused.
HOT_TIER = re.compile(r"/#\d+ \(deleted\)$|/memfd:sluice-hot\b")
BALLOON, BALLOON_REPORTING = "0x0005", 5  # virtio's id of the device, and the bit of its feature
HAND_BACK_S = 7  # Linux tells of what was freed in up to three passes, two seconds apart


def lane_cpu():
    """The broker's lane and the server side of every limit run on the last cpu."""
    return max(os.sched_getaffinity(0))


def client_cpus():
    """The others, or the only one."""
    cpus = os.sched_getaffinity(0)
    return cpus - {lane_cpu()} or cpus


def file_system(folder):
    """Type of the file system that holds @folder."""
    best = ("", "?")
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind = line.split()[:3]
        inside = folder == pathlib.Path(point) or pathlib.Path(point) in folder.parents
        if inside and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


def disk_folder():
    """A folder on a real disk for data and limits: durable figures of a tmpfs would be a lie."""
    for name in (os.environ.get("SLUICE_BENCH_DIR"), os.environ.get("TMPDIR"), BUILD, "/var/tmp"):
        folder = pathlib.Path(name).resolve() if name else None
        if folder and folder.is_dir() and file_system(folder) not in IN_MEMORY:
            (folder / "bench-data").mkdir(exist_ok=True)
            return folder / "bench-data"
    raise Failed("no folder on a disk; set SLUICE_BENCH_DIR to one")


def tree_of(pid):
    """A process and all its descendants."""
    found = [pid]
    for child in children_of(pid):
        found += tree_of(child)
    return found


def cpu_seconds(pids):
    """CPU time of all threads of processes, in nanosecond steps (/proc/<pid>/stat has 10 ms)."""
    total = 0
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0])
            except OSError:
                continue
    return total / 1e9


def cpu_times():
    """user, nice, system, idle, iowait, irq, softirq and steal of all cpus together, in seconds: see proc_stat(5)."""
    words = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    return [int(word) / os.sysconf("SC_CLK_TCK") for word in words]


def busy_seconds():
    """CPU time that anything at all used on this machine, and what the hypervisor took."""
    user, nice, system, _, _, irq, softirq, steal = cpu_times()
    return user + nice + system + irq + softirq + steal


def stolen_seconds():
    """CPU time, of all cpus together, that the hypervisor gave to others or kept back."""
    return cpu_times()[7]


def hands_back_memory(devices=pathlib.Path("/sys/bus/virtio/devices")):
    """Whether the kernel tells the hypervisor of memory that is free, for it to take."""
    return any((d / "device").read_text().strip() == BALLOON and (d / "features").read_text()[BALLOON_REPORTING] == "1"
               for d in devices.glob("*"))


def settle():
    """Waits until the hypervisor has taken gigabytes that were freed just now.  It does so on the CPU time of this
    machine: where that is limited, a machine that is busy meanwhile stands still for 10 to 30 ms several times."""
    if hands_back_memory():
        time.sleep(HAND_BACK_S)


class Sample:
    """Samples the CPU use of @pids for the inner part of a run that begins now: after @wait seconds, for
    @seconds.  cores: how many cores they kept busy."""

    def __init__(self, pids, wait, seconds):
        self.pids, self.wait, self.seconds = pids, wait, seconds
        self.cores = 0.0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        time.sleep(self.wait + self.seconds * SAMPLE_MARGIN)
        began, before = time.monotonic(), cpu_seconds(self.pids)
        time.sleep(self.seconds * (1 - 2 * SAMPLE_MARGIN))
        self.cores = (cpu_seconds(self.pids) - before) / (time.monotonic() - began)

    def take(self):
        self.thread.join()
        return self.cores


def total_memory():
    return int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]) * 1024


def memory_bytes(pids):
    """Memory of processes beyond the hot tier: proportional set size without the hot tier's file, and
    huge pages of hugetlbfs."""
    total = 0
    for pid in pids:
        is_hot = False
        for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
            words = line.split(None, 5)
            if re.match(r"[0-9a-f]+-[0-9a-f]+$", words[0]):
                is_hot = len(words) > 5 and bool(HOT_TIER.match(words[5]))
            elif words[0] in ("Pss:", "Private_Hugetlb:", "Shared_Hugetlb:") and not is_hot:
                total += int(words[1]) * 1024
    return total


def describe():
    """What has to stand beside figures for them to mean something."""
    def git(*arguments):
        return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True,
                              check=False).stdout.strip()

    cpu = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.processor())
    return {"commit": git("rev-parse", "--short=12", "HEAD") or "unknown",
            "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": platform.node(), "kernel": platform.release(), "cpu": cpu,
            "cpus": os.cpu_count(), "lane_cpu": lane_cpu(), "memory_mib": total_memory() // MIB,
            "file_system": file_system(disk_folder())}
