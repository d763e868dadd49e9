# SPDX-License-Identifier: Apache-2.0
"""Plots of one result by gnuplot, each as SVG and PNG: ratios as bars, latency over percentiles, and how
throughput holds up over partitions and connections."""

import re
import shutil
import subprocess

TERMINALS = {"svg": "svg size 1000,600 dynamic font 'sans,13' background 'white'",
             "png": "pngcairo size 1000,600 font 'sans,11'"}
PERCENTILES = ["p50", "p90", "p99", "p99.9", "p99.99", "max"]
COMMON = "set grid ytics lc rgb '#dddddd'\nset border 3\nset tics nomirror\n"


def quoted(text):
    return '"' + text.replace('"', "'") + '"'


def block(name, rows):
    return f"${name} << EOD\n" + "\n".join(" ".join(map(str, row)) for row in rows) + "\nEOD\n"


def ratios(result):
    """Throughput as a share of the machine's limit, with a mark at what is aimed at."""
    rows = [r for r in result["profiles"] if r["ratio"] and not r["smaller_is_better"] and
            r["group"] in ("produce", "fetch")]
    if not rows:
        return None
    data = [(i, quoted(r["profile"]), r["ratio"], min(r["ratios"]), max(r["ratios"]),
             r["target"] if r["target"] is not None else "NaN") for i, r in enumerate(rows)]
    return COMMON + block("d", data) + (
        f"set title 'Throughput beside the machine''s limit, {result['commit']}'\n"
        "set ylabel 'share of the limit'\nset yrange [0:*]\nset boxwidth 0.7\nset style fill solid 0.8\n"
        "set xtics rotate by -35 scale 0\nset rmargin 14\nset key top right\n"
        "plot $d using 1:3:xtic(2) with boxes lc rgb '#4477aa' title 'median', "
        "'' using 1:4:(0):($5-$4) with vectors nohead lw 2 lc rgb 'black' title 'rounds', "
        "'' using 1:6 with points pt 9 ps 1.4 lc rgb '#cc3311' title 'target'\n")


def latency(result):
    """One curve for each e2e profile, and for the round trips beside them."""
    curves = [(r["profile"], r["latency_us"]) for r in result["profiles"] if r["group"] == "e2e"]
    if not curves:
        return None
    seen = {}
    for row in result["profiles"]:
        for one in row["rounds"]:
            for limit in one["limits"]:
                if limit.get("limit") == "round-trip" and row["group"] == "e2e":
                    seen[limit["name"]] = limit["latency_us"]
    curves += list(seen.items())
    blocks = "".join(block(f"c{n}", [(i, values[p]) for i, p in enumerate(PERCENTILES)])
                     for n, (_, values) in enumerate(curves))
    tics = ", ".join(f"'{p}' {i}" for i, p in enumerate(PERCENTILES))
    lines = ", ".join(f"$c{n} with linespoints lw 2 {'dt 2' if name in seen else ''} title {quoted(name)}"
                      for n, (name, _) in enumerate(curves))
    return COMMON + blocks + (
        f"set title 'End-to-end latency, {result['commit']}'\nset ylabel 'microseconds'\nset logscale y\n"
        f"set xtics ({tics})\nset key outside right\nplot {lines}\n")


def scaling(group):
    def draw(result):
        found = [(re.match(r"[\d,]+", r["profile"]), r) for r in result["profiles"] if r["group"] == group]
        rows = sorted((int(m[0].replace(",", "")), r["value"], (r["latency_us"] or {}).get("p99", "NaN"))
                      for m, r in found if m)
        if len(rows) < 2:
            return None
        return COMMON + block("d", rows) + (
            f"set title 'Throughput and p99 over {group}, {result['commit']}'\nset xlabel '{group}'\n"
            "set ylabel 'MB/s'\nset y2label 'p99, microseconds'\nset y2tics\nset logscale x\nset logscale y2\n"
            "set yrange [0:*]\nset key bottom left\n"
            "plot $d using 1:2 with linespoints lw 2 lc rgb '#4477aa' title 'MB/s', "
            "'' using 1:3 axes x1y2 with linespoints lw 2 dt 2 lc rgb '#cc3311' title 'p99'\n")
    return draw


PLOTS = {"ratios": ratios, "latency": latency, "partitions": scaling("partitions"),
         "connections": scaling("connections")}


def draw(result, folder):
    """Returns a line that says what was drawn, or why nothing was."""
    if not shutil.which("gnuplot"):
        return "plots: skipped, gnuplot is not installed"
    names = []
    for name, make in PLOTS.items():
        script = make(result)
        for ending, terminal in TERMINALS.items() if script else ():
            path = folder / f"{result['commit']}-{name}.{ending}"
            done = subprocess.run(["gnuplot"], input=f"set terminal {terminal}\nset output '{path}'\n{script}",
                                  text=True, capture_output=True, timeout=60, check=False)
            if done.returncode != 0:
                return f"plots: gnuplot refused {name}: {done.stderr.strip()}"
            names.append(path.name)
    return f"plots: {', '.join(names) or 'nothing to draw'}"
