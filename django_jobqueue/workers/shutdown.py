"""How a worker is told to stop, to be quiet and to go on: signals, and the autoreloader."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import FrameType
from typing import Self

from django.utils import autoreload

from django_jobqueue.conf import conf
from django_jobqueue.workers.alarm import alarm
from django_jobqueue.workers.background import Companion, beside
from django_jobqueue.workers.settler import Counters
from django_jobqueue.workers.worker import Worker

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
QUIET_SIGNAL, RESUME_SIGNAL = QUIET_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)
HURRY_SIGNAL = signal.SIGVTALRM
"""The grace is over, says the parent of a child process. A worker without one has a timer for that."""
_GRACE = "grace"
_SOON = 0.05
_AGAIN = 2.0


class StopSignals:
    """The first signal drains the worker; the second, or the end of the grace, interrupts its job.

    `grace` is in seconds; None: `SHUTDOWN_GRACE`. SIGUSR1 makes the worker quiet, SIGUSR2 lets it go on. Entered before
    there is a worker, so that a signal that comes early is not lost. Does nothing outside the main thread, where
    signals cannot be handled.

    In a child process (`is_child`) a second one changes nothing: Ctrl-C and most process managers tell the whole group,
    and the parent tells its children too. The parent counts, and sends `HURRY_SIGNAL`.
    """

    def __init__(self, grace: float | None = None, is_child: bool = False) -> None:
        self._worker: Worker | None = None
        self._grace = grace
        self._is_child = is_child
        self._is_told = False
        self._is_quiet = False
        self._is_hurried = False
        self._stack = ExitStack()
        self.are_heard = False

    def __enter__(self) -> Self:
        self.are_heard = threading.current_thread() is threading.main_thread()
        if self.are_heard:
            self._stack.enter_context(alarm)
            for number in STOP_SIGNALS:
                self._stack.callback(signal.signal, number, signal.signal(number, self._on_stop))
            for number in QUIET_SIGNALS:
                self._stack.callback(signal.signal, number, signal.signal(number, self._on_quiet))
            self._stack.callback(signal.signal, HURRY_SIGNAL, signal.signal(HURRY_SIGNAL, self._on_hurry))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, worker: Worker) -> Counters:
        """Run a worker that obeys the signals, those that came before it included."""
        self._worker = worker
        if self._is_told:
            worker.stop()
        if self._is_quiet:
            worker.quiet()
        return worker.run()

    @property
    def grace(self) -> float:
        """Seconds. Asked late: the settings may not be there yet when the signals are."""
        return conf().SHUTDOWN_GRACE if self._grace is None else self._grace

    def _on_quiet(self, number: int, frame: FrameType | None) -> None:
        self._is_quiet = number == QUIET_SIGNAL
        if self._worker is not None:
            (self._worker.quiet if self._is_quiet else self._worker.resume)()

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        if self._is_told:
            if not self._is_child:
                self._interrupt()
            return
        if self._worker is not None:
            self._worker.stop()  # first: from the next line on another signal may raise in here
        self._is_told = True
        self._interrupt_in(_SOON if self._is_hurried else self.grace)

    def _on_hurry(self, number: int, frame: FrameType | None) -> None:
        if self._is_told:
            self._interrupt()
        else:  # of two signals that wait, Python handles the lower number first
            self._is_hurried = self._is_child

    def _interrupt(self) -> None:
        """Interrupt what runs. A job may swallow it, so it comes again until the worker ends."""
        in_job = self._worker is not None and self._worker.is_in_job
        self._interrupt_in(_AGAIN if in_job else _SOON)
        if self._worker is not None:
            self._worker.interrupt()

    def _interrupt_in(self, seconds: float) -> None:
        alarm.at(_GRACE, time.monotonic() + seconds, self._interrupt)


class _Fork(threading.local):
    """A process that a job forks has no worker to stop: it ends when it is told to, at once after the fork, too."""

    mask: set[int] | None = None

    def before(self) -> None:
        self.mask = None
        if isinstance(getattr(signal.getsignal(signal.SIGTERM), "__self__", None), StopSignals):
            self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())  # known before anything may be raised in here
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))

    def in_parent(self) -> None:
        if self.mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)

    def in_child(self) -> None:
        if self.mask is not None:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)


_fork = _Fork()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_fork.before, after_in_parent=_fork.in_parent, after_in_child=_fork.in_child)


def run_with_autoreload(worker: Worker, companions: Sequence[Callable[[], Companion]] = ()) -> None:
    """Run a worker in the autoreloader's thread.

    Whatever ends the process (a change of code, Ctrl-C, SIGTERM), the running job may finish first and the rest is
    given back. Django's reloader starts this process again in a child, and only the child has a worker.
    """
    began, ended = threading.Event(), threading.Event()

    def run() -> None:
        began.set()
        try:
            with beside(companions):
                worker.run()
        finally:
            ended.set()

    try:
        autoreload.run_with_reloader(run)
    finally:
        worker.stop()
        if began.is_set():
            ended.wait(conf().SHUTDOWN_GRACE)


def end_quickly() -> None:
    """When this process ends, don't let Python look through all objects once more: it takes a fifth of a second of CPU.

    On a busy machine that was two seconds and more, after the worker had signed off, in which nothing happened.
    """
    atexit.register(gc.freeze)
