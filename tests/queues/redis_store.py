"""The contract on a Redis server: its hooks."""

from __future__ import annotations

import os
from functools import cache

import pytest
from django.conf import settings
from redis.cluster import RedisCluster

from django_jobqueue.monitoring.fsck import check
from django_jobqueue.queues.redis import RedisQueue
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
    """What must be true between the keys of a store at every moment.

    Not that attempts end, which is for lifecycle/ to decide; nor that somebody has reclaimed already.
    """
    report = check(queue, patience=0, late=0)
    wrong = [one for one in report.findings if one.code not in ("too_many_attempts", "dead_holder")]
    assert not wrong, str(report)
