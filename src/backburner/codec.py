"""Values to bytes and back: JSON through msgspec, never pickle.

1. What msgspec knows (numbers, text, dates, UUIDs, enums, dataclasses, Structs …) is written as it is.
2. A pydantic model is written by `model_dump(mode="json")` and read by `model_validate`.
3. An object of a class registered with `references` is written as class and id, and loaded fresh when read.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Literal, NamedTuple

import msgspec

from backburner.errors import CodecError, ConfigError

Missing = Literal["dead", "cancel", "retry"]
REFERENCE = "$ref"


class Reference(NamedTuple):
    """How objects of `cls` travel: `dump` gives an id that JSON can hold, `load` finds the object again."""

    cls: type[Any]
    name: str
    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]
    missing: Missing


class ReferenceGone(CodecError):
    """The object that an argument refers to no longer exists."""

    def __init__(self, name: str, key: object, missing: Missing) -> None:
        super().__init__(f"{name} {key!r} no longer exists")
        self.missing = missing


class Codec:
    """Encodes and decodes values; knows the registered reference classes."""

    def __init__(self) -> None:
        self._by_class: dict[type[Any], Reference] = {}
        self._by_name: dict[str, Reference] = {}
        self._encoder = msgspec.json.Encoder(enc_hook=self._write)
        self.encode = self._encoder.encode

    def refer(
        self, cls: type[Any], *, dump: Callable[[Any], Any], load: Callable[[Any], Any], missing: Missing
    ) -> None:
        """Store objects of `cls` (and its subclasses) as an id; see `Backburner.reference`."""
        if missing not in ("dead", "cancel", "retry"):
            raise ConfigError.unknown("policy for missing references", missing, ("dead", "cancel", "retry"))
        name = f"{cls.__module__}.{cls.__qualname__}"
        if cls in self._by_class:
            raise ConfigError(f"{name} is registered as a reference already")
        if _has_json_form(cls):
            raise ConfigError(
                f"{name} cannot be a reference: its objects have a JSON form and are stored by value; "
                "give the task an id instead"
            )
        self._by_class[cls] = self._by_name[name] = Reference(cls, name, dump, load, missing)

    def decoder(self, kind: Any) -> msgspec.json.Decoder[Any]:
        return msgspec.json.Decoder(kind, dec_hook=self._read)

    def convert(self, value: Any, kind: Any) -> Any:
        """An untyped decoded value as `kind`. Raises msgspec.ValidationError, ReferenceGone."""
        return msgspec.convert(value, kind, dec_hook=self._read)

    def loaded(self, value: Any) -> Any:
        """`value` with the references in it loaded: those that no annotation spoke of are still unread."""
        if is_reference(value):
            return self._load(value)
        if isinstance(value, dict):
            return {key: self.loaded(each) for key, each in value.items()}
        if type(value) in (list, tuple):
            return type(value)(map(self.loaded, value))
        return value

    def _write(self, value: Any) -> Any:
        for cls in type(value).__mro__:
            reference = self._by_class.get(cls)
            if reference is not None:
                return {REFERENCE: reference.name, "id": reference.dump(value)}
        if hasattr(value, "model_dump") and hasattr(type(value), "model_validate"):
            return value.model_dump(mode="json")
        raise TypeError(f"{type(value).__qualname__} has no JSON form")

    def _read(self, kind: type[Any], value: Any) -> Any:
        if is_reference(value):
            return self._load(value)
        if kind is object:  # anything will do
            return value
        if hasattr(kind, "model_validate"):
            return kind.model_validate(value)
        raise TypeError(f"{kind.__qualname__} cannot be read from JSON; register it with app.reference(…)")

    def _load(self, value: dict[str, Any]) -> Any:
        reference = self._by_name.get(value[REFERENCE])
        if reference is None:
            raise CodecError(
                f"{value[REFERENCE]} is not registered here; call app.reference({value[REFERENCE]}, …)"
            )
        try:
            found = reference.load(value["id"])
        except LookupError:
            found = None
        if found is None:
            raise ReferenceGone(reference.name, value["id"], reference.missing)
        return found


def _has_json_form(cls: type[Any]) -> bool:
    """Whether msgspec writes the objects of `cls` by itself, and asks nobody."""
    if hasattr(cls, "__dataclass_fields__") or hasattr(cls, "__attrs_attrs__"):
        return True
    return issubclass(cls, msgspec.Struct | Enum | dict | list | tuple | set | frozenset)


def is_reference(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {REFERENCE, "id"}


def decode_result(data: bytes | None, kind: Any) -> Any:
    """A stored result as the task's return type, or as plain JSON values where the type is not known.

    Raises `CodecError` for what is no JSON.
    """
    if data is None:
        return None
    try:
        return _typed(data, kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CodecError(f"what is stored cannot be read as JSON: {error}; run the job again") from error


def _typed(data: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.ValidationError, TypeError):
        # A return type that JSON does not give back (a base class, a Protocol) is still a readable result.
        return msgspec.json.decode(data)
