#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Names of non-static functions (house style 4.1).

sl_ belongs to what include/sluice/ declares, and nothing else.  Every other non-static function
begins with a name that says where it lives, followed by "_": that of its file (in produce_v0.c,
produce_ will do), of the folder it is in, of its component, the plural of one of these, or the tag
of a struct that a header or source of the same folder defines.  Exempt: main, libFuzzer's entry
points, kernel/ (programs are named by their section) and Criterion tests.
"""
import re

import common

EXEMPT = re.compile(r"main$|LLVMFuzzer\w+$")


def declared_names(root):
    """Every identifier before a parenthesis in a public header."""
    names = set()
    for name in common.files(root, ".h"):
        if name.startswith("include/sluice/"):
            code = common.code_only(common.read(root, name))
            names |= set(re.findall(r"\b(\w+)\s*\(", code))
    return names


def prefixes_of(name, component):
    """The prefixes that functions of a file may carry."""
    *folders, leaf = name.split("/")
    stem = re.sub(r"(_gen)?\.c$", "", leaf).replace("-", "_")
    words = stem.split("_")
    own = {"_".join(words[:n]) for n in range(1, len(words) + 1)}
    names = own | set(folders) | ({component} if component else set())
    return names | {n + "s" for n in names}


def struct_tags(root):
    """Folder -> tags of the structs that its files define."""
    tags = {}
    for name in common.files(root, ".c", ".h"):
        code = common.code_only(common.read(root, name))
        tags.setdefault(name.rpartition("/")[0], set()).update(
            re.findall(r"^struct (\w+) \{", code, re.MULTILINE))
    return tags


def component_of(layers, name):
    inside = [c for c in layers.get("COMPONENTS", [])
              if name.startswith(layers[f"DIR-{c}"][0] + "/")]
    return max(inside, key=lambda c: len(layers[f"DIR-{c}"][0]), default=None)


def main():
    options = common.arguments(__doc__)
    layers = common.read_layers(options.root / "tools/build/layers.mk")
    public = declared_names(options.root)
    tags = struct_tags(options.root)
    report = common.Report()
    for name in common.files(options.root, ".c"):
        if name.startswith(("tests/", "kernel/")):
            continue
        prefixes = prefixes_of(name, component_of(layers, name))
        folder_tags = tags.get(name.rpartition("/")[0], set())
        for function in common.functions(common.code_only(common.read(options.root, name))):
            if function.is_static() or EXEMPT.match(function.name):
                continue
            if function.name in public:
                if not function.name.startswith("sl_"):
                    report.add(name, function.first, f"{function.name} is declared in "
                                                     "include/sluice, so it must begin with sl_")
            elif function.name.startswith("sl_"):
                report.add(name, function.first, f"{function.name} is not declared in "
                                                 "include/sluice, so it may not begin with sl_")
            elif not any(function.name.startswith(p + "_") for p in prefixes | folder_tags):
                stem = re.sub(r"\.c$", "", name.rpartition("/")[2])
                report.add(name, function.first,
                           f"{function.name} is not static and begins neither with {stem}_ nor with "
                           "the name of its folder or of a struct defined there")
    report.finish()


if __name__ == "__main__":
    main()
