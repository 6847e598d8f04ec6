"""The limit on SQLite: the same loop with the standard library's sqlite3; each claim and each settlement one commit."""

from __future__ import annotations

import sqlite3
from uuid import uuid4

from tests.benchmarks import recording
from tests.benchmarks.systems.base import Setup, System

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
BATCH = 100
TABLE = "CREATE TABLE raw_jobs (id text PRIMARY KEY, args text NOT NULL)"
PUSH = "INSERT INTO raw_jobs (id, args) VALUES (?, ?)"
ARGS = '{"args":[0],"kwargs":{}}'


class RawSQLite(System):
    name, stores = "raw", ("sqlite",)
    promise = "nothing is run"
    setups = (Setup("1 connection"),)
    filled_by = "ours"
    left = "SELECT 1 FROM jobqueue_jobs LIMIT 1"
    done = "SELECT count(*) FROM jobqueue_job_history"
    ends_by_itself = True

    def open(self) -> None:
        self.connection = sqlite3.connect(self.address, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=NORMAL")

    def prepare(self) -> None:
        self.open()
        self.connection.execute(TABLE)

    def enqueue(self, sent_ns: int) -> None:
        self.connection.execute(PUSH, [uuid4().hex, ARGS])

    def work(self, *options: str) -> None:
        worker = uuid4().hex
        while rows := self.claim(worker):
            for _ in rows:
                recording.run(0)
            self.settle([row[:2] for row in rows])

    def claim(self, worker: str) -> list[tuple]:
        self.connection.execute("BEGIN IMMEDIATE")
        rows = self.connection.execute(CLAIM, ["default", BATCH]).fetchall()
        self.connection.executemany(LEASE, [(*row[:6], worker) for row in rows])
        self.connection.executemany(LEAVE_LINE, [row[:1] for row in rows])
        self.connection.execute("COMMIT")
        return rows

    def settle(self, leases: list[tuple]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany(RECORD, leases)
        self.connection.executemany(END_LEASE, leases)
        self.connection.executemany(END_JOB, [lease[:1] for lease in leases])
        self.connection.execute("COMMIT")
