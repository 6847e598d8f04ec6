"""What has ended goes into the tables: a row of history for each execution, a dead letter for each job that died.

A batch is one transaction and may be written again: an execution that is recorded already is left as it is, and only
a new record makes a dead letter. So a batch that is repeated late, after somebody brought the letter back, does not
make a dead letter of a living job.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, TypeVar
from uuid import UUID

from django.db import DataError, IntegrityError, OperationalError, transaction

from django_jobqueue.queues.base import Settlement
from django_jobqueue.queues.redis import values
from django_jobqueue.queues.redis.entries import Entry
from django_jobqueue.queues.redis.tables import HISTORY, tables_of

logger = logging.getLogger("django_jobqueue.queues")

T = TypeVar("T")

PIECE_ROWS = 500
PIECE_CHARS = 8_000_000
"""Text in one statement. A list of more than 256 MB is too much for PostgreSQL's jsonb."""
_REFUSALS = (DataError, IntegrityError, ValueError, TypeError, OverflowError)
"""What a database or its driver says of a value it can't take. Everything else may be over in a while."""
_MYSQL_WRONG_VALUES = {1264, 1265, 1292, 1366, 1406}
"""The same from MySQL, whose drivers call some of it an operational error."""


class Recorder:
    """Writes into the database `database`, as `store`: the alias in TASKS of the store the jobs lived in."""

    def __init__(self, database: str, store: str) -> None:
        self.database = database
        self.store = store

    def write(self, entries: Sequence[Entry]) -> None:
        """Record what is not recorded yet, in one transaction.

        A value the database does not take never holds up the other rows: each is written by itself then, mended where
        that helps, else logged and left out. Raises `OperationalError` or `InterfaceError` when the database does not
        answer, `ProgrammingError` when the tables are not there: nothing is recorded then, and it may be repeated.
        """
        if not entries:
            return
        try:
            self._write(entries)
        except (*_REFUSALS, OperationalError) as error:
            if not _is_refusal(error):
                raise
            for entry in entries:
                self._write_alone(entry)

    def write_settled(self, settled: Sequence[tuple[Settlement, UUID]]) -> None:
        """As `write`, of executions whose job does not die, each with the worker that held it; raises the same."""
        try:
            with transaction.atomic(using=self.database):
                tables = tables_of(self.database, self.store)
                for piece in _pieces(sorted(tables.settled_rows(settled), key=_ID), _chars_of_row):
                    tables.insert_history(piece)
        except (*_REFUSALS, OperationalError) as error:
            if not _is_refusal(error):
                raise
            self.write([values.entry(one, holder) for one, holder in settled])

    def _write(self, entries: Sequence[Entry], mend: bool = False) -> None:
        with transaction.atomic(using=self.database):
            tables = tables_of(self.database, self.store)
            for piece in _pieces(sorted(entries, key=_by_job), _chars_of):
                tables.write(piece, mend)

    def _write_alone(self, entry: Entry) -> None:
        for mend in (False, True):
            try:
                self._write([entry], mend)
            except (*_REFUSALS, OperationalError) as error:
                if not _is_refusal(error):
                    raise
                if mend:
                    logger.exception(
                        "The database %r does not take the record of job %s (%s, lease %s, %s). It is left out.",
                        self.database,
                        entry.job_id,
                        entry.task,
                        entry.lease_no,
                        entry.outcome,
                    )
            else:
                return


def _by_job(one: Entry) -> int:
    """Everybody writes in the same order, so that two who write the same batch never wait for each other."""
    return one.job_id.int


_ID = itemgetter(0)
"""The same order: a row begins with the job's id, as text."""


def _chars_of(one: Entry) -> int:
    return len(one.args) + len(one.result) + len(one.error.traceback)


_ARGS, _RESULT, _TRACEBACK = map(HISTORY.index, ("args", "result", "traceback"))


def _chars_of_row(row: Sequence[Any]) -> int:
    return len(row[_ARGS]) + len(row[_RESULT]) + len(row[_TRACEBACK])


def _pieces(found: Sequence[T], chars_of: Callable[[T], int]) -> Iterator[list[T]]:
    piece: list[T] = []
    chars = 0
    for one in found:
        piece.append(one)
        chars += chars_of(one)
        if len(piece) >= PIECE_ROWS or chars >= PIECE_CHARS:
            yield piece
            piece, chars = [], 0
    if piece:
        yield piece


def _is_refusal(error: Exception) -> bool:
    """Whether the database answered and said no to a value: asking again would be in vain."""
    return not isinstance(error, OperationalError) or bool(_MYSQL_WRONG_VALUES.intersection(error.args[:1]))
