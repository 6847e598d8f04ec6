"""A place for a child, as the parent sees it: the process that has it now, and when to start the next one."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from multiprocessing.process import BaseProcess

from django_jobqueue.workers.board import Cause, Ending, Slot

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 4.0
"""Before a process is started again. A store that is back after an outage has its workers within five seconds."""
LONGEST_AFTER_WORK = 1.0
"""Before the next one after a child that was at work: a job has killed it, and the budget of crashes stops that job."""
STEADY_SECONDS = 10.0
"""A process that has lived for so long begins with the first pause again."""


class Place:
    """`alias` is the store that it serves; empty for the heart's own place."""

    def __init__(self, alias: str = "", number: int = 0, is_spare: bool = False) -> None:
        self.alias = alias
        self.number = number
        self.process: BaseProcess | None = None
        self.slot: Slot | None = None
        self.start_at: float | None = None if is_spare else 0.0
        """On the monotonic clock; None when it has ended for good."""
        self.has_failed = False
        self.ending = Ending(Cause.CRASH)
        """What to say of the process when it is gone, as far as it is known before."""
        self.started_at = 0.0
        self.is_spare = is_spare
        """Whether nobody is needed here, as things are."""
        self.is_closed = False
        """Whether an operator has sent away who was here."""
        self.give_up_at: float | None = None
        """When to kill it, if it alone was told to stop."""
        self.finish_by: float | None = None
        """When to kill it, if it has no job any more and does not end."""
        self._pause = FIRST_PAUSE

    @property
    def is_due(self) -> bool:
        return self.process is None and self.start_at is not None and time.monotonic() >= self.start_at

    @property
    def is_at_work(self) -> bool:
        return self.slot is not None and bool(self.slot.report.running)

    @property
    def deadline_at(self) -> float | None:
        """When its job must have ended; None when it is killed already, too."""
        is_watched = self.process is not None and self.ending.cause is Cause.CRASH
        deadline = self.slot.deadline if self.slot is not None and is_watched else None
        return None if deadline is None else deadline.at

    def started(self, process: BaseProcess) -> None:
        self.process, self.started_at = process, time.monotonic()
        self.ending, self.give_up_at, self.finish_by = Ending(Cause.CRASH), None, None

    def ended(self, again: bool, at_once: bool = False, longest: float = LONGEST_PAUSE) -> float:
        """Its process is gone. When `again`, gives how long to wait for the next: ever longer, to `longest`."""
        now, pause = time.monotonic(), 0.0
        if now - self.started_at >= STEADY_SECONDS or at_once:
            self._pause = FIRST_PAUSE
        if not at_once:
            pause, self._pause = self._pause, min(2 * self._pause, longest)
        self.process = self.slot = None
        self.start_at = now + pause if again else None
        return pause

    def refused(self) -> float:
        """No process could be started. Gives how long to wait before the next try."""
        self.started_at = time.monotonic()
        return self.ended(again=True)

    def kill(self, ending: Ending) -> None:
        self.ending = ending
        self.send(signal.SIGKILL)

    def send(self, number: int) -> None:
        if self.process is not None and self.process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)
