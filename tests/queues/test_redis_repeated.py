"""What comes to Redis twice, or is in two places: a repeated call, a number used again, a job on its way."""

from __future__ import annotations

import pytest
from django.db import transaction

from django_jobqueue.models import DeadLetterJob, JobHistory
from django_jobqueue.queues.base import Move, Settlement
from tests.queues.hooks import HOUR, claim, claim_one, job, jobs, joined, push_and_claim, settle
from tests.queues.redis_scars import client, make_queue, queue
from tests.queues.redis_store import key

__all__ = ["client", "make_queue", "queue"]

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]


def in_both(queue):
    """A job whose delivery was not noted: it is in Redis, and its row is in the outbox."""
    payload = job()
    with transaction.atomic():
        queue.push(payload)
        queue.deliver([payload])
        transaction.get_connection().run_on_commit.clear()
    assert queue._find(payload.id)
    assert queue._outbox.find(payload.id)
    return payload.id


def test_p11_a_job_on_its_way_is_counted(queue):
    queue.push(job(), job(queue="other"))
    with transaction.atomic():
        queue.push(job(), job(delay=HOUR))
        assert [row[:4] for row in queue.stats()] == [("default", 1, 2, 0), ("other", 1, 0, 0)]
        assert [row[:4] for row in queue.stats("default")] == [("default", 1, 2, 0)]
        assert queue.size() == 4
    assert [row[:4] for row in queue.stats("default")] == [("default", 2, 1, 0)]


def test_p8_a_job_that_has_arrived_is_cancelled_where_it_is(queue):
    job_id = in_both(queue)
    assert queue.cancel(job_id)
    assert claim(queue, 5) == []
    queue._outbox.relay(10, older_than=0)
    assert claim(queue, 5) == []


def test_p8_a_job_that_has_arrived_and_runs_is_not_cancelled_on_its_way(queue):
    job_id = in_both(queue)
    mine = claim_one(queue)
    assert not queue.cancel(job_id)
    assert JobHistory.objects.count() == 0
    assert settle(queue, mine, Move.DEAD, reason="exhausted")
    assert not queue.cancel(job_id)
    assert DeadLetterJob.objects.get().id == job_id


def test_p3_a_lease_number_given_out_twice_is_still_one_lease(queue, client):
    """After a failover Redis may have forgotten a second: numbers begin again, moments don't."""
    payload = job()
    queue.push(payload)
    old = claim_one(queue)
    client.flushdb()
    queue.push(payload)
    new = claim_one(queue)
    assert (old.job_id, old.lease_no) == (new.job_id, new.lease_no)
    assert not settle(queue, old)
    assert settle(queue, new)


def test_p9_a_death_under_a_lease_number_that_was_used_before_has_its_letter(queue, client):
    payload = job()
    queue.push(payload)
    assert settle(queue, claim_one(queue))
    client.flushdb()
    queue.push(payload)
    assert settle(queue, claim_one(queue), Move.DEAD, reason="exhausted")
    assert DeadLetterJob.objects.get().id == payload.id
    assert JobHistory.objects.get().outcome == "completed"


def test_p2_an_exchange_that_a_client_repeats_claims_and_settles_once(queue, monkeypatch):
    """redis-py may call again by itself when an answer is late."""
    worker = joined(queue)
    queue.push(*jobs(9))
    done, again = claim(queue, 2, worker)
    run, answers = queue._scripts.run, {}

    def twice(name, *rest):
        answers[name] = [run(name, *rest) for _ in range(2)]
        return answers[name][-1]

    monkeypatch.setattr(queue._scripts, "run", twice)
    batch = [Settlement(done, Move.COMPLETED), Settlement(again, Move.RETRY, delay=HOUR)]
    exchange = queue.exchange(batch, ["default"], 4, worker)
    monkeypatch.undo()
    assert exchange.settled == [True, True]
    first, second = ([*answer[:1], *sorted(answer[2:])] for answer in answers["exchange"])  # but for when one is due
    assert first == second
    assert answers.keys() == {"exchange", "recorded"}
    assert [row[1:4] for row in queue.stats()] == [(3, 1, 4)]
    assert len(exchange.reservations) == 4


def test_p8_a_cancel_that_a_client_repeats_is_true_and_one_that_comes_later_is_false(queue, client, monkeypatch):
    payloads = jobs(300)
    queue.push(*payloads)
    run = queue._scripts.run
    monkeypatch.setattr(queue._scripts, "run", lambda *call: [run(*call) for _ in range(2)][1])
    assert all(queue.cancel(one.id) for one in payloads[:299])
    assert not any(queue.cancel(one.id) for one in payloads[:299])
    assert [row.ready for row in queue.stats()] == [1]
    assert client.hstrlen(key("meta"), "cancels") == 2_048
    assert JobHistory.objects.filter(outcome="cancelled").count() == 299


@pytest.mark.parametrize("move", [Move.RETRY, Move.RELEASED, Move.DEAD])
def test_p8_an_exchange_that_a_client_repeats_records_what_was_asked_to_stop_as_cancelled(queue, monkeypatch, move):
    """The second answer must say so too: the first one, which nobody heard, has ended the job."""
    worker = joined(queue)
    queue.push(*jobs(2))
    stopped, other = claim(queue, 2, worker)
    queue.request_cancel(stopped.job_id)
    run = queue._scripts.run
    monkeypatch.setattr(queue._scripts, "run", lambda *call: [run(*call) for _ in range(2)][1])
    batch = [Settlement(one, move, delay=HOUR) for one in (other, stopped)]
    assert queue.exchange(batch, (), 0, worker).settled == [True, True]
    monkeypatch.undo()
    assert list(JobHistory.objects.filter(job_id=stopped.job_id).values_list("outcome", flat=True)) == ["cancelled"]
    assert DeadLetterJob.objects.count() == (move is Move.DEAD)
    assert queue.find(stopped.job_id) is None


@pytest.mark.parametrize("record", ["all", "failures", "none"])
@pytest.mark.parametrize("way", ["settle", "leave", "declare_dead"])
def test_p8_what_was_asked_to_stop_is_over_at_every_level_of_record(make_queue, record, way):
    queue = make_queue(record=record)
    worker = joined(queue)
    mine = push_and_claim(queue, worker)
    queue.request_cancel(mine.job_id)
    if way == "settle":
        assert settle(queue, mine, Move.RETRY, delay=HOUR)
    else:
        getattr(queue, way)(worker)
    assert queue.find(mine.job_id) is None
    rows = JobHistory.objects.filter(job_id=mine.job_id).values_list("outcome", flat=True)
    assert list(rows) == (["cancelled"] if record == "all" else [])
    ended = queue.finished(mine.job_id)
    assert (None if ended is None else ended.outcome) == (None if record == "all" else "cancelled")
    queue.push(job(id=mine.job_id))
    assert queue.size() == 0


def test_what_is_over_is_swept_out_of_the_set_of_the_asked(queue, client):
    worker = joined(queue)
    queue.push(*jobs(3))
    line = claim(queue, 3, worker)
    for one in line:
        queue.request_cancel(one.job_id)
    assert all(queue.settle([Settlement(line[0], Move.COMPLETED), Settlement(line[1], Move.RELEASED)]))
    assert client.scard(key("asked")) == 3
    assert queue.cancellations(worker) == {line[2].job_id: False}
    assert client.smembers(key("asked")) == {line[2].job_id.bytes}


def test_p8_a_job_brought_back_from_the_dead_can_be_cancelled_on_its_way(queue):
    mine = push_and_claim(queue)
    assert settle(queue, mine, Move.DEAD, reason="exhausted")
    with queue.transaction():
        DeadLetterJob.objects.all().delete()
        queue.push(job(id=mine.job_id, lease_no=mine.lease_no))
        assert queue.cancel(mine.job_id)
    assert claim(queue, 5) == []
