"""What a source says about one schedule, and what all sources need to say it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connections
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from django_jobqueue.exceptions import InvalidSchedule, JobQueueError
from django_jobqueue.jobs.schedule import Schedule

MOST_RUNS = 1_000
"""Runs left that are counted off in advance."""


class NoSource(JobQueueError):
    """There is nothing to read: the table, the server or the file is not there. Says what was looked for."""


class Refused(JobQueueError):
    """This row can't become a schedule of ours; the message says why, and what to do instead."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where to read. `timezone` is for schedules that don't say theirs; `database` an alias of DATABASES."""

    now: datetime
    timezone: str
    database: str = "default"
    url: str = ""
    lines: Iterable[str] = ()


@dataclass(frozen=True, kw_only=True)
class Found:
    """One schedule of another scheduler. `refused` says why it can't be one of ours; `notes` what is lost."""

    name: str
    task: str = ""
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    is_command: bool = False
    """Whether `task` is a management command, for which a task has to be named."""
    schedule: Schedule | None = None
    queue: str = ""
    enabled: bool = True
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    notes: Sequence[str] = ()
    refused: str = ""


def attempt(name: str, make: Callable[[], Found], task: str = "") -> Found:
    """What `make` gives, or the reason why it gave nothing: one bad row doesn't hide the others."""
    try:
        return make()
    except (Refused, InvalidSchedule) as error:
        return Found(name=name, task=task, refused=str(error))
    except Exception as error:  # whatever somebody wrote there
        return Found(name=name, task=task, refused=f"it can't be read: {error}")


def distinct(labels: Sequence[str], marks: Sequence[str]) -> list[str]:
    """A name for each row: its label, and from the second of a label on its mark: the same at each import."""
    seen: set[str] = set()
    names = []
    for label, mark in zip(labels, marks, strict=True):
        names.append(f"{label} {mark}" if label in seen else label)
        seen.add(label)
    return names


def is_there(using: str, table: str) -> bool:
    connection = connections[using]
    with connection.cursor() as cursor:
        return table in connection.introspection.table_names(cursor)


def rows_of(using: str, table: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a peer's table, in the order they were made. A column its version doesn't have is None."""
    connection = connections[using]
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        has = {column.name for column in connection.introspection.get_table_description(cursor, table)}
        known = [name for name in columns if name in has]
        listed = ", ".join(map(quote, known))
        cursor.execute(f"SELECT {listed} FROM {quote(table)} ORDER BY {quote('id')}")  # noqa: S608
        nothing = dict.fromkeys(columns)
        return [{**nothing, **dict(zip(known, row, strict=True))} for row in cursor.fetchall()]


def moment(using: str, value: Any) -> datetime | None:
    """A date and time as the driver gave it: text on SQLite, without a zone where the column has none."""
    if isinstance(value, str):
        value = parse_datetime(value)
    if not isinstance(value, datetime):
        return None
    if timezone.is_aware(value):
        return value
    return value.replace(tzinfo=connections[using].timezone or timezone.get_default_timezone())


def last_of(schedule: Schedule, first_after: datetime, runs: int) -> datetime:
    """The moment of the last of so many runs: a peer counts them down, our schedules end at a time."""
    if runs > MOST_RUNS:
        raise Refused(f"it runs {runs:,} more times and then ends; give it a date to end instead")
    tick: datetime | None = first_after
    for _ in range(runs):
        following = schedule.next_after(tick) if tick else None
        if following is None:
            break
        tick = following
    return tick or first_after
