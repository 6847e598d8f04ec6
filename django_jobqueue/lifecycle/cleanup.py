"""What is thrown away, when somebody asks for it: old history, old dead letters, workers that are gone.

Rows go in batches, each its own transaction: a cleanup that is stopped half way has done half of the work, and never
holds up a worker for longer than one batch. `store` narrows to one store of those that share the database `using`: a
queue's `store`, empty for the jobs of the database itself.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import count
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from django_jobqueue.models import DeadLetterJob, JobHistory, JobLock, WorkerProcess

BATCH = 5_000
WORKERS_KEPT = timedelta(days=1)
_FOR_EVER = timedelta(days=36_525)
"""Further back than any row, and not yet where dates end."""


def prune_history(
    using: str, older_than: timedelta, batch: int = BATCH, store: str | None = None, batches: int | None = None
) -> int:
    """Delete what finished longer ago than that; how many rows. An id that is forgotten could be pushed again.

    With `batches` it ends after so many, whatever is left.
    """
    return _prune(_rows(JobHistory, using, store), "finished_at", _cutoff(older_than), batch, batches)


def prune_dead_letters(
    using: str, older_than: timedelta, batch: int = BATCH, store: str | None = None, batches: int | None = None
) -> int:
    """Delete dead letters that died longer ago than that, without a trace. Only when `KEEP_DEAD_LETTERS` says so does
    anything do this by itself. `batches` as for `prune_history`.
    """
    return _prune(_rows(DeadLetterJob, using, store), "failed_at", _cutoff(older_than), batch, batches)


def prune_workers(
    using: str, older_than: timedelta = WORKERS_KEPT, batch: int = BATCH, store: str | None = None
) -> int:
    """Delete workers that stopped or died longer ago than that and hold no lease; how many."""
    gone = _rows(WorkerProcess, using, store).filter(
        ~Exists(JobLock._default_manager.using(using).filter(worker_id=OuterRef("pk"))),
        state__in=[WorkerProcess.State.STOPPED, WorkerProcess.State.DEAD],
    )
    return _prune(gone, "heartbeat_at", _cutoff(older_than), batch)


def _rows(model: Any, using: str, store: str | None) -> QuerySet[Any]:
    rows: QuerySet[Any] = model._default_manager.using(using)
    return rows if store is None else rows.filter(store=store)


def _cutoff(older_than: timedelta) -> datetime:
    if older_than < timedelta(0):
        raise ValueError(f"older_than must not be negative, it is {older_than}")
    return timezone.now() - min(older_than, _FOR_EVER)


def _prune(rows: QuerySet[Any], column: str, cutoff: datetime, batch: int, batches: int | None = None) -> int:
    """Delete in batches by primary key, oldest first. Each batch asks again, so what came back to life stays."""
    old = rows.filter(**{f"{column}__lt": cutoff})
    removed = 0
    for _ in count() if batches is None else range(batches):
        ids = list(old.order_by(column).values_list("pk", flat=True)[:batch])
        if not ids:
            break
        deleted, _ = old.filter(pk__in=ids).delete()
        removed += deleted
    return removed
