#!/usr/bin/env python3
"""Writes the tables of docs/performance/README.md, and its chart, from what the benchmarks have measured.

    benches/performance_tables.py            # reads results.json and sessions.json in docs/performance
    benches/performance_tables.py --check    # writes nothing; fails if a table or the chart is not what was measured

A table stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

import difflib
import json
import math
import pathlib
import re
import statistics
import sys

PLACE = pathlib.Path(__file__).resolve().parent.parent / "docs" / "performance"
MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
LEVELS = {"Full": "FULL", "Normal": "NORMAL", "Synced": "synced", "Memory": "memory"}
LIMITS = {"default": "default limits", "off": "all in memory", "cold": "all emptied"}


def main():
    results = json.loads((PLACE / "results.json").read_text())
    sessions = json.loads((PLACE / "sessions.json").read_text())
    tables = {"Conditions": conditions(results), "Latency": latencies(results), "Memory": memory(sessions)}
    for row in results["rows"]:
        tables.setdefault(row["topic"], rates([other for other in results["rows"] if other["topic"] == row["topic"]]))
    readme = PLACE / "README.md"
    filled = MARKED.sub(lambda mark: f"{mark[1]}\n{tables[mark[2]]}\n{mark[3]}", readme.read_text())
    stale = False
    for path, text in ((readme, filled), (PLACE / "appends.svg", chart(results))):
        found = path.read_text() if path.exists() else ""
        if "--check" not in sys.argv[1:]:
            path.write_text(text)
        elif found != text:
            stale = True
            difference = difflib.unified_diff(found.splitlines(True), text.splitlines(True), str(path), "as measured")
            sys.stderr.writelines(difference)
    return stale


def conditions(results):
    machine = results["machine"]
    return (
        f"foldlog {machine['foldlog']} at commit {machine['commit']}, SQLite {machine['sqlite']}; {machine['cores']} "
        f"cores, {machine['memory_gib']} GiB of memory, {machine['system']}, {machine['file_system']} on a virtual disk.\n"
        f"{results['rounds']} rounds; each side of a row ran {results['seconds']:g} s in each round, or "
        f"{results['seconds_sustained']:g} s where the row says \"sustained\".\n"
        + "".join(f"Left out: {left_out}.\n" for left_out in results["left_out"])
    )


def rates(rows):
    """One topic. The levels have a column if the rows differ in them."""
    with_levels = len({levels(row) for row in rows}) > 1
    heads = ["what", "baseline", "foldlog is", "ratio, median [min..max]", "foldlog", "the baseline"]
    lines = []
    for row in rows:
        ratio, sides = row["rate"]["ratio"], [figure(row, row[side]) for side in ("ours", "other")]
        lines.append([what(row), row["beside"], in_words(ratio), spread(ratio), *sides])
    if with_levels:
        heads.insert(2, "durability")
        for line, row in zip(lines, rows):
            line.insert(2, levels(row))
    return table(heads, lines)


def latencies(results):
    """Of the appends beside those written by hand."""
    heads = ["what", "baseline", "durability", "foldlog: p50 / p99 / p99.9", "baseline: p50 / p99 / p99.9"]
    rows = appends(results)
    both = [[time_text(row[side]["latency"]) for side in ("ours", "other")] for row in rows]
    return table(heads, [[what(row), row["beside"], levels(row), *times] for row, times in zip(rows, both)])


def appends(results):
    """Beside those by hand: first at FULL."""
    return [row for topic in ("Appends", "AppendsNormal") for row in results["rows"] if row["topic"] == topic]


def memory(sessions):
    heads = ["sessions", "limits", "in memory", "memory they add", "for each"]
    heads += ["append to an emptied one: p50 / p99", "to one in memory: p50 / p99"]
    lines = []
    for row in sessions:
        times = [" / ".join(micros(row[f"{of}_append_{p}_us"]) for p in ("p50", "p99")) for of in ("cold", "resident")]
        size = f"{row['resident_bytes'] / (1 << 20):.1f} MiB"
        counts = [f"{row['sessions']:,}", LIMITS[row["residency"]], f"{row['sessions_resident']:,}"]
        lines.append([*counts, size, f"{row['bytes_per_session']:,} bytes", *times])
    return table(heads, lines)


def what(row):
    return row["what"] + (", sustained" if row["sustained"] else "")


def levels(row):
    ours, other = (LEVELS[level] for level in row["levels"])
    return ours if ours == other else f"foldlog {ours}, baseline {other}"


def in_words(ratio):
    """Faster only if every round says so, slower if the median does."""
    if ratio["min"] > 1.0:
        return "faster"
    if ratio["median"] < 0.95:
        return f"**slower**: {number(1 / ratio['median'])} times the time"
    return "about as fast"


def spread(ratio):
    return f"{number(ratio['median'])}x [{number(ratio['min'])}..{number(ratio['max'])}]"


def number(ratio):
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:,.0f}"


def figure(row, side):
    """How long one opening takes, or how many of the row's units a side does in a second, with two digits."""
    if row["topic"] == "Opening":
        return f"{statistics.median(sample['facts']['ms'] for sample in side['rounds']):.1f} ms"
    return f"{float(format(side['per_second']['median'], '.2g')):,.0f} {row['unit']}/s"


def time_text(latency):
    return " / ".join(micros(latency[name]) for name in ("p50", "p99", "p999"))


def micros(value):
    return f"{value:.0f} us" if value < 1000 else f"{value / 1000:.{1 if value < 10_000 else 0}f} ms"


def table(heads, lines):
    widths = [max(map(len, column)) for column in zip(heads, *lines)]
    cells = [heads, ["-" * width for width in widths], *lines]
    return "".join(f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths))} |\n" for line in cells)


# The chart: a bar a row from 1x, to the right where foldlog is faster, to the left where it is slower.
WIDTH, NAMES, RIGHT, TOP, ROW = 1000, 520, 880, 112, 34
LOW, HIGH = 1 / 16, 32
FASTER, SLOWER, INK, PALE, RULE = "#0b61a4", "#d9822b", "#1f2933", "#66717e", "#dfe3e8"


def chart(results):
    rows = appends(results)
    bottom = TOP + ROW * len(rows)
    parts = [label(20, 32, "Appends through foldlog, and appends written by hand", INK, 17, "start", 600)]
    for place, text in enumerate((
        "Below each name is the baseline. Right of 1x foldlog is faster than the baseline, left of 1x it is slower.",
        "A bar ends at the median ratio of the rounds; the thin line goes from the lowest ratio to the highest.",
    )):
        parts.append(label(20, 54 + 16 * place, text, PALE))
    for tick in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16, 32):
        parts.append(line(x(tick), TOP - 8, x(tick), bottom, INK if tick == 1 else RULE, 1))
        parts.append(label(x(tick), TOP - 14, f"{tick:g}x" if tick >= 1 else f"1/{1 / tick:g}x", PALE, 11, "middle"))
    for place, row in enumerate(rows):
        y, ratio = TOP + ROW * place + 15, row["rate"]["ratio"]
        median = ratio["median"]
        colour = FASTER if median >= 1 else SLOWER
        left, right = sorted((x(1), x(median)))
        parts.append(f'<rect x="{left:.1f}" y="{y - 9}" width="{right - left:.1f}" height="18" fill="{colour}"/>')
        parts.append(line(x(ratio["min"]), y, x(ratio["max"]), y, INK, 1.5))
        parts.append(label(NAMES - 12, y - 2, what(row), INK, 12, "end", 600))
        parts.append(label(NAMES - 12, y + 12, f"{row['beside']}; {levels(row)}", PALE, 11, "end"))
        parts.append(label(WIDTH - 20, y + 4, f"{number(median)}x", colour, 13, "end", 600))
    size = f'width="{WIDTH}" height="{bottom + 20}"'
    font = "font-family=\"system-ui, 'Segoe UI', Helvetica, Arial, sans-serif\""
    ground = f'<rect {size} fill="#ffffff"/>'
    view = f'viewBox="0 0 {WIDTH} {bottom + 20}"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {view} {font}>', ground, *parts, "</svg>\n"])


def x(ratio):
    return NAMES + (RIGHT - NAMES) * math.log(min(max(ratio, LOW), HIGH) / LOW) / math.log(HIGH / LOW)


def label(x_place, y_place, text, colour, size=12, anchor="start", weight=400):
    style = f'fill="{colour}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}"'
    return f'<text x="{x_place:.1f}" y="{y_place}" {style}>{text}</text>'


def line(x1, y1, x2, y2, colour, width):
    return f'<line x1="{x1:.1f}" y1="{y1}" x2="{x2:.1f}" y2="{y2}" stroke="{colour}" stroke-width="{width}"/>'


if __name__ == "__main__":
    sys.exit(main())
