"""Chores: what a scheduler does itself at its ticks, beside turning schedules into jobs. And where they are registered.

A chore is a row of `recurring_jobs` like any schedule, so that it is seen, can be paused, and is done once per tick
however many schedulers there are. It must bear being stopped half way, and being done twice: the next tick goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django_jobqueue.jobs.schedule import Schedule
from django_jobqueue.lifecycle.vigil import Vigil
from django_jobqueue.queues.base import Queue

LIMIT = 60.0
_ENDS_AT = 0.75
"""Of its limit: from there on a chore that asks is told to stop, so that one that asks never seems to hang."""
_PREFIX = "chore:"
_LONGEST_NAME = 200


class Round:
    """What a chore is called with: the database it is for, the stores whose tables are there, and whether to go on."""

    def __init__(self, database: str, vigils: Mapping[Queue, Vigil], limit: float, stopping: threading.Event) -> None:
        self.database = database
        self.queues = tuple(vigils)
        self.vigils = vigils
        self._ends_at = time.monotonic() + _ENDS_AT * limit
        self._stopping = stopping

    def goes_on(self, pause: float = 0.0) -> bool:
        """Wait for `pause` seconds, then say whether there is time for more. False: end, the next tick goes on.

        Ask between two steps of long work. False when the scheduler ends, and at three quarters of the limit.
        """
        return not self._stopping.wait(pause) and time.monotonic() < self._ends_at


Work = Callable[[Round], Any]


def always(queues: Sequence[Queue]) -> bool:
    return True


@dataclass(frozen=True)
class Chore:
    """What is done when. `limit`: after so many seconds it counts as hanging. `work` gives words for the log, or None.

    `is_for` says of the stores of a database whether there is anything to do.
    """

    name: str
    schedule: Schedule
    work: Work
    limit: float = LIMIT
    is_for: Callable[[Sequence[Queue]], bool] = field(default=always, compare=False)

    @property
    def row_name(self) -> str:
        return row_name_of(self.name)


_registered: dict[str, Chore] = {}


def chore(schedule: Schedule, *, name: str = "", limit: float = LIMIT) -> Callable[[Work], Work]:
    """Have a function called by schedulers, once per tick and database: `@chore(every(hours=1))`.

    It is called with a `Round`, in a thread of its own, and may give a text that is logged. `name` is the function's
    module path unless given. An exception is logged and shown with the chore, which is tried again later. For what
    takes long, needs retries or must not be missed, write a task with a schedule. Raises `ValueError` for a name that
    is taken or too long.
    """

    def register(work: Work) -> Work:
        add(Chore(name or f"{work.__module__}.{work.__qualname__}", schedule, work, limit))
        return work

    return register


def add(one: Chore) -> None:
    """Register a chore. The same function may come again, as its module may be loaded twice."""
    known = _registered.get(one.name)
    if known is not None and _home(known) != _home(one):
        raise ValueError(f"there is a chore called {one.name!r} already, {_home(known)}")
    if not 0 < len(one.name) <= _LONGEST_NAME:
        raise ValueError(f"the name of a chore has 1 to {_LONGEST_NAME} characters, not {len(one.name)}")
    if not one.limit > 0:
        raise ValueError(f"the limit of a chore is greater than zero, not {one.limit!r}")
    _registered[one.name] = one


def _home(one: Chore) -> str:
    return f"{one.work.__module__}.{one.work.__qualname__}"


def registered() -> list[Chore]:
    """All chores that this process knows, by name."""
    return [_registered[name] for name in sorted(_registered)]


def row_name_of(name: str) -> str:
    """The name that a chore's row has in `recurring_jobs`: apart from those of schedules, which are free to choose."""
    return _PREFIX + name


def name_of_row(row_name: str) -> str:
    """And back."""
    return row_name.removeprefix(_PREFIX)
