"""How many jobs a worker runs at once, and where."""

from __future__ import annotations

from dataclasses import dataclass

from django_jobqueue.queues.base import Queue
from django_jobqueue.workers.board import Watch
from django_jobqueue.workers.coroutines import Coroutines
from django_jobqueue.workers.outbox import Outbox
from django_jobqueue.workers.pace import Pace
from django_jobqueue.workers.runners import Inline, Retire, Runner
from django_jobqueue.workers.threads import Threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """`threads`: how many; None: one, in the worker's own. `on_loop`: async functions need none, but share a loop."""

    threads: int | None = None
    on_loop: bool = False

    @property
    def count(self) -> int:
        return self.threads or 1

    def runner(self, queue: Queue, outbox: Outbox, pace: Pace, watch: Watch, retire: Retire) -> Runner:
        if self.threads is None:
            return Inline(queue, outbox, pace, watch, retire)
        several = Coroutines if self.on_loop else Threads
        return several(queue, outbox, pace, watch, retire, self.threads)
