#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Names that may not be used, from banned.list; generated files are checked too."""
import re

import common


class Rule:
    """One line of banned.list."""

    def __init__(self, row):
        kind, pattern, where, self.instead = [c.strip() for c in re.split(r" \| ", row, maxsplit=3)]
        self.in_comments = kind == "comment"
        places = where.split()
        self.allowed_in = tuple(p[1:] for p in places if p.startswith("!"))
        self.banned_in = tuple(p for p in places if not p.startswith("!"))
        self.regex = re.compile({
            "call": rf"(?<![\w.])(?<!->)(?:{pattern})\s*\(",
            "word": rf"\b(?:{pattern})\b",
            "comment": rf"\b(?:{pattern})",
        }[kind])

    def covers(self, name):
        def is_in(place):
            return place == "*" or name == place or name.startswith(place.rstrip("/") + "/")

        return any(map(is_in, self.banned_in)) and not any(map(is_in, self.allowed_in))


def findings(text, rule):
    """Line number and offending words for each place where the rule is broken."""
    for match in rule.regex.finditer(text):
        word = match.group(0).rstrip("( \t\n")
        # "asm volatile" orders instructions of one thread, which nothing else can say.
        if word == "volatile" and re.search(r"\b(?:__)?asm(?:__)?\s+$", text[:match.start()][-12:]):
            continue
        yield text.count("\n", 0, match.start()) + 1, word


def main():
    options = common.arguments(__doc__, list={"default": common.HERE / "banned.list"})
    rules = [Rule(row) for _, row in common.read_list(options.list)]
    report = common.Report()
    for name in common.files(options.root, ".c", ".h"):
        text = common.read(options.root, name)
        code = common.code_only(text)
        comments = common.comments_only(text)
        for rule in rules:
            if rule.covers(name):
                for line, word in findings(comments if rule.in_comments else code, rule):
                    report.add(name, line, f"{word} is banned: {rule.instead}")
    report.finish()


if __name__ == "__main__":
    main()
