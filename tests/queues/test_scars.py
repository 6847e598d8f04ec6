"""What once went wrong in the stores: pushes that met the end of their own job, numbers at their limit, collations."""

from __future__ import annotations

import threading

import pytest
from django.db import OperationalError, connections

from django_jobqueue import failpoints
from django_jobqueue.exceptions import EnqueueError
from django_jobqueue.models import DeadLetterJob, JobHistory, JobPriority
from django_jobqueue.queues.base import Move, Settlement
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.queues.orm import OrmQueue, pushing
from tests.queues.hooks import HOUR, claim, claim_one, ids, job, joined, push_and_claim, settle, wait_for

MAX_ATTEMPT, MAX_LEASE_NO = 32_767, 2_147_483_647


on_all = pytest.mark.parametrize(
    "alias",
    [
        pytest.param(one, marks=pytest.mark.django_db(transaction=True, databases=[one]))
        for one in ("default", "postgres", "mariadb")
    ],
)


@pytest.fixture
def queue(alias):
    queue = OrmQueue(alias, database=alias)
    yield queue
    queue.close()


def outcomes(queue, job_id):
    rows = JobHistory.objects.using(queue.database).filter(job_id=job_id).order_by("lease_no")
    return list(rows.values_list("outcome", flat=True))


# a push of a known id


WAITS_FOR_US = {
    "postgresql": "SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))",
    "mysql": "SELECT 1 FROM information_schema.innodb_lock_waits w JOIN information_schema.innodb_trx t "
    "ON t.trx_id = w.blocking_trx_id WHERE t.trx_mysql_thread_id = CONNECTION_ID()",
}


def is_waited_for(alias):
    """Whether another transaction waits for ours. SQLite does not tell, and needs not: it has one writer."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute(WAITS_FOR_US.get(connection.vendor, "SELECT 1"))
        return cursor.fetchone() is not None


@on_all
@pytest.mark.parametrize("move", [Move.COMPLETED, Move.DEAD])
def test_a_repeated_push_during_the_settlement_of_its_job_stores_nothing(queue, alias, move, monkeypatch):
    """It found no conflict once the settlement had committed, as the job's row was gone, and ran the job again."""
    mine = push_and_claim(queue)
    repeated = job(id=mine.job_id)
    answers, begun, ended = [], threading.Event(), threading.Event()

    def push_again():
        begun.set()
        try:
            answers.append(OrmQueue(alias, database=alias).push(repeated))
        finally:
            connections.close_all()
            ended.set()

    other = threading.Thread(target=push_again)

    def hit(point):
        if point == "settle.before_commit" and not other.ident:
            other.start()
            begun.wait(10)
            wait_for(lambda: ended.is_set() or is_waited_for(alias))

    monkeypatch.setattr(failpoints, "hit", hit)
    assert settle(queue, mine, move, reason="exhausted")
    other.join(30)
    assert answers == [[mine.job_id]]
    assert queue.find(mine.job_id) is None
    assert len(outcomes(queue, mine.job_id)) == 1
    assert DeadLetterJob.objects.using(alias).count() == (move is Move.DEAD)


@on_all
def test_a_push_whose_holder_can_not_be_asked_for_stores_none_of_its_jobs(queue, monkeypatch):
    """PostgreSQL committed the first statement before the second one failed."""
    queue.push(job(unique_key="held"))
    first, second = job(), job(unique_key="held")

    def fail(*_):
        raise OperationalError("the connection is gone")

    with monkeypatch.context() as patch:
        patch.setattr(pushing, "_holders", fail)
        with pytest.raises(EnqueueError):
            queue.push(first, second)
    assert queue.find(first.id) is None
    assert queue.size() == 1


# what anybody may write into a row


BAD_TIMES = {
    "default": ["nonsense", "2024-13-45 00:00:00", 12345],
    "postgres": ["infinity", "-infinity", "10000-01-01"],
}


@pytest.mark.parametrize(
    ("alias", "value"),
    [
        pytest.param(alias, value, marks=pytest.mark.django_db(transaction=True, databases=[alias]))
        for alias, values in BAD_TIMES.items()
        for value in values
    ],
)
@pytest.mark.parametrize("move", Move)
def test_a_job_with_an_unreadable_time_is_claimed_and_settled_like_any_other(queue, alias, value, move):
    bad, good = job(), job()
    queue.push(bad, good)
    with connections[alias].cursor() as cursor:
        db_id = queue._dialect().to_id(bad.id)
        cursor.execute("UPDATE jobqueue_jobs SET created_at = %s WHERE id = %s", [value, db_id])
    line = claim(queue, 5)
    assert ids(line) == [bad.id, good.id]
    assert queue.settle([Settlement(one, move, delay=HOUR, reason="exhausted") for one in line]) == [True, True]
    queue.clear()
    assert queue.size() == 0


@on_all
@pytest.mark.parametrize("move", Move)
@pytest.mark.parametrize("field", ["attempt", "lease_no"])
def test_numbers_at_their_limit_stay_there_and_the_queue_goes_on(queue, alias, field, move):
    """One row with the greatest number made every claim of its queue fail."""
    bad, good = job(), job()
    queue.push(bad, good)
    limit = {"attempt": MAX_ATTEMPT, "lease_no": MAX_LEASE_NO}[field]
    JobPriority.objects.using(alias).filter(job_id=bad.id).update(**{field: limit})
    line = claim(queue, 5)
    assert ids(line) == [bad.id, good.id]
    assert getattr(line[0], field) == limit
    assert queue.settle([Settlement(one, move, delay=HOUR, reason="exhausted") for one in line]) == [True, True]
    queue.clear()
    assert queue.size() == 0


# clear


@pytest.fixture
def store(request):
    if request.param == "memory":
        return MemoryQueue()
    return OrmQueue(request.param, database=request.param)


STORES = [
    "memory",
    *(
        pytest.param(one, marks=pytest.mark.django_db(transaction=True, databases=[one]))
        for one in ("default", "postgres", "mariadb")
    ),
]


@pytest.mark.parametrize("store", STORES, indirect=True)
@pytest.mark.parametrize("move", [Move.RETRY, Move.RELEASED])
def test_clear_leaves_a_record_of_what_has_run_and_none_of_what_has_not(store, move):
    """A repeated push began the lease numbers anew, and the record of its run met an older one."""
    has_run = push_and_claim(store)
    assert settle(store, has_run, move, delay=HOUR)
    fresh = job()
    store.push(fresh)
    assert store.clear() == 2

    records = store.history if isinstance(store, MemoryQueue) else JobHistory.objects.using(store.database)
    found = [(one.job_id, one.outcome) for one in (records if isinstance(records, list) else records.order_by("id"))]
    assert found == [(has_run.job_id, "retrying")] * (move is Move.RETRY) + [(has_run.job_id, "cancelled")]
    store.push(job(id=has_run.job_id), fresh)
    assert store.find(has_run.job_id) is None
    assert claim_one(store).job_id == fresh.id


# MariaDB compares as its collation says


@pytest.mark.django_db(transaction=True, databases=["mariadb"])
class TestNamesAreComparedByteByByte:
    """In a database whose default takes `Emails` for `emails`, as MariaDB's own default does."""

    @pytest.fixture
    def alias(self):
        return "mariadb"

    def test_the_migration_says_so_whatever_the_database_says(self):
        with connections["mariadb"].cursor() as cursor:
            cursor.execute("SELECT @@collation_database")
            assert cursor.fetchone()[0].endswith("_ci"), "or this test says nothing: see tests/settings.py"
            cursor.execute(
                "SELECT DISTINCT collation_name FROM information_schema.columns WHERE table_schema = DATABASE() "
                "AND table_name LIKE 'jobqueue%%' AND collation_name IS NOT NULL"
            )
            assert cursor.fetchall() == (("utf8mb4_bin",),)

    def test_unique_keys(self, queue):
        first, second = job(unique_key="aB"), job(unique_key="Ab")
        assert queue.push(first, second) == [first.id, second.id]
        assert queue.size() == 2

    def test_queues(self, queue):
        small, great = job(queue="emails"), job(queue="Emails")
        queue.push(small, great)
        worker = joined(queue)
        assert ids(claim(queue, 5, worker, ["emails"])) == [small.id]
        assert queue.queue_names() == ["Emails"]
        assert queue.clear("emails") == 0
