"""Jobs that pass through a store in this process, claimed and settled as a worker does, without one."""

from __future__ import annotations

import time
from collections.abc import Sequence

from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.lifecycle.outcomes import Timing, completed
from django_jobqueue.queues.base import Queue, WorkerIdentity
from tests.chaos.tasks import work

PUSHED, CLAIMED = 1_000, 200


class Passage:
    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.me = WorkerIdentity()
        queue.join(self.me)

    def fill(self, count: int) -> None:
        for start in range(0, count, PUSHED):
            self.queue.push(*(JobPayload.create(work, (0,)) for _ in range(min(PUSHED, count - start))))

    def drain(self, count: int) -> None:
        """So many jobs come and go, and the line is never empty."""
        while count > 0:
            self.fill(PUSHED)
            for _ in range(PUSHED // CLAIMED):
                self._pass(CLAIMED)
            count -= PUSHED

    def claims(self, times: int, at_once: int, queues: Sequence[str] = ()) -> list[float]:
        """How many milliseconds each took, sorted. What is claimed is settled in between."""
        found = []
        for _ in range(times):
            begun = time.perf_counter()
            jobs = self.queue.reserve(queues, at_once, self.me.id)
            found.append((time.perf_counter() - begun) * 1_000)
            assert len(jobs) == at_once
            self._settle(jobs)
        return sorted(found)

    def _pass(self, at_once: int) -> None:
        self._settle(self.queue.reserve(("default",), at_once, self.me.id))

    def _settle(self, jobs: list) -> None:
        assert all(self.queue.settle([completed(job, "", Timing()) for job in jobs]))
