"""What passes between a store and its Redis server, which may be full, be emptied, go, or forget its scripts."""

from __future__ import annotations

import os

import pytest

from django_jobqueue.exceptions import EnqueueError, QueueFull
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.models import DeadLetterJob, JobHistory
from django_jobqueue.queues.base import Move, Settlement
from django_jobqueue.queues.redis import RedisQueue, records
from django_jobqueue.queues.redis.connection import Connection
from tests.queues.hooks import HOUR, claim, claim_one, ids, job, jobs, joined, settle, wait_for
from tests.queues.redis_scars import at_work, client, make_queue, queue
from tests.queues.redis_store import PREFIX, key
from tests.servers import DurableRedis
from tests.servers.redis import find_redis62
from tests.testapp.tasks import noop

__all__ = ["client", "make_queue", "queue"]

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]


def test_p10_a_server_that_forgot_its_scripts_is_told_again(queue, client):
    queue.push(job())
    client.script_flush()
    assert claim_one(queue) is not None


@pytest.fixture(params=["redis", pytest.param("redis62", marks=pytest.mark.redis62)])
def lone_queue(request):
    """On a server of its own: the memory of one that is full is missing to the tests beside this one, too."""
    with DurableRedis("everysec", find_redis62() if request.param == "redis62" else None) as server:
        queue = RedisQueue("redis", Connection({"url": server.url}), prefix=PREFIX)
        yield queue
        queue.close()


def fill(queue):
    """Nothing more fits into the server's memory."""
    client = queue.connection.client
    client.config_set("maxmemory", client.info("memory")["used_memory"] - 100_000)


def test_p9_a_full_server_says_so_and_stores_nothing_by_half(lone_queue):
    fill(lone_queue)
    with pytest.raises(QueueFull, match="memory"):
        lone_queue.push(*jobs(50))
    assert lone_queue.size() == 0
    assert lone_queue.connection.client.keys("*") == []


def test_p10_a_full_server_is_emptied_by_its_workers(lone_queue):
    lone_queue.push(*jobs(5))
    worker = joined(lone_queue)
    fill(lone_queue)
    line = claim(lone_queue, 5, worker)
    assert len(line) == 5
    assert all(lone_queue.settle([Settlement(one, Move.COMPLETED) for one in line]))
    assert lone_queue.heartbeat(worker)


def test_p10_a_full_server_keeps_its_workers_alive(lone_queue):
    lone_queue.push(*jobs(6))
    worker = joined(lone_queue)
    fill(lone_queue)
    line = claim(lone_queue, 4, worker)
    assert lone_queue.heartbeat(worker)
    joined(lone_queue)
    moves = [Move.COMPLETED, Move.RETRY, Move.RELEASED, Move.DEAD]
    settled = [Settlement(one, move, delay=HOUR) for one, move in zip(line, moves, strict=True)]
    assert all(lone_queue.settle(settled))
    lone_queue.leave(worker)
    lone_queue.reclaim()
    with pytest.raises(QueueFull):
        lone_queue.push(job())


def test_p10_flushall_under_load_costs_the_jobs_and_not_the_worker(queue, client):
    with at_work(queue) as worker:
        queue.push(*jobs(200))
        assert wait_for(lambda: worker.counters.by_move[Move.DEAD] > 0)
        client.flushdb()
        payload = JobPayload.create(noop)
        queue.push(payload)
        assert wait_for(lambda: JobHistory.objects.filter(job_id=payload.id).exists())


@pytest.mark.parametrize("protocol", [2, 3])
def test_both_protocols_say_the_same(queue, client, protocol):
    url = os.environ["JOBQUEUE_TEST_REDIS_URL"]
    number = client.connection_pool.connection_kwargs.get("db", 0)
    other = RedisQueue("redis", Connection({"url": f"{url}?db={number}&protocol={protocol}"}), prefix=PREFIX)
    try:
        assert other.connection.client.connection_pool.connection_kwargs["protocol"] == protocol
        mine, delayed = job(), job(delay=HOUR)
        assert other.push(mine, delayed) == [mine.id, delayed.id]
        assert other.peek().job_id == mine.id
        assert other.find(delayed.id).reason == "scheduled"
        held = claim_one(other)
        assert [row[1:4] for row in other.stats()] == [(0, 1, 1)]
        assert settle(other, held, Move.DEAD, reason="exhausted")
        assert DeadLetterJob.objects.get().id == mine.id
        assert other.clear() == 1
    finally:
        other.close()


def test_a_push_is_cut_by_size_too(queue, monkeypatch):
    large = [job(args='{"args":["' + "x" * 200_000 + '"],"kwargs":{}}') for _ in range(3)]
    run, calls = queue._scripts.run, []
    monkeypatch.setattr(queue._scripts, "run", lambda name, *rest: calls.append(name) or run(name, *rest))
    monkeypatch.setattr("django_jobqueue.queues.redis.records.COMPRESS_FROM", 10**9)
    monkeypatch.setattr("django_jobqueue.queues.redis.pushing.PUSH_BYTES", 450_000)
    assert queue.push(*large) == [one.id for one in large]
    assert calls == ["push", "push"]
    assert ids(claim(queue, 3)) == [one.id for one in large]


def test_long_arguments_are_stored_shorter_and_come_back_whole(queue, client):
    long = job(args='{"args":["' + "all work and no play " * 2_000 + '"],"kwargs":{}}')
    queue.push(long)
    assert client.hstrlen(key("jobs"), long.id.bytes) < len(long.args) / 20
    assert claim_one(queue).args == long.args


def test_p9_a_compressed_bomb_is_not_unpacked(queue, client):
    bomb = job(args='{"args":["' + "x" * 100_000 + '"],"kwargs":{}}')
    queue.push(bomb)
    record = client.hget(key("jobs"), bomb.id.bytes)
    size = records._HEAD.size + 1
    assert int.from_bytes(record[size : size + 4], "big") == 100_002  # without what is around the arguments
    claims_less = record[:size] + (50).to_bytes(4, "big") + record[size + 4 :]
    client.hset(key("jobs"), bomb.id.bytes, claims_less)
    mine = claim_one(queue)
    assert (mine.job_id, mine.task, mine.args) == (bomb.id, "", "")


def test_enqueue_on_a_server_that_is_gone_says_so(make_queue):

    nowhere = RedisQueue("redis", Connection({"url": "unix:///nowhere/redis.sock"}))
    with pytest.raises(EnqueueError, match="did not store"):
        nowhere.push(job())
