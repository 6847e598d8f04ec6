"""Rows that would never run again, and should: found now and then, and planned anew.

- *The store's clock was ahead, and was put right*: what came due in between was decided on, so the next tick is as far
  away as the clock was wrong. From now on, then. A tick that has become a job meanwhile has its id and makes no second.
- *Made by hand* (a fixture, a statement, `objects.create`): nobody has worked out when it runs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from django_jobqueue.compat import as_django_tells_it
from django_jobqueue.jobs.words import some_of
from django_jobqueue.lifecycle.errors import clean
from django_jobqueue.models import RecurringJob
from django_jobqueue.queues.recurring import ScheduleTable, Written, schedule_table
from django_jobqueue.scheduling.edits import aware, plan, rows_of

logger = logging.getLogger("django_jobqueue.scheduler")

AHEAD = timedelta(minutes=1)
"""A clock that is put back by less is waited for."""
LIMIT = 1_000
"""Rows of one call; ticks come in between."""
_AT_ONCE = 200
"""Rows of one transaction: a few statements, and their locks are held for some hundredths of a second."""
_MAX_ERROR = 2_000


def mend(database: str) -> int:
    """Plan up to `LIMIT` such rows anew; how many. Raises Django's database errors.

    Finding none, as nearly always, is one statement and no transaction: on SQLite that would keep writers waiting.
    """
    table = schedule_table(database)
    pks = sorted(_lost(database, table.now()).values_list("pk", flat=True)[:LIMIT])
    return sum(_mend(database, table, pks[start : start + _AT_ONCE]) for start in range(0, len(pks), _AT_ONCE))


def _lost(database: str, now: datetime) -> Any:
    from_the_future = Q(last_run_at__gt=as_django_tells_it(now + AHEAD))
    never_planned = Q(changed_at=None, due_at=None)
    return rows_of(database).filter(from_the_future | never_planned, enabled=True, retired_at=None)


def _mend(database: str, table: ScheduleTable, pks: Sequence[Any]) -> int:
    """One that somebody else has locked is being seen to."""
    with table.plain_transaction():
        now = table.now()
        rows = list(_lost(database, now).filter(pk__in=pks).select_for_update(skip_locked=True))
        planned = [row.name for row in rows if _is_planned(row, now)]
        table.write([_written(row) for row in rows])
        rows_of(database).filter(pk__in=[row.pk for row in rows]).update(changed_at=as_django_tells_it(now))
    if planned:
        logger.warning(
            "%d schedules had lost their next tick, and were planned anew: %s", len(planned), some_of(planned)
        )
    return len(rows)


def _is_planned(row: RecurringJob, now: datetime) -> bool:
    row.last_run_at = None
    try:
        plan(row, now)
    except Exception as error:  # whatever is in that row: it must not keep the scheduler from the others
        row.last_error = clean(f"{type(error).__name__}: {error}", _MAX_ERROR)
        return False
    return True


def _written(row: RecurringJob) -> Written:
    """Anew from the next tick on; what could not be planned keeps what it had."""
    next_run_at, due_at = aware(row.next_run_at), aware(row.due_at)
    return Written(None, next_run_at, due_at, row.last_job_id, row.failures, row.last_error, row.pk)
