from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
from django.db import connections, transaction

from django_jobqueue.models import Job, JobHistory, JobLock
from django_jobqueue.queues.base import Move, Settlement
from django_jobqueue.queues.orm import OrmQueue
from tests.queues.hooks import claim, jobs, joined
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


@pytest.mark.django_db(transaction=True, databases=["postgres"])
@pytest.mark.parametrize("is_callers", [False, True])
def test_p5_a_record_that_is_there_already_stops_no_settlement(is_callers):
    """It is met as an error, and the move is tried again; a transaction of the caller's goes on."""
    queue = OrmQueue("postgres", database="postgres")
    queue.push(*jobs(6))
    line = claim(queue, 3, worker := joined(queue))
    one = line[1]
    moment = dict.fromkeys(("enqueued_at", "started_at", "finished_at"), one.claimed_at)
    records = JobHistory.objects.using("postgres")
    records.create(job_id=one.job_id, lease_no=one.lease_no, attempt=1, queue="old", outcome="completed", **moment)
    with transaction.atomic(using="postgres") if is_callers else nullcontext():
        settled, next_line, _ = queue.exchange([Settlement(each, Move.COMPLETED) for each in line], [], 5, worker)
    assert settled == [True] * 3
    assert len(next_line) == 3
    assert {each.job_id for each in next_line} == set(Job.objects.using("postgres").values_list("id", flat=True))
    assert sorted(records.values_list("queue", flat=True)) == ["default", "default", "old"]
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
