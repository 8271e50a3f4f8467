"""The benchmark keeps working. How fast anything is depends on the machine, and is not tested.

Other libraries are left to `make bench`, which makes their environments.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import msgspec.structs
import pytest

from bench import alone, measures, page
from bench.aims import Aim, Figure, peers, share, within
from bench.catalog import SYSTEMS, chosen
from bench.figures import Description
from bench.report import order, spread
from bench.run import Record, Taken, joined
from bench.tally import Tally
from peers.environments import PACKAGES

ROOT = Path(__file__).parent.parent.parent


def bench(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def run(folder: Path, *arguments: str) -> dict[str, Any]:
    file = folder / "run.json"
    ended = bench("--short", "--peers=none", "--repeats=1", f"--json={file}", *arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.mark.timeout(240)
@pytest.mark.parametrize("measure", measures.TITLES)
def test_each_measure_works(measure: str, tmp_path: Path) -> None:
    broker = "redis" if measure == "network" else "sqlite"  # a file is never away

    found = run(tmp_path, f"--brokers={broker}", f"--measures={measure}")

    assert f"backburner@{broker}" in {sample["system"] for sample in found["samples"]}
    for sample in found["samples"]:
        # Half a second of idling may well be less than a tick of the kernel's clock.
        assert sample["value"] > 0 or "processor" in sample["figure"], sample


@pytest.mark.timeout(240)
@pytest.mark.parametrize("broker", ["redis", "postgres", "rabbitmq"])
def test_each_broker_is_measured_beside_its_bare_loop(broker: str, tmp_path: Path) -> None:
    written = tmp_path / "page.md"

    found = run(tmp_path, f"--brokers={broker}", "--measures=drain", f"--write={written}")

    figures = {(sample["system"], sample["figure"]) for sample in found["samples"]}
    for library in ("bare", "backburner"):
        assert (f"{library}@{broker}", "coroutines, at its best") in figures
    assert broker in found["brokers"]
    page_text = written.read_text()
    assert found["command"] in page_text
    assert all(figure in page_text for _, figure in figures)


def test_two_benchmarks_do_not_measure_each_other(tmp_path: Path) -> None:
    """Once one that was taken for ended went on beside another, and both had half of the speed."""
    with (tmp_path / alone.LOCK).open("w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("12345")
        file.flush()
        refused = bench("--peers=none", "--brokers=sqlite", "--measures=startup", TMPDIR=str(tmp_path))
    assert refused.returncode == 1
    assert "process 12345 is a benchmark, too" in refused.stderr


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("--measures=drain,speed", "'speed' is none of enqueue, drain"),
        ("--peers=pigeons", "'pigeons' is none of all, arq"),
        ("--brokers=paper", "'paper' is none of postgres, rabbitmq, redis, sqlite"),
    ],
)
def test_an_unknown_name_is_refused_with_the_ones_there_are(option: str, complaint: str) -> None:
    ended = bench(option)

    assert ended.returncode == 2
    assert complaint in ended.stderr.replace("\n", " ")


def test_peers_are_chosen_by_library_and_by_broker() -> None:
    assert {each.name for each in chosen("dramatiq@redis,arq", "redis,rabbitmq")} == {
        *("backburner@redis", "bare@redis", "backburner@rabbitmq", "bare@rabbitmq"),
        *("dramatiq@redis", "arq@redis"),
    }
    assert {each.library for each in SYSTEMS} == PACKAGES.keys() | {"backburner", "bare"}


def test_an_aim_is_judged_by_ratios_within_a_round() -> None:
    # The second round met a busy machine: both systems were slower, and the ratio says nothing of it.
    record = a_record(
        Taken(1, "drain", "one@redis", "rate", 60.0, "jobs/s"),
        Taken(1, "drain", "other@redis", "rate", 100.0, "jobs/s"),
        Taken(2, "drain", "one@redis", "rate", 6.0, "jobs/s"),
        Taken(2, "drain", "other@redis", "rate", 10.0, "jobs/s"),
        Taken(3, "drain", "one@redis", "rate", 60.0, "jobs/s"),  # the other one failed
    )
    one, other = Figure("one@redis", "drain", "rate"), Figure("other@redis", "drain", "rate")
    aim = Aim("at least half", one, share(0.5, other))

    assert aim.reached(record) == [(60.0, 50.0), (6.0, 5.0)]
    assert aim.met(aim.reached(record))


def test_an_aim_beside_others_counts_none_that_loses_jobs_and_ends_at_the_bare_loop() -> None:
    record = a_record(
        Taken(1, "drain", "backburner@redis", "rate", 65.0, "jobs/s"),
        Taken(1, "drain", "bare@redis", "rate", 100.0, "jobs/s"),
        Taken(1, "drain", "lossy@redis", "rate", 50.0, "jobs/s"),
        Taken(1, "drain", "safe@redis", "rate", 15.0, "jobs/s"),
        Taken(1, "drain", "slow@redis", "rate", 10.0, "jobs/s"),
        Taken(1, "drain", "safe@rabbitmq", "rate", 90.0, "jobs/s"),
    )
    lossy = record.systems["lossy@redis"]
    record.systems["lossy@redis"] = msgspec.structs.replace(lossy, at_least_once=False)
    ours, bare = Figure("backburner@redis", "drain", "rate"), Figure("bare@redis", "drain", "rate")
    four, ten = (peers(times, "redis", "drain", ("rate",), lossy=False) for times in (4, 10))

    assert Aim("four times the best", ours, within(four, bare)).reached(record) == [(65.0, 60.0)]
    assert Aim("ten times: more than can be", ours, within(ten, bare)).reached(record) == [(65.0, 60.0)]


def test_the_records_of_several_runs_make_one_page(tmp_path: Path) -> None:
    first = a_record(
        Taken(1, "drain", "one@redis", "rate", 60.0, "jobs/s"),
        Taken(1, "drain", "other@redis", "rate", 90.0, "jobs/s"),
    )
    second = a_record(Taken(1, "drain", "one@redis", "rate", 80.0, "jobs/s"))
    first.machine, second.machine = {"cores": "2"}, {"cores": "64"}
    first.failures = [f"round 2, drain: {name}@redis: 3 of 5 jobs ran" for name in ("one", "other")]

    whole = joined({"first": first, "second": second})
    page.write(whole, tmp_path / "page.md", "make this")

    assert whole.samples == [
        Taken(1, "drain", "other@redis", "rate", 90.0, "jobs/s"),
        Taken(2, "drain", "one@redis", "rate", 80.0, "jobs/s"),  # measured again
    ]
    assert whole.failures == ["round 2, drain: other@redis: 3 of 5 jobs ran"]
    text = (tmp_path / "page.md").read_text()
    assert "```sh\nmake this\n```" in text
    assert "| cores | 2 (first); 64 (second) |" in text
    assert "| date | 2026-01-01 |" in text


def test_a_page_that_is_made_again_is_the_same(tmp_path: Path) -> None:
    """Or each picture would be another one after every run, whatever was measured."""
    record = a_record(Taken(1, "drain", "one@redis", "rate", 60.0, "jobs/s"))
    drawn = [page.draw(record, "drain", tmp_path).read_bytes() for _ in range(2)]
    assert drawn[0] == drawn[1]


def test_a_figure_is_the_median_with_its_spread() -> None:
    assert spread([3.0, 1.0, 200.0]) == "3 (1 – 200)"


def test_a_page_tells_guarantees_and_failures(tmp_path: Path) -> None:
    record = a_record(
        Taken(1, "drain", "one@redis", "rate", 60.0, "jobs/s"),
        Taken(1, "drain", "bare@redis", "rate", 100.0, "jobs/s"),
    )
    record.failures.append("round 1, idle: one@redis: 3 of 5 jobs ran\nits log")

    page.write(record, tmp_path / "page.md")

    text = (tmp_path / "page.md").read_text()
    assert order(record) == ["bare@redis", "one@redis"]
    assert "| one@redis | many | never lost | one 1.0 |" in text
    assert "| one@redis | Drain: rate | 0.6 |" in text
    assert "- round 1, idle: one@redis: 3 of 5 jobs ran\n" in text
    assert "![Drain](page/drain.svg)" in text


def test_jobs_are_counted_in_forked_processes_too(tmp_path: Path) -> None:
    counting = (
        "import os, sys; from pathlib import Path; from bench.tally import Tally\n"
        "tally = Tally(Path(sys.argv[1])); tally.count(1.0, 2.0)\n"
        "for began in (3.0, 4.0):\n"
        "    if not os.fork(): tally.count(began, began + 1); os._exit(0)\n"
        "    os.wait()\n"
        "tally.count(6.0, 7.0)"
    )
    subprocess.run([sys.executable, "-c", counting, str(tmp_path / "tally")], cwd=ROOT, check=True)

    counted = Tally(tmp_path / "tally").read()

    assert counted == (4, 1.0, 7.0)


def test_a_job_that_fails_first_counts_once_and_from_its_first_attempt(tmp_path: Path) -> None:
    tally = Tally(tmp_path / "tally")
    tally.begin(1.0)
    tally.begin(2.0)
    assert tally.read().jobs == 0
    tally.count(3.0, 4.0)
    assert tally.read() == (1, 1.0, 4.0)


def a_record(*samples: Taken) -> Record:
    systems = {
        name: Description(("function",), ("single",), "never lost", "many", {"one": "1.0"})
        for name in dict.fromkeys(sample.system for sample in samples)
    }
    return msgspec.convert(
        {
            "command": "python -m bench",
            "date": "2026-01-01",
            "machine": {},
            "brokers": {},
            "sizes": {},
            "systems": msgspec.to_builtins(systems),
            "samples": msgspec.to_builtins(samples),
        },
        Record,
    )
