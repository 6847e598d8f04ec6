"""The rows of the chores: there when the code has the chore, retired when it has it no more. A pause stays."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from django.db import IntegrityError, transaction

from django_jobqueue.compat import as_django_tells_it
from django_jobqueue.models import RecurringJob
from django_jobqueue.queues.recurring import schedule_table
from django_jobqueue.scheduling.chores import Chore
from django_jobqueue.scheduling.edits import plan, rows_of

logger = logging.getLogger("django_jobqueue.scheduler")
_CHORE = RecurringJob.Source.CHORE


class _ToDo(NamedTuple):
    """The keys of rows to retire are in `gone`."""

    missing: list[Chore]
    changed: list[tuple[RecurringJob, Chore]]
    gone: list[int]


def sync_chores(database: str, chores: Iterable[Chore]) -> None:
    """Make the rows in `database` say what there is to do. Raises Django's database errors.

    Any number of schedulers may do so at once. Where nothing is to do nothing is locked: SQLite has one lock for all.
    """
    wanted = {one.row_name: one for one in chores}
    rows = rows_of(database).filter(source=_CHORE)
    if not any(_to_do(rows, wanted)):
        return
    table = schedule_table(database)
    with table.plain_transaction():
        now = table.now()
        missing, changed, gone = _to_do(rows.select_for_update(), wanted)
        for one in missing:
            _add(database, one, now)
        for row, one in changed:
            _change(database, row, one, now)
        over = {"retired_at": as_django_tells_it(now), "changed_at": as_django_tells_it(now)}
        rows.filter(pk__in=gone).update(**over, next_run_at=None, due_at=None)


def _to_do(rows: Iterable[RecurringJob], wanted: Mapping[str, Chore]) -> _ToDo:
    known = {row.name: row for row in rows}
    return _ToDo(
        missing=[one for name, one in wanted.items() if name not in known],
        changed=[(row, wanted[name]) for name, row in known.items() if name in wanted and _differs(row, wanted[name])],
        gone=[row.pk for name, row in known.items() if name not in wanted and row.retired_at is None],
    )


def _add(database: str, one: Chore, now: datetime) -> None:
    row = RecurringJob(name=one.row_name, task=one.name, backend="", source=_CHORE, **_when(one))
    plan(row, now)
    try:
        with transaction.atomic(using=database):
            row.save(using=database, force_insert=True)
    except IntegrityError:  # somebody else is at it, or has a schedule of that name
        if not rows_of(database).filter(name=row.name, source=_CHORE).exists():
            logger.error("The chore %s is left out: there is a schedule called %r.", one.name, row.name)


def _differs(row: RecurringJob, one: Chore) -> bool:
    return any(getattr(row, key) != value for key, value in {**_when(one), "retired_at": None}.items())


def _change(database: str, row: RecurringJob, one: Chore, now: datetime) -> None:
    for key, value in {**_when(one), "retired_at": None}.items():
        setattr(row, key, value)
    plan(row, now)
    row.save(using=database)


def _when(one: Chore) -> dict[str, str]:
    return {"kind": one.schedule.kind, "expression": one.schedule.expression, "timezone": one.schedule.timezone}
