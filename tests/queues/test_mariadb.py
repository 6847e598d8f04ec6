from __future__ import annotations

import pytest
from django.db import connections

from django_jobqueue.queues.orm.queue import OrmQueue
from tests.queues.hooks import HOUR, claim, jobs, joined, settle
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
