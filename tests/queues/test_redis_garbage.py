"""What is in the Redis store that nobody put there: keys of the wrong type, and bytes that nobody can read."""

from __future__ import annotations

import pytest

from django_jobqueue.exceptions import EnqueueError, JobQueueError
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.models import JobHistory
from django_jobqueue.queues.base import Move, Settlement, WorkerIdentity
from django_jobqueue.queues.redis import packed
from django_jobqueue.queues.redis.scripts import KEYS
from tests.queues.hooks import HOUR, claim, ids, job, jobs, joined, push_and_claim, settle, wait_for
from tests.queues.redis_scars import TABLES, at_work, client, make_queue, out_of_order, queue
from tests.queues.redis_store import key
from tests.testapp.tasks import noop

__all__ = ["client", "make_queue", "queue"]

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]


def everything(client, but=()):
    """All that is on the server."""
    return {name: client.dump(name) for name in client.keys("*") if not name.decode(errors="replace").endswith(but)}


HARMLESS = ("line:default:0", "levels:default", "meta")
"""Where a push that fails may leave something that nobody will ever see: a place without a job, a number."""


def verbs(queue, worker, held, waiting):
    """A call of each verb that writes."""
    return {
        "push": lambda: queue.push(job()),
        "exchange": lambda: queue.exchange([Settlement(held, Move.COMPLETED)], ["default"], 5, worker),
        "cancel": lambda: queue.cancel(waiting),
        "reprioritize": lambda: queue.reprioritize(waiting, 9),
        "run_now": lambda: queue.run_now(waiting),
        "clear": lambda: queue.clear(),
        "join": lambda: queue.join(WorkerIdentity()),
        "heartbeat": lambda: queue.heartbeat(worker),
        "leave": lambda: queue.leave(worker),
        "reclaim": lambda: queue.reclaim(),
        "promote": lambda: queue.promote(),
    }


VERBS = list(verbs(None, None, None, None))
PUSH_TOUCHES = {"jobs", "traits", "done", "older", "counts", "meta"}
"""A push looks only at what it needs, because it is made for every single job."""


@pytest.mark.parametrize(
    ("name", "verb"), [(name, verb) for name in KEYS for verb in VERBS if verb != "push" or name in PUSH_TOUCHES]
)
def test_a_key_of_the_wrong_type_is_named_and_nothing_is_half_done(queue, client, name, verb):
    worker = joined(queue)
    held = push_and_claim(queue, worker=worker)
    waiting = job(delay=HOUR)
    queue.push(waiting, *jobs(2))
    client.delete(key(name))
    client.rpush(key(name), "of somebody else")
    but = HARMLESS if verb == "push" else ()
    before = everything(client, but)
    with pytest.raises(JobQueueError, match=name):
        verbs(queue, worker, held, waiting.id)[verb]()
    assert everything(client, but) == before


@pytest.mark.parametrize("name", sorted(set(KEYS) - PUSH_TOUCHES))
def test_a_push_does_not_touch_what_it_does_not_need(queue, client, name):
    client.rpush(key(name), "of somebody else")
    queue.push(job())
    assert client.lrange(key(name), 0, -1) == [b"of somebody else"]


@pytest.mark.parametrize(
    ("name", "payload"),
    [("delayed", {"delay": HOUR}), ("state", {"lease_no": 3}), ("unique", {"unique_key": "k"})],
)
def test_a_push_that_needs_them_looks_at_these_too(queue, client, name, payload):
    client.rpush(key(name), "of somebody else")
    before = everything(client)
    with pytest.raises(JobQueueError, match=name):
        queue.push(job(), job(**payload))
    assert everything(client) == before


@pytest.mark.parametrize("name", ["levels:default", "line:default:0", "back:default:0"])
@pytest.mark.parametrize("verb", ["exchange", "clear", "reprioritize"])
def test_a_line_of_the_wrong_type_is_named_and_nothing_is_half_done(queue, client, name, verb):
    worker = joined(queue)
    held = push_and_claim(queue, worker=worker)
    waiting = job()
    queue.push(waiting, job())
    client.delete(key(name))
    client.set(key(name), "of somebody else")
    before = everything(client)
    with pytest.raises(JobQueueError, match=name):
        verbs(queue, worker, held, waiting.id)[verb]()
    assert everything(client) == before


@pytest.mark.parametrize("name", ["levels:default", "line:default:0"])
def test_a_push_into_a_line_of_the_wrong_type_is_named_and_stores_nothing(queue, client, name):
    queue.push(job())
    client.delete(key(name))
    client.set(key(name), "of somebody else")
    before = everything(client, HARMLESS)
    for batch in ([job()], jobs(3)):
        with pytest.raises(EnqueueError, match=name):
            queue.push(*batch)
        assert everything(client, HARMLESS) == before
        assert queue.find(batch[0].id) is None


@pytest.mark.parametrize("garbage", [b"", b"x", b"\xff" * 19, b"\x00" * 40, b"\xff" * 500], ids=len)
def test_p9_a_record_nobody_can_read_is_claimed_and_can_die(queue, client, garbage):
    broken, fine = job(), job()
    queue.push(broken, fine)
    place = client.hget(key("jobs"), broken.id.bytes)[8:16]
    if len(garbage) >= 16:
        garbage = garbage[:8] + place + garbage[16:]
    client.hset(key("jobs"), broken.id.bytes, garbage)
    worker = joined(queue)
    assert queue.find(broken.id) is not None
    queue.peek()
    line = wait_for(lambda: claim(queue, 5, worker))
    assert fine.id in ids(line)
    for one in line:
        assert settle(queue, one, Move.DEAD, reason="unknown_task")
    assert claim(queue, 5, worker) == []
    queue.clear()
    queue.reclaim()


@pytest.mark.parametrize("garbage", [b"", b"x", b"\xff" * 51, b"\x00" * 51, b"r" * 200], ids=len)
def test_p9_a_state_of_garbage_stops_nobody(queue, client, garbage):
    broken, fine = job(), job()
    queue.push(broken, fine)
    client.hset(key("state"), broken.id.bytes, garbage)
    assert fine.id in ids(claim(queue, 5))
    queue.find(broken.id)
    queue.cancel(broken.id)


def test_p9_members_of_garbage_in_a_line_and_among_the_delayed_stop_nobody(queue, client):
    payload = job()
    client.rpush(key("line:default:0"), b"", b"short", b"\xff" * 24, b"x" * 300)
    client.zadd(key("levels:default"), {b"0": 0, b"nonsense": 5})
    client.zadd(key("delayed"), {b"short": 1, b"\xff" * 16: 2})
    client.zadd(key("workers"), {b"short": 1})
    queue.push(payload)
    queue.reclaim()
    assert ids(claim(queue, 5)) == [payload.id]


def test_p9_an_entry_of_garbage_is_thrown_away_and_the_others_are_recorded(queue, client, monkeypatch):
    monkeypatch.setattr(TABLES, out_of_order)
    mine = push_and_claim(queue)
    assert settle(queue, mine)
    client.hset(key("unrecorded"), b"x" * 20, b"garbage")
    client.hset(key("unrecorded"), b"y", b"\xff" * 300)
    monkeypatch.undo()
    queue._unrecorded.record_left_behind(0)
    assert JobHistory.objects.get().job_id == mine.job_id
    assert client.hlen(key("unrecorded")) == 0


def test_p9_a_due_time_of_garbage_does_not_end_a_worker(queue, client):
    client.zadd(key("delayed"), {b"x" * 16: float("inf")})
    with at_work(queue):
        payload = JobPayload.create(noop)
        queue.push(payload)
        assert wait_for(lambda: JobHistory.objects.filter(job_id=payload.id).exists())


def test_p9_an_entry_with_impossible_times_does_not_stop_the_others(queue, client, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(TABLES, out_of_order)
        mine = push_and_claim(queue)
        assert settle(queue, mine, run_ms=5)
    (field,) = client.hkeys(key("unrecorded"))
    entry = client.hget(key("unrecorded"), field)
    at = packed._ENTRY.size
    impossible = entry[:at] + packed._WORDS.pack(2**63, 2**63, 0, 0, 0, 0, 0, 0, 0) + entry[at + packed._WORDS.size :]
    client.hset(key("unrecorded"), uuid7().bytes + b"\x00\x00\x00\x01", impossible)
    queue._unrecorded.record_left_behind(0, 5)
    assert JobHistory.objects.get().job_id == mine.job_id
    assert client.hlen(key("unrecorded")) == 0
