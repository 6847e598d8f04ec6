from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from unittest.mock import Mock
from uuid import uuid4

import pytest
from django.db import DatabaseError, connection, transaction

from django_jobqueue import failpoints
from django_jobqueue.exceptions import EnqueueError
from django_jobqueue.models import JobTag
from django_jobqueue.queues.orm.queue import OrmQueue
from django_jobqueue.queues.orm.rows import DELAYED, JOBS, LOCKS, READY
from tests.queues.hooks import claim, job, jobs
from tests.queues.orm import OrmContract


@pytest.mark.django_db(transaction=True, databases=["default"])
class TestSQLiteQueue(OrmContract):
    database = "default"


@pytest.fixture
def queue():
    return OrmQueue()


@pytest.fixture
def other(db_file):
    """Another program's connection to the same file."""
    with closing(sqlite3.connect(db_file, isolation_level=None, timeout=0)) as connection:
        yield connection


@pytest.fixture
def db_file():
    return connection.settings_dict["NAME"]


@contextmanager
def statements():
    """What the driver is told, past Django's own log, too."""
    seen = []
    connection.ensure_connection()
    connection.connection.set_trace_callback(seen.append)
    try:
        yield seen
    finally:
        connection.connection.set_trace_callback(None)


def stored(other):
    return [other.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in (JOBS, READY)]


@pytest.mark.django_db(transaction=True)
def test_p1_a_fresh_job_is_stored_whole_or_not_at_all(queue, other, monkeypatch):
    """It has a transaction of its own, past Django's."""
    monkeypatch.setattr(failpoints, "hit", Mock(side_effect=[DatabaseError("no"), None, None]))
    with pytest.raises(EnqueueError):
        queue.push(job(), fresh=True)
    assert stored(other) == [0, 0]
    queue.push(job(), fresh=True)
    assert stored(other) == [1, 1]


@pytest.mark.django_db(transaction=True)
def test_p1_a_fresh_job_waits_for_the_commit_of_a_project_without_autocommit(queue, other):
    transaction.set_autocommit(False)
    try:
        JobTag.objects.create(job_id=uuid4(), tag="written first")
        queue.push(job(), fresh=True)
        assert stored(other) == [0, 0]
        transaction.commit()
        assert stored(other) == [1, 1]
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


@pytest.mark.django_db(transaction=True)
def test_a_fresh_job_for_a_locked_database_raises_what_the_field_raises(queue, other):
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout = 10")
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(EnqueueError, match="database is locked"):
            queue.push(job(), fresh=True)
    finally:
        other.execute("ROLLBACK")
        connection.close()
    queue.push(job(), fresh=True)
    assert stored(other) == [1, 1]


@pytest.mark.django_db(transaction=True)
def test_the_claim_reads_the_line_in_order_and_stops(queue):
    queue.push(*jobs(2_000))
    with statements() as seen:
        assert len(claim(queue, 5)) == 5
    [line] = [sql for sql in seen if "priority DESC" in sql]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {line}")
        plan = " ".join(row[-1] for row in cursor.fetchall())
    assert "USING INDEX jobqueue_ready_line" in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.django_db(transaction=True)
def test_a_push_writes_few_pages(queue, db_file):
    """With tables in the usual form and keys of all jobs in their index it is 6.6 of them."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        cursor.fetchall()
    for _ in range(100):
        queue.push(job(), fresh=True)
    assert Path(f"{db_file}-wal").stat().st_size / 4_096 / 100 < 5.3


@pytest.mark.parametrize("table", [READY, DELAYED, LOCKS])
@pytest.mark.django_db
def test_django_knows_tables_that_lie_in_their_key(table):
    """It reads the text that made them."""
    look, (model,) = connection.introspection, connection.introspection.installed_models([table])
    with connection.cursor() as cursor:
        cursor.execute("SELECT sql FROM sqlite_master WHERE name = %s", [table])
        assert cursor.fetchone()[0].endswith(") WITHOUT ROWID")
        assert look.get_primary_key_columns(cursor, table) == [model._meta.pk.column]
        described = {column.name for column in look.get_table_description(cursor, table)}
        known = {index.name for index in model._meta.indexes}
        assert described == {field.column for field in model._meta.local_fields}
        assert known <= look.get_constraints(cursor, table).keys()
