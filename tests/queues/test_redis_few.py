"""The short way to few jobs in one line: it gives what the script for everything gives, or leaves it to that one."""

from __future__ import annotations

import pytest

from django_jobqueue.exceptions import JobQueueError
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.queues.base import Move
from tests.queues.hooks import HOUR, claim, claim_one, ids, job, jobs, joined, settle
from tests.queues.redis_scars import at_work, client, make_queue, queue
from tests.queues.redis_store import key
from tests.waiting import wait_until
from tests.workers.jobs import record

__all__ = ["client", "make_queue", "queue"]

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def asked(queue, monkeypatch):
    """Which scripts ran."""
    run, names = queue._scripts.run, []

    def noting(name, *rest):
        names.append(name)
        return run(name, *rest)

    monkeypatch.setattr(queue._scripts, "run", noting)
    return names


def whole_store(client):
    """But for moments and for who holds what."""
    counts = client.hgetall(key("counts"))
    lines = {name: client.lrange(name, 0, -1) for name in client.keys("*line:*")}
    levels = [client.zcard(name) for name in client.keys("*levels:*")]
    return counts, lines, levels, client.hlen(key("state")), [client.scard(name) for name in client.keys("*held:*")]


@pytest.mark.parametrize("queues", [("default",), ("empty", "default"), ()])
@pytest.mark.parametrize(("waiting", "limit"), [(1, 500), (16, 500), (5, 2), (0, 5)])
def test_p11_both_ways_claim_the_same(queue, client, asked, monkeypatch, queues, waiting, limit):
    kinds = {0: {}, 1: {"unique_key": "k"}, 2: {"task": "tests.tasks.other", "max_attempts": 9}}
    payloads = [job(**kinds.get(n, {})) for n in range(waiting)]
    found = []
    for few in (True, False):
        client.flushdb()
        if waiting:
            queue.push(*payloads)
        if not few:
            monkeypatch.setattr(queue._looks, "claim_few", lambda *_: None)
        worker = joined(queue)
        del asked[:]
        mine = queue.exchange((), queues, limit, worker).reservations
        assert asked == ["claim_few" if few else "exchange"]
        found.append(([one._replace(claimed_at=None, created_at=None, wait_ms=0) for one in mine], whole_store(client)))
        assert queue.leases(worker) == mine
    assert found[0] == found[1]
    assert len(found[0][0]) == min(waiting, limit)


def test_p4_what_is_not_plain_is_left_to_the_other(queue, asked):
    worker = joined(queue)
    for push in (jobs(17), [job(), job(priority=1)], [job(delay=0)]):
        queue.push(*push)
        assert len(queue.exchange((), ["default"], 20, worker).reservations) == len(push)
        assert asked[-2:] == ["claim_few", "exchange"]
    queue.push(job(), job(queue="other"))
    assert len(queue.exchange((), (), 20, worker).reservations) == 2
    assert len(queue.leases(worker)) == 22


def test_p4_jobs_that_came_back_go_first(queue):
    back, fresh = job(), job()
    queue.push(back)
    held = claim_one(queue)
    queue.push(fresh)
    assert settle(queue, held, Move.RELEASED)
    assert ids(claim(queue, 2)) == [back.id, fresh.id]


def test_p2_a_claim_that_a_client_repeats_claims_once(queue, monkeypatch):
    """redis-py may call again by itself when an answer is late."""
    worker = joined(queue)
    queue.push(*jobs(3))
    run = queue._scripts.run
    monkeypatch.setattr(queue._scripts, "run", lambda *call: [run(*call) for _ in range(2)][1])
    mine = queue.exchange((), ["default"], 2, worker).reservations
    monkeypatch.undo()
    assert len(mine) == 2
    assert queue.leases(worker) == mine
    assert [row[1:4] for row in queue.stats()] == [(1, 0, 2)]


def test_a_look_at_an_empty_line_writes_nothing(queue, client):
    assert queue.exchange((), ["default"], 5, joined(queue)).is_member
    assert client.hlen(key("calls")) == 0


def test_p3_who_is_not_known_is_told_so_and_gets_nothing(queue):
    queue.push(job())
    worker = joined(queue)
    queue.leave(worker)
    exchange = queue.exchange((), ["default"], 5, worker)
    assert (exchange.reservations, exchange.is_member) == ([], False)


@pytest.mark.parametrize("name", ["state", "calls", "counts"])
def test_a_key_of_another_type_is_named_and_nothing_is_written(queue, client, name):
    worker = joined(queue)
    queue.push(job())
    kept = client.dump(key(name)) if client.exists(key(name)) else None
    client.set(key(name), "garbage")
    with pytest.raises(JobQueueError, match=name):
        queue.exchange((), ["default"], 5, worker)
    client.delete(key(name))
    if kept:
        client.restore(key(name), 0, kept)
    assert len(queue.exchange((), ["default"], 5, worker).reservations) == 1


def test_a_wait_after_a_look_does_not_ask_when_the_next_is_due(queue, asked):
    queue.wait(["default"], 0)  # listens from here on
    worker = joined(queue)
    queue.push(job(delay=0.3))
    queue.wait(["default"], 0.1)
    queue.exchange((), ["default"], 5, worker)
    del asked[:]
    assert queue.wait(["default"], HOUR), "it was due in a third of a second"
    assert asked == []
    assert len(claim(queue, 5)) == 1


def test_a_worker_that_has_just_worked_sleeps_until_it_hears(queue, monkeypatch):

    waits = []
    wait = queue.wait

    def noting(queues, timeout):
        waits.append(timeout)
        return wait(queues, timeout)

    monkeypatch.setattr(queue, "wait", noting)

    with at_work(queue):
        for _ in range(3):
            queue.push(JobPayload.create(record, ("x",)))
            assert wait_until(lambda: queue.size() == 0)
    assert {*waits} == {1.0}
