"""Typed values and their JSON, by the type hints of what declares them: `to_json` and `from_json` are exact inverses.

Exact means equal and of the annotated type. How each type is written:

- `str int float bool None` as themselves; `Any` takes what JSON can hold unchanged, so no tuple and no bytes;
- `date time datetime` in ISO 8601; a named zone follows in brackets, as in RFC 9557, since an offset alone would lose
  the daylight saving rules: `2026-10-25T02:30:00+01:00[Europe/Berlin][fold=1]`; `timedelta` as `P1DT30.500000S`;
- `Decimal UUID` as their text, `bytes` in base64, an Enum as its member's name, a Flag as its number;
- a dataclass as an object, `list tuple set frozenset` as arrays; `dict` as an object when its keys are written as text,
  else as an array of pairs;
- a Literal as itself; a union as its member is, when JSON shows which one that was; else as `{"type": …, "value": …}`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, InitVar
from datetime import date, datetime
from functools import cached_property, lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin, get_type_hints

from django_jobqueue.exceptions import PayloadError
from django_jobqueue.jobs import codec
from django_jobqueue.jobs.texts import TEXT_FORMS


def to_json(value: Any, annotation: Any, *, path: str = "value") -> Any:
    """`value`, which must fit `annotation`, in plain JSON types. Raises PayloadError; its path starts with `path`."""
    with _only_payload_errors(path):
        return _schema(annotation).dump(value, path)


def from_json(data: Any, annotation: Any, *, path: str = "value") -> Any:
    """The value that `to_json` wrote as `data` (as `codec.decode` gave it back). Raises nothing but PayloadError."""
    with _only_payload_errors(path):
        return _schema(annotation).load(data, path)


class _Unsupported(TypeError):
    """An annotation that is none of the above."""


@contextmanager
def _only_payload_errors(path: str) -> Iterator[None]:
    try:
        yield
    except _Unsupported as error:
        raise PayloadError(path, f"Unsupported annotation: {error}") from error
    except RecursionError:
        raise PayloadError(path, f"Nested more than {codec.MAX_DEPTH} deep") from None


class _Schema:
    """How one annotation is written."""

    name: str
    kinds: frozenset[str] = frozenset()
    """The JSON types its values may take, by their name in Python. Empty: any."""
    looseness = 0
    """A union tries its strict members first: a StrEnum is a str too, an int will do for a float."""

    def dump(self, value: Any, path: str) -> Any:
        raise NotImplementedError

    def load(self, data: Any, path: str) -> Any:
        raise NotImplementedError

    def unexpected(self, value: Any, path: str) -> PayloadError:
        # The type and not the value: this text goes to logs and pages, the value may be a secret.
        return PayloadError(path, f"Expected {self.name}, got {type(value).__name__}")


class _Anything(_Schema):
    name = "Any"
    looseness = 3

    def dump(self, value: Any, path: str) -> Any:
        data = codec.normalize(value, max_bytes=codec.HARD_MAX_BYTES, root=path)
        if data != value:
            raise PayloadError(path, "Any would come back as something else: annotate what it is")
        return data

    def load(self, data: Any, path: str) -> Any:
        return data


class _Plain(_Schema):
    """str, int, float, bool, None. A bool is no int here; an int will do for a float where it is the same number."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.name = cls.__name__
        self.kinds = frozenset({self.name})
        self.looseness = 2 if cls is float else 1

    def dump(self, value: Any, path: str) -> Any:
        if self.cls is float and type(value) is int and abs(value) <= 2**53:
            return float(value)
        if not isinstance(value, self.cls) or (self.cls is int and isinstance(value, bool)):
            raise self.unexpected(value, path)
        return codec.normalize(value, max_bytes=codec.HARD_MAX_BYTES, root=path)

    def load(self, data: Any, path: str) -> Any:
        return data if type(data) is self.cls else self.dump(data, path)


class _Text(_Schema):
    """A type with an exact textual form."""

    kinds = frozenset({"str"})

    def __init__(self, cls: type, write: Callable[[Any], str], read: Callable[[str], Any]) -> None:
        self.cls, self.write, self.read = cls, write, read
        self.name = cls.__name__

    def dump(self, value: Any, path: str) -> str:
        if not isinstance(value, self.cls) or (self.cls is date and isinstance(value, datetime)):
            raise self.unexpected(value, path)
        try:
            return self.write(value)
        except ValueError as error:
            raise PayloadError(path, str(error)) from error

    def load(self, data: Any, path: str) -> Any:
        if type(data) is not str:
            raise self.unexpected(data, path)
        try:
            return self.read(data)
        # ArithmeticError: Decimal's and timedelta's; KeyError and OSError: zoneinfo's word for a name that is no zone
        except (ValueError, ArithmeticError, KeyError, OSError) as error:
            raise PayloadError(path, f"Not a {self.name}") from error


_TEXTS = {cls: _Text(cls, write, read) for cls, (write, read) in TEXT_FORMS.items()}


class _Enum(_Schema):
    def __init__(self, cls: type[enum.Enum]) -> None:
        self.cls, self.is_flag = cls, issubclass(cls, enum.Flag)
        self.name = cls.__qualname__
        self.kinds = frozenset({"int" if self.is_flag else "str"})

    def dump(self, value: Any, path: str) -> Any:
        if type(value) is not self.cls or (not self.is_flag and value.name not in self.cls.__members__):
            raise self.unexpected(value, path)
        return value.value if self.is_flag else value.name

    def load(self, data: Any, path: str) -> Any:
        try:
            if self.is_flag and type(data) is int:
                return self.cls(data)
            if not self.is_flag and type(data) is str:
                return self.cls[data]
        except (ValueError, KeyError) as error:
            raise PayloadError(path, f"No member of {self.name}") from error
        raise self.unexpected(data, path)


class _Literal(_Schema):
    def __init__(self, choices: tuple[Any, ...]) -> None:
        self.choices = choices
        self.name = f"one of {choices}"
        self.kinds = frozenset(type(choice).__name__ for choice in choices)
        if not self.kinds <= {"str", "int", "bool", "NoneType"}:
            raise _Unsupported(f"Literal{list(choices)}")

    def dump(self, value: Any, path: str) -> Any:
        if any(type(value) is type(choice) and value == choice for choice in self.choices):
            return value
        raise self.unexpected(value, path)

    def load(self, data: Any, path: str) -> Any:
        return self.dump(data, path)


class _Array(_Schema):
    """list, set, frozenset, and tuples of any length."""

    kinds = frozenset({"list"})

    def __init__(self, cls: Any, item: Any) -> None:
        self.cls, self.item = cls, _schema(item)
        self.looseness = self.item.looseness
        self.name = f"{cls.__name__}[{self.item.name}]"

    def dump(self, value: Any, path: str) -> list[Any]:
        if type(value) is not self.cls:
            raise self.unexpected(value, path)
        items = [self.item.dump(item, f"{path}[{index}]") for index, item in enumerate(value)]
        # A set has another order in every process; the same job should have the same text.
        return items if self.cls in (list, tuple) else sorted(items, key=repr)

    def load(self, data: Any, path: str) -> Any:
        if type(data) is not list:
            raise self.unexpected(data, path)
        items = [self.item.load(item, f"{path}[{index}]") for index, item in enumerate(data)]
        return _build(self.cls, path, items)


class _Tuple(_Schema):
    """A tuple with one annotation for each place."""

    kinds = frozenset({"list"})

    def __init__(self, items: tuple[Any, ...]) -> None:
        self.items = [_schema(item) for item in items]
        self.looseness = max((item.looseness for item in self.items), default=0)
        self.name = f"tuple[{', '.join(item.name for item in self.items) or '()'}]"

    def dump(self, value: Any, path: str) -> list[Any]:
        if type(value) is not tuple or len(value) != len(self.items):
            raise self.unexpected(value, path)
        places = enumerate(zip(self.items, value, strict=True))
        return [item.dump(part, f"{path}[{index}]") for index, (item, part) in places]

    def load(self, data: Any, path: str) -> tuple[Any, ...]:
        if type(data) is not list or len(data) != len(self.items):
            raise self.unexpected(data, path)
        places = enumerate(zip(self.items, data, strict=True))
        return tuple(item.load(part, f"{path}[{index}]") for index, (item, part) in places)


class _Dict(_Schema):
    def __init__(self, key: Any, value: Any) -> None:
        self.key, self.value = _schema(key), _schema(value)
        self.looseness = max(self.key.looseness, self.value.looseness)
        self.name = f"dict[{self.key.name}, {self.value.name}]"
        self.is_object = self.key.kinds == {"str"}
        self.kinds = frozenset({"dict" if self.is_object else "list"})

    def dump(self, value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise self.unexpected(value, path)
        pairs: list[list[Any]] = []
        for index, (key, item) in enumerate(value.items()):
            name = self.key.dump(key, f"{path}[{index}]")
            pairs.append([name, self.value.dump(item, path + codec.step(name if self.is_object else index))])
        return dict(pairs) if self.is_object else pairs

    def load(self, data: Any, path: str) -> Any:
        if type(data) is not (dict if self.is_object else list):
            raise self.unexpected(data, path)
        pairs: list[tuple[Any, Any]] = []
        found: Iterable[Any] = data.items() if isinstance(data, dict) else data
        for index, pair in enumerate(found):
            if type(pair) not in (tuple, list) or len(pair) != 2:
                raise self.unexpected(data, path)
            key = self.key.load(pair[0], f"{path}[{index}]")
            pairs.append((key, self.value.load(pair[1], path + codec.step(pair[0] if self.is_object else index))))
        return _build(dict, path, pairs)


class _Dataclass(_Schema):
    kinds = frozenset({"dict"})

    def __init__(self, cls: type[Any]) -> None:
        self.cls, self.name = cls, cls.__qualname__

    @cached_property
    def fields(self) -> dict[str, _Schema]:
        """Not looked at before they are needed: a dataclass may contain itself."""
        try:
            hints = get_type_hints(self.cls)
        except NameError as error:
            raise _Unsupported(f"{self.name} ({error})") from error
        if any(isinstance(hint, InitVar) for hint in hints.values()):
            raise _Unsupported(f"{self.name} (nobody remembers an InitVar)")
        return {field.name: _schema(hints[field.name]) for field in dataclasses.fields(self.cls) if field.init}

    @cached_property
    def required(self) -> set[str]:
        return {
            field.name
            for field in dataclasses.fields(self.cls)
            if field.init and field.default is MISSING and field.default_factory is MISSING
        }

    def dump(self, value: Any, path: str) -> dict[str, Any]:
        if type(value) is not self.cls:  # a subclass would come back as its base
            raise self.unexpected(value, path)
        return {name: schema.dump(getattr(value, name), f"{path}.{name}") for name, schema in self.fields.items()}

    def load(self, data: Any, path: str) -> Any:
        if type(data) is not dict:
            raise self.unexpected(data, path)
        for name in sorted(data.keys() - self.fields.keys()):
            raise PayloadError(path + codec.step(name), f"{self.name} has no such field")
        for name in sorted(self.required - data.keys()):  # a field that came later, with a default, may be absent
            raise PayloadError(f"{path}.{name}", f"{self.name} needs this field")
        return _build(self.cls, path, **{name: self.fields[name].load(data[name], f"{path}.{name}") for name in data})


class _Union(_Schema):
    def __init__(self, annotations: tuple[Any, ...]) -> None:
        self.optional = NoneType in annotations
        members = [_schema(annotation) for annotation in annotations if annotation is not NoneType]
        self.members = sorted(members, key=lambda member: (member.looseness, member.name))
        self.by_name = {member.name: member for member in members}
        self.by_kind = {kind: member for member in members for kind in member.kinds}
        self.name = " | ".join([*self.by_name, "None"] if self.optional else self.by_name)
        self.looseness = self.members[-1].looseness
        told_apart = all(member.kinds for member in members) and len(self.by_kind) == sum(
            len(member.kinds) for member in members
        )
        self.tagged = len(members) > 1 and not told_apart
        if self.tagged and len(self.by_name) < len(members):
            raise _Unsupported(f"{self.name} (two members of one name)")
        self.kinds = frozenset({"dict"} if self.tagged else self.by_kind)
        if self.kinds and self.optional:
            self.kinds |= {"NoneType"}

    def dump(self, value: Any, path: str) -> Any:
        if value is None and self.optional:
            return None
        if len(self.members) == 1:
            return self.members[0].dump(value, path)
        for member in self.members:
            try:
                data = member.dump(value, path)
            except PayloadError:
                continue
            return {"type": member.name, "value": data} if self.tagged else data
        raise self.unexpected(value, path)

    def load(self, data: Any, path: str) -> Any:
        if data is None and self.optional:
            return None
        if len(self.members) == 1:
            return self.members[0].load(data, path)
        kind = type(data).__name__
        member = self.by_kind.get(kind) or (self.by_kind.get("float") if kind == "int" else None)
        if self.tagged:
            if type(data) is not dict or data.keys() != {"type", "value"} or type(data["type"]) is not str:
                raise self.unexpected(data, path)
            member, data = self.by_name.get(data["type"]), data["value"]
        if member is None:
            raise self.unexpected(data, path)
        return member.load(data, path)


def _build(cls: Any, path: str, *args: Any, **kwargs: Any) -> Any:
    try:
        return cls(*args, **kwargs)
    except Exception as error:  # a dataclass may check its values and raise anything; a set's item may be unhashable
        raise PayloadError(path, f"{cls.__qualname__} refused its values ({type(error).__name__})") from error


def _schema(annotation: Any) -> _Schema:
    try:
        return _compile(annotation)
    except _Unsupported:
        raise
    except TypeError as error:  # not hashable: no annotation at all
        raise _Unsupported(repr(annotation)) from error


@lru_cache(maxsize=1024)
def _compile(annotation: Any) -> _Schema:
    if annotation is Any:
        return _Anything()
    if annotation in _TEXTS:
        return _TEXTS[annotation]
    if annotation in (str, int, float, bool, None, NoneType):
        return _Plain(annotation or NoneType)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _Union(args)
    if origin is Literal:
        return _Literal(args)
    if origin is Annotated:
        return _schema(args[0])
    if isinstance(annotation, NewType):
        return _schema(annotation.__supertype__)
    return _compile_container(annotation, origin or annotation, args)


def _compile_container(annotation: Any, cls: Any, args: tuple[Any, ...]) -> _Schema:
    if cls is tuple and annotation is not tuple and args[1:] != (...,):
        return _Tuple(args)
    if cls in (list, tuple, set, frozenset):
        return _Array(cls, args[0] if args else Any)
    if cls is dict:
        return _Dict(*(args or (str, Any)))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _Enum(annotation)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return _Dataclass(annotation)
    raise _Unsupported(repr(annotation))
