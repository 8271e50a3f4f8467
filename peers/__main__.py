"""`make losses`: kill the workers and the broker of each library, and count what is lost."""

from __future__ import annotations

import random
import sys
from functools import partial
from pathlib import Path

import click
import msgspec

from peers.losses import Outcome, measure
from peers.systems import SYSTEMS, System

HEAD = ("library", "settings", "accepted", "lost", "stuck", "ran again", "kills", "last job after")


def tell(system: System, line: str) -> None:
    """Progress, on one line that is written over."""
    sys.stderr.write(f"\r\033[K{system.name}: {line}")
    sys.stderr.flush()


def row(system: System, outcome: Outcome) -> tuple[str, ...]:
    kills = f"{outcome.worker_kills} + {outcome.broker_kills}"
    counts = (outcome.accepted, outcome.lost, outcome.stuck, outcome.again)
    return system.name, system.settings, *(f"{each:,}" for each in counts), kills, f"{outcome.seconds:.0f} s"


def markdown(rows: list[tuple[str, ...]]) -> str:
    lines = [HEAD, ("---", "---", *["---:"] * 6), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


@click.command(help=__doc__)
@click.option("--only", default="", help="Libraries, or LIBRARY@BROKER, separated by commas.")
@click.option("--seconds", default=40.0, show_default=True, help="How long things are broken.")
@click.option("--broker-kills", default=3, show_default=True, help="In that time.")
@click.option("--repeats", default=1, show_default=True, help="Runs of each.")
@click.option("--seed", type=int, help="Of what is killed when; a new one if nothing is said.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all to this file, too.")
def main(
    only: str, seconds: float, broker_kills: int, repeats: int, seed: int | None, json_file: Path | None
) -> None:
    seed = random.randrange(10_000) if seed is None else seed
    wanted = {name.strip() for name in only.split(",") if name.strip()}
    chosen = [
        each for each in SYSTEMS if not wanted or wanted & {each.library, f"{each.library}@{each.broker}"}
    ]
    if not chosen:
        raise click.BadParameter(f"none of {', '.join(f'{s.library}@{s.broker}' for s in SYSTEMS)}: {only}")
    found: list[tuple[System, Outcome]] = []
    for turn in range(repeats):
        for system in chosen:
            outcome = measure(system, seconds, broker_kills, seed + turn, partial(tell, system))
            found.append((system, outcome))
            tell(system, f"{outcome.lost} of {outcome.accepted} lost\n")
    found.sort(key=lambda each: SYSTEMS.index(each[0]))
    options = f"--seconds={seconds:g} --broker-kills={broker_kills} --repeats={repeats} --seed={seed}"
    click.echo(markdown([row(*each) for each in found]))
    click.echo(f"python -m peers {options}{f' --only={only}' if only else ''}")
    if json_file is not None:
        outcomes = [{"name": system.name, **msgspec.to_builtins(outcome)} for system, outcome in found]
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(outcomes)) + b"\n")
    if any(outcome.lost for system, outcome in found if system.library == "backburner"):
        raise click.ClickException("Backburner has lost jobs")


if __name__ == "__main__":
    main(prog_name="python -m peers")
