"""`docs/benchmarks.md` and its pictures, made of the records of runs: `python -m bench.page RECORD…`."""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median

import msgspec

from bench.measures import TITLES
from bench.report import Table, order, tables
from bench.run import Record, joined
from peers.environments import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
INTRODUCTION = """\
# Benchmarks

Backburner, the bare loop of each broker (`bench/bare`), and other libraries, all measured alike by

```sh
{commands}
```

In each round the systems took turns at every step, each on a fresh broker. A figure is the median
of the rounds, with the lowest and the highest in brackets. Absolute figures are this machine's: compare
ratios. A job of any library counts itself in a file that all processes map (`bench/tally.py`); a drain is
over when all have, whatever the library still does about them.
"""


def write(record: Record, page: Path = PAGE, commands: str = "") -> None:
    """`commands` make the page again; without any, the record's own with `--write` does."""
    pictures = page.parent / page.stem
    pictures.mkdir(exist_ok=True)
    drawn = {
        TITLES[measure]: draw(record, measure, pictures) for measure in TITLES if record.figures(measure)
    }
    introduction = INTRODUCTION.format(commands=commands or f"{record.command} --write")
    parts = [introduction, *map(markdown, _setting(record))]
    for table in tables(record):
        picture = drawn.get(table.title)
        shown = f"![{table.title}]({pictures.name}/{picture.name})\n" if picture else ""
        parts.append(markdown(table, shown))
    if record.failures:
        parts.append(
            "## What failed\n\n" + "".join(f"- {each.splitlines()[0]}\n" for each in record.failures)
        )
    page.write_text("\n".join(parts))


def markdown(table: Table, picture: str = "") -> str:
    rule = ("---", *["---:" if table.numbers else "---"] * (len(table.head) - 1))
    lines = ["| " + " | ".join(cells) + " |" for cells in (table.head, rule, *table.rows)]
    words = f"{table.words.strip()}\n" if table.words else ""
    return "\n".join(filter(None, [f"## {table.title}\n", words, picture, *lines])) + "\n"


def _setting(record: Record) -> list[Table]:
    about = {"date": record.date, **record.machine, **record.brokers}
    counts = ", ".join(f"{name} {count:,}" for name, count in record.sizes.items())
    settings = [*about.items(), ("counts", counts)]
    systems = [
        (name, one.settings, one.guarantee, ", ".join(" ".join(each) for each in one.versions.items()))
        for name, one in ((name, record.systems[name]) for name in order(record))
    ]
    return [
        Table("The machine and the brokers", ("what", "how"), settings, numbers=False),
        Table("The systems", ("system", "settings", "guarantee", "versions"), systems, numbers=False),
    ]


def draw(record: Record, measure: str, folder: Path) -> Path:
    """A panel for each figure, a bar for each system, its lowest and its highest as a line."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figures, systems = record.figures(measure), order(record)
    size = (9, sum(0.9 + 0.25 * len(systems) for _ in figures))
    picture = Figure(figsize=size, layout="constrained")
    FigureCanvasSVG(picture)
    for panel, figure in zip(picture.subplots(len(figures), squeeze=False)[:, 0], figures, strict=True):
        found = {
            system: [*values.values()]
            for system in systems
            if (values := record.values(system, measure, figure))
        }
        middles = [median(values) for values in found.values()]
        ends = [
            [middle - min(values) for middle, values in zip(middles, found.values(), strict=True)],
            [max(values) - middle for middle, values in zip(middles, found.values(), strict=True)],
        ]
        colours = [COLOURS.get(system.split("@")[0], "silver") for system in found]
        panel.barh([*found], middles, xerr=ends, color=colours, capsize=2)
        panel.invert_yaxis()
        panel.set_title(f"{figure}, {record.unit(measure, figure)}", fontsize=10, loc="left")
        panel.tick_params(labelsize=8)
    file = folder / f"{measure}.svg"
    with rc_context({"svg.hashsalt": measure}):  # or the names in it differ each time, as the date does
        picture.savefig(file, metadata={"Date": None})
    return file


COLOURS = {"bare": "lightsteelblue", "backburner": "darkorange"}


def main(*files: str) -> None:
    runs = {file: msgspec.json.decode(Path(file).read_bytes(), type=Record) for file in files}
    measured = [f"{record.command} --json={file}" for file, record in runs.items()]
    rendered = f"python -m bench.page {' '.join(files)}"
    named = {Path(file).stem: record for file, record in runs.items()}
    write(joined(named), commands="\n".join([*measured, rendered]))


if __name__ == "__main__":
    main(*sys.argv[1:])
