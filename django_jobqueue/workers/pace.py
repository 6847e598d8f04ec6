"""How many jobs to take at once: as many as fit in a small time budget, by what jobs have taken lately."""

from __future__ import annotations

_GROWTH = 4
_WEIGHT = 0.5
_WORTH = 64
"""Jobs of a batch from which on the next one is fetched meanwhile."""


class Pace:
    """Prefetch by time, not by count: many tiny jobs per round trip, and never a second slow one in hand.

    `at_once`: how many run at the same time.
    """

    def __init__(self, budget_seconds: float, most: int, at_once: int = 1) -> None:
        self._budget = budget_seconds
        self._most = most
        self._at_once = at_once
        self._limit = 1
        self._mean: float | None = None

    @property
    def limit(self) -> int:
        return self._limit

    def ran(self, jobs: int, seconds: float) -> None:
        """A batch of `jobs` took `seconds`. The limit grows by steps, so that one lucky batch doesn't hoard."""
        if jobs < 1:
            return
        mean = seconds / jobs
        self._mean = mean if self._mean is None else _WEIGHT * mean + (1 - _WEIGHT) * self._mean
        fits = self._most if self._mean * self._most <= self._budget else int(self._budget / self._mean)
        self._limit = max(1, min(self._most, fits, max(self._limit, self._at_once) * _GROWTH))

    @property
    def is_worth_it(self) -> bool:
        """Whether a batch is large enough to fetch the next one meanwhile."""
        return self._limit >= _WORTH

    @property
    def may_fetch_ahead(self) -> bool:
        """Whether two batches fit in the budget: one that runs, and one on its way. And are worth it."""
        return self.is_worth_it and self._mean is not None and 2 * self._limit * self._mean <= self._budget
