"""The arguments of one task: bound and encoded when it is enqueued, converted before it runs.

1. A call with positional arguments only becomes a JSON array; one decoder, made once from the annotations,
   checks and converts it in a single pass.
2. A call in which some arguments can only be passed by name (keyword-only, extra, or behind a default that
   was left out) becomes a JSON object, with its positional arguments under "*", a name that no parameter
   can have. It is bound and converted one argument at a time.
3. What does not fit fails with the argument's name: a wrong arity, a value that has no JSON form or is too
   large in the caller; a payload of the wrong type in the worker.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, get_type_hints

import msgspec

from backburner.codec import REFERENCE, Codec
from backburner.errors import CodecError, ConfigError, PayloadTooLarge

_REFERENCE = f'"{REFERENCE}"'.encode()
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Signature:
    """The parameters of `function`; `name` is the task's, for messages."""

    def __init__(self, function: Callable[..., Any], name: str, codec: Codec) -> None:
        self._function = function
        self._name = name
        self._codec = codec
        self._signature = inspect.signature(function)
        parameters = self._signature.parameters.values()
        self._positional = [p for p in parameters if p.kind in _POSITIONAL]
        self._names = [p.name for p in self._positional]
        self._extra = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
        named = any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters)
        required = sum(p.default is p.empty for p in self._positional)
        # A call of so many positional arguments, without keywords, needs no binding.
        self._plain = range(0) if named else range(required, len(self._positional) + 1)

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any], limit: int) -> bytes:
        """The payload of a call, at most `limit` bytes. Raises `CodecError`, `PayloadTooLarge`."""
        if not kwargs and len(args) in self._plain:
            value: Any = args
        else:
            try:
                bound = self._signature.bind(*args, **kwargs)
            except TypeError as error:
                raise CodecError(f"{self._name}: {error}") from None
            value = call(self._name, bound.args, bound.kwargs)
        return encode(self._codec, self._name, value, limit, self._names)

    def decode(self, payload: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments converted to the annotated types. Raises `CodecError` (also `ReferenceGone`)."""
        try:
            args: tuple[Any, ...]
            kwargs: dict[str, Any] = {}
            if payload[:1] == b"[" and not self._extra:
                args = self._array(payload)
            else:
                args, kwargs = self._bind(msgspec.json.decode(payload))
            if _REFERENCE in payload:
                args, kwargs = self._codec.loaded(args), self._codec.loaded(kwargs)
        except (msgspec.DecodeError, RecursionError, TypeError, ValueError) as error:
            raise CodecError(f"the arguments do not fit {self._name}: {self._named(str(error))}") from error
        return args, kwargs

    def check(self) -> None:
        """Raise `ConfigError` now for an annotation that cannot be resolved or read from JSON."""
        try:
            _ = self._array
        except (NameError, TypeError, AttributeError) as error:
            raise ConfigError(f"task {self._name}: its annotations cannot be used: {error}") from error

    @cached_property
    def _types(self) -> dict[str, Any]:
        hints = get_type_hints(self._function, include_extras=True)
        return {name: hints.get(name, Any) for name in self._signature.parameters}

    @cached_property
    def returns(self) -> Any:
        try:
            return get_type_hints(self._function, include_extras=True).get("return", Any)
        except (NameError, TypeError, AttributeError):
            return Any  # names that only a type checker can see: a caller reads plain JSON values

    @cached_property
    def _array(self) -> Callable[[bytes], tuple[Any, ...]]:
        """Reads positional arguments, of which those with a default may be missing at the end."""
        fields: list[Any] = [
            (f"p{i}", self._types[p.name]) + (() if p.default is p.empty else (msgspec.UNSET,))
            for i, p in enumerate(self._positional)
        ]
        shape = msgspec.defstruct("Arguments", fields, array_like=True, forbid_unknown_fields=True)
        decode, values = self._codec.decoder(shape).decode, msgspec.structs.astuple
        if all(p.default is p.empty for p in self._positional):
            return lambda payload: values(decode(payload))
        return lambda payload: tuple(each for each in values(decode(payload)) if each is not msgspec.UNSET)

    def _bind(self, raw: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        positional, named = (raw.pop("*", []), raw) if isinstance(raw, dict) else (raw, {})
        bound = self._signature.bind(*positional, **named)
        for name, value in bound.arguments.items():
            parameter = self._signature.parameters[name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                value = tuple(self._convert(name, each) for each in value)
            elif parameter.kind is parameter.VAR_KEYWORD:
                value = {key: self._convert(name, each, key) for key, each in value.items()}
            else:
                value = self._convert(name, value)
            bound.arguments[name] = value
        return bound.args, bound.kwargs

    def _convert(self, name: str, value: Any, key: str | None = None) -> Any:
        try:
            return self._codec.convert(value, self._types[name])
        except (TypeError, ValueError) as error:
            raise TypeError(f"argument {key or name!r}: {error}") from error

    def _named(self, message: str) -> str:
        short = re.search(r"`array` of at least length \d+, got (\d+)", message)
        if short:
            return f"argument {self._positional[int(short[1])].name!r} is missing"
        found = re.search(r"`\$\[(\d+)\]", message)
        if found and int(found[1]) < len(self._positional):
            message = f"argument {self._positional[int(found[1])].name!r}: {message}"
        return message


def call(task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The form in which arguments are stored. Raises `CodecError`."""
    if "*" in kwargs:
        raise CodecError(f"{task}: '*' is no name for an argument")
    return {"*": args, **kwargs} if kwargs else args


def encode(codec: Codec, name: str, value: Any, limit: int, names: Sequence[str] = ()) -> bytes:
    """`value` (a sequence of arguments, or the object form above) as a payload of at most `limit` bytes."""
    try:
        payload = codec.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeEncodeError) as error:
        culprit = next((n for n, v in _labelled(value, names) if _size(codec, v) is None), "?")
        raise CodecError(
            f"{name}: argument {culprit!r} cannot be stored: {error}; pass plain data or an id, or register "
            "its class with app.reference(…)"
        ) from error
    if len(payload) > limit:
        sizes = {n: _size(codec, v) or 0 for n, v in _labelled(value, names)}
        largest = max(sizes, key=lambda n: sizes[n])
        raise PayloadTooLarge(
            f"{name}: the arguments take {len(payload):,} bytes and {limit:,} is the limit; argument "
            f"{largest!r} takes {sizes[largest]:,}: pass an id and load it inside the task"
        )
    return payload


def _labelled(value: Any, names: Sequence[str]) -> list[tuple[str, Any]]:
    positional = value.get("*", ()) if isinstance(value, dict) else value
    labels = [*names, *(f"args[{i}]" for i in range(len(names), len(positional)))]
    named = [(k, v) for k, v in value.items() if k != "*"] if isinstance(value, dict) else []
    return [*zip(labels, positional, strict=False), *named]


def _size(codec: Codec, value: Any) -> int | None:
    try:
        return len(codec.encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeEncodeError):
        return None
