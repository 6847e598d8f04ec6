from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections, transaction

from django_jobqueue.models import JobLock
from django_jobqueue.queues.base import Move, Settlement
from django_jobqueue.queues.orm import OrmQueue
from tests.queues.hooks import claim, jobs
from tests.queues.orm import OrmContract
from tests.waiting import wait_until


@pytest.mark.django_db(transaction=True, databases=["postgres"])
class TestPostgreSQLQueue(OrmContract):
    database = "postgres"


WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"


def waits_for_us():
    with connections["postgres"].cursor() as cursor:
        cursor.execute(WAITING)
        return cursor.fetchone()[0]


@pytest.mark.django_db(transaction=True, databases=["postgres"])
@pytest.mark.parametrize("count", [1, 20, 300])
@pytest.mark.parametrize(("change", "is_ours"), [({"cancel": 1}, True), ({"lease_no": 7}, False), (None, False)])
def test_p3_a_lease_that_changes_while_its_settlement_waits_is_looked_at_again(count, change, is_ours):
    """Asked to stop it is still ours; with another number, or gone, it is not. In every plan of the statement."""
    queue = OrmQueue("postgres", database="postgres")
    queue.push(*jobs(count))
    line = claim(queue, count)
    last = JobLock.objects.using("postgres").filter(pk=line[-1].job_id)

    def settle():
        try:
            return queue.settle([Settlement(one, Move.COMPLETED) for one in line])
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic(using="postgres"):
            assert last.update(**change) if change else last.delete()
            answer = pool.submit(settle)
            wait_until(waits_for_us, "the settlement waits for the lease")
        assert answer.result() == [True] * (count - 1) + [is_ours]
    assert last.exists() == (change is not None and not is_ours)
    queue.close()


@pytest.mark.django_db(databases=["postgres"])
def test_p7_the_index_of_unique_keys_holds_no_nulls_and_finds_holders():
    with connections["postgres"].cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'jobqueue_jobs' ORDER BY indexname")
        primary, by_key = (row[0] for row in cursor.fetchall())
        assert "jobqueue_jobs_pkey" in primary
        assert by_key.startswith("CREATE UNIQUE INDEX jobqueue_unique_key")
        assert by_key.endswith("WHERE (unique_key IS NOT NULL)")
        cursor.execute("SET LOCAL enable_seqscan = off")
        for keys in ("= 'a'", "IN ('a', 'b')"):
            cursor.execute(f"EXPLAIN SELECT id FROM jobqueue_jobs WHERE unique_key {keys}")
            assert "jobqueue_unique_key" in "\n".join(row[0] for row in cursor.fetchall())
