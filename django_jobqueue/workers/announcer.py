"""Tells Django's signals how jobs fare, and describes a job for them: only when somebody hears, or it asks itself."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from django.db import InterfaceError, OperationalError

from django_jobqueue.compat import (
    TaskResult,
    TaskResultStatus,
    backend_of,
    log_task_finished,
    log_task_started,
    task_finished,
    task_logger,
    task_started,
)
from django_jobqueue.jobs import codec
from django_jobqueue.jobs.registry import TaskDefinition
from django_jobqueue.lifecycle import results
from django_jobqueue.lifecycle.audience import Audience
from django_jobqueue.lifecycle.errors import class_path
from django_jobqueue.queues.base import Move, Queue, Reservation, Settlement
from django_jobqueue.workers.interruption import Interrupted

logger = logging.getLogger("django_jobqueue.worker")


class NotAnswered(Exception):
    """The store was asked what had become of a job before, and did not answer."""


class Execution:
    """One job that is about to run here, decoded. `result` is how it is described, as soon as anybody wants to know."""

    __slots__ = ("args", "definition", "job", "kwargs", "result", "worker")

    def __init__(
        self, definition: TaskDefinition, job: Reservation, args: list[Any], kwargs: dict[str, Any], worker: UUID
    ) -> None:
        self.definition = definition
        self.job = job
        self.args = args
        self.kwargs = kwargs
        self.worker = worker
        self.result: Any = None


class Announcer:
    """Of the jobs of one queue, for all the threads of a worker.

    A receiver that raises changes nothing for its job, unless it is one of what `passes_through`.
    """

    def __init__(self, queue: Queue, passes_through: tuple[type[BaseException], ...] = (Interrupted,)) -> None:
        self.passes_through = passes_through
        self._queue = queue
        self._sender = type(backend_of(queue.alias))
        self._starts = Audience(task_started, log_task_started, task_logger, logging.INFO)
        self._successes = Audience(task_finished, log_task_finished, task_logger, logging.INFO)
        self._last: tuple[tuple[TaskDefinition, str, int] | None, Any] = None, None

    def start_unheard(self, run: Execution) -> bool:
        """As `start`, where that neither calls a receiver nor asks the store. Else False, and nothing was done."""
        job = run.job
        if job.lease_no > 1 or job.attempt > 1 or self._starts.is_there():
            return False
        if run.definition.takes_context:
            run.result = self._without_a_past(run)
        return True

    def hears_of_success(self) -> bool:
        """Whether `succeed` calls a receiver."""
        return self._successes.is_there()

    def start(self, run: Execution) -> None:
        """Describe the job if anybody asks for it, the job itself or a receiver, and tell of its start.

        Raises `NotAnswered` when it can't be known what became of it before: then it should not run now.
        """
        is_heard, job = self._starts.is_there(), run.job
        if is_heard or run.definition.takes_context or (job.lease_no > 1 and self._successes.is_there()):
            run.result = self._describe(run)  # one with a past now: the store may know of its end before we tell it
        if is_heard:
            self.tell(task_started, self._sender, task_result=run.result)

    def succeed(self, run: Execution, encoded: str, run_ms: int) -> None:
        """It returned, and what it returned is stored so."""
        is_heard = self._successes.is_there()
        if is_heard and run.result is None:
            run.result = self._describe_late(run)
        if run.result is not None:
            results.finish(run.result, codec.decode(encoded) if encoded else None, run_ms)
        if is_heard:
            self.tell(task_finished, self._sender, task_result=run.result)

    def fail(self, run: Execution, settlement: Settlement) -> None:
        """It raised. Only of its end is told, when no attempt follows."""
        error, is_over = settlement.error, settlement.move in (Move.DEAD, Move.CANCELLED)
        is_heard = is_over and bool(task_finished.receivers)
        if is_heard and run.result is None:
            run.result = self._describe_late(run)
        if run.result is not None:
            status = TaskResultStatus.FAILED if is_over else TaskResultStatus.READY
            results.fail(run.result, status, error.class_path, error.traceback, settlement.run_ms)
        if is_heard:
            self.tell(task_finished, self._sender, task_result=run.result)

    def tell(self, signal: Any, sender: Any, **arguments: Any) -> None:
        """Send a signal. Django logs what a receiver raises."""
        if not signal.receivers:
            return
        try:
            signal.send_robust(sender, **arguments)
        except self.passes_through:
            raise
        except BaseException as error:  # Django catches none but Exceptions; even its own log may choke on a job's
            logger.error("A receiver of a signal raised %s.", class_path(type(error)))

    def _describe_late(self, run: Execution) -> TaskResult:
        try:
            return self._describe(run)
        except NotAnswered:
            return self._without_a_past(run)

    def _describe(self, run: Execution) -> TaskResult:
        try:
            return results.running_result(self._queue, self._task_of(run), run.job, run.args, run.kwargs, run.worker)
        except (OperationalError, InterfaceError) as error:  # it looks up earlier attempts
            if not self._queue.reports_apart:
                raise NotAnswered(str(error)) from error
            # The store is well, only its past is away: the job would come back at once, again and again.
        except Exception:  # a history nobody can read must not keep the job from running
            logger.exception("The earlier attempts of job %s can't be read.", run.job.job_id)
        return self._without_a_past(run)

    def _without_a_past(self, run: Execution) -> TaskResult:
        return results.first_result(self._queue, self._task_of(run), run.job, run.args, run.kwargs, run.worker)

    def _task_of(self, run: Execution) -> Any:
        """The task with the job's own queue and priority; the last one is kept, because jobs come in runs of a kind."""
        key = run.definition, run.job.queue, run.job.priority
        known, task = self._last
        if key != known:
            task = results.task_with(
                run.definition.task, backend=self._queue.alias, queue_name=run.job.queue, priority=run.job.priority
            )
            self._last = key, task
        return task
