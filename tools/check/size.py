#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Function length <= 70 lines, file length <= 1000 lines (house style 4.1 and 4.9).

A function that is nothing but one switch whose every case is one call may be longer; generated
files may be longer.
"""
import re

import common

FUNCTION_LINES = 70
FILE_LINES = 1000
# A dispatcher may do this much before and after its switch.
LINES_AROUND_SWITCH = 10

CASE_LINE = re.compile(
    r"\s*(?:case\b[^:?]*:|default:|break;|return [^?]*;|(?:[\w.>\[\]-]+ = )?\w+\([^;{}]*\);|\})?\s*$")


def is_pure_dispatch(body):
    """True when the body is one switch in which each case is a single call."""
    starts = [i for i, line in enumerate(body) if re.match(r"\t+switch \(.*\) \{$", line)]
    if len(starts) != 1:
        return False
    start = starts[0]
    indent = re.match(r"\t+", body[start]).group(0)
    end = next((i for i in range(start + 1, len(body)) if body[i].rstrip() == indent + "}"), None)
    if end is None or len(body) - (end - start + 1) > LINES_AROUND_SWITCH:
        return False
    # A call may be wrapped over lines; join them before looking.
    text = re.sub(r"\(\s*\n\s*|,\s*\n\s*", lambda m: m.group(0).strip().replace("\n", ""),
                  "\n".join(body[start + 1:end]))
    if not all(CASE_LINE.match(line) for line in text.split("\n")):
        return False
    groups = re.split(r"(?:case\b[^:?]*:|default:)", text)
    return all(len(re.findall(r"\w+\([^;]*\);", group)) <= 1 for group in groups)


def main():
    options = common.arguments(__doc__)
    report = common.Report()
    for name in common.files(options.root, ".c", ".h"):
        text = common.read(options.root, name)
        count = text.count("\n")
        if count > FILE_LINES and not common.is_generated(name):
            report.add(name, FILE_LINES + 1, f"file has {count} lines, at most {FILE_LINES} allowed")
        for function in common.functions(common.code_only(text)):
            lines = function.last - function.first + 1
            if lines > FUNCTION_LINES and not is_pure_dispatch(function.body):
                report.add(name, function.first, f"function {function.name} has {lines} lines, "
                                                 f"at most {FUNCTION_LINES} allowed")
    for name in common.files(options.root, ".py", ".sh", ".mk"):
        count = common.read(options.root, name).count("\n")
        if count > FILE_LINES:
            report.add(name, FILE_LINES + 1, f"file has {count} lines, at most {FILE_LINES} allowed")
    report.finish()


if __name__ == "__main__":
    main()
