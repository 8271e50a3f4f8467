"""What is stored for a value, and what comes back: JSON, references, pydantic models."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import msgspec
import pytest

from backburner import Backburner, ConfigError
from backburner.codec import Codec, ReferenceGone, decode_result
from backburner.errors import CodecError
from backburner.signature import Signature

pydantic = pytest.importorskip("pydantic")


class User:
    """As an ORM makes them: no JSON form, but an id."""

    def __init__(self, number: int, name: str = "") -> None:
        self.id = number
        self.name = name


class Admin(User):
    pass


class Photo(pydantic.BaseModel):  # type: ignore[name-defined,misc]
    title: str
    size: tuple[int, int] = (1, 1)


USERS = {1: User(1, "Ada"), 2: Admin(2, "Root")}


@pytest.fixture
def codec() -> Codec:
    codec = Codec()
    codec.refer(User, dump=lambda user: user.id, load=USERS.__getitem__, missing="dead")
    return codec


def trip(codec: Codec, function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call `function` with its arguments as they arrive in a worker."""
    signature = Signature(function, "task", codec)
    received, named = signature.decode(signature.encode(args, kwargs, 65536))
    return function(*received, **named)


def test_a_reference_is_stored_as_class_and_id(codec: Codec) -> None:
    stored = msgspec.json.decode(codec.encode([User(1, "Ada")]))
    assert stored == [{"$ref": f"{__name__}.User", "id": 1}]


def test_a_reference_is_loaded_fresh(codec: Codec) -> None:
    def task(user: User) -> User:
        return user

    assert trip(codec, task, User(1, "an old name")) is USERS[1]


def test_an_argument_without_annotation_is_loaded_too(codec: Codec) -> None:
    def task(user, *others, **named):  # type: ignore[no-untyped-def]
        return [user, *others, *named.values()]

    assert trip(codec, task, USERS[1]) == [USERS[1]]
    assert trip(codec, task, USERS[1], USERS[2], boss=USERS[1]) == [USERS[1], USERS[2], USERS[1]]


def test_references_are_loaded_wherever_they_stand(codec: Codec) -> None:
    def task(users: list[User], by_name: dict[str, Any], pair: list[Any]) -> Any:
        return users, by_name, pair

    found = trip(codec, task, [USERS[1], USERS[2]], {"a": {"b": [USERS[1]]}}, [USERS[2], 5])
    assert found == ([USERS[1], USERS[2]], {"a": {"b": [USERS[1]]}}, [USERS[2], 5])


def test_a_subclass_travels_as_its_registered_base(codec: Codec) -> None:
    def task(user: Admin) -> Admin:
        return user

    assert trip(codec, task, Admin(2)) is USERS[2]


@pytest.mark.parametrize("missing", ["dead", "cancel", "retry"])
@pytest.mark.parametrize(
    "gone", [lambda number: None, lambda number: {}[number]], ids=["None", "LookupError"]
)
def test_an_object_that_is_gone_says_what_is_to_be_done(missing: Any, gone: Any) -> None:
    codec = Codec()
    codec.refer(User, dump=lambda user: user.id, load=gone, missing=missing)

    def task(user: User) -> None: ...

    with pytest.raises(ReferenceGone, match=r"User 9 no longer exists") as caught:
        trip(codec, task, User(9))
    assert caught.value.missing == missing


def test_an_error_of_the_database_is_not_mistaken_for_an_object_that_is_gone() -> None:
    def unreachable(number: int) -> User:
        raise ConnectionError("the database is away")

    codec = Codec()
    codec.refer(User, dump=lambda user: user.id, load=unreachable, missing="dead")

    def task(user: User) -> None: ...

    with pytest.raises(ConnectionError):
        trip(codec, task, User(1))


def test_a_class_that_the_worker_does_not_know_is_named(codec: Codec) -> None:
    def task(user: User) -> None: ...

    payload = Signature(task, "task", codec).encode([USERS[1]], {}, 65536)
    with pytest.raises(CodecError, match=r"User is not registered here; call app\.reference"):
        Signature(task, "task", Codec()).decode(payload)


def test_a_dict_of_a_users_own_with_a_ref_is_left_alone(codec: Codec) -> None:
    def task(schema: dict[str, Any]) -> Any:
        return schema

    schema = {"$ref": "#/definitions/x", "description": "y"}
    assert trip(codec, task, schema) == schema


def test_a_class_is_registered_once_with_a_known_policy() -> None:
    app = Backburner("sqlite://")
    app.reference(User, load=USERS.get)
    with pytest.raises(ConfigError, match="registered as a reference already"):
        app.reference(User, load=USERS.get)
    with pytest.raises(ConfigError, match="did you mean 'retry'"):
        app.reference(Admin, load=USERS.get, missing="retr")  # type: ignore[arg-type]


@dataclass
class Point:
    id: int


class Corner(NamedTuple):
    id: int


class Colour(Enum):
    RED = 1


class Row(msgspec.Struct):
    id: int


class Bag(dict[str, int]):
    id = 1


@pytest.mark.parametrize("cls", [Point, Corner, Colour, Row, Bag])
def test_a_class_whose_objects_would_be_stored_by_value_is_refused(cls: type) -> None:
    with pytest.raises(ConfigError, match="stored by value"):
        Backburner("sqlite://").reference(cls, load=lambda number: None)


def test_a_value_without_json_form_is_refused(codec: Codec) -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        codec.encode(object())


def test_a_pydantic_model_is_validated_in_the_worker(codec: Codec) -> None:
    def task(photo: Photo, more: list[Photo]) -> Any:
        return photo, more

    photo = Photo(title="cat", size=(640, 480))
    assert trip(codec, task, photo, [photo]) == (photo, [photo])

    def newer(photo: Point) -> None: ...

    payload = Signature(task, "task", codec).encode([photo, []], {}, 65536).replace(b"480", b'"tall"')
    with pytest.raises(CodecError, match=r"(?s)argument 'photo'.*size"):
        Signature(task, "task", codec).decode(payload)


def test_a_pydantic_model_may_be_a_reference() -> None:
    codec = Codec()
    photo = Photo(title="cat")
    codec.refer(Photo, dump=lambda each: each.title, load={"cat": photo}.get, missing="dead")

    def task(photo: Photo) -> Any:
        return photo

    assert trip(codec, task, Photo(title="cat", size=(9, 9))) is photo


def test_a_result_comes_back_as_the_tasks_return_type(codec: Codec) -> None:
    assert decode_result(codec.encode([Point(1)]), list[Point]) == [Point(1)]
    assert decode_result(codec.encode(5), Any) == 5
    assert decode_result(None, int) is None


def test_a_result_that_does_not_fit_the_type_is_still_readable(codec: Codec) -> None:
    assert decode_result(b'{"id":1}', User) == {"id": 1}
    assert decode_result(b'"text"', int) == "text"
