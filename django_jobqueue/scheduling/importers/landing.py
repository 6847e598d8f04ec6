"""What becomes of what a source has found. Only free names are written: an import never overwrites anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from difflib import get_close_matches
from enum import StrEnum
from zoneinfo import ZoneInfo

from django.db import DatabaseError, OperationalError, connections, transaction
from django.utils import timezone

from django_jobqueue.exceptions import InvalidSchedule, JobQueueError
from django_jobqueue.jobs.codec import encoded_call
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.registry import is_registered, lookup, registered_names
from django_jobqueue.jobs.schedule import Every, Schedule, schedule_of
from django_jobqueue.models import RecurringJob
from django_jobqueue.queues import get_queue
from django_jobqueue.scheduling.declared import Declared, is_storable
from django_jobqueue.scheduling.edits import plan
from django_jobqueue.scheduling.importers.found import Found, Refused

_CHUNK = 500
_SHOWN = 200
_INCORRECT_STRING = 1366
"""The code of MariaDB and MySQL."""
ANY_COMMAND = "manage.py"
"""In a mapping: every management command, which the task gets as its first argument."""


class Verdict(StrEnum):
    NEW = "new"
    SAME = "same"
    DIFFERENT = "different"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How to import. `tasks`: what a task there is called here; `paused`: nothing runs until somebody resumes it."""

    now: datetime
    backend: str = "default"
    tasks: Mapping[str, str] = field(default_factory=dict)
    paused: bool = False


@dataclass(frozen=True, kw_only=True)
class Landing:
    """One row of the answer. `words` is what it becomes, `why` why it can't, or what the row there has instead."""

    name: str
    verdict: Verdict
    words: str = ""
    next_run: datetime | None = None
    why: str = ""
    notes: Sequence[str] = ()
    row: RecurringJob | None = None


def examine(found: Iterable[Found], terms: Terms) -> list[Landing]:
    """What an import would do, one by one. Nothing is written."""
    wanted = list(found)
    using = get_queue(terms.backend).database
    same = _sameness(using)
    there = _rows_called(using, [one.name for one in wanted])
    landings: list[Landing] = []
    names: set[str] = set()
    for one in wanted:
        name = same(one.name)
        landings.append(_examine(one, terms, there.get(name), name in names))
        names.add(name)
    return landings


def write(landings: Iterable[Landing], terms: Terms) -> list[Landing]:
    """Make the schedules that are new, and say once more what became of each: what can't be written is left out.

    One that appeared meanwhile is left as it is. Raises Django's database errors when the database is out of reach.
    """
    using = get_queue(terms.backend).database
    done = list(landings)
    new = [place for place, one in enumerate(done) if one.verdict is Verdict.NEW]
    for start in range(0, len(new), _CHUNK):
        chunk = new[start : start + _CHUNK]
        for place, why in zip(chunk, _written(using, [done[place].row for place in chunk]), strict=True):
            if why:
                done[place] = replace(done[place], verdict=Verdict.REFUSED, why=why, row=None)
    return done


def _written(using: str, rows: Sequence[RecurringJob | None]) -> list[str]:
    """For each of these why it was not, empty if it was. All at once; one by one when some can't be written.

    Never `ignore_conflicts`: MariaDB and MySQL would ignore everything, and store what is left of a text.
    """
    plain = [row for row in rows if row is not None]
    try:
        with transaction.atomic(using=using):
            RecurringJob._default_manager.using(using).bulk_create(plain)
    except (DatabaseError, ValueError) as error:
        if not _is_about_a_row(error):
            raise
        return [_write_one(using, row) for row in plain]
    return [""] * len(plain)


def _write_one(using: str, row: RecurringJob) -> str:
    row.pk = None  # of the attempt before
    try:
        with transaction.atomic(using=using):
            row.save(using=using, force_insert=True)
    except (DatabaseError, ValueError) as error:
        if not _is_about_a_row(error):
            raise
        if _rows_called(using, [row.name]):
            return "a schedule of this name has appeared meanwhile"
        return f"the database does not take it: {error}"
    return ""


def _is_about_a_row(error: Exception) -> bool:
    """And not about the whole database. Some drivers call a text that its column can't hold an operational error."""
    return not isinstance(error, OperationalError) or error.args[:1] == (_INCORRECT_STRING,)


def _sameness(using: str) -> Callable[[str], str]:
    """What two names have in common that this database takes for one: MySQL and MariaDB don't look at capitals."""
    return str.casefold if connections[using].vendor == "mysql" else str


def _rows_called(using: str, names: Sequence[str]) -> dict[str, RecurringJob]:
    same = _sameness(using)
    rows = RecurringJob._default_manager.using(using)
    found: dict[str, RecurringJob] = {}
    possible = [name for name in names if is_storable(name)]  # PostgreSQL does not even look for others
    for start in range(0, len(possible), _CHUNK):
        found.update({same(row.name): row for row in rows.filter(name__in=possible[start : start + _CHUNK])})
    return found


def _examine(one: Found, terms: Terms, there: RecurringJob | None, is_again: bool) -> Landing:
    try:
        if one.refused:
            raise Refused(one.refused)
        if is_again:
            raise Refused("a row above has the same name")
        row, words = _row_of(one, terms)
    except (JobQueueError, InvalidSchedule, ValueError, TypeError, OverflowError) as error:
        return Landing(name=one.name, verdict=Verdict.REFUSED, why=str(error))
    if there is None:
        notes = [*one.notes, *(["it is paused there, and stays so"] if not one.enabled else [])]
        return Landing(name=one.name, verdict=Verdict.NEW, words=words, next_run=_next_run(row), notes=notes, row=row)
    if _is_same(there, row):
        return Landing(name=one.name, verdict=Verdict.SAME, words=words, next_run=_next_run(there))
    why = f"a schedule of this name is there, {_described(there)}: it is left as it is"
    return Landing(name=one.name, verdict=Verdict.DIFFERENT, words=words, why=why)


def _row_of(one: Found, terms: Terms) -> tuple[RecurringJob, str]:
    task, args = _task_of(one, terms.tasks)
    if one.schedule is None:
        raise Refused("it has no schedule")
    lookup(task).bind(args, one.kwargs)
    text, positional, named = encoded_call(args, one.kwargs)
    JobPayload(task=task, args=text, queue=one.queue or "default")  # refuses a queue of a name that none here can have
    declared = Declared(
        name=one.name,
        task=task,
        schedule=one.schedule,
        args=text,
        backend=terms.backend,
        queue=one.queue,
        starts_at=one.starts_at,
        ends_at=one.ends_at,
    )
    enabled = one.enabled and not terms.paused
    row = RecurringJob(**declared.fields(), enabled=enabled, source=RecurringJob.Source.ADMIN)
    plan(row, terms.now)
    if row.enabled and row.next_run_at is None and row.kind != RecurringJob.Kind.MANUAL:
        raise Refused("it would never run again: its end has passed")
    return row, f"{_call(task, positional, named)}, {one.schedule}"


def _task_of(one: Found, tasks: Mapping[str, str]) -> tuple[str, list[object]]:
    """The task here, and what it is called with. UnknownTask's words are about a worker; these about a move."""
    args = list(one.args)
    task = tasks.get(one.task, one.task)
    if one.is_command and one.task not in tasks and ANY_COMMAND in tasks:
        task, args = tasks[ANY_COMMAND], [one.task, *args]
    if is_registered(task):
        return task, args
    hint = _hint(task)
    if one.is_command:
        raise Refused(f"say which task does what `manage.py {one.task}` does: --map {one.task}=TASK{hint}")
    raise Refused(
        f"no task is called {task}: declare it with @task, or say what it is called now: --map {task}=TASK{hint}"
    )


def _hint(task: str) -> str:
    """The task here that is called most like it; what stood before the last dot may have changed."""
    by_last_word = {name.rpartition(".")[2]: name for name in registered_names()}
    close = get_close_matches(task.rpartition(".")[2], by_last_word, n=1)
    return f" (perhaps {by_last_word[close[0]]})" if close else ""


def _call(task: str, args: Sequence[object], kwargs: Mapping[str, object]) -> str:
    parts = [*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
    words = ", ".join(parts)
    return f"{task}({words if len(words) <= _SHOWN else words[:_SHOWN] + '…'})"


def _next_run(row: RecurringJob) -> datetime | None:
    """On the schedule's own clocks, as the one who wrote it thinks of it."""
    moment = row.next_run_at
    if moment is not None and timezone.is_naive(moment):  # USE_TZ is off
        moment = timezone.make_aware(moment, timezone.get_default_timezone())
    return moment and moment.astimezone(ZoneInfo(row.timezone))


def _is_same(there: RecurringJob, row: RecurringJob) -> bool:
    """Whether the import would make what is there. What operators may turn (a pause, a queue) is theirs."""
    same = (there.task, there.args, there.timezone) == (row.task, row.args, row.timezone)
    return same and _rhythm(there) == _rhythm(row)


def _rhythm(row: RecurringJob) -> object:
    """A schedule without its phase: the source's moves on with each run there."""
    schedule = _schedule_of(row)
    if isinstance(schedule, Every):
        return schedule.interval
    return schedule or (row.kind, row.expression)


def _schedule_of(row: RecurringJob) -> Schedule | None:
    try:
        return schedule_of(row.kind, row.expression, row.timezone)
    except InvalidSchedule:
        return None


def _described(row: RecurringJob) -> str:
    return f"{row.task}, {_schedule_of(row) or row.expression}"
