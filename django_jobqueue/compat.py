"""The one file that knows which Django runs: tasks are `django.tasks` from Django 6.0 on, its backport before."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import django
from django.conf import settings
from django.utils import timezone

HAS_CORE_TASKS = django.VERSION >= (6, 0)

if HAS_CORE_TASKS:
    from django.tasks import TaskContext, TaskResult, TaskResultStatus, task_backends
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import Task as BaseTask
    from django.tasks.base import TaskError
    from django.tasks.exceptions import InvalidTask, InvalidTaskBackend, TaskResultDoesNotExist, TaskResultMismatch
    from django.tasks.signals import (
        log_task_enqueued,
        log_task_finished,
        log_task_started,
        task_enqueued,
        task_finished,
        task_started,
    )
    from django.tasks.signals import logger as task_logger
    from django.utils.json import normalize_json
else:
    from django_tasks import TaskContext, TaskResult, TaskResultStatus, task_backends  # type: ignore[no-redef]
    from django_tasks.backends.base import BaseTaskBackend  # type: ignore[no-redef]
    from django_tasks.base import Task as BaseTask  # type: ignore[no-redef]
    from django_tasks.base import TaskError  # type: ignore[no-redef]
    from django_tasks.exceptions import InvalidTaskBackendError as InvalidTaskBackend  # type: ignore[no-redef]
    from django_tasks.exceptions import InvalidTaskError as InvalidTask  # type: ignore[no-redef]
    from django_tasks.exceptions import (  # type: ignore[no-redef]
        TaskResultDoesNotExist,
        TaskResultMismatch,
    )
    from django_tasks.signals import (  # type: ignore[no-redef]
        log_task_enqueued,
        log_task_finished,
        log_task_started,
        task_enqueued,
        task_finished,
        task_started,
    )
    from django_tasks.signals import logger as task_logger  # type: ignore[no-redef]
    from django_tasks.utils import normalize_json  # type: ignore[no-redef]

TASK_FRAMEWORK_APP: str | None = None if HAS_CORE_TASKS else "django_tasks"
"""The app a project must install besides ours, if any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext(TaskContext):  # type: ignore[misc]  # which stubs take for one that is not frozen
    """What a job that asks for it is told about its run: Django's context, and how much time is left.

    `deadline` is when `JobTimeout` will be raised in it, on the monotonic clock in seconds; None: never. `completion`
    is what `complete_in_transaction` completes, `asked` what `is_cancelled` asks.
    """

    deadline: float | None = None
    completion: Any = None
    asked: Callable[[], bool] = field(default=lambda: False, repr=False, compare=False)

    @property
    def is_cancelled(self) -> bool:
        """Whether the job should stop: somebody has asked for it, or it is not this worker's any more.

        Seen a second or two after the request, in a job that has run for as long.
        """
        return self.asked()

    def complete_in_transaction(self) -> AbstractContextManager[Any]:
        """A transaction in the database of the jobs that ends with the completion of this one: all of it, or nothing.

        What it gives has a `result`, to be set inside. When the block is left, the job is over: what it does afterwards
        is done at most once, and what it returns is not stored. Raises `LeaseLost` on the way out when the job is not
        this worker's any more, and `JobQueueError` for a store that lives outside the database: nothing is kept then.
        """
        if self.completion is None:
            raise RuntimeError("this context belongs to no job that runs")
        transaction: AbstractContextManager[Any] = self.completion.transaction()
        return transaction

    @property
    def time_left(self) -> float | None:
        """Seconds until `JobTimeout`, never below 0; None for a job without a timeout."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


def backend_of(alias: str) -> Any:
    """The task backend behind `TASKS[alias]`."""
    return task_backends[alias]


def blank_result(
    alias: str,
    job_id: UUID,
    task: Any,
    status: TaskResultStatus,
    args: list[Any],
    kwargs: dict[str, Any],
    enqueued_at: datetime | None,
) -> TaskResult:
    """A `TaskResult` that has not started. Its arguments come from the codec, so they are not normalised once more.

    `enqueued_at` is as Django tells it.
    """
    result: TaskResult = object.__new__(TaskResult)
    # One by one and not with `_set`: this is on the path of every job.
    put = object.__setattr__
    put(result, "task", task)
    put(result, "id", str(job_id))
    put(result, "status", status)
    put(result, "enqueued_at", enqueued_at)
    put(result, "started_at", None)
    put(result, "finished_at", None)
    put(result, "last_attempted_at", None)
    put(result, "args", args)
    put(result, "kwargs", kwargs)
    put(result, "backend", alias)
    put(result, "errors", [])
    put(result, "worker_ids", [])
    put(result, "_return_value", None)
    return result


def as_django_tells_it(moment: datetime | None) -> datetime | None:
    """With USE_TZ off, Django's times are local ones without a zone."""
    if settings.USE_TZ or moment is None or moment.tzinfo is None:
        return moment
    return timezone.make_naive(moment, timezone.get_default_timezone())


__all__ = [
    "HAS_CORE_TASKS",
    "TASK_FRAMEWORK_APP",
    "BaseTask",
    "BaseTaskBackend",
    "InvalidTask",
    "InvalidTaskBackend",
    "JobContext",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskResultDoesNotExist",
    "TaskResultMismatch",
    "TaskResultStatus",
    "as_django_tells_it",
    "backend_of",
    "blank_result",
    "log_task_enqueued",
    "log_task_finished",
    "log_task_started",
    "normalize_json",
    "task_backends",
    "task_enqueued",
    "task_finished",
    "task_logger",
    "task_started",
]
