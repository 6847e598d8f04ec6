"""The one write lock of a SQLite file: how it is waited for, and what is not done under way."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock
from uuid import uuid4

import pytest
from django.db import connection, transaction

from django_jobqueue import failpoints
from django_jobqueue.queues.orm import checkpoints, taking_turns
from django_jobqueue.queues.orm.queue import OrmQueue
from tests.queues.hooks import claim, job, joined, settle

pytestmark = pytest.mark.django_db(transaction=True)
LIMIT = 20
"""Pages in the log: less than ten jobs have written, but not an eighth of it."""


@pytest.fixture
def queue():
    return OrmQueue()


@pytest.fixture
def db_file():
    return connection.settings_dict["NAME"]


@pytest.fixture
def other(db_file):
    with closing(sqlite3.connect(db_file, isolation_level=None, timeout=0)) as other:
        yield other


@pytest.fixture
def pauses(other, monkeypatch):
    """The lock is held until the twentieth look."""
    seen = []

    def sleep(seconds):
        seen.append(seconds)
        if len(seen) == 20:
            other.execute("ROLLBACK")

    monkeypatch.setattr(taking_turns.time, "sleep", sleep)
    other.execute("BEGIN IMMEDIATE")
    return seen


@pytest.fixture
def sent(monkeypatch):
    """Whom a thread was sent for, instead of doing it."""
    seen = []
    monkeypatch.setattr(checkpoints, "bring_in", seen.append)
    monkeypatch.setattr(checkpoints, "_written", {})
    monkeypatch.setattr(checkpoints, "_threads", {})
    yield seen
    pragma("wal_autocheckpoint = 1000")


def pragma(words):
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA {words}")
        return cursor.fetchall()


@pytest.fixture
def worker(queue, sent):
    """One that has joined; the jobs are in the log only."""
    pragma("wal_autocheckpoint = 0")
    pragma("wal_checkpoint(TRUNCATE)")
    for _ in range(10):
        queue.push(job(), fresh=True)
    return joined(queue)


@pytest.mark.parametrize("fresh", [True, False])
def test_who_waits_for_the_lock_looks_again_soon(queue, pauses, fresh):
    """SQLite itself would have slept for 100 ms at a time by then."""
    timeout = pragma("busy_timeout")
    queue.push(job(), fresh=fresh)
    assert len(pauses) == 20
    assert max(pauses) <= 1.5 * taking_turns.LONGEST_SECONDS
    assert pragma("busy_timeout") == timeout != [(0,)]


def test_another_error_is_not_waited_out(monkeypatch):
    monkeypatch.setattr(taking_turns.time, "sleep", pytest.fail)
    with transaction.atomic(), pytest.raises(sqlite3.OperationalError, match="within a transaction"):
        taking_turns.begin(connection.connection, lambda: connection.connection.execute("BEGIN IMMEDIATE"))


def test_a_claim_leaves_the_log_to_a_thread(queue, worker, sent, db_file):
    pragma(f"wal_autocheckpoint = {LIMIT}")
    written = Path(db_file).stat().st_mtime_ns
    assert len(claim(queue, 10, worker)) == 10
    assert Path(db_file).stat().st_mtime_ns == written
    assert pragma("wal_autocheckpoint") == [(LIMIT,)]
    checkpoints._threads["default"].join()
    assert sent == ["default"]


def test_a_settlement_leaves_the_log_to_a_thread(queue, worker, sent, db_file):
    reservation = claim(queue, 10, worker)[0]
    checkpoints._threads.clear()
    checkpoints._written["default"] = 10_000
    pragma(f"wal_autocheckpoint = {LIMIT}")
    written = Path(db_file).stat().st_mtime_ns
    assert settle(queue, reservation)
    assert Path(db_file).stat().st_mtime_ns == written
    checkpoints._threads["default"].join()
    assert sent == ["default"]


def test_a_claim_in_a_log_that_has_grown_too_long_does_it_after_all(queue, worker, db_file):
    pragma(f"wal_autocheckpoint = {LIMIT // checkpoints.PATIENCE}")  # 2 of some sixty
    written = Path(db_file).stat().st_mtime_ns
    assert len(claim(queue, 10, worker)) == 10
    assert Path(db_file).stat().st_mtime_ns > written


def test_where_the_project_wants_no_checkpoints_there_are_none(queue, worker, sent):
    assert len(claim(queue, 10, worker)) == 10
    assert pragma("wal_autocheckpoint") == [(0,)]
    assert not checkpoints._threads


def test_a_claim_that_fails_leaves_the_limit_as_it_was(queue, worker, monkeypatch):
    pragma(f"wal_autocheckpoint = {LIMIT}")
    monkeypatch.setattr(failpoints, "hit", Mock(side_effect=ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
        claim(queue, 10, worker)
    assert pragma("wal_autocheckpoint") == [(LIMIT,)]


def test_the_thread_brings_in_all_of_the_log(queue, monkeypatch, db_file):
    monkeypatch.setattr(checkpoints, "_written", {})
    pragma("wal_checkpoint(TRUNCATE)")
    checkpoints._written["default"] = 10_000
    queue.push(job())
    worker = joined(queue)
    written = Path(db_file).stat().st_mtime_ns
    claim(queue, 1, worker)
    checkpoints._threads["default"].join()
    assert Path(db_file).stat().st_mtime_ns > written


def test_a_thread_without_a_database_says_nothing(monkeypatch):
    other = connection.copy(str(uuid4()))
    other.settings_dict["NAME"] = "/nowhere/at/all"
    monkeypatch.setattr(checkpoints, "connections", {"gone": other})
    checkpoints.bring_in("gone")
