"""`make simulate ARGS="--seeds 10000"`: run many seeds over all cores, or replay one with `--seed`."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from functools import partial

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
    faults, hours, jobs, drained, done = Counter[str](), 0.0, 0, 0.0, 0
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for report in pool.imap_unordered(partial(run, without=without), seeds, chunksize=10):
            done += 1
            faults.update(report.faults)
            hours += report.hours
            jobs += report.jobs
            drained = max(drained, report.drained)
            if report.broken:
                failed.append(report)
                print(f"seed {report.seed} failed: make simulate ARGS='--seed {report.seed}'")
                print(report.broken[0])
            if done % 100 == 0 or done == len(seeds):
                seconds = time.monotonic() - began
                print(
                    f"{done} seeds in {seconds:.0f} s ({done / seconds:.1f}/s), {hours:,.0f} virtual hours, "
                    f"{len(failed)} failed"
                )
                sys.stdout.flush()
    print(f"{jobs:,} jobs; the slowest backlog was gone {drained:.0f} s after the last fault")
    print("faults: " + ", ".join(f"{count:,} × {kind}" for kind, count in faults.most_common()))
    if failed:
        print(
            "failed: " + " ".join(str(report.seed) for report in sorted(failed, key=lambda each: each.seed))
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
