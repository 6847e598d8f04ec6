"""Where a line begins, as far as this process knows: for a line behind a crowd of dead tuples.

PostgreSQL can't remove what an open snapshot may still see. Beside a backup, or a transaction that somebody forgot, the
index keeps an entry for each job that has passed, and a claim walks past all of them to the first that waits: ten
milliseconds for 100,000. So a claim that was slow, on a table with many dead tuples, leaves the place where it took its
last job, and for a while the next ones begin there. What is before that place (a job that was released, one whose push
was committed late) or has a lower priority is seen by the next claim of the whole line. That one comes soon enough to
cost a fortieth of the time at most, and at once when nothing else is found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

SLOW_SECONDS = 0.004
"""A look at the whole line that took longer may have met a crowd."""
CROWD = 10_000
"""Dead tuples. Fewer are not worth the trouble, whatever made the look slow."""
SHARE = 40
"""A look that took so many seconds holds for so many times as long."""


class Place(NamedTuple):
    """`seq` of the first job of this priority that may wait; of a higher one none waits that is older."""

    priority: int
    seq: int
    until: float


class Crowd:
    """What is known of the lines of one database. Any thread may ask; the last one to tell is believed."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._names: tuple[list[str], float] = [], 0.0

    def place(self, queue: str) -> Place | None:
        """Where to begin; None: at the beginning."""
        place = self._places.get(queue)
        return place if place is not None and time.monotonic() < place.until else None

    def places(self) -> dict[str, Place]:
        """Of all queues."""
        return {queue: place for queue in list(self._places) if (place := self.place(queue)) is not None}

    def names(self) -> list[str]:
        """The queues that had ready jobs a moment ago; empty: who knows."""
        names, until = self._names
        return list(names) if time.monotonic() < until else []

    def saw_line(self, queue: str, last: tuple[int, int], seconds: float, dead: Callable[[], int]) -> None:
        """The whole line was looked at, and the job at `last` (priority, seq) was taken last."""
        self._places.pop(queue, None)
        if _is_crowded(seconds, dead):
            self._places[queue] = Place(*last, time.monotonic() + SHARE * seconds)

    def moved_on(self, queue: str, place: Place, last: tuple[int, int]) -> None:
        """Jobs were taken from this place on. Those of a higher priority came later, and say nothing of its own."""
        if last[0] == place.priority:
            self._places[queue] = place._replace(seq=last[1])

    def saw_names(self, names: Sequence[str], seconds: float, dead: Callable[[], int]) -> None:
        if _is_crowded(seconds, dead):
            self._names = list(names), time.monotonic() + SHARE * seconds


def _is_crowded(seconds: float, dead: Callable[[], int]) -> bool:
    return seconds > SLOW_SECONDS and dead() > CROWD


_crowds: dict[str, Crowd] = {}


def crowd_of(database: str) -> Crowd:
    return _crowds.setdefault(database, Crowd())
