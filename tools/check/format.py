#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""clang-format 14 would change nothing; generated files are left out.

Only the first place of each file is named; clang-format-14 -i FILE mends it.
"""
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import common

BATCH = 16


def first_findings(root, names):
    """(file, line) of the first place that is not formatted, for each of the files."""
    done = subprocess.run(["clang-format-14", "--dry-run", "-Werror", *names], cwd=root,
                          capture_output=True, text=True, check=False)
    found = {}
    for match in re.finditer(r"^([^:\n]+):(\d+):\d+: error:", done.stderr, re.MULTILINE):
        found.setdefault(match.group(1), int(match.group(2)))
    if done.returncode != 0 and not found:
        found[names[0]] = 0
    return found.items()


def main():
    options = common.arguments(__doc__)
    names = [n for n in common.files(options.root, ".c", ".h") if not common.is_generated(n)]
    report = common.Report()
    batches = [names[i:i + BATCH] for i in range(0, len(names), BATCH)]
    with ThreadPoolExecutor(max_workers=2) as pool:
        for found in pool.map(lambda b: first_findings(options.root, b), batches):
            for name, line in found:
                report.add(name, line, "not formatted: run clang-format-14 -i on the file")
    report.finish()


if __name__ == "__main__":
    main()
