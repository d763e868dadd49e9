#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 180
"""make bench does not rot: every limit runs for a moment and prints what the driver reads, the driver
measures one tiny profile, and its verdicts and medians are right.  Says nothing about speed."""

import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "interop" / "support"))
sys.path.insert(0, str(ROOT / "bench" / "driver"))
from sluice import BUILD, check, free_ports, main, skip, wait_for  # noqa: E402
import limits  # noqa: E402
import machine  # noqa: E402
import report  # noqa: E402
from profiles import PROFILES, Profile  # noqa: E402

BENCH = BUILD / "bin" / "sluice-bench"
SMALL_FILE = ("--file-bytes", 64 << 20)
PROFILE = "produce 1 KiB, acks=1"


def every_limit_prints_its_figures():
    if not BENCH.exists():
        skip("sluice-bench is not built")
    for name in limits.LIMITS:
        # On a crowded machine it may not have its turn in so short a time; then it gets longer ones.
        for seconds in (0.1, 0.5, 2.0):
            row = limits.measure(name, seconds, 0.02, *SMALL_FILE)
            if row["mb_s"] > 0 and row["server_cpu_s"] > 0:
                break
        check(row["mb_s"] > 0, f"{name}: nothing was moved: {row}")
        check(row["server_cpu_s"] > 0, f"{name}: the server's CPU time is missing: {row}")
        if row["requests"]:
            latency = row["latency_us"]
            check(0 < latency["p50"] <= latency["p99"] <= latency["max"], f"{name}: {latency}")


def hot_functions_are_timed():
    rows = limits.micro()
    check(len(rows) >= 8 and all(row["ns"] > 0 for row in rows), rows)


def wrong_options_are_refused():
    for arguments in ([], ["unknown"], ["receive", "--seconds", "0"], ["receive", "--connections", "x"],
                      ["durable", "--block-bytes", "1000"], ["receive", "--in-flight", "100000"]):
        done = subprocess.run([BENCH, *arguments], capture_output=True, text=True, timeout=10, check=False)
        check(done.returncode == 2 and "usage" in done.stderr, f"{arguments}: {done.returncode} {done.stderr}")


def a_nats_server_is_written_to_and_read():
    if not shutil.which("nats-server"):
        skip("nats-server is not installed")
    port = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="sluice-nats-") as folder:
        server = subprocess.Popen(["nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", folder],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for("nats-server", lambda: socket.create_connection(("127.0.0.1", port), 1).close() or True)
            common = ["--port", port, "--request-bytes", 500, "--seconds", 0.2, "--warmup", 0.1]
            flat_out, = limits.sluice_bench(["nats-publish", "--rate", 0, "--in-flight", 100, *common], timeout=30)
            paced, = limits.sluice_bench(["nats-publish", "--rate", 1000, *common], timeout=30)
            read, = limits.sluice_bench(["nats-read", *common], timeout=30)
        finally:
            server.terminate()
            server.wait(20)
    check(flat_out["requests"] > 0 and flat_out["latency_us"]["p50"] > 0, flat_out)
    check(0 < paced["requests"] <= 201, paced)
    check(read["requests"] > 0, read)


def profiles_name_limits_that_exist():
    known = set(limits.LIMITS)
    for profile in PROFILES:
        check(set(profile.limits) <= known, f"{profile.name} stands beside {profile.limits}")
        check(profile.limits or profile.scenario, f"{profile.name} stands beside nothing")
        known.add(profile.name)
    check(len({p.name for p in PROFILES}) == len(PROFILES), "two profiles have one name")


def rows_of(*figures):
    return [({"mb_s": value, "requests_s": 0, "records_s": 1e6, "latency_us": {"p50": 1, "p99": value},
              "server_cores": 0.5}, [{"name": "a", "mb_s": limit, "latency_us": {"p50": 2, "p99": limit}, "server_cores": 1.0}])
            for value, limit in figures]


def medians_are_taken_of_ratios_not_of_sums():
    # A neighbour halves both figures of the second round: the ratio must not see it.
    pairs = rows_of((800, 1000), (400, 500), (900, 1000))
    row = report.build_row(Profile("x", "produce", limits=("a",), target=0.8), pairs)
    check(row["ratio"] == 0.8 and row["verdict"] == "met" and row["value"] == 800, row)
    check(row["ratio_per_core"] == 1.6, row["ratio_per_core"])
    row = report.build_row(Profile("x", "produce", limits=("a",), target=0.81), pairs)
    check(row["verdict"] == "missed", row)
    row = report.build_row(Profile("x", "e2e", limits=("a",), field="p99", target=3), rows_of((290, 100), (310, 100),
                                                                                            (301, 100)))
    check(row["ratio_p50"] == 0.5 and row["ratio"] == 3.01 and row["verdict"] == "missed", row)


def what_others_took_is_said():
    profile = Profile("x", "produce", limits=("a",), target=0.8)
    for others, stolen, said in ((0.31, 0, "met (busy)"), (0.3, 0.5, "met"), (0, 0.51, "met (stolen)"), (1, 1, "met (busy)")):
        pairs = rows_of((900, 1000))
        pairs[0][0].update(others_cores=others, stolen_percent=stolen)
        row = report.build_row(profile, pairs)
        check(row["verdict"] == said and row["stolen_percent"] == stolen, row)
    row = report.build_row(Profile("x", "e2e", limits=("a",), field="p99"), pairs)
    check(row["verdict"] == "(busy)", row)


def a_balloon_that_reports_free_pages_is_seen():
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        devices = pathlib.Path(folder)
        check(not machine.hands_back_memory(devices), "without any device")
        for name, kind, features in (("virtio0", "0x0002", "000001"), ("virtio1", "0x0005", "011000")):
            (devices / name).mkdir()
            (devices / name / "device").write_text(kind + "\n")
            (devices / name / "features").write_text(features + "0" * 58 + "\n")
        check(not machine.hands_back_memory(devices), "a balloon that does not, and a disk with the same bit")
        (devices / "virtio1" / "features").write_text("011001" + "0" * 58 + "\n")
        check(machine.hands_back_memory(devices), "a balloon that does")


def what_lays_out_gigabytes_is_a_limit():
    modes = {arguments[0] for arguments in limits.LIMITS.values()}
    check(set(limits.HEAVY) <= modes, f"{limits.HEAVY} of {modes}")


def several_limits_are_joined():
    two = [{"name": "a", "mb_s": 10.0}, {"name": "b", "mb_s": 7.0}]
    check(report.limit_of(Profile("x", "produce"), two) == (7.0, "b"), "the lower one counts")
    check(report.limit_of(Profile("x", "produce", join="sum"), two) == (17.0, "a + b"), "they add up")


def the_driver_measures_and_reports():
    if not (BUILD / "bin" / "sluice-load").exists():
        skip("sluice-load is not built")
    data = machine.disk_folder()
    before = set(data.glob("broker-*"))
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        done = subprocess.run([ROOT / "bench" / "run.py", "--only", PROFILE, "--rounds", "2", "--seconds", "0.3", "--hot-bytes", str(128 << 20),
                               "--results", folder], capture_output=True, text=True, timeout=120, check=False)
        check(done.returncode == 0, done.stdout + done.stderr)
        path, = pathlib.Path(folder).glob("*.json")
        result = json.loads(path.read_text())
        row, = result["profiles"]
        check(row["profile"] == PROFILE and row["value"] > 0 and row["limit"] == "receive+crc 64 KiB", row)
        check(len(row["ratios"]) == len(row["rounds"]) == result["rounds"] == 2, row)
        check(row["verdict"].split()[0] in ("met", "missed") and row["server_cores"] > 0, row)
        check({"commit", "kernel", "cpu", "file_system"} <= set(result["machine"]), result["machine"])
        lines = path.with_suffix(".md").read_text().splitlines()
        check(lines[0].startswith(f"# {result['commit']}"), lines[0])
        table = [line for line in lines if line.startswith("|")]
        check(PROFILE in table[2] and any(line.startswith("| receive+crc 64 KiB ") for line in table), table)
        check(len({line.count("|") for line in table[:3]}) == 1, "rows of unequal width")
        check(set(data.glob("broker-*")) <= before, "the broker's folder is left behind")


main(every_limit_prints_its_figures, hot_functions_are_timed, wrong_options_are_refused, a_nats_server_is_written_to_and_read,
     profiles_name_limits_that_exist, medians_are_taken_of_ratios_not_of_sums, several_limits_are_joined,
     what_others_took_is_said, a_balloon_that_reports_free_pages_is_seen, what_lays_out_gigabytes_is_a_limit,
     the_driver_measures_and_reports)
