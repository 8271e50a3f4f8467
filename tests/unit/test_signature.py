"""Arguments: bound and encoded in the caller, converted in the worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner import ConfigError
from backburner.codec import Codec
from backburner.errors import CodecError, PayloadTooLarge
from backburner.signature import Signature

if TYPE_CHECKING:
    from nowhere import Nothing  # type: ignore[import-not-found]

LIMIT = 65536


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Size:
    width: int
    height: float
    taken: datetime | None = None


class Photo(msgspec.Struct):
    id: UUID
    sizes: list[Size]
    colour: Colour


def signature(function: Callable[..., Any]) -> Signature:
    return Signature(function, "shop.task", Codec())


def trip(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What `function` returns when it is called with its arguments as they arrive in a worker."""
    made = signature(function)
    received, named = made.decode(made.encode(args, kwargs, LIMIT))
    return function(*received, **named)


texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers(-(2**63), 2**63 - 1)
moments = st.datetimes(timezones=st.just(UTC))
sizes = st.builds(Size, numbers, st.floats(allow_nan=False, allow_infinity=False), st.none() | moments)
photos = st.builds(Photo, st.uuids(), st.lists(sizes, max_size=3), st.sampled_from(Colour))


def everything(
    text: str,
    number: int,
    raw: bytes,
    amount: Decimal,
    day: date,
    span: timedelta,
    photo: Photo,
    by_name: dict[str, Size],
    pair: tuple[int, str],
    chosen: frozenset[Colour],
    either: int | str | None,
) -> Any:
    return text, number, raw, amount, day, span, photo, by_name, pair, chosen, either


@given(
    st.tuples(
        texts,
        numbers,
        st.binary(),
        st.decimals(allow_nan=False, allow_infinity=False),
        st.dates(),
        st.timedeltas(timedelta(days=-99999), timedelta(days=99999)),
        photos,
        st.dictionaries(texts, sizes, max_size=3),
        st.tuples(numbers, texts),
        st.frozensets(st.sampled_from(Colour)),
        st.none() | numbers | texts,
    )
)
def test_arguments_arrive_as_they_were_given(values: tuple[Any, ...]) -> None:
    assert trip(everything, *values) == values


json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(json_values, st.lists(json_values, max_size=3), st.dictionaries(st.sampled_from("xyz*"), json_values))
def test_arguments_without_annotations_arrive_as_plain_values(
    first: Any, more: list[Any], named: dict[str, Any]
) -> None:
    def task(first, /, *more, **named):  # type: ignore[no-untyped-def]
        return first, list(more), named

    if "*" in named:
        with pytest.raises(CodecError, match=r"'\*' is no name for an argument"):
            trip(task, first, *more, **named)
    else:
        assert trip(task, first, *more, **named) == (first, more, named)


def every_kind(a: int, /, b: int = 2, *c: Size, d: Colour, e: int = 5, **f: date) -> Any:
    return a, b, c, d, e, f


def test_every_kind_of_parameter_works() -> None:
    size, day = Size(1, 2.0), date(2026, 7, 4)
    assert trip(every_kind, 1, d=Colour.RED) == (1, 2, (), Colour.RED, 5, {})
    assert trip(every_kind, 1, b=3, d=Colour.RED) == (1, 3, (), Colour.RED, 5, {})
    found = trip(every_kind, 1, 2, size, size, d=Colour.BLUE, e=6, on=day)
    assert found == (1, 2, (size, size), Colour.BLUE, 6, {"on": day})


def test_a_default_is_that_of_the_workers_code() -> None:
    def sent(a: int, b: int = 1, c: int = 2) -> None: ...

    def received(a: int, b: int = 10, c: int = 20) -> Any:
        return a, b, c

    def arrived(*args: int, **kwargs: int) -> Any:
        received_args, received_kwargs = signature(received).decode(
            signature(sent).encode(args, kwargs, LIMIT)
        )
        return received(*received_args, **received_kwargs)

    assert [arrived(5), arrived(5, 6), arrived(5, c=7)] == [(5, 10, 20), (5, 6, 20), (5, 10, 7)]


def test_a_keyword_is_stored_like_its_position() -> None:
    def task(a: int, b: int = 1) -> None: ...

    assert signature(task).encode((1, 2), {}, LIMIT) == signature(task).encode((), {"b": 2, "a": 1}, LIMIT)


def test_a_bound_method_needs_no_self() -> None:
    class Shop:
        def sell(self, number: int) -> int:
            return number

    assert trip(Shop().sell, 5) == 5


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {}, "missing a required argument: 'a'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"a": 1}, "multiple values for argument 'a'"),
        ((1,), {"z": 1}, "unexpected keyword argument 'z'"),
    ],
)
def test_a_wrong_call_fails_in_the_caller(
    args: tuple[Any, ...], kwargs: dict[str, Any], problem: str
) -> None:
    def task(a: int, b: int = 1) -> None: ...

    with pytest.raises(CodecError, match=rf"^shop\.task: .*{problem}"):
        signature(task).encode(args, kwargs, LIMIT)


def loop() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


UNSTORABLE = [object(), lambda: None, {1, object()}, loop(), "\ud800", 2**70 * 1j, {(1, 2): 3}]


@pytest.mark.parametrize("value", UNSTORABLE, ids=lambda value: type(value).__name__)
def test_a_value_that_cannot_be_stored_is_named_in_the_caller(value: Any) -> None:
    def task(a: Any, b: Any, *c: Any, d: Any = None) -> None: ...

    hint = r"; pass plain data or an id, or register its class with app\.reference"
    for name, args, kwargs in (
        ("a", (value, 1), {}),
        ("b", (1, value), {}),
        (r"args\[2\]", (1, 2, value), {}),
        ("d", (1, 2), {"d": value}),
    ):
        with pytest.raises(CodecError, match=rf"shop\.task: argument '{name}' cannot be stored: .*{hint}"):
            signature(task).encode(args, kwargs, LIMIT)


def test_a_payload_over_the_limit_names_its_largest_argument() -> None:
    def task(photo_id: int, image: bytes, *, title: str = "") -> None: ...

    with pytest.raises(
        PayloadTooLarge, match=r"1,000 is the limit; argument 'image' takes 1,338: pass an id"
    ):
        signature(task).encode((1, b"x" * 1000), {}, 1000)
    with pytest.raises(PayloadTooLarge, match="argument 'title' takes 1,002"):
        signature(task).encode((1, b""), {"title": "x" * 1000}, 1000)


def test_a_payload_just_at_the_limit_is_stored() -> None:
    def task(text: str) -> str:
        return text

    assert len(signature(task).encode(("x" * 96,), {}, 100)) == 100


def keyword(a: int, *, b: int = 0) -> None: ...


def collecting(a: int, *rest: int, **named: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "payload", "problem"),
    [
        (everything, b'["x","y"]', "argument 'number': Expected `int`, got `str`"),
        (everything, b"[]", "argument 'text' is missing"),
        (keyword, b'["x"]', "argument 'a': Expected `int`, got `str`"),
        (keyword, b'{"*":["x"],"b":1}', "argument 'a': Expected `int`, got `str`"),
        (keyword, b'{"*":[1],"b":"x"}', "argument 'b': Expected `int`, got `str`"),
        (keyword, b'{"*":[1],"gone":1}', "unexpected keyword argument 'gone'"),
        (keyword, b"[1,2,3]", "at most length 1"),
        (collecting, b'[1,2,"x"]', "argument 'rest': Expected `int`, got `str`"),
        (collecting, b'{"*":[1],"more":"x"}', "argument 'more': Expected `int`, got `str`"),
        (keyword, b"5", "shop.task"),
        (keyword, b"[1", "shop.task"),
        (keyword, b'{"*":5}', "shop.task"),
        (keyword, b"", "shop.task"),
    ],
)
def test_a_payload_that_does_not_fit_names_task_and_argument(
    function: Callable[..., Any], payload: bytes, problem: str
) -> None:
    with pytest.raises(CodecError) as caught:
        signature(function).decode(payload)
    assert problem in str(caught.value)
    assert str(caught.value).startswith("the arguments do not fit shop.task: ")


def test_an_annotation_that_cannot_be_resolved_is_found_when_the_worker_starts() -> None:
    def task(a: Nothing) -> Nothing: ...

    with pytest.raises(ConfigError, match=r"task shop\.task: its annotations cannot be used: .*Nothing"):
        signature(task).check()


def test_a_caller_needs_no_annotations_to_be_resolved() -> None:
    def task(a: Nothing) -> Nothing: ...

    made = signature(task)
    assert made.encode((1,), {}, LIMIT) == b"[1]"
    assert made.returns is Any


def test_a_type_that_json_cannot_tell_apart_is_found_when_the_worker_starts() -> None:
    def task(a: Size | Photo) -> None: ...

    with pytest.raises(ConfigError, match="annotations cannot be used"):
        signature(task).check()


def test_sound_annotations_pass() -> None:
    for function in (everything, every_kind, keyword, collecting):
        signature(function).check()
    assert signature(everything).returns is Any
    assert signature(keyword).returns is type(None)
