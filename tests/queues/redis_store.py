"""The contract on a Redis server: its hooks."""

from __future__ import annotations

import os
from collections import Counter
from functools import cache
from struct import unpack

import pytest
from django.conf import settings
from redis.cluster import RedisCluster

from django_jobqueue.queues.redis import RedisQueue, packed
from django_jobqueue.queues.redis.connection import Connection
from django_jobqueue.queues.redis.packed import microseconds
from tests.queues.contract import QueueContract
from tests.queues.hooks import LONG_AGO

CLUSTER = "cluster"
PREFIX = settings.REDIS_PREFIX


@cache
def cluster_client() -> RedisCluster:
    return RedisCluster.from_url(os.environ["JOBQUEUE_TEST_CLUSTER_URL"])


def open_queue(server: str, **options) -> RedisQueue:
    """A queue on the server behind this alias of CACHES, or on the cluster."""
    there = {"connection_factory": f"{__name__}.cluster_client"} if server == CLUSTER else {"connection": server}
    return RedisQueue(server, Connection({**there, "prefix": PREFIX}), prefix=PREFIX, **options)


def empty(queue: RedisQueue) -> None:
    client = queue.connection.client
    if isinstance(client, RedisCluster):
        for name in client.keys(f"{{{PREFIX}}}:*", target_nodes=RedisCluster.PRIMARIES):
            client.delete(name)
    else:
        client.flushdb()


def key(name: str) -> str:
    return f"{{{PREFIX}}}:{name}"


class RedisContract(QueueContract):
    server: str

    @pytest.fixture
    def queue(self):
        queue = open_queue(self.server)
        empty(queue)
        yield queue
        queue.close()

    def make_due(self, queue, job_id, due_at=LONG_AGO):
        due = {job_id.bytes: microseconds(due_at)}
        assert queue.connection.client.zadd(queue._scripts.key("delayed"), due, xx=True, ch=True) == 1

    def expire_worker(self, queue, worker):
        assert queue.connection.client.zadd(queue._scripts.key("workers"), {worker.bytes: 1}, xx=True) == 0


def audit(queue: RedisQueue) -> None:
    """What must be true between the keys of a store at every moment, counted anew from all of them."""
    client, k = queue.connection.client, queue._scripts.key
    tag = k("jobs").removesuffix("jobs")
    records = {i: packed.unpack_record(data) for i, data in client.hgetall(k("jobs")).items()}
    states = {i: packed.unpack_state(data) for i, data in client.hgetall(k("state")).items()}
    due = dict(client.zrange(k("delayed"), 0, -1, withscores=True))
    assert states.keys() <= records.keys(), "a state without a job"
    assert due.keys() <= records.keys(), "a due time without a job"
    rooms = {i: room(states.get(i), i in due) for i in records}
    assert {i for i, where in rooms.items() if where == b"d"} == due.keys()
    counts = Counter(f"{where.decode()}:{records[i].queue}" for i, where in rooms.items())
    assert {name.decode(): int(n) for name, n in client.hgetall(k("counts")).items()} == counts
    held = {name: client.smembers(name) for name in client.keys(f"{tag}held:*")}
    leased = {i for i, where in rooms.items() if where == b"l"}
    assert set().union(*held.values()) == leased
    assert all(states[i].worker == name[len(tag) + 5 :] for name, ids in held.items() for i in ids)
    keys = {record.unique_key: i for i, record in records.items() if record.unique_key}
    assert {name.decode(): i for name, i in client.hgetall(k("unique")).items()} == keys
    assert reachable(client, tag, records, states) == {i for i, where in rooms.items() if where == b"r"}
    asked = {i for i in leased if states[i].reason in (b"c", b"k")}
    assert asked <= client.smembers(f"{tag}asked")
    assert client.hlen(k("unrecorded")) == 0


def room(state: packed.State | None, is_due: bool) -> bytes:
    return state.room if state else b"d" if is_due else b"r"


def reachable(client, tag, records, states):
    """The jobs a claim would find: in a line at their own place, or among those given back."""
    found = set()
    for levels in client.keys(f"{tag}levels:*"):
        queue = levels.removeprefix(f"{tag}levels:".encode()).decode()
        for level in client.zrange(levels, 0, -1):
            priority = int(level)
            for element in client.lrange(f"{tag}line:{queue}:{priority}", 0, -1):
                job_id, place = element[:16], unpack(">d", element[16:])[0]
                own = states[job_id].place if job_id in states else first_place(client, tag, job_id)
                if job_id in records and own == place and room(states.get(job_id), False) == b"r":
                    assert job_id not in found, "twice in the line"
                    assert (states[job_id] if job_id in states else records[job_id]).priority == priority
                    found.add(job_id)
            for job_id, place in client.zrange(f"{tag}back:{queue}:{priority}", 0, -1, withscores=True):
                if states[job_id].place == place and states[job_id].room == b"r":
                    assert job_id not in found, "given back, and in the line too"
                    found.add(job_id)
    return found


def first_place(client, tag, job_id):
    record = client.hget(f"{tag}jobs", job_id)
    return unpack(">d", record[8:16])[0] if record else -1
