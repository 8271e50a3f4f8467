"""The findings of a run as a table, a picture and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from soak.run import Outcome
from soak.verdict import Finding, Series, Trend

COLUMNS = 3


def show(outcome: Outcome, console: Console) -> None:
    settings = outcome.settings
    rate = f"{outcome.sent / settings.seconds:.0f} of {settings.rate:g} a second"
    load = f"{outcome.sent:,} jobs in {settings.seconds / 60:g} min ({rate}), {outcome.revived:,} revived"
    judged = f"{settings.warm_up:.0f} s on, what is stored from {settings.stored_warm_up:.0f} s on"
    title = f"{outcome.broker}: {load}; judged from {judged}"
    table = Table(title=title, title_justify="left")
    for column in ("whose", "what", "level", "growth", "limit", "per hour", "verdict"):
        table.add_column(column, justify="left" if column in ("whose", "what", "verdict") else "right")
    for finding in outcome.findings:
        table.add_row(*row(finding), style="red" if finding.grows else None)
    console.print(table)
    for line in complaints(outcome):
        console.print(line, style="red", highlight=False, soft_wrap=True)


def row(finding: Finding) -> tuple[str, ...]:
    unit, found = finding.kind.unit, finding.trend
    if found is None:
        return (*finding.series, "", "", "", "", "too short to say")
    return (
        *finding.series,
        f"{found.level:,.1f} {unit}".strip(),
        f"{found.growth:+,.1f}",
        f"{finding.limit:,.1f}",
        f"{found.per_hour:+,.0f}",
        "GROWS" if finding.grows else "steady",
    )


def complaints(outcome: Outcome) -> list[str]:
    """What is wrong, and where to look."""
    grown = [
        f"{outcome.broker}: {growth(finding, finding.trend)}"
        for finding in outcome.findings
        if finding.grows and finding.trend is not None
    ]
    return [*grown, *(f"{outcome.broker}: {trouble}" for trouble in outcome.troubles)]


def growth(finding: Finding, trend: Trend) -> str:
    unit = f" {finding.kind.unit}" if finding.kind.unit else ""
    return (
        f"{finding.series.whose}: {finding.series.what} grows by {trend.per_hour:,.0f}{unit} an hour, from "
        f"{trend.level - trend.growth / 2:,.0f}{unit}. Look at: {finding.kind.look}"
    )


def draw(outcome: Outcome, file: Path) -> None:
    """A panel for each series, the warm-up in grey, what grows in red."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    grown = {finding.series for finding in outcome.findings if finding.grows}
    rows = -(-len(outcome.samples) // COLUMNS)
    figure = Figure(figsize=(5 * COLUMNS, 2.2 * rows))
    figure.subplots_adjust(
        left=0.05, right=0.98, top=1 - 0.8 / rows / 2, bottom=0.3 / rows / 2, hspace=0.6, wspace=0.25
    )
    FigureCanvasSVG(figure)
    figure.suptitle(f"{outcome.broker}: {'passed' if outcome.passed else 'FAILED'}")
    for number, (series, points) in enumerate(outcome.samples.items(), 1):
        panel = figure.add_subplot(rows, COLUMNS, number)
        times, values = [point.at / 60 for point in points], [point.value for point in points]
        panel.axvspan(0, warm_up(outcome, series) / 60, color="0.92")
        panel.plot(times, values, color="tab:red" if series in grown else "tab:blue", linewidth=1)
        panel.set_ylim(0, max(*values, 1) * 1.1)
        panel.set_xlim(0, times[-1])
        panel.set_title(", ".join(series), fontsize=9)
        panel.tick_params(labelsize=7)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def warm_up(outcome: Outcome, series: Series) -> float:
    stored = any(finding.kind.stored for finding in outcome.findings if finding.series == series)
    return outcome.settings.stored_warm_up if stored else outcome.settings.warm_up


def as_json(outcomes: list[Outcome]) -> bytes:
    found: list[dict[str, Any]] = [
        {
            "broker": outcome.broker,
            "passed": outcome.passed,
            "sent": outcome.sent,
            "revived": outcome.revived,
            "settings": outcome.settings,
            "complaints": complaints(outcome),
            "findings": [
                {
                    "series": ", ".join(finding.series),
                    "unit": finding.kind.unit,
                    "trend": None if finding.trend is None else finding.trend._asdict(),
                    "limit": finding.limit,
                    "grows": finding.grows,
                }
                for finding in outcome.findings
            ],
            "samples": {", ".join(series): points for series, points in outcome.samples.items()},
        }
        for outcome in outcomes
    ]
    return msgspec.json.encode(found) + b"\n"
