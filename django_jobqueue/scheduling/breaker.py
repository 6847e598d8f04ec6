"""The circuit breaker of a scheduler: while its database is away it asks more and more seldom, but never for long."""

from __future__ import annotations

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds. The longest is what recovery takes at most once the store is back, and a little more."""


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
