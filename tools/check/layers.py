#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Includes against tools/build/layers.mk.

A component includes its own headers and those of its USES-x; inside a program the folders of
ORDER-x include rightwards only.  DPDK headers stay in dataplane/, libbpf's in lib/kern, and so do
skeletons.  No "../", and a .c file that has a header includes it first.
"""
import posixpath
import re
from pathlib import Path

import common

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)
# Headers of include/sluice/<layer> that are part of another component.
LAYER_OWNER = {"bpf": "kern"}
DPDK = re.compile(r"rte_\w+\.h$|(?:dpdk|rte)/")
LIBBPF = re.compile(r"bpf/|libbpf")


class Layers:
    def __init__(self, variables):
        self.variables = variables
        self.components = variables.get("COMPONENTS", [])
        self.dirs = {c: variables.get(f"DIR-{c}", [""])[0] for c in self.components}

    def component_of(self, name):
        """The component whose folder (or whose tests' or public headers' folder) holds the file."""
        layer = re.match(r"include/sluice/(\w+)/", name)
        if layer:
            return LAYER_OWNER.get(layer.group(1), layer.group(1))
        simulator = re.match(r"tests/sim/(\w+)/", name)
        if simulator:
            return simulator.group(1)
        bare = re.sub(r"^tests/", "", name)
        inside = [c for c in self.components if bare.startswith(self.dirs[c] + "/")]
        return max(inside, key=lambda c: len(self.dirs[c]), default=None)

    def may_use(self, user, used):
        return used == user or used in self.variables.get(f"USES-{user}", [])

    def rank(self, component, folder):
        """Position of a program's folder in ORDER-x, and of it among its neighbours."""
        for index, group in enumerate(self.variables.get(f"ORDER-{component}", [])):
            if folder in group.split(","):
                return index
        return None


def check_order(layers, component, name, target):
    """The message for a private include that points left or to a neighbour, or None."""
    base = layers.dirs[component]
    from_folder, to_folder = (posixpath.relpath(n, base).split("/")[0] if "/" in
                              posixpath.relpath(n, base) else "." for n in (name, target))
    if from_folder == to_folder or (
            posixpath.relpath(target, base) in layers.variables.get(f"LEAF-{component}", [])):
        return None
    ranks = [layers.rank(component, f) for f in (from_folder, to_folder)]
    if None in ranks or ranks[0] < ranks[1]:
        return None
    order = " -> ".join(layers.variables[f"ORDER-{component}"])
    return f"{from_folder} may not include from {to_folder} (order: {order})"


def check_special(name, target):
    """The message for a DPDK, libbpf or skeleton header outside of its place, or None."""
    if DPDK.match(target) and not re.match(r"(tests/)?dataplane/", name):
        return f"DPDK header {target} outside of dataplane/"
    if LIBBPF.match(target) and not re.match(r"(tests/)?(lib/kern|kernel)/", name):
        return f"libbpf header {target} outside of lib/kern"
    if target.startswith("sluice/skel/") and not name.startswith("lib/kern/"):
        return f"skeleton {target} outside of lib/kern"
    return None


def resolve(root, layers, component, name, target):
    """The tree's file that a quoted include means, or None for one that is not in the tree."""
    places = [posixpath.dirname(name), "include"]
    if component in layers.dirs:
        folder = layers.dirs[component]
        places += [folder, posixpath.dirname(folder) or folder]
    if name.startswith("tests/"):
        places.append("tests/support")
    for place in places:
        candidate = posixpath.normpath(posixpath.join(place, target))
        if (Path(root) / candidate).is_file():
            return candidate
    return None


def check_include(root, layers, name, target):
    """The message for one include of the file, or None."""
    if target.startswith("../") or "/../" in target:
        return f'"{target}": no ../ in includes'
    message = check_special(name, target)
    component = layers.component_of(name)
    if message or component is None:
        return message
    public = re.match(r"sluice/(\w+)/", target)
    if public:
        layer = public.group(1)
        used = LAYER_OWNER.get(layer, layer)
        if layer in ("skel",) or layers.may_use(component, used):
            return None
        return f"{component} may not use {layer} (USES-{component} in tools/build/layers.mk)"
    found = resolve(root, layers, component, name, target)
    if found is None:
        return None
    used = layers.component_of(found)
    if used is None or found.startswith("tests/"):
        return None
    if not layers.may_use(component, used):
        return f"{component} may not use {used} (USES-{component} in tools/build/layers.mk)"
    if used == component and not name.startswith("tests/") and component in layers.dirs:
        return check_order(layers, component, name, found)
    return None


def own_header(root, layers, name):
    """The header that belongs to a .c file, as it is spelt in an include, or None."""
    stem = posixpath.basename(name)[:-2]
    if (Path(root) / posixpath.dirname(name) / f"{stem}.h").is_file():
        return f"{stem}.h"
    component = layers.component_of(name)
    if component and (Path(root) / f"include/sluice/{component}/{stem}.h").is_file():
        return f"sluice/{component}/{stem}.h"
    return None


def main():
    options = common.arguments(__doc__)
    layers = Layers(common.read_layers(options.root / "tools/build/layers.mk"))
    report = common.Report()
    for name in common.files(options.root, ".c", ".h"):
        text = common.without_comments(common.read(options.root, name))
        includes = [(text.count("\n", 0, m.start()) + 1, m.group(1), m.group(2))
                    for m in INCLUDE.finditer(text)]
        for line, _, target in includes:
            message = check_include(options.root, layers, name, target)
            if message:
                report.add(name, line, message)
        own = own_header(options.root, layers, name) if name.endswith(".c") else None
        if own and not name.startswith("tests/") and not common.is_generated(name):
            spelt = [t for _, _, t in includes]
            first = spelt[0] if spelt else ""
            if first != own and not first.endswith("/" + own):
                report.add(name, includes[0][0] if includes else 1,
                           f"the first include must be the file's own header, {own}")
    report.finish()


if __name__ == "__main__":
    main()
