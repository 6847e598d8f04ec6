"""The limit on PostgreSQL: one connection claims 100 jobs and settles 100, history written. No framework, no job code.

    python -m tests.benchmarks.systems.raw_postgres URL

The statements are the reference ones of the design, over our own tables. They are not the package's, on purpose: a
limit that moved with what it limits would say nothing. Each is its own transaction, as it was when the goal was set.
"""

from __future__ import annotations

import json
import sys
import time
from uuid import uuid4

import psycopg

from tests.benchmarks import trace

BATCH = 100

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


def drain(connection: psycopg.Connection) -> int:
    worker, done = uuid4(), 0
    while rows := connection.execute(CLAIM, ["default", BATCH, worker]).fetchall():
        ids, leases = [row[0] for row in rows], [row[4] for row in rows]
        settled = connection.execute(SETTLE, [ids, leases, [0] * len(rows), [""] * len(rows)]).fetchall()
        assert len(settled) == len(rows)
        done += len(rows)
    return done


if __name__ == "__main__":
    with psycopg.connect(sys.argv[1], autocommit=True) as connection:
        trace.begin(connection.pgconn)
        begun, cpu = time.perf_counter(), time.process_time()
        jobs = drain(connection)
        print(json.dumps({"jobs": jobs, "seconds": time.perf_counter() - begun, "cpu_s": time.process_time() - cpu}))
