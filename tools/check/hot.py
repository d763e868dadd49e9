#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What files of the hot path (hot.list) may not contain: allocation, locks, stdio, floating point,
clocks and sleeping, and logging louder than debug (house style 4.6)."""
import re

import common

RULES = [
    (re.compile(r"\b(?:malloc|calloc|realloc|free|reallocarray|posix_memalign|strdup|asprintf)\s*\("),
     "allocates; use a pool or the request arena"),
    (re.compile(r"\b(?:pthread_\w+|sem_\w+|mtx_\w+|rte_spinlock_\w+|rte_rwlock_\w+)\s*\("),
     "locks or makes threads; one core owns the data"),
    (re.compile(r"\b(?:printf|fprintf|snprintf|vsnprintf|puts|fputs|fwrite|fread|fopen)\s*\("),
     "formats or does stdio"),
    (re.compile(r"\b(?:sleep|usleep|nanosleep|clock_gettime|gettimeofday|time)\s*\("),
     "asks a clock or sleeps; the lane's loop hands the time in"),
    (re.compile(r"\b(?:float|double)\b"), "is floating point"),
    (re.compile(r"\bsl_log\s*\(\s*(?:ERR|WARN|INFO)\b"), "is louder than debug"),
]


def main():
    options = common.arguments(__doc__, list={"default": None})
    path = options.list or options.root / "tools/check/hot.list"
    report = common.Report()
    for number, name in common.read_list(path):
        if not (options.root / name).is_file():
            report.add("tools/check/hot.list", number, f"{name} does not exist")
            continue
        code = common.code_only(common.read(options.root, name))
        for regex, why in RULES:
            for match in regex.finditer(code):
                word = re.sub(r"\s*\($", "", match.group(0))
                report.add(name, code.count("\n", 0, match.start()) + 1,
                           f"hot path: {word} {why}")
        for function in common.functions(code):
            if re.search(rf"\b{function.name}\s*\(", "\n".join(function.body)):
                report.add(name, function.first, f"hot path: {function.name} calls itself")
    report.finish()


if __name__ == "__main__":
    main()
