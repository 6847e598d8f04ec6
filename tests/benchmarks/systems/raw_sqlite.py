"""The limit on SQLite: the same loop with the standard library's sqlite3; each claim and each settlement one commit.

python -m tests.benchmarks.systems.raw_sqlite FILE
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from uuid import uuid4

BATCH = 100

CLAIM = """
SELECT r.job_id, r.lease_no + 1, r.attempt + 1, r.queue, r.priority, r.seq, j.task, j.args
FROM (SELECT * FROM jobqueue_job_priorities WHERE queue = ? ORDER BY priority DESC, seq LIMIT ?) r
JOIN jobqueue_jobs j ON j.id = r.job_id
"""
LEAVE_LINE = "DELETE FROM jobqueue_job_priorities WHERE job_id = ?"
LEASE = """
INSERT INTO jobqueue_job_locks (id, lease_no, attempt, queue, priority, seq, name, worker_id, crashes, claimed_at)
VALUES (?, ?, ?, ?, ?, ?, '', ?, 0, strftime('%Y-%m-%d %H:%M:%f', 'now'))
"""
RECORD = """
INSERT INTO jobqueue_job_history
    (job_id, lease_no, attempt, queue, task, args, priority, outcome, result, error_class, error_message, traceback,
     wait_ms, run_ms, memory_kb, worker_id, enqueued_at, started_at, finished_at)
SELECT j.id, k.lease_no, k.attempt, k.queue, j.task, j.args, k.priority, 'completed', '', '', '', '',
       0, 0, 0, k.worker_id, j.created_at, k.claimed_at, strftime('%Y-%m-%d %H:%M:%f', 'now')
FROM jobqueue_job_locks k JOIN jobqueue_jobs j ON j.id = k.id WHERE k.id = ? AND k.lease_no = ?
"""
END_LEASE = "DELETE FROM jobqueue_job_locks WHERE id = ? AND lease_no = ?"
END_JOB = "DELETE FROM jobqueue_jobs WHERE id = ?"


def drain(connection: sqlite3.Connection) -> int:
    worker, done = uuid4().hex, 0
    while rows := claim(connection, worker):
        settle(connection, [row[:2] for row in rows])
        done += len(rows)
    return done


def claim(connection: sqlite3.Connection, worker: str) -> list[tuple]:
    connection.execute("BEGIN IMMEDIATE")
    rows = connection.execute(CLAIM, ["default", BATCH]).fetchall()
    connection.executemany(LEASE, [(*row[:6], worker) for row in rows])
    connection.executemany(LEAVE_LINE, [row[:1] for row in rows])
    connection.execute("COMMIT")
    return rows


def settle(connection: sqlite3.Connection, leases: list[tuple]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(RECORD, leases)
    connection.executemany(END_LEASE, leases)
    connection.executemany(END_JOB, [lease[:1] for lease in leases])
    connection.execute("COMMIT")


if __name__ == "__main__":
    connection = sqlite3.connect(sys.argv[1], isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    begun, cpu = time.perf_counter(), time.process_time()
    jobs = drain(connection)
    print(json.dumps({"jobs": jobs, "seconds": time.perf_counter() - begun, "cpu_s": time.process_time() - cpu}))
    connection.close()
