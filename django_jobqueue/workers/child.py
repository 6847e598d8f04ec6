"""A child of `queue_work`: an ordinary worker with a seat on the board, which does not outlive its parent.

How it may end, a sentence each. Told to, or at a limit: it drains and signs off, as every worker does. Killed: the
parent reaps it, and the heart takes back what it held. Its parent dies: the lifeline says so, it drains, and sends its
own heartbeats meanwhile. If it won't drain, a thread of its own ends it.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from django_jobqueue.exceptions import STORE_ERRORS
from django_jobqueue.workers.background import JOIN_SECONDS, Chore
from django_jobqueue.workers.board import Command, Seat
from django_jobqueue.workers.orders import obey
from django_jobqueue.workers.process import rss_kb
from django_jobqueue.workers.settler import Counters
from django_jobqueue.workers.shutdown import HURRY_SIGNAL, QUIET_SIGNALS, STOP_SIGNALS, StopSignals
from django_jobqueue.workers.worker import Worker

logger = logging.getLogger("django_jobqueue.worker")

Work = Callable[[StopSignals, Seat], None]
"""What a child does: make a worker, and run it under these signals, in this seat."""

SIGNALS = {*STOP_SIGNALS, *QUIET_SIGNALS, HURRY_SIGNAL}
"""What a process of ours may be told."""


LINGER_SECONDS = 2.0
"""How long a child may take to end when its worker has ended and signed off."""

PULSE_SECONDS = 0.25
"""Between two looks at the board."""


class ChildLimits(NamedTuple):
    """When a child has done enough, and a fresh one takes its place after the running job. None: never.

    `lifetime` is in seconds, and drawn out by up to a tenth, so that children started together don't end together.
    """

    memory_kb: int | None = None
    lifetime: float | None = None


class Pulse(Chore):
    """Beside a child's jobs: says how it is, obeys the board, looks at the limits. It never asks the store."""

    first_pause = 0.0

    def __init__(self, worker: Worker, seat: Seat, limits: ChildLimits) -> None:
        super().__init__("jobqueue-pulse", PULSE_SECONDS)
        self._worker = worker
        self._seat = seat
        self._limits = limits
        self._heard: tuple[tuple[int, Command], Command] = (0, Command.NONE), Command.NONE
        lifetime = limits.lifetime
        self._end_at = None if lifetime is None else time.monotonic() + lifetime * random.uniform(1.0, 1.1)  # noqa: S311

    def once(self) -> None:
        self._seat.say(self._worker.report())
        self._obey()
        self._look_at_limits()

    def _obey(self) -> None:
        """The last word counts, whoever said it: the parent, for all its children, or an operator, for this one."""
        before, self._heard = self._heard, (self._seat.wish, self._seat.slot.command)
        if self._heard[0] != before[0]:
            obey(self._worker, self._heard[0][1])
        if self._heard[1] is not before[1]:
            obey(self._worker, self._heard[1])

    def _look_at_limits(self) -> None:
        if self._worker.is_stopping:
            return
        if self._seat.slot.is_retired:
            logger.info("Worker %s ends after its job: there are more than it takes.", self._seat.name)
            self._worker.stop()
        elif self._worker.is_quiet:  # a fresh one would not be
            return
        elif self._end_at is not None and time.monotonic() >= self._end_at:
            self._worker.retire("it has lived long enough")
        elif self._limits.memory_kb is not None and (kb := rss_kb()) > self._limits.memory_kb:
            self._worker.retire(f"it holds {kb // 1024} MiB of memory")


def run(worker: Worker, seat: Seat, signals: StopSignals, limits: ChildLimits) -> Counters:
    """Run a worker that has a seat."""
    pulse = Pulse(worker, seat, limits)
    pulse.start()
    try:
        return signals.run(worker)
    finally:
        pulse.stop()
        seat.say(worker.report())


def live(name: str, work: Work, seat: Seat, lifeline: tuple[int, int], grace: float) -> None:
    """The whole life of a child process."""
    watched, held = lifeline
    os.close(held)  # or it would keep itself and the others alive
    for number in SIGNALS:  # what comes back when its own handlers go: never those of the parent
        signal.signal(number, _heed_not)  # not SIG_IGN, which would drop a signal that waits since the fork
    with StopSignals(grace, is_child=True) as signals:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        follow = threading.Thread(target=_follow, args=(watched, seat, grace), name="jobqueue-lifeline", daemon=True)
        follow.start()
        try:
            work(signals, seat)
            code = 0
        except STORE_ERRORS as error:
            logger.error("The worker of %r could not go on: %s", name, error)
            code = 1
        except Exception:
            logger.exception("The worker of %r failed.", name)
            code = 1
    threading.Thread(target=_end_at_last, args=(code,), name="jobqueue-end", daemon=True).start()
    sys.exit(code)


def patience(grace: float) -> float:
    """How many seconds a child may live without its parent: for the job, and for a store that does not answer."""
    return 2 * grace + JOIN_SECONDS


def _end_at_last(code: int) -> None:
    """In a thread: Python waits for every thread that is no daemon, and a job may have left one that never ends."""
    time.sleep(LINGER_SECONDS)
    os._exit(code)


def _heed_not(number: int, frame: object) -> None:
    """A child in its last moments has been told enough."""


def _follow(lifeline: int, seat: Seat, grace: float) -> None:
    """In a thread of the child: drain it when the parent is gone, and end it if that takes too long.

    Nobody ever writes into the pipe. Its other end is open in the parent alone, so reading returns when that has died.
    """
    os.read(lifeline, 1)
    seat.is_orphan = True
    logger.warning("The parent of worker process %d is gone; it stops.", os.getpid())
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(patience(grace) + LINGER_SECONDS)  # the heart is the first to end it, and gives back what it holds
    os.kill(os.getpid(), signal.SIGKILL)
