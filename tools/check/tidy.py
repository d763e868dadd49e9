#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the checkers, two at a time, and counts what they found; the target behind make tidy.

    tidy.py [--build DIR] [--only NAME,NAME] [--command NAME=SHELL...]

--command adds a check that needs make, such as gen-check: when it fails without naming files and
lines, the end of its output counts as one finding.
"""
import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CHECKERS = ["format", "headers", "size", "banned", "layers", "prefix", "hot", "spdx", "text"]
TAIL_LINES = 40


def commands(options):
    """(name, argv) of every check, the slow ones first."""
    # On the command line of make, a relative build folder is relative to the tree.
    build = str((ROOT / options.build).resolve())
    checks = [(name, ["/bin/sh", "-c", shell])
              for name, _, shell in (c.partition("=") for c in options.command)]
    for name in CHECKERS:
        argv = [sys.executable, str(HERE / f"{name}.py")]
        checks.append((name, argv + (["--build", build] if name == "headers" else [])))
    if options.only:
        wanted = options.only.split(",")
        unknown = set(wanted) - {name for name, _ in checks}
        if unknown:
            sys.exit(f"tidy: no such check: {' '.join(sorted(unknown))}; there are "
                     + " ".join(name for name, _ in checks))
        checks = [c for c in checks if c[0] in wanted]
    return checks


def run(check):
    """Runs one check; returns its name, its findings and the text to print."""
    name, argv = check
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", check=False)
    if done.returncode == 0:
        return name, 0, ""
    lines = done.stdout.rstrip("\n").splitlines()
    found = sum(1 for line in lines if re.match(r"\S+:\d+: ", line))
    # A checker that failed without a finding is broken itself: show the end of what it said.
    text = lines if found else lines[-TAIL_LINES:] or [f"{name}: failed without a word"]
    return name, max(found, 1), "\n".join(f"{line} [{name}]" if found else line for line in text)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--only", help="run only these checks")
    parser.add_argument("--command", action="extend", nargs="*", default=[])
    options = parser.parse_args()
    start = time.monotonic()
    checks = commands(options)
    total = 0
    failed = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for name, found, text in pool.map(run, checks):
            if found:
                total += found
                failed.append(f"{name} {found}")
                print(text, flush=True)
    seconds = time.monotonic() - start
    if total:
        print(f"tidy: {total} findings ({', '.join(failed)}) in {seconds:.1f} s")
        return 1
    print(f"tidy: {len(checks)} checks found nothing in {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
