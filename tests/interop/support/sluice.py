# SPDX-License-Identifier: Apache-2.0
"""What the interop and cluster tests share: a broker in a folder of its own, its processes, its
metrics, and running client programs."""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ.get("SLUICE_BUILD", ROOT / "build"))
if not BUILD.is_absolute():
    BUILD = ROOT / BUILD


class Failed(Exception):
    """A check did not hold."""


def check(condition, text):
    if not condition:
        raise Failed(text)


class Skipped(SystemExit):
    """Ends the script as skipped, or a test function of main() alone."""

    def __init__(self, reason):
        super().__init__(77)
        self.reason = reason


def skip(reason):
    print(reason, flush=True)
    raise Skipped(reason)


def need(program):
    if not shutil.which(program):
        skip(f"{program} is not installed")


def free_ports(count):
    """A run of @count free TCP ports on the loopback address."""
    for _ in range(200):
        base = random.randrange(20000, 30000)
        held = []
        try:
            for port in range(base, base + count):
                s = socket.socket()
                held.append(s)
                s.bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
        finally:
            for s in held:
                s.close()
    raise Failed("no run of free ports")


def wait_for(what, probe, timeout=30.0, interval=0.02):
    """Polls until @probe returns something true, and returns that."""
    deadline = time.monotonic() + timeout
    last = None
    while time.monotonic() < deadline:
        try:
            value = probe()
            if value:
                return value
        except (OSError, Failed, ValueError, KeyError) as error:
            last = error
        time.sleep(interval)
    raise Failed(f"timed out after {timeout:.0f} s waiting for {what}" + (f": {last}" if last else ""))


class Broker:
    """`sluice dev` with its own data folder and ports; a context manager.  @prefix is a command that runs
    it (setpriv, ip netns exec, ...), @options go to subprocess.Popen."""

    def __init__(self, lanes=1, settings=None, data=None, prefix=(), options=None):
        self.lanes = lanes
        self.prefix = list(prefix)
        self.options = options or {}
        self.temp = None
        if data is None:
            self.temp = tempfile.mkdtemp(prefix="sluice-test-")
            data = self.temp
        self.data = pathlib.Path(data)
        self.port = free_ports(lanes + 2)
        self.http = self.port + lanes + 1
        self.socket = self.data / "run" / "sluice.sock"
        # A quarter of the machine for each of many brokers would be too much.
        self.settings = {"group.initial.rebalance.delay.ms": "200",
                         "log.hot.bytes": str(256 << 20), **(settings or {})}
        self.log_path = self.data / "sluice.log"
        self.process = None

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    def command(self):
        command = self.prefix + [
            str(BUILD / "bin" / "sluice"), "dev", "--data", str(self.data), "--port", str(self.port),
            "--lanes", str(self.lanes), "--set", f"http.listen=127.0.0.1:{self.http}"]
        for key, value in self.settings.items():
            command += ["--set", f"{key}={value}"]
        return command

    def start(self, timeout=30.0):
        self.data.mkdir(parents=True, exist_ok=True)
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=self.log,
                                        **self.options)
        os.set_blocking(self.process.stdout.fileno(), False)
        seen = b""

        def ready():
            nonlocal seen
            seen += self.process.stdout.read() or b""
            if self.process.poll() is not None:
                raise SystemExit(self.tail("sluice ended at start"))
            return b"ready on" in seen

        wait_for("the broker to be ready", ready, timeout)
        return self

    def stop(self, expect_clean=True):
        if not self.process:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failed(self.tail("sluice did not stop within 30 s"))
        self.process = None
        self.log.close()
        if expect_clean:
            check(code == 0, self.tail(f"sluice stopped with status {code}"))

    def tail(self, text):
        lines = self.log_path.read_text(errors="replace").splitlines()[-40:]
        return "\n".join([text, *lines])

    def pids(self):
        """{program: pid} of the running children."""
        found = {}
        for child in children_of(self.process.pid):
            try:
                name = pathlib.Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[0]
                found[pathlib.Path(name.decode()).name] = child
            except OSError:
                continue
        return found

    def kill(self, program):
        """kill -9 of "sluice-dataplane" or "sluice-control"; returns the pid."""
        pid = wait_for(program, lambda: self.pids().get(program))
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_restarted(self, program, old_pid, timeout=30.0):
        wait_for(f"{program} to be back",
                 lambda: self.pids().get(program, old_pid) != old_pid, timeout)

    def metrics(self):
        """{(name, labels text): value} of /metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = {}
        for line in text.splitlines():
            match = re.match(r"([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)$", line)
            if match:
                found[match[1], match[2] or ""] = float(match[3])
        return found

    def metric(self, name):
        """Sum over all labels."""
        values = [v for (n, _), v in self.metrics().items() if n == name]
        check(values, f"no metric {name}")
        return sum(values)

    def ctl(self, *args, as_json=True, status=0):
        command = [str(BUILD / "bin" / "sluicectl"), "--socket", str(self.socket)]
        if as_json:
            command.append("--json")
        done = subprocess.run(command + list(args), capture_output=True, text=True, timeout=60)
        check(done.returncode == status,
              f"sluicectl {' '.join(args)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return json.loads(done.stdout) if as_json and done.stdout.strip() else done.stdout

    def memory(self, program):
        """Resident bytes of a child that are its own: without the hot tier, which is populated in the
        background, and other memory that it shares."""
        text = pathlib.Path(f"/proc/{self.pids()[program]}/status").read_text()
        return sum(int(re.search(rf"{field}:\s+(\d+) kB", text)[1]) * 1024
                   for field in ("RssAnon", "RssFile"))

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        if kind is not None:
            print(self.tail("---- broker log ----"), file=sys.stderr)
        try:
            self.stop(expect_clean=kind is None)
        finally:
            if self.process:
                self.process.kill()
                self.process.wait()
            if self.temp:
                shutil.rmtree(self.temp, ignore_errors=True)


def children_of(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(word) for word in text.split()]
    except OSError:
        return []


def run(command, timeout=120, input=None, env=None, status=0, cwd=None):
    """Runs a client program; returns its standard output (bytes)."""
    done = subprocess.run([str(c) for c in command], input=input, capture_output=True, timeout=timeout,
                          env={**os.environ, **(env or {})}, cwd=cwd)
    check(status is None or done.returncode == status,
          f"{' '.join(str(c) for c in command)}: status {done.returncode}\n"
          f"{done.stdout[-2000:].decode(errors='replace')}\n{done.stderr[-4000:].decode(errors='replace')}")
    return done.stdout


def main(*tests):
    """Runs test functions in order and reports them as TAP; exit status 1 if any failed.  One that ends in
    an unexpected way fails too, and the others still run."""
    failed = 0
    for number, test in enumerate(tests, 1):
        began = time.monotonic()
        verdict, note, text = "not ok", "", ""
        try:
            test()
            verdict = "ok"
        except Skipped as end:
            verdict, note = "ok", f" # SKIP {end.reason}"
        except Failed as error:
            text = str(error)
        except (Exception, SystemExit):
            text = traceback.format_exc()
        failed += verdict != "ok"
        print(f"{verdict} {number} - {test.__name__} ({time.monotonic() - began:.1f}s){note}")
        for line in text.splitlines():
            print(f"  {line}")
        sys.stdout.flush()
    print(f"1..{len(tests)}")
    sys.exit(1 if failed else 0)
