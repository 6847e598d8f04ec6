"""The one file that knows which Django runs: tasks are `django.tasks` from Django 6.0 on, its backport before."""

from __future__ import annotations

from typing import Any

import django

HAS_CORE_TASKS = django.VERSION >= (6, 0)

if HAS_CORE_TASKS:
    from django.tasks import TaskContext, TaskResult, TaskResultStatus, task_backends
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import Task as BaseTask
    from django.tasks.base import TaskError
    from django.tasks.exceptions import InvalidTask, InvalidTaskBackend, TaskResultDoesNotExist, TaskResultMismatch
    from django.tasks.signals import task_enqueued, task_finished, task_started
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
    from django_tasks.signals import task_enqueued, task_finished, task_started  # type: ignore[no-redef]
    from django_tasks.utils import normalize_json  # type: ignore[no-redef]

TASK_FRAMEWORK_APP: str | None = None if HAS_CORE_TASKS else "django_tasks"
"""The app a project must install besides ours, if any."""


def backend_of(alias: str) -> Any:
    """The task backend behind `TASKS[alias]`."""
    return task_backends[alias]


__all__ = [
    "HAS_CORE_TASKS",
    "TASK_FRAMEWORK_APP",
    "BaseTask",
    "BaseTaskBackend",
    "InvalidTask",
    "InvalidTaskBackend",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskResultDoesNotExist",
    "TaskResultMismatch",
    "TaskResultStatus",
    "backend_of",
    "normalize_json",
    "task_backends",
    "task_enqueued",
    "task_finished",
    "task_started",
]
