"""What a child has fetched and not started, in memory that outlives it: when it is killed, these are not to blame."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django_jobqueue.queues.base import Reservation
from django_jobqueue.workers.blocks import WORD

PLACES = 1_024
"""Twice `PREFETCH_MAX`. Of more jobs the first ones are forgotten, which means that they are taken for started."""
_MARK = (1 << 64) - 1
_HEAD, _TAIL = range(2)


class Hand:
    """A ring of the jobs' marks (half of an id), and two numbers: those from head to tail have not been started.

    The child writes, one thread at a time; it is read when that is dead. Whatever is not written yet counts as started.
    """

    SIZE = (2 + PLACES) * WORD

    def __init__(self, memory: memoryview, start: int) -> None:
        self._word = memory.cast("Q")[start // WORD : (start + self.SIZE) // WORD]

    def clear(self) -> None:
        """A worker begins."""
        self._word[_HEAD] = self._word[_TAIL]

    def receive(self, jobs: Iterable[Reservation]) -> None:
        """They stand at the end of the line."""
        tail = self._word[_TAIL]
        for job in jobs:
            self._word[2 + tail % PLACES] = job.job_id.int & _MARK
            tail += 1
        self._word[_TAIL] = tail

    def start(self, left: int) -> None:
        """The next one is started; so many are `left`. Those that were given back meanwhile are forgotten with it."""
        self._word[_HEAD] = self._word[_TAIL] - left

    def holds(self, job_id: UUID) -> bool:
        """Whether this job was fetched and surely not started."""
        head, tail = self._word[_HEAD], self._word[_TAIL]
        mark = job_id.int & _MARK
        return any(self._word[2 + at % PLACES] == mark for at in range(max(head, tail - PLACES), tail))
