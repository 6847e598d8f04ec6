"""What the heart does about how much there is to do: it sees that nothing starves, looks after backlogs, and says how
many children it takes.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from math import ceil
from uuid import UUID

from django_jobqueue.conf import conf
from django_jobqueue.lifecycle.policy import queue_policy
from django_jobqueue.queues.base import Queue
from django_jobqueue.workers.autoscale import Autoscaler, Sample
from django_jobqueue.workers.background import Chore
from django_jobqueue.workers.backlog import BacklogLevel, BacklogManager
from django_jobqueue.workers.board import Board, Slot
from django_jobqueue.workers.host import Processors, memory
from django_jobqueue.workers.process import rss_kb

logger = logging.getLogger("django_jobqueue.worker")

TICK = 0.25
DECIDE_SECONDS = 2.0
"""Between two decisions. The board is looked at more often: what a child does at one moment says little."""
AGED_JOBS = 1_000
"""Of one queue, that become old at most between two decisions."""
_FULL = 0.8
"""A child that works for this share of the time has enough to do."""


class Scaling(Chore):
    """For one store. Without an autoscaler only its backlogs are looked after; with one, `want` is told how many
    children there should be, each time it is another number.
    """

    def __init__(
        self, board: Board, queue: Queue, scaler: Autoscaler | None = None, want: Callable[[int], None] | None = None
    ) -> None:
        super().__init__(f"jobqueue-scaling-{queue.alias}", TICK)
        self._slots = list(board.of(queue.alias))
        self._queue = queue
        self._backlog = BacklogManager(queue)
        self._scaler = scaler
        self._want = want or (lambda children: None)
        # What the last heart has decided stands.
        self._children = 0 if scaler is None else board.target(queue.alias) or scaler.least
        self._work, self._processors = Work(), Processors()
        self._decide_at = time.monotonic() + DECIDE_SECONDS

    def once(self) -> None:
        if self._scaler is not None:
            self._work.look(self._slots)
        if time.monotonic() < self._decide_at:
            return
        self._decide_at = time.monotonic() + DECIDE_SECONDS
        self._age()
        self._backlog.check()
        if self._scaler is not None:
            self._decide(self._scaler)

    def _age(self) -> None:
        for name in conf().QUEUES:
            if (seconds := queue_policy(name).aging) is not None:
                self._queue.age(name, seconds, AGED_JOBS)

    def _decide(self, scaler: Autoscaler) -> None:
        wanted, why = scaler.decide(self._sample())
        if wanted != self._children:
            logger.info("%r: %d instead of %d children: %s.", self._queue.alias, wanted, self._children, why)
            self._children = wanted
            self._want(wanted)

    def _sample(self) -> Sample:
        rows = self._queue.stats()
        sizes = [kb for slot in self._slots if slot.is_lived_in and (kb := rss_kb(slot.pid))]
        busy, done_per_second = self._work.sum_up()
        free, whole = memory() or (None, None)
        return Sample(
            at=time.monotonic(),
            ready=sum(row.ready for row in rows),
            oldest_ready_s=max((row.oldest_ready_s for row in rows), default=0.0),
            children=self._children,  # one that is being replaced counts, one that finishes its last job does not
            busy=min(busy, self._children),
            done_per_second=done_per_second,
            host_busy=self._processors.busy(),
            free_memory_kb=free,
            host_memory_kb=whole,
            child_memory_kb=sum(sizes) // len(sizes) if sizes else None,
            is_backlog=self._backlog.level > BacklogLevel.NORMAL,
        )


class Work:
    """How much the children have done between two decisions, by what they say on the board."""

    def __init__(self) -> None:
        self._done: dict[UUID, int] | None = None
        self._begin()

    def _begin(self) -> None:
        self._since = time.monotonic()
        self._looks = 0
        self._seen_busy: Counter[UUID] = Counter()
        self._gained = 0

    def look(self, slots: list[Slot]) -> None:
        self._looks += 1
        done = {}
        for slot in slots:
            worker, report = slot.worker, slot.report
            if worker is None or not slot.is_lived_in:
                continue
            done[worker] = report.completed + report.failed
            if self._done is not None:  # else this heart is new, and what was done before says nothing of now
                self._gained += done[worker] - self._done.get(worker, 0)
            self._seen_busy[worker] += bool(report.running)
        self._done = done

    def sum_up(self) -> tuple[int, float]:
        """How many children had to do, and how many jobs were done per second. The next sum begins here.

        Those that worked for at least half of the time; or as many as it would take to do the same with enough to do
        for each, when the work was spread over many.
        """
        looks, seconds = max(1, self._looks), max(0.001, time.monotonic() - self._since)
        busy = sum(2 * seen >= looks for seen in self._seen_busy.values())
        together = ceil(self._seen_busy.total() / looks / _FULL)
        rate, seen = self._gained / seconds, len(self._seen_busy)
        self._begin()
        return max(busy, min(together, seen)), rate
