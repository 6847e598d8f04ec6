"""One job, from claim to decision: decode, look up, check the call, run, record what came of it.

Whatever the job does, `run` gives a `Settlement`; only an interruption of the worker itself passes through.
"""

from __future__ import annotations

import logging
import time
from asyncio import CancelledError
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from functools import partial
from typing import Any
from uuid import UUID

from django.db import InterfaceError, OperationalError

from django_jobqueue.compat import JobContext
from django_jobqueue.conf import conf
from django_jobqueue.exceptions import JobTimeout, LeaseLost, PayloadError, SignatureMismatch, UnknownTask
from django_jobqueue.jobs import codec
from django_jobqueue.jobs.registry import TaskDefinition, lookup
from django_jobqueue.lifecycle import outcomes
from django_jobqueue.lifecycle.policy import timeout_of
from django_jobqueue.queues.base import ErrorRecord, Move, Queue, Reservation, Settlement
from django_jobqueue.signals import job_dead, job_retrying
from django_jobqueue.workers.announcer import Announcer, Execution, NotAnswered
from django_jobqueue.workers.atomically import Completion
from django_jobqueue.workers.interruption import Interrupted, JobWindow
from django_jobqueue.workers.own_loop import run_coroutine
from django_jobqueue.workers.stops import Stops
from django_jobqueue.workers.timeouts import Timeouts
from django_jobqueue.workers.watching import Watching

logger = logging.getLogger("django_jobqueue.worker")

NotRunnable = UnknownTask | PayloadError | SignatureMismatch
NOT_RUNNABLE = (UnknownTask, PayloadError, SignatureMismatch)
"""Why a job can't even be started."""
_LONGEST_CHAIN = 100


class Executor:
    """Runs jobs of one queue, in this thread. Without `timeouts`, none is enforced."""

    def __init__(
        self,
        queue: Queue,
        worker: UUID,
        window: JobWindow | None = None,
        timeouts: Timeouts | None = None,
        stops: Stops | None = None,
        announcer: Announcer | None = None,
    ) -> None:
        self.queue = queue
        self.announcer = announcer or Announcer(queue)
        self.window = window or JobWindow()
        self._worker = worker
        self._timeouts = timeouts
        self._stops = stops or Stops()

    def run(self, reservation: Reservation, received_at: float) -> Settlement:
        """Run one job. `received_at` is when it was claimed, on the monotonic clock in seconds.

        Raises `Interrupted` (and what else the announcer lets pass) when the worker is stopped during the job.
        """
        try:
            run = self.prepare(reservation)
        except NOT_RUNNABLE as problem:
            return self.not_runnable(reservation, problem)
        start = time.monotonic()
        try:
            self.announcer.start(run)
        except NotAnswered as error:
            return not_started(reservation, error)
        start_ms = milliseconds(start - received_at)
        completion = self.completion_of(run, start_ms)
        encoded = ""
        try:
            encoded = self._work(run, completion)
        except self.announcer.passes_through:
            raise
        except BaseException as exception:  # a job may raise anything, SystemExit and KeyboardInterrupt included
            self.window.shut()
            timing = outcomes.Timing(start_ms, since(start))
            return self.ended(run, completion, timing, exception=exception)
        return self.ended(run, completion, outcomes.Timing(start_ms, since(start)), encoded)

    def prepare(self, reservation: Reservation) -> Execution:
        """Decode it, and find what it calls. Raises one of `NOT_RUNNABLE`."""
        definition = lookup(reservation.task)
        args, kwargs = codec.decode_call(reservation.args)
        definition.bind(args, kwargs)
        return Execution(definition, reservation, args, kwargs, self._worker)

    def completion_of(self, run: Execution, start_ms: int) -> Completion | None:
        """For a job that may complete in a transaction of its own."""
        needs_it = run.definition.takes_context or run.definition.atomic
        return Completion(self.queue, run.job, start_ms) if needs_it else None

    def ended(
        self,
        run: Execution,
        completion: Completion | None,
        timing: outcomes.Timing,
        encoded: str = "",
        exception: BaseException | None = None,
    ) -> Settlement:
        """What becomes of a job that returned, or raised. Its window is shut. Raises `Interrupted`."""
        if exception is not None:
            settlement = self._ended_by(exception, run, completion, timing)
            if settlement is not None:
                return settlement
            logger.error("Job %s raised something after it had completed.", run.job.job_id, exc_info=exception)
        done: Settlement | None = completion.stored if completion is not None else None
        if done is None:
            done = outcomes.completed(run.job, encoded, timing)
        self.announcer.succeed(run, done.result, done.run_ms)
        return done

    def _ended_by(
        self, exception: BaseException, run: Execution, completion: Completion | None, timing: outcomes.Timing
    ) -> Settlement | None:
        """What becomes of a job that raised; None: it had completed before."""
        if run.definition.atomic and completion is not None and _was_not_begun(completion, exception):
            return not_started(run.job, exception)
        if completion is not None and completion.stored is not None:
            return None
        if self.window.was_interrupted and self._comes_of_interruption(exception):
            raise Interrupted from exception  # what its cleaning up ran into is no fault of the job's
        return self._failed(run, exception, timing)

    def _work(self, run: Execution, completion: Completion | None) -> str:
        """Run the job; its encoded result. An atomic one has completed then."""
        if completion is None or not run.definition.atomic:
            return outcomes.encode_result(self._call(run, completion))
        with self._held_to_its_time(run.definition, run.job), completion.transaction():
            completion.result = self._call(run, None)
        return ""

    def _held_to_its_time(self, definition: TaskDefinition, job: Reservation) -> AbstractContextManager[None]:
        """A commit, and what it sets off, can't be interrupted; only killed."""
        timeout = timeout_of(job.timeout or definition.timeout, job.queue)
        if timeout is None or self._timeouts is None:
            return nullcontext()
        return self._timeouts.hold_to(job, time.monotonic() + timeout)

    def watch(self, run: Execution) -> Watching:
        """Before its window is opened. Ended by the caller."""
        timeout = timeout_of(run.job.timeout or run.definition.timeout, run.job.queue)
        return Watching(run.job, self.window, self._stops, self._timeouts, timeout)

    def _call(self, run: Execution, completion: Completion | None) -> Any:
        watching = self.watch(run)
        try:
            return self._call_in_window(run, completion, watching.deadline)
        except JobTimeout as error:
            watching.explain(error)
            raise
        finally:
            self.window.shut()
            watching.end()

    def _call_in_window(self, run: Execution, completion: Completion | None, deadline: float | None) -> Any:
        call = run.definition.func
        if run.definition.is_async:
            call = partial(run_coroutine, self.window, call)
        # Its own: what it sets of Django's time zone, language and the like ends with it.
        within = copy_context().run
        try:
            self.window.open()
            if run.definition.takes_context:
                context = self.context_of(run, completion, deadline)
                return within(call, context, *run.args, **run.kwargs)
            return within(call, *run.args, **run.kwargs)
        finally:
            self.window.shut()

    def context_of(self, run: Execution, completion: Completion | None, deadline: float | None) -> JobContext:
        """What a job that takes it is called with first. `deadline` is on the monotonic clock."""
        asked = partial(self._stops.is_asked, run.job.job_id)
        return JobContext(task_result=run.result, completion=completion, deadline=deadline, asked=asked)

    def _comes_of_interruption(self, error: BaseException) -> bool:
        """Whether it was raised while `Interrupted`, or what a coroutine sees of it, was on its way out of the job."""
        causes = (Interrupted, CancelledError) if self.window.cause is Interrupted else (Interrupted,)
        at: BaseException | None = error
        for _ in range(_LONGEST_CHAIN):  # a job may have made a ring of it
            if at is None or isinstance(at, causes):
                break
            at = at.__context__
        return isinstance(at, causes)

    def _failed(self, run: Execution, exception: BaseException, timing: outcomes.Timing) -> Settlement:
        if type(exception) is LeaseLost:
            logger.warning("Nothing of job %s was kept: %s.", run.job.job_id, exception)
            return outcomes.released(run.job)
        settlement = outcomes.failed(run.job, exception, run.definition.retry, timing)
        if self._stops.is_told(run.job.job_id):
            settlement = _as_cancelled(settlement)
        self.announcer.fail(run, settlement)
        self._report(settlement, exception)
        return settlement

    def expired(self, reservation: Reservation, is_asked: bool = False) -> Settlement:
        """For a job whose process was killed at its hard deadline, so that it can't say so itself.

        `is_asked`: to stop. That was what killed it, or will be what the store makes of it.
        """
        own, strategy = reservation.timeout, None
        try:
            definition = lookup(reservation.task)
            own, strategy = own or definition.timeout, definition.retry
        except UnknownTask:
            pass
        timeout = timeout_of(own, reservation.queue) or 0.0
        error = JobTimeout(f"it ran longer than its timeout of {timeout:g} s, and its process had to be killed")
        timing = outcomes.Timing(run_ms=milliseconds(timeout + conf().KILL_AFTER))
        settlement = outcomes.failed(reservation, error, strategy, timing)
        if is_asked:
            settlement = _as_cancelled(settlement)
        self._report(settlement, error)
        return settlement

    def not_runnable(self, reservation: Reservation, problem: NotRunnable) -> Settlement:
        settlement = outcomes.not_runnable(reservation, problem)
        self._report(settlement, problem)
        return settlement

    def _report(self, settlement: Settlement, exception: BaseException) -> None:
        job, error = settlement.reservation, settlement.error
        sender = type(self.queue)
        if settlement.move is Move.DEAD:
            logger.error("Job %s (%s) is dead: %s. %s", job.job_id, job.task, settlement.reason, _brief(error))
            self.announcer.tell(job_dead, sender, reservation=job, reason=settlement.reason, exception=exception)
        elif settlement.move is Move.CANCELLED:
            logger.info("Job %s (%s) was cancelled while it ran. %s", job.job_id, job.task, _brief(error))
        elif settlement.move is Move.RETRY:
            logger.warning(
                "Job %s (%s) failed at attempt %d of %d, again in %.1f s. %s",
                job.job_id,
                job.task,
                job.attempt,
                job.max_attempts,
                settlement.delay,
                _brief(error),
            )
            self.announcer.tell(job_retrying, sender, reservation=job, exception=exception, delay=settlement.delay)


def _as_cancelled(settlement: Settlement) -> Settlement:
    """As the store has it of a job that was asked to stop: logs and signals must say the same."""
    return settlement._replace(move=Move.CANCELLED, reason="", delay=0.0)


def not_started(job: Reservation, error: BaseException) -> Settlement:
    """The store did not answer, which is no fault of the job: back to its place."""
    logger.warning("Job %s was not started: the store did not answer (%s).", job.job_id, error)
    return outcomes.released(job)


def _was_not_begun(completion: Completion, exception: BaseException) -> bool:
    """Not a line of the job has run: its database was away, which is no fault of the job."""
    return not completion.has_begun and isinstance(exception, (OperationalError, InterfaceError))


def _brief(error: ErrorRecord) -> str:
    """One line for the log, whatever the message holds; the whole of it is in the history and the dead letter."""
    return f"{error.class_path}: {error.message[:200]!r}" if error.message else error.class_path


def milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1_000))


def since(start: float) -> int:
    return milliseconds(time.monotonic() - start)
