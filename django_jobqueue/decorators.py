"""What gives a function or a class its `.enqueue()`: `@task` and `Job`."""

from __future__ import annotations

import dataclasses
import inspect
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from types import ModuleType
from typing import Any, ClassVar, Self, get_type_hints

from django.apps import apps
from django.utils import timezone

from django_jobqueue.compat import BaseTask, InvalidTask, JobContext, TaskResult, task_backends
from django_jobqueue.conf import conf
from django_jobqueue.exceptions import InvalidPriority, PayloadError, StoredFieldsInvalid
from django_jobqueue.jobs import typed
from django_jobqueue.jobs.codec import encode_call
from django_jobqueue.jobs.payload import MAX_DELAY_SECONDS
from django_jobqueue.jobs.priority import parse_priority
from django_jobqueue.jobs.registry import MAX_NAME_LENGTH, TaskDefinition, is_registered, lookup, register
from django_jobqueue.jobs.retry import RetryStrategy
from django_jobqueue.jobs.schedule import Schedule
from django_jobqueue.lifecycle.policy import retry_strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTask(BaseTask):
    """A task of `django.tasks` that carries how it is retried, too. `@task` makes it, `using` copies it with changes.

    `retry` None means the project's default, `timeout` is in seconds, `registry_name` is the name stored with its jobs
    (its module path unless given). `atomic`: what it writes and its completion are one transaction. `on_crash` says
    what becomes of a job whose worker died: "retry", within the crash budget, or "dead". `schedule`: see `task`.
    """

    retry: RetryStrategy | None = None
    timeout: float | None = None
    registry_name: str = ""
    unique_key: str | None = None
    concurrency_key: str = ""
    atomic: bool = False
    on_crash: str = "retry"
    schedule: Schedule | Mapping[str, Any] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "priority", _priority(self.priority))
        if self.run_after is not None and not isinstance(self.run_after, datetime):
            raise InvalidTask(f"run_after must be a datetime or a timedelta, not {self.run_after!r}")
        # Explicit super: the zero-argument one is broken by slots.
        super(JobTask, self).__post_init__()
        _check_policy(self.retry, self.timeout)
        if self.on_crash not in _CRASH_BUDGETS:
            raise InvalidTask(f"on_crash must be one of {', '.join(_CRASH_BUDGETS)}, not {self.on_crash!r}")
        if self.atomic:
            _check_atomic(self)
        if not (self.schedule is None or isinstance(self.schedule, Schedule | Mapping)):
            raise InvalidTask(
                f"schedule must be cron(…), every(…), at(…), manual() or a dictionary, not {self.schedule!r:.60}"
            )
        if len(self.stored_name) > MAX_NAME_LENGTH:
            raise InvalidTask(f"the name of a task may have {MAX_NAME_LENGTH} characters: {self.stored_name[:300]}")
        if not is_registered(self.stored_name) or lookup(self.stored_name).func is not self.func:
            register(definition_of(self))

    @property
    def stored_name(self) -> str:
        return self.registry_name or str(self.module_path)

    def using(
        self,
        *,
        priority: int | str | None = None,
        queue_name: str | None = None,
        run_after: datetime | timedelta | None = None,
        backend: str | None = None,
        unique_key: str | None = None,
        concurrency_key: str | None = None,
        timeout: float | None = None,
        on_crash: str | None = None,
    ) -> Self:
        """A copy with other values. `run_after` may be a moment or a span from now.

        The retry strategy stays the task's own: it is not stored with a job, so the worker would not know another one.
        """
        given: dict[str, Any] = {
            "priority": priority,
            "queue_name": queue_name,
            "run_after": _from_now(run_after) if isinstance(run_after, timedelta) else run_after,
            "backend": backend,
            "unique_key": unique_key,
            "concurrency_key": concurrency_key,
            "timeout": timeout,
            "on_crash": on_crash,
        }
        return replace(self, **{key: value for key, value in given.items() if value is not None})

    def enqueue_many(self, calls: Iterable[Mapping[str, Any] | Sequence[Any]]) -> list[TaskResult]:
        """Enqueue one job for each element: keyword arguments (a mapping) or positional ones (a list or tuple).

        All or none are stored. Raises `PayloadError` for the first call that can't be stored, naming its position.
        """
        backend: Any = self.get_backend()  # ours, or a subclass: the only kind whose tasks are of this class
        results: list[TaskResult] = backend.enqueue_many(self, calls)
        return results

    def job_fields(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        return job_fields(self, args, kwargs)


def _priority(value: Any) -> Any:
    """The number behind a name. Numbers are left to Django's own validation, and its words."""
    if isinstance(value, int | float) and not math.isnan(value):
        return value
    try:
        return parse_priority(value)
    except InvalidPriority as error:
        raise InvalidTask(str(error)) from None


def _from_now(span: timedelta) -> datetime:
    try:
        return timezone.now() + span
    except OverflowError:
        raise InvalidTask(f"run_after is further away than dates go: {span}") from None


def _check_policy(retry: Any, timeout: Any) -> None:
    attempts = getattr(retry, "max_attempts", None)
    if retry is not None and not (isinstance(retry, RetryStrategy) and isinstance(attempts, int) and attempts >= 1):
        raise InvalidTask(f"retry must be a strategy such as ExponentialBackoff(), with max_attempts, not {retry!r}")
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and not (is_number and 0 < timeout <= MAX_DELAY_SECONDS):
        raise InvalidTask(f"timeout must be a number of seconds greater than 0, not {timeout!r}")


_CRASH_BUDGETS = {"retry": None, "dead": 1}


def _check_atomic(task: JobTask) -> None:
    if inspect.iscoroutinefunction(task.func):
        raise InvalidTask("a coroutine can't be atomic: Django's transactions belong to one thread")
    if not getattr(task_backends[task.backend], "supports_atomic", False):
        raise InvalidTask(
            f"atomic=True needs jobs that live in the database the task writes to, and TASKS[{task.backend!r}] keeps "
            f"them elsewhere: use a DatabaseBackend, or make the task idempotent."
        )


def job_fields(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a payload that a task decides. `task` may be a plain task of `django.tasks` as well."""
    return {
        "task": stored_name(task),
        "args": encode_call(args, kwargs, conf().MAX_PAYLOAD_BYTES),
        "queue": task.queue_name,
        "priority": int(task.priority),
        "run_after": _aware(task.run_after),
        "max_attempts": retry_strategy(getattr(task, "retry", None), task.queue_name).max_attempts,
        "timeout": getattr(task, "timeout", None),
        "crash_budget": _CRASH_BUDGETS[getattr(task, "on_crash", "retry")],
        "unique_key": getattr(task, "unique_key", None),
        "concurrency_key": getattr(task, "concurrency_key", ""),
    }


def stored_name(task: Any) -> str:
    """The name under which a task's jobs are stored."""
    return getattr(task, "registry_name", "") or str(task.module_path)


def _aware(moment: datetime | None) -> datetime | None:
    """With USE_TZ off, Django's tasks carry local times without a zone."""
    if moment is not None and timezone.is_naive(moment):
        return timezone.make_aware(moment, timezone.get_default_timezone())
    return moment


def definition_of(task: Any) -> TaskDefinition:
    """What a worker needs to know of a task."""
    return TaskDefinition(
        name=stored_name(task),
        func=task.func,
        task=task,
        takes_context=task.takes_context,
        retry=getattr(task, "retry", None),
        timeout=getattr(task, "timeout", None),
        atomic=getattr(task, "atomic", False),
    )


def task(
    function: Callable[..., Any] | None = None,
    *,
    priority: int | str = 0,
    queue_name: str = "default",
    backend: str = "default",
    takes_context: bool = False,
    retry: RetryStrategy | None = None,
    timeout: float | None = None,
    atomic: bool = False,
    on_crash: str = "retry",
    name: str = "",
    schedule: Schedule | Mapping[str, Any] | None = None,
    **more: Any,
) -> Any:
    """Make a module-level function a task, on every supported Django.

    `retry` says whether and when a failed job runs again, `timeout` is in seconds, `name` is what is stored with its
    jobs: give one and the function may be moved without losing jobs. `atomic`: what the job writes to the database of
    its backend and its completion are one transaction. `on_crash="dead"`: a job whose worker died does not run again.
    `schedule` is when it runs by itself, or a dictionary with that as its "schedule" and the other keys of an entry of
    `JOBQUEUE["SCHEDULES"]`.
    `more` is for the fields of a task class of your own. Raises `InvalidTask` for what can't be run.
    """
    if "run_after" in more:
        raise TypeError(
            "run_after cannot be defined statically with the @task decorator. Use .using(run_after=...) for each job."
        )

    def wrap(func: Callable[..., Any]) -> JobTask:
        made: JobTask = _task_class(backend)(
            func=func,
            priority=priority,
            queue_name=queue_name,
            backend=backend,
            run_after=None,
            takes_context=takes_context,
            retry=retry,
            timeout=timeout,
            atomic=atomic,
            on_crash=on_crash,
            registry_name=name,
            schedule=schedule,
            **more,
        )
        register(definition_of(made))  # also when the same function was decorated before, with another policy
        return made

    return wrap(function) if function is not None else wrap


def _task_class(alias: str) -> Any:
    """The class that the backend `alias` makes tasks of."""
    backend = task_backends[alias]
    kind = getattr(backend, "task_class", JobTask)
    if not issubclass(kind, JobTask):
        raise InvalidTask(
            f"TASKS[{alias!r}] is {type(backend).__name__}, not a django_jobqueue backend: use the task decorator of "
            f"that backend, or another entry of TASKS."
        )
    return kind


class Job:
    """A typed job: its fields are its arguments, `handle` is its work.

        class SendInvoice(Job, queue_name="billing"):
            invoice_id: int
            amount: Decimal

            def handle(self, context): ...

    Fields may be of any type `jobs/typed.py` knows; they arrive in `handle` exactly as they were given.
    """

    job_task: ClassVar[JobTask]
    func: ClassVar[Any]
    """Where Django looks for it when it unpickles or copies the task."""

    def __init_subclass__(
        cls,
        *,
        queue_name: str = "default",
        priority: int | str = 0,
        backend: str = "default",
        retry: RetryStrategy | None = None,
        timeout: float | None = None,
        atomic: bool = False,
        on_crash: str = "retry",
        name: str = "",
        schedule: Schedule | Mapping[str, Any] | None = None,
        abstract: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True)(cls)
        if abstract:
            return
        cls.job_task = _task_class(backend)(
            func=_runner(cls),
            priority=priority,
            queue_name=queue_name,
            backend=backend,
            run_after=None,
            takes_context=True,
            retry=retry,
            timeout=timeout,
            atomic=atomic,
            on_crash=on_crash,
            registry_name=name,
            schedule=schedule,
        )
        cls.func = staticmethod(cls.job_task.func)

    def handle(self, context: JobContext) -> Any:
        """The work. What it returns is the job's result."""
        raise NotImplementedError(f"{type(self).__name__} must define handle(self, context)")

    def using(self, **changes: Any) -> BoundJob:
        """This job with other values for its queue, priority, start and so on (see `JobTask.using`)."""
        return BoundJob(self, self.job_task.using(**changes))

    def enqueue(self) -> TaskResult:
        return BoundJob(self, self.job_task).enqueue()

    async def aenqueue(self) -> TaskResult:
        return await BoundJob(self, self.job_task).aenqueue()

    def arguments(self) -> dict[str, Any]:
        """The fields as JSON values."""
        hints = _hints(type(self))
        return {
            field.name: typed.to_json(getattr(self, field.name), hints[field.name], path=field.name)
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
            if field.init
        }

    def job_fields(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        return job_fields(self.job_task, args, {**self.arguments(), **kwargs})


@dataclass(frozen=True, slots=True)
class BoundJob:
    """A typed job with the task values it is to be enqueued with."""

    job: Job
    task: JobTask

    def enqueue(self) -> TaskResult:
        return self.task.enqueue(**self.job.arguments())

    async def aenqueue(self) -> TaskResult:
        return await self.task.aenqueue(**self.job.arguments())

    def job_fields(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        return job_fields(self.task, args, {**self.job.arguments(), **kwargs})


@cache
def _hints_of(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _hints(cls: Any) -> dict[str, Any]:
    return _hints_of(cls)


def _read(cls: type[Job], fields: Mapping[str, Any]) -> dict[str, Any]:
    hints = _hints(cls)
    try:
        return {name: typed.from_json(value, hints[name], path=name) for name, value in fields.items()}
    except PayloadError as error:
        raise StoredFieldsInvalid(error.path, error.problem) from None


def _runner(cls: type[Job]) -> Callable[..., Any]:
    """The function behind a typed job: it takes the stored fields, and passes for a function of the class's module."""

    def run(context: JobContext, **fields: Any) -> Any:
        return cls(**_read(cls, fields)).handle(context)

    run.__module__, run.__qualname__, run.__name__ = cls.__module__, cls.__qualname__, cls.__name__
    run.__doc__ = cls.__doc__
    own = inspect.signature(cls)
    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=inspect.Parameter.empty)
        for parameter in own.parameters.values()
    ]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
    return run


def register_loaded_tasks() -> None:
    """Make known the tasks in every app's `tasks` and `jobs` modules, plain ones of `django.tasks` included."""
    for app in apps.get_app_configs():
        for name in ("tasks", "jobs"):
            module = sys.modules.get(f"{app.name}.{name}")
            if module is not None:
                _register_module(module)


def _register_module(module: ModuleType) -> None:
    for value in vars(module).values():
        if isinstance(value, BaseTask) and not is_registered(stored_name(value)):
            register(definition_of(value))
