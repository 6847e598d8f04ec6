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

from django_jobqueue.compat import (
    JobContext,
    TaskResult,
    TaskResultStatus,
    backend_of,
    task_finished,
    task_started,
)
from django_jobqueue.conf import conf
from django_jobqueue.exceptions import JobTimeout, LeaseLost, PayloadError, SignatureMismatch, UnknownTask
from django_jobqueue.jobs import codec
from django_jobqueue.jobs.registry import TaskDefinition, lookup
from django_jobqueue.lifecycle import outcomes, results
from django_jobqueue.lifecycle.errors import class_path
from django_jobqueue.lifecycle.policy import timeout_of
from django_jobqueue.queues.base import ErrorRecord, Move, Queue, Reservation, Settlement
from django_jobqueue.signals import job_dead, job_retrying
from django_jobqueue.workers.atomically import Completion
from django_jobqueue.workers.coroutines import run_coroutine
from django_jobqueue.workers.interruption import Interrupted, JobWindow
from django_jobqueue.workers.stops import Stops
from django_jobqueue.workers.timeouts import Timeouts, complete

logger = logging.getLogger("django_jobqueue.worker")

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
    ) -> None:
        self.queue = queue
        self._stops = stops or Stops()
        self._worker = str(worker)
        self.passes_through: tuple[type[BaseException], ...] = (Interrupted,)
        self.window = window or JobWindow()
        self._timeouts = timeouts
        self._sender = type(backend_of(queue.alias))
        self._last_key: tuple[TaskDefinition, str, int] | None = None
        self._last_task: Any = None

    def run(self, reservation: Reservation, received_at: float) -> Settlement:
        """Run one job. `received_at` is when it was claimed, on the monotonic clock in seconds.

        Raises `Interrupted` (and what else is in `passes_through`) when the worker is stopped during the job.
        """
        try:
            definition = lookup(reservation.task)
            args, kwargs = codec.decode_call(reservation.args)
            definition.bind(args, kwargs)
        except (UnknownTask, PayloadError, SignatureMismatch) as problem:
            return self._not_runnable(reservation, problem)
        start = time.monotonic()
        task = self._task_of(definition, reservation)
        try:
            result = results.running_result(self.queue, task, reservation, args, kwargs, self._worker)
        except (OperationalError, InterfaceError) as error:  # it looks up earlier attempts
            if not self.queue.reports_apart:
                logger.warning("Job %s was not started: the store did not answer (%s).", reservation.job_id, error)
                return outcomes.released(reservation)
            # The store is well, only its past is away: the job would come back at once, again and again.
            result = results.first_result(self.queue, task, reservation, args, kwargs, self._worker)
        except Exception:  # a history nobody can read must not keep the job from running
            logger.exception("The earlier attempts of job %s can't be read.", reservation.job_id)
            result = results.first_result(self.queue, task, reservation, args, kwargs, self._worker)
        start_ms = _ms(start - received_at)
        self._tell(task_started, self._sender, task_result=result)
        needs_it = definition.takes_context or definition.atomic
        completion = Completion(self.queue, reservation, start_ms) if needs_it else None
        encoded = ""
        try:
            encoded = self._work(definition, result, reservation, completion)
        except self.passes_through:
            raise
        except BaseException as exception:  # a job may raise anything, SystemExit and KeyboardInterrupt included
            self.window.shut()
            timing = outcomes.Timing(start_ms, _since(start))
            if definition.atomic and completion is not None and _was_not_begun(completion, exception):
                logger.warning("Job %s was not started: the store did not answer (%s).", reservation.job_id, exception)
                return outcomes.released(reservation)
            if completion is None or completion.stored is None:
                if self.window.was_interrupted and self._comes_of_interruption(exception):
                    raise Interrupted from exception  # what its cleaning up ran into is no fault of the job's
                return self._failed(reservation, definition, result, exception, timing)
            logger.exception("Job %s raised something after it had completed.", reservation.job_id)
        done: Settlement | None = completion.stored if completion is not None else None
        if done is None:
            done = outcomes.completed(reservation, encoded, outcomes.Timing(start_ms, _since(start)))
        results.finish(result, codec.decode(done.result) if done.result else None, done.run_ms)
        self._tell(task_finished, self._sender, task_result=result)
        return done

    def _work(
        self, definition: TaskDefinition, result: TaskResult, job: Reservation, completion: Completion | None
    ) -> str:
        """Run the job; its encoded result. An atomic one has completed then."""
        if completion is None or not definition.atomic:
            return outcomes.encode_result(self._call(definition, result, job, completion))
        with self._held_to_its_time(definition, job), completion.transaction():
            completion.result = self._call(definition, result, job, None)
        return ""

    def _held_to_its_time(self, definition: TaskDefinition, job: Reservation) -> AbstractContextManager[None]:
        """A commit, and what it sets off, can't be interrupted; only killed."""
        timeout = timeout_of(job.timeout or definition.timeout, job.queue)
        if timeout is None or self._timeouts is None:
            return nullcontext()
        return self._timeouts.hold_to(job, time.monotonic() + timeout)

    def _task_of(self, definition: TaskDefinition, job: Reservation) -> Any:
        """The task with the job's own queue and priority; the last one is kept, because jobs come in runs of a kind."""
        key = (definition, job.queue, job.priority)
        if key != self._last_key:
            self._last_task = results.task_with(
                definition.task, backend=self.queue.alias, queue_name=job.queue, priority=job.priority
            )
            self._last_key = key
        return self._last_task

    def _call(
        self, definition: TaskDefinition, result: TaskResult, job: Reservation, completion: Completion | None
    ) -> Any:
        timeout = timeout_of(job.timeout or definition.timeout, job.queue)
        running = self._stops.begin(job, self.window, self._timeouts)
        try:
            if timeout is not None:
                return self._call_limited(definition, result, job, completion, timeout)
            return self._call_in_window(definition, result, job, completion, None)
        finally:
            self.window.shut()
            self._stops.end(running)

    def _call_limited(
        self,
        definition: TaskDefinition,
        result: TaskResult,
        job: Reservation,
        completion: Completion | None,
        timeout: float,
    ) -> Any:
        soft = time.monotonic() + timeout
        try:
            if self._timeouts is not None:
                self._timeouts.begin(job, soft, self.window)
            return self._call_in_window(definition, result, job, completion, soft)
        except JobTimeout as error:
            complete(error, timeout)
            raise
        finally:
            self.window.shut()
            if self._timeouts is not None:
                self._timeouts.end(job)

    def _call_in_window(
        self,
        definition: TaskDefinition,
        result: TaskResult,
        job: Reservation,
        completion: Completion | None,
        deadline: float | None,
    ) -> Any:
        call = definition.func
        if definition.is_async:
            call = partial(run_coroutine, self.window, call)
        # Its own: what it sets of Django's time zone, language and the like ends with it.
        run = copy_context().run
        try:
            self.window.open()
            if definition.takes_context:
                asked = partial(self._stops.is_asked, job.job_id)
                context = JobContext(task_result=result, completion=completion, deadline=deadline, asked=asked)
                return run(call, context, *result.args, **result.kwargs)
            return run(call, *result.args, **result.kwargs)
        finally:
            self.window.shut()

    def _comes_of_interruption(self, error: BaseException) -> bool:
        """Whether it was raised while `Interrupted`, or what a coroutine sees of it, was on its way out of the job."""
        causes = (Interrupted, CancelledError) if self.window.cause is Interrupted else (Interrupted,)
        at: BaseException | None = error
        for _ in range(_LONGEST_CHAIN):  # a job may have made a ring of it
            if at is None or isinstance(at, causes):
                break
            at = at.__context__
        return isinstance(at, causes)

    def _failed(
        self,
        reservation: Reservation,
        definition: TaskDefinition,
        result: TaskResult,
        exception: BaseException,
        timing: outcomes.Timing,
    ) -> Settlement:
        if type(exception) is LeaseLost:
            logger.warning("Nothing of job %s was kept: %s.", reservation.job_id, exception)
            return outcomes.released(reservation)
        settlement = outcomes.failed(reservation, exception, definition.retry, timing)
        if self._stops.is_told(reservation.job_id):
            settlement = _as_cancelled(settlement)
        error, is_over = settlement.error, settlement.move in (Move.DEAD, Move.CANCELLED)
        status = TaskResultStatus.FAILED if is_over else TaskResultStatus.READY
        results.fail(result, status, error.class_path, error.traceback, timing.run_ms)
        if is_over:
            self._tell(task_finished, self._sender, task_result=result)
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
        timing = outcomes.Timing(run_ms=_ms(timeout + conf().KILL_AFTER))
        settlement = outcomes.failed(reservation, error, strategy, timing)
        if is_asked:
            settlement = _as_cancelled(settlement)
        self._report(settlement, error)
        return settlement

    def _not_runnable(
        self, reservation: Reservation, problem: UnknownTask | PayloadError | SignatureMismatch
    ) -> Settlement:
        settlement = outcomes.not_runnable(reservation, problem)
        self._report(settlement, problem)
        return settlement

    def _report(self, settlement: Settlement, exception: BaseException) -> None:
        job, error = settlement.reservation, settlement.error
        sender = type(self.queue)
        if settlement.move is Move.DEAD:
            logger.error("Job %s (%s) is dead: %s. %s", job.job_id, job.task, settlement.reason, _brief(error))
            self._tell(job_dead, sender, reservation=job, reason=settlement.reason, exception=exception)
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
            self._tell(job_retrying, sender, reservation=job, exception=exception, delay=settlement.delay)

    def _tell(self, signal: Any, sender: Any, **arguments: Any) -> None:
        """Send a signal. A receiver that raises is logged by Django and changes nothing for the job."""
        if not signal.receivers:
            return
        try:
            signal.send_robust(sender, **arguments)
        except self.passes_through:
            raise
        except BaseException as error:  # Django catches none but Exceptions; even its own log may choke on a job's
            logger.error("A receiver of a signal raised %s.", class_path(type(error)))


def _as_cancelled(settlement: Settlement) -> Settlement:
    """As the store has it of a job that was asked to stop: logs and signals must say the same."""
    return settlement._replace(move=Move.CANCELLED, reason="", delay=0.0)


def _was_not_begun(completion: Completion, exception: BaseException) -> bool:
    """Not a line of the job has run: its database was away, which is no fault of the job."""
    return not completion.has_begun and isinstance(exception, (OperationalError, InterfaceError))


def _brief(error: ErrorRecord) -> str:
    """One line for the log, whatever the message holds; the whole of it is in the history and the dead letter."""
    return f"{error.class_path}: {error.message[:200]!r}" if error.message else error.class_path


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1_000))


def _since(start: float) -> int:
    return _ms(time.monotonic() - start)
