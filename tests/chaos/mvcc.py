"""A transaction that nobody ends, and 100,000 dead tuples in the tables of live jobs: how long a claim takes then.

    python -m tests.chaos.mvcc

PostgreSQL can't remove what an open snapshot may still see: VACUUM runs and frees nothing, and an index keeps an entry
for every job that has passed. Measured is what a worker does: a claim of ten jobs by `Queue.reserve`, everything that
it asks the database on the way included.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from typing import Any

import psycopg

from tests.chaos.ground import Ground, each_store

AT_ONCE = 10
CLAIMS = 300
AT_MOST = 5.0
"""Times the baseline: p95 of a claim."""
DEAD = """
SELECT relname, n_dead_tup FROM pg_stat_user_tables
WHERE relname IN ('jobqueue_jobs', 'jobqueue_job_priorities', 'jobqueue_job_locks') ORDER BY 1
"""


def run(given: argparse.Namespace) -> list[str]:
    with Ground("postgres", 600.0) as ground:
        stage = ground.open_stage()
        from tests.chaos.passing import Passage

        passage = Passage(stage.queue)
        passage.fill(AT_ONCE * CLAIMS * 2)
        vacuum(stage)
        before = passage.claims(CLAIMS, AT_ONCE)
        with closing(pinned(stage)):
            passage.drain(given.tuples)
            passage.fill(AT_ONCE * CLAIMS * 2)
            vacuum(stage)
            dead = dead_tuples(stage)
            after = passage.claims(CLAIMS, AT_ONCE)
            vacuum(stage)
            again = passage.claims(CLAIMS, AT_ONCE)
        vacuum(stage)
        healed = passage.claims(CLAIMS, AT_ONCE)
        stage.close()
    print(f"\npostgres: claims of {AT_ONCE} jobs, {CLAIMS} each time; dead tuples that can't be removed: {dead}")
    for what, times in (("baseline", before), ("pinned", after), ("pinned, later", again), ("let go", healed)):
        print(f"  {what:14} p50 {times[CLAIMS // 2]:7.2f} ms   p95 {p95(times):7.2f} ms   max {times[-1]:7.2f} ms")
    ratio = max(p95(after), p95(again)) / p95(before)
    print(f"  p95 is {ratio:.1f} times the baseline")
    problems = [] if ratio <= AT_MOST else [f"p95 of a claim is {ratio:.1f} times the baseline, more than {AT_MOST}"]
    if min(dead.values()) < given.tuples:
        problems.append("there were too few dead tuples: nothing was proved")
    return problems


def p95(times: list[float]) -> float:
    return times[int(len(times) * 0.95)]


def pinned(stage: Any) -> psycopg.Connection[Any]:
    """A transaction whose snapshot sees every job that is there now."""
    from django.db import connections

    settings = connections[stage.alias].settings_dict
    return pin(psycopg.connect(host=settings["HOST"], user=settings["USER"], dbname=settings["NAME"]))


def pin(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """Begin a transaction on it whose snapshot keeps every tuple that dies from now on. Nobody ends it."""
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    connection.execute("SELECT count(*) FROM jobqueue_jobs")
    return connection


def vacuum(stage: Any) -> None:
    from django.db import connections

    with connections[stage.alias].cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def dead_tuples(stage: Any) -> dict[str, int]:
    """Per table of live jobs, as VACUUM has just counted them."""
    from django.db import connections

    with connections[stage.alias].cursor() as cursor:
        cursor.execute(DEAD)
        return dict(cursor.fetchall())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tuples", type=int, default=100_000, help="Dead ones (default: %(default)s).")
    return each_store("tests.chaos.mvcc", run, parser, ("postgres",))


if __name__ == "__main__":
    sys.exit(main())
