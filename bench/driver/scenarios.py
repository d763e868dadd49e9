# SPDX-License-Identifier: Apache-2.0
"""How one profile is measured once: against a broker of the round, or with one of its own where the
profile is about starting, stopping or being idle."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

import machine
from machine import BUILD, MIB, Failed, Sample
from profiles import BATCH_64_KIB
from sluice import Broker, run, wait_for

TAIL_BYTES = 512 * MIB   # as the sendfile limit's file: more than the last level cache
COLD_BYTES = 2048 * MIB
IDLE_SECONDS = 5
DROP_TIMEOUT_S = 120
LOAD_GRACE_S = 120       # creating 10,000 partitions takes its time


# Profiles with retention want it to keep up with them.
STEADY_SETTINGS = {"log.retention.check.interval.ms": "500"}


def broker_settings(hot_bytes, more):
    """Topics leave the disk at once, or a long run would fill it; the hot tier holds what is produced right
    before it is fetched, and is small enough to go round several times in one profile."""
    settings = {"log.segment.delete.delay.ms": "0", **more}
    if "log.hot.bytes" in run([BUILD / "bin" / "sluice", "config-doc"]).decode():
        settings["log.hot.bytes"] = str(hot_bytes)
    return settings


class BenchBroker(Broker):
    """One lane, its data on a real disk, topics that are gone when they are dropped."""

    hot_bytes = 2048 * MIB

    def __init__(self, hot_bytes=None, settings=STEADY_SETTINGS):
        self.folder = tempfile.mkdtemp(prefix="broker-", dir=machine.disk_folder())
        self.hot_bytes = hot_bytes or self.hot_bytes
        super().__init__(lanes=1, settings=broker_settings(self.hot_bytes, settings), data=self.folder)
        self.topics = 0

    def warm(self):
        """Goes once round the hot tier: a first touch of a page costs more than what is measured, and happens
        once in a broker's life."""
        with self.topic() as topic:
            fill(self, topic, self.hot_bytes * 5 // 4, acks=1)

    def __enter__(self):
        try:
            return super().__enter__()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise

    def __exit__(self, *what):
        try:
            super().__exit__(*what)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def new_topic(self):
        self.topics += 1
        return f"bench-{self.topics}"

    def drop(self, topic):
        """Deletes the topic and waits until its folders are gone: unlinking gigabytes is work that the next
        profile must not pay for."""
        self.ctl("topics", "delete", topic)
        wait_for("the topic's folders to be gone",
                 lambda: not list((self.data / "log").glob(f"{topic}-*")), timeout=DROP_TIMEOUT_S)

    @contextlib.contextmanager
    def topic(self):
        """The name of a topic that is gone afterwards, however its profile ended."""
        name = self.new_topic()
        try:
            yield name
        except BaseException:
            with contextlib.suppress(Failed, subprocess.TimeoutExpired):
                self.drop(name)
            raise
        self.drop(name)

    def server_pids(self):
        return list(self.pids().values())


def load_command(bootstrap, arguments, topic):
    return [str(BUILD / "bin" / "sluice-load"), *map(str, arguments), "--bootstrap", bootstrap, "--topic", topic,
            "--json", "--quiet"]


def start_load(bootstrap, arguments, topic):
    """sluice-load on the cpus that are not the lane's, as the client side of the limits is."""
    cpus = machine.client_cpus()
    return subprocess.Popen(load_command(bootstrap, arguments, topic), stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, preexec_fn=lambda: os.sched_setaffinity(0, cpus))


def finish_load(process, timeout, may_err=False):
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Failed(f"{' '.join(process.args)}: not done after {timeout:.0f} s") from None
    if process.returncode != 0:
        raise Failed(f"{' '.join(process.args)}: status {process.returncode}\n{err.decode()[-2000:]}")
    row = json.loads(out)
    if row["errors"] and not may_err:
        raise Failed(f"{' '.join(process.args)}: {row['errors']} errors")
    return row


def measure_load(broker, arguments, topic, seconds, warmup):
    """Runs sluice-load for a set time and says what the servers' processes used meanwhile."""
    timed = [*arguments, "--duration", seconds, "--warmup", warmup]
    busy, stolen, began = machine.busy_seconds(), machine.stolen_seconds(), time.monotonic()
    own = machine.cpu_seconds(broker.server_pids())
    process = start_load(broker.bootstrap, timed, topic)
    sample = Sample(broker.server_pids(), warmup, seconds)
    row = finish_load(process, warmup + seconds + LOAD_GRACE_S)
    row["server_cores"] = sample.take()
    own = machine.cpu_seconds(broker.server_pids()) - own + row["cpu_user_s"] + row["cpu_system_s"]
    took = time.monotonic() - began
    row["others_cores"] = max(0.0, (machine.busy_seconds() - busy - own) / took)
    row["stolen_percent"] = 100 * (machine.stolen_seconds() - stolen) / (os.cpu_count() * took)
    return row


def fill(broker, topic, total_bytes, acks="all"):
    """Writes a topic of 1 KiB records in one partition, flat out."""
    arguments = ["produce", "--record-bytes", 1024, "--batch-bytes", BATCH_64_KIB, "--acks", acks, "--connections", 4,
                 "--partitions", 1, "--records", total_bytes // 1024]
    finish_load(start_load(broker.bootstrap, arguments, topic), LOAD_GRACE_S)


def plain(context, profile):
    with context.broker.topic() as topic:
        return measure_load(context.broker, profile.load, topic, context.seconds,
                            max(context.warmup, profile.warmup_s))


def many_partitions(context, profile):
    """On a broker whose tier has the size it has by default, for what is written to each partition at once is
    its share of the tier, and that looks after retention as often as by default."""
    return plain(dataclasses.replace(context, broker=context.roomy()), profile)


def tail_fetch(context, profile):
    """Reads what was written just before, again and again."""
    with context.broker.topic() as topic:
        fill(context.broker, topic, TAIL_BYTES)
        return measure_load(context.broker, profile.load, topic, context.seconds, context.warmup)


def forget_pages(folder):
    """Takes the files below @folder out of the page cache.  Unlike drop_caches it hits nobody else's."""
    for path in pathlib.Path(folder).rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def cold_fetch(context, profile):
    """A broker that has never seen the data reads it from the disk, once, from its beginning."""
    with BenchBroker() as broker:
        topic = broker.new_topic()
        fill(broker, topic, COLD_BYTES)
        broker.stop()
        forget_pages(broker.data / "log")
        broker.start()
        busy = machine.cpu_seconds(broker.server_pids())
        records = COLD_BYTES // 1024
        row = finish_load(start_load(broker.bootstrap, [*profile.load, "--records", records], topic), LOAD_GRACE_S)
        row["server_cores"] = (machine.cpu_seconds(broker.server_pids()) - busy) / row["seconds"]
        return row


def beside_reader(context, profile):
    """Tail latency while somebody reads gigabytes of old data from the same broker."""
    seconds = context.seconds + context.warmup + 2
    with context.broker.topic() as old:
        fill(context.broker, old, COLD_BYTES)
        reader = start_load(context.broker.bootstrap,
                            ["consume", "--loop", "--duration", seconds, "--warmup", 0], old)
        try:
            row = plain(context, profile)
        finally:
            caught_up = finish_load(reader, LOAD_GRACE_S)
    row["reader_mb_s"] = caught_up["mb_s"]
    return row


def idle_memory(_context, _profile):
    with BenchBroker() as broker:
        time.sleep(1)
        pids = broker.pids()
        parts = {name: machine.memory_bytes([pid]) / MIB for name, pid in pids.items()}
    return {"mib": sum(parts.values()), "parts": parts}


def idle_cpu(_context, _profile):
    with BenchBroker() as broker:
        # The thread that touches the hot tier's memory is no part of idleness, and its time is gone with it.
        wait_for("the hot tier", lambda: b"populate hot tier" in pathlib.Path(broker.log_path).read_bytes(), timeout=30)
        time.sleep(1)
        cores = Sample(broker.server_pids(), 0, IDLE_SECONDS).take()
    return {"percent": cores * 100}


def ask_metadata(port):
    """One Metadata request (version 1, all topics); whether a broker is in the answer."""
    request = struct.pack(">hhihi", 3, 1, 1, -1, -1)
    with socket.create_connection(("127.0.0.1", port), timeout=1) as s:
        s.sendall(struct.pack(">i", len(request)) + request)
        answer = s.makefile("rb").read(12)
    return len(answer) == 12 and struct.unpack(">iii", answer)[2] >= 1


def start_time(_context, _profile):
    """From fork to the first Metadata answer that names a broker, on a data folder that exists."""
    broker = BenchBroker()
    with broker:
        broker.stop()
        began = time.monotonic()
        with open(broker.log_path, "ab") as log:
            broker.process = subprocess.Popen(broker.command(), stdout=subprocess.PIPE, stderr=log)
        wait_for("the first answer", lambda: ask_metadata(broker.port), timeout=30, interval=0.0005)
        took = time.monotonic() - began
        broker.log = open(broker.log_path, "ab")  # stop() closes it
        wait_for("the ready line", lambda: b"ready on" in broker.process.stdout.readline())
    return {"ms": took * 1000}
