#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""make bench: profiles of the broker, each beside the machine's own limit for the same work.

    run.py [--rounds N] [--seconds S] [--only PATTERN]... [--quick] [--results DIR] [--no-plots]
           [--hot-bytes N] [--list]

A round measures each profile's limit and then the profile; what is reported is the median over the
rounds of the figure and of the ratio.  Writes <commit>.json, <commit>.md and plots to --results."""

import argparse
import collections.abc
import contextlib
import dataclasses
import fnmatch
import functools
import pathlib
import resource
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench" / "driver"))
import limits  # noqa: E402
import machine  # noqa: E402
import plots  # noqa: E402
import report  # noqa: E402
import scenarios  # noqa: E402
from profiles import PROFILES  # noqa: E402

ROUNDS, SECONDS = 5, 2.0
DESCRIPTORS = 131072
WARMUP_SHARE = 0.25
HOT_SHARE = 4  # of the machine's memory, that log.hot.bytes takes by default


@dataclasses.dataclass(frozen=True)
class Context:
    """What a scenario needs to know of its round."""

    broker: scenarios.BenchBroker
    roomy: collections.abc.Callable  # a broker with default settings, tier included
    seconds: float

    @property
    def warmup(self):
        return self.seconds * WARMUP_SHARE


def chosen(options):
    """Profiles that match, and those they are compared with."""
    names = {p.name for p in PROFILES if (p.core or not options.quick) and
             (not options.only or any(fnmatch.fnmatch(p.name, pattern) or pattern in p.name
                                      for pattern in options.only))}
    known = {p.name for p in PROFILES}
    names |= {limit for p in PROFILES if p.name in names for limit in p.limits if limit in known}
    return [p for p in PROFILES if p.name in names]


def beside_of(profile, context, seen):
    """The rows that the profile is compared with: of this round's earlier profiles, or limits measured now."""
    missing = [name for name in profile.limits if name not in seen and name not in limits.LIMITS]
    if missing:
        raise machine.Failed(f"{missing[0]} failed, so there is nothing to compare with")
    return [seen[name] if name in seen else limits.measure(name, context.seconds, context.warmup)
            for name in profile.limits]


def raise_descriptors():
    """As many as the largest profile needs, where that is allowed.  Return: how many there are."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for wanted in (max(hard, DESCRIPTORS), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
        except (ValueError, OSError):
            continue
    return hard


def roomy_broker(stack, broker):
    """A function that starts a second broker when it is first called, with the default tier if that is larger."""

    @functools.cache
    def roomy():
        hot_bytes = max(machine.total_memory() // HOT_SHARE, broker.hot_bytes)
        other = stack.enter_context(scenarios.BenchBroker(hot_bytes, settings={}))
        other.warm()
        return other

    return roomy


def one_round(context, profiles, rows, failures):
    """Appends to rows[name] one (row of the profile, rows of its limits).  A profile that fails leaves the others
    alone, unless it took the broker with it."""
    seen = {}
    for profile in profiles:
        print(f"  {profile.name} ...", end="", flush=True)
        try:
            beside = beside_of(profile, context, seen)
            if any(one.get("limit") in limits.HEAVY for one in beside):
                machine.settle()
            row = getattr(scenarios, profile.scenario or "plain")(context, profile)
        except (machine.Failed, subprocess.TimeoutExpired) as error:
            print(f" failed: {error}", flush=True)
            failures.append(f"{profile.name}: {error}")
            if context.broker.process.poll() is not None:
                raise machine.Failed(context.broker.tail("the broker ended")) from None
            continue
        seen[profile.name] = row
        rows[profile.name].append((row, beside))
        print(f" {report.figure(report.value_of(profile, row), profile)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN")
    parser.add_argument("--quick", action="store_true", help="one round of one second, core profiles")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "bench" / "results")
    parser.add_argument("--no-plots", action="store_true")
    parser.add_argument("--hot-bytes", type=int, default=scenarios.BenchBroker.hot_bytes, help="the broker's hot tier")
    parser.add_argument("--list", action="store_true", help="name the profiles and end")
    options = parser.parse_args()
    profiles = chosen(options)
    if options.list or not profiles:
        print("\n".join(p.name for p in PROFILES))
        return 0 if options.list else 2
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    seconds = options.seconds or (1.0 if options.quick else SECONDS)
    have = raise_descriptors()
    skipped = [f"{p.name}: needs {p.descriptors:,} descriptors, there are {have:,} (ulimit -n)" for p in profiles
               if p.descriptors > have]
    profiles = [p for p in profiles if p.descriptors <= have]
    rows, failures, alone = {p.name: [] for p in profiles}, [], []
    print(f"{len(profiles)} profiles, {rounds} rounds of {seconds:g} s", flush=True)
    scenarios.BenchBroker.hot_bytes = options.hot_bytes
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(scenarios.BenchBroker())
        roomy = roomy_broker(stack, broker)
        if any(p.group != "idle" for p in profiles):
            broker.warm()
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", flush=True)
            one_round(Context(broker, roomy, seconds), profiles, rows, failures)
            if not options.only and not options.quick:
                used = {name for p in profiles for name in p.limits}
                alone += [limits.measure(name, seconds, seconds * WARMUP_SHARE) for name in limits.LIMITS
                          if name not in used]
    measured = [p for p in profiles if rows[p.name]]
    result = report.build(machine.describe(), measured, rows, rounds, seconds)
    result.update(limits=report.limit_rows(rows, alone), micro=limits.micro(), failures=failures, skipped=skipped)
    path = report.write(result, options.results)
    print(report.table(result))
    if not options.no_plots:
        print(plots.draw(result, options.results))
    print(f"results: {path}", *(f"skipped: {why}" for why in skipped), *(f"failed: {why}" for why in failures), sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except machine.Failed as error:
        print(error, file=sys.stderr)
        sys.exit(1)
