"""The limit on PostgreSQL: a connection claims jobs by the hundred and settles them, history written. No framework.

The statements are the reference ones of the design, over our own tables. They are not the package's, on purpose: a
limit that moved with what it limits would say nothing. Each is its own transaction, as it was when the goal was set.
Enqueueing is one INSERT and its commit, into a table of two columns.
"""

from __future__ import annotations

from uuid import uuid4

from tests.benchmarks import recording, trace
from tests.benchmarks.systems.base import Setup, System

CLAIM = """
WITH c AS MATERIALIZED (
    SELECT job_id FROM jobqueue_job_priorities WHERE queue = %s
    ORDER BY priority DESC, seq LIMIT %s FOR UPDATE SKIP LOCKED
), d AS (
    DELETE FROM jobqueue_job_priorities r USING c WHERE r.job_id = c.job_id
    RETURNING r.job_id, r.queue, r.priority, r.seq, r.attempt + 1 AS attempt, r.lease_no + 1 AS lease_no
), l AS (
    INSERT INTO jobqueue_job_locks
        (id, name, worker_id, lease_no, queue, priority, seq, attempt, crashes, claimed_at)
    SELECT job_id, '', %s, lease_no, queue, priority, seq, attempt, 0, clock_timestamp() FROM d
    RETURNING id, attempt, lease_no
)
SELECT j.id, j.task, j.args, l.attempt, l.lease_no FROM l JOIN jobqueue_jobs j ON j.id = l.id
"""

SETTLE = """
WITH o AS (
    SELECT * FROM unnest(%s::uuid[], %s::int[], %s::int[], %s::text[]) AS o (id, lease_no, run_ms, result)
), l AS (
    DELETE FROM jobqueue_job_locks k USING o WHERE k.id = o.id AND k.lease_no = o.lease_no
    RETURNING k.id, k.lease_no, k.attempt, k.worker_id, k.claimed_at, o.run_ms, o.result
), d AS (
    DELETE FROM jobqueue_jobs j USING l WHERE j.id = l.id
    RETURNING j.*, l.lease_no, l.attempt, l.worker_id, l.claimed_at, l.run_ms, l.result
)
INSERT INTO jobqueue_job_history
    (job_id, lease_no, attempt, queue, task, args, priority, outcome, result, error_class, error_message, traceback,
     wait_ms, run_ms, memory_kb, worker_id, enqueued_at, started_at, finished_at)
SELECT id, lease_no, attempt, queue, task, args, priority, 'completed', result, '', '', '',
       0, run_ms, 0, worker_id, created_at, claimed_at, clock_timestamp()
FROM d RETURNING job_id
"""


TABLE = "CREATE TABLE raw_jobs (id uuid PRIMARY KEY, args text NOT NULL)"
PUSH = "INSERT INTO raw_jobs (id, args) VALUES (%s, %s)"
ARGS = '{"args":[0],"kwargs":{}}'


class RawPostgres(System):
    name, stores = "raw", ("postgres",)
    promise = "nothing is run"
    setups = (
        Setup("1 connection", 1, ("100",)),
        Setup("2 connections", 2, ("100",)),
        Setup("2 connections, 300 at a time", 2, ("300",)),
    )
    filled_by = "ours"
    left = "SELECT 1 FROM jobqueue_jobs LIMIT 1"
    done = "SELECT count(*) FROM jobqueue_job_history"
    ends_by_itself = True

    def open(self) -> None:
        import psycopg

        self.connection = psycopg.connect(self.address, autocommit=True)
        trace.begin(self.connection.pgconn)

    def prepare(self) -> None:
        self.open()
        self.connection.execute(TABLE)

    def enqueue(self, sent_ns: int) -> None:
        self.connection.execute(PUSH, [uuid4(), ARGS])

    def work(self, batch: str) -> None:
        worker, claim = uuid4(), ["default", int(batch)]
        while rows := self.connection.execute(CLAIM, [*claim, worker]).fetchall():
            ids, leases = [row[0] for row in rows], [row[4] for row in rows]
            for _ in rows:
                recording.run(0)
            settled = self.connection.execute(SETTLE, [ids, leases, [0] * len(rows), [""] * len(rows)]).fetchall()
            assert len(settled) == len(rows)
