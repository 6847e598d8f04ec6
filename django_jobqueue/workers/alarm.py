"""Doing something at a moment: in the main thread by the process's one timer signal, elsewhere by a thread."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Hashable
from math import inf
from types import FrameType
from typing import Any, Protocol, Self

logger = logging.getLogger("django_jobqueue.worker")

Action = Callable[[], object]
_AT_ONCE = 1e-6
"""A timer of 0 would never ring."""


class Clock(Protocol):
    """Calls an action once, at a moment of the monotonic clock. A second one of the same name takes its place."""

    def at(self, name: Hashable, moment: float, action: Action) -> None: ...

    def cancel(self, name: Hashable) -> None: ...


class Alarm:
    """The owner of SIGALRM and of the timer that sends it. Its actions run in the main thread, and may raise there.

    A timeout and the end of the grace share it: a process has one such timer. Entered by whoever needs it, as often as
    they like; outside nothing rings. For the main thread alone, whose code and signal handlers may call it at any
    moment.
    """

    def __init__(self) -> None:
        self._due: dict[Hashable, tuple[float, Action]] = {}
        self._depth = 0
        self._previous: Any = None

    def __enter__(self) -> Self:
        if self._depth == 0:
            self._previous = signal.signal(signal.SIGALRM, self._ring)
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._due.clear()
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._previous)

    def at(self, name: Hashable, moment: float, action: Action) -> None:
        self._due[name] = (moment, action)
        self._wind()

    def cancel(self, name: Hashable) -> None:
        if self._due.pop(name, None) is not None:
            self._wind()

    def rewind(self) -> None:
        """Set the timer again, after a job has used it for itself."""
        self._wind()

    def _next(self) -> tuple[float, Action] | None:
        return min(self._due.copy().values(), key=_moment, default=None)

    def _wind(self) -> None:
        """Set the timer to what comes next, and again when a signal handler has changed that meanwhile."""
        while True:
            coming = self._next()
            seconds = 0.0 if coming is None else max(_AT_ONCE, coming[0] - time.monotonic())
            signal.setitimer(signal.ITIMER_REAL, seconds)
            if self._next() is coming:
                return

    def _ring(self, number: int, frame: FrameType | None) -> None:
        """Do what has been due for longest, one action for each signal: the first may raise."""
        action, now = None, time.monotonic()
        for name, (moment, what) in sorted(self._due.copy().items(), key=lambda item: _moment(item[1])):
            if moment <= now:
                self._due.pop(name, None)
                action = what
                break
        try:
            if action is not None:
                action()
        finally:
            self._wind()  # not before: the next one would ring in the middle of this, and might take its place

    RINGS = _ring.__code__
    """The code below which a traceback is ours."""


alarm = Alarm()


class TimerThread(threading.Thread):
    """A clock for threads other than the main one. It starts with the first moment it is given."""

    def __init__(self) -> None:
        super().__init__(name="jobqueue-timer", daemon=True)
        self._due: dict[Hashable, tuple[float, Action]] = {}
        self._changed = threading.Condition()
        self._is_over = False
        self._awake_at = 0.0
        """When it looks again by itself."""

    def at(self, name: Hashable, moment: float, action: Action) -> None:
        with self._changed:
            self._due[name] = (moment, action)
            if self.ident is None and not self._is_over:
                self.start()
            if moment < self._awake_at:  # most timeouts are later than that of a job which runs already
                self._changed.notify()

    def cancel(self, name: Hashable) -> None:
        with self._changed:
            self._due.pop(name, None)

    def stop(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify()

    def run(self) -> None:
        while (action := self._wait()) is not None:
            try:
                action()
            except Exception:
                logger.exception("What was due could not be done.")

    def _wait(self) -> Action | None:
        """The next action, when it is due; None at the end."""
        with self._changed:
            while not self._is_over:
                name, (moment, action) = min(
                    self._due.items(), key=lambda item: _moment(item[1]), default=(None, (None, None))
                )
                if moment is not None and moment <= time.monotonic():
                    del self._due[name]
                    return action
                self._awake_at = inf if moment is None else moment
                self._changed.wait(min(self._awake_at - time.monotonic(), threading.TIMEOUT_MAX))
            return None


def _moment(entry: tuple[float, Action]) -> float:
    return entry[0]
