"""The circuit breakers of a scheduler: while its database is away it asks more and more seldom, but never for long.

Another store that does not answer is not asked again for a while: rows are locked meanwhile, and all the others wait.
"""

from __future__ import annotations

import time

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds. The longest is what recovery takes at most once the store is back, and a little more."""


SILENCE = 6
"""A store is not asked again for so many times as long as it took to find out that it does not answer."""


class Silence:
    """The stores that did not answer lately, by alias, with the words that tell why. For all threads of a process."""

    def __init__(self) -> None:
        self._until: dict[str, tuple[float, str]] = {}

    def note(self, alias: str, words: str, took: float) -> None:
        self._until[alias] = time.monotonic() + SILENCE * took, words

    def of(self, alias: str) -> str:
        """Empty for a store that may be asked."""
        until, words = self._until.get(alias, (0.0, ""))
        return words if time.monotonic() < until else ""


class Breaker:
    """Closed: all is well. Open: the last attempt failed, and the next one is a trial."""

    def __init__(self) -> None:
        self.failures = 0

    @property
    def is_open(self) -> bool:
        return self.failures > 0

    def failed(self) -> float:
        """Note a failure; seconds until the next attempt."""
        self.failures += 1
        return min(FIRST_PAUSE * 2.0 ** min(self.failures - 1, 10), LONGEST_PAUSE)

    def succeeded(self) -> int:
        """Note a success; how many failures were before it."""
        failures, self.failures = self.failures, 0
        return failures
