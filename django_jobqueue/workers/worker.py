"""The worker: reserve, run, settle, until told to stop.

Jobs run in its own thread, or in several others (`slots.py`). Finishing a batch and fetching the next is one
transaction; while a slow job runs, the flusher stores what was decided before it and gives back what was fetched with
it. Crash points, in a sentence each: before the claim commits nothing has happened; after it, the jobs are leased to a
worker that falls silent and are reclaimed when its lease ends; a job that ran but was not settled runs again (at least
once); after the settlement commits it is over.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db import DatabaseError, InterfaceError, OperationalError

from django_jobqueue.conf import conf
from django_jobqueue.lifecycle.policy import worker_policy
from django_jobqueue.queues.base import Queue, WorkerIdentity, WorkerReport
from django_jobqueue.queues.bell import Bell
from django_jobqueue.signals import worker_started, worker_stopped
from django_jobqueue.workers.background import Flusher, Heartbeat, Reporter
from django_jobqueue.workers.board import Watch, unwatched
from django_jobqueue.workers.hand import Hand
from django_jobqueue.workers.hygiene import close_connections
from django_jobqueue.workers.intake import Intake
from django_jobqueue.workers.membership import Membership
from django_jobqueue.workers.order import QueueOrder
from django_jobqueue.workers.outbox import Held, Outbox
from django_jobqueue.workers.pace import Pace
from django_jobqueue.workers.process import rss_kb
from django_jobqueue.workers.settler import Counters, Settler
from django_jobqueue.workers.slots import Slots
from django_jobqueue.workers.stops import Lookout

logger = logging.getLogger("django_jobqueue.worker")

AWAKE_SECONDS = 0.06
"""After work, look again every few milliseconds for this long: longer than a producer keeps its notifications quiet."""
LOOK_AGAIN_SECONDS = 0.005
QUIET_LOOK_SECONDS = 1.0
OUTAGE_FIRST_PAUSE = 0.1
OUTAGE_LONGEST_PAUSE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a worker ends by itself. `drain`: when no job is ready. `max_jobs`: after so many.

    `grace`: how many seconds a stopping one tries to store its last decisions; None: `SHUTDOWN_GRACE`.
    """

    drain: bool = False
    max_jobs: int | None = None
    grace: float | None = None

    @property
    def has_end(self) -> bool:
        return self.drain or self.max_jobs is not None


class Worker:
    """One worker over one queue store. `run` returns when its limits are reached or `stop` was called."""

    def __init__(
        self,
        queue: Queue,
        queues: Sequence[str] = (),
        limits: Limits | None = None,
        *,
        weights: Mapping[str, int] | None = None,
        slots: Slots | None = None,
        membership: Membership | None = None,
        watch: Watch = unwatched,
        hand: Hand | None = None,
    ) -> None:
        self.queue = queue
        self.queues = tuple(queues)
        self.limits = limits or Limits()
        self._membership = membership or Membership(queue, self.queues)
        self._outbox = Outbox(hand)
        self._settler = Settler(queue, QueueOrder(self.queues, weights), self._outbox)
        slots = slots or Slots()
        most = worker_policy(self.queues).prefetch or conf().PREFETCH_MAX
        self._pace = Pace(conf().PREFETCH_SECONDS, most, slots.count)
        self._intake = Intake(queue, self._outbox, self._settler, self._pace)
        self._runner = slots.runner(queue, self._outbox, self._pace, watch, self.retire)
        self._runner.stops.are_lost = lambda: self._membership.is_dead
        self._bell = Bell()
        self._stopping = False
        self._is_quiet = False
        self._last_work = 0.0
        self._next_reclaim = 0.0

    @property
    def identity(self) -> WorkerIdentity:
        return self._membership.identity

    @property
    def counters(self) -> Counters:
        return self._settler.counters

    # -- from outside ------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop reserving, finish what runs, give back the rest. May be called from a signal handler."""
        self._stopping = True
        self._bell.ring()
        self._runner.wake()
        self.queue.wake()

    def quiet(self) -> None:
        """Until `resume`: reserve nothing, finish what runs, give back the rest. For a signal handler, too."""
        self._is_quiet = True
        self._bell.ring()
        self._runner.wake()
        self.queue.wake()

    @property
    def is_quiet(self) -> bool:
        return self._is_quiet

    def resume(self) -> None:
        self._is_quiet = False
        self._bell.ring()

    def retire(self, why: str) -> None:
        """Stop, because this process is not to be trusted with another job. Whoever started it starts a fresh one."""
        if not self._stopping:
            logger.warning("Worker %s ends, to be replaced: %s.", self.identity.name, why)
        self.stop()

    @property
    def is_known(self) -> bool:
        """Whether the store believes this worker alive, as far as it can know. For any thread."""
        return self._membership.is_sure() and not self._membership.is_dead

    @property
    def is_stopping(self) -> bool:
        return self._stopping

    @property
    def is_in_job(self) -> bool:
        return self._runner.is_in_job

    def interrupt(self) -> None:
        """End what runs, now; it is given back. For signal handlers: in the main thread it may raise."""
        self._runner.interrupt()

    def run(self) -> Counters:
        """Work until told to stop, or until the limits are reached. A store that is away at the start is waited for."""
        with self._runner:
            return self._run()

    def _run(self) -> Counters:
        if not self._join():
            return self.counters
        worker_started.send_robust(type(self), worker=self.identity)
        heartbeat = Heartbeat(self.queue.lease, self.report, self._membership.keep_alive)
        flusher = Flusher(conf().FLUSH_SECONDS, self._flush)
        reporter = Reporter(self.queue.lease, self.report, self._tell) if self.queue.reports_apart else None
        lookout = Lookout(self._look_for_requests)
        heartbeat.start()
        flusher.start()
        lookout.start()
        if reporter is not None:
            reporter.start()
        try:
            self._loop()
        finally:
            self._outbox.give_back_unstarted()
            self._runner.end()
            self._membership.finishing()
            lookout.stop()
            flusher.stop()
            self._end_fetching()
            self._outbox.give_back_unstarted()
            is_settled = self._settle_all()
            heartbeat.stop()
            if reporter is not None:
                reporter.stop()
            self._leave(is_settled)
            worker_stopped.send_robust(type(self), worker=self.identity)
        return self.counters

    def _join(self) -> bool:
        pause = OUTAGE_FIRST_PAUSE
        while not self._stopping:
            try:
                self._membership.join()
            except (OperationalError, InterfaceError) as error:
                if self.limits.drain:  # whoever waits for the end wants to know
                    raise
                pause = self._sit_out(error, pause)
            else:
                return True
        return False

    # -- the loop ----------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        pause = OUTAGE_FIRST_PAUSE
        while not self._is_done():
            if self._is_quiet:
                self._be_quiet()
                continue
            try:
                self._trust_the_leases()
                self._reclaim_sometimes()
                found = self._fetch()
            except (DatabaseError, InterfaceError) as error:
                pause = self._sit_out(error, pause)
                continue
            except Exception as error:  # whatever a row of garbage makes of a driver, a worker lives
                logger.exception("The next jobs could not be fetched.")
                pause = self._sit_out(error, pause)
                continue
            pause = OUTAGE_FIRST_PAUSE
            if found:
                self._run_batch()
            elif not self.limits.drain:
                self._wait()
            elif self._membership.is_dead:  # the line may be anything but empty
                continue
            elif not (self._runner.wait_for_an_end(self._is_done) or self._outbox.has_settlements):
                break  # nothing runs, and nothing has ended since we asked: a job may leave more to do

    def _be_quiet(self) -> None:
        """Store what was decided, and wait for `resume` or `stop`. The heartbeat goes on."""
        try:
            self._intake.wait()
            self._outbox.give_back_unstarted()
            self._settler.exchange(0, self.identity.id)
        except (DatabaseError, InterfaceError) as error:
            self._sit_out(error, OUTAGE_FIRST_PAUSE)
        except Exception:
            logger.exception("What was decided could not be stored.")
        self._bell.wait(QUIET_LOOK_SECONDS)

    def _is_done(self) -> bool:
        return self._stopping or (self.limits.max_jobs is not None and self._outbox.started >= self.limits.max_jobs)

    def _is_told(self) -> bool:
        """To start no more jobs, for now or for ever."""
        return self._is_quiet or self._is_done()

    def _sit_out(self, error: Exception, pause: float) -> float:
        """Wait for a store that does not answer; how long to wait the next time."""
        logger.warning("The store did not answer (%s); again in %.1f s.", error, pause)
        close_connections()
        self._bell.wait(pause * random.uniform(0.75, 1.25))  # noqa: S311
        return min(pause * 2, OUTAGE_LONGEST_PAUSE)

    def _fetch(self) -> bool:
        """Store what was decided and fetch the next batch, in one transaction. Whether there is anything to start."""
        self._runner.wait_for_room(self._is_told)
        self._intake.wait()
        if self._outbox.has_unstarted:
            if self._runner.is_beside and self.limits.max_jobs is None and self._may_start():
                self._intake.top_up(self.identity.id)
            return True
        most = None if self.limits.max_jobs is None else self.limits.max_jobs - self._outbox.started
        exchange = self._intake.fetch(self.identity.id, self._runner.room, most)
        if not exchange.is_member or (self.limits.drain and not exchange.reservations):
            # One that was declared dead gets nothing and begins anew, sooner than after the next heartbeat; and it must
            # not take that for the end of the line. A database says no more than that there was nothing.
            self._beat()
        if exchange.reservations:
            self._last_work = time.monotonic()
        if self._intake.is_wary:
            self._make_way()
        elif self._intake.has_given_back:
            self._settler.exchange(0, self.identity.id)
        return bool(exchange.reservations)  # which the flusher may have given back meanwhile: the line is not empty

    def _make_way(self) -> None:
        """For a suspect: nothing else runs and all is settled, so that nothing else is lost if it kills again."""
        self._runner.wait_until_idle(self._is_told)
        self._settler.exchange(0, self.identity.id)

    def _run_batch(self) -> None:
        if self.limits.max_jobs is None and self._may_start() and not self._runner.is_beside:
            self._intake.begin_ahead(self.identity.id)
        self._runner.run(self._next_job, self.identity.id)
        if self._intake.is_wary:
            self._runner.wait_until_idle(self._is_done)
        if not self._may_start():
            self._outbox.give_back_unstarted()
        self._last_work = time.monotonic()

    def _next_job(self, even_alone: bool) -> Held | None:
        """For the runner, in any of its threads."""
        return self._outbox.start_next(even_alone) if self._may_start() else None

    def _may_start(self) -> bool:
        return not (self._stopping or self._is_quiet) and self.is_known

    def _wait(self) -> None:
        try:
            awake = not self.queue.hears_every_push and time.monotonic() - self._last_work < AWAKE_SECONDS
            self.queue.wait(self.queues, LOOK_AGAIN_SECONDS if awake else conf().POLL_INTERVAL)
        except (DatabaseError, InterfaceError) as error:
            self._sit_out(error, OUTAGE_FIRST_PAUSE)
        except Exception as error:  # garbage in the store, as in `_loop`
            logger.exception("Waiting for jobs failed.")
            self._sit_out(error, OUTAGE_FIRST_PAUSE)

    def _reclaim_sometimes(self) -> None:
        if time.monotonic() < self._next_reclaim or not self._membership.may_tell_who_is_silent:
            return
        if self._membership.is_reclaimed_for and not self.limits.drain:  # which has to see the whole line
            return
        # Jitter, so that workers started together don't all sweep at the same moment.
        self._next_reclaim = time.monotonic() + min(5.0, self.queue.lease / 3) * random.uniform(0.5, 1.0)  # noqa: S311
        moved = self.queue.reclaim()
        if moved:
            logger.warning("Took %d jobs back from workers that died.", moved)

    def _look_for_requests(self) -> None:
        """In the lookout's thread: which of our jobs were asked to stop. One that was not started must not be."""
        stops = self._runner.stops
        if stops.is_worth_a_look() and stops.hear(self.queue.cancellations(self.identity.id)):
            self._outbox.give_back_unstarted()

    # -- settling ----------------------------------------------------------------------------------------------------

    def _flush(self, overdue_seconds: float) -> None:
        """In the flusher's thread: what would wait for a slow job to end."""
        if self._outbox.has_unstarted and self._outbox.stands_still_for > conf().PREFETCH_SECONDS:
            self._outbox.give_back_unstarted()
        if self._outbox.oldest_age >= overdue_seconds:
            self._settler.exchange(0, self.identity.id, older_than=overdue_seconds)

    def _end_fetching(self) -> None:
        try:
            self._intake.end()
        except Exception as error:
            logger.warning("The next jobs could not be fetched (%s); what was claimed is given back.", error)

    def _settle_all(self) -> bool:
        """At the end, for as long as the grace lasts. False: what could not be stored runs again after the lease."""
        grace = conf().SHUTDOWN_GRACE if self.limits.grace is None else self.limits.grace
        deadline, pause = time.monotonic() + grace, OUTAGE_FIRST_PAUSE
        while True:
            try:
                self._settler.exchange(0, self.identity.id)
                return True
            except (DatabaseError, InterfaceError) as error:
                if time.monotonic() + pause > deadline:
                    logger.error("Could not store the last settlements (%s); their jobs run again.", error)
                    return False
                close_connections()
                time.sleep(pause)
                pause = min(pause * 2, OUTAGE_LONGEST_PAUSE)
            except Exception:
                logger.exception("The last settlements were refused.")
                return True

    # -- membership --------------------------------------------------------------------------------------------------

    def _trust_the_leases(self) -> None:
        """Start anew when what we hold and what the store says we hold may differ.

        Declared dead while we were frozen: our jobs are reclaimed, and the fence keeps our late decisions out. Or a
        claim whose answer was lost: it may have succeeded, and as long as we live nobody would take those jobs back.
        """
        if not self._membership.is_sure():
            self._beat()
        if not (self._membership.is_dead or self._intake.claim_is_open):
            return
        name, why = self.identity.name, "it was silent for too long" if self._membership.is_dead else "a claim failed"
        logger.warning("Worker %s starts anew: %s.", name, why)
        self._intake.wait()
        self._outbox.give_back_unstarted()
        if not self._membership.is_dead:  # leaving would give back what runs
            self._runner.wait_until_idle(self._is_done)
            if self._is_done():
                return
        self._settler.exchange(0, self.identity.id)
        self._membership.start_anew()
        self._intake.claim_is_open = False

    def _beat(self) -> None:
        self._membership.beat(self.report())

    def _tell(self, report: WorkerReport) -> None:
        self.queue.report(self.identity.id, report)

    def report(self) -> WorkerReport:
        """What it does now, for operators."""
        counters = self.counters
        does = self._runner.running, counters.completed, counters.failed, rss_kb()
        return WorkerReport(*does, self._stopping, self._is_quiet)

    def _leave(self, is_settled: bool) -> None:
        if is_settled:  # leaving gives leases back at once: not those of jobs that are done
            self._membership.leave()
        self.queue.close()
        close_connections()
        done = self.counters
        logger.info("Worker %s stopped: %d completed, %d failed.", self.identity.name, done.completed, done.failed)
