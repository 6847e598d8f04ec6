"""Plain values out of a pickle, without running it.

A pickle is a program: loading one from a server means to run what anybody has put there. Here its instructions are
read one by one, and only those that make plain values (numbers, text, lists, dicts) are followed; at the first one that
would look up a name or call something it ends.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any

MAX_BYTES = 1_000_000
_MARK = object()


class NotPlain(ValueError):
    """The pickle holds more than plain values, or is none."""


def plain_value(data: bytes) -> Any:
    """The value in a pickle of plain values. Raises NotPlain."""
    if len(data) > MAX_BYTES:
        raise NotPlain(f"it is longer than {MAX_BYTES:,} bytes")
    machine = _Machine()
    name = ""
    try:
        for opcode, argument, _position in pickletools.genops(data):
            name = opcode.name
            if name == "STOP":
                return machine.pop()
            machine.step(name, argument)
    except NotPlain:
        raise
    except Exception as error:  # pickletools raises whatever its readers do on damaged bytes
        raise NotPlain(f"it is damaged ({name or 'empty'}: {error})") from None
    raise NotPlain("it ends too early")


class _Machine:
    """A stack and a memo, as pickle's own; the instructions that call something are not there."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        return self.stack.pop()

    def step(self, name: str, argument: Any) -> None:
        if name in _NOTHING:
            return
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            self.stack.append(argument)
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        else:
            raise NotPlain(f"it holds {_what(name, argument)}, not only plain values")

    def since_mark(self) -> list[Any]:
        items: list[Any] = []
        while (top := self.stack.pop()) is not _MARK:
            items.append(top)
        return items[::-1]

    def put(self, key: int) -> None:
        self.memo[key] = self.stack[-1]

    def tuple_of(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(items)

    def append(self, items: list[Any]) -> None:
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))


def _what(name: str, argument: Any) -> str:
    if name in ("GLOBAL", "INST") and isinstance(argument, str):
        return "a " + argument.replace(" ", ".")[:80]
    return "an object"


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))


_NOTHING = {"PROTO", "FRAME"}
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (), "MARK": _MARK}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_ACTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    "EMPTY_LIST": lambda on, _: on.stack.append([]),
    "EMPTY_DICT": lambda on, _: on.stack.append({}),
    "LIST": lambda on, _: on.stack.append(on.since_mark()),
    "TUPLE": lambda on, _: on.stack.append(tuple(on.since_mark())),
    "DICT": lambda on, _: on.stack.append(_pairs(on.since_mark())),
    "TUPLE1": lambda on, _: on.tuple_of(1),
    "TUPLE2": lambda on, _: on.tuple_of(2),
    "TUPLE3": lambda on, _: on.tuple_of(3),
    "APPEND": lambda on, _: on.append([on.stack.pop()]),
    "APPENDS": lambda on, _: on.append(on.since_mark()),
    "SETITEM": lambda on, _: on.set_items([on.stack.pop(-2), on.stack.pop()]),
    "SETITEMS": lambda on, _: on.set_items(on.since_mark()),
    "PUT": lambda on, key: on.put(key),
    "BINPUT": lambda on, key: on.put(key),
    "LONG_BINPUT": lambda on, key: on.put(key),
    "MEMOIZE": lambda on, _: on.put(len(on.memo)),
    "GET": lambda on, key: on.stack.append(on.memo[key]),
    "BINGET": lambda on, key: on.stack.append(on.memo[key]),
    "LONG_BINGET": lambda on, key: on.stack.append(on.memo[key]),
}
