"""What an idle worker asks: the jobs it was told of, and when the next delayed one is due."""

from __future__ import annotations

import time
from collections.abc import Sequence
from uuid import UUID

from django_jobqueue.queues.base import Reservation
from django_jobqueue.queues.redis import packed
from django_jobqueue.queues.redis.scripts import Scripts

FRESH_SECONDS = 0.05
"""For how long an answer tells when the next delayed job is due. One that is pushed later says so on the channel."""


class Looks:
    """The short way to the jobs of a short line, for a worker that has nothing to settle."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._last: tuple[float, bytes] = (0.0, b"")

    def claim_few(self, queues: Sequence[str], limit: int, worker: UUID, call: bytes) -> list[Reservation] | None:
        """Claims what waits. None: it takes the script for everything, with the same `call`."""
        answer = self._scripts.run("claim_few", worker.bytes, limit, call, *queues)
        if not answer:
            return None
        due, traits, piece = answer
        self.heard(due)
        return list(packed.unpack_claimed(piece, packed.unpack_traits(traits))) if piece else []

    def heard(self, due: bytes) -> None:
        """In how many microseconds the next delayed job is due; empty: there is none."""
        self._last = time.monotonic(), due

    def until_due(self, longest: float) -> float:
        """Seconds until the next delayed job is due; `longest` when there is none."""
        if time.monotonic() - self._last[0] > FRESH_SECONDS:
            self.heard(self._scripts.run("next_due"))
        heard_at, due = self._last
        return heard_at + int(due) / 1e6 - time.monotonic() if due else longest
