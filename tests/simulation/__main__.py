"""`make simulate ARGS="--seeds 10000"`: run many seeds over all cores, or replay one with `--seed`."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.simulation.life import Report, run
from tests.simulation.world import KINDS


def main() -> int:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="replay this one, and print all that happened")
    parser.add_argument("--without", action="append", default=[], choices=KINDS, help="faults to leave out")
    parser.add_argument("--shrink", action="store_true", help="leave out the faults that it does not need")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    if given.seed is not None:
        return replay(given.seed, given.without, shrink=given.shrink)
    return many(range(given.first, given.first + given.seeds), given.without, given.processes)


def replay(seed: int, without: list[str], *, shrink: bool) -> int:
    report = run(seed, without, trace=True)
    if shrink and report.broken:
        for kind in sorted(report.faults):
            fewer = run(seed, [*without, kind], trace=True)
            if fewer.broken:
                report, without = fewer, [*without, kind]
    print(*report.trace, sep="\n")
    print(f"\nseed {seed}, trace {report.hash}, without {without}, faults {report.faults}")
    print(*(report.broken or ["all promises were kept"]), sep="\n")
    return 1 if report.broken else 0


def many(seeds: range, without: list[str], processes: int) -> int:
    began, failed = time.monotonic(), list[Report]()
    faults, hours, leapt, jobs, drained = Counter[str](), 0.0, 0.0, 0, 0.0
    columns = TextColumn("seeds"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    with multiprocessing.get_context("spawn").Pool(processes) as pool, bar:
        chunk = max(1, min(10, len(seeds) // processes))
        reports = pool.imap_unordered(partial(run, without=without), seeds, chunksize=chunk)
        for report in bar.track(reports, total=len(seeds)):
            faults.update(report.faults)
            hours, leapt = hours + report.hours, leapt + report.leapt
            jobs += report.jobs
            drained = max(drained, report.drained)
            if report.broken:
                failed.append(report)
                print(f"seed {report.seed} failed: make simulate ARGS='--seed {report.seed}'")
                print(report.broken[0], flush=True)
    seconds = time.monotonic() - began
    print(
        f"{len(seeds):,} seeds in {seconds:.0f} s ({len(seeds) / seconds:.1f}/s), {len(failed)} failed; "
        f"{hours:,.0f} virtual hours, {leapt:,.0f} of them leapt over, since nothing was to happen"
    )
    print(f"{jobs:,} jobs; the slowest backlog was gone {drained:.0f} s after the last fault")
    print("faults: " + ", ".join(f"{count:,} × {kind}" for kind, count in faults.most_common()))
    if failed:
        numbers = sorted(report.seed for report in failed)
        print("failed: " + " ".join(map(str, numbers)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
