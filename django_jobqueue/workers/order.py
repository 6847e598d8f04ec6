"""In which order a worker looks at its queues: the one it is asked for, or by turns in proportion to their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class QueueOrder:
    """An order for each fetch. A queue without a weight stays where it stands; those with one share their places.

    Their turns are as evenly spread as they can be: 3 and 1 give a, a, b, a and not a, a, a, b. A queue that is empty
    when it is its turn leaves it to the others.
    """

    def __init__(self, queues: Sequence[str], weights: Mapping[str, int] | None = None) -> None:
        self._queues = tuple(queues)
        self._weights = {name: weight for name, weight in (weights or {}).items() if name in self._queues}
        self._credit = dict.fromkeys(self._weights, 0)

    def next(self) -> Sequence[str]:
        """No queue at all means all of them, as everywhere."""
        if not self._weights:
            return self._queues
        for name, weight in self._weights.items():
            self._credit[name] += weight
        by_turn = sorted(self._credit, key=lambda name: -self._credit[name])  # of equals, the first named
        self._credit[by_turn[0]] -= sum(self._weights.values())
        turns = iter(by_turn)
        return tuple(next(turns) if name in self._weights else name for name in self._queues)
