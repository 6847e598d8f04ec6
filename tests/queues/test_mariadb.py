from __future__ import annotations

from unittest.mock import patch

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from pymysql.cursors import Cursor

from django_jobqueue.jobs.codec import encode_call
from django_jobqueue.models import JobHistory
from django_jobqueue.queues.base import Move, Settlement
from django_jobqueue.queues.orm.queue import OrmQueue, dialect_of
from tests.queues.hooks import HOUR, claim, job, jobs, joined, settle
from tests.queues.orm import OrmContract

QUEUES = ("first", "second", "third")
ROWS = 3_000


@pytest.mark.django_db(transaction=True, databases=["mariadb"])
class TestMariaDBQueue(OrmContract):
    database = "mariadb"
    has_deadlocks = True


@pytest.fixture
def queue(transactional_db):
    return OrmQueue("mariadb", database="mariadb")


def rows_read():
    """Entries of tables and indexes that this session has looked at since the last question."""
    with connections["mariadb"].cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        found = sum(int(value) for _, value in cursor.fetchall())
        cursor.execute("FLUSH STATUS")
    return found


@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True, databases=["mariadb"])
@pytest.mark.parametrize("names", [[], ["second"]], ids=["all", "named"])
def test_a_worker_reads_what_it_takes_and_not_the_line(queue, names):
    """The line had no index here: Django leaves out indexes of expressions on MariaDB, and says so only when asked."""
    for name in QUEUES:
        queue.push(*jobs(ROWS // 3, queue=name, priority=5), *jobs(20, queue=name, delay=HOUR))
    worker = joined(queue)
    rows_read()
    mine = claim(queue, 5, worker, names)
    assert len(mine) == 5
    assert rows_read() < 100
    assert all(settle(queue, one) for one in mine)
    assert rows_read() < 100
    queue.promote()
    queue.wait(names, 0)
    assert rows_read() < 30


VALUES = [
    "",
    "plain text: 2026-01-02 03:04:05.000006",
    "it's",
    "' OR 1=1 -- ",
    "a \\ b \\' c",
    '"quoted"',
    "100 %",
    "%s %d %(name)s %%",
    "lines\nand\ttabs\r\0",
    "ünïcödé 🎉",
    *map(chr, range(32, 127)),
    *(0, -1, 2**62, None, 1.5, True),
]


@pytest.mark.mariadb
@pytest.mark.django_db(databases=["mariadb"])
def test_each_value_arrives_as_it_is():
    """We write harmless ones into the statement ourselves."""
    dialect = dialect_of("mariadb")
    for value in VALUES:
        assert dialect.rows("SELECT %s, 'a', %s", [value, "b"]) == [(value, "a", "b")], repr(value)
    assert dialect.rows(f"SELECT {', '.join(['%s'] * len(VALUES))}", VALUES) == [tuple(VALUES)]
    assert dialect.rows("SELECT 'a' LIKE 'a%%', %s", ["it's %"]) == [(1, "it's %")]


@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True, databases=["mariadb"])
def test_a_claim_reads_few_values_and_writes_few(queue):
    """It is the driver's time, for each of them: it was fourteen to read and twelve to write."""
    queue.push(*jobs(50))
    worker = joined(queue)
    read, before = [], Cursor._do_get_result

    def counted(self):
        before(self)
        read.extend(self._rows or ())

    with patch.object(Cursor, "_do_get_result", counted), CaptureQueriesContext(connections["mariadb"]) as seen:
        assert len(claim(queue, 50, worker)) == 50
    assert sum(map(len, read)) < 50 * 4 + 20
    [lease] = [one["sql"] for one in seen if one["sql"].lstrip().startswith("INSERT")]
    assert len(lease) < 50 * 42 + 400


@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True, databases=["mariadb"])
def test_a_claim_gives_each_value_as_it_is_stored(queue):
    """Also of a job at the end of its numbers, and with a place in the line between them that has no job."""
    plain, full = (
        job(),
        job(task="tests.other", args=encode_call((" a b ",), {}), timeout=0.1, crash_budget=7, priority=5),
    )
    gone = job(priority=1)
    queue.push(plain, full, gone)
    with connections["mariadb"].cursor() as cursor:
        cursor.execute("UPDATE jobqueue_job_priorities SET lease_no = 2147483647, attempt = 32767 WHERE priority = 5")
        cursor.execute("DELETE FROM jobqueue_jobs WHERE priority = 1")
    first, second = claim(queue, 5, worker := joined(queue))
    held = sorted(queue.leases(worker), key=lambda one: -one.priority)
    assert [(one.job_id, one.lease_no, one.attempt) for one in held] == [
        (one.job_id, one.lease_no, one.attempt) for one in (first, second)
    ]
    assert (first.job_id, first.timeout, first.crash_budget, first.args) == (full.id, 0.1, 7, full.args)
    assert (first.lease_no, first.attempt, first.priority) == (2_147_483_647, 32_767, 5)
    assert (second.job_id, second.timeout, second.crash_budget) == (plain.id, None, None)
    assert (second.lease_no, second.attempt, second.task, second.max_attempts) == (1, 1, plain.task, 3)
    assert first.created_at == second.created_at <= second.claimed_at
    assert claim(queue, 5) == []
    assert all(settle(queue, one) for one in (first, second))


@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True, databases=["mariadb"])
def test_an_insert_is_no_longer_than_a_server_takes(queue):
    long = [job(args=encode_call(("x" * 250_000,), {})) for _ in range(9)]
    queue.push(*long)
    held = claim(queue, 9)
    with CaptureQueriesContext(connections["mariadb"]) as seen:
        assert all(queue.settle([Settlement(one, Move.COMPLETED) for one in held]))
    records = [len(one["sql"]) for one in seen if "jobqueue_job_history" in one["sql"]]
    assert len(records) == 3
    assert max(records) < 1_010_000


@pytest.mark.mariadb
@pytest.mark.parametrize("is_mariadb", [True, False])
@pytest.mark.django_db(transaction=True, databases=["mariadb"])
def test_only_a_lease_that_is_held_with_its_number_completes(queue, monkeypatch, is_mariadb):
    """MySQL can't say what it deletes."""
    queue.push(*jobs(3))
    first, second, third = claim(queue, 3)
    monkeypatch.setattr(connections["mariadb"], "mysql_is_mariadb", is_mariadb)
    ends = [Settlement(one, Move.COMPLETED) for one in (first, second._replace(lease_no=9), third, first)]
    assert queue.settle(ends) == [True, False, True, False]
    recorded = JobHistory.objects.using("mariadb").values_list("job_id", flat=True)
    assert {*recorded} == {first.job_id, third.job_id}
    assert queue.find(second.job_id).lease_no == second.lease_no
