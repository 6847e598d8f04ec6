"""The worker: reserve, run, settle, until told to stop.

One thread runs jobs. Finishing a batch and fetching the next is one transaction; while a slow job runs, the flusher
stores what was decided before it and gives back what was fetched with it. Crash points, in a sentence each: before the
claim commits nothing has happened; after it, the jobs are leased to a worker that falls silent and are reclaimed when
its lease ends; a job that ran but was not settled runs again (at least once); after the settlement commits it is over.
"""

from __future__ import annotations

import logging
import os
import random
import resource
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import DatabaseError, InterfaceError, OperationalError

import django_jobqueue
from django_jobqueue.conf import conf
from django_jobqueue.lifecycle.outcomes import released
from django_jobqueue.queues.base import ErrorRecord, Exchange, Move, Queue, Reservation, Settlement, WorkerIdentity, WorkerReport
from django_jobqueue.signals import worker_started, worker_stopped
from django_jobqueue.workers.background import Flusher, Heartbeat
from django_jobqueue.workers.executor import Executor, Interrupted
from django_jobqueue.workers.hygiene import clean_connections, close_connections
from django_jobqueue.workers.outbox import Held, Outbox
from django_jobqueue.workers.pace import Pace

logger = logging.getLogger("django_jobqueue.worker")

AWAKE_SECONDS = 0.06
"""After work, look again every few milliseconds for this long: longer than a producer keeps its notifications quiet."""
LOOK_AGAIN_SECONDS = 0.005
OUTAGE_FIRST_PAUSE = 0.1
OUTAGE_LONGEST_PAUSE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a worker ends by itself. `drain`: when no job is ready. `max_jobs`: after so many."""

    drain: bool = False
    max_jobs: int | None = None


class Counters:
    """What a worker has done so far."""

    def __init__(self) -> None:
        self.by_move: dict[Move, int] = dict.fromkeys(Move, 0)
        self.lost = 0

    def count(self, settlements: Sequence[Settlement], settled: Sequence[bool]) -> None:
        for settlement, held in zip(settlements, settled, strict=True):
            if held:
                self.by_move[settlement.move] += 1
            else:
                self.lost += 1

    @property
    def failed(self) -> int:
        return self.by_move[Move.RETRY] + self.by_move[Move.DEAD]

    @property
    def completed(self) -> int:
        return self.by_move[Move.COMPLETED]


class Worker:
    """One worker over one queue store. `run` returns when its limits are reached or `stop` was called."""

    def __init__(self, queue: Queue, queues: Sequence[str] = (), limits: Limits | None = None) -> None:
        self.queue = queue
        self.queues = tuple(queues)
        self.limits = limits or Limits()
        self.counters = Counters()
        self.identity = _identity(self.queues)
        self._outbox = Outbox()
        self._pace = Pace(conf().PREFETCH_SECONDS, conf().PREFETCH_MAX)
        self._stop = threading.Event()
        self._died = threading.Event()
        self._started = 0
        self._last_work = 0.0
        self._next_reclaim = 0.0
        self._running = ""
        self.may_interrupt = False
        """True only while a job's own code runs: the one place where an interruption can't hurt the bookkeeping."""

    # -- from outside ------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop reserving, finish the running job, give back the rest. May be called from a signal handler."""
        self._stop.set()
        self.queue.wake()

    @property
    def is_stopping(self) -> bool:
        return self._stop.is_set()

    def run(self) -> Counters:
        """Work until told to stop, or until the limits are reached."""
        self._join()
        worker_started.send_robust(type(self), worker=self.identity)
        heartbeat = Heartbeat(self.queue.lease, self._beat, self._died.set)
        flusher = Flusher(conf().FLUSH_SECONDS, self._flush_overdue)
        heartbeat.start()
        flusher.start()
        try:
            self._loop()
        finally:
            flusher.stop()
            self._give_back_unstarted()
            self._settle_all()
            heartbeat.stop()
            self._leave()
            worker_stopped.send_robust(type(self), worker=self.identity)
        return self.counters

    # -- the loop ----------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        pause = OUTAGE_FIRST_PAUSE
        while not self._is_done():
            try:
                self._rejoin_if_dead()
                self._reclaim_sometimes()
                found = self._fetch()
                pause = OUTAGE_FIRST_PAUSE
            except (DatabaseError, InterfaceError) as error:
                logger.warning("The store did not answer (%s); again in %.1f s.", error, pause)
                close_connections()
                self._stop.wait(pause * random.uniform(0.75, 1.25))  # noqa: S311
                pause = min(pause * 2, OUTAGE_LONGEST_PAUSE)
                continue
            if found:
                self._run_batch()
            elif self.limits.drain:
                break
            else:
                self._wait()

    def _is_done(self) -> bool:
        return self.is_stopping or (self.limits.max_jobs is not None and self._started >= self.limits.max_jobs)

    def _fetch(self) -> bool:
        """Store what was decided and fetch the next batch, in one transaction."""
        exchange = self._exchange(self._wanted())
        if exchange.reservations:
            self._last_work = time.monotonic()
            self._receive(exchange.reservations)
        return bool(exchange.reservations)

    def _wanted(self) -> int:
        left = self._pace.limit
        if self.limits.max_jobs is not None:
            left = min(left, self.limits.max_jobs - self._started)
        return left

    def _run_batch(self) -> None:
        executor = Executor(self.queue, self.identity.id)
        begun, ran = time.monotonic(), 0
        while not self.is_stopping and (held := self._outbox.start_next()) is not None:
            self._run_one(executor, held)
            ran += 1
        self._pace.ran(ran, time.monotonic() - begun)
        self._last_work = time.monotonic()

    def _run_one(self, executor: Executor, held: Held) -> None:
        self._started += 1
        self._running = held.reservation.task
        try:
            self.may_interrupt = True
            settlement = executor.run(*held)
        except Interrupted:
            settlement = released(held.reservation)
        finally:
            self.may_interrupt = False
            self._running = ""
        clean_connections()
        self._outbox.finish(settlement)

    def _receive(self, reservations: Sequence[Reservation]) -> None:
        """Run a job that was lost with a worker alone: if it is the killer, nobody else is charged for it."""
        suspects = [one for one in reservations if one.crashes]
        if suspects:
            calm = [one for one in reservations if not one.crashes]
            reservations, sent_back = (calm, suspects) if calm else (suspects[:1], suspects[1:])
            self._outbox.add([released(one) for one in sent_back])
        self._outbox.receive(reservations)

    def _wait(self) -> None:
        awake = time.monotonic() - self._last_work < AWAKE_SECONDS
        try:
            if awake:
                self._stop.wait(LOOK_AGAIN_SECONDS)
            else:
                self.queue.wait(self.queues, conf().POLL_INTERVAL)
        except (DatabaseError, InterfaceError):
            close_connections()
            self._stop.wait(OUTAGE_FIRST_PAUSE)

    def _reclaim_sometimes(self) -> None:
        if time.monotonic() < self._next_reclaim:
            return
        # Jitter, so that workers started together don't all sweep at the same moment.
        self._next_reclaim = time.monotonic() + min(5.0, self.queue.lease / 3) * random.uniform(0.5, 1.0)  # noqa: S311
        moved = self.queue.reclaim()
        if moved:
            logger.warning("Took %d jobs back from workers that died.", moved)

    # -- settling ----------------------------------------------------------------------------------------------------

    def _exchange(self, limit: int) -> Exchange:
        settlements = self._outbox.take_settlements()
        try:
            exchange = self.queue.exchange(settlements, self.queues, limit, self.identity.id)
        except (OperationalError, InterfaceError):
            self._outbox.put_back(settlements)
            raise
        except DatabaseError as error:
            if not settlements:
                raise
            logger.error("A batch of %d settlements was refused (%s); storing them one by one.", len(settlements), error)
            self._settle_singly(settlements)
            return Exchange([], [])
        self.counters.count(settlements, exchange.settled)
        return exchange

    def _settle_singly(self, settlements: Sequence[Settlement]) -> None:
        """One settlement the database refuses must not hold up the others: it becomes a dead letter without its texts."""
        for settlement in settlements:
            try:
                settled = self.queue.settle([settlement])
            except (OperationalError, InterfaceError):
                self._outbox.put_back([settlement])
                continue
            except DatabaseError as error:
                logger.exception("The settlement of job %s was refused.", settlement.reservation.job_id)
                settled = self.queue.settle([_bare(settlement, error)])
            self.counters.count([settlement], settled)

    def _flush_overdue(self) -> None:
        """In the flusher's thread: what would wait for a slow job to end."""
        if self._outbox.has_unstarted and self._outbox.running_for > conf().PREFETCH_SECONDS:
            self._give_back_unstarted()
        if self._outbox.oldest_age >= conf().FLUSH_SECONDS:
            self._exchange(0)

    def _give_back_unstarted(self) -> None:
        self._outbox.add([released(one) for one in self._outbox.take_unstarted()])

    def _settle_all(self) -> None:
        """At the end: a few tries. What can't be stored is reclaimed when the lease ends, and runs again."""
        for _ in range(5):
            try:
                self._exchange(0)
                return
            except (DatabaseError, InterfaceError):
                close_connections()
                time.sleep(OUTAGE_FIRST_PAUSE)
        logger.error("Could not store the last settlements; these jobs run again when the lease ends.")

    # -- membership --------------------------------------------------------------------------------------------------

    def _join(self) -> None:
        self.queue.join(self.identity)
        logger.info("Worker %s started on %s.", self.identity.name, ", ".join(self.queues) or "all queues")

    def _rejoin_if_dead(self) -> None:
        """Declared dead while we were frozen: what we held is lost, the fence keeps our late writes out; start anew."""
        if not self._died.is_set():
            return
        logger.warning("Worker %s was declared dead while it was silent; it starts anew.", self.identity.name)
        self._outbox.take_unstarted()
        self.identity = _identity(self.queues)
        self.queue.join(self.identity)
        self._died.clear()

    def _beat(self) -> bool:
        counters = self.counters
        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        report = WorkerReport(self._running, counters.completed, counters.failed, usage, self.is_stopping)
        return self._died.is_set() or self.queue.heartbeat(self.identity.id, report)

    def _leave(self) -> None:
        try:
            self.queue.leave(self.identity.id)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("Could not sign off (%s); the lease ends by itself.", error)
        self.queue.close()
        close_connections()
        logger.info("Worker %s stopped: %d completed, %d failed.", self.identity.name, self.counters.completed, self.counters.failed)


def _identity(queues: tuple[str, ...]) -> WorkerIdentity:
    host, pid = socket.gethostname(), os.getpid()
    return WorkerIdentity(
        name=f"{host}:{pid}", host=host, pid=pid, queues=queues, version=django_jobqueue.__version__
    )


def _bare(settlement: Settlement, error: Exception) -> Settlement:
    record = ErrorRecord("django_jobqueue.exceptions.JobQueueError", f"could not be stored: {type(error).__name__}")
    return Settlement(settlement.reservation, Move.DEAD, error=record, reason="result_invalid")
