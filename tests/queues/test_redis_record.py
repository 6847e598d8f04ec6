"""Between Redis and the tables: what is recorded of a job, when, and what of an outage."""

from __future__ import annotations

import pytest
from django.db import transaction

from django_jobqueue.models import DeadLetterJob, JobHistory
from django_jobqueue.queues.base import Move, Settlement
from tests.queues.hooks import HOUR, claim, claim_one, job, joined, push_and_claim, settle
from tests.queues.redis_scars import TABLES, client, make_queue, out_of_order, queue
from tests.queues.redis_store import key

__all__ = ["client", "make_queue", "queue"]

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]


RECORDED = {
    "all": {"completed", "cancelled", "retrying", "snoozed", "failed"},
    "failures": {"retrying", "failed"},
    "none": {"failed"},
}


@pytest.mark.parametrize("record", RECORDED)
def test_what_is_recorded(make_queue, record):
    queue = make_queue(record=record)
    for move in (Move.COMPLETED, Move.CANCELLED, Move.RETRY, Move.SNOOZE, Move.DEAD, Move.RELEASED):
        assert settle(queue, push_and_claim(queue), move, delay=HOUR, reason="exhausted")
    rows = set(JobHistory.objects.filter(store="redis").values_list("outcome", flat=True))
    assert rows == RECORDED[record] if record != "none" else rows <= RECORDED["none"]
    assert DeadLetterJob.objects.get().store == "redis"


@pytest.mark.parametrize("record", ["all", "failures", "none"])
def test_the_result_of_a_finished_job_is_known_in_every_mode(make_queue, record):
    queue = make_queue(record=record)
    mine = push_and_claim(queue)
    assert queue.settle([Settlement(mine, Move.COMPLETED, result="[1, 2]", run_ms=7)]) == [True]
    kept = queue.finished(mine.job_id)
    if record == "all":
        assert kept is None
        assert JobHistory.objects.get().result == "[1, 2]"
    else:
        assert (kept.result, kept.run_ms, kept.outcome) == ("[1, 2]", 7, "completed")
        assert queue.connection.client.ttl(key("done")) > 0


def test_p11_what_a_database_outage_kept_from_the_tables_is_written_later(queue, client, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(TABLES, out_of_order)
        done, dead = push_and_claim(queue), push_and_claim(queue)
        assert settle(queue, done)
        assert settle(queue, dead, Move.DEAD, reason="exhausted")
    assert queue.finished(done.job_id).outcome == "completed"
    assert client.hlen(key("unrecorded")) == 2
    monkeypatch.setattr("django_jobqueue.queues.redis.queue.LEFT_BEHIND_SECONDS", 0)
    queue.reclaim()
    assert client.hlen(key("unrecorded")) == 0
    assert set(JobHistory.objects.values_list("outcome", flat=True)) == {"completed", "failed"}
    assert DeadLetterJob.objects.get().id == dead.job_id


def test_p11_writing_the_record_twice_changes_nothing(queue, client, monkeypatch):
    mine = push_and_claim(queue)
    run = queue._scripts.run
    monkeypatch.setattr(queue._scripts, "run", lambda name, *words: name == "recorded" or run(name, *words))
    assert settle(queue, mine, Move.DEAD, reason="exhausted")
    assert client.hlen(key("unrecorded")) == 1
    before = list(JobHistory.objects.values()), list(DeadLetterJob.objects.values())
    monkeypatch.undo()
    queue._unrecorded.record_left_behind(0)
    assert (list(JobHistory.objects.values()), list(DeadLetterJob.objects.values())) == before
    assert client.hlen(key("unrecorded")) == 0


def test_p3_a_settlement_whose_lease_was_lost_leaves_no_dead_letter_of_a_living_job(queue, client):
    worker = joined(queue)
    mine = push_and_claim(queue, worker=worker)
    client.zadd(key("workers"), {worker.bytes: 1})
    assert queue.reclaim() == 1
    assert not settle(queue, mine, Move.DEAD, reason="exhausted")
    assert DeadLetterJob.objects.count() == 0
    assert queue.find(mine.job_id) is not None


def test_p1_a_finished_job_pushed_again_does_not_run_again(make_queue):
    for record in ("all", "none"):
        queue = make_queue(record=record)
        payload = job()
        queue.push(payload)
        assert settle(queue, claim_one(queue))
        assert queue.push(payload) == [payload.id]
        assert claim(queue, 5) == []


def test_p1_finished_jobs_are_forgotten_by_number_and_by_age(queue, client):
    finished = [push_and_claim(queue) for _ in range(3)]
    assert settle(queue, finished[0])
    client.hset(key("meta"), "done_since", 1)
    assert settle(queue, finished[1])
    assert [client.hexists(key("older"), one.job_id.bytes) for one in finished[:2]] == [True, False]
    client.hset(key("meta"), "done_since", 1)
    assert settle(queue, finished[2])
    assert [client.hexists(key("older"), one.job_id.bytes) for one in finished] == [False, True, False]


@pytest.mark.parametrize("verb", ["cancel", "clear"])
def test_p11_what_others_have_ended_is_not_undone_with_the_callers_transaction(queue, monkeypatch, verb):
    with monkeypatch.context() as patch:
        patch.setattr(TABLES, out_of_order)
        dead = push_and_claim(queue)
        assert settle(queue, dead, Move.DEAD, reason="exhausted")
    waiting = job()
    queue.push(waiting)
    with transaction.atomic():
        assert queue.cancel(waiting.id) if verb == "cancel" else queue.clear()
        transaction.set_rollback(True)
    queue._unrecorded.record_left_behind(0)
    assert DeadLetterJob.objects.get().id == dead.job_id


def test_p1_large_results_do_not_drive_out_the_ids_of_finished_jobs(make_queue, monkeypatch):
    queue = make_queue(record="none")
    first = push_and_claim(queue)
    assert settle(queue, first)
    for _ in range(70):
        large = push_and_claim(queue)
        assert queue.settle([Settlement(large, Move.COMPLETED, result='"' + "x" * 1_000_000 + '"')]) == [True]
    assert queue.push(job(id=first.job_id)) == [first.job_id]
    assert queue.find(first.job_id) is None
    assert queue.connection.client.info("memory")["used_memory"] < 120_000_000
    queue.connection.client.flushdb()


def test_p10_a_backlog_for_a_database_that_is_away_has_an_end(queue, client, monkeypatch):
    client.hset(key("unrecorded"), mapping={b"%020d" % n: b"x" for n in range(100_001)})
    queue.push(job())
    assert claim(queue, 5) == []
    client.delete(key("unrecorded"))
    assert len(claim(queue, 5)) == 1
