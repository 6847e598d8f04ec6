"""The rows of the chores: there when the code has the chore, retired when it has it no more. A pause stays."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

from django.db import IntegrityError, transaction

from django_jobqueue.compat import as_django_tells_it
from django_jobqueue.models import RecurringJob
from django_jobqueue.queues.recurring import schedule_table
from django_jobqueue.scheduling.chores import Chore
from django_jobqueue.scheduling.edits import plan, rows_of

logger = logging.getLogger("django_jobqueue.scheduler")
_CHORE = RecurringJob.Source.CHORE


def sync_chores(database: str, chores: Iterable[Chore]) -> None:
    """Make the rows in `database` say what there is to do. Raises Django's database errors.

    Any number of schedulers may do so at once.
    """
    wanted = {one.row_name: one for one in chores}
    table = schedule_table(database)
    with table.plain_transaction():
        now = table.now()
        rows = {row.name: row for row in rows_of(database).filter(source=_CHORE).select_for_update()}
        for name, one in wanted.items():
            if name not in rows:
                _add(database, one, now)
            else:
                _change(database, rows[name], one, now)
        gone = [row.pk for name, row in rows.items() if name not in wanted and row.retired_at is None]
        over = {"retired_at": as_django_tells_it(now), "changed_at": as_django_tells_it(now)}
        rows_of(database).filter(pk__in=gone).update(**over, next_run_at=None, due_at=None)


def _add(database: str, one: Chore, now: datetime) -> None:
    row = RecurringJob(name=one.row_name, task=one.name, backend="", source=_CHORE, **_when(one))
    plan(row, now)
    try:
        with transaction.atomic(using=database):
            row.save(using=database, force_insert=True)
    except IntegrityError:  # somebody else is at it, or has a schedule of that name
        if not rows_of(database).filter(name=row.name, source=_CHORE).exists():
            logger.error("The chore %s is left out: there is a schedule called %r.", one.name, row.name)


def _change(database: str, row: RecurringJob, one: Chore, now: datetime) -> None:
    values = {**_when(one), "retired_at": None}
    if all(getattr(row, key) == value for key, value in values.items()):
        return
    for key, value in values.items():
        setattr(row, key, value)
    plan(row, now)
    row.save(using=database)


def _when(one: Chore) -> dict[str, str]:
    return {"kind": one.schedule.kind, "expression": one.schedule.expression, "timezone": one.schedule.timezone}
