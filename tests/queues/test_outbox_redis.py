"""The outbox between a real database and a real Redis: what a transaction decides is what happens."""

from __future__ import annotations

import contextlib

import pytest
from django.db import transaction

from django_jobqueue import models
from django_jobqueue.lifecycle import dead_letters
from django_jobqueue.queues.base import Move, Settlement
from django_jobqueue.queues.redis import RedisQueue
from django_jobqueue.queues.redis import outbox as module
from django_jobqueue.queues.redis.connection import Connection
from tests.queues.hooks import FAR_AHEAD, claim, claim_one, ids, job, jobs, joined, settle, wait_for
from tests.servers import DurableRedis

DATABASES = [
    pytest.param(alias, marks=pytest.mark.django_db(transaction=True, databases=sorted({"default", alias})))
    for alias in ("default", "postgres", "mariadb")
]


@pytest.fixture
def server():
    with DurableRedis() as server:
        yield server


@pytest.fixture
def open_queue(server, database, monkeypatch):
    monkeypatch.setattr(module, "RELAY_AFTER_SECONDS", 0)
    monkeypatch.setattr(module, "OUTAGE_SECONDS", 0.05)
    opened = []

    def open_one(**options):
        opened.append(RedisQueue("fast", Connection({"url": server.url}), database=database, **options))
        return opened[-1]

    yield open_one
    for queue in opened:
        queue.close()


@pytest.mark.redis
@pytest.mark.parametrize("database", DATABASES)
class TestTransactions:
    @pytest.fixture
    def queue(self, open_queue):
        return open_queue()

    def rows(self, queue):
        return models.DelayedJob.objects.using(queue.database)

    def test_p1_commit_means_it_will_run_rollback_means_it_never_does(self, queue):
        kept, lost, undone, late = job(), job(), job(), job(run_after=FAR_AHEAD)
        with queue.transaction():
            queue.push(kept)
            with contextlib.suppress(ZeroDivisionError), transaction.atomic(using=queue.database):
                queue.push(undone)
                raise ZeroDivisionError
            queue.push(late)
            assert queue.find(kept.id).reason == "outbox"
            assert (queue._live(None), queue.size()) == ({}, 2), "on their way"
        with queue.transaction():
            queue.push(lost)
            transaction.set_rollback(True, using=queue.database)
        assert ids(claim(queue, 9)) == [kept.id]
        assert (queue.find(late.id).reason, queue.find(late.id).due_at) == ("scheduled", FAR_AHEAD)
        assert not self.rows(queue).exists()

    def test_p6_a_transaction_s_jobs_run_in_the_order_of_their_pushes(self, queue):
        given = jobs(1_200)
        with queue.transaction():
            queue.push(*given[:1_100])
            for one in given[1_100:]:
                queue.push(one)
        assert ids(claim(queue, 2_000)) == [one.id for one in given]

    def test_p1_a_server_that_is_down_at_the_commit_gets_the_jobs_when_it_is_back(self, server, queue):
        given = jobs(3)
        queue.push(job())
        server.kill()
        with queue.transaction():
            assert queue.push(*given) == [one.id for one in given]
        assert self.rows(queue).count() == 3
        server.start()
        wait_for(lambda: queue.reclaim() or not self.rows(queue).exists())
        assert ids(claim(queue, 9))[1:] == [one.id for one in given]

    def test_p1_a_delivery_that_is_repeated_after_the_job_has_run_runs_nothing(self, queue, monkeypatch):
        given = job()
        with monkeypatch.context() as patch:
            patch.setattr(queue._outbox._table, "remove", lambda ids: 1 / 0)  # the process ends here
            with queue.transaction():
                queue.push(given)
        assert settle(queue, claim_one(queue))
        assert self.rows(queue).exists()
        models.JobHistory.objects.using(queue.database).all().delete()  # Redis remembers by itself
        queue.reclaim()
        assert not self.rows(queue).exists()
        assert claim(queue, 9) == []

    @pytest.mark.parametrize("record", ["all", "none"])
    def test_p1_the_same_after_it_has_died_there(self, open_queue, monkeypatch, record):
        queue, given = open_queue(record=record), job()
        with monkeypatch.context() as patch:
            patch.setattr(queue._outbox._table, "remove", lambda ids: 1 / 0)
            with queue.transaction():
                queue.push(given)
        assert settle(queue, claim_one(queue), Move.DEAD, reason="exhausted")
        queue.connection.client.flushdb()  # and what it remembers is lost
        queue.reclaim()
        assert not self.rows(queue).exists()
        assert claim(queue, 9) == []

    def test_p8_a_job_can_be_cancelled_at_any_moment(self, server, queue):
        here, there = jobs(2)
        with queue.transaction():
            queue.push(here, there)
            assert queue.cancel(here.id)
        assert queue.cancel(there.id)
        assert claim(queue, 9) == []
        found = models.JobHistory.objects.using(queue.database).values_list("outcome", "store")
        assert list(found) == [("cancelled", "fast")] * 2

    @pytest.mark.parametrize("option", ["outbox", "on_commit", "immediate"])
    def test_a_dead_letter_that_is_brought_back_is_in_one_place_at_each_moment(self, open_queue, option):
        queue, given = open_queue(on_commit=option), job(unique_key="k")
        queue.push(given)
        worker = joined(queue)
        assert settle(queue, claim_one(queue, worker), Move.DEAD, reason="exhausted")
        with transaction.atomic(using=queue.database):
            assert dead_letters.retry(queue, [given.id]) == [given.id]
            transaction.set_rollback(True, using=queue.database)
        assert queue.find(given.id) is None
        assert models.DeadLetterJob.objects.using(queue.database).count() == 1
        assert dead_letters.retry(queue, [given.id]) == [given.id]
        again = claim_one(queue, worker)
        assert (again.job_id, again.lease_no, again.times_retried) == (given.id, 2, 1)
        assert queue.settle([Settlement(again, Move.COMPLETED)]) == [True]

    def test_p9_one_whose_key_is_taken_meanwhile_stays_dead(self, server, queue):
        given, other = job(unique_key="k"), job(unique_key="k")
        queue.push(given)
        assert settle(queue, claim_one(queue), Move.DEAD, reason="exhausted")
        with transaction.atomic(using=queue.database):
            assert dead_letters.retry(queue, [given.id]) == [given.id]
            queue.deliver([other])
        letter = models.DeadLetterJob.objects.using(queue.database).get()
        assert (letter.pk, letter.reason, letter.store, letter.times_retried) == (given.id, "key_held", "fast", 0)
        assert ids(claim(queue, 9)) == [other.id]
        dead_letters.retry(queue, [given.id])
        letter.refresh_from_db()
        assert (letter.reason, letter.times_retried) == ("key_held", 0)

    @pytest.mark.parametrize("option", ["on_commit", "immediate"])
    def test_the_other_options(self, open_queue, option):
        queue, given, lost = open_queue(on_commit=option), job(), job()
        with transaction.atomic(using=queue.database):
            queue.push(given)
            assert queue.size() == (option == "immediate")
        with transaction.atomic(using=queue.database):
            queue.push(lost)
            transaction.set_rollback(True, using=queue.database)
        assert ids(claim(queue, 9)) == [given.id, *([lost.id] if option == "immediate" else [])]
