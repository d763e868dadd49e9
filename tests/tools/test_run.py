#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tests/run.py itself: what it counts, and that nothing that went wrong ends with status 0.
Prints TAP."""
import subprocess
import sys
import tempfile
from pathlib import Path

RUN = Path(__file__).resolve().parents[1] / "run.py"
TAP_PASS = 'for a in "$@"; do case $a in --tap=*) f=${a#--tap=};; esac; done\n'

# name, kind, shell text, expected last line, expected part of the output
CASES = [
    ("a passing script", "scripts", "exit 0", "1 passed, 0 failed, 0 skipped", "ok "),
    ("a failing script", "scripts", "echo why; exit 3", "0 passed, 1 failed, 0 skipped", "| why"),
    ("a skipped script and its reason", "scripts", "echo x; echo no java here; exit 77",
     "0 passed, 0 failed, 1 skipped", "skipped: no java here"),
    ("a killed script", "scripts", "kill -9 $$", "0 passed, 1 failed, 0 skipped", "SIGKILL"),
    ("a script over its time", "scripts", "# timeout: 1\nexec cat /dev/zero >/dev/null",
     "0 passed, 1 failed, 0 skipped", "timed out after 1 s"),
    ("a script that leaves a process", "scripts", "cat /dev/zero >/dev/null & exit 0",
     "0 passed, 1 failed, 0 skipped", "left processes behind"),
    ("TAP of a script", "scripts",
     "printf 'ok 1 - a\\nnot ok 2 - b\\nok 3 - c # SKIP d\\n1..3\\n'; exit 1",
     "1 passed, 1 failed, 1 skipped", "b"),
    ("TAP that breaks off", "scripts", "printf '1..3\\nok 1 - a\\n'", "1 passed, 1 failed, 0 skipped",
     "planned 3 tests, saw 1"),
    ("TAP all ok but a bad status", "scripts", "printf '1..1\\nok 1 - a\\n'; exit 1",
     "1 passed, 1 failed, 0 skipped", "exit status 1"),
    ("a Criterion report", "unit",
     TAP_PASS + "printf '1..3\\nok - s::a  (0.00s)\\nnot ok - s::b (0.00s)\\n"
     "ok - s::c  # SKIP no bpf\\n' >$f; exit 1", "1 passed, 1 failed, 1 skipped", "s::c: no bpf"),
    ("a unit test program without report", "unit", "exit 0", "0 passed, 1 failed, 0 skipped",
     "no report"),
    ("a unit test program without tests", "unit", TAP_PASS + "printf '1..0\\n' >$f",
     "0 passed, 1 failed, 0 skipped", "holds no test"),
    ("a leak that Criterion does not see", "unit",
     TAP_PASS + "printf '1..1\\nok - s::a\\n' >$f; echo '==7==ERROR: LeakSanitizer: detected leaks'",
     "1 passed, 1 failed, 0 skipped", "detected leaks"),
    ("a unit test program that dies after its tests", "unit",
     TAP_PASS + "printf '1..1\\nok - s::a\\n' >$f; kill -SEGV $$", "1 passed, 1 failed, 0 skipped",
     "SIGSEGV"),
]

# What Criterion writes: its newest assertion first into the report, its marks between what tests print.
REPORT = r"""
not ok - s::two  (0.00s)
  ---
  assertions: 2
  failures:
  - a/test_s.c:9: |+
      Assertion failed: second, of
      two lines
  - a/test_s.c:8: |+
      Assertion failed: first
  ...
ok - s::good  (0.00s)
not ok - s::crash unexpected signal after a/test_s.c:20
not ok - s::exits  (0.00s)
  ---
  assertions: 0
  failures:
  ...
not ok - s::slow timed out (1.00s)
1..5"""
SAID = r"""[----] a/test_s.c:8: Assertion Failed
[FAIL] s::two: (0.00s)
err base: assertion failed at=a/s.c:7
[----] a/test_s.c:20: Unexpected signal caught below this line!
[FAIL] s::crash: CRASH!
[FAIL] s::exits: (0.00s)"""

# name, kind, shell text, all that is below "Failed:" but the program's name
REASONS = [
    ("the reason of a script: its last lines", "scripts", "printf 'a\nb\n\nc\nd\n'; exit 3",
     [": exit status 3", "b", "c", "d"]),
    ("the reasons of TAP tests: the lines below each", "scripts",
     "printf 'ok 1 - a\n  of a\nnot ok 2 - b (0.1s)\n  of b\n\tmore\nother\n  no more\nnot ok 3 - c\n"
     "# of c\nok 4 - d\n  of d\nnot ok 5 - e\n1..5\n'; exit 1",
     [": b", "  of b", "\tmore", ": c", "# of c", ": e"]),
    ("a long reason: its ends", "scripts",
     "echo not ok 1 - a; for i in 1 2 3 4 5 6 7 8 9; do echo \" $i\"; done; echo 1..1; exit 1",
     [": a", " 1", " 2", "... 4 more lines", " 7", " 8", " 9"]),
    ("a long line: its start", "scripts", "printf '%0400d\n' 0; exit 1",
     [": exit status 1", "0" * 300 + " ..."]),
    ("the reason of a script over its time", "scripts", "# timeout: 1\necho on my way; exec cat /dev/zero >/dev/null",
     [": timed out after 1 s", "on my way"]),
    ("what a script left behind", "scripts", "sleep 98765 & exit 0",
     [": left processes behind", "sleep 98765"]),
    ("the reason of a command: not make's words", "command", "echo why; echo 'make: *** [x.mk:7: x] Error 1'; exit 2",
     [": exit status 2", "why"]),
    ("the reasons of Criterion tests", "unit",
     TAP_PASS + f"cat >$f <<'E'\n{REPORT}\nE\ncat <<'E'\n{SAID}\nE\nexit 1",
     [": s::two", "a/test_s.c:8: first", "a/test_s.c:9: second, of two lines",
      ": s::crash unexpected signal after a/test_s.c:20", "err base: assertion failed at=a/s.c:7",
      ": s::exits", "it ended before its end, without a failed assertion", ": s::slow timed out"]),
]


def run(*arguments):
    return subprocess.run([str(RUN), *arguments], capture_output=True, text=True, check=False)


def main():
    failed = 0
    number = 0

    def result(good, name, output):
        nonlocal failed, number
        number += 1
        failed += not good
        print(f"{'ok' if good else 'not ok'} {number} - {name}")
        for line in output.splitlines() if not good else []:
            print(f"# {line}")

    with tempfile.TemporaryDirectory(prefix="sluice-run-") as folder:
        script = Path(folder) / "test_x.sh"
        for name, kind, text, last, part in CASES:
            script.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
            script.chmod(0o755)
            done = run("--logs", folder, f"--{kind}", str(script))
            lines = done.stdout.splitlines() or [""]
            good = lines[-1] == last and part in done.stdout and \
                (done.returncode == 0) == (" 0 failed" in last)
            result(good, name, done.stdout + done.stderr)
        for name, kind, text, reasons in REASONS:
            script.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
            kept = Path(folder) / "reasons"
            kept.unlink(missing_ok=True)
            done = run("--logs", folder, "--reasons", str(kept), f"--{kind}",
                       f"test_x.sh={text}" if kind == "command" else str(script))
            told = "".join(f"  test_x.sh{line}\n" if line.startswith(": ") else f"      {line}\n"
                           for line in reasons)
            below = done.stdout.partition("\nFailed:\n")[2].splitlines(keepends=True)[:-1]
            good = "".join(below) == told and kept.read_text(encoding="utf-8") == told
            result(good, name, done.stdout + done.stderr)
        script.write_text("#!/bin/sh\nkill -INT $$\n", encoding="utf-8")
        done = subprocess.run(["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh", str(RUN), "--logs", folder,
                               "--scripts", str(script)], capture_output=True, text=True, check=False)
        result("killed by SIGINT" in done.stdout, "a run that ignores SIGINT does not hand that down", done.stdout)
        script.chmod(0o644)
        done = run("--logs", folder, "--scripts", str(script))
        result(done.returncode == 1 and "not executable" in done.stdout,
               "a script that is not executable fails", done.stdout)
        makefile = Path(folder) / "Makefile"
        makefile.write_text("x:\n\t@echo no data; exit 77\n", encoding="utf-8")
        done = run("--logs", folder, "--command", f"x=make -s -f {makefile} x")
        result(done.stdout.endswith("\n0 passed, 0 failed, 1 skipped\n") and "x: no data" in done.stdout,
               "a make target that skips", done.stdout)
        totals = Path(folder) / "totals"
        done = run("--logs", folder, "--totals", str(totals), "--command", "a=true", "b=false")
        result(totals.read_text(encoding="utf-8") == "1 1 0\n", "the totals file", done.stdout)
        done = run("--logs", folder)
        result(done.returncode == 1, "no test at all is a failure", done.stdout)
    print(f"1..{number}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
