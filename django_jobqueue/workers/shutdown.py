"""How a worker is told to stop: signals, and the autoreloader."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

from django.utils import autoreload

from django_jobqueue.conf import conf
from django_jobqueue.workers.executor import Interrupted
from django_jobqueue.workers.settler import Counters
from django_jobqueue.workers.worker import Worker

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
HURRY_SIGNAL = signal.SIGALRM
"""The grace is over: says the worker's own timer, or the parent of a child process."""
_SOON = 0.05
_AGAIN = 2.0


class StopSignals:
    """The first signal drains the worker; the second, or the end of the grace, interrupts its job.

    Entered before there is a worker, so that a signal that comes early is not lost. Does nothing outside the main
    thread, where signals can't be handled.

    In a child process (`is_child`) a second one changes nothing: Ctrl-C and most process managers tell the whole group,
    and the parent tells its children too. The parent counts, and sends `HURRY_SIGNAL`.
    """

    def __init__(self, is_child: bool = False) -> None:
        self._worker: Worker | None = None
        self._is_child = is_child
        self._is_told = False
        self._is_hurried = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._previous[number] = signal.signal(number, self._on_stop)
            self._previous[HURRY_SIGNAL] = signal.signal(HURRY_SIGNAL, self._on_grace_over)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def run(self, worker: Worker) -> Counters:
        """Run a worker that obeys the signals, those that came before it included."""
        self._worker = worker
        if self._is_told:
            worker.stop()
        return worker.run()

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        if self._is_told:
            if not self._is_child:
                self._interrupt()
            return
        self._is_told = True
        signal.setitimer(signal.ITIMER_REAL, _SOON if self._is_hurried else conf().SHUTDOWN_GRACE)
        if self._worker is not None:
            self._worker.stop()

    def _on_grace_over(self, number: int, frame: FrameType | None) -> None:
        if self._is_told:
            self._interrupt()
        else:  # of two signals that wait, Python handles the lower number first, and that is SIGALRM
            self._is_hurried = self._is_child

    def _interrupt(self) -> None:
        """Raise `Interrupted` in the job's own code. A job may swallow it, so it comes again until the worker ends."""
        in_job = self._worker is not None and self._worker.window.is_open
        signal.setitimer(signal.ITIMER_REAL, _AGAIN if in_job else _SOON)
        if in_job:
            raise Interrupted


def run_with_autoreload(worker: Worker) -> None:
    """Run a worker in the autoreloader's thread.

    Whatever ends the process (a change of code, Ctrl-C, SIGTERM), the running job may finish first and the rest is
    given back. Django's reloader starts this process again in a child, and only the child has a worker.
    """
    began, ended = threading.Event(), threading.Event()

    def run() -> None:
        began.set()
        try:
            worker.run()
        finally:
            ended.set()

    try:
        autoreload.run_with_reloader(run)
    finally:
        worker.stop()
        if began.is_set():
            ended.wait(conf().SHUTDOWN_GRACE)
