"""Which schedules' last jobs are dead letters, with plans that don't depend on what a database knows of its tables.

Of tables that were never analysed PostgreSQL believes that they have a few rows each. A join of the two compares every
schedule with every letter then.
"""

from __future__ import annotations

from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery

FEW = 1_000
"""So many letters are given as a list, with which the schedules are read through once."""


def with_dead_job(schedules: QuerySet[Any], letters: QuerySet[Any], limit: int) -> list[int]:
    """The keys of up to `limit` schedules."""
    ids = letters.order_by().values_list("pk", flat=True)
    few = list(ids[: FEW + 1])
    if len(few) > FEW:
        # A value, not EXISTS: only that is never turned into a join, and is one look by primary key for each schedule.
        letter = Subquery(ids.filter(pk=OuterRef("last_job_id")))
        dead = schedules.annotate(letter=letter).filter(letter__isnull=False)
    else:
        dead = schedules.filter(last_job_id__in=few)
    return list(dead.values_list("pk", flat=True)[:limit])
