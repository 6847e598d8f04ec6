"""PostgreSQL: how jobs get into the tables. One statement each, so that it needs no transaction around it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from operator import attrgetter
from typing import Any
from uuid import UUID

import psycopg
from psycopg import generators
from psycopg.pq import ExecStatus

from django_jobqueue.conf import conf
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.queues.orm import arrays
from django_jobqueue.queues.orm.dialect import FINAL, Dialect
from django_jobqueue.queues.orm.notify import CHANNEL, may_notify
from django_jobqueue.queues.orm.rows import COLUMNS, DEAD, DELAYED, HISTORY, JOBS, READY, marks

# The line's place: the server's clock in nanoseconds, plus the position in the push.
# As a float it is exact to the microsecond, too (until 2255), and takes a fraction of the time of a numeric.
CLOCK_NS = "(date_part('epoch', clock_timestamp()) * 1000000)::bigint * 1000"

_SHARED = (
    "queue",
    "task",
    "priority",
    "max_attempts",
    "timeout",
    "crash_budget",
    "concurrency_key",
    "times_retried",
)
"""What plain jobs of one task have in common."""
_shared = attrgetter(*_SHARED)

# In the statement's snapshot a known job is live, dead or over: one that ends meanwhile is still seen as live.

_UNKNOWN = f"""
    WHERE NOT EXISTS (SELECT 1 FROM {JOBS} j WHERE j.id = g.id)
      AND NOT EXISTS (SELECT 1 FROM {DEAD} d WHERE d.id = g.id)
      AND NOT EXISTS (SELECT 1 FROM {HISTORY} h WHERE h.job_id = g.id AND h.outcome = ANY(%s))"""
_PUSH = f"""
WITH given AS MATERIALIZED (
    SELECT *, {CLOCK_NS} + ordinal AS seq
    FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::int[], %s::int[], %s::float8[], %s::int[],
                %s::text[], %s::text[], %s::int[], %s::timestamptz[], %s::float8[], %s::int[]) WITH ORDINALITY
         AS g (id, queue, task, args, priority, max_attempts, timeout, crash_budget, unique_key,
               concurrency_key, times_retried, run_after, delay, lease_no, ordinal)
), stored AS (
    INSERT INTO {JOBS} ({", ".join(COLUMNS[JOBS])})
    SELECT g.id, queue, task, args, priority, max_attempts, timeout, crash_budget, unique_key, concurrency_key,
           times_retried, clock_timestamp()
    FROM given g
    {_UNKNOWN}
    ORDER BY ordinal
    ON CONFLICT DO NOTHING
    RETURNING id
), ready AS (
    INSERT INTO {READY} (job_id, queue, priority, seq, attempt, lease_no, crashes)
    SELECT id, queue, priority, seq, 0, lease_no, 0 FROM stored JOIN given USING (id)
    WHERE run_after IS NULL AND delay IS NULL
), delayed AS (
    INSERT INTO {DELAYED} ({", ".join(COLUMNS[DELAYED])})
    SELECT id, queue, priority, coalesce(run_after, statement_timestamp() + make_interval(secs => delay)),
           'scheduled', '', 0, lease_no, 0
    FROM stored JOIN given USING (id)
    WHERE run_after IS NOT NULL OR delay IS NOT NULL
)
SELECT id FROM stored
UNION ALL
SELECT NULL FROM unnest(%s::text[]) AS queue WHERE pg_notify(%s, queue)::text IS NULL
"""
_PUSH_FRESH = _PUSH.replace(_UNKNOWN, "")
# One fresh, plain job: nothing can refuse it. A tenth of what _PUSH costs the server, most of it for planning.
_PUSH_ONE = f"""
WITH job AS (
    INSERT INTO {JOBS} ({", ".join(COLUMNS[JOBS])})
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, NULL, %s, %s, clock_timestamp())
)
INSERT INTO {READY} (job_id, queue, priority, seq, attempt, lease_no, crashes)
VALUES (%s, %s, %s, {CLOCK_NS}, 0, 0, 0)
"""
_PUSH_ONE_AND_TELL = _PUSH_ONE + "RETURNING pg_notify(%s, queue)"
# The same written out, two statements in one message, which the server makes one transaction: there is less to plan.
_PUSH_TEXT = f"""
INSERT INTO {JOBS} ({", ".join(COLUMNS[JOBS])})
VALUES ('\0', '%s', '%s', '\0', %d, %d, %s, %s, NULL, '%s', %d, clock_timestamp());
INSERT INTO {READY} (job_id, queue, priority, seq, attempt, lease_no, crashes)
VALUES ('\0', '%s', %d, {CLOCK_NS}, 0, 0, 0)
"""
_HARMLESS = re.compile(r"[ -&(-\[\]-~]*").fullmatch
"""Printable ASCII without the single quote and the backslash: what stands between quotes as it is, in every setting."""
# Fresh, plain jobs of one task: only their ids and arguments differ. Nothing is refused, given back or joined.
_PUSH_ALIKE = f"""
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(%s::uuid[], %s::text[]) WITH ORDINALITY AS g (id, args, ordinal)
), job AS (
    INSERT INTO {JOBS} (id, args, {", ".join(_SHARED)}, created_at)
    SELECT id, args, {marks(len(_SHARED))}, clock_timestamp() FROM given
), ready AS (
    INSERT INTO {READY} (job_id, queue, priority, seq, attempt, lease_no, crashes)
    SELECT id, %s, %s, (SELECT {CLOCK_NS}) + ordinal, 0, 0, 0 FROM given
)
SELECT pg_notify(%s, queue) FROM unnest(%s::text[]) AS queue
"""


class Insertions(Dialect):
    """Pushes, and the call that wakes who waits for them."""

    def fast(self, sql: str, params: Sequence[Any]) -> psycopg.Cursor[Any]:
        """A statement with its parameters bound by the server, and planned for them; errors come out as Django's."""
        self.connection.ensure_connection()
        with self.connection.wrap_database_errors:
            return psycopg.Cursor(self.connection.connection).execute(sql, params, prepare=False)

    def fast_rows(self, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self.connection.wrap_database_errors:
            return self.fast(sql, params).fetchall()

    def _send(self, text: str) -> None:
        """Statements without parameters, in one round trip. A cursor of psycopg takes as long as all the rest of it."""
        self.connection.ensure_connection()
        driver = self.connection.connection
        with self.connection.wrap_database_errors:
            if not driver.autocommit or driver.pgconn.pipeline_status:
                psycopg.Cursor(driver).execute(text, prepare=False)
                return
            with driver.lock:
                driver.pgconn.send_query(text.encode())
                last = driver.wait(generators.execute(driver.pgconn))[-1]
            if last.status != ExecStatus.COMMAND_OK:
                raise psycopg.errors.error_from_result(last)

    def push_transaction(self) -> AbstractContextManager[Any]:
        """A push is one statement: outside the caller's transaction it needs no BEGIN and COMMIT, two trips less."""
        return self.transaction() if self.connection.in_atomic_block else nullcontext()

    def insert_jobs(self, payloads: Sequence[JobPayload], fresh: bool = False) -> set[UUID]:
        tell = self._to_announce({payload.queue for payload in payloads})
        if fresh and len(payloads) == 1 and payloads[0].is_plain:
            job = payloads[0]
            self._insert_one(job, job.id, job.args, tell)
            return {job.id}
        columns = zip(*map(_push_values, payloads), strict=True)
        given = [write(column) for write, column in zip(_PUSH_ARRAYS, columns, strict=True)]
        params = [*given, *([] if fresh else [list(FINAL)]), tell, CHANNEL]
        return {row[0] for row in self.fast_rows(_PUSH_FRESH if fresh else _PUSH, params)}

    def insert_alike(self, template: JobPayload, ids: Sequence[UUID], calls: Sequence[str]) -> None:
        tell = self._to_announce([template.queue])
        if len(ids) == 1:
            self._insert_one(template, ids[0], calls[0], tell)
            return
        varying = [arrays.uuids(ids), arrays.texts(calls)]
        self.fast(_PUSH_ALIKE, [*varying, *_shared(template), template.queue, template.priority, CHANNEL, tell])

    def _insert_one(self, like: JobPayload, job_id: UUID, args: str, tell: Sequence[str]) -> None:
        text = _written(*_shared(like))
        if text is not None and type(args) is str and _HARMLESS(args):
            begin, described, placed, end = text
            named = str(job_id)
            notify = f"; NOTIFY {CHANNEL}, '{like.queue}'" if tell else ""
            self._send(f"{begin}{named}{described}{args}{placed}{named}{end}{notify}")
            return
        values = _push_values(like.again(args, job_id))
        params = [*values[:8], *values[9:11], job_id, like.queue, like.priority]
        if tell:
            self.fast(_PUSH_ONE_AND_TELL, [*params, CHANNEL])
        else:
            self.fast(_PUSH_ONE, params)

    def _to_announce(self, queues: Iterable[str]) -> list[str]:
        """In the caller's transaction all: PostgreSQL sends one per queue, at a commit we can't foresee."""
        if not conf().NOTIFY:
            return []
        alias = self.connection.alias
        is_callers = bool(self.connection.savepoint_ids)  # our own transaction is the outermost otherwise
        return [queue for queue in queues if is_callers or may_notify(alias, queue)]

    def announce(self, queues: Iterable[str]) -> None:
        for queue in self._to_announce(queues):
            self.fast("SELECT pg_notify(%s, %s)", [CHANNEL, queue])


def _push_values(job: JobPayload) -> tuple[Any, ...]:
    return (
        job.id,
        job.queue,
        job.task,
        job.args,
        job.priority,
        job.max_attempts,
        job.timeout,
        job.crash_budget,
        job.unique_key,
        job.concurrency_key,
        job.times_retried,
        job.run_after,
        job.delay,
        job.lease_no,
    )


@lru_cache(maxsize=256, typed=True)  # typed: a subclass of str may be equal to one, and write itself as another text
def _written(
    queue: str,
    task: str,
    priority: int,
    max_attempts: int,
    timeout: float | None,
    crash_budget: int | None,
    key: str,
    retried: int,
) -> Sequence[str] | None:
    """`_PUSH_TEXT` for jobs that share this: what stands around the id, the arguments and the id. None: not harmless.

    There are as many as tasks; a push that writes all of it anew takes three times as long for it.
    """
    if not all(type(text) is str and _HARMLESS(text) for text in (queue, task, key)):
        return None
    seconds = "NULL" if timeout is None else repr(float(timeout))
    budget = "NULL" if crash_budget is None else int(crash_budget)
    described = queue, task, priority, max_attempts, seconds, budget, key, retried
    return (_PUSH_TEXT % (*described, queue, priority)).split("\0")


_PUSH_ARRAYS: tuple[Callable[[Any], str], ...] = (
    arrays.uuids,
    *[arrays.texts] * 3,
    *[arrays.integers] * 2,
    arrays.floats,
    arrays.integers,
    *[arrays.texts] * 2,
    arrays.integers,
    arrays.moments,
    arrays.floats,
    arrays.integers,
)
"""How each of these values is written, when there are many."""
