"""Aging: what has waited too long comes next. A step of one move, in the caller's transaction."""

from __future__ import annotations

from datetime import timedelta

from django_jobqueue import failpoints
from django_jobqueue.queues.orm.dialect import Dialect
from django_jobqueue.queues.orm.rows import JOBS, READY, marks


def age(dialect: Dialect, queue: str, seconds: float, limit: int) -> int:
    """Each statement reads a few entries of the line's index, however long the line is.

    Rows are locked before they are changed, and those that somebody claims just now are passed over: a job is given
    another priority while it waits, or not at all.
    """
    top = _edge(dialect, "MAX", queue)
    since = round((dialect.now() - timedelta(seconds=seconds)).timestamp() * 1e9)  # a place is such a moment
    aged, level = 0, _edge(dialect, "MIN", queue)
    while level is not None and top is not None and level < top and aged < limit:
        aged += _lift(dialect, queue, level, top, since, limit - aged)
        level = _edge(dialect, "MIN", queue, level)
    if aged:
        failpoints.hit("age.before_commit")
    return aged


def _edge(dialect: Dialect, which: str, queue: str, above: int | None = None) -> int | None:
    """The highest or the lowest priority that waits."""
    condition, values = ("", []) if above is None else ("AND priority > %s", [above])
    rows = dialect.rows(f"SELECT {which}(priority) FROM {READY} WHERE queue = %s {condition}", [queue, *values])
    return None if rows[0][0] is None else int(rows[0][0])


def _lift(dialect: Dialect, queue: str, level: int, top: int, since: int, limit: int) -> int:
    rows = dialect.rows(
        f"SELECT job_id FROM {READY} WHERE queue = %s AND priority = %s AND seq <= %s "
        f"ORDER BY seq LIMIT {int(limit)} {dialect.skip_locked}",
        [queue, level, since],
    )
    ids = [row[0] for row in rows]
    for table, key in ((READY, "job_id"), (JOBS, "id")):
        if ids:
            dialect.execute(f"UPDATE {table} SET priority = %s WHERE {key} IN ({marks(len(ids))})", [top, *ids])
    return len(ids)
