"""What people do to a schedule: make, change, pause, resume. Each is one transaction that may race with a tick.

A tick holds the lock of a row from the moment it is found due until its job is stored and the next tick is written. So
an edit comes before a tick or after it, never in between: nothing of a schedule is pushed after the commit of its
pause, and no edit brings a tick back that a scheduler has decided on.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from django_jobqueue.compat import as_django_tells_it
from django_jobqueue.exceptions import InvalidSchedule
from django_jobqueue.jobs.schedule import At, Manual, Schedule, schedule_of
from django_jobqueue.models import RecurringJob
from django_jobqueue.queues.recurring import schedule_table
from django_jobqueue.scheduling.ticks import next_tick

WHEN = ("kind", "expression", "timezone", "starts_at", "ends_at", "enabled", "retired_at")
"""What has changed when a row has to be planned anew; with another argument or queue its next tick stays."""
_PLANNED = ("next_run_at", "due_at", "changed_at", "failures", "last_error")


def store_now(database: str) -> datetime:
    """The clock by which the schedules in `database` run, in UTC."""
    return schedule_table(database).now()


def schedule_in(row: RecurringJob) -> Schedule:
    """When a row runs, as a value. Raises `InvalidSchedule`."""
    return schedule_of(row.kind, row.expression, row.timezone)


def plan(row: RecurringJob, now: datetime) -> None:
    """Work out when a row that was made or changed runs next, from `now` on; nothing is saved.

    Strictly after the last tick that was decided on, whatever the clock says. Raises `InvalidSchedule`.
    """
    after = max(moment for moment in (now, aware(row.last_run_at)) if moment is not None)
    starts_at, schedule = aware(row.starts_at), schedule_in(row)
    if starts_at is not None:
        after = max(after, starts_at - datetime.resolution)
    runs = row.enabled and row.retired_at is None
    tick = next_tick(schedule, after, aware(row.ends_at)) if runs else None
    row.next_run_at = as_django_tells_it(tick)
    _as_planned(row, now)


def check_it_comes(
    schedule: Schedule, now: datetime, starts_at: datetime | None = None, ends_at: datetime | None = None
) -> None:
    """Raise `InvalidSchedule` for what somebody asks for and would never get: its only moment, or its end, is past.

    Not asked of what is declared in code: there a moment that has been is one that has been served.
    """
    after = now if starts_at is None else max(now, starts_at - datetime.resolution)
    if isinstance(schedule, Manual) or next_tick(schedule, after, ends_at) is not None:
        return
    if isinstance(schedule, At) and schedule.moment <= now:
        raise InvalidSchedule(
            f"{schedule.moment:%Y-%m-%d %H:%M:%S} UTC is past (it is {now:%Y-%m-%d %H:%M:%S} UTC by the clock of the "
            f"store), it would never run: give a moment to come, or enqueue the task to run it now"
        )
    begin, end = (f"{one.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if one else "" for one in (starts_at, ends_at))
    until = f" and {end}" if end else " and the end of the calendar"
    raise InvalidSchedule(f"it would never run: {schedule} has no tick between {begin or 'now'}{until}")


def _as_planned(row: RecurringJob, now: datetime) -> None:
    row.due_at = row.next_run_at
    row.changed_at = as_django_tells_it(now)
    row.failures, row.last_error = 0, ""


def changed(database: str, pk: Any, **fields: Any) -> RecurringJob:
    """Change a row, and give it back as it is now. What is not among `fields` stays as it is in the database.

    When that changes when it runs, this counts from now on. Otherwise its next tick stays, also one that is due, or
    that could not be dispatched: it is tried at once. What changes nothing writes nothing.

    Raises `InvalidSchedule`, and `RecurringJob.DoesNotExist` for a row that is gone.
    """
    table = schedule_table(database)
    with table.plain_transaction():
        row = rows_of(database).select_for_update().get(pk=pk)
        differing = {name for name, value in fields.items() if getattr(row, name) != value}
        if not differing:
            return row
        for name in differing:
            setattr(row, name, fields[name])
        if differing.intersection(WHEN):
            plan(row, table.now())
        else:
            _as_planned(row, table.now())
        row.save(using=database, update_fields=[*differing, *_PLANNED])
    return row


def pause(database: str, *pks: Any) -> int:
    """From the commit on, nothing of these is pushed by a tick. Gives how many were not paused yet."""
    table = schedule_table(database)
    with table.plain_transaction():
        found = rows_of(database).filter(pk__in=pks, enabled=True)
        return found.update(enabled=False, due_at=None, next_run_at=None, changed_at=as_django_tells_it(table.now()))


def resume(database: str, *pks: Any) -> int:
    """Let them go on, from now: ticks of the time they were paused are not missed ones. Gives how many were paused.

    Raises `InvalidSchedule` for a row that can't be read; none of them is resumed then.
    """
    with schedule_table(database).plain_transaction():
        paused = list(rows_of(database).filter(pk__in=pks, enabled=False).order_by("pk").values_list("pk", flat=True))
        for pk in paused:
            with suppress(RecurringJob.DoesNotExist):  # removed meanwhile
                changed(database, pk, enabled=True)
    return len(paused)


def rows_of(database: str) -> QuerySet[RecurringJob]:
    return RecurringJob._default_manager.using(database)


def aware(moment: datetime | None) -> datetime | None:
    """With USE_TZ off, Django's times are local ones without a zone."""
    if moment is None or settings.USE_TZ or timezone.is_aware(moment):
        return moment
    return timezone.make_aware(moment, timezone.get_default_timezone())
