"""`manage.py check`: settings that can't work, said in sentences before a job is lost to them.

`options.py` has the checks of a backend's OPTIONS, `deployment.py` those of `--deploy`, which ask the servers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning, register

from django_jobqueue.compat import TASK_FRAMEWORK_APP, InvalidTaskBackend, task_backends
from django_jobqueue.conf import conf, problems
from django_jobqueue.decorators import JobTask
from django_jobqueue.lifecycle.policy import queue_policy, timeout_of


@register("jobqueue")
def check_settings(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """E001: a `JOBQUEUE` key or value is wrong. E002: the backport is not installed. W001: no backend of ours.

    I001: timeouts are soft where jobs run in threads.
    """
    given = getattr(settings, "JOBQUEUE", None)
    found: list[CheckMessage] = [
        Error(text, id="jobqueue.E001") for text in (problems(given) if given is not None else [])
    ]
    if TASK_FRAMEWORK_APP and not apps.is_installed(TASK_FRAMEWORK_APP):
        found.append(
            Error(
                f"On this Django, tasks come from the package {TASK_FRAMEWORK_APP!r}.",
                hint=f"Add {TASK_FRAMEWORK_APP!r} to INSTALLED_APPS.",
                id="jobqueue.E002",
            )
        )
    return [*found, *_no_backend(), *(_soft_timeouts() if not found else [])]


def _soft_timeouts() -> Iterator[CheckMessage]:
    for queue in conf().QUEUES:
        threads, timeout = queue_policy(queue).concurrency or 1, timeout_of(None, queue)
        if threads > 1 and timeout:
            yield Info(
                f"Queue {queue!r} runs {threads} jobs at once in threads, where its timeout of {timeout:g} s can't end "
                f"a call that waits: after KILL_AFTER the whole process is killed, and the others run again.",
                hint="Give network calls timeouts of their own, or set its 'concurrency' to 1.",
                id="jobqueue.I001",
            )


def _no_backend() -> Iterator[CheckMessage]:
    try:
        kinds = [getattr(backend, "task_class", object) for backend in task_backends.all()]
    except InvalidTaskBackend:  # told by the check of the task framework itself
        return
    if not any(issubclass(kind, JobTask) for kind in kinds):
        yield Warning(
            "django_jobqueue is installed, but none of its backends is in TASKS, so nothing can be enqueued with it.",
            hint="TASKS = {'default': {'BACKEND': 'django_jobqueue.backends.DatabaseBackend'}}",
            id="jobqueue.W001",
        )
