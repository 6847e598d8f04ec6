"""How a process runs schedulers: one for each database, until it is told to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import FrameType
from typing import Self

from django_jobqueue.queues.base import Queue
from django_jobqueue.scheduling.chore_runner import ChoreRunner
from django_jobqueue.scheduling.scheduler import Scheduler, SchedulerThread

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def databases_of(queues: Sequence[Queue]) -> list[str]:
    """Where the schedules of these stores are, each once."""
    return list(dict.fromkeys(queue.database for queue in queues))


def scheduler_of(database: str) -> Scheduler:
    """A scheduler with its chores."""
    return Scheduler(database, ChoreRunner(database))


def scheduler_thread(database: str) -> SchedulerThread:
    """A scheduler to run beside something else: `start()` and `stop()` it."""
    return SchedulerThread(scheduler_of(database))


class Until:
    """Runs schedulers until SIGTERM or SIGINT. Entered early: a signal that comes before there are any is not lost.

    Does nothing about signals outside the main thread, where they can't be handled.
    """

    def __init__(self) -> None:
        self._is_told = False
        self._stops: list[Callable[[], None]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._stack.callback(signal.signal, number, signal.signal(number, self._on_stop))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, schedulers: Sequence[Scheduler]) -> None:
        """The first in this thread, the others beside it. `stop` of one ends all."""
        first, *rest = schedulers
        self._stops = [one.stop for one in schedulers]
        if self._is_told:
            return
        threads = [SchedulerThread(one) for one in rest]
        for thread in threads:
            thread.start()
        try:
            first.run()
        finally:
            for thread in threads:
                thread.stop()

    def drain(self, schedulers: Sequence[Scheduler]) -> None:
        """What is due now, and no more."""
        self._stops = [one.stop for one in schedulers]
        for one in schedulers:
            if not self._is_told:
                one.drain()

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._is_told = True
        for stop in self._stops:
            stop()
