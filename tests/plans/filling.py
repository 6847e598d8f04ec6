"""Tables of any length, made by the database itself."""

from __future__ import annotations

from typing import Any

from django.db import connections

SERIES = {
    "postgresql": "generate_series(1, {count}) n",
    "sqlite": "(WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {count}) SELECT n FROM c) c",
    "mysql": "(SELECT seq AS n FROM seq_1_to_{count}) c",
}
ID = {
    "postgresql": "('{room}-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid",
    "sqlite": "'{room}000070008000' || printf('%012x', n)",
    "mysql": "CONCAT('{room}-0000-7000-8000-', LPAD(LOWER(HEX(n)), 12, '0'))",
}
SPREAD = {
    "postgresql": "timestamptz {from} + n * interval '1 s'",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', julianday({from}) + n / 86400.0)",
    "mysql": "TIMESTAMPADD(SECOND, n, {from})",
}
HELD = 1_000
"""Leases at most: there are as many as jobs run at once, however many wait."""
NOW, LATER = "'2026-11-03 04:05:06.000001'", "'2101-02-03 04:05:06.000001'"

ROOM = "queue, priority, attempt, lease_no, crashes"
IN_ROOM = "'{queue}', n % 3, 0, 0, 0"
JOB = "queue, task, args, priority"
IN_JOB = "'{queue}', 'tests.noop', '', n % 3"
TABLES = {
    "job_priorities": ("1", f"job_id, {ROOM}, seq", f"{{id}}, {IN_ROOM}, n"),
    "delayed_jobs": ("2", f"job_id, {ROOM}, due_at, reason, waiting_on", f"{{id}}, {IN_ROOM}, {{later}}, 'retry', ''"),
    "job_locks": ("3", f"id, name, worker_id, {ROOM}, seq, claimed_at", f"{{id}}, '', {{holder}}, {IN_ROOM}, n, {NOW}"),
    "job_history": (
        "4",
        f"job_id, lease_no, attempt, {JOB}, outcome, result, error_class, error_message, traceback, wait_ms, run_ms, "
        "memory_kb, enqueued_at, finished_at, store",
        f"{{id}}, 1, 1, {IN_JOB}, 'completed', '', '', '', '', 1, 1, 1, {NOW}, {{now}}, ''",
    ),
    "dead_letter_jobs": (
        "5",
        f"id, {JOB}, max_attempts, concurrency_key, attempt, lease_no, crashes, reason, error_class, error_message, "
        "traceback, fingerprint, times_retried, enqueued_at, failed_at, store",
        f"{{id}}, {IN_JOB}, 3, '', 3, 3, 0, 'exhausted', 'E', '', '', '', 0, {NOW}, {{now}}, ''",
    ),
    "recurring_jobs": (
        "6",
        "name, task, args, kind, expression, timezone, backend, queue, jitter, misfire, misfire_limit, grace, overlap, "
        "enabled, source, failures, last_error, next_run_at, due_at",
        f"n, 'tests.noop', '', 'interval', '1 hour', 'UTC', 'default', '', 0, 'once', 10, 60, 'allow', {{true}}, "
        f"'admin', 0, '', {LATER}, {{later}}",
    ),
}
LIVE = ("job_priorities", "delayed_jobs", "job_locks")
JOBS = f"id, {JOB}, max_attempts, concurrency_key, times_retried, created_at"
IN_JOBS = f"{{id}}, {IN_JOB}, 3, '', 0, {NOW}"


def fill(alias: str, count: int, holder: Any, queue: str = "default") -> None:
    """Waiting, delayed, running and finished jobs, dead letters, schedules: so many of each, and none is due."""
    for table, (room, columns, values) in TABLES.items() if count else ():
        rows = min(count, HELD) if table == "job_locks" else count
        _insert(alias, table, room, columns, values, rows, holder=holder, queue=queue)
        if table in LIVE:
            _insert(alias, "jobs", room, JOBS, IN_JOBS, rows, queue=queue)


def _insert(alias: str, table: str, room: str, columns: str, values: str, rows: int, **given: Any) -> None:
    vendor = connections[alias].vendor
    made = ID[vendor].replace("{room}", room.rjust(8, "0"))
    later, now = (SPREAD[vendor].replace("{from}", start) for start in (LATER, NOW))
    true = "1" if vendor == "sqlite" else "true"
    chosen = values.format(id=made, true=true, later=later, now=now, **given)
    with connections[alias].cursor() as cursor:
        cursor.execute(
            f"INSERT INTO jobqueue_{table} ({columns}) SELECT {chosen} FROM {SERIES[vendor].format(count=rows)}"
        )


def delayed_jobs(alias: str, count: int) -> None:
    room, columns, values = TABLES["delayed_jobs"]
    _insert(alias, "delayed_jobs", room, columns, values, count, queue="default")


def passed_jobs(alias: str, count: int) -> None:
    """Rows that have gone and were not removed: so VACUUM leaves them beside a snapshot that may still see them."""
    room, columns, values = TABLES["job_locks"]
    _insert(alias, "job_locks", room, columns, values, count, holder="NULL", queue="default")
    _insert(alias, "jobs", room, JOBS, IN_JOBS, count, queue="default")
    empty(alias)


def empty(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        for table in ("jobs", *TABLES):
            cursor.execute(f"DELETE FROM jobqueue_{table}")


def analyze(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        if connections[alias].vendor != "mysql":
            cursor.execute("ANALYZE")
            return
        for table in ("jobs", *TABLES):
            cursor.execute(f"ANALYZE TABLE jobqueue_{table}")
            cursor.fetchall()
