#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 120
"""DPDK's telemetry socket of the data plane: its own commands, the lanes' counters, and a folder that goes
away with the process."""

import json
import os
import pathlib
import socket
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop" / "support"))
from sluice import Broker, check, main, need, run, wait_for  # noqa: E402

need("kcat")
LANES = 2


class Telemetry:
    """One connection, as DPDK's own dpdk-telemetry.py makes it."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(5)
        self.socket.connect(str(path))
        self.banner = json.loads(self.socket.recv(1024))

    def ask(self, command):
        self.socket.send(command.encode())
        answer = json.loads(self.socket.recv(self.banner["max_output_len"]))
        check(len(answer) == 1, f"{command}: {answer}")
        return next(iter(answer.values()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


class Runtime:
    """A folder for runtime data of the broker alone."""

    def __enter__(self):
        self.temp = tempfile.TemporaryDirectory(prefix="sluice-test-")
        self.path = pathlib.Path(self.temp.name)
        return self

    def broker(self, lanes=LANES):
        return Broker(lanes=lanes, options={"env": {**os.environ, "RUNTIME_DIRECTORY": str(self.path)}})

    def folder(self, pid):
        return self.path / "dpdk" / f"sluice-{pid}"

    def folders(self):
        return sorted(p.name for p in (self.path / "dpdk").iterdir())

    def __exit__(self, *_):
        self.temp.cleanup()


def dpdk_answers():
    with Runtime() as runtime, runtime.broker() as broker:
        pid = broker.pids()["sluice-dataplane"]
        path = runtime.folder(pid) / "dpdk_telemetry.v2"
        check(f"telemetry on: {path}" in broker.log_path.read_text(), broker.tail("the log does not say it"))
        with Telemetry(path) as telemetry:
            check(telemetry.banner["pid"] == pid, f"banner: {telemetry.banner}")
            check(telemetry.banner["version"].startswith("DPDK"), f"banner: {telemetry.banner}")
            commands = telemetry.ask("/")
            check({"/", "/info", "/help", "/eal/params", "/sluice/lanes"} <= set(commands),
                  f"commands: {commands}")
            check(telemetry.ask("/info")["pid"] == pid, "/info")
            parameters = telemetry.ask("/eal/params")
            check(f"sluice-{pid}" in parameters and "--no-pci" in parameters, f"parameters: {parameters}")
            text = telemetry.ask("/help,/sluice/lanes")
            check("counters" in json.dumps(text), f"help: {text}")


def lanes_are_counted():
    with Runtime() as runtime, runtime.broker() as broker:
        path = runtime.folder(broker.pids()["sluice-dataplane"]) / "dpdk_telemetry.v2"
        broker.ctl("topics", "create", "seen", "--partitions", "1")
        lane = broker.ctl("partitions", "seen")["partitions"][0]["lane"]
        run(["kcat", "-b", broker.bootstrap, "-P", "-t", "seen", "-X", "acks=all"],
            input=b"".join(b"%d\n" % i for i in range(1234)))
        with Telemetry(path) as telemetry, Telemetry(path) as second:
            check(telemetry.ask("/sluice/lanes") == list(range(LANES)), "the list of lanes")
            own, other = telemetry.ask(f"/sluice/lanes,{lane}"), second.ask(f"/sluice/lanes,{1 - lane}")
            check(own["messages_in"] == 1234 and other["messages_in"] == 0,
                  f"messages_in: {own['messages_in']}, {other['messages_in']}")
            check(own["requests_produce"] > 0 and own["tsc_hz"] > 0, f"counters: {own}")
            # Both ways to the counters have the same names.
            names = {name for name, labels in broker.metrics()
                     if name.startswith("sluice_lane_") and "lane=" in labels}
            check({f"sluice_lane_{n}" for n in own} ==
                  {n[:-6] if n.endswith("_total") else n for n in names}, f"names: {sorted(own)}")
            for bad in ("2", "-1", "x", "0x", " 0", "0,1", "99999999999999999999"):
                answer = telemetry.ask(f"/sluice/lanes,{bad}")
                check(not answer, f"lane {bad!r}: {answer}")
            check(telemetry.ask("/sluice/lanes") == list(range(LANES)), "it answers no more")


def stopping_waits_for_nobody_and_leaves_nothing():
    with Runtime() as runtime:
        with runtime.broker(1) as broker:
            pid = broker.pids()["sluice-dataplane"]
            check(runtime.folders() == [f"sluice-{pid}"], f"folders: {runtime.folders()}")
            watcher = Telemetry(runtime.folder(pid) / "dpdk_telemetry.v2")
            watcher.ask("/sluice/lanes,0")
        # Stopped, with the watcher's connection open.
        check(runtime.folders() == [], f"left behind: {runtime.folders()}")
        watcher.socket.close()


def folders_of_the_killed_are_removed():
    with Runtime() as runtime, runtime.broker(1) as broker:
        (runtime.path / "dpdk" / "sluice-1").mkdir()  # of a process that lives
        (runtime.path / "dpdk" / "sluice-x").mkdir()  # of nobody we know
        first = broker.kill("sluice-dataplane")
        broker.wait_restarted("sluice-dataplane", first)
        second = broker.pids()["sluice-dataplane"]
        wait_for("the folder to go", lambda: not runtime.folder(first).exists(), 10)
        wait_for("its own folder", lambda: runtime.folder(second).exists(), 10)
        check({"sluice-1", "sluice-x"} <= set(runtime.folders()), f"folders: {runtime.folders()}")


main(dpdk_answers, lanes_are_counted, stopping_waits_for_nobody_and_leaves_nothing,
     folders_of_the_killed_are_removed)
