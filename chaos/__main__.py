"""`make chaos`: break everything at once, on each broker in turn, and see whether every promise held.

Exit code 1 when one was broken; its job's story is printed, with the seed.
"""

from __future__ import annotations

import random
import sys
import tempfile
from functools import partial
from pathlib import Path

import click
import msgspec

from chaos.brokers import NAMES
from chaos.run import LEASE, Plan, Report, perform

SHOWN = 20


def tell(broker: str, line: str) -> None:
    """Progress, on one line that is written over."""
    sys.stderr.write(f"\r\033[K{broker}: {line}")
    sys.stderr.flush()


def show(report: Report) -> None:
    plan = report.plan
    drained = "NOT DRAINED" if report.drained is None else f"drained after {report.drained:g} s"
    click.echo(f"\n{plan.broker}: {report.worker_kills} worker kills, {report.broker_kills} broker kills")
    click.echo(f"  faults    {', '.join(f'{count} × {name}' for name, count in report.faults.items())}")
    click.echo(f"  jobs      {report.accepted} accepted, {report.doubtful} whose enqueue had no answer")
    click.echo(f"  attempts  {report.attempts}; {report.again} jobs begun under more than one claim")
    click.echo(f"  states    {', '.join(f'{count} {name}' for name, count in sorted(report.states.items()))}")
    click.echo(f"  at rest   a backlog of {report.backlog}, {drained}")
    click.echo(f"  promises  {f'{len(report.broken)} BROKEN' if report.broken else 'all held'}")
    for story in report.broken[:SHOWN]:
        click.echo(f"    {story}")


@click.command(help=__doc__)
@click.option("--broker", "brokers", multiple=True, type=click.Choice(NAMES), help="[default: each in turn]")
@click.option("--minutes", default=10.0, show_default=True, help="On each.")
@click.option("--seed", type=int, help="Of the faults and of the load; a new one if nothing is said.")
@click.option("--rate", default=100.0, show_default=True, help="Jobs enqueued a second.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all to this file, too.")
def main(
    brokers: tuple[str, ...], minutes: float, seed: int | None, rate: float, json_file: Path | None
) -> None:
    seed = random.randrange(1_000_000) if seed is None else seed
    reports = []
    click.echo(f"lease {LEASE:g} s, seed {seed}")
    for broker in brokers or NAMES:
        plan = Plan(broker=broker, seconds=minutes * 60, seed=seed, rate=rate)
        with tempfile.TemporaryDirectory(prefix="backburner-chaos-") as folder:
            report = perform(plan, Path(folder), partial(tell, broker))
        reports.append(report)
        show(report)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(reports)) + b"\n")
    options = "".join(f" --broker={broker}" for broker in brokers)
    click.echo(f"\npython -m chaos --minutes={minutes:g} --seed={seed} --rate={rate:g}{options}")
    if any(report.broken for report in reports):
        raise click.ClickException("a promise was broken")


if __name__ == "__main__":
    main(prog_name="python -m chaos")
