# SPDX-License-Identifier: Apache-2.0
"""The current librdkafka, pinned in python/requirements.txt, beside the one that Debian has: it speaks the consumer
protocol (KIP-848) and the transactions of KIP-890."""

import pathlib
import re
import subprocess
import sys

from sluice import BUILD, check, skip

PINNED = pathlib.Path(__file__).resolve().parents[1] / "python" / "requirements.txt"


def current():
    """The folder to put into PYTHONPATH, installed first where it is not; skips the calling test, with the reason,
    where pip cannot have it."""
    folder = BUILD / "interop" / "python"
    installed = folder / "installed"
    wanted = PINNED.read_bytes()
    if installed.exists() and installed.read_bytes() == wanted:
        return folder
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:",
               "--require-hashes", "--upgrade", "--root-user-action=ignore", "--disable-pip-version-check",
               "--retries=2", "--timeout=30", "--target", str(folder), "-r", str(PINNED)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        skip("pip cannot fetch the current librdkafka: no end after 120 s")
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no word why"]
        check(not re.search("hash", done.stderr, re.I), f"not the pinned file: {done.stderr}")
        skip(f"pip cannot fetch the current librdkafka: {said[-1]}")
    installed.write_bytes(wanted)
    return folder
