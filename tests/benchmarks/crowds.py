"""What else may be in a store of ours, and what a drain must not pay for: jobs of the past, of tomorrow, blocked ones.

Made by the databases themselves: a million jobs through the API take minutes. On Redis they come through the API.
"""

from __future__ import annotations

from typing import NamedTuple

CROWDS = {"delayed": "delayed jobs", "blocked": "blocked jobs", "past": "old rows"}
"""What a drain should not notice: its kind, and the words for it."""
LONG = "waiting"
BY_API = {"delayed": "delayed", LONG: "many"}
"""What we make through our API on Redis, and the long line everywhere."""
SECONDS = 86_400
"""They are spread over a day."""


class Dialect(NamedTuple):
    """How a database says these things. `n` counts from 1, `{start}` is in seconds from now, `{step}` seconds each."""

    numbers: str
    id: str
    moment: str


POSTGRES = Dialect(
    "generate_series(1, {count}) AS n",
    "('{room}' || lpad(to_hex({n}), 8, '0') || '70008000000000000000')::uuid",
    "now() + ({start} + n * {step}) * interval '1 s'",
)
SQLITE = Dialect(
    "(WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < {count}) SELECT n FROM t)",
    "'{room}' || printf('%08x', {n}) || '70008000000000000000'",
    "strftime('%Y-%m-%d %H:%M:%f', 'now', ({start} + n * {step}) || ' seconds')",
)
MARIADB = Dialect(
    "(SELECT seq AS n FROM seq_1_to_{count}) t",
    "concat('{room}', lpad(hex({n}), 8, '0'), '70008000000000000000')",
    "now(6) + interval ({start} + n * {step}) second",
)
CALL = """'default', 'tests.benchmarks.tasks.noop', '{{"args":[1],"kwargs":{{}}}}', 0"""
PAST = f"""
INSERT INTO jobqueue_job_history
    (job_id, lease_no, queue, task, args, priority, attempt, outcome, result, error_class, error_message, traceback,
     wait_ms, run_ms, memory_kb, worker_id, enqueued_at, started_at, finished_at)
SELECT {{id}}, 1, {CALL}, 1, 'completed', '', '', '', '', 1, 1, 0, NULL, {{moment}}, {{moment}}, {{moment}}
FROM {{numbers}}
"""
"""Finished rows as a day of work leaves them: ids and times grow together."""
JOBS = f"""
INSERT INTO jobqueue_jobs
    (id, queue, task, args, priority, max_attempts, concurrency_key, times_retried, created_at)
SELECT {{id}}, {CALL}, 3, '', 0, {{past}} FROM {{numbers}}
"""
DELAYED = """
INSERT INTO jobqueue_delayed_jobs (job_id, queue, priority, due_at, reason, waiting_on, attempt, lease_no, crashes)
SELECT {id}, 'default', 0, {moment}, 'scheduled', '', 0, 0, 0 FROM {numbers}
"""
BLOCKED = DELAYED.replace("{moment}, 'scheduled'", "NULL, 'blocked'")
DEPENDENCIES = """
INSERT INTO jobqueue_job_dependencies (parent_id, child_id, on_failure)
SELECT {parent}, {id}, 'cancel' FROM {numbers}
"""
"""Each waits for the one before."""
KINDS = {
    "past": ("0190", -SECONDS, (PAST,)),
    "delayed": ("0191", SECONDS, (JOBS, DELAYED)),
    "blocked": ("0192", 0, (JOBS, BLOCKED, DEPENDENCIES)),
}
"""What they are called -> how their ids begin, when the first of them is due or has ended, and what is written."""


def statements(dialect: Dialect, kind: str, count: int) -> list[str]:
    """SQL that adds so many of a kind."""
    room, start, texts = KINDS[kind]
    step = SECONDS / count
    words = {
        "numbers": dialect.numbers.format(count=count),
        "id": dialect.id.format(room=room, n="n"),
        "parent": dialect.id.format(room=room, n="(n - 1)"),
        "moment": dialect.moment.format(start=start, step=step),
        "past": dialect.moment.format(start=-SECONDS, step=step),
    }
    return [text.format(**words) for text in texts]
