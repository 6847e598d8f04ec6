"""What is enqueued: one job, as a value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Self
from uuid import UUID

from django_jobqueue.exceptions import InvalidPayload
from django_jobqueue.jobs.codec import encode_call
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.jobs.priority import MAX_PRIORITY, MIN_PRIORITY, QueuePriority, parse_priority
from django_jobqueue.jobs.registry import MAX_NAME_LENGTH, is_registered, lookup

MAX_DELAY_SECONDS = 100 * 366 * 86_400
"""A delay over a hundred years is a mistake, and overflows the dates of some databases."""
MAX_ATTEMPTS = 32_000
MAX_CRASHES = 255
MAX_KEY_LENGTH = 200
_YEARS = range(1000, 9999)
"""What every database takes as a date, in every time zone."""

_QUEUE_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,100}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPayload:
    """One job to be pushed. Make it with `create` or one of the named shapes below.

    `args` is the encoded call (see `codec.encode_call`). `run_after` is a moment, `delay` a number of seconds from the
    store's own now; at most one of them is set. `crash_budget` is how many workers it may bring down before it is a
    dead letter; None: `JOBQUEUE["CRASH_BUDGET"]`. `lease_no` and `times_retried` are not zero only for a job that comes
    back from the dead letters: lease numbers grow for the whole life of an id.
    """

    task: str
    args: str
    id: UUID = field(default_factory=uuid7)
    queue: str = "default"
    priority: int = 0
    run_after: datetime | None = None
    delay: float | None = None
    max_attempts: int = 1
    timeout: float | None = None
    crash_budget: int | None = None
    unique_key: str | None = None
    concurrency_key: str = ""
    lease_no: int = 0
    times_retried: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.queue, str) or not _QUEUE_NAME.match(self.queue):
            raise InvalidPayload(
                f"queue name {self.queue!r:.120}: use 1 to 100 letters, digits, dots, dashes and underscores"
            )
        _check_text("task", self.task, 1, MAX_NAME_LENGTH)
        _check_whole("priority", self.priority, MIN_PRIORITY, MAX_PRIORITY)
        _check_whole("max_attempts", self.max_attempts, 1, MAX_ATTEMPTS)
        if self.delay is not None or self.run_after is not None:
            self._check_start()
        if self.timeout is not None and not (_is_number(self.timeout) and 0 < self.timeout <= MAX_DELAY_SECONDS):
            raise InvalidPayload(
                f"timeout must be more than 0 seconds and at most a hundred years, not {self.timeout!r}"
            )
        if self.crash_budget is not None:
            _check_whole("crash_budget", self.crash_budget, 1, MAX_CRASHES)
        if self.unique_key is not None:
            _check_text("unique_key", self.unique_key, 1, MAX_KEY_LENGTH)
        if self.concurrency_key != "":
            _check_text("concurrency_key", self.concurrency_key, 0, MAX_KEY_LENGTH)

    def _check_start(self) -> None:
        if self.delay is not None and self.run_after is not None:
            raise InvalidPayload("give a delay or run_after, not both")
        if self.delay is not None and not (_is_number(self.delay) and 0 <= self.delay <= MAX_DELAY_SECONDS):
            raise InvalidPayload(f"delay must be between 0 seconds and a hundred years, not {self.delay!r}")
        if self.run_after is None:
            return
        if not isinstance(self.run_after, datetime) or self.run_after.utcoffset() is None:
            raise InvalidPayload(
                "run_after must be an aware datetime (with a time zone); django.utils.timezone.now() is"
            )
        if self.run_after.year not in _YEARS:
            raise InvalidPayload(f"run_after must be between the years 1000 and 9998, not {self.run_after!r}")

    @property
    def is_delayed(self) -> bool:
        return self.delay is not None or self.run_after is not None

    @property
    def is_plain(self) -> bool:
        """Ready now, without a unique key, pushed for the first time: as most jobs are."""
        return self.delay is None and self.run_after is None and self.unique_key is None and self.lease_no == 0

    @classmethod
    def create(
        cls,
        task: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        queue: str | None = None,
        priority: int | str | None = None,
        delay: timedelta | float | None = None,
        **options: Any,
    ) -> Self:
        """A job for `task`: a task, a typed job, or a name. Without a delay it is ready at once.

        A name that is registered in this process stands for its task; with any other, the queue, the priority and the
        number of attempts are what is given here, else "default", 0 and 1.

        Raises `PayloadError` for arguments that can't be stored, `InvalidPayload` and `InvalidPriority` for the rest.
        """
        base = _base(task, args, kwargs or {})
        if queue is not None:
            base["queue"] = queue
        if priority is not None:
            base["priority"] = parse_priority(priority)
        if delay is not None:
            base["delay"] = delay.total_seconds() if isinstance(delay, timedelta) else delay
        return cls(**{**base, **options})

    @classmethod
    def immediate(cls, task: Any, *args: Any, **kwargs: Any) -> Self:
        """Ready now, at the task's own priority."""
        return cls.create(task, args, kwargs)

    @classmethod
    def delayed(cls, task: Any, delay: timedelta | float, *args: Any, **kwargs: Any) -> Self:
        """Ready after `delay` (seconds or timedelta) on the store's clock."""
        return cls.create(task, args, kwargs, delay=delay)

    @classmethod
    def critical(cls, task: Any, *args: Any, **kwargs: Any) -> Self:
        """Before everything else in its queue."""
        return cls.create(task, args, kwargs, priority=QueuePriority.CRITICAL)

    @classmethod
    def background(cls, task: Any, *args: Any, **kwargs: Any) -> Self:
        """After everything else in its queue."""
        return cls.create(task, args, kwargs, priority=QueuePriority.LOW)

    def again(self, args: str, job_id: UUID | None = None, run_after: datetime | None = None) -> Self:
        """Another job like this one, with other encoded arguments and an id of its own. Not checked once more.

        `run_after` is for a job that has none.
        """
        copy = object.__new__(type(self))
        for put, value in zip(_PUT, _values(self), strict=True):
            put(copy, value)
        _put_args(copy, args)
        _put_id(copy, uuid7() if job_id is None else job_id)
        if run_after is not None:
            _put_run_after(copy, run_after)
        return copy

    def using(self, **changes: Any) -> Self:
        """A copy with other values, and a new id unless one is given."""
        return replace(self, **{"id": uuid7(), **changes})


# A frozen dataclass is copied in a third of the time through its slots, past its own `__setattr__`.
_values = attrgetter(*JobPayload.__slots__)
_PUT = [getattr(JobPayload, name).__set__ for name in JobPayload.__slots__]
_put_args, _put_id, _put_run_after = (getattr(JobPayload, name).__set__ for name in ("args", "id", "run_after"))


def _base(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    known = lookup(task).task if isinstance(task, str) and is_registered(task) else task
    describe = None if isinstance(task, type) else getattr(known, "job_fields", None)
    if describe is not None:
        return dict(describe(args, kwargs))
    if isinstance(task, str):
        return {"task": task, "args": encode_call(args, kwargs)}
    raise InvalidPayload(f"{task!r} is not a task: use @task, an instance of a Job, or a registered name")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_whole(name: str, value: Any, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidPayload(f"{name} must be a whole number between {least:,} and {most:,}, not {value!r:.60}")


def _check_text(name: str, value: Any, least: int, most: int) -> None:
    """Text that fits its column, without NUL and lone surrogates: no database takes both."""
    if not isinstance(value, str) or not least <= len(value) <= most:
        raise InvalidPayload(f"{name} must have {least} to {most} characters, not {value!r:.60}")
    if "\x00" in value or not (value.isascii() or _is_unicode(value)):
        raise InvalidPayload(f"{name} holds what no database stores: {value!r:.60}")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
