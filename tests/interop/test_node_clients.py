#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 600
"""kafkajs and @platformatic/kafka on Node.js, both pinned in node/package.json: admin, produce, group
consume with commits, rebalance, offsets, describe, and the errors that clients have to see.

@platformatic/kafka stays at 1.35.0, the newest that works on Node.js 20: every 2.x release imports there
and then fails at its first call, for want of Promise.withResolvers (Node.js 22)."""

import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
from sluice import BUILD, Broker, main, need, run, skip  # noqa: E402

SOURCE = pathlib.Path(__file__).parent / "node"
FOLDER = BUILD / "interop" / "node"
LANES = 2
# What npm calls its errors when there is no way to the registry, or the registry does not serve.
UNREACHABLE = re.compile(r"npm (?:ERR!|error) code (?:E(?:NOTFOUND|AI_AGAIN|CONN\w+|TIMEDOUT|HOSTUNREACH|"
                         r"NETUNREACH|PROTO|40[137]|429|5\d\d)|ERR_SOCKET_TIMEOUT|"
                         r"FETCH_ERROR|\w*CERT\w*)\b")


def install():
    """The scripts and both clients into the build folder; skips the test where npm has no registry."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = (SOURCE / "package-lock.json").read_bytes()
    installed = FOLDER / "installed"
    for path in SOURCE.iterdir():
        if path.is_file():
            shutil.copy(path, FOLDER / path.name)
    if installed.exists() and installed.read_bytes() == wanted:
        return
    command = ["npm", "ci", "--omit-lockfile-registry-resolved", "--no-audit", "--no-fund",
               "--ignore-scripts", "--fetch-retries=2", "--fetch-retry-mintimeout=1000",
               "--fetch-timeout=30000"]
    try:
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=240)
    except subprocess.TimeoutExpired:
        skip("npm cannot fetch the clients: no end after 240 s")
    if done.returncode != 0:
        found = UNREACHABLE.search(done.stderr)
        if found:
            skip(f"npm cannot fetch the clients: {found[0]}")
        sys.exit(f"npm ci: status {done.returncode}\n{done.stdout}{done.stderr}")
    installed.write_bytes(wanted)


def client(script):
    with Broker(lanes=LANES) as broker:
        out = run(["node", script, broker.bootstrap, str(LANES)], cwd=FOLDER, timeout=240)
        print(out.decode(), end="")


def kafkajs():
    client("kafkajs.mjs")


def kafkajs_transactions():
    client("kafkajs_transactions.mjs")


def platformatic():
    client("platformatic.mjs")


def platformatic_transactions():
    client("platformatic_transactions.mjs")


need("node")
need("npm")
install()
main(kafkajs, kafkajs_transactions, platformatic, platformatic_transactions)
