"""Repairs that can't make anything worse: each is one statement, or a move of a worker's, and asks again itself.

What takes a decision (a job that has ended and lives, a spent budget) is left to people.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from django_jobqueue.queues.inspection import Fault
from django_jobqueue.queues.orm.dialect import MAX_INT, Dialect
from django_jobqueue.queues.orm.rows import COLUMNS, DELAYED, HISTORY, JOBS, LOCKS, OURS, READY, marks

if TYPE_CHECKING:
    from django_jobqueue.queues.orm.queue import OrmQueue

Mend = Callable[["OrmQueue", Dialect, Sequence[Any]], None]
_MOST_ROUNDS = 1_000


def line_up(queue: OrmQueue, dialect: Dialect, db_ids: Sequence[Any]) -> None:
    """A job that is nowhere goes to the end of its line, with what the history knows of it."""
    rows = dialect.rows(
        f"SELECT j.id, j.queue, j.priority, j.max_attempts, (SELECT MAX(h.lease_no) FROM {HISTORY} h "
        f"WHERE h.job_id = j.id), (SELECT MAX(h.attempt) FROM {HISTORY} h WHERE h.job_id = j.id) "
        f"FROM {JOBS} j WHERE j.id IN ({marks(len(db_ids))})",
        db_ids,
    )
    insert = f"{dialect.insert_ignore_verb} {READY} ({', '.join(COLUMNS[READY])})"
    nowhere = " AND ".join(
        f"NOT EXISTS (SELECT 1 FROM {table} t WHERE t.{column} = j.id)"
        for table, column in ((READY, "job_id"), (DELAYED, "job_id"), (LOCKS, "id"))
    )
    places = dialect.places(dialect.now(), len(rows))
    for (db_id, name, priority, max_attempts, lease_no, attempt), seq in zip(rows, places, strict=True):
        spent = max(0, min(attempt or 0, max_attempts - 1))  # it may run once more
        # The condition has to end in a WHERE of its own, or SQLite takes ON CONFLICT for a join's.
        dialect.execute(
            f"{insert} SELECT j.id, %s, %s, %s, %s, %s, 0 FROM {JOBS} j WHERE j.id = %s AND {nowhere} "
            f"{dialect.insert_ignore_tail}",
            [name, priority, seq, spent, min(lease_no or 0, MAX_INT), db_id],
        )
    dialect.announce({row[1] for row in rows})


def leave_one_room(queue: OrmQueue, dialect: Dialect, db_ids: Sequence[Any]) -> None:
    """The lease stays, as somebody may be running it; without one the place in the line."""
    among = marks(len(db_ids))
    leased = f"SELECT id FROM {LOCKS} WHERE name = '' AND id IN ({among})"
    line = f"SELECT job_id FROM {READY} WHERE job_id IN ({among})"
    with dialect.transaction():
        dialect.execute(f"DELETE FROM {READY} WHERE job_id IN ({leased})", db_ids)
        dialect.execute(
            f"DELETE FROM {DELAYED} WHERE job_id IN ({leased} UNION ALL {line}) AND {OURS}", [*db_ids, *db_ids]
        )


def remove_orphans(queue: OrmQueue, dialect: Dialect, db_ids: Sequence[Any]) -> None:
    among = marks(len(db_ids))
    for table, column in ((READY, "job_id"), (DELAYED, "job_id"), (LOCKS, "id")):
        only = "AND name = ''" if table == LOCKS else ""
        dialect.execute(
            f"DELETE FROM {table} WHERE {column} IN ({among}) {only} "
            f"AND NOT EXISTS (SELECT 1 FROM {JOBS} j WHERE j.id = {table}.{column})",
            db_ids,
        )


def correct_queue(queue: OrmQueue, dialect: Dialect, db_ids: Sequence[Any]) -> None:
    """The job's own row is written once, so it is right."""
    among = marks(len(db_ids))
    for table, column in ((READY, "job_id"), (DELAYED, "job_id"), (LOCKS, "id")):
        only = "AND name = ''" if table == LOCKS else ""
        job = f"FROM {JOBS} j WHERE j.id = {table}.{column}"
        dialect.execute(
            f"UPDATE {table} SET queue = (SELECT j.queue {job}) "
            f"WHERE {column} IN ({among}) {only} AND EXISTS (SELECT 1 {job})",
            db_ids,
        )


def raise_lease_number(queue: OrmQueue, dialect: Dialect, db_ids: Sequence[Any]) -> None:
    """Of jobs that wait: the number of a lease that is held is in the hands of its worker."""
    among = marks(len(db_ids))
    for table in (READY, DELAYED):
        last = f"(SELECT MAX(h.lease_no) FROM {HISTORY} h WHERE h.job_id = {table}.job_id)"
        dialect.execute(f"UPDATE {table} SET lease_no = {last} WHERE job_id IN ({among}) AND lease_no < {last}", db_ids)


def reclaim(queue: OrmQueue, dialect: Dialect, db_ids: Sequence[Any]) -> None:
    for _ in range(_MOST_ROUNDS):
        if queue.reclaim() == 0:
            return


def promote(queue: OrmQueue, dialect: Dialect, db_ids: Sequence[Any]) -> None:
    for _ in range(_MOST_ROUNDS):
        if queue.promote() == 0:
            return


MENDS: dict[Fault, Mend] = {
    Fault.NO_ROOM: line_up,
    Fault.TWO_ROOMS: leave_one_room,
    Fault.NO_JOB: remove_orphans,
    Fault.WRONG_QUEUE: correct_queue,
    Fault.LEASE_BEHIND: raise_lease_number,
    Fault.DEAD_HOLDER: reclaim,
    Fault.OVERDUE: promote,
}
