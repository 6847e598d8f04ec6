"""Two stores that share one set of tables: each acts on its own rows, and answers for its own jobs."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from django_jobqueue.compat import TaskResultStatus
from django_jobqueue.exceptions import StoreUnavailable
from django_jobqueue.jobs.codec import encode_call
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.lifecycle import dead_letters, results
from django_jobqueue.lifecycle.cleanup import prune_dead_letters, prune_history, prune_workers
from django_jobqueue.lifecycle.dead_letters import (
    discard,
    discard_all,
    failed_jobs,
    retry,
    retry_all,
    retry_edited,
    revive,
    statistics,
)
from django_jobqueue.models import DeadLetterJob, DelayedJob, Job, JobHistory, WorkerProcess
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import NO_ERROR, Move, Settlement, WorkerIdentity
from django_jobqueue.queues.redis import queue as redis_queue
from django_jobqueue.queues.redis import recorder
from django_jobqueue.queues.redis.entries import Entry
from tests.lifecycle.letters import ADD, BOOM, die, write_history, write_letter
from tests.queues.redis_store import open_queue
from tests.stores import NOBODY_LISTENS, empty_fast, two_stores

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]

on_all = pytest.mark.parametrize(
    "database",
    [
        pytest.param(one, marks=pytest.mark.django_db(transaction=True, databases=[one]))
        for one in ("default", "postgres", "mariadb")
    ],
)


@pytest.fixture
def default(settings):
    settings.TASKS = two_stores()
    return get_queue("default")


@pytest.fixture
def fast(default):
    return empty_fast()


def open_fast(database, **options):
    queue = open_queue("redis", database=database, **options)
    queue.connection.client.flushdb()
    return queue


def claim(queue, **payload):
    queue.push(JobPayload(**{"task": ADD, "args": encode_call([1, 2], {}), **payload}))
    worker = WorkerIdentity(name="w")
    queue.join(worker)
    job = queue.pop(["default"], worker.id)
    assert job is not None
    return job


# -- dead letters ------------------------------------------------------------------------------------------------------


@on_all
def test_a_letter_goes_back_to_the_store_it_came_from(database):
    queue = open_fast(database)
    letter = die(queue, priority=50, max_attempts=4, timeout=2.5, unique_key="k")
    assert (letter.store, letter.unique_key) == ("redis", "k")

    assert retry(queue, [letter.id]) == [letter.id]

    assert not DeadLetterJob.objects.using(database).exists()
    assert not Job.objects.using(database).exists()  # it has passed through the outbox
    found = queue.find(letter.id)
    assert (found.attempt, found.lease_no, found.priority, found.max_attempts) == (0, letter.lease_no, 50, 4)
    assert retry(queue, [letter.id]) == []


def test_a_store_touches_its_own_letters_only(default, fast):
    mine, theirs = die(default), die(fast)
    both = [mine.id, theirs.id]
    assert retry(default, both) == [mine.id]
    assert (default.find(mine.id) is not None, fast.find(theirs.id)) == (True, None)
    assert discard(default, both) == 0
    assert retry(fast, both) == [theirs.id]
    assert fast.find(theirs.id) is not None


def test_all_means_all_of_one_store(default, fast):
    mine, theirs = die(default), [die(fast), die(fast)]
    assert discard_all(fast, reason="exhausted") == 2
    assert set(JobHistory.objects.filter(outcome="discarded").values_list("job_id", "store")) == {
        (one.id, "fast") for one in theirs
    }
    assert DeadLetterJob.objects.get() == mine
    assert retry_all(fast) == 0
    assert retry_all(default) == 1


def test_letters_are_counted_for_all_stores_or_for_one(default, fast):
    die(default)
    die(fast)
    die(fast)
    assert [group.count for group in statistics("default")] == [3]
    assert [group.count for group in statistics("default", store="fast", latest=10)] == [2]
    assert [group.count for group in statistics("default", store="")] == [1]
    assert failed_jobs("default").count() == 3
    assert {letter.store for letter in failed_jobs("default", store="fast")} == {"fast"}
    assert [(row.queue, row.dead) for row in default.stats()] == [("default", 1)]
    assert [(row.queue, row.dead) for row in fast.stats()] == [("default", 2)]


@on_all
def test_the_letter_and_the_push_are_one_p9(database, monkeypatch):
    """A crash before the commit leaves the letter and no job; there is no moment at which there is neither."""
    queue = open_fast(database)
    letter = die(queue)

    def crash(point):
        if point == "revive.before_commit":
            assert DelayedJob.objects.using(database).get().reason == "outbox"
            raise KeyboardInterrupt

    monkeypatch.setattr(dead_letters.failpoints, "hit", crash)
    with pytest.raises(KeyboardInterrupt):
        retry(queue, [letter.id])
    assert DeadLetterJob.objects.using(database).get().pk == letter.id
    assert not Job.objects.using(database).exists()
    assert queue.find(letter.id) is None


@pytest.mark.parametrize("mode", ["outbox", "on_commit", "immediate"])
def test_so_it_is_however_pushes_and_commits_go_together(mode, monkeypatch):
    queue = open_fast("default", on_commit=mode)
    letter, other = die(queue), die(queue)
    monkeypatch.setattr(dead_letters.failpoints, "hit", lambda point: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        retry(queue, [letter.id])
    assert (DeadLetterJob.objects.count(), queue.find(letter.id)) == (2, None)
    monkeypatch.undo()
    assert retry(queue, [other.id]) == [other.id]
    assert queue.find(other.id) is not None


def test_a_letter_of_a_store_that_does_not_answer_stays(settings):
    settings.TASKS = two_stores(NOBODY_LISTENS)
    letter = write_letter(store="fast")
    with pytest.raises(StoreUnavailable):
        retry(get_queue("fast"), [letter.id])
    assert DeadLetterJob.objects.get() == letter
    assert not Job.objects.exists()
    assert discard(get_queue("fast"), [letter.id]) == 1


def test_arguments_are_edited_on_the_way_back(fast):
    letter = die(fast)
    assert retry_edited(fast, letter.id, [3], {"b": 4}) == letter.id
    assert fast.find(letter.id).args == encode_call([3], {"b": 4})


def test_a_key_that_is_held_makes_it_a_letter_again(fast):
    letter = die(fast, unique_key="order-7")
    (holder,) = fast.push(JobPayload(task=ADD, args=letter.args, unique_key="order-7"))
    revive(fast, [letter.id])
    again = DeadLetterJob.objects.get()
    assert (again.pk, again.reason, again.store, again.unique_key) == (letter.id, "key_held", "fast", "order-7")
    assert again.lease_no >= letter.lease_no
    assert str(holder) in again.error_message
    assert fast.cancel(holder)
    assert retry(fast, [letter.id]) == [letter.id]
    assert fast.find(letter.id) is not None


# -- cleaning up -------------------------------------------------------------------------------------------------------


def test_what_is_old_is_deleted_of_one_store_or_of_all():
    old = timezone.now() - timedelta(days=9)
    for store in ("", "fast", "gone"):
        write_history(store=store, finished_at=old)
        write_letter(store=store, failed_at=old)
        times = {"started_at": old, "heartbeat_at": old, "expires_at": old}
        WorkerProcess.objects.create(id=write_history(store=store).job_id, pid=1, state="dead", store=store, **times)
    week = timedelta(days=7)
    for prune in (prune_history, prune_dead_letters):
        assert prune("default", week, store="fast") == 1
        assert prune("default", week, store="fast") == 0
        assert prune("default", week, store="") == 1
        assert prune("default", week) == 1
    assert prune_workers("default", store="fast") == 1
    assert prune_workers("default") == 2


# -- results -----------------------------------------------------------------------------------------------------------


def test_a_store_answers_for_its_own_jobs_only(default, fast):
    mine, theirs = die(default), die(fast)
    done = claim(fast)
    assert fast.settle([Settlement(done, Move.COMPLETED, result="3")]) == [True]
    assert results.find(default, theirs.id) is None
    assert results.find(fast, mine.id) is None
    assert results.find(default, done.job_id) is None
    found = results.find(fast, done.job_id)
    assert (found.status, found.return_value, found.backend) == (TaskResultStatus.SUCCESSFUL, 3, "fast")
    assert results.find(fast, theirs.id).errors[0].exception_class_path == BOOM.class_path


@pytest.mark.parametrize("use_tz", [True, False])
def test_a_result_the_tables_never_get_is_told_by_the_store(use_tz, settings):
    settings.USE_TZ = use_tz
    queue = open_fast("default", record="none")
    job = claim(queue, priority=5)
    assert queue.settle([Settlement(job, Move.COMPLETED, result='{"sum":3}', start_ms=1, run_ms=7)]) == [True]
    assert not JobHistory.objects.exists()
    found = results.find(queue, job.job_id)
    assert (found.status, found.return_value, found.task.priority) == (TaskResultStatus.SUCCESSFUL, {"sum": 3}, 5)
    assert (found.args, found.kwargs, found.errors) == ([1, 2], {}, [])
    assert len(found.worker_ids) == 1
    assert found.finished_at - found.started_at == timedelta(milliseconds=7)
    assert (found.finished_at.tzinfo is not None) is use_tz
    assert abs(timezone.now() - found.finished_at) < timedelta(minutes=1)


def test_failures_from_the_tables_and_the_end_from_the_store_are_one_result():
    queue = open_fast("default", record="failures")
    job = claim(queue, max_attempts=3)
    assert queue.settle([Settlement(job, Move.RETRY, error=BOOM)]) == [True]
    worker = WorkerIdentity()
    queue.join(worker)
    again = queue.pop(["default"], worker.id)
    assert queue.settle([Settlement(again, Move.COMPLETED)]) == [True]
    found = results.find(queue, job.job_id)
    assert (found.status, found.attempts, len(found.errors)) == (TaskResultStatus.SUCCESSFUL, 2, 1)


def test_an_end_that_both_know_is_told_once(fast, monkeypatch):
    letter = die(fast)
    record = fast.finished(letter.id) or died(letter)
    monkeypatch.setattr(fast, "finished", lambda job_id: record)
    DeadLetterJob.objects.all().delete()
    found = results.find(fast, letter.id)
    assert (found.status, len(found.errors), len(found.worker_ids)) == (TaskResultStatus.FAILED, 1, 1)


def died(letter):
    run = JobHistory.objects.get(job_id=letter.id)
    shared = {name: getattr(run, name) for name in Entry._fields if hasattr(run, name)}
    own = {name: getattr(letter, name) for name in Entry._fields if hasattr(letter, name)}
    return Entry(**{**own, **shared, "error": BOOM, "dead_reason": letter.reason, "created_at": run.enqueued_at})


@pytest.mark.parametrize("move", [Move.COMPLETED, Move.DEAD])
def test_a_database_that_is_away_hides_no_result(move, monkeypatch):
    queue = open_fast("default")
    job = claim(queue)

    def away(*_):
        raise OperationalError("server has gone away")

    monkeypatch.setattr(recorder, "tables_of", away)
    assert queue.settle([Settlement(job, move, reason="exhausted", error=BOOM if move is Move.DEAD else NO_ERROR)]) == [
        True
    ]
    early = results.find(queue, job.job_id)
    assert not JobHistory.objects.exists()
    monkeypatch.undo()
    monkeypatch.setattr(redis_queue, "LEFT_BEHIND_SECONDS", 0)
    queue.reclaim()
    late = results.find(queue, job.job_id)
    assert JobHistory.objects.count() == 1
    wanted = TaskResultStatus.FAILED if move is Move.DEAD else TaskResultStatus.SUCCESSFUL
    assert early.status == late.status == wanted
    assert (early.errors, early.args, early.worker_ids) == (late.errors, late.args, late.worker_ids)
    assert (early.started_at, early.finished_at) == (late.started_at, late.finished_at)
