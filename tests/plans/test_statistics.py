"""SQLite believes what ANALYZE saw for ever, so what it saw in our tables is forgotten, in every connection."""

from __future__ import annotations

import itertools
import sqlite3

import pytest
from django.db import connection, transaction

from django_jobqueue.queues.orm import OrmQueue, statistics
from tests.plans.filling import analyze
from tests.queues.hooks import job

pytestmark = pytest.mark.django_db(transaction=True)
LOOK = "EXPLAIN QUERY PLAN SELECT task FROM jobqueue_jobs WHERE id IN ('a', 'b', 'c')"
TURNS = itertools.count()
KNOWN = "SELECT DISTINCT tbl FROM sqlite_stat1 WHERE tbl LIKE 'jobqueue%' OR tbl = 'of_others'"


@pytest.fixture
def queue():
    """With statistics of one job, and of a table of the project's."""
    queue = OrmQueue("default", database="default")
    queue.push(job(unique_key="an index that is empty says nothing"))
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE of_others (n)")
        cursor.execute("INSERT INTO of_others VALUES (1)")
    analyze("default")
    statistics._look_at.clear()
    yield queue
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE of_others")
        cursor.execute("DROP TABLE sqlite_stat1")
    connection.close()


@pytest.fixture
def other():
    """Another process's connection."""
    driver = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    driver.execute("PRAGMA busy_timeout = 0")
    yield driver
    driver.close()


def plan(driver):
    """A plan that was made stays, but a statement that runs is made anew: so it is a text of its own each time."""
    return [row[-1] for row in driver.execute(f"{LOOK} -- {next(TURNS)}")]


def known(driver):
    return {name for (name,) in driver.execute(KNOWN)}


def test_every_connection_forgets_ours_and_keeps_those_of_others(queue, other):
    assert plan(other) == ["SCAN jobqueue_jobs"] == plan(connection.connection)  # or this test shows nothing
    queue.reclaim()
    assert known(other) == {"of_others"}
    for driver in (other, connection.connection):
        assert plan(driver) == ["SEARCH jobqueue_jobs USING INDEX sqlite_autoindex_jobqueue_jobs_1 (id=?)"]


def test_it_is_looked_for_now_and_then_and_never_inside_somebody_elses_transaction(queue, other):
    with transaction.atomic():
        queue.reclaim()
        assert "jobqueue_jobs" in known(connection.connection)
    queue.reclaim()
    analyze("default")
    queue.reclaim()
    assert "jobqueue_jobs" in known(other)


def test_the_lock_of_somebody_else_is_not_our_error(queue, other):
    connection.cursor().execute("PRAGMA busy_timeout = 0")
    other.execute("BEGIN IMMEDIATE")
    statistics.forget(connection)
    other.execute("COMMIT")
    assert "jobqueue_jobs" in known(other)
    assert not connection.connection.in_transaction
