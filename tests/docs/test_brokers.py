"""The page on brokers says what the code can do."""

from __future__ import annotations

import re
from pathlib import Path

from backburner import brokers

PAGE = Path(__file__).parents[2] / "docs" / "brokers" / "README.md"


def test_the_table_of_capabilities_is_made_from_the_code() -> None:
    _, table, _ = re.split(r"<!-- /?capabilities -->\n", PAGE.read_text())
    assert table.strip() == brokers.capability_table(), (
        "put what `backburner.brokers.capability_table()` gives there"
    )


def test_every_broker_has_a_page() -> None:
    linked = re.findall(r"\]\((\w+\.md)\)", PAGE.read_text().split("\n## ")[0])
    assert len(linked) == len({source.title for source in brokers.SCHEMES.values()})
    assert all((PAGE.parent / name).is_file() for name in linked)
