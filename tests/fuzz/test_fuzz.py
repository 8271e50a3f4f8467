"""A short, repeatable run of each harness: its seeds, and changes of them. `make fuzz` is the long one."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.harnesses import HARNESSES
from tests.fuzz.seeds import SEEDS

EXAMPLES = 100
PIECES = [b"-1", b"1e308", b"9" * 40, b"null", b"[]", b"{}", b'"x"', b"\xff", b"\0", b"\\ud800", b"|~|", b"*"]


@pytest.mark.parametrize(("name", "place"), [(name, at) for name in SEEDS for at in range(len(SEEDS[name]))])
def test_what_is_in_the_corpus_does_no_harm(name: str, place: int) -> None:
    HARNESSES[name](SEEDS[name][place])


def test_each_harness_has_seeds() -> None:
    assert SEEDS.keys() == HARNESSES.keys()


@pytest.mark.parametrize("name", HARNESSES)
def test_what_is_like_the_corpus_does_no_harm(name: str) -> None:
    chance = random.Random(name)
    for _ in range(EXAMPLES):
        data = changed(chance, chance.choice(SEEDS[name]))
        try:
            HARNESSES[name](data)
        except Exception as error:
            error.add_note(f"for the corpus of {name}: {data!r}")
            raise


def changed(chance: random.Random, data: bytes) -> bytes:
    """A seed with a few pieces of it cut out, doubled, or replaced by others."""
    for _ in range(chance.randint(1, 4)):
        start = chance.randint(0, len(data))
        end = min(len(data), start + chance.randint(0, 12))
        other = chance.choice(
            [chance.randbytes(chance.randint(0, 6)), chance.choice(PIECES), data[start:end] * 2]
        )
        data = data[:start] + other + data[end:]
    return data
