#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""A distributed Kafka Connect worker copies a file through a topic into another, with a restart in between; its
topics for configs, offsets and status are made by itself, compacted."""

import contextlib
import json
import pathlib
import sys
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
from kafka_java import TOOLS, compiled, kafka, program  # noqa: E402
from sluice import Broker, check, free_ports, main, wait_for  # noqa: E402

compiled()
LINES = 20000
FILE = "org.apache.kafka.connect.file.FileStream"


class Worker:
    def __init__(self, broker):
        self.broker = broker
        self.url = f"http://127.0.0.1:{free_ports(1)}"
        self.log = broker.data / "connect.log"
        self.properties = broker.data / "connect.properties"
        settings = {
            "bootstrap.servers": broker.bootstrap, "group.id": "connect", "listeners": self.url,
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.storage.StringConverter",
            "offset.flush.interval.ms": "500", "scheduled.rebalance.max.delay.ms": "1000"}
        for kind in ("offset", "config", "status"):
            settings[f"{kind}.storage.topic"] = f"connect-{kind}"
            settings[f"{kind}.storage.replication.factor"] = "1"
        self.properties.write_text("".join(f"{k}={v}\n" for k, v in settings.items()))

    @contextlib.contextmanager
    def run(self):
        began = time.monotonic()
        with program("org.apache.kafka.connect.cli.ConnectDistributed", self.properties, log=self.log) as process:
            def ready():
                check(process.poll() is None, f"the worker ended: {self.log.read_text()[-3000:]}")
                return self.ask("/connectors") is not None
            wait_for("the REST port", ready, timeout=90, interval=0.2)
            print(f"  worker ready after {time.monotonic() - began:.1f} s", flush=True)
            yield process

    def ask(self, path, body=None, method="GET"):
        request = urllib.request.Request(self.url + path, method=method,
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    def states(self, name):
        found = self.ask(f"/connectors/{name}/status")
        return [found["connector"]["state"]] + [task["state"] for task in found["tasks"]]

    def await_running(self, *names):
        for name in names:
            wait_for(f"{name} to run", lambda: self.states(name) == ["RUNNING", "RUNNING"], timeout=60,
                     interval=0.2)


def lines(first, last):
    return "".join(f"{i},row {i},{i * i % 997}\n" for i in range(first, last))


def copy():
    with Broker(lanes=2) as broker:
        server = ["--bootstrap-server", broker.bootstrap]
        kafka(TOOLS + "TopicCommand", *server, "--create", "--topic", "rows", "--partitions", "1")
        worker = Worker(broker)
        source, sink = broker.data / "in.csv", broker.data / "out.csv"
        source.write_text(lines(0, LINES // 2))
        with worker.run() as process:
            worker.ask("/connectors", {"name": "source", "config": {
                "connector.class": FILE + "SourceConnector", "tasks.max": "1", "file": str(source),
                "topic": "rows"}}, "POST")
            worker.ask("/connectors", {"name": "sink", "config": {
                "connector.class": FILE + "SinkConnector", "tasks.max": "1", "file": str(sink),
                "topics": "rows"}}, "POST")
            worker.await_running("source", "sink")
            wait_for("the first half", lambda: sink.exists() and sink.read_text() == source.read_text(), timeout=60)
            process.terminate()
            check(process.wait(60) == 143, f"the worker ended with {process.returncode}")
        with open(source, "a") as out:
            out.write(lines(LINES // 2, LINES))
        with worker.run():
            check(sorted(worker.ask("/connectors")) == ["sink", "source"], "the connectors are gone")
            worker.await_running("source", "sink")
            wait_for("the second half", lambda: sink.read_text() == source.read_text(), timeout=60)
            print(f"  {LINES} lines alike")
            worker.ask("/connectors/source", method="DELETE")
            wait_for("the connector to be gone", lambda: worker.ask("/connectors") == ["sink"], interval=0.2)
        for kind, partitions in (("offset", 25), ("config", 1), ("status", 5)):
            text = kafka(TOOLS + "TopicCommand", *server, "--describe", "--topic", f"connect-{kind}")
            check(f"PartitionCount: {partitions}\t" in text and "cleanup.policy=compact" in text, text)


main(copy)
