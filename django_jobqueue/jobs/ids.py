"""Ids: made by whoever enqueues, so that repeating a call never makes a second job."""

from __future__ import annotations

import os
import threading
import time
from array import array
from collections.abc import Iterator
from uuid import UUID, SafeUUID

_TAIL = 0x3FFF_FFFF_FFFF_FFFF
_lock = threading.Lock()
_last = 0
_random: Iterator[int] = iter(())
"""Random bits for the next ids, asked for by the hundred: the system's answer takes as long as all the rest."""


def uuid7() -> UUID:
    """A UUIDv7 (RFC 9562): milliseconds first, then a counter, so ids made in one process sort by age.

    The 12 bits after the milliseconds count sub-millisecond steps (RFC 9562, method 3), and never go back
    even when the clock does.
    """
    global _last
    with _lock:
        ticks = time.time_ns() * 4096 // 1_000_000
        if ticks <= _last:
            ticks = _last + 1
        _last = ticks
        tail = _next_random() & _TAIL
    return _made(_version7(ticks, tail))


def uuid7s(count: int) -> list[UUID]:
    """So many ids, in order, each as `uuid7` would make it; for a third of the time."""
    global _last
    if count == 1:
        return [uuid7()]
    with _lock:
        first = max(time.time_ns() * 4096 // 1_000_000, _last + 1)
        _last = first + count - 1
    numbers = array("Q", os.urandom(8 * count))
    return [_made(_version7(first + place, number & _TAIL)) for place, number in enumerate(numbers)]


def _version7(ticks: int, tail: int) -> int:
    return (ticks >> 12) << 80 | 0x7 << 76 | (ticks & 0xFFF) << 64 | 0x2 << 62 | tail


def _next_random() -> int:
    global _random
    for number in _random:
        return number
    _random = iter(array("Q", os.urandom(8 * 100)))
    return next(_random)


def uuid_of(data: bytes) -> UUID:
    """The id in 16 bytes, as `UUID(bytes=data)`, in a third of its time: nothing is asked that we know."""
    return _made(int.from_bytes(data, "big"))


def uuid_of_hex(digits: str) -> UUID:
    """The id in 32 hexadecimal digits, as `UUID(digits)` and as quick as `uuid_of`. Raises `ValueError` like it."""
    return _made(int(digits, 16)) if len(digits) == 32 else UUID(digits)


def _made(value: int) -> UUID:
    made = object.__new__(UUID)
    object.__setattr__(made, "int", value)
    object.__setattr__(made, "is_safe", SafeUUID.unknown)
    return made


def _forget_after_fork() -> None:
    global _lock, _random
    _lock = threading.Lock()
    _random = iter(())  # or parent and child would go on with the same


os.register_at_fork(after_in_child=_forget_after_fork)
