"""`DatabaseBackend` and `RedisBackend`: `django.tasks` on the outside, a queue on the inside.

A backend is built when the first `@task` line is read, before apps are ready: nothing here imports models, and wrong
options are told by `check()`, not by the constructor.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import cached_property
from typing import Any
from uuid import UUID

from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from django.utils.module_loading import import_string

from django_jobqueue.checks import options as check_options
from django_jobqueue.compat import (
    BaseTaskBackend,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    as_django_tells_it,
    blank_result,
    log_task_enqueued,
    task_enqueued,
    task_logger,
)
from django_jobqueue.conf import BACKEND_OPTIONS, DEFAULT_PREFIX, ON_COMMIT, RECORD, REDIS_OPTIONS, Conf, conf
from django_jobqueue.decorators import JobTask, job_fields
from django_jobqueue.exceptions import InvalidPayload, PayloadError
from django_jobqueue.jobs.codec import encoded_call
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.lifecycle.audience import Audience
from django_jobqueue.queues.base import DEFAULT_LEASE, Queue

Call = tuple[str, list[Any], dict[str, Any]]
"""Encoded arguments, and what a worker will read from them: positional ones, and named ones."""
_MOST_TEMPLATES = 256


class JobBackend(BaseTaskBackend):
    """What the backends share: everything but the store and its options."""

    task_class = JobTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True
    supports_atomic = False
    """Whether a job can complete in the transaction of what it writes."""
    queue_class: str
    known_options: Set[str]

    @cached_property
    def queue(self) -> Queue:
        """The store. Made at first use, because it needs models."""
        return self.make_queue()

    def make_queue(self) -> Queue:
        """A new queue with the options of this entry of `TASKS`."""
        queue: Queue = import_string(self.queue_class)(self.alias, **self.queue_options())
        return queue

    def queue_options(self) -> dict[str, Any]:
        return {
            "database": self.options.get("database", "default"),
            "lease": self.options.get("lease", DEFAULT_LEASE),
        }

    # -- enqueue -----------------------------------------------------------------------------------------------------

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:
        call = encoded_call(args, kwargs, conf().MAX_PAYLOAD_BYTES)
        template = self._template(task)
        if template.unique_key is None:
            [job_id] = self.queue.push_alike(template, [call[0]])
            own = job_id
        else:
            payload = template.again(call[0])
            [job_id], own = self.queue.push(payload, fresh=True), payload.id
        return self._result(task, own, job_id, call, as_django_tells_it(timezone.now()))

    def enqueue_many(self, task: Any, calls: Iterable[Mapping[str, Any] | Sequence[Any]]) -> list[TaskResult]:
        """One job for each call, all or none, a thousand per round trip."""
        template = self._template(task)
        encoded = [_encoded(position, call) for position, call in enumerate(calls)]
        texts = [call[0] for call in encoded]
        if template.unique_key is None:
            ids, now = self.queue.push_alike(template, texts), as_django_tells_it(timezone.now())
            results = [self._ready(task, job_id, call, now) for job_id, call in zip(ids, encoded, strict=True)]
            self._tell(results)
            return results
        payloads = list(map(template.again, texts))
        ids, now = self.queue.push(*payloads, fresh=True), as_django_tells_it(timezone.now())
        own = [payload.id for payload in payloads]
        return [self._result(task, *each, now) for each in zip(own, ids, encoded, strict=True)]

    def _template(self, task: Any) -> JobPayload:
        """A job of this task, without arguments. The last ones are kept: to validate a task takes longer than a push.

        Not those with a moment or a key of their own, which were made for one job.
        """
        known = self._templates.get(id(task))
        if known is not None and known[0] is task and known[1] is conf():
            return known[2]
        self.validate_task(task)
        template = JobPayload(**job_fields(task, (), {}))
        if template.run_after is None and template.unique_key is None:
            if len(self._templates) >= _MOST_TEMPLATES:
                self._templates.clear()
            self._templates[id(task)] = task, conf(), template
        return template

    @cached_property
    def _templates(self) -> dict[int, tuple[Any, Conf, JobPayload]]:
        """By the id of the task, which is kept so that it stays its own; what is in `JOBQUEUE` may change it."""
        return {}

    def _result(self, task: Any, own: UUID, job_id: UUID, call: Call, now: Any) -> TaskResult:
        if job_id is not own and job_id != own:  # a live job holds its unique key: this is that job's result
            try:
                return self.get_result(str(job_id))
            except TaskResultDoesNotExist:  # removed in this instant
                return self._ready(task, job_id, call, now)
        result = self._ready(task, job_id, call, now)
        self._tell([result])
        return result

    def _tell(self, results: Sequence[TaskResult]) -> None:
        """Of jobs that were enqueued."""
        if self._listeners.is_there():
            for result in results:
                task_enqueued.send(type(self), task_result=result)

    @cached_property
    def _listeners(self) -> Audience:
        return Audience(task_enqueued, log_task_enqueued, task_logger, logging.DEBUG)

    def _ready(self, task: Any, job_id: UUID, call: Call, now: Any) -> TaskResult:
        _, args, kwargs = call
        return blank_result(self.alias, job_id, task, TaskResultStatus.READY, args, kwargs, now)

    # -- results -----------------------------------------------------------------------------------------------------

    def get_result(self, result_id: str) -> TaskResult:
        try:
            job_id = UUID(str(result_id))
        except ValueError:
            raise TaskResultDoesNotExist(result_id) from None
        find = import_string("django_jobqueue.lifecycle.results.find")
        result: TaskResult | None = find(self.queue, job_id)
        if result is None:
            raise TaskResultDoesNotExist(result_id)
        return result

    # -- checks ------------------------------------------------------------------------------------------------------

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        """E010 to E016: wrong options. See `checks.options`."""
        return [*super().check(**kwargs), *self.check_options(f"TASKS[{self.alias!r}]['OPTIONS']")]

    def check_options(self, where: str) -> Iterator[CheckMessage]:
        yield from check_options.check_known(where, self.options, self.known_options)
        if isinstance(self.options, dict):
            yield from check_options.check_common(where, self.options, DEFAULT_LEASE)


class DatabaseBackend(JobBackend):
    """Jobs in a database. OPTIONS: `database` (an alias of DATABASES, "default"), `lease` (seconds, 30)."""

    supports_atomic = True
    queue_class = "django_jobqueue.queues.orm.OrmQueue"
    known_options = BACKEND_OPTIONS


class RedisBackend(JobBackend):
    """Jobs on a Redis or Valkey server; history, dead letters and outbox in a database.

    OPTIONS: those of `DatabaseBackend`, and one of `connection` (an alias of CACHES, "default"), `url`,
    `connection_factory` (a dotted path); `record` ("all"), `on_commit` ("outbox"), `prefix` ("jobqueue").
    """

    queue_class = "django_jobqueue.queues.redis.RedisQueue"
    connection_class = check_options.CONNECTION
    known_options = REDIS_OPTIONS

    def make_queue(self) -> Queue:
        """Raises `ImproperlyConfigured` for wrong options: a web server runs no checks."""
        problems = list(self.check_options(f"TASKS[{self.alias!r}]['OPTIONS']"))
        if problems:
            raise ImproperlyConfigured(" ".join(problem.msg for problem in problems))
        return super().make_queue()

    def queue_options(self) -> dict[str, Any]:
        options = self.options
        return super().queue_options() | {
            "connection": import_string(self.connection_class)(options),
            "record": options.get("record", RECORD[0]),
            "on_commit": options.get("on_commit", ON_COMMIT[0]),
            "prefix": options.get("prefix", DEFAULT_PREFIX),
        }

    def check_options(self, where: str) -> Iterator[CheckMessage]:
        yield from super().check_options(where)
        if isinstance(self.options, dict):
            yield from check_options.check_redis(self.alias, where, self.options)


def _encoded(position: int, call: Mapping[str, Any] | Sequence[Any]) -> Call:
    if isinstance(call, list | tuple):  # first: to ask for a mapping takes as long as all the rest here
        args, kwargs = tuple(call), {}
    elif isinstance(call, Mapping) and all(isinstance(name, str) for name in call):
        args, kwargs = (), dict(call)
    else:
        raise InvalidPayload(
            f"call {position}: give keyword arguments as a mapping from their names or positional ones as a list, "
            f"not {call!r:.100}"
        )
    try:
        return encoded_call(args, kwargs, conf().MAX_PAYLOAD_BYTES)
    except PayloadError as error:
        raise PayloadError(f"call {position}: {error.path}", error.problem) from None
