"""One command, several workers: a parent with a child process for each.

The parent runs no jobs and has no connection. It starts its children, starts a dead one again, passes signals on, and
waits. A child is an ordinary worker; it does not outlive its parent, however that ends.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, Self

from django_jobqueue.conf import conf
from django_jobqueue.exceptions import STORE_ERRORS
from django_jobqueue.workers.background import JOIN_SECONDS
from django_jobqueue.workers.hygiene import close_before_fork
from django_jobqueue.workers.shutdown import HURRY_SIGNAL, STOP_SIGNALS, StopSignals

logger = logging.getLogger("django_jobqueue.worker")

Work = Callable[[StopSignals], None]
"""What a child does: make a worker, and run it under these signals."""

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 4.0
"""Before a child is started again. A store that is back after an outage has its worker within five seconds."""
STEADY_SECONDS = 10.0
"""A child that has lived for so long begins with the first pause again."""
LOOK_SECONDS = 0.5
"""How often to look without being told: a process that a job has forked may keep a child's sentinel open."""


class Child:
    """One of the workers: the process that runs it now, and when to start the next one."""

    def __init__(self, name: str, work: Work) -> None:
        self.name = name
        self.work = work
        self.process: BaseProcess | None = None
        self.start_at: float | None = 0.0
        """On the monotonic clock; None when it has ended for good."""
        self.has_failed = False
        self._started_at = 0.0
        self._pause = FIRST_PAUSE

    @property
    def is_due(self) -> bool:
        return self.process is None and self.start_at is not None and time.monotonic() >= self.start_at

    def started(self, process: BaseProcess) -> None:
        self.process, self._started_at = process, time.monotonic()

    def ended(self, has_failed: bool, again: bool) -> float:
        """Its process is gone. When `again`, gives how long to wait for the next: ever longer, to `LONGEST_PAUSE`."""
        now = time.monotonic()
        if now - self._started_at >= STEADY_SECONDS:
            self._pause = FIRST_PAUSE
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        self.process, self.has_failed = None, has_failed
        self.start_at = now + pause if again else None
        return pause

    def send(self, number: int) -> None:
        if self.process is not None and self.process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)


class Processes:
    """The parent. The first signal drains all children, the second interrupts their jobs.

    Entered early, like `StopSignals`: a signal that comes before there are children is not lost.
    """

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._told = 0
        self._lifeline = (-1, -1)
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._previous[number] = signal.signal(number, self._on_stop)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def run(self, works: Mapping[str, Work], has_end: bool = False) -> list[str]:
        """Have each work done in a child, until told to stop; with `has_end`, until all have ended by themselves.

        Gives the names of those that have failed: only with `has_end`, for else they are started again. `RuntimeError`
        where processes can't be forked.
        """
        context = _fork_context()
        self._children = [Child(name, work) for name, work in works.items()]
        self._lifeline = os.pipe()
        try:
            while self._goes_on():
                self._start_due(context)
                self._wait()
                self._reap(has_end)
        finally:
            for end in self._lifeline:  # whatever happened here: now the children end
                os.close(end)
        return [child.name for child in self._children if child.has_failed]

    # -- the parent --------------------------------------------------------------------------------------------------

    def _goes_on(self) -> bool:
        if self._told:
            return any(child.process is not None for child in self._children)
        return any(child.process is not None or child.start_at is not None for child in self._children)

    def _start_due(self, context: Any) -> None:
        for child in self._children:
            if not child.is_due:
                continue
            with _no_signals():  # between the look and the fork, and in the child until it has handlers of its own
                if self._told:
                    return
                close_before_fork()
                process = context.Process(target=self._live, args=(child,), name=child.name)
                process.start()
                child.started(process)

    def _wait(self) -> None:
        sentinels = [child.process.sentinel for child in self._children if child.process is not None]
        starts = [child.start_at for child in self._children if child.process is None and child.start_at is not None]
        pause = min([LOOK_SECONDS, *(max(0.0, start - time.monotonic()) for start in starts)])
        if sentinels:
            wait(sentinels, pause)
        else:
            time.sleep(pause)

    def _reap(self, has_end: bool) -> None:
        for child in self._children:
            code = None if child.process is None else child.process.exitcode
            if code is None:
                continue
            again = not self._told and (code < 0 or not has_end)
            has_failed = has_end and code > 0 and not self._told
            pause = child.ended(has_failed, again)
            if again:
                logger.warning("The worker of %r %s; again in %.2f s.", child.name, _how(code), pause)
            elif code:
                logger.error("The worker of %r %s.", child.name, _how(code))

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._told += 1
        for child in self._children:
            child.send(signal.SIGTERM if self._told == 1 else HURRY_SIGNAL)

    # -- the child ---------------------------------------------------------------------------------------------------

    def _live(self, child: Child) -> None:
        """The whole life of a child process."""
        watched, held = self._lifeline
        os.close(held)  # or it would keep itself and the others alive
        for number in _SIGNALS:  # what comes back when its own handlers go: never those of the parent
            signal.signal(number, _heed_not)  # not SIG_IGN, which would drop a signal that waits since the fork
        with StopSignals(is_child=True) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            threading.Thread(target=_follow, args=(watched,), name="jobqueue-lifeline", daemon=True).start()
            try:
                child.work(signals)
            except STORE_ERRORS as error:
                logger.error("The worker of %r could not go on: %s", child.name, error)
                sys.exit(1)
            except Exception:
                logger.exception("The worker of %r failed.", child.name)
                sys.exit(1)


_SIGNALS = {*STOP_SIGNALS, HURRY_SIGNAL}


def _heed_not(number: int, frame: FrameType | None) -> None:
    """A child in its last moments has been told enough."""


def _fork_context() -> Any:
    try:
        return multiprocessing.get_context("fork")
    except ValueError:
        raise RuntimeError("This system can't fork processes: start one queue_work for each backend.") from None


@contextmanager
def _no_signals() -> Iterator[None]:
    """Signals that come inside wait until it is over."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _follow(lifeline: int) -> None:
    """In a thread of the child: drain it when the parent is gone, and end it if that takes too long.

    Nobody ever writes into the pipe. Its other end is open in the parent alone, so reading returns when that has died.
    """
    os.read(lifeline, 1)
    logger.warning("The parent of worker process %d is gone; it stops.", os.getpid())
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(2 * conf().SHUTDOWN_GRACE + JOIN_SECONDS)  # for the job, and for a store that does not answer
    os.kill(os.getpid(), signal.SIGKILL)


def _how(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
