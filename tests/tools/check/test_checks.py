#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Feeds each checker of tools/check a small tree that is clean and then one broken file after the
other, and sees the checker name the right file and line.  Prints TAP."""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CHECK = ROOT / "tools/check"
SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"
LAYERS = """COMPONENTS := base wire dataplane control
DIR-base := lib/base
DIR-wire := lib/wire
USES-wire := base
DIR-dataplane := dataplane
USES-dataplane := wire base
DIR-control := control
USES-control := wire base
ORDER-dataplane := . session net
LEAF-dataplane := ctx.h
"""
FOO_H = SPDX + "#ifndef FOO_H\n#define FOO_H\n\nint sl_foo(void);\n\n#endif\n"
FOO_C = SPDX + '#include "sluice/base/foo.h"\n\nint sl_foo(void)\n{\n\treturn 0;\n}\n'
GUARD = SPDX + "#ifndef H\n#define H\n\n#endif\n"
CLEAN = {
    "tools/build/layers.mk": "# SPDX-License-Identifier: Apache-2.0\n" + LAYERS,
    "tools/check/hot.list": "# SPDX-License-Identifier: Apache-2.0\ndataplane/net/hot.c\n",
    "include/sluice/base/foo.h": FOO_H,
    "include/sluice/wire/bar.h": FOO_H.replace("FOO", "BAR").replace("foo", "bar"),
    "lib/base/foo.c": FOO_C,
    "dataplane/ctx.h": GUARD,
    "dataplane/net/sock.h": GUARD,
    "dataplane/session/session.h": GUARD,
    "dataplane/net/hot.c": SPDX + "int hot_poll(int n)\n{\n\treturn n + 1; /* no malloc() here */\n}\n",
    "lib/wire/README.md": "".join(f"line {n}\n" for n in range(50)),
    "README.md": "See [the codec](lib/wire/README.md) and [the web](https://example.org/).\n",
}


def body(lines):
    return "".join(f"\tx = x + {n};\n" for n in range(lines))


def function(name, lines):
    return f"{SPDX}int {name}(int x)\n{{\n{body(lines)}\treturn x;\n}}\n"


def dispatch(call):
    cases = "".join(f"\tcase {n}:\n\t\treturn {call};\n" for n in range(40))
    return f"{SPDX}int foo_dispatch(int x)\n{{\n\tswitch (x) {{\n{cases}\t}}\n\treturn 0;\n}}\n"


def code(line):
    return f"{SPDX}static int f(char *a, char *b)\n{{\n\t{line}\n}}\n"


# checker, what is wrong, file, its text, expected "line: part of the message"[, more files]
BROKEN = [
    ("size", "function of 71 lines", "lib/base/a.c", function("foo_a", 67), "2: function foo_a has 71"),
    ("size", "long switch with logic", "lib/base/a.c", dispatch("a(x) ? b(x) : c(x)"),
     "2: function foo_dispatch"),
    ("size", "file of 1001 lines", "lib/base/a.c", SPDX + "\n" * 1000, "1001: file has 1001"),
    ("size", "script of 1001 lines", "tools/a.py", "\n" * 1001, "1001: file has 1001"),
    ("banned", "strcpy", "lib/base/a.c", code("strcpy(a, b);"), "4: strcpy is banned"),
    ("banned", "sprintf", "tools/ctl/a.c", code("sprintf(a, b);"), "4: sprintf is banned"),
    ("banned", "atoi", "control/a.c", code("return atoi(a);"), "4: atoi is banned"),
    ("banned", "system", "tools/ctl/a.c", code("system (a);"), "4: system is banned"),
    ("banned", "alloca", "lib/base/a.c", code("a = alloca(8);"), "4: alloca is banned"),
    ("banned", "assert", "lib/base/a.c", code("assert(a);"), "4: assert is banned"),
    ("banned", "printf in lib", "lib/base/a.c", code('printf("x");'), "4: printf is banned"),
    ("banned", "stderr in lib", "lib/base/a.c", code('fprintf(stderr, "x");'), "4: stderr is banned"),
    ("banned", "volatile", "dataplane/a.c", code("volatile int x = 0;"), "4: volatile is banned"),
    ("banned", "implicit memory order", "dataplane/a.c", code("atomic_load(a);"),
     "4: atomic_load is banned"),
    ("banned", "sleep in a unit test", "tests/lib/base/test_a.c", code("usleep(5);"),
     "4: usleep is banned"),
    ("banned", "TODO", "lib/base/a.c", SPDX + "/*\n * TODO later\n */\n", "3: TODO is banned"),
    ("banned", "FIXME", "lib/base/a.c", SPDX + "// FIXME\n", "2: FIXME is banned"),
    ("layers", "use of an upper layer", "lib/base/a.c", SPDX + '#include "sluice/wire/bar.h"\n',
     "2: base may not use wire"),
    ("layers", "include that points back", "dataplane/net/a.c",
     SPDX + '#include "session/session.h"\n', "2: net may not include from session"),
    ("layers", "../", "lib/base/a.c", SPDX + '#include "../wire/bar.h"\n', "2: \"../wire/bar.h\": no ../"),
    ("layers", "DPDK outside of dataplane", "lib/base/a.c", SPDX + "#include <rte_ring.h>\n",
     "2: DPDK header rte_ring.h"),
    ("layers", "libbpf outside of lib/kern", "dataplane/a.c", SPDX + "#include <bpf/libbpf.h>\n",
     "2: libbpf header"),
    ("layers", "own header not first", "lib/base/foo.c",
     SPDX + '#include <stdio.h>\n\n#include "sluice/base/foo.h"\n', "2: the first include must be"),
    ("prefix", "name without prefix", "lib/base/a.c", function("helper", 1), "2: helper is not static"),
    ("prefix", "sl_ without declaration", "lib/base/a.c", function("sl_helper", 1),
     "2: sl_helper is not declared in"),
    ("prefix", "public name without sl_", "lib/base/c.c", function("c_get", 1),
     "2: c_get is declared in", {"include/sluice/base/c.h": SPDX + "int c_get(int x);\n"}),
    ("hot", "malloc", "dataplane/net/hot.c", code("a = malloc(5);"), "4: hot path: malloc allocates"),
    ("hot", "a lock", "dataplane/net/hot.c", code("pthread_mutex_lock(a);"), "4: hot path: pthread_mutex"),
    ("hot", "loud logging", "dataplane/net/hot.c", code('sl_log(INFO, net, "x");'), "4: hot path: sl_log"),
    ("hot", "floating point", "dataplane/net/hot.c", code("double d = 0;"), "4: hot path: double"),
    ("hot", "recursion", "dataplane/net/hot.c", code("return f(a, b);"), "2: hot path: f calls itself"),
    ("headers", "header that needs another", "include/sluice/base/a.h",
     GUARD.replace("\n\n", "\n\nsize_t sl_a(void);\n\n"), "5: does not compile alone"),
    ("headers", "header without guard", "dataplane/a.h", SPDX + "int a_get(void);\n", "1: no include guard"),
    ("headers", "libc type in a BPF header", "include/sluice/bpf/a.h",
     GUARD.replace("\n\n", "\n\nsize_t x;\n\n").replace("#define H\n", "#define H\n#include <stdio.h>\n"),
     "1: does not compile alone with clang-14"),
    ("spdx", "no licence", "lib/base/a.c", "int x;\n", "1: first line is not"),
    ("spdx", "script without licence", "tools/a.sh", "#!/bin/sh\necho\n", "1: first line is not"),
    ("spdx", "kernel file with one licence", "kernel/a.bpf.c", SPDX, "1: SPDX line with GPL"),
    ("text", "path of one machine", "lib/base/a.c", SPDX + "/* see /work/main */\n", "2: '/work/main'"),
    ("text", "dead link", "README.md", "# T\n[x](nowhere.md)\n", "2: dead link: nowhere.md"),
    ("text", "short README", "lib/base/README.md", "x\n", "1: 1 lines; the README"),
    ("text", "trailing blank", "lib/base/a.c", SPDX + "int x; \n", "2: blank at the end"),
    ("text", "no newline at the end", "lib/base/a.c", SPDX + "int x;", "2: no newline"),
    ("format", "unformatted code", "lib/base/a.c", SPDX + "int  x ;\n", "2: not formatted"),
]
# What a checker must let through.
HARMLESS = [
    ("size", "function of 70 lines", "lib/base/a.c", function("foo_a", 66)),
    ("size", "long switch of single calls", "lib/base/a.c", dispatch("foo_a(x)")),
    ("size", "long generated file", "lib/base/a_gen.c", SPDX + "\n" * 1500),
    ("banned", "names in comments and strings", "lib/base/a.c",
     code('/* strcpy(a) */ return f("sprintf(x)", b); // atoi(1)')),
    ("banned", "asm volatile", "lib/base/a.c", code('__asm__ volatile("" ::: "memory");')),
    ("banned", "member called like a banned name", "lib/base/a.c", code("a->system(b);")),
    ("banned", "static_assert", "lib/base/a.c", code('static_assert(1, "");')),
    ("banned", "TODO with an issue", "lib/base/a.c", SPDX + "/* TODO(#12): x */\n"),
    ("layers", "include that points right", "dataplane/session/a.c", SPDX + '#include "net/sock.h"\n'),
    ("layers", "leaf header", "dataplane/net/a.c", SPDX + '#include "ctx.h"\n'),
    ("layers", "lower layer", "lib/wire/a.c", SPDX + '#include "sluice/base/foo.h"\n'),
    ("prefix", "name of the file", "lib/base/a.c", function("a_helper", 1)),
    ("prefix", "name of a struct of the folder", "lib/base/a.c",
     function("tree_add", 1) + "\nstruct tree {\n\tint n;\n};\n"),
    ("prefix", "plural of the file", "lib/base/tree.c", function("trees_add", 1)),
    ("prefix", "attribute before the name", "lib/base/a.c",
     function("a_helper", 1).replace("int a_", '__attribute__((target("sse4.2"))) int a_')),
]


def write(tree, name, text):
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def run_checker(tree, checker):
    return subprocess.run([str(CHECK / f"{checker}.py"), "--root", str(tree)], capture_output=True,
                          text=True, check=False)


def fresh_tree(folder):
    tree = Path(tempfile.mkdtemp(dir=folder))
    for name, text in CLEAN.items():
        write(tree, name, text)
    write(tree, ".clang-format", (ROOT / ".clang-format").read_text(encoding="utf-8"))
    return tree


class Tap:
    def __init__(self):
        self.count = 0
        self.failed = 0

    def result(self, good, name, detail=""):
        self.count += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.count} - {name}")
        for line in detail.splitlines() if not good else []:
            print(f"# {line}")


def check_trees(tap, folder):
    for checker in sorted({row[0] for row in BROKEN}):
        done = run_checker(fresh_tree(folder), checker)
        tap.result(done.returncode == 0 and not done.stdout, f"{checker} passes a clean tree",
                   done.stdout + done.stderr)
    for checker, what, name, text, expected, *more in BROKEN:
        tree = fresh_tree(folder)
        for path, content in {name: text, **(more[0] if more else {})}.items():
            write(tree, path, content)
        done = run_checker(tree, checker)
        wanted = f"{name}:{expected}"
        tap.result(done.returncode == 1 and wanted in done.stdout, f"{checker} finds: {what}",
                   f"expected {wanted}\n{done.stdout}{done.stderr}")
    for checker, what, name, text in HARMLESS:
        tree = fresh_tree(folder)
        write(tree, name, text)
        done = run_checker(tree, checker)
        tap.result(done.returncode == 0, f"{checker} accepts: {what}", done.stdout + done.stderr)


def check_purity(tap, folder):
    sources = {"pure": "#include <string.h>\nsize_t f(const char *s);\n"
                       "size_t f(const char *s)\n{\n\treturn strlen(s);\n}\n",
               "clock": "#include <time.h>\nlong f(void);\nlong f(void)\n{\n\treturn time(0);\n}\n",
               "sl_clock": "long sl_mono_ns(void);\nlong f(void);\n"
                           "long f(void)\n{\n\treturn sl_mono_ns();\n}\n",
               "user": "int f(void);\nint g(void);\nint g(void)\n{\n\treturn f();\n}\n"}
    for name, text in sources.items():
        base = Path(folder) / name
        base.with_suffix(".c").write_text(text, encoding="utf-8")
        archive = f"{base}.a"
        subprocess.run(["gcc", "-fno-builtin", "-c", "-o", f"{base}.o", f"{base}.c"], check=True)
        subprocess.run(["ar", "rcs", archive, f"{base}.o"], check=True)
        done = subprocess.run([str(CHECK / "purity.sh"), archive], capture_output=True, text=True,
                              check=False)
        if name == "pure":
            tap.result(done.returncode == 0, "purity passes strlen", done.stdout + done.stderr)
        else:
            tap.result(done.returncode == 1 and "impure: " in done.stdout,
                       f"purity finds: {name}", done.stdout + done.stderr)
    both = [f"{folder}/user.a", f"{folder}/pure.a"]
    done = subprocess.run([str(CHECK / "purity.sh"), *both], capture_output=True, text=True,
                          check=False)
    tap.result(done.returncode == 0, "purity passes the use of another pure archive",
               done.stdout + done.stderr)
    done = subprocess.run([str(CHECK / "purity.sh"), f"{folder}/none.a"], capture_output=True,
                          text=True, check=False)
    tap.result(done.returncode == 1, "purity refuses an archive that is not there")


def check_summary(tap):
    """tidy.py must fail when one of its checks does, and count what it found."""
    script = str(CHECK / "tidy.py")
    done = subprocess.run([sys.executable, script, "--only", "one,two",
                           "--command", "one=echo a.c:1: bad; echo b.c:2: bad; exit 1",
                           "--command", "two=true"], capture_output=True, text=True, check=False)
    tap.result(done.returncode == 1 and "tidy: 2 findings (one 2)" in done.stdout,
               "tidy counts findings and fails", done.stdout + done.stderr)
    done = subprocess.run([sys.executable, script, "--only", "two", "--command", "two=true"],
                          capture_output=True, text=True, check=False)
    tap.result(done.returncode == 0 and "found nothing" in done.stdout, "tidy passes when all do")
    done = subprocess.run([sys.executable, script, "--only", "nothing"], capture_output=True,
                          text=True, check=False)
    tap.result(done.returncode != 0, "tidy refuses a check it does not have")


def main():
    os.chdir(ROOT)
    tap = Tap()
    with tempfile.TemporaryDirectory(prefix="sluice-checks-") as folder:
        check_trees(tap, folder)
        check_purity(tap, folder)
    check_summary(tap)
    print(f"1..{tap.count}")
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
