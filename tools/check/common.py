# SPDX-License-Identifier: Apache-2.0
"""What the checkers share: the list of files, C text without comments, and reporting.

Every checker is a program: no output and status 0 when all is well, otherwise one line
"file:line: message" for each finding and status 1.
"""
import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def arguments(description, **extra):
    """Parses --root (default: the tree this checker belongs to) and the checker's own options."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--root", type=Path, default=HERE.parent.parent)
    for name, settings in extra.items():
        parser.add_argument(f"--{name}", **settings)
    return parser.parse_args()


def files(root, *suffixes):
    """Paths relative to root of the tree's own text files, sorted; ignored files are left out."""
    command = ["git", "-C", str(root), "ls-files", "-co", "--exclude-standard"]
    top = subprocess.run(["git", "-C", str(root), "rev-parse", "--show-toplevel"],
                         capture_output=True, text=True, check=False).stdout.strip()
    if top and Path(top).resolve() == Path(root).resolve():
        names = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = names.splitlines()
    else:
        # An unpacked archive without git.
        found = []
        for folder, subfolders, names in os.walk(root):
            subfolders[:] = [d for d in subfolders if not d.startswith((".git", "build"))
                             and d not in ("node_modules", "__pycache__")]
            found += [os.path.relpath(os.path.join(folder, n), root) for n in names]
    return sorted({n for n in found if n.endswith(suffixes or "") and (Path(root) / n).is_file()})


def is_generated(name):
    """True for files that a generator writes and that are committed."""
    return re.search(r"_gen\.[ch]$", name) is not None


def read(root, name):
    return (Path(root) / name).read_text(encoding="utf-8", errors="replace")


TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def _blank(text, keep_ends):
    inner = re.sub(r"[^\n]", " ", text)
    return text[0] + inner[1:-1] + text[-1] if keep_ends and len(text) > 1 else inner


def code_only(text):
    """C text with comments and the insides of literals blanked; line numbers stay."""

    def replace(match):
        token = match.group(0)
        return _blank(token, token[0] in "\"'")

    return TOKEN.sub(replace, text)


def without_comments(text):
    """C text with only the comments blanked."""

    def replace(match):
        token = match.group(0)
        return _blank(token, False) if token[0] == "/" else token

    return TOKEN.sub(replace, text)


def comments_only(text):
    """The comments of C text, everything else blanked."""
    out = []
    end = 0
    for match in TOKEN.finditer(text):
        out.append(_blank(text[end:match.start()], False))
        token = match.group(0)
        out.append(token if token[0] == "/" else _blank(token, False))
        end = match.end()
    out.append(_blank(text[end:], False))
    return "".join(out)


class Function:
    """One function definition: name, 1-based first and last line, header text and body lines."""

    def __init__(self, name, first, last, header, body):
        self.name = name
        self.first = first
        self.last = last
        self.header = header
        self.body = body

    def is_static(self):
        return re.search(r"\bstatic\b", self.header) is not None


# Words before a parenthesis that are not the name of the function: macros in upper case.
NOT_A_NAME = re.compile(r"_Alignas|[A-Z][A-Z0-9_]+$")
ATTRIBUTE = re.compile(r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)")


def functions(code):
    """Function definitions in code_only() text; relies on clang-format: braces in column 0."""
    lines = code.split("\n")
    found = []
    at = 0
    while at < len(lines):
        if lines[at].rstrip() != "{":
            at += 1
            continue
        first = at
        while first > 0 and not re.search(r"[;}]\s*$|^\s*#|^\s*$", lines[first - 1]):
            first -= 1
        last = at
        while last < len(lines) - 1 and lines[last].rstrip() != "}":
            last += 1
        header = "\n".join(lines[first:at])
        plain = ATTRIBUTE.sub("", header)
        names = [n for n in re.findall(r"([A-Za-z_]\w*)\s*\(", plain) if not NOT_A_NAME.match(n)]
        if names:
            found.append(Function(names[0], first + 1, last + 1, header, lines[at + 1:last]))
        at = last + 1
    return found


class Report:
    """Collects findings and prints them in the order of file and line."""

    def __init__(self):
        self.findings = []

    def add(self, name, line, message):
        self.findings.append((name, line, message))

    def finish(self):
        for name, line, message in sorted(set(self.findings)):
            print(f"{name}:{line}: {message}")
        sys.exit(1 if self.findings else 0)


def read_list(path):
    """Lines of a list file without comments and blanks, with their line numbers."""
    rows = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            rows.append((number, line.rstrip()))
    return rows


def read_layers(path):
    """Variables of layers.mk as name -> list of words."""
    text = Path(path).read_text(encoding="utf-8").replace("\\\n", " ")
    return {m.group(1): m.group(2).split()
            for m in re.finditer(r"^([\w-]+)[ \t]*:=[ \t]*(.*)$", text, re.MULTILINE)}
