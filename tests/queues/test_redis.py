"""The contract on Redis and Valkey."""

from __future__ import annotations

import pytest

from tests.queues.redis_store import RedisContract


@pytest.mark.redis
@pytest.mark.django_db(transaction=True)
class TestValkey(RedisContract):
    server = "redis"


@pytest.mark.redis62
@pytest.mark.django_db(transaction=True)
class TestRedis62(RedisContract):
    server = "redis62"


@pytest.mark.cluster
@pytest.mark.django_db(transaction=True)
class TestCluster(RedisContract):
    server = "cluster"
