#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Each source file begins with its licence: Apache-2.0, and in kernel/ the dual one."""
import re

import common

SUFFIXES = (".c", ".h", ".mk", ".py", ".sh", ".js", ".mjs", ".list", "Makefile", ".ci/run",
            ".clang-format", ".clang-tidy", ".service", ".bash")
APACHE = re.compile(r"^(?:/\*|//|#) SPDX-License-Identifier: Apache-2\.0(?: \*/)?$")
DUAL = re.compile(r"^(?:/\*|//) SPDX-License-Identifier: "
                  r"\(?(?=.*BSD-[23]-Clause)(?=.*GPL-2\.0)[\w. -]+\)?(?: \*/)?$")


def main():
    options = common.arguments(__doc__)
    report = common.Report()
    for name in common.files(options.root, *SUFFIXES):
        lines = common.read(options.root, name).split("\n", 2)
        # An interpreter line has to be the first one.
        line = lines[1] if lines[0].startswith("#!") and len(lines) > 1 else lines[0]
        is_kernel = name.startswith("kernel/") and name.endswith((".c", ".h"))
        is_shared = name.startswith("include/sluice/bpf/")
        if is_kernel and not DUAL.match(line):
            report.add(name, 1, "SPDX line with GPL-2.0 and BSD-2-Clause expected")
        elif not is_kernel and not APACHE.match(line) and not (is_shared and DUAL.match(line)):
            report.add(name, 1, "first line is not 'SPDX-License-Identifier: Apache-2.0'")
    report.finish()


if __name__ == "__main__":
    main()
