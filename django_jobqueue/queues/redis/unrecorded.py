"""From Redis to the tables: what has ended lies in the hash `unrecorded` until its rows are written."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connections

from django_jobqueue import failpoints
from django_jobqueue.queues.base import WORKER_LOST, Move, Settlement
from django_jobqueue.queues.redis import packed, values
from django_jobqueue.queues.redis.entries import Entry
from django_jobqueue.queues.redis.recorder import Recorder
from django_jobqueue.queues.redis.scripts import Scripts

logger = logging.getLogger("django_jobqueue.queues")

COMPLAINT_SECONDS = 10.0
LEVELS = {"none": 0, "failures": 1, "all": 2}
"""How much is recorded. The scripts have the same numbers."""
_RECORDED_FROM = {Move.DEAD: 0, Move.RETRY: 1, Move.COMPLETED: 2, Move.CANCELLED: 2, Move.SNOOZE: 2}
_FIELD_SIZE = 20
_HASH = "unrecorded"


class Unrecorded:
    """What the tables don't have yet. `record` is the option of that name."""

    def __init__(self, scripts: Scripts, recorder: Recorder, record: str) -> None:
        self.level = LEVELS[record]
        self._scripts = scripts
        self._recorder = recorder
        self._quiet_until = 0.0
        self._recorded = {move for move, level in _RECORDED_FROM.items() if self.level >= level}
        self.kept = frozenset({*self._recorded, Move.COMPLETED, Move.CANCELLED})
        """Moves whose words are stored: for the tables, or for `get_result` when they don't get them."""

    def record(self, settlements: Sequence[Settlement], holders: Sequence[UUID | None]) -> None:
        """Write what a batch has ended. A dead letter is read back first: it needs the whole job."""
        settled, dead = [], []
        for one, holder in zip(settlements, holders, strict=True):
            if holder is None or one.move not in self._recorded:
                continue
            if one.move is Move.DEAD:
                dead.append(_field(one.reservation.job_id, one.reservation.lease_no))
            else:
                settled.append((one, holder))
        if not dead:
            fields = [_field(one.reservation.job_id, one.reservation.lease_no) for one, _ in settled]
            self._write(fields, lambda: self._recorder.write_settled(settled))
            return
        entries = [values.entry(one, holder) for one, holder in settled]
        entries += _entries(zip(dead, self._scripts.get_fields(_HASH, dead), strict=True))
        self._write_entries(entries)

    def record_left_behind(self, older_than: float, pages: int = 1) -> int:
        """Write what nobody did within so many seconds: a crash, or a database that did not answer. How many.

        Of a large backlog so many pages only. Nothing in the caller's transaction, whose end we don't know.
        """
        cursor, written = b"0", 0
        for _ in range(0 if self._is_callers() else pages):
            cursor, *flat = self._scripts.run("unrecorded", cursor, int(older_than * 1e6))
            fields = flat[::2]
            entries = _entries(zip(fields, flat[1::2], strict=True))
            if not self._write_entries(entries):
                return written
            if len(entries) < len(fields):
                self._throw_away({*fields} - {_field(one.job_id, one.lease_no) for one in entries})
            written += len(entries)
            if cursor == b"0":
                break
        return written

    def _write_entries(self, entries: Sequence[Entry]) -> bool:
        return self._write([_field(one.job_id, one.lease_no) for one in entries], lambda: self._recorder.write(entries))

    def _write(self, fields: Sequence[bytes], write: Callable[[], None]) -> bool:
        """False: the database did not answer, and what has these fields waits for the next `reclaim`."""
        if not fields:
            return True
        failpoints.hit("record.before")
        try:
            write()
        except (DatabaseError, InterfaceError) as error:
            self._complain(error)
            return False
        failpoints.hit("record.committed")
        if self._is_callers():
            return True  # the rows may be rolled back yet: whoever reclaims writes them once more, and deletes then
        self._scripts.run("recorded", b"".join(fields))
        return True

    def _is_callers(self) -> bool:
        """Whether a transaction is open that is not ours to commit."""
        connection = connections[self._recorder.database]
        return connection.in_atomic_block or (connection.connection is not None and not connection.autocommit)

    def _throw_away(self, fields: Iterable[bytes]) -> None:
        garbage = list(fields)
        logger.error("%d entries in %s can't be read; they are deleted.", len(garbage), self._scripts.key(_HASH))
        self._scripts.delete_fields(_HASH, garbage)

    def _complain(self, error: Exception) -> None:
        """Not for every batch of a busy worker."""
        # It may be the only use this thread has for its connection: nobody else would see to it that it is whole again.
        if not connections[self._recorder.database].in_atomic_block:
            connections[self._recorder.database].close_if_unusable_or_obsolete()
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + COMPLAINT_SECONDS
            database = self._recorder.database
            logger.warning("What has ended waits in Redis for the database %r (%s).", database, error)


def _field(job_id: UUID, lease_no: int) -> bytes:
    return (job_id.int << 32 | lease_no).to_bytes(_FIELD_SIZE, "big")


def _entries(pairs: Iterable[tuple[bytes, bytes | None]]) -> list[Entry]:
    whole = ((UUID(bytes=field[:16]), data) for field, data in pairs if data and len(field) == _FIELD_SIZE)
    read = (packed.unpack_entry(job_id, data, WORKER_LOST) for job_id, data in whole)
    return [entry for entry in read if entry is not None]
