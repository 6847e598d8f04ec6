"""The commonest move in few values: jobs that completed, recorded from what the claim told their worker.

That is what stands in the lease, so the lease is only taken out, by id and number, and not read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from django_jobqueue import failpoints
from django_jobqueue.models import JobHistory
from django_jobqueue.queues.base import Move, Settlement
from django_jobqueue.queues.orm.dialect import CHUNK, Dialect
from django_jobqueue.queues.orm.rows import JOBS

_COMPLETED = str(JobHistory.Outcome.COMPLETED)


Key = tuple[Any, int]
"""A lease: its job, in the database's own value, and its number. UUIDs are hashed and compared in Python."""


class Completions(Dialect):
    """For databases whose DELETE tells what it has deleted, or where a look before it is cheap."""

    ids_at_once = CHUNK

    def end_leases(self, lease_no: int, ids: Sequence[Any]) -> Sequence[tuple[Any, Any]]:
        """Take the leases out that are held with this number: their ids and workers."""
        raise NotImplementedError

    def settle_completed(self, settlements: Sequence[Settlement]) -> Collection[tuple[UUID, int]] | None:
        done = [one for one in settlements if one.move is Move.COMPLETED]
        if not done:
            return []
        to_id = self.to_id
        keys = [(to_id(one.reservation.job_id), one.reservation.lease_no) for one in done]
        workers = self._end_all(keys)
        held = [(key, one) for key, one in zip(keys, done, strict=True) if key in workers]
        self.write_history(self._completions(held, workers))
        failpoints.hit("settle.half_written")
        over = sorted(db_id for db_id, _ in workers)
        for start in range(0, len(over), self.ids_at_once):
            self._delete_rows(JOBS, "id", over[start : start + self.ids_at_once])
        return [(one.reservation.job_id, one.reservation.lease_no) for _, one in held]

    def _end_all(self, keys: Sequence[Key]) -> dict[Key, Any]:
        """Take out the leases of these that are held: who held them."""
        numbered: dict[int, list[Any]] = {}
        for db_id, lease_no in keys:
            numbered.setdefault(lease_no, []).append(db_id)
        workers: dict[Key, Any] = {}
        for lease_no, ids in numbered.items():
            ids.sort()
            for start in range(0, len(ids), self.ids_at_once):
                for db_id, worker in self.end_leases(lease_no, ids[start : start + self.ids_at_once]):
                    workers[db_id, lease_no] = worker
        return workers

    def _completions(self, held: Sequence[tuple[Key, Settlement]], workers: dict[Key, Any]) -> list[tuple[Any, ...]]:
        """As `Moves` writes them."""
        rows: list[tuple[Any, ...]] = []
        after, to_time = _Moments(self).after, cache(self.to_time)  # many were enqueued at once
        for key, one in held:
            job, start_ms, run_ms = one.reservation, one.start_ms, one.run_ms
            rows.append(
                (
                    *(*key, job.attempt, job.queue, job.task, job.args, job.priority),
                    *(_COMPLETED, one.result, "", "", "", job.wait_ms + start_ms, run_ms, one.memory_kb),
                    *(workers[key], to_time(job.created_at)),
                    *(after(job.claimed_at, start_ms), after(job.claimed_at, start_ms + run_ms)),
                )
            )
        return rows


class _Moments:
    """Moments as text. Those of a batch are few: so many milliseconds after the claim of all of them."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._start: datetime | None = None
        self._texts: dict[int, str] = {}

    def after(self, start: datetime, ms: int) -> str:
        if start is not self._start:
            self._start, self._texts = start, {}
        text = self._texts.get(ms)
        if text is None:
            text = self._texts[ms] = self._dialect.to_time(start + timedelta(milliseconds=ms))
        return text
