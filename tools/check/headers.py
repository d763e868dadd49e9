#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Each header compiles alone and has a guard; include/sluice/bpf also compiles for BPF."""
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import common
from layers import Layers

FLAGS = ["-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c"]


def pkg_cflags(names, cache={}):
    """Compiler flags of pkg-config packages, as system headers."""
    key = " ".join(names)
    if key and key not in cache:
        out = subprocess.run(["pkg-config", "--cflags", *names], capture_output=True, text=True,
                             check=False).stdout.split()
        cache[key] = [w for f in out for w in (["-isystem", f[2:]] if f.startswith("-I") else [f])]
    return cache.get(key, [])


def commands(root, build, layers, name):
    """The compiler runs that a header has to survive."""
    component = layers.component_of(name)
    flags = ["-Iinclude", f"-I{build}/include", f"-I{os.path.dirname(name)}"]
    packages = []
    if component in layers.dirs and not name.startswith("include/"):
        folder = layers.dirs[component]
        flags += [f"-I{folder}", f"-I{os.path.dirname(folder) or folder}"]
        packages += layers.variables.get(f"PKG-{component}", [])
    if name.startswith("tests/sim/"):
        flags.append("-Itests/sim")
        for other in layers.variables.get(f"SIM_ON-{component}", []):
            flags += [f"-Itests/sim/{other}", f"-I{layers.dirs[other]}"]
    if name.startswith("tests/"):
        flags.append("-Itests/support")
        packages = ["criterion", *packages]
    yield [os.environ.get("CC", "gcc"), *FLAGS, *flags, *pkg_cflags(packages), name]
    if name.startswith("include/sluice/bpf/"):
        machine = os.uname().machine
        yield ["clang-14", "-target", "bpf", *FLAGS, *flags,
               f"-I/usr/include/{machine}-linux-gnu", "-include", "linux/types.h", name]


def guard_problem(text):
    """What is wrong with a header's guard, or None."""
    directives = re.findall(r"^[ \t]*#[ \t]*(\w+)[ \t]*(\w*)", common.code_only(text), re.MULTILINE)
    if len(directives) < 3 or directives[0][0] != "ifndef" or directives[1][0] != "define" or \
            directives[0][1] != directives[1][1] or directives[-1][0] != "endif":
        return "no include guard around the whole file"
    return None


def compile_alone(root, command):
    """The compiler's first complaint as (line, text), or None."""
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    match = re.search(r"^([^:\n]+):(\d+):.*?error: (.*)$", done.stderr, re.MULTILINE)
    if not match:
        return 1, (done.stderr.strip().splitlines() or ["compiler failed"])[0]
    line = int(match.group(2)) if match.group(1) == command[-1] else 1
    return line, f"does not compile alone with {command[0]}: {match.group(3)}"


def main():
    options = common.arguments(__doc__, build={"default": "build"})
    layers = Layers(common.read_layers(options.root / "tools/build/layers.mk"))
    report = common.Report()
    jobs = []
    for name in common.files(options.root, ".h"):
        problem = guard_problem(common.read(options.root, name))
        if problem:
            report.add(name, 1, problem)
        jobs += [(name, c) for c in commands(options.root, options.build, layers, name)]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for (name, _), problem in zip(jobs, pool.map(lambda j: compile_alone(options.root, j[1]),
                                                     jobs)):
            if problem:
                report.add(name, *problem)
    report.finish()


if __name__ == "__main__":
    main()
