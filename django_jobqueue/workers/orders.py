"""What operators want of workers: `worker_processes.desired_state`, which the admin writes and workers read."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Sequence
from uuid import UUID

from django_jobqueue.models import WorkerProcess
from django_jobqueue.queues.base import Queue
from django_jobqueue.workers.background import Chore
from django_jobqueue.workers.board import Command
from django_jobqueue.workers.settler import Counters
from django_jobqueue.workers.shutdown import StopSignals
from django_jobqueue.workers.worker import Worker

logger = logging.getLogger("django_jobqueue.worker")

ASK_SECONDS = 1.0
"""Between two looks."""
_WORDS = {"": Command.NONE, "run": Command.RUN, "quiet": Command.QUIET, "stop": Command.STOP}


def give(queue: Queue, workers: Sequence[UUID], word: str) -> list[UUID]:
    """Tell workers of this store to be `quiet`, to `run` again, or to `stop`. Gives those that are alive.

    They hear it within two seconds. Raises `ValueError` for another word, and `DatabaseError`.
    """
    if word not in _WORDS:
        raise ValueError(f"{word!r} is nothing a worker can be told; use run, quiet or stop")
    alive = WorkerProcess._default_manager.using(queue.database).filter(
        id__in=workers, store=queue.store, state__in=WorkerProcess.ALIVE
    )
    told = list(alive.values_list("id", flat=True))
    alive.update(desired_state=word)
    return told


def orders(queue: Queue, workers: Sequence[UUID]) -> dict[UUID, Command]:
    """One query. A worker without a row, or with a word nobody knows, is not in it. Raises `DatabaseError`."""
    if not workers:
        return {}
    rows = WorkerProcess._default_manager.using(queue.database).filter(id__in=workers)
    return {worker: _WORDS[word] for worker, word in rows.values_list("id", "desired_state") if word in _WORDS}


def obey(worker: Worker, command: Command) -> None:
    """Do what was asked. Only in a process that handles SIGTERM as `StopSignals` does: a stop has its grace, too."""
    if command is Command.NONE:
        return
    logger.info("Worker %s was told: %s.", worker.identity.name, command.name.lower())
    if command is Command.STOP:
        os.kill(os.getpid(), signal.SIGTERM)
    elif command is Command.QUIET:
        worker.quiet()
    else:
        worker.resume()


def run_alone(worker: Worker, signals: StopSignals) -> Counters:
    """Run a worker that has no parent."""
    if worker.limits.has_end or not signals.are_heard:
        return signals.run(worker)
    chore = Orders(worker)
    chore.start()
    try:
        return signals.run(worker)
    finally:
        chore.stop()


class Orders(Chore):
    """For a worker without a parent, whose orders nobody else reads."""

    def __init__(self, worker: Worker) -> None:
        super().__init__("jobqueue-orders", ASK_SECONDS)
        self._worker = worker
        self._heard: tuple[UUID, Command] | None = None

    def once(self) -> None:
        me = self._worker.identity.id
        heard = me, orders(self._worker.queue, [me]).get(me, Command.NONE)
        if heard != self._heard:
            self._heard = heard
            obey(self._worker, heard[1])
