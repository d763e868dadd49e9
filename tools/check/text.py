#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Text of all files: nothing from words.deny, no trailing blanks, no conflict marks.  Markdown:
relative links lead somewhere, and the README.md of a folder keeps to 40-120 lines."""
import os
import re

import common

TEXT = (".c", ".h", ".mk", ".py", ".sh", ".md", ".msg", ".list", ".js", ".mjs", ".conf", ".json",
        ".bash", ".service", "Makefile", ".ci/run")
README_LINES = (40, 120)
# Longer or shorter by its purpose: the first screen and tour of the whole project.
README_FREE = ("README.md",)
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s#]+)(?:#[^)\s]*)?\)")


def check_markdown(root, name, text, report):
    """Relative links of a Markdown file, and the length of a folder's README."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", lambda m: re.sub(r"[^\n]", " ", m.group(0)), text,
                   flags=re.DOTALL)
    for match in LINK.finditer(prose):
        target = match.group(1)
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        if not os.path.exists(os.path.join(root, os.path.dirname(name), target)):
            report.add(name, prose.count("\n", 0, match.start()) + 1, f"dead link: {target}")
    is_contract = name.endswith("README.md") and not name.startswith("Documentation/")
    if is_contract and name not in README_FREE:
        lines = text.count("\n")
        if not README_LINES[0] <= lines <= README_LINES[1]:
            report.add(name, 1, f"{lines} lines; the README of a folder has "
                                f"{README_LINES[0]} to {README_LINES[1]}")


def main():
    options = common.arguments(__doc__, list={"default": common.HERE / "words.deny"})
    denied = [re.compile(row) for _, row in common.read_list(options.list)]
    report = common.Report()
    for name in common.files(options.root, *TEXT):
        # The self-test of the checkers holds what they look for.
        if name.startswith("tests/tools/check/"):
            continue
        text = common.read(options.root, name)
        for number, line in enumerate(text.split("\n"), 1):
            for regex in denied:
                match = regex.search(line)
                if match:
                    report.add(name, number, f"'{match.group(0)}' does not belong here "
                                             "(tools/check/words.deny)")
            if line != line.rstrip() and not name.endswith(".md"):
                report.add(name, number, "blank at the end of the line")
            if re.match(r"(?:<{7}|>{7}) ", line):
                report.add(name, number, "mark of a merge conflict")
        if text and not text.endswith("\n"):
            report.add(name, text.count("\n") + 1, "no newline at the end of the file")
        if name.endswith(".md"):
            check_markdown(options.root, name, text, report)
    report.finish()


if __name__ == "__main__":
    main()
