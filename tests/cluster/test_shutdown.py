#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""Stopping and starting: every way to stop a broker under load ends with status 0, loses no acknowledged
record and no committed offset; what stops a start says why."""

import collections
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "interop" / "support"))
from sluice import BUILD, Broker, check, free_ports, main, skip, wait_for  # noqa: E402

try:
    from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
except ImportError:
    skip("python3-confluent-kafka is not installed")

PARTITIONS = 3
STOP_S_MAX = 10.0
QUICK = {  # and no word about every lost connection
         "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 50,
         "socket.timeout.ms": 5000, "topic.metadata.refresh.interval.ms": 1000, "log_level": 0}


class Producing(threading.Thread):
    """Numbered records with acks=all until told to stop; knows which were acknowledged."""

    def __init__(self, broker):
        super().__init__()
        self.enough = threading.Event()
        self.acked = {}  # number -> (partition, offset)
        self.failed = 0
        self.producer = Producer({**QUICK, "bootstrap.servers": broker.bootstrap, "acks": "all",
                                  "linger.ms": 2, "retries": 1000000, "message.timeout.ms": 120000,
                                  "queue.buffering.max.messages": 20000})

    def on_delivery(self, error, message):
        if error:
            self.failed += 1
        else:
            self.acked[int(message.value())] = (message.partition(), message.offset())

    def run(self):
        number = 0
        while not self.enough.is_set():
            try:
                self.producer.produce("load", str(number), partition=number % PARTITIONS,
                                      on_delivery=self.on_delivery)
                number += 1
            except BufferError:
                self.producer.poll(0.05)
            self.producer.poll(0)
            if number % 50 == 0:
                time.sleep(0.005)  # a bounded load: about 10,000 records a second
        self.producer.flush(60)


class Consuming(threading.Thread):
    """A member of a group that commits what it has read; knows what was committed for certain."""

    def __init__(self, broker):
        super().__init__()
        self.enough = threading.Event()
        self.committed = {}  # partition -> offset
        self.problem = None
        self.consumer = Consumer({**QUICK, "bootstrap.servers": broker.bootstrap, "group.id": "readers",
                                  "enable.auto.commit": False, "auto.offset.reset": "earliest",
                                  "session.timeout.ms": 6000, "heartbeat.interval.ms": 500})
        self.consumer.subscribe(["load"])

    def run(self):
        while not self.enough.is_set():
            batch = [m for m in self.consumer.consume(500, timeout=0.2) if not m.error()]
            if not batch:
                continue
            try:
                for tp in self.consumer.commit(asynchronous=False):
                    if tp.error is None and tp.offset >= 0:
                        if tp.offset < self.committed.get(tp.partition, 0):
                            self.problem = f"partition {tp.partition} went back to {tp.offset}"
                        self.committed[tp.partition] = tp.offset
            except KafkaException:
                continue  # the broker is away, or the group is rebalancing
        self.consumer.close()


def committed_now(broker):
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "readers",
                         "enable.auto.commit": False})

    def ask():
        try:
            return consumer.committed([TopicPartition("load", p) for p in range(PARTITIONS)], timeout=5)
        except KafkaException:
            return None

    found = {tp.partition: tp.offset for tp in wait_for("committed offsets", ask)}
    consumer.close()
    return found


def read_all(broker):
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "checker",
                         "enable.auto.commit": False})
    ends = {p: consumer.get_watermark_offsets(TopicPartition("load", p), timeout=30)[1]
            for p in range(PARTITIONS)}
    found = collections.defaultdict(dict)
    consumer.assign([TopicPartition("load", p, 0) for p in range(PARTITIONS)])
    deadline = time.monotonic() + 60
    while any(max(found[p], default=-1) < ends[p] - 1 for p in ends):
        check(time.monotonic() < deadline, "reading does not end")
        for message in consumer.consume(10000, timeout=1.0):
            check(not message.error(), f"consume: {message.error()}")
            found[message.partition()][message.offset()] = int(message.value())
    consumer.close()
    return found


def signal_launcher(number):
    return lambda broker: broker.process.send_signal(number)


def ctrl_c(broker):
    os.killpg(broker.process.pid, signal.SIGINT)


def signal_all(broker):
    """As systemd does with all processes of a unit."""
    for pid in [*broker.pids().values(), broker.process.pid]:
        os.kill(pid, signal.SIGTERM)


def twice(broker):
    broker.process.send_signal(signal.SIGINT)
    time.sleep(0.02)
    broker.process.send_signal(signal.SIGINT)


WAYS = {"SIGTERM": signal_launcher(signal.SIGTERM), "SIGINT": signal_launcher(signal.SIGINT),
        "Ctrl-C": ctrl_c, "SIGTERM to all": signal_all, "SIGINT twice": twice}


def wait_ended(broker, how):
    """The exit of the launcher and of what it started."""
    pids = broker.pids()
    began = time.monotonic()
    WAYS[how](broker)
    try:
        status = broker.process.wait(30)
    except subprocess.TimeoutExpired:
        check(False, broker.tail(f"{how}: sluice did not end"))
    seconds = time.monotonic() - began
    broker.process = None
    broker.log.close()
    check(status == 0, broker.tail(f"{how}: exit status {status}"))
    check(seconds < STOP_S_MAX, f"{how}: stopping took {seconds:.1f} s")
    left = [name for name, pid in pids.items() if os.path.exists(f"/proc/{pid}")]
    check(not left, f"{how}: left running: {left}")
    return seconds


def stops_under_load_without_loss():
    # A session of its own, so that a whole process group can be signalled as a terminal does it.
    with Broker(options={"start_new_session": True}) as broker:
        broker.ctl("topics", "create", "load", "--partitions", str(PARTITIONS))
        producing, consuming = Producing(broker), Consuming(broker)
        producing.start()
        consuming.start()
        took = {}
        try:
            for how in WAYS:
                acked = len(producing.acked)
                offsets = dict(consuming.committed)
                wait_for("load", lambda: len(producing.acked) > acked + 500
                         and any(o > offsets.get(p, 0) for p, o in consuming.committed.items()))
                took[how] = wait_ended(broker, how)
                check("closed all logs clean=yes" in broker.log_path.read_text(),
                      broker.tail(f"{how}: the logs were not closed"))
                before = dict(consuming.committed)
                broker.start()
                after = committed_now(broker)
                lost = {p: (o, after[p]) for p, o in before.items() if after[p] < o}
                check(not lost, f"{how}: committed offsets were lost: {lost}")
        finally:
            producing.enough.set()
            consuming.enough.set()
            producing.join()
            consuming.join()
        check(consuming.problem is None, consuming.problem)
        check(producing.failed == 0, f"{producing.failed} sends failed")
        found = read_all(broker)
        lost = [n for n, (p, o) in producing.acked.items() if found[p].get(o) != n]
        check(not lost, f"{len(lost)} of {len(producing.acked)} acknowledged records are lost or moved")
        log = broker.log_path.read_text()
        check(log.count("valid=yes") == len(WAYS), "a start after a clean stop did not find its marker")
        print(f"  acknowledged {len(producing.acked)}, stops " +
              ", ".join(f"{how} {s * 1000:.0f} ms" for how, s in took.items()))


def children_end_with_the_launcher():
    with Broker() as broker:
        broker.ctl("topics", "create", "kept", "--partitions", "1")
        pids = broker.pids()
        check(len(pids) == 2, f"children: {pids}")
        broker.process.kill()
        broker.process.wait()
        broker.log.close()
        wait_for("the children to end", lambda: not any(os.path.exists(f"/proc/{p}")
                                                        for p in pids.values()), 10)
        broker.start()
        names = [t["name"] for t in broker.ctl("topics", "list")["topics"]]
        check(names == ["kept"], f"topics after the restart: {names}")


def stops_while_it_starts():
    """Whenever the signal comes, nothing is left behind and the next start works."""
    broker = Broker(settings={"log.level": "info"})
    statuses = {}
    try:
        for delay_ms in (0, 3, 10, 25, 50, 80, 120, 160, 200, 250, 300, 400):
            process = subprocess.Popen(broker.command(), stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT)
            time.sleep(delay_ms / 1000)
            process.send_signal(signal.SIGTERM if delay_ms % 20 else signal.SIGINT)
            text = process.communicate(timeout=30)[0].decode()
            statuses[delay_ms] = process.returncode
            if "start sluice-" in text:
                check(process.returncode == 0,
                      f"stopped after {delay_ms} ms: status {process.returncode}\n{text}")
                check(" err " not in text, f"stopped after {delay_ms} ms:\n{text}")
                check("host: stop signal" not in text or "closed all logs clean=yes" in text,
                      f"stopped after {delay_ms} ms: the logs were not closed\n{text}")
            else:  # before the launcher has done anything, the signal's own action is as good
                check(process.returncode in (0, -signal.SIGTERM, -signal.SIGINT),
                      f"stopped after {delay_ms} ms: status {process.returncode}\n{text}")
        with broker:
            broker.ctl("topics", "create", "works", "--partitions", "1")
    finally:
        subprocess.run(["rm", "-rf", broker.data], check=True)
    check(0 in statuses.values(), f"no stop was in time: {statuses}")


def refused(arguments, *patterns, config=None):
    """`sluice dev` must end by itself with a status above 0 and say what is matched by each pattern."""
    with tempfile.TemporaryDirectory(prefix="sluice-test-") as folder:
        command = [str(BUILD / "bin" / "sluice"), "dev"]
        if config is not None:
            path = pathlib.Path(folder) / "sluice.conf"
            path.write_bytes(config.encode())
            command += ["--config", str(path)]
        if "--data" not in arguments:
            command += ["--data", f"{folder}/data"]
        try:
            done = subprocess.run(command + [str(a) for a in arguments], capture_output=True, timeout=20)
        except subprocess.TimeoutExpired:
            check(False, f"{arguments} {config!r}: does not end")
        text = done.stderr.decode() + done.stdout.decode()
        what = f"{arguments} {config!r}: status {done.returncode}\n{text}"
        check(done.returncode > 0, what)
        check("ready on" not in text, what)
        for pattern in patterns:
            check(re.search(pattern, text), f"no {pattern!r} in: {what}")


def second_start_on_the_same_folder_or_port_is_refused():
    with Broker() as broker:
        ports = free_ports(3)
        other = ["--set", f"http.listen=127.0.0.1:{ports + 2}"]
        before = broker.ctl("status")
        in_use = r"in use by another process"
        refused(["--data", broker.data, "--port", ports, *other], in_use)
        refused(["--data", broker.data, "--port", broker.port, *other], in_use)
        # The whole command again, as somebody types who forgot that it runs already.
        refused(broker.command()[2:], in_use)
        refused(["--port", broker.port, "--lanes", 1, *other],
                rf"port {broker.port}: Address already in use")
        refused(["--port", broker.port, "--lanes", 2, *other],
                rf"port {broker.port}: Address already in use")
        refused(["--port", ports, "--lanes", 1, "--set", f"lane.port.base={broker.port + 1}", *other],
                rf"port {broker.port + 1}: Address already in use")
        refused(["--port", ports, "--set", f"http.listen=127.0.0.1:{broker.http}"],
                rf"{broker.http}.*Address already in use")
        after = broker.ctl("status")
        check(after["pid"] == before["pid"] and after["health"]["state"] == "ok" and
              after["data_plane"]["pid"] == before["data_plane"]["pid"] and
              after["data_plane"]["reattachments"] == 0, f"the first broker suffered: {after}")
        with socket.create_connection(("127.0.0.1", broker.port), 5):
            pass


def what_dpdk_refuses_ends_the_start_and_loses_nothing():
    """DPDK comes up beside everything else: by the time it refuses, the logs may be open."""
    lanes = 17  # their rings do not fit in 16 MiB
    settings = {"hugepages": "never", "lane.buffer.bytes": "8388608", "socket.request.max.bytes": "4194304"}

    def ends():
        consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "checker"})
        found = [consumer.get_watermark_offsets(TopicPartition("kept", p), timeout=30)[1] for p in range(lanes)]
        consumer.close()
        return found

    with Broker(lanes=lanes, settings=settings) as broker:
        broker.ctl("topics", "create", "kept", "--partitions", str(lanes))
        producer = Producer({**QUICK, "bootstrap.servers": broker.bootstrap, "acks": "all"})
        for number in range(100 * lanes):
            producer.produce("kept", str(number), partition=number % lanes)
        check(producer.flush(60) == 0 and ends() == [100] * lanes, f"{ends()}")
        broker.stop()
        refused([*broker.command()[2:], "--set", "hugepages.bytes=16777216"],
                rf"create the rings of {lanes} lanes: .*; fix: more hugepages\.bytes", "exit status 1")
        broker.start()
        check(ends() == [100] * lanes, f"{ends()}")


def bad_configuration_names_file_line_and_reason():
    at = r"sluice\.conf:%d: "
    refused([], at % 3 + r"num\.partitons: unknown key; did you mean num\.partitions",
            config="# comment\n\nnum.partitons = 3\n")
    refused([], at % 1 + r'num\.partitions = "0": must be an integer from 1', config="num.partitions=0\n")
    refused([], at % 2 + r'log\.level = "loud": must be one of', config="num.partitions=1\nlog.level=loud")
    refused([], at % 1 + r'steer = "perhaps": must be one of', config="steer = perhaps\n")
    refused([], at % 1 + r'auto\.create\.topics\.enable = "si": must be', config="auto.create.topics.enable=si")
    refused([], at % 2 + r"no key|unknown key|has no", config="lane.count=1\n= 3\n")
    refused([], at % 1 + r".*has no '=' or ':'", config="lane.count\n")
    refused([], r"NUL", config="lane.count=\0\n")
    refused(["--config", "/nonexistent/sluice.conf"], r"/nonexistent/sluice\.conf: No such file")
    refused(["--config", "/"], r"/: Is a directory")


def bad_arguments_are_refused():
    refused(["--set", "lane.cont=1"], r"lane\.cont: unknown key; did you mean lane\.count")
    refused(["--set", "lane.count=abc"], r'lane\.count = "abc": must be an integer from 0 to 64')
    refused(["--set", "lane.count"], r"--set lane\.count: not KEY=VALUE")
    refused(["--set", "=1"], r"--set =1: not KEY=VALUE")
    refused(["--lanes", "65"], r'lane\.count = "65": must be an integer')
    refused(["--lanes", "1.5"], r'lane\.count = "1\.5": must be an integer')
    refused(["--port", "99999"], r'port: "99999" is not 1\.\.65535')
    refused(["--port", "0"], r'port: "0" is not 1\.\.65535')
    refused(["--port", ""], r'port: "" is not 1\.\.65535')
    refused(["--set", "listeners=SSL://127.0.0.1:1"], r"listeners")
    refused(["--set", "listeners=PLAINTEXT://"], r"listeners")
    refused(["--set", "listeners=PLAINTEXT://no-such-host.invalid:29092"], r"no-such-host\.invalid")
    refused(["--set", "lane.cpus=5000"], r"lane\.cpus: ")
    refused(["--set", "lane.cpus=1-"], r'lane\.cpus: "1-" is not a CPU list')
    refused(["--set", "http.listen=nowhere"], r"http\.listen|nowhere")
    refused(["--data", "/proc/sluice"], r"data folder /proc/sluice: ")
    refused(["--bogus"], r"usage: sluice dev")
    refused(["extra"], r"usage: sluice dev")


main(stops_under_load_without_loss, children_end_with_the_launcher, stops_while_it_starts,
     second_start_on_the_same_folder_or_port_is_refused, what_dpdk_refuses_ends_the_start_and_loses_nothing,
     bad_configuration_names_file_line_and_reason, bad_arguments_are_refused)
