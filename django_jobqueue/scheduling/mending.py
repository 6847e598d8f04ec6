"""Rows that would never run again, and should: found now and then, and planned anew.

- *The store's clock was ahead, and was put right*: what came due in between was decided on, so the next tick is as far
  away as the clock was wrong. From now on, then. A tick that has become a job meanwhile has its id and makes no second.
- *Made by hand* (a fixture, a statement, `objects.create`): nobody has worked out when it runs.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from django_jobqueue.compat import as_django_tells_it
from django_jobqueue.models import RecurringJob
from django_jobqueue.queues.recurring import schedule_table
from django_jobqueue.scheduling.edits import plan, rows_of

logger = logging.getLogger("django_jobqueue.scheduler")

AHEAD = timedelta(minutes=1)
"""A clock that is put back by less is waited for."""
_LIMIT = 1_000


def mend(database: str) -> int:
    """Plan such rows anew; how many. Raises Django's database errors."""
    table = schedule_table(database)
    pks = list(_lost(database, table.now()).values_list("pk", flat=True)[:_LIMIT])
    for pk in pks:
        with table.plain_transaction():
            now = table.now()
            for row in _lost(database, now).filter(pk=pk).select_for_update():  # it may have been seen to
                _mend(row, now)
                row.save(using=database)
    return len(pks)


def _lost(database: str, now: datetime) -> Any:
    from_the_future = Q(last_run_at__gt=as_django_tells_it(now + AHEAD))
    never_planned = Q(changed_at=None, due_at=None)
    return rows_of(database).filter(from_the_future | never_planned, enabled=True, retired_at=None)


def _mend(row: RecurringJob, now: datetime) -> None:
    row.last_run_at = None
    try:
        plan(row, now)
    except Exception as error:  # whatever is in that row: it must not keep the scheduler from the others
        row.changed_at, row.last_error = as_django_tells_it(now), f"{type(error).__name__}: {error}"
    else:
        logger.warning("Schedule %r had lost its next tick; it is %s now.", row.name, row.next_run_at)
