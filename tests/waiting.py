"""Waiting for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 60.0
"""Seconds. What comes at all comes soon, but on a machine that does ten other things not always within twenty."""


def wait_until(condition: Callable[[], T], what: str = "", seconds: float = PATIENCE) -> T:
    """The first true answer of `condition`, asked every few milliseconds; `AssertionError` after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what or condition}"
        time.sleep(0.005)
    return answer
