"""One run: rounds of measures, in whose steps the systems take turns, each on a fresh broker.

1. A round takes every measure once. At each step it goes from system to system, A B C A B C: what the
   machine does besides meets all of them alike.
2. A system that fails at a step is told about, and the others go on.
3. All samples are kept, with what is needed to repeat the run.
"""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import msgspec.structs
import psutil

from bench import measures
from bench.catalog import System
from bench.figures import Description, Sizes, Step
from bench.places import Places
from bench.subject import Failed, describe, subject
from tests.servers.base import NotReady


class Taken(msgspec.Struct, frozen=True):
    """A sample, and where it comes from."""

    round: int
    measure: str
    system: str
    figure: str
    value: float
    unit: str

    @property
    def of(self) -> tuple[str, str, str]:
        return self.measure, self.system, self.figure


class Record(msgspec.Struct, kw_only=True):
    """All of a run, as it is kept in a file."""

    command: str
    date: str
    machine: dict[str, str]
    brokers: dict[str, str]
    """The version of each broker, and how it is set."""
    sizes: dict[str, float]
    systems: dict[str, Description] = {}
    samples: list[Taken] = []
    failures: list[str] = []

    def figures(self, measure: str) -> list[str]:
        """In the order in which they came."""
        return list(dict.fromkeys(each.figure for each in self.samples if each.measure == measure))

    def values(self, system: str, measure: str, figure: str) -> dict[int, float]:
        """By round."""
        wanted = (system, measure, figure)
        return {
            each.round: each.value
            for each in self.samples
            if (each.system, each.measure, each.figure) == wanted
        }

    def unit(self, measure: str, figure: str) -> str:
        return next(each.unit for each in self.samples if (each.measure, each.figure) == (measure, figure))


def joined(runs: Mapping[str, Record]) -> Record:
    """One of several, each by its name. Figures that a later one has again replace those of the earlier, and
    what it measured again has not failed; its rounds come after theirs, so that ratios within a round stay
    within a run. What was not alike in all of them is told with the names of those for which it holds.
    """
    first = next(iter(runs.values()))
    whole = Record(
        command="\n".join(each.command for each in runs.values()),
        date=first.date,
        machine=_alike({name: {"date": each.date, **each.machine} for name, each in runs.items()}),
        brokers=_alike({name: each.brokers for name, each in runs.items()}),
        sizes=first.sizes,
    )
    for each in runs.values():
        last = max((sample.round for sample in whole.samples), default=0)
        again = {sample.of for sample in each.samples}
        whole.samples = [sample for sample in whole.samples if sample.of not in again]
        whole.samples += [
            msgspec.structs.replace(sample, round=last + sample.round) for sample in each.samples
        ]
        whole.systems |= each.systems
        measured = {f", {sample.measure}: {sample.system}: " for sample in each.samples}
        whole.failures = [one for one in whole.failures if not any(part in one for part in measured)]
        whole.failures += each.failures
    return whole


def _alike(settings: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What is the same wherever it is told, once; the rest with the names of its runs."""
    found: dict[str, dict[str, list[str]]] = {}
    for run_name, each in settings.items():
        for name, value in each.items():
            found.setdefault(name, {}).setdefault(value, []).append(run_name)
    return {
        name: next(iter(values))
        if len(values) == 1
        else "; ".join(f"{value} ({', '.join(names)})" for value, names in values.items())
        for name, values in found.items()
    }


def run(
    systems: Sequence[System],
    names: Sequence[str],
    rounds: int,
    sizes: Sizes,
    command: str,
    tell: Callable[[str], None],
    keep: Callable[[Record], None],
) -> Record:
    """`tell` is given a line now and then; `keep` what there is after each round."""
    record = Record(
        command=command,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=machine(),
        brokers={},
        sizes=sizes._asdict(),
        systems={system.name: describe(system) for system in systems},
    )
    with Places() as places:
        for turn in range(1, rounds + 1):
            for name in names:
                for number, step in enumerate(measures.steps(name), 1):
                    for system in systems:
                        tell(f"round {turn} of {rounds}: {name} {number}, {system.name}")
                        _take(record, turn, name, step, system, places, sizes)
            record.brokers = places.settings
            keep(record)
    return record


def _take(
    record: Record, turn: int, measure: str, step: Step, system: System, places: Places, sizes: Sizes
) -> None:
    about = record.systems[system.name]
    if measure in about.without or not step.offered(about):
        return
    try:
        with subject(system, about, places) as one:
            for sample in step.take(one, sizes):
                record.samples.append(Taken(turn, measure, system.name, *sample))
    except (Failed, NotReady, OSError, psutil.Error) as failure:
        record.failures.append(f"round {turn}, {measure}: {system.name}: {failure}")


def machine() -> dict[str, str]:
    with open("/proc/cpuinfo") as file:  # noqa: PTH123
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return {
        "cores": f"{os.cpu_count()}, {models[0] if models else platform.machine()}",
        "memory": f"{memory:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "load before the run": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
    }
