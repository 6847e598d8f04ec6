"""A push inside a transaction: written down in the database with it, brought to Redis when it has been committed.

What becomes of a job at each point where something can go wrong:

- *Rolled back*, the whole transaction or the savepoint it was pushed in: its row is gone, so it is never delivered.
- *Crash before the commit*: the same.
- *Crash after the commit, before the delivery*; also *Redis is down then*: the row stays and a relay, one in every
  worker, delivers it later. Whoever pushed has its id and hears nothing of it.
- *Crash after the delivery, before the row is deleted*: it is delivered again, and Redis knows the id. It does so for
  ten minutes (or 100,000 jobs) after the job has ended; later, the relay finds it in the history or the dead letters.
  (With `record` "failures" or "none" a job that succeeded leaves nothing to find: if the database is away for so long
  just then, the job runs twice, as any job may.)
- *Two relays at once*, or a relay and the commit: one locks the row and the other passes over it. SQLite has no locks
  of rows, there one waits for the other.
- *Cancelled while it is delivered*: `cancel` waits, and finds it in Redis.
- *Its unique key is taken in Redis by then*: it is not stored, as if it had been pushed at that moment. One that was
  brought back from the dead letters is put back there (`key_held`): nothing that has died goes unseen.
- *Redis refuses this one job*: the others are delivered; what can't be written into Redis at all becomes a dead letter.

Jobs of one transaction arrive in the order in which they were pushed.
"""

from __future__ import annotations

import logging
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction
from django.utils.functional import cached_property
from django.utils.module_loading import import_string

from django_jobqueue import failpoints
from django_jobqueue.exceptions import EnqueueError, StoreUnavailable
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.models import DeadLetterJob
from django_jobqueue.queues.base import JobSnapshot
from django_jobqueue.queues.redis.connection import Connection

logger = logging.getLogger("django_jobqueue.queues")

RELAY_AFTER_SECONDS = 5.0
"""How old a row must be before a relay takes it: until then its own transaction sees to it."""
OUTAGE_SECONDS = 2.0
"""How long nobody in this process tries again when Redis did not answer: a commit must not wait for a timeout."""
PIECE = 500
_BROKEN_AFTER = 3
_TABLE = "django_jobqueue.queues.orm.outgoing.Outgoing"
_UNFIT = (ValueError, TypeError, AttributeError, ArithmeticError, struct.error)
"""What a job that can't be written down for Redis raises on the way: a row that none of ours wrote."""


class Store(Protocol):
    """What the outbox needs of the queue it belongs to."""

    alias: str
    database: str
    connection: Connection

    def deliver(self, payloads: Sequence[JobPayload]) -> list[UUID]: ...

    def knows(self, job_id: UUID, lease_no: int = 0) -> bool: ...


class Outbox:
    """Pushes of one queue that wait for a transaction. `on_commit` is the option of that name."""

    def __init__(self, queue: Store, on_commit: str = "outbox") -> None:
        self._queue = queue
        self._on_commit = on_commit
        self._local = threading.local()
        self._is_down = False
        self._retry_at = 0.0

    @cached_property
    def _table(self) -> Any:
        """By its path: the tables' own statements, which need the driver of the project's database and no other."""
        return import_string(_TABLE)(self._queue.database, self._queue.alias)

    # -- in the caller's transaction ---------------------------------------------------------------------------------

    @contextmanager
    def always(self) -> Iterator[None]:
        """Inside, this thread's pushes go through the tables whatever `on_commit` says.

        For a dead letter that is brought back: the push must be undone with the deletion of the letter, and not be lost
        after it.
        """
        before, self._local.always = self._is_always, True
        try:
            yield
        finally:
            self._local.always = before

    @property
    def _is_always(self) -> bool:
        return getattr(self._local, "always", False)

    def takes_over(self) -> bool:
        """Whether a push waits for the transaction that is open."""
        if self._on_commit == "immediate" and not self._is_always:
            return False
        connection: Any = connections[self._queue.database]
        return connection.in_atomic_block or _is_manual(connection)

    def put(self, payloads: Sequence[JobPayload]) -> list[UUID]:
        """Arrange that these jobs are delivered when the transaction is committed. Gives their ids.

        Raises `EnqueueError` when the database did not take them; with "on_commit", when Redis did not, the commit
        raises it.
        """
        using = self._queue.database
        if self._on_commit == "on_commit" and connections[using].in_atomic_block and not self._is_always:
            transaction.on_commit(partial(self._queue.deliver, payloads), using=using)
            return [payload.id for payload in payloads]
        try:
            ids: list[UUID] = self._table.put(payloads)
        except (DatabaseError, InterfaceError) as error:
            raise EnqueueError(f"the database {using!r} did not store the job: {error}") from error
        self._arrange(ids)
        failpoints.hit("outbox.before_commit")
        return ids

    def _arrange(self, ids: Sequence[UUID]) -> None:
        """Have them delivered after the commit, all of a transaction at once."""
        using = self._queue.database
        connection = connections[using]
        if not connection.in_atomic_block:  # the project commits by itself, and Django does not know when: the relay
            return
        transit: _Transit | None = getattr(self._local, "transit", None)
        if transit is None or not transit.may_join(connection):
            transit = self._local.transit = _Transit(self, connection)
        transit.ids.extend(ids)
        # For each push: a savepoint that is rolled back takes its own call along, and the first that is left does all.
        transaction.on_commit(transit.run, using=using, robust=True)

    # -- after it ----------------------------------------------------------------------------------------------------

    def deliver_committed(self, ids: Sequence[UUID]) -> None:
        """Bring what was just committed to Redis. Never raises: the rows are there, and the relay will see them."""
        failpoints.hit("outbox.committed")
        try:
            self._deliver_all(ids, is_fresh=True)
        except Exception as error:
            logger.warning("%d jobs for %r wait for the relay (%s).", len(ids), self._queue.alias, error)

    def relay(self, limit: int, older_than: float | None = None) -> int:
        """Deliver up to `limit` jobs that were left behind; how many. Does not raise for a store that is away.

        `older_than` is in seconds, `RELAY_AFTER_SECONDS` when left out. At 0, also what was pushed in the transaction
        that is open: for tests.
        """
        try:
            ids = self._table.left_behind(RELAY_AFTER_SECONDS if older_than is None else older_than, limit)
            return self._deliver_all(ids, is_fresh=False)
        except (EnqueueError, StoreUnavailable, OperationalError, InterfaceError) as error:
            logger.warning("Jobs for %r stay in the outbox (%s).", self._queue.alias, error)
            connections[self._queue.database].close_if_unusable_or_obsolete()
            return 0

    def left_behind(self, seconds: float, limit: int) -> list[UUID]:
        """Up to `limit` jobs that have waited for longer than so many seconds."""
        ids: list[UUID] = self._table.left_behind(seconds, limit)
        return ids

    def _deliver_all(self, ids: Sequence[UUID], is_fresh: bool) -> int:
        count = 0
        for start in range(0, len(ids), PIECE):
            if not self._may_try():
                break
            try:
                count += self._deliver(ids[start : start + PIECE], is_fresh)
            except (EnqueueError, StoreUnavailable) as error:
                self._note(error)
                raise
        return count

    def _deliver(self, ids: Sequence[UUID], is_fresh: bool) -> int:
        with self._table.transaction():
            parcels = self._table.take(ids)
            over = set() if is_fresh else self._table.over([parcel.job_id for parcel in parcels])
            gone = self._hand_over([parcel for parcel in parcels if parcel.job_id not in over])
            failpoints.hit("outbox.delivered")
            self._table.remove([*over, *gone])
        return len(gone)

    def _hand_over(self, parcels: Sequence[Any]) -> list[UUID]:
        """Deliver; which rows are done with."""
        fit = [parcel for parcel in parcels if parcel.payload is not None]
        for parcel in parcels:
            if parcel.payload is None:
                self._bury(parcel, DeadLetterJob.Reason.PAYLOAD_INVALID, parcel.problem)
        try:
            answers = self._queue.deliver([parcel.payload for parcel in fit]) if fit else []
        except (EnqueueError, *_UNFIT) as error:
            if is_outage(error):
                raise
            return [*(one.job_id for one in parcels if one.payload is None), *self._hand_over_singly(fit)]
        self._note_refused(fit, answers)
        return [parcel.job_id for parcel in parcels]

    def _hand_over_singly(self, parcels: Sequence[Any]) -> list[UUID]:
        """One job that is refused must not hold up the others; if all are, it is the store and not the jobs."""
        gone: list[UUID] = []
        refused = 0
        for parcel in parcels:
            try:
                self._note_refused([parcel], self._queue.deliver([parcel.payload]))
            except EnqueueError as error:
                refused += 1
                if is_outage(error) or (refused >= _BROKEN_AFTER and not gone):
                    raise
                logger.error("Job %s stays in the outbox: %s", parcel.job_id, error)
                continue
            except _UNFIT as error:
                self._bury(parcel, DeadLetterJob.Reason.PAYLOAD_INVALID, f"{type(error).__name__}: {error}")
            gone.append(parcel.job_id)
        return gone

    def _note_refused(self, parcels: Sequence[Any], answers: Sequence[UUID]) -> None:
        """A unique key was taken meanwhile."""
        for parcel, holder in zip(parcels, answers, strict=True):
            if holder == parcel.job_id:
                continue
            message = f"its unique key {parcel.payload.unique_key!r} is held by the live job {holder}"
            if parcel.payload.lease_no > 0:
                self._bury(parcel, DeadLetterJob.Reason.KEY_HELD, message)
            else:
                logger.info("Job %s was not stored: %s.", parcel.job_id, message)

    def _bury(self, parcel: Any, reason: str, message: str) -> None:
        logger.warning("Job %s on its way to %r is a dead letter: %s.", parcel.job_id, self._queue.alias, message)
        self._table.bury(parcel, reason, message)

    # -- outages -----------------------------------------------------------------------------------------------------

    def _note(self, error: Exception) -> None:
        if is_outage(error):
            self._is_down, self._retry_at = True, time.monotonic() + OUTAGE_SECONDS

    def _may_try(self) -> bool:
        """Not while Redis is known to be away; then asked first, before rows are locked for it."""
        if self._is_down and time.monotonic() >= self._retry_at:
            self._retry_at = time.monotonic() + OUTAGE_SECONDS
            with self._queue.connection.errors():
                self._queue.connection.client.ping()
            self._is_down = False
        return not self._is_down

    # -- one job -----------------------------------------------------------------------------------------------------

    def find(self, job_id: UUID) -> JobSnapshot | None:
        """A job that is not in Redis yet. Ask Redis again after a None: it may just have got there."""
        found: JobSnapshot | None = self._table.find(job_id)
        return found

    def holds(self, job_ids: Sequence[UUID]) -> set[UUID]:
        """Which of these are not in Redis yet."""
        found: set[UUID] = self._table.holds(job_ids)
        return found

    def cancel(self, job_id: UUID) -> bool:
        """End a job that is not in Redis yet; it never gets there. Not one that is, whose row was only left over."""
        cancelled: bool = self._table.cancel(job_id, unless=lambda lease_no: self._queue.knows(job_id, lease_no))
        return cancelled


class _Transit:
    """The jobs of one transaction. Ids of a savepoint that was rolled back are among them, and have no rows."""

    def __init__(self, outbox: Outbox, connection: Any) -> None:
        self.ids: list[UUID] = []
        self._outbox = outbox
        self._hooks = connection.run_on_commit
        self._is_over = False

    def may_join(self, connection: Any) -> bool:
        """Django makes a new list of hooks when a transaction ends, and when a savepoint is rolled back."""
        return not self._is_over and self._hooks is connection.run_on_commit

    def run(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._outbox.deliver_committed(self.ids)


def is_outage(error: BaseException) -> bool:
    """Whether trying again later is the right answer."""
    return isinstance(error, StoreUnavailable) or isinstance(error.__cause__, StoreUnavailable)


def _is_manual(connection: Any) -> bool:
    """Whether the project has switched off autocommit, and every statement belongs to a transaction of its own."""
    if connection.connection is None:
        return not connection.settings_dict["AUTOCOMMIT"]
    return not connection.autocommit
