#!/usr/bin/env python3
"""Compares two builds of the `compare` benchmark, row by row, in one run.

    cargo bench --bench compare --no-run    # in a checkout of each of the two commits; prints the path of the program
    benches/paired.py OLD_PROGRAM NEW_PROGRAM [--rows TEXT] [--seconds S] [--rounds N] [-- OPTIONS]

Each round of a row runs both programs, one after the other; the one that goes first changes from round to round. A ratio
is foldlog's own rate in the new build by that in the old build, within a round: below 1 the new build is slower. The
baselines of the rows run, too, but do not count. Rows whose median is below 0.95x are marked.

OPTIONS go to both programs, such as `--short` or `--transcripts DIR`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile

LEVELS = {"Full": "FULL", "Normal": "NORMAL", "Synced": "synced", "Memory": "memory"}
SLOWER_BELOW = 0.95


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", help="the program of the old build")
    parser.add_argument("new", help="the program of the new build")
    parser.add_argument("--rows", default="", metavar="TEXT", help="only the rows whose name contains it")
    parser.add_argument("--seconds", default="2", metavar="S", help="how long each side of a row runs (2)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how many rounds (5)")
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    args = parser.parse_args(words[:end])
    args.options = words[end + 1 :]
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    listed = subprocess.run([args.new, "--bench", "--list", *args.options, args.rows], capture_output=True, text=True)
    if listed.returncode != 0:
        sys.exit(f"{args.new} lists no rows: {listed.stderr.strip()}")
    print(f"{'new by old, median [min..max]':30} {'':6} {'old':>7} {'new':>7}  row")
    slower = 0
    for name in listed.stdout.splitlines():
        slower += compare(args, name)
    print(f"\n{slower} rows below {SLOWER_BELOW}x")


def compare(args, name):
    """Prints the line of a row. True if the new build is slower."""
    old, new = [], []
    for round_number in range(args.rounds):
        sides = [(args.old, old), (args.new, new)]
        for program, rates in sides if round_number % 2 == 0 else reversed(sides):
            rate = measure(program, name, args)
            if rate is None:
                print(f"{'-':30} {'':6} {'-':>7} {'-':>7}  {name}: {program} does not have it")
                return False
            rates.append(rate)
    ratios = [after / before for before, after in zip(old, new)]
    median = statistics.median(ratios)
    spread = f"{median:.2f}x [{min(ratios):.2f}..{max(ratios):.2f}]"
    mark = "SLOWER" if median < SLOWER_BELOW else ""
    print(f"{spread:30} {mark:6} {rate_text(old):>7} {rate_text(new):>7}  {name}", flush=True)
    return median < SLOWER_BELOW


def measure(program, name, args):
    """Our rate in one round of one row; None if the program does not have the row."""
    with tempfile.NamedTemporaryFile(suffix=".json") as results:
        command = [program, "--bench", "--json", results.name, "--rounds", "1", "--seconds", args.seconds]
        done = subprocess.run([*command, *args.options, name], capture_output=True, text=True)
        if done.returncode != 0:
            if "no row has" in done.stderr:
                return None
            sys.exit(f"{program} failed at {name}:\n{done.stderr}")
        rows = json.load(results)["rows"]
    # A name may be part of another row's name, which has then run, too.
    return next((row["ours"]["per_second"]["median"] for row in rows if row_name(row) == name), None)


def row_name(row):
    ours, other = (LEVELS[level] for level in row["levels"])
    return f"{row['what']} / {row['beside']}, {ours if ours == other else f'{ours} / {other}'}"


def rate_text(rates):
    """The median, with three digits."""
    rate = statistics.median(rates)
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if rate >= limit:
            return f"{rate / limit:.3g}{unit}"
    return f"{rate:.3g}"


if __name__ == "__main__":
    main()
