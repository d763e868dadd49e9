# SPDX-License-Identifier: Apache-2.0
"""The servers that are compared, each with a folder and ports of its own: Sluice, Apache Kafka as one KRaft
node, NATS with JetStream.  All are context managers; a peer that cannot be had raises Missing."""

import base64
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid

import machine
import scenarios
from kafka_java import classpath, kafka
from sluice import BUILD, Failed, Skipped, free_ports, wait_for

NATS_VERSION = "v2.15.2"
NATS_SYNC_ALWAYS = (2, 10)  # the first version that knows sync_interval: always
START_TIMEOUT_S = 60
# What Kafka's own start script gives the JVM.
JAVA = ["java", "-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
        "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true"]


class Missing(Exception):
    """The peer cannot be had here; says why."""


class Server:
    """A process in a folder on the disk, ended with the block that it was started for."""

    name = ""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=machine.disk_folder()))
        self.process = None
        self.port = 0

    def spawn(self, command):
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log)
        try:
            wait_for(f"{self.name} to listen", self.is_listening, timeout=START_TIMEOUT_S, interval=0.1)
        except BaseException:
            self.__exit__()
            raise

    def is_listening(self):
        if self.process.poll() is not None:
            raise SystemExit(f"{self.name} ended at start:\n{(self.folder / 'server.log').read_text()[-3000:]}")
        socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        return True

    def server_pids(self):
        return machine.tree_of(self.process.pid)

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Sluice(scenarios.BenchBroker):
    """flush=lazy is a topic's choice, so one broker serves both rows."""

    name = "sluice"
    version = "this tree"
    lazy = ("--acks", "1", "--topic-config", "flush=lazy")
    durable = ("--acks", "all", "--topic-config", "flush=ack")

    def server_pids(self):
        return machine.tree_of(self.process.pid)


class Kafka(Server):
    """Defaults of config/server.properties but for names, ports, folder and replication factors."""

    name = "kafka"
    lazy = ("--acks", "1")
    durable = ("--acks", "all", "--topic-config", "flush.messages=1")

    def __init__(self):
        try:
            self.classpath = classpath()
        except Skipped as end:
            raise Missing(end.reason) from None
        super().__init__()
        self.version = re.search(r"/kafka_2\.13-([\d.]+)\.jar", self.classpath)[1]

    def __enter__(self):
        self.port = free_ports(2)
        config = self.folder / "server.properties"
        config.write_text("\n".join([
            "process.roles=broker,controller", "node.id=1",
            f"listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.port + 1}",
            f"controller.quorum.bootstrap.servers=127.0.0.1:{self.port + 1}",
            "controller.listener.names=CONTROLLER", f"log.dirs={self.folder / 'log'}",
            "num.network.threads=3", "num.io.threads=8", "socket.send.buffer.bytes=102400",
            "socket.receive.buffer.bytes=102400", "offsets.topic.replication.factor=1",
            "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1",
            "log.segment.delete.delay.ms=0", "file.delete.delay.ms=0"]) + "\n")
        name = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        done = subprocess.run(["java", "-cp", self.classpath, "kafka.tools.StorageTool", "format", "-t", name, "-c",
                               str(config), "--standalone"], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise Failed(f"kafka: {done.stdout}{done.stderr}")
        self.spawn([*JAVA, "-cp", self.classpath, "kafka.Kafka", config])
        return self

    def drop(self, topic):
        kafka("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", self.bootstrap, "--delete", "--topic",
              topic)


def nats_program():
    """A pinned recent version built by Go, else what is installed.  Return: path, version (x, y, z)."""
    folder = BUILD / "bench-peers"
    built = folder / "nats-server"
    why = "Go is not installed"
    if not built.exists() and shutil.which("go"):
        done = subprocess.run(["go", "install", f"github.com/nats-io/nats-server/v2@{NATS_VERSION}"],
                              env={**os.environ, "GOBIN": str(folder), "GOFLAGS": "-mod=mod"},
                              capture_output=True, text=True, timeout=900, check=False)
        why = f"Go cannot build {NATS_VERSION}: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
    program = str(built) if built.exists() else shutil.which("nats-server")
    if not program:
        raise Missing(f"no nats-server is installed, and {why}")
    text = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    return program, tuple(int(word) for word in re.findall(r"\d+", text)[:3])


class Nats(Server):
    """When JetStream syncs is the server's choice, so each row has a server of its own."""

    def __init__(self, sync):
        program, version = nats_program()
        if sync == "always" and version < NATS_SYNC_ALWAYS:
            raise Missing(f"nats-server {'.'.join(map(str, version))} does not know sync_interval: always")
        self.name = f"nats-{'durable' if sync == 'always' else 'lazy'}"
        super().__init__()
        self.program, self.version, self.sync = program, ".".join(map(str, version)), sync

    def __enter__(self):
        self.port = free_ports(1)
        config = self.folder / "nats.conf"
        config.write_text(f'listen: "127.0.0.1:{self.port}"\nmax_payload: 8MB\n'
                          f'jetstream {{ store_dir: "{self.folder}", sync_interval: "{self.sync}" }}\n')
        self.spawn([self.program, "-c", config])
        return self
