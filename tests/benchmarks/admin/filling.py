"""Rows by the million, made by the server itself: what a shop would have after a month.

Most work is in two of ten queues and completes. What somebody looks for is rare: three executions of the queue `rare`,
the oldest there are, and none that was discarded.
"""

from __future__ import annotations

from typing import Any

AT_ONCE = 500_000
"""Rows of one statement, which has FIRST and LAST where their numbers stand."""
WORKERS = 40
SCHEDULES = 200

_ID = "(lpad(to_hex((extract(epoch FROM {t}) * 1000)::bigint), 12, '0') || '7' || substr(md5(n || '{salt}'), 1, 3) || '8' || substr(md5(n || '{salt}'), 4, 15))::uuid"  # noqa: E501
_QUEUE = "(ARRAY['default','default','default','default','emails','emails','emails','billing','reports','q' || n % 7])[1 + n * 7919 % 10]"  # noqa: E501
_TASK = "'shop.tasks.task_' || (ARRAY[1,1,1,1,2,2,2,3,3,4 + n % 37])[1 + n * 7907 % 10]"
_ARGS = """'{"args":[' || n || '],"kwargs":{"customer":"C' || n % 100000 || '","amount":"9.90"}}'"""
_OUTCOME = (
    "CASE WHEN n * 7901 % 1000 < 970 THEN 'completed' WHEN n * 7901 % 1000 < 985 THEN 'retrying' "
    "WHEN n * 7901 % 1000 < 992 THEN 'failed' WHEN n * 7901 % 1000 < 995 THEN 'snoozed' "
    "WHEN n * 7901 % 1000 < 998 THEN 'cancelled' ELSE 'lost' END"
)
_TRACE = "repeat('  File \"shop/tasks.py\", line 7, in charge' || chr(10), 20)"
_WORKER = f"('00000000-0000-7000-8000-0000000000' || lpad(to_hex(n % {WORKERS}), 2, '0'))::uuid"


def _moment(days: int, rows: int) -> str:
    """The n-th of so many moments, the last of which is now."""
    return f"(now() - interval '{days} days' * ({rows} - n) / {rows})"


def history(rows: int) -> str:
    finished = _moment(30, rows)
    return f"""
    INSERT INTO jobqueue_job_history (job_id, lease_no, attempt, queue, task, args, priority, outcome, result,
        error_class, error_message, traceback, wait_ms, run_ms, memory_kb, worker_id, enqueued_at, started_at,
        finished_at, store)
    SELECT id, 1, 1, queue, task, args, 0, outcome, CASE outcome WHEN 'completed' THEN '{{"sent":true}}' ELSE '' END,
        CASE WHEN outcome IN ('failed', 'retrying') THEN 'builtins.ValueError' ELSE '' END,
        CASE WHEN outcome IN ('failed', 'retrying') THEN 'card ' || n || ' was refused' ELSE '' END,
        CASE WHEN outcome IN ('failed', 'retrying') THEN {_TRACE} ELSE '' END,
        n % 900, n % 1700, 50000, {_WORKER}, at - interval '2 s', at - interval '1 s', at, ''
    FROM (SELECT n, {_ID.format(t=finished, salt="h")} AS id, {finished} AS at, {_OUTCOME} AS outcome,
                 CASE WHEN n <= 3 THEN 'rare' ELSE {_QUEUE} END AS queue, {_TASK} AS task, {_ARGS} AS args
          FROM generate_series(FIRST::bigint, LAST::bigint) n) made
    """


def letters(rows: int) -> str:
    died = _moment(30, rows)
    return f"""
    INSERT INTO jobqueue_dead_letter_jobs (id, queue, task, args, priority, max_attempts, concurrency_key, attempt,
        lease_no, crashes, reason, error_class, error_message, traceback, fingerprint, times_retried, enqueued_at,
        failed_at, store)
    SELECT {_ID.format(t=died, salt="d")}, CASE WHEN n <= 3 THEN 'rare' ELSE {_QUEUE} END, {_TASK}, {_ARGS}, 0, 3, '',
        3, 3, 0, CASE WHEN n <= 3 THEN 'expired' WHEN n % 50 = 0 THEN 'worker_lost' ELSE 'exhausted' END,
        (ARRAY['builtins.ValueError','builtins.KeyError','builtins.OSError','shop.errors.Refused'])[1 + n % 4],
        'card ' || n || ' was refused', {_TRACE}, md5((n % 20)::text), 0, {died} - interval '1 h', {died}, ''
    FROM generate_series(FIRST::bigint, LAST::bigint) n
    """


def waiting(rows: int) -> str:
    return _live(
        _moment(1, rows),
        "r",
        "INSERT INTO jobqueue_job_priorities (job_id, queue, priority, seq, attempt, lease_no, crashes) "
        "SELECT id, queue, priority, (extract(epoch FROM created_at) * 1000000)::bigint * 1000, 0, 0, 0 FROM made",
    )


def delayed(rows: int) -> str:
    """The older half of what is live, so that a list of the latest finds them last."""
    return _live(
        f"({_moment(7, rows)} - interval '1 day')",
        "w",
        "INSERT INTO jobqueue_delayed_jobs (job_id, queue, priority, due_at, reason, waiting_on, attempt, lease_no, "
        "crashes) SELECT id, queue, priority, created_at + interval '30 days', 'scheduled', '', 0, 0, 0 FROM made",
    )


def _live(moment: str, salt: str, room: str) -> str:
    queue = f"CASE WHEN n <= 3 THEN 'rare' ELSE {_QUEUE} END" if salt == "w" else _QUEUE
    return f"""
    WITH made AS (
        INSERT INTO jobqueue_jobs (id, queue, task, args, priority, max_attempts, concurrency_key, times_retried,
            created_at)
        SELECT {_ID.format(t=moment, salt=salt)}, {queue}, {_TASK}, {_ARGS}, n % 3, 3, '', 0, {moment}
        FROM generate_series(FIRST::bigint, LAST::bigint) n
        RETURNING id, queue, priority, created_at
    ) {room}
    """


def few() -> list[str]:
    """Workers, what they hold, schedules, batches."""
    return [
        f"""INSERT INTO jobqueue_worker_processes (id, name, host, pid, queues, state, desired_state, running,
            completed, failed, rss_kb, version, started_at, heartbeat_at, expires_at, store)
        SELECT {_WORKER}, 'worker ' || n, 'host' || n % 4, n, 'default,emails', 'running', '', '', n * 1000, n, 50000,
            '1', now() - interval '1 day', now(), now() + interval '1 day', ''
        FROM generate_series(1, {WORKERS}) n""",
        f"""WITH taken AS (
            DELETE FROM jobqueue_job_priorities WHERE job_id IN
                (SELECT job_id FROM jobqueue_job_priorities ORDER BY job_id DESC LIMIT 200)
            RETURNING *)
        INSERT INTO jobqueue_job_locks (id, name, worker_id, lease_no, queue, priority, seq, attempt, crashes,
            claimed_at)
        SELECT job_id, '', {_WORKER}, 1, queue, priority, seq, 1, 0, now()
        FROM (SELECT *, row_number() OVER () AS n FROM taken) taken""",
        f"""INSERT INTO jobqueue_recurring_jobs (name, task, args, kind, expression, timezone, backend, queue, jitter,
            misfire, misfire_limit, grace, overlap, enabled, source, last_run_at, next_run_at, due_at, last_job_id,
            failures, last_error)
        SELECT 'schedule ' || n, 'shop.tasks.task_' || n % 40, '', 'interval', '1 hour', 'UTC', 'default', '', 0,
            'once', 10, 60, 'allow', true, 'admin', now() - interval '1 hour', now() + interval '1 hour',
            now() + interval '1 hour', (SELECT job_id FROM jobqueue_job_history WHERE id > n * 100 ORDER BY id LIMIT 1),
            0, ''
        FROM generate_series(1, {SCHEDULES}) n""",
        f"""INSERT INTO jobqueue_job_batches (id, name, total, pending, failed, callbacks, created_at)
        SELECT {_ID.format(t="now()", salt="b")}, 'batch ' || n, 10, n % 5, 0, '', now()
        FROM generate_series(1, 1000) n""",
    ]


def fill(cursor: Any, rows: int, live: int, say: Any) -> None:
    """`rows` of history; `live` dead letters, waiting jobs and delayed ones, each."""
    for table in ("job_history", "dead_letter_jobs", "jobs", "job_priorities", "delayed_jobs"):
        cursor.execute(f"ALTER TABLE jobqueue_{table} SET UNLOGGED")  # nothing is written while pages are read
    for what, make, count in (
        ("history", history, rows),
        ("dead letters", letters, live),
        ("delayed jobs", delayed, live),
        ("waiting jobs", waiting, live),
    ):
        say(f"filling: {count:,} {what}")
        for start in range(1, count + 1, AT_ONCE):
            last = min(count, start + AT_ONCE - 1)
            cursor.execute(make(count).replace("FIRST", str(start)).replace("LAST", str(last)))
    for sql in few():
        cursor.execute(sql)
    say("filling: VACUUM ANALYZE")
    cursor.execute("VACUUM ANALYZE")
