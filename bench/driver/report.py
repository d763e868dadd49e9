# SPDX-License-Identifier: Apache-2.0
"""From the rows of all rounds to medians, ratios and verdicts; as JSON for programs and as a table."""

import dataclasses
import json
import statistics

UNITS = {"mb_s": "MB/s", "requests_s": "req/s", "records_s": "rec/s", "mib": "MiB", "ms": "ms", "percent": "%"}
BUSY_CORES = 0.3
STOLEN_PERCENT = 0.5  # more of a run decides what its p99 is


def value_of(profile, row):
    """The figure that is compared."""
    return row["latency_us"][profile.field] if profile.is_latency else row[profile.field]


def unit(profile):
    return f"us {profile.field}" if profile.is_latency else UNITS[profile.field]


def figure(value, profile):
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{text} {unit(profile)}"


def limit_of(profile, beside):
    """Name and value of what the profile stands beside: the lowest of its limits, or their sum."""
    values = [(value_of(profile, row), row.get("name") or row["profile"]) for row in beside]
    if profile.join == "sum":
        return sum(v for v, _ in values), " + ".join(n for _, n in values)
    return min(values)


def per_core(profile, row):
    """Work for each second that a server core was busy."""
    cores = row.get("server_cores", 0)
    return value_of(profile, row) / cores if cores > 0.01 and not profile.smaller_is_better else None


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def remark(others_cores, stolen_percent):
    """What may explain a bad figure: others kept cores busy, or the hypervisor kept CPU time back."""
    return ("(busy)" if (others_cores or 0) > BUSY_CORES else
            "(stolen)" if (stolen_percent or 0) > STOLEN_PERCENT else "")


def verdict(profile, ratio, value):
    """met or missed."""
    if profile.target is None:
        return ""
    reached = ratio if profile.limits else value
    good = reached <= profile.target if profile.smaller_is_better else reached >= profile.target
    return "met" if good else "missed"


def server_cost(row):
    """Server CPU seconds for each GB and for each million records."""
    cores = row.get("server_cores")
    if cores is None or not row.get("mb_s"):
        return None, None
    records = row["records_s"]
    return cores / (row["mb_s"] / 1e3), cores / (records / 1e6) if records else None


def build_row(profile, pairs):
    measured = [row for row, _ in pairs]
    limits = [limit_of(profile, beside) for _, beside in pairs] if profile.limits else []
    ratios = [value_of(profile, row) / value for row, (value, _) in zip(measured, limits) if value > 0]
    costs = [server_cost(row) for row in measured]
    core_ratios = []
    for row, beside in pairs:
        # A limit on the disk keeps no core busy, so only a single limit compares per core.
        theirs = per_core(profile, beside[0]) if len(beside) == 1 else None
        mine = per_core(profile, row)
        core_ratios.append(mine / theirs if mine and theirs else None)
    # The middle of a latency tells of the broker where its tail tells of the neighbours.
    middle = dataclasses.replace(profile, field="p50")
    halves = [value_of(middle, row) / value for row, value in
              ((row, limit_of(middle, beside)[0]) for row, beside in pairs if beside and profile.is_latency) if value > 0]
    value = median([value_of(profile, row) for row in measured])
    ratio = median(ratios)
    others = median([row.get("others_cores") for row in measured])
    stolen = median([row.get("stolen_percent") for row in measured])
    said = f"{verdict(profile, ratio, value)} {remark(others, stolen)}".strip()
    latency = [row["latency_us"] for row in measured if "latency_us" in row]
    return {"profile": profile.name, "group": profile.group, "field": profile.field, "unit": unit(profile),
            "value": value, "latency_us": {q: median([one[q] for one in latency]) for q in latency[0]}
            if latency else None,
            "server_cores": median([row.get("server_cores") for row in measured]),
            "others_cores": others, "stolen_percent": stolen,
            "cpu_s_per_gb": median([gb for gb, _ in costs]),
            "cpu_s_per_million_records": median([m for _, m in costs]),
            "limit": limits[0][1] if limits else None, "limit_value": median([v for v, _ in limits]),
            "ratio": ratio, "ratios": ratios, "ratio_p50": median(halves), "ratio_per_core": median(core_ratios), "target": profile.target,
            "smaller_is_better": profile.smaller_is_better, "verdict": said,
            "rounds": [{"measured": row, "limits": beside} for row, beside in pairs]}


def build(machine, profiles, rows, rounds, seconds):
    for name, pairs in rows.items():
        for row, _ in pairs:
            row["profile"] = name
    return {"machine": machine, "commit": machine["commit"], "rounds": rounds, "seconds": seconds,
            "profiles": [build_row(p, rows[p.name]) for p in profiles]}


def limit_rows(rows, alone):
    """Medians of every limit that was measured, beside a profile or alone."""
    seen = {}
    for row in [one for pairs in rows.values() for _, beside in pairs for one in beside] + alone:
        if "limit" in row:
            seen.setdefault(row["name"], []).append(row)
    return [{"limit": name, "times": len(those),
             **{field: median([row[field] for row in those]) for field in ("mb_s", "requests_s", "server_cores")},
             "mb_per_core_s": median([row["mb_s"] / row["server_cores"] for row in those if row["server_cores"] > 0.01]),
             "latency_us": {q: median([row["latency_us"][q] for row in those]) for q in those[0]["latency_us"]}}
            for name, those in seen.items()]


def number(value, form=",.0f"):
    return "" if value is None else format(value, form)


def target_text(row):
    if row["target"] is None:
        return ""
    sign = "<=" if row["smaller_is_better"] else ">="
    return f"{sign} {row['target']:g}" + ("" if row["limit"] else f" {row['unit']}")


def markdown(head, lines, left):
    """A table whose columns are of equal width, so that a terminal shows it as well; @left: those whose text
    begins at the left."""
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]

    def text(line):
        return "| " + " | ".join(c.ljust(w) if i in left else c.rjust(w)
                                 for i, (c, w) in enumerate(zip(line, widths))) + " |"

    rule = "|" + "|".join("-" * (w + 1) + ("-" if i in left else ":") for i, w in enumerate(widths)) + "|"
    return "\n".join([text(head), rule, *map(text, lines)])


def table(result):
    head = ["profile", "value", "p50 us", "p99 us", "CPU s/GB", "CPU s/M rec", "limit", "its value", "ratio",
            "at p50", "per core", "target", ""]
    lines = []
    for row in result["profiles"]:
        latency = row["latency_us"] or {}
        value = f"{row['value']:,.0f}" if row["value"] >= 100 else f"{row['value']:.3g}"
        lines.append([row["profile"], f"{value} {row['unit']}", number(latency.get("p50")),
                      number(latency.get("p99")), number(row["cpu_s_per_gb"], ".2f"),
                      number(row["cpu_s_per_million_records"], ".2f"), row["limit"] or "",
                      number(row["limit_value"]), number(row["ratio"], ".2f"),
                      number(row["ratio_p50"], ".2f"), number(row["ratio_per_core"], ".2f"), target_text(row), row["verdict"]])
    return markdown(head, lines, left=(0, 6))


def limits_table(result):
    head = ["limit", "MB/s", "requests/s", "p50 us", "p99 us", "server cores", "MB per core s", "measured"]
    lines = [[row["limit"], number(row["mb_s"]), number(row["requests_s"]), number(row["latency_us"]["p50"]),
              number(row["latency_us"]["p99"]), number(row["server_cores"], ".2f"), number(row["mb_per_core_s"]),
              str(row["times"])] for row in result["limits"]]
    return markdown(head, lines, left=(0,))


def micro_table(result):
    lines = [[row["micro"], number(row["ns"], ",.1f"), number(row["mb_s"]) if row["mb_s"] else ""]
             for row in result["micro"]]
    return markdown(["function", "ns a call", "MB/s"], lines, left=(0,))


def text(result):
    """All tables, as the .md file has them."""
    parts = [heading(result), table(result), "\n## Limits\n", limits_table(result), "\n## Hot functions\n",
             micro_table(result)]
    parts += [f"\nSkipped: {why}" for why in result["skipped"]]
    return "\n".join(parts + [f"\nFailed: {failure}" for failure in result["failures"]]) + "\n"


def heading(result):
    m = result["machine"]
    others = median([row["others_cores"] for row in result["profiles"]])
    return (f"# {m['commit']}{' with changes' if m['changed'] else ''}\n\n"
            f"{m['time']}, {m['cpu']}, {m['cpus']} cpus (lane on cpu {m['lane_cpu']}), {m['memory_mib']:,} MiB, "
            f"Linux {m['kernel']}, {m['file_system']}; medians of {result['rounds']} rounds of "
            f"{result['seconds']:g} s."
            + (f" Others kept {others:.2f} cores busy meanwhile." if others is not None else "") + "\n")


def write(result, folder):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result['commit']}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    path.with_suffix(".md").write_text(text(result))
    return path
