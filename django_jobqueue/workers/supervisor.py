"""One command, several workers: a parent with child processes, and a heart that speaks with the stores for them.

The parent runs no jobs, has no connection and no thread. So it can fork at any time, and a store that hangs can't keep
it from its work: start children, start dead ones again, kill one whose job is past its deadline, pass signals on. What
has become of a child it writes on the board, for the heart to bury. When the parent dies, however it dies, the children
drain and the heart ends.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import FrameType
from typing import Any, NamedTuple, Self

from django_jobqueue.conf import conf
from django_jobqueue.queues.base import Queue
from django_jobqueue.workers import child, heart
from django_jobqueue.workers.autoscale import Autoscaler
from django_jobqueue.workers.background import JOIN_SECONDS, Companion
from django_jobqueue.workers.board import Board, Cause, Command, Ending, Seat, Slot
from django_jobqueue.workers.health import Asked
from django_jobqueue.workers.hygiene import close_before_fork
from django_jobqueue.workers.place import LONGEST_AFTER_WORK, LONGEST_PAUSE, Place
from django_jobqueue.workers.process import close_pipes
from django_jobqueue.workers.shutdown import HURRY_SIGNAL, QUIET_SIGNAL, QUIET_SIGNALS, STOP_SIGNALS

logger = logging.getLogger("django_jobqueue.worker")

LOOK_SECONDS = 0.25
"""How often to look without being told: for deadlines, and because a process that a job has forked may keep a child's
sentinel open."""
LAST_SECONDS = 5.0
"""How long an interrupted job may take to end, before its process is killed."""
FINISH_SECONDS = 20.0
"""And the grace: how long a worker that runs no job any more may take to end. A job may leave a thread behind that
never ends, and Python waits for it.
"""
FROZEN_SECONDS = 20.0
"""A heart that has not been heard for so long is replaced."""


class Station(NamedTuple):
    """A store, what its children do, how many they are at first, and who decides on that, if anybody does."""

    queue: Queue
    work: child.Work
    children: int = 1
    scaler: Autoscaler | None = None

    @property
    def most(self) -> int:
        return self.children if self.scaler is None else self.scaler.most


class Supervisor:
    """The parent. The first signal drains all children, the second interrupts their jobs. `grace`: as `StopSignals`.

    Entered early, like `StopSignals`: a signal that comes before there are children is not lost.
    """

    def __init__(self, grace: float | None = None) -> None:
        self._grace = grace
        self._places: list[Place] = []
        self._heart = Place()
        self._board = Board([])
        self._asked = Asked()
        self._companions: Sequence[Callable[[], Companion]] = ()
        self._wish = Command.NONE
        self._told = 0
        self._give_up_at = 0.0
        self._looked_at = 0.0
        self._lifeline = (-1, -1)
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._previous[number] = signal.signal(number, self._on_stop)
            for number in QUIET_SIGNALS:
                self._previous[number] = signal.signal(number, self._on_quiet)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @property
    def grace(self) -> float:
        return conf().SHUTDOWN_GRACE if self._grace is None else self._grace

    def run(
        self,
        stations: Sequence[Station],
        has_end: bool = False,
        asked: Asked = Asked(),  # noqa: B008 (immutable)
        companions: Sequence[Callable[[], Companion]] = (),
    ) -> list[str]:
        """Have each station served until told to stop; with `has_end`, until all children have ended by themselves.

        Gives the stores whose children have failed: only with `has_end`, for else they are started again. `asked`: what
        the heart tells probes; `companions`: what lives in it besides.
        `RuntimeError` where processes can't be forked.
        """
        context, self._asked, self._companions = _fork_context(), asked, companions
        self._stations = {station.queue.alias: station for station in stations}
        self._places = [
            Place(one.queue.alias, n + 1, is_spare=n >= one.children) for one in stations for n in range(one.most)
        ]
        # For each place two slots and some: a new child needn't wait for the heart to bury the last one.
        self._board = Board([place.alias for place in self._places for _ in range(3)])
        self._board.tell(self._wish)
        self._lifeline = os.pipe()
        try:
            while self._goes_on():
                self._scale()
                self._start_due(context)
                self._wait()
                self._reap(has_end)
                self._kill_overdue()
        finally:
            for end in self._lifeline:  # whatever happened here: now the children end, and the heart
                os.close(end)
            self._end_heart()
        return sorted({place.alias for place in self._places if place.has_failed})

    def _goes_on(self) -> bool:
        if self._told:
            return any(place.process is not None for place in self._places)
        return any(place.process is not None or place.start_at is not None for place in self._places)

    # -- how many ----------------------------------------------------------------------------------------------------

    def _scale(self) -> None:
        for alias in [] if self._told else self._stations:
            target = self._board.target(alias)
            if target is not None:
                self._bring_to(target, [place for place in self._places if place.alias == alias])

    def _bring_to(self, target: int, places: list[Place]) -> None:
        """Fill the first places that are free; retire those who have nothing to do first, and never interrupt a job.

        A closed place counts as if somebody were there: who sends a worker away does not want another one.
        """
        taken = [place for place in places if not place.is_spare]
        for place in [one for one in places if one.is_spare and one.process is None][: max(0, target - len(taken))]:
            place.is_spare, place.start_at = False, 0.0
        by_use = sorted((one for one in taken if not one.is_closed), key=lambda one: (one.is_at_work, -one.number))
        for place in by_use[: max(0, len(taken) - target)]:
            place.is_spare = True
            if place.slot is not None:
                place.slot.retire()
            if place.process is None:
                place.start_at = None

    # -- starting ----------------------------------------------------------------------------------------------------

    def _start_due(self, context: Any) -> None:
        for place in [self._heart, *self._places]:
            if not place.is_due:
                continue
            slot = self._board.free(place.alias)
            if slot is None and place is not self._heart:  # the heart can't bury its dead: the store is away
                place.start_at = time.monotonic() + LOOK_SECONDS
                continue
            with _no_signals():  # between the look and the fork, and in the child until it has handlers of its own
                if self._told and place is not self._heart:
                    return
                close_before_fork()
                try:
                    self._start(context, place, slot)
                except OSError as error:  # no memory, or too many processes or files: for now
                    close_pipes(error)
                    pause = place.refused()
                    logger.error("A process could not be started (%s); again in %.2f s.", error.strerror, pause)

    def _start(self, context: Any, place: Place, slot: Slot | None) -> None:
        if slot is None:
            self._start_heart(context)
            return
        slot.open()
        try:
            self._start_child(context, place, slot)
        except OSError:
            slot.unopen()
            raise

    def _start_child(self, context: Any, place: Place, slot: Slot) -> None:
        name = f"{socket.gethostname()}:{os.getpid()}/{place.number}"
        work, seat = self._stations[place.alias].work, Seat(slot, self._board, name)
        life = (place.alias, work, seat, self._lifeline, self.grace)
        process = context.Process(target=child.live, args=life, name=f"{place.alias}/{place.number}")
        place.slot = slot
        process.start()
        slot.born(process.pid)
        place.started(process)

    def _start_heart(self, context: Any) -> None:
        stores = [(station.queue, station.scaler) for station in self._stations.values()]
        self._board.heart_beat_at = time.monotonic()
        rest = (self._asked, self._companions, child.patience(self.grace))
        life = (self._board, stores, self._lifeline, child.SIGNALS, *rest)
        process = context.Process(target=heart.live, args=life, name="heart")
        process.start()
        self._heart.started(process)

    # -- watching ----------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        now, places = time.monotonic(), [self._heart, *self._places]
        sentinels = [place.process.sentinel for place in places if place.process is not None]
        to_start = [self._heart] if self._told else places
        moments = [place.start_at for place in to_start if place.process is None and place.start_at is not None]
        moments += [place.deadline_at for place in self._places if place.deadline_at is not None]
        wait(sentinels, min([LOOK_SECONDS, *(max(0.0, moment - now) for moment in moments)]))

    def _reap(self, has_end: bool) -> None:
        for place in self._places:
            code = None if place.process is None else place.process.exitcode
            if code is not None and place.slot is not None:
                self._reap_child(place, place.slot, code, has_end)
        if self._heart.process is not None and (code := self._heart.process.exitcode) is not None:
            pause = self._heart.ended(again=True)
            logger.warning("The heart %s; again in %.2f s.", _how(code), pause)

    def _reap_child(self, place: Place, slot: Slot, code: int, has_end: bool) -> None:
        was_busy, was_sent_away = slot.report.completed + slot.report.failed > 0, slot.command is Command.STOP
        place.is_closed = was_sent_away
        # A job can end its process with 0, too; the worker itself says first that it has no job any more.
        is_clean = code == 0 and (slot.is_finishing or slot.worker is None)
        has_died = code <= 0 and not is_clean
        again = not (self._told or was_sent_away or place.is_spare) and (has_died or not has_end)
        place.has_failed = has_end and code > 0 and not self._told
        slot.end(Ending(Cause.END) if is_clean else place.ending)
        # One that ended at a limit is replaced at once, and so is one whose job has had all its time.
        was_at_work = slot.worker is not None
        pause = place.ended(again, is_clean and was_busy, LONGEST_AFTER_WORK if was_at_work else LONGEST_PAUSE)
        if again and not is_clean:
            logger.warning("The worker of %r %s; again in %.2f s.", place.alias, _how(code), pause)
        elif code:
            logger.error("The worker of %r %s.", place.alias, _how(code))

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        if now - self._looked_at > FROZEN_SECONDS / 2:  # this process stood still itself, so the heart may have, too
            self._board.heart_beat_at = now
        self._looked_at = now
        if self._heart.process is not None and now - self._board.heart_beat_at > FROZEN_SECONDS:
            logger.error("The heart is stuck.")
            self._board.heart_beat_at = now  # once is enough
            self._heart.send(signal.SIGKILL)
        for place in self._places:
            if place.process is not None and place.slot is not None:
                self._kill_if_overdue(place, place.slot, now)

    def _kill_if_overdue(self, place: Place, slot: Slot, now: float) -> None:
        if place.ending.cause is not Cause.CRASH:  # it is on its way
            return
        deadline = slot.deadline
        if deadline is not None and now >= deadline.at:
            logger.error("The worker of %r is killed: job %s won't end.", place.alias, deadline.job_id)
            place.kill(Ending(Cause.DEADLINE, deadline.job_id, deadline.lease_no))
        elif slot.is_doomed or self._is_out_of_time(place, slot, now):
            place.kill(Ending(Cause.END))

    def _is_out_of_time(self, place: Place, slot: Slot, now: float) -> bool:
        """Whether it was told to stop, with all others or alone, or stops by itself, and has had the grace and more."""
        if slot.command is Command.STOP and place.give_up_at is None:
            place.give_up_at = now + self.grace + LAST_SECONDS
        if slot.is_finishing and place.finish_by is None:
            place.finish_by = now + self.grace + FINISH_SECONDS
        give_up_at = self._give_up_at if self._told else place.give_up_at
        if give_up_at is None:
            return place.finish_by is not None and now >= place.finish_by
        return now >= give_up_at + (self.grace + JOIN_SECONDS if slot.is_finishing else 0.0)

    # -- stopping ----------------------------------------------------------------------------------------------------

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._told += 1
        if self._told <= 2:
            self._give_up_at = time.monotonic() + LAST_SECONDS + (self.grace if self._told == 1 else 0.0)
        what = signal.SIGTERM if self._told == 1 else HURRY_SIGNAL
        for place in self._places:  # a second signal may come in the middle of it, and each child hears both
            place.send(what)

    def _on_quiet(self, number: int, frame: FrameType | None) -> None:
        self._wish = Command.QUIET if number == QUIET_SIGNAL else Command.RUN
        if self._places:
            self._board.tell(self._wish)

    def _end_heart(self) -> None:
        """It has buried the last children by then, or their leases end by themselves."""
        if self._heart.process is not None:
            self._heart.process.join(JOIN_SECONDS)
            self._heart.send(signal.SIGKILL)
            self._heart.process.join()


def _fork_context() -> Any:
    try:
        return multiprocessing.get_context("fork")
    except ValueError:
        raise RuntimeError("This system can't fork processes: use --processes 0, once for each backend.") from None


@contextmanager
def _no_signals() -> Iterator[None]:
    """Signals that come inside wait until it is over."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, child.SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _how(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
