"""Every move reads by the intended index, whatever the tables hold and whatever the planner believes of them.

With JOBQUEUE_PLANS_ROWS=1000000 it is a million rows of each kind.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connections

from django_jobqueue.queues.base import Move, Settlement
from django_jobqueue.queues.orm import OrmQueue, statistics
from tests.plans.explaining import Plan, explained
from tests.plans.filling import TABLES, analyze, delayed_jobs, empty, fill, passed_jobs
from tests.plans.moves import moves
from tests.queues.hooks import claim, jobs, joined

ROWS = [int(one) for one in os.environ.get("JOBQUEUE_PLANS_ROWS", "0,1000,20000").split(",")]
SOME = ROWS[-2:-1] or ROWS
"""Of SQLite, which plans by statistics alone, and of MariaDB, which looks into the index itself."""
SMALL = {"postgresql": 256, "sqlite": 0, "mysql": 0}
"""Pages. PostgreSQL knows how long a table is, and reads one that is so short whole where that is quicker."""
FEW = {"job_locks", "worker_processes"}
"""As many rows as jobs and workers run at once: these may be read whole, whatever waits."""

LINE, DUE, ONCE = "jobqueue_ready_line", "jobqueue_delayed_due", "jobqueue_history_once"
UNNAMED = {"sqlite_autoindex_jobqueue_job_history_1": ONCE}
"""SQLite keeps no names of unique constraints."""
READ_BEFORE = "Select tables optimized away"
"""MariaDB takes the first of an index while it plans, and names no table then."""
INTENDED = {
    "push": ("job_history", ONCE),
    "claim": ("job_priorities", LINE),
    "claim of any": ("job_priorities", LINE),
    "find": ("job_priorities", LINE),
    "age": ("job_priorities", LINE),
    "promote": ("delayed_jobs", DUE),
    "next due": ("delayed_jobs", DUE),
    "relay: look": ("delayed_jobs", DUE),
    "relay: over": ("job_history", ONCE),
    "tick: take": ("recurring_jobs", "jobqueue_recurring_due"),
    "tick: next": ("recurring_jobs", "jobqueue_recurring_due"),
    "prune history": ("job_history", "jobqueue_history_age"),
    "prune letters": ("dead_letter_jobs", "jobqueue_dead_age"),
}
IN_ORDER = {"claim", "claim of any", "promote", "tick: take", "prune history", "prune letters"}
"""These take the first rows of an index, and sort nothing that they would have to read to its end."""


def filled(queue, rows, name="default"):
    holder = queue._dialect().to_id(joined(queue))
    fill(queue.database, rows, f"'{holder}'", name)


def never_analyzed(queue, rows):
    filled(queue, rows)


def analyzed(queue, rows):
    filled(queue, rows)
    analyze(queue.database)


def analyzed_when_empty(queue, rows):
    analyze(queue.database)
    filled(queue, rows)


def analyzed_with_one_row(queue, rows):
    filled(queue, 1)
    analyze(queue.database)
    empty(queue.database)
    filled(queue, rows)


def analyzed_when_full(queue, rows):
    filled(queue, max(1_000, rows))
    analyze(queue.database)
    empty(queue.database)
    filled(queue, rows)


def analyzed_with_other_queues(queue, rows):
    filled(queue, max(1_000, rows), "other")
    analyze(queue.database)
    empty(queue.database)
    filled(queue, rows)


STATISTICS = [
    never_analyzed,
    analyzed,
    analyzed_when_empty,
    analyzed_with_one_row,
    analyzed_when_full,
    analyzed_with_other_queues,
]


@contextmanager
def by_hand(alias: str) -> Iterator[None]:
    """No autovacuum: the statistics are what the test makes of them. At the end there are none."""
    postgres = connections[alias].vendor == "postgresql"
    with connections[alias].cursor() as cursor:
        for table in ("jobs", *TABLES) if postgres else ():
            cursor.execute(f"ALTER TABLE jobqueue_{table} SET (autovacuum_enabled = false)")
    try:
        yield
    finally:
        empty(alias)
        with connections[alias].cursor() as cursor:
            for table in ("jobs", *TABLES) if postgres else ():
                cursor.execute(f"ALTER TABLE jobqueue_{table} RESET (autovacuum_enabled)")
            if connections[alias].vendor == "sqlite":
                cursor.execute("DROP TABLE IF EXISTS sqlite_stat1")
                cursor.execute("DROP TABLE IF EXISTS sqlite_stat4")
        connections[alias].close()


def problems(alias, name, plan: Plan, sizes) -> Iterator[str]:
    """What is wrong with a plan of the move `name`."""
    short = {table.removeprefix("jobqueue_"): index for table, index in sorted(plan.reads)}
    limit = SMALL[connections[alias].vendor]
    for table, index in short.items():
        is_whole = not index and not plan.sql.rstrip().endswith("LIMIT 1")
        if is_whole and table in sizes and table not in FEW and sizes[table] > limit:
            yield f"{name}: reads {table} whole"
    table, _ = INTENDED.get(name, ("", ""))
    if name in IN_ORDER and f"jobqueue_{table}" in plan.sorts and sizes[table] > limit:
        yield f"{name}: sorts {table}"


def pages(alias) -> dict[str, int]:
    with connections[alias].cursor() as cursor:
        if connections[alias].vendor != "postgresql":
            found = {}
            for table in ("jobs", *TABLES):
                cursor.execute(f"SELECT count(*) FROM jobqueue_{table}")
                found[table] = cursor.fetchone()[0] // 100
            return found
        cursor.execute(
            "SELECT replace(relname, 'jobqueue_', ''), pg_relation_size(oid) / 8192 FROM pg_class "
            "WHERE relname LIKE 'jobqueue_%' AND relkind = 'r'"
        )
        return dict(cursor.fetchall())


def look_at_all(alias, state, rows, how):
    queue, found = OrmQueue(alias, database=alias), []
    with by_hand(alias):
        state(queue, rows)
        sizes = pages(alias)
        statistics._look_at.clear()  # as if ten seconds had passed
        queue.reclaim()
        for name, move in moves(queue):
            with explained(alias, how) as plans:
                move()
            assert plans, name
            wrong = [f"{one}\n{plan.sql}\n{plan.text}" for plan in plans for one in problems(alias, name, plan, sizes)]
            table, index = INTENDED.get(name, ("", ""))
            used = {(read, UNNAMED.get(by, by)) for plan in plans for read, by in plan.reads}
            is_long = table and sizes[table] > SMALL[connections[alias].vendor]
            is_read = (f"jobqueue_{table}", index) in used or any(READ_BEFORE in plan.text for plan in plans)
            if is_long and not is_read:
                wrong.append(f"{name}: {index} is not among {sorted(used)}")
            found += wrong
    queue.close()
    assert not found, "\n\n".join(found)


@pytest.mark.django_db(transaction=True, databases=["postgres"])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("state", STATISTICS)
def test_postgresql_reads_by_the_intended_indexes(state, rows):
    look_at_all("postgres", state, rows, "custom")


@pytest.mark.django_db(transaction=True, databases=["postgres"])
@pytest.mark.parametrize("count", [1, 10, 300, 500])
def test_a_settlement_walks_past_no_jobs_that_have_passed(count):
    """Beside a snapshot that nobody ends. The planner takes all the jobs and leases there are for one row."""
    queue = OrmQueue("postgres", database="postgres")
    with by_hand("postgres"):
        passed_jobs("postgres", 30_000)
        analyze("postgres")
        queue.push(*jobs(count))
        line = claim(queue, count)
        sizes = pages("postgres")
        with explained("postgres") as plans:
            assert all(queue.settle([Settlement(one, Move.COMPLETED) for one in line]))
    queue.close()
    assert min(sizes["job_locks"], sizes["jobs"]) > SMALL["postgresql"]
    (plan,) = (plan for plan in plans if plan.sql.startswith("WITH done"))
    assert not plan.walked & {"jobqueue_jobs", "jobqueue_job_locks"}, plan.text


@pytest.mark.django_db(transaction=True, databases=["postgres"])
@pytest.mark.parametrize("how", ["custom", "generic"])
def test_a_promotion_sorts_not_all_that_are_due_where_few_are_expected(how):
    """Of a table that nobody has looked at: less than the limit, so why not sort them? A million may be due."""
    queue = OrmQueue("postgres", database="postgres")
    with by_hand("postgres"):
        delayed_jobs("postgres", 60_000)
        queue.push(*jobs(1, delay=0))
        assert pages("postgres")["delayed_jobs"] > SMALL["postgresql"]
        with explained("postgres", how) as plans:
            queue.promote()
    queue.close()
    (plan,) = (plan for plan in plans if "INSERT" in plan.sql)
    assert ("jobqueue_delayed_jobs", DUE) in plan.reads
    assert "jobqueue_delayed_jobs" not in plan.sorts, plan.text


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("rows", SOME)
@pytest.mark.parametrize("state", STATISTICS)
def test_sqlite_reads_by_the_intended_indexes(state, rows):
    look_at_all("default", state, rows, "")


@pytest.mark.django_db(transaction=True, databases=["mariadb"])
@pytest.mark.parametrize("rows", SOME)
@pytest.mark.parametrize("state", STATISTICS)
def test_mariadb_reads_by_the_intended_indexes(state, rows):
    look_at_all("mariadb", state, rows, "")
