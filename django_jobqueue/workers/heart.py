"""The heart: one process beside the children, which speaks with the stores for all of them.

It sends their heartbeats, so a job that never lets go of the GIL keeps its lease; it takes back what a dead child held,
passes on what operators want, and reclaims what workers of other hosts have left. Each store has two threads: what a
reclaim waits for must not hold up a heartbeat, and a store that hangs must not hold up the others. When the parent is
killed, it stays until the children have ended.

The two threads wake up at the same moment when all processes of a host were frozen for longer than a lease, or the
store was away for so long: reclaim, heartbeats, and the jobs of the own children, which run, would be taken from them.
Therefore the rounds wait until there was time for heartbeats (`vigil.py`).

It may die at any point. Before a heartbeat: the children notice in time and send their own. In the middle of a burial:
the slot stays unburied, and the next heart does it again, which changes nothing twice. Its parent starts it again, and
it ends when that is gone.
"""

from __future__ import annotations

import logging
import os
import random
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from uuid import UUID

from django.db import InterfaceError, OperationalError

from django_jobqueue.exceptions import STORE_ERRORS
from django_jobqueue.lifecycle.vigil import Vigil, clock
from django_jobqueue.queues.base import Queue
from django_jobqueue.workers.autoscale import Autoscaler
from django_jobqueue.workers.background import Chore, Companion, Rhythm
from django_jobqueue.workers.board import Board, Slot
from django_jobqueue.workers.burial import bury
from django_jobqueue.workers.cancellations import Cancellations, Lives
from django_jobqueue.workers.health import Asked, Probes, health_of_board
from django_jobqueue.workers.hygiene import close_connections
from django_jobqueue.workers.orders import ASK_SECONDS, orders
from django_jobqueue.workers.orphans import outlive
from django_jobqueue.workers.process import is_frozen, rss_kb
from django_jobqueue.workers.scaling import Scaling

logger = logging.getLogger("django_jobqueue.worker")

TICK = 0.25
"""Seconds between two looks at the board."""
_NOBODY = UUID(int=0)


def live(
    board: Board,
    stores: Sequence[tuple[Queue, Autoscaler | None]],
    lifeline: tuple[int, int],
    signals: set[signal.Signals],
    asked: Asked = Asked(),  # noqa: B008 (immutable)
    companions: Sequence[Callable[[], Companion]] = (),
    patience: float = 0.0,
) -> None:
    """The whole life of the heart.

    It ends when the parent does, or `patience` seconds later when that has left children behind: signals to the group
    are the children's business.
    """
    watched, held = lifeline
    os.close(held)
    for number in signals:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    for_children: list[Companion] = []
    chores = [make() for make in companions]
    for queue, scaler in stores:
        for_children += [Beats(board, queue), Rounds(board, queue)]
        chores.append(Scaling(board, queue, scaler, partial(board.scale, queue.alias)))
    if asked:
        aliases, parent = [queue.alias for queue, _ in stores], os.getppid()
        chores.append(Probes(lambda: health_of_board(board, aliases, parent, time.monotonic(), clock()), asked))
    for chore in [*for_children, *chores]:
        chore.start()
    while not select.select([watched], [], [], TICK)[0]:
        board.heart_beat_at = time.monotonic()
    ends = _ends(chores)
    outlive(board.slots, patience, TICK)
    for end in [*ends, *_ends(for_children)]:
        end.join()


def _ends(chores: Sequence[Companion]) -> list[threading.Thread]:
    """All at once: one that is stuck must not keep another from its last round."""
    ends = [threading.Thread(target=chore.stop, daemon=True) for chore in chores]
    for end in ends:
        end.start()
    return ends


def living(slots: Sequence[Slot]) -> Iterator[tuple[Slot, UUID]]:
    """The slots of children that have joined, and who these are in the store."""
    for slot in slots:
        if slot.is_lived_in and (worker := slot.worker) is not None:
            yield slot, worker


class Beats(Chore):
    """The heartbeats of one store's children: in their rhythm, and one at once for who has just joined."""

    first_pause = 0.0

    def __init__(self, board: Board, queue: Queue) -> None:
        super().__init__(f"jobqueue-heart-{queue.alias}", TICK)
        self._slots = list(board.of(queue.alias))
        self._queue = queue
        self._rhythm = Rhythm(queue.lease)

    def once(self) -> None:
        """A child whose heartbeat is refused must not hold up those of the others."""
        refused = None
        for slot, worker in living(self._slots):
            news = worker, slot.report.state
            if self._rhythm.is_due(slot, news):
                try:
                    self._beat(slot, worker)
                except (OperationalError, InterfaceError):
                    raise
                except Exception as error:
                    refused = error
                else:
                    self._rhythm.said(slot, news)
        if refused is not None:
            raise refused

    def _beat(self, slot: Slot, worker: UUID) -> None:
        if is_frozen(slot.pid):  # its jobs stand still: somebody else may have them when its lease is over
            return
        report = slot.report
        report = report._replace(rss_kb=rss_kb(slot.pid) or report.rss_kb)
        asked = clock()
        if self._queue.heartbeat(worker, report):
            slot.alive_until = asked + self._queue.lease
        elif slot.worker == worker:  # else it has just left
            slot.dead = worker


class Rounds(Chore):
    """What else one store is asked: all that may wait for a lock."""

    first_pause = 0.0

    def __init__(self, board: Board, queue: Queue) -> None:
        super().__init__(f"jobqueue-rounds-{queue.alias}", TICK)
        self._slots = list(board.of(queue.alias))
        self._queue = queue
        self._rhythm = Rhythm(queue.lease)
        self._cancellations = Cancellations(queue)
        self._vigil = Vigil(queue.lease, clock())
        self._next_orders = 0.0
        # The first of its command has no children yet. One that replaces another hears them first: all may have slept.
        self._next_reclaim = time.monotonic() + (self._rhythm.pause if any(living(self._slots)) else 0.0)

    def once(self) -> None:
        """A child that can't be buried must not hold up the others, nor the rest: its leases end by themselves."""
        refused = self._bury()
        self._ask()
        if refused is not None:
            raise refused

    def _ask(self) -> None:
        now = time.monotonic()
        if now >= self._next_orders:
            self._next_orders = now + ASK_SECONDS
            lives = {worker: (slot, slot.life) for slot, worker in living(self._slots)}
            self._ask_for_orders(lives)
            self._cancellations.ask(lives)
        if self._queue.reports_apart:
            self._report()
        if now >= self._next_reclaim:
            # Jitter, so that hosts started together don't all sweep at the same moment.
            self._next_reclaim = now + min(5.0, self._queue.lease / 3) * random.uniform(0.5, 1.0)  # noqa: S311
            self._reclaim()

    def run(self) -> None:
        super().run()
        try:
            if (refused := self._bury()) is not None:  # children that died at last
                raise refused
        except STORE_ERRORS as error:
            logger.warning("The store did not answer (%s); the last leases end by themselves.", error)
        finally:
            close_connections()

    def _bury(self) -> Exception | None:
        """Gives the error of one that was refused. Raises those of a store that does not answer."""
        refused = None
        for slot in [one for one in self._slots if one.has_ended]:
            try:
                bury(self._queue, slot)
            except (OperationalError, InterfaceError):
                raise
            except Exception as error:
                refused = error
        return refused

    def _ask_for_orders(self, lives: Lives) -> None:
        for worker, command in orders(self._queue, list(lives)).items():
            slot, life = lives[worker]
            slot.order(command, life)

    def _report(self) -> None:
        for slot, worker in living(self._slots):
            report = slot.report
            if self._rhythm.is_due(slot, (worker, report.state)):
                self._queue.report(worker, report._replace(rss_kb=rss_kb(slot.pid) or report.rss_kb))
                self._rhythm.said(slot, (worker, report.state))

    def _reclaim(self) -> None:
        self._queue.cancellations(_NOBODY)  # the cheapest question: an outage ends with an answer, not with a reclaim
        self._vigil.answered(clock())
        if not self._vigil.may_tell(clock()):
            return
        moved = self._queue.reclaim()
        if moved:
            logger.warning("Took %d jobs back from workers that died.", moved)
