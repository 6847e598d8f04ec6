"""What stands in a row, and what Python makes of it: ids, times, places in the line."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.utils import timezone

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Lease(NamedTuple):
    """A row of `job_locks` that was held, and is now taken out of it."""

    job_id: UUID
    lease_no: int
    worker_id: UUID | None
    queue: str
    priority: int
    seq: int
    attempt: int
    crashes: int
    claimed_at: datetime
    cancel: int | None = None

    @property
    def wait_ms(self) -> int:
        """From ready to claimed: `seq` is the moment the job became ready."""
        return max(0, (self.claimed_at - EPOCH) // MICROSECOND // 1_000 - self.seq // 1_000_000)


class JobRow(NamedTuple):
    """A row of `jobs`."""

    job_id: UUID
    task: str
    args: str
    max_attempts: int
    timeout: float | None
    times_retried: int
    crash_budget: int | None
    created_at: datetime


class Values:
    """How one Django connection stores ids and times."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def to_id(self, value: UUID | None) -> Any:
        return value

    def from_id(self, value: Any) -> UUID:
        return value if isinstance(value, UUID) else UUID(value)

    def to_time(self, moment: datetime | None) -> Any:
        """A moment as this database stores it: in UTC, where it has no zones. See `models/moments.py`."""
        if moment is None:
            return None
        return self.connection.ops.adapt_datetimefield_value(moment.astimezone(UTC).replace(tzinfo=None))

    def field_time(self, moment: datetime) -> datetime:
        """A moment as a model's field takes it."""
        return moment if settings.USE_TZ else timezone.make_naive(moment, timezone.get_default_timezone())

    def as_read(self, time_column: str) -> str:
        """A time column as a hot statement selects it: in a form in which no value can raise."""
        return time_column

    def from_time(self, value: Any) -> datetime:
        """A time that was read. What is none (a row written by hand) reads as the epoch: it must not stop a batch."""
        if not isinstance(value, datetime):
            return EPOCH
        if value.tzinfo is None:
            return value.replace(tzinfo=UTC)
        return value if value.tzinfo is UTC else value.astimezone(UTC)

    def now(self) -> datetime:
        """The store's clock."""
        raise NotImplementedError

    def places(self, now: datetime, count: int) -> range:
        """The next `count` places in the line: the clock in nanoseconds, never the same or smaller in one process."""
        return _places(self.connection.alias, (now - EPOCH) // MICROSECOND * 1_000, count)


_place_lock = threading.Lock()
_last_place: dict[str, int] = {}


def _places(alias: str, first: int, count: int) -> range:
    with _place_lock:
        start = max(first, _last_place.get(alias, 0) + 1)
        if count:
            _last_place[alias] = start + count - 1
    return range(start, start + count)
