"""What a worker with nothing to do asks PostgreSQL, and how it comes from the word of a job to the job."""

from __future__ import annotations

import pytest

from django_jobqueue.models import DelayedJob
from django_jobqueue.queues.base import Move, Settlement
from django_jobqueue.queues.orm import OrmQueue, notify
from django_jobqueue.queues.orm.queue import BLINK
from tests.plans.explaining import explained
from tests.queues.hooks import HOUR, LONG_AGO, claim, ids, job, jobs, joined
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "postgres"])]


@pytest.fixture
def queue(monkeypatch):
    monkeypatch.setattr(notify, "QUIET_SECONDS", 0)
    monkeypatch.setattr(notify, "_last", {})
    queue = OrmQueue("postgres", database="postgres")
    queue.wait(["default"], BLINK)  # it listens from here on
    queue._dialect().look([])  # and knows by now whether the session is the server's own
    yield queue
    queue.close()


def push_due(queue):
    queue.push(later := job(delay=HOUR))
    DelayedJob.objects.using("postgres").filter(pk=later.id).update(due_at=LONG_AGO)
    return later.id


@pytest.mark.parametrize("queues", [["default"], ["default", "other"], []], ids=["one", "two", "all"])
def test_a_look_and_a_short_wait_are_one_statement(queue, queues):
    worker = joined(queue)
    queue.push(job(queue="elsewhere"), job(delay=HOUR)) if queues else queue.push(job(delay=HOUR))
    with explained("postgres") as plans:
        assert claim(queue, 5, worker, queues) == []
        queue.wait(queues, BLINK)
    assert len(plans) == 1, [plan.sql for plan in plans]


@pytest.mark.parametrize("queues", [["default"], ["other", "default"], []], ids=["one", "two", "all"])
def test_who_looks_finds_what_is_ready_and_what_is_due(queue, queues):
    worker = joined(queue)
    queue.push(ready := job())
    assert queue._dialect().look(queues) == (True, False)
    assert ids(claim(queue, 5, worker, queues)) == [ready.id]
    due = push_due(queue)
    assert queue._dialect().look(queues) == (False, True)
    assert ids(claim(queue, 5, worker, queues)) == [due]
    assert queue._dialect().look(queues) == (False, False)


@pytest.mark.parametrize("queues", [["default"], []], ids=["one", "all"])
def test_who_was_told_of_a_job_claims_it_without_a_look(queue, queues):
    worker = joined(queue)
    queue.push(first := job())
    assert queue.wait(queues, 20)
    with explained("postgres") as plans:
        assert ids(claim(queue, 5, worker, queues)) == [first.id]
    assert plans[0].sql.startswith("WITH line"), plans[0].sql
    assert not [plan.sql for plan in plans if "RECURSIVE" in plan.sql], "it was told which queue it is"


def test_who_serves_all_queues_and_is_told_of_one_again_and_again_sees_the_others(queue):
    worker = joined(queue)
    queue.push(hidden := job(queue="another"))
    assert queue.wait([], 20)
    queue._waiter._heard.clear()  # as if nobody had told of it
    seen = []
    for _ in range(2):
        queue.push(job())
        assert queue.wait([], 20)
        seen += ids(claim(queue, 5, worker, []))
    assert hidden.id in seen
    assert len(seen) == 3


def test_who_serves_several_queues_in_order_is_not_led_past_the_first(queue):
    worker = joined(queue)
    queue.push(low := job(queue="low"), high := job(queue="high"))
    assert queue.wait(["high", "low"], 20)
    assert ids(claim(queue, 1, worker, ["high", "low"])) == [high.id]
    assert ids(claim(queue, 1, worker, ["high", "low"])) == [low.id]


def test_who_was_told_of_a_job_that_another_took_finds_what_is_due_at_the_next_look(queue):
    worker = joined(queue)
    queue.push(job())
    claim(queue, 1, worker)
    due = push_due(queue)
    wait_until(lambda: queue.wait(["default"], BLINK), "the word")
    assert claim(queue, 5, worker) == []
    assert ids(claim(queue, 5, worker)) == [due]


def test_who_settles_hears_whether_anything_is_due_and_promotes_only_then(queue):
    worker = joined(queue)
    queue.push(*jobs(4))
    first, second, third, fourth = claim(queue, 4, worker)
    with explained("postgres") as plans:
        assert queue.exchange([Settlement(first, Move.COMPLETED)], ["default"], 5, worker).reservations == []
    assert not [plan.sql for plan in plans if "DELETE FROM jobqueue_delayed_jobs" in plan.sql]
    due = push_due(queue)
    assert ids(queue.exchange([Settlement(second, Move.COMPLETED)], ["default"], 5, worker).reservations) == [due]
    batch = [Settlement(third, Move.COMPLETED), Settlement(fourth, Move.RETRY, delay=0)]
    assert ids(queue.exchange(batch, ["default"], 5, worker).reservations) == [fourth.job_id], "due by this very move"
