"""The way to a Redis server: how a client is made, how it breaks, and how it comes back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from django.core.exceptions import ImproperlyConfigured
from redis.asyncio import Redis as AsyncRedis

from django_jobqueue.exceptions import StoreUnavailable
from django_jobqueue.queues.redis import sources
from django_jobqueue.queues.redis.connection import LISTENER_TIMEOUT, Connection
from tests.queues.hooks import wait_for

DJANGO_REDIS = "django_redis.cache.RedisCache"


def cluster_client():
    return redis.RedisCluster.from_url(os.environ["JOBQUEUE_TEST_CLUSTER_URL"])


def plain_client():
    return redis.Redis.from_url(os.environ["JOBQUEUE_TEST_REDIS_URL"])


OPTIONS = [
    pytest.param({"connection": "redis"}, marks=pytest.mark.redis, id="cache"),
    pytest.param({"connection": "redis62"}, marks=pytest.mark.redis62, id="redis62"),
    pytest.param({"url": "redis"}, marks=pytest.mark.redis, id="url"),
    pytest.param({"connection_factory": f"{__name__}.plain_client"}, marks=pytest.mark.redis, id="factory"),
    pytest.param({"connection_factory": f"{__name__}.cluster_client"}, marks=pytest.mark.cluster, id="cluster"),
]


@pytest.mark.parametrize("options", OPTIONS)
class TestEverySource:
    def test_commands_go_through(self, open_connection, options):
        client = open_connection(**options).client
        client.set("{jobqueue}:test", b"\x00\xff")
        assert client.get("{jobqueue}:test") == b"\x00\xff"
        client.delete("{jobqueue}:test")

    def test_one_client_for_all_threads(self, open_connection, options):
        connection = open_connection(**options)
        client = connection.client
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: (connection.client.ping(), connection.client), range(20)))
        assert all(pong and one is client for pong, one in found)

    def test_health(self, open_connection, options):
        health = open_connection(**options).health()
        old = options.get("connection") == "redis62"
        assert health.kind == ("redis" if old else "valkey")
        assert int(health.version.split(".")[0]) == (6 if old else 9)
        assert (health.role, health.persistence, health.eviction) == ("primary", "memory", "noeviction")
        assert health.used_memory > 100_000
        assert (health.max_memory, health.is_too_old) == (0, False)
        assert 0 <= health.pool_utilisation < 1
        assert 0.005 < health.latency_ms < 5_000

    def test_a_listener_hears(self, open_connection, options):
        connection = open_connection(**options)
        listener = connection.listener()
        try:
            listener.subscribe("{jobqueue}:news")
            wait_for(lambda: listener.get_message(timeout=0.1) is None)
            connection.client.publish("{jobqueue}:news", b"something")
            message = wait_for(lambda: listener.get_message(timeout=0.1))
            assert message["data"] == b"something"
        finally:
            listener.close()

    def test_dropping_costs_nothing(self, open_connection, options):
        connection = open_connection(**options)
        connection.client.ping()
        connection.drop()
        assert connection.client.ping()


class TestWhatIsRefused:
    def test_more_than_one_source(self):
        with pytest.raises(ImproperlyConfigured, match="Give one of connection and url, not 2"):
            Connection({"connection": "redis", "url": "redis://h/0"})

    @pytest.mark.parametrize("make", [lambda: AsyncRedis.from_url("redis://h/0"), dict, lambda: None])
    def test_a_factory_that_gives_something_else(self, open_connection, monkeypatch, make):
        monkeypatch.setattr(sys.modules[__name__], "made", make, raising=False)
        with pytest.raises(ImproperlyConfigured, match=r"made must return a redis.Redis or a redis.RedisCluster, not "):
            open_connection(connection_factory=f"{__name__}.made").client  # noqa: B018

    @pytest.mark.parametrize("where", ["cache", "url", "factory"])
    def test_decode_responses(self, open_connection, settings, monkeypatch, where):
        url = "redis://h/0?decode_responses=True"
        settings.CACHES = {"jobs": {"BACKEND": DJANGO_REDIS, "LOCATION": url}}
        made = redis.Redis.from_url(url)
        monkeypatch.setattr(sys.modules[__name__], "made", lambda: made, raising=False)
        options = {
            "cache": {"connection": "jobs"},
            "url": {"url": url},
            "factory": {"connection_factory": f"{__name__}.made"},
        }
        with pytest.raises(ImproperlyConfigured, match="has decode_responses=True; jobs are bytes"):
            open_connection(**options[where]).client  # noqa: B018

    def test_a_sharded_cache(self, open_connection, settings):
        options = {"CLIENT_CLASS": "django_redis.client.ShardClient"}
        settings.CACHES = {
            "jobs": {"BACKEND": DJANGO_REDIS, "LOCATION": ["redis://a/0", "redis://b/0"], "OPTIONS": options}
        }
        with pytest.raises(ImproperlyConfigured, match="over several servers"):
            open_connection(connection="jobs").client  # noqa: B018

    @pytest.mark.parametrize("kind", ["redis.RedisCache", "locmem.LocMemCache"])
    def test_a_cache_that_is_not_of_django_redis(self, open_connection, settings, kind):
        settings.CACHES = {"jobs": {"BACKEND": f"django.core.cache.backends.{kind}", "LOCATION": "redis://h/0"}}
        with pytest.raises(ImproperlyConfigured, match=f"{kind}; a queue needs django_redis.cache.RedisCache"):
            open_connection(connection="jobs").client  # noqa: B018


@pytest.mark.redis
class TestPurposes:
    def test_a_pool_that_is_used_up_hides_neither_the_health_nor_the_news(self, open_connection):
        url = f"{os.environ['JOBQUEUE_TEST_REDIS_URL']}?max_connections=2"
        connection = open_connection(url=url)
        pool = connection.client.connection_pool
        held = [pool.get_connection(), pool.get_connection()]
        with pytest.raises(StoreUnavailable, match="did not answer: Too many connections"), connection.errors():
            connection.client.ping()
        health = connection.health()
        assert (health.pool_in_use, health.pool_max, health.pool_utilisation) == (2, 2, 1.0)
        listener = connection.listener()
        listener.subscribe("x")
        assert wait_for(lambda: listener.get_message(timeout=0.1) is None)
        listener.close()
        for one in held:
            pool.release(one)
        assert connection.health().pool_utilisation == 0

    def test_a_cache_s_pool_is_that_of_django_redis(self, open_connection):
        from django_redis import get_redis_connection

        one, other = open_connection(connection="redis"), open_connection(connection="redis")
        assert one.client.connection_pool is get_redis_connection("redis").connection_pool
        assert one.client.connection_pool is other.client.connection_pool
        assert one.listener().connection_pool is not one.client.connection_pool

    def test_the_listener_has_timeouts_of_its_own_and_gives_up_at_once(self, open_connection):
        listener = open_connection(url=f"{os.environ['JOBQUEUE_TEST_REDIS_URL']}?socket_timeout=60").listener()
        kwargs = listener.connection_pool.connection_kwargs
        assert kwargs["socket_timeout"] == kwargs["socket_connect_timeout"] == LISTENER_TIMEOUT
        assert kwargs["retry"].get_retries() == 0
        listener.close()

    def test_waiting_longer_than_a_timeout_is_no_error(self, open_connection, monkeypatch):
        monkeypatch.setattr("django_jobqueue.queues.redis.connection.LISTENER_TIMEOUT", 0.1)
        listener = open_connection(url="redis").listener()
        listener.subscribe("x")
        begun = time.monotonic()
        while time.monotonic() < begun + 0.5:
            assert listener.get_message(timeout=0.4) is None
        listener.close()

    def test_a_url_is_bounded_where_the_library_is_not(self, open_connection):
        kwargs = open_connection(url="redis://h/0").client.connection_pool.connection_kwargs
        assert kwargs["socket_timeout"] == kwargs["socket_connect_timeout"] == 5
        kwargs = open_connection(url="redis://h/0?socket_timeout=2").client.connection_pool.connection_kwargs
        assert kwargs["socket_timeout"] == 2

    def test_closing_leaves_the_shared_pool_open(self, open_connection):
        connection = open_connection(connection="redis")
        connection.health()
        before = connection.client.client_id()
        connection.close()
        assert connection.client.client_id() == before


FORK = """
import os, sys, django
django.setup()
from django_jobqueue.queues.redis.connection import Connection

for options in ({"connection": "redis"}, {"url": os.environ["JOBQUEUE_TEST_REDIS_URL"]}):
    connection = Connection(options)
    mine = connection.client.client_id()
    connection.health()
    reader, writer = os.pipe()
    if os.fork() == 0:
        status = 1
        try:
            connection.health()
            os.write(writer, str(connection.client.client_id()).encode())
            connection.close()
            status = 0
        finally:
            os._exit(status)
    _, status = os.wait()
    theirs = int(os.read(reader, 100))
    print(status, mine != theirs, connection.client.client_id() == mine, connection.health().role)
"""


@pytest.mark.redis
def test_a_fork_opens_connections_of_its_own(child_env, db):
    done = subprocess.run([sys.executable, "-W", "error", "-c", FORK], env=child_env, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["0 True True primary"] * 2


@pytest.mark.redis
def test_a_child_never_uses_the_parent_s_client(open_connection, monkeypatch):
    """Its pool may have been locked by another thread at the moment of the fork, and would be so for ever."""
    connection = open_connection(url="redis")
    mine, pid = connection.client, os.getpid()
    connection.health()
    spare = connection._spare[1]
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: pid + 1)
        assert connection.client is not mine
        connection.health()
        assert connection._spare[1] is not spare


@pytest.mark.cluster
def test_the_health_of_a_cluster_is_that_of_the_node_with_the_store(open_connection, monkeypatch):
    monkeypatch.setattr("django_jobqueue.queues.redis.connection.examine", lambda server, pools: server)
    options = {"connection_factory": f"{__name__}.cluster_client"}
    asked = [open_connection(**options, prefix=f"store{number}").health() for number in range(12)]
    nodes = open_connection(**options).client.get_nodes()
    assert {one.connection_pool.connection_kwargs["port"] for one in asked} == {node.port for node in nodes}


@pytest.mark.redis
class TestHealthOfAServer:
    @pytest.mark.parametrize(
        ("settings", "level"),
        [
            ({"appendonly": "yes", "appendfsync": "always"}, "aof-always"),
            ({"appendonly": "yes", "appendfsync": "everysec"}, "aof-everysec"),
            ({"appendonly": "yes", "appendfsync": "no"}, "aof-no"),
            ({"appendonly": "no", "save": "3600 1"}, "rdb"),
            ({"appendonly": "no", "save": ""}, "memory"),
        ],
    )
    def test_what_it_keeps(self, own, settings, level):
        for name, value in settings.items():
            own.client.config_set(name, value)
        assert own.health().persistence == level

    @pytest.mark.parametrize(("appendonly", "level"), [("yes", "aof"), ("no", "unknown")])
    def test_one_that_does_not_let_us_read_its_configuration(self, server, own, open_connection, appendonly, level):
        own.client.config_set("appendonly", appendonly)
        own.client.acl_setuser("guest", enabled=True, nopass=True, categories=["+@all"], commands=["-config"])
        asked = open_connection(url=f"{server.url}?username=guest&password=x")
        assert asked.health().persistence == level

    def test_its_memory_and_its_role(self, own):
        own.client.config_set("maxmemory", "64mb")
        own.client.config_set("maxmemory-policy", "allkeys-lru")
        own.client.replicaof("127.0.0.1", 1)
        health = own.health()
        assert (health.max_memory, health.eviction, health.role) == (64 * 1024 * 1024, "allkeys-lru", "replica")

    @pytest.mark.parametrize(
        ("kind", "version", "is_too_old"),
        [
            ("redis", "5.0.7", True),
            ("redis", "6.0.16", True),
            ("redis", "6.2.0", False),
            ("redis", "7.4.1", False),
            ("redis", "10.0", False),
            ("redis", "255.255.255", False),
            ("valkey", "8.0.1", False),
        ],
    )
    def test_its_age(self, own, kind, version, is_too_old):
        assert own.health()._replace(kind=kind, version=version).is_too_old is is_too_old


def test_the_three_sources_are_told_apart():
    kinds = [
        type(sources.source_of(options))
        for options in ({"connection": "a"}, {}, {"url": "redis://h"}, {"connection_factory": "a.b"})
    ]
    assert kinds == [sources.CacheSource, sources.CacheSource, sources.UrlSource, sources.FactorySource]
