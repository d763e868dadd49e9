#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs test programs and test scripts and counts what they did.

    run.py [--build DIR] [--logs DIR] [--totals FILE] [--reasons FILE] [--verbose] [--filter GLOB]
           [--unit PROGRAM...] [--command NAME=SHELL...] [--scripts FILE...]

A unit test program is a Criterion program; each of its tests counts.  A command counts as one
test.  A script counts as one test too, unless it prints TAP with a plan (1..N): then each of its
test lines counts.  Exit status 77 of a script, or of the recipe of a make target run as a command,
means "skipped", and the last line of output says why.
A script is given 300 s, or what its comment "# timeout: SECONDS" says, and runs in a process group
of its own: whatever is left of it afterwards is ended and counts as a failure, because a forgotten
daemon spoils the tests behind it.

The end of the output names each test that failed with its reason in a few lines, so that it is
enough where the rest was cut: of a Criterion test the assertions, of a TAP test the lines indented
(or commented out) below it, of everything else the last lines that it printed.  The last line is
always "N passed, N failed, N skipped".
"""
import argparse
import fnmatch
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT_TIMEOUT_S = 300
PROGRAM_TIMEOUT_S = 900
COMMAND_TIMEOUT_S = 900
CASE_TIMEOUT_S = 120
GRACE_S = 5
TAIL_LINES = 60
REASON_LINES = 6
REASON_COLUMNS = 300
LAST_LINES = 3
SKIP_STATUS = 77


class Failure:
    """A test that failed: its name, or what is wrong with the whole, and why, line by line."""

    def __init__(self, name, reason=()):
        self.name = name
        self.reason = list(reason)


class Result:
    """What one program, command or script added to the totals.  failures are Failure objects,
    skips texts."""

    def __init__(self):
        self.passed = 0
        self.failures = []
        self.skips = []

    def fail(self, name, reason=()):
        self.failures.append(Failure(name, reason))

    def count(self):
        return self.passed + len(self.failures) + len(self.skips)


class Ended:
    """How a child process ended.  left_behind are the command lines of what still ran."""

    def __init__(self, status, output, seconds, timed_out, left_behind):
        self.status = status
        self.output = output
        self.seconds = seconds
        self.timed_out = timed_out
        self.left_behind = left_behind


def short(lines):
    """At most REASON_LINES of lines: the first say what was checked, the last what happened."""
    lines = [line if len(line) <= REASON_COLUMNS else line[:REASON_COLUMNS] + " ..." for line in lines]
    if len(lines) <= REASON_LINES:
        return lines
    head = lines[:REASON_LINES // 3]
    tail = lines[-(REASON_LINES - len(head) - 1):]
    return head + [f"... {len(lines) - len(head) - len(tail)} more lines"] + tail


def last_lines(output):
    """The last lines that say something; make's own line about a recipe that failed does not."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = [line for line in lines if not re.match(r"make.*(\] Error \d+$|ing directory )", line)]
    return (said or lines)[-LAST_LINES:]


def assertions(below):
    """The failed assertions in the lines that Criterion's TAP has below a test."""
    found = []
    for line in below:
        match = re.match(r"  - (\S+:\d+): \|\+?$", line)
        if match:
            found.append(match.group(1) + ":")
        elif found and line.startswith("      "):
            found[-1] += " " + re.sub("^Assertion failed: ", "", line[6:])
    return found[::-1]  # Criterion lists the newest first.


def before_end(name, output):
    """What a test that died printed itself, as far as Criterion, which runs several at once, shows."""
    said = []
    for line in output.splitlines():
        if re.match(rf"\[FAIL\] {re.escape(name)}:", line):
            return said
        if not line.startswith("[----]"):
            said = [] if line.startswith("[") else said + [line]
    return []


def reason_of_unit(test, below, output):
    """Why a Criterion test failed: its assertions, else what it said before it died."""
    name, _, how = test.partition(" ")
    reason = assertions(below) or before_end(name, output)
    return reason or ([] if how else ["it ended before its end, without a failed assertion"])


def parse_tap(text, result, reason_of=lambda name, below: below):
    """Counts TAP test lines into result; returns why the text is no complete TAP, or None.  reason_of
    makes the reason of a failed test out of the lines below it."""
    plan = None
    seen = 0
    below = None
    for line in text.splitlines():
        match = re.match(r"1\.\.(\d+)\b", line)
        if match:
            plan = int(match.group(1))
            continue
        match = re.match(r"(not ok|ok)\b[ \d]*(?:- *)?(.*)", line)
        if not match:
            if below is not None and re.match(r"[ \t#]", line):
                below.append(line)
            else:
                below = None
            continue
        seen += 1
        below = None
        name, _, directive = match.group(2).partition("#")
        name = re.sub(r"\s*\(\d[\d.]*s\)\s*$", "", name).strip()
        directive = directive.strip()
        if match.group(1) == "not ok":
            result.fail(name)
            below = result.failures[-1].reason
        elif directive.upper().startswith("SKIP"):
            result.skips.append(f"{name}: {directive[4:].strip() or 'no reason given'}")
        else:
            result.passed += 1
    for failure in result.failures:
        failure.reason = reason_of(failure.name, failure.reason)
    if plan is None:
        return "no plan line (1..N)"
    if plan != seen:
        return f"planned {plan} tests, saw {seen}"
    return None


def group_members(pgid):
    """The command lines of what runs in the process group; zombies that nobody reaps do not count."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                state, _, group = stat.read().rsplit(")", 1)[1].split()[:3]
            if int(group) == pgid and state not in "ZX":
                found.append(Path(f"/proc/{entry}/cmdline").read_text(errors="replace")
                             .replace("\0", " ").strip())
        except (OSError, ValueError, IndexError):
            continue
    return found


def end_group(pgid):
    """Ends what still runs in the process group: politely, then for certain."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(pgid, sig)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + GRACE_S
        while group_members(pgid) and time.monotonic() < deadline:
            time.sleep(0.05)


def run_child(argv, env, log_path, timeout_s, echo):
    """Runs argv in its own process group with its output in log_path."""
    start = time.monotonic()
    timed_out = False
    with open(log_path, "wb") as log:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log,
                                 stderr=subprocess.STDOUT, env=env, cwd=ROOT,
                                 start_new_session=True)
        try:
            status = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            timed_out = True
            end_group(child.pid)
            status = child.wait()
        except BaseException:
            end_group(child.pid)
            raise
    seconds = time.monotonic() - start
    deadline = time.monotonic() + GRACE_S
    while group_members(child.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    left_behind = [] if timed_out else group_members(child.pid)
    end_group(child.pid)
    output = Path(log_path).read_text(encoding="utf-8", errors="replace")
    if echo:
        sys.stdout.write(output)
    return Ended(status, output, seconds, timed_out, left_behind)


def describe_status(status):
    if status < 0:
        try:
            return f"killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"killed by signal {-status}"
    return f"exit status {status}"


class Runner:
    def __init__(self, options):
        self.options = options
        self.total = Result()
        self.logs = Path(options.logs or tempfile.mkdtemp(prefix="sluice-tests-"))
        self.logs.mkdir(parents=True, exist_ok=True)
        self.env = dict(os.environ, SLUICE_ROOT=str(ROOT))
        if options.build:
            self.env["SLUICE_BUILD"] = str(Path(options.build).resolve())
        self.env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")

    def wanted(self, name):
        return not self.options.filter or fnmatch.fnmatch(name, self.options.filter)

    def log_path(self, name):
        return self.logs / (name.replace("/", "-") + ".log")

    def report(self, name, result, ended, log):
        """Prints the line of one item, its output if it failed, and adds it to the totals."""
        word = "FAIL" if result.failures else "ok" if result.passed else "skip"
        detail = f"{result.count()} tests, " if result.count() > 1 else ""
        print(f"{word:5} {name}  ({detail}{ended.seconds:.1f} s)", flush=True)
        for reason in result.skips:
            print(f"      skipped: {reason}")
        if result.failures and not self.options.verbose:
            lines = ended.output.splitlines()
            if len(lines) > TAIL_LINES:
                print(f"      ... {len(lines) - TAIL_LINES} earlier lines in {log}")
            for line in lines[-TAIL_LINES:]:
                print(f"      | {line}")
        self.total.passed += result.passed
        for failure in result.failures:
            self.total.fail(f"{name}: {failure.name}", short(failure.reason))
        self.total.skips += [f"{name}: {skip}" for skip in result.skips]
        sys.stdout.flush()

    def common_failures(self, ended, timeout_s, result):
        if ended.timed_out:
            result.fail(f"timed out after {timeout_s} s", last_lines(ended.output))
        if ended.left_behind:
            result.fail("left processes behind", ended.left_behind)

    def run_unit(self, program):
        name = Path(program).name
        if not self.wanted(name):
            return
        log = self.log_path(name)
        tap = log.with_suffix(".tap")
        tap.unlink(missing_ok=True)
        argv = [str(Path(program).resolve()), f"--tap={tap}", f"--timeout={CASE_TIMEOUT_S}"]
        ended = run_child(argv, self.env, log, PROGRAM_TIMEOUT_S, self.options.verbose)
        result = Result()
        problem = parse_tap(
            tap.read_text(errors="replace"), result,
            lambda test, below: reason_of_unit(test, below, ended.output)
        ) if tap.exists() else "no report"
        self.common_failures(ended, PROGRAM_TIMEOUT_S, result)
        # Criterion has taken a test's verdict before its process looks for leaks at its end.
        for found in sorted(set(re.findall(
                r"(?:ERROR: LeakSanitizer|WARNING: ThreadSanitizer): [^\n(]*[^\n( ]", ended.output))):
            result.fail(found, re.findall(r"^SUMMARY: .*", ended.output, re.MULTILINE))
        if problem and not ended.timed_out:
            result.fail(f"{problem} ({describe_status(ended.status)})", last_lines(ended.output))
        elif ended.status != 0 and not result.failures:
            result.fail(describe_status(ended.status), last_lines(ended.output))
        elif result.count() == 0:
            result.fail("the program holds no test")
        self.report(name, result, ended, log)

    def run_command(self, spec):
        name, _, command = spec.partition("=")
        if not self.wanted(name):
            return
        log = self.log_path(name)
        ended = run_child(["/bin/sh", "-c", command], self.env, log, COMMAND_TIMEOUT_S,
                          self.options.verbose)
        # make has a status of its own; the one of the recipe stands in its last line.
        if ended.status != 0 and re.search(rf"^make.*\*\*\*.* Error {SKIP_STATUS}$", ended.output,
                                           re.MULTILINE):
            ended.status = SKIP_STATUS
            ended.output = re.sub(r"^make.*\n?", "", ended.output, flags=re.MULTILINE)
        self.judge(name, ended, COMMAND_TIMEOUT_S, log)

    def run_script(self, script):
        path = Path(script).resolve()
        name = os.path.relpath(path, ROOT / "tests") if ROOT in path.parents else path.name
        if not self.wanted(name):
            return
        log = self.log_path(name)
        if not os.access(path, os.X_OK):
            # Passing over it would be a test that silently never runs.
            ended = Ended(1, f"{script} is not executable (chmod +x)\n", 0, False, [])
            self.judge(name, ended, 0, log)
            return
        head = path.read_text(encoding="utf-8", errors="replace")[:4096]
        match = re.search(r"^(?:#|//) timeout: (\d+)$", head, re.MULTILINE)
        timeout_s = int(match.group(1)) if match else SCRIPT_TIMEOUT_S
        ended = run_child([str(path)], self.env, log, timeout_s, self.options.verbose)
        self.judge(name, ended, timeout_s, log)

    def judge(self, name, ended, timeout_s, log):
        result = Result()
        self.common_failures(ended, timeout_s, result)
        if not ended.timed_out:
            if ended.status == SKIP_STATUS:
                lines = ended.output.strip().splitlines()
                result.skips.append(lines[-1] if lines else "no reason given")
            elif re.search(r"^1\.\.\d+\s*$", ended.output, re.MULTILINE):
                problem = parse_tap(ended.output, result)
                if problem:
                    result.fail(problem, last_lines(ended.output))
                elif ended.status != 0 and not result.failures:
                    result.fail(describe_status(ended.status), last_lines(ended.output))
            elif ended.status != 0:
                result.fail(describe_status(ended.status), last_lines(ended.output))
            elif not result.failures:
                result.passed = 1
        self.report(name, result, ended, log)

    def finish(self):
        total = self.total
        if total.count() == 0:
            total.fail("no test was run")
        if total.skips:
            print("Skipped:", *total.skips, sep="\n  ")
        if total.failures:
            text = "".join(f"  {failure.name}\n" + "".join(f"      {line}\n" for line in failure.reason)
                           for failure in total.failures)
            print(f"Failed:\n{text}", end="")
            if self.options.reasons:
                with open(self.options.reasons, "a", encoding="utf-8") as out:
                    out.write(text)
        counts = (total.passed, len(total.failures), len(total.skips))
        if self.options.totals:
            with open(self.options.totals, "a", encoding="utf-8") as out:
                print(*counts, file=out)
        print("%d passed, %d failed, %d skipped" % counts, flush=True)
        return 1 if total.failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", help="build folder, handed to scripts as SLUICE_BUILD")
    parser.add_argument("--logs", help="folder for the output of each item")
    parser.add_argument("--totals", help="file to which 'PASSED FAILED SKIPPED' is appended")
    parser.add_argument("--reasons", help="file to which the failed tests and their reasons are appended")
    parser.add_argument("--verbose", action="store_true", help="show the output of passing items")
    parser.add_argument("--filter", help="run only items whose name matches this pattern")
    parser.add_argument("--unit", nargs="*", default=[], metavar="PROGRAM")
    parser.add_argument("--command", nargs="*", default=[], metavar="NAME=SHELL")
    parser.add_argument("--scripts", nargs="*", default=[], metavar="FILE")
    options = parser.parse_args()
    runner = Runner(options)
    # A run in the background is started with SIGINT ignored, and would hand that down to the tests, some of which
    # send it; a handler is not handed down.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A terminated run must take its children with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for program in options.unit:
        runner.run_unit(program)
    for spec in options.command:
        runner.run_command(spec)
    for script in sorted(options.scripts):
        runner.run_script(script)
    return runner.finish()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
