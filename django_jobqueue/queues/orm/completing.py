"""The commonest move in few values: jobs that completed, recorded from what the claim told their worker.

That is what stands in the lease, so the lease is only taken out, by id and number, and not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django_jobqueue import failpoints
from django_jobqueue.models import JobHistory
from django_jobqueue.queues.base import Move, Settlement
from django_jobqueue.queues.orm.dialect import CHUNK, Dialect
from django_jobqueue.queues.orm.rows import JOBS

_COMPLETED = str(JobHistory.Outcome.COMPLETED)


class Ended(NamedTuple):
    """A lease that was held, in the database's own values."""

    job_id: Any
    worker_id: Any


class Completions(Dialect):
    """For databases whose DELETE tells what it has deleted, or where a look before it is cheap."""

    ids_at_once = CHUNK

    def end_leases(self, lease_no: int, ids: Sequence[Any]) -> Sequence[tuple[Any, Any]]:
        """Take the leases out that are held with this number: their ids and workers."""
        raise NotImplementedError

    def settle_completed(self, settlements: Sequence[Settlement]) -> set[tuple[UUID, int]] | None:
        done = [one for one in settlements if one.move is Move.COMPLETED]
        if not done:
            return set()
        ended = self._end_all(done)
        self.write_history(self._completions(done, ended))
        failpoints.hit("settle.half_written")
        over = sorted(lease.job_id for lease in ended.values())
        for start in range(0, len(over), self.ids_at_once):
            self._delete_rows(JOBS, "id", over[start : start + self.ids_at_once])
        return set(ended)

    def _end_all(self, settlements: Sequence[Settlement]) -> dict[tuple[UUID, int], Ended]:
        known: dict[int, dict[Any, UUID]] = {}
        to_id = self.to_id
        for one in settlements:
            job_id = one.reservation.job_id
            known.setdefault(one.reservation.lease_no, {})[to_id(job_id)] = job_id
        ended: dict[tuple[UUID, int], Ended] = {}
        for lease_no, wanted in known.items():
            ordered = sorted(wanted)
            for start in range(0, len(ordered), self.ids_at_once):
                for lease in self.end_leases(lease_no, ordered[start : start + self.ids_at_once]):
                    ended[wanted[lease[0]], lease_no] = Ended._make(lease)
        return ended

    def _completions(
        self, settlements: Sequence[Settlement], ended: dict[tuple[UUID, int], Ended]
    ) -> list[tuple[Any, ...]]:
        """As `Moves` writes them."""
        rows: list[tuple[Any, ...]] = []
        after, to_time = _Moments(self).after, self.to_time
        for one in settlements:
            job, start_ms, run_ms = one.reservation, one.start_ms, one.run_ms
            lease = ended.get((job.job_id, job.lease_no))
            if lease is None:
                continue
            rows.append(
                (
                    *(lease.job_id, job.lease_no, job.attempt, job.queue, job.task, job.args, job.priority),
                    *(_COMPLETED, one.result, "", "", "", job.wait_ms + start_ms, run_ms, one.memory_kb),
                    *(lease.worker_id, to_time(job.created_at)),
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
