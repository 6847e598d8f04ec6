"""What a worker sends with each batch is planned once in a session, where the session is the server's own."""

from __future__ import annotations

from contextlib import suppress

import psycopg
import pytest
from django.db import DatabaseError, connections, transaction

from django_jobqueue.lifecycle.outcomes import Timing, completed
from django_jobqueue.models import Job
from django_jobqueue.queues.orm import OrmQueue, preparing
from tests.queues.hooks import job, joined

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
TURNS = preparing.THRESHOLD + 2


@pytest.fixture
def queue(monkeypatch):
    monkeypatch.setattr(preparing, "_has_failed", False)
    connections["postgres"].close()  # what it knows is from other tests
    queue = OrmQueue("postgres", database="postgres")
    yield queue
    queue.close()
    connections["postgres"].close()


def turn(queue, worker, held=()):
    return queue.exchange([completed(one, "", Timing()) for one in held], (), 1, worker).reservations


def work(queue, turns=TURNS):
    """Claims and settles one job after the other, as a worker does; then nothing is there."""
    worker, held = joined(queue), ()
    queue.push(*(job() for _ in range(turns)))
    for _ in range(turns):
        held = turn(queue, worker, held)
        assert held
    assert not turn(queue, worker, held)
    assert not Job.objects.using("postgres").exists()


def prepared():
    with connections["postgres"].cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        return [sql for (sql,) in cursor.fetchall()]


def test_claims_and_settlements_are_prepared_and_nothing_else_is(queue):
    work(queue)
    for _ in range(TURNS):
        list(Job.objects.using("postgres").filter(task="a"))
    assert connections["postgres"].connection.prepare_threshold is None
    assert any("WITH line" in sql for sql in prepared())
    assert any("WITH done" in sql for sql in prepared())
    assert not [sql for sql in prepared() if 'SELECT "jobqueue_jobs"' in sql]


@pytest.mark.parametrize("threshold", [None, 1], ids=["django", "project"])
def test_a_large_settlement_is_planned_for_its_size(queue, threshold):
    """A plan that is kept is one for a few: with five hundred jobs it cost the server three times as much."""
    connections["postgres"].ensure_connection()
    connections["postgres"].connection.prepare_threshold = threshold
    worker, many = joined(queue), preparing.FEW + 1
    for _ in range(TURNS):
        queue.push(*(job() for _ in range(many)))
        held = queue.exchange([], ("default",), many, worker).reservations
        assert len(held) == many
        queue.exchange([completed(one, "", Timing()) for one in held], ("default",), 0, worker)
    assert any("WITH line" in sql for sql in prepared())
    assert not any("WITH done" in sql for sql in prepared())


def test_nothing_is_behind_a_pooler_which_makes_up_the_number_of_the_process(queue, monkeypatch):
    monkeypatch.setattr(psycopg.ConnectionInfo, "backend_pid", 434_848_147)
    work(queue)
    assert prepared() == []


def test_a_project_that_says_itself_when_to_prepare_is_not_asked(queue):
    connections["postgres"].ensure_connection()
    connections["postgres"].connection.prepare_threshold = 1_000
    work(queue)
    assert prepared() == []
    assert connections["postgres"].connection.prepare_threshold == 1_000


def test_where_each_move_is_rolled_back_nothing_is_prepared_in_vain(queue):
    worker = joined(queue)
    for _ in range(TURNS):
        queue.push(job())
        assert turn(queue, worker)
        with suppress(DatabaseError), transaction.atomic("postgres"), connections["postgres"].cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
    assert prepared() == []


def test_a_session_that_forgot_them_costs_one_try(queue):
    work(queue)
    connections["postgres"].connection.pgconn.exec_(b"DEALLOCATE ALL")  # behind the back of psycopg
    queue.push(job())
    worker = joined(queue)
    with pytest.raises(DatabaseError):
        turn(queue, worker)
    connections["postgres"].close()
    held = turn(queue, worker)
    assert len(held) == 1
    turn(queue, worker, held)
    work(queue)
    assert prepared() == []
