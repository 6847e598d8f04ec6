"""A job as the task API shows it: one `TaskResult`, put together from where the job is now and what it left behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django_jobqueue.compat import BaseTask, TaskError, TaskResult, TaskResultStatus, as_django_tells_it, blank_result
from django_jobqueue.exceptions import PayloadError, UnknownTask
from django_jobqueue.jobs.codec import decode_call
from django_jobqueue.jobs.registry import lookup
from django_jobqueue.models import DeadLetterJob, JobHistory
from django_jobqueue.queues.base import JobSnapshot, Queue, Reservation, Room

_ENDINGS: dict[str, TaskResultStatus] = {
    JobHistory.Outcome.COMPLETED: TaskResultStatus.SUCCESSFUL,
    JobHistory.Outcome.CANCELLED: TaskResultStatus.FAILED,
    JobHistory.Outcome.DISCARDED: TaskResultStatus.FAILED,
}
_FAILURES = (JobHistory.Outcome.RETRYING, JobHistory.Outcome.FAILED, JobHistory.Outcome.LOST)
_GIVEN_BACK = (JobHistory.Outcome.SNOOZED, JobHistory.Outcome.LOST)
"""Runs that are no attempts: `context.attempt` is the number that `max_attempts` is compared with."""
_LOOKS = 3
"""A job may move while we look: from the line to the history, from the dead letters back to the line."""


def find(queue: Queue, job_id: UUID) -> TaskResult | None:
    """The result of a job, live or over; None when there never was one, or its history was cleaned up."""
    history = JobHistory.objects.using(queue.database).filter(job_id=job_id, store=queue.store)
    letters = DeadLetterJob.objects.using(queue.database).filter(pk=job_id, store=queue.store)
    for _ in range(_LOOKS):
        live = queue.find(job_id)
        runs = list(history.order_by("lease_no"))
        if live is not None:
            return _live(queue, live, runs)
        if runs and runs[-1].outcome in _ENDINGS:
            return _over(queue, runs)
        dead = letters.first()
        if dead is not None:
            return _dead(queue, dead, runs)
        ended = queue.finished(job_id)
        if ended is not None:
            return _ended(queue, ended, runs)
    return None


def _live(queue: Queue, live: JobSnapshot, runs: Sequence[JobHistory]) -> TaskResult:
    running = live.room is Room.LEASED
    result = _result(
        queue.alias,
        live.job_id,
        as_enqueued(live.task, queue.alias, live.queue, live.priority),
        TaskResultStatus.RUNNING if running else TaskResultStatus.READY,
        live.args,
        live.created_at,
    )
    _add_runs(result, runs)
    if running:
        _started(result, live.claimed_at)
        result.worker_ids.append(str(live.worker_id))
    return result


def _over(queue: Queue, runs: Sequence[JobHistory]) -> TaskResult:
    last = runs[-1]
    result = _result(
        queue.alias,
        last.job_id,
        as_enqueued(last.task, queue.alias, last.queue, last.priority),
        _ENDINGS.get(last.outcome, TaskResultStatus.FAILED),
        last.args,
        last.enqueued_at,
    )
    _add_runs(result, runs)
    _set(result, finished_at=last.finished_at, _return_value=_decoded(last.result))
    return result


def _dead(queue: Queue, dead: DeadLetterJob, runs: Sequence[JobHistory]) -> TaskResult:
    task = as_enqueued(dead.task, queue.alias, dead.queue, dead.priority)
    result = _result(queue.alias, dead.pk, task, TaskResultStatus.FAILED, dead.args, dead.enqueued_at)
    _add_runs(result, runs)
    _set(result, finished_at=dead.failed_at)
    return result


def _ended(queue: Queue, ended: Any, runs: Sequence[JobHistory]) -> TaskResult:
    """A job that is over and not in the tables: of its last execution the store itself has kept a record."""
    last = JobHistory(
        job_id=ended.job_id,
        lease_no=ended.lease_no,
        queue=ended.queue,
        task=ended.task,
        args=ended.args,
        priority=ended.priority,
        outcome=ended.outcome,
        result=ended.result,
        error_class=ended.error.class_path,
        traceback=ended.error.traceback,
        worker_id=ended.worker_id,
        enqueued_at=ended.created_at,
        started_at=ended.started_at,
        finished_at=as_django_tells_it(ended.finished_at) or ended.finished_at,
    )
    return _over(queue, [*(run for run in runs if run.lease_no < last.lease_no), last])


def _add_runs(result: TaskResult, runs: Sequence[JobHistory]) -> None:
    for run in runs:
        if run.worker_id is not None:
            _started(result, run.started_at)
            if run.outcome not in _GIVEN_BACK:
                result.worker_ids.append(str(run.worker_id))
        if run.outcome in _FAILURES:
            result.errors.append(TaskError(exception_class_path=run.error_class, traceback=run.traceback))


def _started(result: TaskResult, moment: datetime | None) -> None:
    moment = as_django_tells_it(moment)
    _set(result, started_at=result.started_at or moment, last_attempted_at=moment)


def running_result(
    queue: Queue, task: Any, reservation: Reservation, args: list[Any], kwargs: dict[str, Any], worker: UUID
) -> TaskResult:
    """The result of a job that starts now. Earlier attempts are looked up only when there were any."""
    if reservation.attempt > 1 or reservation.lease_no > 1:
        known = find(queue, reservation.job_id)
        if known is not None and known.status == TaskResultStatus.RUNNING:
            return known
    return first_result(queue, task, reservation, args, kwargs, worker)


def first_result(
    queue: Queue, task: Any, reservation: Reservation, args: list[Any], kwargs: dict[str, Any], worker: UUID
) -> TaskResult:
    """The result of a job that starts now, without a past."""
    enqueued_at = as_django_tells_it(reservation.created_at)
    result = blank_result(queue.alias, reservation.job_id, task, TaskResultStatus.RUNNING, args, kwargs, enqueued_at)
    _started(result, reservation.claimed_at)
    result.worker_ids.append(str(worker))
    return result


def finish(result: TaskResult, value: Any, run_ms: int) -> None:
    """Turn a running result into a successful one."""
    _set(result, status=TaskResultStatus.SUCCESSFUL, _return_value=value, finished_at=_end(result, run_ms))


def fail(result: TaskResult, status: TaskResultStatus, error_class: str, traceback: str, run_ms: int) -> None:
    """Turn a running result into one that failed for good (FAILED), or will run again (READY)."""
    result.errors.append(TaskError(exception_class_path=error_class, traceback=traceback))
    _set(result, status=status)
    if status == TaskResultStatus.FAILED:
        _set(result, finished_at=_end(result, run_ms))


def _end(result: TaskResult, run_ms: int) -> datetime | None:
    start = result.last_attempted_at
    return start + timedelta(milliseconds=run_ms) if start else None


def _result(
    alias: str, job_id: UUID, task: Any, status: TaskResultStatus, args: str, enqueued_at: datetime
) -> TaskResult:
    try:
        positional, named = decode_call(args)
    except PayloadError:  # shown in the dead letter as it is; here it only must not hide the job
        positional, named = [], {}
    return blank_result(alias, job_id, task, status, positional, named, as_django_tells_it(enqueued_at))


def _set(target: Any, **values: Any) -> None:
    """Set fields of a frozen dataclass, as Django's own backends do."""
    for name, value in values.items():
        object.__setattr__(target, name, value)


def _decoded(text: str) -> Any:
    """A stored result. One that was tampered with reads as None: the job did succeed."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None


def as_enqueued(name: str, alias: str, queue: str, priority: int) -> Any:
    """The task a job was enqueued with: the registered one, with the job's own queue, priority and backend.

    Its validation is left out: settings may have changed since, and a queue that was taken out of them must not hide
    the results of its jobs. A name nobody knows gives a stand-in that says so when it is called.
    """
    try:
        task = lookup(name).task
    except UnknownTask:
        task = _stand_in(name)
    return task_with(task, backend=alias, queue_name=queue, priority=priority)


def task_with(task: Any, **changes: Any) -> Any:
    """A copy of a task with other values, not validated; the task itself when nothing differs."""
    if all(getattr(task, name) == value for name, value in changes.items()):
        return task
    copy = object.__new__(type(task))
    _set(copy, **{field.name: getattr(task, field.name) for field in fields(task)})
    _set(copy, **changes)
    return copy


def unavailable_task(*args: Any, **kwargs: Any) -> None:
    """Stands in for the function of a task that is not registered in this process."""
    raise UnknownTask("this task is not registered in this process, so it can't be called here")


def _stand_in(name: str) -> Any:
    def function(*args: Any, **kwargs: Any) -> None:
        unavailable_task(*args, **kwargs)

    function.__module__, _, function.__qualname__ = name.rpartition(".")
    function.__name__ = function.__qualname__
    task = object.__new__(BaseTask)
    _set(task, func=function, priority=0, backend="default", queue_name="default", run_after=None, takes_context=False)
    return task
