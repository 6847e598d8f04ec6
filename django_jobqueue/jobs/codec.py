"""The JSON that jobs are stored as: the one place that decides, for every store alike, what is accepted.

What the rules are for:
- NaN and Infinity are no JSON; PostgreSQL and browsers refuse the text.
- PostgreSQL has no NUL in text; no UTF-8 has a lone surrogate.
- Python reads no integer of more than 4,300 digits, so such a job could be stored but never run.
- `{1: …, "1": …}` is two values for Python and one key in JSON: one of them would silently vanish.
- Depth, length and number of values are bounded, so that nobody's time or stack goes to one bad job.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Never

from django_jobqueue.exceptions import PayloadError

MAX_DEPTH = 64
"""Containers inside each other, in one argument or one result."""
MAX_BYTES = 262_144
"""Default limit of one job's arguments or of one result, as UTF-8 JSON."""
HARD_MAX_BYTES = 16 * 1024 * 1024
"""No larger text is read, whatever limit it was written under."""
MAX_INT_DIGITS = 4_300
"""Python's own default (sys.int_info.default_max_str_digits)."""

_TOO_BIG_TO_PRINT = 10**MAX_INT_DIGITS
# A process may lower Python's limit, though never below 640 digits: smaller numbers need no further look.
_SURELY_PRINTABLE = 10**640
_SHOWN_KEY = 40


def normalize(value: Any, *, max_bytes: int = MAX_BYTES, root: str = "value") -> Any:
    """`value` in plain JSON types, as a task will see it: new lists and dicts, keys are strings.

    Takes what Django's `normalize_json` takes (mappings, sequences, str, int, float, bool, None; bytes are read as
    UTF-8). Raises PayloadError, a TypeError, whose path starts with `root`.
    """
    return _normalize(_Walk(max_bytes), value, MAX_DEPTH, root)


def encode(value: Any, *, max_bytes: int = MAX_BYTES, root: str = "value") -> str:
    """`value` as compact JSON of at most `max_bytes` (UTF-8). Raises PayloadError."""
    return _dump(normalize(value, max_bytes=max_bytes, root=root), max_bytes, root)


def decode(text: str, *, max_bytes: int = HARD_MAX_BYTES, root: str = "value") -> Any:
    """The value in `text`. Whatever the text is, raises nothing but PayloadError."""
    value = _parse(text, max_bytes, root)
    return value if _is_plain(text, value) else normalize(value, max_bytes=HARD_MAX_BYTES, root=root)


def encode_call(args: Sequence[Any], kwargs: Mapping[str, Any], max_bytes: int = MAX_BYTES) -> str:
    """The arguments of a job as one compact JSON text of at most `max_bytes` (UTF-8). Raises PayloadError."""
    return encoded_call(args, kwargs, max_bytes)[0]


def encoded_call(
    args: Sequence[Any], kwargs: Mapping[str, Any], max_bytes: int = MAX_BYTES
) -> tuple[str, list[Any], dict[str, Any]]:
    """What `encode_call` gives, and what `decode_call` would read from it."""
    walk = _Walk(max_bytes)
    # one level more: MAX_DEPTH is for each argument
    positional = _normalize(walk, args, MAX_DEPTH + 1, "args")
    has_none = type(kwargs) is dict and not kwargs  # as most calls
    named = {} if has_none else _normalize(walk, kwargs, MAX_DEPTH + 1, "kwargs")
    return _dump({"args": positional, "kwargs": named}, max_bytes, "arguments"), positional, named


def decode_call(text: str, max_bytes: int = HARD_MAX_BYTES) -> tuple[list[Any], dict[str, Any]]:
    """The arguments that `encode_call` wrote. Whatever the text is, raises nothing but PayloadError."""
    call = _parse(text, max_bytes, "arguments")
    if type(call) is not dict or len(call) != 2 or type(call.get("args")) is not list:
        raise PayloadError("arguments", 'Expected {"args": [...], "kwargs": {...}}')
    args, kwargs = call["args"], call.get("kwargs")
    if type(kwargs) is not dict:
        raise PayloadError("arguments", 'Expected {"args": [...], "kwargs": {...}}')
    if _is_plain(text, call):
        return args, kwargs
    walk = _Walk(HARD_MAX_BYTES)
    return _normalize(walk, args, MAX_DEPTH + 1, "args"), _normalize(walk, kwargs, MAX_DEPTH + 1, "kwargs")


# --- from Python: one walk checks and copies ---


class _Refused(Exception):
    """A problem on its way up; each container it passes adds where it was. Costs nothing while all is well."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.steps: list[int | str] = []


def _normalize(walk: _Walk, value: Any, depth: int, root: str) -> Any:
    try:
        return walk.value(value, depth)
    except _Refused as refused:
        raise PayloadError(root + "".join(map(step, reversed(refused.steps))), refused.problem) from None


def step(key: int | str) -> str:
    """One step of a path: `[3]`, `.price`, `['unit price']`. Printable and short, whatever the key."""
    if isinstance(key, int):
        return f"[{key}]"
    if len(key) <= _SHOWN_KEY and key.isascii() and key.isidentifier():
        return f".{key}"
    return f"[{_shown(key)}]"


def _shown(key: str) -> str:
    return ascii(key) if len(key) <= _SHOWN_KEY else f"{key[:_SHOWN_KEY]!a}…"


class _Walk:
    """`room` is how many bytes are left at least: every value takes one, every character too.

    Without it, thirty lines of `a = [a, a]` would be a billion values long before the text could be measured.
    """

    __slots__ = ("max_bytes", "room")

    def __init__(self, max_bytes: int) -> None:
        self.room = self.max_bytes = min(max_bytes, HARD_MAX_BYTES)

    def value(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return self.text(value)
        if kind is int:
            return value if -_SURELY_PRINTABLE < value < _SURELY_PRINTABLE else _printable(value)
        if kind is bool or value is None:
            return value
        if kind is float:
            return value if math.isfinite(value) else _refuse(f"{value} is no JSON")
        if kind is dict:
            return self.object(value, depth)
        if kind is list or kind is tuple:
            return self.array(value, depth)
        return self.other(value, depth)

    def other(self, value: Any, depth: int) -> Any:
        """What is none of JSON's types but is close to one. Subclasses lose their class here, as they would in JSON."""
        if isinstance(value, Mapping):
            return self.object(value, depth)
        if isinstance(value, bytes):
            return self.bytes(value)
        if isinstance(value, str):
            return self.text(str.__str__(value))
        if isinstance(value, int):
            return self.value(int.__int__(value), depth)
        if isinstance(value, float):
            return self.value(float.__float__(value), depth)
        if isinstance(value, Sequence):
            return self.array(value, depth)
        _refuse(f"Unsupported type: {type(value)}")

    def text(self, value: str) -> str:
        self.take(len(value))
        if "\x00" in value:
            _refuse("NUL character in text")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                _refuse("Lone surrogate in text")
        return value

    def bytes(self, value: bytes) -> str:
        try:
            return self.text(value.decode())
        except UnicodeDecodeError:
            _refuse("Unsupported value: bytes that are not UTF-8")

    def array(self, values: Sequence[Any], depth: int) -> list[Any]:
        self.enter(values, depth)
        result: list[Any] = []
        try:
            for item in values:
                result.append(self.value(item, depth - 1))
        except _Refused as refused:
            refused.steps.append(len(result))
            raise
        return result

    def object(self, values: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        self.enter(values, depth)
        result: dict[str, Any] = {}
        for key, item in values.items():
            name = self.key(key)
            if name in result:
                _refuse(f"Two keys are both {_shown(name)} in JSON")
            try:
                result[name] = self.value(item, depth - 1)
            except _Refused as refused:
                refused.steps.append(name)
                raise
        return result

    def key(self, key: Any) -> str:
        try:
            plain = key if type(key) is str else self.value(key, 0)
            return self.text(plain) if type(plain) is str else json.dumps(plain)
        except _Refused as refused:
            if isinstance(key, (Mapping, Sequence)) and not isinstance(key, (str, bytes)):
                _refuse(f"Unsupported type: {type(key)} as a key")
            _refuse(f"{refused.problem} (in a key)")

    def enter(self, values: Mapping[Any, Any] | Sequence[Any], depth: int) -> None:
        if depth <= 0:
            _refuse(f"Nested more than {MAX_DEPTH} deep")
        self.take(len(values))

    def take(self, count: int) -> None:
        self.room -= count
        if self.room < 0:
            _refuse(f"Longer than {self.max_bytes:,} bytes as JSON")


def _refuse(problem: str) -> Never:
    raise _Refused(problem)


def _printable(value: int) -> int:
    if not -_TOO_BIG_TO_PRINT < value < _TOO_BIG_TO_PRINT:
        _refuse(f"Integer of more than {MAX_INT_DIGITS:,} digits")
    try:
        str(value)
    except ValueError:
        _refuse("Integer of more digits than this process may print (sys.set_int_max_str_digits)")
    return value


_ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"))


def _text_maker() -> Callable[[Any], str]:
    """`_ENCODER.encode`, which makes itself a new writer for each text, in less than half of its time."""
    make = getattr(json.encoder, "c_make_encoder", None)  # None where Python's json is all Python
    if make is None:
        return _ENCODER.encode
    write = make(None, _ENCODER.default, json.encoder.encode_basestring, None, ":", ",", False, False, False)
    return lambda value: "".join(write(value, 0))


_text_of = _text_maker()


def _dump(normalized: Any, max_bytes: int, root: str) -> str:
    text = _text_of(normalized)
    _check_length(text, min(max_bytes, HARD_MAX_BYTES), root)
    return text


def _check_length(text: str, max_bytes: int, root: str) -> None:
    if len(text) > max_bytes or (not text.isascii() and len(text.encode()) > max_bytes):
        raise PayloadError(root, f"Longer than {max_bytes:,} bytes as JSON")


# --- from text, which may be anything ---


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is there twice")
    return result


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _short_int(digits: str) -> int:
    if len(digits) > MAX_INT_DIGITS + digits.startswith("-"):
        raise ValueError(f"an integer has more than {MAX_INT_DIGITS:,} digits")
    return int(digits)


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is no JSON")


_RULES: dict[str, Any] = {"object_pairs_hook": _distinct, "parse_float": _finite, "parse_constant": _no_constant}
_DECODER = json.JSONDecoder(**_RULES)
# Reading a number takes time that grows with its square, and a process may have lifted Python's limit.
_LONG_TEXT_DECODER = json.JSONDecoder(parse_int=_short_int, **_RULES)


def _parse(text: Any, max_bytes: int, root: str) -> Any:
    if not isinstance(text, str):
        raise PayloadError(root, f"Expected JSON text, got {type(text).__name__}")
    try:
        _check_length(text, min(max_bytes, HARD_MAX_BYTES), root)
        decoder = _DECODER if len(text) <= MAX_INT_DIGITS else _LONG_TEXT_DECODER
        return _whole(text, decoder)
    except UnicodeEncodeError as error:
        raise PayloadError(root, "Lone surrogate in text") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise PayloadError(root, f"Not readable as JSON: {str(error) or type(error).__name__}") from error


def _whole(text: str, decoder: json.JSONDecoder) -> Any:
    """`decoder.decode(text)`, without its search for blanks at both ends, of which our texts have none."""
    try:
        value, end = decoder.raw_decode(text)
    except ValueError:
        end = -1
    return value if end == len(text) else decoder.decode(text)


def _is_plain(text: str, value: Any) -> bool:
    """Whether `value`, read from `text`, can hold nothing that `normalize` would refuse: for most jobs, two searches.

    Only an escape can hide a NUL or a surrogate, and nothing is deeper than it has brackets.
    """
    return "\\u" not in text and (text.count("[") + text.count("{") <= MAX_DEPTH or not _is_deep(value))


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        inside = (item for box in level for item in (box.values() if type(box) is dict else box))
        level = [item for item in inside if type(item) is dict or type(item) is list]
        if not level:
            return False
    return True
