"""A job's completion in the transaction of what it writes: both are stored, or neither is.

The lease is the fence. Its row is taken out in that transaction, so a worker that lost it meanwhile keeps nothing of
what its job has written, and one whose commit was not answered learns from its next settlement what became of it: a
lease that is gone can't be settled again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError, connections, transaction

from django_jobqueue import failpoints
from django_jobqueue.exceptions import JobQueueError, LeaseLost
from django_jobqueue.lifecycle import outcomes
from django_jobqueue.queues.base import Queue, Reservation, Settlement


class Stored(Settlement):
    """A settlement that is in the store already."""


class Completion:
    """How one job completes in a transaction of its own. `stored` is the settlement once that is committed.

    `has_begun`: a line of the job may have run in it. A database that is away does not let it come to that.
    """

    def __init__(self, queue: Queue, job: Reservation, start_ms: int) -> None:
        self.result: Any = None
        self.stored: Stored | None = None
        self.has_begun = False
        self._queue = queue
        self._job = job
        self._start_ms = start_ms
        self._started = time.monotonic()

    @contextmanager
    def transaction(self) -> Iterator[Completion]:
        """See `JobContext.complete_in_transaction`."""
        self._check()
        with self._queue.transaction():
            # The first hook: it runs right after the commit, whatever the job's own hooks do after it.
            transaction.on_commit(lambda: self._commit(written), using=self._queue.database)
            mark = self._set_mark()
            self.has_begun = True
            yield self
            # Broken, or to be rolled back: its end would be no error, and nothing would be stored.
            connections[self._queue.database].validate_no_broken_transaction()
            self._check_mark(mark)
            written = self._settle()
            failpoints.hit("atomic.before_commit")
        self._commit(written)
        failpoints.hit("atomic.committed")

    def _check(self) -> None:
        database = self._queue.database
        if not self._queue.settles_in_transactions:
            raise JobQueueError(
                f"the jobs of {self._queue.alias!r} don't live in a database, so none can complete in a transaction"
            )
        if self.stored is not None:
            raise JobQueueError("the job has completed already")
        blocks: list[Any] = connections[database].atomic_blocks
        if not blocks and not connections[database].get_autocommit():
            raise JobQueueError(f"autocommit is off on {database!r}: the end of the block would commit nothing")
        if blocks and not any(block._from_testcase for block in blocks):
            raise JobQueueError(
                f"a transaction is open on {database!r} already: its end decides, so the job can't complete in it"
            )

    def _set_mark(self) -> str | None:
        """A savepoint that is there as long as the transaction is. PostgreSQL goes on with no other one by itself."""
        connection = connections[self._queue.database]
        return None if connection.vendor == "postgresql" else connection.savepoint()

    def _check_mark(self, mark: str | None) -> None:
        """A deadlock, a full disk and a DDL statement end the whole transaction, and the next statement begins another.

        A job that catches such an error would complete with half of what it has written.
        """
        try:
            if mark is not None:
                connections[self._queue.database].savepoint_commit(mark)
        except DatabaseError as error:
            raise transaction.TransactionManagementError(
                "the transaction was ended while the job ran (by a deadlock, say), so it can't complete in it"
            ) from error

    def _settle(self) -> Stored:
        run_ms = max(0, round((time.monotonic() - self._started) * 1_000))
        text = outcomes.encode_result(self.result)
        done = outcomes.completed(self._job, text, outcomes.Timing(self._start_ms, run_ms))
        if self._queue.settle([done]) != [True]:
            raise LeaseLost(f"job {self._job.job_id} is not this worker's any more; what it has written is rolled back")
        return Stored(*done)

    def _commit(self, written: Stored) -> None:
        self.stored = written
