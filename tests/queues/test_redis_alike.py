"""Many jobs of one task: the short way in gives what the script for everything gives, or leaves it to that one."""

from __future__ import annotations

import pytest
from django.db import transaction

from django_jobqueue.exceptions import EnqueueError
from tests.queues.hooks import HOUR, claim, ids, job
from tests.queues.redis_scars import client, make_queue, queue
from tests.queues.redis_store import key

__all__ = ["client", "make_queue", "queue"]

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]

CALLS = [f'{{"args":[{number}],"kwargs":{{}}}}' for number in range(1_203)]


def as_claimed(jobs):
    return [one._replace(job_id=None, claimed_at=None, created_at=None, wait_ms=0) for one in jobs]


@pytest.mark.parametrize("values", [{}, {"priority": -3, "queue": "other"}, {"concurrency_key": "k", "timeout": 7.5}])
def test_p1_both_ways_store_the_same(queue, client, values):
    template, found = job(**values), []
    line = f"{key('line')}:{template.queue}:{template.priority}"
    for push in (queue.push_alike, lambda template, calls: queue.push(*map(template.again, calls))):
        client.flushdb()
        push(template, CALLS[:1])  # gives the traits their number
        own = push(template, CALLS)
        lengths = sorted(map(len, client.hvals(key("jobs"))))
        places = [element[16:] for element in client.lrange(line, 0, -1)]
        assert places == sorted({*places})
        mine = claim(queue, 2_000, queues=[template.queue])
        assert ids(mine[1:]) == own
        found.append((lengths, client.hgetall(key("counts")), as_claimed(mine)))
    assert found[0] == found[1]
    assert [one.args for one in found[0][2][1:]] == CALLS


def test_p1_the_first_of_their_kind_go_the_long_way_and_the_next_piece_does_not(queue, monkeypatch):
    run, names = queue._scripts.run, []
    monkeypatch.setattr(queue._scripts, "run", lambda name, *rest: names.append(name) or run(name, *rest))
    own = queue.push_alike(job(task="tests.tasks.new"), CALLS)
    assert names == ["push_alike", "push", "push_alike"]
    assert ids(claim(queue, 2_000)) == own


def test_p1_when_there_are_no_more_numbers_all_go_the_long_way(queue, client):
    client.hset(key("traits"), mapping={b"%d" % n: b"x" for n in range(20_000)})
    own = queue.push_alike(job(task="tests.tasks.late"), CALLS)
    mine = claim(queue, 2_000)
    assert ids(mine) == own
    assert [one.args for one in mine] == CALLS


def test_p2_a_push_that_a_client_repeats_stores_each_job_once(queue, monkeypatch):
    """redis-py may call again by itself when an answer is late."""
    queue.push(job())
    run = queue._scripts.run
    monkeypatch.setattr(queue._scripts, "run", lambda *call: [run(*call) for _ in range(2)][1])
    queue.push_alike(job(), CALLS[:5])
    monkeypatch.undo()
    assert [row[1:4] for row in queue.stats()] == [(6, 0, 0)]


def test_only_an_empty_line_says_a_word(queue, client):
    queue.push(job())
    claim(queue, 1)
    heard = client.pubsub(ignore_subscribe_messages=True)
    heard.subscribe(queue._scripts.channel)
    heard.get_message(timeout=1)
    queue.push_alike(job(), CALLS)
    words = [heard.get_message(timeout=0.2) for _ in range(2)]
    heard.close()
    assert [word and word["data"] for word in words] == [b"default", None]


@pytest.mark.parametrize("name", ["counts", "line:default:0", "levels:default"])
def test_a_key_of_another_type_is_told_and_nothing_is_stored(queue, client, name):
    queue.push(job())
    claim(queue, 1)
    client.delete(key(name))
    client.set(key(name), "garbage")
    with pytest.raises(EnqueueError, match="WRONGTYPE"):
        queue.push_alike(job(), CALLS[:3])
    assert client.hlen(key("jobs")) == 1
    assert client.hget(key("meta"), "seq") == b"1"


def test_p6_in_a_transaction_they_wait_for_its_end(queue):
    with transaction.atomic():
        own = queue.push_alike(job(), CALLS[:3])
        assert claim(queue, 5) == []
    assert ids(claim(queue, 5)) == own
    queue.push_alike(job(delay=HOUR), CALLS[:2])
    assert [row[2] for row in queue.stats()] == [2]
