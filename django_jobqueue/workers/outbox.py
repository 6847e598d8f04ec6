"""What a worker holds between claim and settlement: jobs not started yet, and decisions not stored yet.

Shared by the thread that runs jobs and the one that flushes; everything happens under one lock, in memory.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat
from typing import NamedTuple

from django_jobqueue.lifecycle.outcomes import released
from django_jobqueue.queues.base import Reservation, Settlement
from django_jobqueue.workers.atomically import Stored
from django_jobqueue.workers.hand import Hand


class Held(NamedTuple):
    """A reservation and when it arrived, on the monotonic clock in seconds."""

    reservation: Reservation
    received_at: float


_held: Callable[[tuple[Reservation, float]], Held] = partial(tuple.__new__, Held)
"""What `Held._make` does, in a third of its time."""


class Outbox:
    """Jobs waiting to be started, those that run, and settlements waiting to be stored.

    `hand`: where to say which have not been started, for whoever finds this process dead.
    """

    def __init__(self, hand: Hand | None = None) -> None:
        self._hand = hand
        self._lock = threading.Lock()
        self._unstarted: deque[Held] = deque()
        self._settlements: list[Settlement] = []
        self._stored: list[Settlement] = []
        self._oldest: float | None = None
        self._running = 0
        self._moved_at = 0.0
        self.started = 0
        """How many jobs were started so far."""
        self.times_emptied = 0
        """How often jobs that were not started were taken out."""

    def receive(self, reservations: Sequence[Reservation]) -> None:
        now = time.monotonic()
        with self._lock:
            if not self._unstarted:
                self._moved_at = now
            self._unstarted.extend(map(_held, zip(reservations, repeat(now), strict=False)))
            if self._hand is not None:
                self._hand.receive(reservations)

    def start_next(self, even_alone: bool = True) -> Held | None:
        """The next job to run, or None. It counts as started from here on.

        Not `even_alone`: nothing when the next is one that must run alone, and others may be running.
        """
        with self._lock:
            if not self._unstarted or not (even_alone or is_sociable(self._unstarted[0].reservation)):
                return None
            if self._hand is not None:
                self._hand.start(len(self._unstarted) - 1)
            self._running += 1
            self.started += 1
            self._moved_at = time.monotonic()
            return self._unstarted.popleft()

    def finish(self, settlement: Settlement) -> None:
        """A running job ended. What became of it waits to be stored, unless it is."""
        with self._lock:
            self._running -= 1
            self._moved_at = time.monotonic()
            if isinstance(settlement, Stored):
                self._stored.append(settlement)
            else:
                self._add(settlement)

    def add(self, settlements: Sequence[Settlement]) -> None:
        with self._lock:
            for settlement in settlements:
                self._add(settlement)

    def _add(self, settlement: Settlement) -> None:
        self._settlements.append(settlement)
        if self._oldest is None:
            self._oldest = time.monotonic()

    def give_back_unstarted(self) -> None:
        """Release all jobs not started. In one step: who looks meanwhile finds them here or there."""
        with self._lock:
            for reservation in self._take_unstarted():
                self._add(released(reservation))

    def take_unstarted(self) -> list[Reservation]:
        """All jobs not started, taken out: whoever takes them gives them back to the store."""
        with self._lock:
            return self._take_unstarted()

    def _take_unstarted(self) -> list[Reservation]:
        taken = [held.reservation for held in self._unstarted]
        self._unstarted.clear()
        self.times_emptied += bool(taken)
        return taken

    def take_settlements(self) -> list[Settlement]:
        with self._lock:
            taken, self._settlements, self._oldest = self._settlements, [], None
            return taken

    def take_stored(self) -> Sequence[Settlement]:
        """What jobs have stored themselves, to be counted."""
        if not self._stored:
            return ()
        with self._lock:
            taken, self._stored = self._stored, []
            return taken

    def put_back(self, settlements: Sequence[Settlement]) -> None:
        """The store did not answer: first in line for the next try."""
        with self._lock:
            self._settlements = [*settlements, *self._settlements]
            self._oldest = time.monotonic() if self._settlements else None

    @property
    def has_settlements(self) -> bool:
        return bool(self._settlements)

    @property
    def oldest_age(self) -> float:
        """Seconds the oldest decision has been waiting."""
        oldest = self._oldest
        return 0.0 if oldest is None else time.monotonic() - oldest

    @property
    def stands_still_for(self) -> float:
        """How many seconds the next in line has waited for those that run; 0 when none does."""
        return time.monotonic() - self._moved_at if self._running else 0.0

    @property
    def has_unstarted(self) -> bool:
        return bool(self._unstarted)

    @property
    def unstarted(self) -> int:
        return len(self._unstarted)


def is_sociable(job: Reservation) -> bool:
    """Whether it may run beside others. One that was lost with a worker runs alone: if it is the killer, nobody else is
    charged for it. So does one that has a crash budget of its own: it must not pay for others.
    """
    return not job.crashes and job.crash_budget is None
