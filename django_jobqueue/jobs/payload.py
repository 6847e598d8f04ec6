"""What is enqueued: one job, as a value."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from django_jobqueue.exceptions import InvalidPayload
from django_jobqueue.jobs.codec import encode_call
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.jobs.priority import QueuePriority, parse_priority

MAX_DELAY_SECONDS = 100 * 366 * 86_400
"""A delay over a hundred years is a mistake, and overflows the dates of some databases."""

_QUEUE_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,100}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPayload:
    """One job to be pushed. Make it with `create` or one of the named shapes below.

    `args` is the encoded call (see `codec.encode_call`). `run_after` is a moment, `delay` a number of seconds from the
    store's own now; at most one of them is set. `lease_no` and `times_retried` are not zero only for a job that comes
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
    unique_key: str | None = None
    concurrency_key: str = ""
    lease_no: int = 0
    times_retried: int = 0

    def __post_init__(self) -> None:
        if not _QUEUE_NAME.match(self.queue):
            raise InvalidPayload(
                f"queue name {self.queue[:120]!r}: use 1 to 100 letters, digits, dots, dashes and underscores"
            )
        if not 1 <= self.max_attempts <= 32_000:
            raise InvalidPayload(f"max_attempts must be between 1 and 32,000, not {self.max_attempts!r}")
        if self.delay is not None or self.run_after is not None:
            self._check_start()
        if self.unique_key is not None and not 1 <= len(self.unique_key) <= 200:
            raise InvalidPayload("unique_key must have 1 to 200 characters")

    def _check_start(self) -> None:
        if self.delay is not None and self.run_after is not None:
            raise InvalidPayload("give a delay or run_after, not both")
        if self.delay is not None and not (math.isfinite(self.delay) and 0 <= self.delay <= MAX_DELAY_SECONDS):
            raise InvalidPayload(f"delay must be between 0 seconds and a hundred years, not {self.delay!r}")
        if self.run_after is not None and self.run_after.tzinfo is None:
            raise InvalidPayload("run_after must be an aware datetime (with a time zone); django.utils.timezone.now() is")

    @property
    def is_delayed(self) -> bool:
        return self.delay is not None or self.run_after is not None

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
        """A job for `task`: a task, a typed job, or a registered name. Without a delay it is ready at once.

        Raises `PayloadError` for arguments that can't be stored, `InvalidPayload` and `InvalidPriority` for the rest.
        """
        base = _base(task, args, kwargs or {})
        if queue is not None:
            base["queue"] = queue
        if priority is not None:
            base["priority"] = parse_priority(priority)
        if delay is not None:
            base["delay"] = delay.total_seconds() if isinstance(delay, timedelta) else float(delay)
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

    def using(self, **changes: Any) -> Self:
        """A copy with other values, and a new id unless one is given."""
        return replace(self, **{"id": uuid7(), **changes})


def _base(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(task, str):
        return {"task": task, "args": encode_call(args, kwargs)}
    describe = getattr(task, "job_fields", None)
    if describe is None:
        raise InvalidPayload(f"{task!r} is not a task: use @task, a subclass of Job, or a registered name")
    return dict(describe(args, kwargs))
