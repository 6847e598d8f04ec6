"""The user of docs/howto/use-redis.md may do what a store needs, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import redis

from django_jobqueue.queues.redis import RedisQueue
from django_jobqueue.queues.redis.connection import Connection
from tests.queues.hooks import job, wait_for
from tests.queues.redis_store import RedisContract
from tests.servers import DurableRedis
from tests.servers.redis import find_redis, find_redis62

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "howto" / "use-redis.md"
SCRIPTS = ROOT / "django_jobqueue" / "queues" / "redis" / "scripts"


def rule() -> list[str]:
    [line] = re.findall(r"^ACL SETUSER jobs .*$", PAGE.read_text(), re.MULTILINE)
    return line.split()


def test_the_rule_names_what_the_scripts_and_we_call_and_no_more():
    call = re.compile(r"(?:redis\.p?call|in_pieces)\('(\w+)'")
    by_scripts = {name.lower() for path in SCRIPTS.glob("*.lua") for name in call.findall(path.read_text())}
    by_us = {"ping", "select", "info", "config|get", "eval", "evalsha", "subscribe"}
    assert {word[1:] for word in rule() if word.startswith("+")} == by_scripts | by_us


class FewRights(RedisContract):
    """The whole contract, as that user."""

    find_server = staticmethod(find_redis)

    @pytest.fixture(scope="class")
    @classmethod
    def owner(cls):
        with DurableRedis("everysec", cls.find_server()) as server:
            client = redis.Redis.from_url(f"{server.url}?db=3")
            client.execute_command(*rule())
            yield client

    @pytest.fixture
    def queue(self, owner):
        owner.flushdb()
        path = owner.connection_pool.connection_kwargs["path"]
        connection = Connection({"url": f"unix://{path}?db=3&username=jobs&password=secret"})
        queue = RedisQueue("jobs", connection)
        yield queue
        queue.close()
        refused = [entry["object"] for entry in owner.acl_log()]
        assert [one for one in refused if one not in ("client", "client|setinfo")] == []  # redis-py's own greeting

    def test_what_the_checks_ask(self, queue):
        assert queue.connection.health().persistence == "aof-everysec"

    def test_waiting(self, queue):
        wait_for(lambda: not queue.wait(["default"], 0.01))
        queue.push(job())
        assert wait_for(lambda: queue.wait(["default"], 1))

    @pytest.mark.parametrize(
        "command",
        [
            ("SET", "{jobqueue}:x", "1"),
            ("HSET", "other", "a", "b"),
            ("EVAL", "return redis.call('HGET', 'other', 'a')", "0"),
            ("PUBLISH", "other", "x"),
            ("KEYS", "*"),
            ("CONFIG", "SET", "maxmemory", "1"),
            ("ACL", "WHOAMI"),
            ("FLUSHALL",),
            ("SHUTDOWN",),
        ],
        ids=" ".join,
    )
    def test_nothing_else(self, queue, owner, command):
        with pytest.raises(redis.ResponseError, match=r"permission|can't access"):
            queue.connection.client.execute_command(*command)
        owner.acl_log_reset()


@pytest.mark.redis
@pytest.mark.django_db(transaction=True)
class TestFewRightsOnValkey(FewRights):
    pass


@pytest.mark.redis62
@pytest.mark.django_db(transaction=True)
class TestFewRightsOnRedis62(FewRights):
    find_server = staticmethod(find_redis62)
