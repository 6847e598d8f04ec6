"""django-celery-beat: its tables, and entries of `CELERY_BEAT_SCHEDULE` that are not among them.

Layout as of django-celery-beat 2.9. Its cron differs from cron in one thing: a day has to match both the day of the
month and the day of the week, where cron takes either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings

from django_jobqueue.jobs.schedule import Schedule, at, cron, every
from django_jobqueue.scheduling.importers.found import (
    Found,
    NoSource,
    Origin,
    Refused,
    attempt,
    is_there,
    moment,
    rows_of,
)

_TASKS = "django_celery_beat_periodictask"
_COLUMNS = (
    *("id", "name", "task", "args", "kwargs", "queue", "exchange", "routing_key", "headers", "priority", "expires"),
    *("expire_seconds", "one_off", "start_time", "enabled", "last_run_at", "total_run_count"),
    *("crontab_id", "interval_id", "clocked_id", "solar_id"),
)
_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
_SCHEDULES = {
    "crontab": ("id", *_FIELDS, "timezone"),
    "interval": ("id", "every", "period"),
    "clocked": ("id", "clocked_time"),
}
_OWN_CHORES = {"celery.backend_cleanup": "not needed: the scheduler's own chore prunes the history"}


def read(origin: Origin) -> list[Found]:
    has_table = is_there(origin.database, _TASKS)
    entries: Mapping[str, Any] = getattr(settings, "CELERY_BEAT_SCHEDULE", None) or {}
    if not has_table and not entries:
        raise NoSource(
            f"There is no table {_TASKS} in the database {origin.database!r}, "
            f"and no CELERY_BEAT_SCHEDULE in the settings."
        )
    found = _rows(origin) if has_table else []
    names = {one.name for one in found}  # its scheduler copies the setting to the table: what is there is newer
    for name, entry in entries.items():
        if name not in names:
            found.append(attempt(str(name), partial(_of_setting, str(name), entry)))
    return found


# -- the tables --------------------------------------------------------------------------------------------------------


def _rows(origin: Origin) -> list[Found]:
    using = origin.database
    schedules = {
        kind: {row["id"]: row for row in rows_of(using, f"django_celery_beat_{kind}schedule", columns)}
        for kind, columns in _SCHEDULES.items()
    }
    return [
        attempt(row["name"], partial(_of_row, origin, row, schedules), row["task"])
        for row in rows_of(using, _TASKS, _COLUMNS)
    ]


def _of_row(origin: Origin, row: dict[str, Any], schedules: dict[str, dict[Any, dict[str, Any]]]) -> Found:
    if row["task"] in _OWN_CHORES:
        raise Refused(_OWN_CHORES[row["task"]])
    if row["one_off"] and row["total_run_count"] and not row["enabled"]:
        raise Refused("it was to run once, and did")
    starts_at = moment(origin.database, row["start_time"])
    schedule = _schedule_of_row(origin, row, schedules)
    if row["one_off"] and schedule.kind != "once":
        schedule = at(_first(schedule, max(filter(None, (origin.now, starts_at)))))
    return Found(
        name=row["name"],
        task=row["task"],
        args=_json(row["args"], list),
        kwargs=_json(row["kwargs"], dict),
        schedule=schedule,
        queue=row["queue"] or "",
        enabled=bool(row["enabled"]),
        starts_at=starts_at,
        ends_at=moment(origin.database, row["expires"]),
        notes=_notes(row),
    )


def _schedule_of_row(origin: Origin, row: dict[str, Any], schedules: dict[str, dict[Any, dict[str, Any]]]) -> Schedule:
    if row["solar_id"] is not None:
        raise Refused(_SOLAR)
    kind = next((kind for kind in _SCHEDULES if row[f"{kind}_id"] is not None), "")
    parts = schedules.get(kind, {}).get(row[f"{kind}_id"]) if kind else None
    if parts is None:
        raise Refused("it has no schedule")
    if kind == "crontab":
        return _cron([parts[name] for name in _FIELDS], parts["timezone"] or "UTC")
    if kind == "clocked":
        moment_once = moment(origin.database, parts["clocked_time"])
        if moment_once is None:
            raise Refused("its moment can't be read")
        return _once(moment_once, origin.now)
    start = moment(origin.database, row["last_run_at"] or row["start_time"])
    return _interval(timedelta(**{str(parts["period"]): parts["every"]}), start)


def _notes(row: dict[str, Any]) -> list[str]:
    lost = {
        "exchange": "its exchange",
        "routing_key": "its routing key",
        "priority": "its priority (what a number means depends on the broker)",
        "expire_seconds": "that an unstarted job expires after a while",
    }
    notes = [f"{words} is not taken over" for name, words in lost.items() if row[name] not in (None, "")]
    if _json(row["headers"], dict):
        notes.append("its headers are not taken over")
    return notes


def _json(text: Any, shape: type) -> Any:
    value = json.loads(text or ("[]" if shape is list else "{}"))
    if not isinstance(value, shape):
        raise Refused(f"its arguments are no JSON {'list' if shape is list else 'object'}: {text!r:.80}")
    return value


# -- the setting -------------------------------------------------------------------------------------------------------


def _of_setting(name: str, entry: Mapping[str, Any]) -> Found:
    options = entry.get("options") or {}
    lost = sorted(set(options) - {"queue"})
    return Found(
        name=name,
        task=str(entry.get("task", "")),
        args=tuple(entry.get("args") or ()),
        kwargs=dict(entry.get("kwargs") or {}),
        schedule=_schedule_of_object(entry.get("schedule")),
        queue=str(options.get("queue") or ""),
        notes=[f"its options {', '.join(lost)} are not taken over"] if lost else [],
    )


def _schedule_of_object(value: Any) -> Schedule:
    """A number of seconds, a timedelta, or a Celery object, known by what it has: Celery may be gone already."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _interval(timedelta(seconds=value), None)
    if isinstance(value, timedelta):
        return _interval(value, None)
    if hasattr(value, "_orig_minute"):
        zone = getattr(settings, "CELERY_TIMEZONE", None) or "UTC"
        return _cron([getattr(value, f"_orig_{name}") for name in _FIELDS], str(zone))
    if isinstance(span := getattr(value, "run_every", None), timedelta):
        return _interval(span, None)
    raise Refused(_SOLAR if hasattr(value, "lat") else f"its schedule is not known: {value!r:.80}")


# -- values ------------------------------------------------------------------------------------------------------------

_SOLAR = (
    "it follows the sun, which no schedule here does: let a task run daily before the event, "
    "compute the moment and enqueue the work with run_after"
)
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_RANGE = re.compile(r"(\d+)-(\d+)(?:/(\d+))?")


def _cron(fields: Sequence[Any], timezone: str) -> Schedule:
    minute, hour, day, month, weekday = fields
    day, weekday = _field(day, 1, 31), _field(weekday, 0, 6, _DAYS)
    if day != "*" and weekday != "*":
        raise Refused(
            f"it runs on days that are both {day!r} of the month and {weekday!r} of the week; cron takes days that are "
            f"either. Schedule one of the two and let the task look at the other"
        )
    minute, hour, month = _field(minute, 0, 59), _field(hour, 0, 23), _field(month, 1, 12, _MONTHS)
    return cron(f"{minute} {hour} {day} {month} {weekday}", timezone)


def _field(value: Any, least: int, most: int, names: Mapping[str, int] | None = None) -> str:
    """A field in cron's words: names as numbers, ranges that go round (22-4) as what they hold."""
    if isinstance(value, Iterable) and not isinstance(value, str):
        value = ",".join(str(one) for one in sorted(value))
    text = re.sub(r"\s", "", str(value)).lower()
    for name, number in (names or {}).items():
        text = re.sub(rf"\b{name}[a-z]*", str(number), text)
    return _RANGE.sub(lambda match: _straight(match, least, most), text)


def _straight(match: re.Match[str], least: int, most: int) -> str:
    first, last = int(match[1]), int(match[2])
    if first <= last:
        return match[0]
    values = [*range(first, most + 1), *range(least, last + 1)][:: int(match[3] or 1)]
    return ",".join(map(str, sorted(values)))


def _interval(span: timedelta, start: datetime | None) -> Schedule:
    return every(seconds=span.total_seconds(), start=start)


def _once(moment_once: datetime, now: datetime) -> Schedule:
    if moment_once <= now:
        raise Refused("its moment has passed")
    return at(moment_once)


def _first(schedule: Schedule, after: datetime) -> datetime:
    tick = schedule.next_after(after)
    if tick is None:
        raise Refused("it would never run")
    return tick
