"""django-q2: the table of its schedules.

Layout as of django-q2 1.11. Its days, weeks and months keep the local time, so they become cron; its minutes and hours
count from their next run.
"""

from __future__ import annotations

import ast
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings

from django_jobqueue.jobs.schedule import Schedule, at, cron, every
from django_jobqueue.scheduling.importers.found import (
    Found,
    NoSource,
    Origin,
    Refused,
    attempt,
    distinct,
    is_there,
    last_of,
    moment,
    rows_of,
)

_TABLE = "django_q_schedule"
_COLUMNS = (
    *("id", "name", "func", "hook", "args", "kwargs", "schedule_type", "minutes", "repeats", "next_run", "cron"),
    *("cluster", "intended_date_kwarg"),
)
_MONTHS_BETWEEN = {"M": 1, "BM": 2, "Q": 3, "Y": 12}
_LAST_SURE_DAY = 28
_TINY = timedelta(microseconds=1)
_UNREADABLE = (SyntaxError, ValueError, TypeError, MemoryError, RecursionError)


def read(origin: Origin) -> list[Found]:
    if not is_there(origin.database, _TABLE):
        raise NoSource(f"There is no table {_TABLE} in the database {origin.database!r}.")
    rows = rows_of(origin.database, _TABLE, _COLUMNS)
    ids = [f"#{row['id']}" for row in rows]
    names = distinct([row["name"] or f"{row['func']} #{row['id']}" for row in rows], ids)
    zone = str((getattr(settings, "Q_CLUSTER", None) or {}).get("time_zone") or origin.timezone)
    return [
        attempt(name, partial(_found, origin, zone, name, row), row["func"])
        for name, row in zip(names, rows, strict=True)
    ]


def _found(origin: Origin, zone: str, name: str, row: dict[str, Any]) -> Found:
    if row["repeats"] == 0:
        raise Refused("it has run as often as it should")
    if row["intended_date_kwarg"]:
        raise Refused(f"it passes the moment it was due as {row['intended_date_kwarg']!r}, which no schedule here does")
    following = moment(origin.database, row["next_run"])
    if following is None:
        raise Refused("it has no next run")
    schedule = _schedule(row, following, zone, origin.now)
    repeats = row["repeats"] if schedule.kind != "once" else -1
    minute = following.replace(second=0, microsecond=0)
    is_later = schedule.kind == "cron" and minute > (schedule.next_after(origin.now) or minute)
    kwargs = dict(_kwargs(row["kwargs"]))
    options = kwargs.pop("q_options", None)
    return Found(
        name=name,
        task=row["func"],
        args=_args(row["args"]),
        kwargs=kwargs,
        schedule=schedule,
        starts_at=minute if is_later else None,
        ends_at=last_of(schedule, max(origin.now, minute - _TINY), repeats) if repeats > 0 else None,
        notes=_notes(row, options, following, schedule),
    )


def _schedule(row: dict[str, Any], following: datetime, zone: str, now: datetime) -> Schedule:
    kind = row["schedule_type"]
    if kind == "C":
        fields = str(row["cron"] or "").split()
        if len(fields) == 6:  # theirs has the seconds last, ours first
            fields.insert(0, fields.pop())
        return cron(" ".join(fields), zone, seconds=len(fields) == 6)
    if kind == "O":
        if following <= now:
            raise Refused("its moment has passed")
        return at(following)
    if kind in ("I", "H"):
        minutes = (row["minutes"] or 1) if kind == "I" else 60
        return every(minutes=minutes, start=following)
    if kind == "BW":
        return every(weeks=2, start=following)
    return cron(_calendar(kind, following.astimezone(ZoneInfo(zone))), zone)


def _calendar(kind: str, local: datetime) -> str:
    clock = f"{local.minute} {local.hour}"
    if kind == "D":
        return f"{clock} * * *"
    if kind == "W":
        return f"{clock} * * {local.isoweekday() % 7}"
    if kind not in _MONTHS_BETWEEN:
        raise Refused(f"its type {kind!r} is not known")
    if local.day > _LAST_SURE_DAY:
        raise Refused(
            f"it runs on day {local.day}, which some months don't have: django-q2 moves it to the 28th for ever after "
            f"February. Schedule a day up to the 28th, or L for the last day of the month"
        )
    return f"{clock} {local.day} {_months(_MONTHS_BETWEEN[kind], local.month)} *"


def _months(between: int, month: int) -> str:
    if between == 1:
        return "*"
    return ",".join(str(one) for one in range(1, 13) if (one - month) % between == 0)


def _args(text: str | None) -> tuple[Any, ...]:
    if not text:
        return ()
    value = _literal(text)
    return value if isinstance(value, tuple) else (value,)


def _kwargs(text: str | None) -> dict[str, Any]:
    """`{"x": 1}` or `x=1, y=2`: Python literals, read as data and never run."""
    if not text:
        return {}
    try:
        value = ast.literal_eval(text)
    except _UNREADABLE:
        value = _keywords(text)
    if not isinstance(value, dict):
        raise Refused(f"its keyword arguments can't be read: {text!r:.80}")
    return value


def _keywords(text: str) -> dict[str, Any]:
    try:
        call = ast.parse(f"f({text})", mode="eval").body
    except _UNREADABLE:
        raise Refused(f"its keyword arguments can't be read: {text!r:.80}") from None
    if not isinstance(call, ast.Call) or call.args or any(one.arg is None for one in call.keywords):
        raise Refused(f"its keyword arguments can't be read: {text!r:.80}")
    return {str(one.arg): _literal_node(one.value, text) for one in call.keywords}


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except _UNREADABLE:
        raise Refused(f"its arguments are no plain values: {text!r:.80}") from None


def _literal_node(node: ast.expr, text: str) -> Any:
    try:
        return ast.literal_eval(node)
    except _UNREADABLE:
        raise Refused(f"its keyword arguments are no plain values: {text!r:.80}") from None


def _notes(row: dict[str, Any], options: Any, following: datetime, schedule: Schedule) -> list[str]:
    notes = []
    if row["hook"]:
        notes.append(f"its hook {row['hook']} is not called any more")
    if row["cluster"]:
        notes.append(f"its cluster {row['cluster']} is not taken over: jobs go to the task's own queue")
    if options:
        notes.append(f"its q_options {', '.join(sorted(map(str, options)))} are not taken over")
    if row["schedule_type"] == "BW":
        notes.append("it is two weeks of real time now: it moves by an hour on the clock when clocks change")
    if schedule.kind == "cron" and row["schedule_type"] != "C" and following.second:
        notes.append("it runs at the full minute")
    return notes
